//! Logged batches of several nodes, with their coordinators and those that keep them killed at the worst moments.

use super::keepers;
use crate::test_cluster::{ALL, Cluster, Flight, ONE, QUORUM, TIMEOUT, node, schema_with_ids, view};
use crate::{Message, Request, Response, StorageRequest};
use membership::ClusterView;
use model::error::Applied;
use model::{Consistency, NodeId, RequestError, Rng};
use query::Bound;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

const TABLES: [&str; 2] = [
    "CREATE TABLE ks.a (k text, c int, v text, l list<text>, PRIMARY KEY (k, c))",
    "CREATE TABLE ks.b (k text, c int, v text, PRIMARY KEY (k, c))",
];
const BATCH: &str = "BEGIN BATCH INSERT INTO a (k, c, v) VALUES ('x', 1, 'one'); INSERT INTO a (k, c, v) VALUES ('y', \
                     1, 'two'); INSERT INTO b (k, c, v) VALUES ('x', 1, 'three'); APPLY BATCH";
const READS: [&str; 3] =
    ["SELECT v FROM a WHERE k = 'x'", "SELECT v FROM a WHERE k = 'y'", "SELECT v FROM b WHERE k = 'x'"];
/// After so long batches are written by those that keep them.
const REPLAY: Duration = Duration::from_secs(11);

fn cluster(nodes: &[u128], factor: u32) -> Cluster {
    let mut cluster = Cluster::of(nodes, factor, |_| {});
    cluster.publish(view(11, nodes, schema_with_ids(factor, &TABLES, 500)));
    cluster.run();
    cluster
}

impl Cluster {
    /// Begins a logged batch.
    fn begin_batch(&mut self, at: u128, text: &str, consistency: Consistency) -> u64 {
        let Bound::Batch { writes, .. } = self.bind(text) else { panic!("not a batch of several partitions: {text}") };
        self.request(at, Request::Batch { writes, consistency, timestamp: None, token: None, timeout: TIMEOUT })
    }

    /// How many of the three parts of the batch are there.
    fn parts(&mut self, at: u128, consistency: Consistency) -> usize {
        READS.iter().map(|read| self.rows(at, read, consistency).len()).sum()
    }

    fn batches_kept(&self) -> Vec<usize> {
        self.nodes.values().filter(|node| node.up).map(|node| node.shard.status().batches_kept).collect()
    }

    /// Delivers until a message for which this holds is on its way, and takes it away.
    fn run_until(&mut self, is_it: impl Fn(&Message) -> bool) -> Flight {
        while let Some(flight) = self.flights.pop_front() {
            match &flight {
                Flight::Message { envelope, .. } if is_it(&envelope.message) => return flight,
                _ => self.deliver(flight),
            }
        }
        panic!("no such message")
    }
}

#[test]
fn a_batch_is_kept_then_written_then_forgotten() {
    let mut cluster = cluster(&[1, 2, 3], 3);
    let request = cluster.begin_batch(1, BATCH, QUORUM);
    let first = cluster.run_until(|message| matches!(message, Message::Write { .. }));
    let kept: Vec<usize> = cluster.nodes.values().map(|node| node.store.local.len()).collect();
    let of_batches = |node: u128| {
        let store = &cluster.nodes[&NodeId(node)].store;
        store.local.keys().filter(|key| model::local::batch_of_key(key).is_some()).count()
    };
    assert_eq!([1, 2, 3].map(of_batches), [0, 1, 1], "durable on two others before anything is written: {kept:?}");
    cluster.deliver(first);
    cluster.run();
    assert_eq!(cluster.reply(request), Some(Ok(Response::Written)));
    assert_eq!(cluster.batches_kept(), [0, 0, 0]);
    for at in [1, 2, 3] {
        assert_eq!(cluster.parts(at, ONE), 3);
    }
    let rows = cluster.nodes[&node(2)].store.partitions.values().flat_map(|partition| partition.rows.values());
    let times: BTreeSet<i64> = rows.filter_map(|row| row.liveness()).map(|liveness| liveness.timestamp).collect();
    assert_eq!(times.len(), 1, "one timestamp: {times:?}");
    cluster.assert_idle();
}

