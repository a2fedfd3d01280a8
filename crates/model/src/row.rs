//! Cells and rows, their reconciliation, and their one encoding on disk and in messages.
//!
//! Reconciliation is Cassandra's, tightened into a strict total order so that replicas converge bit
//! for bit whatever the order of merges (Cassandra's own rule leaves ties to the order of its
//! arguments in places): larger timestamp; then tombstone over expiring over live (CASSANDRA-14592);
//! then later deletion or expiry; then smaller TTL, that is, written later (ScyllaDB); then the
//! larger value, bytes unsigned. A cell or liveness at or below the row's deletion is gone.
//!
//! A row's state is a join-semilattice: merging is commutative, associative and idempotent.
//! Encoding, format 1:
//! ```text
//! u8 format, u8 flags, i64 base timestamp (the largest in the row; others are differences to it)
//! [liveness: varint difference; if expiring: varint ttl, varint expiry]
//! [deletion: varint difference, varint local seconds]
//! varint cells, then for each, ascending: varint column id difference, cell
//! [complex columns: varint count, then for each, ascending: varint column id difference, u8 deletion or
//!   not, if so: varint difference, varint local seconds; varint cells, then for each, ascending:
//!   varint path length, path, cell]
//! cell: u8 kind, varint timestamp difference; expiring: varint ttl, varint expiry; tombstone: varint
//!   local seconds; with a value: varint length, bytes
//! ```

use crate::codec::{CodecError, Decode, Encode, Reader, Walker, put_bytes, put_varint};
use crate::complex::{self, ComplexColumn};
use crate::deletion::Deletion;
use crate::garbage::Purge;
use crate::id::ColumnId;
use bytes::Bytes;
use std::cmp::{Ordering, Reverse};

/// The time to live of a cell or a row's liveness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Expiry {
    /// Seconds from the write to the expiry, as the statement gave it.
    pub ttl_seconds: u32,
    /// When it expires, in seconds since 1970: from that second on it is gone.
    pub at_seconds: u32,
}

impl Expiry {
    /// True once it has expired.
    #[must_use]
    pub fn is_past(&self, now_seconds: i64) -> bool {
        i64::from(self.at_seconds) <= now_seconds
    }

    /// The rank among ties: later expiry first, then smaller TTL.
    fn rank(self) -> (u32, Reverse<u32>) {
        (self.at_seconds, Reverse(self.ttl_seconds))
    }
}

/// What a cell holds; the value may be named by its place instead of being held.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CellState<V = Bytes> {
    /// A value that stays until overwritten, in its type's wire form.
    Live(V),
    /// A value with a time to live. The value is dropped, never the rest, once it has expired: it
    /// must go on winning against what it won against before.
    Expiring(Expiry, Option<V>),
    /// A deletion of the column, made at this second since 1970.
    Tombstone(u32),
}

/// One column's value in one row, with its write timestamp in microseconds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Cell<V = Bytes> {
    /// Write timestamp in microseconds.
    pub timestamp: i64,
    /// Value or deletion.
    pub state: CellState<V>,
}

/// The mark that INSERT leaves: the row exists even when every other column is null.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Liveness {
    /// Write timestamp in microseconds.
    pub timestamp: i64,
    /// Time to live, if the INSERT had one.
    pub expiry: Option<Expiry>,
}

/// A row, or a change of one: they are the same thing and merge alike. Nothing in it is at or below
/// its own deletion.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row<V = Bytes> {
    liveness: Option<Liveness>,
    deletion: Option<Deletion>,
    cells: Vec<(ColumnId, Cell<V>)>,
    /// None of them empty.
    complex: Vec<(ColumnId, ComplexColumn)>,
}

impl Cell {
    /// A value without time to live.
    #[must_use]
    pub fn live(timestamp: i64, value: Bytes) -> Cell {
        Cell { timestamp, state: CellState::Live(value) }
    }

    /// A value with a time to live.
    #[must_use]
    pub fn expiring(timestamp: i64, value: Bytes, expiry: Expiry) -> Cell {
        Cell { timestamp, state: CellState::Expiring(expiry, Some(value)) }
    }

