//! From the rows of a read, as they come in, to a page of its result, and the state by which the next page goes on.
//!
//! A coordinator gives a [`ResultBuilder`] the reconciled rows of the partitions of [`BoundRead::source`] in order:
//! ```text
//! start, { begin_partition, static_row?, row*, end_partition }*, finish
//! ```
//! and stops when it says so. Invariants:
//! * However the rows are split into pages, the pages together are the same rows.
//! * What [`Progress::PageFull`] answers was not taken: the next page begins with it.
//! * A saved state is bounded by the statement, not by what was read, and none does more harm than the statement
//!   itself could: what does not fit the statement is refused.

use crate::read::BoundRead;
use bytes::Bytes;
use model::codec::{CodecError, Decode, Encode, Reader, put_bytes, put_option};
use model::{PartitionKey, RequestError, Row, TableId};
use std::sync::Arc;

/// What one page may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageLimits {
    /// Rows of the result at most, at least 1; `u32::MAX` for a client that does not page.
    pub rows: u32,
    /// The page ends after the row that reaches this many bytes; at least 1.
    pub bytes: u32,
}

/// What to do after something was given to a [`ResultBuilder`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Progress {
    /// Go on with what comes next.
    Continue,
    /// No more rows of this partition are wanted: go on with [`ResultBuilder::end_partition`].
    SkipPartition,
    /// The page ends before what was given, which was not taken: go on with [`ResultBuilder::finish`].
    PageFull,
    /// The result is complete: go on with [`ResultBuilder::finish`].
    Complete,
}

/// Up to where a read has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadPosition {
    /// The last partition that was begun.
    pub partition: PartitionKey,
    /// The encoded clustering key of the last row taken from it; `None` when the partition is done.
    pub within: Option<Bytes>,
}

/// A page of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResultPage {
    /// The rows, in the order of [`BoundRead::result_columns`]: wire values, `None` for null.
    pub rows: Vec<Vec<Option<Bytes>>>,
    /// By what the next page goes on; `None` when the result is complete.
    pub saved: Option<Bytes>,
}

/// Puts a page of the result of a read together.
#[derive(Debug)]
pub struct ResultBuilder {
    read: Arc<BoundRead>,
    now_seconds: u32,
    limits: PageLimits,
    state: State,
    /// The partition that was begun and not ended.
    open: Option<PartitionKey>,
    rows: Vec<Vec<Option<Bytes>>>,
    bytes: usize,
}

/// First byte of a saved state.
const FORMAT: u8 = 1;

/// What one page leaves to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
struct State {
    table: TableId,
    position: Option<ReadPosition>,
    /// Rows left of LIMIT.
    limit_left: Option<u32>,
}

impl Encode for State {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(FORMAT);
        self.table.encode(out);
        put_option(out, self.position.as_ref());
        put_option(out, self.limit_left.as_ref());
    }
}

impl Decode for State {
    fn decode(reader: &mut Reader) -> Result<State, CodecError> {
        match reader.u8()? {
            FORMAT => {}
            version => return Err(CodecError::Version(version)),
        }
        Ok(State { table: TableId::decode(reader)?, position: reader.option()?, limit_left: reader.option()? })
    }
}

impl Encode for ReadPosition {
    fn encode(&self, out: &mut Vec<u8>) {
        self.partition.encode(out);
        out.push(u8::from(self.within.is_some()));
        if let Some(within) = &self.within {
            put_bytes(out, within);
        }
    }
}

impl Decode for ReadPosition {
    fn decode(reader: &mut Reader) -> Result<ReadPosition, CodecError> {
        let partition = PartitionKey::decode(reader)?;
        let within = if reader.bool()? { Some(reader.bytes()?) } else { None };
        Ok(ReadPosition { partition, within })
    }
}

impl ResultBuilder {
    /// Begins a page of `read`, whose rows are seen as of `now_seconds`. `saved` is that of the page before.
    ///
    /// # Errors
    /// `Invalid` for a page of nothing, and a saved state that is damaged or of another statement.
    pub fn start(
        read: &Arc<BoundRead>,
        saved: Option<&Bytes>,
        limits: PageLimits,
        now_seconds: u32,
    ) -> Result<ResultBuilder, RequestError> {
        if limits.rows == 0 || limits.bytes == 0 {
            return Err(RequestError::Invalid("the page size must be positive".to_owned()));
        }
        let state = match saved {
            None => State { table: read.table().id, position: None, limit_left: read.limit() },
            Some(bytes) => State::from_bytes(bytes)
                .map_err(|error| RequestError::Invalid(format!("the paging state is not valid: {error}")))?,
        };
        let limits_agree = match (state.limit_left, read.limit()) {
            (None, None) => true,
            (Some(left), Some(limit)) => left > 0 && left <= limit,
            _ => false,
        };
        if state.table != read.table().id || !limits_agree {
            return Err(foreign());
        }
        if let Some(position) = &state.position
            && !read.holds(position)
        {
            return Err(foreign());
        }
        let (read, rows) = (Arc::clone(read), Vec::new());
        Ok(ResultBuilder { read, now_seconds, limits, state, open: None, rows, bytes: 0 })
    }

