//! Lightweight transactions over real processes: clients compare and set registers while nodes are killed and stopped,
//! and the history of each register is linearizable.

use client::{ClientError, Session, SessionBuilder, Statement};
use e2e::{Cluster, signal};
use model::{Consistency, RequestError};
use sim::oracle::linearizability::{Entry, Register, RegisterOperation, Verdict, check};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Registers, and clients of each.
const REGISTERS: i32 = 3;
const CLIENTS: u64 = 4;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

async fn connect(cluster: &Cluster) -> Session {
    let session = SessionBuilder::new(cluster.addresses()).timeout(Duration::from_secs(5)).connect().await.unwrap();
    let keyspace = "CREATE KEYSPACE k WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 3}";
    session.execute(keyspace, ()).await.unwrap();
    session.execute("CREATE TABLE k.r (p int PRIMARY KEY, v bigint)", ()).await.unwrap();
    session
}

type History = Arc<Mutex<BTreeMap<i32, Vec<Entry<RegisterOperation>>>>>;

/// Compares and sets a register, and reads it, until `until`; `number` is the client's.
async fn work(session: Session, history: History, register: i32, number: u64, began: Instant, until: Instant) {
    let insert = session.prepare("INSERT INTO k.r (p, v) VALUES (?, ?) IF NOT EXISTS").await.unwrap();
    let update = session.prepare("UPDATE k.r SET v = ? WHERE p = ? IF v = ?").await.unwrap();
    let read = session.prepare("SELECT v FROM k.r WHERE p = ?").await.unwrap().consistency(Consistency::Serial);
    let micros = |at: Instant| at.duration_since(began).as_micros() as u64;
    let mut believed: Option<u64> = None;
    let mut next = number << 32;
    while Instant::now() < until {
        next += 1;
        let (called, to) = (micros(Instant::now()), next);
        let result = match (next % 4, believed) {
            (0, _) => session.execute_prepared(&read, (register,)).await,
            (_, None) => session.execute_prepared(&insert, (register, to as i64)).await,
            (_, Some(from)) => session.execute_prepared(&update, (to as i64, register, from as i64)).await,
        };
        let returned = Some(micros(Instant::now()));
        let (from, is_read) = (believed, next.is_multiple_of(4));
        let cas = |applied, shown| RegisterOperation::CompareAndSet { from, to: Some(to), applied, shown };
        let entry = match result {
            Ok(result) if is_read => {
                believed = result.first().map(|row| row.get::<i64>("v").unwrap() as u64);
                Entry { called, returned, operation: RegisterOperation::Read(believed) }
            }
            Ok(result) => {
                let row = result.first().expect("a conditional statement has a row");
                let applied = row.get::<bool>("[applied]").unwrap();
                let shown = row.get::<i64>("v").ok().map(|value| value as u64);
                believed = if applied { Some(to) } else { shown };
                Entry { called, returned, operation: cas(Some(applied), shown) }
            }
            Err(_) if is_read => continue,
            // What is said to be without effect is held to it.
            Err(ClientError::Request(error)) if error.applied() == model::error::Applied::No => continue,
            Err(_) => Entry { called, returned: None, operation: cas(None, None) },
        };
        history.lock().unwrap().entry(register).or_default().push(entry);
    }
}

#[test]
fn registers_are_linearizable_while_nodes_are_killed_and_stopped() {
    let mut cluster = Cluster::start(3);
    let history: History = Arc::default();
    let runtime = runtime();
    let session = runtime.block_on(connect(&cluster));
    let (began, seconds) = (Instant::now(), 20);
    let until = began + Duration::from_secs(seconds);
    let clients: Vec<_> = (0..REGISTERS as u64 * CLIENTS)
        .map(|number| {
            let register = (number % REGISTERS as u64) as i32;
            runtime.spawn(work(session.clone(), history.clone(), register, number, began, until))
        })
        .collect();
    for round in 0..3 {
        std::thread::sleep(Duration::from_secs(2));
        let node = cluster.node(round % 3);
        node.kill();
        std::thread::sleep(Duration::from_secs(1));
        node.start();
        let stopped = cluster.node((round + 1) % 3).id().unwrap();
        signal(stopped, "STOP");
        std::thread::sleep(Duration::from_millis(700));
        signal(stopped, "CONT");
        cluster.wait_up(3);
    }
    let history = runtime.block_on(async {
        for client in clients {
            client.await.unwrap();
        }
        let mut all = std::mem::take(&mut *history.lock().unwrap());
        // All decided by now: a last read of each register, by every node.
        let read = session.prepare("SELECT v FROM k.r WHERE p = ?").await.unwrap().consistency(Consistency::Serial);
        for (register, history) in &mut all {
            let called = began.elapsed().as_micros() as u64;
            let result = session.execute_prepared(&read, (*register,)).await.unwrap();
            let seen = result.first().map(|row| row.get::<i64>("v").unwrap() as u64);
            let returned = Some(began.elapsed().as_micros() as u64);
            history.push(Entry { called, returned, operation: RegisterOperation::Read(seen) });
        }
        all
    });
    let (mut known, mut unknown) = (0, 0);
    for (register, history) in &history {
        assert_eq!(check(&Register, None, history, 50_000_000), Verdict::Linearizable, "register {register}");
        unknown += history.iter().filter(|entry| entry.returned.is_none()).count();
        known += history.iter().filter(|entry| entry.returned.is_some()).count();
    }
    println!("{known} operations decided, {unknown} unknown");
    assert!(history.len() == REGISTERS as usize && known > 100, "{known} operations decided");
}

