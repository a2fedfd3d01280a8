//! No acknowledged write is lost: not by killing nodes while they are written to, not by power cuts.
//!
//! `HELENUS_CYCLES` and `HELENUS_SEED` scale the loops: see `cargo xtask soak`.

use client::{ClientError, PreparedStatement, Session, SessionBuilder};
use e2e::Cluster;
use e2e::power_cut::PowerCut;
use model::{Consistency, Rng};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

/// Kills or power cuts in a loop unless told otherwise.
const CYCLES: usize = 20;
/// Writers at once.
const WRITERS: usize = 16;

/// How many cycles, and where their random moments begin.
fn cycles() -> (usize, Rng) {
    let setting = |name, default| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    (setting("HELENUS_CYCLES", CYCLES as u64) as usize, Rng::new(setting("HELENUS_SEED", 1)))
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// Counts up keys, writing each once, and remembers which were acknowledged.
struct Ledger {
    next: AtomicI64,
    stop: AtomicBool,
    acknowledged: std::sync::Mutex<Vec<i64>>,
}

impl Ledger {
    fn new() -> Arc<Ledger> {
        let (next, stop) = (AtomicI64::new(0), AtomicBool::new(false));
        Arc::new(Ledger { next, stop, acknowledged: std::sync::Mutex::new(Vec::new()) })
    }

    fn count(&self) -> usize {
        self.acknowledged.lock().unwrap().len()
    }

    /// Writes until told to stop; an error is an unknown outcome and the key is given up.
    async fn write(self: Arc<Ledger>, session: Session, insert: PreparedStatement) {
        while !self.stop.load(Ordering::Relaxed) {
            let key = self.next.fetch_add(1, Ordering::Relaxed);
            match session.execute_prepared(&insert, (key, format!("value of {key}"))).await {
                Ok(_) => self.acknowledged.lock().unwrap().push(key),
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    }
}

async fn connect(addresses: &[String]) -> Session {
    let builder = || SessionBuilder::new(addresses).timeout(Duration::from_secs(2));
    let started = Instant::now();
    loop {
        match builder().connect().await {
            Ok(session) => return session,
            Err(error) => assert!(started.elapsed() < e2e::PATIENCE, "cannot connect: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn schema(session: &Session, replicas: usize) -> Result<(), ClientError> {
    let keyspace = format!(
        "CREATE KEYSPACE IF NOT EXISTS k \
         WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': {replicas}}}"
    );
    session.execute(keyspace.as_str(), ()).await?;
    session.execute("CREATE TABLE IF NOT EXISTS k.t (id bigint PRIMARY KEY, v text)", ()).await?;
    Ok(())
}

/// The acknowledged keys whose value is not there.
async fn missing(session: &Session, keys: &[i64], consistency: Consistency) -> Vec<i64> {
    let select = session.prepare("SELECT v FROM k.t WHERE id = ?").await.unwrap().consistency(consistency);
    let mut missing = Vec::new();
    for key in keys {
        let started = Instant::now();
        let result = loop {
            match session.execute_prepared(&select, (*key,)).await {
                Ok(result) => break result,
                Err(error) => assert!(started.elapsed() < e2e::PATIENCE, "reading {key}: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        let value = result.first().map(|row| row.get::<String>("v").unwrap());
        if value.as_deref() != Some(format!("value of {key}").as_str()) {
            missing.push(*key);
        }
    }
    missing
}

/// Waits until the ledger has grown by `more`, so that a kill falls into running writes.
async fn wait_for_writes(ledger: &Ledger, more: usize) {
    let (target, started) = (ledger.count() + more, Instant::now());
    while ledger.count() < target {
        assert!(started.elapsed() < e2e::PATIENCE, "no write is acknowledged any more");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[test]
fn no_write_acknowledged_at_quorum_is_lost_when_nodes_are_killed_in_turn() {
    let mut cluster = Cluster::start(3);
    let runtime = runtime();
    let addresses = cluster.addresses();
    let session = runtime.block_on(connect(&addresses));
    runtime.block_on(schema(&session, 3)).unwrap();
    let (ledger, writers) = start_writers(&runtime, &session, 0);
    let (kills, mut rng) = cycles();
    for kill in 0..kills {
        runtime.block_on(wait_for_writes(&ledger, 20));
        std::thread::sleep(Duration::from_millis(rng.below(40)));
        cluster.node(kill % 3).kill();
        runtime.block_on(wait_for_writes(&ledger, 20));
        cluster.node(kill % 3).start();
        cluster.wait_up(3);
    }
    let keys = stop_writers(&runtime, &ledger, writers);
    eprintln!("{kills} kills, {} writes acknowledged at QUORUM", keys.len());
    assert!(keys.len() >= kills * 40);
    assert_eq!(runtime.block_on(missing(&session, &keys, Consistency::Quorum)), Vec::<i64>::new());
}

#[test]
fn no_acknowledged_write_is_lost_when_the_only_node_is_killed() {
    let mut cluster = Cluster::start(1);
    let runtime = runtime();
    let addresses = cluster.addresses();
    let (kills, mut rng) = cycles();
    let mut first_key = 0;
    let mut keys = Vec::new();
    for _ in 0..kills {
        let session = runtime.block_on(connect(&addresses));
        runtime.block_on(schema(&session, 1)).unwrap();
        let (ledger, writers) = start_writers(&runtime, &session, first_key);
        runtime.block_on(wait_for_writes(&ledger, 50));
        std::thread::sleep(Duration::from_millis(rng.below(60)));
        cluster.node(0).kill();
        let acknowledged = stop_writers(&runtime, &ledger, writers);
        first_key = ledger.next.load(Ordering::Relaxed);
        drop(session);
        cluster.node(0).start();
        let session = runtime.block_on(connect(&addresses));
        assert_eq!(runtime.block_on(missing(&session, &acknowledged, Consistency::One)), Vec::<i64>::new());
        keys.extend(acknowledged);
    }
    let session = runtime.block_on(connect(&addresses));
    assert_eq!(runtime.block_on(missing(&session, &keys, Consistency::One)), Vec::<i64>::new());
    eprintln!("{kills} kills of one node, {} acknowledged writes, none lost", keys.len());
}

/// Starts writers of keys from `first_key` on.
fn start_writers(
    runtime: &tokio::runtime::Runtime,
    session: &Session,
    first_key: i64,
) -> (Arc<Ledger>, Vec<tokio::task::JoinHandle<()>>) {
    let insert = runtime.block_on(session.prepare("INSERT INTO k.t (id, v) VALUES (?, ?)")).unwrap();
    let ledger = Ledger::new();
    ledger.next.store(first_key, Ordering::Relaxed);
    let write = |_| runtime.spawn(Arc::clone(&ledger).write(session.clone(), insert.clone()));
    let writers = (0..WRITERS).map(write).collect();
    (ledger, writers)
}

/// Ends them, and gives the keys that were acknowledged.
fn stop_writers(
    runtime: &tokio::runtime::Runtime,
    ledger: &Ledger,
    writers: Vec<tokio::task::JoinHandle<()>>,
) -> Vec<i64> {
    ledger.stop.store(true, Ordering::Relaxed);
    for writer in writers {
        runtime.block_on(writer).unwrap();
    }
    ledger.acknowledged.lock().unwrap().clone()
}

/// Writes to one node under the power-cut library, cuts the power, and returns how many acknowledged writes are
/// missing or unreadable after the next start, and how many there were.
fn power_cut(cluster: &mut Cluster, cut: &PowerCut, lie: bool, first_key: i64, rng: &mut Rng) -> (usize, usize) {
    let runtime = runtime();
    let mut command = cluster.node(0).command();
    cut.arm(&mut command, lie);
    cluster.node(0).start_as(command);
    let addresses = cluster.addresses();
    let session = runtime.block_on(connect(&addresses));
    runtime.block_on(schema(&session, 1)).unwrap();
    let (ledger, writers) = start_writers(&runtime, &session, first_key);
    runtime.block_on(wait_for_writes(&ledger, 100));
    std::thread::sleep(Duration::from_millis(rng.below(60)));
    cluster.node(0).kill();
    let keys = stop_writers(&runtime, &ledger, writers);
    drop(session);
    // A liar's disk keeps nothing, or the control would show nothing.
    let torn = !lie && rng.chance(500);
    cut.cut(torn.then_some(rng)).unwrap();
    cluster.node(0).start();
    let started = Instant::now();
    while cluster.node(0).status().is_none() {
        if let Some(status) = cluster.node(0).ended() {
            // A refusal to serve what is less than was synced catches the loss too.
            eprintln!("the node refuses to start: {status}");
            return (keys.len(), keys.len());
        }
        assert!(started.elapsed() < e2e::PATIENCE, "the node does not come up");
        std::thread::sleep(Duration::from_millis(20));
    }
    let session = runtime.block_on(connect(&addresses));
    let lost = match runtime.block_on(session.prepare("SELECT v FROM k.t WHERE id = ?")) {
        Ok(_) => runtime.block_on(missing(&session, &keys, Consistency::One)).len(),
        // The table itself was acknowledged and is gone.
        Err(_) => keys.len(),
    };
    cluster.node(0).kill();
    (lost, keys.len())
}

#[test]
fn no_acknowledged_write_is_lost_by_power_cuts() {
    let mut cluster = Cluster::configured(1, "");
    let (state, data) = (tempfile::tempdir().unwrap(), cluster.node(0).data.clone());
    std::fs::create_dir_all(&data).unwrap();
    let cut = PowerCut::new(state.path(), &data).unwrap();
    let mut written = 0;
    let (power_cuts, mut rng) = cycles();
    for number in 0..power_cuts {
        let (lost, acknowledged) = power_cut(&mut cluster, &cut, false, number as i64 * 1_000_000, &mut rng);
        assert_eq!(lost, 0, "of {acknowledged} acknowledged writes");
        written += acknowledged;
    }
    eprintln!("{power_cuts} power cuts, {written} acknowledged writes, none lost");
}

#[test]
fn a_disk_that_lies_about_syncs_is_caught() {
    let mut cluster = Cluster::configured(1, "");
    let (state, data) = (tempfile::tempdir().unwrap(), cluster.node(0).data.clone());
    std::fs::create_dir_all(&data).unwrap();
    let cut = PowerCut::new(state.path(), &data).unwrap();
    let (lost, acknowledged) = power_cut(&mut cluster, &cut, true, 0, &mut Rng::new(1));
    eprintln!("lying syncs: {lost} of {acknowledged} acknowledged writes lost");
    assert!(lost > 0, "the test would not see a loss");
}
