//! What a replica answers to a [`ReadCommand`], given the stored records in reading order: the one rule
//! for every implementation of storage, so that replicas that hold the same state answer with the
//! same bytes, wherever deletions and rows lie on disk.

use crate::codec::{CodecError, Decode, Encode};
use crate::deletion::PartitionDeletions;
use crate::read::{ReadCommand, ReadData, Slice};
use crate::row::{Row, encoded_is_empty, encoded_is_live};
use bytes::Bytes;

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
#[derive(Debug)]
pub struct Answer<'a> {
    command: &'a ReadCommand,
    deletions: PartitionDeletions,
    static_row: Option<Bytes>,
    /// Keys and rows one after the other: one allocation for the whole answer.
    contents: Vec<u8>,
    /// For each row the ends of its key and of its value in `contents`.
    ends: Vec<(usize, usize)>,
    live_rows: u32,
    limit_reached: bool,
}

impl<'a> Answer<'a> {
    /// An answer to `command` for a partition with these deletions, all of them.
    #[must_use]
    pub fn new(command: &'a ReadCommand, deletions: PartitionDeletions) -> Answer<'a> {
        Answer {
            command,
            deletions,
            static_row: None,
            contents: Vec::new(),
            ends: Vec::new(),
            live_rows: 0,
            limit_reached: false,
        }
    }

    /// The answer to a command for the one row at `clustering` and nothing else, in a partition without
    /// deletions: there is nothing to count, to clip or to take out.
    #[must_use]
    pub fn of_one_row(clustering: &Bytes, stored: &[u8]) -> ReadData {
        if encoded_is_empty(stored) {
            return ReadData::default();
        }
        ReadData { rows: vec![(clustering.clone(), Bytes::copy_from_slice(stored))], ..ReadData::default() }
    }

    /// Takes the stored static row; ignored when the command does not ask for it.
    ///
    /// # Errors
    /// When it is not a row.
    pub fn set_static_row(&mut self, stored: &[u8]) -> Result<(), CodecError> {
        if !self.command.static_row || encoded_is_empty(stored) {
            return Ok(());
        }
        let stored = Bytes::copy_from_slice(stored);
        self.static_row = match self.deletions.partition() {
            None => Some(stored),
            Some(deletion) => {
                let mut row = Row::from_bytes(&stored)?;
                row.delete(deletion);
                (!row.is_empty()).then(|| row.to_bytes())
            }
        };
        Ok(())
    }

    /// Takes the next stored row, one that lies in the command's slices. Returns true when the read goes
    /// on, false when a limit is reached.
    ///
    /// # Errors
    /// When it is not a row.
    pub fn push(&mut self, clustering: &[u8], stored: &[u8]) -> Result<bool, CodecError> {
        debug_assert!(!self.limit_reached, "the read has ended");
        debug_assert!(self.command.slices.iter().any(|slice| slice.contains(clustering)), "a row that was asked for");
        if encoded_is_empty(stored) {
            return Ok(true);
        }
        let now_seconds = i64::from(self.command.now_seconds);
        let live = match self.deletions.covering(clustering) {
            None => {
                self.reserve(clustering.len() + stored.len());
                self.contents.extend_from_slice(clustering);
                self.ends.push((self.contents.len(), self.contents.len() + stored.len()));
                self.contents.extend_from_slice(stored);
                encoded_is_live(stored, now_seconds)?
            }
            Some(deletion) => {
                let mut row = Row::from_bytes(&Bytes::copy_from_slice(stored))?;
                row.delete(deletion);
                if row.is_empty() {
                    return Ok(true);
                }
                self.contents.extend_from_slice(clustering);
                let key_end = self.contents.len();
                row.encode(&mut self.contents);
                self.ends.push((key_end, self.contents.len()));
                row.is_live(now_seconds)
            }
        };
        self.live_rows += u32::from(live);
        self.limit_reached = self.live_rows >= self.command.row_limit
            || self.contents.len() as u64 >= u64::from(self.command.bytes_limit);
        Ok(!self.limit_reached)
    }

    /// Makes room for a row of this size, and with the first one for others like it.
    fn reserve(&mut self, bytes: usize) {
        if self.ends.is_empty() {
            let rows = (self.command.row_limit as usize).min(RESERVED_BYTES / bytes.max(1)).max(1);
            self.contents.reserve(rows.saturating_mul(bytes));
            self.ends.reserve(rows.min(RESERVED_ROWS));
        } else {
            self.contents.reserve(bytes);
        }
    }

    /// The answer.
    #[must_use]
    pub fn finish(self) -> ReadData {
        let contents = Bytes::from(self.contents);
        let mut rows = Vec::with_capacity(self.ends.len());
        let mut start = 0;
        for (key_end, row_end) in self.ends {
            rows.push((contents.slice(start..key_end), contents.slice(key_end..row_end)));
            start = row_end;
        }
        let last = rows.last().map(|(clustering, _)| clustering).filter(|_| self.limit_reached);
        let more = last.is_some_and(|last| self.command.after(last, 1).is_some());
        let deletions = if self.deletions.ranges().is_empty() {
            self.deletions
        } else {
            clip(&self.deletions, self.command, if more { last } else { None })
        };
        ReadData { deletions, static_row: self.static_row, rows, more }
    }
}

/// The deletions in the slices of `command`, up to and including `last` in reading order if given.
fn clip(deletions: &PartitionDeletions, command: &ReadCommand, last: Option<&Bytes>) -> PartitionDeletions {
    let read = |slice: &Slice| match last {
        None => slice.clone(),
        Some(last) if command.reversed => {
            Slice { start: slice.start.clone().max(last.clone()), end: slice.end.clone() }
        }
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
    for slice in command.slices.iter().map(read).filter(|slice| slice.start < slice.end) {
        clipped = clipped.merge(&deletions.clip(&slice.start, &slice.end));
    }
    clipped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deletion::Deletion;
    use crate::id::{ColumnId, TableId};
    use crate::key::PartitionKey;
    use crate::row::Cell;

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
        }
    }

