//! Short reads: replicas whose limited answers do not reach equally far, since each lacks what others have. As the
//! scenarios of Cassandra's tests of short-read protection. A cluster whose replicas all have everything is the oracle.

use crate::test_cluster::{ALL, Cluster, QUORUM, schema, view};

const WIDE: &str = "CREATE TABLE f (k int, c int, v int, s int static, PRIMARY KEY (k, c))";
const SKINNY: &str = "CREATE TABLE f (k int PRIMARY KEY, v int)";

/// What the replicas hold: all of them, then in the order of timestamps some.
type Held<'a> = &'a [(&'a [u128], &'a str)];

fn cluster(table: &str) -> Cluster {
    let mut cluster = Cluster::new();
    cluster.publish(view(11, &[1, 2, 3], schema(3, &[table])));
    cluster
}

/// The rows of a query over replicas that hold this, which are those of a cluster whose replicas all hold everything,
/// through any coordinator and by pages of any size; afterwards every replica alone answers alike.
fn rows(table: &str, held: Held<'_>, query: &str) -> Vec<String> {
    let mut whole = cluster(table);
    for (timestamp, (_, text)) in (10..).zip(held) {
        whole.plant(&[1, 2, 3], text, timestamp);
    }
    let expected = whole.rows(1, query, ALL);
    for (coordinator, page_rows) in [(1, 5_000), (2, 1), (3, 2)] {
        let mut cluster = cluster(table);
        for (timestamp, (nodes, text)) in (10..).zip(held) {
            cluster.plant(nodes, text, timestamp);
        }
        let found = cluster.rows_by(coordinator, query, ALL, page_rows);
        assert_eq!(found, expected, "{query} through {coordinator} by {page_rows}");
        cluster.assert_idle();
    }
    expected
}

const EVERYWHERE: &[u128] = &[1, 2, 3];

#[test]
fn a_short_read_behind_which_nothing_is_live_finds_nothing() {
    // test_short_read_delete
    let held: Held<'_> = &[
        (EVERYWHERE, "INSERT INTO f (k, c, v) VALUES (0, 1, 1)"),
        (EVERYWHERE, "INSERT INTO f (k, c, v) VALUES (0, 2, 1)"),
        (&[1], "DELETE FROM f WHERE k = 0 AND c = 1"),
        (&[2, 3], "DELETE FROM f WHERE k = 0 AND c = 2"),
    ];
    assert!(rows(WIDE, held, "SELECT c FROM f WHERE k = 0 LIMIT 1").is_empty());
    assert!(rows(WIDE, held, "SELECT c FROM f WHERE k = 0 ORDER BY c DESC LIMIT 1").is_empty());
}

#[test]
fn deletions_that_different_quorums_have_are_all_seen_by_a_limited_read() {
    // test_short_read_quorum_delete
    let mut cluster = cluster(WIDE);
    for (c, deleted) in [(1, [1, 2]), (2, [2, 3]), (3, [1, 3])] {
        cluster.plant(EVERYWHERE, &format!("INSERT INTO f (k, c, v) VALUES (0, {c}, 1)"), 10);
        cluster.plant(&deleted, &format!("DELETE FROM f WHERE k = 0 AND c = {c}"), 20);
    }
    for coordinator in [1, 2, 3] {
        assert!(cluster.rows(coordinator, "SELECT c FROM f WHERE k = 0 LIMIT 1", QUORUM).is_empty());
    }
}

