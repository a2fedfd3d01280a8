//! Tests of the whole store: the contract, damage, and what only RocksDB can get wrong.

use crate::options::StoreOptions;
use crate::store::Store;
use bytes::Bytes;
use model::codec::Encode;
use model::deletion::{Deletion, PartitionDeletions};
use model::digest::ReadDigest;
use model::garbage::Purge;
use model::local::LocalWrite;
use model::read::Slice;
use model::row::Liveness;
use model::scan::{ExportCommand, ExportData, PartitionRecord};
use model::schema::Table;
use model::table_options::{Compaction, CompactionShape, Compression, Compressor, Fraction, TableOptions};
use model::token::TokenRange;
use model::{
    Cell, ColumnId, IndexCommand, IndexData, Mutation, NodeId, PartitionKey, ReadCommand, ReadData, Record, RecordKey,
    Rng, Row, ScanCommand, ScanData, TableId, Token,
};
use node::conformance::{self, Harness};
use node::storage::{GarbageReport, GarbageSweep, Hint, HintPosition, IndexBuild, Storage, StorageError, Write};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use tempfile::TempDir;

pub(crate) const TABLE: TableId = TableId(0xa1);

/// Lengths of files whose ends need not be on disk, when they were last synced.
type SyncedLengths = Arc<Mutex<BTreeMap<PathBuf, u64>>>;

/// A store in a temporary directory; every crash goes on in a copy.
struct StoreHarness {
    root: TempDir,
    generation: u32,
    store: Weak<Store>,
    synced: SyncedLengths,
    rng: Rng,
}

/// The store as the suite gets it: notes what is synced.
struct Watched {
    store: Arc<Store>,
    directory: PathBuf,
    synced: SyncedLengths,
}

impl StoreHarness {
    fn new() -> StoreHarness {
        StoreHarness {
            root: tempfile::tempdir().unwrap(),
            generation: 0,
            store: Weak::new(),
            synced: SyncedLengths::default(),
            rng: Rng::new(3),
        }
    }

    fn directory(&self) -> PathBuf {
        self.root.path().join(self.generation.to_string())
    }

    /// Copies the directory as `length_of` says how long each file is, and goes on in the copy.
    fn crash(&mut self, mut kept: impl FnMut(&Path, Vec<u8>) -> Vec<u8>) {
        let store = self.store.upgrade().unwrap();
        store.inner().db.cancel_all_background_work(true);
        let from = self.directory();
        self.generation += 1;
        for path in files(&from) {
            let to = self.directory().join(path.strip_prefix(&from).unwrap());
            std::fs::create_dir_all(to.parent().unwrap()).unwrap();
            let contents = std::fs::read(&path).unwrap();
            std::fs::write(to, kept(&path, contents)).unwrap();
        }
    }
}

impl Harness for StoreHarness {
    fn open(&mut self) -> Box<dyn Storage> {
        let mut options = small_options(&self.directory());
        options.hint_segment_bytes = 1_000;
        let store = Arc::new(Store::open(options).unwrap());
        self.store = Arc::downgrade(&store);
        let watched = Watched { store, directory: self.directory(), synced: Arc::clone(&self.synced) };
        watched.note_synced();
        Box::new(watched)
    }

    fn crash_process(&mut self) {
        self.crash(|_, contents| contents);
    }

    fn crash_power(&mut self) -> bool {
        let (synced, mut rng) = (std::mem::take(&mut *self.synced.lock()), self.rng.fork());
        self.crash(|path, mut contents| {
            if is_unsynced(path) {
                let all = contents.len() as u64;
                // A file of hints is synced when the next one is begun.
                let is_closed = path.extension().is_some_and(|extension| extension == "hints") && has_successor(path);
                let at_least = if is_closed { all } else { synced.get(path).copied().unwrap_or(0).min(all) };
                let length = rng.between(at_least, all);
                contents.truncate(length as usize);
                if !has_successor(path) && rng.chance(300) {
                    // Blocks that were allocated and never written.
                    contents.extend((0..rng.below(200)).map(|_| rng.next_u64() as u8));
                }
            }
            contents
        });
        true
    }

    fn disturb(&mut self, rng: &mut Rng) {
        let store = self.store.upgrade().unwrap();
        let tables: Vec<TableId> = store.inner().tables.load().keys().copied().collect();
        let table = tables.get(rng.below(tables.len().max(1) as u64) as usize);
        match (rng.below(10), table) {
            (0, Some(table)) => ingest_what_is_there(&store, *table, rng),
            (1, Some(table)) => {
                // Nothing is garbage: what deletions cover goes, and no reader sees a difference.
                let tokens = Token::MINIMUM..=Token(i64::MAX);
                store.collect_garbage(&GarbageSweep { table: *table, tokens, purge: Purge::default() }).unwrap();
            }
            (2..4, _) => store.compact().unwrap(),
            _ => store.flush().unwrap(),
        }
        note_closed(&self.directory(), &self.synced);
    }
}

