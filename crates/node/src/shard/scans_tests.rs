//! Reads of many partitions over a cluster: ranges, lists, pages, differing replicas, and a placement that changes.

use crate::config::ShardConfig;
use crate::io::{Input, Message, Response, StorageRequest, Stored};
use crate::storage::StorageError;
use crate::test_cluster::{ALL, Cluster, Flight, ONE, QUORUM, TIMEOUT, node, view};
use bytes::Bytes;
use model::codec::Encode;
use model::error::FailureReason;
use model::scan::ScanPosition;
use model::{Consistency, PartitionKey, ReadData, RequestError, Rng, Row, ScanData, Token, TokenRange};
use query::{BoundRead, ReadSource};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const SCAN: &str = "SELECT k, c, v FROM t";

pub(super) fn key(name: &str) -> PartitionKey {
    PartitionKey::new(Bytes::copy_from_slice(name.as_bytes()))
}

fn insert(name: &str, c: u32, v: &str) -> String {
    format!("INSERT INTO t (k, c, v) VALUES ('{name}', {c}, '{v}')")
}

/// Names of partitions in the order of scans.
pub(super) fn names(count: u32) -> Vec<String> {
    let mut names: Vec<String> = (0..count).map(|index| format!("part{index}")).collect();
    names.sort_by_key(|name| key(name));
    names
}

/// A cluster whose nodes all hold what they should of some partitions of some rows, and the rows in order.
fn filled(nodes: &[u128], factor: u32, partitions: u32, rows: u32) -> (Cluster, Vec<String>) {
    filled_with(|_| {}, nodes, factor, partitions, rows)
}

fn filled_with(
    configure: fn(&mut ShardConfig),
    nodes: &[u128],
    factor: u32,
    partitions: u32,
    rows: u32,
) -> (Cluster, Vec<String>) {
    let mut cluster = Cluster::of(nodes, factor, configure);
    let mut expected = Vec::new();
    for name in names(partitions) {
        for c in 0..rows {
            plant(&mut cluster, &insert(&name, c, "v"), &name, 10);
            expected.push(format!("{name} {c} v"));
        }
    }
    (cluster, expected)
}

/// Writes directly to the replicas of a partition.
pub(super) fn plant(cluster: &mut Cluster, text: &str, name: &str, timestamp: i64) {
    let replicas: Vec<u128> = cluster.view.replicas("ks", key(name).token).iter().map(|node| node.0).collect();
    cluster.plant(&replicas, text, timestamp);
}

/// All rows of all pages of a read, one string each; `between` is called before each page but the first.
pub(super) fn pages(
    cluster: &mut Cluster,
    read: &Arc<BoundRead>,
    consistency: Consistency,
    page_rows: u32,
    mut between: impl FnMut(&mut Cluster),
) -> Vec<String> {
    let (mut all, mut state) = (Vec::new(), None);
    loop {
        let request = cluster.read_bound(1, read.clone(), consistency, page_rows, state);
        cluster.run();
        cluster.advance(Duration::from_millis(500));
        let (rows, next) = cluster.rows_of(request);
        assert!(rows.len() <= page_rows as usize, "R6");
        all.extend(rows.into_iter().map(|row| row.join(" ")));
        match next {
            Some(next) => state = Some(next),
            None => return all,
        }
        between(cluster);
    }
}

/// The partitions of these names, in this order.
fn over(cluster: &Cluster, text: &str, names: &[&str]) -> Arc<BoundRead> {
    let keys = names.iter().map(|name| key(name)).collect();
    Arc::new((*cluster.select(text)).clone().over(ReadSource::Partitions(keys)))
}

fn scans_on_their_way(cluster: &Cluster) -> Vec<TokenRange> {
    let range = |flight: &Flight| match flight {
        Flight::Message { envelope, .. } => match &envelope.message {
            Message::Scan { command, .. } => Some(command.range),
            _ => None,
        },
        Flight::Storage { request: StorageRequest::Scan(command), .. } => Some(command.range),
        Flight::Storage { .. } => None,
    };
    cluster.flights.iter().filter_map(range).collect()
}