    /// A deletion made at `local_seconds`.
    #[must_use]
    pub fn tombstone(timestamp: i64, local_seconds: u32) -> Cell {
        Cell { timestamp, state: CellState::Tombstone(local_seconds) }
    }

    /// Drops the value if it has expired at `now_seconds`, keeping that it was there.
    pub(crate) fn drop_expired_value(&mut self, now_seconds: i64) {
        if let CellState::Expiring(expiry, value) = &mut self.state
            && expiry.is_past(now_seconds)
        {
            *value = None;
        }
    }

    /// The join of two versions of a cell.
    pub(crate) fn merge(self, other: Cell) -> Cell {
        if self.reconcile(&other).is_ge() { self } else { other }
    }

    /// The order of reconciliation: of two versions of a cell the greater one stays.
    #[must_use]
    pub fn reconcile(&self, other: &Cell) -> Ordering {
        self.timestamp.cmp(&other.timestamp).then_with(|| match (&self.state, &other.state) {
            (CellState::Live(a), CellState::Live(b)) => a.cmp(b),
            (CellState::Live(_), _) => Ordering::Less,
            (_, CellState::Live(_)) => Ordering::Greater,
            (CellState::Tombstone(a), CellState::Tombstone(b)) => a.cmp(b),
            (CellState::Tombstone(_), _) => Ordering::Greater,
            (_, CellState::Tombstone(_)) => Ordering::Less,
            (CellState::Expiring(a, value_a), CellState::Expiring(b, value_b)) => {
                // A dropped value ranks above any: both are expired, so nobody can see which stays.
                let value = || match (value_a, value_b) {
                    (Some(a), Some(b)) => a.cmp(b),
                    (a, b) => b.is_some().cmp(&a.is_some()),
                };
                a.rank().cmp(&b.rank()).then_with(value)
            }
        })
    }
}

impl<V> Cell<V> {
    /// The value that a reader at `now_seconds` sees.
    #[must_use]
    pub fn value(&self, now_seconds: i64) -> Option<&V> {
        match &self.state {
            CellState::Live(value) => Some(value),
            CellState::Expiring(expiry, value) if !expiry.is_past(now_seconds) => value.as_ref(),
            CellState::Expiring(..) | CellState::Tombstone(_) => None,
        }
    }
}

impl Liveness {
    /// True while a reader at `now_seconds` sees the row by this mark.
    #[must_use]
    pub fn is_live(&self, now_seconds: i64) -> bool {
        self.expiry.is_none_or(|expiry| !expiry.is_past(now_seconds))
    }

    /// The order of reconciliation: larger timestamp, then expiring, later expiry, smaller TTL.
    #[must_use]
    pub fn reconcile(&self, other: &Liveness) -> Ordering {
        let rank = |liveness: &Liveness| (liveness.timestamp, liveness.expiry.map(Expiry::rank));
        rank(self).cmp(&rank(other))
    }
}

impl<V> Row<V> {
    /// The mark of INSERT, if one is left.
    #[must_use]
    pub fn liveness(&self) -> Option<Liveness> {
        self.liveness
    }

    /// The deletion of the row.
    #[must_use]
    pub fn deletion(&self) -> Option<Deletion> {
        self.deletion
    }

    /// The cells by ascending column id, tombstones and expired ones included.
    #[must_use]
    pub fn cells(&self) -> &[(ColumnId, Cell<V>)] {
        &self.cells
    }

    /// The cell of `column`.
    #[must_use]
    pub fn cell(&self, column: ColumnId) -> Option<&Cell<V>> {
        let found = self.cells.binary_search_by_key(&column, |(id, _)| *id);
        found.ok().map(|index| &self.cells[index].1)
    }

    /// The complex columns by ascending column id; none of them is empty.
    #[must_use]
    pub fn complex(&self) -> &[(ColumnId, ComplexColumn)] {
        &self.complex
    }

    /// The complex column `column`.
    #[must_use]
    pub fn complex_column(&self, column: ColumnId) -> Option<&ComplexColumn> {
        let found = self.complex.binary_search_by_key(&column, |(id, _)| *id);
        found.ok().map(|index| &self.complex[index].1)
    }

