//! What a write does to one column of a row: the plan, and the plan with its values.
//!
//! | column | whole value | element by element |
//! |---|---|---|
//! | of one cell | a cell | - |
//! | list | older elements are deleted, new ones put | elements are put behind or before all others [1] |
//! | set, map | likewise | elements are put or deleted by their keys |
//! | user-defined type | likewise | fields are put or deleted |
//! | counter | deleted for good | an increment is added |
//!
//! [1] Those that are found by their place or value are set or deleted once the list was read.
//!
//! A list's elements are ordered by the timeuuids under which they lie. Those that are put before all others get one
//! whose time is as far before a fixed moment as the present is after it, as in Cassandra: the later, the smaller.

use crate::operand::{Arguments, BoundValue, Operand};
use bytes::Bytes;
use model::deletion::Deletion;
use model::element::{elements, field_path, key_path, list_path};
use model::row::Expiry;
use model::schema::Column;
use model::time_uuid::{of_ticks, ticks};
use model::types::CqlType;
use model::value::{compare, parts};
use model::{Cell, ComplexColumn, RequestError};

/// A change of a column, before values are bound.
#[derive(Debug)]
pub(crate) enum Change {
    /// `c = value`.
    Set(Operand),
    /// `DELETE c`.
    Delete,
    /// `c = c + value`: of a list behind all others.
    Add(Operand),
    /// `c = value + c` of a list.
    Prepend(Operand),
    /// `c = c - value` of a set or a map; the value is a set of keys.
    Remove(Operand),
    /// `c[key] = value` of a map.
    SetElement { key: Operand, value: Operand },
    /// `DELETE c[key]` of a set or a map.
    DeleteElement(Operand),
    /// `c.field = value`, by the field's index.
    SetField { index: u16, value: Operand },
    /// `DELETE c.field`.
    DeleteField(u16),
    /// `c[index] = value` of a list.
    SetIndex { index: Operand, value: Operand },
    /// `DELETE c[index]` of a list.
    DeleteIndex(Operand),
    /// `c = c - value` of a list: all elements that are equal to one of these.
    RemoveValues(Operand),
    /// `c = c + value` of a counter, or `c = c - value`.
    Count { by: Operand, negated: bool },
}

/// A change of a column whose values are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BoundChange {
    /// The cell of a column of one cell; `None` deletes it.
    Cell(Option<Bytes>),
    /// The cells of a complex column.
    Elements {
        before: Before,
        /// Path and value; `None` deletes.
        cells: Vec<(Bytes, Option<Bytes>)>,
    },
    /// Cells of a list that are found by what the list is at present: it must be read first.
    OfPresent(OfPresent),
    /// So much is added to a counter.
    Count(i64),
    /// A counter is deleted for good.
    EndCount,
}

/// A change of elements of a list that are found by their place or value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OfPresent {
    /// The element at this place is another; `None` deletes it.
    Set { index: i32, value: Option<Bytes> },
    /// The element at this place is deleted.
    Delete { index: i32 },
    /// All elements with one of these values, of this type, are deleted.
    Remove { element: CqlType, values: Vec<Bytes> },
}

impl BoundChange {
    /// Bytes of its paths and values.
    pub(crate) fn bytes(&self) -> usize {
        let length = |value: &Option<Bytes>| value.as_ref().map_or(0, Bytes::len);
        match self {
            BoundChange::Cell(value) => length(value),
            BoundChange::Elements { cells, .. } => cells.iter().map(|(path, value)| path.len() + length(value)).sum(),
            BoundChange::OfPresent(OfPresent::Set { value, .. }) => length(value),
            BoundChange::OfPresent(OfPresent::Delete { .. }) => 0,
            BoundChange::OfPresent(OfPresent::Remove { values, .. }) => values.iter().map(Bytes::len).sum(),
            BoundChange::Count(by) => size_of_val(by),
            BoundChange::EndCount => 0,
        }
    }

    /// Orders what is added to a list by `timestamp` in microseconds; `drawn` elements of the same write come before.
    pub(crate) fn order_at(&mut self, timestamp: i64, drawn: &mut i64) {
        let BoundChange::Elements { cells, .. } = self else { return };
        let ticks_of = |path: &Bytes| path.first_chunk().map(|high| (u64::from_be_bytes(*high) & TICKS_MASK) as i64);
        let is_prepended = cells.iter().any(|(path, _)| ticks_of(path).is_some_and(|ticks| ticks < MIRROR_TICKS));
        let mut order = |(path, _): &mut (Bytes, Option<Bytes>)| {
            let ticks = timestamp.saturating_mul(10).saturating_add(MIRROR_TICKS).saturating_add(*drawn).max(0);
            *drawn += 1;
            let ticks = if is_prepended { MIRROR_TICKS.saturating_mul(2).saturating_sub(ticks).max(0) } else { ticks };
            let high = ticks as u64 & TICKS_MASK | 1 << 60;
            let low = path.get(8..).unwrap_or_default();
            *path = Bytes::from([&high.to_be_bytes(), low].concat());
        };
        if is_prepended { cells.iter_mut().rev().for_each(&mut order) } else { cells.iter_mut().for_each(&mut order) }
    }

