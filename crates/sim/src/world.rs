//! The world: one heap of events for all machines, and the only place where something happens.
//!
//! Invariants:
//! * Events are handled in the order of their true time, those of one time in the order in which they were
//!   scheduled. Nothing else decides the order of anything, so one seed gives one run.
//! * What is addressed to a process that has died is discarded, but for packets: the network does not know who
//!   is alive.
//! * Every message is encoded to bytes and decoded from them on its way, and must come out as it went in.
//! * A process is driven as in production: inputs are drained in batches with one reading of the clocks, writes
//!   are committed in groups, a table exists on disk before the shards are told of it.

use crate::clock::{Clock, TrueTime};
use crate::disk::SimDisk;
use crate::fault::FaultStep;
use crate::machine::{Asker, Letter, Machine, machine_at};
use crate::network::{Network, NetworkProfile, Stream, geometric};
use crate::oracle::Violation;
use crate::trace::{Subject, Trace};
use membership::{ClusterView, MemberError, recovery};
use model::local::prefix;
use model::schema::SchemaChange;
use model::{Epoch, Mutation, NodeId, RequestError, Rng, TableId, Token, WallMicros};
use node::garbage::purge_after_repair;
use node::repair::repaired::{REPAIRED, Repaired};
use node::{
    Durability, Effect, Envelope, GarbageSchedule, GarbageSweep, OpId, RepairOrder, RepairsStatus, Request, RequestId,
    Response, Shard, Storage, StorageError, StorageRequest, Stored, Write,
};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

/// How all machines of a world are built and how their processes run.
#[derive(Clone, Debug)]
pub struct Build {
    /// Machines.
    pub machines: usize,
    /// Data centres, over which the machines are spread in turns.
    pub data_centers: usize,
    /// Machines that are listed as seeds: the first ones.
    pub seeds: usize,
    /// Most shards of a node; each node draws its own number.
    pub shards_max: u16,
    /// Tokens of each node.
    pub tokens: u32,
    /// When replicas acknowledge.
    pub durability: Durability,
    /// Of a thousand inputs, how many are not handled at once but with what comes after.
    pub batched: u64,
    /// For how long at most, in microseconds.
    pub batched_for: u64,
    /// How late wake-ups may be, in microseconds.
    pub late: u64,
    /// For how long what requests with retry tokens came to is remembered.
    pub retry_window: Duration,
    /// Worst offset of a wall clock at the start, in microseconds.
    pub skew: u64,
    /// Worst drift of a clock, in millionths.
    pub drift_ppm: u64,
    /// Mean time of a sync in microseconds.
    pub sync_mean: u64,
    /// Of a thousand packets to a machine whose process is dead, how many make the transport say so.
    pub unreachable_noticed: u64,
    /// For how long at most a dropped table stays on disk, in microseconds.
    pub tables_linger: u64,
    /// Most operations that a replica takes on at one time.
    pub replica_ops_max: usize,
    /// Whether each shard draws its other limits, some of them small, and its times, some of them short.
    pub draw_limits: bool,
    /// For how long a voter of the metadata log is dead before another member takes its place.
    pub voter_patience: Duration,
    /// Within so long, in microseconds, every range is repaired unasked; `None` for never.
    pub repairs_every: Option<u64>,
    /// The bug that all shards run with; without the feature `planted` nobody looks at it.
    pub planted: Option<model::Planted>,
}

impl Build {
    /// The data centre of a machine.
    #[must_use]
    pub fn data_center(&self, machine: usize) -> usize {
        machine % self.data_centers
    }

    /// The name of a data centre.
    #[must_use]
    pub fn data_center_name(data_center: usize) -> String {
        format!("dc{}", data_center + 1)
    }

    /// The CQL that creates `keyspace` with so many replicas in each data centre.
    #[must_use]
    pub fn create_keyspace(&self, keyspace: &str, replicas: &[usize]) -> String {
        let replication = match replicas {
            [replicas] => format!("'class': 'SimpleStrategy', 'replication_factor': {replicas}"),
            each => {
                each.iter().enumerate().fold("'class': 'NetworkTopologyStrategy'".to_owned(), |text, (n, replicas)| {
                    format!("{text}, '{}': {replicas}", Build::data_center_name(n))
                })
            }
        };
        format!("CREATE KEYSPACE IF NOT EXISTS {keyspace} WITH replication = {{{replication}}}")
    }

    /// Machines without any oddity: exact clocks, prompt wake-ups.
    #[must_use]
    pub fn plain(machines: usize) -> Build {
        Build {
            machines,
            data_centers: 1,
            seeds: machines.min(3),
            shards_max: 1,
            tokens: 4,
            durability: Durability::Group,
            batched: 0,
            batched_for: 0,
            late: 0,
            retry_window: Duration::from_secs(600),
            skew: 0,
            drift_ppm: 0,
            sync_mean: 500,
            unreachable_noticed: 1000,
            tables_linger: 2_000_000,
            replica_ops_max: 65_536,
            draw_limits: false,
            voter_patience: membership::VOTER_PATIENCE,
            repairs_every: None,
            planted: None,
        }
    }
}

/// Something that whoever drives the world wants to know.
#[derive(Clone, Debug)]
pub enum Occurrence {
    /// A request was answered.
    Replied {
        /// The request.
        id: RequestId,
        /// Its outcome.
        result: Result<Response, RequestError>,
    },
    /// A schema change was answered.
    Decided {
        /// The request.
        id: RequestId,
        /// Its outcome.
        result: Result<Epoch, RequestError>,
    },
    /// The process died that this request was sent to; nobody will ever answer it.
    Lost(RequestId),
    /// A timer set with [`World::set_timer`] is due.
    Timer(u64),
    /// A replica logged a mutation.
    Logged(Arc<Mutation>),
    /// A member published a view.
    Published(usize, Arc<ClusterView>),
    /// A process stopped by itself.
    Stopped {
        /// The machine.
        machine: usize,
        /// What it said.
        reason: String,
        /// Whether a fault of its disk explains it.
        expected: bool,
    },
    /// Something that must not be, found by the world itself.
    Wrong(Violation),
}

