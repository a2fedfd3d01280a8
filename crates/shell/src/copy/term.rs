//! Collections, tuples, vectors and user-defined types as cqlsh and `Value`'s `Display` write them:
//! `[1, 2]`, `{'a', 'b'}`, `{'k': 0x01}`, `(1, null)`, `{street: 'x', "No": 5}`.
//!
//! Invariants:
//! * Constants may be in single quotes or not, as cqlsh reads them; without quotes they end at the next separator.
//! * Nothing recurses deeper than the type is nested.

use model::{CqlType, Value};

/// The value of the composite type `cql_type` that `text` writes. `null` is the text that may stand for null besides
/// the word.
///
/// # Errors
/// When it is not written so.
pub(super) fn parse_term(cql_type: &CqlType, text: &str, null: &str) -> Result<Value, String> {
    let mut scanner = Scanner { text, rest: text, null };
    let value = scanner.value(cql_type, &[])?;
    scanner.skip_space();
    if scanner.rest.is_empty() { Ok(value) } else { Err(scanner.wrong("the end")) }
}

struct Scanner<'a> {
    text: &'a str,
    rest: &'a str,
    null: &'a str,
}

impl Scanner<'_> {
    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn wrong(&self, expected: &str) -> String {
        let at = self.text.len() - self.rest.len();
        let position = self.text.get(..at).map_or(at, |before| before.chars().count()) + 1;
        format!("expected {expected} at character {position} of '{}'", shortened(self.text))
    }

    fn eat(&mut self, character: char) -> bool {
        self.skip_space();
        let rest = self.rest.strip_prefix(character);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn expect(&mut self, character: char) -> Result<(), String> {
        if self.eat(character) { Ok(()) } else { Err(self.wrong(&format!("'{character}'"))) }
    }

    /// A value; a constant without quotes ends before one of `ends`.
    fn value(&mut self, cql_type: &CqlType, ends: &[char]) -> Result<Value, String> {
        match cql_type {
            CqlType::List { element, .. } => Ok(Value::List(self.sequence('[', ']', element)?)),
            CqlType::Set { element, .. } => Ok(Value::Set(self.sequence('{', '}', element)?)),
            CqlType::Vector { element, dimensions } => {
                let values = self.sequence('[', ']', element)?;
                let wanted = *dimensions as usize;
                if values.len() != wanted {
                    return Err(format!("a {cql_type} has {wanted} elements, not {}", values.len()));
                }
                Ok(Value::Vector(values))
            }
            CqlType::Map { entry, .. } => {
                let mut entries = Vec::new();
                self.enclosed('{', '}', |scanner| {
                    let key = scanner.value(&entry.0, &[':', ',', '}'])?;
                    scanner.expect(':')?;
                    entries.push((key, scanner.value(&entry.1, &[',', '}'])?));
                    Ok(())
                })?;
                Ok(Value::Map(entries))
            }
            CqlType::Tuple(types) => {
                let mut fields = Vec::new();
                self.enclosed('(', ')', |scanner| {
                    let Some(field) = types.get(fields.len()) else {
                        return Err(format!("the tuple has {} fields, not more", types.len()));
                    };
                    fields.push(scanner.value_or_null(field, &[',', ')'])?);
                    Ok(())
                })?;
                Ok(Value::Tuple(fields))
            }
            CqlType::UserDefined { definition, .. } => self.user_defined(&definition.fields),
            scalar => {
                let text = self.constant(ends)?;
                Value::parse(scalar, &text).map_err(|error| error.to_string())
            }
        }
    }

    fn sequence(&mut self, open: char, close: char, element: &CqlType) -> Result<Vec<Value>, String> {
        let mut values = Vec::new();
        self.enclosed(open, close, |scanner| {
            values.push(scanner.value(element, &[',', close])?);
            Ok(())
        })?;
        Ok(values)
    }

    /// The fields by name in any order; those that are left out at the end are left out of the value, others are null.
    fn user_defined(&mut self, fields: &[(String, CqlType)]) -> Result<Value, String> {
        let mut found: Vec<Option<Option<Value>>> = vec![None; fields.len()];
        self.enclosed('{', '}', |scanner| {
            let name = scanner.constant(&[':', ',', '}'])?;
            scanner.expect(':')?;
            let Some(index) = fields.iter().position(|(field, _)| *field == name) else {
                return Err(format!("the type has no field '{}'", shortened(&name)));
            };
            if found[index].is_some() {
                return Err(format!("the field '{name}' is there twice"));
            }
            found[index] = Some(scanner.value_or_null(&fields[index].1, &[',', '}'])?);
            Ok(())
        })?;
        let count = found.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
        let named = fields.iter().map(|(name, _)| name.clone()).zip(found);
        Ok(Value::UserDefined(named.take(count).map(|(name, value)| (name, value.flatten())).collect()))
    }

    /// Parts between `open` and `close`, separated by commas.
    fn enclosed(
        &mut self,
        open: char,
        close: char,
        mut part: impl FnMut(&mut Self) -> Result<(), String>,
    ) -> Result<(), String> {
        self.expect(open)?;
        if self.eat(close) {
            return Ok(());
        }
        loop {
            part(self)?;
            if self.eat(close) {
                return Ok(());
            }
            if !self.eat(',') {
                return Err(self.wrong(&format!("',' or '{close}'")));
            }
        }
    }

    fn value_or_null(&mut self, cql_type: &CqlType, ends: &[char]) -> Result<Option<Value>, String> {
        self.skip_space();
        let end = self.rest.find(ends).unwrap_or(self.rest.len());
        let (word, after) = self.rest.split_at(end);
        let word = word.trim_end();
        if word.is_empty() || word.eq_ignore_ascii_case("null") || self.is_null(cql_type, word) {
            self.rest = after;
            return Ok(None);
        }
        self.value(cql_type, ends).map(Some)
    }

    /// True when a word without quotes is the text for null, and not a value that happens to look like it: texts are
    /// written in quotes.
    fn is_null(&self, cql_type: &CqlType, word: &str) -> bool {
        let is_text = matches!(cql_type, CqlType::Text | CqlType::Ascii);
        word == self.null && !word.starts_with(['[', '{', '(']) && (is_text || Value::parse(cql_type, word).is_err())
    }

    /// A constant or name: in quotes, which are doubled within, or up to one of `ends`.
    fn constant(&mut self, ends: &[char]) -> Result<String, String> {
        self.skip_space();
        let Some(quote) = self.rest.chars().next().filter(|first| ['\'', '"'].contains(first)) else {
            let end = self.rest.find(ends).unwrap_or(self.rest.len());
            let (word, after) = self.rest.split_at(end);
            if word.trim_end().is_empty() {
                return Err(self.wrong("a value"));
            }
            self.rest = after;
            return Ok(word.trim_end().to_owned());
        };
        let mut content = String::new();
        let mut rest = &self.rest[1..];
        loop {
            let Some(end) = rest.find(quote) else { return Err(self.wrong("a quote that is closed")) };
            content.push_str(&rest[..end]);
            rest = &rest[end + 1..];
            match rest.strip_prefix(quote) {
                Some(after) => {
                    content.push(quote);
                    rest = after;
                }
                None => {
                    self.rest = rest;
                    return Ok(content);
                }
            }
        }
    }
}

