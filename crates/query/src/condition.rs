//! IF: what a conditional write asks of the row as it is.
//!
//! The rules are Cassandra's (`ColumnCondition`): null is equal to null and to nothing else, nothing is less or greater
//! than null, and a collection of many cells without elements is null.

use crate::ast::{Comparand, Condition, Operator, Relation, Subject};
use crate::binder::Binder;
use crate::change::key_type;
use crate::operand::{Arguments, BoundValue, Operand};
use crate::restriction::Values;
use crate::source::Position;
use bytes::Bytes;
use model::element;
use model::schema::{Column, ColumnKind, Table};
use model::value::{compare, parts};
use model::{CqlType, RequestError, Row};
use std::sync::Arc;

/// Which part of its column a condition is about.
#[derive(Debug)]
enum Part {
    Whole,
    /// The element at a key, or of a list at an index.
    Element(Operand),
    Field(u16),
}

/// `column operator values`.
#[derive(Debug)]
pub(crate) struct ColumnConditionPlan {
    /// The column's place in the table.
    column: usize,
    part: Part,
    /// The type of what is compared.
    cql_type: CqlType,
    operator: Operator,
    values: Values,
}

/// The conditions of a statement, before values are bound.
#[derive(Debug)]
pub(crate) enum ConditionsPlan {
    /// IF EXISTS.
    Exists,
    /// IF NOT EXISTS.
    NotExists,
    /// All of them.
    Columns(Vec<ColumnConditionPlan>),
}

/// A condition whose values are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ColumnCondition {
    column: usize,
    /// The key or index of the element.
    element: Option<Bytes>,
    field: Option<u16>,
    cql_type: CqlType,
    operator: Operator,
    /// With IN several; `None` for null.
    values: Vec<Option<Bytes>>,
}

/// The conditions of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Conditions {
    Exists,
    NotExists,
    Columns(Vec<ColumnCondition>),
}

fn invalid<T>(message: impl Into<String>) -> Result<T, RequestError> {
    Err(RequestError::Invalid(message.into()))
}

