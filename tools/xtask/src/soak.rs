//! `cargo xtask soak NAME`: long runs in slices, with a ledger.
//!
//! A run asks for a number of cycles or seconds *of this commit*: it goes on where the ledger says that earlier ones
//! of the same commit ended, and can be stopped at any time at the cost of the slice under way. Each slice that ends
//! becomes one line of `tests/ledger.jsonl`, findings included. The commit is the last one that changed anything
//! but the ledger; lines of a checkout with changes that are not committed say so and count for no commit.

use crate::fuzz::{self, Campaign};
use crate::{cargo, root, run};
use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// The ledger, from the root of the checkout.
const LEDGER: &str = "tests/ledger.jsonl";
/// Statements in a cycle of `statements`.
const STATEMENTS_PER_CYCLE: u64 = 100_000;
/// Frames in a cycle of `frames`, and in one of `frames-sent`.
const FRAMES_PER_CYCLE: u64 = 1_000_000;
const SENT_PER_CYCLE: u64 = 1_000;
/// Seconds under faults in a cycle of `histories`, and in one of `histories-across`.
const HISTORY_SECONDS: u64 = 120;
const ACROSS_SECONDS: u64 = 100;
/// Figures of slices that a summary adds up.
const FIGURES: [&str; 5] = ["cycles", "executions", "operations", "seconds", "findings"];
/// Lines of a failed run that are shown.
const SHOWN_LINES: usize = 60;

/// What to run for long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Name {
    /// Kill -9 of a single node that is written to
    Kill,
    /// Kill -9 of the nodes of a cluster in turn, while it is written to
    KillCluster,
    /// Simulated power cuts of a node that is written to
    Power,
    /// Random damage to a store's files
    Corruption,
    /// Random histories of 20,000 operations on a store, compared with a naive reference; 50 are a million
    Differential,
    /// Generated and mutated statements through parse, bind and plan, 100,000 in a cycle; 100 cycles are ten million
    Statements,
    /// Frames of the CQL native protocol, changed at random, in process: a million in a cycle
    Frames,
    /// The same sent to a node over connections, 1,000 in a cycle
    FramesSent,
    /// Histories of clients of three nodes under faults of processes, network, disks and clocks, checked; a cycle is
    /// two minutes and one seed
    Histories,
    /// The same with six nodes in two data centres; a cycle is 100 seconds
    HistoriesAcross,
    /// The fuzz targets, or one of them
    Fuzz,
}

/// What to run, and for how long.
#[derive(Args)]
pub(crate) struct SoakOptions {
    /// The run
    #[arg(value_enum, required_unless_present = "summary")]
    name: Option<Name>,
    /// Cycles of this commit to reach (all but `fuzz`)
    #[arg(long, default_value_t = 100)]
    cycles: u64,
    /// Seconds of this commit to reach, of each target (`fuzz`)
    #[arg(long, default_value_t = 600)]
    seconds: u64,
    /// Only this target (`fuzz`)
    #[arg(long)]
    target: Option<String>,
    /// Put the fewest inputs that reach all that was reached into tests/fuzz/corpus, and run nothing (`fuzz`)
    #[arg(long)]
    keep_corpora: bool,
    /// Show what the ledger holds, and run nothing
    #[arg(long)]
    summary: bool,
}

/// How a run of cycles is carried out: by a test that reads `HELENUS_CYCLES` and `HELENUS_SEED`, or a range of numbers.
struct Loop {
    /// How Cargo finds its program. The product is named with it: a package alone asks for other features of
    /// RocksDB's build, which would take long.
    program: &'static [&'static str],
    test: &'static str,
    cycles_per_slice: u64,
    /// The variable for the range, and how many numbers of it are a cycle.
    range: Option<(&'static str, u64)>,
    /// `HELENUS_SECONDS` of a cycle, for a test whose seed lasts as long as it is told.
    seconds: Option<u64>,
}

