//! Dates, times, timestamps and durations as text, in the forms that Cassandra reads and cqlsh
//! prints. The calendar is the proleptic Gregorian one of ISO 8601, with a year 0.

use super::{DAY_NANOSECONDS, Value};
use std::fmt;

const SECOND_NANOSECONDS: i64 = 1_000_000_000;
const DAY_MILLISECONDS: i64 = 86_400_000;

/// Day 0 of a `date`: 1970-01-01.
const DATE_EPOCH: i64 = 1 << 31;

/// Reads a text from its front.
struct Scanner<'a> {
    rest: &'a str,
}

impl Scanner<'_> {
    /// Takes `expected` off the front if it is there.
    fn eat(&mut self, expected: &str) -> bool {
        let rest = self.rest.strip_prefix(expected);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// Takes as many ASCII digits as there are, `least` to `most`, as a number and its length.
    fn digits(&mut self, least: usize, most: usize) -> Option<(i64, usize)> {
        let length = self.rest.bytes().take_while(u8::is_ascii_digit).count();
        if length < least || length > most {
            return None;
        }
        let (digits, rest) = self.rest.split_at(length);
        self.rest = rest;
        digits.parse().ok().map(|number| (number, length))
    }

    /// The next two digits, whatever follows them, as a number below `limit`.
    fn pair(&mut self, limit: i64) -> Option<i64> {
        let (pair, rest) = self.rest.split_at_checked(2)?;
        self.rest = rest;
        let digits = pair.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| pair.parse().ok())?.filter(|number| *number < limit)
    }

    /// A date, `yyyy-mm-dd`, as days since 1970-01-01. A year of more than four digits has a sign.
    fn days(&mut self) -> Option<i64> {
        let negative = self.eat("-");
        let signed = negative || self.eat("+");
        let (year, _) = self.digits(4, if signed { 10 } else { 4 })?;
        let month = self.eat("-").then(|| self.pair(13))??;
        let day = self.eat("-").then(|| self.pair(32))??;
        let days = days_from_civil(if negative { -year } else { year }, month, day);
        // A day or month that does not exist comes back as another one.
        (civil_from_days(days) == (if negative { -year } else { year }, month, day)).then_some(days)
    }

    /// A time of day, `hh:mm` and perhaps `:ss` and a fraction of 1 to 9 digits, in nanoseconds.
    fn time(&mut self, seconds_required: bool) -> Option<i64> {
        let (hour, _) = self.digits(1, 2).filter(|(hour, _)| *hour < 24)?;
        let minute = self.eat(":").then(|| self.pair(60))??;
        let mut nanoseconds = (hour * 60 + minute) * 60 * SECOND_NANOSECONDS;
        if self.eat(":") {
            nanoseconds += self.pair(60)? * SECOND_NANOSECONDS;
            if self.eat(".") {
                let (fraction, length) = self.digits(1, 9)?;
                nanoseconds += fraction * 10i64.pow(9 - length as u32);
            }
        } else if seconds_required {
            return None;
        }
        Some(nanoseconds)
    }

    /// An offset from UTC in minutes: none, `Z`, `UTC` or `GMT` and perhaps `+hh`, `+hhmm` or `+hh:mm`.
    fn zone(&mut self) -> Option<i64> {
        self.eat(" ");
        if self.eat("Z") {
            return Some(0);
        }
        let _named = self.eat("UTC") || self.eat("GMT");
        let negative = self.eat("-");
        if !negative && !self.eat("+") {
            return Some(0);
        }
        let hours = self.pair(24)?;
        let minutes = if self.eat(":") || !self.rest.is_empty() { self.pair(60)? } else { 0 };
        let offset = hours * 60 + minutes;
        Some(if negative { -offset } else { offset })
    }
}

/// Days since 1970-01-01 of a date; of one that does not exist, some other day.
/// (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".)
#[must_use]
pub fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The year, month and day of a day since 1970-01-01.
#[must_use]
pub fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

