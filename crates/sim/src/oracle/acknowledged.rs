//! Oracle: the acknowledged floor.
//!
//! Proves: a read of `r` replicas that begins after a write was acknowledged by `w` of `n`, `r + w > n`, sees
//! that write or one later in the order of reconciliation that somebody tried, and likewise over data centres.
//! Since the floor outlives every crash, it is durability too: what was acknowledged before a power loss must be
//! read after it.
//!
//! Not more, because: requests at `r + w <= n` promise nothing (ONE after ONE); a write whose outcome is
//! unknown may appear at any time, or never; and last-write-wins by timestamps is what is promised, not the
//! order of real time: a node whose clock is behind loses to one whose clock is ahead.

use super::Violation;
use super::book::{AttemptId, Book, Register};
use super::coverage::{Coverage, Replicas};
use super::floors::{Floors, Seen, Snapshot, explain};
use crate::clock::TrueTime;

/// Its name in reports.
pub const NAME: &str = "acknowledged floor";

/// What acknowledged writes promise.
pub struct Acknowledged {
    floors: Floors,
}

impl Acknowledged {
    /// Nothing is acknowledged yet.
    #[must_use]
    pub fn new(replicas: Replicas) -> Acknowledged {
        Acknowledged { floors: Floors::new(replicas) }
    }

    /// A write was acknowledged.
    pub fn acknowledge(&mut self, book: &Book, id: AttemptId) {
        let attempt = book.attempt(id);
        for (row, column) in attempt.action.registers() {
            let register = Register { table: attempt.table, partition: attempt.partition, row, column };
            if let Some(version) = book.version(id, column) {
                self.floors.raise(register, &attempt.coverage, version);
            }
        }
    }

    /// What a read that begins now may not fall below.
    #[must_use]
    pub fn snapshot(&self, first: Register, last: Register, read: &Coverage) -> Snapshot {
        self.floors.snapshot(first, last, read)
    }

    /// Checks what a read saw.
    ///
    /// # Errors
    /// When it fell below.
    pub fn check(
        &self,
        book: &Book,
        snapshot: &Snapshot,
        seen: &[(Register, Seen)],
        ended: TrueTime,
    ) -> Result<(), Violation> {
        for (register, seen) in seen {
            explain(NAME, book, *register, seen, snapshot.get(register), ended)?;
        }
        Ok(())
    }
}
