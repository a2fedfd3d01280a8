//! Processes from their start to their end: how a cluster comes up, takes nodes in, survives pauses and
//! restarts, and goes down.

use e2e::{Cluster, PATIENCE, helenus, output, signal};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const KEYSPACE: &str = "CREATE KEYSPACE k WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 3};";
const TABLE: &str = "CREATE TABLE k.t (id int PRIMARY KEY, v text);";

fn succeeded(output: &Output) -> bool {
    output.status.success()
}

fn error_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn make_table(cluster: &mut Cluster) {
    let made = cluster.node(0).cql(&format!("{KEYSPACE} {TABLE}"));
    assert!(succeeded(&made), "{}", error_of(&made));
}

/// What `helenus admin info --json` says of a node.
fn info(address: &str) -> serde_json::Value {
    let output = output(&["admin", "info", "--host", address, "--json"]);
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Starts a command and returns it with the first line of its standard output.
fn first_line(mut command: Command) -> (Child, String) {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    (child, line)
}

/// Sends SIGTERM, and returns the exit code and what was left to read on standard output and error.
fn terminate(mut child: Child) -> (Option<i32>, String, String) {
    signal(child.id(), "TERM");
    let (mut out, mut error) = (String::new(), String::new());
    child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut error).unwrap();
    (child.wait().unwrap().code(), out, error)
}

#[test]
fn three_nodes_that_start_at_once_form_one_cluster_and_one_that_starts_late_joins_it() {
    let mut cluster = Cluster::start(3);
    let ids: Vec<_> = cluster.addresses().iter().map(|address| info(address)["cluster_id"].clone()).collect();
    assert!(ids.iter().all(|id| *id == ids[0] && id.as_str().is_some_and(|id| id.len() == 36)), "{ids:?}");
    let late = {
        let first = cluster.node(0).address.clone();
        format!("{}.4", first.rsplit_once('.').unwrap().0)
    };
    let mut command = start_with_config(&cluster, &late, "late");
    command.stderr(Stdio::null());
    let (child, line) = first_line(command);
    assert_eq!(line, format!("ready {late}:7042\n"));
    cluster.wait_up(4);
    assert_eq!(info(&late)["cluster_id"], ids[0]);
    make_table(&mut cluster);
    assert!(succeeded(&output(&["shell", &late, "-e", "INSERT INTO k.t (id, v) VALUES (1, 'from the late one')"])));
    assert_eq!(cluster.node(1).rows("SELECT v FROM k.t WHERE id = 1")[0]["v"], "from the late one");
    signal(child.id(), "TERM");
    assert!(child.wait_with_output().unwrap().status.success());
}

/// A `start` of a further node with the cluster's configuration and a folder of its own.
fn start_with_config(cluster: &Cluster, address: &str, folder: &str) -> Command {
    let mut command = helenus(&["start", "--listen", address]);
    command.arg("--config").arg(cluster.folder().join("helenus.toml"));
    command.arg("--data").arg(cluster.folder().join(folder));
    command
}

#[test]
fn a_cluster_with_user_data_refuses_a_new_node_and_says_why() {
    let mut cluster = Cluster::start(3);
    make_table(&mut cluster);
    let first = cluster.node(0).address.clone();
    let late = format!("{}.4", first.rsplit_once('.').unwrap().0);
    let output = start_with_config(&cluster, &late, "late").stdout(Stdio::null()).output().unwrap();
    let error = error_of(&output);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("data") && error.contains("not supported yet"), "{error}");
    assert!(succeeded(&cluster.node(0).cql("INSERT INTO k.t (id, v) VALUES (1, 'x')")));
}

#[test]
fn a_seed_that_starts_late_or_wiped_joins_the_cluster_that_there_is() {
    let mut cluster = Cluster::configured(3, "");
    cluster.node(0).start();
    cluster.node(1).start();
    cluster.wait_up(2);
    cluster.node(2).start();
    cluster.wait_up(3);
    let id = info(&cluster.addresses()[0])["cluster_id"].clone();
    cluster.node(2).kill();
    std::fs::remove_dir_all(&cluster.node(2).data).unwrap();
    cluster.node(2).start();
    cluster.wait_up(3);
    assert_eq!(info(&cluster.addresses()[2])["cluster_id"], id);
}

