//! `cargo xtask demo`: the main job on real input, from nothing, as a person would do it by hand.
//!
//! Every step is a `helenus` command that is printed before it runs; every claim that the demo makes is
//! checked, and the demo fails when one does not hold. What it starts it stops, by process id.

use crate::{cargo, line, root, run};
use anyhow::{Context, Result, bail, ensure};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const ADDRESSES: [&str; 3] = ["127.0.0.1", "127.0.0.2", "127.0.0.3"];

const SCHEMA: &str = "
CREATE KEYSPACE demo WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 3};
CREATE TABLE demo.flights (
    origin text, departed_at timestamp, destination text, delay int, distance int,
    PRIMARY KEY (origin, departed_at, destination));
CREATE TABLE demo.airports (
    iata text PRIMARY KEY, name text, city text, state text, country text, latitude double, longitude double);
CREATE TABLE demo.weather (
    location text, date date, precipitation double, temp_max double, temp_min double, wind double, weather text,
    PRIMARY KEY (location, date)) WITH CLUSTERING ORDER BY (date DESC);
CREATE TABLE demo.earthquakes (
    network text, occurred_at timestamp, event_id text, magnitude double, place text, longitude double,
    latitude double, depth_km double, felt int,
    PRIMARY KEY (network, occurred_at, event_id)) WITH CLUSTERING ORDER BY (occurred_at DESC, event_id ASC);";

const LOAD: [(&str, &str); 4] = [
    ("demo.flights", "data/flights.csv"),
    ("demo.airports", "data/airports.csv"),
    ("demo.weather", "data/weather.csv"),
    ("demo.earthquakes", "data/earthquakes.csv"),
];

const QUERIES: [(&str, &str); 4] = [
    ("The airport SEA", "SELECT iata, name, city, latitude, longitude FROM demo.airports WHERE iata = 'SEA';"),
    (
        "Flights that left Seattle on 2001-01-05",
        "SELECT departed_at, destination, delay, distance FROM demo.flights WHERE origin = 'SEA' \
         AND departed_at >= '2001-01-05' AND departed_at < '2001-01-06' LIMIT 8;",
    ),
    (
        "The last week of weather in New York",
        "SELECT date, weather, temp_max, temp_min, wind FROM demo.weather WHERE location = 'New York' LIMIT 7;",
    ),
    (
        "The latest earthquakes of the Alaska network",
        "SELECT occurred_at, magnitude, place, depth_km FROM demo.earthquakes WHERE network = 'ak' LIMIT 5;",
    ),
];

/// Rows that the demo writes while a node is down.
const MISSED_ROWS: usize = 50;

/// The nodes of the demo; those that run are stopped when it goes.
struct Cluster {
    binary: PathBuf,
    folder: PathBuf,
    nodes: [Option<Child>; 3],
}

