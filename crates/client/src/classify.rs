//! What the text of a statement is, as far as a driver must know it: whether it reads, and whether executing it
//! twice with one timestamp is as good as once. Cautious: what is not plainly repeatable is taken not to be.

/// What a statement does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// SELECT.
    Read,
    /// INSERT, UPDATE, DELETE.
    Write,
    /// CREATE, DROP, ALTER, TRUNCATE.
    Schema,
    /// USE.
    Use,
    /// Anything else.
    Other,
}

/// What is known of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Class {
    pub(crate) kind: Kind,
    /// True when repeating it, with the same timestamp if it writes, changes nothing.
    pub(crate) repeatable: bool,
}

/// A token, as coarse as suffices here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    /// A string or a quoted name.
    Quoted,
    Number,
    Symbol(char),
}

/// What `text` is.
pub(crate) fn classify(text: &str) -> Class {
    let tokens = Tokens { rest: text };
    let Some(Token::Word(first)) = tokens.clone().next() else {
        return Class { kind: Kind::Other, repeatable: false };
    };
    let is = |words: &[&str]| words.iter().any(|word| first.eq_ignore_ascii_case(word));
    if is(&["SELECT"]) {
        Class { kind: Kind::Read, repeatable: true }
    } else if is(&["INSERT", "UPDATE", "DELETE"]) {
        Class { kind: Kind::Write, repeatable: plain_write(tokens, is(&["INSERT"])) }
    } else if is(&["CREATE", "DROP", "ALTER", "TRUNCATE"]) {
        Class { kind: Kind::Schema, repeatable: false }
    } else if is(&["USE"]) {
        Class { kind: Kind::Use, repeatable: true }
    } else {
        Class { kind: Kind::Other, repeatable: false }
    }
}

/// True for a write without conditions, functions, arithmetic or list positions: one that says for every cell
/// what it will hold.
fn plain_write(tokens: Tokens<'_>, insert: bool) -> bool {
    // The names between INTO and VALUES have parentheses behind them that call nothing.
    let mut names = insert;
    let mut before = None;
    for token in tokens {
        match token {
            Token::Word(word) if word.eq_ignore_ascii_case("IF") => return false,
            Token::Word(word) if word.eq_ignore_ascii_case("VALUES") => names = false,
            Token::Symbol('(') if !names => {
                if let Some(Token::Word(word)) = before
                    && !["VALUES", "IN"].iter().any(|known| word.eq_ignore_ascii_case(known))
                {
                    return false;
                }
                if before == Some(Token::Quoted) {
                    return false;
                }
            }
            Token::Symbol('+' | '[') => return false,
            // `- 1` is a number; `c - 1` computes.
            Token::Symbol('-') if !matches!(before, Some(Token::Symbol('=' | ',' | '(' | ':'))) => return false,
            // A second statement.
            Token::Symbol(';') => {}
            _ if before == Some(Token::Symbol(';')) => return false,
            _ => {}
        }
        before = Some(token);
    }
    true
}

/// Tokens without comments and space.
#[derive(Clone)]
struct Tokens<'a> {
    rest: &'a str,
}

impl<'a> Tokens<'a> {
    fn skip(&mut self, bytes: usize) {
        self.rest = self.rest.get(bytes..).unwrap_or("");
    }

    /// Skips up to and including `end`, or everything.
    fn skip_past(&mut self, end: &str) {
        let found = self.rest.find(end).map_or(self.rest.len(), |at| at + end.len());
        self.skip(found);
    }

    fn skip_space_and_comments(&mut self) {
        loop {
            self.rest = self.rest.trim_start();
            if self.rest.starts_with("--") || self.rest.starts_with("//") {
                self.skip_past("\n");
            } else if self.rest.starts_with("/*") {
                self.skip(2);
                self.skip_past("*/");
            } else {
                return;
            }
        }
    }

