//! Primary keys: the partition key that places data on the ring, and the clustering key that orders
//! rows within a partition, in a form whose bytes order as the values do.
//!
//! An encoded clustering key is Cassandra's byte-comparable form (`ByteComparable.md`, OSS50): before
//! each component 0x40, after the last 0x38; the component's bytes are complemented when its column
//! is descending. A bound is such a key cut short, with 0x20 (before) or 0x60 (after) where the next
//! separator would be. No key is a prefix of another, and a bound is on the same side of all keys
//! that start with its prefix. A value of no bytes of a type that has others has 0x3f before it, or 0x41 when its
//! column is descending, so that it is the least. Of each component there is one form ([`crate::value`] has its order),
//! and only that one is decoded, so equal keys are equal bytes. Two values that compare as equal are
//! one key: decimals lose their scale, NaNs their payload, booleans become 0 or 1, sets and maps are sorted, in tuples
//! what is missing at the end is null.

use crate::codec::{CodecError, Decode, Encode, Reader, put_bytes, put_varint};
use crate::error::RequestError;
use crate::limits::KEY_BYTES_MAX;
use crate::schema::{ClusteringOrder, Column, ColumnKind, Table};
use crate::token::Token;
use crate::value::ordered::{self, EMPTY_COMPONENT, EMPTY_COMPONENT_DESCENDING, NEXT_COMPONENT, TERMINATOR};
use crate::value::{is_empty_value, normalize};
use bytes::Bytes;
use std::cmp::Ordering;

/// Ends a bound before all keys that start with it.
const BOUND_BEFORE: u8 = 0x20;
/// Ends a bound after all keys that start with it.
const BOUND_AFTER: u8 = 0x60;

/// A serialized partition key with its token. Keys are ordered as storage and scans have them: by token; in
/// the rare case that two have the same, as their encodings are: the varint of the length, then the bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PartitionKey {
    /// Where it is on the ring.
    pub token: Token,
    /// The key as Cassandra serializes it: the value itself when it has one component; else for each
    /// component two bytes of length, the value, and a zero byte.
    pub bytes: Bytes,
}

/// On which side of the rows with a clustering prefix a bound is, in the order of encoded keys. For a
/// descending column that is the other way round than the values: the caller turns `<` and `>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BoundSide {
    /// Before all of them.
    Before,
    /// After all of them.
    After,
}

impl Ord for PartitionKey {
    fn cmp(&self, other: &PartitionKey) -> Ordering {
        let length = |key: &PartitionKey| {
            let mut out = Vec::new();
            put_varint(&mut out, key.bytes.len() as u64);
            out
        };
        self.token.cmp(&other.token).then_with(|| match self.bytes.len() == other.bytes.len() {
            true => self.bytes.cmp(&other.bytes),
            false => length(self).cmp(&length(other)),
        })
    }
}

