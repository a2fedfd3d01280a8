//! Statements against a schema, values against parameters, and broken statements of every kind.

use crate::fixture::{bound, cases, context, error, int, prepare_in, read, sample, schema, table, text, write};
use crate::{Bound, BoundValue, ColumnSpec, PreparedKind, ReadSource, prepare};
use bytes::Bytes;
use model::limits::{STATEMENT_BYTES_MAX, VALUE_BYTES_MAX};
use model::schema::Schema;
use model::{CqlType, PartitionKey, RequestError, Rng, Value};
use proptest::prelude::*;

#[test]
fn semantic_errors_are_in_the_words_of_cassandra_and_say_where() {
    let schema = sample();
    let cases = cases(include_str!("../testdata/semantic.txt"));
    let wrong: Vec<String> = cases
        .into_iter()
        .map(|(statement, expected)| (statement, expected, error(&schema, statement, &[])))
        .filter(|(_, expected, found)| !found.contains(expected))
        .map(|(statement, expected, found)| format!("{statement}:\n  {found}\n  {expected}"))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_table_without_a_keyspace_needs_use() {
    let found = prepare("SELECT * FROM t WHERE k = 1", &sample(), None).unwrap_err();
    let expected =
        "No keyspace has been specified. USE a keyspace, or explicitly specify keyspace.tablename (line 1:15)";
    assert_eq!(found, RequestError::Invalid(expected.to_owned()));
    let found = prepare("DROP TABLE t", &sample(), None).unwrap_err();
    assert!(found.to_string().contains("No keyspace has been specified"));
    assert!(prepare("SELECT * FROM ks.t WHERE k = 1", &sample(), None).is_ok());
}

#[test]
fn kinds_of_errors_are_told_apart() {
    let schema = sample();
    let kind = |text: &str| prepare(text, &schema, None).unwrap_err();
    assert!(matches!(kind("SELECT * FROM ks.x WHERE k = 1"), RequestError::NotFound(_)));
    assert!(matches!(kind("USE x"), RequestError::NotFound(_)));
    assert!(matches!(kind("SELECT * FROM ks.t WHERE v = ''"), RequestError::Invalid(_)));
    assert!(matches!(kind("SELECT *"), RequestError::Syntax { line: 1, column: 9, .. }));
    let long = format!("USE ks{}", " ".repeat(STATEMENT_BYTES_MAX));
    assert!(
        matches!(kind(&long), RequestError::Invalid(message) if message.contains("exceeds the maximum of 1048576"))
    );
}

fn spec(table: &str, name: &str, cql_type: CqlType) -> ColumnSpec {
    ColumnSpec { keyspace: "ks".to_owned(), table: table.to_owned(), name: name.to_owned(), cql_type }
}

#[test]
fn parameters_have_the_names_and_types_of_what_they_are_for() {
    let schema = sample();
    let statement = "UPDATE t USING TTL ? AND TIMESTAMP :at SET v = ?, n = :at WHERE k = ?";
    let expected = [
        spec("t", "[ttl]", CqlType::Int),
        spec("t", "at", CqlType::BigInt),
        spec("t", "v", CqlType::Text),
        spec("t", "at", CqlType::Int),
        spec("t", "k", CqlType::Int),
    ];
    assert_eq!(prepare_in(&schema, statement).parameters(), expected);
    let select = prepare_in(&schema, "SELECT v AS \"V\", k FROM t WHERE k = :key LIMIT ?");
    assert_eq!(select.parameters(), [spec("t", "key", CqlType::Int), spec("t", "[limit]", CqlType::Int)]);
    assert_eq!(select.result_columns(), [spec("t", "V", CqlType::Text), spec("t", "k", CqlType::Int)]);
    let all = prepare_in(&schema, "SELECT * FROM ks.c WHERE p1 = 1 AND p2 = ''");
    let names: Vec<&str> = all.result_columns().iter().map(|column| column.name.as_str()).collect();
    assert_eq!(names, ["p1", "p2", "c1", "c2", "c3", "v", "w"]);
    assert_eq!(all.tables(), [table(&schema, "c")]);
    let insert = prepare_in(&schema, "INSERT INTO t (k) VALUES (1)");
    assert_eq!((insert.result_columns(), insert.tables()), (&[][..], vec![table(&schema, "t")]));
    assert!(prepare_in(&schema, "USE ks").tables().is_empty());
    assert_eq!(insert.table(), Some(table(&schema, "t")));
    let kinds =
        [&insert, &select, &prepare_in(&schema, "DROP TABLE t"), &prepare_in(&schema, "USE ks")].map(|it| it.kind());
    assert_eq!(kinds, [PreparedKind::Write, PreparedKind::Read, PreparedKind::Schema, PreparedKind::Use]);
}

#[test]
fn partition_key_indexes_are_in_the_order_of_the_key() {
    let schema = sample();
    let cases: [(&str, &[u16]); 5] = [
        ("INSERT INTO c (c1, p2, c2, c3, p1) VALUES (?, ?, ?, ?, ?)", &[4, 1]),
        ("SELECT * FROM c WHERE p2 = ? AND p1 = ? AND c1 > ?", &[1, 0]),
        ("SELECT * FROM c WHERE p2 = ? AND p1 = 5", &[]),
        ("DELETE FROM t USING TIMESTAMP ? WHERE k = ?", &[1]),
        ("USE ks", &[]),
    ];
    for (statement, expected) in cases {
        assert_eq!(prepare_in(&schema, statement).partition_key_indexes(), expected, "{statement}");
    }
}

#[test]
fn binding_checks_the_number_type_and_size_of_values() {
    let schema = sample();
    let statement = "INSERT INTO t (k, v) VALUES (?, ?) USING TTL ? AND TIMESTAMP ?";
    let one = || bound(int(1));
    let rest = [BoundValue::Unset, BoundValue::Unset];
    let with = |k: BoundValue, v: BoundValue| [k, v, rest[0].clone(), rest[1].clone()];
    let using = |ttl: BoundValue, timestamp: BoundValue| [one(), bound(text("x")), ttl, timestamp];
    let cases: [(&[BoundValue], &str); 11] = [
        (&[one()], "there were 4 markers(?) in CQL but 1 bound variables"),
        (&with(bound(text("abc")), bound(text("x"))), "Expected 4 or 0 byte int (3); it is bound to \"k\" of type int"),
        (&with(bound(Bytes::new()), bound(text("x"))), "Key may not be empty"),
        (&with(one(), bound(Bytes::from_static(&[0xff]))), "String didn't validate. (no UTF-8 from byte 0 on)"),
        (&with(one(), bound(Bytes::from(vec![b'a'; VALUE_BYTES_MAX + 1]))), "exceeds the maximum of 8388608 bytes"),
        (&with(BoundValue::Null, one()), "Invalid null value in condition for column k"),
        (&with(BoundValue::Unset, one()), "Invalid unset value for column k"),
        (&using(bound(int(-1)), rest[0].clone()), "A TTL must be greater or equal to 0, but was -1"),
        (&using(bound(int(i32::MAX)), rest[0].clone()), "ttl is too large. requested (2147483647)"),
        (&using(rest[0].clone(), BoundValue::Null), "Invalid null value of timestamp"),
        (
            &using(rest[0].clone(), bound(int(5))),
            "Expected 8 or 0 byte long (4); it is bound to \"[timestamp]\" of type bigint",
        ),
    ];
    for (values, expected) in cases {
        let found = error(&schema, statement, values);
        assert!(found.contains(expected), "{found}\n{expected}");
    }
    assert!(prepare_in(&schema, statement).bind(&with(one(), BoundValue::Null), context()).is_ok());
    let limited = "SELECT * FROM t WHERE k = 1 LIMIT ?";
    assert_eq!(error(&schema, limited, &[bound(int(0))]), "LIMIT must be strictly positive");
    assert_eq!(error(&schema, limited, &[BoundValue::Null]), "Invalid null value of limit");
    assert_eq!(read(&schema, limited, &[BoundValue::Unset]).limit(), None);
    assert_eq!(read(&schema, limited, &[bound(int(7))]).limit(), Some(7));
    let composite = "SELECT * FROM c WHERE p1 = 1 AND p2 = ?";
    let long = bound(Bytes::from(vec![b'a'; 70_000]));
    assert!(error(&schema, composite, &[long]).contains("is longer than maximum of 65535"));
}

#[test]
fn constants_become_the_wire_form_of_their_column() {
    let schema = sample();
    let cases = [
        ("ascii", "'a''b'"),
        ("bigint", "-9223372036854775808"),
        ("blob", "0xCAFE"),
        ("blob", "0x"),
        ("boolean", "TRUE"),
        ("boolean", "false"),
        ("date", "'2026-11-21'"),
        ("date", "2147483648"),
        ("decimal", "-1.50"),
        ("decimal", "12"),
        ("decimal", "1.5E-7"),
        ("double", "-Infinity"),
        ("double", "nan"),
        ("double", "-nan"),
        ("double", "1"),
        ("double", "1.5e300"),
        ("duration", "-1y2mo3d"),
        ("duration", "P1Y2M3DT4H5M6S"),
        ("duration", "P2W"),
        ("float", "infinity"),
        ("float", "-0.0"),
        ("inet", "'::1'"),
        ("int", "-0"),
        ("smallint", "32767"),
        ("text", "$$it's$$"),
        ("text", "''"),
        ("time", "'08:12:54.123'"),
        ("time", "1"),
        ("timestamp", "'2026-11-21 10:00:00+0000'"),
        ("timestamp", "-1"),
        ("timeuuid", "50554d6e-29bb-11e5-b345-feff819cdc9f"),
        ("tinyint", "-128"),
        ("uuid", "123E4567-e89b-42d3-a456-426614174000"),
        ("varint", "-123456789012345678901234567890"),
    ];
    for (name, literal) in cases {
        let cql_type = CqlType::scalar(name).unwrap();
        let content = match literal.strip_prefix('\'') {
            Some(rest) => rest[..rest.len() - 1].replace("''", "'"),
            None if literal.starts_with('$') => literal.trim_matches('$').to_owned(),
            None if literal.eq_ignore_ascii_case("-nan") => "NaN".to_owned(),
            None => literal.to_owned(),
        };
        let expected = Value::parse(&cql_type, &content).unwrap().to_wire();
        let statement = format!("INSERT INTO scalars (k, v_{name}) VALUES (1, {literal})");
        let parameter = format!("INSERT INTO scalars (k, v_{name}) VALUES (1, ?)");
        let from_literal = write(&schema, &statement, &[]);
        assert_eq!(from_literal, write(&schema, &parameter, &[bound(expected)]), "{name} {literal}");
    }
}

#[test]
fn constants_of_the_wrong_kind_or_range_are_refused() {
    let schema = sample();
    let cases = [
        ("ascii", "'ä'", "Invalid ASCII character in string literal: 'ä'"),
        ("blob", "0xabc", "cannot parse 'abc' as hex bytes"),
        ("blob", "'cafe'", "Invalid STRING constant (cafe) for \"v_blob\" of type blob"),
        ("boolean", "1", "Invalid INTEGER constant (1) for \"v_boolean\" of type boolean"),
        ("date", "'2026-13-01'", "Unable to coerce '2026-13-01' to a formatted date (long)"),
        ("date", "-1", "Unable to make unsigned int (for date) from: '-1'"),
        ("decimal", "NaN", "unable to make BigDecimal from 'NaN'"),
        ("double", "'1'", "Invalid STRING constant (1) for \"v_double\" of type double"),
        ("double", "1e999", "Unable to make double from '1e999'"),
        ("duration", "5", "Unable to convert '5' to a duration"),
        ("inet", "'1.2.3.4.5'", "Unable to make inet address from '1.2.3.4.5'"),
        ("smallint", "32768", "Unable to make short from '32768'"),
        ("text", "true", "Invalid BOOLEAN constant (true) for \"v_text\" of type text"),
        ("time", "'25:00:00'", "(TimeType) Unable to coerce '25:00:00' to a formatted time (long)"),
        ("timeuuid", "123e4567-e89b-42d3-a456-426614174000", "TimeUUID supports only version 1 UUIDs"),
        ("tinyint", "128", "Unable to make byte from '128'"),
        (
            "uuid",
            "'123e4567-e89b-42d3-a456-426614174000'",
            "Invalid STRING constant (123e4567-e89b-42d3-a456-426614174000) for \"v_uuid\" of type uuid",
        ),
        ("varint", "1.0", "Invalid FLOAT constant (1.0) for \"v_varint\" of type varint"),
    ];
    for (name, literal, expected) in cases {
        let statement = format!("INSERT INTO scalars (k, v_{name}) VALUES (1, {literal})");
        let found = error(&schema, &statement, &[]);
        assert!(found.starts_with(expected), "{found}");
    }
}

#[test]
fn use_and_schema_statements_bind_to_themselves() {
    let schema = sample();
    assert!(matches!(prepare_in(&schema, "USE ks").bind(&[], context()).unwrap(), Bound::Use(name) if name == "ks"));
    assert!(matches!(prepare_in(&schema, "DROP TABLE t").bind(&[], context()).unwrap(), Bound::Schema(_)));
}

#[test]
fn what_changes_views_and_triggers_if_they_exist_does_nothing() {
    let schema = sample();
    let keyspace = &schema.keyspaces().values().next().unwrap().name;
    for statement in [
        format!("DROP MATERIALIZED VIEW IF EXISTS {keyspace}.v"),
        format!("ALTER MATERIALIZED VIEW IF EXISTS {keyspace}.v WITH comment = 'x'"),
        format!("DROP TRIGGER IF EXISTS g ON {keyspace}.t"),
    ] {
        let prepared = prepare_in(&schema, &statement);
        assert_eq!(prepared.kind(), PreparedKind::Schema, "{statement}");
        assert!(matches!(prepared.bind(&[], context()), Ok(Bound::Nothing)), "{statement}");
        let nothing = Bound::batch(vec![Bound::Nothing], crate::BatchKind::Unlogged);
        assert!(nothing.unwrap_err().to_string().contains("only UPDATE, INSERT and DELETE"), "{statement}");
        let printed = crate::canonical::print(&crate::parser::parse(&statement).unwrap().statement);
        assert_eq!(printed.replace('"', ""), statement);
    }
}

#[test]
fn the_partition_is_that_of_the_key_values() {
    let schema = sample();
    let one = PartitionKey::from_components(&[int(7)]).unwrap();
    assert_eq!(*write(&schema, "DELETE FROM t WHERE k = 7", &[]).partition(), one);
    let source = |read: crate::BoundRead| read.source();
    let found = read(&schema, "SELECT v FROM t WHERE k = ?", &[bound(int(7))]);
    assert_eq!(source(found), ReadSource::Partitions(vec![one]));
    let two = PartitionKey::from_components(&[int(1), text("x")]).unwrap();
    let found = read(&schema, "SELECT v FROM c WHERE p2 = ? AND p1 = 1", &[bound(text("x"))]);
    assert_eq!(source(found), ReadSource::Partitions(vec![two]));
}

/// Statements of every kind, to be broken.
const VALID: [&str; 13] = [
    "CREATE KEYSPACE k WITH replication = {'class': 'NetworkTopologyStrategy', 'dc1': 3} AND durable_writes = true",
    "CREATE TABLE IF NOT EXISTS ks.x (a int, b text, c timeuuid, PRIMARY KEY ((a, b), c)) WITH CLUSTERING ORDER BY \
     (c DESC) AND comment = 'it''s' AND default_time_to_live = 5 AND gc_grace_seconds = 7",
    "DROP TABLE IF EXISTS ks.t",
    "DROP KEYSPACE ks",
    "USE ks",
    "INSERT INTO t (k, v, n) VALUES (1, $$x$$, ?) USING TTL :ttl AND TIMESTAMP 12",
    "INSERT INTO scalars (k, v_duration, v_uuid, v_float) VALUES (1, 1h5m, 123e4567-e89b-12d3-a456-426614174000, -1e5)",
    "UPDATE ks.c USING TTL 5 SET v = -1, w = null WHERE p1 = 1 AND p2 = ? AND c1 = 1 AND c2 = 'x' AND c3 = 2;",
    "DELETE v, w FROM c USING TIMESTAMP ? WHERE p1 = 1 AND p2 = '' AND c1 = 1 AND c2 = 'x' AND c3 = 2",
    "DELETE FROM c WHERE p1 = 1 AND p2 = '' AND c1 = 1 AND c2 > 'x' AND c2 <= 'z' -- comment",
    "SELECT * FROM c WHERE p1 = 1 AND p2 = :p AND c1 >= 1 AND c1 < 9 ORDER BY c1 DESC, c2 ASC LIMIT ? ALLOW FILTERING",
    "SELECT p1, \"c1\" AS \"X\", w FROM c /* x */ WHERE p1 = 1 AND p2 = '' LIMIT 5",
    "SELECT v_blob FROM scalars WHERE k = 0x11 AND v_boolean = true",
];

/// Breaks a text in one of the ways in which people and networks do.
fn mutate(bytes: &mut Vec<u8>, random: &mut Rng) {
    const TOKENS: [&str; 24] = [
        "'", "\"", "$$", "/*", "--", "(", ")", "{", "?", ":", ";", "-", "0x", "null", " WHERE ", " FROM ", "1e", "P1Y",
        ".", "\n", "é", "IF", " AND ", "[",
    ];
    let at = random.index(bytes.len() + 1);
    let span = random.index(12).min(bytes.len() - at);
    match random.below(6) {
        0 => drop(bytes.drain(at..at + span)),
        1 => bytes.insert(at, random.below(256) as u8),
        2 => drop(bytes.splice(at..at, TOKENS[random.index(TOKENS.len())].bytes())),
        3 => {
            let copied = bytes[at..at + span].to_vec();
            let to = random.index(bytes.len() + 1);
            drop(bytes.splice(to..to, copied));
        }
        4 => bytes.truncate(at),
        _ => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << random.below(8);
            }
        }
    }
}