#[test]
fn a_scan_answers_every_row_once_in_order_with_any_page_size() {
    for (nodes, factor) in [(&[1][..], 1), (&[1, 2, 3], 3), (&[1, 2, 3, 4, 5], 3), (&[1, 2, 3, 4, 5, 6], 1)] {
        let (mut cluster, expected) = filled(nodes, factor, 23, 3);
        for (consistency, page_rows) in [(ONE, 5_000), (QUORUM, 69), (ALL, 68), (QUORUM, 7), (ONE, 2), (ALL, 1)] {
            let read = cluster.select(SCAN);
            let rows = pages(&mut cluster, &read, consistency, page_rows, |_| {});
            assert_eq!(rows, expected, "{} nodes, {consistency}, {page_rows}", nodes.len());
        }
        for limit in [1, 2, 3, 4, 68, 69, 70] {
            let limited = format!("{SCAN} LIMIT {limit}");
            let wanted = &expected[..limit.min(expected.len())];
            assert_eq!(cluster.rows_by(1, &limited, QUORUM, 2), wanted);
            assert_eq!(cluster.rows(1, &limited, QUORUM), wanted);
        }
        assert_eq!(cluster.status(1).read_repairs, 0);
        cluster.assert_idle();
    }
}

#[test]
fn a_part_of_the_ring_is_scanned_alone() {
    let (mut cluster, expected) = filled(&[1, 2, 3, 4, 5], 3, 30, 2);
    let ends: Vec<Token> = names(30).iter().map(|name| key(name).token).collect();
    for (first, last) in [(0, 29), (3, 17), (9, 10)] {
        let range = TokenRange { start: ends[first], end: ends[last] };
        let read = Arc::new((*cluster.select(SCAN)).clone().over(ReadSource::Range(range)));
        for page_rows in [1, 3, 100] {
            let rows = pages(&mut cluster, &read, QUORUM, page_rows, |_| {});
            assert_eq!(rows, expected[2 * (first + 1)..2 * (last + 1)], "after the start, up to and including the end");
        }
    }
}

#[test]
fn an_empty_table_has_no_rows() {
    let mut cluster = Cluster::new();
    assert!(cluster.rows(1, SCAN, ALL).is_empty());
    cluster.assert_idle();
}

#[test]
fn several_partitions_are_read_in_the_order_of_the_list() {
    let (mut cluster, _) = filled(&[1, 2, 3, 4, 5], 3, 40, 3);
    let wanted: Vec<String> = (0..30).rev().map(|index| format!("part{index}")).collect();
    let mut list: Vec<&str> = wanted.iter().map(String::as_str).collect();
    list.insert(4, "missing");
    let expected: Vec<String> = wanted.iter().flat_map(|name| (0..3).map(move |c| format!("{name} {c} v"))).collect();
    for page_rows in [1, 2, 3, 7, 90, 5_000] {
        let read = over(&cluster, SCAN, &list);
        assert_eq!(pages(&mut cluster, &read, QUORUM, page_rows, |_| {}), expected, "{page_rows}");
        let read = over(&cluster, &format!("{SCAN} LIMIT 11"), &list);
        assert_eq!(pages(&mut cluster, &read, QUORUM, page_rows, |_| {}), expected[..11], "{page_rows}");
    }
    let none = over(&cluster, SCAN, &[]);
    assert!(pages(&mut cluster, &none, QUORUM, 5, |_| {}).is_empty());
    cluster.assert_idle();
}

#[test]
fn a_list_of_partitions_is_asked_a_few_at_a_time() {
    let (mut cluster, _) = filled(&[1, 2, 3], 3, 40, 1);
    let all = names(40);
    let list: Vec<&str> = all.iter().map(String::as_str).collect();
    let read = over(&cluster, SCAN, &list);
    let request = cluster.read_bound(1, read, QUORUM, 5_000, None);
    let mut most = 0;
    while let Some(flight) = cluster.flights.pop_front() {
        cluster.deliver(flight);
        let peers = |flight: &&Flight| {
            matches!(flight, Flight::Message { from, envelope, .. }
            if *from == node(1) && matches!(envelope.message, Message::Read { .. }))
        };
        most = most.max(cluster.flights.iter().filter(peers).count());
    }
    assert!((2..=8).contains(&most), "{most} at a time");
    assert_eq!(cluster.rows_of(request).0.len(), 40);
}

