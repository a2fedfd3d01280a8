//! What each kind of write makes of its values.

use super::*;
use crate::fixture::{bound, int, sample, table, text, write};
use model::codec::Decode;
use model::key::{BoundSide, encode_bound, encode_clustering};
use model::limits::VALUE_BYTES_MAX;
use model::schema::Schema;
use model::{Cell, Value};

/// Ten seconds and a bit.
const NOW: WallMicros = WallMicros(10_500_000);
const AT: i64 = 777;

fn column(schema: &Schema, name: &str, column: &str) -> ColumnId {
    table(schema, name).column(column).unwrap().id
}

fn records(schema: &Schema, statement: &str, values: &[BoundValue]) -> Vec<Record> {
    let write = write(schema, statement, values);
    let mutation = write.mutation(AT, NOW).unwrap();
    assert_eq!((mutation.table, &mutation.partition), (write.table().id, write.partition()));
    assert_eq!(mutation.validate(), Ok(()));
    assert_eq!(mutation.records.is_empty(), write.is_empty());
    mutation.records
}

/// The one row that the statement writes, which must be at `clustering`.
fn row(schema: &Schema, statement: &str, values: &[BoundValue], clustering: &Bytes) -> Row {
    match records(schema, statement, values).as_slice() {
        [Record { key: RecordKey::Row(at), value }] if at == clustering => Row::from_bytes(value).unwrap(),
        other => panic!("{statement}: {other:?}"),
    }
}

fn deletions(schema: &Schema, statement: &str, values: &[BoundValue]) -> PartitionDeletions {
    match records(schema, statement, values).as_slice() {
        [Record { key: RecordKey::Deletions, value }] => PartitionDeletions::from_bytes(value).unwrap(),
        other => panic!("{statement}: {other:?}"),
    }
}

fn only_row(schema: &Schema, name: &str) -> Bytes {
    encode_clustering(table(schema, name), &[]).unwrap()
}

const LIVE: Liveness = Liveness { timestamp: AT, expiry: None };

#[test]
fn an_insert_marks_the_row_and_sets_cells() {
    let schema = sample();
    let key = only_row(&schema, "t");
    let (v, n) = (column(&schema, "t", "v"), column(&schema, "t", "n"));
    let found = row(&schema, "INSERT INTO t (v, n, k) VALUES ('x', 5, 1)", &[], &key);
    let cells = vec![(n, Cell::live(AT, int(5))), (v, Cell::live(AT, text("x")))];
    assert_eq!(found, Row::new(Some(LIVE), None, cells));
    let found = row(&schema, "INSERT INTO t (k) VALUES (1)", &[], &key);
    assert_eq!(found, Row::new(Some(LIVE), None, Vec::new()));
    let found = row(&schema, "INSERT INTO t (k, v) VALUES (1, null)", &[], &key);
    assert_eq!(found, Row::new(Some(LIVE), None, vec![(v, Cell::tombstone(AT, 10))]));
    let unset = [bound(int(1)), BoundValue::Unset, bound(int(6))];
    let found = row(&schema, "INSERT INTO t (k, v, n) VALUES (?, ?, ?)", &unset, &key);
    assert_eq!(found, Row::new(Some(LIVE), None, vec![(n, Cell::live(AT, int(6)))]));
}

#[test]
fn an_update_sets_and_deletes_cells_only() {
    let schema = sample();
    let (v, w) = (column(&schema, "c", "v"), column(&schema, "c", "w"));
    let statement = "UPDATE c SET w = null, v = ? WHERE p1 = 1 AND p2 = '' AND c1 = ? AND c2 = 'b' AND c3 = 3";
    let key = encode_clustering(table(&schema, "c"), &[int(1), text("b"), int(3)]).unwrap();
    let found = row(&schema, statement, &[bound(int(5)), bound(int(1))], &key);
    let tombstone = Cell::tombstone(AT, 10);
    let cells = vec![(v, Cell::live(AT, int(5))), (w, tombstone.clone())];
    assert_eq!(found, Row::new(None, None, cells));
    let found = row(&schema, statement, &[BoundValue::Unset, bound(int(1))], &key);
    assert_eq!(found, Row::new(None, None, vec![(w, tombstone)]));
    assert_eq!(records(&schema, "UPDATE t SET v = ? WHERE k = 1", &[BoundValue::Unset]), []);
}

