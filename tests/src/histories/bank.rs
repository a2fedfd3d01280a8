//! A bank: the accounts of a branch are the rows of one partition; clients read all of them at SERIAL, and move money
//! from one to another by a conditional batch. Whoever looks sees all the money, and the history of each branch is
//! linearizable.

use super::{Checked, Outcome, Run, lock};
use client::{PreparedStatement, QueryResult, Session};
use model::{Consistency, Rng};
use sim::oracle::linearizability::{Entry, Model, Verdict, check};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// The table.
pub const TABLE: &str = "CREATE TABLE k.b (p int, a int, balance bigint, PRIMARY KEY (p, a))";

/// Branches of a round.
const WIDTH: i32 = 2;
/// Clients of each; every second one gives its writes retry tokens.
const CLIENTS: i32 = 4;
/// Accounts of a branch, and what is on each at first.
pub const ACCOUNTS: usize = 4;
/// See [`ACCOUNTS`].
pub const OPENING: i64 = 100;
/// Steps of the search for an order of the history of one branch.
const STEPS_MAX: u64 = 20_000_000;
/// Operations that are shown around the first that cannot be put in order.
const SHOWN: usize = 40;

/// What is on each account; `None` before the branch is opened.
pub type Balances = Option<Vec<i64>>;

/// What is done at a branch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BankOperation {
    /// Opens it, unless it is open.
    Open {
        /// Whether it was not; `None` when that is not known.
        applied: Option<bool>,
    },
    /// What a reader saw.
    Read(Balances),
    /// Moves money, if both accounts are as believed.
    Transfer {
        /// The account that gives, and what is on it.
        from: (usize, i64),
        /// The one that takes, and what is on it.
        to: (usize, i64),
        /// How much.
        amount: i64,
        /// Whether they were; `None` when that is not known.
        applied: Option<bool>,
    },
}

/// One branch.
#[derive(Clone, Copy, Debug)]
pub struct Branch;

impl Model for Branch {
    type State = Balances;
    type Operation = BankOperation;

    fn step(&self, state: &Balances, operation: &BankOperation) -> Option<Balances> {
        let (after, applied) = match operation {
            BankOperation::Read(seen) => return (seen == state).then(|| state.clone()),
            BankOperation::Open { applied } => (state.is_none().then(|| vec![OPENING; ACCOUNTS]), applied),
            BankOperation::Transfer { from, to, amount, applied } => {
                let holds = |balances: &&Vec<i64>| balances[from.0] == from.1 && balances[to.0] == to.1;
                let after = state.as_ref().filter(holds).map(|balances| {
                    let mut balances = balances.clone();
                    balances[from.0] -= amount;
                    balances[to.0] += amount;
                    balances
                });
                (after, applied)
            }
        };
        match (applied, after) {
            (Some(true) | None, Some(after)) => Some(Some(after)),
            (Some(false), None) => Some(state.clone()),
            (Some(true) | None, None) | (Some(false), Some(_)) => None,
        }
    }
}

/// What was done at each branch.
pub type History = BTreeMap<i32, Vec<Entry<BankOperation>>>;

/// The clients and what they have done.
pub struct Bank {
    run: Arc<Run>,
    history: Mutex<History>,
}

struct Statements {
    open: PreparedStatement,
    transfer: PreparedStatement,
    read: PreparedStatement,
}

impl Statements {
    async fn prepare(run: &Run, session: &Session) -> Statements {
        let opened =
            |account| format!("INSERT INTO k.b (p, a, balance) VALUES (?, {account}, {OPENING}) IF NOT EXISTS;");
        let open: String = (0..ACCOUNTS).map(opened).collect();
        let moved = "UPDATE k.b SET balance = ? WHERE p = ? AND a = ? IF balance = ?;";
        let read = run.prepare(session, "SELECT a, balance FROM k.b WHERE p = ?").await;
        Statements {
            open: run.prepare(session, &format!("BEGIN BATCH {open} APPLY BATCH")).await,
            transfer: run.prepare(session, &format!("BEGIN BATCH {moved} {moved} APPLY BATCH")).await,
            read: read.consistency(Consistency::Serial),
        }
    }
}

/// What a reader saw. A branch that lacks accounts has them with nothing, which no order explains.
fn balances(result: &QueryResult) -> Balances {
    let mut balances = vec![0; ACCOUNTS];
    for row in result.rows() {
        let account = row.get::<i32>("a").ok().and_then(|account| balances.get_mut(account as usize));
        if let (Some(balance), Ok(seen)) = (account, row.get::<i64>("balance")) {
            *balance = seen;
        }
    }
    (!result.rows().is_empty()).then_some(balances)
}

fn applied(result: &QueryResult) -> Option<bool> {
    result.first().and_then(|row| row.get::<bool>("[applied]").ok())
}

