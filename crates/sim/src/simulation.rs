//! One run of one seed: a cluster boots, clients work while faults come and go, everything is healed, and the
//! oracles judge.
//!
//! ```text
//! boot ---> work under faults ---> heal ---> hints drain ---> every node serves ---> replicas agree
//!   all have joined     |            |            |                 |                     |
//!                 safety oracles   10 s      hinted handoff     liveness             convergence
//!
//! in some seeds then: all clocks pass the grace ---> work, and sweeps everywhere ---> replicas agree, no garbage
//!                                                        safety oracles
//! ```
//! In some seeds nodes repair besides, and in some the replication is changed: see `simulation/repairs.rs` and
//! `simulation/replication.rs`.
//!
//! Disks are swept for garbage all the time; while faults last nothing is old enough to be purged. Afterwards every
//! replica has every deletion, and nothing may come back however old they are.
//!
//! Two phases, as in TigerBeetle's simulator: under faults nothing wrong may happen; once they end, everything
//! right must happen, within a bounded time.

use crate::fault::{FaultPlan, FaultStep};
use crate::oracle::acknowledged::Acknowledged;
use crate::oracle::book::{Action, Book, Column, Outcome, ROWS, Register};
use crate::oracle::coverage::Replicas;
use crate::oracle::dropped::Dropped;
use crate::oracle::metadata::{Effective, Metadata};
use crate::oracle::monotonic::Monotonic;
use crate::oracle::{Violation, convergence, garbage, handoff};
use crate::stage::{BOOT_MICROS, FAULT_TIMER, Failure, Options, Report, Run, SERVED_WITHIN, Stage, draw_build};
use crate::workload::{
    Flight, KEYSPACE, Mix, Place, ReadFlight, Sending, TABLES, Workload, Writing, create_index, create_table,
    schema_change, seen,
};
use crate::world::{Build, Occurrence, World};
use model::error::Applied;
use model::{Consistency, Epoch, RequestError, Rng, TableId, Token};
use node::{RequestId, Response};
use std::collections::BTreeMap;

mod repairs;
mod replication;

use self::repairs::{REPAIR_TIMER, Repairing};
use self::replication::{REPLICATION_TIMER, Replicating};

/// What the clients did.
#[derive(Clone, Debug)]
pub struct Requests {
    /// Writes and reads that succeeded.
    pub succeeded: u64,
    /// Writes and reads that did not.
    pub failed: u64,
    /// Schema changes that succeeded.
    pub schema_changes: u64,
}

/// Token of the timer of the next sweep for garbage.
const SWEEP_TIMER: u64 = FAULT_TIMER + 1;

/// Once all replicas agree clocks jump by this much: the grace of the tables and a day.
const GRACE_JUMP_MICROS: i64 = 11 * 24 * 60 * 60 * 1_000_000;

/// Clients work for so long while garbage is swept.
const SWEPT_MICROS: u64 = 3_000_000;

/// Beyond this many nodes a cluster is started node by node.
const CROWD: usize = 20;

/// Once everything is healed, everything must work after this time.
const GRACE_MICROS: u64 = 10_000_000;

/// Within this time some hints are delivered: they are tried again after at most 64 seconds.
const HINTS_MICROS: u64 = 200_000_000;

/// The state of a run.
pub struct Simulation {
    stage: Stage,
    workload: Workload,
    flights: BTreeMap<RequestId, (usize, Flight)>,
    book: Book,
    acknowledged: Acknowledged,
    monotonic: Monotonic,
    dropped: Dropped,
    metadata: Metadata,
    /// Decides on sweeps: when, where, of what.
    sweeps: Rng,
    sweeps_on: bool,
    repairing: Repairing,
    replicating: Replicating,
    succeeded: u64,
    failed: u64,
    schema_changes: u64,
}

/// The client that the run itself is: for what no client of the workload asks.
const NOBODY: usize = usize::MAX >> 1;

