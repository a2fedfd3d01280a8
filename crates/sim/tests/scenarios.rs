//! Told stories: what once went wrong, or must never, step by step. Each is the permanent form of a promise, where a
//! seed is evidence for one commit only.

use model::schema::Table;
use model::{Consistency, RequestError, Token, TokenRange};
use node::{RepairId, RepairOrder, RepairReport};
use sim::Build;
use sim::fault::FaultStep;
use sim::network::Stream;
use std::collections::BTreeSet;
use std::sync::Arc;

use sim::story::{Ending, Story};

const SELECT: &str = "SELECT v FROM t WHERE p = 1 AND c = 1";

fn insert(value: &str) -> String {
    format!("INSERT INTO t (p, c, v) VALUES (1, 1, '{value}')")
}

/// Three nodes that hold table `t` on all of them.
fn three_nodes() -> Story {
    let mut story = Story::of(3);
    story.create_table("t");
    story
}

fn no_hints_wait(story: &mut Story) {
    story.until("all hints are delivered", |world| (0..3).all(|machine| world.disk(machine).hints_waiting() == 0));
}

#[test]
fn every_node_serves_what_any_node_has_written() {
    let mut story = three_nodes();
    for machine in 0..3 {
        let value = format!("from {machine}");
        story.execute(machine, &insert(&value), Consistency::Quorum).unwrap();
        for reader in 0..3 {
            assert_eq!(story.values(reader, SELECT, Consistency::Quorum).unwrap(), [value.as_str()]);
        }
    }
}

#[test]
fn a_table_can_be_used_at_once_on_the_node_that_answered_its_creation() {
    let mut story = Story::of(3);
    story.change(1, "CREATE TABLE t (p int, c int, v text, PRIMARY KEY (p, c))").unwrap();
    story.execute(1, &insert("first"), Consistency::Quorum).unwrap();
}

#[test]
fn a_replica_that_was_down_gets_what_it_missed_and_holds_it_alone() {
    let mut story = three_nodes();
    story.kill(2);
    story.execute(0, &insert("missed"), Consistency::Quorum).unwrap();
    story.pass(5_000);
    story.start(2);
    no_hints_wait(&mut story);
    story.until("the hint is applied", |world| !world.disk(2).tables().is_empty());
    story.pass(2_000);
    story.kill(0);
    story.kill(1);
    assert_eq!(story.values(2, SELECT, Consistency::One).unwrap(), ["missed"]);
}

#[test]
fn a_hint_survives_the_power_loss_of_its_coordinator() {
    let mut story = three_nodes();
    story.kill(2);
    story.execute(0, &insert("missed"), Consistency::Quorum).unwrap();
    story.until("the hint is kept", |world| world.disk(0).hints_waiting() == 1 && world.disk(0).unsynced() == 0);
    story.fault(FaultStep::Crash { machine: 0, power_loss: true });
    story.pass(3_000);
    story.start(2);
    story.start(0);
    no_hints_wait(&mut story);
    story.pass(2_000);
    story.kill(0);
    story.kill(1);
    assert_eq!(story.values(2, SELECT, Consistency::One).unwrap(), ["missed"]);
}

#[test]
fn hints_that_a_full_disk_could_not_forget_are_forgotten_later() {
    let mut story = three_nodes();
    story.kill(2);
    story.execute(0, &insert("missed"), Consistency::Quorum).unwrap();
    story.until("the hint is kept", |world| world.disk(0).hints_waiting() == 1);
    story.fault(FaultStep::DiskFull(0, true));
    story.start(2);
    // Delivered long before, but not to be forgotten yet.
    story.pass(10_000);
    assert_eq!(story.world.disk(0).hints_waiting(), 1);
    story.fault(FaultStep::DiskFull(0, false));
    no_hints_wait(&mut story);
}

#[test]
fn a_target_that_takes_on_little_at_a_time_gets_all_its_hints() {
    let mut story = Story::build(Build { replica_ops_max: 4, ..Build::plain(3) });
    story.create_table("t");
    story.kill(2);
    for number in 0..100 {
        story.execute(0, &insert(&number.to_string()), Consistency::Quorum).unwrap();
    }
    story.until("the hints are kept", |world| world.disk(0).hints_waiting() == 100);
    story.start(2);
    no_hints_wait(&mut story);
}

/// Six nodes, the even ones in one data centre and the odd ones in the other, with table `t` on all of them.
fn two_data_centers() -> Story {
    let mut story = Story::build(Build { data_centers: 2, ..Build::plain(6) });
    story.create_table("t");
    story
}

