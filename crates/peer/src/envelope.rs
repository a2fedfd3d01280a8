//! Envelopes: what `node` and `membership` say, one message each.

use crate::hello::{Priority, bits};
use crate::proto::v1 as proto;
use crate::proto::v1::envelope::Message as Body;
use crate::proto::v1::refused::Reason;
use crate::proto::v1::write::Purpose;
use crate::{Hello, InvalidMessage};
use bytes::Bytes;
use model::codec::{CodecError, Decode, Encode, Reader};
use model::{
    CompareCommand, Compared, Epoch, IndexCommand, IndexData, Mutation, NodeId, PartitionKey, ReadCommand, ReadData,
    ScanCommand, ScanData, TableId, TokenRange,
};
use node::LoggedBatch;
use node::io::{Envelope, Message, OpId, Refusal, WritePurpose};
use node::register::{Commit, PaxosAnswer, PaxosRequest};
use node::repair::repaired::RepairedThrough;
use std::sync::Arc;

/// What an envelope holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Payload {
    /// For a shard: a request by its partition's token, an answer by [`OpId::shard`].
    Node(Envelope),
    /// For the membership loop.
    Membership(membership::Message),
}

/// The stream over which a message goes.
#[must_use]
pub fn priority(message: &Message) -> Priority {
    match message {
        Message::Write { purpose: WritePurpose::Hint | WritePurpose::Repair, .. }
        | Message::Compare { .. }
        | Message::Compared { .. }
        | Message::Repaired { .. } => Priority::Bulk,
        Message::Write { .. }
        | Message::Forward { .. }
        | Message::Forwarded { .. }
        | Message::Written { .. }
        | Message::Read { .. }
        | Message::Data { .. }
        | Message::Scan { .. }
        | Message::Scanned { .. }
        | Message::LookUp { .. }
        | Message::LookedUp { .. }
        | Message::Digest { .. }
        | Message::Paxos { .. }
        | Message::PaxosAnswered { .. }
        | Message::KeepBatch { .. }
        | Message::ForgetBatch { .. }
        | Message::Lead { .. }
        | Message::Leading { .. }
        | Message::Count { .. }
        | Message::Counted { .. }
        | Message::Refused { .. } => Priority::Data,
    }
}

fn mutation_bytes(mutation: &Mutation) -> Bytes {
    let mut bytes = Vec::with_capacity(mutation.bytes());
    mutation.encode(&mut bytes);
    bytes.into()
}

