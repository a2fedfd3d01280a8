//! Conditions of WHERE that rows are filtered by, after replicas have been reconciled.

use crate::ast::Operator;
use crate::operand::{Arguments, BoundValue, Operand};
use crate::restriction::{Values, operands_of};
use crate::source::shortened;
use bytes::Bytes;
use model::schema::{Column, TextFolding};
use model::value::{compare, parts};
use model::{CqlType, RequestError, Value};

/// A condition before values are bound.
#[derive(Debug)]
pub(crate) struct FilterPlan {
    /// The index of its column in the table.
    pub(crate) column: usize,
    pub(crate) test: Test,
}

/// What is asked of a column.
#[derive(Debug)]
pub(crate) enum Test {
    Compare {
        operator: Operator,
        values: Values,
    },
    /// The text is this one, but for differences that do not count.
    Same {
        folding: TextFolding,
        values: Values,
    },
    /// The entry of a map at a key is a value.
    Entry {
        key: Operand,
        value: Operand,
    },
}

/// A condition whose values are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Filter {
    /// The index of its column in the table.
    pub(crate) column: usize,
    test: BoundTest,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum BoundTest {
    Compare(Operator, Bytes),
    /// One of these, or none of them.
    In {
        values: Vec<Bytes>,
        negated: bool,
    },
    Contains {
        value: Bytes,
        key: bool,
        negated: bool,
    },
    Entry {
        key: Bytes,
        value: Bytes,
    },
    Like(Pattern),
    /// The text folds to the same as this one.
    Same {
        folding: TextFolding,
        value: Bytes,
        folded: String,
    },
    /// There is no value, or there is one.
    Null {
        negated: bool,
    },
}

/// What LIKE compares with: `%` at either end stands for anything, elsewhere for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern {
    text: Bytes,
    open_start: bool,
    open_end: bool,
}

impl Pattern {
    fn parse(pattern: &Bytes) -> Result<Pattern, RequestError> {
        let (mut start, mut end) = (0, pattern.len());
        let open_start = pattern.first() == Some(&b'%');
        start += usize::from(open_start);
        let open_end = end > start && pattern.last() == Some(&b'%');
        end -= usize::from(open_end);
        if start >= end {
            return Err(RequestError::Invalid("LIKE value can't be empty.".to_owned()));
        }
        Ok(Pattern { text: pattern.slice(start..end), open_start, open_end })
    }

    fn matches(&self, value: &[u8]) -> bool {
        let text = self.text.as_ref();
        match (self.open_start, self.open_end) {
            (false, false) => value == text,
            (false, true) => value.starts_with(text),
            (true, false) => value.ends_with(text),
            (true, true) => value.windows(text.len()).any(|window| window == text),
        }
    }
}

impl FilterPlan {
    /// The condition with its values.
    ///
    /// # Errors
    /// When one is null or unset.
    pub(crate) fn bind<'a>(&'a self, column: &Column, arguments: Arguments<'a>) -> Result<Filter, RequestError> {
        let name = &column.name;
        let given = |operand: &'a Operand, what: &str| {
            let nothing = match arguments.value(operand)?.into_owned() {
                BoundValue::Value(value) => return Ok(value),
                BoundValue::Null => "null",
                BoundValue::Unset => "unset",
            };
            Err(RequestError::Invalid(format!("Unsupported {nothing} {what} for column {name}")))
        };
        let value = |operand: &'a Operand| given(operand, "value");
        let test = match &self.test {
            Test::Entry { key, value: entry } => BoundTest::Entry { key: given(key, "map key")?, value: value(entry)? },
            Test::Same { folding, values } => {
                let missing = || RequestError::Invalid(format!("Unsupported null value for column {name}"));
                let value = operands_of(values, name, arguments, value)?.pop().ok_or_else(missing)?;
                let folded = folding.fold(&String::from_utf8_lossy(&value));
                BoundTest::Same { folding: *folding, value, folded }
            }
            Test::Compare { operator: operator @ (Operator::IsNull | Operator::IsNotNull), .. } => {
                BoundTest::Null { negated: *operator == Operator::IsNotNull }
            }
            Test::Compare { operator, values } => {
                let mut values = operands_of(values, name, arguments, value)?;
                match operator {
                    Operator::In | Operator::NotIn => BoundTest::In { values, negated: *operator == Operator::NotIn },
                    operator => {
                        let missing = || RequestError::Invalid(format!("Unsupported null value for column {name}"));
                        let value = values.pop().ok_or_else(missing)?;
                        let (key, negated) = (
                            matches!(operator, Operator::ContainsKey | Operator::NotContainsKey),
                            matches!(operator, Operator::NotContains | Operator::NotContainsKey),
                        );
                        match operator {
                            Operator::Like => BoundTest::Like(Pattern::parse(&value)?),
                            Operator::Contains
                            | Operator::ContainsKey
                            | Operator::NotContains
                            | Operator::NotContainsKey => BoundTest::Contains { value, key, negated },
                            other => BoundTest::Compare(*other, value),
                        }
                    }
                }
            }
        };
        Ok(Filter { column: self.column, test })
    }
}

/// A value as CQL writes it.
fn shown(cql_type: &CqlType, wire: &[u8]) -> String {
    let value = Value::from_wire(cql_type, wire).map(|value| value.to_cql_literal());
    shortened(&value.unwrap_or_else(|error| error.to_string()))
}

