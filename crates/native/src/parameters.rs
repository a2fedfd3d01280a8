//! What a statement is executed with: values, consistency, paging and the rest of the options of QUERY, EXECUTE and
//! BATCH.

use crate::error::{EncodeError, ProtocolError};
use crate::version::Version;
use crate::wire::{Reader, put_bytes, put_consistency, put_flags, put_int, put_long, put_short_count, put_string};
use bytes::Bytes;
use model::Consistency;

/// A value for a bind marker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BoundValue {
    /// A value in the wire form of its type.
    Value(Bytes),
    /// Null.
    Null,
    /// Nothing: what the marker stands for is left as it is.
    Unset,
}

/// Codes of [`BoundValue`] in place of a length.
const NULL: i32 = -1;
const UNSET: i32 = -2;

impl BoundValue {
    fn decode(reader: &mut Reader) -> Result<BoundValue, ProtocolError> {
        match reader.int()? {
            NULL => Ok(BoundValue::Null),
            UNSET => Ok(BoundValue::Unset),
            length => {
                let length = usize::try_from(length).map_err(|_| ProtocolError::Invalid("value"))?;
                reader.take(length).map(BoundValue::Value)
            }
        }
    }

    fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        match self {
            BoundValue::Value(bytes) => return put_bytes(out, Some(bytes)),
            BoundValue::Null => put_int(out, NULL),
            BoundValue::Unset => put_int(out, UNSET),
        }
        Ok(())
    }
}

/// The values for the bind markers of one statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Values {
    /// In the order of the markers.
    Positional(Vec<BoundValue>),
    /// Each with the name of its marker.
    Named(Vec<(String, BoundValue)>),
}

impl Default for Values {
    fn default() -> Values {
        Values::Positional(Vec::new())
    }
}

impl Values {
    fn is_empty(&self) -> bool {
        match self {
            Values::Positional(values) => values.is_empty(),
            Values::Named(values) => values.is_empty(),
        }
    }

    pub(crate) fn decode(reader: &mut Reader, named: bool) -> Result<Values, ProtocolError> {
        let count = reader.short()?;
        if named {
            let values = (0..count).map(|_| Ok((reader.string()?, BoundValue::decode(reader)?)));
            return values.collect::<Result<_, ProtocolError>>().map(Values::Named);
        }
        // A value takes 4 bytes at least, so no more are made room for than can come.
        let mut values = Vec::with_capacity(usize::from(count).min(reader.remaining() / 4));
        for _ in 0..count {
            values.push(BoundValue::decode(reader)?);
        }
        Ok(Values::Positional(values))
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        match self {
            Values::Positional(values) => {
                put_short_count(out, "list of values", values.len())?;
                values.iter().try_for_each(|value| value.encode(out))
            }
            Values::Named(values) => {
                put_short_count(out, "list of values", values.len())?;
                values.iter().try_for_each(|(name, value)| put_string(out, name).and_then(|()| value.encode(out)))
            }
        }
    }
}

/// The options of a statement or batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryParameters {
    /// Replicas that must answer.
    pub consistency: Consistency,
    /// For the bind markers; a batch has none here.
    pub values: Values,
    /// Leave the columns out of the answer: the client knows them.
    pub skip_metadata: bool,
    /// Rows in a page. Not positive, or none: no paging.
    pub page_size: Option<i32>,
    /// Where to go on, from the answer before.
    pub paging_state: Option<Bytes>,
    /// For the conditions of a conditional statement: SERIAL or LOCAL_SERIAL.
    pub serial_consistency: Option<Consistency>,
    /// The write timestamp in microseconds, unless the statement has its own.
    pub timestamp: Option<i64>,
    /// In place of the connection's, for tables that are named without one. Version 5.
    pub keyspace: Option<String>,
    /// What to take for now, in seconds since 1970: for tests of expiration. Version 5.
    pub now_in_seconds: Option<i32>,
}

impl QueryParameters {
    /// Only a consistency level.
    #[must_use]
    pub fn at(consistency: Consistency) -> QueryParameters {
        QueryParameters {
            consistency,
            values: Values::default(),
            skip_metadata: false,
            page_size: None,
            paging_state: None,
            serial_consistency: None,
            timestamp: None,
            keyspace: None,
            now_in_seconds: None,
        }
    }
}

