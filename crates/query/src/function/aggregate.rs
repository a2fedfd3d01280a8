//! Aggregates: what many values become one by, with Cassandra's types and overflow, and the state of one that is
//! not finished, which a page leaves to the next.

use super::decimal::{Decimal, Rounding};
use super::number::{Number, wrapped};
use bytes::Bytes;
use model::codec::{CodecError, Reader, put_bytes, put_varint};
use model::value::{compare, is_empty_value, validate};
use model::{CqlType, RequestError, Value};
use num_bigint::BigInt;

/// The aggregates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aggregate {
    /// `count(*)`.
    CountRows,
    /// `count(value)`: of values that are not null.
    Count,
    Min,
    Max,
    Sum,
    Average,
}

impl Aggregate {
    /// The name that CQL has for it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Aggregate::CountRows => "countRows",
            Aggregate::Count => "count",
            Aggregate::Min => "min",
            Aggregate::Max => "max",
            Aggregate::Sum => "sum",
            Aggregate::Average => "avg",
        }
    }
}

/// The values so far of one aggregate.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Accumulator {
    Count(i64),
    /// The least or greatest value.
    Extreme {
        greatest: bool,
        value: Option<Bytes>,
    },
    /// The sum and the number of integers.
    Integers {
        average: bool,
        sum: BigInt,
        count: i64,
    },
    /// The sum of floats or doubles after Kahan, the error that it corrects, and the plain sum, which alone knows
    /// what infinities add up to. Of an average that no double can add up the sum goes on as a decimal.
    Floating {
        average: bool,
        sum: f64,
        error: f64,
        plain: f64,
        large: Option<Decimal>,
        count: i64,
    },
    /// The sum and the number of decimals.
    Decimals {
        average: bool,
        sum: Decimal,
        count: i64,
    },
}

impl Accumulator {
    /// No values yet, of type `cql_type`.
    pub(crate) fn new(aggregate: Aggregate, cql_type: Option<&CqlType>) -> Accumulator {
        let average = aggregate == Aggregate::Average;
        match (aggregate, cql_type) {
            (Aggregate::CountRows | Aggregate::Count, _) => Accumulator::Count(0),
            (Aggregate::Min | Aggregate::Max, _) => {
                Accumulator::Extreme { greatest: aggregate == Aggregate::Max, value: None }
            }
            (Aggregate::Sum | Aggregate::Average, Some(CqlType::Float | CqlType::Double)) => {
                Accumulator::Floating { average, sum: 0.0, error: 0.0, plain: 0.0, large: None, count: 0 }
            }
            (Aggregate::Sum | Aggregate::Average, Some(CqlType::Decimal)) => {
                Accumulator::Decimals { average, sum: Decimal::integer(BigInt::ZERO), count: 0 }
            }
            (Aggregate::Sum | Aggregate::Average, _) => Accumulator::Integers { average, sum: BigInt::ZERO, count: 0 },
        }
    }

    /// Takes the value of type `cql_type` of the next row; null counts for nothing. For rows themselves any value.
    ///
    /// # Errors
    /// When it cannot be added.
    pub(crate) fn add(&mut self, cql_type: &CqlType, value: Option<&Bytes>) -> Result<(), String> {
        // To a function of values one of no bytes is null, but it counts.
        let is_null = |wire: &&Bytes| !matches!(self, Accumulator::Count(_)) && is_empty_value(cql_type, wire);
        let Some(wire) = value.filter(|wire| !is_null(wire)) else { return Ok(()) };
        let number = || Value::from_wire(cql_type, wire).map_err(|error| error.0).and_then(Number::of);
        match self {
            Accumulator::Count(count) => *count = count.wrapping_add(1),
            Accumulator::Extreme { greatest, value } => {
                let replaces = value.as_ref().is_none_or(|value| {
                    let order = compare(cql_type, wire, value);
                    if *greatest { order.is_gt() } else { order.is_lt() }
                });
                if replaces {
                    *value = Some(wire.clone());
                }
            }
            Accumulator::Integers { average, sum, count } => {
                *count += 1;
                *sum += match number()? {
                    Number::VarInt(number) => number,
                    other => BigInt::from(other.to_long()),
                };
                // A sum wraps as its type does, so that its state is bounded; an average never does.
                if !*average && *cql_type != CqlType::VarInt {
                    *sum = BigInt::from(super::decimal::low_bits(sum));
                }
            }
            Accumulator::Floating { average, sum, error, plain, large, count } => {
                let number = number()?.to_double();
                *count += 1;
                *plain += number;
                let corrected = number - *error;
                let next = *sum + corrected;
                // With what is not finite the plain sum says it.
                let overflows = *average && next.is_infinite() && sum.is_finite();
                *large = match large.take() {
                    _ if !number.is_finite() => None,
                    Some(own) => Some(own.add(&Decimal::from_double(number)?)?),
                    None if overflows => Some(Decimal::from_double(*sum)?.add(&Decimal::from_double(number)?)?),
                    None => None,
                };
                *error = (next - *sum) - corrected;
                *sum = next;
            }
            Accumulator::Decimals { sum, count, .. } => {
                *count += 1;
                *sum = sum.add(&number()?.to_decimal()?)?;
            }
        }
        Ok(())
    }

