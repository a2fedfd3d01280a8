//! Repairs on a cluster in memory: replicas agree afterwards whatever they held, only what is lacking is sent, and what
//! is in the way is named.

use super::*;
use crate::garbage::purge_after_repair;
use crate::test_cluster::{ALL, Cluster, LISTS, ONE, QUORUM, TABLE, node, schema, view};
use crate::{Effect, Input, Message, WritePurpose};
use membership::ReplicationChange;
use model::schema::Replication;
use model::{Epoch, Token};
use std::ops::RangeInclusive;

const DAYS: u64 = 24 * 60 * 60;
const EVERYTHING: RangeInclusive<Token> = Token::MINIMUM..=Token(i64::MAX);

/// Short pages, and nothing unasked.
fn manual(config: &mut ShardConfig) {
    config.repairs.every = None;
    config.repairs.bytes_per_second = None;
    config.repair_page_bytes = 300;
}

fn order(cluster: &Cluster, id: u128) -> RepairOrder {
    RepairOrder {
        id: RepairId(id),
        tables: cluster.view.schema.tables().keys().copied().collect(),
        ranges: vec![TokenRange::ALL],
        data_centers: BTreeSet::new(),
        preview: false,
    }
}

fn control(cluster: &mut Cluster, at: u128, control: RepairControl) {
    cluster.step(node(at), Input::Repair(control));
}

fn report(cluster: &Cluster, at: u128, id: u128) -> RepairReport {
    cluster.repairs[&node(at)].reports.iter().find(|report| report.id == RepairId(id)).unwrap().clone()
}

/// Repairs at a node until it ends.
fn repair(cluster: &mut Cluster, at: u128, order: RepairOrder) -> RepairReport {
    let id = order.id.0;
    control(cluster, at, RepairControl::Order(order));
    cluster.run();
    for _ in 0..100 {
        let now = report(cluster, at, id);
        if now.state.is_final() {
            return now;
        }
        cluster.advance(Duration::from_secs(1));
    }
    panic!("the repair does not end: {:?}", report(cluster, at, id));
}

#[test]
fn rows_that_a_replica_missed_appear_and_nothing_else_is_sent() {
    let mut cluster = Cluster::with(manual);
    for row in 0..50 {
        cluster.plant(&[1, 2, 3], &format!("INSERT INTO t (k, c, v) VALUES ('k{}', {row}, 'x')", row % 7), 5);
    }
    cluster.plant(&[1, 2], "INSERT INTO t (k, c, v) VALUES ('k1', 100, 'y')", 6);
    cluster.plant(&[2], "INSERT INTO t (k, c, v) VALUES ('new', 1, 'z')", 7);
    cluster.plant(&[1, 2], "DELETE FROM t WHERE k = 'k3' AND c = 3", 8);
    let order = order(&cluster, 1);
    let ended = repair(&mut cluster, 3, order);
    assert_eq!((ended.state, ended.failed), (RepairState::Succeeded, 0), "{ended:?}");
    assert!(cluster.agree(&[1, 2, 3]));
    assert_eq!(ended.figures.differing, 3);
    assert_eq!(ended.figures.sent, 4, "node 3 lacks three records, node 1 one");
    assert_eq!(ended.units, ended.units_done);
    for at in [1, 2, 3] {
        assert_eq!(cluster.rows(at, "SELECT v FROM t WHERE k = 'new'", ONE), ["z"]);
    }
    cluster.assert_idle();
}

