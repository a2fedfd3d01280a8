//! Requests with retry tokens, of three nodes: however often and wherever they are sent, they happen once. E1 to E4.

use crate::register::{PaxosAnswer, PaxosStep};
use crate::test_cluster::{ALL, Cluster, LISTS, QUORUM, TABLE, TIMEOUT, node, schema_with_ids, view};
use crate::{Message, Request, Response, StorageRequest, WritePurpose};
use model::error::Applied;
use model::{Consistency, NodeId, RequestError, RetryToken};
use query::Bound;
use std::time::Duration;

const COUNTERS: &str = "CREATE TABLE ks.n (k text, c int, v counter, s counter STATIC, PRIMARY KEY (k, c))";
const ADD: &str = "UPDATE n SET v = v + 3, s = s + 1 WHERE k = 'a' AND c = 1";

fn cluster() -> Cluster {
    let mut cluster = Cluster::new();
    cluster.publish(view(11, &[1, 2, 3], schema_with_ids(3, &[TABLE, LISTS, COUNTERS], 100)));
    cluster.run();
    cluster
}

/// What a client is told, in short.
fn short(result: &Result<Response, RequestError>) -> String {
    match result {
        Ok(Response::Written) => "written".to_owned(),
        Ok(Response::Conditional(result)) => {
            let text = |value: &Option<bytes::Bytes>| match value.as_deref() {
                None => "null".to_owned(),
                Some([flag @ (0 | 1)]) => (*flag == 1).to_string(),
                Some(other) => String::from_utf8_lossy(other).into_owned(),
            };
            result.rows.iter().flatten().map(text).collect::<Vec<_>>().join(" ")
        }
        Ok(other) => panic!("{other:?}"),
        Err(error) => format!("{:?}: {error}", error.applied()),
    }
}

impl Cluster {
    /// A token of the present moment.
    fn token(&mut self) -> RetryToken {
        self.now = self.now + Duration::from_micros(10);
        RetryToken::at(self.wall(0).wall, self.now.0)
    }

    /// Sends a request that has a token to a node.
    fn send_with(&mut self, at: u128, text: &str, token: RetryToken) -> u64 {
        self.now = self.now + Duration::from_micros(10);
        let (consistency, timestamp, timeout) = (QUORUM, None, TIMEOUT);
        let (context, token) = (query::EvaluationContext::of_token(token, 0), Some(token));
        let prepared = query::prepare(text, &self.view.schema, Some("ks")).unwrap();
        let request = match prepared.bind(&[], context).unwrap() {
            Bound::Write(write) => Request::Write { write, consistency, timestamp, token, timeout },
            Bound::Batch { writes, .. } => Request::Batch { writes, consistency, timestamp, token, timeout },
            Bound::Conditional(write) => {
                let (write, serial) = (Box::new(write), Consistency::Serial);
                Request::Conditional { write, consistency, serial, token, timeout }
            }
            other => panic!("{other:?}"),
        };
        self.request(at, request)
    }

    /// What a client is told of a request, once some time has passed.
    fn told(&mut self, at: u128, text: &str, token: RetryToken) -> String {
        let request = self.send_with(at, text, token);
        self.advance(Duration::from_millis(500));
        short(&self.reply(request).expect("it is answered"))
    }

    /// The numbers that a read of counters finds.
    fn sums(&mut self, at: u128) -> Vec<i64> {
        let request = self.read(at, "SELECT v, s FROM n WHERE k = 'a'", QUORUM);
        self.run();
        let Some(Ok(Response::Rows { rows, .. })) = self.reply(request) else { panic!("no rows") };
        let number = |value: &Option<bytes::Bytes>| i64::from_be_bytes(value.as_ref().unwrap()[..].try_into().unwrap());
        rows.iter().flatten().map(number).collect()
    }

    /// Loses what `wanted` says, by its receiver and kind.
    fn losing_kinds(&mut self, kinds: &'static [&'static str], to: &'static [u128]) {
        self.lose = Box::new(move |_, target: NodeId, message| {
            let kind = match message {
                Message::Paxos { request, .. } => match request.step {
                    PaxosStep::Prepare { .. } => "prepare",
                    PaxosStep::Propose { .. } => "propose",
                },
                Message::PaxosAnswered { answer: PaxosAnswer::Accepted, .. } => "accepted",
                Message::Write { purpose: WritePurpose::Commit(_), .. } => "commit",
                _ => "other",
            };
            to.contains(&target.0) && kinds.contains(&kind)
        });
    }

    fn healed(&mut self) {
        self.lose = Box::new(|_, _, _| false);
    }
}

