//! Garbage collection: the sweep of a token range, the only thing that ever removes a deletion.
//!
//! ```text
//!  flush            everything committed before the sweep is in table files
//!    |
//!  read the deletions of the range: D
//!    |
//!  rewrite the rows of the range down to the last level          (a manual compaction)
//!    |    what D covers goes, expired values go, garbage in whole rows goes
//!    |
//!  for each partition with garbage in D, under the writer's lock:
//!         rewrite rows that its garbage still covers, then remove exactly that garbage
//! ```
//!
//! Why nothing comes back:
//! * *The same key.* A tombstone in a row is purged only where the whole row is at hand: in a value that was
//!   put, or in the result of a full merge. What is older lies below and is hidden by it or part of it. What is
//!   newer and was committed before the sweep is part of it too: the flush has put it into files, and the
//!   compaction takes the files of the range from the first level to the last. What is committed later was
//!   under way for longer than the grace.
//! * *Other keys.* A deletion of a partition or range is removed only after its rows were looked at, one by one,
//!   once more: a compaction whose output RocksDB does not take for the last level leaves single merge records as they
//!   are, without asking the filter, and one that fails does not say so.
//! * Automatic compactions purge nothing: they cannot know what lies above them.
//!
//! How a compaction learns what to do: RocksDB asks the filter only for values that were put. Rows that a merge
//! puts together in the same compaction pass it by, but the filter is made on the thread that does the merges:
//! the job is left in a thread-local for the merge operator. (`tests` pins both facts.)

use crate::commit::Writer;
use crate::failure::rocksdb_error;
use crate::layout::{self, DELETIONS, ROWS, STATIC};
use crate::store::Inner;
use crate::tables::{Table, unknown_table};
use bytes::Bytes;
use model::Row;
use model::Token;
use model::codec::{CodecError, Decode, Encode};
use model::deletion::{Deletion, PartitionDeletions};
use model::garbage::Purge;
use model::row::encoded_is_empty;
use node::storage::{GarbageReport, GarbageSweep, StorageError};
use parking_lot::{Mutex, MutexGuard};
use rocksdb::compaction_filter::{CompactionFilter, Decision};
use rocksdb::compaction_filter_factory::{CompactionFilterContext, CompactionFilterFactory};
use rocksdb::{BottommostLevelCompaction, BoundColumnFamily, CompactOptions, ReadOptions, WriteBatch};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::CStr;
use std::ops::{Range, RangeInclusive};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Deletions that are kept in memory at one time, in encoded bytes; a range with more is swept in parts.
const DELETIONS_BYTES_MAX: usize = 16 << 20;
/// Rows that are rewritten, and partitions whose deletions are removed, at one time while the writer is locked.
const WRITES_MAX: usize = 64;

/// A compaction that purges.
pub(crate) struct Job {
    /// The keys of the rows to purge. Files hold others besides.
    rows: Range<Vec<u8>>,
    purge: Purge,
    /// By what the keys of the partition's rows start with, without the region.
    deletions: BTreeMap<Vec<u8>, PartitionDeletions>,
    examined: AtomicU64,
    reduced: AtomicU64,
    removed: AtomicU64,
}

/// What is left of a row.
enum Rest {
    /// All of it.
    Same,
    /// Less.
    Less(Vec<u8>),
    /// Nothing.
    Nothing,
}

/// The sweep of a table that is under way, if one is: where its compactions find what to do.
#[derive(Default)]
pub(crate) struct Sweeping {
    /// Held during a sweep: a table has one manual compaction at a time.
    alone: Mutex<()>,
    job: Mutex<Option<Arc<Job>>>,
}

thread_local! {
    /// The job of the compaction that runs on this thread.
    static JOB: RefCell<Option<Arc<Job>>> = const { RefCell::new(None) };
}

impl Sweeping {
    /// Waits until no sweep of the table is under way, and keeps others out.
    pub(crate) fn alone(&self) -> MutexGuard<'_, ()> {
        self.alone.lock()
    }

    /// True while a compaction of a sweep runs.
    pub(crate) fn is_under_way(&self) -> bool {
        self.job.lock().is_some()
    }

    /// Rows that the compaction of the sweep under way has looked at.
    pub(crate) fn rows_examined(&self) -> Option<u64> {
        self.job.lock().as_ref().map(|job| job.examined.load(Ordering::Relaxed))
    }
}

