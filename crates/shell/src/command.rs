//! What a person can type besides CQL: the shell's own commands, parsed.
//!
//! A command is recognised by its first word, in any case; everything else is a CQL statement and goes to the server
//! as it is. A command that exists in cqlsh and needs what the server does not have is refused by name.

use crate::copy::{Copy, Direction};
use crate::describe::Describe;
use model::{Consistency, CqlType, Value};
use thiserror::Error;

/// A command of the shell.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Command {
    /// `HELP [topic]`.
    Help(Option<String>),
    /// `EXIT` or `QUIT`.
    Exit,
    /// `CONSISTENCY [level]`: shows or sets.
    Consistency(Option<Consistency>),
    /// `SERIAL CONSISTENCY [level]`: shows or sets.
    SerialConsistency(Option<Consistency>),
    /// `DESCRIBE ...`.
    Describe(Describe),
    /// `EXPAND [ON|OFF]`: rows one below the other.
    Expand(Option<bool>),
    /// `ELAPSED [ON|OFF]`: how long each statement took.
    Elapsed(Option<bool>),
    /// `PAGING [ON|OFF|rows]`: rows asked for at a time.
    Paging(Option<Paging>),
    /// `TRACING [ON|OFF]`.
    Tracing(Option<bool>),
    /// `LOGIN name 'password'`.
    Login(String, String),
    /// `CAPTURE ['file'|OFF]`: results go to a file.
    Capture(Option<Capture>),
    /// `SHOW ...`.
    Show(Show),
    /// `HISTORY [n]`: what was typed before.
    History(Option<usize>),
    /// `SOURCE 'file'`.
    Source(String),
    /// `COPY table [(columns)] FROM|TO 'file' [WITH ...]`.
    Copy(Copy),
    /// `CLEAR` or `CLS`.
    Clear,
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

/// A setting of CAPTURE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Capture {
    /// Results go to the end of this file.
    File(String),
    /// They no longer do.
    Off,
}

/// What SHOW shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Show {
    /// The versions of shell and server.
    Version,
    /// The node that was connected to.
    Host,
    /// The nodes that hold a token in a keyspace.
    Replicas(i64, Option<String>),
    /// The trace of this id.
    Session(u128),
}

/// Why a command is not one.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub(crate) struct CommandError(String);

fn wrong(message: impl Into<String>) -> CommandError {
    CommandError(message.into())
}

/// The first words of commands.
pub(crate) const WORDS: [&str; 20] = [
    "?",
    "CAPTURE",
    "CLEAR",
    "CLS",
    "CONSISTENCY",
    "COPY",
    "DESC",
    "DESCRIBE",
    "ELAPSED",
    "EXIT",
    "EXPAND",
    "HELP",
    "HISTORY",
    "LOGIN",
    "PAGING",
    "QUIT",
    "SERIAL",
    "SHOW",
    "SOURCE",
    "TRACING",
];

/// The first word of `text`, in upper case.
pub(crate) fn first_word(text: &str) -> String {
    let text = text.trim_start();
    let end = text.find(|character: char| !(character.is_alphanumeric() || "_?".contains(character)));
    text[..end.unwrap_or(text.len())].to_ascii_uppercase()
}

/// True when `text` starts with a command word, so that a line is complete without a semicolon.
#[must_use]
pub(crate) fn is_command(text: &str) -> bool {
    WORDS.contains(&first_word(text).as_str())
}

