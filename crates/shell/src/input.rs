//! Splits what was typed or read into commands and statements.
//!
//! A command of the shell ends at a semicolon or at the end of its line; COPY and SOURCE may go on over lines
//! until a semicolon. A CQL statement ends at a semicolon that is not in a string, name or comment.

use crate::command;

/// The next thing in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Next<'a> {
    /// A command or a statement without its semicolon, and what comes after.
    Item(&'a str, &'a str),
    /// An item that has begun and may go on.
    Unfinished(&'a str),
    /// Nothing but blanks and comments.
    Nothing,
}

/// Takes the first command or statement off `text`.
#[must_use]
pub(crate) fn next(text: &str) -> Next<'_> {
    let text = skip_blanks(text);
    if text.is_empty() {
        return Next::Nothing;
    }
    let first_line = text.find('\n').unwrap_or(text.len());
    let semicolon = end_of_statement(text);
    let goes_on = ["COPY", "SOURCE"].contains(&command::first_word(text).as_str());
    let end = if command::is_command(text) && !goes_on {
        Some(semicolon.map_or(first_line, |at| at.min(first_line)))
    } else {
        semicolon
    };
    match end {
        Some(end) => Next::Item(text[..end].trim_end(), text.get(end + 1..).unwrap_or("")),
        None => Next::Unfinished(text.trim_end()),
    }
}

/// `text` from its first character that is neither blank nor in a comment nor a lone semicolon.
fn skip_blanks(mut text: &str) -> &str {
    loop {
        text = text.trim_start_matches(|character: char| character.is_whitespace() || character == ';');
        let after = if text.starts_with("--") || text.starts_with("//") {
            Some(text.find('\n').map_or("", |end| &text[end..]))
        } else if text.starts_with("/*") {
            text.find("*/").map(|end| &text[end + 2..])
        } else {
            None
        };
        match after {
            Some(after) => text = after,
            None => return text,
        }
    }
}

/// Where the semicolon is that ends the statement at the start of `text`.
fn end_of_statement(text: &str) -> Option<usize> {
    let first = query::split_statements(text).next()?;
    first.complete.then(|| first.offset + first.text.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(mut text: &str) -> (Vec<String>, String) {
        let mut items = Vec::new();
        loop {
            match next(text) {
                Next::Item(item, rest) => {
                    items.push(item.to_owned());
                    text = rest;
                }
                Next::Unfinished(rest) => return (items, rest.to_owned()),
                Next::Nothing => return (items, String::new()),
            }
        }
    }

    #[test]
    fn statements_end_at_their_own_semicolons() {
        let text = "SELECT ';' FROM t; -- a ; comment\n/* ; */ INSERT INTO t (\"a;b\") VALUES ($$;$$, 'it''s;');;\n";
        let expected = ["SELECT ';' FROM t", "INSERT INTO t (\"a;b\") VALUES ($$;$$, 'it''s;')"];
        assert_eq!(all(text), (expected.map(str::to_owned).to_vec(), String::new()));
    }

    #[test]
    fn commands_end_with_their_line_and_copy_with_a_semicolon() {
        let text = "CONSISTENCY QUORUM\nexit; COPY t (a,\n b) FROM 'x'\n WITH HEADER = true; SELECT 1";
        let (items, rest) = all(text);
        assert_eq!(items, ["CONSISTENCY QUORUM", "exit", "COPY t (a,\n b) FROM 'x'\n WITH HEADER = true"]);
        assert_eq!(rest, "SELECT 1");
    }

    proptest! {
        #[test]
        fn any_text_is_taken_apart_to_its_end(text in "[a-z;'\"$/*\n -]{0,60}") {
            all(&text);
        }
    }
}
