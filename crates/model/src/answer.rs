//! What a replica answers to a [`ReadCommand`], given the stored records in reading order: the one rule
//! for every implementation of storage, so that replicas that hold the same state answer with the
//! same bytes, wherever deletions and rows lie on disk.

use crate::codec::{CodecError, Decode, Encode};
use crate::deletion::{Deletion, PartitionDeletions};
use crate::digest::{Digester, ReadDigest};
use crate::garbage::Purge;
use crate::id::ColumnId;
use crate::read::{ReadCommand, ReadData, Slice};
use crate::row::{Row, RowSummary, encoded_is_empty, summarize};
use bytes::Bytes;
use thiserror::Error;

/// Why stored records have no answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AnswerError {
    /// A record is not what it must be.
    #[error("a stored value cannot be decoded: {0}")]
    Damaged(#[from] CodecError),
    /// The answer would have more tombstones than the command allows.
    #[error("{tombstones} tombstones beside {rows} live rows")]
    TooManyTombstones {
        /// Live rows that were read.
        rows: u32,
        /// Tombstones that were read, the one too many included.
        tombstones: u32,
    },
}

/// The part of a command that the answer for one partition depends on.
#[derive(Clone, Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) slices: &'a [Slice],
    pub(crate) reversed: bool,
    pub(crate) static_row: bool,
    pub(crate) row_limit: u32,
    pub(crate) bytes_limit: u64,
    pub(crate) tombstone_limit: u32,
    pub(crate) now_seconds: i64,
    /// What digests leave out.
    pub(crate) purge: Purge,
}

/// Memory to allocate at once for the rows of an answer, in bytes: the first row tells how large they are.
const RESERVED_BYTES: usize = 16 << 10;
/// The same, in rows.
const RESERVED_ROWS: usize = 256;

/// Puts an answer together. Rows are pushed in reading order until [`Answer::push`] says that a limit is
/// reached or the command's slices are exhausted.
///
/// Rules:
/// * What the partition's deletions cover is taken out of rows; a row of which nothing is left, or that was
///   empty, is not in the answer and counts for nothing.
/// * Rows that are not live are in the answer, count for the limit of bytes, and not for that of rows.
/// * The read ends after the row that reaches a limit. `more` is then true unless the command itself
///   asks for nothing after that row; whether something is stored there is not looked at.
/// * Range tombstones are clipped to the slices, and to what comes up to and including the last row when
///   a limit ended the read.
/// * An answer with more tombstones than the command allows is none: the read fails at the row that brings the
///   one too many; the deletions of the partition are counted last.
#[derive(Debug)]
pub struct Answer<'a, R = Kept> {
    wanted: Wanted<'a>,
    deletions: PartitionDeletions,
    rows: R,
    /// Room for what deletions leave of a row.
    rest: Vec<u8>,
    /// Of the rows and their keys.
    bytes: u64,
    live_rows: u32,
    static_row_live: bool,
    tombstones: u32,
    limit_reached: bool,
}

/// The answer for one partition of many.
#[derive(Debug)]
pub struct PartitionAnswer {
    pub(crate) data: ReadData,
    pub(crate) live_rows: u32,
    pub(crate) static_row_live: bool,
}

/// What becomes of the rows of an answer.
pub trait Rows: Sized {
    /// What the whole answer becomes.
    type Output;
    /// A row as it is held while it is looked at.
    type Held<'r>: AsRef<[u8]>;

    /// No rows yet, for a reader who tells garbage by `purge` and wants up to `row_limit` live ones.
    fn new(purge: Purge, row_limit: u32) -> Self;

    /// Takes the static row.
    ///
    /// # Errors
    /// When it is not a row.
    fn set_static(&mut self, row: &[u8], summary: &RowSummary) -> Result<(), CodecError>;

    /// Takes the next row.
    ///
    /// # Errors
    /// When it is not a row.
    fn add(&mut self, clustering: &[u8], row: &[u8], summary: &RowSummary) -> Result<(), CodecError>;

