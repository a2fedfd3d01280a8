//! SELECT: the plan, the plan with its values, and the rows of the result.

use crate::operand::{Arguments, ColumnSpec, Operand};
use crate::restriction::{KeyPlan, Rows};
use crate::result::ReadPosition;
use bytes::Bytes;
use model::element;
use model::garbage::gc_before;
use model::key::decode_clustering;
use model::read::Slice;
use model::scan::ScanPosition;
use model::schema::Table;
use model::{ColumnId, PartitionKey, ReadCommand, RequestError, Row, ScanCommand, TokenRange, WallMicros};
use std::sync::Arc;

/// Where a column of the result comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ResultSource {
    /// The component of the partition key at this position.
    PartitionKey(usize),
    /// The component of the clustering key at this position.
    Clustering(usize),
    /// A cell of the row.
    Cell(ColumnId),
    /// A complex column of the row.
    Complex(ColumnId),
}

/// A read before values are bound.
#[derive(Debug)]
pub(crate) struct ReadPlan {
    pub(crate) table: Arc<Table>,
    pub(crate) key: KeyPlan,
    pub(crate) reversed: bool,
    pub(crate) limit: Option<Operand>,
    pub(crate) columns: Vec<ColumnSpec>,
    /// One for each of `columns`.
    pub(crate) sources: Vec<ResultSource>,
}

impl ReadPlan {
    pub(crate) fn bind<'a>(self: &'a Arc<ReadPlan>, arguments: Arguments<'a>) -> Result<BoundRead, RequestError> {
        let components = self.key.partition_values(&self.table, arguments)?;
        let partition = match self.key.is_range() {
            true => None,
            false => Some(PartitionKey::from_components(&components)?),
        };
        let slice = match self.key.rows(&self.table, arguments)? {
            Rows::One(clustering) => Some(slice_of_row(clustering)),
            Rows::Slice(slice) => Some(slice),
            Rows::All => Some(Slice::all()),
            Rows::Nothing => None,
        };
        let limit = match arguments.int(self.limit.as_ref())? {
            None => None,
            Some(None) => return Err(RequestError::Invalid("Invalid null value of limit".to_owned())),
            Some(Some(limit)) => match u32::try_from(limit) {
                Ok(limit) if limit > 0 => Some(limit),
                _ => return Err(RequestError::Invalid("LIMIT must be strictly positive".to_owned())),
            },
        };
        let source = match (&slice, partition) {
            (None, _) => ReadSource::Partitions(Vec::new()),
            (Some(_), Some(partition)) => ReadSource::Partitions(vec![partition]),
            (Some(_), None) => ReadSource::Range(TokenRange::ALL),
        };
        Ok(BoundRead { plan: Arc::clone(self), source, slice, limit })
    }
}

/// The slice that holds the row at `clustering` and no other position: its end is the row's key and a
/// zero byte, by which storage can tell that one key is wanted.
fn slice_of_row(clustering: Bytes) -> Slice {
    let mut end = Vec::with_capacity(clustering.len() + 1);
    end.extend_from_slice(&clustering);
    end.push(0);
    Slice { start: clustering, end: Bytes::from(end) }
}

/// Which partitions a read visits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadSource {
    /// These, each once, in this order; perhaps none.
    Partitions(Vec<PartitionKey>),
    /// All whose tokens are in this range, in the order of their keys.
    Range(TokenRange),
}

/// What one command of a read may answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandLimits {
    /// Live rows at most; at least 1.
    pub rows: u32,
    /// Bytes, but for the last row; at least 1.
    pub bytes: u32,
    /// Tombstones at most.
    pub tombstones: u32,
}

/// A read whose values are known.
#[derive(Clone, Debug)]
pub struct BoundRead {
    plan: Arc<ReadPlan>,
    source: ReadSource,
    /// `None` when the range is empty.
    slice: Option<Slice>,
    limit: Option<u32>,
}

impl BoundRead {
    /// The table read from.
    #[must_use]
    pub fn table(&self) -> &Arc<Table> {
        &self.plan.table
    }

    /// LIMIT: the most rows that the whole result has, over all its pages.
    #[must_use]
    pub fn limit(&self) -> Option<u32> {
        self.limit
    }

