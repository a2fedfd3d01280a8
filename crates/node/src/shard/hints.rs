//! The hints of a shard: which writes are kept for whom, what an operator says of them, and what delivery decides
//! carried out.

use membership::ClusterView;
use model::{NodeId, Planted};
use std::collections::BTreeSet;
use std::time::Duration;

use super::{Out, Record, Shard};
use crate::config::HintPolicy;
use crate::coordinator::write::WriteOp;
use crate::hints::{HintAction, Route, is_outlived};
use crate::io::{Message, OpId, StorageRequest};
use crate::storage::{Hint, HintPosition};

impl Shard {
    /// The hint for `target` is durable, or there will be none: at ANY that is what a write waits for.
    pub(super) fn on_hint_ended(&mut self, out: &mut Out<'_>, target: NodeId, write: Option<OpId>, kept: bool) {
        let Some(op) = write else { return };
        if let Some(write) = self.writes.get_mut(&op) {
            write.hint_ended(target, kept);
            let verdict = write.verdict();
            self.on_verdict(out, op, verdict);
        }
        self.batch_hint_ended(out, op, kept);
    }

    /// Keeps a write for a node that missed it.
    pub(super) fn hint(&mut self, out: &mut Out<'_>, target: NodeId, op: OpId, write: &mut WriteOp) {
        if write.mutation.records.is_empty() {
            // It misses nothing but what a request came to, which a quorum has.
            write.hint_ended(target, false);
            return;
        }
        let (now, policy) = (out.now.monotonic, &self.config.hints);
        let dead_for = self.dead_since.get(&target).map_or(Duration::ZERO, |since| now - *since);
        let too_many = self.records.len() >= self.config.replica_ops_max;
        let disabled = !policy.enabled || policy.disabled_data_centers.contains(self.view.data_center(target));
        if disabled || dead_for > policy.window || too_many {
            self.counters.hints_dropped += 1;
            write.hint_ended(target, false);
            self.batches.hint_dropped(op, too_many);
            return;
        }
        if self.config.is_planted(Planted::HintDropped) {
            return;
        }
        self.counters.hints_written += 1;
        let written_seconds = out.now.wall.clamped_seconds();
        let grace_seconds = write.grace_seconds.unwrap_or_else(|| self.view.schema.grace_seconds(write.mutation.table));
        let hint = Hint { written_seconds, grace_seconds, mutation: write.mutation.clone() };
        // The window holds over restarts of this node and over the times at which the target was alive for a moment:
        // hints of no more than one window wait for a target.
        let window = u32::try_from(self.config.hints.window.as_secs()).unwrap_or(u32::MAX);
        let oldest_seconds = out.now.wall.clamped_seconds().saturating_sub(window);
        let waits = (write.counts_hints() || self.batches.is_part(op)).then_some(op);
        self.batches.hint_begun(op);
        self.record(out, Record::Hint(target, waits), StorageRequest::Hint { target, hint, oldest_seconds });
    }

    pub(super) fn on_hint_policy(&mut self, out: &mut Out<'_>, policy: &HintPolicy) {
        self.config.hints = policy.clone();
        let now = out.now.monotonic;
        if policy.paused {
            let actions = self.hints.hold(now, &self.config);
            self.carry_out(out, actions);
        } else {
            self.wake_stranded(now);
        }
    }

    /// Forgets the hints for these nodes, whatever was delivered of them.
    pub(super) fn discard_hints(&mut self, out: &mut Out<'_>, targets: Vec<NodeId>) {
        if self.config.index != 0 {
            return;
        }
        for target in targets {
            self.hints.discard(target, out.now.monotonic, &self.config);
            let forget = StorageRequest::HintsDelivered { target, through: HintPosition(u64::MAX) };
            self.record(out, Record::HintsDelivered(target), forget);
        }
    }

    pub(super) fn deliver_hints(&mut self, out: &mut Out<'_>, target: Option<NodeId>) {
        let Some(target) = target else { return };
        let view = &self.view;
        let now_seconds = out.now.wall.clamped_seconds();
        let route = |hint: &Hint| {
            let mutation = &hint.mutation;
            let Some(table) = view.schema.table(mutation.table) else { return Route::Nobody };
            if is_outlived(hint, table.options.gc_grace_seconds, now_seconds) {
                return Route::Nobody;
            }
            let replicas = view.holders(&table.keyspace, mutation.partition.token);
            if replicas.contains(&target) { Route::Target } else { Route::Replicas(replicas.to_vec()) }
        };
        let ops = &mut self.ops;
        let actions = self.hints.pump(target, out.now.monotonic, &self.config, route, || ops.next());
        self.carry_out(out, actions);
    }

    pub(super) fn carry_out(&mut self, out: &mut Out<'_>, actions: Vec<HintAction>) {
        for action in actions {
            match action {
                HintAction::Send { to, op, mutation, purpose } => {
                    self.send(out, to, Message::Write { op, mutation, purpose });
                }
                HintAction::Forget { target, through } => {
                    self.record(
                        out,
                        Record::HintsDelivered(target),
                        StorageRequest::HintsDelivered { target, through },
                    );
                }
                HintAction::Read { target, after } => {
                    let bytes_limit = self.config.hint_page_bytes.max(1);
                    let op = self.store(out, StorageRequest::ReadHints { target, after, bytes_limit });
                    self.hints.reading(op, target);
                }
            }
        }
    }
}

/// True when hints for `target` can be delivered: to itself while it is alive, to those who own its partitions
/// once it has left. Nobody can before this node has a view in which it is a member: hints would be
/// discarded because their tables are not known yet.
pub(super) fn is_reachable(view: &ClusterView, alive: &BTreeSet<NodeId>, me: NodeId, target: NodeId) -> bool {
    view.members.contains_key(&me) && (target == me || alive.contains(&target) || !view.members.contains_key(&target))
}
