//! Opening a store, its tables, its background thread and its status.

use crate::commit::Writer;
use crate::definitions::Definitions;
use crate::failure::{io_error, remove_durably, replace_file, rocksdb_error, sync_error};
use crate::hints::Hints;
use crate::identity::Identity;
use crate::large::{Large, LargeTable};
use crate::layout;
use crate::manifest::{self, Manifest};
use crate::options::{Durability, SharedMemory, StoreOptions};
use crate::pressure::{self, Pressure, PressureGauge};
use crate::replay::Replay;
use crate::snapshot::{self, SnapshotStatus};
use crate::status::{GarbageStatus, StoreStatus};
use crate::tables::{Table, Tables, known_definitions, open_database};
use crate::watermark::{Synced, WRITE_INTERVAL, Watermark};
use arc_swap::ArcSwap;
use bytes::Bytes;
use model::answer::{Digested, Kept};
use model::digest::ReadDigest;
use model::id::parse_uuid;
use model::local::prefix::{GARBAGE, NODE};
use model::local::shard_of_counter_id;
use model::scan::{ExportCommand, ExportData, PartitionRecord};
use model::schema;
use model::{
    IndexCommand, IndexData, NodeId, PartitionKey, ReadCommand, ReadData, ScanCommand, ScanData, TableId, TokenRange,
};
use node::GarbageSchedule;
use node::storage::{
    GarbageReport, GarbageSweep, Hint, HintPosition, IndexBuild, RangeEstimate, Storage, StorageError, Write,
};
use parking_lot::{Condvar, Mutex};
use rocksdb::{DB, ReadOptions, ReadTier, WriteBatch, WriteOptions};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The column family of the node's own records.
pub(crate) const LOCAL: &str = "local";
/// The file that says that a start which accepts a loss of data has not ended.
const LOSS_ACCEPTED: &str = "LOSS_ACCEPTED";
/// How often the background thread looks at the free space, and at most sleeps.
const GUARD_INTERVAL: Duration = Duration::from_secs(1);

/// An open store. Dropping it syncs and closes it.
pub struct Store {
    inner: Arc<Inner>,
    background: Option<JoinHandle<()>>,
}

pub(crate) struct Inner {
    pub(crate) options: StoreOptions,
    pub(crate) memory: SharedMemory,
    pub(crate) tables: ArcSwap<Tables>,
    /// What the file `TABLES` lists; held while tables change.
    pub(crate) definitions: Mutex<Definitions>,
    pub(crate) writer: Mutex<Writer>,
    watermark: Mutex<Watermark>,
    manifest: Mutex<Manifest>,
    pub(crate) hints: Hints,
    pub(crate) db: DB,
    pub(crate) read_options: ReadOptions,
    pub(crate) cached_read_options: ReadOptions,
    pub(crate) write_options: WriteModes,
    pub(crate) pressure: PressureGauge,
    /// Of a write that only finds out whether RocksDB writes.
    pub(crate) probe_options: WriteOptions,
    /// RocksDB's sequence number up to which the log is synced.
    pub(crate) synced_sequence: AtomicU64,
    /// Sweeps for garbage end: the node is being stopped.
    pub(crate) sweeps_end: AtomicBool,
    /// Writes of user data are refused: see `free_bytes_min`.
    pub(crate) disk_is_full: AtomicBool,
    identity: Mutex<Identity>,
    /// Names of files to ingest that have been given away.
    pub(crate) ingested_files: AtomicU64,
    pub(crate) large: LargeTable,
    /// Held while a part of an index is built.
    pub(crate) building: Mutex<()>,
    background: Background,
    /// Why nothing is written any more.
    pub(crate) poison: Mutex<Option<StorageError>>,
    pub(crate) poisoned: AtomicBool,
    /// Why RocksDB does not write for now: it lacks space, and looks for it by itself.
    refusal: Mutex<Option<StorageError>>,
    refuses: AtomicBool,
    /// Reads that met damage or a disk that does not answer.
    pub(crate) reads_failed: AtomicU64,
    /// Holds the lock of the directory: declared last, released last.
    _lock: File,
}

/// How a batch can be written.
pub(crate) struct WriteModes {
    plain: WriteOptions,
    plain_at_once: WriteOptions,
    synced: WriteOptions,
    synced_at_once: WriteOptions,
}

