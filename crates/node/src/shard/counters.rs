//! Counters, at their coordinator and at the replica that takes an increment.
//!
//! ```text
//!  coordinator: request --> a live replica, itself if it is one --Lead--> ticket --Count--> shards --> a write as any
//!                                                                                                      other
//!  replica:     Count --> queue of its partition --> its shards are read --> increments added, merged and synced
//!                                                                                            --> Counted
//! ```
//! Invariants (`docs/protocol/counters.md`):
//! * C1: of the increments of one partition those of one group at a time are between the read of the shards and their
//!   sync. What is added to is what is synced: nothing is kept in memory from one group to the next.
//! * C2: an increment is taken once. A ticket is good for one message, is forgotten with the process that gave it, and
//!   a coordinator sends one message for each of its tickets and none after it.
//! * C3: no other replica hears of a shard before it is synced here, whatever the durability: a shard that others know
//!   of never goes back.
//! * C4: the id under which a shard counts is durable before the first increment; storage forgets it when it may have
//!   lost what was synced.

use super::{Out, Shard, Timer};
use crate::config::Durability;
use crate::coordinator::quorum::Quorum;
use crate::coordinator::write::WriteOp;
use crate::io::{Message, OpId, Refusal, RequestId, StorageRequest};
use crate::replica::{Admission, Owned, is_storable};
use bytes::Bytes;
use model::codec::{CodecError, Decode, Encode};
use model::counter;
use model::deletion::PartitionDeletions;
use model::error::FailureReason;
use model::local::{LocalWrite, counter_id_key};
use model::read::Slice;
use model::schema::Table;
use model::{
    Consistency, Epoch, Instant, Mutation, NodeId, PartitionKey, Planted, ReadCommand, ReadData, Record, RecordKey,
    RequestError, Row, TableId,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// A partition of a table.
type Place = (TableId, Bytes);

/// For how long a ticket is good.
const TICKET_KEPT: Duration = Duration::from_secs(60);

/// Requests that are taken together: they are read for once and synced together.
const GROUP_MAX: usize = 64;

/// A request of a client to count, at its coordinator, until its increments are taken.
#[derive(Debug)]
pub(super) struct Counting {
    request: RequestId,
    table: Arc<Table>,
    change: Arc<Mutation>,
    consistency: Consistency,
    bytes: usize,
    deadline: Instant,
    timer: Instant,
    /// Who was asked to take them.
    asked: NodeId,
    /// True once they are on their way: it is not known any more whether they are taken.
    sent: bool,
    /// Replicas that did not want to.
    refused: BTreeSet<NodeId>,
    /// What one of these said of it.
    reason: FailureReason,
}

/// Increments to take, and whom to answer.
#[derive(Debug)]
struct Job {
    node: NodeId,
    op: OpId,
    change: Arc<Mutation>,
}

/// What is under way for a partition.
#[derive(Debug)]
enum Stage {
    /// The shards that these add to are being read.
    Reading(Vec<Job>),
    /// They are taken, each with its mutation, and are being merged and synced.
    Merging {
        taken: Vec<(Job, Arc<Mutation>)>,
        /// Writes that storage has not answered.
        open: BTreeSet<OpId>,
        /// Why one of them failed: what those after it added to may not be stored.
        failed: Option<Refusal>,
    },
}

#[derive(Debug)]
struct Work {
    queue: VecDeque<Job>,
    stage: Stage,
}

/// The id under which this shard counts.
#[derive(Debug)]
enum CounterId {
    None,
    /// On its way to storage.
    Recording(NodeId, OpId),
    Durable(NodeId),
}

/// The counting of a shard.
#[derive(Debug)]
pub(super) struct Counters {
    /// By the id of their messages.
    requests: BTreeMap<OpId, Box<Counting>>,
    id: CounterId,
    /// Partitions that wait for the id.
    idle: Vec<Place>,
    work: BTreeMap<Place, Work>,
    /// Whose reads and writes storage was asked for.
    reads: BTreeMap<OpId, Place>,
    writes: BTreeMap<OpId, Place>,
    /// Tickets that were not used, the oldest first: to whom they were given, and how long they are good. Like other
    /// ids they are not those of an earlier start.
    tickets: BTreeMap<OpId, Ticket>,
    /// The same by the messages that asked for them.
    tickets_by_message: BTreeMap<(NodeId, OpId), OpId>,
}

/// Leave to have increments taken.
#[derive(Clone, Copy, Debug)]
struct Ticket {
    owner: NodeId,
    /// The id of the message that asked for it.
    op: OpId,
    until: Instant,
}

impl Counters {
    /// Those of a shard that counted under `id` in its earlier life.
    pub(super) fn new(id: Option<NodeId>) -> Counters {
        Counters {
            requests: BTreeMap::new(),
            id: id.map_or(CounterId::None, CounterId::Durable),
            idle: Vec::new(),
            work: BTreeMap::new(),
            reads: BTreeMap::new(),
            writes: BTreeMap::new(),
            tickets: BTreeMap::new(),
            tickets_by_message: BTreeMap::new(),
        }
    }

    /// Requests of clients that are not taken yet.
    pub(super) fn len(&self) -> usize {
        self.requests.len()
    }

    /// True when messages of this id are of a request to count.
    pub(super) fn asked(&self, op: OpId) -> bool {
        self.requests.contains_key(&op)
    }

    /// True when storage was asked for this read on behalf of a count.
    pub(super) fn is_read(&self, op: OpId) -> bool {
        self.reads.contains_key(&op)
    }
}

/// The id in a record.
///
/// # Errors
/// When it is not one.
pub(crate) fn decode_counter_id(value: &Bytes) -> Result<NodeId, CodecError> {
    match value.first() {
        Some(&FORMAT) => NodeId::from_bytes(&value.slice(1..)),
        Some(&version) => Err(CodecError::Version(version)),
        None => Err(CodecError::Truncated),
    }
}

/// First byte of the record of an id.
const FORMAT: u8 = 1;

fn counter_id_record(shard: u16, id: NodeId) -> LocalWrite {
    let mut value = vec![FORMAT];
    id.encode(&mut value);
    LocalWrite::of(vec![(counter_id_key(shard), Some(Bytes::from(value)))])
}

/// Changes of counters of one partition as they are stored, with what deletes them.
pub(super) struct Present {
    pub(super) deletions: PartitionDeletions,
    /// With `None` for the static row.
    pub(super) rows: BTreeMap<Option<Bytes>, Row>,
}

impl Present {
    fn of(data: ReadData) -> Result<Present, CodecError> {
        let mut rows = BTreeMap::new();
        if let Some(row) = &data.static_row {
            rows.insert(None, Row::from_bytes(row)?);
        }
        for (clustering, row) in &data.rows {
            rows.insert(Some(clustering.clone()), Row::from_bytes(row)?);
        }
        Ok(Present { deletions: data.deletions, rows })
    }

    /// The change with its increments added to the shards of `id`; later changes add to what it has made of them.
    pub(super) fn take(&mut self, change: &Mutation, id: NodeId, now_micros: i64) -> Result<Mutation, CodecError> {
        let mut records = Vec::with_capacity(change.records.len());
        for record in &change.records {
            let (row, deletion) = match &record.key {
                RecordKey::Deletions => {
                    records.push(record.clone());
                    continue;
                }
                RecordKey::Static => (None, self.deletions.partition()),
                RecordKey::Row(clustering) => (Some(clustering), self.deletions.covering(clustering)),
            };
            let present = self.rows.entry(row.cloned()).or_default();
            let floor = deletion.map(|deletion| deletion.timestamp);
            let taken = counter::take(Row::from_bytes(&record.value)?, present, id, now_micros, floor);
            *present = std::mem::take(present).merge(taken.clone());
            records.push(Record { key: record.key.clone(), value: taken.to_bytes() });
        }
        Ok(Mutation { table: change.table, partition: change.partition.clone(), records })
    }
}

/// The read of the rows in which these add to counters.
fn read_of(table: &Table, jobs: &[Job], tombstones: u32) -> ReadCommand {
    let (mut rows, mut static_row) = (BTreeSet::new(), false);
    for record in jobs.iter().flat_map(|job| &job.change.records) {
        match &record.key {
            RecordKey::Deletions => {}
            RecordKey::Static => static_row = true,
            RecordKey::Row(clustering) => drop(rows.insert(clustering)),
        }
    }
    let mut slices: Vec<Slice> = rows.into_iter().map(Slice::of_row).collect();
    if slices.is_empty() {
        slices.push(Slice::nowhere());
    }
    ReadCommand {
        table: table.id,
        partition: jobs.first().map_or_else(|| PartitionKey::new(Bytes::new()), |job| job.change.partition.clone()),
        slices,
        reversed: false,
        static_row,
        row_limit: u32::MAX,
        bytes_limit: u32::MAX,
        now_seconds: 0,
        tombstone_limit: tombstones,
        // What deletes counters is passed over only once it is gone.
        gc_before_seconds: 0,
        dropped_columns: table.drops(),
    }
}

// ---- Coordinator ----

impl Shard {
    /// Has a replica take the increments of a change.
    pub(super) fn begin_count(
        &mut self,
        out: &mut Out<'_>,
        request: RequestId,
        table: &Arc<Table>,
        change: Arc<Mutation>,
        consistency: Consistency,
        deadline: Instant,
    ) -> Result<(), RequestError> {
        if consistency == Consistency::Any {
            let message = format!("Consistency level ANY is not yet supported for counter table {}", table.name);
            return Err(RequestError::Invalid(message));
        }
        let bytes = change.bytes();
        self.make_room(out, bytes)?;
        let op = self.ops.next();
        let (asked, reason) = (self.config.node, FailureReason::Unknown);
        let table = table.clone();
        let counting = Counting {
            request,
            table,
            change,
            consistency,
            bytes,
            deadline,
            timer: deadline,
            asked,
            sent: false,
            refused: BTreeSet::new(),
            reason,
        };
        self.write_bytes += bytes;
        self.timers.set(Timer::Count(op), deadline);
        self.counting.requests.insert(op, Box::new(counting));
        self.ask_leader(out, op);
        Ok(())
    }

    /// Asks a live replica that has not refused to take the increments: this node, else one of its data centre.
    fn ask_leader(&mut self, out: &mut Out<'_>, op: OpId) {
        let Some(counting) = self.counting.requests.get(&op) else { return };
        let (view, me) = (self.view.clone(), self.config.node);
        let (keyspace, token) = (&counting.table.keyspace, counting.change.partition.token);
        let replicas = view.replicas(keyspace, token);
        let wanted = |node: &&NodeId| self.is_alive(**node) && !counting.refused.contains(node);
        let mut candidates: Vec<NodeId> = replicas.iter().filter(wanted).copied().collect();
        if candidates.contains(&me) {
            candidates = vec![me];
        } else {
            let local = view.data_center(me);
            let is_local = |node: &NodeId| view.data_center(*node) == local;
            if candidates.iter().any(is_local) {
                candidates.retain(is_local);
            }
        }
        if candidates.is_empty() {
            return self.fail_count(out, op);
        }
        let leader = candidates[self.rng.index(candidates.len())];
        let retry = out.now.monotonic + self.config.refusal_retry_after;
        let Some(counting) = self.counting.requests.get_mut(&op) else { return };
        counting.asked = leader;
        if leader == me {
            // What a node says to itself is neither lost nor doubled.
            counting.sent = true;
            let change = counting.change.clone();
            return self.send(out, me, Message::Count { op, ticket: op, change });
        }
        let (table, partition) = (counting.table.id, counting.change.partition.clone());
        let at = retry.min(counting.deadline);
        let old = std::mem::replace(&mut counting.timer, at);
        self.timers.reset(Timer::Count(op), old, at);
        self.send(out, leader, Message::Lead { op, table, partition });
    }

    /// A replica gave a ticket: the first one is used.
    pub(super) fn on_leading(&mut self, out: &mut Out<'_>, from: NodeId, op: OpId, ticket: OpId) {
        let Some(counting) = self.counting.requests.get_mut(&op).filter(|counting| !counting.sent) else { return };
        (counting.sent, counting.asked) = (true, from);
        let old = std::mem::replace(&mut counting.timer, counting.deadline);
        let (change, deadline) = (counting.change.clone(), counting.deadline);
        self.timers.reset(Timer::Count(op), old, deadline);
        self.send(out, from, Message::Count { op, ticket, change });
    }

    /// The increments are taken: what came of them is written to the other replicas, as any write.
    pub(super) fn on_counted(&mut self, out: &mut Out<'_>, from: NodeId, op: OpId, mutation: Arc<Mutation>) {
        let Some(counting) = self.counting.requests.get(&op).filter(|counting| counting.sent) else { return };
        let (asked, change) = (counting.asked, &counting.change);
        let of_change = mutation.table == change.table && mutation.partition == change.partition;
        if asked != from || !of_change || !is_storable(&mutation) {
            return;
        }
        let Some(counting) = self.end_count(op) else { return };
        let Counting { request, table, consistency, deadline, .. } = *counting;
        let view = self.view.clone();
        let (keyspace, token) = (&table.keyspace, mutation.partition.token);
        let replicas = view.holders(keyspace, token);
        let Ok(quorum) = Quorum::of_write(&self.config, &view, keyspace, consistency, token) else {
            let timeout = self.timeout_of(&table, consistency);
            return self.reply(out, request, Err(timeout));
        };
        let write = self.ops.next();
        let mut taken = WriteOp::new(request, mutation, consistency, replicas, quorum, deadline);
        self.writes_unanswered += 1;
        self.write_bytes += taken.bytes;
        self.timers.set(Timer::Write(write), deadline);
        taken.has_already(from);
        self.send_write(out, write, taken, replicas);
        if let Some(taken) = self.writes.get_mut(&write) {
            let verdict = taken.verdict();
            self.on_verdict(out, write, verdict);
        }
    }

    /// A replica does not take them. Only an answer to the request for a ticket says that nothing has happened.
    pub(super) fn on_count_refused(&mut self, out: &mut Out<'_>, from: NodeId, op: OpId, reason: Refusal) {
        let Some(counting) = self.counting.requests.get_mut(&op).filter(|counting| counting.asked == from) else {
            return;
        };
        match reason {
            Refusal::DiskFull => counting.reason = FailureReason::DiskFull,
            Refusal::TooManyTombstones => counting.reason = FailureReason::TooManyTombstones,
            Refusal::Overloaded => counting.reason = FailureReason::Overloaded,
            // It is asked again, or another one, with the timer.
            Refusal::NotReplica(_) if !counting.sent => return,
            Refusal::NotReplica(_) | Refusal::Storage | Refusal::Invalid => {}
        }
        counting.refused.insert(from);
        match counting.sent {
            true => self.fail_count(out, op),
            false => self.ask_leader(out, op),
        }
    }

    /// Nothing reaches a node: who waits for its ticket asks another one; what it was sent may be taken.
    pub(super) fn counts_unreachable(&mut self, out: &mut Out<'_>, node: NodeId) {
        let waiting = self.counting.requests.iter().filter(|(_, counting)| counting.asked == node);
        for (op, sent) in waiting.map(|(op, counting)| (*op, counting.sent)).collect::<Vec<_>>() {
            if sent {
                self.time_out_count(out, op);
                continue;
            }
            if let Some(counting) = self.counting.requests.get_mut(&op) {
                counting.refused.insert(node);
            }
            self.ask_leader(out, op);
        }
    }

    pub(super) fn on_count_timer(&mut self, out: &mut Out<'_>, op: OpId) {
        let Some(counting) = self.counting.requests.get_mut(&op) else { return };
        if counting.deadline <= out.now.monotonic {
            return self.time_out_count(out, op);
        }
        counting.timer = counting.deadline;
        self.timers.set(Timer::Count(op), counting.deadline);
        self.ask_leader(out, op);
    }

    fn end_count(&mut self, op: OpId) -> Option<Box<Counting>> {
        let counting = self.counting.requests.remove(&op)?;
        self.timers.cancel(Timer::Count(op), counting.timer);
        self.write_bytes -= counting.bytes;
        Some(counting)
    }

    fn time_out_count(&mut self, out: &mut Out<'_>, op: OpId) {
        let Some(counting) = self.end_count(op) else { return };
        let timeout = self.timeout_of(&counting.table, counting.consistency);
        self.reply(out, counting.request, Err(timeout));
    }

    fn fail_count(&mut self, out: &mut Out<'_>, op: OpId) {
        let Some(counting) = self.end_count(op) else { return };
        let Counting { request, table, consistency, refused, reason, .. } = *counting;
        let quorum = Quorum::new(&self.config, &self.view, &table.keyspace, consistency, &[]);
        let required = quorum.map_or(1, |quorum| quorum.required()) as u32;
        let failures = refused.len() as u32;
        let error = RequestError::WriteFailure { consistency, received: 0, required, failures, reason };
        self.reply(out, request, Err(error));
    }

    // ---- Replica ----

    /// A coordinator asks for a ticket; it is admitted.
    pub(super) fn lead_asked(&mut self, out: &mut Out<'_>, from: NodeId, op: OpId, table: TableId) {
        let is_counter = self.view.schema.table(table).is_some_and(|table| table.is_counter());
        let now = out.now.monotonic;
        while let Some(first) = self.counting.tickets.first_entry()
            && first.get().until <= now
        {
            let ticket = first.remove();
            self.counting.tickets_by_message.remove(&(ticket.owner, ticket.op));
        }
        // One that asks again has not heard the answer. There is room for so many tickets only.
        if let Some(ticket) = self.counting.tickets_by_message.get(&(from, op)).copied() {
            return self.send(out, from, Message::Leading { op, ticket });
        }
        if !is_counter || self.counting.tickets.len() >= self.config.replica_ops_max {
            let reason = if is_counter { Refusal::Overloaded } else { Refusal::Invalid };
            return self.send(out, from, Message::Refused { op, reason });
        }
        let ticket = self.ops.next();
        self.counting.tickets.insert(ticket, Ticket { owner: from, op, until: now + TICKET_KEPT });
        self.counting.tickets_by_message.insert((from, op), ticket);
        self.send(out, from, Message::Leading { op, ticket });
    }

    /// True when a message has a ticket of its sender's, which is good for no other.
    pub(super) fn use_ticket(&mut self, from: NodeId, ticket: OpId) -> bool {
        let Some(own) = self.counting.tickets.get(&ticket).copied().filter(|own| own.owner == from) else {
            return false;
        };
        if !self.config.is_planted(Planted::TicketUsedTwice) {
            self.counting.tickets.remove(&ticket);
            self.counting.tickets_by_message.remove(&(own.owner, own.op));
        }
        true
    }

    /// Increments with a good ticket do not wait for a newer view: the ticket would be gone.
    pub(super) fn admit_count(
        &mut self,
        out: &mut Out<'_>,
        from: NodeId,
        op: OpId,
        change: Arc<Mutation>,
        sender: Epoch,
    ) {
        let owned = Owned::Partition(change.partition.token);
        let reason = match self.replica.admit(&self.config, &self.view, change.table, owned, sender) {
            Admission::Execute => return self.count_asked(out, from, op, change),
            Admission::Refuse(reason) => reason,
            Admission::Park => Refusal::NotReplica(self.view.epoch),
        };
        self.refuse_request(out, from, &Message::Count { op, ticket: op, change }, reason);
    }

    /// A coordinator has increments to take; it is admitted.
    fn count_asked(&mut self, out: &mut Out<'_>, from: NodeId, op: OpId, change: Arc<Mutation>) {
        let is_counter = self.view.schema.table(change.table).is_some_and(|table| table.is_counter());
        if !is_counter || !is_storable(&change) {
            return self.send(out, from, Message::Refused { op, reason: Refusal::Invalid });
        }
        self.replica.steps += 1;
        let place = (change.table, change.partition.bytes.clone());
        let job = Job { node: from, op, change };
        if let Some(work) = self.counting.work.get_mut(&place) {
            return work.queue.push_back(job);
        }
        let (queue, stage) = (VecDeque::from([job]), Stage::Reading(Vec::new()));
        self.counting.work.insert(place.clone(), Work { queue, stage });
        self.go_on_counting(out, place);
    }

    /// Takes the next group of a partition; C4.
    fn go_on_counting(&mut self, out: &mut Out<'_>, place: Place) {
        match self.counting.id {
            CounterId::Durable(_) => self.read_shards(out, place),
            CounterId::Recording(..) => self.counting.idle.push(place),
            CounterId::None => {
                let id = NodeId(self.rng.next_u128().max(1));
                let record = counter_id_record(self.config.index, id);
                let op = self.store(out, StorageRequest::Local(record));
                self.counting.id = CounterId::Recording(id, op);
                self.counting.idle.push(place);
            }
        }
    }

    fn read_shards(&mut self, out: &mut Out<'_>, place: Place) {
        let Some(work) = self.counting.work.get_mut(&place) else { return };
        let count = work.queue.len().min(GROUP_MAX);
        let jobs: Vec<Job> = work.queue.drain(..count).collect();
        if jobs.is_empty() {
            self.counting.work.remove(&place);
            return;
        }
        let Some(table) = self.view.schema.table(place.0).cloned() else {
            return self.refuse_jobs(out, place, jobs, Refusal::NotReplica(self.view.epoch));
        };
        let command = Arc::new(read_of(&table, &jobs, self.config.tombstone_fail));
        if let Some(work) = self.counting.work.get_mut(&place) {
            work.stage = Stage::Reading(jobs);
        }
        let op = self.store(out, StorageRequest::Read(command));
        self.counting.reads.insert(op, place);
    }

    /// The shards of a group are read: its increments are added, one request after the other, and merged.
    pub(super) fn shards_read(&mut self, out: &mut Out<'_>, op: OpId, data: ReadData) {
        let Some(place) = self.counting.reads.remove(&op) else { return };
        let CounterId::Durable(id) = self.counting.id else { return };
        let Some(work) = self.counting.work.get_mut(&place) else { return };
        let Stage::Reading(jobs) = &mut work.stage else { return };
        let jobs = std::mem::take(jobs);
        let whole = !data.more;
        let now = out.now.wall.0;
        let taken = Present::of(data).and_then(|mut present| {
            jobs.iter().map(|job| present.take(&job.change, id, now)).collect::<Result<Vec<Mutation>, _>>()
        });
        let Some(taken) = taken.ok().filter(|_| whole) else {
            return self.refuse_jobs(out, place, jobs, Refusal::Storage);
        };
        let taken: Vec<(Job, Arc<Mutation>)> = jobs.into_iter().zip(taken.into_iter().map(Arc::new)).collect();
        let mut open = BTreeSet::new();
        for (_, mutation) in &taken {
            self.counters.replica_writes += 1;
            open.insert(self.store(out, StorageRequest::Apply(mutation.clone())));
        }
        if self.config.durability == Durability::Periodic {
            // C3: the node's own records are synced at once, and everything before them.
            open.insert(self.store(out, StorageRequest::Local(LocalWrite::default())));
        }
        if self.config.is_planted(Planted::CountedBeforeSync) {
            open.clear();
        }
        self.counting.writes.extend(open.iter().map(|op| (*op, place.clone())));
        if let Some(work) = self.counting.work.get_mut(&place) {
            let is_done = open.is_empty();
            work.stage = Stage::Merging { taken, open, failed: None };
            if is_done {
                self.end_group(out, place);
            }
        }
    }

    /// Everything up to `up_to` is synced.
    pub(super) fn counts_synced(&mut self, out: &mut Out<'_>, up_to: OpId) {
        if let CounterId::Recording(id, op) = self.counting.id
            && op <= up_to
        {
            self.counting.id = CounterId::Durable(id);
            for place in std::mem::take(&mut self.counting.idle) {
                self.read_shards(out, place);
            }
        }
        while let Some(first) = self.counting.writes.first_entry().filter(|first| *first.key() <= up_to) {
            let (op, place) = first.remove_entry();
            self.write_answered(out, op, place, None);
        }
    }

    /// Storage has answered a write of a group.
    fn write_answered(&mut self, out: &mut Out<'_>, op: OpId, place: Place, failure: Option<Refusal>) {
        let Some(work) = self.counting.work.get_mut(&place) else { return };
        let Stage::Merging { open, failed, .. } = &mut work.stage else { return };
        *failed = failed.or(failure);
        if open.remove(&op) && open.is_empty() {
            self.end_group(out, place);
        }
    }

    /// All writes of a group are answered.
    fn end_group(&mut self, out: &mut Out<'_>, place: Place) {
        let Some(work) = self.counting.work.get_mut(&place) else { return };
        let Stage::Merging { taken, failed, .. } = std::mem::replace(&mut work.stage, Stage::Reading(Vec::new()))
        else {
            return;
        };
        for (Job { node, op, .. }, mutation) in taken {
            self.replica.steps -= 1;
            let answer = match failed {
                None => Message::Counted { op, mutation },
                Some(reason) => Message::Refused { op, reason },
            };
            self.send(out, node, answer);
        }
        self.go_on_counting(out, place);
    }

    /// Storage failed something: true if that was done on behalf of counts.
    pub(super) fn count_failed(&mut self, out: &mut Out<'_>, op: OpId, reason: Refusal) -> bool {
        if let CounterId::Recording(_, record) = self.counting.id
            && record == op
        {
            self.counting.id = CounterId::None;
            for place in std::mem::take(&mut self.counting.idle) {
                let queued = self.counting.work.remove(&place).map(|work| work.queue);
                self.refuse_jobs(out, place, queued.unwrap_or_default().into(), reason);
            }
            return true;
        }
        if let Some(place) = self.counting.reads.remove(&op) {
            let Some(work) = self.counting.work.get_mut(&place) else { return true };
            let Stage::Reading(jobs) = &mut work.stage else { return true };
            let jobs = std::mem::take(jobs);
            self.refuse_jobs(out, place, jobs, reason);
            return true;
        }
        let Some(place) = self.counting.writes.remove(&op) else { return false };
        self.write_answered(out, op, place, Some(reason));
        true
    }

    /// Refuses a group, and goes on with the next one.
    fn refuse_jobs(&mut self, out: &mut Out<'_>, place: Place, jobs: Vec<Job>, reason: Refusal) {
        for Job { node, op, .. } in jobs {
            self.replica.steps -= 1;
            self.send(out, node, Message::Refused { op, reason });
        }
        if self.counting.work.contains_key(&place) {
            self.go_on_counting(out, place);
        }
    }
}

#[cfg(test)]
#[path = "counters_tests.rs"]
mod tests;