/// Runs one seed.
#[must_use]
pub fn run(options: &Options) -> Report<Requests> {
    Simulation::draw(options).play(options)
}

impl Simulation {
    /// Draws cluster, faults and clients.
    fn draw(options: &Options) -> Simulation {
        let mut rng = Rng::new(options.seed);
        let machines = options.machines.unwrap_or_else(|| [1, 2, 3, 3, 3, 3, 4, 5, 7][rng.index(9)]);
        let replicas = [1, 2, 3, 3, 3, 3, 3, 5][rng.index(8)].min(machines);
        let (data_centers, replicas) = draw_data_centers(options.seed, machines, replicas);
        let mut repairing = Repairing::draw(options.seed);
        let repairs_every = repairing.every();
        let build = Build { data_centers, repairs_every, ..draw_build(&mut rng, machines, options.planted) };
        let mut plan = FaultPlan::draw(rng.fork(), machines, build.durability);
        plan.data_centers = data_centers;
        let mut mix = Mix::draw(&mut rng, replicas.clone());
        mix.purged_by_repair = repairing.on;
        let replicating = Replicating::draw(options.seed, machines);
        if replicating.on {
            mix.keep_to_quorum();
        }
        let world = World::new(build, plan.network.clone(), rng.next_u64(), options.full);
        Simulation {
            stage: Stage::new(world, plan),
            workload: Workload::new(mix, rng.fork()),
            flights: BTreeMap::new(),
            book: Book::default(),
            acknowledged: Acknowledged::new(replicas.clone()),
            monotonic: Monotonic::new(replicas),
            dropped: Dropped::new(machines),
            metadata: Metadata::new(machines, KEYSPACE),
            sweeps: Rng::new(options.seed ^ 0x5eed_0f00_5eeb_u64),
            sweeps_on: false,
            repairing,
            replicating,
            succeeded: 0,
            failed: 0,
            schema_changes: 0,
        }
    }

    fn converged(&self) -> Result<(), Failure> {
        convergence::check(&self.stage.world, KEYSPACE, self.workload.mix.partitions).map_err(Failure::Correctness)
    }

    /// All replicas have every deletion: from now on all of them may be purged, at whatever time on each.
    fn outlive_the_grace(&mut self) -> Result<(), Failure> {
        let away = self.send_away()?;
        self.stage.tell("all clocks pass the grace".to_owned());
        let machines = self.stage.machines();
        (0..machines).for_each(|machine| self.stage.world.fault(FaultStep::Jump(machine, GRACE_JUMP_MICROS)));
        // What is written now would hide what a node that comes back brings along.
        if away.is_none() || self.repairing.works_behind {
            self.stage.clients_work = true;
            self.start_clients();
            self.advance(self.stage.world.time() + SWEPT_MICROS, |_| false)?;
            self.stage.clients_work = false;
        }
        let until = self.stage.world.time() + GRACE_MICROS;
        self.advance(until, |_| false)?;
        self.sweeps_on = false;
        if let Some(machine) = away {
            self.come_back(machine)?;
        }
        self.drain_hints()?;
        self.repaired_behind_the_grace()?;
        let tables = self.tables();
        for (machine, table) in (0..machines).flat_map(|machine| tables.iter().map(move |table| (machine, *table))) {
            let everything = Token::MINIMUM..=Token(i64::MAX);
            let sweep = self.stage.world.sweep(machine, table, everything);
            self.stage.must(sweep.is_some(), || format!("node {machine} cannot sweep table {table}"))?;
            let purge = sweep.map(|sweep| sweep.purge).unwrap_or_default();
            self.stage
                .must(purge.gc_before_seconds > 0, || format!("node {machine} may purge nothing of table {table}"))?;
            garbage::check(&self.stage.world, machine, table, self.workload.mix.partitions, &purge)
                .map_err(Failure::Correctness)?;
        }
        self.serve_everywhere()?;
        self.converged()
    }

