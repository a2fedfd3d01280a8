//! A machine of its own for a process: runs it under the preloaded library of `shim/machine.c`, which gives it a wall
//! clock that the test sets, while it runs, and an address that its connections to other nodes come from.

use crate::shim::{compile, preload};
use std::fs::File;
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The preloaded library, and how it is told.
pub struct Machine {
    library: PathBuf,
    control: PathBuf,
    address: Ipv4Addr,
}

impl Machine {
    /// Compiles the library into `state`, for a process at this address. Its clock is right.
    ///
    /// # Errors
    /// When the C compiler fails.
    pub fn new(state: &Path, address: Ipv4Addr) -> io::Result<Machine> {
        let machine = Machine { library: compile("machine", state)?, control: state.join("offset"), address };
        File::create(&machine.control)?;
        machine.set_clock(0)?;
        Ok(machine)
    }

    /// Makes `command` run under the library.
    pub fn arm(&self, command: &mut Command) {
        preload(command, &self.library);
        command.env("MACHINE_CONTROL", &self.control);
        command.env("MACHINE_ADDRESS", self.address.to_string());
        command.env("MACHINE_PORT", crate::INTERNODE_PORT.to_string());
    }

    /// Sets the wall clock so many microseconds before the right time, or behind it when negative, at once.
    ///
    /// # Errors
    /// When the control file cannot be written.
    pub fn set_clock(&self, offset_micros: i64) -> io::Result<()> {
        File::options().write(true).open(&self.control)?.write_all_at(&offset_micros.to_ne_bytes(), 0)
    }
}
