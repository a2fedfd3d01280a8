//! The batches that a node keeps for their coordinators, itself perhaps among them, and writes when these do not.
//!
//! ```text
//!  KeepBatch --> record synced --> Written
//!  ForgetBatch --> record removed
//!  neither for a while --> record read --> written (`batches`) --> record removed
//! ```
//! B3 of [`crate::batch`]. What is kept is bounded in number and bytes: more is refused, and the coordinator asks
//! another node.

use super::{Out, Shard};
use crate::batch::LoggedBatch;
use crate::io::{Message, OpId, Refusal, StorageRequest};
use crate::replica::is_storable;
use bytes::Bytes;
use model::local::batch_key;
use model::{Instant, NodeId, Planted};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Batches that are written at one time.
const REPLAYS_MAX: usize = 16;

/// A batch on its way to storage, and whom to answer.
#[derive(Debug)]
struct Storing {
    batch: u128,
    bytes: usize,
    node: NodeId,
    op: OpId,
}

/// What a shard keeps.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// Bytes of each batch that is durable here.
    batches: BTreeMap<u128, usize>,
    bytes: usize,
    /// When they are to be written, if they are not being written.
    due: BTreeSet<(Instant, u128)>,
    storing: BTreeMap<OpId, Storing>,
    /// Being read to be written.
    loading: BTreeMap<OpId, u128>,
    /// Being read or written.
    under_way: BTreeSet<u128>,
    /// Batches written for coordinators that did not finish them.
    pub(super) replayed: u64,
}

impl Kept {
    /// What was kept before the start, with its bytes; all of it is due after `wait`.
    pub(super) fn new(batches: impl IntoIterator<Item = (u128, usize)>, now: Instant, wait: Duration) -> Kept {
        let batches: BTreeMap<u128, usize> = batches.into_iter().collect();
        let (bytes, due) = (batches.values().sum(), batches.keys().map(|batch| (now + wait, *batch)).collect());
        Kept { batches, bytes, due, ..Kept::default() }
    }

    /// How many.
    pub(super) fn len(&self) -> usize {
        self.batches.len()
    }

    /// When the next batch is to be written.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at).filter(|_| self.under_way.len() < REPLAYS_MAX)
    }

    fn next_due(&mut self, now: Instant) -> Option<u128> {
        self.deadline().filter(|at| *at <= now)?;
        let (_, batch) = self.due.pop_first()?;
        self.under_way.insert(batch);
        Some(batch)
    }

    /// A batch is to be written at `at`, once more, if it is kept here.
    pub(super) fn again(&mut self, batch: u128, at: Instant) {
        if self.under_way.remove(&batch) && self.batches.contains_key(&batch) {
            self.due.insert((at, batch));
        }
    }

    fn forget(&mut self, batch: u128) -> bool {
        let Some(bytes) = self.batches.remove(&batch) else { return false };
        self.bytes -= bytes;
        self.due.retain(|(_, other)| *other != batch);
        self.under_way.remove(&batch);
        true
    }
}

impl Shard {
    /// A coordinator wants a batch to be kept.
    pub(super) fn keep_asked(&mut self, out: &mut Out<'_>, node: NodeId, op: OpId, batch: &Arc<LoggedBatch>) {
        let (kept, bytes) = (&self.batches.kept, batch.bytes());
        if kept.batches.contains_key(&batch.id) {
            return self.send(out, node, Message::Written { ops: vec![op] });
        }
        let is_full = kept.batches.len() + kept.storing.len() >= self.config.batches_max
            || kept.bytes + bytes > self.config.batch_bytes_max;
        let is_valid = !batch.mutations.is_empty() && batch.mutations.iter().all(|mutation| is_storable(mutation));
        if is_full || !is_valid {
            let reason = if is_valid { Refusal::Overloaded } else { Refusal::Invalid };
            return self.send(out, node, Message::Refused { op, reason });
        }
        let stored = self.store(out, StorageRequest::Local(batch.record()));
        self.batches.kept.bytes += bytes;
        self.batches.kept.storing.insert(stored, Storing { batch: batch.id, bytes, node, op });
    }

    /// Everything up to `up_to` is synced.
    pub(super) fn batches_synced(&mut self, out: &mut Out<'_>, up_to: OpId) {
        let due = out.now.monotonic + self.config.batch_replay_after;
        while let Some(first) = self.batches.kept.storing.first_entry().filter(|first| *first.key() <= up_to) {
            let Storing { batch, bytes, node, op } = first.remove();
            let kept = &mut self.batches.kept;
            match kept.batches.insert(batch, bytes) {
                // It came twice.
                Some(_) => kept.bytes -= bytes,
                None => drop(kept.due.insert((due, batch))),
            }
            self.send(out, node, Message::Written { ops: vec![op] });
        }
    }

    /// A batch is done.
    pub(super) fn forget_asked(&mut self, out: &mut Out<'_>, batch: u128) {
        if self.batches.kept.forget(batch) {
            self.store(out, StorageRequest::Local(LoggedBatch::removal(batch)));
        }
    }

    /// Reads the next batch that is due.
    pub(super) fn replay_next(&mut self, out: &mut Out<'_>) -> bool {
        let Some(batch) = self.batches.kept.next_due(out.now.monotonic) else { return false };
        if self.config.is_planted(Planted::BatchNotReplayed) {
            return true;
        }
        // Before it has a view it would take every table for gone.
        if !self.view.members.contains_key(&self.config.node) || self.batches.is_open(batch) {
            self.batches.kept.again(batch, out.now.monotonic + self.config.batch_replay_after);
            return true;
        }
        let op = self.store(out, StorageRequest::ReadLocal { key: batch_key(batch) });
        self.batches.kept.loading.insert(op, batch);
        true
    }

    /// True when storage was asked for the record of a batch.
    pub(super) fn is_of_kept(&self, op: OpId) -> bool {
        self.batches.kept.loading.contains_key(&op)
    }

    /// The record of a batch was read.
    pub(super) fn batch_loaded(&mut self, out: &mut Out<'_>, op: OpId, value: Option<&Bytes>) {
        let Some(batch) = self.batches.kept.loading.remove(&op) else { return };
        if !self.batches.kept.batches.contains_key(&batch) {
            // It was forgotten meanwhile.
            return;
        }
        match value.map(LoggedBatch::of_record) {
            Some(Ok(loaded)) => {
                self.batches.kept.replayed += 1;
                self.replay(out, &loaded);
            }
            // It was one when the node started, or kept it.
            Some(Err(_)) | None => self.batches.kept.again(batch, out.now.monotonic + self.config.batch_replay_after),
        }
    }

    /// Storage failed something: true if that was done for a batch.
    pub(super) fn kept_failed(&mut self, out: &mut Out<'_>, op: OpId, reason: Refusal) -> bool {
        if let Some(Storing { bytes, node, op, .. }) = self.batches.kept.storing.remove(&op) {
            self.batches.kept.bytes -= bytes;
            self.send(out, node, Message::Refused { op, reason });
            return true;
        }
        let Some(batch) = self.batches.kept.loading.remove(&op) else { return false };
        self.batches.kept.again(batch, out.now.monotonic + self.config.batch_replay_after);
        true
    }
}