impl WriteModes {
    fn new() -> WriteModes {
        let mode = |sync, at_once| {
            let mut options = WriteOptions::default();
            options.set_sync(sync);
            // RocksDB gives an error instead of a delay.
            options.set_no_slowdown(at_once);
            options
        };
        WriteModes {
            plain: mode(false, false),
            plain_at_once: mode(false, true),
            synced: mode(true, false),
            synced_at_once: mode(true, true),
        }
    }

    /// With or without sync; refused, unless RocksDB may delay it.
    pub(crate) fn choose(&self, sync: bool, may_delay: bool) -> &WriteOptions {
        match (sync, may_delay) {
            (false, true) => &self.plain,
            (false, false) => &self.plain_at_once,
            (true, true) => &self.synced,
            (true, false) => &self.synced_at_once,
        }
    }
}

/// How the background thread is woken.
#[derive(Default)]
struct Background {
    /// The store is being dropped.
    stop: Mutex<bool>,
    /// The synced sequence number has grown since the thread looked.
    work: AtomicBool,
    woken: Condvar,
}

impl Store {
    /// Opens the store in `options.data_dir`, creating it when the directory is empty or missing.
    ///
    /// # Errors
    /// `Io` when the directory cannot be used or is in use; `Corrupt` when what is found is damaged or less
    /// than was synced; `Invalid` when it belongs to another cluster or a newer version.
    pub fn open(options: StoreOptions) -> Result<Store, StorageError> {
        let inner = Arc::new(Inner::open(options)?);
        {
            // A crash may have come between the list of tables and the removal of an index.
            let tables = inner.tables.load_full();
            inner.change_indexes(&mut inner.writer.lock(), &tables, &tables)?;
        }
        let for_thread = Arc::clone(&inner);
        let background = std::thread::Builder::new()
            .name("storage".to_owned())
            .spawn(move || for_thread.run_background())
            .map_err(|error| StorageError::Io(format!("cannot start a thread: {error}")))?;
        Ok(Store { inner, background: Some(background) })
    }

