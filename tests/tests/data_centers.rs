//! Several data centres of real processes: what goes on when one is cut off, and what an operator sees and does.

use e2e::{Cluster, output, signal};
use std::process::Output;

const KEYSPACE: &str = "CREATE KEYSPACE k WITH replication = {'class': 'NetworkTopologyStrategy', 'dc1': 2, 'dc2': 2};";
const TABLE: &str = "CREATE TABLE k.t (id int PRIMARY KEY, v text);";

/// Two data centres of two nodes each, with a table that is on all of them.
fn cluster() -> Cluster {
    let mut cluster = Cluster::across(&[2, 2]);
    succeeded(&cluster.node(0).cql(&format!("{KEYSPACE} {TABLE}")));
    cluster
}

fn succeeded(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What a statement that a node executes at a level is refused with.
fn refused(cluster: &mut Cluster, node: usize, level: &str, statement: &str) -> String {
    let output = cluster.node(node).cql(&format!("CONSISTENCY {level}; {statement}"));
    assert_eq!(output.status.code(), Some(1), "{level}: {statement}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The rows of the table as a node reads them at a level.
fn ids(cluster: &mut Cluster, node: usize, level: &str) -> usize {
    let rows = cluster.node(node).rows(&format!("CONSISTENCY {level}; SELECT id FROM k.t;"));
    rows.as_array().map_or(0, Vec::len)
}

/// Hints that a node keeps, as `helenus admin hints` says.
fn hints(address: &str, change: &[&str]) -> serde_json::Value {
    let mut arguments = vec!["admin", "hints"];
    arguments.extend(change);
    arguments.extend(["--host", address, "--json"]);
    serde_json::from_str(&succeeded(&output(&arguments))).unwrap()
}

fn waiting(hints: &serde_json::Value) -> u64 {
    hints["targets"].as_array().unwrap().iter().map(|target| target["hints"].as_u64().unwrap()).sum()
}

#[test]
fn a_data_center_serves_local_levels_while_the_other_is_down_and_brings_it_up_to_date() {
    let mut cluster = cluster();
    let places = cluster.node(0).rows("SELECT data_center, rack FROM system.peers;");
    let mut places: Vec<String> =
        places.as_array().unwrap().iter().map(|row| format!("{} {}", row["data_center"], row["rack"])).collect();
    places.sort();
    // Either node of the data centre answers, and tells of the others.
    assert!(places[0].starts_with("\"dc1\" \"rack"), "{places:?}");
    assert_eq!(places[1..], ["\"dc2\" \"rack1\"", "\"dc2\" \"rack2\""]);
    for (node, level) in [(0, "EACH_QUORUM"), (2, "LOCAL_QUORUM"), (3, "ALL"), (1, "ANY")] {
        let insert = format!("CONSISTENCY {level}; INSERT INTO k.t (id, v) VALUES ({node}, 'x');");
        succeeded(&cluster.node(node).cql(&insert));
    }
    for level in ["EACH_QUORUM", "QUORUM", "ALL"] {
        assert_eq!(ids(&mut cluster, 3, level), 4, "{level}");
    }
    [2, 3].into_iter().for_each(|node| cluster.node(node).kill());
    cluster.wait_up(2);
    succeeded(&cluster.node(0).cql("CONSISTENCY LOCAL_QUORUM; INSERT INTO k.t (id, v) VALUES (10, 'missed');"));
    assert_eq!(ids(&mut cluster, 1, "LOCAL_QUORUM"), 5);
    let insert = "INSERT INTO k.t (id, v) VALUES (11, 'x');";
    let error = refused(&mut cluster, 0, "EACH_QUORUM", insert);
    assert!(error.contains("Cannot achieve consistency level EACH_QUORUM in DC dc2"), "{error}");
    let error = refused(&mut cluster, 1, "EACH_QUORUM", "SELECT id FROM k.t;");
    assert!(error.contains("in DC dc2: 0 of 2"), "{error}");
    let error = refused(&mut cluster, 0, "QUORUM", insert);
    assert!(error.contains("Cannot achieve consistency level QUORUM: 2 of 3"), "{error}");
    let error = refused(&mut cluster, 0, "ANY", "SELECT id FROM k.t WHERE id = 1;");
    assert!(error.contains("ANY ConsistencyLevel is only supported for writes"), "{error}");
    [2, 3].into_iter().for_each(|node| cluster.node(node).start());
    cluster.wait_up(4);
    cluster.wait_no_hints();
    [0, 1].into_iter().for_each(|node| cluster.node(node).kill());
    cluster.wait_up(2);
    assert_eq!(ids(&mut cluster, 2, "LOCAL_QUORUM"), 5, "what the other data centre missed came by hints");
    let error = refused(&mut cluster, 3, "EACH_QUORUM", insert);
    assert!(error.contains("EACH_QUORUM in DC dc1"), "{error}");
}

#[test]
fn a_data_center_that_does_not_answer_holds_local_levels_up_no_moment() {
    let mut cluster = cluster();
    let stopped: Vec<u32> = [2, 3].into_iter().filter_map(|node| cluster.node(node).id()).collect();
    stopped.iter().for_each(|process| signal(*process, "STOP"));
    // Nobody knows yet that they will not answer.
    succeeded(&cluster.node(0).cql("CONSISTENCY LOCAL_QUORUM; INSERT INTO k.t (id, v) VALUES (1, 'x');"));
    assert_eq!(ids(&mut cluster, 1, "LOCAL_QUORUM"), 1);
    stopped.iter().for_each(|process| signal(*process, "CONT"));
    cluster.wait_up(4);
    cluster.wait_no_hints();
    assert_eq!(ids(&mut cluster, 3, "EACH_QUORUM"), 1);
}

#[test]
fn an_operator_lists_pauses_switches_off_and_truncates_hints() {
    let mut cluster = cluster();
    let address = cluster.node(0).address.clone();
    let write = |cluster: &mut Cluster, ids: std::ops::Range<u32>| {
        let inserts: String = ids.map(|id| format!("INSERT INTO k.t (id, v) VALUES ({id}, 'x');")).collect();
        succeeded(&cluster.node(0).cql(&format!("CONSISTENCY LOCAL_QUORUM; {inserts}")));
    };
    hints(&address, &["pause"]);
    let second = cluster.node(1).address.clone();
    hints(&second, &["pause"]);
    cluster.node(3).kill();
    cluster.node(0).wait("the others know", |node| {
        let status = node.status()?;
        Some(status["nodes"].as_array()?.iter().filter(|node| node["up"] == false).count() == 1)
    });
    write(&mut cluster, 0..20);
    let of_both = |change: &[&str]| waiting(&hints(&address, change)) + waiting(&hints(&second, change));
    cluster.node(0).wait("each missed write is a hint", |_| Some(of_both(&[]) == 20));
    let target = hints(&address, &[])["targets"][0].clone();
    assert_eq!((&target["data_center"], &target["up"]), (&"dc2".into(), &false.into()));
    // Switched off for the data centre, nothing is kept for it.
    [&address, &second].into_iter().for_each(|at| drop(hints(at, &["disable", "--data-center", "dc2"])));
    write(&mut cluster, 20..25);
    assert_eq!(of_both(&[]), 20);
    let unknown = output(&["admin", "hints", "disable", "--data-center", "dc9", "--host", &address]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("there is no data centre 'dc9'"));
    // It comes back and gets none, since delivery is paused.
    cluster.node(3).start();
    cluster.wait_up(4);
    assert_eq!(of_both(&[]), 20);
    let truncated = waiting(&hints(&address, &["truncate", "--all"]));
    assert_eq!(truncated, 0);
    let of_second = waiting(&hints(&second, &[]));
    assert!(of_second < 20, "those of the first node are gone, and it kept some");
    hints(&second, &["resume"]);
    hints(&address, &["resume"]);
    cluster.wait_no_hints();
    assert_eq!(ids(&mut cluster, 0, "ALL"), 25, "a read at ALL finds and repairs the rest");
}