/// Runs the whole story.
///
/// # Errors
/// When a step fails or a claim does not hold.
pub(crate) fn demo(batch: bool) -> Result<()> {
    let binary = build()?;
    let folder = std::env::temp_dir().join(format!("helenus-demo-{}", std::process::id()));
    std::fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let mut cluster = Cluster { binary, folder, nodes: [None, None, None] };

    title("Three nodes, each a process of its own");
    cluster.configure()?;
    for node in 0..3 {
        cluster.start(node)?;
    }
    cluster.wait_until("all three nodes see each other", |cluster| cluster.nodes_up(3))?;
    cluster.show(&["admin", "status", "--host", ADDRESSES[0]])?;

    title("A keyspace with three replicas, and four files of real data");
    cluster.cql(0, SCHEMA)?;
    for (table, file) in LOAD {
        cluster.cql(0, &format!("CONSISTENCY QUORUM; COPY {table} FROM '{file}' WITH HEADER = TRUE;"))?;
    }

    title("Queries at QUORUM");
    for (what, query) in QUERIES {
        eprintln!("-- {what}");
        cluster.cql(1, &format!("CONSISTENCY QUORUM; {query}"))?;
    }

    title("One node killed with SIGKILL: reads and writes at QUORUM go on");
    cluster.kill(2)?;
    cluster.cql(0, "CREATE TABLE demo.log (day text, number int, text text, PRIMARY KEY (day, number));")?;
    let inserts: String = (0..MISSED_ROWS)
        .map(|number| format!("INSERT INTO demo.log (day, number, text) VALUES ('today', {number}, 'row {number}'); "))
        .collect();
    eprintln!("-- {MISSED_ROWS} rows written while 127.0.0.3 is down");
    cluster.quiet_cql(0, &format!("CONSISTENCY QUORUM; {inserts}"))?;
    cluster.cql(1, "CONSISTENCY QUORUM; SELECT * FROM demo.log WHERE day = 'today' LIMIT 3;")?;
    cluster.cql(1, &format!("CONSISTENCY QUORUM; {}", QUERIES[0].1))?;

    title("The node comes back and gets what it missed");
    cluster.start(2)?;
    cluster.wait_until("127.0.0.3 is up and every hint is delivered", |cluster| {
        Ok(cluster.nodes_up(3)? && cluster.pending_hints()? == 0)
    })?;
    cluster.show(&["admin", "status", "--host", ADDRESSES[2]])?;

    title("Both other nodes stopped: 127.0.0.3 alone holds the missed writes");
    cluster.stop(0)?;
    cluster.stop(1)?;
    let query = "CONSISTENCY ONE; SELECT number FROM demo.log WHERE day = 'today';";
    let answer = cluster.json(2, query)?;
    let rows = answer.as_array().map_or(0, Vec::len);
    eprintln!("-- at ONE, 127.0.0.3 answers {rows} of the {MISSED_ROWS} rows that were written while it was down");
    ensure!(rows == MISSED_ROWS, "127.0.0.3 holds {rows} of {MISSED_ROWS} missed rows");
    cluster.cql(2, "CONSISTENCY ONE; SELECT * FROM demo.log WHERE day = 'today' LIMIT 3;")?;

    title("All three again, and the ring");
    cluster.start(0)?;
    cluster.start(1)?;
    cluster.wait_until("all three nodes see each other", |cluster| cluster.nodes_up(3))?;
    cluster.show(&["admin", "ring", "--host", ADDRESSES[0]])?;

    if batch {
        eprintln!("\nThe demo is complete; every check held.");
    } else {
        title("Over to you: HELP shows what the shell can do, EXIT ends the demo and stops the nodes");
        cluster.interactive()?;
    }
    Ok(())
}

fn build() -> Result<PathBuf> {
    eprintln!("Building. The first build compiles RocksDB, a large C++ library: about 11 minutes on two cores.");
    run(cargo().args(["build", "--release", "--package", "helenus"]))?;
    binary()
}

/// The binary that `cargo build --release` made.
///
/// # Errors
/// When cargo does not say where that is.
pub(crate) fn binary() -> Result<PathBuf> {
    let output = cargo().args(["metadata", "--format-version", "1", "--no-deps"]).output()?;
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).context("read cargo metadata")?;
    let folder = metadata["target_directory"].as_str().context("cargo metadata names the target directory")?;
    Ok(Path::new(folder).join("release/helenus"))
}

fn title(text: &str) {
    eprintln!("\n=== {text}");
}

impl Cluster {
    fn configure(&self) -> Result<()> {
        let seeds = ADDRESSES.map(|address| format!("\"{address}\"")).join(", ");
        let text = format!("seeds = [{seeds}]\nblock_cache_mb = 64\nwrite_buffer_mb = 64\nlog_level = \"warn\"\n");
        let path = self.folder.join("helenus.toml");
        std::fs::write(&path, &text).with_context(|| format!("write {}", path.display()))?;
        eprintln!("The configuration of all three, {}:\n{text}", path.display());
        Ok(())
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(arguments).current_dir(root());
        command
    }

    fn start(&mut self, node: usize) -> Result<()> {
        let (config, data) = (self.folder.join("helenus.toml"), self.folder.join(format!("node{}", node + 1)));
        let mut command = self.command(&["start", "--config"]);
        command.arg(config).args(["--listen", ADDRESSES[node], "--data"]).arg(data).stdin(Stdio::null());
        eprintln!("$ {}", line(&command));
        self.nodes[node] = Some(command.spawn().context("start a node")?);
        Ok(())
    }