    /// Skips a quoted part; a doubled quote is two parts, which is as good.
    fn skip_quoted(&mut self, quote: &str) {
        self.skip(quote.len());
        self.skip_past(quote);
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !wanted(c)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        self.skip_space_and_comments();
        let first = self.rest.chars().next()?;
        Some(match first {
            '\'' | '"' => {
                self.skip_quoted(if first == '"' { "\"" } else { "'" });
                Token::Quoted
            }
            '$' if self.rest.starts_with("$$") => {
                self.skip_quoted("$$");
                Token::Quoted
            }
            _ if self.rest.get(..36).is_some_and(|text| model::id::parse_uuid(text).is_some()) => {
                self.skip(36);
                Token::Number
            }
            c if c.is_ascii_digit() => {
                // Hexadecimal and durations included.
                let taken = self.take_while(|c| c.is_ascii_alphanumeric() || c == '.');
                if taken.ends_with(['e', 'E']) && self.rest.starts_with(['-', '+']) {
                    self.skip(1);
                    self.take_while(|c| c.is_ascii_digit());
                }
                Token::Number
            }
            c if c.is_alphabetic() || c == '_' => Token::Word(self.take_while(|c| c.is_alphanumeric() || c == '_')),
            c => {
                self.skip(c.len_utf8());
                Token::Symbol(c)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn repeatable(text: &str) -> bool {
        classify(text).repeatable
    }

    #[test]
    fn the_first_word_says_what_it_is() {
        for (text, kind) in [
            ("select * from t", Kind::Read),
            ("  -- a comment\n /* another */ SELECT 1", Kind::Read),
            ("Insert INTO t (a) VALUES (1)", Kind::Write),
            ("UPDATE t SET a = 1 WHERE k = 1", Kind::Write),
            ("DELETE FROM t WHERE k = 1", Kind::Write),
            ("CREATE TABLE t (a int PRIMARY KEY)", Kind::Schema),
            ("USE k", Kind::Use),
            ("BEGIN BATCH INSERT INTO t (a) VALUES (1) APPLY BATCH", Kind::Other),
            ("", Kind::Other),
            ("'SELECT'", Kind::Other),
        ] {
            assert_eq!(classify(text).kind, kind, "{text}");
        }
    }

    #[test]
    fn plain_writes_are_repeatable() {
        for text in [
            "INSERT INTO k.t (a, b) VALUES (1, 'IF now() + 1')",
            "INSERT INTO \"T\" (a, \"if\") VALUES (-1, - 2) USING TTL 5 AND TIMESTAMP 7;",
            "INSERT INTO t (a, b) VALUES (01234567-89ab-cdef-0011-223344556677, abcdef01-89ab-cdef-0011-223344556677)",
            "INSERT INTO t (a, b) VALUES (1.5e-7, 2E+9)",
            "INSERT INTO t (a, b) VALUES (?, :name) -- IF",
            "UPDATE t SET a = 1, b = ? WHERE k = 1 AND c IN (1, 2)",
            "DELETE a FROM t WHERE k = 'it''s' AND c > 3",
        ] {
            assert!(repeatable(text), "{text}");
        }
    }

    #[test]
    fn what_depends_on_the_state_or_the_moment_is_not() {
        for text in [
            "INSERT INTO t (a) VALUES (1) IF NOT EXISTS",
            "INSERT INTO t (a) VALUES (uuid())",
            "INSERT INTO t (a) VALUES (k.\"f\"(1))",
            "UPDATE t SET c = c + 1 WHERE k = 1",
            "UPDATE t SET c = c - 1 WHERE k = 1",
            "UPDATE t SET c = c -1 WHERE k = 1",
            "UPDATE t SET c = 5-c WHERE k = 1",
            "UPDATE t SET l[0] = 1 WHERE k = 1",
            "UPDATE t SET a = 1 WHERE k = 1 IF a = 2",
            "DELETE FROM t WHERE k = now ()",
            "INSERT INTO t (a) VALUES (1); INSERT INTO t (a) VALUES (2)",
            "CREATE TABLE t (a int PRIMARY KEY)",
        ] {
            assert!(!repeatable(text), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_classified_without_panic(text: String, tail: String) {
            classify(&text);
            classify(&format!("INSERT {tail}"));
        }
    }
}
