//! The options of COPY: cqlsh's, each with its default, its range and what it does.
//!
//! Invariant: an option is honoured, or refused by name; those that shape only how cqlsh divides work between its
//! processes are checked and then named in [`CopyOptions::without_effect`].

use super::dialect::Dialect;
use super::field::Style;
use super::time_format::TimeFormat;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

/// Which way rows go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// Into the cluster.
    From,
    /// Out of it.
    To,
}

/// The options of one COPY.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CopyOptions {
    /// The characters of the file.
    pub(super) dialect: Dialect,
    /// How values are written.
    pub(super) style: Style,
    /// True when the first line names the columns.
    pub(super) header: bool,
    /// Requests under way at once: rows of COPY FROM, pages of COPY TO.
    pub(super) requests: usize,
    /// How often a request is made before it has failed.
    pub(super) attempts: u32,
    /// How often the rate is shown.
    pub(super) report_every: Duration,
    /// Where rates are written to.
    pub(super) rate_file: Option<String>,
    /// Options that were given and change nothing.
    pub(super) without_effect: Vec<&'static str>,
    /// Of COPY FROM.
    pub(super) from: FromOptions,
    /// Of COPY TO.
    pub(super) to: ToOptions,
}

/// The options of COPY FROM.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct FromOptions {
    /// Rows that are read and parsed at a time.
    pub(super) chunk_rows: usize,
    /// Rows sent in a second at most.
    pub(super) rows_per_second: u32,
    /// Data rows to pass over at the start.
    pub(super) skip_rows: u64,
    /// Data rows to read at most.
    pub(super) rows_max: u64,
    /// Columns of the file that are not imported.
    pub(super) skip_columns: Vec<String>,
    /// Rows that may be malformed before COPY gives up.
    pub(super) parse_errors_max: u64,
    /// Rows that the cluster may refuse before COPY gives up.
    pub(super) insert_errors_max: u64,
    /// Where rejected rows go; `None` for `import_KEYSPACE_TABLE.err`.
    pub(super) error_file: Option<String>,
    /// Time to live of the rows in seconds.
    pub(super) ttl: Option<u32>,
}

/// The options of COPY TO.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ToOptions {
    /// Rows in a page.
    pub(super) page_rows: u32,
    /// How long a page may take.
    pub(super) page_timeout: Option<Duration>,
    /// Only partitions with a larger token.
    pub(super) begin_token: Option<i64>,
    /// Only partitions with this or a smaller token.
    pub(super) end_token: Option<i64>,
    /// Rows in a file before the next is begun.
    pub(super) file_rows_max: u64,
}

impl CopyOptions {
    fn defaults(direction: Direction) -> CopyOptions {
        CopyOptions {
            dialect: Dialect::default(),
            style: Style::default(),
            header: false,
            requests: if direction == Direction::From { 512 } else { 6 },
            attempts: 5,
            report_every: Duration::from_millis(250),
            rate_file: None,
            without_effect: Vec::new(),
            from: FromOptions {
                chunk_rows: 5_000,
                rows_per_second: 100_000,
                skip_rows: 0,
                rows_max: u64::MAX,
                skip_columns: Vec::new(),
                parse_errors_max: u64::MAX,
                insert_errors_max: u64::MAX,
                error_file: None,
                ttl: None,
            },
            to: ToOptions {
                page_rows: 1_000,
                page_timeout: None,
                begin_token: None,
                end_token: None,
                file_rows_max: u64::MAX,
            },
        }
    }

    /// The options with these names, in any case, and values; a later one wins.
    ///
    /// # Errors
    /// When an option is not known for this direction, or its value is not one.
    pub(crate) fn new(direction: Direction, pairs: &[(String, String)]) -> Result<CopyOptions, String> {
        let mut options = CopyOptions::defaults(direction);
        for (name, value) in pairs {
            let name = name.to_ascii_uppercase();
            let option = OPTIONS.iter().find(|option| option.name == name);
            let fits = option.filter(|option| option.direction.is_none_or(|only| only == direction));
            let Some(option) = fits else {
                let way = if direction == Direction::From { "FROM" } else { "TO" };
                let names: Vec<&str> = CopyOptions::names(direction).collect();
                return Err(format!("{name} is not an option of COPY {way}; there are {}", names.join(", ")));
            };
            // A backslash in the name of a file is one.
            let value = if name.ends_with("FILE") { value.clone() } else { unescaped(value) };
            let set = (option.set)(&mut options, &value);
            set.map_err(|reason| format!("the option {name} {reason}"))?;
        }
        options.dialect.check()?;
        options.style.check(&options.dialect)?;
        if let (Some(begin), Some(end)) = (options.to.begin_token, options.to.end_token)
            && begin > end
        {
            return Err(format!("BEGINTOKEN {begin} is larger than ENDTOKEN {end}"));
        }
        Ok(options)
    }

