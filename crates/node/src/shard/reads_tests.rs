//! Reads over a cluster: digests, blocking read repair, short reads, spare replicas and paging.

use crate::io::{Envelope, Input, Message, Response, StorageRequest, Stored, WritePurpose};
use crate::storage::StorageError;
use crate::test_cluster::{ALL, Cluster, Flight, ONE, QUORUM, TIMEOUT, node};
use bytes::Bytes;
use model::error::FailureReason;
use model::{ReadData, RequestError, Rng};
use std::time::Duration;

const SELECT: &str = "SELECT c, v FROM t WHERE k = 'p'";
const REVERSED: &str = "SELECT c, v FROM t WHERE k = 'p' ORDER BY c DESC";

fn insert(c: u32, v: &str) -> String {
    format!("INSERT INTO t (k, c, v) VALUES ('p', {c}, '{v}')")
}

fn delete(c: u32) -> String {
    format!("DELETE FROM t WHERE k = 'p' AND c = {c}")
}

/// Messages on their way of which `wanted` is true.
fn on_their_way(cluster: &Cluster, wanted: impl Fn(&Message) -> bool) -> usize {
    let is = |flight: &&Flight| matches!(flight, Flight::Message { envelope, .. } if wanted(&envelope.message));
    cluster.flights.iter().filter(is).count()
}

#[test]
fn a_read_asks_one_for_data_and_as_many_as_needed_for_digests() {
    for (consistency, digests) in [(ONE, 0), (QUORUM, 1), (ALL, 2)] {
        let mut cluster = Cluster::new();
        cluster.written(1, &insert(1, "x"), ALL);
        let request = cluster.read(1, SELECT, consistency);
        assert_eq!(on_their_way(&cluster, |message| matches!(message, Message::Read { digest: true, .. })), digests);
        assert_eq!(on_their_way(&cluster, |message| matches!(message, Message::Read { digest: false, .. })), 0);
        cluster.run();
        assert_eq!(cluster.rows_of(request), (vec![vec!["1".to_owned(), "x".to_owned()]], None));
        assert_eq!(cluster.status(1).digest_mismatches, 0);
        cluster.assert_idle();
    }
}

#[test]
fn replicas_that_differ_are_merged_and_repaired() {
    for planted in [&[1][..], &[2], &[3], &[1, 2], &[2, 3], &[1, 3]] {
        let mut cluster = Cluster::new();
        cluster.plant(planted, &insert(1, "new"), 20);
        cluster.plant(&[1, 2, 3], &insert(1, "old"), 10);
        cluster.plant(&[1, 3], &insert(2, "other"), 10);
        assert_eq!(cluster.rows(1, SELECT, ALL), ["1 new", "2 other"]);
        assert_eq!(cluster.status(1).digest_mismatches, 1);
        assert!(cluster.agree(&[1, 2, 3]), "R2: {planted:?}");
        assert_eq!(cluster.rows(2, SELECT, ALL), ["1 new", "2 other"]);
        assert_eq!(cluster.status(2).digest_mismatches, 0);
        cluster.assert_idle();
    }
}

#[test]
fn a_value_read_at_quorum_is_read_at_quorum_ever_after() {
    // CASSANDRA-10726: on one replica of three; whichever quorum reads it, no later quorum may miss it.
    for (holder, reader, gone) in [(1, 1, 1), (2, 2, 2), (3, 3, 3), (1, 2, 1), (2, 1, 2)] {
        let mut cluster = Cluster::new();
        cluster.plant(&[holder], &insert(1, "x"), 10);
        let other = (1..=3).find(|id| *id != holder && *id != reader).unwrap();
        if holder != reader {
            cluster.kill(other);
        }
        assert_eq!(cluster.rows(reader, SELECT, QUORUM), ["1 x"]);
        if holder != reader {
            cluster.restart(other);
        }
        cluster.kill(gone);
        let survivor = (1..=3).find(|id| *id != gone).unwrap();
        assert_eq!(cluster.rows(survivor, SELECT, QUORUM), ["1 x"]);
    }
}