impl PartialOrd for PartitionKey {
    fn partial_cmp(&self, other: &PartitionKey) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartitionKey {
    /// The key of these serialized bytes.
    #[must_use]
    pub fn new(bytes: Bytes) -> PartitionKey {
        PartitionKey { token: Token::of(&bytes), bytes }
    }

    /// The key of these components in wire form, one for each partition key column. They are taken as
    /// they are: the caller has validated them.
    ///
    /// # Errors
    /// `Invalid` when the key is empty or longer than [`KEY_BYTES_MAX`], in Cassandra's words.
    pub fn from_components(components: &[Bytes]) -> Result<PartitionKey, RequestError> {
        let length = match components {
            [only] => only.len(),
            several => several.iter().map(|component| component.len() + 3).sum(),
        };
        if length == 0 {
            return Err(RequestError::Invalid("Key may not be empty".to_owned()));
        }
        if length > KEY_BYTES_MAX {
            let message = format!("Key length of {length} is longer than maximum of {KEY_BYTES_MAX}");
            return Err(RequestError::Invalid(message));
        }
        if let [only] = components {
            return Ok(PartitionKey::new(only.clone()));
        }
        let mut bytes = Vec::with_capacity(length);
        for component in components {
            bytes.extend_from_slice(&(component.len() as u16).to_be_bytes());
            bytes.extend_from_slice(component);
            bytes.push(0);
        }
        Ok(PartitionKey::new(Bytes::from(bytes)))
    }

    /// The `count` components in wire form.
    ///
    /// # Errors
    /// When the key does not have that many.
    pub fn components(&self, count: usize) -> Result<Vec<Bytes>, CodecError> {
        if count == 1 {
            return Ok(vec![self.bytes.clone()]);
        }
        let mut reader = Reader::new(self.bytes.clone());
        // Each component takes three bytes or more, so a wrong `count` cannot allocate much.
        let mut components = Vec::new();
        for _ in 0..count {
            let length = usize::from(reader.u8()?) << 8 | usize::from(reader.u8()?);
            components.push(reader.take(length)?);
            if reader.u8()? != 0 {
                return Err(CodecError::Invalid("partition key"));
            }
        }
        reader.finish()?;
        Ok(components)
    }
}

/// The encoded clustering key of `values`, in wire form, one for each clustering column of `table`;
/// of a table without clustering columns the key of its one row.
///
/// # Errors
/// `Invalid` when a value is not of its column's type, when there are too few or too many, and when
/// they are longer than [`KEY_BYTES_MAX`] together.
pub fn encode_clustering(table: &Table, values: &[Bytes]) -> Result<Bytes, RequestError> {
    let columns = table.clustering().count();
    if values.len() != columns {
        let message = format!("expected {columns} clustering values for table {} but got {}", table.name, values.len());
        return Err(RequestError::Invalid(message));
    }
    encode(table, values, TERMINATOR)
}

/// The position before or after all rows whose clustering key starts with `prefix`: the values, in
/// wire form, of the first clustering columns of `table`, perhaps of none or all of them.
///
/// # Errors
/// As [`encode_clustering`], except that there may be fewer values than columns.
pub fn encode_bound(table: &Table, prefix: &[Bytes], side: BoundSide) -> Result<Bytes, RequestError> {
    let columns = table.clustering().count();
    if prefix.len() > columns {
        let message =
            format!("expected at most {columns} clustering values for table {} but got {}", table.name, prefix.len());
        return Err(RequestError::Invalid(message));
    }
    encode(table, prefix, if side == BoundSide::Before { BOUND_BEFORE } else { BOUND_AFTER })
}

fn encode(table: &Table, values: &[Bytes], last: u8) -> Result<Bytes, RequestError> {
    let length: usize = values.iter().map(Bytes::len).sum();
    let too_long = |length| {
        RequestError::Invalid(format!("The sum of all clustering columns is too long ({length} > {KEY_BYTES_MAX})"))
    };
    if length > KEY_BYTES_MAX {
        return Err(too_long(length));
    }
    let mut out = Vec::with_capacity(length + 2 * values.len() + 1);
    for (column, value) in table.clustering().zip(values) {
        if !column.cql_type.is_key() {
            let message = format!("column {} of type {} cannot be a clustering column", column.name, column.cql_type);
            return Err(RequestError::Invalid(message));
        }
        let value = normalize(&column.cql_type, value)
            .map_err(|error| RequestError::Invalid(format!("invalid value for column {}: {error}", column.name)))?;
        out.push(match (is_empty_value(&column.cql_type, &value), is_descending(column.kind)) {
            (false, _) => NEXT_COMPONENT,
            (true, false) => EMPTY_COMPONENT,
            (true, true) => EMPTY_COMPONENT_DESCENDING,
        });
        let start = out.len();
        ordered::put(&column.cql_type, &value, &mut out);
        if is_descending(column.kind) {
            out[start..].iter_mut().for_each(|byte| *byte = !*byte);
        }
    }
    out.push(last);
    if out.len() > KEY_BYTES_MAX {
        return Err(too_long(out.len()));
    }
    Ok(Bytes::from(out))
}

fn take_byte(rest: &mut &[u8]) -> Result<u8, CodecError> {
    let (first, after) = rest.split_first().ok_or(CodecError::Truncated)?;
    *rest = after;
    Ok(*first)
}

/// The value, in wire form, of the component of `column` behind `separator`; `None` when that is none of a component.
fn component(column: &Column, separator: u8, rest: &mut &[u8]) -> Result<Option<Bytes>, CodecError> {
    let descending = is_descending(column.kind);
    let empty = if descending { EMPTY_COMPONENT_DESCENDING } else { EMPTY_COMPONENT };
    Ok(match separator {
        NEXT_COMPONENT => Some(ordered::take(&column.cql_type, rest, descending)?),
        other if other == empty && column.cql_type.has_empty_value() => Some(Bytes::new()),
        _ => None,
    })
}

/// The values, in wire form, of an encoded clustering key of `table`. They are in the one form that
/// equal keys share: a decimal has no zeros at the end of its fraction, and no exponent up to 38
/// digits.
///
/// # Errors
/// When `encoded` is not what [`encode_clustering`] makes for `table`.
pub fn decode_clustering(table: &Table, encoded: &[u8]) -> Result<Vec<Bytes>, CodecError> {
    let mut rest = encoded;
    let mut values = Vec::new();
    for column in table.clustering() {
        let separator = take_byte(&mut rest)?;
        let value = component(column, separator, &mut rest)?;
        values.push(value.ok_or(CodecError::Invalid("clustering key"))?);
    }
    if take_byte(&mut rest)? != TERMINATOR {
        return Err(CodecError::Invalid("clustering key"));
    }
    if rest.is_empty() { Ok(values) } else { Err(CodecError::Trailing(rest.len())) }
}

/// The values, in wire form, and the side of a bound of `table`.
///
/// # Errors
/// When `encoded` is not what [`encode_bound`] makes for `table`.
pub fn decode_bound(table: &Table, encoded: &[u8]) -> Result<(Vec<Bytes>, BoundSide), CodecError> {
    let mut rest = encoded;
    let mut values = Vec::new();
    let mut columns = table.clustering();
    loop {
        let side = match take_byte(&mut rest)? {
            BOUND_BEFORE => BoundSide::Before,
            BOUND_AFTER => BoundSide::After,
            separator => {
                let column = columns.next().ok_or(CodecError::Invalid("bound"))?;
                let value = component(column, separator, &mut rest)?;
                values.push(value.ok_or(CodecError::Invalid("bound"))?);
                continue;
            }
        };
        return if rest.is_empty() { Ok((values, side)) } else { Err(CodecError::Trailing(rest.len())) };
    }
}

fn is_descending(kind: ColumnKind) -> bool {
    matches!(kind, ColumnKind::Clustering(_, ClusteringOrder::Descending))
}

impl Encode for PartitionKey {
    fn encode(&self, out: &mut Vec<u8>) {
        self.token.encode(out);
        put_bytes(out, &self.bytes);
    }
}

impl Decode for PartitionKey {
    fn decode(reader: &mut Reader) -> Result<PartitionKey, CodecError> {
        Ok(PartitionKey { token: Token::decode(reader)?, bytes: reader.bytes()? })
    }
}

#[cfg(test)]
#[path = "key_tests.rs"]
mod tests;
