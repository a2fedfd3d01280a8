//! A read of one partition, and its answer, as coordinator and replica exchange them.

use crate::codec::{CodecError, Decode, Encode, Reader, put_bytes, put_option, put_sequence, put_varint};
use crate::deletion::PartitionDeletions;
use crate::garbage::Purge;
use crate::id::{ColumnId, TableId};
use crate::key::PartitionKey;
use bytes::Bytes;

/// Rows whose encoded clustering key is in `start..end`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
    /// First position wanted.
    pub start: Bytes,
    /// First position after it not wanted.
    pub end: Bytes,
}

/// What to read of one partition. A replica answers with everything that reconciliation needs:
/// tombstones are answered like values, and cells are never filtered by column, since a read repair
/// must see whole rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadCommand {
    /// The table.
    pub table: TableId,
    /// The partition.
    pub partition: PartitionKey,
    /// The rows wanted: not empty, ascending, disjoint.
    pub slices: Vec<Slice>,
    /// True to walk the rows from the last to the first.
    pub reversed: bool,
    /// True when the static row is wanted too.
    pub static_row: bool,
    /// Stop after this many rows that are live at `now_seconds`; at least 1.
    pub row_limit: u32,
    /// Stop after the row that reaches this many bytes; at least 1.
    pub bytes_limit: u32,
    /// The coordinator's wall clock in seconds since 1970: what has expired by then is not live, on
    /// every replica alike.
    pub now_seconds: u32,
    /// Refuse to answer with more tombstones than this: each costs what a row costs, and nobody sees it.
    /// [`ReadData::tombstones`] says what counts.
    pub tombstone_limit: u32,
    /// What was deleted before this second since 1970 may be purged by the table's rule: digests leave it out, on
    /// every replica alike. 0 when nothing may be.
    pub gc_before_seconds: u32,
    /// The columns that the table had once, each with the largest timestamp in microseconds that its drop covers
    /// ([`crate::schema::Table::drops`]): a replica answers as if nothing older had been written to them.
    pub dropped_columns: Vec<(ColumnId, i64)>,
}

/// What a replica holds for a [`ReadCommand`]; [`crate::answer::Answer`] has the rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadData {
    /// The partition's deletion, and its range tombstones clipped to the part that was read. What
    /// they cover is not in the rows.
    pub deletions: PartitionDeletions,
    /// The encoded static row, if wanted and there is one.
    pub static_row: Option<Bytes>,
    /// `(encoded clustering key, encoded row)` in reading order. Rows that are not live are among
    /// them: deleted and expired ones.
    pub rows: Vec<(Bytes, Bytes)>,
    /// True when a limit ended the read: nothing is known of what comes after the last row. False
    /// when the answer covers the whole command.
    pub more: bool,
    /// Tombstones in the answer: of each row its deletion, its deleted cells and what has expired; range
    /// tombstones; the deletion of the partition. For people: no digest has it.
    pub tombstones: u32,
}

impl Slice {
    /// All rows of a partition.
    #[must_use]
    pub fn all() -> Slice {
        // Every encoded clustering key starts with a byte between 0x38 and 0x42.
        Slice { start: Bytes::from_static(&[0x20]), end: Bytes::from_static(&[0x60]) }
    }

    /// The row at this encoded clustering key: its end is the key and a zero byte, by which storage can tell that
    /// one row is wanted.
    #[must_use]
    pub fn of_row(clustering: &Bytes) -> Slice {
        Slice { start: clustering.clone(), end: Bytes::from([clustering.as_ref(), &[0]].concat()) }
    }

    /// No row.
    #[must_use]
    pub fn nowhere() -> Slice {
        // Every encoded clustering key starts above that.
        Slice { start: Bytes::from_static(&[0x20]), end: Bytes::from_static(&[0x21]) }
    }

    /// True when `clustering` is in it.
    #[must_use]
    pub fn contains(&self, clustering: &[u8]) -> bool {
        self.start.as_ref() <= clustering && clustering < self.end.as_ref()
    }
}

/// Checks that slices are what a command may have: not empty, ascending, disjoint.
///
/// # Errors
/// When they are not.
pub(crate) fn validate_slices(slices: &[Slice]) -> Result<(), CodecError> {
    let ascending = slices.windows(2).all(|pair| pair[0].end <= pair[1].start);
    if slices.is_empty() || !ascending || slices.iter().any(|slice| slice.start >= slice.end) {
        return Err(CodecError::Invalid("slices"));
    }
    Ok(())
}

