//! JSON: reading it (RFC 8259), and from it to values of CQL, in the forms that Cassandra takes. Numbers keep their
//! text, so that no digit is lost. ([`Value::to_json`] is the way back.)

use crate::source::shortened;
use bytes::Bytes;
use model::limits::NESTING_MAX;
use model::value::{join_parts, normalize};
use model::{CqlType, Value};
use std::fmt;

/// A JSON value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Json {
    Null,
    Boolean(bool),
    /// As written.
    Number(String),
    String(String),
    Array(Vec<Json>),
    /// In the order of the text; of a name that is there twice the last value counts.
    Object(Vec<(String, Json)>),
}

/// As Java prints it, since messages repeat it.
impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, open: char, parts: Vec<String>, close: char| {
            write!(f, "{open}{}{close}", parts.join(", "))
        };
        match self {
            Json::Null => f.write_str("null"),
            Json::Boolean(value) => value.fmt(f),
            Json::Number(text) | Json::String(text) => f.write_str(text),
            Json::Array(items) => list(f, '[', items.iter().map(Json::to_string).collect(), ']'),
            Json::Object(members) => {
                list(f, '{', members.iter().map(|(name, value)| format!("{name}={value}")).collect(), '}')
            }
        }
    }
}

impl Json {
    /// The class that Cassandra's reader makes of it, which its messages name.
    fn class(&self) -> &'static str {
        match self {
            Json::Null => "null",
            Json::Boolean(_) => "Boolean",
            Json::Number(text) if text.contains(['.', 'e', 'E']) => "Double",
            Json::Number(text) if text.parse::<i32>().is_ok() => "Integer",
            Json::Number(text) if text.parse::<i64>().is_ok() => "Long",
            Json::Number(_) => "BigInteger",
            Json::String(_) => "String",
            Json::Array(_) => "ArrayList",
            Json::Object(_) => "LinkedHashMap",
        }
    }

    /// Reads a text that is one value.
    ///
    /// # Errors
    /// Says what is wrong where.
    pub(crate) fn parse(text: &str) -> Result<Json, String> {
        let mut parser = Parser { text, at: 0 };
        let value = parser.value(0)?;
        parser.skip_space();
        if parser.at == text.len() { Ok(value) } else { Err(parser.unexpected("the end")) }
    }

    /// Reads a text that is an object: the values of columns by their names. Names are folded to lower case unless
    /// they are in quotes of their own.
    ///
    /// # Errors
    /// In Cassandra's words.
    pub(crate) fn parse_columns(text: &str) -> Result<Vec<(String, Json)>, String> {
        match Json::parse(text) {
            Ok(Json::Object(members)) => Ok(folded(members)),
            Ok(Json::Null) => Err("Got null for INSERT JSON values".to_owned()),
            Ok(_) => {
                Err(format!("Could not decode JSON string as a map: it is none. (String was: {})", shortened(text)))
            }
            Err(error) => {
                Err(format!("Could not decode JSON string as a map: {error}. (String was: {})", shortened(text)))
            }
        }
    }

    /// The value of `cql_type` in wire form; `None` for null.
    ///
    /// # Errors
    /// In Cassandra's words, when it is not in a form of that type.
    pub(crate) fn to_wire(&self, cql_type: &CqlType) -> Result<Option<Bytes>, String> {
        use CqlType as T;
        if *self == Json::Null {
            return Ok(None);
        }
        let wire = match cql_type {
            CqlType::List { .. }
            | CqlType::Set { .. }
            | CqlType::Map { .. }
            | CqlType::Tuple(_)
            | CqlType::UserDefined { .. }
            | CqlType::Vector { .. } => self.composite(cql_type)?,
            // As in Cassandra, but that it takes the empty text for false.
            cql_type
                if self.is_empty_text()
                    && cql_type.has_empty_value()
                    && !matches!(cql_type, T::Boolean | T::VarInt) =>
            {
                Bytes::new()
            }
            _ => self.scalar(cql_type)?.to_wire(),
        };
        let normal = normalize(cql_type, &wire).map_err(|error| error.0)?.into_owned();
        Ok(Some(Bytes::from(normal)))
    }

    fn is_empty_text(&self) -> bool {
        matches!(self, Json::String(text) if text.is_empty())
    }

    fn expected(&self, what: &str) -> String {
        format!("Expected {what}, but got a {}: {}", self.class(), shortened(&self.to_string()))
    }

    fn scalar(&self, cql_type: &CqlType) -> Result<Value, String> {
        let (what, unable) = match cql_type {
            CqlType::Ascii => ("an ascii string", ""),
            CqlType::Text => ("a UTF-8 string", ""),
            CqlType::TinyInt => ("a byte value", "byte"),
            CqlType::SmallInt => ("a short value", "short"),
            CqlType::Int => ("an int value", "int"),
            CqlType::BigInt | CqlType::Counter => ("a bigint value", "long"),
            CqlType::Float => ("a float value", "float"),
            CqlType::Double => ("a double value", "double"),
            CqlType::Boolean => ("a boolean value", "boolean"),
            CqlType::Date => ("a string representation of a date value", ""),
            CqlType::Time => ("a string representation of a time value", ""),
            CqlType::Timestamp => ("a long or a datestring representation of a timestamp value", ""),
            CqlType::Duration => ("a string representation of a duration", ""),
            CqlType::Inet => ("a string representation of an inet value", ""),
            CqlType::Uuid => ("a string representation of a uuid", ""),
            CqlType::TimeUuid => ("a string representation of a timeuuid", ""),
            CqlType::Blob => ("a string representation of a blob", ""),
            _ => ("a number", ""),
        };
        let text = match (self, cql_type) {
            (Json::String(text), _) => text,
            (Json::Boolean(value), CqlType::Boolean) => return Ok(Value::Boolean(*value)),
            (Json::Number(text), CqlType::Int | CqlType::BigInt | CqlType::Counter | CqlType::Timestamp)
                if text.parse::<i64>().is_err() || (*cql_type == CqlType::Int && text.parse::<i32>().is_err()) =>
            {
                return Err(self.expected(what));
            }
            (Json::Number(text), _) if is_numeric(cql_type) => text,
            (_, CqlType::Decimal | CqlType::VarInt) => {
                return Err(format!("Value '{self}' is not a valid representation of a {cql_type} value"));
            }
            _ => return Err(self.expected(what)),
        };
        if *cql_type == CqlType::Blob && !text.starts_with("0x") {
            let why = format!("String representation of blob is missing 0x prefix: {text}");
            return Err(format!("Value '{text}' is not a valid blob representation: {why}"));
        }
        Value::parse(cql_type, text).map_err(|error| match cql_type {
            CqlType::Decimal | CqlType::VarInt => {
                format!("Value '{text}' is not a valid representation of a {cql_type} value")
            }
            _ if !unable.is_empty() => format!("Unable to make {unable} from '{}'", shortened(text)),
            _ => error.0,
        })
    }

    fn composite(&self, cql_type: &CqlType) -> Result<Bytes, String> {
        // As in Cassandra the JSON of what has parts may itself be in a string.
        if let Json::String(text) = self {
            let json = Json::parse(text).map_err(|error| format!("Error decoding JSON string: {error}"))?;
            return match json {
                Json::String(_) | Json::Null => Err(self.expected("a value that has parts")),
                json => json.composite(cql_type),
            };
        }
        let each = |element: &CqlType, items: &[Json], null: &str| {
            let part = |item: &Json| item.to_wire(element)?.ok_or_else(|| null.to_owned()).map(Some);
            items.iter().map(part).collect::<Result<Vec<_>, String>>()
        };
        let parts: Vec<Option<Bytes>> = match (cql_type, self) {
            (CqlType::List { element, .. }, Json::Array(items)) => {
                each(element, items, "Invalid null element in list")?
            }
            (CqlType::List { .. } | CqlType::Vector { .. }, _) if !matches!(self, Json::Array(_)) => {
                return Err(self.expected("a list"));
            }
            (CqlType::Vector { element, dimensions }, Json::Array(items)) => {
                if items.len() != *dimensions as usize {
                    let given = items.len();
                    return Err(format!("List had incorrect size: expected {dimensions} but given {given}; {self}"));
                }
                each(element, items, "Invalid null element in list")?
            }
            (CqlType::Set { element, .. }, Json::Array(items)) => each(element, items, "Invalid null element in set")?,
            (CqlType::Set { .. }, _) => return Err(self.expected("a list (representing a set)")),
            (CqlType::Map { entry, .. }, Json::Object(members)) => {
                let mut parts = Vec::new();
                for (name, value) in members {
                    let key = key_of(&entry.0, name)?.ok_or("Invalid null key in map")?;
                    let value = value.to_wire(&entry.1)?.ok_or("Invalid null value in map")?;
                    parts.extend([Some(key), Some(value)]);
                }
                parts
            }
            (CqlType::Tuple(types), Json::Array(items)) => {
                let count = types.len();
                if items.len() > count {
                    return Err(format!("Tuple contains extra items (expected {count}): {self}"));
                }
                if items.len() < count {
                    return Err(format!("Tuple is missing items (expected {count}): {self}"));
                }
                types.iter().zip(items).map(|(cql_type, item)| item.to_wire(cql_type)).collect::<Result<_, _>>()?
            }
            (CqlType::Tuple(_), _) => return Err(self.expected("a list representation of a tuple")),
            (CqlType::UserDefined { definition, .. }, Json::Object(members)) => {
                let members = folded(members.clone());
                let is_field = |name: &str| definition.fields.iter().any(|(field, _)| field == name);
                if let Some((unknown, _)) = members.iter().find(|(name, _)| !is_field(name)) {
                    let name = &definition.name;
                    return Err(format!("Unknown field '{unknown}' in value of user defined type {name}"));
                }
                let field = |(name, cql_type): &(String, CqlType)| {
                    let found = members.iter().rev().find(|(member, _)| member == name);
                    found.map_or(Ok(None), |(_, value)| value.to_wire(cql_type))
                };
                definition.fields.iter().map(field).collect::<Result<_, String>>()?
            }
            _ => return Err(self.expected("a map")),
        };
        Ok(join_parts(cql_type, &parts))
    }
}

