//! Oracle: monotonic reads.
//!
//! Proves: once a read of `r` replicas has answered a version, every read of `s` replicas that begins later,
//! `r + s > n`, answers that version or a later one: what one client has seen at QUORUM, no client unsees at
//! QUORUM. It holds because a read that finds its replicas different repairs them before it answers; it is
//! what catches a read repair that is skipped.
//!
//! Not more, because: a read at ONE promises nothing to another one; what explains a missing value is the
//! *least* deletion that can, so a deletion seen early and a greater one tried later are not told apart.

use super::Violation;
use super::book::{Book, Register};
use super::coverage::{Coverage, Replicas};
use super::floors::{Floors, Seen, Snapshot, explain};
use crate::clock::TrueTime;

/// Its name in reports.
pub const NAME: &str = "monotonic reads";

/// What reads have promised.
pub struct Monotonic {
    floors: Floors,
}

impl Monotonic {
    /// Nothing is read yet.
    #[must_use]
    pub fn new(replicas: Replicas) -> Monotonic {
        Monotonic { floors: Floors::new(replicas) }
    }

    /// What a read that begins now may not fall below.
    #[must_use]
    pub fn snapshot(&self, first: Register, last: Register, read: &Coverage) -> Snapshot {
        self.floors.snapshot(first, last, read)
    }

    /// Checks what a read of the replicas of `read` saw, and promises it to later ones.
    ///
    /// # Errors
    /// When it fell below what an earlier read saw.
    pub fn check(
        &mut self,
        book: &Book,
        snapshot: &Snapshot,
        seen: &[(Register, Seen)],
        read: &Coverage,
        ended: TrueTime,
    ) -> Result<(), Violation> {
        for (register, seen) in seen {
            let explained = explain(NAME, book, *register, seen, snapshot.get(register), ended)?;
            if let Some(version) = explained {
                self.floors.raise(*register, read, version);
            }
        }
        Ok(())
    }
}