/// Some records that are stored come once more, as from another replica: they change nothing.
fn ingest_what_is_there(store: &Store, table: TableId, rng: &mut Rng) {
    let bytes_limit = rng.between(1, 20_000) as u32;
    let mut page = ExportCommand { table, range: TokenRange::ALL, after: None, bytes_limit };
    let first = store.export(&page).unwrap();
    let last = first.records.last().map(|last| (last.partition.clone(), last.record.key.clone()));
    store.ingest(table, &first.records).unwrap();
    page.after = last;
    let second = store.export(&page).unwrap();
    store.ingest(table, &second.records).unwrap();
}

impl Watched {
    fn note_synced(&self) {
        let unsynced = files(&self.directory).into_iter().filter(|path| is_unsynced(path));
        let length = |path: PathBuf| std::fs::metadata(&path).ok().map(|metadata| (path, metadata.len()));
        *self.synced.lock() = unsynced.filter_map(length).collect();
    }
}

impl Storage for Watched {
    fn commit(&self, group: &[Write], sync: bool) -> Result<Vec<Result<(), StorageError>>, StorageError> {
        let results = self.store.commit(group, sync);
        if sync {
            self.note_synced();
        }
        results
    }

    fn sync(&self) -> Result<(), StorageError> {
        self.store.sync()?;
        self.note_synced();
        Ok(())
    }

    fn read(&self, command: &ReadCommand) -> Result<ReadData, StorageError> {
        let data = self.store.read(command)?;
        if let Some(cached) = self.store.read_cached(command) {
            assert_eq!(cached.unwrap(), data, "both ways to read agree");
        }
        Ok(data)
    }

    fn digest(&self, command: &ReadCommand) -> Result<ReadDigest, StorageError> {
        let digest = self.store.digest(command)?;
        if let Some(cached) = self.store.digest_cached(command) {
            assert_eq!(cached.unwrap(), digest, "both ways to read agree");
        }
        Ok(digest)
    }

    fn read_many(&self, commands: &[ReadCommand]) -> Vec<Result<ReadData, StorageError>> {
        self.store.read_many(commands)
    }

    fn scan(&self, command: &ScanCommand) -> Result<ScanData, StorageError> {
        let data = self.store.scan(command)?;
        let other = self.store.scan(&ScanCommand { bulk: !command.bulk, ..command.clone() })?;
        assert_eq!(other, data, "both ways to scan agree");
        Ok(data)
    }

    fn look_up(&self, command: &IndexCommand) -> Result<IndexData, StorageError> {
        self.store.look_up(command)
    }

    fn build_index(&self) -> Result<Option<IndexBuild>, StorageError> {
        self.store.build_index()
    }

    fn index_builds(&self) -> Vec<IndexBuild> {
        self.store.index_builds()
    }

    fn export(&self, command: &ExportCommand) -> Result<ExportData, StorageError> {
        self.store.export(command)
    }

    fn ingest(&self, table: TableId, records: &[PartitionRecord]) -> Result<(), StorageError> {
        let ingested = self.store.ingest(table, records);
        self.note_synced();
        ingested
    }

    fn local(&self, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        self.store.local(key)
    }

    fn local_records(&self, prefix: &[u8]) -> Result<Vec<(Bytes, Bytes)>, StorageError> {
        self.store.local_records(prefix)
    }

    fn hints(
        &self,
        target: NodeId,
        after: Option<HintPosition>,
        bytes_limit: u32,
    ) -> Result<Vec<(HintPosition, Hint)>, StorageError> {
        self.store.hints(target, after, bytes_limit)
    }

    fn hint_targets(&self) -> Result<Vec<NodeId>, StorageError> {
        self.store.hint_targets()
    }

    fn collect_garbage(&self, sweep: &GarbageSweep) -> Result<GarbageReport, StorageError> {
        let report = self.store.collect_garbage(sweep);
        note_closed(&self.directory, &self.synced);
        report
    }

    fn set_tables(&self, tables: &[Arc<Table>]) -> Result<(), StorageError> {
        self.store.set_tables(tables)?;
        self.note_synced();
        Ok(())
    }
}

/// A flush begins a new log and syncs the ones before.
fn note_closed(directory: &Path, synced: &SyncedLengths) {
    let closed = files(directory).into_iter().filter(|path| is_unsynced(path) && has_successor(path));
    let length = |path: PathBuf| std::fs::metadata(&path).ok().map(|metadata| (path, metadata.len()));
    synced.lock().extend(closed.filter_map(length));
}

/// True for files that are appended to without a sync of each append.
fn is_unsynced(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "log" || extension == "hints")
}

