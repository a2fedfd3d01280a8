//! Secondary indexes: what an index knows of a row, and a look-up in one.
//!
//! An index is a set of entries, each a value and a row that had it. A write adds the entries of the values that it
//! sets and reads nothing, so an index never lacks a row; an entry whose row has another value by now is *stale*.
//! Whoever looks a value up gets rows that may have it, *candidates*, and reads them as any others.
//!
//! Invariants (`docs/protocol/index.md`):
//! * X1: what an entry says is a function of one record and the table's definition: the same on every replica, in
//!   whatever order records are written, merged or streamed.
//! * X2: the entries of one value are in the order of the rows that they name, so that a look-up is resumed where an
//!   earlier one ended, by position.
//!
//! A value is in the form that keys have ([`crate::key`]): what compares as equal is equal bytes. The indexes of a
//! partition key column, and of a static one, name whole partitions.

use crate::codec::{CodecError, Decode, Encode, Reader, put_option, put_sequence, put_varint};
use crate::error::RequestError;
use crate::id::{ColumnId, TableId};
use crate::key::{PartitionKey, decode_clustering};
use crate::limits::{INDEXED_BYTES_MAX, PAGE_BYTES_MAX};
use crate::mutation::{Mutation, Record, RecordKey};
use crate::read::{ReadCommand, ReadData, Slice, validate_slices};
use crate::row::Row;
use crate::scan::{PositionWithin, ScanCommand, ScanData, ScanPosition};
use crate::schema::{Column, ColumnKind, Index, IndexedPart, Table};
use crate::token::{Token, TokenRange};
use crate::types::CqlType;
use crate::value::normalize;
use crate::value::ordered::{self, EMPTY_COMPONENT, NEXT_COMPONENT, TERMINATOR};
use bytes::Bytes;

/// For whom no value has expired: who asks what may be in an index whatever the clock says.
const BEFORE_ALL: i64 = i64::MIN;

/// What is indexed: indexes of a table on the same are one in storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IndexTarget {
    /// The column.
    pub column: ColumnId,
    /// What of it.
    pub part: IndexedPart,
}

/// An entry of an index.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct IndexEntry {
    /// Of which index.
    pub target: IndexTarget,
    /// The value, in the form of keys.
    pub value: Bytes,
    /// The encoded clustering key of the row that has it; `None` when it names the partition.
    pub clustering: Option<Bytes>,
}

/// A row that an index names, or a partition. As the end of an answer: everything up to it is in the answer, and
/// without a clustering key everything up to the end of the partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexedRow {
    /// The partition.
    pub partition: PartitionKey,
    /// The encoded clustering key; `None` for the whole partition.
    pub clustering: Option<Bytes>,
}

/// A look-up of the rows that may have a value, or one of a range of values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexCommand {
    /// The table.
    pub table: TableId,
    /// The index.
    pub target: IndexTarget,
    /// The values, in the form of keys: of one [`Slice::of_row`] of it ([`TableIndex::value_of`]), else a range
    /// ([`TableIndex::range_of`]).
    pub values: Slice,
    /// Rows of the partitions whose tokens are in it.
    pub range: TokenRange,
    /// Rows of this partition only.
    pub partition: Option<PartitionKey>,
    /// The rows wanted of each partition: not empty, ascending, disjoint. Of an index that names partitions they
    /// are not asked for.
    pub slices: Vec<Slice>,
    /// Where an earlier answer ended. Within a partition, for an index that names partitions: that one is named again,
    /// since rows of it are left.
    pub resume: Option<IndexedRow>,
    /// Stop after this many candidates, at least 1, or sooner.
    pub limit: u32,
    /// As [`ReadCommand::now_seconds`].
    pub now_seconds: u32,
}

/// The answer to an [`IndexCommand`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IndexData {
    /// The candidates, ascending: every row that has the value on this replica is among them.
    pub rows: Vec<IndexedRow>,
    /// Up to where that is true; `None` when it is for all that was asked.
    pub next: Option<IndexedRow>,
}

/// An index of a table with what is needed to read and write it.
#[derive(Clone, Copy, Debug)]
pub struct TableIndex<'t> {
    table: &'t Table,
    column: &'t Column,
    target: IndexTarget,
}

