//! The order-preserving form of one value, as Cassandra's byte-comparable encoding defines it
//! (`ByteComparable.md`): comparing two forms byte by byte, each followed by a separator between
//! 0x10 and 0xef, is comparing the values.
//!
//! | type | form |
//! |---|---|
//! | boolean | 0 or 1 |
//! | tinyint, smallint, int, bigint, timestamp | big-endian, sign bit flipped |
//! | date, time | big-endian |
//! | float, double | sign bit flipped, all bits when negative; one NaN, the largest |
//! | uuid | version first, then of version 1 the time in order, of others the rest as it is |
//! | timeuuid | the time in order, then the other half as signed bytes |
//! | text, ascii, blob, inet | `n` zero bytes as `00 FE*(n-1) FF`, at the end `00 FE*n`; else `00` ends |
//! | varint | up to 6 bytes: a variable-length integer; else sign, length less 7, two's complement |
//! | decimal | sign and exponent length, exponent, pairs of digits, `00` |
//! | list, set, vector | before each element `40`, at the end `38` |
//! | map | before each key and each value `40`, at the end `38` |
//! | a value of no bytes of a type that has others | nothing; before it `3F` instead of `40` |
//! | tuple, user-defined | before each field `40`, for null `3E`, at the end `38`; nulls at the end are left out |
//!
//! One deviation: a bigint is fixed-width here, as in Cassandra's first version of the encoding; its
//! current one makes it variable. A decimal keeps its number but not its scale, since `1.0` and
//! `1.00` are one key: it reads back without trailing zeros behind the point. A tuple reads back with null for
//! every field at its end that it lacked.

use super::composite::{self, Parts};
use super::decimal::Digits;
use super::{decimal_parts, is_empty_value, normalize};
use crate::codec::CodecError;
use crate::types::CqlType;
use bytes::Bytes;

/// Before each part of a value that has parts, and each component of a key.
pub(crate) const NEXT_COMPONENT: u8 = 0x40;
/// In its place before a value of no bytes of a type that has others: nothing follows it
/// ([`CqlType::has_empty_value`]).
pub(crate) const EMPTY_COMPONENT: u8 = 0x3f;
/// The same in a key of which the column is descending.
pub(crate) const EMPTY_COMPONENT_DESCENDING: u8 = 0x41;
/// In place of a part that is null.
const NULL_COMPONENT: u8 = 0x3e;
/// After the last part, and the last component of a whole key.
pub(crate) const TERMINATOR: u8 = 0x38;

/// Bytes of a varint from which on it has the long form.
const LONG_VARINT_BYTES: usize = 7;

/// The NaN that all NaNs become, as Java's `floatToIntBits` has it.
const FLOAT_NAN: u32 = 0x7fc0_0000;

/// The NaN that all NaNs become, as Java's `doubleToLongBits` has it.
const DOUBLE_NAN: u64 = 0x7ff8_0000_0000_0000;

/// Form of a float whose bytes are in the order of `Float.compare`.
pub(super) fn float(wire: [u8; 4]) -> [u8; 4] {
    let bits = u32::from_be_bytes(wire);
    let bits = if f32::from_bits(bits).is_nan() { FLOAT_NAN } else { bits };
    (if bits >> 31 == 1 { !bits } else { bits | 1 << 31 }).to_be_bytes()
}

/// Form of a double whose bytes are in the order of `Double.compare`.
pub(super) fn double(wire: [u8; 8]) -> [u8; 8] {
    let bits = u64::from_be_bytes(wire);
    let bits = if f64::from_bits(bits).is_nan() { DOUBLE_NAN } else { bits };
    (if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }).to_be_bytes()
}

/// Form of a UUID whose bytes are in the order of Cassandra's `UUIDType`.
pub(super) fn uuid(wire: [u8; 16]) -> [u8; 16] {
    let (high, low) = halves(wire);
    let version = high >> 12 & 0xf;
    let high = if version == 1 {
        time_first(high)
    } else {
        version << 60 | (high >> 4 & 0x0fff_ffff_ffff_f000) | high & 0xfff
    };
    join(high, low)
}

/// Form of a timeuuid whose bytes are in the order of Cassandra's `TimeUUIDType`: its second half is
/// compared as signed bytes (CASSANDRA-8730).
pub(crate) fn time_uuid(wire: [u8; 16]) -> [u8; 16] {
    let (high, low) = halves(wire);
    join(time_first(high), low ^ 0x8080_8080_8080_8080)
}

