//! Which index a SELECT reads by, when it needs ALLOW FILTERING, and what is refused beside an index.

use crate::fixture::{bound, error, int, prepare_in, read, schema, table};
use crate::{BoundValue, ReadSource};
use model::index::TableIndex;
use model::read::Slice;
use model::schema::{IndexedPart, Schema};
use model::{IndexTarget, PartitionKey, TokenRange, WallMicros};

fn sample() -> Schema {
    schema(&[
        "CREATE KEYSPACE ks WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 3}",
        "CREATE TABLE ks.t (a int, b int, c int, d int, s int static, v int, w int, l list<int>, m map<int, int>, \
         f frozen<set<int>>, PRIMARY KEY ((a, b), c, d))",
        "CREATE INDEX ON ks.t (a)",
        "CREATE INDEX ON ks.t (d)",
        "CREATE INDEX ON ks.t (s)",
        "CREATE INDEX ON ks.t (v)",
        "CREATE INDEX ON ks.t (l)",
        "CREATE INDEX ON ks.t (keys(m))",
        "CREATE INDEX ON ks.t (entries(m))",
        "CREATE INDEX ON ks.t (full(f))",
    ])
}

/// The column and part of the index that a statement reads by.
fn index_of(schema: &Schema, condition: &str) -> Option<(String, IndexedPart)> {
    let read = read(schema, &format!("SELECT * FROM t WHERE {condition}"), &[]);
    let command = read.index_command(TokenRange::ALL, None, 10, WallMicros(1_000_000))?;
    assert_eq!((command.limit, command.now_seconds), (10, 1));
    let columns = &table(schema, "t").columns;
    let column = columns.iter().find(|column| column.id == command.target.column).unwrap();
    Some((column.name.clone(), command.target.part))
}

#[test]
fn the_index_of_the_narrowest_restriction_is_read_by() {
    let schema = sample();
    for (condition, column, part) in [
        ("v = 1", "v", IndexedPart::Value),
        ("s = 1", "s", IndexedPart::Value),
        ("a = 1", "a", IndexedPart::Value),
        ("d = 1", "d", IndexedPart::Value),
        ("l CONTAINS 1", "l", IndexedPart::Values),
        ("m CONTAINS KEY 1", "m", IndexedPart::Keys),
        ("m[1] = 2", "m", IndexedPart::Entries),
        ("f = {1, 2}", "f", IndexedPart::Full),
        ("v = 1 AND a = 1 AND b = 2", "v", IndexedPart::Value),
        ("v = 1 AND a = 1 AND b = 2 AND c > 3", "v", IndexedPart::Value),
        ("v = 1 AND TOKEN(a, b) > 5", "v", IndexedPart::Value),
        ("a = 1 AND b = 2 AND d = 3", "d", IndexedPart::Value),
        ("a = 1 AND s = 1 AND d = 1 AND v = 1 AND w = 1 ALLOW FILTERING", "v", IndexedPart::Value),
        ("a = 1 AND s = 1 AND d = 1 ALLOW FILTERING", "d", IndexedPart::Value),
        ("a = 1 AND s = 1 ALLOW FILTERING", "s", IndexedPart::Value),
        ("l CONTAINS 1 AND l CONTAINS 2 ALLOW FILTERING", "l", IndexedPart::Values),
        ("w > 1 AND v = 1 ALLOW FILTERING", "v", IndexedPart::Value),
    ] {
        assert_eq!(index_of(&schema, condition), Some((column.to_owned(), part)), "{condition}");
    }
    for condition in [
        "a = 1 AND b = 2",
        "a = 1 AND b = 2 AND c = 3 AND d = 4",
        "a = 1 AND b = 2 AND c = 3 AND d = 4 AND v = 5",
        "v > 1 ALLOW FILTERING",
        "v IN (1, 2) ALLOW FILTERING",
        "w = 1 ALLOW FILTERING",
        "m CONTAINS 1 ALLOW FILTERING",
        "f CONTAINS 1 ALLOW FILTERING",
    ] {
        assert_eq!(index_of(&schema, condition), None, "{condition}");
    }
}

