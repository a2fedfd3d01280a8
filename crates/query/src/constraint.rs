//! CHECK: from the conditions of a definition to those of the schema, and whether what a statement writes meets them.
//!
//! The conditions and the words are those of Cassandra 6. What is asked is asked of the statement, not of the row: a
//! value that was written before there was a constraint stays. Of an expression that is added to what is stored, such
//! as an element of a list, only NOT NULL is asked, and it is content.

use crate::ast::{CheckDefinition, CheckKind, Literal, LiteralKind, Name, Operator};
use crate::change::{Before, BoundChange, Change};
use crate::json::Json;
use crate::operand::constant;
use crate::restriction::Rows;
use crate::source::{Position, Source, shortened};
use crate::write::{Changes, WriteKind};
use bytes::Bytes;
use model::key::decode_clustering;
use model::schema::{Check, Column, ColumnKind, Comparison, Table};
use model::value::{compare, is_empty_value};
use model::{ColumnId, CqlType, PartitionKey, RequestError, Value};
use regex::Regex;
use std::cell::RefCell;
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// Most bytes that a compiled regular expression may take.
const REGEXP_BYTES_MAX: usize = 256 * 1024;
/// Compiled expressions that a thread keeps.
const COMPILED_MAX: usize = 32;

/// What the conditions behind CHECK say of `column`.
///
/// # Errors
/// `Invalid` for a condition that there is not, that is of another column or type, that stands twice, or that no value
/// can meet together with the others.
pub(crate) fn checks_of(
    source: Source<'_>,
    column: &Column,
    definitions: &[CheckDefinition],
) -> Result<Vec<Check>, RequestError> {
    let mut checks: Vec<Check> = Vec::with_capacity(definitions.len());
    for CheckDefinition { kind, at } in definitions {
        let check = check_of(source, column, kind, *at)?;
        check.check_column(column).map_err(|error| source.place(*at, error))?;
        if let Some(problem) = checks.iter().find_map(|before| contradiction(&column.cql_type, before, &check)) {
            let (before, check) = (problem.to_cql(column), check.to_cql(column));
            let message = format!(
                "Constraints of column '{}' are not satisfiable, or are given twice: {before}, {check}",
                column.name
            );
            return Err(source.invalid(*at, message));
        }
        checks.push(check);
    }
    Ok(checks)
}

fn comparison_of(operator: Operator) -> Option<Comparison> {
    Some(match operator {
        Operator::Equal => Comparison::Equal,
        Operator::NotEqual => Comparison::NotEqual,
        Operator::Less => Comparison::Less,
        Operator::LessOrEqual => Comparison::LessOrEqual,
        Operator::Greater => Comparison::Greater,
        Operator::GreaterOrEqual => Comparison::GreaterOrEqual,
        _ => return None,
    })
}

fn check_of(source: Source<'_>, column: &Column, kind: &CheckKind, at: Position) -> Result<Check, RequestError> {
    let own = |named: Option<&Name>| match named {
        Some(name) if name.text != column.name => {
            let message = format!(
                "Constraint was not specified on a column it operates on: '{}' is not '{}'",
                shortened(&name.text),
                column.name
            );
            Err(source.invalid(name.at, message))
        }
        _ => Ok(()),
    };
    let unknown = |name: &Name| source.invalid(name.at, format!("Unrecognized constraint function: {}", name.text));
    let of = |operator: Operator| {
        let refused = || source.invalid(at, format!("Unsupported operator {} of a constraint", operator.symbol()));
        comparison_of(operator).ok_or_else(refused)
    };
    match kind {
        CheckKind::NotNull => Ok(Check::NotNull),
        CheckKind::Predicate { name, column: named } => {
            own(named.as_ref())?;
            match name.text.as_str() {
                "json" => Ok(Check::Json),
                "not_null" => Ok(Check::NotNull),
                _ => Err(unknown(name)),
            }
        }
        CheckKind::Value { column: named, operator, bound } => {
            own(Some(named))?;
            let number = constant(bound, &column.name, &column.cql_type);
            let (name, shown) = (&column.name, shortened(&bound.text));
            let bound = number.map_err(|_| source.invalid(at, format!("{name} and {shown} need to be numbers.")))?;
            Ok(Check::Value { comparison: of(*operator)?, bound })
        }
        CheckKind::Function { name, column: named, operator, bound } => {
            own(named.as_ref())?;
            let comparison = of(*operator)?;
            match name.text.as_str() {
                "length" => Ok(Check::Length { comparison, bound: length_of(source, bound, at)? }),
                "octet_length" => Ok(Check::OctetLength { comparison, bound: length_of(source, bound, at)? }),
                "regexp" => regexp_of(source, comparison, bound, at),
                _ => Err(unknown(name)),
            }
        }
    }
}

