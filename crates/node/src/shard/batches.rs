//! Logged batches at their coordinator, and the writing of what a node keeps for another coordinator.
//!
//! ```text
//!  request --> rows read, one timestamp --> kept by two other nodes, synced --> a write for each partition --> answer
//!                                                                           all have it, or a durable hint
//!                                                                                          '--> forgotten
//! ```
//! Invariants: B1 to B3 of [`crate::batch`]. The client is answered once.

use super::kept::Kept;
use super::present::resolved;
use super::reads::RoundEnd;
use super::{Out, Shard, Timer, check_table};
use crate::batch::LoggedBatch;
use crate::coordinator::quorum::Quorum;
use crate::coordinator::round::{Question, Round, RoundStep};
use crate::coordinator::select::PieceId;
use crate::coordinator::write::WriteOp;
use crate::io::{Message, OpId, RequestId, Response};
use crate::retry::Stamp;
use membership::ClusterView;
use model::error::FailureReason;
use model::index::check_indexed_values;
use model::{Consistency, Instant, Mutation, NodeId, Planted, RequestError, Rng};
use query::BoundWrite;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Nodes that keep a batch, if there are as many.
const KEEPERS: usize = 2;

/// A batch at its coordinator, until its client is answered.
#[derive(Debug)]
struct Batch {
    writes: Vec<BoundWrite>,
    consistency: Consistency,
    stamp: Stamp,
    deadline: Instant,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// The rows of the write at this place are being read, since its lists depend on them.
    Reading(usize),
    /// It waits for a timestamp.
    Waiting,
    /// It is being kept.
    Logging {
        op: OpId,
        batch: Arc<LoggedBatch>,
        awaited: BTreeSet<NodeId>,
        keepers: Vec<NodeId>,
        spare: Vec<NodeId>,
        required: usize,
    },
    /// So many of its writes are not acknowledged, nor failed.
    Writing { open: usize, error: Option<RequestError> },
}

/// A batch whose writes are under way, for a client or because its coordinator did not finish it.
#[derive(Debug)]
struct Open {
    parts: usize,
    /// True once a hint was not kept, or a write reached nobody: whoever keeps the batch is to write it again.
    failed: bool,
    /// Who keeps it.
    keepers: Vec<NodeId>,
}

/// A write of a batch.
#[derive(Debug)]
struct Part {
    batch: u128,
    /// Hints that are not durable yet.
    hints: usize,
    /// True once a replica that misses it was given no hint.
    unhinted: bool,
    /// True once nobody is asked any more.
    ended: bool,
}

/// The logged batches of a shard.
#[derive(Debug, Default)]
pub(super) struct Batches {
    all: BTreeMap<RequestId, Box<Batch>>,
    /// By the id of the messages that have them kept.
    logging: BTreeMap<OpId, RequestId>,
    /// Those that wait for a timestamp.
    unstamped: VecDeque<RequestId>,
    open: BTreeMap<u128, Open>,
    parts: BTreeMap<OpId, Part>,
    /// What this node keeps.
    pub(super) kept: Kept,
}

impl Batches {
    /// Those of a shard that keeps `kept`.
    pub(super) fn new(kept: Kept) -> Batches {
        Batches { kept, ..Batches::default() }
    }

    /// Batches of clients that are not answered.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// True while this request is a batch.
    pub(super) fn contains(&self, id: RequestId) -> bool {
        self.all.contains_key(&id)
    }

    /// True when messages of this id have a batch kept.
    pub(super) fn is_logging(&self, op: OpId) -> bool {
        self.logging.contains_key(&op)
    }

    /// True when this write is of a batch.
    pub(super) fn is_part(&self, write: OpId) -> bool {
        self.parts.contains_key(&write)
    }

    /// Batches that are being written because their coordinators did not finish them.
    pub(super) fn is_open(&self, batch: u128) -> bool {
        self.open.contains_key(&batch)
    }