#[test]
fn the_answer_waits_for_the_repairs() {
    // CASSANDRA-13115: acknowledgements of repairs are held back.
    let mut cluster = Cluster::new();
    cluster.plant(&[1], &insert(1, "x"), 10);
    cluster.kill(3);
    let request = cluster.read(1, SELECT, QUORUM);
    let mut repairs = 0;
    while let Some(flight) = cluster.flights.pop_front() {
        if let Flight::Storage { at, op, request: StorageRequest::Apply(_) } = &flight {
            assert_eq!(*at, node(2));
            repairs += 1;
            let held = (
                *op,
                match &flight {
                    Flight::Storage { request, .. } => request.clone(),
                    _ => unreachable!(),
                },
            );
            cluster.nodes.get_mut(&node(2)).unwrap().held.push_back(held);
            continue;
        }
        cluster.deliver(flight);
    }
    assert_eq!(repairs, 1);
    assert_eq!(cluster.reply(request), None);
    cluster.release(2);
    assert_eq!(cluster.rows_of(request).0.len(), 1);
    cluster.assert_idle();
}

#[test]
fn a_repair_that_never_arrives_costs_a_timeout_and_one_refused_a_failure() {
    let is_repair = |message: &Message| matches!(message, Message::Write { purpose: WritePurpose::ReadRepair, .. });
    let mut cluster = Cluster::new();
    cluster.plant(&[1], &insert(1, "x"), 10);
    cluster.kill(3);
    cluster.lose = Box::new(move |_, _, message| is_repair(message));
    let request = cluster.read(1, SELECT, QUORUM);
    cluster.advance(TIMEOUT);
    let timeout = RequestError::ReadTimeout { consistency: QUORUM, received: 1, required: 2, data_present: true };
    assert_eq!(cluster.reply(request), Some(Err(timeout)));
    cluster.assert_idle();
    cluster.lose = Box::new(|_, _, _| false);
    let request = cluster.read(1, SELECT, QUORUM);
    while let Some(flight) = cluster.flights.pop_front() {
        match flight {
            Flight::Storage { at, op, request: StorageRequest::Apply(_) } => {
                let error = StorageError::Full("no space".to_owned());
                cluster.step(at, Input::Stored(Stored::Failed { op, error }));
            }
            other => cluster.deliver(other),
        }
    }
    let reason = FailureReason::Unknown;
    let failure = RequestError::ReadFailure { consistency: QUORUM, received: 1, required: 2, failures: 1, reason };
    assert_eq!(cluster.reply(request), Some(Err(failure)));
    cluster.assert_idle();
}

#[test]
fn a_read_of_too_many_tombstones_fails_with_that_reason() {
    let mut cluster = Cluster::new();
    cluster.plant(&[1, 2, 3], &insert(1, "x"), 10);
    let request = cluster.read(1, SELECT, QUORUM);
    let mut asked = 0;
    while let Some(flight) = cluster.flights.pop_front() {
        match flight {
            Flight::Storage { at, op, request: StorageRequest::Read(command) | StorageRequest::Digest(command) } => {
                assert_eq!(command.tombstone_limit, 100_000, "the limit of the configuration");
                let (table, partition) = (command.table, command.partition.bytes.clone());
                let error = StorageError::TooManyTombstones { table, partition, rows: 3, tombstones: 100_001 };
                cluster.step(at, Input::Stored(Stored::Failed { op, error }));
                asked += 1;
            }
            other => cluster.deliver(other),
        }
    }
    let reason = FailureReason::TooManyTombstones;
    let failure = RequestError::ReadFailure { consistency: QUORUM, received: 0, required: 2, failures: 2, reason };
    assert_eq!(cluster.reply(request), Some(Err(failure.clone())));
    assert!(failure.to_string().contains("tombstones"), "{failure}");
    assert!(asked >= 2, "{asked}");
    cluster.assert_idle();
}

#[test]
fn a_spare_replica_is_repaired_in_place_of_a_late_or_failed_one() {
    for unreachable in [true, false] {
        let mut cluster = Cluster::new();
        cluster.plant(&[1], &insert(1, "x"), 10);
        cluster.lose = Box::new(|_, to, message| {
            to == node(2) && matches!(message, Message::Write { purpose: WritePurpose::ReadRepair, .. })
        });
        // Whichever the read chooses: node 2 never gets its repair.
        let request = cluster.read(1, SELECT, QUORUM);
        cluster.run();
        if unreachable {
            cluster.step(node(1), Input::Unreachable(node(2)));
            cluster.run();
        } else {
            cluster.advance(Duration::from_millis(200));
        }
        assert_eq!(cluster.rows_of(request).0.len(), 1);
        assert!(cluster.agree(&[1, 3]), "two replicas hold it");
        cluster.assert_idle();
    }
}

