//! One run of one seed for transactions: clients compare and set registers, and read them, by lightweight transactions
//! while faults come and go; then everything is healed, and the history of each register must be linearizable.
//!
//! A register is a row of a partition of its own, or the static column of one. Clients read at SERIAL and write
//! with IF: each answer says what it was, or that it is not known, or that nothing happened; the last is believed.
//!
//! Some writes have a retry token. They are tried again, at other nodes, until the answer is known, and are one
//! operation in the history, which had to happen once; and sometimes again after that: the answer must be the same.

use crate::clock::TrueTime;
use crate::fault::FaultPlan;
use crate::oracle::Violation;
use crate::oracle::linearizability::{Entry, Register, RegisterOperation, Verdict, check};
use crate::stage::{ANSWERED_MICROS, Failure, Options, Pausing, Report, Run, SERVED_WITHIN, Stage, Tokens, draw_build};
use crate::workload::KEYSPACE;
use crate::world::{Build, Occurrence, World};
use bytes::Bytes;
use model::error::Applied;
use model::schema::Schema;
use model::{Consistency, RequestError, RetryToken, Rng};
use node::{Request, RequestId, Response};
use query::{Bound, BoundValue};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The table of the registers.
const TABLE: &str = "CREATE TABLE IF NOT EXISTS r (p int, c int, v bigint, s bigint STATIC, PRIMARY KEY (p, c))";

/// Steps of the search for an order of the history of one register.
const STEPS_MAX: u64 = 20_000_000;

/// What the clients did.
#[derive(Clone, Debug)]
pub struct Transacted {
    /// Operations whose order was checked.
    pub checked: u64,
    /// Those of them that were applied, or read something.
    pub decided: u64,
    /// Those of them whose outcome is not known.
    pub unknown: u64,
    /// Operations that did certainly nothing: timed out, or refused for lack of replicas or room.
    pub nothing: u64,
}

/// What a client does.
#[derive(Clone, Copy, Debug)]
enum Action {
    Read,
    CompareAndSet { from: Option<u64>, to: Option<u64> },
}

/// Whether a write was applied, and if not what was there.
type Told = (bool, Option<u64>);

/// A request on its way.
#[derive(Clone, Copy, Debug)]
struct Flight {
    client: usize,
    register: usize,
    action: Action,
    /// When it was sent first.
    called: TrueTime,
    /// Names it, if it may be sent again.
    token: Option<RetryToken>,
    /// How often it was sent.
    attempts: u32,
    /// True once an attempt may have had an effect.
    maybe: bool,
    /// What an earlier attempt was told.
    told: Option<Told>,
}

struct Transactions {
    stage: Stage,
    rng: Rng,
    clients: usize,
    registers: usize,
    think: u64,
    tokens: Tokens,
    timeout: Duration,
    replicas: usize,
    flights: BTreeMap<RequestId, Flight>,
    pausing: Pausing<Flight>,
    histories: Vec<Vec<Entry<RegisterOperation>>>,
    /// What each client believes of each register.
    believed: BTreeMap<(usize, usize), Option<u64>>,
    next_value: u64,
    nothing: u64,
}

