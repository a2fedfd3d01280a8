//! COPY FROM: rows to the cluster, many at once.

use super::meter::Meter;
use super::options::CopyOptions;
use super::rejects::Rejects;
use super::source::{Chunk, Layout, Row, Source};
use super::{Copy, CopyError, with_attempts};
use crate::connection::{Connection, ConnectionError, Table};
use crate::terminal;
use client::{ColumnInfo, PreparedStatement};
use futures::stream::{self, Stream, StreamExt};
use model::schema::ColumnKind;
use model::{CqlType, Value};
use std::future::Future;
use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Rows whose rejection is shown in full; the others are in the files of rejected rows.
const SHOWN_MAX: u64 = 10;

/// Where rows go.
pub(super) trait Sink {
    /// Writes a row, at `timestamp` microseconds since 1970 unless it is of counters.
    fn write(&self, values: Vec<Option<Value>>, timestamp: i64) -> impl Future<Output = Result<(), ConnectionError>>;

    /// True when writing a row twice is as good as once.
    fn is_repeatable(&self) -> bool;
}

/// A prepared INSERT or, for counters, UPDATE.
struct Insert<'a> {
    connection: &'a Connection,
    statement: PreparedStatement,
    /// For each marker, the column of the file that it is for.
    order: Vec<usize>,
    counters: bool,
}

impl Sink for Insert<'_> {
    async fn write(&self, mut values: Vec<Option<Value>>, timestamp: i64) -> Result<(), ConnectionError> {
        let values = self.order.iter().map(|index| values[*index].take()).collect();
        let timestamp = (!self.counters).then_some(timestamp);
        self.connection.write(&self.statement, values, timestamp).await
    }

    fn is_repeatable(&self) -> bool {
        !self.counters
    }
}

/// The statement that writes a row of these columns, and for each of its markers the column.
fn statement(table: &str, columns: &[&ColumnInfo], ttl: Option<u32>) -> Result<(String, Vec<usize>), String> {
    let name = |index: &usize| query::quote_name(&columns[*index].name).into_owned();
    let is_key = |column: &ColumnInfo| matches!(column.kind, ColumnKind::PartitionKey(_) | ColumnKind::Clustering(..));
    if !columns.iter().any(|column| column.cql_type == CqlType::Counter) {
        let order: Vec<usize> = (0..columns.len()).collect();
        let names = order.iter().map(name).collect::<Vec<_>>().join(", ");
        let markers = vec!["?"; columns.len()].join(", ");
        let using = ttl.map_or(String::new(), |ttl| format!(" USING TTL {ttl}"));
        return Ok((format!("INSERT INTO {table} ({names}) VALUES ({markers}){using}"), order));
    }
    if ttl.is_some() {
        return Err("TTL cannot be set on counters".to_owned());
    }
    let (key, counters): (Vec<usize>, Vec<usize>) = (0..columns.len()).partition(|index| is_key(columns[*index]));
    let additions = counters.iter().map(|index| format!("{0} = {0} + ?", name(index))).collect::<Vec<_>>().join(", ");
    let restrictions = key.iter().map(|index| format!("{} = ?", name(index))).collect::<Vec<_>>().join(" AND ");
    Ok((format!("UPDATE {table} SET {additions} WHERE {restrictions}"), [counters, key].concat()))
}

/// Imports the files; returns the line that sums it up.
///
/// # Errors
/// When the files or the table do not fit, or rows were rejected.
pub(super) async fn run(
    connection: &Connection,
    copy: &Copy,
    table: &Table,
    options: &CopyOptions,
    out: &mut dyn Write,
) -> Result<Option<String>, CopyError> {
    let (mut source, bytes) = Source::new(copy.file.as_deref(), options)?;
    let mut meter = Meter::new(bytes, options)?;
    source.show_on(meter.bar());
    let header = source.begin()?;
    let names = if copy.columns.is_empty() { &header } else { &copy.columns };
    let (fields, columns) = fields(copy, names, table, &options.from.skip_columns)?;
    let name = format!("{}.{}", query::quote_name(&table.keyspace), query::quote_name(&copy.table));
    let (text, order) = statement(&name, &columns, options.from.ttl).map_err(CopyError::Content)?;
    let counters = text.starts_with("UPDATE");
    let insert = Insert { connection, statement: connection.prepare(&text).await?, order, counters };
    let is_key = |column: &&ColumnInfo| matches!(column.kind, ColumnKind::PartitionKey(_) | ColumnKind::Clustering(..));
    let key = table.info.columns.iter().filter(is_key).map(|column| column.name.clone()).collect();
    let rows = source.start(Layout { fields, style: options.style.clone(), key }, options);
    let usual = format!("import_{}_{}.err", table.keyspace, copy.table);
    let mut rejects = Rejects::new(options.from.error_file.clone().unwrap_or(usual));
    let imported = import(&insert, rows, options, &mut rejects, &mut meter).await;
    let flushed = rejects.finish();
    let (seconds, rate) = meter.finish()?;
    let line = format!(
        "{} rows imported from {} in {seconds:.1} s ({rate:.0} rows/s), {} rejected",
        meter.rows(),
        copy.file.as_deref().unwrap_or("STDIN"),
        rejects.count()
    );
    let gave_up = imported?;
    flushed?;
    if rejects.count() == 0 {
        return Ok(Some(line));
    }
    writeln!(out, "{line}").map_err(|cause| CopyError::file("write", "standard output", cause))?;
    Err(CopyError::Rejected {
        rejected: rejects.count(),
        file: rejects.path().display().to_string(),
        gave_up: gave_up.map_or(String::new(), |limit| format!("; gave up: {limit}")),
    })
}

