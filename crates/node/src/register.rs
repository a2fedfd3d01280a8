//! The Paxos register of a partition on one replica, and what coordinators and replicas say to each other about it.
//!
//! The values of a register follow one another: each is a change of the partition, decided on by what the changes
//! before made of it. One value at a time is decided by `paxos`; once it is chosen it is merged like any write, which
//! the register remembers, and the next one can be decided.
//!
//! Invariants (`docs/protocol/paxos.md`):
//! * L1: what a register has promised or accepted is synced before it is answered.
//! * L2: of two ballots of one round a register promises one only: the round is the timestamp of what is written, so
//!   timestamps of what is chosen strictly increase.
//! * L3: a register calls a change committed only once the change is merged here and durable.

use bytes::Bytes;
use model::codec::{CodecError, Decode, Encode, Reader, put_option, put_sequence, put_varint};
use model::limits::KEY_BYTES_MAX;
use model::local::{LocalWrite, register_key};
use model::{Mutation, NodeId, PartitionKey, ReadCommand, ReadData, RetryToken, TableId, Token};
pub use paxos::{Accepted, Ballot};
use paxos::{Acceptor, Nack};
use std::sync::Arc;

use crate::replica::is_storable;
use crate::retry::{Outcome, Remembered};

/// Changes that came before, as far as a proposal remembers them: by so many transactions a coordinator may be
/// overtaken and still learn what became of its own.
const HISTORY_MAX: usize = 16;

/// A change of a partition that is to be chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// The ballot under which it was proposed first: its name.
    pub origin: Ballot,
    /// The origins of the changes that were chosen before, the last one at the end; at most 16.
    pub history: Vec<Ballot>,
    /// The change, which has no records when only what a request came to is chosen; none to choose that nothing older
    /// will be chosen.
    pub mutation: Option<Arc<Mutation>>,
    /// What the request came to that wants this, if it has a token.
    pub remembered: Option<Remembered>,
}

/// A change that was chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// The ballot under which it was chosen.
    pub ballot: Ballot,
    /// Its name.
    pub origin: Ballot,
    /// As in its proposal.
    pub history: Vec<Ballot>,
    /// As in its proposal: to be recorded with it.
    pub remembered: Option<Remembered>,
}

impl Proposal {
    /// The same, chosen under `ballot`.
    #[must_use]
    pub fn commit(&self, ballot: Ballot) -> Commit {
        let (history, remembered) = (self.history.clone(), self.remembered.clone());
        Commit { ballot, origin: self.origin, history, remembered }
    }

    /// The history of what follows it.
    #[must_use]
    pub fn history_after(&self) -> Vec<Ballot> {
        let skipped = (self.history.len() + 1).saturating_sub(HISTORY_MAX);
        self.history.iter().skip(skipped).copied().chain([self.origin]).collect()
    }

    /// True when it, or one of those before it, is the change of this name.
    #[must_use]
    pub fn follows(&self, origin: Ballot) -> bool {
        self.origin == origin || self.history.contains(&origin)
    }

    /// True when its history goes back to the beginning.
    #[must_use]
    pub fn knows_all(&self) -> bool {
        self.history.len() < HISTORY_MAX
    }
}

/// What a coordinator asks of the register of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaxosRequest {
    /// The table.
    pub table: TableId,
    /// The partition.
    pub partition: PartitionKey,
    /// The data centre whose replicas decide; none for all replicas.
    pub data_center: Option<String>,
    /// The replicas that decide, ascending: a replica that knows others refuses.
    pub acceptors: Vec<NodeId>,
    /// What is asked.
    pub step: PaxosStep,
}

/// A step of a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PaxosStep {
    /// Promise to accept nothing below this ballot, and read.
    Prepare {
        /// The ballot.
        ballot: Ballot,
        /// What to read of the partition.
        command: Arc<ReadCommand>,
        /// That of the request: what did it come to?
        token: Option<RetryToken>,
    },
    /// Accept a change.
    Propose {
        /// The ballot.
        ballot: Ballot,
        /// The change.
        proposal: Proposal,
    },
}

/// What a replica answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PaxosAnswer {
    /// To a prepare.
    Promised(Box<Promised>),
    /// To a proposal: it is accepted.
    Accepted,
    /// Another ballot is in the way.
    Preempted {
        /// It.
        by: Ballot,
    },
}

/// A promise, with what was there before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promised {
    /// What was accepted last and is not known to be chosen.
    pub accepted: Option<Accepted<Proposal>>,
    /// What was committed here last.
    pub committed: Option<Accepted<Proposal>>,
    /// What was read, when nothing newer was committed.
    pub data: ReadData,
    /// What the request with the token came to, if it was committed here.
    pub outcome: Option<Outcome>,
}