#[test]
fn a_replica_that_does_not_answer_is_replaced_by_a_spare_one() {
    for lost in [2, 3] {
        let mut cluster = Cluster::new();
        cluster.written(1, &insert(1, "x"), ALL);
        cluster.lose = Box::new(move |_, to, _| to == node(lost));
        for _ in 0..8 {
            let request = cluster.read(1, SELECT, QUORUM);
            cluster.advance(Duration::from_millis(100));
            assert_eq!(cluster.rows_of(request).0.len(), 1);
        }
        assert!(cluster.status(1).spares_asked > 0);
        cluster.assert_idle();
    }
}

#[test]
fn a_slow_own_disk_does_not_hold_a_read_up() {
    let mut cluster = Cluster::new();
    cluster.written(1, &insert(1, "x"), ALL);
    cluster.nodes.get_mut(&node(1)).unwrap().slow_storage = true;
    for consistency in [ONE, QUORUM] {
        let request = cluster.read(1, SELECT, consistency);
        cluster.run();
        assert_eq!(cluster.reply(request), None);
        cluster.advance(Duration::from_millis(200));
        assert_eq!(cluster.rows_of(request).0.len(), 1, "{consistency}");
    }
    cluster.release(1);
    cluster.assert_idle();
}

#[test]
fn too_few_answers_are_a_timeout_and_too_many_failures_a_failure() {
    let mut cluster = Cluster::new();
    cluster.written(1, &insert(1, "x"), ALL);
    cluster.lose = Box::new(|_, to, _| to != node(1));
    let request = cluster.read(1, SELECT, QUORUM);
    cluster.advance(TIMEOUT);
    let timeout = RequestError::ReadTimeout { consistency: QUORUM, received: 1, required: 2, data_present: true };
    assert_eq!(cluster.reply(request), Some(Err(timeout)));
    let request = cluster.read(1, SELECT, ALL);
    cluster.run();
    cluster.step(node(1), Input::Unreachable(node(2)));
    let reason = FailureReason::Unknown;
    let failure = RequestError::ReadFailure { consistency: ALL, received: 1, required: 3, failures: 1, reason };
    assert_eq!(cluster.reply(request), Some(Err(failure)));
    cluster.assert_idle();
}

#[test]
fn a_replica_whose_store_fails_or_answers_nonsense_is_replaced() {
    for nonsense in [true, false] {
        let mut cluster = Cluster::new();
        cluster.written(1, &insert(1, "x"), ALL);
        for consistency in [ONE, QUORUM] {
            let request = cluster.read(1, SELECT, consistency);
            while let Some(flight) = cluster.flights.pop_front() {
                match flight {
                    Flight::Storage { at, op, request: StorageRequest::Read(_) } if at == node(1) && nonsense => {
                        let rows = vec![(Bytes::from_static(&[0x40]), Bytes::from_static(b"nonsense"))];
                        let data = ReadData { rows, ..ReadData::default() };
                        cluster.step(at, Input::Stored(Stored::Read { op, data }));
                    }
                    Flight::Storage { at, op, request: StorageRequest::Read(_) } if at == node(1) => {
                        let error = StorageError::Corrupt("checksum".to_owned());
                        cluster.step(at, Input::Stored(Stored::Failed { op, error }));
                    }
                    other => cluster.deliver(other),
                }
            }
            assert_eq!(cluster.rows_of(request).0, [["1", "x"]]);
        }
        cluster.assert_idle();
    }
}

#[test]
fn a_limit_over_replicas_with_different_deletions_is_exact() {
    // CASSANDRA-9460 and its family: each replica has deleted what the other still has.
    for (text, expected) in [(SELECT, ["5 v5", "6 v6"]), (REVERSED, ["6 v6", "5 v5"])] {
        for page_rows in [1, 2, 3, 10] {
            let mut cluster = Cluster::new();
            cluster.kill(3);
            for c in 1..=10 {
                cluster.plant(&[1, 2], &insert(c, &format!("v{c}")), 10);
            }
            for c in [1, 2, 7, 8] {
                cluster.plant(&[1], &delete(c), 20);
            }
            for c in [3, 4, 9, 10] {
                cluster.plant(&[2], &delete(c), 20);
            }
            let limited = format!("{text} LIMIT 2");
            assert_eq!(cluster.rows_by(1, &limited, QUORUM, page_rows), expected);
            assert_eq!(cluster.rows_by(1, text, QUORUM, page_rows), expected);
            assert_eq!(cluster.rows_by(2, &limited, QUORUM, page_rows), expected);
            assert!(cluster.agree(&[1, 2]));
            cluster.assert_idle();
        }
    }
}

