//! The command `helenus sim`: runs seeds, says how fast, and of a seed that fails tells the story and how to run it
//! again.
//!
//! What is printed about time comes from the machine's clock; nothing in a run does.

use crate::counters::{self, Counted};
use crate::fault::FaultKind;
use crate::oracle::Violation;
use crate::simulation::{self, Requests};
use crate::stage::{Failure, Options, Report};
use crate::storms::{self, Changed};
use crate::transactions::{self, Transacted};
use clap::{Args, ValueEnum};
use model::Planted;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::{Duration, Instant};

/// Exit code when no seed fails.
pub const EXIT_CLEAN: u8 = 0;
/// Exit code when the options cannot be.
pub const EXIT_USAGE: u8 = 2;
/// Exit code when the code under test panics.
pub const EXIT_CRASH: u8 = 127;
/// Exit code when something does not happen that must happen in time.
pub const EXIT_LIVENESS: u8 = 128;
/// Exit code when something happens that must never happen.
pub const EXIT_CORRECTNESS: u8 = 129;

/// What is told of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogKind {
    /// The result only.
    None,
    /// When a seed fails, the state changes of each node.
    #[default]
    Short,
    /// Every event of every seed.
    Full,
}

/// Runs the deterministic simulator: whole clusters of the production code under faults, judged by oracles. Exit
/// code 0: clean; 127: the code panicked; 128: something did not happen in time; 129: something wrong happened.
#[derive(Args, Clone, Debug)]
pub struct SimOptions {
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// How many seeds, one after the other; it ends at the first that fails.
    #[arg(long, default_value_t = 1)]
    pub seeds: u64,
    /// Nodes of each cluster, 1 to 1000; 3 to 5, as drawn, when not given.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub nodes: Option<u16>,
    /// Simulated seconds of work under faults.
    #[arg(long, default_value_t = 12)]
    pub seconds: u64,
    /// Check lightweight transactions: clients compare and set registers, whose histories must be linearizable.
    #[arg(long)]
    pub transactions: bool,
    /// Check counters and logged batches: clients count and write batches, and the sums and the batches must be right.
    #[arg(long, conflicts_with = "transactions")]
    pub counters: bool,
    /// Check the metadata log: all nodes change the schema at once, then the majority of its voters is lost, and it is
    /// recovered.
    #[arg(long, conflicts_with_all = ["transactions", "counters"])]
    pub storms: bool,
    /// Run every so manyth seed twice: both runs must be the same, event by event.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub twice_every: Option<u64>,
    /// Print what was done as one JSON object instead of a sentence.
    #[arg(long)]
    pub json: bool,
    /// What to tell of a run.
    #[arg(long, value_enum, default_value_t = LogKind::Short)]
    pub log: LogKind,
    /// Run with this planted bug, such as quorum-minus-one or hint-dropped; a name that is none is answered with all.
    /// Only in builds with the feature `planted`.
    #[arg(long, value_name = "BUG")]
    pub planted: Option<String>,
}

/// The planted bug of this name.
///
/// # Errors
/// When there is none, or the build has no planted bugs.
pub fn planted(name: &str) -> Result<Planted, String> {
    let found = Planted::ALL.into_iter().find(|bug| bug.name() == name);
    let names: Vec<String> = Planted::ALL.into_iter().map(Planted::name).collect();
    let bug = found.ok_or_else(|| format!("there is no planted bug '{name}': it is one of {}", names.join(", ")))?;
    if cfg!(feature = "planted") {
        Ok(bug)
    } else {
        Err("planted bugs are not compiled in: build with the feature 'planted' of the crate 'sim'".to_owned())
    }
}

/// What seeds that were run came to.
#[derive(Default)]
struct Totals {
    seeds: u64,
    /// Those that were run twice.
    twice: u64,
    events: u64,
    /// Writes and reads of clients; of transactions, counters and batches those that were checked.
    operations: u64,
    /// Of these: those with an unknown outcome, and those without effect.
    unknown: u64,
    without_effect: u64,
    /// Simulated time of all nodes together, in microseconds.
    node_micros: u64,
    faults: BTreeMap<FaultKind, u64>,
}

