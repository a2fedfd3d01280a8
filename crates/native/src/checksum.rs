//! The checksums of segments: CRC-24 for headers, CRC-32 for payloads.

/// Where the CRC-24 begins: the value of `Crc.java` in Cassandra.
const CRC24_START: u32 = 0x87_5060;
/// Its polynomial, with the bit that is shifted out: the one with the best properties for a few bytes among those
/// of Koopman.
const CRC24_POLYNOMIAL: u32 = 0x197_4f0b;

/// The CRC-24 of a segment's header.
pub(crate) fn crc24(bytes: &[u8]) -> u32 {
    let mut crc = CRC24_START;
    for byte in bytes {
        crc ^= u32::from(*byte) << 16;
        for _ in 0..8 {
            crc <<= 1;
            if crc & 0x100_0000 != 0 {
                crc ^= CRC24_POLYNOMIAL;
            }
        }
    }
    crc
}

/// The CRC-32 (of zlib) of a segment's payload, begun with four fixed bytes so that zeros do not check.
pub(crate) fn crc32(payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&[0xfa, 0x2d, 0x55, 0xca]);
    hasher.update(payload);
    hasher.finalize()
}
