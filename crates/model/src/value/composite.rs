//! Values made of values: how their parts lie in the wire form, and what follows from that for
//! validation, order and the one form of sets and maps.
//!
//! | type | wire form |
//! |---|---|
//! | list, set | `[int]` count, then each element as `[bytes]`: an `[int]` length and so many bytes |
//! | map | `[int]` count, then each key and each value as `[bytes]` |
//! | tuple, user-defined | each field as `[bytes]`, length -1 for null; fields at the end may be missing |
//! | vector | each element, one after the other; before each its length as an unsigned vint, unless every
//!   value of the element's type is of one length |
//!
//! An element of a collection or vector is never null. A set or map that is stored is in its one form:
//! ascending, no element or key twice ([`normalize`]). Cassandra sorts them when a value is bound too, and
//! compares them as they are.

use super::{Value, ValueError, compare, put_unsigned_vint, take_unsigned_vint, validate};
use crate::types::CqlType;
use std::borrow::Cow;
use std::cmp::Ordering;

/// How long a part is.
#[derive(Clone, Copy)]
enum Framing {
    /// A signed integer of 32 bits before it says.
    Int,
    /// An unsigned vint before it says.
    Vint,
    /// Always so long.
    Fixed(usize),
}

/// The parts of a composite value, in wire form; `None` for null.
pub(super) struct Parts<'a> {
    cql_type: &'a CqlType,
    rest: &'a [u8],
    /// How many are to come, or, of a tuple, at most.
    left: usize,
    index: usize,
    framing: Framing,
}

/// True for the types of this module.
pub(super) fn is_composite(cql_type: &CqlType) -> bool {
    matches!(
        cql_type,
        CqlType::Vector { .. }
            | CqlType::List { .. }
            | CqlType::Set { .. }
            | CqlType::Map { .. }
            | CqlType::Tuple(_)
            | CqlType::UserDefined { .. }
    )
}

/// True for types whose parts have a type each, and may be null or missing.
pub(super) fn is_tuple(cql_type: &CqlType) -> bool {
    matches!(cql_type, CqlType::Tuple(_) | CqlType::UserDefined { .. })
}

/// The type of the part at `index` of a value of `cql_type`, which is composite and has so many.
pub(super) fn type_of_part(cql_type: &CqlType, index: usize) -> &CqlType {
    match cql_type {
        CqlType::Vector { element, .. } | CqlType::List { element, .. } | CqlType::Set { element, .. } => element,
        CqlType::Map { entry, .. } if index.is_multiple_of(2) => &entry.0,
        CqlType::Map { entry, .. } => &entry.1,
        CqlType::Tuple(types) => &types[index],
        CqlType::UserDefined { definition, .. } => &definition.fields[index].1,
        scalar => scalar,
    }
}

/// How many parts a value of `cql_type`, which is composite, has at most.
pub(super) fn most_parts(cql_type: &CqlType) -> usize {
    match cql_type {
        CqlType::Vector { dimensions, .. } => *dimensions as usize,
        CqlType::Tuple(types) => types.len(),
        CqlType::UserDefined { definition, .. } => definition.fields.len(),
        _ => usize::MAX,
    }
}

