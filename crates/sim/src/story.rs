//! A cluster for a told story: a test that crashes, cuts and asks step by step, and is the permanent form of a
//! regression. A seed is evidence for one commit only; a story stays.

use crate::clock::TrueTime;
use crate::fault::FaultStep;
use crate::network::NetworkProfile;
use crate::oracle::Violation;
use crate::workload::{KEYSPACE, schema_change};
use crate::world::{Build, Occurrence, World};
use model::{Consistency, Epoch, RequestError, TableId};
use node::{Request, RequestId, Response};
use query::Bound;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How long a story waits for what must come.
const PATIENCE_MICROS: u64 = 120_000_000;

/// What a request came to.
#[derive(Clone, Debug)]
pub enum Ending {
    /// Of a write or read.
    Replied(Result<Response, RequestError>),
    /// Of a change of the schema.
    Decided(Result<Epoch, RequestError>),
    /// The process died first.
    Lost,
}

/// A cluster and what has become of its requests.
pub struct Story {
    /// The cluster.
    pub world: World,
    endings: BTreeMap<RequestId, Ending>,
    tables: u128,
    /// How long requests may take.
    pub timeout: Duration,
}

impl Story {
    /// A healthy cluster of so many nodes, all joined, with the keyspace `k` of up to three replicas.
    #[must_use]
    pub fn of(machines: usize) -> Story {
        Story::build(Build::plain(machines))
    }