    /// A replica that misses this write is given no hint: by the policy of hints, or because there are too many, which
    /// another time there may not be.
    pub(super) fn hint_dropped(&mut self, write: OpId, too_many: bool) {
        let Some(part) = self.parts.get_mut(&write) else { return };
        part.unhinted = true;
        if let Some(open) = self.open.get_mut(&part.batch) {
            open.failed |= too_many;
        }
    }

    /// A hint for a replica that misses this write is on its way to storage.
    pub(super) fn hint_begun(&mut self, write: OpId) {
        if let Some(part) = self.parts.get_mut(&write) {
            part.hints += 1;
        }
    }
}

/// The nodes that may keep a batch for `me`, those that should first, as Cassandra has them: live ones of its data
/// centre, of other racks if there are enough, of different racks if possible. A node that is alone there keeps it
/// itself.
fn keepers(view: &ClusterView, me: NodeId, is_alive: impl Fn(NodeId) -> bool, rng: &mut Rng) -> Vec<NodeId> {
    let (data_center, rack) = view.members.get(&me).map_or(("", ""), |own| (&own.data_center, &own.rack));
    let others = view.members.values().filter(|member| member.id != me && member.data_center == data_center);
    let mut racks: BTreeMap<(bool, &str), Vec<NodeId>> = BTreeMap::new();
    for member in others.filter(|member| is_alive(member.id)) {
        racks.entry((member.rack == rack, &member.rack)).or_default().push(member.id);
    }
    let mut racks: Vec<(bool, Vec<NodeId>)> = racks.into_iter().map(|((own, _), nodes)| (own, nodes)).collect();
    racks.iter_mut().for_each(|(_, nodes)| rng.shuffle(nodes));
    let own = racks.pop_if(|(own, _)| *own);
    rng.shuffle(&mut racks);
    // One of each rack, then a second one of each, and so on; of the own rack when all others are used up.
    let most = racks.iter().map(|(_, nodes)| nodes.len()).max().unwrap_or(0);
    let mut chosen: Vec<NodeId> =
        (0..most).flat_map(|place| racks.iter().filter_map(move |(_, nodes)| nodes.get(place))).copied().collect();
    chosen.extend(own.into_iter().flat_map(|(_, nodes)| nodes));
    if chosen.is_empty() {
        chosen.push(me);
    }
    chosen
}

impl Shard {
    /// Takes on a logged batch.
    pub(super) fn begin_batch(
        &mut self,
        out: &mut Out<'_>,
        id: RequestId,
        writes: Vec<BoundWrite>,
        consistency: Consistency,
        stamp: Stamp,
        deadline: Instant,
    ) -> Result<(), RequestError> {
        let view = self.view.clone();
        let mut writes: Vec<BoundWrite> = writes.into_iter().filter(|write| !write.is_empty()).collect();
        for write in &writes {
            check_table(&view, write.table())?;
            let keyspace = &write.table().keyspace;
            let quorum = Quorum::of_write(&self.config, &view, keyspace, consistency, write.partition().token)?;
            quorum.check_alive(consistency, |node| self.is_alive(node))?;
            for given in write.highest_timestamp().into_iter().chain(stamp.timestamp()) {
                self.check_timestamp(out.now, given)?;
            }
        }
        if writes.len() == 1
            && let Some(write) = writes.pop()
        {
            return match (write.reads_first(), stamp.token) {
                (true, Some(_)) => self.begin_decided(out, id, write, consistency, stamp, deadline),
                (true, None) => self.begin_present(id, write, consistency, stamp, deadline),
                (false, _) => self.begin_write(out, id, write, consistency, stamp, deadline),
            };
        }
        if stamp.token.is_some() && writes.iter().any(BoundWrite::reads_first) {
            let message = "A batch over several partitions that changes elements of lists by what they are at present \
                           cannot have a retry token";
            return Err(RequestError::Invalid(message.to_owned()));
        }
        if consistency == Consistency::Any && writes.iter().any(BoundWrite::reads_first) {
            let message = "Write operation require a read but consistency ANY is not supported on reads";
            return Err(RequestError::Invalid(message.to_owned()));
        }
        if writes.is_empty() {
            self.reply(out, id, Ok(Response::Written));
            return Ok(());
        }
        self.timers.set(Timer::Batch(id), deadline);
        let stage = Stage::Waiting;
        self.batches.all.insert(id, Box::new(Batch { writes, consistency, stamp, deadline, stage }));
        self.go_on_with_batch(out, id);
        Ok(())
    }

