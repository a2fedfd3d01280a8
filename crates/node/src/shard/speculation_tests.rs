//! What the options of a table say of its reads: when a spare replica is asked, and whether replicas are repaired.

use crate::io::{Message, WritePurpose};
use crate::test_cluster::{ALL, Cluster, Flight, QUORUM, TABLE, node, schema, view};
use model::Rng;
use std::time::Duration;

const INSERT: &str = "INSERT INTO t (k, c, v) VALUES ('p', 1, 'x')";
const SELECT: &str = "SELECT v FROM t WHERE k = 'p'";

/// Three nodes with table `t`, whose options are these.
fn with(options: &str) -> Cluster {
    let mut cluster = Cluster::new();
    cluster.publish(view(11, &[1, 2, 3], schema(3, &[&format!("{TABLE} WITH {options}")])));
    cluster.written(1, INSERT, ALL);
    cluster
}

/// Reads on their way to other nodes: for data and for digests.
fn asked(cluster: &Cluster) -> (usize, usize) {
    let count = |wanted: bool| {
        let is = |flight: &&Flight| match flight {
            Flight::Message { envelope, .. } => {
                matches!(envelope.message, Message::Read { digest, .. } if digest == wanted)
            }
            Flight::Storage { .. } => false,
        };
        cluster.flights.iter().filter(is).count()
    };
    (count(false), count(true))
}

#[test]
fn speculative_retry_always_asks_one_more_for_the_data_and_needs_no_more() {
    for late in [2, 3] {
        let mut cluster = with("speculative_retry = 'ALWAYS'");
        let read = cluster.read(1, SELECT, QUORUM);
        assert_eq!(asked(&cluster), (1, 1), "besides this node's own");
        cluster.lose = Box::new(move |_, to, _| to == node(late));
        cluster.run();
        assert_eq!(cluster.rows_of(read).0, [["x"]], "at once, without node {late}");
        cluster.assert_idle();
    }
}

#[test]
fn speculative_retry_never_asks_nobody_besides_but_replaces_who_fails() {
    for late in [2, 3] {
        let mut cluster = with("speculative_retry = 'NEVER'");
        cluster.lose = Box::new(move |_, to, _| to == node(late));
        let reads: Vec<u64> = (0..20).map(|_| cluster.read(1, SELECT, QUORUM)).collect();
        cluster.advance(Duration::from_secs(1));
        assert_eq!(cluster.status(1).spares_asked, 0);
        let waiting = reads.iter().filter(|read| !cluster.replies.contains_key(read)).count();
        assert!((1..20).contains(&waiting), "some were asked of node {late}: {waiting}");
        cluster.step(node(1), crate::Input::Unreachable(node(late)));
        cluster.run();
        reads.into_iter().for_each(|read| assert_eq!(cluster.rows_of(read).0, [["x"]]));
        assert_eq!(cluster.status(1).spares_asked, waiting as u64);
    }
}

#[test]
fn speculative_retry_after_a_fixed_delay_waits_for_exactly_that() {
    let mut cluster = with("speculative_retry = '7ms'");
    cluster.lose = Box::new(|_, to, _| to == node(2));
    let reads: Vec<u64> = (0..20).map(|_| cluster.read(1, SELECT, QUORUM)).collect();
    cluster.advance(Duration::from_millis(6));
    assert_eq!(cluster.status(1).spares_asked, 0);
    assert!(reads.iter().any(|read| !cluster.replies.contains_key(read)));
    cluster.advance(Duration::from_millis(1));
    assert!(cluster.status(1).spares_asked > 0);
    reads.into_iter().for_each(|read| assert_eq!(cluster.rows_of(read).0, [["x"]]));
}

#[test]
fn speculative_retry_by_percentile_learns_how_long_reads_take() {
    // Until enough is known the node's own delay counts: 50 ms. Then reads, which take no time here, are late after
    // 1 ms.
    for (read_before, quick) in [(0, false), (70, true)] {
        let mut cluster = with("speculative_retry = '99p'");
        (0..read_before).for_each(|_| assert_eq!(cluster.rows(1, SELECT, QUORUM), ["x"]));
        let before = cluster.status(1).spares_asked;
        cluster.lose = Box::new(|_, to, _| to == node(2));
        let reads: Vec<u64> = (0..20).map(|_| cluster.read(1, SELECT, QUORUM)).collect();
        cluster.advance(Duration::from_millis(2));
        assert_eq!(cluster.status(1).spares_asked > before, quick);
        cluster.advance(Duration::from_millis(60));
        reads.into_iter().for_each(|read| assert_eq!(cluster.rows_of(read).0, [["x"]]));
    }
}

#[test]
fn a_replica_that_has_been_slow_is_asked_last_and_tried_again_later() {
    let mut cluster = with("speculative_retry = '5ms'");
    cluster.lose = Box::new(|_, to, message| to == node(2) && matches!(message, Message::Read { .. }));
    let to_slow = |cluster: &mut Cluster| {
        let reads: Vec<u64> = (0..20).map(|_| cluster.read(1, SELECT, QUORUM)).collect();
        let is = |flight: &&Flight| matches!(flight, Flight::Message { to, .. } if *to == node(2));
        let count = cluster.flights.iter().filter(is).count();
        cluster.advance(Duration::from_millis(20));
        reads.into_iter().for_each(|read| assert_eq!(cluster.rows_of(read).0, [["x"]]));
        count
    };
    assert!(to_slow(&mut cluster) > 0, "nothing is known yet");
    for _ in 0..5 {
        to_slow(&mut cluster);
    }
    assert_eq!(to_slow(&mut cluster), 0, "node 3 has answered at once, node 2 never");
    cluster.advance(Duration::from_secs(11));
    assert!(to_slow(&mut cluster) > 0, "it is tried again");
}