fn from_uuid(form: [u8; 16]) -> [u8; 16] {
    let (high, low) = halves(form);
    let version = high >> 60;
    let high =
        if version == 1 { time_last(high) } else { (high << 4 & 0xffff_ffff_ffff_0000) | version << 12 | high & 0xfff };
    join(high, low)
}

fn from_time_uuid(form: [u8; 16]) -> [u8; 16] {
    let (high, low) = halves(form);
    join(time_last(high), low ^ 0x8080_8080_8080_8080)
}

fn halves(bytes: [u8; 16]) -> (u64, u64) {
    let bits = u128::from_be_bytes(bytes);
    ((bits >> 64) as u64, bits as u64)
}

fn join(high: u64, low: u64) -> [u8; 16] {
    (u128::from(high) << 64 | u128::from(low)).to_be_bytes()
}

/// time_low, time_mid, version and time_high to version and time_high, time_mid, time_low.
fn time_first(high: u64) -> u64 {
    high << 48 | (high << 16 & 0xffff_0000_0000) | high >> 32
}

fn time_last(high: u64) -> u64 {
    high << 32 | (high >> 16 & 0xffff_0000) | high >> 48
}

/// The shortest two's complement of the same integer; empty for none.
pub(super) fn shortest_integer(integer: &[u8]) -> &[u8] {
    let mut rest = integer;
    while let [first, second, ..] = rest {
        let sign = if *second >= 0x80 { 0xff } else { 0 };
        if *first != sign {
            break;
        }
        rest = &rest[1..];
    }
    rest
}

/// Appends the form of the value `wire` of `cql_type`, which is valid and in its one form
/// ([`super::normalize`]).
pub(crate) fn put(cql_type: &CqlType, wire: &[u8], out: &mut Vec<u8>) {
    match cql_type {
        // What stands before it says it.
        _ if is_empty_value(cql_type, wire) => {}
        CqlType::Ascii | CqlType::Text | CqlType::Blob | CqlType::Inet | CqlType::Duration => put_escaped(wire, out),
        CqlType::Boolean => out.push(u8::from(wire != [0])),
        CqlType::Date | CqlType::Time => out.extend_from_slice(wire),
        CqlType::TinyInt
        | CqlType::SmallInt
        | CqlType::Int
        | CqlType::BigInt
        | CqlType::Counter
        | CqlType::Timestamp => {
            let start = out.len();
            out.extend_from_slice(wire);
            out[start] ^= 0x80;
        }
        CqlType::Float => put_array(wire, out, float),
        CqlType::Double => put_array(wire, out, double),
        CqlType::Uuid => put_array(wire, out, uuid),
        CqlType::TimeUuid => put_array(wire, out, time_uuid),
        CqlType::VarInt => put_varint(wire, out),
        CqlType::Decimal => put_decimal(wire, out),
        CqlType::Vector { .. }
        | CqlType::List { .. }
        | CqlType::Set { .. }
        | CqlType::Map { .. }
        | CqlType::Tuple(_)
        | CqlType::UserDefined { .. } => put_parts(cql_type, wire, out),
    }
}

fn put_parts(cql_type: &CqlType, wire: &[u8], out: &mut Vec<u8>) {
    let mut nulls = 0;
    for part in Parts::new(cql_type, wire).into_iter().flatten() {
        let Ok((cql_type, part)) = part else {
            debug_assert!(false, "the value is valid");
            break;
        };
        let Some(part) = part else {
            nulls += 1;
            continue;
        };
        out.resize(out.len() + std::mem::take(&mut nulls), NULL_COMPONENT);
        out.push(if is_empty_value(cql_type, part) { EMPTY_COMPONENT } else { NEXT_COMPONENT });
        put(cql_type, part, out);
    }
    out.push(TERMINATOR);
}

fn put_array<const N: usize>(wire: &[u8], out: &mut Vec<u8>, form: fn([u8; N]) -> [u8; N]) {
    out.extend_from_slice(&form(wire.try_into().expect("the value is valid, so it has the length of its type")));
}

fn put_escaped(wire: &[u8], out: &mut Vec<u8>) {
    let mut rest = wire;
    // Most values have no zero in them, and are copied as a whole.
    while let Some(first) = rest.iter().position(|byte| *byte == 0) {
        let zeros = rest[first..].iter().take_while(|byte| **byte == 0).count();
        out.extend_from_slice(&rest[..=first]);
        rest = &rest[first + zeros..];
        out.resize(out.len() + zeros - 1, 0xfe);
        out.push(if rest.is_empty() { 0xfe } else { 0xff });
    }
    out.extend_from_slice(rest);
    if wire.last() != Some(&0) {
        out.push(0);
    }
}

