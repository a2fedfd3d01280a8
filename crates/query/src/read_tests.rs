//! The slices that queries read, against a filter that compares values one by one.

use super::*;
use crate::BoundValue;
use crate::fixture::{bound, error, int, read, sample, schema, table, text, write};
use model::key::{BoundSide, encode_bound, encode_clustering};
use model::schema::{ClusteringOrder, Schema};
use model::value::compare;
use model::{CqlType, Value};
use proptest::prelude::*;
use std::cmp::Ordering;

const NOW: WallMicros = WallMicros(10_500_000);

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
            partition: only_partition(&read),
            slices: vec![slice],
            reversed: false,
            static_row: false,
            row_limit: 5,
            bytes_limit: 6,
            now_seconds: 10,
            tombstone_limit: u32::MAX,
            gc_before_seconds: 0,
            dropped_columns: Vec::new(),
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
    let limits = CommandLimits { rows: 0, bytes: 0, tombstones: 7 };
    let found = read.partition_command(&only_partition(&read), limits, WallMicros(-1));
    assert_eq!((found.row_limit, found.bytes_limit, found.now_seconds, found.tombstone_limit), (1, 1, 0, 7));
    assert_eq!(read.limit(), Some(3));
}

fn only_partition(read: &BoundRead) -> PartitionKey {
    match read.source() {
        ReadSource::Partitions(keys) if keys.len() == 1 => keys[0].clone(),
        other => panic!("{other:?}"),
    }
}

fn command(read: &BoundRead, rows: u32, bytes: u32) -> ReadCommand {
    let partition = PartitionKey::new(Bytes::from_static(b"p"));
    let partition = match read.source() {
        ReadSource::Partitions(keys) => keys.first().cloned().unwrap_or(partition),
        ReadSource::Range(_) => partition,
    };
    read.partition_command(&partition, CommandLimits { rows, bytes, tombstones: u32::MAX }, NOW)
}

#[test]
fn commands_ask_for_no_more_than_is_needed() {
    let keyspace =
        schema(&["CREATE KEYSPACE ks WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}"]);
    let schema = crate::fixture::with_table(&keyspace, "w", 9, (1, 1), &["p int", "c int", "s int static", "v int"]);
    // Statement, rows of a partition, static row.
    let cases = [
        ("SELECT * FROM w", u32::MAX, true),
        ("SELECT v FROM w WHERE c = 1 ALLOW FILTERING", u32::MAX, false),
        ("SELECT v FROM w PER PARTITION LIMIT 3", 3, true),
        ("SELECT v FROM w WHERE v = 1 PER PARTITION LIMIT 3 ALLOW FILTERING", u32::MAX, false),
        ("SELECT v FROM w WHERE s = 1 ALLOW FILTERING", u32::MAX, true),
        ("SELECT DISTINCT p FROM w", 1, true),
        ("SELECT DISTINCT p, s FROM w WHERE s = 1 ALLOW FILTERING", u32::MAX, true),
        ("SELECT count(*) FROM w", u32::MAX, true),
        ("SELECT p, max(v) FROM w GROUP BY p PER PARTITION LIMIT 1", u32::MAX, true),
    ];
    for (statement, rows, static_row) in cases {
        let read = read(&schema, statement, &[]);
        let limits = CommandLimits { rows: u32::MAX, bytes: 9, tombstones: 8 };
        let found = read.scan_command(TokenRange::ALL, None, limits, NOW);
        assert_eq!((found.per_partition_limit, found.static_row), (rows, static_row), "{statement}");
        assert_eq!((found.row_limit, found.bytes_limit, found.tombstone_limit), (u32::MAX, 9, 8));
        assert_eq!(found.validate(), Ok(()), "{statement}");
    }
}

#[test]
fn tokens_select_ranges_of_the_ring() {
    let schema = sample();
    let range =
        |start: i64, end: i64| ReadSource::Range(TokenRange { start: model::Token(start), end: model::Token(end) });
    let nothing = || ReadSource::Partitions(Vec::new());
    let one = PartitionKey::from_components(&[int(1)]).unwrap();
    let token = one.token.0;
    let cases = [
        ("", range(i64::MIN, i64::MAX)),
        ("WHERE token(k) > 5 AND token(k) <= 9", range(5, 9)),
        ("WHERE token(k) >= 5 AND token(k) < 9", range(4, 8)),
        ("WHERE token(k) BETWEEN 5 AND 9", range(4, 9)),
        ("WHERE token(k) = 7", range(6, 7)),
        ("WHERE token(k) > 9 AND token(k) <= 5", nothing()),
        ("WHERE token(k) > 9 AND token(k) <= 9", nothing()),
        ("WHERE token(k) >= -9223372036854775808", range(i64::MIN, i64::MAX)),
        // The least token ends a range at the end of the ring.
        ("WHERE token(k) > 9 AND token(k) <= -9223372036854775808", range(9, i64::MAX)),
        ("WHERE token(k) > 9223372036854775807", nothing()),
        ("WHERE token(k) > token(1)", range(token, i64::MAX)),
        ("WHERE token(k) >= token(1) AND k = 1", ReadSource::Partitions(vec![one])),
        ("WHERE token(k) > token(1) AND k = 1", nothing()),
    ];
    for (text, expected) in cases {
        assert_eq!(read(&schema, &format!("SELECT * FROM t {text}"), &[]).source(), expected, "{text}");
    }
}

