//! Transactions of three nodes, with messages lost and nodes killed at the worst moments.

use crate::register::{PaxosAnswer, PaxosStep};
use crate::test_cluster::{ALL, Cluster, Flight, LISTS, ONE, QUORUM, TABLE, TIMEOUT, node, schema_with_ids, view};
use crate::{Input, Message, Request, Response, WritePurpose};
use model::{Consistency, NodeId, RequestError, Rng};
use query::Bound;
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

const SERIAL: Consistency = Consistency::Serial;
const READ: &str = "SELECT c, v FROM t WHERE k = 'a'";

fn insert(c: u32, v: &str) -> String {
    format!("INSERT INTO t (k, c, v) VALUES ('a', {c}, '{v}') IF NOT EXISTS")
}

fn update(from: &str, to: &str) -> String {
    format!("UPDATE t SET v = '{to}' WHERE k = 'a' AND c = 1 IF v = '{from}'")
}

impl Cluster {
    /// Begins a conditional write at a node.
    fn begin(&mut self, at: u128, text: &str, consistency: Consistency) -> u64 {
        let Bound::Conditional(write) = self.bind(text) else { panic!("no condition: {text}") };
        let write = Box::new(write);
        // No two transactions begin in the same microsecond.
        self.now = self.now + Duration::from_micros(10);
        self.request(at, Request::Conditional { write, consistency, serial: SERIAL, token: None, timeout: TIMEOUT })
    }

    /// Begins a serial read at a node.
    fn look(&mut self, at: u128) -> u64 {
        self.now = self.now + Duration::from_micros(10);
        self.read(at, READ, SERIAL)
    }

    /// Whether a conditional write was applied.
    fn outcome(&mut self, request: u64) -> Option<Result<bool, RequestError>> {
        self.reply(request).map(|result| match result {
            Ok(Response::Conditional(result)) => Ok(result.rows[0][0].as_deref() == Some(&[1])),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error),
        })
    }

    /// Executes a conditional write, while time passes.
    fn decided(&mut self, at: u128, text: &str) -> bool {
        let request = self.begin(at, text, QUORUM);
        self.advance(Duration::from_millis(500));
        self.outcome(request).expect("it is answered").unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    /// The rows of a serial read, while time passes.
    fn seen(&mut self, at: u128) -> Vec<String> {
        let request = self.look(at);
        self.advance(Duration::from_millis(500));
        self.rows_of(request).0.into_iter().map(|row| row.join(" ")).collect()
    }

    /// How many messages of each kind are sent until the cluster comes to rest.
    fn counted(&mut self) -> BTreeMap<&'static str, usize> {
        let counts: Rc<RefCell<BTreeMap<&'static str, usize>>> = Rc::default();
        let noted = counts.clone();
        self.lose = Box::new(move |_, _, message| {
            let kind = match message {
                Message::Paxos { request, .. } => match request.step {
                    PaxosStep::Prepare { .. } => "prepare",
                    PaxosStep::Propose { .. } => "propose",
                },
                Message::Write { purpose: WritePurpose::Commit(_), .. } => "commit",
                Message::PaxosAnswered { .. } | Message::Written { .. } => "answer",
                _ => "other",
            };
            *noted.borrow_mut().entry(kind).or_default() += 1;
            false
        });
        self.run();
        self.lose = Box::new(|_, _, _| false);
        counts.take()
    }
}

/// Loses messages of these kinds to nodes of these numbers.
fn losing(cluster: &mut Cluster, kinds: &'static [&'static str], to: &'static [u128]) {
    cluster.lose = Box::new(move |_, target: NodeId, message| {
        let kind = match message {
            Message::Paxos { request, .. } => match request.step {
                PaxosStep::Prepare { .. } => "prepare",
                PaxosStep::Propose { .. } => "propose",
            },
            Message::Write { purpose: WritePurpose::Commit(_), .. } => "commit",
            Message::PaxosAnswered { answer: PaxosAnswer::Accepted, .. } => "accepted",
            _ => "other",
        };
        to.contains(&target.0) && kinds.contains(&kind)
    });
}

fn healed(cluster: &mut Cluster) {
    cluster.lose = Box::new(|_, _, _| false);
}

