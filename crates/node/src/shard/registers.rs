//! The registers of this replica: carries out what coordinators ask of them, one step of a partition after the other.
//!
//! ```text
//!  request --> queue of its partition --> register loaded --> prepare: record synced, and partition read --> answer
//!                                                         |            with a token its outcome looked up
//!                                                         |-> propose: record synced ----------------------> answer
//!                                                         '-> commit:  change merged and synced -----------> answer
//!                                                                      record synced
//! ```
//! Invariants:
//! * Of the steps of one partition one at a time is under way: what a promise says of the register and what was read
//!   with it are of one moment, but for changes that arrive as hints or repairs; a promise beside one of those is
//!   taken back.
//! * L1 and L3 of [`crate::register`], E1 and E3 of [`crate::retry`].

use super::{Out, Shard};
use crate::config::Durability;
use crate::io::{Message, OpId, Refusal, StorageRequest};
use crate::register::{Commit, PaxosAnswer, PaxosRequest, PaxosStep, Promised, Proposal, Register};
use crate::retry::{Outcome, removed_before, removed_before_key};
use bytes::Bytes;
use model::local::{outcome_key, register_key};
use model::{Mutation, NodeId, Planted, ReadCommand, ReadData, RetryToken, TableId};
use paxos::{Accepted, Ballot};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// A partition of a table.
type Place = (TableId, Bytes);

/// Whom to answer, and the id by which the coordinator knows the request.
#[derive(Clone, Copy, Debug)]
struct Asker {
    node: NodeId,
    op: OpId,
}

/// Something to do with a register.
#[derive(Debug)]
enum Step {
    Prepare { asker: Asker, ballot: Ballot, command: Arc<ReadCommand>, token: Option<RetryToken> },
    Propose { asker: Asker, ballot: Ballot, proposal: Proposal },
    Commit { asker: Asker, commit: Arc<Commit>, mutation: Arc<Mutation> },
}

/// What is under way.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one for each register at work, nearly always while it promises")]
enum Stage {
    Idle,
    /// The register is being read.
    Loading,
    /// A promise is being synced and the partition is being read.
    Promising {
        asker: Asker,
        ballot: Ballot,
        /// What was accepted and committed before.
        before: (Option<Accepted<Proposal>>, Option<Accepted<Proposal>>),
        synced: bool,
        data: Option<ReadData>,
        /// A hint or a repair has arrived meanwhile.
        disturbed: bool,
        look_up: LookUp,
    },
    /// A proposal is being synced.
    Accepting {
        asker: Asker,
    },
    /// A change is being merged.
    Merging {
        asker: Asker,
        commit: Arc<Commit>,
        mutation: Arc<Mutation>,
    },
    /// That it is merged is being synced.
    Remembering,
}

/// What is known of the outcome that a prepare asks for.
#[derive(Debug)]
enum LookUp {
    /// It is being looked for.
    Pending(RetryToken),
    /// What is recorded, if anything; nothing also when nothing was asked for.
    Known(Option<Outcome>),
}

#[derive(Debug)]
struct Work {
    /// `None` until it is loaded.
    register: Option<Register>,
    queue: VecDeque<Step>,
    stage: Stage,
}

/// What storage was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Load,
    Record,
    Merge,
    Read,
    /// What a request came to.
    Outcome,
    /// Up to which time that is forgotten.
    Forgotten,
}

/// The registers that something is done with.
#[derive(Debug, Default)]
pub(super) struct Registers {
    work: BTreeMap<Place, Work>,
    asked: BTreeMap<OpId, (Place, Asked)>,
}

impl Registers {
    /// A change of the partition arrives past its register.
    pub(super) fn disturb(&mut self, mutation: &Mutation) {
        if self.work.is_empty() {
            return;
        }
        let place = (mutation.table, mutation.partition.bytes.clone());
        if let Some(Work { stage: Stage::Promising { disturbed, .. }, .. }) = self.work.get_mut(&place) {
            *disturbed = true;
        }
    }
}

impl Shard {
    /// A coordinator asks for a step; the request is admitted and valid.
    pub(super) fn paxos_asked(&mut self, out: &mut Out<'_>, from: NodeId, op: OpId, request: &PaxosRequest) {
        let asker = Asker { node: from, op };
        let step = match request.step.clone() {
            PaxosStep::Prepare { ballot, command, token } => Step::Prepare { asker, ballot, command, token },
            PaxosStep::Propose { ballot, proposal } => Step::Propose { asker, ballot, proposal },
        };
        self.take_step(out, (request.table, request.partition.bytes.clone()), step);
    }

