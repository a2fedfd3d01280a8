//! DATETIMEFORMAT: timestamps in a form of the user's, in the directives of C's `strftime` that cqlsh documents.
//!
//! Dates are not computed here: a timestamp is taken apart from its usual text, and put together to it.

use model::{CqlType, Value};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// A part of a format.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(char),
    Directive(char),
}

/// A format of timestamps. They are written in UTC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TimeFormat(Vec<Part>);

/// The parts of a date that a text has been read into.
struct Found {
    year: i32,
    month: usize,
    day: u32,
    hour: u32,
    afternoon: Option<bool>,
    minute: u32,
    second: u32,
    microsecond: u32,
    zone: String,
}

impl TimeFormat {
    /// The format that `text` describes.
    ///
    /// # Errors
    /// When a directive is not known.
    pub(super) fn parse(text: &str) -> Result<TimeFormat, String> {
        let mut parts = Vec::new();
        let mut characters = text.chars();
        while let Some(character) = characters.next() {
            parts.push(match character {
                '%' => match characters.next() {
                    Some('%') => Part::Literal('%'),
                    Some(known) if "YymdHIMSfzpbB".contains(known) => Part::Directive(known),
                    Some(other) => return Err(format!("the directive %{other} of DATETIMEFORMAT is not supported")),
                    None => return Err("DATETIMEFORMAT ends in %".to_owned()),
                },
                other => Part::Literal(other),
            });
        }
        if parts.is_empty() { Err("DATETIMEFORMAT is empty".to_owned()) } else { Ok(TimeFormat(parts)) }
    }

    /// The text of a timestamp, given as milliseconds since 1970. Years outside 1 to 9999 have no text but the number.
    pub(super) fn write(&self, milliseconds: i64) -> String {
        // yyyy-mm-dd hh:mm:ss.ffffff+0000
        let usual = Value::Timestamp(milliseconds).to_string();
        let digits = |from: usize, to: usize| usual.get(from..to).unwrap_or_default();
        if digits(4, 5) != "-" || digits(10, 11) != " " {
            return usual;
        }
        let hour: u32 = digits(11, 13).parse().unwrap_or(0);
        let month = MONTHS[digits(5, 7).parse::<usize>().map_or(0, |month| month.saturating_sub(1)).min(11)];
        let mut text = String::new();
        for part in &self.0 {
            match part {
                Part::Literal(character) => text.push(*character),
                Part::Directive('Y') => text.push_str(digits(0, 4)),
                Part::Directive('y') => text.push_str(digits(2, 4)),
                Part::Directive('m') => text.push_str(digits(5, 7)),
                Part::Directive('d') => text.push_str(digits(8, 10)),
                Part::Directive('H') => text.push_str(digits(11, 13)),
                Part::Directive('I') => text.push_str(&format!("{:02}", (hour + 11) % 12 + 1)),
                Part::Directive('M') => text.push_str(digits(14, 16)),
                Part::Directive('S') => text.push_str(digits(17, 19)),
                Part::Directive('f') => text.push_str(digits(20, 26)),
                Part::Directive('p') => text.push_str(if hour < 12 { "AM" } else { "PM" }),
                Part::Directive('b') => text.push_str(&month[..3]),
                Part::Directive('B') => text.push_str(month),
                Part::Directive(_) => text.push_str("+0000"),
            }
        }
        text
    }

    /// The timestamp that `text` writes; `None` when it is not in this format. What the format does not have is that
    /// of midnight on 1 January 1900, UTC, as in C.
    pub(super) fn read(&self, text: &str) -> Option<Value> {
        let mut rest = text;
        let mut found = Found {
            year: 1900,
            month: 1,
            day: 1,
            hour: 0,
            afternoon: None,
            minute: 0,
            second: 0,
            microsecond: 0,
            zone: "+0000".to_owned(),
        };
        for part in &self.0 {
            rest = match part {
                Part::Literal(character) => rest.strip_prefix(*character)?,
                Part::Directive(directive) => found.take(*directive, rest)?,
            };
        }
        if rest.is_empty() { found.value() } else { None }
    }
}

