//! `helenus shell`: a cqlsh-like shell on the gRPC driver, for people at a terminal and for scripts.
//!
//! Invariants:
//! * Results go to standard output, everything else to standard error, so that output can be piped.
//! * In a script the first statement that fails ends the shell, with exit code 1 and the place of the error.
//! * The shell speaks to the cluster only through `client`, like any application.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a shell reads files, clocks and the environment: it is outside the deterministic core"
)]

mod command;
mod completion;
mod configuration;
mod connection;
mod copy;
mod describe;
mod format;
mod help;
mod highlight;
mod input;
mod session;
mod settings;
mod terminal;

pub use connection::ConnectionError;
pub use format::Format;
pub use settings::ShellOptions;

use session::Session;
use std::io::{IsTerminal, Read};
use std::path::PathBuf;

/// Exit code: everything that was asked for was done.
pub const EXIT_OK: u8 = 0;
/// Exit code: a statement or command failed.
pub const EXIT_FAILED: u8 = 1;
/// Exit code: the command line, or the file of settings, is wrong.
pub const EXIT_USAGE: u8 = 2;
/// Exit code: the cluster could not be reached.
pub const EXIT_UNREACHABLE: u8 = 3;

/// Runs the shell to its end and returns its exit code.
#[must_use]
pub fn run(options: &ShellOptions) -> u8 {
    let settings = match options.settings() {
        Ok(settings) => settings,
        Err(message) => {
            terminal::error(&message);
            return EXIT_USAGE;
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            terminal::error(&format!("cannot start the runtime: {error}"));
            return EXIT_FAILED;
        }
    };
    runtime.block_on(async {
        let mut session = match Session::connect(&settings).await {
            Ok(session) => session,
            Err(error) => {
                terminal::error(&format!("cannot connect to {}: {error}", settings.host));
                return EXIT_UNREACHABLE;
            }
        };
        match script(options) {
            Ok(Some(text)) => session.run_script(&text).await,
            Ok(None) => terminal::interact(&mut session).await,
            Err(message) => {
                terminal::error(&message);
                EXIT_FAILED
            }
        }
    })
}

/// The script to run; `None` when a person is at the terminal.
fn script(options: &ShellOptions) -> Result<Option<String>, String> {
    if let Some(text) = &options.execute {
        return Ok(Some(text.clone()));
    }
    if let Some(path) = &options.file {
        let text = std::fs::read_to_string(path);
        return text.map(Some).map_err(|error| format!("cannot read {}: {error}", path.display()));
    }
    if std::io::stdin().is_terminal() {
        return Ok(None);
    }
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).map_err(|error| format!("cannot read standard input: {error}"))?;
    Ok(Some(text))
}

/// The path with `~/` at its start replaced by the folder of the user.
fn expand_home(path: &str) -> PathBuf {
    match (path.strip_prefix("~/"), std::env::var_os("HOME")) {
        (Some(rest), Some(home)) => PathBuf::from(home).join(rest),
        _ => PathBuf::from(path),
    }
}
