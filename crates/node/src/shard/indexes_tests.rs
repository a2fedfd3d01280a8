//! Reads by a secondary index over a cluster: pages, replicas that differ, further restrictions, and a placement that
//! changes.

use super::scans_tests::{key, names, pages, plant};
use crate::io::{Message, ReadFigures, Response};
use crate::test_cluster::{ALL, Cluster, Flight, ONE, QUORUM, TABLE, node, schema, view};
use model::RequestError;
use std::time::Duration;

const BY_VALUE: &str = "SELECT k, c, v FROM t WHERE v = 'x'";

/// The small number that a row ends with, as its wire form is shown.
fn counted(row: &str) -> usize {
    row.chars().next_back().unwrap() as usize
}

/// A cluster whose table has these indexes.
fn indexed(nodes: &[u128], factor: u32, statements: &[&str]) -> Cluster {
    let mut cluster = Cluster::of(nodes, factor, |_| {});
    cluster.publish(view(11, nodes, schema(factor, statements)));
    cluster
}

/// Rows of many partitions, every third of which has the value `x`; those in order.
fn filled(nodes: &[u128], factor: u32) -> (Cluster, Vec<String>) {
    let mut cluster = indexed(nodes, factor, &[TABLE, "CREATE INDEX ON t (v)"]);
    let (mut expected, mut count) = (Vec::new(), 0);
    for name in names(19) {
        for c in 0..4 {
            count += 1;
            let v = if count % 3 == 0 { "x" } else { "y" };
            let text = format!("INSERT INTO t (k, c, v, w) VALUES ('{name}', {c}, '{v}', 'w{c}')");
            plant(&mut cluster, &text, &name, 10);
            if v == "x" {
                expected.push(format!("{name} {c} x"));
            }
        }
    }
    (cluster, expected)
}

#[test]
fn every_row_with_the_value_is_answered_once_in_order_with_any_page_size() {
    for (nodes, factor) in [(&[1][..], 1), (&[1, 2, 3], 3), (&[1, 2, 3, 4, 5], 3), (&[1, 2, 3, 4, 5, 6], 1)] {
        let (mut cluster, expected) = filled(nodes, factor);
        for (consistency, page_rows) in [(ONE, 5_000), (QUORUM, 25), (ALL, 24), (QUORUM, 7), (ONE, 2), (ALL, 1)] {
            let read = cluster.select(BY_VALUE);
            let rows = pages(&mut cluster, &read, consistency, page_rows, |_| {});
            assert_eq!(rows, expected, "{} nodes, {consistency}, {page_rows}", nodes.len());
        }
        for limit in [1, 2, 3, 24, 25, 26] {
            let limited = format!("{BY_VALUE} LIMIT {limit}");
            let wanted = &expected[..limit.min(expected.len())];
            assert_eq!(cluster.rows_by(1, &limited, QUORUM, 2), wanted);
            assert_eq!(cluster.rows(1, &limited, QUORUM), wanted);
        }
        let count = "SELECT count(*) FROM t WHERE v = 'x'";
        assert_eq!(cluster.rows_by(1, count, QUORUM, 3).iter().map(|row| counted(row)).sum::<usize>(), expected.len());
        assert_eq!(cluster.status(1).read_repairs, 0);
        assert!(cluster.rows(1, "SELECT c FROM t WHERE v = 'z'", QUORUM).is_empty());
        cluster.assert_idle();
    }
}

#[test]
fn limits_per_partition_and_groups_hold_over_look_ups_and_pages() {
    let (mut cluster, expected) = filled(&[1, 2, 3], 3);
    let mut firsts = expected.clone();
    firsts.dedup_by_key(|row| row.split(' ').next().unwrap().to_owned());
    for page_rows in [1, 2, 5_000] {
        let limited = format!("{BY_VALUE} PER PARTITION LIMIT 1");
        assert_eq!(cluster.rows_by(1, &limited, QUORUM, page_rows), firsts);
        let grouped = "SELECT k, count(c) FROM t WHERE v = 'x' GROUP BY k";
        let rows = cluster.rows_by(1, grouped, QUORUM, page_rows);
        assert_eq!(rows.len(), firsts.len());
        assert_eq!(rows.iter().map(|row| counted(row)).sum::<usize>(), expected.len());
    }
}

