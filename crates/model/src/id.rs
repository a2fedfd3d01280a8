//! Identifiers. Each is a newtype, so that a node cannot be taken for a table.

use std::fmt;

/// A node for its whole life: 128 random bits drawn at its first start and kept in its data
/// directory (Cassandra's host id). Written as a UUID.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u128);

/// One generation of a table: truncated, or dropped and created again, it has another id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableId(pub u128);

/// A column of one table for its whole life. Never used for another one after the column is dropped, so stored
/// data can never be read under another column's name (storage rules: positions are not ids).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ColumnId(pub u32);

/// The position of an entry in the cluster metadata log: epoch `n` is the state after entry `n`.
/// Epoch 0 is the state before the first entry, in which no cluster exists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

/// A keyspace's name, in the case in which it is stored.
pub type KeyspaceName = String;

impl Epoch {
    /// The epoch after this one.
    #[must_use]
    pub fn next(self) -> Epoch {
        Epoch(self.0 + 1)
    }
}

/// Writes 128 bits as a UUID: 8-4-4-4-12 hexadecimal digits.
pub(crate) fn write_uuid(bits: u128, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(
        f,
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        bits >> 96,
        (bits >> 80) & 0xffff,
        (bits >> 64) & 0xffff,
        (bits >> 48) & 0xffff,
        bits & 0xffff_ffff_ffff
    )
}

/// Reads a UUID's 32 hexadecimal digits with hyphens after the 8th, 12th, 16th and 20th.
#[must_use]
pub fn parse_uuid(text: &str) -> Option<u128> {
    let bytes = text.as_bytes();
    if bytes.len() != 36 {
        return None;
    }
    let mut bits = 0u128;
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 8 | 13 | 18 | 23) {
            if *byte != b'-' {
                return None;
            }
            continue;
        }
        bits = bits << 4 | u128::from((*byte as char).to_digit(16)?);
    }
    Some(bits)
}

macro_rules! uuid_text {
    ($type:ident) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_uuid(self.0, f)
            }
        }
        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_uuid(self.0, f)
            }
        }
    };
}
uuid_text!(NodeId);
uuid_text!(TableId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuid_text_round_trips() {
        let id = NodeId(0x0123_4567_89ab_cdef_0011_2233_4455_6677);
        assert_eq!(id.to_string(), "01234567-89ab-cdef-0011-223344556677");
        assert_eq!(parse_uuid(&id.to_string()), Some(id.0));
        for bad in ["", "01234567-89ab-cdef-0011-22334455667", "01234567x89ab-cdef-0011-223344556677"] {
            assert_eq!(parse_uuid(bad), None);
        }
    }
}