impl Job {
    fn is_swept(&self, key: &[u8]) -> bool {
        self.rows.start.as_slice() <= key && key < self.rows.end.as_slice()
    }

    /// What is left of the whole row at `key`.
    fn clean(&self, key: &[u8], value: &[u8]) -> Result<Rest, CodecError> {
        self.examined.fetch_add(1, Ordering::Relaxed);
        if encoded_is_empty(value) {
            return Ok(Rest::Nothing);
        }
        let mut row = Row::from_bytes(&Bytes::copy_from_slice(value))?;
        let (partition, clustering) = layout::split_row(key)?;
        if let Some(deletion) = self.deletions.get(partition).and_then(|all| covering(all, clustering)) {
            row.delete(deletion);
        }
        row.normalize(&self.purge);
        if row.is_empty() {
            self.removed.fetch_add(1, Ordering::Relaxed);
            return Ok(Rest::Nothing);
        }
        let left = row.to_bytes();
        if left == value {
            return Ok(Rest::Same);
        }
        self.reduced.fetch_add(1, Ordering::Relaxed);
        Ok(Rest::Less(left.to_vec()))
    }
}

/// The deletion that covers a row; only that of the partition covers the static one.
fn covering(deletions: &PartitionDeletions, clustering: &[u8]) -> Option<Deletion> {
    if clustering == [STATIC] { deletions.partition() } else { deletions.covering(clustering) }
}

/// Purges the result of a full merge, if it was made by a compaction that does.
pub(crate) fn purge_merged(key: &[u8], merged: Vec<u8>) -> Result<Vec<u8>, CodecError> {
    JOB.with_borrow(|job| match job.as_ref().filter(|job| job.is_swept(key)) {
        None => Ok(merged),
        Some(job) => Ok(match job.clean(key, &merged)? {
            Rest::Same => merged,
            Rest::Less(left) => left,
            // A merge cannot remove its key; readers take an empty row for none, and the next sweep removes it.
            Rest::Nothing => Row::default().to_bytes().to_vec(),
        }),
    })
}

/// Makes the filters of a table's compactions.
pub(crate) struct FilterFactory(pub(crate) Arc<Sweeping>);

impl CompactionFilterFactory for FilterFactory {
    type Filter = Filter;

    fn create(&mut self, context: CompactionFilterContext) -> Filter {
        // Only the sweep compacts a table by hand while it has a job.
        let job = if context.is_manual_compaction { self.0.job.lock().clone() } else { None };
        JOB.set(job.clone());
        Filter { job, changed: Vec::new() }
    }

    fn name(&self) -> &CStr {
        c"helenus.garbage"
    }
}

/// Filters one compaction, on its thread.
pub(crate) struct Filter {
    job: Option<Arc<Job>>,
    /// The last changed value.
    changed: Vec<u8>,
}

impl CompactionFilter for Filter {
    fn filter(&mut self, _level: u32, key: &[u8], value: &[u8]) -> Decision {
        let Some(job) = self.job.as_ref().filter(|job| job.is_swept(key)) else { return Decision::Keep };
        // It must not unwind into C. A value that is damaged stays: a read of it will say so.
        let cleaned = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| job.clean(key, value)));
        match cleaned {
            Ok(Ok(Rest::Same)) => Decision::Keep,
            Ok(Ok(Rest::Nothing)) => Decision::Remove,
            Ok(Ok(Rest::Less(left))) => {
                self.changed = left;
                Decision::Change(lent(&self.changed))
            }
            Ok(Err(error)) => {
                tracing::error!(%error, ?key, "a stored value cannot be decoded and is not purged");
                Decision::Keep
            }
            Err(_) => {
                tracing::error!(?key, "purging a stored value failed");
                Decision::Keep
            }
        }
    }

    fn name(&self) -> &CStr {
        c"helenus.garbage"
    }
}

impl Drop for Filter {
    fn drop(&mut self) {
        JOB.set(None);
    }
}

/// The bytes for as long as RocksDB needs them.
#[allow(
    unsafe_code,
    reason = "the crate asks for 'static, but RocksDB's C filter copies the new value before the callback's caller \
              does anything else, and the filter owns the bytes until its next call"
)]
fn lent(bytes: &[u8]) -> &'static [u8] {
    // SAFETY: as the reason says; the filter is neither called nor dropped in between.
    unsafe { std::slice::from_raw_parts(bytes.as_ptr(), bytes.len()) }
}

