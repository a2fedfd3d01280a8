//! Segments, the framing of version 5: a header with its CRC-24, a payload of whole envelopes or of a part of one,
//! and its CRC-32. Integers are little-endian here, unlike everywhere else in the protocol.
//!
//! ```text
//! not compressed: 17 bits length, 1 bit self-contained, 6 bits zero                  | CRC-24 | payload | CRC-32
//! compressed:     17 bits length, 17 bits length before, 1 bit self-contained, 5 zero | CRC-24 | payload | CRC-32
//! ```
//! A length before of 0 says that the payload of a compressed segment is as it was.

use crate::checksum::{crc24, crc32};
use crate::compression::{compress_lz4, decompress_lz4};
use crate::error::ProtocolError;
use bytes::{Bytes, BytesMut};

/// Longest payload of a segment, in bytes.
pub const PAYLOAD_BYTES_MAX: usize = 128 * 1024 - 1;

const CRC24_BYTES: usize = 3;
const CRC32_BYTES: usize = 4;
const LENGTH_BITS: u32 = 17;

const _: () = assert!(PAYLOAD_BYTES_MAX == (1 << LENGTH_BITS) - 1);

/// Bytes of a header without its checksum.
fn header_bytes(compressed: bool) -> usize {
    if compressed { 5 } else { 3 }
}

/// A segment's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The payload, not compressed.
    pub payload: Bytes,
    /// True when it holds whole envelopes, false when it is a part of one.
    pub self_contained: bool,
}

/// Takes one segment from the front of `buffer`; `None` when it is not there as a whole. `compressed` says which of
/// the two headers the connection uses.
///
/// # Errors
/// When a checksum does not match or the payload cannot be decompressed.
pub fn take_segment(buffer: &mut BytesMut, compressed: bool) -> Result<Option<Segment>, ProtocolError> {
    let fields_bytes = header_bytes(compressed);
    let before_payload = fields_bytes + CRC24_BYTES;
    if buffer.len() < before_payload {
        return Ok(None);
    }
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
    if u64::from(crc24(&buffer[..fields_bytes])) != number(&buffer[fields_bytes..before_payload]) {
        return Err(ProtocolError::Checksum("header"));
    }
    let mut fields = number(&buffer[..fields_bytes]);
    let mut length_field = || {
        let length = (fields & PAYLOAD_BYTES_MAX as u64) as usize;
        fields >>= LENGTH_BITS;
        length
    };
    let length = length_field();
    let length_before = if compressed { length_field() } else { 0 };
    let self_contained = fields & 1 == 1;
    let whole = before_payload + length + CRC32_BYTES;
    if buffer.len() < whole {
        return Ok(None);
    }
    let segment = buffer.split_to(whole).freeze();
    let payload = segment.slice(before_payload..before_payload + length);
    if u64::from(crc32(&payload)) != number(&segment[before_payload + length..]) {
        return Err(ProtocolError::Checksum("payload"));
    }
    let payload = if length_before == 0 { payload } else { decompress_lz4(&payload, length_before)? };
    Ok(Some(Segment { payload, self_contained }))
}

/// Appends a segment with this payload, compressed by LZ4 if that is agreed on and makes it shorter.
///
/// # Panics
/// When the payload is longer than [`PAYLOAD_BYTES_MAX`].
pub(crate) fn put_segment(out: &mut Vec<u8>, payload: &[u8], self_contained: bool, compressed: bool) {
    assert!(payload.len() <= PAYLOAD_BYTES_MAX, "the payload of a segment is split before");
    let block = if compressed { compress_lz4(payload) } else { None };
    let (sent, length_before) = match &block {
        Some(block) => (&block[..], payload.len() as u64),
        None => (payload, 0),
    };
    let mut fields = sent.len() as u64;
    let mut flag_at = LENGTH_BITS;
    if compressed {
        fields |= length_before << LENGTH_BITS;
        flag_at += LENGTH_BITS;
    }
    fields |= u64::from(self_contained) << flag_at;
    let fields = &fields.to_le_bytes()[..header_bytes(compressed)];
    out.extend_from_slice(fields);
    out.extend_from_slice(&crc24(fields).to_le_bytes()[..CRC24_BYTES]);
    out.extend_from_slice(sent);
    out.extend_from_slice(&crc32(sent).to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(payload: &[u8], self_contained: bool, compressed: bool) -> Vec<u8> {
        let mut out = Vec::new();
        put_segment(&mut out, payload, self_contained, compressed);
        out
    }

    #[test]
    fn the_longest_payload_fits_and_every_changed_bit_is_noticed() {
        let payload = vec![7; PAYLOAD_BYTES_MAX];
        for compressed in [false, true] {
            let mut buffer = BytesMut::from(&written(&payload, true, compressed)[..]);
            let segment = take_segment(&mut buffer, compressed).unwrap().unwrap();
            assert_eq!(segment, Segment { payload: Bytes::from(payload.clone()), self_contained: true });
            let whole = written(&(0..200).collect::<Vec<u8>>(), false, compressed);
            for bit in 0..8 * whole.len() {
                let mut changed = BytesMut::from(&whole[..]);
                changed[bit / 8] ^= 1 << (bit % 8);
                assert!(matches!(take_segment(&mut changed, compressed), Err(ProtocolError::Checksum(_))), "{bit}");
            }
        }
    }

    proptest! {
        #[test]
        fn segments_come_back_and_a_cut_one_waits(
            payload in prop::collection::vec(0u8..4, 0..600), self_contained: bool, compressed: bool,
            cut: prop::sample::Index,
        ) {
            let whole = written(&payload, self_contained, compressed);
            let mut buffer = BytesMut::from(&whole[..cut.index(whole.len())]);
            prop_assert_eq!(take_segment(&mut buffer, compressed), Ok(None));
            buffer = BytesMut::from(&whole[..]);
            buffer.extend_from_slice(b"rest");
            let segment = take_segment(&mut buffer, compressed).unwrap();
            prop_assert_eq!(segment, Some(Segment { payload: Bytes::from(payload), self_contained }));
            prop_assert_eq!(&buffer[..], b"rest");
        }

        #[test]
        fn any_bytes_are_an_error_or_wait(bytes in prop::collection::vec(any::<u8>(), 0..200), compressed: bool) {
            let _ = take_segment(&mut BytesMut::from(&bytes[..]), compressed);
        }
    }
}
