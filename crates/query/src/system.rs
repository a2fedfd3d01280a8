//! The tables that a node answers by itself: their definitions, with the columns of Cassandra 5.0, by which drivers
//! and tools find the cluster and its schema. What is in them is made when they are read (`node::virtual_tables`).
//!
//! Invariant: they are looked up before the cluster's own keyspaces, which cannot have their names, and nothing
//! writes to them.

pub use model::schema::TRACES;
use model::schema::{ClusteringOrder, Column, ColumnKind, Replication, Schema, SchemaChange, Table};
use model::table_options::TableOptions;
use model::{ColumnId, CqlType, TableId};
use std::sync::{Arc, LazyLock};

/// The keyspaces, with their tables. Cassandra stores the first three; the others it answers as it is done here.
const KEYSPACES: [&str; 5] = ["system", "system_schema", "system_auth", VIEWS, VIRTUAL_SCHEMA];
/// The keyspace that describes what is not in `system_schema`: itself and [`VIEWS`].
pub const VIRTUAL_SCHEMA: &str = "system_virtual_schema";
/// The keyspace of what a node knows of itself only.
pub const VIEWS: &str = "system_views";

static SCHEMA: LazyLock<Schema> = LazyLock::new(|| {
    let replication = Replication::Simple { factor: 1 };
    let keyspaces = KEYSPACES.map(|name| {
        let (name, replication) = (name.to_owned(), replication.clone());
        SchemaChange::CreateKeyspace { name, replication, if_not_exists: false }
    });
    let tables = definitions().into_iter().map(|table| SchemaChange::CreateTable { table, if_not_exists: false });
    keyspaces.into_iter().chain(tables).fold(Schema::default(), |schema, change| {
        let next = schema.apply(&change).ok().flatten();
        next.expect("every keyspace and table is defined once: a test reads them all")
    })
});

/// Their schema.
#[must_use]
pub fn schema() -> &'static Schema {
    &SCHEMA
}

/// True for a keyspace whose tables are answered by the node itself.
#[must_use]
pub fn is_system(keyspace: &str) -> bool {
    KEYSPACES.contains(&keyspace)
}

/// True for a keyspace whose tables Cassandra too makes when they are read: they cannot be created.
#[must_use]
pub fn is_virtual(keyspace: &str) -> bool {
    [VIEWS, VIRTUAL_SCHEMA].contains(&keyspace)
}

/// Keyspaces that are the cluster's own: nobody creates, changes or drops them.
const RESERVED: [&str; 7] =
    ["system", "system_auth", "system_distributed", "system_schema", TRACES, VIEWS, VIRTUAL_SCHEMA];

/// True for the name of a keyspace that is the cluster's own, whether its tables are stored or not.
#[must_use]
pub fn is_reserved(keyspace: &str) -> bool {
    RESERVED.contains(&keyspace)
}

/// For how long a trace is kept.
const TRACE_SECONDS: u32 = 24 * 60 * 60;

/// The changes of the schema that make the tables of traces, each without effect when it was made before. The ids are
/// those of Cassandra: the same on whichever node a trace is asked for first.
#[must_use]
pub fn create_traces(factor: u32) -> [SchemaChange; 3] {
    use CqlType::{Inet, Int, Text, Timestamp, Uuid};
    let sessions = vec![
        ("client", Inet),
        ("command", Text),
        ("coordinator", Inet),
        ("coordinator_port", Int),
        ("duration", Int),
        ("parameters", CqlType::Map { entry: Arc::new((Text, Text)), frozen: false }),
        ("request", Text),
        ("started_at", Timestamp),
    ];
    let events =
        vec![("activity", Text), ("source", Inet), ("source_elapsed", Int), ("source_port", Int), ("thread", Text)];
    let key = || vec![("session_id", Uuid)];
    let create = |mut table: Table, id, comment: &str| {
        table.id = TableId(id);
        table.options.comment = comment.to_owned();
        table.options.default_time_to_live = TRACE_SECONDS;
        table.options.gc_grace_seconds = 0;
        SchemaChange::CreateTable { table, if_not_exists: true }
    };
    let (replication, name) = (Replication::Simple { factor }, TRACES.to_owned());
    [
        SchemaChange::CreateKeyspace { name, replication, if_not_exists: true },
        create(
            table(TRACES, "sessions", key(), vec![], sessions),
            0xc5e9_9f16_8677_3914_b17e_9606_1351_2345,
            "tracing sessions",
        ),
        create(
            table(TRACES, "events", key(), vec![("event_id", CqlType::TimeUuid)], events),
            0x8826_e8e9_e16a_3728_8753_3bc1_fc71_3c25,
            "tracing events",
        ),
    ]
}