/// A partition whose deletions hold garbage, as they were at the start of the sweep.
struct Candidate {
    /// What its keys start with, without the region.
    partition: Vec<u8>,
    garbage: PartitionDeletions,
}

impl Inner {
    /// [`node::storage::Storage::collect_garbage`].
    pub(crate) fn collect_garbage(&self, sweep: &GarbageSweep) -> Result<GarbageReport, StorageError> {
        self.check_open()?;
        self.check_space()?;
        let table = self.table(sweep.table)?;
        let _alone = table.sweeping.alone();
        let mut report = GarbageReport { bytes: self.range_bytes(&table, &sweep.tokens)?, ..GarbageReport::default() };
        let mut first = *sweep.tokens.start();
        while first <= *sweep.tokens.end() {
            let last = self.sweep_part(&table, first..=*sweep.tokens.end(), &sweep.purge, &mut report);
            // Whatever failed while the node was being stopped failed for that.
            let last = last.or_else(|error| self.check_sweeping().and(Err(error)))?;
            let Some(next) = last.0.checked_add(1) else { break };
            first = Token(next);
        }
        if *sweep.tokens.end() == Token(i64::MAX) {
            let removed = self.sweep_indexes(&table).or_else(|error| self.check_sweeping().and(Err(error)))?;
            tracing::debug!(table = %table.id, removed, "swept indexes for stale entries");
        }
        table.reads.note_sweep();
        Ok(report)
    }

    /// Sweeps the first part of `tokens`, as far as the deletions that may be kept in memory reach; the last
    /// token of it.
    fn sweep_part(
        &self,
        table: &Table,
        tokens: RangeInclusive<Token>,
        purge: &Purge,
        report: &mut GarbageReport,
    ) -> Result<Token, StorageError> {
        self.check_sweeping()?;
        let family = self.db.cf_handle(&table.name).ok_or_else(|| unknown_table(table.id))?;
        self.db.flush_cf(&family).map_err(|error| rocksdb_error("flush", &error))?;
        let (deletions, last) = self.deletions_of(&family, &tokens)?;
        let candidates: Vec<Candidate> = deletions
            .iter()
            .map(|(partition, all)| Candidate { partition: partition.clone(), garbage: all.garbage(purge) })
            .filter(|candidate| !candidate.garbage.is_empty())
            .collect();
        let rows = layout::token_keys(ROWS, &(*tokens.start()..=last));
        let counter = AtomicU64::default;
        let (purge, examined) = (purge.clone(), counter());
        let job = Arc::new(Job { rows, purge, deletions, examined, reduced: counter(), removed: counter() });
        self.compact_for(table, &family, &job, BottommostLevelCompaction::Force)?;
        self.remove_garbage(table, &family, &candidates, report)?;
        report.rows_examined += job.examined.load(Ordering::Relaxed);
        report.rows_reduced += job.reduced.load(Ordering::Relaxed);
        report.rows_removed += job.removed.load(Ordering::Relaxed);
        Ok(last)
    }

    /// Compacts the rows of a job. Forced, files of the last level are rewritten too, those that this very compaction
    /// has written included: their rows are values that were put then, and what is empty goes.
    fn compact_for(
        &self,
        table: &Table,
        family: &Arc<BoundColumnFamily<'_>>,
        job: &Arc<Job>,
        last_level: BottommostLevelCompaction,
    ) -> Result<(), StorageError> {
        *table.sweeping.job.lock() = Some(job.clone());
        // From here on whoever stops the sweeps sees the job.
        self.check_sweeping().inspect_err(|_| *table.sweeping.job.lock() = None)?;
        let mut options = CompactOptions::default();
        options.set_bottommost_level_compaction(last_level);
        // Automatic compactions go on beside it: they take files downwards only, as this one does.
        options.set_exclusive_manual_compaction(false);
        self.db.compact_range_cf_opt(family, Some(&job.rows.start), Some(&job.rows.end), &options);
        *table.sweeping.job.lock() = None;
        self.check_sweeping()
    }

    pub(crate) fn check_sweeping(&self) -> Result<(), StorageError> {
        match self.sweeps_end.load(Ordering::Acquire) {
            true => Err(StorageError::Closed("the node is being stopped".to_owned())),
            false => Ok(()),
        }
    }