impl Promised {
    /// Bytes of what it carries.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let proposals = self.accepted.iter().chain(&self.committed);
        let mutations = proposals.filter_map(|proposal| proposal.value.mutation.as_ref());
        let rows = self.data.rows.iter().map(|(clustering, row)| clustering.len() + row.len()).sum::<usize>();
        rows + mutations.map(|mutation| mutation.bytes()).sum::<usize>()
    }
}

impl PaxosRequest {
    /// True when a peer's request makes sense: what it asks to store and to read is of its partition and valid.
    pub(crate) fn is_valid(&self) -> bool {
        let of_partition = |table: TableId, partition: &PartitionKey| {
            partition.bytes.len() <= KEY_BYTES_MAX
                && table == self.table
                && *partition == self.partition
                && Token::of(&partition.bytes) == partition.token
        };
        match &self.step {
            PaxosStep::Prepare { command, .. } => {
                of_partition(command.table, &command.partition) && command.validate().is_ok()
            }
            PaxosStep::Propose { proposal, .. } => {
                let Proposal { history, mutation, remembered, .. } = proposal;
                of_partition(self.table, &self.partition)
                    && history.len() <= HISTORY_MAX
                    && mutation.as_ref().map_or(remembered.is_none(), |own| {
                        of_partition(own.table, &own.partition) && is_committable(own, remembered.as_ref())
                    })
            }
        }
    }

    /// The round of the ballot: microseconds since 1970.
    pub(crate) fn round(&self) -> u64 {
        match self.step {
            PaxosStep::Prepare { ballot, .. } | PaxosStep::Propose { ballot, .. } => ballot.round,
        }
    }

    /// Bytes of what it carries.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match &self.step {
            PaxosStep::Propose { proposal, .. } => proposal.mutation.as_ref().map_or(0, |mutation| mutation.bytes()),
            PaxosStep::Prepare { .. } => 0,
        }
    }
}

/// True when a change may be chosen and committed: one without records is only for what a request came to.
pub(crate) fn is_committable(mutation: &Mutation, remembered: Option<&Remembered>) -> bool {
    let is_of_token = Token::of(&mutation.partition.bytes) == mutation.partition.token;
    (mutation.records.is_empty() && remembered.is_some() && is_of_token) || is_storable(mutation)
}

/// The memory of one partition's register.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Register {
    acceptor: Acceptor<Proposal>,
    committed: Option<Accepted<Proposal>>,
}

/// First byte of a register's record.
const FORMAT: u8 = 2;

impl Register {
    /// The register of this record; an empty one when there is none.
    ///
    /// # Errors
    /// When the record is damaged: to go on without it could break a promise.
    pub(crate) fn of_record(record: Option<&Bytes>) -> Result<Register, CodecError> {
        let Some(record) = record else { return Ok(Register::default()) };
        match record.first() {
            Some(&FORMAT) => Register::from_bytes(&record.slice(1..)),
            Some(&version) => Err(CodecError::Version(version)),
            None => Err(CodecError::Truncated),
        }
    }

    /// The write that makes it durable.
    pub(crate) fn record(&self, table: TableId, partition: &[u8]) -> LocalWrite {
        let mut value = vec![FORMAT];
        self.encode(&mut value);
        LocalWrite::of(vec![(register_key(table, partition), Some(Bytes::from(value)))])
    }

    /// What was accepted and is not committed here, and what was committed last.
    pub(crate) fn state(&self) -> (Option<Accepted<Proposal>>, Option<Accepted<Proposal>>) {
        (self.acceptor.accepted().cloned(), self.committed.clone())
    }

    /// The ballot that stands in the way of `ballot`.
    fn above(&self, ballot: Ballot) -> Option<Ballot> {
        let committed = self.committed.as_ref().map(|committed| committed.ballot);
        let known = self.acceptor.promised().into_iter().chain(committed);
        // L2.
        known.filter(|known| known.round >= ballot.round && *known != ballot).max()
    }

    /// Promises to accept nothing below `ballot`.
    pub(crate) fn prepare(&mut self, ballot: Ballot) -> Result<(), Ballot> {
        match self.above(ballot) {
            Some(above) => Err(above),
            None => self.acceptor.prepare(ballot).map(drop).map_err(|Nack { promised }| promised),
        }
    }

    /// Accepts a proposal.
    pub(crate) fn accept(&mut self, ballot: Ballot, proposal: Proposal) -> Result<(), Ballot> {
        match self.above(ballot) {
            Some(above) => Err(above),
            None => self.acceptor.accept(ballot, proposal).map_err(|Nack { promised }| promised),
        }
    }

    /// True when this change was the last one to be committed.
    pub(crate) fn has_committed(&self, ballot: Ballot) -> bool {
        self.committed.as_ref().is_some_and(|committed| committed.ballot == ballot)
    }