#[test]
fn deletions_of_partitions_and_ranges_static_rows_and_collections_are_repaired() {
    let mut cluster = Cluster::with(manual);
    for row in 0..30 {
        cluster.plant(&[1, 2, 3], &format!("INSERT INTO t (k, c, v) VALUES ('k', {row}, 'x')"), 5);
        cluster.plant(&[1, 2, 3], &format!("INSERT INTO t (k, c, v) VALUES ('gone', {row}, 'x')"), 5);
    }
    cluster.plant(&[1], "DELETE FROM t WHERE k = 'k' AND c > 3 AND c <= 20", 6);
    cluster.plant(&[2], "DELETE FROM t WHERE k = 'k' AND c > 15 AND c < 28", 7);
    cluster.plant(&[3], "DELETE FROM t WHERE k = 'gone'", 8);
    cluster.plant(&[1], "UPDATE lists SET s = ['a', 'b'] WHERE k = 'l'", 9);
    cluster.plant(&[2], "UPDATE lists SET l = l + ['c'] WHERE k = 'l' AND c = 1", 10);
    let order = order(&cluster, 1);
    let ended = repair(&mut cluster, 1, order);
    assert_eq!(ended.state, RepairState::Succeeded, "{ended:?}");
    assert!(cluster.agree(&[1, 2, 3]));
    let kept = ["0", "1", "2", "3", "28", "29"];
    for at in [1, 2, 3] {
        assert_eq!(cluster.rows(at, "SELECT c FROM t WHERE k = 'k'", ONE), kept);
        assert!(cluster.rows(at, "SELECT c FROM t WHERE k = 'gone'", ONE).is_empty());
    }
}

/// Some write, of few enough places that they meet.
fn random_write(rng: &mut Rng) -> String {
    let (key, row) = (rng.below(5), rng.below(12));
    match rng.below(8) {
        0 => format!("DELETE FROM t WHERE k = 'k{key}'"),
        1 => format!("DELETE FROM t WHERE k = 'k{key}' AND c >= {row} AND c < {}", row + rng.below(6) + 1),
        2 => format!("DELETE FROM t WHERE k = 'k{key}' AND c = {row}"),
        3 => format!("DELETE v FROM t WHERE k = 'k{key}' AND c = {row}"),
        4 => format!("UPDATE lists SET s = ['{row}'] WHERE k = 'k{key}'"),
        5 => format!("INSERT INTO lists (k, c, l) VALUES ('k{key}', {row}, ['a', 'b'])"),
        _ => format!("INSERT INTO t (k, c, v) VALUES ('k{key}', {row}, 'value {row}')"),
    }
}

#[test]
fn replicas_agree_after_any_writes_in_any_order_and_a_second_repair_sends_nothing() {
    for seed in 0..60 {
        let mut rng = Rng::new(seed);
        let mut cluster = Cluster::with(match seed % 3 {
            0 => manual,
            1 => |config| {
                manual(config);
                config.repair_page_bytes = 1;
            },
            _ => |config| {
                manual(config);
                config.repair_page_bytes = 1 << 20;
            },
        });
        for _ in 0..rng.below(120) {
            let nodes: Vec<u128> = [1, 2, 3].into_iter().filter(|_| rng.chance(600)).collect();
            let timestamp = rng.between(1, 30) as i64;
            cluster.plant(&nodes, &random_write(&mut rng), timestamp);
        }
        let at = 1 + u128::from(rng.below(3));
        let first = order(&cluster, 1);
        control(&mut cluster, at, RepairControl::Order(first));
        cluster.run_shuffled(&mut rng);
        let second = order(&cluster, 2);
        let second = repair(&mut cluster, at, second);
        assert_eq!(report(&cluster, at, 1).state, RepairState::Succeeded, "seed {seed}");
        assert!(cluster.agree(&[1, 2, 3]), "seed {seed}");
        assert_eq!((second.figures.differing, second.figures.sent), (0, 0), "seed {seed}");
        cluster.assert_idle();
    }
}

