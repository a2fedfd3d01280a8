//! Connections whose bytes were changed at random: nothing panics, and what is held stays in proportion to what came.
//!
//! `HELENUS_FRAMES` says which: a range such as `0..20000` of numbers, each of which is a connection of one to four
//! frames. The same number always makes the same bytes. `cargo xtask soak frames` runs very many.
#![allow(clippy::disallowed_methods, reason = "how long the test runs is chosen from outside")]

use crate::compression::Compression;
use crate::inbound::Inbound;
use crate::outbound::Outbound;
use crate::request::Message;
use crate::response::{Answer, Response};
use crate::samples::{answer, message};
use crate::version::Version;
use model::Rng;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// Messages to draw from.
const SAMPLES: usize = 400;

struct Samples {
    answers: Vec<Answer>,
    messages: Vec<Message>,
}

fn samples() -> Samples {
    let seeded = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), seeded);
    let answers = (0..SAMPLES).map(|_| answer().new_tree(&mut runner).unwrap().current()).collect();
    let messages = (0..SAMPLES).map(|_| message().new_tree(&mut runner).unwrap().current()).collect();
    Samples { answers, messages }
}

/// The bytes of a connection after STARTUP, in one direction.
fn connection(samples: &Samples, rng: &mut Rng, version: Version, compression: Option<Compression>) -> Vec<u8> {
    let mut outbound = Outbound::new(version);
    outbound.start(compression);
    let of_server = rng.below(2) == 0;
    for _ in 0..=rng.below(4) {
        if of_server {
            let answer = &samples.answers[rng.index(SAMPLES)];
            outbound.push_answer(&answer.clone().in_version(version)).unwrap();
        } else {
            let message = &samples.messages[rng.index(SAMPLES)];
            outbound.push_message(&message.clone().in_version(version)).unwrap();
        }
    }
    outbound.take().to_vec()
}

fn mutate(bytes: &mut Vec<u8>, rng: &mut Rng) {
    const EXTREMES: [u8; 6] = [0, 1, 0x7f, 0x80, 0xfe, 0xff];
    for _ in 0..=rng.below(3) {
        let at = rng.index(bytes.len().max(1));
        let Some(byte) = bytes.get_mut(at) else { return };
        match rng.below(6) {
            0 => *byte ^= 1 << rng.below(8),
            1 => *byte = EXTREMES[rng.index(EXTREMES.len())],
            2 => bytes.truncate(at),
            3 => drop(bytes.remove(at)),
            4 => bytes.insert(at, rng.next_u64() as u8),
            // A length or a checksum: four bytes at once.
            _ => {
                let end = (at + 4).min(bytes.len());
                let value = if rng.below(2) == 0 { u32::MAX >> rng.below(32) } else { rng.below(300) as u32 };
                bytes[at..end].copy_from_slice(&value.to_be_bytes()[..end - at]);
            }
        }
    }
}

fn receive(bytes: &[u8], version: Version, compression: Option<Compression>, rng: &mut Rng) {
    let mut inbound = Inbound::new(1 << 20);
    let mut ready = Vec::new();
    Answer::new(0, Response::Ready).encode(&mut ready, version).unwrap();
    inbound.buffer().extend_from_slice(&ready);
    assert!(inbound.next_envelope().unwrap().is_some());
    inbound.start(compression);
    for chunk in bytes.chunks(1 + rng.index(200)) {
        inbound.buffer().extend_from_slice(chunk);
        loop {
            match inbound.next_envelope() {
                Ok(Some(envelope)) => {
                    let decoded = (Message::decode(&envelope), Answer::decode(&envelope));
                    // What decodes can be written again.
                    let mut out = Vec::new();
                    match decoded {
                        (Ok(message), _) => message.encode(&mut out, version).unwrap(),
                        (_, Ok(answer)) => answer.encode(&mut out, version).unwrap(),
                        _ => {}
                    }
                }
                Ok(None) => break,
                Err(fault) => {
                    assert_eq!(inbound.next_envelope(), Ok(None), "nothing comes after {fault}");
                    return;
                }
            }
        }
        // A compressed segment may hold 255 times its bytes, and no more than its longest payload.
        assert!(inbound.held() <= bytes.len() + crate::segment::PAYLOAD_BYTES_MAX);
    }
}

#[test]
fn mutated_frames_are_refused_without_a_panic() {
    let samples = samples();
    let numbers = std::env::var("HELENUS_FRAMES").map_or(0..20_000, |range| {
        let (start, end) = range.split_once("..").expect("HELENUS_FRAMES is a range of numbers");
        start.parse::<u64>().expect("a number")..end.parse().expect("a number")
    });
    for seed in numbers {
        let mut rng = Rng::new(seed);
        let version = Version::ALL[rng.index(2)];
        let compression = match rng.below(3) {
            0 => None,
            1 if version < Version::V5 => Some(Compression::Snappy),
            _ => Some(Compression::Lz4),
        };
        let mut bytes = connection(&samples, &mut rng, version, compression);
        mutate(&mut bytes, &mut rng);
        receive(&bytes, version, compression, &mut rng);
    }
}
