//! Statements in, rows out: what is read after they were executed one after the other.

use super::*;
use crate::fixture::{context_at, prepare_in, schema};
use crate::{BatchLimits, Bound, BoundValue, BoundWrite, prepare};
use bytes::Bytes;
use model::codec::Decode;
use model::deletion::PartitionDeletions;
use model::key::decode_clustering;
use model::schema::Schema;
use model::{PartitionKey, RecordKey, Row, Value, WallMicros, element};
use std::collections::BTreeMap;

fn tables() -> Schema {
    schema(&[
        "CREATE KEYSPACE ks WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
        "CREATE TYPE ks.u (a int, b text)",
        "CREATE TABLE ks.x (k int, c int, f frozen<list<int>>, fu frozen<u>, l list<int>, m map<text, int>, \
         s set<text>, t tuple<int, text>, u u, v int, sm map<text, int> STATIC, sv int STATIC, PRIMARY KEY (k, c))",
        "CREATE TABLE ks.n (k int PRIMARY KEY, x counter)",
        "CREATE TABLE ks.y (k int PRIMARY KEY, v int)",
    ])
}

/// One node that has all data.
#[derive(Default)]
struct Stored {
    rows: BTreeMap<(PartitionKeyBytes, Option<Bytes>), Row>,
    deletions: BTreeMap<PartitionKeyBytes, PartitionDeletions>,
}

type PartitionKeyBytes = Bytes;

impl Stored {
    fn write(&mut self, write: &BoundWrite, timestamp: i64) {
        let mutation = write.mutation(timestamp, WallMicros(timestamp)).unwrap();
        assert_eq!(mutation.validate(), Ok(()));
        assert_eq!(mutation.records.is_empty(), write.is_empty());
        let PartitionKey { bytes: key, .. } = mutation.partition;
        for record in mutation.records {
            let clustering = match record.key {
                RecordKey::Deletions => {
                    let new = PartitionDeletions::from_bytes(&record.value).unwrap();
                    let all = self.deletions.entry(key.clone()).or_default();
                    *all = all.merge(&new);
                    continue;
                }
                RecordKey::Static => None,
                RecordKey::Row(clustering) => Some(clustering),
            };
            let row = self.rows.entry((key.clone(), clustering)).or_default();
            *row = row.clone().merge(Row::from_bytes(&record.value).unwrap());
        }
    }

    /// Every live row as `k/c: column=value ...`, the static one as `k/static`.
    fn shown(&self, table: &Table, now_seconds: i64) -> Vec<String> {
        let mut lines = Vec::new();
        for ((key, clustering), row) in &self.rows {
            let deletions = self.deletions.get(key).cloned().unwrap_or_default();
            let mut row = row.clone();
            let covering =
                clustering.as_ref().map_or(deletions.partition(), |clustering| deletions.covering(clustering));
            if let Some(deletion) = covering {
                row.delete(deletion);
            }
            if !row.is_live(now_seconds) {
                continue;
            }
            let mut line = format!("{}", i32::from_be_bytes(key[..4].try_into().unwrap()));
            match clustering {
                None => line.push_str("/static:"),
                Some(clustering) => {
                    let values = decode_clustering(table, clustering).unwrap();
                    let values =
                        values.iter().map(|value| i32::from_be_bytes(value[..4].try_into().unwrap()).to_string());
                    line.push_str(&format!("/{}:", values.collect::<Vec<_>>().join("/")));
                }
            }
            for column in table.regular() {
                let value = match row.complex_column(column.id) {
                    Some(cells) => element::value(&column.cql_type, cells, now_seconds).unwrap(),
                    None => row.cell(column.id).and_then(|cell| cell.value(now_seconds).cloned()),
                };
                if let Some(wire) = value {
                    let value = Value::from_wire(&column.cql_type, &wire).unwrap();
                    line.push_str(&format!(" {}={}", column.name, value.to_json()));
                }
            }
            lines.push(line);
        }
        lines
    }
}

/// What `ks.x` holds after these statements, executed at the seconds 100, 101 and so on.
fn after(statements: &[&str]) -> Vec<String> {
    let schema = tables();
    let mut stored = Stored::default();
    for (statement, second) in statements.iter().zip(100..) {
        let at = WallMicros(second * 1_000_000);
        let bound = prepare_in(&schema, statement).bind(&[], context_at(at));
        match bound.unwrap_or_else(|error| panic!("{statement}: {error}")) {
            Bound::Write(write) => stored.write(&write, at.0),
            Bound::Writes(writes) => writes.iter().for_each(|write| stored.write(write, at.0)),
            other => panic!("{statement}: {other:?}"),
        }
    }
    stored.shown(schema.find_table("ks", "x").unwrap(), 100 + statements.len() as i64)
}