/// The key of a map that the name of a member stands for: a string is itself, all else is JSON in a string.
fn key_of(cql_type: &CqlType, name: &str) -> Result<Option<Bytes>, String> {
    let is_composite = matches!(
        cql_type,
        CqlType::List { .. }
            | CqlType::Set { .. }
            | CqlType::Map { .. }
            | CqlType::Tuple(_)
            | CqlType::UserDefined { .. }
            | CqlType::Vector { .. }
    );
    if is_composite { Json::parse(name)?.to_wire(cql_type) } else { Json::String(name.to_owned()).to_wire(cql_type) }
}

/// Names as CQL has them: in lower case, unless they are in quotes, which go. Of one that is there twice the last
/// stays.
fn folded(members: Vec<(String, Json)>) -> Vec<(String, Json)> {
    let mut folded: Vec<(String, Json)> = Vec::with_capacity(members.len());
    for (name, value) in members {
        let quoted = name.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).map(str::to_owned);
        let name = quoted.unwrap_or_else(|| name.to_lowercase());
        folded.retain(|(other, _)| *other != name);
        folded.push((name, value));
    }
    folded
}

fn is_numeric(cql_type: &CqlType) -> bool {
    matches!(
        cql_type,
        CqlType::TinyInt
            | CqlType::SmallInt
            | CqlType::Int
            | CqlType::BigInt
            | CqlType::Counter
            | CqlType::VarInt
            | CqlType::Decimal
            | CqlType::Float
            | CqlType::Double
            | CqlType::Timestamp
    )
}

