//! The state of a shell (keyspace, consistency, paging, form of output) and the execution of commands and
//! statements. Knows nothing of line editing.

use crate::command::{self, Capture, Command, Paging, Show};
use crate::connection::{Connection, ConnectionError, Executed, Outcome};
use crate::copy::{CopyError, copy};
use crate::describe::describe;
use crate::format::{Format, Look, Rows, write_rows};
use crate::help::help;
use crate::input::{self, Next};
use crate::settings::Settings;
use crate::{EXIT_FAILED, EXIT_OK, expand_home, terminal};
use model::{RequestError, Value};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::time::{Duration, Instant};
use thiserror::Error;

/// Rows asked for at a time unless PAGING says otherwise.
const PAGE_ROWS: u32 = 1_000;

/// SOURCE within SOURCE goes this deep.
const SOURCE_DEPTH_MAX: usize = 16;

/// How often a statement is tried again when no node can be reached.
const RECONNECTS_MAX: u32 = 3;

/// How often a trace that is not there yet is asked for again.
const TRACE_TRIES: u32 = 50;

/// The pause before that.
const TRACE_PAUSE: Duration = Duration::from_millis(100);

/// The pause before a statement is tried again.
const RECONNECT_PAUSE: Duration = Duration::from_secs(1);

/// Why a command or statement failed.
#[derive(Debug, Error)]
pub(crate) enum ItemError {
    /// The command is not well formed, or a file cannot be read.
    #[error("{0}")]
    Usage(String),
    /// The cluster refused, or did not answer.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// A COPY failed.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// Output could not be written.
    #[error("cannot write: {0}")]
    Write(#[from] io::Error),
}

/// What follows an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// The next item.
    Continue,
    /// The end of the shell.
    Exit,
    /// The last so many entries that were typed are to be shown; all for `None`.
    History(Option<usize>),
}

/// A shell's state.
pub(crate) struct Session {
    connection: Connection,
    /// Rows asked for at a time; `None` for as many as the server gives.
    page_rows: Option<u32>,
    format: Format,
    /// How tables look on the screen.
    look: Look,
    /// Whether it is said how long statements take.
    elapsed: bool,
    /// Where results go instead of to the screen.
    capture: Option<(String, File)>,
    /// Whether errors are shown with all their parts.
    debug: bool,
    /// True when a person is at the terminal, who is told what changed.
    interactive: bool,
    depth: usize,
}

impl Session {
    /// Connects as the settings say.
    ///
    /// # Errors
    /// When the cluster cannot be reached.
    pub(crate) async fn connect(settings: &Settings) -> Result<Session, ConnectionError> {
        let connection = Connection::connect(settings).await?;
        Ok(Session {
            connection,
            page_rows: Some(PAGE_ROWS),
            format: settings.format,
            look: terminal::look(settings.color),
            debug: settings.debug,
            elapsed: false,
            capture: None,
            interactive: false,
            depth: 0,
        })
    }

    /// The connection to the cluster.
    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// A person is at the terminal from now on.
    pub(crate) fn set_interactive(&mut self) {
        self.interactive = true;
    }

    /// True when what is typed and shown has colours.
    pub(crate) fn has_colors(&self) -> bool {
        self.look.color
    }

    /// The message of an error: see [`explain`].
    pub(crate) fn explain(&self, item: &str, error: &ItemError) -> String {
        let message = explain(item, error);
        if self.debug { format!("{message}\n{error:?}") } else { message }
    }

    /// Tells the person at the terminal.
    fn tell(&self, message: &str) {
        if self.interactive {
            terminal::error(message);
        }
    }

    /// Executes a whole script and returns the exit code; stops at the first failure.
    pub(crate) async fn run_script(&mut self, text: &str) -> u8 {
        let mut rest = text;
        loop {
            let item = match input::next(rest) {
                Next::Item(item, after) => {
                    rest = after;
                    item
                }
                Next::Unfinished(item) => {
                    rest = "";
                    item
                }
                Next::Nothing => return EXIT_OK,
            };
            match self.run_item(item, &mut io::stdout().lock()).await {
                Ok(Flow::Continue) => {}
                Ok(Flow::Exit) => return EXIT_OK,
                Ok(Flow::History(_)) => {
                    terminal::error(HISTORY_OF_SCRIPT);
                    return EXIT_FAILED;
                }
                Err(error) => {
                    terminal::error(&self.explain(item, &error));
                    return EXIT_FAILED;
                }
            }
        }
    }