impl Bank {
    /// Nothing is done yet.
    #[must_use]
    pub fn new(run: Arc<Run>) -> Arc<Bank> {
        Arc::new(Bank { run, history: Mutex::default() })
    }

    /// How many clients work.
    #[must_use]
    pub fn clients() -> usize {
        (WIDTH * CLIENTS) as usize
    }

    /// A client looks, and moves something from an account that has something to another.
    pub async fn work(self: Arc<Bank>, client: usize, mut rng: Rng) {
        // The clients of one branch are in different data centres, and of those in one some have tokens.
        let turn = client / WIDTH as usize;
        let (run, session, with_tokens) = (&self.run, self.run.session(turn), turn / 2 % 2 == 1);
        let statements = Statements::prepare(run, session).await;
        let who = format!("bank client {client}");
        while run.running() {
            let branch = run.round() * WIDTH + client as i32 % WIDTH;
            let called = run.now();
            let answer = run.execute(&who, session, &statements.read, &(branch,), None).await;
            if let Outcome::Done(result) = answer {
                let seen = balances(&result);
                self.enter(branch, called, Some(run.now()), BankOperation::Read(seen.clone()));
                let token = with_tokens.then(|| session.new_retry_token());
                self.write(branch, &who, session, &statements, seen, token, &mut rng).await;
            }
            run.think(&mut rng).await;
        }
    }

    /// Opens a branch that is not open, or moves money.
    #[expect(clippy::too_many_arguments, reason = "what a client has at hand")]
    async fn write(
        &self,
        branch: i32,
        who: &str,
        session: &Session,
        statements: &Statements,
        seen: Balances,
        token: Option<model::RetryToken>,
        rng: &mut Rng,
    ) {
        let (run, called) = (&self.run, self.run.now());
        let (answer, operation): (_, Box<dyn Fn(Option<bool>) -> BankOperation + Send>) = match seen {
            None => {
                let answer = run.execute(who, session, &statements.open, &[branch; ACCOUNTS], token).await;
                (answer, Box::new(|applied| BankOperation::Open { applied }))
            }
            Some(balances) => {
                let from = rng.index(ACCOUNTS);
                let to = (from + 1 + rng.index(ACCOUNTS - 1)) % ACCOUNTS;
                let (giving, taking) = (balances[from], balances[to]);
                let amount = rng.between(0, giving.clamp(0, 30) as u64) as i64;
                let values = [giving - amount, branch.into(), from as i64, giving, taking + amount, branch.into()];
                let values = [&values[..], &[to as i64, taking]].concat();
                let answer = run.execute(who, session, &statements.transfer, &values, token).await;
                let (from, to) = ((from, giving), (to, taking));
                (answer, Box::new(move |applied| BankOperation::Transfer { from, to, amount, applied }))
            }
        };
        match answer {
            Outcome::Done(result) => self.enter(branch, called, Some(run.now()), operation(applied(&result))),
            Outcome::Unknown => self.enter(branch, called, None, operation(None)),
            Outcome::Nothing => {}
        }
    }

    fn enter(&self, branch: i32, called: u64, returned: Option<u64>, operation: BankOperation) {
        lock(&self.history).entry(branch).or_default().push(Entry { called, returned, operation });
    }

    /// Reads every branch once more, by each data centre.
    ///
    /// # Errors
    /// When that does not succeed.
    pub async fn finish(&self) -> Result<(), String> {
        let branches: Vec<i32> = lock(&self.history).keys().copied().collect();
        for session in &self.run.sessions {
            let statements = Statements::prepare(&self.run, session).await;
            for branch in &branches {
                let called = self.run.now();
                let result = self.run.read_at_last(session, &statements.read, &(*branch,)).await?;
                self.enter(*branch, called, Some(self.run.now()), BankOperation::Read(balances(&result)));
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

/// Checks that nobody saw more or less money than there is, and that the history of each branch is linearizable. A
/// search that is too long is a violation.
#[must_use]
pub fn check_history(history: &History) -> Checked {
    let mut checked = Checked::default();
    let total = OPENING * ACCOUNTS as i64;
    for (branch, history) in history {
        checked.operations += history.len();
        checked.unknown += history.iter().filter(|entry| entry.returned.is_none()).count();
        let wrong = history.iter().find(|entry| match &entry.operation {
            BankOperation::Read(Some(balances)) => balances.iter().sum::<i64>() != total,
            _ => false,
        });
        checked.violations.extend(wrong.map(|entry| format!("branch {branch} has not its {total}: {entry:?}")));
        match check(&Branch, None, history, STEPS_MAX) {
            Verdict::Linearizable => {}
            Verdict::Undecided => {
                checked.violations.push(format!("the history of branch {branch} is too long to be checked"));
            }
            Verdict::Violated(longest) => {
                let text = format!("of {} operations at branch {branch} {longest} at most", history.len());
                checked.violations.push(super::around(&text, history, longest, SHOWN));
            }
        }
    }
    checked
}