    /// Reads for the next write that must know what is there; then all are known.
    fn go_on_with_batch(&mut self, out: &mut Out<'_>, id: RequestId) {
        let tombstones = self.config.tombstone_fail;
        let Some(batch) = self.batches.all.get_mut(&id) else { return };
        let Some(place) = batch.writes.iter().position(BoundWrite::reads_first) else {
            return self.stamp_batch(out, id);
        };
        batch.stage = Stage::Reading(place);
        let (write, consistency, deadline) = (&batch.writes[place], batch.consistency, batch.deadline);
        let (table, command) = (write.table().clone(), write.present_command(tombstones, out.now.wall));
        let (op, piece) = (self.ops.next(), PieceId::of_write(id));
        let question = Question::Partition(Arc::new(command));
        let round = Round::new(piece, table, question, consistency, op, deadline, &self.config);
        self.timers.set(Timer::Round(op), round.timer);
        let ended = self.drive_round(out, op, Box::new(round), RoundStep::Begin);
        self.on_batch_read(out, id, ended);
    }

    /// The read for a write of a batch has ended, if it has.
    pub(super) fn on_batch_read(&mut self, out: &mut Out<'_>, id: RequestId, ended: Option<RoundEnd>) {
        let Some(batch) = self.batches.all.get_mut(&id) else { return };
        let (Stage::Reading(place), Some(ended)) = (&batch.stage, ended) else { return };
        let known = match ended {
            RoundEnd::Of(agreed) => {
                agreed.and_then(|agreed| resolved(batch.writes[*place].clone(), agreed, out.now.wall))
            }
            // One partition is not cut into parts.
            RoundEnd::Moved => Err(RequestError::Server("the replicas of a partition are not known".to_owned())),
        };
        match known {
            Ok(write) => {
                batch.writes[*place] = write;
                self.go_on_with_batch(out, id);
            }
            Err(error) => self.end_batch(out, id, Err(error)),
        }
    }

    /// Gives the batch its timestamp, and has it kept.
    fn stamp_batch(&mut self, out: &mut Out<'_>, id: RequestId) {
        let Some(batch) = self.batches.all.get_mut(&id) else { return };
        batch.stage = Stage::Waiting;
        let given = batch.stamp.timestamp();
        let is_given = given.is_some() || batch.writes.iter().all(|write| write.timestamp().is_some());
        let timestamp = match (given, is_given) {
            (given, true) => given.unwrap_or_default(),
            (_, false) => match self.server_timestamp(out) {
                Some(timestamp) => timestamp,
                None => return self.batches.unstamped.push_back(id),
            },
        };
        let made = self.mutations_of(out, id, timestamp).and_then(|mutations| {
            self.make_room(out, mutations.iter().map(|mutation| mutation.bytes()).sum())?;
            Ok(mutations)
        });
        match made {
            Ok(mutations) if mutations.is_empty() => self.end_batch(out, id, Ok(Response::Written)),
            Ok(mutations) => self.keep_batch(out, id, mutations),
            Err(error) => self.end_batch(out, id, Err(error)),
        }
    }

    fn mutations_of(&self, out: &Out<'_>, id: RequestId, timestamp: i64) -> Result<Vec<Arc<Mutation>>, RequestError> {
        let mut mutations = Vec::new();
        let Some(batch) = self.batches.all.get(&id) else { return Ok(mutations) };
        let now = batch.stamp.now(out.now.wall);
        for write in &batch.writes {
            let mutation = write.mutation(timestamp, now)?;
            if let Some(table) = self.view.schema.table(mutation.table) {
                check_indexed_values(table, &mutation)?;
            }
            if !mutation.records.is_empty() {
                mutations.push(Arc::new(mutation));
            }
        }
        Ok(mutations)
    }