impl Name {
    fn text(self) -> &'static str {
        match self {
            Name::Kill => "kill",
            Name::KillCluster => "kill-cluster",
            Name::Power => "power",
            Name::Corruption => "corruption",
            Name::Differential => "differential",
            Name::Statements => "statements",
            Name::Frames => "frames",
            Name::FramesSent => "frames-sent",
            Name::Histories => "histories",
            Name::HistoriesAcross => "histories-across",
            Name::Fuzz => "fuzz",
        }
    }

    /// None for what is not a loop.
    fn as_loop(self) -> Option<Loop> {
        let e2e: &[&str] = &["--workspace", "--test", "e2e"];
        let a_loop = |program, test, cycles_per_slice, range| {
            Some(Loop { program, test, cycles_per_slice, range, seconds: None })
        };
        let of_seconds =
            |test, seconds| Some(Loop { program: e2e, test, cycles_per_slice: 1, range: None, seconds: Some(seconds) });
        match self {
            Name::Kill => {
                a_loop(e2e, "durability::no_acknowledged_write_is_lost_when_the_only_node_is_killed", 50, None)
            }
            Name::KillCluster => {
                let test = "durability::no_write_acknowledged_at_quorum_is_lost_when_nodes_are_killed_in_turn";
                a_loop(e2e, test, 10, None)
            }
            Name::Power => a_loop(e2e, "durability::no_acknowledged_write_is_lost_by_power_cuts", 25, None),
            Name::Corruption => a_loop(&["--workspace", "--test", "corruption"], "no_damage_is_silent", 40, None),
            Name::Differential => {
                let test = "tests::a_million_operations_agree_with_the_reference";
                let histories = Some(("HELENUS_HISTORIES", 1));
                a_loop(&["--package", "storage", "--package", "helenus", "--lib"], test, 5, histories)
            }
            Name::Statements => {
                let statements = Some(("HELENUS_STATEMENTS", STATEMENTS_PER_CYCLE));
                let program = &["--package", "query", "--package", "helenus", "--lib"];
                a_loop(program, "fuzz_tests::no_statement_panics", 10, statements)
            }
            Name::Frames => {
                let test = "mutation_tests::mutated_frames_are_refused_without_a_panic";
                let frames = Some(("HELENUS_FRAMES", FRAMES_PER_CYCLE));
                a_loop(&["--package", "native", "--package", "helenus", "--lib"], test, 10, frames)
            }
            Name::FramesSent => {
                let test = "connections::no_frame_brings_a_node_down_or_makes_it_grow";
                a_loop(e2e, test, 10, Some(("HELENUS_FRAMES", SENT_PER_CYCLE)))
            }
            Name::Histories => of_seconds("histories::three_nodes_keep_their_promises_under_faults", HISTORY_SECONDS),
            Name::HistoriesAcross => {
                of_seconds("histories::two_data_centers_keep_their_promises_under_faults", ACROSS_SECONDS)
            }
            Name::Fuzz => None,
        }
    }
}

/// Runs what is asked for, or shows the ledger.
///
/// # Errors
/// When something is found, or cannot be run.
pub(crate) fn soak(options: &SoakOptions) -> Result<()> {
    let ledger = Ledger::open()?;
    let Some(name) = options.name.filter(|_| !options.summary) else {
        ledger.summary();
        return Ok(());
    };
    match name.as_loop() {
        None if options.keep_corpora => fuzz::keep_corpora(),
        Some(a_loop) => run_loop(name, &a_loop, options.cycles, &ledger),
        None => run_fuzz(options, &ledger),
    }
}

fn run_loop(name: Name, a_loop: &Loop, cycles: u64, ledger: &Ledger) -> Result<()> {
    run(cargo().args(["build", "--release", "--package", "helenus"]))?;
    let mut done = ledger.sum(name.text(), "cycles")?;
    while done < cycles {
        let (slice, seed) = (a_loop.cycles_per_slice.min(cycles - done), ledger.next_seed(name.text())?);
        let started = Instant::now();
        let mut command = cargo();
        command.args(["test", "--release"]).args(a_loop.program).args(["--", "--exact", "--include-ignored"]);
        command.arg(a_loop.test).arg("--nocapture");
        command.env("HELENUS_CYCLES", slice.to_string()).env("HELENUS_SEED", seed.to_string());
        if let Some((variable, numbers)) = a_loop.range {
            command.env(variable, format!("{}..{}", (seed - 1) * numbers, (seed - 1 + slice) * numbers));
        }
        if let Some(seconds) = a_loop.seconds {
            command.env("HELENUS_SECONDS", seconds.to_string());
        }
        let output = command.output().context("start cargo test")?;
        let (failed, said) = (!output.status.success(), text(&output));
        ensure!(failed || said.contains("test result: ok. 1 passed"), "the test did not run:\n{said}");
        done += slice;
        let mut line = json!({
            "run": name.text(), "cycles": slice, "seeds": [seed, seed + slice - 1],
            "seconds": seconds(started.elapsed()), "findings": u32::from(failed),
        });
        if let Some(operations) = operations(&said) {
            line["operations"] = operations.into();
        }
        ledger.append(&line)?;
        if failed {
            bail!("{}: a slice of {slice} cycles from seed {seed} failed:\n{}", name.text(), tail(&said));
        }
        eprintln!("{}: {done} of {cycles} cycles", name.text());
    }
    Ok(())
}

fn run_fuzz(options: &SoakOptions, ledger: &Ledger) -> Result<()> {
    let runner = fuzz::build()?;
    let targets = match &options.target {
        Some(target) => vec![target.clone()],
        None => fuzz::targets(&runner)?,
    };
    let mut waiting = Vec::new();
    for target in targets {
        let missing = options.seconds.saturating_sub(ledger.sum(&format!("fuzz {target}"), "seconds")?);
        waiting.extend((missing > 0).then_some(Campaign { target, seconds: missing }));
    }
    let mut failed = Vec::new();
    fuzz::run_all(&runner, waiting, |campaign, result| {
        ledger.append(&json!({
            "run": format!("fuzz {}", campaign.target), "executions": result.executions,
            "coverage": result.coverage, "seconds": result.seconds, "findings": u32::from(result.finding.is_some()),
        }))?;
        failed.extend(result.finding);
        Ok(())
    })?;
    ensure!(failed.is_empty(), "{}", failed.join("\n"));
    Ok(())
}

