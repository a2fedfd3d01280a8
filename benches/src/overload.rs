//! One node asked for more than it can do: what it still does, how soon it says no, what memory that takes, and how
//! soon it is itself again.
//!
//! Each operation reads a partition of 500 rows: dear enough that one generator can ask for ten times what a node can
//! answer on the same machine. Requests are sent at their time, whether or not earlier ones are answered, and never
//! tried again.
//!
//! The node has one half of the processors and the generator the other: neither takes from the other what is measured.
//! The generator also says how late it was with its own requests: what it measures of others is at least that much off.

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
/// Connections, each with its own stream of requests.
const CONNECTIONS: usize = 4;
/// What the node may take in memory: its block cache and write buffers, as they are by default, the answers that may be
/// on their way, and a tenth.
const RESIDENT_MIB_MAX: f64 = 1.1 * (256.0 + 256.0 + 256.0);
/// A refusal may take so many microseconds, for 99 of 100.
const REFUSED_MICROS_MAX: u64 = 5_000;
/// A generator that is later than this, with one of 100, measures itself.
const LATE_MICROS_MAX: u64 = 3_000;

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
    /// By how many microseconds requests were sent late.
    late: Histogram<u64>,
    /// Processor time of the generator, of what it could have had.
    generator_busy: f64,
    /// Until the last request was answered, after the load.
    drained: f64,
    resident_bytes: u64,
    /// Processor time of the node within the time of the load.
    node_seconds: f64,
}

