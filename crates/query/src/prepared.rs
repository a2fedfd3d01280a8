//! A prepared statement, and what it becomes when values are bound to it.

use crate::ast::BatchKind;
use crate::conditional::ConditionalWrite;
use crate::definition::SchemaRequest;
use crate::description::Description;
use crate::evaluation::EvaluationContext;
use crate::explain::BoundExplain;
use crate::modification::CounterMixture;
use crate::operand::{Arguments, BoundValue, ColumnSpec};
use crate::read::{BoundRead, ReadPlan};
use crate::role::RoleStatement;
use crate::write::{BatchLimits, BatchPlan, BoundWrite, MergedWrites, ModificationPlan, batch_warnings};
use model::schema::{Schema, Table};
use model::{KeyspaceName, RequestError};
use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

/// What a statement does.
#[derive(Debug)]
pub(crate) enum Plan {
    Write(Arc<ModificationPlan>),
    Batch(Arc<BatchPlan>),
    Read(Arc<ReadPlan>),
    Schema(Box<SchemaRequest>),
    Use(KeyspaceName),
    Describe(Box<Description>),
    Role(Box<RoleStatement>),
    Explain(Box<ExplainPlan>),
    /// What is to be done only if there is something, and there is not.
    Nothing,
}

/// EXPLAIN.
#[derive(Debug)]
pub(crate) struct ExplainPlan {
    /// That of the statement, which is no EXPLAIN.
    pub(crate) plan: Plan,
    /// True to execute it.
    pub(crate) analyze: bool,
    pub(crate) columns: Vec<ColumnSpec>,
}

impl Plan {
    /// What is planned: of EXPLAIN the statement in it.
    fn statement(&self) -> &Plan {
        if let Plan::Explain(explain) = self { &explain.plan } else { self }
    }

    fn bind(&self, arguments: Arguments<'_>) -> Result<Bound, RequestError> {
        Ok(match self {
            Plan::Write(plan) => Bound::of_writes(plan.bind(arguments)?),
            Plan::Batch(plan) => Bound::of_batch(plan.bind(arguments)?, plan.kind)?,
            Plan::Read(plan) => Bound::Read(plan.bind(arguments)?),
            Plan::Schema(request) => Bound::Schema(SchemaRequest::clone(request)),
            Plan::Use(keyspace) => Bound::Use(keyspace.clone()),
            Plan::Nothing => Bound::Nothing,
            Plan::Describe(description) => Bound::Describe(Description::clone(description)),
            Plan::Role(statement) => Bound::Role(RoleStatement::clone(statement)),
            Plan::Explain(explain) => {
                let statement = Box::new(explain.plan.bind(arguments)?);
                Bound::Explain(BoundExplain { statement, analyze: explain.analyze })
            }
        })
    }
}

/// A statement bound to a schema: immutable, to be shared and executed many times. It holds the table
/// as it was when it was prepared, so it must be prepared again when that table changes or goes
/// ([`Prepared::is_current`]).
#[derive(Debug)]
pub struct Prepared {
    parameters: Vec<ColumnSpec>,
    partition_key_indexes: Vec<u16>,
    plan: Plan,
}

/// What a prepared statement does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PreparedKind {
    /// SELECT, DESCRIBE, LIST.
    Read,
    /// INSERT, UPDATE, DELETE, BATCH.
    Write,
    /// CREATE, ALTER, DROP, TRUNCATE.
    Schema,
    /// USE.
    Use,
}

/// A statement with its values.
#[derive(Clone, Debug)]
pub enum Bound {
    /// INSERT, UPDATE, DELETE or BATCH of one partition.
    Write(BoundWrite),
    /// The same of several partitions, or of none: each write happens on its own.
    Writes(Vec<BoundWrite>),
    /// A batch over several partitions or of none, or one of which there is something to say: of a logged one all
    /// writes happen, or none; else each on its own.
    Batch {
        /// One for each partition of each table.
        writes: Vec<BoundWrite>,
        /// What the batch promises.
        kind: BatchKind,
    },
    /// A write or a batch with IF.
    Conditional(ConditionalWrite),
    /// SELECT.
    Read(BoundRead),
    /// CREATE, ALTER, DROP, TRUNCATE.
    Schema(SchemaRequest),
    /// USE: the keyspace, which existed when the statement was prepared.
    Use(KeyspaceName),
    /// DESCRIBE.
    Describe(Description),
    /// CREATE, ALTER, DROP and LIST of roles.
    Role(RoleStatement),
    /// EXPLAIN.
    Explain(BoundExplain),
    /// ALTER or DROP, IF EXISTS, of a kind of which there are none.
    Nothing,
}

