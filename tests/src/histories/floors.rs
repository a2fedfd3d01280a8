//! Plain registers, each written by one client with ascending numbers, written and read at every level. A read sees no
//! number below those that were acknowledged, or read, before it began, where the replicas of the two requests cannot
//! but meet: by the oracles of the simulator. And none that was not written, or is said not to have been.

use super::{Checked, Outcome, Run, lock};
use client::QueryResult;
use model::{Consistency, Rng, TableId};
use sim::oracle::book::{Column, Register, Version};
use sim::oracle::coverage::{Coverage, Replicas};
use sim::oracle::floors::{Floors, Snapshot};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// The table.
pub const TABLE: &str = "CREATE TABLE k.f (p int PRIMARY KEY, v bigint)";

/// Registers, each with a writer.
const REGISTERS: usize = 3;
/// Clients that read all of them.
const READERS: usize = 4;

/// What was done to a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FloorOperation {
    /// This number was written, greater than all before it.
    Write(i64),
    /// This was read.
    Read(Option<i64>),
}

/// An operation; reads are [`Outcome::Done`].
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// When it was called.
    pub called: u64,
    /// When it returned.
    pub returned: u64,
    /// At which level.
    pub level: Consistency,
    /// The data centre of the node that executed it; any for what was not done.
    pub center: usize,
    /// It.
    pub operation: FloorOperation,
    /// What became of it.
    pub outcome: Outcome<()>,
}

/// What was done to each register.
pub type History = BTreeMap<i32, Vec<Entry>>;

/// The clients and what they have done.
pub struct Registers {
    run: Arc<Run>,
    history: Mutex<History>,
}

/// Levels that clients write and read at, in clusters of several data centres and of one.
fn levels(centers: usize) -> &'static [Consistency] {
    use Consistency::{All, EachQuorum, LocalQuorum, One, Quorum, Two};
    if centers > 1 {
        &[Quorum, Quorum, LocalQuorum, LocalQuorum, LocalQuorum, EachQuorum, EachQuorum, One, All]
    } else {
        &[Quorum, Quorum, Quorum, Quorum, LocalQuorum, Two, One, All]
    }
}

fn value(result: &QueryResult) -> Option<i64> {
    result.first().and_then(|row| row.get::<Option<i64>>("v").ok()).flatten()
}

impl Registers {
    /// Nothing is done yet.
    #[must_use]
    pub fn new(run: Arc<Run>) -> Arc<Registers> {
        Arc::new(Registers { run, history: Mutex::default() })
    }

    /// How many clients work.
    #[must_use]
    pub fn clients() -> usize {
        REGISTERS + READERS
    }

    /// A client writes a register of its own, or reads all of them.
    pub async fn work(self: Arc<Registers>, client: usize, mut rng: Rng) {
        let (run, session) = (&self.run, self.run.session(client));
        let write = run.prepare(session, "UPDATE k.f SET v = ? WHERE p = ?").await;
        let read = run.prepare(session, "SELECT v FROM k.f WHERE p = ?").await;
        let who = format!("client {client} of plain registers");
        let levels = levels(run.replicas.0.len());
        let mut number = 0;
        while run.running() {
            let level = levels[rng.index(levels.len())];
            let called = run.now();
            let (register, operation, answer) = if client < REGISTERS {
                number += 1;
                let write = write.clone().consistency(level);
                let register = client as i32;
                let answer = run.execute(&who, session, &write, &(number, register), None).await;
                (register, FloorOperation::Write(number), answer)
            } else {
                let register = rng.index(REGISTERS) as i32;
                let read = read.clone().consistency(level);
                let answer = run.execute(&who, session, &read, &(register,), None).await;
                let seen = if let Outcome::Done(result) = &answer { value(result) } else { None };
                (register, FloorOperation::Read(seen), answer)
            };
            let center = if let Outcome::Done(result) = &answer { run.center_of(result) } else { 0 };
            let outcome = match answer {
                Outcome::Done(_) => Outcome::Done(()),
                Outcome::Nothing => Outcome::Nothing,
                Outcome::Unknown => Outcome::Unknown,
            };
            self.enter(register, Entry { called, returned: run.now(), level, center, operation, outcome });
            run.think(&mut rng).await;
        }
    }

