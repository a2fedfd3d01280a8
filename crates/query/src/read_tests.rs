//! The slices that queries read, against a filter that compares values one by one.

use super::*;
use crate::BoundValue;
use crate::fixture::{bound, error, int, read, sample, schema, table, text, write};
use model::key::{BoundSide, encode_bound, encode_clustering};
use model::row::Expiry;
use model::schema::{ClusteringOrder, Schema, SchemaChange};
use model::value::compare;
use model::{Cell, ComplexColumn, CqlType, Liveness, TableId, Value};
use proptest::prelude::*;
use std::cmp::Ordering;

const NOW: WallMicros = WallMicros(10_500_000);

/// The key of the one partition that a read visits, or any if it visits none.
fn key_of(read: &BoundRead) -> PartitionKey {
    match read.source() {
        ReadSource::Partitions(keys) if !keys.is_empty() => keys[0].clone(),
        _ => PartitionKey::new(Bytes::from_static(b"any")),
    }
}

fn command(read: &BoundRead, rows: u32, bytes: u32) -> ReadCommand {
    read.partition_command(&key_of(read), CommandLimits { rows, bytes, tombstones: u32::MAX }, NOW)
}

#[test]
fn a_read_that_names_no_partition_is_of_all_of_them() {
    let schema = sample();
    let scan = read(&schema, "SELECT p2, c1, p1 FROM c", &[]);
    assert_eq!(scan.source(), ReadSource::Range(TokenRange::ALL));
    let limits = CommandLimits { rows: 5, bytes: 6, tombstones: 7 };
    let command = scan.scan_command(TokenRange::ALL, None, limits, NOW);
    assert_eq!((command.row_limit, command.bytes_limit, command.tombstone_limit), (5, 6, 7));
    assert_eq!(command.slices, [Slice::all()]);
    let partition = PartitionKey::from_components(&[int(1), text("x")]).unwrap();
    let clustering = encode_clustering(table(&schema, "c"), &[int(7), text("seven"), int(8)]).unwrap();
    let values = scan.project(&partition, &clustering, &Row::default(), 1).unwrap();
    assert_eq!(values, [Some(text("x")), Some(int(7)), Some(int(1))]);
}

#[test]
fn a_command_reads_the_slice_of_the_query() {
    let schema = sample();
    let table = table(&schema, "c");
    let edge = |prefix: &[Bytes], side| encode_bound(table, prefix, side).unwrap();
    let key = encode_clustering(table, &[int(1), text("b"), int(3)]).unwrap();
    let after_key = Bytes::from([key.as_ref(), &[0]].concat());
    let cases = [
        ("", Slice::all()),
        ("AND c1 = 1 AND c2 = 'b' AND c3 = 3", Slice { start: key, end: after_key }),
        ("AND c1 = 1", Slice { start: edge(&[int(1)], BoundSide::Before), end: edge(&[int(1)], BoundSide::After) }),
        (
            "AND c1 >= 1 AND c1 < 5",
            Slice { start: edge(&[int(1)], BoundSide::Before), end: edge(&[int(5)], BoundSide::Before) },
        ),
        (
            "AND c1 = 1 AND c2 < 'b'",
            Slice { start: edge(&[int(1), text("b")], BoundSide::After), end: edge(&[int(1)], BoundSide::After) },
        ),
    ];
    for (restriction, slice) in cases {
        let read = read(&schema, &format!("SELECT v FROM c WHERE p1 = 1 AND p2 = '' {restriction}"), &[]);
        assert!(!read.is_empty());
        let expected = ReadCommand {
            table: table.id,
            partition: key_of(&read),
            slices: vec![slice],
            reversed: false,
            static_row: false,
            row_limit: 5,
            bytes_limit: 6,
            now_seconds: 10,
            tombstone_limit: u32::MAX,
            gc_before_seconds: 0,
        };
        assert_eq!(command(&read, 5, 6), expected, "{restriction}");
    }
}

#[test]
fn an_empty_range_reads_nothing() {
    let schema = sample();
    for range in ["c1 > 1 AND c1 < 1", "c1 >= 1 AND c1 < 1", "c1 > 5 AND c1 < 1", "c1 = 1 AND c2 > 'b' AND c2 < 'a'"] {
        let read = read(&schema, &format!("SELECT * FROM c WHERE p1 = 1 AND p2 = '' AND {range}"), &[]);
        assert!(read.is_empty(), "{range}");
        let slice = command(&read, 1, 1).slices.remove(0);
        assert!(slice.start < slice.end);
        let lowest = encode_bound(read.table(), &[int(i32::MIN)], BoundSide::Before).unwrap();
        assert!(slice.end <= lowest, "no key is in the slice");
    }
    let exact = "SELECT * FROM c WHERE p1 = 1 AND p2 = '' AND c1 >= 1 AND c1 <= 1";
    assert!(!read(&schema, exact, &[]).is_empty());
}