#[test]
fn what_an_index_does_not_serve_alone_needs_filtering() {
    let schema = sample();
    for condition in [
        "v = 1 AND w = 1",
        "v = 1 AND c = 1",
        "v = 1 AND a = 1",
        "a = 1 AND c = 1",
        "v > 1",
        "v IN (1, 2)",
        "b = 1",
        "w = 1",
        "v = 1 AND l CONTAINS 1",
        "l CONTAINS 1 AND l CONTAINS 2",
        "a = 1 AND b = 2 AND v = 1 AND w = 1",
        "a = 1 AND b = 2 AND w = 1",
    ] {
        let message = error(&schema, &format!("SELECT * FROM t WHERE {condition}"), &[]);
        assert!(message.contains("use ALLOW FILTERING"), "{condition}: {message}");
    }
    for (statement, expected) in [
        ("SELECT * FROM t WHERE v = 1 AND a IN (1, 2) AND b = 3", "Select on indexed columns and with IN clause"),
        ("SELECT * FROM t WHERE v = 1 AND a = 1 AND b = 3 ORDER BY c", "ORDER BY with 2ndary indexes"),
        ("SELECT * FROM t WHERE v = 1 AND a = 1 AND b = 3 AND c = 1 AND d = 1 ORDER BY c", "ORDER BY with 2ndary"),
        ("SELECT * FROM t WHERE d > 1", "PRIMARY KEY column \"d\" cannot be restricted as preceding column \"c\""),
        ("SELECT s FROM t WHERE s = 1 AND c = 2", "Cannot restrict clustering columns when selecting only static"),
        ("UPDATE t SET w = 1 WHERE v = 1", "Some partition key parts are missing: a, b"),
        ("DELETE FROM t WHERE a = 1 AND b = 1 AND v = 1", "Non PRIMARY KEY columns found in where clause: v"),
    ] {
        let message = error(&schema, statement, &[]);
        assert!(message.contains(expected), "{statement}: {message}");
    }
}

#[test]
fn values_are_looked_up_in_the_one_form_that_equal_ones_share() {
    let schema = sample();
    let select = "SELECT * FROM t WHERE v = ?";
    let command = |value: BoundValue| {
        read(&schema, select, &[value]).index_command(TokenRange::ALL, None, 1, WallMicros(0)).unwrap()
    };
    let table = table(&schema, "t");
    let column = table.column("v").unwrap().id;
    let index = TableIndex::new(table, IndexTarget { column, part: IndexedPart::Value }).unwrap();
    assert_eq!(command(bound(int(7))).value, index.value_of(&[&int(7)]).unwrap().unwrap());
    assert!(error(&schema, select, &[BoundValue::Null]).contains("Unsupported null value for column v"));
    assert!(error(&schema, select, &[BoundValue::Unset]).contains("Unsupported unset value for column v"));
    let long = format!("SELECT * FROM long WHERE v = '{}'", "x".repeat(65_536));
    let with_texts = crate::fixture::schema(&[
        "CREATE KEYSPACE ks WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 3}",
        "CREATE TABLE ks.long (k int PRIMARY KEY, v text)",
        "CREATE INDEX ON ks.long (v)",
    ]);
    assert!(error(&with_texts, &long, &[]).contains("Index expression values may not be larger than 64K"));
    assert_eq!(prepare_in(&with_texts, "SELECT * FROM long WHERE v = ?").partition_key_indexes(), Vec::<u16>::new());
}

#[test]
fn a_partition_and_its_slices_bound_the_look_up() {
    let schema = sample();
    let whole = read(&schema, "SELECT * FROM t WHERE v = 1", &[]);
    assert_eq!(whole.source(), ReadSource::Range(TokenRange::ALL));
    let command = whole.index_command(TokenRange::ALL, None, 1, WallMicros(0)).unwrap();
    assert_eq!((command.partition, command.slices), (None, vec![Slice::all()]));
    let one = read(&schema, "SELECT * FROM t WHERE v = 1 AND a = 1 AND b = 2 AND c = 3", &[]);
    let key = PartitionKey::from_components(&[int(1), int(2)]).unwrap();
    let ReadSource::Range(range) = one.source() else { panic!("a range of the one token") };
    assert_eq!((range.end, range.start.0 + 1), (key.token, key.token.0));
    let command = one.index_command(range, None, 1, WallMicros(0)).unwrap();
    assert_eq!(command.partition, Some(key));
    assert_ne!(command.slices, vec![Slice::all()]);
    assert_eq!(command.validate(), Ok(()));
}
