//! The metadata log of real clusters: what operators see of it, how its voters follow the cluster, and how it goes on
//! after the majority of them is lost for good. The procedure is that of docs/operations.md.

use e2e::{Cluster, Node, helenus, output, signal};
use serde_json::Value;
use std::process::{Output, Stdio};

const KEYSPACE: &str = "CREATE KEYSPACE k WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 3};";
const TABLE: &str = "CREATE TABLE k.t (id int PRIMARY KEY, v text);";

fn error_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[track_caller]
fn done(output: &Output) {
    assert!(output.status.success(), "{}", error_of(output));
}

/// What `helenus admin metadata --json` says; nothing while the node does not answer.
fn metadata(address: &str) -> Option<Value> {
    serde_json::from_slice(&output(&["admin", "metadata", "--host", address, "--json"]).stdout).ok()
}

fn voters(metadata: &Value) -> usize {
    metadata["voters"].as_array().map_or(0, Vec::len)
}

fn voters_up(metadata: &Value) -> usize {
    metadata["voters"].as_array().map_or(0, |voters| voters.iter().filter(|voter| voter["up"] == true).count())
}

/// What an operator sees of the directory of a node that is stopped.
fn inspected(node: &Node) -> Value {
    let output = output(&["inspect", node.data.to_str().unwrap(), "metadata", "--json"]);
    done(&output);
    serde_json::from_slice(&output.stdout).unwrap()
}

fn recover(node: &Node, options: &[&str]) -> Output {
    output(&[&["recover-metadata", node.data.to_str().unwrap()], options].concat())
}

/// A statement that waits until the node itself gives up.
fn change(node: &Node, text: &str) -> Output {
    node.shell(&["--request-timeout", "30", "-e", text], "")
}

#[test]
fn the_voters_grow_with_the_cluster_and_operators_see_them_and_the_log() {
    let mut cluster = Cluster::start(3);
    let first = cluster.node(0).address.clone();
    let known = metadata(&first).unwrap();
    assert_eq!((voters(&known), known["members"].as_array().unwrap().len()), (3, 3), "{known}");
    let late: Vec<_> = (4..=5)
        .map(|last| {
            let address = format!("{}.{last}", first.rsplit_once('.').unwrap().0);
            let mut command = helenus(&["start", "--listen", &address]);
            command.arg("--config").arg(cluster.folder().join("helenus.toml"));
            command.arg("--data").arg(cluster.folder().join(format!("late{last}")));
            command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
        })
        .collect();
    cluster.wait_up(5);
    cluster.node(0).wait("five vote", |node| Some(voters(&metadata(&node.address)?) == 5));
    done(&cluster.node(0).cql(KEYSPACE));
    let known = metadata(&first).unwrap();
    let log = known["log"].as_array().unwrap();
    assert_eq!(log.last().unwrap()["change"], "CREATE KEYSPACE k", "{known}");
    assert_eq!(log.last().unwrap()["entry"], known["epoch"]);
    assert!(log.iter().any(|entry| entry["change"].as_str().unwrap().starts_with("the voters are ")), "{known}");
    let text = output(&["admin", "metadata", "--host", &first, "--log", "1"]);
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains(", epoch ") && text.contains("CREATE KEYSPACE k") && !text.contains("joins"), "{text}");
    for mut node in late {
        signal(node.id(), "TERM");
        assert!(node.wait().unwrap().success());
    }
}