impl Binder<'_> {
    /// The plan of what follows IF.
    pub(crate) fn conditions(&mut self, table: &Table, condition: &Condition) -> Result<ConditionsPlan, RequestError> {
        match condition {
            Condition::Exists => Ok(ConditionsPlan::Exists),
            Condition::Relations(relations) => {
                let plans = relations.iter().map(|relation| self.column_condition(table, relation));
                plans.collect::<Result<_, _>>().map(ConditionsPlan::Columns)
            }
        }
    }

    fn column_condition(&mut self, table: &Table, relation: &Relation) -> Result<ColumnConditionPlan, RequestError> {
        let (at, operator) = (relation.subject.at(), relation.operator);
        let name = match &relation.subject {
            Subject::Column(name) | Subject::Element { column: name, .. } | Subject::Field { column: name, .. } => name,
            Subject::Columns(_) | Subject::Token(_) => {
                return Err(self.source.invalid(at, "A condition is about one column"));
            }
        };
        let column = self.column(table, name)?;
        let place = table.columns.iter().position(|known| known.id == column.id).unwrap_or_default();
        if matches!(column.kind, ColumnKind::PartitionKey(_) | ColumnKind::Clustering(..)) {
            let message = format!("PRIMARY KEY column '{}' cannot have IF conditions", column.name);
            return Err(self.source.invalid(at, message));
        }
        let (part, receiver, whole) = self.condition_part(table, column, relation)?;
        let cql_type = self.compared_type(column, &whole, operator, at)?;
        let values = self.condition_values(table, &receiver, &cql_type, relation)?;
        let cql_type = if matches!(operator, Operator::Contains | Operator::ContainsKey) { whole } else { cql_type };
        Ok(ColumnConditionPlan { column: place, part, cql_type, operator, values })
    }

    /// The part of the column, how a parameter for it is named, and its type.
    fn condition_part(
        &mut self,
        table: &Table,
        column: &Column,
        relation: &Relation,
    ) -> Result<(Part, String, CqlType), RequestError> {
        let (name, cql_type, at) = (&column.name, &column.cql_type, relation.subject.at());
        match &relation.subject {
            Subject::Element { key, .. } => match cql_type {
                CqlType::Map { entry, .. } => {
                    let key = self.operand(table, key, &format!("key({name})"), &entry.0)?;
                    Ok((Part::Element(key), format!("value({name})"), entry.1.clone()))
                }
                CqlType::List { element, .. } => {
                    let index = self.operand(table, key, &format!("idx({name})"), &CqlType::Int)?;
                    Ok((Part::Element(index), format!("value({name})"), element.as_ref().clone()))
                }
                CqlType::Set { .. } => {
                    Err(self.source.invalid(at, format!("Invalid element access syntax for set column {name}")))
                }
                _ => {
                    let message = format!("Invalid element access syntax for non-collection column {name}");
                    Err(self.source.invalid(at, message))
                }
            },
            Subject::Field { field, .. } => {
                if !matches!(cql_type, CqlType::UserDefined { .. }) {
                    let message = format!("Invalid field access syntax for non-UDT column {name}");
                    return Err(self.source.invalid(at, message));
                }
                let (index, field_type) = self.field(column, field)?;
                Ok((Part::Field(index), format!("{name}.{}", field.text), field_type))
            }
            _ => Ok((Part::Whole, name.clone(), cql_type.clone())),
        }
    }

    /// The type that the value beside the operator must have.
    fn compared_type(
        &self,
        column: &Column,
        whole: &CqlType,
        operator: Operator,
        at: Position,
    ) -> Result<CqlType, RequestError> {
        let name = &column.name;
        let message = match (operator, whole) {
            (Operator::Equal | Operator::NotEqual | Operator::In, _) => return Ok(whole.clone()),
            (Operator::Less | Operator::LessOrEqual | Operator::Greater | Operator::GreaterOrEqual, whole) => {
                if !whole.has_duration() {
                    return Ok(whole.clone());
                }
                "Slice conditions are not supported on durations".to_owned()
            }
            (Operator::Contains, CqlType::List { element, .. } | CqlType::Set { element, .. }) => {
                return Ok(element.as_ref().clone());
            }
            (Operator::Contains, CqlType::Map { entry, .. }) => return Ok(entry.1.clone()),
            (Operator::Contains, _) => format!("Cannot use CONTAINS on non-collection column {name}"),
            (Operator::ContainsKey, CqlType::Map { entry, .. }) => return Ok(entry.0.clone()),
            (Operator::ContainsKey, _) => format!("Cannot use CONTAINS KEY on non-map column {name}"),
            (operator, _) => format!("{} conditions are not supported", operator.symbol()),
        };
        Err(self.source.invalid(at, message))
    }

    fn condition_values(
        &mut self,
        table: &Table,
        receiver: &str,
        cql_type: &CqlType,
        relation: &Relation,
    ) -> Result<Values, RequestError> {
        match &relation.comparand {
            Comparand::One(term) if relation.operator == Operator::In => {
                let list = CqlType::List { element: Arc::new(cql_type.freeze()), frozen: true };
                Ok(Values::List(self.operand(table, term, &format!("in({receiver})"), &list)?))
            }
            Comparand::One(term) => Ok(Values::One(self.operand(table, term, receiver, cql_type)?)),
            Comparand::Many(terms) => {
                let operands = terms.iter().map(|term| self.operand(table, term, receiver, cql_type));
                Ok(Values::Many(operands.collect::<Result<_, _>>()?))
            }
            Comparand::Nothing => Err(self.source.invalid(relation.at, "A condition compares with a value")),
        }
    }
}

impl ConditionsPlan {
    /// True when they are about static columns, or about others.
    pub(crate) fn is_about(&self, table: &Table, of_static: bool) -> bool {
        let ConditionsPlan::Columns(conditions) = self else { return false };
        let is_static = |condition: &ColumnConditionPlan| table.columns[condition.column].kind == ColumnKind::Static;
        conditions.iter().any(|condition| is_static(condition) == of_static)
    }

    /// The conditions with their values.
    ///
    /// # Errors
    /// `Invalid`, when one is unset, or null where that is not allowed.
    pub(crate) fn bind(&self, arguments: Arguments<'_>) -> Result<Conditions, RequestError> {
        Ok(match self {
            ConditionsPlan::Exists => Conditions::Exists,
            ConditionsPlan::NotExists => Conditions::NotExists,
            ConditionsPlan::Columns(plans) => {
                Conditions::Columns(plans.iter().map(|plan| plan.bind(arguments)).collect::<Result<_, _>>()?)
            }
        })
    }
}

