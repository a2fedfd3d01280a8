//! A page of a result while it fills, and the paging state by which the next page goes on.
//!
//! The paging state is opaque to clients but not secret: it is checked against the statement that it comes
//! back with, and can do no more harm than the client's own WHERE could.

use bytes::Bytes;
use model::codec::{CodecError, Decode, Encode, Reader, put_bytes, put_option};
use model::limits::PAGE_BYTES_MAX;
use model::read::ReadCommand;
use model::{RequestError, TableId, Token};
use query::BoundRead;

/// First byte of a paging state.
const FORMAT: u8 = 1;

/// Where a page ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PagingState {
    table: TableId,
    /// Of the partition.
    token: Token,
    /// The last position that the pages so far have covered, in reading order.
    last: Bytes,
    /// Rows left of LIMIT.
    limit_left: Option<u32>,
}

impl Encode for PagingState {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(FORMAT);
        self.table.encode(out);
        self.token.encode(out);
        put_bytes(out, &self.last);
        put_option(out, self.limit_left.as_ref());
    }
}

impl Decode for PagingState {
    fn decode(reader: &mut Reader) -> Result<PagingState, CodecError> {
        match reader.u8()? {
            FORMAT => {}
            version => return Err(CodecError::Version(version)),
        }
        Ok(PagingState {
            table: TableId::decode(reader)?,
            token: Token::decode(reader)?,
            last: reader.bytes()?,
            limit_left: reader.option()?,
        })
    }
}

impl PagingState {
    /// Reads a client's paging state and checks that it belongs to `read`.
    ///
    /// # Errors
    /// `Invalid`, when it is not a paging state or one of another statement.
    fn parse(bytes: &Bytes, read: &BoundRead) -> Result<PagingState, RequestError> {
        let state = PagingState::from_bytes(bytes)
            .map_err(|error| RequestError::Invalid(format!("the paging state is not valid: {error}")))?;
        let limits_agree = match (state.limit_left, read.limit()) {
            (None, None) => true,
            (Some(left), Some(limit)) => left > 0 && left < limit,
            _ => false,
        };
        if state.table != read.table().id || state.token != read.partition().token || !limits_agree {
            return Err(foreign());
        }
        Ok(state)
    }
}

fn foreign() -> RequestError {
    RequestError::Invalid("the paging state belongs to another statement".to_owned())
}

/// The rows of an answer so far, and what is left of its limits.
#[derive(Debug)]
pub(crate) struct Page {
    rows: Vec<Vec<Option<Bytes>>>,
    rows_left: u32,
    limit_left: Option<u32>,
    bytes_left: usize,
}

impl Page {
    /// An empty page of up to `page_rows` rows, and where it goes on.
    ///
    /// # Errors
    /// `Invalid` for a page of no rows, or a paging state that is not one or belongs to another statement.
    pub(crate) fn start(
        read: &BoundRead,
        page_rows: u32,
        paging_state: Option<&Bytes>,
    ) -> Result<(Page, Option<Bytes>), RequestError> {
        if page_rows == 0 {
            return Err(RequestError::Invalid("the page size must be positive".to_owned()));
        }
        let state = paging_state.map(|bytes| PagingState::parse(bytes, read)).transpose()?;
        let limit_left = state.as_ref().map_or(read.limit(), |state| state.limit_left);
        let page = Page { rows: Vec::new(), rows_left: page_rows, limit_left, bytes_left: PAGE_BYTES_MAX };
        Ok((page, state.map(|state| state.last)))
    }

    /// The command for what comes after `last`; `None` when nothing does.
    ///
    /// # Errors
    /// `Invalid`, when `last` is no position that the statement selects.
    pub(crate) fn resume(&self, command: &ReadCommand, last: &Bytes) -> Result<Option<ReadCommand>, RequestError> {
        if !command.slices.iter().any(|slice| slice.contains(last)) {
            return Err(foreign());
        }
        Ok(self.after(command, last))
    }

    /// The command for what comes after `last` within what is left; `None` when nothing does.
    pub(crate) fn after(&self, command: &ReadCommand, last: &Bytes) -> Option<ReadCommand> {
        let mut next = command.after(last, self.row_limit().max(1))?;
        next.bytes_limit = self.bytes_limit();
        Some(next)
    }

    /// Bytes of the rows so far, at most a row more than a page may have.
    pub(crate) fn bytes(&self) -> usize {
        PAGE_BYTES_MAX - self.bytes_left
    }

    /// Rows that still fit, at most.
    pub(crate) fn row_limit(&self) -> u32 {
        self.limit_left.map_or(self.rows_left, |left| left.min(self.rows_left))
    }

    /// Bytes that still fit; at least 1.
    pub(crate) fn bytes_limit(&self) -> u32 {
        u32::try_from(self.bytes_left.max(1)).unwrap_or(u32::MAX)
    }

    /// True when no more rows fit.
    pub(crate) fn is_full(&self) -> bool {
        self.row_limit() == 0 || self.bytes_left == 0
    }

    /// True when LIMIT is reached: no page comes after this one.
    pub(crate) fn is_limit_reached(&self) -> bool {
        self.limit_left == Some(0)
    }

    /// Adds a row to a page that is not full.
    pub(crate) fn push(&mut self, row: Vec<Option<Bytes>>) {
        assert!(!self.is_full(), "R6: a page keeps within its limits");
        // Each value takes at least its length on the wire.
        let bytes = row.iter().map(|value| 4 + value.as_ref().map_or(0, Bytes::len)).sum();
        self.rows.push(row);
        self.rows_left -= 1;
        self.limit_left = self.limit_left.map(|left| left - 1);
        self.bytes_left = self.bytes_left.saturating_sub(bytes);
    }

    /// The rows, and the paging state of what comes after `last`.
    pub(crate) fn finish(&mut self, read: &BoundRead, last: Option<Bytes>) -> (Vec<Vec<Option<Bytes>>>, Option<Bytes>) {
        let partition = read.partition();
        let state =
            |last| PagingState { table: read.table().id, token: partition.token, last, limit_left: self.limit_left };
        let paging_state = last.map(|last| state(last).to_bytes());
        (std::mem::take(&mut self.rows), paging_state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn paging_states_round_trip(table: u128, token: i64, last: Vec<u8>, limit_left: Option<u32>) {
            let last = Bytes::from(last);
            let state = PagingState { table: TableId(table), token: Token(token), last, limit_left };
            prop_assert_eq!(PagingState::from_bytes(&state.to_bytes()), Ok(state));
        }

        #[test]
        fn any_bytes_are_a_paging_state_or_refused_without_panic(bytes: Vec<u8>) {
            let _ = PagingState::from_bytes(&Bytes::from(bytes));
        }
    }
}
