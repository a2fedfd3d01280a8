//! Requests over two data centres: who is asked, who counts, and what goes over the link between them.

use crate::io::{Input, Message, Refusal, Response};
use crate::test_cluster::{ALL, Cluster, Flight, ONE, QUORUM, TIMEOUT, node};
use model::{Consistency, NodeId, RequestError};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

const INSERT: &str = "INSERT INTO t (k, c, v) VALUES ('p', 1, 'x')";
const SELECT: &str = "SELECT v FROM t WHERE k = 'p'";
const SCAN: &str = "SELECT v FROM t";
const LOCAL_QUORUM: Consistency = Consistency::LocalQuorum;
const LOCAL_ONE: Consistency = Consistency::LocalOne;
const EACH_QUORUM: Consistency = Consistency::EachQuorum;
const ANY: Consistency = Consistency::Any;

fn is_remote(a: NodeId, b: NodeId) -> bool {
    (a.0 < 4) != (b.0 < 4)
}

/// Messages that carry a mutation from one data centre to the other, among those that are on their way.
fn writes_across(cluster: &Cluster) -> usize {
    let crosses = |flight: &&Flight| match flight {
        Flight::Message { from, to, envelope } => {
            let writes = matches!(envelope.message, Message::Write { .. } | Message::Forward { .. });
            writes && is_remote(*from, *to)
        }
        Flight::Storage { .. } => false,
    };
    cluster.flights.iter().filter(crosses).count()
}

#[test]
fn a_write_goes_to_another_data_center_once_and_each_replica_there_answers_for_itself() {
    let mut cluster = Cluster::across(3, 3);
    // The first write of a shard waits for a timestamp.
    cluster.written(1, INSERT, ALL);
    for consistency in [ONE, QUORUM, LOCAL_QUORUM, EACH_QUORUM, ALL] {
        let request = cluster.write(1, INSERT, consistency);
        assert_eq!(writes_across(&cluster), 1);
        cluster.run();
        assert_eq!(cluster.reply(request), Some(Ok(Response::Written)), "{consistency}");
    }
    assert!(cluster.agree(&[1, 2, 3, 4, 5, 6]));
    cluster.assert_idle();
}

#[test]
fn a_node_that_is_no_replica_forwards_to_each_data_center() {
    let mut cluster = Cluster::across(2, 2);
    for at in 1..=6 {
        cluster.written(at, INSERT, ALL);
        assert_eq!(cluster.rows(at, SELECT, ALL), ["x"]);
    }
    assert_eq!(cluster.nodes.values().filter(|node| !node.store.partitions.is_empty()).count(), 4);
}

#[test]
fn local_levels_are_served_by_one_data_center_alone() {
    let mut cluster = Cluster::across(3, 3);
    // The link is cut and nobody has noticed.
    cluster.lose = Box::new(|from, to, _| is_remote(from, to));
    for consistency in [LOCAL_ONE, LOCAL_QUORUM, ONE] {
        cluster.written(1, INSERT, consistency);
        assert_eq!(cluster.rows(1, SELECT, consistency), ["x"]);
        assert_eq!(cluster.rows(2, SCAN, consistency), ["x"]);
    }
    let request = cluster.write(1, INSERT, QUORUM);
    cluster.advance(TIMEOUT);
    let timeout = RequestError::WriteTimeout { consistency: QUORUM, received: 3, required: 4 };
    assert_eq!(cluster.reply(request), Some(Err(timeout)));
    let hinted = cluster.nodes[&node(1)].store.hints.keys().copied().collect::<Vec<_>>();
    assert_eq!(hinted, [node(4), node(5), node(6)]);
}

#[test]
fn a_local_quorum_does_not_count_the_other_data_center() {
    let mut cluster = Cluster::across(3, 3);
    cluster.kill(2);
    cluster.kill(3);
    for (consistency, required) in [(LOCAL_QUORUM, 2), (EACH_QUORUM, 2)] {
        let expected = RequestError::Unavailable { consistency, required, alive: 1, data_center: Some("a".to_owned()) };
        let (write, read) = (cluster.write(1, INSERT, consistency), cluster.read(1, SELECT, consistency));
        assert!(cluster.flights.is_empty());
        assert_eq!(cluster.reply(write), Some(Err(expected.clone())));
        assert_eq!(cluster.reply(read), Some(Err(expected)));
    }
    // Of six replicas four are alive.
    cluster.written(1, INSERT, QUORUM);
    assert_eq!(cluster.rows(1, SELECT, QUORUM), ["x"]);
    cluster.written(4, INSERT, LOCAL_QUORUM);
    assert_eq!(cluster.rows(4, SELECT, LOCAL_QUORUM), ["x"]);
}