/// Parses `text`, without its final semicolon, as a command; `None` when it is CQL.
///
/// # Errors
/// When it is a command and not well formed, or one that is not supported.
pub(crate) fn parse(text: &str) -> Result<Option<Command>, CommandError> {
    let first = first_word(text);
    if !WORDS.contains(&first.as_str()) {
        return Ok(None);
    }
    let tokens = tokens(text)?;
    let rest = tokens.get(1..).unwrap_or_default();
    let command = match first.as_str() {
        "HELP" | "?" => help(rest)?,
        "EXIT" | "QUIT" => nothing_more(rest, Command::Exit)?,
        "CLEAR" | "CLS" => nothing_more(rest, Command::Clear)?,
        "CONSISTENCY" => Command::Consistency(match words(rest)?.as_slice() {
            [] => None,
            [level] => Some(level.parse().map_err(CommandError)?),
            _ => return Err(wrong("CONSISTENCY takes one level, such as QUORUM")),
        }),
        "DESCRIBE" | "DESC" => Command::Describe(match rest {
            [what] if what.is("cluster") => Describe::Cluster,
            // What it may be followed by is for the server to say.
            _ => Describe::Statement(text.trim().to_owned()),
        }),
        "EXPAND" => Command::Expand(switch("EXPAND", rest)?),
        "ELAPSED" => Command::Elapsed(switch("ELAPSED", rest)?),
        "TRACING" => Command::Tracing(switch("TRACING", rest)?),
        "PAGING" => paging(rest)?,
        "SOURCE" => match rest {
            [Token::Quoted(file)] => Command::Source(file.clone()),
            _ => return Err(wrong("SOURCE takes a file name in single quotes")),
        },
        "CAPTURE" => match rest {
            [] => Command::Capture(None),
            [Token::Quoted(file)] => Command::Capture(Some(Capture::File(file.clone()))),
            [Token::Word(word)] if word.eq_ignore_ascii_case("off") => Command::Capture(Some(Capture::Off)),
            _ => return Err(wrong("CAPTURE takes a file name in single quotes, or OFF")),
        },
        "SHOW" => Command::Show(show(rest)?),
        "HISTORY" => match words(rest)?.as_slice() {
            [] => Command::History(None),
            [count] => Command::History(Some(count.parse().map_err(|_| wrong("HISTORY takes a number of entries"))?)),
            _ => return Err(wrong("HISTORY takes a number of entries")),
        },
        "COPY" => Command::Copy(copy(rest)?),
        "SERIAL" => Command::SerialConsistency(serial_consistency(rest)?),
        "LOGIN" => match rest {
            [user, Token::Quoted(password)] if user.name().is_some() => {
                Command::Login(user.name().unwrap_or_default(), password.clone())
            }
            _ => return Err(wrong("LOGIN takes a name, and a password in single quotes")),
        },
        _ => return Ok(None),
    };
    Ok(Some(command))
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

    /// True for this word, in any case.
    fn is(&self, word: &str) -> bool {
        self.word().is_some_and(|own| own.eq_ignore_ascii_case(word))
    }

    /// The name that it is: in double quotes it keeps its case, else it is in lower case.
    fn name(&self) -> Option<String> {
        match self {
            Token::Word(word) => Some(word.to_lowercase()),
            Token::Identifier(name) => Some(name.clone()),
            Token::Quoted(_) | Token::Symbol(_) => None,
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
                        None => return Err(wrong(format!("a {quote} is not closed"))),
                    }
                }
                tokens.push(if quote == '"' { Token::Identifier(content) } else { Token::Quoted(content) });
            }
            _ if character.is_alphanumeric() || "_-?".contains(character) => {
                let mut word = String::from(character);
                while let Some(next) = rest.next_if(|next| next.is_alphanumeric() || "_-".contains(*next)) {
                    word.push(next);
                }
                // A number may have a fraction.
                if word.chars().all(|digit| digit.is_ascii_digit()) && rest.next_if_eq(&'.').is_some() {
                    word.push('.');
                    while let Some(next) = rest.next_if(char::is_ascii_digit) {
                        word.push(next);
                    }
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

/// Words only, in lower case.
fn words(tokens: &[Token]) -> Result<Vec<String>, CommandError> {
    let word = |token: &Token| match token {
        Token::Word(word) => Ok(word.to_lowercase()),
        Token::Identifier(name) | Token::Quoted(name) => Ok(name.clone()),
        Token::Symbol(symbol) => Err(wrong(format!("'{symbol}' is not expected here"))),
    };
    tokens.iter().map(word).collect()
}

fn switch(command: &str, tokens: &[Token]) -> Result<Option<bool>, CommandError> {
    match words(tokens)?.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => Ok(None),
        ["on"] => Ok(Some(true)),
        ["off"] => Ok(Some(false)),
        other => Err(wrong(format!("{command} takes ON or OFF, not '{}'", other.join(" ")))),
    }
}

fn help(tokens: &[Token]) -> Result<Command, CommandError> {
    let topic = words(tokens)?.join(" ");
    Ok(Command::Help(Some(topic).filter(|topic| !topic.is_empty())))
}

fn serial_consistency(tokens: &[Token]) -> Result<Option<Consistency>, CommandError> {
    let wrong = || wrong("SERIAL CONSISTENCY takes SERIAL or LOCAL_SERIAL");
    match words(tokens)?.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["consistency"] => Ok(None),
        ["consistency", level] => {
            let level = level.parse().ok().filter(|level: &Consistency| level.is_serial());
            level.map(Some).ok_or_else(wrong)
        }
        _ => Err(wrong()),
    }
}