    /// The names of the options for this direction.
    pub(crate) fn names(direction: Direction) -> impl Iterator<Item = &'static str> {
        let fits = move |option: &&Definition| option.direction.is_none_or(|only| only == direction);
        OPTIONS.iter().filter(fits).map(|option| option.name)
    }

    /// How long a page of COPY TO may take: as cqlsh, 10 s for every 1,000 rows and no less.
    pub(super) fn page_timeout(&self) -> Duration {
        let usual = 10 * u64::from(self.to.page_rows / 1_000).max(1);
        self.to.page_timeout.unwrap_or(Duration::from_secs(usual))
    }
}

/// An option: its name, the direction that it is for unless for both, and how its value is taken. An error goes on
/// from "the option NAME".
struct Definition {
    name: &'static str,
    direction: Option<Direction>,
    set: fn(&mut CopyOptions, &str) -> Result<(), String>,
}

const fn both(name: &'static str, set: fn(&mut CopyOptions, &str) -> Result<(), String>) -> Definition {
    Definition { name, direction: None, set }
}

const fn from(name: &'static str, set: fn(&mut CopyOptions, &str) -> Result<(), String>) -> Definition {
    Definition { name, direction: Some(Direction::From), set }
}

const fn to(name: &'static str, set: fn(&mut CopyOptions, &str) -> Result<(), String>) -> Definition {
    Definition { name, direction: Some(Direction::To), set }
}

const OPTIONS: &[Definition] = &[
    both("BOOLSTYLE", |options, value| {
        let styles: Vec<&str> = value.split(',').map(str::trim).collect();
        match styles.as_slice() {
            [yes, no] if !yes.is_empty() && !no.is_empty() && !yes.eq_ignore_ascii_case(no) => {
                options.style.booleans = [(*yes).to_owned(), (*no).to_owned()];
                Ok(())
            }
            _ => Err(format!("takes two different texts separated by a comma, such as 'True, False', not '{value}'")),
        }
    }),
    both("DATETIMEFORMAT", |options, value| {
        options.style.time_format = Some(TimeFormat::parse(value).map_err(|error| format!("is wrong: {error}"))?);
        Ok(())
    }),
    both("DECIMALSEP", |options, value| assign(&mut options.style.decimal_separator, character(value))),
    both("DELIMITER", |options, value| assign(&mut options.dialect.delimiter, byte(value))),
    both("ENCODING", |_, value| match value.to_ascii_lowercase().as_str() {
        "utf8" | "utf-8" => Ok(()),
        _ => Err(format!("takes UTF-8 only, not '{value}'")),
    }),
    both("ESCAPE", |options, value| assign(&mut options.dialect.escape, byte(value))),
    both("HEADER", |options, value| assign(&mut options.header, boolean(value))),
    both("MAXATTEMPTS", |options, value| assign(&mut options.attempts, number(value, 1..=1_000))),
    both("MAXREQUESTS", |options, value| assign(&mut options.requests, number(value, 1..=65_536))),
    both("NULL", |options, value| assign(&mut options.style.null, Ok(value.to_owned()))),
    both("NUMPROCESSES", |options, value| {
        options.without_effect.push("NUMPROCESSES");
        number(value, 1..=1_024u32).map(|_| ())
    }),
    both("QUOTE", |options, value| {
        let same = options.dialect.escape == options.dialect.quote;
        assign(&mut options.dialect.quote, byte(value))?;
        if same {
            options.dialect.escape = options.dialect.quote;
        }
        Ok(())
    }),
    both("RATEFILE", |options, value| assign(&mut options.rate_file, Ok(file(value)))),
    both("REPORTFREQUENCY", |options, value| {
        let seconds = value.parse::<f64>().ok().filter(|seconds| (0.01..=3_600.0).contains(seconds));
        let seconds = seconds.ok_or_else(|| format!("takes seconds from 0.01 to 3600, not '{value}'"));
        assign(&mut options.report_every, seconds.map(Duration::from_secs_f64))
    }),
    both("THOUSANDSSEP", |options, value| {
        let separator = if value.is_empty() { Ok(None) } else { character(value).map(Some) };
        assign(&mut options.style.thousands_separator, separator)
    }),
    from("CHUNKSIZE", |options, value| assign(&mut options.from.chunk_rows, number(value, 1..=100_000))),
    from("ERRFILE", |options, value| assign(&mut options.from.error_file, Ok(file(value)))),
    from("INGESTRATE", |options, value| assign(&mut options.from.rows_per_second, number(value, 1..=u32::MAX))),
    from("MAXBATCHSIZE", |options, value| {
        options.without_effect.push("MAXBATCHSIZE");
        number(value, 1..=65_535u32).map(|_| ())
    }),
    from("MAXINSERTERRORS", |options, value| assign(&mut options.from.insert_errors_max, unlimited(value))),
    from("MAXPARSEERRORS", |options, value| assign(&mut options.from.parse_errors_max, unlimited(value))),
    from("MAXROWS", |options, value| assign(&mut options.from.rows_max, unlimited(value))),
    from("MINBATCHSIZE", |options, value| {
        options.without_effect.push("MINBATCHSIZE");
        number(value, 1..=65_535u32).map(|_| ())
    }),
    from("PREPAREDSTATEMENTS", |_, value| match boolean(value)? {
        true => Ok(()),
        false => Err("takes TRUE only: rows always go through a prepared statement".to_owned()),
    }),
    from("SKIPCOLS", |options, value| {
        let names = value.split(',').map(str::trim).filter(|name| !name.is_empty());
        assign(&mut options.from.skip_columns, Ok(names.map(str::to_owned).collect()))
    }),
    from("SKIPROWS", |options, value| assign(&mut options.from.skip_rows, number(value, 0..=u64::MAX))),
    from("TTL", |options, value| assign(&mut options.from.ttl, number(value, 0..=630_720_000).map(Some))),
    to("BEGINTOKEN", |options, value| assign(&mut options.to.begin_token, token(value))),
    to("DOUBLEPRECISION", |options, value| assign(&mut options.style.double_digits, number(value, 1..=17).map(Some))),
    to("ENDTOKEN", |options, value| assign(&mut options.to.end_token, token(value))),
    to("FLOATPRECISION", |options, value| assign(&mut options.style.float_digits, number(value, 1..=9).map(Some))),
    to("MAXOUTPUTSIZE", |options, value| match unlimited(value)? {
        0 => Err("takes at least 1 row, or -1 for all in one file".to_owned()),
        rows => assign(&mut options.to.file_rows_max, Ok(rows)),
    }),
    to("PAGESIZE", |options, value| assign(&mut options.to.page_rows, number(value, 1..=100_000))),
    to("PAGETIMEOUT", |options, value| {
        let seconds = number(value, 1..=86_400).map(Duration::from_secs);
        assign(&mut options.to.page_timeout, seconds.map(Some))
    }),
];