#[test]
fn broken_statements_are_refused_or_work_but_never_panic() {
    let schema = sample();
    let mut random = Rng::new(2026);
    let values = [BoundValue::Value(int(1)), BoundValue::Null, BoundValue::Unset];
    let (mut accepted, mut refused) = (0u32, 0u32);
    for _ in 0..100_000 {
        let mut bytes = VALID[random.index(VALID.len())].as_bytes().to_vec();
        for _ in 0..=random.below(3) {
            mutate(&mut bytes, &mut random);
        }
        let text = String::from_utf8_lossy(&bytes);
        crate::split_statements(&text).for_each(drop);
        match prepare(&text, &schema, Some("ks")) {
            Err(_) => refused += 1,
            Ok(prepared) => {
                accepted += 1;
                let count = prepared.parameters().len();
                let values: Vec<BoundValue> = (0..count).map(|_| values[random.index(3)].clone()).collect();
                let _ = prepared.bind(&values, context());
            }
        }
    }
    assert!(accepted > 1_000 && refused > 1_000, "{accepted} accepted, {refused} refused");
}

#[test]
fn the_statements_to_be_broken_are_valid() {
    let schema = sample();
    let (invalid, valid) = VALID.split_last().unwrap();
    for text in valid {
        prepare_in(&schema, text);
    }
    assert!(prepare(invalid, &schema, Some("ks")).is_err());
}

