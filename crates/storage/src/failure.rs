//! From the errors of RocksDB and the operating system to [`StorageError`].

use node::storage::StorageError;
use std::io;
use std::path::Path;

/// What RocksDB refused while doing `what`.
pub(crate) fn rocksdb_error(what: &str, error: &rocksdb::Error) -> StorageError {
    let message = format!("{what}: {error}");
    match error.kind() {
        rocksdb::ErrorKind::Corruption => StorageError::Corrupt(message),
        rocksdb::ErrorKind::ShutdownInProgress => StorageError::Closed(message),
        rocksdb::ErrorKind::Incomplete | rocksdb::ErrorKind::Busy | rocksdb::ErrorKind::TryAgain => {
            StorageError::Overloaded
        }
        // RocksDB has a code for a full disk; the C interface keeps only its text.
        _ if error.as_ref().contains("No space left") => StorageError::Full(message),
        _ => StorageError::Io(message),
    }
}

/// What the operating system refused while doing `what` with `path`.
pub(crate) fn io_error(what: &str, path: &Path, error: &io::Error) -> StorageError {
    let message = format!("cannot {what} {}: {error}", path.display());
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StorageError::Full(message),
        _ => StorageError::Io(message),
    }
}

/// Makes the entries of a directory durable: a file that was created, renamed or removed in it.
pub(crate) fn sync_directory(path: &Path) -> Result<(), StorageError> {
    let sync = || std::fs::File::open(path)?.sync_all();
    sync().map_err(|error| io_error("sync the directory", path, &error))
}

/// Replaces the file at `path` with `contents`: after a crash it has either its old contents or the new
/// ones. With `durable` the new ones survive power loss once this has returned.
pub(crate) fn replace_file(path: &Path, contents: &[u8], durable: bool) -> Result<(), StorageError> {
    let temporary = path.with_extension("new");
    let write = || {
        let mut file = std::fs::File::create(&temporary)?;
        io::Write::write_all(&mut file, contents)?;
        if durable {
            file.sync_all()?;
        }
        std::fs::rename(&temporary, path)
    };
    write().map_err(|error| io_error("write", path, &error))?;
    match path.parent() {
        Some(directory) if durable => sync_directory(directory),
        _ => Ok(()),
    }
}
