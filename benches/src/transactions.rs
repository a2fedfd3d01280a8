//! Lightweight transactions of three real nodes: conditional writes that nobody contends, 64 clients that contend for
//! one partition, and plain writes at QUORUM in turns with them.

use crate::nodes;
use anyhow::{Result, ensure};
use client::{ClientError, PreparedStatement, Session, SessionBuilder};
use hdrhistogram::Histogram;
use model::{Consistency, RequestError};
use serde_json::{Map, Value, json};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Nodes, and replicas of everything.
const NODES: usize = 3;
/// Clients that each write to partitions of their own.
const CLIENTS: u64 = 32;
/// Clients at one partition.
const CONTENDERS: u64 = 64;
/// Rounds in which plain and conditional writes take turns; the first one warms up.
const ROUNDS: usize = 3;

/// What some clients have done.
struct Load {
    /// How long each operation took, in microseconds.
    latency: Histogram<u64>,
    /// Conditional writes that were applied; all plain ones.
    applied: u64,
    /// Operations that were not decided in time.
    timeouts: u64,
    seconds: f64,
}

impl Load {
    fn per_second(&self) -> f64 {
        self.latency.len() as f64 / self.seconds
    }
}

/// What a client does again and again.
#[derive(Clone)]
enum Work {
    /// Writes to a row that nobody else writes to.
    Own(PreparedStatement),
    /// Adds one to what is in the one row, as far as it knows what that is.
    Contended(PreparedStatement),
}

/// Runs the loads on three nodes, and puts their figures into `figures`.
///
/// # Errors
/// When the nodes do not start, or an operation fails otherwise than by a timeout.
pub(crate) fn measure(helenus: &Path, seconds: u64, figures: &mut Map<String, Value>) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let nodes = nodes::start(NODES, helenus, folder.path(), "")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(measure_all(helenus, Duration::from_secs(seconds), figures))?;
    drop(nodes);
    Ok(())
}

async fn measure_all(helenus: &Path, time: Duration, figures: &mut Map<String, Value>) -> Result<()> {
    let builder = SessionBuilder::new(nodes::addresses(NODES)).consistency(Consistency::Quorum).retries(0);
    let session = builder.timeout(Duration::from_secs(10)).connect().await?;
    for text in [
        "CREATE KEYSPACE lwt WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 3}",
        "CREATE TABLE lwt.t (k bigint PRIMARY KEY, v bigint)",
        "INSERT INTO lwt.t (k, v) VALUES (-1, 0) IF NOT EXISTS",
    ] {
        session.execute(text, ()).await?;
    }
    let plain = Work::Own(session.prepare("INSERT INTO lwt.t (k, v) VALUES (?, ?)").await?);
    let conditional = Work::Own(session.prepare("INSERT INTO lwt.t (k, v) VALUES (?, ?) IF NOT EXISTS").await?);
    let contended = Work::Contended(session.prepare("UPDATE lwt.t SET v = ? WHERE k = -1 IF v = ?").await?);
    let mut ratios = Vec::new();
    let keys = Arc::new(AtomicU64::new(0));
    for round in 0..=ROUNDS {
        let before = Counts::of(helenus)?;
        let plain = load(&session, &plain, CLIENTS, time, &keys).await?;
        let between = Counts::of(helenus)?;
        let conditional = load(&session, &conditional, CLIENTS, time, &keys).await?;
        let after = Counts::of(helenus)?;
        if round == 0 {
            continue;
        }
        ensure!(conditional.applied == conditional.latency.len(), "each row is new, so each write is applied");
        ratios.push(conditional.per_second() / plain.per_second());
        note(figures, "plain_write", &plain, &between.since(&before));
        note(figures, "uncontended_write", &conditional, &after.since(&between));
    }
    ratios.sort_by(f64::total_cmp);
    figures.insert("uncontended_to_plain_throughput_ratio".to_owned(), json!(ratios[ratios.len() / 2]));
    let before = Counts::of(helenus)?;
    let contended = load(&session, &contended, CONTENDERS, time, &keys).await?;
    note(figures, "contended", &contended, &Counts::of(helenus)?.since(&before));
    figures.insert("contended_clients".to_owned(), json!(CONTENDERS));
    figures.insert("contended_applied_per_second".to_owned(), json!(contended.applied as f64 / contended.seconds));
    if contended.timeouts > 0 {
        crate::note_missed(figures, ["contended_timeouts".to_owned()]);
    }
    Ok(())
}

