//! The corpus of `tests/cql` against real nodes: what Helenus answers, and what Apache Cassandra was recorded to.
//!
//! What is known to differ stands in `tests/cql/expected_failures`: a case that fails and is not in the list fails
//! the test, and so does one that passes and is, or that fails in another way. So the list only shrinks, and its
//! length is printed. `CORPUS_WRITE=1` writes the list, and the table of deliberate differences, anew;
//! `CORPUS_ONLY` selects files or cases by a part of their names; `CORPUS_REPORT` names a file for every difference.

use client::{ClientError, Consistency, Outcome, Session, SessionBuilder, Statement};
use e2e::corpus::{Case, CorpusFile, Literal, Step, error_lines, literals, read_folder, result_lines};
use e2e::{Cluster, PATIENCE};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Fewer would mean that files were lost.
const CASES_MIN: usize = 1_500;

/// How many rows the sections of the table of features have, and the rows of no promise: full-text ranking.
const ROWS: [(u32, u32); 5] = [(1, 28), (2, 30), (3, 41), (4, 18), (5, 16)];
const ROWS_LEFT_OUT: [&str; 1] = ["3.17"];

/// Cases that count the nodes of the cluster: one was recorded.
const OF_ONE_NODE: [&str; 1] = ["system_local"];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("cql")
}

fn writes() -> bool {
    std::env::var_os("CORPUS_WRITE").is_some()
}

/// How an answer differs from the expected one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    /// The kind of error is right, its message is not.
    Wording,
    /// Everything but the warnings is right.
    Warnings,
    /// An error of another kind.
    Kind,
    /// The names or types of the columns.
    Columns,
    /// The rows, or an empty answer where there should be rows.
    Rows,
    /// What should fail succeeds.
    Accepted,
    /// What should succeed fails.
    Refused,
}

impl Class {
    fn name(self) -> &'static str {
        match self {
            Class::Wording => "wording",
            Class::Warnings => "warnings",
            Class::Kind => "kind",
            Class::Columns => "columns",
            Class::Rows => "rows",
            Class::Accepted => "accepted",
            Class::Refused => "refused",
        }
    }
}

/// Kinds of errors that a recorded statement gets only by a defect of Cassandra's: an exception that it does not
/// expect, at the coordinator or at a replica.
const DEFECTS: [&str; 2] = ["ServerError", "ReadFailure"];

/// A message with the signatures of functions that it lists in the order of their text: Cassandra has them in a hash
/// table.
fn with_sorted_signatures(message: &str) -> String {
    let lists = ["(known type signatures: ", "(can be matched by following signatures: "];
    let begin = lists.iter().find_map(|list| message.find(list).map(|at| at + list.len()));
    let Some(begin) = begin else { return message.to_owned() };
    let rest = &message[begin..];
    // The list ends at the parenthesis that closes the one before it.
    let mut open = 1;
    let end = rest.find(|character| {
        open += match character {
            '(' => 1,
            ')' => -1,
            _ => 0,
        };
        open == 0
    });
    let (signatures, rest) = rest.split_at(end.unwrap_or(rest.len()));
    let mut signatures: Vec<&str> = signatures.split(", system.").collect();
    let first = signatures[0].strip_prefix("system.").unwrap_or(signatures[0]);
    signatures[0] = first;
    signatures.sort_unstable();
    format!("{}{}{rest}", &message[..begin], signatures.join(", system."))
}

/// How `actual` differs from `expected`, if it does. A message may say more after what Cassandra says, such as the
/// place; that of a syntax error is the grammar's own. Where Cassandra meets a defect of its own, any error that names
/// the cause will do.
fn compare(expected: &[String], actual: &[String]) -> Option<Class> {
    if expected == actual {
        return None;
    }
    let error = |lines: &[String]| {
        let line = lines.iter().find_map(|line| line.strip_prefix("--! "))?;
        line.split_once(':').map(|(kind, message)| (kind.to_owned(), message.to_owned()))
    };
    let plain =
        |lines: &[String]| -> Vec<String> { lines.iter().filter(|line| !line.starts_with("--~")).cloned().collect() };
    match (error(expected), error(actual)) {
        (Some((expected, _)), Some((actual, _))) if expected != actual => {
            (!DEFECTS.contains(&expected.as_str())).then_some(Class::Kind)
        }
        (Some((kind, expected)), Some((_, actual))) => {
            let begins = with_sorted_signatures(&actual).starts_with(&with_sorted_signatures(&expected));
            (kind != "SyntaxError" && !begins).then_some(Class::Wording)
        }
        (Some(_), None) => Some(Class::Accepted),
        (None, Some(_)) => Some(Class::Refused),
        (None, None) if plain(expected) == plain(actual) => Some(Class::Warnings),
        (None, None) => {
            let words = |lines: &[String]| -> Vec<String> {
                lines.first().map_or_else(Vec::new, |line| line.split_whitespace().map(str::to_owned).collect())
            };
            Some(if words(expected) == words(actual) { Class::Rows } else { Class::Columns })
        }
    }
}