fn length_of(source: Source<'_>, literal: &Literal, at: Position) -> Result<u32, RequestError> {
    let number = Some(&literal.text).filter(|_| literal.kind == LiteralKind::Integer);
    let number = number.and_then(|text| text.parse::<i32>().ok()).and_then(|number| u32::try_from(number).ok());
    number.ok_or_else(|| {
        let shown = shortened(&literal.text);
        source.invalid(at, format!("A length is compared with a number of at least 0, not with '{shown}'"))
    })
}

fn regexp_of(
    source: Source<'_>,
    comparison: Comparison,
    literal: &Literal,
    at: Position,
) -> Result<Check, RequestError> {
    let negated = match comparison {
        Comparison::Equal => false,
        Comparison::NotEqual => true,
        other => {
            let message = format!("REGEXP constraint supports only = and !=, and not {}", other.symbol());
            return Err(source.invalid(at, message));
        }
    };
    if literal.kind != LiteralKind::String {
        return Err(source.invalid(at, "REGEXP is compared with a text"));
    }
    compiled(&literal.text).map_err(|message| source.invalid(at, message))?;
    Ok(Check::Regexp { pattern: literal.text.clone(), negated })
}

/// The expression that a whole text is matched with.
fn compiled(pattern: &str) -> Result<Regex, String> {
    let build = |text: &str| {
        let mut builder = regex::RegexBuilder::new(text);
        builder.dot_matches_new_line(false).size_limit(REGEXP_BYTES_MAX).dfa_size_limit(REGEXP_BYTES_MAX);
        builder.build()
    };
    // By itself first: a pattern is not whole because what is put around it makes it so.
    let built = build(pattern).and_then(|_| build(&format!("^(?:{pattern})$")));
    built.map_err(|error| {
        let reason = error.to_string();
        let reason = reason.lines().last().unwrap_or_default().trim_start_matches("error: ");
        format!("String '{}' is not a valid regular expression: {reason}", shortened(pattern))
    })
}

thread_local! {
    /// Compiled expressions, by their patterns: one takes many times the memory of a statement, and every statement of
    /// a table asks for those of the table.
    static COMPILED: RefCell<BTreeMap<String, Regex>> = const { RefCell::new(BTreeMap::new()) };
}

/// True when `text` as a whole is of this pattern.
fn is_match(pattern: &str, text: &str) -> Result<bool, RequestError> {
    COMPILED.with_borrow_mut(|compiled_before| {
        if !compiled_before.contains_key(pattern) {
            let expression = compiled(pattern).map_err(RequestError::Invalid)?;
            if compiled_before.len() >= COMPILED_MAX {
                compiled_before.clear();
            }
            compiled_before.insert(pattern.to_owned(), expression);
        }
        Ok(compiled_before[pattern].is_match(text))
    })
}

