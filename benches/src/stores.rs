//! Storage in process: writes and point reads of a `Store` as a ratio to a bare RocksDB with the same settings
//! and bytes, measured in turns.

use anyhow::{Result, ensure};
use model::schema::Table;
use model::{NodeId, TableId};
use node::storage::Storage;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};
use storage::compare::{self, BareDatabase, Measured};
use storage::{Store, StoreOptions};

const TABLE: TableId = TableId(1);
/// Rows of five columns of 34 bytes, as cassandra-stress writes by default.
const ROWS: u64 = 100_000;
const COLUMNS: u32 = 5;
const VALUE_BYTES: usize = 34;
/// Writes that a group commit gathers on a busy node.
const GROUP: usize = 32;

/// The better of several rounds: what the code costs, not what the machine was also doing.
#[derive(Default)]
struct Best {
    per_second: f64,
    cpu_micros: f64,
}

impl Best {
    fn take(&mut self, measured: Measured) {
        if measured.per_second() > self.per_second {
            *self = Best { per_second: measured.per_second(), cpu_micros: measured.cpu_micros() };
        }
    }
}

/// Puts operations per second, CPU and ratios into `figures`.
///
/// # Errors
/// When a store fails.
pub(crate) fn measure(seconds: u64, figures: &mut Map<String, Value>) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let options = StoreOptions::new(folder.path().join("store"), NodeId(1));
    let store = Store::open(options.clone())?;
    store.set_tables(&[Arc::new(Table::plain(TABLE))])?;
    std::fs::create_dir_all(folder.path().join("raw"))?;
    let bare = BareDatabase::open(&StoreOptions { data_dir: folder.path().join("raw"), ..options })?;
    let rows = compare::rows(TABLE, ROWS, COLUMNS, VALUE_BYTES, 7);
    let reads = compare::point_reads(&rows, 8);
    let mut best: [(&str, Best, Best); 3] =
        ["write", "synced_write", "read"].map(|name| (name, Best::default(), Best::default()));
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut rounds = 0;
    while rounds < 3 || Instant::now() < until {
        let [write, synced, read] = &mut best;
        write.1.take(compare::store_writes(&store, &rows, GROUP, false)?);
        write.2.take(bare.writes(&rows, GROUP, false)?);
        synced.1.take(compare::store_writes(&store, &rows[..rows.len() / 10], GROUP, true)?);
        synced.2.take(bare.writes(&rows[..rows.len() / 10], GROUP, true)?);
        store.compact()?;
        bare.compact()?;
        read.1.take(compare::store_reads(&store, &reads)?);
        read.2.take(bare.reads(&reads)?);
        rounds += 1;
    }
    ensure!(rounds >= 3, "every figure is the best of at least three rounds");
    for (name, store, bare) in best {
        figures.insert(format!("storage_{name}_per_second"), json!(store.per_second));
        figures.insert(format!("storage_{name}_cpu_micros_per_operation"), json!(store.cpu_micros));
        figures.insert(format!("rocksdb_{name}_per_second"), json!(bare.per_second));
        figures.insert(format!("rocksdb_{name}_cpu_micros_per_operation"), json!(bare.cpu_micros));
        figures.insert(format!("storage_to_rocksdb_{name}_ratio"), json!(store.per_second / bare.per_second));
    }
    Ok(())
}
