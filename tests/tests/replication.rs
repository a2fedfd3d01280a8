//! The replication of a keyspace is changed while it is used, by real processes, one of which is killed meanwhile.

use e2e::{Cluster, Node};
use std::process::Output;

const SCHEMA: &str = "CREATE KEYSPACE k WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}; \
                      CREATE TABLE k.t (id int PRIMARY KEY, v text);";

fn succeeded(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn write(node: &Node, ids: std::ops::Range<u32>) {
    let inserts: String = ids.map(|id| format!("INSERT INTO k.t (id, v) VALUES ({id}, 'v{id}');")).collect();
    succeeded(&node.cql(&format!("CONSISTENCY QUORUM; {inserts}")));
}

fn count(node: &Node, level: &str) -> usize {
    node.rows(&format!("CONSISTENCY {level}; SELECT id FROM k.t;")).as_array().map_or(0, Vec::len)
}

fn alter(node: &Node, replication: &str) -> Output {
    node.cql(&format!("ALTER KEYSPACE k WITH replication = {{{replication}}};"))
}

/// Waits until no node knows of a change of replication.
fn wait_changed(cluster: &mut Cluster) {
    for node in 0..3 {
        cluster
            .node(node)
            .wait("the replication is changed", |node| Some(node.status()?["replication_change"].as_str()?.is_empty()));
    }
}

#[test]
fn replication_is_raised_and_lowered_under_load_and_nothing_acknowledged_is_missed() {
    let mut cluster = Cluster::start(3);
    succeeded(&cluster.node(0).cql(SCHEMA));
    write(cluster.node(0), 0..200);
    assert_eq!(count(cluster.node(1), "QUORUM"), 200);
    let raised = alter(cluster.node(0), "'class': 'SimpleStrategy', 'replication_factor': 3");
    assert!(String::from_utf8_lossy(&[raised.stdout, raised.stderr].concat()).contains("is changed step by step"));
    // A second change has to wait, and reads see everything all the time.
    let second = alter(cluster.node(2), "'class': 'SimpleStrategy', 'replication_factor': 2");
    assert!(String::from_utf8_lossy(&second.stderr).contains("is being changed already"));
    let shown = cluster.node(1).rows("SELECT keyspace_name, phase FROM system_views.replication_changes;");
    assert!(shown.as_array().is_some_and(|rows| rows.len() <= 1), "{shown}");
    write(cluster.node(1), 200..300);
    for node in 0..3 {
        assert_eq!(count(cluster.node(node), "QUORUM"), 300);
    }
    // It is a matter of the log: it goes on when a node that died meanwhile is there again.
    cluster.node(2).kill();
    cluster.node(2).start();
    cluster.wait_up(3);
    wait_changed(&mut cluster);
    cluster.node(1).kill();
    cluster.node(0).wait("the others know", |node| {
        let status = node.status()?;
        Some(status["nodes"].as_array()?.iter().filter(|node| node["up"] == false).count() == 1)
    });
    assert_eq!((count(cluster.node(0), "QUORUM"), count(cluster.node(2), "QUORUM")), (300, 300));
    cluster.node(1).start();
    cluster.wait_up(3);
    for (node, replication) in
        [(1, "'class': 'SimpleStrategy', 'replication_factor': 2"), (2, "'class': 'NetworkTopologyStrategy', 'dc1': 3")]
    {
        succeeded(&alter(cluster.node(node), replication));
        assert_eq!(count(cluster.node(0), "QUORUM"), 300);
        wait_changed(&mut cluster);
        assert_eq!(count(cluster.node(node), "QUORUM"), 300);
    }
    assert_eq!(count(cluster.node(0), "ALL"), 300);
}
