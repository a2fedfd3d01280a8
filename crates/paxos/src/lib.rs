//! Single-decree Paxos over one register: its acceptor and its proposer as plain state machines. The
//! cluster metadata log uses one register for each slot, a lightweight transaction one for each
//! partition; this crate knows neither, nor messages, nor a quorum's members.
//!
//! Invariants:
//! * P1: at most one value is chosen. It needs from the caller that a ballot is used by one proposer for
//!   one attempt only, across restarts too; that quorums intersect; and that an acceptor's state is synced
//!   before its answer leaves and read back after a crash.
//! * P2: an acceptor never goes back: its promise only grows, and it accepts nothing below it.
//! * P3: under one ballot an acceptor accepts one value only, whatever arrives.
//! * P4: a proposer proposes its own value only when nobody in a quorum of promises has accepted another;
//!   otherwise it proposes the accepted value with the highest ballot.
//! * Answers are counted by distinct acceptors, so duplicates are harmless; answers for another ballot are
//!   ignored, so late ones are too.
//!
//! Map: [`acceptor`] the memory, [`proposer`] one attempt to choose a value.

pub mod acceptor;
pub mod proposer;

pub use acceptor::{Accepted, Acceptor, Nack, Promise};
pub use proposer::{Action, Proposer};

use model::NodeId;
use model::codec::{CodecError, Decode, Encode, Reader};
use std::fmt;

/// The name of one attempt of one proposer, ordered by round and then by node, so that no two are equal.
/// Whoever makes one must never make it again for the same register, not even after a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ballot {
    /// Higher goes first.
    pub round: u64,
    /// The proposer.
    pub node: NodeId,
}

impl fmt::Display for Ballot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.round, self.node)
    }
}

impl Encode for Ballot {
    fn encode(&self, out: &mut Vec<u8>) {
        self.round.encode(out);
        self.node.encode(out);
    }
}

impl Decode for Ballot {
    fn decode(reader: &mut Reader) -> Result<Ballot, CodecError> {
        Ok(Ballot { round: reader.varint()?, node: NodeId::decode(reader)? })
    }
}

#[cfg(test)]
#[path = "safety_tests.rs"]
mod safety_tests;