/// What a case came to: its worst step, if one fails, and what to print of it.
struct Verdict {
    class: Option<Class>,
    report: String,
}

/// The keyspaces that a case makes beside its own, as they are written.
fn other_keyspaces(case: &Case) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for step in &case.steps {
        let mut words = step.text.split_whitespace();
        let is = |word: Option<&str>, expected: &str| word.is_some_and(|word| word.eq_ignore_ascii_case(expected));
        if is(words.next(), "CREATE") && is(words.next(), "KEYSPACE") {
            let name = words.find(|word| !["IF", "NOT", "EXISTS"].iter().any(|skip| word.eq_ignore_ascii_case(skip)));
            names.extend(name.filter(|name| !name.contains('-')).map(str::to_owned));
        }
    }
    names
}

/// Executes a step to its last page; the lines of its answer.
async fn answer(session: &Session, step: &Step) -> Vec<String> {
    match try_answer(session, step).await {
        Ok(lines) => lines,
        Err(error) => error_lines(&error),
    }
}

async fn try_answer(session: &Session, step: &Step) -> Result<Vec<String>, ClientError> {
    macro_rules! with_options {
        ($statement:expr) => {{
            let mut statement = $statement;
            if let Some(level) = step.directive("consistency") {
                let level: Consistency = level.parse().map_err(ClientError::Bind)?;
                statement = statement.consistency(level);
            }
            if let Some(timestamp) = step.directive("timestamp") {
                statement = statement.timestamp(timestamp.parse().expect("a directive has a number"));
            }
            // No page size, or 0: the whole answer in one page, as far as the server goes.
            if let Some(rows) = step.directive("page") {
                statement = statement.page_size(rows.parse().expect("a directive has a number"));
            }
            statement
        }};
    }
    let mut pager = match step.directive("bind") {
        None => session.pages(with_options!(Statement::new(step.text.as_str())), ()).await?,
        Some(values) => {
            let values: Vec<Literal> = literals(values).map_err(ClientError::Bind)?;
            session.pages_prepared(&with_options!(session.prepare(&step.text).await?), values)?
        }
    };
    let (mut columns, mut rows, mut warnings) = (None, Vec::new(), Vec::new());
    while let Some(page) = pager.next_page().await? {
        if page.outcome == Outcome::Rows && columns.is_none() {
            columns = Some(page.columns().to_vec());
        }
        for warning in &page.warnings {
            if !warnings.contains(warning) {
                warnings.push(warning.clone());
            }
        }
        rows.extend(page.rows().iter().map(|row| row.cells().to_vec()));
    }
    let masked: Vec<&str> = step.directive("mask").map_or_else(Vec::new, |names| names.split(", ").collect());
    Ok(result_lines(columns.as_deref(), &rows, &masked, &warnings))
}

