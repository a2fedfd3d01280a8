//! COPY: tables from and to files of comma-separated values, as cqlsh does it.
//!
//! ```text
//! FROM: source (a thread: bytes -> records -> values) --chunks--> import --rows, many at once--> cluster
//! TO:   cluster --pages of token ranges, some at once--> export (values -> records) --> output files
//! ```
//! Invariants:
//! * Memory is bounded: by CHUNKSIZE and MAXREQUESTS, or by PAGESIZE and MAXREQUESTS.
//! * Every data row is acknowledged at the shell's consistency level, or rejected with its place and reason. A row is
//!   sent again only as the same write, with the same timestamp.
//! * Every row of a table that was there all the time is exported once: a page that fails is asked for again from where
//!   it began, and a range that cannot be read is an error of the whole.

mod dialect;
mod export;
mod field;
mod import;
mod meter;
mod options;
mod rejects;
mod source;
mod term;
mod time_format;

pub(crate) use options::{CopyOptions, Direction};

use crate::configuration::Configuration;
use crate::connection::{Connection, ConnectionError, Table};
use crate::terminal;
use std::future::Future;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;
use thiserror::Error;

/// The pause after the first failed attempt; it doubles with each.
const PAUSE: Duration = Duration::from_millis(250);

/// The longest pause between attempts.
const PAUSE_MAX: Duration = Duration::from_secs(8);

/// The name of the option that is taken before all others.
const CONFIGURATION_OPTION: &str = "CONFIGFILE";

/// `COPY table [(columns)] FROM|TO 'file' [WITH ...]`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Copy {
    /// Which way.
    pub(crate) direction: Direction,
    /// The keyspace, if named.
    pub(crate) keyspace: Option<String>,
    /// The table.
    pub(crate) table: String,
    /// The columns in the order of the file; empty when not named.
    pub(crate) columns: Vec<String>,
    /// The file, or `None` for STDIN and STDOUT.
    pub(crate) file: Option<String>,
    /// WITH options by name.
    pub(crate) options: Vec<(String, String)>,
}

/// Why a COPY did not run to its end, or not as a whole.
#[derive(Debug, Error)]
pub(crate) enum CopyError {
    /// A file cannot be read or written.
    #[error("cannot {what} {name}: {cause}")]
    File {
        /// `read` or `write`.
        what: &'static str,
        /// The file as it was named.
        name: String,
        /// Why.
        cause: io::Error,
    },
    /// The options, or what a file holds, do not fit.
    #[error("{0}")]
    Content(String),
    /// The cluster refused.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// Rows were rejected.
    #[error("{rejected} rows could not be imported: see {file} and {file}.reasons{gave_up}")]
    Rejected {
        /// How many.
        rejected: u64,
        /// ERRFILE.
        file: String,
        /// The limit that ended the import, if one did.
        gave_up: String,
    },
}

impl CopyError {
    fn file(what: &'static str, name: &str, cause: io::Error) -> CopyError {
        CopyError::File { what, name: name.to_owned(), cause }
    }
}

impl Copy {
    /// Checks the options that are written in the command itself.
    ///
    /// # Errors
    /// When one is not known, or its value is not one.
    pub(crate) fn check(&self) -> Result<(), String> {
        CopyOptions::new(self.direction, &self.written_options()).map(|_| ())
    }

    fn written_options(&self) -> Vec<(String, String)> {
        let options = self.options.iter().filter(|(name, _)| !name.eq_ignore_ascii_case(CONFIGURATION_OPTION));
        options.cloned().collect()
    }

    /// The options: those of CONFIGFILE, the more special section over the more general, and over them those of the
    /// command.
    fn all_options(&self, keyspace: &str) -> Result<CopyOptions, String> {
        let mut named = self.options.iter().rev();
        let file = named.find(|(name, _)| name.eq_ignore_ascii_case(CONFIGURATION_OPTION));
        let mut pairs = Vec::new();
        if let Some((_, file)) = file {
            let configuration = Configuration::read(Path::new(file))?;
            let (way, table) = (if self.direction == Direction::From { "from" } else { "to" }, &self.table);
            for section in [
                "copy".to_owned(),
                format!("copy-{way}"),
                format!("copy:{keyspace}.{table}"),
                format!("copy-{way}:{keyspace}.{table}"),
            ] {
                pairs.extend(configuration.section(&section).map(|(name, value)| (name.clone(), value.clone())));
            }
        }
        pairs.extend(self.written_options());
        CopyOptions::new(self.direction, &pairs)
    }

