//! A write with IF, or one that must be decided on for another reason, once its values are known: what must be read to
//! decide on it, and what follows from what is there.
//!
//! The result is Cassandra's (`ModificationStatement.buildCasResultSet`, `CQL3CasRequest`): a row `[applied]`; of a
//! refusal beside it the values that the conditions ask for, of a batch with the primary key before them, and with IF
//! EXISTS or IF NOT EXISTS those of all columns. A refusal for what is not there has no values.

use crate::condition::{Conditions, column_value};
use crate::operand::ColumnSpec;
use crate::selection::all_columns;
use crate::slices::SliceSet;
use crate::write::BoundWrite;
use bytes::Bytes;
use model::codec::CodecError;
use model::garbage::gc_before;
use model::key::decode_clustering;
use model::read::Slice;
use model::schema::{Column, ColumnKind, Table};
use model::{CqlType, PartitionKey, ReadCommand, RequestError, Row, Value, WallMicros};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a statement asks of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RowConditions {
    /// The row; `None` for the static row of the partition.
    pub(crate) row: Option<Bytes>,
    pub(crate) conditions: Conditions,
}

/// A write, or a batch of one partition, with IF.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConditionalWrite {
    /// What is done if all conditions hold; it has no conditions itself.
    write: BoundWrite,
    conditions: Vec<RowConditions>,
    is_batch: bool,
}

/// The result of a conditional write, which is also the result of the statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConditionalResult {
    /// The first one is `[applied]`.
    pub columns: Arc<[ColumnSpec]>,
    /// Wire values, `None` for null.
    pub rows: Vec<Vec<Option<Bytes>>>,
}

/// What follows from what is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// All conditions hold: this is to be written, and [`ConditionalWrite::applied`] is the result.
    Apply(BoundWrite),
    /// They do not: this is the result.
    Refuse(ConditionalResult),
}

fn invalid<T>(message: &str) -> Result<T, RequestError> {
    Err(RequestError::Invalid(message.to_owned()))
}

fn broken(error: CodecError) -> RequestError {
    RequestError::Server(format!("a stored key cannot be read: {error}"))
}

impl ConditionalWrite {
    /// The statement whose write has conditions.
    pub(crate) fn of_statement(write: BoundWrite) -> ConditionalWrite {
        ConditionalWrite::of(write, false)
    }

    /// A write without conditions that depends on what is there: it is applied to that, whatever it is.
    #[must_use]
    pub fn unconditional(write: BoundWrite) -> ConditionalWrite {
        ConditionalWrite { write, conditions: Vec::new(), is_batch: false }
    }

    /// False for [`ConditionalWrite::unconditional`]: its client is told of no result.
    #[must_use]
    pub fn is_conditional(&self) -> bool {
        !self.conditions.is_empty()
    }

    /// True when what is written adds to counters ([`BoundWrite::counts`]).
    #[must_use]
    pub fn counts(&self) -> bool {
        self.write.counts()
    }

    /// The batch of these writes, one for each partition of each table, of which one at least has conditions.
    ///
    /// # Errors
    /// `Invalid`, in Cassandra's words, for several partitions, and for what contradicts itself.
    pub(crate) fn of_batch(writes: Vec<BoundWrite>) -> Result<ConditionalWrite, RequestError> {
        let mut writes = writes.into_iter();
        let Some(first) = writes.next() else { return invalid("A conditional batch has statements") };
        if let Some(other) = writes.next() {
            let same_table = other.table().id == first.table().id;
            let what = if same_table { "partitions" } else { "tables" };
            return invalid(&format!("Batch with conditions cannot span multiple {what}"));
        }
        if first.highest_timestamp().is_some() {
            return invalid("Cannot provide custom timestamp for conditional BATCH");
        }
        let conditional = ConditionalWrite::of(first, true);
        conditional.check_consistent()?;
        Ok(conditional)
    }

    fn of(mut write: BoundWrite, is_batch: bool) -> ConditionalWrite {
        let conditions = std::mem::take(&mut write.conditions);
        ConditionalWrite { write, conditions, is_batch }
    }

