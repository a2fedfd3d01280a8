//! CQL types. Scalars so far; collections, tuples and user-defined types join the enum when the
//! language has them, and until then are refused by name where a type is parsed.

use crate::codec::{CodecError, Decode, Encode, Reader};
use std::fmt;

/// The type of a column.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum CqlType {
    /// US-ASCII text.
    Ascii = 1,
    /// 64-bit signed integer.
    BigInt = 2,
    /// Any bytes.
    Blob = 3,
    /// True or false.
    Boolean = 4,
    /// Days since 1970-01-01, offset by 2^31.
    Date = 5,
    /// Arbitrary-precision decimal.
    Decimal = 6,
    /// IEEE 754 binary64.
    Double = 7,
    /// Months, days and nanoseconds, each signed alike.
    Duration = 8,
    /// IEEE 754 binary32.
    Float = 9,
    /// IPv4 or IPv6 address.
    Inet = 10,
    /// 32-bit signed integer.
    Int = 11,
    /// 16-bit signed integer.
    SmallInt = 12,
    /// UTF-8 text; `varchar` is another name of it.
    Text = 13,
    /// Nanoseconds since midnight.
    Time = 14,
    /// Milliseconds since 1970-01-01T00:00:00Z.
    Timestamp = 15,
    /// A version 1 UUID, ordered by its time.
    TimeUuid = 16,
    /// 8-bit signed integer.
    TinyInt = 17,
    /// Any UUID.
    Uuid = 18,
    /// Arbitrary-precision integer.
    VarInt = 19,
}

impl CqlType {
    /// Every scalar type, for tables of tests and for completion.
    pub const SCALARS: [CqlType; 19] = [
        CqlType::Ascii,
        CqlType::BigInt,
        CqlType::Blob,
        CqlType::Boolean,
        CqlType::Date,
        CqlType::Decimal,
        CqlType::Double,
        CqlType::Duration,
        CqlType::Float,
        CqlType::Inet,
        CqlType::Int,
        CqlType::SmallInt,
        CqlType::Text,
        CqlType::Time,
        CqlType::Timestamp,
        CqlType::TimeUuid,
        CqlType::TinyInt,
        CqlType::Uuid,
        CqlType::VarInt,
    ];

    /// The name as CQL writes it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            CqlType::Ascii => "ascii",
            CqlType::BigInt => "bigint",
            CqlType::Blob => "blob",
            CqlType::Boolean => "boolean",
            CqlType::Date => "date",
            CqlType::Decimal => "decimal",
            CqlType::Double => "double",
            CqlType::Duration => "duration",
            CqlType::Float => "float",
            CqlType::Inet => "inet",
            CqlType::Int => "int",
            CqlType::SmallInt => "smallint",
            CqlType::Text => "text",
            CqlType::Time => "time",
            CqlType::Timestamp => "timestamp",
            CqlType::TimeUuid => "timeuuid",
            CqlType::TinyInt => "tinyint",
            CqlType::Uuid => "uuid",
            CqlType::VarInt => "varint",
        }
    }

    /// The scalar type of this name in lower case; `varchar` is `text`.
    #[must_use]
    pub fn scalar(name: &str) -> Option<CqlType> {
        if name == "varchar" {
            return Some(CqlType::Text);
        }
        CqlType::SCALARS.into_iter().find(|scalar| scalar.name() == name)
    }

    /// True for types that have an order and so may be part of a primary key. A duration has none:
    /// a month has no fixed number of days.
    #[must_use]
    pub fn is_ordered(&self) -> bool {
        !matches!(self, CqlType::Duration)
    }
}

impl fmt::Display for CqlType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Encode for CqlType {
    fn encode(&self, out: &mut Vec<u8>) {
        // The discriminants are frozen: they are on disk and on the wire.
        let position = CqlType::SCALARS.iter().position(|scalar| scalar == self);
        out.push(position.expect("SCALARS lists every variant") as u8 + 1);
    }
}

impl Decode for CqlType {
    fn decode(reader: &mut Reader) -> Result<CqlType, CodecError> {
        let tag = usize::from(reader.u8()?);
        let found = tag.checked_sub(1).and_then(|index| CqlType::SCALARS.get(index));
        found.cloned().ok_or(CodecError::Invalid("type"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_tags_round_trip_and_are_distinct() {
        for (index, scalar) in CqlType::SCALARS.into_iter().enumerate() {
            assert_eq!(CqlType::scalar(scalar.name()), Some(scalar.clone()));
            assert_eq!(scalar.to_bytes().as_ref(), [index as u8 + 1]);
            assert_eq!(CqlType::from_bytes(&scalar.to_bytes()), Ok(scalar));
        }
        assert_eq!(CqlType::scalar("varchar"), Some(CqlType::Text));
        assert_eq!(CqlType::scalar("list"), None);
    }
}
