//! How CQL writes names: which words are reserved, and when a name needs quotes.

use std::borrow::Cow;

/// Words that cannot be names unless they are quoted; in upper case, sorted.
#[rustfmt::skip]
const RESERVED: [&str; 59] = [
    "ADD", "ALLOW", "ALTER", "AND", "APPLY", "ASC", "AUTHORIZE", "BATCH", "BEGIN", "BY", "COLUMNFAMILY", "CREATE",
    "DELETE", "DESC", "DESCRIBE", "DROP", "ENTRIES", "EXECUTE", "FALSE", "FROM", "FULL", "GRANT", "IF", "IN", "INDEX",
    "INFINITY", "INSERT", "INTO", "IS", "KEYSPACE", "LIMIT", "MATERIALIZED", "MODIFY", "NAN", "NORECURSIVE", "NOT",
    "NULL", "OF", "ON", "OR", "ORDER", "PRIMARY", "RENAME", "REVOKE", "SCHEMA", "SELECT", "SET", "TABLE", "TO",
    "TOKEN", "TRUE", "TRUNCATE", "UNLOGGED", "UPDATE", "USE", "USING", "VIEW", "WHERE", "WITH",
];

/// True for a word that cannot be a name unless it is quoted.
#[must_use]
pub fn is_reserved(word: &str) -> bool {
    RESERVED.iter().any(|reserved| reserved.eq_ignore_ascii_case(word))
}

/// The name as CQL text: quoted exactly when it would be read as something else without quotes.
#[must_use]
pub fn quote_name(name: &str) -> Cow<'_, str> {
    let plain = name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'));
    if plain && name.starts_with(|first: char| first.is_ascii_lowercase()) && !is_reserved(name) {
        return Cow::Borrowed(name);
    }
    Cow::Owned(format!("\"{}\"", name.replace('"', "\"\"")))
}

/// Text as a CQL string constant.
#[must_use]
pub fn quote_text(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_exactly_when_they_must_be() {
        let cases = [("abc_1", "abc_1"), ("Abc", "\"Abc\""), ("1a", "\"1a\""), ("_a", "\"_a\""), ("a b", "\"a b\"")];
        for (name, expected) in cases {
            assert_eq!(quote_name(name), expected);
        }
        assert_eq!(quote_name("select"), "\"select\"", "reserved");
        assert_eq!(quote_name("ttl"), "ttl", "a keyword that is not reserved");
        assert_eq!(quote_name("a\"b"), "\"a\"\"b\"");
        assert_eq!(quote_text("it's"), "'it''s'");
    }
}
