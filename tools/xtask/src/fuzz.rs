//! Builds and runs the fuzz targets of `tests/fuzz` under libFuzzer with coverage counters.
//!
//! The compiler puts the counters in (`sancov-module`, an LLVM pass that the stable compiler has); only crates of
//! this workspace get them, by a wrapper around the compiler that Cargo uses for these alone, so that RocksDB and
//! the other dependencies are the ones that are built anyway. The wrapper is this program itself.

use crate::{cargo, demo, run};
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Set for the wrapper: its first argument is the compiler.
const WRAPPER: &str = "HELENUS_COVERAGE_WRAPPER";
/// Longest input: the decoders have no limits of their own that more would reach.
const INPUT_BYTES_MAX: u32 = 4_096;
/// An input that takes longer is a hang.
const INPUT_SECONDS_MAX: u32 = 10;
/// Resident memory of a fuzzing process; what a target may hold for one input is bounded in the process itself.
const MEMORY_MB_MAX: u32 = 1_024;

/// A target to run, and for how long.
pub(crate) struct Campaign {
    pub(crate) target: String,
    pub(crate) seconds: u64,
}

/// What came of it.
pub(crate) struct Outcome {
    pub(crate) executions: u64,
    /// Counters that some input has reached.
    pub(crate) coverage: u64,
    pub(crate) seconds: u64,
    /// What was found, if anything, with the file that holds the input.
    pub(crate) finding: Option<String>,
}

/// Runs the compiler with coverage counters when this program was started as the wrapper; its exit code.
pub(crate) fn wrap_compiler() -> Option<i32> {
    std::env::var_os(WRAPPER)?;
    let mut arguments = std::env::args_os().skip(1);
    let mut compiler = Command::new(arguments.next()?);
    let arguments: Vec<_> = arguments.collect();
    // Build scripts are programs of their own, without libFuzzer.
    let instrumented = !arguments.iter().any(|argument| argument == "build_script_build");
    compiler.args(arguments).env_remove(WRAPPER);
    if instrumented {
        compiler.arg("-Cpasses=sancov-module");
        for option in ["level=4", "inline-8bit-counters", "pc-table", "trace-compares"] {
            compiler.arg(format!("-Cllvm-args=-sanitizer-coverage-{option}"));
        }
    }
    Some(compiler.status().ok().and_then(|status| status.code()).unwrap_or(1))
}

/// Builds the targets; the program that runs them. It lies apart from the one without counters, which has its name.
///
/// # Errors
/// When they do not build.
pub(crate) fn build() -> Result<PathBuf> {
    let wrapper = std::env::current_exe().context("this program has a path")?;
    let mut build = cargo();
    // Of the workspace: one package alone asks for other features of RocksDB's build, which would take long.
    build.args(["build", "--release", "--workspace", "--bin", "fuzz"]);
    build.env("RUSTC_WORKSPACE_WRAPPER", wrapper).env(WRAPPER, "1");
    run(&mut build)?;
    let built = demo::binary()?.with_file_name("fuzz");
    let kept = built.with_file_name("fuzz-with-coverage");
    // Another run may be using the one that is there: it keeps its file, and this is another one.
    let copy = kept.with_extension("copy");
    std::fs::copy(&built, &copy).with_context(|| format!("copy {}", built.display()))?;
    std::fs::rename(&copy, &kept).with_context(|| format!("rename {}", copy.display()))?;
    Ok(kept)
}

/// The names of all targets.
///
/// # Errors
/// When the program does not list them.
pub(crate) fn targets(runner: &Path) -> Result<Vec<String>> {
    let output = Command::new(runner).env("FUZZ_LIST", "1").output().context("list the fuzz targets")?;
    ensure!(output.status.success(), "listing the fuzz targets failed: {}", output.status);
    Ok(String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect())
}

/// Every target for so long, and nothing is kept.
///
/// # Errors
/// When something is found.
pub(crate) fn share(seconds: u64) -> Result<()> {
    let runner = build()?;
    let campaigns = targets(&runner)?.into_iter().map(|target| Campaign { target, seconds }).collect();
    let mut findings = Vec::new();
    run_all(&runner, campaigns, |campaign, outcome| {
        let Outcome { executions, coverage, seconds, .. } = outcome;
        eprintln!("fuzz {}: {executions} executions, {coverage} counters, {seconds} s", campaign.target);
        ensure!(executions > 0, "the target did not run");
        findings.extend(outcome.finding);
        Ok(())
    })?;
    ensure!(findings.is_empty(), "{}", findings.join("\n"));
    Ok(())
}

