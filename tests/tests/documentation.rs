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
