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
        _ if is_failed_sync(error.as_ref()) => StorageError::SyncFailed(message),
        _ if error.as_ref().contains("No space left") || error.as_ref().contains("Disk quota exceeded") => {
            StorageError::Full(message)
        }
        _ => StorageError::Io(message),
    }
}

/// True when RocksDB says that a sync failed. A full disk that shows itself only then is one too: what was
/// written before may be lost. (`sync_file_range` starts writing early and promises nothing.)
fn is_failed_sync(message: &str) -> bool {
    message.contains("While fdatasync") || message.contains("While fsync")
}

/// What the operating system refused while doing `what` with `path`.
pub(crate) fn io_error(what: &str, path: &Path, error: &io::Error) -> StorageError {
    let message = format!("cannot {what} {}: {error}", path.display());
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StorageError::Full(message),
        _ => StorageError::Io(message),
    }
}

/// What the operating system refused while syncing `path`.
pub(crate) fn sync_error(path: &Path, error: &io::Error) -> StorageError {
    StorageError::SyncFailed(format!("{}: {error}", path.display()))
}

/// Makes the entries of a directory durable: a file that was created, renamed or removed in it.
pub(crate) fn sync_directory(path: &Path) -> Result<(), StorageError> {
    let directory = std::fs::File::open(path).map_err(|error| io_error("open", path, &error))?;
    directory.sync_all().map_err(|error| sync_error(path, &error))
}

/// Removes the file at `path`, if it is there: once this has returned it does not come back.
pub(crate) fn remove_durably(path: &Path) -> Result<(), StorageError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error("remove", path, &error)),
        _ => path.parent().map_or(Ok(()), sync_directory),
    }
}

/// Replaces the file at `path` with `contents`: after a crash it has either its old contents or the new
/// ones. With `durable` the new ones survive power loss once this has returned.
pub(crate) fn replace_file(path: &Path, contents: &[u8], durable: bool) -> Result<(), StorageError> {
    let temporary = path.with_extension("new");
    let write = || {
        let mut file = std::fs::File::create(&temporary)?;
        io::Write::write_all(&mut file, contents)?;
        Ok(file)
    };
    let file = write().map_err(|error| io_error("write", path, &error))?;
    if durable {
        file.sync_all().map_err(|error| sync_error(&temporary, &error))?;
    }
    std::fs::rename(&temporary, path).map_err(|error| io_error("write", path, &error))?;
    match path.parent() {
        Some(directory) if durable => sync_directory(directory),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sync_that_fails_for_lack_of_space_is_a_failed_sync() {
        assert!(is_failed_sync("IO error: No space left on device: While fdatasync: /d/000004.log"));
        assert!(!is_failed_sync("IO error: No space left on device: While appending to file: /d/000004.log"));
        assert!(!is_failed_sync("IO error: Input/output error: While sync_file_range returned -1: /d/000004.sst"));
    }
}