fn text(output: &Output) -> String {
    [&output.stdout[..], &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat()
}

/// How many operations a test has checked, if it says so on a line of its own.
fn operations(said: &str) -> Option<u64> {
    said.lines().find_map(|line| line.strip_prefix("operations checked: ")?.parse().ok())
}

/// The end of what a program said.
fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n")
}

fn seconds(duration: Duration) -> u64 {
    duration.as_secs_f64().ceil() as u64
}

/// The ledger in the checkout, and the commit that is checked out.
pub(crate) struct Ledger {
    path: PathBuf,
    commit: String,
}

impl Ledger {
    /// # Errors
    /// When the checkout is not Git's.
    pub(crate) fn open() -> Result<Ledger> {
        let git = |arguments: &[&str]| -> Result<String> {
            let output = Command::new("git").current_dir(root()).args(arguments).output().context("run git")?;
            ensure!(output.status.success(), "git: {}", String::from_utf8_lossy(&output.stderr));
            Ok(String::from_utf8(output.stdout)?.trim().to_owned())
        };
        let others = format!(":(exclude){LEDGER}");
        let commit = git(&["log", "-1", "--format=%h", "--", ".", &others])?;
        let changed = git(&["status", "--porcelain", "--untracked-files=no", "--", ".", &others])?;
        let commit = if changed.is_empty() { commit } else { format!("{commit}+changes") };
        Ok(Ledger { path: root().join(LEDGER), commit })
    }

    /// A number that hardly any other commit has, below 2^28.
    ///
    /// # Errors
    /// When the commit has no name in hexadecimal digits.
    pub(crate) fn number_of_commit(&self) -> Result<u64> {
        let digits = self.commit.get(..7).context("a commit has seven digits")?;
        u64::from_str_radix(digits, 16).with_context(|| format!("the commit {digits}"))
    }

    fn lines(&self) -> Result<Vec<Value>> {
        let text = match std::fs::read_to_string(&self.path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            text => text.with_context(|| format!("read {LEDGER}"))?,
        };
        text.lines().map(|line| serde_json::from_str(line).with_context(|| format!("{LEDGER}: {line}"))).collect()
    }

    /// One line, written at once: of a stop in the middle nothing is left.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn append(&self, slice: &Value) -> Result<()> {
        let mut line = json!({ "commit": self.commit });
        if let (Some(line), Some(slice)) = (line.as_object_mut(), slice.as_object()) {
            line.extend(slice.clone());
        }
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&self.path)?;
        file.write_all(format!("{line}\n").as_bytes()).with_context(|| format!("write {LEDGER}"))
    }

    /// The sum of a figure over the slices of a run of this commit.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub(crate) fn sum(&self, run: &str, figure: &str) -> Result<u64> {
        let lines = self.lines()?;
        let own = lines.iter().filter(|line| line["commit"] == self.commit.as_str() && line["run"] == run);
        Ok(own.filter_map(|line| line[figure].as_u64()).sum())
    }

    /// The first seed that no slice of a run of any commit has used.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub(crate) fn next_seed(&self, run: &str) -> Result<u64> {
        let lines = self.lines()?;
        let last = lines.iter().filter(|line| line["run"] == run).filter_map(|line| line["seeds"][1].as_u64()).max();
        Ok(last.unwrap_or(0) + 1)
    }

    /// Prints, by commit and run, what has been done and found.
    fn summary(&self) {
        let mut sums: BTreeMap<(usize, String, String), BTreeMap<&str, u64>> = BTreeMap::new();
        let mut commits: Vec<String> = Vec::new();
        for line in self.lines().unwrap_or_default() {
            let (commit, run) = (line["commit"].as_str().unwrap_or_default(), line["run"].as_str().unwrap_or_default());
            let order = commits.iter().position(|known| known == commit).unwrap_or_else(|| {
                commits.push(commit.to_owned());
                commits.len() - 1
            });
            let sum = sums.entry((order, commit.to_owned(), run.to_owned())).or_default();
            for figure in FIGURES {
                *sum.entry(figure).or_default() += line[figure].as_u64().unwrap_or(0);
            }
        }
        let heads = FIGURES.map(|figure| format!("{figure:>12}")).concat();
        println!("{:<20} {:<24}{heads}", "commit", "run");
        for ((_, commit, run), sum) in sums {
            let figures = FIGURES.map(|figure| format!("{:>12}", sum[figure])).concat();
            println!("{commit:<20} {run:<24}{figures}");
        }
    }
}