    /// True when there is nothing in it: it says nothing about the row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.liveness.is_none() && self.deletion.is_none() && self.cells.is_empty() && self.complex.is_empty()
    }

    /// True when a reader at `now_seconds` sees the row.
    #[must_use]
    pub fn is_live(&self, now_seconds: i64) -> bool {
        self.liveness.is_some_and(|liveness| liveness.is_live(now_seconds))
            || self.cells.iter().any(|(_, cell)| cell.value(now_seconds).is_some())
            || self.complex.iter().any(|(_, column)| column.is_live(now_seconds))
    }
}

impl Row {
    /// A row of these parts, with what its own deletion covers left out. `cells` may come in any
    /// order; of two cells of one column the greater one stays.
    #[must_use]
    pub fn new(liveness: Option<Liveness>, deletion: Option<Deletion>, mut cells: Vec<(ColumnId, Cell)>) -> Row {
        cells.sort_by(|(id_a, a), (id_b, b)| id_a.cmp(id_b).then_with(|| b.reconcile(a)));
        cells.dedup_by_key(|(id, _)| *id);
        Row { liveness, deletion: None, cells, complex: Vec::new() }.with_deletion(deletion)
    }

    /// The row and these complex columns, in any order. A column that is there twice, or in the row
    /// already, is merged.
    #[must_use]
    pub fn with_complex(self, columns: impl IntoIterator<Item = (ColumnId, ComplexColumn)>) -> Row {
        columns
            .into_iter()
            .filter(|(_, column)| !column.is_empty())
            .fold(self, |row, column| row.merge(Row { complex: vec![column], ..Row::default() }))
    }

    /// The row with `deletion`, and without what it covers; as it is when there is none.
    fn with_deletion(mut self, deletion: Option<Deletion>) -> Row {
        if let Some(deletion) = deletion {
            self.delete(deletion);
            self.deletion = Some(deletion);
        }
        self
    }

    /// A deletion of the whole row.
    #[must_use]
    pub fn deleted(deletion: Deletion) -> Row {
        Row::new(None, Some(deletion), Vec::new())
    }

    /// Removes what `deletion`, of the partition, a range or the row, covers; a row deletion that it
    /// supersedes goes too. `deletion` itself is not recorded in the row.
    pub fn delete(&mut self, deletion: Deletion) {
        self.liveness = self.liveness.filter(|liveness| liveness.timestamp > deletion.timestamp);
        self.deletion = self.deletion.filter(|own| *own > deletion);
        self.cells.retain(|(_, cell)| cell.timestamp > deletion.timestamp);
        self.change_complex(|_, column| column.delete(deletion));
    }

    /// Keeps the cells of the columns that `wanted` accepts.
    pub fn retain_columns(&mut self, mut wanted: impl FnMut(ColumnId) -> bool) {
        self.cells.retain(|(id, _)| wanted(*id));
        self.complex.retain(|(id, _)| wanted(*id));
    }

    /// Keeps of the column `column` what was written at timestamps that `wanted` accepts.
    pub fn retain_in_column(&mut self, column: ColumnId, wanted: impl Fn(i64) -> bool) {
        self.cells.retain(|(id, cell)| *id != column || wanted(cell.timestamp));
        self.change_complex(|id, complex| {
            if id == column {
                complex.retain_cells(|_, cell| wanted(cell.timestamp));
                complex.retain_deletion(|deletion| wanted(deletion.timestamp));
            }
        });
    }

    /// Changes every complex column and leaves out those that become empty.
    pub fn change_complex(&mut self, mut change: impl FnMut(ColumnId, &mut ComplexColumn)) {
        self.complex.retain_mut(|(id, column)| {
            change(*id, column);
            !column.is_empty()
        });
    }

    /// Drops the values of cells that have expired at `now_seconds`, keeping that they were there.
    pub fn drop_expired_values(&mut self, now_seconds: i64) {
        self.cells.iter_mut().for_each(|(_, cell)| cell.drop_expired_value(now_seconds));
        self.complex.iter_mut().for_each(|(_, column)| column.drop_expired_values(now_seconds));
    }