/// For each field of the file its column, `None` where it is passed over, and the columns that are imported.
#[allow(clippy::type_complexity, reason = "the pair is taken apart at once")]
fn fields<'a>(
    copy: &Copy,
    names: &[String],
    table: &'a Table,
    skipped: &[String],
) -> Result<(Vec<Option<(String, CqlType)>>, Vec<&'a ColumnInfo>), CopyError> {
    let all: Vec<String> = table.info.columns.iter().map(|column| column.name.clone()).collect();
    let names = if names.is_empty() { all.as_slice() } else { names };
    if let Some(unknown) = skipped.iter().find(|name| !names.contains(name)) {
        return Err(CopyError::Content(format!("SKIPCOLS names '{unknown}', which is not a column of the file")));
    }
    let kept: Vec<String> = names.iter().filter(|name| !skipped.contains(name)).cloned().collect();
    if let Some(twice) = kept.iter().enumerate().find(|(index, name)| kept[..*index].contains(name)) {
        return Err(CopyError::Content(format!("the column '{}' is there twice", twice.1)));
    }
    if kept.is_empty() {
        return Err(CopyError::Content("no column is left to be imported".to_owned()));
    }
    let columns = copy.columns_of(&kept, table)?;
    let mut rest = columns.iter();
    let field = |name: &String| match skipped.contains(name) {
        true => None,
        false => rest.next().map(|column| (column.name.clone(), column.cql_type.clone())),
    };
    Ok((names.iter().map(field).collect(), columns))
}

/// What became of a row.
enum Outcome {
    Imported,
    Malformed(Row, String),
    Refused(Row, String),
}

/// Writes rows until there are no more; returns the limit of errors that ended it early, if one did.
///
/// # Errors
/// When the input cannot be read, or the files of rejected rows cannot be written.
pub(super) async fn import(
    sink: &impl Sink,
    rows: mpsc::Receiver<Chunk>,
    options: &CopyOptions,
    rejects: &mut Rejects,
    meter: &mut Meter,
) -> Result<Option<String>, CopyError> {
    let mut stamps = Stamps::default();
    let mut outcomes = std::pin::pin!(
        paced(rows, options.from.rows_per_second)
            .map(|row| {
                let timestamp = stamps.next();
                async move { Ok::<_, CopyError>(write(sink, row?, timestamp, options.attempts).await) }
            })
            .buffer_unordered(options.requests)
    );
    let (mut malformed, mut refused) = (0u64, 0u64);
    while let Some(outcome) = outcomes.next().await {
        let (row, reason) = match outcome? {
            Outcome::Imported => {
                meter.count(1)?;
                continue;
            }
            Outcome::Malformed(row, reason) => {
                malformed += 1;
                (row, reason)
            }
            Outcome::Refused(row, reason) => {
                refused += 1;
                (row, reason)
            }
        };
        if rejects.count() < SHOWN_MAX {
            meter.bar().suspend(|| terminal::error(&format!("{}: {reason}", row.place)));
        }
        rejects.reject(&row.place, &row.raw, &reason)?;
        if malformed > options.from.parse_errors_max {
            return Ok(Some(format!(
                "more than MAXPARSEERRORS = {} rows are malformed",
                options.from.parse_errors_max
            )));
        }
        if refused > options.from.insert_errors_max {
            return Ok(Some(format!("more than MAXINSERTERRORS = {} rows failed", options.from.insert_errors_max)));
        }
    }
    Ok(None)
}

async fn write(sink: &impl Sink, mut row: Row, timestamp: i64, attempts: u32) -> Outcome {
    match std::mem::replace(&mut row.values, Ok(Vec::new())) {
        Err(reason) => Outcome::Malformed(row, reason),
        Ok(values) => {
            let write = || sink.write(values.clone(), timestamp);
            match with_attempts(attempts, sink.is_repeatable(), write).await {
                Ok(()) => Outcome::Imported,
                Err(error) => Outcome::Refused(row, error.to_string()),
            }
        }
    }
}