    fn tables(&self) -> Vec<TableId> {
        self.stage.world.view(0).map(|view| view.schema.tables().keys().copied().collect()).unwrap_or_default()
    }

    fn plan_sweep(&mut self) {
        let pause = self.sweeps.between(10_000, 1_000_000);
        self.stage.world.set_timer(pause, SWEEP_TIMER);
    }

    /// Some machine sweeps some tokens of some table.
    fn sweep(&mut self) {
        if !self.sweeps_on {
            return;
        }
        let machine = self.sweeps.index(self.stage.machines());
        let tables =
            self.stage.world.view(machine).map(|view| view.schema.tables().keys().copied().collect::<Vec<_>>());
        let mut ends = [self.sweeps.next_u64() as i64, self.sweeps.next_u64() as i64];
        ends.sort_unstable();
        let everything = self.sweeps.chance(300);
        let tokens = if everything { Token::MINIMUM..=Token(i64::MAX) } else { Token(ends[0])..=Token(ends[1]) };
        if let Some(tables) = tables.filter(|tables| !tables.is_empty()) {
            let table = tables[self.sweeps.index(tables.len())];
            self.stage.world.sweep(machine, table, tokens);
        }
        self.plan_sweep();
    }

    /// All processes start, in some seeds under faults; all nodes join.
    fn boot(&mut self) -> Result<(), Failure> {
        let machines = self.stage.machines();
        let mut rng = Rng::new(self.stage.world.trace.events() ^ self.stage.plan.interval);
        for machine in 0..machines {
            // A thousand nodes are not switched on by one person in one second.
            let turn = if machines > CROWD { machine as u64 * 100_000 } else { 0 };
            self.stage.world.schedule_fault(turn + rng.below(1_000_000), FaultStep::Start(machine));
        }
        if rng.chance(250) {
            self.stage.faults_on = true;
            self.stage.plan_fault();
            let until = self.stage.world.time() + 8_000_000;
            self.advance(until, |_| false)?;
            self.stage.faults_on = false;
            self.stage.world.heal();
        }
        // Joins are decided one after the other.
        let patience = BOOT_MICROS + machines as u64 * 1_000_000;
        let joined = self.advance(self.stage.world.time() + patience, |simulation| simulation.stage.all_joined())?;
        self.stage.must(joined, || {
            format!("not all of {machines} nodes have joined {} s after the start", patience / 1_000_000)
        })
    }

    fn create_schema(&mut self) -> Result<(), Failure> {
        let keyspace = self.stage.world.build().create_keyspace(KEYSPACE, &self.workload.mix.replicas.0);
        let by_repair = self.workload.mix.purged_by_repair;
        let statements = [keyspace].into_iter().chain(TABLES.iter().map(|name| create_table(name, true, by_repair)));
        let changes = statements.enumerate().map(|(index, statement)| {
            // Far apart, as random ids are: a truncated table takes the next one.
            let change = schema_change(&statement, TableId((index as u128) << 64));
            (statement, change)
        });
        let index = std::iter::once(("CREATE INDEX".to_owned(), create_index(TABLES[0])));
        for (statement, change) in changes.chain(index) {
            let until = self.stage.world.time() + BOOT_MICROS;
            loop {
                self.stage.last_error = None;
                let flight = Flight::Create { name: String::new(), id: TableId(0), if_not_exists: true };
                let machine = self.workload.choose_machine(self.stage.machines());
                self.propose(NOBODY, machine, change.clone(), flight);
                let answered = self.advance(until, |simulation| simulation.flights.is_empty())?;
                let error = self.stage.last_error.clone();
                if answered && error.is_none() {
                    break;
                }
                // A disk that was slow and full before the heal may still stop its node once.
                self.stage
                    .must(self.stage.world.time() < until, || format!("'{statement}' without faults: {error:?}"))?;
                self.advance(self.stage.world.time() + 1_000_000, |_| false)?;
            }
        }
        let knows = |simulation: &Simulation| {
            let machines = 0..simulation.stage.world.build().machines;
            let knows_all = |machine| {
                simulation.stage.world.view(machine).is_some_and(|view| {
                    let tables = view.schema.tables();
                    tables.len() == TABLES.len() && tables.values().any(|table| !table.indexes.is_empty())
                })
            };
            machines.into_iter().all(knows_all)
        };
        let known = self.advance(self.stage.world.time() + GRACE_MICROS, knows)?;
        self.stage.must(known, || "not every node knows the schema".to_owned())
    }

