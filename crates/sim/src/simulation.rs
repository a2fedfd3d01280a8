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
//! In some seeds nodes repair besides: see `simulation/repairs.rs`.
//!
//! Disks are swept for garbage all the time; while faults last nothing is old enough to be purged. Afterwards every
//! replica has every deletion, and nothing may come back however old they are.
//!
//! Two phases, as in TigerBeetle's simulator: under faults nothing wrong may happen; once they end, everything
//! right must happen, within a bounded time.

use crate::clock::TrueTime;
use crate::fault::{FaultKind, FaultPlan, FaultStep};
use crate::oracle::acknowledged::Acknowledged;
use crate::oracle::book::{Action, Book, Column, Outcome, ROWS, Register};
use crate::oracle::coverage::Replicas;
use crate::oracle::dropped::Dropped;
use crate::oracle::metadata::{Effective, Metadata};
use crate::oracle::monotonic::Monotonic;
use crate::oracle::{Violation, convergence, garbage, handoff};
use crate::trace::Subject;
use crate::workload::{
    Flight, KEYSPACE, Mix, Place, ReadFlight, Sending, TABLES, Workload, Writing, create_index, create_table,
    schema_change, seen,
};
use crate::world::{Build, Occurrence, World};
use model::error::Applied;
use model::{Consistency, Epoch, RequestError, Rng, TableId, Token};
use node::{Durability, Planted, RequestId, Response};
use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

mod repairs;

use self::repairs::{REPAIR_TIMER, Repairing};

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Decides everything.
    pub seed: u64,
    /// Nodes; drawn when not given.
    pub machines: Option<usize>,
    /// Simulated seconds of work under faults.
    pub seconds: u64,
    /// The bug to run with; only where the feature `planted` is compiled in.
    pub planted: Option<Planted>,
    /// Keep every event in words.
    pub full: bool,
}

impl Options {
    /// A run of `seed` as the tests do it.
    #[must_use]
    pub fn of_seed(seed: u64) -> Options {
        Options { seed, machines: None, seconds: 12, planted: None, full: false }
    }
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Something happened that must never happen.
    Correctness(Violation),
    /// Something did not happen that must happen in time.
    Liveness(Violation),
    /// The code under test panicked.
    Crash(Violation),
}

impl Failure {
    /// What the oracle says.
    #[must_use]
    pub fn violation(&self) -> &Violation {
        match self {
            Failure::Correctness(violation) | Failure::Liveness(violation) | Failure::Crash(violation) => violation,
        }
    }
}

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Report {
    /// Its seed.
    pub seed: u64,
    /// Nodes.
    pub machines: usize,
    /// The hash of everything that happened.
    pub hash: u128,
    /// Events handled.
    pub events: u64,
    /// Simulated time in microseconds.
    pub simulated: TrueTime,
    /// Faults injected, by kind.
    pub faults: BTreeMap<FaultKind, u64>,
    /// Writes and reads that succeeded.
    pub succeeded: u64,
    /// Writes and reads that did not.
    pub failed: u64,
    /// Schema changes that succeeded.
    pub schema_changes: u64,
    /// What went wrong, if anything.
    pub failure: Option<Failure>,
    /// The story of the run, for people; empty when nothing went wrong.
    pub story: String,
    /// Every event in words, if asked for.
    pub full: Vec<String>,
}

/// Token of the timer of the next fault; clients have their index.
const FAULT_TIMER: u64 = 1 << 32;

/// Token of the timer of the next sweep for garbage.
const SWEEP_TIMER: u64 = FAULT_TIMER + 1;

/// Once all replicas agree clocks jump by this much: the grace of the tables and a day.
const GRACE_JUMP_MICROS: i64 = 11 * 24 * 60 * 60 * 1_000_000;

/// Clients work for so long while garbage is swept.
const SWEPT_MICROS: u64 = 3_000_000;

/// Beyond this many nodes a cluster is started node by node.
const CROWD: usize = 20;

/// A few nodes have joined within this time after the start.
const BOOT_MICROS: u64 = 120_000_000;

/// Once everything is healed, everything must work after this time.
const GRACE_MICROS: u64 = 10_000_000;

/// Within this time some hints are delivered: they are tried again after at most 64 seconds.
const HINTS_MICROS: u64 = 200_000_000;

