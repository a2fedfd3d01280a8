//! The one binary: a node, a cluster for trying out, and the tools that speak to a cluster.
//!
//! Invariants:
//! * Data goes to standard output, everything else to standard error.
//! * Every way to end has a documented exit code.

#![allow(clippy::print_stdout, reason = "data of a command goes to standard output")]

mod admin;
mod cli;
mod inspect;

use clap::Parser as _;
use cli::{Cli, Command};
use std::io::Write as _;
use std::process::ExitCode;

/// A request allocates some dozens of small pieces and frees most of them on another thread than allocated them,
/// which this allocator does for less than glibc's. RocksDB keeps the C library's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    storage::return_freed_memory();
    // Usage errors end the process here, with code 2.
    match Cli::parse().command {
        Command::Start(arguments) => cli::start(arguments),
        Command::Dev(arguments) => cli::dev(arguments),
        Command::Shell(arguments) => ExitCode::from(shell::run(&arguments.into())),
        Command::Admin(arguments) => admin::run(&arguments),
        Command::Inspect(arguments) => inspect::run(&arguments),
        Command::RecoverMetadata(arguments) => cli::recover_metadata(&arguments),
        Command::Bench { task } => match bench::run(&task, &mut std::io::stdout().lock()) {
            Ok(_) => ExitCode::SUCCESS,
            Err(error) => failed(&error),
        },
        Command::Sim(options) => {
            match sim::cli::run(&options, &mut std::io::stdout().lock(), &mut std::io::stderr().lock()) {
                Ok(code) => ExitCode::from(code),
                Err(error) => failed(&error),
            }
        }
    }
}

/// Reports an error; exit code 1.
fn failed(error: &dyn std::error::Error) -> ExitCode {
    report(&error.to_string());
    ExitCode::FAILURE
}

/// A message to the person, on standard error.
fn report(message: &str) {
    // Nothing can be done when even that cannot be written.
    let _ = writeln!(std::io::stderr(), "helenus: {message}");
}
