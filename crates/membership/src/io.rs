//! Everything that can happen to a [`crate::Member`] and everything that it can ask of the world, and what
//! members say to each other. Closed enums: a new cause is a new variant.

use crate::log::{Entry, NodeAddresses, put_address, read_address};
use crate::view::ClusterView;
use model::codec::{CodecError, Decode, Encode, Reader, put_option, put_sequence, put_varint};
use model::local::LocalWrite;
use model::schema::SchemaChange;
use model::{Epoch, NodeId, RequestError};
use paxos::{Accepted, Ballot};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;

/// Most seeds in a configuration.
pub const SEEDS_MAX: usize = 64;

/// Most heartbeats in one gossip message.
pub const HEARTBEATS_MAX: usize = 300;

/// Highest generation: the number of starts of one node.
pub const GENERATION_MAX: u64 = u32::MAX as u64;

/// Encoded bytes after which a page of log entries ends.
pub const PAGE_BYTES_MAX: usize = 1024 * 1024;

/// For how long a voter is dead before another member takes its place: longer than a start of its machine takes.
pub const VOTER_PATIENCE: Duration = Duration::from_secs(300);

/// Most recoveries of a cluster that a message names: the last ones.
pub const RECOVERIES_MAX: usize = 64;

/// What one node is configured to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberConfig {
    /// The node's id: drawn at its first start, kept in its data directory.
    pub id: NodeId,
    /// Where others reach it.
    pub addresses: NodeAddresses,
    /// The data centre that it stands in. Fixed once it has joined.
    pub data_center: String,
    /// The rack within the data centre. Fixed once it has joined.
    pub rack: String,
    /// Tokens that it asks for when it joins. Fixed once it has joined.
    pub num_tokens: u32,
    /// Internode addresses of the nodes that found the cluster and by which it is found. A cluster is
    /// founded only by nodes that list the same seeds and themselves among them.
    pub seeds: Vec<SocketAddr>,
    /// Whether the data directory holds user data. Such a node never founds a cluster.
    pub holds_data: bool,
    /// The cluster to which the data directory belongs, if that is recorded outside the log.
    pub expected_cluster: Option<u128>,
    /// For how long a voter is dead before another member takes its place: [`VOTER_PATIENCE`] but in tests.
    pub voter_patience: Duration,
}

/// Everything that can happen to a member.
#[derive(Clone, Debug)]
pub enum Input {
    /// A node spoke. May be late, doubled, out of order, or never come.
    Message {
        /// The internode address that the sender listens on, not the ephemeral one of its connection.
        from: SocketAddr,
        /// What it said.
        message: Message,
    },
    /// The answer to an [`Effect::Store`].
    Stored {
        /// Of the effect.
        op: u64,
        /// `Err` stops the node: nobody knows what the disk holds.
        result: Result<(), String>,
    },
    /// A client asked for a schema change. Answered by exactly one [`Effect::Decided`].
    Propose {
        /// Given back with the answer.
        request: u64,
        /// What to change.
        change: SchemaChange,
    },
    /// A shard met an epoch higher than this node's in a message of `from`.
    CatchUp {
        /// The node that has it.
        from: NodeId,
        /// The epoch.
        epoch: Epoch,
    },
    /// This node has done the work of the phase of a change of replication that began at this epoch.
    Done(Epoch),
    /// The transport's connection to this internode address was refused or broke.
    Unreachable(SocketAddr),
    /// Time passed; maybe late.
    Wake,
}

/// Everything that a member can ask of the world.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Send to the node that listens on this internode address, best effort.
    Send {
        /// The address.
        to: SocketAddr,
        /// What to say.
        message: Message,
    },
    /// Change this node's own records, atomically and synced before [`Input::Stored`] comes back, in the
    /// order of the ops.
    Store {
        /// Given back with the answer; ascending from 1.
        op: u64,
        /// What to change.
        write: LocalWrite,
    },
    /// The cluster as this node knows it now. The first one says that the node has joined; epochs ascend.
    View(Arc<ClusterView>),
    /// The members that this node takes for alive now; includes itself.
    Alive(Arc<BTreeSet<NodeId>>),
    /// The outcome of a [`Input::Propose`]: the epoch at which it is in effect.
    Decided {
        /// Of the proposal.
        request: u64,
        /// Its outcome.
        result: Result<Epoch, RequestError>,
    },
    /// The process must stop with this message. Nothing follows.
    Fatal(MemberError),
}