const INSERT: &str = "INSERT INTO t (k, c, v) VALUES ('a', 1, 'x') IF NOT EXISTS";
const DELETE: &str = "DELETE FROM t WHERE k = 'a' AND c = 1 IF EXISTS";
const READ: &str = "SELECT c, v FROM t WHERE k = 'a'";

#[test]
fn a_conditional_write_that_was_applied_is_not_applied_again_and_says_so_again() {
    let mut cluster = cluster();
    let token = cluster.token();
    assert_eq!(cluster.told(1, INSERT, token), "true");
    let other = cluster.token();
    assert_eq!(cluster.told(2, DELETE, other), "true");
    for at in [1, 2, 3] {
        assert_eq!(cluster.told(at, INSERT, token), "true");
        assert_eq!(cluster.told(at, DELETE, other), "true");
        assert!(cluster.rows(at, READ, ALL).is_empty(), "it was deleted since");
    }
    // Another request is another one.
    let next = cluster.token();
    assert_eq!(cluster.told(3, INSERT, next), "true");
    assert_eq!(cluster.rows(1, READ, ALL), ["1 x"]);
    cluster.advance(TIMEOUT);
    cluster.assert_idle();
    assert!(cluster.agree(&[1, 2, 3]));
}

#[test]
fn a_refusal_is_said_again_with_the_values_that_it_had() {
    let mut cluster = cluster();
    let (first, refused, invalid) = (cluster.token(), cluster.token(), cluster.token());
    assert_eq!(cluster.told(1, INSERT, first), "true");
    let update = "UPDATE t SET v = 'z' WHERE k = 'a' AND c = 1 IF v = 'y'";
    assert_eq!(cluster.told(1, update, refused), "false x");
    let element = "UPDATE lists SET l[7] = 'y' WHERE k = 'a' AND c = 1";
    let error = cluster.told(1, element, invalid);
    assert!(error.contains("a list which is null"), "{error}");
    // Both could be done now.
    let (make, fill) = (cluster.token(), cluster.token());
    assert_eq!(cluster.told(2, "UPDATE t SET v = 'y' WHERE k = 'a' AND c = 1 IF v = 'x'", make), "true");
    let eight = "UPDATE lists SET l = ['0', '1', '2', '3', '4', '5', '6', '7'] WHERE k = 'a' AND c = 1";
    assert_eq!(cluster.told(2, eight, fill), "written");
    for at in [3, 1] {
        assert_eq!(cluster.told(at, update, refused), "false x");
        assert_eq!(cluster.told(at, element, invalid), error);
    }
    assert_eq!(cluster.rows(1, READ, ALL), ["1 y"]);
}

#[test]
fn an_attempt_that_is_late_cannot_do_what_was_refused() {
    let mut cluster = cluster();
    let (token, first, second) = (cluster.token(), cluster.token(), cluster.token());
    // Node 1 reaches nobody yet; its client asks node 2.
    cluster.losing_kinds(&["prepare"], &[2, 3]);
    let late = cluster.send_with(1, "UPDATE t SET v = 'z' WHERE k = 'a' AND c = 1 IF v = 'x'", token);
    cluster.run();
    cluster.lose = Box::new(|from, _, message| from == node(1) && matches!(message, Message::Paxos { .. }));
    assert_eq!(cluster.told(2, "UPDATE t SET v = 'z' WHERE k = 'a' AND c = 1 IF v = 'x'", token), "false");
    assert_eq!(cluster.told(3, INSERT, first), "true");
    cluster.healed();
    // Its first attempt took long, so it may pause for long, and ends in time all the same.
    cluster.advance(TIMEOUT);
    assert_eq!(short(&cluster.reply(late).expect("it is answered")), "false", "the same answer");
    assert_eq!(cluster.rows(1, READ, ALL), ["1 x"]);
    assert_eq!(cluster.told(1, DELETE, second), "true");
}

