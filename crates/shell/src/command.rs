//! What a person can type besides CQL: the shell's own commands, parsed.
//!
//! A command is recognised by its first word, in any case; everything else is a CQL statement and goes
//! to the server as it is. A command that exists in cqlsh and not here is refused by name.

use model::Consistency;
use thiserror::Error;

/// A command of the shell.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Command {
    /// `HELP [topic]`.
    Help,
    /// `EXIT` or `QUIT`.
    Exit,
    /// `CONSISTENCY [level]`: shows or sets.
    Consistency(Option<Consistency>),
    /// `DESCRIBE ...`.
    Describe(Describe),
    /// `EXPAND [ON|OFF]`: rows one below the other.
    Expand(Option<bool>),
    /// `PAGING [ON|OFF|rows]`: rows asked for at a time.
    Paging(Option<Paging>),
    /// `SOURCE 'file'`.
    Source(String),
    /// `COPY table [(columns)] FROM 'file' [WITH ...]`.
    Copy(Copy),
    /// `CLEAR` or `CLS`.
    Clear,
}

/// What to describe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Describe {
    /// Nodes and their tokens.
    Cluster,
    /// Names of all keyspaces.
    Keyspaces,
    /// Names of the tables of the current or all keyspaces.
    Tables,
    /// CREATE statements of everything.
    Schema,
    /// CREATE statements of one keyspace; the current one when not named.
    Keyspace(Option<String>),
    /// CREATE statement of one table, with its keyspace if named.
    Table(Option<String>, String),
    /// A keyspace or a table, whichever has the name.
    Name(String),
}

/// A setting of PAGING.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Paging {
    /// This many rows at a time.
    Rows(u32),
    /// Everything at once.
    Off,
    /// The default number of rows at a time.
    On,
}

/// `COPY table [(columns)] FROM 'file' [WITH ...]`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Copy {
    /// The keyspace, if named.
    pub keyspace: Option<String>,
    /// The table.
    pub table: String,
    /// The columns in the order of the file; empty when not named.
    pub columns: Vec<String>,
    /// The file, or `None` for STDIN.
    pub file: Option<String>,
    /// WITH options.
    pub options: CopyOptions,
}

/// The options of COPY FROM that are honoured.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CopyOptions {
    /// True when the first line names the columns.
    pub header: bool,
    /// Between fields.
    pub delimiter: u8,
    /// Around fields that hold a delimiter, quote or line break.
    pub quote: u8,
    /// The text of a field that stands for null.
    pub null: String,
    /// Data lines to pass over at the start.
    pub skip_rows: u64,
    /// Data lines to read at most.
    pub max_rows: Option<u64>,
    /// Time to live of the rows in seconds.
    pub ttl: Option<u32>,
    /// Rows on their way to the cluster at once.
    pub in_flight: usize,
    /// Rows that may fail before COPY gives up.
    pub max_errors: u64,
}

impl Default for CopyOptions {
    fn default() -> CopyOptions {
        CopyOptions {
            header: false,
            delimiter: b',',
            quote: b'"',
            null: String::new(),
            skip_rows: 0,
            max_rows: None,
            ttl: None,
            in_flight: 512,
            max_errors: 1_000,
        }
    }
}

/// Why a command is not one.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub(crate) struct CommandError(String);

fn wrong(message: impl Into<String>) -> CommandError {
    CommandError(message.into())
}

