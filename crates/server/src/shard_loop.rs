//! One loop per shard: it takes a batch of inputs, reads the clock once, steps the shard with each, and
//! carries out what the shard asks for.
//!
//! Invariants:
//! * The loop never waits for anything but its inbox and its deadline: queues to storage and to other nodes
//!   are asked without waiting, and a refusal is an input or a lost message. So whoever waits for room in
//!   the inbox cannot wait for ever.
//! * Storage gets a shard's writes in the order in which the shard asked for them.
//! * Every request gets exactly one answer, but when the process stops.

use crate::clock::Clock;
use crate::gate::Gate;
use crate::member_loop::{MemberInput, Published};
use crate::metrics::Metrics;
use crate::peers::{PeerSender, Peers};
use crate::read_pool::{ReadJob, ReadPool};
use crate::storage_writer::WriteQueue;
use crate::trace::{Observer, Trace};
use membership::ClusterView;
use model::{NodeId, ReadCommand, RequestError};
use node::io::{Effect, Envelope, Input, OpId, Request, RequestId, Response, StorageRequest, Stored};
use node::storage::{StorageError, Write};
use node::{HintPolicy, RepairControl, ServiceTime, Shard, ShardStatus};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use storage::Store;
use tokio::sync::{mpsc, oneshot};

/// Inputs that may wait before a loop.
pub(crate) const INBOX_INPUTS_MAX: usize = 4_096;
/// Inputs taken in one batch. One may be a whole frame of messages.
const BATCH_INPUTS_MAX: usize = 64;
/// For about so long a loop handles inputs under one reading of the clock, and before it lets others go on: who takes
/// requests in, and says no to them, must not wait for many reads of a shard on the same thread.
const TURN: Duration = Duration::from_micros(500);
/// A shard is told so often that requests are being refused.
const OVERLOAD_TOLD_EVERY: Duration = Duration::from_millis(100);

/// What arrives at a shard's loop.
#[expect(clippy::large_enum_variant, reason = "most of what arrives is a request: a box would be one more allocation")]
pub(crate) enum ShardInput {
    /// A client asks.
    Request {
        /// What.
        request: Request,
        /// Where the answer goes.
        reply: ReplyTo,
        /// When it was put in the inbox: its timeout counts from then.
        submitted: model::Instant,
        /// Where what is done for it is noted, if its client asked for that.
        trace: Option<Arc<Trace>>,
    },
    /// A node says something.
    Messages {
        /// Who.
        from: NodeId,
        /// What, in its order.
        envelopes: Vec<Envelope>,
        /// When it came.
        received_at: model::Instant,
    },
    /// Storage answers.
    Stored(Stored),
    /// There is a new view; storage has its tables.
    View(Arc<ClusterView>),
    /// These nodes are alive.
    Alive(Arc<BTreeSet<NodeId>>),
    /// Nothing reaches this node.
    Unreachable(NodeId),
    /// What the operator says of hints.
    Hints(Arc<HintPolicy>),
    /// The operator wants the hints for these nodes gone.
    DiscardHints(Vec<NodeId>),
    /// What the operator wants of repairs.
    Repair(RepairControl),
    /// Somebody wants to know how the shard is.
    Status(oneshot::Sender<ShardStatus>),
}

/// The result of a request.
pub(crate) type Outcome = Result<Response, RequestError>;

/// Where an answer goes.
#[expect(clippy::large_enum_variant, reason = "it goes with a request: a box would be one more allocation")]
pub(crate) enum ReplyTo {
    /// To the one who waits for it.
    One(oneshot::Sender<Outcome>),
    /// Onto a client's stream, in which room is reserved.
    Stream(crate::execute_stream::Reply),
    /// To a connection of the CQL native protocol, in which room is reserved.
    Native(crate::native_request::Reply),
}

impl ReplyTo {
    /// Gives the answer; a client that is gone is not an error.
    pub(crate) fn send(self, outcome: Outcome) {
        match self {
            ReplyTo::One(sender) => drop(sender.send(outcome)),
            ReplyTo::Stream(reply) => reply.send(outcome),
            ReplyTo::Native(reply) => reply.send(outcome),
        }
    }
}

/// Requests in work, by their id: the low half is the position, the high half how often it was used, so that a
/// late answer cannot go to the wrong client.
#[derive(Default)]
struct Pending {
    slots: Vec<(u32, Option<ReplyTo>)>,
    free: Vec<u32>,
}

