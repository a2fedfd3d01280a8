//! INSERT, UPDATE, DELETE and BATCH: the plan, the plan with its values, and the mutation.
//!
//! Invariants:
//! * All that a statement or a batch does to one partition of one table is one mutation, so that it happens as a whole.
//! * What depends on the timestamp is left for [`BoundWrite::mutation`]: until then a write can wait.

use crate::ast::BatchKind;
use crate::change::{self, BoundChange, Change};
use crate::condition::ConditionsPlan;
use crate::conditional::RowConditions;
use crate::constraint::Constraints;
use crate::json::Json;
use crate::operand::{Arguments, BoundValue, ColumnSpec, Operand};
use crate::restriction::{KeyPlan, Rows};
use crate::slices::SliceSet;
use bytes::Bytes;
use model::codec::Encode;
use model::counter::{self, Shard};
use model::deletion::{Deletion, PartitionDeletions};
use model::garbage::gc_before;
use model::limits::{MUTATION_BYTES_MAX, RANGE_TOMBSTONES_MAX, TTL_SECONDS_MAX};
use model::read::Slice;
use model::row::Expiry;
use model::schema::Table;
use model::{
    ColumnId, CqlType, Liveness, Mutation, PartitionKey, ReadCommand, Record, RecordKey, RequestError, Row, WallMicros,
};
use std::collections::{BTreeMap, BTreeSet};
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

/// Where a write's time to live and timestamp come from.
#[derive(Debug, Default)]
pub(crate) struct Times {
    /// USING TTL; else the table's `default_time_to_live`.
    pub(crate) time_to_live: Option<Operand>,
    /// USING TIMESTAMP.
    pub(crate) timestamp: Option<Operand>,
}

/// Changes of columns, by their places in the table.
pub(crate) type Changes = Vec<(usize, Change)>;

/// A write before values are bound.
#[derive(Debug)]
pub(crate) struct WritePlan {
    pub(crate) table: Arc<Table>,
    pub(crate) kind: WriteKind,
    pub(crate) key: KeyPlan,
    /// True when the statement writes static columns alone and names no row.
    pub(crate) only_static: bool,
    /// Changes of the static columns.
    pub(crate) static_changes: Changes,
    /// Changes of the columns of the rows.
    pub(crate) changes: Changes,
    pub(crate) times: Times,
    /// What follows IF. Then the key is of one row, or of one partition when `only_static`.
    pub(crate) conditions: Option<ConditionsPlan>,
    /// What its values must be.
    pub(crate) constraints: Constraints,
}

/// INSERT JSON: a write of every column, whose values come out of one text.
#[derive(Debug)]
pub(crate) struct JsonPlan {
    /// The text.
    pub(crate) json: Operand,
    /// True when columns that the text does not name are left alone.
    pub(crate) default_unset: bool,
    /// Every column; they are the parameters of `plan`.
    pub(crate) columns: Vec<ColumnSpec>,
    pub(crate) plan: WritePlan,
}

/// A statement that writes.
#[derive(Debug)]
pub(crate) enum ModificationPlan {
    Write(WritePlan),
    Json(JsonPlan),
}

/// BATCH.
#[derive(Debug)]
pub(crate) struct BatchPlan {
    pub(crate) statements: Vec<ModificationPlan>,
    pub(crate) kind: BatchKind,
    /// USING TIMESTAMP of the whole batch.
    pub(crate) timestamp: Option<Operand>,
}

impl ModificationPlan {
    pub(crate) fn write(&self) -> &WritePlan {
        match self {
            ModificationPlan::Write(plan) | ModificationPlan::Json(JsonPlan { plan, .. }) => plan,
        }
    }

    /// The indexes of the parameters that make up the partition key.
    pub(crate) fn partition_parameters(&self) -> Vec<u16> {
        match self {
            ModificationPlan::Write(plan) => plan.key.partition_parameters(),
            ModificationPlan::Json(_) => Vec::new(),
        }
    }

    /// The writes, one for each partition.
    pub(crate) fn bind(&self, arguments: Arguments<'_>) -> Result<Vec<BoundWrite>, RequestError> {
        match self {
            ModificationPlan::Write(plan) => plan.bind(arguments, arguments),
            ModificationPlan::Json(plan) => plan.bind(arguments),
        }
    }
}

