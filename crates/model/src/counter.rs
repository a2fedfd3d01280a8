//! Counters: a column that adds up what each node has counted.
//!
//! Each node that takes increments keeps a shard: its own sum so far, and a clock that rises with each
//! change of it. A counter is a complex column with one cell for each shard: the path is the id under which
//! the node counts, the cell's timestamp is the clock and its value the sum, in a form whose bytes are in the
//! order of numbers. Reconciliation of cells is thereby that of shards: the larger clock stays, at equal clocks
//! the larger sum (Cassandra's `CounterContext`). Applying a shard twice changes nothing.
//!
//! Increments with retry tokens are decided on by all replicas together, and are added to a shard that belongs to none
//! of them, [`AGREED`].
//!
//! An increment that no node has taken yet is the shard of [`NOBODY`]. It is never stored: the replica that takes
//! it ([`take`]) adds it to its own shard. Of an increment twice taken nothing is left to tell, so whoever asks for it
//! to be taken must ask once.
//!
//! Deleting a counter column is final: its deletion has the largest timestamp that there is, so that it
//! wins whatever the clocks say and whichever comes first (CASSANDRA-7346). Until garbage collection has
//! removed the deletion, increments are without effect. A deletion of the row or more has an ordinary
//! timestamp; it removes the shards whose clocks, microseconds like any timestamp, are not above it.

use crate::complex::ComplexColumn;
use crate::deletion::Deletion;
use crate::id::NodeId;
use crate::row::Row;
use crate::row::{Cell, CellState};
use bytes::Bytes;

/// Whose shard an increment is that no node has taken yet.
pub const NOBODY: NodeId = NodeId(0);

/// Whose shard the increments are that the replicas have decided on together, in one order
/// (`docs/protocol/retry-tokens.md`).
pub const AGREED: NodeId = NodeId(u128::MAX);

/// What one node has counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// The id under which the node counts.
    pub node: NodeId,
    /// Rises with each change: the node's wall clock in microseconds, or one more than before if that is
    /// larger.
    pub clock: i64,
    /// The sum of the increments that the node has taken.
    pub count: i64,
}

impl Shard {
    /// An increment, asked for at `timestamp` in microseconds, that no node has taken yet.
    #[must_use]
    pub fn increment(by: i64, timestamp: i64) -> Shard {
        Shard { node: NOBODY, clock: timestamp, count: by }
    }

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

/// True when a change of a row has increments that no node has taken yet.
#[must_use]
pub fn has_increments(change: &Row) -> bool {
    change.complex().iter().any(|(_, column)| increment_of(column).is_some())
}

/// The increment of a counter that no node has taken yet.
fn increment_of(column: &ComplexColumn) -> Option<i64> {
    shards(column).find(|shard| shard.node == NOBODY).map(|shard| shard.count)
}

/// The change of a row in which `node` has taken the increments: they are added to its shards, as `present` has them,
/// which is the row as it is stored here. What else the change does stays. The shards' clocks are above `floor`, the
/// newest deletion of more than the row, and above that of the row: what is counted after one of them is there. (That
/// of a column is final.)
#[must_use]
pub fn take(change: Row, present: &Row, node: NodeId, now_micros: i64, floor: Option<i64>) -> Row {
    let by_row = |row: &Row| row.deletion().map(|deletion| deletion.timestamp);
    let deleted = by_row(present).max(by_row(&change)).max(floor);
    let above = deleted.map_or(i64::MIN, |deleted| deleted.saturating_add(1));
    let mut taken = change;
    taken.change_complex(|id, column| {
        let Some(by) = increment_of(column) else { return };
        let own = present.complex_column(id);
        let fresh = Shard { node, clock: i64::MIN, count: 0 };
        let before = own.and_then(|own| shards(own).find(|shard| shard.node == node)).unwrap_or(fresh);
        *column = before.incremented(by, now_micros.max(above)).to_column();
    });
    taken
}

/// The value of a counter; `None` when nobody has counted, or it is deleted.
#[must_use]
pub fn value(column: &ComplexColumn) -> Option<i64> {
    shards(column).map(|shard| shard.count).reduce(i64::wrapping_add)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{Decode, Encode};
    use crate::id::ColumnId;
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
    fn increments_are_added_to_the_shard_of_who_takes_them() {
        let (id, node, other) = (ColumnId(3), NodeId(7), NodeId(8));
        let asked = |by| Row::default().with_complex([(id, Shard::increment(by, 50).to_column())]);
        let mut present = Row::default().with_complex([(id, Shard { node: other, clock: 90, count: 5 }.to_column())]);
        for (by, now, expected) in [(2, 10, (10, 2)), (-3, 5, (11, -1)), (4, 100, (100, 3))] {
            assert!(has_increments(&asked(by)));
            let taken = take(asked(by), &present, node, now, None);
            assert!(!has_increments(&taken));
            let found: Vec<Shard> = shards(taken.complex_column(id).unwrap()).collect();
            assert_eq!(found, [Shard { node, clock: expected.0, count: expected.1 }]);
            present = present.merge(taken);
        }
        assert_eq!(value(present.complex_column(id).unwrap()), Some(8));
    }

    #[test]
    fn what_is_counted_beside_a_deletion_is_above_it() {
        let (id, node) = (ColumnId(3), NodeId(7));
        let deleted = Row::deleted(Deletion { timestamp: 500, local_seconds: 1 });
        let asked = deleted.merge(Row::default().with_complex([(id, Shard::increment(2, 501).to_column())]));
        assert!(has_increments(&asked));
        let taken = take(asked, &Row::default(), node, 10, None);
        assert_eq!(Row::from_bytes(&taken.to_bytes()).as_ref(), Ok(&taken));
        assert_eq!(taken.complex_column(id).and_then(value), Some(2));
    }

    #[test]
    fn what_is_counted_after_a_deletion_is_there() {
        let (id, node) = (ColumnId(3), NodeId(7));
        let asked = || Row::default().with_complex([(id, Shard::increment(2, 50).to_column())]);
        let counted = |row: &Row| row.complex_column(id).and_then(value);
        // The clock of who takes it is behind the deletions.
        let deleted = Row::deleted(Deletion { timestamp: 500, local_seconds: 1 });
        assert_eq!(counted(&deleted.clone().merge(take(asked(), &deleted, node, 10, None))), Some(2));
        let mut above = take(asked(), &Row::default(), node, 10, Some(700));
        above.delete(Deletion { timestamp: 700, local_seconds: 1 });
        assert_eq!(counted(&above), Some(2));
        // A deletion of the column is final.
        let gone = Row::default().with_complex([(id, super::deleted(1))]);
        assert_eq!(counted(&gone.clone().merge(take(asked(), &gone, node, 10, None))), None);
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
