//! Functions of dates, times, timestamps, timeuuids and durations. The calendar is that of ISO 8601, in UTC.

use crate::ast::ArithmeticOperator;
use crate::evaluation::{uuid_milliseconds, uuid_ticks};
use model::time_uuid::of_ticks;
use model::value::{civil_from_days, days_from_civil};
use model::{CqlType, Value, WallMicros};

pub(super) const DAY_MILLISECONDS: i64 = 86_400_000;
const DAY_NANOSECONDS: i64 = DAY_MILLISECONDS * NANOSECONDS_IN_MILLISECOND;
const NANOSECONDS_IN_MILLISECOND: i64 = 1_000_000;
/// Day 0 of a `date`: 1970-01-01.
const DATE_EPOCH: i64 = 1 << 31;

/// No timestamp is further from the year 0.
const YEARS_MAX: i64 = 300_000_000;

/// A duration's parts.
#[derive(Clone, Copy)]
struct Duration {
    months: i32,
    days: i32,
    nanoseconds: i64,
}

impl Duration {
    fn of(value: &Value) -> Result<Duration, String> {
        match value {
            Value::Duration { months, days, nanoseconds } => {
                Ok(Duration { months: *months, days: *days, nanoseconds: *nanoseconds })
            }
            other => Err(format!("{other} is not a duration")),
        }
    }

    /// The part that is not months, in milliseconds.
    fn milliseconds(&self) -> i64 {
        i64::from(self.days) * DAY_MILLISECONDS + self.nanoseconds / NANOSECONDS_IN_MILLISECOND
    }

    fn is_negative(&self) -> bool {
        self.months < 0 || self.days < 0 || self.nanoseconds < 0
    }

    fn has_milliseconds_at_least(&self) -> bool {
        self.nanoseconds % NANOSECONDS_IN_MILLISECOND == 0
    }

    fn negate(self) -> Duration {
        // A part of the smallest value has no opposite; Java wraps as well.
        Duration {
            months: self.months.wrapping_neg(),
            days: self.days.wrapping_neg(),
            nanoseconds: self.nanoseconds.wrapping_neg(),
        }
    }
}

/// The moment in milliseconds since 1970 that a timestamp, date or timeuuid stands for.
pub(super) fn milliseconds(value: &Value) -> Result<i64, String> {
    match value {
        Value::Timestamp(milliseconds) => Ok(*milliseconds),
        Value::Date(date) => Ok((i64::from(*date) - DATE_EPOCH) * DAY_MILLISECONDS),
        Value::TimeUuid(bits) => Ok(uuid_milliseconds(*bits)),
        other => Err(format!("{other} is not a time")),
    }
}

/// The value of `cql_type`, a timestamp or date, at a moment in milliseconds since 1970.
///
/// # Errors
/// When no date says it.
pub(super) fn at_milliseconds(cql_type: &CqlType, milliseconds: i64) -> Result<Value, String> {
    match cql_type {
        CqlType::Date => {
            let date = milliseconds.div_euclid(DAY_MILLISECONDS) + DATE_EPOCH;
            u32::try_from(date).map(Value::Date).map_err(|_| format!("{milliseconds} milliseconds are out of range"))
        }
        _ => Ok(Value::Timestamp(milliseconds)),
    }
}

/// The time of an execution as a timestamp, date or time.
pub(super) fn current(cql_type: &CqlType, now: WallMicros) -> Result<Value, String> {
    match cql_type {
        CqlType::Time => {
            Ok(Value::Time(now.0.rem_euclid(DAY_MILLISECONDS * 1_000) / 1_000 * NANOSECONDS_IN_MILLISECOND))
        }
        other => at_milliseconds(other, now.0.div_euclid(1_000)),
    }
}

/// The least, or the greatest, timeuuid of a millisecond since 1970, in Cassandra's order of them.
pub(super) fn bound_of_time_uuids(milliseconds: i64, greatest: bool) -> u128 {
    if greatest {
        of_ticks(uuid_ticks(milliseconds).wrapping_add(9_999), 0x7f7f_7f7f_7f7f_7f7f)
    } else {
        of_ticks(uuid_ticks(milliseconds), 0x8080_8080_8080_8080)
    }
}

/// A moment so many months later, in milliseconds since 1970: on the last day of a month that is too short.
fn plus_months(milliseconds: i64, months: i64) -> Option<i64> {
    let (days, within) = (milliseconds.div_euclid(DAY_MILLISECONDS), milliseconds.rem_euclid(DAY_MILLISECONDS));
    let (year, month, day) = civil_from_days(days);
    let total = year.checked_mul(12)?.checked_add(month - 1)?.checked_add(months)?;
    let (year, month) = (total.div_euclid(12), total.rem_euclid(12) + 1);
    if !(-YEARS_MAX..=YEARS_MAX).contains(&year) {
        return None;
    }
    let last_day = match month {
        4 | 6 | 9 | 11 => 30,
        2 if year.rem_euclid(4) == 0 && (year.rem_euclid(100) != 0 || year.rem_euclid(400) == 0) => 29,
        2 => 28,
        _ => 31,
    };
    days_from_civil(year, month, day.min(last_day)).checked_mul(DAY_MILLISECONDS)?.checked_add(within)
}

