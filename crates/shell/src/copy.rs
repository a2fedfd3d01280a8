//! `COPY table FROM 'file'`: loads a CSV file through prepared, pipelined inserts.
//!
//! Invariants: every data line is either acknowledged at the shell's consistency level or reported with its
//! line number and reason; a line is retried only as the same write, with the same timestamp; at most
//! `MAXREQUESTS` rows are in memory.

use crate::command::{Copy, CopyOptions};
use crate::connection::{Column, Connection, ConnectionError};
use futures::stream::{self, StreamExt};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use model::{CqlType, Value};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::Instant;
use thiserror::Error;

/// Lines whose failure is shown in full; the others are only counted.
const SHOWN_ERRORS_MAX: usize = 10;

/// Why a COPY did not run to its end.
#[derive(Debug, Error)]
pub(crate) enum CopyError {
    /// The file cannot be read.
    #[error("cannot read {name}: {cause}")]
    File {
        /// The file as it was named.
        name: String,
        /// Why.
        cause: io::Error,
    },
    /// The file is not CSV, or its header does not fit the table.
    #[error("{0}")]
    Content(String),
    /// The cluster refused.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// More lines failed than MAXINSERTERRORS allows.
    #[error("{0} rows could not be imported")]
    Rows(u64),
}

/// What a COPY did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    /// Rows that were acknowledged.
    pub imported: u64,
    /// Rows that failed.
    pub failed: u64,
}

/// Counts bytes as they are read, so that progress is known without reading a file twice.
struct Counted<R> {
    inner: R,
    bar: ProgressBar,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.bar.inc(count as u64);
        Ok(count)
    }
}

/// Runs a COPY; progress and failed lines go to standard error, the summary to `out`.
///
/// # Errors
/// When the file or the table does not fit, or too many lines fail.
pub(crate) async fn copy_from(connection: &Connection, copy: &Copy, out: &mut dyn Write) -> Result<Summary, CopyError> {
    let name = copy.file.clone().unwrap_or_else(|| "STDIN".to_owned());
    let file_error = |cause| CopyError::File { name: name.clone(), cause };
    let (input, bytes): (Box<dyn Read + Send>, Option<u64>) = match &copy.file {
        Some(path) => {
            let file = File::open(Path::new(path)).map_err(file_error)?;
            let bytes = file.metadata().map_err(file_error)?.len();
            (Box::new(file), Some(bytes))
        }
        None => (Box::new(io::stdin()), None),
    };
    let bar = progress_bar(bytes);
    let started = Instant::now();
    let reader = csv::ReaderBuilder::new()
        .has_headers(copy.options.header)
        .delimiter(copy.options.delimiter)
        .quote(copy.options.quote)
        .flexible(true)
        .from_reader(Counted { inner: input, bar: bar.clone() });
    let summary = import(connection, copy, &name, reader, &bar).await;
    bar.finish_and_clear();
    let summary = summary?;
    let seconds = started.elapsed().as_secs_f64();
    let rate = summary.imported as f64 / seconds.max(1e-3);
    let written = writeln!(
        out,
        "{} rows imported from {name} in {seconds:.1} s ({rate:.0} rows/s), {} failed",
        summary.imported, summary.failed
    );
    written.map_err(|cause| CopyError::File { name: "standard output".to_owned(), cause })?;
    if summary.failed > 0 { Err(CopyError::Rows(summary.failed)) } else { Ok(summary) }
}

fn progress_bar(bytes: Option<u64>) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(bytes, ProgressDrawTarget::stderr_with_hz(10));
    let template = match bytes {
        Some(_) => "{bar:40} {percent:>3} %  {msg}  {elapsed}",
        None => "{spinner} {bytes}  {msg}  {elapsed}",
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}