#[test]
fn ranges_are_asked_one_first_and_then_as_many_as_the_rows_seen_suggest() {
    // Of eight ranges the first comes alone: the ring's last one has a part at either end.
    let nodes: Vec<u128> = (1..=7).collect();
    for (partitions, page_rows, most_at_once) in [(0, 100, 7), (7, 100, 7), (200, 10, 1)] {
        let (mut cluster, expected) = filled(&nodes, 1, partitions, 1);
        let request = cluster.read_page(1, SCAN, ONE, page_rows, None);
        assert_eq!(scans_on_their_way(&cluster).len(), 1, "one range first");
        let mut most = 1;
        while let Some(flight) = cluster.flights.pop_front() {
            cluster.deliver(flight);
            let ranges = scans_on_their_way(&cluster);
            most = most.max(ranges.len());
        }
        assert!(most <= most_at_once, "{partitions} partitions: {most} at once");
        assert!(most > 1 || partitions == 200, "{partitions} partitions: {most} at once");
        assert_eq!(cluster.rows_of(request).0.len(), expected.len().min(page_rows as usize));
    }
}

#[test]
fn a_scan_over_replicas_that_differ_is_exact_and_repairs_them() {
    // CASSANDRA-13595 and its family: each replica has deleted what the other still has, across partitions.
    for seed in 0..40 {
        for page_rows in [1, 2, 3, 5_000] {
            let mut rng = Rng::new(seed);
            let mut cluster = Cluster::new();
            let mut rows: BTreeMap<(usize, u32), (i64, Option<String>)> = BTreeMap::new();
            let all = names(6);
            for timestamp in 1..rng.between(5, 60) as i64 {
                let (partition, c) = (rng.index(6), rng.below(3) as u32);
                let deletes = rng.chance(400);
                let text = match deletes {
                    true => format!("DELETE FROM t WHERE k = '{}' AND c = {c}", all[partition]),
                    false => insert(&all[partition], c, &format!("v{timestamp}")),
                };
                let holders: Vec<u128> = (1..=3).filter(|_| rng.chance(500)).collect();
                cluster.plant(&holders, &text, timestamp);
                if !holders.is_empty() {
                    rows.insert((partition, c), (timestamp, (!deletes).then(|| format!("v{timestamp}"))));
                }
            }
            let expected: Vec<String> = rows
                .iter()
                .filter_map(|((partition, c), (_, value))| Some(format!("{} {c} {}", all[*partition], value.as_ref()?)))
                .collect();
            assert_eq!(cluster.rows_by(1, SCAN, ALL, page_rows), expected, "seed {seed}, pages of {page_rows}");
            assert!(cluster.agree(&[1, 2, 3]), "seed {seed}, pages of {page_rows}: R2");
            assert_eq!(cluster.rows_by(2, SCAN, ONE, page_rows), expected, "seed {seed}");
            cluster.assert_idle();
        }
    }
}

#[test]
fn two_partitions_of_one_token_are_repaired_each_by_itself() {
    // Two keys whose token is the same, as the driver's own hash makes them, are too rare to search for: the order of
    // scans and the repair go by the whole key, so keys next to each other do as well.
    let mut cluster = Cluster::new();
    let all = names(2);
    cluster.plant(&[1], &insert(&all[0], 1, "first"), 10);
    cluster.plant(&[2], &insert(&all[1], 1, "second"), 10);
    let expected = [format!("{} 1 first", all[0]), format!("{} 1 second", all[1])];
    assert_eq!(cluster.rows(3, SCAN, ALL), expected);
    for id in 1..=3 {
        assert_eq!(cluster.rows(id, SCAN, ONE), expected);
    }
}

#[test]
fn what_a_scan_has_shown_at_quorum_is_shown_at_quorum_ever_after() {
    for (holder, gone) in [(1, 1), (2, 1), (2, 2)] {
        let mut cluster = Cluster::new();
        cluster.plant(&[holder], &insert("a", 1, "x"), 10);
        cluster.kill(3);
        assert_eq!(cluster.rows(1, SCAN, QUORUM), ["a 1 x"]);
        cluster.restart(3);
        cluster.kill(gone);
        let survivor = if gone == 1 { 2 } else { 1 };
        assert_eq!(cluster.rows(survivor, SCAN, QUORUM), ["a 1 x"]);
    }
}