#[test]
fn further_restrictions_select_or_filter() {
    let (mut cluster, expected) = filled(&[1, 2, 3], 3);
    for name in names(19) {
        let wanted: Vec<String> = expected.iter().filter(|row| row.starts_with(&format!("{name} "))).cloned().collect();
        for page_rows in [1, 5_000] {
            assert_eq!(cluster.rows_by(1, &format!("{BY_VALUE} AND k = '{name}'"), QUORUM, page_rows), wanted);
        }
        let of_slice: Vec<String> =
            wanted.iter().filter(|row| row.split(' ').nth(1).unwrap() >= "2").cloned().collect();
        assert_eq!(cluster.rows(1, &format!("{BY_VALUE} AND k = '{name}' AND c >= 2"), QUORUM), of_slice);
    }
    let filtered: Vec<String> = expected.iter().filter(|row| row.ends_with(" 1 x")).cloned().collect();
    for more in ["w = 'w1'", "c = 1"] {
        assert_eq!(cluster.rows_by(1, &format!("{BY_VALUE} AND {more} ALLOW FILTERING"), QUORUM, 2), filtered);
    }
}

/// X4: whatever each replica missed, a quorum names every row that has the value, and no row that has not.
#[test]
fn replicas_that_differ_answer_what_a_quorum_agrees_on() {
    let mut cluster = indexed(&[1, 2, 3], 3, &[TABLE, "CREATE INDEX ON t (v)"]);
    let insert = |name: &str, v: &str| format!("INSERT INTO t (k, c, v) VALUES ('{name}', 1, '{v}')");
    for (name, at, v, timestamp) in [
        ("only on two", &[2, 3][..], "x", 10),
        ("only on others", &[1, 3], "x", 10),
        ("was x", &[1, 2, 3], "x", 5),
        ("was x", &[2, 3], "y", 10),
        ("became x", &[1, 2, 3], "y", 5),
        ("became x", &[1, 2], "x", 10),
        ("deleted", &[1, 2, 3], "x", 5),
    ] {
        cluster.plant(at, &insert(name, v), timestamp);
    }
    cluster.plant(&[1, 3], "DELETE FROM t WHERE k = 'deleted'", 10);
    let mut expected = ["only on two", "only on others", "became x"];
    expected.sort_by_key(|name| key(name));
    for coordinator in 1..=3 {
        for page_rows in [1, 5_000] {
            let rows = cluster.rows_by(coordinator, "SELECT k FROM t WHERE v = 'x'", QUORUM, page_rows);
            assert_eq!(rows, expected, "{coordinator} {page_rows}");
        }
    }
    // R2: what was answered is held by a quorum, and its entries with it.
    cluster.kill(3);
    assert_eq!(cluster.rows(1, "SELECT k FROM t WHERE v = 'x'", QUORUM), expected);
}

#[test]
fn an_index_that_names_partitions_reads_their_rows() {
    let statements =
        ["CREATE TABLE t (k text, c int, s text static, v text, PRIMARY KEY (k, c))", "CREATE INDEX ON t (s)"];
    let mut cluster = indexed(&[1, 2, 3, 4, 5], 3, &statements);
    let mut expected = Vec::new();
    for (number, name) in names(8).into_iter().enumerate() {
        let s = if number % 2 == 0 { "x" } else { "y" };
        plant(&mut cluster, &format!("INSERT INTO t (k, s) VALUES ('{name}', '{s}')"), &name, 10);
        for c in 0..number % 4 {
            plant(&mut cluster, &format!("INSERT INTO t (k, c, v) VALUES ('{name}', {c}, 'v')"), &name, 10);
        }
        let rows: Vec<String> = (0..number % 4).map(|c| format!("{name} {c} x")).collect();
        if s == "x" {
            expected.extend(if rows.is_empty() { vec![format!("{name} null x")] } else { rows });
        }
    }
    for page_rows in [1, 2, 3, 5_000] {
        let rows = cluster.rows_by(1, "SELECT k, c, s FROM t WHERE s = 'x'", QUORUM, page_rows);
        assert_eq!(rows, expected, "{page_rows}");
    }
    let distinct = cluster.rows_by(1, "SELECT DISTINCT k, s FROM t WHERE s = 'x'", QUORUM, 2);
    assert_eq!(distinct.len(), 4);
}

#[test]
fn pages_go_on_after_the_placement_has_changed() {
    let (mut cluster, expected) = filled(&[1, 2, 3], 3);
    let read = cluster.select(BY_VALUE);
    let mut epoch = 12;
    let rows = pages(&mut cluster, &read, ONE, 4, |cluster| {
        // Every node has everything: only who is asked changes.
        let nodes: &[u128] = if epoch % 2 == 0 { &[1, 2, 3] } else { &[1, 2] };
        cluster.publish(view(epoch, nodes, schema(3, &[TABLE, "CREATE INDEX ON t (v)"])));
        epoch += 1;
    });
    assert_eq!(rows, expected);
}

