//! Bad input of every kind gets a clear error and the right exit code, and harms nothing.

use e2e::{Cluster, helenus, output};
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Makes a keyspace and a table with one row.
fn populate(cluster: &mut Cluster, replicas: usize) {
    let statements = format!(
        "CREATE KEYSPACE k WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': {replicas}}};
         CREATE TABLE k.t (id int PRIMARY KEY, v text);
         INSERT INTO k.t (id, v) VALUES (1, 'kept');"
    );
    let output = cluster.node(0).cql(&statements);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn statements_that_cannot_be_executed_are_refused_and_change_nothing() {
    let mut cluster = Cluster::start(1);
    populate(&mut cluster, 1);
    let oversized = format!("INSERT INTO k.t (id, v) VALUES (2, '{}')", "x".repeat(2 * 1024 * 1024));
    for (statement, expected) in [
        ("SELEC * FROM k.t", &["line 1:1", "SELEC"][..]),
        ("SELECT *\nFROM k.t WHRE id = 1", &["line 2:10", "WHRE", "^"]),
        ("INSERT INTO k.t (id, v) VALUES (1, 'open)", &["line 1:"]),
        ("SELECT * FROM k.missing WHERE id = 1", &["missing"]),
        ("SELECT * FROM missing.t WHERE id = 1", &["missing"]),
        ("SELECT nothing FROM k.t WHERE id = 1", &["nothing"]),
        ("INSERT INTO k.t (id, v) VALUES ('one', 'x')", &["id", "int"]),
        ("INSERT INTO k.t (id) VALUES (99999999999)", &["Unable to make int from '99999999999'"]),
        ("INSERT INTO k.t (v) VALUES ('x')", &["id"]),
        ("CREATE TABLE k.t (id int PRIMARY KEY)", &["Cannot add already existing table \"t\" to keyspace \"k\""]),
        (
            "CREATE TABLE k.u (id list<int> PRIMARY KEY)",
            &["Invalid non-frozen collection type list<int> for PRIMARY KEY column 'id'"],
        ),
        ("CREATE TABLE k.u (id int PRIMARY KEY) WITH cdc = true", &["cdc"]),
        ("TRUNCATE k.missing", &["table missing does not exist"]),
        (oversized.as_str(), &["1048576"]),
    ] {
        let output = cluster.node(0).cql(statement);
        let error = String::from_utf8_lossy(&output.stderr);
        let shown: String = statement.chars().take(80).collect();
        assert_eq!(output.status.code(), Some(1), "{shown}\n{error}");
        for part in expected {
            assert!(error.contains(part), "{shown}\nexpected '{part}' in: {error}");
        }
    }
    assert_eq!(cluster.node(0).rows("SELECT * FROM k.t WHERE id = 1"), serde_json::json!([{"id": 1, "v": "kept"}]));
    assert_eq!(cluster.node(0).rows("SELECT * FROM k.t WHERE id = 2"), serde_json::json!([]));
}

#[test]
fn a_configuration_with_mistakes_is_refused_with_all_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("helenus.toml");
    for (text, expected) in [
        ("listen_adress = '127.0.0.1'", &["listen_adress"][..]),
        ("num_tokens = 0\nshards = 0", &["num_tokens", "shards"]),
        ("num_tokens = 'many'", &["num_tokens"]),
        ("= 1", &["helenus.toml"]),
    ] {
        std::fs::write(&path, text).unwrap();
        let output = helenus(&["start", "--config"]).arg(&path).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{text}\n{error}");
        for part in expected {
            assert!(error.contains(part), "{text}\nexpected '{part}' in: {error}");
        }
    }
    let missing = output(&["start", "--config", "/nonexistent/helenus.toml"]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("/nonexistent/helenus.toml"));
    assert_eq!(output(&["start", "--no-such-flag"]).status.code(), Some(2));
}

#[test]
fn a_port_in_use_is_said_and_the_node_that_has_it_goes_on() {
    let mut cluster = Cluster::start(1);
    populate(&mut cluster, 1);
    let address = cluster.node(0).address.clone();
    let (config, data) = (cluster.folder().join("helenus.toml"), cluster.folder().join("other"));
    let mut command = helenus(&["start", "--listen", &address, "--config"]);
    let output = command.arg(config).arg("--data").arg(data).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{error}");
    assert!(error.contains("in use"), "{error}");
    assert_eq!(cluster.node(0).rows("SELECT v FROM k.t WHERE id = 1"), serde_json::json!([{"v": "kept"}]));
}