    /// A change that was chosen is merged and durable here.
    pub(crate) fn commit(&mut self, commit: &Commit, mutation: Arc<Mutation>) {
        if self.committed.as_ref().is_none_or(|committed| committed.ballot < commit.ballot) {
            let Commit { ballot, origin, history, remembered } = commit.clone();
            let value = Proposal { origin, history, mutation: Some(mutation), remembered };
            self.committed = Some(Accepted { ballot, value });
        }
        self.acceptor.forget(commit.ballot);
    }
}

impl Encode for Register {
    fn encode(&self, out: &mut Vec<u8>) {
        self.acceptor.encode(out);
        put_option(out, self.committed.as_ref());
    }
}

impl Decode for Register {
    fn decode(reader: &mut Reader) -> Result<Register, CodecError> {
        Ok(Register { acceptor: Acceptor::decode(reader)?, committed: reader.option()? })
    }
}

impl Encode for Proposal {
    fn encode(&self, out: &mut Vec<u8>) {
        self.origin.encode(out);
        put_sequence(out, &self.history);
        put_option(out, self.mutation.as_deref());
        put_option(out, self.remembered.as_ref());
    }
}

impl Decode for Proposal {
    fn decode(reader: &mut Reader) -> Result<Proposal, CodecError> {
        let (origin, history) = (Ballot::decode(reader)?, reader.sequence()?);
        let mutation = reader.option()?.map(Arc::new);
        Ok(Proposal { origin, history, mutation, remembered: reader.option()? })
    }
}

impl Encode for Commit {
    fn encode(&self, out: &mut Vec<u8>) {
        self.ballot.encode(out);
        self.origin.encode(out);
        put_sequence(out, &self.history);
        put_option(out, self.remembered.as_ref());
    }
}

impl Decode for Commit {
    fn decode(reader: &mut Reader) -> Result<Commit, CodecError> {
        let (ballot, origin) = (Ballot::decode(reader)?, Ballot::decode(reader)?);
        Ok(Commit { ballot, origin, history: reader.sequence()?, remembered: reader.option()? })
    }
}

impl Encode for PaxosRequest {
    fn encode(&self, out: &mut Vec<u8>) {
        self.table.encode(out);
        self.partition.encode(out);
        put_option(out, self.data_center.as_ref());
        put_sequence(out, &self.acceptors);
        match &self.step {
            PaxosStep::Prepare { ballot, command, token } => {
                out.push(0);
                ballot.encode(out);
                command.encode(out);
                put_option(out, token.as_ref());
            }
            PaxosStep::Propose { ballot, proposal } => {
                out.push(1);
                ballot.encode(out);
                proposal.encode(out);
            }
        }
    }
}

impl Decode for PaxosRequest {
    fn decode(reader: &mut Reader) -> Result<PaxosRequest, CodecError> {
        let (table, partition) = (TableId::decode(reader)?, PartitionKey::decode(reader)?);
        let (data_center, acceptors) = (reader.option()?, reader.sequence()?);
        let step = match reader.u8()? {
            0 => PaxosStep::Prepare {
                ballot: Ballot::decode(reader)?,
                command: Arc::new(ReadCommand::decode(reader)?),
                token: reader.option()?,
            },
            1 => PaxosStep::Propose { ballot: Ballot::decode(reader)?, proposal: Proposal::decode(reader)? },
            _ => return Err(CodecError::Invalid("step of Paxos")),
        };
        Ok(PaxosRequest { table, partition, data_center, acceptors, step })
    }
}

impl Encode for PaxosAnswer {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            PaxosAnswer::Promised(promised) => {
                put_varint(out, 0);
                put_option(out, promised.accepted.as_ref());
                put_option(out, promised.committed.as_ref());
                promised.data.encode(out);
                put_option(out, promised.outcome.as_ref());
            }
            PaxosAnswer::Accepted => put_varint(out, 1),
            PaxosAnswer::Preempted { by } => {
                put_varint(out, 2);
                by.encode(out);
            }
        }
    }
}

impl Decode for PaxosAnswer {
    fn decode(reader: &mut Reader) -> Result<PaxosAnswer, CodecError> {
        Ok(match reader.varint()? {
            0 => {
                let (accepted, committed) = (reader.option()?, reader.option()?);
                let (data, outcome) = (ReadData::decode(reader)?, reader.option()?);
                PaxosAnswer::Promised(Box::new(Promised { accepted, committed, data, outcome }))
            }
            1 => PaxosAnswer::Accepted,
            2 => PaxosAnswer::Preempted { by: Ballot::decode(reader)? },
            _ => return Err(CodecError::Invalid("answer of Paxos")),
        })
    }
}

#[cfg(test)]
#[path = "register_tests.rs"]
mod tests;