impl JsonPlan {
    fn bind(&self, arguments: Arguments<'_>) -> Result<Vec<BoundWrite>, RequestError> {
        let invalid = |message: String| Err(RequestError::Invalid(message));
        let text = match arguments.value(&self.json)?.into_owned() {
            BoundValue::Value(text) => text,
            BoundValue::Null => return invalid("Got null for INSERT JSON values".to_owned()),
            BoundValue::Unset => return invalid("Invalid unset value for argument in INSERT JSON".to_owned()),
        };
        let text = std::str::from_utf8(&text).map_err(|_| RequestError::Invalid("JSON is not UTF-8".to_owned()))?;
        let mut given: BTreeMap<String, Json> =
            Json::parse_columns(text).map_err(RequestError::Invalid)?.into_iter().collect();
        let mut values = Vec::with_capacity(self.columns.len());
        for ColumnSpec { name, cql_type, .. } in &self.columns {
            values.push(match given.remove(name) {
                None if self.default_unset => BoundValue::Unset,
                None => BoundValue::Null,
                Some(json) => match json.to_wire(cql_type) {
                    Ok(value) => value.map_or(BoundValue::Null, BoundValue::Value),
                    Err(error) => return invalid(format!("Error decoding JSON value for {name}: {error}")),
                },
            });
        }
        if let Some((unknown, _)) = given.first_key_value() {
            let shown = crate::source::shortened(unknown);
            return invalid(format!("JSON values map contains unrecognized column: {shown}"));
        }
        let columns = Arguments::new(&self.columns, &values, arguments.context())?;
        self.plan.bind(columns, arguments)
    }
}

impl BatchPlan {
    /// The writes, one for each partition of each table.
    pub(crate) fn bind(&self, arguments: Arguments<'_>) -> Result<Vec<BoundWrite>, RequestError> {
        let timestamp = timestamp(self.timestamp.as_ref(), arguments)?;
        let mut merged = MergedWrites::default();
        for statement in &self.statements {
            for mut write in statement.bind(arguments)? {
                write.parts.iter_mut().for_each(|part| part.timestamp = part.timestamp.or(timestamp));
                merged.add(write)?;
            }
        }
        merged.finish()
    }
}

/// The writes of a batch while they are put together: one for each partition of each table.
#[derive(Default)]
pub(crate) struct MergedWrites {
    writes: Vec<BoundWrite>,
    /// By table and key, where in `writes`.
    places: BTreeMap<(u128, Bytes), usize>,
    rows: usize,
}

impl MergedWrites {
    /// Adds a write of a statement.
    pub(crate) fn add(&mut self, mut write: BoundWrite) -> Result<(), RequestError> {
        self.rows += write.parts.iter().map(|part| part.rows.len()).sum::<usize>();
        check_rows(self.rows)?;
        let place = (write.table.id.0, write.partition.bytes.clone());
        let index = *self.places.entry(place).or_insert(self.writes.len());
        match self.writes.get_mut(index) {
            Some(before) => {
                before.parts.append(&mut write.parts);
                before.conditions.append(&mut write.conditions);
            }
            None => self.writes.push(write),
        }
        Ok(())
    }

    /// The writes of the whole batch.
    ///
    /// # Errors
    /// `Invalid` for too many partitions.
    pub(crate) fn finish(self) -> Result<Vec<BoundWrite>, RequestError> {
        if self.writes.len() > BATCH_PARTITIONS_MAX {
            let (count, most) = (self.writes.len(), BATCH_PARTITIONS_MAX);
            return Err(RequestError::Invalid(format!("A batch of {count} partitions exceeds the maximum of {most}")));
        }
        Ok(self.writes)
    }
}

/// How large batches over several partitions may be, in bytes of keys and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    /// A larger one is answered with a warning: Cassandra's `batch_size_warn_threshold`.
    pub bytes_warned: usize,
    /// A larger one is refused: Cassandra's `batch_size_fail_threshold`.
    pub bytes_max: usize,
}

impl Default for BatchLimits {
    /// Those of Cassandra.
    fn default() -> BatchLimits {
        BatchLimits { bytes_warned: 5 * 1024, bytes_max: 50 * 1024 }
    }
}

/// An unlogged batch over more partitions is answered with a warning: Cassandra's
/// `unlogged_batch_across_partitions_warn_threshold`.
const BATCH_PARTITIONS_WARNED: usize = 10;
/// Most partitions that one statement or batch writes: each is a write of its own to its replicas.
const BATCH_PARTITIONS_MAX: usize = 1_000;
/// Most rows and ranges of rows that one statement or batch writes: a few lists behind IN make many of them.
const BATCH_ROWS_MAX: usize = 65_536;