    /// Whose data this is.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.inner.identity()
    }

    /// Records durably that the node belongs to `cluster`, for ever: until the cluster has another name because its
    /// metadata log was recovered. `former` are the names that it had.
    ///
    /// # Errors
    /// `Invalid` when it belongs to another one; else when it cannot be written.
    pub fn set_cluster(&self, cluster: u128, former: &[u128]) -> Result<(), StorageError> {
        let mut identity = self.inner.identity.lock();
        match identity.cluster {
            Some(own) if own == cluster => Ok(()),
            Some(own) if !former.contains(&own) => Err(other_cluster(&self.inner.options.data_dir, own, cluster)),
            _ => {
                let joined = Identity { cluster: Some(cluster), ..*identity };
                joined.write(&self.inner.options.data_dir)?;
                *identity = joined;
                Ok(())
            }
        }
    }

    /// Makes a snapshot of everything under `name`: hard links to the files, after all memtables are written.
    /// Hints are not in it.
    ///
    /// # Errors
    /// `Invalid` for a name that is none or exists; else when it cannot be made.
    pub fn create_snapshot(&self, name: &str) -> Result<SnapshotStatus, StorageError> {
        snapshot::create(&self.inner, name)
    }

    /// The snapshots by name: those that were asked for, and those that are kept of dropped tables.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub fn snapshots(&self) -> Result<Vec<SnapshotStatus>, StorageError> {
        snapshot::list(&self.inner.options.data_dir)
    }

    /// Removes the snapshot of that name, or all of them; how many were removed.
    ///
    /// # Errors
    /// `Invalid` when there is none of that name; else when it cannot be removed.
    pub fn clear_snapshots(&self, name: Option<&str>) -> Result<u64, StorageError> {
        snapshot::clear(&self.inner.options.data_dir, name)
    }

    /// As [`Storage::read`] when it can be answered from memory; `None` when it would have to wait for the
    /// disk. For use on a thread that must not block.
    pub fn read_cached(&self, command: &ReadCommand) -> Option<Result<ReadData, StorageError>> {
        self.inner.read::<Kept>(command, &self.inner.cached_read_options, ReadTier::BlockCache).transpose()
    }

    /// As [`Storage::digest`] when it can be answered from memory; see [`Store::read_cached`].
    pub fn digest_cached(&self, command: &ReadCommand) -> Option<Result<ReadDigest, StorageError>> {
        self.inner.read::<Digested>(command, &self.inner.cached_read_options, ReadTier::BlockCache).transpose()
    }

    /// As [`Storage::local`] when it can be answered from memory; see [`Store::read_cached`].
    pub fn local_cached(&self, key: &[u8]) -> Option<Result<Option<Bytes>, StorageError>> {
        match self.inner.local_record(key, &self.inner.cached_read_options) {
            // What a read gives that may use only the cache.
            Err(StorageError::Overloaded) => None,
            read => Some(read),
        }
    }

    /// Writes memtables to table files, so that the log is not needed.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn flush(&self) -> Result<(), StorageError> {
        for table in self.inner.tables.load().values() {
            let Some(family) = self.inner.db.cf_handle(&table.name) else { continue };
            self.inner.db.flush_cf(&family).map_err(|error| rocksdb_error("flush", &error))?;
        }
        Ok(())
    }

    /// Rewrites every table into its last level.
    ///
    /// # Errors
    /// When memtables cannot be flushed.
    pub fn compact(&self) -> Result<(), StorageError> {
        self.flush()?;
        for table in self.inner.tables.load().values() {
            let _alone = table.sweeping.alone();
            let Some(family) = self.inner.db.cf_handle(&table.name) else { continue };
            let mut options = rocksdb::CompactOptions::default();
            options.set_bottommost_level_compaction(rocksdb::BottommostLevelCompaction::Force);
            self.inner.db.compact_range_cf_opt(&family, None::<&[u8]>, None::<&[u8]>, &options);
        }
        Ok(())
    }

    /// Whether flushes and compactions keep up with writes.
    #[must_use]
    pub fn pressure(&self) -> Pressure {
        self.inner.pressure.now()
    }

    /// Ends a sweep for garbage that is under way, and every later one, as `Closed`. For a node that stops: a sweep
    /// may take minutes. RocksDB compacts no more afterwards.
    pub fn stop_sweeps(&self) {
        self.inner.sweeps_end.store(true, Ordering::Release);
        let tables = self.inner.tables.load();
        if tables.values().any(|table| table.sweeping.is_under_way()) {
            self.inner.db.cancel_all_background_work(false);
        }
    }

    /// For each table how its sweeps for garbage are, at `now_seconds` since 1970.
    ///
    /// # Errors
    /// When the node's records of its sweeps cannot be read.
    pub fn garbage_status(&self, now_seconds: u32) -> Result<BTreeMap<TableId, GarbageStatus>, StorageError> {
        let schedule = GarbageSchedule::from_local_records(&self.local_records(GARBAGE)?);
        let schedule = schedule.map_err(|error| StorageError::Corrupt(format!("records of sweeps: {error}")))?;
        let status = |table: &Arc<Table>| GarbageStatus {
            lag_seconds: schedule.lag_seconds(table.id, now_seconds),
            rows_examined: table.sweeping.rows_examined(),
        };
        Ok(self.inner.tables.load().values().map(|table| (table.id, status(table))).collect())
    }

    /// For each node for which hints are kept how many there are.
    #[must_use]
    pub fn pending_hints(&self) -> BTreeMap<NodeId, u64> {
        self.inner.hints.pending()
    }

    /// The largest partitions, rows, values and reads of a table that were met since the store was opened, for each
    /// kind the largest first.
    #[must_use]
    pub fn largest(&self, table: TableId) -> Vec<Large> {
        self.inner.large.of(table)
    }

    /// About how many bytes a partition has on disk, if it is known to be larger than is good for a node.
    #[must_use]
    pub fn large_partition(&self, table: TableId, partition: &PartitionKey) -> Option<u64> {
        self.inner.large.partition(table, partition)
    }

    /// How many partitions of a table are in a range of tokens, and how large, about: a few of them are looked at.
    ///
    /// # Errors
    /// When the table is not known, the range is empty or nothing can be read.
    pub fn estimate(&self, table: TableId, range: TokenRange) -> Result<RangeEstimate, StorageError> {
        self.inner.estimate(table, range)
    }

    /// [`Store::largest`] of each table in which something large was met.
    #[must_use]
    pub fn all_largest(&self) -> BTreeMap<TableId, Vec<Large>> {
        let of = |id: &TableId| (*id, self.largest(*id));
        self.inner.tables.load().keys().map(of).filter(|(_, largest)| !largest.is_empty()).collect()
    }

    /// Figures for operators.
    #[must_use]
    pub fn status(&self) -> StoreStatus {
        self.inner.status()
    }

    #[cfg(test)]
    pub(crate) fn inner(&self) -> &Inner {
        &self.inner
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("data_dir", &self.inner.options.data_dir).finish_non_exhaustive()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        *self.inner.background.stop.lock() = true;
        self.inner.background.woken.notify_all();
        if let Some(thread) = self.background.take() {
            // It logs what it fails with; a panic in it has been reported already.
            let _ = thread.join();
        }
    }
}