    /// The clustering key of the last row; empty when there is none.
    fn last(&self) -> &[u8];

    /// The answer with these deletions; see [`ReadData`].
    fn finish(self, deletions: PartitionDeletions, more: bool, tombstones: u32) -> Self::Output;

    /// The tombstones of an answer; see [`ReadData::tombstones`].
    fn tombstones(output: &Self::Output) -> u32;

    /// About how many bytes of rows an answer has that a limit has cut off; 0 for one that is whole, or has no rows.
    fn cut_bytes(output: &Self::Output) -> usize;

    /// Takes hold of the only row of an answer, before anything looks at it.
    fn hold(row: &[u8]) -> Self::Held<'_>;

    /// The answer that is one row and nothing else.
    ///
    /// # Errors
    /// When it is not a row.
    fn of_one_row(
        clustering: &Bytes,
        row: Self::Held<'_>,
        summary: &RowSummary,
        purge: Purge,
    ) -> Result<Self::Output, CodecError>;
}

/// Rows that are kept, for [`ReadData`].
#[derive(Debug)]
pub struct Kept {
    row_limit: u32,
    static_row: Option<Bytes>,
    /// Keys and rows one after the other: one allocation for the whole answer.
    contents: Vec<u8>,
    /// For each row the ends of its key and of its value in `contents`.
    ends: Vec<(usize, usize)>,
}

/// Rows that are only digested.
#[derive(Debug)]
pub struct Digested {
    digester: Digester,
    last: Vec<u8>,
}

impl Kept {
    /// Makes room for a row of this size, and with the first one for others like it.
    fn reserve(&mut self, bytes: usize) {
        if self.ends.is_empty() {
            let rows = (self.row_limit as usize).min(RESERVED_BYTES / bytes.max(1)).max(1);
            self.contents.reserve(rows.saturating_mul(bytes));
            self.ends.reserve(rows.min(RESERVED_ROWS));
        } else {
            self.contents.reserve(bytes);
        }
    }
}

impl Rows for Kept {
    type Output = ReadData;
    type Held<'r> = Bytes;

    fn new(_: Purge, row_limit: u32) -> Kept {
        Kept { row_limit, static_row: None, contents: Vec::new(), ends: Vec::new() }
    }

    fn set_static(&mut self, row: &[u8], _: &RowSummary) -> Result<(), CodecError> {
        self.static_row = Some(Bytes::copy_from_slice(row));
        Ok(())
    }

    fn add(&mut self, clustering: &[u8], row: &[u8], _: &RowSummary) -> Result<(), CodecError> {
        self.reserve(clustering.len() + row.len());
        self.contents.extend_from_slice(clustering);
        self.ends.push((self.contents.len(), self.contents.len() + row.len()));
        self.contents.extend_from_slice(row);
        Ok(())
    }

    fn last(&self) -> &[u8] {
        let Some((key_end, _)) = self.ends.last() else { return &[] };
        let before = self.ends.len().checked_sub(2).map_or(0, |index| self.ends[index].1);
        &self.contents[before..*key_end]
    }

    fn finish(self, deletions: PartitionDeletions, more: bool, tombstones: u32) -> ReadData {
        let contents = Bytes::from(self.contents);
        let mut rows = Vec::with_capacity(self.ends.len());
        let mut start = 0;
        for (key_end, row_end) in self.ends {
            rows.push((contents.slice(start..key_end), contents.slice(key_end..row_end)));
            start = row_end;
        }
        ReadData { deletions, static_row: self.static_row, rows, more, tombstones }
    }

    fn tombstones(output: &ReadData) -> u32 {
        output.tombstones
    }

    fn cut_bytes(output: &ReadData) -> usize {
        if !output.more {
            return 0;
        }
        output.rows.iter().map(|(clustering, row)| clustering.len() + row.len()).sum()
    }

