//! CQL values: their wire form (the native protocol's serialization, which is also what cells hold),
//! its validation, and the order of each type.
//!
//! Invariants:
//! * [`validate`] accepts exactly what [`Value::from_wire`] accepts.
//! * An empty wire value is a value of `text`, `ascii` and `blob` only. (Cassandra also takes it as
//!   an "empty" value of most other types; nothing good comes of a number that is no number.)
//! * [`compare`] is Cassandra's order of the type, and the byte order of the encoding in
//!   [`crate::key`] is the same.
//! * Work on a value is at most linear in its wire form, except for turning long decimals and
//!   varints into decimal digits, and for sorting a set or map that is not in order.
//! * Nothing recurses deeper than types are nested.

mod composite;
mod decimal;
pub(crate) mod ordered;
mod temporal;
mod text;

pub use composite::normalize;
pub use temporal::{civil_from_days, days_from_civil};

use crate::error::RequestError;
use crate::types::CqlType;
use bytes::Bytes;
use num_bigint::BigInt;
use std::cmp::Ordering;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Nanoseconds in a day: a `time` is below.
const DAY_NANOSECONDS: i64 = 86_400_000_000_000;

/// A value of a CQL type. Equality is that of the parts: `1.0` and `1.00` differ as decimals,
/// and NaN differs from itself; use [`compare`] for the order of CQL.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// US-ASCII text.
    Ascii(String),
    /// 64-bit signed integer.
    BigInt(i64),
    /// The value of no bytes of a type that has others ([`CqlType::has_empty_value`]).
    Empty,
    /// Any bytes.
    Blob(Bytes),
    /// True or false.
    Boolean(bool),
    /// Days since 1970-01-01, offset by 2^31.
    Date(u32),
    /// `unscaled * 10^-scale`.
    Decimal {
        /// The digits.
        unscaled: BigInt,
        /// How many of them stand behind the point; negative for trailing zeros left out.
        scale: i32,
    },
    /// IEEE 754 binary64.
    Double(f64),
    /// None of the parts negative, or none positive.
    Duration {
        /// Months.
        months: i32,
        /// Days.
        days: i32,
        /// Nanoseconds.
        nanoseconds: i64,
    },
    /// IEEE 754 binary32.
    Float(f32),
    /// IPv4 or IPv6 address.
    Inet(IpAddr),
    /// 32-bit signed integer.
    Int(i32),
    /// 16-bit signed integer.
    SmallInt(i16),
    /// UTF-8 text.
    Text(String),
    /// Nanoseconds since midnight, below a day.
    Time(i64),
    /// Milliseconds since 1970-01-01T00:00:00Z.
    Timestamp(i64),
    /// A version 1 UUID.
    TimeUuid(u128),
    /// 8-bit signed integer.
    TinyInt(i8),
    /// Any UUID.
    Uuid(u128),
    /// Arbitrary-precision integer.
    VarInt(BigInt),
    /// The value of a counter, or what is added to it.
    Counter(i64),
    /// As many values of one type as the vector has dimensions.
    Vector(Vec<Value>),
    /// Values of one type.
    List(Vec<Value>),
    /// Values of one type; read from a store, ascending and distinct.
    Set(Vec<Value>),
    /// Keys and values; read from a store, ascending and distinct by their keys.
    Map(Vec<(Value, Value)>),
    /// The fields, `None` for null; those at the end may be missing.
    Tuple(Vec<Option<Value>>),
    /// The fields with their names, `None` for null; those at the end may be missing.
    UserDefined(Vec<(String, Option<Value>)>),
}

/// What is wrong with a value, and which form is expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ValueError(pub String);

impl From<ValueError> for RequestError {
    fn from(error: ValueError) -> RequestError {
        RequestError::Invalid(error.0)
    }
}