#[test]
fn what_a_table_held_when_it_was_truncated_is_gone_from_a_node_that_was_down_too() {
    let mut cluster = Cluster::start(3);
    make_table(&mut cluster);
    for id in 0..20 {
        assert!(succeeded(&cluster.node(0).cql(&format!("INSERT INTO k.t (id, v) VALUES ({id}, 'old')"))));
    }
    cluster.node(2).kill();
    // Hints for it, which are of the old generation when it comes back.
    for id in 20..30 {
        assert!(succeeded(&cluster.node(0).cql(&format!("INSERT INTO k.t (id, v) VALUES ({id}, 'hinted')"))));
    }
    let truncated = cluster.node(1).cql("TRUNCATE TABLE k.t");
    assert!(succeeded(&truncated), "{}", error_of(&truncated));
    assert!(succeeded(&cluster.node(1).cql("INSERT INTO k.t (id, v) VALUES (7, 'new')")));
    cluster.node(2).start();
    cluster.wait_up(3);
    cluster.wait_no_hints();
    for node in 0..3 {
        let found: Vec<serde_json::Value> = (0..30)
            .flat_map(|id| {
                let rows = cluster.node(node).rows(&format!("CONSISTENCY ALL; SELECT v FROM k.t WHERE id = {id};"));
                rows.as_array().cloned().unwrap_or_default()
            })
            .collect();
        assert_eq!(found, [serde_json::json!({ "v": "new" })], "node {node}");
        let address = cluster.node(node).address.clone();
        let kept = output(&["admin", "list-snapshots", "--host", &address, "--json"]);
        let kept: serde_json::Value = serde_json::from_slice(&kept.stdout).unwrap();
        assert_eq!(kept["snapshots"][0]["of"], "dropped k.t generation 0", "node {node}: {kept}");
    }
}

#[test]
fn of_two_tables_of_one_name_made_at_once_on_two_nodes_one_wins() {
    let mut cluster = Cluster::start(3);
    assert!(succeeded(&cluster.node(0).cql(KEYSPACE)));
    for round in 0..5 {
        let addresses = cluster.addresses();
        let create = |address: String, column: &str| {
            let text = format!("CREATE TABLE k.t{round} (id int PRIMARY KEY, {column} text)");
            std::thread::spawn(move || output(&["shell", &address, "-e", &text]))
        };
        let (one, other) = (create(addresses[0].clone(), "a"), create(addresses[1].clone(), "b"));
        let outcomes = [one.join().unwrap(), other.join().unwrap()];
        let winners = outcomes.iter().filter(|output| succeeded(output)).count();
        let errors: Vec<_> = outcomes.iter().map(error_of).collect();
        assert_eq!(winners, 1, "{errors:?}");
        assert!(errors.iter().any(|error| error.contains("Cannot add already existing table")), "{errors:?}");
        let winner = if succeeded(&outcomes[0]) { "a" } else { "b" };
        for node in 0..3 {
            let insert = format!("INSERT INTO k.t{round} (id, {winner}) VALUES ({node}, 'x')");
            let inserted = cluster.node(node).cql(&insert);
            assert!(succeeded(&inserted), "{}", error_of(&inserted));
        }
    }
}

#[test]
fn a_stopped_node_has_synced_everything_and_exits_with_zero() {
    let mut cluster = Cluster::start(1);
    let keyspace = KEYSPACE.replace("'replication_factor': 3", "'replication_factor': 1");
    assert!(succeeded(&cluster.node(0).cql(&format!("{keyspace} {TABLE}"))));
    assert!(succeeded(&cluster.node(0).cql("INSERT INTO k.t (id, v) VALUES (1, 'kept')")));
    let started = Instant::now();
    let status = cluster.node(0).terminate();
    assert_eq!(status.code(), Some(0), "{}", cluster.node(0).log_text());
    assert!(started.elapsed() < Duration::from_secs(5), "an idle node does not wait for anybody");
    cluster.node(0).start();
    cluster.wait_up(1);
    assert_eq!(cluster.node(0).rows("SELECT v FROM k.t WHERE id = 1")[0]["v"], "kept");
    let log = cluster.node(0).log_text();
    assert!(!log.contains("ERROR") && !log.contains("WARN"), "{log}");
}

#[test]
fn periodic_durability_survives_the_death_of_the_process() {
    let mut cluster = Cluster::configured(1, "durability = 'periodic'\nperiodic_sync_ms = 60000");
    cluster.node(0).start();
    cluster.wait_up(1);
    let keyspace = KEYSPACE.replace("'replication_factor': 3", "'replication_factor': 1");
    assert!(succeeded(&cluster.node(0).cql(&format!("{keyspace} {TABLE}"))));
    let inserts: String = (0..100).map(|id| format!("INSERT INTO k.t (id, v) VALUES ({id}, 'kept');")).collect();
    assert!(succeeded(&cluster.node(0).cql(&inserts)));
    cluster.node(0).kill();
    cluster.node(0).start();
    cluster.wait_up(1);
    for id in 0..100 {
        assert_eq!(cluster.node(0).rows(&format!("SELECT v FROM k.t WHERE id = {id}"))[0]["v"], "kept");
    }
}

