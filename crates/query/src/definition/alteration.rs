//! ALTER TABLE, and CREATE and ALTER of user-defined types.

use super::{SchemaRequest, check_length, check_not_system};
use crate::ast::{AlterTable, AlterType, CreateType, FieldDefinition, Name, QualifiedName, TableAlteration};
use crate::ast::{ColumnDefinition, TypeAlteration, TypeNameKind};
use crate::constraint::checks_of;
use crate::source::Source;
use crate::table_options::{check_kept, table_options};
use crate::type_name::Types;
use model::schema::{self, Column, ColumnKind, NewColumn, SchemaChange};
use model::types::UserType;
use model::{ColumnId, RequestError};
use std::collections::BTreeSet;

pub(crate) fn alter_table(types: Types<'_>, alter: &AlterTable) -> Result<SchemaRequest, RequestError> {
    let Types { source, keyspace, .. } = types;
    check_not_system(source, alter.name.at(), keyspace)?;
    let (mut drops_now, mut warnings) = (false, Vec::new());
    let alteration = match &alter.alteration {
        TableAlteration::Add { if_not_exists, columns } => {
            let columns = columns.iter().map(|column| new_column(types, column)).collect::<Result<_, _>>()?;
            schema::TableAlteration::Add { columns, if_not_exists: *if_not_exists }
        }
        TableAlteration::Drop { if_exists, columns, timestamp } => {
            let names = columns.iter().map(|name| name.text.clone()).collect();
            drops_now = timestamp.is_none();
            let dropped_at = match timestamp {
                None => 0,
                Some((literal, at)) => literal.text.parse().map_err(|_| {
                    let message = format!("Invalid timestamp {}", crate::source::shortened(&literal.text));
                    source.invalid(*at, message)
                })?,
            };
            schema::TableAlteration::Drop { columns: names, dropped_at, if_exists: *if_exists }
        }
        TableAlteration::Rename { if_exists, renames } => {
            let renames = renamed(source, "Column", renames)?;
            schema::TableAlteration::Rename { renames, if_exists: *if_exists }
        }
        TableAlteration::Check { if_exists, column, checks } => {
            // What the conditions are of is known by the column. A missing table is told by the log; so is a missing
            // column where the conditions are dropped.
            let table = types.schema.find_table(keyspace, &alter.name.name.text).ok();
            let known = table.and_then(|table| table.column(&column.text));
            match table.filter(|_| known.is_none() && !checks.is_empty()) {
                // No conditions would drop those that a node that knows more has.
                Some(_) if *if_exists => schema::TableAlteration::Add { columns: Vec::new(), if_not_exists: true },
                Some(table) => return Err(source.place(column.at, table.missing_column(&column.text))),
                None => {
                    let checks = known.map(|known| checks_of(source, known, checks)).transpose()?.unwrap_or_default();
                    schema::TableAlteration::Check { column: column.text.clone(), checks, if_exists: *if_exists }
                }
            }
        }
        TableAlteration::With(properties) => {
            if let Some(id) = properties.iter().find(|property| property.name.text == "id") {
                return Err(source.config(id.name.at, "Cannot alter table id."));
            }
            let (change, told) = table_options(source, properties)?;
            // As far as this node knows the table; without it the log refuses the change.
            let table = types.schema.find_table(keyspace, &alter.name.name.text);
            let mut options = table.map(|table| table.options.clone()).unwrap_or_default();
            change.apply_to(&mut options);
            check_kept(source, alter.name.at(), &options)?;
            warnings = told;
            schema::TableAlteration::With(change)
        }
    };
    let (keyspace, name) = (keyspace.to_owned(), alter.name.name.text.clone());
    let change = SchemaChange::AlterTable { keyspace, name, alteration, if_exists: alter.if_exists };
    Ok(SchemaRequest { drops_now, warnings, ..SchemaRequest::new(change) })
}

