//! Back-pressure: writes are refused as overloaded before RocksDB would stop the thread that writes.
//!
//! RocksDB stops every writer, for as long as it takes, when a table has too many files in level 0, too many
//! memtables that wait to be written, or too much that compaction has yet to rewrite. Before that it delays
//! them. A group is therefore written so that RocksDB refuses it rather than delays it (`no_slowdown`),
//! unless the delay is known to be short:
//!
//! ```text
//!  Free ------------> Slowed ---------------> Refusing
//!   ^  RocksDB delays   |  ^  RocksDB stopped, or  |
//!   |                   |  |  is about to; or too  |
//!   |   no delay        |  |  much memory is used  |
//!   +-------------------+  +-----------------------+  well below what stops
//! ```
//!
//! * Free: nothing waits. A group that RocksDB would have delayed is refused, and the state looked at.
//! * Slowed: groups wait as RocksDB wants, at most [`DELAY_MAX`]; clients feel it through the bounded queue
//!   before the writer.
//! * Refusing: user data is refused with [`StorageError::Overloaded`]. The node's own records are few and
//!   cannot be refused: they wait. Hints have files of their own and go on.

use crate::store::Inner;
use node::storage::StorageError;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How often the state is looked at while something is written or waits.
pub(crate) const INTERVAL: Duration = Duration::from_millis(50);
/// A group is not delayed for longer than this.
const DELAY_MAX: Duration = Duration::from_millis(100);
/// RocksDB delays writes from this many files in level 0 of a table on.
pub(crate) const LEVEL_ZERO_SLOWDOWN: u64 = 20;
/// And stops them at so many.
pub(crate) const LEVEL_ZERO_STOP: u64 = 36;
/// Writes are refused at so many: what is under way still fits.
const LEVEL_ZERO_REFUSE: u64 = LEVEL_ZERO_STOP - 4;
/// RocksDB delays writes when compaction has yet to rewrite so many bytes of a table.
pub(crate) const PENDING_SLOWDOWN_BYTES: u64 = 64 << 30;
/// And stops them at so many.
pub(crate) const PENDING_STOP_BYTES: u64 = 256 << 30;
/// Writes are refused at so many.
const PENDING_REFUSE_BYTES: u64 = PENDING_STOP_BYTES / 10 * 9;
/// Writes are refused while memtables take more than so many hundredths of the memory that they may.
const MEMTABLES_REFUSE_PERCENT: u64 = 115;
/// And taken again at so many.
const MEMTABLES_RESUME_PERCENT: u64 = 100;

/// Whether flushes and compactions keep up with writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pressure {
    /// They do.
    Free = 0,
    /// Writes are delayed a little.
    Slowed = 1,
    /// Writes of user data are refused.
    Refusing = 2,
}

/// The state, for those who write and those who ask.
#[derive(Debug, Default)]
pub(crate) struct PressureGauge {
    state: AtomicU8,
    /// Bytes per second that RocksDB lets through while it delays.
    rate: AtomicU64,
    refused: AtomicU64,
    looked_at: Mutex<Option<Instant>>,
}

impl PressureGauge {
    pub(crate) fn now(&self) -> Pressure {
        match self.state.load(Ordering::Relaxed) {
            0 => Pressure::Free,
            1 => Pressure::Slowed,
            _ => Pressure::Refusing,
        }
    }

    /// Writes refused so far.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Counts a write that is refused.
    pub(crate) fn refuse(&self) -> StorageError {
        self.refused.fetch_add(1, Ordering::Relaxed);
        StorageError::Overloaded
    }

    /// Whether RocksDB may delay a group of this size.
    pub(crate) fn may_delay(&self, bytes: usize) -> bool {
        let rate = self.rate.load(Ordering::Relaxed);
        self.now() == Pressure::Slowed && bytes as u64 * 1_000 <= rate * DELAY_MAX.as_millis() as u64
    }
}

/// What RocksDB says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Gauged {
    stopped: bool,
    /// 0 when writes are not delayed.
    rate: u64,
    /// Most of any table.
    level_zero_files: u64,
    pending_bytes: u64,
    /// Memtables, in hundredths of the memory that they may take.
    memtables_percent: u64,
}

impl Gauged {
    fn state(self, before: Pressure) -> Pressure {
        let near = self.level_zero_files >= LEVEL_ZERO_REFUSE
            || self.pending_bytes >= PENDING_REFUSE_BYTES
            || self.memtables_percent > MEMTABLES_REFUSE_PERCENT;
        // Once refused, writes are taken again only well below that, or they would be refused in turns.
        let well_below = self.level_zero_files <= (LEVEL_ZERO_SLOWDOWN + LEVEL_ZERO_REFUSE) / 2
            && self.pending_bytes <= (PENDING_SLOWDOWN_BYTES + PENDING_REFUSE_BYTES) / 2
            && self.memtables_percent <= MEMTABLES_RESUME_PERCENT;
        if self.stopped || near || (before == Pressure::Refusing && !well_below) {
            Pressure::Refusing
        } else if self.rate > 0 {
            Pressure::Slowed
        } else {
            Pressure::Free
        }
    }
}