fn is_integer(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// `yyyy-mm-dd`, or the stored number: days with 1970-01-01 at 2^31.
pub(super) fn parse_date(text: &str) -> Option<Value> {
    if is_integer(text) {
        return text.parse().ok().map(Value::Date);
    }
    let mut scanner = Scanner { rest: text };
    let days = scanner.days()?;
    let date = u32::try_from(days + DATE_EPOCH).ok().filter(|_| scanner.rest.is_empty())?;
    Some(Value::Date(date))
}

/// `hh:mm:ss` with a fraction of up to 9 digits, or nanoseconds since midnight.
pub(super) fn parse_time(text: &str) -> Option<Value> {
    let mut scanner = Scanner { rest: text };
    let nanoseconds = if is_integer(text) {
        scanner.rest = "";
        text.parse().ok()?
    } else {
        scanner.time(true)?
    };
    let sound = scanner.rest.is_empty() && (0..DAY_NANOSECONDS).contains(&nanoseconds);
    sound.then_some(Value::Time(nanoseconds))
}

/// A date, perhaps with a time and an offset from UTC, or milliseconds since 1970. What is finer than
/// a millisecond is cut off. Without an offset it is UTC, whatever the machine's time zone.
pub(super) fn parse_timestamp(text: &str) -> Option<Value> {
    if is_integer(text) {
        return text.parse().ok().map(Value::Timestamp);
    }
    let mut scanner = Scanner { rest: text };
    let days = scanner.days()?;
    let time_follows =
        scanner.rest.starts_with(' ') && scanner.rest[1..].starts_with(|next: char| next.is_ascii_digit());
    let nanoseconds = if scanner.eat("T") || (time_follows && scanner.eat(" ")) { scanner.time(false)? } else { 0 };
    let offset = scanner.zone().filter(|_| scanner.rest.is_empty())?;
    let milliseconds = nanoseconds / 1_000_000 - offset * 60_000;
    days.checked_mul(DAY_MILLISECONDS)?.checked_add(milliseconds).map(Value::Timestamp)
}

pub(super) fn write_date(f: &mut fmt::Formatter<'_>, date: u32) -> fmt::Result {
    write_days(f, i64::from(date) - DATE_EPOCH)
}

fn write_days(f: &mut fmt::Formatter<'_>, days: i64) -> fmt::Result {
    let (year, month, day) = civil_from_days(days);
    match year {
        0..=9999 => write!(f, "{year:04}-{month:02}-{day:02}"),
        -9999..=-1 => write!(f, "-{:04}-{month:02}-{day:02}", -year),
        _ => write!(f, "{year:+}-{month:02}-{day:02}"),
    }
}

pub(super) fn write_time(f: &mut fmt::Formatter<'_>, nanoseconds: i64) -> fmt::Result {
    write_seconds(f, nanoseconds / SECOND_NANOSECONDS)?;
    write!(f, ".{:09}", nanoseconds % SECOND_NANOSECONDS)
}

fn write_seconds(f: &mut fmt::Formatter<'_>, seconds: i64) -> fmt::Result {
    write!(f, "{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// Where a timestamp is written to, which decides its form.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum TimestampForm {
    /// A table, as cqlsh prints it, with microseconds.
    Table,
    /// A CQL constant: Cassandra reads three digits of a fraction.
    Literal,
    /// JSON, as Cassandra prints it.
    Json,
}

/// A timestamp, written in a form.
pub(super) struct TimestampText(pub(super) i64, pub(super) TimestampForm);

impl fmt::Display for TimestampText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TimestampText(timestamp, form) = *self;
        let (days, within) = (timestamp.div_euclid(DAY_MILLISECONDS), timestamp.rem_euclid(DAY_MILLISECONDS));
        if form != TimestampForm::Json && !(1..=9999).contains(&civil_from_days(days).0) {
            // As cqlsh (CASSANDRA-13185): other readers of dates cannot read such a year.
            return write!(f, "{timestamp}");
        }
        write_days(f, days)?;
        f.write_str(" ")?;
        write_seconds(f, within / 1000)?;
        let zone = match form {
            TimestampForm::Table => "000+0000",
            TimestampForm::Literal => "+0000",
            TimestampForm::Json => "Z",
        };
        write!(f, ".{:03}{zone}", within % 1000)
    }
}

/// The units of a duration in the order in which they may come: name, and how many months, days or
/// nanoseconds it has.
const UNITS: [(&str, Part, i64); 10] = [
    ("y", Part::Months, 12),
    ("mo", Part::Months, 1),
    ("w", Part::Days, 7),
    ("d", Part::Days, 1),
    ("h", Part::Nanoseconds, 3_600 * SECOND_NANOSECONDS),
    ("m", Part::Nanoseconds, 60 * SECOND_NANOSECONDS),
    ("s", Part::Nanoseconds, SECOND_NANOSECONDS),
    ("ms", Part::Nanoseconds, 1_000_000),
    ("us", Part::Nanoseconds, 1_000),
    ("ns", Part::Nanoseconds, 1),
];

#[derive(Clone, Copy, PartialEq)]
enum Part {
    Months,
    Days,
    Nanoseconds,
}

/// Sums up a duration, each unit at most once and in order.
#[derive(Default)]
struct DurationParts {
    sums: [i128; 3],
    next_unit: usize,
}