impl<'a> Parts<'a> {
    /// The parts of `wire`, a value of the composite type `cql_type`.
    ///
    /// # Errors
    /// When it does not begin as one.
    pub(super) fn new(cql_type: &'a CqlType, wire: &'a [u8]) -> Result<Parts<'a>, ValueError> {
        let of = |left, rest, framing| Parts { cql_type, rest, left, index: 0, framing };
        let counted = |each: usize| {
            let cut = || ValueError(format!("expected the number of elements of a value of type {cql_type}"));
            let (count, rest) = wire.split_first_chunk::<4>().ok_or_else(cut)?;
            let count = i32::from_be_bytes(*count);
            let fitting = usize::try_from(count).ok().and_then(|count| count.checked_mul(each));
            // Each takes four bytes at least.
            match fitting.filter(|count| *count <= rest.len() / 4) {
                Some(left) => Ok(of(left, rest, Framing::Int)),
                None => Err(ValueError(format!("a value of type {cql_type} does not have {count} elements"))),
            }
        };
        match cql_type {
            CqlType::List { .. } | CqlType::Set { .. } => counted(1),
            CqlType::Map { .. } => counted(2),
            CqlType::Tuple(_) | CqlType::UserDefined { .. } if wire.is_empty() => {
                Err(ValueError(format!("expected a field at least for a value of type {cql_type}")))
            }
            CqlType::Tuple(_) | CqlType::UserDefined { .. } => Ok(of(most_parts(cql_type), wire, Framing::Int)),
            CqlType::Vector { element, .. } => {
                let framing = element.fixed_length().map_or(Framing::Vint, Framing::Fixed);
                Ok(of(most_parts(cql_type), wire, framing))
            }
            scalar => Err(ValueError(format!("a value of type {scalar} has no parts"))),
        }
    }

    fn part(&mut self) -> Result<Option<&'a [u8]>, ValueError> {
        let cut = || {
            ValueError(match self.cql_type {
                CqlType::Vector { .. } => format!("Not enough bytes to read a {}", self.cql_type),
                other => format!("a value of type {other} ends too early"),
            })
        };
        let (length, rest) = match self.framing {
            Framing::Fixed(length) => (length, self.rest),
            Framing::Vint => {
                let (length, rest) = take_unsigned_vint(self.rest).ok_or_else(cut)?;
                (usize::try_from(length).map_err(|_| cut())?, rest)
            }
            Framing::Int => {
                let (length, rest) = self.rest.split_first_chunk::<4>().ok_or_else(cut)?;
                match i32::from_be_bytes(*length) {
                    -1 if is_tuple(self.cql_type) => {
                        self.rest = rest;
                        return Ok(None);
                    }
                    -1 => {
                        return Err(ValueError(format!(
                            "null is not allowed inside a value of type {}",
                            self.cql_type
                        )));
                    }
                    length => (usize::try_from(length).map_err(|_| cut())?, rest),
                }
            }
        };
        let (part, rest) = rest.split_at_checked(length).ok_or_else(cut)?;
        self.rest = rest;
        Ok(Some(part))
    }
}

/// Each part with its type. After an error nothing comes.
impl<'a> Iterator for Parts<'a> {
    type Item = Result<(&'a CqlType, Option<&'a [u8]>), ValueError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 || (is_tuple(self.cql_type) && self.rest.is_empty()) {
            self.left = 0;
            let rest = std::mem::take(&mut self.rest);
            let message = || ValueError(format!("{} bytes too many for a value of type {}", rest.len(), self.cql_type));
            return (!rest.is_empty()).then(|| Err(message()));
        }
        self.left -= 1;
        let cql_type = type_of_part(self.cql_type, self.index);
        self.index += 1;
        let part = self.part();
        if part.is_err() {
            (self.left, self.rest) = (0, &[]);
        }
        Some(part.map(|part| (cql_type, part)))
    }
}

/// [`super::validate`] of a composite type.
pub(super) fn validate_parts(cql_type: &CqlType, wire: &[u8]) -> Result<(), ValueError> {
    for part in Parts::new(cql_type, wire)? {
        if let (cql_type, Some(part)) = part? {
            validate(cql_type, part)?;
        }
    }
    Ok(())
}

/// [`super::compare`] of a composite type: part by part, null first, then the one with fewer. Of tuples what is
/// missing at the end is null.
pub(super) fn compare_parts(cql_type: &CqlType, a: &[u8], b: &[u8]) -> Ordering {
    let (Ok(mut parts_a), Ok(mut parts_b)) = (Parts::new(cql_type, a), Parts::new(cql_type, b)) else {
        return a.cmp(b);
    };
    let absent = if is_tuple(cql_type) { Ordering::Equal } else { Ordering::Less };
    loop {
        let order = match (parts_a.next(), parts_b.next()) {
            (None, None) => return Ordering::Equal,
            (Some(Err(_)), _) | (_, Some(Err(_))) => return a.cmp(b),
            (Some(Ok((cql_type, Some(a)))), Some(Ok((_, Some(b))))) => compare(cql_type, a, b),
            (Some(Ok((_, a))), Some(Ok((_, b)))) => a.is_some().cmp(&b.is_some()),
            (None, Some(Ok((_, Some(_))))) => Ordering::Less,
            (Some(Ok((_, Some(_)))), None) => Ordering::Greater,
            (None, Some(Ok((_, None)))) => absent,
            (Some(Ok((_, None))), None) => absent.reverse(),
        };
        if order.is_ne() {
            return order;
        }
    }
}

