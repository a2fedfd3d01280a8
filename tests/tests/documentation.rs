//! What the manual shows is executed: every block of CQL in `docs/` in its order, every statement that is said
//! to be refused with its message.

use e2e::Cluster;
use std::path::{Path, PathBuf};

fn page(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The contents of the fenced blocks of a page with their languages.
fn blocks(text: &str) -> Vec<(String, String)> {
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(language) = line.strip_prefix("```").filter(|language| !language.is_empty()) {
            let content: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            blocks.push((language.to_owned(), content.join("\n")));
        }
    }
    blocks
}

#[test]
fn the_statements_of_the_manual_do_what_it_says() {
    let mut cluster = Cluster::start(3);
    let (mut executed, mut refused) = (0, 0);
    for (language, text) in blocks(&page("cql.md")) {
        let output = cluster.node(0).cql(&text);
        let error = String::from_utf8_lossy(&output.stderr);
        match language.as_str() {
            "cql" => {
                assert!(output.status.success(), "{text}\n{error}");
                executed += 1;
            }
            "cql-error" => {
                let expected = text.lines().next().and_then(|line| line.strip_prefix("-- ")).expect("a message");
                assert_eq!(output.status.code(), Some(1), "{text}");
                assert!(error.contains(expected), "{text}\nexpected '{expected}', got: {error}");
                refused += 1;
            }
            _ => {}
        }
    }
    let getting_started = blocks(&page("getting-started.md"));
    for (_, text) in getting_started.iter().filter(|(language, _)| language == "cql") {
        let output = cluster.node(0).cql(text);
        assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
        executed += 1;
    }
    assert!(executed >= 8 && refused >= 4, "the page has lost its blocks: {executed} and {refused}");
}

/// A line of a block as arguments: words, and text in double quotes.
fn arguments(line: &str) -> Vec<String> {
    let mut all = Vec::new();
    for (index, part) in line.split('"').enumerate() {
        if index % 2 == 1 { all.push(part.to_owned()) } else { all.extend(part.split_whitespace().map(str::to_owned)) }
    }
    all
}

/// Executes a line that begins with `helenus` against a node; its standard output.
fn execute(line: &str, address: &str, data: &Path) -> String {
    let rest = line.strip_prefix("helenus ").unwrap_or_else(|| panic!("not a command of ours: {line}"));
    let rest = rest.replace("/var/lib/helenus", &data.display().to_string());
    let mut arguments = arguments(&rest);
    match arguments[0].as_str() {
        "admin" => arguments.extend(["--host".to_owned(), address.to_owned()]),
        "shell" => arguments.insert(1, address.to_owned()),
        _ => {}
    }
    let output = e2e::output(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(output.status.success(), "{line}\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn the_commands_for_operators_do_what_the_manual_says() {
    let mut cluster = Cluster::start(1);
    let (address, data) = (cluster.node(0).address.clone(), cluster.node(0).data.clone());
    let mut outputs = Vec::new();
    for (language, text) in blocks(&page("operations.md")) {
        if language == "sh-stopped" {
            let refused = e2e::output(&["inspect", &data.display().to_string(), "list"]);
            assert_eq!(refused.status.code(), Some(1), "a running node has it open");
            cluster.node(0).terminate();
        }
        if language.starts_with("sh") {
            outputs.extend(text.lines().map(|line| (line.to_owned(), execute(line, &address, &data))));
        }
    }
    let shown = |command: &str| {
        let found = outputs.iter().find(|(line, _)| line.starts_with(command));
        found.map_or_else(|| panic!("the page has lost '{command}'"), |(_, output)| output.clone())
    };
    assert!(shown("helenus admin list-snapshots").contains("before-upgrade"));
    assert!(shown("helenus inspect /var/lib/helenus verify").contains(" 0 damaged"));
    assert!(shown("helenus inspect /var/lib/helenus list --json").contains("\"generation\":1"), "truncated once");
    assert_eq!(shown("helenus inspect /var/lib/helenus dump"), "", "truncated");
    let kept = outputs.iter().rfind(|(line, _)| line == "helenus admin list-snapshots");
    assert!(kept.is_some_and(|(_, output)| output.contains("dropped scratch.notes generation 0")), "{kept:?}");
}

#[test]
fn the_manual_links_to_pages_that_exist() {
    let docs: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let index = page("README.md");
    let links: Vec<&str> = index.split("](").skip(1).filter_map(|rest| rest.split(')').next()).collect();
    assert!(links.len() >= 10, "{links:?}");
    for link in links {
        assert!(docs.join(link).exists(), "docs/README.md links to {link}, which does not exist");
    }
}
