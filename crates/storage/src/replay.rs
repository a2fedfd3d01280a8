//! How far RocksDB is with replaying its log: it says nothing while it opens, and a long log takes a while.
//!
//! RocksDB reads its log files one after the other, each from front to back, so the positions of this process's
//! open files tell (`/proc/self/fdinfo`, Linux). Where there is no such thing only the time is told.

use node::storage::StorageError;
use parking_lot::{Condvar, Mutex};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often progress is told.
const INTERVAL: Duration = Duration::from_secs(2);

/// Tells the progress of a replay while it lasts.
pub(crate) struct Replay {
    total: u64,
    started: Instant,
    ended: Arc<(Mutex<bool>, Condvar)>,
    thread: JoinHandle<()>,
}

impl Replay {
    /// Begins to watch the replay of these log files, given with their bytes.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(crate) fn watch(mut logs: Vec<(PathBuf, u64)>) -> Result<Replay, StorageError> {
        // Their names are numbers of six digits or more: longer ones come later.
        logs.sort_by(|(a, _), (b, _)| (a.as_os_str().len(), a).cmp(&(b.as_os_str().len(), b)));
        let (total, started) = (logs.iter().map(|(_, bytes)| bytes).sum(), Instant::now());
        let ended = Arc::new((Mutex::new(false), Condvar::new()));
        let for_thread = Arc::clone(&ended);
        let tell = move || {
            let (ended, woken) = &*for_thread;
            let mut ended = ended.lock();
            while !*ended {
                if woken.wait_for(&mut ended, INTERVAL).timed_out() {
                    let (bytes, seconds) = (bytes_read(&logs), started.elapsed().as_secs());
                    tracing::info!(bytes, total, seconds, "recovering: the log is being replayed");
                }
            }
        };
        let thread = std::thread::Builder::new().name("replay".to_owned()).spawn(tell);
        let thread = thread.map_err(|error| StorageError::Io(format!("cannot start a thread: {error}")))?;
        Ok(Replay { total, started, ended, thread })
    }

    /// Ends the watching.
    pub(crate) fn end(self) {
        *self.ended.0.lock() = true;
        self.ended.1.notify_all();
        // It only logs; a panic in it has been reported already.
        let _ = self.thread.join();
        let milliseconds = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        if self.total > 0 {
            tracing::info!(bytes = self.total, milliseconds, "the log is replayed");
        }
    }
}

/// Bytes that have been read of `logs`, which are in the order of reading; zero when nothing tells.
fn bytes_read(logs: &[(PathBuf, u64)]) -> u64 {
    let open = open_file_positions();
    let mut read = 0;
    for (path, bytes) in logs {
        let path = path.canonicalize().unwrap_or_else(|_| path.clone());
        if let Some((_, position)) = open.iter().find(|(open, _)| *open == path) {
            return read + position;
        }
        read += bytes;
    }
    // None of them is open: all were read, or the first not yet.
    0
}

/// The open files of this process with the position in each.
fn open_file_positions() -> Vec<(PathBuf, u64)> {
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else { return Vec::new() };
    let position = |descriptor: &Path| -> Option<(PathBuf, u64)> {
        let path = std::fs::read_link(descriptor).ok()?;
        let information = Path::new("/proc/self/fdinfo").join(descriptor.file_name()?);
        let text = std::fs::read_to_string(information).ok()?;
        let position = text.lines().find_map(|line| line.strip_prefix("pos:"))?.trim().parse().ok()?;
        Some((path, position))
    };
    entries.flatten().filter_map(|entry| position(&entry.path())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    #[test]
    fn what_is_read_of_files_in_a_row_is_told() {
        if !Path::new("/proc/self/fdinfo").exists() {
            eprintln!("skipped: this system does not tell the positions of open files");
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, [7; 1_000]).unwrap();
            (path, 1_000)
        };
        let logs = [file("000004.log"), file("000009.log")];
        assert_eq!(bytes_read(&logs), 0);
        let mut second = std::fs::File::open(&logs[1].0).unwrap();
        second.read_exact(&mut [0; 300]).unwrap();
        assert_eq!(bytes_read(&logs), 1_300);
        drop(second);
        let mut first = std::fs::File::open(&logs[0].0).unwrap();
        first.read_exact(&mut [0; 40]).unwrap();
        assert_eq!(bytes_read(&logs), 40);
    }
}
