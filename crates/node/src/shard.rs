//! A shard: one thread's share of a node's data plane. It owns every operation in flight and every timer,
//! routes what comes in to the operation that it belongs to, and carries out what that decides. Only this
//! file, `shard/reads.rs` and `shard/present.rs` make effects.
//!
//! The shard talks to itself as to a peer: messages to its own node do not leave it but wait in `local` until
//! the input has been handled, and are trusted.

use membership::ClusterView;
use model::error::FailureReason;
use model::index::check_indexed_values;
use model::schema::Table;
use model::{
    Consistency, Epoch, Instant, Mutation, NodeId, Now, Planted, ReadCommand, RequestError, Rng, TableId, Token,
};
use query::BoundWrite;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

mod batches;
mod counters;
mod hints;
mod kept;
mod present;
mod reads;
mod registers;
mod repairs;
mod replication;
mod requests;
mod transactions;

use self::batches::Batches;
use self::counters::Counters;
pub(crate) use self::counters::decode_counter_id;
use self::hints::is_reachable;
use self::kept::Kept;
use self::present::PresentWrites;
use self::registers::Registers;
use self::replication::Replicating;
use self::transactions::Transactions;
use crate::batch::LoggedBatch;
use crate::config::{Durability, ShardConfig};
use crate::coordinator::latency::{Latencies, ReplicaLatencies};
use crate::coordinator::quorum::Quorum;
use crate::coordinator::round::{Held, Refused, Round};
use crate::coordinator::select::Select;
use crate::coordinator::write::{Verdict, WriteOp};
use crate::hints::Hints;
use crate::io::{
    Effect, Envelope, Input, Message, OpId, Refusal, RequestId, Response, StorageRequest, Stored, WritePurpose,
};
use crate::register::PaxosRequest;
use crate::repair::Repairs;
use crate::replica::{Admission, Owned, Replica, ReplicaRead};
use crate::retry::{Forgetting, Stamp};
use crate::storage::StorageError;
use crate::timers::Timers;
use crate::timestamp::{Recovered, Timestamps, ceiling_record};

/// What a shard has done since it was started, and what it is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShardStatus {
    /// Client requests that are not answered yet.
    pub requests_in_flight: usize,
    /// Writes that are answered and wait for their last replicas.
    pub writes_lingering: usize,
    /// Bytes of the mutations of writes in flight.
    pub write_bytes: usize,
    /// Bytes of replicas' answers that reads in flight keep.
    pub read_bytes: usize,
    /// Operations in progress for coordinators, this shard's own included.
    pub replica_ops: usize,
    /// Requests of peers that wait for a newer view.
    pub parked: usize,
    /// Targets for which there are, or may be, hints.
    pub hint_targets_pending: usize,
    /// Logged batches that are kept for their coordinators.
    pub batches_kept: usize,
    /// Logged batches that were written since their coordinators did not finish them in time.
    pub batches_replayed: u64,
    /// Writes of clients begun.
    pub writes: u64,
    /// Reads of clients begun.
    pub reads: u64,
    /// Client requests that ended in an error of whatever kind.
    pub errors: u64,
    /// Among them those that timed out.
    pub timeouts: u64,
    /// Among them those for which too few replicas were alive.
    pub unavailable: u64,
    /// Client requests and requests of peers refused for lack of room.
    pub overloads: u64,
    /// Writes applied for coordinators.
    pub replica_writes: u64,
    /// Reads of one partition executed for coordinators.
    pub replica_reads: u64,
    /// Pages of scans read for coordinators.
    pub replica_scans: u64,
    /// Values looked up in indexes for coordinators.
    pub replica_look_ups: u64,
    /// Conditional writes, serial reads and writes with retry tokens that Paxos decides on, begun.
    pub transactions: u64,
    /// Questions to the replicas that decide on them, each to all of them at once: prepares and proposals, repeated
    /// ones too. What is chosen is then written like any write.
    pub transaction_rounds: u64,
    /// Requests of peers refused because this node does not own the partition in its view.
    pub not_replica: u64,
    /// Hints given to storage.
    pub hints_written: u64,
    /// Hints that were not written: the replica was dead for longer than the window, too many waited, or hints are
    /// switched off.
    pub hints_dropped: u64,
    /// Hints that storage did not keep.
    pub hints_failed: u64,
    /// Hints acknowledged by their targets.
    pub hints_delivered: u64,
    /// Hints discarded: their table is gone, they have outlived its grace, or they were refused as invalid.
    pub hints_discarded: u64,
    /// Reads whose replicas did not agree at first.
    pub digest_mismatches: u64,
    /// Mutations sent to repair replicas.
    pub read_repairs: u64,
    /// Mutations sent by anti-entropy repairs.
    pub repair_writes: u64,
    /// Pages compared for anti-entropy repairs.
    pub replica_comparisons: u64,
    /// Spare replicas asked because others were late or failed.
    pub spares_asked: u64,
}

/// What a timer belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Write(OpId),
    Round(OpId),
    /// A write that waits for the timestamp ceiling.
    Waiting(OpId),
    /// A write that waits for those before it to be answered.
    Present(RequestId),
    Transaction(RequestId),
    /// A request to count.
    Count(OpId),
    /// A logged batch that is not kept yet.
    Batch(RequestId),
}

/// A write of the node's own that storage has been asked for.
#[derive(Clone, Copy, Debug)]
enum Record {
    Ceiling,
    /// For a node, and the write at ANY that waits for it, if one does.
    Hint(NodeId, Option<OpId>),
    HintsDelivered(NodeId),
    /// Of the node's own repairs: nobody waits for it.
    Repairs,
    /// That what requests with old tokens came to is removed: nobody waits for it.
    Forgotten,
    /// That a range is repaired: whom to tell.
    Repaired(NodeId, OpId),
    /// What is held no more, by a change of replication whose phase began then.
    Dropped(Epoch),
}

/// A write that waits until a higher timestamp ceiling is durable.
#[derive(Debug)]
struct WaitingWrite {
    op: OpId,
    request: RequestId,
    write: BoundWrite,
    consistency: Consistency,
    deadline: Instant,
}

/// Where effects go, and when it is.
struct Out<'a> {
    now: Now,
    effects: &'a mut Vec<Effect>,
}

/// The source of a shard's operation ids.
#[derive(Debug)]
struct OpIds {
    shard: u64,
    next: u64,
}

impl OpIds {
    fn next(&mut self) -> OpId {
        self.next += 1;
        assert!(self.next < 1 << 48, "operation ids suffice for the life of a process");
        OpId(self.shard << 48 | self.next)
    }
}