    /// A change was chosen: it is to be merged and remembered. It is admitted and valid.
    pub(super) fn commit_asked(
        &mut self,
        out: &mut Out<'_>,
        from: NodeId,
        op: OpId,
        mutation: Arc<Mutation>,
        commit: Arc<Commit>,
    ) {
        let place = (mutation.table, mutation.partition.bytes.clone());
        self.take_step(out, place, Step::Commit { asker: Asker { node: from, op }, commit, mutation });
    }

    fn take_step(&mut self, out: &mut Out<'_>, place: Place, step: Step) {
        self.replica.steps += 1;
        let fresh = || Work { register: None, queue: VecDeque::new(), stage: Stage::Idle };
        let work = self.registers.work.entry(place.clone()).or_insert_with(fresh);
        work.queue.push_back(step);
        if matches!(work.stage, Stage::Idle) {
            self.go_on_with_register(out, place);
        }
    }

    /// Begins the next steps of a partition, until one is under way or none is left.
    fn go_on_with_register(&mut self, out: &mut Out<'_>, place: Place) {
        while let Some(work) = self.registers.work.get_mut(&place) {
            if work.register.is_none() && !work.queue.is_empty() {
                work.stage = Stage::Loading;
                let key = register_key(place.0, &place.1);
                return self.ask_for_register(out, place, Asked::Load, StorageRequest::ReadLocal { key });
            }
            let (Some(register), Some(step)) = (&mut work.register, work.queue.pop_front()) else {
                self.registers.work.remove(&place);
                return;
            };
            match step {
                Step::Prepare { asker, ballot, command, token } => {
                    let before = register.state();
                    match register.prepare(ballot) {
                        Err(by) => self.answer_step(out, asker, PaxosAnswer::Preempted { by }),
                        Ok(()) => {
                            let record = register.record(place.0, &place.1);
                            let (synced, data, disturbed) = (false, None, false);
                            let token = token.filter(|_| !self.config.is_planted(Planted::OutcomeNotAsked));
                            let look_up = token.map_or(LookUp::Known(None), LookUp::Pending);
                            work.stage = Stage::Promising { asker, ballot, before, synced, data, disturbed, look_up };
                            self.ask_for_register(out, place.clone(), Asked::Record, StorageRequest::Local(record));
                            if let Some(token) = token {
                                let key = outcome_key(token, place.0, &place.1);
                                let read = StorageRequest::ReadLocal { key };
                                self.ask_for_register(out, place.clone(), Asked::Outcome, read);
                            }
                            return self.ask_for_register(out, place, Asked::Read, StorageRequest::Read(command));
                        }
                    }
                }
                Step::Propose { asker, ballot, proposal } => match register.accept(ballot, proposal) {
                    Err(by) => self.answer_step(out, asker, PaxosAnswer::Preempted { by }),
                    Ok(()) => {
                        let record = register.record(place.0, &place.1);
                        work.stage = Stage::Accepting { asker };
                        if self.config.is_planted(Planted::AcceptedUnsynced) {
                            self.answer_step(out, asker, PaxosAnswer::Accepted);
                        }
                        return self.ask_for_register(out, place, Asked::Record, StorageRequest::Local(record));
                    }
                },
                Step::Commit { asker, commit, .. } if register.has_committed(commit.ballot) => {
                    self.replica.steps -= 1;
                    self.send(out, asker.node, Message::Written { ops: vec![asker.op] });
                }
                Step::Commit { asker, commit, mutation } if mutation.records.is_empty() => {
                    // There is nothing to merge.
                    return self.remember(out, place, asker, &commit, mutation);
                }
                Step::Commit { asker, commit, mutation } => {
                    self.counters.replica_writes += 1;
                    work.stage = Stage::Merging { asker, commit, mutation: mutation.clone() };
                    return self.ask_for_register(out, place, Asked::Merge, StorageRequest::Apply(mutation));
                }
            }
        }
    }

    fn ask_for_register(&mut self, out: &mut Out<'_>, place: Place, asked: Asked, request: StorageRequest) {
        let op = self.store(out, request);
        self.registers.asked.insert(op, (place, asked));
    }

    /// The step that was under way, or was refused at once, is over.
    fn answer_step(&mut self, out: &mut Out<'_>, asker: Asker, answer: PaxosAnswer) {
        self.replica.steps = self.replica.steps.saturating_sub(1);
        self.send(out, asker.node, Message::PaxosAnswered { op: asker.op, answer });
    }

