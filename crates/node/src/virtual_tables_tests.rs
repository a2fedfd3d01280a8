//! What drivers ask for on connecting, and what they find.

use super::*;
use crate::repair::repaired::Repaired;
use crate::repair::{RepairFigures, RepairId, RepairState};
use membership::NodeAddresses;
use model::types::UserType as Definition;
use model::{Epoch, Token};
use query::{Bound, BoundValue};
use std::collections::BTreeSet;

fn member(id: u128) -> MemberInfo {
    let address = |port| SocketAddr::from(([127, 0, 0, id as u8], port));
    MemberInfo {
        id: NodeId(id),
        addresses: NodeAddresses { internode: address(7000), client: address(7042), native: address(9042 + id as u16) },
        data_center: "dc1".to_owned(),
        rack: "rack1".to_owned(),
        tokens: vec![Token(id as i64 * -10), Token(id as i64)],
    }
}

#[derive(Debug)]
struct Alive;

impl Live for Alive {
    fn settings(&self) -> Vec<(String, String)> {
        vec![("shards".to_owned(), "2".to_owned())]
    }

    fn clients(&self) -> Vec<Client> {
        let options = BTreeMap::from([("DRIVER_NAME".to_owned(), "test".to_owned())]);
        let address = SocketAddr::from(([127, 0, 0, 9], 4_000));
        let (keyspace, user) = (Some("k".to_owned()), None);
        vec![Client { address, options, stage: "ready", version: 5, keyspace, user, tls: true, requests: 7 }]
    }

    fn prepared(&self) -> Vec<(Bytes, Option<String>, String)> {
        vec![(Bytes::from_static(&[1; 16]), None, "SELECT 1".to_owned())]
    }

    fn repairs(&self) -> Arc<RepairsStatus> {
        let mut repaired = Repaired::default();
        let through = RepairedThrough { seconds: 60, replicas: vec![NodeId(1), NodeId(2)], epoch: Epoch(1) };
        repaired.put(model::TableId(102), TokenRange { start: Token(-5), end: Token(9) }, through);
        let report = RepairReport {
            id: RepairId(7),
            automatic: true,
            preview: false,
            tables: vec![("k".to_owned(), "u".to_owned())],
            data_centers: Vec::new(),
            state: RepairState::Failed,
            started_seconds: 100,
            ended_seconds: 0,
            units: 16,
            units_done: 3,
            failed: 1,
            failures: vec![RangeFailure {
                table: model::TableId(102),
                range: TokenRange { start: Token(1), end: Token(2) },
                reason: "node 3 is down".to_owned(),
            }],
            refused: None,
            figures: RepairFigures { rows: 11, sent: 4, ..RepairFigures::default() },
            at: None,
        };
        Arc::new(RepairsStatus { reports: vec![report], repaired: Arc::new(repaired), ..RepairsStatus::default() })
    }

    fn index_builds(&self) -> Vec<IndexBuild> {
        Vec::new()
    }

    fn estimate(&self, table: model::TableId, range: TokenRange) -> Option<RangeEstimate> {
        let partitions = u64::from(range.end < Token(0)) * 7;
        (table == model::TableId(102)).then_some(RangeEstimate { partitions, partition_bytes: 9 })
    }
}

#[test]
fn sizes_are_estimated_for_the_ranges_that_the_node_comes_first_in() {
    let view = view(2);
    let rows = select(&view, "SELECT * FROM system.size_estimates", &[], u32::MAX);
    let shown = |row: &BTreeMap<String, String>| {
        ["table_name", "range_start", "range_end", "partitions_count", "mean_partition_size"]
            .map(|name| row[name].clone())
    };
    let mut all: Vec<_> = rows.iter().map(shown).collect();
    all.sort();
    // The ring is -20 (2), -10 (1), 1 (1), 2 (2).
    let own = [["u", "-10", "1", "0", "9"], ["u", "-20", "-10", "7", "9"]];
    assert_eq!(all, own.map(|row| row.map(str::to_owned)));
    let named = "SELECT * FROM system.size_estimates WHERE keyspace_name = 'k' AND table_name = 'u'";
    assert_eq!(select(&view, named, &[], 1), rows);
    let other = "SELECT * FROM system.size_estimates WHERE keyspace_name = 'x'";
    assert!(select(&view, other, &[], 1).is_empty());
    let kinds = select(&view, "SELECT * FROM system.table_estimates", &[], u32::MAX);
    assert_eq!((kinds.len(), kinds[0]["range_type"].as_str()), (4, "local_primary"));
    // Of the node that has the lowest token one range goes around the end.
    let facts = Facts {
        view: &view,
        own: NodeId(2),
        release: "5.0.0",
        cql_version: "3.4.7",
        native_version: "5",
        live: &Alive,
    };
    let ranges: Vec<(i64, i64)> =
        primary_ranges(&facts, None).iter().map(|range| (range.start.0, range.end.0)).collect();
    assert_eq!(ranges, [(i64::MIN, -20), (2, i64::MAX), (1, 2)]);
    assert!(primary_ranges(&facts, Some("elsewhere")).is_empty());
}

