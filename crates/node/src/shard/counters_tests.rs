//! Counters of three nodes, with messages lost and doubled and nodes killed at the worst moments.

use crate::test_cluster::{ALL, Cluster, Flight, ONE, QUORUM, TIMEOUT, node, schema_with_ids, view};
use crate::{Message, Response, StorageRequest};
use bytes::Bytes;
use model::error::Applied;
use model::{Consistency, RequestError};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

const TABLE: &str = "CREATE TABLE ks.n (k text, c int, v counter, s counter STATIC, PRIMARY KEY (k, c))";
const ADD: &str = "UPDATE n SET v = v + 3 WHERE k = 'a' AND c = 1";
const READ: &str = "SELECT v FROM n WHERE k = 'a' AND c = 1";

fn cluster(nodes: &[u128], factor: u32) -> Cluster {
    let mut cluster = Cluster::of(nodes, factor, |_| {});
    cluster.publish(view(11, nodes, schema_with_ids(factor, &[TABLE], 500)));
    cluster.run();
    cluster
}

impl Cluster {
    /// Executes a write that succeeds.
    fn counts(&mut self, at: u128, text: &str) {
        self.written(at, text, QUORUM);
    }

    /// The counter as this level reads it at this node.
    fn count(&mut self, at: u128, consistency: Consistency) -> Vec<String> {
        self.numbers(at, READ, consistency)
    }

    /// The rows of a read, whose values are all numbers.
    fn numbers(&mut self, at: u128, text: &str, consistency: Consistency) -> Vec<String> {
        let request = self.read(at, text, consistency);
        self.run();
        let Some(Ok(Response::Rows { rows, .. })) = self.reply(request) else { panic!("no rows: {text}") };
        let number = |value: &Option<Bytes>| match value {
            None => "null".to_owned(),
            Some(wire) if wire.len() == 4 => i32::from_be_bytes(wire[..].try_into().unwrap()).to_string(),
            Some(wire) => i64::from_be_bytes(wire[..].try_into().unwrap()).to_string(),
        };
        rows.iter().map(|row| row.iter().map(number).collect::<Vec<_>>().join(" ")).collect()
    }

    /// What becomes of a write when time passes.
    fn outcome_of(&mut self, at: u128, text: &str, consistency: Consistency) -> Result<(), RequestError> {
        let request = self.write(at, text, consistency);
        self.run();
        self.advance(TIMEOUT);
        self.reply(request).expect("it is answered").map(|response| assert_eq!(response, Response::Written))
    }
}

#[test]
fn every_node_counts_and_all_replicas_have_the_sum() {
    let mut cluster = cluster(&[1, 2, 3], 3);
    for at in [1, 2, 3, 1, 1] {
        cluster.counts(at, ADD);
    }
    cluster.counts(2, "UPDATE n SET v = v - 5, s += 7 WHERE k = 'a' AND c = 1");
    for at in [1, 2, 3] {
        assert_eq!(cluster.count(at, ALL), ["10"]);
        assert_eq!(cluster.count(at, ONE), ["10"]);
    }
    assert_eq!(cluster.numbers(1, "SELECT c, v, s FROM n WHERE k = 'a'", QUORUM), ["1 10 7"]);
    assert!(cluster.agree(&[1, 2, 3]));
    cluster.assert_idle();
}

#[test]
fn requests_to_count_at_one_time_are_all_counted() {
    let mut cluster = cluster(&[1, 2, 3], 3);
    let requests: Vec<u64> = (0..300).map(|_| cluster.write(1, ADD, QUORUM)).collect();
    cluster.run();
    for request in requests {
        assert_eq!(cluster.reply(request), Some(Ok(Response::Written)));
    }
    assert_eq!(cluster.count(2, QUORUM), ["900"]);
}

#[test]
fn a_node_that_holds_nothing_has_a_replica_count() {
    let mut cluster = cluster(&[1, 2, 3, 4], 2);
    let replicas = cluster.replicas(ADD);
    let outside = (1..=4).find(|id| !replicas.contains(&node(*id))).unwrap();
    cluster.counts(outside, ADD);
    // Its data centre's live ones are asked, one after the other.
    cluster.kill(replicas[0].0);
    cluster.written(outside, ADD, ONE);
    assert_eq!(cluster.numbers(replicas[1].0, READ, ONE), ["6"]);
    cluster.restart(replicas[0].0);
    cluster.advance(Duration::from_secs(10));
    assert_eq!(cluster.numbers(replicas[0].0, READ, ONE), ["6"], "the hint");
    let unavailable = cluster.outcome_of(outside, ADD, Consistency::Three);
    assert!(matches!(unavailable, Err(RequestError::Unavailable { .. })), "{unavailable:?}");
}