#[test]
fn a_data_folder_in_use_by_another_process_is_refused() {
    let mut cluster = Cluster::start(1);
    populate(&mut cluster, 1);
    let data = cluster.node(0).data.clone();
    let output = helenus(&["start", "--listen", "127.255.255.1", "--data"]).arg(data).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{error}");
    assert_eq!(cluster.node(0).rows("SELECT v FROM k.t WHERE id = 1"), serde_json::json!([{"v": "kept"}]));
}

#[test]
fn a_data_folder_of_another_cluster_is_refused() {
    let (mut one, mut other) = (Cluster::start(1), Cluster::start(1));
    populate(&mut one, 1);
    assert!(one.node(0).terminate().success());
    let (data, address) = (one.node(0).data.clone(), one.node(0).address.clone());
    let seeds = other.node(0).address.clone();
    let output = helenus(&["start", "--listen", &address, "--seeds", &seeds, "--data"]).arg(&data).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{error}");
    assert!(error.contains("cluster"), "{error}");
    one.node(0).start();
    one.wait_up(1);
    assert_eq!(one.node(0).rows("SELECT v FROM k.t WHERE id = 1"), serde_json::json!([{"v": "kept"}]));
}

#[test]
fn a_data_folder_of_a_newer_format_is_refused_and_left_alone() {
    let mut cluster = Cluster::start(1);
    assert!(cluster.node(0).terminate().success());
    let identity = cluster.node(0).data.join("IDENTITY");
    let text = std::fs::read_to_string(&identity).unwrap();
    let newer = storage_of_the_future(&text);
    std::fs::write(&identity, &newer).unwrap();
    cluster.node(0).start();
    let status = cluster.node(0).wait_end();
    let log = cluster.node(0).log_text();
    assert_eq!(status.code(), Some(3), "{log}");
    assert!(log.contains("newer"), "{log}");
    assert_eq!(std::fs::read_to_string(&identity).unwrap(), newer);
}

/// The identity file of a store with a format version far ahead, checksum included, as `storage` writes it.
fn storage_of_the_future(text: &str) -> String {
    assert!(text.contains("\nformat 3\n"), "the file names the format version: {text}");
    text.replace("\nformat 3\n", "\nformat 9000\n")
}

/// The log files of RocksDB below a data folder, the newest last.
fn logs(data: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![data.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else if entry.path().extension().is_some_and(|ending| ending == "log") {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    found
}

/// Fills a node with synced writes, kills it, damages its log, and expects the refusal to start.
fn damaged_log_is_refused(damage: impl Fn(&Path)) {
    let mut cluster = Cluster::start(1);
    populate(&mut cluster, 1);
    for id in 100..200 {
        let output = cluster.node(0).cql(&format!("INSERT INTO k.t (id, v) VALUES ({id}, 'acknowledged')"));
        assert!(output.status.success());
        if id > 105 {
            break;
        }
    }
    // Longer than the window of the watermark.
    std::thread::sleep(std::time::Duration::from_millis(200));
    cluster.node(0).kill();
    let data = cluster.node(0).data.clone();
    damage(logs(&data).last().expect("there is a log"));
    cluster.node(0).start();
    let status = cluster.node(0).wait_end();
    let log = cluster.node(0).log_text();
    assert_eq!(status.code(), Some(3), "{log}");
    assert!(log.contains("acknowledged") || log.contains("durable"), "{log}");
}

#[test]
fn a_truncated_log_is_refused() {
    damaged_log_is_refused(|log| {
        let length = log.metadata().unwrap().len();
        OpenOptions::new().write(true).open(log).unwrap().set_len(length / 2).unwrap();
    });
}

#[test]
fn a_missing_log_is_refused() {
    damaged_log_is_refused(|log| std::fs::remove_file(log).unwrap());
}

#[test]
fn a_flipped_bit_in_the_log_is_refused() {
    damaged_log_is_refused(|log| {
        let file = OpenOptions::new().read(true).write(true).open(log).unwrap();
        let middle = log.metadata().unwrap().len() / 2;
        let mut byte = [0];
        file.read_exact_at(&mut byte, middle).unwrap();
        file.write_all_at(&[byte[0] ^ 0x10], middle).unwrap();
    });
}
