//! One run of one seed for what must happen once, or as a whole: clients add to counters and write logged batches over
//! several partitions while faults come and go; then everything is healed, and the sums and the batches must be right.
//!
//! What must hold:
//! * A counter is never below what was acknowledged before a read of it began, nor below what an earlier read saw, and
//!   never above what was asked for before the read ended: all writes and reads are at QUORUM, and all increments are
//!   positive.
//! * Some increments and batches have a retry token. They are tried again, at other nodes, until it is known that they
//!   are done, and sometimes once more; and count once. So a counter of which nothing is unknown is the exact sum in
//!   the end.
//! * In the end all nodes read the same value, and two reads one after the other too.
//! * In the end of each logged batch all rows are there, or none; of an acknowledged one all; of one that was refused
//!   as certainly not applied none.

use crate::fault::FaultPlan;
use crate::oracle::Violation;
use crate::stage::{ANSWERED_MICROS, Failure, Options, Pausing, Report, Run, Stage, Tokens, draw_build};
use crate::workload::KEYSPACE;
use crate::world::{Build, Occurrence, World};
use bytes::Bytes;
use model::error::Applied;
use model::schema::Schema;
use model::{Consistency, RequestError, RetryToken, Rng};
use node::{Request, RequestId, Response};
use query::{BatchKind, Bound, BoundValue};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// The tables: of counters, and two that batches write to.
const TABLES: [&str; 3] = [
    "CREATE TABLE IF NOT EXISTS n (k int, c int, v counter, s counter STATIC, PRIMARY KEY (k, c))",
    "CREATE TABLE IF NOT EXISTS a (k int, c int, v int, PRIMARY KEY (k, c))",
    "CREATE TABLE IF NOT EXISTS b (k int, c int, v int, PRIMARY KEY (k, c))",
];

/// Within this time all that keep a batch have written it, also when they were down for long, and tried in vain before.
const REPLAY_MICROS: u64 = 90_000_000;

/// What the clients did.
#[derive(Clone, Debug)]
pub struct Counted {
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

/// A request on its way.
#[derive(Clone, Debug)]
struct Flight {
    client: usize,
    action: Action,
    /// Names it, if it may be sent again.
    token: Option<RetryToken>,
    /// How often it was sent.
    attempts: u32,
    /// True once an attempt may have had an effect.
    maybe: bool,
    /// True once it is known to be done, and asked for all the same.
    done: bool,
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
    stage: Stage,
    rng: Rng,
    clients: usize,
    counters: usize,
    partitions: i32,
    think: u64,
    tokens: Tokens,
    timeout: Duration,
    replicas: usize,
    flights: BTreeMap<RequestId, Flight>,
    pausing: Pausing<Flight>,
    known: Vec<Known>,
    entries: BTreeMap<i32, Entry>,
    /// By table and partition, the batches that are there in the end.
    found: BTreeMap<(&'static str, i32), BTreeSet<i32>>,
    counted: u64,
    reads: u64,
    unknown: u64,
    nothing: u64,
    finished: u64,
    last_value: Option<u64>,
}

/// Runs one seed.
#[must_use]
pub fn run_counters(options: &Options) -> Report<Counted> {
    Counters::draw(options).play(options)
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
        let (tokens, build) = Tokens::draw(&mut rng, build);
        let plan = FaultPlan::draw(rng.fork(), machines, build.durability);
        let world = World::new(build, plan.network.clone(), rng.next_u64(), options.full);
        let mut chosen = |choices: &[u64]| choices[rng.index(choices.len())];
        let (clients, counters) = (chosen(&[4, 10, 20]) as usize, chosen(&[1, 2, 6]) as usize);
        let (think, timeout) = (chosen(&[1_000, 10_000, 50_000]), Duration::from_millis(chosen(&[200, 1_000, 3_000])));
        let partitions = chosen(&[2, 4]) as i32;
        Counters {
            stage: Stage::new(world, plan),
            rng,
            clients,
            counters,
            partitions,
            think,
            tokens,
            timeout,
            replicas,
            flights: BTreeMap::new(),
            pausing: Pausing::new(),
            known: vec![Known::default(); counters],
            entries: BTreeMap::new(),
            found: BTreeMap::new(),
            counted: 0,
            reads: 0,
            unknown: 0,
            nothing: 0,
            finished: 0,
            last_value: None,
        }
    }