    /// Ends all faults and gives the cluster its time; then nobody waits for an answer, and all have one log.
    fn heal(&mut self) -> Result<(), Failure> {
        self.stage.faults_on = false;
        self.stage.world.heal();
        let until = self.stage.world.time() + GRACE_MICROS;
        self.advance(until, |_| false)?;
        let waiting = self.flights.values().next().cloned();
        self.stage.must(waiting.is_none(), || format!("never answered: {waiting:?}"))?;
        let epochs: Vec<Option<Epoch>> =
            (0..self.stage.machines()).map(|machine| self.stage.world.view(machine).map(|view| view.epoch)).collect();
        let equal = epochs.iter().all(|epoch| epoch.is_some() && *epoch == epochs[0]);
        self.stage.must(equal, || format!("{} s after healing the nodes are at {epochs:?}", GRACE_MICROS / 1_000_000))
    }

    fn drain_hints(&mut self) -> Result<(), Failure> {
        self.stage.tell("wait for hints".to_owned());
        let waiting = |simulation: &Simulation| -> Vec<usize> {
            let machines = 0..simulation.stage.world.build().machines;
            machines.map(|machine| simulation.stage.world.disk(machine).hints_waiting()).collect()
        };
        // Writes that still wait for a replica become hints when their time is over.
        let settled = self.stage.world.time() + 2 * u64::try_from(self.workload.mix.timeout.as_micros()).unwrap_or(0);
        self.advance(settled, |_| false)?;
        // Where disks are slow or little is taken on at a time many hints take long, but some arrive all the time.
        let mut left = waiting(self);
        while left.iter().any(|count| *count > 0) {
            let until = self.stage.world.time() + HINTS_MICROS;
            self.advance(until, |simulation| waiting(simulation).iter().all(|count| *count == 0))?;
            let before = std::mem::replace(&mut left, waiting(self));
            let fewer = left.iter().sum::<usize>() < before.iter().sum();
            let seconds = HINTS_MICROS / 1_000_000;
            self.stage
                .must(fewer, || format!("after healing, hints wait for {seconds} s without getting fewer: {left:?}"))?;
        }
        Ok(())
    }

    /// Every node coordinates a write and, of every partition of every table and of every table, a read at ALL.
    fn serve_everywhere(&mut self) -> Result<(), Failure> {
        self.stage.tell("serve everywhere".to_owned());
        self.stage.last_error = None;
        // The shortest timeouts are there to be missed.
        self.workload.mix.timeout = SERVED_WITHIN;
        let partitions = self.workload.mix.partitions;
        let machines = self.stage.machines();
        for machine in 0..machines {
            let Some(view) = self.stage.world.view(machine).cloned() else { continue };
            let row = machine as i32 % ROWS;
            let (action, consistency) = (Action::Update(row, Column::V), Consistency::All);
            let writing = Writing { table: TABLES[0], partition: 0, action, consistency };
            let place = self.place(machine);
            let sending = self.workload.write(0, &view.schema, &mut self.book, place, &writing);
            self.send(NOBODY, machine, sending);
            self.served()?;
        }
        for machine in 0..machines {
            let Some(view) = self.stage.world.view(machine).cloned() else { continue };
            // Of each table every partition, then all of them at once: what the former saw the latter must see.
            let reads = |table| (0..partitions).map(Some).chain([None]).map(move |partition| (table, partition));
            for (table, partition) in TABLES.into_iter().flat_map(reads) {
                let time = self.stage.world.time();
                let sending = self.workload.read_all(table, partition, &view.schema, time);
                self.send(NOBODY, machine, sending);
                // One after the other: some nodes take on very little at a time.
                self.served()?;
            }
        }
        Ok(())
    }