/// What came of one seed.
struct SeedRun {
    totals: Totals,
    hash: u128,
    failure: Option<Failure>,
    story: String,
    full: Vec<String>,
    line: String,
}

impl Totals {
    fn add(&mut self, other: &Totals) {
        self.seeds += other.seeds;
        self.twice += other.twice;
        self.events += other.events;
        self.operations += other.operations;
        self.unknown += other.unknown;
        self.without_effect += other.without_effect;
        self.node_micros += other.node_micros;
        for (kind, count) in &other.faults {
            *self.faults.entry(*kind).or_default() += count;
        }
    }

    fn faults(&self) -> u64 {
        self.faults.values().sum()
    }

    fn sentence(&self, checked: bool, elapsed: Duration) -> String {
        let Totals { seeds, events, operations, unknown, without_effect, .. } = self;
        let (faults, seconds) = (self.faults(), elapsed.as_secs_f64());
        if checked {
            return format!(
                "{seeds} seeds clean: {operations} operations checked, {unknown} unknown, {without_effect} without \
                 effect, {faults} faults, in {seconds:.1} s"
            );
        }
        format!(
            "{seeds} seeds clean: {events} events, {} events/s, {operations} requests, {faults} faults, {} \
             node-seconds simulated in {seconds:.1} s",
            per_second(*events, elapsed),
            self.node_micros / 1_000_000,
        )
    }

    fn json(&self, elapsed: Duration) -> String {
        let Totals { seeds, twice, events, operations, unknown, without_effect, .. } = self;
        let faults: Vec<String> = self.faults.iter().map(|(kind, n)| format!("\"{}\":{n}", kind.name())).collect();
        format!(
            "{{\"seeds\":{seeds},\"twice\":{twice},\"events\":{events},\"operations\":{operations},\
             \"unknown\":{unknown},\"without_effect\":{without_effect},\"node_seconds\":{},\"faults\":{{{}}},\
             \"seconds\":{}}}",
            self.node_micros / 1_000_000,
            faults.join(","),
            elapsed.as_secs_f64().ceil()
        )
    }
}

/// Runs the seeds. Results go to `out`, progress to `progress`. Returns the exit code.
///
/// # Errors
/// When one of them cannot be written to.
pub fn run(options: &SimOptions, out: &mut dyn Write, progress: &mut dyn Write) -> io::Result<u8> {
    let planted = match options.planted.as_deref().map(planted).transpose() {
        Ok(planted) => planted,
        Err(message) => {
            writeln!(progress, "error: {message}")?;
            return Ok(EXIT_USAGE);
        }
    };
    let (started, mut totals) = (now(), Totals::default());
    for seed in options.seed..options.seed.saturating_add(options.seeds) {
        let mut run = run_seed(options, seed, planted);
        for line in &run.full {
            writeln!(out, "{line}")?;
        }
        writeln!(progress, "{}", run.line)?;
        if run.failure.is_none() && options.twice_every.is_some_and(|every| seed % every == 0) {
            let again = run_seed(options, seed, planted).hash;
            run.totals.twice = 1;
            let (hash, what) = (run.hash, "of one seed two runs differ: the traces are");
            let violation = || Violation::new("determinism", format!("{what} {hash:032x} and {again:032x}"));
            run.failure = (again != hash).then(|| Failure::Correctness(violation()));
        }
        totals.add(&run.totals);
        if let Some(failure) = &run.failure {
            if options.log != LogKind::None {
                writeln!(out, "{}", run.story)?;
            }
            return tell_kind(options, seed, failure, out);
        }
    }
    let elapsed = now().duration_since(started);
    let told = if options.json {
        totals.json(elapsed)
    } else {
        totals.sentence(options.transactions || options.counters || options.storms, elapsed)
    };
    writeln!(out, "{told}")?;
    Ok(EXIT_CLEAN)
}

