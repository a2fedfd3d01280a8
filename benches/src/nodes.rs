//! Real nodes under load: operations per second end to end, and the CPU time of the node processes for each.

use crate::resident;
use anyhow::{Context, Result, bail, ensure};
use bench::{LoadOptions, Task};
use clap::Args;
use serde_json::{Map, Value, json};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Loopback addresses that nothing else here uses.
const ADDRESSES: [&str; 3] = ["127.77.0.1", "127.77.0.2", "127.77.0.3"];

/// The nodes of one measurement; killed when it ends.
pub(crate) struct Nodes {
    children: Vec<Child>,
}

impl Nodes {
    /// The process of the first of them.
    pub(crate) fn first(&self) -> u32 {
        self.children.first().map_or(0, Child::id)
    }

    /// User and system time of all threads of all of them so far.
    fn cpu_seconds(&self) -> Result<f64> {
        self.children.iter().map(|child| cpu_seconds(child.id())).sum()
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Writes, then reads, then both, against `count` nodes with as many replicas, at QUORUM, 128 operations under
/// way, 100-byte values; puts throughput, latency and CPU into `figures` under names that begin with `prefix`.
///
/// # Errors
/// When the nodes do not start or an operation fails.
pub(crate) fn measure(
    prefix: &str,
    count: usize,
    helenus: &Path,
    seconds: u64,
    figures: &mut Map<String, Value>,
) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let nodes = start(count, helenus, folder.path(), "")?;
    let memory: u64 = nodes.children.iter().map(|child| resident::bytes(child.id())).sum::<Result<u64>>()?;
    figures.insert(format!("{prefix}_idle_resident_mib_per_node"), json!(memory as f64 / count as f64 / 1_048_576.0));
    let line = [
        "bench",
        "--hosts",
        &ADDRESSES[..count].join(","),
        "--replication-factor",
        &count.to_string(),
        "--seconds",
        &seconds.to_string(),
    ]
    .map(str::to_owned);
    let command = LoadOptions::augment_args(clap::Command::new("bench"));
    let matches = command.try_get_matches_from(line)?;
    let options = <LoadOptions as clap::FromArgMatches>::from_arg_matches(&matches)?;
    let tasks = [
        ("write", Task::Write(options.clone())),
        ("read", Task::Read(options.clone())),
        ("mixed", Task::Mixed { read_percent: 50, options: options.clone() }),
    ];
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    for (name, task) in tasks {
        let before = messages(helenus, count)?;
        let cost = run(&runtime, &nodes, &task)?;
        for (figure, value) in cost.figures() {
            figures.insert(format!("{prefix}_{name}_{figure}"), json!(value));
        }
        if count > 1 {
            let after = messages(helenus, count)?;
            for (figure, sum) in [("messages", after.0 - before.0), ("message_bytes", after.1 - before.1)] {
                figures.insert(format!("{prefix}_{name}_{figure}_per_operation"), json!(sum / cost.operations));
            }
        }
    }
    if count == 3 {
        let write = Task::Write(options);
        compare_with_bare(&runtime, &nodes, &write, seconds, folder.path(), prefix, figures)?;
    }
    Ok(())
}

/// What a load came to.
struct Cost {
    per_second: f64,
    nodes_cpu_micros: f64,
    client_cpu_micros: f64,
    /// Those of the second of warm-up included, which the others leave out.
    operations: f64,
    /// Of each operation, where they are measured.
    latency: Option<(u64, u64)>,
}

impl Cost {
    fn figures(&self) -> Vec<(&'static str, f64)> {
        let mut figures = vec![
            ("per_second", self.per_second),
            ("nodes_cpu_micros_per_operation", self.nodes_cpu_micros),
            ("client_cpu_micros_per_operation", self.client_cpu_micros),
        ];
        if let Some((p50, p99)) = self.latency {
            figures.extend([("p50_micros", p50 as f64), ("p99_micros", p99 as f64)]);
        }
        figures
    }
}

/// Runs a load of the benchmark harness.
fn run(runtime: &tokio::runtime::Runtime, nodes: &Nodes, task: &Task) -> Result<Cost> {
    let (nodes_before, client_before) = (nodes.cpu_seconds()?, cpu_seconds(std::process::id())?);
    let (report, warmup) = (runtime.block_on(bench::run_load(&task.workload()))?, 1.0);
    let (nodes_after, client_after) = (nodes.cpu_seconds()?, cpu_seconds(std::process::id())?);
    ensure!(report.error_count() == 0, "operations failed: {:?}", report.errors);
    // The CPU time includes the second of warm-up that the report leaves out; so must the operations.
    let elapsed = report.elapsed.as_secs_f64();
    let operations = report.operations() as f64 * (elapsed + warmup) / elapsed;
    Ok(Cost {
        per_second: report.throughput(),
        nodes_cpu_micros: (nodes_after - nodes_before) * 1e6 / operations,
        client_cpu_micros: (client_after - client_before) * 1e6 / operations,
        operations,
        latency: Some((report.latency.value_at_quantile(0.5), report.latency.value_at_quantile(0.99))),
    })
}

/// Messages between so many nodes so far, and their bytes without what the transport adds. Those that nodes exchange
/// anyway, about one a second with each other, are among them.
fn messages(helenus: &Path, count: usize) -> Result<(f64, f64)> {
    Ok((figure(helenus, count, "messages_sent")?, figure(helenus, count, "message_bytes_sent")?))
}

/// Rounds in which real and bare nodes take turns.
const ROUNDS: usize = 5;
/// Writes under way, keys and bytes of a value: as the benchmark harness has them by default.
const IN_FLIGHT: usize = 128;
const KEYS: u64 = 1_000_000;
const VALUE_BYTES: usize = 100;

/// Writes to real and to bare nodes in turns; puts the bare figures and the ratios into `figures`, each the median of
/// the rounds.
fn compare_with_bare(
    runtime: &tokio::runtime::Runtime,
    nodes: &Nodes,
    write: &Task,
    seconds: u64,
    folder: &Path,
    prefix: &str,
    figures: &mut Map<String, Value>,
) -> Result<()> {
    let (bare, addresses) = start_bare(folder)?;
    let (mut throughput, mut cpu, mut bare_throughput, mut bare_cpu) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    // The first round warms both up.
    for round in 0..=ROUNDS {
        let real = run(runtime, nodes, write)?;
        let before = bare.cpu_seconds()?;
        let load = runtime.block_on(crate::bare::load(&addresses, IN_FLIGHT, KEYS, VALUE_BYTES, seconds))?;
        let operations = load.operations as f64;
        let spent = (bare.cpu_seconds()? - before) * 1e6 / operations;
        if round > 0 {
            throughput.push(real.per_second / (operations / load.seconds));
            cpu.push(real.nodes_cpu_micros / spent);
            bare_throughput.push(operations / load.seconds);
            bare_cpu.push(spent);
        }
    }
    for (figure, rounds) in [
        ("bare_write_per_second", bare_throughput),
        ("bare_write_nodes_cpu_micros_per_operation", bare_cpu),
        ("write_to_bare_throughput_ratio", throughput),
        ("write_to_bare_nodes_cpu_ratio", cpu),
    ] {
        figures.insert(format!("{prefix}_{figure}"), json!(median(rounds)));
    }
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Three processes of this program as bare nodes.
fn start_bare(folder: &Path) -> Result<(Nodes, Vec<String>)> {
    let addresses: Vec<String> = ADDRESSES.iter().map(|address| format!("{address}:7044")).collect();
    let mut nodes = Nodes { children: Vec::new() };
    for (index, address) in addresses.iter().enumerate() {
        let peers: Vec<&str> = addresses.iter().filter(|peer| *peer != address).map(String::as_str).collect();
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["bare-node", "--listen", address, "--peers", &peers.join(",")]);
        command.arg("--data").arg(folder.join(format!("bare-{index}")));
        nodes.children.push(command.stdin(Stdio::null()).spawn().context("start a bare node")?);
    }
    Ok((nodes, addresses))
}

/// One node that acknowledges what the operating system has.
///
/// # Errors
/// When it does not start.
pub(crate) fn start_periodic(helenus: &Path, folder: &Path) -> Result<Nodes> {
    start(1, helenus, folder, "durability = \"periodic\"\n")
}

/// One node as it is by default.
///
/// # Errors
/// When it does not start.
pub(crate) fn start_one(helenus: &Path, folder: &Path) -> Result<Nodes> {
    start(1, helenus, folder, "")
}

/// Where that listens: for gRPC, and for the CQL native protocol.
pub(crate) fn addresses_of_one() -> (&'static str, SocketAddr) {
    (ADDRESSES[0], SocketAddr::from(([127, 77, 0, 1], 9_042)))
}

/// The sum over so many nodes of a figure that `admin info` shows.
///
/// # Errors
/// When a node does not answer, or has no such figure.
pub(crate) fn figure(helenus: &Path, count: usize, name: &str) -> Result<f64> {
    let of_node = |address: &&str| {
        let output = Command::new(helenus).args(["admin", "info", "--json", "--host", address]).output()?;
        let info: Value = serde_json::from_slice(&output.stdout).context("the answer of admin info")?;
        info[name].as_f64().with_context(|| format!("admin info has no {name}"))
    };
    ADDRESSES[..count].iter().map(of_node).sum()
}

/// Where nodes listen.
pub(crate) fn addresses(count: usize) -> &'static [&'static str] {
    &ADDRESSES[..count]
}

