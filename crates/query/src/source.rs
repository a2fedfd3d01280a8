//! The text of a statement, and errors that say where in it they are.
//!
//! A position is a byte offset: it is cheap to carry through the syntax tree, and is turned into a
//! line and a column only when an error is reported.

use model::RequestError;

/// A byte offset into the statement's text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position(pub(crate) usize);

/// The text of one statement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source<'a> {
    text: &'a str,
}

impl<'a> Source<'a> {
    /// The source of `text`.
    pub(crate) fn new(text: &'a str) -> Source<'a> {
        Source { text }
    }

    /// The text from `start` up to `end`.
    pub(crate) fn slice(&self, start: Position, end: Position) -> &'a str {
        self.text.get(start.0..end.0).unwrap_or("")
    }

    /// True when a name in quotes stands at `at`.
    pub(crate) fn is_quoted(&self, at: Position) -> bool {
        self.text.get(at.0..).is_some_and(|rest| rest.starts_with('"'))
    }

    /// Line and column of `at`, both from 1; the column counts characters.
    pub(crate) fn line_and_column(&self, at: Position) -> (u32, u32) {
        let before = self.text.get(..at.0).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before[..line_start].matches('\n').count() + 1;
        let column = before[line_start..].chars().count() + 1;
        (u32::try_from(line).unwrap_or(u32::MAX), u32::try_from(column).unwrap_or(u32::MAX))
    }

    /// The error that the text at `at` is not CQL.
    pub(crate) fn syntax(&self, at: Position, message: impl Into<String>) -> RequestError {
        let (line, column) = self.line_and_column(at);
        RequestError::Syntax { line, column, message: message.into() }
    }

    /// The error that what stands at `at` is CQL but cannot be executed. The place comes last, so that
    /// tools that look for the beginning of one of Cassandra's messages find it.
    pub(crate) fn invalid(&self, at: Position, message: impl AsRef<str>) -> RequestError {
        RequestError::Invalid(self.placed(at, message.as_ref()))
    }

    /// The error that a definition asks at `at` for what there is not.
    pub(crate) fn config(&self, at: Position, message: impl AsRef<str>) -> RequestError {
        RequestError::Config(self.placed(at, message.as_ref()))
    }

    /// The error that nobody may do what stands at `at`.
    pub(crate) fn unauthorized(&self, at: Position, message: impl AsRef<str>) -> RequestError {
        RequestError::Unauthorized(self.placed(at, message.as_ref()))
    }

    /// The error that Helenus does not have the feature at `at` yet; `feature` ends in "is" or "are".
    pub(crate) fn unsupported(&self, at: Position, feature: &str) -> RequestError {
        self.invalid(at, format!("{feature} not supported yet"))
    }

    /// The same error, saying that it is about what stands at `at`.
    pub(crate) fn place(&self, at: Position, error: RequestError) -> RequestError {
        match error {
            RequestError::Invalid(message) => RequestError::Invalid(self.placed(at, &message)),
            RequestError::NotFound(message) => RequestError::NotFound(self.placed(at, &message)),
            RequestError::Config(message) => RequestError::Config(self.placed(at, &message)),
            other => other,
        }
    }

    fn placed(&self, at: Position, message: &str) -> String {
        let (line, column) = self.line_and_column(at);
        format!("{message} (line {line}:{column})")
    }
}

/// The longest piece of input that a message repeats, in characters.
const QUOTED_CHARACTERS_MAX: usize = 64;

/// Input as a message repeats it: cut short when it is long.
pub(crate) fn shortened(text: &str) -> String {
    let mut shown: String = text.chars().take(QUOTED_CHARACTERS_MAX).collect();
    if shown.len() < text.len() {
        shown.push_str("...");
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters_and_lines_count_newlines() {
        let source = Source::new("a\n  'äö' b\r\nc");
        let places = [("a", (1, 1)), ("'", (2, 3)), ("b", (2, 8)), ("c", (3, 1))];
        for (wanted, expected) in places {
            let offset = source.text.find(wanted).unwrap();
            assert_eq!(source.line_and_column(Position(offset)), expected, "{wanted}");
        }
        assert_eq!(source.line_and_column(Position(15)), (3, 2), "the end");
        assert_eq!(source.line_and_column(Position(99)), (3, 2), "behind the end");
    }
}
