//! Text to tokens, one at a time and without allocation.
//!
//! The tokens are those of Cassandra's grammar, with two differences: a minus sign is always a token
//! of its own (the parser joins it to the number that follows), and a number that runs into a word
//! is one malformed token instead of two. Keywords are words: which words are keywords is decided
//! where they are expected, since most of them may also be names.

use crate::source::Position;

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenKind {
    /// A keyword or an unquoted name.
    Word,
    /// A name in double quotes, quotes included.
    QuotedName,
    /// Text in single quotes or double dollars, delimiters included.
    String,
    /// Decimal digits.
    Integer,
    /// A number with a fraction or an exponent.
    Float,
    /// `1h30m`, `P1Y2M`, `P2W`, `P0001-02-03T04:05:06`.
    Duration,
    /// 32 hexadecimal digits in groups of 8-4-4-4-12.
    Uuid,
    /// `0x` and hexadecimal digits.
    Blob,
    /// Punctuation.
    Symbol(&'static str),
    /// Characters that are no token; why.
    Bad(&'static str),
    /// The end of the text.
    End,
}

/// A token and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) kind: TokenKind,
    /// Its first byte.
    pub(crate) start: Position,
    /// The first byte behind it.
    pub(crate) end: Position,
}

/// Longest first, so that the first that matches is the right one.
const SYMBOLS: [&str; 25] = [
    "<=", ">=", "!=", "+=", "-=", "..", "(", ")", "[", "]", "{", "}", ",", ".", ":", ";", "=", "<", ">", "+", "-", "*",
    "/", "%", "?",
];

/// A place in a text from which tokens are read. Copying it is looking ahead.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lexer<'a> {
    text: &'a str,
    position: usize,
}

impl<'a> Lexer<'a> {
    /// A lexer at the start of `text`.
    pub(crate) fn new(text: &'a str) -> Lexer<'a> {
        Lexer { text, position: 0 }
    }

    /// The next token. At the end of the text it is `End`, however often it is asked for.
    pub(crate) fn next_token(&mut self) -> Token {
        if let Err(start) = self.skip_blanks() {
            return self.token(TokenKind::Bad("a comment that is not closed"), start);
        }
        let start = self.position;
        let Some(first) = self.rest().first().copied() else {
            return self.token(TokenKind::End, start);
        };
        let kind = match first {
            b'\'' => self.quoted(b'\'', TokenKind::String, "a string that is not closed"),
            b'"' => self.quoted(b'"', TokenKind::QuotedName, "a quoted name that is not closed"),
            b'$' if self.rest().starts_with(b"$$") => self.dollar_string(),
            b'0'..=b'9' => self.number(),
            b'a'..=b'z' | b'A'..=b'Z' => self.word(),
            _ => self.symbol(),
        };
        self.token(kind, start)
    }

    fn token(&self, kind: TokenKind, start: usize) -> Token {
        Token { kind, start: Position(start), end: Position(self.position) }
    }

    fn rest(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.position..).unwrap_or_default()
    }

    /// Skips white space and comments; `Err` with the start of a comment that is not closed.
    fn skip_blanks(&mut self) -> Result<(), usize> {
        loop {
            let rest = self.rest();
            let blanks = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')).count();
            self.position += blanks;
            let rest = &rest[blanks..];
            if rest.starts_with(b"--") || rest.starts_with(b"//") {
                let end = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
                self.position += end.unwrap_or(rest.len());
            } else if rest.starts_with(b"/*") {
                match rest[2..].windows(2).position(|pair| pair == b"*/") {
                    Some(end) => self.position += end + 4,
                    None => {
                        let start = self.position;
                        self.position = self.text.len();
                        return Err(start);
                    }
                }
            } else {
                return Ok(());
            }
        }
    }

    /// A token in quotes, in which a doubled quote stands for one.
    fn quoted(&mut self, quote: u8, kind: TokenKind, unclosed: &'static str) -> TokenKind {
        self.position += 1;
        loop {
            match self.rest().iter().position(|byte| *byte == quote) {
                None => {
                    self.position = self.text.len();
                    return TokenKind::Bad(unclosed);
                }
                Some(at) => {
                    self.position += at + 1;
                    if self.rest().first() != Some(&quote) {
                        return kind;
                    }
                    self.position += 1;
                }
            }
        }
    }

    fn dollar_string(&mut self) -> TokenKind {
        let body = &self.rest()[2..];
        match body.windows(2).position(|pair| pair == b"$$") {
            Some(end) => {
                self.position += end + 4;
                TokenKind::String
            }
            None => {
                self.position = self.text.len();
                TokenKind::Bad("a string that is not closed")
            }
        }
    }

    fn symbol(&mut self) -> TokenKind {
        let rest = self.rest();
        if let Some(symbol) = SYMBOLS.iter().find(|symbol| rest.starts_with(symbol.as_bytes())) {
            self.position += symbol.len();
            return TokenKind::Symbol(symbol);
        }
        let character = self.text.get(self.position..).and_then(|rest| rest.chars().next());
        self.position += character.map_or(1, char::len_utf8);
        TokenKind::Bad("a character that CQL does not use")
    }