#[test]
fn rows_between_the_deletions_of_one_replica_and_the_insertions_of_another_are_found() {
    // test_12872
    let held: Held<'_> = &[
        (&[1], "INSERT INTO f (k, c, v) VALUES (0, 0, 1)"),
        (&[1], "INSERT INTO f (k, c, v) VALUES (0, 1, 1)"),
        (&[1], "INSERT INTO f (k, c, v) VALUES (0, 2, 1)"),
        (&[1], "DELETE FROM f WHERE k = 0 AND c >= 0 AND c <= 1"),
        (&[2, 3], "INSERT INTO f (k, c, v) VALUES (0, 4, 1)"),
        (&[2, 3], "INSERT INTO f (k, c, v) VALUES (0, 5, 1)"),
        (&[1], "INSERT INTO f (k, c, v) VALUES (0, 3, 1)"),
        (&[2, 3], "DELETE FROM f WHERE k = 0 AND c = 4"),
    ];
    assert_eq!(rows(WIDE, held, "SELECT c FROM f WHERE k = 0 LIMIT 2"), ["2", "3"]);
    assert_eq!(rows(WIDE, held, "SELECT c FROM f WHERE k = 0 LIMIT 3"), ["2", "3", "5"]);
}

#[test]
fn a_limited_scan_goes_on_behind_partitions_that_replicas_have_deleted() {
    // test_13595
    let mut held: Vec<(&[u128], String)> = Vec::new();
    held.extend((0..10).map(|k| (EVERYWHERE, format!("INSERT INTO f (k, v) VALUES ({k}, 1)"))));
    held.extend([0, 2, 4, 6].map(|k| (&[1][..], format!("DELETE FROM f WHERE k = {k}"))));
    held.extend([1, 3, 5, 7].map(|k| (&[2, 3][..], format!("DELETE FROM f WHERE k = {k}"))));
    let held: Vec<(&[u128], &str)> = held.iter().map(|(nodes, text)| (*nodes, text.as_str())).collect();
    assert_eq!(rows(SKINNY, &held, "SELECT k FROM f").len(), 2);
    assert_eq!(rows(SKINNY, &held, "SELECT k FROM f LIMIT 1").len(), 1);
    assert_eq!(rows(SKINNY, &held, "SELECT k FROM f LIMIT 5").len(), 2);
}

#[test]
fn distinct_partitions_are_those_that_no_replica_has_deleted() {
    // test_13747
    let mut held: Vec<(&[u128], String)> = Vec::new();
    held.extend((0..10).map(|k| (EVERYWHERE, format!("INSERT INTO f (k, c, v) VALUES ({k}, 1, 1)"))));
    held.extend((0..8).map(|k| (&[1][..], format!("DELETE FROM f WHERE k = {k}"))));
    let held: Vec<(&[u128], &str)> = held.iter().map(|(nodes, text)| (*nodes, text.as_str())).collect();
    assert_eq!(rows(WIDE, &held, "SELECT DISTINCT k FROM f").len(), 2);
    assert_eq!(rows(WIDE, &held, "SELECT DISTINCT k FROM f LIMIT 1").len(), 1);
}

#[test]
fn a_limit_per_partition_over_a_deleted_partition_comes_to_its_end() {
    // test_13880
    let held: Held<'_> =
        &[(EVERYWHERE, "INSERT INTO f (k, c, v) VALUES (0, 1, 1)"), (&[1], "DELETE FROM f WHERE k = 0")];
    assert!(rows(WIDE, held, "SELECT c FROM f WHERE k = 0 PER PARTITION LIMIT 1").is_empty());
    assert!(rows(WIDE, held, "SELECT c FROM f PER PARTITION LIMIT 1").is_empty());
}

#[test]
fn a_static_row_without_rows_on_one_replica_is_a_partition() {
    // test_13911
    let held: Held<'_> = &[
        (&[1], "INSERT INTO f (k, s) VALUES (0, 1)"),
        (&[2, 3], "INSERT INTO f (k, c, v) VALUES (1, 1, 1)"),
        (EVERYWHERE, "INSERT INTO f (k, c, v) VALUES (2, 1, 1)"),
        (&[2], "DELETE FROM f WHERE k = 2 AND c = 1"),
    ];
    let mut found = rows(WIDE, held, "SELECT DISTINCT k FROM f");
    found.sort();
    assert_eq!(found, ["0", "1"]);
    assert_eq!(rows(WIDE, held, "SELECT DISTINCT k FROM f LIMIT 1").len(), 1);
}

