//! `cargo xtask bench NAME`: runs a benchmark and prints its figures, as a table or, with `--json`, as one
//! object of named numbers with their units in the names, so that a program can compare runs.

use crate::{cargo, demo, run};
use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use std::process::Command;

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
    /// Storage, query, node and cluster in one run
    All,
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
    let status = command.status().with_context(|| format!("start {}", runner.display()))?;
    ensure!(status.success(), "the benchmark ended with {status}");
    Ok(())
}
