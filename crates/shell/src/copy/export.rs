//! COPY TO: a table as files, range of tokens by range of tokens, some at once.
//!
//! Rows of a partition stand together and in their order; partitions come in the order in which their ranges are read.

use super::field::FieldText;
use super::meter::Meter;
use super::options::CopyOptions;
use super::{Copy, CopyError, with_attempts};
use crate::connection::{Connection, ConnectionError, Outcome, Table};
use crate::{expand_home, terminal};
use bytes::Bytes;
use client::ColumnInfo;
use futures::stream::{self, Stream, StreamExt, TryStreamExt};
use indicatif::ProgressBar;
use model::schema::ColumnKind;
use model::{CqlType, Value};
use std::fs::File;
use std::future::Future;
use std::io::{self, BufWriter, Write};
use std::time::Duration;

/// Tokens after the first and up to the second; `None` for no bound.
type Range = (Option<i64>, Option<i64>);

/// A row in its wire form.
type WireRow = Vec<Option<Bytes>>;

/// Rows, and where to go on.
type Page = (Vec<WireRow>, Option<Bytes>);

/// What can be read page by page.
trait Pages {
    /// A page of the rows of a range; `resume` is where the page before it ended.
    fn page(&self, range: Range, resume: Option<Bytes>) -> impl Future<Output = Result<Page, ConnectionError>>;
}

/// A table of the cluster.
struct Selection<'a> {
    connection: &'a Connection,
    /// Everything before WHERE.
    select: String,
    /// `token(key)`.
    token: String,
    page_rows: u32,
    timeout: Duration,
}

impl Pages for Selection<'_> {
    async fn page(&self, range: Range, resume: Option<Bytes>) -> Result<Page, ConnectionError> {
        let text = restricted(&self.select, &self.token, range);
        match self.connection.execute(&text, Some(self.page_rows), resume, Some(self.timeout)).await?.outcome {
            Outcome::Rows(rows, next, _) => Ok((rows.rows, next)),
            Outcome::Done(_) => Err(ConnectionError::Usage("the answer to SELECT has no rows".to_owned())),
        }
    }
}

/// The SELECT of a range.
fn restricted(select: &str, token: &str, range: Range) -> String {
    let after = range.0.map(|start| format!("{token} > {start}"));
    let to = range.1.map(|end| format!("{token} <= {end}"));
    let bounds: Vec<String> = after.into_iter().chain(to).collect();
    if bounds.is_empty() { select.to_owned() } else { format!("{select} WHERE {}", bounds.join(" AND ")) }
}

/// The ranges between the tokens of the ring, as far as they are within the bounds: each token is in exactly one.
fn ranges(mut tokens: Vec<i64>, bounds: Range) -> Vec<Range> {
    // The smallest token is that of no key, so that it bounds nothing.
    tokens.retain(|token| {
        *token != i64::MIN && bounds.0.is_none_or(|begin| begin < *token) && bounds.1.is_none_or(|end| *token < end)
    });
    tokens.sort_unstable();
    tokens.dedup();
    let begin = bounds.0.filter(|begin| *begin != i64::MIN);
    let starts = std::iter::once(begin).chain(tokens.iter().copied().map(Some));
    let ends = tokens.iter().copied().map(Some).chain(std::iter::once(bounds.1));
    starts.zip(ends).collect()
}