#[test]
fn a_limit_and_a_limit_per_partition_are_both_filled_with_rows() {
    // test_13911_rows_srp
    let mut held: Vec<(&[u128], String)> = Vec::new();
    for k in 0..2 {
        held.extend((0..10).map(|c| (EVERYWHERE, format!("INSERT INTO f (k, c, v) VALUES ({k}, {c}, 1)"))));
        held.extend((0..3).map(|c| (&[1][..], format!("DELETE FROM f WHERE k = {k} AND c = {c}"))));
        held.extend((3..6).map(|c| (&[2, 3][..], format!("DELETE FROM f WHERE k = {k} AND c = {c}"))));
    }
    let held: Vec<(&[u128], &str)> = held.iter().map(|(nodes, text)| (*nodes, text.as_str())).collect();
    let limited = |query: &str| rows(WIDE, &held, query);
    assert_eq!(limited("SELECT c FROM f WHERE k = 0 PER PARTITION LIMIT 2"), ["6", "7"]);
    assert_eq!(limited("SELECT c FROM f PER PARTITION LIMIT 2 LIMIT 3"), ["6", "7", "6"]);
    assert_eq!(limited("SELECT c FROM f PER PARTITION LIMIT 3 LIMIT 10").len(), 6);
}

#[test]
fn a_limit_and_a_limit_per_partition_are_both_filled_with_partitions() {
    // test_13911_partitions_srp
    let mut held: Vec<(&[u128], String)> = Vec::new();
    for k in 0..12 {
        held.push((EVERYWHERE, format!("INSERT INTO f (k, c, v) VALUES ({k}, 1, 1)")));
        held.push((EVERYWHERE, format!("INSERT INTO f (k, c, v) VALUES ({k}, 2, 1)")));
        let nodes: &[u128] = if k % 2 == 0 { &[1] } else { &[2, 3] };
        if k < 9 {
            held.push((nodes, format!("DELETE FROM f WHERE k = {k}")));
        }
    }
    let held: Vec<(&[u128], &str)> = held.iter().map(|(nodes, text)| (*nodes, text.as_str())).collect();
    assert_eq!(rows(WIDE, &held, "SELECT k FROM f PER PARTITION LIMIT 1 LIMIT 2").len(), 2);
    assert_eq!(rows(WIDE, &held, "SELECT k FROM f PER PARTITION LIMIT 1").len(), 3);
}

#[test]
fn a_range_deletion_that_reaches_over_many_short_reads_is_whole() {
    // test_14330
    let mut held: Vec<(&[u128], String)> = Vec::new();
    held.extend((0..10).map(|c| (EVERYWHERE, format!("INSERT INTO f (k, c, v) VALUES (0, {c}, 1)"))));
    held.push((&[2], "DELETE FROM f WHERE k = 0 AND c >= 1 AND c <= 8".to_owned()));
    held.push((&[1], "DELETE FROM f WHERE k = 0 AND c = 0".to_owned()));
    held.extend([3, 5, 7].map(|c| (&[3][..], format!("INSERT INTO f (k, c, v) VALUES (0, {c}, 2)"))));
    let held: Vec<(&[u128], &str)> = held.iter().map(|(nodes, text)| (*nodes, text.as_str())).collect();
    assert_eq!(rows(WIDE, &held, "SELECT c FROM f WHERE k = 0"), ["3", "5", "7", "9"]);
    assert_eq!(rows(WIDE, &held, "SELECT c FROM f WHERE k = 0 ORDER BY c DESC"), ["9", "7", "5", "3"]);
    assert_eq!(rows(WIDE, &held, "SELECT c FROM f WHERE k = 0 LIMIT 2"), ["3", "5"]);
}