impl Value {
    /// True when it is a value of `cql_type`. (What has no elements is a value of many types.)
    #[must_use]
    pub fn is_of(&self, cql_type: &CqlType) -> bool {
        match self {
            Value::Ascii(_) => *cql_type == CqlType::Ascii,
            Value::BigInt(_) => *cql_type == CqlType::BigInt,
            Value::Blob(_) => *cql_type == CqlType::Blob,
            Value::Empty => cql_type.has_empty_value(),
            Value::Boolean(_) => *cql_type == CqlType::Boolean,
            Value::Counter(_) => *cql_type == CqlType::Counter,
            Value::Date(_) => *cql_type == CqlType::Date,
            Value::Decimal { .. } => *cql_type == CqlType::Decimal,
            Value::Double(_) => *cql_type == CqlType::Double,
            Value::Duration { .. } => *cql_type == CqlType::Duration,
            Value::Float(_) => *cql_type == CqlType::Float,
            Value::Inet(_) => *cql_type == CqlType::Inet,
            Value::Int(_) => *cql_type == CqlType::Int,
            Value::SmallInt(_) => *cql_type == CqlType::SmallInt,
            Value::Text(_) => *cql_type == CqlType::Text,
            Value::Time(_) => *cql_type == CqlType::Time,
            Value::Timestamp(_) => *cql_type == CqlType::Timestamp,
            Value::TimeUuid(_) => *cql_type == CqlType::TimeUuid,
            Value::TinyInt(_) => *cql_type == CqlType::TinyInt,
            Value::Uuid(_) => *cql_type == CqlType::Uuid,
            Value::VarInt(_) => *cql_type == CqlType::VarInt,
            Value::Vector(_)
            | Value::List(_)
            | Value::Set(_)
            | Value::Map(_)
            | Value::Tuple(_)
            | Value::UserDefined(_) => composite::is_of(self, cql_type),
        }
    }

    /// The value as the native protocol serializes it, without its length.
    #[must_use]
    pub fn to_wire(&self) -> Bytes {
        match self {
            Value::Ascii(text) | Value::Text(text) => Bytes::copy_from_slice(text.as_bytes()),
            Value::Blob(bytes) => bytes.clone(),
            Value::Empty => Bytes::new(),
            Value::Boolean(value) => Bytes::from_static(if *value { &[1] } else { &[0] }),
            Value::TinyInt(value) => Bytes::copy_from_slice(&value.to_be_bytes()),
            Value::SmallInt(value) => Bytes::copy_from_slice(&value.to_be_bytes()),
            Value::Int(value) => Bytes::copy_from_slice(&value.to_be_bytes()),
            Value::BigInt(value) | Value::Counter(value) | Value::Time(value) | Value::Timestamp(value) => {
                Bytes::copy_from_slice(&value.to_be_bytes())
            }
            Value::Date(value) => Bytes::copy_from_slice(&value.to_be_bytes()),
            Value::Float(value) => Bytes::copy_from_slice(&value.to_bits().to_be_bytes()),
            Value::Double(value) => Bytes::copy_from_slice(&value.to_bits().to_be_bytes()),
            Value::Uuid(value) | Value::TimeUuid(value) => Bytes::copy_from_slice(&value.to_be_bytes()),
            Value::Inet(IpAddr::V4(address)) => Bytes::copy_from_slice(&address.octets()),
            Value::Inet(IpAddr::V6(address)) => Bytes::copy_from_slice(&address.octets()),
            Value::VarInt(value) => Bytes::from(value.to_signed_bytes_be()),
            Value::Decimal { unscaled, scale } => {
                let mut wire = scale.to_be_bytes().to_vec();
                wire.extend_from_slice(&unscaled.to_signed_bytes_be());
                Bytes::from(wire)
            }
            Value::Duration { months, days, nanoseconds } => {
                let mut wire = Vec::with_capacity(12);
                for part in [i64::from(*months), i64::from(*days), *nanoseconds] {
                    put_vint(&mut wire, part);
                }
                Bytes::from(wire)
            }
            Value::Vector(_)
            | Value::List(_)
            | Value::Set(_)
            | Value::Map(_)
            | Value::Tuple(_)
            | Value::UserDefined(_) => Bytes::from(composite::to_wire(self)),
        }
    }