/// Runs the campaigns, as many at once as there are processors, and tells of each as it ends.
///
/// # Errors
/// When one cannot be run, or `done` fails.
pub(crate) fn run_all(
    runner: &Path,
    campaigns: Vec<Campaign>,
    done: impl FnMut(&Campaign, Outcome) -> Result<()> + Send,
) -> Result<()> {
    let (waiting, done) = (Mutex::new(campaigns.into_iter()), Mutex::new(done));
    let work = || -> Result<()> {
        loop {
            let next = waiting.lock().expect("no campaign panics").next();
            let Some(campaign) = next else { return Ok(()) };
            let outcome = run_one(runner, &campaign)?;
            (done.lock().expect("no campaign panics"))(&campaign, outcome)?;
        }
    };
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().expect("no campaign panics"))
    })
}

fn run_one(runner: &Path, campaign: &Campaign) -> Result<Outcome> {
    let scratch = with_first_inputs(runner, &campaign.target)?;
    let (log, started) = (scratch.with_extension("log"), Instant::now());
    let mut command = Command::new(runner);
    command.env("FUZZ_TARGET", &campaign.target);
    command.arg(format!("-max_total_time={}", campaign.seconds)).arg(format!("-max_len={INPUT_BYTES_MAX}"));
    command.arg(format!("-timeout={INPUT_SECONDS_MAX}")).arg(format!("-rss_limit_mb={MEMORY_MB_MAX}"));
    command.arg("-print_final_stats=1").arg(format!("-artifact_prefix={}-", scratch.display()));
    let file = std::fs::File::create(&log).with_context(|| format!("create {}", log.display()))?;
    let status = command.arg(&scratch).stdout(file.try_clone()?).stderr(file).status()?;
    let said = std::fs::read_to_string(&log)?;
    let figure = |name: &str| said.lines().rev().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    let word_after = |word: &str| {
        let line = said.lines().rev().find(|line| line.contains(word))?;
        line.split(word).nth(1)?.split_whitespace().next()?.parse().ok()
    };
    let finding = (!status.success()).then(|| {
        let lines: Vec<&str> = said.lines().collect();
        // A panic says what is wrong, above a long trace; without one the last lines do.
        let panic = lines.iter().position(|line| line.contains("panicked at"));
        let from = panic.unwrap_or(lines.len().saturating_sub(40));
        let shown = lines[from..].iter().take(40).copied().collect::<Vec<_>>().join("\n");
        format!("{}: {status}; the input is {}-*\n{shown}", campaign.target, scratch.display())
    });
    Ok(Outcome {
        executions: figure("stat::number_of_executed_units:").unwrap_or(0),
        coverage: word_after("cov: ").unwrap_or(0),
        seconds: Duration::as_secs_f64(&started.elapsed()).ceil() as u64,
        finding,
    })
}

/// Puts the fewest inputs that reach all that is known to be reached into the repository's corpora.
///
/// # Errors
/// When they cannot be chosen.
pub(crate) fn keep_corpora() -> Result<()> {
    let runner = build()?;
    for target in targets(&runner)? {
        let scratch = with_first_inputs(&runner, &target)?;
        let merged = runner.with_file_name("fuzz").with_extension("merged");
        let _ = std::fs::remove_dir_all(&merged);
        std::fs::create_dir_all(&merged)?;
        let mut command = Command::new(&runner);
        command.env("FUZZ_TARGET", &target).arg("-set_cover_merge=1").arg(format!("-max_len={INPUT_BYTES_MAX}"));
        run(command.args([&merged, &scratch]))?;
        run(Command::new(&runner).env("FUZZ_TARGET", &target).env("FUZZ_KEEP", &merged))?;
    }
    Ok(())
}

/// The folder of what was found for a target, with its seeds and its corpus in it.
fn with_first_inputs(runner: &Path, target: &str) -> Result<PathBuf> {
    let scratch = runner.with_file_name("fuzz").with_extension("found").join(target);
    std::fs::create_dir_all(&scratch)?;
    let written = Command::new(runner).env("FUZZ_TARGET", target).env("FUZZ_SEEDS", &scratch).status()?;
    ensure!(written.success(), "writing the first inputs of {target} failed: {written}");
    Ok(scratch)
}