fn new_column(types: Types<'_>, column: &ColumnDefinition) -> Result<NewColumn, RequestError> {
    check_length(types.source, "Column", &column.name)?;
    let cql_type = types.resolve(&column.type_name)?;
    let (name, is_static) = (column.name.text.clone(), column.is_static.is_some());
    let kind = if is_static { ColumnKind::Static } else { ColumnKind::Regular };
    // The log gives it its id.
    let known = Column { id: ColumnId(0), name: name.clone(), kind, cql_type: cql_type.clone() };
    let checks = checks_of(types.source, &known, &column.checks)?;
    Ok(NewColumn { name, cql_type, is_static, checks })
}

fn renamed(source: Source<'_>, what: &str, renames: &[(Name, Name)]) -> Result<Vec<(String, String)>, RequestError> {
    let mut seen = BTreeSet::new();
    for (from, to) in renames {
        check_length(source, what, to)?;
        if !seen.insert(&from.text) {
            return Err(source.invalid(from.at, format!("{what} {} is renamed more than once", from.text)));
        }
    }
    Ok(renames.iter().map(|(from, to)| (from.text.clone(), to.text.clone())).collect())
}

/// Names that Cassandra keeps for types that it may have one day.
const RESERVED_TYPES: [&str; 6] = ["byte", "complex", "enum", "interval", "macaddr", "bitstring"];

fn check_type_name(types: Types<'_>, name: &QualifiedName) -> Result<(), RequestError> {
    let Types { source, keyspace, .. } = types;
    check_not_system(source, name.at(), keyspace)?;
    check_length(source, "Type", &name.name)?;
    let is_quoted = source.is_quoted(name.name.at);
    let is_native = model::CqlType::scalar(&name.name.text).is_some() || name.name.text == "counter";
    if is_native && !is_quoted {
        // As in Cassandra's grammar, in which the name of a native type is no other.
        return Err(source.syntax(name.name.at, format!("{} is the name of a native type", name.name.text)));
    }
    if RESERVED_TYPES.contains(&name.name.text.as_str()) {
        let message = format!("Invalid (reserved) user type name {}", name.name.text);
        return Err(source.invalid(name.name.at, message));
    }
    Ok(())
}

fn new_field(types: Types<'_>, field: &FieldDefinition) -> Result<(String, model::CqlType), RequestError> {
    check_length(types.source, "Field", &field.name)?;
    if matches!(field.type_name.kind, TypeNameKind::UserDefined { .. }) {
        // As in Cassandra that is said before whether there is such a type.
        return Err(types.source.invalid(field.type_name.at, "A user type cannot contain non-frozen UDTs"));
    }
    Ok((field.name.text.clone(), types.resolve(&field.type_name)?))
}

pub(crate) fn create_type(types: Types<'_>, create: &CreateType) -> Result<SchemaRequest, RequestError> {
    check_type_name(types, &create.name)?;
    let fields = create.fields.iter().map(|field| new_field(types, field)).collect::<Result<_, _>>()?;
    let (keyspace, name) = (types.keyspace.to_owned(), create.name.name.text.clone());
    let definition = UserType { keyspace, name, fields };
    Ok(SchemaRequest::new(SchemaChange::CreateType { definition, if_not_exists: create.if_not_exists }))
}

pub(crate) fn alter_type(types: Types<'_>, alter: &AlterType) -> Result<SchemaRequest, RequestError> {
    let Types { source, keyspace, .. } = types;
    check_not_system(source, alter.name.at(), keyspace)?;
    let alteration = match &alter.alteration {
        TypeAlteration::Add { if_not_exists, field } => {
            let (field, cql_type) = new_field(types, field)?;
            schema::TypeAlteration::Add { field, cql_type, if_not_exists: *if_not_exists }
        }
        TypeAlteration::Rename { if_exists, renames } => {
            let renames = renamed(source, "Field", renames)?;
            schema::TypeAlteration::Rename { renames, if_exists: *if_exists }
        }
    };
    let (keyspace, name) = (keyspace.to_owned(), alter.name.name.text.clone());
    let if_exists = alter.if_exists;
    Ok(SchemaRequest::new(SchemaChange::AlterType { keyspace, name, alteration, if_exists }))
}