    /// The deletions of the partitions of the first of `tokens`, and the last token that they are complete for.
    fn deletions_of(
        &self,
        family: &Arc<BoundColumnFamily<'_>>,
        tokens: &RangeInclusive<Token>,
    ) -> Result<(BTreeMap<Vec<u8>, PartitionDeletions>, Token), StorageError> {
        let keys = layout::token_keys(DELETIONS, tokens);
        let mut iterator = self.db.raw_iterator_cf_opt(family, scan_options(&keys));
        iterator.seek(&keys.start);
        let (mut found, mut bytes) = (BTreeMap::new(), 0);
        let mut last = None;
        while let Some((key, value)) = iterator.item() {
            let token = layout::token_of(key).map_err(damaged)?;
            if bytes >= DELETIONS_BYTES_MAX && last.is_some_and(|last| last < token) {
                return Ok((found, last.unwrap_or(token)));
            }
            bytes += key.len() + value.len();
            last = Some(token);
            let deletions = PartitionDeletions::from_bytes(&Bytes::copy_from_slice(value)).map_err(damaged)?;
            found.insert(key[1..].to_vec(), deletions);
            iterator.next();
        }
        iterator.status().map_err(|error| rocksdb_error("read deletions", &error))?;
        Ok((found, *tokens.end()))
    }

    /// Removes garbage deletions, after the rows that they still cover.
    fn remove_garbage(
        &self,
        table: &Table,
        family: &Arc<BoundColumnFamily<'_>>,
        candidates: &[Candidate],
        report: &mut GarbageReport,
    ) -> Result<(), StorageError> {
        for candidates in candidates.chunks(WRITES_MAX) {
            for candidate in candidates {
                self.rewrite_covered(table, family, candidate, report)?;
            }
            let mut writer = self.lock_writer(table)?;
            let mut batch = WriteBatch::default();
            for candidate in candidates {
                let key = [&[DELETIONS], candidate.partition.as_slice()].concat();
                let Some(stored) = self.stored(family, &key)? else { continue };
                let stored = PartitionDeletions::from_bytes(&stored).map_err(damaged)?;
                let left = stored.subtract(&candidate.garbage);
                if left == stored {
                    continue;
                }
                report.deletions_removed += 1;
                // The writer is locked: what is put includes everything that was written.
                if left.is_empty() {
                    batch.delete_cf(family, key);
                } else {
                    batch.put_cf(family, key, left.to_bytes());
                }
            }
            self.write_garbage(&mut writer, table, batch)?;
        }
        Ok(())
    }

    /// Rewrites the rows of a partition that its garbage deletions still cover without them: what the
    /// compaction has left, and what was committed meanwhile.
    fn rewrite_covered(
        &self,
        table: &Table,
        family: &Arc<BoundColumnFamily<'_>>,
        candidate: &Candidate,
        report: &mut GarbageReport,
    ) -> Result<(), StorageError> {
        let start = [&[ROWS], candidate.partition.as_slice()].concat();
        let end = [start.as_slice(), &[0xff]].concat();
        let mut iterator = self.db.raw_iterator_cf_opt(family, scan_options(&(start.clone()..end)));
        iterator.seek(&start);
        let mut covered = Vec::new();
        loop {
            let item = iterator.item();
            if let Some((key, value)) = item
                && without(candidate, &key[start.len()..], value)?.is_some()
            {
                covered.push(key.to_vec());
            }
            if covered.len() >= WRITES_MAX || (item.is_none() && !covered.is_empty()) {
                self.rewrite(table, family, candidate, start.len(), &covered, report)?;
                covered.clear();
            }
            if item.is_none() {
                break;
            }
            iterator.next();
        }
        iterator.status().map_err(|error| rocksdb_error("read rows", &error))
    }

    fn rewrite(
        &self,
        table: &Table,
        family: &Arc<BoundColumnFamily<'_>>,
        candidate: &Candidate,
        prefix: usize,
        keys: &[Vec<u8>],
        report: &mut GarbageReport,
    ) -> Result<(), StorageError> {
        let mut writer = self.lock_writer(table)?;
        let mut batch = WriteBatch::default();
        for key in keys {
            let Some(stored) = self.stored(family, key)? else { continue };
            match without(candidate, &key[prefix..], &stored)? {
                Some(row) if row.is_empty() => {
                    report.rows_removed += 1;
                    batch.delete_cf(family, key);
                }
                Some(row) => {
                    report.rows_reduced += 1;
                    batch.put_cf(family, key, row.to_bytes());
                }
                None => {}
            }
        }
        self.write_batch(&mut writer, batch, false, true).map(|_| ())
    }