/// A text as a message repeats it.
fn shortened(text: &str) -> String {
    let mut shown: String = text.chars().take(64).collect();
    if shown.len() < text.len() {
        shown.push_str("...");
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::types::UserType;
    use std::sync::Arc;

    fn list(element: CqlType) -> CqlType {
        CqlType::List { element: Arc::new(element), frozen: false }
    }

    fn map(key: CqlType, value: CqlType) -> CqlType {
        CqlType::Map { entry: Arc::new((key, value)), frozen: false }
    }

    fn address() -> CqlType {
        let fields = vec![("street".to_owned(), CqlType::Text), ("No".to_owned(), CqlType::Int)];
        let definition = UserType { keyspace: "k".into(), name: "address".into(), fields };
        CqlType::user_defined(&Arc::new(definition), true)
    }

    #[test]
    fn terms_are_read_as_cqlsh_writes_them() {
        let text = |text: &str| Value::Text(text.into());
        let tuple = CqlType::Tuple(Arc::new(vec![CqlType::Int, CqlType::Text]));
        let cases = [
            (list(CqlType::Int), "[1, 2]", Value::List(vec![Value::Int(1), Value::Int(2)])),
            (list(CqlType::Int), " [ ] ", Value::List(vec![])),
            (list(CqlType::Text), "['it''s, ]', b c]", Value::List(vec![text("it's, ]"), text("b c")])),
            (
                map(CqlType::Text, list(CqlType::Boolean)),
                "{'a:b': [True, false], c: []}",
                Value::Map(vec![
                    (text("a:b"), Value::List(vec![Value::Boolean(true), Value::Boolean(false)])),
                    (text("c"), Value::List(vec![])),
                ]),
            ),
            (tuple.clone(), "(1, null)", Value::Tuple(vec![Some(Value::Int(1)), None])),
            (tuple, "(, 'null')", Value::Tuple(vec![None, Some(text("null"))])),
            (
                address(),
                "{\"No\": 5, street: 'x'}",
                Value::UserDefined(vec![("street".into(), Some(text("x"))), ("No".into(), Some(Value::Int(5)))]),
            ),
            (address(), "{street: n/a}", Value::UserDefined(vec![("street".into(), None)])),
        ];
        for (cql_type, written, expected) in cases {
            assert_eq!(parse_term(&cql_type, written, "n/a"), Ok(expected), "{written}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let cases = [
            (list(CqlType::Int), "[1, x]", "Unable to make int from 'x'"),
            (list(CqlType::Int), "[1 2", "Unable to make int from '1 2'"),
            (list(CqlType::Text), "['a' 'b']", "expected ',' or ']' at character 6"),
            (list(CqlType::Text), "['a", "a quote that is closed at character 2"),
            (list(CqlType::Int), "[1] 2", "expected the end at character 5"),
            (list(CqlType::Int), "", "expected '[' at character 1"),
            (map(CqlType::Int, CqlType::Int), "{1}", "expected ':' at character 3"),
            (address(), "{city: 'x'}", "no field 'city'"),
            (address(), "{street: 'x', street: 'y'}", "twice"),
            (CqlType::Tuple(Arc::new(vec![CqlType::Int])), "(1, 2)", "has 1 fields"),
            (CqlType::Vector { element: Arc::new(CqlType::Int), dimensions: 2 }, "[1]", "has 2 elements, not 1"),
        ];
        for (cql_type, written, expected) in cases {
            let message = parse_term(&cql_type, written, "").unwrap_err();
            assert!(message.contains(expected), "{written}: {message}");
        }
    }
}
