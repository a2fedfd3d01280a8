//! Values as text: read from a literal's content or a CSV field, printed for people, for CQL and as
//! JSON.

use super::temporal::{TimestampForm, TimestampText};
use super::{Value, ValueError, decimal, temporal};
use crate::id::{parse_uuid, write_uuid};
use crate::name::quote_name;
use crate::types::CqlType;
use bytes::Bytes;
use std::fmt;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

/// Longest part of a text that an error quotes, in characters.
const QUOTED_CHARACTERS_MAX: usize = 64;

impl Value {
    /// The value of type `cql_type` that `text` writes: the content of a string literal, a constant,
    /// or a field of a CSV file. Reads whatever [`Value`]'s `Display`, [`Value::to_cql_literal`]
    /// (without its quotes) and Cassandra's own tools print.
    ///
    /// # Errors
    /// When `text` is not in a form of that type, or out of its range; when the type is a collection, tuple,
    /// vector or user-defined type: CQL writes such values as terms of their own, not as constants.
    pub fn parse(cql_type: &CqlType, text: &str) -> Result<Value, ValueError> {
        let parsed = match cql_type {
            CqlType::Inet | CqlType::Timestamp if text.is_empty() => Some(Value::Empty),
            CqlType::Ascii => text.is_ascii().then(|| Value::Ascii(text.to_owned())),
            CqlType::Text => Some(Value::Text(text.to_owned())),
            CqlType::Blob => parse_blob(text),
            CqlType::Boolean => match () {
                () if text.eq_ignore_ascii_case("true") => Some(Value::Boolean(true)),
                () if text.eq_ignore_ascii_case("false") => Some(Value::Boolean(false)),
                () => None,
            },
            CqlType::TinyInt => text.parse().ok().map(Value::TinyInt),
            CqlType::SmallInt => text.parse().ok().map(Value::SmallInt),
            CqlType::Int => text.parse().ok().map(Value::Int),
            CqlType::BigInt => text.parse().ok().map(Value::BigInt),
            CqlType::Counter => text.parse().ok().map(Value::Counter),
            CqlType::VarInt => decimal::parse_integer(text).map(Value::VarInt),
            CqlType::Decimal => decimal::parse(text),
            CqlType::Float => {
                text.parse().ok().filter(|value: &f32| in_range(value.is_infinite(), text)).map(Value::Float)
            }
            CqlType::Double => {
                text.parse().ok().filter(|value: &f64| in_range(value.is_infinite(), text)).map(Value::Double)
            }
            CqlType::Date => temporal::parse_date(text),
            CqlType::Time => temporal::parse_time(text),
            CqlType::Timestamp => temporal::parse_timestamp(text),
            CqlType::Duration => temporal::parse_duration(text),
            CqlType::Inet => parse_address(text).map(Value::Inet),
            CqlType::Uuid => parse_uuid(text).map(Value::Uuid),
            CqlType::TimeUuid => parse_uuid(text).filter(|bits| bits >> 76 & 0xf == 1).map(Value::TimeUuid),
            CqlType::Vector { .. }
            | CqlType::List { .. }
            | CqlType::Set { .. }
            | CqlType::Map { .. }
            | CqlType::Tuple(_)
            | CqlType::UserDefined { .. } => None,
        };
        parsed.ok_or_else(|| not_a(cql_type, text))
    }

    /// The value as a CQL constant or, if it has parts, as a term of constants; quoted where CQL asks for quotes.
    #[must_use]
    pub fn to_cql_literal(&self) -> String {
        match self {
            Value::Ascii(text) | Value::Text(text) => format!("'{}'", text.replace('\'', "''")),
            Value::Timestamp(value) => format!("'{}'", TimestampText(*value, TimestampForm::Literal)),
            Value::Date(_) | Value::Time(_) | Value::Inet(_) => format!("'{self}'"),
            Value::Boolean(value) => value.to_string(),
            Value::Empty => "''".to_owned(),
            Value::List(values) | Value::Vector(values) => enclosed('[', values.iter().map(Value::to_cql_literal), ']'),
            Value::Set(values) => enclosed('{', values.iter().map(Value::to_cql_literal), '}'),
            Value::Map(entries) => {
                let entry =
                    |(key, value): &(Value, Value)| format!("{}: {}", key.to_cql_literal(), value.to_cql_literal());
                enclosed('{', entries.iter().map(entry), '}')
            }
            Value::Tuple(fields) => enclosed('(', fields.iter().map(literal_or_null), ')'),
            Value::UserDefined(fields) => {
                let field = |(name, value): &(String, Option<Value>)| {
                    format!("{}: {}", quote_name(name), literal_or_null(value))
                };
                enclosed('{', fields.iter().map(field), '}')
            }
            _ => self.to_string(),
        }
    }

