//! Server timestamps: microseconds of the wall clock, strictly increasing in a shard for the whole life of
//! its node.
//!
//! Invariant T1: no timestamp is given above the ceiling that is durable. After a restart the shard goes
//! on above the recovered ceiling, so above everything that it ever gave, wherever the wall clock is.

use bytes::Bytes;
use model::codec::{CodecError, Decode, Encode};
use model::local::{LocalWrite, prefix, shard_of_counter_id};
use model::{NodeId, WallMicros};

use crate::batch::LoggedBatch;
use crate::repair::RecoveredRepairs;
use crate::retry::{removed_before, removed_before_key};
use crate::shard::decode_counter_id;
use crate::storage::StorageError;
use std::collections::BTreeMap;

/// What a shard finds of its node's earlier life.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// No shard of the node ever gave a timestamp above this, in microseconds.
    pub timestamp_ceiling: Option<i64>,
    /// Nodes for which hints are kept.
    pub hint_targets: Vec<NodeId>,
    /// By shard: the id under which it counts.
    pub counter_ids: BTreeMap<u16, NodeId>,
    /// The logged batches that the node keeps, with their bytes.
    pub batches: Vec<(u128, usize)>,
    /// Its repairs.
    pub repairs: RecoveredRepairs,
    /// The node has removed what requests with retry tokens came to up to this time.
    pub outcomes_removed_before: Option<WallMicros>,
}

/// The end of the key of a shard's ceiling, after [`prefix::NODE`] and the shard's index.
const CEILING: &[u8] = b"/timestamp_ceiling";

impl Recovered {
    /// Reads it from the node's own records under [`prefix::NODE`] and [`prefix::BATCHES`], those of all shards, and
    /// the targets that storage lists. Every shard takes the highest ceiling of all, so that their number may change
    /// between starts.
    ///
    /// # Errors
    /// `Corrupt`, when a record is not what it must be: to go on without a ceiling could give a timestamp twice.
    pub fn from_local_records(
        records: &[(Bytes, Bytes)],
        hint_targets: Vec<NodeId>,
    ) -> Result<Recovered, StorageError> {
        let mut timestamp_ceiling = None;
        for (key, value) in records.iter().filter(|(key, _)| key.starts_with(prefix::NODE) && key.ends_with(CEILING)) {
            let ceiling = decode_ceiling(value)
                .map_err(|error| StorageError::Corrupt(format!("timestamp ceiling {}: {error}", key.escape_ascii())))?;
            timestamp_ceiling = timestamp_ceiling.max(Some(ceiling));
        }
        let mut counter_ids = BTreeMap::new();
        for (key, value) in records {
            let Some(shard) = shard_of_counter_id(key) else { continue };
            let id = decode_counter_id(value)
                .map_err(|error| StorageError::Corrupt(format!("counter id {}: {error}", key.escape_ascii())))?;
            counter_ids.insert(shard, id);
        }
        let mut batches = Vec::new();
        for (key, value) in records.iter().filter(|(key, _)| key.starts_with(prefix::BATCHES)) {
            let batch = LoggedBatch::of_record(value)
                .map_err(|error| StorageError::Corrupt(format!("batch {}: {error}", key.escape_ascii())))?;
            batches.push((batch.id, batch.bytes()));
        }
        let repairs = RecoveredRepairs::from_local_records(records)
            .map_err(|error| StorageError::Corrupt(format!("the node's records of its repairs: {error}")))?;
        let key = removed_before_key();
        let removed = removed_before(records.iter().find(|(own, _)| *own == key).map(|(_, value)| value));
        let outcomes_removed_before =
            removed.map_err(|error| StorageError::Corrupt(format!("record {}: {error}", key.escape_ascii())))?;
        Ok(Recovered { timestamp_ceiling, hint_targets, counter_ids, batches, repairs, outcomes_removed_before })
    }
}

/// First byte of a ceiling record.
const FORMAT: u8 = 1;

fn decode_ceiling(value: &Bytes) -> Result<i64, CodecError> {
    match value.first() {
        Some(&FORMAT) => i64::from_bytes(&value.slice(1..)),
        Some(&version) => Err(CodecError::Version(version)),
        None => Err(CodecError::Truncated),
    }
}

/// The record that makes `ceiling` durable for a shard.
pub(crate) fn ceiling_record(shard: u16, ceiling: i64) -> LocalWrite {
    let key = [prefix::NODE, shard.to_string().as_bytes(), CEILING].concat();
    let mut value = vec![FORMAT];
    ceiling.encode(&mut value);
    LocalWrite::of(vec![(Bytes::from(key), Some(Bytes::from(value)))])
}

