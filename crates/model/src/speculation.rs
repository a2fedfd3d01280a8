//! When a spare replica is asked besides those that a read needs: the table option `speculative_retry`, in Cassandra's
//! words.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// How long is waited for an answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Delay {
    /// As long as so many of a hundred reads of the table take: above 0, below 100.
    Percentile(f64),
    /// So many milliseconds.
    Millis(u32),
}

/// When a spare replica is asked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SpeculativeRetry {
    /// Only when one of the others fails.
    Never,
    /// At once, whatever the others do.
    Always,
    /// When an answer has not come for so long.
    After(Delay),
    /// After the shorter of two delays.
    Min(Delay, Delay),
    /// After the longer of two delays.
    Max(Delay, Delay),
}

impl Delay {
    fn duration(self, percentile: &impl Fn(f64) -> Duration) -> Duration {
        match self {
            Delay::Percentile(of) => percentile(of),
            Delay::Millis(millis) => Duration::from_millis(u64::from(millis)),
        }
    }
}

impl SpeculativeRetry {
    /// Cassandra's default: `99p`.
    pub const DEFAULT: SpeculativeRetry = SpeculativeRetry::After(Delay::Percentile(99.0));

    /// How long an answer is waited for, where `percentile` says how long so many of a hundred reads take; `None` for
    /// as long as it takes.
    #[must_use]
    pub fn delay(self, percentile: impl Fn(f64) -> Duration) -> Option<Duration> {
        match self {
            SpeculativeRetry::Never => None,
            SpeculativeRetry::Always => Some(Duration::ZERO),
            SpeculativeRetry::After(delay) => Some(delay.duration(&percentile)),
            SpeculativeRetry::Min(a, b) => Some(a.duration(&percentile).min(b.duration(&percentile))),
            SpeculativeRetry::Max(a, b) => Some(a.duration(&percentile).max(b.duration(&percentile))),
        }
    }
}

impl fmt::Display for Delay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Delay::Percentile(of) => write!(f, "{of}p"),
            Delay::Millis(millis) => write!(f, "{millis}ms"),
        }
    }
}

impl fmt::Display for SpeculativeRetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SpeculativeRetry::Never => f.write_str("NEVER"),
            SpeculativeRetry::Always => f.write_str("ALWAYS"),
            SpeculativeRetry::After(delay) => write!(f, "{delay}"),
            SpeculativeRetry::Min(a, b) => write!(f, "MIN({a},{b})"),
            SpeculativeRetry::Max(a, b) => write!(f, "MAX({a},{b})"),
        }
    }
}

/// It is none of the values that the option can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAPolicy;

impl FromStr for Delay {
    type Err = NotAPolicy;

    fn from_str(text: &str) -> Result<Delay, NotAPolicy> {
        let plain = text.trim();
        if let Some(millis) = plain.strip_suffix("ms") {
            let millis = millis.parse::<f64>().map_err(|_| NotAPolicy)?;
            let valid = (0.0..=f64::from(i32::MAX)).contains(&millis);
            return if valid { Ok(Delay::Millis(millis as u32)) } else { Err(NotAPolicy) };
        }
        let number = plain.strip_suffix("percentile").or_else(|| plain.strip_suffix('p')).ok_or(NotAPolicy)?;
        let of = number.parse::<f64>().map_err(|_| NotAPolicy)?;
        if of > 0.0 && of < 100.0 { Ok(Delay::Percentile(of)) } else { Err(NotAPolicy) }
    }
}

/// In any case, and in all the forms that Cassandra reads.
impl FromStr for SpeculativeRetry {
    type Err = NotAPolicy;

    fn from_str(text: &str) -> Result<SpeculativeRetry, NotAPolicy> {
        let plain = text.trim().to_ascii_lowercase();
        match plain.as_str() {
            "always" => return Ok(SpeculativeRetry::Always),
            "never" | "none" => return Ok(SpeculativeRetry::Never),
            _ => {}
        }
        let Some((function, rest)) = plain.split_once('(') else { return plain.parse().map(SpeculativeRetry::After) };
        let (a, b) = rest.strip_suffix(')').and_then(|rest| rest.split_once(',')).ok_or(NotAPolicy)?;
        let (a, b) = (a.parse()?, b.parse()?);
        match function {
            "min" => Ok(SpeculativeRetry::Min(a, b)),
            "max" => Ok(SpeculativeRetry::Max(a, b)),
            _ => Err(NotAPolicy),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_read_in_every_form_and_shown_in_one() {
        for (text, shown) in [
            ("99p", "99p"),
            ("99.0PERCENTILE", "99p"),
            ("99.9p", "99.9p"),
            ("always", "ALWAYS"),
            ("NONE", "NEVER"),
            ("1.5ms", "1ms"),
            ("min( 99p , 50ms )", "MIN(99p,50ms)"),
            ("MAX(90p,10ms)", "MAX(90p,10ms)"),
        ] {
            let policy: SpeculativeRetry = text.parse().unwrap();
            assert_eq!(policy.to_string(), shown);
            assert_eq!(shown.parse(), Ok(policy));
        }
        for wrong in ["", "100p", "0p", "-1ms", "99", "nanp", "min(99p)", "sum(1p,2p)", "max(max(1p,1ms),1ms)"] {
            assert_eq!(wrong.parse::<SpeculativeRetry>(), Err(NotAPolicy), "{wrong}");
        }
    }

    #[test]
    fn delays_follow_the_percentiles_of_the_table() {
        let percentile = |of: f64| Duration::from_millis(of as u64);
        let delay = |text: &str| text.parse::<SpeculativeRetry>().unwrap().delay(percentile).map(|at| at.as_millis());
        assert_eq!(delay("99p"), Some(99));
        assert_eq!(delay("12ms"), Some(12));
        assert_eq!(delay("MIN(99p,50ms)"), Some(50));
        assert_eq!(delay("MAX(99p,50ms)"), Some(99));
        assert_eq!(delay("ALWAYS"), Some(0));
        assert_eq!(delay("NEVER"), None);
    }
}