/// What the node can do.
struct Peak {
    per_second: f64,
    latency: Histogram<u64>,
    /// Processor time of the node for an answer.
    node_micros: f64,
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
        let builder = SessionBuilder::new([address]).timeout(TIMEOUT).retries(0);
        let builder = builder.connections_per_node(CONNECTIONS).in_flight_per_connection(UNANSWERED_MAX as usize);
        let session = builder.connect().await?;
        let keyspace = "CREATE KEYSPACE IF NOT EXISTS bench WITH replication = {'class': 'SimpleStrategy', \
                        'replication_factor': 1}";
        session.execute(keyspace, ()).await?;
        let table = "CREATE TABLE IF NOT EXISTS bench.overload (k bigint, c int, v blob, PRIMARY KEY (k, c))";
        session.execute(table, ()).await?;
        let insert = session.prepare("INSERT INTO bench.overload (k, c, v) VALUES (?, ?, ?)").await?;
        for k in 0..PARTITIONS {
            for part in (0..ROWS).collect::<Vec<_>>().chunks(IN_FLIGHT as usize) {
                let rows = part.iter().map(|c| session.execute_prepared(&insert, (k, *c, vec![7_u8; VALUE_BYTES])));
                for written in join_all(rows.collect()).await {
                    written?;
                }
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
async fn saturate(target: &Arc<Target>, seconds: u64, node: u32) -> Result<Peak> {
    let node_before = nodes::cpu_seconds(node)?;
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
    let per_second = latency.len() as f64 / started.elapsed().as_secs_f64();
    let node_micros = (nodes::cpu_seconds(node)? - node_before) * 1e6 / latency.len() as f64;
    Ok(Peak { per_second, latency, node_micros })
}

/// Sends `rate` requests in a second, whatever becomes of them; `node` is the process whose memory is looked at. The
/// answers that come until the requests' time is over count.
async fn offer(target: &Arc<Target>, rate: f64, seconds: u64, node: u32) -> Result<Outcome> {
    let seen = parking_lot::Mutex::new((histogram(), histogram(), 0));
    let counts = Arc::new(Counts { under_way: AtomicU64::new(0), seen });
    let (started, mut offered, mut unsent, mut resident_bytes) = (Instant::now(), 0_u64, 0_u64, 0);
    let (ends, busy_before, mut late) = (started + Duration::from_secs(seconds), own_seconds()?, histogram());
    let node_before = nodes::cpu_seconds(node)?;
    while Instant::now() < ends {
        let due = (started.elapsed().as_secs_f64() * rate) as u64;
        while offered < due {
            offered += 1;
            if counts.under_way.load(Ordering::Relaxed) >= UNANSWERED_MAX {
                unsent += 1;
                continue;
            }
            let waited = started.elapsed().as_secs_f64() - offered as f64 / rate;
            late.saturating_record(micros(Duration::from_secs_f64(waited.max(0.0))));
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
    let node_seconds = nodes::cpu_seconds(node)? - node_before;
    let generator_busy = (own_seconds()? - busy_before) / elapsed / processors().1.len() as f64;
    let (latency, refused, failed) = counts.seen.lock().clone();
    while counts.under_way.load(Ordering::Relaxed) > 0 && started.elapsed() < Duration::from_secs(seconds) + 2 * TIMEOUT
    {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(Outcome {
        seconds: elapsed,
        offered,
        unsent,
        succeeded: latency.len(),
        latency,
        refused,
        failed,
        late,
        generator_busy,
        drained: started.elapsed().as_secs_f64() - elapsed,
        resident_bytes,
        node_seconds,
    })
}

fn own_seconds() -> Result<f64> {
    nodes::cpu_seconds(std::process::id())
}

/// The processors of the node, and those of the generator: halves of what this process may use, or all of it where that
/// is one.
fn processors() -> (Vec<usize>, Vec<usize>) {
    static ALL: std::sync::OnceLock<Vec<usize>> = std::sync::OnceLock::new();
    let all = ALL.get_or_init(allowed_processors);
    match all.split_at(all.len() / 2) {
        ([], all) => (all.to_vec(), all.to_vec()),
        (first, second) => (first.to_vec(), second.to_vec()),
    }
}

#[allow(unsafe_code, reason = "processors of a thread have no safe form in std")]
fn allowed_processors() -> Vec<usize> {
    // SAFETY: a set of processors is plain bits, for which all zeros is a value; the call writes no more than its size.
    let set = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set);
        set
    };
    // SAFETY: the index is below the number of bits of the set.
    (0..libc::CPU_SETSIZE as usize).filter(|index| unsafe { libc::CPU_ISSET(*index, &set) }).collect()
}

/// This thread, and those that it starts, processes too, run on these processors.
#[allow(unsafe_code, reason = "processors of a thread have no safe form in std")]
fn keep_to(processors: &[usize]) -> Result<()> {
    // SAFETY: a set of processors is plain bits, for which all zeros is a value; indexes come from such a set; the call
    // reads no more than its size.
    let failed = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        processors.iter().for_each(|index| libc::CPU_SET(*index, &mut set));
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set) != 0
    };
    ensure!(!failed, "the processors of the generator: {}", std::io::Error::last_os_error());
    Ok(())
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
    let (of_node, own) = processors();
    keep_to(&of_node)?;
    let nodes: Nodes = nodes::start_one(helenus, folder.path())?;
    keep_to(&own)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(own.len()).enable_all().build()?;
    runtime.block_on(async {
        let target = Arc::new(Target::prepare(nodes::addresses_of_one().0).await?);
        saturate(&target, 2, nodes.first()).await?;
        let peak = saturate(&target, seconds, nodes.first()).await?;
        let capacity = peak.per_second;
        ensure!(capacity > 0.0, "the node answers nothing");
        figures.insert("overload_capacity_per_second".to_owned(), json!(capacity));
        figures.insert("overload_capacity_p99_micros".to_owned(), json!(peak.latency.value_at_quantile(0.99) as f64));
        figures.insert("overload_capacity_node_cpu_micros".to_owned(), json!(peak.node_micros));
        for (times, goodput_least) in [(3.0, 0.9), (10.0, 0.8)] {
            let outcome = offer(&target, times * capacity, seconds, nodes.first()).await?;
            note(figures, times, &peak, goodput_least, &outcome);
            let recovered = recovery(&target, capacity / 2.0, nodes.first()).await?;
            let recovered =
                recovered.map(|after| after + outcome.drained).filter(|after| *after <= RECOVERY_SECONDS_MAX);
            let figure = recovered.map_or(Value::Null, |after| json!(after));
            figures.insert(format!("overload_at_{times}_times_recovery_seconds"), figure);
            let missed = format!("after {times} times the capacity the node is not itself again within 5 s");
            crate::note_missed(figures, recovered.is_none().then_some(missed));
        }
        Ok(())
    })
}

/// Puts the figures of a load into `figures`, and what of them is worse than promised.
fn note(figures: &mut Map<String, Value>, times: f64, peak: &Peak, goodput_least: f64, outcome: &Outcome) {
    let mut put = |name: &str, value: f64| {
        figures.insert(format!("overload_at_{times}_times_{name}"), json!(value));
    };
    let at = |histogram: &Histogram<u64>| histogram.value_at_quantile(0.99);
    let (goodput, rejection) = (outcome.succeeded as f64 / outcome.seconds / peak.per_second, at(&outcome.refused));
    let (resident, late) = (outcome.resident_bytes as f64 / 1_048_576.0, at(&outcome.late));
    put("offered_per_second", (outcome.offered - outcome.unsent) as f64 / outcome.seconds);
    put("unsent_per_second", outcome.unsent as f64 / outcome.seconds);
    put("goodput_ratio", goodput);
    put("answered_p99_micros", at(&outcome.latency) as f64);
    put("refused_per_second", outcome.refused.len() as f64 / outcome.seconds);
    put("refused_p50_micros", outcome.refused.value_at_quantile(0.5) as f64);
    put("refused_p99_micros", rejection as f64);
    put("failed_per_second", outcome.failed as f64 / outcome.seconds);
    put("resident_mib", resident);
    // The part of its processor time that answers would have taken at its capacity: other work on the machine changes
    // this little.
    put("node_cpu_for_answers_ratio", outcome.succeeded as f64 * peak.node_micros / 1e6 / outcome.node_seconds);
    put("node_busy_ratio", outcome.node_seconds / outcome.seconds / processors().0.len() as f64);
    put("generator_late_p99_micros", late as f64);
    put("generator_busy_ratio", outcome.generator_busy);
    let missed = [
        (goodput < goodput_least, format!("goodput is {goodput:.2} of the capacity, at least {goodput_least}")),
        (rejection > REFUSED_MICROS_MAX, format!("refusals take {rejection} us at p99, at most {REFUSED_MICROS_MAX}")),
        (resident > RESIDENT_MIB_MAX, format!("{resident:.0} MiB are resident, at most {RESIDENT_MIB_MAX:.0}")),
        (late > LATE_MICROS_MAX, format!("the generator is late by {late} us at p99: it measures itself")),
        (outcome.unsent > 0, format!("{} requests could not be sent", outcome.unsent)),
    ];
    let missed = missed.into_iter().filter(|(is_missed, _)| *is_missed);
    crate::note_missed(figures, missed.map(|(_, what)| format!("at {times} times the capacity: {what}")));
}

/// A node must be itself again within so long after the load.
const RECOVERY_SECONDS_MAX: f64 = 5.0;

/// Seconds until the node answers at least 95 % of what it is asked at `rate` in a second; `None` when it does not.
async fn recovery(target: &Arc<Target>, rate: f64, node: u32) -> Result<Option<f64>> {
    for second in 0..5 {
        let outcome = offer(target, rate, 1, node).await?;
        // What is under way at the end of a second is not yet answered.
        let sent = outcome.offered - outcome.unsent;
        if outcome.refused.is_empty() && outcome.failed == 0 && outcome.succeeded as f64 >= sent as f64 * 0.95 {
            return Ok(Some(f64::from(second)));
        }
    }
    Ok(None)
}
