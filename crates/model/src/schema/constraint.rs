//! CHECK: what the values that are written to a column must be, as the schema holds it. Whether a value is that is
//! decided where it is bound to a statement.
//!
//! Invariant: equal constraints have equal encodings, and each is written in CQL so that it is read back as the same.

use super::{Column, ColumnKind};
use crate::codec::{CodecError, Decode, Encode, Reader};
use crate::error::RequestError;
use crate::id::ColumnId;
use crate::name::{quote_name, quote_text};
use crate::types::CqlType;
use crate::value::{Value, is_empty_value, validate};
use bytes::Bytes;
use std::cmp::Ordering;

/// How what is written is compared with what a constraint names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Comparison {
    /// `=`.
    Equal,
    /// `!=`.
    NotEqual,
    /// `<`.
    Less,
    /// `<=`.
    LessOrEqual,
    /// `>`.
    Greater,
    /// `>=`.
    GreaterOrEqual,
}

impl Comparison {
    /// All of them; the order is that of their encoding.
    pub const ALL: [Comparison; 6] = [
        Comparison::Equal,
        Comparison::NotEqual,
        Comparison::Less,
        Comparison::LessOrEqual,
        Comparison::Greater,
        Comparison::GreaterOrEqual,
    ];

    /// As CQL writes it.
    #[must_use]
    pub fn symbol(self) -> &'static str {
        match self {
            Comparison::Equal => "=",
            Comparison::NotEqual => "!=",
            Comparison::Less => "<",
            Comparison::LessOrEqual => "<=",
            Comparison::Greater => ">",
            Comparison::GreaterOrEqual => ">=",
        }
    }

    /// True when a value that stands in this order to the one that is named is allowed.
    #[must_use]
    pub fn admits(self, order: Ordering) -> bool {
        match self {
            Comparison::Equal => order.is_eq(),
            Comparison::NotEqual => order.is_ne(),
            Comparison::Less => order.is_lt(),
            Comparison::LessOrEqual => order.is_le(),
            Comparison::Greater => order.is_gt(),
            Comparison::GreaterOrEqual => order.is_ge(),
        }
    }
}

/// One condition of CHECK.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    /// `column < number`.
    Value {
        /// How they are compared.
        comparison: Comparison,
        /// The number, in the wire form of the column's type.
        bound: Bytes,
    },
    /// `LENGTH() < number`: characters of a text, bytes of a blob.
    Length {
        /// How they are compared.
        comparison: Comparison,
        /// The number.
        bound: u32,
    },
    /// `OCTET_LENGTH() < number`: bytes.
    OctetLength {
        /// How they are compared.
        comparison: Comparison,
        /// The number.
        bound: u32,
    },
    /// `REGEXP() = 'pattern'`, or `!=`: the whole text matches, or does not.
    Regexp {
        /// A regular expression without references back and without looking around.
        pattern: String,
        /// True for `!=`.
        negated: bool,
    },
    /// `JSON`: the text is a value of JSON.
    Json,
    /// `NOT NULL`: every statement that writes the row gives a value.
    NotNull,
}

/// A condition of a column of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Constraint {
    /// The column.
    pub column: ColumnId,
    /// What it must be.
    pub check: Check,
}

/// Numbers that have an order: what [`Check::Value`] is for.
fn is_number(cql_type: &CqlType) -> bool {
    matches!(
        cql_type,
        CqlType::TinyInt
            | CqlType::SmallInt
            | CqlType::Int
            | CqlType::BigInt
            | CqlType::VarInt
            | CqlType::Float
            | CqlType::Double
            | CqlType::Decimal
    )
}