    /// The result, a value of `returns`.
    ///
    /// # Errors
    /// When no value can express it.
    pub(crate) fn result(&self, returns: &CqlType) -> Result<Option<Bytes>, String> {
        let value = match self {
            Accumulator::Count(count) => Value::BigInt(*count),
            Accumulator::Extreme { value, .. } => return Ok(value.clone()),
            Accumulator::Integers { average, sum, count } => {
                let result = if *average && *count > 0 { sum / *count } else { sum.clone() };
                match returns {
                    CqlType::VarInt => Value::VarInt(result),
                    other => wrapped(super::decimal::low_bits(&result), other),
                }
            }
            Accumulator::Floating { average, sum, plain, large, count, .. } => {
                let sum = if sum.is_nan() && plain.is_infinite() { *plain } else { *sum };
                let result = match large {
                    Some(large) => {
                        let count = Decimal::integer(BigInt::from(*count));
                        large.divide_to_scale(&count, i64::from(large.scale), Rounding::HalfEven)?.to_double()
                    }
                    None if *average && *count > 0 => sum / *count as f64,
                    None => sum,
                };
                if *returns == CqlType::Float { Value::Float(result as f32) } else { Value::Double(result) }
            }
            Accumulator::Decimals { average, sum, count } => match (*average, *count) {
                (true, 1..) => {
                    let count = Decimal::integer(BigInt::from(*count));
                    sum.divide_to_scale(&count, i64::from(sum.scale), Rounding::HalfEven)?.into_value()
                }
                _ => sum.clone().into_value(),
            },
        };
        Ok(Some(value.to_wire()))
    }

    /// Appends the state.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let put_count = |out: &mut Vec<u8>, count: &i64| out.extend_from_slice(&count.to_be_bytes());
        match self {
            Accumulator::Count(count) => put_count(out, count),
            Accumulator::Extreme { value, .. } => {
                out.push(u8::from(value.is_some()));
                if let Some(value) = value {
                    put_bytes(out, value);
                }
            }
            Accumulator::Integers { sum, count, .. } => {
                put_bytes(out, &sum.to_signed_bytes_be());
                put_count(out, count);
            }
            Accumulator::Floating { sum, error, plain, large, count, .. } => {
                for number in [sum, error, plain] {
                    out.extend_from_slice(&number.to_bits().to_be_bytes());
                }
                out.push(u8::from(large.is_some()));
                if let Some(large) = large {
                    put_decimal(out, large);
                }
                put_count(out, count);
            }
            Accumulator::Decimals { sum, count, .. } => {
                put_decimal(out, sum);
                put_count(out, count);
            }
        }
    }

    /// Reads the state of an accumulator that begins as `self` does, of values of type `cql_type`.
    ///
    /// # Errors
    /// When it is none.
    pub(crate) fn decode(self, reader: &mut Reader, cql_type: &CqlType) -> Result<Accumulator, CodecError> {
        const INVALID: CodecError = CodecError::Invalid("aggregate");
        let fixed = |reader: &mut Reader| {
            let bytes = reader.take(8)?;
            bytes.as_ref().try_into().map(u64::from_be_bytes).map_err(|_| INVALID)
        };
        let count = |reader: &mut Reader| fixed(reader).map(|bits| bits as i64).and_then(not_negative);
        let integer = |reader: &mut Reader| {
            let bytes = reader.bytes()?;
            if bytes.is_empty() { Err(INVALID) } else { Ok(BigInt::from_signed_bytes_be(&bytes)) }
        };
        let decimal = |reader: &mut Reader| {
            let unscaled = integer(reader)?;
            Ok::<Decimal, CodecError>(Decimal { unscaled, scale: reader.varint_u32()? as i32 })
        };
        Ok(match self {
            Accumulator::Count(_) => Accumulator::Count(count(reader)?),
            Accumulator::Extreme { greatest, .. } => {
                let value = if reader.bool()? { Some(reader.bytes()?) } else { None };
                if value.as_ref().is_some_and(|value| validate(cql_type, value).is_err()) {
                    return Err(INVALID);
                }
                Accumulator::Extreme { greatest, value }
            }
            Accumulator::Integers { average, .. } => {
                Accumulator::Integers { average, sum: integer(reader)?, count: count(reader)? }
            }
            Accumulator::Floating { average, .. } => {
                let mut float = || fixed(reader).map(f64::from_bits);
                let (sum, error, plain) = (float()?, float()?, float()?);
                let large = if reader.bool()? { Some(decimal(reader)?) } else { None };
                let count = count(reader)?;
                if large.is_some() && !(average && count > 0) {
                    return Err(INVALID);
                }
                Accumulator::Floating { average, sum, error, plain, large, count }
            }
            Accumulator::Decimals { average, .. } => {
                Accumulator::Decimals { average, sum: decimal(reader)?, count: count(reader)? }
            }
        })
    }
}

