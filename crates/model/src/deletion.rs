//! Deletions that cover more than one row: of a whole partition and of ranges of its rows.
//!
//! The state is a function from positions to the newest deletion that covers them; merging takes the
//! larger deletion at every position. It is kept in one normal form: ranges sorted, disjoint, not
//! empty, touching neighbours different, and none that the partition deletion already covers. Equal
//! states therefore have equal bytes, and merging is commutative, associative and idempotent.
//! (Cassandra's `RangeTombstoneList` keeps the first-seen local time on equal timestamps, which
//! depends on order; here the pair (timestamp, local time) decides.)

use crate::codec::{CodecError, Decode, Encode, Reader, put_bytes, put_option, put_sequence};
use crate::garbage::Purge;
use bytes::Bytes;

/// Deletes what was written at or before `timestamp`. Deletions are ordered by timestamp, then by
/// local time; the larger one supersedes the smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Deletion {
    /// Write timestamp in microseconds: everything at or below it is deleted.
    pub timestamp: i64,
    /// When it was made, in seconds since 1970: only garbage collection looks at it.
    pub local_seconds: u32,
}

/// A deletion of all rows whose encoded clustering key is in `start..end`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeTombstone {
    /// First position deleted, in the space of encoded clustering keys.
    pub start: Bytes,
    /// First position after `start` not deleted.
    pub end: Bytes,
    /// What deletes them.
    pub deletion: Deletion,
}

/// The deletions of one partition, in normal form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionDeletions {
    partition: Option<Deletion>,
    ranges: Vec<RangeTombstone>,
}

impl PartitionDeletions {
    /// A deletion of the whole partition, static row included.
    #[must_use]
    pub fn of_partition(deletion: Deletion) -> PartitionDeletions {
        PartitionDeletions { partition: Some(deletion), ranges: Vec::new() }
    }

    /// A deletion of the rows in `start..end`; nothing when that is empty.
    #[must_use]
    pub fn of_range(start: Bytes, end: Bytes, deletion: Deletion) -> PartitionDeletions {
        let ranges = if start < end { vec![RangeTombstone { start, end, deletion }] } else { Vec::new() };
        PartitionDeletions { partition: None, ranges }
    }