/// The source of a shard's timestamps.
#[derive(Debug)]
pub(crate) struct Timestamps {
    /// The last one given; at the start the recovered ceiling.
    last: i64,
    /// The ceiling on disk.
    durable: i64,
    /// The ceiling on its way to disk.
    requested: Option<i64>,
    /// How far ahead to reserve, in microseconds.
    reserve: i64,
}

impl Timestamps {
    pub(crate) fn new(recovered: Option<i64>, reserve: std::time::Duration) -> Timestamps {
        let ceiling = recovered.unwrap_or(i64::MIN);
        let reserve = i64::try_from(reserve.as_micros()).unwrap_or(i64::MAX).max(2);
        Timestamps { last: ceiling, durable: ceiling, requested: None, reserve }
    }

    fn candidate(&self, wall: WallMicros) -> i64 {
        wall.0.max(self.last.saturating_add(1))
    }

    /// The next timestamp; `None` when it must wait until a higher ceiling is durable.
    pub(crate) fn next(&mut self, wall: WallMicros) -> Option<i64> {
        let candidate = self.candidate(wall);
        if candidate > self.durable {
            return None;
        }
        assert!(candidate > self.last, "T1: timestamps strictly increase");
        self.last = candidate;
        Some(candidate)
    }

    /// The ceiling to write now: half of the reserve is used up, and none is on its way.
    pub(crate) fn reserve(&mut self, wall: WallMicros) -> Option<i64> {
        let candidate = self.candidate(wall);
        if self.requested.is_some() || candidate.saturating_add(self.reserve / 2) <= self.durable {
            return None;
        }
        self.requested = Some(candidate.saturating_add(self.reserve));
        self.requested
    }

    /// The ceiling last asked for is durable.
    pub(crate) fn reserved(&mut self) {
        if let Some(ceiling) = self.requested.take() {
            self.durable = self.durable.max(ceiling);
        }
    }

    /// The ceiling last asked for could not be written.
    pub(crate) fn reservation_failed(&mut self) {
        self.requested = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn stored(write: LocalWrite) -> Vec<(Bytes, Bytes)> {
        write.records.into_iter().map(|(key, value)| (key, value.unwrap())).collect()
    }

    #[test]
    fn timestamps_increase_across_clock_jumps_and_restarts_and_stay_below_the_ceiling() {
        let reserve = Duration::from_micros(100);
        let mut records: Vec<(Bytes, Bytes)> = Vec::new();
        let mut given = vec![i64::MIN];
        // Each life starts with the clock wherever it likes.
        for (life, start) in [1_000, 5, 1_000_000, 0, -50].into_iter().enumerate() {
            let recovered = Recovered::from_local_records(&records, Vec::new()).unwrap();
            let mut timestamps = Timestamps::new(recovered.timestamp_ceiling, reserve);
            for step in 0..300i64 {
                // The clock goes on, and back every 50 steps.
                let wall = WallMicros(start + step % 50);
                if let Some(ceiling) = timestamps.reserve(wall) {
                    records.extend(stored(ceiling_record(life as u16 % 2, ceiling)));
                    assert_eq!(timestamps.reserve(wall), None, "one ceiling at a time");
                    timestamps.reserved();
                }
                let next = timestamps.next(wall).expect("the ceiling is high enough");
                assert!(next > *given.last().unwrap());
                given.push(next);
            }
        }
    }

    #[test]
    fn a_timestamp_waits_for_its_ceiling() {
        let mut timestamps = Timestamps::new(None, Duration::from_secs(10));
        assert_eq!(timestamps.next(WallMicros(7)), None);
        assert_eq!(timestamps.reserve(WallMicros(7)), Some(10_000_007));
        assert_eq!(timestamps.next(WallMicros(7)), None);
        timestamps.reservation_failed();
        assert_eq!(timestamps.next(WallMicros(7)), None);
        assert!(timestamps.reserve(WallMicros(7)).is_some());
        timestamps.reserved();
        assert_eq!(timestamps.next(WallMicros(7)), Some(7));
        assert_eq!(timestamps.next(WallMicros(7)), Some(8));
        // A jump beyond the ceiling waits again.
        assert_eq!(timestamps.next(WallMicros(11_000_000)), None);
    }

    #[test]
    fn a_damaged_ceiling_is_not_passed_over() {
        let mut records = stored(ceiling_record(3, 77));
        let recovered = Recovered::from_local_records(&records, vec![NodeId(1)]).unwrap();
        let expected = Recovered { timestamp_ceiling: Some(77), hint_targets: vec![NodeId(1)], ..Recovered::default() };
        assert_eq!(recovered, expected);
        for damaged in [&[][..], &[1, 2, 3], &[9, 0, 0, 0, 0, 0, 0, 0, 0]] {
            records[0].1 = Bytes::copy_from_slice(damaged);
            assert!(matches!(Recovered::from_local_records(&records, Vec::new()), Err(StorageError::Corrupt(_))));
        }
    }
}
