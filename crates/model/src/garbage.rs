//! What may be purged: deletions and expired data that have done their work everywhere.
//!
//! A deletion shadows what older writes left on other replicas, so it is kept until every replica is taken to
//! have it: for the table's `gc_grace_seconds` from when it was made. The rules are Cassandra's
//! (`PurgeFunction`, `AbstractCell.purge`):
//!
//! | what | garbage when |
//! |---|---|
//! | deletion of a partition, range, row, column or element | it was made before `gc_before` |
//! | what has a time to live | it has expired, and was *written* (expiry less time to live) before `gc_before` |
//! | cell of a dropped column, or deletion in it | it was written at or before the drop |
//!
//! What expires shadows older writes from its own write on, not from its expiry on: hence the second line.
//!
//! Invariants:
//! * Purging only removes: it neither reveals what was shadowed in the same state, since that is gone from it,
//!   nor changes what a reader at `now` or later sees.
//! * Purging commutes with merging whatever is not shadowed by what was purged. What *is* shadowed and arrives
//!   later was under way for longer than the grace: nothing promises that it stays away.
//! * The *normal form* of a state, for one `now` and `gc_before`, is the same whether and when parts of it were
//!   purged before: replicas that purge at different times agree by it (`docs/protocol/storage.md`, G4).

use crate::deletion::Deletion;
use crate::id::ColumnId;
use crate::row::{Cell, CellState, Expiry, Liveness};

/// The point in time by which garbage is told, the same for all replicas of one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Purge {
    /// Seconds since 1970: what expires at or before it has expired.
    pub now_seconds: u32,
    /// Seconds since 1970: what was made before it is known to every replica; see [`gc_before`]. 0 when nothing is.
    pub gc_before_seconds: u32,
    /// Columns that the table has no more, by id, and the largest timestamp in microseconds that their drop covers.
    pub dropped_columns: Vec<(ColumnId, i64)>,
}

/// The second before which deletions of a table are garbage at `now_seconds`, by its `gc_grace_seconds`: the one
/// rule. What may be taken away is told by the time of the last repair in place of the present.
#[must_use]
pub fn gc_before(now_seconds: u32, gc_grace_seconds: u32) -> u32 {
    now_seconds.saturating_sub(gc_grace_seconds)
}

impl Purge {
    /// True when a deletion is garbage.
    #[must_use]
    pub fn is_garbage(&self, deletion: &Deletion) -> bool {
        deletion.local_seconds < self.gc_before_seconds
    }

    /// True when the mark of an INSERT is garbage.
    #[must_use]
    pub fn is_garbage_liveness(&self, liveness: &Liveness) -> bool {
        liveness.expiry.is_some_and(|expiry| self.is_garbage_expiry(expiry))
    }

    /// True when the cell of a column is garbage.
    #[must_use]
    pub fn is_garbage_cell(&self, column: ColumnId, cell: &Cell) -> bool {
        let garbage = match cell.state {
            CellState::Live(_) => false,
            CellState::Expiring(expiry, _) => self.is_garbage_expiry(expiry),
            CellState::Tombstone(local_seconds) => local_seconds < self.gc_before_seconds,
        };
        garbage || self.is_dropped(column, cell.timestamp)
    }

    /// True when the deletion of what a complex column held is garbage.
    #[must_use]
    pub fn is_garbage_in_column(&self, column: ColumnId, deletion: &Deletion) -> bool {
        self.is_garbage(deletion) || self.is_dropped(column, deletion.timestamp)
    }

    fn is_dropped(&self, column: ColumnId, timestamp: i64) -> bool {
        self.dropped_columns.iter().any(|(id, at)| *id == column && timestamp <= *at)
    }

