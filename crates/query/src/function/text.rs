//! Functions of the length and form of values: lengths, sizes and times for people, masks.

use model::{RequestError, Value};

/// How a mask covers a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mask {
    /// `mask_null`: by null.
    Null,
    /// `mask_default`: by a fixed value of its type.
    Default,
    /// `mask_replace`: by another value.
    Replace,
    /// `mask_inner`: all but so many characters at its ends.
    Inner,
    /// `mask_outer`: so many characters at its ends.
    Outer,
    /// `mask_hash`: by its hash.
    Hash,
}

/// `text` with characters covered: `begin` of them at its beginning and `end` at its end, or all but those.
pub(super) fn mask(text: &str, begin: i32, end: i32, padding: char, inner: bool) -> String {
    let size = text.encode_utf16().count() as i64;
    let last = size - 1 - i64::from(end);
    let mut position = 0i64;
    let mut masked = String::with_capacity(text.len());
    for character in text.chars() {
        let within = position >= i64::from(begin) && position <= last;
        masked.push(if within == inner { padding } else { character });
        position += character.len_utf16() as i64;
    }
    masked
}

/// The padding of a mask: one character.
pub(super) fn padding(function: &str, text: &str) -> Result<char, RequestError> {
    let mut characters = text.chars();
    match (characters.next(), characters.next()) {
        (Some(only), None) => Ok(only),
        _ => Err(RequestError::Invalid(format!(
            "The padding argument for function {function} should be single-character, but '{text}' has {} characters.",
            text.chars().count()
        ))),
    }
}

/// A size or time that is to be shown to people.
pub(super) fn amount(value: &Value) -> Result<i64, RequestError> {
    let invalid = |message: String| Err(RequestError::Invalid(message));
    let number = match value {
        Value::Ascii(text) | Value::Text(text) => match text.parse() {
            Ok(number) => number,
            Err(_) => return invalid(format!("unable to convert string '{text}' to a value of type long")),
        },
        Value::TinyInt(number) => i64::from(*number),
        Value::SmallInt(number) => i64::from(*number),
        Value::Int(number) => i64::from(*number),
        Value::BigInt(number) | Value::Counter(number) => *number,
        Value::VarInt(number) => i64::try_from(number).unwrap_or(if number.bits() == 0 { 0 } else { i64::MAX }),
        other => return invalid(format!("unable to convert {other} to a value of type long")),
    };
    if number < 0 { invalid("value must be non-negative".to_owned()) } else { Ok(number) }
}

/// Units of size with their bytes.
const SIZES: [(&str, i128); 4] = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

/// Units of time with their nanoseconds.
const TIMES: [(&str, i128); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
];

/// A number of bytes, or of the unit `from`, in the unit `to` or the largest one that it reaches.
pub(super) fn format_bytes(amount: i64, from: Option<&str>, to: Option<&str>) -> Result<String, RequestError> {
    let unit = |symbol: &str| {
        let names: Vec<&str> = SIZES.iter().map(|(name, _)| *name).collect();
        SIZES.into_iter().find(|(name, _)| *name == symbol).ok_or_else(|| {
            let units = names.join(", ");
            RequestError::Invalid(format!("Unsupported data storage unit: {symbol}. Supported units are: {units}"))
        })
    };
    let from = from.map_or(Ok(SIZES[0]), unit)?;
    let to = match to {
        Some(symbol) => unit(symbol)?,
        None => *SIZES.iter().rev().find(|(_, bytes)| i128::from(amount) > *bytes).unwrap_or(&SIZES[0]),
    };
    Ok(converted(amount, from, to))
}

/// A number of milliseconds, or of the unit `from`, in the unit `to` or the largest one of which there is one.
pub(super) fn format_time(amount: i64, from: Option<&str>, to: Option<&str>) -> Result<String, RequestError> {
    let unit = |symbol: &str| {
        let names: Vec<&str> = TIMES.iter().map(|(name, _)| *name).collect();
        TIMES.into_iter().find(|(name, _)| *name == symbol).ok_or_else(|| {
            let units = names.join(", ");
            RequestError::Invalid(format!("Unsupported time unit: {symbol}. Supported units are: {units}"))
        })
    };
    let from = unit(from.unwrap_or("ms"))?;
    let nanoseconds = i128::from(amount) * from.1;
    let to = match to {
        Some(symbol) => unit(symbol)?,
        None => *TIMES[4..].iter().rev().find(|(_, unit)| nanoseconds >= *unit).unwrap_or(&TIMES[3]),
    };
    Ok(converted(amount, from, to))
}

fn converted(amount: i64, from: (&str, i128), to: (&str, i128)) -> String {
    let converted = i64::try_from(i128::from(amount) * from.1 / to.1).unwrap_or(i64::MAX);
    format!("{converted} {}", to.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_cover_what_they_should() {
        let cases = [
            ("abcdef", 2, 1, true, "ab***f"),
            ("abcdef", 2, 1, false, "**cde*"),
            ("abc", 0, 0, true, "***"),
            ("abc", 5, 5, true, "abc"),
            ("abc", 5, 5, false, "***"),
            ("abc", -1, -1, false, "abc"),
            ("", 1, 1, true, ""),
        ];
        for (text, begin, end, inner, expected) in cases {
            assert_eq!(mask(text, begin, end, '*', inner), expected, "{text} {begin} {end} {inner}");
        }
        assert_eq!(padding("mask_inner", "#"), Ok('#'));
        let error = padding("mask_inner", "##").unwrap_err().to_string();
        assert!(error.contains("should be single-character, but '##' has 2 characters."), "{error}");
    }

    #[test]
    fn sizes_and_times_are_in_the_units_of_people() {
        let cases = [
            (format_bytes(1_048_577, None, None), "1 MiB"),
            (format_bytes(1_024, None, None), "1024 B"),
            (format_bytes(3, Some("GiB"), Some("KiB")), "3145728 KiB"),
            (format_bytes(i64::MAX, Some("GiB"), Some("B")), "9223372036854775807 B"),
            (format_time(60_001, None, None), "1 m"),
            (format_time(999, None, None), "999 ms"),
            (format_time(90, Some("s"), Some("m")), "1 m"),
            (format_time(2, Some("m"), Some("s")), "120 s"),
        ];
        for (found, expected) in cases {
            assert_eq!(found.as_deref(), Ok(expected));
        }
        assert!(format_time(1, None, Some("x")).is_err() && format_bytes(1, Some("kb"), None).is_err());
        assert!(amount(&Value::Int(-1)).is_err() && amount(&Value::Text("x".to_owned())).is_err());
    }
}
