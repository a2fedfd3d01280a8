//! Looking into a data directory, or a snapshot, without a running node and without changing a byte of it.
//!
//! Invariants:
//! * Nothing is written: RocksDB is opened for reading only, keeps its own log in memory, and what its write
//!   log holds is replayed into memory.
//! * A directory that a node has open is refused, and no node can open it meanwhile.
//! * Damage is reported with the file that it is in, and what is not damaged is read all the same.

use crate::definitions::{self, Definitions};
use crate::failure::{io_error, rocksdb_error};
use crate::hints;
use crate::identity::Identity;
use crate::layout;
use crate::log_check::first_damage;
use crate::manifest;
use crate::options::{SharedMemory, StoreOptions, read_only_options};
use crate::snapshot;
use crate::store::{LOCAL, log_files};
use crate::tables::{Sweepings, families, family_name, table_of_family};
use crate::watermark::{Synced, Watermark};
use bytes::Bytes;
use model::codec::{CodecError, Decode};
use model::deletion::PartitionDeletions;
use model::index::TableIndex;
use model::key::decode_clustering;
use model::schema::Table;
use model::{CellState, NodeId, PartitionKey, RecordKey, Row, TableId, Token, element, value};
use node::storage::StorageError;
use rocksdb::{DB, DBRecoveryMode, LiveFile, ReadOptions};
use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// Bytes read at a time in a scan.
const READAHEAD_BYTES: usize = 2 << 20;
/// Records between two reports of progress.
const PROGRESS_RECORDS: u64 = 100_000;

/// A data directory or a snapshot, open for reading.
pub struct Inspection {
    directory: PathBuf,
    identity: Identity,
    /// When it was made and what is in it, of a snapshot.
    snapshot: Option<(SystemTime, String)>,
    tables: Definitions,
    db: DB,
    /// Held as long as nobody else may open the directory; a snapshot has none.
    _lock: Option<File>,
}

/// A table that is found.
#[derive(Clone, Debug)]
pub struct InspectedTable {
    /// Its definition; that of [`Table::plain`] when nothing says what it is.
    pub definition: Arc<Table>,
    /// Records, estimated.
    pub keys: u64,
    /// Table files.
    pub files: u64,
    /// Their bytes.
    pub file_bytes: u64,
    /// Bytes that only the write log holds.
    pub memtable_bytes: u64,
}

/// A file that is damaged or missing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Damage {
    /// The file.
    pub file: PathBuf,
    /// What is wrong with it.
    pub what: String,
}

/// What was checked, and what was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verification {
    /// Files whose checksums were checked.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Records that were decoded.
    pub records: u64,
    /// What is damaged.
    pub damage: Vec<Damage>,
    /// What is remarkable and no damage: a torn end of a log that was never synced.
    pub notes: Vec<String>,
}

/// How far a check is.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// What is being checked.
    pub what: &'a str,
    /// Records so far.
    pub records: u64,
}

impl Inspection {
    /// Opens a data directory or a snapshot.
    ///
    /// # Errors
    /// `Io` when it is in use or cannot be read; `Invalid` when it is neither; `Corrupt` when it is too damaged
    /// to be opened: [`verify`] says where.
    pub fn open(directory: &Path) -> Result<Inspection, StorageError> {
        let lock = lock(directory)?;
        let identity = identity(directory)?;
        let known = definitions::read(directory)?.unwrap_or_default();
        let snapshot = match snapshot::read_description(directory) {
            Ok(description) => Some(description),
            Err(StorageError::Corrupt(reason)) => return Err(StorageError::Corrupt(reason)),
            Err(_) => None,
        };
        let (db, tables) = open_read_only(directory, &known, DBRecoveryMode::TolerateCorruptedTailRecords)?;
        Ok(Inspection { directory: directory.to_owned(), identity, snapshot, tables, db, _lock: lock })
    }

    /// Whose data it is.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// When it was made and what is in it, if it is a snapshot.
    #[must_use]
    pub fn snapshot(&self) -> Option<&(SystemTime, String)> {
        self.snapshot.as_ref()
    }

