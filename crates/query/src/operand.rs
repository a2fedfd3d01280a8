//! Where a prepared statement gets a value from, and the values that a client binds to its markers.

use crate::ast::{Literal, LiteralKind};
use crate::evaluation::EvaluationContext;
use crate::function::{Function, Kind};
use crate::source::shortened;
use bytes::Bytes;
use model::limits::VALUE_BYTES_MAX;
use model::value::{compare, join_parts, normalize, parts};
use model::{CqlType, RequestError, Value};
use std::borrow::Cow;
use std::cell::RefCell;
use std::sync::Arc;

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

/// A term of a prepared statement: what a value is computed from. `Input` and `Aggregate` are of rows, and in
/// selections only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Operand {
    /// A constant in wire form, or `null`.
    Constant(BoundValue),
    /// The parameter of this index.
    Parameter(u16),
    /// A value of a type that has parts: elements, keys and values in turn, fields.
    Compose { cql_type: CqlType, parts: Vec<Operand> },
    /// A call of a function of values.
    Call { function: Arc<Function>, arguments: Vec<Operand> },
    /// What the row has at this index of the selection's inputs.
    Input(usize),
    /// The result of the aggregate of this index.
    Aggregate(usize),
    /// The element of a set or map of type `cql_type`.
    Element { cql_type: CqlType, collection: Box<Operand>, key: Box<Operand> },
    /// The elements of a set or map of type `cql_type` from one key to another, both included.
    Slice { cql_type: CqlType, collection: Box<Operand>, from: Option<Box<Operand>>, to: Option<Box<Operand>> },
    /// The field of this index of a value of the user-defined type `cql_type`.
    Field { cql_type: CqlType, value: Box<Operand>, index: usize },
}

/// What an operand of a selection is evaluated for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RowValues<'a> {
    /// What the row has at each input of the selection.
    pub(crate) inputs: &'a [Option<Bytes>],
    /// The results of the aggregates.
    pub(crate) aggregates: &'a [Option<Bytes>],
}

/// The values that are bound to the parameters of a statement, and what evaluating it needs from the world.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arguments<'a> {
    parameters: &'a [ColumnSpec],
    values: &'a [BoundValue],
    context: &'a RefCell<EvaluationContext>,
}

