//! Writes that must know what is there: elements of lists that are found by their place or their value.
//!
//! ```text
//!  request --> queue of its partition --> read of its rows, one round --> a write as any other --> answer
//! ```
//! Invariants:
//! * Of such writes to one partition one at a time is between the beginning of its read and its answer on this shard;
//!   the others wait in the order of their requests, so that each sees what those before it did. Of two on different
//!   nodes each may miss what the other does, as in Cassandra.
//! * A write leaves its queue when its client is answered, and the next one begins.

use super::reads::RoundEnd;
use super::{Out, Shard, Timer, check_table};
use crate::coordinator::round::{Agreed, Question, Round, RoundStep};
use crate::coordinator::select::PieceId;
use crate::io::RequestId;
use crate::retry::Stamp;
use bytes::Bytes;
use model::codec::Decode;
use model::{Consistency, Instant, RequestError, Row, TableId, WallMicros};
use query::BoundWrite;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// A write whose rows are not known yet.
#[derive(Debug)]
struct PresentWrite {
    write: BoundWrite,
    consistency: Consistency,
    stamp: Stamp,
    deadline: Instant,
}

#[derive(Debug)]
enum Stage {
    /// Others of its partition are before it.
    Waiting(Box<PresentWrite>),
    /// Its rows are being read.
    Reading(Box<PresentWrite>),
    /// It is a write as any other.
    Writing,
}

/// A partition of a table.
type Place = (TableId, Bytes);

/// The writes that must know what is there, until they are answered.
#[derive(Debug, Default)]
pub(super) struct PresentWrites {
    stages: BTreeMap<RequestId, (Place, Stage)>,
    /// By partition; none is empty.
    queues: BTreeMap<Place, VecDeque<RequestId>>,
    /// Partitions whose first write may have to begin.
    due: VecDeque<Place>,
    /// Those that are no writes as any other yet.
    unwritten: usize,
}

impl PresentWrites {
    /// How many wait or are being read for.
    pub(super) fn unwritten(&self) -> usize {
        self.unwritten
    }

    fn add(&mut self, id: RequestId, write: PresentWrite) {
        let place = (write.write.table().id, write.write.partition().bytes.clone());
        let queue = self.queues.entry(place.clone()).or_default();
        queue.push_back(id);
        if queue.len() == 1 {
            self.due.push_back(place.clone());
        }
        self.unwritten += 1;
        self.stages.insert(id, (place, Stage::Waiting(Box::new(write))));
    }

    /// The next write whose rows are to be read.
    pub(super) fn next_due(&mut self) -> Option<RequestId> {
        while let Some(place) = self.due.pop_front() {
            let first = self.queues.get(&place).and_then(|queue| queue.front().copied());
            if let Some(id) = first
                && matches!(self.stages.get(&id), Some((_, Stage::Waiting(_))))
            {
                return Some(id);
            }
        }
        None
    }

    /// The write is being read for from now on.
    fn read(&mut self, id: RequestId) -> Option<&PresentWrite> {
        let (_, stage) = self.stages.get_mut(&id)?;
        *stage = match std::mem::replace(stage, Stage::Writing) {
            Stage::Waiting(write) | Stage::Reading(write) => Stage::Reading(write),
            Stage::Writing => Stage::Writing,
        };
        match stage {
            Stage::Reading(write) => Some(write),
            Stage::Waiting(_) | Stage::Writing => None,
        }
    }

    fn is_reading(&self, id: RequestId) -> bool {
        matches!(self.stages.get(&id), Some((_, Stage::Reading(_))))
    }

    /// Its rows are known: it is a write as any other from now on.
    fn known(&mut self, id: RequestId) -> Option<PresentWrite> {
        let (_, stage) = self.stages.get_mut(&id)?;
        match std::mem::replace(stage, Stage::Writing) {
            Stage::Waiting(write) | Stage::Reading(write) => {
                self.unwritten -= 1;
                Some(*write)
            }
            Stage::Writing => None,
        }
    }

    /// Its client is answered. When it had not begun, the timer that it has.
    pub(super) fn end(&mut self, id: RequestId) -> Option<Instant> {
        let (place, stage) = self.stages.remove(&id)?;
        if let Some(queue) = self.queues.get_mut(&place) {
            queue.retain(|queued| *queued != id);
            if queue.is_empty() {
                self.queues.remove(&place);
            } else {
                self.due.push_back(place);
            }
        }
        match stage {
            Stage::Waiting(write) => {
                self.unwritten -= 1;
                Some(write.deadline)
            }
            Stage::Reading(_) => {
                self.unwritten -= 1;
                None
            }
            Stage::Writing => None,
        }
    }
}

