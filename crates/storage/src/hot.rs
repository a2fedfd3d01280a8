//! Finds keys that are written again and again, so that what is unmerged of a key stays short: a read merges
//! everything since the last full value, and 20,000 changes of one row would make it take milliseconds.
//!
//! Each slot of a fixed table keeps one key by majority vote (Boyer and Moore, 1981): the key's writes count
//! up, those of others that share the slot count down. Keys that are written seldom, however many there
//! are, never reach the limit, so they never cost a read.

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// A power of two; 128 KiB in all.
const SLOTS: usize = 1 << 14;
/// Unmerged changes of a key after which its full value is written.
pub(crate) const CHANGES_MAX: u32 = 16;

/// Counts of recent writes.
pub(crate) struct HotKeys {
    slots: Vec<Slot>,
}

#[derive(Clone, Copy, Default)]
struct Slot {
    fingerprint: u32,
    writes: u32,
}

impl Default for HotKeys {
    fn default() -> HotKeys {
        HotKeys { slots: vec![Slot::default(); SLOTS] }
    }
}

impl HotKeys {
    /// Counts a change of a key of a table; true when its full value should be written instead. It is then
    /// counted anew.
    pub(crate) fn count(&mut self, table: u128, key: &[u8]) -> bool {
        let hash = xxh3_64_with_seed(key, table as u64);
        let slot = &mut self.slots[hash as usize & (SLOTS - 1)];
        let fingerprint = (hash >> 32) as u32;
        if slot.fingerprint != fingerprint {
            if slot.writes > 0 {
                slot.writes -= 1;
                return false;
            }
            *slot = Slot { fingerprint, writes: 0 };
        }
        slot.writes += 1;
        let is_hot = slot.writes >= CHANGES_MAX;
        if is_hot {
            slot.writes = 0;
        }
        is_hot
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_keys_that_are_written_often_are_hot() {
        let mut keys = HotKeys::default();
        let mut hot = 0;
        for number in 0..1_000_000u32 {
            assert!(!keys.count(1, &number.to_be_bytes()), "a key that is written once");
            if number % 100 == 0 {
                hot += u32::from(keys.count(1, b"often"));
            }
        }
        assert!((10_000 / CHANGES_MAX / 2..=10_000 / CHANGES_MAX).contains(&hot), "{hot}");
    }
}