/// A timestamp or date and a duration, added or subtracted.
///
/// # Errors
/// When the duration is too fine, or the result out of range.
pub(super) fn shift(operator: ArithmeticOperator, value: &Value, duration: &Value) -> Result<Value, String> {
    let parts = Duration::of(duration)?;
    let parts = if operator == ArithmeticOperator::Subtract { parts.negate() } else { parts };
    let cql_type = if matches!(value, Value::Date(_)) { CqlType::Date } else { CqlType::Timestamp };
    if cql_type == CqlType::Date && parts.nanoseconds != 0 {
        return Err(format!("The duration must have a day precision. Was: {duration}"));
    }
    if !parts.has_milliseconds_at_least() {
        return Err(format!("The duration must have a millisecond precision. Was: {duration}"));
    }
    let start = milliseconds(value)?;
    let moved = if parts.months == 0 { Some(start) } else { plus_months(start, parts.months.into()) };
    let moved = moved.and_then(|moved| moved.checked_add(parts.milliseconds()));
    at_milliseconds(&cql_type, moved.ok_or("the result is out of range")?)
}

/// The beginning of the interval of length `duration`, counted from `start`, that `value` lies in.
///
/// # Errors
/// As Cassandra's, for durations and starts that it does not take.
pub(super) fn floor(value: &Value, duration: &Value, start: Option<&Value>) -> Result<Value, String> {
    let parts = Duration::of(duration)?;
    if let Value::Time(nanoseconds) = value {
        return floor_time(*nanoseconds, parts).map(Value::Time);
    }
    let is_date = matches!(value, Value::Date(_));
    if is_date && parts.nanoseconds != 0 {
        return Err(format!(
            "The floor on date values cannot be computed for the {duration} duration as precision is below 1 day"
        ));
    }
    if !parts.has_milliseconds_at_least() {
        return Err(format!(
            "The floor cannot be computed for the {duration} duration as precision is below 1 millisecond"
        ));
    }
    let start = start.map_or(Ok(0), milliseconds)?;
    let floor = floor_milliseconds(milliseconds(value)?, parts, start)?;
    at_milliseconds(if is_date { &CqlType::Date } else { &CqlType::Timestamp }, floor)
}

fn floor_time(nanoseconds: i64, duration: Duration) -> Result<i64, String> {
    if duration.is_negative() {
        return Err("Negative durations are not supported by the floor function".to_owned());
    }
    if duration.months != 0 || duration.days != 0 || duration.nanoseconds > DAY_NANOSECONDS {
        return Err("For time values, the floor can only be computed for durations smaller that a day".to_owned());
    }
    Ok(if duration.nanoseconds == 0 { nanoseconds } else { nanoseconds - nanoseconds % duration.nanoseconds })
}

fn floor_milliseconds(time: i64, duration: Duration, start: i64) -> Result<i64, String> {
    const OUT_OF_RANGE: &str = "the result is out of range";
    if start > time {
        return Err("The floor function starting time is greater than the provided time".to_owned());
    }
    if duration.is_negative() {
        return Err("Negative durations are not supported by the floor function".to_owned());
    }
    let rest = duration.milliseconds();
    if duration.months == 0 {
        let elapsed = time.checked_sub(start).ok_or(OUT_OF_RANGE)?;
        return Ok(if rest == 0 { time } else { time - elapsed % rest });
    }
    let month_of = |milliseconds: i64| {
        let (year, month, _) = civil_from_days(milliseconds.div_euclid(DAY_MILLISECONDS));
        year * 12 + month
    };
    let begin = |intervals: i64| {
        let months = plus_months(start, intervals.checked_mul(duration.months.into())?)?;
        months.checked_add(intervals.checked_mul(rest)?)
    };
    // The last interval that begins in time: days and less only make intervals longer than the months alone, so
    // there are at most so many.
    let (mut low, mut high) = (0, (month_of(time) - month_of(start)) / i64::from(duration.months));
    while low < high {
        let middle = low + (high - low + 1) / 2;
        match begin(middle) {
            Some(begins) if begins <= time => low = middle,
            _ => high = middle - 1,
        }
    }
    Ok(begin(low).ok_or(OUT_OF_RANGE)?.max(start))
}
