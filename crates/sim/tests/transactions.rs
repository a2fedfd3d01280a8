//! Transactions in whole clusters under faults: every history is linearizable.

use sim::{Options, run_transactions};

fn clean(seeds: std::ops::RangeInclusive<u64>) {
    let (mut decided, mut unknown, mut faults) = (0, 0, 0);
    for seed in seeds {
        let report = run_transactions(&Options::of_seed(seed));
        if let Some(failure) = report.failure {
            let violation = failure.violation();
            panic!("{}\nseed {seed}: {violation}\nreplay: helenus sim --transactions --seed {seed}", report.story);
        }
        decided += report.counts.decided;
        unknown += report.counts.unknown;
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
    assert_eq!(
        (first.hash, first.counts.checked, first.counts.unknown),
        (second.hash, second.counts.checked, second.counts.unknown)
    );
}
