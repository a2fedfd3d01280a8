//! Everything that can happen to a shard and everything that a shard can ask of the world: the whole
//! surface between the logic and its drivers. Closed enums: a new cause is a new variant.

use bytes::Bytes;
use membership::ClusterView;
use model::{
    CompareCommand, Compared, Consistency, Epoch, IndexCommand, IndexData, Mutation, NodeId, PartitionKey, ReadCommand,
    ReadData, RequestError, RetryToken, ScanCommand, ScanData, TableId, Token, TokenRange,
};
use query::{BoundRead, BoundWrite, ConditionalResult, ConditionalWrite, ReadSource};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::batch::LoggedBatch;
use crate::config::HintPolicy;
use crate::register::{Commit, PaxosAnswer, PaxosRequest, is_committable};
use crate::repair::repaired::RepairedThrough;
use crate::repair::{RepairControl, RepairsStatus};
use crate::replica::is_storable;
use crate::shard::Shard;
use crate::storage::{Hint, HintPosition, StorageError};

/// A client's request on this node, chosen by the driver and given back with the reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// A request from this shard to another node's shard or to storage. The highest 16 bits are the index
/// of the shard that made it, so that the answer finds its way back; the rest counts up from 1 within one
/// start of the process, beginning at a random number so that an answer to a dead incarnation is not
/// taken for one's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OpId(pub u64);

impl OpId {
    /// The shard that made it.
    #[must_use]
    pub fn shard(self) -> u16 {
        (self.0 >> 48) as u16
    }
}

impl Message {
    /// The shard that a message is for on a node with `shards` of them: a request goes by its partition, an answer
    /// back to whoever asked. Any shard can scan, since all share one store: the scans of one range are spread over
    /// them by where they begin. `None` for an answer to an earlier start of the node, which had more shards.
    #[must_use]
    pub fn shard(&self, shards: u16) -> Option<u16> {
        let shard = match self {
            Message::Write { mutation, .. }
            | Message::Forward { mutation, .. }
            | Message::Forwarded { mutation, .. } => Shard::shard_of(mutation.partition.token, shards),
            Message::KeepBatch { batch, .. } => Shard::shard_of(LoggedBatch::token(batch.id), shards),
            Message::ForgetBatch { batch } => Shard::shard_of(LoggedBatch::token(*batch), shards),
            Message::Count { change, .. } => Shard::shard_of(change.partition.token, shards),
            Message::Lead { partition, .. } => Shard::shard_of(partition.token, shards),
            Message::Read { command, .. } => Shard::shard_of(command.partition.token, shards),
            Message::Paxos { request, .. } => Shard::shard_of(request.partition.token, shards),
            Message::Scan { command, .. } => {
                let resumed = command.resume.as_ref().map(|resume| resume.partition.token);
                Shard::shard_of(resumed.unwrap_or(command.range.end), shards)
            }
            Message::LookUp { command, .. } => {
                let resumed = command.resume.as_ref().map(|resume| resume.partition.token);
                Shard::shard_of(resumed.unwrap_or(command.range.end), shards)
            }
            Message::Compare { command, .. } => {
                let resumed = command.after.as_ref().map(|after| after.partition.token);
                Shard::shard_of(resumed.unwrap_or(command.range.end), shards)
            }
            // The one that knows what is repaired.
            Message::Repaired { .. } => 0,
            Message::Written { ops } => ops.first()?.shard(),
            Message::Data { op, .. }
            | Message::Scanned { op, .. }
            | Message::LookedUp { op, .. }
            | Message::Compared { op, .. }
            | Message::Digest { op, .. }
            | Message::PaxosAnswered { op, .. }
            | Message::Leading { op, .. }
            | Message::Counted { op, .. }
            | Message::Refused { op, .. } => op.shard(),
        };
        (shard < shards).then_some(shard)
    }
}