/// What all machines have sent to each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Messages.
    pub messages: u64,
    /// Their bytes, without what a transport adds.
    pub bytes: u64,
}

impl Traffic {
    /// What was sent since there was `before`.
    #[must_use]
    pub fn since(self, before: Traffic) -> Traffic {
        Traffic { messages: self.messages - before.messages, bytes: self.bytes - before.bytes }
    }
}

/// What the heap holds.
#[derive(Debug)]
enum Event {
    Packet { to: usize, from: usize, sender: NodeId, payload: Box<peer::Payload> },
    Letter { machine: usize, incarnation: u64, letter: Letter },
    Run { machine: usize, incarnation: u64 },
    Wake { machine: usize, incarnation: u64 },
    Stage { machine: usize, incarnation: u64 },
    Synced { machine: usize, incarnation: u64 },
    PeriodicSync { machine: usize, incarnation: u64 },
    Read { machine: usize, incarnation: u64, op: OpId, request: StorageRequest, then: u64 },
    DropTables { machine: usize, incarnation: u64 },
    Fault(FaultStep),
    Timer(u64),
}

/// How often a node that acknowledges before the sync syncs.
const PERIODIC_SYNC_MICROS: u64 = 200_000;

/// No sync takes longer, however slow the disk.
const SYNC_MICROS_MAX: u64 = 3_000_000;

/// After this time a process that stopped by itself is started again.
const SUPERVISOR_MICROS: u64 = 1_000_000;

/// A simulated cluster.
pub struct World {
    build: Build,
    time: TrueTime,
    sequence: u64,
    heap: BinaryHeap<Reverse<(TrueTime, u64, u32)>>,
    slots: Vec<Option<Event>>,
    free: Vec<u32>,
    machines: Vec<Machine>,
    by_id: BTreeMap<NodeId, usize>,
    network: Network,
    profile: NetworkProfile,
    rng: Rng,
    requests: u64,
    occurrences: VecDeque<Occurrence>,
    sent: BTreeMap<Stream, Traffic>,
    /// The record of the run.
    pub trace: Trace,
    handled: u64,
}

impl World {
    /// Machines without processes. `full` keeps every event in words.
    #[must_use]
    pub fn new(build: Build, profile: NetworkProfile, seed: u64, full: bool) -> World {
        let mut rng = Rng::new(seed);
        let network = Network::new(profile.clone(), rng.fork());
        let signed = |rng: &mut Rng, most: u64| rng.between(0, 2 * most) as i64 - most as i64;
        let mut by_id = BTreeMap::new();
        let machines = (0..build.machines).map(|index| {
            let clock = Clock::new(signed(&mut rng, build.drift_ppm), signed(&mut rng, build.skew));
            let shards = rng.between(1, u64::from(build.shards_max)) as u16;
            let id = NodeId(rng.next_u128());
            by_id.insert(id, index);
            Machine::new(index, id, shards, clock)
        });
        let machines = machines.collect();
        World {
            build,
            time: 0,
            sequence: 0,
            heap: BinaryHeap::new(),
            slots: Vec::new(),
            free: Vec::new(),
            machines,
            by_id,
            network,
            profile,
            rng,
            requests: 0,
            occurrences: VecDeque::new(),
            sent: BTreeMap::new(),
            trace: Trace::new(full),
            handled: 0,
        }
    }

    /// The true time in microseconds.
    #[must_use]
    pub fn time(&self) -> TrueTime {
        self.time
    }

    /// Events handled so far.
    #[must_use]
    pub fn handled(&self) -> u64 {
        self.handled
    }

    /// What was sent on a stream so far, by all machines to all others.
    #[must_use]
    pub fn sent(&self, stream: Stream) -> Traffic {
        self.sent.get(&stream).copied().unwrap_or_default()
    }

    /// How the machines are built.
    #[must_use]
    pub fn build(&self) -> &Build {
        &self.build
    }

    /// Handles the next event if it comes at or before `until`; false, with the time moved there, when there is
    /// none.
    pub fn step(&mut self, until: TrueTime) -> bool {
        match self.heap.peek() {
            Some(Reverse((time, _, _))) if *time <= until => {}
            _ => {
                self.time = self.time.max(until);
                return false;
            }
        }
        let Some(Reverse((time, _, slot))) = self.heap.pop() else { return false };
        assert!(time >= self.time, "time goes forward");
        self.time = time;
        self.handled += 1;
        let event = self.slots[slot as usize].take().expect("an event is in the heap once");
        self.free.push(slot);
        self.handle(event);
        true
    }

    /// What has occurred since the last call.
    pub fn occurred(&mut self) -> Option<Occurrence> {
        self.occurrences.pop_front()
    }

    /// [`Occurrence::Timer`] with this token occurs after `delay` microseconds.
    pub fn set_timer(&mut self, delay: u64, token: u64) {
        self.schedule(self.time + delay, Event::Timer(token));
    }

    /// Takes a step of a fault after `delay` microseconds.
    pub fn schedule_fault(&mut self, delay: u64, step: FaultStep) {
        self.schedule(self.time + delay, Event::Fault(step));
    }