    /// True for elements of which none is added or taken away.
    pub(crate) fn does_nothing(&self) -> bool {
        matches!(self, BoundChange::Elements { before: Before::Kept, cells } if cells.is_empty())
    }

    /// True when the column must be read first.
    pub(crate) fn reads_first(&self) -> bool {
        matches!(self, BoundChange::OfPresent(_))
    }

    /// The change once the column is known, as a reader at `now_seconds` sees it.
    ///
    /// # Errors
    /// In Cassandra's words, when the list has no such element.
    pub(crate) fn with_present(
        &self,
        present: Option<&ComplexColumn>,
        now_seconds: i64,
    ) -> Result<BoundChange, RequestError> {
        let BoundChange::OfPresent(change) = self else { return Ok(self.clone()) };
        let cells = present.map(ComplexColumn::cells).unwrap_or_default();
        let live: Vec<(&Bytes, &Bytes)> =
            cells.iter().filter_map(|(path, cell)| Some((path, cell.value(now_seconds)?))).collect();
        let at = |index: i32, what: &str| match (usize::try_from(index), live.len()) {
            (_, 0) => Err(invalid(format!("Attempted to {what} a list which is null"))),
            (Ok(place), size) if place < size => Ok(live[place].0.clone()),
            (_, size) => Err(invalid(format!("List index {index} out of bound, list has size {size}"))),
        };
        let cells = match change {
            OfPresent::Set { index, value } => vec![(at(*index, "set an element on")?, value.clone())],
            OfPresent::Delete { index } => vec![(at(*index, "delete an element from")?, None)],
            OfPresent::Remove { element, values } => {
                let removed = |own: &Bytes| values.iter().any(|value| compare(element, own, value).is_eq());
                live.iter().filter(|(_, own)| removed(own)).map(|(path, _)| ((*path).clone(), None)).collect()
            }
        };
        Ok(BoundChange::Elements { before: Before::Kept, cells })
    }
}

/// What becomes of the elements that a complex column has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Before {
    /// They stay.
    Kept,
    /// They are deleted up to just below the timestamp, so that the new ones stay.
    Overwritten,
    /// They are deleted.
    Deleted,
}

fn invalid(message: impl Into<String>) -> RequestError {
    RequestError::Invalid(message.into())
}

impl Change {
    /// True when it has the same effect twice as once: what is added to a list is there twice.
    pub(crate) fn is_idempotent(&self, cql_type: &CqlType) -> bool {
        match self {
            Change::Add(_) | Change::Prepend(_) => !matches!(cql_type, CqlType::List { .. }),
            Change::Set(value) | Change::SetElement { value, .. } | Change::SetField { value, .. } => {
                !value.calls_functions()
            }
            Change::Delete | Change::Remove(_) | Change::DeleteElement(_) | Change::DeleteField(_) => true,
            // What is at a place, or has a value, may be another element the second time.
            Change::SetIndex { .. } | Change::DeleteIndex(_) | Change::RemoveValues(_) => false,
            Change::Count { .. } => false,
        }
    }

    /// True for a change that DELETE makes.
    pub(crate) fn is_deletion(&self) -> bool {
        matches!(self, Change::Delete | Change::DeleteElement(_) | Change::DeleteField(_) | Change::DeleteIndex(_))
    }

