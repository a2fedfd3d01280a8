//! What CHECK refuses, in every kind of statement that writes; how constraints are altered, described and kept.

use crate::describe::describe_table;
use crate::fixture::{bound, context, error, int, prepare_in, request_in, schema, table, text};
use crate::{Bound, BoundValue, prepare};
use model::schema::Schema;
use model::{TableId, WallMicros};

const KEYSPACE: &str = "CREATE KEYSPACE ks WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}";

fn with(definition: &str) -> Schema {
    schema(&[KEYSPACE, definition])
}

/// The message of the error that the definition of a table of these columns ends in.
fn refused(columns: &str) -> String {
    error(&schema(&[KEYSPACE]), &format!("CREATE TABLE ks.t ({columns})"), &[])
}

fn is_written(schema: &Schema, statement: &str) -> bool {
    let bound = prepare(statement, schema, Some("ks")).and_then(|prepared| prepared.bind(&[], context()));
    matches!(bound, Ok(Bound::Write(_) | Bound::Writes(_) | Bound::Batch { .. } | Bound::Conditional(_)))
}

#[test]
fn numbers_are_compared_in_every_kind_of_statement() {
    let schema = with("CREATE TABLE ks.t (k int PRIMARY KEY, v int CHECK v >= 10 AND v < 20, w decimal CHECK w != 1)");
    let low = "Column value does not satisfy value constraint for column 'v'. It should be v >= 10";
    let high = "Column value does not satisfy value constraint for column 'v'. It should be v < 20";
    for (value, expected) in [("9", low), ("20", high)] {
        for statement in [
            format!("INSERT INTO t (k, v) VALUES (1, {value})"),
            format!("INSERT INTO t (k, v) VALUES (1, {value}) IF NOT EXISTS"),
            format!("INSERT INTO t JSON '{{\"k\": 1, \"v\": {value}, \"w\": 2}}'"),
            format!("UPDATE t SET v = {value} WHERE k = 1"),
            format!("UPDATE t SET v = {value} WHERE k = 1 IF v = 11"),
            format!("BEGIN BATCH UPDATE t SET v = {value} WHERE k = 1 APPLY BATCH"),
        ] {
            assert_eq!(error(&schema, &statement, &[]), expected, "{statement}");
            assert!(
                is_written(
                    &schema,
                    &statement
                        .replace(&format!("= {value}"), "= 15")
                        .replace(&format!(", {value})"), ", 15)")
                        .replace(&format!("\"v\": {value}"), "\"v\": 15")
                ),
                "{statement}"
            );
        }
        let prepared = prepare_in(&schema, "INSERT INTO t (k, v) VALUES (?, ?)");
        let values = [bound(int(1)), bound(int(value.parse().unwrap()))];
        assert_eq!(prepared.bind(&values, context()).unwrap_err().to_string(), expected);
        assert!(prepared.bind(&[bound(int(1)), bound(int(15))], context()).is_ok());
        assert!(prepared.bind(&[bound(int(1)), BoundValue::Unset], context()).is_ok());
    }
    let null = "Column value does not satisfy value constraint for column 'v' as it is null.";
    assert_eq!(error(&schema, "INSERT INTO t (k, v) VALUES (1, null)", &[]), null);
    assert!(is_written(&schema, "INSERT INTO t (k) VALUES (1)"));
    assert!(is_written(&schema, "DELETE v FROM t WHERE k = 1"));
    assert!(is_written(&schema, "DELETE FROM t WHERE k = 1"));
    let equal = "Column value does not satisfy value constraint for column 'w'. It should be w != 1";
    assert_eq!(error(&schema, "UPDATE t SET w = 1.00 WHERE k = 1", &[]), equal);
}