impl DurationParts {
    fn add(&mut self, number: i64, unit: &str) -> Option<()> {
        let index = UNITS.iter().position(|(name, ..)| *name == unit).filter(|index| *index >= self.next_unit)?;
        let (_, part, size) = UNITS[index];
        self.sums[part as usize] += i128::from(number) * i128::from(size);
        self.next_unit = index + 1;
        Some(())
    }

    fn build(&self, negative: bool) -> Option<Value> {
        let [months, days, nanoseconds] = self.sums.map(|sum| if negative { -sum } else { sum });
        Some(Value::Duration {
            months: months.try_into().ok()?,
            days: days.try_into().ok()?,
            nanoseconds: nanoseconds.try_into().ok()?,
        })
    }
}

/// `1y2mo3w4d5h6m7s8ms9us10ns`, ISO 8601's `P1Y2M3DT4H5M6S` or `P3W`, or `P0001-02-03T04:05:06`.
pub(super) fn parse_duration(text: &str) -> Option<Value> {
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let mut scanner = Scanner { rest: text };
    let mut parts = DurationParts::default();
    if !scanner.eat("P") {
        while parts.next_unit == 0 || !scanner.rest.is_empty() {
            let (number, _) = scanner.digits(1, 19)?;
            let length = scanner.rest.find(|next: char| next.is_ascii_digit()).unwrap_or(scanner.rest.len());
            let (unit, rest) = scanner.rest.split_at(length);
            scanner.rest = rest;
            parts.add(number, &unit.to_lowercase().replace('µ', "u"))?;
        }
    } else if text.contains('-') {
        for (before, unit, width) in
            [("", "y", 4), ("-", "mo", 2), ("-", "d", 2), ("T", "h", 2), (":", "m", 2), (":", "s", 2)]
        {
            let number = scanner.eat(before).then(|| scanner.digits(width, width))??.0;
            parts.add(number, unit)?;
        }
    } else if text.ends_with('W') {
        let (weeks, _) = scanner.digits(1, 19)?;
        parts.add(weeks, "w").filter(|()| scanner.eat("W"))?;
    } else {
        let mut in_time = false;
        while parts.next_unit == 0 || !scanner.rest.is_empty() {
            in_time = in_time || scanner.eat("T");
            let (number, _) = scanner.digits(1, 19)?;
            let designators =
                if in_time { [("H", "h"), ("M", "m"), ("S", "s")] } else { [("Y", "y"), ("M", "mo"), ("D", "d")] };
            let (_, unit) = designators.into_iter().find(|(designator, _)| scanner.eat(designator))?;
            parts.add(number, unit)?;
        }
    }
    parts.build(negative).filter(|_| scanner.rest.is_empty())
}

/// What is wrong with the order of the units of a duration such as `1d2y`, in Cassandra's words; `None` when nothing
/// is.
pub(super) fn misplaced_units(text: &str) -> Option<String> {
    const NAMES: [&str; 10] = [
        "years",
        "months",
        "weeks",
        "days",
        "hours",
        "minutes",
        "seconds",
        "milliseconds",
        "microseconds",
        "nanoseconds",
    ];
    let mut scanner = Scanner { rest: text.strip_prefix('-').unwrap_or(text) };
    let mut last: Option<usize> = None;
    while !scanner.rest.is_empty() {
        scanner.digits(1, 19)?;
        let length = scanner.rest.find(|next: char| next.is_ascii_digit()).unwrap_or(scanner.rest.len());
        let (unit, rest) = scanner.rest.split_at(length);
        scanner.rest = rest;
        let unit = unit.to_lowercase().replace('µ', "u");
        let index = UNITS.iter().position(|(name, ..)| *name == unit)?;
        match last {
            Some(last) if index == last => return Some(format!("The {} are specified multiple times", NAMES[index])),
            Some(last) if index < last => return Some(format!("The {} should be after {}", NAMES[last], NAMES[index])),
            _ => last = Some(index),
        }
    }
    None
}

/// Writes a duration as cqlsh does, without weeks; one of nothing as `0s`.
pub(super) fn write_duration(f: &mut fmt::Formatter<'_>, months: i32, days: i32, nanoseconds: i64) -> fmt::Result {
    if (months, days, nanoseconds) == (0, 0, 0) {
        return f.write_str("0s");
    }
    if months < 0 || days < 0 || nanoseconds < 0 {
        f.write_str("-")?;
    }
    let mut rest = [u64::from(months.unsigned_abs()), u64::from(days.unsigned_abs()), nanoseconds.unsigned_abs()];
    for (name, part, size) in UNITS.into_iter().filter(|(name, ..)| *name != "w") {
        let (rest, size) = (&mut rest[part as usize], size as u64);
        if *rest >= size {
            write!(f, "{}{name}", *rest / size)?;
            *rest %= size;
        }
    }
    Ok(())
}