#[test]
fn what_a_dead_coordinator_left_in_the_middle_is_done_once() {
    // Accepted by nobody but itself, by a majority, and committed on one replica.
    for kinds in [&["propose"][..], &["accepted", "commit"], &["commit"]] {
        for text in [INSERT, ADD] {
            let mut cluster = cluster();
            let token = cluster.token();
            match kinds {
                ["propose"] => cluster.losing_kinds(&["propose", "commit"], &[2, 3]),
                ["commit"] => cluster.losing_kinds(&["commit"], &[2, 3]),
                _ => cluster.losing_kinds(&["accepted", "commit"], &[1, 2, 3]),
            }
            let lost = cluster.send_with(1, text, token);
            cluster.run();
            cluster.stop(1);
            cluster.announce();
            cluster.healed();
            assert!(cluster.reply(lost).is_none(), "its coordinator is dead");
            let answer = cluster.told(2, text, token);
            assert!(["true", "written"].contains(&answer.as_str()), "{kinds:?}: {answer}");
            cluster.restart(1);
            for at in [1, 3] {
                assert_eq!(cluster.told(at, text, token), answer);
            }
            cluster.advance(TIMEOUT);
            match text {
                ADD => assert_eq!(cluster.sums(3), [3, 1], "{kinds:?}"),
                _ => assert_eq!(cluster.rows(3, READ, ALL), ["1 x"], "{kinds:?}"),
            }
        }
    }
}

#[test]
fn increments_count_once_beside_others_that_have_no_token() {
    let mut cluster = cluster();
    for round in 1..=4 {
        let token = cluster.token();
        for at in [1, 2, 3, 1] {
            assert_eq!(cluster.told(at, ADD, token), "written");
        }
        cluster.written(round % 3 + 1, ADD, QUORUM);
        assert_eq!(cluster.sums(2), [6 * round as i64, 2 * round as i64]);
    }
    // One replica is dead, another one after it.
    let token = cluster.token();
    cluster.kill(1);
    assert_eq!(cluster.told(2, ADD, token), "written");
    cluster.restart(1);
    cluster.kill(2);
    assert_eq!(cluster.told(3, ADD, token), "written");
    assert_eq!(cluster.sums(1), [27, 9]);
    cluster.kill(3);
    let refused = cluster.token();
    let answer = cluster.told(1, ADD, refused);
    assert!(answer.starts_with(&format!("{:?}", Applied::No)), "one of three does not decide: {answer}");
}

#[test]
fn increments_after_a_deletion_are_there() {
    let mut cluster = cluster();
    let (first, second) = (cluster.token(), cluster.token());
    assert_eq!(cluster.told(1, ADD, first), "written");
    cluster.nodes.get_mut(&node(2)).unwrap().skew = 30_000_000;
    cluster.written(2, "DELETE FROM n WHERE k = 'a'", QUORUM);
    cluster.nodes.get_mut(&node(2)).unwrap().skew = 0;
    assert_eq!(cluster.told(1, ADD, second), "written");
    assert_eq!(cluster.told(3, ADD, second), "written");
    assert_eq!(cluster.sums(2), [3, 1], "whatever the clocks say");
}

#[test]
fn elements_of_lists_are_changed_once() {
    let mut cluster = cluster();
    let (first, second, third) = (cluster.token(), cluster.token(), cluster.token());
    assert_eq!(cluster.told(1, "UPDATE lists SET l = ['0', '1', '2'] WHERE k = 'a' AND c = 1", first), "written");
    for at in [1, 2, 3] {
        assert_eq!(cluster.told(at, "DELETE l[0] FROM lists WHERE k = 'a' AND c = 1", second), "written");
        assert_eq!(cluster.told(at, "UPDATE lists SET l = l + ['3'] WHERE k = 'a' AND c = 1", third), "written");
    }
    let probe = "UPDATE lists SET l = ['ok'] WHERE k = 'a' AND c = 1 IF l = ['1', '2', '3']";
    let token = cluster.token();
    assert_eq!(cluster.told(2, probe, token), "true");
}