    /// The view of the process on a machine; `None` when none runs or it has not joined.
    #[must_use]
    pub fn view(&self, machine: usize) -> Option<&Arc<ClusterView>> {
        self.machines[machine].process.as_ref()?.view.as_ref()
    }

    /// True when a process runs on the machine.
    #[must_use]
    pub fn is_running(&self, machine: usize) -> bool {
        self.machines[machine].process.is_some()
    }

    /// How often a process has been started on the machine.
    #[must_use]
    pub fn incarnation(&self, machine: usize) -> u64 {
        self.machines[machine].incarnation
    }

    /// The time until which the process on a machine stands still.
    #[must_use]
    pub fn paused_until(&self, machine: usize) -> TrueTime {
        self.machines[machine].paused_until
    }

    /// The disk of a machine.
    #[must_use]
    pub fn disk(&self, machine: usize) -> &SimDisk {
        &self.machines[machine].disk
    }

    /// The node that lives on a machine.
    #[must_use]
    pub fn node_id(&self, machine: usize) -> NodeId {
        self.machines[machine].id
    }

    /// The machine on which a node lives.
    #[must_use]
    pub fn machine_of(&self, node: NodeId) -> Option<usize> {
        self.by_id.get(&node).copied()
    }

    /// Hints that the process on a machine could not keep, for lack of room or because its disk refused them.
    #[must_use]
    pub fn hints_lost(&self, machine: usize) -> u64 {
        let shards = self.machines[machine].process.iter().flat_map(|process| &process.shards);
        shards.map(|shard| shard.status()).map(|status| status.hints_dropped + status.hints_failed).sum()
    }

    /// What a machine's wall clock shows, in microseconds since 1970.
    #[must_use]
    pub fn wall(&self, machine: usize) -> i64 {
        self.machines[machine].clock.now(self.time).wall.0
    }

    /// Sends a client's request to a machine; `None` when nobody listens there.
    pub fn request(&mut self, machine: usize, request: Request) -> Option<RequestId> {
        self.requests += 1;
        let id = RequestId(self.requests);
        let process = self.machines[machine].process.as_mut()?;
        process.view.as_ref()?;
        process.requests.insert(id);
        let shard = Shard::shard_of(request.token(), process.shards.len() as u16);
        self.receive(machine, Letter::Shard(shard, node::Input::Request { id, request }));
        Some(id)
    }

    /// Proposes a change of the schema on a machine; `None` when nobody listens there.
    pub fn propose(&mut self, machine: usize, change: SchemaChange) -> Option<RequestId> {
        self.requests += 1;
        let id = RequestId(self.requests);
        let process = self.machines[machine].process.as_mut()?;
        process.requests.insert(id);
        self.receive(machine, Letter::Member(membership::Input::Propose { request: id.0, change }));
        Some(id)
    }

    /// Sweeps some tokens of a table on a machine for garbage, by the machine's own clock; what was swept, unless
    /// nobody runs there or the disk cannot.
    pub fn sweep(&mut self, machine: usize, table: TableId, tokens: RangeInclusive<Token>) -> Option<GarbageSweep> {
        let process = self.machines[machine].process.as_ref()?;
        let view = process.view.as_ref()?;
        let table = view.schema.table(table)?.clone();
        let now_seconds = WallMicros(self.wall(machine)).clamped_seconds();
        // As in production: what the disk says, not what shards know.
        let records = self.machines[machine].disk.local_records(REPAIRED).ok()?;
        let repaired = Repaired::from_local_records(&records).expect("records of repairs are as they were written");
        let own = self.machines[machine].id;
        let purge = purge_after_repair(view, own, &repaired, &table, &tokens, now_seconds);
        #[cfg_attr(not(feature = "planted"), expect(unused_mut, reason = "a bug may be switched on"))]
        let mut schedule = GarbageSchedule::default();
        #[cfg(feature = "planted")]
        {
            schedule.planted = self.build.planted;
        }
        let sweep = schedule.sweep(&table, tokens, purge);
        match self.machines[machine].disk.collect_garbage(&sweep) {
            Ok(report) => {
                let removed = [report.rows_removed, report.deletions_removed].map(u64::to_le_bytes).concat();
                self.record(b'g', machine, &removed, || format!("swept {sweep:?}: {report:?}"));
                Some(sweep)
            }
            Err(error @ StorageError::Corrupt(_)) => {
                self.wrong("storage", format!("a sweep of node {machine} failed: {error}"));
                None
            }
            Err(_) => None,
        }
    }

    /// Orders a repair of a machine; false when nobody listens there.
    pub fn repair(&mut self, machine: usize, order: RepairOrder) -> bool {
        if self.machines[machine].process.as_ref().is_none_or(|process| process.shards.is_empty()) {
            return false;
        }
        let order = node::Input::Repair(node::RepairControl::Order(order));
        self.receive(machine, Letter::Shard(0, order));
        true
    }

    /// What the process on a machine has said last of its repairs.
    #[must_use]
    pub fn repairs(&self, machine: usize) -> &Arc<RepairsStatus> {
        &self.machines[machine].repairs
    }

    /// Takes everything from the disk of a machine, on which nothing runs, that its tables hold, and what it knows of
    /// repairs.
    pub fn lose_tables(&mut self, machine: usize) {
        self.machines[machine].disk.lose_tables();
    }