    /// The directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The tables by keyspace and name.
    ///
    /// # Errors
    /// When their files cannot be listed.
    pub fn tables(&self) -> Result<Vec<InspectedTable>, StorageError> {
        let live = self.db.live_files().map_err(|error| rocksdb_error("list files", &error))?;
        let mut found: Vec<InspectedTable> = Vec::new();
        for (id, definition) in &self.tables {
            let name = family_name(*id);
            let family = self.db.cf_handle(&name).ok_or_else(|| missing(&name))?;
            let figure = |property: &str| self.db.property_int_value_cf(&family, property).ok().flatten().unwrap_or(0);
            let files: Vec<&LiveFile> = live.iter().filter(|file| file.column_family_name == name).collect();
            let in_memory = figure("rocksdb.num-entries-active-mem-table");
            found.push(InspectedTable {
                definition: definition.clone(),
                keys: in_memory + files.iter().map(|file| file.num_entries).sum::<u64>(),
                files: files.len() as u64,
                file_bytes: files.iter().map(|file| file.size as u64).sum(),
                memtable_bytes: figure("rocksdb.size-all-mem-tables"),
            });
        }
        let name = |table: &InspectedTable| (table.definition.keyspace.clone(), table.definition.name.clone());
        found.sort_by_key(|table| (name(table), table.definition.id));
        Ok(found)
    }

    /// The node's own records whose keys begin with `prefix`, in the order of their keys.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn local_records(&self, prefix: &[u8]) -> Result<Vec<(Bytes, Bytes)>, StorageError> {
        let family = self.db.cf_handle(LOCAL).ok_or_else(|| missing(LOCAL))?;
        let mut iterator = self.db.raw_iterator_cf_opt(&family, scan_options());
        let mut records = Vec::new();
        iterator.seek(prefix);
        while let Some((key, value)) = iterator.item().filter(|(key, _)| key.starts_with(prefix)) {
            records.push((Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)));
            iterator.next();
        }
        iterator.status().map_err(|error| rocksdb_error("read", &error))?;
        Ok(records)
    }

    /// Every record of a partition of a table as it is stored, deletions first; ends when `visit` says false.
    ///
    /// # Errors
    /// When what is stored is damaged.
    pub fn partition(
        &self,
        table: TableId,
        partition: &PartitionKey,
        visit: &mut dyn FnMut(RecordKey, Bytes) -> bool,
    ) -> Result<(), StorageError> {
        let name = family_name(table);
        let family = self.db.cf_handle(&name).ok_or_else(|| missing(&name))?;
        for region in [layout::DELETIONS, layout::ROWS] {
            let mut prefix = Vec::new();
            layout::put_partition(&mut prefix, region, partition);
            let mut iterator = self.db.raw_iterator_cf_opt(&family, scan_options());
            iterator.seek(&prefix);
            while let Some((key, value)) = iterator.item().filter(|(key, _)| key.starts_with(&prefix)) {
                let (_, record) = layout::parse_record(key).ok_or_else(|| not_well_formed(key))?;
                if !visit(record, Bytes::copy_from_slice(value)) {
                    return Ok(());
                }
                iterator.next();
            }
            iterator.status().map_err(|error| rocksdb_error("read", &error))?;
        }
        Ok(())
    }
}

impl std::fmt::Debug for Inspection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inspection").field("directory", &self.directory).finish_non_exhaustive()
    }
}

