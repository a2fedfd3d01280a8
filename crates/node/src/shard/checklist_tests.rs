//! What has gone wrong in other systems' lightweight transactions, each as a test: `docs/protocol/checklist.md`.

use crate::test_cluster::{ALL, Cluster, LISTS, ONE, QUORUM, TABLE, TIMEOUT, node, schema_with_ids, view};
use crate::{Message, Request, Response, WritePurpose};
use model::error::Applied;
use model::{Consistency, NodeId, RequestError};
use query::Bound;
use std::time::Duration;

const READ: &str = "SELECT c, v FROM t WHERE k = 'a'";

impl Cluster {
    fn ask_if(&mut self, at: u128, text: &str, levels: (Consistency, Consistency), timeout: Duration) -> u64 {
        let Bound::Conditional(write) = self.bind(text) else { panic!("no condition: {text}") };
        self.now = self.now + Duration::from_micros(10);
        let (consistency, serial) = levels;
        let write = Box::new(write);
        self.request(at, Request::Conditional { write, consistency, serial, token: None, timeout })
    }

    fn told_if(&mut self, request: u64) -> Option<Result<bool, RequestError>> {
        self.reply(request).map(|result| match result {
            Ok(Response::Conditional(result)) => Ok(result.rows[0][0].as_deref() == Some(&[1])),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error),
        })
    }

    /// Whether a conditional write is applied, while time passes.
    fn applies(&mut self, at: u128, text: &str) -> bool {
        let request = self.ask_if(at, text, (QUORUM, Consistency::Serial), TIMEOUT);
        self.advance(Duration::from_millis(500));
        self.told_if(request).expect("it is answered").unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn serially(&mut self, at: u128) -> Vec<String> {
        let request = self.read(at, READ, Consistency::Serial);
        self.advance(Duration::from_millis(500));
        self.rows_of(request).0.into_iter().map(|row| row.join(" ")).collect()
    }

    /// Loses proposals, or commits, to some nodes.
    fn lose_steps(&mut self, proposals_to: &'static [u128], commits_to: &'static [u128]) {
        self.lose = Box::new(move |_, to: NodeId, message| match message {
            Message::Paxos { request, .. } => {
                matches!(request.step, crate::PaxosStep::Propose { .. }) && proposals_to.contains(&to.0)
            }
            Message::Write { purpose: WritePurpose::Commit(_), .. } => commits_to.contains(&to.0),
            _ => false,
        });
    }

    fn lose_nothing(&mut self) {
        self.lose = Box::new(|_, _, _| false);
    }
}

fn insert(c: u32, v: &str) -> String {
    format!("INSERT INTO t (k, c, v) VALUES ('a', {c}, '{v}') IF NOT EXISTS")
}

/// CASSANDRA-11991.
#[test]
fn a_clock_that_was_far_ahead_does_not_keep_others_from_deciding() {
    let mut cluster = Cluster::new();
    cluster.nodes.get_mut(&node(1)).unwrap().skew = 3_600_000_000;
    assert!(cluster.applies(1, &insert(1, "x")));
    cluster.nodes.get_mut(&node(1)).unwrap().skew = 0;
    for at in [2, 3, 1] {
        assert!(cluster.applies(at, "UPDATE t SET v = 'x' WHERE k = 'a' AND c = 1 IF v = 'x'"), "node {at}");
    }
}

/// Scylla's issue 6149, CASSANDRA-12043.
#[test]
fn what_was_superseded_never_comes_back_however_long_that_is_ago() {
    let mut cluster = Cluster::new();
    // Accepted by node 3 alone.
    cluster.lose_steps(&[1, 2], &[1, 2, 3]);
    let lost = cluster.ask_if(3, &insert(1, "lost"), (QUORUM, Consistency::Serial), TIMEOUT);
    cluster.run();
    cluster.lose_nothing();
    cluster.kill(3);
    assert!(cluster.applies(1, &insert(1, "chosen")));
    assert!(cluster.applies(2, "DELETE FROM t WHERE k = 'a' AND c = 1 IF EXISTS"));
    assert!(cluster.told_if(lost).is_none(), "its coordinator is dead");
    // Longer than anything is kept that has a time to live elsewhere.
    cluster.advance(Duration::from_secs(3_600));
    cluster.restart(3);
    cluster.kill(1);
    assert!(cluster.applies(2, &insert(2, "later")));
    assert_eq!(cluster.serially(3), ["2 later"]);
}

/// CASSANDRA-17999.
#[test]
fn local_serial_needs_nothing_of_another_data_center() {
    let mut cluster = Cluster::across(3, 3);
    for id in [4, 5, 6] {
        cluster.kill(id);
    }
    let levels = (Consistency::LocalQuorum, Consistency::LocalSerial);
    let request = cluster.ask_if(1, &insert(1, "x"), levels, TIMEOUT);
    cluster.run();
    assert_eq!(cluster.told_if(request), Some(Ok(true)));
    let request = cluster.ask_if(1, &insert(1, "x"), (QUORUM, Consistency::Serial), TIMEOUT);
    cluster.run();
    assert!(matches!(cluster.told_if(request), Some(Err(RequestError::Unavailable { .. }))), "three of six");
}