#[test]
fn order_by_reads_forward_or_backward() {
    let schema = sample();
    let cases = [
        ("", "", false),
        ("", "ORDER BY c1", false),
        ("", "ORDER BY c1 DESC", true),
        ("", "ORDER BY c1, c2 DESC", false),
        ("", "ORDER BY c1 ASC, c2 DESC, c3 ASC", false),
        ("", "ORDER BY c1 DESC, c2 ASC, c3 DESC", true),
        ("AND c1 = 1", "ORDER BY c2", true),
        ("AND c1 = 1", "ORDER BY c2 DESC, c3", false),
        ("AND c1 = 1", "ORDER BY c1, c2 DESC", false),
        ("AND c1 = 1 AND c2 = 'x'", "ORDER BY c1, c3", false),
        ("AND c1 = 1 AND c2 = 'x'", "ORDER BY c3 DESC", true),
        ("AND c1 > 1", "ORDER BY c1 DESC", true),
    ];
    for (restriction, order, reversed) in cases {
        let statement = format!("SELECT * FROM c WHERE p1 = 1 AND p2 = '' {restriction} {order}");
        assert_eq!(command(&read(&schema, &statement, &[]), 1, 1).reversed, reversed, "{statement}");
    }
}

#[test]
fn limits_of_zero_are_read_as_one() {
    let read = read(&sample(), "SELECT * FROM t WHERE k = 1 LIMIT 3", &[]);
    let limits = CommandLimits { rows: 0, bytes: 0, tombstones: 0 };
    let command = read.partition_command(&key_of(&read), limits, WallMicros(-1));
    assert_eq!((command.row_limit, command.bytes_limit, command.now_seconds), (1, 1, 0));
    assert_eq!(read.limit(), Some(3));
}

#[test]
fn a_row_is_projected_to_the_columns_of_the_result() {
    let schema = sample();
    let table = table(&schema, "c");
    let read = read(&schema, "SELECT w, c2, p2 AS x, v, c1, p1, v FROM c WHERE p1 = 1 AND p2 = ?", &[bound(text("y"))]);
    let names: Vec<&str> = read.result_columns().iter().map(|column| column.name.as_str()).collect();
    assert_eq!(names, ["w", "c2", "x", "v", "c1", "p1", "v"]);
    let id = |name: &str| table.column(name).unwrap().id;
    let clustering = encode_clustering(table, &[int(7), text("seven"), int(8)]).unwrap();
    let expiry = Expiry { ttl_seconds: 5, at_seconds: 20 };
    let cells = vec![(id("v"), Cell::live(1, int(5))), (id("w"), Cell::expiring(1, text("w"), expiry))];
    let row = Row::new(Some(Liveness { timestamp: 1, expiry: None }), None, cells);
    let rest = |w: Option<Bytes>| {
        vec![w, Some(text("seven")), Some(text("y")), Some(int(5)), Some(int(7)), Some(int(1)), Some(int(5))]
    };
    assert_eq!(read.project(&key_of(&read), &clustering, &row, 19).unwrap(), rest(Some(text("w"))));
    assert_eq!(read.project(&key_of(&read), &clustering, &row, 20).unwrap(), rest(None), "expired");
    let broken = read.project(&key_of(&read), &Bytes::from_static(b"x"), &row, 20).unwrap_err();
    assert!(matches!(broken, RequestError::Server(_)), "{broken}");
}