/// Runs one seed.
#[must_use]
pub fn run_transactions(options: &Options) -> Report<Transacted> {
    Transactions::draw(options).play(options)
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
        let (tokens, build) = Tokens::draw(&mut rng, build);
        let plan = FaultPlan::draw(rng.fork(), machines, build.durability);
        let world = World::new(build, plan.network.clone(), rng.next_u64(), options.full);
        let mut chosen = |choices: &[u64]| choices[rng.index(choices.len())];
        let (clients, registers) = (chosen(&[4, 10, 20]) as usize, chosen(&[1, 2, 4]) as usize);
        let (think, timeout) = (chosen(&[100, 1_000, 10_000]), Duration::from_millis(chosen(&[200, 1_000, 3_000])));
        Transactions {
            stage: Stage::new(world, plan),
            rng,
            clients,
            registers,
            think,
            tokens,
            timeout,
            replicas,
            flights: BTreeMap::new(),
            pausing: Pausing::new(),
            histories: vec![Vec::new(); registers],
            believed: BTreeMap::new(),
            next_value: 0,
            nothing: 0,
        }
    }

    /// Every node reads every register, and they agree with the history.
    fn read_everywhere(&mut self) -> Result<(), Failure> {
        // The shortest timeouts are there to be missed: a read may have to end a change that was left in the middle.
        self.timeout = SERVED_WITHIN;
        for register in 0..self.registers {
            for machine in 0..self.stage.machines() {
                self.stage.last_error = None;
                self.begin(self.clients, machine, register, Action::Read);
                let until = self.stage.world.time() + ANSWERED_MICROS;
                let done = self.advance(until, |run| run.flights.is_empty())?;
                let error = self.stage.last_error.clone();
                self.stage
                    .must(done && error.is_none(), || format!("after healing a serial read failed: {error:?}"))?;
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<(), Failure> {
        for (register, history) in self.histories.iter().enumerate() {
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

    fn rest(&mut self, client: usize) {
        if client < self.clients {
            let think = crate::network::geometric(&mut self.rng, self.think) + 1;
            self.stage.world.set_timer(think, client as u64);
        }
    }

    /// A client does something with a register: most often it goes on from what it believes.
    fn act(&mut self, client: usize) {
        if !self.stage.clients_work {
            return;
        }
        let machine = self.rng.index(self.stage.machines());
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
        self.begin(client, machine, register, action);
    }

    fn begin(&mut self, client: usize, machine: usize, register: usize, action: Action) {
        let called = self.stage.world.time();
        let token = match action {
            Action::Read => None,
            Action::CompareAndSet { .. } => self.tokens.token(&mut self.rng, called),
        };
        self.send(machine, Flight { client, register, action, called, token, attempts: 0, maybe: false, told: None });
    }

    fn send(&mut self, machine: usize, flight: Flight) {
        let schema = self.stage.world.view(machine).map(|view| view.schema.clone());
        let request = schema.and_then(|schema| self.request(&schema, &flight));
        match request.and_then(|request| self.stage.world.request(machine, request)) {
            Some(id) => drop(self.flights.insert(id, Flight { attempts: flight.attempts + 1, ..flight })),
            // Nobody listens: this attempt never left the client.
            None if flight.attempts == 0 => self.give_up(flight),
            None => self.failed(Flight { attempts: flight.attempts + 1, ..flight }),
        }
    }

    /// The client asks no more.
    fn give_up(&mut self, flight: Flight) {
        match (flight.told, flight.maybe) {
            // It was noted when it was told.
            (Some(_), _) => {}
            (None, true) => self.note(flight, None),
            (None, false) => self.nothing += u64::from(flight.attempts > 0),
        }
        self.rest(flight.client);
    }

    /// An attempt has failed: the client tries again, or gives up.
    fn failed(&mut self, flight: Flight) {
        if flight.told.is_none() && flight.token.is_some() && self.tokens.try_again(flight.attempts) {
            let (pause, timer) = self.pausing.pause(&mut self.rng, flight);
            return self.stage.world.set_timer(pause, timer);
        }
        self.give_up(flight);
    }

    /// Registers of even numbers are rows, the others static columns.
    fn request(&mut self, schema: &Schema, flight: &Flight) -> Option<Request> {
        let Flight { register, action, token, .. } = *flight;
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
                Some(Request::Conditional {
                    write: Box::new(write),
                    consistency,
                    serial: Consistency::Serial,
                    token,
                    timeout,
                })
            }
            other => unreachable!("{text}: {other:?}"),
        }
    }

    fn replied(&mut self, id: RequestId, result: Result<Response, RequestError>) -> Result<(), Violation> {
        let Some(flight) = self.flights.remove(&id) else { return Ok(()) };
        let believed = (flight.client, flight.register);
        match (flight.action, result) {
            (Action::Read, Ok(Response::Rows { rows, .. })) => {
                let seen = rows.first().and_then(|row| number(row[0].as_ref()));
                self.believed.insert(believed, seen);
                self.note(flight, Some(RegisterOperation::Read(seen)));
                self.rest(flight.client);
            }
            (Action::CompareAndSet { from, to }, Ok(Response::Conditional(result))) => {
                let applied = result.rows[0][0].as_deref() == Some(&[1]);
                let place = result.columns.iter().position(|column| column.name == "v" || column.name == "s");
                let place = result.columns.iter().position(|column| column.name == "v").or(place);
                let shown = place.and_then(|place| number(result.rows[0][place].as_ref())).filter(|_| !applied);
                self.told(flight, (from, to), (applied, shown))?;
            }
            (_, Err(error)) => {
                // What is said to be without effect is held to it.
                let maybe = flight.maybe || error.applied() == Applied::Maybe;
                self.stage.last_error = Some(error);
                self.failed(Flight { maybe, ..flight });
            }
            (action, result) => {
                let text = format!("{action:?} was answered with {result:?}");
                return Err(Violation::new("replies", text));
            }
        }
        Ok(())
    }

    /// A client is told what came of its write, maybe not for the first time.
    fn told(&mut self, flight: Flight, (from, to): (Option<u64>, Option<u64>), told: Told) -> Result<(), Violation> {
        if let Some(before) = flight.told {
            self.stage.tell(format!("again {flight:?}: {told:?}"));
            self.rest(flight.client);
            let text = || format!("{flight:?} was answered with {before:?}, and then with {told:?}");
            return if before == told { Ok(()) } else { Err(Violation::new("retry tokens", text())) };
        }
        let (applied, shown) = told;
        self.believed.insert((flight.client, flight.register), if applied { to } else { shown });
        let applied = Some(applied);
        self.note(flight, Some(RegisterOperation::CompareAndSet { from, to, applied, shown }));
        if flight.token.is_some() && self.rng.below(4) == 0 {
            let machine = self.rng.index(self.stage.machines());
            self.send(machine, Flight { told: Some(told), ..flight });
        } else {
            self.rest(flight.client);
        }
        Ok(())
    }

    /// Enters an operation into the history of its register; without a result its outcome is not known.
    fn note(&mut self, flight: Flight, operation: Option<RegisterOperation>) {
        let returned = operation.is_some().then(|| self.stage.world.time());
        let operation = match (operation, flight.action) {
            (Some(operation), _) => operation,
            // A read without an answer says nothing.
            (None, Action::Read) => return,
            (None, Action::CompareAndSet { from, to }) => {
                RegisterOperation::CompareAndSet { from, to, applied: None, shown: None }
            }
        };
        self.stage.tell(format!("r{} {operation:?} since {}", flight.register, flight.called));
        self.histories[flight.register].push(Entry { called: flight.called, returned, operation });
    }
}

impl Run for Transactions {
    type Counts = Transacted;

    fn stage(&self) -> &Stage {
        &self.stage
    }

    fn stage_mut(&mut self) -> &mut Stage {
        &mut self.stage
    }

    fn phases(&mut self, under_faults: u64) -> Result<(), Failure> {
        self.found(self.replicas, &[TABLE])?;
        self.work(under_faults)?;
        self.read_everywhere()?;
        self.check()
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

    fn end(self) -> (Stage, Transacted) {
        let all = || self.histories.iter().flatten();
        let (checked, unknown) = (all().count() as u64, all().filter(|entry| entry.returned.is_none()).count() as u64);
        let counts = Transacted { checked, decided: checked - unknown, unknown, nothing: self.nothing };
        (self.stage, counts)
    }
}
