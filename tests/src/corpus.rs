//! The corpus in `tests/cql`: its files, and what executing a step of it comes to, as the lines that stand in the
//! files. `tests/cql/README.md` describes the format; `tools/oracle` writes it.
//!
//! Invariant: a result and the recorded one are equal exactly when their lines are.

mod bind;
mod render;

pub use bind::{Literal, literals};
pub use render::{error_lines, result_lines};

use std::path::Path;

/// The cases of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CorpusFile {
    /// Its name without the ending.
    pub name: String,
    /// The cases in their order.
    pub cases: Vec<Case>,
}

/// Steps that are executed one after the other in a keyspace of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// Its name, of its own in the whole corpus.
    pub name: String,
    /// The rows of the table of features that it shows.
    pub rows: Vec<String>,
    /// The steps.
    pub steps: Vec<Step>,
}

/// One statement and what it is answered with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Where it is in its file, from 1.
    pub line: usize,
    /// How it is executed: names and what follows them.
    pub directives: Vec<(String, String)>,
    /// Its text, without the semicolon at the end.
    pub text: String,
    /// What Apache Cassandra answers; no line for an empty answer.
    pub recorded: Vec<String>,
    /// What is meant to differ.
    pub difference: Option<Difference>,
}

/// A deliberate difference from Apache Cassandra.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Why.
    pub reason: String,
    /// What Helenus answers.
    pub expected: Vec<String>,
}

impl Step {
    /// What follows a directive's name.
    #[must_use]
    pub fn directive(&self, name: &str) -> Option<&str> {
        self.directives.iter().find(|(directive, _)| directive == name).map(|(_, rest)| rest.as_str())
    }

    /// What Helenus is to answer.
    #[must_use]
    pub fn expected(&self) -> &[String] {
        self.difference.as_ref().map_or(&self.recorded, |difference| &difference.expected)
    }
}

/// Reads every file of the folder, by name.
///
/// # Panics
/// When one cannot be read or is not in the format.
#[must_use]
pub fn read_folder(folder: &Path) -> Vec<CorpusFile> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("the folder can be listed").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "cql"));
    paths.sort();
    let read = |path: &std::path::PathBuf| {
        let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let name = path.file_stem().expect("a file has a name").to_string_lossy().into_owned();
        parse(&name, &text).unwrap_or_else(|error| panic!("{}:{error}", path.display()))
    };
    paths.iter().map(read).collect()
}

/// Reads a file's text.
///
/// # Errors
/// With the number of the line that is not in the format.
pub fn parse(name: &str, text: &str) -> Result<CorpusFile, String> {
    let mut file = CorpusFile { name: name.to_owned(), cases: Vec::new() };
    let mut directives = Vec::new();
    let mut open = false;
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        let step = file.cases.last_mut().and_then(|case| case.steps.last_mut());
        if open {
            let step = step.ok_or_else(|| format!("{number}: a statement outside a case"))?;
            step.text.push('\n');
            step.text.push_str(line);
            open = close(&mut step.text);
        } else if let Some(header) = line.strip_prefix("--# ") {
            file.cases.push(header_of(header).ok_or_else(|| format!("{number}: '--# name (1.01, 2.02)' is expected"))?);
        } else if let Some(directive) = line.strip_prefix("--@ ") {
            let (word, rest) = directive.trim().split_once(' ').unwrap_or((directive.trim(), ""));
            directives.push((word.to_owned(), rest.trim().to_owned()));
        } else if let Some(difference) = line.strip_prefix("--=") {
            let step = step.ok_or_else(|| format!("{number}: a difference without a statement"))?;
            differ(step, difference).ok_or_else(|| format!("{number}: a difference begins with '--= reason'"))?;
        } else if ["--|", "--!", "--~"].iter().any(|sign| line.starts_with(sign)) {
            let step = step.ok_or_else(|| format!("{number}: an expectation without a statement"))?;
            step.recorded.push(line.to_owned());
        } else if !line.trim().is_empty() && !line.starts_with("--") {
            let case = file.cases.last_mut().ok_or_else(|| format!("{number}: a statement outside a case"))?;
            let mut text = line.to_owned();
            open = close(&mut text);
            let directives = std::mem::take(&mut directives);
            case.steps.push(Step { line: number, directives, text, ..Step::default() });
        }
    }
    if open { Err("the last statement has no ';' at the end of a line".to_owned()) } else { Ok(file) }
}