impl Check {
    /// The name by which messages call it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Check::Value { .. } => "value",
            Check::Length { .. } => "LENGTH",
            Check::OctetLength { .. } => "OCTET_LENGTH",
            Check::Regexp { .. } => "REGEXP",
            Check::Json => "JSON",
            Check::NotNull => "NOT NULL",
        }
    }

    /// Checks that values of `column` can be asked for it.
    ///
    /// # Errors
    /// `Invalid`.
    pub fn check_column(&self, column: &Column) -> Result<(), RequestError> {
        let (name, cql_type) = (&column.name, &column.cql_type);
        let (fits, of) = match self {
            Check::Value { bound, .. } => {
                if !is_number(cql_type) {
                    return Err(RequestError::Invalid(format!("Column '{name}' is not a number type.")));
                }
                let is_value = validate(cql_type, bound).is_ok() && !is_empty_value(cql_type, bound);
                (is_value, "the type of its number")
            }
            Check::Length { .. } | Check::OctetLength { .. } => {
                (cql_type.is_text() || *cql_type == CqlType::Blob, "ascii, text and blob")
            }
            Check::Regexp { .. } | Check::Json => (cql_type.is_text(), "ascii and text"),
            Check::NotNull => {
                if matches!(column.kind, ColumnKind::PartitionKey(_) | ColumnKind::Clustering(..)) {
                    return Err(RequestError::Invalid(format!(
                        "NOT NULL constraint cannot be specified on a primary key column '{name}'"
                    )));
                }
                (*cql_type != CqlType::Counter, "other types than counter")
            }
        };
        if fits {
            return Ok(());
        }
        let check = self.name();
        Err(RequestError::Invalid(format!(
            "Constraint '{check}' can be used only for columns of {of} but '{name}' is of type {cql_type}"
        )))
    }

    /// As CQL writes it of a column.
    #[must_use]
    pub fn to_cql(&self, column: &Column) -> String {
        match self {
            Check::Value { comparison, bound } => {
                let value = Value::from_wire(&column.cql_type, bound).map(|value| value.to_cql_literal());
                let value = value.unwrap_or_else(|_| format!("0x{bound:x}"));
                format!("{} {} {value}", quote_name(&column.name), comparison.symbol())
            }
            Check::Length { comparison, bound } | Check::OctetLength { comparison, bound } => {
                format!("{}() {} {bound}", self.name(), comparison.symbol())
            }
            Check::Regexp { pattern, negated } => {
                format!("REGEXP() {} {}", if *negated { "!=" } else { "=" }, quote_text(pattern))
            }
            Check::Json | Check::NotNull => self.name().to_owned(),
        }
    }
}

impl Encode for Comparison {
    fn encode(&self, out: &mut Vec<u8>) {
        let position = Comparison::ALL.iter().position(|own| own == self);
        out.push(position.expect("ALL lists every comparison") as u8);
    }
}

impl Decode for Comparison {
    fn decode(reader: &mut Reader) -> Result<Comparison, CodecError> {
        let found = Comparison::ALL.get(usize::from(reader.u8()?)).copied();
        found.ok_or(CodecError::Invalid("comparison"))
    }
}

impl Encode for Check {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Check::Value { comparison, bound } => {
                out.push(0);
                comparison.encode(out);
                crate::codec::put_bytes(out, bound);
            }
            Check::Length { comparison, bound } => {
                out.push(1);
                comparison.encode(out);
                bound.encode(out);
            }
            Check::OctetLength { comparison, bound } => {
                out.push(2);
                comparison.encode(out);
                bound.encode(out);
            }
            Check::Regexp { pattern, negated } => {
                out.push(3);
                pattern.encode(out);
                negated.encode(out);
            }
            Check::Json => out.push(4),
            Check::NotNull => out.push(5),
        }
    }
}

impl Decode for Check {
    fn decode(reader: &mut Reader) -> Result<Check, CodecError> {
        Ok(match reader.u8()? {
            0 => Check::Value { comparison: Comparison::decode(reader)?, bound: reader.bytes()? },
            1 => Check::Length { comparison: Comparison::decode(reader)?, bound: reader.varint_u32()? },
            2 => Check::OctetLength { comparison: Comparison::decode(reader)?, bound: reader.varint_u32()? },
            3 => Check::Regexp { pattern: reader.text()?, negated: reader.bool()? },
            4 => Check::Json,
            5 => Check::NotNull,
            _ => return Err(CodecError::Invalid("check")),
        })
    }
}

impl Encode for Constraint {
    fn encode(&self, out: &mut Vec<u8>) {
        self.column.encode(out);
        self.check.encode(out);
    }
}

impl Decode for Constraint {
    fn decode(reader: &mut Reader) -> Result<Constraint, CodecError> {
        Ok(Constraint { column: ColumnId::decode(reader)?, check: Check::decode(reader)? })
    }
}
