//! Records of comma-separated values: written, and taken off a stream with their text as it was.
//!
//! Not the `csv` crate, which hides what COPY needs to know: whether a field was quoted (an empty text is not null),
//! and the bytes of a record that is rejected; and which knows escapes only within quotes, where cqlsh has them
//! anywhere.
//!
//! Invariants:
//! * [`Reader`] gives back exactly the fields that [`Dialect::write_record`] wrote, in every valid dialect.
//! * A quote within quotes may be doubled or escaped, whichever the dialect writes.
//! * No more than one record is in memory, and no record is longer than [`RECORD_BYTES_MAX`].

use std::io::{self, BufRead, Read};

/// The longest record, in bytes: far above what a row of a table can hold.
pub(super) const RECORD_BYTES_MAX: usize = 64 << 20;

/// The line that ends the data of standard input, as in cqlsh.
const END_OF_INPUT: &[u8] = b"\\.";

/// The characters with a meaning of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dialect {
    /// Between fields.
    pub(crate) delimiter: u8,
    /// Around fields that hold a character with a meaning.
    pub(crate) quote: u8,
    /// Before a character that is to have no meaning. The same as `quote` when quotes are doubled instead.
    pub(crate) escape: u8,
}

impl Default for Dialect {
    fn default() -> Dialect {
        Dialect { delimiter: b',', quote: b'"', escape: b'\\' }
    }
}

/// A field of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Field {
    /// Its text, without quotes and escapes.
    pub(super) text: String,
    /// True when it was quoted.
    pub(super) quoted: bool,
}

/// A record as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// The line on which it begins, from 1.
    pub(super) line: u64,
    /// Its bytes, with the line break.
    pub(super) raw: Vec<u8>,
    /// Its fields, or why it has none.
    pub(super) fields: Result<Vec<Field>, String>,
}

