//! Arithmetic of decimals as Cassandra has it: Java's `BigDecimal` with at most 10,000 digits, and logarithms and
//! powers of e to at least 32 digits. Work is bounded whatever the exponents: a number of more digits than that is
//! rounded, or refused where a rounded one would be wrong.

use model::{CqlType, Value};
use num_bigint::{BigInt, Sign};
use std::cmp::Ordering;

/// Most digits of a result.
const DIGITS_MAX: i64 = 10_000;
/// Fewest digits of a quotient, a logarithm or a power of e, and fewest places of a quotient behind the point.
const DIGITS_MIN: i64 = 32;
/// Most places of a quotient behind the point.
const QUOTIENT_SCALE_MAX: i64 = 1_000;
/// Digits beyond those wanted that logarithms and powers are computed to.
const GUARD_DIGITS: i64 = 12;

/// `unscaled * 10^-scale`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decimal {
    pub(super) unscaled: BigInt,
    pub(super) scale: i32,
}

/// How a digit is rounded that is exactly in the middle.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Rounding {
    /// Away from zero.
    HalfUp,
    /// To the even digit.
    HalfEven,
    /// All digits towards zero.
    Down,
}

fn power_of_ten(exponent: i64) -> BigInt {
    BigInt::from(10).pow(u32::try_from(exponent.max(0)).unwrap_or(u32::MAX))
}

fn digits(integer: &BigInt) -> i64 {
    if integer.sign() == Sign::NoSign { 1 } else { integer.magnitude().to_string().len() as i64 }
}

/// How many zeros the decimal digits of an integer that is not zero end in.
fn trailing_zeros(integer: &BigInt) -> i64 {
    let text = integer.magnitude().to_string();
    (text.len() - text.trim_end_matches('0').len()) as i64
}

/// `dividend / divisor`, rounded; the divisor is not zero.
fn divide_rounded(dividend: &BigInt, divisor: &BigInt, rounding: Rounding) -> BigInt {
    let quotient = dividend / divisor;
    let rest: BigInt = dividend - &quotient * divisor;
    let twice = BigInt::from(rest.magnitude() << 1usize);
    let up = match twice.magnitude().cmp(divisor.magnitude()) {
        _ if rounding == Rounding::Down => false,
        Ordering::Less => false,
        Ordering::Greater => true,
        Ordering::Equal => rounding == Rounding::HalfUp || quotient.bit(0),
    };
    match (up, (dividend.sign() == Sign::Minus) != (divisor.sign() == Sign::Minus)) {
        (false, _) => quotient,
        (true, false) => quotient + 1,
        (true, true) => quotient - 1,
    }
}

impl Decimal {
    pub(super) fn integer(integer: BigInt) -> Decimal {
        Decimal { unscaled: integer, scale: 0 }
    }

    /// Java's `BigDecimal.valueOf`: the shortest decimal that reads back as `number`.
    ///
    /// # Errors
    /// When it is not finite.
    pub(super) fn from_double(number: f64) -> Result<Decimal, String> {
        if number.is_nan() {
            return Err("A NaN cannot be converted into a decimal".to_owned());
        }
        if number.is_infinite() {
            return Err("An infinite number cannot be converted into a decimal".to_owned());
        }
        match Value::parse(&CqlType::Decimal, &Value::Double(number).to_json()) {
            Ok(Value::Decimal { unscaled, scale }) => Ok(Decimal { unscaled, scale }),
            other => Err(format!("{number} is no decimal: {other:?}")),
        }
    }

    pub(super) fn into_value(self) -> Value {
        Value::Decimal { unscaled: self.unscaled, scale: self.scale }
    }

    /// The number nearest to it.
    pub(super) fn to_double(&self) -> f64 {
        self.clone().into_value().to_string().parse().unwrap_or(f64::NAN)
    }

    fn is_zero(&self) -> bool {
        self.unscaled.sign() == Sign::NoSign
    }

    /// The exponent `e` for which the number is in `10^(e-1)..10^e`.
    fn exponent(&self) -> i64 {
        digits(&self.unscaled) - i64::from(self.scale)
    }

