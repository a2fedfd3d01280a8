//! Numbers of all types: arithmetic, mathematics and conversions, with Java's overflow, truncation and rounding.

use super::decimal::{Decimal, Rounding, low_bits};
use crate::ast::ArithmeticOperator;
use model::{CqlType, Value};
use num_bigint::{BigInt, Sign};

/// The types of numbers.
pub(super) const TYPES: [CqlType; 9] = [
    CqlType::TinyInt,
    CqlType::SmallInt,
    CqlType::Int,
    CqlType::BigInt,
    CqlType::Float,
    CqlType::Double,
    CqlType::Decimal,
    CqlType::VarInt,
    CqlType::Counter,
];

/// The longest varint or decimal that is calculated with, in bits: work on longer ones is out of proportion.
const BITS_MAX: u64 = 1 << 18;

/// A number of any type.
#[derive(Clone, Debug)]
pub(super) enum Number {
    /// A tinyint, smallint, int, bigint or counter.
    Integer(i64),
    Float(f32),
    Double(f64),
    VarInt(BigInt),
    Decimal(Decimal),
}

/// A function of one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mathematics {
    Absolute,
    Exponential,
    NaturalLogarithm,
    DecimalLogarithm,
    Round,
}

impl Number {
    /// The number that `value` is.
    ///
    /// # Errors
    /// When it is none, or too long.
    pub(super) fn of(value: Value) -> Result<Number, String> {
        let bounded = |integer: &BigInt| match integer.bits() > BITS_MAX {
            true => Err(format!("a number of {} bits is too long", integer.bits())),
            false => Ok(()),
        };
        Ok(match value {
            Value::TinyInt(value) => Number::Integer(value.into()),
            Value::SmallInt(value) => Number::Integer(value.into()),
            Value::Int(value) => Number::Integer(value.into()),
            Value::BigInt(value) | Value::Counter(value) => Number::Integer(value),
            Value::Float(value) => Number::Float(value),
            Value::Double(value) => Number::Double(value),
            Value::VarInt(value) => {
                bounded(&value)?;
                Number::VarInt(value)
            }
            Value::Decimal { unscaled, scale } => {
                bounded(&unscaled)?;
                Number::Decimal(Decimal { unscaled, scale })
            }
            other => return Err(format!("{other} is not a number")),
        })
    }

    /// Java's `Number.longValue`: floating point is cut off and clamped, what is longer loses its highest bits.
    pub(super) fn to_long(&self) -> i64 {
        match self {
            Number::Integer(value) => *value,
            Number::Float(value) => *value as i64,
            Number::Double(value) => *value as i64,
            Number::VarInt(value) => low_bits(value),
            Number::Decimal(value) => value.low_bits(),
        }
    }

    /// Java's `Number.intValue`.
    fn to_int(&self) -> i32 {
        match self {
            Number::Float(value) => *value as i32,
            Number::Double(value) => *value as i32,
            other => other.to_long() as i32,
        }
    }

    pub(super) fn to_double(&self) -> f64 {
        match self {
            Number::Integer(value) => *value as f64,
            Number::Float(value) => f64::from(*value),
            Number::Double(value) => *value,
            Number::VarInt(value) => Decimal::integer(value.clone()).to_double(),
            Number::Decimal(value) => value.to_double(),
        }
    }

    fn to_float(&self) -> f32 {
        match self {
            Number::Integer(value) => *value as f32,
            Number::Float(value) => *value,
            Number::Double(value) => *value as f32,
            Number::VarInt(value) => value.to_string().parse().unwrap_or(f32::NAN),
            Number::Decimal(value) => value.clone().into_value().to_string().parse().unwrap_or(f32::NAN),
        }
    }

    fn to_varint(&self) -> BigInt {
        match self {
            Number::VarInt(value) => value.clone(),
            other => BigInt::from(other.to_long()),
        }
    }

    /// The decimal of the same value.
    ///
    /// # Errors
    /// For NaN and the infinities.
    pub(super) fn to_decimal(&self) -> Result<Decimal, String> {
        match self {
            Number::Integer(value) => Ok(Decimal::integer(BigInt::from(*value))),
            Number::VarInt(value) => Ok(Decimal::integer(value.clone())),
            Number::Decimal(value) => Ok(value.clone()),
            floating => Decimal::from_double(floating.to_double()),
        }
    }

    /// The decimal that arithmetic with a decimal makes of it: Java's of an integer has a place behind the point,
    /// since it comes of a double. One that no double expresses stays as it is.
    fn as_decimal(&self) -> Result<Decimal, String> {
        const EXACT_MAX: u64 = 1 << 53;
        match self {
            Number::Integer(value) if value.unsigned_abs() <= EXACT_MAX => Decimal::from_double(*value as f64),
            other => other.to_decimal(),
        }
    }