#[test]
fn what_is_written_meanwhile_is_not_lost() {
    let mut cluster = Cluster::with(manual);
    for row in 0..40 {
        cluster.plant(&[1], &format!("INSERT INTO t (k, c, v) VALUES ('k', {row}, 'old')"), 5);
    }
    let all = order(&cluster, 1);
    control(&mut cluster, 2, RepairControl::Order(all));
    let mut writes = Vec::new();
    for row in 0..40 {
        for _ in 0..20 {
            if let Some(flight) = cluster.flights.pop_front() {
                cluster.deliver(flight);
            }
        }
        writes.push(cluster.write(3, &format!("UPDATE t SET v = 'new' WHERE k = 'k' AND c = {row}"), QUORUM));
    }
    cluster.run();
    cluster.advance(Duration::from_secs(60));
    assert_eq!(report(&cluster, 2, 1).state, RepairState::Succeeded);
    let rows = cluster.rows(1, "SELECT v FROM t WHERE k = 'k'", ALL);
    assert_eq!(rows, vec!["new"; 40]);
}

#[test]
fn a_dead_replica_is_named_and_the_next_repair_succeeds() {
    let mut cluster = Cluster::with(manual);
    cluster.plant(&[1], "INSERT INTO t (k, c, v) VALUES ('k', 1, 'x')", 5);
    cluster.kill(3);
    let first = order(&cluster, 1);
    let ended = repair(&mut cluster, 1, first);
    assert_eq!((ended.state, ended.failed), (RepairState::Failed, ended.units));
    assert_eq!(ended.failures[0].reason, format!("node {} is down", node(3)));
    assert!(ended.failures.len() <= FAILURES_MAX);
    cluster.restart(3);
    let second = order(&cluster, 2);
    assert_eq!(repair(&mut cluster, 1, second).state, RepairState::Succeeded);
    assert!(cluster.agree(&[1, 2, 3]));
}

#[test]
fn what_is_lost_is_asked_again_and_who_never_answers_is_named() {
    let mut cluster = Cluster::with(manual);
    cluster.plant(&[1], "INSERT INTO t (k, c, v) VALUES ('k', 1, 'x')", 5);
    let mut count = 0;
    cluster.lose = Box::new(move |_, _, message| {
        let of_repair = matches!(
            message,
            Message::Compare { .. } | Message::Compared { .. } | Message::Repaired { .. } | Message::Written { .. }
        );
        count += usize::from(of_repair);
        of_repair && count % 5 == 0
    });
    let first = RepairOrder { tables: vec![TableId(100)], ..order(&cluster, 1) };
    control(&mut cluster, 1, RepairControl::Order(first));
    cluster.advance(Duration::from_secs(3_000));
    assert_eq!(report(&cluster, 1, 1).state, RepairState::Succeeded, "{:?}", report(&cluster, 1, 1));
    assert!(cluster.agree(&[1, 2, 3]));
    cluster.lose = Box::new(|from, _, message| from == node(2) && matches!(message, Message::Compared { .. }));
    let second = RepairOrder { tables: vec![TableId(100)], ..order(&cluster, 2) };
    control(&mut cluster, 1, RepairControl::Order(second));
    cluster.advance(Duration::from_secs(3_000));
    let ended = report(&cluster, 1, 2);
    assert_eq!((ended.state, ended.failed), (RepairState::Failed, ended.units));
    assert_eq!(ended.failures[0].reason, format!("node {} did not answer within 30 seconds", node(2)));
    cluster.lose = Box::new(|_, _, _| false);
    cluster.advance(Duration::from_secs(60));
    cluster.assert_idle();
}

#[test]
fn a_preview_says_what_differs_and_sends_nothing() {
    let mut cluster = Cluster::with(manual);
    cluster.plant(&[1], "INSERT INTO t (k, c, v) VALUES ('k', 1, 'x')", 5);
    cluster.lose = Box::new(|_, _, message| {
        assert!(!matches!(message, Message::Write { .. } | Message::Repaired { .. }));
        false
    });
    let order = RepairOrder { preview: true, ..order(&cluster, 1) };
    let ended = repair(&mut cluster, 2, order);
    assert_eq!((ended.state, ended.figures.differing, ended.figures.sent), (RepairState::Succeeded, 1, 0));
    assert!(!cluster.agree(&[1, 2, 3]));
    assert_eq!(cluster.repairs[&node(2)].repaired.pieces().count(), 0);
}