/// True for a file that is not the newest of its kind in its directory: names order as numbers do.
fn has_successor(path: &Path) -> bool {
    let later = |other: &PathBuf| other.extension() == path.extension() && other.as_path() > path;
    files(path.parent().unwrap()).iter().any(later)
}

/// Every file below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

pub(crate) fn small_options(directory: &Path) -> StoreOptions {
    let mut options = StoreOptions::new(directory, NodeId(1));
    options.block_cache_bytes = 4 << 20;
    options.write_buffer_bytes = 2 << 20;
    options.free_bytes_min = 0;
    options
}

pub(crate) fn plain(ids: &[TableId]) -> Vec<Arc<Table>> {
    ids.iter().map(|id| Arc::new(Table::plain(*id))).collect()
}

pub(crate) fn clustering(number: u32) -> Bytes {
    Bytes::from([&[0x40][..], &number.to_be_bytes(), &[0x38]].concat())
}

pub(crate) fn row(timestamp: i64, value: &[u8]) -> Row {
    let cell = Cell::live(timestamp, Bytes::copy_from_slice(value));
    Row::new(Some(Liveness { timestamp, expiry: None }), None, vec![(ColumnId(1), cell)])
}

pub(crate) fn put(table: TableId, partition: &'static [u8], number: u32, row: &Row) -> Write {
    let partition = PartitionKey::new(Bytes::from_static(partition));
    let records = vec![Record::row(clustering(number), row)];
    Write::Apply(Arc::new(Mutation { table, partition, records }))
}

pub(crate) fn all(table: TableId, partition: &'static [u8]) -> ReadCommand {
    ReadCommand {
        table,
        partition: PartitionKey::new(Bytes::from_static(partition)),
        slices: vec![Slice::all()],
        reversed: false,
        static_row: true,
        row_limit: u32::MAX,
        bytes_limit: u32::MAX,
        now_seconds: 0,
        tombstone_limit: u32::MAX,
        gc_before_seconds: 0,
        dropped_columns: Vec::new(),
    }
}

pub(crate) fn commit(store: &Store, group: &[Write], sync: bool) {
    for result in store.commit(group, sync).unwrap() {
        result.unwrap();
    }
}

/// A store with one table and `count` rows in one partition, each committed and synced alone.
pub(crate) fn filled(directory: &Path, count: u32) -> Store {
    let store = Store::open(small_options(directory)).unwrap();
    store.set_tables(&plain(&[TABLE])).unwrap();
    for number in 0..count {
        commit(&store, &[put(TABLE, b"p", number, &row(1, b"value"))], true);
    }
    store
}

pub(crate) fn count(store: &Store) -> usize {
    store.read(&all(TABLE, b"p")).unwrap().rows.len()
}

#[test]
fn the_store_keeps_the_contract() {
    conformance::run(&mut || Box::new(StoreHarness::new()));
}

#[test]
fn other_histories_agree_with_the_reference() {
    for seed in 2..5 {
        conformance::differential(&mut || Box::new(StoreHarness::new()), seed, 4_000);
    }
}

/// A million operations in 50 histories; resumed by naming those that are left.
#[test]
#[ignore = "takes many minutes: HELENUS_HISTORIES=100..150 names the histories, by seed"]
#[allow(clippy::print_stderr, reason = "a long run: a person chooses its part and watches it")]
fn a_million_operations_agree_with_the_reference() {
    for seed in conformance::long_histories(std::env::var("HELENUS_HISTORIES").ok().as_deref()) {
        conformance::differential(&mut || Box::new(StoreHarness::new()), seed, conformance::LONG_HISTORY);
        eprintln!("history {seed}: {} operations agree", conformance::LONG_HISTORY);
    }
}

#[test]
fn other_histories_with_sweeps_agree_with_one_without() {
    for seed in 2..8 {
        conformance::garbage_differential(&mut || Box::new(StoreHarness::new()), seed, 6_000);
    }
}