/// The name and the rows of features of a case.
fn header_of(text: &str) -> Option<Case> {
    let (name, rows) = text.strip_suffix(')')?.split_once(" (")?;
    let rows = rows.split(", ").map(str::to_owned).collect();
    Some(Case { name: name.to_owned(), rows, steps: Vec::new() })
}

/// Takes the semicolon off a complete statement; true when it goes on. A batch goes to APPLY BATCH, or to `;;`.
fn close(text: &mut String) -> bool {
    let trimmed = text.trim_end();
    let upper = trimmed.to_ascii_uppercase();
    let batch = upper.split(|next: char| !next.is_ascii_alphanumeric()).next() == Some("BEGIN");
    let before = trimmed.strip_suffix(';');
    let whole = match before {
        Some(before) if batch => {
            let mut words = upper[..before.len()].split_whitespace().rev();
            before.ends_with(';') || (words.next() == Some("BATCH") && words.next() == Some("APPLY"))
        }
        Some(_) => true,
        None => false,
    };
    if let Some(before) = before.filter(|_| whole) {
        *text = before.to_owned();
    }
    !whole
}

fn differ(step: &mut Step, text: &str) -> Option<()> {
    if let Some(reason) = text.strip_prefix(' ') {
        step.difference = Some(Difference { reason: reason.to_owned(), expected: Vec::new() });
    } else {
        step.difference.as_mut()?.expected.push(format!("--{text}"));
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\
-- What it is about.

--# first (1.01, 2.02)
CREATE TABLE t (k int PRIMARY KEY);
-- A remark.
--@ page 2
--@ mask a, b
SELECT *
FROM t;
--| k int
--| (no rows)
--~ careful

--# second (3.30)
BEGIN BATCH
  INSERT INTO t (k) VALUES (1);
APPLY BATCH;
SELEC;
--! SyntaxError: line 1:0
--= we are kinder
--=| k int
";

    #[test]
    fn a_file_is_read() {
        let file = parse("sample", FILE).unwrap();
        let [first, second] = file.cases.as_slice() else { panic!("two cases: {file:?}") };
        assert_eq!((first.name.as_str(), first.rows.join("+").as_str()), ("first", "1.01+2.02"));
        assert_eq!(first.steps[1].text, "SELECT *\nFROM t");
        assert_eq!(first.steps[1].directive("mask"), Some("a, b"));
        assert_eq!(first.steps[1].directive("bind"), None);
        assert_eq!(first.steps[1].recorded, ["--| k int", "--| (no rows)", "--~ careful"]);
        assert_eq!(second.steps[0].text, "BEGIN BATCH\n  INSERT INTO t (k) VALUES (1);\nAPPLY BATCH");
        assert!(second.steps[0].expected().is_empty());
        assert_eq!(second.steps[1].recorded, ["--! SyntaxError: line 1:0"]);
        assert_eq!(second.steps[1].expected(), ["--| k int"]);
    }

    #[test]
    fn what_is_not_in_the_format_is_said_with_its_line() {
        for (text, expected) in [
            ("SELECT 1;\n", "1: a statement outside a case"),
            ("--# no rows\n", "1: '--# name (1.01, 2.02)' is expected"),
            ("--# a (1.01)\n--| x\n", "2: an expectation without a statement"),
            ("--# a (1.01)\nSELECT 1\n", "the last statement has no ';'"),
            ("--# a (1.01)\nSELECT 1;\n--=| x\n", "3: a difference begins with"),
        ] {
            let error = parse("sample", text).unwrap_err();
            assert!(error.starts_with(expected), "{text}: {error}");
        }
    }
}