/// The first of two conditions, when it says the same as the second does, or no value can meet both.
fn contradiction<'c>(cql_type: &CqlType, first: &'c Check, second: &Check) -> Option<&'c Check> {
    let apart = |a: Comparison, b: Comparison, order: Ordering| {
        use Comparison as C;
        match (a, b) {
            // Each value beside one that is not allowed is allowed; several such may be named.
            (C::NotEqual, C::NotEqual) => order.is_eq(),
            (C::NotEqual, C::Equal) | (C::Equal, C::NotEqual) => order.is_eq(),
            (C::NotEqual, _) | (_, C::NotEqual) => false,
            (C::Equal, b) => b == C::Equal || !b.admits(order),
            (a, C::Equal) => !a.admits(order.reverse()),
            (C::Less | C::LessOrEqual, C::Less | C::LessOrEqual) => true,
            (C::Greater | C::GreaterOrEqual, C::Greater | C::GreaterOrEqual) => true,
            // The upper end is the first one: it must not be below the other.
            (C::LessOrEqual, C::GreaterOrEqual) => order.is_lt(),
            (C::Less | C::LessOrEqual, _) => order.is_le(),
            (C::GreaterOrEqual, C::LessOrEqual) => order.is_gt(),
            (C::Greater | C::GreaterOrEqual, _) => order.is_ge(),
        }
    };
    let found = match (first, second) {
        (Check::Value { comparison: a, bound: x }, Check::Value { comparison: b, bound: y }) => {
            apart(*a, *b, compare(cql_type, x, y))
        }
        (Check::Length { comparison: a, bound: x }, Check::Length { comparison: b, bound: y })
        | (Check::OctetLength { comparison: a, bound: x }, Check::OctetLength { comparison: b, bound: y }) => {
            apart(*a, *b, x.cmp(y))
        }
        (first, second) => first == second,
    };
    found.then_some(first)
}

/// What a statement must write.
#[derive(Debug, Default)]
pub(crate) struct Constraints {
    /// The places of columns in the table, and what their values must be.
    checks: Vec<(usize, Check)>,
    /// The places of columns that the statement must give a value.
    required: Vec<usize>,
}

impl Constraints {
    /// Those of a statement that makes these changes.
    ///
    /// # Errors
    /// `Invalid`, in Cassandra's words, when it leaves a column out that is NOT NULL, or deletes its value.
    pub(crate) fn of(
        table: &Table,
        kind: WriteKind,
        only_static: bool,
        static_changes: &Changes,
        changes: &Changes,
    ) -> Result<Constraints, RequestError> {
        let mut constraints = Constraints::default();
        if table.constraints.is_empty() || kind == WriteKind::DeleteRows {
            return Ok(constraints);
        }
        let written = |index: usize| static_changes.iter().chain(changes).find(|(own, _)| *own == index);
        // A deletion of columns gives none of them a value.
        let deletes = static_changes.iter().chain(changes).all(|(_, change)| change.is_deletion());
        let deletes = deletes && kind == WriteKind::Update;
        for (index, column) in table.columns.iter().enumerate() {
            let is_key = matches!(column.kind, ColumnKind::PartitionKey(_) | ColumnKind::Clustering(..));
            let in_written_row = match column.kind {
                ColumnKind::Static => !static_changes.is_empty(),
                _ => !only_static,
            };
            for check in table.checks(column.id) {
                let not_null = *check == Check::NotNull;
                match written(index) {
                    Some((_, Change::Delete)) if not_null => {
                        let message = format!("Column '{}' can not be set to null.", column.name);
                        return Err(RequestError::Invalid(message));
                    }
                    _ if deletes => {}
                    None if not_null && in_written_row => return Err(missing(column)),
                    None if !is_key => {}
                    given => {
                        if given.is_some() && not_null {
                            constraints.required.push(index);
                        }
                        constraints.checks.push((index, check.clone()));
                    }
                }
            }
        }
        Ok(constraints)
    }

    /// Asks what is written to rows of these partitions.
    ///
    /// # Errors
    /// `Invalid`, in Cassandra's words.
    pub(crate) fn check(
        &self,
        table: &Table,
        partitions: &[PartitionKey],
        rows: &[Rows],
        static_changes: &[(ColumnId, BoundChange)],
        changes: &[(ColumnId, BoundChange)],
    ) -> Result<(), RequestError> {
        // A parameter may be unset.
        let given = |column: &Column| static_changes.iter().chain(changes).any(|(own, _)| *own == column.id);
        let unset = self.required.iter().map(|index| &table.columns[*index]).find(|column| !given(column));
        unset.map_or(Ok(()), |column| Err(missing(column)))?;
        self.check_keys(table, partitions, rows)?;
        self.check_values(table, static_changes)?;
        self.check_values(table, changes)
    }