/// The one form of the value `wire` of `cql_type`: every set and map in it ascending, without an element or key
/// twice. Of elements that compare as equal the first stays, of keys the first with the value of the last. What
/// has no set or map in it is in that form as it is. For values on their way in, which are validated thereby.
///
/// # Errors
/// When it is not a value of that type.
pub fn normalize<'a>(cql_type: &CqlType, wire: &'a [u8]) -> Result<Cow<'a, [u8]>, ValueError> {
    validate(cql_type, wire)?;
    if is_normal(cql_type, wire)? {
        return Ok(Cow::Borrowed(wire));
    }
    let mut normal: Vec<Option<Cow<'_, [u8]>>> = Vec::new();
    for part in Parts::new(cql_type, wire)? {
        let (cql_type, part) = part?;
        normal.push(part.map(|part| normalize(cql_type, part)).transpose()?);
    }
    match cql_type {
        CqlType::Set { element, .. } => {
            let elements = normal.into_iter().flatten();
            normal =
                sorted(element, elements.map(|element| (element, ()))).into_iter().map(|(key, ())| Some(key)).collect();
        }
        CqlType::Map { entry, .. } => {
            let mut parts = normal.into_iter().flatten();
            let entries = std::iter::from_fn(|| parts.next().zip(parts.next()));
            let entries = sorted(&entry.0, entries);
            normal = entries.into_iter().flat_map(|(key, value)| [Some(key), Some(value)]).collect();
        }
        _ => {}
    }
    Ok(Cow::Owned(join(cql_type, normal.iter().map(Option::as_deref))))
}

/// Entries by ascending key; of equal keys the first with the value of the last.
fn sorted<K: AsRef<[u8]>, V>(cql_type: &CqlType, entries: impl Iterator<Item = (K, V)>) -> Vec<(K, V)> {
    let mut entries: Vec<(K, V)> = entries.collect();
    let order = |a: &K, b: &K| compare(cql_type, a.as_ref(), b.as_ref());
    // Stable, so equal keys stay in the order in which they came.
    entries.sort_by(|(a, _), (b, _)| order(a, b));
    entries.dedup_by(|(later, value), (earlier, kept)| {
        let same = order(later, earlier).is_eq();
        if same {
            std::mem::swap(value, kept);
        }
        same
    });
    entries
}

/// True when the valid value `wire` is in its one form.
fn is_normal(cql_type: &CqlType, wire: &[u8]) -> Result<bool, ValueError> {
    if !is_composite(cql_type) {
        return Ok(true);
    }
    let step = match cql_type {
        CqlType::Set { .. } => 1,
        CqlType::Map { .. } => 2,
        _ => usize::MAX,
    };
    let mut previous: Option<&[u8]> = None;
    for (index, part) in Parts::new(cql_type, wire)?.enumerate() {
        let (cql_type, Some(part)) = part? else { continue };
        if !is_normal(cql_type, part)? {
            return Ok(false);
        }
        if step != usize::MAX && index % step == 0 {
            if previous.is_some_and(|previous| compare(cql_type, previous, part).is_ge()) {
                return Ok(false);
            }
            previous = Some(part);
        }
    }
    Ok(true)
}

/// Puts a value of `cql_type` together from its parts, all of them.
pub(super) fn join<'a>(cql_type: &CqlType, parts: impl ExactSizeIterator<Item = Option<&'a [u8]>>) -> Vec<u8> {
    let mut wire = Vec::new();
    let framing = match cql_type {
        CqlType::Vector { element, .. } => element.fixed_length().map_or(Framing::Vint, Framing::Fixed),
        _ => Framing::Int,
    };
    match cql_type {
        CqlType::List { .. } | CqlType::Set { .. } => put_count(&mut wire, parts.len()),
        CqlType::Map { .. } => put_count(&mut wire, parts.len() / 2),
        _ => {}
    }
    parts.for_each(|part| put_part(&mut wire, framing, part));
    wire
}

fn put_count(wire: &mut Vec<u8>, count: usize) {
    // A value has far fewer bytes than an `int` counts.
    wire.extend_from_slice(&(count as i32).to_be_bytes());
}

fn put_part(wire: &mut Vec<u8>, framing: Framing, part: Option<&[u8]>) {
    let Some(part) = part else { return wire.extend_from_slice(&(-1i32).to_be_bytes()) };
    match framing {
        Framing::Int => wire.extend_from_slice(&(part.len() as i32).to_be_bytes()),
        Framing::Vint => put_unsigned_vint(wire, part.len() as u64),
        Framing::Fixed(_) => {}
    }
    wire.extend_from_slice(part);
}

