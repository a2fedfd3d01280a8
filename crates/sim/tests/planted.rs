//! The oracles have teeth: each planted bug, a mutation of the production code, is caught, and the code without it is
//! clean on the same seeds. How many seeds each takes is measured by `cargo test --release --package sim --features
//! planted --test planted -- --ignored --nocapture`, whose table is that of docs/protocol/planted.md.

#![cfg(feature = "planted")]
#![allow(clippy::print_stdout, reason = "the number of seeds until each bug is caught is a result")]

use model::{Consistency, Planted};
use sim::Build;
use sim::fault::FaultStep;
use sim::planted::{Caught, catch};
use sim::story::Story;
use sim::world::World;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

/// Most bugs are caught within so many seeds: at least 60 %.
const SEEDS_MAX: u64 = 200;

/// Each bug is caught within so many seeds, or by its scenario; of the table 95 % are.
const TABLE_SEEDS_MAX: u64 = 1_000;

/// A test for each bug, by name.
macro_rules! are_caught {
    ($($name:ident: $bug:ident,)+) => {
        $(
            #[test]
            fn $name() {
                let bug = Planted::$bug;
                let caught = catch(bug, TABLE_SEEDS_MAX);
                let caught = caught.unwrap_or_else(|| panic!("{bug:?} is not caught by {TABLE_SEEDS_MAX} seeds"));
                println!("{}: caught by seed {}: {}", bug.name(), caught.seeds, caught.oracle);
            }
        )+

        #[test]
        fn every_bug_has_its_test() {
            let by_seed = [$(Planted::$bug,)+].into_iter();
            let tested: BTreeSet<String> = by_seed.chain(BY_SCENARIO).map(Planted::name).collect();
            assert_eq!(tested, Planted::ALL.into_iter().map(Planted::name).collect());
        }
    };
}

