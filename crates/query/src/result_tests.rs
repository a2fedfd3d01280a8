//! Results of statements over a table in memory, each in one page and in pages of a few rows.

use super::*;
use crate::fixture::{bound, int, schema as schema_of, table, with_table};
use crate::memory::{Memory, NOW_SECONDS};
use crate::{BoundValue, ReadSource};
use model::schema::{Schema, SchemaChange};
use model::types::UserType;
use proptest::prelude::*;

/// Keyspace `ks` with a user-defined type and tables of collections, static columns and numbers.
pub(crate) fn schema() -> Schema {
    let fields = vec![("street".to_owned(), CqlType::Text), ("number".to_owned(), CqlType::Int)];
    let definition = UserType { keyspace: "ks".to_owned(), name: "address".to_owned(), fields };
    let keyspace =
        schema_of(&["CREATE KEYSPACE ks WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}"]);
    let schema = keyspace.apply(&SchemaChange::CreateType { definition, if_not_exists: false }).unwrap().unwrap();
    let wide = ["p int", "c int", "d text desc", "s int static", "v int", "w text"];
    let schema = with_table(&schema, "w", 10, (1, 2), &wide);
    let parts = [
        "k int",
        "l list<int>",
        "st set<text>",
        "m map<text, int>",
        "f frozen<map<int, text>>",
        "a address",
        "fa frozen<address>",
        "t tuple<int, text>",
        "e vector<float, 2>",
        "v int",
    ];
    let schema = with_table(&schema, "x", 11, (1, 0), &parts);
    let schema = with_table(&schema, "n", 12, (1, 1), &["p int", "at timestamp", "v int", "f float", "d decimal"]);
    with_table(&schema, "q", 13, (2, 1), &["a int", "b int", "c int", "v int"])
}

