//! From the syntax tree to a plan: names are looked up in the schema, constants become values of
//! their column's type, and every bind marker gets its type. What the schema alone can decide is
//! decided here, once; binding values to the plan looks nothing up.

use crate::ast::{Delete, Insert, Name, Select, Statement, TableName, Term, TermKind, Update, Using};
use crate::definition::{create_keyspace, create_table, drop_keyspace, drop_table, truncate};
use crate::operand::{BoundValue, ColumnSpec, Operand, constant};
use crate::parser::Parsed;
use crate::prepared::{Plan, Prepared};
use crate::read::{ReadPlan, ResultSource};
use crate::restriction::{KeyPlan, Restrictions, StatementKind};
use crate::source::{Position, Source};
use crate::write::{Expiration, WriteKind, WritePlan};
use model::limits::COLUMNS_MAX;
use model::schema::{ClusteringOrder, Column, ColumnKind, Schema, Table};
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
        Statement::DropKeyspace { name, if_exists } => Plan::Schema(drop_keyspace(source, name, *if_exists)?),
        Statement::CreateTable(statement) => {
            Plan::Schema(create_table(source, binder.keyspace_of(&statement.name)?, statement)?)
        }
        Statement::DropTable { name, if_exists } => {
            Plan::Schema(drop_table(source, binder.keyspace_of(name)?, name, *if_exists)?)
        }
        Statement::Truncate(name) => Plan::Schema(truncate(source, binder.keyspace_of(name)?, name)?),
        Statement::Use(name) => {
            if schema.keyspace(&name.text).is_none() {
                let missing = RequestError::NotFound(format!("Keyspace '{}' does not exist", name.text));
                return Err(source.place(name.at, missing));
            }
            Plan::Use(name.text.clone())
        }
        Statement::Insert(insert) => Plan::Write(Arc::new(binder.insert(insert)?)),
        Statement::Update(update) => Plan::Write(Arc::new(binder.update(update)?)),
        Statement::Delete(delete) => Plan::Write(Arc::new(binder.delete(delete)?)),
        Statement::Select(select) => Plan::Read(Arc::new(binder.select(select)?)),
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
    fn keyspace_of<'n>(&'n self, name: &'n TableName) -> Result<&'n str, RequestError> {
        match (&name.keyspace, self.keyspace) {
            (Some(named), _) => Ok(&named.text),
            (None, Some(used)) => Ok(used),
            (None, None) => Err(self.source.invalid(
                name.table.at,
                "No keyspace has been specified. USE a keyspace, or explicitly specify keyspace.tablename",
            )),
        }
    }

    fn table(&self, name: &TableName) -> Result<Arc<Table>, RequestError> {
        let keyspace = self.keyspace_of(name)?;
        let at = match &name.keyspace {
            Some(named) if self.schema.keyspace(keyspace).is_none() => named.at,
            _ => name.table.at,
        };
        let found = self.schema.find_table(keyspace, &name.table.text);
        found.cloned().map_err(|missing| self.source.place(at, missing))
    }

    /// The column of `table` that `name` names.
    pub(crate) fn column<'t>(&self, table: &'t Table, name: &Name) -> Result<&'t Column, RequestError> {
        table.column(&name.text).ok_or_else(|| {
            let message = format!("Undefined column name {} in table {}.{}", name.text, table.keyspace, table.name);
            self.source.invalid(name.at, message)
        })
    }

    /// The operand for a term whose value goes to `receiver`, a column or something in brackets.
    pub(crate) fn operand(
        &mut self,
        table: &Table,
        term: &Term,
        receiver: &str,
        cql_type: &CqlType,
    ) -> Result<Operand, RequestError> {
        match &term.kind {
            TermKind::Null => Ok(Operand::Constant(BoundValue::Null)),
            TermKind::Literal(literal) => {
                let value = constant(literal, receiver, cql_type);
                let value = value.map(|wire| Operand::Constant(BoundValue::Value(wire)));
                value.map_err(|message| self.source.invalid(term.at, message))
            }
            TermKind::Marker { index, name } => {
                self.parameters[usize::from(*index)] = Some(ColumnSpec {
                    keyspace: table.keyspace.clone(),
                    table: table.name.clone(),
                    name: name.clone().unwrap_or_else(|| receiver.to_owned()),
                    cql_type: cql_type.clone(),
                });
                Ok(Operand::Parameter(*index))
            }
        }
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
        if insert.columns.len() != insert.values.len() {
            let at = insert.columns.first().map_or(insert.table.table.at, |name| name.at);
            return Err(self.source.invalid(at, "Unmatched column names/values"));
        }
        let mut seen = BTreeSet::new();
        let mut restrictions = Restrictions::new(&table, StatementKind::Insert);
        let mut cells = Vec::new();
        for (name, term) in insert.columns.iter().zip(&insert.values) {
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
        for (name, term) in &update.assignments {
            let column = self.column(&table, name)?;
            if matches!(column.kind, ColumnKind::PartitionKey(_) | ColumnKind::Clustering(..)) {
                let message = format!("PRIMARY KEY part {} found in SET part", column.name);
                return Err(self.source.invalid(name.at, message));
            }
            let duplicate = format!("Multiple incompatible setting of column {}", column.name);
            self.check_written(column, name, &mut seen, &duplicate)?;
            cells.push((column.id, self.operand(&table, term, &column.name, &column.cql_type)?));
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
        for name in &delete.columns {
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
            return Err(self.source.invalid(first.at, message));
        }
        // Deleting columns is writing nulls.
        let kind = if cells.is_empty() { WriteKind::DeleteRows } else { WriteKind::Update };
        Ok(WritePlan::new(table, kind, key, cells, Expiration::Default, timestamp))
    }

    fn select(&mut self, select: &Select) -> Result<ReadPlan, RequestError> {
        let table = self.table(&select.table)?;
        let mut columns = Vec::new();
        let mut sources = Vec::new();
        if let Some(extra) = select.selectors.get(COLUMNS_MAX) {
            let message = format!("A result can have {COLUMNS_MAX} columns at most");
            return Err(self.source.invalid(extra.column.at, message));
        }
        for selector in &select.selectors {
            let column = self.column(&table, &selector.column)?;
            let name = selector.alias.as_ref().unwrap_or(&selector.column);
            columns.push(result_column(&table, column, &name.text));
            sources.push(self.result_source(column, selector.column.at)?);
        }
        if select.selectors.is_empty() {
            for column in &table.columns {
                columns.push(result_column(&table, column, &column.name));
                sources.push(self.result_source(column, select.table.table.at)?);
            }
        }
        let restrictions = Restrictions::of(self, &table, StatementKind::Select, &select.relations)?;
        let key = restrictions.rows_of_partition(self.source)?;
        let reversed = self.reversed(&table, &key, &select.order)?;
        let limit = select.limit.as_ref();
        let limit = limit.map(|term| self.operand(&table, term, "[limit]", &CqlType::Int)).transpose()?;
        Ok(ReadPlan { table, key, reversed, limit, columns, sources })
    }

    fn result_source(&self, column: &Column, at: Position) -> Result<ResultSource, RequestError> {
        match column.kind {
            ColumnKind::PartitionKey(position) => Ok(ResultSource::PartitionKey(position as usize)),
            ColumnKind::Clustering(position, _) => Ok(ResultSource::Clustering(position as usize)),
            ColumnKind::Regular if column.cql_type.is_complex() => Ok(ResultSource::Complex(column.id)),
            ColumnKind::Regular => Ok(ResultSource::Cell(column.id)),
            ColumnKind::Static => Err(self.source.unsupported(at, "reading static columns is")),
        }
    }

    /// Whether ORDER BY asks for the rows from the last to the first.
    fn reversed(&self, table: &Table, key: &KeyPlan, order: &[(Name, bool)]) -> Result<bool, RequestError> {
        let mut reversed = None;
        let mut next = 0;
        if let (true, Some((name, _))) = (key.is_range(), order.first()) {
            let message = "ORDER BY is only supported when the partition key is restricted by an EQ or an IN.";
            return Err(self.source.invalid(name.at, message));
        }
        for (name, descending) in order {
            let column = self.column(table, name)?;
            let ColumnKind::Clustering(position, declared) = column.kind else {
                let message = format!(
                    "Order by is currently only supported on the clustered columns of the PRIMARY KEY, got {}",
                    column.name
                );
                return Err(self.source.invalid(name.at, message));
            };
            // Only columns that have one value anyway may be left out.
            let position = position as usize;
            if position < next || (position > next && position > key.equal_clustering_columns()) {
                let message = "Order by currently only supports the ordering of columns following their declared \
                               order in the PRIMARY KEY";
                return Err(self.source.invalid(name.at, message));
            }
            next = position + 1;
            let against = *descending != (declared == ClusteringOrder::Descending);
            if *reversed.get_or_insert(against) != against {
                return Err(self.source.invalid(name.at, "Unsupported order by relation"));
            }
        }
        Ok(reversed.unwrap_or(false))
    }
}

fn result_column(table: &Table, column: &Column, name: &str) -> ColumnSpec {
    ColumnSpec {
        keyspace: table.keyspace.clone(),
        table: table.name.clone(),
        name: name.to_owned(),
        cql_type: column.cql_type.clone(),
    }
}
