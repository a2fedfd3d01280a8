//! Values for bind markers as the corpus writes them: CQL literals, `null`, `unset`, and `raw 0x..` for bytes as
//! they are, valid or not.

use client::{CqlType, ToValue, Value, Written};
use model::value::ValueError;

/// A value as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Literal {
    /// A constant, or a string without its quotes.
    Constant(String),
    /// Bytes as they are.
    Raw(Vec<u8>),
    /// No value.
    Null,
    /// Not set.
    Unset,
    /// A list, tuple or vector.
    Sequence(Vec<Literal>),
    /// A set.
    Set(Vec<Literal>),
    /// A map, or the fields of a user-defined type.
    Entries(Vec<(Literal, Literal)>),
}

/// Reads the values of a `bind` directive.
///
/// # Errors
/// Where the text cannot be read.
pub fn literals(text: &str) -> Result<Vec<Literal>, String> {
    let mut reader = Reader { rest: text.trim() };
    let mut values = Vec::new();
    while !reader.rest.is_empty() {
        values.push(reader.value()?);
        reader.eat(',');
    }
    Ok(values)
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    /// Takes a character off the front if it is there, and the spaces behind it.
    fn eat(&mut self, expected: char) -> bool {
        let rest = self.rest.strip_prefix(expected);
        self.rest = rest.unwrap_or(self.rest).trim_start();
        rest.is_some()
    }

    fn value(&mut self) -> Result<Literal, String> {
        if self.eat('[') {
            return self.parts(']').map(|parts| Literal::Sequence(parts.into_iter().map(|(part, _)| part).collect()));
        }
        if self.eat('(') {
            return self.parts(')').map(|parts| Literal::Sequence(parts.into_iter().map(|(part, _)| part).collect()));
        }
        if self.eat('{') {
            let parts = self.parts('}')?;
            let entries: Option<Vec<_>> =
                parts.iter().map(|(key, value)| value.clone().map(|value| (key.clone(), value))).collect();
            let set = || Literal::Set(parts.iter().map(|(part, _)| part.clone()).collect());
            return Ok(entries.filter(|entries| !entries.is_empty()).map_or_else(set, Literal::Entries));
        }
        if self.rest.starts_with('\'') {
            return self.string().map(Literal::Constant);
        }
        match self.word()? {
            "null" => Ok(Literal::Null),
            "unset" => Ok(Literal::Unset),
            "raw" => {
                let word = self.word()?;
                match Value::parse(&CqlType::Blob, word) {
                    Ok(Value::Blob(bytes)) => Ok(Literal::Raw(bytes.to_vec())),
                    _ => Err(format!("'raw' is followed by 0x.., not {word}")),
                }
            }
            word => Ok(Literal::Constant(word.to_owned())),
        }
    }

    fn parts(&mut self, close: char) -> Result<Vec<(Literal, Option<Literal>)>, String> {
        let mut parts = Vec::new();
        while !self.eat(close) {
            let part = self.value()?;
            let value = if self.eat(':') { Some(self.value()?) } else { None };
            parts.push((part, value));
            self.eat(',');
        }
        Ok(parts)
    }

    /// A string in quotes, of which two stand for one.
    fn string(&mut self) -> Result<String, String> {
        let mut content = String::new();
        let mut rest = &self.rest[1..];
        loop {
            let (before, after) = rest.split_once('\'').ok_or_else(|| format!("no end of {}", self.rest))?;
            content.push_str(before);
            match after.strip_prefix('\'') {
                Some(more) => rest = more,
                None => {
                    self.rest = after.trim_start();
                    return Ok(content);
                }
            }
            content.push('\'');
        }
    }

    fn word(&mut self) -> Result<&str, String> {
        let end = self.rest.find(|next: char| next.is_whitespace() || "[](){}:,'".contains(next));
        let (word, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        if word.is_empty() {
            return Err(format!("cannot read the value at {}", self.rest));
        }
        self.rest = rest.trim_start();
        Ok(word)
    }
}

impl Literal {
    /// The wire form; `None` for null.
    fn wire(&self, cql_type: &CqlType) -> Result<Option<Vec<u8>>, ValueError> {
        let no_value = || ValueError(format!("{self:?} is not written for a value of type {cql_type}"));
        Ok(Some(match (self, cql_type) {
            (Literal::Null, _) => return Ok(None),
            (Literal::Raw(bytes), _) => bytes.clone(),
            (Literal::Constant(text), _) => Value::parse(cql_type, text)?.to_wire().to_vec(),
            (
                Literal::Sequence(parts) | Literal::Set(parts),
                CqlType::List { element, .. } | CqlType::Set { element, .. },
            ) => counted(parts.len(), parts.iter().map(|part| part.wire(element)))?,
            (Literal::Set(parts), CqlType::Map { .. }) if parts.is_empty() => counted(0, std::iter::empty())?,
            (Literal::Entries(entries), CqlType::Map { entry, .. }) => {
                let wires = entries.iter().flat_map(|(key, value)| [key.wire(&entry.0), value.wire(&entry.1)]);
                counted(entries.len(), wires)?
            }
            (Literal::Sequence(parts), CqlType::Tuple(types)) => {
                sized(parts.iter().zip(types.iter()).map(|(part, cql_type)| part.wire(cql_type)))?
            }
            (Literal::Entries(entries), CqlType::UserDefined { definition, .. }) => {
                let field = |(name, cql_type): &(String, CqlType)| {
                    let named = |(key, _): &&(Literal, Literal)| *key == Literal::Constant(name.clone());
                    entries.iter().find(named).map_or(Ok(None), |(_, value)| value.wire(cql_type))
                };
                sized(definition.fields.iter().map(field))?
            }
            // The corpus binds vectors of types of fixed length only.
            (Literal::Sequence(parts), CqlType::Vector { element, .. }) => {
                let wires: Result<Vec<_>, _> = parts.iter().map(|part| part.wire(element)).collect();
                wires?.into_iter().flatten().flatten().collect()
            }
            _ => return Err(no_value()),
        }))
    }
}

/// Parts with their lengths before them; -1 for null.
fn sized(parts: impl Iterator<Item = Result<Option<Vec<u8>>, ValueError>>) -> Result<Vec<u8>, ValueError> {
    let mut out = Vec::new();
    for part in parts {
        match part? {
            Some(part) => {
                out.extend_from_slice(&(part.len() as i32).to_be_bytes());
                out.extend_from_slice(&part);
            }
            None => out.extend_from_slice(&(-1i32).to_be_bytes()),
        }
    }
    Ok(out)
}

fn counted(
    count: usize,
    parts: impl Iterator<Item = Result<Option<Vec<u8>>, ValueError>>,
) -> Result<Vec<u8>, ValueError> {
    let mut out = (count as i32).to_be_bytes().to_vec();
    out.extend(sized(parts)?);
    Ok(out)
}

impl ToValue for Literal {
    fn to_value(&self, cql_type: &CqlType, out: &mut Vec<u8>) -> Result<Written, ValueError> {
        if *self == Literal::Unset {
            return Ok(Written::Unset);
        }
        let wire = self.wire(cql_type)?;
        out.extend_from_slice(wire.as_deref().unwrap_or_default());
        Ok(if wire.is_some() { Written::Value } else { Written::Null })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn values_are_read() {
        let constant = |text: &str| Literal::Constant(text.to_owned());
        assert_eq!(literals("").unwrap(), []);
        assert_eq!(
            literals("1, 'it''s, so', null, unset, raw 0x00ff").unwrap(),
            [constant("1"), constant("it's, so"), Literal::Null, Literal::Unset, Literal::Raw(vec![0, 255])]
        );
        assert_eq!(
            literals("[(1, null), {}], {'a': 1}, {b}").unwrap(),
            [
                Literal::Sequence(vec![
                    Literal::Sequence(vec![constant("1"), Literal::Null]),
                    Literal::Set(Vec::new())
                ]),
                Literal::Entries(vec![(constant("a"), constant("1"))]),
                Literal::Set(vec![constant("b")]),
            ]
        );
        assert!(literals("'open").is_err());
        assert!(literals("raw 5").is_err());
    }

    #[test]
    fn values_are_written_by_the_type_of_the_marker() {
        let list = CqlType::List { element: Arc::new(CqlType::Int), frozen: false };
        let mut out = Vec::new();
        let value = &literals("[7, null]").unwrap()[0];
        assert_eq!(value.to_value(&list, &mut out), Ok(Written::Value));
        assert_eq!(out, [0, 0, 0, 2, 0, 0, 0, 4, 0, 0, 0, 7, 255, 255, 255, 255]);
        assert_eq!(Literal::Null.to_value(&list, &mut Vec::new()), Ok(Written::Null));
        assert!(Literal::Constant("x".to_owned()).to_value(&CqlType::Int, &mut Vec::new()).is_err());
    }
}
