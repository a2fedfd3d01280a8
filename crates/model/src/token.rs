//! Tokens: the hash of a partition key that places it on the ring, exactly as Cassandra's
//! Murmur3Partitioner computes it, since drivers compute it too.
//!
//! Cassandra's MurmurHash3 (x64, 128 bits, seed 0, first half) is not the published one: it adds the
//! bytes of the last, incomplete block as *signed* numbers (CASSANDRA-3594 and later; drivers repeat
//! it). The published hash is right only for keys whose tail bytes are below 0x80.

use crate::codec::{CodecError, Decode, Encode, Reader};
use std::fmt;

/// A position on the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub i64);

impl Token {
    /// The start of the ring. No key has it: a hash of `i64::MIN` becomes `i64::MAX`, so that the
    /// range `(MINIMUM, x]` holds everything up to `x`.
    pub const MINIMUM: Token = Token(i64::MIN);

    /// The token of a serialized partition key.
    #[must_use]
    pub fn of(key: &[u8]) -> Token {
        match murmur3_first_half(key) {
            i64::MIN => Token(i64::MAX),
            hash => Token(hash),
        }
    }

    /// Eight bytes that order as tokens do: the sign bit flipped, most significant byte first.
    #[must_use]
    pub fn to_ordered_bytes(self) -> [u8; 8] {
        ((self.0 as u64) ^ (1 << 63)).to_be_bytes()
    }

    /// The token of [`Token::to_ordered_bytes`].
    #[must_use]
    pub fn from_ordered_bytes(bytes: [u8; 8]) -> Token {
        Token((u64::from_be_bytes(bytes) ^ (1 << 63)) as i64)
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Encode for Token {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }
}

impl Decode for Token {
    fn decode(reader: &mut Reader) -> Result<Token, CodecError> {
        reader.i64().map(Token)
    }
}

/// The tokens after `start` up to and including `end`. With [`Token::MINIMUM`] as its start it holds everything
/// up to `end`. A range never goes around the ring: who has one that does takes it in two parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TokenRange {
    /// The last token before the range.
    pub start: Token,
    /// The last token in it; greater than `start`.
    pub end: Token,
}

impl TokenRange {
    /// The whole ring.
    pub const ALL: TokenRange = TokenRange { start: Token::MINIMUM, end: Token(i64::MAX) };

    /// True when `token` is in it.
    #[must_use]
    pub fn contains(&self, token: Token) -> bool {
        self.start < token && token <= self.end
    }
}

impl Encode for TokenRange {
    fn encode(&self, out: &mut Vec<u8>) {
        self.start.encode(out);
        self.end.encode(out);
    }
}

impl Decode for TokenRange {
    fn decode(reader: &mut Reader) -> Result<TokenRange, CodecError> {
        let range = TokenRange { start: Token::decode(reader)?, end: Token::decode(reader)? };
        if range.start < range.end { Ok(range) } else { Err(CodecError::Invalid("token range")) }
    }
}

const C1: u64 = 0x87c3_7b91_1142_53d5;
const C2: u64 = 0x4cf5_ad43_2745_937f;

fn mix_k1(k1: u64) -> u64 {
    k1.wrapping_mul(C1).rotate_left(31).wrapping_mul(C2)
}

fn mix_k2(k2: u64) -> u64 {
    k2.wrapping_mul(C2).rotate_left(33).wrapping_mul(C1)
}

fn finalize(mut k: u64) -> u64 {
    k ^= k >> 33;
    k = k.wrapping_mul(0xff51_afd7_ed55_8ccd);
    k ^= k >> 33;
    k = k.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    k ^ (k >> 33)
}

fn murmur3_first_half(data: &[u8]) -> i64 {
    let (blocks, tail) = data.as_chunks::<16>();
    let (mut h1, mut h2) = (0u64, 0u64);
    for block in blocks {
        let (first, second) = block.split_at(8);
        let word = |half: &[u8]| half.iter().rev().fold(0u64, |word, byte| word << 8 | u64::from(*byte));
        h1 ^= mix_k1(word(first));
        h1 = h1.rotate_left(27).wrapping_add(h2).wrapping_mul(5).wrapping_add(0x52dc_e729);
        h2 ^= mix_k2(word(second));
        h2 = h2.rotate_left(31).wrapping_add(h1).wrapping_mul(5).wrapping_add(0x3849_5ab5);
    }
    // The signed tail bytes: each is extended to 64 bits before it is shifted into place.
    let signed = |bytes: &[u8]| {
        let shifted = bytes.iter().enumerate().map(|(at, byte)| (i64::from(*byte as i8) as u64) << (8 * at));
        shifted.fold(0u64, |word, part| word ^ part)
    };
    if tail.len() > 8 {
        h2 ^= mix_k2(signed(&tail[8..]));
    }
    if !tail.is_empty() {
        h1 ^= mix_k1(signed(&tail[..tail.len().min(8)]));
    }
    h1 ^= data.len() as u64;
    h2 ^= data.len() as u64;
    h1 = h1.wrapping_add(h2);
    h2 = h2.wrapping_add(h1);
    h1 = finalize(h1);
    h2 = finalize(h2);
    h1.wrapping_add(h2) as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Vectors that the Python driver's and the Java driver's own tests use.
    #[test]
    fn tokens_are_those_that_drivers_compute() {
        let vectors: [(&[u8], i64); 6] = [
            (b"123", -7_468_325_962_851_647_638),
            (b"\x00\xff\x10\xfa\x99".repeat(10).leak(), 5_837_342_703_291_459_765),
            (b"\xfe".repeat(8).leak(), -8_927_430_733_708_461_935),
            (b"\x10".repeat(8).leak(), 1_446_172_840_243_228_796),
            (b"9223372036854775807", 7_162_290_910_810_015_547),
            (b"", 0),
        ];
        for (key, token) in vectors {
            assert_eq!(Token::of(key), Token(token), "{key:?}");
        }
    }

    proptest! {
        #[test]
        fn equals_the_published_hash_where_no_tail_byte_is_negative(key in prop::collection::vec(0u8..0x80, 0..70)) {
            let published = murmur3::murmur3_x64_128(&mut key.as_slice(), 0).unwrap() as u64 as i64;
            let expected = if published == i64::MIN { i64::MAX } else { published };
            prop_assert_eq!(Token::of(&key), Token(expected));
        }

        #[test]
        fn ordered_bytes_order_as_tokens(a: i64, b: i64) {
            let (a, b) = (Token(a), Token(b));
            prop_assert_eq!(a.to_ordered_bytes().cmp(&b.to_ordered_bytes()), a.cmp(&b));
            prop_assert_eq!(Token::from_ordered_bytes(a.to_ordered_bytes()), a);
        }
    }
}