    /// The value of type `cql_type` that `wire` is the serialization of.
    ///
    /// # Errors
    /// When it is not a serialization of that type.
    pub fn from_wire(cql_type: &CqlType, wire: &[u8]) -> Result<Value, ValueError> {
        Ok(match cql_type {
            _ if is_empty_value(cql_type, wire) => Value::Empty,
            CqlType::Ascii => Value::Ascii(ascii(wire)?.to_owned()),
            CqlType::Text => Value::Text(utf8(wire)?.to_owned()),
            CqlType::Blob => Value::Blob(Bytes::copy_from_slice(wire)),
            CqlType::Boolean => Value::Boolean(fixed::<1>(cql_type, wire)? != [0]),
            CqlType::TinyInt => Value::TinyInt(i8::from_be_bytes(fixed(cql_type, wire)?)),
            CqlType::SmallInt => Value::SmallInt(i16::from_be_bytes(fixed(cql_type, wire)?)),
            CqlType::Int => Value::Int(i32::from_be_bytes(fixed(cql_type, wire)?)),
            CqlType::BigInt => Value::BigInt(i64::from_be_bytes(fixed(cql_type, wire)?)),
            CqlType::Timestamp => Value::Timestamp(i64::from_be_bytes(fixed(cql_type, wire)?)),
            CqlType::Time => Value::Time(time(wire)?),
            CqlType::Date => Value::Date(u32::from_be_bytes(fixed(cql_type, wire)?)),
            CqlType::Float => Value::Float(f32::from_bits(u32::from_be_bytes(fixed(cql_type, wire)?))),
            CqlType::Double => Value::Double(f64::from_bits(u64::from_be_bytes(fixed(cql_type, wire)?))),
            CqlType::Uuid => Value::Uuid(u128::from_be_bytes(fixed(cql_type, wire)?)),
            CqlType::TimeUuid => Value::TimeUuid(time_uuid(wire)?),
            CqlType::Inet => Value::Inet(inet(wire)?),
            CqlType::VarInt => Value::VarInt(BigInt::from_signed_bytes_be(varint(wire)?)),
            CqlType::Decimal => {
                let (scale, unscaled) = decimal_parts(wire)?;
                Value::Decimal { unscaled: BigInt::from_signed_bytes_be(unscaled), scale }
            }
            CqlType::Duration => {
                let (months, days, nanoseconds) = duration(wire)?;
                Value::Duration { months, days, nanoseconds }
            }
            CqlType::Counter => Value::Counter(i64::from_be_bytes(fixed(cql_type, wire)?)),
            CqlType::Vector { .. }
            | CqlType::List { .. }
            | CqlType::Set { .. }
            | CqlType::Map { .. }
            | CqlType::Tuple(_)
            | CqlType::UserDefined { .. } => composite::from_wire(cql_type, wire)?,
        })
    }
}

/// True when `wire` is the value of no bytes that some types have ([`CqlType::has_empty_value`]).
#[must_use]
pub fn is_empty_value(cql_type: &CqlType, wire: &[u8]) -> bool {
    wire.is_empty() && cql_type.has_empty_value()
}