/// Why a node cannot be a member.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MemberError {
    /// The peers belong to another cluster than this node.
    #[error(
        "this node belongs to cluster {} but {peer} belongs to cluster {}: check the configured seeds, or whether the \
         data directory is the right one", NodeId(*own), NodeId(*theirs)
    )]
    OtherCluster {
        /// This node's cluster.
        own: u128,
        /// The peer's cluster.
        theirs: u128,
        /// The peer's internode address, or what else says so.
        peer: String,
    },
    /// The cluster does not take the node in.
    #[error("joining cluster {} is refused: {reason}", NodeId(*cluster))]
    JoinRefused {
        /// The cluster.
        cluster: u128,
        /// Why.
        reason: String,
    },
    /// The cluster was recovered while this node was away, and cannot take it back.
    #[error(
        "cluster {} was recovered as cluster {} from entry {} of its metadata log on ({peer} says so), and the log of \
         this node, of cluster {}, goes on otherwise from there: it cannot follow; keep its data directory aside, and \
         start it with an empty one to join as a new node", NodeId(*former), NodeId(*theirs), slot.0, NodeId(*own)
    )]
    LeftBehind {
        /// This node's cluster.
        own: u128,
        /// The cluster that both come from.
        former: u128,
        /// The cluster that goes on.
        theirs: u128,
        /// The slot of the recovery.
        slot: Epoch,
        /// The internode address of the node that says so.
        peer: String,
    },
    /// This node was recovered from a cluster that lives.
    #[error(
        "this node was recovered as cluster {} from cluster {}, but {peer} says that a majority of the voters of that \
         one lives and goes on without it; keep its data directory aside, and start it with an empty one to join as a \
         new node, or with the copy from before the recovery", NodeId(*own), NodeId(*former)
    )]
    RecoveredInVain {
        /// This node's cluster.
        own: u128,
        /// The cluster that lives.
        former: u128,
        /// The internode address of the node that says so.
        peer: String,
    },
    /// The metadata log cannot be recovered on this node.
    #[error("the metadata log cannot be recovered here: {0}")]
    NotRecoverable(String),
    /// The data directory holds user data, but nothing says of which cluster.
    #[error(
        "the data directory holds user data but no metadata log, so nothing says to which cluster the data belongs; \
         restore the directory, or start with an empty one"
    )]
    UnknownData,
    /// Another node has taken this one's place.
    #[error(
        "this node ({id}) was removed from cluster {}: another node joined with its address; \
         start with an empty data directory to join as a new node", NodeId(*cluster)
    )]
    Removed {
        /// This node.
        id: NodeId,
        /// The cluster.
        cluster: u128,
    },
    /// A setting that is fixed once a node has joined differs from what the cluster knows.
    #[error("{setting} was '{was}' when this node joined and is '{is}' now: changing it is not supported yet")]
    SettingChanged {
        /// The setting.
        setting: &'static str,
        /// As the cluster knows it.
        was: String,
        /// As configured.
        is: String,
    },
    /// The configuration cannot be.
    #[error("{0}")]
    Config(String),
    /// The node's own records are damaged.
    #[error("the node's own records are damaged: {0}")]
    Corrupt(String),
    /// The node's own records cannot be written.
    #[error("the node's own records cannot be written: {0}")]
    Storage(String),
}

/// What a node says about its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heartbeat {
    /// How many times it has started. A higher one goes before any version.
    pub generation: u64,
    /// Counts up while it runs.
    pub version: u64,
    /// The epoch that it has applied.
    pub epoch: Epoch,
    /// The beginning of the last phase of a change of replication whose work it has done.
    pub done: Epoch,
}

impl Heartbeat {
    /// Whether this was said after `other`.
    #[must_use]
    pub fn is_newer_than(&self, other: &Heartbeat) -> bool {
        (self.generation, self.version) > (other.generation, other.version)
    }
}

/// A message with what every message says about its sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The sender.
    pub sender: NodeId,
    /// The sender's cluster, if it belongs to one.
    pub cluster: Option<u128>,
    /// The epoch that the sender has applied and stored.
    pub epoch: Epoch,
    /// What it says.
    pub body: Body,
}