fn put_varint(wire: &[u8], out: &mut Vec<u8>) {
    let integer = shortest_integer(wire);
    let sign = if integer.first().is_some_and(|first| *first >= 0x80) { 0xff } else { 0 };
    // The first byte goes when it only says the sign, which is said apart.
    let digits = if integer.len() > 1 && integer[0] == sign { &integer[1..] } else { integer };
    if digits.len() >= LONG_VARINT_BYTES {
        out.push(!sign);
        let length = (digits.len() - LONG_VARINT_BYTES) as u64;
        let following = (63 - (length | 1).leading_zeros() as usize) / 7;
        let start = out.len();
        out.extend_from_slice(&length.to_be_bytes()[7 - following..]);
        out[start] |= !(0xffu16 >> following) as u8;
        out[start..].iter_mut().for_each(|byte| *byte ^= sign);
        return out.extend_from_slice(digits);
    }
    let magnitude = digits.iter().fold(0u64, |value, byte| value << 8 | u64::from(byte ^ sign));
    // One bit of sign and one for each byte that follows, then a bit that differs.
    let length = (64 - (magnitude | 1).leading_zeros() as usize) / 7 + 1;
    let start = out.len();
    out.extend_from_slice(&magnitude.to_be_bytes()[8 - length..]);
    out[start] |= !(0xffu16 >> length) as u8;
    out[start..].iter_mut().for_each(|byte| *byte ^= sign);
}

fn put_decimal(wire: &[u8], out: &mut Vec<u8>) {
    let (scale, unscaled) = decimal_parts(wire).expect("the value is valid, so it has a scale and digits");
    let Digits { negative, exponent, mut digits } = Digits::of(scale, unscaled);
    if digits.is_empty() {
        return out.push(0x80);
    }
    if exponent.rem_euclid(2) == 1 {
        digits.insert(0, 0);
    }
    if digits.len() % 2 == 1 {
        digits.push(0);
    }
    let exponent = exponent.div_euclid(2) + exponent.rem_euclid(2);
    let exponent = if negative { -exponent } else { exponent };
    let length = 8 - exponent.unsigned_abs().leading_zeros() as usize / 8;
    let signed_length = if exponent < 0 { 0x40 - length as u8 } else { 0x40 + length as u8 };
    out.push(if negative { signed_length } else { signed_length | 0x80 });
    out.extend_from_slice(&exponent.to_be_bytes()[8 - length..]);
    let last = digits.len() / 2 - 1;
    for (index, pair) in digits.chunks_exact(2).enumerate() {
        let pair = 10 * pair[0] + pair[1];
        // A negative number is its floor plus positive pairs, so that more pairs are always more.
        out.push(match (negative, index) {
            (false, _) => 0x80 + pair,
            (true, 0) => 0x80 - pair - u8::from(last > 0),
            (true, index) => 0x80 + 99 - pair + u8::from(index == last),
        });
    }
    out.push(0);
}

/// Takes the form of a value of `cql_type` off the front of `rest`, whose bytes are complemented when
/// `descending`, and gives the value. Only a form that [`put`] makes is taken.
///
/// # Errors
/// When `rest` does not start with a form of a value.
pub(crate) fn take(cql_type: &CqlType, rest: &mut &[u8], descending: bool) -> Result<Bytes, CodecError> {
    let mut form = Form { rest, flip: if descending { 0xff } else { 0 } };
    let wire = form.value(cql_type)?;
    // That has a form of its own.
    if is_empty_value(cql_type, &wire) {
        return Err(INVALID);
    }
    // Nor is one of a set or map that is not in order.
    if normalize(cql_type, &wire).map_err(|_| INVALID)? != wire {
        return Err(INVALID);
    }
    *rest = form.rest;
    Ok(Bytes::from(wire))
}

const INVALID: CodecError = CodecError::Invalid("clustering key");

/// Reads the form of one value.
struct Form<'a> {
    rest: &'a [u8],
    /// What every byte is combined with: 0xff when the column is descending.
    flip: u8,
}