#[test]
fn complex_columns_are_read_as_values_and_refused_when_written() {
    let list = CqlType::List { element: Arc::new(CqlType::Int), frozen: false };
    let mut changed = table(&sample(), "t").as_ref().clone();
    changed.name = "l".to_owned();
    changed.id = TableId(77);
    let column = changed.columns.iter_mut().find(|column| column.name == "v").unwrap();
    column.cql_type = list.clone();
    let id = column.id;
    let change = SchemaChange::CreateTable { table: changed, if_not_exists: false };
    let schema = sample().apply(&change).unwrap().unwrap();
    let read = read(&schema, "SELECT v FROM l WHERE k = 9", &[]);
    assert_eq!(read.result_columns()[0].cql_type, list);
    let key = encode_clustering(table(&schema, "l"), &[]).unwrap();
    let wire = Value::List(vec![Value::Int(5), Value::Int(-5)]).to_wire();
    let mut drawn = 0u128;
    let draw = || {
        drawn += 1;
        drawn << 96 | 1 << 76
    };
    let cell = |(path, value)| (path, Cell::live(1, value));
    let cells = element::elements(&list, &wire, draw).unwrap().into_iter().map(cell).collect();
    let row = Row::default().with_complex([(id, ComplexColumn::overwritten(1, 1, cells))]);
    assert_eq!(read.project(&key_of(&read), &key, &row, 1).unwrap(), [Some(wire)]);
    assert_eq!(read.project(&key_of(&read), &key, &Row::default(), 1).unwrap(), [None]);
    for text in ["UPDATE l SET v = ? WHERE k = 1", "INSERT INTO l (k, v) VALUES (1, ?)", "DELETE v FROM l WHERE k = 1"]
    {
        let refused = error(&schema, text, &[]);
        assert!(refused.contains("writing columns of type list<int> is not supported yet"), "{refused}");
    }
}

#[test]
fn deleted_and_absent_cells_are_null() {
    let schema = sample();
    let read = read(&schema, "SELECT * FROM t WHERE k = 9", &[]);
    let key = encode_clustering(table(&schema, "t"), &[]).unwrap();
    let v = table(&schema, "t").column("v").unwrap().id;
    let row = Row::new(None, None, vec![(v, Cell::tombstone(1, 1))]);
    assert_eq!(read.project(&key_of(&read), &key, &row, 1).unwrap(), [Some(int(9)), None, None]);
}

/// A few values of a type, in no order.
fn values(cql_type: &CqlType) -> Vec<Bytes> {
    let texts: &[&str] = match cql_type {
        CqlType::Int => &["-2147483648", "-1", "0", "1", "2147483647"],
        CqlType::VarInt => &["-99999999999999999999", "-1", "0", "1", "99999999999999999999"],
        CqlType::Double => &["-Infinity", "-1.5", "-0.0", "0.0", "NaN"],
        CqlType::Text => &["", "a", "a\0", "a\0b", "b"],
        CqlType::Blob => &["0x", "0x00", "0x0001", "0xff", "0xffff"],
        CqlType::TimeUuid => &["50554d6e-29bb-11e5-b345-feff819cdc9f", "00000000-29bb-11e6-b345-00ff819cdc9f"],
        CqlType::Date => &["0", "2147483647", "2147483648", "4294967295"],
        _ => &["-1.5", "-1.49", "0", "10", "1E+2"],
    };
    texts.iter().map(|text| Value::parse(cql_type, text).unwrap().to_wire()).collect()
}

/// A table `ks.r` with these clustering columns, `c0`, `c1`...
fn table_of(columns: &[(CqlType, bool)]) -> Schema {
    let define = columns.iter().enumerate().map(|(at, (cql_type, _))| format!("c{at} {cql_type}"));
    let define: Vec<String> = define.collect();
    let names: Vec<String> = (0..columns.len()).map(|at| format!("c{at}")).collect();
    let order = |(at, (_, descending)): (usize, &(CqlType, bool))| {
        format!("c{at} {}", if *descending { "DESC" } else { "ASC" })
    };
    let orders: Vec<String> = columns.iter().enumerate().map(order).collect();
    let create = format!(
        "CREATE TABLE ks.r (k int, {}, PRIMARY KEY (k, {})) WITH CLUSTERING ORDER BY ({})",
        define.join(", "),
        names.join(", "),
        orders.join(", ")
    );
    schema(&["CREATE KEYSPACE ks WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}", &create])
}