/// A text to be written as a field.
#[derive(Clone, Copy, Debug)]
pub(super) enum Written<'a> {
    /// Quoted where it must be.
    Plain(&'a str),
    /// Quoted in any case.
    Quoted(&'a str),
    /// Never quoted, with escapes where the dialect has them.
    Bare(&'a str),
}

impl Dialect {
    /// Checks that the characters can be told from each other.
    ///
    /// # Errors
    /// When they cannot.
    pub(super) fn check(&self) -> Result<(), String> {
        let all = [("DELIMITER", self.delimiter), ("QUOTE", self.quote), ("ESCAPE", self.escape)];
        if let Some((name, _)) = all.iter().find(|(_, byte)| matches!(byte, b'\r' | b'\n')) {
            return Err(format!("{name} cannot be a line break"));
        }
        if self.delimiter == self.quote || self.delimiter == self.escape {
            return Err("DELIMITER cannot be the same as QUOTE or ESCAPE".to_owned());
        }
        Ok(())
    }

    fn has_escape(&self) -> bool {
        self.escape != self.quote
    }

    fn is_special(&self, byte: u8) -> bool {
        [self.delimiter, self.quote, self.escape, b'\r', b'\n'].contains(&byte)
    }

    /// True when `text` can be a field without quotes that is read back as it is.
    pub(super) fn can_be_bare(&self, text: &str) -> bool {
        text.bytes().all(|byte| !self.is_special(byte) || (self.has_escape() && byte == self.escape))
    }

    /// Appends a record and its line break to `out`.
    pub(super) fn write_record(&self, out: &mut Vec<u8>, fields: &[Written<'_>]) {
        for (index, field) in fields.iter().enumerate() {
            if index > 0 {
                out.push(self.delimiter);
            }
            match *field {
                Written::Quoted(text) => self.write_quoted(out, text),
                // Alone on its line it would be the end of the input.
                Written::Plain(text) if text.as_bytes() == END_OF_INPUT => self.write_quoted(out, text),
                Written::Plain(text) if text.bytes().any(|byte| self.is_special(byte)) => self.write_quoted(out, text),
                Written::Plain(text) => out.extend_from_slice(text.as_bytes()),
                Written::Bare(text) => {
                    for byte in text.bytes() {
                        if self.has_escape() && byte == self.escape {
                            out.push(self.escape);
                        }
                        out.push(byte);
                    }
                }
            }
        }
        out.push(b'\n');
    }

    fn write_quoted(&self, out: &mut Vec<u8>, text: &str) {
        out.push(self.quote);
        for byte in text.bytes() {
            if byte == self.quote || byte == self.escape {
                out.push(self.escape);
            }
            out.push(byte);
        }
        out.push(self.quote);
    }
}

/// Takes records off a stream. Empty lines are passed over.
pub(super) struct Reader<R> {
    input: R,
    dialect: Dialect,
    /// The line that is read next, from 1.
    line: u64,
    /// True when a line of `\.` ends the input.
    ends_at_mark: bool,
    ended: bool,
}

/// Where in a record the reader is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    FieldStart,
    Bare,
    Quoted,
    /// Behind the quote that may have closed the field.
    Closed,
    /// The record is over.
    End,
}

/// A record that is being taken apart, line by line.
struct Parser {
    dialect: Dialect,
    state: State,
    fields: Vec<(Vec<u8>, bool)>,
    field: Vec<u8>,
    quoted: bool,
}

impl<R: BufRead> Reader<R> {
    /// A reader of `input`.
    pub(super) fn new(input: R, dialect: Dialect, ends_at_mark: bool) -> Reader<R> {
        Reader { input, dialect, line: 1, ends_at_mark, ended: false }
    }

    /// The next record; `None` at the end.
    ///
    /// # Errors
    /// When the input cannot be read, or a record is too long.
    pub(super) fn next_record(&mut self) -> io::Result<Option<Record>> {
        loop {
            let first = self.line;
            let mut raw = Vec::new();
            if self.ended || self.read_line(&mut raw)? == 0 {
                return Ok(None);
            }
            if first == 1 && raw.starts_with(b"\xef\xbb\xbf") {
                raw.drain(..3);
            }
            let text = raw.strip_suffix(b"\n").unwrap_or(&raw);
            if self.ends_at_mark && text.strip_suffix(b"\r").unwrap_or(text) == END_OF_INPUT {
                self.ended = true;
                return Ok(None);
            }
            if raw.iter().all(|byte| matches!(byte, b'\r' | b'\n')) {
                continue;
            }
            let mut parser = Parser::new(self.dialect);
            let mut from = 0;
            loop {
                parser.take(&raw[from..]);
                if parser.state == State::End {
                    break;
                }
                from = raw.len();
                if self.read_line(&mut raw)? == 0 {
                    break;
                }
            }
            return Ok(Some(Record { line: first, fields: parser.finish(), raw }));
        }
    }

    /// Appends a line to `record`; 0 at the end of the input.
    fn read_line(&mut self, record: &mut Vec<u8>) -> io::Result<usize> {
        let room = RECORD_BYTES_MAX - record.len().min(RECORD_BYTES_MAX);
        let count = self.input.by_ref().take(room as u64 + 1).read_until(b'\n', record)?;
        if count > room {
            let message = format!("the record at line {} is longer than {RECORD_BYTES_MAX} bytes", self.line);
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        self.line += 1;
        Ok(count)
    }
}

impl Parser {
    fn new(dialect: Dialect) -> Parser {
        Parser { dialect, state: State::FieldStart, fields: Vec::new(), field: Vec::new(), quoted: false }
    }

    /// Takes one line, with its line break if it has one.
    fn take(&mut self, line: &[u8]) {
        let Dialect { delimiter, quote, escape } = self.dialect;
        let mut rest = line.iter().copied().peekable();
        while let Some(byte) = rest.next() {
            if self.state == State::Quoted {
                match byte {
                    _ if byte == escape && self.dialect.has_escape() => self.field.extend(rest.next()),
                    _ if byte == quote && rest.peek() == Some(&quote) => self.field.extend(rest.next()),
                    _ if byte == quote => self.state = State::Closed,
                    _ => self.field.push(byte),
                }
                continue;
            }
            match byte {
                _ if byte == delimiter => self.end_field(State::FieldStart),
                b'\n' => return self.end_field(State::End),
                b'\r' if rest.peek() == Some(&b'\n') => return self.end_field(State::End),
                _ if byte == quote && self.state == State::FieldStart => {
                    (self.state, self.quoted) = (State::Quoted, true);
                }
                _ if byte == escape && self.dialect.has_escape() => {
                    self.field.extend(rest.next());
                    self.state = State::Bare;
                }
                // Behind a closing quote too: what others write there belongs to the field.
                _ => {
                    self.field.push(byte);
                    self.state = State::Bare;
                }
            }
        }
    }

    fn end_field(&mut self, state: State) {
        self.fields.push((std::mem::take(&mut self.field), std::mem::take(&mut self.quoted)));
        self.state = state;
    }

    fn finish(mut self) -> Result<Vec<Field>, String> {
        match self.state {
            State::Quoted => return Err("a quote is not closed".to_owned()),
            State::End => {}
            _ => self.end_field(State::End),
        }
        let text = |(index, (bytes, quoted)): (usize, (Vec<u8>, bool))| match String::from_utf8(bytes) {
            Ok(text) => Ok(Field { text, quoted }),
            Err(_) => Err(format!("field {} is not UTF-8", index + 1)),
        };
        self.fields.into_iter().enumerate().map(text).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn records(text: &str, dialect: Dialect) -> Vec<Record> {
        let mut reader = Reader::new(text.as_bytes(), dialect, true);
        std::iter::from_fn(|| reader.next_record().unwrap()).collect()
    }

    fn fields(text: &str) -> Vec<Vec<(String, bool)>> {
        let pairs = |record: Record| {
            record.fields.unwrap().into_iter().map(|field| (field.text, field.quoted)).collect::<Vec<_>>()
        };
        records(text, Dialect::default()).into_iter().map(pairs).collect()
    }

    fn bare(texts: &[&str]) -> Vec<(String, bool)> {
        texts.iter().map(|text| ((*text).to_owned(), false)).collect()
    }

    #[test]
    fn quotes_escapes_and_line_breaks_are_understood() {
        assert_eq!(fields("a,b\r\n\nc,\n"), [bare(&["a", "b"]), bare(&["c", ""])]);
        assert_eq!(fields("\"a,\"\"b\\\"\n\",x"), [[("a,\"b\"\n".to_owned(), true), ("x".to_owned(), false)]]);
        assert_eq!(fields("a\\,b,\\\\N"), [bare(&["a,b", "\\N"])]);
        assert_eq!(fields("a\"b,\"c\"d"), [[("a\"b".to_owned(), false), ("cd".to_owned(), true)]]);
        assert_eq!(fields("\u{feff}a\nb"), [bare(&["a"]), bare(&["b"])]);
        assert_eq!(fields("a\n\\.\nb"), [bare(&["a"])], "what follows the mark is not data");
    }

    #[test]
    fn a_record_keeps_its_line_and_its_bytes() {
        let found = records("a\n\"b\nc\"\r\n\"d", Dialect::default());
        let lines: Vec<(u64, &[u8])> = found.iter().map(|record| (record.line, record.raw.as_slice())).collect();
        assert_eq!(lines, [(1, &b"a\n"[..]), (2, &b"\"b\nc\"\r\n"[..]), (4, &b"\"d"[..])]);
        assert_eq!(found[2].fields, Err("a quote is not closed".to_owned()));
    }

    #[test]
    fn what_is_not_text_and_what_has_no_end_is_an_error() {
        let mut reader = Reader::new(&b"a,\xff\n"[..], Dialect::default(), false);
        assert_eq!(reader.next_record().unwrap().unwrap().fields, Err("field 2 is not UTF-8".to_owned()));
        let endless = io::BufReader::new(io::repeat(b'x'));
        assert!(Reader::new(endless, Dialect::default(), false).next_record().is_err());
    }

    proptest! {
        #[test]
        fn every_record_is_read_as_it_was_written(
            rows in proptest::collection::vec(proptest::collection::vec("[a\",;\\\\|'\n\r.ä ]{0,6}", 1..4), 0..5),
            characters in proptest::sample::select(vec![(b',', b'"', b'\\'), (b';', b'"', b'"'), (b'|', b'\'', b'a')]),
            quoted: bool,
        ) {
            let (delimiter, quote, escape) = characters;
            let dialect = Dialect { delimiter, quote, escape };
            dialect.check().unwrap();
            let mut out = Vec::new();
            // A line with nothing on it is no record.
            let rows: Vec<_> = rows.into_iter().filter(|row| quoted || row.len() > 1 || !row[0].is_empty()).collect();
            for row in &rows {
                let written = |text| if quoted { Written::Quoted(text) } else { Written::Plain(text) };
                dialect.write_record(&mut out, &row.iter().map(|text| written(text)).collect::<Vec<_>>());
            }
            let mut reader = Reader::new(out.as_slice(), dialect, true);
            for row in &rows {
                let fields = reader.next_record().unwrap().unwrap().fields.unwrap();
                prop_assert_eq!(&fields.into_iter().map(|field| field.text).collect::<Vec<_>>(), row);
            }
            prop_assert_eq!(reader.next_record().unwrap(), None);
        }

        #[test]
        fn any_bytes_are_records_or_errors(bytes: Vec<u8>) {
            let mut reader = Reader::new(bytes.as_slice(), Dialect::default(), false);
            while let Some(record) = reader.next_record().unwrap() {
                prop_assert!(!record.raw.is_empty());
            }
        }
    }
}