    /// Every write up to `up_to` is durable; with `applied` only as far as the process lives.
    pub(super) fn registers_synced(&mut self, out: &mut Out<'_>, up_to: OpId, applied: bool) {
        if self.registers.asked.first_key_value().is_none_or(|(first, _)| *first > up_to) {
            return;
        }
        let merges_at_once = self.config.durability == Durability::Periodic;
        let is_durable = |asked: Asked| match asked {
            Asked::Record => !applied,
            // The record that follows it is synced behind it.
            Asked::Merge => !applied || merges_at_once,
            Asked::Load | Asked::Read | Asked::Outcome | Asked::Forgotten => false,
        };
        let durable: Vec<OpId> = self
            .registers
            .asked
            .range(..=up_to)
            .filter_map(|(op, (_, asked))| is_durable(*asked).then_some(*op))
            .collect();
        for op in durable {
            let Some((place, _)) = self.registers.asked.remove(&op) else { continue };
            self.register_written(out, place);
        }
    }

    /// The record of a register, or the change that it commits, is durable.
    fn register_written(&mut self, out: &mut Out<'_>, place: Place) {
        let Some(work) = self.registers.work.get_mut(&place) else { return };
        match std::mem::replace(&mut work.stage, Stage::Idle) {
            Stage::Promising { asker, ballot, before, data, disturbed, look_up, .. } => {
                work.stage = Stage::Promising { asker, ballot, before, synced: true, data, disturbed, look_up };
                self.promise(out, place);
            }
            Stage::Accepting { asker } => {
                if !self.config.is_planted(Planted::AcceptedUnsynced) {
                    self.answer_step(out, asker, PaxosAnswer::Accepted);
                }
                self.go_on_with_register(out, place);
            }
            Stage::Merging { asker, commit, mutation } => self.remember(out, place, asker, &commit, mutation),
            Stage::Remembering => self.go_on_with_register(out, place),
            stage @ (Stage::Idle | Stage::Loading) => work.stage = stage,
        }
    }

    /// A change is merged here: that, and what the request came to that made it, is recorded in one write (E1).
    fn remember(&mut self, out: &mut Out<'_>, place: Place, asker: Asker, commit: &Commit, mutation: Arc<Mutation>) {
        let Some(work) = self.registers.work.get_mut(&place) else { return };
        work.stage = Stage::Remembering;
        let Some(register) = &mut work.register else { return };
        register.commit(commit, mutation);
        let mut record = register.record(place.0, &place.1);
        if let Some(remembered) = &commit.remembered {
            record.records.push(remembered.record(place.0, &place.1));
        }
        self.replica.steps -= 1;
        self.send(out, asker.node, Message::Written { ops: vec![asker.op] });
        self.ask_for_register(out, place, Asked::Record, StorageRequest::Local(record));
    }

    /// A record was read: of a register, or of what a request came to.
    pub(super) fn register_loaded(&mut self, out: &mut Out<'_>, op: OpId, value: Option<&Bytes>) {
        let Some((place, asked)) = self.registers.asked.remove(&op) else { return };
        match asked {
            Asked::Outcome => return self.outcome_loaded(out, place, value),
            Asked::Forgotten => return self.forgotten_loaded(out, place, value),
            Asked::Load | Asked::Record | Asked::Merge | Asked::Read => {}
        }
        let Some(work) = self.registers.work.get_mut(&place) else { return };
        match Register::of_record(value) {
            Ok(register) => {
                work.register = Some(register);
                work.stage = Stage::Idle;
                self.go_on_with_register(out, place);
            }
            Err(_) => self.refuse_steps(out, &place, Refusal::Storage),
        }
    }

    /// What the request of a prepare came to was looked up. If it is not recorded it may have been forgotten: that is
    /// looked up next, since both are of one write.
    fn outcome_loaded(&mut self, out: &mut Out<'_>, place: Place, value: Option<&Bytes>) {
        let Some(work) = self.registers.work.get_mut(&place) else { return };
        let Stage::Promising { look_up, .. } = &mut work.stage else { return };
        match value.map(Outcome::of_record) {
            Some(Ok(outcome)) => {
                *look_up = LookUp::Known(Some(outcome));
                self.promise(out, place);
            }
            Some(Err(_)) => self.fail_step(out, place, Refusal::Storage),
            None => {
                let read = StorageRequest::ReadLocal { key: removed_before_key() };
                self.ask_for_register(out, place, Asked::Forgotten, read);
            }
        }
    }

