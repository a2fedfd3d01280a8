//! EXPLAIN: what a statement would do, as rows for people and programs; with ANALYZE also what it has done.
//!
//! What the statement alone says is here: the partitions, the rows, what is filtered and how rows become a result. Who
//! would execute it adds which replicas it touches, and who has executed it what that took. A row of the result is a
//! [`Stage`].

use crate::ast::BatchKind;
use crate::function::Aggregate;
use crate::operand::ColumnSpec;
use crate::prepared::Bound;
use crate::read::{BoundRead, Grouping, ReadSource};
use crate::write::BoundWrite;
use bytes::Bytes;
use model::read::Slice;
use model::{CqlType, TokenRange, Value};
use std::sync::Arc;

/// Writes of a batch that are described one by one.
const WRITES_SHOWN_MAX: usize = 100;

/// EXPLAIN of a statement with its values.
#[derive(Clone, Debug)]
pub struct BoundExplain {
    /// The statement.
    pub statement: Box<Bound>,
    /// True to execute it, and to say what that took.
    pub analyze: bool,
}

/// What a part of the execution of a statement took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Measured {
    /// Rows read, or written to or found.
    pub rows: Option<u64>,
    /// Tombstones that were passed.
    pub tombstones: Option<u64>,
    /// How long it took, in microseconds.
    pub microseconds: Option<u64>,
}

/// A row of the result of EXPLAIN.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stage {
    /// One word for what it is about.
    pub stage: String,
    /// What happens there.
    pub detail: String,
    /// The addresses of the replicas that take part.
    pub replicas: Option<Vec<String>>,
    /// What it took, of a stage that was executed.
    pub measured: Measured,
}

impl Stage {
    /// A stage that is no matter of replicas.
    #[must_use]
    pub fn new(stage: &str, detail: impl Into<String>) -> Stage {
        Stage { stage: stage.to_owned(), detail: detail.into(), ..Stage::default() }
    }

    /// A stage that was executed.
    #[must_use]
    pub fn measured(stage: &str, detail: impl Into<String>, measured: Measured) -> Stage {
        Stage { measured, ..Stage::new(stage, detail) }
    }

    /// The row, in the order of the columns; with ANALYZE there are more of them.
    #[must_use]
    pub fn values(&self, analyze: bool) -> Vec<Option<Bytes>> {
        let text = |text: &str| Some(Value::Text(text.to_owned()).to_wire());
        let replicas = self.replicas.as_ref().map(|replicas| {
            Value::List(replicas.iter().map(|replica| Value::Text(replica.clone())).collect()).to_wire()
        });
        let mut values = vec![text(&self.stage), text(&self.detail), replicas];
        if analyze {
            let Measured { rows, tombstones, microseconds } = self.measured;
            let number = |number: u64| Value::BigInt(i64::try_from(number).unwrap_or(i64::MAX)).to_wire();
            values.extend([rows, tombstones, microseconds].map(|figure| figure.map(number)));
        }
        values
    }
}

/// The columns of the result.
pub(crate) fn columns(analyze: bool) -> Vec<ColumnSpec> {
    let replicas = CqlType::List { element: Arc::new(CqlType::Text), frozen: true };
    let mut columns = vec![("stage", CqlType::Text), ("detail", CqlType::Text), ("replicas", replicas)];
    if analyze {
        columns.extend(["rows", "tombstones", "microseconds"].map(|name| (name, CqlType::BigInt)));
    }
    let spec = |(name, cql_type): (&str, CqlType)| ColumnSpec {
        keyspace: "system".to_owned(),
        table: "explain".to_owned(),
        name: name.to_owned(),
        cql_type,
    };
    columns.into_iter().map(spec).collect()
}

fn counted(count: usize, one: &str, many: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {many}") }
}

impl BoundExplain {
    /// What the statement alone says, in the order in which it happens.
    #[must_use]
    pub fn stages(&self) -> Vec<Stage> {
        match self.statement.as_ref() {
            Bound::Read(read) => read_stages(read),
            Bound::Write(write) => vec![write_stage(write)],
            Bound::Conditional(conditional) => {
                let condition = "replicas agree on what is there, by Paxos, and on what follows from it";
                vec![Stage::new("condition", condition), write_stage(conditional.write())]
            }
            Bound::Writes(writes) | Bound::Batch { writes, .. } => {
                let mut stages: Vec<Stage> = writes.iter().take(WRITES_SHOWN_MAX).map(write_stage).collect();
                if matches!(self.statement.as_ref(), Bound::Batch { kind: BatchKind::Logged, .. }) && writes.len() > 1 {
                    let log = "two other nodes keep the batch until all of it is written, and finish it if need be";
                    stages.insert(0, Stage::new("log", log));
                }
                if let Some(more) = writes.len().checked_sub(WRITES_SHOWN_MAX + 1) {
                    stages.push(Stage::new("write", format!("and {} more partitions", more + 1)));
                }
                stages
            }
            Bound::Schema(_)
            | Bound::Use(_)
            | Bound::Describe(_)
            | Bound::Role(_)
            | Bound::Explain(_)
            | Bound::Nothing => Vec::new(),
        }
    }
}

