//! CREATE INDEX: the index that is asked for, and what can be wrong with it whatever indexes there are.

use super::{SchemaRequest, check_distinct, check_index_name, check_not_system, not_a_map, unknown_property};
use crate::ast::{CreateIndex, IndexTarget, IndexTargetKind, PropertyValue};
use crate::source::{Position, Source, shortened};
use model::RequestError;
use model::limits::NAME_BYTES_MAX;
use model::schema::{Index, IndexedPart, Keyspace, SchemaChange, Table, TextFolding};
use model::types::CqlType;
use std::collections::BTreeMap;

/// The name by which Cassandra's own index is asked for: the default.
const LOCAL_TABLE: &str = "legacy_local_table";

/// Names of the class of storage-attached indexes, in any case.
const STORAGE_ATTACHED: [&str; 3] =
    ["sai", "StorageAttachedIndex", "org.apache.cassandra.index.sai.StorageAttachedIndex"];

/// Names of classes that Cassandra has and this server has not.
const UNSUPPORTED_CLASSES: [&str; 2] = ["SASIIndex", "org.apache.cassandra.index.sasi.SASIIndex"];

/// What a storage-attached index does with texts by its options: each with the value that means that they are indexed
/// as they are.
const TEXT_OPTIONS: [(&str, bool); 3] = [("case_sensitive", true), ("normalize", false), ("ascii", false)];
/// Its options for the search of vectors.
const VECTOR_OPTIONS: [&str; 4] =
    ["similarity_function", "maximum_node_connections", "construction_beam_width", "optimize_for"];

pub(crate) fn create_index(
    source: Source<'_>,
    keyspace: &Keyspace,
    table: &Table,
    create: &CreateIndex,
) -> Result<SchemaRequest, RequestError> {
    let index = index(source, keyspace, table, create)?;
    let (keyspace, table, if_not_exists) = (table.keyspace.clone(), table.name.clone(), create.if_not_exists);
    Ok(SchemaRequest::new(SchemaChange::CreateIndex { keyspace, table, index, if_not_exists }))
}

fn index(source: Source<'_>, keyspace: &Keyspace, table: &Table, create: &CreateIndex) -> Result<Index, RequestError> {
    check_not_system(source, create.table.at(), &table.keyspace)?;
    let (class, options) = class_and_options(source, create)?;
    let target = match create.targets.as_slice() {
        [target] => target,
        [] => {
            let message = "Only CUSTOM indexes can be created without specifying a target column";
            return Err(source.invalid(create.at, message));
        }
        [_, second, ..] => {
            return Err(source.invalid(second.column.at, "Only CUSTOM indexes support multiple columns"));
        }
    };
    let at = target.column.at;
    let Some(column) = table.column(&target.column.text) else {
        let message =
            format!("Undefined column name {} in table {}.{}", target.column.text, table.keyspace, table.name);
        return Err(source.invalid(at, message));
    };
    let mut part = indexed_part(target, &column.cql_type);
    if is_storage_attached(&class) {
        check_attached_type(source, at, &column.cql_type)?;
        if let Some(folding) = folding_of(&options) {
            if part != IndexedPart::Value {
                let what = "options that change texts, of an index of a collection, are";
                return Err(source.unsupported(at, what));
            }
            part = IndexedPart::Folded(folding);
        }
    }
    let name = match &create.name {
        Some(name) => name.text.clone(),
        None => available_name(&table.name, &column.name, |name| keyspace.index(name).is_some()),
    };
    let index = Index { name, column: column.id, part, class, options };
    table.check_index(&index).map_err(|error| source.place(at, error))?;
    if let Some(name) = &create.name {
        check_index_name(source, name)?;
    }
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
        if create.class.as_ref().is_none_or(|(class, _)| class == LOCAL_TABLE) {
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
    let unknown = |at: Position, class: &str| {
        source.config(at, format!("Unable to find custom indexer class '{}'", shortened(class)))
    };
    match &create.class {
        Some((class, at)) if is_storage_attached(class) => {
            check_attached_options(source, *at, &options)?;
            Ok((class.clone(), options))
        }
        Some((class, at)) if UNSUPPORTED_CLASSES.contains(&class.as_str()) => {
            Err(source.unsupported(*at, &format!("an index of class '{class}' is")))
        }
        Some((class, at)) if class != LOCAL_TABLE || create.is_custom => Err(unknown(*at, class)),
        // As Cassandra, to which the default is a class like others.
        None if create.is_custom => Err(unknown(create.at, LOCAL_TABLE)),
        Some(_) | None => Ok((String::new(), options)),
    }
}

fn is_storage_attached(class: &str) -> bool {
    STORAGE_ATTACHED.iter().any(|name| name.eq_ignore_ascii_case(class))
}

/// Refuses what a storage-attached index of Cassandra has no order for.
fn check_attached_type(source: Source<'_>, at: Position, cql_type: &CqlType) -> Result<(), RequestError> {
    match cql_type {
        CqlType::Vector { .. } => Err(source.unsupported(at, "the search of vectors by an index is")),
        CqlType::Blob | CqlType::Duration | CqlType::Counter => {
            Err(source.invalid(at, format!("Unsupported type: {cql_type}")))
        }
        _ => Ok(()),
    }
}

/// Refuses options that are not known, and that to fold what is not ASCII.
fn check_attached_options(
    source: Source<'_>,
    at: Position,
    options: &BTreeMap<String, String>,
) -> Result<(), RequestError> {
    for (name, value) in options {
        let Some((_, usual)) = TEXT_OPTIONS.iter().find(|(known, _)| known == name) else {
            if VECTOR_OPTIONS.contains(&name.as_str()) {
                return Err(source.unsupported(at, &format!("the option '{name}' of an index is")));
            }
            let message =
                format!("Properties specified [{}] are not understood by StorageAttachedIndex", shortened(name));
            return Err(source.config(at, message));
        };
        match value.to_ascii_lowercase().parse::<bool>() {
            Err(_) => {
                let message = format!("Illegal value for boolean option '{name}': {}", shortened(value));
                return Err(source.invalid(at, message));
            }
            Ok(value) if value != *usual && name == "ascii" => {
                return Err(source.unsupported(at, &format!("the option '{name}' = '{value}' of an index is")));
            }
            Ok(_) => {}
        }
    }
    Ok(())
}

/// What the options of a storage-attached index, which were checked, say of the differences between texts; `None` when
/// all of them count.
fn folding_of(options: &BTreeMap<String, String>) -> Option<TextFolding> {
    let is = |name: &str, value: &str| options.get(name).is_some_and(|given| given.eq_ignore_ascii_case(value));
    let folding = TextFolding { ignores_case: is("case_sensitive", "false"), normalizes: is("normalize", "true") };
    (folding.ignores_case || folding.normalizes).then_some(folding)
}

/// What the target says to index: a collection without a word before it means its values.
fn indexed_part(target: &IndexTarget, cql_type: &CqlType) -> IndexedPart {
    let is_collection = cql_type.is_collection();
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
pub(super) fn available_name(table: &str, column: &str, taken: impl Fn(&str) -> bool) -> String {
    let word = |character: &char| character.is_ascii_alphanumeric() || *character == '_';
    let mut base: String = format!("{table}_{column}").chars().filter(word).collect();
    base.truncate(NAME_BYTES_MAX - "_idx_999".len());
    base.push_str("_idx");
    let numbered = (1..).map(|number| format!("{base}_{number}"));
    let mut names = std::iter::once(base.clone()).chain(numbered);
    names.find(|name| !taken(name)).unwrap_or(base)
}