#[test]
fn each_quorum_needs_a_quorum_in_each_data_center() {
    let mut cluster = Cluster::across(3, 3);
    cluster.lose = Box::new(|_, to, _| to.0 == 5 || to.0 == 6);
    let request = cluster.write(1, INSERT, EACH_QUORUM);
    cluster.advance(TIMEOUT);
    let late = cluster.reply(request);
    let Some(Err(RequestError::WriteTimeout { consistency: EACH_QUORUM, received, required: 4 })) = late else {
        panic!("{late:?}")
    };
    // Two in `a`; in `b` only the fourth can have it, if it is the one that forwards or was reached by that.
    assert!(received == 2 || received == 3, "{received}");
    let read = cluster.read(1, SELECT, EACH_QUORUM);
    cluster.advance(TIMEOUT);
    let late = cluster.reply(read);
    assert!(matches!(late, Some(Err(RequestError::ReadTimeout { received: 3, required: 4, .. }))), "{late:?}");
    let Some(Err(RequestError::ReadTimeout { .. })) = ({
        let scan = cluster.read(1, SCAN, EACH_QUORUM);
        cluster.advance(TIMEOUT);
        cluster.reply(scan)
    }) else {
        panic!("a scan at EACH_QUORUM is a read as any other")
    };
}

#[test]
fn a_read_at_each_quorum_sees_local_quorums_of_every_data_center() {
    for (writer, reader) in [(1, 4), (4, 1), (2, 3), (6, 5)] {
        let mut cluster = Cluster::across(3, 3);
        // What is acknowledged at LOCAL_QUORUM is nowhere else yet, and hints are far away.
        cluster.lose = Box::new(|from, to, _| is_remote(from, to));
        cluster.written(writer, INSERT, LOCAL_QUORUM);
        cluster.lose = Box::new(|_, _, _| false);
        assert_eq!(cluster.rows(reader, SELECT, EACH_QUORUM), ["x"]);
        assert_eq!(cluster.rows(reader, SCAN, EACH_QUORUM), ["x"]);
    }
}

#[test]
fn reads_prefer_the_data_center_of_their_coordinator() {
    let mut cluster = Cluster::across(3, 3);
    cluster.written(1, INSERT, ALL);
    let across = Rc::new(RefCell::new(0));
    let count = across.clone();
    cluster.lose = Box::new(move |from, to, message| {
        *count.borrow_mut() += usize::from(is_remote(from, to) && matches!(message, Message::Read { .. }));
        false
    });
    for consistency in [ONE, LOCAL_ONE, LOCAL_QUORUM, Consistency::Two, Consistency::Three] {
        (1..=6).for_each(|at| assert_eq!(cluster.rows(at, SELECT, consistency), ["x"]));
    }
    assert_eq!(*across.borrow(), 0);
    assert_eq!(cluster.rows(1, SELECT, QUORUM), ["x"]);
    assert_eq!(*across.borrow(), 1, "three of four are near");
}

#[test]
fn a_local_read_repairs_and_asks_spares_within_its_data_center_only() {
    let mut cluster = Cluster::across(3, 3);
    cluster.plant(&[2], INSERT, 9);
    cluster.lose = Box::new(|from, to, _| is_remote(from, to) || to == node(3));
    let read = cluster.read(1, SELECT, LOCAL_QUORUM);
    cluster.advance(Duration::from_secs(1));
    assert_eq!(cluster.rows_of(read).0, [["x"]]);
    assert!(cluster.agree(&[1, 2]));
    cluster.stop(2);
    let read = cluster.read(1, SELECT, LOCAL_QUORUM);
    cluster.advance(TIMEOUT);
    let late = cluster.reply(read);
    assert!(matches!(late, Some(Err(RequestError::ReadTimeout { received: 1, required: 2, .. }))), "{late:?}");
}

#[test]
fn a_late_replica_of_a_data_center_is_replaced_by_one_that_counts_there() {
    for late in [5, 6] {
        let mut cluster = Cluster::across(3, 3);
        cluster.written(1, INSERT, ALL);
        cluster.lose = Box::new(move |_, to, _| to == node(late));
        for text in [SELECT, SCAN] {
            let read = cluster.read(1, text, EACH_QUORUM);
            cluster.advance(Duration::from_secs(1));
            assert_eq!(cluster.rows_of(read).0, [["x"]], "without {late}");
        }
    }
}

