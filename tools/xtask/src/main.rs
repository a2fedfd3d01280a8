//! `cargo xtask`: every task of the project under one command, the same on a laptop and in CI.
//!
//! Invariants: `verify` never writes to the checkout; only `fix` does, and `soak` to its ledger and corpora. Every task
//! installs what the build needs and is missing, and says so.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a developer's tool: it runs processes, reads files and talks to a person"
)]

mod bench;
mod demo;
mod fuzz;
mod layers;
mod prerequisites;
mod sim;
mod soak;
mod tidy;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use std::path::{Path, PathBuf};
use std::process::Command;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Tasks of the Helenus project", max_term_width = 100)]
struct Options {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build, start three nodes, load real data, kill one, and show that nothing is lost
    Demo {
        /// Exit at the end instead of handing over to the shell
        #[arg(long)]
        batch: bool,
    },
    /// Run all tests
    Test,
    /// Check everything that CI checks: format, clippy, tidy, layers, tests, seeds; writes nothing
    Verify {
        /// Only the static checks: format, clippy, tidy, layers
        #[arg(long)]
        skip_tests: bool,
    },
    /// Format the code and apply clippy's suggestions
    Fix,
    /// Run every fuzz target for a short time
    Fuzz {
        /// Seconds for each target
        #[arg(long, default_value_t = 30)]
        seconds: u64,
    },
    /// Run a benchmark and print its figures
    Bench(bench::BenchOptions),
    /// Run many seeds of the simulator
    Sim(sim::SimOptions),
    /// Run crash loops, damage and fuzz targets for long, with a ledger of what was run and found
    Soak(soak::SoakOptions),
}

/// The root of the checkout.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("xtask is two folders below the root").into()
}

/// A cargo command in the checkout.
fn cargo() -> Command {
    let mut command = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()));
    command.current_dir(root());
    command
}

/// Runs a command and fails when it fails.
fn run(command: &mut Command) -> Result<()> {
    eprintln!("$ {}", line(command));
    let status = command.status().with_context(|| format!("start {}", line(command)))?;
    if !status.success() {
        bail!("{} failed: {status}", line(command));
    }
    Ok(())
}

fn line(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let arguments = command.get_args().map(|argument| argument.to_string_lossy().into_owned());
    std::iter::once(program).chain(arguments).collect::<Vec<_>>().join(" ")
}

/// All tests: of every crate, documentation included, then the planted bugs, which need their switch
/// compiled in and so run as a build of their own.
fn test() -> Result<()> {
    // The end-to-end tests start the real binary; building it first keeps its path known to them.
    run(cargo().args(["build", "--release", "--package", "helenus", "--package", "examples"]))?;
    run(cargo().args(["test", "--release", "--workspace"]))?;
    run(cargo()
        .args(["test", "--release", "--package", "sim", "--features", "planted"])
        .args(["--test", "planted", "--test", "transactions", "--test", "counters"])
        .args(["--", "--nocapture"]))
}

fn verify(skip_tests: bool) -> Result<()> {
    run(cargo().args(["fmt", "--all", "--check"]))?;
    layers::check(&root())?;
    tidy::check(&root())?;
    run(cargo().args(["clippy", "--release", "--workspace", "--all-targets", "--", "--deny", "warnings"]))?;
    if !skip_tests {
        test()?;
    }
    Ok(())
}

fn main() -> Result<()> {
    if let Some(code) = fuzz::wrap_compiler() {
        std::process::exit(code);
    }
    let task = Options::parse().task;
    if !matches!(task, Task::Fix) {
        prerequisites::install()?;
    }
    match task {
        Task::Demo { batch } => demo::demo(batch),
        Task::Test => test(),
        Task::Verify { skip_tests } => verify(skip_tests),
        Task::Fix => {
            run(cargo().args(["clippy", "--release", "--workspace", "--all-targets", "--fix", "--allow-dirty"]))?;
            run(cargo().args(["fmt", "--all"]))
        }
        Task::Fuzz { seconds } => fuzz::share(seconds),
        Task::Bench(options) => bench::bench(&options),
        Task::Sim(options) => sim::sim(&options),
        Task::Soak(options) => soak::soak(&options),
    }
}
