//! Types as metadata carries them: `[option]`, an id and what belongs to it.
//!
//! The protocol does not say what is frozen, so a type that is read is frozen throughout. A type without an id of
//! its own in a version is `custom`, with the name of the class that Cassandra has for it.

use crate::class_name::{class_name, of_class_name};
use crate::error::{EncodeError, ProtocolError};
use crate::version::Version;
use crate::wire::{Reader, put_short, put_short_count, put_string};
use model::CqlType;
use model::limits::NESTING_MAX;
use model::types::UserType;
use std::sync::Arc;

const CUSTOM: u16 = 0x0000;
const LIST: u16 = 0x0020;
const MAP: u16 = 0x0021;
const SET: u16 = 0x0022;
const USER_DEFINED: u16 = 0x0030;
const TUPLE: u16 = 0x0031;

/// A type without parameters.
pub(crate) struct Simple {
    pub(crate) cql_type: CqlType,
    pub(crate) id: u16,
    /// The class that Cassandra has for it, without its package.
    pub(crate) class: &'static str,
}

const fn simple(cql_type: CqlType, id: u16, class: &'static str) -> Simple {
    Simple { cql_type, id, class }
}

/// All of them.
pub(crate) static SIMPLE: [Simple; 20] = [
    simple(CqlType::Ascii, 0x0001, "AsciiType"),
    simple(CqlType::BigInt, 0x0002, "LongType"),
    simple(CqlType::Blob, 0x0003, "BytesType"),
    simple(CqlType::Boolean, 0x0004, "BooleanType"),
    simple(CqlType::Counter, 0x0005, "CounterColumnType"),
    simple(CqlType::Decimal, 0x0006, "DecimalType"),
    simple(CqlType::Double, 0x0007, "DoubleType"),
    simple(CqlType::Float, 0x0008, "FloatType"),
    simple(CqlType::Int, 0x0009, "Int32Type"),
    simple(CqlType::Timestamp, 0x000b, "TimestampType"),
    simple(CqlType::Uuid, 0x000c, "UUIDType"),
    simple(CqlType::Text, 0x000d, "UTF8Type"),
    simple(CqlType::VarInt, 0x000e, "IntegerType"),
    simple(CqlType::TimeUuid, 0x000f, "TimeUUIDType"),
    simple(CqlType::Inet, 0x0010, "InetAddressType"),
    simple(CqlType::Date, 0x0011, "SimpleDateType"),
    simple(CqlType::Time, 0x0012, "TimeType"),
    simple(CqlType::SmallInt, 0x0013, "ShortType"),
    simple(CqlType::TinyInt, 0x0014, "ByteType"),
    simple(CqlType::Duration, 0x0015, "DurationType"),
];

pub(crate) fn put_type(out: &mut Vec<u8>, cql_type: &CqlType, version: Version) -> Result<(), EncodeError> {
    match cql_type {
        CqlType::Vector { .. } => put_custom(out, cql_type),
        // Has an id from version 5 on.
        CqlType::Duration if version < Version::V5 => put_custom(out, cql_type),
        CqlType::List { element, .. } => {
            put_short(out, LIST);
            put_type(out, element, version)
        }
        CqlType::Set { element, .. } => {
            put_short(out, SET);
            put_type(out, element, version)
        }
        CqlType::Map { entry, .. } => {
            put_short(out, MAP);
            put_type(out, &entry.0, version)?;
            put_type(out, &entry.1, version)
        }
        CqlType::Tuple(types) => {
            put_short(out, TUPLE);
            put_short_count(out, "tuple", types.len())?;
            types.iter().try_for_each(|cql_type| put_type(out, cql_type, version))
        }
        CqlType::UserDefined { definition, .. } => {
            put_short(out, USER_DEFINED);
            put_string(out, &definition.keyspace)?;
            put_string(out, &definition.name)?;
            put_short_count(out, "user-defined type", definition.fields.len())?;
            definition.fields.iter().try_for_each(|(name, cql_type)| {
                put_string(out, name)?;
                put_type(out, cql_type, version)
            })
        }
        scalar => {
            let found = SIMPLE.iter().find(|simple| simple.cql_type == *scalar);
            put_short(out, found.expect("SIMPLE lists every type without parameters").id);
            Ok(())
        }
    }
}

