//! The shell at a terminal: editing, history, completion, and where messages go.

use crate::input::{self, Next};
use crate::session::{Flow, Session, explain};
use crate::{EXIT_FAILED, EXIT_OK};
use rustyline::completion::{Completer, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::DefaultHistory;
use rustyline::validate::Validator;
use rustyline::{Context, Editor, Helper};
use std::io;
use std::path::PathBuf;

/// Writes an error for the person who started the shell.
#[allow(clippy::print_stderr, reason = "errors of a command-line program go to standard error")]
pub(crate) fn error(message: &str) {
    eprintln!("{message}");
}

/// Words that complete anywhere.
const WORDS: [&str; 44] = [
    "ALLOW FILTERING",
    "AND",
    "ASC",
    "BY",
    "CLUSTERING ORDER BY",
    "CONSISTENCY",
    "COPY",
    "CREATE",
    "DELETE",
    "DESC",
    "DESCRIBE",
    "DROP",
    "EXISTS",
    "EXIT",
    "EXPAND",
    "FROM",
    "HEADER",
    "HELP",
    "IF",
    "INSERT INTO",
    "INTO",
    "KEY",
    "KEYSPACE",
    "KEYSPACES",
    "LIMIT",
    "NOT",
    "NULL",
    "ORDER BY",
    "PAGING",
    "PRIMARY KEY",
    "QUORUM",
    "REPLICATION",
    "SELECT",
    "SET",
    "SOURCE",
    "TABLE",
    "TABLES",
    "TIMESTAMP",
    "TTL",
    "UPDATE",
    "USE",
    "USING",
    "VALUES",
    "WHERE",
];

struct Completion {
    names: Vec<String>,
}

impl Helper for Completion {}
impl Highlighter for Completion {}
impl Validator for Completion {}

impl Hinter for Completion {
    type Hint = String;
}

impl Completer for Completion {
    type Candidate = Pair;

    fn complete(&self, line: &str, position: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let before = line.get(..position).unwrap_or(line);
        let start = before.rfind(|character: char| !(character.is_alphanumeric() || "_.".contains(character)));
        let start = start.map_or(0, |at| at + 1);
        let word = before.get(start..).unwrap_or_default().to_lowercase();
        if word.is_empty() {
            return Ok((start, Vec::new()));
        }
        let all = WORDS.iter().map(|word| (*word).to_owned()).chain(self.names.iter().cloned());
        let found = all.filter(|candidate| candidate.to_lowercase().starts_with(&word));
        Ok((start, found.map(|text| Pair { display: text.clone(), replacement: text }).collect()))
    }
}

/// Reads statements from the terminal until EXIT or the end of input; returns the exit code.
pub(crate) async fn interact(session: &mut Session) -> u8 {
    let mut editor: Editor<Completion, DefaultHistory> = match Editor::new() {
        Ok(editor) => editor,
        Err(cause) => {
            error(&format!("cannot open the terminal: {cause}"));
            return EXIT_FAILED;
        }
    };
    let history = history_file();
    if let Some(path) = &history {
        // There is none at the first start.
        let _ = editor.load_history(path);
    }
    greet(session).await;
    let mut pending = String::new();
    loop {
        editor.set_helper(Some(Completion { names: names(session).await }));
        let prompt = match (session.connection().keyspace(), pending.is_empty()) {
            (_, false) => "   ... ".to_owned(),
            (Some(keyspace), true) => format!("helenus:{keyspace}> "),
            (None, true) => "helenus> ".to_owned(),
        };
        match editor.readline(&prompt) {
            Ok(line) => {
                pending += &line;
                pending.push('\n');
            }
            Err(ReadlineError::Interrupted) => pending.clear(),
            Err(ReadlineError::Eof) => break,
            Err(cause) => {
                error(&format!("cannot read the terminal: {cause}"));
                return EXIT_FAILED;
            }
        }
        let (rest, flow) = run_pending(session, &pending, &mut editor).await;
        pending = rest;
        if flow == Flow::Exit {
            break;
        }
    }
    if let Some(path) = history
        && let Err(cause) = editor.save_history(&path)
    {
        error(&format!("cannot write {}: {cause}", path.display()));
    }
    EXIT_OK
}

/// Runs every finished item of `text`; returns what is not finished.
async fn run_pending(
    session: &mut Session,
    text: &str,
    editor: &mut Editor<Completion, DefaultHistory>,
) -> (String, Flow) {
    let mut rest = text;
    loop {
        match input::next(rest) {
            Next::Nothing => return (String::new(), Flow::Continue),
            Next::Unfinished(item) => return (format!("{item}\n"), Flow::Continue),
            Next::Item(item, after) => {
                // History is an aid: a full or unwritable one is no reason to stop.
                let _ = editor.add_history_entry(format!("{};", item.replace('\n', " ")));
                match session.run_item(item, &mut io::stdout()).await {
                    Ok(Flow::Continue) => {}
                    Ok(Flow::Exit) => return (String::new(), Flow::Exit),
                    Err(cause) => error(&explain(item, &cause)),
                }
                rest = after;
            }
        }
    }
}

async fn greet(session: &Session) {
    match session.connection().topology().await {
        Ok(topology) => error(&format!(
            "Helenus {}, cluster {}, {} node{}. HELP shows the commands, EXIT ends.",
            topology.release,
            topology.cluster_id,
            topology.nodes.len(),
            if topology.nodes.len() == 1 { "" } else { "s" }
        )),
        Err(cause) => error(&cause.to_string()),
    }
}

/// Names of keyspaces, tables and columns, for completion.
async fn names(session: &Session) -> Vec<String> {
    let Ok(topology) = session.connection().topology().await else { return Vec::new() };
    let mut names = Vec::new();
    for (keyspace, described) in topology.keyspaces.iter() {
        names.push(keyspace.clone());
        for (table, described) in &described.tables {
            names.extend([table.clone(), format!("{keyspace}.{table}")]);
            names.extend(described.columns.iter().map(|column| column.name.clone()));
        }
    }
    names.sort();
    names.dedup();
    names
}

fn history_file() -> Option<PathBuf> {
    Some(PathBuf::from(std::env::var_os("HOME")?).join(".helenus_history"))
}
