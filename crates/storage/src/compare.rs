//! The same work on a store and on a bare RocksDB with the same settings and bytes: what the layer between
//! them costs. For benchmarks.

use crate::failure::rocksdb_error;
use crate::layout;
use crate::options::{SharedMemory, StoreOptions, database_options, table_options};
use crate::store::Store;
use bytes::Bytes;
use model::read::Slice;
use model::row::Liveness;
use model::{Cell, ColumnId, Mutation, PartitionKey, ReadCommand, Record, RecordKey, Rng, Row, TableId};
use node::storage::{Storage, StorageError, Write};
use rocksdb::{ColumnFamilyDescriptor, DB, ReadOptions, WriteBatch, WriteOptions};
use std::sync::Arc;
use std::time::Instant;

/// The encoded clustering key of tables that have no clustering columns.
const NO_CLUSTERING: &[u8] = &[0x38];
/// What comes after it.
const AFTER_NO_CLUSTERING: &[u8] = &[0x38, 0];
/// The name of the bare database's column family.
const FAMILY: &str = "t";

/// What some operations took.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// How many.
    pub operations: u64,
    /// From the first to the last.
    pub wall_seconds: f64,
    /// Of all threads of the process, those of RocksDB included.
    pub cpu_seconds: f64,
}

impl Measured {
    /// Operations per second.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        self.operations as f64 / self.wall_seconds.max(f64::MIN_POSITIVE)
    }

    /// Microseconds of processor time per operation.
    #[must_use]
    pub fn cpu_micros(&self) -> f64 {
        self.cpu_seconds * 1e6 / (self.operations.max(1)) as f64
    }
}

/// Rows to write and read: of `columns` values of `value_bytes` random bytes each, partitions of one row.
#[must_use]
pub fn rows(table: TableId, count: u64, columns: u32, value_bytes: usize, seed: u64) -> Vec<Arc<Mutation>> {
    let mut rng = Rng::new(seed);
    let row = |number: u64| {
        let mut value = || {
            let mut bytes = vec![0; value_bytes];
            bytes.chunks_mut(8).for_each(|chunk| chunk.copy_from_slice(&rng.next_u64().to_le_bytes()[..chunk.len()]));
            Bytes::from(bytes)
        };
        let timestamp = 1_700_000_000_000_000 + number as i64;
        let cells = (0..columns).map(|column| (ColumnId(column), Cell::live(timestamp, value()))).collect();
        let row = Row::new(Some(Liveness { timestamp, expiry: None }), None, cells);
        let key = Bytes::from(format!("{number:010}"));
        let records = vec![Record::row(Bytes::from_static(NO_CLUSTERING), &row)];
        Arc::new(Mutation { table, partition: PartitionKey::new(key), records })
    };
    let mut rows: Vec<_> = (0..count).map(row).collect();
    rng.shuffle(&mut rows);
    rows
}

/// Point reads of `rows`, in random order; each has its own memory, as one that was just received.
#[must_use]
pub fn point_reads(rows: &[Arc<Mutation>], seed: u64) -> Vec<ReadCommand> {
    let slice = Slice { start: Bytes::from_static(NO_CLUSTERING), end: Bytes::from_static(AFTER_NO_CLUSTERING) };
    let command = |row: &&Arc<Mutation>| ReadCommand {
        table: row.table,
        partition: PartitionKey::new(Bytes::copy_from_slice(&row.partition.bytes)),
        slices: vec![slice.clone()],
        reversed: false,
        static_row: false,
        row_limit: 1,
        bytes_limit: 1 << 20,
        now_seconds: 1_800_000_000,
    };
    let mut rows: Vec<_> = rows.iter().collect();
    Rng::new(seed).shuffle(&mut rows);
    rows.iter().map(command).collect()
}

/// Commits `rows` to a store in groups.
///
/// # Errors
/// When a commit fails.
pub fn store_writes(store: &Store, rows: &[Arc<Mutation>], group: usize, sync: bool) -> Result<Measured, StorageError> {
    let writes: Vec<Write> = rows.iter().cloned().map(Write::Apply).collect();
    measure(rows.len(), || {
        for group in writes.chunks(group) {
            for result in store.commit(group, sync)? {
                result?;
            }
        }
        Ok(())
    })
}

/// Reads from a store; every read finds its row.
///
/// # Errors
/// When a read fails or finds nothing.
pub fn store_reads(store: &Store, commands: &[ReadCommand]) -> Result<Measured, StorageError> {
    measure(commands.len(), || {
        for command in commands {
            let data = store.read(command)?;
            found(data.rows.len() == 1)?;
        }
        Ok(())
    })
}

/// A RocksDB with a table's settings and nothing around it.
pub struct BareDatabase {
    db: DB,
    _memory: SharedMemory,
}

