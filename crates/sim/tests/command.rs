//! The command `helenus sim` as a caller sees it: what it prints where, and its exit code.
#![allow(clippy::unwrap_used, reason = "a test: what cannot be unwrapped is a failure")]

use clap::Parser;
use sim::cli::{EXIT_CLEAN, EXIT_USAGE, SimOptions};

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    options: SimOptions,
}

fn run(arguments: &str) -> (u8, String, String) {
    let command = Command::try_parse_from(std::iter::once("sim").chain(arguments.split_whitespace())).unwrap();
    let (mut out, mut progress) = (Vec::new(), Vec::new());
    let code = sim::cli::run(&command.options, &mut out, &mut progress).unwrap();
    (code, String::from_utf8(out).unwrap(), String::from_utf8(progress).unwrap())
}

#[test]
fn clean_seeds_are_summed_up_and_each_has_a_line() {
    let (code, out, progress) = run("--seed 5 --seeds 3 --seconds 1");
    assert_eq!(code, EXIT_CLEAN, "{out}");
    assert!(out.starts_with("3 seeds clean: "), "{out}");
    assert_eq!(progress.lines().count(), 3);
    assert!(progress.starts_with("seed 5 clean: "), "{progress}");
}

#[test]
fn what_was_done_is_told_to_programs_and_seeds_are_run_twice() {
    for (transactions, name) in [("", "requests"), (" --transactions", "transactions")] {
        let (code, out, _) = run(&format!("--seed 1 --seeds 2 --seconds 2 --twice-every 2 --json{transactions}"));
        assert_eq!(code, EXIT_CLEAN, "{name}: {out}");
        let told = out.lines().last().unwrap();
        assert!(told.starts_with("{\"seeds\":2,\"twice\":1,\"events\":"), "{name}: {told}");
        for figure in ["operations", "node_seconds"] {
            assert!(!told.contains(&format!("\"{figure}\":0,")), "{name}: {told}");
        }
        assert!(told.contains("\"faults\":{\"") && told.ends_with('}'), "{name}: {told}");
    }
}

#[test]
fn many_nodes_run_as_few_do() {
    let (code, out, progress) = run("--seed 1 --nodes 40 --seconds 1");
    assert_eq!(code, EXIT_CLEAN, "{out}");
    assert!(progress.contains("40 nodes") && progress.contains("events/s"), "{progress}");
}

#[test]
fn every_event_is_told_when_asked_for() {
    let (_, out, _) = run("--seed 5 --seconds 1 --log full");
    assert!(out.lines().count() > 1_000);
}

#[test]
fn what_cannot_be_is_refused() {
    for bad in ["--nodes 0", "--nodes 1001", "--twice-every 0", "--seeds many", "--unknown"] {
        let arguments = std::iter::once("sim").chain(bad.split_whitespace());
        assert!(Command::try_parse_from(arguments).is_err(), "{bad}");
    }
    let (code, _, progress) = run("--planted no-such-bug");
    assert_eq!(code, EXIT_USAGE);
    assert!(progress.contains("no planted bug 'no-such-bug'"), "{progress}");
}

#[cfg(feature = "planted")]
#[test]
fn a_failing_seed_is_told_and_can_be_run_again() {
    let (code, out, _) = run("--seed 1 --planted quorum-minus-one");
    assert_eq!(code, sim::cli::EXIT_CORRECTNESS);
    assert!(out.contains("work under faults"), "the story");
    assert!(out.contains("replay: helenus sim --seed 1 --seconds 12 --planted quorum-minus-one"), "{out}");
}
