//! One node asked for more than it can do: what it still does, how soon it says no, what memory that takes, and how
//! soon it is itself again.
//!
//! Each operation reads a partition of 500 rows: dear enough that one generator can ask for ten times what a node can
//! answer on the same machine. Requests are sent at their time, whether or not earlier ones are answered, and never
//! tried again.

use crate::nodes::{self, Nodes};
use crate::resident;
use anyhow::{Context, Result, ensure};
use client::{ClientError, PreparedStatement, Session, SessionBuilder};
use hdrhistogram::Histogram;
use model::RequestError;
use serde_json::{Map, Value, json};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const PARTITIONS: i64 = 200;
const ROWS: i32 = 500;
const VALUE_BYTES: usize = 100;
/// Operations under way when it is measured what the node can do.
const IN_FLIGHT: u64 = 64;
/// How long a request may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Requests under way at most: beyond them the generator would measure itself. What it could not send is told.
const UNANSWERED_MAX: u64 = 200_000;

/// What became of requests.
struct Outcome {
    seconds: f64,
    offered: u64,
    /// Not sent, since too many were under way.
    unsent: u64,
    succeeded: u64,
    /// Microseconds from sending to the answer.
    latency: Histogram<u64>,
    refused: Histogram<u64>,
    /// Neither answered with rows nor refused as overload.
    failed: u64,
}

/// Counted while requests are under way.
struct Counts {
    under_way: AtomicU64,
    seen: parking_lot::Mutex<(Histogram<u64>, Histogram<u64>, u64)>,
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 3_600_000_000, 3).expect("the bounds are in order")
}

struct Target {
    session: Session,
    select: PreparedStatement,
}

impl Target {
    async fn prepare(address: &str) -> Result<Target> {
        let session = SessionBuilder::new([address]).timeout(TIMEOUT).retries(0).connect().await?;
        let keyspace = "CREATE KEYSPACE IF NOT EXISTS bench WITH replication = {'class': 'SimpleStrategy', \
                        'replication_factor': 1}";
        session.execute(keyspace, ()).await?;
        let table = "CREATE TABLE IF NOT EXISTS bench.overload (k bigint, c int, v blob, PRIMARY KEY (k, c))";
        session.execute(table, ()).await?;
        let insert = session.prepare("INSERT INTO bench.overload (k, c, v) VALUES (?, ?, ?)").await?;
        for k in 0..PARTITIONS {
            let rows = (0..ROWS).map(|c| session.execute_prepared(&insert, (k, c, vec![7_u8; VALUE_BYTES])));
            for written in join_all(rows.collect()).await {
                written?;
            }
        }
        let select = session.prepare("SELECT c, v FROM bench.overload WHERE k = ?").await?;
        Ok(Target { session, select })
    }

    async fn read(&self, number: u64) -> Result<(), ClientError> {
        let k = (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % PARTITIONS as u64) as i64;
        self.session.execute_prepared(&self.select, (k,)).await.map(|_| ())
    }
}

async fn join_all<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    use tokio_stream::StreamExt;
    let mut answers = Vec::with_capacity(futures.len());
    let mut waiting: futures::stream::FuturesUnordered<F> = futures.into_iter().collect();
    while let Some(answer) = waiting.next().await {
        answers.push(answer);
    }
    answers
}

/// What the node does when so many requests are always under way.
async fn saturate(target: &Arc<Target>, seconds: u64) -> Result<Outcome> {
    let (started, next) = (Instant::now(), Arc::new(AtomicU64::new(0)));
    let ends = started + Duration::from_secs(seconds);
    let worker = |_| {
        let (target, next) = (Arc::clone(target), Arc::clone(&next));
        tokio::spawn(async move {
            let mut latency = histogram();
            while Instant::now() < ends {
                let sent = Instant::now();
                target.read(next.fetch_add(1, Ordering::Relaxed)).await?;
                latency.saturating_record(micros(sent.elapsed()));
            }
            Ok::<_, ClientError>(latency)
        })
    };
    let mut latency = histogram();
    for worker in (0..IN_FLIGHT).map(worker).collect::<Vec<_>>() {
        latency.add(worker.await.context("a worker ends")??)?;
    }
    let offered = next.load(Ordering::Relaxed);
    let seconds = started.elapsed().as_secs_f64();
    let succeeded = latency.len();
    Ok(Outcome { seconds, offered, unsent: 0, succeeded, latency, refused: histogram(), failed: 0 })
}

