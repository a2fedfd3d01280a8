//! What the manual shows is executed: every block of CQL of every page of `docs/cql/` in its order, every
//! statement that is said to be refused with its message, every result that is shown beside what the shell prints.

use e2e::{Cluster, Node};
use std::path::{Path, PathBuf};

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs")
}

fn page(name: &str) -> String {
    let path = docs().join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The pages of a folder of the manual by their names within it, in order.
fn pages(folder: &str) -> Vec<String> {
    let entries = std::fs::read_dir(docs().join(folder)).expect("the folder is there");
    let names = entries.map(|entry| entry.expect("it is readable").file_name().to_string_lossy().into_owned());
    let mut pages: Vec<String> = names.filter(|name| name.ends_with(".md")).collect();
    pages.sort();
    pages
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

/// The keyspace that is in use behind a line, given the one before it.
fn in_use(before: Option<String>, line: &str) -> Option<String> {
    let rest = |prefix: &str| line.strip_prefix(prefix).and_then(|rest| rest.strip_suffix(';'));
    match (rest("USE "), rest("DROP KEYSPACE ")) {
        (Some(used), _) => Some(used.to_owned()),
        (_, dropped) => before.filter(|before| dropped != Some(before)),
    }
}

/// Executes the blocks of a page in their order and returns how many there were that succeed.
///
/// The page is one session: what `USE` names holds for the blocks behind it. `cql` succeeds; `cql-error` is refused
/// with the message in its first line, a comment; `cql-result` stands right under either and is what the shell
/// prints for it.
fn execute_page(name: &str, node: &Node) -> usize {
    let mut executed = 0;
    let mut keyspace: Option<String> = None;
    let mut printed: Option<String> = None;
    for (language, text) in blocks(&page(name)) {
        let options: Vec<String> = keyspace.iter().flat_map(|used| ["-k".to_owned(), used.clone()]).collect();
        let run = || {
            let output = node.shell(&options.iter().map(String::as_str).collect::<Vec<_>>(), &text);
            let [out, error] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
            (output.status.code(), out, error)
        };
        printed = match language.as_str() {
            "cql" => {
                let (code, out, error) = run();
                assert_eq!(code, Some(0), "{name}\n{text}\n{error}");
                executed += 1;
                keyspace = text.lines().fold(keyspace, in_use);
                Some(out)
            }
            "cql-error" => {
                let (code, out, error) = run();
                let expected = text.lines().next().and_then(|line| line.strip_prefix("-- ")).expect("a message");
                assert_eq!(code, Some(1), "{name}\n{text}\n{out}");
                assert!(error.contains(expected), "{name}\n{text}\nexpected '{expected}', got: {error}");
                Some(error)
            }
            "cql-result" => {
                let shown = printed.unwrap_or_else(|| panic!("{name}: a result under no statement\n{text}"));
                assert_eq!(shown.trim_matches('\n'), text.trim_matches('\n'), "{name}: the result is another");
                None
            }
            other => {
                assert!(!other.starts_with("cql"), "{name}: there are no blocks of '{other}'");
                None
            }
        };
    }
    executed
}

#[test]
fn the_statements_of_the_manual_do_what_it_says() {
    let mut cluster = Cluster::start(3);
    let node = &*cluster.node(0);
    let keyspaces = || node.rows("SELECT keyspace_name FROM system_schema.keyspaces;");
    let pages = pages("cql");
    assert!(pages.len() >= 20, "the manual of CQL has lost pages: {pages:?}");
    for name in &pages {
        let before = keyspaces();
        let executed = execute_page(&format!("cql/{name}"), node);
        assert!(executed > 0, "cql/{name} shows nothing that is executed");
        assert_eq!(keyspaces(), before, "cql/{name} leaves a keyspace behind, or drops another's");
    }
    assert!(execute_page("getting-started.md", node) > 0, "getting-started.md shows nothing that is executed");
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
        if language == "sh-stopped" && cluster.node(0).id().is_some() {
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
    assert!(shown("helenus recover-metadata /var/lib/helenus --yes").contains("recovered from cluster"));
    let kept = outputs.iter().rfind(|(line, _)| line == "helenus admin list-snapshots");
    assert!(kept.is_some_and(|(_, output)| output.contains("dropped scratch.notes generation 0")), "{kept:?}");
}

/// The headings of a page as links name them.
fn anchors(text: &str) -> Vec<String> {
    let headings = text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let anchor = |heading: &str| -> String {
        let kept = heading.chars().filter(|letter| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_'));
        kept.collect::<String>().to_lowercase().replace(' ', "-")
    };
    headings.map(anchor).collect()
}

#[test]
fn the_manual_links_to_what_exists() {
    let mut all = 0;
    for folder in ["", "cql", "protocol"] {
        for name in pages(folder) {
            let text = page(format!("{folder}/{name}").trim_start_matches('/'));
            let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
            for link in links.filter(|link| !link.contains("://")) {
                all += 1;
                let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
                let target = docs().join(folder).join(if path.is_empty() { name.as_str() } else { path });
                assert!(target.exists(), "{folder}/{name} links to {link}, which does not exist");
                let is_there = || {
                    let linked = std::fs::read_to_string(&target).expect("a page is text");
                    anchors(&linked).iter().any(|known| known == anchor)
                };
                assert!(anchor.is_empty() || is_there(), "{folder}/{name} links to {link}: there is no such heading");
            }
        }
    }
    assert!(all >= 100, "{all} links");
}

#[test]
fn the_index_of_the_manual_of_cql_names_every_page() {
    let index = page("cql/README.md");
    for name in pages("cql").iter().filter(|name| *name != "README.md") {
        assert!(index.contains(&format!("]({name})")), "docs/cql/README.md does not link to {name}");
    }
}
