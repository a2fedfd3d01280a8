//! Snapshots: what the store holds at one moment, kept until it is removed, at the price of hard links.
//!
//! `snapshots/<name>/` is laid out as a data directory without hints, with a file `SNAPSHOT` besides:
//! ```text
//! helenus snapshot
//! created 1795608000                     seconds since 1970
//! of all                                 or: dropped <keyspace>.<table> generation <number>
//! checksum 0123456789abcdef              XXH3-64 of the lines above
//! ```
//! Invariants:
//! * A snapshot is whole or not there: it is made under a name that starts with a dot, synced, and renamed.
//! * It is never overwritten or changed.
//! * Its name is no path.

use crate::definitions::{self, Definitions};
use crate::failure::{io_error, remove_durably, replace_file, rocksdb_error, sync_directory};
use crate::manifest::Manifest;
use crate::options::{SharedMemory, StoreOptions, database_options};
use crate::store::{Inner, LOCAL};
use crate::tables::{Sweepings, Table, families};
use crate::watermark::{Synced, Watermark};
use node::storage::StorageError;
use rocksdb::DB;
use rocksdb::checkpoint::Checkpoint;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use xxhash_rust::xxh3::xxh3_64;

/// Longest name in bytes: with what stands before it while it is made or removed it is the name of a directory.
pub(crate) const NAME_BYTES_MAX: usize = 240;
/// The file that describes a snapshot.
pub(crate) const DESCRIPTION: &str = "SNAPSHOT";
/// Names of those that are kept when a table is dropped start so.
const DROPPED: &str = "dropped-";
const _: () = assert!(
    DROPPED.len() + model::limits::KEYSPACE_NAME_BYTES_MAX + ".".len() + model::limits::NAME_BYTES_MAX + "-".len() + 32
        <= NAME_BYTES_MAX
);
const TITLE: &str = "helenus snapshot";

/// A snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotStatus {
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created: SystemTime,
    /// What is in it: `all`, or `dropped <keyspace>.<table> generation <number>`.
    pub content: String,
    /// Bytes of its files.
    pub bytes: u64,
    /// Of these, in files that nothing else uses any more: what removing it frees.
    pub own_bytes: u64,
}

/// True when a data directory is the copy of a snapshot, and no node has started from it.
pub(crate) fn is_copy(data_dir: &Path) -> bool {
    data_dir.join(DESCRIPTION).exists()
}

/// A node has started from a copy: from now on it is a data directory like any other.
///
/// # Errors
/// When the description cannot be removed.
pub(crate) fn forget_copy(data_dir: &Path) -> Result<(), StorageError> {
    remove_durably(&data_dir.join(DESCRIPTION))
}

/// Makes a snapshot of everything.
///
/// # Errors
/// `Invalid` for a name that is none or exists; else when it cannot be made.
pub(crate) fn create(inner: &Inner, name: &str) -> Result<SnapshotStatus, StorageError> {
    check_name(name)?;
    if name.starts_with(DROPPED) {
        let message = format!("names of snapshots that start with '{DROPPED}' are for those of dropped tables");
        return Err(StorageError::Invalid(message));
    }
    inner.check_open()?;
    // The tables stay the same meanwhile, and nobody else makes one of this name.
    let listed = inner.definitions.lock();
    let place = Place::new(&inner.options.data_dir, name)?;
    // Everything up to here is in it, and maybe more.
    let sequence = inner.db.latest_sequence_number();
    let database = place.making.join("rocksdb");
    checkpoint(inner, &database, 0)?;
    Watermark::create(&place.making, Synced { sequence, manifest: Manifest::new(&database).follow()? })?;
    place.finish(inner, &listed, "all")
}

/// Keeps a table that is about to be dropped, and nothing else but the node's own records, under a name
/// that its id is part of. The caller holds the definitions.
///
/// # Errors
/// When it cannot be made.
pub(crate) fn keep_dropped(inner: &Inner, table: &Table) -> Result<(), StorageError> {
    let definition = &table.definition;
    let name = format!("{DROPPED}{}.{}-{:032x}", definition.keyspace, definition.name, table.id.0);
    if check_name(&name).is_err() {
        // A table whose definition is not known yet: the schema that drops it was read before it.
        return Ok(());
    }
    let place = match Place::new(&inner.options.data_dir, &name) {
        // Made before a crash.
        Err(StorageError::Invalid(_)) => return Ok(()),
        place => place?,
    };
    let database = place.making.join("rocksdb");
    let flushed = inner.db.flush_cf(&inner.family(&table.name)?);
    flushed.map_err(|error| rocksdb_error("flush", &error))?;
    checkpoint(inner, &database, u64::MAX)?;
    let only = Definitions::from([(table.id, definition.clone())]);
    drop_others(&inner.options, &database, &only, &table.name)?;
    let content = format!("dropped {}.{} generation {}", definition.keyspace, definition.name, definition.generation);
    let made = place.finish(inner, &only, &content)?;
    tracing::info!(snapshot = made.name, bytes = made.bytes, "a snapshot of a dropped or truncated table is kept");
    Ok(())
}