/// Table `w`: partitions 1 (two static rows' worth of rows), 2 (one row), 3 (static only), by token 1, 2, 3.
pub(crate) fn wide(schema: &Schema) -> Memory<'_> {
    let mut memory = Memory::new(schema, "w");
    for (c, d, v) in [(1, "a", 10), (1, "b", 11), (2, "a", 12), (3, "x", 13)] {
        memory.insert(&format!(r#"{{"p": 1, "c": {c}, "d": "{d}", "s": 7, "v": {v}, "w": "w{v}"}}"#), 5, None);
    }
    memory.insert(r#"{"p": 2, "c": 5, "d": "z", "v": 20}"#, 6, None);
    memory.insert(r#"{"p": 3, "s": 9}"#, 6, None);
    // Gone before it is read.
    memory.insert(r#"{"p": 2, "c": 6, "d": "z", "v": 21}"#, 6, Some(-1));
    memory
}

/// Statements and what they answer, a row after the other.
fn check(memory: &Memory<'_>, cases: &[(&str, &str)]) {
    let wrong: Vec<String> = cases
        .iter()
        .map(|(statement, expected)| (statement, expected, memory.answer(statement, &[])))
        .filter(|(_, expected, found)| !matches_expected(found, expected))
        .map(|(statement, expected, found)| format!("{statement}\n   {found}\n   {expected}"))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// An error may go on with where it is.
fn matches_expected(found: &str, expected: &str) -> bool {
    found == expected || found.strip_prefix(expected).is_some_and(|rest| rest.starts_with(" (line "))
}

const FILTERING: &str = "Cannot execute this query as it might involve data filtering and thus may have unpredictable \
                         performance. If you want to execute this query despite the performance unpredictability, use \
                         ALLOW FILTERING";

#[test]
fn rows_are_selected_by_keys() {
    let schema = schema();
    let memory = wide(&schema);
    check(
        &memory,
        &[
            (
                "SELECT * FROM w",
                "1 1 b 7 11 w11; 1 1 a 7 10 w10; 1 2 a 7 12 w12; 1 3 x 7 13 w13; 2 5 z null 20 null; \
                 3 null null 9 null null",
            ),
            ("SELECT v FROM w WHERE p = 1", "11; 10; 12; 13"),
            ("SELECT v FROM w WHERE p = 1 AND c = 1", "11; 10"),
            ("SELECT v FROM w WHERE p = 1 AND c = 1 AND d = 'a'", "10"),
            ("SELECT v FROM w WHERE p = 1 AND c > 1", "12; 13"),
            ("SELECT v FROM w WHERE p = 1 AND c >= 1 AND c < 3", "11; 10; 12"),
            ("SELECT v FROM w WHERE p = 1 AND c BETWEEN 2 AND 3", "12; 13"),
            ("SELECT v FROM w WHERE p = 1 AND c IN (3, 1)", "11; 10; 13"),
            ("SELECT v FROM w WHERE p = 1 AND c IN (1, 2) AND d = 'a'", "10; 12"),
            ("SELECT v FROM w WHERE p = 1 AND c IN (1, 2) AND d IN ('a', 'b', 'a')", "11; 10; 12"),
            ("SELECT v FROM w WHERE p = 1 AND c = 1 AND d < 'b'", "10"),
            ("SELECT v FROM w WHERE p = 1 AND c IN ()", ""),
            ("SELECT v FROM w WHERE p IN (2, 1) AND c > 2", "13; 20"),
            ("SELECT p FROM w WHERE p IN (9, 3)", "3"),
            ("SELECT v FROM w WHERE p = 1 AND (c, d) = (1, 'b')", "11"),
            ("SELECT v FROM w WHERE p = 1 AND (c) = (1)", "11; 10"),
            ("SELECT v FROM w WHERE p = 1 AND (c, d) IN ((1, 'b'), (3, 'x'), (9, 'y'))", "11; 13"),
            ("SELECT v FROM w WHERE p = 1 AND (c, d) > (1, 'a')", "11; 12; 13"),
            ("SELECT v FROM w WHERE p = 1 AND (c, d) >= (1, 'b')", "11; 12; 13"),
            ("SELECT v FROM w WHERE p = 1 AND (c, d) < (2, 'a')", "11; 10"),
            ("SELECT v FROM w WHERE p = 1 AND (c, d) <= (2, 'a') AND (c) > (1)", "12"),
            ("SELECT v FROM w WHERE p = 1 AND c >= 1 AND (c, d) < (1, 'b')", "10"),
            ("SELECT v FROM w WHERE token(p) >= token(1) AND token(p) <= token(1) ", "11; 10; 12; 13"),
            ("SELECT p FROM w WHERE token(p) > token(2)", "3"),
            ("SELECT v FROM w WHERE p = 1 AND c = 1 + 1", "12"),
            ("SELECT v FROM w WHERE p = (int) 1 AND c = CAST('x' AS uuid)", "Unknown function cast_as_uuid called"),
        ],
    );
}

#[test]
fn restrictions_that_cannot_be_are_refused_in_the_words_of_cassandra() {
    let schema = schema();
    let memory = wide(&schema);
    check(
        &memory,
        &[
            ("SELECT * FROM w WHERE c = 1", FILTERING),
            ("SELECT * FROM w WHERE p > 1", FILTERING),
            ("SELECT * FROM w WHERE v = 1", FILTERING),
            ("SELECT * FROM w WHERE s = 1", FILTERING),
            ("SELECT * FROM w WHERE p = 1 AND v = 10", FILTERING),
            ("SELECT * FROM w WHERE token(p) > 1 AND c = 1", FILTERING),
            ("SELECT * FROM q WHERE a = 1", FILTERING),
            ("SELECT * FROM w WHERE p = 1 AND c != 1", FILTERING),
            (
                "SELECT * FROM w WHERE p = 1 AND d = 'a'",
                "PRIMARY KEY column \"d\" cannot be restricted as preceding column \"c\" is not restricted",
            ),
            (
                "SELECT * FROM w WHERE p = 1 AND c > 1 AND d = 'a'",
                "Clustering column \"d\" cannot be restricted (preceding column \"c\" is restricted by a non-EQ \
                 relation)",
            ),
            (
                "SELECT * FROM w WHERE p = 1 AND d = 'a' AND c > 1",
                "PRIMARY KEY column \"d\" cannot be restricted (preceding column \"c\" is restricted by a non-EQ \
                 relation)",
            ),
            (
                "SELECT * FROM w WHERE p = 1 AND c IN (1, 2) AND c = 1",
                "c cannot be restricted by more than one relation if it includes a IN",
            ),
            (
                "SELECT * FROM w WHERE p = 1 AND c = 1 AND (c, d) = (1, 'a')",
                "c cannot be restricted by more than one relation if it includes an Equal",
            ),
            (
                "SELECT * FROM w WHERE p = 1 AND (c, d) > (1, 'a') AND c > 0",
                "More than one restriction was found for the start bound on c",
            ),
            (
                "SELECT * FROM w WHERE p = 1 AND (c, d) > (1, 'a') AND (d) < ('x')",
                "Column \"d\" cannot be restricted by two inequalities not starting with the same column",
            ),
            (
                "SELECT * FROM w WHERE p = 1 AND (d, c) > ('a', 1)",
                "Clustering columns must appear in the PRIMARY KEY order in multi-column relations: (d, c) > ('a', 1)",
            ),
            (
                "SELECT * FROM w WHERE p = 1 AND (c, c) > (1, 1)",
                "Column \"c\" appeared twice in a relation: (c, c) > (1, 1)",
            ),
            (
                "SELECT * FROM w WHERE (p, c) > (1, 1)",
                "Multi-column relations can only be applied to clustering columns but was applied to: p",
            ),
            (
                "SELECT * FROM w WHERE p = 1 AND (c, d) = (1, 'a', 2)",
                "Expected 2 elements in value tuple, but got 3: (1, 'a', 2)",
            ),
            ("SELECT * FROM w WHERE p = 1 AND (c, d) = (1, null)", "Invalid null value for column d"),
            ("SELECT * FROM w WHERE p = null", "Invalid null value in condition for column p"),
            ("SELECT * FROM w WHERE p = 1 AND c IN (1, null)", "Invalid null value in condition for column c"),
            ("SELECT * FROM w WHERE v = null ALLOW FILTERING", "Unsupported null value for column v"),
        ],
    );
}

#[test]
fn restrictions_of_several_columns_are_refused_in_the_words_of_cassandra() {
    let schema = schema();
    let memory = wide(&schema);
    check(
        &memory,
        &[
            ("SELECT * FROM w WHERE p = 1 AND (c, d) > (1, null)", "Invalid null value in condition for column d"),
            (
                "SELECT * FROM w WHERE p = 1 AND (c, d) > (1, 'a') AND c = 1",
                "Column \"c\" cannot be restricted by both an equality and an inequality relation",
            ),
            (
                "SELECT * FROM w WHERE p = 1 AND (c, d) > (1, 'a') AND (c, d) > (0, 'a')",
                "More than one restriction was found for the start bound on c ,d",
            ),
            ("SELECT * FROM w WHERE p = 1 AND (c, d) > (1)", "Expected 2 elements in value tuple, but got 1: (1)"),
            ("SELECT * FROM w WHERE c LIKE 'a%' ALLOW FILTERING", "Invalid STRING constant (a%) for \"c\" of type int"),
            (
                "SELECT DISTINCT p FROM w GROUP BY p, c",
                "Grouping on clustering columns is not allowed for SELECT DISTINCT queries",
            ),
            (
                "SELECT * FROM q WHERE token(a, b, a) > 1",
                "The token() function contains duplicate partition key components",
            ),
            (
                "SELECT * FROM q WHERE token(a, b, c) > 1",
                "The token() function must contains only partition key components",
            ),
            ("SELECT * FROM q WHERE (b, c) = 1", "line 1:32 no viable alternative at input '1', expected a tuple"),
        ],
    );
}

#[test]
fn restrictions_of_tokens_collections_and_terms_are_refused_in_the_words_of_cassandra() {
    let schema = schema();
    let memory = wide(&schema);
    check(
        &memory,
        &[
            (
                "SELECT * FROM w WHERE token(c) > 1",
                "The token() function must be applied to all partition key components or none of them",
            ),
            (
                "SELECT * FROM q WHERE token(a) > 1",
                "The token() function must be applied to all partition key components or none of them",
            ),
            (
                "SELECT * FROM q WHERE token(b, a) > 1",
                "The token function arguments must be in the partition key order: a, b",
            ),
            (
                "SELECT * FROM w WHERE token(p) > 1 AND token(p) > 2",
                "More than one restriction was found for the start bound on p",
            ),
            (
                "SELECT * FROM w WHERE w LIKE 'a%'",
                "LIKE restriction is only supported on properly indexed columns. w LIKE 'a%' is not valid.",
            ),
            ("SELECT * FROM w WHERE v IS NOT NULL", "Unsupported restriction: v IS NOT NULL but with ALLOW FILTERING"),
            ("SELECT * FROM w WHERE v IS NULL", "Unsupported restriction: v IS NULL but with ALLOW FILTERING"),
            ("SELECT * FROM x WHERE m['a'] IS NULL ALLOW FILTERING", "Only EQ relations are supported on map entries"),
            ("SELECT * FROM w WHERE v CONTAINS 1 ALLOW FILTERING", "Cannot use CONTAINS on non-collection column v"),
            (
                "SELECT * FROM x WHERE st CONTAINS KEY 'a' ALLOW FILTERING",
                "Cannot use CONTAINS KEY on non-map column st",
            ),
            (
                "SELECT * FROM x WHERE l = [1] ALLOW FILTERING",
                "Collection column 'l' (list<int>) cannot be restricted by a '=' relation",
            ),
            (
                "SELECT * FROM x WHERE a = {street: 'x'} ALLOW FILTERING",
                "Non-frozen UDT column 'a' (address) cannot be restricted by any relation",
            ),
            (
                "SELECT * FROM x WHERE l[1] = 1 ALLOW FILTERING",
                "Indexes on list entries (l[index] = value) are not currently supported.",
            ),
            ("SELECT * FROM x WHERE m['a'] > 1 ALLOW FILTERING", "Only EQ relations are supported on map entries"),
            (
                "SELECT * FROM x WHERE f[1] = 'a' ALLOW FILTERING",
                "Map-entry equality predicates on frozen map column f are not supported",
            ),
            ("SELECT * FROM x WHERE v[1] = 1 ALLOW FILTERING", "Column v cannot be used as a map"),
            (
                "SELECT * FROM x WHERE k = 1 AND f CONTAINS 'a' AND f = {} ALLOW FILTERING",
                "Collection column f can only be restricted by CONTAINS, CONTAINS KEY, or map-entry equality if it \
                 already \
             restricted by one of those",
            ),
            (
                "SELECT s FROM w WHERE p = 1 AND c = 1",
                "Cannot restrict clustering columns when selecting only static columns",
            ),
            ("SELECT * FROM w WHERE p = max(1)", "aggregation function are not supported in the where clause"),
            ("SELECT * FROM w WHERE p = nothing(1)", "Unknown function nothing called"),
            (
                "SELECT * FROM w WHERE p = uuid()",
                "Type error: cannot assign result of function system.uuid (type uuid) to p (type int)",
            ),
            ("SELECT * FROM w WHERE p = (text)'a'", "Cannot assign value (text)'a' to p of type int"),
            ("SELECT * FROM w WHERE p = (int)'a'", "Cannot cast value 'a' to type int"),
            ("SELECT * FROM w WHERE p = [1]", "Unexpected receiver type 'int'; only list and vector are expected"),
        ],
    );
}

#[test]
fn rows_are_filtered() {
    let schema = schema();
    let memory = wide(&schema);
    check(
        &memory,
        &[
            ("SELECT v FROM w WHERE c = 1 ALLOW FILTERING", "11; 10"),
            ("SELECT v FROM w WHERE c > 1 AND d = 'a' ALLOW FILTERING", "12"),
            ("SELECT v FROM w WHERE d = 'a' ALLOW FILTERING", "10; 12"),
            ("SELECT v FROM w WHERE p > 1 ALLOW FILTERING", "20; null"),
            ("SELECT v FROM w WHERE p >= 1 AND p < 2 AND c = 3 ALLOW FILTERING", "13"),
            ("SELECT v FROM w WHERE v > 10 AND v <= 13 ALLOW FILTERING", "11; 12; 13"),
            ("SELECT v FROM w WHERE v IN (10, 20, 99) ALLOW FILTERING", "10; 20"),
            ("SELECT v FROM w WHERE v NOT IN (10, 11) ALLOW FILTERING", "12; 13; 20"),
            ("SELECT v FROM w WHERE v != 10 ALLOW FILTERING", "11; 12; 13; 20"),
            ("SELECT v FROM w WHERE w = 'w12' ALLOW FILTERING", "12"),
            ("SELECT v FROM w WHERE w LIKE 'w1%' ALLOW FILTERING", "11; 10; 12; 13"),
            ("SELECT v FROM w WHERE w LIKE '%3' ALLOW FILTERING", "13"),
            ("SELECT v FROM w WHERE w LIKE '%1%' AND v < 12 ALLOW FILTERING", "11; 10"),
            ("SELECT v FROM w WHERE w LIKE 'w10' ALLOW FILTERING", "10"),
            ("SELECT v FROM w WHERE w LIKE '%' ALLOW FILTERING", "LIKE value can't be empty."),
            // A partition that is not admitted by its static columns has no rows.
            ("SELECT v FROM w WHERE s = 7 ALLOW FILTERING", "11; 10; 12; 13"),
            ("SELECT p, s FROM w WHERE s = 9 ALLOW FILTERING", "3 9"),
            ("SELECT p, v FROM w WHERE s > 0 AND v > 11 ALLOW FILTERING", "1 12; 1 13"),
            ("SELECT v FROM w WHERE p = 1 AND v = 12 ALLOW FILTERING", "12"),
            ("SELECT v FROM w WHERE p = 1 AND c > 1 AND d = 'x' ALLOW FILTERING", "13"),
            ("SELECT v FROM w WHERE p = 1 AND c NOT IN (1, 2) ALLOW FILTERING", "13"),
            ("SELECT v FROM w WHERE (c, d) = (1, 'a') ALLOW FILTERING", "10"),
            ("SELECT v FROM w WHERE p IN (1, 2) AND v >= 13 ALLOW FILTERING", "13; 20"),
            ("SELECT v FROM w WHERE v > 10 LIMIT 2 ALLOW FILTERING", "11; 12"),
            ("SELECT v FROM w WHERE v > 10 PER PARTITION LIMIT 1 ALLOW FILTERING", "11; 20"),
            ("SELECT * FROM w WHERE p = 1 AND d = 'a' AND c = 1 AND s = 8 ALLOW FILTERING", ""),
        ],
    );
}

#[test]
fn order_limits_and_distinct_partitions() {
    let schema = schema();
    let memory = wide(&schema);
    check(
        &memory,
        &[
            ("SELECT v FROM w WHERE p = 1 ORDER BY c DESC", "13; 12; 10; 11"),
            ("SELECT v FROM w WHERE p = 1 ORDER BY c DESC, d ASC LIMIT 3", "13; 12; 10"),
            ("SELECT v FROM w WHERE p = 1 AND c = 1 ORDER BY d ASC", "10; 11"),
            ("SELECT v FROM w WHERE p = 1 AND c IN (1, 3) ORDER BY c DESC", "13; 10; 11"),
            ("SELECT v FROM w WHERE p IN (1, 2) ORDER BY c DESC", "20; 13; 12; 10; 11"),
            ("SELECT v FROM w WHERE p IN (1, 2) ORDER BY c DESC LIMIT 2", "20; 13"),
            ("SELECT p, c FROM w WHERE p IN (1, 2, 3) ORDER BY c", "3 null; 1 1; 1 1; 1 2; 1 3; 2 5"),
            (
                "SELECT v FROM w ORDER BY c",
                "ORDER BY is only supported when the partition key is restricted by an EQ or an IN.",
            ),
            (
                "SELECT v FROM w WHERE p = 1 ORDER BY v",
                "Order by is currently only supported on the clustered columns of the PRIMARY KEY, got v",
            ),
            ("SELECT v FROM w LIMIT 3", "11; 10; 12"),
            ("SELECT v FROM w PER PARTITION LIMIT 2", "11; 10; 20; null"),
            ("SELECT v FROM w PER PARTITION LIMIT 2 LIMIT 3", "11; 10; 20"),
            ("SELECT v FROM w WHERE p = 1 PER PARTITION LIMIT 0", "LIMIT must be strictly positive"),
            ("SELECT DISTINCT p FROM w", "1; 2; 3"),
            ("SELECT DISTINCT p, s FROM w", "1 7; 2 null; 3 9"),
            ("SELECT DISTINCT p, s FROM w LIMIT 2", "1 7; 2 null"),
            ("SELECT DISTINCT s FROM w WHERE p = 1", "7"),
            ("SELECT DISTINCT p, s FROM w WHERE s = 9 ALLOW FILTERING", "3 9"),
            ("SELECT DISTINCT p, s FROM w WHERE p IN (3, 1)", "1 7; 3 9"),
            (
                "SELECT DISTINCT s FROM w",
                "SELECT DISTINCT queries must request all the partition key columns (missing p)",
            ),
            (
                "SELECT DISTINCT p, c FROM w",
                "SELECT DISTINCT queries must only request partition key columns and/or static columns (not c)",
            ),
            (
                "SELECT DISTINCT p FROM w WHERE p = 1 AND c = 1",
                "SELECT DISTINCT with WHERE clause only supports restriction by partition key and/or static columns.",
            ),
            (
                "SELECT DISTINCT p FROM w PER PARTITION LIMIT 1",
                "PER PARTITION LIMIT is not allowed with SELECT DISTINCT queries",
            ),
        ],
    );
    let paged = memory.pages("SELECT v FROM w WHERE p IN (1, 2) ORDER BY c", &[], 100).unwrap_err().to_string();
    assert!(paged.starts_with("Cannot page queries with both ORDER BY and a IN restriction"), "{paged}");
}

#[test]
fn rows_are_aggregated_and_grouped() {
    let schema = schema();
    let memory = wide(&schema);
    check(
        &memory,
        &[
            ("SELECT count(*) FROM w", "6"),
            ("SELECT count(1) FROM w", "6"),
            ("SELECT count(v), min(v), max(v), sum(v), avg(v) FROM w", "5 10 20 66 13"),
            ("SELECT count(*), max(v), p FROM w WHERE p = 77", "0 null null"),
            ("SELECT sum(v) + count(*) FROM w WHERE p = 1", "50"),
            ("SELECT max(v + c) FROM w WHERE p = 1", "16"),
            ("SELECT v, max(v) FROM w WHERE p = 1", "11 13"),
            ("SELECT v, count(*) FROM w WHERE v > 10 ALLOW FILTERING", "11 4"),
            ("SELECT c, max(v) FROM w WHERE d = 'x' ALLOW FILTERING", "3 13"),
            ("SELECT c, max(v) FROM w WHERE d = 'none' ALLOW FILTERING", "null null"),
            ("SELECT CAST(avg(v) AS text) FROM w WHERE p = 1", "11"),
            ("SELECT count(*) FROM w LIMIT 1", "6"),
            (
                "SELECT count(*) FROM w PER PARTITION LIMIT 1",
                "PER PARTITION LIMIT is not allowed with aggregate queries.",
            ),
            ("SELECT max(min(v)) FROM w", "aggregate functions cannot be used as arguments of aggregate functions"),
            ("SELECT p, count(*), sum(v) FROM w GROUP BY p", "1 4 46; 2 1 20; 3 1 0"),
            ("SELECT p, c, count(*) FROM w GROUP BY p, c", "1 1 2; 1 2 1; 1 3 1; 2 5 1; 3 null 1"),
            ("SELECT c, d, v FROM w WHERE p = 1 GROUP BY p, c", "1 b 11; 2 a 12; 3 x 13"),
            ("SELECT c, max(v) FROM w WHERE p = 1 GROUP BY c", "1 11; 2 12; 3 13"),
            ("SELECT c, max(v) FROM w WHERE p = 1 GROUP BY p, c ORDER BY c DESC", "3 13; 2 12; 1 11"),
            ("SELECT d, max(v) FROM w WHERE p = 1 AND c = 1 GROUP BY d", "b 11; a 10"),
            ("SELECT p, c, count(*) FROM w GROUP BY p, c LIMIT 3", "1 1 2; 1 2 1; 1 3 1"),
            ("SELECT p, c, count(*) FROM w GROUP BY p, c PER PARTITION LIMIT 2", "1 1 2; 1 2 1; 2 5 1; 3 null 1"),
            ("SELECT p, c, sum(v) FROM w WHERE v > 10 GROUP BY p, c ALLOW FILTERING", "1 1 11; 1 2 12; 1 3 13; 2 5 20"),
            ("SELECT c, max(v) FROM w WHERE p IN (1, 2) GROUP BY p, c ORDER BY c DESC", "5 20; 3 13; 2 12; 1 11"),
            (
                "SELECT count(*) FROM w GROUP BY c",
                "Group by currently only support groups of columns following their declared order in the PRIMARY KEY",
            ),
            (
                "SELECT count(*) FROM w GROUP BY v",
                "Group by is currently only supported on the columns of the PRIMARY KEY, got v",
            ),
            ("SELECT count(*) FROM q GROUP BY a", "Group by is not supported on only a part of the partition key"),
            (
                "SELECT count(*) FROM w GROUP BY p, abs(c)",
                "Only monotonic functions are supported in the GROUP BY clause. Got: abs(c)",
            ),
        ],
    );
    let warnings = |text: &str| memory.read(text, &[]).unwrap().warnings().join(";");
    assert_eq!(warnings("SELECT count(*) FROM w"), "Aggregation query used without partition key");
    assert_eq!(
        warnings("SELECT count(*) FROM w WHERE p IN (1, 2)"),
        "Aggregation query used on multiple partition keys (IN restriction)"
    );
    assert_eq!(warnings("SELECT count(*) FROM w WHERE p = 1") + &warnings("SELECT * FROM w"), "");
}

#[test]
fn time_is_grouped_by_floor() {
    let schema = schema();
    let mut memory = Memory::new(&schema, "n");
    for (minute, v) in [(0, 1), (4, 2), (5, 3), (11, 4)] {
        memory.insert(&format!(r#"{{"p": 1, "at": {}, "v": {v}, "f": {v}.5, "d": 1.5}}"#, minute * 60_000), 1, None);
    }
    check(
        &memory,
        &[
            (
                "SELECT floor(at, 5m), sum(v) FROM n WHERE p = 1 GROUP BY p, floor(at, 5m)",
                "1970-01-01 00:00:00.000000+0000 3; 1970-01-01 00:05:00.000000+0000 3; \
                 1970-01-01 00:10:00.000000+0000 4",
            ),
            ("SELECT sum(f), sum(d), avg(d) FROM n", "12 6.0 1.5"),
            (
                "SELECT count(*) FROM n GROUP BY p, floor(p, 5m)",
                "Group by functions are only supported on clustering columns, got p",
            ),
            (
                "SELECT count(*) FROM n GROUP BY p, floor(at, 1h), at",
                "Functions are only supported on the last element of the GROUP BY clause",
            ),
            (
                "SELECT at FROM n WHERE p = 1 AND at >= '1970-01-01 00:05:00+0000' LIMIT 1",
                "1970-01-01 00:05:00.000000+0000",
            ),
            ("SELECT v FROM n WHERE p = 1 AND at > to_timestamp(now()) - 60000mo", "1; 2; 3; 4"),
        ],
    );
}

pub(crate) fn collections(schema: &Schema) -> Memory<'_> {
    let mut memory = Memory::new(schema, "x");
    memory.insert(
        r#"{"k": 1, "l": [3, 1, 3], "st": ["b", "a", "c"], "m": {"x": 1, "y": 2}, "f": {"1": "one", "2": "two"},
            "a": {"street": "Main"}, "fa": {"street": "High", "number": 5}, "t": [1, "t"], "e": [1, 0], "v": 5}"#,
        100,
        None,
    );
    memory.insert(r#"{"k": 1, "m": {"z": 3}, "st": ["d"], "a": {"number": 7}}"#, 200, Some(50));
    memory.insert(r#"{"k": 2, "v": 6}"#, 300, None);
    memory
}

#[test]
fn parts_of_values_are_selected() {
    let schema = schema();
    let memory = collections(&schema);
    check(
        &memory,
        &[
            (
                "SELECT l, st, m, f, a, fa, t, e FROM x WHERE k = 1",
                "[3, 1, 3] {'a', 'b', 'c', 'd'} {'x': 1, 'y': 2, 'z': 3} \
            {1: 'one', 2: 'two'} {street: 'Main', number: 7} {street: 'High', number: 5} (1, 't') [1, 0]",
            ),
            ("SELECT m['x'], m['none'], st['b'], st['none'], f[2] FROM x WHERE k = 1", "1 null b null two"),
            (
                "SELECT m['y'..], m[..'x'], st['b'..'c'], f[2..9] FROM x WHERE k = 1",
                "{'y': 2, 'z': 3} {'x': 1} {'b', 'c'} {2: 'two'}",
            ),
            ("SELECT a.street, fa.number, a.number FROM x WHERE k = 1", "Main 5 7"),
            ("SELECT m['x'], a.street, st['a'..] FROM x WHERE k = 2", "null null null"),
            ("SELECT l[1] FROM x", "Element selection is only allowed on sets and maps, but l is a list"),
            ("SELECT l[1..2] FROM x", "Slice selection is only allowed on sets and maps, but l is a list"),
            ("SELECT v[1] FROM x", "Invalid element selection: v is of type int is not a collection"),
            ("SELECT v.a FROM x", "Invalid field selection: v of type int is not a user type"),
            ("SELECT a.none FROM x", "a of type address has no field none"),
            ("SELECT m[1] FROM x", "Invalid INTEGER constant (1) for \"key(m)\" of type text"),
            (
                "SELECT collection_count(m), map_keys(m), map_values(m), collection_max(l) FROM x WHERE k = 1",
                "3 {'x', 'y', 'z'} [1, 2, 3] 3",
            ),
            ("SELECT max(m['x']), min(fa.number) FROM x", "1 5"),
            ("SELECT similarity_cosine(e, [0, 1]) FROM x WHERE k = 1", "0.5"),
            (
                "SELECT k, [v, 7], {v}, {k: v}, (v, k), (address){street: 'S', number: v} FROM x WHERE k = 2",
                "Cannot infer type \
            for term {k: v} in selection clause (try using a cast to force a type)",
            ),
            (
                "SELECT [v, 7], {v}, (v, k), (map<int, int>){1: v}, (address){street: 'S', number: v} FROM x \
                 WHERE k = 2",
                "[6, 7] {6} (6, 2) {1: 6} {street: 'S', number: 6}",
            ),
            ("SELECT [l, l] FROM x WHERE k = 1", "[[3, 1, 3], [3, 1, 3]]"),
            ("SELECT 5 FROM x", "Cannot infer type for term 5 in selection clause (try using a cast to force a type)"),
            ("SELECT (bigint)5, -v, v * 2 - 1, v % 4, (double)7 / 2 FROM x WHERE k = 1", "5 -5 9 1 3.5"),
            ("SELECT v / 0 FROM x WHERE k = 1", "the operation 'int / int' failed: / by zero"),
            ("SELECT mask_default(v), mask_replace(v, 1), mask_null(v) FROM x WHERE k = 1", "0 1 null"),
        ],
    );
}

#[test]
fn times_of_cells_are_selected() {
    let schema = schema();
    let memory = collections(&schema);
    check(
        &memory,
        &[
            ("SELECT writetime(v), ttl(v), writetime(f), maxwritetime(f) FROM x WHERE k = 1", "100 null 100 100"),
            ("SELECT writetime(m), maxwritetime(m), minwritetime(m) FROM x WHERE k = 1", "[100, 100, 200] 200 100"),
            (
                "SELECT writetime(m['z']), ttl(m['z']), ttl(m['x']), writetime(m['none']) FROM x WHERE k = 1",
                "200 50 null null",
            ),
            ("SELECT writetime(m['y'..]), writetime(st['b'..'d']) FROM x WHERE k = 1", "[100, 200] [100, 100, 200]"),
            ("SELECT writetime(a.street), writetime(a.number), writetime(a) FROM x WHERE k = 1", "100 200 [100, 200]"),
            ("SELECT writetime(fa.street), writetime(m), ttl(m) FROM x WHERE k = 2", "null null null"),
            ("SELECT max(writetime(v)) FROM x", "300"),
            ("SELECT writetime(k) FROM x", "Cannot use selection function writetime on PRIMARY KEY part k"),
            ("SELECT ttl(v + 1) FROM x", "line 1:14 no viable alternative at input '+', expected ')'"),
        ],
    );
}

#[test]
fn collections_are_filtered() {
    let schema = schema();
    let memory = collections(&schema);
    check(
        &memory,
        &[
            ("SELECT k FROM x WHERE l CONTAINS 3 ALLOW FILTERING", "1"),
            ("SELECT k FROM x WHERE l CONTAINS 9 ALLOW FILTERING", ""),
            ("SELECT k FROM x WHERE st CONTAINS 'a' AND st CONTAINS 'd' ALLOW FILTERING", "1"),
            ("SELECT k FROM x WHERE m CONTAINS 2 AND m CONTAINS KEY 'x' ALLOW FILTERING", "1"),
            ("SELECT k FROM x WHERE m CONTAINS KEY 'none' ALLOW FILTERING", ""),
            ("SELECT k FROM x WHERE m NOT CONTAINS 2 ALLOW FILTERING", "2"),
            ("SELECT k FROM x WHERE m['x'] = 1 ALLOW FILTERING", "1"),
            ("SELECT k FROM x WHERE m['x'] = 2 ALLOW FILTERING", ""),
            ("SELECT k FROM x WHERE f = {2: 'two', 1: 'one'} ALLOW FILTERING", "1"),
            ("SELECT k FROM x WHERE f CONTAINS 'two' ALLOW FILTERING", "1"),
            ("SELECT k FROM x WHERE fa = {street: 'High', number: 5} ALLOW FILTERING", "1"),
            ("SELECT k FROM x WHERE t = (1, 't') ALLOW FILTERING", "1"),
            ("SELECT k FROM x WHERE t > (0, 'z') ALLOW FILTERING", "1"),
            ("SELECT k FROM x WHERE e = [1, 0] ALLOW FILTERING", "1"),
            (
                "SELECT k FROM x WHERE e = [1] ALLOW FILTERING",
                "Invalid vector literal for e of type vector<float, 2>; expected 2 elements, but given 1",
            ),
            (
                "SELECT k FROM x WHERE f = {'a': 'b'} ALLOW FILTERING",
                "Invalid map literal for f: key 'a' is not of type int",
            ),
            ("SELECT k FROM x WHERE l CONTAINS null ALLOW FILTERING", "Unsupported null value for column l"),
            (
                "SELECT k FROM x WHERE fa = {none: 1} ALLOW FILTERING",
                "Unknown field 'none' in value of user defined type address",
            ),
            (
                "SELECT k FROM x WHERE t = (1, 2) ALLOW FILTERING",
                "Invalid tuple literal for t: component 1 is not of type text",
            ),
        ],
    );
}

#[test]
fn rows_are_written_as_json() {
    let schema = schema();
    let memory = collections(&schema);
    check(
        &memory,
        &[
            (
                "SELECT JSON k, l, a, t AS \"T\", v FROM x WHERE k = 1",
                r#"{"k": 1, "l": [3, 1, 3], "a": {"street": "Main", "number": 7}, "\"T\"": [1, "t"], "v": 5}"#,
            ),
            ("SELECT JSON k, l FROM x WHERE k = 2", r#"{"k": 2, "l": null}"#),
            ("SELECT JSON writetime(a) FROM x WHERE k = 1", r#"{"writetime(a)": [100, 200]}"#),
            ("SELECT JSON ttl(a) FROM x WHERE k = 1", r#"{"ttl(a)": [null, 50]}"#),
            ("SELECT JSON count(*), max(v) FROM x", r#"{"count": 2, "system.max(v)": 6}"#),
            ("SELECT to_json(m), toJson(l) FROM x WHERE k = 1", r#"{"x": 1, "y": 2, "z": 3} [3, 1, 3]"#),
        ],
    );
    assert_eq!(memory.names("SELECT JSON * FROM x"), ["[json]"]);
}

#[test]
fn columns_of_results_are_named_as_cassandra_names_them() {
    let schema = schema();
    let memory = collections(&schema);
    let names = memory.names(
        "SELECT k, v AS \"V\", count(*), count(1), count(v), CAST(v AS text), writetime(v), ttl(m['x']), m['x'], \
         m['a'..'b'], \
         fa.number, v + 1, -v, (v + 1) * 2, (int)5, tojson(v), max(v), token(k), [k, v], maxwritetime(m) FROM x",
    );
    assert_eq!(
        names,
        [
            "k",
            "V",
            "count",
            "count",
            "system.count(v)",
            "cast(v as text)",
            "writetime(v)",
            "ttl(m['x'])",
            "m['x']",
            "m['a'..'b']",
            "fa.number",
            "v + 1",
            "-v",
            "(v + 1) * 2",
            "(int)5",
            "system.to_json(v)",
            "system.max(v)",
            "system.token(k)",
            "[k, v]",
            "maxwritetime(m)",
        ]
    );
    assert_eq!(memory.names("SELECT * FROM w"), ["p", "c", "d", "s", "v", "w"]);
    // A cast of a value to its own type is the value.
    let names = memory.names("SELECT (v), -(v + 1), CAST(v AS int), CAST(max(v) AS bigint), count(7) + 1 FROM x");
    assert_eq!(names, ["(v)", "-(v + 1)", "v", "cast(system.max(v) as bigint)", "count + 1"]);
}

#[test]
fn selections_that_mean_nothing_are_refused_in_the_words_of_cassandra() {
    let schema = schema();
    let memory = wide(&schema);
    check(
        &memory,
        &[
            ("SELECT abs(missing) FROM w", "Undefined column name missing in table ks.w"),
            ("SELECT abs(nothing(v)) FROM w", "Unknown function 'nothing'"),
            ("SELECT ks.nothing(v) FROM w", "Unknown function 'ks.nothing'"),
            ("SELECT now() + 1 FROM w", "the '+' operation is not supported between system.now() and 1"),
            (
                "SELECT v + null FROM w",
                "Ambiguous '+' operation with args v and NULL: use type hint to disambiguate, \
             example '(int) ?'",
            ),
            (
                "SELECT to_json(map_keys({'a': 1})) FROM w",
                "Cannot infer type of argument {'a': 1} in call to function \
             system.map_keys(map): use type casts to disambiguate",
            ),
            (
                "SELECT CAST(1 AS text) FROM w",
                "Cannot infer type for term 1 in selection clause (try using a cast to \
             force a type)",
            ),
            ("SELECT d, CAST(v AS uuid) FROM w", "d cannot be cast to uuid: there is no cast of v of type int to it"),
            (
                "SELECT count(v, v) FROM w",
                "Invalid number of arguments in call to function system.count: 1 required but \
             2 provided",
            ),
        ],
    );
    // Names before colons may be columns.
    let found = memory.answer("SELECT (map<int, text>) {c: d} FROM w WHERE p = 2", &[]);
    assert_eq!(found, "{5: 'z'}");
}

#[test]
fn markers_have_names_and_types() {
    let schema = schema();
    let specs = |text: &str| -> Vec<String> {
        let prepared = crate::prepare(text, &schema, Some("ks")).unwrap_or_else(|error| panic!("{text}: {error}"));
        prepared.parameters().iter().map(|spec| format!("{} {}", spec.name, spec.cql_type)).collect()
    };
    let cases: [(&str, &[&str]); 8] = [
        ("SELECT * FROM w WHERE p IN ? AND c IN (?, 1)", &["in(p) frozen<list<int>>", "c int"]),
        ("SELECT * FROM w WHERE p = ? AND (c, d) > ?", &["p int", "(c,d) frozen<tuple<int, text>>"]),
        ("SELECT * FROM w WHERE p = 1 AND (c, d) IN ?", &["in((c,d)) frozen<list<frozen<tuple<int, text>>>>"]),
        ("SELECT * FROM w WHERE token(p) > ?", &["partition key token bigint"]),
        (
            "SELECT * FROM x WHERE m[?] = ? AND st CONTAINS ? ALLOW FILTERING",
            &["key(m) text", "value(m) int", "value(st) text"],
        ),
        (
            "SELECT (int)?, m[?] FROM x PER PARTITION LIMIT ? LIMIT :l",
            &["[selection] int", "key(m) text", "[per_partition_limit] int", "l int"],
        ),
        ("SELECT * FROM w WHERE p = 1 + (int)?", &["arg1(system._add) int"]),
        ("SELECT * FROM n WHERE p = 1 AND at > to_timestamp(?)", &[]),
    ];
    for (text, expected) in &cases[..7] {
        assert_eq!(specs(text), *expected, "{text}");
    }
    let ambiguous = crate::prepare(cases[7].0, &schema, Some("ks")).unwrap_err().to_string();
    assert!(ambiguous.starts_with("Ambiguous call to function to_timestamp"), "{ambiguous}");
}

#[test]
fn unset_and_null_values_are_refused_where_cassandra_refuses_them() {
    let schema = schema();
    let memory = wide(&schema);
    let unset = || vec![BoundValue::Unset];
    let null = || vec![BoundValue::Null];
    let cases = [
        ("SELECT v FROM w WHERE p = ?", unset(), "Invalid unset value for column p"),
        ("SELECT v FROM w WHERE p = 1 AND c IN ?", unset(), "Invalid unset value for column c"),
        ("SELECT v FROM w WHERE p = 1 AND c IN ?", null(), "Invalid null value for column c"),
        ("SELECT v FROM w WHERE p = 1 AND c > ?", null(), "Invalid null value in condition for column c"),
        ("SELECT v FROM w WHERE v = ? ALLOW FILTERING", unset(), "Unsupported unset value for column v"),
        ("SELECT v FROM w WHERE p = 1 AND (c, d) = ?", unset(), "Invalid unset value for tuple (c,d)"),
        ("SELECT v FROM w WHERE token(p) > ?", null(), "Invalid null token value"),
        ("SELECT v FROM w LIMIT ?", null(), "Invalid null value of limit"),
        ("SELECT v FROM w PER PARTITION LIMIT ?", null(), "Invalid null value of per partition limit"),
        ("SELECT v FROM w WHERE p = 1 AND c = 1 LIMIT ?", unset(), "11; 10"),
        ("SELECT abs((int)?) FROM w WHERE p = 1", unset(), "Invalid unset value for argument in call to function abs"),
        ("SELECT v FROM w WHERE p = 1 AND c = 1 AND d IN ('a', ?)", vec![bound(crate::fixture::text("b"))], "11; 10"),
        ("SELECT v + (int)? FROM w WHERE p = 1 AND c = 2", vec![bound(int(5))], "17"),
    ];
    for (statement, values, expected) in cases {
        assert_eq!(memory.answer(statement, &values), expected, "{statement}");
    }
}

#[test]
fn a_saved_state_that_does_not_fit_is_refused() {
    let schema = schema();
    let memory = wide(&schema);
    let read = memory.read("SELECT p, c, sum(v) FROM w GROUP BY p, c LIMIT 9", &[]).unwrap();
    let (_, saved) = memory.page(&read, None, 1).unwrap();
    let saved = saved.unwrap();
    let others = [
        "SELECT p, c, sum(v) FROM w GROUP BY p, c",
        "SELECT count(*) FROM w LIMIT 9",
        "SELECT p, c, sum(v) FROM w WHERE p = 2 GROUP BY p, c LIMIT 9",
        "SELECT p, c, sum(v) FROM w WHERE token(p) < -9000000000000000000 GROUP BY p, c LIMIT 9",
        "SELECT k FROM x LIMIT 9",
    ];
    for other in others {
        let read = memory.read(other, &[]).unwrap();
        let found = memory.page(&read, Some(&saved), 1);
        assert!(matches!(found, Err(RequestError::Invalid(_))), "{other}: {found:?}");
    }
    for length in 0..saved.len() {
        let cut = saved.slice(..length);
        assert!(memory.page(&read, Some(&cut), 1).is_err(), "cut at {length}");
    }
    let mut longer = saved.to_vec();
    longer.push(0);
    assert!(memory.page(&read, Some(&Bytes::from(longer)), 1).is_err());
    assert!(memory.page(&read, Some(&saved), 0).unwrap_err().to_string().contains("must be positive"));
}

/// Statements of every kind, for pages of any size.
const STATEMENTS: [&str; 14] = [
    "SELECT * FROM w",
    "SELECT p, c, d, v FROM w LIMIT 7",
    "SELECT v FROM w PER PARTITION LIMIT 2",
    "SELECT v FROM w PER PARTITION LIMIT 2 LIMIT 5",
    "SELECT v FROM w WHERE p IN (0, 1, 2) AND c IN (0, 2)",
    "SELECT v FROM w WHERE p = 1 ORDER BY c DESC",
    "SELECT v FROM w WHERE v > 3 ALLOW FILTERING",
    "SELECT v FROM w WHERE s = 1 AND v > 2 PER PARTITION LIMIT 2 ALLOW FILTERING",
    "SELECT DISTINCT p, s FROM w",
    "SELECT count(*), sum(v), avg(v), min(w), max(d) FROM w",
    "SELECT p, count(*), sum(v) FROM w GROUP BY p",
    "SELECT p, c, count(*), max(v), w FROM w GROUP BY p, c",
    "SELECT p, c, count(*), max(v) FROM w GROUP BY p, c PER PARTITION LIMIT 1 LIMIT 3",
    "SELECT JSON p, s, v FROM w",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// However the result is split into pages, and wherever the coordinator ends one, it is the same.
    #[test]
    fn pages_of_any_size_are_one_result(
        rows in prop::collection::vec((0i32..4, 0i32..4, "[abc]", 0i32..6, prop::option::of(-1i64..2)), 0..14),
        statics in prop::collection::vec((0i32..5, 0i32..3), 0..4),
        statement in prop::sample::select(STATEMENTS.to_vec()),
        sizes in prop::collection::vec(1u32..5, 1..4),
        interrupted: bool,
    ) {
        let schema = schema();
        let mut memory = Memory::new(&schema, "w");
        for (p, c, d, v, expires) in &rows {
            memory.insert(&format!(r#"{{"p": {p}, "c": {c}, "d": "{d}", "v": {v}, "w": "{d}{v}"}}"#), 1, *expires);
        }
        for (p, s) in &statics {
            memory.insert(&format!(r#"{{"p": {p}, "s": {s}}}"#), 1, None);
        }
        let read = memory.read(statement, &[]).unwrap();
        let (whole, end) = memory.page(&read, None, u32::MAX).unwrap();
        prop_assert_eq!(end, None);
        let (mut found, mut saved, mut turn) = (Vec::new(), None, 0);
        loop {
            let size = sizes[turn % sizes.len()];
            let page = if interrupted {
                memory.interrupted_page(&read, saved.as_ref(), size, turn + 1)
            } else {
                memory.page(&read, saved.as_ref(), size)
            };
            let (rows, next) = page.unwrap();
            prop_assert!(rows.len() <= size as usize);
            found.extend(rows);
            saved = next;
            turn += 1;
            if saved.is_none() {
                break;
            }
            prop_assert!(turn < 1_000, "it ends");
        }
        prop_assert_eq!(found, whole, "{}", statement);
    }

    #[test]
    fn any_bytes_are_a_saved_state_or_refused(
        bytes: Vec<u8>, statement in prop::sample::select(STATEMENTS.to_vec()),
    ) {
        let schema = schema();
        let memory = wide(&schema);
        let read = memory.read(statement, &[]).unwrap();
        let limits = PageLimits { rows: 1, bytes: 1 };
        let _ = ResultBuilder::start(&read, Some(&Bytes::from(bytes)), limits, NOW_SECONDS);
    }
}

#[test]
fn reads_without_partitions_are_empty() {
    let schema = schema();
    let memory = wide(&schema);
    for text in ["SELECT v FROM w WHERE p IN ()", "SELECT v FROM w WHERE p = 1 AND c > 3 AND c < 3"] {
        let read = memory.read(text, &[]).unwrap();
        assert!(read.is_empty());
        assert_eq!(read.source(), ReadSource::Partitions(Vec::new()));
    }
    assert_eq!(table(&schema, "w").name, "w");
}

#[test]
fn a_page_can_end_where_nothing_was_found() {
    let schema = schema();
    let read = Arc::new(crate::fixture::read(&schema, "SELECT v FROM w WHERE p = 2", &[]));
    let ReadSource::Partitions(partitions) = read.source() else { panic!("one partition") };
    let limits = PageLimits { rows: 5, bytes: 1 << 20 };
    let position = |partition: &PartitionKey| ReadPosition { partition: partition.clone(), within: None };
    let mut builder = ResultBuilder::start(&read, None, limits, NOW_SECONDS).unwrap();
    // Not one that this read comes to.
    builder.pass(position(&PartitionKey::from_components(&[int(1)]).unwrap()));
    assert_eq!(builder.position(), None);
    builder.pass(position(&partitions[0]));
    let page = builder.finish(false).unwrap();
    assert!(page.rows.is_empty());
    let next = ResultBuilder::start(&read, page.saved.as_ref(), limits, NOW_SECONDS).unwrap();
    assert_eq!(next.position(), Some(&position(&partitions[0])));
}

#[test]
fn rows_are_filtered_by_what_is_null() {
    let schema = schema();
    check(
        &wide(&schema),
        &[
            ("SELECT c, d FROM w WHERE w IS NULL ALLOW FILTERING", "5 z"),
            ("SELECT c, d FROM w WHERE w IS NOT NULL AND v > 11 ALLOW FILTERING", "2 a; 3 x"),
            ("SELECT p, c FROM w WHERE s IS NULL ALLOW FILTERING", "2 5"),
            ("SELECT c FROM w WHERE p = 1 AND c IS NOT NULL AND v = 12 ALLOW FILTERING", "2"),
        ],
    );
    let mut memory = Memory::new(&schema, "x");
    memory.insert(r#"{"k": 1, "l": [1], "m": {"a": 1}, "a": {"street": "x"}}"#, 5, None);
    memory.insert(r#"{"k": 2, "l": [], "f": {}}"#, 5, None);
    check(
        &memory,
        &[
            ("SELECT k FROM x WHERE l IS NULL ALLOW FILTERING", "2"),
            ("SELECT k FROM x WHERE m IS NOT NULL AND a IS NOT NULL ALLOW FILTERING", "1"),
            ("SELECT k FROM x WHERE f IS NOT NULL ALLOW FILTERING", "2"),
        ],
    );
}
