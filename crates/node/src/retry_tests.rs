//! What requests came to: how it is recorded, for how long, and which tokens are refused.

use super::*;
use model::{NodeId, Now};
use proptest::prelude::*;

const SECOND: i64 = 1_000_000;
const START: i64 = 1_700_000_000 * SECOND;

fn config() -> ShardConfig {
    ShardConfig { retry_window: Duration::from_secs(600), ..ShardConfig::new(NodeId(1), 0, 1) }
}

fn result(rows: Vec<Vec<Option<Bytes>>>) -> ConditionalResult {
    let column = |name: &str, cql_type| {
        let (keyspace, table) = ("k".to_owned(), "t".to_owned());
        ColumnSpec { keyspace, table, name: name.to_owned(), cql_type }
    };
    ConditionalResult { columns: [column("[applied]", CqlType::Boolean), column("v", CqlType::Blob)].into(), rows }
}

fn a_row() -> impl Strategy<Value = Vec<Option<Bytes>>> {
    let value = || prop::option::of(prop::collection::vec(any::<u8>(), 0..4).prop_map(Bytes::from));
    (value(), value()).prop_map(|(first, second)| vec![first, second])
}

proptest! {
    #[test]
    fn outcomes_come_over_and_survive_their_record(
        rows in prop::collection::vec(a_row(), 0..4), message: String, random: u64,
    ) {
        for outcome in [Outcome::Done, Outcome::Refused(result(rows)), Outcome::Invalid(message)] {
            let token = RetryToken::at(WallMicros(START), random);
            let remembered = Remembered { token, outcome: outcome.clone() };
            let (key, value) = remembered.record(TableId(7), b"p");
            prop_assert_eq!(key, outcome_key(token, TableId(7), b"p"));
            prop_assert_eq!(Outcome::of_record(&value.unwrap()), Ok(outcome));
            prop_assert_eq!(Remembered::from_bytes(&remembered.to_bytes()), Ok(remembered));
        }
    }

    #[test]
    fn any_bytes_decode_or_fail_without_panic(bytes: Vec<u8>) {
        let bytes = Bytes::from(bytes);
        let _ = Outcome::of_record(&bytes);
        let _ = Remembered::from_bytes(&bytes);
        let _ = removed_before(Some(&bytes));
    }
}

#[test]
fn of_a_large_refusal_only_that_it_is_one_is_recorded() {
    let large = Bytes::from(vec![7; RESULT_BYTES_MAX]);
    let no = Some(Bytes::from_static(&[0]));
    let Outcome::Refused(kept) = Outcome::refused(result(vec![vec![no.clone(), Some(large)]])) else { panic!() };
    assert_eq!((kept.columns.len(), kept.rows), (1, vec![vec![no.clone()]]));
    let small = result(vec![vec![no, Some(Bytes::from_static(b"x"))]]);
    assert_eq!(Outcome::refused(small.clone()), Outcome::Refused(small));
}

#[test]
fn a_token_is_good_within_the_window() {
    let check =
        |age: i64| check_token(&config(), RetryToken::at(WallMicros(START - age * SECOND), 7), WallMicros(START));
    for age in [0, 599, 600, -3_600] {
        assert_eq!(check(age), Ok(()), "{age}");
    }
    for (age, says) in [(601, "601 seconds old"), (-25 * 3_600, "seconds in the future")] {
        let Err(RequestError::Invalid(message)) = check(age) else { panic!("{age}") };
        assert!(message.contains(says), "{message}");
    }
}

#[test]
fn a_write_with_a_token_goes_by_its_time() {
    let token = RetryToken::at(WallMicros(START), 7);
    let with = Stamp { timestamp: Some(5), token: Some(token) };
    assert_eq!((with.timestamp(), with.now(WallMicros(9))), (Some(START), WallMicros(START)));
    let without = Stamp { timestamp: Some(5), token: None };
    assert_eq!((without.timestamp(), without.now(WallMicros(9))), (Some(5), WallMicros(9)));
}

#[test]
fn what_is_forgotten_never_becomes_less() {
    let config = config();
    let mut forgetting = Forgetting::new(&config, None, Instant(0));
    let at = |seconds: u64, wall: i64| Now {
        monotonic: Instant(seconds * 1_000_000),
        wall: WallMicros(START + wall * SECOND),
    };
    assert_eq!(forgetting.due(&config, at(599, 0)), None, "it is not time yet");
    let write = forgetting.due(&config, at(600, 0)).expect("it is time");
    let before = WallMicros(START - 1_200 * SECOND);
    assert_eq!(write.removed, Some(outcomes_before(before)));
    assert_eq!(write.records[0].0, removed_before_key());
    assert_eq!(removed_before(write.records[0].1.as_ref()), Ok(Some(before)));
    assert_eq!(forgetting.due(&config, at(601, 100)), None);
    // The clock has gone back.
    assert_eq!(forgetting.due(&config, at(1_200, -5)), None);
    assert!(forgetting.due(&config, at(1_800, 1)).is_some());
    // Also by the record of an earlier life, and on one shard only.
    let mut later = Forgetting::new(&config, Some(WallMicros(START)), Instant(0));
    assert_eq!(later.due(&config, at(600, 1_199)), None);
    let other = ShardConfig { index: 1, ..ShardConfig::new(NodeId(1), 1, 2) };
    assert_eq!(Forgetting::new(&other, None, Instant(0)).deadline(), None);
}