    /// Asks what is written to columns outside of the key.
    fn check_values(&self, table: &Table, changes: &[(ColumnId, BoundChange)]) -> Result<(), RequestError> {
        for (index, check) in &self.checks {
            let column = &table.columns[*index];
            for (_, change) in changes.iter().filter(|(own, _)| *own == column.id) {
                match change {
                    BoundChange::Cell(value) => ask(check, column, value.as_ref())?,
                    BoundChange::Elements { before: Before::Overwritten, cells } if cells.is_empty() => {
                        ask(check, column, None)?;
                    }
                    BoundChange::Elements { .. } | BoundChange::OfPresent(_) => {}
                    // Counters have no constraints.
                    BoundChange::Count(_) | BoundChange::EndCount => {}
                }
            }
        }
        Ok(())
    }

    /// Asks the keys of the rows that are written.
    fn check_keys(&self, table: &Table, partitions: &[PartitionKey], rows: &[Rows]) -> Result<(), RequestError> {
        let broken = |error: model::codec::CodecError| RequestError::Server(format!("a key cannot be read: {error}"));
        for (index, check) in &self.checks {
            let column = &table.columns[*index];
            match column.kind {
                ColumnKind::PartitionKey(position) => {
                    for partition in partitions {
                        let components = partition.components(table.partition_key().count()).map_err(broken)?;
                        ask(check, column, components.get(position as usize))?;
                    }
                }
                ColumnKind::Clustering(position, _) => {
                    for row in rows {
                        let Rows::One(clustering) = row else { continue };
                        let values = decode_clustering(table, clustering).map_err(broken)?;
                        ask(check, column, values.get(position as usize))?;
                    }
                }
                ColumnKind::Static | ColumnKind::Regular => {}
            }
        }
        Ok(())
    }
}

fn missing(column: &Column) -> RequestError {
    RequestError::Invalid(format!("Column '{}' has to be specified as part of this query.", column.name))
}

/// Asks a value of `column`.
fn ask(check: &Check, column: &Column, value: Option<&Bytes>) -> Result<(), RequestError> {
    let Column { name, cql_type, .. } = column;
    let violated = |what: String| {
        Err(RequestError::Invalid(format!("Column value does not satisfy value constraint for column '{name}'{what}")))
    };
    let Some(value) = value.filter(|value| !is_empty_value(cql_type, value)) else {
        return violated(" as it is null.".to_owned());
    };
    let text = || std::str::from_utf8(value).unwrap_or_default();
    match check {
        Check::Value { comparison, bound } if !comparison.admits(compare(cql_type, value, bound)) => {
            let bound = Value::from_wire(cql_type, bound).map(|value| value.to_cql_literal()).unwrap_or_default();
            violated(format!(". It should be {name} {} {bound}", comparison.symbol()))
        }
        Check::Length { comparison, bound } | Check::OctetLength { comparison, bound } => {
            let is_text = matches!(check, Check::Length { .. }) && *cql_type != CqlType::Blob;
            let length = if is_text { text().chars().count() } else { value.len() };
            if comparison.admits(length.cmp(&(*bound as usize))) {
                return Ok(());
            }
            violated(format!(". It has a length of {length} and it should be {} {bound}", comparison.symbol()))
        }
        Check::Regexp { pattern, negated } if is_match(pattern, text())? == *negated => {
            let does = if *negated { "matches" } else { "does not match" };
            violated(format!(". The value {does} regular expression '{}'", shortened(pattern)))
        }
        Check::Json => match Json::parse(text()) {
            Ok(_) => Ok(()),
            Err(_) => violated(". It is not valid JSON".to_owned()),
        },
        Check::Value { .. } | Check::Regexp { .. } | Check::NotNull => Ok(()),
    }
}

#[cfg(test)]
#[path = "constraint_tests.rs"]
mod tests;