    fn of(unscaled: BigInt, scale: i64) -> Result<Decimal, String> {
        let scale = i32::try_from(scale).map_err(|_| if scale > 0 { "Underflow" } else { "Overflow" })?;
        Ok(Decimal { unscaled, scale })
    }

    /// The number with at most so many digits.
    fn rounded(self, most: i64, rounding: Rounding) -> Result<Decimal, String> {
        let excess = digits(&self.unscaled) - most;
        if excess <= 0 {
            return Ok(self);
        }
        let scale = i64::from(self.scale) - excess;
        let unscaled = divide_rounded(&self.unscaled, &power_of_ten(excess), rounding);
        // 9.99 may have become 10.00, a digit more.
        Decimal::of(unscaled, scale)?.rounded(most, rounding)
    }

    /// The number with so many places behind the point.
    ///
    /// # Errors
    /// When it has too many digits then.
    pub(super) fn with_scale(&self, scale: i32, rounding: Rounding) -> Result<Decimal, String> {
        let more = i64::from(scale) - i64::from(self.scale);
        if more >= 0 {
            if more > DIGITS_MAX && !self.is_zero() {
                return Err("Overflow".to_owned());
            }
            let factor = if self.is_zero() { BigInt::from(1) } else { power_of_ten(more) };
            return Ok(Decimal { unscaled: &self.unscaled * factor, scale });
        }
        let unscaled = match -more > digits(&self.unscaled) {
            true => BigInt::ZERO,
            false => divide_rounded(&self.unscaled, &power_of_ten(-more), rounding),
        };
        Ok(Decimal { unscaled, scale })
    }

    fn without_trailing_zeros(mut self) -> Decimal {
        if self.is_zero() {
            return Decimal { unscaled: BigInt::ZERO, scale: 0 };
        }
        let zeros = trailing_zeros(&self.unscaled);
        if let Ok(scale) = i32::try_from(i64::from(self.scale) - zeros) {
            self.unscaled /= power_of_ten(zeros);
            self.scale = scale;
        }
        self
    }

    /// The sum.
    ///
    /// # Errors
    /// When no scale can express it.
    pub(super) fn add(&self, other: &Decimal) -> Result<Decimal, String> {
        let scale = self.scale.max(other.scale);
        let (large, small) = if self.exponent() >= other.exponent() { (self, other) } else { (other, self) };
        // What is smaller than the last digit that is kept changes nothing.
        let lowest_kept = large.exponent() - DIGITS_MAX - 3;
        if !large.is_zero() && !small.is_zero() && small.exponent() < lowest_kept {
            return large.clone().rounded(DIGITS_MAX, Rounding::HalfUp);
        }
        let zero = |number: &Decimal| number.is_zero();
        if zero(self) || zero(other) {
            let number = if zero(self) { other } else { self };
            // A zero adds its places behind the point, as far as there is room for them.
            let room = DIGITS_MAX - digits(&number.unscaled);
            let more = (i64::from(scale) - i64::from(number.scale)).min(room).max(0);
            let unscaled = &number.unscaled * power_of_ten(more);
            return Decimal::of(unscaled, i64::from(number.scale) + more);
        }
        let aligned = |number: &Decimal| &number.unscaled * power_of_ten(i64::from(scale) - i64::from(number.scale));
        Decimal { unscaled: aligned(self) + aligned(other), scale }.rounded(DIGITS_MAX, Rounding::HalfUp)
    }

    pub(super) fn negate(&self) -> Decimal {
        Decimal { unscaled: -&self.unscaled, scale: self.scale }
    }

    /// The product.
    ///
    /// # Errors
    /// When no scale can express it.
    pub(super) fn multiply(&self, other: &Decimal) -> Result<Decimal, String> {
        let scale = i64::from(self.scale) + i64::from(other.scale);
        let unscaled = &self.unscaled * &other.unscaled;
        let excess = (digits(&unscaled) - DIGITS_MAX).max(0);
        let unscaled = divide_rounded(&unscaled, &power_of_ten(excess), Rounding::HalfUp);
        Decimal::of(unscaled, scale - excess)
    }