/// Parses `text`, without its final semicolon, as a command; `None` when it is CQL.
///
/// # Errors
/// When it is a command and not well formed, or a command of cqlsh that is not supported.
pub(crate) fn parse(text: &str) -> Result<Option<Command>, CommandError> {
    let tokens = tokens(text)?;
    let Some(first) = tokens.first().and_then(Token::word) else { return Ok(None) };
    let rest = &tokens[1..];
    let command = match first.to_ascii_uppercase().as_str() {
        "HELP" | "?" => Command::Help,
        "EXIT" | "QUIT" => nothing_more(rest, Command::Exit)?,
        "CLEAR" | "CLS" => nothing_more(rest, Command::Clear)?,
        "CONSISTENCY" => Command::Consistency(match words(rest)?.as_slice() {
            [] => None,
            [level] => Some(level.parse().map_err(CommandError)?),
            _ => return Err(wrong("CONSISTENCY takes one level, such as QUORUM")),
        }),
        "DESCRIBE" | "DESC" => Command::Describe(describe(&words(rest)?)?),
        "EXPAND" => Command::Expand(match words(rest)?.as_slice() {
            [] => None,
            [switch] => Some(on_or_off(switch)?),
            _ => return Err(wrong("EXPAND takes ON or OFF")),
        }),
        "PAGING" => Command::Paging(match words(rest)?.as_slice() {
            [] => None,
            [number] if number.parse::<u32>().is_ok_and(|rows| rows > 0) => number.parse().ok().map(Paging::Rows),
            [switch] => Some(if on_or_off(switch)? { Paging::On } else { Paging::Off }),
            _ => return Err(wrong("PAGING takes ON, OFF or a number of rows")),
        }),
        "SOURCE" => match rest {
            [Token::Quoted(file)] => Command::Source(file.clone()),
            _ => return Err(wrong("SOURCE takes a file name in single quotes")),
        },
        "COPY" => Command::Copy(copy(rest)?),
        later @ ("TRACING" | "CAPTURE" | "SERIAL" | "SHOW" | "LOGIN" | "UNICODE" | "ELAPSED" | "HISTORY") => {
            return Err(wrong(format!("the command {later} is not supported yet; HELP lists those that are")));
        }
        _ => return Ok(None),
    };
    Ok(Some(command))
}

/// True when `text` starts with a command word, so that a line is complete without a semicolon.
#[must_use]
pub(crate) fn is_command(text: &str) -> bool {
    !matches!(parse(text), Ok(None))
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    Identifier(String),
    Quoted(String),
    Symbol(char),
}