fn paging(tokens: &[Token]) -> Result<Command, CommandError> {
    let words = words(tokens)?;
    Ok(Command::Paging(match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => None,
        ["on"] => Some(Paging::On),
        ["off"] => Some(Paging::Off),
        [number] if number.parse::<u32>().is_ok_and(|rows| rows > 0) => number.parse().ok().map(Paging::Rows),
        other => {
            return Err(wrong(format!("PAGING takes ON, OFF or a number of rows, not '{}'", other.join(" "))));
        }
    }))
}

fn show(tokens: &[Token]) -> Result<Show, CommandError> {
    const FORM: &str = "SHOW takes VERSION, HOST or REPLICAS token [keyspace]";
    match tokens {
        [what] if what.is("version") => Ok(Show::Version),
        [what] if what.is("host") => Ok(Show::Host),
        [what, token, keyspace @ ..] if what.is("replicas") && keyspace.len() <= 1 => {
            let token = token.word().and_then(|token| token.parse().ok());
            let token = token.ok_or_else(|| wrong("SHOW REPLICAS takes a token, a 64-bit integer"))?;
            let keyspace = keyspace.first().map(|name| name.name().ok_or_else(|| wrong(FORM))).transpose()?;
            Ok(Show::Replicas(token, keyspace))
        }
        [what, session] if what.is("session") => {
            let id = session.word().and_then(|word| Value::parse(&CqlType::Uuid, word).ok());
            match id {
                Some(Value::Uuid(id)) => Ok(Show::Session(id)),
                _ => Err(wrong("SHOW SESSION takes the id of a trace")),
            }
        }
        _ => Err(wrong(FORM)),
    }
}

fn copy(tokens: &[Token]) -> Result<Copy, CommandError> {
    const FORM: &str = "the form is COPY [keyspace.]table [(columns)] FROM|TO 'file'|STDIN|STDOUT [WITH option = value \
                        AND ...]";
    let form = || wrong(FORM);
    let name = |token: Option<&Token>| token.and_then(Token::name).ok_or_else(form);
    let (mut at, mut keyspace, mut table) = (1, None, name(tokens.first())?);
    if tokens.get(at) == Some(&Token::Symbol('.')) {
        keyspace = Some(table);
        table = name(tokens.get(at + 1))?;
        at += 2;
    }
    let mut columns = Vec::new();
    if tokens.get(at) == Some(&Token::Symbol('(')) {
        loop {
            columns.push(name(tokens.get(at + 1))?);
            at += 2;
            match tokens.get(at) {
                Some(Token::Symbol(',')) => {}
                Some(Token::Symbol(')')) => break,
                _ => return Err(form()),
            }
        }
        at += 1;
    }
    let direction = match tokens.get(at) {
        Some(word) if word.is("from") => Direction::From,
        Some(word) if word.is("to") => Direction::To,
        _ => return Err(form()),
    };
    let stream = if direction == Direction::From { "stdin" } else { "stdout" };
    let file = match tokens.get(at + 1) {
        Some(Token::Quoted(file)) => Some(file.clone()),
        Some(word) if word.is(stream) => None,
        _ => return Err(form()),
    };
    let options = copy_options(&tokens[at + 2..])?;
    let copy = Copy { direction, keyspace, table, columns, file, options };
    copy.check().map_err(CommandError)?;
    Ok(copy)
}

