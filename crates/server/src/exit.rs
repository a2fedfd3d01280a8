//! How a process ends: its exit codes, and the two ways of stopping at once.

use node::storage::StorageError;
use std::io::Write as _;

/// Why a process ended. The numbers are promised in `--help` and in `docs/configuration.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All went well, or a signal asked it to stop and it did.
    Success = 0,
    /// Something failed while running.
    Failure = 1,
    /// The command line or the configuration is not valid.
    Usage = 2,
    /// The data directory cannot be used: locked by another process, of another cluster, of a newer format,
    /// or damaged.
    DataDirectory = 3,
    /// An address or port is in use or is not this machine's.
    Address = 4,
}

/// Why a node did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The configuration is not valid.
    #[error("the configuration is not valid:{}", .0.iter().map(|problem| format!("\n  {problem}")).collect::<String>())]
    Config(Vec<crate::config::ConfigError>),
    /// The data directory cannot be used.
    #[error("data directory {path}: {reason}")]
    DataDirectory {
        /// The folder.
        path: String,
        /// Why not.
        reason: String,
    },
    /// An address cannot be listened on.
    #[error("cannot listen on {address} for {purpose}: {reason}")]
    Address {
        /// The address and port.
        address: std::net::SocketAddr,
        /// Who would have connected.
        purpose: &'static str,
        /// What the operating system said.
        reason: String,
    },
    /// Anything else.
    #[error("{0}")]
    Failure(String),
}

impl ServerError {
    /// The exit code that says so.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            ServerError::Config(_) => Exit::Usage,
            ServerError::DataDirectory { .. } => Exit::DataDirectory,
            ServerError::Address { .. } => Exit::Address,
            ServerError::Failure(_) => Exit::Failure,
        }
    }
}

/// Ends the process at once, with a message on standard error. Nothing is flushed and no destructor runs:
/// what was not synced is treated as after a crash, which the store is made for.
pub(crate) fn stop_process(exit: Exit, message: &str) -> ! {
    let _ = writeln!(std::io::stderr(), "helenus: {message}");
    // `std::process::exit` would run the destructors of C++ statics, which wait for RocksDB's threads: a
    // compaction could hold the process for minutes after its disk failed.
    #[allow(unsafe_code, reason = "_exit has no preconditions and does not return")]
    unsafe {
        libc::_exit(exit as i32)
    }
}

/// What a background thread does when its `work` on the store fails: false when it ends, since the node does; true when
/// it tries again later. A store that fails stops the process, as it does while it is written to.
pub(crate) fn tries_again(error: &StorageError, work: &str) -> bool {
    match error {
        StorageError::Closed(_) => false,
        StorageError::Full(_)
        | StorageError::Invalid(_)
        | StorageError::TooManyTombstones { .. }
        | StorageError::WindowOver
        | StorageError::Overloaded => {
            tracing::info!(%error, "{work} has to wait");
            true
        }
        StorageError::Io(_) | StorageError::Corrupt(_) | StorageError::SyncFailed(_) => {
            stop_process(Exit::Failure, &format!("{work} failed: {error}"))
        }
    }
}

/// Makes a panic in any thread end the process: a broken invariant must not go on serving.
pub fn abort_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        let _ = writeln!(std::io::stderr(), "helenus: a defect stopped the process; please report the lines above");
        std::process::abort();
    }));
}