    /// Executes one command or statement and writes its result to `out`.
    ///
    /// # Errors
    /// When it fails.
    pub(crate) async fn run_item(&mut self, item: &str, out: &mut dyn Write) -> Result<Flow, ItemError> {
        match command::parse(item).map_err(|error| ItemError::Usage(error.to_string()))? {
            Some(command) => self.run_command(command, out).await,
            None => self.run_statement(item, out).await.map(|()| Flow::Continue),
        }
    }

    async fn run_command(&mut self, command: Command, out: &mut dyn Write) -> Result<Flow, ItemError> {
        match command {
            Command::Help(topic) => {
                out.write_all(help(topic.as_deref()).map_err(ItemError::Usage)?.as_bytes())?;
            }
            Command::Exit => return Ok(Flow::Exit),
            Command::Clear => out.write_all(b"\x1b[H\x1b[2J")?,
            Command::History(count) => return Ok(Flow::History(count)),
            Command::Consistency(None) => {
                writeln!(out, "Current consistency level is {}.", self.connection.consistency())?;
            }
            Command::Consistency(Some(level)) => {
                self.connection.set_consistency(level);
                self.tell(&format!("Consistency level set to {level}."));
            }
            Command::Expand(switch) => {
                show_or_set(&mut self.look.expanded, switch, "Expanded output", out)?;
            }
            Command::Elapsed(switch) => show_or_set(&mut self.elapsed, switch, "Elapsed time", out)?,
            Command::Tracing(switch) => show_or_set(self.connection.tracing(), switch, "Tracing", out)?,
            Command::Login(user, password) => {
                self.connection.log_in(user, password).await?;
            }
            Command::Paging(None) => match self.page_rows {
                None => writeln!(out, "Paging is off.")?,
                Some(rows) => writeln!(out, "Paging asks for {rows} rows at a time.")?,
            },
            Command::Paging(Some(paging)) => {
                self.page_rows = match paging {
                    Paging::Rows(rows) => Some(rows),
                    Paging::On => Some(PAGE_ROWS),
                    Paging::Off => None,
                }
            }
            Command::Capture(capture) => self.set_capture(capture, out)?,
            Command::Show(show) => self.show(show, out).await?,
            Command::Describe(what) => {
                let mut text = Vec::new();
                describe(&self.connection, &what, &mut text).await?;
                match &mut self.capture {
                    Some((_, file)) => file.write_all(&text)?,
                    None => out.write_all(&text)?,
                }
            }
            Command::Source(file) => return self.source(&file, out).await,
            Command::Copy(command) => copy(&self.connection, &command, out).await?,
        }
        Ok(Flow::Continue)
    }

    fn set_capture(&mut self, capture: Option<Capture>, out: &mut dyn Write) -> Result<(), ItemError> {
        match (capture, &self.capture) {
            (None, None) => writeln!(out, "Results go to the screen.")?,
            (None, Some((name, _))) => writeln!(out, "Results go to '{name}'.")?,
            (Some(Capture::Off), _) => self.capture = None,
            (Some(Capture::File(_)), Some((name, _))) => {
                let message = format!("results go to '{name}' already; CAPTURE OFF ends that");
                return Err(ItemError::Usage(message));
            }
            (Some(Capture::File(name)), None) => {
                let file = OpenOptions::new().create(true).append(true).open(expand_home(&name));
                let file = file.map_err(|error| ItemError::Usage(format!("cannot write {name}: {error}")))?;
                self.tell(&format!("Results go to '{name}' from now on."));
                self.capture = Some((name, file));
            }
        }
        Ok(())
    }

    async fn show(&mut self, show: Show, out: &mut dyn Write) -> Result<(), ItemError> {
        match show {
            Show::Version => {
                let topology = self.connection.topology().await?;
                let shell = env!("CARGO_PKG_VERSION");
                writeln!(out, "[helenus shell {shell} | Helenus {}]", topology.release)?;
            }
            Show::Host => {
                let topology = self.connection.topology().await?;
                writeln!(out, "Connected to cluster {} at {}.", topology.cluster_id, self.connection.host())?;
            }
            Show::Session(id) => self.show_trace(id, out).await?,
            Show::Replicas(token, keyspace) => {
                let replicas = self.connection.replicas(token, keyspace.as_deref()).await?;
                writeln!(out, "{}", replicas.join("  "))?;
            }
        }
        Ok(())
    }