/// What a client asked for.
#[derive(Clone, Debug)]
pub enum Request {
    /// INSERT, UPDATE or DELETE.
    Write {
        /// The bound statement.
        write: BoundWrite,
        /// Replicas that must acknowledge it.
        consistency: Consistency,
        /// The client's timestamp in microseconds; USING TIMESTAMP goes before it.
        timestamp: Option<i64>,
        /// Names the request: however often it is sent, it happens once.
        token: Option<RetryToken>,
        /// From now on.
        timeout: Duration,
    },
    /// A logged batch over several partitions: all of it happens, or nothing.
    Batch {
        /// One write for each partition of each table.
        writes: Vec<BoundWrite>,
        /// Replicas of each partition that must acknowledge it.
        consistency: Consistency,
        /// The client's timestamp in microseconds; USING TIMESTAMP goes before it.
        timestamp: Option<i64>,
        /// Names the request: however often it is sent, it happens once.
        token: Option<RetryToken>,
        /// From now on.
        timeout: Duration,
    },
    /// INSERT, UPDATE, DELETE or BATCH with IF.
    Conditional {
        /// The bound statement.
        write: Box<ConditionalWrite>,
        /// Replicas that must have the change, if one is made, before the client is answered.
        consistency: Consistency,
        /// Whose replicas decide: SERIAL or LOCAL_SERIAL.
        serial: Consistency,
        /// Names the request: however often it is sent, it happens once, and has one answer.
        token: Option<RetryToken>,
        /// From now on.
        timeout: Duration,
    },
    /// SELECT.
    Read {
        /// The bound statement.
        read: Arc<BoundRead>,
        /// Replicas that must agree on the answer.
        consistency: Consistency,
        /// Most rows in the answer.
        page_rows: u32,
        /// Where an earlier page ended, as its response said.
        paging_state: Option<Bytes>,
        /// From now on.
        timeout: Duration,
    },
}

impl Request {
    /// The request after it has waited for so long; `None` when its time is over, and it need not be begun.
    #[must_use]
    pub fn after(mut self, waited: Duration) -> Option<Request> {
        let (Request::Write { timeout, .. }
        | Request::Batch { timeout, .. }
        | Request::Conditional { timeout, .. }
        | Request::Read { timeout, .. }) = &mut self;
        *timeout = timeout.checked_sub(waited).filter(|left| !left.is_zero())?;
        Some(self)
    }

    /// Within what time it must be answered.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        let (Request::Write { timeout, .. }
        | Request::Batch { timeout, .. }
        | Request::Conditional { timeout, .. }
        | Request::Read { timeout, .. }) = self;
        *timeout
    }

    /// The token whose shard takes it: a partition's; of a scan one that differs from page to page, since any shard
    /// can scan.
    #[must_use]
    pub fn token(&self) -> Token {
        match self {
            Request::Write { write, .. } => write.partition().token,
            Request::Batch { writes, .. } => writes.first().map_or(Token::MINIMUM, |write| write.partition().token),
            Request::Conditional { write, .. } => write.partition().token,
            Request::Read { read, paging_state, .. } => match (read.source(), paging_state) {
                (ReadSource::Partitions(keys), _) => keys.first().map_or(Token::MINIMUM, |key| key.token),
                (ReadSource::Range(_), Some(state)) => Token::of(state),
                (ReadSource::Range(range), None) => range.end,
            },
        }
    }
}

/// What a page of a read took, at its coordinator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadFigures {
    /// Look-ups in an index.
    pub look_ups: u32,
    /// Rows, or partitions, that they named.
    pub candidates: u64,
    /// For how long look-ups were under way, in microseconds.
    pub look_up_micros: u64,
    /// Questions for rows to the replicas of a partition or of a range of tokens.
    pub rounds: u32,
    /// Rows that the replicas agreed on and that were looked at: also deleted ones, and those that are not in the page.
    pub rows: u64,
    /// Tombstones that were passed for them, of each round on the replica that passed the most.
    pub tombstones: u32,
    /// Replicas that got what they lacked before the answer.
    pub repaired: u32,
    /// For how long only questions for rows were under way, in microseconds.
    pub read_micros: u64,
}

