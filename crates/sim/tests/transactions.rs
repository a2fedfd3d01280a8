//! Transactions in whole clusters under faults: every history is linearizable; and each planted bug in their protocol
//! is caught, while the code without it is clean on the same seeds.

use sim::{Options, run_transactions};

fn clean(seeds: std::ops::RangeInclusive<u64>) {
    let (mut decided, mut unknown, mut faults) = (0, 0, 0);
    for seed in seeds {
        let report = run_transactions(&Options::of_seed(seed));
        if let Some(failure) = report.failure {
            let violation = failure.violation();
            panic!("{}\nseed {seed}: {violation}\nreplay: helenus sim --transactions --seed {seed}", report.story);
        }
        decided += report.decided;
        unknown += report.unknown;
        faults += report.faults.values().sum::<u64>();
    }
    // Nothing is proved by clusters that decide nothing, or are not disturbed.
    assert!(decided > 1_000 && unknown > 5 && faults > 30, "{decided} decided, {unknown} not, {faults} faults");
}

#[test]
fn the_first_8_seeds_are_linearizable() {
    clean(1..=8);
}

#[test]
fn the_next_8_seeds_are_linearizable() {
    clean(9..=16);
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = || run_transactions(&Options { seconds: 4, ..Options::of_seed(3) });
    let (first, second) = (run(), run());
    assert_eq!((first.hash, first.checked, first.unknown), (second.hash, second.checked, second.unknown));
}

#[cfg(feature = "planted")]
mod planted {
    #![allow(clippy::print_stdout, reason = "the number of seeds until each bug is caught is a result")]

    use super::{Options, run_transactions};
    use node::Planted;

    const SEEDS_MAX: u64 = 200;

    fn is_caught(bug: Planted) {
        for seed in 1..=SEEDS_MAX {
            let report = run_transactions(&Options { planted: Some(bug), ..Options::of_seed(seed) });
            if let Some(failure) = report.failure {
                let clean = run_transactions(&Options::of_seed(seed));
                assert_eq!(clean.failure, None, "seed {seed} without any bug");
                println!("{}: caught by seed {seed}: {}", sim::cli::planted_name(bug), failure.violation().oracle);
                return;
            }
        }
        panic!("{bug:?} is not caught by {SEEDS_MAX} seeds");
    }

    #[test]
    fn a_change_in_progress_that_is_passed_over_is_caught() {
        is_caught(Planted::InProgressIgnored);
    }

    #[test]
    fn a_decision_by_replicas_that_lack_the_last_change_is_caught() {
        is_caught(Planted::StaleCommitTrusted);
    }

    #[test]
    fn a_majority_that_is_one_short_is_caught() {
        is_caught(Planted::ChosenByOneLess);
    }

    #[test]
    fn an_acceptance_that_is_not_synced_is_caught() {
        is_caught(Planted::AcceptedUnsynced);
    }

    #[test]
    fn a_preempted_change_that_is_denied_is_caught() {
        is_caught(Planted::PreemptionDenied);
    }
}
