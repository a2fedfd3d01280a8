//! One question to the replicas of one partition, or of one range of tokens, asked of as many as the level requires
//! and made to agree. A read is made of such rounds ([`super::select`]).
//!
//! ```text
//!  partition: data from one, digests from the others --- equal --------------------> agreed
//!                 |                                                                   ^
//!                 | not equal                                                         |
//!                 v                                     nobody lacks anything         |
//!          data from all of them --- reconcile ---------------------------------------+
//!  range:         ^                      | some lack records                          |
//!                 |                      v                                            |
//!              begins here       repair those --- enough replicas hold the result ---+
//! ```
//! A replica that is late, fails or refuses is replaced by a spare one, if there is one.
//!
//! Invariants (`docs/protocol/read.md`):
//! * R1: an answer rests on as many replicas as its level requires.
//! * R2: what is answered is held by as many replicas as the level requires before the client sees it, so a
//!   later read at QUORUM never goes back behind an earlier one.

use bytes::Bytes;
use model::codec::CodecError;
use model::digest::digest;
use model::error::FailureReason;
use model::garbage::Purge;
use model::limits::MUTATION_BYTES_MAX;
use model::row::summarize;
use model::scan::{PositionWithin, ScanPosition};
use model::schema::Table;
use model::speculation::SpeculativeRetry;
use model::{
    Consistency, IndexCommand, IndexData, IndexedRow, Instant, Mutation, NodeId, PartitionKey, Planted, ReadCommand,
    ReadData, Record, RecordKey, RequestError, ScanCommand, ScanData, Token, TokenRange,
};
use std::sync::Arc;
use std::time::Duration;

use super::quorum::{Quorum, Tracker};
use super::reconcile::{AgreedPartition, Asked, is_well_formed, is_well_formed_scan, reconcile, reconcile_scan};
use super::select::PieceId;
use crate::config::ShardConfig;
use crate::io::{Message, OpId};

/// What is asked.
#[derive(Clone, Debug)]
pub(crate) enum Question {
    /// Rows of one partition.
    Partition(Arc<ReadCommand>),
    /// Rows of the partitions of a range that the same replicas hold.
    Range(Arc<ScanCommand>),
    /// Which rows of such a range may have a value.
    Index(Arc<IndexCommand>),
}

/// What the replicas of a question hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AskedOf {
    /// The partitions of a token.
    Token(Token),
    /// All partitions of a range.
    Range(TokenRange),
}

/// What a replica holds.
#[derive(Debug)]
pub(crate) enum Held {
    Partition(ReadData),
    Range(ScanData),
    Rows(IndexData),
}

/// What the replicas agree on, in reading order.
#[derive(Debug, Default)]
pub(crate) struct Agreed {
    pub(crate) partitions: Vec<AgreedPartition>,
    /// Of a look-up: the rows that may have the value, in place of any partitions.
    pub(crate) candidates: Vec<IndexedRow>,
    /// Up to where that is the answer; `None` when it is all of it.
    pub(crate) end: Option<ScanPosition>,
    /// About what it takes in memory.
    pub(crate) bytes: usize,
    /// Tombstones that were passed for it, on the replica that passed the most.
    pub(crate) tombstones: u32,
    /// Replicas that lacked something of it.
    pub(crate) repaired: u32,
}

/// What a replica has said in this round.
#[derive(Debug)]
enum Answer {
    Waiting,
    /// Refused because the two views differ.
    Retry,
    Failed(FailureReason),
    Data(Held),
    Digest(u128),
}

impl Answer {
    /// Those that the replica has passed, as far as it says.
    fn tombstones(&self) -> u32 {
        match self {
            Answer::Data(Held::Partition(data)) => data.tombstones,
            Answer::Data(Held::Range(data)) => {
                data.partitions.iter().fold(0, |sum, (_, data)| sum.saturating_add(data.tombstones))
            }
            // A look-up reads what the rows are now, and counts none.
            Answer::Data(Held::Rows(_)) => 0,
            Answer::Waiting | Answer::Retry | Answer::Failed(_) | Answer::Digest(_) => 0,
        }
    }
}

