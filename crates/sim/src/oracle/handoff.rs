//! Oracle: hints bring what a replica missed.
//!
//! Proves: once everything is healed and no hints wait, every replica holds every acknowledged write, in its version
//! or a later one, whose coordinator has lived from then on: what a replica did not acknowledge its coordinator
//! kept as a hint and delivered. No read has repaired the replicas before the comparison. It is what catches a
//! hint that is dropped.
//!
//! Not more, because: a coordinator that dies between the acknowledgement and the moment at which it gives a replica
//! up has written no hint yet; one whose disk refuses the hint, or that has no room for it, cannot keep it, and counts
//! it as lost; a write that was never acknowledged is owed to nobody; and a dropped table takes its hints along.

use super::Violation;
use super::book::{Book, Outcome};
use super::replicas::{held, holds, machines_of, versions};
use crate::World;

/// Its name in reports.
pub const NAME: &str = "hinted handoff";

/// Checks all replicas of all acknowledged writes.
///
/// # Errors
/// When a replica misses a write that its coordinator owes it.
pub fn check(world: &World, book: &Book, keyspace: &str) -> Result<(), Violation> {
    let Some(view) = world.view(0).cloned() else { return Ok(()) };
    for (id, attempt) in book.attempts() {
        let same_process = world.incarnation(attempt.machine) == attempt.incarnation;
        let excused = world.hints_lost(attempt.machine) > 0;
        let owed = matches!(attempt.outcome, Outcome::Acknowledged(_)) && same_process && !excused;
        let Some(table) = view.schema.table(attempt.table).filter(|_| owed) else { continue };
        for machine in machines_of(world, &view, keyspace, attempt.partition) {
            let data = held(world, machine, attempt.table, attempt.partition).unwrap_or_default();
            let found = versions(table, attempt.partition, &data);
            let found =
                found.map_err(|error| Violation::new(NAME, format!("node {machine} holds no rows: {error}")))?;
            if !holds(book, id, &found) {
                let text = format!("node {machine} misses {}, and no hint waits for it", book.describe(id));
                return Err(Violation::new(NAME, text));
            }
        }
    }
    Ok(())
}
