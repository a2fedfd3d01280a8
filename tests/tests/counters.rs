//! Counters and logged batches over real processes, while nodes are killed: nothing is counted twice, nothing that was
//! acknowledged is lost, and of a batch all is there or nothing.

use client::{ClientError, Session, SessionBuilder};
use e2e::Cluster;
use model::Consistency;
use model::error::Applied;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Counters, and clients of each.
const COUNTERS: i32 = 2;
const CLIENTS: i32 = 3;
/// Clients that write batches.
const WRITERS: i32 = 3;

/// What became of the writes of all clients.
#[derive(Debug, Default)]
struct Outcomes {
    /// By counter: increments acknowledged, and those of unknown outcome.
    counted: BTreeMap<i32, (i64, i64)>,
    /// By number: whether a batch was acknowledged; `None` when it is not known.
    batches: BTreeMap<i32, Option<bool>>,
}

type Shared = Arc<Mutex<Outcomes>>;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// Whether a write was applied; `None` when it is not known.
fn applied<T>(result: Result<T, ClientError>) -> Option<bool> {
    match result {
        Ok(_) => Some(true),
        Err(error) if error.applied() == Applied::No => Some(false),
        Err(_) => None,
    }
}

async fn connect(cluster: &Cluster) -> Session {
    let session = SessionBuilder::new(cluster.addresses()).timeout(Duration::from_secs(5)).connect().await.unwrap();
    for text in [
        "CREATE KEYSPACE k WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 3}",
        "CREATE TABLE k.n (p int PRIMARY KEY, v counter)",
        "CREATE TABLE k.a (p int, c int, PRIMARY KEY (p, c))",
        "CREATE TABLE k.b (p int, c int, PRIMARY KEY (p, c))",
    ] {
        session.execute(text, ()).await.unwrap();
    }
    session
}

async fn count(session: Session, shared: Shared, counter: i32, until: Instant) {
    let add = session.prepare("UPDATE k.n SET v = v + ? WHERE p = ?").await.unwrap().consistency(Consistency::Quorum);
    let mut by = 1;
    while Instant::now() < until {
        by = by % 7 + 1;
        let outcome = applied(session.execute_prepared(&add, (by, counter)).await);
        let mut all = shared.lock().unwrap();
        let (acknowledged, unknown) = all.counted.entry(counter).or_default();
        match outcome {
            Some(true) => *acknowledged += by,
            Some(false) => {}
            None => *unknown += by,
        }
    }
}

async fn write_batches(session: Session, shared: Shared, writer: i32, until: Instant) {
    let text = "BEGIN BATCH INSERT INTO k.a (p, c) VALUES (?, ?); INSERT INTO k.a (p, c) VALUES (?, ?); INSERT INTO \
                k.b (p, c) VALUES (?, ?); APPLY BATCH";
    let batch = session.prepare(text).await.unwrap().consistency(Consistency::Quorum);
    let mut number = writer;
    while Instant::now() < until {
        number += WRITERS;
        let (p, q) = (number % 5, number % 5 + 1);
        let outcome = applied(session.execute_prepared(&batch, (p, number, q, number, p, number)).await);
        shared.lock().unwrap().batches.insert(number, outcome);
    }
}

/// The batches of which a table has a row, with how many rows.
async fn rows(session: &Session, table: &str) -> BTreeMap<i32, usize> {
    let mut found = BTreeMap::new();
    for p in 0..7 {
        let select = session.prepare(&format!("SELECT c FROM k.{table} WHERE p = ?")).await.unwrap();
        let mut pages = session.pages_prepared(&select.consistency(Consistency::All), (p,)).unwrap();
        while let Some(page) = pages.next_page().await.unwrap() {
            for row in page.rows() {
                *found.entry(row.get::<i32>("c").unwrap()).or_default() += 1;
            }
        }
    }
    found
}

#[test]
fn counts_and_batches_are_whole_while_nodes_are_killed() {
    let mut cluster = Cluster::start(3);
    let shared = Shared::default();
    let runtime = runtime();
    let session = runtime.block_on(connect(&cluster));
    let until = Instant::now() + Duration::from_secs(15);
    let mut clients: Vec<_> = (0..COUNTERS * CLIENTS)
        .map(|number| runtime.spawn(count(session.clone(), shared.clone(), number % COUNTERS, until)))
        .collect();
    clients.extend((0..WRITERS).map(|writer| {
        let (session, shared) = (session.clone(), shared.clone());
        runtime.spawn(write_batches(session, shared, writer, until))
    }));
    for round in 0..3 {
        std::thread::sleep(Duration::from_secs(2));
        let node = cluster.node(round);
        node.kill();
        std::thread::sleep(Duration::from_secs(1));
        node.start();
        cluster.wait_up(3);
    }
    runtime.block_on(async {
        for client in clients {
            client.await.unwrap();
        }
    });
    // Who keeps a batch that its coordinator did not finish writes it.
    std::thread::sleep(Duration::from_secs(15));
    cluster.wait_no_hints();
    let outcomes = std::mem::take(&mut *shared.lock().unwrap());
    runtime.block_on(async {
        let read = session.prepare("SELECT v FROM k.n WHERE p = ?").await.unwrap().consistency(Consistency::All);
        for (counter, (acknowledged, unknown)) in &outcomes.counted {
            let result = session.execute_prepared(&read, (*counter,)).await.unwrap();
            let value = result.first().expect("it was counted").get::<i64>("v").unwrap();
            println!("counter {counter}: {acknowledged} acknowledged, {unknown} unknown, {value} counted");
            assert!(*acknowledged > 100, "{acknowledged} acknowledged");
            assert!(value >= *acknowledged && value <= acknowledged + unknown, "{value} of {outcomes:?}");
        }
        let (a, b) = (rows(&session, "a").await, rows(&session, "b").await);
        let all: BTreeSet<i32> = a.keys().chain(b.keys()).copied().collect();
        assert!(all.iter().all(|number| outcomes.batches.contains_key(number)));
        let mut unknown = 0;
        for (number, outcome) in &outcomes.batches {
            let parts = a.get(number).unwrap_or(&0) + b.get(number).unwrap_or(&0);
            let expected: &[usize] = match outcome {
                Some(true) => &[3],
                Some(false) => &[0],
                None => &[0, 3],
            };
            unknown += usize::from(outcome.is_none());
            assert!(expected.contains(&parts), "{parts} parts of batch {number}, {outcome:?}");
        }
        println!("{} batches, {unknown} of unknown outcome", outcomes.batches.len());
        assert!(outcomes.batches.len() > 50);
    });
}