#[test]
fn partitions_of_in_come_once_in_the_order_of_their_values() {
    let schema = sample();
    let keys = |text: &str, values: &[BoundValue]| match read(&schema, text, values).source() {
        ReadSource::Partitions(keys) => keys,
        other => panic!("{other:?}"),
    };
    let of = |values: &[i32]| -> Vec<PartitionKey> {
        values.iter().map(|value| PartitionKey::from_components(&[int(*value)]).unwrap()).collect()
    };
    assert_eq!(keys("SELECT * FROM t WHERE k IN (3, -1, 2, 3)", &[]), of(&[-1, 2, 3]));
    assert_eq!(keys("SELECT * FROM t WHERE k IN ()", &[]), of(&[]));
    assert_eq!(keys("SELECT * FROM t WHERE k IN (?, 1)", &[bound(int(5))]), of(&[1, 5]));
    let list = Value::List(vec![Value::Int(2), Value::Int(1)]).to_wire();
    assert_eq!(keys("SELECT * FROM t WHERE k IN ?", &[bound(list)]), of(&[1, 2]));
    let found = keys("SELECT * FROM c WHERE p1 IN (2, 1) AND p2 IN ('b', 'a')", &[]);
    let pair = |number: i32, word: &str| PartitionKey::from_components(&[int(number), text(word)]).unwrap();
    assert_eq!(found, [pair(1, "a"), pair(1, "b"), pair(2, "a"), pair(2, "b")]);
    let many: Vec<String> = (0..101).map(|number| number.to_string()).collect();
    let words: Vec<String> = many.iter().map(|word| format!("'{word}'")).collect();
    let (many, words) = (many.join(", "), words.join(", "));
    let refused = error(&schema, &format!("SELECT * FROM c WHERE p1 IN ({many}) AND p2 IN ({words})"), &[]);
    assert!(refused.contains("make more than 10000 combinations"), "{refused}");
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

#[test]
fn a_read_says_how_long_it_may_take_and_whether_it_is_cached() {
    let schema = sample();
    let read = |text: &str, values: &[BoundValue]| crate::fixture::read(&schema, text, values);
    let millis = |read: &BoundRead| read.timeout().map(|timeout| timeout.as_millis());
    assert_eq!(millis(&read("SELECT * FROM t", &[])), None);
    assert_eq!(millis(&read("SELECT * FROM t USING TIMEOUT 1m50ms", &[])), Some(60_050));
    let duration = model::Value::Duration { months: 0, days: 0, nanoseconds: 7_000_000 }.to_wire();
    let bound = [BoundValue::Value(duration)];
    assert_eq!(millis(&read("SELECT * FROM t WHERE k = 1 USING TIMEOUT ?", &bound)), Some(7));
    assert_eq!(millis(&read("SELECT * FROM t USING TIMEOUT ?", &[BoundValue::Unset])), None);
    for duration in ["0s", "-1s", "1d", "1mo", "1us"] {
        let message = crate::fixture::error(&schema, &format!("SELECT * FROM t USING TIMEOUT {duration}"), &[]);
        assert!(message.contains("A timeout is more than 0"), "{message}");
    }
    assert_eq!(millis(&read("SELECT * FROM t USING TIMEOUT 10m", &[])), Some(600_000));
    let message = crate::fixture::error(&schema, "SELECT * FROM t USING TIMEOUT 10m1ms", &[]);
    assert!(message.contains("at most ten minutes"), "{message}");
    let limits = CommandLimits { rows: 1, bytes: 1, tombstones: 1 };
    let bulk = |text: &str| read(text, &[]).scan_command(TokenRange::ALL, None, limits, WallMicros(1)).bulk;
    assert!(bulk("SELECT * FROM t BYPASS CACHE"));
    assert!(bulk("SELECT * FROM t WHERE v = 'a' ALLOW FILTERING BYPASS CACHE USING TIMEOUT 1s"));
    assert!(!bulk("SELECT * FROM t"));
}
