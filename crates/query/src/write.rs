//! INSERT, UPDATE and DELETE: the plan, the plan with its values, and the mutation.

use crate::operand::{Arguments, BoundValue, Operand};
use crate::restriction::{KeyPlan, Rows};
use bytes::Bytes;
use model::codec::Encode;
use model::deletion::{Deletion, PartitionDeletions};
use model::limits::{MUTATION_BYTES_MAX, TTL_SECONDS_MAX};
use model::read::Slice;
use model::row::Expiry;
use model::schema::Table;
use model::{Cell, ColumnId, Liveness, Mutation, PartitionKey, Record, RecordKey, RequestError, Row, WallMicros};
use std::sync::Arc;

/// What a write does to the rows of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WriteKind {
    /// Sets cells and marks the row as existing.
    Insert,
    /// Sets or deletes cells.
    Update,
    /// Deletes rows or the partition.
    DeleteRows,
}

/// Where a write's time to live comes from.
#[derive(Clone, Debug)]
pub(crate) enum Expiration {
    /// USING TTL.
    Given(Operand),
    /// The table's `default_time_to_live`.
    Default,
}

/// A write before values are bound.
#[derive(Debug)]
pub(crate) struct WritePlan {
    table: Arc<Table>,
    kind: WriteKind,
    key: KeyPlan,
    /// By ascending column.
    cells: Vec<(ColumnId, Operand)>,
    time_to_live: Expiration,
    timestamp: Option<Operand>,
}

impl WritePlan {
    pub(crate) fn new(
        table: Arc<Table>,
        kind: WriteKind,
        key: KeyPlan,
        mut cells: Vec<(ColumnId, Operand)>,
        time_to_live: Expiration,
        timestamp: Option<Operand>,
    ) -> WritePlan {
        cells.sort_by_key(|(column, _)| *column);
        WritePlan { table, kind, key, cells, time_to_live, timestamp }
    }

    pub(crate) fn table(&self) -> &Arc<Table> {
        &self.table
    }

    pub(crate) fn key(&self) -> &KeyPlan {
        &self.key
    }

    pub(crate) fn bind<'a>(&'a self, arguments: Arguments<'a>) -> Result<BoundWrite, RequestError> {
        let table = &self.table;
        let partition = self.key.partition(table, arguments)?;
        let rows = self.key.rows(table, arguments)?;
        let mut cells = Vec::with_capacity(self.cells.len());
        for (column, operand) in &self.cells {
            match arguments.value(operand)?.into_owned() {
                BoundValue::Value(value) => cells.push((*column, Some(value))),
                BoundValue::Null => cells.push((*column, None)),
                BoundValue::Unset => {}
            }
        }
        Ok(BoundWrite {
            table: Arc::clone(table),
            partition,
            kind: self.kind,
            rows,
            cells,
            time_to_live: self.time_to_live(arguments)?,
            timestamp: self.timestamp(arguments)?,
        })
    }

    /// The time to live in seconds; 0 for none.
    fn time_to_live<'a>(&'a self, arguments: Arguments<'a>) -> Result<u32, RequestError> {
        let Expiration::Given(operand) = &self.time_to_live else {
            return Ok(self.table.options.default_time_to_live);
        };
        let seconds = match arguments.int(Some(operand))? {
            None => return Ok(self.table.options.default_time_to_live),
            // As in Cassandra null is 0, which lifts the table's default too.
            Some(None) => 0,
            Some(Some(seconds)) => seconds,
        };
        match u32::try_from(seconds) {
            Err(_) => Err(RequestError::Invalid(format!("A TTL must be greater or equal to 0, but was {seconds}"))),
            Ok(seconds) if seconds > TTL_SECONDS_MAX => Err(RequestError::Invalid(format!(
                "ttl is too large. requested ({seconds}) maximum ({TTL_SECONDS_MAX})"
            ))),
            Ok(seconds) => Ok(seconds),
        }
    }

    fn timestamp<'a>(&'a self, arguments: Arguments<'a>) -> Result<Option<i64>, RequestError> {
        match arguments.bigint(self.timestamp.as_ref())? {
            None => Ok(None),
            Some(None) => Err(RequestError::Invalid("Invalid null value of timestamp".to_owned())),
            // The smallest one means "no timestamp" in Cassandra and in drivers.
            Some(Some(i64::MIN)) => {
                let (lowest, highest) = (i64::MIN + 1, i64::MAX);
                Err(RequestError::Invalid(format!("Out of bound timestamp, must be in [{lowest}, {highest}]")))
            }
            Some(timestamp) => Ok(timestamp),
        }
    }
}

/// A write whose values are known: everything but the time at which it happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundWrite {
    table: Arc<Table>,
    partition: PartitionKey,
    kind: WriteKind,
    rows: Rows,
    /// By ascending column; `None` deletes.
    cells: Vec<(ColumnId, Option<Bytes>)>,
    /// In seconds; 0 for none.
    time_to_live: u32,
    timestamp: Option<i64>,
}