impl Pending {
    fn insert(&mut self, reply: ReplyTo) -> RequestId {
        let position = self.free.pop().unwrap_or_else(|| {
            self.slots.push((0, None));
            (self.slots.len() - 1) as u32
        });
        let slot = &mut self.slots[position as usize];
        slot.0 = slot.0.wrapping_add(1);
        slot.1 = Some(reply);
        RequestId(u64::from(slot.0) << 32 | u64::from(position))
    }

    fn take(&mut self, id: RequestId) -> Option<ReplyTo> {
        let position = id.0 as u32;
        let slot = self.slots.get_mut(position as usize)?;
        if slot.0 != (id.0 >> 32) as u32 {
            return None;
        }
        let reply = slot.1.take()?;
        self.free.push(position);
        Some(reply)
    }
}

/// A shard and the world that it acts on.
pub(crate) struct ShardLoop {
    /// Its index among the node's shards.
    pub(crate) index: u16,
    /// The logic.
    pub(crate) shard: Shard,
    /// This node.
    pub(crate) own: NodeId,
    /// What arrives.
    pub(crate) inbox: mpsc::Receiver<ShardInput>,
    /// What is before it.
    pub(crate) gate: Arc<Gate>,
    /// For how long what arrives may wait.
    pub(crate) wait_max: Duration,
    /// Every clock is read here.
    pub(crate) clock: Clock,
    /// For reads that are answered from memory.
    pub(crate) store: Arc<Store>,
    /// For reads that are not.
    pub(crate) reads: Arc<ReadPool>,
    /// For writes.
    pub(crate) writes: Arc<WriteQueue>,
    /// For messages.
    pub(crate) peers: Arc<Peers>,
    /// Membership, to be told that this node lags.
    pub(crate) member: mpsc::Sender<MemberInput>,
    /// What is counted.
    pub(crate) metrics: Arc<Metrics>,
    /// Where it is told how repairs are.
    pub(crate) published: Arc<Published>,
}

/// What the loop keeps between inputs of a batch.
#[derive(Default)]
struct Scratch {
    pending: Pending,
    effects: Vec<Effect>,
    /// Answers that are there at once; they are stepped before the batch ends.
    answers: VecDeque<Input>,
    writes: Vec<(OpId, Write)>,
    refused: Vec<OpId>,
    senders: BTreeMap<NodeId, PeerSender>,
    /// Nodes for which a message of this batch was dropped since nothing reaches them.
    unreachable: BTreeSet<NodeId>,
    /// Requests that are traced.
    observer: Observer,
    /// What there is to say to the gate.
    turn: Turn,
}

/// How fast the loop is.
#[derive(Default)]
struct Turn {
    /// How long it takes for a request.
    service: ServiceTime,
    /// Since when it has had something to do, as far as `service` does not say it yet, and the requests begun since.
    since: model::Instant,
    begun: u64,
    /// When the shard was last told of requests that are refused, and how many were by then.
    told_at: model::Instant,
    told: u64,
}

impl ShardLoop {
    /// Runs until every sender of its inbox is gone.
    pub(crate) async fn run(mut self) {
        let mut batch = Vec::with_capacity(BATCH_INPUTS_MAX);
        let mut scratch = Scratch::default();
        let far = self.clock.timer(model::Instant(u64::MAX));
        let timer = tokio::time::sleep_until(far);
        tokio::pin!(timer);
        let mut armed = far;
        let mut turn_began = self.clock.monotonic();
        loop {
            let deadline = self.shard.deadline().map_or(far, |at| self.clock.timer(at));
            // A timer that fires early costs one empty wake; setting it for every batch costs more.
            if deadline < armed {
                timer.as_mut().reset(deadline);
                armed = deadline;
            }
            let waits = self.inbox.is_empty();
            let woken = tokio::select! {
                biased;
                count = self.inbox.recv_many(&mut batch, BATCH_INPUTS_MAX) => {
                    if count == 0 {
                        return;
                    }
                    false
                }
                () = timer.as_mut() => true,
            };
            let mut now = self.clock.now();
            if waits {
                turn_began = now.monotonic;
                scratch.turn.since = now.monotonic;
            }
            if woken || self.shard.deadline().is_some_and(|at| at <= now.monotonic) {
                self.step(now, Input::Wake, &mut scratch);
            }
            if woken {
                // Re-armed above for whatever is due next.
                timer.as_mut().reset(far);
                armed = far;
            }
            for input in batch.drain(..) {
                self.on_input(now, input, &mut scratch);
                if self.clock.monotonic() - turn_began > TURN {
                    self.settle(now, &mut scratch);
                    self.tell_gate(now, &mut scratch);
                    tokio::task::yield_now().await;
                    now = self.clock.now();
                    turn_began = now.monotonic;
                }
            }
            self.settle(now, &mut scratch);
            // Told at once: a write must not wait for its timeout to become a hint. Once for each batch, so that
            // what the shard sends in answer cannot go round in circles.
            for node in std::mem::take(&mut scratch.unreachable) {
                self.step(now, Input::Unreachable(node), &mut scratch);
                self.settle(now, &mut scratch);
            }
            self.tell_gate(now, &mut scratch);
        }
    }