    /// Refuses conditions that cannot stand together on one row.
    fn check_consistent(&self) -> Result<(), RequestError> {
        let mut first: BTreeMap<Option<&Bytes>, &Conditions> = BTreeMap::new();
        for RowConditions { row, conditions } in &self.conditions {
            let before = *first.entry(row.as_ref()).or_insert(conditions);
            match (before, conditions) {
                (Conditions::Exists, Conditions::NotExists) | (Conditions::NotExists, Conditions::Exists) => {
                    return invalid("Cannot mix IF EXISTS and IF NOT EXISTS conditions for the same row");
                }
                (Conditions::Columns(_), Conditions::Exists) => {
                    return invalid("Cannot mix IF conditions and IF EXISTS for the same row");
                }
                (Conditions::Columns(_), Conditions::NotExists)
                | (Conditions::NotExists | Conditions::Exists, Conditions::Columns(_)) => {
                    return invalid("Cannot mix IF conditions and IF NOT EXISTS for the same row");
                }
                (Conditions::Exists, Conditions::Exists)
                | (Conditions::NotExists, Conditions::NotExists)
                | (Conditions::Columns(_), Conditions::Columns(_)) => {}
            }
        }
        Ok(())
    }

    /// The same as a write that still has its conditions, to become part of a batch.
    pub(crate) fn into_write(self) -> BoundWrite {
        let mut write = self.write;
        write.conditions = self.conditions;
        write
    }

    /// What is done if all conditions hold.
    pub(crate) fn write(&self) -> &BoundWrite {
        &self.write
    }

    /// The table.
    #[must_use]
    pub fn table(&self) -> &Arc<Table> {
        self.write.table()
    }

    /// The partition.
    #[must_use]
    pub fn partition(&self) -> &PartitionKey {
        self.write.partition()
    }

    /// The read of what must be known to decide, as of `now`; a replica passes `tombstones` at most.
    #[must_use]
    pub fn command(&self, tombstones: u32, now: WallMicros) -> ReadCommand {
        let table = self.table();
        let asked = self.conditions.iter().filter(|own| own.conditions.needs_row(table));
        let rows = asked.filter_map(|own| own.row.as_ref()).chain(self.write.present_rows());
        let mut slices = SliceSet::union(rows.map(Slice::of_row)).into_slices();
        // Conditions on static columns alone: a partition that has no static column but a row is told apart from none.
        let row_limit = if slices.is_empty() { 1 } else { u32::MAX };
        if slices.is_empty() {
            slices.push(Slice::all());
        }
        let now_seconds = now.clamped_seconds();
        ReadCommand {
            table: table.id,
            partition: self.partition().clone(),
            slices,
            reversed: false,
            static_row: true,
            row_limit,
            bytes_limit: u32::MAX,
            now_seconds,
            // What deletes counters is passed over only once it is gone.
            gc_before_seconds: match self.counts() {
                true => 0,
                false => gc_before(now_seconds, table.options.gc_grace_seconds),
            },
            dropped_columns: table.drops(),
            tombstone_limit: tombstones,
        }
    }

    /// What follows from the static row and the rows that [`ConditionalWrite::command`] asks for, as a reader at `now`
    /// sees them. What is added to lists is ordered by `timestamp`, in microseconds: that of the write.
    ///
    /// # Errors
    /// `Invalid`, in Cassandra's words, when a condition or a change asks for an element that cannot be; `Server` when
    /// what is stored is not of its type.
    pub fn decide(
        &self,
        static_row: &Row,
        rows: &[(Bytes, Row)],
        now: WallMicros,
        timestamp: i64,
    ) -> Result<Decision, RequestError> {
        let now_seconds = i64::from(now.clamped_seconds());
        let present: BTreeMap<&Bytes, &Row> = rows.iter().map(|(own, row)| (own, row)).collect();
        let mut held = true;
        for RowConditions { row, conditions } in &self.conditions {
            let found = row.as_ref().map_or(Some(static_row), |row| present.get(row).copied());
            held = conditions.evaluate(self.table(), found, Some(static_row), now_seconds)? && held;
        }
        if !held {
            return self.refusal(static_row, rows, now_seconds).map(Decision::Refuse);
        }
        let write = self.write.clone().ordered_at(timestamp);
        let write = if write.reads_first() { write.with_present(static_row, rows, now)? } else { write };
        Ok(Decision::Apply(write))
    }

    /// The result of a write that is applied.
    #[must_use]
    pub fn applied(&self) -> ConditionalResult {
        ConditionalResult { columns: Arc::from([self.applied_column()]), rows: vec![vec![boolean(true)]] }
    }

