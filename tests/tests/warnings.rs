//! What clients are told of statements that hurt later: here through the shell, and of a partition that is too large,
//! which takes some time to make. The native protocol's are tested where its server is.

use bytes::Bytes;
use client::SessionBuilder;
use e2e::{Cluster, Node};
use std::time::Duration;

/// What the shell writes to standard error for a statement.
fn told(node: &Node, text: &str) -> String {
    let output = node.shell(&["--format", "csv"], text);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{text}: {error}");
    error
}

const TABLE: &str = "CREATE KEYSPACE k WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}; \
                     CREATE TABLE k.t (p int, c int, v blob, PRIMARY KEY (p, c));";

#[test]
fn the_shell_shows_warnings() {
    let mut cluster = Cluster::configured(1, "tombstone_warn = 3\n");
    cluster.node(0).start();
    cluster.wait_up(1);
    let node = cluster.node(0);
    told(node, TABLE);
    assert!(told(node, "SELECT count(*) FROM k.t").contains("Warning: Aggregation query used without partition key"));
    for c in 0..5 {
        told(node, &format!("DELETE FROM k.t WHERE p = 1 AND c = {c}"));
    }
    let passed = told(node, "SELECT * FROM k.t WHERE p = 1");
    assert!(passed.contains("Warning: Read 0 live rows and 5 tombstone cells"), "{passed}");
    let insert = |p: i32| format!("INSERT INTO k.t (p, c, v) VALUES ({p}, 1, 0x{})", "ab".repeat(4_000));
    let batch = told(node, &format!("BEGIN UNLOGGED BATCH {} {} APPLY BATCH", insert(2), insert(3)));
    assert!(batch.contains("Warning: Batch for [k.t] is of size"), "{batch}");
    assert_eq!(told(node, "SELECT p FROM k.t WHERE p = 2"), "");
}

/// Rows of the large partition, and bytes of each.
const ROWS: i32 = 170;
const ROW_BYTES: usize = 900_000;

#[test]
fn who_uses_a_large_partition_is_told() {
    let mut cluster = Cluster::configured(1, "");
    cluster.node(0).start();
    cluster.wait_up(1);
    told(cluster.node(0), TABLE);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let builder = SessionBuilder::new(cluster.addresses()).timeout(Duration::from_secs(30));
        let session = builder.connect().await.unwrap();
        let insert = session.prepare("INSERT INTO k.t (p, c, v) VALUES (?, ?, ?)").await.unwrap();
        let mut random = model::Rng::new(1);
        for c in 0..ROWS {
            // What does not shrink by compression.
            let value: Vec<u8> =
                std::iter::repeat_with(|| random.next_u64().to_le_bytes()).take(ROW_BYTES / 8).flatten().collect();
            session.execute_prepared(&insert, (1, c, Bytes::from(value))).await.unwrap();
        }
        session.execute_prepared(&insert, (2, 1, Bytes::from_static(b"small"))).await.unwrap();
        let select = session.prepare("SELECT c, v FROM k.t WHERE p = 1").await.unwrap().page_size(3);
        let page = session.pages_prepared(&select, ()).unwrap().next_page().await.unwrap().unwrap();
        assert_eq!(page.warnings, [""; 0], "nobody has met it yet");
    });
    let node = cluster.node(0);
    for statement in ["SELECT c FROM k.t WHERE p = 1 LIMIT 1", "INSERT INTO k.t (p, c) VALUES (1, 5)"] {
        let said = told(node, statement);
        assert!(said.contains("Warning: The partition 1 of k.t has about 1"), "{statement}: {said}");
        assert!(said.contains("MiB"), "{said}");
    }
    assert_eq!(told(node, "SELECT c FROM k.t WHERE p = 2"), "");
}