/// A case, in a fresh keyspace and with a session of its own: prepared statements are kept by their text.
async fn run_case(addresses: &[String], replicas: usize, file: &CorpusFile, case: &Case) -> Verdict {
    let builder = SessionBuilder::new(addresses).timeout(PATIENCE);
    let session = builder.connect().await.unwrap_or_else(|error| panic!("{}: {error}", case.name));
    let create = format!(
        "CREATE KEYSPACE ks WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': {replicas}}}"
    );
    for text in ["DROP KEYSPACE IF EXISTS ks", &create, "USE ks"] {
        let done = session.execute(text, ()).await;
        done.unwrap_or_else(|error| panic!("before {}: {text}: {error}", case.name));
    }
    let mut verdict = Verdict { class: None, report: String::new() };
    for step in &case.steps {
        if let Some(millis) = step.directive("sleep") {
            tokio::time::sleep(Duration::from_millis(millis.parse().expect("a directive has a number"))).await;
        }
        let started = Instant::now();
        let mut lines = answer(&session, step).await;
        // An index is built after it is made.
        while lines.iter().any(|line| line.contains("not yet available")) && started.elapsed() < PATIENCE {
            tokio::time::sleep(Duration::from_millis(50)).await;
            lines = answer(&session, step).await;
        }
        if let Some(class) = compare(step.expected(), &lines) {
            verdict.class = verdict.class.max(Some(class));
            let (expected, got) = (step.expected().join("\n"), lines.join("\n"));
            let at = format!("{}.cql:{} {} {}", file.name, step.line, case.name, class.name());
            let _ = writeln!(verdict.report, "{at}\n{}\nexpected:\n{expected}\ngot:\n{got}\n", step.text);
        }
    }
    for name in other_keyspaces(case) {
        // One that could not be made cannot be dropped either.
        let _ = session.execute(format!("DROP KEYSPACE IF EXISTS {name}"), ()).await;
    }
    verdict
}

/// The cases that are known to fail, and how.
fn expected_failures() -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(folder().join("expected_failures")).unwrap_or_default();
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    lines
        .map(|line| line.split_once(' ').unwrap_or_else(|| panic!("expected_failures: no reason in '{line}'")))
        .map(|(name, class)| (name.to_owned(), class.to_owned()))
        .collect()
}

const LIST_HEAD: &str = "\
# Cases of the corpus that Helenus does not pass yet, and how the worst of their steps differs:
#   refused   what should succeed fails         accepted  what should fail succeeds
#   rows      other rows                        columns   other names or types of columns
#   kind      an error of another kind          wording   the right kind, another message
#   warnings  other warnings
# Written by CORPUS_WRITE=1; see README.md. A case that passes must not be here.
";

/// What the whole corpus came to.
#[derive(Default)]
struct Tally {
    /// By file and by row of features: passed, failed.
    files: BTreeMap<String, (usize, usize)>,
    rows: BTreeMap<String, (usize, usize)>,
    classes: BTreeMap<&'static str, usize>,
    failures: BTreeMap<String, (String, String)>,
    reports: String,
}

impl Tally {
    fn add(&mut self, file: &CorpusFile, case: &Case, verdict: &Verdict) {
        let count = |counts: &mut (usize, usize)| {
            if verdict.class.is_none() { counts.0 += 1 } else { counts.1 += 1 }
        };
        count(self.files.entry(file.name.clone()).or_default());
        for row in &case.rows {
            count(self.rows.entry(row.clone()).or_default());
        }
        if let Some(class) = verdict.class {
            *self.classes.entry(class.name()).or_default() += 1;
            self.failures.insert(case.name.clone(), (file.name.clone(), class.name().to_owned()));
        }
        self.reports.push_str(&verdict.report);
    }

    fn print(&self) {
        for (title, counts) in [("file", &self.files), ("feature", &self.rows)] {
            for (name, (passed, failed)) in counts {
                eprintln!("{title:8} {name:28} {passed:5} passed {failed:5} failed");
            }
        }
        let passed: usize = self.files.values().map(|(passed, _)| passed).sum();
        eprintln!("corpus: {passed} cases passed, {} failed as listed or not: {:?}", self.failures.len(), self.classes);
    }

    fn list(&self) -> String {
        let mut text = LIST_HEAD.to_owned();
        let mut last = "";
        let mut failures: Vec<_> = self.failures.iter().collect();
        failures.sort_by_key(|(name, (file, _))| (file.as_str(), name.as_str()));
        for (name, (file, class)) in failures {
            if file != last {
                let _ = write!(text, "\n# {file}.cql\n");
                last = file;
            }
            let _ = writeln!(text, "{name} {class}");
        }
        text
    }
}

/// What `CORPUS_ONLY` selects: files or cases whose names contain it.
fn selected(file: &CorpusFile, case: &Case) -> bool {
    std::env::var("CORPUS_ONLY").map_or(true, |part| file.name.contains(&part) || case.name.contains(&part))
}