#[test]
fn clients_and_prepared_statements_are_those_of_the_driver() {
    let clients = select(&view(1), "SELECT * FROM system_views.clients", &[], u32::MAX);
    let shown = ["address", "port", "driver_name", "protocol_version", "request_count", "ssl_enabled", "keyspace_name"];
    let shown: Vec<&str> = shown.iter().map(|column| clients[0][*column].as_str()).collect();
    assert_eq!(shown, ["127.0.0.9", "4000", "test", "5", "7", "True", "k"]);
    assert!(!clients[0].contains_key("username"));
    let prepared = select(&view(1), "SELECT * FROM system.prepared_statements", &[], u32::MAX);
    assert_eq!(prepared[0]["query_string"], "SELECT 1");
    let views = select(&view(1), "SELECT * FROM system_virtual_schema.tables", &[], u32::MAX);
    assert!(views.iter().any(|table| table["table_name"] == "clients"));
}

#[test]
fn repairs_are_those_that_the_node_has_told_of() {
    let repairs = select(&view(1), "SELECT * FROM system_views.repairs", &[], u32::MAX);
    let shown = ["state", "automatic", "ranges", "ranges_done", "rows_compared", "records_sent", "tables", "failures"];
    let shown: Vec<&str> = shown.iter().map(|column| repairs[0][*column].as_str()).collect();
    let failure = "['k.u 1:2: node 3 is down']";
    assert_eq!(shown, ["failed", "True", "16", "3", "11", "4", "['k.u']", failure]);
    assert!(!repairs[0].contains_key("ended_at"), "it has not ended");
    let ranges = "SELECT * FROM system_views.repaired_ranges WHERE keyspace_name = 'k' AND table_name = 'u'";
    let ranges = select(&view(1), ranges, &[], u32::MAX);
    assert_eq!((ranges[0]["start_token"].as_str(), ranges[0]["end_token"].as_str()), ("-5", "9"));
    assert!(ranges[0]["repaired_through"].starts_with("1970-01-01 00:01:00"));
}

fn context() -> query::EvaluationContext {
    query::EvaluationContext::new(WallMicros(0), 0)
}

fn schema() -> Schema {
    let mut schema = Schema::default();
    let ddl = [
        "CREATE KEYSPACE k WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 3}",
        "CREATE TABLE k.t (a int, b text, c timestamp, v double, PRIMARY KEY ((a, b), c)) \
         WITH CLUSTERING ORDER BY (c DESC) AND comment = 'it''s'",
        "CREATE TABLE k.u (a int PRIMARY KEY)",
    ];
    for (text, id) in ddl.iter().zip(100..) {
        let Bound::Schema(request) = query::prepare(text, &schema, None).unwrap().bind(&[], context()).unwrap() else {
            panic!("{text} changes the schema");
        };
        schema = schema.apply(&request.change(model::TableId(id), WallMicros(0))).unwrap().unwrap();
    }
    let fields = vec![("street".to_owned(), CqlType::Text)];
    let definition = Definition { keyspace: "k".to_owned(), name: "address".to_owned(), fields };
    schema.apply(&model::schema::SchemaChange::CreateType { definition, if_not_exists: false }).unwrap().unwrap()
}

fn view(members: u128) -> ClusterView {
    let members = (1..=members).map(|id| (NodeId(id), member(id))).collect();
    ClusterView::new(Epoch(1), 7, Arc::new(schema()), members, BTreeSet::new())
}