    /// A copy, which the answer needs anyway. It is made first because a copy streams through memory, while the walk
    /// from cell to cell waits for each line of it.
    fn hold(row: &[u8]) -> Bytes {
        Bytes::copy_from_slice(row)
    }

    fn of_one_row(clustering: &Bytes, row: Bytes, summary: &RowSummary, _: Purge) -> Result<ReadData, CodecError> {
        let rows = vec![(clustering.clone(), row)];
        Ok(ReadData { rows, tombstones: summary.tombstones, ..ReadData::default() })
    }
}

impl Rows for Digested {
    type Output = ReadDigest;
    type Held<'r> = &'r [u8];

    fn new(purge: Purge, _: u32) -> Digested {
        Digested { digester: Digester::new(purge), last: Vec::new() }
    }

    fn set_static(&mut self, row: &[u8], summary: &RowSummary) -> Result<(), CodecError> {
        self.digester.add(None, row, summary).map(drop)
    }

    fn add(&mut self, clustering: &[u8], row: &[u8], summary: &RowSummary) -> Result<(), CodecError> {
        self.last.clear();
        self.last.extend_from_slice(clustering);
        self.digester.add(Some(clustering), row, summary).map(drop)
    }

    fn last(&self) -> &[u8] {
        &self.last
    }

    fn finish(self, deletions: PartitionDeletions, more: bool, tombstones: u32) -> ReadDigest {
        ReadDigest { digest: self.digester.finish(&deletions, more), tombstones }
    }

    fn tombstones(output: &ReadDigest) -> u32 {
        output.tombstones
    }

    fn cut_bytes(_: &ReadDigest) -> usize {
        0
    }

    fn hold(row: &[u8]) -> &[u8] {
        row
    }

    fn of_one_row(
        clustering: &Bytes,
        row: &[u8],
        summary: &RowSummary,
        purge: Purge,
    ) -> Result<ReadDigest, CodecError> {
        let mut rows = Digested::new(purge, 1);
        rows.add(clustering, row, summary)?;
        Ok(rows.finish(PartitionDeletions::default(), false, summary.tombstones))
    }
}

impl<'a> Wanted<'a> {
    fn of(command: &'a ReadCommand) -> Wanted<'a> {
        Wanted {
            slices: &command.slices,
            reversed: command.reversed,
            static_row: command.static_row,
            row_limit: command.row_limit,
            bytes_limit: u64::from(command.bytes_limit),
            tombstone_limit: command.tombstone_limit,
            now_seconds: i64::from(command.now_seconds),
            purge: command.purge(),
        }
    }

    /// True when something comes after `last` in reading order.
    fn has_after(&self, last: &[u8]) -> bool {
        if self.reversed {
            return self.slices.first().is_some_and(|slice| slice.start.as_ref() < last);
        }
        // The first position after a key is the key and a zero byte.
        let is_after = |end: &[u8]| end.strip_prefix(last).map_or(end > last, |rest| rest > &[0][..]);
        self.slices.last().is_some_and(|slice| is_after(&slice.end))
    }
}

impl Answer<'_> {
    /// The answer, for [`ScanAnswer::push`](crate::scan::ScanAnswer::push).
    ///
    /// # Errors
    /// As [`Answer::finish`].
    pub fn finish_partition(self) -> Result<PartitionAnswer, AnswerError> {
        let (live_rows, static_row_live) = (self.live_rows, self.static_row_live);
        Ok(PartitionAnswer { data: self.finish()?, live_rows, static_row_live })
    }
}