    /// Removes what is garbage by `purge`. What is left may be nothing.
    pub fn purge(&mut self, purge: &Purge) {
        self.liveness = self.liveness.filter(|liveness| !purge.is_garbage_liveness(liveness));
        self.deletion = self.deletion.filter(|deletion| !purge.is_garbage(deletion));
        self.cells.retain(|(id, cell)| !purge.is_garbage_cell(*id, cell));
        self.change_complex(|id, column| {
            column.retain_deletion(|deletion| !purge.is_garbage_in_column(id, &deletion));
            column.retain_cells(|_, cell| !purge.is_garbage_cell(id, cell));
        });
    }

    /// Brings the row into the form that is the same on replicas that purged and dropped expired values at
    /// different times.
    pub fn normalize(&mut self, purge: &Purge) {
        self.purge(purge);
        self.drop_expired_values(i64::from(purge.now_seconds));
    }

    /// The join of two versions of a row.
    #[must_use]
    pub fn merge(self, other: Row) -> Row {
        let deletion = self.deletion.max(other.deletion);
        let liveness = match (self.liveness, other.liveness) {
            (Some(a), Some(b)) => Some(if a.reconcile(&b).is_ge() { a } else { b }),
            (a, b) => a.or(b),
        };
        let cells = merge_sorted(self.cells, other.cells, Cell::merge);
        let complex = merge_sorted(self.complex, other.complex, ComplexColumn::merge);
        Row { liveness, deletion: None, cells, complex }.with_deletion(deletion)
    }

    /// The largest timestamp in the row: what the others are encoded as differences to.
    fn base(&self) -> i64 {
        let cells = self.cells.iter().map(|(_, cell)| cell.timestamp);
        let rest = self.liveness.map(|liveness| liveness.timestamp).into_iter();
        let complex = self.complex.iter().filter_map(|(_, column)| column.newest());
        let live = cells.chain(rest).chain(complex).max();
        live.or(self.deletion.map(|deletion| deletion.timestamp)).unwrap_or(0)
    }
}

/// Merges two sequences that ascend by their keys; `join` merges what has one key.
pub(crate) fn merge_sorted<K: Ord, V>(left: Vec<(K, V)>, right: Vec<(K, V)>, join: impl Fn(V, V) -> V) -> Vec<(K, V)> {
    if left.is_empty() || right.is_empty() {
        return if left.is_empty() { right } else { left };
    }
    let mut merged = Vec::with_capacity(left.len().max(right.len()));
    let mut left = left.into_iter().peekable();
    let mut right = right.into_iter().peekable();
    loop {
        let order = match (left.peek(), right.peek()) {
            (Some((a, _)), Some((b, _))) => a.cmp(b),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return merged,
        };
        match order {
            Ordering::Less => merged.extend(left.next()),
            Ordering::Greater => merged.extend(right.next()),
            Ordering::Equal => merged.extend(left.next().zip(right.next()).map(|((key, a), (_, b))| (key, join(a, b)))),
        }
    }
}

const FORMAT: u8 = 1;
const FLAG_LIVENESS: u8 = 1;
const FLAG_LIVENESS_EXPIRING: u8 = 2;
const FLAG_DELETION: u8 = 4;
const FLAG_COMPLEX: u8 = 8;
const FLAGS_KNOWN: u8 = 15;

/// Cells to allocate for at once when a row is read; a count is believed only as far as that.
const CELLS_RESERVED: usize = 64;

const CELL_LIVE: u8 = 0;
const CELL_TOMBSTONE: u8 = 1;
const CELL_EXPIRING: u8 = 2;
const CELL_EXPIRED: u8 = 3;

/// `base - timestamp`, which fits 64 bits without a sign since `base` is the larger one.
#[inline]
pub(crate) fn difference(base: i64, timestamp: i64) -> u64 {
    debug_assert!(timestamp <= base, "the base is the largest timestamp");
    (base as u64).wrapping_sub(timestamp as u64)
}

