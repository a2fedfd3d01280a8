//! Colours for what is typed: keywords, constants, names in quotes, remarks.

use crate::completion::KEYWORDS;

const KEYWORD: &str = "\x1b[1;34m";
const CONSTANT: &str = "\x1b[33m";
const NUMBER: &str = "\x1b[32m";
const NAME: &str = "\x1b[35m";
const REMARK: &str = "\x1b[2m";
const PLAIN: &str = "\x1b[0m";

/// `text` with colours: the same characters, with escape sequences between them.
pub(crate) fn highlight(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (length, color) = token(rest, first);
        let (token, after) = rest.split_at(length);
        match color {
            Some(color) => out.extend([color, token, PLAIN]),
            None => out.push_str(token),
        }
        rest = after;
    }
    out
}

/// The length in bytes of the token that `text` starts with, at least that of `first`, and its colour.
fn token(text: &str, first: char) -> (usize, Option<&'static str>) {
    let line = || text.find('\n').unwrap_or(text.len());
    let quoted = |quote: &str| text[quote.len()..].find(quote).map_or(text.len(), |end| end + 2 * quote.len());
    match first {
        '\'' => (quoted("'"), Some(CONSTANT)),
        '"' => (quoted("\""), Some(NAME)),
        '$' if text.starts_with("$$") => (quoted("$$"), Some(CONSTANT)),
        '-' if text.starts_with("--") => (line(), Some(REMARK)),
        '/' if text.starts_with("//") => (line(), Some(REMARK)),
        '/' if text.starts_with("/*") => (text[2..].find("*/").map_or(text.len(), |end| end + 4), Some(REMARK)),
        _ if first.is_alphanumeric() || first == '_' => {
            let end = text.find(|next: char| !(next.is_alphanumeric() || "_.-".contains(next)));
            let number = first.is_ascii_digit();
            let length = if number {
                end.unwrap_or(text.len())
            } else {
                text.find(|next: char| !(next.is_alphanumeric() || next == '_')).unwrap_or(text.len())
            };
            let word = text[..length].to_ascii_uppercase();
            let keyword = KEYWORDS.contains(&word.as_str()) || crate::command::WORDS.contains(&word.as_str());
            (length, if number { Some(NUMBER) } else { keyword.then_some(KEYWORD) })
        }
        _ => (first.len_utf8(), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn without_colors(text: &str) -> String {
        [KEYWORD, CONSTANT, NUMBER, NAME, REMARK, PLAIN]
            .iter()
            .fold(text.to_owned(), |text, color| text.replace(color, ""))
    }

    #[test]
    fn tokens_have_the_color_of_what_they_are() {
        let colored = highlight("select a, 'it''s', 12, \"N\" from t -- note");
        for part in [
            format!("{KEYWORD}select{PLAIN} a"),
            format!("{CONSTANT}'it'{PLAIN}{CONSTANT}'s'{PLAIN}"),
            format!("{NUMBER}12{PLAIN}"),
            format!("{NAME}\"N\"{PLAIN}"),
            format!("{REMARK}-- note{PLAIN}"),
        ] {
            assert!(colored.contains(&part), "{part:?} in {colored:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_is_added_but_colors(text in "[a-zA-Zä0-9'\"$/*\n;., -]{0,40}") {
            prop_assert_eq!(without_colors(&highlight(&text)), text);
        }
    }
}
