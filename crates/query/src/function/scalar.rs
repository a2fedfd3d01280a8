//! Functions of the values of one row.

use super::number::{Mathematics, Number};
use super::text::Mask;
use super::{Aggregate, Function, aggregate, temporal, text};
use crate::ast::ArithmeticOperator;
use crate::evaluation::EvaluationContext;
use crate::json::Json;
use bytes::Bytes;
use md5::Md5;
use model::limits::VALUE_BYTES_MAX;
use model::value::{is_empty_value, join_parts, parts, validate};
use model::{CqlType, PartitionKey, RequestError, Value};
use num_bigint::BigInt;
use sha1::Sha1;
use sha2::{Digest as _, Sha224, Sha256, Sha384, Sha512, Sha512_224, Sha512_256};
use std::net::{IpAddr, Ipv4Addr};

/// The value of an argument.
pub(crate) type Operand = Option<Bytes>;

/// How near vectors are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Similarity {
    Cosine,
    Euclidean,
    DotProduct,
}

/// The functions of the values of one row, each with what its name or signature says beyond its types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Scalar {
    /// The token of a partition key.
    Token,
    /// A new random UUID.
    Uuid,
    /// A new timeuuid.
    Now,
    /// The time of the execution.
    Current,
    /// The least or greatest timeuuid of a timestamp.
    BoundOfTimeUuids {
        greatest: bool,
    },
    /// The date or timestamp of a moment.
    ToMoment,
    /// A moment in milliseconds since 1970.
    ToMilliseconds,
    /// The beginning of an interval.
    Floor,
    ToBlob,
    FromBlob,
    Cast,
    Arithmetic(ArithmeticOperator),
    /// A time and a duration.
    Shift(ArithmeticOperator),
    Concatenate,
    Negate,
    Mathematics(Mathematics),
    CountElements,
    AggregateElements(Aggregate),
    MapKeys,
    MapValues,
    ToJson,
    FromJson,
    Similarity(Similarity),
    Mask(Mask),
    Length,
    OctetLength,
    FormatBytes,
    FormatTime,
}

fn invalid(message: impl Into<String>) -> RequestError {
    RequestError::Invalid(message.into())
}

impl Function {
    /// The value of a call with `arguments`, one for each parameter, each null or a value of the parameter's type.
    ///
    /// # Errors
    /// `Invalid`, when the function has no value there.
    pub(crate) fn evaluate(
        &self,
        scalar: &Scalar,
        arguments: &[Operand],
        context: &mut EvaluationContext,
    ) -> Result<Operand, RequestError> {
        match scalar {
            Scalar::Uuid => return Ok(Some(Value::Uuid(context.uuid()).to_wire())),
            Scalar::Now => return Ok(Some(Value::TimeUuid(context.time_uuid()).to_wire())),
            Scalar::Current => {
                let value = temporal::current(&self.returns, context.now()).map_err(invalid)?;
                return Ok(Some(value.to_wire()));
            }
            Scalar::Mask(mask) => return self.masked(*mask, arguments),
            Scalar::ToJson => return self.to_json(arguments),
            Scalar::FormatBytes | Scalar::FormatTime => return self.formatted(scalar, arguments),
            _ => {}
        }
        // To all others null is null.
        let Some(wires) = arguments.iter().map(Option::as_ref).collect::<Option<Vec<&Bytes>>>() else {
            return Ok(None);
        };
        let result = match scalar {
            Scalar::ToBlob => wires.first().map(|wire| Bytes::clone(wire)),
            Scalar::FromBlob => wires.first().map(|wire| self.of_blob(wire)).transpose()?,
            Scalar::Token => Some(token(&wires)?),
            Scalar::FromJson => self.of_json(&wires)?,
            Scalar::CountElements | Scalar::AggregateElements(_) | Scalar::MapKeys | Scalar::MapValues => {
                self.of_collection(scalar, &wires)?
            }
            Scalar::OctetLength => wires.first().map(|wire| Value::Int(wire.len() as i32).to_wire()),
            // To a function of values one of no bytes is null.
            _ if self.parameters.iter().zip(&wires).any(|(cql_type, wire)| is_empty_value(cql_type, wire)) => None,
            _ => Some(self.of_values(scalar, &wires)?.to_wire()),
        };
        if result.as_ref().is_some_and(|result| result.len() > VALUE_BYTES_MAX) {
            return Err(invalid(format!("the result of {} exceeds the maximum of {VALUE_BYTES_MAX} bytes", self.name)));
        }
        Ok(result)
    }

