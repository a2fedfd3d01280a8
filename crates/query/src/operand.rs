//! Where a prepared statement gets a value from, and the values that a client binds to its markers.

use crate::ast::{Literal, LiteralKind};
use crate::source::shortened;
use bytes::Bytes;
use model::limits::VALUE_BYTES_MAX;
use model::value::normalize;
use model::{CqlType, RequestError, Value};
use std::borrow::Cow;

/// A column of a result, or a parameter of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnSpec {
    /// The keyspace of the table.
    pub keyspace: String,
    /// The table.
    pub table: String,
    /// The column's name or alias; of a parameter the marker's name, or the column that it is for, or
    /// `[ttl]`, `[timestamp]` or `[limit]`.
    pub name: String,
    /// The type of the values.
    pub cql_type: CqlType,
}

/// What a client binds to a marker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BoundValue {
    /// A value in the wire form of the parameter's type.
    Value(Bytes),
    /// `null`: deletes the column.
    Null,
    /// Nothing: the column, TTL, timestamp or limit is left alone, as if the statement did not name it.
    Unset,
}

/// A term of a prepared statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Operand {
    /// A constant in wire form, or `null`.
    Constant(BoundValue),
    /// The parameter of this index.
    Parameter(u16),
}

/// The values that are bound to the parameters of a statement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arguments<'a> {
    parameters: &'a [ColumnSpec],
    values: &'a [BoundValue],
}

impl<'a> Arguments<'a> {
    /// `values` for `parameters`.
    ///
    /// # Errors
    /// When there are more or fewer values than parameters.
    pub(crate) fn new(parameters: &'a [ColumnSpec], values: &'a [BoundValue]) -> Result<Arguments<'a>, RequestError> {
        if parameters.len() != values.len() {
            let (markers, bound) = (parameters.len(), values.len());
            let message = format!("there were {markers} markers(?) in CQL but {bound} bound variables");
            return Err(RequestError::Invalid(message));
        }
        Ok(Arguments { parameters, values })
    }

    /// The value of `operand`, valid for the type that it was prepared for and in the one form that sets and
    /// maps have in a store.
    ///
    /// # Errors
    /// When the bound value is too large or not of the parameter's type.
    pub(crate) fn value(&self, operand: &'a Operand) -> Result<Cow<'a, BoundValue>, RequestError> {
        let index = match operand {
            Operand::Constant(value) => return Ok(Cow::Borrowed(value)),
            Operand::Parameter(index) => usize::from(*index),
        };
        let (value, parameter) = (&self.values[index], &self.parameters[index]);
        if let BoundValue::Value(bytes) = value {
            if bytes.len() > VALUE_BYTES_MAX {
                return Err(RequestError::Invalid(format!(
                    "Value of {} bytes for {} exceeds the maximum of {VALUE_BYTES_MAX} bytes",
                    bytes.len(),
                    parameter.name
                )));
            }
            let normal = normalize(&parameter.cql_type, bytes).map_err(|error| {
                let ColumnSpec { name, cql_type, .. } = parameter;
                RequestError::Invalid(format!("Invalid value for \"{name}\" of type {cql_type}: {error}"))
            })?;
            if let Cow::Owned(normal) = normal {
                return Ok(Cow::Owned(BoundValue::Value(Bytes::from(normal))));
            }
        }
        Ok(Cow::Borrowed(value))
    }

    /// The value of `operand`, which restricts the key column `column`.
    ///
    /// # Errors
    /// As [`Arguments::value`], and when it is null or unset.
    pub(crate) fn key_value(&self, operand: &'a Operand, column: &str) -> Result<Bytes, RequestError> {
        match self.value(operand)?.into_owned() {
            BoundValue::Value(value) => Ok(value),
            BoundValue::Null => {
                Err(RequestError::Invalid(format!("Invalid null value in condition for column {column}")))
            }
            BoundValue::Unset => Err(RequestError::Invalid(format!("Invalid unset value for column {column}"))),
        }
    }

    /// The value of an `int` operand that is not a column: `None` when it is null, the outer `None`
    /// when it is unset or not given.
    pub(crate) fn int(&self, operand: Option<&'a Operand>) -> Result<Option<Option<i32>>, RequestError> {
        self.number(operand, |bytes| bytes.try_into().map(i32::from_be_bytes).ok())
    }

    /// The same of a `bigint` operand.
    pub(crate) fn bigint(&self, operand: Option<&'a Operand>) -> Result<Option<Option<i64>>, RequestError> {
        self.number(operand, |bytes| bytes.try_into().map(i64::from_be_bytes).ok())
    }

    fn number<T>(
        &self,
        operand: Option<&'a Operand>,
        read: impl FnOnce(&[u8]) -> Option<T>,
    ) -> Result<Option<Option<T>>, RequestError> {
        let Some(operand) = operand else { return Ok(None) };
        match self.value(operand)?.as_ref() {
            BoundValue::Unset => Ok(None),
            BoundValue::Null => Ok(Some(None)),
            // An empty int is null, as in Cassandra.
            BoundValue::Value(bytes) => Ok(Some(read(bytes))),
        }
    }
}

/// The wire form of a constant for a receiver of `cql_type`.
///
/// # Errors
/// In Cassandra's words, when the constant is of another kind or not a value of the type.
pub(crate) fn constant(literal: &Literal, receiver: &str, cql_type: &CqlType) -> Result<Bytes, String> {
    let Literal { kind, text } = literal;
    let refused = || {
        let shown = shortened(text);
        format!("Invalid {} constant ({shown}) for \"{receiver}\" of type {cql_type}", kind_name(*kind))
    };
    if !is_assignable(*kind, cql_type) {
        return Err(refused());
    }
    let value = Value::parse(cql_type, text).map_err(|error| format!("{}: {error}", refused()))?;
    Ok(value.to_wire())
}

fn kind_name(kind: LiteralKind) -> &'static str {
    match kind {
        LiteralKind::String => "STRING",
        LiteralKind::Integer => "INTEGER",
        LiteralKind::Float => "FLOAT",
        LiteralKind::Boolean => "BOOLEAN",
        LiteralKind::Hex => "HEX",
        LiteralKind::Uuid => "UUID",
        LiteralKind::Duration => "DURATION",
    }
}

/// Cassandra's table of which kind of constant a type accepts.
fn is_assignable(kind: LiteralKind, cql_type: &CqlType) -> bool {
    use CqlType as T;
    match kind {
        LiteralKind::String => matches!(cql_type, T::Ascii | T::Text | T::Inet | T::Date | T::Time | T::Timestamp),
        LiteralKind::Integer => matches!(
            cql_type,
            T::BigInt
                | T::Date
                | T::Decimal
                | T::Double
                | T::Duration
                | T::Float
                | T::Int
                | T::SmallInt
                | T::Time
                | T::Timestamp
                | T::TinyInt
                | T::VarInt
        ),
        LiteralKind::Float => matches!(cql_type, T::Decimal | T::Double | T::Float),
        LiteralKind::Boolean => matches!(cql_type, T::Boolean),
        LiteralKind::Hex => matches!(cql_type, T::Blob),
        LiteralKind::Uuid => matches!(cql_type, T::Uuid | T::TimeUuid),
        LiteralKind::Duration => matches!(cql_type, T::Duration),
    }
}
