//! SELECT: the plan, and the plan with its values: which partitions and rows it reads.

use crate::filter::Filter;
use crate::operand::{Arguments, BoundValue, ColumnSpec, Operand};
use crate::restriction::{IndexPlan, WherePlan};
use crate::result::ReadPosition;
use crate::selection::{BoundSelection, Selection};
use bytes::Bytes;
use model::garbage::gc_before;
use model::index::TableIndex;
use model::read::Slice;
use model::scan::ScanPosition;
use model::schema::{ColumnKind, Table};
use model::{
    CqlType, IndexCommand, IndexTarget, IndexedRow, PartitionKey, ReadCommand, RequestError, ScanCommand, Token,
    TokenRange, Value, WallMicros,
};
use std::sync::Arc;
use std::time::Duration;

use crate::evaluation::EvaluationContext;

/// Which rows one row of the result stands for.
#[derive(Clone, Debug)]
pub(crate) enum Grouping {
    /// Itself.
    None,
    /// All that are read, since there are aggregates.
    All,
    /// Those of one partition whose first clustering columns, so many, are the same.
    Rows {
        columns: usize,
        /// What the last of these columns is grouped by, in place of its value.
        last: Option<Operand>,
    },
}

/// A read before values are bound.
#[derive(Debug)]
pub(crate) struct ReadPlan {
    pub(crate) table: Arc<Table>,
    pub(crate) restrictions: WherePlan,
    pub(crate) selection: Selection,
    pub(crate) grouping: Grouping,
    pub(crate) distinct: bool,
    /// True for SELECT JSON: the row of the result is one text.
    pub(crate) json: bool,
    /// True to read each partition from its last row to its first.
    pub(crate) reversed: bool,
    /// The clustering columns, by position, and true for DESC, by which the rows of several partitions are sorted.
    pub(crate) sorting: Vec<(usize, bool)>,
    pub(crate) limit: Option<Operand>,
    pub(crate) per_partition_limit: Option<Operand>,
    /// USING TIMEOUT.
    pub(crate) timeout: Option<Operand>,
    /// True when what is read does not take the place of other data in caches.
    pub(crate) bypasses_cache: bool,
    /// The columns of the result.
    pub(crate) columns: Vec<ColumnSpec>,
    /// True when a partition without rows counts as a row by its static columns.
    pub(crate) counts_static: bool,
}

impl ReadPlan {
    pub(crate) fn bind<'a>(self: &'a Arc<ReadPlan>, arguments: Arguments<'a>) -> Result<BoundRead, RequestError> {
        let table = &self.table;
        let slices = self.restrictions.slices(table, arguments)?;
        let source = match self.restrictions.partitions(table, arguments)? {
            _ if slices.is_empty() => ReadSource::Partitions(Vec::new()),
            (Some(keys), _) => ReadSource::Partitions(keys),
            (None, Some(range)) => ReadSource::Range(range),
            (None, None) => ReadSource::Partitions(Vec::new()),
        };
        let mut filters = Vec::with_capacity(self.restrictions.filters.len());
        for filter in &self.restrictions.filters {
            filters.push(filter.bind(&table.columns[filter.column], arguments)?);
        }
        let (source, index) = match &self.restrictions.index {
            Some(plan) => self.by_index(plan, &filters, source)?,
            None => (source, None),
        };
        let grouping = match &self.grouping {
            Grouping::Rows { columns, last: Some(last) } => {
                Grouping::Rows { columns: *columns, last: Some(last.bind(arguments)?) }
            }
            other => other.clone(),
        };
        Ok(BoundRead {
            plan: Arc::clone(self),
            source,
            slices,
            filters,
            index,
            grouping,
            selection: self.selection.bind(arguments)?,
            limit: limit(arguments, self.limit.as_ref(), "LIMIT")?,
            per_partition_limit: limit(arguments, self.per_partition_limit.as_ref(), "PER PARTITION LIMIT")?,
            timeout: timeout(arguments, self.timeout.as_ref())?,
            context: arguments.context().borrow().clone(),
        })
    }

    /// The source of a read by an index: the tokens whose partitions are looked up, and what is looked up in them.
    fn by_index(
        &self,
        plan: &IndexPlan,
        filters: &[Filter],
        source: ReadSource,
    ) -> Result<(ReadSource, Option<BoundIndex>), RequestError> {
        let Some(index) = TableIndex::new(&self.table, plan.target) else { return Ok((source, None)) };
        let filters = &filters[..plan.filters.min(filters.len())];
        let (range, partition) = match &source {
            ReadSource::Range(range) => (*range, None),
            ReadSource::Partitions(keys) => match keys.as_slice() {
                [only] => (TokenRange { start: Token(only.token.0 - 1), end: only.token }, Some(only.clone())),
                // None is left: several, by IN, are refused before.
                _ => return Ok((source, None)),
            },
        };
        let values = match filters.first().and_then(Filter::indexed_parts) {
            Some(parts) => index.value_of(&parts)?.map(|value| Slice::of_row(&value)),
            None => {
                let (mut lower, mut upper) = (None, None);
                for bounds in filters.iter().filter_map(Filter::indexed_bounds) {
                    (lower, upper) = (bounds.0.or(lower), bounds.1.or(upper));
                }
                index.range_of(lower, upper)?
            }
        };
        let Some(values) = values else {
            return Err(RequestError::Invalid("Index expression values may not be larger than 64K".to_owned()));
        };
        if values.start >= values.end {
            return Ok((ReadSource::Partitions(Vec::new()), None));
        }
        Ok((ReadSource::Range(range), Some(BoundIndex { target: plan.target, values, partition })))
    }

    /// True when a row of the result needs the values of clustering columns.
    pub(crate) fn reads_clustering(&self) -> bool {
        let kind = |column: usize| self.table.columns[column].kind;
        matches!(&self.grouping, Grouping::Rows { columns: 1.., .. })
            || !self.sorting.is_empty()
            || self.selection.columns_read().any(|column| matches!(kind(column), ColumnKind::Clustering(..)))
    }

    /// True when static columns are read.
    fn reads_static(&self) -> bool {
        let is_static = |column: usize| crate::selection::is_static(&self.table, column);
        self.counts_static
            || self.selection.columns_read().any(is_static)
            || self.restrictions.filters.iter().any(|filter| is_static(filter.column))
    }
}