    fn value(&self, index: usize, wire: &Bytes) -> Result<Value, RequestError> {
        let cql_type = self.parameters.get(index).unwrap_or(&CqlType::Blob);
        Value::from_wire(cql_type, wire).map_err(|error| invalid(error.0))
    }

    fn of_values(&self, scalar: &Scalar, wires: &[&Bytes]) -> Result<Value, RequestError> {
        let mut values = Vec::with_capacity(wires.len());
        for (index, wire) in wires.iter().enumerate() {
            values.push(self.value(index, wire)?);
        }
        let operation_failed = |operator: ArithmeticOperator| {
            let symbol = operator.symbol();
            let operation = self.parameter_names().join(&format!(" {symbol} "));
            move |reason: String| RequestError::FunctionFailure {
                keyspace: "system".to_owned(),
                function: symbol.to_owned(),
                argument_types: self.parameter_names(),
                message: format!("the operation '{operation}' failed: {reason}"),
            }
        };
        match (scalar, values.as_slice()) {
            (Scalar::BoundOfTimeUuids { greatest }, [moment]) => {
                let milliseconds = temporal::milliseconds(moment).map_err(invalid)?;
                Ok(Value::TimeUuid(temporal::bound_of_time_uuids(milliseconds, *greatest)))
            }
            (Scalar::ToMoment, [moment]) => {
                let milliseconds = temporal::milliseconds(moment).map_err(invalid)?;
                temporal::at_milliseconds(&self.returns, milliseconds).map_err(invalid)
            }
            (Scalar::ToMilliseconds, [moment]) => temporal::milliseconds(moment).map(Value::BigInt).map_err(invalid),
            (Scalar::Floor, [value, duration]) => temporal::floor(value, duration, None).map_err(invalid),
            (Scalar::Floor, [value, duration, start]) => temporal::floor(value, duration, Some(start)).map_err(invalid),
            (Scalar::Cast, [value]) => cast(value, &self.returns).map_err(invalid),
            (Scalar::Arithmetic(operator), [left, right]) => {
                let number = |value: &Value| Number::of(value.clone());
                let result = number(left).and_then(|left| left.calculate(*operator, &number(right)?, &self.returns));
                result.map_err(operation_failed(*operator))
            }
            (Scalar::Shift(operator), [value, duration]) => {
                temporal::shift(*operator, value, duration).map_err(operation_failed(*operator))
            }
            (
                Scalar::Concatenate,
                [Value::Ascii(left) | Value::Text(left), Value::Ascii(right) | Value::Text(right)],
            ) => {
                let joined = format!("{left}{right}");
                Ok(if self.returns == CqlType::Ascii { Value::Ascii(joined) } else { Value::Text(joined) })
            }
            (Scalar::Negate, [value]) => {
                Number::of(value.clone()).map(|number| number.negate(&self.returns)).map_err(invalid)
            }
            (Scalar::Mathematics(function), [value]) => {
                Number::of(value.clone()).and_then(|number| number.apply(*function, &self.returns)).map_err(invalid)
            }
            (Scalar::Similarity(kind), [Value::Vector(a), Value::Vector(b)]) => {
                similarity(*kind, a, b).map_err(invalid)
            }
            (Scalar::Length, [Value::Ascii(text) | Value::Text(text)]) => {
                Ok(Value::Int(text.encode_utf16().count() as i32))
            }
            _ => Err(RequestError::Server(format!("function {} has other parameters", self.name))),
        }
    }

    fn of_blob(&self, wire: &Bytes) -> Result<Bytes, RequestError> {
        if validate(&self.returns, wire).is_err() {
            let shown = Value::Blob(wire.slice(..wire.len().min(64)));
            return Err(invalid(format!(
                "In call to function system.{}, value {shown} is not a valid binary representation for type {}",
                self.name, self.returns
            )));
        }
        Ok(wire.clone())
    }

    fn of_json(&self, wires: &[&Bytes]) -> Result<Operand, RequestError> {
        let text = wires.first().map(|wire| String::from_utf8_lossy(wire).into_owned()).unwrap_or_default();
        let parsed = Json::parse(&text).map_err(|error| {
            let shown = crate::source::shortened(&text);
            format!("Could not decode JSON string '{shown}': {error}")
        });
        parsed.and_then(|json| json.to_wire(&self.returns)).map_err(|reason| {
            let (name, parameters) = (&self.name, self.parameter_names().join(", "));
            RequestError::FunctionFailure {
                keyspace: "system".to_owned(),
                function: name.clone(),
                argument_types: self.parameter_names(),
                message: format!("execution of 'system.{name}[{parameters}]' failed: {reason}"),
            }
        })
    }

    fn parameter_names(&self) -> Vec<String> {
        self.parameters.iter().map(CqlType::to_string).collect()
    }