/// All rows of a SELECT, read in pages of `page` rows, as texts by the columns' names.
fn select(view: &ClusterView, text: &str, values: &[BoundValue], page: u32) -> Vec<BTreeMap<String, String>> {
    let facts =
        Facts { view, own: NodeId(1), release: "5.0.0", cql_version: "3.4.7", native_version: "5", live: &Alive };
    let prepared = query::prepare(text, &view.schema, None).unwrap();
    let Bound::Read(bound) = prepared.bind(values, context()).unwrap() else { panic!("{text} reads") };
    let (bound, mut saved, mut all) = (Arc::new(bound), None, Vec::new());
    loop {
        let limits = PageLimits { rows: page, bytes: u32::MAX };
        let answer = read(&facts, &bound, saved.as_ref(), limits, WallMicros(1)).unwrap();
        assert!(answer.rows.len() <= page as usize);
        for row in answer.rows {
            let named = prepared.result_columns().iter().zip(row).filter_map(|(column, wire)| {
                let value = Value::from_wire(&column.cql_type, &wire?).unwrap();
                Some((column.name.clone(), value.to_string()))
            });
            all.push(named.collect());
        }
        saved = answer.saved;
        if saved.is_none() {
            return all;
        }
    }
}

#[test]
fn a_driver_finds_the_node_and_its_peers() {
    let view = view(3);
    let local = select(&view, "SELECT * FROM system.local WHERE key='local'", &[], u32::MAX);
    let [local] = &local[..] else { panic!("one row: {local:?}") };
    for (column, value) in [
        ("release_version", "5.0.0"),
        ("partitioner", "org.apache.cassandra.dht.Murmur3Partitioner"),
        ("rpc_address", "127.0.0.1"),
        ("rpc_port", "9043"),
        ("data_center", "dc1"),
    ] {
        assert_eq!(local[column], value, "{column}");
    }
    assert!(local["tokens"].contains("-10"), "{}", local["tokens"]);
    assert_eq!(select(&view, "SELECT * FROM system.local WHERE key = 'other'", &[], 9), []);
    let peers = select(&view, "SELECT * FROM system.peers_v2", &[], u32::MAX);
    let ports: BTreeSet<&str> = peers.iter().map(|peer| peer["native_port"].as_str()).collect();
    assert_eq!(ports, BTreeSet::from(["9044", "9045"]));
    assert!(peers.iter().all(|peer| peer["schema_version"] == local["schema_version"]));
    assert_eq!(select(&view, "SELECT * FROM system.peers", &[], u32::MAX).len(), 2);
    let peer = BoundValue::Value(Value::Inet(([127, 0, 0, 2]).into()).to_wire());
    assert_eq!(select(&view, "SELECT rack FROM system.peers WHERE peer = ?", &[peer], u32::MAX).len(), 1);
}

#[test]
fn the_schema_is_described_with_the_systems_own_tables() {
    let view = view(1);
    let keyspaces = select(&view, "SELECT * FROM system_schema.keyspaces", &[], u32::MAX);
    let names: BTreeSet<&str> = keyspaces.iter().map(|keyspace| keyspace["keyspace_name"].as_str()).collect();
    assert_eq!(names, BTreeSet::from(["k", "system", "system_auth", "system_schema"]));
    let tables = select(&view, "SELECT * FROM system_schema.tables WHERE keyspace_name = 'k'", &[], u32::MAX);
    assert_eq!(tables.len(), 2);
    assert_eq!((tables[0]["table_name"].as_str(), tables[0]["comment"].as_str()), ("t", "it's"));
    let described = &system::schema().find_table("system_schema", "tables").unwrap().columns;
    let nulls: Vec<&str> =
        described.iter().map(|column| column.name.as_str()).filter(|name| !tables[0].contains_key(*name)).collect();
    assert_eq!(nulls, ["allow_auto_snapshot", "incremental_backups", "memtable"], "every other option has a value");
    let of_t = "SELECT * FROM system_schema.columns WHERE keyspace_name = 'k' AND table_name = 't'";
    let columns = select(&view, of_t, &[], u32::MAX);
    let shown: Vec<_> = columns
        .iter()
        .map(|column| {
            let shown =
                ["column_name", "kind", "position", "clustering_order", "type"].map(|name| column[name].as_str());
            shown.join(" ")
        })
        .collect();
    let expected = [
        "a partition_key 0 none int",
        "b partition_key 1 none text",
        "c clustering 0 desc timestamp",
        "v regular -1 none double",
    ];
    assert_eq!(shown, expected);
    let types = select(&view, "SELECT * FROM system_schema.types", &[], u32::MAX);
    assert_eq!(types[0]["field_types"], "['text']");
    for empty in ["indexes", "views", "functions", "aggregates", "triggers", "dropped_columns", "column_masks"] {
        assert_eq!(select(&view, &format!("SELECT * FROM system_schema.{empty}"), &[], 9), [], "{empty}");
    }
    let own = select(&view, "SELECT * FROM system_virtual_schema.tables", &[], u32::MAX);
    assert_eq!(own.len(), 8, "itself, the clients, the settings, those of repairs and of changes of replication");
}

