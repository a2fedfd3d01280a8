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
        counted += report.counts.counted;
        batches += report.counts.batches;
        unknown += report.counts.unknown;
        finished += report.counts.finished;
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

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = || run_counters(&Options { seconds: 4, ..Options::of_seed(3) });
    let (first, second) = (run(), run());
    assert_eq!(
        (first.hash, first.counts.counted, first.counts.batches),
        (second.hash, second.counts.counted, second.counts.batches)
    );
}