    /// The quotient, to at least 32 digits, without zeros at its end.
    ///
    /// # Errors
    /// For a divisor of zero.
    pub(super) fn divide(&self, other: &Decimal) -> Result<Decimal, String> {
        if other.is_zero() {
            return Err("BigInteger divide by zero".to_owned());
        }
        let first_digit = self.exponent() - other.exponent();
        let scale = (DIGITS_MIN - first_digit).max(i64::from(self.scale)).max(i64::from(other.scale)).max(DIGITS_MIN);
        self.divide_to_scale(other, scale.min(QUOTIENT_SCALE_MAX), Rounding::HalfUp).map(Self::without_trailing_zeros)
    }

    /// The quotient to this scale.
    ///
    /// # Errors
    /// When it has too many digits. The divisor is not zero.
    pub(super) fn divide_to_scale(&self, other: &Decimal, scale: i64, rounding: Rounding) -> Result<Decimal, String> {
        let shift = scale + i64::from(other.scale) - i64::from(self.scale);
        if self.is_zero() || shift < -(digits(&self.unscaled) + 1) {
            return Decimal::of(BigInt::ZERO, scale);
        }
        if shift > 2 * DIGITS_MAX {
            return Err("Overflow".to_owned());
        }
        let unscaled = match shift >= 0 {
            true => divide_rounded(&(&self.unscaled * power_of_ten(shift)), &other.unscaled, rounding),
            false => divide_rounded(&self.unscaled, &(&other.unscaled * power_of_ten(-shift)), rounding),
        };
        Decimal::of(unscaled, scale)
    }

    /// What the integral quotient leaves; it has the sign of the dividend.
    ///
    /// # Errors
    /// For a divisor of zero, and when the quotient has too many digits.
    pub(super) fn remainder(&self, other: &Decimal) -> Result<Decimal, String> {
        if other.is_zero() {
            return Err("Division by zero".to_owned());
        }
        if self.is_zero() || self.exponent() < other.exponent() {
            return Ok(self.clone());
        }
        let (own, divisor) = (i64::from(self.scale), i64::from(other.scale));
        let scale = own.max(divisor);
        if scale - own.min(divisor) > 2 * DIGITS_MAX {
            return Err("Division impossible".to_owned());
        }
        let aligned = |number: &Decimal| &number.unscaled * power_of_ten(scale - i64::from(number.scale));
        let (dividend, divisor_aligned) = (aligned(self), aligned(other));
        let quotient = &dividend / &divisor_aligned;
        if quotient.sign() == Sign::NoSign {
            return Ok(self.clone());
        }
        // In Java the quotient has no zeros at its end that the scales do not ask for, and the remainder the places
        // of its product with the divisor.
        let zeros = trailing_zeros(&quotient).min((divisor - own).max(0));
        let places = own.max(divisor - zeros);
        Decimal::of((dividend % divisor_aligned) / power_of_ten(scale - places), places)
    }

    /// The integer before the point.
    ///
    /// # Errors
    /// When it has too many digits.
    pub(super) fn to_integer(&self) -> Result<BigInt, String> {
        self.with_scale(0, Rounding::Down).map(|number| number.unscaled)
    }

    /// The lowest 64 bits of the integer before the point.
    pub(super) fn low_bits(&self) -> i64 {
        // Ten to the power of 64 has 64 zero bits at its end.
        if self.scale <= -64 { 0 } else { self.to_integer().map_or(0, |integer| low_bits(&integer)) }
    }

    /// The digits to which logarithms and powers of this number are computed.
    fn precision(&self) -> i64 {
        digits(&self.unscaled).clamp(DIGITS_MIN, DIGITS_MAX)
    }

    /// The integer `self * 10^places`, rounded down.
    fn fixed(&self, places: i64) -> BigInt {
        let shift = places - i64::from(self.scale);
        if shift >= 0 { &self.unscaled * power_of_ten(shift) } else { &self.unscaled / power_of_ten(-shift) }
    }