#[test]
fn a_write_takes_two_round_trips_and_its_commit_and_a_read_takes_one() {
    let mut cluster = Cluster::new();
    let request = cluster.begin(1, &insert(1, "x"), QUORUM);
    let counts = cluster.counted();
    assert_eq!(cluster.outcome(request), Some(Ok(true)));
    assert_eq!(counts, BTreeMap::from([("prepare", 2), ("propose", 2), ("commit", 2), ("answer", 6)]));
    let request = cluster.look(2);
    assert_eq!(cluster.counted(), BTreeMap::from([("prepare", 2), ("answer", 2)]));
    assert_eq!(cluster.rows_of(request).0, [["1", "x"]]);
    // A refusal is a read.
    let request = cluster.begin(3, &insert(1, "y"), QUORUM);
    assert_eq!(cluster.counted(), BTreeMap::from([("prepare", 2), ("answer", 2)]));
    assert_eq!(cluster.outcome(request), Some(Ok(false)));
    cluster.advance(TIMEOUT);
    cluster.assert_idle();
    assert!(cluster.agree(&[1, 2, 3]));
}

#[test]
fn conditions_decide_and_refusals_show_what_is_there() {
    let mut cluster = Cluster::new();
    assert!(cluster.decided(1, &insert(1, "x")));
    assert!(!cluster.decided(2, &insert(1, "y")));
    assert!(!cluster.decided(3, &update("z", "y")));
    assert!(cluster.decided(3, &update("x", "y")));
    let request = cluster.begin(1, &update("x", "z"), QUORUM);
    cluster.run();
    let Some(Ok(Response::Conditional(refused))) = cluster.reply(request) else { panic!("it is refused") };
    assert_eq!(refused.columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>(), ["[applied]", "v"]);
    assert_eq!(refused.rows[0][1].as_deref(), Some(b"y".as_slice()));
    assert!(cluster.decided(2, "DELETE FROM t WHERE k = 'a' AND c = 1 IF EXISTS"));
    assert!(!cluster.decided(1, "DELETE FROM t WHERE k = 'a' AND c = 1 IF EXISTS"));
    let batch = "BEGIN BATCH INSERT INTO t (k, c, v) VALUES ('a', 1, 'p') IF NOT EXISTS; \
                 INSERT INTO t (k, c, v) VALUES ('a', 2, 'q'); DELETE FROM t WHERE k = 'a' AND c > 5; APPLY BATCH";
    assert!(cluster.decided(1, batch));
    assert!(!cluster.decided(1, batch));
    assert_eq!(cluster.rows(3, READ, QUORUM), ["1 p", "2 q"]);
}

#[test]
fn of_many_at_once_on_all_nodes_one_is_applied() {
    let mut cluster = Cluster::new();
    let requests: Vec<u64> =
        (0..60u32).map(|n| cluster.begin(u128::from(n) % 3 + 1, &insert(1, &n.to_string()), QUORUM)).collect();
    cluster.advance(TIMEOUT - Duration::from_millis(1));
    let outcomes: Vec<_> = requests.into_iter().map(|request| cluster.outcome(request).unwrap()).collect();
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == Ok(true)).count(), 1);
    cluster.advance(TIMEOUT);
    cluster.assert_idle();
    assert!(cluster.agree(&[1, 2, 3]));
}

/// Lets one node and another execute conditional writes of one partition one after the other for a while, while each
/// message is on its way for so long: by node, how many were applied, and how many timed out.
fn contend_from_afar(latency: Duration) -> BTreeMap<u128, (u32, u32)> {
    let mut cluster = Cluster::new();
    assert!(cluster.decided(1, &insert(1, "x")));
    let end = cluster.now + Duration::from_secs(40);
    let mut travelling: VecDeque<(model::Instant, Flight)> = VecDeque::new();
    let (mut asked, mut served) = (BTreeMap::new(), BTreeMap::<u128, (u32, u32)>::new());
    while cluster.now < end {
        for at in [1, 2] {
            let answered = asked.get(&at).map(|request| cluster.outcome(*request));
            match answered {
                Some(None) => continue,
                Some(Some(Ok(true))) => served.entry(at).or_default().0 += 1,
                Some(Some(Err(_))) => served.entry(at).or_default().1 += 1,
                Some(Some(Ok(false))) => panic!("the condition holds"),
                None => {}
            }
            asked.insert(at, cluster.begin(at, &update("x", "x"), QUORUM));
        }
        while let Some(flight) = cluster.flights.pop_front() {
            match flight {
                Flight::Storage { .. } => cluster.deliver(flight),
                Flight::Message { .. } => travelling.push_back((cluster.now + latency, flight)),
            }
        }
        let arrives = travelling.front().map(|(at, _)| *at);
        let wakes = cluster.nodes.values().filter_map(|node| node.shard.deadline()).min();
        let next = arrives.into_iter().chain(wakes).min().expect("something is under way");
        cluster.now = cluster.now.max(next);
        match travelling.pop_front_if(|(at, _)| *at <= next) {
            Some((_, flight)) => cluster.deliver(flight),
            None => cluster.all(&Input::Wake),
        }
    }
    served
}