#[test]
fn a_repair_of_one_data_center_leaves_the_other_and_does_not_count() {
    let mut cluster = Cluster::across(3, 3);
    cluster.plant(&[1], "INSERT INTO t (k, c, v) VALUES ('k', 1, 'x')", 5);
    let order = RepairOrder { data_centers: BTreeSet::from(["a".to_owned()]), ..order(&cluster, 9) };
    let ended = repair(&mut cluster, 1, order);
    assert_eq!(ended.state, RepairState::Succeeded);
    assert!(cluster.agree(&[1, 2, 3]) && !cluster.agree(&[1, 4]));
    let tables = cluster.view.schema.tables();
    for table in tables.values() {
        let through = cluster.repairs[&node(1)].repaired.through(table.id, TokenRange::ALL, &[node(1)]);
        assert_eq!(through, 0, "not all replicas took part");
    }
}

#[test]
fn what_is_repaired_is_recorded_by_every_replica_and_known_after_a_restart() {
    let mut cluster = Cluster::with(manual);
    let all = order(&cluster, 1);
    let began = cluster.wall(0).wall.clamped_seconds();
    assert_eq!(repair(&mut cluster, 1, all).state, RepairState::Succeeded);
    let replicas = [node(1), node(2), node(3)];
    for id in [1, 2, 3] {
        cluster.advance(Duration::from_secs(1));
        for _ in 0..2 {
            let through = cluster.repairs[&node(id)].repaired.through(TableId(100), TokenRange::ALL, &replicas);
            assert!(through >= began - CLOCK_SKEW_SECONDS && through <= began, "node {id}: {through}");
            let unknown = [node(1), node(2), node(3), node(4)];
            assert_eq!(cluster.repairs[&node(id)].repaired.through(TableId(100), TokenRange::ALL, &unknown), 0);
            cluster.kill(id);
            cluster.restart(id);
            cluster.advance(Duration::from_secs(1));
        }
    }
    assert_eq!(report(&cluster, 1, 1).state, RepairState::Succeeded, "the history too");
}

#[test]
fn repairs_wait_while_paused_and_can_be_cancelled() {
    let mut cluster = Cluster::with(manual);
    cluster.plant(&[1], "INSERT INTO t (k, c, v) VALUES ('k', 1, 'x')", 5);
    let policy = |paused| RepairPolicy { every: None, paused, bytes_per_second: None };
    control(&mut cluster, 1, RepairControl::Policy(policy(true)));
    for id in 1..=3 {
        let order = order(&cluster, id);
        control(&mut cluster, 1, RepairControl::Order(order));
    }
    cluster.advance(Duration::from_secs(100));
    assert_eq!(report(&cluster, 1, 1).state, RepairState::Waiting);
    control(&mut cluster, 1, RepairControl::Cancel(RepairId(2)));
    assert_eq!(report(&cluster, 1, 2).state, RepairState::Cancelled);
    control(&mut cluster, 1, RepairControl::Policy(policy(false)));
    // In the middle of the first one.
    assert_eq!(report(&cluster, 1, 1).state, RepairState::Running);
    control(&mut cluster, 1, RepairControl::Cancel(RepairId(1)));
    assert_eq!(report(&cluster, 1, 1).state, RepairState::Cancelled);
    cluster.advance(Duration::from_secs(10));
    assert_eq!(report(&cluster, 1, 3).state, RepairState::Succeeded);
    assert!(cluster.agree(&[1, 2, 3]));
    cluster.assert_idle();
}