impl IndexTarget {
    /// What an index of the schema is on.
    #[must_use]
    pub fn of(index: &Index) -> IndexTarget {
        IndexTarget { column: index.column, part: index.part }
    }
}

impl IndexedRow {
    /// About what it takes in memory and in messages.
    fn bytes(&self) -> usize {
        self.partition.bytes.len() + self.clustering.as_ref().map_or(0, Bytes::len) + 16
    }

    /// Of an answer that ends here: true when `row` is not behind its end.
    #[must_use]
    pub fn covers(&self, row: &IndexedRow) -> bool {
        match (&self.clustering, &row.clustering) {
            _ if self.partition != row.partition => row.partition < self.partition,
            (None, _) => true,
            (Some(end), Some(clustering)) => clustering <= end,
            (Some(_), None) => false,
        }
    }

    fn resume(&self) -> ScanPosition {
        let within = self.clustering.clone().map(|last| PositionWithin { last, rows_left: u32::MAX });
        ScanPosition { partition: self.partition.clone(), within }
    }
}

impl From<&ScanPosition> for IndexedRow {
    fn from(position: &ScanPosition) -> IndexedRow {
        let clustering = position.within.as_ref().map(|within| within.last.clone());
        IndexedRow { partition: position.partition.clone(), clustering }
    }
}

impl From<&IndexedRow> for ScanPosition {
    fn from(row: &IndexedRow) -> ScanPosition {
        row.resume()
    }
}

impl Table {
    /// What its indexes are on, each once, ascending.
    #[must_use]
    pub fn index_targets(&self) -> Vec<IndexTarget> {
        let mut targets: Vec<IndexTarget> = self.indexes.iter().map(IndexTarget::of).collect();
        targets.sort_unstable();
        targets.dedup();
        targets
    }
}

