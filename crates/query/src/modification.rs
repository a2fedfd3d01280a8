//! INSERT, UPDATE, DELETE and BATCH: from the syntax tree to plans.

use crate::ast::{
    Assignment, Batch, BatchKind, Comparand, Condition, Delete, DeletedColumn, Insert, InsertedValues, Modification,
    Name, Operation, Operator, QualifiedName, Relation, Subject, Term, TermKind, Update, Using,
};
use crate::binder::Binder;
use crate::change::{Change, key_type};
use crate::condition::ConditionsPlan;
use crate::constraint::Constraints;
use crate::operand::{ColumnSpec, Operand};
use crate::restriction::{KeyPlan, Restrictions, StatementKind};
use crate::source::Position;
use crate::term::text;
use crate::write::{BatchPlan, Changes, JsonPlan, ModificationPlan, Times, WriteKind, WritePlan};
use model::limits::BIND_MARKERS_MAX;
use model::schema::{Column, ColumnKind, Table};
use model::{CqlType, RequestError};
use std::sync::Arc;

/// The changes of a statement, those of static columns apart.
#[derive(Default)]
struct Changed {
    of_static: Changes,
    of_rows: Changes,
}

impl Changed {
    fn add(&mut self, table: &Table, column: &Column, change: Change) {
        let Some(index) = table.columns.iter().position(|known| known.id == column.id) else { return };
        let changes = if column.kind == ColumnKind::Static { &mut self.of_static } else { &mut self.of_rows };
        changes.push((index, change));
    }

    fn only_static(&self) -> bool {
        self.of_rows.is_empty() && !self.of_static.is_empty()
    }
}

/// Where the first statement of counters and the first of other tables stand in a batch.
#[derive(Debug)]
pub(crate) struct CounterMixture<P> {
    counters: Option<P>,
    others: Option<P>,
}

impl<P> Default for CounterMixture<P> {
    fn default() -> CounterMixture<P> {
        CounterMixture { counters: None, others: None }
    }
}

impl<P: Copy> CounterMixture<P> {
    /// Takes note of a statement at `at`.
    pub(crate) fn add(&mut self, is_counter: bool, at: P) {
        let first = if is_counter { &mut self.counters } else { &mut self.others };
        first.get_or_insert(at);
    }

    /// Refuses what may not be together in a batch of this kind.
    ///
    /// # Errors
    /// Where it stands and what is wrong, in Cassandra's words.
    pub(crate) fn check(&self, kind: BatchKind) -> Result<(), (P, &'static str)> {
        match (kind, self.counters, self.others) {
            (BatchKind::Counter, _, Some(at)) => Err((at, "Cannot include non-counter statement in a counter batch")),
            (_, Some(at), Some(_)) => Err((at, "Counter and non-counter mutations cannot exist in the same batch")),
            (BatchKind::Logged, Some(at), None) => Err((at, "Cannot include a counter statement in a logged batch")),
            (_, None, _) | (BatchKind::Counter | BatchKind::Unlogged, Some(_), None) => Ok(()),
        }
    }
}

fn is_key(column: &Column) -> bool {
    matches!(column.kind, ColumnKind::PartitionKey(_) | ColumnKind::Clustering(..))
}

fn is_user_defined(cql_type: &CqlType) -> bool {
    matches!(cql_type, CqlType::UserDefined { .. })
}

fn is_null(term: &Term) -> bool {
    matches!(term.kind, TermKind::Null)
}

/// `operation` in the words of Cassandra's messages.
fn operation_text(name: &str, operation: &Operation) -> String {
    match operation {
        Operation::Set(value) => format!("{name} = {}", text(value)),
        Operation::Add(value) => format!("{name} = {name} + {}", text(value)),
        Operation::Subtract(value) => format!("{name} = {name} - {}", text(value)),
        // Cassandra's messages have the wrong sign, and tools match on them.
        Operation::Prepend(value) => format!("{name} = {} - {name}", text(value)),
        Operation::SetElement { key, value } => format!("{name}[{}] = {}", text(key), text(value)),
        Operation::SetField { field, value } => format!("{name}.{} = {}", field.text, text(value)),
    }
}