    /// Locks the writer if the table is still there: a write to one that has been dropped would fail and close
    /// the store.
    pub(crate) fn lock_writer(&self, table: &Table) -> Result<MutexGuard<'_, Writer>, StorageError> {
        let writer = self.writer.lock();
        self.check_open()?;
        let tables = self.tables.load();
        let listed = tables.get(&table.id).is_some_and(|listed| Arc::ptr_eq(&listed.sweeping, &table.sweeping));
        if listed { Ok(writer) } else { Err(unknown_table(table.id)) }
    }

    fn stored(&self, family: &Arc<BoundColumnFamily<'_>>, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        let stored = self.db.get_pinned_cf(family, key).map_err(|error| rocksdb_error("read", &error))?;
        Ok(stored.map(|stored| Bytes::copy_from_slice(&stored)))
    }

    fn write_garbage(&self, writer: &mut Writer, table: &Table, batch: WriteBatch) -> Result<(), StorageError> {
        table.deletions.begin_write();
        // Not synced: what a power failure brings back is garbage still, and goes with the next sweep.
        self.write_batch(writer, batch, false, true)?;
        table.deletions.end_write();
        Ok(())
    }

    /// Bytes of the files that hold rows of these tokens.
    pub(crate) fn range_bytes(&self, table: &Table, tokens: &RangeInclusive<Token>) -> Result<u64, StorageError> {
        let keys = layout::token_keys(ROWS, tokens);
        let files = self.db.live_files().map_err(|error| rocksdb_error("list files", &error))?;
        let overlaps = |start: &Option<Vec<u8>>, end: &Option<Vec<u8>>| {
            start.as_ref().is_none_or(|start| *start < keys.end) && end.as_ref().is_none_or(|end| *end >= keys.start)
        };
        let files = files.iter().filter(|file| file.column_family_name == table.name);
        Ok(files.filter(|file| overlaps(&file.start_key, &file.end_key)).map(|file| file.size as u64).sum())
    }
}

/// A stored row without what garbage of its partition covers; `None` when that is nothing.
fn without(candidate: &Candidate, clustering: &[u8], stored: &[u8]) -> Result<Option<Row>, StorageError> {
    let Some(deletion) = covering(&candidate.garbage, clustering) else { return Ok(None) };
    let row = Row::from_bytes(&Bytes::copy_from_slice(stored)).map_err(damaged)?;
    let mut left = row.clone();
    left.delete(deletion);
    Ok((left != row).then_some(left))
}

/// For a scan that must not disturb the cache.
fn scan_options(keys: &Range<Vec<u8>>) -> ReadOptions {
    let mut options = ReadOptions::default();
    options.set_total_order_seek(true);
    options.fill_cache(false);
    options.set_iterate_upper_bound(keys.end.clone());
    options
}

