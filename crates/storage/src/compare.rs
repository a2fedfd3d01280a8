//! The same work on a store and on a bare RocksDB with the same settings and bytes: what the layer between
//! them costs. For benchmarks.
//!
//! The bare side does what a program would do that keeps encoded rows in RocksDB itself: it puts them, gets
//! them into memory of its own, and walks an iterator to copy them. It never decodes, merges or checks.

use crate::failure::rocksdb_error;
use crate::layout;
use crate::options::{SharedMemory, StoreOptions, database_options, table_options};
use crate::store::Store;
use bytes::Bytes;
use model::read::Slice;
use model::row::Liveness;
use model::table_options::TableOptions;
use model::{Cell, ColumnId, Mutation, PartitionKey, ReadCommand, Record, RecordKey, Rng, Row, RowView, TableId};
use node::storage::{Storage, StorageError, Write};
use rocksdb::perf::{PerfContext, PerfStatsLevel, set_perf_stats};
use rocksdb::{BoundColumnFamily, ColumnFamilyDescriptor, DB, ReadOptions, WriteBatch, WriteOptions};
use std::sync::Arc;
use std::time::Instant;

/// Above the encoded clustering keys of a partition.
const AFTER_ROWS: u8 = 0x60;
/// What a read may answer with: more than any here does.
const BYTES_LIMIT: u32 = 64 << 20;

/// What some operations took.
#[derive(Clone, Copy, Debug, Default)]
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

/// What the rows of a table look like.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// How many.
    pub rows: u64,
    /// Of them in each partition; with 1 the table has no clustering columns.
    pub rows_per_partition: u64,
    /// Cells of a row.
    pub columns: u32,
    /// Random bytes of each cell.
    pub value_bytes: usize,
}

/// Rows to write, from the one of this number on, in random order, each a mutation of its own. They lie in memory as
/// they are written, one after the other, as they do that were just received.
#[must_use]
pub fn rows(table: TableId, shape: Shape, first: u64, seed: u64) -> Vec<Arc<Mutation>> {
    let mut rng = Rng::new(seed);
    let row = |number: u64| {
        let timestamp = 1_700_000_000_000_000 + number as i64;
        let cell = |column| (ColumnId(column), Cell::live(timestamp, random_value(&mut rng, shape.value_bytes)));
        let cells = (0..shape.columns).map(cell).collect();
        let row = Row::new(Some(Liveness { timestamp, expiry: None }), None, cells);
        let partition = PartitionKey::new(Bytes::from(format!("{:010}", number / shape.rows_per_partition)));
        let clustering = clustering(shape, number % shape.rows_per_partition);
        Arc::new(Mutation { table, partition, records: vec![Record::row(clustering, &row)] })
    };
    let mut numbers: Vec<u64> = (first..first + shape.rows).collect();
    Rng::new(seed).shuffle(&mut numbers);
    numbers.into_iter().map(row).collect()
}

/// Changes of one column each of `count` of `rows`: later than the rows, and than all updates of a smaller
/// `round`. Of many rows, or with `skewed` of few much more often than of others, as by a power law.
#[must_use]
pub fn updates(rows: &[Arc<Mutation>], shape: Shape, count: usize, round: u64, skewed: bool) -> Vec<Arc<Mutation>> {
    let mut rng = Rng::new(round);
    let update = |number: usize| {
        let most = if skewed { 1 << rng.below(u64::from(rows.len().ilog2()) + 1) } else { rows.len() as u64 };
        let row = &rows[rng.below(most) as usize];
        let timestamp = 1_750_000_000_000_000 + (round * 1_000_000_000) as i64 + number as i64;
        let column = ColumnId(rng.below(u64::from(shape.columns)) as u32);
        let cell = Cell::live(timestamp, random_value(&mut rng, shape.value_bytes));
        let value = model::codec::Encode::to_bytes(&Row::new(None, None, vec![(column, cell)]));
        let records = vec![Record { key: row.records[0].key.clone(), value }];
        Arc::new(Mutation { table: row.table, partition: row.partition.clone(), records })
    };
    (0..count).map(update).collect()
}

fn random_value(rng: &mut Rng, length: usize) -> Bytes {
    let mut bytes = vec![0; length];
    bytes.chunks_mut(8).for_each(|chunk| chunk.copy_from_slice(&rng.next_u64().to_le_bytes()[..chunk.len()]));
    Bytes::from(bytes)
}

/// The encoded clustering key of a row of one `int` column, or of none.
fn clustering(shape: Shape, number: u64) -> Bytes {
    if shape.rows_per_partition == 1 {
        return Bytes::from_static(&[0x38]);
    }
    let number = (number as u32) ^ (1 << 31);
    Bytes::from([&[0x40][..], &number.to_be_bytes(), &[0x38]].concat())
}

