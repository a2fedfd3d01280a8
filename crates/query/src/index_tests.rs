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
    assert_eq!(command(bound(int(7))).one_value(), index.value_of(&[&int(7)]).unwrap().as_ref());
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

fn attached() -> Schema {
    schema(&[
        "CREATE KEYSPACE ks WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 3}",
        "CREATE TABLE ks.t (k int, c int, v int, w int, x text, l int, m map<int, int>, PRIMARY KEY (k, c))",
        "CREATE INDEX ON ks.t (v) USING 'sai'",
        "CREATE CUSTOM INDEX ON ks.t (w) USING 'StorageAttachedIndex' WITH OPTIONS = {'case_sensitive': 'true'}",
        "CREATE CUSTOM INDEX ON ks.t (x) USING 'org.apache.cassandra.index.sai.StorageAttachedIndex'",
        "CREATE INDEX ON ks.t (l)",
        "CREATE INDEX ON ks.t (c) USING 'SAI'",
    ])
}

/// What is looked up in the index of `v`: the ends of the range.
fn looked_up(condition: &str) -> Slice {
    let schema = attached();
    let select = format!("SELECT * FROM t WHERE {condition}");
    let command = read(&schema, &select, &[]).index_command(TokenRange::ALL, None, 1, WallMicros(0));
    let command = command.unwrap_or_else(|| panic!("{condition}: no index"));
    assert_eq!(command.validate(), Ok(()));
    command.values
}

#[test]
fn a_storage_attached_index_finds_ranges() {
    let schema = attached();
    let own = table(&schema, "t");
    let target = IndexTarget { column: own.column("v").unwrap().id, part: IndexedPart::Value };
    let index = TableIndex::new(own, target).unwrap();
    let value = |number: i32| index.value_of(&[&int(number)]).unwrap().unwrap();
    let holds = |slice: &Slice| (-2..8).filter(|number| slice.contains(&value(*number))).collect::<Vec<_>>();
    for (condition, numbers) in [
        ("v > 1", (2..8).collect::<Vec<_>>()),
        ("v >= 1", (1..8).collect()),
        ("v < 1", (-2..1).collect()),
        ("v <= 1", (-2..2).collect()),
        ("v > 1 AND v <= 5", (2..6).collect()),
        ("v < 5 AND v >= -1", (-1..5).collect()),
        ("v BETWEEN 2 AND 4", (2..5).collect()),
        ("v >= 3 AND v <= 3", vec![3]),
        ("v = 3", vec![3]),
        ("k = 1 AND v > 5", vec![6, 7]),
        ("k = 1 AND c > 2 AND v > 5", vec![6, 7]),
        ("v > 5 AND l > 2 ALLOW FILTERING", vec![6, 7]),
    ] {
        assert_eq!(holds(&looked_up(condition)), numbers, "{condition}");
    }
    let nothing = read(&schema, "SELECT * FROM t WHERE v > 3 AND v < 3", &[]);
    assert_eq!(nothing.source(), ReadSource::Partitions(Vec::new()));
}

#[test]
fn storage_attached_indexes_stand_together_and_others_do_not() {
    let schema = attached();
    // An equality names fewer rows than a range.
    assert_eq!(index_of(&schema, "v > 1 AND w = 2"), Some(("w".to_owned(), IndexedPart::Value)));
    assert_eq!(index_of(&schema, "v > 1 AND w < 2 AND x = 'a'"), Some(("x".to_owned(), IndexedPart::Value)));
    assert_eq!(index_of(&schema, "c > 1"), Some(("c".to_owned(), IndexedPart::Value)));
    assert_eq!(index_of(&schema, "x >= 'a' AND x < 'b'"), Some(("x".to_owned(), IndexedPart::Value)));
    for condition in ["l > 1", "v > 1 AND l = 1", "l = 1 AND w = 1", "v IN (1, 2)", "v != 1", "v > 1 AND m[1] = 2"] {
        let message = error(&schema, &format!("SELECT * FROM t WHERE {condition}"), &[]);
        assert!(message.contains("use ALLOW FILTERING"), "{condition}: {message}");
    }
}

#[test]
fn what_a_storage_attached_index_cannot_do_is_refused_by_name() {
    let schema = schema(&[
        "CREATE KEYSPACE ks WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 3}",
        "CREATE TABLE ks.t (k int PRIMARY KEY, v text, b blob, e vector<float, 2>)",
    ]);
    let with = |options: &str| format!("CREATE INDEX ON t (v) USING 'sai' WITH OPTIONS = {options}");
    for (statement, expected) in [
        (with("{'ascii': 'TRUE'}"), "the option 'ascii' = 'true' of an index is not supported yet"),
        (with("{'ascii': 'yes'}"), "Illegal value for boolean option 'ascii': yes"),
        (
            with("{'similarity_function': 'cosine'}"),
            "the option 'similarity_function' of an index is not supported yet",
        ),
        (with("{'x': 'y'}"), "Properties specified [x] are not understood by StorageAttachedIndex"),
        ("CREATE INDEX ON t (b) USING 'sai'".to_owned(), "Unsupported type: blob"),
        ("CREATE INDEX ON t (e) USING 'sai'".to_owned(), "the search of vectors by an index is not supported yet"),
        ("CREATE INDEX ON t (v) USING 'SASIIndex'".to_owned(), "an index of class 'SASIIndex' is not supported yet"),
    ] {
        let message = error(&schema, &statement, &[]);
        assert!(message.contains(expected), "{statement}: {message}");
    }
    assert!(prepare_in(&schema, &with("{'ascii': 'false'}")).result_columns().is_empty());
}