fn check_rows(rows: usize) -> Result<(), RequestError> {
    if rows <= BATCH_ROWS_MAX {
        return Ok(());
    }
    Err(RequestError::Invalid(format!("A write of {rows} rows exceeds the maximum of {BATCH_ROWS_MAX}")))
}

impl WritePlan {
    /// True when executing it twice is as executing it once.
    pub(crate) fn is_idempotent(&self) -> bool {
        let mut changes = self.static_changes.iter().chain(&self.changes);
        // What a condition asks is another question the second time.
        self.conditions.is_none()
            && changes.all(|(index, change)| change.is_idempotent(&self.table.columns[*index].cql_type))
    }

    /// The writes, one for each partition. `values` are what columns and keys are written from, `using` what USING
    /// names.
    fn bind(&self, values: Arguments<'_>, using: Arguments<'_>) -> Result<Vec<BoundWrite>, RequestError> {
        let table = &self.table;
        let partitions = self.key.partitions(table, values)?;
        if partitions.len() > BATCH_PARTITIONS_MAX {
            let (count, most) = (partitions.len(), BATCH_PARTITIONS_MAX);
            return Err(RequestError::Invalid(format!("A write of {count} partitions exceeds the maximum of {most}")));
        }
        let rows = if self.only_static { Vec::new() } else { self.key.all_rows(table, values)? };
        check_rows(rows.len().saturating_mul(partitions.len()))?;
        let part = Part {
            kind: self.kind,
            rows,
            static_changes: bound_changes(table, &self.static_changes, values)?,
            changes: bound_changes(table, &self.changes, values)?,
            time_to_live: self.time_to_live(using)?,
            timestamp: timestamp(self.times.timestamp.as_ref(), using)?,
        };
        self.constraints.check(table, &partitions, &part.rows, &part.static_changes, &part.changes)?;
        let conditions = match &self.conditions {
            None => Vec::new(),
            Some(plan) => vec![RowConditions { row: part.only_row(), conditions: plan.bind(using)? }],
        };
        let write = |partition| BoundWrite {
            table: Arc::clone(table),
            partition,
            parts: vec![part.clone()],
            conditions: conditions.clone(),
        };
        Ok(partitions.into_iter().map(write).collect())
    }

