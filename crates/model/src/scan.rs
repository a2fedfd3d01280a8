//! A read of many partitions: those of a range of tokens, in the order of their keys, page by page; and the rule of
//! what a page holds, the same for every implementation of storage.
//!
//! A scan is one read after the other: each partition is answered as [`crate::answer`] answers a
//! [`ReadCommand`](crate::ReadCommand) with what is left of the limits. Pages put together are therefore what one
//! page without limits would be, but for the static row and the deletion of a partition that was cut: they come
//! with each part of it.

use crate::answer::{Answer, PartitionAnswer, Wanted};
use crate::codec::{CodecError, Decode, Encode, Reader, put_bytes, put_option, put_sequence, put_varint};
use crate::deletion::PartitionDeletions;
use crate::garbage::{Purge, gc_before};
use crate::id::{ColumnId, TableId};
use crate::key::PartitionKey;
use crate::mutation::{Record, RecordKey};
use crate::read::{ReadData, Slice, put_drops, slices_after, take_drops, validate_slices};
use crate::row::encoded_is_empty;
use crate::token::TokenRange;
use bytes::Bytes;

/// What to read of the partitions of a range of tokens. As in a [`ReadCommand`](crate::ReadCommand), everything is
/// answered that reconciliation needs; so are partitions that hold nothing but deletions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScanCommand {
    /// The table.
    pub table: TableId,
    /// The partitions: those whose tokens are in it.
    pub range: TokenRange,
    /// Where an earlier page ended.
    pub resume: Option<ScanPosition>,
    /// The rows wanted of each partition: not empty, ascending, disjoint.
    pub slices: Vec<Slice>,
    /// True when the static rows are wanted too.
    pub static_row: bool,
    /// Stop after this many rows that are live at `now_seconds`, those of all partitions together; at least 1. A
    /// partition in which only the static row is live counts as one row.
    pub row_limit: u32,
    /// Go on with the next partition after this many live rows of one, over all pages; at least 1.
    pub per_partition_limit: u32,
    /// Stop after the row, or the partition without rows, that reaches this many bytes; at least 1.
    pub bytes_limit: u32,
    /// As [`ReadCommand::now_seconds`](crate::ReadCommand::now_seconds).
    pub now_seconds: u32,
    /// As [`ReadCommand::tombstone_limit`](crate::ReadCommand::tombstone_limit), for a page.
    pub tombstone_limit: u32,
    /// True for a scan of much data that nobody will soon read again: it does not take the place of other
    /// data in caches. Changes nothing in the answer.
    pub bulk: bool,
    /// As [`ReadCommand::dropped_columns`](crate::ReadCommand::dropped_columns).
    pub dropped_columns: Vec<(ColumnId, i64)>,
}

/// Up to where a scan has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScanPosition {
    /// The last partition that was read.
    pub partition: PartitionKey,
    /// Where in it the scan goes on; `None` when it is done.
    pub within: Option<PositionWithin>,
}

/// Up to where a partition has been scanned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PositionWithin {
    /// The encoded clustering key of the last row that was answered.
    pub last: Bytes,
    /// What is left of the limit per partition; at least 1.
    pub rows_left: u32,
}

/// A page of a scan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScanData {
    /// What a replica holds of each partition, by ascending key; none is empty. `more` of a partition is true when
    /// a limit ended it: of the page, or per partition.
    pub partitions: Vec<(PartitionKey, ReadData)>,
    /// Where the next page goes on; `None` when the range is exhausted. There may be nothing left after it.
    pub next: Option<ScanPosition>,
}

/// What a partition costs of the limit of bytes beside its key, its rows and its deletions, so that partitions
/// with next to nothing in them end a page too.
const PARTITION_BYTES: usize = 32;

