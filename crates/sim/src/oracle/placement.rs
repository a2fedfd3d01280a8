//! Oracle: nobody keeps what it holds no more.
//!
//! Proves: once a change of replication has ended, no node has anything of a partition whose replica it is not. What it
//! kept could come back to life when the partition is given to it again, after deletions that it never saw were purged.
//!
//! Not more, because: while a change is under way both placements hold everything.

use super::Violation;
use super::replicas::{held, machines_of};
use crate::World;

/// Its name in reports.
pub const NAME: &str = "placement";

/// Looks for leftovers of the partitions `0..partitions` of every table of `keyspace`.
///
/// # Errors
/// When a node has something of a partition that it does not hold.
pub fn check(world: &World, keyspace: &str, partitions: i32) -> Result<(), Violation> {
    let Some(view) = world.view(0).cloned() else { return Ok(()) };
    let tables = view.schema.tables().values().filter(|table| table.keyspace == keyspace);
    for (table, partition) in tables.flat_map(|table| (0..partitions).map(move |partition| (table, partition))) {
        let holders = machines_of(world, &view, keyspace, partition);
        for machine in (0..world.build().machines).filter(|machine| !holders.contains(machine)) {
            let data = held(world, machine, table.id, partition).unwrap_or_default();
            if !data.rows.is_empty() || !data.deletions.is_empty() {
                let place = format!("partition {partition} of table {}", table.name);
                return Err(Violation::new(
                    NAME,
                    format!("node {machine} keeps {data:?} of {place}, held by {holders:?}"),
                ));
            }
        }
    }
    Ok(())
}