/// [`Value::to_wire`] of a value that has parts.
pub(super) fn to_wire(value: &Value) -> Vec<u8> {
    let mut wire = Vec::new();
    let mut put = |part: Option<&Value>, framing| put_part(&mut wire, framing, part.map(Value::to_wire).as_deref());
    match value {
        Value::List(values) | Value::Set(values) => {
            put_count(&mut wire, values.len());
            values.iter().for_each(|value| put_part(&mut wire, Framing::Int, Some(&value.to_wire())));
        }
        Value::Map(entries) => {
            put_count(&mut wire, entries.len());
            for value in entries.iter().flat_map(|(key, value)| [key, value]) {
                put_part(&mut wire, Framing::Int, Some(&value.to_wire()));
            }
        }
        Value::Tuple(fields) => fields.iter().for_each(|field| put(field.as_ref(), Framing::Int)),
        Value::UserDefined(fields) => fields.iter().for_each(|(_, field)| put(field.as_ref(), Framing::Int)),
        Value::Vector(values) => {
            let framing = if values.first().is_some_and(has_fixed_length) { Framing::Fixed(0) } else { Framing::Vint };
            values.iter().for_each(|value| put(Some(value), framing));
        }
        _ => {}
    }
    wire
}

/// Whether [`CqlType::fixed_length`] of the value's type is known.
fn has_fixed_length(value: &Value) -> bool {
    match value {
        Value::Vector(values) => values.first().is_some_and(has_fixed_length),
        Value::Boolean(_)
        | Value::Int(_)
        | Value::Float(_)
        | Value::BigInt(_)
        | Value::Double(_)
        | Value::Timestamp(_)
        | Value::Uuid(_)
        | Value::TimeUuid(_) => true,
        _ => false,
    }
}

/// [`Value::from_wire`] of a composite type.
pub(super) fn from_wire(cql_type: &CqlType, wire: &[u8]) -> Result<Value, ValueError> {
    let parts = Parts::new(cql_type, wire)?;
    let mut values: Vec<Option<Value>> = Vec::new();
    for part in parts {
        let (cql_type, part) = part?;
        values.push(part.map(|part| Value::from_wire(cql_type, part)).transpose()?);
    }
    Ok(match cql_type {
        CqlType::Tuple(_) => Value::Tuple(values),
        CqlType::UserDefined { definition, .. } => {
            let names = definition.fields.iter().map(|(name, _)| name.clone());
            Value::UserDefined(names.zip(values).collect())
        }
        CqlType::Map { .. } => {
            let mut values = values.into_iter().flatten();
            Value::Map(std::iter::from_fn(|| values.next().zip(values.next())).collect())
        }
        CqlType::Set { .. } => Value::Set(values.into_iter().flatten().collect()),
        CqlType::Vector { .. } => Value::Vector(values.into_iter().flatten().collect()),
        _ => Value::List(values.into_iter().flatten().collect()),
    })
}

/// [`Value::is_of`] of a value that has parts.
pub(super) fn is_of(value: &Value, cql_type: &CqlType) -> bool {
    let all = |values: &[Value], element: &CqlType| values.iter().all(|value| value.is_of(element));
    let null_or = |value: &Option<Value>, cql_type: &CqlType| value.as_ref().is_none_or(|value| value.is_of(cql_type));
    match (value, cql_type) {
        (Value::List(values), CqlType::List { element, .. }) | (Value::Set(values), CqlType::Set { element, .. }) => {
            all(values, element)
        }
        (Value::Vector(values), CqlType::Vector { element, dimensions }) => {
            values.len() == *dimensions as usize && all(values, element)
        }
        (Value::Map(entries), CqlType::Map { entry, .. }) => {
            entries.iter().all(|(key, value)| key.is_of(&entry.0) && value.is_of(&entry.1))
        }
        (Value::Tuple(fields), CqlType::Tuple(types)) => {
            (1..=types.len()).contains(&fields.len())
                && fields.iter().zip(types.iter()).all(|(field, cql_type)| null_or(field, cql_type))
        }
        (Value::UserDefined(fields), CqlType::UserDefined { definition, .. }) => {
            let own = definition.fields.iter();
            (1..=definition.fields.len()).contains(&fields.len())
                && fields
                    .iter()
                    .zip(own)
                    .all(|((name, field), (own, cql_type))| name == own && null_or(field, cql_type))
        }
        _ => false,
    }
}