#[test]
fn pages_together_are_the_whole() {
    let view = view(4);
    for text in ["SELECT * FROM system_schema.columns", "SELECT * FROM system.peers_v2"] {
        let whole = select(&view, text, &[], u32::MAX);
        for page in [1, 2, 7] {
            assert_eq!(select(&view, text, &[], page), whole);
        }
    }
    let limited = select(&view, "SELECT * FROM system_schema.columns LIMIT 5", &[], 2);
    assert_eq!(limited.len(), 5);
}

#[test]
fn nodes_of_other_schemas_have_other_versions() {
    let versions = [Schema::default(), schema()].map(|schema| schema_version(&schema));
    assert_ne!(versions[0], versions[1]);
    assert_eq!(schema_version(&schema()), versions[1]);
}

#[test]
fn a_description_is_read_in_pages_of_one_schema() {
    let mut view = view(2);
    let describe = |view: &ClusterView, text: &str, saved: Option<&Bytes>, page| {
        let facts =
            Facts { view, own: NodeId(1), release: "5.0.0", cql_version: "3.4.7", native_version: "5", live: &Alive };
        let prepared = query::prepare(text, &view.schema, Some("k")).unwrap();
        let Bound::Describe(description) = prepared.bind(&[], context()).unwrap() else { panic!("{text} describes") };
        super::describe(&facts, &description, saved, page)
    };
    let whole = describe(&view, "DESCRIBE KEYSPACE k", None, u32::MAX).unwrap();
    assert_eq!((whole.rows.len(), &whole.saved), (4, &None));
    let (mut rows, mut saved) = (Vec::new(), None);
    loop {
        let page = describe(&view, "DESCRIBE KEYSPACE k", saved.as_ref(), 2).unwrap();
        rows.extend(page.rows);
        match page.saved {
            Some(next) => saved = Some(next),
            None => break,
        }
    }
    assert_eq!(rows, whole.rows);
    let short = describe(&view, "DESCRIBE KEYSPACE k", Some(&Bytes::from_static(b"short")), 2);
    assert_eq!(short.unwrap_err().to_string(), "Invalid value for the paging state");
    let cluster = describe(&view, "DESCRIBE CLUSTER", None, 2).unwrap();
    let ranges = Value::from_wire(
        &CqlType::Map {
            entry: Arc::new((CqlType::Text, CqlType::List { element: Arc::new(CqlType::Text), frozen: true })),
            frozen: true,
        },
        cluster.rows[0][3].as_ref().unwrap(),
    );
    let Value::Map(ranges) = ranges.unwrap() else { panic!("it is a map") };
    assert_eq!(ranges.len(), view.ring().len());
    view.schema = Arc::new(Schema::default());
    let changed = describe(&view, "DESCRIBE KEYSPACES", saved.as_ref(), 2).unwrap_err().to_string();
    assert!(changed.starts_with("The schema has changed since the previous page of the DESCRIBE"), "{changed}");
}

#[test]
fn settings_are_shown_with_the_name_of_the_cluster() {
    let rows =
        select(&view(1), "SELECT value FROM system_views.settings WHERE name IN ('shards', 'cluster_name')", &[], 9);
    assert_eq!(rows.len(), 2, "{rows:?}");
    let shards = select(&view(1), "SELECT value FROM system_views.settings WHERE name = 'shards'", &[], 9);
    assert_eq!(shards.len(), 1, "{shards:?}");
}
