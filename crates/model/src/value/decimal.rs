//! Decimals and varints: their text, and of decimals their digits and their order.

use super::Value;
use num_bigint::{BigInt, BigUint, Sign};
use std::cmp::Ordering;
use std::fmt;

/// Most digits of a number in a text: turning them into binary costs time by the square of their
/// count.
pub(super) const DIGITS_MAX: usize = 65_536;

/// A number read back from a key is written out, without an exponent, up to this many digits.
const PLAIN_DIGITS_MAX: usize = 38;

/// Trailing zeros that a number read back from a key may have beyond what its scale can say.
const PADDING_MAX: i64 = 200_000;

/// A number as `0.d1d2d3... * 10^exponent`, the first and the last digit not zero; zero has none.
pub(super) struct Digits {
    pub(super) negative: bool,
    pub(super) exponent: i64,
    /// Each 0 to 9.
    pub(super) digits: Vec<u8>,
}

impl Digits {
    /// The digits of `unscaled`, in two's complement, times `10^-scale`.
    pub(super) fn of(scale: i32, unscaled: &[u8]) -> Digits {
        let unscaled = BigInt::from_signed_bytes_be(unscaled);
        let digits = unscaled.magnitude().to_radix_be(10);
        let exponent = digits.len() as i64 - i64::from(scale);
        Digits::new(unscaled.sign() == Sign::Minus, exponent, digits)
    }

    /// The number `0.d1d2d3... * 10^exponent`, zeros at both ends taken off.
    pub(super) fn new(negative: bool, exponent: i64, mut digits: Vec<u8>) -> Digits {
        digits.truncate(digits.iter().rposition(|digit| *digit != 0).map_or(0, |last| last + 1));
        let leading = digits.iter().take_while(|digit| **digit == 0).count();
        digits.drain(..leading);
        Digits { negative, exponent: exponent - leading as i64, digits }
    }

    /// The wire form: no zeros at the end of the digits, unless the number is an integer that is
    /// short enough to be written out. `None` when no scale can express it.
    pub(super) fn into_wire(mut self) -> Option<Vec<u8>> {
        let mut scale = self.digits.len() as i64 - self.exponent;
        if self.digits.is_empty() {
            scale = 0;
        }
        let least = if self.exponent <= PLAIN_DIGITS_MAX as i64 { 0 } else { i64::from(i32::MIN) };
        if scale < least {
            let padding = Some(least - scale).filter(|padding| *padding <= PADDING_MAX)?;
            self.digits.resize(self.digits.len() + padding as usize, 0);
            scale = least;
        }
        let magnitude = BigUint::from_radix_be(&self.digits, 10).unwrap_or_default();
        let sign = if self.negative { Sign::Minus } else { Sign::Plus };
        let mut wire = i32::try_from(scale).ok()?.to_be_bytes().to_vec();
        wire.extend_from_slice(&BigInt::from_biguint(sign, magnitude).to_signed_bytes_be());
        Some(wire)
    }
}

/// The order of two decimals, each a scale and an unscaled value in two's complement. Only when their
/// sizes are alike does it multiply, so the difference of the scales is no larger than the digits.
pub(super) fn compare((scale_a, a): (i32, &[u8]), (scale_b, b): (i32, &[u8])) -> Ordering {
    let (a, b) = (BigInt::from_signed_bytes_be(a), BigInt::from_signed_bytes_be(b));
    if scale_a == scale_b || a.sign() != b.sign() || a.sign() == Sign::NoSign {
        return a.cmp(&b);
    }
    let ((least_a, most_a), (least_b, most_b)) = (size(&a, scale_a), size(&b, scale_b));
    let magnitude = if least_a > most_b {
        Ordering::Greater
    } else if most_a < least_b {
        Ordering::Less
    } else {
        let more = |scale: i32, than: i32| BigUint::from(10u32).pow(scale.saturating_sub(than).max(0) as u32);
        (a.magnitude() * more(scale_b, scale_a)).cmp(&(b.magnitude() * more(scale_a, scale_b)))
    };
    if a.sign() == Sign::Minus { magnitude.reverse() } else { magnitude }
}

/// Bounds of the exponent `e` for which a number is in `10^(e-1)..10^e`, from its bits alone.
fn size(unscaled: &BigInt, scale: i32) -> (i64, i64) {
    let bits = unscaled.bits() as i64;
    // The decimal logarithm of 2 is between these two.
    let digits = |bits: i64, logarithm: i64| bits * logarithm / 100_000 + 1;
    (digits(bits - 1, 30_102) - i64::from(scale), digits(bits, 30_103) - i64::from(scale))
}

/// The decimal that `text` writes: digits, perhaps with a sign, a point and an exponent. `None` when
/// it is not one, or beyond the limits of digits and scale.
pub(super) fn parse(text: &str) -> Option<Value> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let scale = i32::try_from((fraction.len() as i64).checked_sub(exponent)?).ok()?;
    let unscaled = parse_integer(&[whole, fraction].concat())?;
    Some(Value::Decimal { unscaled, scale })
}

/// The integer that `text` writes: digits, perhaps with a sign.
pub(super) fn parse_integer(text: &str) -> Option<BigInt> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || digits.len() > DIGITS_MAX || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let magnitude = BigUint::parse_bytes(digits.as_bytes(), 10)?;
    Some(BigInt::from_biguint(if text.starts_with('-') { Sign::Minus } else { Sign::Plus }, magnitude))
}

/// Writes a decimal as Java's `BigDecimal` and Python's `Decimal` do, zeros at the end kept, so that
/// it reads back with the same scale.
pub(super) fn write(f: &mut fmt::Formatter<'_>, unscaled: &BigInt, scale: i32) -> fmt::Result {
    let digits = unscaled.magnitude().to_string();
    if unscaled.sign() == Sign::Minus {
        f.write_str("-")?;
    }
    let exponent = digits.len() as i64 - 1 - i64::from(scale);
    match usize::try_from(scale) {
        Ok(0) => f.write_str(&digits),
        Ok(scale) if exponent >= -6 => match digits.len().checked_sub(scale) {
            Some(whole) if whole > 0 => write!(f, "{}.{}", &digits[..whole], &digits[whole..]),
            _ => write!(f, "0.{digits:0>scale$}"),
        },
        _ => {
            let point = if digits.len() > 1 { "." } else { "" };
            write!(f, "{}{point}{}E{exponent:+}", &digits[..1], &digits[1..])
        }
    }
}