    fn to_json(&self, arguments: &[Operand]) -> Result<Operand, RequestError> {
        let Some(Some(wire)) = arguments.first() else { return Ok(Some(Bytes::from_static(b"null"))) };
        Ok(Some(Bytes::from(self.value(0, wire)?.to_json())))
    }

    fn of_collection(&self, scalar: &Scalar, wires: &[&Bytes]) -> Result<Operand, RequestError> {
        let (Some(cql_type), Some(wire)) = (self.parameters.first(), wires.first()) else { return Ok(None) };
        let found: Vec<Option<&[u8]>> = parts(cql_type, wire).map_err(|error| invalid(error.0))?;
        let is_map = matches!(cql_type, CqlType::Map { .. });
        let every_second = |first: usize| {
            let chosen: Vec<Option<Bytes>> =
                found.iter().skip(first).step_by(2).map(|part| part.map(Bytes::copy_from_slice)).collect();
            Some(join_parts(&self.returns, &chosen))
        };
        Ok(match scalar {
            Scalar::MapKeys => every_second(0),
            Scalar::MapValues => every_second(1),
            Scalar::AggregateElements(aggregate) => {
                let element = super::resolve_element(cql_type);
                return aggregate::of_elements(*aggregate, &element, found.into_iter().flatten());
            }
            _ => Some(Value::Int((found.len() / if is_map { 2 } else { 1 }) as i32).to_wire()),
        })
    }

    fn formatted(&self, scalar: &Scalar, arguments: &[Operand]) -> Result<Operand, RequestError> {
        let Some(Some(first)) = arguments.first() else { return Ok(None) };
        let amount = text::amount(&self.value(0, first)?)?;
        let mut units = Vec::new();
        for unit in &arguments[1..] {
            let unit = unit.as_ref().ok_or_else(|| invalid("none of the arguments may be null"))?;
            units.push(String::from_utf8_lossy(unit).into_owned());
        }
        let (from, to) = match units.as_slice() {
            [] => (None, None),
            [to] => (None, Some(to.as_str())),
            [from, to, ..] => (Some(from.as_str()), Some(to.as_str())),
        };
        let formatted = match scalar {
            Scalar::FormatBytes => text::format_bytes(amount, from, to)?,
            _ => text::format_time(amount, from, to)?,
        };
        Ok(Some(Bytes::from(formatted)))
    }

    fn masked(&self, mask: Mask, arguments: &[Operand]) -> Result<Operand, RequestError> {
        let argument = |index: usize| arguments.get(index).and_then(Option::as_ref);
        let int = |index: usize| {
            let bytes = argument(index).and_then(|wire| wire.as_ref().try_into().ok());
            bytes.map_or(0, i32::from_be_bytes)
        };
        match mask {
            Mask::Null => Ok(None),
            Mask::Default => Ok(Some(masked_value(&self.returns).to_wire())),
            Mask::Replace => Ok(arguments.get(1).cloned().flatten()),
            Mask::Inner | Mask::Outer => {
                let Some(text) = argument(0) else { return Ok(None) };
                let padding = match argument(3) {
                    None => '*',
                    Some(padding) => {
                        text::padding(&format!("system.{}", self.name), &String::from_utf8_lossy(padding))?
                    }
                };
                let text = String::from_utf8_lossy(text);
                Ok(Some(Bytes::from(text::mask(&text, int(1), int(2), padding, mask == Mask::Inner))))
            }
            Mask::Hash => {
                let algorithm = argument(1).map(|name| String::from_utf8_lossy(name));
                let Some(value) = argument(0) else { return Ok(None) };
                hash(algorithm.as_deref().unwrap_or("SHA-256"), value).map(Some)
            }
        }
    }
}

/// The hash of `value`; the algorithm has the name that Java knows it by, in any case.
fn hash(algorithm: &str, value: &[u8]) -> Result<Bytes, RequestError> {
    let hash = match algorithm.to_uppercase().as_str() {
        "MD5" => Md5::digest(value).to_vec(),
        "SHA" | "SHA1" | "SHA-1" => Sha1::digest(value).to_vec(),
        "SHA-224" => Sha224::digest(value).to_vec(),
        "SHA-256" => Sha256::digest(value).to_vec(),
        "SHA-384" => Sha384::digest(value).to_vec(),
        "SHA-512" => Sha512::digest(value).to_vec(),
        "SHA-512/224" => Sha512_224::digest(value).to_vec(),
        "SHA-512/256" => Sha512_256::digest(value).to_vec(),
        _ => return Err(invalid(format!("Hash algorithm not found: {}", crate::source::shortened(algorithm)))),
    };
    Ok(Bytes::from(hash))
}