#[derive(Debug)]
struct Contact {
    node: NodeId,
    /// True when it was asked for the digest only.
    digest: bool,
    answer: Answer,
    /// When it was asked.
    asked_at: Instant,
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
    /// Replicas are being repaired; then this is the answer.
    Repair { tracker: Tracker, repairs: Vec<Repair>, agreed: Box<Agreed> },
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

/// What to do next for a round.
#[derive(Debug)]
pub(crate) enum RoundStep {
    /// Nothing.
    Wait,
    /// Ask these under the round's present id.
    Ask(Vec<Ask>),
    /// The digests differ: ask these under a new id.
    AskAnew(Vec<Ask>),
    /// Look up the replicas and begin, or begin again.
    Begin,
    /// Send these repairs and say under which ids.
    Repair(Vec<(NodeId, Arc<Mutation>)>),
    /// The round is over.
    End(Result<Agreed, RequestError>),
}

/// Rules of rounds that a planted bug breaks.
#[derive(Clone, Copy, Debug)]
struct Broken {
    repair_skipped: bool,
    coverage_ignored: bool,
    one_look_up: bool,
    bug: Option<Planted>,
}

/// A round in flight.
#[derive(Debug)]
pub(crate) struct Round {
    /// Who asks.
    pub(crate) piece: PieceId,
    pub(crate) table: Arc<Table>,
    pub(crate) consistency: Consistency,
    /// Who must answer.
    quorum: Quorum,
    /// The id of the messages of this phase: answers to an earlier one do not find the round.
    pub(crate) op: OpId,
    /// When it began to ask.
    pub(crate) begun_at: Option<Instant>,
    pub(crate) deadline: Instant,
    /// When a spare replica or another try is due.
    pub(crate) attempt_at: Option<Instant>,
    /// When its timer is set.
    pub(crate) timer: Instant,
    pub(crate) question: Question,
    /// By what the replicas tell garbage.
    purge: Purge,
    phase: Phase,
    contacts: Vec<Contact>,
    /// Replicas not asked; the next to ask is the last.
    spares: Vec<NodeId>,
    /// The ids of the repairs sent.
    pub(crate) repair_ops: Vec<OpId>,
    /// Bytes of answers that it keeps, as the shard counts them.
    pub(crate) counted_bytes: usize,
    broken: Broken,
}

impl Agreed {
    fn of_look_up(data: IndexData) -> Agreed {
        let end = data.next.as_ref().map(ScanPosition::from);
        Agreed { candidates: data.rows, end, ..Agreed::default() }
    }
}

impl Question {
    /// The message that asks it.
    pub(crate) fn message(&self, op: OpId, digest: bool) -> Message {
        match self {
            Question::Partition(command) => Message::Read { op, command: command.clone(), digest },
            Question::Range(command) => Message::Scan { op, command: command.clone() },
            Question::Index(command) => Message::LookUp { op, command: command.clone() },
        }
    }

    /// Whose replicas are asked.
    pub(crate) fn asked_of(&self) -> AskedOf {
        match self {
            Question::Partition(command) => AskedOf::Token(command.partition.token),
            Question::Range(command) => AskedOf::Range(command.range),
            Question::Index(command) => AskedOf::Range(command.range),
        }
    }

    fn purge(&self, table: &Table) -> Purge {
        match self {
            Question::Partition(command) => command.purge(),
            Question::Range(command) => command.purge(table.options.gc_grace_seconds),
            // Nothing is merged, so nothing is left out.
            Question::Index(_) => Purge::default(),
        }
    }

    /// True for one of many partitions: it is not digested, since answers are long, and seldom asked for twice.
    fn is_of_range(&self) -> bool {
        matches!(self, Question::Range(_) | Question::Index(_))
    }