fn assign<T>(to: &mut T, value: Result<T, String>) -> Result<(), String> {
    *to = value?;
    Ok(())
}

fn number<T: FromStr + PartialOrd + std::fmt::Display>(value: &str, range: RangeInclusive<T>) -> Result<T, String> {
    let found = value.parse().ok().filter(|number| range.contains(number));
    found.ok_or_else(|| format!("takes a number from {} to {}, not '{value}'", range.start(), range.end()))
}

/// A number, where -1 is none.
fn unlimited(value: &str) -> Result<u64, String> {
    if value == "-1" {
        return Ok(u64::MAX);
    }
    value.parse().map_err(|_| format!("takes a number, or -1 for no limit, not '{value}'"))
}

fn token(value: &str) -> Result<Option<i64>, String> {
    value.parse().map(Some).map_err(|_| format!("takes a token, a 64-bit integer, not '{value}'"))
}

fn boolean(value: &str) -> Result<bool, String> {
    match value.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" => Ok(false),
        _ => Err(format!("takes TRUE or FALSE, not '{value}'")),
    }
}

fn byte(value: &str) -> Result<u8, String> {
    match value.as_bytes() {
        [byte] if byte.is_ascii() => Ok(*byte),
        _ => Err(format!("takes one ASCII character, not '{value}'")),
    }
}

fn character(value: &str) -> Result<char, String> {
    let mut characters = value.chars();
    match (characters.next(), characters.next()) {
        (Some(character), None) => Ok(character),
        _ => Err(format!("takes one character, not '{value}'")),
    }
}

fn file(value: &str) -> Option<String> {
    Some(value.to_owned()).filter(|value| !value.is_empty())
}