#[test]
fn data_centers_that_are_cut_off_from_each_other_serve_themselves_and_agree_afterwards() {
    let mut story = two_data_centers();
    let across = |from: usize| (0..6).filter(move |to| (from + to) % 2 == 1).map(move |to| (from, to));
    let links: Vec<(usize, usize)> = (0..6).flat_map(across).collect();
    story.execute(0, &insert("both"), Consistency::EachQuorum).unwrap();
    story.fault(FaultStep::Block(links.clone()));
    for (machine, value) in [(0, "even"), (1, "odd")] {
        story.execute(machine, &insert(value), Consistency::LocalQuorum).unwrap();
        assert_eq!(story.values(machine + 2, SELECT, Consistency::LocalQuorum).unwrap(), [value]);
        assert!(story.execute(machine, &insert("neither"), Consistency::EachQuorum).is_err());
        assert!(story.values(machine, SELECT, Consistency::Quorum).is_err(), "three of six are no quorum");
        story.execute(machine, &insert(value), Consistency::LocalQuorum).unwrap();
    }
    story.fault(FaultStep::Open(links));
    story.until("all hints are delivered", |world| (0..6).all(|machine| world.disk(machine).hints_waiting() == 0));
    story.pass(2_000);
    // The later one, wherever it is read.
    for machine in 0..6 {
        assert_eq!(story.values(machine, SELECT, Consistency::LocalOne).unwrap(), ["odd"], "on node {machine}");
    }
}

#[test]
fn a_replica_that_dies_before_it_forwards_costs_no_write() {
    let mut story = two_data_centers();
    // Of each five writes one or two are sent to it to be passed on.
    story.kill(3);
    for number in 0..10 {
        story.execute(0, &insert(&number.to_string()), Consistency::EachQuorum).unwrap();
    }
    assert_eq!(story.values(1, SELECT, Consistency::LocalQuorum).unwrap(), ["9"]);
}

#[test]
fn what_any_has_acknowledged_arrives_with_its_hints_though_its_coordinator_lost_power() {
    let mut story = three_nodes();
    story.kill(1);
    story.kill(2);
    story.execute(0, &insert("kept"), Consistency::Any).unwrap();
    story.until("the hints are kept", |world| world.disk(0).hints_waiting() == 2 && world.disk(0).unsynced() == 0);
    story.fault(FaultStep::Crash { machine: 0, power_loss: true });
    (0..3).for_each(|machine| story.start(machine));
    no_hints_wait(&mut story);
    story.pass(2_000);
    for machine in 0..3 {
        assert_eq!(story.values(machine, SELECT, Consistency::One).unwrap(), ["kept"], "on node {machine}");
    }
}

#[test]
fn what_was_acknowledged_survives_a_blackout() {
    let mut story = three_nodes();
    for number in 0..20 {
        story.execute(number % 3, &insert(&number.to_string()), Consistency::Quorum).unwrap();
    }
    for machine in 0..3 {
        story.fault(FaultStep::Crash { machine, power_loss: true });
    }
    story.pass(1_000);
    (0..3).for_each(|machine| story.start(machine));
    story.until("all see each other", |world| (0..3).all(|machine| world.view(machine).is_some()));
    story.pass(5_000);
    assert_eq!(story.values(1, SELECT, Consistency::Quorum).unwrap(), ["19"]);
}

#[test]
fn what_a_quorum_read_has_seen_stays_seen() {
    let mut story = three_nodes();
    story.execute(0, &insert("old"), Consistency::All).unwrap();
    // Only node 0 gets the new value; nobody is told that it was written.
    story.isolate(0, true);
    let outcome = story.execute(0, &insert("new"), Consistency::Quorum);
    assert!(outcome.is_err(), "{outcome:?}");
    story.isolate(0, false);
    story.until("node 0 is back", |world| world.view(0).is_some());
    story.pass(500);
    // Node 0 reads itself and one other, and repairs it before it answers.
    assert_eq!(story.values(0, SELECT, Consistency::Quorum).unwrap(), ["new"]);
    story.kill(0);
    story.pass(10_000);
    for reader in [1, 2] {
        assert_eq!(story.values(reader, SELECT, Consistency::Quorum).unwrap(), ["new"]);
    }
}

#[test]
fn a_write_through_a_node_that_missed_the_drop_is_not_acknowledged() {
    let mut story = three_nodes();
    let into_2 = vec![(0, 2), (1, 2)];
    story.fault(FaultStep::Clog(Stream::Control, into_2, 8_000_000));
    story.change(0, "DROP TABLE t").unwrap();
    let outcome = story.execute(2, &insert("late"), Consistency::Quorum);
    assert!(outcome.is_err(), "{outcome:?}");
}