    /// True when no row can match, since the range of the clustering column is empty: the result has no
    /// rows, and nothing needs to be read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slice.is_none()
    }

    /// The partitions that the read visits.
    #[must_use]
    pub fn source(&self) -> ReadSource {
        self.source.clone()
    }

    /// The same read of other partitions.
    #[must_use]
    pub fn over(self, source: ReadSource) -> BoundRead {
        BoundRead { source, ..self }
    }

    /// What the client should know of this read, in Cassandra's words.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        Vec::new()
    }

    /// True when `position` is one that this read can come to.
    pub(crate) fn holds(&self, position: &ReadPosition) -> bool {
        let slices = self.slice.iter();
        let visited = match &self.source {
            ReadSource::Partitions(keys) => keys.contains(&position.partition),
            ReadSource::Range(range) => range.contains(position.partition.token),
        };
        visited && position.within.as_ref().is_none_or(|within| slices.clone().any(|slice| slice.contains(within)))
    }

    /// The command that reads what this query needs of `partition`, one of its source, as of `now`.
    #[must_use]
    pub fn partition_command(&self, partition: &PartitionKey, limits: CommandLimits, now: WallMicros) -> ReadCommand {
        let now_seconds = now.clamped_seconds();
        ReadCommand {
            table: self.plan.table.id,
            partition: partition.clone(),
            slices: self.slices(),
            reversed: self.plan.reversed,
            static_row: false,
            row_limit: limits.rows.max(1),
            bytes_limit: limits.bytes.max(1),
            now_seconds,
            gc_before_seconds: gc_before(now_seconds, self.plan.table.options.gc_grace_seconds),
            tombstone_limit: limits.tombstones,
        }
    }

    /// The command that reads what this query needs of the partitions of `range`, from `resume` on, as of `now`.
    #[must_use]
    pub fn scan_command(
        &self,
        range: TokenRange,
        resume: Option<ScanPosition>,
        limits: CommandLimits,
        now: WallMicros,
    ) -> ScanCommand {
        ScanCommand {
            table: self.plan.table.id,
            range,
            resume,
            slices: self.slices(),
            static_row: false,
            row_limit: limits.rows.max(1),
            per_partition_limit: u32::MAX,
            bytes_limit: limits.bytes.max(1),
            now_seconds: now.clamped_seconds(),
            tombstone_limit: limits.tombstones,
            bulk: false,
        }
    }

    /// The rows wanted of each partition.
    fn slices(&self) -> Vec<Slice> {
        // Every encoded clustering key starts above 0x21.
        let nowhere = || Slice { start: Bytes::from_static(&[0x20]), end: Bytes::from_static(&[0x21]) };
        vec![self.slice.clone().unwrap_or_else(nowhere)]
    }

    /// The columns of the result.
    #[must_use]
    pub fn result_columns(&self) -> &[ColumnSpec] {
        &self.plan.columns
    }

    /// One row of the result, in the order of [`BoundRead::result_columns`]: wire values, `None` for null.
    /// `row` is the reconciled row of `partition` at the encoded key `clustering`, live at `now_seconds`.
    ///
    /// # Errors
    /// `Server` when a key is not one of the table, or a stored element not one of its column.
    pub fn project(
        &self,
        partition: &PartitionKey,
        clustering: &Bytes,
        row: &Row,
        now_seconds: u32,
    ) -> Result<Vec<Option<Bytes>>, RequestError> {
        let ReadPlan { table, sources, columns, .. } = self.plan.as_ref();
        let now_seconds = i64::from(now_seconds);
        let wants_clustering = sources.iter().any(|source| matches!(source, ResultSource::Clustering(_)));
        let key = if wants_clustering { decode_clustering(table, clustering).map_err(broken_key)? } else { Vec::new() };
        let wants_partition = sources.iter().any(|source| matches!(source, ResultSource::PartitionKey(_)));
        let count = table.partition_key().count();
        let components = if wants_partition { partition.components(count).map_err(broken_key)? } else { Vec::new() };
        let value = |(source, spec): (&ResultSource, &ColumnSpec)| match source {
            ResultSource::PartitionKey(position) => Ok(components.get(*position).cloned()),
            ResultSource::Clustering(position) => Ok(key.get(*position).cloned()),
            ResultSource::Cell(column) => Ok(row.cell(*column).and_then(|cell| cell.value(now_seconds).cloned())),
            ResultSource::Complex(column) => match row.complex_column(*column) {
                None => Ok(None),
                Some(column) => element::value(&spec.cql_type, column, now_seconds).map_err(broken_element),
            },
        };
        sources.iter().zip(columns).map(value).collect()
    }
}

fn broken_key(error: impl std::fmt::Display) -> RequestError {
    RequestError::Server(format!("a stored key cannot be read: {error}"))
}

fn broken_element(error: impl std::fmt::Display) -> RequestError {
    RequestError::Server(format!("a stored element of a column cannot be read: {error}"))
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;