#[test]
fn a_write_that_is_repeated_does_not_overwrite_a_later_one() {
    let mut cluster = cluster();
    let token = cluster.token();
    let first = "INSERT INTO t (k, c, v) VALUES ('a', 1, 'first')";
    assert_eq!(cluster.told(1, first, token), "written");
    cluster.advance(Duration::from_secs(1));
    cluster.written(2, "INSERT INTO t (k, c, v) VALUES ('a', 1, 'later')", QUORUM);
    assert_eq!(cluster.told(3, first, token), "written");
    assert_eq!(cluster.rows(1, READ, ALL), ["1 later"]);
    // Nor does it bring back what has expired, or was deleted.
    let (short_lived, batch) = (cluster.token(), cluster.token());
    let expiring = "INSERT INTO t (k, c, v) VALUES ('b', 1, 'x') USING TTL 2";
    let both = "BEGIN BATCH INSERT INTO t (k, c, v) VALUES ('c', 1, 'x'); \
                INSERT INTO t (k, c, v) VALUES ('d', 1, 'x'); APPLY BATCH";
    assert_eq!(cluster.told(1, expiring, short_lived), "written");
    assert_eq!(cluster.told(1, both, batch), "written");
    cluster.advance(Duration::from_secs(3));
    cluster.written(2, "DELETE FROM t WHERE k = 'c'", QUORUM);
    assert_eq!(cluster.told(3, expiring, short_lived), "written");
    assert_eq!(cluster.told(3, both, batch), "written");
    let rows = |cluster: &mut Cluster, k: &str| cluster.rows(1, &format!("SELECT v FROM t WHERE k = '{k}'"), ALL);
    assert!(rows(&mut cluster, "b").is_empty());
    assert!(rows(&mut cluster, "c").is_empty());
    assert_eq!(rows(&mut cluster, "d"), ["x"]);
    cluster.advance(TIMEOUT);
    assert!(cluster.agree(&[1, 2, 3]));
}

#[test]
fn a_token_that_is_too_old_is_refused_and_its_outcome_is_removed() {
    let mut cluster = cluster();
    let token = cluster.token();
    assert_eq!(cluster.told(1, INSERT, token), "true");
    let recorded = |cluster: &Cluster, id: u128| {
        let records = &cluster.nodes[&node(id)].store.local;
        records.keys().filter(|key| key.starts_with(model::local::prefix::OUTCOMES)).count()
    };
    cluster.advance(Duration::from_secs(1));
    assert_eq!([1, 2, 3].map(|id| recorded(&cluster, id)), [1, 1, 1]);
    cluster.advance(Duration::from_secs(590));
    assert_eq!(cluster.told(2, INSERT, token), "true", "it is within the window");
    cluster.advance(Duration::from_secs(15));
    let answer = cluster.told(3, INSERT, token);
    assert!(answer.starts_with("No: ") && answer.contains("seconds old"), "{answer}");
    // A coordinator whose clock is behind would take it; the replicas do not, once they have forgotten.
    cluster.advance(Duration::from_secs(1_300));
    assert_eq!([1, 2, 3].map(|id| recorded(&cluster, id)), [0, 0, 0]);
    cluster.nodes.get_mut(&node(2)).unwrap().skew = -1_500_000_000;
    let answer = cluster.told(2, "DELETE FROM t WHERE k = 'a' AND c = 1 IF v = 'x'", token);
    assert!(answer.starts_with("No: "), "{answer}");
    assert_eq!(cluster.rows(1, READ, QUORUM), ["1 x"]);
}

#[test]
fn a_promise_with_a_token_waits_for_what_is_recorded_of_it() {
    let mut cluster = cluster();
    let token = cluster.token();
    let request = cluster.send_with(1, INSERT, token);
    let mut asked = Vec::new();
    while let Some(flight) = cluster.flights.pop_front() {
        if let crate::test_cluster::Flight::Storage { request: StorageRequest::ReadLocal { key }, .. } = &flight {
            asked.push(key.clone());
        }
        cluster.deliver(flight);
    }
    assert_eq!(short(&cluster.reply(request).unwrap()), "true");
    let outcome = model::local::prefix::OUTCOMES;
    assert_eq!(asked.iter().filter(|key| key.starts_with(outcome)).count(), 3, "each replica is asked");
    let removed = crate::retry::removed_before_key();
    assert_eq!(asked.iter().filter(|key| **key == removed).count(), 3, "and whether it has forgotten");
}