#[test]
fn a_batch_whose_coordinator_dies_is_written_as_a_whole_once_it_is_kept() {
    for written in 0..4 {
        let mut cluster = cluster(&[1, 2, 3], 3);
        cluster.begin_batch(1, BATCH, QUORUM);
        let mut flight = cluster.run_until(|message| matches!(message, Message::Write { .. }));
        for _ in 0..written {
            cluster.deliver(flight);
            flight = cluster.run_until(|message| matches!(message, Message::Write { .. }));
        }
        cluster.kill(1);
        cluster.run();
        cluster.advance(REPLAY);
        assert_eq!(cluster.parts(2, ALL_LIVE), 3, "after {written} messages");
        assert_eq!(cluster.batches_kept(), [0, 0]);
        let replayed: u64 = [2, 3].map(|id| cluster.status(id).batches_replayed).iter().sum();
        assert_eq!(replayed, 2, "by each of those that kept it");
        cluster.restart(1);
        cluster.advance(REPLAY);
        assert_eq!(cluster.parts(1, ONE), 3, "the hints");
        assert!(cluster.agree(&[1, 2, 3]));
    }
}

/// Of two live replicas of three.
const ALL_LIVE: Consistency = Consistency::Quorum;

#[test]
fn nothing_of_a_batch_is_written_that_nobody_keeps() {
    let mut cluster = cluster(&[1, 2, 3], 3);
    cluster.lose = Box::new(|_, _, message| matches!(message, Message::KeepBatch { .. }));
    let request = cluster.begin_batch(1, BATCH, QUORUM);
    cluster.run();
    cluster.advance(TIMEOUT);
    let error = cluster.reply(request).unwrap().unwrap_err();
    assert_eq!(error, RequestError::BatchLogTimeout { received: 0, required: 2 });
    assert_eq!(error.applied(), Applied::Maybe);
    cluster.lose = Box::new(|_, _, _| false);
    cluster.advance(REPLAY);
    assert_eq!(cluster.parts(1, ALL), 0);
    // One has it and the other does not: it is all there in the end.
    cluster.lose = Box::new(|_, to, message| to == node(2) && matches!(message, Message::KeepBatch { .. }));
    let request = cluster.begin_batch(1, BATCH, QUORUM);
    cluster.run();
    cluster.advance(TIMEOUT);
    assert_eq!(cluster.reply(request).unwrap(), Err(RequestError::BatchLogTimeout { received: 1, required: 2 }));
    cluster.lose = Box::new(|_, _, _| false);
    cluster.advance(REPLAY);
    assert_eq!(cluster.parts(1, ALL), 3);
    cluster.assert_idle();
}

#[test]
fn who_keeps_a_batch_writes_it_after_a_start_too() {
    let mut cluster = cluster(&[1, 2, 3], 3);
    cluster.begin_batch(1, BATCH, QUORUM);
    cluster.run_until(|message| matches!(message, Message::Write { .. }));
    cluster.kill(1);
    for id in [2, 3] {
        cluster.stop(id);
    }
    cluster.flights.clear();
    for id in [2, 3] {
        cluster.restart(id);
    }
    assert_eq!(cluster.batches_kept(), [1, 1]);
    assert_eq!(cluster.parts(2, ALL_LIVE), 0);
    cluster.advance(REPLAY);
    assert_eq!(cluster.parts(2, ALL_LIVE), 3);
    assert_eq!(cluster.batches_kept(), [0, 0]);
}

#[test]
fn a_batch_is_forgotten_only_once_hints_for_replicas_that_miss_it_are_durable() {
    let mut cluster = cluster(&[1, 2, 3, 4], 4);
    cluster.kill(4);
    let request = cluster.begin_batch(1, BATCH, ONE);
    let mut held = Vec::new();
    while let Some(flight) = cluster.flights.pop_front() {
        match &flight {
            // A sync makes durable what was asked for before it: from the first hint on nothing is synced there.
            Flight::Storage { at: NodeId(1), request, .. }
                if !held.is_empty() || matches!(request, StorageRequest::Hint { .. }) =>
            {
                held.push(flight);
            }
            _ => cluster.deliver(flight),
        }
    }
    assert_eq!(cluster.reply(request), Some(Ok(Response::Written)));
    assert_eq!(cluster.batches_kept().iter().sum::<usize>(), 2, "the hints are not durable");
    cluster.flights.extend(held);
    cluster.run();
    assert_eq!(cluster.batches_kept(), [0, 0, 0]);
    // A replica that does not answer gets its hint when the time is over.
    cluster.lose = Box::new(|_, to, message| to == node(3) && matches!(message, Message::Write { .. }));
    let request = cluster.begin_batch(1, BATCH, ONE);
    cluster.run();
    assert_eq!(cluster.reply(request), Some(Ok(Response::Written)));
    assert_eq!(cluster.batches_kept().iter().sum::<usize>(), 2);
    cluster.advance(TIMEOUT);
    assert_eq!(cluster.batches_kept(), [0, 0, 0]);
}

