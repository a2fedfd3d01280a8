//! The shell at a terminal: editing over several lines, history, completion, colours, and where messages go.

use crate::completion::candidates;
use crate::format::Look;
use crate::highlight::highlight;
use crate::input::{self, Next};
use crate::session::{Flow, Session};
use crate::{EXIT_FAILED, EXIT_OK};
use client::Topology;
use rustyline::completion::{Completer, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::{CmdKind, Highlighter};
use rustyline::hint::Hinter;
use rustyline::history::{DefaultHistory, History};
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{CompletionType, Config, Context, Editor, Helper};
use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;

/// Entries that the history keeps.
const HISTORY_MAX: usize = 10_000;

/// Writes a message for the person who started the shell.
#[allow(clippy::print_stderr, reason = "errors of a command-line program go to standard error")]
pub(crate) fn error(message: &str) {
    eprintln!("{message}");
}

/// How tables look: fitted to the terminal and in colour if standard output is one, unless `NO_COLOR` is set or `color`
/// says otherwise.
pub(crate) fn look(color: Option<bool>) -> Look {
    let is_terminal = io::stdout().is_terminal();
    Look {
        expanded: false,
        color: color.unwrap_or_else(|| is_terminal && colors_wanted()),
        width: comfy_table::Table::new().width().filter(|_| is_terminal),
    }
}

/// The convention of <https://no-color.org>, and that of terminals without colours.
fn colors_wanted() -> bool {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    !is_set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|terminal| terminal != "dumb")
}

/// What the line editor asks of the shell.
struct Assistant {
    topology: Arc<Topology>,
    keyspace: Option<String>,
    color: bool,
}

impl Helper for Assistant {}

impl Hinter for Assistant {
    type Hint = String;
}

impl Highlighter for Assistant {
    fn highlight<'l>(&self, line: &'l str, _: usize) -> Cow<'l, str> {
        if self.color { Cow::Owned(highlight(line)) } else { Cow::Borrowed(line) }
    }

    fn highlight_char(&self, _: &str, _: usize, kind: CmdKind) -> bool {
        self.color && kind != CmdKind::MoveCursor
    }
}

impl Validator for Assistant {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        Ok(if is_finished(context.input()) { ValidationResult::Valid(None) } else { ValidationResult::Incomplete })
    }
}

impl Completer for Assistant {
    type Candidate = Pair;

    fn complete(&self, line: &str, position: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let (before, after) = line.split_at_checked(position).unwrap_or((line, ""));
        let (start, found) = candidates(before, after, Some(&self.topology), self.keyspace.as_deref());
        Ok((start, found.into_iter().map(|text| Pair { display: text.clone(), replacement: text }).collect()))
    }
}

/// True when `text` is commands and statements that have ended, so that Enter executes them; otherwise it begins
/// another line.
fn is_finished(text: &str) -> bool {
    let mut rest = text;
    loop {
        match input::next(rest) {
            Next::Item(_, after) => rest = after,
            Next::Unfinished(_) => return false,
            Next::Nothing => return true,
        }
    }
}

type Input = Editor<Assistant, DefaultHistory>;

fn editor() -> rustyline::Result<Input> {
    let config = Config::builder().completion_type(CompletionType::List).max_history_size(HISTORY_MAX)?;
    Editor::with_config(config.history_ignore_dups(true)?.bracketed_paste(true).build())
}

/// Reads statements from the terminal until EXIT or the end of input; returns the exit code.
pub(crate) async fn interact(session: &mut Session) -> u8 {
    let mut editor = match editor() {
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
    session.set_interactive();
    greet(session).await;
    loop {
        let (topology, keyspace) = (session.connection().known_topology(), session.connection().keyspace());
        let prompt = keyspace.as_ref().map_or("helenus> ".to_owned(), |keyspace| format!("helenus:{keyspace}> "));
        editor.set_helper(Some(Assistant { topology, keyspace, color: session.has_colors() }));
        let text = match editor.readline(&prompt) {
            Ok(text) => text,
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => break,
            Err(cause) => {
                error(&format!("cannot read the terminal: {cause}"));
                return EXIT_FAILED;
            }
        };
        remember(&mut editor, &text);
        if run(session, &text, &editor).await == Flow::Exit {
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

/// True for what may have a password in it: one of roles, or LOGIN.
fn holds_password(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    text.contains("password") || text.split(|letter: char| !letter.is_alphanumeric()).any(|word| word == "login")
}

/// Adds an entry to the history, but none with a password in it.
fn remember(editor: &mut Input, text: &str) {
    let text = text.trim();
    if !text.is_empty() && !holds_password(text) {
        // History is an aid: a full or unwritable one is no reason to stop.
        let _ = editor.add_history_entry(text);
    }
}

/// Runs every item of `text`; after one that failed the rest is not executed.
async fn run(session: &mut Session, text: &str, editor: &Input) -> Flow {
    let mut rest = text;
    loop {
        let (item, after) = match input::next(rest) {
            Next::Nothing => return Flow::Continue,
            Next::Unfinished(item) => (item, ""),
            Next::Item(item, after) => (item, after),
        };
        match session.run_item(item, &mut io::stdout()).await {
            Ok(Flow::Continue) => {}
            Ok(Flow::Exit) => return Flow::Exit,
            Ok(Flow::History(count)) => show_history(editor, count),
            Err(cause) => {
                error(&session.explain(item, &cause));
                return Flow::Continue;
            }
        }
        rest = after;
    }
}

fn show_history(editor: &Input, count: Option<usize>) {
    let entries = editor.history();
    let skipped = count.map_or(0, |count| entries.len().saturating_sub(count));
    let mut out = io::stdout().lock();
    for entry in entries.iter().skip(skipped) {
        if writeln!(out, "{entry}").is_err() {
            return;
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

fn history_file() -> Option<PathBuf> {
    Some(PathBuf::from(std::env::var_os("HOME")?).join(".helenus_history"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_with_a_password_is_remembered() {
        for text in
            ["LOGIN me 'secret'", "login me", "CREATE ROLE a WITH PASSWORD = 'b'", "ALTER USER a WITH Password 'b'"]
        {
            assert!(holds_password(text), "{text}");
        }
        assert!(!holds_password("SELECT logins FROM t"));
    }

    #[test]
    fn enter_executes_what_has_ended() {
        for text in ["", "exit", "SELECT 1;", "USE a; USE b;", "CONSISTENCY ONE\nSELECT 1;"] {
            assert!(is_finished(text), "{text}");
        }
        for text in ["SELECT 1", "SELECT ';", "COPY t FROM 'x'", "USE a; SELECT"] {
            assert!(!is_finished(text), "{text}");
        }
    }
}