fn put_decimal(out: &mut Vec<u8>, decimal: &Decimal) {
    put_bytes(out, &decimal.unscaled.to_signed_bytes_be());
    put_varint(out, u64::from(decimal.scale as u32));
}

fn not_negative(count: i64) -> Result<i64, CodecError> {
    if count < 0 { Err(CodecError::Invalid("aggregate")) } else { Ok(count) }
}

/// Aggregates the elements of a collection.
///
/// # Errors
/// As [`Accumulator::add`] and [`Accumulator::result`].
pub(super) fn of_elements<'a>(
    aggregate: Aggregate,
    element: &CqlType,
    elements: impl Iterator<Item = &'a [u8]>,
) -> Result<Option<Bytes>, RequestError> {
    let mut accumulator = Accumulator::new(aggregate, Some(element));
    for wire in elements {
        accumulator.add(element, Some(&Bytes::copy_from_slice(wire))).map_err(RequestError::Invalid)?;
    }
    accumulator.result(element).map_err(RequestError::Invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn aggregated(aggregate: Aggregate, cql_type: &CqlType, values: &[&str]) -> String {
        let mut accumulator = Accumulator::new(aggregate, Some(cql_type));
        for text in values {
            let wire = Value::parse(cql_type, text).unwrap().to_wire();
            accumulator.add(cql_type, Some(&wire)).unwrap();
            // A page may end anywhere.
            let mut state = Vec::new();
            accumulator.encode(&mut state);
            let mut reader = Reader::new(Bytes::from(state));
            let read = Accumulator::new(aggregate, Some(cql_type)).decode(&mut reader, cql_type).unwrap();
            reader.finish().unwrap();
            assert!(read == accumulator || matches!(read, Accumulator::Floating { .. }));
            accumulator = read;
        }
        accumulator.add(cql_type, None).unwrap();
        let returns = if aggregate == Aggregate::Count { CqlType::BigInt } else { cql_type.clone() };
        let result = accumulator.result(&returns).unwrap();
        result.map_or_else(|| "null".to_owned(), |wire| Value::from_wire(&returns, &wire).unwrap().to_string())
    }

    #[test]
    fn a_saved_sum_of_large_numbers_without_any_is_refused() {
        let mut state = vec![0; 24];
        state.push(1);
        put_decimal(&mut state, &Decimal::integer(BigInt::from(7)));
        state.extend_from_slice(&0u64.to_be_bytes());
        for aggregate in [Aggregate::Average, Aggregate::Sum] {
            let mut reader = Reader::new(Bytes::from(state.clone()));
            let read = Accumulator::new(aggregate, Some(&CqlType::Double)).decode(&mut reader, &CqlType::Double);
            assert!(read.is_err(), "{aggregate:?}");
        }
    }

    #[test]
    fn results_are_those_of_cassandra() {
        use Aggregate::{Average, Count, Max, Min, Sum};
        let cases: &[(Aggregate, CqlType, &[&str], &str)] = &[
            (Count, CqlType::Text, &["a", "b"], "2"),
            (Count, CqlType::Text, &[], "0"),
            (Min, CqlType::Int, &["3", "-1", "2"], "-1"),
            (Max, CqlType::Text, &["b", "c", "a"], "c"),
            (Min, CqlType::Int, &[], "null"),
            (Sum, CqlType::Int, &[], "0"),
            (Average, CqlType::Int, &[], "0"),
            (Average, CqlType::Decimal, &[], "0"),
            (Sum, CqlType::TinyInt, &["127", "1"], "-128"),
            (Average, CqlType::TinyInt, &["127", "1"], "64"),
            (Sum, CqlType::BigInt, &["9223372036854775807", "1"], "-9223372036854775808"),
            (Average, CqlType::BigInt, &["9223372036854775807", "9223372036854775805"], "9223372036854775806"),
            (Average, CqlType::Int, &["1", "2"], "1"),
            (Average, CqlType::Int, &["-1", "-2"], "-1"),
            (Sum, CqlType::VarInt, &["99999999999999999999", "1"], "100000000000000000000"),
            (Sum, CqlType::Decimal, &["1.10", "2.2"], "3.30"),
            (Average, CqlType::Decimal, &["1.0", "1.1"], "1.0"),
            (Average, CqlType::Decimal, &["1.1", "1.2"], "1.2"),
            (Sum, CqlType::Double, &["0.1", "0.2", "0.3"], "0.6"),
            (Sum, CqlType::Double, &["Infinity", "1"], "Infinity"),
            (Average, CqlType::Float, &["1.5", "2.5"], "2"),
            (Average, CqlType::Double, &["1.7e308", "1.7e308", "1.4e308"], "1.6e+308"),
            (Average, CqlType::Double, &["1.7e308", "1.7e308", "Infinity"], "Infinity"),
        ];
        for (aggregate, cql_type, values, expected) in cases {
            assert_eq!(aggregated(*aggregate, cql_type, values), *expected, "{aggregate:?} {cql_type} {values:?}");
        }
    }
}