    /// Tells the gate how long requests take, and the shard when others are refused there.
    fn tell_gate(&mut self, now: model::Now, scratch: &mut Scratch) {
        let (at, waits) = (self.clock.monotonic(), self.gate.waiting() > 0);
        let turn = &mut scratch.turn;
        if turn.begun > 0 || waits {
            turn.service.note(at - turn.since, turn.begun);
        }
        (turn.since, turn.begun) = (at, 0);
        self.gate.publish(turn.service, self.shard.is_full());
        let refused = self.gate.refused();
        if refused != turn.told && at - turn.told_at >= OVERLOAD_TOLD_EVERY {
            (turn.told, turn.told_at) = (refused, at);
            self.step(now, Input::Overloaded, scratch);
        }
    }

    fn on_input(&mut self, now: model::Now, input: ShardInput, scratch: &mut Scratch) {
        let input = match input {
            ShardInput::Request { request, reply, submitted, trace } => {
                self.gate.leave();
                scratch.turn.begun += 1;
                // Nobody waits for what would be done now: doing it would make those behind it late too.
                let Some(request) = request.after(now.monotonic - submitted) else {
                    self.metrics.requests_overloaded.add(1);
                    let message = "the request waited for longer than its timeout, and nothing was done".to_owned();
                    return reply.send(Err(RequestError::Overloaded(message)));
                };
                let id = scratch.pending.insert(reply);
                if let Some(trace) = trace {
                    scratch.observer.begin(id, trace);
                }
                Input::Request { id, request }
            }
            ShardInput::Messages { from, envelopes, received_at } => {
                let is_late = now.monotonic - received_at > self.wait_max;
                for envelope in envelopes {
                    let input = match is_late {
                        true => Input::Late { from, envelope },
                        false => Input::Message { from, envelope },
                    };
                    self.step(now, input, scratch);
                }
                return;
            }
            ShardInput::Stored(stored) => Input::Stored(stored),
            ShardInput::View(view) => {
                scratch.senders = self.peers.senders(&view);
                Input::View(view)
            }
            ShardInput::Alive(alive) => Input::Alive(alive),
            ShardInput::Unreachable(node) => Input::Unreachable(node),
            ShardInput::Hints(policy) => Input::Hints(policy),
            ShardInput::DiscardHints(targets) => Input::DiscardHints(targets),
            ShardInput::Repair(control) => Input::Repair(control),
            ShardInput::Status(reply) => {
                let _ = reply.send(self.shard.status());
                return;
            }
        };
        self.step(now, input, scratch);
    }

    fn step(&mut self, now: model::Now, input: Input, scratch: &mut Scratch) {
        let mut effects = std::mem::take(&mut scratch.effects);
        let is_observed = !scratch.observer.is_idle();
        let observed = if is_observed { scratch.observer.input(&input) } else { None };
        self.shard.step(now, input, &mut effects);
        for effect in effects.drain(..) {
            if is_observed {
                scratch.observer.effect(observed, &effect);
            }
            self.route(effect, scratch);
        }
        scratch.effects = effects;
    }

    /// Hands over the batch's writes, and steps the answers that are there at once until there are none.
    fn settle(&mut self, now: model::Now, scratch: &mut Scratch) {
        loop {
            if !scratch.writes.is_empty() {
                self.writes.push(&mut scratch.writes, &mut scratch.refused);
                self.metrics.storage_overloaded.add(scratch.refused.len() as u64);
                for op in scratch.refused.drain(..) {
                    let stored = Stored::Failed { op, error: StorageError::Overloaded };
                    scratch.answers.push_back(Input::Stored(stored));
                }
            }
            if scratch.answers.is_empty() && scratch.writes.is_empty() {
                return;
            }
            while let Some(input) = scratch.answers.pop_front() {
                self.step(now, input, scratch);
            }
        }
    }

