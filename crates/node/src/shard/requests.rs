//! What clients ask for, as it comes in: taken on, each by those who execute it, or refused.
//!
//! Invariants:
//! * E4 of [`crate::retry`]: a request whose token is not good any more is refused before anything is done.
//! * What is done beyond need, to be done sooner, is not done while nodes have more to do than they can.

use super::{Out, Shard};
use crate::io::{Envelope, Message, Refusal, Request, RequestId};
use crate::retry::{Stamp, check_token};
use model::{Consistency, Instant, NodeId, RequestError, RetryToken};
use std::time::Duration;

/// For so long after somebody was refused nodes are taken to have more to do than they can.
const OVERLOAD_REMEMBERED: Duration = Duration::from_secs(1);

impl Shard {
    /// True when a request would be refused since too many are in flight.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.requests_in_flight() >= self.config.requests_max
    }

    /// Somebody was refused, here or by a replica.
    pub(super) fn note_overload(&mut self, now: Instant) {
        self.overloaded_until = now + OVERLOAD_REMEMBERED;
    }

    /// True while nobody is to be asked for more than is needed.
    pub(super) fn is_overloaded(&self, now: Instant) -> bool {
        now < self.overloaded_until
    }

    /// A message that has waited for too long: its coordinator asks another replica, or gives its client an answer,
    /// sooner than this node would have read. Writes are done all the same: refused ones would come again, as hints.
    pub(super) fn on_late(&mut self, out: &mut Out<'_>, from: NodeId, envelope: Envelope) {
        self.note_epoch(out, from, envelope.epoch);
        match &envelope.message {
            message @ (Message::Read { .. } | Message::Scan { .. } | Message::LookUp { .. }) => {
                self.refuse_request(out, from, message, Refusal::Overloaded);
            }
            _ => {
                let deadline = out.now.monotonic + self.config.catch_up_timeout;
                self.on_message(out, from, envelope, deadline);
            }
        }
    }

    pub(super) fn requests_in_flight(&self) -> usize {
        let others = self.selects.len() + self.waiting.len() + self.present.unwritten() + self.transactions.len();
        self.writes_unanswered + others + self.counting.len() + self.batches.len()
    }

    pub(super) fn on_request(&mut self, out: &mut Out<'_>, id: RequestId, request: Request) {
        if self.is_full() {
            self.note_overload(out.now.monotonic);
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