/// A shard of a node; see the crate's documentation.
#[derive(Debug)]
pub struct Shard {
    config: ShardConfig,
    view: Arc<ClusterView>,
    alive: Arc<BTreeSet<NodeId>>,
    /// Members that are not alive, and since when this shard knows.
    dead_since: BTreeMap<NodeId, Instant>,
    rng: Rng,
    ops: OpIds,
    timers: Timers<Timer>,
    timestamps: Timestamps,
    waiting: VecDeque<WaitingWrite>,
    writes: BTreeMap<OpId, WriteOp>,
    writes_unanswered: usize,
    write_bytes: usize,
    selects: BTreeMap<RequestId, Box<Select>>,
    /// Writes that must know what is there.
    present: PresentWrites,
    /// Conditional writes and serial reads.
    transactions: Transactions,
    /// Increments of counters.
    counting: Counters,
    /// Logged batches.
    batches: Batches,
    /// The rounds of the reads in flight.
    rounds: BTreeMap<OpId, Box<Round>>,
    /// Bytes of answers that reads and their rounds keep.
    read_bytes: usize,
    /// How long reads of each table take.
    latencies: BTreeMap<TableId, Latencies>,
    /// How long other replicas take to answer reads.
    replica_latencies: ReplicaLatencies,
    /// Read repairs on their way: the round that waits for each.
    read_repairs: BTreeMap<OpId, OpId>,
    replica: Replica,
    /// The registers by which this replica takes part in transactions.
    registers: Registers,
    /// Writes of the node's own that storage has been asked for, ascending.
    records: VecDeque<(OpId, Record)>,
    hints: Hints,
    /// What requests with retry tokens came to, and who forgets it.
    forgetting: Forgetting,
    /// Anti-entropy repairs; none run but on shard 0.
    repairs: Repairs,
    /// This node's part in a change of replication; shard 0 takes it.
    replication: Replicating,
    /// When to look for hints of other shards.
    poll_hints_at: Option<Instant>,
    /// The newest epoch that membership was asked to catch up to, and when.
    catching_up: (Epoch, Instant),
    /// Until when this node, or one that it asks, is taken to have more to do than it can.
    overloaded_until: Instant,
    /// Messages of this node to itself.
    local: VecDeque<Message>,
    counters: ShardStatus,
}

impl Shard {
    /// A shard that begins to serve at `now`, with what its node remembers of its earlier life.
    ///
    /// # Panics
    /// When the configuration's index is not below its number of shards.
    #[must_use]
    pub fn new(
        config: ShardConfig,
        view: Arc<ClusterView>,
        alive: Arc<BTreeSet<NodeId>>,
        recovered: Recovered,
        seed: u64,
        now: Now,
    ) -> Shard {
        assert!(config.index < config.shards, "a shard's index is below the number of shards");
        let mut rng = Rng::new(seed);
        let ops = OpIds { shard: u64::from(config.index), next: rng.below(1 << 47) };
        let timestamps = Timestamps::new(recovered.timestamp_ceiling, config.timestamp_reserve);
        let counting = Counters::new(recovered.counter_ids.get(&config.index).copied());
        let (index, shards) = (config.index, config.shards);
        let kept = recovered.batches.iter().copied();
        let kept = kept.filter(|(batch, _)| Shard::shard_of(LoggedBatch::token(*batch), shards) == index);
        let batches = Batches::new(Kept::new(kept, now.monotonic, config.batch_replay_after));
        let delivers = config.index == 0;
        let targets = if delivers { recovered.hint_targets.as_slice() } else { &[] };
        let poll_hints_at = (delivers && config.shards > 1).then(|| now.monotonic + config.hint_poll_every);
        let repairs = Repairs::new(&config, &recovered.repairs, &mut rng, now.monotonic);
        let forgetting = Forgetting::new(&config, recovered.outcomes_removed_before, now.monotonic);
        let mut shard = Shard {
            view,
            alive,
            dead_since: BTreeMap::new(),
            rng,
            ops,
            timers: Timers::new(),
            timestamps,
            waiting: VecDeque::new(),
            writes: BTreeMap::new(),
            writes_unanswered: 0,
            write_bytes: 0,
            selects: BTreeMap::new(),
            present: PresentWrites::default(),
            transactions: Transactions::default(),
            counting,
            batches,
            rounds: BTreeMap::new(),
            read_bytes: 0,
            latencies: BTreeMap::new(),
            replica_latencies: ReplicaLatencies::default(),
            read_repairs: BTreeMap::new(),
            replica: Replica::default(),
            registers: Registers::default(),
            records: VecDeque::new(),
            hints: Hints::new(targets, now.monotonic),
            repairs,
            forgetting,
            replication: Replicating::default(),
            poll_hints_at,
            catching_up: (Epoch(0), now.monotonic),
            overloaded_until: now.monotonic,
            local: VecDeque::new(),
            counters: ShardStatus::default(),
            config,
        };
        shard.note_dead(now.monotonic);
        shard
    }

    /// The shard of a partition on a node with `shards` of them. Taken from the token's low bits: the high
    /// ones are those by which nodes share the ring, so a node's ranges would hit its shards unevenly.
    #[must_use]
    pub fn shard_of(token: Token, shards: u16) -> u16 {
        let low = token.0 as u64 & 0xffff_ffff;
        ((low * u64::from(shards)) >> 32) as u16
    }