impl Bound {
    /// The batch of statements that were prepared and bound each by itself, as drivers make batches: the writes of one
    /// partition happen as a whole, as in a BATCH statement.
    ///
    /// # Errors
    /// `Invalid`, in Cassandra's words, for a statement that is no INSERT, UPDATE or DELETE; for counters and others
    /// together; for more partitions, rows or bytes than a batch may have.
    pub fn batch(statements: Vec<Bound>, kind: BatchKind) -> Result<Bound, RequestError> {
        let (mut merged, mut mixture) = (MergedWrites::default(), CounterMixture::default());
        for statement in statements {
            let writes = match statement {
                Bound::Write(write) => vec![write],
                Bound::Writes(writes) | Bound::Batch { writes, .. } => writes,
                Bound::Conditional(conditional) => vec![conditional.into_write()],
                Bound::Read(_)
                | Bound::Schema(_)
                | Bound::Use(_)
                | Bound::Describe(_)
                | Bound::Role(_)
                | Bound::Explain(_)
                | Bound::Nothing => {
                    let message = "Invalid statement in batch: only UPDATE, INSERT and DELETE statements are allowed.";
                    return Err(RequestError::Invalid(message.to_owned()));
                }
            };
            writes.iter().for_each(|write| mixture.add(write.table().is_counter(), ()));
            writes.into_iter().try_for_each(|write| merged.add(write))?;
        }
        mixture.check(kind).map_err(|((), message)| RequestError::Invalid(message.to_owned()))?;
        Bound::of_batch(merged.finish()?, kind)
    }

    /// USING TIMEOUT: how long it may take as a whole, if it says so itself.
    #[must_use]
    pub fn timeout(&self) -> Option<Duration> {
        match self {
            Bound::Read(read) => read.timeout(),
            Bound::Explain(explain) => explain.statement.timeout(),
            _ => None,
        }
    }

    /// Lets the time that is left for it decide: of what is read page by page the timeout is of all pages together.
    pub fn forget_timeout(&mut self) {
        if let Bound::Read(read) = self {
            read.timeout = None;
        }
    }

    /// What the client should know of the statement, in Cassandra's words.
    ///
    /// # Errors
    /// `Invalid` for a batch that is larger than `limits` let it be.
    pub fn warnings(&self, limits: BatchLimits) -> Result<Vec<String>, RequestError> {
        Ok(match self {
            Bound::Read(read) => read.warnings(),
            Bound::Batch { writes, kind } => batch_warnings(writes, *kind == BatchKind::Logged, limits)?,
            Bound::Schema(request) => request.warnings().to_vec(),
            Bound::Write(_) | Bound::Writes(_) | Bound::Conditional(_) | Bound::Use(_) => Vec::new(),
            Bound::Explain(explain) if explain.analyze => explain.statement.warnings(limits)?,
            Bound::Describe(_) | Bound::Role(_) | Bound::Explain(_) | Bound::Nothing => Vec::new(),
        })
    }

    fn of_batch(writes: Vec<BoundWrite>, kind: BatchKind) -> Result<Bound, RequestError> {
        if writes.iter().any(|write| !write.conditions.is_empty()) {
            return ConditionalWrite::of_batch(writes).map(Bound::Conditional);
        }
        // What the client is told of a logged batch it is told of one partition too.
        let warns = kind == BatchKind::Logged && writes.iter().any(|write| !write.table().keeps_deletions());
        Ok(match Bound::of_writes(writes) {
            Bound::Writes(writes) => Bound::Batch { writes, kind },
            Bound::Write(write) if warns => Bound::Batch { writes: vec![write], kind },
            one => one,
        })
    }

    fn of_writes(writes: Vec<BoundWrite>) -> Bound {
        match <[BoundWrite; 1]>::try_from(writes) {
            Ok([only]) if !only.conditions.is_empty() => Bound::Conditional(ConditionalWrite::of_statement(only)),
            Ok([only]) => Bound::Write(only),
            Err(writes) => Bound::Writes(writes),
        }
    }
}

impl Prepared {
    pub(crate) fn new(parameters: Vec<ColumnSpec>, plan: Plan) -> Prepared {
        let partition_key_indexes = match plan.statement() {
            Plan::Write(plan) => plan.partition_parameters(),
            Plan::Batch(plan) => {
                plan.statements.first().map(ModificationPlan::partition_parameters).unwrap_or_default()
            }
            Plan::Read(plan) => plan.restrictions.partition_parameters(),
            Plan::Schema(_) | Plan::Use(_) | Plan::Describe(_) | Plan::Role(_) | Plan::Explain(_) | Plan::Nothing => {
                Vec::new()
            }
        };
        Prepared { parameters, partition_key_indexes, plan }
    }

    /// What the statement does.
    #[must_use]
    pub fn kind(&self) -> PreparedKind {
        match &self.plan {
            Plan::Write(_) | Plan::Batch(_) => PreparedKind::Write,
            Plan::Read(_) | Plan::Describe(_) | Plan::Explain(_) => PreparedKind::Read,
            Plan::Role(statement) if !statement.columns().is_empty() => PreparedKind::Read,
            Plan::Schema(_) | Plan::Role(_) | Plan::Nothing => PreparedKind::Schema,
            Plan::Use(_) => PreparedKind::Use,
        }
    }