fn token(components: &[&Bytes]) -> Result<Bytes, RequestError> {
    let components: Vec<Bytes> = components.iter().copied().cloned().collect();
    let key = PartitionKey::from_components(&components)?;
    Ok(Value::BigInt(key.token.0).to_wire())
}

fn cast(value: &Value, target: &CqlType) -> Result<Value, String> {
    match (target, value) {
        (CqlType::Ascii | CqlType::Text, value) => {
            let text = match value {
                Value::Ascii(text) | Value::Text(text) => text.clone(),
                Value::Boolean(value) => value.to_string(),
                Value::Float(number) if number.is_finite() => value.to_json(),
                Value::Double(number) if number.is_finite() => value.to_json(),
                Value::Inet(_) => value.to_json().trim_matches('"').to_owned(),
                Value::Timestamp(_) => value.to_json().trim_matches('"').replace(' ', "T"),
                other => other.to_string(),
            };
            Ok(if *target == CqlType::Ascii { Value::Ascii(text) } else { Value::Text(text) })
        }
        (CqlType::Date | CqlType::Timestamp, value) => {
            temporal::at_milliseconds(target, temporal::milliseconds(value)?)
        }
        (_, value) => Number::of(value.clone())?.cast(target),
    }
}

fn similarity(kind: Similarity, a: &[Value], b: &[Value]) -> Result<Value, String> {
    let float = |value: &Value| match value {
        Value::Float(number) => *number,
        _ => f32::NAN,
    };
    let pairs = || a.iter().zip(b).map(|(a, b)| (float(a), float(b)));
    let dot: f32 = pairs().map(|(a, b)| a * b).sum();
    let result = match kind {
        Similarity::DotProduct => (1.0 + dot) / 2.0,
        Similarity::Euclidean => 1.0 / (1.0 + pairs().map(|(a, b)| (a - b) * (a - b)).sum::<f32>()),
        Similarity::Cosine => {
            let norm = |vector: &[Value]| vector.iter().map(|value| float(value) * float(value)).sum::<f32>();
            let (norm_a, norm_b) = (norm(a), norm(b));
            if norm_a == 0.0 || norm_b == 0.0 {
                return Err("Function system.similarity_cosine doesn't support all-zero vectors.".to_owned());
            }
            let cosine = f64::from(dot) / (f64::from(norm_a) * f64::from(norm_b)).sqrt();
            ((1.0 + cosine) / 2.0) as f32
        }
    };
    Ok(Value::Float(result.max(0.0)))
}

/// The value that stands for every value of a type.
fn masked_value(cql_type: &CqlType) -> Value {
    match cql_type {
        CqlType::Ascii => Value::Ascii("****".to_owned()),
        CqlType::Text => Value::Text("****".to_owned()),
        CqlType::Blob => Value::Blob(Bytes::new()),
        CqlType::Boolean => Value::Boolean(false),
        CqlType::TinyInt => Value::TinyInt(0),
        CqlType::SmallInt => Value::SmallInt(0),
        CqlType::Int => Value::Int(0),
        CqlType::BigInt => Value::BigInt(0),
        CqlType::Counter => Value::Counter(0),
        CqlType::VarInt => Value::VarInt(BigInt::ZERO),
        CqlType::Decimal => Value::Decimal { unscaled: BigInt::ZERO, scale: 0 },
        CqlType::Float => Value::Float(0.0),
        CqlType::Double => Value::Double(0.0),
        CqlType::Date => Value::Date(1 << 31),
        CqlType::Time => Value::Time(0),
        CqlType::Timestamp => Value::Timestamp(0),
        CqlType::Duration => Value::Duration { months: 0, days: 0, nanoseconds: 0 },
        CqlType::Inet => Value::Inet(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        CqlType::Uuid => Value::Uuid(0),
        CqlType::TimeUuid => Value::TimeUuid(1 << 76),
        CqlType::List { .. } => Value::List(Vec::new()),
        CqlType::Set { .. } => Value::Set(Vec::new()),
        CqlType::Map { .. } => Value::Map(Vec::new()),
        CqlType::Vector { element, dimensions } => Value::Vector(vec![masked_value(element); *dimensions as usize]),
        CqlType::Tuple(types) => Value::Tuple(types.iter().map(|field| Some(masked_value(field))).collect()),
        CqlType::UserDefined { definition, .. } => {
            let field = |(name, field): &(String, CqlType)| (name.clone(), Some(masked_value(field)));
            Value::UserDefined(definition.fields.iter().map(field).collect())
        }
    }
}