#[test]
fn a_replica_that_went_away_while_a_repair_was_paused_is_not_taken_for_repaired() {
    let mut cluster = Cluster::with(manual);
    for row in 0..50 {
        cluster.plant(&[1, 2], &format!("INSERT INTO t (k, c, v) VALUES ('k', {row}, 'x')"), 5);
    }
    let order = order(&cluster, 1);
    control(&mut cluster, 1, RepairControl::Order(order));
    let policy = |paused| RepairPolicy { every: None, paused, bytes_per_second: None };
    cluster.lose = Box::new(|_, to, message| to == node(3) && matches!(message, Message::Compare { .. }));
    cluster.run();
    assert_eq!(report(&cluster, 1, 1).state, RepairState::Running);
    control(&mut cluster, 1, RepairControl::Policy(policy(true)));
    cluster.kill(3);
    cluster.advance(Duration::from_secs(60));
    cluster.restart(3);
    cluster.lose = Box::new(|_, _, _| false);
    cluster.advance(Duration::from_secs(60));
    control(&mut cluster, 1, RepairControl::Policy(policy(false)));
    cluster.advance(Duration::from_secs(60));
    let ended = report(&cluster, 1, 1);
    assert_eq!((ended.state, ended.failed), (RepairState::Failed, 1), "{ended:?}");
    let through =
        cluster.repairs[&node(2)].repaired.through(TableId(100), TokenRange::ALL, &[node(1), node(2), node(3)]);
    assert_eq!(through, 0);
}

#[test]
fn no_more_repairs_wait_or_are_remembered_than_there_is_room_for() {
    let mut cluster = Cluster::with(manual);
    control(&mut cluster, 1, RepairControl::Policy(RepairPolicy { paused: true, ..RepairPolicy::default() }));
    for id in 0..=JOBS_MAX as u128 {
        let order = order(&cluster, id);
        control(&mut cluster, 1, RepairControl::Order(order));
    }
    let refused = report(&cluster, 1, JOBS_MAX as u128);
    assert_eq!((refused.state, refused.refused.is_some()), (RepairState::Failed, true));
    for id in 0..JOBS_MAX as u128 {
        control(&mut cluster, 1, RepairControl::Cancel(RepairId(id)));
    }
    for id in 1_000..1_000 + HISTORY_MAX as u128 {
        let order = order(&cluster, id);
        control(&mut cluster, 1, RepairControl::Order(order));
        control(&mut cluster, 1, RepairControl::Cancel(RepairId(id)));
    }
    cluster.run();
    assert_eq!(cluster.repairs[&node(1)].reports.len(), HISTORY_MAX);
    let records = cluster.nodes[&node(1)].store.local.keys().filter(|key| key.starts_with(history::HISTORY));
    assert_eq!(records.count(), HISTORY_MAX);
}

#[test]
fn the_speed_that_is_allowed_is_kept() {
    let mut cluster = Cluster::with(|config| {
        manual(config);
        config.repairs.bytes_per_second = std::num::NonZeroU64::new(1_000);
    });
    for row in 0..200 {
        cluster.plant(&[1, 2, 3], &format!("INSERT INTO t (k, c, v) VALUES ('k', {row}, 'x')"), 5);
    }
    let order = RepairOrder { tables: vec![TableId(100)], ..order(&cluster, 1) };
    control(&mut cluster, 1, RepairControl::Order(order));
    cluster.advance(Duration::from_secs(2));
    let bytes = report(&cluster, 1, 1).figures.bytes;
    assert!(bytes > 500 && bytes < 3_500, "about two seconds' worth: {bytes}");
    cluster.advance(Duration::from_secs(60));
    assert_eq!(report(&cluster, 1, 1).state, RepairState::Succeeded);
}

