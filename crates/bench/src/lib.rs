//! `helenus bench`: a load generator that works through the driver, as an application would.
//!
//! Invariants:
//! * With a rate, load is open-loop: every operation has an intended start on a fixed schedule, and its latency
//!   counts from there, whenever it was really sent. A slow server cannot slow the schedule down and so hide
//!   its own delays (coordinated omission).
//! * Without a rate, every worker sends its next operation when the last one is answered, and latency is that
//!   of the answer: this finds the highest throughput, not honest latency under load, and the report says so.
//! * Work is a function of the seed: the same options send the same keys and values.
//! * A failed operation counts as an error, never into the latency of successes.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a load generator reads clocks and opens connections: it is outside the deterministic core"
)]

mod load;
mod report;
mod workload;

pub use load::{BenchError, run_load};
pub use report::{Format, Report};
pub use workload::{Mix, Workload};

use clap::{Args, Subcommand};
use model::Consistency;
use std::io::Write;
use std::time::Duration;

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Task {
    /// Write rows
    Write(LoadOptions),
    /// Read rows that `bench write` has written
    Read(LoadOptions),
    /// Read and write
    Mixed {
        /// Reads in a hundred operations
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u8).range(0..=100))]
        read_percent: u8,
        /// The rest
        #[command(flatten)]
        options: LoadOptions,
    },
}

/// Options of every kind of load.
#[derive(Clone, Debug, Args)]
pub struct LoadOptions {
    /// Nodes to connect to first, HOST or HOST:PORT
    #[arg(long, value_delimiter = ',', default_value = "127.0.0.1")]
    pub hosts: Vec<String>,
    /// Seconds to run
    #[arg(long, default_value_t = 10, conflicts_with = "operations")]
    pub seconds: u64,
    /// Operations to run instead of a time
    #[arg(long)]
    pub operations: Option<u64>,
    /// Operations to start per second (open loop); without it, as many as the cluster answers (closed loop)
    #[arg(long)]
    pub rate: Option<u64>,
    /// Operations under way at once
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub concurrency: u32,
    /// Threads of the load generator
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub threads: u16,
    /// Different keys; each operation draws one
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub keys: u64,
    /// Bytes of each value
    #[arg(long, default_value_t = 100)]
    pub value_bytes: u32,
    /// Replicas that must answer: ONE, QUORUM, LOCAL_QUORUM, ALL or another level
    #[arg(long, default_value = "QUORUM")]
    pub consistency: Consistency,
    /// Replicas of each row when the table is made
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub replication_factor: u32,
    /// Keyspace of the table; made when it does not exist
    #[arg(long, default_value = "bench")]
    pub keyspace: String,
    /// Milliseconds until an operation counts as failed
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub timeout_millis: u32,
    /// Seconds at the start that are not counted
    #[arg(long, default_value_t = 1)]
    pub warmup_seconds: u64,
    /// Seed of keys and values
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// One JSON object of named numbers on standard output instead of a table
    #[arg(long)]
    pub json: bool,
}

impl Task {
    /// The load that the options describe.
    #[must_use]
    pub fn workload(&self) -> Workload {
        let (options, mix) = match self {
            Task::Write(options) => (options, Mix { read_percent: 0 }),
            Task::Read(options) => (options, Mix { read_percent: 100 }),
            Task::Mixed { read_percent, options } => (options, Mix { read_percent: *read_percent }),
        };
        let until = match options.operations {
            Some(operations) => workload::Until::Operations(operations),
            None => workload::Until::Elapsed(Duration::from_secs(options.seconds)),
        };
        Workload { options: options.clone(), mix, until }
    }
}

/// Runs a task and writes its report to `out`; progress goes to standard error.
///
/// # Errors
/// When the cluster cannot be reached or the table not be made; operations that fail are in the report.
pub fn run(task: &Task, out: &mut dyn Write) -> Result<Report, BenchError> {
    let workload = task.workload();
    let format = if workload.options.json { Format::Json } else { Format::Table };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(usize::from(workload.options.threads))
        .enable_all()
        .build()
        .map_err(BenchError::Io)?;
    let report = runtime.block_on(run_load(&workload))?;
    report.write(out, format).map_err(BenchError::Io)?;
    Ok(report)
}