/// Once everything is healed, a request at ALL succeeds within this time.
pub(crate) const SERVED_WITHIN: Duration = Duration::from_secs(5);

/// Lines of the story in a report.
const STORY_LINES: usize = 400;

/// The state of a run.
pub struct Simulation {
    world: World,
    plan: FaultPlan,
    workload: Workload,
    flights: BTreeMap<RequestId, (usize, Flight)>,
    book: Book,
    acknowledged: Acknowledged,
    monotonic: Monotonic,
    dropped: Dropped,
    metadata: Metadata,
    clients_work: bool,
    faults_on: bool,
    /// Decides on sweeps: when, where, of what.
    sweeps: Rng,
    sweeps_on: bool,
    repairing: Repairing,
    failure: Option<Failure>,
    succeeded: u64,
    failed: u64,
    schema_changes: u64,
    /// The last error of a request, for reports.
    last_error: Option<RequestError>,
}

/// The client that the run itself is: for what no client of the workload asks.
const NOBODY: usize = usize::MAX >> 1;

/// Runs one seed.
#[must_use]
pub fn run(options: &Options) -> Report {
    let mut simulation = Simulation::draw(options);
    // What is left of a simulation that panicked is only told of.
    let phases = AssertUnwindSafe(|| simulation.phases(options.seconds * 1_000_000));
    let outcome = std::panic::catch_unwind(phases);
    match outcome {
        Ok(Ok(())) => {}
        Ok(Err(failure)) => drop(simulation.failure.get_or_insert(failure)),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            let text = text.unwrap_or_else(|| "without a message".to_owned());
            simulation.failure = Some(Failure::Crash(Violation::new("panic", text)));
        }
    }
    simulation.report(options)
}

/// A run of a seed: what steps its world and looks at what occurs in it.
pub(crate) trait Run: Sized {
    /// Its world.
    fn world(&mut self) -> &mut World;

    /// Looks at something that has occurred.
    fn occurred(&mut self, occurrence: Occurrence);

    /// What has gone wrong, if anything has.
    fn failure(&mut self) -> Option<Failure>;

