//! The names that Cassandra's classes give to types: what `custom` carries. Types in a class name are as Cassandra
//! writes them: a frozen type outside of another is in `FrozenType(...)`, names of user-defined types and of their
//! fields are in hexadecimal, and a vector has spaces around its comma.

use crate::column_type::SIMPLE;
use model::CqlType;
use model::limits::NESTING_MAX;
use model::types::UserType;
use std::fmt::Write;
use std::sync::Arc;

const PACKAGE: &str = "org.apache.cassandra.db.marshal.";
/// Deepest nesting of parentheses: each type may be in one of its own that says that it is frozen.
const DEPTH_MAX: usize = 2 * NESTING_MAX;

/// The name of the class of a type.
pub(crate) fn class_name(cql_type: &CqlType) -> String {
    let mut out = String::new();
    put_class(&mut out, cql_type, false);
    out
}

/// Appends it; inside of what is frozen, `frozen` is not said again.
fn put_class(out: &mut String, cql_type: &CqlType, inside_frozen: bool) {
    let is_frozen = match cql_type {
        CqlType::List { frozen, .. }
        | CqlType::Set { frozen, .. }
        | CqlType::Map { frozen, .. }
        | CqlType::UserDefined { frozen, .. } => *frozen,
        _ => false,
    };
    let wrapped = is_frozen && !inside_frozen;
    if wrapped {
        out.push_str(PACKAGE);
        out.push_str("FrozenType(");
    }
    out.push_str(PACKAGE);
    let inner = inside_frozen || is_frozen;
    match cql_type {
        CqlType::Vector { element, dimensions } => {
            out.push_str("VectorType(");
            put_class(out, element, inside_frozen);
            let _ = write!(out, " , {dimensions})");
        }
        CqlType::List { element, .. } => put_parameters(out, "ListType", [element.as_ref()], inner),
        CqlType::Set { element, .. } => put_parameters(out, "SetType", [element.as_ref()], inner),
        CqlType::Map { entry, .. } => put_parameters(out, "MapType", [&entry.0, &entry.1], inner),
        CqlType::Tuple(types) => put_parameters(out, "TupleType", types.iter(), true),
        CqlType::UserDefined { definition, .. } => {
            let _ = write!(out, "UserType({},{}", definition.keyspace, hexadecimal(&definition.name));
            for (name, cql_type) in &definition.fields {
                let _ = write!(out, ",{}:", hexadecimal(name));
                put_class(out, cql_type, inner);
            }
            out.push(')');
        }
        scalar => {
            let found = SIMPLE.iter().find(|simple| simple.cql_type == *scalar);
            out.push_str(found.expect("SIMPLE lists every type without parameters").class);
        }
    }
    if wrapped {
        out.push(')');
    }
}

fn put_parameters<'a>(
    out: &mut String,
    class: &str,
    parameters: impl IntoIterator<Item = &'a CqlType>,
    inside_frozen: bool,
) {
    out.push_str(class);
    for (index, parameter) in parameters.into_iter().enumerate() {
        out.push(if index == 0 { '(' } else { ',' });
        put_class(out, parameter, inside_frozen);
    }
    out.push(')');
}