/// What of `slices` comes after `last` in reading order.
#[must_use]
pub fn slices_after(slices: &[Slice], reversed: bool, last: &Bytes) -> Vec<Slice> {
    let next = || {
        // The first position after a key is the key and a zero byte.
        let mut next = last.to_vec();
        next.push(0);
        Bytes::from(next)
    };
    let rest = |slice: &Slice| {
        let rest = if reversed {
            Slice { start: slice.start.clone(), end: slice.end.clone().min(last.clone()) }
        } else {
            Slice { start: slice.start.clone().max(next()), end: slice.end.clone() }
        };
        (rest.start < rest.end).then_some(rest)
    };
    slices.iter().filter_map(rest).collect()
}

impl ReadCommand {
    /// Checks that it is a command that a replica can serve.
    ///
    /// # Errors
    /// When its slices or limits are not what they must be.
    pub fn validate(&self) -> Result<(), CodecError> {
        validate_slices(&self.slices)?;
        if self.row_limit == 0 || self.bytes_limit == 0 {
            return Err(CodecError::Invalid("limit"));
        }
        Ok(())
    }

    /// By what the replicas of this read tell garbage.
    #[must_use]
    pub fn purge(&self) -> Purge {
        Purge {
            now_seconds: self.now_seconds,
            gc_before_seconds: self.gc_before_seconds,
            dropped_columns: self.dropped_columns.clone(),
        }
    }

    /// The same command for what comes after `last` in reading order, with `row_limit` rows to go;
    /// `None` when nothing comes after.
    #[must_use]
    pub fn after(&self, last: &Bytes, row_limit: u32) -> Option<ReadCommand> {
        let slices = slices_after(&self.slices, self.reversed, last);
        (!slices.is_empty() && row_limit > 0).then(|| ReadCommand { slices, row_limit, ..self.clone() })
    }
}

impl Encode for Slice {
    fn encode(&self, out: &mut Vec<u8>) {
        put_bytes(out, &self.start);
        put_bytes(out, &self.end);
    }
}

impl Decode for Slice {
    fn decode(reader: &mut Reader) -> Result<Slice, CodecError> {
        Ok(Slice { start: reader.bytes()?, end: reader.bytes()? })
    }
}

/// Appends dropped columns.
pub(crate) fn put_drops(out: &mut Vec<u8>, drops: &[(ColumnId, i64)]) {
    put_varint(out, drops.len() as u64);
    for (column, dropped_at) in drops {
        column.encode(out);
        dropped_at.encode(out);
    }
}

/// Reads dropped columns.
pub(crate) fn take_drops(reader: &mut Reader) -> Result<Vec<(ColumnId, i64)>, CodecError> {
    let count = reader.count()?;
    (0..count).map(|_| Ok((ColumnId::decode(reader)?, reader.i64()?))).collect()
}

impl Encode for ReadCommand {
    fn encode(&self, out: &mut Vec<u8>) {
        self.table.encode(out);
        self.partition.encode(out);
        put_sequence(out, &self.slices);
        self.reversed.encode(out);
        self.static_row.encode(out);
        self.row_limit.encode(out);
        self.bytes_limit.encode(out);
        self.now_seconds.encode(out);
        self.tombstone_limit.encode(out);
        self.gc_before_seconds.encode(out);
        put_drops(out, &self.dropped_columns);
    }
}

impl Decode for ReadCommand {
    fn decode(reader: &mut Reader) -> Result<ReadCommand, CodecError> {
        let command = ReadCommand {
            table: TableId::decode(reader)?,
            partition: PartitionKey::decode(reader)?,
            slices: reader.sequence()?,
            reversed: reader.bool()?,
            static_row: reader.bool()?,
            row_limit: reader.varint_u32()?,
            bytes_limit: reader.varint_u32()?,
            now_seconds: reader.varint_u32()?,
            tombstone_limit: reader.varint_u32()?,
            gc_before_seconds: reader.varint_u32()?,
            dropped_columns: take_drops(reader)?,
        };
        command.validate()?;
        Ok(command)
    }
}

impl Encode for ReadData {
    fn encode(&self, out: &mut Vec<u8>) {
        self.deletions.encode(out);
        put_option(out, self.static_row.as_ref());
        self.more.encode(out);
        self.tombstones.encode(out);
        put_varint(out, self.rows.len() as u64);
        for (clustering, row) in &self.rows {
            put_bytes(out, clustering);
            put_bytes(out, row);
        }
    }
}

impl Decode for ReadData {
    fn decode(reader: &mut Reader) -> Result<ReadData, CodecError> {
        let deletions = PartitionDeletions::decode(reader)?;
        let static_row = reader.option()?;
        let more = reader.bool()?;
        let tombstones = reader.varint_u32()?;
        let count = reader.count()?;
        let mut rows = Vec::new();
        for _ in 0..count {
            rows.push((reader.bytes()?, reader.bytes()?));
        }
        Ok(ReadData { deletions, static_row, rows, more, tombstones })
    }
}

#[cfg(test)]
#[path = "read_tests.rs"]
pub(crate) mod tests;
