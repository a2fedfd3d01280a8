//! What evaluating a statement needs from the world: the time, and randomness. Both come in from the driver, so that
//! the same statement with the same context gives the same result.

use model::time_uuid::{EPOCH_TICKS, TICKS_PER_MICROSECOND, of_ticks, random_origin, ticks};
use model::{RetryToken, Rng, WallMicros};

/// Timeuuids that a statement of a batch may draw before they mix with those of the next one.
const DRAWN_BY_STATEMENT: i64 = 256;

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
        let origin = random_origin(random.next_u64());
        EvaluationContext { now, random, drawn: 0, origin }
    }

    /// The context of every execution of the request that has this token, for the statement at `place` of its batch:
    /// each of them draws and computes the same.
    #[must_use]
    pub fn of_token(token: RetryToken, place: usize) -> EvaluationContext {
        let place = i64::try_from(place).unwrap_or(i64::MAX);
        let context = EvaluationContext::new(token.time(), token.seed().wrapping_add(place as u64));
        // What later statements add to a list comes behind what earlier ones do.
        EvaluationContext { drawn: place.saturating_mul(DRAWN_BY_STATEMENT), ..context }
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
        of_ticks(ticks.saturating_add(EPOCH_TICKS), self.origin)
    }

    /// A version 4 UUID.
    pub fn uuid(&mut self) -> u128 {
        let bits = self.random.next_u128();
        bits & !(0xf << 76) & !(0x3 << 62) | 0x4 << 76 | 0x2 << 62
    }
}

/// The ticks since the epoch of UUIDs of a time in milliseconds since 1970.
pub(crate) fn uuid_ticks(milliseconds: i64) -> i64 {
    milliseconds.wrapping_mul(1_000 * TICKS_PER_MICROSECOND).wrapping_add(EPOCH_TICKS)
}

/// The time of a version 1 UUID in milliseconds since 1970.
pub(crate) fn uuid_milliseconds(bits: u128) -> i64 {
    (ticks(bits) - EPOCH_TICKS).div_euclid(1_000 * TICKS_PER_MICROSECOND)
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
        assert_eq!(uuid_milliseconds(of_ticks(uuid_ticks(-5), 0)), -5);
    }

    #[test]
    fn every_execution_with_one_token_draws_the_same() {
        let token = RetryToken::at(WallMicros(1_700_000_000_123_456), 7);
        let draw = |place| {
            let mut context = EvaluationContext::of_token(token, place);
            (context.now(), context.time_uuid(), context.time_uuid(), context.uuid())
        };
        assert_eq!(draw(0), draw(0));
        assert_eq!(draw(0).0, token.time());
        assert!(ticks(draw(0).2) < ticks(draw(1).1), "statements of a batch add in their order");
        assert!(draw(0).1 != draw(1).1 && draw(0).3 != draw(1).3);
    }

    #[test]
    fn one_seed_gives_the_same_and_another_seed_others() {
        let draw = |seed| EvaluationContext::new(WallMicros(1), seed).uuid();
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        assert_eq!((draw(3) >> 76 & 0xf, draw(3) >> 62 & 0x3), (4, 2), "version and variant");
    }
}