/// Checks that `wire` is the serialization of a value of `cql_type`, without building the value.
///
/// # Errors
/// When it is not.
pub fn validate(cql_type: &CqlType, wire: &[u8]) -> Result<(), ValueError> {
    match cql_type {
        _ if is_empty_value(cql_type, wire) => Ok(()),
        CqlType::Ascii => ascii(wire).map(|_| ()),
        CqlType::Text => utf8(wire).map(|_| ()),
        CqlType::Blob => Ok(()),
        CqlType::Boolean | CqlType::TinyInt => fixed::<1>(cql_type, wire).map(|_| ()),
        CqlType::SmallInt => fixed::<2>(cql_type, wire).map(|_| ()),
        CqlType::Int | CqlType::Date | CqlType::Float => fixed::<4>(cql_type, wire).map(|_| ()),
        CqlType::BigInt | CqlType::Counter | CqlType::Timestamp | CqlType::Double => {
            fixed::<8>(cql_type, wire).map(|_| ())
        }
        CqlType::Time => time(wire).map(|_| ()),
        CqlType::Uuid => fixed::<16>(cql_type, wire).map(|_| ()),
        CqlType::TimeUuid => time_uuid(wire).map(|_| ()),
        CqlType::Inet => inet(wire).map(|_| ()),
        CqlType::VarInt => varint(wire).map(|_| ()),
        CqlType::Decimal => decimal_parts(wire).map(|_| ()),
        CqlType::Duration => duration(wire).map(|_| ()),
        CqlType::Vector { .. }
        | CqlType::List { .. }
        | CqlType::Set { .. }
        | CqlType::Map { .. }
        | CqlType::Tuple(_)
        | CqlType::UserDefined { .. } => composite::validate_parts(cql_type, wire),
    }
}

/// Cassandra's order of two serialized values of `cql_type`. Both should be valid: of others the
/// order is some order of their bytes. A duration has no order in CQL; here it is that of its bytes.
#[must_use]
pub fn compare(cql_type: &CqlType, a: &[u8], b: &[u8]) -> Ordering {
    // Whatever the type, a value of no bytes is the least.
    if a.is_empty() || b.is_empty() {
        return a.len().cmp(&b.len());
    }
    match cql_type {
        CqlType::Ascii
        | CqlType::Text
        | CqlType::Blob
        | CqlType::Inet
        | CqlType::Date
        | CqlType::Time
        | CqlType::Duration => a.cmp(b),
        CqlType::Boolean => (a != [0]).cmp(&(b != [0])),
        CqlType::TinyInt
        | CqlType::SmallInt
        | CqlType::Int
        | CqlType::BigInt
        | CqlType::Counter
        | CqlType::Timestamp => compare_signed(a, b),
        CqlType::Float => by_array(a, b, ordered::float),
        CqlType::Double => by_array(a, b, ordered::double),
        CqlType::Uuid => by_array(a, b, ordered::uuid),
        CqlType::TimeUuid => by_array(a, b, ordered::time_uuid),
        CqlType::VarInt => {
            let (a, b) = (ordered::shortest_integer(a), ordered::shortest_integer(b));
            let negative = |integer: &[u8]| integer.first().is_some_and(|first| *first >= 0x80);
            match (negative(a), negative(b)) {
                (false, true) => Ordering::Greater,
                (true, false) => Ordering::Less,
                (false, false) => a.len().cmp(&b.len()).then_with(|| a.cmp(b)),
                (true, true) => b.len().cmp(&a.len()).then_with(|| a.cmp(b)),
            }
        }
        CqlType::Decimal => match (decimal_parts(a), decimal_parts(b)) {
            (Ok(a), Ok(b)) => decimal::compare(a, b),
            _ => a.cmp(b),
        },
        CqlType::Vector { .. }
        | CqlType::List { .. }
        | CqlType::Set { .. }
        | CqlType::Map { .. }
        | CqlType::Tuple(_)
        | CqlType::UserDefined { .. } => composite::compare_parts(cql_type, a, b),
    }
}

/// The order of two's complement integers of equal length.
fn compare_signed(a: &[u8], b: &[u8]) -> Ordering {
    match (a.split_first(), b.split_first()) {
        (Some((a, rest_a)), Some((b, rest_b))) => (a ^ 0x80, rest_a).cmp(&(b ^ 0x80, rest_b)),
        _ => a.len().cmp(&b.len()),
    }
}

/// The order of fixed-size values by a form of theirs whose bytes are in order.
fn by_array<const N: usize>(a: &[u8], b: &[u8], ordered: fn([u8; N]) -> [u8; N]) -> Ordering {
    match (a.try_into(), b.try_into()) {
        (Ok(a), Ok(b)) => ordered(a).cmp(&ordered(b)),
        _ => a.cmp(b),
    }
}