impl<'t> TableIndex<'t> {
    /// The index on `target`; `None` when the table has no such column. It need not have the index.
    #[must_use]
    pub fn new(table: &'t Table, target: IndexTarget) -> Option<TableIndex<'t>> {
        let column = table.columns.iter().find(|column| column.id == target.column)?;
        Some(TableIndex { table, column, target })
    }

    /// All indexes of a table.
    pub fn all(table: &'t Table) -> impl Iterator<Item = TableIndex<'t>> {
        table.index_targets().into_iter().filter_map(|target| TableIndex::new(table, target))
    }

    /// What it is on.
    #[must_use]
    pub fn target(&self) -> IndexTarget {
        self.target
    }

    /// True when its entries name partitions and not rows.
    #[must_use]
    pub fn names_partitions(&self) -> bool {
        matches!(self.column.kind, ColumnKind::PartitionKey(_) | ColumnKind::Static)
    }

    /// The types of what a value of it is made of: of entries two.
    fn types(&self) -> Vec<&'t CqlType> {
        match (&self.column.cql_type, self.target.part) {
            (CqlType::List { element, .. } | CqlType::Set { element, .. }, IndexedPart::Values) => vec![element],
            (CqlType::Map { entry, .. }, IndexedPart::Values) => vec![&entry.1],
            (CqlType::Map { entry, .. }, IndexedPart::Keys) => vec![&entry.0],
            (CqlType::Map { entry, .. }, IndexedPart::Entries) => vec![&entry.0, &entry.1],
            (whole, _) => vec![whole],
        }
    }

    /// The text that a text is indexed as, if that is another.
    fn folded(&self, text: &[u8]) -> Option<String> {
        let IndexedPart::Folded(folding) = self.target.part else { return None };
        std::str::from_utf8(text).ok().map(|text| folding.fold(text))
    }

    /// The value that it is looked up by, of `parts` in wire form: two for entries, else one. `None` for one that is
    /// too long to be in an index.
    ///
    /// # Errors
    /// `Invalid`, when a part is not of its type.
    pub fn value_of(&self, parts: &[&[u8]]) -> Result<Option<Bytes>, RequestError> {
        let mut value = Vec::with_capacity(parts.iter().map(|part| part.len() + 4).sum());
        for (cql_type, part) in self.types().into_iter().zip(parts) {
            if part.len() > INDEXED_BYTES_MAX {
                return Ok(None);
            }
            let folded = self.folded(part);
            let part = folded.as_deref().map_or(*part, str::as_bytes);
            let part = normalize(cql_type, part)
                .map_err(|error| RequestError::Invalid(format!("invalid value for an index: {error}")))?;
            let mut form = Vec::with_capacity(part.len() + 4);
            ordered::put(cql_type, &part, &mut form);
            put_form(&form, &mut value);
        }
        value.push(TERMINATOR);
        Ok(Some(Bytes::from(value)))
    }

    /// The values from `lower` up to `upper`, each in wire form and true when it is one of them. `None` when one is too
    /// long to be in an index.
    ///
    /// # Errors
    /// `Invalid`, when one is not of the type of the column.
    pub fn range_of(
        &self,
        lower: Option<(&[u8], bool)>,
        upper: Option<(&[u8], bool)>,
    ) -> Result<Option<Slice>, RequestError> {
        // No value is the beginning of another: behind a value and a zero byte come all that are larger.
        let bound = |value: &[u8], behind: bool| {
            let value = self.value_of(&[value])?;
            let after = |value: Bytes| if behind { Slice::of_row(&value).end } else { value };
            Ok::<_, RequestError>(value.map(after))
        };
        let Slice { mut start, mut end } = Slice::all();
        if let Some((value, included)) = lower {
            let Some(bound) = bound(value, !included)? else { return Ok(None) };
            start = bound;
        }
        if let Some((value, included)) = upper {
            let Some(bound) = bound(value, included)? else { return Ok(None) };
            end = bound;
        }
        Ok(Some(Slice { start, end }))
    }

    /// How many bytes at the start of `rest` are a value of it.
    ///
    /// # Errors
    /// When it does not start with one.
    pub fn value_length(&self, rest: &[u8]) -> Result<usize, CodecError> {
        const INVALID: CodecError = CodecError::Invalid("indexed value");
        let mut left = rest;
        for cql_type in self.types() {
            match left.split_first() {
                Some((&NEXT_COMPONENT, rest)) => {
                    left = rest;
                    ordered::take(cql_type, &mut left, false)?;
                }
                Some((&EMPTY_COMPONENT, rest)) if cql_type.has_empty_value() => left = rest,
                _ => return Err(INVALID),
            }
        }
        left = left.strip_prefix(&[TERMINATOR]).ok_or(INVALID)?;
        Ok(rest.len() - left.len())
    }

    /// The value of one element of a collection; `None` for one that is too long.
    fn value_of_cell(&self, path: &[u8], value: &[u8]) -> Result<Option<Bytes>, CodecError> {
        const INVALID: CodecError = CodecError::Invalid("indexed value");
        match (self.target.part, &self.column.cql_type) {
            // The path is the element, or the key, in its form already.
            (IndexedPart::Keys, _) | (IndexedPart::Values, CqlType::Set { .. }) => {
                Ok((path.len() <= INDEXED_BYTES_MAX).then(|| joined(&[path])))
            }
            (IndexedPart::Entries, CqlType::Map { entry, .. }) => {
                if path.len().max(value.len()) > INDEXED_BYTES_MAX {
                    return Ok(None);
                }
                let mut form = Vec::new();
                ordered::put(&entry.1, &normalize(&entry.1, value).map_err(|_| INVALID)?, &mut form);
                Ok(Some(joined(&[path, &form])))
            }
            _ => self.value_of(&[value]).map_err(|_| INVALID),
        }
    }

    /// The values that a record has, for one who reads at `now_seconds`.
    fn values(
        &self,
        partition: &PartitionKey,
        key: &RecordKey,
        row: &Row,
        now_seconds: i64,
    ) -> Result<Vec<Bytes>, CodecError> {
        let value_of = |value: &[u8]| self.value_of(&[value]).map_err(|_| CodecError::Invalid("indexed value"));
        let mut values = Vec::new();
        match (self.column.kind, key) {
            (_, RecordKey::Deletions) => {}
            (ColumnKind::PartitionKey(_), _) if row.is_live(now_seconds) => values = self.key_values(partition)?,
            (ColumnKind::Clustering(position, _), RecordKey::Row(clustering)) if row.is_live(now_seconds) => {
                let components = decode_clustering(self.table, clustering)?;
                let component = components.get(position as usize).ok_or(CodecError::Invalid("clustering key"))?;
                values.extend(value_of(component)?);
            }
            (ColumnKind::Static, RecordKey::Static) | (ColumnKind::Regular, RecordKey::Row(_)) => {
                if let Some(value) = row.cell(self.column.id).and_then(|cell| cell.value(now_seconds)) {
                    values.extend(value_of(value)?);
                }
                let cells = row.complex_column(self.column.id).into_iter().flat_map(|column| column.cells());
                for (path, value) in cells.filter_map(|(path, cell)| Some((path, cell.value(now_seconds)?))) {
                    values.extend(self.value_of_cell(path, value)?);
                }
            }
            _ => {}
        }
        Ok(values)
    }

    /// The value of a partition, for the index of a partition key column; else none.
    fn key_values(&self, partition: &PartitionKey) -> Result<Vec<Bytes>, CodecError> {
        let ColumnKind::PartitionKey(position) = self.column.kind else { return Ok(Vec::new()) };
        let components = partition.components(self.table.partition_key().count())?;
        let component = components.get(position as usize).ok_or(CodecError::Invalid("partition key"))?;
        let value = self.value_of(&[component]).map_err(|_| CodecError::Invalid("indexed value"))?;
        Ok(value.into_iter().collect())
    }

    /// X1: adds to `entries` those of a record.
    ///
    /// # Errors
    /// When the record is not one of the table.
    pub fn add_entries(
        &self,
        partition: &PartitionKey,
        key: &RecordKey,
        row: &Row,
        entries: &mut Vec<IndexEntry>,
    ) -> Result<(), CodecError> {
        let clustering = match key {
            RecordKey::Row(clustering) if !self.names_partitions() => Some(clustering.clone()),
            _ => None,
        };
        let values = self.values(partition, key, row, BEFORE_ALL)?;
        entries.extend(values.into_iter().map(|value| {
            let clustering = clustering.clone();
            IndexEntry { target: self.target, value, clustering }
        }));
        Ok(())
    }

    /// The rows whose record says whether an entry is stale, as a read; `None` for the index of a partition key
    /// column: its entries say the same as what they name.
    #[must_use]
    pub fn read_of(&self, row: &IndexedRow, now_seconds: u32) -> Option<ReadCommand> {
        if matches!(self.column.kind, ColumnKind::PartitionKey(_)) {
            return None;
        }
        let slice = match &row.clustering {
            Some(clustering) => Slice::of_row(clustering),
            None => Slice::nowhere(),
        };
        Some(ReadCommand {
            table: self.table.id,
            partition: row.partition.clone(),
            slices: vec![slice],
            reversed: false,
            static_row: row.clustering.is_none(),
            row_limit: 1,
            bytes_limit: u32::MAX,
            now_seconds,
            tombstone_limit: u32::MAX,
            gc_before_seconds: 0,
            dropped_columns: self.table.drops(),
        })
    }

    /// What `data`, the answer to [`TableIndex::read_of`], says of the entry of `value` for `row`.
    ///
    /// # Errors
    /// When it cannot be decoded.
    pub fn state_of(
        &self,
        row: &IndexedRow,
        value: &Bytes,
        data: &ReadData,
        now_seconds: u32,
    ) -> Result<EntryState, CodecError> {
        let record = match &row.clustering {
            Some(clustering) => data.rows.first().map(|(_, record)| (RecordKey::Row(clustering.clone()), record)),
            None => data.static_row.as_ref().map(|record| (RecordKey::Static, record)),
        };
        let Some((key, record)) = record else { return Ok(EntryState::Stale) };
        let record = Row::from_bytes(record)?;
        let has = |now| Ok(self.values(&row.partition, &key, &record, now)?.contains(value));
        Ok(if has(i64::from(now_seconds))? {
            EntryState::Current
        } else if has(BEFORE_ALL)? {
            EntryState::Expired
        } else {
            EntryState::Stale
        })
    }
}

/// Appends a part in its form. Only the value of no bytes, of a type that has others, has an empty one: what stands
/// before it says that it is there, as in keys.
fn put_form(form: &[u8], value: &mut Vec<u8>) {
    value.push(if form.is_empty() { EMPTY_COMPONENT } else { NEXT_COMPONENT });
    value.extend_from_slice(form);
}

/// The value of these parts, each in its form.
fn joined(forms: &[&[u8]]) -> Bytes {
    let mut value = Vec::with_capacity(forms.iter().map(|form| form.len() + 1).sum::<usize>() + 1);
    for form in forms {
        put_form(form, &mut value);
    }
    value.push(TERMINATOR);
    Bytes::from(value)
}

/// What an entry is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryState {
    /// The row has the value.
    Current,
    /// The row has the value no more, but it is stored.
    Expired,
    /// Nothing stored says so: the entry can go.
    Stale,
}