#[test]
fn keys_are_asked_too() {
    let schema = with(
        "CREATE TABLE ks.t (p int CHECK p > 0, q text, c text CHECK LENGTH() = 2, v int, PRIMARY KEY ((p, q), c)) \
         WITH CLUSTERING ORDER BY (c DESC)",
    );
    assert!(is_written(&schema, "INSERT INTO t (p, q, c, v) VALUES (1, '', 'äö', 1)"));
    let partition = "Column value does not satisfy value constraint for column 'p'. It should be p > 0";
    let clustering = "Column value does not satisfy value constraint for column 'c'. It has a length of 3 and \
                      it should be = 2";
    assert_eq!(error(&schema, "INSERT INTO t (p, q, c) VALUES (0, '', 'ab')", &[]), partition);
    assert_eq!(error(&schema, "UPDATE t SET v = 1 WHERE p IN (1, 0) AND q = '' AND c = 'ab'", &[]), partition);
    assert_eq!(error(&schema, "UPDATE t SET v = 1 WHERE p = 1 AND q = '' AND c IN ('ab', 'abc')", &[]), clustering);
    // What was written before there was a constraint can be deleted.
    assert!(is_written(&schema, "DELETE FROM t WHERE p = 0 AND q = '' AND c = 'abc'"));
    assert!(is_written(&schema, "DELETE v FROM t WHERE p = 0 AND q = '' AND c = 'abc'"));
}

#[test]
fn texts_and_blobs_are_asked_for_their_lengths_and_forms() {
    let schema = with(
        "CREATE TABLE ks.t (k int PRIMARY KEY, a text CHECK OCTET_LENGTH() <= 4, b blob CHECK LENGTH(b) < 3, \
         r ascii CHECK REGEXP() = '[a-c]+' AND REGEXP(r) != 'abc', j text CHECK JSON)",
    );
    for (column, good, bad, message) in [
        ("a", "'fño'", "'fñoo'", "It has a length of 5 and it should be <= 4"),
        ("a", "''", "'fooba'", "It has a length of 5 and it should be <= 4"),
        ("b", "0x0102", "0x010203", "It has a length of 3 and it should be < 3"),
        ("r", "'cab'", "'cabd'", "The value does not match regular expression '[a-c]+'"),
        ("r", "'ab'", "'abc'", "The value matches regular expression 'abc'"),
        ("j", "'{\"a\": [1]}'", "'{a: 1}'", "It is not valid JSON"),
    ] {
        let expected = format!("Column value does not satisfy value constraint for column '{column}'. {message}");
        assert!(is_written(&schema, &format!("UPDATE t SET {column} = {good} WHERE k = 1")), "{good}");
        assert_eq!(error(&schema, &format!("UPDATE t SET {column} = {bad} WHERE k = 1"), &[]), expected);
    }
}

#[test]
fn what_is_not_null_is_given_by_every_statement_that_writes_its_row() {
    let schema = with(
        "CREATE TABLE ks.t (k int, c int, v int NOT NULL, w int, l list<int> CHECK NOT NULL, s int STATIC CHECK \
         NOT NULL, x int STATIC, PRIMARY KEY (k, c))",
    );
    assert!(is_written(&schema, "INSERT INTO t (k, c, v, l) VALUES (1, 1, 1, [1])"));
    assert!(is_written(&schema, "UPDATE t SET v = 1, l = l + [1] WHERE k = 1 AND c = 1"));
    assert!(is_written(&schema, "UPDATE t SET s = 1 WHERE k = 1"));
    assert!(is_written(&schema, "INSERT INTO t (k, s) VALUES (1, 1)"));
    assert!(is_written(&schema, "DELETE w, x FROM t WHERE k = 1 AND c = 1"));
    let missing = |column: &str| format!("Column '{column}' has to be specified as part of this query.");
    let null =
        |column: &str| format!("Column value does not satisfy value constraint for column '{column}' as it is null.");
    for (statement, expected) in [
        ("INSERT INTO t (k, c, v) VALUES (1, 1, 1)", missing("l")),
        ("INSERT INTO t (k, c) VALUES (1, 1)", missing("l")),
        ("UPDATE t SET w = 1 WHERE k = 1 AND c = 1", missing("l")),
        ("UPDATE t SET x = 1 WHERE k = 1", missing("s")),
        ("INSERT INTO t JSON '{\"k\": 1, \"c\": 1, \"v\": 1, \"l\": [1]}'", null("s")),
        ("INSERT INTO t (k, c, v, l) VALUES (1, 1, null, [1])", null("v")),
        ("INSERT INTO t (k, c, v, l) VALUES (1, 1, 1, [])", null("l")),
        ("DELETE v FROM t WHERE k = 1 AND c = 1", "Column 'v' can not be set to null.".to_owned()),
        ("DELETE l FROM t WHERE k = 1 AND c = 1", "Column 'l' can not be set to null.".to_owned()),
    ] {
        assert_eq!(error(&schema, statement, &[]), expected, "{statement}");
    }
    let unset = [BoundValue::Unset];
    assert_eq!(error(&schema, "INSERT INTO t (k, c, v, l) VALUES (1, 1, ?, [1])", &unset), missing("v"));
}

