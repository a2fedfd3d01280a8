//! A disk that fails on demand, or is slow: runs a process under the preloaded library of `shim/sick_disk.c` and tells
//! it, while it runs, with which errors of the operating system its calls fail, and how long syncs take.

use crate::shim::{compile, preload};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Input or output error.
pub const EIO: i32 = 5;
/// Read-only file system.
pub const EROFS: i32 = 30;
/// No space left on device.
pub const ENOSPC: i32 = 28;

/// With which errors operations fail; 0: they do not. By default the disk is well.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sickness {
    /// Writing to a file.
    pub write: i32,
    /// Syncing a file.
    pub sync: i32,
    /// Reading a table file.
    pub read: i32,
    /// Not an error: every write takes only half of what it is given.
    pub shorten: bool,
    /// Not an error: every sync of a file takes so much longer, in whole microseconds.
    pub slow: Duration,
}

/// The preloaded library, and how it is told.
pub struct SickDisk {
    library: PathBuf,
    control: PathBuf,
    folder: PathBuf,
}

impl SickDisk {
    /// Compiles the library into `state`, for files below `folder`, which must exist. The disk is well.
    ///
    /// # Errors
    /// When the C compiler fails.
    pub fn new(state: &Path, folder: &Path) -> io::Result<SickDisk> {
        let library = compile("sick_disk", state)?;
        let disk = SickDisk { library, control: state.join("control"), folder: folder.canonicalize()? };
        File::create(&disk.control)?;
        disk.set(Sickness::default())?;
        Ok(disk)
    }

    /// Makes `command` run under the library.
    pub fn arm(&self, command: &mut Command) {
        preload(command, &self.library);
        command.env("SICK_DISK_DIR", &self.folder);
        command.env("SICK_DISK_CONTROL", &self.control);
    }

    /// Changes what is wrong with the disk, at once.
    ///
    /// # Errors
    /// When the control file cannot be written.
    pub fn set(&self, sickness: Sickness) -> io::Result<()> {
        let Sickness { write, sync, read, shorten, slow } = sickness;
        let slow = i32::try_from(slow.as_micros()).map_err(io::Error::other)?;
        let words = [write, sync, read, i32::from(shorten), slow].map(i32::to_ne_bytes);
        File::options().write(true).open(&self.control)?.write_all_at(&words.concat(), 0)
    }
}