    /// The change of `column` with its values; `None` when they are unset.
    pub(crate) fn bind(&self, column: &Column, arguments: Arguments<'_>) -> Result<Option<BoundChange>, RequestError> {
        let cql_type = &column.cql_type;
        let kept = |cells| Ok(Some(BoundChange::Elements { before: Before::Kept, cells }));
        match self {
            Change::Set(value) => set(cql_type, arguments.value(value)?.into_owned(), arguments),
            Change::Delete if *cql_type == CqlType::Counter => Ok(Some(BoundChange::EndCount)),
            Change::Delete if cql_type.is_complex() => {
                Ok(Some(BoundChange::Elements { before: Before::Deleted, cells: Vec::new() }))
            }
            Change::Delete => Ok(Some(BoundChange::Cell(None))),
            Change::Add(value) => match arguments.value(value)?.into_owned() {
                BoundValue::Value(wire) => kept(new_elements(cql_type, &wire, arguments)?),
                // As in Cassandra adding nothing is no error.
                BoundValue::Null | BoundValue::Unset => Ok(None),
            },
            Change::Prepend(value) => match arguments.value(value)?.into_owned() {
                BoundValue::Value(wire) => kept(prepended(cql_type, &wire, arguments)?),
                BoundValue::Null | BoundValue::Unset => Ok(None),
            },
            Change::Remove(value) => match arguments.value(value)?.into_owned() {
                BoundValue::Value(wire) => kept(removed(cql_type, &wire)?),
                BoundValue::Null | BoundValue::Unset => Ok(None),
            },
            Change::SetElement { key, value } => {
                let path = element_path(column, key, arguments)?;
                match arguments.value(value)?.into_owned() {
                    BoundValue::Value(value) => kept(vec![(path, Some(value))]),
                    BoundValue::Null => kept(vec![(path, None)]),
                    BoundValue::Unset => Ok(None),
                }
            }
            Change::DeleteElement(key) => kept(vec![(element_path(column, key, arguments)?, None)]),
            Change::SetField { index, value } => match arguments.value(value)?.into_owned() {
                BoundValue::Value(value) => kept(vec![(field_path(*index), Some(value))]),
                BoundValue::Null => kept(vec![(field_path(*index), None)]),
                BoundValue::Unset => Ok(None),
            },
            Change::DeleteField(index) => kept(vec![(field_path(*index), None)]),
            Change::SetIndex { index, value } => {
                let Some(index) = list_index(index, arguments)? else {
                    return Err(invalid("Invalid unset value for list index"));
                };
                let value = match arguments.value(value)?.into_owned() {
                    BoundValue::Value(value) => Some(value),
                    BoundValue::Null => None,
                    BoundValue::Unset => return Ok(None),
                };
                Ok(Some(BoundChange::OfPresent(OfPresent::Set { index, value })))
            }
            // As in Cassandra a place that is unset is an error only where something is set.
            Change::DeleteIndex(index) => {
                let index = list_index(index, arguments)?;
                Ok(index.map(|index| BoundChange::OfPresent(OfPresent::Delete { index })))
            }
            Change::RemoveValues(value) => match arguments.value(value)?.into_owned() {
                BoundValue::Value(wire) => {
                    let found = parts(cql_type, &wire).map_err(|error| invalid(error.0))?;
                    let values = found.into_iter().flatten().map(Bytes::copy_from_slice).collect();
                    let element = key_type(cql_type).clone();
                    Ok(Some(BoundChange::OfPresent(OfPresent::Remove { element, values })))
                }
                BoundValue::Null | BoundValue::Unset => Ok(None),
            },
            Change::Count { by, negated } => count(arguments, by, *negated),
        }
    }
}

/// What is added to a counter; `None` when it is unset.
fn count(arguments: Arguments<'_>, by: &Operand, negated: bool) -> Result<Option<BoundChange>, RequestError> {
    let by = match arguments.bigint(Some(by))? {
        None => return Ok(None),
        Some(None) => return Err(invalid("Invalid null value for counter increment")),
        Some(Some(by)) => by,
    };
    let overflows =
        || invalid(format!("The negation of {by} overflows supported counter precision (signed 8 bytes integer)"));
    let by = if negated { by.checked_neg().ok_or_else(overflows)? } else { by };
    Ok(Some(BoundChange::Count(by)))
}

/// The place of an element of a list; `None` when it is unset.
fn list_index<'a>(index: &'a Operand, arguments: Arguments<'a>) -> Result<Option<i32>, RequestError> {
    match arguments.int(Some(index))? {
        None => Ok(None),
        Some(None) => Err(invalid("Invalid null value for list index")),
        Some(Some(index)) => Ok(Some(index)),
    }
}

fn set(cql_type: &CqlType, value: BoundValue, arguments: Arguments<'_>) -> Result<Option<BoundChange>, RequestError> {
    let overwritten = |cells| Some(BoundChange::Elements { before: Before::Overwritten, cells });
    Ok(match value {
        BoundValue::Unset => None,
        BoundValue::Value(wire) if cql_type.is_complex() => overwritten(new_elements(cql_type, &wire, arguments)?),
        BoundValue::Null if cql_type.is_complex() => overwritten(Vec::new()),
        BoundValue::Value(wire) => Some(BoundChange::Cell(Some(wire))),
        BoundValue::Null => Some(BoundChange::Cell(None)),
    })
}