/// Where the first partition of a page is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScanStart<'a> {
    /// It is the first of the range.
    Range,
    /// It is this one, if there still is something in it.
    At(&'a PartitionKey),
    /// It is the one after this.
    After(&'a PartitionKey),
}

impl ScanCommand {
    /// By what who merges answers tells garbage, in a table with this `gc_grace_seconds`. Replicas answer with it:
    /// scans
    /// are not digested.
    #[must_use]
    pub fn purge(&self, gc_grace_seconds: u32) -> Purge {
        Purge {
            now_seconds: self.now_seconds,
            gc_before_seconds: gc_before(self.now_seconds, gc_grace_seconds),
            dropped_columns: self.dropped_columns.clone(),
        }
    }

    /// Checks that it is a command that a replica can serve.
    ///
    /// # Errors
    /// When a part of it is not what it must be.
    pub fn validate(&self) -> Result<(), CodecError> {
        if self.range.start >= self.range.end {
            return Err(CodecError::Invalid("token range"));
        }
        validate_slices(&self.slices)?;
        if self.row_limit == 0 || self.per_partition_limit == 0 || self.bytes_limit == 0 {
            return Err(CodecError::Invalid("limit"));
        }
        let sound = self.resume.as_ref().is_none_or(|resume| {
            let rows_left = resume.within.as_ref().map_or(1, |within| within.rows_left);
            self.range.contains(resume.partition.token) && rows_left > 0
        });
        if sound { Ok(()) } else { Err(CodecError::Invalid("scan position")) }
    }
}

/// Puts a page together: partitions in the order of their keys, each begun with [`ScanAnswer::partition`] and
/// finished with [`ScanAnswer::push`] until that says that the page ends.
#[derive(Debug)]
pub struct ScanAnswer<'a> {
    command: &'a ScanCommand,
    /// The partition in which an earlier page ended, what is wanted of it, and what is left of its limit.
    resumed: Option<(&'a PartitionKey, Vec<Slice>, u32)>,
    partitions: Vec<(PartitionKey, ReadData)>,
    rows_left: u32,
    bytes_left: u64,
    tombstones_left: u32,
    next: Option<ScanPosition>,
}

impl<'a> ScanAnswer<'a> {
    /// A page of `command`, which is valid.
    #[must_use]
    pub fn new(command: &'a ScanCommand) -> ScanAnswer<'a> {
        let within = command.resume.as_ref().and_then(|resume| Some((&resume.partition, resume.within.as_ref()?)));
        let resumed = within.map(|(partition, within)| {
            (partition, slices_after(&command.slices, false, &within.last), within.rows_left)
        });
        ScanAnswer {
            command,
            resumed: resumed.filter(|(_, slices, _)| !slices.is_empty()),
            partitions: Vec::new(),
            rows_left: command.row_limit,
            bytes_left: u64::from(command.bytes_limit),
            tombstones_left: command.tombstone_limit,
            next: None,
        }
    }

    /// Where the page begins.
    #[must_use]
    pub fn start(&self) -> ScanStart<'a> {
        match (&self.resumed, &self.command.resume) {
            (Some((partition, ..)), _) => ScanStart::At(partition),
            (None, Some(resume)) => ScanStart::After(&resume.partition),
            (None, None) => ScanStart::Range,
        }
    }

    /// The rows wanted of a partition.
    #[must_use]
    pub fn slices(&self, partition: &PartitionKey) -> &[Slice] {
        match &self.resumed {
            Some((resumed, slices, _)) if *resumed == partition => slices,
            _ => &self.command.slices,
        }
    }

    /// What is left of the limit per partition, and whether the partition was begun by an earlier page.
    fn allowance(&self, partition: &PartitionKey) -> (u32, bool) {
        match &self.resumed {
            Some((resumed, _, rows_left)) if *resumed == partition => (*rows_left, true),
            _ => (self.command.per_partition_limit, false),
        }
    }

    /// The answer for a partition with these deletions, to be given its static row and its rows.
    #[must_use]
    pub fn partition(&self, partition: &PartitionKey, deletions: PartitionDeletions) -> Answer<'_> {
        let wanted = Wanted {
            slices: self.slices(partition),
            reversed: false,
            static_row: self.command.static_row,
            row_limit: self.allowance(partition).0.min(self.rows_left),
            bytes_limit: self.bytes_left.saturating_sub((partition.bytes.len() + PARTITION_BYTES) as u64).max(1),
            tombstone_limit: self.tombstones_left,
            now_seconds: i64::from(self.command.now_seconds),
            // Scans are not digested.
            purge: Purge { dropped_columns: self.command.dropped_columns.clone(), ..Purge::default() },
        };
        Answer::of(wanted, deletions)
    }

    /// Takes the answer for a partition. Returns true when the scan goes on, false when the page ends.
    pub fn push(&mut self, partition: PartitionKey, answer: PartitionAnswer) -> bool {
        let PartitionAnswer { data, live_rows, static_row_live } = answer;
        if data == ReadData::default() {
            return true;
        }
        let (allowance, resumed) = self.allowance(&partition);
        let rows = if live_rows == 0 && static_row_live && !resumed { 1 } else { live_rows };
        self.rows_left = self.rows_left.saturating_sub(rows);
        self.bytes_left = self.bytes_left.saturating_sub(bytes(&partition, &data));
        self.tombstones_left = self.tombstones_left.saturating_sub(data.tombstones);
        let rows_left = allowance.saturating_sub(live_rows);
        let goes_on = self.rows_left > 0 && self.bytes_left > 0;
        if !goes_on {
            let last = data.rows.last().map(|(last, _)| last).filter(|_| data.more && rows_left > 0);
            let within = last.map(|last| PositionWithin { last: last.clone(), rows_left });
            self.next = Some(ScanPosition { partition: partition.clone(), within });
        }
        self.partitions.push((partition, data));
        goes_on
    }

    /// The page.
    #[must_use]
    pub fn finish(self) -> ScanData {
        ScanData { partitions: self.partitions, next: self.next }
    }
}

