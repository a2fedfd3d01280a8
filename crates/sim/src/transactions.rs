//! One run of one seed for transactions: clients compare and set registers, and read them, by lightweight transactions
//! while faults come and go; then everything is healed, and the history of each register must be linearizable.
//!
//! A register is a row of a partition of its own, or the static column of one. Clients read at SERIAL and write
//! with IF: each answer says what it was, or that it is not known, or that nothing happened; the last is believed.

use crate::clock::TrueTime;
use crate::fault::{FaultKind, FaultPlan, FaultStep};
use crate::oracle::Violation;
use crate::oracle::linearizability::{Entry, Register, RegisterOperation, Verdict, check};
use crate::simulation::{Failure, Options, Run, SERVED_WITHIN, draw_build};
use crate::trace::Subject;
use crate::workload::{KEYSPACE, schema_change};
use crate::world::{Build, Occurrence, World};
use bytes::Bytes;
use model::error::Applied;
use model::schema::Schema;
use model::{Consistency, RequestError, Rng, TableId};
use node::{Request, RequestId, Response};
use query::{Bound, BoundValue};
use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

/// The table of the registers.
const TABLE: &str = "CREATE TABLE IF NOT EXISTS r (p int, c int, v bigint, s bigint STATIC, PRIMARY KEY (p, c))";

/// Token of the timer of the next fault; clients have their index.
const FAULT_TIMER: u64 = 1 << 32;

/// A few nodes have joined within this time after the start.
const BOOT_MICROS: u64 = 120_000_000;

/// Once everything is healed, everything is decided within this time.
const GRACE_MICROS: u64 = 30_000_000;

/// Clients go on for so long once everything is healed.
const HEALED_MICROS: u64 = 5_000_000;

/// Steps of the search for an order of the history of one register.
const STEPS_MAX: u64 = 20_000_000;

/// Lines of the story in a report.
const STORY_LINES: usize = 400;

/// What came of a run.
#[derive(Clone, Debug)]
pub struct TransactionReport {
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
    /// Operations whose order was checked.
    pub checked: u64,
    /// Those of them that were applied, or read something.
    pub decided: u64,
    /// Those of them whose outcome is not known.
    pub unknown: u64,
    /// Operations that did certainly nothing: timed out, or refused for lack of replicas or room.
    pub nothing: u64,
    /// Faults injected, by kind.
    pub faults: BTreeMap<FaultKind, u64>,
    /// What went wrong, if anything.
    pub failure: Option<Failure>,
    /// The story of the run, for people; empty when nothing went wrong.
    pub story: String,
}

/// What a client does.
#[derive(Clone, Copy, Debug)]
enum Action {
    Read,
    CompareAndSet { from: Option<u64>, to: Option<u64> },
}

/// A request on its way.
#[derive(Clone, Copy, Debug)]
struct Flight {
    client: usize,
    register: usize,
    action: Action,
    called: TrueTime,
}

struct Transactions {
    world: World,
    plan: FaultPlan,
    rng: Rng,
    clients: usize,
    registers: usize,
    think: u64,
    timeout: Duration,
    replicas: usize,
    flights: BTreeMap<RequestId, Flight>,
    histories: Vec<Vec<Entry<RegisterOperation>>>,
    /// What each client believes of each register.
    believed: BTreeMap<(usize, usize), Option<u64>>,
    next_value: u64,
    clients_work: bool,
    faults_on: bool,
    nothing: u64,
    failure: Option<Failure>,
    last_error: Option<RequestError>,
}

