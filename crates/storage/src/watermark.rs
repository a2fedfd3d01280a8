//! The watermark: RocksDB's sequence number up to which the log is known to be synced.
//!
//! RocksDB opens silently with a log that was truncated, damaged or deleted, with all writes after the
//! damage gone. A store therefore keeps how far its log reached when it was last synced, in a file of its
//! own, and refuses to open with less.
//!
//! The file has two slots, written in turn and synced, so that a torn write leaves the other one. It is
//! written off the path of writes, at most every [`WRITE_INTERVAL`]: the window in which a loss is not
//! noticed is what was acknowledged in that time (or in four syncs of this file, on a disk so slow that
//! these are longer) before the crash. A loss in it needs a power failure *and* a disk that lost what it
//! had confirmed.
//!
//! ```text
//! slot (at 0 and at 4096): magic (8) | counter u64 | sequence u64 | XXH3-64 of those u64     little-endian
//! ```

use crate::failure::{io_error, sync_directory, sync_error};
use node::storage::StorageError;
use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use xxhash_rust::xxh3::xxh3_64;

/// Least time between two writes of the file.
pub(crate) const WRITE_INTERVAL: Duration = Duration::from_millis(10);

const MAGIC: &[u8; 8] = b"HELWMK01";
const SLOT_DISTANCE: u64 = 4096;
const SLOT_BYTES: usize = 32;

/// The open file.
#[derive(Debug)]
pub(crate) struct Watermark {
    path: PathBuf,
    file: File,
    counter: u64,
    sequence: u64,
}

impl Watermark {
    /// Opens the file in `directory`; `None` when there is none.
    ///
    /// # Errors
    /// When it cannot be read, or when both slots are damaged.
    pub(crate) fn open(directory: &Path) -> Result<Option<Watermark>, StorageError> {
        let path = directory.join("WATERMARK");
        let file = match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_error("open", &path, &error)),
        };
        let (counter, sequence) = newest_slot(&file, &path)?;
        Ok(Some(Watermark { path, file, counter, sequence }))
    }

    /// The sequence number that the file in `directory` holds, which is not written to; `None` when there is no
    /// file.
    ///
    /// # Errors
    /// As [`Watermark::open`].
    pub(crate) fn read(directory: &Path) -> Result<Option<u64>, StorageError> {
        let path = directory.join("WATERMARK");
        match File::open(&path) {
            Ok(file) => newest_slot(&file, &path).map(|(_, sequence)| Some(sequence)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io_error("open", &path, &error)),
        }
    }

    /// Makes a new file, or begins an existing one anew, at `sequence`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn create(directory: &Path, sequence: u64) -> Result<Watermark, StorageError> {
        let path = directory.join("WATERMARK");
        let open = || {
            let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path)?;
            file.set_len(SLOT_DISTANCE + SLOT_BYTES as u64)?;
            Ok(file)
        };
        let file = open().map_err(|error| io_error("create", &path, &error))?;
        let mut watermark = Watermark { path, file, counter: 0, sequence };
        // Both slots, so that later writes overwrite and never allocate.
        watermark.write(sequence)?;
        watermark.write(sequence)?;
        sync_directory(directory)?;
        Ok(watermark)
    }

    /// The sequence number known to be synced.
    pub(crate) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Records durably that the log is synced up to `sequence`.
    ///
    /// # Errors
    /// When it cannot be written or synced.
    pub(crate) fn write(&mut self, sequence: u64) -> Result<(), StorageError> {
        let counter = self.counter + 1;
        let slot = counter % 2 * SLOT_DISTANCE;
        let written = self.file.write_all_at(&encode(counter, sequence), slot);
        written.map_err(|error| io_error("write", &self.path, &error))?;
        self.file.sync_data().map_err(|error| sync_error(&self.path, &error))?;
        (self.counter, self.sequence) = (counter, sequence);
        Ok(())
    }
}