    /// The columns to copy, in the order of the file, with their types.
    fn columns_of<'a>(&self, names: &[String], table: &'a Table) -> Result<Vec<&'a client::ColumnInfo>, CopyError> {
        let column = |name: &String| {
            let found = table.info.columns.iter().find(|column| column.name == *name);
            let missing =
                || CopyError::Content(format!("table {}.{} has no column '{name}'", table.keyspace, self.table));
            found.ok_or_else(missing)
        };
        if names.is_empty() {
            return Ok(table.info.columns.iter().collect());
        }
        names.iter().map(column).collect()
    }
}

/// Runs a COPY. Rows of COPY TO STDOUT go to `out`, and so does the summary of any other; progress, rejected rows and
/// remarks go to standard error.
///
/// # Errors
/// When the files or the table do not fit, the cluster refuses, or rows were rejected.
pub(crate) async fn copy(connection: &Connection, copy: &Copy, out: &mut dyn Write) -> Result<(), CopyError> {
    let table = connection.table(copy.keyspace.as_deref(), &copy.table).await?;
    let options = copy.all_options(&table.keyspace).map_err(CopyError::Content)?;
    for name in &options.without_effect {
        terminal::error(&format!("{name} changes nothing: rows are sent one by one, many at once, by this process"));
    }
    let summary = match copy.direction {
        Direction::From => import::run(connection, copy, &table, &options, out).await?,
        Direction::To => export::run(connection, copy, &table, &options, out).await?,
    };
    if let Some(line) = summary {
        let written = writeln!(out, "{line}");
        written.map_err(|cause| CopyError::file("write", "standard output", cause))?;
    }
    Ok(())
}

/// Makes a request until it succeeds, `attempts` times at most, with growing pauses between. Repeated is what can end
/// differently the next time: a node may be back, or less busy. Where executing twice is not as good as once, only what
/// was certainly not executed is repeated.
async fn with_attempts<T, F: Future<Output = Result<T, ConnectionError>>>(
    attempts: u32,
    repeatable: bool,
    mut request: impl FnMut() -> F,
) -> Result<T, ConnectionError> {
    let mut pause = PAUSE;
    let mut made = 1;
    loop {
        match request().await {
            Err(error) if made < attempts && error.is_transient(repeatable) => {
                tokio::time::sleep(pause).await;
                pause = PAUSE_MAX.min(pause * 2);
                made += 1;
            }
            outcome => return outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[tokio::test]
    async fn what_can_end_differently_is_tried_again_and_nothing_else() {
        let lost = |applied| {
            ConnectionError::Client(client::ClientError::Connection {
                address: "a".into(),
                reason: "gone".into(),
                applied,
            })
        };
        let refused = || ConnectionError::Usage("no".into());
        let made = Cell::new(0);
        let count = |error: ConnectionError| {
            made.set(made.get() + 1);
            async move { Err::<(), _>(error) }
        };
        let _ = with_attempts(2, true, || count(lost(client::Applied::Maybe))).await;
        assert_eq!(made.take(), 2);
        let _ = with_attempts(5, true, || count(refused())).await;
        assert_eq!(made.take(), 1, "it is refused again");
        let _ = with_attempts(5, false, || count(lost(client::Applied::Maybe))).await;
        assert_eq!(made.take(), 1, "it may be applied twice");
        let _ = with_attempts(2, false, || count(lost(client::Applied::No))).await;
        assert_eq!(made.take(), 2);
    }

    #[test]
    fn the_special_section_and_the_command_win() {
        let path = std::env::temp_dir().join(format!("helenus-copy-{}.ini", std::process::id()));
        let text = "[copy]\nnull = a\nquote = '\nheader = true\n[copy-to]\nnull = b\n[copy-from]\nnull = wrong\n\
                    [copy:ks.t]\nnull = c\ndelimiter = |\n[copy-to:ks.t]\ndelimiter = ;\n";
        std::fs::write(&path, text).unwrap();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let options = vec![pair("configfile", path.to_str().unwrap()), pair("QUOTE", "~")];
        let copy =
            Copy { direction: Direction::To, keyspace: None, table: "t".into(), columns: vec![], file: None, options };
        let found = copy.all_options("ks").unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!((found.style.null.as_str(), found.header), ("c", true));
        assert_eq!((found.dialect.delimiter, found.dialect.quote), (b';', b'~'));
        assert!(copy.all_options("ks").unwrap_err().contains("cannot read"));
    }
}