impl Form<'_> {
    /// Reads the form of a value; that it is valid and in order is for the caller to check.
    fn value(&mut self, cql_type: &CqlType) -> Result<Vec<u8>, CodecError> {
        match cql_type {
            CqlType::Ascii | CqlType::Text | CqlType::Blob | CqlType::Inet | CqlType::Duration => self.escaped(),
            CqlType::Boolean => match self.byte()? {
                byte @ (0 | 1) => Ok(vec![byte]),
                _ => Err(INVALID),
            },
            CqlType::Date => Ok(self.array::<4>()?.to_vec()),
            CqlType::Time => Ok(self.array::<8>()?.to_vec()),
            CqlType::TinyInt => self.signed::<1>(),
            CqlType::SmallInt => self.signed::<2>(),
            CqlType::Int => self.signed::<4>(),
            CqlType::BigInt | CqlType::Counter | CqlType::Timestamp => self.signed::<8>(),
            CqlType::Float => self.inverse(float, |form| {
                let bits = u32::from_be_bytes(form);
                (if bits >> 31 == 0 { !bits } else { bits & !(1 << 31) }).to_be_bytes()
            }),
            CqlType::Double => self.inverse(double, |form| {
                let bits = u64::from_be_bytes(form);
                (if bits >> 63 == 0 { !bits } else { bits & !(1 << 63) }).to_be_bytes()
            }),
            CqlType::Uuid => self.inverse(uuid, from_uuid),
            CqlType::TimeUuid => self.inverse(time_uuid, from_time_uuid),
            CqlType::VarInt => self.canonical(cql_type, Form::varint),
            CqlType::Decimal => self.canonical(cql_type, Form::decimal),
            CqlType::Vector { .. }
            | CqlType::List { .. }
            | CqlType::Set { .. }
            | CqlType::Map { .. }
            | CqlType::Tuple(_)
            | CqlType::UserDefined { .. } => self.parts(cql_type),
        }
    }

    fn parts(&mut self, cql_type: &CqlType) -> Result<Vec<u8>, CodecError> {
        let most = composite::most_parts(cql_type);
        let mut parts: Vec<Option<Vec<u8>>> = Vec::new();
        loop {
            match self.byte()? {
                TERMINATOR => break,
                _ if parts.len() == most => return Err(INVALID),
                byte @ (NEXT_COMPONENT | EMPTY_COMPONENT) => {
                    let part_type = composite::type_of_part(cql_type, parts.len());
                    let part = if byte == NEXT_COMPONENT { self.value(part_type)? } else { Vec::new() };
                    if is_empty_value(part_type, &part) != (byte == EMPTY_COMPONENT) {
                        return Err(INVALID);
                    }
                    parts.push(Some(part));
                }
                NULL_COMPONENT if composite::is_tuple(cql_type) => parts.push(None),
                _ => return Err(INVALID),
            }
        }
        let complete = match cql_type {
            CqlType::Map { .. } => parts.len().is_multiple_of(2),
            CqlType::Vector { .. } => parts.len() == most,
            _ => !matches!(parts.last(), Some(None)),
        };
        if !complete {
            return Err(INVALID);
        }
        // Nulls at the end were left out.
        if composite::is_tuple(cql_type) {
            parts.resize(most, None);
        }
        Ok(composite::join(cql_type, parts.iter().map(Option::as_deref)))
    }

    fn byte(&mut self) -> Result<u8, CodecError> {
        let (first, rest) = self.rest.split_first().ok_or(CodecError::Truncated)?;
        self.rest = rest;
        Ok(first ^ self.flip)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], CodecError> {
        let (array, rest) = self.rest.split_first_chunk::<N>().ok_or(CodecError::Truncated)?;
        self.rest = rest;
        Ok(array.map(|byte| byte ^ self.flip))
    }

    fn bytes(&mut self, length: usize) -> Result<Vec<u8>, CodecError> {
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(CodecError::Truncated)?;
        self.rest = rest;
        Ok(bytes.iter().map(|byte| byte ^ self.flip).collect())
    }

    fn signed<const N: usize>(&mut self) -> Result<Vec<u8>, CodecError> {
        let mut integer = self.array::<N>()?.to_vec();
        integer[0] ^= 0x80;
        Ok(integer)
    }

    /// Reads a fixed-size form that `put` makes and `take` turns back.
    fn inverse<const N: usize>(
        &mut self,
        put: fn([u8; N]) -> [u8; N],
        take: fn([u8; N]) -> [u8; N],
    ) -> Result<Vec<u8>, CodecError> {
        let form = self.array::<N>()?;
        let wire = take(form);
        if put(wire) == form { Ok(wire.to_vec()) } else { Err(INVALID) }
    }

    /// Reads a form by `read` and checks that it is the one form of its value.
    fn canonical(
        &mut self,
        cql_type: &CqlType,
        read: impl FnOnce(&mut Self) -> Result<Vec<u8>, CodecError>,
    ) -> Result<Vec<u8>, CodecError> {
        let before = self.rest;
        let wire = read(self)?;
        let mut again = Vec::with_capacity(before.len() - self.rest.len());
        put(cql_type, &wire, &mut again);
        let read = &before[..before.len() - self.rest.len()];
        if read.iter().map(|byte| byte ^ self.flip).eq(again) { Ok(wire) } else { Err(INVALID) }
    }

    fn escaped(&mut self) -> Result<Vec<u8>, CodecError> {
        let mut wire = Vec::new();
        loop {
            let zero = self.rest.iter().position(|byte| byte ^ self.flip == 0).ok_or(CodecError::Truncated)?;
            wire.extend(self.rest[..zero].iter().map(|byte| byte ^ self.flip));
            self.rest = &self.rest[zero + 1..];
            // What follows tells zeros within the value, or at its end, from the end alone.
            let more = self.rest.iter().take_while(|byte| **byte ^ self.flip == 0xfe).count();
            wire.resize(wire.len() + more, 0);
            self.rest = &self.rest[more..];
            if self.rest.first().is_none_or(|byte| byte ^ self.flip != 0xff) {
                return Ok(wire);
            }
            wire.push(0);
            self.rest = &self.rest[1..];
            if self.rest.first().is_none_or(|byte| byte ^ self.flip == 0) {
                return Err(INVALID);
            }
        }
    }

    fn varint(&mut self) -> Result<Vec<u8>, CodecError> {
        let first = self.byte()?;
        let sign = if first < 0x80 { 0xff } else { 0 };
        let mut digits = if first == !sign {
            let first = self.byte()? ^ sign;
            let following = self.bytes(first.leading_ones() as usize)?;
            let start = u64::from(first) & 0xff >> first.leading_ones();
            let length = following.iter().try_fold(start, |length, byte| {
                length.checked_mul(256).map(|length| length | u64::from(byte ^ sign)).ok_or(INVALID)
            })?;
            let length = usize::try_from(length).ok().and_then(|length| length.checked_add(LONG_VARINT_BYTES));
            self.bytes(length.ok_or(CodecError::Truncated)?)?
        } else {
            let header = (first ^ sign).leading_ones() as usize;
            let following = self.bytes(header - 1)?;
            let top = (first ^ sign) & (0xffu16 >> (header + 1)) as u8;
            let mut digits = vec![top ^ sign];
            digits.extend(following);
            digits
        };
        if digits[0] & 0x80 != sign & 0x80 {
            digits.insert(0, sign);
        }
        Ok(shortest_integer(&digits).to_vec())
    }

    fn decimal(&mut self) -> Result<Vec<u8>, CodecError> {
        let header = self.byte()?;
        if header == 0x80 {
            return Digits { negative: false, exponent: 0, digits: Vec::new() }.into_wire().ok_or(INVALID);
        }
        let negative = header < 0x80;
        let length = i32::from(header & 0x7f) - 0x40;
        let start = if length < 0 { -1i64 } else { 0 };
        if length.abs() > 4 {
            return Err(INVALID);
        }
        let exponent = self.bytes(length.unsigned_abs() as usize)?;
        let exponent = exponent.iter().fold(start, |exponent, byte| exponent << 8 | i64::from(*byte));
        let exponent = 2 * if negative { -exponent } else { exponent };
        let mut pairs = Vec::new();
        loop {
            match self.byte()? {
                0 => break,
                pair => pairs.push(i16::from(pair) - 0x80),
            }
        }
        let count = pairs.len();
        let mut digits = Vec::with_capacity(2 * count);
        for (index, pair) in pairs.into_iter().enumerate() {
            let pair = match (negative, index) {
                (false, _) => pair,
                (true, 0) => -pair - i16::from(count > 1),
                (true, index) => 99 - pair + i16::from(index + 1 == count),
            };
            let pair = u8::try_from(pair).ok().filter(|pair| *pair < 100).ok_or(INVALID)?;
            digits.extend([pair / 10, pair % 10]);
        }
        Digits::new(negative, exponent, digits).into_wire().ok_or(INVALID)
    }
}