#[test]
fn every_range_is_repaired_unasked_again_and_again() {
    let mut cluster = Cluster::with(|config| {
        manual(config);
        config.repairs.every = Some(Duration::from_secs(3_600));
    });
    let replicas = [node(1), node(2), node(3)];
    for round in 0..3 {
        let at = 1 + round % 3;
        cluster.plant(&[at], &format!("INSERT INTO t (k, c, v) VALUES ('k', {round}, 'x')"), 5);
        cluster.advance(Duration::from_secs(3_600 + 120));
        assert!(cluster.agree(&[1, 2, 3]), "round {round}");
        let now = cluster.wall(0).wall.clamped_seconds();
        for id in replicas {
            for table in [TableId(100), TableId(101)] {
                let through = cluster.repairs[&id].repaired.through(table, TokenRange::ALL, &replicas);
                assert!(now - through < 3_600 + 300, "round {round}, {table}: {}", now - through);
            }
        }
    }
    // With one of them away nothing is tried in vain, and what is due is done once it is back.
    cluster.kill(2);
    cluster.plant(&[1], "INSERT INTO t (k, c, v) VALUES ('late', 1, 'x')", 5);
    cluster.advance(Duration::from_secs(4 * 3_600));
    assert!(cluster.repairs.values().flat_map(|status| &status.reports).all(|report| report.failed == 0));
    cluster.restart(2);
    cluster.advance(Duration::from_secs(600));
    assert!(cluster.agree(&[1, 2, 3]));
}

#[test]
fn deletions_after_their_grace_are_equal_to_nothing() {
    let table = "CREATE TABLE t (k text, c int, v text, w text, PRIMARY KEY (k, c)) WITH gc_grace_seconds = 100";
    let mut cluster = Cluster::on(view(10, &[1, 2, 3], schema(3, &[table])), manual);
    cluster.plant(&[1], "DELETE FROM t WHERE k = 'k' AND c = 1", 5);
    cluster.plant(&[2], "DELETE FROM t WHERE k = 'j'", 5);
    // What they cover must stay away wherever it still is.
    cluster.plant(&[3], "INSERT INTO t (k, c, v) VALUES ('j', 1, 'x')", 4);
    cluster.advance(Duration::from_secs(100 + u64::from(CLOCK_SKEW_SECONDS) + 1));
    let order = order(&cluster, 1);
    let ended = repair(&mut cluster, 1, order);
    assert_eq!((ended.figures.differing, ended.figures.sent), (1, 1), "the replica gets the deletion that it needs");
    for at in [1, 2, 3] {
        assert!(cluster.rows(at, "SELECT c FROM t WHERE k = 'j'", ONE).is_empty());
    }
    let rows = cluster.rows(3, "SELECT c FROM t WHERE k = 'k'", ONE);
    assert!(rows.is_empty());
}

#[test]
fn a_deletion_is_garbage_only_once_all_replicas_were_repaired_after_its_grace() {
    let cluster = Cluster::with(manual);
    let (view, own) = (cluster.view.clone(), node(1));
    let table = view.schema.tables()[&TableId(100)].clone();
    let grace = table.options.gc_grace_seconds;
    let now = 100 * DAYS as u32;
    let mut repaired = Repaired::default();
    let gc_before = |repaired: &Repaired, table: &Table| {
        purge_after_repair(&view, own, repaired, table, &EVERYTHING, now).gc_before_seconds
    };
    assert_eq!(gc_before(&repaired, &table), 0, "never repaired");
    let through = |seconds, ids: &[u128]| {
        let replicas = ids.iter().map(|id| NodeId(*id)).collect();
        RepairedThrough { seconds, replicas, epoch: Epoch(1) }
    };
    repaired.put(table.id, TokenRange::ALL, through(50 * DAYS as u32, &[1, 2, 3]));
    assert_eq!(gc_before(&repaired, &table), 50 * DAYS as u32 - grace);
    repaired.put(table.id, TokenRange { start: Token(0), end: Token(9) }, through(60 * DAYS as u32, &[1, 2]));
    assert_eq!(gc_before(&repaired, &table), 0, "one replica was not repaired there");
    repaired.put(table.id, TokenRange::ALL, through(now, &[1, 2, 3]));
    assert_eq!(gc_before(&repaired, &table), now - CLOCK_SKEW_SECONDS - grace);
    let with = |mode: &str| {
        let mut table = (*table).clone();
        table.options.kept.insert("tombstone_gc".to_owned(), mode.to_owned());
        table
    };
    let never = Repaired::default();
    assert_eq!(gc_before(&never, &with("timeout")), now - CLOCK_SKEW_SECONDS - grace);
    assert_eq!(gc_before(&repaired, &with("disabled")), 0);
    let alone = crate::test_cluster::view(10, &[1], schema(1, &[TABLE]));
    let table = alone.schema.tables()[&TableId(100)].clone();
    let purge = purge_after_repair(&alone, own, &never, &table, &EVERYTHING, now);
    assert_eq!(purge, purge_of(&table, now), "one replica is repaired with itself");
}