#[test]
fn pages_go_on_exactly_when_nodes_have_joined_in_between() {
    let (mut cluster, expected) = filled(&[1, 2, 3, 4, 5, 6, 7], 7, 40, 2);
    // Every node has everything, so that placement may change at will: the members are few at first.
    let views = [&[1, 2, 3][..], &[1, 2, 3, 4], &[1, 2, 3, 4, 5, 6, 7], &[1, 3, 5, 7], &[1, 2, 6]];
    let schema = cluster.view.schema.clone();
    let placed = |epoch: u64, nodes: &[u128]| {
        let change = crate::test_cluster::schema(2, &[crate::test_cluster::TABLE, crate::test_cluster::LISTS]);
        assert_eq!(schema.tables().keys().collect::<Vec<_>>(), change.tables().keys().collect::<Vec<_>>());
        view(epoch, nodes, change)
    };
    for page_rows in [1, 3, 7] {
        let mut epoch = cluster.view.epoch.0 + 1;
        cluster.publish(placed(epoch, views[0]));
        cluster.announce();
        let read = cluster.select(SCAN);
        let rows = pages(&mut cluster, &read, QUORUM, page_rows, |cluster| {
            epoch += 1;
            cluster.publish(placed(epoch, views[epoch as usize % views.len()]));
            cluster.announce();
        });
        assert_eq!(rows, expected, "pages of {page_rows}");
    }
    cluster.assert_idle();
}

#[test]
fn a_scan_under_way_is_cut_anew_when_the_placement_changes() {
    for moment in 0..40 {
        let (mut cluster, expected) = filled(&[1, 2, 3, 4, 5, 6, 7], 7, 20, 2);
        let placed = |epoch, nodes: &[u128]| {
            view(
                epoch,
                nodes,
                crate::test_cluster::schema(2, &[crate::test_cluster::TABLE, crate::test_cluster::LISTS]),
            )
        };
        cluster.publish(placed(11, &[1, 2, 3]));
        let request = cluster.read_page(1, SCAN, QUORUM, 5_000, None);
        for _ in 0..moment {
            if let Some(flight) = cluster.flights.pop_front() {
                cluster.deliver(flight);
            }
        }
        cluster.publish(placed(12, &[1, 3, 4, 5, 7]));
        cluster.announce();
        cluster.advance(Duration::from_secs(2));
        let rows: Vec<String> = cluster.rows_of(request).0.into_iter().map(|row| row.join(" ")).collect();
        assert_eq!(rows, expected, "after {moment} steps");
        cluster.assert_idle();
    }
}

#[test]
fn a_replica_with_a_newer_view_refuses_a_range_that_it_does_not_hold_whole() {
    let (mut cluster, expected) = filled(&[1, 2, 3, 4, 5, 6, 7], 7, 20, 1);
    let schema = || crate::test_cluster::schema(2, &[crate::test_cluster::TABLE, crate::test_cluster::LISTS]);
    cluster.publish(view(11, &[1, 2, 3], schema()));
    // All but the coordinator know of the next view.
    let next = view(12, &[1, 2, 3, 4, 5], schema());
    for id in 2..=7 {
        cluster.step(node(id), Input::View(next.clone()));
    }
    let request = cluster.read_page(1, SCAN, ALL, 5_000, None);
    cluster.run();
    assert!(cluster.reply(request).is_none());
    assert!((2..=7).map(|id| cluster.status(id).not_replica).sum::<u64>() > 0);
    assert!(!cluster.caught_up.is_empty(), "the coordinator asks for the view");
    cluster.publish(next);
    cluster.announce();
    cluster.advance(Duration::from_secs(1));
    assert_eq!(cluster.rows_of(request).0.len(), expected.len());
    cluster.assert_idle();
}

#[test]
fn a_range_with_too_few_replicas_makes_the_whole_scan_unavailable() {
    let (mut cluster, expected) = filled(&[1, 2, 3, 4, 5], 2, 20, 1);
    cluster.kill(3);
    assert_eq!(cluster.rows(1, SCAN, ONE), expected, "another replica has each range");
    let request = cluster.read(1, SCAN, ALL);
    cluster.run();
    let unavailable = RequestError::Unavailable { consistency: ALL, required: 2, alive: 1, data_center: None };
    assert_eq!(cluster.reply(request), Some(Err(unavailable)));
    // What is read before that range is answered all the same.
    let request = cluster.read_page(1, SCAN, ALL, 1, None);
    cluster.run();
    assert_eq!(cluster.rows_of(request).0.len(), 1);
    cluster.assert_idle();
}