impl ColumnConditionPlan {
    fn bind(&self, arguments: Arguments<'_>) -> Result<ColumnCondition, RequestError> {
        let value = |operand: &Operand| match arguments.value(operand)?.into_owned() {
            BoundValue::Value(value) => Ok(Some(value)),
            BoundValue::Null => Ok(None),
            BoundValue::Unset => invalid("Invalid 'unset' value in condition"),
        };
        let values = match &self.values {
            Values::One(operand) => vec![value(operand)?],
            Values::Many(operands) => operands.iter().map(value).collect::<Result<_, _>>()?,
            Values::List(operand) => {
                let Some(list) = value(operand)? else { return invalid("Invalid null list in IN condition") };
                let element = self.cql_type.freeze();
                let list_type = CqlType::List { element: Arc::new(element), frozen: true };
                let found = parts(&list_type, &list).map_err(|error| RequestError::Invalid(error.0))?;
                found.into_iter().map(|part| part.map(Bytes::copy_from_slice)).collect()
            }
        };
        let takes_null = matches!(self.operator, Operator::Equal | Operator::NotEqual | Operator::In);
        if !takes_null && values.iter().any(Option::is_none) {
            let operator = self.operator.symbol();
            return invalid(format!("Invalid comparison with null for operator \"{operator}\""));
        }
        let element = match &self.part {
            Part::Element(key) => match value(key)? {
                Some(key) => Some(key),
                None => return invalid("Invalid null value for element access"),
            },
            _ => None,
        };
        let field = if let Part::Field(index) = self.part { Some(index) } else { None };
        let (column, cql_type, operator) = (self.column, self.cql_type.clone(), self.operator);
        Ok(ColumnCondition { column, element, field, cql_type, operator, values })
    }
}