    /// The timestamp ceiling has risen.
    pub(super) fn resume_batches(&mut self, out: &mut Out<'_>) {
        for id in std::mem::take(&mut self.batches.unstamped) {
            self.stamp_batch(out, id);
        }
    }

    /// It could not be raised.
    pub(super) fn fail_unstamped_batches(&mut self, out: &mut Out<'_>, error: &RequestError) {
        for id in std::mem::take(&mut self.batches.unstamped) {
            self.end_batch(out, id, Err(error.clone()));
        }
    }

    /// B1: has other nodes keep the batch.
    fn keep_batch(&mut self, out: &mut Out<'_>, id: RequestId, mutations: Vec<Arc<Mutation>>) {
        let (view, me) = (self.view.clone(), self.config.node);
        let mut batch = self.rng.next_u128();
        // Should this node keep it, the same shard does.
        while Shard::shard_of(LoggedBatch::token(batch), self.config.shards) != self.config.index {
            batch = self.rng.next_u128();
        }
        let (written_seconds, epoch) = (out.now.wall.clamped_seconds(), view.epoch);
        let graces = mutations.iter().map(|mutation| view.schema.grace_seconds(mutation.table));
        let grace_seconds = graces.min().unwrap_or(0);
        let batch = Arc::new(LoggedBatch { id: batch, written_seconds, grace_seconds, epoch, mutations });
        let alive = self.alive.clone();
        let mut asked = keepers(&view, me, |node| node == me || alive.contains(&node), &mut self.rng);
        let spare = asked.split_off(asked.len().min(KEEPERS));
        let (op, required) = (self.ops.next(), asked.len());
        let Some(own) = self.batches.all.get_mut(&id) else { return };
        let awaited = asked.iter().copied().collect();
        self.write_bytes += batch.bytes();
        own.stage = Stage::Logging { op, batch: batch.clone(), awaited, keepers: Vec::new(), spare, required };
        self.batches.logging.insert(op, id);
        for node in asked {
            self.send(out, node, Message::KeepBatch { op, batch: batch.clone() });
        }
    }

    /// A node keeps a batch.
    pub(super) fn on_batch_kept(&mut self, out: &mut Out<'_>, from: NodeId, op: OpId) {
        let Some(id) = self.batches.logging.get(&op).copied() else { return };
        let Some(own) = self.batches.all.get_mut(&id) else { return };
        let Stage::Logging { awaited, keepers, required, .. } = &mut own.stage else { return };
        if awaited.remove(&from) {
            keepers.push(from);
        }
        if keepers.len() >= *required {
            self.batches.logging.remove(&op);
            self.write_batch(out, id);
        }
    }

    /// A node will not keep a batch: another one is asked.
    pub(super) fn on_batch_not_kept(&mut self, out: &mut Out<'_>, from: NodeId, op: OpId) {
        let Some(id) = self.batches.logging.get(&op).copied() else { return };
        let Some(own) = self.batches.all.get_mut(&id) else { return };
        let Stage::Logging { batch, awaited, spare, .. } = &mut own.stage else { return };
        if !awaited.remove(&from) {
            return;
        }
        if spare.is_empty() {
            return self.time_out_batch(out, id);
        }
        let next = spare.remove(0);
        awaited.insert(next);
        let batch = batch.clone();
        self.send(out, next, Message::KeepBatch { op, batch });
    }

    /// Nothing reaches a node: batches that it was to keep are kept by another one.
    pub(super) fn batches_unreachable(&mut self, out: &mut Out<'_>, node: NodeId) {
        for op in self.batches.logging.keys().copied().collect::<Vec<_>>() {
            self.on_batch_not_kept(out, node, op);
        }
    }