#[test]
fn a_repair_is_acknowledged_only_once_synced_even_where_writes_are_not() {
    let mut cluster = Cluster::with(|config| {
        manual(config);
        config.durability = crate::Durability::Periodic;
    });
    cluster.plant(&[1], "INSERT INTO t (k, c, v) VALUES ('k', 1, 'x')", 5);
    let mutation = {
        let (key, partition) = cluster.nodes[&node(1)].store.partitions.iter().next().unwrap();
        let records = vec![model::Record::row(
            partition.rows.keys().next().unwrap().clone(),
            partition.rows.values().next().unwrap(),
        )];
        Arc::new(model::Mutation { table: key.0, partition: key.1.clone(), records })
    };
    let shard = &mut cluster.nodes.get_mut(&node(2)).unwrap().shard;
    let now = Now { monotonic: Instant(2_000_000), wall: model::WallMicros(1_790_000_000_000_000) };
    let mut sent = |input| {
        let mut effects = Vec::new();
        shard.step(now, input, &mut effects);
        effects
    };
    let mut stored = Vec::new();
    for (op, purpose) in [(1, WritePurpose::Repair), (2, WritePurpose::Client)] {
        let message = Message::Write { op: OpId(op), mutation: mutation.clone(), purpose };
        let envelope = crate::Envelope { epoch: model::Epoch(10), message };
        stored.extend(sent(Input::Message { from: node(1), envelope }).into_iter().filter_map(|effect| match effect {
            Effect::Store { op, .. } => Some(op),
            _ => None,
        }));
    }
    let acknowledged = |effects: Vec<Effect>| -> Vec<u64> {
        effects
            .into_iter()
            .filter_map(|effect| match effect {
                Effect::Send { envelope: crate::Envelope { message: Message::Written { ops }, .. }, .. } => Some(ops),
                _ => None,
            })
            .flatten()
            .map(|op| op.0)
            .collect()
    };
    let last = *stored.last().unwrap();
    assert_eq!(acknowledged(sent(Input::Stored(crate::Stored::Applied { up_to: last }))), [2]);
    assert_eq!(acknowledged(sent(Input::Stored(crate::Stored::Synced { up_to: last }))), [1]);
}

#[test]
fn what_expires_does_so_at_its_time_wherever_it_came_by_repair() {
    // test_ttl_is_respected_on_repair
    let mut cluster = Cluster::with(manual);
    cluster.plant(&[1], "INSERT INTO t (k, c, v) VALUES ('brief', 1, 'x') USING TTL 100", 5);
    cluster.plant(&[1], "INSERT INTO t (k, c, v) VALUES ('kept', 1, 'x')", 5);
    cluster.advance(Duration::from_secs(60));
    let order = order(&cluster, 1);
    assert_eq!(repair(&mut cluster, 2, order).state, RepairState::Succeeded);
    for (after, left) in [(0, 1), (60, 0)] {
        cluster.advance(Duration::from_secs(after));
        for at in [1, 2, 3] {
            assert_eq!(cluster.rows(at, "SELECT v FROM t WHERE k = 'brief'", ONE).len(), left, "on node {at}");
            assert_eq!(cluster.rows(at, "SELECT v FROM t WHERE k = 'kept'", ONE).len(), 1);
        }
    }
}