fn hexadecimal(name: &str) -> String {
    name.bytes().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

fn of_hexadecimal(text: &str) -> Option<String> {
    let digits = text.as_bytes();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let whole = digits.len().is_multiple_of(2) && digits.iter().all(u8::is_ascii_hexdigit);
    let bytes = whole.then(|| digits.chunks(2).map(byte).collect::<Option<Vec<u8>>>())??;
    String::from_utf8(bytes).ok()
}

/// The type of a class name, frozen throughout; `None` when it is not the name of one that exists here.
pub(crate) fn of_class_name(name: &str) -> Option<CqlType> {
    let mut parser = Parser { rest: name };
    let cql_type = parser.class(1)?;
    parser.rest.is_empty().then_some(cql_type)
}

struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    /// What comes before the next character that has a meaning.
    fn word(&mut self) -> &'a str {
        let end = self.rest.find(['(', ')', ',', ':', ' ']).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    /// Goes past `text`, with spaces on both sides.
    fn eat(&mut self, text: char) -> Option<()> {
        self.rest = self.rest.trim_start().strip_prefix(text)?.trim_start();
        Some(())
    }

    fn class(&mut self, depth: usize) -> Option<CqlType> {
        if depth > DEPTH_MAX {
            return None;
        }
        let class = self.word().strip_prefix(PACKAGE)?;
        if let Some(simple) = SIMPLE.iter().find(|simple| simple.class == class) {
            return Some(simple.cql_type.clone());
        }
        self.eat('(')?;
        let cql_type = match class {
            "FrozenType" => self.class(depth + 1)?,
            "VectorType" => {
                let element = Arc::new(self.class(depth + 1)?);
                self.eat(',')?;
                CqlType::Vector { element, dimensions: self.word().parse().ok()? }
            }
            "ListType" => CqlType::List { element: Arc::new(self.class(depth + 1)?), frozen: true },
            "SetType" => CqlType::Set { element: Arc::new(self.class(depth + 1)?), frozen: true },
            "MapType" => {
                let key = self.class(depth + 1)?;
                self.eat(',')?;
                CqlType::Map { entry: Arc::new((key, self.class(depth + 1)?)), frozen: true }
            }
            "TupleType" => {
                let mut types = vec![self.class(depth + 1)?];
                while self.eat(',').is_some() {
                    types.push(self.class(depth + 1)?);
                }
                CqlType::Tuple(Arc::new(types))
            }
            "UserType" => self.user_type(depth)?,
            _ => return None,
        };
        self.eat(')')?;
        Some(cql_type)
    }

    fn user_type(&mut self, depth: usize) -> Option<CqlType> {
        let keyspace = self.word().to_owned();
        self.eat(',')?;
        let name = of_hexadecimal(self.word())?;
        let mut fields = Vec::new();
        while self.eat(',').is_some() {
            let field = of_hexadecimal(self.word())?;
            self.eat(':')?;
            fields.push((field, self.class(depth + 1)?));
        }
        Some(CqlType::UserDefined { definition: Arc::new(UserType { keyspace, name, fields }), frozen: true })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::cql_type;
    use proptest::prelude::*;

    #[test]
    fn names_are_those_that_drivers_parse() {
        let int = || Arc::new(CqlType::Int);
        let vector = |element, dimensions| CqlType::Vector { element, dimensions };
        let list = || Arc::new(CqlType::List { element: int(), frozen: true });
        let fields = vec![("street".to_owned(), CqlType::Text), ("numbers".to_owned(), list().as_ref().clone())];
        let definition = UserType { keyspace: "k".to_owned(), name: "address".to_owned(), fields };
        let address = CqlType::UserDefined { definition: Arc::new(definition), frozen: true };
        let p = PACKAGE;
        for (cql_type, expected) in [
            (vector(Arc::new(CqlType::Float), 3), format!("{p}VectorType({p}FloatType , 3)")),
            (
                vector(Arc::new(vector(list(), 2)), 1),
                format!("{p}VectorType({p}VectorType({p}FrozenType({p}ListType({p}Int32Type)) , 2) , 1)"),
            ),
            (
                CqlType::Tuple(Arc::new(vec![CqlType::Text, list().as_ref().clone()])),
                format!("{p}TupleType({p}UTF8Type,{p}ListType({p}Int32Type))"),
            ),
            (
                vector(Arc::new(address), 2),
                format!(
                    "{p}VectorType({p}FrozenType({p}UserType(k,61646472657373,737472656574:{p}UTF8Type,\
                     6e756d62657273:{p}ListType({p}Int32Type))) , 2)"
                ),
            ),
        ] {
            assert_eq!(class_name(&cql_type), expected);
        }
    }

    proptest! {
        #[test]
        fn names_come_back(cql_type in cql_type()) {
            let cql_type = cql_type.freeze();
            prop_assert_eq!(of_class_name(&class_name(&cql_type)), Some(cql_type));
        }

        #[test]
        fn any_text_is_a_type_or_none(text in "(org\\.apache\\.cassandra\\.db\\.marshal\\.)?[A-Za-z0-9(),: ]{0,40}") {
            let _ = of_class_name(&text);
            let _ = of_class_name(&"org.apache.cassandra.db.marshal.FrozenType(".repeat(1_000));
        }
    }
}