/// A limit of rows: `None` when it is not given or unset.
fn limit<'a>(arguments: Arguments<'a>, operand: Option<&'a Operand>, name: &str) -> Result<Option<u32>, RequestError> {
    match arguments.int(operand)? {
        None => Ok(None),
        Some(None) => Err(RequestError::Invalid(format!("Invalid null value of {}", name.to_lowercase()))),
        Some(Some(limit)) => match u32::try_from(limit) {
            Ok(limit) if limit > 0 => Ok(Some(limit)),
            // As in Cassandra, whichever limit it is.
            _ => Err(RequestError::Invalid("LIMIT must be strictly positive".to_owned())),
        },
    }
}

/// The longest time that a request may be given.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(600);

/// The time that a read may take: `None` when it is not given, null or unset.
fn timeout<'a>(arguments: Arguments<'a>, operand: Option<&'a Operand>) -> Result<Option<Duration>, RequestError> {
    let Some(operand) = operand else { return Ok(None) };
    let BoundValue::Value(wire) = arguments.value(operand)?.into_owned() else { return Ok(None) };
    let whole_milliseconds = match Value::from_wire(&CqlType::Duration, &wire) {
        Ok(Value::Duration { months: 0, days: 0, nanoseconds }) if nanoseconds > 0 => {
            u64::try_from(nanoseconds).ok().filter(|nanoseconds| nanoseconds.is_multiple_of(1_000_000))
        }
        _ => None,
    };
    let refused = |message: &str| Err(RequestError::Invalid(message.to_owned()));
    match whole_milliseconds.map(Duration::from_nanos) {
        None => refused("A timeout is more than 0, of hours, minutes, seconds and milliseconds: 50ms"),
        Some(timeout) if timeout > TIMEOUT_MAX => refused("A timeout is at most ten minutes: 10m"),
        some => Ok(some),
    }
}

/// Which partitions a read visits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadSource {
    /// These, each once, in this order; perhaps none.
    Partitions(Vec<PartitionKey>),
    /// All whose tokens are in this range, in the order of their keys; when [`BoundRead::names_index`] those that the
    /// index names.
    Range(TokenRange),
}

/// What a read looks up in an index.
#[derive(Clone, Debug, PartialEq, Eq)]
struct BoundIndex {
    target: IndexTarget,
    /// In the form of keys.
    values: Slice,
    /// The one partition that rows are wanted of.
    partition: Option<PartitionKey>,
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
    /// Ascending and disjoint; empty when no row can match.
    slices: Vec<Slice>,
    pub(crate) filters: Vec<Filter>,
    index: Option<BoundIndex>,
    pub(crate) grouping: Grouping,
    pub(crate) selection: BoundSelection,
    limit: Option<u32>,
    pub(crate) per_partition_limit: Option<u32>,
    pub(crate) timeout: Option<Duration>,
    /// For the functions of the selection.
    pub(crate) context: EvaluationContext,
}

impl BoundRead {
    pub(crate) fn plan(&self) -> &Arc<ReadPlan> {
        &self.plan
    }

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