/// What the nodes have counted.
struct Counts {
    messages: f64,
    transactions: f64,
    rounds: f64,
}

impl Counts {
    fn of(helenus: &Path) -> Result<Counts> {
        let sum = |name| nodes::figure(helenus, NODES, name);
        Ok(Counts {
            messages: sum("messages_sent")?,
            transactions: sum("transactions")?,
            rounds: sum("transaction_rounds")?,
        })
    }

    fn since(&self, before: &Counts) -> Counts {
        Counts {
            messages: self.messages - before.messages,
            transactions: self.transactions - before.transactions,
            rounds: self.rounds - before.rounds,
        }
    }
}

/// The figures of a load. Messages include the few that nodes exchange anyway; round trips are those before a write is
/// chosen.
fn note(figures: &mut Map<String, Value>, prefix: &str, load: &Load, counts: &Counts) {
    let operations = load.latency.len().max(1) as f64;
    let mut put = |name: &str, value: Value| drop(figures.insert(format!("{prefix}_{name}"), value));
    let plural = if prefix == "contended" { "writes_per_second" } else { "per_second" };
    put(plural, json!(load.per_second()));
    put("p50_micros", json!(load.latency.value_at_quantile(0.5) as f64));
    put("p99_micros", json!(load.latency.value_at_quantile(0.99) as f64));
    put("messages_per_operation", json!(counts.messages / operations));
    put("timeouts", json!(load.timeouts));
    if counts.transactions > 0.0 {
        put("round_trips", json!(counts.rounds / counts.transactions));
    }
}

/// `clients` do the work for so long.
async fn load(session: &Session, work: &Work, clients: u64, time: Duration, keys: &Arc<AtomicU64>) -> Result<Load> {
    let started = Instant::now();
    let until = started + time;
    let tasks: Vec<_> =
        (0..clients).map(|_| tokio::spawn(client(session.clone(), work.clone(), until, Arc::clone(keys)))).collect();
    let mut all = Load { latency: Histogram::new(3)?, applied: 0, timeouts: 0, seconds: 0.0 };
    for task in tasks {
        let own = task.await??;
        all.latency.add(own.latency)?;
        all.applied += own.applied;
        all.timeouts += own.timeouts;
    }
    all.seconds = started.elapsed().as_secs_f64();
    Ok(all)
}

async fn client(session: Session, work: Work, until: Instant, keys: Arc<AtomicU64>) -> Result<Load> {
    let mut load = Load { latency: Histogram::new(3)?, applied: 0, timeouts: 0, seconds: 0.0 };
    let mut believed = 0i64;
    while Instant::now() < until {
        let began = Instant::now();
        let result = match &work {
            Work::Own(statement) => {
                let key = keys.fetch_add(1, Ordering::Relaxed) as i64;
                session.execute_prepared(statement, (key, key)).await
            }
            Work::Contended(statement) => session.execute_prepared(statement, (believed + 1, believed)).await,
        };
        let took = u64::try_from(began.elapsed().as_micros())?;
        match result {
            Ok(result) => {
                load.latency.record(took)?;
                let applied = result.first().is_none_or(|row| row.get::<bool>("[applied]").unwrap_or(false));
                load.applied += u64::from(applied);
                believed = match result.first().map(|row| row.get::<i64>("v")) {
                    Some(Ok(shown)) if !applied => shown,
                    _ => believed + 1,
                };
            }
            Err(
                ClientError::Timeout { .. }
                | ClientError::Request(RequestError::CasTimeout { .. } | RequestError::CasWriteUnknown { .. }),
            ) => load.timeouts += 1,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(load)
}