/// `column operator value`, by position.
type Restriction = (usize, &'static str, Bytes);

fn admits(columns: &[(CqlType, bool)], restrictions: &[Restriction], row: &[Bytes]) -> bool {
    restrictions.iter().all(|(at, operator, value)| {
        let order = compare(&columns[*at].0, &row[*at], value);
        match *operator {
            "=" => order == Ordering::Equal,
            "<" => order == Ordering::Less,
            "<=" => order != Ordering::Greater,
            ">" => order == Ordering::Greater,
            _ => order != Ordering::Less,
        }
    })
}

/// All rows over the domains of the columns.
fn all_rows(columns: &[(CqlType, bool)]) -> Vec<Vec<Bytes>> {
    columns.iter().fold(vec![Vec::new()], |rows, (cql_type, _)| {
        let values = values(cql_type);
        rows.iter().flat_map(|row| values.iter().map(|value| [row, std::slice::from_ref(value)].concat())).collect()
    })
}

/// Columns, how many of them are restricted by equality, the range on the next, and picks of values.
fn query() -> impl Strategy<Value = (Vec<(CqlType, bool)>, Vec<Restriction>)> {
    let cql_type = prop::sample::select(vec![
        CqlType::Int,
        CqlType::VarInt,
        CqlType::Double,
        CqlType::Text,
        CqlType::Blob,
        CqlType::TimeUuid,
        CqlType::Date,
        CqlType::Decimal,
    ]);
    let columns = prop::collection::vec((cql_type, any::<bool>()), 1..4);
    let lower = prop::sample::select(vec![None, Some(">"), Some(">=")]);
    let upper = prop::sample::select(vec![None, Some("<"), Some("<=")]);
    let picks = prop::collection::vec(any::<prop::sample::Index>(), 5);
    (columns, 0..4usize, lower, upper, picks).prop_map(|(columns, equal, lower, upper, picks)| {
        let equal = equal.min(columns.len());
        let pick = |at: usize, pick: usize| {
            let values = values(&columns[at].0);
            values[picks[pick].index(values.len())].clone()
        };
        let mut restrictions: Vec<Restriction> = (0..equal).map(|at| (at, "=", pick(at, at))).collect();
        if equal < columns.len() {
            restrictions.extend(lower.map(|operator| (equal, operator, pick(equal, 3))));
            restrictions.extend(upper.map(|operator| (equal, operator, pick(equal, 4))));
        }
        (columns, restrictions)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// The slice that a query reads, and the range that a DELETE with the same restrictions deletes, hold
    /// exactly the rows that comparing values one by one selects.
    #[test]
    fn slices_hold_the_rows_that_a_naive_filter_selects(
        (columns, restrictions) in query(),
        literals: bool,
        shuffled: bool,
    ) {
        let schema = table_of(&columns);
        let table = table(&schema, "r");
        let mut relations = vec!["k = 5".to_owned()];
        let mut arguments = Vec::new();
        for (at, operator, value) in &restrictions {
            let wire = if literals {
                Value::from_wire(&columns[*at].0, value).unwrap().to_cql_literal()
            } else {
                arguments.push(bound(value.clone()));
                "?".to_owned()
            };
            relations.push(format!("c{at} {operator} {wire}"));
        }
        if shuffled {
            relations.reverse();
            arguments.reverse();
        }
        let relations = relations.join(" AND ");
        let read = read(&schema, &format!("SELECT * FROM r WHERE {relations}"), &arguments);
        let command = command(&read, 1, 1);
        let delete = write(&schema, &format!("DELETE FROM r WHERE {relations}"), &arguments);
        let mutation = delete.mutation(1, NOW).unwrap();
        let mut any_admitted = false;
        for row in all_rows(&columns) {
            let key = encode_clustering(table, &row).unwrap();
            let admitted = admits(&columns, &restrictions, &row);
            any_admitted |= admitted;
            prop_assert_eq!(command.slices[0].contains(&key), admitted, "{} {:?}", relations, row);
            prop_assert_eq!(is_deleted(&mutation, &key), admitted, "{} {:?}", relations, row);
        }
        prop_assert!(!(read.is_empty() && any_admitted));
    }
}

fn is_deleted(mutation: &model::Mutation, key: &Bytes) -> bool {
    use model::codec::Decode;
    use model::deletion::PartitionDeletions;
    mutation.records.iter().any(|record| match &record.key {
        model::RecordKey::Row(at) => at == key,
        _ => PartitionDeletions::from_bytes(&record.value).unwrap().covering(key).is_some(),
    })
}

#[test]
fn values_may_be_of_the_descending_and_the_ascending_column_alike() {
    let schema = table_of(&[(CqlType::Int, true)]);
    let table = table(&schema, "r");
    let order = table.columns[1].kind;
    assert_eq!(order, model::schema::ColumnKind::Clustering(0, ClusteringOrder::Descending));
    let read = read(&schema, "SELECT * FROM r WHERE k = 1 AND c0 > ?", &[BoundValue::Value(int(5))]);
    let slice = command(&read, 1, 1).slices.remove(0);
    let key = |value: i32| encode_clustering(table, &[int(value)]).unwrap();
    assert!(slice.contains(&key(6)) && slice.contains(&key(i32::MAX)));
    assert!(!slice.contains(&key(5)) && !slice.contains(&key(4)));
}