/// The entries of the records of one partition: what is written with them.
///
/// # Errors
/// When a record is not one of the table.
pub fn entries_of(table: &Table, partition: &PartitionKey, records: &[Record]) -> Result<Vec<IndexEntry>, CodecError> {
    let mut entries = Vec::new();
    if table.indexes.is_empty() {
        return Ok(entries);
    }
    let indexes: Vec<TableIndex<'_>> = TableIndex::all(table).collect();
    for record in records.iter().filter(|record| record.key != RecordKey::Deletions) {
        let row = Row::from_bytes(&record.value)?;
        for index in &indexes {
            index.add_entries(partition, &record.key, &row, &mut entries)?;
        }
    }
    entries.sort_unstable();
    entries.dedup();
    Ok(entries)
}

/// Refuses a value that is too long for an index of its table.
///
/// # Errors
/// `Invalid`, in Cassandra's words.
pub fn check_indexed_values(table: &Table, mutation: &Mutation) -> Result<(), RequestError> {
    for index in &table.indexes {
        let Some(own) = TableIndex::new(table, IndexTarget::of(index)) else { continue };
        for record in &mutation.records {
            let fits = match (own.column.kind, &record.key) {
                (ColumnKind::Regular, RecordKey::Row(_)) | (ColumnKind::Static, RecordKey::Static) => {
                    longest_of(&own, &record.value).map_err(|error| RequestError::Server(error.to_string()))?
                }
                _ => 0,
            };
            if fits > INDEXED_BYTES_MAX {
                return Err(RequestError::Invalid(format!(
                    "Cannot index value of size {fits} for index {} on {}.{}({}) (maximum allowed \
                     size={INDEXED_BYTES_MAX})",
                    index.name, table.keyspace, table.name, own.column.name
                )));
            }
        }
    }
    Ok(())
}