/// Records of the partitions of a range of tokens as they are stored, for other nodes to merge into what they have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportCommand {
    /// The table.
    pub table: TableId,
    /// The partitions: those whose tokens are in it.
    pub range: TokenRange,
    /// The last record of an earlier page.
    pub after: Option<(PartitionKey, RecordKey)>,
    /// Stop after the record that reaches this many bytes; at least 1.
    pub bytes_limit: u32,
}

/// A record with its partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionRecord {
    /// The partition.
    pub partition: PartitionKey,
    /// A record of it.
    pub record: Record,
}

/// A page of an export.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExportData {
    /// By ascending partition, then by ascending key, one record for each key. Values are merged as far as they are
    /// stored in one place; what a deletion covers may still be among them.
    pub records: Vec<PartitionRecord>,
    /// True when the limit ended the page: the next one goes on after the last record.
    pub more: bool,
}

impl ExportCommand {
    /// Checks that it is a command that a replica can serve.
    ///
    /// # Errors
    /// When a part of it is not what it must be.
    pub fn validate(&self) -> Result<(), CodecError> {
        if self.range.start >= self.range.end {
            return Err(CodecError::Invalid("token range"));
        }
        if self.bytes_limit == 0 {
            return Err(CodecError::Invalid("limit"));
        }
        let sound = self.after.as_ref().is_none_or(|(partition, _)| self.range.contains(partition.token));
        if sound { Ok(()) } else { Err(CodecError::Invalid("export position")) }
    }
}

impl ExportData {
    /// Adds a record, unless it says nothing, to a page that ends with the one that reaches `bytes_limit`, given the
    /// bytes before it. Returns true when the page goes on.
    pub fn push(&mut self, record: PartitionRecord, bytes: &mut u64, bytes_limit: u32) -> bool {
        let empty = match &record.record.key {
            RecordKey::Deletions => record.record.value == PartitionDeletions::default().to_bytes(),
            RecordKey::Static | RecordKey::Row(_) => encoded_is_empty(&record.record.value),
        };
        if empty {
            return true;
        }
        *bytes += record.bytes() as u64;
        self.records.push(record);
        self.more = *bytes >= u64::from(bytes_limit);
        !self.more
    }
}

