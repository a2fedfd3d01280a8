//! Values as the text of fields, and back.
//!
//! Invariants:
//! * What [`Style::write`] writes of a value, [`Style::read`] reads as the same value, unless the style rounds it
//!   (FLOATPRECISION, DOUBLEPRECISION, DATETIMEFORMAT).
//! * BOOLSTYLE, DATETIMEFORMAT and the separators shape fields, not what is inside a collection, tuple or
//!   user-defined type: that is written as CQL writes it, so that it can be told where a part ends.

use super::dialect::{Dialect, Field, Written};
use super::term::parse_term;
use super::time_format::TimeFormat;
use model::{CqlType, Value};

/// How values are written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Style {
    /// The text that stands for null.
    pub(super) null: String,
    /// The text of true, and that of false.
    pub(super) booleans: [String; 2],
    /// Of timestamps; `None` for cqlsh's usual form, which has all digits.
    pub(super) time_format: Option<TimeFormat>,
    /// Between the whole part of a number and its fraction.
    pub(super) decimal_separator: char,
    /// Between groups of three digits, if any.
    pub(super) thousands_separator: Option<char>,
    /// Significant digits of a float; `None` for as many as it takes to read it back.
    pub(super) float_digits: Option<usize>,
    /// Significant digits of a double; `None` for as many as it takes to read it back.
    pub(super) double_digits: Option<usize>,
}

impl Default for Style {
    fn default() -> Style {
        Style {
            null: String::new(),
            booleans: ["True".to_owned(), "False".to_owned()],
            time_format: None,
            decimal_separator: '.',
            thousands_separator: None,
            float_digits: None,
            double_digits: None,
        }
    }
}

/// The characters that numbers are made of themselves, which cannot separate their parts.
fn is_of_a_number(character: char) -> bool {
    character.is_alphanumeric() || "+-".contains(character)
}

impl Style {
    /// Checks that the settings do not contradict each other.
    ///
    /// # Errors
    /// When they do.
    pub(super) fn check(&self, dialect: &Dialect) -> Result<(), String> {
        if !dialect.can_be_bare(&self.null) {
            return Err("NULL cannot have a delimiter, quote or line break in it".to_owned());
        }
        let separators = self.thousands_separator.iter().chain([&self.decimal_separator]);
        if let Some(wrong) = separators.copied().find(|separator| is_of_a_number(*separator)) {
            return Err(format!("'{wrong}' cannot separate the parts of a number: it may be in one"));
        }
        if self.thousands_separator == Some(self.decimal_separator) {
            return Err("THOUSANDSSEP and DECIMALSEP cannot be the same".to_owned());
        }
        Ok(())
    }

    /// The text of a value of `cql_type`, ready to be written: `None` is null.
    pub(super) fn write(&self, cql_type: &CqlType, value: Option<&Value>) -> FieldText {
        let Some(value) = value else { return FieldText { text: self.null.clone(), form: Form::Null } };
        let text = self.text(cql_type, value);
        let form = if text == self.null { Form::LikeNull } else { Form::Value };
        FieldText { text, form }
    }

    fn text(&self, cql_type: &CqlType, value: &Value) -> String {
        match value {
            Value::Boolean(value) => self.booleans[usize::from(!*value)].clone(),
            Value::Timestamp(value) => match &self.time_format {
                Some(format) => format.write(*value),
                None => Value::Timestamp(*value).to_string(),
            },
            Value::Float(number) => self.number(&match self.float_digits {
                Some(digits) if number.is_finite() => rounded(format!("{:.*e}", digits - 1, number), cql_type),
                _ => value.to_string(),
            }),
            Value::Double(number) => self.number(&match self.double_digits {
                Some(digits) if number.is_finite() => rounded(format!("{:.*e}", digits - 1, number), cql_type),
                _ => value.to_string(),
            }),
            Value::TinyInt(_)
            | Value::SmallInt(_)
            | Value::Int(_)
            | Value::BigInt(_)
            | Value::Counter(_)
            | Value::VarInt(_)
            | Value::Decimal { .. } => self.number(&value.to_string()),
            _ => value.to_string(),
        }
    }

