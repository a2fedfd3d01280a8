//! Power cuts: runs a process under the preloaded library of `shim/power_cut.c` and, once the process is
//! dead, puts its files back to what had been synced.
//!
//! The model is the worst case of what a disk may do: of each file exactly the synced part is left, or with it a
//! random part of the rest, the last of it garbage. What it does not model (lost renames, reordered metadata) is
//! listed in the library.

use crate::shim::{compile, preload};
use model::Rng;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The preloaded library, and where it keeps what it knows of one folder.
pub struct PowerCut {
    library: PathBuf,
    state: PathBuf,
    folder: PathBuf,
}

/// What the library knows of one inode; see `struct entry` there.
struct Entry {
    durable: u64,
    generation: u64,
}

impl PowerCut {
    /// Compiles the library into `state`, for files below `folder`, which must exist.
    ///
    /// # Errors
    /// When the C compiler fails.
    pub fn new(state: &Path, folder: &Path) -> io::Result<PowerCut> {
        let library = compile("power_cut", state)?;
        Ok(PowerCut { library, state: state.into(), folder: folder.canonicalize()? })
    }

    /// Makes `command` run under the library; with `lie` its syncs do nothing.
    pub fn arm(&self, command: &mut Command, lie: bool) {
        preload(command, &self.library);
        command.env("POWER_CUT_DIR", &self.folder);
        command.env("POWER_CUT_TABLE", self.state.join("table"));
        command.env("POWER_CUT_UNDO", self.state.join("undo"));
        if lie {
            command.env("POWER_CUT_LIE", "1");
        }
    }

    /// Takes from every file below the folder what had not been synced when the process died, and forgets
    /// what it knew. With `torn` a part of it stays, as after a power failure in the middle of writing: up to a
    /// random byte, with garbage before it. Returns the bytes that were lost.
    ///
    /// # Errors
    /// When a file cannot be read or changed.
    pub fn cut(&self, mut torn: Option<&mut Rng>) -> io::Result<u64> {
        let entries = self.entries()?;
        let files = files(&self.folder)?;
        let mut lost = self.restore_overwritten(&entries, &files)?;
        for (inode, path) in &files {
            let Some(entry) = entries.get(inode) else { continue };
            let length = path.metadata()?.len();
            if length > entry.durable {
                let kept = torn.as_mut().map_or(entry.durable, |rng| rng.between(entry.durable, length));
                lost += length - kept;
                let file = OpenOptions::new().write(true).open(path)?;
                file.set_len(kept)?;
                if let Some(rng) = &mut torn {
                    let garbage = (kept - entry.durable).min(rng.below(600));
                    let bytes: Vec<u8> = (0..garbage).map(|_| rng.next_u64() as u8).collect();
                    file.write_all_at(&bytes, kept - garbage)?;
                }
            }
        }
        for name in ["table", "undo"] {
            match std::fs::remove_file(self.state.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(lost)
    }

    fn entries(&self) -> io::Result<BTreeMap<u64, Entry>> {
        let table = std::fs::read(self.state.join("table"))?;
        let number = |bytes: &[u8]| u64::from_ne_bytes(bytes.try_into().expect("eight bytes"));
        let entries = table.chunks_exact(24).filter(|entry| number(&entry[..8]) != 0);
        let entry = |entry: &[u8]| {
            (number(&entry[..8]), Entry { durable: number(&entry[8..16]), generation: number(&entry[16..24]) })
        };
        Ok(entries.map(entry).collect())
    }

    /// Writes back what unsynced writes inside the durable part replaced, the newest first.
    fn restore_overwritten(&self, entries: &BTreeMap<u64, Entry>, files: &BTreeMap<u64, PathBuf>) -> io::Result<u64> {
        let mut undo = File::open(self.state.join("undo"))?;
        let mut saved = Vec::new();
        let mut header = [0u8; 32];
        while undo.read_exact(&mut header).is_ok() {
            let field = |at: usize| u64::from_ne_bytes(header[at..at + 8].try_into().expect("eight bytes"));
            let (inode, generation, offset, length) = (field(0), field(8), field(16), field(24));
            let mut bytes = vec![0; usize::try_from(length).expect("a write fits memory")];
            if undo.read_exact(&mut bytes).is_err() {
                break; // The process died while saving, so before writing.
            }
            saved.push((inode, generation, offset, bytes));
        }
        let mut restored = 0;
        for (inode, generation, offset, bytes) in saved.into_iter().rev() {
            let current = entries.get(&inode).is_some_and(|entry| entry.generation == generation);
            if let Some(path) = files.get(&inode).filter(|_| current) {
                OpenOptions::new().write(true).open(path)?.write_all_at(&bytes, offset)?;
                restored += bytes.len() as u64;
            }
        }
        Ok(restored)
    }
}

/// The regular files below `folder` by inode.
fn files(folder: &Path) -> io::Result<BTreeMap<u64, PathBuf>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                found.insert(entry.metadata()?.ino(), entry.path());
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes through a real process, since the library only sees the one that it is loaded into.
    fn run(cut: &PowerCut, lie: bool, script: &str) {
        let mut command = Command::new("python3");
        cut.arm(command.arg("-c").arg(script), lie);
        assert!(!command.status().unwrap().success(), "the script kills itself");
    }

    #[test]
    fn exactly_what_was_synced_is_left() {
        if Command::new("python3").arg("--version").output().is_err() {
            eprintln!("skipped: python3 is not installed");
            return;
        }
        let state = tempfile::tempdir().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        let cut = PowerCut::new(state.path(), folder.path()).unwrap();
        let script = format!(
            "import os\nf=os.open('{}',os.O_RDWR|os.O_CREAT)\nos.write(f,b'hello world')\nos.fsync(f)\n\
             os.write(f,b' unsynced')\nos.pwrite(f,b'HELLO',0)\nos.kill(os.getpid(),9)",
            file.display()
        );
        run(&cut, false, &script);
        assert_eq!(std::fs::read(&file).unwrap(), b"HELLO world unsynced");
        assert_eq!(cut.cut(None).unwrap(), 14);
        assert_eq!(std::fs::read(&file).unwrap(), b"hello world");
        for seed in 0..10 {
            std::fs::remove_file(&file).unwrap();
            run(&cut, false, &script);
            cut.cut(Some(&mut Rng::new(seed))).unwrap();
            let left = std::fs::read(&file).unwrap();
            assert!(left.starts_with(b"hello world") && left.len() <= 20, "{left:?}");
        }
        std::fs::remove_file(&file).unwrap();
        run(&cut, true, &script);
        cut.cut(None).unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"", "a lying sync keeps nothing");
    }
}