#[test]
fn hints_survive_the_restart_of_both_sides_and_reach_the_node_that_missed_the_writes() {
    let mut cluster = Cluster::start(3);
    make_table(&mut cluster);
    cluster.node(2).kill();
    let inserts: String = (0..50).map(|id| format!("INSERT INTO k.t (id, v) VALUES ({id}, 'missed');")).collect();
    let inserted = cluster.node(0).cql(&inserts);
    assert!(succeeded(&inserted), "{}", error_of(&inserted));
    for node in 0..2 {
        cluster.node(node).kill();
    }
    for node in 0..3 {
        cluster.node(node).start();
    }
    cluster.wait_up(3);
    cluster.wait_no_hints();
    for node in 0..2 {
        cluster.node(node).kill();
    }
    let addresses = cluster.addresses();
    for id in 0..50 {
        let script = format!("CONSISTENCY ONE; SELECT v FROM k.t WHERE id = {id};");
        let answered = output(&["shell", &addresses[2], "--format", "json", "-e", &script]);
        let out = String::from_utf8_lossy(&answered.stdout);
        assert!(out.contains("missed"), "row {id}: {out} {}", error_of(&answered));
    }
    let refused = output(&["shell", &addresses[2], "-e", "SELECT v FROM k.t WHERE id = 1"]);
    assert_eq!(refused.status.code(), Some(1));
    let error = error_of(&refused);
    assert!(error.contains("QUORUM") && error.contains("1 of 2"), "{error}");
}

#[test]
fn a_paused_node_holds_nobody_up_and_catches_up() {
    let mut cluster = Cluster::start(3);
    make_table(&mut cluster);
    let paused = cluster.node(2).id().unwrap();
    signal(paused, "STOP");
    let started = Instant::now();
    for id in 0..20 {
        let inserted = cluster.node(0).cql(&format!("INSERT INTO k.t (id, v) VALUES ({id}, 'x')"));
        assert!(succeeded(&inserted), "{}", error_of(&inserted));
        assert_eq!(cluster.node(1).rows(&format!("SELECT v FROM k.t WHERE id = {id}"))[0]["v"], "x");
    }
    let changed = cluster.node(0).cql("CREATE TABLE k.u (id int PRIMARY KEY)");
    assert!(succeeded(&changed), "{}", error_of(&changed));
    assert!(started.elapsed() < PATIENCE / 2, "{:?}", started.elapsed());
    signal(paused, "CONT");
    cluster.wait_up(3);
    cluster.wait_no_hints();
    let address = cluster.addresses()[2].clone();
    let inserted = output(&["shell", &address, "-e", "INSERT INTO k.u (id) VALUES (1)"]);
    assert!(succeeded(&inserted), "{}", error_of(&inserted));
}

#[test]
fn an_idle_node_takes_little_memory() {
    let mut cluster = Cluster::start(1);
    std::thread::sleep(Duration::from_secs(1));
    let status = std::fs::read_to_string(format!("/proc/{}/status", cluster.node(0).id().unwrap())).unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kilobytes: u64 = resident.trim().trim_end_matches("kB").trim().parse().unwrap();
    assert!(kilobytes < 100 * 1024, "{kilobytes} KiB");
}

#[test]
fn the_cluster_in_one_process_is_ready_at_once_answers_and_leaves_nothing_behind() {
    // It has fixed addresses: on a machine where something else has them, there is nothing to test.
    if std::net::TcpListener::bind("127.0.0.1:7042").is_err() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let started = Instant::now();
    let mut command = helenus(&["dev", "--nodes", "3"]);
    command.env("TMPDIR", folder.path());
    let (child, line) = first_line(command);
    assert_eq!(line, "ready 127.0.0.1:7042 127.0.0.2:7042 127.0.0.3:7042\n");
    assert!(entries(folder.path()) > 0);
    let script = format!("{KEYSPACE} {TABLE} INSERT INTO k.t (id, v) VALUES (1, 'x'); SELECT * FROM k.t WHERE id = 1;");
    let answered = output(&["shell", "-e", &script, "--format", "json"]);
    assert_eq!(
        String::from_utf8_lossy(&answered.stdout).lines().last(),
        Some(r#"[{"id":1,"v":"x"}]"#),
        "{}",
        error_of(&answered)
    );
    // 1.5 seconds are promised; this machine may be busy with other tests.
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    let (code, out, error) = terminate(child);
    assert_eq!((code, out.as_str()), (Some(0), ""), "{error}");
    assert_eq!(entries(folder.path()), 0, "the temporary folder is gone");
}

fn entries(folder: &Path) -> usize {
    std::fs::read_dir(folder).unwrap().count()
}

#[test]
fn help_names_every_command_and_every_exit_code() {
    let help = String::from_utf8(output(&["--help"]).stdout).unwrap();
    for word in ["start", "dev", "shell", "admin", "bench", "sim", "Exit codes", "134"] {
        assert!(help.contains(word), "{word}\n{help}");
    }
    for command in ["start", "dev", "shell", "admin", "bench"] {
        let help = String::from_utf8(output(&[command, "--help"]).stdout).unwrap();
        assert!(help.contains("Examples:") && help.contains("Exit codes:"), "{command}\n{help}");
    }
    assert!(String::from_utf8(output(&["--version"]).stdout).unwrap().starts_with("helenus 0."));
    assert_eq!(output(&["admin", "status", "--host", "127.255.255.254"]).status.code(), Some(3));
}