impl Binder<'_> {
    /// The plan of a statement that writes.
    pub(crate) fn modification(&mut self, statement: &Modification) -> Result<ModificationPlan, RequestError> {
        match statement {
            Modification::Insert(insert) => self.insert(insert),
            Modification::Update(update) => self.update(update).map(ModificationPlan::Write),
            Modification::Delete(delete) => self.delete(delete).map(ModificationPlan::Write),
        }
    }

    /// The plan of a batch.
    pub(crate) fn batch(&mut self, batch: &Batch) -> Result<BatchPlan, RequestError> {
        let Batch { kind, using, statements, at } = batch;
        let source = self.source;
        if using.time_to_live.is_some() {
            return Err(source.invalid(*at, "Global TTL on the BATCH statement is not supported."));
        }
        if using.timestamp.is_some() && *kind == BatchKind::Counter {
            return Err(source.invalid(*at, "Cannot provide custom timestamp for counter BATCH"));
        }
        let own = statements.iter().find_map(|statement| match statement {
            Modification::Insert(Insert { using: Using { timestamp, .. }, .. })
            | Modification::Update(Update { using: Using { timestamp, .. }, .. })
            | Modification::Delete(Delete { timestamp, .. }) => timestamp.as_ref(),
        });
        if let Some(own) = own.filter(|_| using.timestamp.is_some()) {
            return Err(source.invalid(own.at, "Timestamp must be set either on BATCH or individual statements"));
        }
        self.check_counters(*kind, statements)?;
        let stated = using.timestamp.as_ref().or(own);
        self.check_conditions(statements, stated.map(|term| term.at))?;
        let plans = statements.iter().map(|statement| self.modification(statement)).collect::<Result<Vec<_>, _>>()?;
        // The timestamp is no column's: it needs a table only to be named for drivers.
        let timestamp = match (&using.timestamp, plans.first()) {
            (Some(term), Some(plan)) => {
                let table = Arc::clone(&plan.write().table);
                Some(self.operand(&table, term, "[timestamp]", &CqlType::BigInt)?)
            }
            (Some(term), None) => return Err(source.invalid(term.at, "A batch without statements has no timestamp")),
            (None, _) => None,
        };
        Ok(BatchPlan { statements: plans, kind: *kind, timestamp })
    }

    /// Refuses what conditions may not be together with in a batch. `timestamp` is where one is given, if one is.
    fn check_conditions(&self, statements: &[Modification], timestamp: Option<Position>) -> Result<(), RequestError> {
        let is_conditional = |statement: &Modification| match statement {
            Modification::Insert(insert) => insert.if_not_exists.is_some(),
            Modification::Update(update) => update.condition.is_some(),
            Modification::Delete(delete) => delete.condition.is_some(),
        };
        if !statements.iter().any(is_conditional) {
            return Ok(());
        }
        if let Some(at) = timestamp {
            return Err(self.source.invalid(at, "Cannot provide custom timestamp for conditional BATCH"));
        }
        let mut first = None;
        for statement in statements {
            let (Modification::Insert(Insert { table: name, .. })
            | Modification::Update(Update { table: name, .. })
            | Modification::Delete(Delete { table: name, .. })) = statement;
            let table = self.table(name)?.id;
            if *first.get_or_insert(table) != table {
                return Err(self.source.invalid(name.at(), "Batch with conditions cannot span multiple tables"));
            }
        }
        Ok(())
    }

    /// Refuses what counters may not be together with in a batch.
    fn check_counters(&self, kind: BatchKind, statements: &[Modification]) -> Result<(), RequestError> {
        let mut mixture = CounterMixture::default();
        for statement in statements {
            let (Modification::Insert(Insert { table, .. })
            | Modification::Update(Update { table, .. })
            | Modification::Delete(Delete { table, .. })) = statement;
            mixture.add(self.table(table)?.is_counter(), table.at());
        }
        mixture.check(kind).map_err(|(at, message)| self.source.invalid(at, message))
    }

    fn write_times(&mut self, table: &Table, using: &Using) -> Result<Times, RequestError> {
        if table.is_counter() {
            let refused = using.timestamp.as_ref().map(|term| (term.at, "timestamp"));
            if let Some((at, what)) = refused.or(using.time_to_live.as_ref().map(|term| (term.at, "TTL"))) {
                return Err(self.source.invalid(at, format!("Cannot provide custom {what} for counter updates")));
            }
        }
        let mut operand = |term: &Option<Term>, name: &str, cql_type: CqlType| {
            term.as_ref().map(|term| self.operand(table, term, name, &cql_type)).transpose()
        };
        Ok(Times {
            time_to_live: operand(&using.time_to_live, "[ttl]", CqlType::Int)?,
            timestamp: operand(&using.timestamp, "[timestamp]", CqlType::BigInt)?,
        })
    }

    fn insert(&mut self, insert: &Insert) -> Result<ModificationPlan, RequestError> {
        let table = self.written_table(&insert.table)?;
        if table.is_counter() {
            let message = "INSERT statements are not allowed on counter tables, use UPDATE instead";
            return Err(self.source.invalid(insert.table.at(), message));
        }
        let plan = match &insert.values {
            InsertedValues::Columns { columns, values } => {
                ModificationPlan::Write(self.insert_columns(&table, insert, columns, values)?)
            }
            InsertedValues::Json { value, default_unset } => {
                ModificationPlan::Json(self.insert_json(&table, insert, value, *default_unset)?)
            }
        };
        match insert.if_not_exists {
            Some(at) if insert.using.timestamp.is_some() => {
                Err(self.source.invalid(at, "Cannot provide custom timestamp for conditional updates"))
            }
            _ => Ok(plan),
        }
    }

    fn insert_columns(
        &mut self,
        table: &Arc<Table>,
        insert: &Insert,
        columns: &[Name],
        values: &[Term],
    ) -> Result<WritePlan, RequestError> {
        if columns.len() != values.len() {
            let at = columns.first().map_or(insert.table.name.at, |name| name.at);
            return Err(self.source.invalid(at, "Unmatched column names/values"));
        }
        let mut seen = vec![false; table.columns.len()];
        let mut restrictions = Restrictions::new(table, StatementKind::Insert);
        let mut changed = Changed::default();
        for (name, term) in columns.iter().zip(values) {
            let column = self.column(table, name)?;
            let index = table.columns.iter().position(|known| known.id == column.id).unwrap_or_default();
            if std::mem::replace(&mut seen[index], true) {
                return Err(self.source.invalid(name.at, "The column names contains duplicates"));
            }
            let operand = self.operand(table, term, &column.name, &column.cql_type)?;
            if is_key(column) {
                restrictions.equal(self.source, column, name.at, operand)?;
            } else {
                changed.add(table, column, Change::Set(operand));
            }
        }
        let times = self.write_times(table, &insert.using)?;
        // Without any clustering column it can be about the static row alone.
        let only_static = changed.only_static() && !restrictions.has_clustering();
        let plan = self.plan(table, WriteKind::Insert, &restrictions, changed, times, only_static)?;
        Ok(WritePlan { conditions: insert.if_not_exists.map(|_| ConditionsPlan::NotExists), ..plan })
    }

    fn plan(
        &self,
        table: &Arc<Table>,
        kind: WriteKind,
        restrictions: &Restrictions<'_>,
        changed: Changed,
        times: Times,
        only_static: bool,
    ) -> Result<WritePlan, RequestError> {
        let key: KeyPlan = if only_static {
            restrictions.rows_of_partition(self.source)?
        } else {
            restrictions.whole_key(self.source)?
        };
        let Changed { of_static: static_changes, of_rows: changes } = changed;
        let constraints = Constraints::of(table, kind, only_static, &static_changes, &changes)?;
        let (table, conditions) = (Arc::clone(table), None);
        Ok(WritePlan { table, kind, key, only_static, static_changes, changes, times, conditions, constraints })
    }

    /// INSERT JSON is an INSERT of every column, whose values are parameters that the JSON gives.
    fn insert_json(
        &mut self,
        table: &Arc<Table>,
        insert: &Insert,
        value: &Term,
        default_unset: bool,
    ) -> Result<JsonPlan, RequestError> {
        if table.columns.len() > BIND_MARKERS_MAX {
            return Err(self.source.unsupported(value.at, "INSERT JSON into a table of so many columns is"));
        }
        let json = self.operand(table, value, "[json]", &CqlType::Text)?;
        let mut restrictions = Restrictions::new(table, StatementKind::Insert);
        let mut changed = Changed::default();
        for (column, index) in table.columns.iter().zip(0..) {
            let operand = Operand::Parameter(index);
            if is_key(column) {
                restrictions.equal(self.source, column, value.at, operand)?;
            } else {
                changed.add(table, column, Change::Set(operand));
            }
        }
        let times = self.write_times(table, &insert.using)?;
        let plan = self.plan(table, WriteKind::Insert, &restrictions, changed, times, false)?;
        let plan = WritePlan { conditions: insert.if_not_exists.map(|_| ConditionsPlan::NotExists), ..plan };
        let spec = |column: &Column| ColumnSpec {
            keyspace: table.keyspace.clone(),
            table: table.name.clone(),
            name: column.name.clone(),
            cql_type: column.cql_type.clone(),
        };
        Ok(JsonPlan { json, default_unset, columns: table.columns.iter().map(spec).collect(), plan })
    }

    fn update(&mut self, update: &Update) -> Result<WritePlan, RequestError> {
        let table = self.written_table(&update.table)?;
        let times = self.write_times(&table, &update.using)?;
        let mut changed = Changed::default();
        for (index, assignment) in update.assignments.iter().enumerate() {
            let name = &assignment.column;
            let column = self.column(&table, name)?;
            if is_key(column) {
                let message = format!("PRIMARY KEY part {} found in SET part", column.name);
                return Err(self.source.invalid(name.at, message));
            }
            let before = update.assignments[..index].iter();
            let same = |other: &&Assignment| other.column.text == name.text && !is_compatible(other, assignment);
            if before.clone().any(|other| same(&other)) {
                let message = format!("Multiple incompatible setting of column {}", column.name);
                return Err(self.source.syntax(name.at, message));
            }
            let change = match column.cql_type {
                CqlType::Counter => self.count(&table, column, assignment)?,
                _ => self.change(&table, column, assignment)?,
            };
            changed.add(&table, column, change);
        }
        let conditions = self.condition(&table, update.condition.as_ref(), update.using.timestamp.as_ref())?;
        let only_static = changed.only_static() && !is_about_rows(&table, conditions.as_ref());
        let restrictions = Restrictions::of(self, &table, StatementKind::Update, &update.relations)?;
        self.check_only_static(&table, &update.table, &restrictions, only_static, StatementKind::Update)?;
        if conditions.is_some() {
            self.check_one_row(&table, &update.relations, "updates")?;
        }
        let plan = self.plan(&table, WriteKind::Update, &restrictions, changed, times, only_static)?;
        Ok(WritePlan { conditions, ..plan })
    }

    /// The plan of what follows IF, if anything does. `timestamp` is that of USING.
    fn condition(
        &mut self,
        table: &Table,
        condition: Option<&(Condition, Position)>,
        timestamp: Option<&Term>,
    ) -> Result<Option<ConditionsPlan>, RequestError> {
        let Some((condition, at)) = condition else { return Ok(None) };
        if table.is_counter() {
            let message = match condition {
                Condition::Exists => "Conditional updates are not supported on counter tables",
                Condition::Relations(_) => "Conditions on counters are not supported",
            };
            return Err(self.source.invalid(*at, message));
        }
        if timestamp.is_some() {
            return Err(self.source.invalid(*at, "Cannot provide custom timestamp for conditional updates"));
        }
        self.conditions(table, condition).map(Some)
    }

    /// Refuses IN in the key of a conditional statement: its condition is of one row.
    fn check_one_row(&self, table: &Table, relations: &[Relation], what: &str) -> Result<(), RequestError> {
        let several = |relation: &&Relation| match &relation.comparand {
            Comparand::Many(values) => relation.operator == Operator::In && values.len() != 1,
            _ => relation.operator == Operator::In,
        };
        for relation in relations.iter().filter(several) {
            let names = match &relation.subject {
                Subject::Column(name) => std::slice::from_ref(name),
                Subject::Columns(names) => names,
                _ => continue,
            };
            let of_partition = names.iter().any(|name| {
                let column = table.columns.iter().find(|column| column.name == name.text);
                column.is_some_and(|column| matches!(column.kind, ColumnKind::PartitionKey(_)))
            });
            let part = if of_partition { "partition key" } else { "clustering key columns" };
            let message = format!("IN on the {part} is not supported with conditional {what}");
            return Err(self.source.invalid(relation.at, message));
        }
        Ok(())
    }

    /// Refuses rows for a statement that writes static columns alone.
    fn check_only_static(
        &self,
        table: &Table,
        name: &QualifiedName,
        restrictions: &Restrictions<'_>,
        only_static: bool,
        kind: StatementKind,
    ) -> Result<(), RequestError> {
        if only_static && table.clustering().next().is_some() && restrictions.has_clustering() {
            let message = format!(
                "Invalid restrictions on clustering columns since the {kind} statement modifies only static columns"
            );
            return Err(self.source.invalid(name.at(), message));
        }
        Ok(())
    }

    /// The change of a counter.
    fn count(&mut self, table: &Table, column: &Column, assignment: &Assignment) -> Result<Change, RequestError> {
        let (name, at) = (&column.name, assignment.column.at);
        let (value, negated) = match &assignment.operation {
            Operation::Add(value) => (value, false),
            Operation::Subtract(value) => (value, true),
            Operation::Set(value) if !is_null(value) => {
                self.operand(table, value, name, &CqlType::Counter)?;
                let message = format!(
                    "Cannot set the value of counter column {name} (counters can only be incremented/decremented, \
                     not set)"
                );
                return Err(self.source.invalid(at, message));
            }
            Operation::Set(value) => (value, false),
            operation @ (Operation::Prepend(_) | Operation::SetElement { .. } | Operation::SetField { .. }) => {
                return Err(self.invalid_operation(column, operation, at));
            }
        };
        if is_null(value) {
            return Err(self.source.invalid(value.at, "Invalid null value for counter increment/decrement"));
        }
        Ok(Change::Count { by: self.operand(table, value, name, &CqlType::Counter)?, negated })
    }

    /// The error that a column's type does not have an operation.
    fn invalid_operation(&self, column: &Column, operation: &Operation, at: Position) -> RequestError {
        let Column { name, cql_type, .. } = column;
        let shown = operation_text(name, operation);
        let what = match operation {
            Operation::SetField { .. } if is_user_defined(cql_type) => "frozen UDT",
            Operation::SetField { .. } => "non-UDT",
            Operation::Prepend(_) if matches!(cql_type, CqlType::List { .. }) => "frozen list",
            Operation::Prepend(_) => "non list",
            Operation::SetElement { .. } if matches!(cql_type, CqlType::Set { frozen: false, .. }) => "set",
            _ if cql_type.is_collection() => "frozen collection",
            Operation::SetElement { .. } => "non collection",
            Operation::Add(_) if matches!(cql_type, CqlType::Tuple(_)) || is_user_defined(cql_type) => "tuple",
            _ => "non counter",
        };
        self.source.invalid(at, format!("Invalid operation ({shown}) for {what} column {name}"))
    }

    fn change(&mut self, table: &Table, column: &Column, assignment: &Assignment) -> Result<Change, RequestError> {
        let Column { name, cql_type, .. } = column;
        let (at, operation) = (assignment.column.at, &assignment.operation);
        let is_list = matches!(cql_type, CqlType::List { frozen: false, .. });
        let is_map = matches!(cql_type, CqlType::Map { frozen: false, .. });
        let is_multi_cell_collection = cql_type.is_multi_cell() && cql_type.is_collection();
        match operation {
            Operation::Set(value) => Ok(Change::Set(self.operand(table, value, name, cql_type)?)),
            Operation::Add(value) if is_map => {
                let has_null = match &value.kind {
                    TermKind::Map(entries) => {
                        entries.iter().any(|(key, value)| [key, value].iter().any(|part| is_null(part)))
                    }
                    _ => false,
                };
                let operand = self.operand(table, value, name, cql_type).ok().filter(|_| !has_null);
                let refused = || {
                    let message = format!("Value for a map addition has to be a map, but was: '{}'", text(value));
                    self.source.invalid(value.at, message)
                };
                operand.map(Change::Add).ok_or_else(refused)
            }
            Operation::Add(value) if is_multi_cell_collection => {
                Ok(Change::Add(self.operand(table, value, name, cql_type)?))
            }
            Operation::Prepend(value) if is_list => Ok(Change::Prepend(self.operand(table, value, name, cql_type)?)),
            Operation::Subtract(value) if is_list => {
                Ok(Change::RemoveValues(self.operand(table, value, name, cql_type)?))
            }
            Operation::Subtract(value) if is_multi_cell_collection => {
                // Of a map the keys are named.
                if is_map && matches!(value.kind, TermKind::Map(_)) {
                    let shown = text(value);
                    let message = format!("Value for a map substraction has to be a set, but was: '{shown}'");
                    return Err(self.source.invalid(value.at, message));
                }
                let keys = CqlType::Set { element: Arc::new(key_type(cql_type).clone()), frozen: false };
                match self.operand(table, value, name, &keys) {
                    Err(_) if is_map => {
                        let shown = text(value);
                        let message = format!("Value for a map substraction has to be a set, but was: '{shown}'");
                        Err(self.source.invalid(value.at, message))
                    }
                    operand => operand.map(Change::Remove),
                }
            }
            Operation::SetElement { key, value } if is_list => {
                let index = self.operand(table, key, &format!("idx({name})"), &CqlType::Int)?;
                let value = self.operand(table, value, &format!("value({name})"), key_type(cql_type))?;
                Ok(Change::SetIndex { index, value })
            }
            Operation::SetElement { key, value } if is_map => {
                let CqlType::Map { entry, .. } = cql_type else {
                    return Err(self.invalid_operation(column, operation, at));
                };
                let key = self.operand(table, key, &format!("key({name})"), &entry.0)?;
                let value = self.operand(table, value, &format!("value({name})"), &entry.1)?;
                Ok(Change::SetElement { key, value })
            }
            Operation::SetField { field, value } if is_user_defined(cql_type) && cql_type.is_multi_cell() => {
                let (index, field_type) = self.field(column, field)?;
                let value = self.operand(table, value, &format!("{name}.{}", field.text), &field_type)?;
                Ok(Change::SetField { index, value })
            }
            operation => Err(self.invalid_operation(column, operation, at)),
        }
    }

    /// The index and the type of a field of a column of a user-defined type.
    pub(crate) fn field(&self, column: &Column, field: &Name) -> Result<(u16, CqlType), RequestError> {
        let missing = || {
            let message = format!("UDT column {} does not have a field named {}", column.name, field.text);
            self.source.invalid(field.at, message)
        };
        let CqlType::UserDefined { definition, .. } = &column.cql_type else { return Err(missing()) };
        let position = definition.fields.iter().position(|(name, _)| *name == field.text).ok_or_else(missing)?;
        let index = u16::try_from(position).map_err(|_| missing())?;
        Ok((index, definition.fields[position].1.clone()))
    }

    fn delete(&mut self, delete: &Delete) -> Result<WritePlan, RequestError> {
        let table = self.written_table(&delete.table)?;
        let using = Using { time_to_live: None, timestamp: delete.timestamp.clone() };
        let times = self.write_times(&table, &using)?;
        let mut changed = Changed::default();
        for deleted in &delete.columns {
            let (DeletedColumn::Column(name)
            | DeletedColumn::Element { column: name, .. }
            | DeletedColumn::Field { column: name, .. }) = deleted;
            let column = self.column(&table, name)?;
            if is_key(column) {
                let name_text = &column.name;
                let message = format!("Invalid identifier {name_text} for deletion (should not be a PRIMARY KEY part)");
                return Err(self.source.invalid(name.at, message));
            }
            let change = self.deletion(&table, column, deleted, name.at)?;
            changed.add(&table, column, change);
        }
        let conditions = self.condition(&table, delete.condition.as_ref(), delete.timestamp.as_ref())?;
        let only_static = changed.only_static() && !is_about_rows(&table, conditions.as_ref());
        let restrictions = Restrictions::of(self, &table, StatementKind::Delete, &delete.relations)?;
        self.check_only_static(&table, &delete.table, &restrictions, only_static, StatementKind::Delete)?;
        let key = restrictions.rows_of_partition(self.source)?;
        let names_columns = !changed.of_rows.is_empty();
        if names_columns && !key.is_one_row(&table) {
            let message = "Range deletions are not supported for specific columns";
            let at = delete.columns.iter().map(|deleted| match deleted {
                DeletedColumn::Column(name)
                | DeletedColumn::Element { column: name, .. }
                | DeletedColumn::Field { column: name, .. } => name.at,
            });
            return Err(self.source.invalid(at.min().unwrap_or_default(), message));
        }
        if let Some((_, at)) = &delete.condition {
            self.check_one_row(&table, &delete.relations, "deletions")?;
            if !only_static && !key.is_one_row(&table) {
                let message = if names_columns || changed.of_static.is_empty() {
                    "DELETE statements must restrict all PRIMARY KEY columns with equality relations in order to \
                     delete non static columns"
                } else {
                    "DELETE statements must restrict all PRIMARY KEY columns with equality relations in order to use \
                     IF condition on non static columns"
                };
                return Err(self.source.invalid(*at, message));
            }
        }
        let kind = if delete.columns.is_empty() { WriteKind::DeleteRows } else { WriteKind::Update };
        let Changed { of_static: static_changes, of_rows: changes } = changed;
        let constraints = Constraints::of(&table, kind, only_static, &static_changes, &changes)?;
        Ok(WritePlan { table, kind, key, only_static, static_changes, changes, times, conditions, constraints })
    }

    fn deletion(
        &mut self,
        table: &Table,
        column: &Column,
        deleted: &DeletedColumn,
        at: Position,
    ) -> Result<Change, RequestError> {
        let Column { name, cql_type, .. } = column;
        match deleted {
            DeletedColumn::Column(_) => Ok(Change::Delete),
            DeletedColumn::Element { .. } if !cql_type.is_collection() => {
                let message = format!("Invalid deletion operation for non collection column {name}");
                Err(self.source.invalid(at, message))
            }
            DeletedColumn::Element { .. } if !cql_type.is_multi_cell() => {
                let message = format!("Invalid deletion operation for frozen collection column {name}");
                Err(self.source.invalid(at, message))
            }
            DeletedColumn::Element { key, .. } if matches!(cql_type, CqlType::List { .. }) => {
                Ok(Change::DeleteIndex(self.operand(table, key, &format!("idx({name})"), &CqlType::Int)?))
            }
            DeletedColumn::Element { key, .. } => {
                let what = if matches!(cql_type, CqlType::Map { .. }) { "key" } else { "value" };
                Ok(Change::DeleteElement(self.operand(table, key, &format!("{what}({name})"), key_type(cql_type))?))
            }
            DeletedColumn::Field { .. } if !is_user_defined(cql_type) => {
                Err(self.source.invalid(at, format!("Invalid field deletion operation for non-UDT column {name}")))
            }
            DeletedColumn::Field { .. } if !cql_type.is_multi_cell() => {
                Err(self.source.invalid(at, format!("Frozen UDT column {name} does not support field deletions")))
            }
            DeletedColumn::Field { field, .. } => Ok(Change::DeleteField(self.field(column, field)?.0)),
        }
    }
}

/// True when a condition is about columns that are not static.
fn is_about_rows(table: &Table, conditions: Option<&ConditionsPlan>) -> bool {
    conditions.is_some_and(|conditions| conditions.is_about(table, false))
}

/// True when two assignments of one column can stand beside each other.
fn is_compatible(a: &Assignment, b: &Assignment) -> bool {
    match (&a.operation, &b.operation) {
        (Operation::Set(_), _) | (_, Operation::Set(_)) => false,
        (Operation::SetField { field: a, .. }, Operation::SetField { field: b, .. }) => a.text != b.text,
        _ => true,
    }
}

#[cfg(test)]
#[path = "modification_tests.rs"]
mod tests;