    /// e to this power.
    ///
    /// # Errors
    /// When the result is too large or too small for any scale.
    pub(super) fn exponential(&self) -> Result<Decimal, String> {
        if self.is_zero() {
            return Ok(Decimal::integer(BigInt::from(1)));
        }
        if self.exponent() > 10 {
            return Err(if self.unscaled.sign() == Sign::Minus { "Underflow" } else { "Overflow" }.to_owned());
        }
        let precision = self.precision();
        // The power of ten takes up to 11 digits of the argument.
        let places = precision + GUARD_DIGITS + 11;
        let argument = self.fixed(places);
        let ten = natural_logarithm_of_ten(places);
        let mut tens = &argument / &ten;
        if argument.sign() == Sign::Minus {
            tens -= 1;
        }
        let rest = argument - &tens * ten;
        let power = i64::try_from(tens).map_err(|_| "Overflow".to_owned())?;
        Decimal::of(exponential(&rest, places), places - power)?.rounded(precision, Rounding::HalfEven)
    }

    /// The natural logarithm of this number, which is positive.
    ///
    /// # Errors
    /// When it is not.
    pub(super) fn natural_logarithm(&self) -> Result<Decimal, String> {
        if self.unscaled.sign() != Sign::Plus {
            return Err("Natural log of number zero or less".to_owned());
        }
        self.logarithm(false)
    }

    /// The decimal logarithm of this number, which is positive.
    ///
    /// # Errors
    /// When it is not.
    pub(super) fn decimal_logarithm(&self) -> Result<Decimal, String> {
        if self.unscaled.sign() != Sign::Plus {
            return Err("Log10 of number zero or less".to_owned());
        }
        self.logarithm(true)
    }

    fn logarithm(&self, decimal: bool) -> Result<Decimal, String> {
        let precision = self.precision();
        let places = precision + GUARD_DIGITS + 11;
        let ten = natural_logarithm_of_ten(places);
        // A mantissa in 1..10 and its power of ten.
        let power = self.exponent() - 1;
        let mantissa = Decimal::of(self.unscaled.clone(), i64::from(self.scale) + power)?.fixed(places);
        let logarithm = natural_logarithm(&mantissa, places) + &ten * power;
        let logarithm = if decimal { logarithm * power_of_ten(places) / ten } else { logarithm };
        Ok(Decimal::of(logarithm, places)?.rounded(precision, Rounding::HalfEven)?.without_trailing_zeros())
    }
}

/// The lowest 64 bits of an integer in two's complement.
pub(super) fn low_bits(integer: &BigInt) -> i64 {
    let low = integer.iter_u64_digits().next().unwrap_or(0);
    (if integer.sign() == Sign::Minus { low.wrapping_neg() } else { low }) as i64
}

/// `e^argument` in fixed point of so many places, for an argument of some units.
fn exponential(argument: &BigInt, places: i64) -> BigInt {
    const HALVINGS: usize = 8;
    let one = power_of_ten(places);
    let small = argument >> HALVINGS;
    let (mut sum, mut term) = (one.clone(), one.clone());
    for step in 1u32.. {
        term = term * &small / &one / step;
        if term.sign() == Sign::NoSign {
            break;
        }
        sum += &term;
    }
    for _ in 0..HALVINGS {
        sum = &sum * &sum / &one;
    }
    sum
}

/// The natural logarithm of a number in 1..10, both in fixed point, by Newton's (Halley's) iteration.
fn natural_logarithm(number: &BigInt, places: i64) -> BigInt {
    let one = power_of_ten(places);
    let scaled: BigInt = number * 1_000_000_000_000_000i64 / &one;
    let approximate = i64::try_from(scaled).map_or(1.0, |scaled| scaled as f64 / 1e15).ln();
    let mut logarithm = BigInt::from((approximate * 1e15) as i64) * &one / 1_000_000_000_000_000i64;
    // Each step triples the number of right digits: 15, 45, 135...
    let mut right = 15;
    while right < places {
        let power = exponential(&logarithm, places);
        let step: BigInt = (number - &power) * 2 * &one / (number + &power);
        logarithm += step;
        right *= 3;
    }
    logarithm
}