#[test]
fn a_look_up_whose_replicas_fail_is_asked_of_others_or_fails() {
    let (mut cluster, expected) = filled(&[1, 2, 3], 3);
    cluster.stop(2);
    let request = cluster.read(1, BY_VALUE, QUORUM);
    for _ in 0..100 {
        cluster.run();
        cluster.advance(std::time::Duration::from_millis(60));
    }
    let (rows, _) = cluster.rows_of(request);
    assert_eq!(rows.len(), expected.len(), "the third is asked when the second is late");
    cluster.stop(3);
    let request = cluster.read(1, BY_VALUE, QUORUM);
    cluster.run();
    cluster.advance(std::time::Duration::from_secs(6));
    assert!(matches!(cluster.reply(request), Some(Err(RequestError::ReadTimeout { .. }))));
    cluster.assert_idle();
}

#[test]
fn an_answer_that_is_not_one_is_a_failure_of_its_replica() {
    let (mut cluster, expected) = filled(&[1, 2, 3], 3);
    let request = cluster.read(1, BY_VALUE, QUORUM);
    while let Some(mut flight) = cluster.flights.pop_front() {
        if let Flight::Message { from, envelope, .. } = &mut flight
            && *from == node(2)
            && let Message::LookedUp { data, .. } = &mut envelope.message
        {
            data.rows.reverse();
        }
        cluster.deliver(flight);
    }
    cluster.advance(std::time::Duration::from_millis(100));
    let Some(Ok(Response::Rows { rows, .. })) = cluster.reply(request) else { panic!("the third is asked instead") };
    assert_eq!(rows.len(), expected.len());
}

#[test]
fn a_value_that_is_too_long_for_an_index_is_refused() {
    let mut cluster = indexed(&[1, 2, 3], 3, &[TABLE, "CREATE INDEX ON t (v)"]);
    let insert = |column: &str| format!("INSERT INTO t (k, c, {column}) VALUES ('p', 1, '{}')", "x".repeat(65_536));
    let request = cluster.write(1, &insert("v"), QUORUM);
    cluster.run();
    let Some(Err(RequestError::Invalid(message))) = cluster.reply(request) else { panic!("it is refused") };
    assert!(message.contains("Cannot index value of size 65536 for index t_v_idx on ks.t(v)"), "{message}");
    cluster.written(1, &insert("w"), QUORUM);
}

#[test]
fn what_a_read_took_is_told_with_its_page() {
    let (mut cluster, expected) = filled(&[1, 2, 3], 3);
    let mut figures_of = |text: &str| {
        let request = cluster.read(1, text, QUORUM);
        while let Some(flight) = cluster.flights.pop_front() {
            cluster.now = cluster.now + Duration::from_micros(1);
            cluster.deliver(flight);
        }
        let Some(Ok(Response::Rows { figures, rows, .. })) = cluster.reply(request) else { panic!("{text}") };
        (figures, rows.len())
    };
    let (figures, rows) = figures_of(BY_VALUE);
    let candidates = expected.len() as u64;
    assert_eq!((figures.candidates, figures.rows, rows), (candidates, candidates, expected.len()));
    assert!(figures.look_ups > 0 && figures.rounds > 0, "{figures:?}");
    // Rows are asked for while other look-ups are under way.
    assert!(figures.look_up_micros > 0, "{figures:?}");
    assert_eq!((figures.tombstones, figures.repaired), (0, 0));
    // Without the index every row is read for those that count.
    let (figures, rows) = figures_of("SELECT k, c, v FROM t WHERE w = 'w1' ALLOW FILTERING");
    assert_eq!((figures.rows, rows), (19 * 4, 19));
    assert_eq!((figures.look_ups, figures.candidates, figures.look_up_micros), (0, 0, 0));
    assert!(figures.read_micros > 0);
}

#[test]
fn what_a_read_passed_and_repaired_is_told() {
    let mut cluster = indexed(&[1, 2, 3], 3, &[TABLE]);
    for c in 0..4 {
        cluster.written(1, &format!("INSERT INTO t (k, c, v, w) VALUES ('a', {c}, 'x', 'y')"), ALL);
    }
    cluster.written(1, "DELETE FROM t WHERE k = 'a' AND c = 0", ALL);
    // Known to one replica only.
    cluster.plant(&[2], "INSERT INTO t (k, c, v, w) VALUES ('a', 9, 'x', 'y')", 1_000_000_000);
    let request = cluster.read(1, "SELECT c FROM t WHERE k = 'a'", ALL);
    cluster.run();
    let Some(Ok(Response::Rows { figures, rows, .. })) = cluster.reply(request) else { panic!("no rows") };
    // The deleted row is read too.
    assert_eq!((rows.len(), figures.rows, figures.rounds), (4, 5, 1));
    assert_eq!(figures.repaired, 2);
    let two = ReadFigures { rows: u64::MAX, rounds: 1, ..ReadFigures::default() }.and(figures);
    assert_eq!((two.rows, two.rounds, two.repaired), (u64::MAX, 2, 2));
}
