//! What is read for conditions, what follows from it, and what the results show.

use super::*;
use crate::fixture::{context, schema};
use crate::{Bound, prepare};
use model::codec::Decode;
use model::row::Cell;
use model::schema::Schema;
use model::{Record, RecordKey};

const NOW: WallMicros = WallMicros(1_709_210_096_789_000);
const AT: i64 = 1_709_210_096_789_123;

fn tables() -> Schema {
    schema(&[
        "CREATE KEYSPACE ks WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
        "CREATE TABLE ks.t (k int, c int, v int, w int, s int STATIC, PRIMARY KEY (k, c))",
        "CREATE TABLE ks.l (k int PRIMARY KEY, l list<int>)",
        "CREATE TABLE ks.u (k int PRIMARY KEY, v int)",
    ])
}

fn bound(schema: &Schema, statement: &str) -> Result<Bound, RequestError> {
    prepare(statement, schema, Some("ks"))?.bind(&[], context())
}

fn conditional(schema: &Schema, statement: &str) -> ConditionalWrite {
    match bound(schema, statement) {
        Ok(Bound::Conditional(conditional)) => conditional,
        other => panic!("{statement}: {other:?}"),
    }
}

/// The static row and the rows of a partition after these statements, one microsecond after the other.
#[derive(Default)]
struct Partition {
    static_row: Row,
    rows: BTreeMap<Bytes, Row>,
}

impl Partition {
    fn of(schema: &Schema, statements: &[&str]) -> Partition {
        let mut partition = Partition::default();
        for (statement, at) in statements.iter().zip(1..) {
            let Ok(Bound::Write(write)) = bound(schema, statement) else { panic!("{statement}") };
            partition.apply(write.mutation(at, NOW).unwrap().records);
        }
        partition
    }

    fn apply(&mut self, records: Vec<Record>) {
        for Record { key, value } in records {
            let row = Row::from_bytes(&value);
            match key {
                RecordKey::Static => self.static_row = std::mem::take(&mut self.static_row).merge(row.unwrap()),
                RecordKey::Row(at) => {
                    let before = self.rows.remove(&at).unwrap_or_default();
                    self.rows.insert(at, before.merge(row.unwrap()));
                }
                RecordKey::Deletions => panic!("nothing deletes ranges here"),
            }
        }
    }

    fn decide(&self, conditional: &ConditionalWrite) -> Decision {
        let command = conditional.command(100, NOW);
        let wanted = |at: &Bytes| command.slices.iter().any(|slice| slice.contains(at));
        let rows = self.rows.iter().filter(|(at, _)| wanted(at)).take(command.row_limit as usize);
        let rows: Vec<(Bytes, Row)> = rows.map(|(at, row)| (at.clone(), row.clone())).collect();
        conditional.decide(&self.static_row, &rows, NOW, AT).unwrap()
    }
}

/// `applied`, or the names of the columns and the rows of the refusal.
fn answer(statements: &[&str], statement: &str) -> String {
    let schema = tables();
    let conditional = conditional(&schema, statement);
    match Partition::of(&schema, statements).decide(&conditional) {
        Decision::Apply(_) => "applied".to_owned(),
        Decision::Refuse(ConditionalResult { columns, rows }) => {
            let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
            let value = |(column, value): (&ColumnSpec, &Option<Bytes>)| match value {
                Some(wire) => Value::from_wire(&column.cql_type, wire).unwrap().to_string(),
                None => "null".to_owned(),
            };
            let row = |row: &Vec<Option<Bytes>>| columns.iter().zip(row).map(value).collect::<Vec<_>>().join(" ");
            format!("{}: {}", names.join(" "), rows.iter().map(row).collect::<Vec<_>>().join("; "))
        }
    }
}

const ROW: &str = "INSERT INTO t (k, c, v, w) VALUES (1, 1, 5, 6)";
const STATIC: &str = "INSERT INTO t (k, s) VALUES (1, 9)";

