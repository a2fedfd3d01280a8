//! The token by which a client says that a request is the same as one that it has sent before.
//!
//! It is a version 1 UUID: the time in it is the time of the request, whichever node executes it and however often. By
//! it nodes know which tokens they may have forgotten.

use crate::codec::{CodecError, Decode, Encode, Reader};
use crate::time::WallMicros;
use crate::time_uuid::{EPOCH_TICKS, TICKS_PER_MICROSECOND, of_ticks, random_origin, ticks};
use std::fmt;
use thiserror::Error;

/// Names one request of one client. Ordered by nothing that means anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RetryToken(u128);

/// Why bytes are no token.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidRetryToken {
    /// They are not 16.
    #[error("a retry token has 16 bytes; this one has {0}")]
    Length(usize),
    /// They are another UUID, or none.
    #[error("a retry token is a version 1 UUID (a timeuuid); {0:032x} is none")]
    Version(u128),
}

impl RetryToken {
    /// The token of a request that is made at `time`. `random` tells it apart from others of the same moment, of this
    /// client and of all others.
    #[must_use]
    pub fn at(time: WallMicros, random: u64) -> RetryToken {
        let ticks = time.0.max(0).saturating_mul(TICKS_PER_MICROSECOND).saturating_add(EPOCH_TICKS);
        RetryToken(of_ticks(ticks, random_origin(random)))
    }

    /// The token of these bytes, as clients send it.
    ///
    /// # Errors
    /// When they are not a version 1 UUID.
    pub fn from_wire(bytes: &[u8]) -> Result<RetryToken, InvalidRetryToken> {
        let bits = bytes.try_into().map(u128::from_be_bytes).map_err(|_| InvalidRetryToken::Length(bytes.len()))?;
        RetryToken::from_bits(bits)
    }

    /// The token of this UUID.
    ///
    /// # Errors
    /// When its version is not 1.
    pub fn from_bits(bits: u128) -> Result<RetryToken, InvalidRetryToken> {
        match (bits >> 76 & 0xf, bits >> 62 & 0x3) {
            (1, 2) => Ok(RetryToken(bits)),
            _ => Err(InvalidRetryToken::Version(bits)),
        }
    }

    /// The UUID.
    #[must_use]
    pub fn bits(self) -> u128 {
        self.0
    }

    /// The bytes that clients send.
    #[must_use]
    pub fn to_wire(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// When the client made the request, by its clock.
    #[must_use]
    pub fn time(self) -> WallMicros {
        WallMicros((ticks(self.0) - EPOCH_TICKS).div_euclid(TICKS_PER_MICROSECOND))
    }

    /// A number that is the same for the same token, and random otherwise: what a statement draws at random is the same
    /// whenever it is tried.
    #[must_use]
    pub fn seed(self) -> u64 {
        crate::rng::Rng::new(self.0 as u64 ^ (self.0 >> 64) as u64).next_u64()
    }
}

impl fmt::Display for RetryToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = self.0;
        let part = |shift: u32, digits: u32| bits >> shift & ((1 << (4 * digits)) - 1);
        write!(
            f,
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            part(96, 8),
            part(80, 4),
            part(64, 4),
            part(48, 4),
            part(0, 12)
        )
    }
}

impl Encode for RetryToken {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }
}

impl Decode for RetryToken {
    fn decode(reader: &mut Reader) -> Result<RetryToken, CodecError> {
        RetryToken::from_bits(reader.u128()?).map_err(|_| CodecError::Invalid("retry token"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_token_tells_its_time_and_is_what_it_was(micros in 0i64..1 << 56, random: u64) {
            let token = RetryToken::at(WallMicros(micros), random);
            prop_assert_eq!(token.time(), WallMicros(micros));
            prop_assert_eq!(RetryToken::from_wire(&token.to_wire()), Ok(token));
            prop_assert_eq!(RetryToken::from_bytes(&token.to_bytes()), Ok(token));
        }

        #[test]
        fn what_is_no_time_uuid_is_refused(bits: u128) {
            let is_one = (bits >> 76 & 0xf, bits >> 62 & 0x3) == (1, 2);
            prop_assert_eq!(RetryToken::from_bits(bits).is_ok(), is_one);
            // The time of any of them can be told.
            let forced = bits & !(0xf << 76) & !(0x3 << 62) | 1 << 76 | 2 << 62;
            let _ = RetryToken::from_bits(forced).map(RetryToken::time);
        }
    }

    #[test]
    fn bytes_of_another_length_are_refused_by_it() {
        assert_eq!(RetryToken::from_wire(&[0; 15]), Err(InvalidRetryToken::Length(15)));
        assert_eq!(RetryToken::from_wire(&[]).unwrap_err().to_string(), "a retry token has 16 bytes; this one has 0");
    }

    #[test]
    fn a_token_is_written_as_uuids_are() {
        let token = RetryToken::from_bits(0x2a92_d750_d8dc_11e6_a2de_cf8e_cd4c_f053).unwrap();
        assert_eq!(token.to_string(), "2a92d750-d8dc-11e6-a2de-cf8ecd4cf053");
        assert_eq!(token.time().seconds(), 1_484_235_080);
    }
}
