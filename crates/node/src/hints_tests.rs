//! Hints over a cluster: written, delivered, re-routed, and kept across restarts of either side.

use crate::io::{Input, Message, WritePurpose};
use crate::test_cluster::{ALL, Cluster, Flight, ONE, QUORUM, TABLE, TIMEOUT, node, schema, view};
use crate::{Envelope, Hint, OpId, Refusal, ShardStatus, StorageRequest};
use model::Epoch;
use std::sync::Arc;
use std::time::Duration;

fn insert(c: u32) -> String {
    format!("INSERT INTO t (k, c, v) VALUES ('p', {c}, 'x')")
}

const SELECT: &str = "SELECT c FROM t WHERE k = 'p'";
const LONG: Duration = Duration::from_secs(300);

fn hints_kept(cluster: &Cluster) -> usize {
    cluster.nodes.values().flat_map(|node| node.store.hints.values()).map(|hints| hints.len()).sum()
}

/// Node 3 misses `count` writes.
fn missed(count: u32) -> Cluster {
    let mut cluster = Cluster::new();
    cluster.kill(3);
    for c in 0..count {
        cluster.written(1 + u128::from(c) % 2, &insert(c), QUORUM);
    }
    assert_eq!(hints_kept(&cluster), count as usize);
    cluster
}

#[test]
fn a_node_that_comes_back_gets_what_it_missed() {
    let mut cluster = missed(300);
    cluster.restart(3);
    cluster.run();
    assert_eq!(hints_kept(&cluster), 0);
    cluster.kill(1);
    cluster.kill(2);
    assert_eq!(cluster.rows(3, SELECT, ONE).len(), 300);
    let delivered = |status: ShardStatus| (status.hints_delivered, status.hint_targets_pending);
    assert_eq!((delivered(cluster.status(1)), delivered(cluster.status(2))), ((150, 0), (150, 0)));
}

#[test]
fn hints_that_outlive_the_grace_are_not_delivered() {
    // The deletion that came after them may be purged by then.
    const GRACE: Duration = Duration::from_secs(864_000);
    for (waited, delivered) in [(GRACE - LONG, 5), (GRACE, 0)] {
        let mut cluster = missed(5);
        cluster.advance(waited);
        cluster.restart(3);
        cluster.run();
        assert_eq!(hints_kept(&cluster), 0);
        let status = [cluster.status(1), cluster.status(2)];
        assert_eq!(status.iter().map(|status| status.hints_discarded).sum::<u64>(), 5 - delivered);
        cluster.kill(1);
        cluster.kill(2);
        assert_eq!(cluster.rows(3, SELECT, ONE).len() as u64, delivered);
    }
}

#[test]
fn a_hint_is_outlived_after_the_grace_and_clocks_that_go_back_do_not_count() {
    let hint = |written_seconds| {
        let partition = model::PartitionKey::new(bytes::Bytes::new());
        let mutation = model::Mutation { table: model::TableId(1), partition, records: Vec::new() };
        Hint { written_seconds, grace_seconds: 50, mutation: std::sync::Arc::new(mutation) }
    };
    assert!(!super::is_outlived(&hint(100), 10, 109));
    assert!(super::is_outlived(&hint(100), 10, 110));
    assert!(super::is_outlived(&hint(100), 0, 100), "a table without grace keeps no hints");
    assert!(!super::is_outlived(&hint(100), 10, 50));
    // Its table had a grace of 50 s when it was kept: what was deleted then may be purged.
    assert!(!super::is_outlived(&hint(100), 1_000, 149));
    assert!(super::is_outlived(&hint(100), 1_000, 150));
}

#[test]
fn hints_survive_a_restart_of_the_node_that_keeps_them() {
    let mut cluster = missed(10);
    cluster.kill(1);
    cluster.restart(3);
    cluster.restart(1);
    cluster.advance(LONG);
    assert_eq!(hints_kept(&cluster), 0);
    assert!(cluster.agree(&[1, 2, 3]));
}