#[test]
fn a_cluster_that_lost_its_majority_goes_on_after_a_recovery_and_takes_lost_nodes_back() {
    let mut cluster = Cluster::start(3);
    done(&cluster.node(0).cql(&format!("{KEYSPACE} {TABLE}")));
    done(&cluster.node(0).cql("CONSISTENCY ALL; INSERT INTO k.t (id, v) VALUES (1, 'kept')"));
    let before = metadata(&cluster.node(0).address).unwrap();
    cluster.node(1).kill();
    cluster.node(2).kill();
    // The schema cannot change, and the error says why; data is served.
    let refused = change(cluster.node(0), "CREATE TABLE k.u (id int PRIMARY KEY)");
    assert!(!refused.status.success());
    assert!(error_of(&refused).contains("no majority of the 3 metadata voters decided it"), "{}", error_of(&refused));
    assert_eq!(cluster.node(0).rows("CONSISTENCY ONE; SELECT v FROM k.t WHERE id = 1")[0]["v"], "kept");
    cluster.node(0).wait("the loss is seen", |node| {
        let known = metadata(&node.address)?;
        Some(voters_up(&known) == 1 && known["waiting"].as_str()?.contains("majority of the 3 metadata voters"))
    });
    // Nothing is recovered under a running node, nor by half an order.
    assert_eq!(recover(cluster.node(0), &["--yes"]).status.code(), Some(3));
    assert!(cluster.node(0).terminate().success());
    let asked = recover(cluster.node(0), &[]);
    assert_eq!(asked.status.code(), Some(1));
    assert!(error_of(&asked).contains("nothing was done"), "{}", error_of(&asked));
    let stopped = inspected(cluster.node(0));
    assert_eq!((&stopped["cluster_id"], &stopped["epoch"]), (&before["cluster_id"], &before["epoch"]));
    assert_eq!((voters(&stopped), voters(&inspected(cluster.node(1)))), (3, 3));
    done(&recover(cluster.node(0), &["--yes"]));
    assert_eq!(voters(&inspected(cluster.node(0))), 1);
    cluster.node(0).start();
    cluster.node(0).wait("it serves", |node| Some(node.status()?["nodes"].as_array()?.len() == 3));
    let after = metadata(&cluster.node(0).address).unwrap();
    assert_ne!(after["cluster_id"], before["cluster_id"]);
    assert_eq!(after["recoveries"][0]["former_cluster_id"], before["cluster_id"]);
    cluster.node(0).wait("a table is made", |node| {
        Some(change(node, "CREATE TABLE IF NOT EXISTS k.u (id int PRIMARY KEY, v text)").status.success())
    });
    assert_eq!(cluster.node(0).rows("CONSISTENCY ONE; SELECT v FROM k.t WHERE id = 1")[0]["v"], "kept");
    done(&cluster.node(0).cql("CONSISTENCY ONE; INSERT INTO k.u (id, v) VALUES (1, 'since')"));
    // Lost nodes that come back after all: they were behind, and follow.
    for (node, count) in [(1, 2), (2, 3)] {
        cluster.node(node).start();
        cluster.wait_up(count);
        let known = metadata(&cluster.node(node).address).unwrap();
        assert_eq!(known["cluster_id"], after["cluster_id"], "{known}");
    }
    cluster.node(2).wait("all vote again", |node| Some(voters(&metadata(&node.address)?) == 3));
    assert_eq!(cluster.node(2).rows("CONSISTENCY ALL; SELECT v FROM k.u WHERE id = 1")[0]["v"], "since");
    done(&cluster.node(1).cql("CREATE TABLE k.w (id int PRIMARY KEY)"));
}

#[test]
fn a_lost_node_that_knows_more_than_the_recovered_one_stops_and_says_what_to_do() {
    let mut cluster = Cluster::start(3);
    done(&cluster.node(0).cql(KEYSPACE));
    cluster.node(2).kill();
    done(
        &cluster
            .node(0)
            .cql("CREATE KEYSPACE late WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}"),
    );
    cluster.node(0).kill();
    cluster.node(1).kill();
    assert!(inspected(cluster.node(0))["epoch"].as_u64() > inspected(cluster.node(2))["epoch"].as_u64());
    done(&recover(cluster.node(2), &["--yes"]));
    cluster.node(2).start();
    cluster.node(2).wait("it serves", |node| Some(node.status()?["nodes"].as_array()?.len() == 3));
    cluster.node(0).start();
    assert_eq!(cluster.node(0).wait_end().code(), Some(3));
    let log = cluster.node(0).log_text();
    assert!(log.contains("it cannot follow") && log.contains("to join as a new node"), "{log}");
    done(
        &cluster
            .node(2)
            .cql("CREATE KEYSPACE since WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}"),
    );
}