#[test]
fn contenders_far_from_each_other_are_served_both() {
    for millis in [10, 100] {
        let served = contend_from_afar(Duration::from_millis(millis));
        println!("{millis} ms: {served:?}");
        for (at, (applied, timed_out)) in &served {
            assert!(*applied > 10 && timed_out * 10 <= *applied, "{millis} ms, node {at}: {served:?}");
        }
    }
}

#[test]
fn timestamps_of_what_is_applied_increase_whatever_the_clocks_say() {
    let mut cluster = Cluster::new();
    cluster.nodes.get_mut(&node(2)).unwrap().skew = 3_600_000_000;
    cluster.nodes.get_mut(&node(3)).unwrap().skew = -3_600_000_000;
    assert!(cluster.decided(2, &insert(1, "0")));
    for step in 0..9u32 {
        let at = u128::from(step) % 3 + 1;
        assert!(cluster.decided(at, &update(&step.to_string(), &(step + 1).to_string())), "step {step}");
    }
    assert_eq!(cluster.seen(1), ["1 9"]);
    let written = cluster.rows(1, "SELECT v FROM t WHERE k = 'a'", ALL);
    assert_eq!(written, ["9"]);
}

#[test]
fn elements_are_added_to_lists_in_the_order_of_the_transactions() {
    let mut cluster = Cluster::new();
    cluster.nodes.get_mut(&node(1)).unwrap().skew = 60_000_000;
    cluster.written(1, "INSERT INTO lists (k, c) VALUES ('a', 1)", QUORUM);
    cluster.advance(Duration::from_secs(61));
    for (step, at) in [1, 2, 1, 3].into_iter().enumerate() {
        assert!(cluster.decided(at, &format!("UPDATE lists SET l = l + ['{step}'] WHERE k = 'a' AND c = 1 IF EXISTS")));
    }
    for (index, step) in ["0", "1", "2", "3"].into_iter().enumerate() {
        let asked = format!("UPDATE lists SET l = l + ['x'] WHERE k = 'a' AND c = 1 IF l[{index}] = '{step}'");
        assert!(cluster.decided(2, &asked), "{asked}");
    }
}

#[test]
fn what_a_read_did_not_see_does_not_come_later() {
    // CASSANDRA-12126: accepted by one replica, and its coordinator is gone.
    for (first, second) in [(true, true), (true, false), (false, true), (false, false)] {
        let mut cluster = Cluster::new();
        losing(&mut cluster, &["propose"], &[2, 3]);
        let lost = cluster.begin(1, &insert(1, "lost"), QUORUM);
        cluster.run();
        assert_eq!(cluster.outcome(lost), None);
        healed(&mut cluster);
        // Nodes 2 and 3 alone say that it is not there, by a read or by a condition that does not hold.
        cluster.kill(1);
        let absent = "UPDATE t SET v = 'never' WHERE k = 'a' AND c = 1 IF v = 'lost'";
        match first {
            true => assert!(cluster.seen(2).is_empty()),
            false => assert!(!cluster.decided(2, absent)),
        }
        cluster.restart(1);
        cluster.kill(3);
        match second {
            true => assert!(cluster.seen(2).is_empty()),
            false => assert!(!cluster.decided(1, absent)),
        }
    }
}

#[test]
fn what_was_chosen_is_not_lost_though_its_commit_reached_one_replica() {
    let mut cluster = Cluster::new();
    losing(&mut cluster, &["commit"], &[2, 3]);
    let first = cluster.begin(1, &insert(1, "one"), ONE);
    cluster.run();
    assert_eq!(cluster.outcome(first), Some(Ok(true)), "at ONE its own commit is enough");
    healed(&mut cluster);
    // CASSANDRA-19617: nodes 1 and 3 go on; then nodes 2 and 3 must know both.
    cluster.stop(2);
    cluster.announce();
    assert!(cluster.decided(3, &insert(2, "two")));
    cluster.restart(2);
    cluster.kill(1);
    assert_eq!(cluster.seen(2), ["1 one", "2 two"]);
    cluster.restart(1);
    cluster.kill(3);
    assert_eq!(cluster.seen(2), ["1 one", "2 two"]);
}