impl Storage for Store {
    fn commit(&self, group: &[Write], sync: bool) -> Result<Vec<Result<(), StorageError>>, StorageError> {
        self.inner.commit(group, sync)
    }

    fn sync(&self) -> Result<(), StorageError> {
        self.inner.sync()
    }

    fn read(&self, command: &ReadCommand) -> Result<ReadData, StorageError> {
        self.inner.read_waiting::<Kept>(command)
    }

    fn digest(&self, command: &ReadCommand) -> Result<ReadDigest, StorageError> {
        self.inner.read_waiting::<Digested>(command)
    }

    fn read_many(&self, commands: &[ReadCommand]) -> Vec<Result<ReadData, StorageError>> {
        self.inner.read_many(commands)
    }

    fn scan(&self, command: &ScanCommand) -> Result<ScanData, StorageError> {
        self.inner.scan(command)
    }

    fn look_up(&self, command: &IndexCommand) -> Result<IndexData, StorageError> {
        self.inner.look_up(command)
    }

    fn build_index(&self) -> Result<Option<IndexBuild>, StorageError> {
        self.inner.build_index()
    }

    fn index_builds(&self) -> Vec<IndexBuild> {
        self.inner.index_builds()
    }

    fn export(&self, command: &ExportCommand) -> Result<ExportData, StorageError> {
        self.inner.export(command)
    }

    fn ingest(&self, table: TableId, records: &[PartitionRecord]) -> Result<(), StorageError> {
        self.inner.ingest(table, records)
    }

    fn local(&self, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        self.inner.local_record(key, &self.inner.read_options)
    }

    fn local_records(&self, prefix: &[u8]) -> Result<Vec<(Bytes, Bytes)>, StorageError> {
        let family = self.inner.local_family()?;
        let mut iterator = self.inner.db.raw_iterator_cf(&family);
        let mut records = Vec::new();
        iterator.seek(prefix);
        while let Some((key, value)) = iterator.item() {
            if !key.starts_with(prefix) {
                break;
            }
            records.push((Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)));
            iterator.next();
        }
        iterator.status().map_err(|error| rocksdb_error("read local records", &error))?;
        Ok(records)
    }

    fn hints(
        &self,
        target: NodeId,
        after: Option<HintPosition>,
        bytes_limit: u32,
    ) -> Result<Vec<(HintPosition, Hint)>, StorageError> {
        self.inner.hints.read(target, after, bytes_limit)
    }

    fn hint_targets(&self) -> Result<Vec<NodeId>, StorageError> {
        Ok(self.inner.hints.targets())
    }

    fn set_tables(&self, tables: &[Arc<schema::Table>]) -> Result<(), StorageError> {
        self.inner.set_tables(tables)
    }

    fn collect_garbage(&self, sweep: &GarbageSweep) -> Result<GarbageReport, StorageError> {
        self.inner.collect_garbage(sweep)
    }
}