    /// The value as JSON text, as Cassandra's `toJson` writes it: numbers and booleans bare, all else
    /// as strings; NaN and the infinities, which JSON does not have, as `null`.
    #[must_use]
    pub fn to_json(&self) -> String {
        match self {
            Value::Ascii(text) | Value::Text(text) => quote_json(text),
            Value::Float(value) if !value.is_finite() => "null".to_owned(),
            Value::Double(value) if !value.is_finite() => "null".to_owned(),
            Value::Float(value) => java_float(&format!("{value:e}")),
            Value::Double(value) => java_float(&format!("{value:e}")),
            Value::TinyInt(_)
            | Value::SmallInt(_)
            | Value::Int(_)
            | Value::BigInt(_)
            | Value::Counter(_)
            | Value::VarInt(_)
            | Value::Decimal { .. } => self.to_string(),
            Value::Boolean(value) => value.to_string(),
            Value::Inet(IpAddr::V6(address)) => {
                let groups = address.segments().map(|group| format!("{group:x}"));
                format!("\"{}\"", groups.join(":"))
            }
            Value::Timestamp(value) => format!("\"{}\"", TimestampText(*value, TimestampForm::Json)),
            Value::List(values) | Value::Vector(values) | Value::Set(values) => {
                enclosed('[', values.iter().map(Value::to_json), ']')
            }
            Value::Map(entries) => {
                let entry = |(key, value): &(Value, Value)| {
                    // A key of JSON is a string; of another value it is the text.
                    let key = key.to_json();
                    let key = if key.starts_with('"') { key } else { quote_json(&key) };
                    format!("{key}: {}", value.to_json())
                };
                enclosed('{', entries.iter().map(entry), '}')
            }
            Value::Tuple(fields) => enclosed('[', fields.iter().map(json_or_null), ']'),
            Value::UserDefined(fields) => {
                let field = |(name, value): &(String, Option<Value>)| {
                    // Cassandra quotes a name within the string if it is not in lower case.
                    let lower = name.chars().all(|character| !character.is_uppercase());
                    let name = if lower { quote_json(name) } else { quote_json(&format!("\"{name}\"")) };
                    format!("{name}: {}", json_or_null(value))
                };
                enclosed('{', fields.iter().map(field), '}')
            }
            _ => format!("\"{self}\""),
        }
    }
}

fn enclosed(open: char, parts: impl Iterator<Item = String>, close: char) -> String {
    format!("{open}{}{close}", parts.collect::<Vec<_>>().join(", "))
}

fn literal_or_null(value: &Option<Value>) -> String {
    value.as_ref().map_or_else(|| "null".to_owned(), Value::to_cql_literal)
}

fn json_or_null(value: &Option<Value>) -> String {
    value.as_ref().map_or_else(|| "null".to_owned(), Value::to_json)
}

/// The value as cqlsh prints it in a table, without quotes; floats with all the digits that they
/// need to be read back. [`Value::parse`] reads it. What has parts is written as CQL writes it.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Ascii(text) | Value::Text(text) => f.write_str(text),
            Value::Blob(bytes) => {
                f.write_str("0x")?;
                bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
            Value::Boolean(value) => f.write_str(if *value { "True" } else { "False" }),
            Value::TinyInt(value) => write!(f, "{value}"),
            Value::SmallInt(value) => write!(f, "{value}"),
            Value::Int(value) => write!(f, "{value}"),
            Value::BigInt(value) | Value::Counter(value) => write!(f, "{value}"),
            Value::VarInt(value) => write!(f, "{value}"),
            Value::Decimal { unscaled, scale } => decimal::write(f, unscaled, *scale),
            Value::Float(value) => write_float(f, f64::from(*value), &format!("{value:e}")),
            Value::Double(value) => write_float(f, *value, &format!("{value:e}")),
            Value::Date(date) => temporal::write_date(f, *date),
            Value::Time(nanoseconds) => temporal::write_time(f, *nanoseconds),
            Value::Timestamp(value) => TimestampText(*value, TimestampForm::Table).fmt(f),
            Value::Empty => Ok(()),
            Value::Duration { months, days, nanoseconds } => temporal::write_duration(f, *months, *days, *nanoseconds),
            Value::Inet(address) => write!(f, "{address}"),
            Value::Uuid(bits) | Value::TimeUuid(bits) => write_uuid(*bits, f),
            Value::Vector(_)
            | Value::List(_)
            | Value::Set(_)
            | Value::Map(_)
            | Value::Tuple(_)
            | Value::UserDefined(_) => f.write_str(&self.to_cql_literal()),
        }
    }
}

