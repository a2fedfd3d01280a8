//! DESCRIBE: CREATE statements that make the same keyspaces, types, tables and indexes when they are executed, in an
//! order in which they can be.

use crate::table_options::describe_options;
use model::name::{quote_name, quote_text};
use model::schema::{ClusteringOrder, Column, ColumnKind, Index, IndexedPart, Keyspace, Replication, Schema, Table};
use model::types::UserType;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The statement that creates `keyspace`, without its tables.
#[must_use]
pub fn describe_keyspace(keyspace: &Keyspace) -> String {
    let (class, factors): (&str, Vec<(&str, u32)>) = match &keyspace.replication {
        Replication::Simple { factor } => ("SimpleStrategy", vec![("replication_factor", *factor)]),
        Replication::NetworkTopology { factors } => {
            ("NetworkTopologyStrategy", factors.iter().map(|(name, factor)| (name.as_str(), *factor)).collect())
        }
    };
    let mut replication = format!("'class': '{class}'");
    for (name, factor) in factors {
        replication.push_str(&format!(", {}: '{factor}'", quote_text(name)));
    }
    let name = quote_name(&keyspace.name);
    format!("CREATE KEYSPACE {name} WITH replication = {{{replication}}} AND durable_writes = true;")
}

/// The statement that creates `table`.
#[must_use]
pub fn describe_table(table: &Table) -> String {
    let mut text = format!("CREATE TABLE {}.{} (\n", quote_name(&table.keyspace), quote_name(&table.name));
    for column in &table.columns {
        let suffix = if column.kind == ColumnKind::Static { " static" } else { "" };
        text.push_str(&format!("    {} {}{suffix},\n", quote_name(&column.name), column.cql_type));
    }
    let partition: Vec<_> = table.partition_key().map(|column| quote_name(&column.name)).collect();
    let mut key = if partition.len() == 1 { partition.join(", ") } else { format!("({})", partition.join(", ")) };
    for column in table.clustering() {
        key.push_str(&format!(", {}", quote_name(&column.name)));
    }
    text.push_str(&format!("    PRIMARY KEY ({key})\n)"));
    let mut options = Vec::new();
    let orders: Vec<String> = table.clustering().map(clustering_order).collect();
    if !orders.is_empty() {
        options.push(format!("CLUSTERING ORDER BY ({})", orders.join(", ")));
    }
    options.extend(describe_options(&table.options));
    text.push_str(&format!(" WITH {};", options.join("\n    AND ")));
    text
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
        IndexedPart::Value => column.into_owned(),
        part => format!("{part}({column})"),
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
fn types_in_order(keyspace: &Keyspace) -> Vec<&Arc<UserType>> {
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
