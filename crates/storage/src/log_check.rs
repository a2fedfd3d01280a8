//! Where a log of RocksDB is damaged: of several log files RocksDB does not say in which one recovery ended.
//!
//! ```text
//! log     blocks of 32 KiB; no record crosses the border of one, and a rest that no header fits into is zero
//! record  checksum u32 | length u16 | type u8 | payload                                    little-endian
//! ```
//! The checksum is CRC-32C of type and payload, rotated right by 15 bits, plus 0xa282ead8.

const BLOCK_BYTES: usize = 32 << 10;
const HEADER_BYTES: usize = 7;

/// The offset of the first record that is not whole, where the log ends in the middle of one included.
pub(crate) fn first_damage(log: &[u8]) -> Option<usize> {
    let mut at = 0;
    while at < log.len() {
        let block_rest = BLOCK_BYTES - at % BLOCK_BYTES;
        if block_rest < HEADER_BYTES {
            let trailer = &log[at..log.len().min(at + block_rest)];
            if trailer.iter().any(|byte| *byte != 0) {
                return Some(at);
            }
            at += block_rest;
            continue;
        }
        match record_bytes(&log[at..log.len().min(at + block_rest)]) {
            Some(bytes) => at += bytes,
            None => return Some(at),
        }
    }
    None
}

/// The length of the record at the front of `block`; `None` when it is not whole.
fn record_bytes(block: &[u8]) -> Option<usize> {
    let (header, rest) = block.split_first_chunk::<HEADER_BYTES>()?;
    let [c0, c1, c2, c3, l0, l1, kind] = *header;
    let length = usize::from(u16::from_le_bytes([l0, l1]));
    let payload = rest.get(..length)?;
    let checksum = payload.iter().fold(crc_step(u32::MAX, kind), |crc, byte| crc_step(crc, *byte));
    let masked = (!checksum).rotate_right(15).wrapping_add(0xa282_ead8);
    (masked == u32::from_le_bytes([c0, c1, c2, c3])).then_some(HEADER_BYTES + length)
}

/// One byte of a CRC-32C (Castagnoli).
fn crc_step(crc: u32, byte: u8) -> u32 {
    (crc >> 8) ^ TABLE[usize::from(crc as u8 ^ byte)]
}

static TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let (mut crc, mut bit) = (byte as u32, 0);
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{TABLE as WRITTEN, commit, filled, log_file, put, row};

    #[test]
    fn the_checksum_is_castagnolis() {
        // RFC 3720, B.4: the numbers 0 to 31.
        let crc = !(0..32).fold(u32::MAX, crc_step);
        assert_eq!(crc, 0x46dd_794e);
    }

    #[test]
    fn a_log_of_rocksdb_is_whole_until_anything_of_it_is_changed() {
        let directory = tempfile::tempdir().unwrap();
        let store = filled(directory.path(), 20);
        for number in 20..60 {
            commit(&store, &[put(WRITTEN, b"p", number, &row(1, &[number as u8; 3_000]))], true);
        }
        drop(store);
        let whole = std::fs::read(log_file(directory.path())).unwrap();
        assert!(whole.len() > 3 * BLOCK_BYTES, "records that are cut at the borders of blocks");
        assert_eq!(first_damage(&whole), None);
        for at in (0..whole.len()).step_by(1_009) {
            let mut flipped = whole.clone();
            flipped[at] ^= 0x20;
            assert!(first_damage(&flipped).is_some_and(|found| found <= at), "byte {at}");
            // Within a record, unless the cut falls between two.
            assert!(first_damage(&whole[..at]).is_none_or(|found| found <= at), "cut at {at}");
        }
        assert!(first_damage(&whole[..whole.len() - 1]).is_some());
    }

    #[test]
    fn any_bytes_are_looked_at_without_panic() {
        let mut rng = model::Rng::new(7);
        for length in [0, 1, 6, 7, 8, 100, BLOCK_BYTES - 3, BLOCK_BYTES + 9] {
            let bytes: Vec<u8> = (0..length).map(|_| rng.next_u64() as u8).collect();
            assert_eq!(first_damage(&bytes).is_none(), length == 0, "{length}");
        }
    }
}