#[test]
fn a_replica_that_does_not_answer_a_scan_is_replaced_and_too_few_are_a_timeout() {
    let (mut cluster, expected) = filled(&[1, 2, 3], 3, 10, 2);
    for lost in [2, 3] {
        cluster.lose = Box::new(move |_, to, _| to == node(lost));
        for _ in 0..4 {
            let request = cluster.read(1, SCAN, QUORUM);
            cluster.advance(Duration::from_millis(200));
            assert_eq!(cluster.rows_of(request).0.len(), expected.len());
        }
    }
    assert!(cluster.status(1).spares_asked > 0);
    cluster.lose = Box::new(|_, to, _| to != node(1));
    let request = cluster.read(1, SCAN, QUORUM);
    cluster.advance(TIMEOUT);
    let timeout = RequestError::ReadTimeout { consistency: QUORUM, received: 1, required: 2, data_present: true };
    assert_eq!(cluster.reply(request), Some(Err(timeout)));
    let request = cluster.read(1, SCAN, ALL);
    cluster.run();
    cluster.step(node(1), Input::Unreachable(node(2)));
    let reason = FailureReason::Unknown;
    let failure = RequestError::ReadFailure { consistency: ALL, received: 1, required: 3, failures: 1, reason };
    assert_eq!(cluster.reply(request), Some(Err(failure)));
    cluster.assert_idle();
}

#[test]
fn a_scan_past_too_many_tombstones_fails_with_that_reason() {
    let (mut cluster, _) = filled(&[1, 2, 3], 3, 4, 1);
    let request = cluster.read(1, SCAN, QUORUM);
    while let Some(flight) = cluster.flights.pop_front() {
        match flight {
            Flight::Storage { at, op, request: StorageRequest::Scan(command) } => {
                assert_eq!(command.tombstone_limit, 100_000, "the limit of the configuration");
                let (table, partition) = (command.table, key("part0").bytes);
                let error = StorageError::TooManyTombstones { table, partition, rows: 3, tombstones: 100_001 };
                cluster.step(at, Input::Stored(Stored::Failed { op, error }));
            }
            other => cluster.deliver(other),
        }
    }
    let reason = FailureReason::TooManyTombstones;
    let failure = RequestError::ReadFailure { consistency: QUORUM, received: 0, required: 2, failures: 2, reason };
    assert_eq!(cluster.reply(request), Some(Err(failure)));
    cluster.assert_idle();
}

#[test]
fn a_page_that_makes_no_sense_is_the_failure_of_its_replica() {
    let row = |c: u8| (Bytes::from(vec![0x40, 0x80, 0, 0, c, 0x38]), Row::default().to_bytes());
    let held = |rows: Vec<(Bytes, Bytes)>, more| ReadData { rows, more, ..ReadData::default() };
    let all: Vec<PartitionKey> = names(3).iter().map(|name| key(name)).collect();
    let misplaced = PartitionKey { token: Token(5), bytes: all[0].bytes.clone() };
    let next = |partition: &PartitionKey| Some(ScanPosition { partition: partition.clone(), within: None });
    let page = |partitions: Vec<(PartitionKey, ReadData)>, next| ScanData { partitions, next };
    let whole = || held(vec![row(1)], false);
    for (why, nonsense) in [
        ("out of order", page(vec![(all[1].clone(), whole()), (all[0].clone(), whole())], None)),
        ("twice", page(vec![(all[1].clone(), whole()), (all[1].clone(), whole())], None)),
        ("another token", page(vec![(misplaced, whole())], None)),
        ("rows out of order", page(vec![(all[0].clone(), held(vec![row(2), row(1)], false))], None)),
        ("an end without rows", page(vec![(all[0].clone(), held(vec![], true))], None)),
        ("an end that is not the last", page(vec![(all[1].clone(), whole())], next(&all[0]))),
        ("an end of nothing", page(vec![], next(&all[0]))),
        ("not a row", page(vec![(all[0].clone(), held(vec![(row(1).0, Bytes::from_static(b"x"))], false))], None)),
    ] {
        let (mut cluster, expected) = filled(&[1, 2, 3], 3, 3, 2);
        let request = cluster.read(1, SCAN, QUORUM);
        while let Some(flight) = cluster.flights.pop_front() {
            match flight {
                Flight::Storage { at, op, request: StorageRequest::Scan(_) } if at == node(1) => {
                    cluster.step(at, Input::Stored(Stored::Scanned { op, data: nonsense.clone() }));
                }
                other => cluster.deliver(other),
            }
        }
        assert_eq!(cluster.rows_of(request).0.len(), expected.len(), "{why}");
        cluster.assert_idle();
    }
}