are_caught! {
    a_quorum_that_is_one_short_is_caught: QuorumMinusOne,
    a_local_level_that_counts_other_data_centers_is_caught: LocalCountsRemote,
    an_each_quorum_that_counts_data_centers_together_is_caught: EachCountsTogether,
    a_forwarding_replica_that_counts_for_all_is_caught: ForwarderCountsForAll,
    an_answer_that_counts_twice_is_caught: AnswerCountedTwice,
    a_refusal_that_counts_is_caught: RefusalCounted,
    a_hint_that_counts_is_caught: HintCounts,
    an_acknowledgement_before_the_sync_is_caught: AcknowledgeBeforeSync,
    a_stale_epoch_that_is_accepted_is_caught: StaleEpochAccepted,
    digests_that_are_ignored_are_caught: DigestIgnored,
    digests_of_two_bits_are_caught: DigestTruncated,
    digests_that_are_not_awaited_are_caught: DigestsUnawaited,
    rows_beyond_what_all_replicas_cover_are_caught: PartitionCoverageIgnored,
    a_reversed_read_without_range_deletions_is_caught: ReversedDropsDeletions,
    a_page_that_repeats_a_row_is_caught: PageRepeatsRow,
    coverage_that_is_ignored_is_caught: CoverageIgnored,
    a_range_that_is_dropped_at_a_page_boundary_is_caught: RangeDropped,
    candidates_of_one_replica_that_count_for_all_are_caught: CandidatesOfOne,
    a_read_repair_that_is_skipped_is_caught: ReadRepairSkipped,
    a_read_repair_that_is_not_awaited_is_caught: RepairUnawaited,
    a_read_repair_of_one_replica_is_caught: RepairOfOne,
    a_read_repair_that_keeps_deletions_is_caught: ReadRepairKeepsDeletions,
    a_repair_of_a_range_that_is_skipped_is_caught: RangeRepairSkipped,
    a_hint_that_is_dropped_is_caught: HintDropped,
    a_replica_that_is_late_and_gets_no_hint_is_caught: MissedUnhinted,
    a_hint_that_is_forgotten_when_sent_is_caught: HintForgottenUnacknowledged,
    hints_forgotten_with_their_page_are_caught: HintPageForgotten,
    a_repair_that_skips_a_replica_is_caught: RepairSkipsReplica,
    a_repair_that_ends_early_is_caught: RepairEndsEarly,
    a_repair_that_keeps_deletions_is_caught: RepairKeepsDeletions,
    a_repair_that_skips_a_bucket_is_caught: RepairSkipsBucket,
    a_repair_that_leaves_a_range_out_is_caught: RepairLeavesUnit,
    a_grace_that_is_ignored_is_caught: GraceIgnored,
    deletions_that_are_purged_unrepaired_are_caught: PurgedUnrepaired,
    a_schema_change_that_is_acknowledged_early_is_caught: SchemaAcknowledgedEarly,
    an_entry_decided_by_one_less_than_a_majority_is_caught: LogChosenByOneLess,
    an_accepted_entry_that_is_taken_for_decided_is_caught: LogAcceptedIsDecided,
    an_accepted_entry_that_is_not_adopted_is_caught: LogAdoptionIgnored,
    a_node_that_does_not_catch_up_is_caught: CatchUpSkipped,
    an_entry_decided_by_those_that_seem_alive_is_caught: VotersByLiveness,
    a_cluster_that_hears_those_that_it_left_behind_is_caught: FormerClusterHeard,
    a_recovery_that_is_followed_from_beyond_is_caught: RecoveryFollowedFromBeyond,
    a_switch_before_the_copy_is_caught: SwitchedUncopied,
    leftovers_of_an_old_placement_are_caught: LeftoversKept,
    a_node_that_is_dead_for_ever_is_caught: RevivedNever,
    a_change_in_progress_that_is_passed_over_is_caught: InProgressIgnored,
    a_decision_by_replicas_that_lack_the_last_change_is_caught: StaleCommitTrusted,
    a_majority_that_is_one_short_is_caught: ChosenByOneLess,
    an_acceptance_that_is_not_synced_is_caught: AcceptedUnsynced,
    a_preempted_change_that_is_denied_is_caught: PreemptionDenied,
    a_ticket_that_is_used_twice_is_caught: TicketUsedTwice,
    shards_that_are_told_of_before_they_are_synced_are_caught: CountedBeforeSync,
    an_outcome_that_is_not_asked_for_is_caught: OutcomeNotAsked,
    a_refusal_that_is_not_chosen_is_caught: RefusalNotChosen,
    a_batch_that_is_forgotten_early_is_caught: BatchForgottenEarly,
    a_batch_that_is_not_replayed_is_caught: BatchNotReplayed,
}

/// Bugs that need more than chance brings about within a few seeds; each has a scenario that brings it about.
const BY_SCENARIO: [Planted; 2] = [Planted::LogAcceptedUnsynced, Planted::OldPlacementWritten];

const CREATE: &str = "CREATE TABLE t (p int, c int, v text, PRIMARY KEY (p, c))";

/// Checks that a scenario ends well, and does not with this bug.
fn is_caught(bug: Planted, scenario: fn(Option<Planted>)) {
    scenario(None);
    assert!(catch_unwind(AssertUnwindSafe(|| scenario(Some(bug)))).is_err(), "{bug:?} is not caught");
}

/// Node 1 votes with a slow disk and loses power once node 0 knows what was decided; then it decides with node 2.
fn a_voter_loses_power(planted: Option<Planted>) {
    let mut story = Story::build(Build { planted, ..Build::plain(3) });
    story.kill(2);
    story.pass(15_000);
    let before = story.world.view(0).unwrap().epoch;
    story.fault(FaultStep::DiskSlowness(1, 300));
    story.propose(0, CREATE).unwrap();
    story.until("it is decided", |world| world.view(0).is_some_and(|view| view.epoch > before));
    story.fault(FaultStep::Crash { machine: 1, power_loss: true });
    story.kill(0);
    story.fault(FaultStep::DiskSlowness(1, 1));
    story.start(1);
    story.start(2);
    story.pass(3_000);
    story.change(1, &CREATE.replace(" t ", " u ")).unwrap();
    story.start(0);
    story.pass(10_000);
    let has_both = |world: &World, machine| {
        let tables = world.view(machine).map(|view| view.schema.tables().clone()).unwrap_or_default();
        ["t", "u"].iter().all(|name| tables.values().any(|table| &table.name == name))
    };
    assert!((0..3).all(|machine| has_both(&story.world, machine)), "one log");
}