/// What members say to each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// A starting node asks a seed whether it belongs to a cluster. Answered by `Discovered`.
    Discover {
        /// The sender's seeds, ascending.
        seeds: Vec<SocketAddr>,
    },
    /// The answer; the message says which cluster.
    Discovered {
        /// The sender's seeds, ascending.
        seeds: Vec<SocketAddr>,
    },
    /// The receiver's message was ignored: it is of another cluster than the sender of this.
    Mismatch {
        /// The names that the sender's cluster had before it was recovered, each with the slot of that recovery, in
        /// order; the last [`RECOVERIES_MAX`].
        recoveries: Vec<(u128, Epoch)>,
    },
    /// To a node whose cluster was recovered from the sender's: that one goes on, by a majority of its voters.
    GoesOn,
    /// Paxos, first phase, for one slot of the log.
    Prepare {
        /// The slot.
        slot: Epoch,
        /// The attempt.
        ballot: Ballot,
        /// For slot 1 the proposer's seeds, ascending: who decides it. Else empty.
        seeds: Vec<SocketAddr>,
    },
    /// The positive answer to `Prepare`, stored.
    Promise {
        /// Of the prepare.
        slot: Epoch,
        /// Of the prepare.
        ballot: Ballot,
        /// What the sender has accepted.
        accepted: Option<Accepted<Entry>>,
    },
    /// Paxos, second phase.
    Accept {
        /// The slot.
        slot: Epoch,
        /// The attempt.
        ballot: Ballot,
        /// The value.
        entry: Entry,
    },
    /// The positive answer to `Accept`, stored.
    Accepted {
        /// Of the accept.
        slot: Epoch,
        /// Of the accept.
        ballot: Ballot,
    },
    /// The negative answer to `Prepare` or `Accept`.
    Refused {
        /// Of the request.
        slot: Epoch,
        /// Of the request.
        ballot: Ballot,
        /// The ballot that was promised instead.
        promised: Ballot,
    },
    /// This entry is decided. Answered by `Applied` once the receiver has applied it.
    Committed {
        /// The slot.
        slot: Epoch,
        /// Its entry.
        entry: Entry,
    },
    /// The sender has applied what the message's epoch says.
    Applied,
    /// Asks for decided entries. Answered by `Entries`.
    Fetch {
        /// The last one that the sender has.
        after: Epoch,
    },
    /// Decided entries.
    Entries {
        /// The slot of the first.
        first: Epoch,
        /// One or more, bounded by [`PAGE_BYTES_MAX`].
        entries: Vec<Entry>,
    },
    /// Heartbeats, at most [`HEARTBEATS_MAX`], the sender's own first. Answered by `GossipAnswer`.
    Gossip {
        /// Of distinct nodes.
        heartbeats: Vec<(NodeId, Heartbeat)>,
    },
    /// Heartbeats that are newer than those of the `Gossip`, the sender's own first.
    GossipAnswer {
        /// Of distinct nodes.
        heartbeats: Vec<(NodeId, Heartbeat)>,
    },
    /// Asks for a sign of life. Answered by `ProbeAnswer`.
    Probe {
        /// Random.
        nonce: u64,
    },
    /// The sign of life.
    ProbeAnswer {
        /// Of the probe.
        nonce: u64,
    },
}

/// What a node knows of itself and of the others, for an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberStatus {
    /// This node.
    pub id: NodeId,
    /// Its cluster, if it knows one.
    pub cluster_id: Option<u128>,
    /// The epoch that it has applied.
    pub epoch: Epoch,
    /// Whether it is a member.
    pub joined: bool,
    /// What it waits for, in a sentence; `None` when it waits for nothing.
    pub waiting: Option<String>,
    /// Schema changes that are not answered yet.
    pub pending_changes: usize,
    /// The members, by id.
    pub nodes: Vec<NodeStatus>,
}

/// What a node knows of the metadata log, for an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogStatus {
    /// The node.
    pub id: NodeId,
    /// Its cluster, if it knows one.
    pub cluster_id: Option<u128>,
    /// The epoch that it has applied.
    pub epoch: Epoch,
    /// The names that the cluster had before it was recovered, each with the slot of that recovery, in order.
    pub recoveries: Vec<(u128, Epoch)>,
    /// Who decides the next entry, by id.
    pub voters: Vec<VoterStatus>,
    /// The members by id, each with its address and the epoch that it is known to have applied.
    pub members: Vec<(NodeId, SocketAddr, Option<Epoch>)>,
    /// The change of replication that is under way, in words.
    pub replication_change: Option<String>,
    /// What stands in the way of changes, in a sentence.
    pub waiting: Option<String>,
    /// The last entries, each with its slot and in words, in order.
    pub entries: Vec<(Epoch, String)>,
}

/// A voter of the metadata log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VoterStatus {
    /// The node.
    pub id: NodeId,
    /// Where other nodes reach it.
    pub internode: SocketAddr,
    /// Whether it is a member; else it founded the cluster and has not joined it.
    pub member: bool,
    /// Whether it is taken for alive; `None` when nobody says, as in the records of a stopped node.
    pub alive: Option<bool>,
}

