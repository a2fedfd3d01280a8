//! Transactions at their coordinator: carries out what [`crate::coordinator::transaction`] decides.
//!
//! Invariants:
//! * Of the transactions of one partition one at a time is under way on this shard; the others wait in the order of
//!   their requests, so that those of one coordinator never stand in each other's way.
//! * A ballot is used once: it has a random half. Its round is the wall clock, or above what stood in the way.

use super::counters::Present;
use super::{Out, Shard, Timer, check_table};
use crate::coordinator::quorum::Quorum;
use crate::coordinator::reconcile::{AgreedPartition, Asked, is_well_formed, reconcile};
use crate::coordinator::round::{Agreed, Question, within};
use crate::coordinator::select::PieceId;
use crate::coordinator::transaction::{AfterCommit, Fate, Found, Outcome, Purpose, Stage, Transaction, Work, examine};
use crate::coordinator::write::WriteOp;
use crate::io::{Message, OpId, Refusal, RequestId, Response, WritePurpose};
use crate::register::{PaxosAnswer, PaxosRequest, PaxosStep, Promised, Proposal};
use crate::retry::{self, Remembered, Stamp};
use bytes::Bytes;
use membership::ClusterView;
use model::deletion::PartitionDeletions;
use model::error::FailureReason;
use model::index::check_indexed_values;
use model::schema::Table;
use model::{
    Consistency, Instant, Mutation, NodeId, PartitionKey, Planted, ReadCommand, RequestError, RetryToken, Row, TableId,
    Token, WallMicros, counter,
};
use paxos::{Accepted, Ballot};
use query::{BoundWrite, ConditionalResult, ConditionalWrite, Decision};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// A partition of a table.
type Place = (TableId, Bytes);

/// What follows from a decision on a write.
enum Conclusion {
    /// This change is proposed, with what the request came to.
    Propose(Arc<Mutation>, Option<Remembered>),
    /// The client is told this.
    Answer(Result<Response, RequestError>),
}

/// The transactions in flight.
#[derive(Debug, Default)]
pub(super) struct Transactions {
    all: BTreeMap<RequestId, Box<Transaction>>,
    /// By partition, the first one being under way; none is empty.
    queues: BTreeMap<Place, VecDeque<RequestId>>,
    /// Partitions whose first transaction may have to begin.
    due: VecDeque<Place>,
    /// By the id of the messages of its present stage.
    by_op: BTreeMap<OpId, RequestId>,
}

impl Transactions {
    /// How many are in flight.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// True while this request is a transaction.
    pub(super) fn contains(&self, id: RequestId) -> bool {
        self.all.contains_key(&id)
    }

    /// True when messages of this id are of a transaction.
    pub(super) fn asked(&self, op: OpId) -> bool {
        self.by_op.contains_key(&op)
    }

    fn add(&mut self, id: RequestId, transaction: Transaction) {
        let place = (transaction.table.id, transaction.partition.bytes.clone());
        let queue = self.queues.entry(place.clone()).or_default();
        queue.push_back(id);
        if queue.len() == 1 {
            self.due.push_back(place);
        }
        self.all.insert(id, Box::new(transaction));
    }

    /// The next transaction that is first in its queue and has not begun.
    pub(super) fn next_due(&mut self) -> Option<RequestId> {
        let place = self.due.pop_front()?;
        self.queues.get(&place).and_then(|queue| queue.front().copied())
    }

    fn remove(&mut self, id: RequestId) -> Option<Box<Transaction>> {
        let transaction = self.all.remove(&id)?;
        if let Some(op) = transaction.op {
            self.by_op.remove(&op);
        }
        let place = (transaction.table.id, transaction.partition.bytes.clone());
        if let Some(queue) = self.queues.get_mut(&place) {
            let was_first = queue.front() == Some(&id);
            queue.retain(|queued| *queued != id);
            if queue.is_empty() {
                self.queues.remove(&place);
            } else if was_first {
                self.due.push_back(place);
            }
        }
        Some(transaction)
    }
}

/// The level at which a change is committed for the sake of those that follow it.
fn commit_level(serial: Consistency) -> Consistency {
    if serial.is_local() { Consistency::LocalQuorum } else { Consistency::Quorum }
}

/// The replicas that decide on a partition, ascending; with a data centre only those in it.
pub(super) fn acceptors(view: &ClusterView, keyspace: &str, token: Token, data_center: Option<&str>) -> Vec<NodeId> {
    let is_local = |node: &NodeId| data_center.is_none_or(|name| view.data_center(*node) == name);
    let mut acceptors: Vec<NodeId> = view.holders(keyspace, token).iter().copied().filter(is_local).collect();
    acceptors.sort_unstable();
    acceptors
}

impl Shard {
    /// Takes on a conditional write.
    pub(super) fn begin_conditional(
        &mut self,
        id: RequestId,
        write: ConditionalWrite,
        (consistency, serial): (Consistency, Consistency),
        token: Option<RetryToken>,
        deadline: Instant,
    ) -> Result<(), RequestError> {
        check_table(&self.view, write.table())?;
        let (table, partition) = (write.table().clone(), write.partition().clone());
        self.begin_transaction(id, Work::Write { write, consistency, token }, table, partition, serial, deadline);
        Ok(())
    }