#[test]
fn hints_say_which_index_is_read_by() {
    let schema = sample();
    let by = |condition: &str| index_of(&schema, condition).map(|(column, _)| column);
    assert_eq!(by("s = 1 AND v = 1 ALLOW FILTERING").as_deref(), Some("v"));
    assert_eq!(by("s = 1 AND v = 1 ALLOW FILTERING WITH included_indexes = {t_s_idx}").as_deref(), Some("s"));
    assert_eq!(by("s = 1 AND v = 1 ALLOW FILTERING WITH excluded_indexes = {ks.t_v_idx}").as_deref(), Some("s"));
    let neither =
        "s = 1 AND v = 1 ALLOW FILTERING WITH excluded_indexes = {t_s_idx, \"t_v_idx\"} AND included_indexes = {}";
    assert_eq!(by(neither), None);
    // One row is read by its key, but what is asked for is done.
    let one_row = "a = 1 AND b = 1 AND c = 1 AND d = 1 AND v = 1 ALLOW FILTERING";
    assert_eq!(by(one_row), None);
    assert_eq!(by(&format!("{one_row} WITH included_indexes = {{t_v_idx}}")).as_deref(), Some("v"));
    for (condition, expected) in [
        ("v = 1 WITH excluded_indexes = {t_v_idx}", "Cannot execute this query as it might involve data filtering"),
        ("v = 1 WITH included_indexes = {missing}", "Table t doesn't have an index named missing"),
        ("v = 1 WITH included_indexes = {other.t_v_idx}", "Index other.t_v_idx is not in the same keyspace"),
        (
            "v = 1 WITH included_indexes = {t_v_idx} AND excluded_indexes = {t_v_idx}",
            "Indexes cannot be both included and excluded: t_v_idx",
        ),
        ("v = 1 WITH included_indexes = {t_s_idx}", "It's not possible to use all the specified included indexes"),
        (
            "s = 1 AND v = 1 ALLOW FILTERING WITH included_indexes = {t_s_idx, t_v_idx}",
            "It's not possible to use all the specified included indexes with this query",
        ),
        ("v = 1 WITH included_indexes = {'a': 'b'}", "It should be a set of identifiers"),
        ("v = 1 WITH included_indexes = {} AND included_indexes = {}", "Multiple definitions for property"),
    ] {
        let message = error(&schema, &format!("SELECT * FROM t WHERE {condition}"), &[]);
        assert!(message.contains(expected), "{condition}: {message}");
    }
}

#[test]
fn an_index_of_texts_that_ignores_differences_is_looked_up_and_filtered_by_them() {
    let schema = schema(&[
        "CREATE KEYSPACE ks WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 3}",
        "CREATE TABLE ks.t (k int, c int, v text, w text, PRIMARY KEY (k, c))",
        "CREATE CUSTOM INDEX iv ON ks.t (v) USING 'sai' \
         WITH OPTIONS = {'case_sensitive': 'false', 'normalize': 'true'}",
        "CREATE INDEX iw ON ks.t (w)",
        "CREATE CUSTOM INDEX ix ON ks.t (w) USING 'sai' WITH OPTIONS = {'case_sensitive': false}",
    ]);
    let table = table(&schema, "t");
    let folded = IndexedPart::Folded(model::schema::TextFolding { ignores_case: true, normalizes: true });
    assert_eq!(index_of(&schema, "v = 'ÄPFEL'"), Some(("v".to_owned(), folded)));
    let by_value = |condition: &str| {
        let read = read(&schema, &format!("SELECT * FROM t WHERE {condition}"), &[]);
        read.index_command(TokenRange::ALL, None, 10, WallMicros(1)).unwrap().values
    };
    // Composed or not, large or small.
    assert_eq!(by_value("v = 'ÄPFEL'"), by_value("v = 'a\u{308}pfel'"));
    assert_ne!(by_value("v = 'apfel'"), by_value("v = 'äpfel'"));
    // An index that sees all differences is preferred, unless the other one is named.
    assert_eq!(index_of(&schema, "w = 'A'").unwrap().1, IndexedPart::Value);
    let hinted = index_of(&schema, "w = 'A' WITH included_indexes = {ix}").unwrap().1;
    assert!(matches!(hinted, IndexedPart::Folded(_)), "{hinted:?}");
    // It has no order of values.
    assert_eq!(index_of(&schema, "v > 'a' ALLOW FILTERING"), None);
    // A row that its key selects is compared as the index does too.
    let admits = |condition: &str, value: &str| {
        let read = read(&schema, &format!("SELECT * FROM t WHERE {condition}"), &[]);
        let value = model::Value::Text(value.to_owned()).to_wire();
        read.filters.iter().all(|filter| filter.admits(&model::CqlType::Text, Some(&value)).unwrap())
    };
    assert!(admits("k = 1 AND c = 1 AND v = 'A'", "a") && !admits("k = 1 AND c = 1 AND v = 'A'", "b"));
    assert!(!admits("w = 'A'", "a"));
    assert_eq!(table.indexes.len(), 3);
    for (statement, expected) in [
        (
            "CREATE INDEX ON t (c) USING 'sai' WITH OPTIONS = {'case_sensitive': 'false'}",
            "CQL type int cannot be analyzed.",
        ),
        (
            "CREATE INDEX ON t (v) USING 'sai' WITH OPTIONS = {'ascii': 'true'}",
            "the option 'ascii' = 'true' of an index is not supported yet",
        ),
    ] {
        let message = error(&schema, statement, &[]);
        assert!(message.contains(expected), "{message}");
    }
}