impl Inner {
    /// Refuses user data while RocksDB does not keep up.
    pub(crate) fn check_pressure(&self) -> Result<(), StorageError> {
        if self.pressure.now() == Pressure::Refusing {
            self.look_at_pressure(false);
            if self.pressure.now() == Pressure::Refusing {
                return Err(self.pressure.refuse());
            }
        }
        Ok(())
    }

    /// Brings the state up to date; at most once in [`INTERVAL`] unless it has to be `now`.
    pub(crate) fn look_at_pressure(&self, now: bool) {
        let mut looked_at = self.pressure.looked_at.lock();
        if !now && looked_at.is_some_and(|at| at.elapsed() < INTERVAL) {
            return;
        }
        *looked_at = Some(Instant::now());
        let gauged = self.gauge();
        let before = self.pressure.now();
        let state = gauged.state(before);
        self.pressure.rate.store(gauged.rate, Ordering::Relaxed);
        self.pressure.state.store(state as u8, Ordering::Relaxed);
        match state {
            Pressure::Refusing if before != Pressure::Refusing => {
                tracing::warn!(?gauged, "compaction does not keep up: writes are refused as overloaded");
            }
            Pressure::Free | Pressure::Slowed if before == Pressure::Refusing => {
                tracing::info!(?gauged, "writes are taken again");
            }
            _ => {}
        }
    }

    fn gauge(&self) -> Gauged {
        let global = |property: &str| self.db.property_int_value(property).ok().flatten().unwrap_or(0);
        let memtable_bytes = self.memory.write_buffers.get_usage() as u64;
        let mut gauged = Gauged {
            memtables_percent: memtable_bytes * 100 / (self.options.write_buffer_bytes as u64).max(1),
            stopped: global("rocksdb.is-write-stopped") > 0,
            rate: global("rocksdb.actual-delayed-write-rate"),
            ..Gauged::default()
        };
        // A table that is near to what stops writes delays them already.
        if gauged.stopped || gauged.rate > 0 || self.pressure.now() != Pressure::Free {
            for table in self.tables.load().values() {
                let files = self.figure(&table.name, "rocksdb.num-files-at-level0");
                let pending = self.figure(&table.name, "rocksdb.estimate-pending-compaction-bytes");
                // Without compaction RocksDB lets files pile up.
                if table.definition.options.compaction.enabled {
                    gauged.level_zero_files = gauged.level_zero_files.max(files);
                    gauged.pending_bytes = gauged.pending_bytes.max(pending);
                }
            }
        }
        gauged
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_are_refused_before_they_are_stopped_and_taken_again_well_below() {
        let gauged = |level_zero_files| Gauged { rate: 1 << 20, level_zero_files, ..Gauged::default() };
        assert_eq!(Gauged::default().state(Pressure::Free), Pressure::Free);
        assert_eq!(gauged(LEVEL_ZERO_SLOWDOWN).state(Pressure::Free), Pressure::Slowed);
        assert_eq!(gauged(LEVEL_ZERO_REFUSE).state(Pressure::Slowed), Pressure::Refusing);
        assert_eq!(gauged(LEVEL_ZERO_REFUSE - 1).state(Pressure::Refusing), Pressure::Refusing);
        assert_eq!(gauged(LEVEL_ZERO_REFUSE - 1).state(Pressure::Slowed), Pressure::Slowed);
        assert_eq!(gauged(LEVEL_ZERO_SLOWDOWN).state(Pressure::Refusing), Pressure::Slowed);
        let stopped = Gauged { stopped: true, ..Gauged::default() };
        assert_eq!(stopped.state(Pressure::Free), Pressure::Refusing);
        let pending = Gauged { rate: 1, pending_bytes: PENDING_REFUSE_BYTES, ..Gauged::default() };
        assert_eq!(pending.state(Pressure::Slowed), Pressure::Refusing);
    }

    #[test]
    fn memtables_stay_within_their_memory() {
        let gauged = |memtables_percent| Gauged { memtables_percent, ..Gauged::default() };
        assert_eq!(gauged(115).state(Pressure::Free), Pressure::Free);
        assert_eq!(gauged(116).state(Pressure::Free), Pressure::Refusing);
        assert_eq!(gauged(101).state(Pressure::Refusing), Pressure::Refusing);
        assert_eq!(gauged(100).state(Pressure::Refusing), Pressure::Free);
    }

    #[test]
    fn a_group_is_delayed_only_for_a_short_time() {
        let gauge = PressureGauge::default();
        assert!(!gauge.may_delay(1), "nothing is known of a delay");
        gauge.state.store(Pressure::Slowed as u8, Ordering::Relaxed);
        gauge.rate.store(1 << 20, Ordering::Relaxed);
        assert!(gauge.may_delay(100 << 10));
        assert!(!gauge.may_delay(110 << 10));
    }
}