async fn import<R: Read>(
    connection: &Connection,
    copy: &Copy,
    name: &str,
    mut reader: csv::Reader<R>,
    bar: &ProgressBar,
) -> Result<Summary, CopyError> {
    let table = match &copy.keyspace {
        Some(keyspace) => format!("{}.{}", query::quote_name(keyspace), query::quote_name(&copy.table)),
        None => query::quote_name(&copy.table).into_owned(),
    };
    let columns = columns(connection, copy, &mut reader).await?;
    let markers = vec!["?"; columns.len()].join(", ");
    let names = columns.iter().map(|column| query::quote_name(column)).collect::<Vec<_>>().join(", ");
    let using = copy.options.ttl.map_or(String::new(), |ttl| format!(" USING TTL {ttl}"));
    let insert = connection.prepare(&format!("INSERT INTO {table} ({names}) VALUES ({markers}){using}")).await?;
    let parameters: Vec<Column> =
        insert.parameters().iter().map(|spec| (spec.name.clone(), spec.cql_type.clone())).collect();
    let skip = usize::try_from(copy.options.skip_rows).unwrap_or(usize::MAX);
    let take = copy.options.max_rows.map_or(usize::MAX, |rows| usize::try_from(rows).unwrap_or(usize::MAX));
    let rows = reader.records().skip(skip).take(take).map(|record| {
        let line = match &record {
            Ok(record) => record.position().map_or(0, csv::Position::line),
            Err(error) => error.position().map_or(0, csv::Position::line),
        };
        let values = record.map_err(|error| error.to_string());
        (line, values.and_then(|record| values_of(&record, &parameters, &copy.options)))
    });
    let mut outcomes = stream::iter(rows)
        .map(|(line, values)| {
            let insert = &insert;
            async move {
                let outcome = match values {
                    Ok(values) => connection.insert(insert, values).await.map_err(|error| error.to_string()),
                    Err(message) => Err(message),
                };
                (line, outcome)
            }
        })
        .buffer_unordered(copy.options.in_flight);
    let mut summary = Summary::default();
    while let Some((line, outcome)) = outcomes.next().await {
        match outcome {
            Ok(()) => summary.imported += 1,
            Err(message) => {
                summary.failed += 1;
                if summary.failed <= SHOWN_ERRORS_MAX as u64 {
                    bar.suspend(|| show_error(name, line, &message));
                }
                if summary.failed > copy.options.max_errors {
                    return Err(CopyError::Rows(summary.failed));
                }
            }
        }
        bar.set_message(format!("{} rows", summary.imported));
    }
    Ok(summary)
}

#[allow(clippy::print_stderr, reason = "the shell reports failed lines to the person at the terminal")]
fn show_error(name: &str, line: u64, message: &str) {
    eprintln!("{name}:{line}: {message}");
}

/// The columns of the file, in its order: as the command names them, else as the header does, else all of the
/// table.
async fn columns<R: Read>(
    connection: &Connection,
    copy: &Copy,
    reader: &mut csv::Reader<R>,
) -> Result<Vec<String>, CopyError> {
    if !copy.columns.is_empty() {
        return Ok(copy.columns.clone());
    }
    if copy.options.header {
        let header = reader.headers().map_err(|error| CopyError::Content(error.to_string()))?;
        return Ok(header.iter().map(|name| name.trim().to_owned()).collect());
    }
    let columns = connection.columns(copy.keyspace.as_deref(), &copy.table).await?;
    Ok(columns.into_iter().map(|(name, _)| name).collect())
}

/// The values of one line, or what is wrong with it.
fn values_of(
    record: &csv::StringRecord,
    parameters: &[Column],
    options: &CopyOptions,
) -> Result<Vec<Option<Value>>, String> {
    if record.len() != parameters.len() {
        return Err(format!("{} fields, but {} columns", record.len(), parameters.len()));
    }
    let value = |(field, (name, cql_type)): (&str, &Column)| {
        if field == options.null {
            return Ok(None);
        }
        parse_field(cql_type, field).map(Some).map_err(|error| format!("column {name}: {error}"))
    };
    record.iter().zip(parameters).map(value).collect()
}

fn parse_field(cql_type: &CqlType, field: &str) -> Result<Value, String> {
    // Space around text belongs to it; around anything else it is noise.
    let field = if matches!(cql_type, CqlType::Text | CqlType::Ascii) { field } else { field.trim() };
    Value::parse(cql_type, field).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_becomes_values_or_says_what_is_wrong() {
        let parameters = [("k".to_owned(), CqlType::Text), ("n".to_owned(), CqlType::Int)];
        let values = |fields: &[&str], null: &str| {
            let options = CopyOptions { null: null.to_owned(), ..CopyOptions::default() };
            values_of(&csv::StringRecord::from(fields.to_vec()), &parameters, &options)
        };
        assert_eq!(values(&["a", " 7"], ""), Ok(vec![Some(Value::Text("a".into())), Some(Value::Int(7))]));
        assert_eq!(values(&["a", ""], ""), Ok(vec![Some(Value::Text("a".into())), None]));
        assert_eq!(values(&["", "-"], "-"), Ok(vec![Some(Value::Text(String::new())), None]));
        assert!(values(&["a", "seven"], "").unwrap_err().starts_with("column n: "));
        assert!(values(&["a"], "").unwrap_err().contains("1 fields, but 2 columns"));
    }
}
