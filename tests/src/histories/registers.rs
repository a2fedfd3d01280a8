//! Registers: clients compare and set, and read at SERIAL, one row of a partition of its own. The history of each must
//! be linearizable, with each request as one operation, however often it was sent.

use super::{Checked, Outcome, Run, lock};
use client::{PreparedStatement, QueryResult, Session};
use model::{Consistency, Rng};
use sim::oracle::linearizability::{Entry, Register, RegisterOperation, Verdict, check};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// The table.
pub const TABLE: &str = "CREATE TABLE k.r (p int PRIMARY KEY, v bigint)";

/// Registers of a round.
const WIDTH: i32 = 3;
/// Clients of each; every second one gives its writes retry tokens.
const CLIENTS: i32 = 4;
/// Steps of the search for an order of the history of one register.
const STEPS_MAX: u64 = 20_000_000;
/// Operations that are shown around the first that cannot be put in order.
const SHOWN: usize = 40;

/// What was done to each register.
pub type History = BTreeMap<i32, Vec<Entry<RegisterOperation>>>;

/// The clients and what they have done.
pub struct Registers {
    run: Arc<Run>,
    history: Mutex<History>,
}

struct Statements {
    insert: PreparedStatement,
    update: PreparedStatement,
    read: PreparedStatement,
}

impl Statements {
    async fn prepare(run: &Run, session: &Session) -> Statements {
        let read = run.prepare(session, "SELECT v FROM k.r WHERE p = ?").await;
        Statements {
            insert: run.prepare(session, "INSERT INTO k.r (p, v) VALUES (?, ?) IF NOT EXISTS").await,
            update: run.prepare(session, "UPDATE k.r SET v = ? WHERE p = ? IF v = ?").await,
            read: read.consistency(Consistency::Serial),
        }
    }
}

fn value(result: &QueryResult) -> Option<u64> {
    result.first().and_then(|row| row.get::<i64>("v").ok()).map(|value| value as u64)
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
        (WIDTH * CLIENTS) as usize
    }

    /// A client compares and sets, most often from what it believes, and reads now and then.
    pub async fn work(self: Arc<Registers>, client: usize, mut rng: Rng) {
        let (run, session) = (&self.run, self.run.session(client));
        let statements = Statements::prepare(run, session).await;
        let who = format!("register client {client}");
        let with_tokens = (client as i32 / WIDTH) % 2 == 1;
        let (mut believed, mut at, mut next) = (None, -1, (client as u64) << 32);
        while run.running() {
            let register = run.round() * WIDTH + client as i32 % WIDTH;
            if register != at {
                (at, believed) = (register, None);
            }
            next += 1;
            let called = run.now();
            if rng.chance(300) {
                let answer = run.execute(&who, session, &statements.read, &(register,), None).await;
                if let Outcome::Done(result) = answer {
                    believed = value(&result);
                    let operation = RegisterOperation::Read(believed);
                    self.enter(register, Entry { called, returned: Some(run.now()), operation });
                }
            } else {
                let token = with_tokens.then(|| session.new_retry_token());
                let (from, to) = (believed, next);
                let answer = match from {
                    None => {
                        let values = (register, to as i64);
                        run.execute(&who, session, &statements.insert, &values, token).await
                    }
                    Some(from) => {
                        let values = (to as i64, register, from as i64);
                        run.execute(&who, session, &statements.update, &values, token).await
                    }
                };
                let set = |applied, shown| RegisterOperation::CompareAndSet { from, to: Some(to), applied, shown };
                let returned = Some(run.now());
                match answer {
                    Outcome::Done(result) => {
                        let applied = result.first().and_then(|row| row.get::<bool>("[applied]").ok());
                        let shown = value(&result);
                        believed = if applied == Some(true) { Some(to) } else { shown };
                        self.enter(register, Entry { called, returned, operation: set(applied, shown) });
                    }
                    Outcome::Unknown => {
                        self.enter(register, Entry { called, returned: None, operation: set(None, None) });
                    }
                    Outcome::Nothing => {}
                }
            }
            run.think(&mut rng).await;
        }
    }

    fn enter(&self, register: i32, entry: Entry<RegisterOperation>) {
        lock(&self.history).entry(register).or_default().push(entry);
    }

    /// Reads every register once more, by each data centre.
    ///
    /// # Errors
    /// When that does not succeed.
    pub async fn finish(&self) -> Result<(), String> {
        let registers: Vec<i32> = lock(&self.history).keys().copied().collect();
        for session in &self.run.sessions {
            let statements = Statements::prepare(&self.run, session).await;
            for register in &registers {
                let called = self.run.now();
                let result = self.run.read_at_last(session, &statements.read, &(*register,)).await?;
                let (returned, operation) = (Some(self.run.now()), RegisterOperation::Read(value(&result)));
                self.enter(*register, Entry { called, returned, operation });
            }
        }
        Ok(())
    }

    /// Checks what was done.
    #[must_use]
    pub fn check(&self) -> Checked {
        check_history(&lock(&self.history))
    }
}

/// Checks that the history of each register is linearizable. A search that is too long is a violation.
#[must_use]
pub fn check_history(history: &History) -> Checked {
    let mut checked = Checked::default();
    for (register, history) in history {
        checked.operations += history.len();
        checked.unknown += history.iter().filter(|entry| entry.returned.is_none()).count();
        match check(&Register, None, history, STEPS_MAX) {
            Verdict::Linearizable => {}
            Verdict::Undecided => {
                checked.violations.push(format!("the history of register {register} is too long to be checked"));
            }
            Verdict::Violated(longest) => {
                let text = format!("of {} operations on register {register} {longest} at most", history.len());
                checked.violations.push(super::around(&text, history, longest, SHOWN));
            }
        }
    }
    checked
}
