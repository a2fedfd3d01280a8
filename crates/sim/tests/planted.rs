//! The oracles have teeth: each planted bug, a mutation of the production code, is caught, and the code without it is
//! clean on the same seeds. How many seeds each takes is measured by `cargo test --release --package sim --features
//! planted --test planted -- --ignored --nocapture`, whose table is that of docs/protocol/planted.md.

#![cfg(feature = "planted")]
#![allow(clippy::print_stdout, reason = "the number of seeds until each bug is caught is a result")]

use model::Planted;
use sim::planted::{Caught, catch};
use std::sync::Mutex;

/// Each bug is caught within so many seeds.
const SEEDS_MAX: u64 = 200;

/// Seeds of the table: 95 % of the bugs are caught within all of them, 60 % within [`SEEDS_MAX`].
const TABLE_SEEDS_MAX: u64 = 1_000;

/// A test for each bug, by name.
macro_rules! are_caught {
    ($($name:ident: $bug:ident,)+) => {
        $(
            #[test]
            fn $name() {
                let bug = Planted::$bug;
                let caught = catch(bug, SEEDS_MAX, true);
                let caught = caught.unwrap_or_else(|| panic!("{bug:?} is not caught by {SEEDS_MAX} seeds"));
                println!("{}: caught by seed {}: {}", bug.name(), caught.seeds, caught.oracle);
            }
        )+

        #[test]
        fn every_bug_has_its_test() {
            assert_eq!([$(Planted::$bug,)+], Planted::ALL);
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
    a_vote_that_is_not_synced_is_caught: LogAcceptedUnsynced,
    an_accepted_entry_that_is_taken_for_decided_is_caught: LogAcceptedIsDecided,
    an_accepted_entry_that_is_not_adopted_is_caught: LogAdoptionIgnored,
    a_node_that_does_not_catch_up_is_caught: CatchUpSkipped,
    an_entry_decided_by_those_that_seem_alive_is_caught: VotersByLiveness,
    a_cluster_that_hears_those_that_it_left_behind_is_caught: FormerClusterHeard,
    a_recovery_that_is_followed_from_beyond_is_caught: RecoveryFollowedFromBeyond,
    a_write_to_the_old_placement_alone_is_caught: OldPlacementWritten,
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

/// Prints the table of all bugs.
#[test]
#[ignore = "runs up to a thousand seeds for each bug"]
fn the_table_of_planted_bugs() {
    let (waiting, rows) = (Mutex::new(Planted::ALL.into_iter().enumerate()), Mutex::new(Vec::new()));
    let work = || {
        loop {
            let next = waiting.lock().expect("no worker panics").next();
            let Some((number, bug)) = next else { return };
            let caught = catch(bug, TABLE_SEEDS_MAX, false);
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
