//! A read at its coordinator, in rounds: each round reads one command from as many replicas as the level
//! requires, makes them agree, and takes the rows up to the position that all of them cover. Rounds go on
//! behind that position until the page is full or the command is exhausted.
//!
//! ```text
//!  round:  data from one, digests from the others --- equal ----------------------> take rows
//!                 |                                                                   ^
//!                 | not equal                                                         |
//!                 v                                     nobody lacks anything         |
//!          data from all of them --- reconcile ---------------------------------------+
//!                                        | some lack records                          |
//!                                        v                                            |
//!                                 repair those --- enough replicas hold the result ---+
//! ```
//! A replica that is late, fails or refuses is replaced by a spare one, if there is one.
//!
//! Invariants (`docs/protocol/read.md`):
//! * R1: an answer rests on as many replicas as its level requires.
//! * R2: what is answered is held by as many replicas as the level requires before the client sees it, so a
//!   later read at QUORUM never goes back behind an earlier one.
//! * R5: the client is answered once.

use bytes::Bytes;
use model::codec::CodecError;
use model::digest::digest;
use model::error::FailureReason;
use model::limits::MUTATION_BYTES_MAX;
use model::read::ReadCommand;
use model::{Consistency, Instant, Mutation, NodeId, ReadData, Record, RecordKey, RequestError, Row};
use query::BoundRead;
use std::sync::Arc;

use super::page::Page;
use super::quorum::Tracker;
use super::reconcile::{is_well_formed, reconcile};
use crate::io::{OpId, RequestId, Response};

/// What a replica has said in this round.
#[derive(Debug)]
enum Answer {
    Waiting,
    /// Refused because the two views differ.
    Retry,
    Failed(FailureReason),
    Data(ReadData),
    Digest(u128),
}

#[derive(Debug)]
struct Contact {
    node: NodeId,
    /// True when it was asked for the digest only.
    digest: bool,
    answer: Answer,
    /// True once a spare replica was asked as well.
    replaced: bool,
}

/// A replica that lacks something, or a spare one that gets what others lack in their place.
#[derive(Debug)]
struct Repair {
    node: NodeId,
    mutations: Vec<Arc<Mutation>>,
    /// The messages not acknowledged yet.
    outstanding: Vec<OpId>,
    /// True once a spare replica got the same.
    replaced: bool,
}

#[derive(Debug)]
enum Phase {
    /// One replica is asked for data, the others for digests.
    Digests,
    /// All are asked for data.
    Full,
    /// Replicas are being repaired; then the read goes on after this position.
    Repair { tracker: Tracker, repairs: Vec<Repair>, position: Option<Bytes> },
}

/// Why a replica will not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It may once the two views agree.
    Retry,
    /// It cannot.
    Failed(FailureReason),
}

/// One question to one replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(crate) node: NodeId,
    pub(crate) digest: bool,
}

/// What to do next for a read.
#[derive(Debug)]
pub(crate) enum ReadStep {
    /// Nothing.
    Wait,
    /// Ask these under the read's present id.
    Ask(Vec<Ask>),
    /// The digests differ: ask these under a new id.
    AskAnew(Vec<Ask>),
    /// Look up the replicas and begin a round.
    Round,
    /// Send these repairs and say under which ids.
    Repair(Vec<(NodeId, Arc<Mutation>)>),
    /// Answer the client and forget the read.
    Finish(Result<Response, RequestError>),
}

/// A read in flight.
#[derive(Debug)]
pub(crate) struct ReadOp {
    pub(crate) request: RequestId,
    pub(crate) read: Arc<BoundRead>,
    pub(crate) consistency: Consistency,
    required: usize,
    /// The id of the messages of this phase: answers to an earlier one do not find the read.
    pub(crate) op: OpId,
    pub(crate) deadline: Instant,
    /// When a spare replica or another try is due.
    pub(crate) attempt_at: Option<Instant>,
    /// When its timer is set.
    pub(crate) timer: Instant,
    pub(crate) command: Arc<ReadCommand>,
    page: Page,
    phase: Phase,
    contacts: Vec<Contact>,
    /// Replicas not asked in this round; the next to ask is the last.
    spares: Vec<NodeId>,
    /// The ids of the repairs sent in this round.
    pub(crate) repair_ops: Vec<OpId>,
    /// Bytes of answers that it keeps, as the shard counts them.
    pub(crate) counted_bytes: usize,
    /// True to run with the planted bug of this name.
    skip_repair: bool,
}