#[test]
fn conditions_that_make_no_sense_are_refused() {
    for (columns, expected) in [
        ("k int PRIMARY KEY, v text CHECK v > 1", "v and 1 need to be numbers. (line 1:52)"),
        ("k int PRIMARY KEY, v int CHECK v > 'a'", "v and a need to be numbers. (line 1:51)"),
        ("k int PRIMARY KEY, v boolean CHECK v = true", "Column 'v' is not a number type. (line 1:55)"),
        (
            "k int PRIMARY KEY, v int CHECK w > 1",
            "Constraint was not specified on a column it operates on: 'w' is not 'v' (line 1:51)",
        ),
        (
            "k int PRIMARY KEY, v int CHECK LENGTH() > 1",
            "Constraint 'LENGTH' can be used only for columns of ascii, text and blob but 'v' is of type int \
             (line 1:51)",
        ),
        (
            "k int PRIMARY KEY, v blob CHECK JSON",
            "Constraint 'JSON' can be used only for columns of ascii and text but 'v' is of type blob (line 1:52)",
        ),
        (
            "k int PRIMARY KEY, v text CHECK LENGTH() > -1",
            "A length is compared with a number of at least 0, not with '-1' (line 1:52)",
        ),
        (
            "k int PRIMARY KEY, v text CHECK REGEXP() > 'a'",
            "REGEXP constraint supports only = and !=, and not > (line 1:52)",
        ),
        ("k int PRIMARY KEY, v text CHECK nothing()", "Unrecognized constraint function: nothing (line 1:52)"),
        (
            "k int CHECK NOT NULL PRIMARY KEY, v text",
            "NOT NULL constraint cannot be specified on a primary key column 'k' (line 1:32)",
        ),
        (
            "k int PRIMARY KEY, v counter CHECK NOT NULL",
            "Constraint 'NOT NULL' can be used only for columns of other types than counter but 'v' is of type \
             counter (line 1:55)",
        ),
        (
            "k int PRIMARY KEY, v int CHECK v > 1 AND v > 2",
            "Constraints of column 'v' are not satisfiable, or are given twice: v > 1, v > 2 (line 1:61)",
        ),
        (
            "k int PRIMARY KEY, v int CHECK v > 1 AND v <= 1",
            "Constraints of column 'v' are not satisfiable, or are given twice: v > 1, v <= 1 (line 1:61)",
        ),
        (
            "k int PRIMARY KEY, v int CHECK v = 1 AND v != 1",
            "Constraints of column 'v' are not satisfiable, or are given twice: v = 1, v != 1 (line 1:61)",
        ),
        (
            "k int PRIMARY KEY, v text CHECK JSON AND JSON()",
            "Constraints of column 'v' are not satisfiable, or are given twice: JSON, JSON (line 1:61)",
        ),
    ] {
        assert_eq!(refused(columns), expected, "{columns}");
    }
    assert!(refused("k int PRIMARY KEY, v text CHECK REGEXP() = '(a'").contains("is not a valid regular expression"));
    assert!(refused("k int PRIMARY KEY, v text CHECK REGEXP() = '(?=a)'").contains("look-around"));
    // What is put around a pattern does not make it whole.
    assert!(refused("k int PRIMARY KEY, v text CHECK REGEXP() = 'a)|(?:b'").contains("not a valid regular expression"));
    let fits = "CREATE TABLE ks.t (k int PRIMARY KEY, v int CHECK v >= 1 AND v <= 1 AND v != 2 AND v != 3)";
    assert!(is_written(&with(fits), "INSERT INTO t (k, v) VALUES (1, 1)"));
}

