//! Repair of real processes: what a node missed for good, it gets; who is in the way is named.

use e2e::{Cluster, output};
use std::process::Output;

const SCHEMA: &str = "CREATE KEYSPACE k WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 3}; \
                      CREATE TABLE k.t (id int, row int, v text, PRIMARY KEY (id, row)); \
                      CREATE TABLE k.other (id int PRIMARY KEY);";

const REPAIRED: &str = "SELECT repaired_through, replicas FROM system_views.repaired_ranges \
                        WHERE keyspace_name = 'k' AND table_name = 't';";

/// Nothing is repaired but by these tests, and nothing is kept for a node that is away.
fn cluster() -> Cluster {
    let mut cluster = Cluster::configured(3, "repair_interval_hours = 0\nhint_window_minutes = 0\n");
    (0..3).for_each(|node| cluster.node(node).start());
    cluster.wait_up(3);
    succeeded(&cluster.node(0).cql(SCHEMA));
    let addresses: Vec<String> = (0..3).map(|node| cluster.node(node).address.clone()).collect();
    for address in addresses {
        succeeded(&output(&["admin", "hints", "disable", "--host", &address]));
    }
    cluster
}

fn succeeded(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// `helenus admin repair`: whether it succeeded, and its report.
fn repair(cluster: &mut Cluster, node: usize, arguments: &[&str]) -> (bool, serde_json::Value) {
    let address = cluster.node(node).address.clone();
    let mut all = vec!["admin", "repair"];
    all.extend(arguments);
    all.extend(["--json", "--host", &address]);
    let output = output(&all);
    let report = serde_json::from_slice(&output.stdout);
    (output.status.success(), report.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr))))
}

fn writes(ids: std::ops::Range<u32>, value: &str) -> String {
    let insert = |id| format!("INSERT INTO k.t (id, row, v) VALUES ({}, {id}, '{value}');", id % 10);
    ids.map(insert).collect()
}

/// The rows that each node holds, read from its own copy alone: nobody else runs.
fn held_alone(cluster: &mut Cluster, node: usize) -> Vec<String> {
    let others: Vec<usize> = (0..3).filter(|other| *other != node).collect();
    others.iter().for_each(|other| cluster.node(*other).kill());
    cluster.node(node).wait("it knows that it is alone", |node| {
        let status = node.status()?;
        Some(status["nodes"].as_array()?.iter().filter(|node| node["up"] == true).count() == 1)
    });
    let rows = cluster.node(node).rows("CONSISTENCY ONE; SELECT id, row, v FROM k.t;");
    let mut rows: Vec<String> = rows.as_array().unwrap().iter().map(ToString::to_string).collect();
    rows.sort();
    others.iter().for_each(|other| cluster.node(*other).start());
    cluster.wait_up(3);
    rows
}

#[test]
fn a_node_that_missed_writes_and_deletions_gets_them_by_repair() {
    let mut cluster = cluster();
    succeeded(&cluster.node(0).cql(&format!("CONSISTENCY ALL; {}", writes(0..100, "old"))));
    cluster.node(2).kill();
    cluster.wait_up(2);
    let missed = "DELETE FROM k.t WHERE id = 3; DELETE FROM k.t WHERE id = 4 AND row > 50; \
                  DELETE v FROM k.t WHERE id = 5 AND row = 5;";
    succeeded(&cluster.node(0).cql(&format!("CONSISTENCY QUORUM; {} {missed}", writes(90..120, "new"))));
    // While it is away its ranges cannot be repaired, and the report says who is in the way.
    let (ok, report) = repair(&mut cluster, 0, &["k", "t"]);
    assert_eq!((ok, report["state"].as_str()), (false, Some("failed")), "{report}");
    assert_eq!(report["ranges_failed"], report["ranges"]);
    assert!(report["failures"][0].as_str().unwrap().ends_with("is down"), "{report}");
    cluster.node(2).start();
    cluster.wait_up(3);
    // A preview changes nothing.
    let (ok, preview) = repair(&mut cluster, 2, &["k", "t", "--preview"]);
    assert!(ok && preview["records_differing"].as_u64().unwrap() > 0, "{preview}");
    assert_eq!(preview["records_sent"], 0);
    let (ok, report) = repair(&mut cluster, 1, &["k"]);
    assert!(ok, "{report}");
    assert_eq!(report["records_differing"], preview["records_differing"]);
    assert!(report["records_sent"].as_u64().unwrap() > 0);
    let (ok, again) = repair(&mut cluster, 0, &["k", "t"]);
    assert!(ok && again["records_differing"] == 0 && again["rows_compared"].as_u64().unwrap() > 0, "{again}");
    let history = cluster.node(1).rows("SELECT state, ranges_failed, records_sent FROM system_views.repairs;");
    // Each node has its own, in the order of their ids, and any may have been asked: the first also knows what failed.
    let mut states: Vec<&str> = history.as_array().unwrap().iter().filter_map(|run| run["state"].as_str()).collect();
    states.sort_unstable();
    assert!([&["succeeded"][..], &["failed", "succeeded"]].contains(&&states[..]), "{history}");
    let ranges = cluster.node(2).rows(REPAIRED);
    assert!(!ranges.as_array().unwrap().is_empty());
    // Each holds the same by itself; also after all have been started anew.
    let first = held_alone(&mut cluster, 0);
    assert!(first.len() > 80, "{}", first.len());
    assert_eq!(held_alone(&mut cluster, 1), first);
    assert_eq!(held_alone(&mut cluster, 2), first);
    assert_eq!(cluster.node(2).rows(REPAIRED), ranges, "what is repaired is known after a restart");
}

#[test]
fn parts_are_repaired_and_what_does_not_exist_is_refused() {
    let mut cluster = cluster();
    succeeded(&cluster.node(0).cql(&format!("CONSISTENCY ALL; {}", writes(0..20, "x"))));
    let (ok, part) = repair(&mut cluster, 0, &["k", "t", "--range", "-100:100"]);
    assert!(ok && part["ranges"] == 2, "zero lies on the border of two parts of the ring: {part}");
    let (ok, all) = repair(&mut cluster, 0, &["k", "t", "--range", "7:7", "--data-center", "dc1"]);
    assert!(ok && all["rows_compared"] == 20, "{all}");
    let address = cluster.node(0).address.clone();
    for (arguments, problem) in [
        (&["nowhere"][..], "nowhere"),
        (&["k", "nothing"], "nothing"),
        (&["k", "--data-center", "dc9"], "there is no data centre 'dc9'"),
        (&["k", "--range", "1:5", "--range", "4:9"], "have tokens in common"),
    ] {
        let mut all = vec!["admin", "repair"];
        all.extend(arguments);
        all.extend(["--host", &address]);
        let refused = output(&all);
        assert_eq!(refused.status.code(), Some(1), "{arguments:?}");
        assert!(String::from_utf8_lossy(&refused.stderr).contains(problem), "{arguments:?}");
    }
    let paused = output(&["admin", "repairs", "pause", "--json", "--host", &address]);
    let paused: serde_json::Value = serde_json::from_str(&succeeded(&paused)).unwrap();
    assert_eq!((&paused["paused"], &paused["interval_seconds"]), (&true.into(), &0.into()));
    let resumed = succeeded(&output(&["admin", "repairs", "resume", "--host", &address]));
    assert!(resumed.contains("succeeded") && resumed.contains("only when asked for"), "{resumed}");
}
