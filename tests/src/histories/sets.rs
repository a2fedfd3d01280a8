//! Sets: clients add elements of their own to shared sets by plain writes at QUORUM, and read them at QUORUM. What was
//! acknowledged before a read began is in what it sees; what is seen was added, and not refused; and nothing that a
//! read has seen is missing from a later one.

use super::{Checked, Outcome, Run, lock};
use client::QueryResult;
use model::{Consistency, Rng, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

/// The table.
pub const TABLE: &str = "CREATE TABLE k.s (p int PRIMARY KEY, e set<bigint>)";

/// Clients; all work on the one set of a round.
const CLIENTS: usize = 4;
/// Elements that a violation names.
const SHOWN: usize = 10;

/// An attempt to add an element.
#[derive(Clone, Copy, Debug)]
pub struct Addition {
    /// The element, which nobody else adds.
    pub element: i64,
    /// When it was called.
    pub called: u64,
    /// When it returned.
    pub returned: u64,
    /// What became of it.
    pub outcome: Outcome<()>,
}

/// What a read saw.
#[derive(Clone, Debug)]
pub struct Look {
    /// When it was called.
    pub called: u64,
    /// When it returned.
    pub returned: u64,
    /// The elements.
    pub seen: BTreeSet<i64>,
}

/// What was done to one set.
#[derive(Clone, Debug, Default)]
pub struct SetHistory {
    /// What was added.
    pub additions: Vec<Addition>,
    /// What was read.
    pub looks: Vec<Look>,
}

/// What was done to each set.
pub type History = BTreeMap<i32, SetHistory>;

/// The clients and what they have done.
pub struct Sets {
    run: Arc<Run>,
    next: AtomicI64,
    history: Mutex<History>,
}

fn elements(result: &QueryResult) -> BTreeSet<i64> {
    let set = result.first().and_then(|row| row.get::<Option<Value>>("e").ok()).flatten();
    let Some(Value::Set(elements)) = set else { return BTreeSet::new() };
    let number = |element: &Value| if let Value::BigInt(number) = element { Some(*number) } else { None };
    elements.iter().filter_map(number).collect()
}

impl Sets {
    /// Nothing is done yet.
    #[must_use]
    pub fn new(run: Arc<Run>) -> Arc<Sets> {
        Arc::new(Sets { run, next: AtomicI64::new(0), history: Mutex::default() })
    }

    /// How many clients work.
    #[must_use]
    pub fn clients() -> usize {
        CLIENTS
    }

    /// A client adds, and looks now and then.
    pub async fn work(self: Arc<Sets>, client: usize, mut rng: Rng) {
        let (run, session) = (&self.run, self.run.session(client));
        let add = run.prepare(session, "UPDATE k.s SET e = e + ? WHERE p = ?").await.consistency(Consistency::Quorum);
        let read = run.prepare(session, "SELECT e FROM k.s WHERE p = ?").await.consistency(Consistency::Quorum);
        let who = format!("set client {client}");
        while run.running() {
            let set = run.round();
            let called = run.now();
            if rng.chance(250) {
                let answer = run.execute(&who, session, &read, &(set,), None).await;
                if let Outcome::Done(result) = answer {
                    let look = Look { called, returned: run.now(), seen: elements(&result) };
                    lock(&self.history).entry(set).or_default().looks.push(look);
                }
            } else {
                let element = self.next.fetch_add(1, Ordering::Relaxed);
                let values = (Value::Set(vec![Value::BigInt(element)]), set);
                let outcome = match run.execute(&who, session, &add, &values, None).await {
                    Outcome::Done(_) => Outcome::Done(()),
                    Outcome::Nothing => Outcome::Nothing,
                    Outcome::Unknown => Outcome::Unknown,
                };
                let addition = Addition { element, called, returned: run.now(), outcome };
                lock(&self.history).entry(set).or_default().additions.push(addition);
            }
            run.think(&mut rng).await;
        }
    }

    /// Reads every set once more, at ALL.
    ///
    /// # Errors
    /// When that does not succeed.
    pub async fn finish(&self) -> Result<(), String> {
        let sets: Vec<i32> = lock(&self.history).keys().copied().collect();
        let session = self.run.session(0);
        let read = self.run.prepare(session, "SELECT e FROM k.s WHERE p = ?").await.consistency(Consistency::All);
        for set in sets {
            let called = self.run.now();
            let seen = elements(&self.run.read_at_last(session, &read, &(set,)).await?);
            let look = Look { called, returned: self.run.now(), seen };
            lock(&self.history).entry(set).or_default().looks.push(look);
        }
        Ok(())
    }

    /// Checks what was done.
    #[must_use]
    pub fn check(&self) -> Checked {
        check_history(&lock(&self.history))
    }
}

/// Checks every read of every set.
#[must_use]
pub fn check_history(history: &History) -> Checked {
    let mut checked = Checked::default();
    for (set, SetHistory { additions, looks }) in history {
        checked.operations += additions.len() + looks.len();
        checked.unknown += additions.iter().filter(|addition| addition.outcome == Outcome::Unknown).count();
        let mut first_seen: BTreeMap<i64, u64> = BTreeMap::new();
        for look in looks {
            for element in &look.seen {
                let first = first_seen.entry(*element).or_insert(look.returned);
                *first = look.returned.min(*first);
            }
        }
        for look in looks {
            let at = format!("set {set}, read from {} to {} us", look.called, look.returned);
            let must =
                |addition: &&Addition| matches!(addition.outcome, Outcome::Done(())) && addition.returned < look.called;
            let may = |addition: &&Addition| addition.outcome != Outcome::Nothing && addition.called <= look.returned;
            let lost: Vec<&Addition> =
                additions.iter().filter(must).filter(|addition| !look.seen.contains(&addition.element)).collect();
            if !lost.is_empty() {
                let shown = &lost[..lost.len().min(SHOWN)];
                checked.violations.push(format!("{at}: {} acknowledged elements are missing: {shown:?}", lost.len()));
            }
            let possible: BTreeSet<i64> = additions.iter().filter(may).map(|addition| addition.element).collect();
            let strange: Vec<&i64> = look.seen.difference(&possible).take(SHOWN).collect();
            if !strange.is_empty() {
                checked.violations.push(format!("{at}: nobody added {strange:?}, or it was said to be without effect"));
            }
            let before = first_seen.iter().filter(|(_, returned)| **returned < look.called);
            let unseen = before.map(|(element, _)| element).filter(|element| !look.seen.contains(element));
            let unseen: Vec<&i64> = unseen.take(SHOWN).collect();
            if !unseen.is_empty() {
                checked.violations.push(format!("{at}: an earlier read has seen {unseen:?}"));
            }
        }
    }
    checked
}