#[test]
fn constraints_are_altered_described_and_copied() {
    let mut schema =
        with("CREATE TABLE ks.t (k int, c int CHECK c > 0, v text CHECK REGEXP() = 'it''s', PRIMARY KEY (k, c))");
    let apply = |schema: &mut Schema, statement: &str| {
        let change = request_in(schema, statement).unwrap().change(TableId(9), WallMicros(5));
        let encoded = model::codec::Encode::to_bytes(&change);
        assert_eq!(<model::schema::SchemaChange as model::codec::Decode>::from_bytes(&encoded), Ok(change.clone()));
        *schema = schema.apply(&change).unwrap().unwrap_or(schema.clone());
    };
    apply(&mut schema, "ALTER TABLE t ADD w int CHECK w < 5");
    apply(&mut schema, "CREATE TABLE copied LIKE t");
    apply(&mut schema, "ALTER TABLE t ALTER v CHECK LENGTH() < 3 AND NOT NULL");
    apply(&mut schema, "ALTER TABLE t ALTER w DROP CHECK");
    apply(&mut schema, "ALTER TABLE t ALTER IF EXISTS missing CHECK NOT NULL");
    let lines = |name: &str, schema: &Schema| -> Vec<String> {
        let described = describe_table(table(schema, name));
        described.lines().filter(|line| line.contains(" CHECK ")).map(|line| line.trim().to_owned()).collect()
    };
    assert_eq!(lines("t", &schema), ["c int CHECK c > 0,", "v text CHECK LENGTH() < 3 AND NOT NULL,"]);
    let copied = ["c int CHECK c > 0,", "v text CHECK REGEXP() = 'it''s',", "w int CHECK w < 5,"];
    assert_eq!(lines("copied", &schema), copied);
    // What is described makes the same table.
    let described = describe_table(table(&schema, "copied"));
    let again = schema
        .apply(
            &request_in(&Schema::default(), &described.replace("ks.copied", "ks.again"))
                .unwrap()
                .change(TableId(10), WallMicros(1)),
        )
        .unwrap()
        .unwrap();
    assert_eq!(table(&again, "again").constraints, table(&schema, "copied").constraints);
    // A column that goes takes its constraints with it.
    apply(&mut schema, "ALTER TABLE t DROP v");
    assert_eq!(lines("t", &schema), ["c int CHECK c > 0,"]);
    apply(&mut schema, "ALTER TABLE t RENAME c TO d");
    assert_eq!(lines("t", &schema), ["d int CHECK d > 0,"]);
    // A column that one node does not know yet keeps nothing of another from being constrained.
    let message = error(&schema, "ALTER TABLE t ALTER missing CHECK NOT NULL", &[]);
    assert_eq!(message, "Column with name 'missing' doesn't exist on table 't' (line 1:21)");
    assert_eq!(
        error(&schema, "INSERT INTO t (k, d) VALUES (1, 0)", &[]),
        "Column value does not satisfy value constraint for column 'd'. It should be d > 0"
    );
    let bytes = model::codec::Encode::to_bytes(&**table(&schema, "t"));
    assert_eq!(<model::schema::Table as model::codec::Decode>::from_bytes(&bytes).as_ref(), Ok(&**table(&schema, "t")));
    let values = [bound(int(1)), bound(text("x"))];
    assert!(prepare_in(&schema, "INSERT INTO copied (k, c, v) VALUES (?, 1, ?)").bind(&values, context()).is_err());
}