    /// Takes on a write without conditions that depends on what is there, and has a token. All replicas decide, in
    /// whichever data centres they are: those of one alone could not know what others have decided.
    pub(super) fn begin_decided(
        &mut self,
        out: &mut Out<'_>,
        id: RequestId,
        write: BoundWrite,
        consistency: Consistency,
        stamp: Stamp,
        deadline: Instant,
    ) -> Result<(), RequestError> {
        if consistency == Consistency::Any {
            let what = if write.counts() { "counts" } else { "changes elements of lists" };
            let message = format!("Consistency level ANY is not supported for a write that {what}");
            return Err(RequestError::Invalid(message));
        }
        if let Some(highest) = write.highest_timestamp() {
            self.check_timestamp(out.now, highest)?;
        }
        if write.is_empty() {
            self.reply(out, id, Ok(Response::Written));
            return Ok(());
        }
        let write = ConditionalWrite::unconditional(write);
        self.begin_conditional(id, write, (consistency, Consistency::Serial), stamp.token, deadline)
    }

    /// Asks one question of a serial read.
    pub(super) fn begin_serial(
        &mut self,
        piece: PieceId,
        question: Question,
        table: Arc<Table>,
        serial: Consistency,
        deadline: Instant,
    ) -> Result<(), RequestError> {
        let Question::Partition(command) = question else {
            let message = "SERIAL/LOCAL_SERIAL consistency may only be requested for one partition at a time";
            return Err(RequestError::Invalid(message.to_owned()));
        };
        let partition = command.partition.clone();
        self.begin_transaction(piece.request, Work::Read { piece, command }, table, partition, serial, deadline);
        Ok(())
    }

    fn begin_transaction(
        &mut self,
        id: RequestId,
        work: Work,
        table: Arc<Table>,
        partition: PartitionKey,
        serial: Consistency,
        deadline: Instant,
    ) {
        self.counters.transactions += 1;
        self.timers.set(Timer::Transaction(id), deadline);
        let transaction = Transaction {
            work,
            table,
            partition,
            serial,
            deadline,
            timer: Some(deadline),
            stage: Stage::Waiting,
            op: None,
            acceptors: Vec::new(),
            quorum: 0,
            awaited: BTreeSet::new(),
            preempted: None,
            floor: 0,
            attempted: deadline,
            contentions: 0,
            open: Vec::new(),
            base: None,
            remembered: None,
        };
        self.transactions.add(id, transaction);
    }

    /// The present transaction under `id` gets its timer for `at`, or its deadline if that is before.
    fn wake_transaction(&mut self, id: RequestId, at: Instant) {
        let Some(transaction) = self.transactions.all.get_mut(&id) else { return };
        let at = at.min(transaction.deadline);
        match transaction.timer.replace(at) {
            Some(old) => self.timers.reset(Timer::Transaction(id), old, at),
            None => self.timers.set(Timer::Transaction(id), at),
        }
    }

    /// Messages of the stage that begins have an id of their own.
    fn new_stage(&mut self, id: RequestId, stage: Stage) -> Option<OpId> {
        let op = self.ops.next();
        let transaction = self.transactions.all.get_mut(&id)?;
        transaction.stage = stage;
        transaction.preempted = None;
        if let Some(old) = transaction.op.replace(op) {
            self.transactions.by_op.remove(&old);
        }
        self.transactions.by_op.insert(op, id);
        Some(op)
    }

    /// Prepares a transaction at a new ballot.
    pub(super) fn prepare(&mut self, out: &mut Out<'_>, id: RequestId) {
        let view = self.view.clone();
        let Some(transaction) = self.transactions.all.get(&id) else { return };
        let (table, serial) = (transaction.table.clone(), transaction.serial);
        if let Err(error) = check_table(&view, &table) {
            return self.fail_transaction(out, id, error);
        }
        let data_center = self.serial_data_center(serial);
        let acceptors = acceptors(&view, &table.keyspace, transaction.partition.token, data_center.as_deref());
        let (keyspace, token) = (&table.keyspace, transaction.partition.token);
        let quorum = Quorum::of_acceptors(&self.config, &view, keyspace, serial, token, &acceptors);
        let quorum = quorum.and_then(|quorum| {
            quorum.check_alive(serial, |node| self.is_alive(node))?;
            Ok(quorum.required())
        });
        let quorum = match quorum {
            Ok(quorum) => quorum,
            Err(error) => return self.fail_transaction(out, id, error),
        };
        let awaited: BTreeSet<NodeId> = acceptors.iter().copied().filter(|node| self.is_alive(*node)).collect();
        let round = u64::try_from(out.now.wall.0).unwrap_or(0);
        let ballot = Ballot { round: round.max(transaction.floor + 1), node: NodeId(self.rng.next_u128()) };
        let command = match &transaction.work {
            Work::Write { write, .. } => Arc::new(write.command(self.config.tombstone_fail, out.now.wall)),
            Work::Read { command, .. } => command.clone(),
        };
        let Some(transaction) = self.transactions.all.get_mut(&id) else { return };
        (transaction.acceptors, transaction.quorum, transaction.awaited) = (acceptors, quorum, awaited);
        (transaction.floor, transaction.attempted) = (ballot.round, out.now.monotonic);
        let promises = BTreeMap::new();
        if self.new_stage(id, Stage::Preparing { ballot, command, promises, patient_until: None }).is_some() {
            self.ask_acceptors(out, id);
        }
    }