    /// Takes a step of a fault now.
    pub fn fault(&mut self, step: FaultStep) {
        match step {
            FaultStep::Start(_) | FaultStep::Crash { .. } => {}
            ref other => self.trace.tell(self.time, Subject::World, format!("{other:?}")),
        }
        match step {
            FaultStep::Block(links) => links.iter().for_each(|(from, to)| self.network.set_blocked(*from, *to, true)),
            FaultStep::Open(links) => links.iter().for_each(|(from, to)| self.network.set_blocked(*from, *to, false)),
            FaultStep::Clog(stream, links, micros) => {
                let until = self.time + micros;
                links.iter().for_each(|(from, to)| self.network.clog(stream, *from, *to, until));
            }
            FaultStep::Network(profile) => self.network.set_profile(profile),
            FaultStep::Crash { machine, power_loss } => self.crash(machine, power_loss),
            FaultStep::Start(machine) => self.start(machine),
            FaultStep::Pause(machine, micros) => {
                let machine = &mut self.machines[machine];
                machine.paused_until = machine.paused_until.max(self.time + micros);
            }
            FaultStep::Jump(machine, micros) => self.machines[machine].clock.jump(micros),
            FaultStep::DiskSlowness(machine, slowness) => self.machines[machine].slowness = slowness,
            FaultStep::DiskFull(machine, full) => self.machines[machine].disk.set_full(full),
            FaultStep::FailSync(machine) => self.machines[machine].fail_next_sync = true,
            FaultStep::ReadErrors(machine, per_mille) => self.machines[machine].read_errors = per_mille,
        }
    }

    /// Ends every fault: links open, disks healthy, clocks right, every process running. Fault steps that are
    /// still to come are the driver's to hold back.
    pub fn heal(&mut self) {
        self.trace.tell(self.time, Subject::World, "heal".to_owned());
        self.network.heal();
        self.network.set_profile(NetworkProfile { loss: 0, duplicate: 0, spike: 0, ..self.profile.clone() });
        // Faults that were drawn and not taken yet are gone too.
        for slot in &mut self.slots {
            if matches!(slot, Some(Event::Fault(_))) {
                *slot = Some(Event::Timer(u64::MAX));
            }
        }
        for index in 0..self.machines.len() {
            let machine = &mut self.machines[index];
            (machine.paused_until, machine.slowness, machine.read_errors) = (self.time, 1, 0);
            machine.fail_next_sync = false;
            machine.disk.set_full(false);
            machine.clock.synchronize(self.time);
            let (runs, incarnation) = (machine.runs, machine.incarnation);
            if runs {
                self.schedule(self.time, Event::Run { machine: index, incarnation });
            }
            self.start(index);
        }
    }

    /// The last entry of the metadata log that the disk of a machine has.
    #[must_use]
    pub fn log_on_disk(&self, machine: usize) -> Epoch {
        let Machine { disk, id, .. } = &self.machines[machine];
        let records = disk.local_records(prefix::MEMBERSHIP).unwrap_or_default();
        recovery::log_status(&records, *id, 0).map_or(Epoch(0), |status| status.epoch)
    }

    /// Recovers the metadata log on a machine that is down, as an operator does; the name of the cluster from then on.
    ///
    /// # Panics
    /// When the machine runs, or its log cannot be recovered.
    pub fn recover_log(&mut self, machine: usize) -> u128 {
        let (cluster, entry) = (self.rng.next_u128(), self.rng.next_u128());
        let Machine { disk, id, process, .. } = &self.machines[machine];
        assert!(process.is_none(), "the log is recovered on a node that is down");
        let records = disk.local_records(prefix::MEMBERSHIP).expect("the disk can be read");
        let (_, write) = recovery::recover_log(&records, *id, cluster, entry).expect("the node is a member");
        let written = disk.commit(&[Write::Local(write)], true);
        assert!(written.is_ok_and(|results| results.iter().all(Result::is_ok)), "the disk can be written");
        cluster
    }

    /// Starts the process of a machine, if it is not running.
    pub fn start(&mut self, index: usize) {
        if self.machines[index].process.is_some() {
            return;
        }
        let origin = self.rng.below(1 << 50);
        let seed = self.rng.next_u64();
        let machine = &mut self.machines[index];
        machine.incarnation += 1;
        machine.clock.restart(self.time, origin);
        machine.runs = false;
        machine.inbox.clear();
        let now = machine.clock.now(self.time);
        match machine.new_process(&self.build, seed, now) {
            Ok(process) => machine.process = Some(process),
            Err(error) => {
                return self.wrong("recovery", format!("node {index} does not start on what its disk holds: {error}"));
            }
        }
        self.trace.tell(self.time, Subject::Machine(index), format!("start {}", self.machines[index].incarnation));
        if self.build.durability == Durability::Periodic {
            let incarnation = self.machines[index].incarnation;
            self.schedule(self.time + PERIODIC_SYNC_MICROS, Event::PeriodicSync { machine: index, incarnation });
        }
        self.receive(index, Letter::Wake);
    }

    /// Kills the process of a machine, if one runs; with `power_loss` unsynced bytes may be lost.
    pub fn crash(&mut self, index: usize, power_loss: bool) {
        let lost = self.machines[index].disk.crash(power_loss, &mut self.rng);
        let Some(process) = self.machines[index].process.take() else { return };
        let how = if power_loss { format!("power loss, {lost} unsynced writes lost") } else { "crash".to_owned() };
        self.trace.tell(self.time, Subject::Machine(index), how);
        self.machines[index].inbox.clear();
        self.occurrences.extend(process.requests.into_iter().map(Occurrence::Lost));
    }

    fn wrong(&mut self, oracle: &'static str, text: String) {
        self.occurrences.push_back(Occurrence::Wrong(Violation::new(oracle, text)));
    }