#[test]
fn both_sides_may_restart_while_hints_are_on_their_way() {
    for cut in 1..60 {
        let mut cluster = missed(20);
        cluster.restart(3);
        for _ in 0..cut {
            let Some(flight) = cluster.flights.pop_front() else { break };
            cluster.deliver(flight);
        }
        let victim = 1 + cut % 3;
        cluster.kill(victim);
        cluster.restart(victim);
        cluster.advance(LONG);
        assert_eq!(hints_kept(&cluster), 0, "cut after {cut}");
        assert!(cluster.agree(&[1, 2, 3]), "cut after {cut}");
        cluster.assert_idle();
    }
}

#[test]
fn hints_that_get_lost_are_sent_again_and_none_is_forgotten_before() {
    let mut cluster = missed(30);
    let mut count = 0u32;
    cluster.lose = Box::new(move |_, _, message| {
        count += 1;
        matches!(message, Message::Write { purpose: WritePurpose::Hint, .. } | Message::Written { .. })
            && count.is_multiple_of(3)
    });
    cluster.restart(3);
    cluster.run();
    assert!(hints_kept(&cluster) > 0, "H1: lost ones are kept");
    cluster.lose = Box::new(|_, _, _| false);
    cluster.advance(LONG);
    assert_eq!(hints_kept(&cluster), 0);
    assert!(cluster.agree(&[1, 2, 3]));
}

#[test]
fn hints_wait_for_the_first_view_of_a_node_that_starts() {
    let mut cluster = missed(5);
    let whole = cluster.view.clone();
    cluster.kill(1);
    cluster.restart(3);
    // Node 1 starts before it knows of any cluster.
    cluster.view = view(0, &[], std::sync::Arc::default());
    cluster.restart(1);
    cluster.view = whole.clone();
    cluster.advance(LONG);
    assert_eq!(cluster.status(1).hints_discarded, 0);
    assert!(hints_kept(&cluster) > 0);
    cluster.publish(whole);
    cluster.announce();
    cluster.advance(LONG);
    assert_eq!(hints_kept(&cluster), 0);
    assert_eq!(cluster.rows(3, SELECT, ONE).len(), 5);
}

#[test]
fn at_most_so_many_hints_are_on_their_way() {
    let mut cluster = Cluster::with(|config| config.hints_in_flight_max = 4);
    cluster.kill(3);
    for c in 0..40 {
        cluster.written(1, &insert(c), QUORUM);
    }
    cluster.restart(3);
    let hints = |flight: &&Flight| {
        matches!(flight, Flight::Message { envelope, .. }
            if matches!(envelope.message, Message::Write { purpose: WritePurpose::Hint, .. }))
    };
    let mut most = 0;
    while let Some(flight) = cluster.flights.pop_front() {
        cluster.deliver(flight);
        most = most.max(cluster.flights.iter().filter(hints).count());
    }
    assert_eq!(most, 4);
    assert_eq!(hints_kept(&cluster), 0);
}

#[test]
fn many_small_pages_are_delivered_in_full() {
    let mut cluster = Cluster::with(|config| config.hint_page_bytes = 1);
    cluster.kill(3);
    for c in 0..20 {
        cluster.written(1, &insert(c), QUORUM);
    }
    cluster.restart(3);
    cluster.run();
    assert_eq!(hints_kept(&cluster), 0);
    assert!(cluster.agree(&[1, 2, 3]));
}

#[test]
fn hints_for_a_node_that_was_alive_all_the_time_are_delivered_soon() {
    let mut cluster = Cluster::new();
    cluster.lose = Box::new(|_, to, _| to == node(3));
    cluster.written(1, &insert(1), QUORUM);
    cluster.advance(TIMEOUT);
    assert_eq!(hints_kept(&cluster), 1);
    cluster.lose = Box::new(|_, _, _| false);
    cluster.advance(Duration::from_secs(10));
    assert_eq!(hints_kept(&cluster), 0);
    assert!(cluster.agree(&[1, 2, 3]));
}