#[test]
fn a_write_that_was_under_way_when_its_table_was_dropped_is_not_called_impossible() {
    let mut story = three_nodes();
    // Node 0 applies the write; the others do not answer before the table is gone.
    story.fault(FaultStep::Clog(Stream::Data, vec![(0, 1), (0, 2)], 1_500_000));
    let write = story.send(0, &insert("doomed"), Consistency::Quorum).unwrap();
    story.change(1, "DROP TABLE t").unwrap();
    match story.ending(write) {
        Ending::Replied(Err(error)) => assert_eq!(error.applied(), model::error::Applied::Maybe, "{error}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_schema_change_that_no_majority_has_applied_is_not_acknowledged() {
    let mut story = three_nodes();
    story.kill(2);
    story.pass(15_000);
    let before = story.world.view(0).unwrap().epoch;
    // Node 1 votes, and dies before it has applied what was decided; then node 0 is alone.
    story.fault(FaultStep::DiskSlowness(1, 300));
    let change = story.propose(0, "DROP TABLE t").unwrap();
    story.until("it is decided", |world| world.view(0).is_some_and(|view| view.epoch > before));
    assert_eq!(story.world.view(1).unwrap().epoch, before, "node 1 has not applied it");
    story.kill(1);
    match story.ending(change) {
        Ending::Decided(Err(RequestError::SchemaTimeout(_))) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn two_tables_of_one_name_created_at_once_have_one_winner() {
    let mut story = Story::of(3);
    let text = "CREATE TABLE t (p int, c int, v text, PRIMARY KEY (p, c))";
    let changes: Vec<_> = (0..3).map(|machine| story.propose(machine, text).unwrap()).collect();
    let (mut won, mut lost) = (0, 0);
    for change in changes {
        match story.ending(change) {
            Ending::Decided(Ok(_)) => won += 1,
            Ending::Decided(Err(RequestError::AlreadyExists { .. })) => lost += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((won, lost), (1, 2));
}

#[test]
fn a_later_write_wins_although_the_clock_was_set_back_and_the_node_restarted() {
    let mut story = three_nodes();
    story.execute(0, &insert("earlier"), Consistency::All).unwrap();
    story.kill(0);
    story.fault(FaultStep::Jump(0, -3_600_000_000));
    story.start(0);
    story.until("node 0 serves", |world| world.view(0).is_some());
    story.pass(5_000);
    story.execute(0, &insert("later"), Consistency::All).unwrap();
    assert_eq!(story.values(1, SELECT, Consistency::Quorum).unwrap(), ["later"]);
}

#[test]
fn two_of_three_nodes_serve_while_the_third_stands_still() {
    let mut story = three_nodes();
    story.fault(FaultStep::Pause(2, 20_000_000));
    for number in 0..10 {
        let value = number.to_string();
        story.execute(number % 2, &insert(&value), Consistency::Quorum).unwrap();
        assert_eq!(story.values((number + 1) % 2, SELECT, Consistency::Quorum).unwrap(), [value]);
    }
}

const DELETE: &str = "DELETE FROM t WHERE p = 1 AND c = 1";

/// All clocks pass the grace of the tables, and an hour.
fn pass_the_grace(story: &mut Story) {
    for machine in 0..3 {
        story.fault(FaultStep::Jump(machine, (864_000 + 3_600) * 1_000_000));
    }
}

/// Everything that is garbage on a machine goes.
fn sweep(story: &mut Story, machine: usize) {
    for table in story.world.disk(machine).tables() {
        assert!(story.world.sweep(machine, table.id, Token::MINIMUM..=Token(i64::MAX)).is_some());
    }
}

fn records(story: &Story, machine: usize) -> usize {
    let disk = story.world.disk(machine);
    let partitions = |table: &Arc<Table>| disk.partitions(table.id).len();
    disk.tables().iter().map(partitions).sum()
}

#[test]
fn replicas_that_have_purged_and_others_agree_that_the_row_is_gone() {
    let mut story = three_nodes();
    story.execute(0, &insert("old"), Consistency::All).unwrap();
    story.execute(1, DELETE, Consistency::All).unwrap();
    pass_the_grace(&mut story);
    sweep(&mut story, 0);
    assert_ne!(records(&story, 0), 0, "nothing is purged before it is repaired");
    repair(&mut story, 0, 7);
    for swept in 0..3 {
        sweep(&mut story, swept);
        assert_eq!(records(&story, swept), 0, "nothing is left there");
        for reader in 0..3 {
            assert!(story.values(reader, SELECT, Consistency::All).unwrap().is_empty());
            assert!(story.values(reader, SELECT, Consistency::Quorum).unwrap().is_empty());
        }
        assert_eq!(records(&story, swept), 0, "no read has brought the tombstone back");
    }
}

#[test]
fn a_deletion_in_its_grace_is_purged_nowhere() {
    let mut story = three_nodes();
    story.kill(2);
    story.execute(0, &insert("old"), Consistency::Quorum).unwrap();
    story.start(2);
    no_hints_wait(&mut story);
    story.isolate(2, true);
    story.execute(0, DELETE, Consistency::Quorum).unwrap();
    (0..3).for_each(|machine| sweep(&mut story, machine));
    story.isolate(2, false);
    story.pass(2_000);
    for reader in 0..3 {
        assert!(story.values(reader, SELECT, Consistency::Quorum).unwrap().is_empty());
    }
}

#[test]
fn a_hint_older_than_the_grace_does_not_bring_back_what_was_deleted_since() {
    let mut story = three_nodes();
    // Nodes 0 and 2 do not reach each other: the write waits as a hint on node 0.
    story.fault(FaultStep::Block(vec![(0, 2), (2, 0)]));
    story.execute(0, &insert("old"), Consistency::Quorum).unwrap();
    story.until("the hint is kept", |world| world.disk(0).hints_waiting() == 1);
    // Node 1 reaches both: the deletion is everywhere in time.
    story.execute(1, DELETE, Consistency::All).unwrap();
    pass_the_grace(&mut story);
    repair(&mut story, 1, 7);
    (0..3).for_each(|machine| sweep(&mut story, machine));
    story.fault(FaultStep::Open(vec![(0, 2), (2, 0)]));
    no_hints_wait(&mut story);
    story.pass(2_000);
    for reader in 0..3 {
        assert!(story.values(reader, SELECT, Consistency::One).unwrap().is_empty(), "on node {reader}");
        assert_eq!(records(&story, reader), 0);
    }
}

/// A node repairs everything that there is.
fn repair(story: &mut Story, machine: usize, id: u128) {
    let tables = story.world.view(machine).expect("it has joined").schema.tables().keys().copied().collect();
    let (ranges, data_centers) = (vec![TokenRange::ALL], BTreeSet::new());
    let order = RepairOrder { id: RepairId(id), tables, ranges, data_centers, preview: false };
    assert!(story.world.repair(machine, order));
    let succeeded =
        move |report: &RepairReport| report.id == RepairId(id) && report.state == node::RepairState::Succeeded;
    story.until("the repair succeeds", |world| world.repairs(machine).reports.iter().any(succeeded));
}

/// A node is away while a row is deleted, and for longer than any grace. The others sweep; then it comes back. What
/// each of them holds of the row afterwards.
fn away_for_longer_than_the_grace(mode: &str) -> Vec<Vec<String>> {
    const DAYS: i64 = 24 * 60 * 60 * 1_000_000;
    let mut story = three_nodes();
    story.change(0, &format!("ALTER TABLE t WITH tombstone_gc = {{'mode': '{mode}'}}")).expect("it is changed");
    story.execute(0, &insert("deleted"), Consistency::All).expect("all are alive");
    story.kill(2);
    story.execute(0, "DELETE FROM t WHERE p = 1 AND c = 1", Consistency::Quorum).expect("two are alive");
    story.pass(5_000);
    (0..3).for_each(|machine| story.fault(FaultStep::Jump(machine, 11 * DAYS)));
    story.pass(1_000);
    (0..2).for_each(|machine| sweep(&mut story, machine));
    story.start(2);
    // The hint has outlived the grace and is discarded.
    no_hints_wait(&mut story);
    story.pass(5_000);
    repair(&mut story, 1, 7);
    (0..3).map(|machine| story.values(machine, SELECT, Consistency::One).expect("it has its own")).collect()
}

#[test]
fn a_node_away_for_longer_than_any_grace_brings_nothing_back() {
    assert_eq!(away_for_longer_than_the_grace("repair"), vec![Vec::<String>::new(); 3]);
    // What it costs to let the grace alone decide: the deletion is forgotten, and the repair spreads what is left.
    assert_eq!(away_for_longer_than_the_grace("timeout"), vec![vec!["deleted".to_owned()]; 3]);
}

#[test]
fn a_lost_disk_is_filled_again_by_repair() {
    let mut story = three_nodes();
    for number in 0..200 {
        let insert = format!("INSERT INTO t (p, c, v) VALUES (1, {number}, 'value {number}')");
        story.execute(0, &insert, Consistency::All).unwrap();
    }
    story.kill(2);
    story.world.lose_tables(2);
    story.start(2);
    story.pass(5_000);
    const ALL: &str = "SELECT v FROM t WHERE p = 1";
    assert!(story.values(2, ALL, Consistency::One).unwrap().is_empty());
    repair(&mut story, 0, 7);
    assert_eq!(story.values(2, ALL, Consistency::One).unwrap().len(), 200);
}
