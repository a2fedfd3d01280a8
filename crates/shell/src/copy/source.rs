//! The files of COPY FROM: opened one after the other, read and parsed on a thread of their own.
//!
//! Invariants:
//! * At most [`CHUNKS_WAITING`] chunks of CHUNKSIZE rows wait to be sent, and one is being made.
//! * SKIPROWS and MAXROWS count the data rows of all files; with a header, each file has one.

use super::CopyError;
use super::dialect::{Dialect, Field, Reader};
use super::field::Style;
use super::options::CopyOptions;
use crate::connection::Column;
use crate::expand_home;
use indicatif::ProgressBar;
use model::Value;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;
use tokio::sync::mpsc;

/// Chunks that wait to be sent.
const CHUNKS_WAITING: usize = 2;

/// Bytes read at a time.
const BUFFER_BYTES: usize = 256 << 10;

/// A row of a file.
#[derive(Debug)]
pub(super) struct Row {
    /// `file:line`.
    pub(super) place: String,
    /// The row as it was.
    pub(super) raw: Vec<u8>,
    /// Its values in the order of the columns, or what is wrong with it.
    pub(super) values: Result<Vec<Option<Value>>, String>,
}

/// Rows that were read together, or why no more can be read.
pub(super) type Chunk = Result<Vec<Row>, CopyError>;

/// Counts bytes as they are read, so that progress is known without reading a file twice.
struct Counted {
    inner: Box<dyn Read + Send>,
    bar: ProgressBar,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.bar.inc(count as u64);
        Ok(count)
    }
}

/// How fields become values.
pub(super) struct Layout {
    /// For each field of the file, the column that it is of; `None` when it is passed over.
    pub(super) fields: Vec<Option<Column>>,
    /// How values are written.
    pub(super) style: Style,
    /// Names of the columns that cannot be null.
    pub(super) key: Vec<String>,
}

impl Layout {
    /// The values of a record, in the order of the fields that are not passed over.
    ///
    /// # Errors
    /// When the record is not a row of these columns.
    pub(super) fn values(&self, fields: &[Field]) -> Result<Vec<Option<Value>>, String> {
        if fields.len() != self.fields.len() {
            return Err(format!("{} fields, but {} columns", fields.len(), self.fields.len()));
        }
        let columns = fields.iter().zip(&self.fields);
        let columns = columns.filter_map(|(field, column)| column.as_ref().map(|column| (field, column)));
        let value = |(field, (name, cql_type)): (&Field, &Column)| {
            let value = self.style.read(cql_type, field).map_err(|error| format!("column {name}: {error}"))?;
            if value.is_none() && self.key.contains(name) {
                let hint = if self.style.null.is_empty() { "; an empty text is written \"\", or use NULL" } else { "" };
                return Err(format!("column {name} is part of the primary key and cannot be null{hint}"));
            }
            Ok(value)
        };
        columns.map(value).collect()
    }
}

/// The input of a COPY FROM.
pub(super) struct Source {
    /// Files that are not begun; `None` is standard input.
    waiting: VecDeque<Option<String>>,
    current: Option<(String, Reader<BufReader<Counted>>)>,
    dialect: Dialect,
    header: bool,
    bar: ProgressBar,
}

impl Source {
    /// The input that `name` names: one file or several, separated by commas, in which `*` and `?` may stand for any
    /// characters of the last part; `None` for standard input.
    ///
    /// # Errors
    /// When there is no such file.
    pub(super) fn new(name: Option<&str>, options: &CopyOptions) -> Result<(Source, Option<u64>), CopyError> {
        let names: Vec<Option<String>> = match name {
            None => vec![None],
            Some(name) => files(&expand_home(name).to_string_lossy())?.into_iter().map(Some).collect(),
        };
        let mut total = Some(0);
        for name in &names {
            total = match (name, total) {
                (Some(name), Some(total)) => {
                    let data = std::fs::metadata(name).map_err(|cause| CopyError::file("read", name, cause))?;
                    // The length of a pipe is not known.
                    data.is_file().then_some(total + data.len())
                }
                _ => None,
            };
        }
        let (dialect, header) = (options.dialect, options.header);
        let source = Source { waiting: names.into(), current: None, dialect, header, bar: ProgressBar::hidden() };
        Ok((source, total))
    }

    /// Moves `bar` by the bytes that are read from now on.
    pub(super) fn show_on(&mut self, bar: &ProgressBar) {
        self.bar = bar.clone();
    }

    /// Goes to the next file; the fields of its header, if files have headers. False when there is none.
    fn open_next(&mut self) -> Result<Option<Vec<Field>>, CopyError> {
        self.current = None;
        let Some(name) = self.waiting.pop_front() else { return Ok(None) };
        let inner: Box<dyn Read + Send> = match &name {
            Some(path) => Box::new(File::open(path).map_err(|cause| CopyError::file("read", path, cause))?),
            None => Box::new(io::stdin()),
        };
        let counted = Counted { inner, bar: self.bar.clone() };
        let input = BufReader::with_capacity(BUFFER_BYTES, counted);
        let mut reader = Reader::new(input, self.dialect, name.is_none());
        let shown = name.unwrap_or_else(|| "STDIN".to_owned());
        let mut header = Vec::new();
        if self.header
            && let Some(record) = reader.next_record().map_err(|cause| CopyError::file("read", &shown, cause))?
        {
            header = record.fields.map_err(|error| CopyError::Content(format!("{shown}:{}: {error}", record.line)))?;
        }
        self.current = Some((shown, reader));
        Ok(Some(header))
    }

