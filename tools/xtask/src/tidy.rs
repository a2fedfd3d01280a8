//! The house rules that a program can check.
//!
//! Each source file opens with `//!`; no line is longer than 120 columns, no Rust file longer than
//! 1,500 lines; no trailing space; no word that promises work not done; nothing large is committed but
//! the data sets.

use anyhow::{Context, Result, bail};
use std::path::Path;
use std::process::Command;

const LINE_COLUMNS_MAX: usize = 120;
const FILE_LINES_MAX: usize = 1_500;
const FILE_BYTES_MAX: u64 = 300_000;
/// Data sets with a note of their source in data/README.md.
const LARGE_FILES: [&str; 1] = ["data/flights.csv"];
const TEXT_ENDINGS: [&str; 9] = [".rs", ".toml", ".md", ".proto", ".sh", ".py", ".yml", ".cql", "/run"];

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
    let mut problems = Vec::new();
    for name in names.split_terminator('\0') {
        let path = root.join(name);
        let Ok(metadata) = std::fs::metadata(&path) else { continue };
        if metadata.len() > FILE_BYTES_MAX && !LARGE_FILES.contains(&name) {
            problems.push(format!("{name}: {} bytes are too many to commit", metadata.len()));
        }
        if TEXT_ENDINGS.iter().any(|ending| name.ends_with(ending)) {
            let text = std::fs::read_to_string(&path).with_context(|| format!("read {name}"))?;
            problems.extend(breaches(name, &text));
        }
    }
    if !problems.is_empty() {
        bail!("tidy:\n{}", problems.join("\n"));
    }
    Ok(())
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
    fn breaches_are_found() {
        let text = format!("fn a() {{}} \n// {}{} later\n{}", "TO", "DO", "x".repeat(121));
        assert_eq!(breaches("a.rs", &text).len(), 5);
        assert_eq!(breaches("a.rs", "//! Purpose.\n"), Vec::<String>::new());
    }
}