/// A row as a JSON object, as SELECT JSON writes it.
pub(crate) fn object<'a>(members: impl Iterator<Item = (&'a str, String)>) -> String {
    let member = |(name, value): (&str, String)| format!("{}: {value}", Value::Text(quoted_name(name)).to_json());
    format!("{{{}}}", members.map(member).collect::<Vec<_>>().join(", "))
}

/// A name as JSON has it: in quotes of its own unless it is in lower case.
fn quoted_name(name: &str) -> String {
    if name == name.to_lowercase() { name.to_owned() } else { format!("\"{name}\"") }
}

struct Parser<'a> {
    text: &'a str,
    /// In bytes.
    at: usize,
}

impl Parser<'_> {
    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or("")
    }

    fn skip_space(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches([' ', '\t', '\n', '\r']).len();
    }

    fn eat(&mut self, expected: &str) -> bool {
        let found = self.rest().starts_with(expected);
        self.at += if found { expected.len() } else { 0 };
        found
    }

    fn unexpected(&self, expected: &str) -> String {
        let found = self.rest().chars().next().map_or_else(|| "the end".to_owned(), |found| format!("'{found}'"));
        let column = self.text.get(..self.at).unwrap_or("").chars().count() + 1;
        format!("Unexpected {found} at column {column}: expected {expected}")
    }

    fn value(&mut self, depth: usize) -> Result<Json, String> {
        // No type is nested deeper, so no value could be made of it.
        if depth > NESTING_MAX {
            return Err(format!("JSON may not be nested more than {NESTING_MAX} deep"));
        }
        self.skip_space();
        if self.eat("null") {
            return Ok(Json::Null);
        }
        if self.eat("true") {
            return Ok(Json::Boolean(true));
        }
        if self.eat("false") {
            return Ok(Json::Boolean(false));
        }
        match self.rest().bytes().next() {
            Some(b'"') => self.string().map(Json::String),
            Some(b'[') => self.array(depth),
            Some(b'{') => self.object(depth),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => Err(self.unexpected("a value")),
        }
    }

    fn array(&mut self, depth: usize) -> Result<Json, String> {
        self.at += 1;
        let mut items = Vec::new();
        self.skip_space();
        if self.eat("]") {
            return Ok(Json::Array(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            self.skip_space();
            if self.eat("]") {
                return Ok(Json::Array(items));
            }
            if !self.eat(",") {
                return Err(self.unexpected("',' or ']'"));
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Json, String> {
        self.at += 1;
        let mut members = Vec::new();
        self.skip_space();
        if self.eat("}") {
            return Ok(Json::Object(members));
        }
        loop {
            self.skip_space();
            if !self.rest().starts_with('"') {
                return Err(self.unexpected("a name in double quotes"));
            }
            let name = self.string()?;
            self.skip_space();
            if !self.eat(":") {
                return Err(self.unexpected("':'"));
            }
            members.push((name, self.value(depth + 1)?));
            self.skip_space();
            if self.eat("}") {
                return Ok(Json::Object(members));
            }
            if !self.eat(",") {
                return Err(self.unexpected("',' or '}'"));
            }
        }
    }

    fn digits(&mut self) -> Result<(), String> {
        let count = self.rest().bytes().take_while(u8::is_ascii_digit).count();
        self.at += count;
        if count == 0 { Err(self.unexpected("a digit")) } else { Ok(()) }
    }

    fn number(&mut self) -> Result<Json, String> {
        let start = self.at;
        self.eat("-");
        if self.eat("0") {
            if self.rest().starts_with(|next: char| next.is_ascii_digit()) {
                return Err(self.unexpected("no digit after a leading zero"));
            }
        } else {
            self.digits()?;
        }
        if self.eat(".") {
            self.digits()?;
        }
        if self.eat("e") || self.eat("E") {
            let _signed = self.eat("+") || self.eat("-");
            self.digits()?;
        }
        Ok(Json::Number(self.text[start..self.at].to_owned()))
    }

    fn string(&mut self) -> Result<String, String> {
        self.at += 1;
        let mut string = String::new();
        loop {
            let Some(next) = self.rest().chars().next() else { return Err(self.unexpected("'\"'")) };
            if next < ' ' {
                return Err(self.unexpected("an escaped control character"));
            }
            self.at += next.len_utf8();
            match next {
                '"' => return Ok(string),
                '\\' => string.push(self.escaped()?),
                other => string.push(other),
            }
        }
    }

    fn escaped(&mut self) -> Result<char, String> {
        let Some(next) = self.rest().chars().next() else { return Err(self.unexpected("an escape")) };
        let simple = match next {
            '"' | '\\' | '/' => next,
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => {
                self.at += 1;
                return self.unicode();
            }
            _ => return Err(self.unexpected("an escape")),
        };
        self.at += 1;
        Ok(simple)
    }

    fn unit(&mut self) -> Result<u32, String> {
        let digits = self.text.get(self.at..self.at + 4).filter(|digits| digits.bytes().all(|d| d.is_ascii_hexdigit()));
        let unit = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
        let unit = unit.ok_or_else(|| self.unexpected("four hexadecimal digits"))?;
        self.at += 4;
        Ok(unit)
    }

    fn unicode(&mut self) -> Result<char, String> {
        let first = self.unit()?;
        let code = match first {
            0xd800..=0xdbff if self.eat("\\u") => match self.unit()? {
                second @ 0xdc00..=0xdfff => 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00),
                _ => return Err("a surrogate pair is not complete".to_owned()),
            },
            other => other,
        };
        char::from_u32(code).ok_or_else(|| "a surrogate stands alone".to_owned())
    }
}

#[cfg(test)]
#[path = "json_tests.rs"]
mod tests;