    /// The table that the statement reads or writes, as it was when the statement was prepared; of a batch that of its
    /// first statement.
    #[must_use]
    pub fn table(&self) -> Option<&Arc<Table>> {
        self.tables().into_iter().next()
    }

    /// The tables that the statement reads or writes, as they were when it was prepared.
    #[must_use]
    pub fn tables(&self) -> Vec<&Arc<Table>> {
        match self.plan.statement() {
            Plan::Write(plan) => vec![&plan.write().table],
            Plan::Batch(plan) => plan.statements.iter().map(|statement| &statement.write().table).collect(),
            Plan::Read(plan) => vec![&plan.table],
            Plan::Schema(_) | Plan::Use(_) | Plan::Describe(_) | Plan::Role(_) | Plan::Explain(_) | Plan::Nothing => {
                Vec::new()
            }
        }
    }

    /// True when its tables are the same in `schema`: else it must be prepared again.
    #[must_use]
    pub fn is_current(&self, schema: &Schema) -> bool {
        self.tables().into_iter().all(|table| schema.table(table.id).is_some_and(|now| Arc::ptr_eq(now, table)))
    }

    /// True when executing it twice is as executing it once. Not so: what is added to lists, and functions whose value
    /// is another each time.
    #[must_use]
    pub fn is_idempotent(&self) -> bool {
        let executed = match &self.plan {
            Plan::Explain(explain) if explain.analyze => &explain.plan,
            plan => plan,
        };
        match executed {
            Plan::Write(plan) => plan.write().is_idempotent(),
            Plan::Batch(plan) => plan.statements.iter().all(|statement| statement.write().is_idempotent()),
            Plan::Read(_) | Plan::Use(_) | Plan::Describe(_) | Plan::Explain(_) | Plan::Nothing => true,
            Plan::Role(statement) => !statement.columns().is_empty(),
            Plan::Schema(_) => false,
        }
    }

    /// True when it writes a table of counters.
    #[must_use]
    pub fn is_of_counters(&self) -> bool {
        self.kind() == PreparedKind::Write && self.tables().into_iter().any(|table| table.is_counter())
    }

    /// What it promises, if it is a batch.
    #[must_use]
    pub fn batch_kind(&self) -> Option<BatchKind> {
        if let Plan::Batch(plan) = &self.plan { Some(plan.kind) } else { None }
    }

    /// True for a write or a batch with IF: its result says whether it was applied, with columns that are not known
    /// before.
    #[must_use]
    pub fn is_conditional(&self) -> bool {
        let is_conditional = |statement: &ModificationPlan| statement.write().conditions.is_some();
        match &self.plan {
            Plan::Write(plan) => is_conditional(plan),
            Plan::Batch(plan) => plan.statements.iter().any(is_conditional),
            Plan::Read(_) | Plan::Schema(_) | Plan::Use(_) | Plan::Nothing => false,
            Plan::Describe(_) | Plan::Role(_) | Plan::Explain(_) => false,
        }
    }

    /// The bind markers in the order of the text. A named marker that stands twice is two parameters.
    #[must_use]
    pub fn parameters(&self) -> &[ColumnSpec] {
        &self.parameters
    }

    /// The columns of the result; empty unless the statement is a SELECT, DESCRIBE, EXPLAIN or LIST.
    #[must_use]
    pub fn result_columns(&self) -> &[ColumnSpec] {
        match &self.plan {
            Plan::Read(plan) => &plan.columns,
            Plan::Describe(description) => description.columns(),
            Plan::Role(statement) => statement.columns(),
            Plan::Explain(explain) => &explain.columns,
            Plan::Write(_) | Plan::Batch(_) | Plan::Schema(_) | Plan::Use(_) | Plan::Nothing => &[],
        }
    }

    /// The indexes of the parameters that make up the partition key, in the order of the key, so that
    /// a driver can compute the token; empty when a part of the key is not a parameter.
    #[must_use]
    pub fn partition_key_indexes(&self) -> &[u16] {
        &self.partition_key_indexes
    }

    /// The statement with `values`, one for each parameter; `context` says the time and gives what is random.
    ///
    /// # Errors
    /// `Invalid` when there are more or fewer values than parameters, one is not of its parameter's type
    /// or too large, or the key, TTL, timestamp or limit that they make is not allowed.
    pub fn bind(&self, values: &[BoundValue], context: EvaluationContext) -> Result<Bound, RequestError> {
        let context = RefCell::new(context);
        self.plan.bind(Arguments::new(&self.parameters, values, &context)?)
    }
}

#[cfg(test)]
#[path = "prepared_tests.rs"]
mod tests;