impl Inner {
    fn open(options: StoreOptions) -> Result<Inner, StorageError> {
        let directory = options.data_dir.clone();
        // What is in it is nobody else's business.
        let create = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory);
        create.map_err(|error| io_error("create the data directory", &directory, &error))?;
        let lock = lock_directory(&directory)?;
        let identity = open_identity(&options)?;
        snapshot::remove_unfinished(&directory)?;
        crate::ingest::clear(&directory)?;
        let database = directory.join("rocksdb");
        let exists = database.join("CURRENT").exists();
        if exists && options.accept_data_loss {
            accept_loss(&directory)?;
        }
        let watermark = open_watermark(&options, exists)?;
        if exists {
            check_manifest(&options, &database, &watermark)?;
        }
        let may_have_lost = exists && (directory.join(LOSS_ACCEPTED).exists() || snapshot::is_copy(&directory));
        let kept_log = KeptLog::keep(&directory, &database)?;
        let memory = SharedMemory::new(&options);
        let definitions = known_definitions(&directory)?;
        let replay = Replay::watch(log_files(&database))?;
        let opened = open_database(&options, &memory, &database, watermark.synced().sequence == 0, &definitions);
        replay.end();
        let (db, tables) = opened?;
        let mut watermark = check_watermark(&options, &db, watermark, kept_log)?;
        if may_have_lost {
            forget_counter_ids(&db)?;
            snapshot::forget_copy(&directory)?;
            remove_durably(&directory.join(LOSS_ACCEPTED))?;
        }
        // Opening has begun a new one.
        let mut manifest = Manifest::new(&database);
        watermark.write(Synced { manifest: manifest.follow()?, ..watermark.synced() })?;
        let written = hints_written(&db)?;
        let mut hints = Hints::open(&directory.join("hints"), options.hint_segment_bytes, options.hint_total_bytes)?;
        hints.expect(&written)?;
        let mut cached_read_options = ReadOptions::default();
        cached_read_options.set_read_tier(ReadTier::BlockCache);
        let mut probe_options = WriteOptions::default();
        probe_options.disable_wal(true);
        Ok(Inner {
            memory,
            tables: ArcSwap::from_pointee(tables),
            definitions: Mutex::new(definitions),
            writer: Mutex::new(Writer::default()),
            watermark: Mutex::new(watermark),
            manifest: Mutex::new(manifest),
            hints,
            synced_sequence: AtomicU64::new(db.latest_sequence_number()),
            db,
            read_options: ReadOptions::default(),
            cached_read_options,
            write_options: WriteModes::new(),
            pressure: PressureGauge::default(),
            probe_options,
            sweeps_end: AtomicBool::new(false),
            disk_is_full: AtomicBool::new(is_full(&options)),
            identity: Mutex::new(identity),
            ingested_files: AtomicU64::new(0),
            large: LargeTable::default(),
            building: Mutex::new(()),
            background: Background::default(),
            poison: Mutex::new(None),
            poisoned: AtomicBool::new(false),
            refusal: Mutex::new(None),
            refuses: AtomicBool::new(false),
            reads_failed: AtomicU64::new(0),
            options,
            _lock: lock,
        })
    }

    pub(crate) fn identity(&self) -> Identity {
        *self.identity.lock()
    }

    /// One of the node's own records, read with `options`.
    fn local_record(&self, key: &[u8], options: &ReadOptions) -> Result<Option<Bytes>, StorageError> {
        let value = self.db.get_pinned_cf_opt(&self.local_family()?, key, options);
        let value = value.map_err(|error| rocksdb_error("read a local record", &error))?;
        Ok(value.map(|value| Bytes::copy_from_slice(&value)))
    }

    pub(crate) fn local_family(&self) -> Result<Arc<rocksdb::BoundColumnFamily<'_>>, StorageError> {
        let family = self.db.cf_handle(LOCAL);
        family.ok_or_else(|| StorageError::Corrupt("the node's own records are missing".to_owned()))
    }

    /// Closes the store for writing after `error`, and gives it back.
    pub(crate) fn poison(&self, error: StorageError) -> StorageError {
        tracing::error!(%error, "storage is closed for writing");
        self.poison.lock().get_or_insert_with(|| error.clone());
        self.poisoned.store(true, Ordering::Release);
        error
    }

    /// # Errors
    /// When the store is closed for writing.
    pub(crate) fn check_open(&self) -> Result<(), StorageError> {
        if !self.poisoned.load(Ordering::Acquire) {
            return Ok(());
        }
        Err(match self.poison.lock().as_ref() {
            Some(failed @ StorageError::SyncFailed(_)) => failed.clone(),
            reason => StorageError::Closed(reason.map_or_else(String::new, ToString::to_string)),
        })
    }

    /// Notes that RocksDB does not write for now, and gives the reason back.
    pub(crate) fn refuse_writes(&self, error: StorageError) -> StorageError {
        if !self.refuses.swap(true, Ordering::AcqRel) {
            tracing::error!(%error, "writes are refused until there is space");
        }
        self.refusal.lock().get_or_insert_with(|| error.clone());
        error
    }

    /// Notes that RocksDB writes.
    pub(crate) fn accept_writes(&self) {
        if self.refuses.load(Ordering::Acquire) {
            self.refuses.store(false, Ordering::Release);
            *self.refusal.lock() = None;
            tracing::info!("writes are accepted again");
        }
    }

    /// Syncs the log files themselves, when RocksDB does not do it any more.
    pub(crate) fn sync_log_files(&self) -> Result<(), StorageError> {
        for (path, _) in log_files(&self.options.data_dir.join("rocksdb")) {
            let file = File::open(&path).map_err(|error| io_error("open", &path, &error))?;
            file.sync_data().map_err(|error| sync_error(&path, &error))?;
        }
        Ok(())
    }

    /// Why writes of user data are refused, if they are.
    pub(crate) fn refuses_writes(&self) -> Option<StorageError> {
        let closed = self.poison.lock().clone();
        closed.or_else(|| self.refusal.lock().clone()).or_else(|| self.check_space().err())
    }

    /// Notes that the log is synced up to what was last written, and has the watermark follow. The caller
    /// holds the writer's lock: nothing has been written since.
    pub(crate) fn note_synced(&self) {
        self.synced_sequence.store(self.db.latest_sequence_number(), Ordering::Release);
        if !self.background.work.swap(true, Ordering::AcqRel) {
            // Taking the lock makes sure that the thread either sees the flag or is waiting already.
            drop(self.background.stop.lock());
            self.background.woken.notify_one();
        }
    }

    /// Follows the synced sequence number and the manifest with the watermark, syncs periodically if so configured,
    /// and watches the free space, until the store is dropped.
    fn run_background(&self) {
        let period = match self.options.durability {
            Durability::Group => None,
            Durability::Periodic(period) => Some(period.max(WRITE_INTERVAL)),
        };
        let mut last_sync = Instant::now();
        let mut last_guard = Instant::now();
        let mut errors_seen = 0;
        loop {
            let watch = if self.pressure.now() == Pressure::Free { GUARD_INTERVAL } else { pressure::INTERVAL };
            let stop = self.wait_for_work(period.unwrap_or(watch).min(watch));
            let due = period.is_some_and(|period| last_sync.elapsed() >= period);
            if (stop || due) && self.check_open().is_ok() {
                // A failure has closed the store and been logged.
                let _ = self.sync_if_needed();
                last_sync = Instant::now();
            }
            if stop {
                // Flushes and compactions that end later would write to the manifest after the last look at it.
                self.db.cancel_all_background_work(true);
            }
            let pause = self.write_watermark();
            if stop {
                return;
            }
            self.look_at_pressure(false);
            if last_guard.elapsed() >= GUARD_INTERVAL {
                self.disk_is_full.store(is_full(&self.options), Ordering::Relaxed);
                if self.refuses.load(Ordering::Acquire) || self.background_errors() > errors_seen {
                    errors_seen = self.background_errors();
                    self.probe_writes();
                }
                if let Err(error) = self.remove_stale_entries() {
                    // They are found again.
                    tracing::debug!(%error, "stale entries of indexes stay for now");
                }
                last_guard = Instant::now();
            }
            if let Some(pause) = pause {
                let mut stop = self.background.stop.lock();
                self.background.woken.wait_while_for(&mut stop, |stop| !*stop, pause);
            }
        }
    }

    /// Waits for something to do, at most `limit`; true when the store is being dropped.
    fn wait_for_work(&self, limit: Duration) -> bool {
        let mut stop = self.background.stop.lock();
        if !*stop && !self.background.work.load(Ordering::Acquire) {
            self.background.woken.wait_for(&mut stop, limit);
        }
        *stop
    }

    /// Brings the watermark up to date; the time until the next look when something was written.
    fn write_watermark(&self) -> Option<Duration> {
        self.background.work.swap(false, Ordering::AcqRel);
        if self.poisoned.load(Ordering::Acquire) {
            return None;
        }
        let start = Instant::now();
        let mut watermark = self.watermark.lock();
        let mut synced = watermark.synced();
        synced.sequence = synced.sequence.max(self.synced_sequence.load(Ordering::Acquire));
        let followed = self.manifest.lock().follow();
        let manifest_fails = followed.is_err();
        match followed {
            Ok(manifest) => synced.manifest = manifest,
            Err(error @ StorageError::SyncFailed(_)) => {
                self.poison(error);
                return None;
            }
            Err(error) => tracing::warn!(%error, "the watermark cannot follow the manifest"),
        }
        if synced != watermark.synced() {
            match watermark.write(synced) {
                Ok(()) => {}
                // It stays behind until there is space; nothing is wrong meanwhile but that it says less.
                Err(StorageError::Full(reason)) => tracing::warn!(reason, "the watermark cannot follow the log"),
                Err(error) => {
                    self.poison(error);
                }
            }
        } else if !manifest_fails {
            return None;
        }
        // On a disk that syncs slowly the watermark must not take the time of the log.
        Some(if manifest_fails { GUARD_INTERVAL } else { WRITE_INTERVAL.max(4 * start.elapsed()) })
    }

    pub(crate) fn background_errors(&self) -> u64 {
        self.db.property_int_value("rocksdb.background-errors").ok().flatten().unwrap_or(0)
    }
}

