//! A replica: what it executes for coordinators, and what it refuses.
//!
//! Invariants (`docs/protocol/write.md`):
//! * W4: a write is acknowledged only once it is as durable as the node's configuration promises.
//! * W5: nothing is executed for a partition that this node does not own, or a table that it does not know, in
//!   its own view. A sender with an older view is told so; for one with a newer view the request waits a
//!   moment until this node has caught up. When both views name this node as owner their epochs may differ:
//!   a change of the schema elsewhere does not stall data.
//! * Every request that arrives is answered, but for those that the process does not survive.

use membership::ClusterView;
use model::limits::KEY_BYTES_MAX;
use model::{Epoch, Instant, Mutation, NodeId, Planted, TableId, Token, TokenRange};
use std::collections::{BTreeMap, VecDeque};

use crate::config::ShardConfig;
use crate::io::{Envelope, Message, OpId, Refusal};

/// A write that storage has been asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Apply {
    /// The id by which storage knows it.
    op: OpId,
    /// Whom to answer.
    pub(crate) to: NodeId,
    /// The id by which the coordinator knows it.
    pub(crate) answer: OpId,
    /// To be acknowledged only once it is synced, whatever the configuration promises for others.
    pub(crate) once_synced: bool,
}

/// A read that storage has been asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReplicaRead {
    /// Whom to answer.
    pub(crate) to: NodeId,
    /// The id by which the coordinator knows it.
    pub(crate) answer: OpId,
}

/// A request of a peer whose view is newer.
#[derive(Debug)]
pub(crate) struct Parked {
    pub(crate) from: NodeId,
    pub(crate) envelope: Envelope,
    pub(crate) deadline: Instant,
}

/// What to do with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// Do it.
    Execute,
    /// Let it wait for a newer view.
    Park,
    /// Say no.
    Refuse(Refusal),
}

/// What a node must be a replica of to do what it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owned {
    /// The partitions of a token.
    Partition(Token),
    /// The partitions of all tokens of a range.
    Range(TokenRange),
}

/// The work of a replica in progress.
#[derive(Debug, Default)]
pub(crate) struct Replica {
    /// Writes in the order in which storage got them, so ascending by id.
    applies: VecDeque<Apply>,
    /// Those that are applied and wait for their sync, ascending.
    unsynced: VecDeque<Apply>,
    reads: BTreeMap<OpId, ReplicaRead>,
    /// Requests in the order in which their patience ends.
    parked: VecDeque<Parked>,
    /// Size of their mutations.
    parked_bytes: usize,
    /// Steps of registers, and requests to count, that wait or are under way.
    pub(crate) steps: usize,
}

impl Replica {
    /// Decides on a request by placement and load.
    pub(crate) fn admit(
        &self,
        config: &ShardConfig,
        view: &ClusterView,
        table: TableId,
        owned: Owned,
        sender: Epoch,
    ) -> Admission {
        let known = view.schema.table(table);
        let owned = known.is_some_and(|table| match owned {
            Owned::Partition(token) => view.holders(&table.keyspace, token).contains(&config.node),
            Owned::Range(range) => view.holds(&table.keyspace, range, config.node),
        });
        let stale = config.is_planted(Planted::StaleEpochAccepted) && sender < view.epoch;
        if !owned && !stale {
            let room = self.parked.len() < config.parked_max && self.parked_bytes < config.parked_bytes_max;
            return if sender > view.epoch && room {
                Admission::Park
            } else {
                Admission::Refuse(Refusal::NotReplica(view.epoch))
            };
        }
        if self.in_progress() >= config.replica_ops_max {
            return Admission::Refuse(Refusal::Overloaded);
        }
        Admission::Execute
    }

    /// Storage was asked for a write, after all others that are waited for.
    pub(crate) fn applying(&mut self, op: OpId, to: NodeId, answer: OpId, once_synced: bool) {
        assert!(self.applies.back().is_none_or(|last| last.op < op), "storage gets writes in the order of their ids");
        self.applies.push_back(Apply { op, to, answer, once_synced });
    }

    /// The next write that is to be acknowledged when everything up to and including `up_to` is applied, or with
    /// `synced` survives power loss.
    pub(crate) fn applied(&mut self, up_to: OpId, synced: bool) -> Option<Apply> {
        if synced && let Some(apply) = self.unsynced.pop_front_if(|apply| apply.op <= up_to) {
            return Some(apply);
        }
        while let Some(apply) = self.applies.pop_front_if(|apply| apply.op <= up_to) {
            if synced || !apply.once_synced {
                return Some(apply);
            }
            self.unsynced.push_back(apply);
        }
        None
    }

    /// The write that failed.
    pub(crate) fn apply_failed(&mut self, op: OpId) -> Option<Apply> {
        let index = self.applies.binary_search_by_key(&op, |apply| apply.op).ok()?;
        self.applies.remove(index)
    }

    /// Storage was asked for a read.
    pub(crate) fn reading(&mut self, op: OpId, read: ReplicaRead) {
        self.reads.insert(op, read);
    }

    /// Storage answered a read.
    pub(crate) fn read_done(&mut self, op: OpId) -> Option<ReplicaRead> {
        self.reads.remove(&op)
    }

    /// Lets a request wait until `deadline`, which is no earlier than those that wait already.
    pub(crate) fn park(&mut self, from: NodeId, envelope: Envelope, deadline: Instant) {
        self.parked_bytes += bytes(&envelope.message);
        self.parked.push_back(Parked { from, envelope, deadline });
    }

    /// Everything that waits for a view.
    pub(crate) fn unpark(&mut self) -> VecDeque<Parked> {
        self.parked_bytes = 0;
        std::mem::take(&mut self.parked)
    }

    /// A request that has waited long enough.
    pub(crate) fn give_up(&mut self, now: Instant) -> Option<Parked> {
        let parked = self.parked.pop_front_if(|parked| parked.deadline <= now)?;
        self.parked_bytes -= bytes(&parked.envelope.message);
        Some(parked)
    }

    /// When the first request has waited long enough.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.parked.front().map(|parked| parked.deadline)
    }

    /// Operations in progress.
    pub(crate) fn in_progress(&self) -> usize {
        self.applies.len() + self.unsynced.len() + self.reads.len() + self.steps
    }

    /// Requests that wait for a view.
    pub(crate) fn waiting(&self) -> usize {
        self.parked.len()
    }
}

/// The size of what a request carries.
fn bytes(message: &Message) -> usize {
    match message {
        Message::Write { mutation, .. } => mutation.bytes(),
        Message::Paxos { request, .. } => request.bytes(),
        _ => 0,
    }
}

/// True when a peer's mutation may be stored: a value that cannot be merged would poison the store, and a
/// partition filed under another token would never be found.
pub(crate) fn is_storable(mutation: &Mutation) -> bool {
    let key = &mutation.partition.bytes;
    !mutation.records.is_empty()
        && key.len() <= KEY_BYTES_MAX
        && Token::of(key) == mutation.partition.token
        && mutation.validate().is_ok()
}
