//! The oracles have teeth: each planted bug, a mutation of the production code, is caught within 200 seeds, and the
//! code without it is clean on the same seeds.

#![cfg(feature = "planted")]
#![allow(clippy::print_stdout, reason = "the number of seeds until each bug is caught is a result")]

use node::Planted;
use sim::{Options, Report, run, run_counters, run_transactions};

const SEEDS_MAX: u64 = 200;

fn is_caught_by<C>(bug: Planted, run: impl Fn(&Options) -> Report<C>) {
    for seed in 1..=SEEDS_MAX {
        let clean = run(&Options::of_seed(seed));
        assert_eq!(clean.failure, None, "seed {seed} without any bug");
        let report = run(&Options { planted: Some(bug), ..Options::of_seed(seed) });
        if let Some(failure) = report.failure {
            println!("{}: caught by seed {seed}: {}", sim::cli::planted_name(bug), failure.violation().oracle);
            return;
        }
    }
    panic!("{bug:?} is not caught by {SEEDS_MAX} seeds");
}

fn is_caught(bug: Planted) {
    is_caught_by(bug, run);
}

#[test]
fn a_quorum_that_is_one_short_is_caught() {
    is_caught(Planted::QuorumMinusOne);
}

#[test]
fn a_local_level_that_counts_other_data_centers_is_caught() {
    is_caught(Planted::LocalCountsRemote);
}

#[test]
fn an_each_quorum_that_counts_data_centers_together_is_caught() {
    is_caught(Planted::EachCountsTogether);
}

#[test]
fn a_forwarding_replica_that_counts_for_all_is_caught() {
    is_caught(Planted::ForwarderCountsForAll);
}

#[test]
fn a_hint_that_is_dropped_is_caught() {
    is_caught(Planted::HintDropped);
}

#[test]
fn a_read_repair_that_is_skipped_is_caught() {
    is_caught(Planted::ReadRepairSkipped);
}

#[test]
fn an_acknowledgement_before_the_sync_is_caught() {
    is_caught(Planted::AcknowledgeBeforeSync);
}

#[test]
fn a_grace_that_is_ignored_is_caught() {
    is_caught(Planted::GraceIgnored);
}

#[test]
fn a_stale_epoch_that_is_accepted_is_caught() {
    is_caught(Planted::StaleEpochAccepted);
}

#[test]
fn a_range_that_is_dropped_at_a_page_boundary_is_caught() {
    is_caught(Planted::RangeDropped);
}

#[test]
fn a_repair_of_a_range_that_is_skipped_is_caught() {
    is_caught(Planted::RangeRepairSkipped);
}

#[test]
fn coverage_that_is_ignored_is_caught() {
    is_caught(Planted::CoverageIgnored);
}

#[test]
fn candidates_of_one_replica_that_count_for_all_are_caught() {
    is_caught(Planted::CandidatesOfOne);
}

#[test]
fn a_repair_that_skips_a_replica_is_caught() {
    is_caught(Planted::RepairSkipsReplica);
}

#[test]
fn a_repair_that_ends_early_is_caught() {
    is_caught(Planted::RepairEndsEarly);
}

#[test]
fn a_repair_that_keeps_deletions_is_caught() {
    is_caught(Planted::RepairKeepsDeletions);
}

#[test]
fn a_repair_that_skips_a_bucket_is_caught() {
    is_caught(Planted::RepairSkipsBucket);
}

#[test]
fn a_change_in_progress_that_is_passed_over_is_caught() {
    is_caught_by(Planted::InProgressIgnored, run_transactions);
}

#[test]
fn a_decision_by_replicas_that_lack_the_last_change_is_caught() {
    is_caught_by(Planted::StaleCommitTrusted, run_transactions);
}

#[test]
fn a_majority_that_is_one_short_is_caught() {
    is_caught_by(Planted::ChosenByOneLess, run_transactions);
}

#[test]
fn an_acceptance_that_is_not_synced_is_caught() {
    is_caught_by(Planted::AcceptedUnsynced, run_transactions);
}

#[test]
fn a_preempted_change_that_is_denied_is_caught() {
    is_caught_by(Planted::PreemptionDenied, run_transactions);
}

#[test]
fn a_ticket_that_is_used_twice_is_caught() {
    is_caught_by(Planted::TicketUsedTwice, run_counters);
}

#[test]
fn shards_that_are_told_of_before_they_are_synced_are_caught() {
    is_caught_by(Planted::CountedBeforeSync, run_counters);
}

#[test]
fn an_outcome_that_is_not_asked_for_is_caught() {
    is_caught_by(Planted::OutcomeNotAsked, run_transactions);
    is_caught_by(Planted::OutcomeNotAsked, run_counters);
}

#[test]
fn a_refusal_that_is_not_chosen_is_caught() {
    is_caught_by(Planted::RefusalNotChosen, run_transactions);
}

#[test]
fn a_forgotten_outcome_that_is_taken_for_none_is_caught() {
    is_caught_by(Planted::ForgottenTrusted, run_counters);
}

#[test]
fn a_batch_that_is_forgotten_early_is_caught() {
    is_caught_by(Planted::BatchForgottenEarly, run_counters);
}

#[test]
fn a_batch_that_is_not_replayed_is_caught() {
    is_caught_by(Planted::BatchNotReplayed, run_counters);
}
