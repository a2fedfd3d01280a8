//! Oracle: convergence.
//!
//! Proves: once everything is healed and every partition was read at ALL, all replicas of a partition hold the same
//! bytes, but for garbage: the same rows, cells, timestamps and tombstones. Reconciliation is a join, so replicas that
//! have met agree whatever the order in which they got their writes.
//!
//! Not more, because: what a deletion covers may still lie on one disk and not on another until a compaction drops
//! it; so what a replica answers is compared, which leaves it out, not what lies in its files. And replicas purge at
//! different times; so what they hold is compared in the normal form of one moment.

use super::Violation;
use super::replicas::{held, machines_of};
use crate::World;
use model::digest::digest;
use node::garbage::purge_of;

/// Its name in reports.
pub const NAME: &str = "convergence";

/// Compares the replicas of the partitions `0..partitions` of every table of `keyspace`.
///
/// # Errors
/// When two replicas differ.
pub fn check(world: &World, keyspace: &str, partitions: i32) -> Result<(), Violation> {
    let Some(view) = world.view(0).cloned() else { return Ok(()) };
    let now_seconds = model::WallMicros(world.wall(0)).clamped_seconds();
    let tables = view.schema.tables().values().filter(|table| table.keyspace == keyspace);
    for table in tables {
        let purge = purge_of(table, now_seconds);
        for partition in 0..partitions {
            let mut first = None;
            for machine in machines_of(world, &view, keyspace, partition) {
                let data = held(world, machine, table.id, partition).unwrap_or_default();
                let bytes = digest(&data, &purge);
                match &first {
                    None => first = Some((machine, data, bytes)),
                    Some((_, _, same)) if *same == bytes => {}
                    Some((other, theirs, _)) => {
                        let place = format!("partition {partition} of table {}", table.name);
                        let text = format!("{place} is {data:?} on node {machine}, {theirs:?} on node {other}");
                        return Err(Violation::new(NAME, text));
                    }
                }
            }
        }
    }
    Ok(())
}