#[test]
fn deleting_columns_writes_tombstones() {
    let schema = sample();
    let (v, n) = (column(&schema, "t", "v"), column(&schema, "t", "n"));
    let found = row(&schema, "DELETE v, n FROM t WHERE k = 1", &[], &only_row(&schema, "t"));
    assert_eq!(found, Row::new(None, None, vec![(v, Cell::tombstone(AT, 10)), (n, Cell::tombstone(AT, 10))]));
    // The table's default time to live is no matter of tombstones.
    let v = column(&schema, "ttl", "v");
    let key = encode_clustering(table(&schema, "ttl"), &[int(2)]).unwrap();
    let found = row(&schema, "DELETE v FROM ttl WHERE k = 1 AND c = 2", &[], &key);
    assert_eq!(found, Row::new(None, None, vec![(v, Cell::tombstone(AT, 10))]));
}

#[test]
fn deleting_rows_deletes_a_row_a_range_or_the_partition() {
    let schema = sample();
    let deletion = Deletion { timestamp: AT, local_seconds: 10 };
    let of_partition = PartitionDeletions::of_partition(deletion);
    assert_eq!(deletions(&schema, "DELETE FROM t WHERE k = 1", &[]), of_partition);
    assert_eq!(deletions(&schema, "DELETE FROM c WHERE p1 = 1 AND p2 = ''", &[]), of_partition);
    let statement = "DELETE FROM c WHERE p1 = 1 AND p2 = '' AND c1 = 1 AND c2 = 'b' AND c3 = 3";
    let table = table(&schema, "c");
    let key = encode_clustering(table, &[int(1), text("b"), int(3)]).unwrap();
    assert_eq!(row(&schema, statement, &[], &key), Row::deleted(deletion));
    let edge = |prefix: &[Bytes], side| encode_bound(table, prefix, side).unwrap();
    let range = |start, end| PartitionDeletions::of_range(start, end, deletion);
    let one = [int(1)];
    let found = deletions(&schema, "DELETE FROM c WHERE p1 = 1 AND p2 = '' AND c1 = 1", &[]);
    assert_eq!(found, range(edge(&one, BoundSide::Before), edge(&one, BoundSide::After)));
    let found = deletions(&schema, "DELETE FROM c WHERE p1 = 1 AND p2 = '' AND c1 > 1", &[]);
    assert_eq!(found, range(edge(&one, BoundSide::After), edge(&[], BoundSide::After)));
    // c2 is descending: the larger value comes first.
    let statement = "DELETE FROM c WHERE p1 = 1 AND p2 = '' AND c1 = 1 AND c2 > 'a' AND c2 <= 'x'";
    let (a, x) = ([int(1), text("a")], [int(1), text("x")]);
    let found = deletions(&schema, statement, &[]);
    assert_eq!(found, range(edge(&x, BoundSide::Before), edge(&a, BoundSide::Before)));
    for empty in ["c1 > 1 AND c1 < 1", "c1 > 2 AND c1 < 1", "c1 = 1 AND c2 < 'a' AND c2 > 'b'"] {
        let statement = format!("DELETE FROM c WHERE p1 = 1 AND p2 = '' AND {empty}");
        assert_eq!(records(&schema, &statement, &[]), [], "{empty}");
    }
}

#[test]
fn time_to_live_is_that_of_the_statement_or_the_table() {
    let schema = sample();
    let key = encode_clustering(table(&schema, "ttl"), &[int(2)]).unwrap();
    let v = column(&schema, "ttl", "v");
    let expected = |ttl_seconds: u32| {
        if ttl_seconds == 0 {
            return Row::new(Some(LIVE), None, vec![(v, Cell::live(AT, int(3)))]);
        }
        let expiry = Expiry { ttl_seconds, at_seconds: 10 + ttl_seconds };
        let liveness = Liveness { timestamp: AT, expiry: Some(expiry) };
        Row::new(Some(liveness), None, vec![(v, Cell::expiring(AT, int(3), expiry))])
    };
    let insert = "INSERT INTO ttl (k, c, v) VALUES (1, 2, 3)";
    let cases = [
        (insert.to_owned(), vec![], 100),
        (format!("{insert} USING TTL 7"), vec![], 7),
        (format!("{insert} USING TTL 0"), vec![], 0),
        (format!("{insert} USING TTL ?"), vec![bound(int(8))], 8),
        (format!("{insert} USING TTL ?"), vec![bound(int(0))], 0),
        (format!("{insert} USING TTL ?"), vec![BoundValue::Null], 0),
        (format!("{insert} USING TTL ?"), vec![BoundValue::Unset], 100),
    ];
    for (statement, values, ttl) in cases {
        assert_eq!(row(&schema, &statement, &values, &key), expected(ttl), "{statement} {values:?}");
    }
    let expiry = Expiry { ttl_seconds: 100, at_seconds: 110 };
    let found = row(&schema, "UPDATE ttl SET v = 3 WHERE k = 1 AND c = 2", &[], &key);
    assert_eq!(found, Row::new(None, None, vec![(v, Cell::expiring(AT, int(3), expiry))]));
}