fn run_seed(options: &SimOptions, seed: u64, planted: Option<Planted>) -> SeedRun {
    let (machines, full) = (options.nodes.map(usize::from), options.log == LogKind::Full);
    let run = Options { seed, machines, seconds: options.seconds, planted, full };
    let began = now();
    if options.transactions {
        let report = transactions::run_transactions(&run);
        let Transacted { checked, unknown, nothing, .. } = report.counts;
        let words = format!("{checked} operations checked, {unknown} unknown, {nothing} without effect");
        return SeedRun::of(report, began, &words, [checked, unknown, nothing]);
    }
    if options.counters {
        let report = counters::run_counters(&run);
        let Counted { counted, batches, reads, unknown, finished, nothing } = report.counts;
        let words = format!(
            "{counted} counted, {batches} batches, {reads} reads, {unknown} unknown, {finished} batches of unknown \
             outcome there in the end"
        );
        return SeedRun::of(report, began, &words, [counted + batches + reads, unknown, nothing]);
    }
    if options.storms {
        let report = storms::run_storms(&run);
        let Changed { acknowledged, refused, unknown, epoch, followed, left_behind } = report.counts;
        let words = format!(
            "{acknowledged} changes acknowledged, {refused} refused, {unknown} unknown, epoch {epoch}, {followed} \
             followed a recovery, {left_behind} were left behind"
        );
        return SeedRun::of(report, began, &words, [acknowledged + refused + unknown, unknown, refused]);
    }
    let report = simulation::run(&run);
    let Requests { succeeded, failed, schema_changes } = report.counts;
    let words = format!("{succeeded} requests ok, {failed} not, {schema_changes} schema changes");
    SeedRun::of(report, began, &words, [succeeded + failed, 0, 0])
}

impl SeedRun {
    /// With what its clients did in words; and of their operations how many there were, with an unknown outcome, and
    /// without effect.
    fn of<C>(report: Report<C>, began: Instant, words: &str, operations: [u64; 3]) -> SeedRun {
        let Report { seed, machines, hash, events, simulated, faults, failure, story, full, .. } = report;
        let [operations, unknown, without_effect] = operations;
        let node_micros = simulated * machines as u64;
        let totals = Totals { seeds: 1, twice: 0, events, operations, unknown, without_effect, node_micros, faults };
        let line = format!(
            "seed {seed} {}: {machines} nodes, {events} events, {} events/s, {words}, {} faults, {} s simulated, trace \
             {hash:032x}",
            if failure.is_some() { "FAILED" } else { "clean" },
            per_second(events, now().duration_since(began)),
            totals.faults(),
            simulated / 1_000_000,
        );
        SeedRun { totals, hash, failure, story, full, line }
    }
}

fn tell_kind(options: &SimOptions, seed: u64, failure: &Failure, out: &mut dyn Write) -> io::Result<u8> {
    let (failed_by, code) = match failure {
        Failure::Crash(_) => ("crash", EXIT_CRASH),
        Failure::Liveness(_) => ("liveness", EXIT_LIVENESS),
        Failure::Correctness(_) => ("correctness", EXIT_CORRECTNESS),
    };
    writeln!(out, "seed {seed} fails ({failed_by}): {}", failure.violation())?;
    let nodes = options.nodes.map(|nodes| format!(" --nodes {nodes}")).unwrap_or_default();
    let planted = options.planted.as_ref().map(|name| format!(" --planted {name}")).unwrap_or_default();
    let kind = match (options.transactions, options.counters, options.storms) {
        (true, ..) => " --transactions",
        (_, true, _) => " --counters",
        (.., true) => " --storms",
        _ => "",
    };
    let seconds = options.seconds;
    writeln!(out, "replay: helenus sim{kind} --seed {seed}{nodes} --seconds {seconds}{planted}")?;
    Ok(code)
}

fn per_second(events: u64, elapsed: Duration) -> u64 {
    let micros = elapsed.as_micros().max(1);
    u64::try_from(u128::from(events) * 1_000_000 / micros).unwrap_or(u64::MAX)
}

#[expect(clippy::disallowed_methods, reason = "the speed of a run is reported and decides nothing in it")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_bugs_are_refused_and_known_ones_need_the_feature() {
        assert!(planted("no-such-bug").unwrap_err().contains("hint-dropped"));
        for bug in Planted::ALL {
            match planted(&bug.name()) {
                Ok(found) => assert!(cfg!(feature = "planted") && found == bug),
                Err(message) => assert!(!cfg!(feature = "planted") && message.contains("not compiled in")),
            }
        }
    }
}