    fn schedule(&mut self, time: TrueTime, event: Event) {
        self.sequence += 1;
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = Some(event);
                slot
            }
            None => {
                self.slots.push(Some(event));
                self.slots.len() as u32 - 1
            }
        };
        self.heap.push(Reverse((time.max(self.time), self.sequence, slot)));
    }

    fn schedule_letter(&mut self, delay: u64, machine: usize, letter: Letter) {
        let incarnation = self.machines[machine].incarnation;
        self.schedule(self.time + delay, Event::Letter { machine, incarnation, letter });
    }

    /// True when this incarnation of a machine's process is running.
    fn lives(&self, machine: usize, incarnation: u64) -> bool {
        self.machines[machine].incarnation == incarnation && self.machines[machine].process.is_some()
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Packet { to, from, sender, payload } => self.deliver(to, from, sender, *payload),
            Event::Letter { machine, incarnation, letter } if self.lives(machine, incarnation) => {
                self.receive(machine, letter);
            }
            Event::Run { machine, incarnation } if self.lives(machine, incarnation) => {
                if self.machines[machine].paused_until > self.time {
                    let until = self.machines[machine].paused_until;
                    self.schedule(until, Event::Run { machine, incarnation });
                } else {
                    self.run(machine);
                }
            }
            Event::Wake { machine, incarnation } if self.lives(machine, incarnation) => {
                if let Some(process) = &mut self.machines[machine].process
                    && process.wake_at.is_some_and(|at| at <= self.time)
                {
                    process.wake_at = None;
                    self.receive(machine, Letter::Wake);
                }
            }
            Event::Stage { machine, incarnation } if self.lives(machine, incarnation) => self.stage(machine),
            Event::Synced { machine, incarnation } if self.lives(machine, incarnation) => self.synced(machine),
            Event::PeriodicSync { machine, incarnation } if self.lives(machine, incarnation) => {
                self.schedule(self.time + PERIODIC_SYNC_MICROS, Event::PeriodicSync { machine, incarnation });
                self.periodic_sync(machine);
            }
            Event::Read { machine, incarnation, op, request, then } if self.lives(machine, incarnation) => {
                let answer = self.read(machine, op, &request);
                let letter = Letter::Shard(op.shard(), node::Input::Stored(answer));
                self.schedule_letter(then, machine, letter);
            }
            Event::DropTables { machine, incarnation } if self.lives(machine, incarnation) => {
                self.set_tables(machine, false);
            }
            Event::Fault(step) => self.fault(step),
            Event::Timer(token) if token != u64::MAX => self.occurrences.push_back(Occurrence::Timer(token)),
            _ => {}
        }
    }

    /// A packet arrives.
    fn deliver(&mut self, to: usize, from: usize, sender: NodeId, payload: peer::Payload) {
        let Some(process) = &self.machines[to].process else {
            if self.build.unreachable_noticed > 0 && self.rng.chance(self.build.unreachable_noticed) {
                self.notice_unreachable(from, to);
            }
            return;
        };
        let letter = match payload {
            peer::Payload::Membership(message) => {
                let from = self.machines[from].address;
                Letter::Member(membership::Input::Message { from, message })
            }
            peer::Payload::Node(envelope) => {
                let shards = process.shards.len() as u16;
                let Some(shard) = envelope.message.shard(shards) else { return };
                Letter::Shard(shard, node::Input::Message { from: sender, envelope })
            }
        };
        self.receive(to, letter);
    }

    /// The transport of `at` learns that nobody listens on the machine `gone`.
    fn notice_unreachable(&mut self, at: usize, gone: usize) {
        let Some(process) = &self.machines[at].process else { return };
        let shards = process.shards.len() as u16;
        let (node, address) = (self.machines[gone].id, self.machines[gone].address);
        let delay = self.profile.latency_min;
        self.schedule_letter(delay, at, Letter::Member(membership::Input::Unreachable(address)));
        for shard in 0..shards {
            self.schedule_letter(delay, at, Letter::Shard(shard, node::Input::Unreachable(node)));
        }
    }

    /// Puts a letter into the inbox of a running process, and handles the inbox now, later, or once the process
    /// goes on.
    fn receive(&mut self, index: usize, letter: Letter) {
        let batched = self.build.batched > 0 && self.rng.chance(self.build.batched);
        let (time, batched_for) = (self.time, self.build.batched_for);
        let machine = &mut self.machines[index];
        machine.inbox.push_back(letter);
        if machine.runs {
            return;
        }
        if machine.paused_until <= time && !batched {
            self.run(index);
            return;
        }
        machine.runs = true;
        let (incarnation, paused) = (machine.incarnation, machine.paused_until);
        let at = if batched { time + self.rng.between(0, batched_for) } else { time };
        self.schedule(at.max(paused), Event::Run { machine: index, incarnation });
    }

    /// Handles everything in the inbox with one reading of the clocks.
    fn run(&mut self, index: usize) {
        let machine = &mut self.machines[index];
        machine.runs = false;
        let now = machine.clock.now(self.time);
        let (mut effects, mut member_effects) = (Vec::new(), Vec::new());
        while let Some(letter) = self.machines[index].inbox.pop_front() {
            let Some(process) = &mut self.machines[index].process else { return };
            match letter {
                Letter::Member(input) => process.member.step(now, input, &mut member_effects),
                Letter::Shard(shard, input) => {
                    if let Some(shard) = process.shards.get_mut(usize::from(shard)) {
                        shard.step(now, input, &mut effects);
                    }
                }
                Letter::Wake => {
                    if process.member.deadline().is_some_and(|deadline| deadline <= now.monotonic) {
                        process.member.step(now, membership::Input::Wake, &mut member_effects);
                    }
                    for shard in &mut process.shards {
                        if shard.deadline().is_some_and(|deadline| deadline <= now.monotonic) {
                            shard.step(now, node::Input::Wake, &mut effects);
                        }
                    }
                }
            }
            for effect in effects.drain(..) {
                self.shard_effect(index, effect);
            }
            for effect in member_effects.drain(..) {
                self.member_effect(index, effect);
            }
        }
        self.plan_wake(index);
    }

    /// Schedules the next wake-up of a process, a little late if the build says so.
    fn plan_wake(&mut self, index: usize) {
        let machine = &mut self.machines[index];
        let Some(process) = &mut machine.process else { return };
        let deadlines = process.shards.iter().filter_map(Shard::deadline);
        let Some(first) = deadlines.chain(process.member.deadline()).min() else { return };
        let due = machine.clock.time_of(first).max(self.time);
        if process.wake_at.is_some_and(|at| at <= due) || due == u64::MAX {
            return;
        }
        let late = if self.build.late > 0 { self.rng.between(0, self.build.late) } else { 0 };
        let at = due + late + 1;
        process.wake_at = Some(at);
        let incarnation = machine.incarnation;
        self.schedule(at, Event::Wake { machine: index, incarnation });
    }

    fn shard_effect(&mut self, index: usize, effect: Effect) {
        match effect {
            Effect::Reply { id, result } => {
                let known = self.machines[index].process.as_mut().is_some_and(|process| process.requests.remove(&id));
                if !known {
                    return self.wrong("replies", format!("node {index} answered request {id:?} twice"));
                }
                self.record(b'r', index, &id.0.to_le_bytes(), || format!("reply {id:?} {result:?}"));
                self.occurrences.push_back(Occurrence::Replied { id, result });
            }
            Effect::Send { to, envelope } => self.send_data(index, to, envelope),
            Effect::Store { op, request } => self.store(index, op, request),
            Effect::Repairs(status) => self.machines[index].repairs = status,
            Effect::ReplicationDone { since } => {
                self.schedule_letter(0, index, Letter::Member(membership::Input::Done(since)));
            }
            Effect::CatchUp { from, epoch } => {
                self.schedule_letter(0, index, Letter::Member(membership::Input::CatchUp { from, epoch }));
            }
        }
    }

    fn member_effect(&mut self, index: usize, effect: membership::Effect) {
        match effect {
            membership::Effect::Send { to, message } => {
                let Some(to) = machine_at(to).filter(|to| *to < self.machines.len()) else { return };
                let sent = peer::encode_membership(&message);
                self.send(index, to, Stream::Control, sent, peer::Payload::Membership(message));
            }
            membership::Effect::Store { op, write } => self.write(index, Asker::Member(op), Write::Local(write)),
            membership::Effect::View(view) => self.publish(index, view),
            membership::Effect::Alive(alive) => {
                let machines: BTreeSet<usize> = alive.iter().filter_map(|id| self.by_id.get(id).copied()).collect();
                let told = match machines.len() {
                    0..=20 => format!("alive {machines:?}"),
                    many => format!("alive {many} nodes"),
                };
                self.trace.tell(self.time, Subject::Machine(index), told);
                self.tell_shards(index, || node::Input::Alive(alive.clone()));
            }
            membership::Effect::Decided { request, result } => {
                let id = RequestId(request);
                let known = self.machines[index].process.as_mut().is_some_and(|process| process.requests.remove(&id));
                if !known {
                    return self.wrong("replies", format!("node {index} answered request {id:?} twice"));
                }
                self.record(b'd', index, &id.0.to_le_bytes(), || format!("decided {id:?} {result:?}"));
                self.occurrences.push_back(Occurrence::Decided { id, result });
            }
            membership::Effect::Fatal(error) => {
                let expected = matches!(error, MemberError::Storage(_));
                self.stop(index, error.to_string(), false, expected);
            }
        }
    }

    /// A process stops by itself; a supervisor starts it again.
    fn stop(&mut self, index: usize, reason: String, power_loss: bool, expected: bool) {
        self.trace.tell(self.time, Subject::Machine(index), format!("stops: {reason}"));
        self.crash(index, power_loss);
        self.occurrences.push_back(Occurrence::Stopped { machine: index, reason, expected });
        self.schedule(self.time + SUPERVISOR_MICROS, Event::Fault(FaultStep::Start(index)));
    }

    /// Hands an input to every shard of a process: it is in their inboxes before anything that the member says
    /// afterwards can have an effect.
    fn tell_shards(&mut self, index: usize, input: impl Fn() -> node::Input) {
        for shard in 0..self.machines[index].shards {
            self.schedule_letter(0, index, Letter::Shard(shard, input()));
        }
    }

    /// A member publishes a view: the disk gets its new tables, then the shards the view, and some time later the
    /// dropped tables go.
    fn publish(&mut self, index: usize, view: Arc<ClusterView>) {
        let told =
            format!("epoch {}, {} members, {} tables", view.epoch.0, view.members.len(), view.schema.tables().len());
        self.trace.tell(self.time, Subject::Machine(index), told);
        let now = self.machines[index].clock.now(self.time);
        let machine = &mut self.machines[index];
        let Some(process) = &mut machine.process else { return };
        process.view = Some(view.clone());
        if process.shards.is_empty() {
            let mut rng = self.rng.fork();
            match self.machines[index].new_shards(&self.build, &view, &mut rng, now) {
                Err(error) => return self.wrong("recovery", format!("node {index} cannot recover: {error}")),
                Ok(shards) => {
                    if let Some(process) = &mut self.machines[index].process {
                        process.shards = shards;
                    }
                }
            }
        }
        self.set_tables(index, true);
        self.tell_shards(index, || node::Input::View(view.clone()));
        let incarnation = self.machines[index].incarnation;
        let delay = self.rng.below(self.build.tables_linger + 1);
        self.schedule(self.time + delay, Event::DropTables { machine: index, incarnation });
        self.occurrences.push_back(Occurrence::Published(index, view));
    }

    /// Brings the tables on disk in line with the view; with `keep`, those that were there stay too.
    fn set_tables(&mut self, index: usize, keep: bool) {
        let machine = &mut self.machines[index];
        let Some(view) = machine.process.as_ref().and_then(|process| process.view.as_ref()) else { return };
        let mut tables = view.schema.tables().clone();
        if keep {
            for table in machine.disk.tables() {
                tables.entry(table.id).or_insert(table);
            }
        }
        let tables: Vec<_> = tables.into_values().collect();
        machine.disk.set_tables(&tables).expect("a simulated disk takes any tables");
    }

    fn send_data(&mut self, from: usize, to: NodeId, envelope: Envelope) {
        // As in production: the address is looked up in the sender's own view.
        let Some(view) = self.view(from) else { return };
        let Some(address) = view.members.get(&to).map(|member| member.addresses.internode) else { return };
        let Some(to) = machine_at(address).filter(|to| *to < self.machines.len()) else { return };
        let sent = peer::encode_node(&envelope);
        self.send(from, to, Stream::Data, sent, peer::Payload::Node(envelope));
    }

    fn send(
        &mut self,
        from: usize,
        to: usize,
        stream: Stream,
        sent: peer::proto::v1::Envelope,
        original: peer::Payload,
    ) {
        let bytes = prost::Message::encode_to_vec(&sent);
        self.record(b's', from, &bytes, || format!("to m{to}: {original:?}"));
        let traffic = self.sent.entry(stream).or_default();
        traffic.messages += 1;
        traffic.bytes += bytes.len() as u64;
        let decoded = <peer::proto::v1::Envelope as prost::Message>::decode(bytes::Bytes::from(bytes));
        match decoded.map(peer::decode) {
            Ok(Ok(payload)) if payload == original => {
                let sender = self.machines[from].id;
                let payload = Box::new(payload);
                // A connection that is cut may be noticed to be broken.
                if self.network.is_blocked(from, to) && self.rng.chance(self.build.unreachable_noticed / 20) {
                    self.notice_unreachable(from, to);
                }
                let arrivals = self.network.send(self.time, stream, from, to);
                if let Some(at) = arrivals.second {
                    self.schedule(at, Event::Packet { to, from, sender, payload: payload.clone() });
                }
                if let Some(at) = arrivals.first {
                    self.schedule(at, Event::Packet { to, from, sender, payload });
                }
            }
            other => self.wrong("codec", format!("{original:?} was encoded, and decoded as {other:?}")),
        }
    }

    fn record(&mut self, tag: u8, machine: usize, detail: &[u8], words: impl FnOnce() -> String) {
        self.trace.event(self.time, tag, machine, detail, words);
    }

    /// A shard asks its disk.
    fn store(&mut self, index: usize, op: OpId, request: StorageRequest) {
        let write = match request {
            StorageRequest::Apply(mutation) => Write::Apply(mutation),
            StorageRequest::Local(write) => Write::Local(write),
            StorageRequest::Hint { target, hint, oldest_seconds } => Write::Hint { target, hint, oldest_seconds },
            StorageRequest::HintsDelivered { target, through } => Write::HintsDelivered { target, through },
            StorageRequest::DropRanges { table, ranges } => Write::DropRanges { table, ranges },
            StorageRequest::Read(_)
            | StorageRequest::Digest(_)
            | StorageRequest::Scan(_)
            | StorageRequest::LookUp(_)
            | StorageRequest::Compare(_)
            | StorageRequest::ReadLocal { .. }
            | StorageRequest::ReadHints { .. } => {
                self.record(b'q', index, &op.0.to_le_bytes(), || format!("{op:?} {request:?}"));
                let slowness = self.machines[index].slowness;
                let (before, then) = (self.rng.below(300), self.rng.below(300));
                let before = if self.rng.chance(500) { 0 } else { before * slowness };
                let incarnation = self.machines[index].incarnation;
                let event = Event::Read { machine: index, incarnation, op, request, then: then * slowness };
                return self.schedule(self.time + before, event);
            }
        };
        self.write(index, Asker::Shard(op), write);
    }

    fn read(&mut self, index: usize, op: OpId, request: &StorageRequest) -> Stored {
        let fails = self.machines[index].read_errors > 0 && self.rng.chance(self.machines[index].read_errors);
        if fails {
            return Stored::Failed { op, error: StorageError::Io("simulated: a read failed".to_owned()) };
        }
        let disk = &self.machines[index].disk;
        let answer = match request {
            StorageRequest::Read(command) => disk.read(command).map(|data| Stored::Read { op, data }),
            StorageRequest::Digest(command) => {
                disk.digest(command).map(|read| Stored::Digest { op, digest: read.digest })
            }
            StorageRequest::Scan(command) => disk.scan(command).map(|data| Stored::Scanned { op, data }),
            StorageRequest::LookUp(command) => disk.look_up(command).map(|data| Stored::LookedUp { op, data }),
            StorageRequest::Compare(command) => disk.compare(command).map(|page| Stored::Compared { op, page }),
            StorageRequest::ReadLocal { key } => disk.local(key).map(|value| Stored::LocalRead { op, value }),
            StorageRequest::ReadHints { target, after, bytes_limit } => {
                disk.hints(*target, *after, *bytes_limit).map(|hints| Stored::Hints { op, hints })
            }
            other => unreachable!("{other:?} is a write"),
        };
        answer.unwrap_or_else(|error| Stored::Failed { op, error })
    }

    fn write(&mut self, index: usize, asker: Asker, write: Write) {
        let Some(process) = &mut self.machines[index].process else { return };
        process.writes.waiting.push((asker, write));
        if !process.writes.busy {
            process.writes.busy = true;
            self.plan_stage(index);
        }
    }

    fn plan_stage(&mut self, index: usize) {
        let delay = self.rng.between(5, 100) * self.machines[index].slowness;
        let incarnation = self.machines[index].incarnation;
        self.schedule(self.time + delay, Event::Stage { machine: index, incarnation });
    }

    /// The operating system takes everything that waits as one group.
    fn stage(&mut self, index: usize) {
        let machine = &mut self.machines[index];
        let Some(process) = &mut machine.process else { return };
        let (askers, group): (Vec<Asker>, Vec<Write>) = std::mem::take(&mut process.writes.waiting).into_iter().unzip();
        // The node's own records and hints are answered only once synced, whatever the mode.
        let periodic = self.build.durability == Durability::Periodic
            && group.iter().all(|write| matches!(write, Write::Apply(_) | Write::HintsDelivered { .. }));
        let results = if periodic { machine.disk.commit(&group, false) } else { machine.disk.stage(&group) };
        let results = results.unwrap_or_else(|error| vec![Err(error); group.len()]);
        for (write, result) in group.iter().zip(&results) {
            if let (Write::Apply(mutation), Ok(())) = (write, result) {
                self.occurrences.push_back(Occurrence::Logged(mutation.clone()));
            }
        }
        process.writes.staged = askers.into_iter().zip(results).collect();
        self.record(b'w', index, &(group.len() as u64).to_le_bytes(), || format!("staged {group:?}"));
        // Where replicas acknowledge what is applied, only what reads can see may be called so.
        self.answer_staged(index, periodic || self.build.durability == Durability::Group);
        if periodic {
            // Nothing is on its way: the sync comes with the clock.
            return self.finish_group(index);
        }
        let Some(process) = &mut self.machines[index].process else { return };
        // This sync covers what was applied before.
        process.writes.unsynced.clear();
        let sync = self.build.sync_mean * self.machines[index].slowness;
        let delay = (geometric(&mut self.rng, sync) + sync / 8).min(SYNC_MICROS_MAX);
        let incarnation = self.machines[index].incarnation;
        self.schedule(self.time + delay, Event::Synced { machine: index, incarnation });
    }

    /// Tells the shards what failed and, if wanted, up to where the operating system has their writes.
    fn answer_staged(&mut self, index: usize, tell_applied: bool) {
        let Some(process) = &self.machines[index].process else { return };
        let mut applied: BTreeMap<u16, OpId> = BTreeMap::new();
        let mut answers = Vec::new();
        for (asker, result) in &process.writes.staged {
            match (asker, result) {
                (Asker::Shard(op), Ok(())) if tell_applied => {
                    applied.insert(op.shard(), *op);
                }
                (Asker::Shard(op), Err(error)) => answers.push((*op, Stored::Failed { op: *op, error: error.clone() })),
                (Asker::Shard(_), Ok(())) | (Asker::Member(_), _) => {}
            }
        }
        answers.extend(applied.values().map(|up_to| (*up_to, Stored::Applied { up_to: *up_to })));
        if let Some(process) = &mut self.machines[index].process {
            process.writes.unsynced.extend(applied);
        }
        for (op, answer) in answers {
            self.schedule_letter(0, index, Letter::Shard(op.shard(), node::Input::Stored(answer)));
        }
    }

    /// Syncs what was acknowledged before its sync.
    fn periodic_sync(&mut self, index: usize) {
        let Some(process) = &mut self.machines[index].process else { return };
        if process.writes.busy {
            return;
        }
        let synced = std::mem::take(&mut process.writes.unsynced);
        self.machines[index].disk.finish_sync().expect("a running process has an open disk");
        for (shard, up_to) in synced {
            let answer = node::Input::Stored(Stored::Synced { up_to });
            self.schedule_letter(0, index, Letter::Shard(shard, answer));
        }
    }

    /// The sync of a group is done.
    fn synced(&mut self, index: usize) {
        if std::mem::take(&mut self.machines[index].fail_next_sync) {
            let error = self.machines[index].disk.fail_sync();
            return self.stop(index, error.to_string(), true, true);
        }
        self.machines[index].disk.finish_sync().expect("a running process has an open disk");
        let Some(process) = &self.machines[index].process else { return };
        let mut up_to: BTreeMap<u16, OpId> = BTreeMap::new();
        let mut member = Vec::new();
        for (asker, result) in &process.writes.staged {
            match asker {
                Asker::Shard(op) => {
                    up_to.insert(op.shard(), *op);
                }
                Asker::Member(op) => member.push((*op, result.clone())),
            }
        }
        for (op, result) in member {
            let result = result.map_err(|error| error.to_string());
            self.schedule_letter(0, index, Letter::Member(membership::Input::Stored { op, result }));
        }
        for (shard, up_to) in up_to {
            let answer = node::Input::Stored(Stored::Synced { up_to });
            self.schedule_letter(0, index, Letter::Shard(shard, answer));
        }
        self.finish_group(index);
    }

    /// The disk is free for the next group.
    fn finish_group(&mut self, index: usize) {
        let Some(process) = &mut self.machines[index].process else { return };
        process.writes.staged.clear();
        process.writes.busy = !process.writes.waiting.is_empty();
        if process.writes.busy {
            self.plan_stage(index);
        }
    }
}
