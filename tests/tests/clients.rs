//! Drivers of others, unchanged, against real nodes: each runs its scenario of `tests/clients`.
//!
//! A driver that is not installed is skipped by name. `HELENUS_PYTHON` names a Python interpreter that has one.

use e2e::Cluster;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// The interpreter with the DataStax driver, if there is one.
fn python() -> Option<String> {
    let interpreter = std::env::var("HELENUS_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let imported = Command::new(&interpreter).args(["-c", "import cassandra.cluster"]).output();
    let found = imported.is_ok_and(|output| output.status.success());
    if !found {
        eprintln!("SKIPPED: {interpreter} has no driver: pip install cassandra-driver lz4");
    }
    found.then_some(interpreter)
}

fn run_python(version: u8, cluster: &Cluster) {
    let Some(interpreter) = python() else { return };
    let scenario = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/python_driver.py");
    let mut command = Command::new(interpreter);
    let output = command.arg(scenario).arg(version.to_string()).args(cluster.addresses()).output().unwrap();
    let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && out.ends_with("done\n"), "{out}\n{error}");
}

#[test]
fn the_python_driver_works_with_version_4_on_three_nodes() {
    run_python(4, &Cluster::start(3));
}

#[test]
fn the_python_driver_works_with_version_5_on_one_node() {
    run_python(5, &Cluster::start(1));
}

#[test]
fn the_tables_by_which_drivers_find_the_cluster_are_read_through_the_own_api_too() {
    let mut cluster = Cluster::start(1);
    let node = cluster.node(0);
    let local = node.rows("SELECT key, bootstrapped, cql_version FROM system.local");
    assert_eq!(local, serde_json::json!([{"key": "local", "bootstrapped": "COMPLETED", "cql_version": "3.4.7"}]));
    let count = node.rows("SELECT count(*) FROM system_schema.keyspaces WHERE keyspace_name = 'system'");
    assert_eq!(count, serde_json::json!([{"count": 1}]));
}

fn connect(cluster: &Cluster) -> TcpStream {
    let stream = TcpStream::connect((cluster.addresses()[0].as_str(), 9042)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream
}

/// What the node answers until it closes the connection.
fn answer(cluster: &Cluster, request: &[u8]) -> Vec<u8> {
    let mut stream = connect(cluster);
    stream.write_all(request).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    answer
}

#[test]
fn what_is_not_of_the_protocol_is_told_so_and_the_connection_ends() {
    let cluster = Cluster::start(1);
    let foreign = answer(&cluster, &[66, 0, 0, 9, 5, 0, 0, 0, 0]);
    assert_eq!(&foreign[..5], &[0x85, 0, 0, 9, 0], "an error of version 5 on the stream of the request");
    let text = String::from_utf8_lossy(&foreign);
    assert!(
        text.contains("Invalid or unsupported protocol version (66); supported versions are (4/v4, 5/v5)"),
        "{text}"
    );
    let http = answer(&cluster, b"GET / HTTP/1.1\r\n\r\n");
    assert!(String::from_utf8_lossy(&http).contains("unsupported protocol version"));
    // A length of 256 MiB, of which nothing comes.
    let long = answer(&cluster, &[4, 0, 0, 1, 7, 0x10, 0, 0, 0]);
    assert!(String::from_utf8_lossy(&long).contains("Request is too big"));
    // A statement before STARTUP is refused, and the connection goes on.
    let mut stream = connect(&cluster);
    stream.write_all(&[4, 0, 0, 1, 11, 0, 0, 0, 2, 0, 0]).unwrap();
    let mut header = [0; 9];
    stream.read_exact(&mut header).unwrap();
    assert_eq!(&header[..5], &[0x84, 0, 0, 1, 0]);
    let mut body = vec![0; u32::from_be_bytes(header[5..].try_into().unwrap()) as usize];
    stream.read_exact(&mut body).unwrap();
    assert!(String::from_utf8_lossy(&body).contains("Unexpected message REGISTER"));
    stream.write_all(&[4, 0, 0, 2, 5, 0, 0, 0, 0]).unwrap();
    stream.read_exact(&mut header).unwrap();
    assert_eq!(&header[..5], &[0x84, 0, 0, 2, 6], "OPTIONS is answered by SUPPORTED");
}