#[test]
fn what_is_gone_or_too_old_is_not_written() {
    let mut cluster = cluster(&[1, 2, 3], 3);
    cluster.begin_batch(1, BATCH, QUORUM);
    cluster.run_until(|message| matches!(message, Message::Write { .. }));
    cluster.kill(1);
    cluster.flights.clear();
    // Table b is truncated: it has another id.
    cluster.publish(view(12, &[1, 2, 3], schema_with_ids(3, &TABLES[..1], 500)));
    cluster.run();
    cluster.advance(REPLAY);
    assert_eq!(cluster.rows(2, READS[0], QUORUM), ["one"]);
    assert_eq!(cluster.batches_kept(), [0, 0]);
    let tables = cluster.nodes[&node(2)].store.partitions.keys().map(|(table, _)| *table).collect::<BTreeSet<_>>();
    assert_eq!(tables.len(), 1, "{tables:?}");
    // Past the grace of the table what has deleted it may be purged.
    let request = cluster.begin_batch(
        2,
        "BEGIN BATCH INSERT INTO a (k, c, v) VALUES ('o', 1, 'old'); INSERT INTO a (k, c, \
                                          v) VALUES ('p', 1, 'old'); APPLY BATCH",
        QUORUM,
    );
    cluster.run_until(|message| matches!(message, Message::Write { .. }));
    cluster.stop(2);
    cluster.stop(3);
    cluster.flights.clear();
    cluster.now = cluster.now + Duration::from_secs(11 * 24 * 60 * 60);
    cluster.restart(2);
    cluster.restart(3);
    cluster.advance(REPLAY);
    assert_eq!(cluster.reply(request), None);
    assert_eq!(cluster.rows(2, "SELECT v FROM a WHERE k = 'o'", QUORUM), [""; 0]);
    assert_eq!(cluster.batches_kept(), [0, 0]);
}

#[test]
fn the_hint_of_a_batch_that_is_written_again_lives_no_longer_than_its_grace() {
    const DAY: u32 = 24 * 60 * 60;
    let mut cluster = cluster(&[1, 2, 3], 3);
    cluster.begin_batch(1, BATCH, QUORUM);
    cluster.run_until(|message| matches!(message, Message::Write { .. }));
    for id in [1, 2, 3] {
        cluster.stop(id);
    }
    cluster.flights.clear();
    cluster.now = cluster.now + Duration::from_secs(9 * u64::from(DAY));
    cluster.restart(2);
    cluster.advance(REPLAY);
    let hints = cluster.nodes[&node(2)].store.hints.values().flat_map(BTreeMap::values);
    let left: Vec<u32> = hints.map(|hint| hint.grace_seconds).collect();
    assert!(!left.is_empty());
    assert!(left.iter().all(|seconds| (DAY - 60..=DAY).contains(seconds)), "ten days, less nine: {left:?}");
}

#[test]
fn a_node_that_is_behind_does_not_take_a_new_table_for_one_that_is_gone() {
    let mut cluster = cluster(&[1, 2, 3], 3);
    let known = cluster.view.clone();
    cluster.publish(view(12, &[1, 2, 3], schema_with_ids(3, &TABLES[..1], 500)));
    // Only the coordinator knows the tables of a later epoch.
    let later = view(13, &[1, 2, 3], known.schema.clone());
    cluster.view = later.clone();
    cluster.step(node(1), crate::Input::View(later.clone()));
    cluster.begin_batch(1, BATCH, QUORUM);
    cluster.run_until(|message| matches!(message, Message::Write { .. }));
    cluster.kill(1);
    cluster.flights.clear();
    cluster.advance(REPLAY);
    assert_eq!(cluster.batches_kept(), [1, 1], "it waits for the epoch");
    cluster.publish(later);
    cluster.advance(REPLAY);
    assert_eq!(cluster.parts(2, ALL_LIVE), 3);
}

