//! Filters over replicas of which some are stale, with and without an index: what matches is decided by the newest
//! state, never by a replica's own. As the scenarios of Cassandra's tests of replica-side filtering.

use crate::Response;
use crate::test_cluster::{ALL, Cluster, schema, view};
use bytes::Bytes;

/// A table, what all replicas hold, what only the first and only the others hold, a query, and its rows.
type Scenario = (
    &'static str,
    &'static str,
    &'static [&'static str],
    [&'static [&'static str]; 2],
    &'static str,
    &'static [&'static str],
);

const SKINNY: &str = "CREATE TABLE f (k int PRIMARY KEY, v int)";
const WIDE: &str = "CREATE TABLE f (k int, c int, v int, s int static, PRIMARY KEY (k, c))";
const SETS: &str = "CREATE TABLE f (k int PRIMARY KEY, v set<int>)";

const SCENARIOS: [Scenario; 28] = [
    (
        "update on a skinny table",
        SKINNY,
        &["INSERT INTO f (k, v) VALUES (0, 1)"],
        [&["UPDATE f SET v = 2 WHERE k = 0"], &[]],
        "SELECT k FROM f WHERE v = 1",
        &[],
    ),
    (
        "update on a skinny table, the other way",
        SKINNY,
        &["INSERT INTO f (k, v) VALUES (0, 1)"],
        [&["UPDATE f SET v = 2 WHERE k = 0"], &[]],
        "SELECT k FROM f WHERE v = 2",
        &["0"],
    ),
    (
        "update on a wide table",
        WIDE,
        &["INSERT INTO f (k, c, v) VALUES (0, 0, 1)", "INSERT INTO f (k, c, v) VALUES (0, 1, 1)"],
        [&["UPDATE f SET v = 2 WHERE k = 0 AND c = 0"], &[]],
        "SELECT c FROM f WHERE v = 1",
        &["1"],
    ),
    (
        "update on a static column without rows",
        WIDE,
        &["UPDATE f SET s = 1 WHERE k = 0"],
        [&["UPDATE f SET s = 2 WHERE k = 0"], &[]],
        "SELECT DISTINCT k FROM f WHERE s = 2",
        &["0"],
    ),
    (
        "update on a static column with rows",
        WIDE,
        &["INSERT INTO f (k, c, v, s) VALUES (0, 0, 1, 1)"],
        [&["UPDATE f SET s = 2 WHERE k = 0"], &[]],
        "SELECT c FROM f WHERE s = 1",
        &[],
    ),
    (
        "update on a collection",
        SETS,
        &["INSERT INTO f (k, v) VALUES (0, {1})"],
        [&["UPDATE f SET v = v - {1} WHERE k = 0"], &["UPDATE f SET v = v + {2} WHERE k = 0"]],
        "SELECT k FROM f WHERE v CONTAINS 2",
        &["0"],
    ),
    (
        "deletion of an element of a collection",
        SETS,
        &["INSERT INTO f (k, v) VALUES (0, {1})"],
        [&["UPDATE f SET v = v - {1} WHERE k = 0"], &[]],
        "SELECT k FROM f WHERE v CONTAINS 1",
        &[],
    ),
    (
        "complementary deletion with a limit",
        WIDE,
        &["INSERT INTO f (k, c, v) VALUES (0, 1, 0)", "INSERT INTO f (k, c, v) VALUES (0, 2, 0)"],
        [&["DELETE FROM f WHERE k = 0 AND c = 1"], &["DELETE FROM f WHERE k = 0 AND c = 2"]],
        "SELECT c FROM f WHERE v = 0 LIMIT 1",
        &[],
    ),
    (
        "complementary update with a limit",
        WIDE,
        &[
            "INSERT INTO f (k, c, v) VALUES (0, 1, 0)",
            "INSERT INTO f (k, c, v) VALUES (0, 2, 0)",
            "INSERT INTO f (k, c, v) VALUES (0, 3, 0)",
        ],
        [&["UPDATE f SET v = 1 WHERE k = 0 AND c = 1"], &["UPDATE f SET v = 1 WHERE k = 0 AND c = 2"]],
        "SELECT c FROM f WHERE v = 0 LIMIT 1",
        &["3"],
    ),
    (
        "partition deletion on a skinny table",
        SKINNY,
        &["INSERT INTO f (k, v) VALUES (0, 1)", "INSERT INTO f (k, v) VALUES (1, 1)"],
        [&["DELETE FROM f WHERE k = 0"], &[]],
        "SELECT k FROM f WHERE v = 1",
        &["1"],
    ),
    (
        "partition deletion on a wide table",
        WIDE,
        &["INSERT INTO f (k, c, v) VALUES (0, 1, 0)", "INSERT INTO f (k, c, v) VALUES (0, 2, 0)"],
        [&["DELETE FROM f WHERE k = 0"], &[]],
        "SELECT c FROM f WHERE v = 0",
        &[],
    ),
    (
        "row deletion on a wide table",
        WIDE,
        &["INSERT INTO f (k, c, v) VALUES (0, 1, 0)", "INSERT INTO f (k, c, v) VALUES (0, 2, 0)"],
        [&["DELETE FROM f WHERE k = 0 AND c = 1"], &[]],
        "SELECT c FROM f WHERE v = 0",
        &["2"],
    ),
    (
        "range deletion on a wide table",
        WIDE,
        &["INSERT INTO f (k, c, v) VALUES (0, 1, 0)", "INSERT INTO f (k, c, v) VALUES (0, 5, 0)"],
        [&["DELETE FROM f WHERE k = 0 AND c < 3"], &[]],
        "SELECT c FROM f WHERE v = 0",
        &["5"],
    ),
    (
        "mismatching insertions on a skinny table",
        SKINNY,
        &[],
        [&["INSERT INTO f (k, v) VALUES (0, 0)"], &["INSERT INTO f (k, v) VALUES (0, 1)"]],
        "SELECT k FROM f WHERE v = 0",
        &[],
    ),
    (
        "mismatching insertions on a wide table",
        WIDE,
        &[],
        [&["INSERT INTO f (k, c, v) VALUES (0, 1, 0)"], &["INSERT INTO f (k, c, v) VALUES (0, 2, 0)"]],
        "SELECT c FROM f WHERE v = 0",
        &["1", "2"],
    ),
    (
        "updates that only together match",
        WIDE,
        &["INSERT INTO f (k, c, v, s) VALUES (0, 1, 0, 0)"],
        [&["UPDATE f SET v = 1 WHERE k = 0 AND c = 1"], &["UPDATE f SET s = 1 WHERE k = 0"]],
        "SELECT c FROM f WHERE v = 1 AND s = 1",
        &["1"],
    ),
    (
        "complementary deletion with a limit on the clustering key",
        WIDE,
        &["INSERT INTO f (k, c, v) VALUES (0, 1, 0)", "INSERT INTO f (k, c, v) VALUES (0, 2, 0)"],
        [&["DELETE FROM f WHERE k = 0 AND c = 1"], &["DELETE FROM f WHERE k = 0 AND c = 2"]],
        "SELECT c FROM f WHERE c > 0 LIMIT 1",
        &[],
    ),
    (
        "complementary deletion with a limit on a static column, partitions without rows",
        WIDE,
        &["INSERT INTO f (k, s) VALUES (1, 0)", "INSERT INTO f (k, s) VALUES (2, 0)"],
        [&["DELETE FROM f WHERE k = 1"], &["DELETE FROM f WHERE k = 2"]],
        "SELECT DISTINCT k FROM f WHERE s = 0 LIMIT 1",
        &[],
    ),
    (
        "complementary deletion with a limit on a static column, partitions with rows",
        WIDE,
        &["INSERT INTO f (k, c, v, s) VALUES (1, 1, 0, 0)", "INSERT INTO f (k, c, v, s) VALUES (2, 2, 0, 0)"],
        [&["DELETE FROM f WHERE k = 1"], &["DELETE FROM f WHERE k = 2"]],
        "SELECT c FROM f WHERE s = 0 LIMIT 1",
        &[],
    ),
    (
        "complementary deletion with a limit on a static column, and rows after",
        WIDE,
        &[
            "INSERT INTO f (k, c, v, s) VALUES (1, 1, 0, 0)",
            "INSERT INTO f (k, c, v, s) VALUES (2, 2, 0, 0)",
            "INSERT INTO f (k, c, v, s) VALUES (3, 3, 0, 0)",
        ],
        [&["DELETE FROM f WHERE k = 1"], &["DELETE FROM f WHERE k = 2"]],
        "SELECT c FROM f WHERE s = 0 LIMIT 1",
        &["3"],
    ),
    (
        "complementary deletion with a limit, and rows after",
        WIDE,
        &[
            "INSERT INTO f (k, c, v) VALUES (0, 1, 0)",
            "INSERT INTO f (k, c, v) VALUES (0, 2, 0)",
            "INSERT INTO f (k, c, v) VALUES (0, 3, 0)",
        ],
        [
            &["DELETE FROM f WHERE k = 0 AND c = 1"],
            &["DELETE FROM f WHERE k = 0 AND c = 2", "INSERT INTO f (k, c, v) VALUES (0, 4, 0)"],
        ],
        "SELECT c FROM f WHERE v = 0 LIMIT 2",
        &["3", "4"],
    ),
    (
        "complementary deletion with a limit, and rows between",
        WIDE,
        &["INSERT INTO f (k, c, v) VALUES (0, 1, 0)", "INSERT INTO f (k, c, v) VALUES (0, 4, 0)"],
        [
            &["DELETE FROM f WHERE k = 0 AND c = 1"],
            &[
                "DELETE FROM f WHERE k = 0 AND c = 4",
                "INSERT INTO f (k, c, v) VALUES (0, 2, 0)",
                "INSERT INTO f (k, c, v) VALUES (0, 3, 0)",
            ],
        ],
        "SELECT c FROM f WHERE v = 0 LIMIT 2",
        &["2", "3"],
    ),
    (
        "complementary update with a limit on a static column, partitions without rows",
        WIDE,
        &["INSERT INTO f (k, s) VALUES (1, 0)", "INSERT INTO f (k, s) VALUES (2, 0)"],
        [&["UPDATE f SET s = 1 WHERE k = 1"], &["UPDATE f SET s = 1 WHERE k = 2"]],
        "SELECT DISTINCT k FROM f WHERE s = 0 LIMIT 1",
        &[],
    ),
    (
        "complementary update with a limit on a static column, partitions with rows",
        WIDE,
        &["INSERT INTO f (k, c, v, s) VALUES (1, 1, 0, 0)", "INSERT INTO f (k, c, v, s) VALUES (2, 2, 0, 0)"],
        [&["UPDATE f SET s = 1 WHERE k = 1"], &["UPDATE f SET s = 1 WHERE k = 2"]],
        "SELECT c FROM f WHERE s = 0 LIMIT 1",
        &[],
    ),
    (
        "complementary update with a limit, and rows between",
        WIDE,
        &["INSERT INTO f (k, c, v) VALUES (0, 1, 0)", "INSERT INTO f (k, c, v) VALUES (0, 4, 0)"],
        [
            &["UPDATE f SET v = 1 WHERE k = 0 AND c = 1"],
            &[
                "UPDATE f SET v = 1 WHERE k = 0 AND c = 4",
                "INSERT INTO f (k, c, v) VALUES (0, 2, 0)",
                "INSERT INTO f (k, c, v) VALUES (0, 3, 0)",
            ],
        ],
        "SELECT c FROM f WHERE v = 0 LIMIT 2",
        &["2", "3"],
    ),
    (
        "replicas that agree, skinny",
        SKINNY,
        &["INSERT INTO f (k, v) VALUES (0, 0)", "INSERT INTO f (k, v) VALUES (1, 1)"],
        [&[], &[]],
        "SELECT k FROM f WHERE v = 1",
        &["1"],
    ),
    (
        "replicas that agree, wide",
        WIDE,
        &[
            "INSERT INTO f (k, c, v) VALUES (0, 1, 0)",
            "INSERT INTO f (k, c, v) VALUES (0, 2, 1)",
            "INSERT INTO f (k, c, v) VALUES (0, 3, 0)",
        ],
        [&[], &[]],
        "SELECT c FROM f WHERE v = 0",
        &["1", "3"],
    ),
    (
        "insertions that a replica missed, counted",
        WIDE,
        &["INSERT INTO f (k, c, v) VALUES (0, 1, 0)"],
        [
            &["INSERT INTO f (k, c, v) VALUES (0, 2, 0)"],
            &["INSERT INTO f (k, c, v) VALUES (0, 3, 0)", "INSERT INTO f (k, c, v) VALUES (0, 4, 1)"],
        ],
        "SELECT c FROM f WHERE v = 0",
        &["1", "2", "3"],
    ),
];

