//! Counters: clients add to them and read them at QUORUM. A read is never below what was acknowledged before it began,
//! nor below what an earlier read saw, and never above what was asked for before it ended. Of a counter to which all
//! add with retry tokens everything is acknowledged in the end: the last read is the exact sum.

use super::{Checked, Outcome, Run, lock};
use client::QueryResult;
use model::{Consistency, Rng};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// The table.
pub const TABLE: &str = "CREATE TABLE k.n (p int PRIMARY KEY, v counter)";

/// Counters; to those of odd numbers clients add with retry tokens.
const COUNTERS: usize = 4;
/// Clients of each.
const CLIENTS: usize = 2;

/// What was done to a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CounterOperation {
    /// So much was added.
    Add(i64),
    /// So much was there.
    Read(i64),
}

/// An operation; reads are [`Outcome::Done`].
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// When it was called.
    pub called: u64,
    /// When it returned.
    pub returned: u64,
    /// It.
    pub operation: CounterOperation,
    /// What became of it.
    pub outcome: Outcome<()>,
}

/// What was done to each counter.
pub type History = BTreeMap<i32, Vec<Entry>>;

/// The clients and what they have done.
pub struct Counters {
    run: Arc<Run>,
    history: Mutex<History>,
}

fn value(result: &QueryResult) -> i64 {
    result.first().and_then(|row| row.get::<i64>("v").ok()).unwrap_or(0)
}

impl Counters {
    /// Nothing is done yet.
    #[must_use]
    pub fn new(run: Arc<Run>) -> Arc<Counters> {
        Arc::new(Counters { run, history: Mutex::default() })
    }

    /// How many clients work.
    #[must_use]
    pub fn clients() -> usize {
        COUNTERS * CLIENTS
    }

    /// A client adds, and reads now and then.
    pub async fn work(self: Arc<Counters>, client: usize, mut rng: Rng) {
        // The clients of one counter are in different data centres.
        let (counter, session) = (client % COUNTERS, self.run.session(client / COUNTERS));
        let run = &self.run;
        let add = run.prepare(session, "UPDATE k.n SET v = v + ? WHERE p = ?").await.consistency(Consistency::Quorum);
        let read = run.prepare(session, "SELECT v FROM k.n WHERE p = ?").await.consistency(Consistency::Quorum);
        let who = format!("counter client {client}");
        let counter = counter as i32;
        while run.running() {
            let called = run.now();
            let (answer, operation) = if rng.chance(250) {
                let answer = run.execute(&who, session, &read, &(counter,), None).await;
                let seen = if let Outcome::Done(result) = &answer { value(result) } else { 0 };
                (answer, CounterOperation::Read(seen))
            } else {
                let by = rng.between(1, 9) as i64;
                let token = (counter % 2 == 1).then(|| session.new_retry_token());
                (run.execute(&who, session, &add, &(by, counter), token).await, CounterOperation::Add(by))
            };
            let outcome = match answer {
                Outcome::Done(_) => Outcome::Done(()),
                Outcome::Nothing => Outcome::Nothing,
                Outcome::Unknown => Outcome::Unknown,
            };
            self.enter(counter, Entry { called, returned: run.now(), operation, outcome });
            run.think(&mut rng).await;
        }
    }

    fn enter(&self, counter: i32, entry: Entry) {
        lock(&self.history).entry(counter).or_default().push(entry);
    }

    /// Reads every counter once more, at ALL.
    ///
    /// # Errors
    /// When that does not succeed.
    pub async fn finish(&self) -> Result<(), String> {
        let session = self.run.session(0);
        let read = self.run.prepare(session, "SELECT v FROM k.n WHERE p = ?").await.consistency(Consistency::All);
        let counters: Vec<i32> = lock(&self.history).keys().copied().collect();
        for counter in counters {
            let called = self.run.now();
            let seen = value(&self.run.read_at_last(session, &read, &(counter,)).await?);
            let (operation, outcome) = (CounterOperation::Read(seen), Outcome::Done(()));
            self.enter(counter, Entry { called, returned: self.run.now(), operation, outcome });
        }
        Ok(())
    }

    /// Checks what was done.
    #[must_use]
    pub fn check(&self) -> Checked {
        let history = lock(&self.history);
        let mut checked = check_history(&history);
        for (counter, history) in history.iter().filter(|(counter, _)| *counter % 2 == 1) {
            let open = history.iter().find(|entry| matches!(entry.operation, CounterOperation::Add(_)) && !done(entry));
            checked.violations.extend(open.map(|open| format!("counter {counter}: never answered: {open:?}")));
        }
        checked
    }
}

fn done(entry: &Entry) -> bool {
    matches!(entry.outcome, Outcome::Done(()))
}

/// Checks every read of every counter.
#[must_use]
pub fn check_history(history: &History) -> Checked {
    let mut checked = Checked::default();
    for (counter, history) in history {
        checked.operations += history.len();
        checked.unknown += history.iter().filter(|entry| entry.outcome == Outcome::Unknown).count();
        for read in history.iter().filter(|entry| done(entry)) {
            let CounterOperation::Read(seen) = read.operation else { continue };
            let sum = |counts: &dyn Fn(&Entry) -> bool| -> i64 {
                let added = history.iter().filter(|entry| counts(entry)).map(|entry| match entry.operation {
                    CounterOperation::Add(by) => by,
                    CounterOperation::Read(_) => 0,
                });
                added.sum()
            };
            let acknowledged = sum(&|entry| done(entry) && entry.returned < read.called);
            let asked = sum(&|entry| entry.outcome != Outcome::Nothing && entry.called <= read.returned);
            let before = history.iter().filter(|entry| done(entry) && entry.returned < read.called);
            let earlier = before.map(|entry| match entry.operation {
                CounterOperation::Read(seen) => seen,
                CounterOperation::Add(_) => 0,
            });
            let earlier = earlier.max().unwrap_or(0);
            if seen < acknowledged || seen < earlier || seen > asked {
                checked.violations.push(format!(
                    "counter {counter} is {seen}: {acknowledged} acknowledged, {earlier} seen before, {asked} asked \
                     for: {read:?}"
                ));
            }
        }
    }
    checked
}