/// Reads of single rows, in random order; each has its own memory, as one that was just received.
#[must_use]
pub fn point_reads(rows: &[Arc<Mutation>], seed: u64) -> Vec<ReadCommand> {
    let point = |row: &&Arc<Mutation>| {
        let RecordKey::Row(key) = &row.records[0].key else { return None };
        let slice = Slice { start: key.clone(), end: Bytes::from([&key[..], &[0]].concat()) };
        Some(command(row.table, Bytes::copy_from_slice(&row.partition.bytes), slice, 1))
    };
    let mut rows: Vec<_> = rows.iter().collect();
    Rng::new(seed).shuffle(&mut rows);
    rows.iter().filter_map(point).collect()
}

/// Reads of `limit` rows one after the other, beginning anywhere in partitions of more than that.
#[must_use]
pub fn slice_reads(table: TableId, shape: Shape, limit: u32, count: usize, seed: u64) -> Vec<ReadCommand> {
    let mut rng = Rng::new(seed);
    let slice = |_| {
        let partition = rng.below(shape.rows / shape.rows_per_partition);
        let first = rng.below(shape.rows_per_partition - u64::from(limit) + 1);
        let slice = Slice { start: clustering(shape, first), end: Bytes::from_static(&[AFTER_ROWS]) };
        command(table, Bytes::from(format!("{partition:010}")), slice, limit)
    };
    (0..count).map(slice).collect()
}