#[test]
fn a_change_in_progress_is_finished_by_whoever_finds_it() {
    let mut cluster = Cluster::new();
    losing(&mut cluster, &["commit"], &[1, 2, 3]);
    // Node 1 hears of no acceptance, so its own commit is not made either.
    losing(&mut cluster, &["accepted", "commit"], &[1]);
    let request = cluster.begin(1, &insert(1, "x"), QUORUM);
    cluster.run();
    cluster.stop(1);
    cluster.announce();
    healed(&mut cluster);
    assert!(!cluster.decided(2, &insert(1, "y")), "it was accepted by a quorum");
    assert_eq!(cluster.seen(3), ["1 x"]);
    assert_eq!(cluster.outcome(request), None, "its coordinator is dead");
}

#[test]
fn a_transaction_that_was_finished_by_another_knows_that_it_is_applied() {
    let mut cluster = Cluster::new();
    losing(&mut cluster, &["accepted"], &[1]);
    let first = cluster.begin(1, &insert(1, "x"), QUORUM);
    cluster.run();
    // Node 2 finishes it, and many follow.
    for step in 0..10u32 {
        let from = if step == 0 { "x".to_owned() } else { step.to_string() };
        let request = cluster.begin(2, &update(&from, &(step + 1).to_string()), QUORUM);
        cluster.run();
        assert_eq!(cluster.outcome(request), Some(Ok(true)));
    }
    healed(&mut cluster);
    cluster.advance(Duration::from_secs(1));
    assert_eq!(cluster.outcome(first), Some(Ok(true)));
    assert_eq!(cluster.seen(3), ["1 10"]);
}

#[test]
fn a_timeout_says_whether_anything_can_follow() {
    let mut cluster = Cluster::new();
    losing(&mut cluster, &["prepare"], &[2, 3]);
    let request = cluster.begin(1, &insert(1, "x"), QUORUM);
    cluster.advance(TIMEOUT);
    let timeout = cluster.outcome(request).unwrap().unwrap_err();
    assert!(matches!(timeout, RequestError::CasTimeout { consistency: SERIAL, required: 2, .. }), "{timeout}");
    assert_eq!(timeout.applied(), model::error::Applied::No);
    losing(&mut cluster, &["propose"], &[2, 3]);
    let request = cluster.begin(1, &insert(1, "x"), QUORUM);
    cluster.advance(TIMEOUT);
    let unknown = cluster.outcome(request).unwrap().unwrap_err();
    assert!(matches!(unknown, RequestError::CasWriteUnknown { received: 1, required: 2, .. }), "{unknown}");
    let request = cluster.look(2);
    losing(&mut cluster, &["prepare"], &[1, 3]);
    cluster.advance(TIMEOUT);
    assert!(matches!(cluster.reply(request), Some(Err(RequestError::ReadTimeout { consistency: SERIAL, .. }))));
    healed(&mut cluster);
    cluster.kill(2);
    cluster.kill(3);
    let request = cluster.begin(1, &insert(1, "x"), QUORUM);
    cluster.run();
    let unavailable = cluster.outcome(request).unwrap().unwrap_err();
    assert!(matches!(unavailable, RequestError::Unavailable { required: 2, alive: 1, .. }), "{unavailable}");
    cluster.advance(TIMEOUT);
    cluster.assert_idle();
}

#[test]
fn registers_survive_restarts() {
    let mut cluster = Cluster::new();
    assert!(cluster.decided(1, &insert(1, "x")));
    losing(&mut cluster, &["accepted"], &[1]);
    let lost = cluster.begin(1, &update("x", "y"), QUORUM);
    cluster.run();
    assert_eq!(cluster.outcome(lost), None);
    for id in [1, 2, 3] {
        cluster.stop(id);
    }
    healed(&mut cluster);
    for id in [1, 2, 3] {
        cluster.restart(id);
    }
    // It was accepted by all: it is applied.
    assert_eq!(cluster.seen(2), ["1 y"]);
    assert!(cluster.decided(3, &update("y", "z")));
}

