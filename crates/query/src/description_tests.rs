//! Tests of the statement DESCRIBE.

use super::ClusterDescription;
use crate::fixture::{context, prepare_in, schema};
use crate::{Bound, PreparedKind};
use model::schema::Schema;
use model::{CqlType, Value};

fn sample() -> Schema {
    schema(&[
        "CREATE KEYSPACE ks WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
        "CREATE KEYSPACE \"Other\" WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
        "CREATE TYPE ks.b (a int)",
        "CREATE TYPE ks.a (b frozen<b>)",
        "CREATE TABLE ks.t (k int PRIMARY KEY, m map<int, int>, z int, y int)",
        "CREATE TABLE ks.\"T\" (k int, c int, s set<int> static, r int static, PRIMARY KEY (k, c))",
        "ALTER TABLE ks.t DROP y USING TIMESTAMP 5",
        "ALTER TABLE ks.t DROP z USING TIMESTAMP 6",
        "ALTER TABLE ks.t ADD z int",
    ])
}

fn cluster(keyspace: Option<&str>) -> ClusterDescription {
    let text = |text: &str| text.to_owned();
    ClusterDescription {
        name: text("Test"),
        partitioner: text("Murmur3Partitioner"),
        snitch: text("SimpleSnitch"),
        range_ownership: keyspace.map(|_| (text("7"), vec![text("127.0.0.1:7000")])).into_iter().collect(),
    }
}

/// The rows of a DESCRIBE in keyspace `used`, their cells joined by `|`, or the error.
fn described(text: &str, used: Option<&str>) -> Result<Vec<String>, String> {
    let schema = sample();
    let prepared = crate::prepare(text, &schema, used).map_err(|error| error.to_string())?;
    assert_eq!((prepared.kind(), prepared.is_idempotent()), (PreparedKind::Read, true));
    let Bound::Describe(description) = prepared.bind(&[], context()).unwrap() else { panic!("{text}") };
    let columns = description.columns();
    let rows = description.rows(&schema, cluster).map_err(|error| error.to_string())?;
    let cell = |(cell, column): (&Option<bytes::Bytes>, &crate::ColumnSpec)| {
        let bytes = cell.as_ref().unwrap();
        match &column.cql_type {
            CqlType::Text => String::from_utf8(bytes.to_vec()).unwrap(),
            other => Value::from_wire(other, bytes).unwrap().to_string(),
        }
    };
    let row = |row: &Vec<Option<bytes::Bytes>>| {
        assert_eq!(row.len(), columns.len());
        row.iter().zip(columns).map(cell).collect::<Vec<_>>().join("|")
    };
    Ok(rows.iter().map(row).collect())
}

fn names(text: &str, used: Option<&str>) -> Vec<String> {
    let rows = described(text, used).unwrap();
    rows.iter().map(|row| row.split('|').nth(2).unwrap().to_owned()).collect()
}

#[test]
fn everything_is_found_under_its_name() {
    assert_eq!(names("DESCRIBE KEYSPACES", None)[..2], ["\"Other\"", "ks"]);
    assert!(names("DESC KEYSPACES", Some("ks")).contains(&"system_schema".to_owned()));
    assert_eq!(described("DESCRIBE TABLES", Some("ks")).unwrap(), ["ks|table|\"T\"", "ks|table|t"]);
    assert!(names("DESCRIBE TABLES", None).contains(&"peers_v2".to_owned()));
    assert_eq!(described("DESCRIBE TYPES", Some("ks")).unwrap(), ["ks|type|a", "ks|type|b"]);
    assert!(described("DESCRIBE FUNCTIONS", Some("ks")).unwrap().is_empty());
    assert_eq!(names("DESCRIBE KEYSPACE ks", None), ["ks", "b", "a", "\"T\"", "t"], "each behind what it needs");
    assert_eq!(names("DESCRIBE KEYSPACE", Some("ks")), ["ks", "b", "a", "\"T\"", "t"]);
    assert_eq!(names("DESCRIBE ONLY KEYSPACE ks", None), ["ks"]);
    assert_eq!(names("DESCRIBE SCHEMA", None), ["\"Other\"", "ks", "b", "a", "\"T\"", "t"]);
    assert!(names("DESCRIBE FULL SCHEMA", None).contains(&"system_schema".to_owned()));
    assert_eq!(names("DESCRIBE ks", None).len(), 5);
    assert_eq!(names("DESCRIBE t", Some("ks")), ["t"]);
    assert_eq!(names("DESCRIBE ks.t", None), ["t"]);
    let text = "ks|type|a|CREATE TYPE ks.a (\n    b frozen<b>\n);";
    assert_eq!(described("DESCRIBE TYPE ks.a", None).unwrap(), [text]);
}

