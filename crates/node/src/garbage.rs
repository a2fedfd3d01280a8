//! Which part of which table is swept for garbage next ([`Storage::collect_garbage`](crate::Storage)), and what
//! garbage is there. Pure: the server's background thread asks and sweeps, the simulator does the same in events.
//!
//! A table is swept in parts: ranges of tokens of about equal size, a power of two of them, so that a sweep rewrites
//! a bounded number of bytes at a time. For each part the node's own records say when it was swept last; they cover
//! all tokens of the table, whatever the parts were at the time.
//!
//! Invariants:
//! * Every part of a table is due once within the table's [`interval`]; sooner when its reads pass many tombstones.
//! * A sweep takes a clock that is [`CLOCK_SKEW_SECONDS`] behind the node's: a coordinator whose clock is behind by no
//!   more finds nothing purged that it holds to be in its grace.
//! * When it is said that a part was swept, everything in it that was garbage then is gone: after a restart the
//!   history is at most too old.

use bytes::Bytes;
use membership::ClusterView;
use model::codec::{CodecError, Decode, Encode, Reader, put_varint};
use model::garbage::{Purge, gc_before};
use model::local::LocalWrite;
use model::local::prefix::GARBAGE;
use model::schema::Table;
use model::table_options::TombstoneGc;
use model::{NodeId, Planted, TableId, Token, TokenRange};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::repair::repaired::Repaired;
use crate::storage::GarbageSweep;
use crate::token_map::{PieceChange, TokenMap};

/// How far the clocks of two nodes may be apart without one purging what another still counts on.
pub const CLOCK_SKEW_SECONDS: u32 = 60;

/// Every part is swept at least this often.
const INTERVAL_SECONDS_MAX: u32 = 3 * 24 * 60 * 60;

/// No part is swept more often, however short the grace.
const INTERVAL_SECONDS_MIN: u32 = 10 * 60;

/// A table whose reads pass many tombstones is swept so many times as often: what is garbage among them costs each
/// read, and what is not stays.
const BURDENED_FACTOR: u32 = 8;

/// About as many bytes of files are rewritten in one sweep.
const PART_BYTES: u64 = 2 << 30;

/// Most parts of a table.
const PARTS_MAX: u64 = 1 << 16;

/// After this time every part of a table has been swept: half the grace, but no longer than three days. What is
/// garbage is gone after the grace and this.
#[must_use]
pub fn interval(gc_grace_seconds: u32) -> u32 {
    (gc_grace_seconds / 2).clamp(INTERVAL_SECONDS_MIN, INTERVAL_SECONDS_MAX)
}

/// When the parts of the tables were swept, or first noticed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GarbageSchedule {
    /// For each table when its parts were swept, in seconds since 1970. The parts cover all tokens.
    tables: BTreeMap<TableId, TokenMap<u32>>,
    /// The bug to run with.
    #[cfg(feature = "planted")]
    pub planted: Option<Planted>,
}

/// What the schedule wants to know of a stored table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableLoad {
    /// Of its files.
    pub bytes: u64,
    /// Its reads have passed many tombstones since it was swept.
    pub burdened: bool,
}

impl GarbageSchedule {
    /// The schedule that the records of [`GARBAGE`] describe.
    ///
    /// # Errors
    /// When one of them is not a record of this module.
    pub fn from_local_records(records: &[(Bytes, Bytes)]) -> Result<GarbageSchedule, CodecError> {
        let mut schedule = GarbageSchedule::default();
        for (key, value) in records {
            let key = key.strip_prefix(GARBAGE).ok_or(CodecError::Invalid("garbage record"))?;
            let mut key = Reader::new(Bytes::copy_from_slice(key));
            let (table, first) = (TableId(key.u128()?), Token::decode(&mut key)?);
            key.finish()?;
            let mut value = Reader::new(value.clone());
            let (last, at_seconds) = (Token::decode(&mut value)?, value.varint_u32()?);
            value.finish()?;
            schedule.tables.entry(table).or_default().insert_recorded(first, last, at_seconds);
        }
        Ok(schedule)
    }