#[test]
fn a_target_that_stays_away_is_not_asked_all_the_time() {
    let mut cluster = missed(1);
    cluster.advance(LONG);
    let wakes = cluster.nodes[&node(1)].shard.deadline();
    assert!(wakes.is_none_or(|at| at > cluster.now + Duration::from_secs(60)), "no hint to wake for: {wakes:?}");
    cluster.restart(3);
    let asked = std::rc::Rc::new(std::cell::Cell::new(0));
    let count = asked.clone();
    cluster.lose = Box::new(move |_, to, message| {
        count.set(count.get() + u32::from(matches!(message, Message::Write { .. })));
        to == node(3)
    });
    cluster.advance(Duration::from_secs(3_600));
    assert!((40..80).contains(&asked.get()), "about once a minute, not {} times", asked.get());
    assert_eq!(hints_kept(&cluster), 1);
}

#[test]
fn no_hints_are_written_beyond_the_window() {
    let mut cluster = Cluster::with(|config| config.hints.window = Duration::from_secs(60));
    cluster.kill(3);
    cluster.written(1, &insert(1), QUORUM);
    cluster.advance(Duration::from_secs(61));
    cluster.written(1, &insert(2), QUORUM);
    assert_eq!(hints_kept(&cluster), 1);
    assert_eq!(cluster.status(1).hints_dropped, 1);
    // A node that was seen alive in between has a new window.
    cluster.restart(3);
    cluster.kill(3);
    cluster.written(1, &insert(3), QUORUM);
    assert_eq!(cluster.status(1).hints_written, 2);
}

#[test]
fn hints_of_a_dropped_table_are_discarded() {
    let mut cluster = missed(4);
    cluster.publish(view(11, &[1, 2, 3], schema(3, &[])));
    cluster.restart(3);
    cluster.advance(LONG);
    assert_eq!(hints_kept(&cluster), 0);
    assert_eq!(cluster.status(1).hints_discarded + cluster.status(2).hints_discarded, 4);
    assert!(cluster.nodes[&node(3)].store.partitions.is_empty());
}

#[test]
fn hints_for_a_node_that_owns_the_partition_no_more_go_to_those_that_do() {
    // CASSANDRA-5902: node 3 leaves for good, node 4 comes in its place.
    let mut cluster = Cluster::of(&[1, 2, 3, 4], 3, |_| {});
    let key = (0..1_000u32)
        .map(|key| format!("p{key}"))
        .find(|key| {
            let replicas = cluster.view.replicas("ks", model::Token::of(key.as_bytes()));
            replicas.contains(&node(3)) && !replicas.contains(&node(4))
        })
        .unwrap();
    cluster.kill(3);
    for c in 0..5 {
        let text = format!("INSERT INTO t (k, c, v) VALUES ('{key}', {c}, 'x')");
        cluster.written(1, &text, QUORUM);
    }
    assert_eq!(hints_kept(&cluster), 5);
    cluster.publish(view(11, &[1, 2, 4], schema(3, &[TABLE])));
    cluster.advance(LONG);
    assert_eq!(hints_kept(&cluster), 0);
    assert_eq!(cluster.status(1).hints_delivered, 5);
    let select = format!("SELECT c FROM t WHERE k = '{key}'");
    assert_eq!(cluster.rows(4, &select, ONE).len(), 5);
}