fn fixed<const N: usize>(cql_type: &CqlType, wire: &[u8]) -> Result<[u8; N], ValueError> {
    wire.try_into().map_err(|_| wrong_length(cql_type, wire))
}

/// In Cassandra's words, since tools match on them.
fn wrong_length(cql_type: &CqlType, wire: &[u8]) -> ValueError {
    let length = wire.len();
    ValueError(match cql_type {
        CqlType::Boolean => format!("Expected 1 or 0 byte value ({length})"),
        CqlType::TinyInt => format!("Expected 1 byte for a tinyint ({length})"),
        CqlType::SmallInt => format!("Expected 2 bytes for a smallint ({length})"),
        CqlType::Int => format!("Expected 4 or 0 byte int ({length})"),
        CqlType::BigInt | CqlType::Counter => format!("Expected 8 or 0 byte long ({length})"),
        CqlType::Timestamp => format!("Expected 8 or 0 byte long for date ({length})"),
        CqlType::Float => format!("Expected 4 or 0 byte value for a float ({length})"),
        CqlType::Double => format!("Expected 8 or 0 byte value for a double ({length})"),
        CqlType::Date => format!("Expected 4 byte long for date ({length})"),
        CqlType::Time => format!("Expected 8 byte long for time ({length})"),
        CqlType::Uuid | CqlType::TimeUuid => format!("UUID should be 16 or 0 bytes ({length})"),
        CqlType::Decimal => format!("Expected 0 or at least 4 bytes ({length})"),
        CqlType::Duration => format!("Expected at least 3 bytes for a duration ({length})"),
        CqlType::Inet => {
            let digits: String = wire.iter().take(INET_BYTES_SHOWN).map(|byte| format!("{byte:02x}")).collect();
            format!("Expected 4 or 16 byte inetaddress; got {digits}")
        }
        other => format!("a value of type {other} does not have {length} bytes"),
    })
}

/// Bytes that a message shows of what is no address.
const INET_BYTES_SHOWN: usize = 64;

fn ascii(wire: &[u8]) -> Result<&str, ValueError> {
    if let Some(position) = wire.iter().position(|byte| !byte.is_ascii()) {
        let byte = wire[position];
        return Err(ValueError(format!("Invalid byte for ascii: {} (at {position})", byte as i8)));
    }
    std::str::from_utf8(wire).map_err(|_| ValueError("the value is not ASCII".to_owned()))
}

fn utf8(wire: &[u8]) -> Result<&str, ValueError> {
    std::str::from_utf8(wire)
        .map_err(|error| ValueError(format!("String didn't validate. (no UTF-8 from byte {} on)", error.valid_up_to())))
}

fn time(wire: &[u8]) -> Result<i64, ValueError> {
    let nanoseconds = i64::from_be_bytes(fixed(&CqlType::Time, wire)?);
    if (0..DAY_NANOSECONDS).contains(&nanoseconds) {
        return Ok(nanoseconds);
    }
    Err(ValueError(format!("{nanoseconds} is not a time; expected nanoseconds from 0 to {}", DAY_NANOSECONDS - 1)))
}

fn time_uuid(wire: &[u8]) -> Result<u128, ValueError> {
    let bits = u128::from_be_bytes(fixed(&CqlType::TimeUuid, wire)?);
    match bits >> 76 & 0xf {
        1 => Ok(bits),
        version => Err(ValueError(format!("Invalid version for TimeUUID type: 0x{version:x}"))),
    }
}

fn inet(wire: &[u8]) -> Result<IpAddr, ValueError> {
    if let Ok(octets) = <[u8; 4]>::try_from(wire) {
        return Ok(IpAddr::V4(Ipv4Addr::from(octets)));
    }
    let octets = <[u8; 16]>::try_from(wire);
    let octets = octets.map_err(|_| wrong_length(&CqlType::Inet, wire))?;
    Ok(IpAddr::V6(Ipv6Addr::from(octets)))
}

