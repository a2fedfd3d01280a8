//! Tokens to a syntax tree, by recursive descent with one token in hand.
//!
//! Invariants:
//! * The whole of CQL is recognised as far as the words that introduce a feature; a feature that
//!   Helenus does not have is refused by its name, never with a syntax error.
//! * Nothing recurses deeper than `NESTING_MAX`, and no tree is deeper.
//! * What was tried at the current token is remembered, so that a syntax error can say what was
//!   expected.

mod role;
mod schema;
mod select;
mod term;
mod write;

use crate::ast::{Literal, LiteralKind, Name, QualifiedName, Statement, Term, TermKind};
use crate::lexer::{Lexer, Token, TokenKind};
use crate::source::{Position, Source, shortened};
use model::RequestError;
use model::limits::BIND_MARKERS_MAX;
use model::name::is_reserved;
use std::borrow::Cow;

/// A statement and how many bind markers it has.
#[derive(Clone, Debug)]
pub(crate) struct Parsed {
    pub(crate) statement: Statement,
    pub(crate) markers: usize,
}

/// Reads exactly one statement, which may end in semicolons.
///
/// # Errors
/// `Syntax` where the text is not CQL; `Invalid` where it is CQL that is not supported yet.
pub(crate) fn parse(text: &str) -> Result<Parsed, RequestError> {
    let mut parser = Parser::new(text);
    let statement = parser.statement()?;
    let mut ended = false;
    while parser.eat_symbol(";") {
        ended = true;
    }
    if parser.token.kind == TokenKind::End {
        return Ok(Parsed { statement, markers: parser.markers });
    }
    if ended {
        let message = format!("{}: only one statement at a time is allowed", parser.no_viable_alternative());
        return Err(parser.source.syntax(parser.token.start, message));
    }
    parser.expected.push("the end of the statement");
    Err(parser.unexpected())
}

/// Statements that are refused by their first words.
#[rustfmt::skip]
const REFUSED_STATEMENTS: [&[&str]; 25] = [
    &["CREATE", "MATERIALIZED", "VIEW"], &["CREATE", "FUNCTION"], &["CREATE", "AGGREGATE"],
    &["CREATE", "OR", "REPLACE", "FUNCTION"], &["CREATE", "OR", "REPLACE", "AGGREGATE"], &["CREATE", "TRIGGER"],
    &["DROP", "FUNCTION"], &["DROP", "AGGREGATE"],
    &["DROP", "IDENTITY"],
    &["ADD", "IDENTITY"], &["GRANT"], &["REVOKE"],
    &["LIST", "SUPERUSERS"], &["LIST", "ALL"], &["LIST", "CREATE"],
    &["LIST", "ALTER"], &["LIST", "DROP"], &["LIST", "SELECT"], &["LIST", "MODIFY"], &["LIST", "AUTHORIZE"],
    &["LIST", "DESCRIBE"], &["LIST", "EXECUTE"], &["LIST", "UNMASK"], &["LIST", "SELECT_MASKED"],
    &["BEGIN", "TRANSACTION"],
];

/// The same of statements that the grammar of Cassandra 5.0 does not have either.
const REFUSED_STATEMENTS_OF_OTHERS: [&[&str]; 3] =
    [&["PRUNE", "MATERIALIZED", "VIEW"], &["COMMENT", "ON"], &["SECURITY", "LABEL"]];

/// The first words of statements that read or write.
const DATA_WORDS: [&str; 4] = ["SELECT", "INSERT", "UPDATE", "DELETE"];