    /// The data centre whose replicas decide at this level; none for all.
    fn serial_data_center(&self, serial: Consistency) -> Option<String> {
        serial.is_local().then(|| self.view.data_center(self.config.node).to_owned())
    }

    /// Sends the message of the present stage to those that have not answered it.
    fn ask_acceptors(&mut self, out: &mut Out<'_>, id: RequestId) {
        let Some(transaction) = self.transactions.all.get(&id) else { return };
        let Some(op) = transaction.op else { return };
        let step = match &transaction.stage {
            Stage::Preparing { ballot, command, .. } => {
                PaxosStep::Prepare { ballot: *ballot, command: command.clone(), token: transaction.token() }
            }
            Stage::Proposing { ballot, proposal, .. } => {
                PaxosStep::Propose { ballot: *ballot, proposal: proposal.clone() }
            }
            Stage::Waiting | Stage::Committing { .. } => return,
        };
        let request = Arc::new(PaxosRequest {
            table: transaction.table.id,
            partition: transaction.partition.clone(),
            data_center: self.serial_data_center(transaction.serial),
            acceptors: transaction.acceptors.clone(),
            step,
        });
        self.counters.transaction_rounds += 1;
        for node in transaction.awaited.clone() {
            self.send(out, node, Message::Paxos { op, request: request.clone() });
        }
        self.wake_transaction(id, out.now.monotonic + self.config.refusal_retry_after);
    }

    // ---- Answers ----

    /// An acceptor answered.
    pub(super) fn on_paxos_answer(&mut self, out: &mut Out<'_>, from: NodeId, op: OpId, answer: PaxosAnswer) {
        let Some(id) = self.transactions.by_op.get(&op).copied() else { return };
        let Some(transaction) = self.transactions.all.get_mut(&id) else { return };
        if !transaction.acceptors.contains(&from) {
            return;
        }
        let first = transaction.awaited.remove(&from);
        match (&mut transaction.stage, answer) {
            (Stage::Preparing { command, promises, .. }, PaxosAnswer::Promised(promised)) => {
                if is_well_formed(&command.slices, command.reversed, &promised.data) {
                    promises.insert(from, *promised);
                }
                self.on_promises(out, id, false);
            }
            (Stage::Proposing { accepted, .. }, PaxosAnswer::Accepted) => {
                accepted.insert(from);
                self.on_accepted(out, id);
            }
            (Stage::Preparing { .. } | Stage::Proposing { .. }, PaxosAnswer::Preempted { by }) if first => {
                transaction.floor = transaction.floor.max(by.round);
                transaction.preempted = Some(by);
                // A majority may agree all the same.
                if transaction.is_impossible() {
                    self.on_preempted(out, id);
                } else if matches!(transaction.stage, Stage::Preparing { .. }) {
                    self.on_promises(out, id, false);
                }
            }
            _ => {}
        }
    }

    /// An acceptor will not answer, unless it may once the views agree.
    pub(super) fn on_paxos_refused(&mut self, out: &mut Out<'_>, from: NodeId, op: OpId, reason: Refusal) {
        let Some(id) = self.transactions.by_op.get(&op).copied() else { return };
        if matches!(reason, Refusal::NotReplica(_)) {
            // It is asked again with all that are late.
            return;
        }
        let reason = match reason {
            Refusal::TooManyTombstones => FailureReason::TooManyTombstones,
            Refusal::DiskFull => FailureReason::DiskFull,
            Refusal::Overloaded => FailureReason::Overloaded,
            _ => FailureReason::Unknown,
        };
        self.lose_acceptor(out, id, from, reason);
    }

    /// Nothing reaches a node: transactions that wait for it do without.
    pub(super) fn transactions_unreachable(&mut self, out: &mut Out<'_>, node: NodeId) {
        let all = self.transactions.all.iter();
        let waiting = all.filter(|(_, own)| own.awaited.contains(&node)).map(|(id, _)| *id);
        for id in waiting.collect::<Vec<_>>() {
            self.lose_acceptor(out, id, node, FailureReason::Unknown);
        }
    }