    /// A number with the separators of the style.
    fn number(&self, text: &str) -> String {
        let (sign, text) = text.strip_prefix('-').map_or(("", text), |rest| ("-", rest));
        let whole = text.bytes().take_while(u8::is_ascii_digit).count();
        let (whole, rest) = text.split_at(whole);
        let mut out = sign.to_owned();
        for (index, digit) in whole.chars().enumerate() {
            if let Some(separator) = self.thousands_separator
                && index > 0
                && (whole.len() - index).is_multiple_of(3)
            {
                out.push(separator);
            }
            out.push(digit);
        }
        match rest.strip_prefix('.') {
            Some(fraction) => {
                out.push(self.decimal_separator);
                out + fraction
            }
            None => out + rest,
        }
    }

    /// The value of `cql_type` that a field holds; `None` is null.
    ///
    /// A field is null when it is the NULL text without quotes. An empty field in quotes is null too where no value
    /// has an empty text.
    ///
    /// # Errors
    /// When the field is not in a form of that type.
    pub(super) fn read(&self, cql_type: &CqlType, field: &Field) -> Result<Option<Value>, String> {
        let is_text = matches!(cql_type, CqlType::Text | CqlType::Ascii);
        if field.text == self.null && (!field.quoted || (field.text.is_empty() && !is_text)) {
            return Ok(None);
        }
        // Space around text belongs to it; around anything else it is noise.
        let text = if is_text { field.text.as_str() } else { field.text.trim() };
        let usual = |text: &str| Value::parse(cql_type, text).map_err(|error| error.to_string());
        let value = match cql_type {
            CqlType::Boolean => match self.booleans.iter().position(|style| style.eq_ignore_ascii_case(text)) {
                Some(index) => Value::Boolean(index == 0),
                None => {
                    let [yes, no] = &self.booleans;
                    return Err(format!("'{text}' is not a boolean; expected {yes} or {no}"));
                }
            },
            CqlType::Timestamp => {
                let formatted = |text: &str| self.time_format.as_ref().and_then(|format| format.read(text));
                match formatted(&field.text).or_else(|| formatted(text)) {
                    Some(value) => value,
                    None => usual(text)?,
                }
            }
            CqlType::TinyInt
            | CqlType::SmallInt
            | CqlType::Int
            | CqlType::BigInt
            | CqlType::Counter
            | CqlType::VarInt
            | CqlType::Decimal
            | CqlType::Float
            | CqlType::Double => {
                if self.thousands_separator.is_none() && self.decimal_separator == '.' {
                    usual(text)?
                } else {
                    let kept = text.chars().filter(|character| Some(*character) != self.thousands_separator);
                    let point = |character| if character == self.decimal_separator { '.' } else { character };
                    usual(&kept.map(point).collect::<String>())?
                }
            }
            CqlType::Vector { .. }
            | CqlType::List { .. }
            | CqlType::Set { .. }
            | CqlType::Map { .. }
            | CqlType::Tuple(_)
            | CqlType::UserDefined { .. } => parse_term(cql_type, text, &self.null)?,
            _ => usual(text)?,
        };
        Ok(Some(value))
    }
}

/// The text of a float that was rounded to the digits of `scientific`.
fn rounded(scientific: String, cql_type: &CqlType) -> String {
    Value::parse(cql_type, &scientific).map_or(scientific, |value| value.to_string())
}

/// The text of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FieldText {
    text: String,
    form: Form,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Null,
    Value,
    /// A value whose text is that of null.
    LikeNull,
}

impl FieldText {
    /// How it is written.
    pub(super) fn written(&self) -> Written<'_> {
        match self.form {
            Form::Null => Written::Bare(&self.text),
            Form::Value => Written::Plain(&self.text),
            Form::LikeNull => Written::Quoted(&self.text),
        }
    }
}

#[cfg(test)]
mod tests;