impl PartitionRecord {
    /// Approximate size in memory and in messages, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let clustering = match &self.record.key {
            RecordKey::Row(clustering) => clustering.len(),
            RecordKey::Deletions | RecordKey::Static => 0,
        };
        PARTITION_BYTES + self.partition.bytes.len() + clustering + self.record.value.len()
    }
}

/// Checks that records can be stored: that each is valid, and that keys ascend.
///
/// # Errors
/// When they cannot.
pub fn validate_records(records: &[PartitionRecord]) -> Result<(), CodecError> {
    let key = |record: &'_ PartitionRecord| (record.partition.clone(), record.record.key.clone());
    if !records.windows(2).all(|pair| key(&pair[0]) < key(&pair[1])) {
        return Err(CodecError::Invalid("record order"));
    }
    records.iter().try_for_each(|record| record.record.validate())
}

impl Encode for PositionWithin {
    fn encode(&self, out: &mut Vec<u8>) {
        put_bytes(out, &self.last);
        self.rows_left.encode(out);
    }
}

impl Decode for PositionWithin {
    fn decode(reader: &mut Reader) -> Result<PositionWithin, CodecError> {
        Ok(PositionWithin { last: reader.bytes()?, rows_left: reader.varint_u32()? })
    }
}

impl Encode for ScanPosition {
    fn encode(&self, out: &mut Vec<u8>) {
        self.partition.encode(out);
        put_option(out, self.within.as_ref());
    }
}

impl Decode for ScanPosition {
    fn decode(reader: &mut Reader) -> Result<ScanPosition, CodecError> {
        Ok(ScanPosition { partition: PartitionKey::decode(reader)?, within: reader.option()? })
    }
}

impl Encode for ScanCommand {
    fn encode(&self, out: &mut Vec<u8>) {
        self.table.encode(out);
        self.range.encode(out);
        put_option(out, self.resume.as_ref());
        put_sequence(out, &self.slices);
        self.static_row.encode(out);
        for number in [self.row_limit, self.per_partition_limit, self.bytes_limit, self.now_seconds] {
            number.encode(out);
        }
        self.tombstone_limit.encode(out);
        self.bulk.encode(out);
        put_drops(out, &self.dropped_columns);
    }
}

impl Decode for ScanCommand {
    fn decode(reader: &mut Reader) -> Result<ScanCommand, CodecError> {
        let command = ScanCommand {
            table: TableId::decode(reader)?,
            range: TokenRange::decode(reader)?,
            resume: reader.option()?,
            slices: reader.sequence()?,
            static_row: reader.bool()?,
            row_limit: reader.varint_u32()?,
            per_partition_limit: reader.varint_u32()?,
            bytes_limit: reader.varint_u32()?,
            now_seconds: reader.varint_u32()?,
            tombstone_limit: reader.varint_u32()?,
            bulk: reader.bool()?,
            dropped_columns: take_drops(reader)?,
        };
        command.validate()?;
        Ok(command)
    }
}

impl Encode for ScanData {
    fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.partitions.len() as u64);
        for (partition, data) in &self.partitions {
            partition.encode(out);
            data.encode(out);
        }
        put_option(out, self.next.as_ref());
    }
}

impl Decode for ScanData {
    fn decode(reader: &mut Reader) -> Result<ScanData, CodecError> {
        let mut partitions = Vec::new();
        for _ in 0..reader.count()? {
            partitions.push((PartitionKey::decode(reader)?, ReadData::decode(reader)?));
        }
        Ok(ScanData { partitions, next: reader.option()? })
    }
}

/// What a partition costs of the limit of bytes.
fn bytes(partition: &PartitionKey, data: &ReadData) -> u64 {
    let ranges = data.deletions.ranges().iter().map(|range| range.start.len() + range.end.len() + 16).sum::<usize>();
    let rows = data.rows.iter().map(|(clustering, row)| clustering.len() + row.len()).sum::<usize>();
    let static_row = data.static_row.as_ref().map_or(0, Bytes::len);
    (partition.bytes.len() + PARTITION_BYTES + ranges + rows + static_row) as u64
}

#[cfg(test)]
#[path = "scan_tests.rs"]
pub(crate) mod tests;