/// Nodes whose data centre has the name of the one that was recorded.
fn start_cluster(nodes: usize) -> Cluster {
    let mut cluster = Cluster::configured(nodes, "data_center = 'datacenter1'");
    (0..nodes).for_each(|index| cluster.node(index).start());
    cluster.wait_up(nodes);
    cluster
}

/// The selected cases of a file, or one of so many of them, that clusters of so many nodes can answer.
fn sample(file: &CorpusFile, nodes: usize, one_of: usize) -> impl Iterator<Item = &Case> {
    let answered = move |case: &&Case| nodes == 1 || !OF_ONE_NODE.contains(&case.name.as_str());
    file.cases.iter().filter(|case| selected(file, case)).filter(answered).step_by(one_of)
}

/// Runs every file on one of `lanes` clusters of so many nodes: a change of the schema mostly waits for the disk.
fn run_files(files: &[CorpusFile], nodes: usize, lanes: usize, one_of: usize) -> Tally {
    let (next, tally) = (AtomicUsize::new(0), Mutex::new(Tally::default()));
    std::thread::scope(|scope| {
        for _ in 0..lanes {
            scope.spawn(|| {
                let mut cluster = start_cluster(nodes);
                let addresses = cluster.addresses();
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                    for case in sample(file, nodes, one_of) {
                        let verdict = runtime.block_on(run_case(&addresses, nodes, file, case));
                        tally.lock().unwrap().add(file, case, &verdict);
                        for index in 0..nodes {
                            let ended = cluster.node(index).ended();
                            assert!(ended.is_none(), "a node ended in case {}: {ended:?}", case.name);
                        }
                    }
                }
            });
        }
    });
    tally.into_inner().unwrap()
}

/// Runs the corpus, or one of so many cases of each file, on clusters of so many nodes and holds the outcome against
/// the list.
fn run(nodes: usize, lanes: usize, one_of: usize) {
    let files = read_folder(&folder());
    let tally = run_files(&files, nodes, lanes, one_of);
    let mut known = expected_failures();
    let ran: BTreeSet<&str> =
        files.iter().flat_map(|file| sample(file, nodes, one_of)).map(|case| case.name.as_str()).collect();
    known.retain(|name, _| ran.contains(name.as_str()));
    tally.print();
    if let Ok(path) = std::env::var("CORPUS_REPORT") {
        std::fs::write(path, &tally.reports).unwrap();
    }
    if writes() && nodes == 1 && one_of == 1 && std::env::var_os("CORPUS_ONLY").is_none() {
        std::fs::write(folder().join("expected_failures"), tally.list()).unwrap();
        return;
    }
    let failures: BTreeMap<String, String> =
        tally.failures.iter().map(|(name, (_, class))| (name.clone(), class.clone())).collect();
    let mut problems = String::new();
    for name in failures.keys().chain(known.keys()).collect::<BTreeSet<_>>() {
        match (known.get(name), failures.get(name)) {
            (None, Some(class)) => writeln!(problems, "{name} fails ({class}) and is not in the list").unwrap(),
            (Some(_), None) => writeln!(problems, "{name} passes: take it off the list").unwrap(),
            (Some(known), Some(class)) if known != class => {
                writeln!(problems, "{name} is listed as {known} and fails as {class}").unwrap();
            }
            _ => {}
        }
    }
    assert!(problems.is_empty(), "{problems}\n{}", reports_of(&tally.reports, &problems));
}

/// The reports of the cases that the problems name.
fn reports_of(reports: &str, problems: &str) -> String {
    let named: BTreeSet<&str> = problems.lines().filter_map(|line| line.split(' ').next()).collect();
    let wanted = |report: &&str| report.split(' ').nth(1).is_some_and(|name| named.contains(name));
    reports.split("\n\n").filter(wanted).collect::<Vec<_>>().join("\n\n")
}

#[test]
fn one_node_answers_as_recorded() {
    run(1, 4, 1);
}

/// Of each file the first case and one of so many behind it.
#[test]
fn three_nodes_answer_a_sample_as_recorded() {
    run(3, 2, 12);
}

#[test]
#[ignore = "as long as six times that of one node: --include-ignored"]
fn three_nodes_answer_as_recorded() {
    run(3, 2, 1);
}