/// The wire form of what a shard says.
#[must_use]
pub fn encode_node(envelope: &Envelope) -> proto::Envelope {
    let body = match &envelope.message {
        Message::Write { op, mutation, purpose } => {
            let (purpose, commit) = match purpose {
                WritePurpose::Client => (Purpose::Client, Bytes::new()),
                WritePurpose::ReadRepair => (Purpose::ReadRepair, Bytes::new()),
                WritePurpose::Hint => (Purpose::Hint, Bytes::new()),
                WritePurpose::Repair => (Purpose::Repair, Bytes::new()),
                WritePurpose::Commit(commit) => (Purpose::Commit, commit.to_bytes()),
            };
            Body::Write(proto::Write { op: op.0, mutation: mutation_bytes(mutation), purpose: purpose.into(), commit })
        }
        Message::Forward { op, mutation, targets } => Body::Forward(proto::Forward {
            op: op.0,
            mutation: mutation_bytes(mutation),
            targets: targets.iter().map(|target| Bytes::copy_from_slice(&target.0.to_be_bytes())).collect(),
        }),
        Message::Forwarded { op, mutation, coordinator } => Body::Forwarded(proto::Forwarded {
            op: op.0,
            mutation: mutation_bytes(mutation),
            coordinator: Bytes::copy_from_slice(&coordinator.0.to_be_bytes()),
        }),
        Message::Written { ops } => Body::Written(proto::Written { ops: ops.iter().map(|op| op.0).collect() }),
        Message::Read { op, command, digest } => {
            Body::Read(proto::Read { op: op.0, command: command.to_bytes(), digest: *digest })
        }
        Message::Data { op, data } => Body::Data(proto::Data { op: op.0, data: data.to_bytes() }),
        Message::Scan { op, command } => Body::Scan(proto::Scan { op: op.0, command: command.to_bytes() }),
        Message::Scanned { op, data } => Body::Scanned(proto::Scanned { op: op.0, data: data.to_bytes() }),
        Message::LookUp { op, command } => Body::LookUp(proto::LookUp { op: op.0, command: command.to_bytes() }),
        Message::LookedUp { op, data } => Body::LookedUp(proto::LookedUp { op: op.0, data: data.to_bytes() }),
        Message::Compare { op, command } => Body::Compare(proto::Compare { op: op.0, command: command.to_bytes() }),
        Message::Compared { op, page } => Body::Compared(proto::Compared { op: op.0, page: page.to_bytes() }),
        Message::Repaired { op, table, range, through } => {
            let mut record = Vec::new();
            table.encode(&mut record);
            range.encode(&mut record);
            through.encode(&mut record);
            Body::Repaired(proto::Repaired { op: op.0, record: record.into() })
        }
        Message::Digest { op, digest } => {
            Body::Digest(proto::Digest { op: op.0, digest: Bytes::copy_from_slice(&digest.to_be_bytes()) })
        }
        Message::Paxos { op, request } => Body::Paxos(proto::Paxos { op: op.0, request: request.to_bytes() }),
        Message::PaxosAnswered { op, answer } => {
            Body::PaxosAnswered(proto::PaxosAnswered { op: op.0, answer: answer.to_bytes() })
        }
        Message::KeepBatch { op, batch } => Body::KeepBatch(proto::KeepBatch { op: op.0, batch: batch.to_bytes() }),
        Message::ForgetBatch { batch } => {
            Body::ForgetBatch(proto::ForgetBatch { batch: Bytes::copy_from_slice(&batch.to_be_bytes()) })
        }
        Message::Lead { op, table, partition } => Body::Lead(proto::Lead {
            op: op.0,
            table: Bytes::copy_from_slice(&table.0.to_be_bytes()),
            partition: partition.bytes.clone(),
        }),
        Message::Leading { op, ticket } => Body::Leading(proto::Leading { op: op.0, ticket: ticket.0 }),
        Message::Count { op, ticket, change } => {
            Body::Count(proto::Count { op: op.0, ticket: ticket.0, change: mutation_bytes(change) })
        }
        Message::Counted { op, mutation } => {
            Body::Counted(proto::Counted { op: op.0, mutation: mutation_bytes(mutation) })
        }
        Message::Refused { op, reason } => {
            let (reason, epoch) = match reason {
                Refusal::NotReplica(epoch) => (Reason::NotReplica, epoch.0),
                Refusal::Overloaded => (Reason::Overloaded, 0),
                Refusal::Storage => (Reason::Storage, 0),
                Refusal::Invalid => (Reason::Invalid, 0),
                Refusal::TooManyTombstones => (Reason::TooManyTombstones, 0),
                Refusal::DiskFull => (Reason::DiskFull, 0),
            };
            Body::Refused(proto::Refused { op: op.0, reason: reason.into(), epoch })
        }
    };
    proto::Envelope { epoch: envelope.epoch.0, message: Some(body) }
}

/// The wire form of what membership says. It carries its epochs itself.
#[must_use]
pub fn encode_membership(message: &membership::Message) -> proto::Envelope {
    proto::Envelope { epoch: 0, message: Some(Body::Membership(message.to_bytes())) }
}

fn compact<T: Decode>(bytes: &Bytes, field: &'static str) -> Result<T, InvalidMessage> {
    T::from_bytes(bytes).map_err(|source| InvalidMessage::Codec { field, source })
}