#[test]
fn a_reader_never_sees_half_of_a_mutation() {
    let directory = tempfile::tempdir().unwrap();
    let store = filled(directory.path(), 1);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for points in [true, false] {
            let (store, stop) = (&store, &stop);
            scope.spawn(move || {
                let mut command = all(TABLE, b"q");
                if points {
                    let start = clustering(7);
                    let end = Bytes::from([&start[..], &[0]].concat());
                    command.slices = vec![Slice { start, end }];
                }
                while !stop.load(Ordering::Relaxed) {
                    let data = store.read(&command).unwrap();
                    // Every mutation deletes the partition and writes both rows anew.
                    let rows: Vec<_> = data.rows.iter().map(|(_, row)| row.clone()).collect();
                    let stamp = data.deletions.partition().map(|deletion| deletion.timestamp);
                    let expected: Vec<Bytes> = stamp.map(|stamp| row(stamp + 1, b"v").to_bytes()).into_iter().collect();
                    assert_eq!((data.static_row, rows), (expected.first().cloned(), expected));
                }
            });
        }
        for round in 0..4_000 {
            let stamp = round * 2;
            let deletion = Deletion { timestamp: stamp, local_seconds: 1 };
            let value = row(stamp + 1, b"v").to_bytes();
            let records = vec![
                Record::deletions(&PartitionDeletions::of_partition(deletion)),
                Record { key: RecordKey::Static, value: value.clone() },
                Record { key: RecordKey::Row(clustering(7)), value },
            ];
            let partition = PartitionKey::new(Bytes::from_static(b"q"));
            commit(&store, &[Write::Apply(Arc::new(Mutation { table: TABLE, partition, records }))], false);
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_cached_read_answers_from_memory_or_not_at_all() {
    let directory = tempfile::tempdir().unwrap();
    let store = filled(directory.path(), 50);
    let mut point = all(TABLE, b"p");
    point.slices = vec![Slice { start: clustering(3), end: Bytes::from([&clustering(3)[..], &[0]].concat()) }];
    for command in [&point, &all(TABLE, b"p")] {
        assert!(store.read_cached(command).is_some(), "in the memtable");
    }
    store.compact().unwrap();
    drop(store);
    let store = Store::open(small_options(directory.path())).unwrap();
    for command in [&all(TABLE, b"p"), &point] {
        assert!(store.read_cached(command).is_none() || command.slices == point.slices, "on disk");
        let data = store.read(command).unwrap();
        assert_eq!(store.read_cached(command), Some(Ok(data)), "in the cache");
    }
}

#[test]
fn a_value_that_cannot_be_merged_fails_its_reads_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let store = filled(directory.path(), 2);
    let mut key = Vec::new();
    let partition = PartitionKey::new(Bytes::from_static(b"p"));
    crate::layout::put_record(&mut key, &partition, &RecordKey::Row(clustering(1)));
    let family = store.inner().db.cf_handle(&store.inner().table(TABLE).unwrap().name).unwrap();
    store.inner().db.merge_cf(&family, &key, b"garbage").unwrap();
    assert!(matches!(store.read(&all(TABLE, b"p")), Err(StorageError::Corrupt(_))));
    commit(&store, &[put(TABLE, b"q", 1, &row(1, b"v"))], true);
    assert_eq!(store.read(&all(TABLE, b"q")).unwrap().rows.len(), 1);
}

#[test]
fn a_row_that_is_written_again_and_again_stays_cheap_to_read() {
    let directory = tempfile::tempdir().unwrap();
    let store = filled(directory.path(), 1);
    let column = |number: u32| {
        let cell = Cell::live(i64::from(number), Bytes::copy_from_slice(&number.to_be_bytes()));
        Row::new(None, None, vec![(ColumnId(number % 7), cell)])
    };
    let mut expected = row(1, b"value");
    for number in 0..3_000 {
        commit(&store, &[put(TABLE, b"p", 0, &column(number)), put(TABLE, b"p", 1 + number, &row(1, b"v"))], false);
        expected = expected.merge(column(number));
        if number % 1_000 == 700 {
            store.flush().unwrap();
        }
    }
    crate::merge::OPERANDS_MOST.set(0);
    let mut point = all(TABLE, b"p");
    point.slices = vec![Slice { start: clustering(0), end: Bytes::from([&clustering(0)[..], &[0]].concat()) }];
    assert_eq!(store.read(&point).unwrap().rows[0].1, expected.to_bytes());
    let operands = crate::merge::OPERANDS_MOST.get();
    assert!(operands <= 2 * crate::hot::CHANGES_MAX as usize, "{operands} operands");
}

/// The newest log file of a closed store.
pub(crate) fn log_file(directory: &Path) -> PathBuf {
    let logs =
        files(&directory.join("rocksdb")).into_iter().filter(|path| path.extension().is_some_and(|e| e == "log"));
    logs.max_by_key(|path| std::fs::metadata(path).unwrap().len()).unwrap()
}

#[test]
fn a_log_that_lost_what_was_synced_is_refused_and_kept() {
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 4] = [
        ("cut to half", |log| {
            let file = std::fs::OpenOptions::new().write(true).open(log).unwrap();
            file.set_len(file.metadata().unwrap().len() / 2).unwrap();
        }),
        ("deleted", |log| std::fs::remove_file(log).unwrap()),
        ("a bit flipped in the middle", |log| {
            let mut bytes = std::fs::read(log).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 4;
            std::fs::write(log, bytes).unwrap();
        }),
        ("the end zeroed", |log| {
            let mut bytes = std::fs::read(log).unwrap();
            let length = bytes.len();
            bytes[length - 300..].fill(0);
            std::fs::write(log, bytes).unwrap();
        }),
    ];
    for (name, damage) in damages {
        let directory = tempfile::tempdir().unwrap();
        drop(filled(directory.path(), 200));
        let log = log_file(directory.path());
        damage(&log);
        for _ in 0..2 {
            let refused = Store::open(small_options(directory.path()));
            let Err(StorageError::Corrupt(reason)) = refused else { panic!("{name}: {refused:?}") };
            assert!(name == "deleted" || reason.contains("acknowledged as durable"), "{name}: {reason}");
        }
        let kept = directory.path().join("damaged-log");
        assert!(name == "deleted" || kept.exists(), "{name}");
        let options = StoreOptions { accept_data_loss: true, ..small_options(directory.path()) };
        let store = Store::open(options).unwrap();
        assert!(count(&store) < 200, "{name}");
        commit(&store, &[put(TABLE, b"p", 1_000, &row(1, b"v"))], true);
        drop(store);
        let store = Store::open(small_options(directory.path())).unwrap();
        assert_eq!(store.read(&all(TABLE, b"p")).unwrap().rows.last().unwrap().0, clustering(1_000), "{name}");
    }
}