    /// When [`Shard::step`] wants to be called with [`Input::Wake`], if nothing else happens before.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let all = [
            self.timers.first(),
            self.replica.deadline(),
            self.hints.deadline(),
            self.batches.kept.deadline(),
            self.repairs.deadline(),
            self.forgetting.deadline(),
            self.replication.deadline(),
            self.poll_hints_at,
        ];
        all.into_iter().flatten().min()
    }

    /// What the shard has done and is doing.
    #[must_use]
    pub fn status(&self) -> ShardStatus {
        ShardStatus {
            requests_in_flight: self.requests_in_flight(),
            writes_lingering: self.writes.len() - self.writes_unanswered,
            write_bytes: self.write_bytes,
            read_bytes: self.read_bytes,
            replica_ops: self.replica.in_progress(),
            parked: self.replica.waiting(),
            hint_targets_pending: self.hints.targets(),
            batches_kept: self.batches.kept.len(),
            batches_replayed: self.batches.kept.replayed,
            hints_delivered: self.hints.delivered,
            hints_discarded: self.hints.discarded,
            ..self.counters
        }
    }

    /// Takes note of one thing that has happened, and appends what is to be done to `effects`. Timers that are
    /// due at `now` fire first, whatever the input.
    pub fn step(&mut self, now: Now, input: Input, effects: &mut Vec<Effect>) {
        let mut out = Out { now, effects };
        self.fire(&mut out);
        match input {
            Input::Request { id, request } => self.on_request(&mut out, id, request),
            Input::Message { from, envelope } => {
                self.note_epoch(&mut out, from, envelope.epoch);
                let deadline = now.monotonic + self.config.catch_up_timeout;
                self.on_message(&mut out, from, envelope, deadline);
            }
            Input::Late { from, envelope } => self.on_late(&mut out, from, envelope),
            Input::Overloaded => self.note_overload(now.monotonic),
            Input::Stored(stored) => self.on_stored(&mut out, stored),
            Input::View(view) => self.on_view(&mut out, view),
            Input::Alive(alive) => self.on_alive(&mut out, alive),
            Input::Hints(policy) => self.on_hint_policy(&mut out, &policy),
            Input::DiscardHints(targets) => self.discard_hints(&mut out, targets),
            Input::Repair(control) => self.on_repair_control(&mut out, control),
            Input::Unreachable(node) => self.on_unreachable(&mut out, node),
            Input::Wake => {}
        }
        self.settle(&mut out);
    }

    // ---- Timers ----

    fn fire(&mut self, out: &mut Out<'_>) {
        let now = out.now.monotonic;
        while let Some(timer) = self.timers.pop_due(now) {
            match timer {
                Timer::Write(op) => self.on_write_timer(out, op),
                Timer::Round(op) => self.on_round_timer(out, op),
                Timer::Waiting(op) => self.on_waiting_timer(out, op),
                Timer::Present(id) => self.on_present_timer(out, id),
                Timer::Transaction(id) => self.on_transaction_timer(out, id),
                Timer::Count(op) => self.on_count_timer(out, op),
                Timer::Batch(id) => self.time_out_batch(out, id),
            }
        }
        while let Some(parked) = self.replica.give_up(now) {
            let refusal = Refusal::NotReplica(self.view.epoch);
            self.refuse_request(out, parked.from, &parked.envelope.message, refusal);
        }
        if let Some(write) = self.forgetting.due(&self.config, out.now) {
            self.record(out, Record::Forgotten, StorageRequest::Local(write));
        }
        if self.poll_hints_at.is_some_and(|at| at <= now) {
            self.poll_hints_at = Some(now + self.config.hint_poll_every);
            self.view.members.keys().for_each(|node| self.hints.note(*node, now));
        }
        self.settle(out);
    }

    /// Does what has become due within the shard: its messages to itself, writes that waited for others, and hints.
    fn settle(&mut self, out: &mut Out<'_>) {
        loop {
            while let Some(message) = self.local.pop_front() {
                self.on_local(out, message);
            }
            if let Some(id) = self.present.next_due() {
                self.read_present(out, id);
                continue;
            }
            if let Some(id) = self.transactions.next_due() {
                self.prepare(out, id);
                continue;
            }
            if self.replay_next(out) {
                continue;
            }
            if let Some(target) = self.hints.throttled_due(out.now.monotonic) {
                self.deliver_hints(out, Some(target));
                continue;
            }
            let (view, alive, node, paused) = (&self.view, &self.alive, self.config.node, self.config.hints.paused);
            let is_reachable = |target| !paused && is_reachable(view, alive, node, target);
            if let Some(actions) = self.hints.wake(out.now.monotonic, &self.config, is_reachable) {
                self.carry_out(out, actions);
                continue;
            }
            self.pump_repairs(out);
            self.pump_replication(out);
            if self.local.is_empty() {
                return;
            }
        }
    }

    // ---- Effects ----

    fn reply(&mut self, out: &mut Out<'_>, id: RequestId, result: Result<Response, RequestError>) {
        if let Some(timer) = self.present.end(id) {
            self.timers.cancel(Timer::Present(id), timer);
        }
        if let Err(error) = &result {
            self.counters.errors += 1;
            match error {
                RequestError::WriteTimeout { .. }
                | RequestError::BatchLogTimeout { .. }
                | RequestError::CasTimeout { .. }
                | RequestError::CasWriteUnknown { .. }
                | RequestError::ReadTimeout { .. } => self.counters.timeouts += 1,
                RequestError::Unavailable { .. } => self.counters.unavailable += 1,
                RequestError::Overloaded(_) => self.counters.overloads += 1,
                _ => {}
            }
        }
        out.effects.push(Effect::Reply { id, result });
    }

    fn send(&mut self, out: &mut Out<'_>, to: NodeId, message: Message) {
        if to == self.config.node {
            self.local.push_back(message);
        } else {
            let envelope = Envelope { epoch: self.view.epoch, message };
            out.effects.push(Effect::Send { to, envelope });
        }
    }

    fn store(&mut self, out: &mut Out<'_>, request: StorageRequest) -> OpId {
        let op = self.ops.next();
        out.effects.push(Effect::Store { op, request });
        op
    }

    fn record(&mut self, out: &mut Out<'_>, record: Record, request: StorageRequest) {
        let op = self.store(out, request);
        self.records.push_back((op, record));
    }

    /// Asks membership to catch up when a peer's view is newer, again only after a while.
    fn note_epoch(&mut self, out: &mut Out<'_>, from: NodeId, epoch: Epoch) {
        let now = out.now.monotonic;
        let (asked, at) = self.catching_up;
        if epoch > self.view.epoch && (epoch > asked || now >= at + self.config.catch_up_timeout) {
            self.catching_up = (epoch, now);
            out.effects.push(Effect::CatchUp { from, epoch });
        }
    }

    // ---- The cluster ----

    fn on_view(&mut self, out: &mut Out<'_>, view: Arc<ClusterView>) {
        if view.epoch < self.view.epoch {
            return;
        }
        self.view = view;
        let forgotten = self.repairs.on_view(&self.view, out.now.monotonic);
        self.record_repairs(out, forgotten);
        self.replication.on_view();
        self.latencies.retain(|table, _| self.view.schema.table(*table).is_some());
        self.replica_latencies.retain(|node| self.view.members.contains_key(&node));
        self.note_dead(out.now.monotonic);
        for op in self.writes.keys().copied().collect::<Vec<_>>() {
            self.replan_write(out, op);
        }
        for op in self.rounds.keys().copied().collect::<Vec<_>>() {
            self.replan_round(out, op);
        }
        for id in self.transaction_ids() {
            self.replan_transaction(out, id);
        }
        for parked in self.replica.unpark() {
            self.on_message(out, parked.from, parked.envelope, parked.deadline);
        }
        self.wake_stranded(out.now.monotonic);
    }

    fn on_alive(&mut self, out: &mut Out<'_>, alive: Arc<BTreeSet<NodeId>>) {
        let now = out.now.monotonic;
        let before = std::mem::replace(&mut self.alive, alive);
        self.note_dead(now);
        for node in self.alive.difference(&before) {
            self.hints.reachable(*node, now);
        }
        self.wake_stranded(now);
    }

    fn note_dead(&mut self, now: Instant) {
        let (alive, me) = (&self.alive, self.config.node);
        let is_dead = |node: &NodeId| *node != me && !alive.contains(node);
        self.dead_since.retain(|node, _| is_dead(node));
        for node in self.view.members.keys().filter(|node| is_dead(node)) {
            self.dead_since.entry(*node).or_insert(now);
        }
    }

    fn wake_stranded(&mut self, now: Instant) {
        for target in self.hints.stranded() {
            if is_reachable(&self.view, &self.alive, self.config.node, target) {
                self.hints.reachable(target, now);
            }
        }
    }

    fn on_unreachable(&mut self, out: &mut Out<'_>, node: NodeId) {
        if node == self.config.node {
            return;
        }
        let waits = |(op, write): (&OpId, &WriteOp)| write.depends_on(node).then_some(*op);
        for op in self.writes.iter().filter_map(waits).collect::<Vec<_>>() {
            self.send_directly(out, op, node);
            self.on_write_missed(out, op, node);
        }
        let rounds = self.rounds.iter().filter(|(_, round)| round.awaits(node));
        for op in rounds.map(|(op, _)| *op).collect::<Vec<_>>() {
            let now = out.now.monotonic;
            self.with_round(out, op, |round| round.on_refused(node, Refused::Failed(FailureReason::Unknown), now));
        }
        self.transactions_unreachable(out, node);
        self.counts_unreachable(out, node);
        self.batches_unreachable(out, node);
        let actions = self.hints.on_unreachable(node, out.now.monotonic, &self.config);
        self.carry_out(out, actions);
    }

    fn is_alive(&self, node: NodeId) -> bool {
        node == self.config.node || self.alive.contains(&node)
    }

    // ---- Messages ----

    fn on_message(&mut self, out: &mut Out<'_>, from: NodeId, envelope: Envelope, deadline: Instant) {
        match &envelope.message {
            Message::Forward { op, mutation, targets } => {
                let me = self.config.node;
                for target in targets.iter().filter(|target| **target != me && **target != from) {
                    let (op, mutation) = (*op, mutation.clone());
                    self.send(out, *target, Message::Forwarded { op, mutation, coordinator: from });
                }
                let (op, mutation) = (*op, mutation.clone());
                let message = Message::Write { op, mutation, purpose: WritePurpose::Client };
                self.on_message(out, from, Envelope { message, ..envelope }, deadline);
            }
            Message::Forwarded { op, mutation, coordinator } if *coordinator != self.config.node => {
                let (op, mutation, coordinator) = (*op, mutation.clone(), *coordinator);
                let message = Message::Write { op, mutation, purpose: WritePurpose::Client };
                self.on_message(out, coordinator, Envelope { message, ..envelope }, deadline);
            }
            Message::Write { op, mutation, purpose } => {
                let (table, token) = (mutation.table, mutation.partition.token);
                match self.admit(out, from, &envelope, table, Owned::Partition(token), deadline) {
                    true if purpose.allows(mutation) => self.apply(out, from, *op, mutation.clone(), purpose),
                    true => self.send(out, from, Message::Refused { op: *op, reason: Refusal::Invalid }),
                    false => {}
                }
            }
            Message::Read { op, command, digest } => {
                let (table, token) = (command.table, command.partition.token);
                if self.admit(out, from, &envelope, table, Owned::Partition(token), deadline) {
                    self.read_storage(
                        out,
                        ReplicaRead { to: from, answer: *op },
                        read_request(command.clone(), *digest),
                    );
                }
            }
            Message::Scan { op, command } => {
                if self.admit(out, from, &envelope, command.table, Owned::Range(command.range), deadline) {
                    let request = StorageRequest::Scan(command.clone());
                    self.read_storage(out, ReplicaRead { to: from, answer: *op }, request);
                }
            }
            Message::LookUp { op, command } => {
                if self.admit(out, from, &envelope, command.table, Owned::Range(command.range), deadline) {
                    let request = StorageRequest::LookUp(command.clone());
                    self.read_storage(out, ReplicaRead { to: from, answer: *op }, request);
                }
            }
            Message::Compare { op, command } => {
                if self.admit(out, from, &envelope, command.table, Owned::Range(command.range), deadline) {
                    let request = StorageRequest::Compare(command.clone());
                    self.read_storage(out, ReplicaRead { to: from, answer: *op }, request);
                }
            }
            Message::Repaired { op, table, range, through } => {
                if self.admit(out, from, &envelope, *table, Owned::Range(*range), deadline) {
                    self.record_repaired(out, from, *op, *table, *range, through.clone());
                }
            }
            Message::Paxos { op, request } => self.on_paxos(out, from, *op, request, &envelope, deadline),
            Message::KeepBatch { op, batch } => self.keep_asked(out, from, *op, batch),
            Message::ForgetBatch { batch } => self.forget_asked(out, *batch),
            Message::Lead { op, table, partition } => {
                if self.admit(out, from, &envelope, *table, Owned::Partition(partition.token), deadline) {
                    self.lead_asked(out, from, *op, *table);
                }
            }
            Message::Count { op, ticket, change } => {
                // C2: first of all, so that no double of it is admitted later.
                if self.use_ticket(from, *ticket) {
                    self.admit_count(out, from, *op, change.clone(), envelope.epoch);
                }
            }
            _ => self.on_answer(out, from, envelope.message),
        }
    }

    /// A coordinator asks for a step of a decision: only if both know the same replicas to decide it.
    fn on_paxos(
        &mut self,
        out: &mut Out<'_>,
        from: NodeId,
        op: OpId,
        request: &Arc<PaxosRequest>,
        envelope: &Envelope,
        deadline: Instant,
    ) {
        if !self.admit(out, from, envelope, request.table, Owned::Partition(request.partition.token), deadline) {
            return;
        }
        let latest = i64::try_from(self.config.timestamp_future_max.as_micros()).unwrap_or(i64::MAX);
        let latest = u64::try_from(out.now.wall.0.saturating_add(latest)).unwrap_or(0);
        let reason = if !request.is_valid() || request.round() > latest {
            Refusal::Invalid
        } else if !self.knows_acceptors(request) {
            Refusal::NotReplica(self.view.epoch)
        } else {
            return self.paxos_asked(out, from, op, request);
        };
        self.refuse_request(out, from, &envelope.message, reason);
    }

    fn knows_acceptors(&self, request: &PaxosRequest) -> bool {
        let Some(table) = self.view.schema.table(request.table) else { return false };
        let (token, data_center) = (request.partition.token, request.data_center.as_deref());
        transactions::acceptors(&self.view, &table.keyspace, token, data_center) == request.acceptors
    }

    /// A message of this node to itself: its requests were made in the present view, from a statement.
    fn on_local(&mut self, out: &mut Out<'_>, message: Message) {
        let me = self.config.node;
        match message {
            Message::Write { op, mutation, purpose } => {
                let (table, token) = (mutation.table, mutation.partition.token);
                let owned = Owned::Partition(token);
                match self.replica.admit(&self.config, &self.view, table, owned, self.view.epoch) {
                    Admission::Execute => self.apply(out, me, op, mutation, &purpose),
                    Admission::Refuse(reason) => self.on_refused(out, me, op, reason),
                    Admission::Park => self.on_refused(out, me, op, Refusal::NotReplica(self.view.epoch)),
                }
            }
            Message::Read { op, command, digest } => {
                let (table, owned) = (command.table, Owned::Partition(command.partition.token));
                self.on_local_read(out, op, table, owned, read_request(command, digest));
            }
            Message::Scan { op, command } => {
                let (table, owned) = (command.table, Owned::Range(command.range));
                self.on_local_read(out, op, table, owned, StorageRequest::Scan(command));
            }
            Message::LookUp { op, command } => {
                let (table, owned) = (command.table, Owned::Range(command.range));
                self.on_local_read(out, op, table, owned, StorageRequest::LookUp(command));
            }
            Message::Compare { op, command } => {
                let (table, owned) = (command.table, Owned::Range(command.range));
                self.on_local_read(out, op, table, owned, StorageRequest::Compare(command));
            }
            Message::Repaired { op, table, range, through } => {
                match self.replica.admit(&self.config, &self.view, table, Owned::Range(range), self.view.epoch) {
                    Admission::Execute => self.record_repaired(out, me, op, table, range, through),
                    Admission::Refuse(reason) => self.on_refused(out, me, op, reason),
                    Admission::Park => self.on_refused(out, me, op, Refusal::NotReplica(self.view.epoch)),
                }
            }
            Message::Paxos { op, request } => {
                let owned = Owned::Partition(request.partition.token);
                match self.replica.admit(&self.config, &self.view, request.table, owned, self.view.epoch) {
                    Admission::Execute => self.paxos_asked(out, me, op, &request),
                    Admission::Refuse(reason) => self.on_refused(out, me, op, reason),
                    Admission::Park => self.on_refused(out, me, op, Refusal::NotReplica(self.view.epoch)),
                }
            }
            Message::Count { op, change, .. } => self.admit_count(out, me, op, change, self.view.epoch),
            Message::KeepBatch { op, batch } => self.keep_asked(out, me, op, &batch),
            Message::ForgetBatch { batch } => self.forget_asked(out, batch),
            answer => self.on_answer(out, me, answer),
        }
    }

    fn on_local_read(&mut self, out: &mut Out<'_>, op: OpId, table: TableId, owned: Owned, request: StorageRequest) {
        let me = self.config.node;
        match self.replica.admit(&self.config, &self.view, table, owned, self.view.epoch) {
            Admission::Execute => self.read_storage(out, ReplicaRead { to: me, answer: op }, request),
            Admission::Refuse(reason) => self.on_refused(out, me, op, reason),
            Admission::Park => self.on_refused(out, me, op, Refusal::NotReplica(self.view.epoch)),
        }
    }

    fn on_answer(&mut self, out: &mut Out<'_>, from: NodeId, message: Message) {
        match message {
            Message::Written { ops } => ops.into_iter().for_each(|op| self.on_written(out, from, op)),
            Message::Data { op, data } => self.on_held(out, from, op, Held::Partition(data)),
            Message::Scanned { op, data } => self.on_held(out, from, op, Held::Range(data)),
            Message::LookedUp { op, data } => self.on_held(out, from, op, Held::Rows(data)),
            Message::Compared { op, page } => self.repairs.on_compared(op, from, page),
            Message::Digest { op, digest } => {
                let now = out.now.monotonic;
                self.note_latency(from, op, now);
                self.with_round(out, op, |round| round.on_digest(from, digest, now));
            }
            Message::Refused { op, reason } => self.on_refused(out, from, op, reason),
            Message::PaxosAnswered { op, answer } => self.on_paxos_answer(out, from, op, answer),
            Message::Leading { op, ticket } => self.on_leading(out, from, op, ticket),
            Message::Counted { op, mutation } => self.on_counted(out, from, op, mutation),
            Message::Write { .. }
            | Message::Paxos { .. }
            | Message::KeepBatch { .. }
            | Message::ForgetBatch { .. }
            | Message::Lead { .. }
            | Message::Count { .. }
            | Message::Forward { .. }
            | Message::Forwarded { .. }
            | Message::Read { .. }
            | Message::Scan { .. }
            | Message::LookUp { .. }
            | Message::Compare { .. }
            | Message::Repaired { .. } => {}
        }
    }

    /// An acknowledgement of a write: a client's, a repair or a hint. Late and doubled ones find nothing.
    fn on_written(&mut self, out: &mut Out<'_>, from: NodeId, op: OpId) {
        if let Some(write) = self.writes.get_mut(&op) {
            if self.config.is_planted(Planted::ForwarderCountsForAll) {
                write.not_forwarded(from).into_iter().for_each(|node| write.has_already(node));
            }
            if self.config.is_planted(Planted::AnswerCountedTwice)
                && write.has_acknowledged(from)
                && let Some(other) = write.awaited()
            {
                write.has_already(other);
            }
            let verdict = write.acknowledge(from);
            self.on_verdict(out, op, verdict);
        } else if self.batches.is_logging(op) {
            self.on_batch_kept(out, from, op);
        } else if let Some(round) = self.read_repairs.get(&op).copied() {
            self.with_round(out, round, |round| round.on_repaired(from, op));
        } else if self.repairs.owns(op) {
            self.repairs.on_written(op, from);
        } else {
            let acknowledged = self.hints.on_acknowledged(op, from, false, out.now.monotonic, &self.config);
            self.deliver_hints(out, acknowledged);
        }
    }

    fn on_refused(&mut self, out: &mut Out<'_>, from: NodeId, op: OpId, reason: Refusal) {
        let now = out.now.monotonic;
        let refused = match reason {
            Refusal::NotReplica(epoch) => {
                self.note_epoch(out, from, epoch);
                Refused::Retry
            }
            Refusal::Overloaded => {
                self.note_overload(now);
                Refused::Failed(FailureReason::Overloaded)
            }
            Refusal::Storage | Refusal::Invalid => Refused::Failed(FailureReason::Unknown),
            Refusal::TooManyTombstones => Refused::Failed(FailureReason::TooManyTombstones),
            Refusal::DiskFull => Refused::Failed(FailureReason::DiskFull),
        };
        if self.config.is_planted(Planted::RefusalCounted) && self.writes.contains_key(&op) {
            return self.on_written(out, from, op);
        }
        if let Some(write) = self.writes.get_mut(&op) {
            match reason {
                Refusal::NotReplica(_) => {
                    if write.retry_later(from) {
                        let at = write.deadline.min(now + self.config.refusal_retry_after);
                        self.timers.reset(Timer::Write(op), write.timer, at);
                        write.timer = at;
                    }
                    // It may not know those that it was to forward it to.
                    self.send_directly(out, op, from);
                }
                Refusal::DiskFull => {
                    write.note_reason(FailureReason::DiskFull);
                    self.on_write_missed(out, op, from);
                }
                Refusal::Overloaded => {
                    write.note_reason(FailureReason::Overloaded);
                    self.on_write_missed(out, op, from);
                }
                Refusal::Storage => self.on_write_missed(out, op, from),
                // The latter belongs to reads: who says it of a write is not to be understood.
                Refusal::Invalid | Refusal::TooManyTombstones => {
                    write.refuse(from);
                    let verdict = write.verdict();
                    self.on_verdict(out, op, verdict);
                }
            }
        } else if self.transactions.asked(op) {
            self.on_paxos_refused(out, from, op, reason);
        } else if self.counting.asked(op) {
            self.on_count_refused(out, from, op, reason);
        } else if self.batches.is_logging(op) {
            self.on_batch_not_kept(out, from, op);
        } else if self.rounds.contains_key(&op) {
            let retry_at = now + self.config.refusal_retry_after;
            self.with_round(out, op, |round| {
                let step = round.on_refused(from, refused, now);
                if refused == Refused::Retry && round.is_retrying() {
                    round.attempt_at = Some(round.attempt_at.map_or(retry_at, |at| at.min(retry_at)));
                }
                step
            });
        } else if let Some(round) = self.read_repairs.get(&op).copied() {
            self.with_round(out, round, |round| round.on_refused(from, refused, now));
        } else if self.repairs.owns(op) {
            self.repair_refused(out, from, op, reason);
        } else if reason == Refusal::Invalid {
            // It would be refused for ever, and stop all hints behind it.
            let discarded = self.hints.on_acknowledged(op, from, true, now, &self.config);
            self.deliver_hints(out, discarded);
        } else if let Some(actions) = self.hints.on_refused(op, now, &self.config) {
            self.carry_out(out, actions);
        }
    }

    // ---- Replica ----

    /// True when a request of a peer is to be executed; else it is answered or parked.
    fn admit(
        &mut self,
        out: &mut Out<'_>,
        from: NodeId,
        envelope: &Envelope,
        table: TableId,
        owned: Owned,
        deadline: Instant,
    ) -> bool {
        match self.replica.admit(&self.config, &self.view, table, owned, envelope.epoch) {
            Admission::Execute => true,
            Admission::Park => {
                self.replica.park(from, envelope.clone(), deadline);
                false
            }
            Admission::Refuse(reason) => {
                self.refuse_request(out, from, &envelope.message, reason);
                false
            }
        }
    }

    fn refuse_request(&mut self, out: &mut Out<'_>, from: NodeId, request: &Message, reason: Refusal) {
        match reason {
            Refusal::Overloaded => self.counters.overloads += 1,
            Refusal::NotReplica(_) => self.counters.not_replica += 1,
            Refusal::Storage | Refusal::DiskFull | Refusal::Invalid | Refusal::TooManyTombstones => {}
        }
        if let Message::Write { op, .. }
        | Message::Read { op, .. }
        | Message::Scan { op, .. }
        | Message::LookUp { op, .. }
        | Message::Compare { op, .. }
        | Message::Repaired { op, .. }
        | Message::Paxos { op, .. }
        | Message::Lead { op, .. }
        | Message::Count { op, .. } = request
        {
            self.send(out, from, Message::Refused { op: *op, reason });
        }
    }

    fn apply(&mut self, out: &mut Out<'_>, to: NodeId, answer: OpId, mutation: Arc<Mutation>, purpose: &WritePurpose) {
        match purpose {
            WritePurpose::Commit(commit) => return self.commit_asked(out, to, answer, mutation, commit.clone()),
            WritePurpose::Hint | WritePurpose::ReadRepair | WritePurpose::Repair => self.registers.disturb(&mutation),
            WritePurpose::Client => {}
        }
        self.counters.replica_writes += 1;
        let op = self.store(out, StorageRequest::Apply(mutation));
        if self.config.is_planted(Planted::AcknowledgeBeforeSync) {
            self.send(out, to, Message::Written { ops: vec![answer] });
            return;
        }
        // What a repair has brought must not be lost once the range is recorded as repaired.
        self.replica.applying(op, to, answer, *purpose == WritePurpose::Repair);
    }

    fn read_storage(&mut self, out: &mut Out<'_>, read: ReplicaRead, request: StorageRequest) {
        match &request {
            StorageRequest::Scan(_) => self.counters.replica_scans += 1,
            StorageRequest::LookUp(_) => self.counters.replica_look_ups += 1,
            StorageRequest::Compare(_) => self.counters.replica_comparisons += 1,
            _ => self.counters.replica_reads += 1,
        }
        let op = self.store(out, request);
        self.replica.reading(op, read);
    }

    // ---- Storage ----

    fn on_stored(&mut self, out: &mut Out<'_>, stored: Stored) {
        match stored {
            Stored::Applied { up_to } => {
                self.registers_synced(out, up_to, true);
                if self.config.durability == Durability::Periodic {
                    self.acknowledge(out, up_to, false);
                }
            }
            Stored::Synced { up_to } => {
                self.acknowledge(out, up_to, true);
                self.registers_synced(out, up_to, false);
                self.counts_synced(out, up_to);
                self.batches_synced(out, up_to);
                while let Some((_, record)) = self.records.pop_front_if(|(op, _)| *op <= up_to) {
                    match record {
                        Record::Ceiling => {
                            self.timestamps.reserved();
                            self.resume_waiting(out);
                            self.resume_batches(out);
                        }
                        // Only shard 0 delivers; it finds the hints of others by looking for them.
                        Record::Hint(target, write) => {
                            if self.config.index == 0 {
                                self.hints.note(target, out.now.monotonic + self.config.hint_backoff);
                            }
                            self.on_hint_ended(out, target, write, true);
                        }
                        Record::HintsDelivered(_) | Record::Repairs | Record::Forgotten => {}
                        Record::Repaired(to, op) => self.send(out, to, Message::Written { ops: vec![op] }),
                        Record::Dropped(since) => self.ranges_dropped(out, since, true),
                    }
                }
            }
            Stored::LocalRead { op, value } if self.is_of_kept(op) => self.batch_loaded(out, op, value.as_ref()),
            Stored::LocalRead { op, value } => self.register_loaded(out, op, value.as_ref()),
            Stored::Read { op, data } if self.is_of_register(op) => self.register_read(out, op, data),
            Stored::Read { op, data } if self.counting.is_read(op) => self.shards_read(out, op, data),
            Stored::Read { op, data } => {
                let Some(read) = self.replica.read_done(op) else { return };
                self.send(out, read.to, Message::Data { op: read.answer, data });
            }
            Stored::Scanned { op, data } => {
                let Some(read) = self.replica.read_done(op) else { return };
                self.send(out, read.to, Message::Scanned { op: read.answer, data });
            }
            Stored::LookedUp { op, data } => {
                let Some(read) = self.replica.read_done(op) else { return };
                self.send(out, read.to, Message::LookedUp { op: read.answer, data });
            }
            Stored::Compared { op, page } => {
                let Some(read) = self.replica.read_done(op) else { return };
                self.send(out, read.to, Message::Compared { op: read.answer, page });
            }
            Stored::Digest { op, digest } => {
                let Some(read) = self.replica.read_done(op) else { return };
                self.send(out, read.to, Message::Digest { op: read.answer, digest });
            }
            Stored::Hints { op, hints } => {
                let target = self.hints.on_page(op, hints, out.now.monotonic, &self.config);
                self.deliver_hints(out, target);
            }
            Stored::Failed { op, error } => self.on_storage_failed(out, op, &error),
        }
    }

    /// W4: everything up to `up_to` is as durable as is promised; with `synced` it survives power loss.
    fn acknowledge(&mut self, out: &mut Out<'_>, up_to: OpId, synced: bool) {
        let mut acknowledged: BTreeMap<(NodeId, u16), Vec<OpId>> = BTreeMap::new();
        while let Some(apply) = self.replica.applied(up_to, synced) {
            acknowledged.entry((apply.to, apply.answer.shard())).or_default().push(apply.answer);
        }
        for ((to, _), ops) in acknowledged {
            self.send(out, to, Message::Written { ops });
        }
    }

    fn on_storage_failed(&mut self, out: &mut Out<'_>, op: OpId, error: &StorageError) {
        let reason = match error {
            StorageError::Overloaded => Refusal::Overloaded,
            StorageError::TooManyTombstones { .. } => Refusal::TooManyTombstones,
            StorageError::Full(_) => Refusal::DiskFull,
            // The mutation was found valid before: storage does not know its table yet, or not any more.
            _ => Refusal::Storage,
        };
        if self.is_of_register(op) {
            return self.register_failed(out, op, reason);
        }
        if self.count_failed(out, op, reason) || self.kept_failed(out, op, reason) {
            return;
        }
        let apply = self.replica.apply_failed(op).map(|apply| (apply.to, apply.answer));
        let request = apply.or_else(|| self.replica.read_done(op).map(|read| (read.to, read.answer)));
        if let Some((to, answer)) = request {
            self.send(out, to, Message::Refused { op: answer, reason });
            return;
        }
        if let Ok(index) = self.records.binary_search_by_key(&op, |(op, _)| *op) {
            match self.records.remove(index) {
                Some((_, Record::Ceiling)) => {
                    self.timestamps.reservation_failed();
                    self.fail_waiting(out, error);
                }
                Some((_, Record::Hint(target, write))) => {
                    match error {
                        StorageError::WindowOver => self.counters.hints_dropped += 1,
                        _ => self.counters.hints_failed += 1,
                    }
                    self.on_hint_ended(out, target, write, false);
                }
                // They are delivered again, which changes nothing, until storage forgets them.
                Some((_, Record::HintsDelivered(target))) => {
                    self.hints.note(target, out.now.monotonic + self.config.hint_backoff);
                }
                Some((_, Record::Repaired(to, op))) => self.send(out, to, Message::Refused { op, reason }),
                Some((_, Record::Dropped(since))) => self.ranges_dropped(out, since, false),
                // They are for people, and what they tell of is done; and more is removed the next time.
                Some((_, Record::Repairs | Record::Forgotten)) | None => {}
            }
            return;
        }
        self.hints.on_read_failed(op, out.now.monotonic, &self.config);
    }

    // ---- Writes ----

    /// Sends a write to its replicas, or lets it wait for a timestamp.
    fn begin_write(
        &mut self,
        out: &mut Out<'_>,
        id: RequestId,
        write: BoundWrite,
        consistency: Consistency,
        stamp: Stamp,
        deadline: Instant,
    ) -> Result<(), RequestError> {
        let view = self.view.clone();
        let table = write.table();
        check_table(&view, table)?;
        if write.is_empty() {
            self.reply(out, id, Ok(Response::Written));
            return Ok(());
        }
        let (keyspace, token) = (&table.keyspace, write.partition().token);
        let replicas = match self.config.is_planted(Planted::OldPlacementWritten) {
            true => view.replicas(keyspace, token),
            false => view.holders(keyspace, token),
        };
        let quorum = Quorum::of_write(&self.config, &view, keyspace, consistency, token)?;
        quorum.check_alive(consistency, |node| self.is_alive(node))?;
        if let Some(highest) = write.highest_timestamp() {
            self.check_timestamp(out.now, highest)?;
        }
        let given = write.timestamp().or(stamp.timestamp());
        let timestamp = match given {
            Some(timestamp) => self.check_timestamp(out.now, timestamp)?,
            None => match self.server_timestamp(out) {
                Some(timestamp) => timestamp,
                None => {
                    let op = self.ops.next();
                    self.timers.set(Timer::Waiting(op), deadline);
                    self.waiting.push_back(WaitingWrite { op, request: id, write, consistency, deadline });
                    return Ok(());
                }
            },
        };
        let mutation = Arc::new(write.mutation(timestamp, stamp.now(out.now.wall))?);
        if let Some(table) = view.schema.table(table.id) {
            // By the indexes that there are now, whatever there were when the statement was prepared.
            check_indexed_values(table, &mutation)?;
        }
        if write.counts() {
            return self.begin_count(out, id, table, mutation, consistency, deadline);
        }
        let op = self.ops.next();
        let mut write = WriteOp::new(id, mutation, consistency, replicas, quorum, deadline);
        write.hints_count |= self.config.is_planted(Planted::HintCounts);
        self.make_room(out, write.bytes)?;
        self.writes_unanswered += 1;
        self.write_bytes += write.bytes;
        self.timers.set(Timer::Write(op), deadline);
        self.send_write(out, op, write, replicas);
        Ok(())
    }

    /// Sends a new write to the live ones of its replicas, to each other data centre once (W7); the others get hints.
    fn send_write(&mut self, out: &mut Out<'_>, op: OpId, mut write: WriteOp, replicas: &[NodeId]) {
        let view = self.view.clone();
        let local = view.data_center(self.config.node);
        let mut remote: BTreeMap<&str, Vec<NodeId>> = BTreeMap::new();
        let lacking: Vec<NodeId> = replicas.iter().copied().filter(|node| write.awaits(*node)).collect();
        for node in &lacking {
            if !self.is_alive(*node) {
                if write.miss(*node) {
                    self.hint(out, *node, op, &mut write);
                }
            } else if write.purpose == WritePurpose::Client
                && view.spans_data_centers()
                && view.data_center(*node) != local
            {
                remote.entry(view.data_center(*node)).or_default().push(*node);
            } else {
                let (mutation, purpose) = (write.mutation.clone(), write.purpose.clone());
                self.send(out, *node, Message::Write { op, mutation, purpose });
            }
        }
        for mut targets in remote.into_values() {
            let via = targets.swap_remove(self.rng.index(targets.len()));
            targets.iter().for_each(|target| write.forwarded(*target, via));
            let mutation = write.mutation.clone();
            let message = match targets.is_empty() {
                true => Message::Write { op, mutation, purpose: WritePurpose::Client },
                false => Message::Forward { op, mutation, targets },
            };
            self.send(out, via, message);
        }
        let verdict = write.counts_hints().then(|| write.verdict());
        self.writes.insert(op, write);
        if let Some(verdict) = verdict {
            self.on_verdict(out, op, verdict);
        }
    }

    /// W7: what `via` may not have forwarded goes to its replicas directly.
    fn send_directly(&mut self, out: &mut Out<'_>, op: OpId, via: NodeId) {
        let Some(write) = self.writes.get_mut(&op) else { return };
        let (nodes, mutation) = (write.not_forwarded(via), write.mutation.clone());
        for node in nodes {
            self.send(out, node, Message::Write { op, mutation: mutation.clone(), purpose: WritePurpose::Client });
        }
    }

    fn check_timestamp(&self, now: Now, timestamp: i64) -> Result<i64, RequestError> {
        let ahead = i64::try_from(self.config.timestamp_future_max.as_micros()).unwrap_or(i64::MAX);
        let highest = now.wall.0.saturating_add(ahead);
        if timestamp > highest {
            return Err(RequestError::Invalid(format!(
                "the timestamp {timestamp} is {} seconds in the future; at most {} are allowed",
                timestamp.saturating_sub(now.wall.0) / 1_000_000,
                self.config.timestamp_future_max.as_secs()
            )));
        }
        if timestamp == i64::MIN {
            // It means "none" to drivers, and nothing could ever be deleted below it.
            return Err(RequestError::Invalid(format!("the timestamp {timestamp} is out of bounds")));
        }
        Ok(timestamp)
    }

    /// The next server timestamp; `None` while its ceiling is on its way to disk.
    fn server_timestamp(&mut self, out: &mut Out<'_>) -> Option<i64> {
        let timestamp = self.timestamps.next(out.now.wall);
        if let Some(ceiling) = self.timestamps.reserve(out.now.wall) {
            let write = ceiling_record(self.config.index, ceiling);
            self.record(out, Record::Ceiling, StorageRequest::Local(write));
        }
        timestamp
    }

    /// The timestamp ceiling has risen: the writes that wait go on, in their order.
    fn resume_waiting(&mut self, out: &mut Out<'_>) {
        for waiting in std::mem::take(&mut self.waiting) {
            let WaitingWrite { op, request, write, consistency, deadline } = waiting;
            self.timers.cancel(Timer::Waiting(op), deadline);
            if let Err(error) = self.begin_write(out, request, write, consistency, Stamp::default(), deadline) {
                self.reply(out, request, Err(error));
            }
        }
    }

    fn fail_waiting(&mut self, out: &mut Out<'_>, error: &StorageError) {
        for waiting in std::mem::take(&mut self.waiting) {
            self.timers.cancel(Timer::Waiting(waiting.op), waiting.deadline);
            self.reply(out, waiting.request, Err(unstamped(error)));
        }
        self.fail_unstamped_batches(out, &unstamped(error));
    }

    fn on_waiting_timer(&mut self, out: &mut Out<'_>, op: OpId) {
        let Some(index) = self.waiting.iter().position(|waiting| waiting.op == op) else { return };
        let Some(waiting) = self.waiting.remove(index) else { return };
        let timeout = self.timeout_of(waiting.write.table(), waiting.consistency);
        self.reply(out, waiting.request, Err(timeout));
    }

    /// The timeout of a write of which no replica was told.
    fn timeout_of(&self, table: &Table, consistency: Consistency) -> RequestError {
        match Quorum::new(&self.config, &self.view, &table.keyspace, consistency, &[]) {
            Ok(quorum) => RequestError::WriteTimeout { consistency, received: 0, required: quorum.required() as u32 },
            Err(error) => error,
        }
    }

    /// Makes room for the mutation of a new write: writes that only wait for their last replicas end early.
    fn make_room(&mut self, out: &mut Out<'_>, bytes: usize) -> Result<(), RequestError> {
        while self.write_bytes + bytes > self.config.request_bytes_max {
            if !self.end_lingering(out) {
                let message = format!("{} bytes of writes are in flight", self.write_bytes);
                return Err(RequestError::Overloaded(message));
            }
        }
        Ok(())
    }

    /// Ends the oldest write that is answered; false when there is none.
    fn end_lingering(&mut self, out: &mut Out<'_>) -> bool {
        if self.writes.len() == self.writes_unanswered {
            return false;
        }
        let oldest = self.writes.iter().find(|(_, write)| write.is_answered()).map(|(op, _)| *op);
        oldest.is_some_and(|op| {
            self.end_write(out, op);
            true
        })
    }

    /// A write was acknowledged, or was not: a client is told, or the transaction that it is part of.
    fn write_ended(&mut self, out: &mut Out<'_>, id: RequestId, result: Result<Response, RequestError>) {
        match self.transactions.contains(id) {
            true => self.on_committed(out, id, result),
            false if self.batches.contains(id) => self.on_batch_part(out, id, result),
            false => self.reply(out, id, result),
        }
    }

    fn on_verdict(&mut self, out: &mut Out<'_>, op: OpId, verdict: Verdict) {
        if let Some((request, result)) = verdict.answer {
            self.writes_unanswered -= 1;
            self.write_ended(out, request, result);
        }
        if verdict.done {
            self.end_write(out, op);
        } else if self.writes.len() - self.writes_unanswered > self.config.requests_max {
            self.end_lingering(out);
        }
    }

    fn on_write_missed(&mut self, out: &mut Out<'_>, op: OpId, node: NodeId) {
        let Some(mut write) = self.writes.remove(&op) else { return };
        if write.miss(node) {
            self.hint(out, node, op, &mut write);
        }
        let verdict = write.verdict();
        self.writes.insert(op, write);
        self.on_verdict(out, op, verdict);
    }

    fn on_write_timer(&mut self, out: &mut Out<'_>, op: OpId) {
        let Some(write) = self.writes.get_mut(&op) else { return };
        let deadline = write.deadline;
        if deadline <= out.now.monotonic {
            return self.end_write(out, op);
        }
        write.timer = deadline;
        let (nodes, mutation, purpose) = (write.retry(), write.mutation.clone(), write.purpose.clone());
        self.timers.set(Timer::Write(op), deadline);
        for node in nodes {
            let (mutation, purpose) = (mutation.clone(), purpose.clone());
            self.send(out, node, Message::Write { op, mutation, purpose });
        }
    }

    /// The write ends: its client is told if it was not, and who misses it gets a hint.
    fn end_write(&mut self, out: &mut Out<'_>, op: OpId) {
        let Some(mut write) = self.writes.remove(&op) else { return };
        self.timers.cancel(Timer::Write(op), write.timer);
        self.write_bytes -= write.bytes;
        let (answer, missing) = write.end();
        if let Some((request, timeout)) = answer {
            self.writes_unanswered -= 1;
            self.write_ended(out, request, Err(timeout));
        }
        let unhinted = self.config.is_planted(Planted::MissedUnhinted);
        for node in missing.into_iter().filter(|_| !unhinted) {
            self.hint(out, node, op, &mut write);
        }
        self.batch_part_ended(out, op, write.is_anywhere());
    }

    /// The view has changed: a write counts over the placement in the new one.
    fn replan_write(&mut self, out: &mut Out<'_>, op: OpId) {
        let view = self.view.clone();
        let Some(write) = self.writes.get_mut(&op) else { return };
        let (mutation, consistency) = (write.mutation.clone(), write.consistency());
        let Some(table) = view.schema.table(mutation.table) else {
            // Nobody can read it any more, so nobody needs a hint.
            let answer = write.abandon();
            if let Some((request, failure)) = answer {
                self.writes_unanswered -= 1;
                self.write_ended(out, request, Err(failure));
            }
            return self.end_write(out, op);
        };
        let (keyspace, token) = (&table.keyspace, mutation.partition.token);
        let replicas = view.holders(keyspace, token);
        let Ok(quorum) = Quorum::of_write(&self.config, &view, keyspace, consistency, token) else {
            // It ends as one that nobody acknowledges any more.
            return self.end_write(out, op);
        };
        let (ask, purpose) = (write.replan(replicas, quorum), write.purpose.clone());
        for node in ask {
            if self.is_alive(node) {
                let (mutation, purpose) = (mutation.clone(), purpose.clone());
                self.send(out, node, Message::Write { op, mutation, purpose });
            } else {
                self.on_write_missed(out, op, node);
            }
        }
        if let Some(write) = self.writes.get_mut(&op) {
            let verdict = write.verdict();
            self.on_verdict(out, op, verdict);
        }
    }
}

fn unstamped(error: &StorageError) -> RequestError {
    RequestError::NotServing(format!("no timestamp could be reserved: {error}"))
}

fn read_request(command: Arc<ReadCommand>, digest: bool) -> StorageRequest {
    if digest { StorageRequest::Digest(command) } else { StorageRequest::Read(command) }
}

/// Refuses a statement whose table is gone, or another one of the same name.
fn check_table(view: &ClusterView, bound: &model::schema::Table) -> Result<(), RequestError> {
    // By id first: names are looked up only for the words of the error.
    if view.schema.table(bound.id).is_some() {
        return Ok(());
    }
    view.schema.find_table(&bound.keyspace, &bound.name)?;
    let name = format!("{}.{}", bound.keyspace, bound.name);
    Err(RequestError::NotFound(format!(
        "table {name} was truncated, or dropped and created again; prepare the statement again"
    )))
}

#[cfg(test)]
#[path = "shard_tests.rs"]
mod tests;