    fn route(&self, effect: Effect, scratch: &mut Scratch) {
        match effect {
            Effect::Reply { id, result } => {
                let reply = scratch.pending.take(id).expect("a shard answers each request once");
                let counter = match &result {
                    Ok(_) => &self.metrics.requests_succeeded,
                    Err(RequestError::Overloaded(_)) => &self.metrics.requests_overloaded,
                    Err(_) => &self.metrics.requests_failed,
                };
                counter.add(1);
                reply.send(result);
            }
            Effect::Send { to, envelope } if to == self.own => {
                scratch.answers.push_back(Input::Message { from: to, envelope });
            }
            Effect::Send { to, envelope } => match scratch.senders.get(&to) {
                Some(sender) => {
                    if !sender.send(envelope) {
                        scratch.unreachable.insert(to);
                    }
                }
                None => self.metrics.messages_dropped.add(1),
            },
            Effect::Store { op, request } => self.store(op, request, scratch),
            Effect::Repairs(status) => self.published.repairs.store(status),
            Effect::ReplicationDone { since } => {
                // Lost when membership has much to do: it is said again.
                let _ = self.member.try_send(MemberInput::Done(since));
            }
            Effect::CatchUp { from, epoch } => {
                // Lost when membership has much to do: the next message of that epoch asks again.
                let _ = self.member.try_send(MemberInput::CatchUp { from, epoch });
            }
        }
    }

    fn store(&self, op: OpId, request: StorageRequest, scratch: &mut Scratch) {
        let write = match request {
            StorageRequest::Apply(mutation) => Write::Apply(mutation),
            StorageRequest::Local(write) => Write::Local(write),
            StorageRequest::Hint { target, hint, oldest_seconds } => Write::Hint { target, hint, oldest_seconds },
            StorageRequest::HintsDelivered { target, through } => Write::HintsDelivered { target, through },
            StorageRequest::DropRanges { table, ranges } => Write::DropRanges { table, ranges },
            StorageRequest::Read(command) => {
                let cached = self.store.read_cached(&command);
                let cached = cached.map(|result| result.map(|data| Stored::Read { op, data }));
                return self.read_partition(op, command, false, cached, scratch);
            }
            StorageRequest::Digest(command) => {
                let cached = self.store.digest_cached(&command);
                let cached = cached.map(|result| result.map(|read| Stored::Digest { op, digest: read.digest }));
                return self.read_partition(op, command, true, cached, scratch);
            }
            StorageRequest::Scan(command) => {
                // Even one that memory could answer walks over more than a loop has time for.
                return self.read(ReadJob::Scan { shard: self.index, op, command }, scratch);
            }
            StorageRequest::LookUp(command) => {
                return self.read(ReadJob::LookUp { shard: self.index, op, command }, scratch);
            }
            StorageRequest::Compare(command) => {
                return self.read(ReadJob::Compare { shard: self.index, op, command }, scratch);
            }
            StorageRequest::ReadLocal { key } => {
                let Some(read) = self.store.local_cached(&key) else {
                    return self.read(ReadJob::Local { shard: self.index, op, key }, scratch);
                };
                let read = read.map(|value| Stored::LocalRead { op, value });
                scratch.answers.push_back(Input::Stored(read.unwrap_or_else(|error| Stored::Failed { op, error })));
                return;
            }
            StorageRequest::ReadHints { target, after, bytes_limit } => {
                self.read(ReadJob::Hints { shard: self.index, op, target, after, bytes_limit }, scratch);
                return;
            }
        };
        scratch.writes.push((op, write));
    }

    /// Answers a read with what memory said, or has a thread ask the disk.
    fn read_partition(
        &self,
        op: OpId,
        command: Arc<ReadCommand>,
        digest: bool,
        cached: Option<Result<Stored, StorageError>>,
        scratch: &mut Scratch,
    ) {
        match cached {
            Some(result) => {
                self.metrics.reads_cached.add(1);
                let stored = result.unwrap_or_else(|error| Stored::Failed { op, error });
                scratch.answers.push_back(Input::Stored(stored));
            }
            None => self.read(ReadJob::Partition { shard: self.index, op, command, digest }, scratch),
        }
    }

    fn read(&self, job: ReadJob, scratch: &mut Scratch) {
        let op = job.op();
        if !self.reads.submit(job) {
            self.metrics.storage_overloaded.add(1);
            let stored = Stored::Failed { op, error: StorageError::Overloaded };
            scratch.answers.push_back(Input::Stored(stored));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_finds_its_request_once_and_a_late_one_none() {
        let mut pending = Pending::default();
        let reply = || ReplyTo::One(oneshot::channel().0);
        let (first, second) = (pending.insert(reply()), pending.insert(reply()));
        assert!(pending.take(first).is_some());
        assert!(pending.take(first).is_none());
        let third = pending.insert(reply());
        assert_ne!(first, third);
        assert_eq!(first.0 as u32, third.0 as u32, "positions are used again");
        assert!(pending.take(first).is_none());
        assert!(pending.take(second).is_some());
        assert!(pending.take(third).is_some());
    }
}