fn other_cluster(directory: &Path, own: u128, other: u128) -> StorageError {
    StorageError::Invalid(format!(
        "the data directory {} belongs to cluster {}, not to cluster {}",
        directory.display(),
        NodeId(own),
        NodeId(other)
    ))
}

fn lock_directory(directory: &Path) -> Result<File, StorageError> {
    let path = directory.join("LOCK");
    let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
    let file = open.map_err(|error| io_error("open for writing", &path, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StorageError::Io(format!(
            "the data directory {} is in use by another process or another node of this one",
            directory.display()
        ))),
        Err(TryLockError::Error(error)) => Err(io_error("lock", &path, &error)),
    }
}

fn open_identity(options: &StoreOptions) -> Result<Identity, StorageError> {
    let directory = &options.data_dir;
    if let Some(identity) = Identity::read(directory)? {
        return match (identity.cluster, options.expected_cluster) {
            (Some(own), Some(expected)) if own != expected => Err(other_cluster(directory, own, expected)),
            _ => Ok(identity),
        };
    }
    if directory.join("rocksdb").join("CURRENT").exists() {
        return Err(StorageError::Corrupt(format!(
            "{} holds data but no file IDENTITY that says whose",
            directory.display()
        )));
    }
    let identity = Identity { node: options.new_node, cluster: None };
    identity.write(directory)?;
    Ok(identity)
}