#[test]
fn a_page_of_a_scan_ends_at_its_bytes() {
    let mut cluster = Cluster::new();
    let big = "x".repeat(300 * 1024);
    for name in names(10) {
        cluster.plant(&[1, 2, 3], &insert(&name, 1, &big), 10);
    }
    let request = cluster.read(1, SCAN, QUORUM);
    cluster.run();
    let (rows, state) = cluster.rows_of(request);
    assert!((3..6).contains(&rows.len()), "{}", rows.len());
    assert!(state.is_some());
    assert_eq!(cluster.rows(1, SCAN, QUORUM).len(), 10);
}

#[test]
fn a_page_that_takes_long_is_short_and_goes_on() {
    let nodes: Vec<u128> = (1..=7).collect();
    // Half of what a replica takes on is one: the ranges come one after the other.
    let (mut cluster, expected) = filled_with(|config| config.replica_ops_max = 2, &nodes, 1, 60, 1);
    let (mut all, mut state, mut short) = (Vec::new(), None, 0);
    loop {
        let request = cluster.read_page(1, SCAN, ONE, 5_000, state);
        while let Some(flight) = cluster.flights.pop_front() {
            assert!(scans_on_their_way(&cluster).is_empty(), "one range at a time");
            if matches!(&flight, Flight::Storage { request: StorageRequest::Scan(_), .. }) {
                cluster.now = cluster.now + TIMEOUT / 4;
            }
            cluster.deliver(flight);
        }
        let (rows, next) = cluster.rows_of(request);
        all.extend(rows.into_iter().map(|row| row.join(" ")));
        match next {
            None => break,
            Some(next) => state = Some(next),
        }
        short += 1;
    }
    assert!(short >= 2, "{short} pages were short");
    assert_eq!(all, expected);
    cluster.assert_idle();
}

#[test]
fn a_paging_state_of_another_source_is_refused() {
    let (mut cluster, _) = filled(&[1, 2, 3], 3, 10, 2);
    let state_of = |cluster: &mut Cluster, read: &Arc<BoundRead>| {
        let request = cluster.read_bound(1, read.clone(), ONE, 3, None);
        cluster.run();
        cluster.rows_of(request).1.unwrap()
    };
    let scan = cluster.select(SCAN);
    let all = names(10);
    let list = over(&cluster, SCAN, &[&all[0], &all[5]]);
    let last =
        Arc::new((*scan).clone().over(ReadSource::Range(TokenRange { start: key(&all[8]).token, ..TokenRange::ALL })));
    let (of_scan, of_list) = (state_of(&mut cluster, &scan), state_of(&mut cluster, &list));
    let single = cluster.select(&format!("{SCAN} WHERE k = '{}'", all[7]));
    for (read, state) in [(&list, &of_scan), (&last, &of_scan), (&single, &of_list), (&single, &of_scan)] {
        let request = cluster.read_bound(1, read.clone(), ONE, 3, Some(state.clone()));
        cluster.run();
        let reply = cluster.reply(request);
        assert!(matches!(reply, Some(Err(RequestError::Invalid(_)))), "{reply:?}");
    }
}

#[test]
fn rows_that_are_deleted_do_not_fill_the_pages_of_a_scan() {
    let mut cluster = Cluster::new();
    let mut expected = Vec::new();
    for (index, name) in names(100).into_iter().enumerate() {
        cluster.plant(&[1, 2, 3], &insert(&name, 1, "v"), 10);
        match index % 5 {
            0 => expected.push(format!("{name} 1 v")),
            1 => cluster.plant(&[1, 2, 3], &format!("DELETE FROM t WHERE k = '{name}'"), 20),
            _ => cluster.plant(&[1, 2, 3], &format!("DELETE FROM t WHERE k = '{name}' AND c = 1"), 20),
        }
    }
    let request = cluster.read_page(1, SCAN, QUORUM, 7, None);
    cluster.run();
    let (rows, state) = cluster.rows_of(request);
    assert_eq!(rows.len(), 7);
    assert!(state.is_some());
    assert_eq!(cluster.rows_by(1, SCAN, QUORUM, 7), expected);
}