    fn row(timestamp: i64) -> Bytes {
        Row::new(None, None, vec![(ColumnId(1), Cell::live(timestamp, Bytes::from_static(b"v")))]).to_bytes()
    }

    fn deletion(timestamp: i64) -> Deletion {
        Deletion { timestamp, local_seconds: 1 }
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
            let mut answer = Answer::new(&command, deletions.clone());
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
            let data = answer.finish();
            assert_eq!(data.deletions, expected, "reversed {reversed}, limit {limit}");
            assert_eq!(data.more, limit == 1);
        }
    }

    #[test]
    fn rows_that_are_not_live_are_answered_and_not_counted() {
        let command = command(&[(b"\x20", b"\x60")], false, 1);
        let mut answer = Answer::new(&command, PartitionDeletions::of_partition(deletion(3)));
        answer.set_static_row(&row(3)).unwrap();
        let tombstone = Row::deleted(deletion(9)).to_bytes();
        assert!(answer.push(b"\x40\x01", &tombstone).unwrap());
        assert!(answer.push(b"\x40\x02", &row(2)).unwrap());
        assert!(answer.push(b"\x40\x02\x01", &Row::default().to_bytes()).unwrap());
        assert!(!answer.push(b"\x40\x03", &row(4)).unwrap());
        let data = answer.finish();
        assert_eq!(data.static_row, None);
        let rows = vec![(Bytes::from_static(b"\x40\x01"), tombstone), (Bytes::from_static(b"\x40\x03"), row(4))];
        assert_eq!(data.rows, rows);
        assert!(data.more);
    }

    #[test]
    fn a_limit_at_the_end_of_what_was_asked_for_leaves_nothing_more() {
        let command = command(&[(b"\x40\x01", b"\x40\x01\x00")], false, 1);
        let mut answer = Answer::new(&command, PartitionDeletions::default());
        assert!(!answer.push(b"\x40\x01", &row(2)).unwrap());
        let data = answer.finish();
        assert!(!data.more);
        assert_eq!(data, Answer::of_one_row(&Bytes::from_static(b"\x40\x01"), &row(2)));
        assert_eq!(
            Answer::of_one_row(&Bytes::from_static(b"\x40\x01"), &Row::default().to_bytes()),
            ReadData::default()
        );
    }
}
