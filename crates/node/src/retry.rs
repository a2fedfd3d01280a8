//! Retry tokens: how a request that is sent more than once is executed once, whichever nodes it is sent to.
//!
//! What depends on nothing but the statement and the time is made with the time of the token, so that each execution
//! writes the same and repeating it changes nothing: plain writes, logged batches. What depends on what is there is
//! decided by Paxos, and what it came to is part of what is decided: conditional writes, increments of counters,
//! changes of elements of lists.
//!
//! Invariants (`docs/protocol/retry-tokens.md`):
//! * E1: what a request came to is chosen together with its change, in one proposal, and recorded together with the
//!   fact that this is committed, in one synced write. So whoever has a quorum of promises finds it: recorded by one of
//!   them, or in a change that is in progress.
//! * E2: a refusal is chosen and recorded as a change is: an attempt that is late cannot make one of it.
//! * E3: a replica promises nothing for a token of which it may have forgotten: what it has removed, and up to which
//!   time, is one write.
//! * E4: a request whose token is older than the window is refused before anything is done.

use bytes::Bytes;
use model::codec::{CodecError, Decode, Encode, Reader, put_option, put_varint};
use model::local::{LocalWrite, outcome_key, outcomes_before, prefix};
use model::{CqlType, Instant, RequestError, RetryToken, TableId, WallMicros};
use query::{ColumnSpec, ConditionalResult};
use std::time::Duration;

use crate::config::ShardConfig;

/// Bytes of the result of a refusal that are recorded; of a larger one only that it is a refusal.
const RESULT_BYTES_MAX: usize = 16 * 1024;

/// What a request came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was done.
    Done,
    /// Its conditions did not hold: this is the result.
    Refused(ConditionalResult),
    /// It could not be done with what was there, for this reason.
    Invalid(String),
}

/// What the request with a token came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// The token.
    pub token: RetryToken,
    /// What it came to.
    pub outcome: Outcome,
}

/// Which times a write goes by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// The client's timestamp.
    pub(crate) timestamp: Option<i64>,
    /// The request's token: its time goes before the client's timestamp, and is the time of the write in every respect.
    pub(crate) token: Option<RetryToken>,
}

impl Stamp {
    /// The timestamp of what is written, in microseconds, when it is not for the node to choose.
    pub(crate) fn timestamp(self) -> Option<i64> {
        self.token.map(|token| token.time().0).or(self.timestamp)
    }

    /// The time from which expiry and the age of tombstones count: the node's, unless there is a token.
    pub(crate) fn now(self, wall: WallMicros) -> WallMicros {
        self.token.map_or(wall, RetryToken::time)
    }
}