/// Exports the table; returns the line that sums it up, unless the rows themselves go to `out`.
///
/// # Errors
/// When the table cannot be read as a whole, or a file cannot be written.
pub(super) async fn run(
    connection: &Connection,
    copy: &Copy,
    table: &Table,
    options: &CopyOptions,
    out: &mut dyn Write,
) -> Result<Option<String>, CopyError> {
    let columns = copy.columns_of(&copy.columns, table)?;
    let quoted = |column: &&ColumnInfo| query::quote_name(&column.name).into_owned();
    let names = columns.iter().map(quoted).collect::<Vec<_>>().join(", ");
    let is_partition_key = |column: &&ColumnInfo| matches!(column.kind, ColumnKind::PartitionKey(_));
    let key = table.info.columns.iter().filter(is_partition_key);
    let key = key.map(|column| query::quote_name(&column.name).into_owned()).collect::<Vec<_>>().join(", ");
    let pages = Selection {
        connection,
        select: format!(
            "SELECT {names} FROM {}.{}",
            query::quote_name(&table.keyspace),
            query::quote_name(&copy.table)
        ),
        token: format!("token({key})"),
        page_rows: options.to.page_rows,
        timeout: options.page_timeout(),
    };
    let topology = connection.topology().await?;
    let tokens = topology.nodes.iter().flat_map(|node| node.tokens.iter().map(|token| token.0)).collect();
    let ranges = ranges(tokens, (options.to.begin_token, options.to.end_token));
    let mut meter = Meter::new(Some(ranges.len() as u64), options)?;
    let header = options.header.then(|| columns.iter().map(|column| column.name.clone()).collect());
    let types: Vec<CqlType> = columns.iter().map(|column| column.cql_type.clone()).collect();
    let mut output = Output::new(copy.file.clone(), header, options, out)?;
    let exported = export(&pages, ranges, &types, options, &mut output, &mut meter).await;
    let flushed = output.finish();
    let (seconds, rate) = meter.finish()?;
    let (rows, files) = (meter.rows(), output.files);
    if let Err(error) = exported {
        terminal::error(&format!("the export is not whole: it ended after {rows} rows"));
        return Err(error);
    }
    flushed?;
    let to = copy.file.as_deref().unwrap_or("STDOUT");
    let more = if files > 1 { format!(" and {} more files", files - 1) } else { String::new() };
    let line = format!("{rows} rows exported to {to}{more} in {seconds:.1} s ({rate:.0} rows/s)");
    if copy.file.is_some() {
        return Ok(Some(line));
    }
    terminal::error(&line);
    Ok(None)
}

/// Pages of the ranges, `requests` ranges at once.
fn all_pages<'a>(
    pages: &'a impl Pages,
    ranges: Vec<Range>,
    options: &'a CopyOptions,
    bar: ProgressBar,
) -> impl Stream<Item = Result<Vec<WireRow>, CopyError>> + 'a {
    let of_range = move |range: Range| {
        let bar = bar.clone();
        let pages = stream::try_unfold(Some(None), move |resume: Option<Option<Bytes>>| {
            let bar = bar.clone();
            async move {
                let Some(resume) = resume else { return Ok(None) };
                let page = || pages.page(range, resume.clone());
                let (rows, next) = with_attempts(options.attempts, true, page).await?;
                if next.is_none() {
                    bar.inc(1);
                }
                Ok::<_, CopyError>(Some((rows, next.map(Some))))
            }
        });
        Box::pin(pages)
    };
    stream::iter(ranges).map(of_range).flatten_unordered(options.requests)
}

async fn export(
    pages: &impl Pages,
    ranges: Vec<Range>,
    types: &[CqlType],
    options: &CopyOptions,
    output: &mut Output<'_>,
    meter: &mut Meter,
) -> Result<(), CopyError> {
    let mut all = std::pin::pin!(all_pages(pages, ranges, options, meter.bar().clone()));
    while let Some(rows) = all.try_next().await? {
        for row in &rows {
            let field = |(cql_type, cell): (&CqlType, &Option<Bytes>)| {
                let value = cell.as_ref().map(|wire| Value::from_wire(cql_type, wire)).transpose();
                Ok(options.style.write(cql_type, value?.as_ref()))
            };
            let texts: Result<Vec<FieldText>, model::value::ValueError> = types.iter().zip(row).map(field).collect();
            let texts =
                texts.map_err(|error| CopyError::Content(format!("the cluster sent a wrong value: {error}")))?;
            output.write_row(&texts)?;
        }
        meter.count(rows.len() as u64)?;
    }
    Ok(())
}