/// Checks every checksum of every file of a data directory or a snapshot, and that what is in them can be
/// decoded.
///
/// # Errors
/// `Io` when it is in use or cannot be read; `Invalid` when it is neither. Damage is no error, but in the answer.
pub fn verify(directory: &Path, progress: &mut dyn FnMut(Progress<'_>)) -> Result<Verification, StorageError> {
    let _lock = lock(directory)?;
    if !directory.join("IDENTITY").exists() && !directory.join("rocksdb").exists() {
        return Err(no_data_directory(directory));
    }
    let mut found = Verification::default();
    let (known, synced) = found.own_files(directory)?;
    found.hints(directory, progress)?;
    found.database(directory, &known.unwrap_or_default(), synced, progress)?;
    found.damage.sort();
    found.damage.dedup();
    Ok(found)
}

impl Verification {
    fn checked(&mut self, file: &Path) {
        if let Ok(metadata) = std::fs::metadata(file) {
            self.files += 1;
            self.bytes += metadata.len();
        }
    }

    fn damaged(&mut self, file: &Path, what: impl ToString) {
        self.damage.push(Damage { file: file.to_owned(), what: what.to_string() });
    }

    /// Takes the answer of a check of a file: damage is noted, other errors end the check.
    fn take<T>(&mut self, file: &Path, result: Result<T, StorageError>) -> Result<Option<T>, StorageError> {
        self.checked(file);
        match result {
            Ok(value) => Ok(Some(value)),
            Err(StorageError::Corrupt(what)) => {
                self.damaged(file, what);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The files of ours, hints apart. The definitions of tables, and what was synced.
    fn own_files(&mut self, directory: &Path) -> Result<(Option<Definitions>, Option<Synced>), StorageError> {
        let path = directory.join("IDENTITY");
        if self.take(&path, Identity::read(directory))? == Some(None) {
            self.damaged(&path, "is missing");
        }
        let path = directory.join(definitions::NAME);
        let known = self.take(&path, definitions::read(directory))?.flatten();
        let path = directory.join(snapshot::DESCRIPTION);
        let is_snapshot = path.exists();
        if is_snapshot {
            self.take(&path, snapshot::read_description(directory))?;
        }
        let path = directory.join("WATERMARK");
        let synced = self.take(&path, Watermark::read(directory))?;
        match synced {
            // The snapshot of a dropped table has none.
            Some(None) if is_snapshot => Ok((known, None)),
            Some(None) => {
                self.damaged(&path, "is missing");
                Ok((known, None))
            }
            synced => Ok((known, synced.flatten())),
        }
    }

    fn hints(&mut self, directory: &Path, progress: &mut dyn FnMut(Progress<'_>)) -> Result<(), StorageError> {
        for segment in hints::segments(&directory.join("hints"))? {
            self.checked(&segment.path);
            let checked = hints::check_segment(&segment)?;
            self.records += checked.records;
            if let Some(what) = checked.damage {
                self.damaged(&segment.path, what);
            }
            if checked.torn_bytes > 0 {
                let path = segment.path.display();
                self.notes.push(format!("{path} ends in {} bytes that were never acknowledged", checked.torn_bytes));
            }
            progress(Progress { what: "hints", records: self.records });
        }
        Ok(())
    }

    fn database(
        &mut self,
        directory: &Path,
        known: &Definitions,
        synced: Option<Synced>,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<(), StorageError> {
        let path = directory.join("rocksdb");
        progress(Progress { what: "manifest and log", records: self.records });
        if !path.join("CURRENT").exists() {
            if synced.is_some_and(|synced| synced.sequence > 0) {
                self.damaged(&path.join("CURRENT"), "is missing: there is no database");
            }
            return Ok(());
        }
        match synced.map_or(Ok(()), |synced| manifest::check(&path, &synced.manifest)) {
            Err(StorageError::Corrupt(what)) => self.damaged(&file_in(&what).unwrap_or_else(|| path.clone()), what),
            checked => checked?,
        }
        // Opening reads the whole manifest and the whole log, and the index, filter and properties of each file.
        let (db, tables) = match open_read_only(directory, known, DBRecoveryMode::TolerateCorruptedTailRecords) {
            Ok(opened) => opened,
            Err(StorageError::Corrupt(what) | StorageError::Io(what)) => {
                let named = file_in(&what);
                // As a node does: up to the first damage of the log. When that works, the damage is there.
                let up_to_damage = open_read_only(directory, known, DBRecoveryMode::PointInTime);
                let Ok(opened) = up_to_damage else {
                    match named {
                        Some(file) => self.damaged(&file, what),
                        None => self.damaged_log(&path, &what),
                    }
                    return Ok(());
                };
                let log = log_after(&path, opened.0.latest_sequence_number());
                self.damaged(&named.or(log).unwrap_or_else(|| path.clone()), what);
                opened
            }
            Err(error) => return Err(error),
        };
        self.log(&path, &db, synced.map(|synced| synced.sequence));
        let live = db.live_files().map_err(|error| rocksdb_error("list files", &error))?;
        for file in &live {
            let file_path = path.join(file.name.trim_start_matches('/'));
            match std::fs::metadata(&file_path) {
                Ok(metadata) if metadata.len() == file.size as u64 => self.checked(&file_path),
                Ok(metadata) => {
                    self.damaged(&file_path, format!("has {} bytes instead of {}", metadata.len(), file.size));
                }
                Err(error) => self.damaged(&file_path, error),
            }
        }
        for name in DB::list_cf(&rocksdb::Options::default(), &path).unwrap_or_default() {
            let table = table_of_family(&name).and_then(|id| tables.get(&id));
            let files: Vec<&LiveFile> = live.iter().filter(|file| file.column_family_name == name).collect();
            self.family(&Family { db: &db, path: &path, name: &name, table, files }, progress);
        }
        Ok(())
    }

    /// Damage before which the log cannot be replayed, and that RocksDB does not place: it is in an older log.
    fn damaged_log(&mut self, path: &Path, what: &str) {
        let mut logs = log_files(path);
        logs.sort();
        let found = logs.iter().find_map(|(log, _)| Some((log, first_damage(&std::fs::read(log).ok()?)?)));
        match (found, &logs[..]) {
            (Some((log, at)), _) => self.damaged(log, format!("a record is damaged at {at}: {what}")),
            (None, []) => self.damaged(path, what),
            (None, [(log, _)]) => self.damaged(log, what),
            // One is missing, or ends between two records.
            (None, logs) => {
                logs.iter().for_each(|(log, _)| self.damaged(log, format!("this or another log: {what}")));
            }
        }
    }

    /// The log has been replayed up to its first damage or its end: is that all that was synced?
    fn log(&mut self, path: &Path, db: &DB, synced: Option<u64>) {
        let mut logs = log_files(path);
        logs.sort();
        for (log, _) in &logs {
            self.checked(log);
        }
        let found = db.latest_sequence_number();
        if let Some(synced) = synced.filter(|synced| *synced > found) {
            let last = logs.last().map_or_else(|| path.to_owned(), |(log, _)| log.clone());
            self.damaged(
                &last,
                format!(
                    "the log ends at sequence {found}, but {synced} was acknowledged as durable: a log file is \
                     truncated, damaged or missing"
                ),
            );
        }
    }

    /// Reads every block of every file of a column family.
    fn family(&mut self, family: &Family<'_>, progress: &mut dyn FnMut(Progress<'_>)) {
        let mut start = Some(Vec::new());
        while let Some(from) = start {
            start = self.scan(family, &from, progress);
        }
    }

    /// Scans from a key on; where to go on behind damage, if there is more.
    fn scan(&mut self, family: &Family<'_>, from: &[u8], progress: &mut dyn FnMut(Progress<'_>)) -> Option<Vec<u8>> {
        let handle = family.db.cf_handle(family.name)?;
        let mut iterator = family.db.raw_iterator_cf_opt(&handle, scan_options());
        iterator.seek(from);
        let mut last = Vec::new();
        while let Some((key, value)) = iterator.item() {
            if let Err(what) = check_record(family, key, value) {
                let file = family.file_of(key);
                self.damaged(&file, format!("{what} (key {})", hex(key)));
            }
            self.records += 1;
            if self.records.is_multiple_of(PROGRESS_RECORDS) {
                progress(Progress { what: &family.label(), records: self.records });
            }
            last.clear();
            last.extend_from_slice(key);
            iterator.next();
        }
        let error = iterator.status().err()?;
        let file = file_in(error.as_ref()).unwrap_or_else(|| family.file_of(&last));
        self.damaged(&file, &error);
        // What is in the damaged file is not known: go on behind it.
        let damaged = family.files.iter().find(|live| file.ends_with(live.name.trim_start_matches('/')))?;
        let next = [damaged.end_key.as_deref()?, &[0]].concat();
        (next.as_slice() > from && next > last).then_some(next)
    }
}

/// A column family that is checked.
struct Family<'a> {
    db: &'a DB,
    path: &'a Path,
    name: &'a str,
    /// None for the node's own records.
    table: Option<&'a Arc<Table>>,
    files: Vec<&'a LiveFile>,
}

impl Family<'_> {
    fn label(&self) -> String {
        self.table.map_or_else(|| self.name.to_owned(), |table| format!("{}.{}", table.keyspace, table.name))
    }

    /// The file that a key is in, as far as that can be told.
    fn file_of(&self, key: &[u8]) -> PathBuf {
        let holds = |file: &&&LiveFile| {
            let range = (file.start_key.as_deref(), file.end_key.as_deref());
            matches!(range, (Some(start), Some(end)) if start <= key && key <= end)
        };
        let file = self.files.iter().find(holds);
        file.map_or_else(|| self.path.to_owned(), |file| self.path.join(file.name.trim_start_matches('/')))
    }
}

/// Checks a stored key and its value.
fn check_record(family: &Family<'_>, key: &[u8], value: &[u8]) -> Result<(), String> {
    let Some(table) = family.table else { return Ok(()) };
    if layout::is_index_entry(key) {
        return check_entry(table, key);
    }
    let (_, record) = layout::parse_record(key).ok_or("a key is not well-formed")?;
    let value = Bytes::copy_from_slice(value);
    // The name is only known of tables that a schema has named.
    let is_known = table.as_ref() != &Table::plain(table.id);
    let failed = |error: CodecError| format!("a value cannot be decoded: {error}");
    match &record {
        RecordKey::Deletions => PartitionDeletions::from_bytes(&value).map(|_| ()).map_err(failed),
        RecordKey::Static => check_row(table, &value, is_known),
        RecordKey::Row(clustering) => {
            if is_known {
                decode_clustering(table, clustering).map_err(|_| "a clustering key cannot be decoded")?;
            }
            check_row(table, &value, is_known)
        }
    }
}

/// Checks the key of an entry of an index.
fn check_entry(table: &Table, key: &[u8]) -> Result<(), String> {
    for index in TableIndex::all(table) {
        let Some(rest) = key.strip_prefix(layout::index_prefix(index.target()).as_slice()) else { continue };
        let length = index.value_length(rest).map_err(|_| "the value of an index entry cannot be decoded")?;
        return match layout::parse_indexed_row(&rest[length..]) {
            Ok(row) if Token::of(&row.partition.bytes) == row.partition.token => Ok(()),
            _ => Err("the key of an index entry is not well-formed".to_owned()),
        };
    }
    // Of an index that was dropped, or is not known: nothing says what must be in it.
    Ok(())
}

fn check_row(table: &Table, row: &Bytes, is_known: bool) -> Result<(), String> {
    let row = Row::from_bytes(row).map_err(|error| format!("a row cannot be decoded: {error}"))?;
    if !is_known {
        return Ok(());
    }
    for (id, cell) in row.cells() {
        // A cell of a column that was dropped stays until it is compacted away.
        let Some(column) = table.columns.iter().find(|column| column.id == *id) else { continue };
        if let CellState::Live(wire) | CellState::Expiring(_, Some(wire)) = &cell.state {
            value::validate(&column.cql_type, wire)
                .map_err(|error| format!("a value of column {}: {}", column.name, error.0))?;
        }
    }
    for (id, cells) in row.complex() {
        let Some(column) = table.columns.iter().find(|column| column.id == *id) else { continue };
        let whole = if column.cql_type.is_multi_cell() {
            element::value(&column.cql_type, cells, 0).map_err(|error| format!("column {}: {error}", column.name))?
        } else {
            None
        };
        if let Some(wire) = whole {
            value::validate(&column.cql_type, &wire)
                .map_err(|error| format!("a value of column {}: {}", column.name, error.0))?;
        }
    }
    Ok(())
}

fn scan_options() -> ReadOptions {
    let mut options = ReadOptions::default();
    options.set_total_order_seek(true);
    options.set_verify_checksums(true);
    options.fill_cache(false);
    options.set_readahead_size(READAHEAD_BYTES);
    options
}

/// The log that holds what comes after a sequence number: the last one that begins no later. A log begins
/// with the header of a record (7 bytes) and a batch, whose first eight bytes are its sequence number.
fn log_after(database: &Path, sequence: u64) -> Option<PathBuf> {
    let first = |log: &Path| -> Option<u64> {
        let mut start = [0; 15];
        std::io::Read::read_exact(&mut File::open(log).ok()?, &mut start).ok()?;
        start.last_chunk::<8>().copied().map(u64::from_le_bytes)
    };
    let begins = log_files(database).into_iter().filter_map(|(log, _)| Some((first(&log)?, log)));
    begins.filter(|(first, _)| *first <= sequence + 1).max().map(|(_, log)| log)
}

fn open_read_only(
    directory: &Path,
    known: &Definitions,
    recovery: DBRecoveryMode,
) -> Result<(DB, Definitions), StorageError> {
    let path = directory.join("rocksdb");
    if !path.join("CURRENT").exists() {
        return Err(StorageError::Corrupt(format!("{} holds no database", directory.display())));
    }
    let mut options = StoreOptions::new(directory, NodeId(0));
    options.block_cache_bytes = 32 << 20;
    let memory = SharedMemory::new(&options);
    let (families, tables) = families(&options, &memory, &path, known, &mut Sweepings::new())?;
    let opened =
        DB::open_cf_descriptors_read_only(&read_only_options(&options, &memory, recovery), &path, families, false);
    let db = opened.map_err(|error| rocksdb_error(&format!("cannot open {}", path.display()), &error))?;
    if db.cf_handle(LOCAL).is_none() {
        return Err(missing(LOCAL));
    }
    Ok((db, tables))
}

/// Locks the directory against nodes; none when there is nothing to lock, as in a snapshot.
fn lock(directory: &Path) -> Result<Option<File>, StorageError> {
    if !directory.is_dir() {
        return Err(no_data_directory(directory));
    }
    let path = directory.join("LOCK");
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error("open", &path, &error)),
    };
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(StorageError::Io(format!(
            "the data directory {} is in use by a running node: stop it, or inspect a snapshot",
            directory.display()
        ))),
        Err(TryLockError::Error(error)) => Err(io_error("lock", &path, &error)),
    }
}