#[inline(always)]
pub(crate) fn timestamp_at(base: i64, difference: u64) -> Result<i64, CodecError> {
    let lowest = (base as u64).wrapping_sub(i64::MIN as u64);
    if difference > lowest {
        return Err(CodecError::Invalid("timestamp"));
    }
    Ok((base as u64).wrapping_sub(difference) as i64)
}

#[inline(always)]
pub(crate) fn read_timestamp(reader: &mut Reader, base: i64) -> Result<i64, CodecError> {
    timestamp_at(base, reader.varint()?)
}

fn put_expiry(out: &mut Vec<u8>, expiry: Expiry) {
    put_varint(out, u64::from(expiry.ttl_seconds));
    put_varint(out, u64::from(expiry.at_seconds));
}

#[inline]
fn read_expiry(reader: &mut Reader) -> Result<Expiry, CodecError> {
    Ok(Expiry { ttl_seconds: reader.varint_u32()?, at_seconds: reader.varint_u32()? })
}

impl Encode for Row {
    fn encode(&self, out: &mut Vec<u8>) {
        let base = self.base();
        let expiring = self.liveness.is_some_and(|liveness| liveness.expiry.is_some());
        let flags = (u8::from(self.liveness.is_some()) * FLAG_LIVENESS)
            | (u8::from(expiring) * FLAG_LIVENESS_EXPIRING)
            | (u8::from(self.deletion.is_some()) * FLAG_DELETION)
            | (u8::from(!self.complex.is_empty()) * FLAG_COMPLEX);
        out.extend_from_slice(&[FORMAT, flags]);
        out.extend_from_slice(&base.to_be_bytes());
        if let Some(liveness) = self.liveness {
            put_varint(out, difference(base, liveness.timestamp));
            if let Some(expiry) = liveness.expiry {
                put_expiry(out, expiry);
            }
        }
        if let Some(deletion) = self.deletion {
            put_varint(out, difference(base, deletion.timestamp));
            put_varint(out, u64::from(deletion.local_seconds));
        }
        put_varint(out, self.cells.len() as u64);
        let mut previous = 0;
        for (id, cell) in &self.cells {
            put_varint(out, u64::from(id.0 - previous));
            previous = id.0;
            encode_cell(cell, out, base);
        }
        if !self.complex.is_empty() {
            put_varint(out, self.complex.len() as u64);
            let mut previous = 0;
            for (id, column) in &self.complex {
                put_varint(out, u64::from(id.0 - previous));
                previous = id.0;
                column.encode(out, base);
            }
        }
    }
}

#[inline]
pub(crate) fn encode_cell(cell: &Cell, out: &mut Vec<u8>, base: i64) {
    let kind = match &cell.state {
        CellState::Live(_) => CELL_LIVE,
        CellState::Tombstone(_) => CELL_TOMBSTONE,
        CellState::Expiring(_, Some(_)) => CELL_EXPIRING,
        CellState::Expiring(_, None) => CELL_EXPIRED,
    };
    out.push(kind);
    put_varint(out, difference(base, cell.timestamp));
    match &cell.state {
        CellState::Live(value) => put_bytes(out, value),
        CellState::Tombstone(local_seconds) => put_varint(out, u64::from(*local_seconds)),
        CellState::Expiring(expiry, value) => {
            put_expiry(out, *expiry);
            if let Some(value) = value {
                put_bytes(out, value);
            }
        }
    }
}

/// How the values of cells are read.
pub(crate) trait Stored: Sized {
    /// The next `length` bytes.
    fn take(reader: &mut Reader, length: usize) -> Result<Self, CodecError>;
}

impl Stored for Bytes {
    #[inline(always)]
    fn take(reader: &mut Reader, length: usize) -> Result<Bytes, CodecError> {
        reader.take(length)
    }
}

#[inline(always)]
pub(crate) fn decode_cell<V: Stored>(reader: &mut Reader, base: i64) -> Result<Cell<V>, CodecError> {
    let kind = reader.u8()?;
    let timestamp = read_timestamp(reader, base)?;
    let value = |reader: &mut Reader| {
        let length = reader.count()?;
        V::take(reader, length)
    };
    let state = match kind {
        CELL_LIVE => CellState::Live(value(reader)?),
        CELL_TOMBSTONE => CellState::Tombstone(reader.varint_u32()?),
        CELL_EXPIRING => {
            let expiry = read_expiry(reader)?;
            CellState::Expiring(expiry, Some(value(reader)?))
        }
        CELL_EXPIRED => CellState::Expiring(read_expiry(reader)?, None),
        _ => return Err(CodecError::Invalid("cell kind")),
    };
    Ok(Cell { timestamp, state })
}

