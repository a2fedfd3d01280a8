//! How much of RocksDB's manifest is known to be synced.
//!
//! The manifest lists the table files. RocksDB takes whatever ends it, a cut or a stretch of zeros, for the end of
//! a write that a crash interrupted, opens with the table files that the rest lists, and deletes the others. A
//! store therefore follows the manifest as it grows and keeps its number, length and checksum beside the watermark
//! ([`crate::watermark`]); before RocksDB may open it, the manifest must begin with just that.
//!
//! Why a crash never makes a sound database look damaged: what is recorded was synced before by the follower itself,
//! and a manifest only grows. A manifest with a higher number than the recorded one replaced it: it was whole, and
//! synced, before `CURRENT` named it.
//!
//! What is not noticed is the loss of synced bytes that were not recorded yet: those of the last moments (see
//! `Inner::run_background`), and of a manifest that was just begun.

use crate::failure::{io_error, sync_directory, sync_error};
use node::storage::StorageError;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::Xxh3;

/// Bytes read at a time.
const READ_BYTES: usize = 64 << 10;

/// The synced beginning of a manifest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ManifestMark {
    /// The number in the file's name; 0 when nothing is known of any.
    pub(crate) number: u64,
    /// So many of its first bytes are synced.
    pub(crate) bytes: u64,
    /// XXH3-64 of these bytes.
    pub(crate) checksum: u64,
}

/// Follows the manifest of a database.
pub(crate) struct Manifest {
    database: PathBuf,
    /// The one that `mark` is about.
    file: Option<File>,
    hasher: Xxh3,
    mark: ManifestMark,
}

impl Manifest {
    /// For the database in this folder; nothing of its manifest is known yet.
    pub(crate) fn new(database: &Path) -> Manifest {
        Manifest { database: database.to_owned(), file: None, hasher: Xxh3::new(), mark: ManifestMark::default() }
    }

    /// What is synced of the manifest by now; syncs what came to it.
    ///
    /// # Errors
    /// `SyncFailed` when that failed; else when it cannot be read.
    pub(crate) fn follow(&mut self) -> Result<ManifestMark, StorageError> {
        let number = current(&self.database)?;
        if self.file.is_none() || number != self.mark.number {
            let path = path_of(&self.database, number);
            self.file = Some(File::open(&path).map_err(|error| io_error("open", &path, &error))?);
            self.hasher.reset();
            self.mark = ManifestMark { number, ..ManifestMark::default() };
            // That it is the current one must be durable before anybody relies on it.
            sync_directory(&self.database)?;
        }
        let path = path_of(&self.database, number);
        let Some(file) = &self.file else { return Ok(self.mark) };
        let metadata = file.metadata().map_err(|error| io_error("read", &path, &error))?;
        if metadata.len() > self.mark.bytes {
            file.sync_data().map_err(|error| sync_error(&path, &error))?;
            let read = hash(file, &mut self.hasher, self.mark.bytes, metadata.len());
            if let Err(error) = read {
                // A part may be hashed: begin anew.
                self.file = None;
                return Err(io_error("read", &path, &error));
            }
            self.mark = ManifestMark { number, bytes: metadata.len(), checksum: self.hasher.digest() };
        }
        Ok(self.mark)
    }
}

/// The number of the manifest that `CURRENT` names.
fn current(database: &Path) -> Result<u64, StorageError> {
    let path = database.join("CURRENT");
    let text = std::fs::read_to_string(&path).map_err(|error| io_error("read", &path, &error))?;
    let number = text.trim_end().strip_prefix("MANIFEST-").and_then(|number| number.parse().ok());
    number.ok_or_else(|| StorageError::Corrupt(format!("{} does not name a manifest", path.display())))
}

fn path_of(database: &Path, number: u64) -> PathBuf {
    database.join(format!("MANIFEST-{number:06}"))
}

fn hash(file: &File, hasher: &mut Xxh3, from: u64, to: u64) -> std::io::Result<()> {
    let mut buffer = vec![0; READ_BYTES];
    let mut at = from;
    while at < to {
        let part = (to - at).min(READ_BYTES as u64) as usize;
        file.read_exact_at(&mut buffer[..part], at)?;
        hasher.update(&buffer[..part]);
        at += part as u64;
    }
    Ok(())
}

