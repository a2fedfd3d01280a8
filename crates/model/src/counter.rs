//! Counters: a column that adds up what each node has counted.
//!
//! Each node that takes increments keeps a shard: its own sum so far, and a clock that rises with each
//! change of it. A counter is a complex column with one cell for each shard: the path is the node's id,
//! the cell's timestamp is the clock and its value the sum, in a form whose bytes are in the order of
//! numbers. Reconciliation of cells is thereby that of shards: the larger clock stays, at equal clocks
//! the larger sum (Cassandra's `CounterContext`). Applying a shard twice changes nothing.
//!
//! Deleting a counter column is final: its deletion has the largest timestamp that there is, so that it
//! wins whatever the clocks say and whichever comes first (CASSANDRA-7346). Until garbage collection has
//! removed the deletion, increments are without effect. A deletion of the row or more has an ordinary
//! timestamp; it removes the shards whose clocks, microseconds like any timestamp, are not above it.

use crate::complex::ComplexColumn;
use crate::deletion::Deletion;
use crate::id::NodeId;
use crate::row::{Cell, CellState};
use bytes::Bytes;

/// What one node has counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// The node.
    pub node: NodeId,
    /// Rises with each change: the node's wall clock in microseconds, or one more than before if that is
    /// larger.
    pub clock: i64,
    /// The sum of the increments that the node has taken.
    pub count: i64,
}

impl Shard {
    /// The shard after the node has taken another increment, when its wall clock is at `now_micros`. Sums
    /// wrap around, as in Cassandra.
    #[must_use]
    pub fn incremented(self, by: i64, now_micros: i64) -> Shard {
        let clock = now_micros.max(self.clock.saturating_add(1));
        Shard { node: self.node, clock, count: self.count.wrapping_add(by) }
    }

    /// The shard as a change of a counter.
    #[must_use]
    pub fn to_column(self) -> ComplexColumn {
        let count = Bytes::copy_from_slice(&((self.count as u64) ^ (1 << 63)).to_be_bytes());
        let path = Bytes::copy_from_slice(&self.node.0.to_be_bytes());
        ComplexColumn::new(None, vec![(path, Cell::live(self.clock, count))])
    }
}

/// The change that deletes a counter column for good, made at `local_seconds` since 1970.
#[must_use]
pub fn deleted(local_seconds: u32) -> ComplexColumn {
    ComplexColumn::new(Some(Deletion { timestamp: i64::MAX, local_seconds }), Vec::new())
}

/// The shards of a counter, ascending by node. What is no shard, which nothing writes, is passed over.
pub fn shards(column: &ComplexColumn) -> impl Iterator<Item = Shard> + '_ {
    column.cells().iter().filter_map(|(path, cell)| {
        let CellState::Live(count) = &cell.state else { return None };
        let node = NodeId(u128::from_be_bytes(path.as_ref().try_into().ok()?));
        let count = u64::from_be_bytes(count.as_ref().try_into().ok()?) ^ (1 << 63);
        Some(Shard { node, clock: cell.timestamp, count: count as i64 })
    })
}

/// The value of a counter; `None` when nobody has counted, or it is deleted.
#[must_use]
pub fn value(column: &ComplexColumn) -> Option<i64> {
    shards(column).map(|shard| shard.count).reduce(i64::wrapping_add)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn shard() -> impl Strategy<Value = Shard> {
        let number = || prop_oneof![Just(i64::MIN), Just(i64::MAX), -2i64..3];
        (prop_oneof![Just(0), Just(u128::MAX), 1u128..4], number(), number()).prop_map(|(node, clock, count)| Shard {
            node: NodeId(node),
            clock,
            count,
        })
    }

    proptest! {
        #[test]
        fn the_newest_shard_of_each_node_counts(all in prop::collection::vec(shard(), 0..12)) {
            let merged = all.iter().map(|shard| shard.to_column()).reduce(ComplexColumn::merge).unwrap_or_default();
            let mut expected = BTreeMap::new();
            for shard in &all {
                let newest = expected.entry(shard.node).or_insert((shard.clock, shard.count));
                *newest = (*newest).max((shard.clock, shard.count));
            }
            let found: Vec<Shard> = shards(&merged).collect();
            let newest = expected.iter().map(|(node, (clock, count))| (*node, *clock, *count));
            let newest = newest.map(|(node, clock, count)| Shard { node, clock, count });
            prop_assert_eq!(found, newest.collect::<Vec<_>>());
            let sum = expected.values().map(|(_, count)| *count).reduce(i64::wrapping_add);
            prop_assert_eq!(value(&merged), sum);
        }

        #[test]
        fn a_deletion_is_final_whatever_the_clocks(
            all in prop::collection::vec(shard(), 0..6), at: prop::sample::Index,
        ) {
            let mut changes: Vec<_> = all.iter().map(|shard| shard.to_column()).collect();
            changes.insert(at.index(changes.len() + 1), deleted(7));
            let merged = changes.into_iter().fold(ComplexColumn::default(), ComplexColumn::merge);
            prop_assert_eq!(merged, deleted(7));
        }

        #[test]
        fn increments_of_one_node_follow_each_other(
            first in shard(), steps in prop::collection::vec((any::<i64>(), -5i64..5), 0..8),
        ) {
            let first = Shard { clock: first.clock.min(1), ..first };
            let (mut latest, mut merged) = (first, first.to_column());
            for (by, now) in steps {
                let next = latest.incremented(by, now);
                prop_assert!(next.clock > latest.clock && next.clock >= now);
                // An older state that comes late, or twice, changes nothing.
                merged = merged.merge(next.to_column()).merge(latest.to_column());
                prop_assert_eq!(value(&merged), Some(latest.count.wrapping_add(by)));
                latest = next;
            }
        }
    }

    #[test]
    fn what_is_no_shard_does_not_count() {
        let cells = vec![
            (Bytes::from_static(b"short"), Cell::live(1, Bytes::from_static(&[0x80, 0, 0, 0, 0, 0, 0, 9]))),
            (Bytes::from_static(&[1; 16]), Cell::live(1, Bytes::from_static(b"short"))),
            (Bytes::from_static(&[2; 16]), Cell::tombstone(1, 1)),
        ];
        assert_eq!(value(&ComplexColumn::new(None, cells)), None);
    }
}