fn identity(directory: &Path) -> Result<Identity, StorageError> {
    Identity::read(directory)?.ok_or_else(|| no_data_directory(directory))
}

fn no_data_directory(directory: &Path) -> StorageError {
    StorageError::Invalid(format!("{} is neither a data directory of Helenus nor a snapshot", directory.display()))
}

fn missing(family: &str) -> StorageError {
    StorageError::Corrupt(format!("column family {family} is missing"))
}

fn not_well_formed(key: &[u8]) -> StorageError {
    StorageError::Corrupt(format!("a key is not well-formed: {}", hex(key)))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The file that one of RocksDB's messages names.
fn file_in(message: &str) -> Option<PathBuf> {
    let words = message.split_whitespace().map(|word| word.trim_matches(|end: char| ":;,()'\"".contains(end)));
    let named = |word: &&str| word.contains('/') && !word.ends_with('/');
    let is_file = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with("MANIFEST") || name.starts_with("CURRENT") || name.ends_with(".sst") || name.ends_with(".log")
    };
    words.filter(named).map(PathBuf::from).rfind(is_file)
}

/// Tables that a directory may hold, by keyspace and name; of several generations the last.
#[must_use]
pub fn by_name(tables: &[InspectedTable]) -> BTreeMap<(String, String), Arc<Table>> {
    let mut found: BTreeMap<(String, String), Arc<Table>> = BTreeMap::new();
    for table in tables {
        let key = (table.definition.keyspace.clone(), table.definition.name.clone());
        let known = found.entry(key).or_insert_with(|| table.definition.clone());
        if known.generation < table.definition.generation {
            *known = table.definition.clone();
        }
    }
    found
}

#[cfg(test)]
#[path = "inspect_tests.rs"]
mod tests;