#[test]
fn read_repair_none_answers_what_is_newest_and_leaves_replicas_as_they_are() {
    for (option, repaired) in [("NONE", false), ("BLOCKING", true)] {
        let mut cluster = with(&format!("read_repair = '{option}'"));
        cluster.plant(&[3], "INSERT INTO t (k, c, v) VALUES ('p', 1, 'newer')", i64::MAX / 2);
        for text in [SELECT, "SELECT v FROM t"] {
            assert_eq!(cluster.rows(1, text, ALL), ["newer"], "{option}");
        }
        assert_eq!(cluster.agree(&[1, 2, 3]), repaired, "{option}");
        assert_eq!(cluster.status(1).read_repairs > 0, repaired, "{option}");
        cluster.assert_idle();
    }
}

#[test]
fn a_read_whose_every_stage_is_doubled_needs_no_more_than_its_quorum() {
    // Node 2 answers nothing, or gives no data, or takes no repair: the other two are enough each time.
    let silent: [fn(&Message) -> bool; 3] = [
        |_| true,
        |message| matches!(message, Message::Read { digest: false, .. }),
        |message| matches!(message, Message::Write { purpose: WritePurpose::ReadRepair, .. }),
    ];
    for lost in silent {
        for fresh in [1, 3] {
            let mut cluster = Cluster::new();
            cluster.plant(&[fresh], INSERT, 10);
            cluster.lose = Box::new(move |_, to, message| to == node(2) && lost(message));
            for _ in 0..8 {
                let read = cluster.read(1, SELECT, QUORUM);
                cluster.advance(Duration::from_secs(1));
                assert_eq!(cluster.rows_of(read).0.len() as u128, u128::from(cluster.agree(&[1, 3])));
            }
            assert!(cluster.agree(&[1, 3]), "two replicas hold it");
            cluster.assert_idle();
        }
    }
}

#[test]
fn a_healthy_cluster_seldom_asks_spare_replicas() {
    // Answers take 1 to 10 ms, as a network and a cache have it; fewer than a tenth of the reads are doubled.
    let mut cluster = with("speculative_retry = '99PERCENTILE'");
    let mut rng = Rng::new(7);
    for _ in 0..1_000 {
        let read = cluster.read(1, SELECT, QUORUM);
        cluster.advance_idle(Duration::from_micros(rng.between(1_000, 10_000)));
        cluster.run();
        assert_eq!(cluster.rows_of(read).0, [["x"]]);
    }
    let asked = cluster.status(1).spares_asked;
    assert!(asked < 100, "{asked} of 1,000 reads asked a spare replica");
}

#[test]
fn nobody_is_asked_for_more_than_is_needed_while_nodes_have_more_to_do_than_they_can() {
    for (options, asked_besides) in [("speculative_retry = 'ALWAYS'", 2), ("speculative_retry = '7ms'", 1)] {
        let mut cluster = with(options);
        cluster.step(node(1), crate::Input::Overloaded);
        let read = cluster.read(1, SELECT, QUORUM);
        assert_eq!(asked(&cluster), (0, 1), "{options}: besides this node's own");
        cluster.lose = Box::new(|_, to, message| to != node(1) && matches!(message, Message::Read { .. }));
        cluster.advance(Duration::from_millis(500));
        assert!(!cluster.replies.contains_key(&read), "{options}");
        assert_eq!(cluster.status(1).spares_asked, 0, "{options}");
        // A second later that is forgotten.
        cluster.lose = Box::new(|_, _, _| false);
        cluster.advance(Duration::from_millis(600));
        let read = cluster.read(1, SELECT, QUORUM);
        assert_eq!(asked(&cluster).0 + asked(&cluster).1, asked_besides, "{options}");
        cluster.run();
        assert_eq!(cluster.rows_of(read).0, [["x"]]);
    }
}

#[test]
fn a_replica_that_refuses_as_overloaded_makes_its_coordinator_ask_for_no_more_than_is_needed() {
    let mut cluster = with("speculative_retry = '1ms'");
    cluster.lose = Box::new(|_, to, _| to == node(3));
    let message = Message::Refused { op: crate::OpId(7), reason: crate::Refusal::Overloaded };
    let envelope = crate::Envelope { epoch: model::Epoch(11), message };
    cluster.step(node(1), crate::Input::Message { from: node(2), envelope });
    let read_often = |cluster: &mut Cluster| {
        for _ in 0..20 {
            cluster.read(1, SELECT, QUORUM);
        }
    };
    read_often(&mut cluster);
    cluster.advance(Duration::from_millis(900));
    assert_eq!(cluster.status(1).spares_asked, 0);
    cluster.advance(Duration::from_millis(200));
    read_often(&mut cluster);
    cluster.advance(Duration::from_millis(100));
    assert!(cluster.status(1).spares_asked > 0);
}