impl Token {
    fn word(&self) -> Option<&str> {
        match self {
            Token::Word(word) => Some(word),
            _ => None,
        }
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, CommandError> {
    let mut tokens = Vec::new();
    let mut rest = text.chars().peekable();
    while let Some(character) = rest.next() {
        match character {
            _ if character.is_whitespace() => {}
            quote @ ('\'' | '"') => {
                let mut content = String::new();
                loop {
                    match rest.next() {
                        Some(end) if end == quote && rest.peek() == Some(&quote) => {
                            rest.next();
                            content.push(quote);
                        }
                        Some(end) if end == quote => break,
                        Some(inside) => content.push(inside),
                        // CQL has a better message for this than the shell.
                        None => return Ok(Vec::new()),
                    }
                }
                tokens.push(if quote == '"' { Token::Identifier(content) } else { Token::Quoted(content) });
            }
            _ if character.is_alphanumeric() || "_-?".contains(character) => {
                let mut word = String::from(character);
                while let Some(next) = rest.next_if(|next| next.is_alphanumeric() || "_-".contains(*next)) {
                    word.push(next);
                }
                tokens.push(Token::Word(word));
            }
            symbol => tokens.push(Token::Symbol(symbol)),
        }
    }
    Ok(tokens)
}

fn nothing_more(rest: &[Token], command: Command) -> Result<Command, CommandError> {
    if rest.is_empty() { Ok(command) } else { Err(wrong("nothing may follow this command")) }
}

/// Names and words; a name in double quotes keeps its case, another is lower case.
fn words(tokens: &[Token]) -> Result<Vec<String>, CommandError> {
    let mut words: Vec<String> = Vec::new();
    let mut joined = false;
    for token in tokens {
        match token {
            Token::Word(word) if joined => {
                words.last_mut().expect("a dot follows a word").push_str(&word.to_lowercase())
            }
            Token::Identifier(name) if joined => words.last_mut().expect("a dot follows a word").push_str(name),
            Token::Word(word) => words.push(word.to_lowercase()),
            Token::Identifier(name) | Token::Quoted(name) => words.push(name.clone()),
            Token::Symbol('.') if !words.is_empty() => {
                words.last_mut().expect("just checked").push('.');
                joined = true;
                continue;
            }
            Token::Symbol(symbol) => return Err(wrong(format!("'{symbol}' is not expected here"))),
        }
        joined = false;
    }
    Ok(words)
}

fn on_or_off(word: &str) -> Result<bool, CommandError> {
    match word {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(wrong(format!("'{word}' is neither ON nor OFF"))),
    }
}

fn describe(words: &[String]) -> Result<Describe, CommandError> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let table = |name: &str| match name.split_once('.') {
        Some((keyspace, table)) => Describe::Table(Some(keyspace.to_owned()), table.to_owned()),
        None => Describe::Table(None, name.to_owned()),
    };
    match words.as_slice() {
        ["cluster"] => Ok(Describe::Cluster),
        ["keyspaces"] => Ok(Describe::Keyspaces),
        ["tables"] => Ok(Describe::Tables),
        ["schema"] | ["full", "schema"] => Ok(Describe::Schema),
        ["keyspace"] => Ok(Describe::Keyspace(None)),
        ["keyspace", name] => Ok(Describe::Keyspace(Some((*name).to_owned()))),
        ["table", name] => Ok(table(name)),
        [name] if name.contains('.') => Ok(table(name)),
        [name] => Ok(Describe::Name((*name).to_owned())),
        _ => Err(wrong("DESCRIBE takes CLUSTER, KEYSPACES, TABLES, SCHEMA, KEYSPACE [name], TABLE name, or a name")),
    }
}

fn copy(tokens: &[Token]) -> Result<Copy, CommandError> {
    const FORM: &str = "the form is COPY [keyspace.]table [(columns)] FROM 'file'|STDIN [WITH option = value AND ...]";
    let name = |token: &Token| match token {
        Token::Word(word) => Ok(word.to_lowercase()),
        Token::Identifier(name) => Ok(name.clone()),
        _ => Err(wrong(FORM)),
    };
    let (mut at, mut keyspace) = (1, None);
    let mut table = name(tokens.first().ok_or_else(|| wrong(FORM))?)?;
    if tokens.get(at) == Some(&Token::Symbol('.')) {
        keyspace = Some(table);
        table = name(tokens.get(at + 1).ok_or_else(|| wrong(FORM))?)?;
        at += 2;
    }
    let mut columns = Vec::new();
    if tokens.get(at) == Some(&Token::Symbol('(')) {
        loop {
            columns.push(name(tokens.get(at + 1).ok_or_else(|| wrong(FORM))?)?);
            at += 2;
            match tokens.get(at) {
                Some(Token::Symbol(',')) => {}
                Some(Token::Symbol(')')) => break,
                _ => return Err(wrong(FORM)),
            }
        }
        at += 1;
    }
    match tokens.get(at).and_then(Token::word).map(str::to_ascii_uppercase).as_deref() {
        Some("FROM") => {}
        Some("TO") => return Err(wrong("COPY ... TO is not supported yet: it needs reads of whole tables")),
        _ => return Err(wrong(FORM)),
    }
    let file = match tokens.get(at + 1) {
        Some(Token::Quoted(file)) => Some(file.clone()),
        Some(Token::Word(word)) if word.eq_ignore_ascii_case("STDIN") => None,
        _ => return Err(wrong(FORM)),
    };
    Ok(Copy { keyspace, table, columns, file, options: copy_options(&tokens[at + 2..])? })
}

fn copy_options(tokens: &[Token]) -> Result<CopyOptions, CommandError> {
    let mut options = CopyOptions::default();
    let mut rest = tokens;
    let mut expected = "WITH";
    while let Some((first, after)) = rest.split_first() {
        if !first.word().is_some_and(|word| word.eq_ignore_ascii_case(expected)) {
            return Err(wrong(format!("expected {expected} before the options of COPY")));
        }
        let [Token::Word(name), Token::Symbol('='), value, after @ ..] = after else {
            return Err(wrong("an option of COPY has the form NAME = value"));
        };
        let (Token::Word(value) | Token::Quoted(value)) = value else {
            return Err(wrong(format!("the option {name} needs a value")));
        };
        copy_option(&mut options, &name.to_ascii_uppercase(), value)?;
        (rest, expected) = (after, "AND");
    }
    Ok(options)
}

fn copy_option(options: &mut CopyOptions, name: &str, value: &str) -> Result<(), CommandError> {
    fn number<T: std::str::FromStr>(name: &str, value: &str) -> Result<T, CommandError> {
        value.parse().map_err(|_| wrong(format!("the option {name} takes a number, not '{value}'")))
    }
    let byte = || match value.as_bytes() {
        [byte] if byte.is_ascii() => Ok(*byte),
        b"\\t" => Ok(b'\t'),
        _ => Err(wrong(format!("the option {name} takes one ASCII character, not '{value}'"))),
    };
    match name {
        "HEADER" => {
            options.header = match value.to_ascii_lowercase().as_str() {
                "true" | "yes" | "on" | "1" => true,
                "false" | "no" | "off" | "0" => false,
                _ => return Err(wrong(format!("the option HEADER takes TRUE or FALSE, not '{value}'"))),
            }
        }
        "DELIMITER" => options.delimiter = byte()?,
        "QUOTE" => options.quote = byte()?,
        "NULL" | "NULLVAL" => options.null = value.to_owned(),
        "SKIPROWS" => options.skip_rows = number(name, value)?,
        "MAXROWS" => options.max_rows = Some(number(name, value)?),
        "TTL" => options.ttl = Some(number(name, value)?),
        "MAXREQUESTS" => {
            options.in_flight = number(name, value)?;
            if !(1..=65_536).contains(&options.in_flight) {
                return Err(wrong("the option MAXREQUESTS takes a number from 1 to 65536"));
            }
        }
        "MAXINSERTERRORS" | "MAXPARSEERRORS" => options.max_errors = number(name, value)?,
        _ => {
            return Err(wrong(format!(
                "the option {name} of COPY FROM is not supported; there are HEADER, DELIMITER, QUOTE, NULL, SKIPROWS, \
                 MAXROWS, TTL, MAXREQUESTS, MAXINSERTERRORS"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(text: &str) -> Command {
        parse(text).unwrap().unwrap()
    }

    #[test]
    fn commands_are_recognised_in_any_case_and_cql_is_left_alone() {
        assert_eq!(parsed("exit"), Command::Exit);
        assert_eq!(parsed("Consistency quorum"), Command::Consistency(Some(Consistency::Quorum)));
        assert_eq!(parsed("PAGING 50"), Command::Paging(Some(Paging::Rows(50))));
        assert_eq!(parsed("expand ON"), Command::Expand(Some(true)));
        assert_eq!(parsed("SOURCE 'a b.cql'"), Command::Source("a b.cql".into()));
        for cql in ["SELECT * FROM help WHERE k = 'exit'", "INSERT INTO t (k) VALUES ('", "", "'x'"] {
            assert_eq!(parse(cql), Ok(None), "{cql}");
        }
    }

    #[test]
    fn describe_takes_names_and_kinds() {
        assert_eq!(parsed("desc tables"), Command::Describe(Describe::Tables));
        assert_eq!(
            parsed("DESCRIBE TABLE ks.\"T\""),
            Command::Describe(Describe::Table(Some("ks".into()), "T".into()))
        );
        assert_eq!(parsed("describe Demo"), Command::Describe(Describe::Name("demo".into())));
        assert!(parse("describe a b c").is_err());
    }

    #[test]
    fn copy_reads_names_columns_and_options() {
        let Command::Copy(copy) = parsed(
            "COPY demo.flights (origin, \"Delay\") FROM 'f.csv' WITH HEADER = true AND DELIMITER = '|' AND NULL='n/a'",
        ) else {
            panic!("not a COPY");
        };
        assert_eq!((copy.keyspace.as_deref(), copy.table.as_str()), (Some("demo"), "flights"));
        assert_eq!(copy.columns, ["origin", "Delay"]);
        assert_eq!(copy.file.as_deref(), Some("f.csv"));
        assert_eq!((copy.options.header, copy.options.delimiter, copy.options.null.as_str()), (true, b'|', "n/a"));
    }

    #[test]
    fn what_is_not_supported_is_named() {
        for (text, word) in [
            ("TRACING ON", "TRACING"),
            ("COPY t TO 'x'", "TO is not supported"),
            ("COPY t FROM 'x' WITH INGESTRATE = 1", "INGESTRATE"),
            ("CONSISTENCY EACH_QUORUM", "EACH_QUORUM"),
            ("PAGING maybe", "maybe"),
        ] {
            let message = parse(text).unwrap_err().to_string();
            assert!(message.contains(word), "{text}: {message}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_command_or_cql_or_an_error(text: String) {
            let _ = parse(&text);
        }

        #[test]
        fn any_tail_of_copy_is_an_error_or_a_copy(tail in "[a-z(),.'= ]{0,40}") {
            let _ = parse(&format!("COPY t {tail}"));
        }
    }
}
