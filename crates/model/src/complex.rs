//! Complex columns: the ones that hold a cell for each of their elements, so that elements are written,
//! deleted and expire on their own. Lists, sets, maps and user-defined types that are not frozen are
//! such, and counters ([`crate::counter`]).
//!
//! An element is named by its path, and paths are ordered by their bytes. Merging therefore needs no
//! schema, and readers still find elements in their type's order, because what writes a path
//! ([`crate::element`]) makes it so that its bytes are in that order.
//!
//! A whole column is overwritten by a deletion just below the timestamp of its new cells. The rules
//! are those of rows one level down: of two deletions the larger stays, of two cells at one path the
//! one that [`Cell::reconcile`] ranks higher, and what a deletion covers is gone. A column is a
//! join-semilattice as a row is.

use crate::codec::{CodecError, Reader, Walker, put_bytes, put_varint};
use crate::deletion::Deletion;
use crate::row::{
    Cell, RowSummary, decode_cell, difference, encode_cell, merge_sorted, read_timestamp, timestamp_at, walk_cell,
};
use bytes::Bytes;

/// The cells of one complex column in one row, or a change of them. No cell is at or below the
/// deletion.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ComplexColumn {
    deletion: Option<Deletion>,
    cells: Vec<(Bytes, Cell)>,
}

impl ComplexColumn {
    /// A column of these parts, with what its own deletion covers left out. `cells`, each with its
    /// path, may come in any order; of two cells at one path the greater one stays.
    #[must_use]
    pub fn new(deletion: Option<Deletion>, mut cells: Vec<(Bytes, Cell)>) -> ComplexColumn {
        cells.sort_by(|(path_a, a), (path_b, b)| path_a.cmp(path_b).then_with(|| b.reconcile(a)));
        cells.dedup_by(|(path_a, _), (path_b, _)| path_a == path_b);
        ComplexColumn { deletion, cells }.without_covered()
    }

    /// The change that puts `cells`, written at `timestamp` microseconds, in place of all older ones. The
    /// deletion is one below, so that it does not cover them; none is needed below the smallest timestamp.
    #[must_use]
    pub fn overwritten(timestamp: i64, local_seconds: u32, cells: Vec<(Bytes, Cell)>) -> ComplexColumn {
        let deletion = timestamp.checked_sub(1).map(|timestamp| Deletion { timestamp, local_seconds });
        ComplexColumn::new(deletion, cells)
    }

    /// The deletion of everything that the column held.
    #[must_use]
    pub fn deletion(&self) -> Option<Deletion> {
        self.deletion
    }

    /// The cells by ascending path, tombstones and expired ones included.
    #[must_use]
    pub fn cells(&self) -> &[(Bytes, Cell)] {
        &self.cells
    }

    /// The cell at `path`.
    #[must_use]
    pub fn cell(&self, path: &[u8]) -> Option<&Cell> {
        let found = self.cells.binary_search_by(|(own, _)| own.as_ref().cmp(path));
        found.ok().map(|index| &self.cells[index].1)
    }