const VALUES: u32 = 0x0001;
const SKIP_METADATA: u32 = 0x0002;
const PAGE_SIZE: u32 = 0x0004;
const PAGING_STATE: u32 = 0x0008;
const SERIAL_CONSISTENCY: u32 = 0x0010;
const TIMESTAMP: u32 = 0x0020;
const NAMES: u32 = 0x0040;
const KEYSPACE: u32 = 0x0080;
const NOW_IN_SECONDS: u32 = 0x0100;

/// The flags that a version defines. One that is not defined could change the meaning of the rest.
fn defined(version: Version) -> u32 {
    let of_v4 = VALUES | SKIP_METADATA | PAGE_SIZE | PAGING_STATE | SERIAL_CONSISTENCY | TIMESTAMP | NAMES;
    if version < Version::V5 { of_v4 } else { of_v4 | KEYSPACE | NOW_IN_SECONDS }
}

/// Reads flags, one byte before version 5 and four from there on.
fn read_flags(reader: &mut Reader, version: Version) -> Result<u32, ProtocolError> {
    let flags = if version < Version::V5 { u32::from(reader.byte()?) } else { reader.flags()? };
    if flags & !defined(version) == 0 { Ok(flags) } else { Err(ProtocolError::Invalid("query flags")) }
}

fn put_query_flags(out: &mut Vec<u8>, version: Version, flags: u32) -> Result<(), EncodeError> {
    for (flag, what) in [(KEYSPACE, "keyspace of a request"), (NOW_IN_SECONDS, "now_in_seconds of a request")] {
        if flags & flag & !defined(version) != 0 {
            return Err(EncodeError::Version { version, what });
        }
    }
    if version < Version::V5 {
        out.push(flags as u8)
    } else {
        put_flags(out, flags)
    }
    Ok(())
}

impl QueryParameters {
    /// Those of QUERY and EXECUTE.
    pub(crate) fn decode(reader: &mut Reader, version: Version) -> Result<QueryParameters, ProtocolError> {
        let mut parameters = QueryParameters::at(reader.consistency()?);
        let flags = read_flags(reader, version)?;
        if flags & VALUES != 0 {
            parameters.values = Values::decode(reader, flags & NAMES != 0)?;
        }
        parameters.skip_metadata = flags & SKIP_METADATA != 0;
        if flags & PAGE_SIZE != 0 {
            parameters.page_size = Some(reader.int()?);
        }
        if flags & PAGING_STATE != 0 {
            parameters.paging_state = reader.bytes()?;
        }
        parameters.decode_common(reader, flags)?;
        Ok(parameters)
    }

    /// Those of BATCH.
    pub(crate) fn decode_batch(reader: &mut Reader, version: Version) -> Result<QueryParameters, ProtocolError> {
        let mut parameters = QueryParameters::at(reader.consistency()?);
        let flags = read_flags(reader, version)?;
        if flags & NAMES != 0 {
            // The names would have to stand before this flag is known: CASSANDRA-10246.
            return Err(ProtocolError::Invalid("query flags: a batch has no values by name"));
        }
        if flags & (VALUES | SKIP_METADATA | PAGE_SIZE | PAGING_STATE) != 0 {
            return Err(ProtocolError::Invalid("query flags: a batch has no values of its own and no pages"));
        }
        parameters.decode_common(reader, flags)?;
        Ok(parameters)
    }

    fn decode_common(&mut self, reader: &mut Reader, flags: u32) -> Result<(), ProtocolError> {
        if flags & SERIAL_CONSISTENCY != 0 {
            let level = reader.consistency()?;
            if !level.is_serial() {
                return Err(ProtocolError::Invalid("serial consistency"));
            }
            self.serial_consistency = Some(level);
        }
        if flags & TIMESTAMP != 0 {
            // Cassandra's word for "none" is not a timestamp.
            let timestamp = Some(reader.long()?).filter(|timestamp| *timestamp != i64::MIN);
            self.timestamp = Some(timestamp.ok_or(ProtocolError::Invalid("timestamp"))?);
        }
        if flags & KEYSPACE != 0 {
            self.keyspace = Some(reader.string()?);
        }
        if flags & NOW_IN_SECONDS != 0 {
            self.now_in_seconds = Some(reader.int()?);
        }
        Ok(())
    }