/// The length of the longest part of an encoded row that an index is on.
fn longest_of(index: &TableIndex<'_>, record: &Bytes) -> Result<usize, CodecError> {
    let row = Row::from_bytes(record)?;
    let whole = row.cell(index.column.id).and_then(|cell| cell.value(BEFORE_ALL));
    let whole = whole.map_or(0, |value| index.folded(value).map_or(0, |folded| folded.len()).max(value.len()));
    let column = row.complex_column(index.column.id);
    let cells = column.into_iter().flat_map(|column| column.cells());
    let parts = cells.filter_map(|(path, cell)| {
        let value = cell.value(BEFORE_ALL)?.len();
        Some(match (index.target.part, &index.column.cql_type) {
            (IndexedPart::Keys, _) | (_, CqlType::Set { .. }) => path.len(),
            (IndexedPart::Entries, _) => value.max(path.len()),
            _ => value,
        })
    });
    Ok(parts.max().unwrap_or(0).max(whole))
}

impl IndexCommand {
    /// Checks that it is a command that a replica can serve.
    ///
    /// # Errors
    /// When a part of it is not what it must be.
    pub fn validate(&self) -> Result<(), CodecError> {
        validate_slices(&self.slices)?;
        validate_slices(std::slice::from_ref(&self.values))?;
        let inside = |partition: &PartitionKey| self.range.contains(partition.token);
        let sound = self.range.start < self.range.end
            && self.limit > 0
            && self.partition.as_ref().is_none_or(inside)
            && self.resume.as_ref().is_none_or(|resume| inside(&resume.partition));
        if sound { Ok(()) } else { Err(CodecError::Invalid("index command")) }
    }