/// CASSANDRA-13655.
#[test]
fn a_range_is_deleted_by_a_conditional_batch() {
    let mut cluster = Cluster::new();
    for c in 1..=4 {
        assert!(cluster.applies(1, &insert(c, "x")));
    }
    let batch = "BEGIN BATCH UPDATE t SET v = 'y' WHERE k = 'a' AND c = 1 IF v = 'x'; \
                 DELETE FROM t WHERE k = 'a' AND c > 1 AND c < 4; APPLY BATCH";
    assert!(cluster.applies(2, batch));
    assert_eq!(cluster.rows(3, READ, ALL), ["1 y", "4 x"]);
}

/// CASSANDRA-7538.
#[test]
fn what_is_chosen_before_a_truncation_does_not_come_behind_it() {
    let mut cluster = Cluster::new();
    cluster.lose_steps(&[], &[1, 2, 3]);
    let lost = cluster.ask_if(1, &insert(1, "x"), (QUORUM, Consistency::Serial), TIMEOUT);
    cluster.run();
    // A truncated table has another id.
    cluster.publish(view(11, &[1, 2, 3], schema_with_ids(3, &[TABLE, LISTS], 200)));
    cluster.lose_nothing();
    cluster.advance(TIMEOUT);
    assert_ne!(cluster.told_if(lost), Some(Ok(true)));
    assert!(cluster.serially(2).is_empty());
    assert!(cluster.rows(3, READ, ALL).is_empty());
    assert!(cluster.applies(3, &insert(1, "y")));
    cluster.assert_idle();
}

/// CASSANDRA-7342, CASSANDRA-7479.
#[test]
fn a_commit_goes_to_all_replicas_and_one_that_is_away_gets_a_hint() {
    let mut cluster = Cluster::new();
    cluster.kill(3);
    assert!(cluster.applies(1, &insert(1, "x")));
    cluster.restart(3);
    cluster.advance(Duration::from_secs(10));
    cluster.kill(1);
    cluster.kill(2);
    assert_eq!(cluster.rows(3, READ, ONE), ["1 x"]);
}

/// Scylla's issue 7258, CASSANDRA-15350.
#[test]
fn nothing_that_was_proposed_is_denied_and_contention_is_another_error() {
    let mut cluster = Cluster::new();
    cluster.lose_steps(&[2, 3], &[]);
    let request = cluster.ask_if(1, &insert(1, "x"), (QUORUM, Consistency::Serial), TIMEOUT);
    cluster.run();
    // Those that may have it are gone: that is no reason to say that it is not there.
    cluster.kill(2);
    cluster.kill(3);
    cluster.advance(TIMEOUT);
    let error = cluster.told_if(request).expect("it is answered").unwrap_err();
    assert!(matches!(error, RequestError::CasWriteUnknown { .. }), "{error}");
    assert_eq!(error.applied(), Applied::Maybe);
}

/// CASSANDRA-20691.
#[test]
fn what_waits_for_longer_than_its_time_is_not_executed() {
    let mut cluster = Cluster::new();
    cluster.lose_steps(&[1, 2, 3], &[]);
    let first = cluster.ask_if(1, &insert(1, "first"), (QUORUM, Consistency::Serial), TIMEOUT);
    let second = cluster.ask_if(1, &insert(2, "second"), (QUORUM, Consistency::Serial), Duration::from_millis(300));
    cluster.advance(Duration::from_secs(1));
    let error = cluster.told_if(second).expect("its time is over").unwrap_err();
    assert!(matches!(error, RequestError::CasTimeout { .. }), "{error}");
    cluster.lose_nothing();
    cluster.advance(TIMEOUT);
    assert!(cluster.told_if(first).is_some());
    assert!(!cluster.serially(2).iter().any(|row| row.starts_with('2')), "it was said not to happen");
}

/// Scylla's test_mutation_schema_change.
#[test]
fn what_was_accepted_under_an_older_schema_is_committed_under_the_new_one() {
    let mut cluster = Cluster::new();
    cluster.lose_steps(&[], &[1, 2, 3]);
    let _ = cluster.ask_if(1, &insert(1, "x"), (QUORUM, Consistency::Serial), TIMEOUT);
    cluster.run();
    cluster.stop(1);
    cluster.announce();
    let altered = schema_with_ids(3, &[TABLE, LISTS, "ALTER TABLE t ADD extra text"], 100);
    cluster.publish(view(11, &[1, 2, 3], altered));
    cluster.lose_nothing();
    assert_eq!(cluster.serially(2), ["1 x"]);
    assert!(cluster.applies(3, "UPDATE t SET extra = 'y' WHERE k = 'a' AND c = 1 IF v = 'x' AND extra = null"));
}
