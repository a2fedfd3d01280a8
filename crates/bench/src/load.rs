//! Drives a workload through the driver and records latencies.

use crate::report::Report;
use crate::workload::{Operation, Until, Workload};
use client::{ClientError, PreparedStatement, Session, SessionBuilder};
use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressStyle};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use thiserror::Error;

/// Why a load could not run.
#[derive(Debug, Error)]
pub enum BenchError {
    /// The cluster could not be reached, or the table not be made.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The machine refused something.
    #[error("input or output failed: {0}")]
    Io(std::io::Error),
}

/// Different error messages kept; more are counted together.
const MESSAGES_MAX: usize = 20;

/// What all workers share.
struct Shared {
    workload: Workload,
    session: Session,
    insert: PreparedStatement,
    select: PreparedStatement,
    /// The number of the next operation.
    next: AtomicU64,
    done: AtomicU64,
    started: Instant,
    counted_from: Instant,
    ends: Option<Instant>,
}

/// What one worker has seen.
struct Seen {
    latency: Histogram<u64>,
    errors: BTreeMap<String, u64>,
}

/// Makes the table, runs the load, and reports.
///
/// # Errors
/// When the cluster cannot be reached or the table not be made.
pub async fn run_load(workload: &Workload) -> Result<Report, BenchError> {
    let options = &workload.options;
    let session = SessionBuilder::new(&options.hosts)
        .consistency(options.consistency)
        .timeout(Duration::from_millis(u64::from(options.timeout_millis)))
        .connect()
        .await?;
    for statement in workload.schema() {
        session.execute(statement.as_str(), ()).await?;
    }
    let insert = session.prepare(&format!("INSERT INTO {}.load (key, value) VALUES (?, ?)", options.keyspace)).await?;
    let select = session.prepare(&format!("SELECT value FROM {}.load WHERE key = ?", options.keyspace)).await?;
    let started = Instant::now();
    let warmup = match workload.until {
        Until::Operations(_) => Duration::ZERO,
        Until::Elapsed(_) => Duration::from_secs(options.warmup_seconds),
    };
    let shared = Arc::new(Shared {
        workload: workload.clone(),
        session,
        insert,
        select,
        next: AtomicU64::new(0),
        done: AtomicU64::new(0),
        started,
        counted_from: started + warmup,
        ends: match workload.until {
            Until::Operations(_) => None,
            Until::Elapsed(time) => Some(started + warmup + time),
        },
    });
    let progress = tokio::spawn(show_progress(Arc::clone(&shared)));
    let workers: Vec<_> = (0..options.concurrency).map(|_| tokio::spawn(work(Arc::clone(&shared)))).collect();
    let mut seen = Seen::new();
    for worker in workers {
        match worker.await {
            Ok(other) => seen.add(other),
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
    progress.abort();
    Ok(Report {
        name: match workload.mix.read_percent {
            0 => "write".to_owned(),
            100 => "read".to_owned(),
            percent => format!("mixed, {percent} % reads"),
        },
        open_loop: options.rate.is_some(),
        elapsed: shared.counted_from.elapsed().min(shared.ends.map_or(Duration::MAX, |end| end - shared.counted_from)),
        latency: seen.latency,
        errors: seen.errors.into_iter().collect(),
    })
}

/// One worker: takes the next operation, waits for its intended start, and sends it. Workers take numbers in
/// turn, so that a worker held up by a slow answer delays no operation but its own.
async fn work(shared: Arc<Shared>) -> Seen {
    let mut seen = Seen::new();
    loop {
        let number = shared.next.fetch_add(1, Ordering::Relaxed);
        let intended = match shared.workload.options.rate {
            Some(rate) => {
                let nanoseconds = u128::from(number) * 1_000_000_000 / u128::from(rate.max(1));
                let intended = shared.started + Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
                tokio::time::sleep_until(intended.into()).await;
                intended
            }
            None => Instant::now(),
        };
        let over = match shared.workload.until {
            Until::Operations(operations) => number >= operations,
            Until::Elapsed(_) => shared.ends.is_some_and(|end| intended >= end),
        };
        if over {
            return seen;
        }
        let outcome = shared.execute(shared.workload.operation(number)).await;
        shared.done.fetch_add(1, Ordering::Relaxed);
        if intended >= shared.counted_from {
            seen.record(outcome, intended.elapsed());
        }
    }
}

impl Shared {
    async fn execute(&self, operation: Operation) -> Result<(), ClientError> {
        match operation {
            Operation::Read { key } => self.session.execute_prepared(&self.select, (key as i64,)).await?,
            Operation::Write { key, value_seed } => {
                let value = self.workload.value(value_seed);
                self.session.execute_prepared(&self.insert, (key as i64, value)).await?
            }
        };
        Ok(())
    }
}

impl Seen {
    fn new() -> Seen {
        // Bounds, since `saturating_record` never widens a histogram that has none. One hour in microseconds.
        let latency = Histogram::new_with_bounds(1, 3_600_000_000, 3).expect("the bounds are in order");
        Seen { latency, errors: BTreeMap::new() }
    }

    fn record(&mut self, outcome: Result<(), ClientError>, latency: Duration) {
        match outcome {
            Ok(()) => self.latency.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX).max(1)),
            Err(error) => self.error(error.to_string(), 1),
        }
    }

    fn error(&mut self, message: String, count: u64) {
        let known = self.errors.contains_key(&message) || self.errors.len() < MESSAGES_MAX;
        let message = if known { message } else { "other errors".to_owned() };
        *self.errors.entry(message).or_default() += count;
    }

    fn add(&mut self, other: Seen) {
        self.latency.add(other.latency).expect("histograms of equal precision add");
        for (message, count) in other.errors {
            self.error(message, count);
        }
    }
}

async fn show_progress(shared: Arc<Shared>) {
    let bar = match shared.workload.until {
        Until::Operations(operations) => ProgressBar::new(operations),
        Until::Elapsed(time) => ProgressBar::new((shared.counted_from - shared.started + time).as_secs()),
    };
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {elapsed} {msg}") {
        bar.set_style(style);
    }
    let mut before = 0;
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let done = shared.done.load(Ordering::Relaxed);
        bar.set_position(match shared.workload.until {
            Until::Operations(_) => done,
            Until::Elapsed(_) => shared.started.elapsed().as_secs(),
        });
        bar.set_message(format!("{} operations/s", done - before));
        before = done;
    }
}
