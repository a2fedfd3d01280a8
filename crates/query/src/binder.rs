//! From the syntax tree to a plan: names are looked up in the schema, constants become values of
//! their column's type, and every bind marker gets its type. What the schema alone can decide is
//! decided here, once; binding values to the plan looks nothing up.

use crate::ast::{AbsentKind, Name, QualifiedName, Statement};
use crate::definition::{
    SchemaRequest, alter_keyspace, alter_table, alter_type, by_name, check_not_system, create_index, create_keyspace,
    create_table, create_type, drop_keyspace,
};
use crate::description::Description;
use crate::explain;
use crate::operand::ColumnSpec;
use crate::parser::Parsed;
use crate::prepared::{ExplainPlan, Plan, Prepared};
use crate::role::RoleStatement;
use crate::source::Source;
use crate::system;
use crate::type_name::Types;
use model::RequestError;
use model::name::quote_name;
use model::schema::{Column, Keyspace, Schema, SchemaChange, Table};
use std::sync::Arc;

/// Binds a parsed statement to `schema`. `keyspace` is that of `USE`, for tables named without one.
pub(crate) fn bind(
    text: &str,
    parsed: Parsed,
    schema: &Schema,
    keyspace: Option<&str>,
) -> Result<Prepared, RequestError> {
    let source = Source::new(text);
    let mut binder = Binder { keyspace, ..Binder::of(source, schema, parsed.markers) };
    let plan = match &parsed.statement {
        // Whether a keyspace or table exists is for the metadata log to decide: this node's schema may
        // be behind, and the log's answer is the same words.
        Statement::CreateKeyspace(statement) => schema_plan(create_keyspace(source, schema, statement)?),
        Statement::AlterKeyspace(statement) => schema_plan(alter_keyspace(source, schema, statement)?),
        Statement::DropKeyspace { name, if_exists } => schema_plan(drop_keyspace(source, name, *if_exists)?),
        Statement::CreateTable(create) => {
            let like = create.like.as_ref().map(|name| binder.table(name)).transpose()?;
            schema_plan(create_table(binder.types_of(&create.name)?, create, like.as_deref())?)
        }
        Statement::AlterTable(alter) => schema_plan(alter_table(binder.types_of(&alter.name)?, alter)?),
        Statement::DropTable { name, if_exists } => {
            let if_exists = *if_exists;
            let drop = |keyspace, name| SchemaChange::DropTable { keyspace, name, if_exists };
            schema_plan(by_name(source, binder.keyspace_of(name)?, name, drop)?)
        }
        Statement::CreateType(create) => schema_plan(create_type(binder.types_of(&create.name)?, create)?),
        Statement::AlterType(alter) => schema_plan(alter_type(binder.types_of(&alter.name)?, alter)?),
        Statement::DropType { name, if_exists } => {
            let if_exists = *if_exists;
            let drop = |keyspace, name| SchemaChange::DropType { keyspace, name, if_exists };
            schema_plan(by_name(source, binder.keyspace_of(name)?, name, drop)?)
        }
        Statement::CreateIndex(create) => {
            let (keyspace, table) = binder.table_to_index(&create.table)?;
            schema_plan(create_index(source, keyspace, table, create)?)
        }
        Statement::DropIndex { name, if_exists } => {
            let if_exists = *if_exists;
            let drop = |keyspace, name| SchemaChange::DropIndex { keyspace, name, if_exists };
            schema_plan(by_name(source, binder.keyspace_of(name)?, name, drop)?)
        }
        Statement::Absent { what, name, if_exists } => {
            let named = if let AbsentKind::Trigger(table) = what { table } else { name };
            let keyspace = binder.keyspace_of(named)?;
            let (named, own) = (&named.name.text, &name.name.text);
            let message = match what {
                AbsentKind::MaterializedView(_) => format!("Materialized view '{keyspace}.{own}' doesn't exist"),
                AbsentKind::Trigger(_) => format!("Trigger '{own}' on '{keyspace}.{named}' doesn't exist"),
            };
            if !*if_exists {
                return Err(source.invalid(name.at(), message));
            }
            Plan::Nothing
        }
        Statement::Truncate(name) => {
            let truncate = |keyspace, name| SchemaChange::TruncateTable { keyspace, name };
            schema_plan(by_name(source, binder.keyspace_of(name)?, name, truncate)?)
        }
        Statement::Use(name) => {
            if schema.keyspace(&name.text).is_none() && !system::is_system(&name.text) {
                let missing = RequestError::NotFound(format!("Keyspace '{}' does not exist", name.text));
                return Err(source.place(name.at, missing));
            }
            Plan::Use(name.text.clone())
        }
        Statement::Describe(describe) => Plan::Describe(Box::new(Description::new(describe, keyspace))),
        Statement::Role(request) => Plan::Role(Box::new(RoleStatement::new(request.clone()))),
        Statement::Explain { analyze, statement, .. } => {
            let (plan, analyze) = (binder.plan_of_data(statement)?, *analyze);
            Plan::Explain(Box::new(ExplainPlan { plan, analyze, columns: explain::columns(analyze) }))
        }
        statement => binder.plan_of_data(statement)?,
    };
    let parameters: Option<Vec<ColumnSpec>> = binder.parameters.into_iter().collect();
    Ok(Prepared::new(parameters.expect("every marker that was parsed stands in a term that was bound"), plan))
}