#[test]
fn a_schema_that_has_nothing_refuses_every_table() {
    let empty = Schema::default();
    assert!(matches!(prepare("SELECT * FROM a.b WHERE k = 1", &empty, None), Err(RequestError::NotFound(_))));
    assert!(matches!(prepare("SELECT * FROM b WHERE k = 1", &empty, Some("a")), Err(RequestError::NotFound(_))));
    let only_keyspace =
        schema(&["CREATE KEYSPACE a WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}"]);
    assert!(matches!(prepare("DELETE FROM b WHERE k = 1", &only_keyspace, Some("a")), Err(RequestError::NotFound(_))));
}

proptest! {
    #[test]
    fn any_text_is_prepared_or_refused(text in ".{0,300}") {
        let _ = prepare(&text, &sample(), Some("ks"));
    }

    #[test]
    fn any_values_are_bound_or_refused(
        statement in prop::sample::select(VALID[..12].to_vec()),
        values in prop::collection::vec(prop_oneof![
            prop::collection::vec(any::<u8>(), 0..20).prop_map(|bytes| BoundValue::Value(Bytes::from(bytes))),
            any::<i32>().prop_map(|number| BoundValue::Value(int(number))),
            Just(BoundValue::Null),
            Just(BoundValue::Unset),
        ], 0..4),
    ) {
        let _ = prepare_in(&sample(), statement).bind(&values, context());
    }
}