    /// The number converted to `target`, as CAST does it.
    ///
    /// # Errors
    /// When the target has no value for it.
    pub(super) fn cast(&self, target: &CqlType) -> Result<Value, String> {
        if let (CqlType::Decimal, Number::Float(value)) = (target, self) {
            // The shortest decimal of the float, not of the double that it widens to.
            return match value.is_finite() {
                true => Value::parse(&CqlType::Decimal, &Value::Float(*value).to_json()).map_err(|error| error.0),
                false => Decimal::from_double(f64::from(*value)).map(Decimal::into_value),
            };
        }
        Ok(match target {
            CqlType::TinyInt => Value::TinyInt(self.to_int() as i8),
            CqlType::SmallInt => Value::SmallInt(self.to_int() as i16),
            CqlType::Int => Value::Int(self.to_int()),
            CqlType::BigInt => Value::BigInt(self.to_long()),
            CqlType::Float => Value::Float(self.to_float()),
            CqlType::Double => Value::Double(self.to_double()),
            CqlType::VarInt => Value::VarInt(BigInt::from(self.to_long())),
            CqlType::Decimal => self.to_decimal()?.into_value(),
            other => return Err(format!("a number cannot be cast to {other}")),
        })
    }

    /// `self operator other`, a value of type `returns`.
    ///
    /// # Errors
    /// For a division by zero and what has no value in the type, in Java's words.
    pub(super) fn calculate(
        &self,
        operator: ArithmeticOperator,
        other: &Number,
        returns: &CqlType,
    ) -> Result<Value, String> {
        Ok(match returns {
            CqlType::Float => Value::Float(floating(operator, self.to_float(), other.to_float())),
            CqlType::Double => Value::Double(floating(operator, self.to_double(), other.to_double())),
            CqlType::VarInt => Value::VarInt(varints(operator, &self.to_varint(), &other.to_varint())?),
            CqlType::Decimal => decimals(operator, &self.as_decimal()?, &other.as_decimal()?)?.into_value(),
            integer => wrapped(longs(operator, self.to_long(), other.to_long())?, integer),
        })
    }

    /// The number with the other sign, of its own type `cql_type`.
    pub(super) fn negate(&self, cql_type: &CqlType) -> Value {
        match self {
            Number::Integer(value) => wrapped(value.wrapping_neg(), cql_type),
            Number::Float(value) => Value::Float(-value),
            Number::Double(value) => Value::Double(-value),
            Number::VarInt(value) => Value::VarInt(-value),
            Number::Decimal(value) => value.negate().into_value(),
        }
    }

    /// A function of the number, of its own type `cql_type`.
    ///
    /// # Errors
    /// When the function has no value there.
    pub(super) fn apply(&self, function: Mathematics, cql_type: &CqlType) -> Result<Value, String> {
        Ok(match self {
            // Java narrows a double to an int, and that to what is shorter.
            Number::Integer(value) => match function {
                Mathematics::Absolute => wrapped(value.wrapping_abs(), cql_type),
                Mathematics::Round => wrapped(*value, cql_type),
                other => {
                    let result = of_double(other, *value as f64);
                    let narrow = matches!(cql_type, CqlType::TinyInt | CqlType::SmallInt | CqlType::Int);
                    wrapped(if narrow { i64::from(result as i32) } else { result as i64 }, cql_type)
                }
            },
            Number::Float(value) => Value::Float(match function {
                Mathematics::Absolute => value.abs(),
                Mathematics::Round => (f64::from(*value) + 0.5).floor() as i32 as f32,
                other => of_double(other, f64::from(*value)) as f32,
            }),
            Number::Double(value) => Value::Double(of_double(function, *value)),
            Number::VarInt(value) => match function {
                Mathematics::Absolute => Value::VarInt(BigInt::from(value.magnitude().clone())),
                Mathematics::Round => Value::VarInt(value.clone()),
                other => Value::VarInt(of_decimal(other, &Decimal::integer(value.clone()))?.to_integer()?),
            },
            Number::Decimal(value) => of_decimal(function, value)?.into_value(),
        })
    }
}

fn of_double(function: Mathematics, number: f64) -> f64 {
    match function {
        Mathematics::Absolute => number.abs(),
        Mathematics::Exponential => number.exp(),
        Mathematics::NaturalLogarithm => number.ln(),
        Mathematics::DecimalLogarithm => number.log10(),
        Mathematics::Round => {
            let floor = number.floor();
            let rounded = if number - floor >= 0.5 { floor + 1.0 } else { floor };
            rounded as i64 as f64
        }
    }
}