impl ReadOp {
    /// A read whose first round has not begun.
    #[expect(clippy::too_many_arguments, reason = "each is a field, named at the one call")]
    pub(crate) fn new(
        request: RequestId,
        read: Arc<BoundRead>,
        consistency: Consistency,
        op: OpId,
        deadline: Instant,
        command: ReadCommand,
        page: Page,
        skip_repair: bool,
    ) -> ReadOp {
        ReadOp {
            request,
            read,
            consistency,
            required: 0,
            op,
            deadline,
            attempt_at: None,
            timer: deadline,
            command: Arc::new(command),
            page,
            phase: Phase::Digests,
            contacts: Vec::new(),
            spares: Vec::new(),
            repair_ops: Vec::new(),
            counted_bytes: 0,
            skip_repair,
        }
    }

    /// When it must be woken.
    pub(crate) fn wake_at(&self) -> Instant {
        self.attempt_at.map_or(self.deadline, |at| at.min(self.deadline))
    }

    /// Bytes of answers that it keeps: those of this round, and the page.
    pub(crate) fn held_bytes(&self) -> usize {
        let rows = |data: &ReadData| data.rows.iter().map(|(key, row)| key.len() + row.len()).sum::<usize>();
        let data = self.contacts.iter().map(|contact| match &contact.answer {
            Answer::Data(data) => rows(data),
            Answer::Waiting | Answer::Retry | Answer::Failed(_) | Answer::Digest(_) => 0,
        });
        data.sum::<usize>() + self.page.bytes()
    }

    /// True when `node` was asked and has not answered.
    pub(crate) fn awaits(&self, node: NodeId) -> bool {
        match &self.phase {
            Phase::Repair { repairs, .. } => {
                repairs.iter().any(|repair| repair.node == node && !repair.outstanding.is_empty())
            }
            Phase::Digests | Phase::Full => {
                self.contacts.iter().any(|contact| contact.node == node && matches!(contact.answer, Answer::Waiting))
            }
        }
    }

    /// True when another replica could be asked.
    pub(crate) fn has_spares(&self) -> bool {
        !self.spares.is_empty()
    }

    /// True when everybody asked in this round is among `replicas`.
    pub(crate) fn rests_on(&self, replicas: &[NodeId]) -> bool {
        self.contacts.iter().all(|contact| replicas.contains(&contact.node))
    }

    /// True while a replica is to be asked again because the two views differ.
    pub(crate) fn is_retrying(&self) -> bool {
        self.contacts.iter().any(|contact| matches!(contact.answer, Answer::Retry))
    }

    /// True while replicas are being repaired.
    pub(crate) fn is_repairing(&self) -> bool {
        matches!(self.phase, Phase::Repair { .. })
    }

    /// Begins a round with live replicas in the order of preference, at least `required` of them.
    pub(crate) fn begin_round(&mut self, mut candidates: Vec<NodeId>, required: usize) -> Vec<Ask> {
        assert!(candidates.len() >= required && required > 0, "R1: a round has replicas enough");
        self.required = required;
        self.phase = Phase::Digests;
        self.spares = candidates.split_off(required);
        self.spares.reverse();
        self.contacts.clear();
        for (index, node) in candidates.into_iter().enumerate() {
            self.contacts.push(Contact { node, digest: index > 0, answer: Answer::Waiting, replaced: false });
        }
        self.contacts.iter().map(|contact| Ask { node: contact.node, digest: contact.digest }).collect()
    }

    /// The open question to `node`, if there is one.
    fn open(&mut self, node: NodeId) -> Option<&mut Contact> {
        if self.is_repairing() {
            return None;
        }
        let open = |contact: &&mut Contact| contact.node == node && matches!(contact.answer, Answer::Waiting);
        self.contacts.iter_mut().find(open)
    }