/// The value with `\t`, `\n`, `\r`, `\0`, `\\` and `\xHH` replaced by what they stand for; other backslashes stay.
fn unescaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let mut rest = value;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let hexadecimal = || u8::from_str_radix(rest.strip_prefix('x')?.get(..2)?, 16).ok().filter(u8::is_ascii);
        let (character, length) = match rest.chars().next() {
            Some('t') => ('\t', 1),
            Some('n') => ('\n', 1),
            Some('r') => ('\r', 1),
            Some('0') => ('\0', 1),
            Some('\\') => ('\\', 1),
            Some('x') => hexadecimal().map_or(('\\', 0), |byte| (char::from(byte), 3)),
            _ => ('\\', 0),
        };
        out.push(character);
        rest = &rest[length..];
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use Direction::{From, To};

    fn options(direction: Direction, pairs: &[(&str, &str)]) -> Result<CopyOptions, String> {
        let pairs: Vec<_> = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        CopyOptions::new(direction, &pairs)
    }

    #[test]
    fn every_option_has_a_value_that_it_takes_and_one_that_it_refuses() {
        let cases = [
            ("BOOLSTYLE", "yes, no", "yes"),
            ("DATETIMEFORMAT", "%Y", "%Q"),
            ("DECIMALSEP", ",", ",,"),
            ("DELIMITER", "\\t", "ab"),
            ("ENCODING", "UTF-8", "latin1"),
            ("ESCAPE", "\\\\", "ab"),
            ("HEADER", "true", "maybe"),
            ("MAXATTEMPTS", "1", "0"),
            ("MAXREQUESTS", "1", "0"),
            ("NULL", "n/a", "a,b"),
            ("NUMPROCESSES", "4", "many"),
            ("QUOTE", "'", ""),
            ("REPORTFREQUENCY", "0.5", "0"),
            ("THOUSANDSSEP", "", "12"),
            ("CHUNKSIZE", "10", "0"),
            ("INGESTRATE", "10", "0"),
            ("MAXBATCHSIZE", "1", "x"),
            ("MAXINSERTERRORS", "-1", "-2"),
            ("MAXPARSEERRORS", "0", "x"),
            ("MAXROWS", "0", "x"),
            ("MINBATCHSIZE", "1", "0"),
            ("PREPAREDSTATEMENTS", "true", "false"),
            ("SKIPROWS", "3", "-1"),
            ("TTL", "60", "-1"),
            ("BEGINTOKEN", "-9223372036854775808", "x"),
            ("DOUBLEPRECISION", "17", "18"),
            ("ENDTOKEN", "5", "x"),
            ("FLOATPRECISION", "9", "0"),
            ("MAXOUTPUTSIZE", "1", "0"),
            ("PAGESIZE", "1", "0"),
            ("PAGETIMEOUT", "1", "0"),
        ];
        for (name, good, bad) in cases {
            let direction = if CopyOptions::names(From).any(|known| known == name) { From } else { To };
            assert!(options(direction, &[(name, good)]).is_ok(), "{name} = {good}");
            let message = options(direction, &[(&name.to_lowercase(), bad)]).unwrap_err();
            assert!(message.contains(name), "{name} = {bad}: {message}");
        }
        let any_value = ["ERRFILE", "RATEFILE", "SKIPCOLS"];
        let named: Vec<&str> = cases.iter().map(|(name, ..)| *name).chain(any_value).collect();
        assert!(OPTIONS.iter().all(|option| named.contains(&option.name)), "every option is among the cases");
    }

    #[test]
    fn options_of_the_other_direction_are_refused_by_name() {
        assert!(options(From, &[("PAGESIZE", "1")]).unwrap_err().contains("PAGESIZE is not an option of COPY FROM"));
        assert!(options(To, &[("TTL", "1")]).unwrap_err().contains("TTL is not an option of COPY TO"));
        assert!(options(To, &[("NONSENSE", "1")]).unwrap_err().contains("NONSENSE"));
        assert!(options(To, &[("BEGINTOKEN", "2"), ("ENDTOKEN", "1")]).unwrap_err().contains("ENDTOKEN 1"));
    }

    #[test]
    fn a_later_value_wins_and_what_changes_nothing_is_told() {
        let found = options(From, &[("NULL", "a"), ("NULL", "b"), ("NUMPROCESSES", "2")]).unwrap();
        assert_eq!((found.style.null.as_str(), found.without_effect.as_slice()), ("b", &["NUMPROCESSES"][..]));
        assert_eq!(options(To, &[("PAGESIZE", "2500")]).unwrap().page_timeout(), Duration::from_secs(20));
        assert_eq!(options(To, &[]).unwrap().page_timeout(), Duration::from_secs(10));
    }

    #[test]
    fn backslashes_stand_for_characters() {
        for (text, expected) in
            [("\\t", "\t"), ("\\\\N", "\\N"), ("\\N", "\\N"), ("\\", "\\"), ("\\x1f|", "\x1f|"), ("\\xzz", "\\xzz")]
        {
            assert_eq!(unescaped(text), expected, "{text}");
        }
    }
}