/// The files of an export, or standard output.
struct Output<'a> {
    name: Option<String>,
    header: Option<Vec<String>>,
    options: &'a CopyOptions,
    current: Box<dyn Write + 'a>,
    /// Rows in the current file.
    rows: u64,
    files: u64,
    line: Vec<u8>,
}

impl<'a> Output<'a> {
    /// An output with its first file made.
    fn new(
        name: Option<String>,
        header: Option<Vec<String>>,
        options: &'a CopyOptions,
        out: &'a mut dyn Write,
    ) -> Result<Output<'a>, CopyError> {
        let current: Box<dyn Write + 'a> = match &name {
            Some(name) => create(name)?,
            None => Box::new(out),
        };
        let mut output = Output { name, header, options, current, rows: 0, files: 1, line: Vec::new() };
        output.write_header()?;
        Ok(output)
    }

    fn failed(&self, cause: io::Error) -> CopyError {
        CopyError::file("write", self.name.as_deref().unwrap_or("standard output"), cause)
    }

    /// Each file has a header, so that each can be imported by itself.
    fn write_header(&mut self) -> Result<(), CopyError> {
        let Some(header) = &self.header else { return Ok(()) };
        let fields: Vec<_> = header.iter().map(|name| super::dialect::Written::Plain(name)).collect();
        self.line.clear();
        self.options.dialect.write_record(&mut self.line, &fields);
        self.current.write_all(&self.line).map_err(|cause| self.failed(cause))
    }

    fn write_row(&mut self, texts: &[FieldText]) -> Result<(), CopyError> {
        if self.rows >= self.options.to.file_rows_max
            && let Some(name) = &self.name
        {
            let next = create(&format!("{name}.{}", self.files))?;
            self.current.flush().map_err(|cause| self.failed(cause))?;
            (self.current, self.rows) = (next, 0);
            self.files += 1;
            self.write_header()?;
        }
        self.rows += 1;
        self.line.clear();
        let fields: Vec<_> = texts.iter().map(FieldText::written).collect();
        self.options.dialect.write_record(&mut self.line, &fields);
        self.current.write_all(&self.line).map_err(|cause| self.failed(cause))
    }

    fn finish(&mut self) -> Result<(), CopyError> {
        self.current.flush().map_err(|cause| self.failed(cause))
    }
}