    /// `node` answered with data.
    pub(crate) fn on_data(&mut self, node: NodeId, data: ReadData) -> ReadStep {
        if !is_well_formed(&self.command, &data) {
            return self.on_refused(node, Refused::Failed(FailureReason::Unknown));
        }
        let Some(contact) = self.open(node) else { return ReadStep::Wait };
        contact.answer = Answer::Data(data);
        self.resolve()
    }

    /// `node` answered with a digest.
    pub(crate) fn on_digest(&mut self, node: NodeId, digest: u128) -> ReadStep {
        let Some(contact) = self.open(node).filter(|contact| contact.digest) else { return ReadStep::Wait };
        contact.answer = Answer::Digest(digest);
        self.resolve()
    }

    /// `node` will not answer.
    pub(crate) fn on_refused(&mut self, node: NodeId, refused: Refused) -> ReadStep {
        if self.is_repairing() {
            return self.on_repair_failed(node);
        }
        let Some(contact) = self.open(node) else { return ReadStep::Wait };
        contact.answer = match refused {
            Refused::Retry => Answer::Retry,
            Refused::Failed(reason) => Answer::Failed(reason),
        };
        let (digest, replaced) = (contact.digest, contact.replaced);
        match (replaced, self.spares.pop()) {
            (false, Some(spare)) => ReadStep::Ask(vec![self.contact(spare, digest)]),
            (_, spare) => {
                self.spares.extend(spare);
                self.resolve()
            }
        }
    }

    fn contact(&mut self, node: NodeId, digest: bool) -> Ask {
        self.contacts.push(Contact { node, digest, answer: Answer::Waiting, replaced: false });
        Ask { node, digest }
    }

    fn count(&self, which: impl Fn(&Answer) -> bool) -> usize {
        self.contacts.iter().filter(|contact| which(&contact.answer)).count()
    }

    /// Decides by what has been answered in this round.
    fn resolve(&mut self) -> ReadStep {
        let data = self.count(|answer| matches!(answer, Answer::Data(_)));
        let answered = data + self.count(|answer| matches!(answer, Answer::Digest(_)));
        match self.phase {
            Phase::Full if data >= self.required => self.reconcile(),
            Phase::Digests if answered >= self.required && data > 0 => match self.is_agreed() {
                Ok(true) => self.take_agreed(),
                Ok(false) => self.differ(),
                Err(node) => self.distrust(node),
            },
            Phase::Digests if answered >= self.required => self.ask_for_data(),
            _ => self.wait_or_fail(answered),
        }
    }

    /// All that were needed have answered with digests: somebody must give the data.
    fn ask_for_data(&mut self) -> ReadStep {
        if self.contacts.iter().any(|contact| matches!(contact.answer, Answer::Waiting) && !contact.digest) {
            return ReadStep::Wait;
        }
        let contact = self.contacts.iter_mut().find(|contact| matches!(contact.answer, Answer::Digest(_)));
        let Some(contact) = contact else { return ReadStep::Wait };
        (contact.digest, contact.answer) = (false, Answer::Waiting);
        ReadStep::Ask(vec![Ask { node: contact.node, digest: false }])
    }