#[test]
fn a_refusal_of_a_condition_shows_what_the_condition_asks_for() {
    let update = |condition: &str| format!("UPDATE t SET v = 7 WHERE k = 1 AND c = 1 IF {condition}");
    assert_eq!(answer(&[ROW], &update("v = 5")), "applied");
    assert_eq!(answer(&[ROW], &update("v = 4")), "[applied] v: False 5");
    assert_eq!(answer(&[ROW, STATIC], &update("s = 1 AND w = 1 AND v = 4")), "[applied] w v s: False 6 5 9");
    // Nothing is there: nothing is shown.
    assert_eq!(answer(&[], &update("v = 4")), "[applied]: False");
    assert_eq!(answer(&[STATIC], &update("v = 4")), "[applied]: False");
    assert_eq!(answer(&[STATIC], &update("v = 4 AND s = 9")), "[applied] v s: False null 9");
    // A row that is there is shown, even if nothing that is asked for is.
    assert_eq!(answer(&["INSERT INTO t (k, c) VALUES (1, 1)"], &update("v = 4")), "[applied] v: False null");
    assert_eq!(answer(&["UPDATE t SET w = 1 WHERE k = 1 AND c = 1"], &update("v = 4")), "[applied]: False");
}

#[test]
fn a_refusal_of_existence_shows_the_whole_row() {
    let insert = "INSERT INTO t (k, c, v) VALUES (1, 1, 7) IF NOT EXISTS";
    assert_eq!(answer(&[], insert), "applied");
    assert_eq!(answer(&[STATIC], insert), "applied");
    // Static columns are read only for what changes some.
    assert_eq!(answer(&[ROW, STATIC], insert), "[applied] k c s v w: False 1 1 null 5 6");
    let both = "INSERT INTO t (k, c, s) VALUES (1, 1, 7) IF NOT EXISTS";
    assert_eq!(answer(&[ROW, STATIC], both), "[applied] k c s v w: False 1 1 9 5 6");
    assert_eq!(answer(&[], "DELETE FROM t WHERE k = 1 AND c = 1 IF EXISTS"), "[applied]: False");
    assert_eq!(answer(&[ROW], "DELETE FROM t WHERE k = 1 AND c = 1 IF EXISTS"), "applied");
}

#[test]
fn what_changes_static_columns_alone_is_about_the_static_row() {
    let insert = "INSERT INTO t (k, s) VALUES (1, 7) IF NOT EXISTS";
    assert_eq!(answer(&[ROW], insert), "applied");
    assert_eq!(answer(&[STATIC], insert), "[applied] k c s v w: False 1 null 9 null null");
    assert_eq!(answer(&[STATIC, ROW], insert), "[applied] k c s v w: False 1 1 9 null null");
    let update = "UPDATE t SET s = 1 WHERE k = 1 IF s = null";
    assert_eq!(answer(&[ROW], update), "applied");
    assert_eq!(answer(&[STATIC, ROW], update), "[applied] s: False 9");
    assert_eq!(answer(&[STATIC], "UPDATE t SET s = 1 WHERE k = 1 AND c = 1 IF v = 5"), "[applied]: False");
    assert_eq!(answer(&[ROW], "UPDATE t SET s = 1 WHERE k = 1 AND c = 1 IF v = 5"), "applied");
}

#[test]
fn a_batch_is_applied_when_all_its_conditions_hold_and_shows_all_its_rows() {
    let batch = |statements: &str| format!("BEGIN BATCH {statements} APPLY BATCH");
    let (first, second) = ("UPDATE t SET v = 1 WHERE k = 1 AND c = 1 IF v = 5", "DELETE FROM t WHERE k = 1 AND c > 5");
    assert_eq!(answer(&[ROW], &batch(&format!("{first}; {second};"))), "applied");
    let third = "UPDATE t SET w = 1 WHERE k = 1 AND c = 2 IF w = 2";
    assert_eq!(answer(&[ROW], &batch(&format!("{first}; {third};"))), "[applied] k c v w: False 1 1 5 6");
    let fourth = "INSERT INTO t (k, c) VALUES (1, 3) IF NOT EXISTS";
    assert_eq!(answer(&[ROW], &batch(&format!("{third}; {fourth};"))), "[applied]: False");
    assert_eq!(
        answer(&[STATIC], &batch("UPDATE t SET s = 1 WHERE k = 1 IF s = 2;")),
        "[applied] k c s: False 1 null 9"
    );
}