fn copy_options(tokens: &[Token]) -> Result<Vec<(String, String)>, CommandError> {
    let mut options = Vec::new();
    let mut rest = tokens;
    let mut expected = "WITH";
    while let Some((first, after)) = rest.split_first() {
        if !first.is(expected) {
            return Err(wrong(format!("expected {expected} before the options of COPY")));
        }
        let [Token::Word(name), Token::Symbol('='), value, after @ ..] = after else {
            return Err(wrong("an option of COPY has the form NAME = value"));
        };
        let (Token::Word(value) | Token::Quoted(value)) = value else {
            return Err(wrong(format!("the option {name} needs a value")));
        };
        options.push((name.to_ascii_uppercase(), value.clone()));
        (rest, expected) = (after, "AND");
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(text: &str) -> Command {
        parse(text).unwrap().unwrap()
    }

    #[test]
    fn commands_are_recognised_in_any_case() {
        let cases = [
            ("exit", Command::Exit),
            ("QUIT", Command::Exit),
            ("cls", Command::Clear),
            ("Consistency quorum", Command::Consistency(Some(Consistency::Quorum))),
            ("CONSISTENCY", Command::Consistency(None)),
            ("SERIAL CONSISTENCY", Command::SerialConsistency(None)),
            ("serial consistency local_serial", Command::SerialConsistency(Some(Consistency::LocalSerial))),
            ("PAGING 50", Command::Paging(Some(Paging::Rows(50)))),
            ("paging off", Command::Paging(Some(Paging::Off))),
            ("PAGING", Command::Paging(None)),
            ("expand ON", Command::Expand(Some(true))),
            ("ELAPSED off", Command::Elapsed(Some(false))),
            ("TRACING OFF", Command::Tracing(Some(false))),
            ("TRACING ON", Command::Tracing(Some(true))),
            ("LOGIN me 'pass'", Command::Login("me".into(), "pass".into())),
            ("SOURCE 'a b.cql'", Command::Source("a b.cql".into())),
            ("CAPTURE 'it''s'", Command::Capture(Some(Capture::File("it's".into())))),
            ("capture off", Command::Capture(Some(Capture::Off))),
            ("CAPTURE", Command::Capture(None)),
            ("SHOW VERSION", Command::Show(Show::Version)),
            ("show host", Command::Show(Show::Host)),
            ("SHOW REPLICAS -5 \"Ks\"", Command::Show(Show::Replicas(-5, Some("Ks".into())))),
            ("HISTORY 5", Command::History(Some(5))),
            ("HELP", Command::Help(None)),
            ("help CREATE table", Command::Help(Some("create table".into()))),
            ("?", Command::Help(None)),
        ];
        for (text, expected) in cases {
            assert_eq!(parsed(text), expected, "{text}");
        }
    }

    #[test]
    fn cql_is_left_alone() {
        for cql in ["SELECT * FROM help WHERE k = 'exit'", "INSERT INTO t (k) VALUES ('", "", "'x'", "helping"] {
            assert_eq!(parse(cql), Ok(None), "{cql}");
            assert!(!is_command(cql));
        }
        assert!(is_command(" exit;"));
    }

    #[test]
    fn describe_is_for_the_server_but_for_the_cluster() {
        assert_eq!(parsed("desc cluster"), Command::Describe(Describe::Cluster));
        for text in ["describe", "DESCRIBE FULL SCHEMA", "desc table ks.\"T\" with internals"] {
            assert_eq!(parsed(text), Command::Describe(Describe::Statement(text.to_owned())));
        }
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
        assert_eq!((copy.direction, copy.file.as_deref()), (Direction::From, Some("f.csv")));
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(copy.options, [pair("HEADER", "true"), pair("DELIMITER", "|"), pair("NULL", "n/a")]);
        let Command::Copy(copy) = parsed("copy t to stdout with begintoken = -5 and reportfrequency = 0.5") else {
            panic!("not a COPY");
        };
        assert_eq!((copy.direction, copy.file), (Direction::To, None));
    }

    #[test]
    fn what_is_wrong_or_not_supported_is_named() {
        for (text, word) in [
            ("SHOW SESSION 1", "SHOW SESSION"),
            ("SHOW REPLICAS x", "token"),
            ("SHOW", "REPLICAS"),
            ("LOGIN a", "LOGIN"),
            ("SERIAL CONSISTENCY QUORUM", "SERIAL or LOCAL_SERIAL"),
            ("SERIAL", "SERIAL CONSISTENCY"),
            ("CONSISTENCY nonsense", "nonsense"),
            ("COPY t TO STDIN", "STDOUT"),
            ("COPY t FROM 'x' WITH PAGESIZE = 1", "PAGESIZE"),
            ("COPY t FROM 'x' WITH TTL", "NAME = value"),
            ("COPY t FROM 'x' HEADER = true", "expected WITH"),
            ("PAGING maybe", "maybe"),
            ("EXPAND maybe", "maybe"),
            ("SOURCE x", "single quotes"),
            ("SOURCE 'x", "not closed"),
            ("CAPTURE x", "single quotes"),
            ("HISTORY many", "number"),
            ("exit now", "nothing may follow"),
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
        fn any_tail_of_a_command_is_an_error_or_a_command(
            word in proptest::sample::select(WORDS.to_vec()),
            tail in "[a-z(),.'=\" 0-9-]{0,40}",
        ) {
            let _ = parse(&format!("{word} {tail}"));
            let _ = parse(&format!("COPY t {tail}"));
        }
    }
}
