//! What evaluating a statement needs from the world: the time, and randomness. Both come in from the driver, so that
//! the same statement with the same context gives the same result.

use model::{Rng, WallMicros};

/// Ticks of 100 nanoseconds from the epoch of UUIDs, 1582-10-15, to that of Unix.
const UUID_EPOCH_TICKS: i64 = 0x01b2_1dd2_1381_4000;
/// Ticks in a microsecond.
const TICKS_PER_MICROSECOND: i64 = 10;

/// The time at which a statement is evaluated, and the source of what is random in it.
#[derive(Clone, Debug)]
pub struct EvaluationContext {
    now: WallMicros,
    random: Rng,
    /// Timeuuids drawn so far: each is later than the one before.
    drawn: i64,
    /// Clock sequence and node of the timeuuids.
    origin: u64,
}

impl EvaluationContext {
    /// The context of one execution at `now`. `seed` is random, different for each execution.
    #[must_use]
    pub fn new(now: WallMicros, seed: u64) -> EvaluationContext {
        let mut random = Rng::new(seed);
        // The variant of RFC 9562, then a random clock sequence, then a random node with the bit that says so.
        let origin = (random.next_u64() & 0x3fff_ffff_ffff_ffff) | 1 << 63 | 1 << 40;
        EvaluationContext { now, random, drawn: 0, origin }
    }

    /// The time of the execution.
    #[must_use]
    pub fn now(&self) -> WallMicros {
        self.now
    }

    /// A version 1 UUID of the time of the execution, above those drawn before, by 100 nanoseconds each.
    pub fn time_uuid(&mut self) -> u128 {
        let ticks = self.now.0.saturating_mul(TICKS_PER_MICROSECOND).saturating_add(self.drawn);
        self.drawn += 1;
        time_uuid_of(ticks.saturating_add(UUID_EPOCH_TICKS), self.origin)
    }

    /// A version 4 UUID.
    pub fn uuid(&mut self) -> u128 {
        let bits = self.random.next_u128();
        bits & !(0xf << 76) & !(0x3 << 62) | 0x4 << 76 | 0x2 << 62
    }
}

/// The version 1 UUID of a time, in ticks since the epoch of UUIDs, and the bits of its second half.
pub(crate) fn time_uuid_of(ticks: i64, low: u64) -> u128 {
    let ticks = ticks as u64;
    let high = (ticks & 0xffff_ffff) << 32 | (ticks >> 16 & 0xffff_0000) | 1 << 12 | (ticks >> 48 & 0x0fff);
    u128::from(high) << 64 | u128::from(low)
}

/// The ticks since the epoch of UUIDs of a time in milliseconds since 1970.
pub(crate) fn uuid_ticks(milliseconds: i64) -> i64 {
    milliseconds.wrapping_mul(1_000 * TICKS_PER_MICROSECOND).wrapping_add(UUID_EPOCH_TICKS)
}

/// The time of a version 1 UUID in milliseconds since 1970.
pub(crate) fn uuid_milliseconds(bits: u128) -> i64 {
    let high = (bits >> 64) as u64;
    let ticks = (high & 0x0fff) << 48 | (high & 0xffff_0000) << 16 | high >> 32;
    (ticks as i64 - UUID_EPOCH_TICKS).div_euclid(1_000 * TICKS_PER_MICROSECOND)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::value::compare;
    use model::{CqlType, Value};

    #[test]
    fn timeuuids_ascend_and_tell_their_time() {
        let mut context = EvaluationContext::new(WallMicros(1_700_000_000_123_456), 7);
        let drawn: Vec<u128> = (0..100).map(|_| context.time_uuid()).collect();
        for pair in drawn.windows(2) {
            let wire = |bits: u128| Value::TimeUuid(bits).to_wire();
            assert!(compare(&CqlType::TimeUuid, &wire(pair[0]), &wire(pair[1])).is_lt());
        }
        for bits in drawn {
            assert_eq!(uuid_milliseconds(bits), 1_700_000_000_123);
            assert_eq!((bits >> 76 & 0xf, bits >> 62 & 0x3), (1, 2), "version and variant");
        }
        assert_eq!(uuid_milliseconds(time_uuid_of(uuid_ticks(-5), 0)), -5);
    }

    #[test]
    fn one_seed_gives_the_same_and_another_seed_others() {
        let draw = |seed| EvaluationContext::new(WallMicros(1), seed).uuid();
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        assert_eq!((draw(3) >> 76 & 0xf, draw(3) >> 62 & 0x3), (4, 2), "version and variant");
    }
}
