//! The house rules that a program can check.
//!
//! Each source file opens with `//!`; no line is longer than 120 columns, no Rust file longer than
//! 1,500 lines; no trailing space; no word that promises work not done; nothing large is committed but
//! the data sets; and every test that the tables of behaviours name is there.

use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

const LINE_COLUMNS_MAX: usize = 120;
const FILE_LINES_MAX: usize = 1_500;
const FILE_BYTES_MAX: u64 = 300_000;
/// Data sets with a note of their source in data/README.md.
const LARGE_FILES: [&str; 1] = ["data/flights.csv"];
const TEXT_ENDINGS: [&str; 9] = [".rs", ".toml", ".md", ".proto", ".sh", ".py", ".yml", ".cql", "/run"];

/// Its tables say which test shows which behaviour, as `file::test`.
const BEHAVIOURS: &str = "docs/protocol/behaviours.md";

/// Words that promise work not done; assembled so that this file does not contain them.
fn banned_words() -> [String; 5] {
    [("FIX", "ME"), ("TO", "DO"), ("XX", "X"), ("todo", "!("), ("unimplemented", "!(")].map(|(a, b)| format!("{a}{b}"))
}

/// Checks every file that git tracks.
///
/// # Errors
/// Every breach, in one message.
pub(crate) fn check(root: &Path) -> Result<()> {
    let listed = Command::new("git").current_dir(root).args(["ls-files", "-z"]).output().context("run git ls-files")?;
    if !listed.status.success() {
        bail!("git ls-files failed: {}", String::from_utf8_lossy(&listed.stderr));
    }
    let names = String::from_utf8(listed.stdout).context("file names are UTF-8")?;
    let (mut problems, mut tests, mut behaviours) = (Vec::new(), BTreeSet::new(), String::new());
    for name in names.split_terminator('\0') {
        let path = root.join(name);
        let Ok(metadata) = std::fs::metadata(&path) else { continue };
        if metadata.len() > FILE_BYTES_MAX && !LARGE_FILES.contains(&name) {
            problems.push(format!("{name}: {} bytes are too many to commit", metadata.len()));
        }
        if TEXT_ENDINGS.iter().any(|ending| name.ends_with(ending)) {
            let text = std::fs::read_to_string(&path).with_context(|| format!("read {name}"))?;
            problems.extend(breaches(name, &text));
            tests.extend(functions(name, &text));
            if name == BEHAVIOURS {
                behaviours = text;
            }
        }
    }
    let named = named_tests(&behaviours);
    if named.is_empty() {
        problems.push(format!("{BEHAVIOURS}: names no test"));
    }
    let missing = named.into_iter().filter(|test| !tests.contains(test));
    problems.extend(missing.map(|test| format!("{BEHAVIOURS}: there is no test {test}")));
    if !problems.is_empty() {
        bail!("tidy:\n{}", problems.join("\n"));
    }
    Ok(())
}

/// The functions of a Rust file, as `file::function`.
fn functions(name: &str, text: &str) -> Vec<String> {
    let Some(file) = name.strip_suffix(".rs").and_then(|path| path.rsplit('/').next()) else { return Vec::new() };
    let function = |line: &str| {
        let line = line.trim_start();
        // Planted bugs have a test each by a table of theirs.
        let name =
            line.strip_prefix("fn ").or_else(|| line.strip_prefix("async fn ")).map(|rest| rest.split('(').next());
        let row = line.strip_suffix(',').and_then(|row| row.split_once(": ")).map(|(name, _)| Some(name));
        name.or(row).flatten().map(|name| format!("{file}::{name}"))
    };
    text.lines().filter_map(function).collect()
}

/// The tests that a page names in backquotes, as `file::test`.
fn named_tests(page: &str) -> Vec<String> {
    let quoted = page.lines().flat_map(|line| line.split('`').skip(1).step_by(2));
    quoted.filter(|word| word.contains("::") && !word.contains(' ')).map(str::to_owned).collect()
}

fn breaches(name: &str, text: &str) -> Vec<String> {
    let rust = name.ends_with(".rs");
    let mut breaches = Vec::new();
    if rust && !text.starts_with("//!") {
        breaches.push(format!("{name}:1: does not open with '//!': what it is for, its invariants"));
    }
    if rust && text.lines().count() > FILE_LINES_MAX {
        breaches.push(format!("{name}: longer than {FILE_LINES_MAX} lines"));
    }
    if !text.is_empty() && !text.ends_with('\n') {
        breaches.push(format!("{name}: does not end with a line break"));
    }
    let banned = banned_words();
    for (index, line) in text.lines().enumerate() {
        let at = format!("{name}:{}", index + 1);
        if line.ends_with([' ', '\t']) {
            breaches.push(format!("{at}: trailing space"));
        }
        if rust && line.chars().count() > LINE_COLUMNS_MAX {
            breaches.push(format!("{at}: longer than {LINE_COLUMNS_MAX} columns"));
        }
        if let Some(word) = banned.iter().find(|word| line.contains(word.as_str())) {
            breaches.push(format!("{at}: '{word}' promises work that is not done"));
        }
    }
    breaches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checkout_is_tidy() {
        check(&crate::root()).unwrap();
    }

    #[test]
    fn tests_are_found_where_they_are_named() {
        let text = "//! A.\n    fn one() {}\n#[tokio::test]\nasync fn two() {}\n    three: Bug,\n";
        assert_eq!(functions("crates/a/src/b.rs", text), ["b::one", "b::two", "b::three"]);
        assert_eq!(named_tests("| x | `b::one`, `c` and `b::two` |"), ["b::one", "b::two"]);
    }

    #[test]
    fn breaches_are_found() {
        let text = format!("fn a() {{}} \n// {}{} later\n{}", "TO", "DO", "x".repeat(121));
        assert_eq!(breaches("a.rs", &text).len(), 5);
        assert_eq!(breaches("a.rs", "//! Purpose.\n"), Vec::<String>::new());
    }
}
