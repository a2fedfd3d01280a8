//! DESCRIBE: CREATE statements that make the same keyspace and table when they are executed.

use crate::table_options::describe_options;
use model::name::{quote_name, quote_text};
use model::schema::{ClusteringOrder, Column, ColumnKind, Keyspace, Replication, Table};

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

fn clustering_order(column: &Column) -> String {
    let direction = match column.kind {
        ColumnKind::Clustering(_, ClusteringOrder::Descending) => "DESC",
        _ => "ASC",
    };
    format!("{} {direction}", quote_name(&column.name))
}