    /// Takes over the tables of the schema: those that are new have nothing to sweep before `now_seconds`. What to
    /// write; `None` when nothing has changed.
    pub fn set_tables(&mut self, tables: &BTreeMap<TableId, Arc<Table>>, now_seconds: u32) -> Option<LocalWrite> {
        let mut write = LocalWrite::default();
        let dropped: Vec<TableId> = self.tables.keys().filter(|id| !tables.contains_key(id)).copied().collect();
        for id in dropped {
            let parts = self.tables.remove(&id).unwrap_or_default();
            write.records.extend(parts.pieces().map(|(part, _)| (record_key(id, *part.start()), None)));
        }
        for id in tables.keys().filter(|id| !self.tables.contains_key(id)).copied().collect::<Vec<_>>() {
            self.put(id, Token::MINIMUM..=Token(i64::MAX), now_seconds, &mut write);
        }
        (!write.records.is_empty()).then_some(write)
    }

    /// What is to be swept at `now_seconds`: the part that is overdue the longest, if one is due. `load` says how a
    /// table is, `purge` what is garbage in some tokens of it.
    #[must_use]
    pub fn next(
        &self,
        tables: &BTreeMap<TableId, Arc<Table>>,
        now_seconds: u32,
        load: impl Fn(TableId) -> TableLoad,
        purge: impl Fn(&Table, &RangeInclusive<Token>) -> Purge,
    ) -> Option<GarbageSweep> {
        let mut most: Option<(u32, GarbageSweep)> = None;
        for (id, table) in tables {
            let TableLoad { bytes, burdened } = load(*id);
            let interval = interval(table.options.gc_grace_seconds);
            let sooner = (interval / BURDENED_FACTOR).max(INTERVAL_SECONDS_MIN);
            let due = now_seconds.checked_sub(if burdened { sooner } else { interval });
            let Some((since, first)) = self.oldest(*id).filter(|(since, _)| due.is_some_and(|due| *since <= due))
            else {
                continue;
            };
            if most.as_ref().is_none_or(|(oldest, _)| since < *oldest) {
                let tokens = part_of(first, parts(bytes));
                let purge = purge(table, &tokens);
                most = Some((since, self.sweep(table, tokens, purge)));
            }
        }
        most.map(|(_, sweep)| sweep)
    }

    /// The sweep of some tokens of a table, in which this is garbage.
    #[must_use]
    pub fn sweep(&self, table: &Table, tokens: RangeInclusive<Token>, mut purge: Purge) -> GarbageSweep {
        if self.is_planted(Planted::GraceIgnored) {
            purge.gc_before_seconds = u32::MAX;
        }
        if self.is_planted(Planted::PurgedUnrepaired) {
            purge.gc_before_seconds = gc_before(purge.now_seconds, table.options.gc_grace_seconds);
        }
        GarbageSweep { table: table.id, tokens, purge }
    }

    #[cfg(feature = "planted")]
    fn is_planted(&self, bug: Planted) -> bool {
        self.planted == Some(bug)
    }

    #[cfg(not(feature = "planted"))]
    const fn is_planted(&self, _bug: Planted) -> bool {
        false
    }

    /// A sweep that began at `now_seconds` has succeeded. What to write.
    pub fn swept(&mut self, sweep: &GarbageSweep, now_seconds: u32) -> LocalWrite {
        let mut write = LocalWrite::default();
        if self.tables.contains_key(&sweep.table) {
            self.put(sweep.table, sweep.tokens.clone(), now_seconds, &mut write);
        }
        // Of several changes of one key the last one counts, as storage applies them in order.
        write
    }

    /// Seconds at `now_seconds` since the part of a table that has waited longest was swept, or the table first
    /// noticed; `None` for a table that is not known.
    #[must_use]
    pub fn lag_seconds(&self, table: TableId, now_seconds: u32) -> Option<u32> {
        self.oldest(table).map(|(since, _)| now_seconds.saturating_sub(since))
    }