/// An IPv4 or IPv6 address. Of IPv4 the last number may stand for several bytes, as `inet_aton` reads it.
fn parse_address(text: &str) -> Option<IpAddr> {
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let numbers = text.split('.').map(|part| {
        let is_decimal = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        part.parse::<u32>().ok().filter(|_| is_decimal)
    });
    let numbers: Vec<u32> = numbers.collect::<Option<_>>()?;
    let (last, before) = numbers.split_last()?;
    if before.len() > 3 || before.iter().any(|number| *number > 0xff) {
        return None;
    }
    let bits = 32 - 8 * before.len();
    let high = before.iter().fold(0u64, |bits, number| bits << 8 | u64::from(*number)) << bits;
    let fits = u64::from(*last) < 1 << bits;
    fits.then(|| IpAddr::V4(Ipv4Addr::from((high | u64::from(*last)) as u32)))
}

/// `0x` and pairs of hexadecimal digits.
fn parse_blob(text: &str) -> Option<Value> {
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"))?.as_bytes();
    if digits.len() % 2 == 1 {
        return None;
    }
    let nibble = |digit: u8| (digit as char).to_digit(16);
    let byte = |pair: &[u8]| Some((nibble(pair[0])? << 4 | nibble(pair[1])?) as u8);
    let bytes: Option<Vec<u8>> = digits.chunks_exact(2).map(byte).collect();
    bytes.map(|bytes| Value::Blob(Bytes::from(bytes)))
}

/// False when a number was too large for its type and became an infinity that it does not name.
fn in_range(infinite: bool, text: &str) -> bool {
    !infinite || text.contains(['i', 'I'])
}

fn not_a(cql_type: &CqlType, text: &str) -> ValueError {
    let expected = match cql_type {
        CqlType::Ascii => "text of ASCII characters only".to_owned(),
        CqlType::Blob => "0x and pairs of hexadecimal digits".to_owned(),
        CqlType::Boolean => "true or false".to_owned(),
        CqlType::TinyInt => integers(i8::MIN, i8::MAX),
        CqlType::SmallInt => integers(i16::MIN, i16::MAX),
        CqlType::Int => integers(i32::MIN, i32::MAX),
        CqlType::BigInt | CqlType::Counter => integers(i64::MIN, i64::MAX),
        CqlType::VarInt => format!("an integer of at most {} digits", decimal::DIGITS_MAX),
        CqlType::Decimal => format!(
            "a number such as 12, -0.5 or 1.5E-7, of at most {} digits and a scale of 32 bits",
            decimal::DIGITS_MAX
        ),
        CqlType::Float => "a number within the range of a 32-bit float, NaN, Infinity or -Infinity".to_owned(),
        CqlType::Double => "a number within the range of a 64-bit float, NaN, Infinity or -Infinity".to_owned(),
        CqlType::Date => "yyyy-mm-dd, or days as an integer in which 2147483648 is 1970-01-01".to_owned(),
        CqlType::Time => "hh:mm:ss[.fffffffff], or nanoseconds since midnight".to_owned(),
        CqlType::Timestamp => {
            "yyyy-mm-dd[ hh:mm[:ss[.fff]]][+hhmm], or milliseconds since 1970-01-01 00:00:00+0000".to_owned()
        }
        CqlType::Duration => {
            "units in order such as 1y2mo3d4h5m6s7ms8us9ns, P1Y2M3DT4H5M6S, P3W or P0001-02-03T04:05:06".to_owned()
        }
        CqlType::Inet => "an IPv4 or IPv6 address".to_owned(),
        CqlType::Uuid => "32 hexadecimal digits as 8-4-4-4-12".to_owned(),
        CqlType::TimeUuid => "a version 1 UUID, 32 hexadecimal digits as 8-4-4-4-12".to_owned(),
        CqlType::Text => "text".to_owned(),
        CqlType::Vector { .. }
        | CqlType::List { .. }
        | CqlType::Set { .. }
        | CqlType::Map { .. }
        | CqlType::Tuple(_)
        | CqlType::UserDefined { .. } => "a term with values, which is not a constant".to_owned(),
    };
    let mut quoted: String = text.chars().take(QUOTED_CHARACTERS_MAX).collect();
    if quoted.len() < text.len() {
        quoted.push_str("...");
    }
    ValueError(format!("{}; expected {expected}", refusal(cql_type, &quoted)))
}