    fn lose_acceptor(&mut self, out: &mut Out<'_>, id: RequestId, node: NodeId, reason: FailureReason) {
        let Some(transaction) = self.transactions.all.get_mut(&id) else { return };
        if !transaction.awaited.remove(&node) {
            return;
        }
        if transaction.is_impossible() && transaction.preempted.is_some() {
            return self.on_preempted(out, id);
        }
        if transaction.is_impossible() {
            let (received, required) = (transaction.answers(), transaction.quorum as u32);
            let failures = transaction.acceptors.len() as u32 - received;
            let consistency = transaction.serial;
            // Of a read, and of a write before anything was proposed; else it is not known what became of it.
            let error = RequestError::ReadFailure { consistency, received, required, failures, reason };
            return self.fail_transaction(out, id, error);
        }
        if matches!(transaction.stage, Stage::Preparing { .. }) {
            self.on_promises(out, id, false);
        }
    }

    /// Another ballot is in the way: the transaction pauses for a random time, and tries above it.
    fn on_preempted(&mut self, out: &mut Out<'_>, id: RequestId) {
        let Some(transaction) = self.transactions.all.get_mut(&id) else { return };
        transaction.contentions = transaction.contentions.saturating_add(1);
        let denies = self.config.is_planted(Planted::PreemptionDenied);
        if let Stage::Proposing { ballot, purpose: Purpose::Own, .. } = &transaction.stage
            && !denies
        {
            // L6: some acceptor may have it.
            let ballot = *ballot;
            transaction.open.push(ballot);
        }
        self.pause(out, id);
    }

    /// Waits for a random time, so that who contends does not try again when all others do. There is room in it for
    /// several attempts, each as long as the last one took: else coordinators whose replicas are far away would be in
    /// each other's way for ever. It ends in time for another attempt.
    fn pause(&mut self, out: &mut Out<'_>, id: RequestId) {
        let Some(transaction) = self.transactions.all.get_mut(&id) else { return };
        transaction.stage = Stage::Waiting;
        transaction.awaited.clear();
        if let Some(op) = transaction.op.take() {
            self.transactions.by_op.remove(&op);
        }
        let doubled = transaction.contentions.clamp(1, 6);
        let took = out.now.monotonic - transaction.attempted;
        let longest = self.config.contention_backoff.saturating_mul(1 << doubled).max(took * (1 << doubled.min(3)));
        let longest = longest.min((transaction.deadline - out.now.monotonic) / 2);
        let micros = 1 + self.rng.below(u64::try_from(longest.as_micros()).unwrap_or(u64::MAX).max(1));
        self.wake_transaction(id, out.now.monotonic + Duration::from_micros(micros));
    }

    // ---- Promises ----

    /// Acts on the promises that there are. With `impatient`, on those alone.
    fn on_promises(&mut self, out: &mut Out<'_>, id: RequestId, impatient: bool) {
        let Some(transaction) = self.transactions.all.get(&id) else { return };
        let Stage::Preparing { ballot, promises, .. } = &transaction.stage else { return };
        let (ballot, waits) = (*ballot, transaction.is_awaited() && !impatient);
        let found = examine(promises, &transaction.acceptors, transaction.quorum);
        if found == Found::TooFew {
            return;
        }
        if transaction.token().is_some() {
            if let Some(outcome) = transaction.recorded_outcome()
                && !matches!(found, Found::Lacking(_))
            {
                return self.end_recorded(out, id, outcome);
            }
            // What it may have proposed before is in progress, or recorded, or can never be chosen any more.
            if matches!(found, Found::Ready { .. })
                && let Some(transaction) = self.transactions.all.get_mut(&id)
            {
                transaction.open.clear();
            }
        } else if !transaction.open.is_empty() {
            match transaction.fate() {
                Fate::Applied => return self.end_applied(out, id),
                Fate::Unknown => {
                    let timeout = transaction.timeout();
                    return self.end_transaction(out, id, Err(timeout));
                }
                Fate::NotApplied => {}
            }
        }
        match found {
            Found::TooFew => {}
            Found::InProgress(proposal) if !self.config.is_planted(Planted::InProgressIgnored) => {
                self.propose(out, id, ballot, proposal, Purpose::Finish);
            }
            Found::InProgress(_) => {
                let nodes = self.promised(id);
                self.decide(out, id, ballot, nodes, None, true, false);
            }
            Found::Lacking(_) | Found::Ready { sealed: false, .. } if waits && !self.is_decided_at_once(id, &found) => {
                self.be_patient(out, id);
            }
            Found::Lacking(last) if self.config.is_planted(Planted::StaleCommitTrusted) => {
                let Some(transaction) = self.transactions.all.get(&id) else { return };
                let Stage::Preparing { promises, .. } = &transaction.stage else { return };
                let lacks = |promised: &Promised| promised.committed.as_ref() != Some(&last);
                let lacking = promises.iter().filter(|(_, promised)| lacks(promised));
                let nodes = lacking.map(|(node, _)| *node).collect();
                self.decide(out, id, ballot, nodes, Some(last.value), true, false);
            }
            Found::Lacking(last) => self.commit(out, id, &last, AfterCommit::PrepareAgain),
            Found::Ready { nodes, last, sealed } => self.decide(out, id, ballot, nodes, last, sealed, waits),
        }
    }