/// The manifest of a closed store.
fn manifest_file(directory: &Path) -> PathBuf {
    let mut all = files(&directory.join("rocksdb")).into_iter();
    all.find(|path| path.file_name().unwrap().to_str().unwrap().starts_with("MANIFEST")).unwrap()
}

#[test]
fn a_manifest_that_lost_what_was_synced_is_refused_before_table_files_are_forgotten() {
    let directory = tempfile::tempdir().unwrap();
    let store = filled(directory.path(), 20);
    for number in 20..60 {
        commit(&store, &[put(TABLE, b"p", number, &row(1, b"value"))], true);
        if number % 10 == 0 {
            store.flush().unwrap();
        }
    }
    drop(store);
    let path = manifest_file(directory.path());
    let whole = std::fs::read(&path).unwrap();
    let open = |accept_data_loss| {
        Store::open(StoreOptions { accept_data_loss, ..small_options(directory.path()) }).map(|store| count(&store))
    };
    let end = whole.len();
    for at in [0, 1, end / 3, end / 2, end * 3 / 4, end - 40, end - 1] {
        let zeroed = [&whole[..at], &vec![0; end - at]].concat();
        for damaged in [&whole[..at], &zeroed] {
            std::fs::write(&path, damaged).unwrap();
            let refused = open(false);
            let named = |reason: &str| reason.contains(path.to_str().unwrap());
            assert!(matches!(&refused, Err(StorageError::Corrupt(reason)) if named(reason)), "{at}: {refused:?}");
        }
    }
    std::fs::write(&path, &whole).unwrap();
    assert_eq!(open(false).unwrap(), 60, "nothing was removed by the starts that were refused");
    // What was appended and never synced may end anywhere.
    let path = manifest_file(directory.path());
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, [&whole[..], &whole[..30]].concat()).unwrap();
    assert_eq!(open(false).unwrap(), 60);
    let path = manifest_file(directory.path());
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(file.metadata().unwrap().len() - 20).unwrap();
    assert!(open(false).is_err());
    assert!(open(true).unwrap() <= 60, "the loss is accepted");
    open(false).unwrap();
}

/// Has one table flushed and compacted again and again while another one is written to; the log that is written to
/// last holds writes of that one.
fn write_beside_flushes_and_compactions(store: &Store, other: TableId) {
    let inner = store.inner();
    let family = inner.family(&inner.table(TABLE).unwrap().name).unwrap();
    let write = |table, number| commit(store, &[put(table, b"p", number, &row(1, b"value"))], true);
    let mut in_background = rocksdb::FlushOptions::default();
    in_background.set_wait(false);
    for round in 0..5 {
        write(TABLE, 100 + round);
        inner.db.flush_cf_opt(&family, &in_background).unwrap();
        (0..20).for_each(|number| write(other, round * 100 + number));
        inner.db.wait_for_compact(&rocksdb::WaitForCompactOptions::default()).unwrap();
        inner.db.compact_range_cf(&family, None::<&[u8]>, None::<&[u8]>);
        write(other, 1_000 + round);
    }
}

