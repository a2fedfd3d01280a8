//! How long reads take: of a table, to know when an answer is late; of a replica, to ask the quicker ones first.
//!
//! Invariant: both are bounded and forget: a table by halving its counts, a replica by time, so that one that was slow
//! is asked again.

use model::{Instant, NodeId};
use std::collections::BTreeMap;
use std::time::Duration;

/// Buckets: four for each doubling of a duration in microseconds.
const BUCKETS: usize = 128;

/// Reads that must have been counted before a percentile is taken for one.
const SAMPLES_MIN: u32 = 64;

/// At so many all counts are halved.
const SAMPLES_MAX: u32 = 8_192;

/// A histogram of durations, of about 19 % precision, in which what is new weighs more.
#[derive(Clone, Debug)]
pub(crate) struct Latencies {
    counts: [u32; BUCKETS],
    total: u32,
}

impl Default for Latencies {
    fn default() -> Latencies {
        Latencies { counts: [0; BUCKETS], total: 0 }
    }
}

/// The bucket of a duration.
fn bucket(micros: u64) -> usize {
    let micros = micros.max(4);
    let octave = micros.ilog2() as usize;
    let quarter = (micros >> (octave - 2)) as usize & 3;
    (octave * 4 + quarter).min(BUCKETS - 1)
}

/// The first duration in microseconds that is above all of a bucket.
fn above(bucket: usize) -> u64 {
    let (octave, quarter) = (bucket / 4, bucket % 4);
    (5 + quarter as u64) << octave >> 2
}

impl Latencies {
    /// Counts a read.
    pub(crate) fn note(&mut self, latency: Duration) {
        if self.total >= SAMPLES_MAX {
            self.counts.iter_mut().for_each(|count| *count /= 2);
            self.total = self.counts.iter().sum();
        }
        self.counts[bucket(latency.as_micros() as u64)] += 1;
        self.total += 1;
    }

    /// How long `percentile` of a hundred reads take at most; `None` while too few are known.
    pub(crate) fn percentile(&self, percentile: f64) -> Option<Duration> {
        if self.total < SAMPLES_MIN {
            return None;
        }
        let wanted = (f64::from(self.total) * percentile / 100.0).ceil();
        let mut counted = 0;
        let found = self.counts.iter().position(|count| {
            counted += count;
            f64::from(counted) >= wanted
        });
        Some(Duration::from_micros(above(found.unwrap_or(BUCKETS - 1))))
    }
}

/// What is known of a replica's answers.
#[derive(Clone, Copy, Debug)]
struct Replica {
    /// A moving average, in microseconds.
    mean: u64,
    last: Instant,
}

/// What is known of a replica counts for so long after its last answer.
const REMEMBERED: Duration = Duration::from_secs(10);

/// Replicas that differ by less are alike, in microseconds.
const ALIKE_MICROS: u64 = 1_000;

/// How long replicas take to answer reads.
#[derive(Debug, Default)]
pub(crate) struct ReplicaLatencies {
    replicas: BTreeMap<NodeId, Replica>,
}

impl ReplicaLatencies {
    /// `node` has answered a read after `latency`, or has not answered it yet.
    pub(crate) fn note(&mut self, node: NodeId, latency: Duration, now: Instant) {
        let micros = latency.as_micros() as u64;
        let known = self.replicas.entry(node).or_insert(Replica { mean: micros, last: now });
        if known.last + REMEMBERED < now {
            known.mean = micros;
        }
        // An eighth of what is new: with the wall of one slow answer a replica is not slow yet.
        known.mean = (known.mean * 7 + micros) / 8;
        known.last = now;
    }

    /// Forgets nodes for which it is false.
    pub(crate) fn retain(&mut self, is_member: impl Fn(NodeId) -> bool) {
        self.replicas.retain(|node, _| is_member(*node));
    }

    fn mean(&self, node: NodeId, now: Instant) -> Option<u64> {
        self.replicas.get(&node).filter(|known| known.last + REMEMBERED >= now).map(|known| known.mean)
    }

    /// Those of `nodes` that take more than twice as long as the quickest of them. One of which nothing is known is
    /// not slow.
    pub(crate) fn slow(&self, nodes: &[NodeId], now: Instant) -> Vec<NodeId> {
        let quickest = nodes.iter().filter_map(|node| self.mean(*node, now)).min().unwrap_or(0);
        let is_slow = |node: &NodeId| self.mean(*node, now).is_some_and(|mean| mean > quickest * 2 + ALIKE_MICROS);
        nodes.iter().copied().filter(is_slow).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_ascend_and_hold_what_they_say() {
        for micros in (4..5_000u64).chain([1 << 20, (1 << 31) - 1]) {
            let bucket = bucket(micros);
            assert!(micros < above(bucket), "{micros}");
            assert!(micros >= above(bucket - 1) || micros < 5, "{micros}");
        }
        assert_eq!(bucket(0), bucket(4));
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn percentiles_are_those_of_what_was_noted_and_old_ones_fade() {
        let mut latencies = Latencies::default();
        (1..=63).for_each(|_| latencies.note(Duration::from_millis(1)));
        assert_eq!(latencies.percentile(99.0), None, "too few");
        (64..=1_000).for_each(|_| latencies.note(Duration::from_millis(1)));
        (1..=30).for_each(|_| latencies.note(Duration::from_millis(100)));
        let millis = |latencies: &Latencies, of| latencies.percentile(of).unwrap().as_millis();
        assert!((1..=2).contains(&millis(&latencies, 50.0)));
        assert!((100..=125).contains(&millis(&latencies, 99.0)));
        (1..=40_000).for_each(|_| latencies.note(Duration::from_millis(10)));
        assert!((10..=12).contains(&millis(&latencies, 5.0)));
    }

    #[test]
    fn a_replica_that_is_much_slower_than_another_is_slow_until_that_is_forgotten() {
        let (quick, slow, unknown) = (NodeId(1), NodeId(2), NodeId(3));
        let nodes = [quick, slow, unknown];
        let mut latencies = ReplicaLatencies::default();
        let now = Instant(1_000_000);
        for _ in 0..20 {
            latencies.note(quick, Duration::from_millis(2), now);
            latencies.note(slow, Duration::from_millis(3), now);
        }
        assert_eq!(latencies.slow(&nodes, now), [], "not much slower");
        (0..20).for_each(|_| latencies.note(slow, Duration::from_millis(30), now));
        assert_eq!(latencies.slow(&nodes, now), [slow]);
        assert_eq!(latencies.slow(&[slow, unknown], now), [], "quicker than whom?");
        assert_eq!(latencies.slow(&nodes, now + Duration::from_secs(11)), [], "all is forgotten");
        latencies.retain(|node| node != slow);
        assert_eq!(latencies.slow(&nodes, now), []);
    }
}