#[test]
fn a_table_that_is_dropped_ends_its_scans() {
    let (mut cluster, _) = filled(&[1, 2, 3, 4, 5], 3, 20, 2);
    let request = cluster.read(1, SCAN, QUORUM);
    cluster.publish(view(11, &[1, 2, 3, 4, 5], crate::test_cluster::schema(3, &[])));
    cluster.run();
    assert!(matches!(cluster.reply(request), Some(Err(RequestError::NotFound(_)))));
    cluster.assert_idle();
}

/// One random history of writes and scans over lossy messages: what QUORUM has acknowledged or shown, QUORUM shows.
fn scan_history(seed: u64) {
    let mut rng = Rng::new(seed);
    let mut cluster = Cluster::of(&[1, 2, 3, 4], 3, |_| {});
    let mut loss = rng.fork();
    let per_mille = rng.below(200);
    cluster.lose = Box::new(move |_, _, _| loss.chance(per_mille));
    let all = names(6);
    let mut floor = [0u32; 6];
    for value in 1..25 {
        let at = 1 + rng.below(4) as u128;
        let partition = rng.index(6);
        if rng.chance(600) {
            let text = format!("{} USING TIMESTAMP {value}", insert(&all[partition], 1, &format!("{value:05}")));
            let request = cluster.write(at, &text, QUORUM);
            cluster.run_shuffled(&mut rng);
            cluster.advance(Duration::from_millis(rng.below(200)));
            if cluster.reply(request) == Some(Ok(Response::Written)) {
                floor[partition] = value;
            }
            continue;
        }
        let (page_rows, read) = (rng.between(1, 4) as u32, cluster.select(SCAN));
        let (mut state, mut position) = (None, 0);
        loop {
            let request = cluster.read_bound(at, read.clone(), QUORUM, page_rows, state.take());
            cluster.run_shuffled(&mut rng);
            cluster.advance(TIMEOUT);
            let Some(Ok(_)) = cluster.replies.get(&request) else { break };
            let (rows, next) = cluster.rows_of(request);
            for row in rows {
                let found = all.iter().position(|name| *name == row[0]).unwrap();
                assert!(floor[position..found].iter().all(|value| *value == 0), "seed {seed}: a row is missing");
                let seen = row[2].parse().unwrap();
                assert!(seen >= floor[found], "seed {seed}: {} was {} and is {seen}", row[0], floor[found]);
                (floor[found], position) = (seen, found + 1);
            }
            if next.is_none() {
                assert!(floor[position..].iter().all(|value| *value == 0), "seed {seed}: a row is missing at the end");
                break;
            }
            state = next;
        }
    }
    cluster.lose = Box::new(|_, _, _| false);
    cluster.advance(Duration::from_secs(300));
    cluster.rows(1, SCAN, ALL);
    cluster.assert_idle();
}

#[test]
fn what_quorum_has_acknowledged_scans_show_ever_after() {
    for seed in 0..60 {
        scan_history(seed);
    }
}

#[test]
fn a_scan_of_replicas_that_agree_repairs_nothing() {
    // Whatever deletions, collections and static rows there are (test_range_slice_query_with_tombstones).
    let mut cluster = Cluster::new();
    let everywhere = [
        "INSERT INTO lists (k, c, l, s) VALUES ('a', 1, ['x', 'y'], ['z'])",
        "UPDATE lists SET l = ['w'] WHERE k = 'a' AND c = 2",
        "DELETE l FROM lists WHERE k = 'a' AND c = 1",
        "INSERT INTO lists (k, c, l) VALUES ('b', 1, ['x'])",
        "DELETE FROM lists WHERE k = 'b'",
        "INSERT INTO lists (k, c, l) VALUES ('c', 5, ['x'])",
        "DELETE FROM lists WHERE k = 'c' AND c > 2 AND c < 9",
        "DELETE s FROM lists WHERE k = 'a'",
    ];
    for (timestamp, text) in (10..).zip(everywhere) {
        cluster.plant(&[1, 2, 3], text, timestamp);
    }
    for (at, page_rows) in [(1, 5_000), (2, 1), (3, 2)] {
        cluster.rows_by(at, "SELECT k, c FROM lists", ALL, page_rows);
        assert_eq!(cluster.status(at).read_repairs, 0);
    }
}
