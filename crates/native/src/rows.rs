//! Rows, and the metadata that says what they are made of.

use crate::column_type::{put_type, read_type};
use crate::error::{EncodeError, ProtocolError};
use crate::version::Version;
use crate::wire::{Reader, put_bytes, put_count, put_flags, put_short, put_short_bytes, put_string};
use bytes::Bytes;
use model::CqlType;
use std::sync::Arc;

/// A column of a result, or a parameter of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnSpec {
    /// The keyspace of the table.
    pub keyspace: Arc<str>,
    /// The table.
    pub table: Arc<str>,
    /// The column's name or alias; of a parameter its marker's name or what it is for.
    pub name: String,
    /// The type of the values.
    pub cql_type: CqlType,
}

/// What is said of the columns of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Columns {
    /// Only how many there are: the client knows them.
    Omitted(usize),
    /// What they are.
    Sent(Arc<Vec<ColumnSpec>>),
}

/// The metadata of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowsMetadata {
    /// The columns.
    pub columns: Columns,
    /// Where to go on; none on the last page.
    pub paging_state: Option<Bytes>,
    /// The id of the columns, when they are not those that the client knows. Version 5.
    pub new_metadata_id: Option<Bytes>,
}

/// A page of rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rows {
    /// What they are made of.
    pub metadata: RowsMetadata,
    /// The values of each, in their wire form; none for null.
    pub rows: Vec<Vec<Option<Bytes>>>,
}

/// A prepared statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepared {
    /// By which it is executed.
    pub id: Bytes,
    /// The id of the result's columns. Version 5.
    pub result_metadata_id: Option<Bytes>,
    /// The bind markers.
    pub parameters: Arc<Vec<ColumnSpec>>,
    /// Which of them make up the partition key, in its order; empty when not all of it is bound.
    pub partition_key_indexes: Vec<u16>,
    /// What is known of the result; no columns when it is not rows.
    pub result: RowsMetadata,
}

const GLOBAL_TABLE: u32 = 0x0001;
const HAS_MORE_PAGES: u32 = 0x0002;
const NO_METADATA: u32 = 0x0004;
const METADATA_CHANGED: u32 = 0x0008;

/// True when one table's name can stand for that of all columns.
fn of_one_table(columns: &[ColumnSpec]) -> bool {
    columns.split_first().is_some_and(|(first, others)| {
        others.iter().all(|other| (&other.keyspace, &other.table) == (&first.keyspace, &first.table))
    })
}

fn put_columns(out: &mut Vec<u8>, columns: &[ColumnSpec], version: Version) -> Result<(), EncodeError> {
    let global = columns.first().filter(|_| of_one_table(columns));
    if let Some(ColumnSpec { keyspace, table, .. }) = global {
        put_string(out, keyspace)?;
        put_string(out, table)?;
    }
    for column in columns {
        if global.is_none() {
            put_string(out, &column.keyspace)?;
            put_string(out, &column.table)?;
        }
        put_string(out, &column.name)?;
        put_type(out, &column.cql_type, version)?;
    }
    Ok(())
}

fn read_columns(reader: &mut Reader, count: usize, global: bool) -> Result<Arc<Vec<ColumnSpec>>, ProtocolError> {
    // Shared: the names of one table may be long and its columns many.
    let name = |reader: &mut Reader| reader.string().map(Arc::<str>::from);
    let table = |reader: &mut Reader| Ok((name(reader)?, name(reader)?));
    let of_all = if global { Some(table(reader)?) } else { None };
    let mut columns = Vec::new();
    for _ in 0..count {
        let (keyspace, table) = match &of_all {
            Some(names) => names.clone(),
            None => table(reader)?,
        };
        columns.push(ColumnSpec { keyspace, table, name: reader.string()?, cql_type: read_type(reader)? });
    }
    Ok(Arc::new(columns))
}

impl RowsMetadata {
    /// Of a statement that returns no rows.
    #[must_use]
    pub fn none() -> RowsMetadata {
        RowsMetadata { columns: Columns::Omitted(0), paging_state: None, new_metadata_id: None }
    }

    fn columns_count(&self) -> usize {
        match &self.columns {
            Columns::Omitted(count) => *count,
            Columns::Sent(columns) => columns.len(),
        }
    }