#[test]
fn batches_that_contradict_themselves_are_refused() {
    let schema = tables();
    let refused = |statements: &str| bound(&schema, &format!("BEGIN BATCH {statements} APPLY BATCH")).unwrap_err();
    let cases = [
        (
            "INSERT INTO t (k, c) VALUES (1, 1) IF NOT EXISTS; DELETE FROM t WHERE k = 1 AND c = 1 IF EXISTS;",
            "Cannot mix IF EXISTS and IF NOT EXISTS conditions for the same row",
        ),
        (
            "INSERT INTO t (k, c) VALUES (1, 1) IF NOT EXISTS; UPDATE t SET v = 1 WHERE k = 1 AND c = 1 IF v = 2;",
            "Cannot mix IF conditions and IF NOT EXISTS for the same row",
        ),
        (
            "UPDATE t SET v = 1 WHERE k = 1 AND c = 1 IF v = 2; DELETE FROM t WHERE k = 1 AND c = 1 IF EXISTS;",
            "Cannot mix IF conditions and IF EXISTS for the same row",
        ),
        (
            "INSERT INTO t (k, c) VALUES (1, 1) IF NOT EXISTS; INSERT INTO t (k, c) VALUES (2, 1);",
            "Batch with conditions cannot span multiple partitions",
        ),
        (
            "INSERT INTO t (k, c) VALUES (1, 1) IF NOT EXISTS; INSERT INTO u (k) VALUES (1);",
            "Batch with conditions cannot span multiple tables",
        ),
        (
            "INSERT INTO t (k, c) VALUES (1, 1) IF NOT EXISTS; INSERT INTO t (k, c) VALUES (1, 2) USING TIMESTAMP 1;",
            "Cannot provide custom timestamp for conditional BATCH",
        ),
    ];
    for (statements, message) in cases {
        let error = refused(statements).to_string();
        assert!(error.contains(message), "{statements}: {error}");
    }
}

#[test]
fn a_batch_of_prepared_statements_is_the_same_batch() {
    let schema = tables();
    let one = bound(&schema, "UPDATE t SET v = 1 WHERE k = 1 AND c = 1 IF v = 5").unwrap();
    let two = bound(&schema, "UPDATE t SET w = 1 WHERE k = 1 AND c = 2").unwrap();
    let text = "BEGIN BATCH UPDATE t SET v = 1 WHERE k = 1 AND c = 1 IF v = 5; \
                UPDATE t SET w = 1 WHERE k = 1 AND c = 2; APPLY BATCH";
    let Ok(Bound::Conditional(batch)) = Bound::batch(vec![one, two], crate::BatchKind::Logged) else {
        panic!("it is conditional")
    };
    assert_eq!(batch, conditional(&schema, text));
}

#[test]
fn what_is_added_to_lists_is_in_the_order_of_the_timestamps_whatever_the_clock_said() {
    let schema = tables();
    let list = |statement: &str, at: i64, partition: &mut Partition| {
        let conditional = conditional(&schema, statement);
        let rows: Vec<(Bytes, Row)> = partition.rows.iter().map(|(at, row)| (at.clone(), row.clone())).collect();
        let Ok(Decision::Apply(write)) = conditional.decide(&Row::default(), &rows, NOW, at) else {
            panic!("{statement} is applied")
        };
        partition.apply(write.mutation(at, NOW).unwrap().records);
    };
    let mut partition = Partition::of(&schema, &["INSERT INTO l (k) VALUES (1)"]);
    // All are bound by a clock that stands still; the later timestamp goes behind, or before.
    list("UPDATE l SET l = l + [3, 4] WHERE k = 1 IF EXISTS", AT + 1, &mut partition);
    list("UPDATE l SET l = [2] + l WHERE k = 1 IF EXISTS", AT + 2, &mut partition);
    list("UPDATE l SET l = l + [5] WHERE k = 1 IF EXISTS", AT + 3, &mut partition);
    list("UPDATE l SET l = [0, 1] + l WHERE k = 1 IF EXISTS", AT + 4, &mut partition);
    list("UPDATE l SET l[5] = 6 WHERE k = 1 IF EXISTS", AT + 5, &mut partition);
    let column = &schema.find_table("ks", "l").unwrap().columns[1];
    let row = partition.rows.values().next();
    let wire = column_value(column, row, 0).unwrap().unwrap();
    assert_eq!(Value::from_wire(&column.cql_type, &wire).unwrap().to_string(), "[0, 1, 2, 3, 4, 6]");
    let cells: Vec<&Cell> =
        row.unwrap().complex_column(column.id).unwrap().cells().iter().map(|(_, cell)| cell).collect();
    assert_eq!(cells.len(), 6);
}
