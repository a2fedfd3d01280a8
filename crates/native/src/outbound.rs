//! What is sent on a connection: from messages to the bytes of one write.
//!
//! Messages are gathered until [`Outbound::take`]; in version 5 as many as fit go into one segment, and what does
//! not fit into one is split over several.

use crate::compression::Compression;
use crate::envelope::{Flags, HEADER_BYTES};
use crate::error::EncodeError;
use crate::request::Message;
use crate::response::Answer;
use crate::segment::{PAYLOAD_BYTES_MAX, put_segment};
use crate::version::Version;
use bytes::Bytes;

/// One direction of a connection, as its sender sees it.
#[derive(Debug)]
pub struct Outbound {
    version: Version,
    compression: Option<Compression>,
    segmented: bool,
    /// Envelopes that are to go into the next segment; at most its longest payload.
    payload: Vec<u8>,
    /// Bytes that can be written.
    ready: Vec<u8>,
}

impl Outbound {
    /// The start of a connection.
    #[must_use]
    pub fn new(version: Version) -> Outbound {
        Outbound { version, compression: None, segmented: false, payload: Vec::new(), ready: Vec::new() }
    }

    /// The version that is written.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// To be called when the answer to STARTUP was added (by a server) or has come (to a client): what was agreed
    /// on holds for what is added from now on.
    pub fn start(&mut self, compression: Option<Compression>) {
        self.compression = compression;
        self.segmented = self.version == Version::V5;
    }