impl ReadFigures {
    /// Those of several pages together.
    #[must_use]
    pub fn and(self, other: ReadFigures) -> ReadFigures {
        ReadFigures {
            look_ups: self.look_ups.saturating_add(other.look_ups),
            candidates: self.candidates.saturating_add(other.candidates),
            look_up_micros: self.look_up_micros.saturating_add(other.look_up_micros),
            rounds: self.rounds.saturating_add(other.rounds),
            rows: self.rows.saturating_add(other.rows),
            tombstones: self.tombstones.saturating_add(other.tombstones),
            repaired: self.repaired.saturating_add(other.repaired),
            read_micros: self.read_micros.saturating_add(other.read_micros),
        }
    }
}

/// The answer to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// A write was acknowledged by as many replicas as its level asks for.
    Written,
    /// A conditional write was decided on.
    Conditional(ConditionalResult),
    /// Rows, and where to go on.
    Rows {
        /// Each row's values in their wire form, in the order of the statement's columns.
        rows: Vec<Vec<Option<Bytes>>>,
        /// Present when there may be more rows.
        paging_state: Option<Bytes>,
        /// What the client should know of how they were read.
        warnings: Vec<String>,
        /// What it took to read them; nothing for what the node answers by itself.
        figures: ReadFigures,
    },
}

impl Response {
    /// Rows that nobody had to be asked for.
    #[must_use]
    pub fn own_rows(rows: Vec<Vec<Option<Bytes>>>, paging_state: Option<Bytes>) -> Response {
        Response::Rows { rows, paging_state, warnings: Vec::new(), figures: ReadFigures::default() }
    }
}

/// Everything that can happen to a shard.
#[derive(Clone, Debug)]
pub enum Input {
    /// A client asked. Answered by exactly one [`Effect::Reply`].
    Request {
        /// Given back with the reply.
        id: RequestId,
        /// What it asks.
        request: Request,
    },
    /// A peer spoke. May be late, doubled, out of order, or never come.
    Message {
        /// The sender.
        from: NodeId,
        /// What it said.
        envelope: Envelope,
    },
    /// A peer spoke, and what it said has waited before this shard for longer than requests may: what of it is a read
    /// is refused as overload.
    Late {
        /// The sender.
        from: NodeId,
        /// What it said.
        envelope: Envelope,
    },
    /// Requests of clients are being refused before they come here, since too many wait.
    Overloaded,
    /// Storage answered.
    Stored(Stored),
    /// Membership published a new view of the cluster.
    View(Arc<ClusterView>),
    /// Membership changed its mind on who is alive; includes this node.
    Alive(Arc<BTreeSet<NodeId>>),
    /// The operator says this of hints from now on.
    Hints(Arc<HintPolicy>),
    /// The operator wants the hints that the node keeps for these nodes gone. Only shard 0 does it.
    DiscardHints(Vec<NodeId>),
    /// The operator says this of repairs. Only shard 0 does it.
    Repair(RepairControl),
    /// The transport knows that nothing sent to this node lately has arrived or will.
    Unreachable(NodeId),
    /// Time passed; maybe late.
    Wake,
}

/// Everything that a shard can ask of the world.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Answer a client.
    Reply {
        /// The request.
        id: RequestId,
        /// Its outcome.
        result: Result<Response, RequestError>,
    },
    /// Send to another node, best effort.
    Send {
        /// The node.
        to: NodeId,
        /// What to say.
        envelope: Envelope,
    },
    /// Ask storage.
    Store {
        /// Given back with the answer. Within a shard ascending, and storage executes writes in this
        /// order.
        op: OpId,
        /// What to do.
        request: StorageRequest,
    },
    /// How repairs are now, for whoever wants to know: from shard 0 when something has changed, but not for every page.
    Repairs(Arc<RepairsStatus>),
    /// This node has done the work of the phase of a change of replication that began at this epoch: membership should
    /// say so. From shard 0.
    ReplicationDone {
        /// The epoch.
        since: Epoch,
    },
    /// This node's view is older than a peer's: membership should catch up to this epoch.
    CatchUp {
        /// A node that has it.
        from: NodeId,
        /// The epoch.
        epoch: Epoch,
    },
}