fn create(name: &str) -> Result<Box<dyn Write>, CopyError> {
    let file = File::create(expand_home(name)).map_err(|cause| CopyError::file("write", name, cause))?;
    Ok(Box::new(BufWriter::with_capacity(256 << 10, file)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::copy::options::Direction;
    use model::RequestError;
    use std::cell::Cell;

    /// Tokens that are their own rows, two in a page.
    struct Memory {
        tokens: Vec<i64>,
        failing: Cell<u32>,
        under_way: Cell<usize>,
        under_way_most: Cell<usize>,
    }

    impl Pages for Memory {
        async fn page(&self, range: Range, resume: Option<Bytes>) -> Result<Page, ConnectionError> {
            self.under_way.set(self.under_way.get() + 1);
            self.under_way_most.set(self.under_way_most.get().max(self.under_way.get()));
            tokio::task::yield_now().await;
            self.under_way.set(self.under_way.get() - 1);
            if self.failing.get() > 0 {
                self.failing.set(self.failing.get() - 1);
                return Err(ConnectionError::Client(RequestError::NotServing("test".into()).into()));
            }
            let skip = resume.map_or(0, |state| usize::from(state[0]));
            let inside =
                |token: &&i64| range.0.is_none_or(|start| **token > start) && range.1.is_none_or(|end| **token <= end);
            let all: Vec<i64> = self.tokens.iter().filter(inside).copied().collect();
            let rows: Vec<WireRow> =
                all.iter().skip(skip).take(2).map(|token| vec![Some(Value::BigInt(*token).to_wire()), None]).collect();
            let next = (all.len() > skip + 2).then(|| Bytes::from(vec![skip as u8 + 2]));
            Ok((rows, next))
        }
    }

    fn memory(failing: u32) -> Memory {
        let tokens = (-10..10).chain([i64::MAX]).collect();
        Memory { tokens, failing: Cell::new(failing), under_way: Cell::new(0), under_way_most: Cell::new(0) }
    }

    fn options(pairs: &[(&str, &str)]) -> CopyOptions {
        let pairs: Vec<_> = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        CopyOptions::new(Direction::To, &pairs).unwrap()
    }

    async fn exported(memory: &Memory, pairs: &[(&str, &str)], name: Option<String>) -> Result<String, CopyError> {
        let options = options(pairs);
        let ranges = ranges(vec![-5, 5], (options.to.begin_token, options.to.end_token));
        let mut meter = Meter::new(Some(ranges.len() as u64), &options)?;
        let mut out = Vec::new();
        let header = options.header.then(|| vec!["k".to_owned(), "v".to_owned()]);
        let mut output = Output::new(name, header, &options, &mut out)?;
        export(memory, ranges, &[CqlType::BigInt, CqlType::Text], &options, &mut output, &mut meter).await?;
        output.finish()?;
        drop(output);
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn ranges_cover_the_ring_once() {
        assert_eq!(
            ranges(vec![5, -5, i64::MIN, 5], (None, None)),
            [(None, Some(-5)), (Some(-5), Some(5)), (Some(5), None)]
        );
        assert_eq!(ranges(vec![5, -5], (Some(-5), Some(3))), [(Some(-5), Some(3))]);
        assert_eq!(ranges(vec![5, -5], (Some(i64::MIN), Some(5))), [(None, Some(-5)), (Some(-5), Some(5))]);
        assert_eq!(ranges(vec![], (None, None)), [(None, None)]);
    }

    #[test]
    fn a_range_is_a_restriction() {
        let text = |range| restricted("SELECT a FROM t", "token(k, l)", range);
        assert_eq!(text((None, None)), "SELECT a FROM t");
        assert_eq!(text((Some(-1), None)), "SELECT a FROM t WHERE token(k, l) > -1");
        assert_eq!(text((Some(1), Some(2))), "SELECT a FROM t WHERE token(k, l) > 1 AND token(k, l) <= 2");
    }

    #[tokio::test]
    async fn every_row_is_exported_once_even_when_pages_fail() {
        let memory = memory(2);
        let text = exported(&memory, &[("NULL", "-"), ("MAXREQUESTS", "2")], None).await.unwrap();
        let mut found: Vec<i64> = text.lines().map(|line| line.strip_suffix(",-").unwrap().parse().unwrap()).collect();
        found.sort_unstable();
        assert_eq!(found, memory.tokens);
        assert_eq!(memory.under_way_most.get(), 2);
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_an_error_of_the_whole() {
        let error = exported(&memory(100), &[("MAXATTEMPTS", "1")], None).await.unwrap_err();
        assert!(error.to_string().contains("not serving"), "{error}");
    }

    #[tokio::test]
    async fn files_are_split_and_tokens_bounded() {
        let name = std::env::temp_dir().join(format!("helenus-export-{}.csv", std::process::id()));
        let name = name.to_str().unwrap().to_owned();
        let pairs = [("MAXOUTPUTSIZE", "2"), ("HEADER", "true"), ("BEGINTOKEN", "0"), ("ENDTOKEN", "4")];
        exported(&memory(0), &pairs, Some(name.clone())).await.unwrap();
        let mut rows = Vec::new();
        for file in [name.clone(), format!("{name}.1")] {
            let text = std::fs::read_to_string(&file).unwrap();
            std::fs::remove_file(&file).unwrap();
            let (header, data) = text.split_once('\n').unwrap();
            assert_eq!(header, "k,v");
            rows.extend(data.lines().map(str::to_owned));
        }
        assert_eq!(rows, ["1,", "2,", "3,", "4,"]);
    }
}