struct Parser<'a> {
    source: Source<'a>,
    /// Behind `token`.
    lexer: Lexer<'a>,
    token: Token,
    /// What was tried at `token`.
    expected: Vec<&'static str>,
    /// True when a name was tried at `token`.
    name_expected: bool,
    /// Bind markers so far.
    markers: usize,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Parser<'a> {
        let mut lexer = Lexer::new(text);
        let token = lexer.next_token();
        Parser { source: Source::new(text), lexer, token, expected: Vec::new(), name_expected: false, markers: 0 }
    }

    fn statement(&mut self) -> Result<Statement, RequestError> {
        let is_more = !matches!(self.following().kind, TokenKind::End | TokenKind::Symbol(";"));
        if let Some(words) = REFUSED_STATEMENTS.iter().find(|words| is_more && self.looking_at(words)) {
            return Err(self.source.unsupported(self.token.start, &format!("{} is", words.join(" "))));
        }
        if let Some(words) = REFUSED_STATEMENTS_OF_OTHERS.iter().find(|words| self.looking_at(words)) {
            return Err(self.not_in_grammar(&format!("{} is", words.join(" "))));
        }
        if let Some(statement) = self.absent()? {
            return Ok(statement);
        }
        let at = self.here();
        if self.looking_at(&["EXPLAIN"]) {
            self.advance();
            let analyze = self.eat_word("ANALYZE");
            let statement = Box::new(self.data_statement()?);
            return Ok(Statement::Explain { analyze, statement, at });
        }
        if self.looking_at(&["DESCRIBE"]) || self.looking_at(&["DESC"]) {
            self.advance();
            return Ok(Statement::Describe(self.describe(at)?));
        }
        if let Some(statement) = self.role_statement()? {
            return Ok(statement);
        }
        if self.looking_at(&["ALTER"]) {
            self.advance();
            return self.alter();
        }
        if self.looking_at(&["BEGIN"]) || DATA_WORDS.iter().any(|word| self.looking_at(&[word])) {
            return self.data_statement();
        }
        self.expected.extend(DATA_WORDS);
        if self.eat_word("CREATE") {
            self.create(at)
        } else if self.eat_word("DROP") {
            self.drop()
        } else if self.eat_word("TRUNCATE") {
            let _ = self.eat_word("TABLE") || self.eat_word("COLUMNFAMILY");
            Ok(Statement::Truncate(self.table_name()?))
        } else if self.eat_word("USE") {
            Ok(Statement::Use(self.name("a keyspace name")?))
        } else {
            Err(self.unexpected())
        }
    }

    /// SELECT, INSERT, UPDATE, DELETE or BATCH.
    fn data_statement(&mut self) -> Result<Statement, RequestError> {
        let at = self.here();
        if self.eat_word("SELECT") {
            return Ok(Statement::Select(self.select()?));
        }
        if let Some(modification) = self.modification()? {
            return Ok(Statement::Modification(modification));
        }
        if self.eat_word("BEGIN") {
            return Ok(Statement::Batch(self.batch(at)?));
        }
        Err(self.unexpected())
    }

    fn text(&self) -> &'a str {
        self.source.slice(self.token.start, self.token.end)
    }

    /// Takes the current token.
    fn advance(&mut self) -> Token {
        self.expected.clear();
        self.name_expected = false;
        std::mem::replace(&mut self.token, self.lexer.next_token())
    }

    /// The token behind the current one.
    fn following(&self) -> Token {
        { self.lexer }.next_token()
    }

    /// The symbol in hand, without having expected any.
    fn symbol(&self) -> Option<&'static str> {
        match self.token.kind {
            TokenKind::Symbol(symbol) => Some(symbol),
            _ => None,
        }
    }

    fn is_followed_by(&self, symbol: &'static str) -> bool {
        self.following().kind == TokenKind::Symbol(symbol)
    }

    /// True when the next tokens are these words, without having expected them.
    fn looking_at(&self, words: &[&str]) -> bool {
        let mut ahead = self.lexer;
        let mut token = self.token;
        words.iter().enumerate().all(|(index, word)| {
            if index > 0 {
                token = ahead.next_token();
            }
            let text = self.source.slice(token.start, token.end);
            token.kind == TokenKind::Word && text.eq_ignore_ascii_case(word)
        })
    }

    fn at_word(&mut self, word: &'static str) -> bool {
        let found = self.token.kind == TokenKind::Word && self.text().eq_ignore_ascii_case(word);
        if !found {
            self.expected.push(word);
        }
        found
    }

    fn eat_word(&mut self, word: &'static str) -> bool {
        let found = self.at_word(word);
        if found {
            self.advance();
        }
        found
    }

    fn expect_word(&mut self, word: &'static str) -> Result<(), RequestError> {
        if self.eat_word(word) { Ok(()) } else { Err(self.unexpected()) }
    }

    fn at_symbol(&mut self, symbol: &'static str) -> bool {
        let found = self.symbol() == Some(symbol);
        if !found {
            self.expected.push(symbol);
        }
        found
    }

    fn eat_symbol(&mut self, symbol: &'static str) -> bool {
        let found = self.at_symbol(symbol);
        if found {
            self.advance();
        }
        found
    }

    fn expect_symbol(&mut self, symbol: &'static str) -> Result<(), RequestError> {
        if self.eat_symbol(symbol) { Ok(()) } else { Err(self.unexpected()) }
    }

    /// The first half of a syntax error.
    fn no_viable_alternative(&self) -> String {
        if self.token.kind == TokenKind::End {
            return "no viable alternative at input '<EOF>'".to_owned();
        }
        format!("no viable alternative at input '{}'", shortened(self.text()))
    }

    /// The error that the current token is none of those that were tried.
    fn unexpected(&self) -> RequestError {
        let mut message = self.no_viable_alternative();
        if let TokenKind::Bad(reason) = self.token.kind {
            message.push_str(&format!(": {reason}"));
            return self.source.syntax(self.token.start, message);
        }
        let mut expected: Vec<Cow<'_, str>> = Vec::new();
        for item in &self.expected {
            let is_symbol = !item.starts_with(|first: char| first.is_ascii_alphabetic());
            let shown = if is_symbol { Cow::Owned(format!("'{item}'")) } else { Cow::Borrowed(*item) };
            if !expected.contains(&shown) {
                expected.push(shown);
            }
        }
        if let Some((last, others)) = expected.split_last() {
            message.push_str(", expected ");
            if !others.is_empty() {
                message.push_str(&format!("{} or ", others.join(", ")));
            }
            message.push_str(last);
        }
        if self.name_expected && self.token.kind == TokenKind::Word && is_reserved(self.text()) {
            message.push_str(" (a reserved word is a name only in double quotes)");
        }
        self.source.syntax(self.token.start, message)
    }

    /// The error that a feature, recognised by the current token, is not supported yet.
    fn unsupported(&self, feature: &str) -> RequestError {
        self.source.unsupported(self.token.start, feature)
    }

    /// The same of a feature that the grammar of Cassandra 5.0 does not have either: as there the error is one of
    /// syntax.
    fn not_in_grammar(&self, feature: &str) -> RequestError {
        self.source.syntax(self.token.start, format!("{feature} not supported yet"))
    }

    fn name(&mut self, what: &'static str) -> Result<Name, RequestError> {
        let at = self.token.start;
        let text = match self.token.kind {
            TokenKind::Word if !is_reserved(self.text()) => self.text().to_ascii_lowercase(),
            TokenKind::QuotedName => {
                let quoted = self.text();
                quoted[1..quoted.len() - 1].replace("\"\"", "\"")
            }
            TokenKind::Symbol("?" | ":") => {
                let message =
                    format!("{}, expected {what}: bind markers cannot be names", self.no_viable_alternative());
                return Err(self.source.syntax(at, message));
            }
            _ => {
                self.expected.push(what);
                self.name_expected = true;
                return Err(self.unexpected());
            }
        };
        if text.is_empty() {
            self.expected.push(what);
            return Err(self.unexpected());
        }
        self.advance();
        Ok(Name { text, at })
    }

    /// `name (, name)*` in parentheses.
    fn names_in_parentheses(&mut self, what: &'static str) -> Result<Vec<Name>, RequestError> {
        self.expect_symbol("(")?;
        let mut names = vec![self.name(what)?];
        while self.eat_symbol(",") {
            names.push(self.name(what)?);
        }
        self.expect_symbol(")")?;
        Ok(names)
    }

    fn table_name(&mut self) -> Result<QualifiedName, RequestError> {
        self.qualified_name("a table name")
    }

    /// `[keyspace.]name`.
    fn qualified_name(&mut self, what: &'static str) -> Result<QualifiedName, RequestError> {
        let first = self.name(what)?;
        if self.eat_symbol(".") {
            return Ok(QualifiedName { keyspace: Some(first), name: self.name(what)? });
        }
        Ok(QualifiedName { keyspace: None, name: first })
    }

    /// `IF NOT EXISTS`, true when it stands there.
    fn if_not_exists(&mut self) -> Result<bool, RequestError> {
        let found = self.eat_word("IF");
        if found {
            self.expect_word("NOT")?;
            self.expect_word("EXISTS")?;
        }
        Ok(found)
    }

    /// `IF EXISTS`, true when it stands there.
    fn if_exists(&mut self) -> Result<bool, RequestError> {
        let found = self.eat_word("IF");
        if found {
            self.expect_word("EXISTS")?;
        }
        Ok(found)
    }

    /// The string in hand without its quotes, which is taken.
    fn string(&mut self) -> String {
        let text = self.text();
        self.advance();
        if text.starts_with('$') {
            text[2..text.len() - 2].to_owned()
        } else {
            text[1..text.len() - 1].replace("''", "'")
        }
    }

    /// A constant, if the current token begins one.
    fn literal(&mut self) -> Result<Option<Literal>, RequestError> {
        let text = self.text();
        let (kind, text) = match self.token.kind {
            TokenKind::String => return Ok(Some(Literal { kind: LiteralKind::String, text: self.string() })),
            TokenKind::Uuid => (LiteralKind::Uuid, text.to_owned()),
            TokenKind::Blob => (LiteralKind::Hex, text.to_owned()),
            TokenKind::Word if text.eq_ignore_ascii_case("true") => (LiteralKind::Boolean, text.to_owned()),
            TokenKind::Word if text.eq_ignore_ascii_case("false") => (LiteralKind::Boolean, text.to_owned()),
            TokenKind::Symbol("-") => {
                self.advance();
                let Some((kind, text)) = self.unsigned_number() else {
                    self.expected.push("a number");
                    return Err(self.unexpected());
                };
                // There is one NaN.
                (kind, if text == "NaN" { text } else { format!("-{text}") })
            }
            _ => match self.unsigned_number() {
                Some(number) => number,
                None => return Ok(None),
            },
        };
        self.advance();
        Ok(Some(Literal { kind, text }))
    }

    /// The number in hand.
    fn unsigned_number(&self) -> Option<(LiteralKind, String)> {
        let text = self.text();
        Some(match self.token.kind {
            TokenKind::Integer => (LiteralKind::Integer, text.to_owned()),
            TokenKind::Float => (LiteralKind::Float, text.to_owned()),
            TokenKind::Duration => (LiteralKind::Duration, text.to_owned()),
            TokenKind::Word if text.eq_ignore_ascii_case("nan") => (LiteralKind::Float, "NaN".to_owned()),
            TokenKind::Word if text.eq_ignore_ascii_case("infinity") => (LiteralKind::Float, "Infinity".to_owned()),
            _ => return None,
        })
    }

    /// A bind marker, if the current token begins one.
    fn marker(&mut self) -> Result<Option<TermKind>, RequestError> {
        let at = self.token.start;
        let name = if self.symbol() == Some("?") {
            self.advance();
            None
        } else if self.symbol() == Some(":") {
            self.advance();
            Some(self.name("the name of a bind marker")?.text)
        } else {
            return Ok(None);
        };
        let index = u16::try_from(self.markers).ok().filter(|_| self.markers < BIND_MARKERS_MAX);
        let Some(index) = index else {
            let message = format!("Too many bind markers: a statement can have {BIND_MARKERS_MAX}");
            return Err(self.source.invalid(at, message));
        };
        self.markers += 1;
        Ok(Some(TermKind::Marker { index, name }))
    }

    /// An integer constant or a bind marker: LIMIT, TTL, TIMESTAMP.
    fn integer_term(&mut self) -> Result<Term, RequestError> {
        let at = self.token.start;
        if let Some(kind) = self.marker()? {
            return Ok(Term { kind, at });
        }
        let negative = self.symbol() == Some("-");
        let number = if negative { self.following().kind } else { self.token.kind };
        if number == TokenKind::Integer
            && let Some(literal) = self.literal()?
        {
            return Ok(Term { kind: TermKind::Literal(literal), at });
        }
        if negative {
            self.advance();
        }
        self.expected.extend(["an integer", "a bind marker"]);
        Err(self.unexpected())
    }

    /// `ASC` or `DESC`; true for the latter, `None` when neither stands there.
    fn direction(&mut self) -> Option<bool> {
        if self.eat_word("ASC") {
            Some(false)
        } else if self.eat_word("DESC") {
            Some(true)
        } else {
            None
        }
    }

    /// Where the current token begins.
    fn here(&self) -> Position {
        self.token.start
    }
}

#[cfg(test)]
#[path = "parser_tests.rs"]
mod tests;