    /// USING TIMEOUT: how long it may take, if the statement says so.
    #[must_use]
    pub fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// True when no row can match, since no partition or no row is selected: nothing needs to be read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(&self.source, ReadSource::Partitions(keys) if keys.is_empty())
    }

    /// The partitions that the read visits.
    #[must_use]
    pub fn source(&self) -> ReadSource {
        self.source.clone()
    }

    /// The partitions that the read names by their keys, also those that it looks up in an index.
    #[must_use]
    pub fn partitions(&self) -> Option<&[PartitionKey]> {
        match (&self.source, &self.index) {
            (ReadSource::Partitions(keys), _) => Some(keys),
            (ReadSource::Range(_), Some(index)) => index.partition.as_ref().map(std::slice::from_ref),
            (ReadSource::Range(_), None) => None,
        }
    }

    /// The same read of other partitions.
    #[must_use]
    pub fn over(self, source: ReadSource) -> BoundRead {
        BoundRead { source, ..self }
    }

    /// What the client should know of this read, in Cassandra's words.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let plan = &self.plan;
        if plan.selection.aggregates.is_empty() && matches!(plan.grouping, Grouping::None) {
            return Vec::new();
        }
        let warning = if !plan.restrictions.names_partitions {
            "Aggregation query used without partition key"
        } else if plan.restrictions.is_in {
            "Aggregation query used on multiple partition keys (IN restriction)"
        } else {
            return Vec::new();
        };
        vec![warning.to_owned()]
    }

    /// True when the whole result has to be one page, since its rows are sorted all together.
    #[must_use]
    pub fn is_one_page(&self) -> bool {
        !self.plan.sorting.is_empty()
    }

    /// True when `position` is one that this read can come to.
    pub(crate) fn holds(&self, position: &ReadPosition) -> bool {
        let visits = match &self.source {
            ReadSource::Partitions(keys) => keys.contains(&position.partition),
            ReadSource::Range(range) => range.contains(position.partition.token),
        };
        let reads = |within: &Bytes| self.slices.iter().any(|slice| slice.contains(within));
        visits && position.within.as_ref().is_none_or(reads)
    }

    /// True when every live row that is read becomes a row of the result.
    pub(crate) fn is_plain(&self) -> bool {
        self.filters.is_empty() && matches!(self.grouping, Grouping::None) && self.plan.sorting.is_empty()
    }

    /// The most live rows that are needed of a partition.
    fn rows_of_partition(&self) -> u32 {
        match self.per_partition_limit {
            // One that is live says that the partition is.
            _ if self.plan.distinct && self.is_plain() => 1,
            Some(limit) if self.is_plain() => limit,
            _ => u32::MAX,
        }
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
            static_row: self.plan.reads_static(),
            row_limit: limits.rows.min(self.rows_of_partition()).max(1),
            bytes_limit: limits.bytes.max(1),
            now_seconds,
            gc_before_seconds: gc_before(now_seconds, self.plan.table.options.gc_grace_seconds),
            dropped_columns: self.plan.table.drops(),
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
            static_row: self.plan.reads_static(),
            row_limit: limits.rows.max(1),
            per_partition_limit: self.rows_of_partition(),
            bytes_limit: limits.bytes.max(1),
            now_seconds: now.clamped_seconds(),
            tombstone_limit: limits.tombstones,
            bulk: self.plan.bypasses_cache,
            dropped_columns: self.plan.table.drops(),
        }
    }

    /// True when rows are found by an index: [`BoundRead::index_command`] finds candidates, and of each partition that
    /// has some those are read, by [`BoundRead::partition_command`] with their slices.
    #[must_use]
    pub fn names_index(&self) -> bool {
        self.index.is_some()
    }

    /// How many of the first filters say what is looked up in the index.
    pub(crate) fn filters_looked_up(&self) -> usize {
        if self.names_index() { self.plan.restrictions.index.map_or(0, |index| index.filters) } else { 0 }
    }

    /// The name of the index by which rows are found.
    pub(crate) fn index_name(&self) -> Option<&str> {
        let target = self.index.as_ref()?.target;
        let own = self.plan.table.indexes.iter().find(|index| IndexTarget::of(index) == target)?;
        Some(&own.name)
    }

    /// The command that finds candidates in `range`, from `resume` on, as of `now`; `None` for a read without index.
    #[must_use]
    pub fn index_command(
        &self,
        range: TokenRange,
        resume: Option<IndexedRow>,
        limit: u32,
        now: WallMicros,
    ) -> Option<IndexCommand> {
        let BoundIndex { target, values, partition } = self.index.clone()?;
        let (table, slices, now_seconds) = (self.plan.table.id, self.slices(), now.clamped_seconds());
        Some(IndexCommand { table, target, values, range, partition, slices, resume, limit, now_seconds })
    }

    /// The rows selected of each partition: ascending and disjoint; empty for none.
    pub(crate) fn selected_rows(&self) -> &[Slice] {
        &self.slices
    }

    /// The rows wanted of each partition.
    #[must_use]
    pub fn slices(&self) -> Vec<Slice> {
        if self.slices.is_empty() { vec![Slice::nowhere()] } else { self.slices.clone() }
    }

    /// The columns of the result.
    #[must_use]
    pub fn result_columns(&self) -> &[ColumnSpec] {
        &self.plan.columns
    }

    /// True for filters of the partition key, of static columns or of rows.
    pub(crate) fn filters_of(&self, wanted: impl Fn(ColumnKind) -> bool) -> impl Iterator<Item = &Filter> {
        self.filters.iter().filter(move |filter| wanted(self.plan.table.columns[filter.column].kind))
    }
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;
