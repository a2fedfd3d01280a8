//! A transaction at its coordinator: a conditional write, another write whose retry token says that what it makes of
//! what is there is decided once, or a serial read of one partition.
//!
//! ```text
//!  queue of its partition --> prepare at a new ballot --- promises of a quorum ---> what was found:
//!            ^                         |                                             |
//!            |  preempted: a pause     |        a change in progress: propose it, commit it, prepare again
//!            '-------------------------'        replicas that lack the last change: commit it, prepare again
//!                                               all of the quorum at one change: decide on what they hold
//!                                                  conditions hold:    propose, commit, answer
//!                                                  they do not, read:  answer; propose that nothing older follows,
//!                                                                      unless every replica has promised
//! ```
//! Invariants (`docs/protocol/paxos.md`):
//! * L4: a change is proposed only once the one before it is merged on a quorum, and decided on by what a quorum holds
//!   whose registers are all at that one.
//! * L5: a client is told that a change was not applied only when it can never be.
//! * L6: once a change was proposed and its fate is not known, no error denies it.
//! * E1 and E2 of [`crate::retry`]: with a token every outcome is proposed, a refusal too.

use model::schema::Table;
use model::{Consistency, Instant, NodeId, PartitionKey, ReadCommand, ReadData, RequestError, RetryToken};
use paxos::{Accepted, Ballot};
use query::ConditionalWrite;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::round::Agreed;
use super::select::PieceId;
use crate::io::{OpId, Response};
use crate::register::{Promised, Proposal};
use crate::retry;

/// What a transaction does.
#[derive(Debug)]
pub(crate) enum Work {
    /// A conditional write, or another one that is to be decided on, whose commit is acknowledged at this level. With
    /// its token, if it has one.
    Write { write: ConditionalWrite, consistency: Consistency, token: Option<RetryToken> },
    /// A round of a read.
    Read { piece: PieceId, command: Arc<ReadCommand> },
}

/// What a transaction ends with, unless it fails.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Of a write.
    Written(Result<Response, RequestError>),
    /// Of a read.
    Read(Agreed),
}

/// Why something is proposed.
#[derive(Debug)]
pub(crate) enum Purpose {
    /// It is the transaction's own change.
    Own,
    /// It was found in progress.
    Finish,
    /// It is no change: once it is accepted this is the outcome.
    Seal(Outcome),
}

/// What follows a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AfterCommit {
    /// The transaction is over: its own change was committed.
    End,
    /// The transaction prepares again.
    PrepareAgain,
}

/// Where a transaction is.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one for each transaction, which is in a box")]
pub(crate) enum Stage {
    /// Others of its partition are before it, or it pauses.
    Waiting,
    /// Promises are asked for.
    Preparing {
        ballot: Ballot,
        command: Arc<ReadCommand>,
        promises: BTreeMap<NodeId, Promised>,
        /// From when on it does not wait for more promises than it needs.
        patient_until: Option<Instant>,
    },
    /// A proposal is to be accepted.
    Proposing { ballot: Ballot, proposal: Proposal, purpose: Purpose, accepted: BTreeSet<NodeId> },
    /// A change that was chosen is being merged, by the write of this id.
    Committing { write: OpId, then: AfterCommit },
}

