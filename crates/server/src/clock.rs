//! The only reader of clocks in a node.
//!
//! Invariant: the monotonic clock of every [`Clock`] of a process has the same origin, so that instants of
//! one thread mean the same on another.

use model::{Instant, Now, WallMicros};
use std::sync::OnceLock;
use std::time::SystemTime;

static ORIGIN: OnceLock<std::time::Instant> = OnceLock::new();

/// Reads both clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    origin: std::time::Instant,
}

impl Clock {
    /// The clock of this process.
    pub(crate) fn new() -> Clock {
        Clock { origin: *ORIGIN.get_or_init(std::time::Instant::now) }
    }

    /// Both clocks now. A wall clock before 1970 reads as 1970.
    pub(crate) fn now(&self) -> Now {
        let micros = |duration: std::time::Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, micros);
        Now {
            monotonic: Instant(micros(self.origin.elapsed())),
            wall: WallMicros(i64::try_from(wall).unwrap_or(i64::MAX)),
        }
    }

    /// The monotonic clock now.
    pub(crate) fn monotonic(&self) -> Instant {
        Instant(u64::try_from(self.origin.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    /// The same point in time for timers of the runtime.
    pub(crate) fn timer(&self, at: Instant) -> tokio::time::Instant {
        // A deadline beyond 30 years is one that never comes; the timer's own arithmetic stays in range.
        let micros = at.0.min(1_000_000_000_000_000);
        tokio::time::Instant::from_std(self.origin + std::time::Duration::from_micros(micros))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_of_one_process_agree_and_never_go_back() {
        let (a, b) = (Clock::new(), Clock::new());
        let (first, second) = (a.now(), b.now());
        assert!(first.monotonic <= second.monotonic);
        assert!(first.wall.seconds() > 1_600_000_000);
        assert!(a.timer(Instant(u64::MAX)) > a.timer(first.monotonic));
    }
}