impl Found {
    /// Takes what `directive` stands for off the front of `text`, and returns what follows.
    fn take<'a>(&mut self, directive: char, text: &'a str) -> Option<&'a str> {
        let number = |most: usize| {
            let length = text.bytes().take(most).take_while(u8::is_ascii_digit).count();
            let (digits, rest) = text.split_at(length);
            digits.parse::<u32>().ok().map(|number| (number, rest))
        };
        let (value, rest) = match directive {
            'Y' => number(4).filter(|(_, rest)| text.len() - rest.len() == 4)?,
            'f' => {
                let (value, rest) = number(6)?;
                (value * 10u32.pow(6 - u32::try_from(text.len() - rest.len()).ok()?), rest)
            }
            'p' => {
                let half = text.get(..2)?.to_ascii_uppercase();
                self.afternoon = Some(["AM", "PM"].iter().position(|name| *name == half)? == 1);
                return text.get(2..);
            }
            'b' | 'B' => {
                let length = |month: &str| if directive == 'b' { 3 } else { month.len() };
                let starts = |month: &&str| {
                    let name = &month[..length(month)];
                    text.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name))
                };
                let index = MONTHS.iter().position(starts)?;
                self.month = index + 1;
                return text.get(length(MONTHS[index])..);
            }
            'z' => {
                let sign = text.starts_with(['+', '-']);
                let digits = |text: &str| text.bytes().take(2).filter(u8::is_ascii_digit).count() == 2;
                let (hours, after) =
                    if sign { (text.get(1..3)?, text.get(3..)?) } else { return text.strip_prefix('Z') };
                let after = after.strip_prefix(':').unwrap_or(after);
                if !digits(hours) || !digits(after) {
                    return None;
                }
                self.zone = format!("{}{hours}{}", &text[..1], &after[..2]);
                return after.get(2..);
            }
            _ => number(2)?,
        };
        match directive {
            'Y' => self.year = i32::try_from(value).ok()?,
            // As POSIX: 69 to 99 are of the last century.
            'y' => self.year = i32::try_from(if value < 69 { 2000 + value } else { 1900 + value }).ok()?,
            'm' => self.month = value as usize,
            'd' => self.day = value,
            'H' => self.hour = value,
            'I' => self.hour = (1..=12).contains(&value).then_some(value % 12)?,
            'M' => self.minute = value,
            'S' => self.second = value,
            _ => self.microsecond = value,
        }
        Some(rest)
    }

    fn value(&self) -> Option<Value> {
        let hour = self.hour % 24 + if self.afternoon == Some(true) && self.hour < 12 { 12 } else { 0 };
        if self.hour > 23 {
            return None;
        }
        let Found { year, month, day, minute, second, microsecond, zone, .. } = self;
        let text = format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{microsecond:06}{zone}");
        Value::parse(&CqlType::Timestamp, &text).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn timestamps_are_written_and_read_in_the_format() {
        let cases = [
            ("%Y-%m-%d %H:%M:%S.%f%z", "2015-07-04 13:05:09.123000+0000"),
            ("%d/%m/%Y", "04/07/2015"),
            ("%B %d, %y at %I:%M %p 100%%", "July 04, 15 at 01:05 PM 100%"),
            ("%d%b%Y", "04Jul2015"),
        ];
        for (format, expected) in cases {
            let format = TimeFormat::parse(format).unwrap();
            let text = format.write(1_436_015_109_123);
            assert_eq!(text, expected);
            let Some(Value::Timestamp(read)) = format.read(&text) else { panic!("{text} is not read") };
            assert_eq!(format.write(read), text);
        }
        let zoned = TimeFormat::parse("%Y-%m-%dT%H:%M:%S%z").unwrap();
        assert_eq!(zoned.read("1970-01-01T02:00:01+02:00"), Some(Value::Timestamp(1_000)));
        assert_eq!(zoned.read("1970-01-01T00:00:01Z"), Some(Value::Timestamp(1_000)));
        for wrong in ["1970-01-01T00:00:01", "1970-13-01T00:00:00Z", "1970-02-30T00:00:00Z", "1970-01-01T24:00:00Z"] {
            assert_eq!(zoned.read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_not_known_is_refused_by_name() {
        assert!(TimeFormat::parse("%Q").unwrap_err().contains("%Q"));
        assert!(TimeFormat::parse("x%").is_err());
        assert!(TimeFormat::parse("").is_err());
    }

    proptest! {
        #[test]
        fn a_format_with_all_parts_loses_nothing(milliseconds in -62_000_000_000_000i64..250_000_000_000_000) {
            let format = TimeFormat::parse("%f|%S|%M|%I|%p|%d|%b|%Y").unwrap();
            prop_assert_eq!(format.read(&format.write(milliseconds)), Some(Value::Timestamp(milliseconds)));
        }

        #[test]
        fn any_format_reads_any_text(format in "[%YymdHIMSfzpbB :-]{1,8}", text in "[0-9aAmMpPJuly:+ ä-]{0,12}") {
            if let Ok(format) = TimeFormat::parse(&format) {
                let _ = format.read(&text);
            }
        }
    }
}
