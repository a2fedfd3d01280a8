//! The background thread that sweeps tables for garbage, part by part, as `node::garbage` schedules it.
//!
//! Invariants:
//! * One sweep at a time, and a pause after each that is at least as long as the sweep was and keeps the rewriting
//!   below [`BYTES_PER_SECOND`]: the work in the foreground has at least half of the disk.
//! * The history is written before the next sweep begins; a restart goes on where it ended.
//! * Nothing is swept before the node has joined: it would not know its tables.
//! * A store that fails while it is swept stops the process as one that fails while it is written to.

use crate::clock::Clock;
use crate::exit::tries_again;
use crate::member_loop::Published;
use crate::metrics::Metrics;
use crossbeam::channel::{Receiver, RecvTimeoutError};
use model::local::LocalWrite;
use model::local::prefix::GARBAGE;
use model::schema::Table;
use model::{NodeId, Token};
use node::garbage::purge_after_repair;
use node::repair::repaired::{REPAIRED, Repaired};
use node::storage::{Storage, StorageError, Write};
use node::{GarbageSchedule, TableLoad};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, Instant};
use storage::Store;

/// How often is looked whether something is due.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Most bytes of files that are rewritten in a second, on average. A terabyte is swept in nine hours.
const BYTES_PER_SECOND: u64 = 32 << 20;

/// The thread's world.
pub(crate) struct GarbageCollector {
    pub(crate) store: Arc<Store>,
    pub(crate) own: NodeId,
    pub(crate) published: Arc<Published>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) clock: Clock,
    pub(crate) schedule: GarbageSchedule,
    /// Disconnected when the node stops.
    pub(crate) stop: Receiver<()>,
}

/// The schedule as the store has it.
///
/// # Errors
/// When its records cannot be read.
pub(crate) fn recover(store: &Store) -> Result<GarbageSchedule, StorageError> {
    let records = store.local_records(GARBAGE)?;
    GarbageSchedule::from_local_records(&records).map_err(|error| {
        StorageError::Corrupt(format!("the node's records of its sweeps for garbage cannot be read: {error}"))
    })
}

impl GarbageCollector {
    /// Sweeps until the node stops.
    pub(crate) fn run(mut self) {
        let mut pause = LOOK_EVERY;
        while let Err(RecvTimeoutError::Timeout) = self.stop.recv_timeout(pause) {
            pause = match self.turn() {
                Ok(pause) => pause,
                Err(error) if tries_again(&error, "a sweep for garbage") => LOOK_EVERY,
                Err(_) => return,
            };
        }
    }

    /// Sweeps what is due, if something is. The pause after it.
    fn turn(&mut self) -> Result<Duration, StorageError> {
        if !*self.published.joined.borrow() {
            return Ok(LOOK_EVERY);
        }
        let view = self.published.view.load_full();
        let tables = view.schema.tables();
        let now_seconds = self.clock.now().wall.clamped_seconds();
        if let Some(write) = self.schedule.set_tables(tables, now_seconds) {
            self.record(write)?;
        }
        let status = self.store.status();
        let load = |id| {
            let table = status.tables.iter().find(|table| table.id == id);
            table.map_or_else(TableLoad::default, |table| TableLoad {
                bytes: table.file_bytes,
                burdened: table.burdened,
            })
        };
        let repaired = self.store.local_records(REPAIRED)?;
        let repaired = Repaired::from_local_records(&repaired).map_err(|error| {
            StorageError::Corrupt(format!("the node's records of what is repaired cannot be read: {error}"))
        })?;
        let purge = |table: &Table, tokens: &RangeInclusive<Token>| {
            purge_after_repair(&view, self.own, &repaired, table, tokens, now_seconds)
        };
        let Some(sweep) = self.schedule.next(tables, now_seconds, load, purge) else { return Ok(LOOK_EVERY) };
        let began = Instant::now();
        let report = self.store.collect_garbage(&sweep)?;
        let took = began.elapsed();
        let write = self.schedule.swept(&sweep, now_seconds);
        self.record(write)?;
        self.metrics.garbage_sweeps.add(1);
        self.metrics.garbage_rows_removed.add(report.rows_removed);
        self.metrics.garbage_deletions_removed.add(report.deletions_removed);
        tracing::info!(
            table = %sweep.table, first = %sweep.tokens.start(), last = %sweep.tokens.end(), ?took,
            bytes = report.bytes, examined = report.rows_examined, reduced = report.rows_reduced, removed =
            report.rows_removed,
            deletions = report.deletions_removed, "swept for garbage"
        );
        let allowed = Duration::from_secs_f64(report.bytes as f64 / BYTES_PER_SECOND as f64);
        Ok(took.max(allowed.saturating_sub(took)))
    }

    fn record(&self, write: LocalWrite) -> Result<(), StorageError> {
        self.store.commit(&[Write::Local(write)], true)?.into_iter().collect()
    }
}