#[test]
fn a_replica_that_cannot_be_reached_to_forward_is_gone_around() {
    for (lost, refuses) in [(4, false), (5, false), (6, false), (4, true), (5, true), (6, true)] {
        let mut cluster = Cluster::across(3, 3);
        cluster.written(1, "INSERT INTO t (k, c, v) VALUES ('other', 1, 'x')", ALL);
        let request = cluster.write(1, INSERT, EACH_QUORUM);
        let op = cluster.flights.iter().find_map(|flight| match flight {
            Flight::Message { envelope, .. } => match &envelope.message {
                Message::Write { op, .. } | Message::Forward { op, .. } => Some(*op),
                _ => None,
            },
            Flight::Storage { .. } => None,
        });
        cluster.lose = Box::new(move |_, to, _| to == node(lost));
        cluster.run();
        if refuses {
            let message = Message::Refused { op: op.unwrap(), reason: Refusal::NotReplica(model::Epoch(10)) };
            let envelope = crate::io::Envelope { epoch: model::Epoch(10), message };
            cluster.step(node(1), Input::Message { from: node(lost), envelope });
        } else {
            cluster.step(node(1), Input::Unreachable(node(lost)));
        }
        cluster.run();
        assert_eq!(cluster.reply(request), Some(Ok(Response::Written)), "{lost} {refuses}");
        let others: Vec<u128> = (1..=6).filter(|id| *id != lost).collect();
        assert!(cluster.agree(&others));
    }
}

#[test]
fn at_any_a_write_succeeds_with_a_durable_hint_and_reads_are_refused() {
    let mut cluster = Cluster::across(1, 1);
    let holders = |cluster: &Cluster| -> Vec<u128> {
        let holds =
            |(id, node): (&NodeId, &crate::test_cluster::TestNode)| (!node.store.partitions.is_empty()).then_some(id.0);
        cluster.nodes.iter().filter_map(holds).collect()
    };
    cluster.written(1, INSERT, ANY);
    let replicas = holders(&cluster);
    let at = (1..=6).find(|id| !replicas.contains(id)).unwrap();
    replicas.iter().for_each(|id| cluster.kill(*id));
    cluster.nodes.get_mut(&node(at)).unwrap().slow_storage = true;
    let request = cluster.write(at, "UPDATE t SET v = 'y' WHERE k = 'p' AND c = 1", ANY);
    cluster.run();
    assert_eq!(cluster.reply(request), None, "no hint is durable yet");
    cluster.release(at);
    assert_eq!(cluster.reply(request), Some(Ok(Response::Written)));
    let one = cluster.write(at, INSERT, ONE);
    assert!(matches!(cluster.reply(one), Some(Err(RequestError::Unavailable { .. }))));
    let read = cluster.read(at, SELECT, ANY);
    let refused = RequestError::Invalid("ANY ConsistencyLevel is only supported for writes".to_owned());
    assert_eq!(cluster.reply(read), Some(Err(refused)));
    replicas.iter().for_each(|id| cluster.restart(*id));
    cluster.advance(Duration::from_secs(10));
    replicas.iter().for_each(|id| assert_eq!(cluster.rows(*id, SELECT, LOCAL_ONE), ["y"]));
    cluster.assert_idle();
}

#[test]
fn at_any_a_write_without_replicas_and_without_a_hint_fails() {
    let mut cluster = Cluster::across(1, 1);
    cluster.written(1, INSERT, ANY);
    let holds = |id: &u128| !cluster.nodes[&node(*id)].store.partitions.is_empty();
    let (replicas, others): (Vec<u128>, Vec<u128>) = (1..=6).partition(holds);
    replicas.iter().for_each(|id| cluster.kill(*id));
    // They are dead for longer than hints are kept.
    cluster.advance(Duration::from_secs(4 * 60 * 60));
    let request = cluster.write(others[0], INSERT, ANY);
    cluster.run();
    let failed = cluster.reply(request);
    assert!(matches!(failed, Some(Err(RequestError::WriteFailure { failures: 2, required: 1, .. }))), "{failed:?}");
    cluster.assert_idle();
}

/// How many live replicas of each data centre a level needs, and in all: written anew, by counts. `None` for a level
/// that is never unavailable.
fn needed(level: Consistency, factors: [usize; 2], local: usize) -> Option<([usize; 2], usize)> {
    let all = factors[0] + factors[1];
    let of_local = |count: usize| if local == 0 { ([count, 0], count) } else { ([0, count], count) };
    let quorum = |count: usize| if count == 0 { 0 } else { count / 2 + 1 };
    Some(match level {
        Consistency::One => ([0, 0], 1),
        Consistency::Two => ([0, 0], 2),
        Consistency::Three => ([0, 0], 3),
        Consistency::Quorum => ([0, 0], all / 2 + 1),
        Consistency::All => ([0, 0], all),
        Consistency::LocalOne => of_local(1),
        Consistency::LocalQuorum => of_local(factors[local] / 2 + 1),
        Consistency::EachQuorum => ([quorum(factors[0]), quorum(factors[1])], quorum(factors[0]) + quorum(factors[1])),
        _ => return None,
    })
}