/// The cells of the rows of the tables of a page.
fn table_rows(text: &str) -> Vec<Vec<&str>> {
    let rows = text.lines().filter(|line| line.starts_with("| ") && line.ends_with('|'));
    rows.map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect()).collect()
}

#[test]
fn every_row_of_the_table_of_features_is_accounted_for() {
    const STATES: [&str; 4] = ["holds", "in part", "refused", "left out"];
    let text = std::fs::read_to_string(folder().join("FEATURES.md")).unwrap();
    let mut told: BTreeMap<String, (String, String)> = BTreeMap::new();
    for cells in table_rows(&text) {
        let [row, _, state, _, case] = cells.as_slice() else { continue };
        if row.starts_with(|first: char| first.is_ascii_digit()) {
            assert!(STATES.contains(state), "{row}: {state}");
            let case = case.trim_matches('`').to_owned();
            assert!(told.insert((*row).to_owned(), ((*state).to_owned(), case)).is_none(), "{row} stands twice");
        }
    }
    let files = read_folder(&folder());
    for (section, rows) in ROWS {
        for row in 1..=rows {
            let row = format!("{section}.{row:02}");
            let (state, case) = told.remove(&row).unwrap_or_else(|| panic!("{row} is not in FEATURES.md"));
            if ROWS_LEFT_OUT.contains(&row.as_str()) {
                assert_eq!(state, "left out");
                continue;
            }
            let named = files.iter().flat_map(|file| &file.cases).find(|own| own.name == case);
            assert!(named.is_some_and(|own| own.rows.contains(&row)), "{row}: no case {case} names it");
        }
    }
    assert!(told.is_empty(), "rows that there are not: {told:?}");
}

/// The names of the columns of a recorded table, and how many rows it has; `None` for what is none.
fn outline(lines: &[String]) -> Option<(Vec<String>, usize)> {
    let cells: Vec<&str> = lines.iter().filter_map(|line| line.strip_prefix("--| ")).collect();
    let header = cells.first().filter(|header| !header.starts_with("row "))?;
    let name = |column: &str| match column.strip_prefix('"') {
        Some(quoted) => quoted.rsplit_once("\" ").map(|(name, _)| name.replace("\"\"", "\"")),
        None => column.split_once(' ').map(|(name, _)| name.to_owned()),
    };
    let names: Option<Vec<String>> = header.split(" | ").map(name).collect();
    let rows = cells.len() - 1 - usize::from(cells.last() == Some(&"(no rows)"));
    names.filter(|names| names.iter().collect::<BTreeSet<_>>().len() == names.len()).map(|names| (names, rows))
}

/// A case that a script can be: its statements all succeed, without directives, and the last is answered by rows. What
/// DESCRIBE answers the shell prints as text.
fn is_script(case: &Case, known: &BTreeMap<String, String>) -> bool {
    let plain = |step: &Step| step.directives.is_empty() && !step.recorded.iter().any(|line| line.starts_with("--!"));
    let describes = |step: &Step| step.text.starts_with("DESC");
    !known.contains_key(&case.name)
        && case.steps.iter().all(plain)
        && !case.steps.iter().any(describes)
        && case.steps.last().is_some_and(|step| outline(step.expected()).is_some())
}

#[test]
fn the_shell_prints_what_was_recorded() {
    let mut cluster = start_cluster(1);
    let known = expected_failures();
    for file in &read_folder(&folder()) {
        let Some(case) = file.cases.iter().find(|case| is_script(case, &known)) else { continue };
        let mut script = "DROP KEYSPACE IF EXISTS ks; CREATE KEYSPACE ks WITH replication = \
                          {'class': 'SimpleStrategy', 'replication_factor': 1}; USE ks;\n"
            .to_owned();
        for step in &case.steps {
            script.push_str(&step.text);
            script.push_str(";\n");
        }
        let printed = cluster.node(0).rows(&script);
        let rows = printed.as_array().unwrap_or_else(|| panic!("{}: {printed}", case.name));
        let step = case.steps.last().expect("a script has steps");
        let (names, count) = outline(step.expected()).expect("a script ends with rows");
        assert_eq!(rows.len(), count, "{}: {printed}", case.name);
        for row in rows {
            let keys: Vec<&String> = row.as_object().expect("a row is an object").keys().collect();
            assert_eq!(keys, names.iter().collect::<Vec<_>>(), "{}", case.name);
        }
    }
}

