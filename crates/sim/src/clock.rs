//! The two clocks of one simulated machine, each wrong in its own way.
//!
//! Invariants:
//! * The monotonic clock never goes backward while a process runs, whatever its drift; at each start
//!   of the process it begins somewhere else, since its origin means nothing outside the process.
//! * The wall clock may be off, drift and jump in both directions; it is the machine's, not the
//!   process's, so a restart does not mend it.
//! * Everything is integer arithmetic on the true time, which only the simulator knows.

use model::{Instant, Now, WallMicros};

/// True time: microseconds since the simulation began.
pub type TrueTime = u64;

/// Wall-clock time at the beginning of every simulation: 2023-11-14T22:13:20Z.
pub const WALL_ORIGIN: i64 = 1_700_000_000_000_000;

/// Fastest and slowest clock, in millionths: far worse than quartz, within what virtual machines show.
pub const DRIFT_MAX_PPM: i64 = 5_000;

/// The clocks of one machine.
#[derive(Clone, Debug)]
pub struct Clock {
    drift_ppm: i64,
    wall_offset: i64,
    started_at: TrueTime,
    origin: u64,
}

impl Clock {
    /// Clocks that run `drift_ppm` millionths fast (slow when negative), the wall clock `wall_offset`
    /// microseconds ahead at true time 0.
    ///
    /// # Panics
    /// When the drift is beyond [`DRIFT_MAX_PPM`].
    #[must_use]
    pub fn new(drift_ppm: i64, wall_offset: i64) -> Clock {
        assert!(drift_ppm.abs() <= DRIFT_MAX_PPM, "no clock is that wrong");
        Clock { drift_ppm, wall_offset, started_at: 0, origin: 0 }
    }

    /// A new process starts at `time`; its monotonic clock shows `origin` microseconds.
    pub fn restart(&mut self, time: TrueTime, origin: u64) {
        self.started_at = time;
        self.origin = origin;
    }

    /// Moves the wall clock by `micros`.
    pub fn jump(&mut self, micros: i64) {
        self.wall_offset += micros;
    }

    /// Sets the wall clock to the true time, as a time service does; the drift goes on.
    pub fn synchronize(&mut self, time: TrueTime) {
        self.wall_offset = -self.drifted(time);
    }

    /// What both clocks show at the true time `time`.
    #[must_use]
    pub fn now(&self, time: TrueTime) -> Now {
        let elapsed = time.saturating_sub(self.started_at);
        let monotonic = self.origin.saturating_add_signed(elapsed as i64 + self.drifted(elapsed));
        let wall = WALL_ORIGIN + time as i64 + self.drifted(time) + self.wall_offset;
        Now { monotonic: Instant(monotonic), wall: WallMicros(wall) }
    }

    /// The first true time at which the monotonic clock shows `instant` or more.
    #[must_use]
    pub fn time_of(&self, instant: Instant) -> TrueTime {
        let wanted = instant.0.saturating_sub(self.origin);
        if wanted > u64::MAX / 4 {
            return u64::MAX;
        }
        // `elapsed * (1 + drift)` rounds toward zero, so the inverse may be off by one either way.
        let rate = (1_000_000 + self.drift_ppm) as u128;
        let mut elapsed = (u128::from(wanted) * 1_000_000 / rate) as u64;
        while (elapsed as i64 + self.drifted(elapsed)) < wanted as i64 {
            elapsed += 1;
        }
        self.started_at.saturating_add(elapsed)
    }

    fn drifted(&self, elapsed: u64) -> i64 {
        (i128::from(elapsed) * i128::from(self.drift_ppm) / 1_000_000) as i64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Rng;

    #[test]
    fn the_monotonic_clock_ascends_and_its_inverse_is_the_first_moment() {
        let mut rng = Rng::new(1);
        for _ in 0..2_000 {
            let drift = rng.between(0, 2 * DRIFT_MAX_PPM as u64) as i64 - DRIFT_MAX_PPM;
            let mut clock = Clock::new(drift, -5_000_000);
            let start = rng.below(1 << 40);
            clock.restart(start, rng.below(1 << 50));
            let time = start + rng.below(1 << 36);
            let shown = clock.now(time).monotonic;
            assert!(clock.now(time + 1).monotonic >= shown);
            let wanted = Instant(shown.0 + rng.below(1 << 30));
            let found = clock.time_of(wanted);
            assert!(clock.now(found).monotonic >= wanted);
            assert!(found == start || clock.now(found - 1).monotonic < wanted);
        }
    }

    #[test]
    fn the_wall_clock_jumps_and_is_set_right() {
        let mut clock = Clock::new(100, 7);
        clock.jump(-1_000_000);
        assert_eq!(clock.now(0).wall, WallMicros(WALL_ORIGIN + 7 - 1_000_000));
        clock.synchronize(50_000_000);
        assert_eq!(clock.now(50_000_000).wall, WallMicros(WALL_ORIGIN + 50_000_000));
    }
}