#[test]
fn expiry_after_what_32_bits_can_say_is_refused() {
    let schema = sample();
    let write = write(&schema, "INSERT INTO t (k) VALUES (1) USING TTL 630720000", &[]);
    let seconds = |seconds: u32| WallMicros(i64::from(seconds) * 1_000_000);
    assert!(write.mutation(AT, seconds(u32::MAX - 630_720_000)).is_ok());
    let error = write.mutation(AT, seconds(u32::MAX - 630_719_999)).unwrap_err();
    assert!(error.to_string().contains("exceeds maximum supported expiration date"), "{error}");
    assert!(write.mutation(AT, WallMicros(i64::MIN)).is_ok());
    assert!(write.mutation(AT, WallMicros(i64::MAX)).is_err());
}

#[test]
fn using_timestamp_is_told_and_left_to_the_caller() {
    let schema = sample();
    let statement = "INSERT INTO t (k) VALUES (1) USING TIMESTAMP ?";
    let at = |value: BoundValue| write(&schema, statement, &[value]).timestamp();
    assert_eq!(at(bound(Value::BigInt(-5).to_wire())), Some(-5));
    assert_eq!(at(BoundValue::Unset), None);
    assert_eq!(write(&schema, "INSERT INTO t (k) VALUES (1)", &[]).timestamp(), None);
    assert_eq!(write(&schema, "UPDATE t USING TIMESTAMP 9 SET v = '' WHERE k = 1", &[]).timestamp(), Some(9));
    assert_eq!(write(&schema, "DELETE FROM t USING TIMESTAMP 9 WHERE k = 1", &[]).timestamp(), Some(9));
}

#[test]
fn a_mutation_that_is_too_large_is_refused() {
    let schema = sample();
    let statement = "INSERT INTO scalars (k, v_blob, v_text) VALUES (1, ?, ?)";
    let large = bound(Bytes::from(vec![b'x'; VALUE_BYTES_MAX]));
    let one = write(&schema, statement, &[large.clone(), BoundValue::Unset]);
    assert!(one.mutation(AT, NOW).is_ok());
    let error = write(&schema, statement, &[large.clone(), large]).mutation(AT, NOW).unwrap_err();
    assert!(error.to_string().contains("is too large for the maximum size of"), "{error}");
}

#[test]
fn a_write_that_adds_or_takes_away_no_elements_is_empty() {
    let schema = crate::fixture::schema(&[
        "CREATE KEYSPACE ks WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 3}",
        "CREATE TABLE ks.e (k int, c int, s set<int>, l list<int>, m map<int, int> STATIC, PRIMARY KEY (k, c))",
    ]);
    let now = WallMicros(1_000_000);
    for assignment in ["s = s + {}", "s = s - {}", "l = l + []", "l = [] + l", "s = s + {}, l = l + []"] {
        let own = crate::fixture::write(&schema, &format!("UPDATE e SET {assignment} WHERE k = 1 AND c = 1"), &[]);
        assert!(own.is_empty() && own.mutation(1, now).unwrap().records.is_empty(), "{assignment}");
    }
    let own = crate::fixture::write(&schema, "UPDATE e SET m = m - {} WHERE k = 1", &[]);
    assert!(own.is_empty());
    // An element that is not there, of a list that was read.
    let own = crate::fixture::write(&schema, "UPDATE e SET l = l - [9] WHERE k = 1 AND c = 1", &[]);
    assert!(!own.is_empty() && own.reads_first());
    assert!(own.with_present(&Row::default(), &[], now).unwrap().is_empty());
    for assignment in ["s = {}", "s = s + {1}", "s = s + {}, l = l + [1]", "s = null"] {
        let own = crate::fixture::write(&schema, &format!("UPDATE e SET {assignment} WHERE k = 1 AND c = 1"), &[]);
        assert!(!own.is_empty() && !own.mutation(1, now).unwrap().records.is_empty(), "{assignment}");
    }
}
