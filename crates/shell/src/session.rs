//! The state of a shell (keyspace, consistency, paging, form of output) and the execution of commands and
//! statements. Knows nothing of terminals.

use crate::command::{self, Command, Paging};
use crate::connection::{Connection, ConnectionError, Outcome};
use crate::copy::{CopyError, copy_from};
use crate::describe::describe;
use crate::format::{Format, Rows, write_rows};
use crate::input::{self, Next};
use crate::{EXIT_FAILED, EXIT_OK, ShellOptions, terminal};
use model::RequestError;
use std::io::{self, Write};
use thiserror::Error;

/// Rows asked for at a time unless PAGING says otherwise.
const PAGE_ROWS: u32 = 1_000;

/// SOURCE within SOURCE goes this deep.
const SOURCE_DEPTH_MAX: usize = 16;

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
}

/// A shell's state.
pub(crate) struct Session {
    connection: Connection,
    /// Rows asked for at a time; `None` for as many as the server gives.
    page_rows: Option<u32>,
    format: Format,
    expanded: bool,
    depth: usize,
}

impl Session {
    /// Connects as the options say.
    ///
    /// # Errors
    /// When the cluster cannot be reached.
    pub(crate) async fn connect(options: &ShellOptions) -> Result<Session, ConnectionError> {
        let connection = Connection::connect(&options.host, options.keyspace.as_deref()).await?;
        Ok(Session { connection, page_rows: Some(PAGE_ROWS), format: options.format, expanded: false, depth: 0 })
    }

    /// The connection to the cluster.
    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
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
                Err(error) => {
                    terminal::error(&explain(item, &error));
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
            Command::Help => out.write_all(HELP.as_bytes())?,
            Command::Exit => return Ok(Flow::Exit),
            Command::Clear => out.write_all(b"\x1b[H\x1b[2J")?,
            Command::Consistency(level) => {
                self.connection.set_consistency(level.unwrap_or(self.connection.consistency()));
                if level.is_none() {
                    writeln!(out, "Current consistency level is {}.", self.connection.consistency())?;
                }
            }
            Command::Expand(switch) => {
                self.expanded = switch.unwrap_or(self.expanded);
                if switch.is_none() {
                    writeln!(out, "Expanded output is {}.", if self.expanded { "on" } else { "off" })?;
                }
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
            Command::Describe(what) => describe(&self.connection, &what, out).await?,
            Command::Source(file) => return self.source(&file, out).await,
            Command::Copy(copy) => {
                copy_from(&self.connection, &copy, out).await?;
            }
        }
        Ok(Flow::Continue)
    }

    async fn source(&mut self, file: &str, out: &mut dyn Write) -> Result<Flow, ItemError> {
        if self.depth >= SOURCE_DEPTH_MAX {
            return Err(ItemError::Usage(format!("SOURCE is nested more than {SOURCE_DEPTH_MAX} deep")));
        }
        let text = std::fs::read_to_string(file);
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
                Err(error) => return Err(ItemError::Usage(format!("{file}: {}", explain(item, &error)))),
            }
        }
    }

    async fn run_statement(&mut self, statement: &str, out: &mut dyn Write) -> Result<(), ItemError> {
        let mut paging_state = None;
        let mut result = Rows::default();
        loop {
            match self.connection.execute(statement, self.page_rows, paging_state.take()).await? {
                Outcome::Done => return Ok(()),
                Outcome::Rows(rows, next) => {
                    if result.columns.is_empty() {
                        result.columns = rows.columns;
                    }
                    result.rows.extend(rows.rows);
                    paging_state = next;
                }
            }
            if paging_state.is_none() {
                return Ok(write_rows(out, &result, self.format, self.expanded)?);
            }
        }
    }
}

/// The message of an error; for a syntax error with the line of the statement and a caret under the place.
pub(crate) fn explain(item: &str, error: &ItemError) -> String {
    let ItemError::Connection(cause) = error else { return error.to_string() };
    let Some(RequestError::Syntax { line, column, .. }) = cause.request() else { return error.to_string() };
    let Some(text) = item.lines().nth((*line as usize).saturating_sub(1)) else { return error.to_string() };
    // Tabs before the place are kept, so that the caret stands right however wide they are.
    let before = text.chars().take((*column as usize).saturating_sub(1));
    let indent: String = before.map(|character| if character == '\t' { '\t' } else { ' ' }).collect();
    format!("{error}\n  {text}\n  {indent}^")
}

const HELP: &str = "\
Statements of CQL end with a semicolon. Commands of the shell:
  CONSISTENCY [level]        show or set how many replicas must answer: ONE, TWO, THREE, QUORUM, ALL
  COPY t [(columns)] FROM 'file'|STDIN [WITH HEADER = TRUE AND ...]
                             load a CSV file; options: HEADER, DELIMITER, QUOTE, NULL, SKIPROWS, MAXROWS, TTL,
                             MAXREQUESTS, MAXINSERTERRORS
  DESCRIBE CLUSTER | KEYSPACES | TABLES | SCHEMA | KEYSPACE [name] | TABLE name | name
  EXPAND [ON|OFF]            rows below each other
  PAGING [ON|OFF|rows]       rows asked for at a time
  SOURCE 'file'              execute a file
  CLEAR, HELP, EXIT
";