impl Conditions {
    /// Whether the conditions are met by the row, and by the static row of its partition, as a reader at `now_seconds`
    /// sees them.
    ///
    /// # Errors
    /// `Invalid` for an index of a list below 0; `Server` when what is stored is not of its type.
    pub(crate) fn evaluate(
        &self,
        table: &Table,
        row: Option<&Row>,
        static_row: Option<&Row>,
        now_seconds: i64,
    ) -> Result<bool, RequestError> {
        let exists = row.is_some_and(|row| row.is_live(now_seconds));
        let conditions = match self {
            Conditions::Exists => return Ok(exists),
            Conditions::NotExists => return Ok(!exists),
            Conditions::Columns(conditions) => conditions,
        };
        for condition in conditions {
            let column = &table.columns[condition.column];
            let holder = if column.kind == ColumnKind::Static { static_row } else { row };
            if !condition.admits(column, holder, now_seconds)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// True for IF EXISTS and IF NOT EXISTS.
    pub(crate) fn is_of_existence(&self) -> bool {
        matches!(self, Conditions::Exists | Conditions::NotExists)
    }

    /// True when they need the row, and not the static columns alone.
    pub(crate) fn needs_row(&self, table: &Table) -> bool {
        match self {
            Conditions::Exists | Conditions::NotExists => true,
            Conditions::Columns(conditions) => {
                conditions.iter().any(|condition| table.columns[condition.column].kind != ColumnKind::Static)
            }
        }
    }

    /// The columns that a refusal shows, by their places in the table, each once: as Cassandra has it in the order of
    /// the conditions, those of static columns behind the others.
    pub(crate) fn columns(&self, table: &Table) -> Vec<usize> {
        let Conditions::Columns(conditions) = self else { return Vec::new() };
        let mut columns: Vec<usize> = Vec::new();
        for of_static in [false, true] {
            let kind = |column: usize| (table.columns[column].kind == ColumnKind::Static) == of_static;
            for column in conditions.iter().map(|condition| condition.column).filter(|column| kind(*column)) {
                if !columns.contains(&column) {
                    columns.push(column);
                }
            }
        }
        columns
    }
}

/// The value of a column that is no part of the primary key, as a reader at `now_seconds` sees it in the row, or the
/// static row, that has it.
///
/// # Errors
/// `Server` when what is stored is not of its type.
pub(crate) fn column_value(
    column: &Column,
    row: Option<&Row>,
    now_seconds: i64,
) -> Result<Option<Bytes>, RequestError> {
    let Some(row) = row else { return Ok(None) };
    if !column.cql_type.is_complex() {
        return Ok(row.cell(column.id).and_then(|cell| cell.value(now_seconds).cloned()));
    }
    match row.complex_column(column.id) {
        None => Ok(None),
        Some(cells) => element::value(&column.cql_type, cells, now_seconds).map_err(broken),
    }
}

fn broken(error: impl std::fmt::Display) -> RequestError {
    RequestError::Server(format!("a stored value cannot be read: {error}"))
}

impl ColumnCondition {
    fn admits(&self, column: &Column, row: Option<&Row>, now_seconds: i64) -> Result<bool, RequestError> {
        let whole = column_value(column, row, now_seconds)?;
        let current = self.part_of(&column.cql_type, whole)?;
        match self.operator {
            Operator::Contains | Operator::ContainsKey => self.is_contained(current),
            operator => Ok(self.values.iter().any(|value| self.holds(operator, current.as_ref(), value.as_ref()))),
        }
    }

    fn part_of(&self, cql_type: &CqlType, whole: Option<Bytes>) -> Result<Option<Bytes>, RequestError> {
        let Some(wire) = whole else { return Ok(None) };
        if let Some(index) = self.field {
            let fields = parts(cql_type, &wire).map_err(broken)?;
            return Ok(fields.get(usize::from(index)).copied().flatten().map(Bytes::copy_from_slice));
        }
        let Some(key) = &self.element else { return Ok(Some(wire)) };
        let found = parts(cql_type, &wire).map_err(broken)?;
        let found = match cql_type {
            CqlType::Map { .. } => {
                let is = |own: &Option<&[u8]>| own.is_some_and(|own| compare(key_type(cql_type), own, key).is_eq());
                found.chunks(2).find(|entry| is(&entry[0])).and_then(|entry| entry.get(1).copied().flatten())
            }
            _ => {
                let index = <[u8; 4]>::try_from(key.as_ref()).map(i32::from_be_bytes).unwrap_or_default();
                let Ok(index) = usize::try_from(index) else {
                    return invalid(format!("Invalid negative list index {index}"));
                };
                found.get(index).copied().flatten()
            }
        };
        Ok(found.map(Bytes::copy_from_slice))
    }

    /// Whether one value stands to the current one as the operator says; IN asks each value for equality.
    fn holds(&self, operator: Operator, current: Option<&Bytes>, value: Option<&Bytes>) -> bool {
        // What has no element is null, as a value too.
        let is_empty = |value: &&Bytes| self.cql_type.is_multi_cell() && value.iter().all(|byte| *byte == 0);
        let value = value.filter(|value| !is_empty(value));
        let (Some(current), Some(value)) = (current, value) else {
            let both = current.is_none() && value.is_none();
            return match operator {
                Operator::Equal | Operator::In => both,
                Operator::NotEqual => !both,
                _ => false,
            };
        };
        let order = compare(&self.cql_type, current, value);
        match operator {
            Operator::Equal | Operator::In => order.is_eq(),
            Operator::NotEqual => order.is_ne(),
            Operator::Less => order.is_lt(),
            Operator::LessOrEqual => order.is_le(),
            Operator::Greater => order.is_gt(),
            Operator::GreaterOrEqual => order.is_ge(),
            _ => false,
        }
    }

    fn is_contained(&self, current: Option<Bytes>) -> Result<bool, RequestError> {
        let (Some(current), [Some(wanted)]) = (current, self.values.as_slice()) else { return Ok(false) };
        let found = parts(&self.cql_type, &current).map_err(broken)?;
        let is_key = self.operator == Operator::ContainsKey;
        let (element, skip, step) = match &self.cql_type {
            CqlType::Map { entry, .. } if is_key => (&entry.0, 0, 2),
            CqlType::Map { entry, .. } => (&entry.1, 1, 2),
            other => (key_type(other), 0, 1),
        };
        let mut parts = found.into_iter().skip(skip).step_by(step).flatten();
        Ok(parts.any(|part| compare(element, part, wanted).is_eq()))
    }
}

#[cfg(test)]
#[path = "condition_tests.rs"]
mod tests;