    /// Every node reads every counter twice: the values are within what was acknowledged and asked for, and equal.
    fn check_counters(&mut self) -> Result<(), Failure> {
        for counter in 0..self.counters {
            let mut first = None;
            for machine in (0..self.stage.machines()).flat_map(|machine| [machine, machine]) {
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
        self.stage.last_error = None;
        let text = format!("{action:?}");
        self.begin(self.clients, machine, action);
        let until = self.stage.world.time() + ANSWERED_MICROS;
        let done = self.advance(until, |run| run.flights.is_empty())?;
        let error = self.stage.last_error.clone();
        self.stage.must(done && error.is_none(), || format!("after healing {text} failed: {error:?}"))
    }

    fn rest(&mut self, client: usize) {
        if client < self.clients {
            let think = crate::network::geometric(&mut self.rng, self.think) + 1;
            self.stage.world.set_timer(think, client as u64);
        }
    }

    fn act(&mut self, client: usize) {
        if !self.stage.clients_work {
            return;
        }
        let machine = self.rng.index(self.stage.machines());
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
        self.begin(client, machine, action);
    }

    fn begin(&mut self, client: usize, machine: usize, action: Action) {
        let time = self.stage.world.time();
        let token = match &action {
            Action::Add { .. } | Action::Batch { .. } => self.tokens.token(&mut self.rng, time),
            Action::Read { .. } | Action::Rows { .. } => None,
        };
        self.send(machine, Flight { client, action, token, attempts: 0, maybe: false, done: false });
    }

    fn send(&mut self, machine: usize, flight: Flight) {
        let schema = self.stage.world.view(machine).map(|view| view.schema.clone());
        let request = schema.and_then(|schema| self.request(&schema, &flight));
        let Some(id) = request.and_then(|request| self.stage.world.request(machine, request)) else {
            // Nobody listens: this attempt never left the client.
            return match flight.attempts {
                0 => self.rest(flight.client),
                _ => self.failed(Flight { attempts: flight.attempts + 1, ..flight }),
            };
        };
        if flight.attempts == 0 {
            match &flight.action {
                Action::Add { counter, by } => self.known[*counter].asked += by,
                Action::Batch { number, places } => {
                    self.entries.insert(*number, Entry { places: places.clone(), applied: None });
                }
                Action::Read { .. } | Action::Rows { .. } => {}
            }
        }
        self.flights.insert(id, Flight { attempts: flight.attempts + 1, ..flight });
    }

    fn bind(schema: &Schema, text: &str, values: &[BoundValue]) -> Option<Bound> {
        let prepared = query::prepare(text, schema, Some(KEYSPACE)).ok()?;
        let context = query::EvaluationContext::new(model::WallMicros(0), 0);
        Some(prepared.bind(values, context).unwrap_or_else(|error| unreachable!("{text}: {error}")))
    }

    fn request(&mut self, schema: &Schema, flight: &Flight) -> Option<Request> {
        let (action, token) = (&flight.action, flight.token);
        let timeout = if self.stage.clients_work { self.timeout } else { Duration::from_secs(20) };
        let consistency = Consistency::Quorum;
        match action {
            // Counters of even numbers are regular columns, the others static ones.
            Action::Add { counter, by } => {
                let (column, row) = if counter.is_multiple_of(2) { ("v", " AND c = 0") } else { ("s", "") };
                let text = format!("UPDATE n SET {column} = {column} + ? WHERE k = ?{row}");
                match Self::bind(schema, &text, &[bigint(*by), int(*counter as i32)])? {
                    Bound::Write(write) => Some(Request::Write { write, consistency, timestamp: None, token, timeout }),
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
                        Some(Request::Batch { writes, consistency, timestamp: None, token, timeout })
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

    fn replied(&mut self, id: RequestId, result: Result<Response, RequestError>) -> Result<(), Violation> {
        let Some(flight) = self.flights.remove(&id) else { return Ok(()) };
        self.stage.tell(format!("{flight:?} {result:?}"));
        let response = match result {
            Err(error) => {
                let maybe = flight.maybe || error.applied() == Applied::Maybe;
                self.stage.last_error = Some(error);
                self.failed(Flight { maybe, ..flight });
                return Ok(());
            }
            Ok(response) => response,
        };
        if flight.token.is_some() && !flight.done && self.rng.below(4) == 0 {
            // Once more, though it is done.
            let machine = self.rng.index(self.stage.machines());
            self.send(machine, Flight { done: true, ..flight.clone() });
        } else {
            self.rest(flight.client);
        }
        match (flight.action, response) {
            (_, Response::Written) if flight.done => {}
            (Action::Add { counter, by }, Response::Written) => {
                self.counted += 1;
                self.known[counter].acknowledged += by;
            }
            (Action::Batch { number, .. }, Response::Written) => self.note_batch(number, true),
            (Action::Read { counter, floor }, Response::Rows { rows, .. }) => {
                let value = rows.first().and_then(|row| row[0].as_ref());
                let value = value.map_or(0, |wire| u64::from_be_bytes(wire[..].try_into().unwrap_or_default()));
                self.note_read(counter, floor, value)?;
            }
            (Action::Rows { table, partition }, Response::Rows { rows, .. }) => {
                let number = |row: &Vec<Option<Bytes>>| {
                    let wire = row[0].as_ref().and_then(|wire| wire[..].try_into().ok());
                    wire.map(i32::from_be_bytes)
                };
                self.found.insert((table, partition), rows.iter().filter_map(number).collect());
            }
            (action, response) => {
                let text = format!("{action:?} was answered with {response:?}");
                return Err(Violation::new("replies", text));
            }
        }
        Ok(())
    }

    /// An attempt has failed: the client tries again, or gives up.
    fn failed(&mut self, flight: Flight) {
        if flight.token.is_some() && !flight.done && self.tokens.try_again(flight.attempts) {
            let (pause, timer) = self.pausing.pause(&mut self.rng, flight);
            return self.stage.world.set_timer(pause, timer);
        }
        self.give_up(&flight);
    }

    /// The client asks no more.
    fn give_up(&mut self, flight: &Flight) {
        self.rest(flight.client);
        if flight.done {
            return;
        }
        let certainly_not = !flight.maybe;
        self.nothing += u64::from(certainly_not);
        match &flight.action {
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

    fn note_read(&mut self, counter: usize, floor: u64, value: u64) -> Result<(), Violation> {
        self.reads += 1;
        self.last_value = Some(value);
        let known = &mut self.known[counter];
        known.seen = known.seen.max(value);
        let asked = known.asked;
        if value < floor || value > asked {
            let text = format!("counter {counter} is {value}: at least {floor} was counted, at most {asked}");
            return Err(Violation::new("counters", text));
        }
        Ok(())
    }
}

impl Run for Counters {
    type Counts = Counted;

    fn stage(&self) -> &Stage {
        &self.stage
    }

    fn stage_mut(&mut self) -> &mut Stage {
        &mut self.stage
    }

    fn phases(&mut self, under_faults: u64) -> Result<(), Failure> {
        self.found(self.replicas, &TABLES)?;
        self.work(under_faults)?;
        let until = self.stage.world.time() + REPLAY_MICROS;
        self.advance(until, |_| false)?;
        self.check_counters()?;
        self.check_batches()
    }

    fn occurred(&mut self, occurrence: Occurrence) -> Result<(), Violation> {
        match occurrence {
            Occurrence::Timer(client) if client < self.clients as u64 => self.act(client as usize),
            Occurrence::Timer(timer) => {
                if let Some(flight) = self.pausing.resume(timer) {
                    let machine = self.rng.index(self.stage.machines());
                    self.send(machine, flight);
                }
            }
            Occurrence::Replied { id, result } => return self.replied(id, result),
            Occurrence::Lost(id) => {
                if let Some(flight) = self.flights.remove(&id) {
                    self.stage.last_error = Some(RequestError::NotServing("the process died".to_owned()));
                    self.failed(Flight { maybe: true, ..flight });
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn start_clients(&mut self) {
        (0..self.clients).for_each(|client| self.rest(client));
    }

    fn is_answered(&self) -> bool {
        self.flights.is_empty() && self.pausing.is_empty()
    }

    fn end(self) -> (Stage, Counted) {
        let batches = self.entries.values().filter(|entry| entry.applied == Some(true)).count() as u64;
        let Counters { stage, counted, reads, unknown, finished, nothing, .. } = self;
        (stage, Counted { counted, batches, reads, unknown, finished, nothing })
    }
}
