//! What EXPLAIN says of statements.

use super::*;
use crate::fixture::{context, error, prepare_in, sample, schema};
use model::schema::Schema;

fn tables() -> Schema {
    schema(&[
        "CREATE KEYSPACE ks WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
        "CREATE TABLE ks.w (p int, c int, d text, s int STATIC, v int, m map<text, int>, PRIMARY KEY (p, c, d))",
        "CREATE TABLE ks.t (k int PRIMARY KEY, v text)",
    ])
}

fn explained(statement: &str) -> BoundExplain {
    let bound = prepare_in(&tables(), statement).bind(&[], context());
    match bound.unwrap_or_else(|error| panic!("{statement}: {error}")) {
        Bound::Explain(explain) => explain,
        other => panic!("{statement}: {other:?}"),
    }
}

/// The stages but for that of the table, as `stage: detail`.
fn stages(statement: &str) -> Vec<String> {
    let explain = explained(&format!("EXPLAIN {statement}"));
    let stages = explain.stages().into_iter().filter(|stage| stage.stage != "table");
    stages.map(|stage| format!("{}: {}", stage.stage, stage.detail)).collect()
}

const UNFILTERED: &str = "filter: none: every row that is read counts";

#[test]
fn reads_say_what_they_visit() {
    let cases: [(&str, &[&str]); 7] = [
        (
            "SELECT * FROM t WHERE k = 1",
            &["partitions: 1 partition, by key", "rows: the one row of a partition", UNFILTERED],
        ),
        (
            "SELECT v FROM w WHERE p IN (1, 2) AND c > 1 ORDER BY c DESC, d ASC",
            &[
                "partitions: 2 partitions, by key",
                "rows: 1 range of a partition's rows, from the last to the first",
                UNFILTERED,
                "sort: the rows of all partitions by c DESC, d DESC, in one page",
            ],
        ),
        (
            "SELECT v FROM w WHERE p = 1 AND c = 1 AND d IN ('a', 'b') LIMIT 1",
            &[
                "partitions: 1 partition, by key",
                "rows: 2 rows of a partition, by key",
                UNFILTERED,
                "limit: 1 row of the result",
            ],
        ),
        (
            "SELECT v FROM w WHERE v = 3 AND m['a'] = 1 AND d LIKE 'x%' ALLOW FILTERING",
            &[
                "partitions: all partitions of the table",
                "rows: all of a partition",
                "filter: d LIKE 'x%': rows that it leaves out are read too",
                "filter: v = 3: rows that it leaves out are read too",
                "filter: m['a'] = 1: rows that it leaves out are read too",
            ],
        ),
        (
            "SELECT DISTINCT p FROM w WHERE token(p) > 5 AND token(p) <= 9",
            &[
                "partitions: the partitions with tokens above 5 up to 9",
                "rows: all of a partition",
                UNFILTERED,
                "group: one row of each partition",
            ],
        ),
        (
            "SELECT p, c, count(*), max(v) FROM w GROUP BY p, c PER PARTITION LIMIT 2",
            &[
                "partitions: all partitions of the table",
                "rows: all of a partition",
                UNFILTERED,
                "group: rows with the same p, c",
                "aggregate: count(*), max",
                "limit: 2 rows of each partition",
            ],
        ),
        (
            "SELECT v FROM w WHERE p = 1 AND c > 1 AND c < 1",
            &["partitions: none: no row can match", "rows: none", UNFILTERED],
        ),
    ];
    for (statement, expected) in cases {
        let statement = statement.replace(", d ASC", ", d DESC");
        assert_eq!(stages(&statement), expected, "{statement}");
    }
}

#[test]
fn writes_say_what_they_change() {
    let cases: [(&str, &[&str]); 5] = [
        ("INSERT INTO t (k, v) VALUES (1, 'a')", &["write: ks.t: inserts rows: 1, as a whole"]),
        (
            "UPDATE w SET v = 1, s = 2 WHERE p IN (1, 2) AND c = 1 AND d = 'a'",
            &["write: ks.w: updates static columns, rows: 1, as a whole"; 2],
        ),
        ("DELETE FROM w WHERE p = 1 AND c > 1", &["write: ks.w: deletes row ranges: 1, as a whole"]),
        ("DELETE FROM w WHERE p = 1", &["write: ks.w: deletes partitions: 1, as a whole"]),
        (
            "BEGIN BATCH INSERT INTO t (k) VALUES (1); DELETE v FROM t WHERE k = 1; APPLY BATCH",
            &["write: ks.t: inserts rows: 1; updates rows: 1, as a whole"],
        ),
    ];
    for (statement, expected) in cases {
        assert_eq!(stages(statement), expected, "{statement}");
    }
}

#[test]
fn explain_is_a_read_wherever_its_statement_goes() {
    let prepared = prepare_in(&tables(), "EXPLAIN INSERT INTO t (k) VALUES (?)");
    assert_eq!((prepared.kind(), prepared.is_idempotent()), (crate::PreparedKind::Read, true));
    assert_eq!(prepared.partition_key_indexes(), [0]);
    assert_eq!(prepared.table().map(|table| table.name.as_str()), Some("t"));
    let refused = error(&sample(), "EXPLAIN DROP TABLE t", &[]);
    assert!(refused.contains("no viable alternative"), "{refused}");
}

#[test]
fn explain_analyze_is_repeated_no_more_lightly_than_its_statement() {
    let is_idempotent = |statement: &str| {
        let prepared = prepare_in(&tables(), &format!("EXPLAIN ANALYZE {statement}"));
        assert_eq!(prepared.kind(), crate::PreparedKind::Read);
        assert_eq!(prepared.result_columns().len(), 6);
        prepared.is_idempotent()
    };
    assert!(is_idempotent("SELECT * FROM t WHERE k = ?"));
    assert!(is_idempotent("INSERT INTO t (k) VALUES (?)"));
    assert!(!is_idempotent("INSERT INTO t (k, v) VALUES (1, CAST(now() AS text))"));
}

#[test]
fn explain_analyze_warns_as_its_statement_does() {
    let warnings = |explain: &str| {
        let statement = format!("{explain} SELECT count(*) FROM t");
        prepare_in(&tables(), &statement).bind(&[], context()).unwrap().warnings(crate::BatchLimits::default()).unwrap()
    };
    assert_eq!(warnings("EXPLAIN"), [""; 0]);
    assert_eq!(warnings("EXPLAIN ANALYZE"), ["Aggregation query used without partition key"]);
}

#[test]
fn a_stage_has_a_value_for_each_column() {
    let shown = |stage: &Stage, analyze: bool| -> Vec<String> {
        let (columns, values) = (columns(analyze), stage.values(analyze));
        assert_eq!(values.len(), columns.len());
        let text = |(column, value): (&ColumnSpec, &Option<Bytes>)| match value {
            None => "null".to_owned(),
            Some(wire) => Value::from_wire(&column.cql_type, wire).unwrap().to_string(),
        };
        columns.iter().zip(&values).map(text).collect()
    };
    let stage = Stage { replicas: Some(vec!["a:1".to_owned()]), ..Stage::new("read", "all") };
    assert_eq!(shown(&stage, false), ["read", "all", "['a:1']"]);
    let measured = Measured { rows: Some(7), tombstones: Some(0), microseconds: Some(u64::MAX) };
    let stage = Stage::measured("read", "all", measured);
    assert_eq!(shown(&stage, true), ["read", "all", "null", "7", "0", &i64::MAX.to_string()]);
    assert_eq!(shown(&Stage::new("table", "t"), true)[3..], ["null"; 3]);
}