type Columns = Vec<(&'static str, CqlType)>;

fn list(element: CqlType) -> CqlType {
    CqlType::List { element: Arc::new(element), frozen: true }
}

fn set(element: CqlType) -> CqlType {
    CqlType::Set { element: Arc::new(element), frozen: true }
}

fn map(key: CqlType, value: CqlType) -> CqlType {
    CqlType::Map { entry: Arc::new((key, value)), frozen: true }
}

/// A table of these columns; those outside of the key are put in the order of their names.
fn table(keyspace: &str, name: &str, partition: Columns, clustering: Columns, mut others: Columns) -> Table {
    others.sort_by_key(|(name, _)| *name);
    let partition = partition.into_iter().zip(0..).map(|(column, at)| (column, ColumnKind::PartitionKey(at)));
    let ascending = |at| ColumnKind::Clustering(at, ClusteringOrder::Ascending);
    let clustering = clustering.into_iter().zip(0..).map(|(column, at)| (column, ascending(at)));
    let others = others.into_iter().map(|column| (column, ColumnKind::Regular));
    let column = |(((name, cql_type), kind), id): (((&str, CqlType), ColumnKind), u32)| Column {
        id: ColumnId(id),
        name: name.to_owned(),
        kind,
        cql_type,
    };
    Table {
        id: TableId(0),
        generation: 0,
        keyspace: keyspace.to_owned(),
        name: name.to_owned(),
        columns: partition.chain(clustering).chain(others).zip(0..).map(column).collect(),
        options: TableOptions::default(),
        dropped_columns: Vec::new(),
        indexes: Vec::new(),
        constraints: Vec::new(),
    }
}

/// All tables. Their ids are their positions, from 1: those of other tables are random, so that they do not meet.
fn definitions() -> Vec<Table> {
    let mut tables = of_the_cluster();
    tables.extend(of_the_schema());
    tables.extend(of_the_virtual_schema());
    tables.extend([clients(), settings()]);
    tables.extend(of_repairs());
    tables.push(replication_changes());
    for (table, id) in tables.iter_mut().zip(1..) {
        table.id = TableId(id);
    }
    tables
}

fn of_the_cluster() -> Vec<Table> {
    use CqlType::{Blob, Inet, Int, Text, Uuid};
    let of_every_node = || {
        vec![
            ("data_center", Text),
            ("host_id", Uuid),
            ("rack", Text),
            ("release_version", Text),
            ("schema_version", Uuid),
            ("tokens", set(Text)),
        ]
    };
    let mut local = of_every_node();
    local.extend([
        ("bootstrapped", Text),
        ("broadcast_address", Inet),
        ("broadcast_port", Int),
        ("cluster_name", Text),
        ("cql_version", Text),
        ("gossip_generation", Int),
        ("listen_address", Inet),
        ("listen_port", Int),
        ("native_protocol_version", Text),
        ("partitioner", Text),
        ("rpc_address", Inet),
        ("rpc_port", Int),
        ("truncated_at", map(Uuid, Blob)),
    ]);
    let mut peers = of_every_node();
    peers.extend([("preferred_ip", Inet), ("rpc_address", Inet)]);
    let mut peers_v2 = of_every_node();
    peers_v2.extend([("native_address", Inet), ("native_port", Int), ("preferred_ip", Inet), ("preferred_port", Int)]);
    vec![
        table("system", "local", vec![("key", Text)], vec![], local),
        table("system", "peers", vec![("peer", Inet)], vec![], peers),
        table("system", "peers_v2", vec![("peer", Inet)], vec![("peer_port", Int)], peers_v2),
        estimates("size_estimates", vec![]),
        estimates("table_estimates", vec![("range_type", Text)]),
        table("system", "IndexInfo", vec![("table_name", Text)], vec![("index_name", Text)], vec![("value", Blob)]),
        // Without it cqlsh does not show what LIST answers. No hash of a password is in it.
        table(
            "system_auth",
            "roles",
            vec![("role", Text)],
            vec![],
            vec![
                ("can_login", CqlType::Boolean),
                ("is_superuser", CqlType::Boolean),
                ("member_of", set(Text)),
                ("salted_hash", Text),
            ],
        ),
        table(
            "system",
            "prepared_statements",
            vec![("prepared_id", Blob)],
            vec![],
            vec![("logged_keyspace", Text), ("query_string", Text)],
        ),
    ]
}

/// A table of how much is in which range of tokens.
fn estimates(name: &str, kind: Columns) -> Table {
    use CqlType::{BigInt, Text};
    let mut clustering = vec![("table_name", Text)];
    clustering.extend(kind);
    clustering.extend([("range_start", Text), ("range_end", Text)]);
    let figures = vec![("mean_partition_size", BigInt), ("partitions_count", BigInt)];
    table("system", name, vec![("keyspace_name", Text)], clustering, figures)
}

/// The options of a table or view.
fn options() -> Columns {
    use CqlType::{Blob, Boolean, Double, Int, Text};
    let texts = || map(Text, Text);
    vec![
        ("additional_write_policy", Text),
        ("allow_auto_snapshot", Boolean),
        ("bloom_filter_fp_chance", Double),
        ("caching", texts()),
        ("cdc", Boolean),
        ("comment", Text),
        ("compaction", texts()),
        ("compression", texts()),
        ("crc_check_chance", Double),
        ("dclocal_read_repair_chance", Double),
        ("default_time_to_live", Int),
        ("extensions", map(Text, Blob)),
        ("gc_grace_seconds", Int),
        ("id", CqlType::Uuid),
        ("incremental_backups", Boolean),
        ("max_index_interval", Int),
        ("memtable", Text),
        ("memtable_flush_period_in_ms", Int),
        ("min_index_interval", Int),
        ("read_repair", Text),
        ("read_repair_chance", Double),
        ("speculative_retry", Text),
    ]
}

fn of_the_schema() -> Vec<Table> {
    use CqlType::{Blob, Boolean, Int, Text, Timestamp, Uuid};
    let in_keyspace = |name: &str, clustering: Columns, others: Columns| {
        table("system_schema", name, vec![("keyspace_name", Text)], clustering, others)
    };
    let texts = || map(Text, Text);
    let mut tables = options();
    tables.push(("flags", set(Text)));
    let mut views = options();
    views.extend([
        ("base_table_id", Uuid),
        ("base_table_name", Text),
        ("include_all_columns", Boolean),
        ("where_clause", Text),
    ]);
    let column = || vec![("table_name", Text), ("column_name", Text)];
    let masks = vec![
        ("function_argument_nulls", list(Boolean)),
        ("function_argument_types", list(Text)),
        ("function_argument_values", list(Text)),
        ("function_keyspace", Text),
        ("function_name", Text),
    ];
    let functions = vec![
        ("argument_names", list(Text)),
        ("body", Text),
        ("called_on_null_input", Boolean),
        ("language", Text),
        ("return_type", Text),
    ];
    let aggregates = vec![
        ("final_func", Text),
        ("initcond", Text),
        ("return_type", Text),
        ("state_func", Text),
        ("state_type", Text),
    ];
    vec![
        in_keyspace("keyspaces", vec![], vec![("durable_writes", Boolean), ("replication", texts())]),
        in_keyspace("tables", vec![("table_name", Text)], tables),
        in_keyspace("columns", column(), columns(Blob, Int)),
        in_keyspace("column_masks", column(), masks),
        in_keyspace("dropped_columns", column(), vec![("dropped_time", Timestamp), ("kind", Text), ("type", Text)]),
        in_keyspace("triggers", vec![("table_name", Text), ("trigger_name", Text)], vec![("options", texts())]),
        in_keyspace("views", vec![("view_name", Text)], views),
        in_keyspace(
            "indexes",
            vec![("table_name", Text), ("index_name", Text)],
            vec![("kind", Text), ("options", texts())],
        ),
        in_keyspace("types", vec![("type_name", Text)], vec![("field_names", list(Text)), ("field_types", list(Text))]),
        in_keyspace("functions", vec![("function_name", Text), ("argument_types", list(Text))], functions),
        in_keyspace("aggregates", vec![("aggregate_name", Text), ("argument_types", list(Text))], aggregates),
    ]
}

/// The columns of a table of columns outside of its key.
fn columns(blob: CqlType, int: CqlType) -> Columns {
    let text = || CqlType::Text;
    vec![
        ("clustering_order", text()),
        ("column_name_bytes", blob),
        ("kind", text()),
        ("position", int),
        ("type", text()),
    ]
}

/// Connections of the CQL native protocol.
fn clients() -> Table {
    use CqlType::{BigInt, Boolean, Inet, Int, Text};
    let texts = || map(Text, Text);
    let others = vec![
        ("client_options", texts()),
        ("connection_stage", Text),
        ("driver_name", Text),
        ("driver_version", Text),
        ("keyspace_name", Text),
        ("protocol_version", Int),
        ("request_count", BigInt),
        ("ssl_enabled", Boolean),
        ("username", Text),
    ];
    let mut clients = table(VIEWS, "clients", vec![("address", Inet)], vec![("port", Int)], others);
    clients.options.comment = "currently connected clients".to_owned();
    clients
}

/// What Cassandra has in `system_distributed.repair_history`, and ScyllaDB in `system.repair_history`: here each node
/// says it of itself.
fn of_repairs() -> [Table; 2] {
    use CqlType::{BigInt, Boolean, Int, Text, Timestamp, Uuid};
    let of_repair = vec![
        ("automatic", Boolean),
        ("data_centers", list(Text)),
        ("ended_at", Timestamp),
        ("failures", list(Text)),
        ("preview", Boolean),
        ("ranges", Int),
        ("ranges_done", Int),
        ("ranges_failed", Int),
        ("records_differing", BigInt),
        ("records_sent", BigInt),
        ("rows_compared", BigInt),
        ("bytes_compared", BigInt),
        ("bytes_sent", BigInt),
        ("started_at", Timestamp),
        ("state", Text),
        ("tables", list(Text)),
    ];
    let of_range = vec![("end_token", BigInt), ("repaired_through", Timestamp), ("replicas", list(Uuid))];
    let mut repairs = table(VIEWS, "repairs", vec![("id", Uuid)], vec![], of_repair);
    repairs.options.comment = "repairs that this node coordinates or has coordinated lately".to_owned();
    let key = vec![("keyspace_name", Text), ("table_name", Text)];
    let mut ranges = table(VIEWS, "repaired_ranges", key, vec![("start_token", BigInt)], of_range);
    ranges.options.comment = "ranges of this node, and through what time they are repaired".to_owned();
    [repairs, ranges]
}

/// The change of replication that is under way, as this node knows it. Cassandra and ScyllaDB have none.
fn replication_changes() -> Table {
    use CqlType::{BigInt, Text};
    let replication = || map(Text, Text);
    let others = vec![("from", replication()), ("phase", Text), ("since_epoch", BigInt), ("to", replication())];
    let mut changes = table(VIEWS, "replication_changes", vec![("keyspace_name", Text)], vec![], others);
    changes.options.comment = "the change of the replication of a keyspace that is under way".to_owned();
    changes
}

/// What the node was configured to.
fn settings() -> Table {
    let mut settings = table(VIEWS, "settings", vec![("name", CqlType::Text)], vec![], vec![("value", CqlType::Text)]);
    settings.options.comment = "current settings".to_owned();
    settings
}

fn of_the_virtual_schema() -> Vec<Table> {
    use CqlType::Text;
    let in_keyspace = |name: &str, clustering: Columns, others: Columns| {
        table(VIRTUAL_SCHEMA, name, vec![("keyspace_name", Text)], clustering, others)
    };
    let commented = |comment: &str, mut table: Table| {
        table.options.comment = comment.to_owned();
        table
    };
    let of_column = || vec![("table_name", Text), ("column_name", Text)];
    vec![
        commented("virtual keyspace definitions", in_keyspace("keyspaces", vec![], vec![])),
        commented(
            "virtual table definitions",
            in_keyspace("tables", vec![("table_name", Text)], vec![("comment", Text)]),
        ),
        commented(
            "virtual column definitions",
            in_keyspace("columns", of_column(), columns(CqlType::Blob, CqlType::Int)),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_of_traces_are_made_once_and_are_nobodys_to_change() {
        let apply = |schema: Schema, change: &SchemaChange| schema.apply(change).unwrap().unwrap_or(schema);
        let schema = create_traces(2).iter().fold(Schema::default(), apply);
        let again = create_traces(1).iter().fold(schema.clone(), apply);
        assert_eq!(again, schema);
        let prepare = |text: &str| crate::prepare(text, &schema, None);
        assert!(prepare("INSERT INTO system_traces.events (session_id, event_id) VALUES (?, ?)").is_ok());
        assert!(prepare("SELECT * FROM system_traces.sessions WHERE session_id = ?").is_ok());
        for text in ["DROP KEYSPACE system_traces", "ALTER TABLE system_traces.events ADD a int"] {
            assert!(prepare(text).unwrap_err().to_string().contains("user-modifiable"), "{text}");
        }
    }

    #[test]
    fn every_table_can_be_read_and_none_written() {
        let mut tables = 0;
        for keyspace in schema().keyspaces().values() {
            assert!(is_system(&keyspace.name));
            for table in keyspace.tables.values() {
                let name = format!("{}.{}", keyspace.name, model::name::quote_name(&table.name));
                let prepare = |text: &str| crate::prepare(text, &Schema::default(), None);
                let read = prepare(&format!("SELECT * FROM {name}")).unwrap();
                assert_eq!(read.result_columns().len(), table.columns.len());
                assert!(table.columns.iter().all(|column| column.cql_type.check().is_ok()), "{name}");
                let key: Vec<String> = table.partition_key().map(|column| format!("{} = ?", column.name)).collect();
                let key = key.join(" AND ");
                assert!(prepare(&format!("SELECT * FROM {name} WHERE {key}")).is_ok());
                for write in [format!("DELETE FROM {name} WHERE {key}"), format!("TRUNCATE {name}")] {
                    let error = prepare(&write).unwrap_err().to_string();
                    assert!(error.contains("system"), "{error}");
                }
                tables += 1;
            }
        }
        assert_eq!(tables, definitions().len());
        assert!(crate::prepare("USE system", &Schema::default(), None).is_ok());
        let used =
            crate::prepare("SELECT cluster_name FROM local WHERE key = 'local'", &Schema::default(), Some("system"));
        assert!(used.is_ok());
    }
}