/// The snapshots by name.
///
/// # Errors
/// When they cannot be listed, or the description of one is missing or damaged.
pub(crate) fn list(data_dir: &Path) -> Result<Vec<SnapshotStatus>, StorageError> {
    let mut found = Vec::new();
    for path in folders(&directory(data_dir))? {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if check_name(name).is_ok() {
            found.push(status(&path, name)?);
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// Removes a snapshot, or all of them; how many were removed.
///
/// # Errors
/// `Invalid` when there is none of that name; else when it cannot be removed.
pub(crate) fn clear(data_dir: &Path, name: Option<&str>) -> Result<u64, StorageError> {
    let directory = directory(data_dir);
    let paths = match name {
        Some(name) => {
            check_name(name)?;
            let path = directory.join(name);
            if !path.is_dir() {
                return Err(StorageError::Invalid(format!("snapshot '{name}' does not exist")));
            }
            vec![path]
        }
        None => folders(&directory)?,
    };
    for path in &paths {
        remove(path)?;
    }
    Ok(paths.len() as u64)
}

/// Removes what was being made or removed when the process ended.
pub(crate) fn remove_unfinished(data_dir: &Path) -> Result<(), StorageError> {
    let is_hidden = |path: &PathBuf| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    for path in folders(&directory(data_dir))?.into_iter().filter(is_hidden) {
        tracing::info!(?path, "a snapshot that was not finished is removed");
        std::fs::remove_dir_all(&path).map_err(|error| io_error("remove", &path, &error))?;
    }
    Ok(())
}

/// What the description in `directory` says: when it was made, and what is in it.
///
/// # Errors
/// `Corrupt` when it is damaged; else when it cannot be read.
pub(crate) fn read_description(directory: &Path) -> Result<(SystemTime, String), StorageError> {
    let path = directory.join(DESCRIPTION);
    let text = std::fs::read_to_string(&path).map_err(|error| io_error("read", &path, &error))?;
    parse(&text).ok_or_else(|| StorageError::Corrupt(format!("{} is damaged", path.display())))
}

fn directory(data_dir: &Path) -> PathBuf {
    data_dir.join("snapshots")
}

/// A name is letters, digits, `_`, `-` and `.`, and does not start with a dot: no path leads out of the
/// directory of snapshots.
fn check_name(name: &str) -> Result<(), StorageError> {
    let sound = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.starts_with('.') || !name.bytes().all(sound) {
        return Err(StorageError::Invalid(format!(
            "the name of a snapshot is 1 to {NAME_BYTES_MAX} letters, digits, '_', '-' and '.', and does not start \
             with '.'"
        )));
    }
    Ok(())
}

/// Where a snapshot is made, and where it will be. Dropping it unfinished removes what was made.
struct Place {
    making: PathBuf,
    whole: PathBuf,
    name: String,
}

impl Place {
    fn new(data_dir: &Path, name: &str) -> Result<Place, StorageError> {
        let directory = directory(data_dir);
        std::fs::create_dir_all(&directory).map_err(|error| io_error("create", &directory, &error))?;
        let whole = directory.join(name);
        if whole.exists() {
            return Err(StorageError::Invalid(format!("snapshot '{name}' exists already")));
        }
        let place = Place { making: directory.join(format!(".making-{name}")), whole, name: name.to_owned() };
        match std::fs::remove_dir_all(&place.making) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(io_error("remove", &place.making, &error)),
            _ => {
                let create = std::fs::create_dir(&place.making);
                create.map_err(|error| io_error("create", &place.making, &error))?;
                Ok(place)
            }
        }
    }

    fn finish(self, inner: &Inner, tables: &Definitions, content: &str) -> Result<SnapshotStatus, StorageError> {
        inner.identity().write(&self.making)?;
        definitions::write(&self.making, tables)?;
        let created = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        replace_file(&self.making.join(DESCRIPTION), describe(created, content).as_bytes(), true)?;
        let rename = std::fs::rename(&self.making, &self.whole);
        rename.map_err(|error| io_error("rename", &self.making, &error))?;
        sync_directory(&directory(&inner.options.data_dir))?;
        status(&self.whole, &self.name)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.making.exists()
            && let Err(error) = std::fs::remove_dir_all(&self.making)
        {
            tracing::warn!(path = ?self.making, %error, "a snapshot that was not finished cannot be removed");
        }
    }
}

/// Hard links to the files of the database. With `log_bytes` 0 memtables are flushed first, else the log is
/// copied.
fn checkpoint(inner: &Inner, path: &Path, log_bytes: u64) -> Result<(), StorageError> {
    let made = Checkpoint::new(&inner.db).and_then(|it| it.create_checkpoint_with_log_size(path, log_bytes));
    made.map_err(|error| rocksdb_error("make a snapshot", &error))
}

/// Drops every table but one from the database of a snapshot, so that it keeps no other's files. That one
/// was flushed: nothing in the log is needed.
fn drop_others(options: &StoreOptions, path: &Path, kept: &Definitions, name: &str) -> Result<(), StorageError> {
    let failed = |error: rocksdb::Error| rocksdb_error("make a snapshot", &error);
    for (log, _) in crate::store::log_files(path) {
        std::fs::remove_file(&log).map_err(|error| io_error("remove", &log, &error))?;
    }
    let small = StoreOptions { block_cache_bytes: 8 << 20, write_buffer_bytes: 8 << 20, ..options.clone() };
    let memory = SharedMemory::new(&small);
    let mut database = database_options(&small, &memory);
    database.set_track_and_verify_wals_in_manifest(false);
    let (families, found) = families(&small, &memory, path, kept, &mut Sweepings::new())?;
    let db = DB::open_cf_descriptors(&database, path, families).map_err(failed)?;
    for id in found.keys() {
        let other = crate::tables::family_name(*id);
        if other != name {
            db.drop_cf(&other).map_err(failed)?;
        }
    }
    let local = db.cf_handle(LOCAL).ok_or_else(|| StorageError::Corrupt(format!("{LOCAL} is missing")))?;
    db.flush_cf(&local).and_then(|()| db.flush_wal(true)).map_err(failed)?;
    db.cancel_all_background_work(true);
    Ok(())
}

fn remove(path: &Path) -> Result<(), StorageError> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let removing = path.with_file_name(format!(".removing-{name}"));
    let remove = || {
        std::fs::rename(path, &removing)?;
        std::fs::remove_dir_all(&removing)
    };
    remove().map_err(|error| io_error("remove", path, &error))
}

/// The directories in a directory; none when it does not exist.
fn folders(directory: &Path) -> Result<Vec<PathBuf>, StorageError> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(io_error("list", directory, &error)),
    };
    let paths: Result<Vec<PathBuf>, _> = entries.map(|entry| entry.map(|entry| entry.path())).collect();
    let paths = paths.map_err(|error| io_error("list", directory, &error))?;
    Ok(paths.into_iter().filter(|path| path.is_dir()).collect())
}

