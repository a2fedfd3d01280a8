//! `cargo xtask bench NAME`: runs a benchmark and prints its figures, as a table or, with `--json`, as one
//! object of named numbers with their units in the names, so that a program can compare runs.

use crate::{cargo, demo, run};
use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// What to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Name {
    /// Storage in process: writes, merges, point reads and slices, as ratios to raw RocksDB with the same options
    Storage,
    /// Resident memory of a store with 200 tables and 10 million rows, against its budget; not part of `all`
    Memory,
    /// Statements in process: what parsing, binding and executing again cost
    Query,
    /// One node: gRPC end to end, with the server's CPU per operation
    Node,
    /// Three nodes at QUORUM with replication factor 3 on this machine, with the CPU of all nodes per operation
    Cluster,
    /// One node over the CQL native protocol and over gRPC: the same prepared statements, with the server's CPU
    Native,
    /// Lightweight transactions of three nodes: uncontended and 64 clients at one partition, beside plain QUORUM writes
    Lwt,
    /// One node asked for three and for ten times what it can do: goodput, refusals, memory, recovery; not part of
    /// `all`
    Overload,
    /// Simulated clusters of 3, 9, 30 and 1,000 nodes: messages and bytes for each operation, and of gossip; not part
    /// of `all`
    Scale,
    /// The same prepared statements against one node and Apache Cassandra in turns, as ratios; needs what
    /// `tools/oracle` needs; not part of `all`
    Compare,
    /// Storage, query, node, native, cluster and lwt in one run
    All,
}

/// A running Apache Cassandra with its default settings; ended when it is dropped.
struct Cassandra {
    server: Child,
    address: String,
    process: String,
    start_seconds: String,
}

impl Cassandra {
    fn start() -> Result<Cassandra> {
        let mut command = Command::new("tools/oracle/serve");
        let mut server = command.arg("--stock").stdout(Stdio::piped()).spawn().context("start tools/oracle/serve")?;
        let output = server.stdout.take().context("its output is piped")?;
        let mut line = String::new();
        // ADDRESS, log in FILE, process NUMBER, started in SECONDS
        BufReader::new(output).read_line(&mut line)?;
        let word_after = |words: &str| {
            let rest = line.split_once(words).map(|(_, rest)| rest).unwrap_or_default();
            rest.split([',', '\n']).next().unwrap_or_default().trim().to_owned()
        };
        let (address, process) =
            (line.split(',').next().unwrap_or_default().trim().to_owned(), word_after(" process "));
        let cassandra = Cassandra { start_seconds: word_after(" started in "), server, address, process };
        ensure!(!cassandra.process.is_empty(), "Cassandra did not start: {line}");
        Ok(cassandra)
    }
}

impl Drop for Cassandra {
    fn drop(&mut self) {
        // It ends Cassandra when it is told to end, which a kill would not let it do.
        let _ = Command::new("kill").arg(self.server.id().to_string()).status();
        let _ = self.server.wait();
    }
}

/// What to measure, and how to print it.
#[derive(Args)]
pub(crate) struct BenchOptions {
    /// The benchmark
    #[arg(value_enum, default_value = "all")]
    name: Name,
    /// One JSON object of named numbers on standard output
    #[arg(long)]
    json: bool,
    /// Seconds for each measurement
    #[arg(long, default_value_t = 10)]
    seconds: u64,
}

/// Builds and runs the benchmarks.
///
/// # Errors
/// When a build or a benchmark fails.
pub(crate) fn bench(options: &BenchOptions) -> Result<()> {
    run(cargo().args(["build", "--release", "--package", "helenus", "--package", "benches"]))?;
    let binary = demo::binary()?;
    let runner = binary.with_file_name("measure");
    let name = options.name.to_possible_value().context("every benchmark has a name")?.get_name().to_owned();
    let mut command = Command::new(&runner);
    command.arg(name).args(["--seconds", &options.seconds.to_string()]).arg("--helenus").arg(&binary);
    if options.json {
        command.arg("--json");
    }
    // Held until it was measured.
    let cassandra = if options.name == Name::Compare { Some(Cassandra::start()?) } else { None };
    if let Some(Cassandra { address, process, start_seconds, .. }) = &cassandra {
        command.args(["--cassandra", address, "--cassandra-process", process]);
        command.args(["--cassandra-start-seconds", start_seconds]);
    }
    let status = command.status().with_context(|| format!("start {}", runner.display()))?;
    ensure!(status.success(), "the benchmark ended with {status}");
    Ok(())
}
