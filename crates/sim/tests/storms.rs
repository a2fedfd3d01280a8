//! Storms of schema changes in whole clusters under faults, and recoveries of the metadata log: one history.

use sim::{Options, run_storms};

fn clean(seeds: std::ops::RangeInclusive<u64>) {
    let (mut acknowledged, mut followed, mut left_behind, mut faults) = (0, 0, 0, 0);
    for seed in seeds {
        let report = run_storms(&Options::of_seed(seed));
        if let Some(failure) = report.failure {
            let violation = failure.violation();
            panic!("{}\nseed {seed}: {violation}\nreplay: helenus sim --storms --seed {seed}", report.story);
        }
        acknowledged += report.counts.acknowledged;
        followed += report.counts.followed;
        left_behind += report.counts.left_behind;
        faults += report.faults.values().sum::<u64>();
    }
    // Nothing is proved by clusters that change nothing, or are not disturbed, or lose nobody.
    let all = format!("{acknowledged} acknowledged, {followed} followed, {left_behind} left behind, {faults} faults");
    assert!(acknowledged > 500 && followed > 20 && left_behind > 0 && faults > 60, "{all}");
}

#[test]
fn the_first_12_seeds_have_one_history() {
    clean(1..=12);
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = || run_storms(&Options { seconds: 4, ..Options::of_seed(3) });
    let (first, second) = (run(), run());
    assert_eq!((first.hash, first.counts.acknowledged), (second.hash, second.counts.acknowledged));
}