/// Checks that the manifest of the database in this folder, which exists, holds all that `mark` says was synced.
///
/// # Errors
/// `Corrupt` when it does not, with the file's name; else when it cannot be read.
pub(crate) fn check(database: &Path, mark: &ManifestMark) -> Result<(), StorageError> {
    if mark.number == 0 {
        return Ok(());
    }
    let number = current(database)?;
    if number > mark.number {
        return Ok(());
    }
    if number < mark.number {
        return Err(damaged(&database.join("CURRENT"), "names an older manifest than the last one that was in use"));
    }
    let path = path_of(database, number);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(damaged(&path, "is missing")),
        Err(error) => return Err(io_error("open", &path, &error)),
    };
    let bytes = file.metadata().map_err(|error| io_error("read", &path, &error))?.len();
    if bytes < mark.bytes {
        return Err(damaged(&path, &format!("has {bytes} bytes, but {} were known to be synced", mark.bytes)));
    }
    let mut hasher = Xxh3::new();
    hash(&file, &mut hasher, 0, mark.bytes).map_err(|error| io_error("read", &path, &error))?;
    if hasher.digest() != mark.checksum {
        return Err(damaged(&path, &format!("is not what was synced in its first {} bytes", mark.bytes)));
    }
    Ok(())
}

fn damaged(path: &Path, what: &str) -> StorageError {
    StorageError::Corrupt(format!(
        "{} {what}: it may list less than the tables hold; rebuild this node from its peers, or start it once with the \
         override that accepts the loss",
        path.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(directory: &Path, name: &str, contents: &[u8]) {
        std::fs::write(directory.join(name), contents).unwrap();
    }

    #[test]
    fn whatever_is_cut_from_or_changed_in_the_synced_part_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        write(path, "CURRENT", b"MANIFEST-000007\n");
        write(path, "MANIFEST-000007", b"first");
        let mut manifest = Manifest::new(path);
        let first = manifest.follow().unwrap();
        assert_eq!((first.number, first.bytes), (7, 5));
        assert_eq!(manifest.follow().unwrap(), first);
        write(path, "MANIFEST-000007", b"first, second");
        let second = manifest.follow().unwrap();
        assert_eq!(Manifest::new(path).follow().unwrap(), second, "followed in parts or at once");
        for torn in [b"first, second".to_vec(), b"first, second and a torn end".to_vec()] {
            write(path, "MANIFEST-000007", &torn);
            check(path, &first).unwrap();
            check(path, &second).unwrap();
        }
        for length in 0..13 {
            write(path, "MANIFEST-000007", &b"first, second"[..length]);
            assert!(matches!(check(path, &second), Err(StorageError::Corrupt(_))), "cut to {length}");
            let mut zeroed = b"first, second, third".to_vec();
            zeroed[length] = 0;
            write(path, "MANIFEST-000007", &zeroed);
            assert!(matches!(check(path, &second), Err(StorageError::Corrupt(_))), "zeroed at {length}");
        }
    }

    #[test]
    fn a_later_manifest_replaces_the_recorded_one_and_an_earlier_does_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        write(path, "CURRENT", b"MANIFEST-000007\n");
        write(path, "MANIFEST-000007", b"seven");
        let mut manifest = Manifest::new(path);
        let seven = manifest.follow().unwrap();
        write(path, "MANIFEST-1000000", b"a million");
        write(path, "CURRENT", b"MANIFEST-1000000\n");
        check(path, &seven).unwrap();
        let later = manifest.follow().unwrap();
        assert_eq!((later.number, later.bytes), (1_000_000, 9));
        check(path, &later).unwrap();
        write(path, "CURRENT", b"MANIFEST-000007\n");
        assert!(matches!(check(path, &later), Err(StorageError::Corrupt(reason)) if reason.contains("CURRENT")));
        write(path, "CURRENT", b"MANIFEST-1000000\n");
        std::fs::remove_file(path.join("MANIFEST-1000000")).unwrap();
        assert!(matches!(check(path, &later), Err(StorageError::Corrupt(reason)) if reason.contains("is missing")));
        write(path, "CURRENT", b"nonsense");
        assert!(matches!(check(path, &later), Err(StorageError::Corrupt(_))));
        check(path, &ManifestMark::default()).unwrap();
    }
}