#[test]
fn what_the_network_doubles_is_counted_once() {
    let mut cluster = cluster(&[1, 2, 3, 4], 3);
    let outside = (1..=4).find(|id| !cluster.replicas(ADD).contains(&node(*id))).unwrap();
    let request = cluster.write(outside, ADD, QUORUM);
    let mut counts = Vec::new();
    while let Some(flight) = cluster.flights.pop_front() {
        if let Flight::Message { envelope, .. } = &flight
            && matches!(envelope.message, Message::Lead { .. } | Message::Leading { .. } | Message::Count { .. })
        {
            cluster.deliver(flight.clone());
            counts.push(flight.clone());
        }
        cluster.deliver(flight);
    }
    assert_eq!(cluster.reply(request), Some(Ok(Response::Written)));
    assert!(counts.len() >= 3, "{counts:?}");
    // Long after, too, and after the start of the process that they were for.
    let is_count = |flight: &Flight| match flight {
        Flight::Message { envelope, .. } => matches!(envelope.message, Message::Count { .. }),
        Flight::Storage { .. } => false,
    };
    let count = counts.into_iter().find(is_count);
    let Some(Flight::Message { to, .. }) = count else { panic!("nothing was counted") };
    cluster.deliver(count.clone().unwrap());
    cluster.run();
    cluster.stop(to.0);
    cluster.restart(to.0);
    cluster.deliver(count.unwrap());
    cluster.run();
    assert_eq!(cluster.count(1, ALL), ["3"]);
}

#[test]
fn an_answer_that_is_lost_leaves_the_outcome_unknown_and_it_is_never_tried_again() {
    let mut cluster = cluster(&[1, 2, 3, 4], 3);
    let outside = (1..=4).find(|id| !cluster.replicas(ADD).contains(&node(*id))).unwrap();
    cluster.lose = Box::new(|_, _, message| matches!(message, Message::Counted { .. }));
    let lost = cluster.outcome_of(outside, ADD, QUORUM).unwrap_err();
    assert!(matches!(lost, RequestError::WriteTimeout { received: 0, .. }), "{lost:?}");
    assert_eq!(lost.applied(), Applied::Maybe);
    cluster.lose = Box::new(|_, _, message| matches!(message, Message::Lead { .. }));
    let never = cluster.outcome_of(outside, ADD, QUORUM).unwrap_err();
    assert!(matches!(never, RequestError::WriteTimeout { received: 0, .. }), "{never:?}");
    cluster.lose = Box::new(|_, _, _| false);
    assert_eq!(cluster.count(1, ALL), ["3"], "the first, once");
    // A ticket that is lost is asked for again.
    let given = Rc::new(RefCell::new(Vec::new()));
    let seen = given.clone();
    cluster.lose = Box::new(move |_, _, message| {
        let Message::Leading { ticket, .. } = message else { return false };
        seen.borrow_mut().push(*ticket);
        seen.borrow().len() < 3
    });
    assert_eq!(cluster.outcome_of(outside, ADD, QUORUM), Ok(()));
    // Of one replica after another, and is the same one of the first: who asks often takes no more of them.
    let given = given.borrow();
    assert_eq!((given.len(), given[2]), (3, given[0]));
    assert_eq!(cluster.count(1, ALL), ["6"]);
    cluster.assert_idle();
}

#[test]
fn nobody_hears_of_a_shard_before_it_is_synced() {
    let mut cluster = cluster(&[1, 2, 3], 3);
    cluster.counts(1, ADD);
    let request = cluster.write(1, ADD, ONE);
    let mut unsynced = 0;
    while let Some(flight) = cluster.flights.pop_front() {
        match flight {
            Flight::Storage { request: StorageRequest::Apply(_), .. } => unsynced += 1,
            flight => cluster.deliver(flight),
        }
    }
    assert_eq!(unsynced, 1, "on its way to one disk");
    assert_eq!(cluster.count(2, ONE), ["3"]);
    // It dies with the write, and counts on from what it has.
    cluster.stop(1);
    cluster.advance(TIMEOUT);
    assert_eq!(cluster.reply(request), None);
    cluster.restart(1);
    cluster.counts(1, ADD);
    assert_eq!(cluster.count(3, ALL), ["6"]);
}