    /// All requests are answered, without an error.
    fn served(&mut self) -> Result<(), Failure> {
        let done = self.advance(self.stage.world.time() + GRACE_MICROS, |simulation| simulation.flights.is_empty())?;
        self.check_served(done)
    }

    fn check_served(&mut self, answered: bool) -> Result<(), Failure> {
        let error = self.stage.last_error.clone();
        self.stage.must(answered && error.is_none(), || format!("after healing a request at ALL failed: {error:?}"))
    }

    fn place(&self, machine: usize) -> Place {
        let (incarnation, time) = (self.stage.world.incarnation(machine), self.stage.world.time());
        Place { machine, data_center: self.stage.world.build().data_center(machine), incarnation, behind: false, time }
    }

    /// The node that is furthest behind, if one is.
    fn laggard(&self) -> Option<usize> {
        let epochs =
            (0..self.stage.machines()).filter_map(|machine| Some((self.stage.world.view(machine)?.epoch, machine)));
        let (behind, ahead) = (epochs.clone().min()?, epochs.max()?);
        (behind.0 < ahead.0).then_some(behind.1)
    }

    /// The client thinks, then asks again.
    fn rest(&mut self, client: usize) {
        if client != NOBODY {
            let think = self.workload.think(client);
            self.stage.world.set_timer(think, client as u64);
        }
    }

    fn client_acts(&mut self, client: usize) {
        if !self.stage.clients_work {
            return;
        }
        let mut machine = self.workload.choose_machine(self.stage.machines());
        let mut place = self.place(machine);
        if self.workload.seeks_laggard()
            && let Some(laggard) = self.laggard()
        {
            machine = laggard;
            place = Place { behind: true, ..self.place(machine) };
        }
        let sending = match self.stage.world.view(machine).cloned() {
            Some(view) => self.workload.next(client, &view.schema, &mut self.book, place),
            None => None,
        };
        self.send(client, machine, sending);
    }

    fn propose(&mut self, client: usize, machine: usize, change: model::schema::SchemaChange, flight: Flight) {
        match self.stage.world.propose(machine, change) {
            Some(id) => drop(self.flights.insert(id, (client, flight))),
            None => {
                self.stage.last_error = Some(RequestError::NotServing("nobody listens".to_owned()));
                self.rest(client);
            }
        }
    }

    fn send(&mut self, client: usize, machine: usize, sending: Option<Sending>) {
        let (request, mut flight) = match sending {
            None => return self.rest(client),
            Some(Sending::Propose(change, flight)) => return self.propose(client, machine, change, flight),
            Some(Sending::Request(request, flight)) => (request, flight),
        };
        if let Flight::Read(read) = &mut flight
            && read.started == self.stage.world.time()
        {
            let partitions = || read.rows.iter().map(|(partition, _)| *partition);
            let register = |partition: Option<i32>, row, column| {
                let partition = partition.unwrap_or_default();
                Register { table: read.table, partition, row, column }
            };
            let (first, last) =
                (register(partitions().min(), 0, Column::Row), register(partitions().max(), ROWS, Column::W));
            let acknowledged = self.acknowledged.snapshot(first, last, &read.coverage);
            read.floors = (acknowledged, self.monotonic.snapshot(first, last, &read.coverage));
        }
        match self.stage.world.request(machine, request) {
            Some(id) => drop(self.flights.insert(id, (client, flight))),
            None => {
                // Nobody listens: the request never left the client.
                if let Flight::Write(attempt) = flight {
                    let ended = self.book.end(attempt, Outcome::Refused);
                    ended.expect("nothing of it can be logged");
                }
                self.rest(client);
            }
        }
    }

