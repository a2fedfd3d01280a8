//! Fixed seeds: whole clusters under faults, judged by all oracles. In two halves, so that they run side by side.

use sim::{Options, run};

fn clean(seeds: std::ops::RangeInclusive<u64>) {
    let (mut succeeded, mut faults) = (0, 0);
    for seed in seeds {
        let report = run(&Options::of_seed(seed));
        if let Some(failure) = report.failure {
            panic!("{}\nseed {seed}: {}\nreplay: helenus sim --seed {seed}", report.story, failure.violation());
        }
        succeeded += report.counts.succeeded;
        faults += report.faults.values().sum::<u64>();
    }
    // Nothing is proved by clusters that do not serve, or are not disturbed.
    assert!(succeeded > 10_000 && faults > 300, "{succeeded} requests under {faults} faults");
}

#[test]
fn the_first_25_seeds_are_clean() {
    clean(1..=25);
}

#[test]
fn the_next_25_seeds_are_clean() {
    clean(26..=50);
}