fn damaged(error: CodecError) -> StorageError {
    StorageError::Corrupt(format!("a stored value cannot be decoded: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;
    use crate::tests::{plain, small_options};
    use model::{Cell, ColumnId, Mutation, PartitionKey, Record, RecordKey, TableId};
    use node::storage::{Storage, Write};

    const TABLE: TableId = TableId(1);
    const CLUSTERING: &[u8] = &[0x40, 1, 0x38];

    fn partition() -> PartitionKey {
        PartitionKey::new(Bytes::from_static(b"p"))
    }

    fn store(directory: &tempfile::TempDir) -> Store {
        let store = Store::open(small_options(directory.path())).unwrap();
        store.set_tables(&plain(&[TABLE])).unwrap();
        store
    }

    fn apply(store: &Store, record: Record) {
        let mutation = Mutation { table: TABLE, partition: partition(), records: vec![record] };
        store.commit(&[Write::Apply(Arc::new(mutation))], false).unwrap().remove(0).unwrap();
    }

    fn row(timestamp: i64) -> Record {
        let cell = Cell::live(timestamp, Bytes::from_static(b"v"));
        Record::row(Bytes::from_static(CLUSTERING), &Row::new(None, None, vec![(ColumnId(1), cell)]))
    }

    fn stored(store: &Store, key: &RecordKey) -> Option<Bytes> {
        let mut bytes = Vec::new();
        layout::put_record(&mut bytes, &partition(), key);
        let inner = store.inner();
        let family = inner.db.cf_handle(&inner.table(TABLE).unwrap().name).unwrap();
        inner.stored(&family, &bytes).unwrap()
    }

    /// To be looked at with every new RocksDB.
    #[test]
    fn the_result_of_a_merge_passes_the_filter_by_and_is_purged_by_the_merge() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(&directory);
        apply(&store, row(5));
        store.flush().unwrap();
        apply(
            &store,
            Record::row(Bytes::from_static(CLUSTERING), &Row::deleted(Deletion { timestamp: 6, local_seconds: 1 })),
        );
        store.flush().unwrap();
        let inner = store.inner();
        let table = inner.table(TABLE).unwrap();
        let family = inner.db.cf_handle(&table.name).unwrap();
        let job = Arc::new(Job {
            rows: layout::token_keys(ROWS, &(Token::MINIMUM..=Token(i64::MAX))),
            purge: Purge { now_seconds: 2, gc_before_seconds: 2, ..Purge::default() },
            deletions: BTreeMap::new(),
            examined: AtomicU64::default(),
            reduced: AtomicU64::default(),
            removed: AtomicU64::default(),
        });
        let key = RecordKey::Row(Bytes::from_static(CLUSTERING));
        inner.compact_for(&table, &family, &job, BottommostLevelCompaction::Skip).unwrap();
        assert_eq!(stored(&store, &key), Some(Row::default().to_bytes()), "the filter would have removed it");
        assert_eq!(job.examined.load(Ordering::Relaxed), 1);
        // A value that was put: the filter gets it.
        inner.compact_for(&table, &family, &job, BottommostLevelCompaction::Force).unwrap();
        assert_eq!(stored(&store, &key), None);
        assert_eq!(job.examined.load(Ordering::Relaxed), 2);
    }

    /// PartialCompactionsTest.shouldNotResurrectDataFromSSTableExcludedDueToInsufficientSpace.
    #[test]
    fn rows_that_no_compaction_has_looked_at_are_rewritten_before_their_deletion_goes() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(&directory);
        let many = |count: u8| (0..count).map(|at| Bytes::from(vec![0x40, at, 0x38]));
        let value = |timestamp| row(timestamp).value;
        for clustering in many(200) {
            let timestamp = if clustering[1] < 150 { 5 } else { 7 };
            apply(&store, Record { key: RecordKey::Row(clustering), value: value(timestamp) });
        }
        apply(&store, Record { key: RecordKey::Static, value: value(5) });
        let deletions = PartitionDeletions::of_partition(Deletion { timestamp: 6, local_seconds: 1 });
        apply(&store, Record::deletions(&deletions));
        let inner = store.inner();
        let table = inner.table(TABLE).unwrap();
        let family = inner.db.cf_handle(&table.name).unwrap();
        let mut key = Vec::new();
        layout::put_record(&mut key, &partition(), &RecordKey::Deletions);
        let candidate = Candidate { partition: key[1..].to_vec(), garbage: deletions };
        let mut report = GarbageReport::default();
        inner.remove_garbage(&table, &family, &[candidate], &mut report).unwrap();
        assert_eq!((report.rows_removed, report.deletions_removed), (151, 1));
        assert_eq!(stored(&store, &RecordKey::Deletions), None);
        assert_eq!(stored(&store, &RecordKey::Static), None);
        for clustering in many(200) {
            let expected = (clustering[1] >= 150).then(|| value(7));
            assert_eq!(stored(&store, &RecordKey::Row(clustering)), expected);
        }
    }

    #[test]
    fn a_node_that_stops_ends_its_sweeps() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(&directory);
        apply(&store, row(5));
        store.stop_sweeps();
        let tokens = Token::MINIMUM..=Token(i64::MAX);
        let ended = store.collect_garbage(&GarbageSweep { table: TABLE, tokens, purge: Purge::default() });
        assert!(matches!(ended, Err(StorageError::Closed(_))), "{ended:?}");
        apply(&store, row(6));
        assert!(store.garbage_status(10).unwrap()[&TABLE].rows_examined.is_none());
    }
}