    /// True when there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.deletion.is_none() && self.cells.is_empty()
    }

    /// True when a reader at `now_seconds` sees an element.
    #[must_use]
    pub fn is_live(&self, now_seconds: i64) -> bool {
        self.cells.iter().any(|(_, cell)| cell.value(now_seconds).is_some())
    }

    /// Removes what `deletion`, of the row or more, covers; a deletion of the column that it supersedes
    /// goes too.
    pub fn delete(&mut self, deletion: Deletion) {
        self.deletion = self.deletion.filter(|own| *own > deletion);
        self.cells.retain(|(_, cell)| cell.timestamp > deletion.timestamp);
    }

    /// Keeps the cells that `wanted` accepts.
    pub fn retain_cells(&mut self, mut wanted: impl FnMut(&[u8], &Cell) -> bool) {
        self.cells.retain(|(path, cell)| wanted(path, cell));
    }

    /// Drops the deletion if it does not satisfy `wanted`.
    pub fn retain_deletion(&mut self, wanted: impl FnOnce(Deletion) -> bool) {
        self.deletion = self.deletion.filter(|deletion| wanted(*deletion));
    }

    /// Drops the values of elements that have expired at `now_seconds`, keeping that they were there.
    pub fn drop_expired_values(&mut self, now_seconds: i64) {
        self.cells.iter_mut().for_each(|(_, cell)| cell.drop_expired_value(now_seconds));
    }

    /// The join of two versions of a column.
    #[must_use]
    pub fn merge(self, other: ComplexColumn) -> ComplexColumn {
        let deletion = self.deletion.max(other.deletion);
        ComplexColumn { deletion, cells: merge_sorted(self.cells, other.cells, Cell::merge) }.without_covered()
    }

    /// Drops the cells that the column's own deletion covers.
    fn without_covered(mut self) -> ComplexColumn {
        if let Some(deletion) = self.deletion {
            self.cells.retain(|(_, cell)| cell.timestamp > deletion.timestamp);
        }
        self
    }

    /// The largest timestamp in the column; of one that is not empty.
    pub(crate) fn newest(&self) -> Option<i64> {
        let cells = self.cells.iter().map(|(_, cell)| cell.timestamp).max();
        cells.max(self.deletion.map(|deletion| deletion.timestamp))
    }

    /// Appends the column; timestamps are differences to `base`.
    pub(crate) fn encode(&self, out: &mut Vec<u8>, base: i64) {
        out.push(u8::from(self.deletion.is_some()));
        if let Some(deletion) = self.deletion {
            put_varint(out, difference(base, deletion.timestamp));
            put_varint(out, u64::from(deletion.local_seconds));
        }
        put_varint(out, self.cells.len() as u64);
        for (path, cell) in &self.cells {
            put_bytes(out, path);
            encode_cell(cell, out, base);
        }
    }

    /// Reads a column; whether a deletion shadows something in it is for the caller to check.
    pub(crate) fn decode(reader: &mut Reader, base: i64) -> Result<ComplexColumn, CodecError> {
        let deletion = if reader.bool()? {
            let timestamp = read_timestamp(reader, base)?;
            Some(Deletion { timestamp, local_seconds: reader.varint_u32()? })
        } else {
            None
        };
        let count = reader.count()?;
        let mut cells: Vec<(Bytes, Cell)> = Vec::new();
        for _ in 0..count {
            let path = reader.bytes()?;
            if cells.last().is_some_and(|(previous, _)| *previous >= path) {
                return Err(CodecError::Invalid("element path"));
            }
            cells.push((path, decode_cell(reader, base)?));
        }
        if deletion.is_none() && cells.is_empty() {
            return Err(CodecError::Invalid("complex column"));
        }
        Ok(ComplexColumn { deletion, cells })
    }

    /// True when something in the column is covered by its own deletion or by that of the row, or its
    /// deletion is superseded by that of the row.
    pub(crate) fn is_shadowed(&self, row_deletion: Option<Deletion>) -> bool {
        let Some(covering) = self.deletion.max(row_deletion) else { return false };
        self.deletion.is_some_and(|own| Some(own) <= row_deletion)
            || self.cells.iter().any(|(_, cell)| cell.timestamp <= covering.timestamp)
    }
}

/// What [`walk`] finds.
pub(crate) struct Walked {
    /// The largest timestamp in the column.
    pub(crate) newest: i64,
    /// See [`ComplexColumn::is_shadowed`].
    pub(crate) shadowed: bool,
}

/// Passes an encoded column without building it, and adds what is in it to `summary`. Accepts and refuses the same
/// bytes as [`ComplexColumn::decode`].
pub(crate) fn walk(
    walker: &mut Walker<'_>,
    base: i64,
    now_seconds: i64,
    row_deletion: Option<Deletion>,
    summary: &mut RowSummary,
) -> Result<Walked, CodecError> {
    let (mut newest, mut covering, mut shadowed) = (None, row_deletion, false);
    match walker.u8()? {
        0 => {}
        1 => {
            let timestamp = timestamp_at(base, walker.varint()?)?;
            let deletion = Some(Deletion { timestamp, local_seconds: walker.varint_u32()? });
            (shadowed, newest) = (deletion <= row_deletion, Some(timestamp));
            covering = covering.max(deletion);
            summary.tombstones += 1;
            summary.oldest = summary.oldest.min(timestamp);
        }
        _ => return Err(CodecError::Invalid("bool")),
    }
    let mut previous: Option<&[u8]> = None;
    for _ in 0..walker.count()? {
        let path = walker.bytes()?;
        if previous.is_some_and(|previous| previous >= path) {
            return Err(CodecError::Invalid("element path"));
        }
        previous = Some(path);
        let timestamp = walk_cell(walker, base, now_seconds, summary)?;
        shadowed |= covering.is_some_and(|deletion| timestamp <= deletion.timestamp);
        newest = newest.max(Some(timestamp));
    }
    let newest = newest.ok_or(CodecError::Invalid("complex column"))?;
    Ok(Walked { newest, shadowed })
}