#[test]
fn a_limit_over_range_tombstones_on_one_replica_is_exact_in_both_directions() {
    // CASSANDRA-14513: a range deletion that only one replica has, read towards it from either side.
    for (text, expected) in [(SELECT, vec!["1 v", "2 v", "8 v", "9 v"]), (REVERSED, vec!["9 v", "8 v", "2 v", "1 v"])] {
        for page_rows in 1..=5 {
            let mut cluster = Cluster::new();
            cluster.kill(3);
            for c in 1..=9 {
                cluster.plant(&[1, 2], &insert(c, "v"), 10);
            }
            cluster.plant(&[2], "DELETE FROM t WHERE k = 'p' AND c >= 3 AND c < 8", 20);
            assert_eq!(cluster.rows_by(1, text, QUORUM, page_rows), expected);
            assert_eq!(cluster.rows_by(1, text, ONE, page_rows), expected, "repaired");
            assert_eq!(cluster.rows_by(2, text, QUORUM, page_rows), expected);
        }
    }
}

#[test]
fn a_partition_deletion_and_a_range_deletion_of_one_timestamp_converge() {
    // CASSANDRA-16453: in either order on different replicas.
    let mut cluster = Cluster::new();
    cluster.kill(3);
    for c in 1..=4 {
        cluster.plant(&[1, 2], &insert(c, "v"), 10);
    }
    cluster.plant(&[1], "DELETE FROM t WHERE k = 'p'", 10);
    cluster.plant(&[2], "DELETE FROM t WHERE k = 'p' AND c > 2", 10);
    assert!(cluster.rows(1, SELECT, QUORUM).is_empty());
    assert!(cluster.rows(2, REVERSED, QUORUM).is_empty());
    assert_eq!(cluster.status(2).digest_mismatches, 0, "the first read has repaired both");
}

#[test]
fn a_read_of_one_column_repairs_whole_rows() {
    // CASSANDRA-10655: the other column is stale too.
    let mut cluster = Cluster::new();
    cluster.kill(3);
    cluster.plant(&[1], "INSERT INTO t (k, c, v, w) VALUES ('p', 1, 'x', 'y')", 10);
    assert_eq!(cluster.rows(1, "SELECT v FROM t WHERE k = 'p' AND c = 1", QUORUM), ["x"]);
    assert_eq!(cluster.rows(2, "SELECT w FROM t WHERE k = 'p' AND c = 1", ONE), ["y"]);
}

#[test]
fn paging_with_any_page_size_gives_the_full_read() {
    let mut cluster = Cluster::new();
    for c in 0..10_000 {
        cluster.plant(&[1, 2, 3], &insert(c, "v"), 10);
    }
    let full: Vec<String> = (0..10_000).map(|c| format!("{c} v")).collect();
    let reversed: Vec<String> = full.iter().rev().cloned().collect();
    assert_eq!(cluster.rows_by(1, SELECT, QUORUM, 10_001), full);
    for page_rows in [37, 999, 1_000, 9_999, 10_000] {
        assert_eq!(cluster.rows_by(1, SELECT, QUORUM, page_rows), full, "{page_rows}");
    }
    assert_eq!(cluster.rows_by(1, REVERSED, ONE, 777), reversed);
    for (limit, page_rows) in [(1, 1), (10, 3), (10, 10), (10, 11), (5_000, 4_999)] {
        let limited = format!("{SELECT} LIMIT {limit}");
        assert_eq!(cluster.rows_by(1, &limited, QUORUM, page_rows), full[..limit]);
        let limited = format!("{REVERSED} LIMIT {limit}");
        assert_eq!(cluster.rows_by(1, &limited, QUORUM, page_rows), reversed[..limit]);
    }
    cluster.assert_idle();
}

#[test]
fn small_pages_of_a_small_partition_give_the_full_read() {
    for rows in 0..8u32 {
        let mut cluster = Cluster::new();
        for c in 0..rows {
            cluster.plant(&[1, 2, 3], &insert(c, "v"), 10);
        }
        let full: Vec<String> = (0..rows).map(|c| format!("{c} v")).collect();
        for page_rows in 1..=rows + 1 {
            assert_eq!(cluster.rows_by(2, SELECT, QUORUM, page_rows), full);
        }
    }
}