    /// True when nothing is deleted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.partition.is_none() && self.ranges.is_empty()
    }

    /// The deletion of the whole partition.
    #[must_use]
    pub fn partition(&self) -> Option<Deletion> {
        self.partition
    }

    /// The range tombstones, sorted and disjoint.
    #[must_use]
    pub fn ranges(&self) -> &[RangeTombstone] {
        &self.ranges
    }

    /// The newest deletion that covers the row at `clustering`.
    #[must_use]
    pub fn covering(&self, clustering: &[u8]) -> Option<Deletion> {
        let after = self.ranges.partition_point(|range| range.start.as_ref() <= clustering);
        let range = after.checked_sub(1).map(|index| &self.ranges[index]);
        // In normal form a range supersedes the partition deletion.
        range.filter(|range| clustering < range.end.as_ref()).map(|range| range.deletion).or(self.partition)
    }

    /// The join of both: at every position the larger deletion.
    #[must_use]
    pub fn merge(&self, other: &PartitionDeletions) -> PartitionDeletions {
        let partition = self.partition.max(other.partition);
        if self.ranges.is_empty() && other.ranges.is_empty() {
            return PartitionDeletions { partition, ranges: Vec::new() };
        }
        let mut cuts: Vec<&Bytes> =
            self.ranges.iter().chain(&other.ranges).flat_map(|range| [&range.start, &range.end]).collect();
        cuts.sort_unstable();
        cuts.dedup();
        let mut ranges: Vec<RangeTombstone> = Vec::new();
        for pair in cuts.windows(2) {
            let deletion = range_at(&self.ranges, pair[0]).max(range_at(&other.ranges, pair[0]));
            let Some(deletion) = deletion.filter(|deletion| Some(*deletion) > partition) else { continue };
            push_range(&mut ranges, pair[0], pair[1], deletion);
        }
        PartitionDeletions { partition, ranges }
    }

    /// What is left when the deletions that are garbage by `purge` are gone.
    #[must_use]
    pub fn without_garbage(&self, purge: &Purge) -> PartitionDeletions {
        let kept = self.ranges.iter().filter(|range| !purge.is_garbage(&range.deletion));
        PartitionDeletions {
            partition: self.partition.filter(|deletion| !purge.is_garbage(deletion)),
            ranges: kept.cloned().collect(),
        }
    }

    /// The deletions that are garbage by `purge`: what [`PartitionDeletions::without_garbage`] leaves out.
    #[must_use]
    pub fn garbage(&self, purge: &Purge) -> PartitionDeletions {
        let garbage = self.ranges.iter().filter(|range| purge.is_garbage(&range.deletion));
        PartitionDeletions {
            partition: self.partition.filter(|deletion| purge.is_garbage(deletion)),
            ranges: garbage.cloned().collect(),
        }
    }

    /// What is left when exactly the deletions of `removed` are taken away: the partition deletion if it is
    /// the same, and ranges where the deletion is the same. What superseded them stays. Not a join: only
    /// garbage collection does this, to a node's own copy.
    #[must_use]
    pub fn subtract(&self, removed: &PartitionDeletions) -> PartitionDeletions {
        let partition = self.partition.filter(|deletion| removed.partition != Some(*deletion));
        if self.ranges.is_empty() || removed.ranges.is_empty() {
            return PartitionDeletions { partition, ranges: self.ranges.clone() };
        }
        let mut cuts: Vec<&Bytes> =
            self.ranges.iter().chain(&removed.ranges).flat_map(|range| [&range.start, &range.end]).collect();
        cuts.sort_unstable();
        cuts.dedup();
        let mut ranges: Vec<RangeTombstone> = Vec::new();
        for pair in cuts.windows(2) {
            let Some(deletion) = range_at(&self.ranges, pair[0]) else { continue };
            if range_at(&removed.ranges, pair[0]) != Some(deletion) {
                push_range(&mut ranges, pair[0], pair[1], deletion);
            }
        }
        PartitionDeletions { partition, ranges }
    }

    /// The part of the ranges that lies in `start..end`, with the partition deletion: what a read of
    /// that slice needs.
    #[must_use]
    pub fn clip(&self, start: &Bytes, end: &Bytes) -> PartitionDeletions {
        let clipped = self.ranges.iter().filter_map(|range| {
            let (start, end) = (range.start.clone().max(start.clone()), range.end.clone().min(end.clone()));
            (start < end).then_some(RangeTombstone { start, end, deletion: range.deletion })
        });
        PartitionDeletions { partition: self.partition, ranges: clipped.collect() }
    }
}

/// The deletion of the range that holds `position`, in a sorted disjoint list.
fn range_at(ranges: &[RangeTombstone], position: &Bytes) -> Option<Deletion> {
    let after = ranges.partition_point(|range| range.start <= *position);
    let range = &ranges[after.checked_sub(1)?];
    (*position < range.end).then_some(range.deletion)
}

/// Appends a range, as part of the last one if it goes on with the same deletion.
fn push_range(ranges: &mut Vec<RangeTombstone>, start: &Bytes, end: &Bytes, deletion: Deletion) {
    match ranges.last_mut() {
        Some(last) if last.end == *start && last.deletion == deletion => last.end = end.clone(),
        _ => ranges.push(RangeTombstone { start: start.clone(), end: end.clone(), deletion }),
    }
}

impl Encode for Deletion {
    fn encode(&self, out: &mut Vec<u8>) {
        self.timestamp.encode(out);
        self.local_seconds.encode(out);
    }
}

impl Decode for Deletion {
    fn decode(reader: &mut Reader) -> Result<Deletion, CodecError> {
        Ok(Deletion { timestamp: reader.i64()?, local_seconds: reader.varint_u32()? })
    }
}