    /// True when `held` answers it and is in order.
    fn is_answered_by(&self, held: &Held) -> bool {
        match (self, held) {
            (Question::Partition(command), Held::Partition(data)) => {
                is_well_formed(&command.slices, command.reversed, data)
            }
            (Question::Range(command), Held::Range(data)) => is_well_formed_scan(command, data),
            (Question::Index(command), Held::Rows(data)) => command.is_answered_by(data),
            _ => false,
        }
    }
}

impl Held {
    fn bytes(&self) -> usize {
        let rows = |data: &ReadData| {
            let rows = data.rows.iter().map(|(key, row)| key.len() + row.len()).sum::<usize>();
            rows + data.static_row.as_ref().map_or(0, Bytes::len)
        };
        match self {
            Held::Partition(data) => rows(data),
            Held::Range(data) => data.partitions.iter().map(|(key, data)| key.bytes.len() + rows(data)).sum(),
            Held::Rows(data) => data.bytes(),
        }
    }
}

impl Round {
    /// A round that has not begun.
    pub(crate) fn new(
        piece: PieceId,
        table: Arc<Table>,
        question: Question,
        consistency: Consistency,
        op: OpId,
        deadline: Instant,
        config: &ShardConfig,
    ) -> Round {
        let is_range = matches!(question, Question::Range(_));
        let skipped = Planted::ReadRepairSkipped;
        let broken = Broken {
            repair_skipped: config.is_planted(skipped) || is_range && config.is_planted(Planted::RangeRepairSkipped),
            coverage_ignored: config.is_planted(Planted::CoverageIgnored),
            one_look_up: config.is_planted(Planted::CandidatesOfOne),
            bug: config.bug(),
        };
        Round {
            piece,
            consistency,
            quorum: Quorum::default(),
            op,
            begun_at: None,
            deadline,
            attempt_at: None,
            timer: deadline,
            purge: question.purge(&table),
            question,
            table,
            phase: Phase::Digests,
            contacts: Vec::new(),
            spares: Vec::new(),
            repair_ops: Vec::new(),
            counted_bytes: 0,
            broken,
        }
    }

    /// When it must be woken.
    pub(crate) fn wake_at(&self) -> Instant {
        self.attempt_at.map_or(self.deadline, |at| at.min(self.deadline))
    }