impl<'a, R: Rows> Answer<'a, R> {
    /// An answer to `command` for a partition with these deletions, all of them.
    #[must_use]
    pub fn new(command: &'a ReadCommand, deletions: PartitionDeletions) -> Answer<'a, R> {
        Answer::of(Wanted::of(command), deletions)
    }

    /// The answer to `command`, which is for the one row at `clustering` and nothing else, in a partition without
    /// deletions: there is nothing to clip or to take out. `stored` is that row, if there is one.
    ///
    /// # Errors
    /// As [`Answer::push`].
    pub fn of_one_row(
        command: &ReadCommand,
        clustering: &Bytes,
        stored: Option<&[u8]>,
    ) -> Result<R::Output, AnswerError> {
        let none = || R::new(command.purge(), 1).finish(PartitionDeletions::default(), false, 0);
        let Some(stored) = stored else { return Ok(none()) };
        let (mut rest, now_seconds) = (Vec::new(), i64::from(command.now_seconds));
        let held = R::hold(stored);
        let left = uncovered(held.as_ref(), None, &command.dropped_columns, now_seconds, &mut rest)?;
        let Some(summary) = left.map(|(_, summary)| summary) else { return Ok(none()) };
        check_tombstones(u32::from(summary.live), summary.tombstones, command.tombstone_limit)?;
        let row = if rest.is_empty() { held } else { R::hold(&rest) };
        Ok(R::of_one_row(clustering, row, &summary, command.purge())?)
    }

    pub(crate) fn of(wanted: Wanted<'a>, deletions: PartitionDeletions) -> Answer<'a, R> {
        let rows = R::new(wanted.purge.clone(), wanted.row_limit);
        Answer {
            wanted,
            deletions,
            rows,
            rest: Vec::new(),
            bytes: 0,
            live_rows: 0,
            static_row_live: false,
            tombstones: 0,
            limit_reached: false,
        }
    }

    /// Takes the stored static row; ignored when the command does not ask for it.
    ///
    /// # Errors
    /// When it is not a row, and at the limit of tombstones.
    pub fn set_static_row(&mut self, stored: &[u8]) -> Result<(), AnswerError> {
        if !self.wanted.static_row {
            return Ok(());
        }
        let (partition, drops) = (self.deletions.partition(), &self.wanted.purge.dropped_columns);
        let left = uncovered(stored, partition, drops, self.wanted.now_seconds, &mut self.rest)?;
        let Some((row, summary)) = left else { return Ok(()) };
        self.rows.set_static(row, &summary)?;
        self.static_row_live = summary.live;
        self.count_tombstones(summary.tombstones)
    }

    /// Takes the next stored row, one that lies in the command's slices. Returns true when the read goes
    /// on, false when a limit is reached.
    ///
    /// # Errors
    /// When it is not a row, and at the limit of tombstones.
    pub fn push(&mut self, clustering: &[u8], stored: &[u8]) -> Result<bool, AnswerError> {
        debug_assert!(!self.limit_reached, "the read has ended");
        debug_assert!(self.wanted.slices.iter().any(|slice| slice.contains(clustering)), "a row that was asked for");
        let deletion = self.deletions.covering(clustering);
        let drops = &self.wanted.purge.dropped_columns;
        let left = uncovered(stored, deletion, drops, self.wanted.now_seconds, &mut self.rest)?;
        let Some((row, summary)) = left else { return Ok(true) };
        self.rows.add(clustering, row, &summary)?;
        self.bytes += (clustering.len() + row.len()) as u64;
        self.live_rows += u32::from(summary.live);
        self.limit_reached = self.live_rows >= self.wanted.row_limit || self.bytes >= self.wanted.bytes_limit;
        self.count_tombstones(summary.tombstones)?;
        Ok(!self.limit_reached)
    }

    fn count_tombstones(&mut self, count: u32) -> Result<(), AnswerError> {
        self.tombstones = self.tombstones.saturating_add(count);
        check_tombstones(self.live_rows, self.tombstones, self.wanted.tombstone_limit)
    }

    /// The answer.
    ///
    /// # Errors
    /// When the deletions of the partition are more tombstones than the command allows.
    pub fn finish(mut self) -> Result<R::Output, AnswerError> {
        let last = self.rows.last();
        let more = self.limit_reached && self.wanted.has_after(last);
        let deletions = if self.deletions.ranges().is_empty() {
            std::mem::take(&mut self.deletions)
        } else {
            clip(&self.deletions, &self.wanted, more.then(|| Bytes::copy_from_slice(last)).as_ref())
        };
        let count = deletions.ranges().len() + usize::from(deletions.partition().is_some());
        self.count_tombstones(u32::try_from(count).unwrap_or(u32::MAX))?;
        Ok(self.rows.finish(deletions, more, self.tombstones))
    }
}

/// What `deletion` and the drops of columns leave of a stored row, put into `rest` if that is not the row itself;
/// `None` when nothing is left, or when the row was empty.
fn uncovered<'r>(
    stored: &'r [u8],
    deletion: Option<Deletion>,
    drops: &[(ColumnId, i64)],
    now_seconds: i64,
    rest: &'r mut Vec<u8>,
) -> Result<Option<(&'r [u8], RowSummary)>, CodecError> {
    if encoded_is_empty(stored) {
        return Ok(None);
    }
    let summary = summarize(stored, now_seconds)?;
    let deletion = deletion.filter(|deletion| deletion.timestamp >= summary.oldest);
    let mut drops = drops.iter().filter(|(_, dropped_at)| *dropped_at >= summary.oldest).peekable();
    if deletion.is_none() && drops.peek().is_none() {
        return Ok(Some((stored, summary)));
    }
    let mut row = Row::from_bytes(&Bytes::copy_from_slice(stored))?;
    if let Some(deletion) = deletion {
        row.delete(deletion);
    }
    for (column, dropped_at) in drops {
        row.retain_in_column(*column, |timestamp| timestamp > *dropped_at);
    }
    if row.is_empty() {
        return Ok(None);
    }
    rest.clear();
    row.encode(rest);
    let summary = summarize(rest, now_seconds)?;
    Ok(Some((rest, summary)))
}

fn check_tombstones(rows: u32, tombstones: u32, limit: u32) -> Result<(), AnswerError> {
    if tombstones > limit { Err(AnswerError::TooManyTombstones { rows, tombstones }) } else { Ok(()) }
}

/// The deletions in what is wanted, up to and including `last` in reading order if given.
fn clip(deletions: &PartitionDeletions, wanted: &Wanted<'_>, last: Option<&Bytes>) -> PartitionDeletions {
    let read = |slice: &Slice| match last {
        None => slice.clone(),
        Some(last) if wanted.reversed => Slice { start: slice.start.clone().max(last.clone()), end: slice.end.clone() },
        Some(last) => {
            let mut after = last.to_vec();
            after.push(0);
            Slice { start: slice.start.clone(), end: slice.end.clone().min(Bytes::from(after)) }
        }
    };
    let mut clipped = PartitionDeletions::default();
    if let Some(partition) = deletions.partition() {
        clipped = PartitionDeletions::of_partition(partition);
    }
    for slice in wanted.slices.iter().map(read).filter(|slice| slice.start < slice.end) {
        clipped = clipped.merge(&deletions.clip(&slice.start, &slice.end));
    }
    clipped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deletion::tests::deletions;
    use crate::id::TableId;
    use crate::key::PartitionKey;
    use crate::read::tests::{position, slices};
    use crate::row::Cell;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn command(slices: &[(&'static [u8], &'static [u8])], reversed: bool, row_limit: u32) -> ReadCommand {
        let slice = |(start, end): &(&'static [u8], &'static [u8])| Slice {
            start: Bytes::from_static(start),
            end: Bytes::from_static(end),
        };
        ReadCommand {
            table: TableId(1),
            partition: PartitionKey::new(Bytes::from_static(b"p")),
            slices: slices.iter().map(slice).collect(),
            reversed,
            static_row: true,
            row_limit,
            bytes_limit: u32::MAX,
            now_seconds: 100,
            tombstone_limit: u32::MAX,
            gc_before_seconds: 0,
            dropped_columns: Vec::new(),
        }
    }

    fn row(timestamp: i64) -> Bytes {
        Row::new(None, None, vec![(ColumnId(1), Cell::live(timestamp, Bytes::from_static(b"v")))]).to_bytes()
    }

    fn deletion(timestamp: i64) -> Deletion {
        Deletion { timestamp, local_seconds: 1 }
    }

    #[test]
    fn what_was_written_to_a_column_before_it_was_dropped_is_not_answered() {
        let cell = |column, timestamp| (ColumnId(column), Cell::live(timestamp, Bytes::from_static(b"v")));
        let stored = |cells: Vec<(ColumnId, Cell)>| Row::new(None, None, cells).to_bytes();
        let only_dropped = stored(vec![cell(1, 10)]);
        let both = stored(vec![cell(1, 10), cell(2, 5)]);
        let newer = stored(vec![cell(1, 11), cell(2, 5)]);
        let dropped = ReadCommand { dropped_columns: vec![(ColumnId(1), 10)], ..command(&[(&[1], &[9])], false, 2) };
        let mut answer: Answer = Answer::new(&dropped, PartitionDeletions::default());
        answer.set_static_row(&only_dropped).unwrap();
        assert_eq!(answer.push(&[1], &only_dropped), Ok(true), "it does not count as a row");
        assert_eq!(answer.push(&[2], &both), Ok(true));
        assert_eq!(answer.push(&[3], &newer), Ok(false), "two rows are the limit");
        let data = answer.finish().unwrap();
        assert_eq!(data.static_row, None);
        let key = |key: u8| Bytes::from(vec![key]);
        assert_eq!(data.rows, [(key(2), stored(vec![cell(2, 5)])), (key(3), newer.clone())]);
        let one = |row: &Bytes| Answer::<Kept>::of_one_row(&dropped, &key(2), Some(row)).unwrap().rows;
        assert_eq!(one(&only_dropped), []);
        assert_eq!(one(&both), [(key(2), stored(vec![cell(2, 5)]))]);
        // Replicas that have purged the column and those that have not are in agreement.
        let digest = |row: &Bytes| Answer::<Digested>::of_one_row(&dropped, &key(2), Some(row)).unwrap().digest;
        assert_eq!(digest(&both), digest(&stored(vec![cell(2, 5)])));
        assert_ne!(digest(&newer), digest(&both));
    }

    #[test]
    fn deletions_are_clipped_to_what_was_read_when_a_limit_ends_the_read() {
        let range = |start: &'static [u8], end: &'static [u8], timestamp| {
            PartitionDeletions::of_range(Bytes::from_static(start), Bytes::from_static(end), deletion(timestamp))
        };
        let deletions = range(b"\x40", b"\x60", 5).merge(&range(b"\x30", b"\x34", 6));
        for (reversed, limit, expected) in [
            (
                false,
                9,
                range(b"\x31", b"\x34", 6).merge(&range(b"\x40", b"\x44", 5)).merge(&range(b"\x48", b"\x50", 5)),
            ),
            (false, 1, range(b"\x31", b"\x34", 6).merge(&range(b"\x40", b"\x41\x00", 5))),
            (true, 1, range(b"\x49", b"\x50", 5)),
        ] {
            let command = command(&[(b"\x31", b"\x44"), (b"\x48", b"\x50")], reversed, limit);
            let mut answer = Answer::<Kept>::new(&command, deletions.clone());
            let mut keys: Vec<&[u8]> = vec![b"\x32", b"\x41", b"\x49"];
            if reversed {
                keys.reverse();
            }
            // The first row is covered in one direction: it is not in the answer and does not count.
            for key in keys {
                if !answer.push(key, &row(6)).unwrap() {
                    break;
                }
            }
            let data = answer.finish().unwrap();
            assert_eq!(data.deletions, expected, "reversed {reversed}, limit {limit}");
            assert_eq!(data.more, limit == 1);
        }
    }

    #[test]
    fn rows_that_are_not_live_are_answered_and_not_counted() {
        let command = command(&[(b"\x20", b"\x60")], false, 1);
        let mut answer = Answer::<Kept>::new(&command, PartitionDeletions::of_partition(deletion(3)));
        answer.set_static_row(&row(3)).unwrap();
        let tombstone = Row::deleted(deletion(9)).to_bytes();
        assert!(answer.push(b"\x40\x01", &tombstone).unwrap());
        assert!(answer.push(b"\x40\x02", &row(2)).unwrap());
        assert!(answer.push(b"\x40\x02\x01", &Row::default().to_bytes()).unwrap());
        assert!(!answer.push(b"\x40\x03", &row(4)).unwrap());
        let data = answer.finish().unwrap();
        assert_eq!(data.static_row, None);
        let rows = vec![(Bytes::from_static(b"\x40\x01"), tombstone), (Bytes::from_static(b"\x40\x03"), row(4))];
        assert_eq!(data.rows, rows);
        assert!(data.more);
    }

    #[test]
    fn a_limit_at_the_end_of_what_was_asked_for_leaves_nothing_more() {
        let command = command(&[(b"\x40\x01", b"\x40\x01\x00")], false, 1);
        let mut answer = Answer::<Kept>::new(&command, PartitionDeletions::default());
        assert!(!answer.push(b"\x40\x01", &row(2)).unwrap());
        let data = answer.finish().unwrap();
        assert!(!data.more);
        let key = Bytes::from_static(b"\x40\x01");
        let of_one_row = |stored: Option<Bytes>| Answer::<Kept>::of_one_row(&command, &key, stored.as_deref());
        assert_eq!(of_one_row(Some(row(2))), Ok(data));
        assert_eq!(of_one_row(Some(Row::default().to_bytes())), Ok(ReadData::default()));
        assert_eq!(of_one_row(None), Ok(ReadData::default()));
    }

    proptest! {
        #[test]
        fn a_digest_is_that_of_the_answer_without_making_it(
            deletions in deletions(), slices in slices(), reversed: bool, static_row: bool,
            row_limit in prop_oneof![Just(u32::MAX), 1u32..4], bytes_limit in prop_oneof![Just(u32::MAX), 1u32..60],
            tombstone_limit in prop_oneof![Just(u32::MAX), 0u32..6],
            rows in prop::collection::btree_map(position(), row_bytes(), 0..8), stored_static in row_bytes(),
        ) {
            let command = ReadCommand {
                slices, reversed, static_row, row_limit, bytes_limit, now_seconds: 10, tombstone_limit,
                ..command(&[], false, 1)
            };
            let data = answer::<Kept>(&command, &deletions, &rows, &stored_static);
            let digested = answer::<Digested>(&command, &deletions, &rows, &stored_static);
            match (data, digested) {
                (Ok(data), Ok(digested)) => {
                    prop_assert_eq!(crate::digest::digest(&data, &command.purge()), Ok(digested.digest));
                    prop_assert_eq!(data.tombstones, digested.tombstones);
                    prop_assert!(data.tombstones <= tombstone_limit);
                }
                (data, digested) => prop_assert_eq!(data.map(|_| ()), digested.map(|_| ())),
            }
        }
    }

    fn row_bytes() -> impl Strategy<Value = Bytes> {
        crate::row::tests::row().prop_map(|row| row.to_bytes())
    }

    fn answer<R: Rows>(
        command: &ReadCommand,
        deletions: &PartitionDeletions,
        rows: &BTreeMap<Bytes, Bytes>,
        static_row: &Bytes,
    ) -> Result<R::Output, AnswerError> {
        let mut answer = Answer::<R>::new(command, deletions.clone());
        answer.set_static_row(static_row)?;
        let mut rows: Vec<_> =
            rows.iter().filter(|(key, _)| command.slices.iter().any(|slice| slice.contains(key))).collect();
        if command.reversed {
            rows.reverse();
        }
        for (clustering, row) in rows {
            if !answer.push(clustering, row)? {
                break;
            }
        }
        answer.finish()
    }
}
