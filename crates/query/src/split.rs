//! Several statements in one text, as a shell or a script has them.

use crate::lexer::{Lexer, Token, TokenKind};

/// A statement in a longer text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatementText<'a> {
    /// From its first token up to its semicolon, which is not included.
    pub text: &'a str,
    /// Where it begins in the whole text, in bytes.
    pub offset: usize,
    /// True when a semicolon ends it. Only the last statement can lack one: a shell then waits for
    /// more input, and a script executes it.
    pub complete: bool,
}

/// Splits a text at the semicolons that end statements: not at those in strings, quoted names,
/// comments and batches. Empty statements are left out. What is not CQL is kept in its statement.
/// Reads no further than the statement that it has given.
pub fn split_statements(text: &str) -> impl Iterator<Item = StatementText<'_>> {
    let mut lexer = Lexer::new(text);
    std::iter::from_fn(move || next_statement(&mut lexer, text))
}

fn next_statement<'a>(lexer: &mut Lexer<'a>, text: &'a str) -> Option<StatementText<'a>> {
    let mut batch = Batch::Unknown;
    let mut start = None;
    let mut end = 0;
    loop {
        let token = lexer.next_token();
        let (from, to) = (token.start.0, token.end.0);
        let piece = |start: usize, end: usize, complete: bool| {
            let whole = StatementText { text: text.get(start..end).unwrap_or(""), offset: start, complete };
            (start < end).then_some(whole)
        };
        match token.kind {
            TokenKind::End => return start.and_then(|start| piece(start, end, false)),
            TokenKind::Symbol(";") if batch != Batch::Inside => {
                let found = start.and_then(|start| piece(start, from, true));
                if found.is_some() {
                    return found;
                }
                (start, batch) = (None, Batch::Unknown);
            }
            _ => {
                batch = batch.after(token, text);
                start = start.or(Some(from));
                end = to;
            }
        }
    }
}

/// Whether a statement is a batch, whose inner statements end in semicolons too.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Batch {
    /// Nothing was said yet but, perhaps, EXPLAIN, and then perhaps ANALYZE.
    Unknown,
    No,
    /// BEGIN was the first word.
    Inside,
    /// APPLY: the next word ends the batch.
    Applied,
}

impl Batch {
    fn after(self, token: Token, text: &str) -> Batch {
        let word = text.get(token.start.0..token.end.0).unwrap_or("");
        let is = |wanted: &str| token.kind == TokenKind::Word && word.eq_ignore_ascii_case(wanted);
        match self {
            Batch::Unknown if is("BEGIN") => Batch::Inside,
            Batch::Unknown if is("EXPLAIN") || is("ANALYZE") => Batch::Unknown,
            Batch::Unknown => Batch::No,
            Batch::Inside if is("APPLY") => Batch::Applied,
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<(&str, usize, bool)> {
        split_statements(text).map(|part| (part.text, part.offset, part.complete)).collect()
    }

    #[test]
    fn statements_end_at_top_level_semicolons_only() {
        assert_eq!(texts(""), []);
        assert_eq!(texts(" ; ;-- nothing;\n"), []);
        assert_eq!(texts("USE a; USE b"), [("USE a", 0, true), ("USE b", 7, false)]);
        assert_eq!(texts("a ';' \";\" $$;$$ /*;*/ b;"), [("a ';' \";\" $$;$$ /*;*/ b", 0, true)]);
        assert_eq!(texts("-- c;\n x ; y;"), [("x ", 7, true), ("y", 11, true)]);
    }

    #[test]
    fn a_batch_is_one_statement() {
        let batch = "begin batch insert into t (k) values (1); delete from t where k = 2; apply batch";
        assert_eq!(texts(&format!("{batch}; USE x;")), [(batch, 0, true), ("USE x", batch.len() + 2, true)]);
    }

    #[test]
    fn a_batch_that_is_explained_is_one_statement() {
        for before in ["EXPLAIN", "explain analyze"] {
            let batch = format!("{before} BEGIN BATCH DELETE FROM t WHERE k = 2; APPLY BATCH");
            let expected = [(batch.as_str(), 0, true), ("USE x", batch.len() + 2, true)];
            assert_eq!(texts(&format!("{batch}; USE x;")), expected);
        }
        assert_eq!(texts("EXPLAIN SELECT begin; USE x;").len(), 2);
    }

    #[test]
    fn what_is_not_closed_is_not_complete() {
        assert_eq!(texts("x 'a; b"), [("x 'a; b", 0, false)]);
        assert_eq!(texts("x; y # z; w"), [("x", 0, true), ("y # z", 3, true), ("w", 10, false)]);
        assert_eq!(texts("x /* y; z"), [("x /* y; z", 0, false)]);
    }
}