#[test]
fn what_is_missing_is_named_in_the_words_of_cassandra() {
    for (text, expected) in [
        ("DESCRIBE KEYSPACE nothing", "'nothing' not found in keyspaces"),
        ("DESCRIBE TABLE nothing", "Table 'nothing' not found in keyspace 'ks'"),
        ("DESCRIBE INDEX nothing", "Table for existing index 'nothing' not found in 'ks'"),
        ("DESCRIBE TYPE nothing", "User defined type 'nothing' not found in 'ks'"),
        ("DESCRIBE FUNCTION nothing", "User defined function 'nothing' not found in 'ks'"),
        ("DESCRIBE AGGREGATE nothing", "User defined aggregate 'nothing' not found in 'ks'"),
        ("DESCRIBE MATERIALIZED VIEW nothing", "Materialized view 'nothing' not found in 'ks'"),
        ("DESCRIBE nothing", "'nothing' not found in keyspace 'ks'"),
        ("DESCRIBE nothing.t", "'nothing' not found in keyspaces"),
    ] {
        assert_eq!(described(text, Some("ks")).unwrap_err(), expected, "{text}");
    }
    assert_eq!(described("DESCRIBE TABLE t", None).unwrap_err(), "No keyspace specified and no current keyspace");
    assert_eq!(described("DESCRIBE nothing", None).unwrap_err(), "'nothing' not found in keyspaces");
}

#[test]
fn columns_are_in_the_order_of_cassandra_and_internals_tell_of_those_dropped() {
    let head = |text: &str| {
        let row = described(text, Some("ks")).unwrap().remove(0);
        row.split('|').nth(3).unwrap().split(") WITH").next().unwrap().to_owned()
    };
    assert_eq!(
        head("DESCRIBE TABLE t"),
        "CREATE TABLE ks.t (\n    k int PRIMARY KEY,\n    z int,\n    m map<int, int>\n"
    );
    let two_keys = "CREATE TABLE ks.\"T\" (\n    k int,\n    c int,\n    r int static,\n    s set<int> static,\n    \
                    PRIMARY KEY (k, c)\n";
    assert_eq!(head("DESCRIBE TABLE \"T\""), two_keys);
    let internals = described("DESCRIBE TABLE t WITH INTERNALS", Some("ks")).unwrap().remove(0);
    let create = "CREATE TABLE ks.t (\n    k int PRIMARY KEY,\n    m map<int, int>,\n    y int,\n    z int\n) \
                  WITH ID = 00000000-0000-0000-0000-000000000005\n    AND additional_write_policy";
    assert!(internals.contains(create), "{internals}");
    let drops = "\nALTER TABLE ks.t DROP y USING TIMESTAMP 5;\nALTER TABLE ks.t DROP z USING TIMESTAMP 6;\n\
                 ALTER TABLE ks.t ADD z int;";
    assert!(internals.ends_with(drops), "{internals}");
}

#[test]
fn the_systems_own_keyspaces_are_told_to_be_so() {
    let described = |text: &str| described(text, None).unwrap().remove(0);
    assert!(described("DESCRIBE ONLY KEYSPACE system").contains("{'class': 'LocalStrategy'}"));
    let table = described("DESCRIBE TABLE system_virtual_schema.keyspaces");
    let expected = "/*\nWarning: Table system_virtual_schema.keyspaces is a virtual table and cannot be recreated with \
                    CQL.\nStructure, for reference:\nVIRTUAL TABLE system_virtual_schema.keyspaces (\n    \
                    keyspace_name text PRIMARY KEY\n) WITH comment = '";
    assert!(table.contains(expected) && table.ends_with("';\n*/"), "{table}");
    assert!(
        described("DESCRIBE ONLY KEYSPACE system_virtual_schema")
            .contains("\nVIRTUAL KEYSPACE system_virtual_schema;\n*/")
    );
}

#[test]
fn the_cluster_tells_who_has_the_ranges_of_a_keyspace_in_use() {
    let row = "Test|Murmur3Partitioner|SimpleSnitch";
    assert_eq!(described("DESCRIBE CLUSTER", None).unwrap(), [row]);
    assert_eq!(described("DESCRIBE CLUSTER", Some("system")).unwrap(), [row]);
    let owned = described("DESCRIBE CLUSTER", Some("ks")).unwrap();
    assert_eq!(owned, [format!("{row}|{{'7': ['127.0.0.1:7000']}}")]);
    assert_eq!(prepare_in(&sample(), "DESCRIBE CLUSTER").result_columns().len(), 4);
}
