//! A table in memory for tests of reads: it is filled with rows written as JSON, and answers statements through
//! [`ResultBuilder`] as a coordinator does.

use crate::fixture::{context, prepare_in};
use crate::json::Json;
use crate::{
    Bound, BoundRead, BoundValue, CommandLimits, PageLimits, Progress, ReadPosition, ReadSource, ResultBuilder, prepare,
};
use bytes::Bytes;
use model::key::encode_clustering;
use model::row::Expiry;
use model::schema::{ColumnKind, Schema, Table};
use model::{
    Cell, ComplexColumn, Liveness, PartitionKey, ReadCommand, RequestError, Row, RowView, TokenRange, Value,
    WallMicros, element,
};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The time of reads, in seconds.
pub(crate) const NOW_SECONDS: u32 = 1_000;

type Partition = (Option<Row>, BTreeMap<Bytes, Row>);

/// The rows of one table.
pub(crate) struct Memory<'s> {
    schema: &'s Schema,
    table: Arc<Table>,
    partitions: BTreeMap<PartitionKey, Partition>,
    drawn: u128,
}

impl<'s> Memory<'s> {
    pub(crate) fn new(schema: &'s Schema, table: &str) -> Memory<'s> {
        let table = Arc::clone(schema.find_table("ks", table).unwrap());
        Memory { schema, table, partitions: BTreeMap::new(), drawn: 0 }
    }

    /// Writes a row at `timestamp`, as INSERT does; with `expires`, in seconds from the time of reads.
    pub(crate) fn insert(&mut self, json: &str, timestamp: i64, expires: Option<i64>) {
        let columns = Json::parse_columns(json).unwrap();
        let table = Arc::clone(&self.table);
        let mut key: Vec<Bytes> = Vec::new();
        let (mut clustering, mut cells, mut static_cells) = (Vec::new(), Row::default(), Row::default());
        let expiry = expires.map(|seconds| Expiry {
            ttl_seconds: 100,
            at_seconds: u32::try_from(i64::from(NOW_SECONDS) + seconds).unwrap(),
        });
        let cell = |value: Bytes| match expiry {
            Some(expiry) => Cell::expiring(timestamp, value, expiry),
            None => Cell::live(timestamp, value),
        };
        for column in &table.columns {
            let Some((_, json)) = columns.iter().find(|(name, _)| *name == column.name) else { continue };
            let Some(wire) = json.to_wire(&column.cql_type).unwrap() else { continue };
            let written = if column.cql_type.is_multi_cell() {
                let drawn = &mut self.drawn;
                let draw = || {
                    *drawn += 1;
                    *drawn << 96 | 1 << 76
                };
                let elements = element::elements(&column.cql_type, &wire, draw).unwrap();
                let elements = elements.into_iter().map(|(path, value)| (path, cell(value))).collect();
                Row::default().with_complex([(column.id, ComplexColumn::new(None, elements))])
            } else {
                Row::new(None, None, vec![(column.id, cell(wire.clone()))])
            };
            match column.kind {
                ColumnKind::PartitionKey(_) => key.push(wire),
                ColumnKind::Clustering(..) => clustering.push(wire),
                ColumnKind::Static => static_cells = static_cells.merge(written),
                ColumnKind::Regular => cells = cells.merge(written),
            }
        }
        let partition = PartitionKey::from_components(&key).unwrap();
        let (static_row, rows) = self.partitions.entry(partition).or_default();
        if !static_cells.is_empty() {
            *static_row = Some(static_row.take().unwrap_or_default().merge(static_cells));
        }
        if clustering.len() == table.clustering().count() {
            let liveness = Row::new(Some(Liveness { timestamp, expiry }), None, Vec::new());
            let at = encode_clustering(&table, &clustering).unwrap();
            let row = rows.remove(&at).unwrap_or_default().merge(cells).merge(liveness);
            rows.insert(at, row);
        }
    }

    /// The read that a statement is.
    pub(crate) fn read(&self, statement: &str, values: &[BoundValue]) -> Result<Arc<BoundRead>, RequestError> {
        match prepare(statement, self.schema, Some("ks"))?.bind(values, context())? {
            Bound::Read(read) => Ok(Arc::new(read)),
            other => panic!("{statement}: {other:?}"),
        }
    }

    /// The rows of a page of a read, and its saved state.
    #[expect(clippy::type_complexity, reason = "rows of values")]
    pub(crate) fn page(
        &self,
        read: &Arc<BoundRead>,
        saved: Option<&Bytes>,
        rows: u32,
    ) -> Result<(Vec<Vec<Option<Bytes>>>, Option<Bytes>), RequestError> {
        let mut builder = ResultBuilder::start(read, saved, PageLimits { rows, bytes: 1 << 20 }, NOW_SECONDS)?;
        let position = builder.position().cloned();
        for key in self.keys(read.source(), position.as_ref()) {
            match self.partition(read, &mut builder, &key, position.as_ref())? {
                Progress::PageFull => return builder.finish(false).map(|page| (page.rows, page.saved)),
                Progress::Complete => break,
                Progress::Continue | Progress::SkipPartition => {}
            }
        }
        builder.finish(true).map(|page| (page.rows, page.saved))
    }

    /// As [`Memory::page`], but the coordinator ends the page after so many rows at the latest.
    #[expect(clippy::type_complexity, reason = "rows of values")]
    pub(crate) fn interrupted_page(
        &self,
        read: &Arc<BoundRead>,
        saved: Option<&Bytes>,
        rows: u32,
        after: usize,
    ) -> Result<(Vec<Vec<Option<Bytes>>>, Option<Bytes>), RequestError> {
        let mut builder = ResultBuilder::start(read, saved, PageLimits { rows, bytes: 1 << 20 }, NOW_SECONDS)?;
        let position = builder.position().cloned();
        let mut given = 0;
        for key in self.keys(read.source(), position.as_ref()) {
            let Some((static_row, _)) = self.partitions.get(&key) else { continue };
            let (command, wanted) = self.wanted(read, &key, position.as_ref());
            let mut progress = builder.begin_partition(&key)?;
            if let (Progress::Continue, Some(static_row), true) = (progress, static_row, command.static_row) {
                progress = builder.static_row(&RowView::of(static_row))?;
            }
            for (at, row) in wanted {
                if progress != Progress::Continue {
                    break;
                }
                if given == after {
                    return builder.finish(false).map(|page| (page.rows, page.saved));
                }
                progress = builder.row(at, &RowView::of(row))?;
                given += 1;
            }
            if matches!(progress, Progress::Continue | Progress::SkipPartition) {
                progress = builder.end_partition()?;
            }
            match progress {
                Progress::PageFull => return builder.finish(false).map(|page| (page.rows, page.saved)),
                Progress::Complete => break,
                Progress::Continue | Progress::SkipPartition => {}
            }
        }
        builder.finish(true).map(|page| (page.rows, page.saved))
    }

    /// The partitions that come after a position.
    fn keys(&self, source: ReadSource, position: Option<&ReadPosition>) -> Vec<PartitionKey> {
        let mut keys = match source {
            ReadSource::Partitions(keys) => keys,
            ReadSource::Range(TokenRange { start, end }) => {
                let range = TokenRange { start, end };
                self.partitions.keys().filter(|key| range.contains(key.token)).cloned().collect()
            }
        };
        if let Some(position) = position {
            let begun = keys.iter().position(|key| *key == position.partition).unwrap();
            keys.drain(..begun + usize::from(position.within.is_none()));
        }
        keys
    }

    fn partition(
        &self,
        read: &BoundRead,
        builder: &mut ResultBuilder,
        key: &PartitionKey,
        position: Option<&ReadPosition>,
    ) -> Result<Progress, RequestError> {
        let Some((static_row, _)) = self.partitions.get(key) else { return Ok(Progress::Continue) };
        let (command, wanted) = self.wanted(read, key, position);
        let mut progress = builder.begin_partition(key)?;
        if let (Progress::Continue, Some(static_row), true) = (progress, static_row, command.static_row) {
            progress = builder.static_row(&RowView::of(static_row))?;
        }
        for (at, row) in wanted {
            match progress {
                Progress::Continue => progress = builder.row(at, &RowView::of(row))?,
                Progress::SkipPartition => break,
                Progress::PageFull | Progress::Complete => return Ok(progress),
            }
        }
        match progress {
            Progress::PageFull | Progress::Complete => Ok(progress),
            _ => builder.end_partition(),
        }
    }

    /// The command for a partition, and the rows that come after a position.
    fn wanted(
        &self,
        read: &BoundRead,
        key: &PartitionKey,
        position: Option<&ReadPosition>,
    ) -> (ReadCommand, Vec<(&Bytes, &Row)>) {
        let rows = &self.partitions[key].1;
        let limits = CommandLimits { rows: u32::MAX, bytes: u32::MAX, tombstones: u32::MAX };
        let command = read.partition_command(key, limits, WallMicros(i64::from(NOW_SECONDS) * 1_000_000));
        let resume =
            position.filter(|position| position.partition == *key).and_then(|position| position.within.clone());
        let slices = match &resume {
            None => command.slices.clone(),
            Some(last) => model::read::slices_after(&command.slices, command.reversed, last),
        };
        let mut wanted: Vec<(&Bytes, &Row)> =
            rows.iter().filter(|(at, _)| slices.iter().any(|slice| slice.contains(at))).collect();
        if command.reversed {
            wanted.reverse();
        }
        (command, wanted)
    }

    /// The whole result, page by page, a row as text each.
    pub(crate) fn pages(
        &self,
        statement: &str,
        values: &[BoundValue],
        page_rows: u32,
    ) -> Result<Vec<String>, RequestError> {
        let read = self.read(statement, values)?;
        let (mut shown, mut saved) = (Vec::new(), None);
        loop {
            let (rows, next) = self.page(&read, saved.as_ref(), page_rows)?;
            assert!(rows.len() as u64 <= u64::from(page_rows), "{statement}");
            shown.extend(rows.iter().map(|row| row_text(&read, row)));
            saved = next;
            if saved.is_none() {
                return Ok(shown);
            }
        }
    }

    /// The result as text, rows separated by semicolons, or the error; the same with pages of any size.
    pub(crate) fn answer(&self, statement: &str, values: &[BoundValue]) -> String {
        let whole = self.pages(statement, values, u32::MAX);
        let sorted = statement.contains("ORDER BY") && statement.contains(" IN ");
        for page_rows in [1, 2, 3] {
            if !sorted && !statement.contains("uuid") {
                assert_eq!(self.pages(statement, values, page_rows), whole, "{statement}, {page_rows} rows a page");
            }
        }
        match whole {
            Ok(rows) => rows.join("; "),
            Err(error) => error.to_string(),
        }
    }

    /// The names of the columns of the result.
    pub(crate) fn names(&self, statement: &str) -> Vec<String> {
        let prepared = prepare_in(self.schema, statement);
        prepared.result_columns().iter().map(|column| column.name.clone()).collect()
    }
}

fn row_text(read: &BoundRead, row: &[Option<Bytes>]) -> String {
    let text = |(spec, value): (&crate::ColumnSpec, &Option<Bytes>)| match value {
        None => "null".to_owned(),
        // A list of times may have nulls in it.
        Some(wire) => match Value::from_wire(&spec.cql_type, wire) {
            Ok(value) => value.to_string(),
            Err(_) => format!("{wire:?}"),
        },
    };
    read.result_columns().iter().zip(row).map(text).collect::<Vec<_>>().join(" ")
}