/// The message of the error that preparing and binding the statement ends in.
fn refused(statement: &str) -> String {
    crate::fixture::error(&tables(), statement, &[])
}

const KEY: &str = "WHERE k = 1 AND c = 2";

fn update(set: &str) -> String {
    format!("UPDATE x SET {set} {KEY}")
}

/// The row after these assignments, each an UPDATE of its own.
fn row_after(assignments: &[&str]) -> String {
    let statements: Vec<String> = assignments.iter().map(|set| update(set)).collect();
    let statements: Vec<&str> = statements.iter().map(String::as_str).collect();
    after(&statements).join("; ")
}

#[test]
fn collections_are_written_as_a_whole_and_by_element() {
    let insert =
        "INSERT INTO x (k, c, l, s, m, f, t) VALUES (1, 2, [3, 1], {'b', 'a'}, {'x': 1, 'a': 2}, [5, 4], (1, 'x'))";
    let expected = "1/2: f=[5, 4] l=[3, 1] m={\"a\": 2, \"x\": 1} s=[\"a\", \"b\"] t=[1, \"x\"]";
    assert_eq!(after(&[insert]), [expected]);
    assert_eq!(after(&[insert, insert]), [expected], "what is overwritten is gone, of lists too");
    assert_eq!(row_after(&["l = [1]", "l = l + [2, 3]", "l = [8, 9] + l", "l = [7] + l"]), "1/2: l=[7, 8, 9, 1, 2, 3]");
    assert_eq!(row_after(&["l += [1]", "l += [2]", "l = [3]"]), "1/2: l=[3]");
    assert_eq!(row_after(&["s = {'a'}", "s = s + {'b', 'c'}", "s = s - {'a', 'x'}"]), "1/2: s=[\"b\", \"c\"]");
    assert_eq!(
        row_after(&["m = {'a': 1, 'b': 2}", "m = m + {'b': 3, 'c': 4}", "m = m - {'a'}"]),
        "1/2: m={\"b\": 3, \"c\": 4}"
    );
    assert_eq!(row_after(&["m['a'] = 1, m['b'] = 2", "m['a'] = null"]), "1/2: m={\"b\": 2}");
    assert_eq!(row_after(&["m = {'a': 1}, v = 1", "m = null"]), "1/2: v=1");
    assert_eq!(row_after(&["m = {'a': 1}, v = 1", "m = {}"]), "1/2: v=1");
}

#[test]
fn user_defined_types_are_written_as_a_whole_and_by_field() {
    assert_eq!(row_after(&["u = {a: 1, b: 'x'}"]), "1/2: u={\"a\": 1, \"b\": \"x\"}");
    assert_eq!(row_after(&["u = {a: 1, b: 'x'}", "u = {b: 'y'}"]), "1/2: u={\"a\": null, \"b\": \"y\"}");
    assert_eq!(row_after(&["u = {a: 1, b: 'x'}", "u.a = 2"]), "1/2: u={\"a\": 2, \"b\": \"x\"}");
    assert_eq!(row_after(&["u.a = 2, u.b = 'z'", "u.a = null"]), "1/2: u={\"a\": null, \"b\": \"z\"}");
    assert_eq!(row_after(&["fu = {a: 1}", "v = 5"]), "1/2: fu={\"a\": 1, \"b\": null} v=5");
}

#[test]
fn elements_fields_and_columns_are_deleted() {
    let write = update("m = {'a': 1, 'b': 2}, s = {'a', 'b'}, u = {a: 1, b: 'x'}, l = [1], v = 3");
    let delete = |what: &str| after(&[&write, &format!("DELETE {what} FROM x {KEY}")]).join("; ");
    assert_eq!(delete("m['a'], s['b'], u.a, l"), "1/2: m={\"b\": 2} s=[\"a\"] u={\"a\": null, \"b\": \"x\"} v=3");
    assert_eq!(delete("m, s, u, l, v"), "", "an update leaves nothing but its cells");
}

