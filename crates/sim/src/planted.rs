//! How many seeds it takes until a planted bug is caught: the measure of what the oracles are worth.

use crate::stage::{Failure, Options};
use crate::{run, run_counters, run_storms, run_transactions};
use model::Planted;

/// A planted bug was caught.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caught {
    /// Seeds that it took, from seed 1 on.
    pub seeds: u64,
    /// What caught it.
    pub oracle: &'static str,
}

/// What a run of the kind that the bug concerns comes to.
fn failure(bug: Planted, planted: Option<Planted>, seed: u64) -> Option<Failure> {
    let options = Options { planted, ..Options::of_seed(seed) };
    match bug.protocol() {
        "transactions" | "retry tokens" => run_transactions(&options).failure,
        "counters" | "batches" => run_counters(&options).failure,
        "recovery" => run_storms(&options).failure,
        _ => run(&options).failure,
    }
}

/// Runs the seeds from 1 on with `bug` until one fails, at most so many, and that one without the bug too.
///
/// # Panics
/// When the code without the bug fails.
#[must_use]
pub fn catch(bug: Planted, seeds_max: u64) -> Option<Caught> {
    (1..=seeds_max).find_map(|seed| {
        let caught = failure(bug, Some(bug), seed);
        if caught.is_some() {
            assert_eq!(failure(bug, None, seed), None, "seed {seed} without any bug");
        }
        caught.map(|failure| Caught { seeds: seed, oracle: failure.violation().oracle })
    })
}