/// Runs one seed.
#[must_use]
pub fn run_transactions(options: &Options) -> TransactionReport {
    let mut run = Transactions::draw(options);
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

/// The history without those operations of unknown outcome that cannot have had an effect: of which nobody has seen the
/// value, nor gone on from it. Values are unique: had one been set, no other operation could have changed it, and the
/// reads at the end would have seen it. Without them the search is much shorter, and its verdict the same.
fn without_ineffective(history: &[Entry<RegisterOperation>]) -> Vec<Entry<RegisterOperation>> {
    let mut known = BTreeSet::new();
    for entry in history {
        match entry.operation {
            RegisterOperation::Read(seen) => known.extend(seen),
            RegisterOperation::CompareAndSet { from, shown, .. } => known.extend([from, shown].into_iter().flatten()),
            RegisterOperation::Increment { .. } => {}
        }
    }
    let may_matter = |entry: &&Entry<RegisterOperation>| match (entry.returned, entry.operation) {
        (None, RegisterOperation::CompareAndSet { to: Some(to), .. }) => known.contains(&to),
        _ => true,
    };
    history.iter().filter(may_matter).copied().collect()
}

fn bigint(value: u64) -> BoundValue {
    BoundValue::Value(Bytes::copy_from_slice(&value.to_be_bytes()))
}

fn int(value: usize) -> BoundValue {
    BoundValue::Value(Bytes::copy_from_slice(&(value as i32).to_be_bytes()))
}

fn number(value: Option<&Bytes>) -> Option<u64> {
    value.and_then(|wire| <[u8; 8]>::try_from(wire.as_ref()).ok()).map(u64::from_be_bytes)
}

impl Transactions {
    fn draw(options: &Options) -> Transactions {
        let mut rng = Rng::new(options.seed ^ 0x7a45_ac71_0e5e_ed00);
        let machines = options.machines.unwrap_or_else(|| [1, 3, 3, 3, 3, 4, 5][rng.index(7)]);
        let replicas = [1, 2, 3, 3, 3, 3, 5][rng.index(7)].min(machines);
        let build = draw_build(&mut rng, machines, options.planted);
        // A replica that takes on very little at a time decides nothing.
        let build = Build { replica_ops_max: 65_536, ..build };
        let plan = FaultPlan::draw(rng.fork(), machines, build.durability);
        let world = World::new(build, plan.network.clone(), rng.next_u64(), options.full);
        let mut chosen = |choices: &[u64]| choices[rng.index(choices.len())];
        let (clients, registers) = (chosen(&[4, 10, 20]) as usize, chosen(&[1, 2, 4]) as usize);
        let (think, timeout) = (chosen(&[100, 1_000, 10_000]), Duration::from_millis(chosen(&[200, 1_000, 3_000])));
        Transactions {
            world,
            plan,
            rng,
            clients,
            registers,
            think,
            timeout,
            replicas,
            flights: BTreeMap::new(),
            histories: vec![Vec::new(); registers],
            believed: BTreeMap::new(),
            next_value: 0,
            clients_work: false,
            faults_on: false,
            nothing: 0,
            failure: None,
            last_error: None,
        }
    }

    fn report(self, seed: u64) -> TransactionReport {
        let all = || self.histories.iter().flatten();
        let unknown = all().filter(|entry| entry.returned.is_none()).count() as u64;
        let checked = all().count() as u64;
        let story = if self.failure.is_some() { self.world.trace.story(STORY_LINES) } else { String::new() };
        TransactionReport {
            seed,
            machines: self.world.build().machines,
            hash: self.world.trace.hash(),
            events: self.world.handled(),
            simulated: self.world.time(),
            checked,
            decided: checked - unknown,
            unknown,
            nothing: self.nothing,
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
        self.read_everywhere()?;
        self.check()
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
        for (id, text) in [keyspace.as_str(), TABLE].into_iter().enumerate() {
            self.world.propose(0, schema_change(text, TableId(id as u128 + 1)));
            let until = self.world.time() + BOOT_MICROS;
            let known = self.advance(until, |run| {
                let known = |schema: &Schema| match id {
                    0 => schema.keyspace(KEYSPACE).is_some(),
                    _ => schema.find_table(KEYSPACE, "r").is_ok(),
                };
                (0..machines).all(|machine| run.world.view(machine).is_some_and(|view| known(&view.schema)))
            })?;
            self.must(known, || format!("not all nodes know the schema: {text}"))?;
        }
        Ok(())
    }

    /// Every node reads every register, and they agree with the history.
    fn read_everywhere(&mut self) -> Result<(), Failure> {
        // The shortest timeouts are there to be missed: a read may have to end a change that was left in the middle.
        self.timeout = SERVED_WITHIN;
        for register in 0..self.registers {
            for machine in 0..self.world.build().machines {
                self.last_error = None;
                self.send(self.clients, machine, register, Action::Read);
                let until = self.world.time() + GRACE_MICROS;
                let done = self.advance(until, |run| run.flights.is_empty())?;
                let error = self.last_error.clone();
                self.must(done && error.is_none(), || format!("after healing a serial read failed: {error:?}"))?;
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<(), Failure> {
        for (register, history) in self.histories.iter().enumerate() {
            let history = &without_ineffective(history);
            let text = match check(&Register, None, history, STEPS_MAX) {
                Verdict::Linearizable => continue,
                Verdict::Undecided => format!("the history of register {register} is too long to be checked"),
                Verdict::Violated(longest) => {
                    let around = history.iter().skip(longest.saturating_sub(30)).take(60);
                    let told: Vec<String> = around.map(|entry| format!("{entry:?}")).collect();
                    let count = history.len();
                    format!(
                        "of {count} operations on register {register} at most {longest} can be put in order:\n{}",
                        told.join("\n")
                    )
                }
            };
            return Err(Failure::Correctness(Violation::new("linearizability", text)));
        }
        Ok(())
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

    /// A client does something with a register: most often it goes on from what it believes.
    fn act(&mut self, client: usize) {
        if !self.clients_work {
            return;
        }
        let machine = self.rng.index(self.world.build().machines);
        let register = self.rng.index(self.registers);
        let from = self.believed.get(&(client, register)).copied().flatten();
        self.next_value += 1;
        let to = Some(self.next_value);
        let action = match self.rng.below(10) {
            0..3 => Action::Read,
            3 => Action::CompareAndSet { from: None, to },
            // The static column is never deleted with a row.
            4 if register.is_multiple_of(2) && from.is_some() => Action::CompareAndSet { from, to: None },
            _ => Action::CompareAndSet { from, to },
        };
        self.send(client, machine, register, action);
    }

    fn send(&mut self, client: usize, machine: usize, register: usize, action: Action) {
        let Some(schema) = self.world.view(machine).map(|view| view.schema.clone()) else { return self.rest(client) };
        let Some(request) = self.request(&schema, register, action) else { return self.rest(client) };
        let called = self.world.time();
        match self.world.request(machine, request) {
            Some(id) => drop(self.flights.insert(id, Flight { client, register, action, called })),
            // Nobody listens: the request never left the client.
            None => self.rest(client),
        }
    }

    /// Registers of even numbers are rows, the others static columns.
    fn request(&mut self, schema: &Schema, register: usize, action: Action) -> Option<Request> {
        let is_row = register.is_multiple_of(2);
        let (text, values) = match action {
            Action::Read => {
                let column = if is_row { "v" } else { "s" };
                (format!("SELECT {column} FROM r WHERE p = ?"), vec![int(register)])
            }
            Action::CompareAndSet { from: None, to } if is_row => {
                let values = vec![int(register), bigint(to.unwrap_or_default())];
                ("INSERT INTO r (p, c, v) VALUES (?, 0, ?) IF NOT EXISTS".to_owned(), values)
            }
            Action::CompareAndSet { from: Some(from), to: None } => {
                ("DELETE FROM r WHERE p = ? AND c = 0 IF v = ?".to_owned(), vec![int(register), bigint(from)])
            }
            Action::CompareAndSet { from, to } => {
                let set = if is_row { "v" } else { "s" };
                let row = if is_row { " AND c = 0" } else { "" };
                let text = format!("UPDATE r SET {set} = ? WHERE p = ?{row} IF {set} = ?");
                let from = from.map_or(BoundValue::Null, bigint);
                (text, vec![bigint(to.unwrap_or_default()), int(register), from])
            }
        };
        let prepared = query::prepare(&text, schema, Some(KEYSPACE)).ok()?;
        let context = query::EvaluationContext::new(model::WallMicros(0), 0);
        let timeout = self.timeout;
        match prepared.bind(&values, context) {
            Ok(Bound::Read(read)) => Some(Request::Read {
                read: Arc::new(read),
                consistency: Consistency::Serial,
                page_rows: u32::MAX,
                paging_state: None,
                timeout,
            }),
            Ok(Bound::Conditional(write)) => {
                let levels = [Consistency::Any, Consistency::One, Consistency::Quorum, Consistency::Quorum];
                let consistency = levels[self.rng.index(levels.len())];
                Some(Request::Conditional { write: Box::new(write), consistency, serial: Consistency::Serial, timeout })
            }
            other => unreachable!("{text}: {other:?}"),
        }
    }

    fn replied(&mut self, id: RequestId, result: Result<Response, RequestError>) {
        let Some(flight) = self.flights.remove(&id) else { return };
        let believed = (flight.client, flight.register);
        self.rest(flight.client);
        match (flight.action, result) {
            (Action::Read, Ok(Response::Rows { rows, .. })) => {
                let seen = rows.first().and_then(|row| number(row[0].as_ref()));
                self.believed.insert(believed, seen);
                self.note(flight, Some(RegisterOperation::Read(seen)));
            }
            (Action::CompareAndSet { from, to }, Ok(Response::Conditional(result))) => {
                let applied = result.rows[0][0].as_deref() == Some(&[1]);
                let place = result.columns.iter().position(|column| column.name == "v" || column.name == "s");
                let place = result.columns.iter().position(|column| column.name == "v").or(place);
                let shown = place.and_then(|place| number(result.rows[0][place].as_ref())).filter(|_| !applied);
                self.believed.insert(believed, if applied { to } else { shown });
                let applied = Some(applied);
                self.note(flight, Some(RegisterOperation::CompareAndSet { from, to, applied, shown }));
            }
            (_, Err(error)) => {
                let unknown = error.applied() == Applied::Maybe;
                self.last_error = Some(error);
                // What is said to be without effect is held to it.
                match unknown {
                    true => self.note(flight, None),
                    false => self.nothing += 1,
                }
            }
            (action, result) => {
                let text = format!("{action:?} was answered with {result:?}");
                self.failure.get_or_insert(Failure::Correctness(Violation::new("replies", text)));
            }
        }
    }

    /// Enters an operation into the history of its register; without a result its outcome is not known.
    fn note(&mut self, flight: Flight, operation: Option<RegisterOperation>) {
        let returned = operation.is_some().then(|| self.world.time());
        let operation = match (operation, flight.action) {
            (Some(operation), _) => operation,
            // A read without an answer says nothing.
            (None, Action::Read) => return,
            (None, Action::CompareAndSet { from, to }) => {
                RegisterOperation::CompareAndSet { from, to, applied: None, shown: None }
            }
        };
        let time = self.world.time();
        self.world.trace.tell(
            time,
            Subject::World,
            format!("r{} {operation:?} since {}", flight.register, flight.called),
        );
        self.histories[flight.register].push(Entry { called: flight.called, returned, operation });
    }
}

impl Run for Transactions {
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
                if let Some(flight) = self.flights.remove(&id) {
                    self.last_error = Some(RequestError::NotServing("the process died".to_owned()));
                    self.note(flight, None);
                    self.rest(flight.client);
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