impl BoundWrite {
    /// The table written to.
    #[must_use]
    pub fn table(&self) -> &Arc<Table> {
        &self.table
    }

    /// The partition written to.
    #[must_use]
    pub fn partition(&self) -> &PartitionKey {
        &self.partition
    }

    /// The timestamp in microseconds that the statement gives with USING TIMESTAMP: it goes before that
    /// of the request and that of the clock.
    #[must_use]
    pub fn timestamp(&self) -> Option<i64> {
        self.timestamp
    }

    /// True when the write changes nothing, since its range of rows is empty or all its values are unset:
    /// it succeeds without being sent anywhere.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows == Rows::Nothing || (self.kind == WriteKind::Update && self.cells.is_empty())
    }

    /// The mutation of this write at `timestamp` in microseconds; `now` is the coordinator's clock, from
    /// which expiry and the age of tombstones count. It has no records when [`BoundWrite::is_empty`].
    ///
    /// # Errors
    /// `Invalid` when the mutation is larger than `MUTATION_BYTES_MAX`, or would expire after the year
    /// 2106, which 32 bits of seconds cannot say.
    pub fn mutation(&self, timestamp: i64, now: WallMicros) -> Result<Mutation, RequestError> {
        let local_seconds = now.clamped_seconds();
        let deletion = Deletion { timestamp, local_seconds };
        let record = match (&self.rows, self.kind) {
            _ if self.is_empty() => None,
            (Rows::Nothing, _) => None,
            (Rows::One(clustering), WriteKind::Insert | WriteKind::Update) => {
                Some(self.row_record(clustering, timestamp, local_seconds)?)
            }
            // Without clustering columns a partition is its one row.
            (Rows::One(_), WriteKind::DeleteRows) if self.table.clustering().next().is_none() => {
                Some(Record::deletions(&PartitionDeletions::of_partition(deletion)))
            }
            (Rows::One(clustering), WriteKind::DeleteRows) => {
                Some(Record::row(clustering.clone(), &Row::deleted(deletion)))
            }
            (Rows::Slice(Slice { start, end }), _) => {
                Some(Record::deletions(&PartitionDeletions::of_range(start.clone(), end.clone(), deletion)))
            }
            (Rows::All, _) => Some(Record::deletions(&PartitionDeletions::of_partition(deletion))),
        };
        let records = record.into_iter().collect();
        let mutation = Mutation { table: self.table.id, partition: self.partition.clone(), records };
        let bytes = mutation.bytes();
        if bytes > MUTATION_BYTES_MAX {
            let message =
                format!("Mutation of {bytes} bytes is too large for the maximum size of {MUTATION_BYTES_MAX}");
            return Err(RequestError::Invalid(message));
        }
        Ok(mutation)
    }

    fn row_record(&self, clustering: &Bytes, timestamp: i64, local_seconds: u32) -> Result<Record, RequestError> {
        let expiry = self.expiry(local_seconds)?;
        let cell = |value: &Option<Bytes>| match (value, expiry) {
            (None, _) => Cell::tombstone(timestamp, local_seconds),
            (Some(value), None) => Cell::live(timestamp, value.clone()),
            (Some(value), Some(expiry)) => Cell::expiring(timestamp, value.clone(), expiry),
        };
        let cells = self.cells.iter().map(|(column, value)| (*column, cell(value))).collect();
        let liveness = (self.kind == WriteKind::Insert).then_some(Liveness { timestamp, expiry });
        let row = Row::new(liveness, None, cells);
        // One allocation of about the right size: kinds, times and lengths take some bytes a cell.
        let values: usize = self.cells.iter().map(|(_, value)| 24 + value.as_ref().map_or(0, Bytes::len)).sum();
        let mut value = Vec::with_capacity(32 + values);
        row.encode(&mut value);
        Ok(Record { key: RecordKey::Row(clustering.clone()), value: Bytes::from(value) })
    }

    fn expiry(&self, local_seconds: u32) -> Result<Option<Expiry>, RequestError> {
        let ttl_seconds = self.time_to_live;
        if ttl_seconds == 0 {
            return Ok(None);
        }
        let Some(at_seconds) = local_seconds.checked_add(ttl_seconds) else {
            return Err(RequestError::Invalid(format!(
                "Request on table {}.{} with ttl of {ttl_seconds} seconds exceeds maximum supported expiration date \
                 of 2106-02-07T06:28:15+00:00",
                self.table.keyspace, self.table.name
            )));
        };
        Ok(Some(Expiry { ttl_seconds, at_seconds }))
    }
}

#[cfg(test)]
#[path = "write_tests.rs"]
mod tests;
