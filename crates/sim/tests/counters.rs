//! Counters and logged batches in whole clusters under faults: sums are right, and batches whole.

use sim::{Options, run_counters};

fn clean(seeds: std::ops::RangeInclusive<u64>) {
    let (mut counted, mut batches, mut unknown, mut finished, mut faults) = (0, 0, 0, 0, 0);
    for seed in seeds {
        let report = run_counters(&Options::of_seed(seed));
        if let Some(failure) = report.failure {
            let violation = failure.violation();
            panic!("{}\nseed {seed}: {violation}\nreplay: helenus sim --counters --seed {seed}", report.story);
        }
        counted += report.counted;
        batches += report.batches;
        unknown += report.unknown;
        finished += report.finished;
        faults += report.faults.values().sum::<u64>();
    }
    // Nothing is proved by clusters that count nothing, or are not disturbed, or leave nothing to finish.
    let all = format!("{counted} counted, {batches} batches, {unknown} unknown, {finished} finished, {faults} faults");
    assert!(counted > 1_000 && batches > 300 && unknown > 20 && finished > 5 && faults > 30, "{all}");
}

#[test]
fn the_first_8_seeds_are_right() {
    clean(1..=8);
}

#[test]
fn the_next_8_seeds_are_right() {
    clean(9..=16);
}

#[cfg(feature = "planted")]
mod planted {
    #![allow(clippy::print_stdout, reason = "the number of seeds until each bug is caught is a result")]

    use node::Planted;
    use sim::{Options, run_counters};

    const SEEDS_MAX: u64 = 200;

    fn is_caught(bug: Planted) {
        for seed in 1..=SEEDS_MAX {
            let report = run_counters(&Options { planted: Some(bug), ..Options::of_seed(seed) });
            if let Some(failure) = report.failure {
                println!("{}: caught by seed {seed}: {}", sim::cli::planted_name(bug), failure.violation().oracle);
                let clean = run_counters(&Options::of_seed(seed));
                assert_eq!(clean.failure, None, "seed {seed} without any bug");
                return;
            }
        }
        panic!("{bug:?} is not caught by {SEEDS_MAX} seeds");
    }

    #[test]
    fn a_ticket_that_is_used_twice_is_caught() {
        is_caught(Planted::TicketUsedTwice);
    }

    #[test]
    fn shards_that_are_told_of_before_they_are_synced_are_caught() {
        is_caught(Planted::CountedBeforeSync);
    }

    #[test]
    fn a_batch_that_is_forgotten_early_is_caught() {
        is_caught(Planted::BatchForgottenEarly);
    }

    #[test]
    fn a_batch_that_is_not_replayed_is_caught() {
        is_caught(Planted::BatchNotReplayed);
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = || run_counters(&Options { seconds: 4, ..Options::of_seed(3) });
    let (first, second) = (run(), run());
    assert_eq!((first.hash, first.counted, first.batches), (second.hash, second.counted, second.batches));
}
