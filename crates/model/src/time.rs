//! The two clocks, as values. The core never reads a clock: the driver reads both once per batch of
//! inputs and passes them in.

use std::ops::{Add, Sub};
use std::time::Duration;

/// A point on a node's monotonic clock, in microseconds since an origin that means nothing outside
/// the process. Deadlines use it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(pub u64);

/// Wall-clock time in microseconds since 1970-01-01T00:00:00Z. Write timestamps, TTLs and tombstone
/// ages use it; it may jump in both directions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WallMicros(pub i64);

/// Both clocks, read at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// For deadlines.
    pub monotonic: Instant,
    /// For timestamps.
    pub wall: WallMicros,
}

impl WallMicros {
    /// Whole seconds since 1970, rounded down: the unit of TTL expiry and local deletion times.
    #[must_use]
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// [`WallMicros::seconds`] in 32 bits, as they are stored; a clock that is outside of them is taken for their
    /// nearest end.
    #[must_use]
    pub fn clamped_seconds(self) -> u32 {
        u32::try_from(self.seconds().max(0)).unwrap_or(u32::MAX)
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;
    fn add(self, duration: Duration) -> Instant {
        Instant(self.0.saturating_add(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)))
    }
}

impl Sub for Instant {
    type Output = Duration;
    /// The time from `earlier` to `self`; zero when `earlier` is the later one.
    fn sub(self, earlier: Instant) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}
