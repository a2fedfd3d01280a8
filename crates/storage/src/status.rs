//! Figures about a store and its tables, for operators.

use crate::layout::{DELETIONS, ROWS};
use crate::pressure::Pressure;
use crate::store::{Inner, log_files};
use crate::tables::Table;
use model::TableId;
use node::storage::StorageError;
use rocksdb::Range;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

/// Figures about a store; estimates are RocksDB's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreStatus {
    /// By ascending id.
    pub tables: Vec<TableStatus>,
    /// Bytes in the block cache.
    pub block_cache_bytes: u64,
    /// Bytes in memtables.
    pub memtable_bytes: u64,
    /// Bytes in log files.
    pub log_bytes: u64,
    /// Bytes of hints on disk.
    pub hint_bytes: u64,
    /// Bytes that compaction has yet to rewrite.
    pub pending_compaction_bytes: u64,
    /// Sequence number of the last write.
    pub latest_sequence: u64,
    /// Sequence number up to which the log is synced.
    pub synced_sequence: u64,
    /// Whether flushes and compactions keep up with writes.
    pub pressure: Pressure,
    /// Writes that were refused since the store was opened because they do not keep up.
    pub refused_writes: u64,
    /// User data is refused because little space is left.
    pub disk_is_full: bool,
    /// Why writes of user data are refused, if so. [`StorageError::Full`] ends by itself within seconds once
    /// there is space; anything else lasts until the store is opened again.
    pub refuses_writes: Option<StorageError>,
    /// Errors of RocksDB's flushes and compactions since it was opened.
    pub background_errors: u64,
    /// Reads that met damage or a disk that does not answer, since the store was opened.
    pub reads_failed: u64,
    /// Times that hints were found damaged or missing since the store was opened.
    pub hints_damaged: u64,
}

/// Figures about a table; estimates are RocksDB's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableStatus {
    /// The table.
    pub id: TableId,
    /// Its keyspace.
    pub keyspace: String,
    /// Its name.
    pub name: String,
    /// How often it was truncated.
    pub generation: u32,
    /// Rows and deletions, estimated: a change that is not merged into its row yet counts too.
    pub keys: u64,
    /// Bytes in table files.
    pub file_bytes: u64,
    /// Bytes of these that hold deletions of partitions and of ranges of rows, about.
    pub deletion_bytes: u64,
    /// Files by level, from level 0 to the last one that has any.
    pub levels: Vec<LevelStatus>,
    /// Bytes in memtables.
    pub memtable_bytes: u64,
    /// Memtables that wait to be written to files.
    pub waiting_memtables: u64,
    /// Bytes that compaction has yet to rewrite.
    pub pending_compaction_bytes: u64,
    /// Reads since the store was opened that were answered from memory.
    pub cached_reads: u64,
    /// Reads that had to wait for the disk.
    pub missed_reads: u64,
    /// Tombstones that reads and scans have passed since the store was opened.
    pub tombstones_read: u64,
    /// Reads have passed many tombstones since the last sweep.
    pub burdened: bool,
}

/// How the sweeps of a table for garbage are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GarbageStatus {
    /// Seconds since the part that has waited longest was swept; `None` before the table is scheduled.
    pub lag_seconds: Option<u32>,
    /// Rows that the sweep under way has looked at; `None` when none is.
    pub rows_examined: Option<u64>,
}

/// The files of one level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LevelStatus {
    /// How many. Many in level 0 mean that compaction lags behind.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Inner {
    pub(crate) fn status(&self) -> StoreStatus {
        let mut levels = self.levels();
        let tables: Vec<TableStatus> =
            self.tables.load().values().map(|table| self.table_status(table, &mut levels)).collect();
        StoreStatus {
            block_cache_bytes: self.memory.cache.get_usage() as u64,
            memtable_bytes: self.memory.write_buffers.get_usage() as u64,
            log_bytes: log_files(&self.options.data_dir.join("rocksdb")).iter().map(|(_, bytes)| bytes).sum(),
            hint_bytes: self.hints.total_bytes(),
            pending_compaction_bytes: tables.iter().map(|table| table.pending_compaction_bytes).sum(),
            latest_sequence: self.db.latest_sequence_number(),
            synced_sequence: self.synced_sequence.load(Ordering::Acquire),
            pressure: self.pressure.now(),
            refused_writes: self.pressure.refused(),
            disk_is_full: self.disk_is_full.load(Ordering::Relaxed),
            refuses_writes: self.refuses_writes(),
            background_errors: self.background_errors(),
            reads_failed: self.reads_failed.load(Ordering::Relaxed),
            hints_damaged: self.hints.damaged(),
            tables,
        }
    }

    /// A figure of a column family; 0 when RocksDB does not know it.
    pub(crate) fn figure(&self, family: &str, property: &str) -> u64 {
        let value = self.db.cf_handle(family).map(|family| self.db.property_int_value_cf(&family, property));
        value.and_then(|value| value.ok().flatten()).unwrap_or(0)
    }

    fn table_status(&self, table: &Table, levels: &mut BTreeMap<String, Vec<LevelStatus>>) -> TableStatus {
        let figure = |property: &str| self.figure(&table.name, property);
        let definition = &table.definition;
        TableStatus {
            id: table.id,
            keyspace: definition.keyspace.clone(),
            name: definition.name.clone(),
            generation: definition.generation,
            keys: figure("rocksdb.estimate-num-keys"),
            file_bytes: figure("rocksdb.total-sst-files-size"),
            deletion_bytes: self.deletion_bytes(table),
            levels: levels.remove(&table.name).unwrap_or_default(),
            memtable_bytes: figure("rocksdb.size-all-mem-tables"),
            waiting_memtables: figure("rocksdb.num-immutable-mem-table"),
            pending_compaction_bytes: figure("rocksdb.estimate-pending-compaction-bytes"),
            cached_reads: table.reads.cached.load(Ordering::Relaxed),
            missed_reads: table.reads.missed.load(Ordering::Relaxed),
            tombstones_read: table.reads.tombstones.load(Ordering::Relaxed),
            burdened: table.reads.are_burdened(),
        }
    }

    /// The levels of every column family by its name.
    fn levels(&self) -> BTreeMap<String, Vec<LevelStatus>> {
        let mut families: BTreeMap<String, Vec<LevelStatus>> = BTreeMap::new();
        for file in self.db.live_files().unwrap_or_default() {
            let Ok(level) = usize::try_from(file.level) else { continue };
            let levels = families.entry(file.column_family_name).or_default();
            if levels.len() <= level {
                levels.resize(level + 1, LevelStatus::default());
            }
            levels[level].files += 1;
            levels[level].bytes += file.size as u64;
        }
        families
    }

    fn deletion_bytes(&self, table: &Table) -> u64 {
        if table.deletions.now() == 0 {
            return 0;
        }
        let Some(family) = self.db.cf_handle(&table.name) else { return 0 };
        let region = Range::new(&[DELETIONS], &[ROWS]);
        self.db.get_approximate_sizes_cf(&family, &[region]).first().copied().unwrap_or(0)
    }
}