/// A message with the sender's epoch. Every message carries it: placement is fenced by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The epoch of the sender's view.
    pub epoch: Epoch,
    /// The message.
    pub message: Message,
}

/// What shards of different nodes say to each other. [`Message::shard`] says which shard of the receiving node
/// takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Merge this mutation and acknowledge it once durable.
    Write {
        /// Given back in the acknowledgement.
        op: OpId,
        /// What to merge.
        mutation: Arc<Mutation>,
        /// Why: decides whether the placement must hold and how it is counted.
        purpose: WritePurpose,
    },
    /// A client's write for several replicas of one data centre: do as with [`Message::Write`], and pass it on to the
    /// others.
    Forward {
        /// Given back in the acknowledgement.
        op: OpId,
        /// What to merge.
        mutation: Arc<Mutation>,
        /// Who gets it as [`Message::Forwarded`].
        targets: Vec<NodeId>,
    },
    /// A client's write that another replica passes on: do as with [`Message::Write`], but answer its coordinator.
    Forwarded {
        /// Given back in the acknowledgement.
        op: OpId,
        /// What to merge.
        mutation: Arc<Mutation>,
        /// Whom to answer.
        coordinator: NodeId,
    },
    /// These mutations, or batches, are durable here. One sync makes many so, and one message says it to each shard
    /// that asked.
    Written {
        /// Of each [`Message::Write`] or [`Message::KeepBatch`]; at least one, all of one shard.
        ops: Vec<OpId>,
    },
    /// Read, and answer with the data or its digest.
    Read {
        /// Given back in the answer.
        op: OpId,
        /// What to read.
        command: Arc<ReadCommand>,
        /// True to answer with the digest only.
        digest: bool,
    },
    /// Read a page of the partitions in a range of tokens, and answer with the data.
    Scan {
        /// Given back in the answer.
        op: OpId,
        /// What to read.
        command: Arc<ScanCommand>,
    },
    /// The page for a [`Message::Scan`].
    Scanned {
        /// Of the scan.
        op: OpId,
        /// The answer.
        data: ScanData,
    },
    /// Look a value up in an index, and answer with the rows that may have it.
    LookUp {
        /// Given back in the answer.
        op: OpId,
        /// What to look up.
        command: Arc<IndexCommand>,
    },
    /// The candidates for a [`Message::LookUp`].
    LookedUp {
        /// Of the look-up.
        op: OpId,
        /// The answer.
        data: IndexData,
    },
    /// Compare a part of what is held of a range of tokens.
    Compare {
        /// Given back in the answer.
        op: OpId,
        /// What to compare.
        command: Arc<CompareCommand>,
    },
    /// The page for a [`Message::Compare`].
    Compared {
        /// Of the comparison.
        op: OpId,
        /// The answer.
        page: Compared,
    },
    /// Record that a range has been repaired, and acknowledge it once durable.
    Repaired {
        /// Given back in the acknowledgement.
        op: OpId,
        /// The table.
        table: TableId,
        /// The range.
        range: TokenRange,
        /// Through what time, and over which replicas.
        through: RepairedThrough,
    },
    /// The data for a [`Message::Read`].
    Data {
        /// Of the read.
        op: OpId,
        /// The answer.
        data: ReadData,
    },
    /// The digest for a [`Message::Read`].
    Digest {
        /// Of the read.
        op: OpId,
        /// As [`model::digest::digest`].
        digest: u128,
    },
    /// Take a step of a decision on a partition.
    Paxos {
        /// Given back in the answer.
        op: OpId,
        /// The step.
        request: Arc<PaxosRequest>,
    },
    /// The answer to a [`Message::Paxos`].
    PaxosAnswered {
        /// Of the request.
        op: OpId,
        /// The answer.
        answer: PaxosAnswer,
    },
    /// Keep a logged batch, and write it yourself when you are not told in time to forget it. Acknowledged once it is
    /// durable.
    KeepBatch {
        /// Given back in the acknowledgement.
        op: OpId,
        /// The batch.
        batch: Arc<LoggedBatch>,
    },
    /// All of a batch is written, or hinted. Not answered.
    ForgetBatch {
        /// Its name.
        batch: u128,
    },
    /// Say whether you would take increments of a partition, and give a ticket for them.
    Lead {
        /// Given back in the answer.
        op: OpId,
        /// The table.
        table: TableId,
        /// The partition.
        partition: PartitionKey,
    },
    /// The ticket for a [`Message::Lead`].
    Leading {
        /// Of the request.
        op: OpId,
        /// Good for one [`Message::Count`], whatever the network doubles.
        ticket: OpId,
    },
    /// Take these increments: add them to the shards of this node, durably, and answer with the shards. A message
    /// whose ticket is not known, or was used, is not answered.
    Count {
        /// Given back in the answer.
        op: OpId,
        /// As in [`Message::Leading`].
        ticket: OpId,
        /// A mutation whose increments no node has taken yet.
        change: Arc<Mutation>,
    },
    /// The increments of a [`Message::Count`] are taken and durable here.
    Counted {
        /// Of the request.
        op: OpId,
        /// The mutation with the shards of the node that took them, for the other replicas.
        mutation: Arc<Mutation>,
    },
    /// The request was not executed.
    Refused {
        /// Of the request.
        op: OpId,
        /// Why.
        reason: Refusal,
    },
}