/// That `text` is no value of `cql_type`, in Cassandra's words where it has some, since tools match on them.
fn refusal(cql_type: &CqlType, text: &str) -> String {
    let is_number =
        text.strip_prefix('-').unwrap_or(text).bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty();
    match cql_type {
        CqlType::TinyInt => format!("Unable to make byte from '{text}'"),
        CqlType::SmallInt => format!("Unable to make short from '{text}'"),
        CqlType::Int | CqlType::VarInt => format!("Unable to make int from '{text}'"),
        CqlType::BigInt | CqlType::Counter => format!("Unable to make long from '{text}'"),
        CqlType::Float => format!("Unable to make float from '{text}'"),
        CqlType::Double => format!("Unable to make double from '{text}'"),
        CqlType::Decimal => format!("unable to make BigDecimal from '{text}'"),
        CqlType::Boolean => format!("Unable to make boolean from '{text}'"),
        CqlType::Date if is_number => format!("Unable to make unsigned int (for date) from: '{text}'"),
        CqlType::Date => format!("Unable to coerce '{text}' to a formatted date (long)"),
        CqlType::Time if is_number => format!("Unable to make long (for time) from: '{text}'"),
        CqlType::Time => format!("(TimeType) Unable to coerce '{text}' to a formatted time (long)"),
        CqlType::Timestamp if is_number => format!("Unable to make long (for date) from: '{text}'"),
        CqlType::Timestamp => format!("Unable to parse a date/time from '{text}'"),
        // Of a number Cassandra has lost the sign by then.
        CqlType::Duration if temporal::misplaced_units(text).is_some() => {
            format!("Invalid duration. {}", temporal::misplaced_units(text).unwrap_or_default())
        }
        CqlType::Duration => format!("Unable to convert '{}' to a duration", text.strip_prefix('-').unwrap_or(text)),
        CqlType::Inet => format!("Unable to make inet address from '{text}'"),
        CqlType::Uuid => format!("Unable to make UUID from '{text}'"),
        CqlType::TimeUuid if parse_uuid(text).is_some() => "TimeUUID supports only version 1 UUIDs".to_owned(),
        CqlType::TimeUuid => format!("Unknown timeuuid representation: {text}"),
        CqlType::Blob => format!("cannot parse '{}' as hex bytes", text.trim_start_matches("0x")),
        CqlType::Ascii => format!("Invalid ASCII character in string literal: '{text}'"),
        other => format!("'{text}' is not a valid {other}"),
    }
}

fn integers(least: impl fmt::Display, most: impl fmt::Display) -> String {
    format!("an integer from {least} to {most}")
}

/// The sign, digits and exponent of a number in Rust's scientific form: `-1.25e-7`.
fn scientific_parts(scientific: &str) -> (&str, String, i32) {
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((scientific, "0"));
    let (sign, mantissa) = if mantissa.starts_with('-') { mantissa.split_at(1) } else { ("", mantissa) };
    (sign, mantissa.replace('.', ""), exponent.parse().unwrap_or(0))
}

/// Puts the point into `digits`, the first of which stands for `10^exponent`: `("0", "00125")`.
fn place_point(digits: &str, exponent: i32) -> (String, String) {
    let Ok(exponent) = usize::try_from(exponent) else {
        return ("0".to_owned(), format!("{}{digits}", "0".repeat(exponent.unsigned_abs() as usize - 1)));
    };
    match digits.split_at_checked(exponent + 1) {
        Some((whole, fraction)) => (whole.to_owned(), fraction.to_owned()),
        None => (format!("{digits:0<width$}", width = exponent + 1), String::new()),
    }
}

/// Writes a float in the form of Python's `repr`, which cqlsh is near to, without `.0`.
fn write_float(f: &mut fmt::Formatter<'_>, value: f64, scientific: &str) -> fmt::Result {
    if value.is_nan() {
        return f.write_str("NaN");
    }
    if value.is_infinite() {
        return f.write_str(if value > 0.0 { "Infinity" } else { "-Infinity" });
    }
    let (sign, digits, exponent) = scientific_parts(scientific);
    let plain = (-4..16).contains(&exponent);
    let (whole, fraction) = place_point(&digits, if plain { exponent } else { 0 });
    let point = if fraction.is_empty() { "" } else { "." };
    write!(f, "{sign}{whole}{point}{fraction}")?;
    if plain { Ok(()) } else { write!(f, "e{exponent:+03}") }
}

/// A finite float in the form of Java's `Double.toString`.
fn java_float(scientific: &str) -> String {
    let (sign, digits, exponent) = scientific_parts(scientific);
    let plain = (-3..7).contains(&exponent);
    let (whole, fraction) = place_point(&digits, if plain { exponent } else { 0 });
    let fraction = if fraction.is_empty() { "0" } else { &fraction };
    let exponent = if plain { String::new() } else { format!("E{exponent}") };
    format!("{sign}{whole}.{fraction}{exponent}")
}

fn quote_json(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            control if control < ' ' => {
                // Writing to a string does not fail.
                let _ = write!(quoted, "\\u{:04X}", control as u32);
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}