    fn common_flags(&self) -> u32 {
        let when = |condition, flag| if condition { flag } else { 0 };
        when(self.serial_consistency.is_some(), SERIAL_CONSISTENCY)
            | when(self.timestamp.is_some(), TIMESTAMP)
            | when(self.keyspace.is_some(), KEYSPACE)
            | when(self.now_in_seconds.is_some(), NOW_IN_SECONDS)
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>, version: Version) -> Result<(), EncodeError> {
        let when = |condition, flag| if condition { flag } else { 0 };
        let named = matches!(self.values, Values::Named(_));
        let flags = self.common_flags()
            | when(!self.values.is_empty() || named, VALUES)
            | when(named, NAMES)
            | when(self.skip_metadata, SKIP_METADATA)
            | when(self.page_size.is_some(), PAGE_SIZE)
            | when(self.paging_state.is_some(), PAGING_STATE);
        put_consistency(out, self.consistency);
        put_query_flags(out, version, flags)?;
        if flags & VALUES != 0 {
            self.values.encode(out)?;
        }
        if let Some(size) = self.page_size {
            put_int(out, size);
        }
        if let Some(state) = &self.paging_state {
            put_bytes(out, Some(state))?;
        }
        self.encode_common(out)
    }

    /// Writes what a batch has of it; values and paging are not among that.
    pub(crate) fn encode_batch(&self, out: &mut Vec<u8>, version: Version) -> Result<(), EncodeError> {
        put_consistency(out, self.consistency);
        put_query_flags(out, version, self.common_flags())?;
        self.encode_common(out)
    }

    fn encode_common(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        if let Some(level) = self.serial_consistency {
            put_consistency(out, level);
        }
        if let Some(timestamp) = self.timestamp {
            put_long(out, timestamp);
        }
        if let Some(keyspace) = &self.keyspace {
            put_string(out, keyspace)?;
        }
        if let Some(seconds) = self.now_in_seconds {
            put_int(out, seconds);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_version_does_not_have_is_refused_both_ways() {
        let decode = |bytes: &'static [u8], version| {
            QueryParameters::decode(&mut Reader::new(Bytes::from_static(bytes)), version)
        };
        assert_eq!(decode(&[0, 1, 0x80, 0, 1, b'k'], Version::V4), Err(ProtocolError::Invalid("query flags")));
        let keyspace = decode(&[0, 1, 0, 0, 0, 0x80, 0, 1, b'k'], Version::V5).unwrap().keyspace;
        assert_eq!(keyspace.as_deref(), Some("k"));
        assert!(decode(&[0, 1, 0x40, 0, 0, 0], Version::V5).is_err(), "continuous paging is of another product");
        assert!(decode(&[0, 11, 0], Version::V4).is_err(), "there is no such level");
        assert!(decode(&[0, 1, 0x10, 0, 1], Version::V4).is_err(), "ONE is not serial");
        let mut minimum = vec![0, 1, 0x20];
        minimum.extend_from_slice(&i64::MIN.to_be_bytes());
        let minimum = QueryParameters::decode(&mut Reader::new(Bytes::from(minimum)), Version::V4);
        assert_eq!(minimum, Err(ProtocolError::Invalid("timestamp")));
        let parameters = QueryParameters { now_in_seconds: Some(1), ..QueryParameters::at(Consistency::One) };
        assert!(parameters.encode(&mut Vec::new(), Version::V4).is_err());
        assert!(parameters.encode(&mut Vec::new(), Version::V5).is_ok());
    }

    #[test]
    fn a_value_of_another_negative_length_is_an_error() {
        let value = |length: i32| BoundValue::decode(&mut Reader::new(Bytes::from(length.to_be_bytes().to_vec())));
        assert_eq!(value(-1), Ok(BoundValue::Null));
        assert_eq!(value(-2), Ok(BoundValue::Unset));
        assert_eq!(value(-3), Err(ProtocolError::Invalid("value")));
        assert_eq!(value(1), Err(ProtocolError::Truncated));
    }
}
