//! Reads of many partitions over real processes: whole tables page by page while a node dies, lists of partitions,
//! parts of the ring, static rows.

use client::{Pager, Session, SessionBuilder};
use e2e::Cluster;
use std::time::Duration;

/// Rows of the table that is scanned.
const ROWS: i32 = 10_000;
/// Rows of each of its partitions.
const ROWS_PER_PARTITION: i32 = 4;
/// Writes at once.
const IN_FLIGHT: usize = 64;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

async fn connect(cluster: &Cluster) -> Session {
    let builder = SessionBuilder::new(cluster.addresses()).timeout(Duration::from_secs(20));
    let session = builder.connect().await.unwrap();
    let keyspace = "CREATE KEYSPACE k WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 3}";
    session.execute(keyspace, ()).await.unwrap();
    session.execute("CREATE TABLE k.t (id int, c int, v text, PRIMARY KEY (id, c))", ()).await.unwrap();
    session
}

/// Fills the table: the row of each number.
async fn fill(session: &Session) {
    let insert = session.prepare("INSERT INTO k.t (id, c, v) VALUES (?, ?, ?)").await.unwrap();
    let mut writes = tokio::task::JoinSet::new();
    for row in 0..ROWS {
        if writes.len() >= IN_FLIGHT {
            writes.join_next().await.unwrap().unwrap();
        }
        let (session, insert) = (session.clone(), insert.clone());
        writes.spawn(async move {
            let values = (row / ROWS_PER_PARTITION, row % ROWS_PER_PARTITION, format!("value of {row}"));
            session.execute_prepared(&insert, values).await.unwrap();
        });
    }
    while let Some(written) = writes.join_next().await {
        written.unwrap();
    }
}

/// The numbers of the rows on the next page; `None` after the last one.
async fn page(pager: &mut Pager, most: usize) -> Option<Vec<i32>> {
    let page = pager.next_page().await.unwrap()?;
    assert!(page.rows().len() <= most);
    let numbers = page.rows().iter().map(|row| {
        let number = row.get::<i32>("id").unwrap() * ROWS_PER_PARTITION + row.get::<i32>("c").unwrap();
        assert_eq!(row.get::<String>("v").unwrap(), format!("value of {number}"));
        number
    });
    Some(numbers.collect())
}

#[test]
fn a_table_is_scanned_page_by_page_while_a_node_dies_and_no_row_is_missing_or_twice() {
    let mut cluster = Cluster::start(3);
    runtime().block_on(async {
        let session = connect(&cluster).await;
        fill(&session).await;
        let scan = session.prepare("SELECT id, c, v FROM k.t").await.unwrap();
        let mut first: Option<Vec<i32>> = None;
        for (page_size, killed_after) in [(1_000, None), (7, Some(300)), (1_000, Some(4))] {
            let mut pager = session.pages_prepared(&scan.clone().page_size(page_size), ()).unwrap();
            let (mut numbers, mut pages) = (Vec::new(), 0);
            while let Some(page) = page(&mut pager, page_size as usize).await {
                numbers.extend(page);
                pages += 1;
                if killed_after == Some(pages) {
                    cluster.node(2).kill();
                }
            }
            assert!(pages >= ROWS as usize / page_size as usize, "{pages} pages");
            let mut sorted = numbers.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..ROWS).collect::<Vec<_>>(), "pages of {page_size}");
            // In the order of tokens, which is always the same.
            assert_eq!(first.get_or_insert_with(|| numbers.clone()), &numbers, "pages of {page_size}");
            if killed_after.is_some() {
                cluster.node(2).start();
                cluster.wait_up(3);
            }
        }
    });
}