impl BareDatabase {
    /// Opens one in `options.data_dir`, apart from a store that may be there.
    ///
    /// # Errors
    /// When RocksDB cannot open it.
    pub fn open(options: &StoreOptions) -> Result<BareDatabase, StorageError> {
        let memory = SharedMemory::new(options);
        let mut database = database_options(options, &memory);
        database.create_if_missing(true);
        database.create_missing_column_families(true);
        let families = vec![ColumnFamilyDescriptor::new(FAMILY, table_options(options, &memory))];
        let db = DB::open_cf_descriptors(&database, options.data_dir.join("bare"), families);
        let db = db.map_err(|error| rocksdb_error("open", &error))?;
        Ok(BareDatabase { db, _memory: memory })
    }

    /// Puts the keys and values of `rows` in batches.
    ///
    /// # Errors
    /// When RocksDB refuses.
    pub fn writes(&self, rows: &[Arc<Mutation>], batch: usize, sync: bool) -> Result<Measured, StorageError> {
        let pairs: Vec<(Vec<u8>, Bytes)> = rows.iter().flat_map(|row| pairs(row)).collect();
        let mut options = WriteOptions::default();
        options.set_sync(sync);
        let family = self.db.cf_handle(FAMILY).ok_or(StorageError::Invalid("no family".to_owned()))?;
        measure(pairs.len(), || {
            for pairs in pairs.chunks(batch) {
                let mut batch = WriteBatch::default();
                for (key, value) in pairs {
                    batch.put_cf(&family, key, value);
                }
                self.db.write_opt(batch, &options).map_err(|error| rocksdb_error("write", &error))?;
            }
            Ok(())
        })
    }

    /// Puts keys and values in one synced batch.
    ///
    /// # Errors
    /// When RocksDB refuses.
    pub fn put_synced<'a>(&self, pairs: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Result<(), StorageError> {
        let family = self.db.cf_handle(FAMILY).ok_or(StorageError::Invalid("no family".to_owned()))?;
        let mut batch = WriteBatch::default();
        for (key, value) in pairs {
            batch.put_cf(&family, key, value);
        }
        let mut options = WriteOptions::default();
        options.set_sync(true);
        self.db.write_opt(batch, &options).map_err(|error| rocksdb_error("write", &error))
    }

    /// Gets the values of the rows that `commands` ask for, each into memory of its own: a value that is
    /// only pinned in the cache has not been fetched from memory yet.
    ///
    /// # Errors
    /// When RocksDB refuses or finds nothing.
    pub fn reads(&self, commands: &[ReadCommand]) -> Result<Measured, StorageError> {
        let key = |command: &ReadCommand| {
            let mut key = Vec::new();
            layout::put_record(&mut key, &command.partition, &RecordKey::Row(command.slices[0].start.clone()));
            key
        };
        let keys: Vec<Vec<u8>> = commands.iter().map(key).collect();
        let options = ReadOptions::default();
        let family = self.db.cf_handle(FAMILY).ok_or(StorageError::Invalid("no family".to_owned()))?;
        measure(keys.len(), || {
            for key in &keys {
                let value = self.db.get_cf_opt(&family, key, &options);
                found(value.map_err(|error| rocksdb_error("read", &error))?.is_some())?;
            }
            Ok(())
        })
    }

    /// Flushes and rewrites everything into the last level, as [`Store::compact`].
    ///
    /// # Errors
    /// When RocksDB refuses.
    pub fn compact(&self) -> Result<(), StorageError> {
        let family = self.db.cf_handle(FAMILY).ok_or(StorageError::Invalid("no family".to_owned()))?;
        self.db.flush_cf(&family).map_err(|error| rocksdb_error("flush", &error))?;
        let mut options = rocksdb::CompactOptions::default();
        options.set_bottommost_level_compaction(rocksdb::BottommostLevelCompaction::Force);
        self.db.compact_range_cf_opt(&family, None::<&[u8]>, None::<&[u8]>, &options);
        Ok(())
    }
}

fn pairs(mutation: &Mutation) -> impl Iterator<Item = (Vec<u8>, Bytes)> {
    mutation.records.iter().map(|record| {
        let mut key = Vec::new();
        layout::put_record(&mut key, &mutation.partition, &record.key);
        (key, record.value.clone())
    })
}

fn found(found: bool) -> Result<(), StorageError> {
    if found { Ok(()) } else { Err(StorageError::Corrupt("a row that was written was not found".to_owned())) }
}

fn measure(count: usize, work: impl FnOnce() -> Result<(), StorageError>) -> Result<Measured, StorageError> {
    let (start, cpu) = (Instant::now(), cpu_seconds());
    work()?;
    let wall_seconds = start.elapsed().as_secs_f64();
    Ok(Measured { operations: count as u64, wall_seconds, cpu_seconds: cpu_seconds() - cpu })
}

/// Processor time of the living threads of this process; 0 where the kernel does not tell.
fn cpu_seconds() -> f64 {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return 0.0 };
    let nanoseconds = |task: std::fs::DirEntry| -> Option<u64> {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse().ok()
    };
    tasks.flatten().filter_map(nanoseconds).sum::<u64>() as f64 / 1e9
}