fn write_stage(write: &BoundWrite) -> Stage {
    let table = write.table();
    let what = if write.is_empty() { "nothing: no row is meant".to_owned() } else { write.described() };
    Stage::new("write", format!("{}.{}: {what}", table.keyspace, table.name))
}

fn read_stages(read: &BoundRead) -> Vec<Stage> {
    let table = read.table();
    let mut stages = vec![Stage::new("table", format!("{}.{}", table.keyspace, table.name))];
    stages.push(Stage::new("partitions", partitions(read)));
    if let Some(index) = read.index_name() {
        stages.push(Stage::new("index", format!("{index}: replicas name the rows to read")));
    }
    stages.push(Stage::new("rows", rows(read)));
    let columns = &table.columns;
    let filters: Vec<String> = read.filters.iter().map(|filter| filter.described(&columns[filter.column])).collect();
    if filters.is_empty() {
        stages.push(Stage::new("filter", "none: every row that is read counts"));
    }
    for (number, filter) in filters.into_iter().enumerate() {
        let looked_up = number < read.filters_looked_up();
        let how = if looked_up {
            "looked up in the index, and checked again"
        } else {
            "rows that it leaves out are read too"
        };
        stages.push(Stage::new("filter", format!("{filter}: {how}")));
    }
    stages.extend(result_stages(read));
    stages
}

/// How the rows that are read become those of the result.
fn result_stages(read: &BoundRead) -> Vec<Stage> {
    let (plan, mut stages) = (read.plan(), Vec::new());
    let clustering = |position: usize| plan.table.clustering().nth(position).map_or("", |column| column.name.as_str());
    match &read.grouping {
        Grouping::None => {}
        Grouping::All => stages.push(Stage::new("group", "all rows into one")),
        Grouping::Rows { columns, last } => {
            let key = plan.table.partition_key().map(|column| column.name.as_str());
            let names: Vec<&str> = key.chain((0..*columns).map(clustering)).collect();
            let cut = if last.is_some() { ", the last one cut by a function" } else { "" };
            stages.push(Stage::new("group", format!("rows with the same {}{cut}", names.join(", "))));
        }
    }
    if plan.distinct {
        stages.push(Stage::new("group", "one row of each partition"));
    }
    if !plan.selection.aggregates.is_empty() {
        let names = plan.selection.aggregates.iter().map(|own| match own.aggregate() {
            Aggregate::CountRows => "count(*)",
            _ => own.function.name.as_str(),
        });
        stages.push(Stage::new("aggregate", names.collect::<Vec<_>>().join(", ")));
    }
    if !plan.sorting.is_empty() {
        let order = |(position, descending): &(usize, bool)| {
            format!("{} {}", clustering(*position), if *descending { "DESC" } else { "ASC" })
        };
        let orders: Vec<String> = plan.sorting.iter().map(order).collect();
        stages.push(Stage::new("sort", format!("the rows of all partitions by {}, in one page", orders.join(", "))));
    }
    let limits = [(read.limit(), "of the result"), (read.per_partition_limit, "of each partition")];
    for (limit, of) in limits {
        stages
            .extend(limit.map(|limit| Stage::new("limit", format!("{} {of}", counted(limit as usize, "row", "rows")))));
    }
    stages
}

fn partitions(read: &BoundRead) -> String {
    match read.source() {
        ReadSource::Partitions(keys) if keys.is_empty() => "none: no row can match".to_owned(),
        ReadSource::Partitions(keys) => format!("{}, by key", counted(keys.len(), "partition", "partitions")),
        ReadSource::Range(range) if range == TokenRange::ALL => "all partitions of the table".to_owned(),
        ReadSource::Range(TokenRange { start, end }) => {
            format!("the partitions with tokens above {} up to {}", start.0, end.0)
        }
    }
}

fn rows(read: &BoundRead) -> String {
    let order = if read.plan().reversed { ", from the last to the first" } else { "" };
    let is_one = |slice: &Slice| slice.end.strip_suffix(&[0]) == Some(slice.start.as_ref());
    let slices = read.selected_rows();
    let which = if read.table().clustering().next().is_none() {
        "the one row of a partition".to_owned()
    } else if slices.is_empty() {
        "none".to_owned()
    } else if *slices == [Slice::all()] {
        "all of a partition".to_owned()
    } else if slices.iter().all(is_one) {
        format!("{} of a partition, by key", counted(slices.len(), "row", "rows"))
    } else {
        format!("{} of a partition's rows", counted(slices.len(), "range", "ranges"))
    };
    format!("{which}{order}")
}

#[cfg(test)]
#[path = "explain_tests.rs"]
mod tests;