impl Filter {
    /// What an index is looked up by for rows that meet the condition, in wire form; `None` when none can be.
    pub(crate) fn indexed_parts(&self) -> Option<Vec<&[u8]>> {
        match &self.test {
            BoundTest::Compare(Operator::Equal, value)
            | BoundTest::Same { value, .. }
            | BoundTest::Contains { value, negated: false, .. } => Some(vec![value]),
            BoundTest::Entry { key, value } => Some(vec![key, value]),
            _ => None,
        }
    }

    /// The ends of a range of values that meet the condition, in wire form, each true when it is in the range; `None`
    /// when the condition is no range.
    #[allow(clippy::type_complexity, reason = "two ends of one range")]
    pub(crate) fn indexed_bounds(&self) -> Option<(Option<(&[u8], bool)>, Option<(&[u8], bool)>)> {
        let BoundTest::Compare(operator, value) = &self.test else { return None };
        Some(match operator {
            Operator::Greater => (Some((value, false)), None),
            Operator::GreaterOrEqual => (Some((value, true)), None),
            Operator::Less => (None, Some((value, false))),
            Operator::LessOrEqual => (None, Some((value, true))),
            _ => return None,
        })
    }

    /// The condition as CQL writes it.
    pub(crate) fn described(&self, column: &Column) -> String {
        let (name, own) = (&column.name, &column.cql_type);
        let not = |negated: bool| if negated { "NOT " } else { "" };
        match &self.test {
            BoundTest::Compare(operator, value) => format!("{name} {} {}", operator.symbol(), shown(own, value)),
            BoundTest::Same { value, .. } => format!("{name} = {}, as its index sees it", shown(own, value)),
            BoundTest::In { values, negated } => {
                let values: Vec<String> = values.iter().map(|value| shown(own, value)).collect();
                shortened(&format!("{name} {}IN ({})", not(*negated), values.join(", ")))
            }
            BoundTest::Contains { value, key, negated } => {
                let element = match own {
                    CqlType::Map { entry, .. } if *key => &entry.0,
                    CqlType::Map { entry, .. } => &entry.1,
                    CqlType::List { element, .. } | CqlType::Set { element, .. } => element.as_ref(),
                    other => other,
                };
                let word = if *key { "CONTAINS KEY" } else { "CONTAINS" };
                format!("{name} {}{word} {}", not(*negated), shown(element, value))
            }
            BoundTest::Entry { key, value } => match own {
                CqlType::Map { entry, .. } => format!("{name}[{}] = {}", shown(&entry.0, key), shown(&entry.1, value)),
                _ => name.clone(),
            },
            BoundTest::Null { negated } => format!("{name} IS {}NULL", not(*negated)),
            BoundTest::Like(Pattern { text, open_start, open_end }) => {
                let open = |open: bool| if open { "%" } else { "" };
                let text = String::from_utf8_lossy(text);
                shortened(&format!("{name} LIKE '{}{text}{}'", open(*open_start), open(*open_end)))
            }
        }
    }

    /// True for a value of `cql_type` that the condition admits; null meets none but that of not containing, and that
    /// of being null.
    ///
    /// # Errors
    /// `Server`, when what is stored is not of its type.
    pub(crate) fn admits(&self, cql_type: &CqlType, value: Option<&Bytes>) -> Result<bool, RequestError> {
        let Some(value) = value else {
            return Ok(matches!(
                self.test,
                BoundTest::Contains { negated: true, .. } | BoundTest::Null { negated: false }
            ));
        };
        let broken =
            |error: model::value::ValueError| RequestError::Server(format!("a stored value is broken: {error}"));
        Ok(match &self.test {
            BoundTest::Compare(operator, other) => {
                let order = compare(cql_type, value, other);
                match operator {
                    Operator::Equal => order.is_eq(),
                    Operator::NotEqual => order.is_ne(),
                    Operator::Less => order.is_lt(),
                    Operator::LessOrEqual => order.is_le(),
                    Operator::Greater => order.is_gt(),
                    Operator::GreaterOrEqual => order.is_ge(),
                    _ => false,
                }
            }
            BoundTest::In { values, negated } => {
                values.iter().any(|other| compare(cql_type, value, other).is_eq()) != *negated
            }
            BoundTest::Contains { value: wanted, key, negated } => {
                let (step, element) = match cql_type {
                    CqlType::Map { entry, .. } => (2, if *key { &entry.0 } else { &entry.1 }),
                    CqlType::List { element, .. } | CqlType::Set { element, .. } => (1, element.as_ref()),
                    other => (1, other),
                };
                let skip = if step == 2 && !key { 1 } else { 0 };
                let found = parts(cql_type, value).map_err(broken)?;
                let mut found = found.into_iter().skip(skip).step_by(step).flatten();
                found.any(|part| compare(element, part, wanted).is_eq()) != *negated
            }
            BoundTest::Entry { key, value: wanted } => {
                let CqlType::Map { entry, .. } = cql_type else { return Ok(false) };
                let found = parts(cql_type, value).map_err(broken)?;
                found.chunks(2).any(|pair| match pair {
                    [Some(own), Some(value)] => {
                        compare(&entry.0, own, key).is_eq() && compare(&entry.1, value, wanted).is_eq()
                    }
                    _ => false,
                })
            }
            BoundTest::Like(pattern) => pattern.matches(value),
            BoundTest::Same { folding, folded, .. } => folding.fold(&String::from_utf8_lossy(value)) == *folded,
            BoundTest::Null { negated } => *negated,
        })
    }
}
