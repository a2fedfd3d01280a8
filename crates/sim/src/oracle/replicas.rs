//! What replicas hold, read from their disks by an observer who needs no message: what the oracles of hints and
//! of convergence compare.

use super::book::{Book, Column, ROWS, Register, Version};
use crate::World;
use membership::ClusterView;
use model::codec::{CodecError, Decode};
use model::read::Slice;
use model::schema::{ColumnKind, Table};
use model::{CellState, PartitionKey, ReadCommand, ReadData, Row, TableId};
use node::Storage;
use std::collections::BTreeMap;

/// The partition key of the workload's partition `number`.
#[must_use]
pub fn partition_key(number: i32) -> PartitionKey {
    PartitionKey::new(bytes::Bytes::copy_from_slice(&number.to_be_bytes()))
}

/// The machines that hold a partition in `view`.
#[must_use]
pub fn machines_of(world: &World, view: &ClusterView, keyspace: &str, partition: i32) -> Vec<usize> {
    let replicas = view.replicas(keyspace, partition_key(partition).token);
    replicas.iter().filter_map(|node| world.machine_of(*node)).collect()
}

/// Everything that a machine holds of a partition. Nothing has expired at that time: nobody writes with a time to
/// live.
#[must_use]
pub fn held(world: &World, machine: usize, table: TableId, partition: i32) -> Option<ReadData> {
    let command = ReadCommand {
        table,
        partition: partition_key(partition),
        slices: vec![Slice::all()],
        reversed: false,
        static_row: true,
        row_limit: u32::MAX,
        bytes_limit: u32::MAX,
        now_seconds: 0,
        tombstone_limit: u32::MAX,
        gc_before_seconds: 0,
        dropped_columns: Vec::new(),
    };
    world.disk(machine).read(&command).ok()
}

/// The version of every register of a partition in what a replica holds: the greatest of its cell and of the
/// deletions that cover it. Registers of which nothing is held are left out.
///
/// # Errors
/// When what is held cannot be read.
pub fn versions(table: &Table, partition: i32, data: &ReadData) -> Result<BTreeMap<Register, Version>, CodecError> {
    let mut versions = BTreeMap::new();
    let mut raise = |row: i32, column: Column, version: Version| {
        let register = Register { table: table.id, partition, row, column };
        let known = versions.entry(register).or_insert_with(|| version.clone());
        if *known < version {
            *known = version;
        }
    };
    let valued = |timestamp: i64, expires: u32, value: &bytes::Bytes| {
        let value = String::from_utf8_lossy(value).into_owned();
        Version { timestamp, deletion: false, expires, value }
    };
    for row in 0..ROWS {
        let clustering = clustering_key(table, row);
        if let Some(deletion) = data.deletions.covering(&clustering) {
            Column::ALL.into_iter().for_each(|column| raise(row, column, Version::deleted(deletion.timestamp)));
        }
        let Some((_, stored)) = data.rows.iter().find(|(key, _)| *key == clustering) else { continue };
        let stored = Row::from_bytes(stored)?;
        if let Some(deletion) = stored.deletion() {
            Column::ALL.into_iter().for_each(|column| raise(row, column, Version::deleted(deletion.timestamp)));
        }
        if let Some(liveness) = stored.liveness() {
            let expires = liveness.expiry.map_or(0, |expiry| expiry.at_seconds);
            let mark = Version { timestamp: liveness.timestamp, deletion: false, expires, value: String::new() };
            raise(row, Column::Row, mark);
        }
        for (id, cell) in stored.cells() {
            let named = table.columns.iter().find(|column| column.id == *id && column.kind == ColumnKind::Regular);
            let column = if named.is_some_and(|column| column.name == "w") { Column::W } else { Column::V };
            let version = match &cell.state {
                CellState::Live(value) => valued(cell.timestamp, 0, value),
                CellState::Expiring(expiry, Some(value)) => valued(cell.timestamp, expiry.at_seconds, value),
                CellState::Tombstone(_) | CellState::Expiring(_, None) => Version::deleted(cell.timestamp),
            };
            raise(row, column, version);
        }
    }
    Ok(versions)
}

/// The encoded clustering key of a row.
fn clustering_key(table: &Table, row: i32) -> bytes::Bytes {
    let value = bytes::Bytes::copy_from_slice(&row.to_be_bytes());
    model::key::encode_clustering(table, &[value]).expect("an int is a clustering key")
}

/// True when a write of the book is held in this version or a later one, register by register.
#[must_use]
pub fn holds(book: &Book, id: super::book::AttemptId, versions: &BTreeMap<Register, Version>) -> bool {
    let attempt = book.attempt(id);
    attempt.action.registers().into_iter().all(|(row, column)| {
        let register = Register { table: attempt.table, partition: attempt.partition, row, column };
        match (versions.get(&register), book.version(id, column)) {
            (Some(held), Some(written)) => *held >= written,
            (None, _) => false,
            (_, None) => true,
        }
    })
}
