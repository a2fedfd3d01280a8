//! Secondary indexes over real processes: built while nodes are killed and while rows change, read page by page while a
//! node dies, and never at odds with the rows.

use client::{Admin, Security, Session, SessionBuilder};
use e2e::Cluster;
use model::Consistency;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Rows of the table.
const ROWS: i32 = 4_000;
/// Rows of each partition.
const ROWS_PER_PARTITION: i32 = 4;
/// Values that a row can have.
const VALUES: i32 = 8;
/// Writes at once.
const IN_FLIGHT: usize = 64;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

async fn connect(cluster: &Cluster) -> Session {
    SessionBuilder::new(cluster.addresses()).timeout(Duration::from_secs(20)).connect().await.unwrap()
}

/// Gives every row the value that `value_of` says.
async fn write_all(session: &Session, value_of: impl Fn(i32) -> i32) {
    let insert = session.prepare("INSERT INTO k.t (id, c, v, tags) VALUES (?, ?, ?, {'all', 'some'})").await.unwrap();
    let insert = insert.consistency(Consistency::Quorum);
    let mut writes = tokio::task::JoinSet::new();
    for row in 0..ROWS {
        if writes.len() >= IN_FLIGHT {
            writes.join_next().await.unwrap().unwrap();
        }
        let (session, insert, value) = (session.clone(), insert.clone(), value_of(row));
        writes.spawn(async move {
            let values = (row / ROWS_PER_PARTITION, row % ROWS_PER_PARTITION, value);
            let started = Instant::now();
            while let Err(error) = session.execute_prepared(&insert, values).await {
                assert!(started.elapsed() < e2e::PATIENCE, "writing row {row}: {error}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
    }
    while let Some(written) = writes.join_next().await {
        written.unwrap();
    }
}

/// The rows with a value, by an index, in pages of so many.
async fn rows_with(session: &Session, value: i32, page_size: u32, mut after_page: impl FnMut(usize)) -> Vec<i32> {
    let select = session.prepare("SELECT id, c, v FROM k.t WHERE v = ?").await.unwrap();
    let select = select.consistency(Consistency::Quorum).page_size(page_size);
    let mut pager = session.pages_prepared(&select, (value,)).unwrap();
    let (mut rows, mut pages) = (Vec::new(), 0);
    while let Some(page) = pager.next_page().await.unwrap() {
        for row in page.rows() {
            assert_eq!(row.get::<i32>("v").unwrap(), value);
            rows.push(row.get::<i32>("id").unwrap() * ROWS_PER_PARTITION + row.get::<i32>("c").unwrap());
        }
        pages += 1;
        after_page(pages);
    }
    let found = rows.len();
    rows.sort_unstable();
    rows.dedup();
    assert_eq!(rows.len(), found, "no row is answered twice");
    rows
}

/// The one number that a statement answers, perhaps after pages without rows.
async fn count(session: &Session, text: &str) -> i64 {
    let mut pager = session.pages_prepared(&session.prepare(text).await.unwrap(), ()).unwrap();
    let mut counts = Vec::new();
    while let Some(page) = pager.next_page().await.unwrap() {
        counts.extend(page.rows().iter().map(|row| row.get::<i64>("count").unwrap()));
    }
    let [count] = counts.as_slice() else { panic!("{counts:?}") };
    *count
}

fn expected(value: i32, value_of: impl Fn(i32) -> i32) -> Vec<i32> {
    (0..ROWS).filter(|row| value_of(*row) == value).collect()
}

/// Waits until every node has built so many indexes.
async fn wait_built(cluster: &Cluster, indexes: usize) {
    let started = Instant::now();
    for address in cluster.addresses() {
        loop {
            let mut admin = Admin::connect(&address, Duration::from_secs(10), &Security::default()).await.unwrap();
            let storage = admin.storage().await.unwrap();
            let all = storage.tables.iter().flat_map(|table| &table.indexes);
            let built = all.filter(|index| index.built_per_mille == 1_000).count();
            if built == indexes {
                break;
            }
            assert!(started.elapsed() < e2e::PATIENCE, "{address} has built {built} indexes");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

async fn schema(session: &Session) {
    let keyspace = "CREATE KEYSPACE k WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 3}";
    session.execute(keyspace, ()).await.unwrap();
    let table = "CREATE TABLE k.t (id int, c int, v int, tags set<text>, PRIMARY KEY (id, c))";
    session.execute(table, ()).await.unwrap();
}

#[test]
fn an_index_is_right_while_it_is_built_while_rows_change_and_while_nodes_are_killed() {
    let mut cluster = Cluster::start(3);
    runtime().block_on(async {
        let session = connect(&cluster).await;
        schema(&session).await;
        let first = |row: i32| row % VALUES;
        let second = |row: i32| (row + 1) % VALUES;
        write_all(&session, first).await;
        session.execute("CREATE INDEX by_value ON k.t (v)", ()).await.unwrap();
        session.execute("CREATE INDEX ON k.t (tags)", ()).await.unwrap();
        assert_eq!(rows_with(&session, 3, 100, |_| {}).await, expected(3, first), "as soon as it is made");
        // Every row changes its value while indexes are built and a node dies and comes back.
        let is_over = Arc::new(AtomicBool::new(false));
        let writer = {
            let (session, is_over) = (session.clone(), is_over.clone());
            tokio::spawn(async move {
                write_all(&session, second).await;
                is_over.store(true, Ordering::Release);
            })
        };
        tokio::time::sleep(Duration::from_millis(100)).await;
        cluster.node(2).kill();
        tokio::time::sleep(Duration::from_millis(300)).await;
        cluster.node(2).start();
        writer.await.unwrap();
        assert!(is_over.load(Ordering::Acquire));
        cluster.wait_up(3);
        wait_built(&cluster, 2).await;
        for value in 0..VALUES {
            assert_eq!(rows_with(&session, value, 37, |_| {}).await, expected(value, second), "value {value}");
        }
        assert_eq!(count(&session, "SELECT count(*) FROM k.t WHERE tags CONTAINS 'some'").await, i64::from(ROWS));
    });
}

#[test]
fn pages_by_an_index_go_on_while_a_node_dies_and_everything_is_there_after_all_restart() {
    let mut cluster = Cluster::start(3);
    runtime().block_on(async {
        let session = connect(&cluster).await;
        schema(&session).await;
        session.execute("CREATE INDEX by_value ON k.t (v)", ()).await.unwrap();
        let value_of = |row: i32| row % VALUES;
        write_all(&session, value_of).await;
        let found = rows_with(&session, 5, 20, |pages| {
            if pages == 5 {
                cluster.node(2).kill();
            }
        });
        assert_eq!(found.await, expected(5, value_of));
    });
    cluster.node(2).start();
    cluster.wait_up(3);
    for node in 0..3 {
        cluster.node(node).kill();
    }
    for node in 0..3 {
        cluster.node(node).start();
    }
    cluster.wait_up(3);
    runtime().block_on(async {
        let session = connect(&cluster).await;
        wait_built(&cluster, 1).await;
        for value in 0..VALUES {
            assert_eq!(rows_with(&session, value, 1_000, |_| {}).await, expected(value, |row| row % VALUES));
        }
        session.execute("DROP INDEX k.by_value", ()).await.unwrap();
        let refused = session.execute("SELECT id FROM k.t WHERE v = 5", ()).await.unwrap_err().to_string();
        assert!(refused.contains("ALLOW FILTERING"), "{refused}");
        let filtered = count(&session, "SELECT count(*) FROM k.t WHERE v = 5 ALLOW FILTERING").await;
        assert_eq!(filtered, i64::from(ROWS / VALUES));
    });
}