/// To be looked at with every new RocksDB: the sequence number that it remembers in the manifest is never above what
/// is in closed logs.
#[test]
fn flushes_and_compactions_beside_a_log_do_not_hide_that_it_lost_its_end() {
    const OTHER: TableId = TableId(0xb2);
    let directory = tempfile::tempdir().unwrap();
    let store = filled(directory.path(), 20);
    store.set_tables(&plain(&[TABLE, OTHER])).unwrap();
    store.flush().unwrap();
    write_beside_flushes_and_compactions(&store, OTHER);
    drop(store);
    let is_log = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "log");
    let log = files(&directory.path().join("rocksdb")).into_iter().filter(is_log).max().unwrap();
    let length = log.metadata().unwrap().len();
    for kept in [0, 1, length / 2, length - 1, length] {
        let copy = tempfile::tempdir().unwrap();
        for path in files(directory.path()) {
            let to = copy.path().join(path.strip_prefix(directory.path()).unwrap());
            std::fs::create_dir_all(to.parent().unwrap()).unwrap();
            std::fs::copy(&path, &to).unwrap();
            if path == log {
                std::fs::OpenOptions::new().write(true).open(&to).unwrap().set_len(kept).unwrap();
            }
        }
        let opened = Store::open(small_options(copy.path()));
        assert_eq!(opened.is_ok(), kept == length, "{kept} of {length} bytes: {opened:?}");
    }
}

#[test]
fn a_torn_end_that_was_never_synced_is_dropped_silently() {
    for torn in [1u64, 7, 60] {
        let mut harness = StoreHarness::new();
        let storage = harness.open();
        storage.set_tables(&plain(&[TABLE])).unwrap();
        for number in 0..20 {
            storage.commit(&[put(TABLE, b"p", number, &row(1, b"value"))], number < 15).unwrap();
        }
        harness.crash(|path, mut contents| {
            if is_unsynced(path) && contents.len() as u64 > torn {
                contents.truncate(contents.len() - torn as usize);
                contents.extend_from_slice(&[0xab; 5]);
            }
            contents
        });
        drop(storage);
        let store = Store::open(small_options(&harness.directory())).unwrap();
        assert_eq!(count(&store), 19);
    }
}

#[test]
fn dropping_tables_does_not_look_like_a_loss() {
    let directory = tempfile::tempdir().unwrap();
    for round in 0..4u128 {
        let store = Store::open(small_options(directory.path())).unwrap();
        let tables: Vec<TableId> = (0..3).map(|number| TableId(round * 10 + number)).collect();
        store.set_tables(&plain(&tables)).unwrap();
        for number in 0..100 {
            commit(&store, &[put(tables[number as usize % 3], b"p", number, &row(1, &[7; 9_000]))], number % 10 == 9);
        }
        store.set_tables(&plain(&tables[..1])).unwrap();
        assert_eq!(store.read(&all(tables[0], b"p")).unwrap().rows.len(), 34);
        if round % 2 == 0 {
            store.set_tables(&[]).unwrap();
        }
    }
    Store::open(small_options(directory.path())).unwrap();
}

/// The files of each level of a store's table.
fn level_files(store: &Store) -> Vec<u64> {
    store.status().tables[0].levels.iter().map(|level| level.files).collect()
}

#[test]
fn options_of_a_table_are_changed_while_it_is_used_and_by_the_next_opening() {
    let directory = tempfile::tempdir().unwrap();
    let store = filled(directory.path(), 1);
    let change = |store: &Store, options: &TableOptions| {
        let table = Table { options: options.clone(), ..Table::plain(TABLE) };
        store.set_tables(&[Arc::new(table)]).unwrap();
    };
    let mut number = 1;
    let mut write = |store: &Store| {
        commit(store, &[put(TABLE, b"p", number, &row(1, &[7; 5_000]))], true);
        store.flush().unwrap();
        number += 1;
    };
    let leveled = TableOptions::default().compaction;
    let mut options = TableOptions { compaction: Compaction { enabled: false, ..leveled }, ..TableOptions::default() };
    change(&store, &options);
    (0..10).for_each(|_| write(&store));
    assert_eq!(level_files(&store), [10], "nothing is compacted");
    options.compaction.enabled = true;
    change(&store, &options);
    write(&store);
    store.inner().db.wait_for_compact(&rocksdb::WaitForCompactOptions::default()).unwrap();
    assert!(level_files(&store)[0] < 4, "{:?}", level_files(&store));
    // Repeated bytes: what is stored tells whether they are compressed.
    let bytes_with = |store: &Store, options: &TableOptions| {
        change(store, options);
        store.compact().unwrap();
        store.status().tables[0].file_bytes
    };
    let mut sizes = Vec::new();
    for compressor in [Compressor::None, Compressor::Snappy, Compressor::Zstd { level: 9 }, Compressor::Lz4] {
        options.compression = Compression { compressor, ..options.compression };
        sizes.push(bytes_with(&store, &options));
    }
    assert!(sizes[0] > 55_000 && sizes[1..].iter().all(|size| *size < sizes[0] / 3), "{sizes:?}");
    let with_filter = bytes_with(&store, &options);
    options.bloom_filter_fp_chance = Fraction::ONE;
    assert!(bytes_with(&store, &options) < with_filter, "without a filter");
    options.compression.chunk_kb = 16;
    options.compaction.shape = CompactionShape::SizeTiered { min_threshold: 6, max_threshold: 32 };
    change(&store, &options);
    let rows = count(&store);
    drop(store);
    let store = Store::open(small_options(directory.path())).unwrap();
    assert_eq!(count(&store), rows);
    let table = store.inner().table(TABLE).unwrap();
    assert_eq!(table.definition.options, options);
    (0..4).for_each(|_| write(&store));
    store.inner().db.wait_for_compact(&rocksdb::WaitForCompactOptions::default()).unwrap();
    assert_eq!(level_files(&store)[0], 4, "fewer than six runs are left alone");
    assert_eq!(count(&store), rows + 4);
}