    /// True when more promises would change nothing: a write is proposed as soon as it is known what it is.
    fn is_decided_at_once(&self, id: RequestId, found: &Found) -> bool {
        let transaction = self.transactions.all.get(&id);
        matches!(found, Found::Ready { .. })
            && transaction.is_some_and(|transaction| matches!(transaction.work, Work::Write { .. }))
    }

    /// Waits a moment for promises beyond a quorum.
    fn be_patient(&mut self, out: &mut Out<'_>, id: RequestId) {
        let Some(transaction) = self.transactions.all.get_mut(&id) else { return };
        if let Stage::Preparing { patient_until, .. } = &mut transaction.stage
            && patient_until.is_none()
        {
            let until = out.now.monotonic + self.config.promises_wait;
            *patient_until = Some(until);
            self.wake_transaction(id, until);
        }
    }

    /// Decides by what these replicas hold, which is everything that was committed.
    #[expect(clippy::too_many_arguments, reason = "what the promises say")]
    fn decide(
        &mut self,
        out: &mut Out<'_>,
        id: RequestId,
        ballot: Ballot,
        nodes: Vec<NodeId>,
        last: Option<Proposal>,
        sealed: bool,
        waits: bool,
    ) {
        let Some(transaction) = self.transactions.all.get(&id) else { return };
        let Stage::Preparing { command, .. } = &transaction.stage else { return };
        let command = command.clone();
        let read = match agreed(&command, &transaction.data_of(&nodes)) {
            Ok(read) => read,
            Err(index) => return self.distrust(out, id, nodes[index]),
        };
        let outcome = match &transaction.work {
            Work::Read { .. } => Outcome::Read(read.into_agreed(&command)),
            Work::Write { write, token, .. } => {
                let decision = self.decision(write, read, ballot, out.now.wall);
                match self.conclusion(write, *token, decision) {
                    Conclusion::Propose(mutation, remembered) => {
                        let history = last.as_ref().map(Proposal::history_after).unwrap_or_default();
                        let base = last.map(|last| last.origin);
                        let proposal = Proposal { origin: ballot, history, mutation: Some(mutation), remembered };
                        if let Some(transaction) = self.transactions.all.get_mut(&id)
                            && transaction.open.is_empty()
                        {
                            transaction.base = base;
                        }
                        return self.propose(out, id, ballot, proposal, Purpose::Own);
                    }
                    Conclusion::Answer(result) => Outcome::Written(result),
                }
            }
        };
        if sealed {
            return self.end_with(out, id, outcome);
        }
        if waits {
            return self.be_patient(out, id);
        }
        // L5: what is older and hidden can not be chosen any more once this is accepted.
        let history = last.as_ref().map(|last| last.history.clone()).unwrap_or_default();
        let proposal = Proposal { origin: ballot, history, mutation: None, remembered: None };
        self.propose(out, id, ballot, proposal, Purpose::Seal(outcome));
    }

    /// What is to be proposed for a write that was decided on so; else what its client is told. E2: with a token
    /// whatever it came to is proposed, without a change too.
    fn conclusion(
        &self,
        write: &ConditionalWrite,
        token: Option<RetryToken>,
        decision: Result<Option<Mutation>, Result<ConditionalResult, RequestError>>,
    ) -> Conclusion {
        let of_token = |outcome| token.map(|token| Remembered { token, outcome });
        let unchanged = || {
            let (table, partition) = (write.table().id, write.partition().clone());
            Arc::new(Mutation { table, partition, records: Vec::new() })
        };
        let refusals = token.is_some() && !self.config.is_planted(Planted::RefusalNotChosen);
        match decision {
            Ok(Some(mutation)) => Conclusion::Propose(Arc::new(mutation), of_token(retry::Outcome::Done)),
            Ok(None) if token.is_some() => Conclusion::Propose(unchanged(), of_token(retry::Outcome::Done)),
            Ok(None) => Conclusion::Answer(Ok(Response::Conditional(write.applied()))),
            Err(Ok(refusal)) if refusals => {
                Conclusion::Propose(unchanged(), of_token(retry::Outcome::refused(refusal)))
            }
            Err(Ok(refusal)) => Conclusion::Answer(Ok(Response::Conditional(refusal))),
            Err(Err(RequestError::Invalid(message))) if refusals => {
                Conclusion::Propose(unchanged(), of_token(retry::Outcome::Invalid(message)))
            }
            Err(Err(error)) => Conclusion::Answer(Err(error)),
        }
    }