pub(crate) fn encode(counter: u64, sequence: u64) -> [u8; SLOT_BYTES] {
    let mut bytes = [0; SLOT_BYTES];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..16].copy_from_slice(&counter.to_le_bytes());
    bytes[16..24].copy_from_slice(&sequence.to_le_bytes());
    let checksum = xxh3_64(&bytes[..24]);
    bytes[24..].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// `(counter, sequence)` of a slot that is whole.
pub(crate) fn decode(bytes: &[u8; SLOT_BYTES]) -> Option<(u64, u64)> {
    let word = |at: usize| bytes[at..].first_chunk::<8>().copied().map_or(0, u64::from_le_bytes);
    (bytes.starts_with(MAGIC) && word(24) == xxh3_64(&bytes[..24])).then(|| (word(8), word(16)))
}

/// The counter and sequence number of the slot that was written last.
fn newest_slot(file: &File, path: &Path) -> Result<(u64, u64), StorageError> {
    let mut newest = None;
    for slot in 0..2 {
        let mut bytes = [0; SLOT_BYTES];
        match file.read_exact_at(&mut bytes, slot * SLOT_DISTANCE) {
            Ok(()) => newest = newest.max(decode(&bytes)),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {}
            Err(error) => return Err(io_error("read", path, &error)),
        }
    }
    newest.ok_or_else(|| StorageError::Corrupt(format!("{} is damaged in both its slots", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_torn_anywhere_leaves_the_one_before() {
        let directory = tempfile::tempdir().unwrap();
        let mut watermark = Watermark::create(directory.path(), 0).unwrap();
        for sequence in [10, 20, 30] {
            watermark.write(sequence).unwrap();
        }
        let path = directory.path().join("WATERMARK");
        let before = std::fs::read(&path).unwrap();
        watermark.write(40).unwrap();
        drop(watermark);
        let after = std::fs::read(&path).unwrap();
        let changed: Vec<usize> = (0..after.len()).filter(|at| before[*at] != after[*at]).collect();
        for torn in 0..after.len() {
            let mixed: Vec<u8> = after[..torn].iter().chain(&before[torn..]).copied().collect();
            std::fs::write(&path, &mixed).unwrap();
            let found = Watermark::open(directory.path()).unwrap().unwrap().sequence();
            let whole = changed.last().is_some_and(|last| torn > *last);
            assert_eq!(found, if whole { 40 } else { 30 }, "torn at {torn}");
            std::fs::write(&path, &after[..torn]).unwrap();
            let cut = Watermark::open(directory.path());
            assert!(matches!(cut, Ok(Some(_)) | Err(StorageError::Corrupt(_))), "cut at {torn}: {cut:?}");
        }
    }

    #[test]
    fn a_flip_of_any_bit_leaves_the_other_slot() {
        let directory = tempfile::tempdir().unwrap();
        let mut watermark = Watermark::create(directory.path(), 0).unwrap();
        [10, 20].into_iter().for_each(|sequence| watermark.write(sequence).unwrap());
        let path = directory.path().join("WATERMARK");
        let whole = std::fs::read(&path).unwrap();
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut damaged = whole.clone();
                damaged[at] ^= 1 << bit;
                std::fs::write(&path, &damaged).unwrap();
                let found = Watermark::open(directory.path()).unwrap().unwrap().sequence();
                // Counter 4 holds 20 and stands in the first slot.
                assert_eq!(found, if at < SLOT_BYTES { 10 } else { 20 }, "bit {bit} of byte {at}");
            }
        }
    }

    #[test]
    fn no_file_is_not_an_error_and_two_damaged_slots_are() {
        let directory = tempfile::tempdir().unwrap();
        assert!(Watermark::open(directory.path()).unwrap().is_none());
        std::fs::write(directory.path().join("WATERMARK"), [0; 5000]).unwrap();
        assert!(matches!(Watermark::open(directory.path()), Err(StorageError::Corrupt(_))));
    }
}
