//! What clients ask for, as it comes in: taken on, each by those who execute it, or refused.
//!
//! Invariant E4 of [`crate::retry`]: a request whose token is not good any more is refused before anything is done.

use super::{Out, Shard};
use crate::io::{Request, RequestId};
use crate::retry::{Stamp, check_token};
use model::{Consistency, RequestError, RetryToken};

impl Shard {
    pub(super) fn requests_in_flight(&self) -> usize {
        let others = self.selects.len() + self.waiting.len() + self.present.unwritten() + self.transactions.len();
        self.writes_unanswered + others + self.counting.len() + self.batches.len()
    }

    pub(super) fn on_request(&mut self, out: &mut Out<'_>, id: RequestId, request: Request) {
        if self.requests_in_flight() >= self.config.requests_max {
            let message = format!("{} requests are in flight", self.config.requests_max);
            return self.reply(out, id, Err(RequestError::Overloaded(message)));
        }
        match request {
            Request::Write { write, consistency, timestamp, token, timeout } => {
                self.counters.writes += 1;
                let (deadline, stamp) = (out.now.monotonic + timeout, Stamp { timestamp, token });
                let begun = self.check_begin(out, consistency, token).and_then(|()| match token {
                    // It depends on what is there: what it makes of that is decided once.
                    Some(_) if write.reads_first() || write.counts() => {
                        self.begin_decided(out, id, write, consistency, stamp, deadline)
                    }
                    _ if write.reads_first() => self.begin_present(id, write, consistency, stamp, deadline),
                    _ => self.begin_write(out, id, write, consistency, stamp, deadline),
                });
                if let Err(error) = begun {
                    self.reply(out, id, Err(error));
                }
            }
            Request::Batch { writes, consistency, timestamp, token, timeout } => {
                self.counters.writes += 1;
                let (deadline, stamp) = (out.now.monotonic + timeout, Stamp { timestamp, token });
                let begun = self
                    .check_begin(out, consistency, token)
                    .and_then(|()| self.begin_batch(out, id, writes, consistency, stamp, deadline));
                if let Err(error) = begun {
                    self.reply(out, id, Err(error));
                }
            }
            Request::Conditional { write, consistency, serial, token, timeout } => {
                self.counters.writes += 1;
                let deadline = out.now.monotonic + timeout;
                let begun = token.map_or(Ok(()), |token| check_token(&self.config, token, out.now.wall));
                let begun =
                    begun.and_then(|()| self.begin_conditional(id, *write, (consistency, serial), token, deadline));
                if let Err(error) = begun {
                    self.reply(out, id, Err(error));
                }
            }
            Request::Read { read, consistency, page_rows, paging_state, timeout } => {
                self.counters.reads += 1;
                let deadline = out.now.monotonic + timeout;
                match self.begin_select(out.now, id, read, consistency, page_rows, paging_state.as_ref(), deadline) {
                    Ok(()) => self.go_on(out, id),
                    Err(error) => self.reply(out, id, Err(error)),
                }
            }
        }
    }

    /// Refuses a write that must not be begun.
    fn check_begin(
        &self,
        out: &Out<'_>,
        consistency: Consistency,
        token: Option<RetryToken>,
    ) -> Result<(), RequestError> {
        consistency.check_write()?;
        token.map_or(Ok(()), |token| check_token(&self.config, token, out.now.wall))
    }
}

#[cfg(test)]
#[path = "retry_tokens_tests.rs"]
mod tests;