fn of_decimal(function: Mathematics, number: &Decimal) -> Result<Decimal, String> {
    match function {
        Mathematics::Absolute if number.unscaled.sign() == Sign::Minus => Ok(number.negate()),
        Mathematics::Absolute => Ok(number.clone()),
        Mathematics::Exponential => number.exponential(),
        Mathematics::NaturalLogarithm => number.natural_logarithm(),
        Mathematics::DecimalLogarithm => number.decimal_logarithm(),
        Mathematics::Round => number.with_scale(0, Rounding::HalfUp),
    }
}

/// The value of an integer type that has the lowest bits of `number`.
pub(super) fn wrapped(number: i64, cql_type: &CqlType) -> Value {
    match cql_type {
        CqlType::TinyInt => Value::TinyInt(number as i8),
        CqlType::SmallInt => Value::SmallInt(number as i16),
        CqlType::Int => Value::Int(number as i32),
        CqlType::Counter => Value::Counter(number),
        _ => Value::BigInt(number),
    }
}

fn longs(operator: ArithmeticOperator, left: i64, right: i64) -> Result<i64, String> {
    if right == 0 && matches!(operator, ArithmeticOperator::Divide | ArithmeticOperator::Remainder) {
        return Err("/ by zero".to_owned());
    }
    Ok(match operator {
        ArithmeticOperator::Add => left.wrapping_add(right),
        ArithmeticOperator::Subtract => left.wrapping_sub(right),
        ArithmeticOperator::Multiply => left.wrapping_mul(right),
        ArithmeticOperator::Divide => left.wrapping_div(right),
        ArithmeticOperator::Remainder => left.wrapping_rem(right),
    })
}

fn floating<T>(operator: ArithmeticOperator, left: T, right: T) -> T
where
    T: std::ops::Add<Output = T>
        + std::ops::Sub<Output = T>
        + std::ops::Mul<Output = T>
        + std::ops::Div<Output = T>
        + std::ops::Rem<Output = T>,
{
    match operator {
        ArithmeticOperator::Add => left + right,
        ArithmeticOperator::Subtract => left - right,
        ArithmeticOperator::Multiply => left * right,
        ArithmeticOperator::Divide => left / right,
        ArithmeticOperator::Remainder => left % right,
    }
}

fn varints(operator: ArithmeticOperator, left: &BigInt, right: &BigInt) -> Result<BigInt, String> {
    let divides = matches!(operator, ArithmeticOperator::Divide | ArithmeticOperator::Remainder);
    if divides && right.sign() == Sign::NoSign {
        return Err("BigInteger divide by zero".to_owned());
    }
    Ok(match operator {
        ArithmeticOperator::Add => left + right,
        ArithmeticOperator::Subtract => left - right,
        ArithmeticOperator::Multiply => left * right,
        ArithmeticOperator::Divide => left / right,
        ArithmeticOperator::Remainder => left % right,
    })
}

fn decimals(operator: ArithmeticOperator, left: &Decimal, right: &Decimal) -> Result<Decimal, String> {
    match operator {
        ArithmeticOperator::Add => left.add(right),
        ArithmeticOperator::Subtract => left.add(&right.negate()),
        ArithmeticOperator::Multiply => left.multiply(right),
        ArithmeticOperator::Divide => left.divide(right),
        ArithmeticOperator::Remainder => left.remainder(right),
    }
}

/// The type of the result of arithmetic between two types of numbers: floating point if one of them is, and as
/// wide as the wider one.
pub(super) fn common_type(left: &CqlType, right: &CqlType) -> CqlType {
    let is_floating = |cql_type: &CqlType| matches!(cql_type, CqlType::Float | CqlType::Double | CqlType::Decimal);
    let width = |cql_type: &CqlType| match cql_type {
        CqlType::TinyInt => 1,
        CqlType::SmallInt => 2,
        CqlType::Int | CqlType::Float => 4,
        CqlType::BigInt | CqlType::Counter | CqlType::Double => 8,
        _ => usize::MAX,
    };
    match (is_floating(left) || is_floating(right), width(left).max(width(right))) {
        (true, 0..=4) => CqlType::Float,
        (true, 8) => CqlType::Double,
        (true, _) => CqlType::Decimal,
        (false, 1) => CqlType::TinyInt,
        (false, 2) => CqlType::SmallInt,
        (false, 4) => CqlType::Int,
        (false, 8) => CqlType::BigInt,
        (false, _) => CqlType::VarInt,
    }
}