#[test]
fn a_node_that_starts_again_goes_on_with_its_shard() {
    let mut cluster = cluster(&[1, 2, 3], 3);
    for _ in 0..3 {
        cluster.counts(1, ADD);
        cluster.stop(1);
        cluster.restart(1);
    }
    cluster.counts(1, ADD);
    assert_eq!(cluster.count(2, ALL), ["12"]);
    let shards = |cluster: &Cluster| {
        let store = &cluster.nodes[&node(2)].store;
        let rows = store.partitions.values().flat_map(|partition| partition.rows.values());
        rows.flat_map(|row| row.complex()).map(|(_, column)| column.cells().len()).max()
    };
    assert_eq!(shards(&cluster), Some(1), "under one id");
    // When storage has forgotten the id, since it may have lost what others know, it counts under another.
    let old = &mut cluster.nodes.get_mut(&node(1)).unwrap().store;
    old.partitions.clear();
    old.local.retain(|key, _| model::local::shard_of_counter_id(key).is_none());
    cluster.stop(1);
    cluster.restart(1);
    cluster.counts(1, ADD);
    assert_eq!(cluster.count(2, ALL), ["15"]);
    assert_eq!(shards(&cluster), Some(2));
}

#[test]
fn counters_are_deleted_with_their_rows_and_alone() {
    let mut cluster = cluster(&[1, 2, 3], 3);
    cluster.counts(1, ADD);
    cluster.counts(2, ADD);
    cluster.counts(1, "DELETE FROM n WHERE k = 'a' AND c = 1");
    assert_eq!(cluster.count(2, ALL), [""; 0]);
    // A clock that is behind the deletion does not hide what is counted after it.
    cluster.nodes.get_mut(&node(3)).unwrap().skew = -60_000_000;
    cluster.counts(3, ADD);
    assert_eq!(cluster.count(2, ALL), ["3"]);
    cluster.counts(1, "DELETE FROM n WHERE k = 'a'");
    cluster.counts(3, ADD);
    assert_eq!(cluster.count(2, ALL), ["3"]);
    // That of a column is final.
    cluster.counts(1, "DELETE v FROM n WHERE k = 'a' AND c = 1");
    cluster.counts(1, ADD);
    assert_eq!(cluster.count(2, ALL), [""; 0]);
}

#[test]
fn levels_that_counters_do_not_have_are_refused() {
    let mut cluster = cluster(&[1, 2, 3], 3);
    let any = cluster.outcome_of(1, ADD, Consistency::Any).unwrap_err().to_string();
    assert_eq!(any, "Consistency level ANY is not yet supported for counter table n");
    let serial = cluster.outcome_of(1, ADD, Consistency::Serial).unwrap_err();
    assert_eq!(serial.applied(), Applied::No);
}

#[test]
fn a_read_sees_the_count_before_it_wherever_their_levels_must_meet() {
    // As Cassandra's test of accuracy: each time other replicas miss the sum, as many as the level spares.
    for (write, read, spared) in [(QUORUM, QUORUM, 1), (ONE, ALL, 2), (ALL, ONE, 0), (Consistency::Two, QUORUM, 1)] {
        for seed in 0..8 {
            let mut rng = model::Rng::new(seed);
            let mut cluster = cluster(&[1, 2, 3], 3);
            for added in 1..=8u64 {
                let (writer, reader) = (u128::from(rng.between(1, 3)), u128::from(rng.between(1, 3)));
                let missing: Vec<u128> = (1..=3)
                    .filter(|id| *id != writer)
                    .take(spared)
                    .map(|id| (id + u128::from(added)) % 3 + 1)
                    .collect();
                let missing: Vec<u128> = missing.into_iter().filter(|id| *id != writer).collect();
                cluster.lose =
                    Box::new(move |_, to, message| matches!(message, Message::Write { .. }) && missing.contains(&to.0));
                let request = cluster.write(writer, ADD, write);
                cluster.advance(Duration::from_millis(100));
                assert_eq!(cluster.reply(request), Some(Ok(Response::Written)), "{write} through {writer}");
                cluster.lose = Box::new(|_, _, _| false);
                assert_eq!(cluster.count(reader, read), [(3 * added).to_string()], "{write}, {read} through {reader}");
                cluster.advance(TIMEOUT);
            }
        }
    }
}

#[test]
fn a_replica_whose_store_fails_fails_the_count_at_all() {
    let mut cluster = cluster(&[1, 2, 3], 3);
    cluster.counts(1, ADD);
    cluster.nodes.get_mut(&node(2)).unwrap().slow_storage = true;
    let request = cluster.write(1, ADD, ALL);
    cluster.run();
    for (op, _) in std::mem::take(&mut cluster.nodes.get_mut(&node(2)).unwrap().held) {
        let error = crate::StorageError::Full("no space".to_owned());
        cluster.step(node(2), crate::Input::Stored(crate::Stored::Failed { op, error }));
    }
    cluster.run();
    let failed = cluster.reply(request);
    assert!(matches!(failed, Some(Err(RequestError::WriteFailure { received: 2, required: 3, .. }))), "{failed:?}");
    cluster.release(2);
    cluster.advance(TIMEOUT);
    assert_eq!(cluster.count(2, QUORUM), ["6"], "what failed at one replica was counted once");
}