#[test]
fn a_serial_read_of_several_pages_and_of_several_partitions() {
    let mut cluster = Cluster::new();
    for c in 0..10 {
        assert!(cluster.decided(1, &insert(c, "x")));
    }
    let (mut count, mut state) = (0, None);
    loop {
        let request = cluster.read_page(2, READ, SERIAL, 3, state);
        cluster.advance(Duration::from_millis(50));
        let (rows, next) = cluster.rows_of(request);
        assert!(rows.len() <= 3);
        count += rows.len();
        state = next;
        if state.is_none() {
            break;
        }
    }
    assert_eq!(count, 10);
    let request = cluster.read(2, "SELECT * FROM t WHERE k IN ('a', 'b')", SERIAL);
    cluster.run();
    assert!(matches!(cluster.reply(request), Some(Err(RequestError::Invalid(_)))));
    let request = cluster.read(2, "SELECT * FROM t", SERIAL);
    cluster.run();
    assert!(matches!(cluster.reply(request), Some(Err(RequestError::Invalid(_)))));
    cluster.advance(TIMEOUT);
    cluster.assert_idle();
}

#[test]
fn a_table_that_is_dropped_in_between_ends_the_transaction() {
    let mut cluster = Cluster::new();
    cluster.nodes.get_mut(&node(1)).unwrap().slow_storage = true;
    let request = cluster.begin(1, &insert(1, "x"), QUORUM);
    cluster.publish(view(11, &[1, 2, 3], schema_with_ids(3, &[TABLE, LISTS], 200)));
    cluster.release(1);
    cluster.advance(Duration::from_secs(1));
    assert!(matches!(cluster.outcome(request), Some(Err(RequestError::NotFound(_)))));
    cluster.advance(TIMEOUT);
    cluster.assert_idle();
}

#[test]
fn a_replica_that_knows_other_replicas_takes_no_part() {
    let mut cluster = Cluster::new();
    let schema = cluster.view.schema.clone();
    // Node 3 knows of a fourth node, which changes who holds what.
    let newer = view(11, &[1, 2, 3, 4], schema);
    cluster.step(node(2), crate::Input::View(newer.clone()));
    cluster.step(node(3), crate::Input::View(newer));
    let request = cluster.begin(1, &insert(1, "x"), QUORUM);
    cluster.advance(TIMEOUT);
    match cluster.outcome(request) {
        // By chance the partition has the same replicas.
        Some(Ok(true)) => assert_eq!(cluster.nodes[&node(1)].shard.status().not_replica, 0),
        Some(Err(RequestError::CasTimeout { received: 1, .. })) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn in_any_order_and_with_losses_every_step_happens_once() {
    for seed in 0..12 {
        let mut rng = Rng::new(seed);
        let mut cluster = Cluster::new();
        cluster.written(1, "INSERT INTO t (k, c, v) VALUES ('a', 1, '0')", ALL);
        // The first value was written at the wall clock; transactions come after it.
        cluster.advance(Duration::from_millis(5));
        let mut applied: BTreeMap<String, usize> = BTreeMap::new();
        for round in 0..6 {
            let loss = rng.below(300);
            let mut dice = rng.fork();
            cluster.lose = Box::new(move |_, _, _| dice.chance(loss));
            let from = cluster.view.epoch.0 + round;
            let requests: Vec<(u64, String)> = (0..3u128)
                .map(|at| {
                    let to = format!("{from}-{at}");
                    let text = format!("UPDATE t SET v = '{to}' WHERE k = 'a' AND c = 1 IF v != '{to}'");
                    (cluster.begin(at + 1, &text, QUORUM), to)
                })
                .collect();
            for _ in 0..40 {
                cluster.run_shuffled(&mut rng);
                cluster.advance(Duration::from_millis(150));
            }
            for (request, to) in requests {
                if let Some(Ok(true)) = cluster.outcome(request) {
                    *applied.entry(to).or_default() += 1;
                }
            }
        }
        cluster.lose = Box::new(|_, _, _| false);
        cluster.advance(TIMEOUT);
        cluster.assert_idle();
        assert!(applied.len() > 3, "seed {seed}: most are applied, {applied:?}");
        let _ = cluster.seen(1);
        let last = cluster.seen(2);
        assert_eq!(last, cluster.seen(3));
        assert_eq!(last.len(), 1);
        assert!(!cluster.flights.iter().any(|flight| matches!(flight, Flight::Storage { .. })));
    }
}
