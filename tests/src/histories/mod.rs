//! Clients that write down what they ask and are told, and what must hold of what they have written. Each file is one
//! workload: its operations, the clients, and the check of a history, which needs no cluster.
//!
//! The clients are those of an application: the Rust driver, as it comes. What an error denies is held to it: a write
//! that is said to be without effect must have none. Everything else that is not acknowledged may happen at any later
//! time, or never.
//!
//! Work goes round: after [`ROUND`] clients go on to new partitions, which keeps each history short enough to be
//! checked exactly. All partitions are read once more in the end.

pub mod bank;
pub mod counters;
pub mod floors;
pub mod registers;
pub mod sets;

use client::{ClientError, PreparedStatement, QueryResult, Session, SessionBuilder, ToValues};
use model::error::Applied;
use model::{NodeId, RequestError, RetryToken, Rng};
use sim::oracle::coverage::Replicas;
use sim::oracle::linearizability::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// For how long the same partitions are worked on.
const ROUND: Duration = Duration::from_secs(10);
/// How long a client waits for an answer.
const TIMEOUT: Duration = Duration::from_secs(2);
/// A client pauses between two operations for up to so many milliseconds.
const THINK_MILLIS: u64 = 60;
/// Odd answers that are kept.
const ODD_MAX: usize = 20;

/// What became of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome<T> {
    /// It was done, with this result.
    Done(T),
    /// It certainly had no effect.
    Nothing,
    /// It may have an effect, now or later.
    Unknown,
}

/// What a check of a history came to.
#[derive(Clone, Debug, Default)]
pub struct Checked {
    /// Operations in it.
    pub operations: usize,
    /// Those of them whose outcome is not known.
    pub unknown: usize,
    /// What must not be, with the operations that show it.
    pub violations: Vec<String>,
}

/// What the clients of all workloads have in common.
pub struct Run {
    /// One for each data centre, whose nodes it asks.
    sessions: Vec<Session>,
    /// Where each node is.
    centers: BTreeMap<NodeId, usize>,
    /// The replicas of every partition.
    pub replicas: Replicas,
    began: Instant,
    stopped: AtomicBool,
    abandoned: AtomicBool,
    /// When everything was healed, by [`Run::now`].
    healed: AtomicU64,
    /// Clients that were served since.
    served: Mutex<BTreeSet<String>>,
    odd: Mutex<Vec<String>>,
}