#[test]
fn a_hint_that_its_target_finds_invalid_does_not_stop_the_others() {
    let mut cluster = missed(6);
    cluster.restart(3);
    let mut refused = 0;
    while let Some(flight) = cluster.flights.pop_front() {
        match &flight {
            Flight::Message { from, to, envelope: Envelope { message: Message::Write { op, purpose, .. }, .. } }
                if *purpose == WritePurpose::Hint && refused < 2 =>
            {
                refused += 1;
                let message = Message::Refused { op: *op, reason: Refusal::Invalid };
                let envelope = Envelope { epoch: Epoch(10), message };
                cluster.flights.push_back(Flight::Message { from: *to, to: *from, envelope });
            }
            _ => cluster.deliver(flight),
        }
    }
    assert_eq!(hints_kept(&cluster), 0);
    assert_eq!(cluster.status(1).hints_discarded + cluster.status(2).hints_discarded, 2);
    assert_eq!(cluster.rows(3, SELECT, ONE).len(), 4);
}

#[test]
fn a_shard_among_several_looks_for_the_hints_of_the_others() {
    let mut cluster = Cluster::with(|config| config.shards = 2);
    // As another shard of node 1 would have written it.
    cluster.plant(&[1, 2], &insert(1), 7);
    let query::Bound::Write(write) = cluster.bind(&insert(1)) else { panic!() };
    let mutation = std::sync::Arc::new(write.mutation(7, model::WallMicros(0)).unwrap());
    let hint = Hint { written_seconds: u32::MAX, grace_seconds: 864_000, mutation };
    let request = StorageRequest::Hint { target: node(3), hint, oldest_seconds: 0 };
    cluster.deliver(Flight::Storage { at: node(1), op: OpId(1 << 48 | 5), request });
    assert_eq!(hints_kept(&cluster), 1);
    cluster.advance(Duration::from_secs(30));
    assert_eq!(hints_kept(&cluster), 0);
    assert_eq!(cluster.rows(3, SELECT, ONE), ["1"]);
}

#[test]
fn an_overloaded_coordinator_keeps_its_own_miss_as_a_hint_too() {
    let mut cluster = Cluster::new();
    cluster.written(1, &insert(0), ALL);
    // The coordinator's own store refuses one write.
    cluster.written(2, &insert(1), ALL);
    let request = cluster.write(1, &insert(2), QUORUM);
    while let Some(flight) = cluster.flights.pop_front() {
        match flight {
            Flight::Storage { at, op, request: StorageRequest::Apply(_) } if at == node(1) => {
                let error = crate::StorageError::Overloaded;
                cluster.step(at, Input::Stored(crate::Stored::Failed { op, error }));
            }
            other => cluster.deliver(other),
        }
    }
    assert_eq!(cluster.reply(request), Some(Ok(crate::Response::Written)));
    assert_eq!(cluster.nodes[&node(1)].store.hints.len(), 1);
    cluster.advance(LONG);
    assert_eq!(hints_kept(&cluster), 0);
    assert!(cluster.agree(&[1, 2, 3]));
}

/// Tells a node what its operator says of hints.
fn tell(cluster: &mut Cluster, at: u128, change: impl FnOnce(&mut crate::HintPolicy)) {
    let mut policy = crate::HintPolicy::default();
    change(&mut policy);
    cluster.step(node(at), Input::Hints(std::sync::Arc::new(policy)));
}

#[test]
fn paused_hints_are_kept_and_resumed_ones_delivered() {
    let mut cluster = missed(10);
    [1, 2].into_iter().for_each(|at| tell(&mut cluster, at, |policy| policy.paused = true));
    cluster.restart(3);
    cluster.advance(LONG);
    assert_eq!(hints_kept(&cluster), 10);
    tell(&mut cluster, 1, |_| {});
    cluster.run();
    assert_eq!(hints_kept(&cluster), 5, "each node by itself");
    tell(&mut cluster, 2, |_| {});
    cluster.run();
    assert_eq!(hints_kept(&cluster), 0);
}