    fn encode(&self, out: &mut Vec<u8>, version: Version) -> Result<(), EncodeError> {
        let mut flags = match &self.columns {
            Columns::Omitted(_) => NO_METADATA,
            Columns::Sent(columns) if of_one_table(columns) => GLOBAL_TABLE,
            Columns::Sent(_) => 0,
        };
        if self.paging_state.is_some() {
            flags |= HAS_MORE_PAGES;
        }
        if self.new_metadata_id.is_some() {
            if version < Version::V5 {
                return Err(EncodeError::Version { version, what: "ids of result metadata" });
            }
            flags |= METADATA_CHANGED;
        }
        put_flags(out, flags);
        put_count(out, "list of columns", self.columns_count())?;
        if let Some(state) = &self.paging_state {
            put_bytes(out, Some(state))?;
        }
        if let Some(id) = &self.new_metadata_id {
            put_short_bytes(out, id)?;
        }
        match &self.columns {
            Columns::Omitted(_) => Ok(()),
            Columns::Sent(columns) => put_columns(out, columns, version),
        }
    }

    fn decode(reader: &mut Reader, version: Version) -> Result<RowsMetadata, ProtocolError> {
        let flags = reader.flags()?;
        let count = reader.count("list of columns")?;
        let paging_state = if flags & HAS_MORE_PAGES == 0 { None } else { reader.bytes()? };
        let changed = version >= Version::V5 && flags & METADATA_CHANGED != 0;
        let new_metadata_id = if changed { Some(reader.short_bytes()?) } else { None };
        let columns = if flags & NO_METADATA != 0 {
            Columns::Omitted(count)
        } else {
            Columns::Sent(read_columns(reader, count, flags & GLOBAL_TABLE != 0)?)
        };
        Ok(RowsMetadata { columns, paging_state, new_metadata_id })
    }
}

impl Rows {
    pub(crate) fn encode(&self, out: &mut Vec<u8>, version: Version) -> Result<(), EncodeError> {
        self.metadata.encode(out, version)?;
        put_count(out, "list of rows", self.rows.len())?;
        for value in self.rows.iter().flatten() {
            put_bytes(out, value.as_deref())?;
        }
        Ok(())
    }

    pub(crate) fn decode(reader: &mut Reader, version: Version) -> Result<Rows, ProtocolError> {
        let metadata = RowsMetadata::decode(reader, version)?;
        let (columns, count) = (metadata.columns_count(), reader.count("list of rows")?);
        // Rows of no columns take no bytes: no number of bytes would bound how many there are.
        if columns == 0 && count > 0 {
            return Err(ProtocolError::Invalid("list of rows"));
        }
        let mut rows = Vec::new();
        for _ in 0..count {
            let mut row = Vec::new();
            for _ in 0..columns {
                row.push(reader.bytes()?);
            }
            rows.push(row);
        }
        Ok(Rows { metadata, rows })
    }
}

impl Prepared {
    pub(crate) fn encode(&self, out: &mut Vec<u8>, version: Version) -> Result<(), EncodeError> {
        put_short_bytes(out, &self.id)?;
        if version >= Version::V5 {
            put_short_bytes(out, self.result_metadata_id.as_deref().unwrap_or_default())?;
        }
        put_flags(out, if of_one_table(&self.parameters) { GLOBAL_TABLE } else { 0 });
        put_count(out, "list of parameters", self.parameters.len())?;
        put_count(out, "partition key", self.partition_key_indexes.len())?;
        self.partition_key_indexes.iter().for_each(|index| put_short(out, *index));
        put_columns(out, &self.parameters, version)?;
        self.result.encode(out, version)
    }

    pub(crate) fn decode(reader: &mut Reader, version: Version) -> Result<Prepared, ProtocolError> {
        let id = reader.short_bytes()?;
        let result_metadata_id = if version < Version::V5 { None } else { Some(reader.short_bytes()?) };
        let (flags, count) = (reader.flags()?, reader.count("list of parameters")?);
        let mut partition_key_indexes = Vec::new();
        for _ in 0..reader.count("partition key")? {
            partition_key_indexes.push(reader.short()?);
        }
        let parameters = read_columns(reader, count, flags & GLOBAL_TABLE != 0)?;
        let result = RowsMetadata::decode(reader, version)?;
        Ok(Prepared { id, result_metadata_id, parameters, partition_key_indexes, result })
    }
}