/// The cells of the elements of a value, those of a list behind all others.
fn new_elements(
    cql_type: &CqlType,
    wire: &[u8],
    arguments: Arguments<'_>,
) -> Result<Vec<(Bytes, Option<Bytes>)>, RequestError> {
    let next = || arguments.context().borrow_mut().time_uuid();
    let found = elements(cql_type, wire, next).map_err(|error| invalid(error.0))?;
    Ok(found.into_iter().map(|(path, value)| (path, Some(value))).collect())
}

/// 1970-01-01, before which no clock reads, in ticks of 100 nanoseconds since the epoch of UUIDs.
const MIRROR_TICKS: i64 = 0x01b2_1dd2_1381_4000;

/// Of the first eight bytes of the path of a list's element, those that are its time: the others say that it is one.
const TICKS_MASK: u64 = 0x0fff_ffff_ffff_ffff;

/// The cells of elements that come before all others of a list.
fn prepended(
    cql_type: &CqlType,
    wire: &[u8],
    arguments: Arguments<'_>,
) -> Result<Vec<(Bytes, Option<Bytes>)>, RequestError> {
    let mut cells = new_elements(cql_type, wire, arguments)?;
    // The last one gets the first time, since later times come before earlier ones.
    let mut context = arguments.context().borrow_mut();
    for (path, _) in cells.iter_mut().rev() {
        *path = list_path(mirrored(context.time_uuid()));
    }
    Ok(cells)
}

/// The timeuuid whose time is as far from 1970-01-01 as that of `time_uuid`, on the other side.
fn mirrored(time_uuid: u128) -> u128 {
    let mirrored = MIRROR_TICKS.saturating_mul(2).saturating_sub(ticks(time_uuid)).max(0);
    of_ticks(mirrored, time_uuid as u64)
}

/// The tombstones of the elements of a set, or of the keys of a map, that `wire`, a set, has.
fn removed(cql_type: &CqlType, wire: &[u8]) -> Result<Vec<(Bytes, Option<Bytes>)>, RequestError> {
    let key_type = key_type(cql_type);
    let keys = CqlType::Set { element: std::sync::Arc::new(key_type.clone()), frozen: true };
    let keys = parts(&keys, wire).map_err(|error| invalid(error.0))?;
    let path = |key: &[u8]| key_path(key_type, key).map(|path| (path, None)).map_err(|error| invalid(error.0));
    keys.into_iter().flatten().map(path).collect()
}

/// The type of the keys by which a set's or a map's elements lie.
pub(crate) fn key_type(cql_type: &CqlType) -> &CqlType {
    match cql_type {
        CqlType::Set { element, .. } | CqlType::List { element, .. } => element,
        CqlType::Map { entry, .. } => &entry.0,
        other => other,
    }
}

fn element_path(column: &Column, key: &Operand, arguments: Arguments<'_>) -> Result<Bytes, RequestError> {
    let kind = if matches!(column.cql_type, CqlType::Map { .. }) { "map key" } else { "set element" };
    match arguments.value(key)?.into_owned() {
        BoundValue::Value(key) => key_path(key_type(&column.cql_type), &key).map_err(|error| invalid(error.0)),
        BoundValue::Null => Err(invalid(format!("Invalid null {kind}"))),
        BoundValue::Unset => Err(invalid(format!("Invalid unset {kind}"))),
    }
}

/// The cell of this value, or the tombstone of one.
pub(crate) fn cell(value: Option<&Bytes>, timestamp: i64, local_seconds: u32, expiry: Option<Expiry>) -> Cell {
    match (value, expiry) {
        (None, _) => Cell::tombstone(timestamp, local_seconds),
        (Some(value), None) => Cell::live(timestamp, value.clone()),
        (Some(value), Some(expiry)) => Cell::expiring(timestamp, value.clone(), expiry),
    }
}

/// The change of a complex column; `times` are the timestamp, the seconds of the coordinator's clock and the expiry.
pub(crate) fn complex_column(
    before: Before,
    cells: &[(Bytes, Option<Bytes>)],
    (timestamp, local_seconds, expiry): (i64, u32, Option<Expiry>),
) -> ComplexColumn {
    let cells =
        cells.iter().map(|(path, value)| (path.clone(), cell(value.as_ref(), timestamp, local_seconds, expiry)));
    let cells = cells.collect();
    match before {
        Before::Kept => ComplexColumn::new(None, cells),
        Before::Overwritten => ComplexColumn::overwritten(timestamp, local_seconds, cells),
        Before::Deleted => ComplexColumn::new(Some(Deletion { timestamp, local_seconds }), cells),
    }
}