    async fn source(&mut self, file: &str, out: &mut dyn Write) -> Result<Flow, ItemError> {
        if self.depth >= SOURCE_DEPTH_MAX {
            return Err(ItemError::Usage(format!("SOURCE is nested more than {SOURCE_DEPTH_MAX} deep")));
        }
        let text = std::fs::read_to_string(expand_home(file));
        let text = text.map_err(|error| ItemError::Usage(format!("cannot read {file}: {error}")))?;
        self.depth += 1;
        let outcome = Box::pin(self.source_text(file, &text, out)).await;
        self.depth -= 1;
        outcome
    }

    async fn source_text(&mut self, file: &str, text: &str, out: &mut dyn Write) -> Result<Flow, ItemError> {
        let mut rest = text;
        loop {
            let (item, after) = match input::next(rest) {
                Next::Item(item, after) => (item, after),
                Next::Unfinished(item) => (item, ""),
                Next::Nothing => return Ok(Flow::Continue),
            };
            rest = after;
            match self.run_item(item, out).await {
                Ok(Flow::Continue) => {}
                Ok(Flow::Exit) => return Ok(Flow::Exit),
                Ok(Flow::History(_)) => return Err(ItemError::Usage(format!("{file}: {HISTORY_OF_SCRIPT}"))),
                Err(error) => return Err(ItemError::Usage(format!("{file}: {}", explain(item, &error)))),
            }
        }
    }

    async fn run_statement(&mut self, statement: &str, out: &mut dyn Write) -> Result<(), ItemError> {
        let started = Instant::now();
        let mut paging_state = None;
        let (mut result, mut warnings, mut traces) = (Rows::default(), Vec::new(), Vec::new());
        loop {
            let executed = self.execute(statement, paging_state.take()).await?;
            for warning in executed.warnings {
                if !warnings.contains(&warning) {
                    warnings.push(warning);
                }
            }
            match executed.outcome {
                Outcome::Done(trace) => {
                    traces.extend(trace);
                    break;
                }
                Outcome::Rows(rows, next, trace) => {
                    traces.extend(trace);
                    if result.columns.is_empty() {
                        result.columns = rows.columns;
                    }
                    result.rows.extend(rows.rows);
                    paging_state = next;
                }
            }
            if paging_state.is_none() {
                match &mut self.capture {
                    Some((_, file)) => {
                        let look = Look { expanded: self.look.expanded, ..Look::default() };
                        let mut file = io::BufWriter::new(file);
                        write_rows(&mut file, &result, self.format, look)?;
                        file.flush()?;
                    }
                    None => write_rows(out, &result, self.format, self.look)?,
                }
                break;
            }
        }
        warnings.iter().for_each(|warning| terminal::error(&format!("Warning: {warning}")));
        for trace in traces {
            self.show_trace(trace, out).await?;
        }
        if self.elapsed {
            terminal::error(&format!("({:.1} ms elapsed)", started.elapsed().as_secs_f64() * 1e3));
        }
        Ok(())
    }

    /// Shows a trace, which is written after its statement is answered: it is waited for.
    async fn show_trace(&mut self, id: u128, out: &mut dyn Write) -> Result<(), ItemError> {
        let id = Value::Uuid(id);
        let whole = format!("SELECT duration FROM system_traces.sessions WHERE session_id = {id}");
        let events =
            format!("SELECT activity, source, source_elapsed FROM system_traces.events WHERE session_id = {id}");
        let traces = std::mem::take(self.connection.tracing());
        let shown = async {
            for _ in 0..TRACE_TRIES {
                let session = self.connection.execute(&whole, None, None, None).await?.outcome;
                if matches!(&session, Outcome::Rows(rows, ..) if !rows.rows.is_empty()) {
                    let events = self.connection.execute(&events, None, None, None).await?.outcome;
                    return Ok::<_, ConnectionError>(Some(events));
                }
                tokio::time::sleep(TRACE_PAUSE).await;
            }
            Ok(None)
        };
        let shown = shown.await;
        *self.connection.tracing() = traces;
        match shown? {
            Some(Outcome::Rows(rows, ..)) => {
                writeln!(out, "Trace {id}:")?;
                write_rows(out, &rows, self.format, self.look)?;
            }
            _ => writeln!(out, "There is no trace {id}.")?,
        }
        Ok(())
    }