    fn replied(&mut self, id: RequestId, result: Result<Response, RequestError>) -> Result<(), Violation> {
        let Some((client, flight)) = self.flights.remove(&id) else { return Ok(()) };
        let time = self.stage.world.time();
        match &result {
            Ok(_) => self.succeeded += 1,
            Err(error) => {
                self.failed += 1;
                self.stage.last_error = Some(error.clone());
            }
        }
        match (flight, result) {
            (Flight::Write(attempt), Ok(Response::Written)) => {
                self.rest(client);
                self.book.end(attempt, Outcome::Acknowledged(time))?;
                self.acknowledged.acknowledge(&self.book, attempt);
                let entry = self.book.attempt(attempt);
                self.dropped.check(entry.table, entry.started, entry.coverage.total, "a write")
            }
            (Flight::Write(attempt), Err(error)) => {
                self.rest(client);
                match error.applied() {
                    Applied::No => self.book.end(attempt, Outcome::Refused),
                    Applied::Maybe => Ok(()),
                }
            }
            (Flight::Read(flight), Ok(Response::Rows { rows, paging_state, .. })) => {
                self.read_answered(client, *flight, &rows, paging_state)
            }
            (Flight::Read(_), Err(_)) => {
                self.rest(client);
                Ok(())
            }
            (flight, result) => Err(Violation::new("replies", format!("{flight:?} was answered with {result:?}"))),
        }
    }

    fn read_answered(
        &mut self,
        client: usize,
        mut flight: ReadFlight,
        rows: &[Vec<Option<bytes::Bytes>>],
        paging_state: Option<bytes::Bytes>,
    ) -> Result<(), Violation> {
        let time = self.stage.world.time();
        let (seen, rest) = seen(&flight, rows, paging_state.is_some())?;
        self.acknowledged.check(&self.book, &flight.floors.0, &seen, time)?;
        self.monotonic.check(&self.book, &flight.floors.1, &seen, &flight.coverage, time)?;
        self.dropped.check(flight.table, flight.started, flight.coverage.total, "a read")?;
        flight.rows = rest;
        flight.limit = flight.limit.map(|limit| limit - rows.len());
        match paging_state {
            Some(state) if flight.limit != Some(0) => {
                let build = self.stage.world.build();
                let machine = self.workload.choose_machine(build.machines);
                // Levels of one data centre go on where they began.
                let local = machine - build.data_center(machine) + flight.data_center;
                let machine = if local < build.machines { local } else { flight.data_center };
                let sending = self.workload.page(flight, Some(state));
                self.send(client, machine, Some(sending));
            }
            _ => self.rest(client),
        }
        Ok(())
    }

    fn decided(&mut self, id: RequestId, result: Result<Epoch, RequestError>) -> Result<(), Violation> {
        let Some((client, flight)) = self.flights.remove(&id) else { return Ok(()) };
        self.rest(client);
        let time = self.stage.world.time();
        let epoch = match result {
            Ok(epoch) => epoch,
            Err(error) => {
                self.stage.last_error = Some(error);
                return Ok(());
            }
        };
        self.schema_changes += 1;
        match flight {
            Flight::Create { name, .. } if name.is_empty() => Ok(()),
            Flight::Create { name, id, if_not_exists } => {
                let id = (!if_not_exists).then_some(id);
                self.metadata.acknowledge(epoch, Effective::Exists(name, id), time)
            }
            Flight::Alter => Ok(()),
            Flight::Drop { name, started } => {
                self.dropped.acknowledged(&name, started, time);
                self.metadata.acknowledge(epoch, Effective::Gone(name), time)
            }
            // The generation of before is gone as a dropped table is; the next one has the name.
            Flight::Truncate { name, started } => {
                self.dropped.acknowledged(&name, started, time);
                self.metadata.acknowledge(epoch, Effective::Exists(name, None), time)
            }
            flight => Err(Violation::new("replies", format!("{flight:?} was decided"))),
        }
    }
}