#[test]
fn static_columns_are_the_partitions() {
    assert_eq!(after(&["INSERT INTO x (k, sv) VALUES (1, 5)"]), ["1/static: sv=5"]);
    assert_eq!(after(&["INSERT INTO x (k, c, sv) VALUES (1, 2, 5)"]), ["1/static: sv=5", "1/2:"]);
    assert_eq!(after(&["UPDATE x SET sv = 1, sm['a'] = 2 WHERE k = 1"]), ["1/static: sm={\"a\": 2} sv=1"]);
    assert_eq!(after(&["UPDATE x SET sv = 1, v = 2 WHERE k = 1 AND c = 3"]), ["1/static: sv=1", "1/3: v=2"]);
    let both = "INSERT INTO x (k, c, v, sv) VALUES (1, 2, 3, 4)";
    assert_eq!(after(&[both, "DELETE sv FROM x WHERE k = 1"]), ["1/2: v=3"]);
    assert_eq!(after(&[both, "DELETE FROM x WHERE k = 1 AND c = 2"]), ["1/static: sv=4"]);
    assert!(after(&[both, "DELETE FROM x WHERE k = 1"]).is_empty());
    let rows = "Invalid restrictions on clustering columns since the UPDATE statement modifies only static columns";
    assert_eq!(refused("UPDATE x SET sv = 1 WHERE k = 1 AND c = 2"), format!("{rows} (line 1:8)"));
    let rows = rows.replace("UPDATE", "DELETE");
    assert_eq!(refused("DELETE sv FROM x WHERE k = 1 AND c = 2"), format!("{rows} (line 1:16)"));
    assert_eq!(refused("INSERT INTO x (k) VALUES (1)"), "Some clustering keys are missing: c");
}

#[test]
fn one_statement_writes_several_rows_and_partitions() {
    let update = "UPDATE x SET v = 1 WHERE k IN (1, 2) AND c IN (3, 4)";
    assert_eq!(after(&[update]), ["1/3: v=1", "1/4: v=1", "2/3: v=1", "2/4: v=1"]);
    assert_eq!(after(&[update, "DELETE FROM x WHERE k IN (1, 2, 9) AND c IN (4, 5)"]), ["1/3: v=1", "2/3: v=1"]);
    assert_eq!(after(&[update, "DELETE FROM x WHERE k = 1 AND c > 3"]), ["1/3: v=1", "2/3: v=1", "2/4: v=1"]);
    assert_eq!(after(&[update, "DELETE v FROM x WHERE k IN (1, 2) AND c = 3"]), ["1/4: v=1", "2/4: v=1"]);
    let writes = prepare_in(&tables(), update).bind(&[], context_at(WallMicros(0))).unwrap();
    assert!(matches!(writes, Bound::Writes(writes) if writes.len() == 2), "one for each partition");
    let many: Vec<String> = (0..1_001).map(|key| key.to_string()).collect();
    let message = refused(&format!("UPDATE x SET v = 1 WHERE k IN ({}) AND c = 1", many.join(", ")));
    assert_eq!(message, "A write of 1001 partitions exceeds the maximum of 1000");
    let (keys, rows) = (many[..10].join(", "), (0..6_554).map(|row| row.to_string()).collect::<Vec<_>>().join(", "));
    let statement = format!("UPDATE x SET v = 1 WHERE k IN ({keys}) AND c IN ({rows})");
    assert_eq!(refused(&statement), "A write of 65540 rows exceeds the maximum of 65536");
    let one = format!("UPDATE x SET v = 1 WHERE k = 1 AND c IN ({rows});");
    let batch = format!("BEGIN BATCH {} APPLY BATCH", one.repeat(11));
    assert_eq!(refused(&batch), "A write of 65540 rows exceeds the maximum of 65536");
}

#[test]
fn functions_and_arithmetic_make_values() {
    assert_eq!(row_after(&["v = 1 + 2 * 3", "l = [1 + 1, -(3)]"]), "1/2: l=[2, -3] v=7");
    assert_eq!(row_after(&["v = (int) 5"]), "1/2: v=5");
}

