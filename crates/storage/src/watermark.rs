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
//! slot (at 0 and at 4096): magic (8) | counter u64 | sequence u64 | manifest: number u64, bytes u64, checksum u64 |
//!                          XXH3-64 of those u64                                                      little-endian
//! ```
//!
//! Beside the sequence number it says how much of the manifest is known to be synced ([`crate::manifest`]).

use crate::failure::{io_error, sync_directory, sync_error};
use crate::manifest::ManifestMark;
use node::storage::StorageError;
use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use xxhash_rust::xxh3::xxh3_64;

/// Least time between two writes of the file.
pub(crate) const WRITE_INTERVAL: Duration = Duration::from_millis(10);

const MAGIC: &[u8; 8] = b"HELWMK02";
const SLOT_DISTANCE: u64 = 4096;
const SLOT_BYTES: usize = 56;
const CHECKSUM_AT: usize = SLOT_BYTES - 8;

/// What was known to be synced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Synced {
    /// The log, up to this sequence number.
    pub(crate) sequence: u64,
    /// The manifest, so far.
    pub(crate) manifest: ManifestMark,
}

/// The open file.
#[derive(Debug)]
pub(crate) struct Watermark {
    path: PathBuf,
    file: File,
    counter: u64,
    synced: Synced,
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
        let (counter, synced) = newest_slot(&file, &path)?;
        Ok(Some(Watermark { path, file, counter, synced }))
    }

    /// What the file in `directory` holds, which is not written to; `None` when there is no file.
    ///
    /// # Errors
    /// As [`Watermark::open`].
    pub(crate) fn read(directory: &Path) -> Result<Option<Synced>, StorageError> {
        let path = directory.join("WATERMARK");
        match File::open(&path) {
            Ok(file) => newest_slot(&file, &path).map(|(_, synced)| Some(synced)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io_error("open", &path, &error)),
        }
    }

    /// Makes a new file, or begins an existing one anew, with `synced`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn create(directory: &Path, synced: Synced) -> Result<Watermark, StorageError> {
        let path = directory.join("WATERMARK");
        let open = || {
            let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path)?;
            file.set_len(SLOT_DISTANCE + SLOT_BYTES as u64)?;
            Ok(file)
        };
        let file = open().map_err(|error| io_error("create", &path, &error))?;
        let mut watermark = Watermark { path, file, counter: 0, synced };
        // Both slots, so that later writes overwrite and never allocate.
        watermark.write(synced)?;
        watermark.write(synced)?;
        sync_directory(directory)?;
        Ok(watermark)
    }

    /// What is known to be synced.
    pub(crate) fn synced(&self) -> Synced {
        self.synced
    }

    /// Records durably what is known to be synced.
    ///
    /// # Errors
    /// When it cannot be written or synced.
    pub(crate) fn write(&mut self, synced: Synced) -> Result<(), StorageError> {
        let counter = self.counter + 1;
        let slot = counter % 2 * SLOT_DISTANCE;
        let written = self.file.write_all_at(&encode(counter, synced), slot);
        written.map_err(|error| io_error("write", &self.path, &error))?;
        self.file.sync_data().map_err(|error| sync_error(&self.path, &error))?;
        (self.counter, self.synced) = (counter, synced);
        Ok(())
    }
}

pub(crate) fn encode(counter: u64, synced: Synced) -> [u8; SLOT_BYTES] {
    let ManifestMark { number, bytes, checksum } = synced.manifest;
    let mut slot = [0; SLOT_BYTES];
    slot[..8].copy_from_slice(MAGIC);
    for (place, word) in slot[8..].chunks_exact_mut(8).zip([counter, synced.sequence, number, bytes, checksum]) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    let checksum = xxh3_64(&slot[..CHECKSUM_AT]);
    slot[CHECKSUM_AT..].copy_from_slice(&checksum.to_le_bytes());
    slot
}

/// The counter of a slot that is whole, and what was synced.
pub(crate) fn decode(slot: &[u8; SLOT_BYTES]) -> Option<(u64, Synced)> {
    let word = |at: usize| slot[at..].first_chunk::<8>().copied().map_or(0, u64::from_le_bytes);
    let manifest = ManifestMark { number: word(24), bytes: word(32), checksum: word(40) };
    let whole = slot.starts_with(MAGIC) && word(CHECKSUM_AT) == xxh3_64(&slot[..CHECKSUM_AT]);
    whole.then(|| (word(8), Synced { sequence: word(16), manifest }))
}

/// The counter of the slot that was written last, and what was synced.
fn newest_slot(file: &File, path: &Path) -> Result<(u64, Synced), StorageError> {
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

    fn at(sequence: u64) -> Synced {
        let manifest = ManifestMark { number: sequence + 1, bytes: sequence * 3, checksum: !sequence };
        Synced { sequence, manifest }
    }

    #[test]
    fn a_write_torn_anywhere_leaves_the_one_before() {
        let directory = tempfile::tempdir().unwrap();
        let mut watermark = Watermark::create(directory.path(), at(0)).unwrap();
        for sequence in [10, 20, 30] {
            watermark.write(at(sequence)).unwrap();
        }
        let path = directory.path().join("WATERMARK");
        let before = std::fs::read(&path).unwrap();
        watermark.write(at(40)).unwrap();
        drop(watermark);
        let after = std::fs::read(&path).unwrap();
        let changed: Vec<usize> = (0..after.len()).filter(|at| before[*at] != after[*at]).collect();
        for torn in 0..after.len() {
            let mixed: Vec<u8> = after[..torn].iter().chain(&before[torn..]).copied().collect();
            std::fs::write(&path, &mixed).unwrap();
            let found = Watermark::open(directory.path()).unwrap().unwrap().synced();
            let whole = changed.last().is_some_and(|last| torn > *last);
            assert_eq!(found, at(if whole { 40 } else { 30 }), "torn at {torn}");
            std::fs::write(&path, &after[..torn]).unwrap();
            let cut = Watermark::open(directory.path());
            assert!(matches!(cut, Ok(Some(_)) | Err(StorageError::Corrupt(_))), "cut at {torn}: {cut:?}");
        }
    }

    #[test]
    fn a_flip_of_any_bit_leaves_the_other_slot() {
        let directory = tempfile::tempdir().unwrap();
        let mut watermark = Watermark::create(directory.path(), at(0)).unwrap();
        [10, 20].into_iter().for_each(|sequence| watermark.write(at(sequence)).unwrap());
        let path = directory.path().join("WATERMARK");
        let whole = std::fs::read(&path).unwrap();
        for byte in 0..whole.len() {
            for bit in 0..8 {
                let mut damaged = whole.clone();
                damaged[byte] ^= 1 << bit;
                std::fs::write(&path, &damaged).unwrap();
                let found = Watermark::open(directory.path()).unwrap().unwrap().synced();
                // Counter 4 holds 20 and stands in the first slot.
                assert_eq!(found, at(if byte < SLOT_BYTES { 10 } else { 20 }), "bit {bit} of byte {byte}");
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