impl Decode for Row {
    fn decode(reader: &mut Reader) -> Result<Row, CodecError> {
        let mut row = Row::default();
        read_row(&mut row, reader)?;
        Ok(row)
    }
}

/// Makes `row` the one that `reader` gives, in the memory that it has. After an error it is no row.
fn read_row<V: Stored>(row: &mut Row<V>, reader: &mut Reader) -> Result<(), CodecError> {
    match reader.u8()? {
        FORMAT => {}
        version => return Err(CodecError::Version(version)),
    }
    let flags = reader.u8()?;
    if flags & !FLAGS_KNOWN != 0 || flags & (FLAG_LIVENESS | FLAG_LIVENESS_EXPIRING) == FLAG_LIVENESS_EXPIRING {
        return Err(CodecError::Invalid("row flags"));
    }
    let base = reader.i64()?;
    (row.liveness, row.deletion) = (None, None);
    row.cells.clear();
    row.complex.clear();
    // Of everything but the deletion.
    let (mut newest, mut oldest) = (None::<i64>, i64::MAX);
    if flags & FLAG_LIVENESS != 0 {
        let timestamp = read_timestamp(reader, base)?;
        let expiring = flags & FLAG_LIVENESS_EXPIRING != 0;
        let expiry = if expiring { Some(read_expiry(reader)?) } else { None };
        row.liveness = Some(Liveness { timestamp, expiry });
        (newest, oldest) = (Some(timestamp), timestamp);
    }
    if flags & FLAG_DELETION != 0 {
        let timestamp = read_timestamp(reader, base)?;
        row.deletion = Some(Deletion { timestamp, local_seconds: reader.varint_u32()? });
    }
    let mut ids = ColumnIds::default();
    let count = reader.count()?;
    row.cells.reserve(count.min(CELLS_RESERVED));
    for _ in 0..count {
        let (step, cell) = match PlainCell::at(reader.rest()) {
            Some(plain) => {
                reader.pass(PlainCell::HEADER_BYTES);
                let state = CellState::Live(V::take(reader, plain.value_bytes)?);
                (plain.step, Cell { timestamp: base, state })
            }
            None => (reader.varint_u32()?, decode_cell(reader, base)?),
        };
        (newest, oldest) = (newest.max(Some(cell.timestamp)), oldest.min(cell.timestamp));
        row.cells.push((ids.next(step)?, cell));
    }
    if flags & FLAG_COMPLEX != 0 {
        let mut ids = ColumnIds::default();
        for _ in 0..reader.count()? {
            row.complex.push((ids.next(reader.varint_u32()?)?, ComplexColumn::decode(reader, base)?));
        }
        if row.complex.is_empty() {
            return Err(CodecError::Invalid("row flags"));
        }
    }
    // Only the one encoding of a state is accepted.
    let shadowed = newest.is_some() && row.deletion.is_some_and(|deletion| oldest <= deletion.timestamp)
        || row.complex.iter().any(|(_, column)| column.is_shadowed(row.deletion));
    newest = row.complex.iter().filter_map(|(_, column)| column.newest()).max().max(newest);
    if shadowed || base != newest.or(row.deletion.map(|deletion| deletion.timestamp)).unwrap_or(0) {
        return Err(CodecError::Invalid("row"));
    }
    Ok(())
}

/// The head of a cell as nearly all are: a value without time to live, written with the newest of the row, whose
/// column's step and length take a byte each. Reading it at once saves most of what decoding a row costs.
struct PlainCell {
    /// From the column id before.
    step: u32,
    value_bytes: usize,
}

impl PlainCell {
    const HEADER_BYTES: usize = 4;