/// Locks what a client that has panicked may have left locked: its panic is reported by itself.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Run {
    /// Connects to a cluster of data centres of three nodes, and creates the keyspace `k` with a replica of everything
    /// on each node, and these tables.
    ///
    /// # Errors
    /// When the cluster does not do it.
    pub async fn start(addresses: &[String], centers: usize, tables: &[&str]) -> Result<Arc<Run>, ClientError> {
        let mut sessions = Vec::new();
        for center in 1..=centers {
            let builder = SessionBuilder::new(addresses).data_center(format!("dc{center}")).timeout(TIMEOUT);
            sessions.push(builder.connect_timeout(Duration::from_secs(1)).connect().await?);
        }
        let replicas: String = (1..=centers).map(|center| format!(", 'dc{center}': 3")).collect();
        let keyspace = format!("CREATE KEYSPACE k WITH replication = {{'class': 'NetworkTopologyStrategy'{replicas}}}");
        sessions[0].execute(keyspace, ()).await?;
        for table in tables {
            sessions[0].execute(*table, ()).await?;
        }
        let topology = sessions[0].refresh_topology().await?;
        let center = |name: &str| name.trim_start_matches("dc").parse::<usize>().unwrap_or(1) - 1;
        Ok(Arc::new(Run {
            centers: topology.nodes.iter().map(|node| (node.id, center(&node.data_center))).collect(),
            replicas: Replicas(vec![3; centers]),
            sessions,
            began: Instant::now(),
            stopped: AtomicBool::new(false),
            abandoned: AtomicBool::new(false),
            healed: AtomicU64::new(u64::MAX),
            served: Mutex::default(),
            odd: Mutex::default(),
        }))
    }

    /// When the run began.
    #[must_use]
    pub fn began(&self) -> Instant {
        self.began
    }

    /// Microseconds since the run began.
    #[must_use]
    pub fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// From now on there are no faults.
    pub fn healed(&self) {
        self.healed.store(self.now(), Ordering::Relaxed);
    }

    /// The clients that have been served since the faults ended.
    #[must_use]
    pub fn served(&self) -> BTreeSet<String> {
        lock(&self.served).clone()
    }

    /// Clients end what they are at, and begin nothing more.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Clients that try until they are answered give up too.
    pub fn abandon(&self) {
        self.stop();
        self.abandoned.store(true, Ordering::Relaxed);
    }

    /// Answers that no fault explains.
    #[must_use]
    pub fn odd(&self) -> Vec<String> {
        lock(&self.odd).clone()
    }

    fn running(&self) -> bool {
        !self.stopped.load(Ordering::Relaxed)
    }

    fn round(&self) -> i32 {
        (self.began.elapsed().as_secs() / ROUND.as_secs()) as i32
    }

    /// The session of a client: clients with numbers one after the other are in different data centres.
    fn session(&self, client: usize) -> &Session {
        &self.sessions[client % self.sessions.len()]
    }

    /// The data centre of the node that executed something.
    fn center_of(&self, result: &QueryResult) -> usize {
        self.centers[&result.coordinator]
    }

    async fn think(&self, rng: &mut Rng) {
        tokio::time::sleep(Duration::from_millis(rng.below(THINK_MILLIS))).await;
    }

    /// Executes a statement; with a token again and again, until it is answered.
    async fn execute(
        &self,
        who: &str,
        session: &Session,
        statement: &PreparedStatement,
        values: &impl ToValues,
        token: Option<RetryToken>,
    ) -> Outcome<QueryResult> {
        let mut maybe = false;
        let called = self.now();
        let statement = token.map_or_else(|| statement.clone(), |token| statement.clone().retry_token(token));
        loop {
            match session.execute_prepared(&statement, values).await {
                Ok(result) => {
                    if called >= self.healed.load(Ordering::Relaxed) {
                        lock(&self.served).insert(who.to_owned());
                    }
                    return Outcome::Done(result);
                }
                Err(error) => {
                    self.note(who, &error);
                    maybe |= error.applied() == Applied::Maybe;
                }
            }
            if token.is_none() || self.abandoned.load(Ordering::Relaxed) {
                return if maybe { Outcome::Unknown } else { Outcome::Nothing };
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Keeps an error that is not one of a cluster in trouble.
    fn note(&self, who: &str, error: &ClientError) {
        let expected = match error {
            ClientError::Connection { .. } | ClientError::Timeout { .. } => true,
            ClientError::Request(error) => matches!(
                error,
                RequestError::Unavailable { .. }
                    | RequestError::NotServing(_)
                    | RequestError::Overloaded(_)
                    | RequestError::ReadTimeout { .. }
                    | RequestError::WriteTimeout { .. }
                    | RequestError::ReadFailure { .. }
                    | RequestError::WriteFailure { .. }
                    | RequestError::CasTimeout { .. }
                    | RequestError::CasWriteUnknown { .. }
            ),
            ClientError::Bind(_) | ClientError::Column(_) | ClientError::Protocol { .. } => false,
        };
        let mut odd = lock(&self.odd);
        if !expected && odd.len() < ODD_MAX {
            odd.push(format!("{who} at {} s: {error:?}", self.began.elapsed().as_secs_f64()));
        }
    }

    /// Prepares a statement, which the cluster does as soon as a node can be asked.
    async fn prepare(&self, session: &Session, text: &str) -> PreparedStatement {
        loop {
            match session.prepare(text).await {
                Ok(statement) => return statement,
                Err(error) => self.note(text, &error),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Reads when there are no faults any more.
    ///
    /// # Errors
    /// When it does not succeed.
    async fn read_at_last(
        &self,
        session: &Session,
        statement: &PreparedStatement,
        values: &impl ToValues,
    ) -> Result<QueryResult, String> {
        let began = Instant::now();
        loop {
            match session.execute_prepared(statement, values).await {
                Ok(result) => return Ok(result),
                Err(error) if began.elapsed() > crate::PATIENCE => {
                    return Err(format!("after healing {} fails: {error}", statement.text()));
                }
                Err(error) => self.note("the last read", &error),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// What says that a history is not linearizable: `text`, and the operations around the first, by the time of their
/// returns, that cannot be put in order.
fn around<O: std::fmt::Debug>(text: &str, history: &[Entry<O>], longest: usize, shown: usize) -> String {
    let mut ordered: Vec<&Entry<O>> = history.iter().collect();
    ordered.sort_by_key(|entry| entry.returned.unwrap_or(u64::MAX));
    let around = ordered.iter().skip(longest.saturating_sub(shown / 2)).take(shown);
    let told: Vec<String> = around.map(|entry| format!("    {entry:?}")).collect();
    format!("{text} can be put in order:\n{}", told.join("\n"))
}