/// What an envelope holds. Byte strings in it are slices of the envelope's.
///
/// The records of a mutation and the rows of an answer are not looked into: whoever merges them does.
///
/// # Errors
/// When it is not what the protocol allows.
pub fn decode(envelope: proto::Envelope) -> Result<Payload, InvalidMessage> {
    let message = match envelope.message.ok_or(InvalidMessage::Missing("Envelope.message"))? {
        Body::Membership(bytes) => return Ok(Payload::Membership(compact(&bytes, "Envelope.membership")?)),
        Body::Write(write) => Message::Write {
            op: OpId(write.op),
            mutation: Arc::new(compact::<Mutation>(&write.mutation, "Write.mutation")?),
            purpose: purpose(write.purpose, &write.commit)?,
        },
        Body::Forward(forward) => Message::Forward {
            op: OpId(forward.op),
            mutation: Arc::new(compact::<Mutation>(&forward.mutation, "Forward.mutation")?),
            targets: forward
                .targets
                .iter()
                .map(|target| node_id(target, "Forward.targets"))
                .collect::<Result<_, _>>()?,
        },
        Body::Forwarded(forwarded) => Message::Forwarded {
            op: OpId(forwarded.op),
            mutation: Arc::new(compact::<Mutation>(&forwarded.mutation, "Forwarded.mutation")?),
            coordinator: node_id(&forwarded.coordinator, "Forwarded.coordinator")?,
        },
        Body::Written(written) if written.ops.is_empty() => return Err(InvalidMessage::Missing("Written.ops")),
        Body::Written(written) => Message::Written { ops: written.ops.into_iter().map(OpId).collect() },
        Body::Read(read) => Message::Read {
            op: OpId(read.op),
            command: Arc::new(compact::<ReadCommand>(&read.command, "Read.command")?),
            digest: read.digest,
        },
        Body::Data(data) => Message::Data { op: OpId(data.op), data: compact::<ReadData>(&data.data, "Data.data")? },
        Body::Scan(scan) => Message::Scan {
            op: OpId(scan.op),
            command: Arc::new(compact::<ScanCommand>(&scan.command, "Scan.command")?),
        },
        Body::Scanned(scanned) => {
            Message::Scanned { op: OpId(scanned.op), data: compact::<ScanData>(&scanned.data, "Scanned.data")? }
        }
        Body::LookUp(look_up) => Message::LookUp {
            op: OpId(look_up.op),
            command: Arc::new(compact::<IndexCommand>(&look_up.command, "LookUp.command")?),
        },
        Body::LookedUp(looked_up) => {
            Message::LookedUp { op: OpId(looked_up.op), data: compact::<IndexData>(&looked_up.data, "LookedUp.data")? }
        }
        Body::Compare(compare) => Message::Compare {
            op: OpId(compare.op),
            command: Arc::new(compact::<CompareCommand>(&compare.command, "Compare.command")?),
        },
        Body::Compared(compared) => {
            Message::Compared { op: OpId(compared.op), page: compact::<Compared>(&compared.page, "Compared.page")? }
        }
        Body::Repaired(repaired) => repaired_range(&repaired)?,
        Body::Digest(digest) => Message::Digest { op: OpId(digest.op), digest: bits(&digest.digest, "Digest.digest")? },
        Body::Paxos(paxos) => Message::Paxos {
            op: OpId(paxos.op),
            request: Arc::new(compact::<PaxosRequest>(&paxos.request, "Paxos.request")?),
        },
        Body::PaxosAnswered(answered) => Message::PaxosAnswered {
            op: OpId(answered.op),
            answer: compact::<PaxosAnswer>(&answered.answer, "PaxosAnswered.answer")?,
        },
        Body::Refused(refused) => {
            Message::Refused { op: OpId(refused.op), reason: refusal(refused.reason, refused.epoch)? }
        }
        other => counting_or_batch(other)?,
    };
    Ok(Payload::Node(Envelope { epoch: Epoch(envelope.epoch), message }))
}