    /// The batch is kept: it is written now, each partition as any write.
    fn write_batch(&mut self, out: &mut Out<'_>, id: RequestId) {
        let Some(own) = self.batches.all.get_mut(&id) else { return };
        let (consistency, deadline) = (own.consistency, own.deadline);
        let stage = std::mem::replace(&mut own.stage, Stage::Waiting);
        let Stage::Logging { batch, keepers, .. } = stage else { return };
        self.write_bytes -= batch.bytes();
        self.timers.cancel(Timer::Batch(id), deadline);
        if self.config.is_planted(Planted::BatchForgottenEarly) {
            self.forget_batch(out, batch.id, &keepers);
        }
        let view = self.view.clone();
        let mut writes = Vec::new();
        for mutation in &batch.mutations {
            // Of a table that is gone nobody can read it.
            let Some(table) = view.schema.table(mutation.table) else { continue };
            let (keyspace, token) = (&table.keyspace, mutation.partition.token);
            let replicas = view.holders(keyspace, token);
            let quorum = match Quorum::of_write(&self.config, &view, keyspace, consistency, token) {
                Ok(quorum) => quorum,
                // The placement has changed meanwhile. Those that keep the batch write it, so no error denies it.
                Err(_) => {
                    let required = replicas.len() as u32;
                    let (received, failures, reason) = (0, required, FailureReason::Unknown);
                    let error = RequestError::WriteFailure { consistency, received, required, failures, reason };
                    return self.end_batch(out, id, Err(error));
                }
            };
            writes.push((WriteOp::new(id, mutation.clone(), consistency, replicas, quorum, deadline), replicas));
        }
        let Some(own) = self.batches.all.get_mut(&id) else { return };
        own.stage = Stage::Writing { open: writes.len(), error: None };
        if writes.is_empty() {
            self.end_batch(out, id, Ok(Response::Written));
        }
        self.send_parts(out, batch.id, keepers, writes);
    }

    /// Sends the writes of a batch, and remembers whose they are.
    fn send_parts(&mut self, out: &mut Out<'_>, batch: u128, keepers: Vec<NodeId>, writes: Vec<(WriteOp, &[NodeId])>) {
        if writes.is_empty() {
            return self.end_open(out, batch, Open { parts: 0, failed: false, keepers });
        }
        self.batches.open.insert(batch, Open { parts: writes.len(), failed: false, keepers });
        let mut sent = Vec::new();
        for (write, replicas) in writes {
            let op = self.ops.next();
            self.batches.parts.insert(op, Part { batch, hints: 0, unhinted: false, ended: false });
            self.write_bytes += write.bytes;
            // One by one: of a write at ANY the end may come at once.
            self.writes_unanswered += usize::from(!write.is_answered());
            self.timers.set(Timer::Write(op), write.deadline);
            self.send_write(out, op, write, replicas);
            sent.push(op);
        }
        for op in sent {
            if let Some(write) = self.writes.get_mut(&op) {
                let verdict = write.verdict();
                self.on_verdict(out, op, verdict);
            }
        }
    }

    /// A write of a batch was acknowledged, or was not.
    pub(super) fn on_batch_part(&mut self, out: &mut Out<'_>, id: RequestId, result: Result<Response, RequestError>) {
        let Some(own) = self.batches.all.get_mut(&id) else { return };
        let Stage::Writing { open, error } = &mut own.stage else { return };
        *open -= 1;
        if let Err(failed) = result {
            error.get_or_insert(failed);
        }
        if *open == 0 {
            let result = error.take().map_or(Ok(Response::Written), Err);
            self.end_batch(out, id, result);
        }
    }

    /// The client of a batch is answered.
    fn end_batch(&mut self, out: &mut Out<'_>, id: RequestId, result: Result<Response, RequestError>) {
        let Some(own) = self.batches.all.remove(&id) else { return };
        self.batches.unstamped.retain(|waiting| *waiting != id);
        match &own.stage {
            Stage::Writing { .. } => {}
            Stage::Logging { op, batch, .. } => {
                self.write_bytes -= batch.bytes();
                self.batches.logging.remove(op);
                self.timers.cancel(Timer::Batch(id), own.deadline);
            }
            Stage::Reading(_) | Stage::Waiting => self.timers.cancel(Timer::Batch(id), own.deadline),
        }
        self.reply(out, id, result);
    }