/// What a replica write is part of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WritePurpose {
    /// A client's write.
    Client,
    /// A blocking read repair.
    ReadRepair,
    /// The delivery of a hint.
    Hint,
    /// An anti-entropy repair.
    Repair,
    /// The change was chosen by Paxos; its register is to remember it.
    Commit(Arc<Commit>),
}

impl WritePurpose {
    /// True when a peer's mutation may be written for this.
    pub(crate) fn allows(&self, mutation: &Mutation) -> bool {
        match self {
            WritePurpose::Commit(commit) => is_committable(mutation, commit.remembered.as_ref()),
            _ => is_storable(mutation),
        }
    }
}

/// Why a replica did not execute a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It does not own the partition, or does not know the table, in its view, which is at this epoch.
    NotReplica(Epoch),
    /// It has as much work as it takes on.
    Overloaded,
    /// Its storage failed or refuses writes.
    Storage,
    /// Its disk is full: it refuses writes until there is space.
    DiskFull,
    /// The request is not valid: a defect of the sender.
    Invalid,
    /// The read met more tombstones than one read may.
    TooManyTombstones,
}

/// What a shard asks of storage.
#[derive(Clone, Debug, PartialEq)]
pub enum StorageRequest {
    /// Merge a mutation. Answered by [`Stored::Synced`], maybe after [`Stored::Applied`].
    Apply(Arc<Mutation>),
    /// Change the node's own records. Answered by [`Stored::Synced`].
    Local(model::local::LocalWrite),
    /// Read one of the node's own records. Answered by [`Stored::LocalRead`].
    ReadLocal {
        /// Its key.
        key: Bytes,
    },
    /// Keep a mutation for a node that missed it. Answered by [`Stored::Synced`] or [`Stored::Failed`].
    Hint {
        /// The node that missed it.
        target: NodeId,
        /// The write, and when it is kept.
        hint: Hint,
        /// It fails as [`StorageError::WindowOver`] when a hint that waits for the target was kept before this second.
        oldest_seconds: u32,
    },
    /// Forget the hints of a target up to and including a position. Answered as a write.
    HintsDelivered {
        /// The node that has them now.
        target: NodeId,
        /// The last one delivered.
        through: HintPosition,
    },
    /// Forget what is stored of a table in these ranges of tokens, registers included: this node does not hold them any
    /// more. Answered as a write.
    DropRanges {
        /// The table.
        table: TableId,
        /// Within each of which nothing is left.
        ranges: Vec<TokenRange>,
    },
    /// Read a partition. Answered by [`Stored::Read`].
    Read(Arc<ReadCommand>),
    /// Digest what a read of a partition would answer. Answered by [`Stored::Digest`].
    Digest(Arc<ReadCommand>),
    /// Read a page of the partitions in a range of tokens. Answered by [`Stored::Scanned`].
    Scan(Arc<ScanCommand>),
    /// Look a value up in an index. Answered by [`Stored::LookedUp`].
    LookUp(Arc<IndexCommand>),
    /// Compare a part of what is held of a range of tokens. Answered by [`Stored::Compared`].
    Compare(Arc<CompareCommand>),
    /// Read the hints of a target in order. Answered by [`Stored::Hints`].
    ReadHints {
        /// The node that they are for.
        target: NodeId,
        /// Only what comes after this position.
        after: Option<HintPosition>,
        /// Stop after the hint that reaches this many bytes.
        bytes_limit: u32,
    },
}