/// What an envelope holds that is about counters or logged batches.
fn counting_or_batch(body: Body) -> Result<Message, InvalidMessage> {
    Ok(match body {
        Body::KeepBatch(keep) => Message::KeepBatch {
            op: OpId(keep.op),
            batch: Arc::new(compact::<LoggedBatch>(&keep.batch, "KeepBatch.batch")?),
        },
        Body::ForgetBatch(forget) => Message::ForgetBatch { batch: bits(&forget.batch, "ForgetBatch.batch")? },
        Body::Lead(lead) => Message::Lead {
            op: OpId(lead.op),
            table: bits(&lead.table, "Lead.table").map(TableId)?,
            partition: PartitionKey::new(lead.partition),
        },
        Body::Leading(leading) => Message::Leading { op: OpId(leading.op), ticket: OpId(leading.ticket) },
        Body::Count(count) => Message::Count {
            op: OpId(count.op),
            ticket: OpId(count.ticket),
            change: Arc::new(compact::<Mutation>(&count.change, "Count.change")?),
        },
        Body::Counted(counted) => Message::Counted {
            op: OpId(counted.op),
            mutation: Arc::new(compact::<Mutation>(&counted.mutation, "Counted.mutation")?),
        },
        _ => return Err(InvalidMessage::Missing("Envelope.message")),
    })
}

fn repaired_range(repaired: &proto::Repaired) -> Result<Message, InvalidMessage> {
    let invalid = |source| InvalidMessage::Codec { field: "Repaired.record", source };
    let mut reader = Reader::new(repaired.record.clone());
    let mut decode = || -> Result<Message, CodecError> {
        let (table, range) = (TableId::decode(&mut reader)?, TokenRange::decode(&mut reader)?);
        let through = RepairedThrough::decode(&mut reader)?;
        Ok(Message::Repaired { op: OpId(repaired.op), table, range, through })
    };
    let message = decode().map_err(invalid)?;
    reader.finish().map_err(invalid)?;
    Ok(message)
}

fn node_id(bytes: &Bytes, field: &'static str) -> Result<NodeId, InvalidMessage> {
    bits(bytes, field).map(NodeId)
}

fn purpose(number: i32, commit: &Bytes) -> Result<WritePurpose, InvalidMessage> {
    match Purpose::try_from(number) {
        Ok(Purpose::Client) => Ok(WritePurpose::Client),
        Ok(Purpose::ReadRepair) => Ok(WritePurpose::ReadRepair),
        Ok(Purpose::Hint) => Ok(WritePurpose::Hint),
        Ok(Purpose::Repair) => Ok(WritePurpose::Repair),
        Ok(Purpose::Commit) => Ok(WritePurpose::Commit(Arc::new(compact::<Commit>(commit, "Write.commit")?))),
        Ok(Purpose::Unspecified) => Err(InvalidMessage::Missing("Write.purpose")),
        Err(_) => Err(InvalidMessage::Unknown { field: "Write.purpose", number }),
    }
}

fn refusal(number: i32, epoch: u64) -> Result<Refusal, InvalidMessage> {
    match Reason::try_from(number) {
        Ok(Reason::NotReplica) => Ok(Refusal::NotReplica(Epoch(epoch))),
        Ok(Reason::Overloaded) => Ok(Refusal::Overloaded),
        Ok(Reason::Storage) => Ok(Refusal::Storage),
        Ok(Reason::Invalid) => Ok(Refusal::Invalid),
        Ok(Reason::TooManyTombstones) => Ok(Refusal::TooManyTombstones),
        Ok(Reason::DiskFull) => Ok(Refusal::DiskFull),
        Ok(Reason::Unspecified) => Err(InvalidMessage::Missing("Refused.reason")),
        Err(_) => Err(InvalidMessage::Unknown { field: "Refused.reason", number }),
    }
}