    /// The change that a write makes of what was read, if it makes one; else its refusal, or its error.
    fn decision(
        &self,
        write: &ConditionalWrite,
        read: Merged,
        ballot: Ballot,
        now: WallMicros,
    ) -> Result<Option<Mutation>, Result<ConditionalResult, RequestError>> {
        let timestamp = i64::try_from(ballot.round).unwrap_or(i64::MAX);
        match write.decide(&read.static_row, &read.rows, now, timestamp).map_err(Err)? {
            Decision::Refuse(refusal) => Err(Ok(refusal)),
            Decision::Apply(write) => {
                let mut mutation = write.mutation(timestamp, now).map_err(Err)?;
                if write.counts() {
                    let broken = |error| RequestError::Server(format!("a counter cannot be read: {error}"));
                    let mut present = read.into_present();
                    mutation =
                        present.take(&mutation, counter::AGREED, timestamp).map_err(|error| Err(broken(error)))?;
                }
                if let Some(table) = self.view.schema.table(mutation.table) {
                    check_indexed_values(table, &mutation).map_err(Err)?;
                }
                Ok((!mutation.records.is_empty()).then_some(mutation))
            }
        }
    }

    /// What a replica promised does not make sense.
    fn distrust(&mut self, out: &mut Out<'_>, id: RequestId, node: NodeId) {
        let Some(transaction) = self.transactions.all.get_mut(&id) else { return };
        if let Stage::Preparing { promises, .. } = &mut transaction.stage {
            promises.remove(&node);
        }
        transaction.awaited.insert(node);
        self.lose_acceptor(out, id, node, FailureReason::Unknown);
    }

    // ---- Proposals ----

    fn propose(&mut self, out: &mut Out<'_>, id: RequestId, ballot: Ballot, proposal: Proposal, purpose: Purpose) {
        let Some(transaction) = self.transactions.all.get(&id) else { return };
        let awaited: BTreeSet<NodeId> =
            transaction.acceptors.iter().copied().filter(|node| self.is_alive(*node)).collect();
        if self.new_stage(id, Stage::Proposing { ballot, proposal, purpose, accepted: BTreeSet::new() }).is_some() {
            if let Some(transaction) = self.transactions.all.get_mut(&id) {
                transaction.awaited = awaited;
            }
            self.ask_acceptors(out, id);
        }
    }

    /// Acts on a proposal that a quorum has accepted.
    fn on_accepted(&mut self, out: &mut Out<'_>, id: RequestId) {
        let Some(transaction) = self.transactions.all.get_mut(&id) else { return };
        let short = usize::from(self.config.is_planted(Planted::ChosenByOneLess));
        match &transaction.stage {
            Stage::Proposing { accepted, .. } if accepted.len() + short >= transaction.quorum => {}
            _ => return,
        }
        let Stage::Proposing { ballot, proposal: value, purpose, .. } =
            std::mem::replace(&mut transaction.stage, Stage::Waiting)
        else {
            return;
        };
        match purpose {
            Purpose::Seal(outcome) => self.end_with(out, id, outcome),
            Purpose::Own => {
                transaction.open.push(ballot);
                self.commit(out, id, &Accepted { ballot, value }, AfterCommit::End);
            }
            Purpose::Finish => {
                let is_own = transaction.open.contains(&value.origin) || transaction.is_named_by(&value);
                let then = if is_own { AfterCommit::End } else { AfterCommit::PrepareAgain };
                self.commit(out, id, &Accepted { ballot, value }, then);
            }
        }
    }

    /// Merges a change that was chosen on all replicas, as any write; the transaction waits for a quorum, or for as
    /// many as its client wants.
    fn commit(&mut self, out: &mut Out<'_>, id: RequestId, chosen: &Accepted<Proposal>, then: AfterCommit) {
        let view = self.view.clone();
        let Some(transaction) = self.transactions.all.get_mut(&id) else { return };
        let Some(mutation) = chosen.value.mutation.clone() else { return self.prepare(out, id) };
        if transaction.is_named_by(&chosen.value) {
            transaction.remembered = chosen.value.remembered.as_ref().map(|remembered| remembered.outcome.clone());
        }
        let changes = !mutation.records.is_empty();
        let consistency = match (&transaction.work, then) {
            (Work::Write { consistency, .. }, AfterCommit::End) => *consistency,
            _ => commit_level(transaction.serial),
        };
        let (table, deadline) = (transaction.table.clone(), transaction.deadline);
        let (keyspace, token) = (&table.keyspace, transaction.partition.token);
        let replicas = view.holders(keyspace, token);
        let quorum = match Quorum::of_write(&self.config, &view, keyspace, consistency, token) {
            Ok(quorum) => quorum,
            Err(_) => {
                let timeout = transaction.timeout();
                return self.end_transaction(out, id, Err(timeout));
            }
        };
        if let Some(op) = transaction.op.take() {
            self.transactions.by_op.remove(&op);
        }
        transaction.awaited.clear();
        let write = self.ops.next();
        transaction.stage = Stage::Committing { write, then };
        let mut op = WriteOp::new(id, mutation, consistency, replicas, quorum, deadline);
        op.purpose = WritePurpose::Commit(Arc::new(chosen.value.commit(chosen.ballot)));
        // However late it is committed, deletions after it may be purged when it is older than the grace.
        let made = WallMicros(i64::try_from(chosen.value.origin.round).unwrap_or(i64::MAX)).clamped_seconds();
        let age = out.now.wall.clamped_seconds().saturating_sub(made);
        op.grace_seconds = Some(table.options.gc_grace_seconds.saturating_sub(age));
        self.writes_unanswered += 1;
        self.write_bytes += op.bytes;
        self.timers.set(Timer::Write(write), deadline);
        self.wake_transaction(id, deadline);
        self.send_write(out, write, op, replicas);
        if let Some(op) = self.writes.get_mut(&write) {
            let verdict = op.verdict();
            self.on_verdict(out, write, verdict);
        }
        if consistency == Consistency::Any || (!changes && then == AfterCommit::End) {
            // What is chosen is decided: who asks for no more is answered.
            self.on_committed(out, id, Ok(Response::Written));
        }
    }