    /// Where the page begins: after this; `None` for the beginning. Afterwards, up to where it has come.
    #[must_use]
    pub fn position(&self) -> Option<&ReadPosition> {
        self.state.position.as_ref()
    }

    /// How many live rows the page can still take, if each that is read becomes one of the result; `u32::MAX` when
    /// nobody can say.
    #[must_use]
    pub fn rows_left(&self) -> u32 {
        let left = self.limits.rows.saturating_sub(self.rows.len() as u32);
        self.state.limit_left.map_or(left, |limit| limit.min(left))
    }

    /// Bytes that the page can still take.
    #[must_use]
    pub fn bytes_left(&self) -> u32 {
        (self.limits.bytes as usize).saturating_sub(self.bytes) as u32
    }

    /// Bytes of the rows so far.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// True when no further row fits: a read that has more to come may stop here without asking for it.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.rows_left() == 0 || self.bytes_left() == 0
    }

    /// True when the result is one page, whatever its limits: it must be read to its end.
    #[must_use]
    pub fn is_one_page(&self) -> bool {
        false
    }

    /// Begins a partition. One that an earlier page has begun is begun again.
    ///
    /// # Errors
    /// `Server`, when the key is not one of the table.
    pub fn begin_partition(&mut self, partition: &PartitionKey) -> Result<Progress, RequestError> {
        self.open = Some(partition.clone());
        Ok(Progress::Continue)
    }

    /// Takes the static row of the partition.
    ///
    /// # Errors
    /// `Server`, when what is stored cannot be read.
    pub fn static_row(&mut self, _row: &Row) -> Result<Progress, RequestError> {
        Ok(Progress::Continue)
    }

    /// Takes the next row of the partition, reconciled; one that is not live changes nothing.
    ///
    /// # Errors
    /// `Server`, when what is stored cannot be read; `Invalid` and others when a function fails.
    pub fn row(&mut self, clustering: &Bytes, row: &Row) -> Result<Progress, RequestError> {
        let Some(partition) = self.open.clone() else {
            return Err(RequestError::Server("a row came outside of a partition".to_owned()));
        };
        if !row.is_live(i64::from(self.now_seconds)) {
            return Ok(Progress::Continue);
        }
        if self.state.limit_left == Some(0) {
            return Ok(Progress::Complete);
        }
        if self.is_full() {
            return Ok(Progress::PageFull);
        }
        let row = self.read.project(&partition, clustering, row, self.now_seconds)?;
        // Each value takes at least its length on the wire.
        self.bytes += row.iter().map(|value| 4 + value.as_ref().map_or(0, Bytes::len)).sum::<usize>();
        self.rows.push(row);
        self.state.limit_left = self.state.limit_left.map(|left| left - 1);
        self.state.position = Some(ReadPosition { partition, within: Some(clustering.clone()) });
        Ok(if self.state.limit_left == Some(0) { Progress::Complete } else { Progress::Continue })
    }

    /// Ends the partition.
    ///
    /// # Errors
    /// As [`ResultBuilder::row`].
    pub fn end_partition(&mut self) -> Result<Progress, RequestError> {
        if let Some(partition) = self.open.take() {
            self.state.position = Some(ReadPosition { partition, within: None });
        }
        Ok(Progress::Continue)
    }

    /// The page. `exhausted` when the source has nothing more.
    ///
    /// # Errors
    /// `Invalid` and others when a function fails.
    pub fn finish(self, exhausted: bool) -> Result<ResultPage, RequestError> {
        let complete = exhausted || self.state.limit_left == Some(0);
        let saved = (!complete).then(|| self.state.to_bytes());
        Ok(ResultPage { rows: self.rows, saved })
    }
}

fn foreign() -> RequestError {
    RequestError::Invalid("the paging state belongs to another statement".to_owned())
}
