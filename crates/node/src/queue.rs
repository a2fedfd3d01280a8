//! When a queue takes no more: by how long what comes would wait in it.
//!
//! A queue that is bounded by its length alone holds, when work is dear, more than can be done before its requests time
//! out: then all work is for nobody, and a node that is asked for more than it can do does nothing at all. A bound on
//! the age of the oldest that waits comes too late: at ten times the load ten times too much is in the queue when the
//! first of it is old. So the rule is about the one that comes: it waits for as long as those before it take.
//!
//! Invariants:
//! * O1: what would be begun only after its time is over, or after longer than the operator allows, is refused when it
//!   comes, before anything was done for it.
//! * O2: a few are always taken, however long each takes: work that is slow but seldom is no overload.
//! * O3: a pause of whoever works is no overload: how long a pause was says nothing of how long the next one waits.

use std::time::Duration;

/// For how many requests the mean of before counts beside each new one: in the mean that learns soon that work has
/// become dear, and in the one that does not forget at once that some of it is.
const WEIGHTS: [u64; 2] = [64, 1_024];

/// How long a queue takes for one of those that wait in it, lately: the time in which somebody waited, divided by those
/// that were begun in it. The longer of two moving means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServiceTime {
    nanos: [u64; 2],
}

impl ServiceTime {
    /// As [`ServiceTime::nanos`] says.
    #[must_use]
    pub fn from_nanos(nanos: u64) -> ServiceTime {
        ServiceTime { nanos: [nanos; 2] }
    }

    /// So many were begun within `elapsed`, in which there was something to do all the time.
    pub fn note(&mut self, elapsed: Duration, begun: u64) {
        let elapsed = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
        for (mean, weight) in self.nanos.iter_mut().zip(WEIGHTS) {
            *mean = mean.saturating_mul(weight).saturating_add(elapsed) / weight.saturating_add(begun);
        }
    }

    /// For one, in nanoseconds.
    #[must_use]
    pub fn nanos(self) -> u64 {
        self.nanos[0].max(self.nanos[1])
    }

    /// For so many.
    #[must_use]
    pub fn of(self, count: u64) -> Duration {
        Duration::from_nanos(self.nanos().saturating_mul(count))
    }
}

/// What a queue takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLimit {
    /// For how long one may wait.
    pub wait_max: Duration,
    /// So many may always wait.
    pub always: u64,
}

impl QueueLimit {
    /// True when one that must be done within `timeout` can wait behind `waiting` others, of which each takes so long.
    #[must_use]
    pub fn has_room(self, waiting: u64, service: ServiceTime, timeout: Duration) -> bool {
        waiting < self.always || service.of(waiting) <= self.wait_max.min(timeout)
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
