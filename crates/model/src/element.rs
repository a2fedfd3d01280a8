//! The elements of complex columns: from a value of a column's type to paths and cells, and back.
//!
//! | type | path | value of the cell |
//! |---|---|---|
//! | list | a timeuuid, drawn when the element is added, in its order-preserving form | the element |
//! | set | the element in its order-preserving form | empty |
//! | map | the key in its order-preserving form | the value |
//! | user-defined, not frozen | the index of the field in two bytes | the field |
//! | counter | see [`crate::counter`] | |
//!
//! The order-preserving form is that of keys ([`crate::key`]), so that cells ordered by the bytes of their
//! paths are in the order of their type, and an element or key is read back from its path. As in keys, two
//! that compare as equal are one and lose what tells them apart.

use crate::codec::CodecError;
use crate::complex::ComplexColumn;
use crate::counter;
use crate::types::CqlType;
use crate::value::{ValueError, is_empty_value, join_parts, normalize, ordered, parts};
use bytes::Bytes;

/// The path of a list's element that was added with this timeuuid.
#[must_use]
pub fn list_path(time_uuid: u128) -> Bytes {
    Bytes::copy_from_slice(&ordered::time_uuid(time_uuid.to_be_bytes()))
}

/// The path of a set's element or a map's key of type `cql_type`, from its wire form.
///
/// # Errors
/// When it is not a value of that type.
pub fn key_path(cql_type: &CqlType, wire: &[u8]) -> Result<Bytes, ValueError> {
    let mut path = Vec::with_capacity(wire.len() + 1);
    ordered::put(cql_type, &normalize(cql_type, wire)?, &mut path);
    Ok(Bytes::from(path))
}

/// The path of the field of this index.
#[must_use]
pub fn field_path(index: u16) -> Bytes {
    Bytes::copy_from_slice(&index.to_be_bytes())
}

/// The elements of the value `wire` of `cql_type`, which is of many cells: the path of each, and the value of
/// its cell. Fields that are null are left out. `next_time_uuid` draws a timeuuid for each element of a list, each
/// above those before.
///
/// # Errors
/// When it is not a value of that type, or the type is not of many cells.
pub fn elements(
    cql_type: &CqlType,
    wire: &[u8],
    mut next_time_uuid: impl FnMut() -> u128,
) -> Result<Vec<(Bytes, Bytes)>, ValueError> {
    let copy = |part: &[u8]| Bytes::copy_from_slice(part);
    let normal = normalize(cql_type, wire)?;
    let parts: Vec<Option<&[u8]>> = parts(cql_type, &normal)?;
    let present = parts.iter().copied().enumerate().filter_map(|(index, part)| Some((index, part?)));
    match cql_type {
        CqlType::List { frozen: false, .. } => {
            Ok(present.map(|(_, part)| (list_path(next_time_uuid()), copy(part))).collect())
        }
        CqlType::Set { element, frozen: false } => {
            present.map(|(_, part)| Ok((key_path(element, part)?, Bytes::new()))).collect()
        }
        CqlType::Map { entry, frozen: false } => {
            let mut parts = parts.iter().copied().flatten();
            let entries = std::iter::from_fn(|| parts.next().zip(parts.next()));
            entries.map(|(key, value)| Ok((key_path(&entry.0, key)?, copy(value)))).collect()
        }
        CqlType::UserDefined { frozen: false, .. } => {
            let path = |index| u16::try_from(index).map(field_path);
            let too_many = |_| ValueError(format!("a value of type {cql_type} has too many fields"));
            present.map(|(index, part)| Ok((path(index).map_err(too_many)?, copy(part)))).collect()
        }
        _ => Err(ValueError(format!("a value of type {cql_type} has no elements of their own"))),
    }
}

/// The value, in wire form, of a column of `cql_type`, which is complex, as a reader at `now_seconds` sees it;
/// `None` for null, which is what a collection without elements is.
///
/// # Errors
/// When a path is not one of that type.
pub fn value(cql_type: &CqlType, column: &ComplexColumn, now_seconds: i64) -> Result<Option<Bytes>, CodecError> {
    const INVALID: CodecError = CodecError::Invalid("element path");
    let live = || column.cells().iter().filter_map(|(path, cell)| Some((path, cell.value(now_seconds)?)));
    let mut parts: Vec<Option<Bytes>> = Vec::new();
    match cql_type {
        CqlType::Counter => {
            return Ok(counter::value(column).map(|value| Bytes::copy_from_slice(&value.to_be_bytes())));
        }
        CqlType::List { .. } => parts.extend(live().map(|(_, value)| Some(value.clone()))),
        CqlType::Set { element, .. } => {
            for (path, _) in live() {
                parts.push(Some(key_of(element, path)?));
            }
        }
        CqlType::Map { entry, .. } => {
            for (path, value) in live() {
                parts.extend([Some(key_of(&entry.0, path)?), Some(value.clone())]);
            }
        }
        CqlType::UserDefined { definition, .. } => {
            for (path, value) in live() {
                let index = <[u8; 2]>::try_from(path.as_ref()).map_err(|_| INVALID)?;
                let index = usize::from(u16::from_be_bytes(index));
                if index >= definition.fields.len() {
                    return Err(INVALID);
                }
                // Paths ascend.
                parts.resize(index, None);
                parts.push(Some(value.clone()));
            }
            if !parts.is_empty() {
                parts.resize(definition.fields.len(), None);
            }
        }
        _ => return Err(CodecError::Invalid("type")),
    }
    Ok((!parts.is_empty()).then(|| join_parts(cql_type, &parts)))
}

/// The element or key of type `cql_type` that a path stands for.
fn key_of(cql_type: &CqlType, path: &[u8]) -> Result<Bytes, CodecError> {
    if is_empty_value(cql_type, path) {
        return Ok(Bytes::new());
    }
    let mut rest = path;
    let key = ordered::take(cql_type, &mut rest, false)?;
    if rest.is_empty() { Ok(key) } else { Err(CodecError::Trailing(rest.len())) }
}

#[cfg(test)]
#[path = "element_tests.rs"]
mod tests;