    fn word(&mut self) -> TokenKind {
        let rest = self.rest();
        if is_uuid(rest) {
            self.position += UUID_LENGTH;
            return TokenKind::Uuid;
        }
        let length = rest.iter().take_while(|byte| is_word_byte(**byte)).count();
        // As in Cassandra's lexer the longer match wins, and the duration when they are equally long.
        let duration = iso_duration_length(rest).filter(|duration| *duration >= length);
        self.position += duration.unwrap_or(length);
        if duration.is_some() { TokenKind::Duration } else { TokenKind::Word }
    }

    fn number(&mut self) -> TokenKind {
        let rest = self.rest();
        if is_uuid(rest) {
            self.position += UUID_LENGTH;
            return TokenKind::Uuid;
        }
        let (kind, length) = if rest.len() > 1 && rest[0] == b'0' && matches!(rest[1], b'x' | b'X') {
            (TokenKind::Blob, 2 + rest[2..].iter().take_while(|byte| byte.is_ascii_hexdigit()).count())
        } else if let Some(length) = duration_length(rest) {
            (TokenKind::Duration, length)
        } else {
            number_length(rest)
        };
        self.position += length;
        let trailing = self.rest().iter().take_while(|byte| is_word_byte(**byte)).count();
        self.position += trailing;
        if trailing > 0 { TokenKind::Bad("a malformed number") } else { kind }
    }
}

fn is_word_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn digits(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

/// An integer or, with a fraction or an exponent, a float, and its length.
fn number_length(bytes: &[u8]) -> (TokenKind, usize) {
    let mut length = digits(bytes);
    let mut kind = TokenKind::Integer;
    if bytes.get(length) == Some(&b'.') && bytes.get(length + 1) != Some(&b'.') {
        kind = TokenKind::Float;
        length += 1 + digits(&bytes[length + 1..]);
    }
    if matches!(bytes.get(length), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(length + 1), Some(b'+' | b'-')));
        let exponent = digits(bytes.get(length + 1 + sign..).unwrap_or_default());
        if exponent > 0 {
            kind = TokenKind::Float;
            length += 1 + sign + exponent;
        }
    }
    (kind, length)
}

const UUID_LENGTH: usize = 36;

fn is_uuid(bytes: &[u8]) -> bool {
    let digit_or_hyphen = |(index, byte): (usize, &u8)| match index {
        8 | 13 | 18 | 23 => *byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    };
    bytes.len() >= UUID_LENGTH
        && bytes[..UUID_LENGTH].iter().enumerate().all(digit_or_hyphen)
        && !bytes.get(UUID_LENGTH).is_some_and(|byte| is_word_byte(*byte))
}

/// The length of a unit of time at the start of `bytes`; longer units come first.
fn unit_length(bytes: &[u8]) -> Option<usize> {
    const UNITS: [&str; 11] = ["mo", "ms", "us", "µs", "ns", "y", "w", "d", "h", "m", "s"];
    let starts_with =
        |unit: &&str| bytes.get(..unit.len()).is_some_and(|head| head.eq_ignore_ascii_case(unit.as_bytes()));
    UNITS.iter().find(|unit| starts_with(unit)).map(|unit| unit.len())
}

/// `(digits unit)+`.
fn duration_length(bytes: &[u8]) -> Option<usize> {
    let mut length = 0;
    loop {
        let count = digits(&bytes[length..]);
        if count == 0 {
            return (length > 0).then_some(length);
        }
        length += count + unit_length(&bytes[length + count..])?;
    }
}

/// A duration of ISO 8601: `P1Y2M3DT4H5M6S`, `P2W` or `P0001-02-03T04:05:06`, in upper case.
fn iso_duration_length(bytes: &[u8]) -> Option<usize> {
    let body = bytes.strip_prefix(b"P")?;
    const ALTERNATIVE: &[u8] = b"dddd-dd-ddTdd:dd:dd";
    let matches = |(pattern, byte): (&u8, &u8)| if *pattern == b'd' { byte.is_ascii_digit() } else { pattern == byte };
    if body.len() >= ALTERNATIVE.len() && ALTERNATIVE.iter().zip(body).all(matches) {
        return Some(1 + ALTERNATIVE.len());
    }
    let weeks = digits(body);
    if weeks > 0 && body.get(weeks) == Some(&b'W') {
        return Some(1 + weeks + 1);
    }
    let date = designated_length(body, b"YMD");
    let time = body[date..].strip_prefix(b"T").map_or(0, |time| designated_length(time, b"HMS"));
    let time = if time > 0 { time + 1 } else { 0 };
    (date + time > 0).then_some(1 + date + time)
}

/// The length of numbers that end in these letters, each at most once and in this order.
fn designated_length(bytes: &[u8], letters: &[u8]) -> usize {
    let mut length = 0;
    for letter in letters {
        let count = digits(&bytes[length..]);
        if count > 0 && bytes.get(length + count) == Some(letter) {
            length += count + 1;
        }
    }
    length
}

#[cfg(test)]
#[path = "lexer_tests.rs"]
mod tests;
