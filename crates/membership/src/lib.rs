//! The control plane of a node: which nodes are members, which tokens they have, what the schema is, and
//! who is alive. Publishes an immutable [`ClusterView`] with its epoch.
//!
//! Invariants:
//! * M1: of each slot of the metadata log at most one entry is decided, so that all logs are prefixes of
//!   one. From Paxos (`paxos` crate) with the voters of the state before the slot; slot 1 is decided by a
//!   majority of the configured seeds.
//! * M2: epoch `n` is the state after entry `n`, and the state is a function of the entries alone.
//! * M3: an entry is applied, and an acceptor's answer sent, only after it is stored and synced.
//! * M4: an entry was checked by its proposer against the state before its slot.
//! * M5: a node that holds data never founds a cluster, and a node never changes its cluster, but follows it when an
//!   operator recovers its log.
//! * M6: liveness (gossip) decides neither ownership nor schema. It suggests who votes; the log decides that.
//! * Every buffer is bounded: proposals are refused as overloaded, all else is dropped and asked for again.
//! * Pure: no clock, randomness but a seed, IO, thread, lock or unordered iteration. This crate never sees a
//!   row.
//!
//! Map: [`Member::step`] takes an [`Input`] and gives [`Effect`]s (`io`); `log` is the log and its state
//! machine, `learning` how entries come and are applied, `decision` Paxos over the slots and the queue of
//! proposals, `voters` who decides, `discovery` the way into a cluster, `recovery` the way on without a majority of the
//! voters; `replication` a change of replication step by step; `ring` tokens
//! and their allocation, `view` what is published, replicas included; `gossip` liveness. Protocols:
//! `docs/protocol/metadata_log.md`, `gossip.md`.

mod decision;
mod discovery;
pub mod gossip;
pub mod io;
mod learning;
pub mod log;
mod member;
pub mod recovery;
pub mod replication;
pub mod ring;
mod view;
mod voters;

pub use io::{
    Body, Effect, Heartbeat, Input, LogStatus, MemberConfig, MemberError, MemberStatus, Message, NodeStatus,
    VOTER_PATIENCE, VoterStatus,
};
pub use log::{Change, Entry, Founder, MemberInfo, NodeAddresses, VOTERS_MAX};
pub use member::Member;
pub use replication::ReplicationChange;
pub use view::ClusterView;

#[cfg(test)]
mod network_tests;