/// Timestamps in the order of the rows, so that of two rows with the same key the later one stays.
#[derive(Default)]
struct Stamps(i64);

impl Stamps {
    fn next(&mut self) -> i64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.0 = i64::try_from(now.as_micros()).unwrap_or(i64::MAX).max(self.0 + 1);
        self.0
    }
}

/// The rows one by one, no more than `rate` in a second. It ends after the first error.
fn paced(rows: mpsc::Receiver<Chunk>, rate: u32) -> impl Stream<Item = Result<Row, CopyError>> {
    struct State {
        receiver: mpsc::Receiver<Chunk>,
        chunk: std::vec::IntoIter<Row>,
        due: Instant,
    }
    let interval = Duration::from_secs(1) / rate;
    let first = State { receiver: rows, chunk: Vec::new().into_iter(), due: Instant::now() };
    stream::unfold(first, move |mut state| async move {
        loop {
            if let Some(row) = state.chunk.next() {
                // What was not used of the past is not made up for: the rate is a limit at any time.
                let now = Instant::now();
                let earliest = now.checked_sub(Duration::from_millis(100)).unwrap_or(now);
                state.due = state.due.max(earliest) + interval;
                if state.due > now + Duration::from_millis(1) {
                    tokio::time::sleep_until(state.due).await;
                }
                return Some((Ok(row), state));
            }
            match state.receiver.recv().await? {
                Ok(chunk) => state.chunk = chunk.into_iter(),
                Err(error) => {
                    state.receiver.close();
                    return Some((Err(error), state));
                }
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::copy::options::Direction;
    use model::RequestError;
    use std::cell::{Cell, RefCell};
    use std::collections::BTreeMap;
    use std::path::PathBuf;

    /// A table of an int key and an int, in memory.
    #[derive(Default)]
    struct Memory {
        rows: RefCell<BTreeMap<i32, (i64, Option<Value>)>>,
        /// How many writes fail from now on.
        failing: Cell<u32>,
        under_way: Cell<usize>,
        under_way_most: Cell<usize>,
    }

    impl Sink for Memory {
        async fn write(&self, values: Vec<Option<Value>>, timestamp: i64) -> Result<(), ConnectionError> {
            self.under_way.set(self.under_way.get() + 1);
            self.under_way_most.set(self.under_way_most.get().max(self.under_way.get()));
            tokio::task::yield_now().await;
            self.under_way.set(self.under_way.get() - 1);
            let Some(Value::Int(key)) = values[0] else { panic!("{values:?}") };
            if self.failing.get() > 0 {
                self.failing.set(self.failing.get() - 1);
                return Err(ConnectionError::Client(RequestError::Overloaded("test".into()).into()));
            }
            if key < 0 {
                return Err(ConnectionError::Client(RequestError::Invalid("negative".into()).into()));
            }
            let mut rows = self.rows.borrow_mut();
            let row = rows.entry(key).or_insert((0, None));
            if timestamp > row.0 {
                *row = (timestamp, values[1].clone());
            }
            Ok(())
        }

        fn is_repeatable(&self) -> bool {
            true
        }
    }

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Folder {
            let path = std::env::temp_dir().join(format!("helenus-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Folder(path)
        }

        fn write(&self, name: &str, text: &str) -> String {
            let path = self.0.join(name);
            std::fs::write(&path, text).unwrap();
            path.to_str().unwrap().to_owned()
        }

        fn read(&self, name: &str) -> String {
            std::fs::read_to_string(self.0.join(name)).unwrap()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).unwrap();
        }
    }

    /// Imports files of two ints into memory; the limit that ended it, and the rejects.
    async fn run(memory: &Memory, folder: &Folder, file: &str, pairs: &[(&str, &str)]) -> (Option<String>, u64) {
        let pairs: Vec<_> = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let options = CopyOptions::new(Direction::From, &pairs).unwrap();
        let (mut source, bytes) = Source::new(Some(file), &options).unwrap();
        source.begin().unwrap();
        let column = |name: &str| Some((name.to_owned(), CqlType::Int));
        let fields = vec![column("k"), column("v")];
        let layout = Layout { fields, style: options.style.clone(), key: vec!["k".into()] };
        let mut rejects = Rejects::new(folder.0.join("rows.err"));
        let mut meter = Meter::new(bytes, &options).unwrap();
        let rows = source.start(layout, &options);
        let ended = import(memory, rows, &options, &mut rejects, &mut meter).await.unwrap();
        rejects.finish().unwrap();
        (ended, rejects.count())
    }

    #[tokio::test]
    async fn rejected_rows_are_kept_as_they_were_with_their_reasons() {
        let folder = Folder::new("rejects");
        let file = folder.write("rows.csv", "1,10\nx,\"2\n0\"\n-3,30\n4,40\n,5\n");
        let memory = Memory::default();
        assert_eq!(run(&memory, &folder, &file, &[("MAXREQUESTS", "1")]).await, (None, 3));
        assert_eq!(memory.rows.borrow().keys().copied().collect::<Vec<_>>(), [1, 4]);
        assert_eq!(folder.read("rows.err"), "x,\"2\n0\"\n-3,30\n,5\n");
        let reasons = folder.read("rows.err.reasons");
        let reasons: Vec<&str> = reasons.lines().collect();
        for (line, (place, reason)) in reasons.iter().zip([
            (":2: ", "column k: Unable to make int from 'x'"),
            (":4: ", "negative"),
            (":6: ", "column k is part"),
        ]) {
            assert!(line.contains(place) && line.contains(reason), "{line}");
        }
        // The next import keeps what this one has left.
        assert_eq!(run(&memory, &folder, &file, &[]).await.1, 3);
        assert!(std::fs::read_dir(&folder.0).unwrap().count() > 4);
    }

    #[tokio::test]
    async fn limits_of_errors_end_it() {
        let folder = Folder::new("limits");
        let file = folder.write("rows.csv", &"x,1\n-1,1\n".repeat(10));
        let memory = Memory::default();
        let (ended, rejected) = run(&memory, &folder, &file, &[("MAXPARSEERRORS", "2"), ("MAXREQUESTS", "1")]).await;
        assert!(ended.unwrap().contains("MAXPARSEERRORS = 2"));
        assert_eq!(rejected, 5, "three that are malformed, and the two between");
        let (ended, _) = run(&memory, &folder, &file, &[("MAXINSERTERRORS", "0"), ("MAXREQUESTS", "1")]).await;
        assert!(ended.unwrap().contains("MAXINSERTERRORS = 0"));
    }

    #[tokio::test]
    async fn what_fails_for_a_while_is_sent_again() {
        let folder = Folder::new("attempts");
        let file = folder.write("rows.csv", "1,1\n2,2\n3,3\n");
        let memory = Memory { failing: Cell::new(4), ..Memory::default() };
        assert_eq!(run(&memory, &folder, &file, &[("MAXATTEMPTS", "3")]).await, (None, 0));
        assert_eq!(memory.rows.borrow().len(), 3);
    }

    #[tokio::test]
    async fn files_headers_and_limits_of_rows_are_honoured() {
        let folder = Folder::new("files");
        folder.write("b.csv", "k,v\n3,3\n4,4\n");
        folder.write("a.csv", "k,v\n1,1\n2,2\n");
        let pattern = folder.0.join("?.csv").to_str().unwrap().to_owned();
        let memory = Memory::default();
        let options =
            [("HEADER", "true"), ("SKIPROWS", "1"), ("MAXROWS", "2"), ("CHUNKSIZE", "1"), ("INGESTRATE", "50")];
        assert_eq!(run(&memory, &folder, &pattern, &options).await, (None, 0));
        assert_eq!(memory.rows.borrow().keys().copied().collect::<Vec<_>>(), [2, 3]);
    }

    #[tokio::test]
    async fn requests_are_bounded_and_the_last_row_of_a_key_stays() {
        let folder = Folder::new("order");
        let text: String = (0..1_000).map(|number| format!("{},{number}\n", number % 7)).collect();
        let file = folder.write("rows.csv", &text);
        let memory = Memory::default();
        run(&memory, &folder, &file, &[("MAXREQUESTS", "5"), ("CHUNKSIZE", "3")]).await;
        assert_eq!(memory.under_way_most.get(), 5);
        for (key, (_, value)) in memory.rows.borrow().iter() {
            let last = (0..1_000).rfind(|number| number % 7 == *key);
            assert_eq!(*value, last.map(Value::Int), "{key}");
        }
    }

    #[test]
    fn counters_are_added_to() {
        let column = |name: &str, kind, cql_type| ColumnInfo { name: name.to_owned(), kind, cql_type };
        let columns = [
            column("Hits", ColumnKind::Regular, CqlType::Counter),
            column("page", ColumnKind::PartitionKey(0), CqlType::Text),
        ];
        let columns: Vec<&ColumnInfo> = columns.iter().collect();
        let (text, order) = statement("k.t", &columns, None).unwrap();
        assert_eq!(text, "UPDATE k.t SET \"Hits\" = \"Hits\" + ? WHERE page = ?");
        assert_eq!(order, [0, 1]);
        assert!(statement("k.t", &columns, Some(1)).is_err());
        let (text, _) = statement("k.t", &columns[1..], Some(60)).unwrap();
        assert_eq!(text, "INSERT INTO k.t (page) VALUES (?) USING TTL 60");
    }
}
