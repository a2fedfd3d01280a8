//! CREATE statements in, schema changes out, and back through DESCRIBE.

use super::*;
use crate::fixture::{cases, request_in, schema, schema_request};
use crate::{describe_keyspace, describe_table};
use model::CqlType;
use model::limits::{COLUMNS_MAX, TTL_SECONDS_MAX};
use model::schema::{Keyspace, Schema};
use model::table_options::{Compaction, CompactionShape, Compression, Compressor, Fraction, TableOptions};
use proptest::prelude::*;

fn change(text: &str) -> SchemaChange {
    schema_request(text).unwrap_or_else(|error| panic!("{text}: {error}")).change(TableId(7), WallMicros(77))
}

fn replication(text: &str) -> Replication {
    match change(&format!("CREATE KEYSPACE k WITH replication = {text}")) {
        SchemaChange::CreateKeyspace { replication, .. } => replication,
        other => panic!("{other:?}"),
    }
}

fn created(text: &str) -> Table {
    match change(text) {
        SchemaChange::CreateTable { table, .. } => table,
        other => panic!("{other:?}"),
    }
}

#[test]
fn keyspaces_have_their_replication() {
    let simple = replication("{'class': 'SimpleStrategy', 'replication_factor': '3'}");
    assert_eq!(simple, Replication::Simple { factor: 3 });
    let class = "'class': 'org.apache.cassandra.locator.SimpleStrategy'";
    assert_eq!(replication(&format!("{{{class}, 'replication_factor': 1}}")), Replication::Simple { factor: 1 });
    let factors = BTreeMap::from([("dc1".to_owned(), 3), ("DC 2".to_owned(), 1)]);
    let network = replication("{'class': 'NetworkTopologyStrategy', 'dc1': 3, 'DC 2': '1'}");
    assert_eq!(network, Replication::NetworkTopology { factors });
    let text = "CREATE KEYSPACE IF NOT EXISTS \"K\" WITH durable_writes = true AND replication = \
                {'class': 'SimpleStrategy', 'replication_factor': 1}";
    let replication = Replication::Simple { factor: 1 };
    let expected = SchemaChange::CreateKeyspace { name: "K".to_owned(), replication, if_not_exists: true };
    assert_eq!(change(text), expected);
}

#[test]
fn drops_name_what_they_drop() {
    let drop = SchemaChange::DropKeyspace { name: "k".to_owned(), if_exists: true };
    assert_eq!(change("DROP KEYSPACE IF EXISTS k"), drop);
    let drop = SchemaChange::DropTable { keyspace: "k".to_owned(), name: "t".to_owned(), if_exists: false };
    assert_eq!(change("DROP TABLE k.t"), drop);
    let truncate = SchemaChange::TruncateTable { keyspace: "k".to_owned(), name: "t".to_owned() };
    assert_eq!(change("TRUNCATE k.t"), truncate);
    assert_eq!(change("TRUNCATE TABLE k.t"), truncate);
}

#[test]
fn columns_are_ordered_by_key_and_name_and_numbered() {
    let table = created(
        "CREATE TABLE k.t (z int, b text, a uuid, y int, x date, \"A\" blob, PRIMARY KEY ((z, b), y, x)) \
         WITH CLUSTERING ORDER BY (y DESC, x ASC) AND comment = 'it''s' AND default_time_to_live = 60 \
         AND gc_grace_seconds = '0'",
    );
    let columns: Vec<(u32, &str, ColumnKind)> =
        table.columns.iter().map(|column| (column.id.0, column.name.as_str(), column.kind)).collect();
    let expected = [
        (0, "z", ColumnKind::PartitionKey(0)),
        (1, "b", ColumnKind::PartitionKey(1)),
        (2, "y", ColumnKind::Clustering(0, ClusteringOrder::Descending)),
        (3, "x", ColumnKind::Clustering(1, ClusteringOrder::Ascending)),
        (4, "A", ColumnKind::Regular),
        (5, "a", ColumnKind::Regular),
    ];
    assert_eq!(columns, expected);
    assert_eq!((table.id, table.keyspace.as_str(), table.name.as_str()), (TableId(7), "k", "t"));
    let comment = "it's".to_owned();
    let options = TableOptions { comment, default_time_to_live: 60, gc_grace_seconds: 0, ..TableOptions::default() };
    assert_eq!(table.options, options);
    assert_eq!(created("CREATE TABLE k.t (k int PRIMARY KEY)").options, TableOptions::default());
    let partly =
        created("CREATE TABLE k.t (k int, a int, b int, PRIMARY KEY (k, a, b)) WITH CLUSTERING ORDER BY (a DESC)");
    assert_eq!(partly.columns[2].kind, ColumnKind::Clustering(1, ClusteringOrder::Ascending));
}