fn varint(wire: &[u8]) -> Result<&[u8], ValueError> {
    if wire.is_empty() { Err(wrong_length(&CqlType::VarInt, wire)) } else { Ok(wire) }
}

/// The scale and the two's complement of the unscaled value.
fn decimal_parts(wire: &[u8]) -> Result<(i32, &[u8]), ValueError> {
    match wire.split_first_chunk::<4>() {
        // As in Cassandra no digits are 0.
        Some((scale, unscaled)) => Ok((i32::from_be_bytes(*scale), unscaled)),
        None => Err(wrong_length(&CqlType::Decimal, wire)),
    }
}

fn duration(wire: &[u8]) -> Result<(i32, i32, i64), ValueError> {
    let mut rest = wire;
    let mut part = || {
        let (value, after) = take_vint(rest).ok_or_else(|| wrong_length(&CqlType::Duration, wire))?;
        rest = after;
        Ok(value)
    };
    let (months, days, nanoseconds) = (part()?, part()?, part()?);
    if !rest.is_empty() {
        return Err(ValueError(format!("{} bytes too many for a duration", rest.len())));
    }
    let narrow = |value: i64, name: &str| {
        let message = || ValueError(format!("the {name} of a duration must fit 32 bits but are {value}"));
        i32::try_from(value).map_err(|_| message())
    };
    let (months, days) = (narrow(months, "months")?, narrow(days, "days")?);
    let parts = [i64::from(months), i64::from(days), nanoseconds];
    if parts.iter().any(|part| *part < 0) && parts.iter().any(|part| *part > 0) {
        return Err(ValueError(format!(
            "The duration months, days and nanoseconds must be all of the same sign ({months}, {days}, {nanoseconds})"
        )));
    }
    Ok((months, days, nanoseconds))
}

/// The parts of the valid value `wire` of a composite type, in wire form: elements, keys and values in turn, fields,
/// of which those at the end may be missing.
///
/// # Errors
/// When it is not a value of that type.
pub fn parts<'a>(cql_type: &'a CqlType, wire: &'a [u8]) -> Result<Vec<Option<&'a [u8]>>, ValueError> {
    composite::Parts::new(cql_type, wire)?.map(|part| part.map(|(_, part)| part)).collect()
}

/// The value of a composite type that has these parts.
#[must_use]
pub fn join_parts(cql_type: &CqlType, parts: &[Option<Bytes>]) -> Bytes {
    Bytes::from(composite::join(cql_type, parts.iter().map(|part| part.as_deref())))
}

/// Appends a signed integer as the native protocol's `[vint]`: zigzag, then as an unsigned one.
fn put_vint(out: &mut Vec<u8>, value: i64) {
    put_unsigned_vint(out, (value << 1 ^ value >> 63) as u64);
}

/// Appends the native protocol's `[unsigned vint]`: as many leading one bits in the first byte as bytes follow it.
fn put_unsigned_vint(out: &mut Vec<u8>, value: u64) {
    let bits = 64 - (value | 1).leading_zeros() as usize;
    let following = if bits > 56 { 8 } else { (bits - 1) / 7 };
    let start = out.len();
    out.extend_from_slice(&(u128::from(value)).to_be_bytes()[15 - following..]);
    out[start] |= !(0xffu16 >> following) as u8;
}

/// Reads a `[vint]` and what comes after it.
fn take_vint(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let (zigzag, rest) = take_unsigned_vint(bytes)?;
    Some(((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64), rest))
}

/// Reads an `[unsigned vint]` and what comes after it.
fn take_unsigned_vint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (first, rest) = bytes.split_first()?;
    let (following, rest) = rest.split_at_checked(first.leading_ones() as usize)?;
    let start = u64::from(*first) & (0xff >> first.leading_ones());
    Some((following.iter().fold(start, |value, byte| value << 8 | u64::from(*byte)), rest))
}

#[cfg(test)]
#[path = "value_tests.rs"]
pub(crate) mod tests;