    fn enter(&self, register: i32, entry: Entry) {
        lock(&self.history).entry(register).or_default().push(entry);
    }

    /// Reads every register once more, at ALL, and then at LOCAL_QUORUM in each data centre.
    ///
    /// # Errors
    /// When that does not succeed.
    pub async fn finish(&self) -> Result<(), String> {
        let registers: Vec<i32> = lock(&self.history).keys().copied().collect();
        for level in [Consistency::All, Consistency::LocalQuorum] {
            for session in &self.run.sessions {
                let read = self.run.prepare(session, "SELECT v FROM k.f WHERE p = ?").await.consistency(level);
                for register in &registers {
                    let called = self.run.now();
                    let result = self.run.read_at_last(session, &read, &(*register,)).await?;
                    let (returned, center) = (self.run.now(), self.run.center_of(&result));
                    let (operation, outcome) = (FloorOperation::Read(value(&result)), Outcome::Done(()));
                    self.enter(*register, Entry { called, returned, level, center, operation, outcome });
                }
            }
        }
        Ok(())
    }

    /// Checks what was done.
    #[must_use]
    pub fn check(&self) -> Checked {
        check_history(&self.run.replicas, &lock(&self.history))
    }
}

/// Checks every read of every register, in a cluster with these replicas.
#[must_use]
pub fn check_history(replicas: &Replicas, history: &History) -> Checked {
    let mut checked = Checked::default();
    for (register, history) in history {
        checked.operations += history.len();
        checked.unknown += history.iter().filter(|entry| entry.outcome == Outcome::Unknown).count();
        checked.violations.extend(check_register(replicas, *register, history));
    }
    checked
}

fn check_register(replicas: &Replicas, partition: i32, history: &[Entry]) -> Vec<String> {
    let register = Register { table: TableId(1), partition, row: 0, column: Column::V };
    let coverage = |entry: &Entry| -> Coverage { replicas.coverage(entry.level, entry.center) };
    let done: Vec<&Entry> = history.iter().filter(|entry| matches!(entry.outcome, Outcome::Done(()))).collect();
    // What happens at one time is concurrent: calls come before returns.
    let calls = done.iter().enumerate().map(|(index, entry)| (entry.called, 0, index));
    let returns = done.iter().enumerate().map(|(index, entry)| (entry.returned, 1, index));
    let mut events: Vec<(u64, u8, usize)> = calls.chain(returns).collect();
    events.sort_unstable();
    let mut floors = Floors::new(replicas.clone());
    let mut snapshots: BTreeMap<usize, Snapshot> = BTreeMap::new();
    let mut violations = Vec::new();
    for (_, kind, index) in events {
        let entry = done[index];
        let number = match entry.operation {
            FloorOperation::Write(number) => Some(number),
            FloorOperation::Read(seen) => seen,
        };
        if kind == 0 {
            if matches!(entry.operation, FloorOperation::Read(_)) {
                snapshots.insert(index, floors.snapshot(register, register, &coverage(entry)));
            }
            continue;
        }
        let floor = snapshots.remove(&index).and_then(|snapshot| snapshot.get(&register).cloned());
        if let Some(floor) = floor.filter(|floor| number.is_none_or(|number| number < floor.timestamp)) {
            let floor = floor.timestamp;
            violations.push(format!("register {partition}: must be {floor} or greater: {entry:?}"));
        }
        if let Some(number) = number {
            violations.extend(unexplained(partition, entry, number, history));
            // The one writer's numbers ascend as its timestamps do.
            let version = Version { timestamp: number, deletion: false, expires: 0, value: String::new() };
            floors.raise(register, &coverage(entry), version);
        }
    }
    violations
}

/// What is wrong with a read of a number that nobody can have written by then.
fn unexplained(partition: i32, entry: &Entry, number: i64, history: &[Entry]) -> Option<String> {
    let written = history.iter().any(|write| {
        write.operation == FloorOperation::Write(number)
            && write.outcome != Outcome::Nothing
            && write.called <= entry.returned
    });
    (!written).then(|| format!("register {partition}: nobody wrote {number}, or it was without effect: {entry:?}"))
}