fn schema_plan(request: SchemaRequest) -> Plan {
    Plan::Schema(Box::new(request))
}

/// Everything that names are looked up in, and the parameters found so far.
pub(crate) struct Binder<'a> {
    pub(crate) source: Source<'a>,
    schema: &'a Schema,
    keyspace: Option<&'a str>,
    parameters: Vec<Option<ColumnSpec>>,
}

impl<'a> Binder<'a> {
    /// A binder for a statement with so many markers, in which every table is named with its keyspace.
    pub(crate) fn of(source: Source<'a>, schema: &'a Schema, markers: usize) -> Binder<'a> {
        Binder { source, schema, keyspace: None, parameters: vec![None; markers] }
    }

    /// The plan of a statement that reads or writes data.
    fn plan_of_data(&mut self, statement: &Statement) -> Result<Plan, RequestError> {
        match statement {
            Statement::Modification(statement) => Ok(Plan::Write(Arc::new(self.modification(statement)?))),
            Statement::Batch(batch) => Ok(Plan::Batch(Arc::new(self.batch(batch)?))),
            Statement::Select(select) => Ok(Plan::Read(Arc::new(self.select(select)?))),
            _ => Err(RequestError::Server("the statement does not read or write data".to_owned())),
        }
    }

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

    /// A table that is to be written: not one that the node answers by itself.
    pub(crate) fn written_table(&self, name: &QualifiedName) -> Result<Arc<Table>, RequestError> {
        let table = self.table(name)?;
        if system::is_system(&table.keyspace) {
            let message = format!("Modification is not supported by table {}.{}", table.keyspace, table.name);
            return Err(self.source.invalid(name.name.at, message));
        }
        Ok(table)
    }

    pub(crate) fn table(&self, name: &QualifiedName) -> Result<Arc<Table>, RequestError> {
        let keyspace = self.keyspace_of(name)?;
        let schema = if system::is_system(keyspace) { system::schema() } else { self.schema };
        let at = match &name.keyspace {
            Some(named) if schema.keyspace(keyspace).is_none() => named.at,
            _ => name.name.at,
        };
        let found = schema.find_table(keyspace, &name.name.text);
        found.cloned().map_err(|missing| self.source.place(at, missing))
    }

    /// The table of CREATE INDEX, with its keyspace; the errors are in Cassandra's words for that.
    fn table_to_index(&self, name: &QualifiedName) -> Result<(&'a Keyspace, &'a Table), RequestError> {
        let keyspace = self.keyspace_of(name)?;
        check_not_system(self.source, name.at(), keyspace)?;
        let missing =
            |what: &str, missing: &str| self.source.invalid(name.name.at, format!("{what} '{missing}' doesn't exist"));
        let found = self.schema.keyspace(keyspace).ok_or_else(|| missing("Keyspace", keyspace))?;
        let table = found.tables.get(&name.name.text).ok_or_else(|| missing("Table", &name.name.text))?;
        Ok((&**found, &**table))
    }

    /// The column of `table` that `name` names.
    pub(crate) fn column<'t>(&self, table: &'t Table, name: &Name) -> Result<&'t Column, RequestError> {
        table.column(&name.text).ok_or_else(|| {
            let message = format!(
                "Undefined column name {} in table {}.{}",
                quote_name(&name.text),
                quote_name(&table.keyspace),
                quote_name(&table.name)
            );
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
}