impl Run for Simulation {
    type Counts = Requests;

    fn stage(&self) -> &Stage {
        &self.stage
    }

    fn stage_mut(&mut self) -> &mut Stage {
        &mut self.stage
    }

    fn phases(&mut self, under_faults: u64) -> Result<(), Failure> {
        let described = format!("{:?} {:?} {:?}", self.stage.world.build(), self.workload.mix, self.stage.plan);
        self.stage.tell(described);
        self.boot()?;
        self.create_schema()?;
        self.stage.tell("work under faults".to_owned());
        self.stage.clients_work = true;
        self.start_clients();
        self.stage.faults_on = true;
        self.stage.plan_fault();
        self.sweeps_on = true;
        self.plan_sweep();
        self.plan_repair();
        self.plan_replication_change();
        let until = self.stage.world.time() + under_faults;
        self.advance(until, |_| false)?;
        self.stage.clients_work = false;
        self.heal()?;
        if self.replicating.on {
            self.replicated()?;
        }
        self.drain_hints()?;
        handoff::check(&self.stage.world, &self.book, KEYSPACE).map_err(Failure::Correctness)?;
        if self.repairing.on {
            self.repaired()?;
        }
        self.serve_everywhere()?;
        self.converged()?;
        if self.sweeps.chance(300) { self.outlive_the_grace() } else { Ok(()) }
    }

    fn occurred(&mut self, occurrence: Occurrence) -> Result<(), Violation> {
        match occurrence {
            Occurrence::Timer(SWEEP_TIMER) => self.sweep(),
            Occurrence::Timer(REPAIR_TIMER) => self.order_some_repair(),
            Occurrence::Timer(REPLICATION_TIMER) => self.change_replication(),
            Occurrence::Timer(client) => self.client_acts(client as usize),
            Occurrence::Replied { id, result } => return self.replied(id, result),
            Occurrence::Decided { id, result } => return self.decided(id, result),
            Occurrence::Lost(id) => {
                if let Some((client, _)) = self.flights.remove(&id) {
                    self.stage.last_error = Some(RequestError::NotServing("the process died".to_owned()));
                    self.failed += 1;
                    self.rest(client);
                }
            }
            Occurrence::Logged(mutation) => return self.book.logged(&mutation),
            Occurrence::Published(machine, view) => {
                let time = self.stage.world.time();
                for table in view.schema.tables().values() {
                    self.dropped.published(table.id, &table.name, time);
                }
                return self.metadata.publish(machine, &view);
            }
            Occurrence::Stopped { .. } | Occurrence::Wrong(_) => {}
        }
        Ok(())
    }

    fn start_clients(&mut self) {
        for client in 0..self.workload.count() {
            let think = self.workload.think(client);
            self.stage.world.set_timer(think, client as u64);
        }
    }

    fn is_answered(&self) -> bool {
        self.flights.is_empty()
    }

    fn end(self) -> (Stage, Requests) {
        let Simulation { stage, succeeded, failed, schema_changes, .. } = self;
        (stage, Requests { succeeded, failed, schema_changes })
    }
}

/// Draws over how many data centres the machines of a run are spread, and the replicas in each. From a generator of
/// its own: the other draws of a seed do not depend on it.
fn draw_data_centers(seed: u64, machines: usize, replicas: usize) -> (usize, Replicas) {
    let mut rng = Rng::new(seed ^ 0xda7a_ce47_e25e_u64);
    if !(2..=CROWD).contains(&machines) || !rng.chance(450) {
        return (1, Replicas(vec![replicas]));
    }
    let data_centers = if machines >= 5 && rng.chance(250) { 3 } else { 2 };
    let within = |data_center| (data_center..machines).step_by(data_centers).count();
    let mut each = |data_center| [1, 2, 3, 3][rng.index(4)].min(within(data_center));
    (data_centers, Replicas((0..data_centers).map(&mut each).collect()))
}