    /// Bytes that wait to be taken, about.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.ready.len() + self.payload.len()
    }

    /// Adds an answer.
    ///
    /// # Errors
    /// When it cannot be written. Then nothing of it is added.
    pub fn push_answer(&mut self, answer: &Answer) -> Result<(), EncodeError> {
        let version = self.version;
        self.push(|out| answer.encode(out, version))
    }

    /// Adds a request.
    ///
    /// # Errors
    /// As [`Outbound::push_answer`].
    pub fn push_message(&mut self, message: &Message) -> Result<(), EncodeError> {
        let version = self.version;
        self.push(|out| message.encode(out, version))
    }

    fn push(&mut self, encode: impl FnOnce(&mut Vec<u8>) -> Result<(), EncodeError>) -> Result<(), EncodeError> {
        if self.segmented {
            let start = self.payload.len();
            encode(&mut self.payload)?;
            if self.payload.len() > PAYLOAD_BYTES_MAX {
                self.split_payload(start);
            }
            return Ok(());
        }
        let start = self.ready.len();
        encode(&mut self.ready)?;
        self.compress_body(start);
        Ok(())
    }

    /// Compresses the body of the version 4 envelope that begins at `start`, if that makes it shorter.
    fn compress_body(&mut self, start: usize) {
        let body = start + HEADER_BYTES;
        let compressed = self.compression.and_then(|compression| compression.compress_body(&self.ready[body..]));
        if let Some(compressed) = compressed {
            self.ready[start + 1] |= Flags::COMPRESSED.0;
            // Shorter than the body, whose length fits.
            let length = compressed.len() as u32;
            self.ready[body - 4..body].copy_from_slice(&length.to_be_bytes());
            self.ready.truncate(body);
            self.ready.extend_from_slice(&compressed);
        }
    }

    /// Makes segments of a payload that became too long with the envelope that begins at `start`.
    fn split_payload(&mut self, start: usize) {
        let envelope = self.payload.split_off(start);
        self.end_segment();
        if envelope.len() <= PAYLOAD_BYTES_MAX {
            self.payload = envelope;
            return;
        }
        for part in envelope.chunks(PAYLOAD_BYTES_MAX) {
            put_segment(&mut self.ready, part, false, self.compression.is_some());
        }
    }

    fn end_segment(&mut self) {
        if !self.payload.is_empty() {
            put_segment(&mut self.ready, &self.payload, true, self.compression.is_some());
            self.payload.clear();
        }
    }

    /// Everything that was added and not taken, as the bytes to be written.
    pub fn take(&mut self) -> Bytes {
        self.end_segment();
        Bytes::from(std::mem::take(&mut self.ready))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inbound::Inbound;
    use crate::response::{QueryResult, Response};
    use crate::samples::{answer, message};
    use proptest::prelude::*;

    fn agreements() -> Vec<(Version, Option<Compression>)> {
        let lz4 = Some(Compression::Lz4);
        vec![
            (Version::V4, None),
            (Version::V4, lz4),
            (Version::V4, Some(Compression::Snappy)),
            (Version::V5, None),
            (Version::V5, lz4),
        ]
    }

    /// The two ends of a connection after STARTUP and its answer.
    fn ends((version, compression): (Version, Option<Compression>)) -> (Outbound, Inbound) {
        let (mut outbound, mut inbound) = (Outbound::new(version), Inbound::new(usize::MAX));
        outbound.push_answer(&Answer::new(0, Response::Ready)).unwrap();
        inbound.buffer().extend_from_slice(&outbound.take());
        assert!(inbound.next_envelope().unwrap().is_some());
        outbound.start(compression);
        inbound.start(compression);
        (outbound, inbound)
    }

    fn set_keyspace(length: usize) -> Answer {
        Answer::new(1, Response::Result(QueryResult::SetKeyspace("k".repeat(length))))
    }

    #[test]
    fn many_messages_share_a_segment_and_a_long_one_has_several() {
        let (mut outbound, mut inbound) = ends((Version::V5, None));
        for _ in 0..10 {
            outbound.push_answer(&set_keyspace(100)).unwrap();
        }
        let bytes = outbound.take();
        assert_eq!(bytes.len(), 6 + 10 * (9 + 4 + 2 + 100) + 4, "one segment");
        assert_eq!((outbound.waiting(), outbound.take().len()), (0, 0));
        let payload = crate::failure::Failure::Unprepared { id: Bytes::from(vec![7; 60_000]) };
        let error = crate::failure::ErrorResponse { message: "m".repeat(65_535), failure: payload };
        let long = Answer::new(2, Response::Error(error));
        let mut warned = long.clone();
        warned.extras.warnings = vec!["w".repeat(65_535); 3];
        let sent = [set_keyspace(1), long.clone(), long, warned.clone(), set_keyspace(2), warned];
        inbound.buffer().extend_from_slice(&bytes);
        for answer in &sent {
            outbound.push_answer(answer).unwrap();
        }
        inbound.buffer().extend_from_slice(&outbound.take());
        for expected in std::iter::repeat_n(&set_keyspace(100), 10).chain(&sent) {
            let envelope = inbound.next_envelope().unwrap().unwrap();
            assert_eq!(Answer::decode(&envelope).as_ref(), Ok(expected));
        }
        assert_eq!((inbound.next_envelope(), inbound.held()), (Ok(None), 0));
    }

    #[test]
    fn what_cannot_be_written_leaves_the_rest_alone() {
        for agreement in agreements() {
            let (mut outbound, mut inbound) = ends(agreement);
            outbound.push_answer(&set_keyspace(100)).unwrap();
            assert!(outbound.push_answer(&set_keyspace(65_536)).is_err());
            outbound.push_answer(&set_keyspace(5)).unwrap();
            inbound.buffer().extend_from_slice(&outbound.take());
            for length in [100, 5] {
                let envelope = inbound.next_envelope().unwrap().unwrap();
                assert_eq!(Answer::decode(&envelope), Ok(set_keyspace(length)));
            }
            assert_eq!(inbound.next_envelope(), Ok(None));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_connection_carries_everything_however_it_is_cut(
            agreement in prop::sample::select(agreements()), seed in 1usize..50,
            answers in prop::collection::vec(answer(), 0..5), messages in prop::collection::vec(message(), 0..5),
        ) {
            let version = agreement.0;
            let (mut outbound, mut inbound) = ends(agreement);
            let answers: Vec<_> = answers.into_iter().map(|answer| answer.in_version(version)).collect();
            for answer in &answers {
                outbound.push_answer(answer).unwrap();
            }
            let mut received = Vec::new();
            for chunk in outbound.take().chunks(seed) {
                inbound.buffer().extend_from_slice(chunk);
                while let Some(envelope) = inbound.next_envelope().unwrap() {
                    received.push(Answer::decode(&envelope).unwrap());
                }
            }
            prop_assert_eq!(received, answers);
            let (mut outbound, mut inbound) = ends(agreement);
            let messages: Vec<_> = messages.into_iter().map(|message| message.in_version(version)).collect();
            for message in &messages {
                outbound.push_message(message).unwrap();
            }
            let mut received = Vec::new();
            for chunk in outbound.take().chunks(seed) {
                inbound.buffer().extend_from_slice(chunk);
                while let Some(envelope) = inbound.next_envelope().unwrap() {
                    received.push(Message::decode(&envelope).unwrap());
                }
            }
            prop_assert_eq!(received, messages);
        }
    }
}