/// Sends `rate` requests in a second, whatever becomes of them; `node` is the process whose memory is looked at. The
/// answers that come until the requests' time is over count.
async fn offer(target: &Arc<Target>, rate: f64, seconds: u64, node: u32) -> Result<(Outcome, u64)> {
    let seen = parking_lot::Mutex::new((histogram(), histogram(), 0));
    let counts = Arc::new(Counts { under_way: AtomicU64::new(0), seen });
    let (started, mut offered, mut unsent, mut resident_bytes) = (Instant::now(), 0_u64, 0_u64, 0);
    let ends = started + Duration::from_secs(seconds);
    while Instant::now() < ends {
        let due = (started.elapsed().as_secs_f64() * rate) as u64;
        while offered < due {
            offered += 1;
            if counts.under_way.load(Ordering::Relaxed) >= UNANSWERED_MAX {
                unsent += 1;
                continue;
            }
            counts.under_way.fetch_add(1, Ordering::Relaxed);
            let (target, counts) = (Arc::clone(target), Arc::clone(&counts));
            tokio::spawn(async move {
                let sent = Instant::now();
                let result = target.read(offered).await;
                let took = micros(sent.elapsed());
                let mut seen = counts.seen.lock();
                match result {
                    Ok(()) => seen.0.saturating_record(took),
                    Err(ClientError::Request(RequestError::Overloaded(_))) => seen.1.saturating_record(took),
                    Err(_) => seen.2 += 1,
                }
                drop(seen);
                counts.under_way.fetch_sub(1, Ordering::Relaxed);
            });
        }
        resident_bytes = resident_bytes.max(resident::bytes(node)?);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // Answers within the time of the load are its goodput; what comes later is waited for, so that nothing of it
    // disturbs what is measured next.
    let elapsed = started.elapsed().as_secs_f64();
    let (latency, refused, failed) = counts.seen.lock().clone();
    while counts.under_way.load(Ordering::Relaxed) > 0 && started.elapsed() < Duration::from_secs(seconds) + 2 * TIMEOUT
    {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let succeeded = latency.len();
    Ok((Outcome { seconds: elapsed, offered, unsent, succeeded, latency, refused, failed }, resident_bytes))
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1)
}

/// Measures it: what the node can do, what it does at three and at ten times as much, and afterwards at half of it
/// second by second.
///
/// # Errors
/// When the node does not start or ends.
pub(crate) fn measure(helenus: &Path, seconds: u64, figures: &mut Map<String, Value>) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let nodes: Nodes = nodes::start_one(helenus, folder.path())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let target = Arc::new(Target::prepare(nodes::addresses_of_one().0).await?);
        saturate(&target, 2).await?;
        let peak = saturate(&target, seconds).await?;
        let capacity = peak.succeeded as f64 / peak.seconds;
        ensure!(capacity > 0.0, "the node answers nothing");
        let mut put = |name: String, value: f64| drop(figures.insert(format!("overload_{name}"), json!(value)));
        put("capacity_per_second".to_owned(), capacity);
        put("capacity_p99_micros".to_owned(), peak.latency.value_at_quantile(0.99) as f64);
        let mut missed = Vec::new();
        for (times, goodput_least) in [(3.0, 0.9), (10.0, 0.8)] {
            let (outcome, resident_bytes) = offer(&target, times * capacity, seconds, nodes.first()).await?;
            let goodput = outcome.succeeded as f64 / outcome.seconds / capacity;
            let rejection = outcome.refused.value_at_quantile(0.99);
            let of = |name: &str| format!("at_{times}_times_{name}");
            put(of("offered_per_second"), (outcome.offered - outcome.unsent) as f64 / outcome.seconds);
            put(of("goodput_ratio"), goodput);
            put(of("answered_p99_micros"), outcome.latency.value_at_quantile(0.99) as f64);
            put(of("refused_per_second"), outcome.refused.len() as f64 / outcome.seconds);
            put(of("refused_p99_micros"), rejection as f64);
            put(of("failed_per_second"), outcome.failed as f64 / outcome.seconds);
            put(of("resident_mib"), resident_bytes as f64 / 1_048_576.0);
            if goodput < goodput_least {
                missed.push(format!(
                    "goodput at {times} times the capacity: {goodput:.2} of it, at least {goodput_least}"
                ));
            }
            if rejection > 5_000 {
                missed.push(format!("at {times} times the capacity refusals take {rejection} us at p99, at most 5000"));
            }
            let recovered = recovery(&target, capacity / 2.0, nodes.first()).await?;
            put(of("recovery_seconds"), recovered.unwrap_or(f64::INFINITY).min(1e6));
            if recovered.is_none() {
                missed.push(format!("after {times} times the capacity the node is not itself again within 5 s"));
            }
        }
        crate::note_missed(figures, missed);
        Ok(())
    })
}

/// Seconds until the node answers at least 95 % of what it is asked at `rate` in a second; `None` after five.
async fn recovery(target: &Arc<Target>, rate: f64, node: u32) -> Result<Option<f64>> {
    for second in 0..5 {
        let (outcome, _) = offer(target, rate, 1, node).await?;
        // What is under way at the end of a second is not yet answered.
        let sent = outcome.offered - outcome.unsent;
        if outcome.refused.is_empty() && outcome.failed == 0 && outcome.succeeded as f64 >= sent as f64 * 0.95 {
            return Ok(Some(f64::from(second)));
        }
    }
    Ok(None)
}