    /// The write that merges a chosen change was acknowledged, or was not.
    pub(super) fn on_committed(&mut self, out: &mut Out<'_>, id: RequestId, result: Result<Response, RequestError>) {
        let Some(transaction) = self.transactions.all.get_mut(&id) else { return };
        let Stage::Committing { then, .. } = transaction.stage else { return };
        if let Stage::Committing { write, .. } = std::mem::replace(&mut transaction.stage, Stage::Waiting)
            && let Some(write) = self.writes.get_mut(&write)
            && write.forget_request()
        {
            self.writes_unanswered -= 1;
        }
        match (then, result) {
            (AfterCommit::End, Ok(_)) => {
                let outcome = Outcome::Written(transaction.answer());
                self.end_with(out, id, outcome);
            }
            (AfterCommit::End, Err(error)) => self.end_transaction(out, id, Err(error)),
            (AfterCommit::PrepareAgain, Ok(_)) => self.prepare(out, id),
            (AfterCommit::PrepareAgain, Err(_)) => {
                transaction.contentions = transaction.contentions.saturating_add(1);
                self.pause(out, id);
            }
        }
    }

    // ---- Ends ----

    /// An own change was chosen, if not by this attempt: it is merged as widely as the client wants.
    fn end_applied(&mut self, out: &mut Out<'_>, id: RequestId) {
        let Some(transaction) = self.transactions.all.get(&id) else { return };
        let Stage::Preparing { promises, .. } = &transaction.stage else { return };
        let committed = promises.values().filter_map(|promised| promised.committed.as_ref());
        let own = committed.filter(|committed| transaction.open.contains(&committed.value.origin));
        match own.max_by_key(|own| own.ballot).cloned() {
            Some(own) => self.commit(out, id, &own, AfterCommit::End),
            // What followed it was proposed when a quorum had it.
            None => {
                let outcome = Outcome::Written(transaction.answer());
                self.end_with(out, id, outcome);
            }
        }
    }

    /// What the request came to is recorded: the client is told, once its change is merged as widely as it wants.
    fn end_recorded(&mut self, out: &mut Out<'_>, id: RequestId, outcome: retry::Outcome) {
        let Some(transaction) = self.transactions.all.get_mut(&id) else { return };
        transaction.remembered = Some(outcome);
        match transaction.last_if_own() {
            Some(own) => self.commit(out, id, &own, AfterCommit::End),
            // What followed it was proposed when a quorum had it.
            None => {
                let outcome = Outcome::Written(transaction.answer());
                self.end_with(out, id, outcome);
            }
        }
    }

    /// Those that have promised.
    fn promised(&self, id: RequestId) -> Vec<NodeId> {
        match self.transactions.all.get(&id).map(|transaction| &transaction.stage) {
            Some(Stage::Preparing { promises, .. }) => promises.keys().copied().collect(),
            _ => Vec::new(),
        }
    }

    fn end_with(&mut self, out: &mut Out<'_>, id: RequestId, outcome: Outcome) {
        match outcome {
            Outcome::Written(result) => self.end_write_transaction(out, id, result),
            Outcome::Read(agreed) => self.end_transaction(out, id, Ok(agreed)),
        }
    }

    /// Ends a transaction with an error; L6.
    fn fail_transaction(&mut self, out: &mut Out<'_>, id: RequestId, error: RequestError) {
        let Some(transaction) = self.transactions.all.get(&id) else { return };
        let error = if transaction.is_open() { transaction.timeout() } else { error };
        self.end_transaction(out, id, Err(error));
    }

    fn end_write_transaction(&mut self, out: &mut Out<'_>, id: RequestId, result: Result<Response, RequestError>) {
        if self.forget_transaction(id).is_some() {
            self.reply(out, id, result);
        }
    }

    fn forget_transaction(&mut self, id: RequestId) -> Option<Box<Transaction>> {
        let transaction = self.transactions.remove(id)?;
        if let Some(timer) = transaction.timer {
            self.timers.cancel(Timer::Transaction(id), timer);
        }
        if let Stage::Committing { write, .. } = &transaction.stage
            && let Some(write) = self.writes.get_mut(write)
            && write.forget_request()
        {
            self.writes_unanswered -= 1;
        }
        Some(transaction)
    }