fn command(table: TableId, partition: Bytes, slice: Slice, row_limit: u32) -> ReadCommand {
    ReadCommand {
        table,
        partition: PartitionKey::new(partition),
        slices: vec![slice],
        reversed: false,
        static_row: false,
        row_limit,
        bytes_limit: BYTES_LIMIT,
        now_seconds: 1_800_000_000,
        gc_before_seconds: 0,
        dropped_columns: Vec::new(),
        tombstone_limit: 100_000,
    }
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

/// Reads from a store; every read finds as many rows as its limit.
///
/// # Errors
/// When a read fails or finds less.
pub fn store_reads(store: &Store, commands: &[ReadCommand]) -> Result<Measured, StorageError> {
    measure(commands.len(), || {
        for command in commands {
            found(store.read(command)?.rows.len() == command.row_limit as usize)?;
        }
        Ok(())
    })
}

/// As [`store_reads`], and decodes each row to its cells, as a coordinator does.
///
/// # Errors
/// When a read fails or finds less.
pub fn store_decoded_reads(store: &Store, commands: &[ReadCommand]) -> Result<Measured, StorageError> {
    let mut view = RowView::default();
    measure(commands.len(), || {
        for command in commands {
            let data = store.read(command)?;
            let mut cells = 0;
            for (_, row) in &data.rows {
                view.read(row).map_err(|error| StorageError::Corrupt(error.to_string()))?;
                cells += view.row().cells().len();
            }
            found(data.rows.len() == command.row_limit as usize && std::hint::black_box(cells) > 0)?;
        }
        Ok(())
    })
}

/// The most unmerged changes that one of these reads of a single row met.
///
/// # Errors
/// When a read fails.
pub fn operands_most(store: &Store, commands: &[ReadCommand]) -> Result<u64, StorageError> {
    set_perf_stats(PerfStatsLevel::EnableCount);
    let mut context = PerfContext::default();
    let mut most = 0;
    for command in commands {
        context.reset();
        store.read(command)?;
        // The crate's enumeration of metrics does not have this one.
        let report = context.report(true);
        let metric = report.split(", ").find_map(|metric| metric.strip_prefix("internal_merge_point_lookup_count = "));
        most = most.max(metric.and_then(|count| count.trim().parse().ok()).unwrap_or(0));
    }
    set_perf_stats(PerfStatsLevel::Disable);
    Ok(most)
}

/// A RocksDB with the tables' settings and nothing around it.
pub struct BareDatabase {
    db: DB,
    _memory: SharedMemory,
}

impl BareDatabase {
    /// Opens one in `options.data_dir`, apart from a store that may be there, for these tables.
    ///
    /// # Errors
    /// When RocksDB cannot open it.
    pub fn open(options: &StoreOptions, tables: &[TableId]) -> Result<BareDatabase, StorageError> {
        let memory = SharedMemory::new(options);
        let mut database = database_options(options, &memory);
        database.create_if_missing(true);
        database.create_missing_column_families(true);
        let family_options = table_options(options, &memory, &TableOptions::default(), &Arc::default());
        let families = tables.iter().map(|table| ColumnFamilyDescriptor::new(name(*table), family_options.clone()));
        let db = DB::open_cf_descriptors(&database, options.data_dir.join("bare"), families);
        let db = db.map_err(|error| rocksdb_error("open", &error))?;
        Ok(BareDatabase { db, _memory: memory })
    }

    fn family(&self, table: TableId) -> Result<Arc<BoundColumnFamily<'_>>, StorageError> {
        self.db.cf_handle(&name(table)).ok_or_else(|| crate::tables::unknown_table(table))
    }

    /// Puts the keys and values of `rows`, all of one table, in batches.
    ///
    /// # Errors
    /// When RocksDB refuses.
    pub fn writes(&self, rows: &[Arc<Mutation>], batch: usize, sync: bool) -> Result<Measured, StorageError> {
        let pairs: Vec<(Vec<u8>, Bytes)> = rows.iter().flat_map(|row| pairs(row)).collect();
        let mut options = WriteOptions::default();
        options.set_sync(sync);
        let family = self.family(rows[0].table)?;
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

    /// Puts keys and values into a table in one synced batch.
    ///
    /// # Errors
    /// When RocksDB refuses.
    pub fn put_synced<'a>(
        &self,
        table: TableId,
        pairs: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    ) -> Result<(), StorageError> {
        let family = self.family(table)?;
        let mut batch = WriteBatch::default();
        for (key, value) in pairs {
            batch.put_cf(&family, key, value);
        }
        let mut options = WriteOptions::default();
        options.set_sync(true);
        self.db.write_opt(batch, &options).map_err(|error| rocksdb_error("write", &error))
    }

    /// Gets the values of the rows that `commands`, all of one table, ask for, each into memory of its own:
    /// a value that is only pinned in the cache has not been fetched from memory yet.
    ///
    /// # Errors
    /// When RocksDB refuses or finds nothing.
    pub fn reads(&self, commands: &[ReadCommand]) -> Result<Measured, StorageError> {
        let keys: Vec<Vec<u8>> = commands.iter().map(|command| row_key(command, &command.slices[0].start)).collect();
        let options = ReadOptions::default();
        let family = self.family(commands[0].table)?;
        measure(keys.len(), || {
            for key in &keys {
                let value = self.db.get_cf_opt(&family, key, &options);
                found(value.map_err(|error| rocksdb_error("read", &error))?.is_some())?;
            }
            Ok(())
        })
    }

    /// Walks the slices of `commands`, all of one table, each with an iterator that ends where the slice
    /// does, and copies the values one behind the other.
    ///
    /// # Errors
    /// When RocksDB refuses or finds less than the limits of the commands.
    pub fn slices(&self, commands: &[ReadCommand]) -> Result<Measured, StorageError> {
        let bounds = |command: &ReadCommand| {
            let slice = &command.slices[0];
            (row_key(command, &slice.start), row_key(command, &slice.end), command.row_limit)
        };
        let slices: Vec<(Vec<u8>, Vec<u8>, u32)> = commands.iter().map(bounds).collect();
        let family = self.family(commands[0].table)?;
        measure(slices.len(), || {
            for (start, end, limit) in &slices {
                let mut options = ReadOptions::default();
                options.set_iterate_upper_bound(end.clone());
                let mut iterator = self.db.raw_iterator_cf_opt(&family, options);
                iterator.seek(start);
                let (mut count, mut values) = (0, Vec::new());
                while let Some(value) = iterator.value() {
                    values.extend_from_slice(value);
                    count += 1;
                    if count == *limit {
                        break;
                    }
                    iterator.next();
                }
                iterator.status().map_err(|error| rocksdb_error("read", &error))?;
                found(count == *limit && !std::hint::black_box(values).is_empty())?;
            }
            Ok(())
        })
    }

    /// Flushes and rewrites everything of `tables` into the last level, as [`Store::compact`].
    ///
    /// # Errors
    /// When RocksDB refuses.
    pub fn compact(&self, tables: &[TableId]) -> Result<(), StorageError> {
        for table in tables {
            let family = self.family(*table)?;
            self.db.flush_cf(&family).map_err(|error| rocksdb_error("flush", &error))?;
            let mut options = rocksdb::CompactOptions::default();
            options.set_bottommost_level_compaction(rocksdb::BottommostLevelCompaction::Force);
            self.db.compact_range_cf_opt(&family, None::<&[u8]>, None::<&[u8]>, &options);
        }
        Ok(())
    }
}

fn name(table: TableId) -> String {
    format!("bare_{:032x}", table.0)
}

fn pairs(mutation: &Mutation) -> impl Iterator<Item = (Vec<u8>, Bytes)> {
    mutation.records.iter().map(|record| {
        let mut key = Vec::new();
        layout::put_record(&mut key, &mutation.partition, &record.key);
        (key, record.value.clone())
    })
}

fn row_key(command: &ReadCommand, clustering: &Bytes) -> Vec<u8> {
    let mut key = Vec::new();
    layout::put_record(&mut key, &command.partition, &RecordKey::Row(clustering.clone()));
    key
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