    /// The one value that is looked up; `None` for a range of them.
    #[must_use]
    pub fn one_value(&self) -> Option<&Bytes> {
        let Slice { start, end } = &self.values;
        (end.strip_suffix(&[0]) == Some(start.as_ref())).then_some(start)
    }

    fn has_one_of(&self, values: &[Bytes]) -> bool {
        values.iter().any(|value| self.values.contains(value))
    }

    /// True when a row that an index names is one of those that were asked for.
    #[must_use]
    pub fn wants(&self, row: &IndexedRow) -> bool {
        let in_slices = |clustering: &Bytes| self.slices.iter().any(|slice| slice.contains(clustering));
        self.range.contains(row.partition.token)
            && self.partition.as_ref().is_none_or(|partition| *partition == row.partition)
            && self.resume.as_ref().is_none_or(|resume| !resume.covers(row))
            && row.clustering.as_ref().is_none_or(in_slices)
    }

    /// True when `data` answers it: in order, within what was asked for, and its end not before its last row.
    #[must_use]
    pub fn is_answered_by(&self, data: &IndexData) -> bool {
        let ascending = data.rows.windows(2).all(|pair| pair[1].covers(&pair[0]) && !pair[0].covers(&pair[1]));
        let sound = |row: &IndexedRow| Token::of(&row.partition.bytes) == row.partition.token && self.wants(row);
        let advances = data.next.as_ref().is_none_or(|next| {
            self.range.contains(next.partition.token)
                && self.resume.as_ref().is_none_or(|resume| !resume.covers(next))
                && data.rows.last().is_none_or(|last| next.covers(last))
        });
        ascending && advances && data.rows.iter().all(sound)
    }

    /// The scan of the table of which [`IndexCommand::found_in`] makes the answer: what a replica does that has not
    /// built the index yet. `bytes_limit` is that of its page.
    #[must_use]
    pub fn scan(&self, index: &TableIndex<'_>, bytes_limit: u32) -> ScanCommand {
        let slices = match index.column.kind {
            ColumnKind::Static => vec![Slice::nowhere()],
            ColumnKind::PartitionKey(_) => vec![Slice::all()],
            ColumnKind::Clustering(..) | ColumnKind::Regular => self.slices.clone(),
        };
        let mut range = self.range;
        let mut resume = self.resume.as_ref().map(ScanPosition::from);
        if let Some(begun) = self.resume.as_ref().filter(|row| index.names_partitions() && row.clustering.is_some()) {
            // The partition is named again, and perhaps others with its token that are not wanted.
            (range.start, resume) = (Token(begun.partition.token.0 - 1), None);
        }
        ScanCommand {
            table: self.table,
            range,
            resume,
            slices,
            static_row: index.names_partitions(),
            row_limit: u32::MAX,
            per_partition_limit: if index.names_partitions() { 1 } else { u32::MAX },
            bytes_limit,
            now_seconds: self.now_seconds,
            tombstone_limit: u32::MAX,
            bulk: true,
            dropped_columns: index.table.drops(),
        }
    }

    /// The answer, of a page of [`IndexCommand::scan`].
    ///
    /// # Errors
    /// When a row cannot be decoded.
    pub fn found_in(&self, index: &TableIndex<'_>, page: &ScanData) -> Result<IndexData, CodecError> {
        let (mut found, mut bytes) = (IndexData::default(), 0);
        let now = i64::from(self.now_seconds);
        for (partition, data) in &page.partitions {
            let by_key = self.has_one_of(&index.key_values(partition)?);
            let fixed = data.static_row.iter().map(|record| (RecordKey::Static, record));
            let rows = data.rows.iter().map(|(clustering, record)| (RecordKey::Row(clustering.clone()), record));
            for (key, record) in fixed.chain(rows) {
                // Whatever is in it: of a partition that begins with many dead rows only those were scanned.
                if !by_key && !self.has_one_of(&index.values(partition, &key, &Row::from_bytes(record)?, now)?) {
                    continue;
                }
                let clustering = match key {
                    RecordKey::Row(clustering) if !index.names_partitions() => Some(clustering),
                    _ => None,
                };
                let row = IndexedRow { partition: partition.clone(), clustering };
                if !self.wants(&row) || found.rows.last() == Some(&row) {
                    continue;
                }
                if found.rows.len() >= self.limit as usize || bytes >= PAGE_BYTES_MAX {
                    found.next = found.rows.last().cloned();
                    return Ok(found);
                }
                bytes += row.bytes();
                found.rows.push(row);
            }
        }
        found.next = page.next.as_ref().map(IndexedRow::from);
        if let Some(next) = found.next.as_mut().filter(|_| index.names_partitions()) {
            // Whether a partition has the value was seen with its first record.
            next.clustering = None;
        }
        Ok(found)
    }
}