    fn end_transaction(&mut self, out: &mut Out<'_>, id: RequestId, result: Result<Agreed, RequestError>) {
        let Some(transaction) = self.forget_transaction(id) else { return };
        match (transaction.work, result) {
            (Work::Write { .. }, Err(error)) => self.reply(out, id, Err(error)),
            // A write ends with a response.
            (Work::Write { .. }, Ok(_)) => {}
            (Work::Read { piece, .. }, result) => {
                if let Some(select) = self.selects.get_mut(&piece.request) {
                    select.answered(piece, result);
                }
                self.go_on(out, piece.request);
            }
        }
    }

    /// A read ends before its transaction does.
    pub(super) fn cancel_transaction(&mut self, id: RequestId) {
        let _ = self.forget_transaction(id);
    }

    // ---- Time and views ----

    pub(super) fn on_transaction_timer(&mut self, out: &mut Out<'_>, id: RequestId) {
        let now = out.now.monotonic;
        let Some(transaction) = self.transactions.all.get_mut(&id) else { return };
        transaction.timer = None;
        if transaction.deadline <= now {
            match &transaction.stage {
                // The write ends with its own deadline, and the transaction with it.
                Stage::Committing { then: AfterCommit::End, .. } => return,
                _ => {
                    let timeout = transaction.timeout();
                    return self.end_transaction(out, id, Err(timeout));
                }
            }
        }
        match &transaction.stage {
            Stage::Committing { .. } => self.wake_transaction(id, Instant(u64::MAX)),
            Stage::Waiting => {
                // One that is not the first in its queue waits for those before it.
                self.wake_transaction(id, Instant(u64::MAX));
                self.prepare(out, id);
            }
            Stage::Preparing { patient_until, promises, .. } => {
                let enough = promises.len() >= transaction.quorum;
                if enough && patient_until.is_some_and(|until| until <= now) {
                    self.wake_transaction(id, now + self.config.refusal_retry_after);
                    self.on_promises(out, id, true);
                } else {
                    self.ask_acceptors(out, id);
                }
            }
            Stage::Proposing { .. } => self.ask_acceptors(out, id),
        }
    }

    /// The view has changed: a transaction whose acceptors are others now begins again.
    pub(super) fn replan_transaction(&mut self, out: &mut Out<'_>, id: RequestId) {
        let Some(transaction) = self.transactions.all.get(&id) else { return };
        let data_center = self.serial_data_center(transaction.serial);
        let (keyspace, token) = (&transaction.table.keyspace, transaction.partition.token);
        let now = acceptors(&self.view, keyspace, token, data_center.as_deref());
        let asks = matches!(transaction.stage, Stage::Preparing { .. } | Stage::Proposing { .. });
        if !asks || (now == transaction.acceptors && check_table(&self.view, &transaction.table).is_ok()) {
            return;
        }
        if let Some(transaction) = self.transactions.all.get_mut(&id)
            && let Stage::Proposing { ballot, purpose: Purpose::Own, .. } = &transaction.stage
        {
            let ballot = *ballot;
            transaction.open.push(ballot);
        }
        self.prepare(out, id);
    }

    /// The transactions in flight.
    pub(super) fn transaction_ids(&self) -> Vec<RequestId> {
        self.transactions.all.keys().copied().collect()
    }
}

/// What replicas hold, merged.
struct Merged {
    static_row: Row,
    rows: Vec<(Bytes, Row)>,
    deletions: PartitionDeletions,
    end: Option<Bytes>,
    bytes: usize,
    tombstones: u32,
}

/// Merges what replicas that are at the same change hold.
///
/// # Errors
/// The index of an answer with a row that is not one.
fn agreed(command: &ReadCommand, data: &[&model::ReadData]) -> Result<Merged, usize> {
    let purge = command.purge();
    let merged = reconcile(&Asked::by(command, &purge), data)?;
    let bytes = merged.rows.len() * 64;
    let tombstones = data.iter().map(|data| data.tombstones).max().unwrap_or(0);
    let deletions = data.iter().fold(PartitionDeletions::default(), |merged, own| merged.merge(&own.deletions));
    Ok(Merged { static_row: merged.static_row, rows: merged.rows, deletions, end: merged.end, bytes, tombstones })
}

impl Merged {
    /// The counters among it.
    fn into_present(self) -> Present {
        let rows = self.rows.into_iter().map(|(clustering, row)| (Some(clustering), row));
        Present { deletions: self.deletions, rows: rows.chain([(None, self.static_row)]).collect() }
    }

    fn into_agreed(self, command: &ReadCommand) -> Agreed {
        let partitions = vec![AgreedPartition::of(&command.partition, &self.static_row, &self.rows)];
        let end = self.end.map(|last| within(command, last));
        Agreed { partitions, end, bytes: self.bytes, tombstones: self.tombstones, ..Agreed::default() }
    }
}

#[cfg(test)]
#[path = "transactions_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "checklist_tests.rs"]
mod checklist_tests;
