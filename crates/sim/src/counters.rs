//! One run of one seed for what must happen once, or as a whole: clients add to counters and write logged batches over
//! several partitions while faults come and go; then everything is healed, and the sums and the batches must be right.
//!
//! What must hold:
//! * A counter is never below what was acknowledged before a read of it began, nor below what an earlier read saw, and
//!   never above what was asked for before the read ended: all writes and reads are at QUORUM, and all increments are
//!   positive.
//! * In the end all nodes read the same value, and two reads one after the other too.
//! * In the end of each logged batch all rows are there, or none; of an acknowledged one all; of one that was refused
//!   as certainly not applied none.

use crate::clock::TrueTime;
use crate::fault::{FaultKind, FaultPlan, FaultStep};
use crate::oracle::Violation;
use crate::simulation::{Failure, Options, Run, draw_build};
use crate::trace::Subject;
use crate::workload::{KEYSPACE, schema_change};
use crate::world::{Build, Occurrence, World};
use bytes::Bytes;
use model::error::Applied;
use model::schema::Schema;
use model::{Consistency, RequestError, Rng, TableId};
use node::{Request, RequestId, Response};
use query::{BatchKind, Bound, BoundValue};
use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

/// The tables: of counters, and two that batches write to.
const TABLES: [&str; 3] = [
    "CREATE TABLE IF NOT EXISTS n (k int, c int, v counter, s counter STATIC, PRIMARY KEY (k, c))",
    "CREATE TABLE IF NOT EXISTS a (k int, c int, v int, PRIMARY KEY (k, c))",
    "CREATE TABLE IF NOT EXISTS b (k int, c int, v int, PRIMARY KEY (k, c))",
];

/// Token of the timer of the next fault; clients have their index.
const FAULT_TIMER: u64 = 1 << 32;

/// A few nodes have joined within this time after the start.
const BOOT_MICROS: u64 = 120_000_000;

/// Once everything is healed, everything is answered within this time.
const GRACE_MICROS: u64 = 30_000_000;

/// Within this time all that keep a batch have written it, also when they were down for long, and tried in vain before.
const REPLAY_MICROS: u64 = 90_000_000;

/// Clients go on for so long once everything is healed.
const HEALED_MICROS: u64 = 5_000_000;

/// Lines of the story in a report.
const STORY_LINES: usize = 400;

/// What came of a run.
#[derive(Clone, Debug)]
pub struct CountersReport {
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
    /// Increments acknowledged.
    pub counted: u64,
    /// Batches acknowledged.
    pub batches: u64,
    /// Reads of counters that were judged.
    pub reads: u64,
    /// Writes whose outcome is not known.
    pub unknown: u64,
    /// Batches whose outcome was not known and that are there in the end.
    pub finished: u64,
    /// Writes that did certainly nothing: refused for lack of replicas or room.
    pub nothing: u64,
    /// Faults injected, by kind.
    pub faults: BTreeMap<FaultKind, u64>,
    /// What went wrong, if anything.
    pub failure: Option<Failure>,
    /// The story of the run, for people; empty when nothing went wrong.
    pub story: String,
}