/// What storage answers. Every request gets exactly one final answer: `Synced`, `LocalRead`, `Read`, `Digest`,
/// `Scanned`, `LookedUp`, `Compared`, `Hints` or `Failed`; a write may get `Applied` before.
#[derive(Clone, Debug, PartialEq)]
pub enum Stored {
    /// The operating system has the bytes of every write of this shard up to and including this one: they
    /// survive the death of the process but not of the machine. A driver may leave it out when `Synced`
    /// follows at once.
    Applied {
        /// The last one.
        up_to: OpId,
    },
    /// Every write of this shard up to and including this one, but for those that failed, survives power
    /// loss and is visible to reads.
    Synced {
        /// The last one.
        up_to: OpId,
    },
    /// The answer to a [`StorageRequest::ReadLocal`].
    LocalRead {
        /// Of the request.
        op: OpId,
        /// The record, if there is one.
        value: Option<Bytes>,
    },
    /// The answer to a [`StorageRequest::Read`].
    Read {
        /// Of the request.
        op: OpId,
        /// What is stored.
        data: ReadData,
    },
    /// The answer to a [`StorageRequest::Digest`].
    Digest {
        /// Of the request.
        op: OpId,
        /// The digest of what is stored.
        digest: u128,
    },
    /// The answer to a [`StorageRequest::Scan`].
    Scanned {
        /// Of the request.
        op: OpId,
        /// What is stored.
        data: ScanData,
    },
    /// The answer to a [`StorageRequest::LookUp`].
    LookedUp {
        /// Of the request.
        op: OpId,
        /// The candidates.
        data: IndexData,
    },
    /// The answer to a [`StorageRequest::Compare`].
    Compared {
        /// Of the request.
        op: OpId,
        /// The page.
        page: Compared,
    },
    /// The answer to a [`StorageRequest::ReadHints`].
    Hints {
        /// Of the request.
        op: OpId,
        /// In the order in which they were written; empty when there are none.
        hints: Vec<(HintPosition, Hint)>,
    },
    /// The request failed and had no effect that a reader can see; after a power loss a failed write may
    /// turn out to be applied. For a write it comes before any `Applied` or `Synced` of a later one: those
    /// would be taken for its success.
    Failed {
        /// Of the request.
        op: OpId,
        /// Why.
        error: StorageError,
    },
}
