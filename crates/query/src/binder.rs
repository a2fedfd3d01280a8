//! From the syntax tree to a plan: names are looked up in the schema, constants become values of
//! their column's type, and every bind marker gets its type. What the schema alone can decide is
//! decided here, once; binding values to the plan looks nothing up.

use crate::ast::{
    Batch, Delete, DeletedColumn, Describe, Insert, InsertedValues, Modification, Name, Operation, QualifiedName,
    Statement, Term, Update, Using,
};
use crate::definition::{
    alter_keyspace, alter_table, alter_type, by_name, create_index, create_keyspace, create_table, create_type,
    drop_keyspace,
};
use crate::operand::{BoundValue, ColumnSpec, Operand};
use crate::parser::Parsed;
use crate::prepared::{Plan, Prepared};
use crate::restriction::{Restrictions, StatementKind};
use crate::source::{Position, Source};
use crate::type_name::Types;
use crate::write::{Expiration, WriteKind, WritePlan};
use model::schema::{Column, ColumnKind, Schema, SchemaChange, Table};
use model::{ColumnId, CqlType, RequestError};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Binds a parsed statement to `schema`. `keyspace` is that of `USE`, for tables named without one.
pub(crate) fn bind(
    text: &str,
    parsed: Parsed,
    schema: &Schema,
    keyspace: Option<&str>,
) -> Result<Prepared, RequestError> {
    let source = Source::new(text);
    let mut binder = Binder { source, schema, keyspace, parameters: vec![None; parsed.markers] };
    let plan = match &parsed.statement {
        // Whether a keyspace or table exists is for the metadata log to decide: this node's schema may
        // be behind, and the log's answer is the same words.
        Statement::CreateKeyspace(statement) => Plan::Schema(create_keyspace(source, statement)?),
        Statement::AlterKeyspace(statement) => Plan::Schema(alter_keyspace(source, statement)?),
        Statement::DropKeyspace { name, if_exists } => Plan::Schema(drop_keyspace(source, name, *if_exists)?),
        Statement::CreateTable(create) => Plan::Schema(create_table(binder.types_of(&create.name)?, create)?),
        Statement::AlterTable(alter) => Plan::Schema(alter_table(binder.types_of(&alter.name)?, alter)?),
        Statement::DropTable { name, if_exists } => {
            let if_exists = *if_exists;
            let drop = |keyspace, name| SchemaChange::DropTable { keyspace, name, if_exists };
            Plan::Schema(by_name(source, binder.keyspace_of(name)?, name, drop)?)
        }
        Statement::CreateType(create) => Plan::Schema(create_type(binder.types_of(&create.name)?, create)?),
        Statement::AlterType(alter) => Plan::Schema(alter_type(binder.types_of(&alter.name)?, alter)?),
        Statement::DropType { name, if_exists } => {
            let if_exists = *if_exists;
            let drop = |keyspace, name| SchemaChange::DropType { keyspace, name, if_exists };
            Plan::Schema(by_name(source, binder.keyspace_of(name)?, name, drop)?)
        }
        Statement::CreateIndex(create) => {
            let table = binder.table(&create.table)?;
            let keyspace = schema.find_keyspace(&table.keyspace)?;
            return Err(create_index(source, keyspace, &table, create));
        }
        Statement::DropIndex { name, if_exists } => {
            let if_exists = *if_exists;
            let drop = |keyspace, name| SchemaChange::DropIndex { keyspace, name, if_exists };
            Plan::Schema(by_name(source, binder.keyspace_of(name)?, name, drop)?)
        }
        Statement::Truncate(name) => {
            let truncate = |keyspace, name| SchemaChange::TruncateTable { keyspace, name };
            Plan::Schema(by_name(source, binder.keyspace_of(name)?, name, truncate)?)
        }
        Statement::Use(name) => {
            if schema.keyspace(&name.text).is_none() {
                let missing = RequestError::NotFound(format!("Keyspace '{}' does not exist", name.text));
                return Err(source.place(name.at, missing));
            }
            Plan::Use(name.text.clone())
        }
        Statement::Modification(Modification::Insert(insert)) => Plan::Write(Arc::new(binder.insert(insert)?)),
        Statement::Modification(Modification::Update(update)) => Plan::Write(Arc::new(binder.update(update)?)),
        Statement::Modification(Modification::Delete(delete)) => Plan::Write(Arc::new(binder.delete(delete)?)),
        Statement::Select(select) => Plan::Read(Arc::new(binder.select(select)?)),
        Statement::Batch(Batch { at, .. }) => return Err(source.unsupported(*at, "BATCH is")),
        Statement::Describe(Describe { at, .. }) => return Err(source.unsupported(*at, "DESCRIBE is")),
        Statement::Explain { at, .. } => return Err(source.unsupported(*at, "EXPLAIN is")),
    };
    let parameters: Option<Vec<ColumnSpec>> = binder.parameters.into_iter().collect();
    Ok(Prepared::new(parameters.expect("every marker that was parsed stands in a term that was bound"), plan))
}