#[test]
fn a_page_ends_at_its_bytes() {
    let mut cluster = Cluster::new();
    let big = "x".repeat(300 * 1024);
    for c in 0..10 {
        cluster.plant(&[1, 2, 3], &insert(c, &big), 10);
    }
    let request = cluster.read(1, SELECT, QUORUM);
    cluster.run();
    let (rows, state) = cluster.rows_of(request);
    assert!((3..6).contains(&rows.len()), "{}", rows.len());
    assert!(state.is_some());
    assert_eq!(cluster.rows(1, SELECT, QUORUM).len(), 10);
}

#[test]
fn bytes_of_answers_in_flight_are_bounded() {
    let mut cluster = Cluster::with(|config| config.request_bytes_max = 250 * 1024);
    let big = "x".repeat(100 * 1024);
    cluster.plant(&[1, 2, 3], &insert(1, &big), 10);
    cluster.lose = Box::new(|_, to, message| to != node(1) && matches!(message, Message::Read { .. }));
    let requests: Vec<u64> = (0..10)
        .map(|_| {
            let request = cluster.read(1, SELECT, QUORUM);
            cluster.run();
            request
        })
        .collect();
    assert_eq!(cluster.status(1).requests_in_flight, 3);
    assert_eq!(cluster.status(1).overloads, 7);
    cluster.advance(TIMEOUT);
    requests.into_iter().for_each(|request| assert!(cluster.reply(request).is_some()));
    cluster.assert_idle();
}

#[test]
fn rows_that_are_deleted_do_not_fill_pages() {
    let mut cluster = Cluster::new();
    for c in 0..200 {
        cluster.plant(&[1, 2, 3], &insert(c, "v"), 10);
        if c % 10 != 0 {
            cluster.plant(&[1, 2, 3], &delete(c), 20);
        }
    }
    let request = cluster.read_page(1, SELECT, QUORUM, 7, None);
    cluster.run();
    let (rows, state) = cluster.rows_of(request);
    assert_eq!(rows.len(), 7);
    assert!(state.is_some());
    assert_eq!(cluster.rows_by(1, SELECT, QUORUM, 7).len(), 20);
}

#[test]
fn a_paging_state_of_another_statement_or_none_at_all_is_refused() {
    let mut cluster = Cluster::new();
    for c in 1..5 {
        cluster.plant(&[1, 2, 3], &insert(c, "v"), 10);
    }
    let limited = format!("{SELECT} LIMIT 3");
    let state_of = |cluster: &mut Cluster, text: &str| {
        let request = cluster.read_page(1, text, ONE, 2, None);
        cluster.run();
        cluster.rows_of(request).1.unwrap()
    };
    let (plain, with_limit) = (state_of(&mut cluster, SELECT), state_of(&mut cluster, &limited));
    let mut longer = plain.to_vec();
    longer.push(0);
    for (text, state) in [
        (SELECT, Bytes::from_static(b"nonsense")),
        (SELECT, Bytes::new()),
        (SELECT, Bytes::from(longer)),
        (SELECT, plain.slice(..plain.len() - 1)),
        (SELECT, with_limit),
        (&limited, plain.clone()),
        ("SELECT c FROM t WHERE k = 'q'", plain.clone()),
        ("SELECT c FROM t WHERE k = 'p' AND c > 3", plain.clone()),
    ] {
        let request = cluster.read_page(1, text, ONE, 2, Some(state));
        cluster.run();
        let reply = cluster.reply(request);
        assert!(matches!(reply, Some(Err(RequestError::Invalid(_)))), "{text}: {reply:?}");
    }
    let request = cluster.read_page(1, SELECT, ONE, 0, None);
    assert!(matches!(cluster.reply(request), Some(Err(RequestError::Invalid(_)))));
}

#[test]
fn a_read_that_can_match_nothing_answers_at_once() {
    let mut cluster = Cluster::new();
    let request = cluster.read(1, "SELECT v FROM t WHERE k = 'p' AND c > 5 AND c < 5", ALL);
    assert!(cluster.flights.is_empty());
    assert_eq!(cluster.rows_of(request), (vec![], None));
}

#[test]
fn expiry_is_by_the_coordinators_clock_on_every_replica() {
    let mut cluster = Cluster::new();
    cluster.written(1, "INSERT INTO t (k, c, v) VALUES ('p', 1, 'x') USING TTL 100", ALL);
    // The clocks of the replicas are far apart; they are not asked.
    cluster.nodes.get_mut(&node(2)).unwrap().skew = 3_600_000_000;
    assert_eq!(cluster.rows(1, SELECT, ALL), ["1 x"]);
    cluster.advance(Duration::from_secs(100));
    assert!(cluster.rows(1, SELECT, ALL).is_empty());
    assert_eq!(cluster.status(1).digest_mismatches, 0);
}