#[test]
fn what_matches_is_decided_by_the_newest_state_of_all_replicas() {
    for (name, table, everywhere, [first, others], query, expected) in SCENARIOS {
        // Which replicas are stale, and whether the coordinator is one of them; with an index and without.
        for (coordinator, indexed, page_rows) in [(1, false, 5_000), (2, false, 1), (1, true, 5_000), (3, true, 1)] {
            let column = if table == SETS { "VALUES(v)" } else { "v" };
            let index = format!("CREATE INDEX ON f ({column})");
            let statements = if indexed { vec![table, index.as_str()] } else { vec![table] };
            let mut cluster = Cluster::new();
            cluster.publish(view(11, &[1, 2, 3], schema(3, &statements)));
            let mut timestamp = 10;
            let mut plant = |cluster: &mut Cluster, nodes: &[u128], texts: &[&str]| {
                for text in texts {
                    timestamp += 1;
                    cluster.plant(nodes, text, timestamp);
                }
            };
            plant(&mut cluster, &[1, 2, 3], everywhere);
            plant(&mut cluster, &[1], first);
            plant(&mut cluster, &[2, 3], others);
            let filtered = format!("{query} ALLOW FILTERING");
            let rows = cluster.rows_by(coordinator, &filtered, ALL, page_rows);
            assert_eq!(rows, expected, "{name}, through {coordinator}, indexed {indexed}, by {page_rows}");
        }
    }
}

#[test]
fn rows_that_match_are_counted_as_they_are_found() {
    for indexed in [false, true] {
        let statements = if indexed { vec![WIDE, "CREATE INDEX ON f (v)"] } else { vec![WIDE] };
        let mut cluster = Cluster::new();
        cluster.publish(view(11, &[1, 2, 3], schema(3, &statements)));
        for (nodes, c) in [(&[1][..], 1), (&[2, 3], 2), (&[1, 2, 3], 3)] {
            cluster.plant(nodes, &format!("INSERT INTO f (k, c, v) VALUES (0, {c}, 0)"), 10);
        }
        cluster.plant(&[2], "UPDATE f SET v = 1 WHERE k = 0 AND c = 3", 11);
        let request = cluster.read(1, "SELECT count(*) FROM f WHERE v = 0 ALLOW FILTERING", ALL);
        cluster.run();
        let Some(Ok(Response::Rows { rows, .. })) = cluster.reply(request) else { panic!("no count") };
        assert_eq!(rows, [[Some(Bytes::copy_from_slice(&2_i64.to_be_bytes()))]], "indexed {indexed}");
    }
}