    /// The cell at the front of `bytes`; `None` when it is of another form, or when less of it is there.
    #[inline(always)]
    fn at(bytes: &[u8]) -> Option<PlainCell> {
        let ([step, kind, difference, length], rest) = bytes.split_first_chunk::<4>()?;
        let plain = *kind == CELL_LIVE && *difference == 0 && (*step | *length) < 0x80;
        let value_bytes = usize::from(*length);
        (plain && value_bytes <= rest.len()).then_some(PlainCell { step: u32::from(*step), value_bytes })
    }
}

/// Column ids as they come: each as the difference to the one before.
#[derive(Default)]
struct ColumnIds {
    previous: Option<u32>,
}

impl ColumnIds {
    #[inline(always)]
    fn next(&mut self, step: u32) -> Result<ColumnId, CodecError> {
        let id = match self.previous {
            None => Some(step),
            Some(_) if step == 0 => None,
            Some(previous) => previous.checked_add(step),
        };
        self.previous = id;
        id.map(ColumnId).ok_or(CodecError::Invalid("column id"))
    }
}

/// What a read wants to know of a row without building it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowSummary {
    /// A reader sees the row.
    pub live: bool,
    /// The deletions of the row and of its complex columns, cells that are deleted, and what has expired: each counts
    /// one.
    pub tombstones: u32,
    /// The value of an expired cell is still there: the row is not in its normal form.
    pub expired_values: bool,
    /// The smallest timestamp in the row: a deletion below it takes nothing out.
    pub oldest: i64,
}

/// What the row that these bytes encode is to a reader at `now_seconds`, found without building it. Accepts and
/// refuses the same bytes as [`Row::from_bytes`].
///
/// # Errors
/// When the bytes are not the encoding of a row.
pub fn summarize(bytes: &[u8], now_seconds: i64) -> Result<RowSummary, CodecError> {
    let mut walker = Walker::new(bytes);
    match walker.u8()? {
        FORMAT => {}
        version => return Err(CodecError::Version(version)),
    }
    let flags = walker.u8()?;
    if flags & !FLAGS_KNOWN != 0 || flags & (FLAG_LIVENESS | FLAG_LIVENESS_EXPIRING) == FLAG_LIVENESS_EXPIRING {
        return Err(CodecError::Invalid("row flags"));
    }
    let base = walker.i64()?;
    let mut summary = RowSummary { live: false, tombstones: 0, expired_values: false, oldest: i64::MAX };
    // Largest timestamp of what a deletion of the row would have to be below; the smallest is `oldest`.
    let mut largest = None::<i64>;
    if flags & FLAG_LIVENESS != 0 {
        let timestamp = timestamp_at(base, walker.varint()?)?;
        (largest, summary.oldest) = (Some(timestamp), timestamp);
        summary.live = flags & FLAG_LIVENESS_EXPIRING == 0 || !walk_expiry(&mut walker)?.is_past(now_seconds);
        summary.tombstones = u32::from(!summary.live);
    }
    let mut deletion = None;
    if flags & FLAG_DELETION != 0 {
        let timestamp = timestamp_at(base, walker.varint()?)?;
        deletion = Some(Deletion { timestamp, local_seconds: walker.varint_u32()? });
        summary.tombstones += 1;
    }
    let mut ids = ColumnIds::default();
    for _ in 0..walker.count()? {
        let (step, timestamp) = match PlainCell::at(walker.rest()) {
            Some(plain) => {
                walker.pass(PlainCell::HEADER_BYTES + plain.value_bytes);
                (summary.live, summary.oldest) = (true, summary.oldest.min(base));
                (plain.step, base)
            }
            None => (walker.varint_u32()?, walk_cell(&mut walker, base, now_seconds, &mut summary)?),
        };
        ids.next(step)?;
        largest = largest.max(Some(timestamp));
    }
    let mut shadowed = largest.is_some() && deletion.is_some_and(|deletion| summary.oldest <= deletion.timestamp);
    if flags & FLAG_COMPLEX != 0 {
        let columns = walker.count()?;
        if columns == 0 {
            return Err(CodecError::Invalid("row flags"));
        }
        let mut ids = ColumnIds::default();
        for _ in 0..columns {
            ids.next(walker.varint_u32()?)?;
            let column = complex::walk(&mut walker, base, now_seconds, deletion, &mut summary)?;
            largest = largest.max(Some(column.newest));
            shadowed |= column.shadowed;
        }
    }
    if shadowed || base != largest.or(deletion.map(|deletion| deletion.timestamp)).unwrap_or(0) {
        return Err(CodecError::Invalid("row"));
    }
    walker.finish()?;
    summary.oldest = deletion.map_or(summary.oldest, |deletion| deletion.timestamp);
    Ok(summary)
}