#[test]
fn a_pause_in_the_midst_of_a_delivery_loses_nothing_and_sends_nothing_more() {
    for steps in 0..60 {
        let mut cluster = missed(20);
        cluster.restart(3);
        for _ in 0..steps {
            if let Some(flight) = cluster.flights.pop_front() {
                cluster.deliver(flight);
            }
        }
        [1, 2].into_iter().for_each(|at| tell(&mut cluster, at, |policy| policy.paused = true));
        cluster.run();
        let sent = cluster.status(3).replica_writes;
        cluster.advance(LONG);
        assert_eq!(cluster.status(3).replica_writes, sent, "after {steps} steps");
        [1, 2].into_iter().for_each(|at| tell(&mut cluster, at, |_| {}));
        cluster.advance(LONG);
        assert_eq!(hints_kept(&cluster), 0, "after {steps} steps");
        cluster.kill(1);
        cluster.kill(2);
        assert_eq!(cluster.rows(3, SELECT, ONE).len(), 20, "after {steps} steps");
    }
}

#[test]
fn hints_that_are_switched_off_are_not_written_for_anybody_or_for_a_data_center() {
    let mut cluster = Cluster::across(3, 3);
    cluster.kill(3);
    cluster.kill(6);
    let kept = |cluster: &Cluster| {
        cluster.nodes[&node(1)].store.hints.iter().map(|(target, hints)| (target.0, hints.len())).collect::<Vec<_>>()
    };
    cluster.written(1, &insert(0), QUORUM);
    assert_eq!(kept(&cluster), [(3, 1), (6, 1)]);
    tell(&mut cluster, 1, |policy| {
        policy.disabled_data_centers.insert("b".to_owned());
    });
    cluster.written(1, &insert(1), QUORUM);
    assert_eq!(kept(&cluster), [(3, 2), (6, 1)]);
    tell(&mut cluster, 1, |policy| policy.enabled = false);
    cluster.written(1, &insert(2), QUORUM);
    assert_eq!(kept(&cluster), [(3, 2), (6, 1)]);
    tell(&mut cluster, 1, |_| {});
    cluster.written(1, &insert(3), QUORUM);
    assert_eq!(kept(&cluster), [(3, 3), (6, 2)]);
    assert_eq!(cluster.status(1).hints_dropped, 3);
}

#[test]
fn the_window_can_be_changed_while_a_node_is_away() {
    let mut cluster = missed(1);
    cluster.advance(LONG);
    tell(&mut cluster, 1, |policy| policy.window = Duration::from_secs(60));
    cluster.written(1, &insert(1), QUORUM);
    assert_eq!(hints_kept(&cluster), 1, "it is away for longer");
    tell(&mut cluster, 1, |policy| policy.window = Duration::from_secs(600));
    cluster.written(1, &insert(2), QUORUM);
    assert_eq!(hints_kept(&cluster), 2);
}

#[test]
fn truncated_hints_are_gone_and_later_ones_are_delivered() {
    for steps in [0, 1, 2, 3, 5, 8, 13, 21, 34] {
        let mut cluster = missed(20);
        cluster.restart(3);
        for _ in 0..steps {
            if let Some(flight) = cluster.flights.pop_front() {
                cluster.deliver(flight);
            }
        }
        [1, 2].into_iter().for_each(|at| cluster.step(node(at), Input::DiscardHints(vec![node(3)])));
        cluster.run();
        assert_eq!(hints_kept(&cluster), 0, "after {steps} steps");
        cluster.kill(3);
        (20..25).for_each(|c| cluster.written(1, &insert(c), QUORUM));
        cluster.restart(3);
        cluster.advance(LONG);
        assert_eq!(hints_kept(&cluster), 0);
        assert_eq!(cluster.status(1).hint_targets_pending, 0);
        cluster.kill(1);
        cluster.kill(2);
        let rows = cluster.rows(3, SELECT, ONE);
        assert!(["20", "21", "22", "23", "24"].iter().all(|c| rows.iter().any(|row| row == c)), "{rows:?}");
        assert!(steps > 0 || rows.len() == 5, "nothing was on its way");
    }
}