    /// Executes one page of a statement. The driver connects again by itself; when no node can be reached, so that
    /// nothing was done, the statement is tried again for a while.
    async fn execute(&self, statement: &str, resume: Option<bytes::Bytes>) -> Result<Executed, ConnectionError> {
        let mut made = 0;
        loop {
            // Without paging an answer has as many rows as fit into one.
            let page_rows = Some(self.page_rows.unwrap_or(u32::MAX));
            match self.connection.execute(statement, page_rows, resume.clone(), None).await {
                Err(error) if error.is_lost_connection() && made < RECONNECTS_MAX => {
                    made += 1;
                    terminal::error(&format!("{error}; trying again ({made} of {RECONNECTS_MAX})"));
                    tokio::time::sleep(RECONNECT_PAUSE).await;
                }
                outcome => return outcome,
            }
        }
    }
}

/// What is said of HISTORY in a script.
const HISTORY_OF_SCRIPT: &str = "HISTORY is for the terminal: a script has none";

/// Shows a switch, or sets it.
fn show_or_set(state: &mut bool, switch: Option<bool>, name: &str, out: &mut dyn Write) -> io::Result<()> {
    match switch {
        Some(switch) => {
            *state = switch;
            Ok(())
        }
        None => writeln!(out, "{name} is {}.", if *state { "on" } else { "off" }),
    }
}

/// The message of an error; if it names a place, with the line of the statement and a caret under the place.
fn explain(item: &str, error: &ItemError) -> String {
    let place = match error {
        ItemError::Connection(cause) => cause.request().and_then(place),
        _ => None,
    };
    let Some((line, column)) = place else { return error.to_string() };
    let Some(text) = item.lines().nth((line as usize).saturating_sub(1)) else { return error.to_string() };
    // Tabs before the place are kept, so that the caret stands right however wide they are.
    let before = text.chars().take((column as usize).saturating_sub(1));
    let indent: String = before.map(|character| if character == '\t' { '\t' } else { ' ' }).collect();
    format!("{error}\n  {text}\n  {indent}^")
}

/// The line and column, from 1, that an error is about: its own, or those that its message ends in, as `(line 1:5)`.
fn place(error: &RequestError) -> Option<(u32, u32)> {
    let message = match error {
        RequestError::Syntax { line, column, .. } => return Some((*line, *column)),
        RequestError::Invalid(message)
        | RequestError::NotFound(message)
        | RequestError::Config(message)
        | RequestError::Unauthorized(message)
        | RequestError::FunctionFailure { message, .. } => message,
        _ => return None,
    };
    let (line, column) = message.strip_suffix(')')?.rsplit_once("(line ")?.1.split_once(':')?;
    Some((line.parse().ok()?, column.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use client::ClientError;

    fn explained(item: &str, error: RequestError) -> String {
        explain(item, &ItemError::Connection(ConnectionError::Client(ClientError::Request(error))))
    }

    #[test]
    fn errors_show_the_line_with_a_caret_under_the_place() {
        let syntax = RequestError::Syntax { line: 2, column: 7, message: "no viable alternative".into() };
        let shown = explained("SELECT *\n\tFROM ä t", syntax);
        assert!(shown.ends_with("\n  \tFROM ä t\n  \t     ^"), "{shown}");
        let invalid = RequestError::Invalid("Undefined column name x (line 1:8)".into());
        assert!(explained("SELECT x FROM t", invalid).ends_with("\n  SELECT x FROM t\n         ^"));
        for message in ["no place", "odd (line 1:x)", "far (line 9:1)"] {
            assert_eq!(explained("SELECT", RequestError::NotFound(message.into())), message);
        }
    }

    #[test]
    fn switches_are_shown_and_set() {
        let (mut state, mut out) = (false, Vec::new());
        show_or_set(&mut state, Some(true), "Paging", &mut out).unwrap();
        show_or_set(&mut state, None, "Paging", &mut out).unwrap();
        assert_eq!((state, String::from_utf8(out).unwrap().as_str()), (true, "Paging is on.\n"));
    }
}