/// What a node knows of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeStatus {
    /// The member.
    pub id: NodeId,
    /// Where it is reached.
    pub addresses: NodeAddresses,
    /// Its data centre.
    pub data_center: String,
    /// Its rack.
    pub rack: String,
    /// How many tokens it has.
    pub tokens: usize,
    /// Whether it decides the metadata log.
    pub voter: bool,
    /// Whether it is taken for alive.
    pub alive: bool,
    /// Its last heartbeat, with its epoch.
    pub heartbeat: Heartbeat,
    /// Time since a sign of life, in milliseconds; `None` when there was none since this node started.
    pub silent_ms: Option<u64>,
}

const VERSION: u8 = 3;

impl Encode for Heartbeat {
    fn encode(&self, out: &mut Vec<u8>) {
        self.generation.encode(out);
        self.version.encode(out);
        self.epoch.encode(out);
        self.done.encode(out);
    }
}

impl Decode for Heartbeat {
    fn decode(reader: &mut Reader) -> Result<Heartbeat, CodecError> {
        let (generation, version) = (reader.varint()?, reader.varint()?);
        // Room to count up: a broken peer must not make a node's heartbeats the last ones for ever.
        if generation > GENERATION_MAX || version > u64::MAX >> 8 {
            return Err(CodecError::Invalid("heartbeat"));
        }
        Ok(Heartbeat { generation, version, epoch: read_slot(reader)?, done: read_slot(reader)? })
    }
}

/// Slots and epochs come with room to count up.
fn read_slot(reader: &mut Reader) -> Result<Epoch, CodecError> {
    let slot = Epoch::decode(reader)?;
    if slot.0 > u64::MAX >> 8 { Err(CodecError::Invalid("epoch")) } else { Ok(slot) }
}

fn put_addresses(out: &mut Vec<u8>, addresses: &[SocketAddr]) {
    put_varint(out, addresses.len() as u64);
    for address in addresses {
        put_address(out, address);
    }
}

fn read_addresses(reader: &mut Reader) -> Result<Vec<SocketAddr>, CodecError> {
    let count = reader.count()?;
    if count > SEEDS_MAX {
        return Err(CodecError::Invalid("seeds"));
    }
    (0..count).map(|_| read_address(reader)).collect()
}

fn put_recoveries(out: &mut Vec<u8>, recoveries: &[(u128, Epoch)]) {
    put_varint(out, recoveries.len() as u64);
    for (cluster, slot) in recoveries {
        cluster.encode(out);
        slot.encode(out);
    }
}

fn read_recoveries(reader: &mut Reader) -> Result<Vec<(u128, Epoch)>, CodecError> {
    let count = reader.count()?;
    if count > RECOVERIES_MAX {
        return Err(CodecError::Invalid("recoveries"));
    }
    (0..count).map(|_| Ok((reader.u128()?, read_slot(reader)?))).collect()
}

fn put_heartbeats(out: &mut Vec<u8>, heartbeats: &[(NodeId, Heartbeat)]) {
    put_varint(out, heartbeats.len() as u64);
    for (node, heartbeat) in heartbeats {
        node.encode(out);
        heartbeat.encode(out);
    }
}

fn read_heartbeats(reader: &mut Reader) -> Result<Vec<(NodeId, Heartbeat)>, CodecError> {
    let count = reader.count()?;
    if count > HEARTBEATS_MAX {
        return Err(CodecError::Invalid("heartbeats"));
    }
    (0..count).map(|_| Ok((NodeId::decode(reader)?, Heartbeat::decode(reader)?))).collect()
}

impl Encode for Message {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        self.sender.encode(out);
        put_option(out, self.cluster.as_ref());
        self.epoch.encode(out);
        self.body.encode(out);
    }
}

impl Decode for Message {
    fn decode(reader: &mut Reader) -> Result<Message, CodecError> {
        match reader.u8()? {
            VERSION => {}
            newer => return Err(CodecError::Version(newer)),
        }
        Ok(Message {
            sender: NodeId::decode(reader)?,
            cluster: reader.option()?,
            epoch: read_slot(reader)?,
            body: Body::decode(reader)?,
        })
    }
}

