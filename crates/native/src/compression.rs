//! Compression of bodies (version 4) and of segments (version 5).
//!
//! Invariant: what is announced to come out of a compressed body is held against what its length can become before
//! anything is allocated for it.

use crate::error::ProtocolError;
use crate::version::Version;
use bytes::Bytes;
use std::fmt;

/// An algorithm that client and server have agreed on in STARTUP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// LZ4 blocks.
    Lz4,
    /// Snappy; version 4 only, as in Cassandra.
    Snappy,
}

/// Shorter bodies are sent as they are: they do not become shorter.
const COMPRESSED_BYTES_MIN: usize = 64;

/// One byte of an LZ4 block stands for at most so many.
const LZ4_EXPANSION_MAX: usize = 255;
/// One byte of Snappy stands for at most so many: a copy of 64 bytes takes 3.
const SNAPPY_EXPANSION_MAX: usize = 22;

impl Compression {
    /// All of them, as SUPPORTED lists them.
    pub const ALL: [Compression; 2] = [Compression::Snappy, Compression::Lz4];

    /// Its name in STARTUP and SUPPORTED.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Compression::Lz4 => "lz4",
            Compression::Snappy => "snappy",
        }
    }

    /// The algorithm of a name, in any case.
    ///
    /// # Errors
    /// `Startup` when there is none, or `version` does not have it.
    pub fn of_name(name: &str, version: Version) -> Result<Compression, ProtocolError> {
        let found = Compression::ALL.into_iter().find(|compression| compression.name().eq_ignore_ascii_case(name));
        match (found, version) {
            (None, _) => Err(ProtocolError::Startup(format!("Unknown compression algorithm: {name}"))),
            (Some(Compression::Snappy), Version::V5) => {
                let message = "Snappy compression is not supported in protocol V5".to_owned();
                Err(ProtocolError::Startup(message))
            }
            (Some(found), _) => Ok(found),
        }
    }

    /// The body of a version 4 envelope, compressed; `None` when that would not make it shorter.
    pub(crate) fn compress_body(self, body: &[u8]) -> Option<Vec<u8>> {
        if body.len() < COMPRESSED_BYTES_MIN {
            return None;
        }
        let compressed = match self {
            Compression::Lz4 => {
                let mut out = u32::try_from(body.len()).ok()?.to_be_bytes().to_vec();
                out.resize(4 + lz4_flex::block::get_maximum_output_size(body.len()), 0);
                let length = lz4_flex::block::compress_into(body, &mut out[4..]).ok()?;
                out.truncate(4 + length);
                out
            }
            Compression::Snappy => snap::raw::Encoder::new().compress_vec(body).ok()?,
        };
        (compressed.len() < body.len()).then_some(compressed)
    }

    /// The body of a version 4 envelope from its compressed form; at most `limit` bytes.
    pub(crate) fn decompress_body(self, compressed: &[u8], limit: usize) -> Result<Bytes, ProtocolError> {
        const CORRUPT: ProtocolError = ProtocolError::Compression("is corrupt");
        let bounded = |length: usize, expansion: usize| {
            if length > limit {
                Err(ProtocolError::TooLarge { length: length as u64, limit })
            } else if length > compressed.len().saturating_mul(expansion) {
                Err(ProtocolError::Compression("is too short for the length that it announces"))
            } else {
                Ok(())
            }
        };
        match self {
            Compression::Lz4 => {
                let (length, block) = compressed.split_first_chunk::<4>().ok_or(CORRUPT)?;
                let length = u32::from_be_bytes(*length) as usize;
                bounded(length, LZ4_EXPANSION_MAX)?;
                decompress_lz4(block, length)
            }
            Compression::Snappy => {
                let length = snap::raw::decompress_len(compressed).map_err(|_| CORRUPT)?;
                bounded(length, SNAPPY_EXPANSION_MAX)?;
                let out = snap::raw::Decoder::new().decompress_vec(compressed).map_err(|_| CORRUPT)?;
                Ok(Bytes::from(out))
            }
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An LZ4 block that holds `length` bytes.
pub(crate) fn decompress_lz4(block: &[u8], length: usize) -> Result<Bytes, ProtocolError> {
    let mut out = vec![0; length];
    match lz4_flex::block::decompress_into(block, &mut out) {
        Ok(written) if written == length => Ok(Bytes::from(out)),
        _ => Err(ProtocolError::Compression("is corrupt")),
    }
}

/// The LZ4 block of a segment's payload; `None` when it would not be shorter.
pub(crate) fn compress_lz4(payload: &[u8]) -> Option<Vec<u8>> {
    if payload.len() < COMPRESSED_BYTES_MIN {
        return None;
    }
    let block = lz4_flex::block::compress(payload);
    (block.len() < payload.len()).then_some(block)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_length_that_cannot_be_true_is_refused_before_it_is_allocated() {
        let refused = ProtocolError::Compression("is too short for the length that it announces");
        let announced = [0x0f, 0xff, 0xff, 0xff, 0];
        assert_eq!(Compression::Lz4.decompress_body(&announced, usize::MAX), Err(refused.clone()));
        // A varint of 2^28 - 1.
        let announced = [0xff, 0xff, 0xff, 0x7f, 0];
        assert_eq!(Compression::Snappy.decompress_body(&announced, usize::MAX), Err(refused));
        let too_large = Compression::Lz4.decompress_body(&[0, 0, 1, 0, 0], 255);
        assert_eq!(too_large, Err(ProtocolError::TooLarge { length: 256, limit: 255 }));
    }

    #[test]
    fn what_compresses_best_is_within_the_bounds() {
        let zeros = vec![0; 1 << 20];
        for compression in Compression::ALL {
            let compressed = compression.compress_body(&zeros).unwrap();
            assert_eq!(compression.decompress_body(&compressed, zeros.len()).unwrap(), zeros, "{compression}");
        }
    }

    #[test]
    fn names_are_those_of_startup() {
        for compression in Compression::ALL {
            assert_eq!(Compression::of_name(&compression.name().to_uppercase(), Version::V4), Ok(compression));
        }
        assert!(Compression::of_name("snappy", Version::V5).is_err());
        assert_eq!(Compression::of_name("lz4", Version::V5), Ok(Compression::Lz4));
        let error = Compression::of_name("zstd", Version::V4).unwrap_err();
        assert_eq!(error.to_string(), "Unknown compression algorithm: zstd");
    }

    proptest! {
        #[test]
        fn bodies_come_back(body in prop::collection::vec(0u8..3, 0..2_000)) {
            for compression in Compression::ALL {
                if let Some(compressed) = compression.compress_body(&body) {
                    prop_assert!(compressed.len() < body.len());
                    prop_assert_eq!(compression.decompress_body(&compressed, body.len()).unwrap(), body.clone());
                }
            }
        }

        #[test]
        fn any_bytes_are_an_error_or_a_body(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            for compression in Compression::ALL {
                let _ = compression.decompress_body(&bytes, 1 << 16);
            }
        }
    }
}
