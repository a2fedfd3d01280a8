//! DESCRIBE: CREATE statements that make the same keyspaces, types, tables and indexes when they are executed, in an
//! order in which they can be.

use crate::source::shortened;
use crate::system::{is_system, is_virtual};
use crate::table_options::describe_options;
use bytes::Bytes;
use model::name::{quote_name, quote_text};
use model::schema::{
    ClusteringOrder, Column, ColumnKind, DroppedColumn, Index, IndexedPart, Keyspace, Replication, Schema, Table,
};
use model::types::UserType;
use model::{PartitionKey, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The statement that creates `keyspace`, without its tables; of a keyspace that cannot be created a comment.
#[must_use]
pub fn describe_keyspace(keyspace: &Keyspace) -> String {
    let name = quote_name(&keyspace.name);
    if is_virtual(&keyspace.name) {
        return virtual_text(&format!("Keyspace {name}"), "keyspace", &format!("VIRTUAL KEYSPACE {name};"));
    }
    let (class, factors): (&str, Vec<(&str, u32)>) = match &keyspace.replication {
        _ if is_system(&keyspace.name) => ("LocalStrategy", Vec::new()),
        Replication::Simple { factor } => ("SimpleStrategy", vec![("replication_factor", *factor)]),
        Replication::NetworkTopology { factors } => {
            ("NetworkTopologyStrategy", factors.iter().map(|(name, factor)| (name.as_str(), *factor)).collect())
        }
    };
    let mut replication = format!("'class': '{class}'");
    for (name, factor) in factors {
        replication.push_str(&format!(", {}: '{factor}'", quote_text(name)));
    }
    // Two spaces, as in Cassandra: tools compare the texts.
    format!("CREATE KEYSPACE {name} WITH replication = {{{replication}}}  AND durable_writes = true;")
}

/// The statement that creates `table`; of a table that cannot be created a comment.
#[must_use]
pub fn describe_table(table: &Table) -> String {
    table_text(table, false)
}

/// As [`describe_table`], with the table's id and the columns that were dropped, so that what a snapshot holds can
/// be read by the table that the statements create.
pub(crate) fn table_text(table: &Table, internals: bool) -> String {
    let qualified = format!("{}.{}", quote_name(&table.keyspace), quote_name(&table.name));
    let create = if is_virtual(&table.keyspace) { "VIRTUAL TABLE" } else { "CREATE TABLE" };
    let mut text = format!("{create} {qualified} (\n{}\n) WITH ", column_definitions(table, internals).join(",\n"));
    let mut options = Vec::new();
    if internals && !is_system(&table.keyspace) {
        options.push(format!("ID = {}", Value::Uuid(table.created_id().0)));
    }
    let orders: Vec<String> = table.clustering().map(clustering_order).collect();
    if !orders.is_empty() {
        options.push(format!("CLUSTERING ORDER BY ({})", orders.join(", ")));
    }
    if is_virtual(&table.keyspace) {
        options.push(format!("comment = {}", quote_text(&table.options.comment)));
        text.push_str(&format!("{};", options.join("\n    AND ")));
        return virtual_text(&format!("Table {qualified}"), "table", &text);
    }
    options.extend(describe_options(&table.options));
    text.push_str(&format!("{};", options.join("\n    AND ")));
    if internals {
        for (name, dropped) in dropped_columns(table) {
            let name = quote_name(name);
            text.push_str(&format!("\nALTER TABLE {qualified} DROP {name} USING TIMESTAMP {};", dropped.dropped_at));
            if let Some(column) = table.column(&dropped.name) {
                text.push_str(&format!("\nALTER TABLE {qualified} ADD {};", column_text(table, column)));
            }
        }
    }
    text
}

/// The columns, each on a line, and the primary key.
fn column_definitions(table: &Table, internals: bool) -> Vec<String> {
    let is_key = |column: &Column| matches!(column.kind, ColumnKind::PartitionKey(_) | ColumnKind::Clustering(..));
    let partition: Vec<_> = table.partition_key().map(|column| quote_name(&column.name)).collect();
    let clustering: Vec<_> = table.clustering().map(|column| quote_name(&column.name)).collect();
    let is_single = partition.len() == 1 && clustering.is_empty();
    let dropped = if internals { dropped_columns(table) } else { BTreeMap::new() };
    // A column that was dropped and added again is first created as it was dropped.
    let mut columns: Vec<&Column> =
        table.columns.iter().filter(|column| is_key(column) || !dropped.contains_key(column.name.as_str())).collect();
    // As Cassandra has them: static columns first, and those of one value before collections. The sort is stable.
    columns.sort_by_key(|column| match column.kind {
        ColumnKind::PartitionKey(_) => (0, false),
        ColumnKind::Clustering(..) => (1, false),
        ColumnKind::Static => (2, column.cql_type.is_multi_cell()),
        ColumnKind::Regular => (3, column.cql_type.is_multi_cell()),
    });
    let key = if is_single { " PRIMARY KEY" } else { "" };
    let definition = |column: &Column| match column.kind {
        ColumnKind::PartitionKey(_) => format!("    {}{key}", column_text(table, column)),
        _ => format!("    {}", column_text(table, column)),
    };
    let mut lines: Vec<String> = columns.into_iter().map(definition).collect();
    lines.extend(dropped.into_values().map(|column| {
        let suffix = if column.is_static { " static" } else { "" };
        format!("    {} {}{suffix}", quote_name(&column.name), column.cql_type)
    }));
    if !is_single {
        let first = if partition.len() == 1 { partition.join(", ") } else { format!("({})", partition.join(", ")) };
        let key: Vec<_> = std::iter::once(first.into()).chain(clustering).collect();
        lines.push(format!("    PRIMARY KEY ({})", key.join(", ")));
    }
    lines
}

fn column_text(table: &Table, column: &Column) -> String {
    let suffix = if column.kind == ColumnKind::Static { " static" } else { "" };
    let checks: Vec<String> = table.checks(column.id).map(|check| check.to_cql(column)).collect();
    let checks = if checks.is_empty() { String::new() } else { format!(" CHECK {}", checks.join(" AND ")) };
    format!("{} {}{suffix}{checks}", quote_name(&column.name), column.cql_type)
}

/// The columns that were dropped, each as it was when it was dropped last.
fn dropped_columns(table: &Table) -> BTreeMap<&str, &DroppedColumn> {
    let mut dropped: Vec<&DroppedColumn> = table.dropped_columns.iter().collect();
    dropped.sort_by_key(|column| column.dropped_at);
    dropped.into_iter().map(|column| (column.name.as_str(), column)).collect()
}

fn virtual_text(subject: &str, kind: &str, structure: &str) -> String {
    format!(
        "/*\nWarning: {subject} is a virtual {kind} and cannot be recreated with CQL.\nStructure, for reference:\n\
         {structure}\n*/"
    )
}

/// The statement that creates a user-defined type.
#[must_use]
pub fn describe_type(definition: &UserType) -> String {
    let field = |(name, cql_type): &(String, model::CqlType)| format!("    {} {cql_type}", quote_name(name));
    let fields: Vec<String> = definition.fields.iter().map(field).collect();
    let (keyspace, name) = (quote_name(&definition.keyspace), quote_name(&definition.name));
    format!("CREATE TYPE {keyspace}.{name} (\n{}\n);", fields.join(",\n"))
}

/// What of `table` the index is on, as CREATE INDEX has it between its parentheses.
#[must_use]
pub fn index_target(table: &Table, index: &Index) -> String {
    let column = table.columns.iter().find(|column| column.id == index.column);
    let column = quote_name(column.map_or("", |column| &column.name));
    match index.part {
        IndexedPart::Value | IndexedPart::Folded(_) => column.into_owned(),
        part => format!("{part}({column})"),
    }
}

/// The key of a partition as people know it: a value, or several in parentheses; cut when it is long.
#[must_use]
pub fn partition_literal(table: &Table, partition: &PartitionKey) -> String {
    let columns: Vec<&Column> = table.partition_key().collect();
    let Ok(components) = partition.components(columns.len()) else { return format!("0x{:x}", partition.bytes) };
    let literal = |(column, wire): (&&Column, &Bytes)| {
        let value = Value::from_wire(&column.cql_type, wire).map(|value| value.to_cql_literal());
        value.unwrap_or_else(|_| format!("0x{wire:x}"))
    };
    let literals: Vec<String> = columns.iter().zip(&components).map(literal).collect();
    match literals.as_slice() {
        [only] => shortened(only),
        several => shortened(&format!("({})", several.join(", "))),
    }
}

/// The statement that creates `index`, which is one of `table`.
#[must_use]
pub fn describe_index(table: &Table, index: &Index) -> String {
    let target = index_target(table, index);
    let custom = if index.class.is_empty() { "" } else { "CUSTOM " };
    let (name, keyspace, of) = (quote_name(&index.name), quote_name(&table.keyspace), quote_name(&table.name));
    let mut text = format!("CREATE {custom}INDEX {name} ON {keyspace}.{of} ({target})");
    if !index.class.is_empty() {
        text.push_str(&format!(" USING {}", quote_text(&index.class)));
    }
    if !index.options.is_empty() {
        let options: Vec<String> =
            index.options.iter().map(|(name, value)| format!("{}: {}", quote_text(name), quote_text(value))).collect();
        text.push_str(&format!(" WITH OPTIONS = {{{}}}", options.join(", ")));
    }
    text.push(';');
    text
}

/// The statements that create `keyspace` with all that is in it, each after those that it needs.
#[must_use]
pub fn describe_whole_keyspace(keyspace: &Keyspace) -> Vec<String> {
    let mut statements = vec![describe_keyspace(keyspace)];
    statements.extend(types_in_order(keyspace).into_iter().map(|definition| describe_type(definition)));
    statements.extend(keyspace.tables.values().flat_map(|table| describe_whole_table(table)));
    statements
}

/// The statements that create `table` with its indexes.
#[must_use]
pub fn describe_whole_table(table: &Table) -> Vec<String> {
    let indexes = table.indexes.iter().map(|index| describe_index(table, index));
    std::iter::once(describe_table(table)).chain(indexes).collect()
}

/// The statements that create the whole schema.
#[must_use]
pub fn describe_schema(schema: &Schema) -> Vec<String> {
    schema.keyspaces().values().flat_map(|keyspace| describe_whole_keyspace(keyspace)).collect()
}

/// The types, each behind those that it uses; else by name.
pub(crate) fn types_in_order(keyspace: &Keyspace) -> Vec<&Arc<UserType>> {
    let mut placed: BTreeSet<&str> = BTreeSet::new();
    let mut ordered = Vec::with_capacity(keyspace.types.len());
    while ordered.len() < keyspace.types.len() {
        let before = ordered.len();
        for definition in keyspace.types.values() {
            let needs =
                |other: &&Arc<UserType>| definition.types().any(|cql_type| cql_type.uses(&keyspace.name, &other.name));
            let ready = keyspace.types.values().filter(needs).all(|other| placed.contains(other.name.as_str()));
            if ready && placed.insert(&definition.name) {
                ordered.push(definition);
            }
        }
        // No type can be in a circle of types; whoever made one sees them all the same.
        if ordered.len() == before {
            ordered.extend(keyspace.types.values().filter(|definition| placed.insert(definition.name.as_str())));
        }
    }
    ordered
}

fn clustering_order(column: &Column) -> String {
    let direction = match column.kind {
        ColumnKind::Clustering(_, ClusteringOrder::Descending) => "DESC",
        _ => "ASC",
    };
    format!("{} {direction}", quote_name(&column.name))
}