    fn applied_column(&self) -> ColumnSpec {
        let Table { keyspace, name, .. } = self.table().as_ref();
        let (keyspace, table) = (keyspace.clone(), name.clone());
        ColumnSpec { keyspace, table, name: "[applied]".to_owned(), cql_type: CqlType::Boolean }
    }

    /// The columns that a refusal shows, by their places in the table.
    fn shown(&self) -> Vec<usize> {
        let table = self.table();
        if self.is_of_existence() {
            return all_columns(table);
        }
        let is_key = |place: &usize| {
            matches!(table.columns[*place].kind, ColumnKind::PartitionKey(_) | ColumnKind::Clustering(..))
        };
        let mut shown: Vec<usize> =
            all_columns(table).into_iter().filter(|place| self.is_batch && is_key(place)).collect();
        for own in &self.conditions {
            for column in own.conditions.columns(table) {
                if !shown.contains(&column) {
                    shown.push(column);
                }
            }
        }
        shown
    }

    fn is_of_existence(&self) -> bool {
        self.conditions.iter().any(|own| own.conditions.is_of_existence())
    }

    /// True when Cassandra would have read this column to decide: others are shown as null.
    fn is_read(&self, column: &Column) -> bool {
        if !self.is_of_existence() {
            return true;
        }
        match column.kind {
            ColumnKind::Static => self.write.changes_static(),
            _ => self.table().clustering().next().is_none() || self.write.names_rows(),
        }
    }

    fn refusal(
        &self,
        static_row: &Row,
        rows: &[(Bytes, Row)],
        now_seconds: i64,
    ) -> Result<ConditionalResult, RequestError> {
        let table = self.table();
        let shown: Vec<&Column> = self.shown().into_iter().map(|place| &table.columns[place]).collect();
        let partition = self.partition().components(table.partition_key().count()).map_err(broken)?;
        let of_static = shown.iter().filter(|column| column.kind == ColumnKind::Static && self.is_read(column));
        let mut static_values = Vec::new();
        for column in of_static {
            static_values.extend(column_value(column, Some(static_row), now_seconds)?.map(|value| (column.id, value)));
        }
        let static_value =
            |column: &Column| static_values.iter().find(|(id, _)| *id == column.id).map(|(_, value)| value.clone());
        let mut result = Vec::new();
        for (clustering, row) in rows {
            let clustering = decode_clustering(table, clustering).map_err(broken)?;
            let (mut values, mut is_there) = (vec![boolean(false)], self.has_liveness(row, now_seconds));
            for column in &shown {
                values.push(match column.kind {
                    ColumnKind::PartitionKey(position) => partition.get(position as usize).cloned(),
                    ColumnKind::Clustering(position, _) => clustering.get(position as usize).cloned(),
                    ColumnKind::Static => static_value(column),
                    ColumnKind::Regular if self.is_read(column) => {
                        let value = column_value(column, Some(row), now_seconds)?;
                        is_there |= value.is_some();
                        value
                    }
                    ColumnKind::Regular => None,
                });
            }
            if is_there {
                result.push(values);
            }
        }
        if result.is_empty() && !static_values.is_empty() {
            let value = |column: &&Column| match column.kind {
                ColumnKind::PartitionKey(position) => partition.get(position as usize).cloned(),
                ColumnKind::Static => static_value(column),
                ColumnKind::Clustering(..) | ColumnKind::Regular => None,
            };
            result.push([boolean(false)].into_iter().chain(shown.iter().map(value)).collect());
        }
        let mut columns = vec![self.applied_column()];
        if result.is_empty() {
            result.push(vec![boolean(false)]);
        } else {
            columns.extend(shown.iter().map(|column| ColumnSpec {
                keyspace: table.keyspace.clone(),
                table: table.name.clone(),
                name: column.name.clone(),
                cql_type: column.cql_type.clone(),
            }));
        }
        Ok(ConditionalResult { columns: Arc::from(columns), rows: result })
    }

    fn has_liveness(&self, row: &Row, now_seconds: i64) -> bool {
        row.liveness().is_some_and(|liveness| liveness.is_live(now_seconds))
    }
}

fn boolean(value: bool) -> Option<Bytes> {
    Some(Value::Boolean(value).to_wire())
}

#[cfg(test)]
#[path = "conditional_tests.rs"]
mod tests;