/// As Cassandra's test of availability: whichever nodes are down, through whichever node a client asks.
#[test]
fn every_level_succeeds_or_is_unavailable_exactly_by_the_arithmetic_whatever_nodes_are_down() {
    for factors in [[3, 3], [3, 1], [2, 2], [1, 0]] {
        for down in 0..64u32 {
            let mut cluster = Cluster::across(factors[0] as u32, factors[1] as u32);
            let replicas = cluster.replicas(INSERT);
            (1..=6).filter(|id| down & (1 << (id - 1)) != 0).for_each(|id| cluster.kill(id));
            let up: Vec<u128> = (1..=6).filter(|id| down & (1 << (id - 1)) == 0).collect();
            let alive = replicas.iter().filter(|replica| up.contains(&replica.0));
            let mut of = [0, 0];
            alive.for_each(|replica| of[usize::from(replica.0 > 3)] += 1);
            for (at, level) in
                up.iter().flat_map(|at| Consistency::ALL_LEVELS.into_iter().map(move |level| (*at, level)))
            {
                let local = usize::from(at > 3);
                let Some((each, total)) = needed(level, factors, local) else { continue };
                let possible = of[0] >= each[0] && of[1] >= each[1] && of[0] + of[1] >= total;
                let requests = [cluster.write(at, INSERT, level), cluster.read(at, SELECT, level)];
                cluster.run();
                for request in requests {
                    match cluster.reply(request) {
                        Some(Ok(_)) => assert!(possible, "{level} at {at}, down {down:b} of {factors:?}"),
                        Some(Err(RequestError::Unavailable { required, alive, consistency, .. })) => {
                            assert!(!possible, "{level} at {at}, down {down:b} of {factors:?}");
                            assert!(alive < required && consistency == level);
                        }
                        other => panic!("{level} at {at}, down {down:b} of {factors:?}: {other:?}"),
                    }
                }
            }
        }
    }
}

/// As Cassandra's test of accuracy: levels that must meet give strong reads, from every coordinator, while replicas
/// that are not needed miss the writes.
#[test]
fn a_read_sees_the_write_before_it_wherever_their_levels_must_meet() {
    let meet = [
        (EACH_QUORUM, LOCAL_QUORUM),
        (LOCAL_QUORUM, EACH_QUORUM),
        (EACH_QUORUM, EACH_QUORUM),
        (QUORUM, QUORUM),
        (EACH_QUORUM, QUORUM),
        (ALL, LOCAL_ONE),
        (ONE, ALL),
        (ALL, ONE),
        (LOCAL_ONE, ALL),
    ];
    for (write, read) in meet {
        for seed in 0..12 {
            let mut rng = model::Rng::new(seed);
            let mut cluster = Cluster::across(3, 3);
            for value in 0..8 {
                // Each time other replicas miss what is written, as many as the level can do without.
                let (writer, reader) = (u128::from(rng.between(1, 6)), u128::from(rng.between(1, 6)));
                let spared: Vec<u128> = match write {
                    Consistency::EachQuorum => vec![u128::from(rng.between(1, 3)), u128::from(rng.between(4, 6))],
                    Consistency::Quorum => vec![1 + value % 6, 1 + (value + 1) % 6],
                    Consistency::LocalQuorum => vec![1 + value % 3, 4 + value % 3],
                    _ => Vec::new(),
                };
                cluster.lose = Box::new(move |_, to, message| {
                    let writes = matches!(message, Message::Write { .. } | Message::Forwarded { .. });
                    writes && spared.contains(&to.0)
                });
                let text = format!("INSERT INTO t (k, c, v) VALUES ('p', 1, '{value}')");
                let request = cluster.write(writer, &text, write);
                cluster.advance(Duration::from_millis(100));
                let answered = cluster.reply(request);
                cluster.lose = Box::new(|_, _, _| false);
                if answered == Some(Ok(Response::Written)) {
                    let rows = cluster.rows(reader, SELECT, read);
                    assert_eq!(rows, [value.to_string()], "{write} through {writer}, {read} through {reader}");
                }
                cluster.advance(TIMEOUT);
            }
        }
    }
}