impl IndexData {
    /// What it takes in memory and in messages, about, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.rows.iter().map(IndexedRow::bytes).sum()
    }

    /// Merges well-formed answers of replicas: every row that one of them has the value for, up to where all are
    /// complete. With `trusting_one`, a planted bug, the first one's answer.
    #[must_use]
    pub fn merge(answers: &[&IndexData], trusting_one: bool) -> IndexData {
        let answers = if trusting_one { &answers[..answers.len().min(1)] } else { answers };
        let mut next: Option<&IndexedRow> = None;
        for end in answers.iter().filter_map(|data| data.next.as_ref()) {
            if next.is_none_or(|next| next.covers(end)) {
                next = Some(end);
            }
        }
        let mut rows: Vec<&IndexedRow> = answers.iter().flat_map(|data| &data.rows).collect();
        rows.retain(|row| next.is_none_or(|next| next.covers(row)));
        // Rows of one answer are all of rows or all of partitions.
        rows.sort_by(|a, b| a.partition.cmp(&b.partition).then_with(|| a.clustering.cmp(&b.clustering)));
        rows.dedup();
        IndexData { rows: rows.into_iter().cloned().collect(), next: next.cloned() }
    }
}

impl Encode for IndexTarget {
    fn encode(&self, out: &mut Vec<u8>) {
        self.column.encode(out);
        self.part.encode(out);
    }
}

impl Decode for IndexTarget {
    fn decode(reader: &mut Reader) -> Result<IndexTarget, CodecError> {
        Ok(IndexTarget { column: ColumnId::decode(reader)?, part: IndexedPart::decode(reader)? })
    }
}

impl Encode for IndexedRow {
    fn encode(&self, out: &mut Vec<u8>) {
        self.partition.encode(out);
        put_option(out, self.clustering.as_ref());
    }
}

impl Decode for IndexedRow {
    fn decode(reader: &mut Reader) -> Result<IndexedRow, CodecError> {
        Ok(IndexedRow { partition: PartitionKey::decode(reader)?, clustering: reader.option()? })
    }
}

impl Encode for IndexCommand {
    fn encode(&self, out: &mut Vec<u8>) {
        self.table.encode(out);
        self.target.encode(out);
        self.values.encode(out);
        self.range.encode(out);
        put_option(out, self.partition.as_ref());
        put_sequence(out, &self.slices);
        put_option(out, self.resume.as_ref());
        self.limit.encode(out);
        self.now_seconds.encode(out);
    }
}

impl Decode for IndexCommand {
    fn decode(reader: &mut Reader) -> Result<IndexCommand, CodecError> {
        let command = IndexCommand {
            table: TableId::decode(reader)?,
            target: IndexTarget::decode(reader)?,
            values: Slice::decode(reader)?,
            range: TokenRange::decode(reader)?,
            partition: reader.option()?,
            slices: reader.sequence()?,
            resume: reader.option()?,
            limit: reader.varint_u32()?,
            now_seconds: reader.varint_u32()?,
        };
        command.validate()?;
        Ok(command)
    }
}

impl Encode for IndexData {
    fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.rows.len() as u64);
        self.rows.iter().for_each(|row| row.encode(out));
        put_option(out, self.next.as_ref());
    }
}

impl Decode for IndexData {
    fn decode(reader: &mut Reader) -> Result<IndexData, CodecError> {
        let mut rows = Vec::new();
        for _ in 0..reader.count()? {
            rows.push(IndexedRow::decode(reader)?);
        }
        Ok(IndexData { rows, next: reader.option()? })
    }
}

#[cfg(test)]
#[path = "index_tests.rs"]
mod tests;