/// E4: refuses a token that is too old, or too far in the future, at `now`.
///
/// # Errors
/// `Invalid`, which says which of both.
pub(crate) fn check_token(config: &ShardConfig, token: RetryToken, now: WallMicros) -> Result<(), RequestError> {
    let age = now.0.saturating_sub(token.time().0);
    let window = micros(config.retry_window);
    let ahead = micros(config.timestamp_future_max);
    if age > window {
        return Err(RequestError::Invalid(format!(
            "the retry token {token} is {} seconds old, which is beyond the {} seconds for which requests are \
             remembered: this attempt has done nothing, and what earlier ones did is not known any more",
            age / 1_000_000,
            config.retry_window.as_secs()
        )));
    }
    if age < ahead.saturating_neg() {
        return Err(RequestError::Invalid(format!(
            "the retry token {token} is {} seconds in the future; at most {} are allowed",
            age.saturating_neg() / 1_000_000,
            config.timestamp_future_max.as_secs()
        )));
    }
    Ok(())
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

impl Remembered {
    /// The record of it for a partition.
    pub(crate) fn record(&self, table: TableId, partition: &[u8]) -> (Bytes, Option<Bytes>) {
        let mut value = vec![FORMAT];
        self.outcome.encode(&mut value);
        (outcome_key(self.token, table, partition), Some(Bytes::from(value)))
    }
}

impl Outcome {
    /// A refusal with this result, or as much of it as is recorded.
    pub(crate) fn refused(result: ConditionalResult) -> Outcome {
        let values = result.rows.iter().flatten().flatten().map(|value| value.len() + 4).sum::<usize>();
        if values <= RESULT_BYTES_MAX {
            return Outcome::Refused(result);
        }
        // The first column is `[applied]`.
        let rows = result.rows.iter().take(1).map(|row| row.iter().take(1).cloned().collect()).collect();
        Outcome::Refused(ConditionalResult { columns: result.columns.iter().take(1).cloned().collect(), rows })
    }

    /// What a record says.
    ///
    /// # Errors
    /// When it is damaged: to go on without it could execute the request again.
    pub(crate) fn of_record(value: &Bytes) -> Result<Outcome, CodecError> {
        match value.first() {
            Some(&FORMAT) => Outcome::from_bytes(&value.slice(1..)),
            Some(&version) => Err(CodecError::Version(version)),
            None => Err(CodecError::Truncated),
        }
    }
}

/// First byte of the records of this file.
const FORMAT: u8 = 1;

/// The end of the key of the time up to which outcomes are removed, after [`prefix::NODE`].
const REMOVED_BEFORE: &[u8] = b"outcomes_removed_before";

/// The key of the time up to which outcomes are removed.
pub(crate) fn removed_before_key() -> Bytes {
    Bytes::from([prefix::NODE, REMOVED_BEFORE].concat())
}

/// The time up to which outcomes are removed, by its record; none when nothing was removed yet.
///
/// # Errors
/// When it is damaged.
pub(crate) fn removed_before(record: Option<&Bytes>) -> Result<Option<WallMicros>, CodecError> {
    let Some(record) = record else { return Ok(None) };
    match record.first() {
        Some(&FORMAT) => i64::from_bytes(&record.slice(1..)).map(|micros| Some(WallMicros(micros))),
        Some(&version) => Err(CodecError::Version(version)),
        None => Err(CodecError::Truncated),
    }
}

/// The removal of what a node has recorded for longer than anybody can ask for it. Shard 0 of the node does it, for
/// all.
#[derive(Debug)]
pub(crate) struct Forgetting {
    /// When to look again; none on other shards.
    at: Option<Instant>,
    /// Up to which time outcomes are removed: it never goes back, whatever the clock does.
    before: WallMicros,
}

impl Forgetting {
    /// That of a shard that begins at `now`, of a node that has removed up to `before` in its earlier life.
    pub(crate) fn new(config: &ShardConfig, before: Option<WallMicros>, now: Instant) -> Forgetting {
        let at = (config.index == 0).then(|| now + config.retry_window);
        Forgetting { at, before: before.unwrap_or(WallMicros(0)) }
    }

    /// When [`Forgetting::due`] has something to do.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.at
    }

    /// What to remove at this time: outcomes twice as old as the window, so that a coordinator whose clock is behind
    /// by less than the window refuses a request before its replicas do.
    pub(crate) fn due(&mut self, config: &ShardConfig, now: model::Now) -> Option<LocalWrite> {
        self.at.filter(|at| *at <= now.monotonic)?;
        self.at = Some(now.monotonic + config.retry_window);
        let before = WallMicros(now.wall.0.saturating_sub(micros(config.retry_window).saturating_mul(2)));
        if before <= self.before {
            return None;
        }
        self.before = before;
        let mut value = vec![FORMAT];
        before.0.encode(&mut value);
        let records = vec![(removed_before_key(), Some(Bytes::from(value)))];
        Some(LocalWrite { records, removed: Some(outcomes_before(before)) })
    }
}

impl Encode for Outcome {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Outcome::Done => put_varint(out, 0),
            Outcome::Refused(result) => {
                put_varint(out, 1);
                put_varint(out, result.columns.len() as u64);
                for column in result.columns.iter() {
                    column.keyspace.encode(out);
                    column.table.encode(out);
                    column.name.encode(out);
                    column.cql_type.encode(out);
                }
                put_varint(out, result.rows.len() as u64);
                for value in result.rows.iter().flatten() {
                    put_option(out, value.as_ref());
                }
            }
            Outcome::Invalid(message) => {
                put_varint(out, 2);
                message.encode(out);
            }
        }
    }
}

impl Decode for Outcome {
    fn decode(reader: &mut Reader) -> Result<Outcome, CodecError> {
        Ok(match reader.varint()? {
            0 => Outcome::Done,
            1 => {
                let count = reader.count()?;
                let mut columns = Vec::new();
                for _ in 0..count {
                    let (keyspace, table, name) = (reader.text()?, reader.text()?, reader.text()?);
                    columns.push(ColumnSpec { keyspace, table, name, cql_type: CqlType::decode(reader)? });
                }
                let rows = reader.count()?;
                // A row without columns has no bytes: their number would be anybody's.
                if columns.is_empty() && rows > 0 {
                    return Err(CodecError::Invalid("outcome"));
                }
                let row = |reader: &mut Reader| (0..count).map(|_| reader.option::<Bytes>()).collect();
                let rows = (0..rows).map(|_| row(reader)).collect::<Result<_, _>>()?;
                Outcome::Refused(ConditionalResult { columns: columns.into(), rows })
            }
            2 => Outcome::Invalid(reader.text()?),
            _ => return Err(CodecError::Invalid("outcome")),
        })
    }
}

impl Encode for Remembered {
    fn encode(&self, out: &mut Vec<u8>) {
        self.token.encode(out);
        self.outcome.encode(out);
    }
}

impl Decode for Remembered {
    fn decode(reader: &mut Reader) -> Result<Remembered, CodecError> {
        Ok(Remembered { token: RetryToken::decode(reader)?, outcome: Outcome::decode(reader)? })
    }
}

#[cfg(test)]
#[path = "retry_tests.rs"]
mod tests;