impl<'a> Arguments<'a> {
    /// `values` for `parameters`.
    ///
    /// # Errors
    /// When there are more or fewer values than parameters.
    pub(crate) fn new(
        parameters: &'a [ColumnSpec],
        values: &'a [BoundValue],
        context: &'a RefCell<EvaluationContext>,
    ) -> Result<Arguments<'a>, RequestError> {
        if parameters.len() != values.len() {
            let (markers, bound) = (parameters.len(), values.len());
            let message = match bound {
                0 => "Invalid amount of bind variables".to_owned(),
                _ => format!("there were {markers} markers(?) in CQL but {bound} bound variables"),
            };
            return Err(RequestError::Invalid(message));
        }
        Ok(Arguments { parameters, values, context })
    }

    /// None, for operands whose parameters are bound already ([`Operand::bind`]).
    pub(crate) fn none(context: &'a RefCell<EvaluationContext>) -> Arguments<'a> {
        Arguments { parameters: &[], values: &[], context }
    }

    /// The time and randomness of the execution.
    pub(crate) fn context(&self) -> &'a RefCell<EvaluationContext> {
        self.context
    }

    /// The value of `operand`, valid for the type that it was prepared for and in the one form that sets and
    /// maps have in a store.
    ///
    /// # Errors
    /// When a bound value is too large or not of its parameter's type, and when a function has no value.
    pub(crate) fn value(&self, operand: &'a Operand) -> Result<Cow<'a, BoundValue>, RequestError> {
        match operand {
            Operand::Constant(value) => Ok(Cow::Borrowed(value)),
            Operand::Parameter(index) => self.parameter(usize::from(*index)),
            computed => computed.evaluate(*self, RowValues::default()).map(Cow::Owned),
        }
    }

    /// What `operand` is, or is bound to, as it came: its bytes are perhaps no value of their type.
    pub(crate) fn raw(&self, operand: &'a Operand) -> Result<Cow<'a, BoundValue>, RequestError> {
        match operand {
            Operand::Parameter(index) => match self.values.get(usize::from(*index)) {
                Some(value) => Ok(Cow::Borrowed(value)),
                None => Err(RequestError::Server(format!("parameter {index} is not bound"))),
            },
            other => self.value(other),
        }
    }

    /// True when `operand` is bound to a list with null in it, which is no value of a list.
    pub(crate) fn has_null_element(&self, operand: &'a Operand) -> Result<bool, RequestError> {
        let raw = self.raw(operand)?;
        let BoundValue::Value(list) = raw.as_ref() else { return Ok(false) };
        let mut rest = list.get(4..).unwrap_or_default();
        while let Some((length, after)) = rest.split_first_chunk::<4>() {
            let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) else { return Ok(true) };
            rest = after.get(length..).unwrap_or_default();
        }
        Ok(false)
    }

    fn parameter(&self, index: usize) -> Result<Cow<'a, BoundValue>, RequestError> {
        let (Some(value), Some(parameter)) = (self.values.get(index), self.parameters.get(index)) else {
            return Err(RequestError::Server(format!("parameter {index} is not bound")));
        };
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
                RequestError::Invalid(format!("{error}; it is bound to \"{name}\" of type {cql_type}"))
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

fn invalid(message: impl Into<String>) -> RequestError {
    RequestError::Invalid(message.into())
}

impl Operand {
    /// True when its value may be another each time.
    pub(crate) fn calls_functions(&self) -> bool {
        match self {
            Operand::Call { .. } => true,
            Operand::Compose { parts, .. } => parts.iter().any(Operand::calls_functions),
            Operand::Element { collection: value, .. }
            | Operand::Slice { collection: value, .. }
            | Operand::Field { value, .. } => value.calls_functions(),
            Operand::Constant(_) | Operand::Parameter(_) | Operand::Input(_) | Operand::Aggregate(_) => false,
        }
    }

    /// The value for a row, or for none.
    ///
    /// # Errors
    /// As [`Arguments::value`].
    pub(crate) fn evaluate(&self, arguments: Arguments<'_>, row: RowValues<'_>) -> Result<BoundValue, RequestError> {
        let given = |values: &[Option<Bytes>], index: &usize| {
            values.get(*index).cloned().flatten().map_or(BoundValue::Null, BoundValue::Value)
        };
        match self {
            Operand::Constant(value) => Ok(value.clone()),
            Operand::Parameter(index) => arguments.parameter(usize::from(*index)).map(Cow::into_owned),
            Operand::Input(index) => Ok(given(row.inputs, index)),
            Operand::Aggregate(index) => Ok(given(row.aggregates, index)),
            Operand::Compose { cql_type, parts } => compose(cql_type, parts, arguments, row),
            Operand::Call { function, arguments: operands } => {
                let Kind::Scalar(scalar) = &function.kind else {
                    return Err(RequestError::Server(format!("{} is an aggregate", function.name)));
                };
                let mut values = Vec::with_capacity(operands.len());
                for operand in operands {
                    values.push(match operand.evaluate(arguments, row)? {
                        BoundValue::Value(value) => Some(value),
                        BoundValue::Null => None,
                        BoundValue::Unset => {
                            let name = &function.name;
                            let message = format!("Invalid unset value for argument in call to function {name}");
                            return Err(invalid(message));
                        }
                    });
                }
                let result = function.evaluate(scalar, &values, &mut arguments.context.borrow_mut())?;
                Ok(result.map_or(BoundValue::Null, BoundValue::Value))
            }
            Operand::Element { cql_type, collection, key } => {
                let (collection, key) = (collection.evaluate(arguments, row)?, key.evaluate(arguments, row)?);
                element(cql_type, collection, &key)
            }
            Operand::Slice { cql_type, collection, from, to } => {
                let end = |operand: &Option<Box<Operand>>| {
                    operand.as_ref().map(|operand| operand.evaluate(arguments, row)).transpose()
                };
                let (from, to) = (end(from)?, end(to)?);
                slice(cql_type, collection.evaluate(arguments, row)?, from.as_ref(), to.as_ref())
            }
            Operand::Field { cql_type, value, index } => {
                let BoundValue::Value(wire) = value.evaluate(arguments, row)? else { return Ok(BoundValue::Null) };
                let fields = parts(cql_type, &wire).map_err(|error| invalid(error.0))?;
                let field = fields.get(*index).copied().flatten();
                Ok(field.map_or(BoundValue::Null, |field| BoundValue::Value(Bytes::copy_from_slice(field))))
            }
        }
    }

    /// The same operand with the values of its parameters in their place, for later.
    ///
    /// # Errors
    /// As [`Arguments::value`].
    pub(crate) fn bind(&self, arguments: Arguments<'_>) -> Result<Operand, RequestError> {
        let all = |operands: &[Operand]| {
            operands.iter().map(|operand| operand.bind(arguments)).collect::<Result<Vec<_>, RequestError>>()
        };
        let one = |operand: &Operand| operand.bind(arguments).map(Box::new);
        let end = |operand: &Option<Box<Operand>>| operand.as_deref().map(one).transpose();
        Ok(match self {
            Operand::Parameter(index) => Operand::Constant(arguments.parameter(usize::from(*index))?.into_owned()),
            Operand::Constant(_) | Operand::Input(_) | Operand::Aggregate(_) => self.clone(),
            Operand::Compose { cql_type, parts } => {
                let bound = Operand::Compose { cql_type: cql_type.clone(), parts: all(parts)? };
                match &bound {
                    Operand::Compose { parts, .. } if parts.iter().all(|part| matches!(part, Operand::Constant(_))) => {
                        Operand::Constant(bound.evaluate(arguments, RowValues::default())?)
                    }
                    _ => bound,
                }
            }
            Operand::Call { function, arguments: operands } => {
                Operand::Call { function: Arc::clone(function), arguments: all(operands)? }
            }
            Operand::Element { cql_type, collection, key } => {
                Operand::Element { cql_type: cql_type.clone(), collection: one(collection)?, key: one(key)? }
            }
            Operand::Slice { cql_type, collection, from, to } => {
                let (from, to) = (end(from)?, end(to)?);
                Operand::Slice { cql_type: cql_type.clone(), collection: one(collection)?, from, to }
            }
            Operand::Field { cql_type, value, index } => {
                Operand::Field { cql_type: cql_type.clone(), value: one(value)?, index: *index }
            }
        })
    }
}

/// A value of a type that has parts. As in Cassandra an element that is unset makes the whole value unset.
fn compose(
    cql_type: &CqlType,
    operands: &[Operand],
    arguments: Arguments<'_>,
    row: RowValues<'_>,
) -> Result<BoundValue, RequestError> {
    let mut parts = Vec::with_capacity(operands.len());
    for (index, operand) in operands.iter().enumerate() {
        let is_key = matches!(cql_type, CqlType::Map { .. }) && index.is_multiple_of(2);
        let refused = match (operand.evaluate(arguments, row)?, cql_type) {
            (BoundValue::Value(value), _) => {
                parts.push(Some(value));
                continue;
            }
            (BoundValue::Null, CqlType::Tuple(_) | CqlType::UserDefined { .. }) => {
                parts.push(None);
                continue;
            }
            (BoundValue::Null, CqlType::Vector { .. }) => "null is not supported inside vectors".to_owned(),
            (BoundValue::Null, _) => "null is not supported inside collections".to_owned(),
            (BoundValue::Unset, CqlType::Tuple(_)) => format!("Invalid unset value for tuple field number {index}"),
            (BoundValue::Unset, CqlType::UserDefined { definition, .. }) => {
                let field = definition.fields.get(index).map_or("", |(name, _)| name);
                format!("Invalid unset value for field '{field}' of user defined type {}", definition.name)
            }
            (BoundValue::Unset, CqlType::Vector { .. }) => "unset value is not supported inside vectors".to_owned(),
            (BoundValue::Unset, _) if is_key => "unset value is not supported for map keys".to_owned(),
            (BoundValue::Unset, _) => return Ok(BoundValue::Unset),
        };
        return Err(invalid(refused));
    }
    let wire = join_parts(cql_type, &parts);
    if wire.len() > VALUE_BYTES_MAX {
        let length = wire.len();
        return Err(invalid(format!("Value of {length} bytes exceeds the maximum of {VALUE_BYTES_MAX} bytes")));
    }
    let normal = normalize(cql_type, &wire).map_err(|error| invalid(error.0))?;
    let normal = match normal {
        Cow::Borrowed(_) => None,
        Cow::Owned(normal) => Some(Bytes::from(normal)),
    };
    Ok(BoundValue::Value(normal.unwrap_or(wire)))
}

/// The type of what a set's or map's elements are named by.
fn key_type(cql_type: &CqlType) -> &CqlType {
    match cql_type {
        CqlType::Set { element, .. } | CqlType::List { element, .. } => element,
        CqlType::Map { entry, .. } => &entry.0,
        other => other,
    }
}

/// The element of a collection: of a map its value, of a set the element itself.
fn element(cql_type: &CqlType, collection: BoundValue, key: &BoundValue) -> Result<BoundValue, RequestError> {
    let key = match key {
        BoundValue::Value(key) => key,
        BoundValue::Null => return Err(invalid("Invalid null value for element selection")),
        BoundValue::Unset => return Err(invalid("Invalid unset value for element selection")),
    };
    let BoundValue::Value(wire) = collection else { return Ok(BoundValue::Null) };
    let is_map = matches!(cql_type, CqlType::Map { .. });
    let found = parts(cql_type, &wire).map_err(|error| invalid(error.0))?;
    let step = if is_map { 2 } else { 1 };
    for entry in found.chunks(step) {
        if let [Some(own), ..] = entry
            && compare(key_type(cql_type), own, key).is_eq()
        {
            let value = entry.get(step - 1).copied().flatten();
            return Ok(value.map_or(BoundValue::Null, |value| BoundValue::Value(Bytes::copy_from_slice(value))));
        }
    }
    Ok(BoundValue::Null)
}

/// The elements of a collection from one key to another, both included.
fn slice(
    cql_type: &CqlType,
    collection: BoundValue,
    from: Option<&BoundValue>,
    to: Option<&BoundValue>,
) -> Result<BoundValue, RequestError> {
    let end = |end: Option<&BoundValue>| match end {
        None => Ok(None),
        Some(BoundValue::Value(key)) => Ok(Some(key.clone())),
        Some(BoundValue::Null) => Err(invalid("Invalid null value for slice selection")),
        // As if the end were not given.
        Some(BoundValue::Unset) => Ok(None),
    };
    let (from, to) = (end(from)?, end(to)?);
    let BoundValue::Value(wire) = collection else { return Ok(BoundValue::Null) };
    let step = if matches!(cql_type, CqlType::Map { .. }) { 2 } else { 1 };
    let found = parts(cql_type, &wire).map_err(|error| invalid(error.0))?;
    let keys = key_type(cql_type);
    let within = |entry: &&[Option<&[u8]>]| {
        let key = entry.first().copied().flatten().unwrap_or_default();
        from.as_ref().is_none_or(|from| compare(keys, key, from).is_ge())
            && to.as_ref().is_none_or(|to| compare(keys, key, to).is_le())
    };
    let chosen = found.chunks(step).filter(within).flatten();
    let chosen: Vec<Option<Bytes>> = chosen.map(|part| part.map(Bytes::copy_from_slice)).collect();
    // As in Cassandra no elements are null, as they are in a column.
    Ok(if chosen.is_empty() { BoundValue::Null } else { BoundValue::Value(join_parts(cql_type, &chosen)) })
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
    let value = Value::parse(cql_type, text).map_err(|error| error.to_string())?;
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
pub(crate) fn is_assignable(kind: LiteralKind, cql_type: &CqlType) -> bool {
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
                | T::Counter
        ),
        LiteralKind::Float => matches!(cql_type, T::Decimal | T::Double | T::Float),
        LiteralKind::Boolean => matches!(cql_type, T::Boolean),
        LiteralKind::Hex => matches!(cql_type, T::Blob),
        LiteralKind::Uuid => matches!(cql_type, T::Uuid | T::TimeUuid),
        LiteralKind::Duration => matches!(cql_type, T::Duration),
    }
}