    /// E3: what is not recorded did not happen here, unless it is so old that it is forgotten.
    fn forgotten_loaded(&mut self, out: &mut Out<'_>, place: Place, value: Option<&Bytes>) {
        let Some(work) = self.registers.work.get_mut(&place) else { return };
        let Stage::Promising { look_up, .. } = &mut work.stage else { return };
        let LookUp::Pending(token) = *look_up else { return };
        let trusts = self.config.is_planted(Planted::ForgottenTrusted);
        match removed_before(value) {
            Ok(before) if trusts || before.is_none_or(|before| token.time() >= before) => {
                *look_up = LookUp::Known(None);
                self.promise(out, place);
            }
            Ok(_) => self.fail_step(out, place, Refusal::Invalid),
            Err(_) => self.fail_step(out, place, Refusal::Storage),
        }
    }

    /// The partition of a prepare was read.
    pub(super) fn register_read(&mut self, out: &mut Out<'_>, op: OpId, read: ReadData) {
        let Some((place, _)) = self.registers.asked.remove(&op) else { return };
        if let Some(Work { stage: Stage::Promising { data, .. }, .. }) = self.registers.work.get_mut(&place) {
            *data = Some(read);
            self.promise(out, place);
        }
    }

    /// True when storage was asked for this on behalf of a register.
    pub(super) fn is_of_register(&self, op: OpId) -> bool {
        self.registers.asked.contains_key(&op)
    }

    /// Answers a prepare once its promise is durable and the partition is read.
    fn promise(&mut self, out: &mut Out<'_>, place: Place) {
        let Some(work) = self.registers.work.get_mut(&place) else { return };
        let answer = match &mut work.stage {
            Stage::Promising {
                asker,
                ballot,
                before,
                synced: true,
                data,
                disturbed,
                look_up: LookUp::Known(outcome),
            } if data.is_some() => {
                let (accepted, committed) = std::mem::take(before);
                let (data, outcome) = (data.take().unwrap_or_default(), outcome.take());
                let promised = Promised { accepted, committed, data, outcome };
                match disturbed {
                    true => (*asker, PaxosAnswer::Preempted { by: *ballot }),
                    false => (*asker, PaxosAnswer::Promised(Box::new(promised))),
                }
            }
            _ => return,
        };
        work.stage = Stage::Idle;
        self.answer_step(out, answer.0, answer.1);
        self.go_on_with_register(out, place);
    }

    /// Storage failed what it was asked for on behalf of a register: what is in memory may be ahead of the disk, so it
    /// is read anew.
    pub(super) fn register_failed(&mut self, out: &mut Out<'_>, op: OpId, reason: Refusal) {
        let Some((place, asked)) = self.registers.asked.remove(&op) else { return };
        if asked == Asked::Load {
            self.registers.asked.retain(|_, (other, _)| *other != place);
            return self.refuse_steps(out, &place, reason);
        }
        self.fail_step(out, place, reason);
    }

    /// The step that is under way is refused, and what is in memory is forgotten.
    fn fail_step(&mut self, out: &mut Out<'_>, place: Place, reason: Refusal) {
        self.registers.asked.retain(|_, (other, _)| *other != place);
        let Some(work) = self.registers.work.get_mut(&place) else { return };
        work.register = None;
        let asker = match std::mem::replace(&mut work.stage, Stage::Idle) {
            Stage::Promising { asker, .. } | Stage::Accepting { asker } | Stage::Merging { asker, .. } => Some(asker),
            Stage::Idle | Stage::Loading | Stage::Remembering => None,
        };
        if let Some(asker) = asker {
            self.replica.steps = self.replica.steps.saturating_sub(1);
            self.send(out, asker.node, Message::Refused { op: asker.op, reason });
        }
        self.go_on_with_register(out, place);
    }

    /// Refuses everything that waits for a register that cannot be read.
    fn refuse_steps(&mut self, out: &mut Out<'_>, place: &Place, reason: Refusal) {
        let Some(work) = self.registers.work.remove(place) else { return };
        for step in work.queue {
            let (Step::Prepare { asker, .. } | Step::Propose { asker, .. } | Step::Commit { asker, .. }) = step;
            self.replica.steps -= 1;
            self.send(out, asker.node, Message::Refused { op: asker.op, reason });
        }
    }
}

#[cfg(test)]
#[path = "registers_tests.rs"]
mod tests;
