//! Version 1 UUIDs (RFC 9562): the time at which each was made, in ticks of 100 nanoseconds since 1582-10-15, beside
//! bits that tell apart those of one tick.

/// Ticks from the epoch of UUIDs to that of Unix.
pub const EPOCH_TICKS: i64 = 0x01b2_1dd2_1381_4000;
/// Ticks in a microsecond.
pub const TICKS_PER_MICROSECOND: i64 = 10;

/// The UUID of a time, in ticks since the epoch of UUIDs, and the bits of its second half: the variant, a clock
/// sequence and a node.
#[must_use]
pub fn of_ticks(ticks: i64, low: u64) -> u128 {
    let ticks = ticks as u64;
    let high = (ticks & 0xffff_ffff) << 32 | (ticks >> 16 & 0xffff_0000) | 1 << 12 | (ticks >> 48 & 0x0fff);
    u128::from(high) << 64 | u128::from(low)
}

/// The time of a UUID in ticks since the epoch of UUIDs.
#[must_use]
pub fn ticks(bits: u128) -> i64 {
    let high = (bits >> 64) as u64;
    ((high & 0x0fff) << 48 | (high & 0xffff_0000) << 16 | high >> 32) as i64
}

/// The second half of UUIDs whose clock sequence and node are as random as `random`: the variant of RFC 9562, and the
/// bit that says that the node is no hardware address.
#[must_use]
pub fn random_origin(random: u64) -> u64 {
    (random & 0x3fff_ffff_ffff_ffff) | 1 << 63 | 1 << 40
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_uuid_tells_its_time(at in 0i64..1 << 60, random: u64) {
            let bits = of_ticks(at, random_origin(random));
            prop_assert_eq!(ticks(bits), at);
            prop_assert_eq!((bits >> 76 & 0xf, bits >> 62 & 0x3), (1, 2), "version and variant");
        }
    }
}
