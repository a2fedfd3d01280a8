//! Oracle: garbage goes.
//!
//! Proves: after a sweep of everything on a machine nothing is left there that the sweep's clock called garbage: no
//! deletion older than the grace, nothing that has expired and was written before it.
//!
//! Not more, because: that what a purged deletion shadowed stays away is what the oracles of floors prove, by reads:
//! an acknowledged deletion is a version like any other, below which no read may fall, whether its tombstone is still
//! there or not.

use super::Violation;
use super::replicas::held;
use crate::World;
use model::codec::{Decode, Encode};
use model::garbage::Purge;
use model::{Row, TableId};

/// Its name in reports.
pub const NAME: &str = "garbage goes";

/// Checks the partitions `0..partitions` of a table on one machine.
///
/// # Errors
/// When garbage is left.
pub fn check(world: &World, machine: usize, table: TableId, partitions: i32, purge: &Purge) -> Result<(), Violation> {
    for partition in 0..partitions {
        let Some(data) = held(world, machine, table, partition) else { continue };
        let is_clean = |bytes: &bytes::Bytes| {
            Row::from_bytes(bytes).is_ok_and(|mut row| {
                row.normalize(purge);
                row.to_bytes() == *bytes
            })
        };
        let rows = data.rows.iter().map(|(_, row)| row).chain(&data.static_row);
        if data.deletions.without_garbage(purge) != data.deletions || !rows.into_iter().all(is_clean) {
            let text = format!("node {machine} holds of partition {partition} of table {table}: {data:?} by {purge:?}");
            return Err(Violation::new(NAME, text));
        }
    }
    Ok(())
}