impl Encode for RangeTombstone {
    fn encode(&self, out: &mut Vec<u8>) {
        put_bytes(out, &self.start);
        put_bytes(out, &self.end);
        self.deletion.encode(out);
    }
}

impl Decode for RangeTombstone {
    fn decode(reader: &mut Reader) -> Result<RangeTombstone, CodecError> {
        Ok(RangeTombstone { start: reader.bytes()?, end: reader.bytes()?, deletion: Deletion::decode(reader)? })
    }
}

/// First byte of an encoded [`PartitionDeletions`].
const FORMAT: u8 = 1;

impl Encode for PartitionDeletions {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(FORMAT);
        put_option(out, self.partition.as_ref());
        put_sequence(out, &self.ranges);
    }
}

impl Decode for PartitionDeletions {
    fn decode(reader: &mut Reader) -> Result<PartitionDeletions, CodecError> {
        match reader.u8()? {
            FORMAT => {}
            version => return Err(CodecError::Version(version)),
        }
        let partition = reader.option()?;
        let ranges: Vec<RangeTombstone> = reader.sequence()?;
        let sound = |range: &RangeTombstone| range.start < range.end && Some(range.deletion) > partition;
        let ordered = |pair: &[RangeTombstone]| {
            pair[0].end < pair[1].start || (pair[0].end == pair[1].start && pair[0].deletion != pair[1].deletion)
        };
        if !ranges.iter().all(sound) || !ranges.windows(2).all(ordered) {
            return Err(CodecError::Invalid("range tombstones"));
        }
        Ok(PartitionDeletions { partition, ranges })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    fn deletion() -> impl Strategy<Value = Deletion> {
        let timestamp = prop_oneof![Just(i64::MIN), Just(i64::MAX), -2i64..3];
        (timestamp, 0u32..3).prop_map(|(timestamp, local_seconds)| Deletion { timestamp, local_seconds })
    }

    pub(crate) fn deletions() -> impl Strategy<Value = PartitionDeletions> {
        let range = (0u8..12, 0u8..12, deletion()).prop_map(|(start, end, deletion)| {
            PartitionDeletions::of_range(Bytes::from(vec![start]), Bytes::from(vec![end]), deletion)
        });
        let one = prop_oneof![4 => range, 1 => deletion().prop_map(PartitionDeletions::of_partition)];
        prop::collection::vec(one, 0..6)
            .prop_map(|all| all.iter().fold(PartitionDeletions::default(), |merged, one| merged.merge(one)))
    }

    proptest! {
        #[test]
        fn merging_is_a_join(a in deletions(), b in deletions(), c in deletions()) {
            prop_assert_eq!(a.merge(&b), b.merge(&a));
            prop_assert_eq!(a.merge(&b).merge(&c), a.merge(&b.merge(&c)));
            prop_assert_eq!(a.merge(&a), a.clone());
            prop_assert_eq!(a.merge(&PartitionDeletions::default()), a);
        }

        #[test]
        fn merging_takes_the_larger_deletion_at_every_position(a in deletions(), b in deletions()) {
            let merged = a.merge(&b);
            for position in 0u8..13 {
                let at = [position];
                prop_assert_eq!(merged.covering(&at), a.covering(&at).max(b.covering(&at)));
            }
        }

        #[test]
        fn encoding_round_trips(a in deletions()) {
            prop_assert_eq!(PartitionDeletions::from_bytes(&a.to_bytes()), Ok(a));
        }

        #[test]
        fn clipping_keeps_what_is_inside(a in deletions(), start in 0u8..12, end in 0u8..12) {
            let clipped = a.clip(&Bytes::from(vec![start]), &Bytes::from(vec![end]));
            for position in 0u8..13 {
                let inside = (start..end).contains(&position);
                let expected = if inside { a.covering(&[position]) } else { a.partition() };
                prop_assert_eq!(clipped.covering(&[position]), expected);
            }
        }

        #[test]
        fn any_bytes_decode_or_fail_without_panic(bytes: Vec<u8>) {
            let _ = PartitionDeletions::from_bytes(&Bytes::from(bytes));
        }
    }
}