/// Remembers over a start that is interrupted that a loss was accepted: the watermark does not tell it any more once it
/// is written anew, and the ids of counters are forgotten only after that.
fn accept_loss(directory: &Path) -> Result<(), StorageError> {
    replace_file(&directory.join(LOSS_ACCEPTED), b"a start with less than was acknowledged is under way\n", true)
}

/// The watermark as found, or a new one for a new directory.
fn open_watermark(options: &StoreOptions, database_exists: bool) -> Result<Watermark, StorageError> {
    let directory = &options.data_dir;
    let found = match Watermark::open(directory) {
        Err(StorageError::Corrupt(reason)) if options.accept_data_loss => {
            tracing::warn!(reason, "data loss is accepted");
            None
        }
        found => found?,
    };
    match found {
        Some(watermark) if database_exists || watermark.synced().sequence == 0 => Ok(watermark),
        Some(watermark) if !options.accept_data_loss => Err(StorageError::Corrupt(format!(
            "the database in {} is missing, but writes up to sequence {} were acknowledged as durable",
            directory.display(),
            watermark.synced().sequence
        ))),
        None if database_exists && !options.accept_data_loss => Err(StorageError::Corrupt(format!(
            "the file WATERMARK in {} is missing: nothing says what was acknowledged as durable",
            directory.display()
        ))),
        _ => Watermark::create(directory, Synced::default()),
    }
}

/// Refuses a manifest of which less is there than was synced: RocksDB would delete the table files that it forgot.
fn check_manifest(options: &StoreOptions, database: &Path, watermark: &Watermark) -> Result<(), StorageError> {
    match manifest::check(database, &watermark.synced().manifest) {
        Err(StorageError::Corrupt(reason)) if options.accept_data_loss => {
            tracing::warn!(reason, "data loss is accepted");
            Ok(())
        }
        checked => checked,
    }
}

/// The store's own records whose keys start with `prefix`: the rest of each key, and the value.
pub(crate) fn own_records(db: &DB, prefix: &[u8]) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, StorageError> {
    let family = db.cf_handle(LOCAL).ok_or_else(|| StorageError::Corrupt(format!("{LOCAL} is missing")))?;
    let mut iterator = db.raw_iterator_cf(&family);
    let mut records = BTreeMap::new();
    iterator.seek(prefix);
    while let Some((key, value)) = iterator.item() {
        let Some(rest) = key.strip_prefix(prefix) else { break };
        records.insert(rest.to_vec(), value.to_vec());
        iterator.next();
    }
    iterator.status().map_err(|error| rocksdb_error("read the store's own records", &error))?;
    Ok(records)
}

/// Forgets the ids under which the node counts: it goes on from less than it has told others, or may.
fn forget_counter_ids(db: &DB) -> Result<(), StorageError> {
    let family = db.cf_handle(LOCAL).ok_or_else(|| StorageError::Corrupt(format!("{LOCAL} is missing")))?;
    let mut batch = WriteBatch::default();
    for key in own_records(db, NODE)?.into_keys() {
        let key = [NODE, &key].concat();
        if shard_of_counter_id(&key).is_some() {
            batch.delete_cf(&family, key);
        }
    }
    let mut synced = WriteOptions::default();
    synced.set_sync(true);
    db.write_opt(batch, &synced).map_err(|error| rocksdb_error("forget the ids of counters", &error))
}