    fn kill(&mut self, node: usize) -> Result<()> {
        let mut child = self.nodes[node].take().context("the node runs")?;
        eprintln!("$ kill -KILL {}   # {}", child.id(), ADDRESSES[node]);
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    fn stop(&mut self, node: usize) -> Result<()> {
        let mut child = self.nodes[node].take().context("the node runs")?;
        eprintln!("$ kill -TERM {}   # {}", child.id(), ADDRESSES[node]);
        terminate(&child)?;
        let status = child.wait()?;
        ensure!(status.success(), "{} drained but ended with {status}", ADDRESSES[node]);
        Ok(())
    }

    fn show(&self, arguments: &[&str]) -> Result<()> {
        run(&mut self.command(arguments))
    }

    fn shell(&self, node: usize, text: &str) -> Command {
        self.command(&["shell", ADDRESSES[node], "-e", text])
    }

    fn cql(&self, node: usize, text: &str) -> Result<()> {
        eprintln!("$ helenus shell {} -e \"{}\"", ADDRESSES[node], text.trim());
        self.quiet_cql(node, text)
    }

    fn quiet_cql(&self, node: usize, text: &str) -> Result<()> {
        let status = self.shell(node, text).status()?;
        ensure!(status.success(), "the shell ended with {status}");
        Ok(())
    }

    fn json(&self, node: usize, text: &str) -> Result<serde_json::Value> {
        let output = self.shell(node, text).args(["--format", "json"]).stderr(Stdio::inherit()).output()?;
        ensure!(output.status.success(), "the shell ended with {}", output.status);
        serde_json::from_slice(&output.stdout).context("the shell's answer is JSON")
    }

    fn status(&self, node: usize) -> Result<serde_json::Value> {
        let output = self.command(&["admin", "status", "--host", ADDRESSES[node], "--json"]).output()?;
        ensure!(output.status.success(), "no answer yet");
        serde_json::from_slice(&output.stdout).context("the status is JSON")
    }

    /// True when every running node answers and sees `count` nodes up.
    fn nodes_up(&self, count: usize) -> Result<bool> {
        for node in (0..3).filter(|node| self.nodes[*node].is_some()) {
            let status = self.status(node)?;
            let nodes = status["nodes"].as_array().context("the status lists nodes")?;
            if nodes.iter().filter(|node| node["up"] == true).count() != count {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Hints that the running nodes hold for others.
    fn pending_hints(&self) -> Result<u64> {
        let mut pending = 0;
        for node in (0..3).filter(|node| self.nodes[*node].is_some()) {
            let status = self.status(node)?;
            let nodes = status["nodes"].as_array().context("the status lists nodes")?;
            pending += nodes.iter().filter_map(|node| node["pending_hints"].as_u64()).sum::<u64>();
        }
        Ok(pending)
    }

    /// Asks again and again until the answer is yes; an error counts as no, but for a node that ended.
    fn wait_until(&mut self, what: &str, ready: impl Fn(&Cluster) -> Result<bool>) -> Result<()> {
        const PATIENCE: Duration = Duration::from_secs(60);
        eprintln!("-- waiting until {what}");
        let started = Instant::now();
        loop {
            for (node, child) in self.nodes.iter_mut().enumerate() {
                if let Some(status) = child.as_mut().map(Child::try_wait).transpose()?.flatten() {
                    bail!("{} ended with {status}", ADDRESSES[node]);
                }
            }
            let answer = ready(self);
            if matches!(answer, Ok(true)) {
                eprintln!("-- after {:.1} s", started.elapsed().as_secs_f64());
                return Ok(());
            }
            if started.elapsed() > PATIENCE {
                bail!("gave up after {} s waiting until {what}: {answer:?}", PATIENCE.as_secs());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn interactive(&self) -> Result<()> {
        let status = self.command(&["shell", ADDRESSES[0]]).status()?;
        ensure!(status.success(), "the shell ended with {status}");
        Ok(())
    }
}

/// Sends SIGTERM. The standard library can only kill; `kill` is a builtin of every shell.
fn terminate(child: &Child) -> Result<()> {
    let status = Command::new("sh").arg("-c").arg(format!("kill -TERM {}", child.id())).status()?;
    ensure!(status.success(), "cannot signal process {}", child.id());
    Ok(())
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for child in self.nodes.iter_mut().flatten() {
            let stopped = terminate(child).is_ok() && child.wait().is_ok();
            if !stopped {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
        // What is left in the temporary folder after a failure helps to find its cause.
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}