/// A transaction in flight.
#[derive(Debug)]
pub(crate) struct Transaction {
    pub(crate) work: Work,
    pub(crate) table: Arc<Table>,
    pub(crate) partition: PartitionKey,
    /// Which replicas decide.
    pub(crate) serial: Consistency,
    pub(crate) deadline: Instant,
    /// When its timer is set; `None` when it is not.
    pub(crate) timer: Option<Instant>,
    pub(crate) stage: Stage,
    /// The id of the messages of this stage.
    pub(crate) op: Option<OpId>,
    /// The replicas that decide, ascending.
    pub(crate) acceptors: Vec<NodeId>,
    /// How many of them must agree.
    pub(crate) quorum: usize,
    /// Acceptors that were asked in this stage and may answer yet.
    pub(crate) awaited: BTreeSet<NodeId>,
    /// What stood in the way in this stage.
    pub(crate) preempted: Option<Ballot>,
    /// The round of its next ballot is above this.
    pub(crate) floor: u64,
    /// When its present attempt began.
    pub(crate) attempted: Instant,
    /// How often another ballot was in the way.
    pub(crate) contentions: u32,
    /// Own proposals whose fate is not known.
    pub(crate) open: Vec<Ballot>,
    /// What was committed last when the first of them was made.
    pub(crate) base: Option<Ballot>,
    /// What the request came to, once that is chosen, if it has a token.
    pub(crate) remembered: Option<retry::Outcome>,
}

/// What the promises of a quorum say.
#[derive(Debug, PartialEq)]
pub(crate) enum Found {
    /// Too few of them.
    TooFew,
    /// This change is in progress: nobody knows whether it is chosen.
    InProgress(Proposal),
    /// This change was chosen, and too many replicas lack it.
    Lacking(Accepted<Proposal>),
    /// These replicas are at the same change, which is the last one, and enough.
    Ready {
        /// They.
        nodes: Vec<NodeId>,
        /// It.
        last: Option<Proposal>,
        /// True when no acceptor is left that could hold or accept something older.
        sealed: bool,
    },
}

/// What became of own proposals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// One was chosen.
    Applied,
    /// None so far.
    NotApplied,
    /// Too much has happened since.
    Unknown,
}

fn last_committed(promises: &BTreeMap<NodeId, Promised>) -> Option<&Accepted<Proposal>> {
    promises.values().filter_map(|promised| promised.committed.as_ref()).max_by_key(|committed| committed.ballot)
}

/// What `promises` of `acceptors` say, `quorum` of which must agree.
pub(crate) fn examine(promises: &BTreeMap<NodeId, Promised>, acceptors: &[NodeId], quorum: usize) -> Found {
    if promises.len() < quorum {
        return Found::TooFew;
    }
    let last = last_committed(promises);
    let last_ballot = last.map(|last| last.ballot);
    let accepted = promises.values().filter_map(|promised| promised.accepted.as_ref());
    let newer = accepted.filter(|accepted| Some(accepted.ballot) > last_ballot);
    // P4: the one with the highest ballot may be chosen, and the others can not be any more.
    if let Some(highest) = newer.clone().max_by_key(|accepted| accepted.ballot)
        && highest.value.mutation.is_some()
    {
        return Found::InProgress(highest.value.clone());
    }
    let is_at_last = |promised: &Promised| promised.committed.as_ref().map(|committed| committed.ballot) == last_ballot;
    let nodes: Vec<NodeId> =
        promises.iter().filter(|(_, promised)| is_at_last(promised)).map(|(node, _)| *node).collect();
    match last {
        Some(last) if nodes.len() < quorum => Found::Lacking(last.clone()),
        last => {
            let has_older = newer.clone().any(|accepted| accepted.value.mutation.is_some());
            let sealed = nodes.len() == acceptors.len() && !has_older;
            Found::Ready { nodes, last: last.map(|last| last.value.clone()), sealed }
        }
    }
}

impl Transaction {
    /// The token of its request.
    pub(crate) fn token(&self) -> Option<RetryToken> {
        match &self.work {
            Work::Write { token, .. } => *token,
            Work::Read { .. } => None,
        }
    }

    /// What the request came to, as far as the promises say: E1.
    pub(crate) fn recorded_outcome(&self) -> Option<retry::Outcome> {
        let Stage::Preparing { promises, .. } = &self.stage else { return None };
        promises.values().find_map(|promised| promised.outcome.clone())
    }

    /// The change that was committed last, as far as the promises say, if it is what this request came to.
    pub(crate) fn last_if_own(&self) -> Option<Accepted<Proposal>> {
        let Stage::Preparing { promises, .. } = &self.stage else { return None };
        last_committed(promises).filter(|last| self.is_named_by(&last.value)).cloned()
    }