/// For each node the position of the last hint that was written for it.
fn hints_written(db: &DB) -> Result<BTreeMap<NodeId, u64>, StorageError> {
    let mut written = BTreeMap::new();
    for (node, position) in own_records(db, layout::HINTS_PREFIX)? {
        let node = std::str::from_utf8(&node).ok().and_then(parse_uuid);
        let position = position.first_chunk::<8>().copied().map(u64::from_le_bytes);
        let (Some(node), Some(position)) = (node, position) else {
            return Err(StorageError::Corrupt("a record of how far hints reach cannot be read".to_owned()));
        };
        written.insert(NodeId(node), position);
    }
    Ok(written)
}

/// Refuses less than was synced.
fn check_watermark(
    options: &StoreOptions,
    db: &DB,
    watermark: Watermark,
    kept_log: KeptLog,
) -> Result<Watermark, StorageError> {
    let (found, synced) = (db.latest_sequence_number(), watermark.synced().sequence);
    if found >= synced {
        kept_log.discard()?;
        return Ok(watermark);
    }
    let kept = kept_log.preserve();
    if !options.accept_data_loss {
        return Err(StorageError::Corrupt(format!(
            "the log in {} ends at sequence {found} but {synced} was acknowledged as durable: {} writes are missing; \
             {kept}; rebuild this node from its peers, or start it once with the override that accepts the loss",
            options.data_dir.display(),
            synced - found
        )));
    }
    tracing::warn!(found, synced, kept, "writes that were acknowledged as durable are missing; the loss is accepted");
    Watermark::create(&options.data_dir, Synced { sequence: found, ..Synced::default() })
}

/// Hard links to the log files from before RocksDB recovered them: it deletes them after recovery, and what
/// lies behind the damage with them.
struct KeptLog {
    directory: PathBuf,
    damaged: PathBuf,
}

impl KeptLog {
    fn keep(data_dir: &Path, database: &Path) -> Result<KeptLog, StorageError> {
        let kept = KeptLog { directory: data_dir.join("log-before-recovery"), damaged: data_dir.join("damaged-log") };
        // Of a start that was interrupted before the check: still needed.
        if !kept.directory.exists() {
            let create = std::fs::create_dir(&kept.directory);
            create.map_err(|error| io_error("create", &kept.directory, &error))?;
        }
        for (path, _) in log_files(database) {
            let Some(name) = path.file_name() else { continue };
            // A file system without hard links keeps nothing; the check works all the same.
            if let Err(error) = std::fs::hard_link(&path, kept.directory.join(name)) {
                tracing::debug!(%error, ?path, "the log is not kept over recovery");
            }
        }
        Ok(kept)
    }

    fn discard(&self) -> Result<(), StorageError> {
        let remove = std::fs::remove_dir_all(&self.directory);
        remove.map_err(|error| io_error("remove", &self.directory, &error))
    }

    /// Keeps the files for good; says where they are.
    fn preserve(&self) -> String {
        if !self.damaged.exists() && log_files(&self.directory).is_empty() {
            return "no log file was found".to_owned();
        }
        if !self.damaged.exists() && std::fs::rename(&self.directory, &self.damaged).is_err() {
            return format!("the log as it was found is kept in {}", self.directory.display());
        }
        format!("the log as it was found is kept in {}", self.damaged.display())
    }
}

/// RocksDB's log files and their sizes in bytes.
pub(crate) fn log_files(database: &Path) -> Vec<(PathBuf, u64)> {
    let Ok(entries) = std::fs::read_dir(database) else { return Vec::new() };
    let logs = entries.flatten().filter(|entry| entry.path().extension().is_some_and(|extension| extension == "log"));
    logs.filter_map(|entry| Some((entry.path(), entry.metadata().ok()?.len()))).collect()
}

/// True when the file system has less free space than the options ask for.
fn is_full(options: &StoreOptions) -> bool {
    match rustix::fs::statvfs(&options.data_dir) {
        Ok(space) => space.f_bavail.saturating_mul(space.f_frsize) < options.free_bytes_min,
        Err(error) => {
            tracing::warn!(%error, "cannot tell the free space of the data directory");
            false
        }
    }
}