fn status(path: &Path, name: &str) -> Result<SnapshotStatus, StorageError> {
    let (created, content) = read_description(path)?;
    let (bytes, own_bytes) = sizes(path).map_err(|error| io_error("list", path, &error))?;
    Ok(SnapshotStatus { name: name.to_owned(), created, content, bytes, own_bytes })
}

/// The bytes of all files below `path`, and of those that have no other name.
fn sizes(path: &Path) -> std::io::Result<(u64, u64)> {
    let (mut all, mut own) = (0, 0);
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        if metadata.is_dir() {
            let (below, own_below) = sizes(&entry.path())?;
            (all, own) = (all + below, own + own_below);
        } else {
            all += metadata.len();
            own += if metadata.nlink() == 1 { metadata.len() } else { 0 };
        }
    }
    Ok((all, own))
}

fn describe(created_seconds: u64, content: &str) -> String {
    let lines = format!("{TITLE}\ncreated {created_seconds}\nof {content}\n");
    let checksum = xxh3_64(lines.as_bytes());
    format!("{lines}checksum {checksum:016x}\n")
}

fn parse(text: &str) -> Option<(SystemTime, String)> {
    let mut lines = text.lines();
    if lines.next()? != TITLE {
        return None;
    }
    let created = lines.next()?.strip_prefix("created ")?.parse().ok()?;
    let content = lines.next()?.strip_prefix("of ")?.to_owned();
    let whole = describe(created, &content) == text;
    whole.then(|| (UNIX_EPOCH + Duration::from_secs(created), content))
}

#[cfg(test)]
#[path = "snapshot_tests.rs"]
mod tests;