/// True for the encoding of a row with nothing in it.
#[must_use]
pub fn encoded_is_empty(bytes: &[u8]) -> bool {
    bytes == [FORMAT, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
}

#[inline]
fn walk_expiry(walker: &mut Walker) -> Result<Expiry, CodecError> {
    Ok(Expiry { ttl_seconds: walker.varint_u32()?, at_seconds: walker.varint_u32()? })
}

/// Passes a cell, and adds what it is to `summary`; its timestamp.
#[inline(always)]
pub(crate) fn walk_cell(
    walker: &mut Walker<'_>,
    base: i64,
    now_seconds: i64,
    summary: &mut RowSummary,
) -> Result<i64, CodecError> {
    let kind = walker.u8()?;
    let timestamp = timestamp_at(base, walker.varint()?)?;
    let shown = match kind {
        CELL_LIVE => {
            walker.skip_bytes()?;
            true
        }
        CELL_TOMBSTONE => {
            walker.varint_u32()?;
            false
        }
        CELL_EXPIRING => {
            let expired = walk_expiry(walker)?.is_past(now_seconds);
            walker.skip_bytes()?;
            summary.expired_values |= expired;
            !expired
        }
        CELL_EXPIRED => {
            walk_expiry(walker)?;
            false
        }
        _ => return Err(CodecError::Invalid("cell kind")),
    };
    summary.live |= shown;
    summary.tombstones += u32::from(!shown);
    summary.oldest = summary.oldest.min(timestamp);
    Ok(timestamp)
}

/// Where in its encoded row the value of a cell lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    start: usize,
    end: usize,
}

impl Stored for Span {
    #[inline(always)]
    fn take(reader: &mut Reader, length: usize) -> Result<Span, CodecError> {
        let start = reader.position();
        reader.skip(length)?;
        Ok(Span { start, end: start + length })
    }
}

/// An encoded row and what is in it, values left where they are: reading one row after the other into the same view
/// allocates nothing and counts no references but of the values that are taken. The one way in which rows of
/// answers become results.
#[derive(Clone, Debug, Default)]
pub struct RowView {
    encoded: Bytes,
    row: Row<Span>,
}

impl RowView {
    /// The view of a row that is not encoded.
    #[must_use]
    pub fn of(row: &Row) -> RowView {
        let mut view = RowView::default();
        let is_read = view.read(&row.to_bytes());
        debug_assert_eq!(is_read, Ok(()), "what is encoded can be read");
        view
    }

    /// Becomes the view of this row.
    ///
    /// # Errors
    /// When it is not the encoding of a row; the view is then that of an empty one.
    pub fn read(&mut self, encoded: &Bytes) -> Result<(), CodecError> {
        let mut reader = Reader::new(encoded.clone());
        let outcome = read_row(&mut self.row, &mut reader).and_then(|()| reader.finish_source());
        match outcome {
            Ok(encoded) => {
                self.encoded = encoded;
                Ok(())
            }
            Err(error) => {
                *self = RowView::default();
                Err(error)
            }
        }
    }

    /// What is in the row.
    #[must_use]
    pub fn row(&self) -> &Row<Span> {
        &self.row
    }

    /// The value of the cell of `column` that a reader at `now_seconds` sees.
    #[must_use]
    pub fn value(&self, column: ColumnId, now_seconds: i64) -> Option<Bytes> {
        let span = self.row.cell(column)?.value(now_seconds)?;
        Some(self.encoded.slice(span.start..span.end))
    }
}

#[cfg(test)]
#[path = "row_tests.rs"]
pub(crate) mod tests;