    /// True when a proposal is what this request came to, whoever has made it.
    pub(crate) fn is_named_by(&self, proposal: &Proposal) -> bool {
        proposal.remembered.as_ref().is_some_and(|remembered| Some(remembered.token) == self.token())
    }

    /// What its client is told once its change, or what it came to, is chosen.
    pub(crate) fn answer(&self) -> Result<Response, RequestError> {
        let Work::Write { write, .. } = &self.work else { return Ok(Response::Written) };
        match &self.remembered {
            Some(retry::Outcome::Refused(result)) => Ok(Response::Conditional(result.clone())),
            Some(retry::Outcome::Invalid(message)) => Err(RequestError::Invalid(message.clone())),
            Some(retry::Outcome::Done) | None if write.is_conditional() => Ok(Response::Conditional(write.applied())),
            Some(retry::Outcome::Done) | None => Ok(Response::Written),
        }
    }

    /// True while acceptors that were asked may answer yet.
    pub(crate) fn is_awaited(&self) -> bool {
        !self.awaited.is_empty()
    }

    /// The data of these replicas.
    pub(crate) fn data_of(&self, nodes: &[NodeId]) -> Vec<&ReadData> {
        let Stage::Preparing { promises, .. } = &self.stage else { return Vec::new() };
        nodes.iter().filter_map(|node| promises.get(node)).map(|promised| &promised.data).collect()
    }

    /// What became of own proposals, by what the promises say of what was committed.
    pub(crate) fn fate(&self) -> Fate {
        let Stage::Preparing { promises, .. } = &self.stage else { return Fate::NotApplied };
        let Some(last) = last_committed(promises).map(|last| &last.value) else { return Fate::NotApplied };
        if self.open.iter().any(|own| last.follows(*own)) {
            return Fate::Applied;
        }
        match self.base {
            Some(base) if last.follows(base) => Fate::NotApplied,
            None if last.knows_all() => Fate::NotApplied,
            _ => Fate::Unknown,
        }
    }

    /// Too few acceptors are left in this stage.
    pub(crate) fn is_impossible(&self) -> bool {
        let answered = match &self.stage {
            Stage::Preparing { promises, .. } => promises.len(),
            Stage::Proposing { accepted, .. } => accepted.len(),
            Stage::Waiting | Stage::Committing { .. } => return false,
        };
        answered + self.awaited.len() < self.quorum
    }

    /// Acceptors that have answered in this stage.
    pub(crate) fn answers(&self) -> u32 {
        match &self.stage {
            Stage::Preparing { promises, .. } => promises.len() as u32,
            Stage::Proposing { accepted, .. } => accepted.len() as u32,
            Stage::Waiting | Stage::Committing { .. } => 0,
        }
    }

    /// True when a proposal of its own was made whose fate is not known.
    pub(crate) fn is_open(&self) -> bool {
        !self.open.is_empty() || matches!(&self.stage, Stage::Proposing { purpose: Purpose::Own, .. })
    }

    /// The error of a transaction that was not decided in time; L6.
    pub(crate) fn timeout(&self) -> RequestError {
        let (received, required) = (self.answers(), self.quorum as u32);
        match &self.work {
            Work::Read { .. } => {
                RequestError::ReadTimeout { consistency: self.serial, received, required, data_present: received > 0 }
            }
            Work::Write { write, consistency, .. } if !write.is_conditional() => {
                RequestError::WriteTimeout { consistency: *consistency, received, required }
            }
            Work::Write { .. } if self.is_open() => {
                RequestError::CasWriteUnknown { consistency: self.serial, received, required }
            }
            Work::Write { .. } => {
                let contentions = self.contentions;
                RequestError::CasTimeout { consistency: self.serial, received, required, contentions }
            }
        }
    }
}

#[cfg(test)]
#[path = "transaction_tests.rs"]
mod tests;