#[test]
fn late_and_doubled_answers_do_not_disturb_a_read() {
    let mut cluster = Cluster::new();
    cluster.plant(&[1, 3], &insert(1, "x"), 10);
    let request = cluster.read(1, SELECT, ALL);
    let mut old = Vec::new();
    while let Some(flight) = cluster.flights.pop_front() {
        if matches!(&flight, Flight::Message { to, .. } if *to == node(1)) {
            old.push(flight.clone());
            old.iter().for_each(|again| cluster.deliver(again.clone()));
        }
        cluster.deliver(flight);
    }
    assert_eq!(cluster.rows_of(request).0.len(), 1);
    old.into_iter().for_each(|again| cluster.deliver(again));
    cluster.run();
    assert!(cluster.replies.is_empty());
    cluster.assert_idle();
}

#[test]
fn an_answer_from_a_stranger_does_not_count() {
    let mut cluster = Cluster::new();
    cluster.written(1, &insert(1, "x"), ALL);
    let request = cluster.read(1, SELECT, QUORUM);
    let op = cluster.flights.iter().find_map(|flight| match flight {
        Flight::Message { envelope: Envelope { message: Message::Read { op, .. }, .. }, .. } => Some(*op),
        _ => None,
    });
    let envelope =
        Envelope { epoch: model::Epoch(10), message: Message::Data { op: op.unwrap(), data: ReadData::default() } };
    cluster.step(node(1), Input::Message { from: node(9), envelope });
    cluster.run();
    assert_eq!(cluster.rows_of(request).0.len(), 1);
}

/// One random history over lossy messages: whatever QUORUM has acknowledged or shown, QUORUM shows ever after.
fn quorum_history(seed: u64) {
    let mut rng = Rng::new(seed);
    let mut cluster = Cluster::new();
    let mut loss = rng.fork();
    let per_mille = rng.below(300);
    cluster.lose = Box::new(move |_, _, _| loss.chance(per_mille));
    // The value of each row only grows: what was seen is a floor for what is seen later.
    let mut floor = [0u32; 4];
    let mut down = None;
    for value in 1..40 {
        if rng.chance(200) {
            match down.take() {
                Some(id) => cluster.restart(id),
                None => {
                    let id = 1 + rng.index(3) as u128;
                    cluster.kill(id);
                    down = Some(id);
                }
            }
        }
        let at = (1..=3).filter(|id| Some(*id) != down).nth(rng.index(if down.is_some() { 2 } else { 3 })).unwrap();
        let row = rng.index(4);
        if rng.chance(600) {
            // Timestamps order as the values do, whoever coordinates.
            let text = format!("INSERT INTO t (k, c, v) VALUES ('p', {row}, '{value:05}') USING TIMESTAMP {value}");
            let request = cluster.write(at, &text, QUORUM);
            cluster.run_shuffled(&mut rng);
            cluster.advance(Duration::from_millis(rng.below(200)));
            if cluster.reply(request) == Some(Ok(Response::Written)) {
                floor[row] = value;
            }
        } else {
            let text = if rng.chance(500) { SELECT } else { REVERSED };
            let request = cluster.read(at, text, QUORUM);
            cluster.run_shuffled(&mut rng);
            cluster.advance(TIMEOUT);
            if let Some(Ok(_)) = cluster.replies.get(&request) {
                let rows = cluster.rows_of(request).0;
                let mut seen = [0u32; 4];
                for values in rows {
                    seen[values[0].parse::<usize>().unwrap()] = values[1].parse().unwrap();
                }
                for row in 0..4 {
                    assert!(seen[row] >= floor[row], "seed {seed}: row {row} was {} and is {}", floor[row], seen[row]);
                    floor[row] = seen[row];
                }
            }
        }
    }
    cluster.lose = Box::new(|_, _, _| false);
    if let Some(id) = down {
        cluster.restart(id);
    }
    cluster.advance(Duration::from_secs(300));
    // Hints of coordinators that died before they wrote them are made up for by a read of all replicas.
    cluster.rows(1, SELECT, ALL);
    assert!(cluster.agree(&[1, 2, 3]), "seed {seed}");
    cluster.assert_idle();
}

#[test]
fn what_quorum_has_shown_or_acknowledged_quorum_shows_ever_after() {
    for seed in 0..300 {
        quorum_history(seed);
    }
}