#[test]
fn definitions_that_make_no_sense_are_refused() {
    let mut wrong = Vec::new();
    for (text, expected) in cases(include_str!("../testdata/definition.txt")) {
        match schema_request(text) {
            Err(
                RequestError::Invalid(message)
                | RequestError::Config(message)
                | RequestError::Unauthorized(message)
                | RequestError::Syntax { message, .. },
            ) if message.contains(expected) => {}
            other => wrong.push(format!("{text}:\n  {other:?}\n  {expected}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_table_has_a_limited_number_of_columns() {
    let create = |count: usize| {
        let columns: Vec<String> = (0..count).map(|at| format!("c{at} int")).collect();
        schema_request(&format!("CREATE TABLE k.t ({}, PRIMARY KEY (c0))", columns.join(", ")))
    };
    assert!(create(COLUMNS_MAX).is_ok());
    assert!(create(COLUMNS_MAX + 1).unwrap_err().to_string().contains("A table can have 4096 columns at most"));
}

#[test]
fn descriptions_are_as_cqlsh_prints_them() {
    let text = "CREATE TABLE k.t (a int, b text, c timeuuid, v blob, PRIMARY KEY ((a, b), c)) \
                WITH CLUSTERING ORDER BY (c DESC) AND comment = 'x'";
    let expected = "CREATE TABLE k.t (\n    a int,\n    b text,\n    c timeuuid,\n    v blob,\n    \
                    PRIMARY KEY ((a, b), c)\n) WITH CLUSTERING ORDER BY (c DESC)\n    \
                    AND additional_write_policy = '99p'\n    AND allow_auto_snapshot = true\n    \
                    AND bloom_filter_fp_chance = 0.01\n    \
                    AND caching = {'keys': 'ALL', 'rows_per_partition': 'NONE'}\n    AND cdc = false\n    \
                    AND comment = 'x'\n    \
                    AND compaction = {'class': 'org.apache.cassandra.db.compaction.LeveledCompactionStrategy', \
                    'max_threshold': '32', 'min_threshold': '4'}\n    \
                    AND compression = {'chunk_length_in_kb': '8', \
                    'class': 'org.apache.cassandra.io.compress.LZ4Compressor'}\n    \
                    AND memtable = 'default'\n    AND crc_check_chance = 1.0\n    \
                    AND default_time_to_live = 0\n    AND extensions = {}\n    AND gc_grace_seconds = 864000\n    \
                    AND incremental_backups = true\n    AND max_index_interval = 2048\n    \
                    AND memtable_flush_period_in_ms = 0\n    \
                    AND min_index_interval = 128\n    AND read_repair = 'BLOCKING'\n    \
                    AND speculative_retry = '99p';";
    assert_eq!(describe_table(&created(text)), expected);
    let text = "CREATE KEYSPACE k WITH replication = {'class': 'SimpleStrategy', 'replication_factor': '3'}  \
                AND durable_writes = true;";
    assert_eq!(describe_keyspace(schema(&[text]).keyspace("k").unwrap()), text);
}

/// Options that can be written in CQL.
fn any_options() -> impl Strategy<Value = TableOptions> {
    let shape = prop_oneof![
        (1..65_536u32, 2..100u32).prop_map(|(file_mb, fanout)| CompactionShape::Leveled { file_mb, fanout }),
        (2..50u32, 50..100u32)
            .prop_map(|(min_threshold, max_threshold)| CompactionShape::SizeTiered { min_threshold, max_threshold }),
        (-62..=62i32, 1..65_536u32).prop_map(|(scaling, file_mb)| CompactionShape::Unified { scaling, file_mb }),
    ];
    let compressor = prop_oneof![
        prop::sample::select(vec![Compressor::None, Compressor::Lz4, Compressor::Snappy]),
        (1..=22u32).prop_map(|level| Compressor::Zstd { level }),
    ];
    let flags = (any::<bool>(), any::<bool>());
    let numbers = (0..=TTL_SECONDS_MAX, 0..=i32::MAX as u32, 68_000..=1_000_000_000u32, 0..=10u32);
    let kept = [
        ("additional_write_policy", "MAX(90p,10ms)"),
        ("caching", "NONE 10"),
        ("crc_check_chance", "0.5"),
        ("incremental_backups", "false"),
        ("max_index_interval", "1024"),
        ("memtable_flush_period_in_ms", "1000"),
        ("min_index_interval", "64"),
        ("read_repair", "NONE"),
        ("speculative_retry", "NEVER"),
    ];
    let kept = prop::sample::subsequence(kept.to_vec(), 0..=kept.len());
    (".{0,20}", shape, compressor, numbers, flags, kept).prop_map(
        |(comment, shape, compressor, numbers, flags, kept)| {
            let (default_time_to_live, gc_grace_seconds, billionths, chunk) = numbers;
            let (enabled, allow_auto_snapshot) = flags;
            TableOptions {
                comment,
                default_time_to_live,
                gc_grace_seconds,
                compaction: Compaction { shape, enabled },
                compression: Compression { compressor, chunk_kb: 1 << chunk },
                bloom_filter_fp_chance: Fraction(billionths),
                allow_auto_snapshot,
                kept: kept.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            }
        },
    )
}

fn column_name() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z][a-z0-9_]{0,6}",
        "[ -~ä]{1,10}",
        prop::sample::select(vec!["select".to_owned(), "ttl".to_owned()])
    ]
}

/// A table of the form that CREATE TABLE makes.
fn any_table() -> impl Strategy<Value = Table> {
    let types = CqlType::SCALARS.to_vec();
    let columns = prop::collection::btree_map(column_name(), prop::sample::select(types), 1..10);
    let options = any_options();
    let names = ("[a-zA-Z0-9_]{1,48}", "[a-zA-Z0-9_]{1,48}");
    let directions = prop::collection::vec(any::<bool>(), 10);
    (names, columns, 1..4usize, 0..4usize, directions, options).prop_map(
        |((keyspace, name), columns, partition, clustering, descending, options)| {
            let (mut key, mut rest): (Vec<_>, Vec<_>) =
                columns.into_iter().partition(|(_, cql_type)| cql_type.is_ordered());
            if key.is_empty() {
                key.push(("only".to_owned(), CqlType::Int));
            }
            rest.extend(key.split_off((partition + clustering).min(key.len())));
            rest.sort_by(|a, b| a.0.cmp(&b.0));
            let partition = partition.min(key.len());
            let of_key = key.into_iter().zip(0u32..).map(|((name, cql_type), at)| {
                let order = match descending[at as usize] {
                    true => ClusteringOrder::Descending,
                    false => ClusteringOrder::Ascending,
                };
                let kind = match at.checked_sub(partition as u32) {
                    None => ColumnKind::PartitionKey(at),
                    Some(position) => ColumnKind::Clustering(position, order),
                };
                (name, kind, cql_type)
            });
            let others = rest.into_iter().map(|(name, cql_type)| (name, ColumnKind::Regular, cql_type));
            let columns = of_key.chain(others).zip(0..);
            let columns = columns.map(|((name, kind, cql_type), id)| Column { id: ColumnId(id), name, kind, cql_type });
            let (columns, dropped_columns) = (columns.collect(), Vec::new());
            Table {
                id: TableId(7),
                generation: 0,
                keyspace,
                name,
                columns,
                options,
                dropped_columns,
                indexes: Vec::new(),
                constraints: Vec::new(),
            }
        },
    )
}

proptest! {
    #[test]
    fn a_described_table_is_created_again(table in any_table()) {
        let text = describe_table(&table);
        prop_assert_eq!(created(&text), table);
    }

    #[test]
    fn a_described_keyspace_is_created_again(
        name in "[a-zA-Z0-9_]{1,48}",
        simple: bool,
        factors in prop::collection::btree_map("[ -~ä]{1,8}", 1..10u32, 1..4),
    ) {
        let replication =
            if simple { Replication::Simple { factor: 3 } } else { Replication::NetworkTopology { factors } };
        let (tables, types) = (BTreeMap::new(), BTreeMap::new());
        let keyspace = Keyspace { name: name.clone(), replication: replication.clone(), tables, types };
        let expected = SchemaChange::CreateKeyspace { name, replication, if_not_exists: false };
        prop_assert_eq!(change(&describe_keyspace(&keyspace)), expected);
    }
}

/// What applying these statements one after the other ends in: the schema, or the message of the first error.
fn applied(statements: &[&str]) -> Result<Schema, String> {
    let create = "CREATE KEYSPACE ks WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}";
    let mut schema = schema(&[create]);
    for (statement, id) in statements.iter().zip(10..) {
        let request = request_in(&schema, statement).map_err(|error| error.to_string())?;
        let changed =
            schema.apply(&request.change(TableId(id), WallMicros(1_000))).map_err(|error| error.to_string())?;
        schema = changed.unwrap_or(schema);
    }
    Ok(schema)
}

#[test]
fn all_types_make_columns() {
    let schema = applied(&[
        "CREATE TYPE u (a int, b frozen<list<text>>, c set<int>)",
        "CREATE TYPE v (u frozen<u>)",
        "CREATE TABLE t (k int, c frozen<tuple<int, list<text>>>, l list<int>, s set<frozen<u>>, \
         m map<text, frozen<v>>, fu ks.u, fv v, vec vector<float, 3>, st list<int> STATIC, PRIMARY KEY (k, c))",
        "CREATE TABLE n (k int PRIMARY KEY, a counter, b counter)",
    ])
    .unwrap_err();
    assert!(schema.starts_with("Non-frozen UDTs with nested non-frozen collections are not supported"), "{schema}");
    let schema = applied(&[
        "CREATE TYPE u (a int, b frozen<list<text>>)",
        "CREATE TYPE v (u frozen<u>)",
        "CREATE TABLE t (k int, c frozen<tuple<int, list<text>>>, l list<int>, s set<frozen<u>>, \
         m map<text, frozen<v>>, fu ks.u, fv v, vec vector<float, 3>, st list<int> STATIC, \
         within frozen<list<u>>, PRIMARY KEY (k, c))",
        "CREATE TABLE n (k int PRIMARY KEY, a counter, b counter)",
    ])
    .unwrap();
    let table = schema.find_table("ks", "t").unwrap();
    let shown: Vec<String> =
        table.columns.iter().map(|column| format!("{} {}", column.name, column.cql_type)).collect();
    let expected = [
        "k int",
        "c frozen<tuple<int, frozen<list<text>>>>",
        "fu u",
        "fv v",
        "l list<int>",
        "m map<text, frozen<v>>",
        "s set<frozen<u>>",
        "st list<int>",
        "vec vector<float, 3>",
        "within frozen<list<frozen<u>>>",
    ];
    assert_eq!(shown, expected);
    assert_eq!(table.column("st").unwrap().kind, ColumnKind::Static);
    assert!(schema.find_table("ks", "n").unwrap().is_counter());
}

#[test]
fn tables_are_altered() {
    let create = "CREATE TABLE t (k int, c int, v text, w int, PRIMARY KEY (k, c)) WITH comment = 'x'";
    let names = |statements: &[&str]| {
        let all: Vec<&str> = std::iter::once(&create).chain(statements).copied().collect();
        applied(&all).map(|schema| {
            let table = schema.find_table("ks", "t").unwrap();
            table.columns.iter().map(|column| column.name.clone()).collect::<Vec<_>>().join(" ")
        })
    };
    assert_eq!(names(&["ALTER TABLE t ADD (a int, s text STATIC)"]), Ok("k c a s v w".to_owned()));
    assert_eq!(names(&["ALTER TABLE t ADD IF NOT EXISTS (v text, x int)"]), Ok("k c v w x".to_owned()));
    assert_eq!(names(&["ALTER TABLE t DROP (v, w)"]), Ok("k c".to_owned()));
    assert_eq!(names(&["ALTER TABLE t DROP IF EXISTS nothing"]), Ok("k c v w".to_owned()));
    assert_eq!(names(&["ALTER TABLE t RENAME k TO key AND c TO d"]), Ok("key d v w".to_owned()));
    assert_eq!(names(&["ALTER TABLE IF EXISTS nothing ADD a int"]), Ok("k c v w".to_owned()));
    assert_eq!(names(&["ALTER TABLE nothing ADD a int"]), Err("Table 'ks.nothing' doesn't exist".to_owned()));
    let dropped = |statement: &str| {
        let schema = applied(&[create, statement]).unwrap();
        schema.find_table("ks", "t").unwrap().dropped_columns.iter().map(|column| column.dropped_at).collect::<Vec<_>>()
    };
    assert_eq!(dropped("ALTER TABLE t DROP v"), [1_000], "the time of execution");
    assert_eq!(dropped("ALTER TABLE t DROP v USING TIMESTAMP -5"), [-5]);
    let schema = applied(&[create, "ALTER TABLE t WITH gc_grace_seconds = 5"]).unwrap();
    let options = &schema.find_table("ks", "t").unwrap().options;
    assert_eq!((options.comment.as_str(), options.gc_grace_seconds), ("x", 5), "what is not named stays");
}

#[test]
fn keyspaces_and_types_are_altered() {
    let schema = applied(&[
        "ALTER KEYSPACE ks WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 2}",
        // A factor that is not named stays.
        "ALTER KEYSPACE ks WITH replication = {'class': 'SimpleStrategy'}",
        "ALTER KEYSPACE ks WITH durable_writes = true",
        "ALTER KEYSPACE IF EXISTS nothing WITH durable_writes = true",
        "CREATE TYPE IF NOT EXISTS u (a int)",
        "CREATE TYPE IF NOT EXISTS u (b int)",
        "CREATE TABLE t (k int PRIMARY KEY, u frozen<list<frozen<u>>>)",
        "ALTER TYPE u ADD b text",
        "ALTER TYPE u ADD IF NOT EXISTS b int",
        "ALTER TYPE ks.u RENAME a TO z AND b TO y",
        "ALTER TYPE IF EXISTS nothing ADD b text",
        "DROP TYPE IF EXISTS nothing",
        "DROP INDEX IF EXISTS nothing",
    ])
    .unwrap();
    assert_eq!(schema.keyspace("ks").unwrap().replication.factor(), 2);
    let fields: Vec<&str> =
        schema.keyspace("ks").unwrap().types["u"].fields.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(fields, ["z", "y"]);
    let column = schema.find_table("ks", "t").unwrap().column("u").unwrap().cql_type.clone();
    assert!(matches!(&column, CqlType::List { element, .. }
        if matches!(element.as_ref(), CqlType::UserDefined { definition, .. } if definition.fields.len() == 2)));
    let used = applied(&["CREATE TYPE u (a int)", "CREATE TABLE t (k int PRIMARY KEY, u u)", "DROP TYPE u"]);
    assert_eq!(used.unwrap_err(), "Cannot drop user type 'ks.u' as it is still used by tables t");
    assert!(applied(&["CREATE TYPE u (a int)", "DROP TYPE u"]).unwrap().keyspace("ks").unwrap().types.is_empty());
    assert_eq!(applied(&["DROP INDEX i"]).unwrap_err(), "Index 'ks.i' doesn't exist'");
}

#[test]
fn a_described_schema_is_created_again() {
    let statements = [
        "CREATE TYPE z (a int)",
        "CREATE TYPE \"Y\" (z frozen<z>, \"B b\" list<text>)",
        "CREATE TYPE a (y frozen<map<int, frozen<\"Y\">>>, z set<frozen<z>>)",
        "CREATE TABLE t (k frozen<a>, c frozen<tuple<int, text>>, v z, l list<frozen<\"Y\">>, s int STATIC, \
         \"select\" vector<float, 3>, PRIMARY KEY (k, c)) WITH CLUSTERING ORDER BY (c DESC) AND comment = 'it''s'",
        "CREATE TABLE n (a int, b int, c int, x counter, PRIMARY KEY ((a, b), c))",
    ];
    let first = applied(&statements).unwrap();
    let described = crate::describe_schema(&first);
    let names: Vec<&str> = described.iter().map(|text| text.split([' ', '.', '(']).nth(3).unwrap()).collect();
    assert_eq!(names[1..], ["z", "\"Y\"", "a", "n", "t"], "{described:#?}");
    let texts: Vec<&str> = described[1..].iter().map(String::as_str).collect();
    let again = applied(&texts).unwrap();
    let without_ids = |schema: &Schema| {
        let keyspace = schema.keyspace("ks").unwrap();
        let tables = keyspace.tables.values().map(|table| Table { id: TableId(0), ..Table::clone(table) });
        (keyspace.types.clone(), tables.collect::<Vec<_>>())
    };
    assert_eq!(without_ids(&again), without_ids(&first));
    assert_eq!(crate::describe_schema(&again), described);
}

#[test]
fn indexes_are_described() {
    let schema = applied(&["CREATE TABLE t (k int PRIMARY KEY, m map<text, int>, \"V\" text)"]).unwrap();
    let table = schema.find_table("ks", "t").unwrap();
    let id = |name: &str| table.column(name).unwrap().id;
    let index = |name: &str, column: &str, part, class: &str, options: &[(&str, &str)]| model::schema::Index {
        name: name.to_owned(),
        column: id(column),
        part,
        class: class.to_owned(),
        options: options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
    };
    use model::schema::IndexedPart as P;
    let cases = [
        (index("i", "V", P::Value, "", &[]), "CREATE INDEX i ON ks.t (\"V\");"),
        (index("I", "m", P::Keys, "", &[]), "CREATE INDEX \"I\" ON ks.t (keys(m));"),
        (
            index("s", "m", P::Entries, "sai", &[("a", "b'c")]),
            "CREATE CUSTOM INDEX s ON ks.t (entries(m)) USING 'sai' WITH OPTIONS = {'a': 'b''c'};",
        ),
    ];
    for (index, expected) in cases {
        assert_eq!(crate::describe_index(table, &index), expected);
        assert!(crate::parser::parse(expected).is_ok());
    }
}

#[test]
fn a_table_can_be_like_another() {
    let schema = crate::fixture::schema(&[
        "CREATE KEYSPACE ks WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
        "CREATE KEYSPACE other WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
        "CREATE TYPE ks.u (a int)",
        "CREATE TABLE ks.t (k int, c text, s int STATIC, v list<int>, PRIMARY KEY (k, c)) \
         WITH CLUSTERING ORDER BY (c DESC) AND gc_grace_seconds = 7 AND comment = 'first'",
        "CREATE TABLE ks.typed (k int PRIMARY KEY, v map<int, frozen<u>>)",
        "CREATE INDEX ON ks.t (v)",
        "ALTER TABLE ks.t DROP s",
        "CREATE TABLE ks.x LIKE ks.t WITH comment = 'second'",
        "CREATE TABLE other.t LIKE ks.t",
        "CREATE TABLE ks.y LIKE ks.typed",
    ]);
    let (first, second) = (crate::fixture::table(&schema, "t"), crate::fixture::table(&schema, "x"));
    let shape = |table: &Table| -> Vec<_> {
        table.columns.iter().map(|column| (column.name.clone(), column.kind, column.cql_type.clone())).collect()
    };
    assert_eq!(shape(second), shape(first));
    assert_ne!(second.id, first.id);
    assert_eq!(second.columns.iter().map(|column| column.id.0).collect::<Vec<_>>(), [0, 1, 2]);
    assert!(second.indexes.is_empty() && second.dropped_columns.is_empty());
    assert_eq!((second.options.gc_grace_seconds, second.options.comment.as_str()), (7, "second"));
    for (statement, expected) in [
        ("CREATE TABLE other.y LIKE ks.typed", "uses the type u of its keyspace, which is none of other"),
        ("CREATE TABLE z LIKE missing", "missing"),
        ("CREATE TABLE z LIKE system.local", "system keyspace is not user-modifiable"),
        ("CREATE TABLE z LIKE t WITH TRIGGERS", "CREATE TABLE ... LIKE ... WITH TRIGGERS is not supported yet"),
    ] {
        let message = crate::fixture::error(&schema, statement, &[]);
        assert!(message.contains(expected), "{statement}: {message}");
    }
}

#[test]
fn a_table_like_another_has_its_indexes_when_that_is_asked() {
    let schema = crate::fixture::schema(&[
        "CREATE KEYSPACE ks WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
        "CREATE TABLE ks.t (k int PRIMARY KEY, s int, v list<int>)",
        "ALTER TABLE ks.t DROP s",
        "CREATE INDEX named ON ks.t (v)",
    ]);
    let request = request_in(&schema, "CREATE TABLE x LIKE t WITH INDEXES AND comment = 'copied'").unwrap();
    let after = schema.apply(&request.change(TableId(9), WallMicros(1))).unwrap().unwrap();
    let table = crate::fixture::table(&after, "x");
    let indexes: Vec<_> = table.indexes.iter().map(|index| (index.name.as_str(), index.column.0, index.part)).collect();
    assert_eq!(indexes, [("x_v_idx", 1, model::schema::IndexedPart::Values)]);
    assert_eq!(table.options.comment, "copied");
    // Another table that would have an index of this name.
    let change = request.change(TableId(10), WallMicros(1));
    let SchemaChange::CreateTable { mut table, if_not_exists } = change else { panic!("{change:?}") };
    table.name = "z".to_owned();
    let error = after.apply(&SchemaChange::CreateTable { table, if_not_exists }).unwrap_err().to_string();
    assert_eq!(error, "Index 'x_v_idx' already exists");
}

#[test]
fn a_protected_table_is_neither_dropped_nor_truncated() {
    let mut schema = crate::fixture::schema(&[
        "CREATE KEYSPACE ks WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
        "CREATE TABLE ks.t (k int PRIMARY KEY) WITH deletion_protection = true",
        "CREATE TABLE ks.free (k int PRIMARY KEY)",
    ]);
    assert!(describe_table(crate::fixture::table(&schema, "t")).contains("AND deletion_protection = true"));
    assert!(!describe_table(crate::fixture::table(&schema, "free")).contains("deletion_protection"));
    let checked = |schema: &Schema, statement: &str| {
        let change = request_in(schema, statement).unwrap().change(TableId(9), WallMicros(1));
        schema.check_new(&change).map_err(|error| error.to_string())
    };
    let expected = "Table ks.t has deletion_protection = true: it is neither dropped nor truncated until that is set \
                    to false";
    for statement in ["DROP TABLE ks.t", "TRUNCATE ks.t", "DROP KEYSPACE ks", "DROP KEYSPACE IF EXISTS ks"] {
        assert_eq!(checked(&schema, statement), Err(expected.to_owned()), "{statement}");
    }
    assert_eq!(checked(&schema, "DROP TABLE ks.free"), Ok(()));
    assert_eq!(checked(&schema, "ALTER TABLE ks.t ADD v int"), Ok(()));
    let lift = request_in(&schema, "ALTER TABLE ks.t WITH deletion_protection = false").unwrap();
    schema = schema.apply(&lift.change(TableId(9), WallMicros(1))).unwrap().unwrap();
    assert_eq!(checked(&schema, "DROP KEYSPACE ks"), Ok(()));
}

#[test]
fn options_of_other_systems_are_refused_with_the_reason() {
    for (statement, reason) in [
        ("CREATE TABLE ks.a (k int PRIMARY KEY) WITH transactional_mode = 'full'", "there are no transactions over"),
        (
            "CREATE TABLE ks.a (k int PRIMARY KEY) WITH per_partition_rate_limit = {'a': 1}",
            "requests are limited by node",
        ),
        (
            "CREATE KEYSPACE a WITH replication = {'class': 'SimpleStrategy'} AND tablets = {'enabled': true}",
            "tables are not divided",
        ),
    ] {
        let message = schema_request(statement).unwrap_err().to_string();
        assert!(message.contains("Unknown property '") && message.contains(reason), "{message}");
    }
}