#[test]
fn a_keyspace_with_one_replica_has_nothing_to_repair() {
    // test_non_replicated_ks_repair
    let mut cluster = Cluster::of(&[1, 2, 3], 1, manual);
    cluster.written(1, "INSERT INTO t (k, c, v) VALUES ('k', 1, 'x')", ONE);
    let order = order(&cluster, 1);
    let ended = repair(&mut cluster, 1, order);
    assert_eq!((ended.state, ended.units, ended.failed), (RepairState::Succeeded, 0, 0));
}

#[test]
fn what_a_change_of_replication_adds_is_copied_unasked_and_told() {
    let mut cluster = Cluster::of(&[1, 2, 3], 1, manual);
    for row in 0..40 {
        cluster.written(1, &format!("INSERT INTO t (k, c, v) VALUES ('k{row}', {row}, 'x')"), ONE);
    }
    let replication = |factor| Replication::Simple { factor };
    let (from, to, since) = (replication(1), replication(3), Epoch(11));
    let running = ReplicationChange { keyspace: "ks".to_owned(), from, to, phase: Phase::Copying, since };
    let later = view(11, &[1, 2, 3], schema(1, &[TABLE, LISTS]));
    cluster.publish(Arc::new((*later).clone().changing(Some(running))));
    cluster.lose = Box::new(|_, _, message| matches!(message, Message::Compare { .. }));
    cluster.advance(Duration::from_secs(120));
    assert!(cluster.done.is_empty(), "nothing is copied yet");
    cluster.lose = Box::new(|_, _, _| false);
    cluster.advance(Duration::from_secs(600));
    assert_eq!(cluster.done.values().filter(|since| **since == Epoch(11)).count(), 3);
    assert!(cluster.agree(&[1, 2, 3]), "all of them hold everything");
    // A node that starts again finds what was recorded, and tells it again.
    cluster.done.clear();
    cluster.restart(2);
    cluster.advance(Duration::from_secs(1));
    assert_eq!(cluster.done.get(&node(2)), Some(&Epoch(11)));
}

#[test]
fn shards_that_do_not_repair_are_not_woken_for_what_is_to_be_copied() {
    let mut cluster = Cluster::of(&[1, 2, 3], 1, |config| {
        manual(config);
        (config.index, config.shards) = (1, 2);
    });
    let replication = |factor| Replication::Simple { factor };
    let (from, to, since) = (replication(1), replication(3), Epoch(11));
    let running = ReplicationChange { keyspace: "ks".to_owned(), from, to, phase: Phase::Copying, since };
    let later = view(11, &[1, 2, 3], schema(1, &[TABLE, LISTS]));
    // The cluster asserts after each step that nothing that is due is left.
    cluster.publish(Arc::new((*later).clone().changing(Some(running))));
    cluster.advance(Duration::from_secs(600));
    assert!(cluster.done.is_empty());
}

#[test]
fn a_node_that_starts_while_replication_changes_copies_though_nothing_else_is_repaired_unasked() {
    let mut cluster = Cluster::of(&[1, 2, 3], 1, manual);
    cluster.written(1, "INSERT INTO t (k, c, v) VALUES ('k', 1, 'x')", ONE);
    let replication = |factor| Replication::Simple { factor };
    let (from, to, since) = (replication(1), replication(3), Epoch(11));
    let running = ReplicationChange { keyspace: "ks".to_owned(), from, to, phase: Phase::Copying, since };
    let later = view(11, &[1, 2, 3], schema(1, &[TABLE, LISTS]));
    cluster.kill(3);
    cluster.publish(Arc::new((*later).clone().changing(Some(running))));
    cluster.advance(Duration::from_secs(60));
    assert!(cluster.done.is_empty(), "one of the nodes is away");
    // All of them start again with the view that they had, and are told nothing new.
    (1..=3).for_each(|id| cluster.restart(id));
    cluster.advance(Duration::from_secs(900));
    assert_eq!(cluster.done.values().filter(|since| **since == Epoch(11)).count(), 3);
}