#[test]
fn a_throttle_spreads_delivery_over_time() {
    let mut cluster = Cluster::new();
    cluster.kill(3);
    (0..20).for_each(|c| cluster.written(1, &insert(c), QUORUM));
    let bytes: usize = cluster.nodes[&node(1)].store.hints[&node(3)].values().map(|hint| hint.mutation.bytes()).sum();
    // All of them take about ten seconds.
    let per_second = std::num::NonZeroU64::new(bytes as u64 / 10);
    tell(&mut cluster, 1, |policy| policy.bytes_per_second = per_second);
    cluster.restart(3);
    cluster.advance(Duration::from_secs(3));
    let early = hints_received(&cluster);
    assert!((2..=8).contains(&early), "{early} of 20 in 3 of 10 seconds");
    cluster.advance(Duration::from_secs(3));
    let later = hints_received(&cluster);
    assert!((8..=14).contains(&later), "{later} of 20 in 6 of 10 seconds");
    cluster.advance(Duration::from_secs(20));
    assert_eq!((hints_kept(&cluster), hints_received(&cluster)), (0, 20));
    assert_eq!(cluster.status(1).hints_delivered, 20, "none twice");
}

fn hints_received(cluster: &Cluster) -> u64 {
    cluster.status(3).replica_writes
}

#[test]
fn what_expires_does_so_at_its_time_however_late_its_hint_arrives() {
    // test_ttl_is_respected_on_delayed_replication
    let mut cluster = Cluster::new();
    cluster.kill(3);
    cluster.written(1, "INSERT INTO t (k, c, v) VALUES ('p', 1, 'x') USING TTL 100", QUORUM);
    cluster.written(1, "INSERT INTO t (k, c, v) VALUES ('p', 2, 'x') USING TTL 10000", QUORUM);
    cluster.advance(Duration::from_secs(60));
    cluster.restart(3);
    cluster.run();
    assert_eq!(hints_kept(&cluster), 0);
    assert_eq!(cluster.rows(3, SELECT, ONE), ["1", "2"]);
    cluster.advance(Duration::from_secs(60));
    assert_eq!(cluster.rows(3, SELECT, ONE), ["2"]);
}

#[test]
fn hints_of_no_more_than_one_window_wait_over_flaps_and_restarts_of_either_side() {
    // test_hintedhandoff_window, CASSANDRA-14309: a node that is back for a moment begins no new window, and nor does a
    // coordinator that starts again.
    const HOUR: Duration = Duration::from_secs(3_600);
    let mut cluster = Cluster::with(|config| config.hints.paused = true);
    let mut written = 0;
    let mut write = |cluster: &mut Cluster| {
        cluster.written(1, &insert(written), QUORUM);
        written += 1;
    };
    cluster.kill(3);
    for _ in 0..2 {
        write(&mut cluster);
        cluster.advance(HOUR + HOUR / 4);
    }
    // Back, and away again: nothing was delivered.
    cluster.restart(3);
    cluster.run();
    cluster.kill(3);
    write(&mut cluster);
    assert_eq!(hints_kept(&cluster), 3, "two and a half hours are within the window");
    cluster.advance(HOUR);
    write(&mut cluster);
    assert_eq!(hints_kept(&cluster), 3, "since the first one more than a window has passed");
    cluster.restart(1);
    cluster.announce();
    write(&mut cluster);
    assert_eq!((hints_kept(&cluster), cluster.status(1).hints_dropped), (3, 1), "a restart changes nothing");
    // Once they are delivered the next window begins.
    cluster.restart(3);
    let policy = crate::HintPolicy::default();
    cluster.step(node(1), Input::Hints(Arc::new(policy)));
    cluster.advance(LONG);
    assert_eq!(hints_kept(&cluster), 0);
    cluster.kill(3);
    write(&mut cluster);
    assert_eq!(hints_kept(&cluster), 1);
}