fn put_custom(out: &mut Vec<u8>, cql_type: &CqlType) -> Result<(), EncodeError> {
    put_short(out, CUSTOM);
    put_string(out, &class_name(cql_type))
}

pub(crate) fn read_type(reader: &mut Reader) -> Result<CqlType, ProtocolError> {
    let cql_type = read_nested(reader, 1)?;
    cql_type.check().map_err(|_| ProtocolError::Invalid("type"))?;
    Ok(cql_type)
}

fn read_nested(reader: &mut Reader, depth: usize) -> Result<CqlType, ProtocolError> {
    if depth > NESTING_MAX {
        return Err(ProtocolError::Invalid("type"));
    }
    let inner = |reader: &mut Reader| read_nested(reader, depth + 1);
    Ok(match reader.short()? {
        CUSTOM => of_class_name(&reader.string()?).ok_or(ProtocolError::Invalid("custom type"))?,
        LIST => CqlType::List { element: Arc::new(inner(reader)?), frozen: true },
        SET => CqlType::Set { element: Arc::new(inner(reader)?), frozen: true },
        MAP => CqlType::Map { entry: Arc::new((inner(reader)?, inner(reader)?)), frozen: true },
        TUPLE => {
            let count = reader.short()?;
            let types = (0..count).map(|_| inner(reader)).collect::<Result<_, ProtocolError>>()?;
            CqlType::Tuple(Arc::new(types))
        }
        USER_DEFINED => {
            let (keyspace, name, count) = (reader.string()?, reader.string()?, reader.short()?);
            let fields = (0..count).map(|_| Ok((reader.string()?, inner(reader)?)));
            let fields = fields.collect::<Result<_, ProtocolError>>()?;
            CqlType::UserDefined { definition: Arc::new(UserType { keyspace, name, fields }), frozen: true }
        }
        id => {
            let found = SIMPLE.iter().find(|simple| simple.id == id).ok_or(ProtocolError::Invalid("type"))?;
            found.cql_type.clone()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::cql_type;
    use bytes::Bytes;
    use proptest::prelude::*;

    #[test]
    fn every_scalar_has_an_id() {
        for scalar in CqlType::SCALARS.iter().chain([&CqlType::Counter]) {
            assert_eq!(SIMPLE.iter().filter(|simple| simple.cql_type == *scalar).count(), 1, "{scalar}");
        }
        assert_eq!(SIMPLE.len(), CqlType::SCALARS.len() + 1);
    }

    #[test]
    fn a_type_without_an_id_is_a_class() {
        let mut out = Vec::new();
        put_type(&mut out, &CqlType::Duration, Version::V4).unwrap();
        let class = b"org.apache.cassandra.db.marshal.DurationType";
        assert_eq!(out, [&[0, 0, 0, class.len() as u8][..], class].concat());
        out.clear();
        put_type(&mut out, &CqlType::Duration, Version::V5).unwrap();
        assert_eq!(out, [0, 0x15]);
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth: usize| [[0, LIST as u8].repeat(depth), vec![0, 9]].concat();
        assert!(read_type(&mut Reader::new(Bytes::from(nested(NESTING_MAX - 1)))).is_ok());
        for depth in [NESTING_MAX, 30_000] {
            let result = read_type(&mut Reader::new(Bytes::from(nested(depth))));
            assert_eq!(result, Err(ProtocolError::Invalid("type")));
        }
    }

    proptest! {
        #[test]
        fn types_come_back_frozen(cql_type in cql_type(), version in prop::sample::select(&Version::ALL[..])) {
            let mut out = Vec::new();
            put_type(&mut out, &cql_type, version).unwrap();
            let mut reader = Reader::new(Bytes::from(out));
            prop_assert_eq!(read_type(&mut reader).unwrap(), cql_type.freeze());
            prop_assert_eq!(reader.remaining(), 0);
        }
    }
}