    /// The time to live in seconds; 0 for none.
    fn time_to_live(&self, arguments: Arguments<'_>) -> Result<u32, RequestError> {
        let default = self.table.options.default_time_to_live;
        let seconds = match arguments.int(self.times.time_to_live.as_ref())? {
            None => return Ok(default),
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
}

fn bound_changes(
    table: &Table,
    changes: &[(usize, Change)],
    arguments: Arguments<'_>,
) -> Result<Vec<(ColumnId, BoundChange)>, RequestError> {
    let mut bound = Vec::with_capacity(changes.len());
    for (index, change) in changes {
        let column = &table.columns[*index];
        bound.extend(change.bind(column, arguments)?.map(|change| (column.id, change)));
    }
    Ok(bound)
}

fn timestamp(operand: Option<&Operand>, arguments: Arguments<'_>) -> Result<Option<i64>, RequestError> {
    match arguments.bigint(operand)? {
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

/// What one statement does to one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Part {
    kind: WriteKind,
    /// Ascending and disjoint.
    rows: Vec<Rows>,
    static_changes: Vec<(ColumnId, BoundChange)>,
    changes: Vec<(ColumnId, BoundChange)>,
    /// In seconds; 0 for none.
    time_to_live: u32,
    /// The statement's own.
    timestamp: Option<i64>,
}

impl Part {
    /// The row that a conditional statement is about; `None` when it is about the static row.
    fn only_row(&self) -> Option<Bytes> {
        match self.rows.as_slice() {
            [Rows::One(clustering)] => Some(clustering.clone()),
            _ => None,
        }
    }

    fn reads_first(&self) -> bool {
        self.static_changes.iter().chain(&self.changes).any(|(_, change)| change.reads_first())
    }

    fn is_empty(&self) -> bool {
        let nothing = |changes: &[(ColumnId, BoundChange)]| changes.iter().all(|(_, change)| change.does_nothing());
        let rows = self.rows.iter().all(|rows| *rows == Rows::Nothing);
        let writes_rows = self.kind != WriteKind::Update || !nothing(&self.changes);
        nothing(&self.static_changes) && (rows || !writes_rows)
    }
}

/// All that a statement or a batch does to one partition of one table, once its values are known: everything but the
/// time at which it happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundWrite {
    table: Arc<Table>,
    partition: PartitionKey,
    parts: Vec<Part>,
    /// Empty unless it is part of a [`crate::ConditionalWrite`] in the making.
    pub(crate) conditions: Vec<RowConditions>,
}

/// A mutation in the making.
#[derive(Default)]
struct Changed {
    deletions: PartitionDeletions,
    /// With `None` for the static row.
    rows: BTreeMap<Option<Bytes>, Row>,
    /// What is added to counters, by row and column.
    counts: BTreeMap<(Option<Bytes>, ColumnId), i64>,
}

impl Changed {
    fn add_row(&mut self, clustering: Option<Bytes>, row: Row) {
        let merged = match self.rows.remove(&clustering) {
            Some(before) => before.merge(row),
            None => row,
        };
        self.rows.insert(clustering, merged);
    }

    fn add_counts(&mut self, clustering: Option<&Bytes>, changes: &[(ColumnId, BoundChange)]) {
        for (column, change) in changes {
            if let BoundChange::Count(by) = change {
                let sum = self.counts.entry((clustering.cloned(), *column)).or_default();
                *sum = sum.wrapping_add(*by);
            }
        }
    }

    /// Makes increments at `timestamp` of what is added to counters. As everywhere a deletion at the same timestamp
    /// wins.
    fn count(&mut self, timestamp: i64) {
        for ((clustering, column), by) in std::mem::take(&mut self.counts) {
            let deletion = match &clustering {
                Some(clustering) => self.deletions.covering(clustering),
                None => self.deletions.partition(),
            };
            if deletion.is_none() {
                let increment = Shard::increment(by, timestamp).to_column();
                self.add_row(clustering, Row::default().with_complex([(column, increment)]));
            }
        }
    }

    fn into_records(self) -> Vec<Record> {
        let deletions = (!self.deletions.is_empty()).then(|| Record::deletions(&self.deletions));
        let rows = self.rows.into_iter().filter(|(_, row)| !row.is_empty());
        let rows = rows.map(|(clustering, row)| Record {
            key: clustering.map_or(RecordKey::Static, RecordKey::Row),
            value: row.to_bytes(),
        });
        deletions.into_iter().chain(rows).collect()
    }
}

/// As a statement writes sizes: 5.000KiB.
fn kibibytes(bytes: usize) -> String {
    format!("{:.3}KiB", bytes as f64 / 1_024.0)
}

/// What the client should know of a batch over several partitions, in Cassandra's words.
///
/// # Errors
/// `Invalid` when it is too large.
pub(crate) fn batch_warnings(
    writes: &[BoundWrite],
    is_logged: bool,
    limits: BatchLimits,
) -> Result<Vec<String>, RequestError> {
    let mut warnings = Vec::new();
    let named = |wanted: fn(&Table) -> bool| {
        let tables = writes.iter().map(|write| write.table.as_ref()).filter(|table| wanted(table));
        let tables: BTreeSet<String> = tables.map(|table| format!("{}.{}", table.keyspace, table.name)).collect();
        (if tables.len() == 1 { "" } else { "s" }, Vec::from_iter(tables).join(", "))
    };
    let (s, tables) = named(|table| !table.keeps_deletions());
    if is_logged && !tables.is_empty() {
        warnings.push(format!(
            "Executing a LOGGED BATCH on table{s} [{tables}], configured with a gc_grace_seconds of 0. The \
             gc_grace_seconds is used to TTL batchlog entries, so setting gc_grace_seconds too low on tables involved \
             in an atomic batch might cause batchlog entries to expire before being replayed."
        ));
    }
    let (s, tables) = named(|_| true);
    let bytes: usize = writes.iter().map(BoundWrite::data_bytes).sum();
    if writes.len() > 1 && bytes > limits.bytes_max {
        let (size, most) = (kibibytes(bytes), kibibytes(limits.bytes_max));
        return Err(RequestError::Invalid(format!(
            "Batch too large: {size} in {} partitions, more than batch_max_kb, {most}",
            writes.len()
        )));
    }
    if writes.len() > 1 && bytes > limits.bytes_warned {
        let (size, most, excess) =
            (kibibytes(bytes), kibibytes(limits.bytes_warned), kibibytes(bytes - limits.bytes_warned));
        warnings.push(format!(
            "Batch for [{tables}] is of size {size}, exceeding specified threshold of {most} by {excess}."
        ));
    }
    if !is_logged && writes.len() > BATCH_PARTITIONS_WARNED {
        let count = writes.len();
        warnings.push(format!(
            "Unlogged batch covering {count} partitions detected against table{s} [{tables}]. You should use a logged \
             batch for atomicity, or asynchronous writes for performance."
        ));
    }
    Ok(warnings)
}

impl Part {
    fn counts(&self) -> bool {
        let mut changes = self.static_changes.iter().chain(&self.changes);
        changes.any(|(_, change)| matches!(change, BoundChange::Count(_)))
    }

    fn data_bytes(&self) -> usize {
        let changes =
            |changes: &[(ColumnId, BoundChange)]| changes.iter().map(|(_, change)| change.bytes()).sum::<usize>();
        let row = |rows: &Rows| match rows {
            Rows::Nothing | Rows::All => 0,
            Rows::One(clustering) => clustering.len() + changes(&self.changes),
            Rows::Slice(Slice { start, end }) => start.len() + end.len(),
        };
        changes(&self.static_changes) + self.rows.iter().map(row).sum::<usize>()
    }

    fn described(&self) -> String {
        let what = match self.kind {
            WriteKind::Insert => "inserts",
            WriteKind::Update => "updates",
            WriteKind::DeleteRows => "deletes",
        };
        let of = |wanted: fn(&Rows) -> bool| self.rows.iter().filter(|rows| wanted(rows)).count();
        let (one, ranges) = (of(|rows| matches!(rows, Rows::One(_))), of(|rows| matches!(rows, Rows::Slice(_))));
        let mut objects = Vec::new();
        if !self.static_changes.is_empty() {
            objects.push("static columns".to_owned());
        }
        let writes_rows = self.kind != WriteKind::Update || !self.changes.is_empty();
        for (count, what) in [(one, "row"), (ranges, "row range"), (of(|rows| *rows == Rows::All), "partition")] {
            if count > 0 && writes_rows {
                objects.push(format!("{what}s: {count}"));
            }
        }
        format!("{what} {}", if objects.is_empty() { "nothing".to_owned() } else { objects.join(", ") })
    }
}

impl BoundWrite {
    /// Bytes of keys and values.
    fn data_bytes(&self) -> usize {
        self.partition.bytes.len() + self.parts.iter().map(Part::data_bytes).sum::<usize>()
    }

    /// What it does to its partition, for people.
    pub(crate) fn described(&self) -> String {
        const SHOWN_MAX: usize = 10;
        let mut parts: Vec<String> = self.parts.iter().take(SHOWN_MAX).map(Part::described).collect();
        if self.parts.len() > SHOWN_MAX {
            parts.push(format!("and {} more statements", self.parts.len() - SHOWN_MAX));
        }
        format!("{}, as a whole", parts.join("; "))
    }

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
    /// of the request and that of the clock. Of a batch whose statements give several, the largest; none when one of
    /// them gives none.
    #[must_use]
    pub fn timestamp(&self) -> Option<i64> {
        let timestamps: Option<Vec<i64>> = self.parts.iter().map(|part| part.timestamp).collect();
        timestamps.and_then(|timestamps| timestamps.into_iter().max())
    }

    /// The largest timestamp that any of its statements gives.
    #[must_use]
    pub fn highest_timestamp(&self) -> Option<i64> {
        self.parts.iter().filter_map(|part| part.timestamp).max()
    }

    /// True when the write changes nothing, since its range of rows is empty or all its values are unset:
    /// it succeeds without being sent anywhere.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.parts.iter().all(Part::is_empty)
    }

    /// True when it adds to counters: its mutation has increments, which a replica takes ([`model::counter::take`]).
    #[must_use]
    pub fn counts(&self) -> bool {
        self.parts.iter().any(Part::counts)
    }

    /// True when it changes elements of lists that are found by what the lists are at present: [`BoundWrite::mutation`]
    /// is for [`BoundWrite::with_present`].
    #[must_use]
    pub fn reads_first(&self) -> bool {
        self.parts.iter().any(Part::reads_first)
    }

    /// The rows whose lists or counters are changed by what they are.
    pub(crate) fn present_rows(&self) -> impl Iterator<Item = &Bytes> {
        let rows = self.parts.iter().filter(|part| part.reads_first() || part.counts()).flat_map(|part| &part.rows);
        rows.filter_map(|rows| match rows {
            Rows::One(clustering) => Some(clustering),
            Rows::Nothing | Rows::All | Rows::Slice(_) => None,
        })
    }

    /// True when it changes static columns.
    pub(crate) fn changes_static(&self) -> bool {
        self.parts.iter().any(|part| !part.static_changes.is_empty())
    }

    /// True when a statement names rows.
    pub(crate) fn names_rows(&self) -> bool {
        self.parts.iter().any(|part| !part.rows.is_empty())
    }

    /// The read of the rows whose lists must be known, as of `now`; a replica passes `tombstones` at most.
    #[must_use]
    pub fn present_command(&self, tombstones: u32, now: WallMicros) -> ReadCommand {
        let parts = || self.parts.iter().filter(|part| part.reads_first());
        let slices = SliceSet::union(self.present_rows().map(Slice::of_row)).into_slices();
        let now_seconds = now.clamped_seconds();
        ReadCommand {
            table: self.table.id,
            partition: self.partition.clone(),
            slices: if slices.is_empty() { vec![Slice::nowhere()] } else { slices },
            reversed: false,
            static_row: parts().any(|part| part.static_changes.iter().any(|(_, change)| change.reads_first())),
            row_limit: u32::MAX,
            bytes_limit: u32::MAX,
            now_seconds,
            gc_before_seconds: gc_before(now_seconds, self.table.options.gc_grace_seconds),
            dropped_columns: self.table.drops(),
            tombstone_limit: tombstones,
        }
    }

    /// The same write with what it adds to lists ordered by `timestamp`, in microseconds, instead of by the time at
    /// which its values were bound.
    pub(crate) fn ordered_at(mut self, timestamp: i64) -> BoundWrite {
        let table = Arc::clone(&self.table);
        let list = |column: ColumnId| {
            let column = table.columns.iter().find(|own| own.id == column);
            column.is_some_and(|column| matches!(column.cql_type, CqlType::List { frozen: false, .. }))
        };
        let mut drawn = 0;
        for part in &mut self.parts {
            let changes = part.static_changes.iter_mut().chain(&mut part.changes);
            changes.filter(|(column, _)| list(*column)).for_each(|(_, change)| change.order_at(timestamp, &mut drawn));
        }
        self
    }

    /// The same write once its rows are known, as the replicas agree on them: it needs no reading any more. As in
    /// Cassandra the statements of a batch all see what was there before it.
    ///
    /// # Errors
    /// `Invalid`, in Cassandra's words, when a list has no such element.
    pub fn with_present(
        self,
        static_row: &Row,
        rows: &[(Bytes, Row)],
        now: WallMicros,
    ) -> Result<BoundWrite, RequestError> {
        let now_seconds = i64::from(now.clamped_seconds());
        let known = |changes: &[(ColumnId, BoundChange)], row: Option<&Row>| {
            let mut known = Vec::with_capacity(changes.len());
            for (column, change) in changes {
                let present = row.and_then(|row| row.complex_column(*column));
                known.push((*column, change.with_present(present, now_seconds)?));
            }
            Ok::<_, RequestError>(known)
        };
        let present: BTreeMap<&Bytes, &Row> = rows.iter().map(|(own, row)| (own, row)).collect();
        let mut parts = Vec::with_capacity(self.parts.len());
        for part in self.parts {
            if !part.reads_first() {
                parts.push(part);
                continue;
            }
            let static_changes = known(&part.static_changes, Some(static_row))?;
            if part.rows.is_empty() {
                parts.push(Part { static_changes, ..part });
                continue;
            }
            // What is done to each row is another thing now.
            let (mut part, mut static_changes) = (part, static_changes);
            for of_row in std::mem::take(&mut part.rows) {
                let row = match &of_row {
                    Rows::One(clustering) => present.get(clustering).copied(),
                    Rows::Nothing | Rows::All | Rows::Slice(_) => None,
                };
                let (rows, changes) = (vec![of_row], known(&part.changes, row)?);
                // Once, with the first row.
                let static_changes = std::mem::take(&mut static_changes);
                parts.push(Part { rows, static_changes, changes, ..part.clone() });
            }
        }
        Ok(BoundWrite { parts, ..self })
    }

    /// The mutation of this write at `timestamp` in microseconds, for statements that give none; `now` is the
    /// coordinator's clock, from which expiry and the age of tombstones count. It has no records when
    /// [`BoundWrite::is_empty`].
    ///
    /// # Errors
    /// `Server` for a write that reads first, and has not; `Invalid` when the mutation is larger than
    /// `MUTATION_BYTES_MAX`, deletes more than `RANGE_TOMBSTONES_MAX` ranges, or would expire after the year 2106,
    /// which 32 bits of seconds cannot say.
    pub fn mutation(&self, timestamp: i64, now: WallMicros) -> Result<Mutation, RequestError> {
        if self.reads_first() {
            return Err(RequestError::Server("the write changes lists that were not read".to_owned()));
        }
        let local_seconds = now.clamped_seconds();
        let mut changed = Changed::default();
        for part in self.parts.iter().filter(|part| !part.is_empty()) {
            self.add(part, part.timestamp.unwrap_or(timestamp), local_seconds, &mut changed)?;
        }
        changed.count(timestamp);
        if changed.deletions.ranges().len() > RANGE_TOMBSTONES_MAX {
            let message = format!("A write may not delete more than {RANGE_TOMBSTONES_MAX} ranges of rows");
            return Err(RequestError::Invalid(message));
        }
        let records = changed.into_records();
        let mutation = Mutation { table: self.table.id, partition: self.partition.clone(), records };
        let bytes = mutation.bytes();
        if bytes > MUTATION_BYTES_MAX {
            let message =
                format!("Mutation of {bytes} bytes is too large for the maximum size of {MUTATION_BYTES_MAX}");
            return Err(RequestError::Invalid(message));
        }
        Ok(mutation)
    }

    fn add(&self, part: &Part, timestamp: i64, local_seconds: u32, out: &mut Changed) -> Result<(), RequestError> {
        let deletion = Deletion { timestamp, local_seconds };
        let expiry = self.expiry(part.time_to_live, local_seconds)?;
        let row = |liveness, changes: &[(ColumnId, BoundChange)]| {
            let (mut cells, mut complex) = (Vec::with_capacity(changes.len()), Vec::new());
            for (column, change) in changes {
                match change {
                    BoundChange::Cell(value) => {
                        cells.push((*column, change::cell(value.as_ref(), timestamp, local_seconds, expiry)));
                    }
                    BoundChange::Elements { before, cells } => {
                        let times = (timestamp, local_seconds, expiry);
                        complex.push((*column, change::complex_column(*before, cells, times)));
                    }
                    BoundChange::EndCount => complex.push((*column, counter::deleted(local_seconds))),
                    // It was refused above.
                    BoundChange::OfPresent(_) => {}
                    // All that is added to a counter is one increment: [`Changed::count`].
                    BoundChange::Count(_) => {}
                }
            }
            Row::new(liveness, None, cells).with_complex(complex)
        };
        if !part.static_changes.is_empty() {
            out.add_row(None, row(None, &part.static_changes));
            out.add_counts(None, &part.static_changes);
        }
        for rows in &part.rows {
            match (rows, part.kind) {
                (Rows::Nothing, _) => {}
                (Rows::One(clustering), WriteKind::Insert | WriteKind::Update) => {
                    let liveness = (part.kind == WriteKind::Insert).then_some(Liveness { timestamp, expiry });
                    if liveness.is_some() || !part.changes.is_empty() {
                        out.add_row(Some(clustering.clone()), row(liveness, &part.changes));
                        out.add_counts(Some(clustering), &part.changes);
                    }
                }
                // Without clustering columns a partition is its one row.
                (Rows::One(clustering), WriteKind::DeleteRows) if self.table.clustering().next().is_some() => {
                    out.add_row(Some(clustering.clone()), Row::deleted(deletion));
                }
                (Rows::Slice(Slice { start, end }), _) => {
                    let range = PartitionDeletions::of_range(start.clone(), end.clone(), deletion);
                    out.deletions = out.deletions.merge(&range);
                }
                (Rows::One(_) | Rows::All, _) => {
                    out.deletions = out.deletions.merge(&PartitionDeletions::of_partition(deletion));
                }
            }
        }
        Ok(())
    }

    fn expiry(&self, ttl_seconds: u32, local_seconds: u32) -> Result<Option<Expiry>, RequestError> {
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