    fn is_garbage_expiry(&self, expiry: Expiry) -> bool {
        let written_seconds = expiry.at_seconds.saturating_sub(expiry.ttl_seconds);
        expiry.is_past(i64::from(self.now_seconds)) && written_seconds < self.gc_before_seconds
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{Decode, Encode};
    use crate::complex::ComplexColumn;
    use crate::deletion::PartitionDeletions;
    use crate::deletion::tests::deletions;
    use crate::row::Row;
    use crate::row::tests::row;
    use bytes::Bytes;
    use proptest::prelude::*;

    fn purge() -> impl Strategy<Value = Purge> {
        let dropped = prop::collection::vec(((0u32..4).prop_map(ColumnId), -2i64..3), 0..2);
        (0u32..14, prop_oneof![0u32..14, Just(u32::MAX)], dropped).prop_map(
            |(now_seconds, gc_before_seconds, dropped_columns)| Purge {
                now_seconds,
                gc_before_seconds,
                dropped_columns,
            },
        )
    }

    /// A purge that came before `purge`, or may have.
    fn earlier(purge: &Purge, now: u32, gc_before: u32) -> Purge {
        Purge {
            now_seconds: purge.now_seconds.min(now),
            gc_before_seconds: purge.gc_before_seconds.min(gc_before),
            dropped_columns: purge.dropped_columns.iter().take(now as usize % 2).copied().collect(),
        }
    }

    fn purged(row: &Row, purge: &Purge) -> Row {
        let mut row = row.clone();
        row.purge(purge);
        row
    }

    fn normal(row: &Row, purge: &Purge) -> Row {
        let mut row = row.clone();
        row.normalize(purge);
        row
    }

    /// What of `later` is not shadowed by anything of `stored` that `purge` removes, for each part by itself.
    fn unshadowed(later: &Row, stored: &Row, purge: &Purge) -> Row {
        let deletion = stored.deletion().filter(|deletion| purge.is_garbage(deletion)).map(|own| own.timestamp);
        let above = |timestamp: i64, shadow: Option<i64>| shadow.is_none_or(|shadow| timestamp > shadow);
        let liveness = stored.liveness().filter(|liveness| purge.is_garbage_liveness(liveness));
        let shadow = deletion.max(liveness.map(|liveness| liveness.timestamp));
        let kept_liveness = later.liveness().filter(|own| above(own.timestamp, shadow));
        let cells = later.cells().iter().filter(|(id, cell)| {
            let garbage = stored.cell(*id).filter(|stored| purge.is_garbage_cell(*id, stored));
            above(cell.timestamp, deletion.max(garbage.map(|garbage| garbage.timestamp)))
        });
        let own = later.deletion().filter(|own| above(own.timestamp, deletion));
        let complex = later.complex().iter().map(|(id, column)| {
            let stored = stored.complex_column(*id);
            let of_column = stored.and_then(ComplexColumn::deletion);
            let of_column = of_column.filter(|own| purge.is_garbage_in_column(*id, own)).map(|own| own.timestamp);
            let shadow = deletion.max(of_column);
            let cells = column.cells().iter().filter(|(path, cell)| {
                let garbage = stored.and_then(|stored| stored.cell(path));
                let garbage = garbage.filter(|stored| purge.is_garbage_cell(*id, stored));
                above(cell.timestamp, shadow.max(garbage.map(|garbage| garbage.timestamp)))
            });
            let own = column.deletion().filter(|own| above(own.timestamp, shadow));
            (*id, ComplexColumn::new(own, cells.cloned().collect()))
        });
        Row::new(kept_liveness, own, cells.cloned().collect()).with_complex(complex)
    }

    proptest! {
        #[test]
        fn purging_is_not_seen_by_readers(row in row(), purge in purge()) {
            let purge = Purge { dropped_columns: Vec::new(), ..purge };
            let purged = purged(&row, &purge);
            for now in [i64::from(purge.now_seconds), i64::from(purge.now_seconds) + 1, i64::from(u32::MAX)] {
                prop_assert_eq!(row.is_live(now), purged.is_live(now));
                for (id, cell) in row.cells() {
                    prop_assert_eq!(cell.value(now), purged.cell(*id).and_then(|cell| cell.value(now)));
                }
                for (id, column) in row.complex() {
                    for (path, cell) in column.cells() {
                        let left = purged.complex_column(*id).and_then(|column| column.cell(path));
                        prop_assert_eq!(cell.value(now), left.and_then(|cell| cell.value(now)));
                    }
                }
            }
        }

        #[test]
        fn the_normal_form_does_not_tell_what_was_purged_before(
            row in row(), purge in purge(), now in 0u32..14, gc_before in 0u32..14,
        ) {
            let earlier = earlier(&purge, now, gc_before);
            prop_assert_eq!(normal(&purged(&row, &earlier), &purge).to_bytes(), normal(&row, &purge).to_bytes());
            prop_assert_eq!(normal(&normal(&row, &earlier), &purge), normal(&row, &purge));
        }

        #[test]
        fn purging_commutes_with_what_may_still_arrive(stored in row(), later in row(), purge in purge()) {
            let later = unshadowed(&later, &stored, &purge);
            let without = purged(&stored, &purge).merge(later.clone());
            let with = stored.merge(later);
            prop_assert_eq!(normal(&without, &purge), normal(&with, &purge));
        }

        #[test]
        fn deletions_lose_exactly_what_is_garbage(
            all in deletions(), gc_before in 0u32..4, earlier in 0u32..4,
        ) {
            let purge = |gc_before_seconds| Purge { gc_before_seconds, ..Purge::default() };
            let (now, before) = (purge(gc_before), purge(earlier.min(gc_before)));
            let kept = all.without_garbage(&now);
            prop_assert_eq!(PartitionDeletions::from_bytes(&kept.to_bytes()), Ok(kept.clone()), "still in normal form");
            prop_assert_eq!(all.without_garbage(&before).without_garbage(&now), kept.clone());
            let survivor = |deletion: Option<Deletion>| deletion.filter(|deletion| !now.is_garbage(deletion));
            for position in 0u8..13 {
                // Where a garbage range goes, the partition deletion under it shows again.
                let expected = survivor(all.covering(&[position])).or(survivor(all.partition()));
                prop_assert_eq!(kept.covering(&[position]), expected);
            }
        }

        #[test]
        fn subtracting_takes_away_what_is_equal_and_nothing_that_came_later(
            found in deletions(), arrived in deletions(), gc_before in 0u32..4,
        ) {
            let purge = Purge { gc_before_seconds: gc_before, ..Purge::default() };
            let kept = found.without_garbage(&purge);
            let garbage = found.garbage(&purge);
            prop_assert_eq!(found.subtract(&garbage), kept.clone());
            prop_assert_eq!(kept.subtract(&garbage), kept.clone(), "a second time changes nothing");
            let merged = found.merge(&arrived);
            let left = merged.subtract(&garbage);
            for position in 0u8..13 {
                let at = [position];
                let (before, removed) = (merged.covering(&at), garbage.covering(&at));
                if before != removed && before != garbage.partition() {
                    prop_assert_eq!(left.covering(&at), before);
                }
                prop_assert!(left.covering(&at) <= before);
            }
            prop_assert_eq!(PartitionDeletions::from_bytes(&left.to_bytes()), Ok(left));
        }
    }

    #[test]
    fn what_expires_is_garbage_by_the_time_of_its_write() {
        let expiry = Expiry { ttl_seconds: 100, at_seconds: 1_100 };
        let cell = Cell::expiring(5, Bytes::from_static(b"v"), expiry);
        let garbage = |now_seconds, gc_before_seconds| {
            Purge { now_seconds, gc_before_seconds, ..Purge::default() }.is_garbage_cell(ColumnId(1), &cell)
        };
        assert!(garbage(1_100, 1_001), "written before, and expired");
        assert!(!garbage(1_100, 1_000), "written in the grace");
        assert!(!garbage(1_099, 1_001), "not expired");
    }

    #[test]
    fn the_grace_counts_from_now_and_never_wraps() {
        assert_eq!(gc_before(1_000, 10), 990);
        assert_eq!(gc_before(5, 10), 0);
        assert_eq!(gc_before(5, 0), 5);
        let at_the_end = Deletion { timestamp: i64::MAX, local_seconds: u32::MAX };
        let purge = Purge { gc_before_seconds: u32::MAX, ..Purge::default() };
        assert!(!purge.is_garbage(&at_the_end));
        assert!(purge.is_garbage(&Deletion { local_seconds: 7, ..at_the_end }), "by when, not by the timestamp");
    }
}