/// Everything that names are looked up in, and the parameters found so far.
pub(crate) struct Binder<'a> {
    pub(crate) source: Source<'a>,
    schema: &'a Schema,
    keyspace: Option<&'a str>,
    parameters: Vec<Option<ColumnSpec>>,
}

impl Binder<'_> {
    /// The keyspace of a table: its own or that of `USE`.
    fn keyspace_of<'n>(&'n self, name: &'n QualifiedName) -> Result<&'n str, RequestError> {
        match (&name.keyspace, self.keyspace) {
            (Some(named), _) => Ok(&named.text),
            (None, Some(used)) => Ok(used),
            (None, None) => Err(self.source.invalid(
                name.name.at,
                "No keyspace has been specified. USE a keyspace, or explicitly specify keyspace.tablename",
            )),
        }
    }

    /// Where the types in the definition of `name` are looked up: in its keyspace.
    fn types_of<'n>(&'n self, name: &'n QualifiedName) -> Result<Types<'n>, RequestError> {
        Ok(Types { source: self.source, schema: self.schema, keyspace: self.keyspace_of(name)? })
    }

    pub(crate) fn table(&self, name: &QualifiedName) -> Result<Arc<Table>, RequestError> {
        let keyspace = self.keyspace_of(name)?;
        let at = match &name.keyspace {
            Some(named) if self.schema.keyspace(keyspace).is_none() => named.at,
            _ => name.name.at,
        };
        let found = self.schema.find_table(keyspace, &name.name.text);
        found.cloned().map_err(|missing| self.source.place(at, missing))
    }

    /// The column of `table` that `name` names.
    pub(crate) fn column<'t>(&self, table: &'t Table, name: &Name) -> Result<&'t Column, RequestError> {
        table.column(&name.text).ok_or_else(|| {
            let message = format!("Undefined column name {} in table {}.{}", name.text, table.keyspace, table.name);
            self.source.invalid(name.at, message)
        })
    }

    pub(crate) fn schema(&self) -> &Schema {
        self.schema
    }

    /// Says what the parameter of this index is for.
    pub(crate) fn set_parameter(&mut self, index: u16, spec: ColumnSpec) {
        self.parameters[usize::from(index)] = Some(spec);
    }

    fn timestamp(&mut self, table: &Table, term: Option<&Term>) -> Result<Option<Operand>, RequestError> {
        term.map(|term| self.operand(table, term, "[timestamp]", &CqlType::BigInt)).transpose()
    }

    fn time_to_live(&mut self, table: &Table, using: &Using) -> Result<Expiration, RequestError> {
        let term = using.time_to_live.as_ref();
        Ok(match term.map(|term| self.operand(table, term, "[ttl]", &CqlType::Int)).transpose()? {
            Some(operand) => Expiration::Given(operand),
            None => Expiration::Default,
        })
    }

    /// Refuses a column that is written twice, a static one, and one of many cells.
    fn check_written(
        &self,
        column: &Column,
        name: &Name,
        seen: &mut BTreeSet<ColumnId>,
        duplicate: &str,
    ) -> Result<(), RequestError> {
        if column.kind == ColumnKind::Static {
            return Err(self.source.unsupported(name.at, "writing static columns is"));
        }
        if column.cql_type.is_complex() {
            let cql_type = &column.cql_type;
            return Err(self.source.unsupported(name.at, &format!("writing columns of type {cql_type} is")));
        }
        if !seen.insert(column.id) {
            return Err(self.source.invalid(name.at, duplicate));
        }
        Ok(())
    }

    fn insert(&mut self, insert: &Insert) -> Result<WritePlan, RequestError> {
        let table = self.table(&insert.table)?;
        if let Some(at) = insert.if_not_exists {
            return Err(self.conditional(at));
        }
        let InsertedValues::Columns { columns, values } = &insert.values else {
            return Err(self.source.unsupported(insert.table.at(), "INSERT JSON is"));
        };
        if columns.len() != values.len() {
            let at = columns.first().map_or(insert.table.name.at, |name| name.at);
            return Err(self.source.invalid(at, "Unmatched column names/values"));
        }
        let mut seen = BTreeSet::new();
        let mut restrictions = Restrictions::new(&table, StatementKind::Insert);
        let mut cells = Vec::new();
        for (name, term) in columns.iter().zip(values) {
            let column = self.column(&table, name)?;
            self.check_written(column, name, &mut seen, "The column names contains duplicates")?;
            let operand = self.operand(&table, term, &column.name, &column.cql_type)?;
            match column.kind {
                ColumnKind::PartitionKey(_) | ColumnKind::Clustering(..) => {
                    restrictions.equal(self.source, column, name.at, operand)?;
                }
                ColumnKind::Static | ColumnKind::Regular => cells.push((column.id, operand)),
            }
        }
        let time_to_live = self.time_to_live(&table, &insert.using)?;
        let timestamp = self.timestamp(&table, insert.using.timestamp.as_ref())?;
        let key = restrictions.whole_key(self.source)?;
        Ok(WritePlan::new(table, WriteKind::Insert, key, cells, time_to_live, timestamp))
    }

    fn update(&mut self, update: &Update) -> Result<WritePlan, RequestError> {
        let table = self.table(&update.table)?;
        let time_to_live = self.time_to_live(&table, &update.using)?;
        let timestamp = self.timestamp(&table, update.using.timestamp.as_ref())?;
        let mut seen = BTreeSet::new();
        let mut cells = Vec::new();
        if let Some((_, at)) = &update.condition {
            return Err(self.conditional(*at));
        }
        for assignment in &update.assignments {
            let name = &assignment.column;
            let column = self.column(&table, name)?;
            if matches!(column.kind, ColumnKind::PartitionKey(_) | ColumnKind::Clustering(..)) {
                let message = format!("PRIMARY KEY part {} found in SET part", column.name);
                return Err(self.source.invalid(name.at, message));
            }
            let duplicate = format!("Multiple incompatible setting of column {}", column.name);
            self.check_written(column, name, &mut seen, &duplicate)?;
            let feature = match &assignment.operation {
                Operation::Set(term) => {
                    cells.push((column.id, self.operand(&table, term, &column.name, &column.cql_type)?));
                    continue;
                }
                Operation::SetElement { .. } => "setting an element of a collection is",
                Operation::SetField { .. } => "setting a field of a user-defined type is",
                Operation::Add(_) | Operation::Subtract(_) | Operation::Prepend(_) => "arithmetic is",
            };
            return Err(self.source.unsupported(name.at, feature));
        }
        let restrictions = Restrictions::of(self, &table, StatementKind::Update, &update.relations)?;
        let key = restrictions.whole_key(self.source)?;
        Ok(WritePlan::new(table, WriteKind::Update, key, cells, time_to_live, timestamp))
    }

    fn delete(&mut self, delete: &Delete) -> Result<WritePlan, RequestError> {
        let table = self.table(&delete.table)?;
        let timestamp = self.timestamp(&table, delete.timestamp.as_ref())?;
        let mut seen = BTreeSet::new();
        let mut cells = Vec::new();
        if let Some((_, at)) = &delete.condition {
            return Err(self.conditional(*at));
        }
        for deleted in &delete.columns {
            let name = match deleted {
                DeletedColumn::Column(name) => name,
                DeletedColumn::Element { column, .. } => {
                    return Err(self.source.unsupported(column.at, "deleting an element of a collection is"));
                }
                DeletedColumn::Field { column, .. } => {
                    return Err(self.source.unsupported(column.at, "deleting a field of a user-defined type is"));
                }
            };
            let column = self.column(&table, name)?;
            if matches!(column.kind, ColumnKind::PartitionKey(_) | ColumnKind::Clustering(..)) {
                let name_text = &column.name;
                let message = format!("Invalid identifier {name_text} for deletion (should not be a PRIMARY KEY part)");
                return Err(self.source.invalid(name.at, message));
            }
            self.check_written(column, name, &mut seen, "The column names contains duplicates")?;
            cells.push((column.id, Operand::Constant(BoundValue::Null)));
        }
        let restrictions = Restrictions::of(self, &table, StatementKind::Delete, &delete.relations)?;
        let key = restrictions.rows_of_partition(self.source)?;
        if let Some(first) = delete.columns.first()
            && !key.is_one_row(&table)
        {
            let message = "Range deletions are not supported for specific columns";
            let at = match first {
                DeletedColumn::Column(name)
                | DeletedColumn::Element { column: name, .. }
                | DeletedColumn::Field { column: name, .. } => name.at,
            };
            return Err(self.source.invalid(at, message));
        }
        // Deleting columns is writing nulls.
        let kind = if cells.is_empty() { WriteKind::DeleteRows } else { WriteKind::Update };
        Ok(WritePlan::new(table, kind, key, cells, Expiration::Default, timestamp))
    }

    fn conditional(&self, at: Position) -> RequestError {
        self.source.unsupported(at, "conditional updates (IF) are")
    }
}