    /// A healthy cluster built like this, all joined, with the keyspace `k` of up to three replicas in each data
    /// centre.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn build(build: Build) -> Story {
        let machines = build.machines;
        let mut story = Story::before_boot(build);
        (0..machines).for_each(|machine| story.world.start(machine));
        story.until("all have joined", |world| {
            (0..machines).all(|machine| world.view(machine).is_some_and(|view| view.members.len() == machines))
        });
        let build = story.world.build();
        let within = |data_center| (0..machines).filter(|machine| build.data_center(*machine) == data_center).count();
        let replicas: Vec<usize> = (0..build.data_centers).map(|data_center| within(data_center).min(3)).collect();
        let keyspace = build.create_keyspace(KEYSPACE, &replicas);
        story.change(0, &keyspace).expect("the keyspace can be created");
        story
    }

    /// Machines of which none has started yet.
    #[must_use]
    pub fn before_boot(build: Build) -> Story {
        let world = World::new(build, NetworkProfile::calm(), 1, false);
        Story { world, endings: BTreeMap::new(), tables: 0, timeout: Duration::from_secs(2) }
    }

    /// Lets the world go on until `time`.
    ///
    /// # Panics
    /// When the world finds something wrong.
    fn go_on(&mut self, time: TrueTime, enough: impl Fn(&World, &BTreeMap<RequestId, Ending>) -> bool) -> bool {
        loop {
            if enough(&self.world, &self.endings) {
                return true;
            }
            if !self.world.step(time) {
                return false;
            }
            while let Some(occurrence) = self.world.occurred() {
                match occurrence {
                    Occurrence::Replied { id, result } => drop(self.endings.insert(id, Ending::Replied(result))),
                    Occurrence::Decided { id, result } => drop(self.endings.insert(id, Ending::Decided(result))),
                    Occurrence::Lost(id) => drop(self.endings.insert(id, Ending::Lost)),
                    Occurrence::Wrong(Violation { oracle, text }) => self.fail(&format!("{oracle}: {text}")),
                    Occurrence::Stopped { machine, reason, expected: false } => {
                        self.fail(&format!("node {machine} stopped by itself: {reason}"));
                    }
                    _ => {}
                }
            }
        }
    }

    fn fail(&self, why: &str) -> ! {
        panic!("{why}\n{}", self.world.trace.story(200));
    }

    /// Lets so many milliseconds pass.
    pub fn pass(&mut self, milliseconds: u64) {
        let time = self.world.time() + milliseconds * 1_000;
        self.go_on(time, |_, _| false);
    }

    /// Lets time pass until `enough`.
    ///
    /// # Panics
    /// When that does not come.
    pub fn until(&mut self, what: &str, enough: impl Fn(&World) -> bool) {
        let time = self.world.time() + PATIENCE_MICROS;
        if !self.go_on(time, |world, _| enough(world)) {
            self.fail(&format!("did not come to pass: {what}"));
        }
    }

    /// Lets time pass until a request has ended.
    ///
    /// # Panics
    /// When it never does.
    pub fn ending(&mut self, id: RequestId) -> Ending {
        let time = self.world.time() + PATIENCE_MICROS;
        if !self.go_on(time, |_, endings| endings.contains_key(&id)) {
            self.fail("a request is never answered");
        }
        self.endings[&id].clone()
    }

    /// Takes a step of a fault.
    pub fn fault(&mut self, step: FaultStep) {
        self.world.fault(step);
    }

    /// Kills the process of a machine; its disk keeps everything that the operating system has.
    pub fn kill(&mut self, machine: usize) {
        self.fault(FaultStep::Crash { machine, power_loss: false });
    }

    /// Starts the process of a machine.
    pub fn start(&mut self, machine: usize) {
        self.fault(FaultStep::Start(machine));
    }

    /// Cuts a machine off from all others, or connects it again.
    pub fn isolate(&mut self, machine: usize, isolated: bool) {
        let others = (0..self.world.build().machines).filter(|other| *other != machine);
        let links = others.flat_map(|other| [(machine, other), (other, machine)]).collect();
        self.fault(if isolated { FaultStep::Block(links) } else { FaultStep::Open(links) });
    }

    /// Executes a schema statement on a machine.
    ///
    /// # Errors
    /// As the node answers.
    pub fn change(&mut self, machine: usize, text: &str) -> Result<Epoch, RequestError> {
        let id = self.propose(machine, text).expect("a process that listens");
        match self.ending(id) {
            Ending::Decided(result) => result,
            other => self.fail(&format!("'{text}' ended as {other:?}")),
        }
    }

    /// Proposes a schema statement on a machine and does not wait for the answer; `None` when nobody listens.
    pub fn propose(&mut self, machine: usize, text: &str) -> Option<RequestId> {
        self.tables += 1;
        self.world.propose(machine, schema_change(text, TableId(self.tables)))
    }

    /// Creates a table with the columns `p`, `c`, `v` on every node.
    pub fn create_table(&mut self, name: &str) {
        let text = format!("CREATE TABLE {name} (p int, c int, v text, PRIMARY KEY (p, c))");
        self.change(0, &text).expect("the table can be created");
        let name = name.to_owned();
        let machines = self.world.build().machines;
        self.until("every node knows the table", |world| {
            let knows =
                |machine| world.view(machine).is_some_and(|view| view.schema.find_table(KEYSPACE, &name).is_ok());
            (0..machines).filter(|machine| world.is_running(*machine)).all(knows)
        });
    }

    /// Sends a statement to a machine and does not wait for the answer.
    ///
    /// # Errors
    /// When it cannot be bound there, or nobody listens.
    pub fn send(&mut self, machine: usize, text: &str, consistency: Consistency) -> Result<RequestId, RequestError> {
        let nobody = || RequestError::NotServing("nobody listens".to_owned());
        let view = self.world.view(machine).ok_or_else(nobody)?.clone();
        let timeout = self.timeout;
        let request = match query::prepare(text, &view.schema, Some(KEYSPACE))?
            .bind(&[], query::EvaluationContext::new(model::WallMicros(0), 0))?
        {
            Bound::Write(write) => Request::Write { write, consistency, timestamp: None, token: None, timeout },
            Bound::Read(read) => {
                let read = Arc::new(read);
                let (page_rows, paging_state) = (5_000, None);
                Request::Read { read, consistency, page_rows, paging_state, timeout }
            }
            other => panic!("'{text}' is no statement on data: {other:?}"),
        };
        self.world.request(machine, request).ok_or_else(nobody)
    }

    /// Executes a statement on a machine.
    ///
    /// # Errors
    /// As the node answers; `NotServing` when its process dies first.
    pub fn execute(&mut self, machine: usize, text: &str, consistency: Consistency) -> Result<Response, RequestError> {
        let id = self.send(machine, text, consistency)?;
        match self.ending(id) {
            Ending::Replied(result) => result,
            Ending::Lost => Err(RequestError::NotServing("the process died".to_owned())),
            Ending::Decided(_) => self.fail("a statement on data was decided"),
        }
    }

    /// The values of column `v` that a SELECT finds.
    ///
    /// # Errors
    /// As the node answers.
    pub fn values(
        &mut self,
        machine: usize,
        text: &str,
        consistency: Consistency,
    ) -> Result<Vec<String>, RequestError> {
        match self.execute(machine, text, consistency)? {
            Response::Rows { rows, .. } => {
                let value = |row: &Vec<Option<bytes::Bytes>>| {
                    let value = row.last().and_then(Option::as_ref);
                    value.map_or_else(|| "null".to_owned(), |value| String::from_utf8_lossy(value).into_owned())
                };
                Ok(rows.iter().map(value).collect())
            }
            Response::Written | Response::Conditional(_) => self.fail("a read was answered as a write"),
        }
    }
}
