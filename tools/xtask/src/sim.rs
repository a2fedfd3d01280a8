//! `cargo xtask sim`: many seeds of the simulator, as many at once as there are processors.
//!
//! `--pr` runs seeds that nobody has run, another 200 for each commit; `--nightly` goes on where the ledger says that
//! earlier runs of the same commit ended. Every twentieth seed is run twice and must do the same both times. A seed
//! that fails is told with the command that runs it again.

use crate::soak::Ledger;
use crate::{cargo, demo, run};
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

/// Seeds of `--pr`, and how long clients of each work under faults: together more than 100 hours of nodes.
const PR_SEEDS: u64 = 200;
const PR_SECONDS: u64 = 520;
/// Seeds of a process, after which what it did is noted.
const SEEDS_PER_SLICE: u64 = 5;
/// Of so many seeds one is run twice: 5 %.
const TWICE_EVERY: u64 = 20;
/// Where the seeds of `--pr` begin: above all that others use.
const PR_BASE: u64 = 1 << 32;

/// Which seeds, and for how long.
#[derive(Args)]
pub(crate) struct SimOptions {
    /// 200 seeds that belong to this commit alone; nothing is written
    #[arg(long, conflicts_with = "nightly")]
    pr: bool,
    /// Seeds in slices, each a line of tests/ledger.jsonl, until this commit has had so many
    #[arg(long)]
    nightly: bool,
    /// Seeds of this commit to reach (`--nightly`)
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// Simulated seconds of work under faults for each seed; 520 with `--pr`, else 60
    #[arg(long)]
    seconds: Option<u64>,
    /// Lightweight transactions, whose histories must be linearizable, instead of reads and writes
    #[arg(long)]
    transactions: bool,
}

/// What slices came to, by figure.
#[derive(Default)]
struct Sums {
    figures: BTreeMap<String, u64>,
    faults: BTreeMap<String, u64>,
}

impl Sums {
    fn add(&mut self, told: &Value) {
        let into = |sums: &mut BTreeMap<String, u64>, told: &Value| {
            for (name, count) in told.as_object().into_iter().flatten() {
                *sums.entry(name.clone()).or_default() += count.as_u64().unwrap_or(0);
            }
        };
        into(&mut self.figures, told);
        into(&mut self.faults, &told["faults"]);
    }

    fn print(&self) {
        let figure = |name: &str| self.figures.get(name).copied().unwrap_or(0);
        println!(
            "{} seeds clean, {} of them run twice: {} operations, {} events, {:.1} node-hours simulated",
            figure("seeds"),
            figure("twice"),
            figure("operations"),
            figure("events"),
            figure("node_seconds") as f64 / 3_600.0
        );
        let faults: Vec<String> = self.faults.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        println!("faults: {}", faults.join(", "));
    }
}

/// Runs the seeds.
///
/// # Errors
/// When one fails, or cannot be run.
pub(crate) fn sim(options: &SimOptions) -> Result<()> {
    ensure!(options.pr || options.nightly, "say which seeds: --pr or --nightly");
    run(cargo().args(["build", "--release", "--package", "helenus"]))?;
    let (binary, ledger) = (demo::binary()?, Ledger::open()?);
    let name = if options.transactions { "sim transactions" } else { "sim" };
    let seconds = options.seconds.unwrap_or(if options.pr { PR_SECONDS } else { 60 });
    let slices: Vec<(u64, u64)> = if options.pr {
        let first = PR_BASE + ledger.number_of_commit()? * PR_SEEDS;
        slices(first, PR_SEEDS)
    } else {
        slices(ledger.next_seed(name)?, options.seeds.saturating_sub(ledger.sum(name, "cycles")?))
    };
    let (waiting, sums) = (Mutex::new(slices.into_iter()), Mutex::new(Sums::default()));
    let work = || -> Result<()> {
        loop {
            let next = waiting.lock().expect("no worker panics").next();
            let Some((first, count)) = next else { return Ok(()) };
            let slice = run_slice(&binary, options.transactions, seconds, first, count);
            let mut sums = sums.lock().expect("no worker panics");
            if options.nightly {
                let mut line = json!({ "run": name, "cycles": count, "seeds": [first, first + count - 1] });
                let told = slice.as_ref().ok();
                line["findings"] = json!(u32::from(told.is_none()));
                for figure in ["seconds", "node_seconds", "operations", "twice", "faults"] {
                    line[figure] = told.map_or(Value::Null, |told| told[figure].clone());
                }
                ledger.append(&line)?;
            }
            sums.add(&slice?);
            eprintln!("{name}: seeds {first} to {} are clean", first + count - 1);
        }
    };
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().expect("no worker panics"))
    })?;
    sums.into_inner().expect("no worker panics").print();
    Ok(())
}

/// The seeds from `first` on, in slices: the first of each and how many.
fn slices(first: u64, count: u64) -> Vec<(u64, u64)> {
    let starts = (0..count).step_by(SEEDS_PER_SLICE as usize);
    starts.map(|start| (first + start, SEEDS_PER_SLICE.min(count - start))).collect()
}

/// What a process that runs these seeds tells of them.
fn run_slice(binary: &Path, transactions: bool, seconds: u64, first: u64, count: u64) -> Result<Value> {
    let mut command = Command::new(binary);
    command.args(["sim", "--json", "--seed", &first.to_string(), "--seeds", &count.to_string()]);
    command.args(["--seconds", &seconds.to_string(), "--twice-every", &TWICE_EVERY.to_string()]);
    command.args(transactions.then_some("--transactions"));
    let output = command.output().context("start the simulator")?;
    let said = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        bail!("seeds from {first} on: {}\n{}{said}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    let told = said.lines().last().unwrap_or_default();
    serde_json::from_str(told).with_context(|| format!("the simulator says: {told}"))
}