    /// Handles events until `until`, or until `enough`; true when enough.
    ///
    /// # Errors
    /// What goes wrong.
    fn advance(&mut self, until: TrueTime, enough: impl Fn(&Self) -> bool) -> Result<bool, Failure> {
        loop {
            if enough(self) {
                return Ok(true);
            }
            if !self.world().step(until) {
                return Ok(false);
            }
            while let Some(occurrence) = self.world().occurred() {
                self.occurred(occurrence);
            }
            if let Some(failure) = self.failure() {
                return Err(failure);
            }
        }
    }
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
        let world = World::new(build, plan.network.clone(), rng.next_u64(), options.full);
        Simulation {
            world,
            plan,
            workload: Workload::new(mix, rng.fork()),
            flights: BTreeMap::new(),
            book: Book::default(),
            acknowledged: Acknowledged::new(replicas.clone()),
            monotonic: Monotonic::new(replicas),
            dropped: Dropped::new(machines),
            metadata: Metadata::new(machines, KEYSPACE),
            clients_work: false,
            faults_on: false,
            sweeps: Rng::new(options.seed ^ 0x5eed_0f00_5eeb_u64),
            sweeps_on: false,
            repairing,
            failure: None,
            succeeded: 0,
            failed: 0,
            schema_changes: 0,
            last_error: None,
        }
    }

    fn report(self, options: &Options) -> Report {
        let story = if self.failure.is_some() { self.world.trace.story(STORY_LINES) } else { String::new() };
        Report {
            seed: options.seed,
            machines: self.world.build().machines,
            hash: self.world.trace.hash(),
            events: self.world.handled(),
            simulated: self.world.time(),
            faults: self.plan.injected,
            succeeded: self.succeeded,
            failed: self.failed,
            schema_changes: self.schema_changes,
            failure: self.failure,
            story,
            full: self.world.trace.full().to_vec(),
        }
    }

    fn phases(&mut self, under_faults: u64) -> Result<(), Failure> {
        let described = format!("{:?} {:?} {:?}", self.world.build(), self.workload.mix, self.plan);
        self.tell(described);
        self.boot()?;
        self.create_schema()?;
        self.tell("work under faults".to_owned());
        self.start_clients();
        self.faults_on = true;
        self.plan_fault();
        self.sweeps_on = true;
        self.plan_sweep();
        self.plan_repair();
        let until = self.world.time() + under_faults;
        self.advance(until, |_| false)?;
        self.clients_work = false;
        self.heal()?;
        self.drain_hints()?;
        handoff::check(&self.world, &self.book, KEYSPACE).map_err(Failure::Correctness)?;
        if self.repairing.on {
            self.repaired()?;
        }
        self.serve_everywhere()?;
        self.converged()?;
        if self.sweeps.chance(300) { self.outlive_the_grace() } else { Ok(()) }
    }

    fn converged(&self) -> Result<(), Failure> {
        convergence::check(&self.world, KEYSPACE, self.workload.mix.partitions).map_err(Failure::Correctness)
    }

    /// All replicas have every deletion: from now on all of them may be purged, at whatever time on each.
    fn outlive_the_grace(&mut self) -> Result<(), Failure> {
        let away = self.send_away()?;
        self.tell("all clocks pass the grace".to_owned());
        let machines = self.world.build().machines;
        (0..machines).for_each(|machine| self.world.fault(FaultStep::Jump(machine, GRACE_JUMP_MICROS)));
        self.start_clients();
        self.advance(self.world.time() + SWEPT_MICROS, |_| false)?;
        self.clients_work = false;
        let until = self.world.time() + GRACE_MICROS;
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
            let sweep = self.world.sweep(machine, table, everything);
            self.must(sweep.is_some(), || format!("node {machine} cannot sweep table {table}"))?;
            let purge = sweep.map(|sweep| sweep.purge).unwrap_or_default();
            self.must(purge.gc_before_seconds > 0, || format!("node {machine} may purge nothing of table {table}"))?;
            garbage::check(&self.world, machine, table, self.workload.mix.partitions, &purge)
                .map_err(Failure::Correctness)?;
        }
        self.serve_everywhere()?;
        self.converged()
    }

    fn tables(&self) -> Vec<TableId> {
        self.world.view(0).map(|view| view.schema.tables().keys().copied().collect()).unwrap_or_default()
    }

    fn plan_sweep(&mut self) {
        let pause = self.sweeps.between(10_000, 1_000_000);
        self.world.set_timer(pause, SWEEP_TIMER);
    }

    /// Some machine sweeps some tokens of some table.
    fn sweep(&mut self) {
        if !self.sweeps_on {
            return;
        }
        let machine = self.sweeps.index(self.world.build().machines);
        let tables = self.world.view(machine).map(|view| view.schema.tables().keys().copied().collect::<Vec<_>>());
        let mut ends = [self.sweeps.next_u64() as i64, self.sweeps.next_u64() as i64];
        ends.sort_unstable();
        let everything = self.sweeps.chance(300);
        let tokens = if everything { Token::MINIMUM..=Token(i64::MAX) } else { Token(ends[0])..=Token(ends[1]) };
        if let Some(tables) = tables.filter(|tables| !tables.is_empty()) {
            let table = tables[self.sweeps.index(tables.len())];
            self.world.sweep(machine, table, tokens);
        }
        self.plan_sweep();
    }

    fn tell(&mut self, text: String) {
        let time = self.world.time();
        self.world.trace.tell(time, Subject::World, text);
    }

    fn must(&self, done: bool, text: impl FnOnce() -> String) -> Result<(), Failure> {
        if done { Ok(()) } else { Err(Failure::Liveness(Violation::new("liveness", text()))) }
    }

    /// All processes start, in some seeds under faults; all nodes join.
    fn boot(&mut self) -> Result<(), Failure> {
        let machines = self.world.build().machines;
        let mut rng = Rng::new(self.world.trace.events() ^ self.plan.interval);
        for machine in 0..machines {
            // A thousand nodes are not switched on by one person in one second.
            let turn = if machines > CROWD { machine as u64 * 100_000 } else { 0 };
            self.world.schedule_fault(turn + rng.below(1_000_000), FaultStep::Start(machine));
        }
        if rng.chance(250) {
            self.faults_on = true;
            self.plan_fault();
            let until = self.world.time() + 8_000_000;
            self.advance(until, |_| false)?;
            self.faults_on = false;
            self.world.heal();
        }
        let all_joined = |simulation: &Simulation| {
            let joined = |machine| simulation.world.view(machine).is_some_and(|view| view.members.len() == machines);
            (0..machines).all(joined)
        };
        // Joins are decided one after the other.
        let patience = BOOT_MICROS + machines as u64 * 1_000_000;
        let joined = self.advance(self.world.time() + patience, all_joined)?;
        self.must(joined, || {
            format!("not all of {machines} nodes have joined {} s after the start", patience / 1_000_000)
        })
    }

    fn create_schema(&mut self) -> Result<(), Failure> {
        let keyspace = self.world.build().create_keyspace(KEYSPACE, &self.workload.mix.replicas.0);
        let by_repair = self.workload.mix.purged_by_repair;
        let statements = [keyspace].into_iter().chain(TABLES.iter().map(|name| create_table(name, true, by_repair)));
        let changes = statements.enumerate().map(|(index, statement)| {
            // Far apart, as random ids are: a truncated table takes the next one.
            let change = schema_change(&statement, TableId((index as u128) << 64));
            (statement, change)
        });
        let index = std::iter::once(("CREATE INDEX".to_owned(), create_index(TABLES[0])));
        for (statement, change) in changes.chain(index) {
            let until = self.world.time() + BOOT_MICROS;
            loop {
                self.last_error = None;
                let flight = Flight::Create { name: String::new(), id: TableId(0), if_not_exists: true };
                let machine = self.workload.choose_machine(self.world.build().machines);
                self.propose(NOBODY, machine, change.clone(), flight);
                let answered = self.advance(until, |simulation| simulation.flights.is_empty())?;
                let error = self.last_error.clone();
                if answered && error.is_none() {
                    break;
                }
                // A disk that was slow and full before the heal may still stop its node once.
                self.must(self.world.time() < until, || format!("'{statement}' without faults: {error:?}"))?;
                self.advance(self.world.time() + 1_000_000, |_| false)?;
            }
        }
        let knows = |simulation: &Simulation| {
            let machines = 0..simulation.world.build().machines;
            let knows_all = |machine| {
                simulation.world.view(machine).is_some_and(|view| {
                    let tables = view.schema.tables();
                    tables.len() == TABLES.len() && tables.values().any(|table| !table.indexes.is_empty())
                })
            };
            machines.into_iter().all(knows_all)
        };
        let known = self.advance(self.world.time() + GRACE_MICROS, knows)?;
        self.must(known, || "not every node knows the schema".to_owned())
    }

    fn start_clients(&mut self) {
        self.clients_work = true;
        for client in 0..self.workload.count() {
            let think = self.workload.think(client);
            self.world.set_timer(think, client as u64);
        }
    }

    fn plan_fault(&mut self) {
        if let Some(pause) = self.plan.pause() {
            self.world.set_timer(pause, FAULT_TIMER);
        }
    }

    /// Ends all faults and gives the cluster its time; then nobody waits for an answer, and all have one log.
    fn heal(&mut self) -> Result<(), Failure> {
        self.faults_on = false;
        self.world.heal();
        let until = self.world.time() + GRACE_MICROS;
        self.advance(until, |_| false)?;
        let waiting = self.flights.values().next().cloned();
        self.must(waiting.is_none(), || format!("never answered: {waiting:?}"))?;
        let epochs: Vec<Option<Epoch>> =
            (0..self.world.build().machines).map(|machine| self.world.view(machine).map(|view| view.epoch)).collect();
        let equal = epochs.iter().all(|epoch| epoch.is_some() && *epoch == epochs[0]);
        self.must(equal, || format!("{} s after healing the nodes are at {epochs:?}", GRACE_MICROS / 1_000_000))
    }

    fn drain_hints(&mut self) -> Result<(), Failure> {
        self.tell("wait for hints".to_owned());
        let waiting = |simulation: &Simulation| -> Vec<usize> {
            let machines = 0..simulation.world.build().machines;
            machines.map(|machine| simulation.world.disk(machine).hints_waiting()).collect()
        };
        // Writes that still wait for a replica become hints when their time is over.
        let settled = self.world.time() + 2 * u64::try_from(self.workload.mix.timeout.as_micros()).unwrap_or(0);
        self.advance(settled, |_| false)?;
        // Where disks are slow or little is taken on at a time many hints take long, but some arrive all the time.
        let mut left = waiting(self);
        while left.iter().any(|count| *count > 0) {
            let until = self.world.time() + HINTS_MICROS;
            self.advance(until, |simulation| waiting(simulation).iter().all(|count| *count == 0))?;
            let before = std::mem::replace(&mut left, waiting(self));
            let fewer = left.iter().sum::<usize>() < before.iter().sum();
            let seconds = HINTS_MICROS / 1_000_000;
            self.must(fewer, || format!("after healing, hints wait for {seconds} s without getting fewer: {left:?}"))?;
        }
        Ok(())
    }

    /// Every node coordinates a write and, of every partition of every table and of every table, a read at ALL.
    fn serve_everywhere(&mut self) -> Result<(), Failure> {
        self.tell("serve everywhere".to_owned());
        self.last_error = None;
        // The shortest timeouts are there to be missed.
        self.workload.mix.timeout = SERVED_WITHIN;
        let partitions = self.workload.mix.partitions;
        let machines = self.world.build().machines;
        for machine in 0..machines {
            let Some(view) = self.world.view(machine).cloned() else { continue };
            let row = machine as i32 % ROWS;
            let (action, consistency) = (Action::Update(row, Column::V), Consistency::All);
            let writing = Writing { table: TABLES[0], partition: 0, action, consistency };
            let place = self.place(machine);
            let sending = self.workload.write(0, &view.schema, &mut self.book, place, &writing);
            self.send(NOBODY, machine, sending);
            self.served()?;
        }
        for machine in 0..machines {
            let Some(view) = self.world.view(machine).cloned() else { continue };
            // Of each table every partition, then all of them at once: what the former saw the latter must see.
            let reads = |table| (0..partitions).map(Some).chain([None]).map(move |partition| (table, partition));
            for (table, partition) in TABLES.into_iter().flat_map(reads) {
                let time = self.world.time();
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
        let done = self.advance(self.world.time() + GRACE_MICROS, |simulation| simulation.flights.is_empty())?;
        self.check_served(done)
    }

    fn check_served(&mut self, answered: bool) -> Result<(), Failure> {
        let error = self.last_error.clone();
        self.must(answered && error.is_none(), || format!("after healing a request at ALL failed: {error:?}"))
    }

    fn place(&self, machine: usize) -> Place {
        let (incarnation, time) = (self.world.incarnation(machine), self.world.time());
        Place { machine, data_center: self.world.build().data_center(machine), incarnation, behind: false, time }
    }

    /// The node that is furthest behind, if one is.
    fn laggard(&self) -> Option<usize> {
        let epochs =
            (0..self.world.build().machines).filter_map(|machine| Some((self.world.view(machine)?.epoch, machine)));
        let (behind, ahead) = (epochs.clone().min()?, epochs.max()?);
        (behind.0 < ahead.0).then_some(behind.1)
    }

    fn inject(&mut self) {
        if !self.faults_on {
            return;
        }
        for (delay, step) in self.plan.next_fault() {
            self.world.schedule_fault(delay, step);
        }
        self.plan_fault();
    }

    /// The client thinks, then asks again.
    fn rest(&mut self, client: usize) {
        if client != NOBODY {
            let think = self.workload.think(client);
            self.world.set_timer(think, client as u64);
        }
    }

    fn client_acts(&mut self, client: usize) {
        if !self.clients_work {
            return;
        }
        let mut machine = self.workload.choose_machine(self.world.build().machines);
        let mut place = self.place(machine);
        if self.workload.seeks_laggard()
            && let Some(laggard) = self.laggard()
        {
            machine = laggard;
            place = Place { behind: true, ..self.place(machine) };
        }
        let sending = match self.world.view(machine).cloned() {
            Some(view) => self.workload.next(client, &view.schema, &mut self.book, place),
            None => None,
        };
        self.send(client, machine, sending);
    }

    fn propose(&mut self, client: usize, machine: usize, change: model::schema::SchemaChange, flight: Flight) {
        match self.world.propose(machine, change) {
            Some(id) => drop(self.flights.insert(id, (client, flight))),
            None => {
                self.last_error = Some(RequestError::NotServing("nobody listens".to_owned()));
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
            && read.started == self.world.time()
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
        match self.world.request(machine, request) {
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
        let time = self.world.time();
        match &result {
            Ok(_) => self.succeeded += 1,
            Err(error) => {
                self.failed += 1;
                self.last_error = Some(error.clone());
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
        let time = self.world.time();
        let (seen, rest) = seen(&flight, rows, paging_state.is_some())?;
        self.acknowledged.check(&self.book, &flight.floors.0, &seen, time)?;
        self.monotonic.check(&self.book, &flight.floors.1, &seen, &flight.coverage, time)?;
        self.dropped.check(flight.table, flight.started, flight.coverage.total, "a read")?;
        flight.rows = rest;
        flight.limit = flight.limit.map(|limit| limit - rows.len());
        match paging_state {
            Some(state) if flight.limit != Some(0) => {
                let build = self.world.build();
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
        let time = self.world.time();
        let epoch = match result {
            Ok(epoch) => epoch,
            Err(error) => {
                self.last_error = Some(error);
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
    fn world(&mut self) -> &mut World {
        &mut self.world
    }

    fn occurred(&mut self, occurrence: Occurrence) {
        let result = match occurrence {
            Occurrence::Timer(FAULT_TIMER) => {
                self.inject();
                Ok(())
            }
            Occurrence::Timer(SWEEP_TIMER) => {
                self.sweep();
                Ok(())
            }
            Occurrence::Timer(REPAIR_TIMER) => {
                self.order_some_repair();
                Ok(())
            }
            Occurrence::Timer(client) => {
                self.client_acts(client as usize);
                Ok(())
            }
            Occurrence::Replied { id, result } => self.replied(id, result),
            Occurrence::Decided { id, result } => self.decided(id, result),
            Occurrence::Lost(id) => {
                if let Some((client, _)) = self.flights.remove(&id) {
                    self.last_error = Some(RequestError::NotServing("the process died".to_owned()));
                    self.failed += 1;
                    self.rest(client);
                }
                Ok(())
            }
            Occurrence::Logged(mutation) => self.book.logged(&mutation),
            Occurrence::Published(machine, view) => {
                let time = self.world.time();
                for table in view.schema.tables().values() {
                    self.dropped.published(table.id, &table.name, time);
                }
                self.metadata.publish(machine, &view)
            }
            Occurrence::Stopped { expected: true, .. } => Ok(()),
            Occurrence::Stopped { machine, reason, .. } => {
                Err(Violation::new("membership", format!("node {machine} stopped by itself: {reason}")))
            }
            Occurrence::Wrong(violation) => Err(violation),
        };
        if let Err(violation) = result {
            self.failure.get_or_insert(Failure::Correctness(violation));
        }
    }

    fn failure(&mut self) -> Option<Failure> {
        self.failure.take()
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

/// Draws how the machines of a run are built.
pub(crate) fn draw_build(rng: &mut Rng, machines: usize, planted: Option<Planted>) -> Build {
    let mut chosen = |choices: &[u64]| choices[rng.index(choices.len())];
    Build {
        machines,
        data_centers: 1,
        seeds: machines.min(3),
        shards_max: chosen(&[1, 1, 2, 4]) as u16,
        tokens: chosen(&[1, 4, 16]) as u32,
        durability: if chosen(&[0, 0, 0, 1]) == 1 { Durability::Periodic } else { Durability::Group },
        batched: chosen(&[0, 0, 50, 500]),
        batched_for: chosen(&[1_000, 20_000]),
        late: chosen(&[0, 1_000, 50_000]),
        skew: chosen(&[0, 50_000, 5_000_000]),
        drift_ppm: chosen(&[0, 100, 5_000]),
        sync_mean: chosen(&[200, 2_000, 20_000]),
        unreachable_noticed: chosen(&[0, 500, 1_000]),
        tables_linger: chosen(&[0, 2_000_000, 20_000_000]),
        replica_ops_max: chosen(&[8, 65_536, 65_536, 65_536]) as usize,
        draw_limits: true,
        repairs_every: None,
        planted,
    }
}