/// What a client does.
#[derive(Clone, Debug)]
enum Action {
    /// Adds to a counter.
    Add { counter: usize, by: u64 },
    /// Reads it.
    Read { counter: usize, floor: u64 },
    /// Writes row `number` of these partitions of the tables.
    Batch { number: i32, places: Vec<(&'static str, i32)> },
    /// Reads which batches a partition of a table has.
    Rows { table: &'static str, partition: i32 },
}

/// What is known of a counter.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    /// Acknowledged increments.
    acknowledged: u64,
    /// Increments asked for that are not known to be without effect.
    asked: u64,
    /// The largest value that a read has seen.
    seen: u64,
}

/// What is known of a batch.
#[derive(Clone, Debug)]
struct Entry {
    places: Vec<(&'static str, i32)>,
    /// None while it is not known.
    applied: Option<bool>,
}

struct Counters {
    world: World,
    plan: FaultPlan,
    rng: Rng,
    clients: usize,
    counters: usize,
    partitions: i32,
    think: u64,
    timeout: Duration,
    replicas: usize,
    flights: BTreeMap<RequestId, (usize, Action)>,
    known: Vec<Known>,
    entries: BTreeMap<i32, Entry>,
    /// By table and partition, the batches that are there in the end.
    found: BTreeMap<(&'static str, i32), BTreeSet<i32>>,
    clients_work: bool,
    faults_on: bool,
    counted: u64,
    reads: u64,
    unknown: u64,
    nothing: u64,
    finished: u64,
    failure: Option<Failure>,
    last_error: Option<RequestError>,
    last_value: Option<u64>,
}

/// Runs one seed.
#[must_use]
pub fn run_counters(options: &Options) -> CountersReport {
    let mut run = Counters::draw(options);
    // What is left of a run that panicked is only told of.
    let phases = AssertUnwindSafe(|| run.phases(options.seconds * 1_000_000));
    match std::panic::catch_unwind(phases) {
        Ok(Ok(())) => {}
        Ok(Err(failure)) => drop(run.failure.get_or_insert(failure)),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            let text = text.unwrap_or_else(|| "without a message".to_owned());
            run.failure = Some(Failure::Crash(Violation::new("panic", text)));
        }
    }
    run.report(options.seed)
}

fn int(value: i32) -> BoundValue {
    BoundValue::Value(Bytes::copy_from_slice(&value.to_be_bytes()))
}

fn bigint(value: u64) -> BoundValue {
    BoundValue::Value(Bytes::copy_from_slice(&value.to_be_bytes()))
}

fn wrong<T>(oracle: &'static str, text: String) -> Result<T, Failure> {
    Err(Failure::Correctness(Violation::new(oracle, text)))
}

impl Counters {
    fn draw(options: &Options) -> Counters {
        let mut rng = Rng::new(options.seed ^ 0x1ed6_e500_c0de_ba7c);
        let machines = options.machines.unwrap_or_else(|| [1, 3, 3, 3, 4, 5, 5][rng.index(7)]);
        let replicas = [1, 2, 3, 3, 3, 3, 5][rng.index(7)].min(machines);
        let build = draw_build(&mut rng, machines, options.planted);
        // A replica that takes on very little at a time counts nothing.
        let build = Build { replica_ops_max: 65_536, ..build };
        let plan = FaultPlan::draw(rng.fork(), machines, build.durability);
        let world = World::new(build, plan.network.clone(), rng.next_u64(), options.full);
        let mut chosen = |choices: &[u64]| choices[rng.index(choices.len())];
        let (clients, counters) = (chosen(&[4, 10, 20]) as usize, chosen(&[1, 2, 6]) as usize);
        let (think, timeout) = (chosen(&[1_000, 10_000, 50_000]), Duration::from_millis(chosen(&[200, 1_000, 3_000])));
        let partitions = chosen(&[2, 4]) as i32;
        Counters {
            world,
            plan,
            rng,
            clients,
            counters,
            partitions,
            think,
            timeout,
            replicas,
            flights: BTreeMap::new(),
            known: vec![Known::default(); counters],
            entries: BTreeMap::new(),
            found: BTreeMap::new(),
            clients_work: false,
            faults_on: false,
            counted: 0,
            reads: 0,
            unknown: 0,
            nothing: 0,
            finished: 0,
            failure: None,
            last_error: None,
            last_value: None,
        }
    }

    fn report(self, seed: u64) -> CountersReport {
        let story = if self.failure.is_some() { self.world.trace.story(STORY_LINES) } else { String::new() };
        CountersReport {
            seed,
            machines: self.world.build().machines,
            hash: self.world.trace.hash(),
            events: self.world.handled(),
            simulated: self.world.time(),
            nothing: self.nothing,
            counted: self.counted,
            batches: self.entries.values().filter(|entry| entry.applied == Some(true)).count() as u64,
            reads: self.reads,
            unknown: self.unknown,
            finished: self.finished,
            faults: self.plan.injected,
            failure: self.failure,
            story,
        }
    }

    fn phases(&mut self, under_faults: u64) -> Result<(), Failure> {
        self.boot()?;
        self.clients_work = true;
        (0..self.clients).for_each(|client| self.rest(client));
        self.faults_on = true;
        self.plan_fault();
        let until = self.world.time() + under_faults;
        self.advance(until, |_| false)?;
        self.faults_on = false;
        self.world.heal();
        let until = self.world.time() + HEALED_MICROS;
        self.advance(until, |_| false)?;
        self.clients_work = false;
        self.advance(self.world.time() + GRACE_MICROS, |run| run.flights.is_empty())?;
        let until = self.world.time() + REPLAY_MICROS;
        self.advance(until, |_| false)?;
        self.check_counters()?;
        self.check_batches()
    }

    fn must(&self, done: bool, text: impl FnOnce() -> String) -> Result<(), Failure> {
        if done { Ok(()) } else { Err(Failure::Liveness(Violation::new("liveness", text()))) }
    }

    fn boot(&mut self) -> Result<(), Failure> {
        let machines = self.world.build().machines;
        (0..machines).for_each(|machine| self.world.schedule_fault(machine as u64 * 1_000, FaultStep::Start(machine)));
        let until = self.world.time() + BOOT_MICROS;
        let joined = self.advance(until, |run| {
            let joined = |machine| run.world.view(machine).is_some_and(|view| view.members.len() == machines);
            (0..machines).all(joined)
        })?;
        self.must(joined, || "not all nodes have joined".to_owned())?;
        let keyspace = self.world.build().create_keyspace(KEYSPACE, &[self.replicas]);
        let statements = std::iter::once(keyspace.as_str()).chain(TABLES);
        for (id, text) in statements.map(str::to_owned).enumerate().collect::<Vec<_>>() {
            self.world.propose(0, schema_change(&text, TableId(id as u128 + 1)));
            let until = self.world.time() + BOOT_MICROS;
            let known = self.advance(until, |run| {
                let known = |schema: &Schema| match id {
                    0 => schema.keyspace(KEYSPACE).is_some(),
                    _ => schema.table(TableId(id as u128 + 1)).is_some(),
                };
                (0..machines).all(|machine| run.world.view(machine).is_some_and(|view| known(&view.schema)))
            })?;
            self.must(known, || format!("not all nodes know the schema: {text}"))?;
        }
        Ok(())
    }

    /// Every node reads every counter twice: the values are within what was acknowledged and asked for, and equal.
    fn check_counters(&mut self) -> Result<(), Failure> {
        for counter in 0..self.counters {
            let mut first = None;
            for machine in (0..self.world.build().machines).flat_map(|machine| [machine, machine]) {
                self.last_value = None;
                self.finish(machine, Action::Read { counter, floor: self.known[counter].acknowledged })?;
                let value = self.last_value;
                if *first.get_or_insert(value) != value {
                    let text = format!("counter {counter} is {first:?}, and then {value:?}, and nobody counts");
                    return wrong("counters", text);
                }
            }
        }
        Ok(())
    }

    /// Every batch is there as a whole, or not at all.
    fn check_batches(&mut self) -> Result<(), Failure> {
        for table in ["a", "b"] {
            for partition in 0..self.partitions {
                self.finish(0, Action::Rows { table, partition })?;
            }
        }
        let mut finished = 0;
        for (number, entry) in &self.entries {
            let is_there = |place| self.found.get(place).is_some_and(|rows| rows.contains(number));
            let there = entry.places.iter().filter(|place| is_there(*place)).count();
            let right = match entry.applied {
                Some(true) => there == entry.places.len(),
                Some(false) => there == 0,
                None => there == 0 || there == entry.places.len(),
            };
            if !right {
                let text = format!("of batch {number} {there} parts are there: {entry:?}");
                return wrong("batches", text);
            }
            finished += u64::from(entry.applied.is_none() && there > 0);
        }
        self.finished = finished;
        Ok(())
    }

    /// Does something that must succeed now.
    fn finish(&mut self, machine: usize, action: Action) -> Result<(), Failure> {
        self.last_error = None;
        let text = format!("{action:?}");
        self.send(self.clients, machine, action);
        let until = self.world.time() + GRACE_MICROS;
        let done = self.advance(until, |run| run.flights.is_empty())?;
        let error = self.last_error.clone();
        self.must(done && error.is_none(), || format!("after healing {text} failed: {error:?}"))
    }

    fn plan_fault(&mut self) {
        if let Some(pause) = self.plan.pause() {
            self.world.set_timer(pause, FAULT_TIMER);
        }
    }

    fn rest(&mut self, client: usize) {
        if client < self.clients {
            let think = crate::network::geometric(&mut self.rng, self.think) + 1;
            self.world.set_timer(think, client as u64);
        }
    }

    fn act(&mut self, client: usize) {
        if !self.clients_work {
            return;
        }
        let machine = self.rng.index(self.world.build().machines);
        let counter = self.rng.index(self.counters);
        let action = match self.rng.below(10) {
            0..5 => Action::Add { counter, by: self.rng.between(1, 9) },
            5..7 => {
                let Known { acknowledged, seen, .. } = self.known[counter];
                Action::Read { counter, floor: acknowledged.max(seen) }
            }
            _ => {
                let number = self.entries.len() as i32;
                let places: Vec<(&'static str, i32)> =
                    ["a", "b"].into_iter().flat_map(|table| (0..self.partitions).map(move |k| (table, k))).collect();
                let mut places = places;
                self.rng.shuffle(&mut places);
                places.truncate(self.rng.between(2, 3) as usize);
                Action::Batch { number, places }
            }
        };
        self.send(client, machine, action);
    }

    fn send(&mut self, client: usize, machine: usize, action: Action) {
        let Some(schema) = self.world.view(machine).map(|view| view.schema.clone()) else { return self.rest(client) };
        let Some(request) = self.request(&schema, &action) else { return self.rest(client) };
        let Some(id) = self.world.request(machine, request) else {
            // Nobody listens: the request never left the client.
            return self.rest(client);
        };
        match &action {
            Action::Add { counter, by } => self.known[*counter].asked += by,
            Action::Batch { number, places } => {
                self.entries.insert(*number, Entry { places: places.clone(), applied: None });
            }
            Action::Read { .. } | Action::Rows { .. } => {}
        }
        self.flights.insert(id, (client, action));
    }

    fn bind(schema: &Schema, text: &str, values: &[BoundValue]) -> Option<Bound> {
        let prepared = query::prepare(text, schema, Some(KEYSPACE)).ok()?;
        let context = query::EvaluationContext::new(model::WallMicros(0), 0);
        Some(prepared.bind(values, context).unwrap_or_else(|error| unreachable!("{text}: {error}")))
    }

    fn request(&mut self, schema: &Schema, action: &Action) -> Option<Request> {
        let timeout = if self.clients_work { self.timeout } else { Duration::from_secs(20) };
        let consistency = Consistency::Quorum;
        match action {
            // Counters of even numbers are regular columns, the others static ones.
            Action::Add { counter, by } => {
                let (column, row) = if counter.is_multiple_of(2) { ("v", " AND c = 0") } else { ("s", "") };
                let text = format!("UPDATE n SET {column} = {column} + ? WHERE k = ?{row}");
                match Self::bind(schema, &text, &[bigint(*by), int(*counter as i32)])? {
                    Bound::Write(write) => Some(Request::Write { write, consistency, timestamp: None, timeout }),
                    other => unreachable!("{text}: {other:?}"),
                }
            }
            Action::Batch { number, places } => {
                let insert = |(table, k): &(&str, i32)| {
                    let text = format!("INSERT INTO {table} (k, c, v) VALUES (?, ?, ?)");
                    Self::bind(schema, &text, &[int(*k), int(*number), int(*number)])
                };
                let statements: Option<Vec<Bound>> = places.iter().map(insert).collect();
                match Bound::batch(statements?, BatchKind::Logged) {
                    Ok(Bound::Batch { writes, .. }) => {
                        Some(Request::Batch { writes, consistency, timestamp: None, timeout })
                    }
                    other => unreachable!("{other:?}"),
                }
            }
            Action::Read { counter, .. } => {
                let column = if counter.is_multiple_of(2) { "v" } else { "s" };
                let text = format!("SELECT {column} FROM n WHERE k = ?");
                Self::read(Self::bind(schema, &text, &[int(*counter as i32)])?, timeout)
            }
            Action::Rows { table, partition } => {
                let text = format!("SELECT c FROM {table} WHERE k = ?");
                Self::read(Self::bind(schema, &text, &[int(*partition)])?, timeout)
            }
        }
    }

    fn read(bound: Bound, timeout: Duration) -> Option<Request> {
        let Bound::Read(read) = bound else { unreachable!("{bound:?}") };
        Some(Request::Read {
            read: Arc::new(read),
            consistency: Consistency::Quorum,
            page_rows: u32::MAX,
            paging_state: None,
            timeout,
        })
    }

    fn replied(&mut self, id: RequestId, result: Result<Response, RequestError>) {
        let Some((client, action)) = self.flights.remove(&id) else { return };
        self.rest(client);
        let time = self.world.time();
        self.world.trace.tell(time, Subject::World, format!("{action:?} {result:?}"));
        match (action, result) {
            (Action::Add { counter, by }, Ok(Response::Written)) => {
                self.counted += 1;
                self.known[counter].acknowledged += by;
            }
            (Action::Batch { number, .. }, Ok(Response::Written)) => self.note_batch(number, true),
            (Action::Read { counter, floor }, Ok(Response::Rows { rows, .. })) => {
                let value = rows.first().and_then(|row| row[0].as_ref());
                let value = value.map_or(0, |wire| u64::from_be_bytes(wire[..].try_into().unwrap_or_default()));
                self.note_read(counter, floor, value);
            }
            (Action::Rows { table, partition }, Ok(Response::Rows { rows, .. })) => {
                let number = |row: &Vec<Option<Bytes>>| {
                    let wire = row[0].as_ref().and_then(|wire| wire[..].try_into().ok());
                    wire.map(i32::from_be_bytes)
                };
                self.found.insert((table, partition), rows.iter().filter_map(number).collect());
            }
            (action, Err(error)) => {
                let certainly_not = error.applied() == Applied::No;
                self.last_error = Some(error);
                self.failed(&action, certainly_not);
            }
            (action, result) => {
                let text = format!("{action:?} was answered with {result:?}");
                self.failure.get_or_insert(Failure::Correctness(Violation::new("replies", text)));
            }
        }
    }

    fn failed(&mut self, action: &Action, certainly_not: bool) {
        self.nothing += u64::from(certainly_not);
        match action {
            Action::Add { counter, by } if certainly_not => self.known[*counter].asked -= by,
            Action::Batch { number, .. } if certainly_not => self.note_batch(*number, false),
            Action::Add { .. } | Action::Batch { .. } => self.unknown += 1,
            Action::Read { .. } | Action::Rows { .. } => {}
        }
    }

    fn note_batch(&mut self, number: i32, applied: bool) {
        if let Some(entry) = self.entries.get_mut(&number) {
            entry.applied = Some(applied);
        }
    }

    fn note_read(&mut self, counter: usize, floor: u64, value: u64) {
        self.reads += 1;
        self.last_value = Some(value);
        let known = &mut self.known[counter];
        let asked = known.asked;
        if value < floor || value > asked {
            let text = format!("counter {counter} is {value}: at least {floor} was counted, at most {asked}");
            self.failure.get_or_insert(Failure::Correctness(Violation::new("counters", text)));
        }
        known.seen = known.seen.max(value);
    }
}

impl Run for Counters {
    fn world(&mut self) -> &mut World {
        &mut self.world
    }

    fn occurred(&mut self, occurrence: Occurrence) {
        match occurrence {
            Occurrence::Timer(FAULT_TIMER) if !self.faults_on => {}
            Occurrence::Timer(FAULT_TIMER) => {
                for (delay, step) in self.plan.next_fault() {
                    self.world.schedule_fault(delay, step);
                }
                self.plan_fault();
            }
            Occurrence::Timer(client) if client < self.clients as u64 => self.act(client as usize),
            Occurrence::Replied { id, result } => self.replied(id, result),
            Occurrence::Lost(id) => {
                if let Some((client, action)) = self.flights.remove(&id) {
                    self.last_error = Some(RequestError::NotServing("the process died".to_owned()));
                    self.failed(&action, false);
                    self.rest(client);
                }
            }
            Occurrence::Stopped { expected: false, machine, reason } => {
                let text = format!("node {machine} stopped by itself: {reason}");
                self.failure.get_or_insert(Failure::Correctness(Violation::new("membership", text)));
            }
            Occurrence::Wrong(violation) => drop(self.failure.get_or_insert(Failure::Correctness(violation))),
            _ => {}
        }
    }

    fn failure(&mut self) -> Option<Failure> {
        self.failure.take()
    }
}