#[test]
fn the_watermark_follows_the_log() {
    let directory = tempfile::tempdir().unwrap();
    let store = filled(directory.path(), 30);
    let status = store.status();
    assert_eq!(status.synced_sequence, status.latest_sequence);
    commit(&store, &[put(TABLE, b"p", 99, &row(1, b"v"))], false);
    assert!(store.status().synced_sequence < store.status().latest_sequence);
    store.sync().unwrap();
    let synced = store.status().synced_sequence;
    assert_eq!(synced, store.status().latest_sequence);
    assert_eq!((store.status().tables.len(), store.status().refuses_writes), (1, None));
    drop(store);
    let watermark = crate::watermark::Watermark::open(directory.path()).unwrap().unwrap();
    assert_eq!(watermark.synced().sequence, synced);
}

#[test]
fn a_missing_database_or_watermark_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    drop(filled(directory.path(), 3));
    std::fs::rename(directory.path().join("rocksdb"), directory.path().join("aside")).unwrap();
    assert!(matches!(Store::open(small_options(directory.path())), Err(StorageError::Corrupt(_))));
    std::fs::rename(directory.path().join("aside"), directory.path().join("rocksdb")).unwrap();
    std::fs::remove_file(directory.path().join("WATERMARK")).unwrap();
    assert!(matches!(Store::open(small_options(directory.path())), Err(StorageError::Corrupt(_))));
    let options = StoreOptions { accept_data_loss: true, ..small_options(directory.path()) };
    assert_eq!(count(&Store::open(options).unwrap()), 3);
    std::fs::remove_file(directory.path().join("IDENTITY")).unwrap();
    assert!(matches!(Store::open(small_options(directory.path())), Err(StorageError::Corrupt(_))));
}

#[test]
fn a_loss_that_was_accepted_is_remembered_over_an_interrupted_start() {
    let directory = tempfile::tempdir().unwrap();
    let store = filled(directory.path(), 20);
    let key = model::local::counter_id_key(0);
    let id = LocalWrite::of(vec![(key.clone(), Some(Bytes::from_static(b"id")))]);
    commit(&store, &[Write::Local(id)], true);
    let has_id = |store: &Store| store.local(&key).unwrap().is_some();
    assert!(has_id(&store));
    drop(store);
    drop(Store::open(small_options(directory.path())).unwrap());
    // As the start that accepts the loss leaves it when it ends after the watermark was written anew.
    std::fs::write(directory.path().join("LOSS_ACCEPTED"), "").unwrap();
    let store = Store::open(small_options(directory.path())).unwrap();
    assert!(!has_id(&store), "what was counted under it may be lost");
    drop(store);
    assert!(!directory.path().join("LOSS_ACCEPTED").exists());
}

#[test]
fn a_directory_belongs_to_one_node_of_one_cluster() {
    let directory = tempfile::tempdir().unwrap();
    let options = small_options(directory.path());
    let store = Store::open(options.clone()).unwrap();
    assert_eq!(store.identity(), crate::Identity { node: NodeId(1), cluster: None });
    let second = Store::open(options.clone());
    assert!(matches!(&second, Err(StorageError::Io(reason)) if reason.contains("in use")), "{second:?}");
    store.set_cluster(5, &[]).unwrap();
    store.set_cluster(5, &[3]).unwrap();
    assert!(matches!(store.set_cluster(6, &[3]), Err(StorageError::Invalid(_))));
    store.set_cluster(4, &[3, 5]).unwrap();
    assert!(matches!(store.set_cluster(5, &[3]), Err(StorageError::Invalid(_))), "there is no way back");
    store.set_cluster(5, &[4]).unwrap();
    drop(store);
    let other = Store::open(StoreOptions { expected_cluster: Some(6), ..options.clone() });
    assert!(matches!(&other, Err(StorageError::Invalid(reason)) if reason.contains("belongs to cluster")), "{other:?}");
    let again = StoreOptions { expected_cluster: Some(5), new_node: NodeId(9), ..options.clone() };
    assert_eq!(Store::open(again).unwrap().identity(), crate::Identity { node: NodeId(1), cluster: Some(5) });
    std::fs::write(directory.path().join("IDENTITY"), "helenus data directory\nformat 9\n").unwrap();
    let newer = Store::open(options);
    assert!(matches!(&newer, Err(StorageError::Invalid(reason)) if reason.contains("newer version")), "{newer:?}");
}

