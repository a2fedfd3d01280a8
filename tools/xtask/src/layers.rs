//! The crate graph as data, checked against what cargo says. An edge that is not in the table is an
//! architectural change: it needs its line here and its reason in ARCHITECTURE.md.

use anyhow::{Context, Result, bail};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

/// A crate, its level, and the crates of ours that it may use. Edges go from a higher level to a
/// lower one only.
const LAYERS: [(&str, u8, &[&str]); 15] = [
    ("model", 0, &[]),
    ("paxos", 1, &["model"]),
    ("query", 1, &["model"]),
    ("native", 1, &["model"]),
    ("api", 1, &["model"]),
    ("membership", 2, &["model", "paxos"]),
    ("client", 2, &["model", "api"]),
    ("node", 3, &["model", "query", "paxos", "membership"]),
    ("peer", 4, &["model", "membership", "node"]),
    ("storage", 4, &["model", "node"]),
    ("server", 5, &["model", "query", "native", "api", "membership", "node", "peer", "storage"]),
    ("sim", 5, &["model", "query", "paxos", "membership", "node", "peer"]),
    ("shell", 5, &["model", "query", "client"]),
    ("bench", 5, &["model", "query", "client"]),
    ("helenus", 6, &["model", "query", "server", "storage", "sim", "shell", "bench", "client"]),
];

/// Packages outside the product: they may use any crate of ours.
const OUTSIDE: [&str; 5] = ["xtask", "e2e", "benches", "fuzz", "examples"];

/// Crates in which nothing impure may appear, and what that means for their dependencies.
const PURE: [&str; 7] = ["model", "paxos", "query", "native", "membership", "node", "peer"];
const IMPURE_DEPENDENCIES: [&str; 9] =
    ["tokio", "tonic", "rand", "rocksdb", "getrandom", "crossbeam", "parking_lot", "futures", "libc"];

/// Compares the table with `cargo metadata`, development dependencies aside.
///
/// # Errors
/// Every edge that the table does not allow, in one message.
pub(crate) fn check(root: &Path) -> Result<()> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(root)
        .args(["metadata", "--format-version", "1", "--no-deps"])
        .output()
        .context("run cargo metadata")?;
    if !output.status.success() {
        bail!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).context("read cargo metadata")?;
    let problems = problems(&edges(&metadata));
    if !problems.is_empty() {
        bail!("the crate graph is not that of tools/xtask/src/layers.rs:\n{}", problems.join("\n"));
    }
    Ok(())
}

/// Package name to the names of its normal and build dependencies.
fn edges(metadata: &serde_json::Value) -> BTreeMap<String, BTreeSet<String>> {
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let packages = metadata["packages"].as_array().into_iter().flatten();
    packages
        .map(|package| {
            let dependencies = package["dependencies"].as_array().into_iter().flatten();
            let normal = dependencies.filter(|dependency| dependency["kind"].as_str() != Some("dev"));
            (text(&package["name"]), normal.map(|dependency| text(&dependency["name"])).collect())
        })
        .collect()
}

fn problems(edges: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let level = |name: &str| LAYERS.iter().find(|(layer, ..)| *layer == name).map(|(_, level, _)| *level);
    let mut problems = Vec::new();
    for (name, own_level, allowed) in LAYERS {
        for used in allowed {
            if level(used).is_none_or(|used_level| used_level >= own_level) {
                problems.push(format!("table: {name} may not use {used}: it is not on a lower level"));
            }
        }
        if !edges.contains_key(name) {
            problems.push(format!("{name}: no such package"));
        }
    }
    for (name, dependencies) in edges {
        let Some((_, _, allowed)) = LAYERS.iter().find(|(layer, ..)| layer == name) else {
            if !OUTSIDE.contains(&name.as_str()) {
                problems.push(format!("{name}: not in the table"));
            }
            continue;
        };
        for used in dependencies.iter().filter(|used| edges.contains_key(*used)) {
            if !allowed.contains(&used.as_str()) {
                problems.push(format!("{name} uses {used}: the table does not allow it"));
            }
        }
        if PURE.contains(&name.as_str()) {
            let impure = dependencies.iter().filter(|used| IMPURE_DEPENDENCIES.contains(&used.as_str()));
            problems.extend(impure.map(|used| format!("{name} uses {used}: it is a pure crate")));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_crate_graph_is_that_of_the_table() {
        check(&crate::root()).unwrap();
    }

    #[test]
    fn a_forbidden_edge_is_found() {
        let mut edges: BTreeMap<String, BTreeSet<String>> =
            LAYERS.iter().map(|(name, ..)| ((*name).to_owned(), BTreeSet::new())).collect();
        assert_eq!(problems(&edges), Vec::<String>::new());
        edges.get_mut("model").unwrap().insert("node".into());
        edges.get_mut("node").unwrap().insert("tokio".into());
        edges.insert("util".into(), BTreeSet::new());
        assert_eq!(
            problems(&edges),
            [
                "model uses node: the table does not allow it",
                "node uses tokio: it is a pure crate",
                "util: not in the table"
            ]
        );
    }

    #[test]
    fn the_architecture_page_shows_the_same_table() {
        let page = std::fs::read_to_string(crate::root().join("ARCHITECTURE.md")).unwrap();
        for (name, level, allowed) in LAYERS {
            let uses = if allowed.is_empty() { "-".to_owned() } else { allowed.join(", ") };
            let row = format!("| {level} | `{name}` |");
            let line = page.lines().find(|line| line.starts_with(&row));
            let line = line.unwrap_or_else(|| panic!("ARCHITECTURE.md has no row '{row}'"));
            assert!(line.ends_with(&format!("| {uses} |")), "ARCHITECTURE.md: {line} does not end in '{uses}'");
        }
    }
}