/// What the frames after the first hold.
///
/// # Errors
/// When an envelope is not what the protocol allows, or the frame says hello again.
pub fn decode_frame(frame: proto::Frame) -> Result<Vec<Payload>, InvalidMessage> {
    if frame.hello.is_some() {
        return Err(InvalidMessage::Invalid { field: "Frame.hello", problem: "is not in the first frame" });
    }
    frame.envelopes.into_iter().map(decode).collect()
}

/// Collects the messages that are waiting into one frame, until it holds enough: fewer and larger frames cost less,
/// but the first message of a frame must not wait for the last of too many.
#[derive(Debug, Default)]
pub struct Batch {
    envelopes: Vec<proto::Envelope>,
    bytes: usize,
}

impl Batch {
    /// Most messages in a frame.
    pub const ENVELOPES_MAX: usize = 256;
    /// A frame ends with the message that reaches this many bytes; one message may be larger by itself.
    pub const BYTES_MAX: usize = 64 * 1024;

    /// An empty batch with room for so many messages.
    #[must_use]
    pub fn with_capacity(envelopes: usize) -> Batch {
        Batch { envelopes: Vec::with_capacity(envelopes.min(Batch::ENVELOPES_MAX)), bytes: 0 }
    }

    /// Adds a message.
    pub fn push(&mut self, envelope: proto::Envelope) {
        self.bytes += payload_bytes(&envelope);
        self.envelopes.push(envelope);
    }

    /// True when nothing more should be added.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.envelopes.len() >= Batch::ENVELOPES_MAX || self.bytes >= Batch::BYTES_MAX
    }

    /// True when nothing was added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.envelopes.is_empty()
    }

    /// The frame; the batch is empty afterwards.
    #[must_use]
    pub fn take(&mut self) -> proto::Frame {
        self.bytes = 0;
        proto::Frame { hello: None, envelopes: std::mem::take(&mut self.envelopes) }
    }

    /// The first frame of a stream.
    #[must_use]
    pub fn hello(hello: &Hello) -> proto::Frame {
        proto::Frame { hello: Some(hello.into()), envelopes: Vec::new() }
    }
}

/// Bytes of a frame as it is sent, without what the transport adds.
#[must_use]
pub fn frame_bytes(frame: &proto::Frame) -> usize {
    prost::Message::encoded_len(frame)
}

/// Approximate, and cheaper than the exact length.
fn payload_bytes(envelope: &proto::Envelope) -> usize {
    const FIXED: usize = 32;
    FIXED
        + match &envelope.message {
            Some(Body::Write(write)) => write.mutation.len(),
            Some(Body::Paxos(paxos)) => paxos.request.len(),
            Some(Body::PaxosAnswered(answered)) => answered.answer.len(),
            Some(Body::Forward(forward)) => forward.mutation.len() + forward.targets.len() * size_of::<u128>(),
            Some(Body::Forwarded(forwarded)) => forwarded.mutation.len(),
            Some(Body::Read(read)) => read.command.len(),
            Some(Body::Data(data)) => data.data.len(),
            Some(Body::Scan(scan)) => scan.command.len(),
            Some(Body::Scanned(scanned)) => scanned.data.len(),
            Some(Body::LookUp(look_up)) => look_up.command.len(),
            Some(Body::LookedUp(looked_up)) => looked_up.data.len(),
            Some(Body::Compare(compare)) => compare.command.len(),
            Some(Body::Compared(compared)) => compared.page.len(),
            Some(Body::Repaired(repaired)) => repaired.record.len(),
            Some(Body::Membership(bytes)) => bytes.len(),
            Some(Body::Written(written)) => written.ops.len() * size_of::<u64>(),
            Some(Body::KeepBatch(keep)) => keep.batch.len(),
            Some(Body::Lead(lead)) => lead.partition.len(),
            Some(Body::Count(count)) => count.change.len(),
            Some(Body::Counted(counted)) => counted.mutation.len(),
            Some(Body::Digest(_) | Body::ForgetBatch(_) | Body::Leading(_) | Body::Refused(_)) | None => 0,
        }
}

#[cfg(test)]
#[path = "envelope_tests.rs"]
mod tests;