    /// Whether all answers mean the same.
    ///
    /// # Errors
    /// A node whose answer cannot be read.
    fn is_agreed(&self) -> Result<bool, NodeId> {
        if self.required == 1 {
            return Ok(true);
        }
        let purge = self.command.purge();
        let mut agreed = None;
        for contact in &self.contacts {
            let digest = match &contact.answer {
                Answer::Data(data) => digest(data, &purge).map_err(|_: CodecError| contact.node)?,
                Answer::Digest(digest) => *digest,
                Answer::Waiting | Answer::Retry | Answer::Failed(_) => continue,
            };
            if *agreed.get_or_insert(digest) != digest {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The answer of `node` is no answer: go on without it.
    fn distrust(&mut self, node: NodeId) -> ReadStep {
        for contact in self.contacts.iter_mut().filter(|contact| contact.node == node) {
            contact.answer = Answer::Waiting;
        }
        self.on_refused(node, Refused::Failed(FailureReason::Unknown))
    }

    fn wait_or_fail(&mut self, answered: usize) -> ReadStep {
        let open = self.count(|answer| matches!(answer, Answer::Waiting | Answer::Retry));
        if answered + open + self.spares.len() >= self.required {
            return ReadStep::Wait;
        }
        let failures = self.count(|answer| matches!(answer, Answer::Failed(_)));
        let known = |answer: &Answer| matches!(answer, Answer::Failed(FailureReason::TooManyTombstones));
        let reason = if self.count(known) > 0 { FailureReason::TooManyTombstones } else { FailureReason::Unknown };
        ReadStep::Finish(Err(RequestError::ReadFailure {
            consistency: self.consistency,
            received: answered as u32,
            required: self.required as u32,
            failures: failures as u32,
            reason,
        }))
    }

    /// The digests differ: all that answered give their data, who did not is asked only as a last resort.
    fn differ(&mut self) -> ReadStep {
        self.phase = Phase::Full;
        let (kept, late): (Vec<Contact>, Vec<Contact>) = std::mem::take(&mut self.contacts)
            .into_iter()
            .partition(|contact| matches!(contact.answer, Answer::Data(_) | Answer::Digest(_)));
        let late = late.into_iter().filter(|contact| matches!(contact.answer, Answer::Waiting));
        self.spares.splice(0..0, late.map(|contact| contact.node));
        let mut asks = Vec::new();
        self.contacts = kept;
        for contact in &mut self.contacts {
            contact.replaced = false;
            if matches!(contact.answer, Answer::Digest(_)) {
                (contact.digest, contact.answer) = (false, Answer::Waiting);
                asks.push(Ask { node: contact.node, digest: false });
            }
        }
        if asks.is_empty() { self.resolve() } else { ReadStep::AskAnew(asks) }
    }

    /// The replicas agree: the data of one is the answer of all.
    fn take_agreed(&mut self) -> ReadStep {
        let agreed = self.contacts.iter().find_map(|contact| match &contact.answer {
            Answer::Data(data) => Some((contact.node, data)),
            _ => None,
        });
        let Some((node, data)) = agreed else { return ReadStep::Wait };
        let end = if data.more { data.rows.last().map(|(key, _)| key.clone()) } else { None };
        // All are decoded before the first is taken: a damaged one must not leave half a round in the page.
        match data.decoded_rows() {
            Err(_) => self.distrust(node),
            Ok(rows) => match self.fill(&rows) {
                Err(error) => ReadStep::Finish(Err(error)),
                Ok(position) => self.advance(position.or(end)),
            },
        }
    }

    /// Takes the live rows into the page. Where the page ended, when there is a live row that does not fit.
    ///
    /// # Errors
    /// When a row cannot be projected.
    fn fill(&mut self, rows: &[(Bytes, Row)]) -> Result<Option<Bytes>, RequestError> {
        let mut last: Option<&Bytes> = None;
        let now_seconds = self.command.now_seconds;
        for (key, row) in rows.iter().filter(|(_, row)| row.is_live(i64::from(now_seconds))) {
            if self.page.is_full() {
                return Ok(last.cloned());
            }
            self.page.push(self.read.project(key, row, now_seconds)?);
            last = Some(key);
        }
        Ok(None)
    }

    /// All data is there: merge it, find what each replica lacks, and repair.
    fn reconcile(&mut self) -> ReadStep {
        let mut nodes = Vec::with_capacity(self.contacts.len());
        let mut answers = Vec::with_capacity(self.contacts.len());
        for contact in &self.contacts {
            if let Answer::Data(data) = &contact.answer {
                nodes.push(contact.node);
                answers.push(data);
            }
        }
        let reconciled = match reconcile(&self.command, &answers) {
            Ok(reconciled) => reconciled,
            Err(index) => {
                let node = nodes[index];
                return self.distrust(node);
            }
        };
        let position = match self.fill(&reconciled.rows) {
            Ok(position) => position.or(reconciled.end),
            Err(error) => return ReadStep::Finish(Err(error)),
        };
        if self.skip_repair {
            return self.advance(position);
        }
        self.repair(&nodes, reconciled.repairs, position)
    }

    /// Sends every replica what it lacks; the read goes on once enough replicas hold what was merged.
    fn repair(&mut self, nodes: &[NodeId], lacking: Vec<Vec<Record>>, position: Option<Bytes>) -> ReadStep {
        let all: Vec<NodeId> = nodes.iter().chain(&self.spares).copied().collect();
        let mut tracker = Tracker::of(&all, self.required);
        let mut repairs = Vec::new();
        for (node, records) in nodes.iter().zip(lacking) {
            if records.is_empty() {
                tracker.acknowledge(*node);
                continue;
            }
            let mutations = mutations(&self.command, records);
            repairs.push(Repair { node: *node, mutations, outstanding: Vec::new(), replaced: false });
        }
        if repairs.is_empty() {
            return self.advance(position);
        }
        let send = |repair: &Repair| {
            let node = repair.node;
            repair.mutations.iter().map(|mutation| (node, mutation.clone())).collect::<Vec<_>>()
        };
        let sends = repairs.iter().flat_map(send).collect();
        self.phase = Phase::Repair { tracker, repairs, position };
        ReadStep::Repair(sends)
    }

    /// A message of the repair of `node` has this id.
    pub(crate) fn on_repair_sent(&mut self, node: NodeId, op: OpId) {
        self.repair_ops.push(op);
        if let Phase::Repair { repairs, .. } = &mut self.phase {
            for repair in repairs.iter_mut().filter(|repair| repair.node == node) {
                repair.outstanding.push(op);
            }
        }
    }

    /// After repairs were sent: goes on when those that lack something are not needed for the level.
    pub(crate) fn after_repairs_sent(&mut self) -> ReadStep {
        match &mut self.phase {
            Phase::Repair { tracker, position, .. } if tracker.is_satisfied() => {
                let position = position.take();
                self.advance(position)
            }
            _ => ReadStep::Wait,
        }
    }

    /// `node` has the repair sent as `op`.
    pub(crate) fn on_repaired(&mut self, node: NodeId, op: OpId) -> ReadStep {
        let Phase::Repair { tracker, repairs, .. } = &mut self.phase else { return ReadStep::Wait };
        let Some(repair) = repairs.iter_mut().find(|repair| repair.node == node) else { return ReadStep::Wait };
        repair.outstanding.retain(|sent| *sent != op);
        if repair.outstanding.is_empty() {
            tracker.acknowledge(node);
        }
        self.after_repairs_sent()
    }

    /// `node` cannot be repaired: a spare replica gets what it lacks in its place.
    fn on_repair_failed(&mut self, node: NodeId) -> ReadStep {
        let Phase::Repair { tracker, repairs, .. } = &mut self.phase else { return ReadStep::Wait };
        let failed = repairs.iter_mut().find(|repair| repair.node == node && !repair.outstanding.is_empty());
        let Some(failed) = failed else { return ReadStep::Wait };
        let replaced = std::mem::replace(&mut failed.replaced, true);
        tracker.fail(node);
        if !replaced && !self.spares.is_empty() {
            return self.repair_spares(1);
        }
        let Phase::Repair { tracker, .. } = &self.phase else { return ReadStep::Wait };
        if !tracker.is_impossible() {
            return ReadStep::Wait;
        }
        let count = tracker.worst();
        ReadStep::Finish(Err(RequestError::ReadFailure {
            consistency: self.consistency,
            received: count.acknowledged as u32,
            required: count.required as u32,
            failures: count.failed as u32,
            reason: FailureReason::Unknown,
        }))
    }

    /// Gives up to `count` spare replicas everything that any replica still lacks. Each record is then missing
    /// on no more replicas than before and held by one more.
    fn repair_spares(&mut self, count: usize) -> ReadStep {
        let Phase::Repair { repairs, .. } = &mut self.phase else { return ReadStep::Wait };
        let late = repairs.iter().filter(|repair| !repair.outstanding.is_empty());
        let lacking: Vec<Arc<Mutation>> = late.flat_map(|repair| repair.mutations.iter().cloned()).collect();
        let mut sends = Vec::new();
        for _ in 0..count {
            let Some(node) = self.spares.pop() else { break };
            sends.extend(lacking.iter().map(|mutation| (node, mutation.clone())));
            let (mutations, outstanding) = (lacking.clone(), Vec::new());
            repairs.push(Repair { node, mutations, outstanding, replaced: false });
        }
        if sends.is_empty() { ReadStep::Wait } else { ReadStep::Repair(sends) }
    }

    /// Replicas are late, or another try is due.
    pub(crate) fn on_attempt(&mut self) -> ReadStep {
        self.attempt_at = None;
        if let Phase::Repair { repairs, .. } = &mut self.phase {
            let late = repairs.iter_mut().filter(|repair| !repair.outstanding.is_empty() && !repair.replaced);
            let count = late.map(|repair| repair.replaced = true).count();
            return self.repair_spares(count);
        }
        let hopeful = self.count(|answer| !matches!(answer, Answer::Retry | Answer::Failed(_))) + self.spares.len();
        if hopeful < self.required {
            return ReadStep::Round;
        }
        let mut late = Vec::new();
        for contact in &mut self.contacts {
            if matches!(contact.answer, Answer::Waiting) && !contact.replaced && late.len() < self.spares.len() {
                contact.replaced = true;
                late.push(contact.digest);
            }
        }
        let asks: Vec<Ask> =
            late.into_iter().filter_map(|digest| self.spares.pop().map(|spare| self.contact(spare, digest))).collect();
        match asks.is_empty() {
            false => ReadStep::Ask(asks),
            // Nobody else is left: the views may agree by now.
            true if self.is_retrying() => ReadStep::Round,
            true => ReadStep::Wait,
        }
    }

    /// The command is read up to `position`, or to its end: answers or goes on.
    fn advance(&mut self, position: Option<Bytes>) -> ReadStep {
        self.phase = Phase::Digests;
        self.contacts.clear();
        let next = position.filter(|_| !self.page.is_limit_reached());
        let next = next.and_then(|position| Some((self.page.after(&self.command, &position)?, position)));
        match next {
            None => self.finish(None),
            Some((_, position)) if self.page.is_full() => self.finish(Some(position)),
            Some((command, _)) => {
                self.command = Arc::new(command);
                ReadStep::Round
            }
        }
    }

    fn finish(&mut self, position: Option<Bytes>) -> ReadStep {
        let (rows, paging_state) = self.page.finish(&self.read, position);
        ReadStep::Finish(Ok(Response::Rows { rows, paging_state }))
    }

    /// The deadline has passed.
    pub(crate) fn timeout(&self) -> RequestError {
        let data = self.count(|answer| matches!(answer, Answer::Data(_)));
        let (received, data_present) = match &self.phase {
            Phase::Repair { tracker, .. } => (tracker.worst().acknowledged, true),
            Phase::Digests | Phase::Full => (data + self.count(|answer| matches!(answer, Answer::Digest(_))), data > 0),
        };
        RequestError::ReadTimeout {
            consistency: self.consistency,
            received: received as u32,
            required: self.required as u32,
            data_present,
        }
    }
}

/// Mutations of `records`, ascending, each as large as one may be; a record that is larger goes alone.
fn mutations(command: &ReadCommand, records: Vec<Record>) -> Vec<Arc<Mutation>> {
    let bytes = |record: &Record| match &record.key {
        RecordKey::Row(clustering) => clustering.len() + record.value.len(),
        RecordKey::Deletions | RecordKey::Static => record.value.len(),
    };
    let mut groups: Vec<Vec<Record>> = Vec::new();
    let mut left = 0;
    for record in records {
        let size = bytes(&record);
        match groups.last_mut() {
            Some(group) if size <= left => group.push(record),
            _ => {
                left = MUTATION_BYTES_MAX;
                groups.push(vec![record]);
            }
        }
        left = left.saturating_sub(size);
    }
    let mutation = |records| Arc::new(Mutation { table: command.table, partition: command.partition.clone(), records });
    groups.into_iter().map(mutation).collect()
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;