#[test]
fn a_directory_that_cannot_be_used_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, b"").unwrap();
    let refused = Store::open(small_options(&file.join("data")));
    assert!(matches!(&refused, Err(StorageError::Io(reason)) if reason.contains("file/data")), "{refused:?}");
}

#[test]
fn a_full_disk_refuses_user_data_and_goes_on_reading() {
    let directory = tempfile::tempdir().unwrap();
    drop(filled(directory.path(), 3));
    let options = StoreOptions { free_bytes_min: u64::MAX, ..small_options(directory.path()) };
    let store = Store::open(options).unwrap();
    let local = LocalWrite::of(vec![(Bytes::from_static(b"node/x"), Some(Bytes::from_static(b"1")))]);
    let results = store.commit(&[put(TABLE, b"p", 9, &row(1, b"v")), Write::Local(local)], true).unwrap();
    assert!(matches!(results[..], [Err(StorageError::Full(_)), Ok(())]), "{results:?}");
    assert_eq!(count(&store), 3);
}

#[test]
fn after_a_failed_write_nothing_more_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let store = filled(directory.path(), 1);
    let (target, other) = (NodeId(2), put(TABLE, b"p", 5, &row(1, b"v")));
    // The target's directory cannot be made.
    std::fs::write(directory.path().join("hints").join(target.to_string()), b"").unwrap();
    let Write::Apply(mutation) = other.clone() else { unreachable!() };
    let failed = store.commit(
        &[
            other.clone(),
            Write::Hint {
                target,
                hint: Hint { written_seconds: 1, grace_seconds: 864_000, mutation },
                oldest_seconds: 0,
            },
        ],
        true,
    );
    assert!(matches!(failed, Err(StorageError::Io(_))), "{failed:?}");
    assert!(matches!(store.commit(&[other], true), Err(StorageError::Closed(_))));
    assert!(matches!(store.sync(), Err(StorageError::Closed(_))));
    assert!(matches!(store.status().refuses_writes, Some(StorageError::Io(_))));
    assert_eq!(count(&store), 1, "reads go on");
}

#[test]
fn a_period_syncs_by_itself() {
    let directory = tempfile::tempdir().unwrap();
    let period = std::time::Duration::from_millis(10);
    let options = StoreOptions { durability: crate::Durability::Periodic(period), ..small_options(directory.path()) };
    let store = Store::open(options).unwrap();
    store.set_tables(&plain(&[TABLE])).unwrap();
    commit(&store, &[put(TABLE, b"p", 1, &row(1, b"v"))], false);
    let written = store.status().latest_sequence;
    while store.status().synced_sequence < written {
        std::thread::yield_now();
    }
}

#[test]
fn writes_are_refused_while_compaction_is_behind_and_taken_again_after_it() {
    let directory = tempfile::tempdir().unwrap();
    let store = filled(directory.path(), 1);
    let inner = store.inner();
    let family = inner.family("t_000000000000000000000000000000a1").unwrap();
    let limits = |files: &str| {
        let set = [("level0_slowdown_writes_trigger", files), ("level0_stop_writes_trigger", files)];
        inner.db.set_options_cf(&family, &set).unwrap();
    };
    // As if compaction had fallen behind: RocksDB stops writes at four files, and compacts at a hundred.
    inner.db.set_options_cf(&family, &[("level0_file_num_compaction_trigger", "100")]).unwrap();
    limits("4");
    let write = |number: u32| put(TABLE, b"p", number, &row(1, b"value"));
    let own = Write::Local(LocalWrite::of(vec![(Bytes::from_static(b"own"), Some(Bytes::new()))]));
    let mut refused = None;
    for number in 1..20 {
        match store.commit(&[write(number)], number % 2 == 0).unwrap().remove(0) {
            Ok(()) => store.flush().unwrap(),
            Err(error) => {
                refused = Some((number, error));
                break;
            }
        }
    }
    let (number, error) = refused.expect("writes are refused at last");
    assert_eq!(error, StorageError::Overloaded);
    assert_eq!((store.pressure(), store.status().refuses_writes), (crate::Pressure::Refusing, None));
    assert_eq!(count(&store) as u32, number, "what was refused is not there, and reads go on");
    assert!(store.status().refused_writes >= 1);
    // Compaction has caught up.
    limits("100");
    inner.look_at_pressure(true);
    assert_eq!(store.pressure(), crate::Pressure::Free);
    commit(&store, &[write(number), own], true);
    assert_eq!(count(&store) as u32, number + 1);
}