impl Encode for Body {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.tag());
        match self {
            Body::Discover { seeds } | Body::Discovered { seeds } => put_addresses(out, seeds),
            Body::Mismatch { recoveries } => put_recoveries(out, recoveries),
            Body::GoesOn | Body::Applied => {}
            Body::Prepare { slot, ballot, seeds } => {
                put_attempt(out, *slot, *ballot);
                put_addresses(out, seeds);
            }
            Body::Promise { slot, ballot, accepted } => {
                put_attempt(out, *slot, *ballot);
                put_option(out, accepted.as_ref());
            }
            Body::Accept { slot, ballot, entry } => {
                put_attempt(out, *slot, *ballot);
                entry.encode(out);
            }
            Body::Accepted { slot, ballot } => put_attempt(out, *slot, *ballot),
            Body::Refused { slot, ballot, promised } => {
                put_attempt(out, *slot, *ballot);
                promised.encode(out);
            }
            Body::Committed { slot, entry } => {
                slot.encode(out);
                entry.encode(out);
            }
            Body::Fetch { after } => after.encode(out),
            Body::Entries { first, entries } => {
                first.encode(out);
                put_sequence(out, entries);
            }
            Body::Gossip { heartbeats } | Body::GossipAnswer { heartbeats } => put_heartbeats(out, heartbeats),
            Body::Probe { nonce } | Body::ProbeAnswer { nonce } => nonce.encode(out),
        }
    }
}

fn put_attempt(out: &mut Vec<u8>, slot: Epoch, ballot: Ballot) {
    slot.encode(out);
    ballot.encode(out);
}

fn read_attempt(reader: &mut Reader) -> Result<(Epoch, Ballot), CodecError> {
    Ok((read_slot(reader)?, read_ballot(reader)?))
}

/// Ballots come with room above them too: without it a proposer could not get above one.
fn read_ballot(reader: &mut Reader) -> Result<Ballot, CodecError> {
    let ballot = Ballot::decode(reader)?;
    if ballot.round > u64::MAX >> 2 { Err(CodecError::Invalid("ballot")) } else { Ok(ballot) }
}

impl Body {
    fn tag(&self) -> u8 {
        match self {
            Body::Discover { .. } => 0,
            Body::Discovered { .. } => 1,
            Body::Mismatch { .. } => 2,
            Body::Prepare { .. } => 3,
            Body::Promise { .. } => 4,
            Body::Accept { .. } => 5,
            Body::Accepted { .. } => 6,
            Body::Refused { .. } => 7,
            Body::Committed { .. } => 8,
            Body::Applied => 9,
            Body::Fetch { .. } => 10,
            Body::Entries { .. } => 11,
            Body::Gossip { .. } => 12,
            Body::GossipAnswer { .. } => 13,
            Body::Probe { .. } => 14,
            Body::ProbeAnswer { .. } => 15,
            Body::GoesOn => 16,
        }
    }
}

impl Decode for Body {
    fn decode(reader: &mut Reader) -> Result<Body, CodecError> {
        Ok(match reader.u8()? {
            0 => Body::Discover { seeds: read_addresses(reader)? },
            1 => Body::Discovered { seeds: read_addresses(reader)? },
            2 => Body::Mismatch { recoveries: read_recoveries(reader)? },
            3 => {
                let (slot, ballot) = read_attempt(reader)?;
                Body::Prepare { slot, ballot, seeds: read_addresses(reader)? }
            }
            4 => {
                let (slot, ballot) = read_attempt(reader)?;
                Body::Promise { slot, ballot, accepted: reader.option()? }
            }
            5 => {
                let (slot, ballot) = read_attempt(reader)?;
                Body::Accept { slot, ballot, entry: Entry::decode(reader)? }
            }
            6 => {
                let (slot, ballot) = read_attempt(reader)?;
                Body::Accepted { slot, ballot }
            }
            7 => {
                let (slot, ballot) = read_attempt(reader)?;
                Body::Refused { slot, ballot, promised: read_ballot(reader)? }
            }
            8 => Body::Committed { slot: read_slot(reader)?, entry: Entry::decode(reader)? },
            9 => Body::Applied,
            10 => Body::Fetch { after: read_slot(reader)? },
            11 => Body::Entries { first: read_slot(reader)?, entries: reader.sequence()? },
            12 => Body::Gossip { heartbeats: read_heartbeats(reader)? },
            13 => Body::GossipAnswer { heartbeats: read_heartbeats(reader)? },
            14 => Body::Probe { nonce: reader.varint()? },
            15 => Body::ProbeAnswer { nonce: reader.varint()? },
            16 => Body::GoesOn,
            _ => return Err(CodecError::Invalid("message")),
        })
    }
}

#[cfg(test)]
#[path = "io_tests.rs"]
mod io_tests;