    /// Opens the first file; the names of the columns in its header, if files have headers.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn begin(&mut self) -> Result<Vec<String>, CopyError> {
        let header = self.open_next()?.unwrap_or_default();
        Ok(header.into_iter().map(|field| field.text.trim().to_owned()).collect())
    }

    /// The next row of any file; `None` at the end of the last.
    fn next_row(&mut self, layout: &Layout) -> Result<Option<Row>, CopyError> {
        loop {
            let Some((name, reader)) = &mut self.current else { return Ok(None) };
            match reader.next_record().map_err(|cause| CopyError::file("read", name, cause))? {
                Some(record) => {
                    let place = format!("{name}:{}", record.line);
                    let values = record.fields.and_then(|fields| layout.values(&fields));
                    return Ok(Some(Row { place, raw: record.raw, values }));
                }
                None => {
                    self.open_next()?;
                }
            }
        }
    }

    /// Reads to the end on a thread of its own. The thread ends when the receiver is dropped, at the latest with its
    /// next chunk.
    pub(super) fn start(mut self, layout: Layout, options: &CopyOptions) -> mpsc::Receiver<Chunk> {
        let (sender, receiver) = mpsc::channel(CHUNKS_WAITING);
        let (chunk_rows, mut skip, mut left) = (options.from.chunk_rows, options.from.skip_rows, options.from.rows_max);
        std::thread::spawn(move || {
            loop {
                let mut chunk = Vec::new();
                let ended = loop {
                    if chunk.len() >= chunk_rows {
                        break Ok(false);
                    }
                    if left == 0 {
                        break Ok(true);
                    }
                    match self.next_row(&layout) {
                        Ok(Some(_)) if skip > 0 => skip -= 1,
                        Ok(Some(row)) => {
                            left -= 1;
                            chunk.push(row);
                        }
                        Ok(None) => break Ok(true),
                        Err(error) => break Err(error),
                    }
                };
                let sent = sender.blocking_send(Ok(chunk));
                match ended {
                    Ok(false) if sent.is_ok() => {}
                    Ok(_) => return,
                    Err(error) => {
                        // Nobody waits for it once the import was given up.
                        let _ = sender.blocking_send(Err(error));
                        return;
                    }
                }
            }
        });
        receiver
    }
}

/// The files that a list of names means, in the order of the list and, for patterns, of names.
fn files(list: &str) -> Result<Vec<String>, CopyError> {
    if Path::new(list).exists() {
        return Ok(vec![list.to_owned()]);
    }
    let mut found = Vec::new();
    for name in list.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        let (folder, pattern) = name.rsplit_once('/').map_or((None, name), |(folder, last)| (Some(folder), last));
        if !pattern.contains(['*', '?']) {
            found.push(name.to_owned());
            continue;
        }
        let shown_folder = match folder {
            None => ".",
            Some("") => "/",
            Some(folder) => folder,
        };
        let entries = std::fs::read_dir(shown_folder).map_err(|cause| CopyError::file("read", shown_folder, cause))?;
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut names: Vec<String> = names.filter(|name| matches(pattern.as_bytes(), name.as_bytes())).collect();
        names.sort();
        found.extend(names.into_iter().map(|last| match folder {
            None => last,
            Some(folder) => format!("{folder}/{last}"),
        }));
    }
    if found.is_empty() { Err(CopyError::Content(format!("there is no file '{list}'"))) } else { Ok(found) }
}

/// True when `name` is as `pattern` says, in which `*` is any characters and `?` is any one. Linear for each star.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut from, mut star) = (0, 0, None);
    while from < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, from));
                at += 1;
            }
            Some(character) if *character == b'?' || *character == name[from] => {
                at += 1;
                from += 1;
            }
            _ => match star {
                Some((star_at, taken)) => {
                    star = Some((star_at, taken + 1));
                    (at, from) = (star_at + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|character| *character == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::CqlType;

    #[test]
    fn stars_and_question_marks_match() {
        for (pattern, name, expected) in [
            ("*.csv", "a.csv", true),
            ("*.csv", "a.csv.1", false),
            ("a*b*c", "aXbYbZc", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*", "", true),
            ("a", "", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn a_record_becomes_values_or_says_what_is_wrong() {
        let layout = |null: &str| Layout {
            fields: vec![Some(("k".to_owned(), CqlType::Text)), None, Some(("n".to_owned(), CqlType::Int))],
            style: Style { null: null.to_owned(), ..Style::default() },
            key: vec!["k".to_owned()],
        };
        let values = |texts: &[&str], null: &str| {
            let fields: Vec<Field> =
                texts.iter().map(|text| Field { text: (*text).to_owned(), quoted: false }).collect();
            layout(null).values(&fields)
        };
        assert_eq!(values(&["a", "?", " 7"], ""), Ok(vec![Some(Value::Text("a".into())), Some(Value::Int(7))]));
        assert_eq!(values(&["a", "", ""], ""), Ok(vec![Some(Value::Text("a".into())), None]));
        assert_eq!(values(&["", "", "-"], "-"), Ok(vec![Some(Value::Text(String::new())), None]));
        assert!(values(&["a", "", "seven"], "").unwrap_err().starts_with("column n: "));
        assert!(values(&["a"], "").unwrap_err().contains("1 fields, but 3 columns"));
        assert!(values(&["", "", "1"], "").unwrap_err().contains("column k is part of the primary key"));
    }
}