/// ln 10 in fixed point, as 2 ln 3 + ln (10/9) by the series of the area tangent: atanh(1/2) twice is ln 3.
fn natural_logarithm_of_ten(places: i64) -> BigInt {
    let one = power_of_ten(places);
    let area_tangent = |inverse: i64| {
        let mut power: BigInt = &one / inverse;
        let mut sum = BigInt::ZERO;
        let mut odd = 1i64;
        while power.sign() != Sign::NoSign {
            sum += &power / odd;
            power /= inverse * inverse;
            odd += 2;
        }
        sum
    };
    area_tangent(2) * 4 + area_tangent(19) * 2
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(text: &str) -> Decimal {
        match Value::parse(&CqlType::Decimal, text).unwrap() {
            Value::Decimal { unscaled, scale } => Decimal { unscaled, scale },
            other => panic!("{other:?}"),
        }
    }

    fn text(result: Result<Decimal, String>) -> String {
        result.map_or_else(|error| error, |number| number.into_value().to_string())
    }

    #[test]
    fn arithmetic_is_that_of_java() {
        assert_eq!(text(decimal("1.10").add(&decimal("2.2"))), "3.30");
        assert_eq!(text(decimal("1E+2000000000").add(&decimal("1"))), "1E+2000000000");
        assert_eq!(text(decimal("0").add(&decimal("1E+5"))), "100000");
        assert_eq!(text(decimal("-1.5").multiply(&decimal("2.50"))), "-3.750");
        assert_eq!(text(decimal("1E-2000000000").multiply(&decimal("1E-2000000000"))), "Underflow");
        assert_eq!(text(decimal("1").divide(&decimal("3"))), format!("0.{}", "3".repeat(32)));
        assert_eq!(text(decimal("2").divide(&decimal("3"))), format!("0.{}7", "6".repeat(31)));
        assert_eq!(text(decimal("10").divide(&decimal("4"))), "2.5");
        assert_eq!(text(decimal("1").divide(&decimal("0.0"))), "BigInteger divide by zero");
        assert_eq!(text(decimal("1").remainder(&decimal("0.0"))), "Division by zero");
        assert_eq!(text(decimal("-7.5").remainder(&decimal("2"))), "-1.5");
        assert_eq!(text(decimal("7").remainder(&decimal("-7.25"))), "7");
        assert_eq!(text(decimal("7").remainder(&decimal("0.25"))), "0.00");
        assert_eq!(text(decimal("5").remainder(&decimal("0.25"))), "0.0");
        assert_eq!(text(decimal("10.0").remainder(&decimal("3"))), "1.0");
        assert_eq!(text(decimal("1E+100000").remainder(&decimal("1E-100000"))), "Division impossible");
        assert_eq!(decimal("12345678901234567890.9").low_bits(), -6101065172474983726);
        assert_eq!(decimal("1E+70").low_bits(), 0);
        assert_eq!(decimal("-1.9").low_bits(), -1);
    }

    #[test]
    fn rounding_is_half_up_half_even_and_down() {
        let at = |text: &str, rounding| decimal(text).with_scale(0, rounding).unwrap().into_value().to_string();
        for (number, up, even, down) in [("2.5", "3", "2", "2"), ("-2.5", "-3", "-2", "-2"), ("3.5", "4", "4", "3")] {
            assert_eq!(at(number, Rounding::HalfUp), up);
            assert_eq!(at(number, Rounding::HalfEven), even);
            assert_eq!(at(number, Rounding::Down), down);
        }
    }

    #[test]
    fn logarithms_and_powers_have_32_right_digits() {
        let cases = [
            (decimal("1").exponential(), "2.7182818284590452353602874713527"),
            (decimal("-1").exponential(), "0.36787944117144232159552377016146"),
            (decimal("100").exponential(), "2.6881171418161354484126255515800E+43"),
            (decimal("10").natural_logarithm(), "2.302585092994045684017991454684364"),
            (decimal("0.5").natural_logarithm(), "-0.69314718055994530941723212145818"),
            (decimal("2").decimal_logarithm(), "0.30102999566398119521373889472449"),
            (decimal("1000").decimal_logarithm(), "3"),
            (decimal("1").natural_logarithm(), "0"),
        ];
        for (found, expected) in cases {
            let found = text(found);
            let shared = expected.len().min(32);
            assert_eq!(found[..shared.min(found.len())], expected[..shared], "{found}");
        }
        assert_eq!(text(decimal("0").natural_logarithm()), "Natural log of number zero or less");
        assert_eq!(text(decimal("-1").decimal_logarithm()), "Log10 of number zero or less");
        assert_eq!(text(decimal("1E+30").exponential()), "Overflow");
        assert_eq!(text(decimal("0").exponential()), "1");
    }
}