#[test]
fn lists_are_read_before_the_batch_is_kept() {
    let mut cluster = cluster(&[1, 2, 3], 3);
    for k in ["x", "y"] {
        cluster.written(1, &format!("INSERT INTO a (k, c, l) VALUES ('{k}', 1, ['p', 'q'])"), QUORUM);
    }
    // The clock goes on between what two coordinators write.
    cluster.advance(Duration::from_secs(1));
    let text = "BEGIN BATCH UPDATE a SET l[0] = 'r' WHERE k = 'x' AND c = 1; DELETE l[1] FROM a WHERE k = 'y' AND c = \
                1; INSERT INTO b (k, c, v) VALUES ('x', 1, 'three'); APPLY BATCH";
    let request = cluster.begin_batch(2, text, QUORUM);
    cluster.run();
    assert_eq!(cluster.reply(request), Some(Ok(Response::Written)));
    let list = |k: &str| format!("SELECT to_json(l) FROM a WHERE k = '{k}'");
    assert_eq!(cluster.rows(3, &list("x"), QUORUM), ["[\"r\", \"q\"]"]);
    assert_eq!(cluster.rows(3, &list("y"), QUORUM), ["[\"p\"]"]);
    let request = cluster.begin_batch(2, &text.replace("l[0]", "l[7]"), QUORUM);
    cluster.run();
    assert!(matches!(cluster.reply(request), Some(Err(RequestError::Invalid(_)))));
    assert_eq!(cluster.batches_kept(), [0, 0, 0]);
    cluster.assert_idle();
}

#[test]
fn a_node_that_is_alone_keeps_its_batches_itself() {
    let mut cluster = cluster(&[1], 1);
    let request = cluster.begin_batch(1, BATCH, ONE);
    cluster.run();
    assert_eq!(cluster.reply(request), Some(Ok(Response::Written)));
    assert_eq!((cluster.parts(1, ONE), cluster.batches_kept()), (3, vec![0]));
    // It dies after keeping one, and writes it when it is back.
    cluster.begin_batch(1, &BATCH.replace("'x'", "'z'"), ONE);
    while let Some(flight) = cluster.flights.pop_front() {
        match &flight {
            Flight::Storage { request: StorageRequest::Apply(_), .. } => {}
            _ => cluster.deliver(flight),
        }
    }
    cluster.stop(1);
    cluster.restart(1);
    cluster.advance(REPLAY);
    assert_eq!(cluster.rows(1, "SELECT v FROM a WHERE k = 'z'", ONE), ["one"]);
    assert_eq!(cluster.batches_kept(), [0]);
}

#[test]
fn too_few_replicas_of_one_partition_refuse_the_whole_batch() {
    let mut cluster = cluster(&[1, 2, 3, 4], 1);
    let owner = cluster.replicas("INSERT INTO a (k, c) VALUES ('y', 1)")[0];
    cluster.kill(owner.0);
    let at = (1..=4).find(|id| node(*id) != owner).unwrap();
    let request = cluster.begin_batch(at, BATCH, ONE);
    cluster.run();
    let error = cluster.reply(request).unwrap().unwrap_err();
    assert!(matches!(error, RequestError::Unavailable { .. }), "{error:?}");
    assert_eq!(cluster.batches_kept(), [0, 0, 0]);
}