    /// Bytes of answers that it keeps.
    pub(crate) fn held_bytes(&self) -> usize {
        let data = self.contacts.iter().map(|contact| match &contact.answer {
            Answer::Data(held) => held.bytes(),
            Answer::Waiting | Answer::Retry | Answer::Failed(_) | Answer::Digest(_) => 0,
        });
        data.sum()
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

    /// True when everybody asked is among `replicas`.
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

    /// Begins at `now`, or begins again, with the live ones of the replicas that count, in the order of preference. One
    /// more than needed is asked, where the table wants that, only if `speculates`.
    pub(crate) fn begin(
        &mut self,
        candidates: Vec<NodeId>,
        quorum: Quorum,
        speculates: bool,
        now: Instant,
    ) -> Vec<Ask> {
        assert!(quorum.required() > 0 && quorum.is_met(|node| candidates.contains(&node)), "R1: enough replicas");
        let is_range = self.question.is_of_range();
        self.phase = if is_range { Phase::Full } else { Phase::Digests };
        let (asked, mut spares) = quorum.pick(candidates);
        spares.reverse();
        (self.quorum, self.spares) = (quorum, spares);
        self.contacts.clear();
        for (index, node) in asked.into_iter().enumerate() {
            let digest = index > 0 && !is_range;
            self.contact(node, digest, now);
        }
        // Of two that give the data the quicker one is enough.
        if speculates
            && !is_range
            && self.table.options.speculative_retry() == SpeculativeRetry::Always
            && let Some(spare) = self.spares.pop()
        {
            self.contact(spare, false, now);
        }
        self.begun_at.get_or_insert(now);
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
    pub(crate) fn on_data(&mut self, node: NodeId, held: Held, now: Instant) -> RoundStep {
        if !self.question.is_answered_by(&held) {
            return self.on_refused(node, Refused::Failed(FailureReason::Unknown), now);
        }
        let Some(contact) = self.open(node) else { return RoundStep::Wait };
        contact.answer = Answer::Data(held);
        self.resolve(now)
    }

    /// `node` answered with a digest.
    pub(crate) fn on_digest(&mut self, node: NodeId, digest: u128, now: Instant) -> RoundStep {
        let Some(contact) = self.open(node).filter(|contact| contact.digest) else { return RoundStep::Wait };
        contact.answer = Answer::Digest(digest);
        self.resolve(now)
    }

    /// True for a round whose time says how long reads of its table take.
    pub(crate) fn is_of_partition(&self) -> bool {
        matches!(self.question, Question::Partition(_))
    }

    /// For how long `node` has been awaited, if it is.
    pub(crate) fn awaited_for(&self, node: NodeId, now: Instant) -> Option<Duration> {
        let open = |contact: &&Contact| contact.node == node && matches!(contact.answer, Answer::Waiting);
        self.contacts.iter().find(open).filter(|_| !self.is_repairing()).map(|contact| now - contact.asked_at)
    }

    /// Who is awaited.
    pub(crate) fn awaited(&self) -> impl Iterator<Item = NodeId> + '_ {
        let open = |contact: &&Contact| matches!(contact.answer, Answer::Waiting);
        self.contacts.iter().filter(open).map(|contact| contact.node)
    }

    /// `node` will not answer.
    pub(crate) fn on_refused(&mut self, node: NodeId, refused: Refused, now: Instant) -> RoundStep {
        if self.is_repairing() {
            return self.on_repair_failed(node);
        }
        let Some(contact) = self.open(node) else { return RoundStep::Wait };
        contact.answer = match refused {
            Refused::Retry => Answer::Retry,
            Refused::Failed(reason) => Answer::Failed(reason),
        };
        let (digest, replaced) = (contact.digest, contact.replaced);
        match if replaced { None } else { self.spare_for(node) } {
            Some(spare) => RoundStep::Ask(vec![self.contact(spare, digest, now)]),
            None => self.resolve(now),
        }
    }

    /// Takes the next spare replica whose answer counts where that of `node` would.
    fn spare_for(&mut self, node: NodeId) -> Option<NodeId> {
        let index = self.spares.iter().rposition(|spare| self.quorum.can_replace(*spare, node))?;
        Some(self.spares.remove(index))
    }

    /// True when replicas for which `which` holds of what they said are enough.
    fn is_met(&self, which: impl Fn(&Answer) -> bool) -> bool {
        self.quorum.is_met(|node| self.contacts.iter().any(|contact| contact.node == node && which(&contact.answer)))
    }

    /// As many of the answers that are needed as have come.
    fn received(&self) -> usize {
        let has = |contact: &Contact| matches!(contact.answer, Answer::Data(_) | Answer::Digest(_));
        self.quorum.received(|node| self.contacts.iter().any(|contact| contact.node == node && has(contact)))
    }

    fn contact(&mut self, node: NodeId, digest: bool, now: Instant) -> Ask {
        self.contacts.push(Contact { node, digest, answer: Answer::Waiting, asked_at: now, replaced: false });
        Ask { node, digest }
    }

    fn count(&self, which: impl Fn(&Answer) -> bool) -> usize {
        self.contacts.iter().filter(|contact| which(&contact.answer)).count()
    }

    /// Decides by what has been answered in this round.
    fn resolve(&mut self, now: Instant) -> RoundStep {
        let is_data = |answer: &Answer| matches!(answer, Answer::Data(_));
        let is_answer = |answer: &Answer| matches!(answer, Answer::Data(_) | Answer::Digest(_));
        match self.phase {
            // Of one replica there is nothing to merge.
            Phase::Full if self.is_met(is_data) && self.quorum.required() == 1 => self.take(now),
            Phase::Full if self.is_met(is_data) => self.reconcile(now),
            Phase::Digests if self.is_broken(Planted::DigestsUnawaited) && self.count(is_data) > 0 => self.take(now),
            Phase::Digests if self.is_met(is_answer) && self.count(is_data) > 0 => match self.is_agreed() {
                Ok(true) => self.take(now),
                Ok(false) => self.differ(now),
                Err(node) => self.distrust(node, now),
            },
            Phase::Digests if self.is_met(is_answer) => self.ask_for_data(now),
            _ => self.wait_or_fail(),
        }
    }

    /// All that were needed have answered with digests: somebody must give the data.
    fn ask_for_data(&mut self, now: Instant) -> RoundStep {
        if self.contacts.iter().any(|contact| matches!(contact.answer, Answer::Waiting) && !contact.digest) {
            return RoundStep::Wait;
        }
        let contact = self.contacts.iter_mut().find(|contact| matches!(contact.answer, Answer::Digest(_)));
        let Some(contact) = contact else { return RoundStep::Wait };
        (contact.digest, contact.answer, contact.asked_at) = (false, Answer::Waiting, now);
        RoundStep::Ask(vec![Ask { node: contact.node, digest: false }])
    }

    /// Whether all answers mean the same.
    ///
    /// # Errors
    /// A node whose answer cannot be read.
    fn is_agreed(&self) -> Result<bool, NodeId> {
        if self.quorum.required() == 1 || self.is_broken(Planted::DigestIgnored) {
            return Ok(true);
        }
        let mut agreed = None;
        for contact in &self.contacts {
            let digest = match &contact.answer {
                Answer::Data(Held::Partition(data)) => {
                    digest(data, &self.purge).map_err(|_: CodecError| contact.node)?
                }
                // Ranges are not digested.
                Answer::Data(Held::Range(_) | Held::Rows(_)) => continue,
                Answer::Digest(digest) => *digest,
                Answer::Waiting | Answer::Retry | Answer::Failed(_) => continue,
            };
            let digest = if self.is_broken(Planted::DigestTruncated) { digest & 3 } else { digest };
            if *agreed.get_or_insert(digest) != digest {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The answer of `node` is no answer: go on without it.
    fn distrust(&mut self, node: NodeId, now: Instant) -> RoundStep {
        for contact in self.contacts.iter_mut().filter(|contact| contact.node == node) {
            contact.answer = Answer::Waiting;
        }
        self.on_refused(node, Refused::Failed(FailureReason::Unknown), now)
    }

    /// True when the replicas that have answered or may yet are enough.
    fn is_possible(&self, may: impl Fn(&Answer) -> bool) -> bool {
        let asked = |node| self.contacts.iter().any(|contact| contact.node == node && may(&contact.answer));
        self.quorum.is_met(|node| asked(node) || self.spares.contains(&node))
    }

    fn wait_or_fail(&mut self) -> RoundStep {
        if self.is_possible(|answer| !matches!(answer, Answer::Failed(_))) {
            return RoundStep::Wait;
        }
        let failures = self.count(|answer| matches!(answer, Answer::Failed(_)));
        let overloaded = self.count(|answer| matches!(answer, Answer::Failed(FailureReason::Overloaded)));
        if overloaded > 0 && overloaded == failures {
            // Nothing was done, and nothing is wrong.
            let message = format!("{overloaded} of the replicas that must answer have more to do than they can");
            return RoundStep::End(Err(RequestError::Overloaded(message)));
        }
        let known = |answer: &Answer| matches!(answer, Answer::Failed(FailureReason::TooManyTombstones));
        let reason = if self.count(known) > 0 { FailureReason::TooManyTombstones } else { FailureReason::Unknown };
        RoundStep::End(Err(RequestError::ReadFailure {
            consistency: self.consistency,
            received: self.received() as u32,
            required: self.quorum.required() as u32,
            failures: failures as u32,
            reason,
        }))
    }

    /// The digests differ: all that answered give their data, who did not is asked only as a last resort.
    fn differ(&mut self, now: Instant) -> RoundStep {
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
                (contact.digest, contact.answer, contact.asked_at) = (false, Answer::Waiting, now);
                asks.push(Ask { node: contact.node, digest: false });
            }
        }
        if asks.is_empty() { self.resolve(now) } else { RoundStep::AskAnew(asks) }
    }

    /// The replicas agree, or one is enough: the data of one is the answer of all.
    fn take(&mut self, now: Instant) -> RoundStep {
        let (bytes, tombstones) = (self.bytes_of_one(), self.tombstones());
        let taken = self.contacts.iter_mut().find(|contact| matches!(contact.answer, Answer::Data(_)));
        let Some(contact) = taken else { return RoundStep::Wait };
        let node = contact.node;
        let Answer::Data(held) = std::mem::replace(&mut contact.answer, Answer::Waiting) else {
            return RoundStep::Wait;
        };
        match self.agreed(held) {
            Err(_) => self.distrust(node, now),
            Ok(agreed) => self.end(Agreed { bytes, tombstones, ..agreed }),
        }
    }

    /// What one replica holds, once its rows are known to be rows.
    fn agreed(&self, held: Held) -> Result<Agreed, CodecError> {
        let partition = |key: PartitionKey, data: ReadData| -> Result<_, CodecError> {
            for row in data.static_row.iter().chain(data.rows.iter().map(|(_, row)| row)) {
                summarize(row, 0)?;
            }
            Ok(AgreedPartition { key, static_row: data.static_row, rows: data.rows })
        };
        match (&self.question, held) {
            (Question::Partition(command), Held::Partition(data)) => {
                let end = if data.more { data.rows.last().map(|(last, _)| last.clone()) } else { None };
                let partitions = vec![partition(command.partition.clone(), data)?];
                Ok(Agreed { partitions, end: end.map(|last| within(command, last)), ..Agreed::default() })
            }
            (_, Held::Range(data)) => {
                let partitions = data.partitions.into_iter().map(|(key, data)| partition(key, data));
                Ok(Agreed { partitions: partitions.collect::<Result<_, _>>()?, end: data.next, ..Agreed::default() })
            }
            (_, Held::Rows(data)) => Ok(Agreed::of_look_up(data)),
            // An answer of the other kind is not well formed and was not kept.
            (Question::Range(_) | Question::Index(_), Held::Partition(_)) => Err(CodecError::Invalid("answer")),
        }
    }

    /// True when the round runs with this bug.
    fn is_broken(&self, bug: Planted) -> bool {
        self.broken.bug == Some(bug)
    }

    /// All data is there: merge it, find what each replica lacks, and repair.
    fn reconcile(&mut self, now: Instant) -> RoundStep {
        let (bytes, tombstones) = (self.bytes_of_one(), self.tombstones());
        let mut nodes = Vec::with_capacity(self.contacts.len());
        let (mut partitions, mut ranges, mut rows) = (Vec::new(), Vec::new(), Vec::new());
        for contact in &self.contacts {
            match &contact.answer {
                Answer::Data(Held::Partition(data)) => partitions.push(data),
                Answer::Data(Held::Range(data)) => ranges.push(data),
                Answer::Data(Held::Rows(data)) => rows.push(data),
                Answer::Waiting | Answer::Retry | Answer::Failed(_) | Answer::Digest(_) => continue,
            }
            nodes.push(contact.node);
        }
        let reconciled = match &self.question {
            Question::Partition(command) => {
                let trusting = self.is_broken(Planted::PartitionCoverageIgnored);
                let without = command.reversed && self.is_broken(Planted::ReversedDropsDeletions);
                let mut asked = Asked::by(command, &self.purge);
                (asked.trusting, asked.without_deletions) = (trusting, without);
                let reconciled = reconcile(&asked, &partitions);
                reconciled.map(|reconciled| {
                    let key = &command.partition;
                    let end = reconciled.end.map(|last| within(command, last));
                    let partitions = vec![AgreedPartition::of(key, &reconciled.static_row, &reconciled.rows)];
                    let agreed = Agreed { partitions, end, bytes, tombstones, ..Agreed::default() };
                    let lacking = reconciled.repairs.into_iter().map(|records| self.mutations(key, records));
                    (agreed, lacking.collect::<Vec<_>>())
                })
            }
            Question::Range(command) => {
                let reconciled = reconcile_scan(command, &self.purge, &ranges, self.broken.coverage_ignored);
                reconciled.map(|scan| {
                    let agreed =
                        Agreed { partitions: scan.partitions, end: scan.next, bytes, tombstones, ..Agreed::default() };
                    let of_replica = |lacking: Vec<(PartitionKey, Vec<Record>)>| {
                        lacking.into_iter().flat_map(|(key, records)| self.mutations(&key, records)).collect()
                    };
                    (agreed, scan.repairs.into_iter().map(of_replica).collect())
                })
            }
            // X4: nobody lacks anything: who lacks a row gets it when the row is read.
            Question::Index(_) => {
                let data = IndexData::merge(&rows, self.broken.one_look_up);
                return self.end(Agreed { bytes: data.bytes(), ..Agreed::of_look_up(data) });
            }
        };
        match reconciled {
            Err(index) => {
                let node = nodes[index];
                self.distrust(node, now)
            }
            Ok((agreed, _)) if self.broken.repair_skipped || !self.table.options.repairs_reads() => self.end(agreed),
            Ok((agreed, lacking)) => self.repair(&nodes, lacking, agreed),
        }
    }

    /// Sends every replica what it lacks; the round ends once enough replicas hold what was merged.
    fn repair(&mut self, nodes: &[NodeId], lacking: Vec<Vec<Arc<Mutation>>>, agreed: Agreed) -> RoundStep {
        let mut tracker = Tracker::of(self.quorum.among(|node| nodes.contains(&node) || self.spares.contains(&node)));
        let mut repairs = Vec::new();
        for (node, mutations) in nodes.iter().zip(lacking) {
            if mutations.is_empty() || self.is_broken(Planted::RepairOfOne) && !repairs.is_empty() {
                tracker.acknowledge(*node);
                continue;
            }
            repairs.push(Repair { node: *node, mutations, outstanding: Vec::new(), replaced: false });
        }
        if repairs.is_empty() {
            return self.end(agreed);
        }
        let send = |repair: &Repair| {
            let node = repair.node;
            repair.mutations.iter().map(|mutation| (node, mutation.clone())).collect::<Vec<_>>()
        };
        let sends = repairs.iter().flat_map(send).collect();
        let agreed = Agreed { repaired: repairs.len() as u32, ..agreed };
        self.phase = Phase::Repair { tracker, repairs, agreed: Box::new(agreed) };
        RoundStep::Repair(sends)
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

    /// After repairs were sent: ends when those that lack something are not needed for the level.
    pub(crate) fn after_repairs_sent(&mut self) -> RoundStep {
        let unawaited = self.is_broken(Planted::RepairUnawaited);
        match &mut self.phase {
            Phase::Repair { tracker, agreed, .. } if tracker.is_satisfied() || unawaited => {
                let agreed = std::mem::take(&mut **agreed);
                self.end(agreed)
            }
            _ => RoundStep::Wait,
        }
    }

    fn end(&mut self, agreed: Agreed) -> RoundStep {
        self.contacts.clear();
        RoundStep::End(Ok(agreed))
    }

    /// Those that were passed on the replica that passed the most.
    fn tombstones(&self) -> u32 {
        self.contacts.iter().map(|contact| contact.answer.tombstones()).max().unwrap_or(0)
    }

    /// About what the answer of one replica takes in memory.
    fn bytes_of_one(&self) -> usize {
        self.held_bytes() / self.contacts.len().max(1)
    }

    /// `node` has the repair sent as `op`.
    pub(crate) fn on_repaired(&mut self, node: NodeId, op: OpId) -> RoundStep {
        let Phase::Repair { tracker, repairs, .. } = &mut self.phase else { return RoundStep::Wait };
        let Some(repair) = repairs.iter_mut().find(|repair| repair.node == node) else { return RoundStep::Wait };
        repair.outstanding.retain(|sent| *sent != op);
        if repair.outstanding.is_empty() {
            tracker.acknowledge(node);
        }
        self.after_repairs_sent()
    }

    /// `node` cannot be repaired: a spare replica gets what it lacks in its place.
    fn on_repair_failed(&mut self, node: NodeId) -> RoundStep {
        let Phase::Repair { tracker, repairs, .. } = &mut self.phase else { return RoundStep::Wait };
        let failed = repairs.iter_mut().find(|repair| repair.node == node && !repair.outstanding.is_empty());
        let Some(failed) = failed else { return RoundStep::Wait };
        let replaced = std::mem::replace(&mut failed.replaced, true);
        tracker.fail(node);
        if !replaced && let Some(spare) = self.spare_for(node) {
            return self.repair_spares(&[spare]);
        }
        let Phase::Repair { tracker, .. } = &self.phase else { return RoundStep::Wait };
        if !tracker.is_impossible() {
            return RoundStep::Wait;
        }
        RoundStep::End(Err(RequestError::ReadFailure {
            consistency: self.consistency,
            received: tracker.received() as u32,
            required: tracker.required() as u32,
            failures: tracker.failures() as u32,
            reason: FailureReason::Unknown,
        }))
    }

    /// Gives these spare replicas everything that any replica still lacks. Each record is then missing on no more
    /// replicas than before and held by one more.
    fn repair_spares(&mut self, spares: &[NodeId]) -> RoundStep {
        let Phase::Repair { repairs, .. } = &mut self.phase else { return RoundStep::Wait };
        let late = repairs.iter().filter(|repair| !repair.outstanding.is_empty());
        let lacking: Vec<Arc<Mutation>> = late.flat_map(|repair| repair.mutations.iter().cloned()).collect();
        let mut sends = Vec::new();
        for node in spares {
            sends.extend(lacking.iter().map(|mutation| (*node, mutation.clone())));
            let (mutations, outstanding) = (lacking.clone(), Vec::new());
            repairs.push(Repair { node: *node, mutations, outstanding, replaced: false });
        }
        if sends.is_empty() { RoundStep::Wait } else { RoundStep::Repair(sends) }
    }

    /// Replicas are late, or another try is due.
    pub(crate) fn on_attempt(&mut self, now: Instant) -> RoundStep {
        self.attempt_at = None;
        if let Phase::Repair { repairs, .. } = &mut self.phase {
            let late = repairs.iter_mut().filter(|repair| !repair.outstanding.is_empty() && !repair.replaced);
            let late: Vec<NodeId> = late
                .map(|repair| {
                    repair.replaced = true;
                    repair.node
                })
                .collect();
            let spares: Vec<NodeId> = late.into_iter().filter_map(|node| self.spare_for(node)).collect();
            return self.repair_spares(&spares);
        }
        if !self.is_possible(|answer| !matches!(answer, Answer::Retry | Answer::Failed(_))) {
            return RoundStep::Begin;
        }
        let mut asks = Vec::new();
        for index in 0..self.contacts.len() {
            let Contact { node, digest, ref answer, replaced, .. } = self.contacts[index];
            if matches!(answer, Answer::Waiting)
                && !replaced
                && let Some(spare) = self.spare_for(node)
            {
                self.contacts[index].replaced = true;
                asks.push(self.contact(spare, digest, now));
            }
        }
        match asks.is_empty() {
            false => RoundStep::Ask(asks),
            // Nobody else is left: the views may agree by now.
            true if self.is_retrying() => RoundStep::Begin,
            true => RoundStep::Wait,
        }
    }

    /// The deadline has passed.
    pub(crate) fn timeout(&self) -> RequestError {
        let (received, data_present) = match &self.phase {
            Phase::Repair { tracker, .. } => (tracker.received(), true),
            Phase::Digests | Phase::Full => {
                (self.received(), self.count(|answer| matches!(answer, Answer::Data(_))) > 0)
            }
        };
        RequestError::ReadTimeout {
            consistency: self.consistency,
            received: received as u32,
            required: self.quorum.required() as u32,
            data_present,
        }
    }

    /// Mutations of `records`, ascending, each as large as one may be; a record that is larger goes alone.
    fn mutations(&self, partition: &PartitionKey, mut records: Vec<Record>) -> Vec<Arc<Mutation>> {
        if self.is_broken(Planted::ReadRepairKeepsDeletions) {
            records.retain(|record| record.key != RecordKey::Deletions);
        }
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
        let (table, partition) = (self.table.id, partition);
        let mutation = |records| Arc::new(Mutation { table, partition: partition.clone(), records });
        groups.into_iter().map(mutation).collect()
    }
}

/// The position behind the row at `last`.
pub(crate) fn within(command: &ReadCommand, last: Bytes) -> ScanPosition {
    let within = Some(PositionWithin { last, rows_left: u32::MAX });
    ScanPosition { partition: command.partition.clone(), within }
}