#[test]
fn of_64_clients_at_one_partition_each_is_applied_once_and_none_times_out() {
    let cluster = Cluster::start(3);
    runtime().block_on(async {
        let session = connect(&cluster).await;
        session.execute("INSERT INTO k.r (p, v) VALUES (1, 0) IF NOT EXISTS", ()).await.unwrap();
        let update = session.prepare("UPDATE k.r SET v = ? WHERE p = 1 IF v = ?").await.unwrap();
        let update = update.timeout(Duration::from_secs(60));
        let clients: Vec<_> = (0..64)
            .map(|_| {
                let (session, update) = (session.clone(), update.clone());
                tokio::spawn(async move {
                    let mut believed = 0i64;
                    loop {
                        let result = session.execute_prepared(&update, (believed + 1, believed)).await?;
                        let row = result.first().expect("a conditional statement has a row");
                        if row.get::<bool>("[applied]").unwrap() {
                            return Ok::<(), ClientError>(());
                        }
                        believed = row.get::<i64>("v").unwrap();
                    }
                })
            })
            .collect();
        for client in clients {
            client.await.unwrap().unwrap();
        }
        let statement = Statement::new("SELECT v FROM k.r WHERE p = 1").consistency(Consistency::Serial);
        let result = session.execute(statement, ()).await.unwrap();
        assert_eq!(result.first().unwrap().get::<i64>("v").unwrap(), 64);
        // What was decided is visible to plain reads too.
        let result = session.execute("SELECT v FROM k.r WHERE p = 1", ()).await.unwrap();
        assert_eq!(result.first().unwrap().get::<i64>("v").unwrap(), 64);
    });
}

#[test]
fn a_level_that_does_not_fit_is_refused_in_cassandras_words() {
    let cluster = Cluster::start(1);
    runtime().block_on(async {
        let session = SessionBuilder::new(cluster.addresses()).connect().await.unwrap();
        let keyspace = "CREATE KEYSPACE k WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}";
        session.execute(keyspace, ()).await.unwrap();
        session.execute("CREATE TABLE k.r (p int PRIMARY KEY, v bigint)", ()).await.unwrap();
        let refused = |statement: Statement| {
            let session = session.clone();
            async move {
                match session.execute(statement, ()).await {
                    Err(ClientError::Request(RequestError::Invalid(message))) => message,
                    other => panic!("{other:?}"),
                }
            }
        };
        let insert = "INSERT INTO k.r (p, v) VALUES (1, 1)";
        let conditional = || Statement::new(format!("{insert} IF NOT EXISTS"));
        let message = refused(Statement::new(insert).consistency(Consistency::Serial)).await;
        assert!(message.contains("You must use conditional updates for serializable writes"), "{message}");
        let message = refused(conditional().consistency(Consistency::Serial)).await;
        assert!(message.contains("is not supported as conditional update commit consistency"), "{message}");
        let message = refused(conditional().serial_consistency(Consistency::Quorum)).await;
        assert!(message.contains("Must be one of SERIAL or LOCAL_SERIAL"), "{message}");
        for (statement, applied) in [(conditional(), true), (conditional(), false)] {
            let result = session.execute(statement.serial_consistency(Consistency::LocalSerial), ()).await.unwrap();
            assert_eq!(result.first().unwrap().get::<bool>("[applied]").unwrap(), applied);
        }
        let scan = Statement::new("SELECT * FROM k.r").consistency(Consistency::Serial);
        assert!(refused(scan).await.contains("may only be requested for one partition at a time"));
    });
}
