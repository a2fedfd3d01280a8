//! COPY FROM and COPY TO of the shell on three nodes: what goes in comes out, byte for byte, also when a node is
//! killed and started again meanwhile; what is rejected is kept with its reason.
//!
//! `HELENUS_COPY_ROWS` says how many rows the round trip has: a million with
//! `HELENUS_COPY_ROWS=1000000 cargo test --release --workspace --test e2e what_is_copied_in -- --nocapture`.

use e2e::{Cluster, helenus};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};
use std::time::Duration;

/// Rows of the round trip unless somebody asks for more.
const ROWS: usize = 40_000;

const TABLE: &str = "CREATE KEYSPACE k WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 3}; \
                     CREATE TABLE k.flights (origin text, departed_at timestamp, destination text, copy_id int, \
                     delay int, distance int, PRIMARY KEY (origin, departed_at, destination, copy_id));";

/// Into `out.csv`, with timestamps as they are in the source.
pub(super) const EXPORT: &str = "CONSISTENCY QUORUM; \
                      COPY k.flights TO 'out.csv' WITH HEADER = TRUE AND DATETIMEFORMAT = '%Y-%m-%d %H:%M:%S%z'";

/// How many rows are to be copied; `usual` unless somebody asks for more.
pub(super) fn rows_wanted(usual: usize) -> usize {
    std::env::var("HELENUS_COPY_ROWS").map_or(usual, |text| text.parse().expect("a number of rows"))
}

/// The flights of `data/flights.csv`, again and again with another `copy_id`, which is the number of the row: so no two
/// rows have one primary key. Columns are in the table's order, as COPY TO writes them.
fn grow(rows: usize, file: &Path) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/flights.csv");
    let flights = std::fs::read_to_string(source).unwrap();
    let flights: Vec<Vec<&str>> = flights.lines().skip(1).map(|line| line.split(',').collect()).collect();
    let mut grown = std::io::BufWriter::new(std::fs::File::create(file).unwrap());
    writeln!(grown, "origin,departed_at,destination,copy_id,delay,distance").unwrap();
    for (number, flight) in flights.iter().cycle().take(rows).enumerate() {
        let [origin, departed_at, destination, delay, distance] = flight[..] else { panic!("{flight:?}") };
        writeln!(grown, "{origin},{departed_at},{destination},{number},{delay},{distance}").unwrap();
    }
}

fn sorted_lines(file: &Path) -> Vec<Vec<u8>> {
    let bytes = std::fs::read(file).unwrap();
    let lines = bytes.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line).to_vec());
    let mut lines: Vec<Vec<u8>> = lines.collect();
    lines.sort_unstable();
    lines
}

/// True for files of the same lines in any order, however these end.
pub(super) fn is_same(a: &Path, b: &Path) -> bool {
    sorted_lines(a) == sorted_lines(b)
}

/// A shell that runs these statements, connected to the first node.
fn shell(cluster: &Cluster, text: &str) -> Child {
    let mut command = helenus(&["shell"]);
    command.arg(&cluster.addresses()[0]).args(["-e", text]).current_dir(cluster.folder());
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn run(cluster: &Cluster, text: &str) -> Output {
    shell(cluster, text).wait_with_output().unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

pub(super) fn succeed(cluster: &Cluster, text: &str) -> String {
    let output = run(cluster, text);
    assert!(output.status.success(), "{text}\n{}", said(&output));
    said(&output)
}

/// A cluster with the table, and the file of so many flights.
pub(super) fn prepare(rows: usize) -> (Cluster, PathBuf) {
    let cluster = Cluster::start(3);
    let file = cluster.folder().join("flights.csv");
    grow(rows, &file);
    succeed(&cluster, TABLE);
    (cluster, file)
}

#[test]
fn what_is_copied_in_is_copied_out() {
    let rows = rows_wanted(ROWS);
    let (cluster, file) = prepare(rows);
    let imported = succeed(&cluster, "CONSISTENCY QUORUM; COPY k.flights FROM 'flights.csv' WITH HEADER = TRUE");
    assert!(imported.contains(&format!("{rows} rows imported")), "{imported}");
    let exported = succeed(&cluster, EXPORT);
    assert!(exported.contains(&format!("{rows} rows exported")), "{exported}");
    assert!(is_same(&file, &cluster.folder().join("out.csv")), "every line comes back as it was");
    let of_rows = |text: &str| text.lines().filter(|line| line.contains("rows/s")).collect::<Vec<_>>().join("\n");
    eprintln!("{}\n{}", of_rows(&imported), of_rows(&exported));
}

#[test]
fn a_copy_survives_the_kill_and_the_restart_of_a_node() {
    let rows = 60_000;
    let (mut cluster, file) = prepare(rows);
    // Slow enough that the node goes and comes back while it runs.
    let copy = "CONSISTENCY QUORUM; COPY k.flights FROM 'flights.csv' WITH HEADER = TRUE AND INGESTRATE = 15000";
    let mut importing = shell(&cluster, copy);
    std::thread::sleep(Duration::from_millis(700));
    cluster.node(2).kill();
    std::thread::sleep(Duration::from_millis(700));
    assert_eq!(importing.try_wait().unwrap(), None, "it runs while the node is down");
    cluster.node(2).start();
    let output = importing.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    cluster.wait_up(3);
    succeed(&cluster, EXPORT);
    assert!(is_same(&file, &cluster.folder().join("out.csv")), "nothing is missing or twice");
}

#[test]
fn rejected_rows_are_kept_with_their_reasons() {
    let (cluster, file) = prepare(20);
    let mut damaged = std::fs::OpenOptions::new().append(true).open(&file).unwrap();
    writeln!(damaged, "JFK,yesterday,LAX,20,1,2\nJFK,2001-01-01 00:00:00+0000,LAX,twenty,1,2\nJFK,too,short").unwrap();
    drop(damaged);
    let output = run(&cluster, "COPY k.flights FROM 'flights.csv' WITH HEADER = TRUE AND ERRFILE = 'rejected.csv'");
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("20 rows imported"), "{}", said(&output));
    let read = |name: &str| std::fs::read_to_string(cluster.folder().join(name)).unwrap();
    let rejected = read("rejected.csv");
    assert_eq!(rejected.lines().count(), 3, "{rejected}");
    assert!(rejected.contains("JFK,yesterday,LAX,20,1,2\n") && rejected.contains("twenty"), "{rejected}");
    let reasons = read("rejected.csv.reasons");
    assert!(reasons.contains("yesterday") && reasons.contains("twenty"), "{reasons}");
}