#[test]
fn a_vote_that_is_not_synced_is_caught() {
    is_caught(Planted::LogAcceptedUnsynced, a_voter_loses_power);
}

/// The replicas of a key are raised from one to three, which waits for node 4; rows are written meanwhile, behind
/// what is copied already. Then the one that had the key before is gone.
fn replicas_are_added_while_rows_are_written(planted: Option<Planted>) {
    let mut story = Story::build(Build { planted, ..Build::plain(5) });
    let is_done =
        |world: &World| (0..5).all(|machine| world.view(machine).is_none_or(|view| view.replication_change.is_none()));
    let replicate = |factor: u32| {
        format!("ALTER KEYSPACE k WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': {factor}}}")
    };
    story.change(0, &replicate(1)).unwrap();
    story.until("there is one replica", is_done);
    story.create_table("t");
    story.change(0, &replicate(3)).unwrap();
    story.until("it is copied", |world| {
        let view = world.view(0);
        view.and_then(|view| view.replication_change.clone()).is_some_and(|change| change.phase.name() == "copying")
    });
    story.kill(4);
    story.pass(20_000);
    assert!(!is_done(&story.world), "it waits for node 4");
    let written: Vec<i32> = (0..60)
        .filter(|number| {
            let text = format!("INSERT INTO t (p, c, v) VALUES ({number}, 1, 'new')");
            story.execute(0, &text, Consistency::Quorum).is_ok()
        })
        .collect();
    assert!(written.len() >= 10, "{written:?}");
    story.start(4);
    story.until("there are three replicas", is_done);
    for machine in 0..5 {
        story.kill(machine);
        story.pass(5_000);
        let reader = (machine + 1) % 5;
        for number in &written {
            let text = format!("SELECT v FROM t WHERE p = {number}");
            assert_eq!(story.values(reader, &text, Consistency::Quorum).unwrap(), ["new"], "without node {machine}");
        }
        story.start(machine);
        story.pass(5_000);
    }
}

#[test]
fn a_write_to_the_old_placement_alone_is_caught() {
    is_caught(Planted::OldPlacementWritten, replicas_are_added_while_rows_are_written);
}

/// Prints the table of all bugs.
#[test]
#[ignore = "runs up to a thousand seeds for each bug"]
fn the_table_of_planted_bugs() {
    let (waiting, rows) = (Mutex::new(Planted::ALL.into_iter().enumerate()), Mutex::new(Vec::new()));
    let work = || {
        loop {
            let next = waiting.lock().expect("no worker panics").next();
            let Some((number, bug)) = next else { return };
            let caught = catch(bug, TABLE_SEEDS_MAX);
            eprintln!("{}: {caught:?}", bug.name());
            rows.lock().expect("no worker panics").push((number, bug, caught));
        }
    };
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(&work);
        }
    });
    let mut rows = rows.into_inner().expect("no worker panics");
    rows.sort_by_key(|(number, _, _)| *number);
    println!("| protocol | bug | what it does | seeds | caught by |\n|---|---|---|---|---|");
    for (_, bug, caught) in &rows {
        let (seeds, oracle) = match caught {
            Some(caught) => (caught.seeds.to_string(), caught.oracle),
            None => (format!("more than {TABLE_SEEDS_MAX}"), ""),
        };
        println!("| {} | `{}` | {} | {seeds} | {oracle} |", bug.protocol(), bug.name(), bug.breaks());
    }
    let within = |most: u64| {
        let is = |caught: &Option<Caught>| caught.as_ref().is_some_and(|caught| caught.seeds <= most);
        rows.iter().filter(|(_, _, caught)| is(caught)).count()
    };
    let (all, soon, late) = (rows.len(), within(SEEDS_MAX), within(TABLE_SEEDS_MAX));
    println!("{all} bugs: {soon} caught within {SEEDS_MAX} seeds, {late} within {TABLE_SEEDS_MAX}");
    assert!(late * 100 >= all * 95 && soon * 100 >= all * 60);
}