/// The write once its rows are known.
pub(super) fn resolved(write: BoundWrite, agreed: Agreed, now: WallMicros) -> Result<BoundWrite, RequestError> {
    if agreed.end.is_some() {
        return Err(RequestError::Invalid(
            "the rows whose lists are to be changed are too large to be read at once".to_owned(),
        ));
    }
    let broken = |error| RequestError::Server(format!("a row that was agreed on is broken: {error}"));
    let (mut static_row, mut rows) = (Row::default(), Vec::new());
    for partition in agreed.partitions {
        if let Some(row) = &partition.static_row {
            static_row = Row::from_bytes(row).map_err(broken)?;
        }
        for (clustering, row) in partition.rows {
            rows.push((clustering, Row::from_bytes(&row).map_err(broken)?));
        }
    }
    write.with_present(&static_row, &rows, now)
}

impl Shard {
    /// Takes on a write whose rows must be read first.
    pub(super) fn begin_present(
        &mut self,
        id: RequestId,
        write: BoundWrite,
        consistency: Consistency,
        stamp: Stamp,
        deadline: Instant,
    ) -> Result<(), RequestError> {
        check_table(&self.view, write.table())?;
        if consistency == Consistency::Any {
            let message = "Write operation require a read but consistency ANY is not supported on reads";
            return Err(RequestError::Invalid(message.to_owned()));
        }
        if self.read_bytes > self.config.request_bytes_max {
            return Err(RequestError::Overloaded(format!("{} bytes of answers are in flight", self.read_bytes)));
        }
        self.timers.set(Timer::Present(id), deadline);
        self.present.add(id, PresentWrite { write, consistency, stamp, deadline });
        Ok(())
    }

    /// Reads the rows of a write.
    pub(super) fn read_present(&mut self, out: &mut Out<'_>, id: RequestId) {
        let tombstones = self.config.tombstone_fail;
        let Some(present) = self.present.read(id) else { return };
        let (consistency, deadline) = (present.consistency, present.deadline);
        let command = present.write.present_command(tombstones, out.now.wall);
        let (table, question) = (present.write.table().clone(), Question::Partition(Arc::new(command)));
        self.timers.cancel(Timer::Present(id), deadline);
        let (op, piece) = (self.ops.next(), PieceId::of_write(id));
        let round = Round::new(piece, table, question, consistency, op, deadline, &self.config);
        self.timers.set(Timer::Round(op), round.timer);
        let ended = self.drive_round(out, op, Box::new(round), RoundStep::Begin);
        self.on_present(out, id, ended);
    }

    /// The read for a write has ended, if it has.
    pub(super) fn on_present(&mut self, out: &mut Out<'_>, id: RequestId, ended: Option<RoundEnd>) {
        if self.batches.contains(id) {
            return self.on_batch_read(out, id, ended);
        }
        if !self.present.is_reading(id) {
            return;
        }
        let agreed = match ended {
            None => return,
            Some(RoundEnd::Of(Ok(agreed))) => agreed,
            Some(RoundEnd::Of(Err(error))) => return self.reply(out, id, Err(error)),
            // One partition is not cut into parts.
            Some(RoundEnd::Moved) => {
                let message = "the replicas of a partition are not known".to_owned();
                return self.reply(out, id, Err(RequestError::Server(message)));
            }
        };
        let Some(present) = self.present.known(id) else { return };
        let PresentWrite { write, consistency, stamp, deadline } = present;
        let begun = resolved(write, agreed, out.now.wall)
            .and_then(|write| self.begin_write(out, id, write, consistency, stamp, deadline));
        if let Err(error) = begun {
            self.reply(out, id, Err(error));
        }
    }

    /// A write was not first in its queue in time.
    pub(super) fn on_present_timer(&mut self, out: &mut Out<'_>, id: RequestId) {
        let Some((_, Stage::Waiting(present))) = self.present.stages.get(&id) else { return };
        let timeout = self.timeout_of(present.write.table(), present.consistency);
        self.reply(out, id, Err(timeout));
    }
}

#[cfg(test)]
#[path = "present_tests.rs"]
mod tests;