    fn oldest(&self, table: TableId) -> Option<(u32, Token)> {
        self.tables.get(&table)?.pieces().map(|(part, at_seconds)| (*at_seconds, *part.start())).min()
    }

    fn put(&mut self, table: TableId, tokens: RangeInclusive<Token>, at_seconds: u32, write: &mut LocalWrite) {
        let changes = self.tables.entry(table).or_default().put(tokens, at_seconds);
        let record = |(first, piece): PieceChange<u32>| {
            let value = piece.map(|(last, at_seconds)| {
                let mut value = Vec::new();
                last.encode(&mut value);
                put_varint(&mut value, u64::from(at_seconds));
                Bytes::from(value)
            });
            (record_key(table, first), value)
        };
        write.records.extend(changes.into_iter().map(record));
    }
}

/// What a sweep of some tokens of a table may take away on the node `own` at `now_seconds`: what was garbage when the
/// tokens were last repaired over all their replicas in `view`, by `tombstone_gc` of the table. A range with one
/// replica counts as repaired. What the node stores and does not own decides nothing.
#[must_use]
pub fn purge_after_repair(
    view: &ClusterView,
    own: NodeId,
    repaired: &Repaired,
    table: &Table,
    tokens: &RangeInclusive<Token>,
    now_seconds: u32,
) -> Purge {
    let normal = purge_of(table, now_seconds);
    let clock = match table.options.tombstone_gc() {
        TombstoneGc::Timeout => return normal,
        TombstoneGc::Disabled => 0,
        TombstoneGc::Repair => {
            // No key has the smallest token.
            let start = Token(tokens.start().0.saturating_sub(1));
            let mut rest = (start < *tokens.end()).then_some(TokenRange { start, end: *tokens.end() });
            let mut clock = normal.now_seconds;
            while let Some(range) = rest
                && let Some((part, replicas)) = view.held_part(&table.keyspace, range)
            {
                if replicas.len() > 1 && replicas.contains(&own) {
                    clock = clock.min(repaired.through(table.id, part, replicas));
                }
                rest = (part.end < range.end).then_some(TokenRange { start: part.end, end: range.end });
            }
            clock
        }
    };
    Purge { gc_before_seconds: gc_before(clock, table.options.gc_grace_seconds), ..normal }
}

/// What is garbage in a table at `now_seconds`: what no reader and no replica need take notice of, whether or not it
/// may be taken away yet.
#[must_use]
pub fn purge_of(table: &Table, now_seconds: u32) -> Purge {
    let now_seconds = now_seconds.saturating_sub(CLOCK_SKEW_SECONDS);
    Purge {
        now_seconds,
        gc_before_seconds: gc_before(now_seconds, table.options.gc_grace_seconds),
        dropped_columns: table.drops(),
    }
}

/// How many parts a table of this size is swept in.
fn parts(bytes: u64) -> u64 {
    bytes.div_ceil(PART_BYTES).clamp(1, PARTS_MAX).next_power_of_two()
}

/// The part that a token is in, of a power of two of them.
fn part_of(token: Token, parts: u64) -> RangeInclusive<Token> {
    let bits = u64::BITS - parts.trailing_zeros();
    let position = (token.0 as u64) ^ (1 << 63);
    let width = if bits == u64::BITS { u64::MAX } else { (1 << bits) - 1 };
    let first = position & !width;
    let token = |position: u64| Token((position ^ (1 << 63)) as i64);
    token(first)..=token(first | width)
}

fn record_key(table: TableId, first: Token) -> Bytes {
    let mut key = GARBAGE.to_vec();
    table.0.encode(&mut key);
    first.encode(&mut key);
    Bytes::from(key)
}

#[cfg(test)]
#[path = "garbage_tests.rs"]
mod tests;
