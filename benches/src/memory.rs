//! Resident memory of a store with many tables and rows, against the memory it was told to use: block cache
//! and write buffers. Everything else that the process holds counts too: table readers, the log's buffers,
//! fragments of the allocator, this program.

use crate::resident;
use anyhow::Result;
use model::schema::Table;
use model::{Mutation, NodeId, TableId};
use node::storage::Storage;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use storage::compare::{self, Shape};
use storage::{Store, StoreOptions};

const TABLES: u64 = 200;
/// In each table; 10 million in all.
const ROWS: u64 = 50_000;
/// Written to a table at a time, before the next table's turn: all memtables fill at once.
const PART: u64 = 1_000;
const SHAPE: Shape = Shape { rows: PART, rows_per_partition: 1, columns: 2, value_bytes: 16 };
const GROUP: usize = 64;
/// Resident memory may exceed the budget by this factor.
const RATIO_MAX: f64 = 1.15;

/// Fills the tables in turns, reads from all of them until the cache is full, and puts budget and resident
/// memory, after each of both and at most, into `figures`.
///
/// # Errors
/// When the store fails.
pub(crate) fn measure(figures: &mut Map<String, Value>) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let options = StoreOptions::new(folder.path(), NodeId(1));
    let budget = (options.block_cache_bytes + options.write_buffer_bytes) as f64;
    resident::forget_peak();
    let mut put = |name: &str, bytes: f64| figures.insert(format!("memory_{name}_mib"), json!(bytes / 1_048_576.0));
    put("budget", budget);
    put("start", resident::bytes(std::process::id())? as f64);
    let store = Store::open(options)?;
    store.set_tables(&(0..TABLES).map(|table| Arc::new(Table::plain(TableId(table.into())))).collect::<Vec<_>>())?;
    for part in 0..ROWS / PART {
        for table in 0..TABLES {
            compare::store_writes(&store, &rows(table, part), GROUP, false)?;
        }
    }
    put("loaded", resident::bytes(std::process::id())? as f64);
    for part in 0..ROWS / PART / 4 {
        for table in 0..TABLES {
            compare::store_reads(&store, &compare::point_reads(&rows(table, part), part))?;
        }
    }
    put("read", resident::bytes(std::process::id())? as f64);
    let status = store.status();
    put("block_cache", status.block_cache_bytes as f64);
    put("memtables", status.memtable_bytes as f64);
    let peak = resident::peak_bytes()? as f64;
    put("peak", peak);
    figures.insert("memory_ratio".to_owned(), json!(peak / budget));
    let missed = (peak > RATIO_MAX * budget).then(|| format!("memory: {:.2} is above {RATIO_MAX}", peak / budget));
    crate::note_missed(figures, missed);
    Ok(())
}

/// A part of a table's rows, the same at every call.
fn rows(table: u64, part: u64) -> Vec<Arc<Mutation>> {
    compare::rows(TableId(table.into()), SHAPE, part * PART, table << 32 | part)
}