/// Starts so many nodes with these settings, and waits until they know each other.
///
/// # Errors
/// When they do not come up.
pub(crate) fn start(count: usize, helenus: &Path, folder: &Path, settings: &str) -> Result<Nodes> {
    let seeds = ADDRESSES[..count].iter().map(|address| format!("\"{address}\"")).collect::<Vec<_>>().join(", ");
    let config = folder.join("helenus.toml");
    std::fs::write(&config, format!("seeds = [{seeds}]\nlog_level = \"warn\"\n{settings}"))?;
    let mut nodes = Nodes { children: Vec::new() };
    for address in &ADDRESSES[..count] {
        let mut command = Command::new(helenus);
        command.args(["start", "--listen", address, "--config"]).arg(&config).arg("--data").arg(folder.join(address));
        nodes.children.push(command.stdin(Stdio::null()).spawn().context("start a node")?);
    }
    let started = Instant::now();
    while !all_up(&mut nodes, count, helenus)? {
        ensure!(started.elapsed() < Duration::from_secs(30), "the nodes do not come up");
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(nodes)
}

/// Has a node write its memtables to files, as it does before it makes a snapshot.
///
/// # Errors
/// When it does not.
pub(crate) fn flush(helenus: &Path, address: &str) -> Result<()> {
    let output = Command::new(helenus).args(["admin", "snapshot", "flushed", "--host", address]).output()?;
    ensure!(output.status.success(), "admin snapshot: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

fn all_up(nodes: &mut Nodes, count: usize, helenus: &Path) -> Result<bool> {
    for child in &mut nodes.children {
        if let Some(status) = child.try_wait()? {
            bail!("a node ended with {status}");
        }
    }
    for address in &ADDRESSES[..count] {
        let output = Command::new(helenus).args(["admin", "status", "--json", "--host", address]).output()?;
        let status: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let up = status["nodes"].as_array().map_or(0, |nodes| nodes.iter().filter(|node| node["up"] == true).count());
        if up != count {
            return Ok(false);
        }
    }
    Ok(true)
}

/// User and system time of all threads of a process so far.
pub(crate) fn cpu_seconds(process: u32) -> Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name in parentheses may hold spaces; the fields after it are fixed (proc(5): 14 and 15).
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok()).context("field of stat");
    Ok((ticks(11)? + ticks(12)?) / ticks_per_second())
}

#[allow(unsafe_code, reason = "sysconf has no safe form in std")]
fn ticks_per_second() -> f64 {
    // SAFETY: sysconf reads a constant of the system and touches no memory of ours.
    unsafe { libc::sysconf(libc::_SC_CLK_TCK) as f64 }
}