#[test]
fn json_is_inserted() {
    let json = |text: &str, more: &str| format!("INSERT INTO x JSON '{text}'{more}");
    let whole = json(r#"{"k": 1, "c": 2, "l": [1, 2], "m": {"a": 1}, "u": {"a": 5}, "v": 3, "sv": 4}"#, "");
    let expected = ["1/static: sv=4", "1/2: l=[1, 2] m={\"a\": 1} u={\"a\": 5, \"b\": null} v=3"];
    assert_eq!(after(&[&whole]), expected);
    let less = r#"{"k": 1, "c": 2, "v": 9}"#;
    assert_eq!(after(&[&whole, &json(less, "")]), ["1/2: v=9"], "what is not named becomes null");
    assert_eq!(after(&[&whole, &json(less, " DEFAULT UNSET")]), [expected[0], &expected[1].replace("v=3", "v=9")]);
    let message = refused(&json(r#"{"k": 1, "c": 2, "nothing": 1}"#, ""));
    assert_eq!(message, "JSON values map contains unrecognized column: nothing");
    assert!(refused(&json(r#"{"k": 1, "c": 2, "v": "x"}"#, "")).starts_with("Error decoding JSON value for v: "));
    assert_eq!(refused(&json(r#"{"k": 1}"#, "")), "Invalid null value in condition for column c");
    assert!(refused(&json("{", "")).contains("JSON"), "{}", refused(&json("{", "")));
}

#[test]
fn a_batch_of_one_partition_is_one_mutation() {
    let batch = "BEGIN BATCH USING TIMESTAMP 7 INSERT INTO x (k, c, v) VALUES (1, 1, 1); \
                 INSERT INTO x (k, c, v) VALUES (1, 2, 2); \
                 UPDATE x SET sv = 3, v = 4 WHERE k = 1 AND c = 1; DELETE FROM x WHERE k = 1 AND c > 5; APPLY BATCH";
    let bound = prepare_in(&tables(), batch).bind(&[], context_at(WallMicros(0))).unwrap();
    let Bound::Write(write) = bound else { panic!("{bound:?}") };
    assert_eq!((write.timestamp(), write.highest_timestamp()), (Some(7), Some(7)));
    let mutation = write.mutation(7, WallMicros(0)).unwrap();
    assert_eq!(mutation.records.len(), 4, "deletions, the static row and two rows");
    assert_eq!(after(&[batch]), ["1/static: sv=3", "1/1: v=4", "1/2: v=2"]);
    let empty = prepare_in(&tables(), "BEGIN BATCH APPLY BATCH").bind(&[], context_at(WallMicros(0))).unwrap();
    assert!(matches!(empty, Bound::Batch { writes, .. } if writes.is_empty()));
}

#[test]
fn statements_of_a_batch_have_their_own_timestamps() {
    let batch = "BEGIN UNLOGGED BATCH INSERT INTO x (k, c, v) VALUES (1, 1, 1) USING TIMESTAMP 200000000; \
                 UPDATE x SET v = 2 WHERE k = 1 AND c = 1; APPLY BATCH";
    assert_eq!(after(&[batch]), ["1/1: v=1"], "the larger timestamp wins");
    let bound = prepare_in(&tables(), batch).bind(&[], context_at(WallMicros(0))).unwrap();
    let Bound::Write(write) = bound else { panic!("{bound:?}") };
    assert_eq!((write.timestamp(), write.highest_timestamp()), (None, Some(200_000_000)));
}

#[test]
fn batches_of_several_partitions() {
    let of = |kind: &str| {
        format!(
            "BEGIN {kind} BATCH INSERT INTO x (k, c, v) VALUES (1, 1, 1); INSERT INTO y (k, v) VALUES (1, 5); \
                 INSERT INTO x (k, c, v) VALUES (2, 1, 1); INSERT INTO x (k, c, v) VALUES (1, 2, 2); APPLY BATCH"
        )
    };
    let bound = prepare_in(&tables(), &of("UNLOGGED")).bind(&[], context_at(WallMicros(0))).unwrap();
    assert_eq!(bound.warnings(BatchLimits::default()), Ok(Vec::new()));
    let Bound::Batch { writes, .. } = bound else { panic!("{bound:?}") };
    let counts: Vec<usize> =
        writes.iter().map(|write| write.mutation(1, WallMicros(1)).unwrap().records.len()).collect();
    assert_eq!(counts, [2, 1, 1], "one for each partition of each table");
    let logged = prepare_in(&tables(), &of("")).bind(&[], context_at(WallMicros(0))).unwrap();
    assert!(matches!(logged, Bound::Batch { kind: crate::BatchKind::Logged, writes } if writes.len() == 3));
}

/// The increments of a write, by row and column.
fn increments(text: &str, values: &[BoundValue]) -> Result<Vec<i64>, RequestError> {
    let schema = schema(&[
        "CREATE KEYSPACE ks WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
        "CREATE TABLE ks.m (k int, c int, x counter, y counter, z counter static, PRIMARY KEY (k, c))",
    ]);
    let bound = prepare(text, &schema, Some("ks"))?.bind(values, context_at(WallMicros(0)))?;
    let Bound::Write(write) = bound else { panic!("{bound:?}") };
    let mutation = write.mutation(7, WallMicros(0))?;
    let (mut found, counts) = (Vec::new(), write.counts());
    for record in mutation.records.iter().filter(|record| record.key != RecordKey::Deletions) {
        let row = Row::from_bytes(&record.value).unwrap();
        assert!(counts || !model::counter::has_increments(&row));
        let shards = row.complex().iter().flat_map(|(_, column)| model::counter::shards(column));
        found.extend(shards.map(|shard| {
            assert_eq!((shard.node, shard.clock), (model::counter::NOBODY, 7));
            shard.count
        }));
    }
    Ok(found)
}

#[test]
fn counters_are_added_to_once_for_each_row_and_column() {
    let bigint = |value: i64| BoundValue::Value(Bytes::copy_from_slice(&value.to_be_bytes()));
    let counted = |text: &str| increments(text, &[]).unwrap();
    assert_eq!(counted("UPDATE m SET x = x + 5, y -= 2, z = z - -3 WHERE k = 1 AND c = 1"), [3, 5, -2]);
    let batch = |last: &str| {
        format!(
            "BEGIN COUNTER BATCH UPDATE m SET x = x + 5 WHERE k = 1 AND c = 1; UPDATE m SET x = x - 7 WHERE k = 1 AND \
             c = 1; UPDATE m SET x = x + 1 WHERE k = 1 AND c = 2; {last} APPLY BATCH"
        )
    };
    assert_eq!(counted(&batch("")), [-2, 1]);
    // A deletion of the same batch wins.
    assert_eq!(counted(&batch("DELETE FROM m WHERE k = 1 AND c = 1;")), [1]);
    assert_eq!(counted(&batch("DELETE FROM m WHERE k = 1 AND c < 2;")), [1]);
    assert_eq!(counted(&batch("DELETE x FROM m WHERE k = 1 AND c = 2;")), [-2]);
    let bound = "UPDATE m SET x = x - ? WHERE k = 1 AND c = 1";
    assert_eq!(increments(bound, &[bigint(4)]).unwrap(), [-4]);
    assert_eq!(increments(bound, &[BoundValue::Unset]).unwrap(), []);
    for (value, expected) in [
        (BoundValue::Null, "Invalid null value for counter increment"),
        (bigint(i64::MIN), "The negation of -9223372036854775808 overflows supported counter precision"),
    ] {
        let error = increments(bound, &[value]).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
    let schema = tables();
    assert!(!prepare("UPDATE n SET x = x + 1 WHERE k = 1", &schema, Some("ks")).unwrap().is_idempotent());
    assert!(prepare("DELETE x FROM n WHERE k = 1", &schema, Some("ks")).unwrap().is_idempotent());
}

#[test]
fn statements_that_were_bound_one_by_one_keep_to_the_kind_of_their_batch() {
    let bound = |text: &str| prepare_in(&tables(), text).bind(&[], context_at(WallMicros(0))).unwrap();
    let (count, insert) = ("UPDATE n SET x = x + 1 WHERE k = 1", "INSERT INTO y (k, v) VALUES (1, 5)");
    let refused = |texts: &[&str], kind| {
        Bound::batch(texts.iter().map(|text| bound(text)).collect(), kind).unwrap_err().to_string()
    };
    use crate::BatchKind::{Counter, Logged, Unlogged};
    assert_eq!(refused(&[insert], Counter), "Cannot include non-counter statement in a counter batch");
    assert_eq!(refused(&[count], Logged), "Cannot include a counter statement in a logged batch");
    let mixed = "Counter and non-counter mutations cannot exist in the same batch";
    assert_eq!(refused(&[count, insert], Unlogged), mixed);
    for kind in [Counter, Unlogged] {
        assert!(matches!(Bound::batch(vec![bound(count)], kind), Ok(Bound::Write(_))));
    }
}

#[test]
fn batches_that_are_too_large_are_refused_and_large_writes_of_one_partition_are_not() {
    let batch = |kind: &str, keys: [i32; 2]| {
        let insert = |key| format!("INSERT INTO x (k, c, m) VALUES ({key}, 1, {{'{}': 1}});", "a".repeat(26 * 1024));
        let batch = format!("BEGIN {kind} BATCH {} {} APPLY BATCH", insert(keys[0]), insert(keys[1]));
        prepare_in(&tables(), &batch).bind(&[], context_at(WallMicros(0))).unwrap()
    };
    let limits = BatchLimits::default();
    for kind in ["", "UNLOGGED"] {
        let refused = batch(kind, [1, 2]).warnings(limits).unwrap_err().to_string();
        assert!(refused.starts_with("Batch too large: 52.0"), "{refused}");
        assert!(refused.ends_with("KiB in 2 partitions, more than batch_max_kb, 50.000KiB"), "{refused}");
        assert!(batch(kind, [1, 1]).warnings(limits).is_ok());
        let more = BatchLimits { bytes_max: 60 * 1024, ..limits };
        assert_eq!(batch(kind, [1, 2]).warnings(more).unwrap().len(), 1, "a warning is left");
        let enough = BatchLimits { bytes_warned: 60 * 1024, ..more };
        assert_eq!(batch(kind, [1, 2]).warnings(enough), Ok(Vec::new()));
    }
}

#[test]
fn large_batches_over_several_partitions_are_answered_with_warnings() {
    let warnings = |partitions: usize, bytes: usize| {
        let insert = |key| format!("INSERT INTO x (k, c, m) VALUES ({key}, 1, {{'{}': 1}});", "a".repeat(bytes));
        let inserts: String = (0..partitions).map(insert).collect();
        let batch = format!("BEGIN UNLOGGED BATCH {inserts} APPLY BATCH");
        prepare_in(&tables(), &batch)
            .bind(&[], context_at(WallMicros(0)))
            .unwrap()
            .warnings(BatchLimits::default())
            .unwrap()
    };
    assert_eq!(warnings(10, 10), [""; 0]);
    let [many] = &warnings(11, 10)[..] else { panic!("one warning") };
    let expected = "Unlogged batch covering 11 partitions detected against table [ks.x]. You should use a logged batch";
    assert!(many.starts_with(expected), "{many}");
    assert_eq!(warnings(1, 10_000), [""; 0], "one partition is one mutation");
    let [large] = &warnings(2, 2_600)[..] else { panic!("one warning") };
    assert!(large.starts_with("Batch for [ks.x] is of size 5.1"), "{large}");
    assert!(large.contains("KiB, exceeding specified threshold of 5.000KiB by 0.1"), "{large}");
}

#[test]
fn what_a_write_may_not_say_is_refused_in_the_words_of_cassandra() {
    let mut wrong = Vec::new();
    for (statement, expected) in crate::fixture::cases(include_str!("../testdata/modification.txt")) {
        let message = refused(statement);
        if !message.starts_with(expected) {
            wrong.push(format!("{statement}: {message}, expected {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn prepared_statements_know_what_they_are() {
    let schema = tables();
    let is_idempotent = |statement: &str| prepare_in(&schema, statement).is_idempotent();
    assert!(is_idempotent(&update("m = m + {'a': 1}, s = s - {'b'}, v = 1")));
    assert!(!is_idempotent(&update("l = l + [1]")));
    assert!(!is_idempotent(&format!("BEGIN BATCH {} APPLY BATCH", update("l = [1] + l"))));
    let prepared = prepare_in(&schema, &update("v = 1"));
    assert!(prepared.is_current(&schema));
    assert!(!prepared.is_current(&tables()), "the tables are others");
    let marked = prepare_in(&schema, "UPDATE x SET m[?] = ?, u.b = ?, l = ? + l, s = s - ? WHERE k = ? AND c IN ?");
    let shown: Vec<String> =
        marked.parameters().iter().map(|parameter| format!("{} {}", parameter.name, parameter.cql_type)).collect();
    let expected = ["key(m) text", "value(m) int", "u.b text", "l list<int>", "s set<text>", "k int"];
    assert_eq!(shown[..6], expected);
    assert_eq!(marked.partition_key_indexes(), [5]);
}