    /// The batch was not written in time.
    pub(super) fn time_out_batch(&mut self, out: &mut Out<'_>, id: RequestId) {
        let Some(own) = self.batches.all.get(&id) else { return };
        let timeout = match (&own.stage, own.writes.first()) {
            (Stage::Logging { keepers, required, .. }, _) => {
                RequestError::BatchLogTimeout { received: keepers.len() as u32, required: *required as u32 }
            }
            (_, Some(write)) => self.timeout_of(write.table(), own.consistency),
            (_, None) => return,
        };
        self.end_batch(out, id, Err(timeout));
    }

    // ---- The end ----

    /// A write of a batch has ended: every replica has it, was given a hint, or is left to repair by the policy of
    /// hints, which finds it only if it `is_anywhere`.
    pub(super) fn batch_part_ended(&mut self, out: &mut Out<'_>, write: OpId, is_anywhere: bool) {
        let Some(part) = self.batches.parts.get_mut(&write) else { return };
        part.ended = true;
        if part.unhinted
            && !is_anywhere
            && let Some(open) = self.batches.open.get_mut(&part.batch)
        {
            open.failed = true;
        }
        self.note_part(out, write);
    }

    /// A hint for a write of a batch is durable, or there will be none.
    pub(super) fn batch_hint_ended(&mut self, out: &mut Out<'_>, write: OpId, kept: bool) {
        let Some(part) = self.batches.parts.get_mut(&write) else { return };
        part.hints = part.hints.saturating_sub(1);
        if let Some(open) = self.batches.open.get_mut(&part.batch) {
            open.failed |= !kept;
        }
        self.note_part(out, write);
    }

    fn note_part(&mut self, out: &mut Out<'_>, write: OpId) {
        let Some(part) = self.batches.parts.get(&write).filter(|part| part.ended && part.hints == 0) else { return };
        let batch = part.batch;
        self.batches.parts.remove(&write);
        let Some(open) = self.batches.open.get_mut(&batch) else { return };
        open.parts -= 1;
        if open.parts == 0
            && let Some(open) = self.batches.open.remove(&batch)
        {
            self.end_open(out, batch, open);
        }
    }

    /// B2: every write of a batch has ended.
    fn end_open(&mut self, out: &mut Out<'_>, batch: u128, open: Open) {
        match open.failed {
            true => self.batches.kept.again(batch, out.now.monotonic + self.config.batch_replay_after),
            false => self.forget_batch(out, batch, &open.keepers),
        }
    }

    fn forget_batch(&mut self, out: &mut Out<'_>, batch: u128, keepers: &[NodeId]) {
        for node in keepers {
            self.send(out, *node, Message::ForgetBatch { batch });
        }
    }

    /// B3: writes a batch that this node keeps.
    pub(super) fn replay(&mut self, out: &mut Out<'_>, batch: &LoggedBatch) {
        let (view, now) = (self.view.clone(), out.now);
        let again = now.monotonic + self.config.batch_replay_after;
        // What is gone for a node that knows less than the coordinator did may only not be there yet.
        if batch.epoch > view.epoch || self.make_room(out, batch.bytes()).is_err() {
            return self.batches.kept.again(batch.id, again);
        }
        let deadline = now.monotonic + self.config.hint_timeout;
        let mut writes = Vec::new();
        for mutation in &batch.mutations {
            let Some(table) = view.schema.table(mutation.table) else { continue };
            let grace = table.options.gc_grace_seconds.min(batch.grace_seconds);
            let age = now.wall.clamped_seconds().saturating_sub(batch.written_seconds);
            // Deletions after it may be purged.
            if age >= grace {
                continue;
            }
            let (keyspace, token) = (&table.keyspace, mutation.partition.token);
            let replicas = view.holders(keyspace, token);
            let one = Consistency::One;
            let Ok(quorum) = Quorum::of_write(&self.config, &view, keyspace, one, token) else {
                return self.batches.kept.again(batch.id, again);
            };
            let mut write = WriteOp::new(RequestId(0), mutation.clone(), one, replicas, quorum, deadline);
            // Nobody waits for it.
            write.forget_request();
            write.grace_seconds = Some(grace - age);
            writes.push((write, replicas));
        }
        self.send_parts(out, batch.id, vec![self.config.node], writes);
    }
}

#[cfg(test)]
#[path = "batches_tests.rs"]
mod tests;