#[test]
fn the_corpus_is_whole() {
    let files = read_folder(&folder());
    let cases: Vec<&Case> = files.iter().flat_map(|file| &file.cases).collect();
    assert!(cases.len() >= CASES_MIN, "{} cases", cases.len());
    let mut names = BTreeSet::new();
    for case in &cases {
        assert!(names.insert(case.name.as_str()), "two cases are named {}", case.name);
        assert!(!case.steps.is_empty(), "{} has no steps", case.name);
    }
    let definition = |text: &str| ["CREATE", "ALTER", "DROP", "USE"].contains(&text.split(' ').next().unwrap_or(""));
    let several = |case: &&&Case| case.steps.iter().filter(|step| !definition(&step.text)).count() > 1;
    let several = cases.iter().filter(several).count();
    assert!(several * 10 >= cases.len() * 6, "{several} of {} cases have several steps", cases.len());
    for (section, rows) in ROWS {
        for row in 1..=rows {
            let row = format!("{section}.{row:02}");
            let named = cases.iter().any(|case| case.rows.contains(&row)) || ROWS_LEFT_OUT.contains(&row.as_str());
            assert!(named, "no case names feature {row}");
        }
    }
    for name in expected_failures().keys() {
        assert!(names.contains(name.as_str()), "expected_failures names {name}, which is no case");
    }
}

#[test]
fn the_table_of_differences_is_that_of_the_corpus() {
    let mut text = "# Deliberate differences from Apache Cassandra\n\nWritten from the corpus by CORPUS_WRITE=1. Each \
                    stands in its case beside what Cassandra answers.\n\n| case | statement | reason |\n|---|---|---|\n"
        .to_owned();
    for file in read_folder(&folder()) {
        for case in &file.cases {
            for step in &case.steps {
                if let Some(difference) = &step.difference {
                    let statement = step.text.replace('\n', " ").replace('|', "\\|");
                    let _ = writeln!(text, "| {} | `{statement}` | {} |", case.name, difference.reason);
                }
            }
        }
    }
    let path = folder().join("DIFFERENCES.md");
    if writes() {
        std::fs::write(&path, &text).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap_or_default(), text, "CORPUS_WRITE=1 writes it anew");
}

#[test]
fn answers_are_told_apart() {
    let lines = |text: &str| -> Vec<String> { text.lines().map(str::to_owned).collect() };
    for (expected, actual, class) in [
        ("", "", None),
        ("--| k int\n--| 1", "--| k int\n--| 1", None),
        ("--| k int\n--| 1", "--| k int\n--| 2", Some(Class::Rows)),
        ("--| k int\n--| 1", "--| k int\n--| 1\n--~ slow", Some(Class::Warnings)),
        ("--| k   int\n--| 100000", "--| k int\n--| 1", Some(Class::Rows)),
        ("--| k int\n--| 1", "--| k bigint\n--| 1", Some(Class::Columns)),
        ("--| k int\n--| 1", "", Some(Class::Columns)),
        ("--! Invalid: a", "--! Invalid: b", Some(Class::Wording)),
        ("--! Invalid: a", "--! Invalid: a (line 1:2)", None),
        ("--! SyntaxError: a", "--! SyntaxError: b", None),
        (
            "--! Invalid: no (known type signatures: system.f : (int, a) -> int, system.f : (b) -> c): d",
            "--! Invalid: no (known type signatures: system.f : (b) -> c, system.f : (int, a) -> int): d (line 1:2)",
            None,
        ),
        (
            "--! Invalid: no (known type signatures: system.f : (b) -> c)",
            "--! Invalid: no (known type signatures: system.f : (b) -> d)",
            Some(Class::Wording),
        ),
        ("--! Invalid: a", "--! SyntaxError: a", Some(Class::Kind)),
        ("--! ServerError: java.lang.NullPointerException", "--! Invalid: a", None),
        ("--! ServerError: java.lang.NullPointerException", "--! ServerError: a", Some(Class::Wording)),
        ("--! Invalid: a", "", Some(Class::Accepted)),
        ("", "--! Invalid: a", Some(Class::Refused)),
    ] {
        assert_eq!(compare(&lines(expected), &lines(actual)), class, "{expected} / {actual}");
    }
}