#[test]
fn a_batch_at_any_is_answered_by_its_hints_or_its_replicas() {
    let mut cluster = cluster(&[1, 2, 3], 3);
    let request = cluster.begin_batch(1, BATCH, Consistency::Any);
    cluster.run();
    assert_eq!(cluster.reply(request), Some(Ok(Response::Written)));
    assert_eq!(cluster.parts(2, ALL), 3);
    cluster.assert_idle();
    // All replicas of one partition are gone.
    let mut cluster = self::cluster(&[1, 2, 3, 4], 1);
    let owner = cluster.replicas("INSERT INTO a (k, c) VALUES ('y', 1)")[0];
    let at = (1..=4).find(|id| node(*id) != owner).unwrap();
    cluster.kill(owner.0);
    let request = cluster.begin_batch(at, BATCH, Consistency::Any);
    cluster.run();
    assert_eq!(cluster.reply(request), Some(Ok(Response::Written)));
    cluster.restart(owner.0);
    cluster.advance(REPLAY);
    assert_eq!(cluster.parts(at, ONE), 3);
    assert_eq!(cluster.batches_kept(), [0, 0, 0, 0]);
}

#[test]
fn a_batch_is_kept_while_one_of_its_partitions_is_nowhere() {
    let mut cluster = cluster(&[1, 2, 3, 4], 1);
    let owner = cluster.replicas("INSERT INTO a (k, c) VALUES ('y', 1)")[0];
    let at = (1..=4).find(|id| node(*id) != owner).unwrap();
    for id in (1..=4).filter(|id| node(*id) != owner) {
        let policy = crate::HintPolicy { enabled: false, ..crate::HintPolicy::default() };
        cluster.step(node(id), crate::Input::Hints(Arc::new(policy)));
    }
    cluster.run();
    cluster.lose = Box::new(move |_, to, message| to == owner && matches!(message, Message::Write { .. }));
    let request = cluster.begin_batch(at, BATCH, ONE);
    cluster.run();
    cluster.advance(TIMEOUT);
    let error = cluster.reply(request).unwrap().unwrap_err();
    assert_eq!(error.applied(), Applied::Maybe, "{error:?}");
    assert!(cluster.batches_kept().iter().sum::<usize>() > 0, "one of its partitions is nowhere");
    cluster.lose = Box::new(|_, _, _| false);
    cluster.advance(REPLAY + REPLAY);
    assert_eq!(cluster.parts(at, ONE), 3);
    assert_eq!(cluster.batches_kept(), [0, 0, 0, 0]);
}

/// Nodes with their racks and data centres.
fn placed(nodes: &[(u128, &str, &str)]) -> Arc<ClusterView> {
    let ids: Vec<u128> = nodes.iter().map(|(id, _, _)| *id).collect();
    let plain = view(11, &ids, schema_with_ids(1, &TABLES, 500));
    let mut members = plain.members.clone();
    for (id, rack, data_center) in nodes {
        let member = members.get_mut(&node(*id)).unwrap();
        (member.rack, member.data_center) = ((*rack).to_owned(), (*data_center).to_owned());
    }
    Arc::new(ClusterView::new(plain.epoch, 1, plain.schema.clone(), members, BTreeSet::new()))
}

#[test]
fn batches_are_kept_by_live_nodes_of_other_racks_of_the_same_data_centre() {
    let mut rng = Rng::new(3);
    let mut first_two = |nodes: &[(u128, &str, &str)], dead: &[u128]| {
        let view = placed(nodes);
        let mut found = BTreeSet::new();
        for _ in 0..200 {
            let mut chosen = keepers(&view, node(1), |id| !dead.contains(&id.0), &mut rng);
            chosen.truncate(2);
            chosen.sort();
            found.insert(chosen.iter().map(|id| id.0).collect::<Vec<_>>());
        }
        found.into_iter().collect::<Vec<_>>()
    };
    let spread = [(1, "r", "a"), (2, "r", "a"), (3, "s", "a"), (4, "t", "a"), (5, "t", "a"), (6, "u", "b")];
    assert_eq!(first_two(&spread, &[]), [[3, 4], [3, 5]], "one of each other rack");
    assert_eq!(first_two(&spread, &[3]), [[4, 5]], "two of one other rack");
    assert_eq!(first_two(&spread, &[3, 4]), [[2, 5]], "of the own rack when there are no others");
    assert_eq!(first_two(&spread, &[2, 3, 4, 5]), [[1]], "itself when it is alone");
    let together = [(1, "r", "a"), (2, "r", "a"), (3, "r", "a"), (4, "r", "a")];
    assert_eq!(first_two(&together, &[]), [[2, 3], [2, 4], [3, 4]]);
    assert_eq!(first_two(&together, &[2, 4]), [[3]]);
}
