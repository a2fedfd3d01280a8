//! CREATE INDEX: everything is checked that can be wrong with one, and then it is refused, since nothing builds
//! indexes yet.

use super::{check_distinct, check_index_name, check_not_system, not_a_map, unknown_property};
use crate::ast::{CreateIndex, IndexTarget, IndexTargetKind, PropertyValue};
use crate::source::Source;
use model::RequestError;
use model::limits::NAME_BYTES_MAX;
use model::schema::{Index, IndexedPart, Keyspace, Table};
use model::types::CqlType;
use std::collections::BTreeMap;

/// The error that `create` ends in: the first that is wrong with it, or that there are no indexes yet.
pub(crate) fn create_index(
    source: Source<'_>,
    keyspace: &Keyspace,
    table: &Table,
    create: &CreateIndex,
) -> RequestError {
    match index(source, keyspace, table, create) {
        Ok(_) => source.unsupported(create.at, "CREATE INDEX is"),
        Err(error) => error,
    }
}

fn index(source: Source<'_>, keyspace: &Keyspace, table: &Table, create: &CreateIndex) -> Result<Index, RequestError> {
    check_not_system(source, create.table.at(), &table.keyspace)?;
    if let Some(name) = &create.name {
        check_index_name(source, name)?;
    }
    let (class, options) = class_and_options(source, create)?;
    let target = match create.targets.as_slice() {
        [target] => target,
        [] if create.is_custom => return Err(source.unsupported(create.at, "an index without a target column is")),
        [] => {
            let message = "Only CUSTOM indexes can be created without specifying a target column";
            return Err(source.invalid(create.at, message));
        }
        [_, second, ..] if create.is_custom => {
            return Err(source.unsupported(second.column.at, "an index on several columns is"));
        }
        [_, second, ..] => {
            return Err(source.invalid(second.column.at, "Only CUSTOM indexes support multiple columns"));
        }
    };
    let at = target.column.at;
    let Some(column) = table.column(&target.column.text) else {
        return Err(source.invalid(at, format!("Column '{}' doesn't exist", target.column.text)));
    };
    let part = indexed_part(target, &column.cql_type);
    let name = match &create.name {
        Some(name) => name.text.clone(),
        None => available_name(keyspace, table, &column.name),
    };
    let index = Index { name, column: column.id, part, class, options };
    table.check_index(&index).map_err(|error| source.place(at, error))?;
    Ok(index)
}

fn class_and_options(
    source: Source<'_>,
    create: &CreateIndex,
) -> Result<(String, BTreeMap<String, String>), RequestError> {
    check_distinct(source, &create.properties)?;
    let mut options = BTreeMap::new();
    for property in &create.properties {
        let PropertyValue::Map(entries) = &property.value else { return Err(not_a_map(source, property)) };
        if property.name.text != "options" {
            return Err(unknown_property(source, property));
        }
        if create.class.is_none() {
            return Err(source.invalid(property.name.at, "Cannot specify options for a non-CUSTOM index"));
        }
        for (key, value) in entries {
            if key.text == "class_name" {
                return Err(source.invalid(property.at, "Cannot specify class_name as a CUSTOM option"));
            }
            if options.insert(key.text.clone(), value.text.clone()).is_some() {
                return Err(source.invalid(property.at, format!("Multiple definition for property {}", key.text)));
            }
        }
    }
    match &create.class {
        Some((class, _)) => Ok((class.clone(), options)),
        None if create.is_custom => Err(source.invalid(create.at, "CUSTOM index requires specifying the index class")),
        None => Ok((String::new(), options)),
    }
}

/// What the target says to index: a collection without a word before it means its values.
fn indexed_part(target: &IndexTarget, cql_type: &CqlType) -> IndexedPart {
    let is_collection = matches!(cql_type, CqlType::List { .. } | CqlType::Set { .. } | CqlType::Map { .. });
    match target.kind {
        IndexTargetKind::Plain if is_collection => IndexedPart::Values,
        IndexTargetKind::Plain => IndexedPart::Value,
        IndexTargetKind::Values => IndexedPart::Values,
        IndexTargetKind::Keys => IndexedPart::Keys,
        IndexTargetKind::Entries => IndexedPart::Entries,
        IndexTargetKind::Full => IndexedPart::Full,
    }
}

/// The name of an index that was given none: of table and column, with a number when it is taken.
fn available_name(keyspace: &Keyspace, table: &Table, column: &str) -> String {
    let word = |character: &char| character.is_ascii_alphanumeric() || *character == '_';
    let mut base: String = format!("{}_{column}", table.name).chars().filter(word).collect();
    base.truncate(NAME_BYTES_MAX - "_idx_999".len());
    base.push_str("_idx");
    let taken = |name: &str| keyspace.tables.values().flat_map(|table| &table.indexes).any(|index| index.name == name);
    let numbered = (1..).map(|number| format!("{base}_{number}"));
    let mut names = std::iter::once(base.clone()).chain(numbered);
    names.find(|name| !taken(name)).unwrap_or(base)
}
