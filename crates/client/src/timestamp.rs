//! The timestamps of a session's writes: microseconds since 1970, each greater than the one before, so that of two
//! writes of one session the later one wins, and a repeated write is the same write.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

#[derive(Debug, Default)]
pub(crate) struct Timestamps {
    last: AtomicI64,
}

impl Timestamps {
    /// The next timestamp by the machine's clock.
    pub(crate) fn next(&self) -> i64 {
        let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.next_at(i64::try_from(elapsed.as_micros()).unwrap_or(i64::MAX - 1))
    }

    fn next_at(&self, now: i64) -> i64 {
        let next = |last: i64| now.max(last.saturating_add(1));
        match self.last.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(next(last))) {
            Ok(last) | Err(last) => next(last),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_ascend_though_the_clock_stands_or_goes_back() {
        let timestamps = Timestamps::default();
        let taken: Vec<i64> = [10, 10, 5, 100, 99].into_iter().map(|now| timestamps.next_at(now)).collect();
        assert_eq!(taken, [10, 11, 12, 100, 101]);
        assert!(timestamps.next() > 101);
    }
}
