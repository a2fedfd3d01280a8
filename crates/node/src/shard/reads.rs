//! Reads at their coordinator: carries out what [`Select`] and [`Round`] decide.

use super::{Out, Shard, Timer, check_table};
use crate::coordinator::quorum::Quorum;
use crate::coordinator::round::{Agreed, Ask, AskedOf, Held, Round, RoundStep};
use crate::coordinator::select::{PieceId, Select, SelectStep};
use crate::io::{Message, OpId, RequestId, Response, WritePurpose};
use bytes::Bytes;
use model::limits::PAGE_BYTES_MAX;
use model::speculation::SpeculativeRetry;
use model::{Consistency, Instant, NodeId, Now, Planted, RequestError};
use query::{BoundRead, PageLimits, ReadSource, ResultBuilder};
use std::sync::Arc;
use std::time::Duration;

/// A spare replica is never asked sooner: timers are no finer.
const SPECULATION_MIN: Duration = Duration::from_millis(1);

/// How a round ends.
#[derive(Debug)]
pub(super) enum RoundEnd {
    /// With an answer, or without.
    Of(Result<Agreed, RequestError>),
    /// Other replicas hold parts of its range now.
    Moved,
}

impl Shard {
    /// Takes on a read.
    #[expect(clippy::too_many_arguments, reason = "the fields of a request")]
    pub(super) fn begin_select(
        &mut self,
        now: Now,
        id: RequestId,
        read: Arc<BoundRead>,
        consistency: Consistency,
        page_rows: u32,
        paging_state: Option<&Bytes>,
        deadline: Instant,
    ) -> Result<(), RequestError> {
        consistency.check_read()?;
        if consistency.is_serial() && !matches!(read.source(), ReadSource::Partitions(keys) if keys.len() <= 1) {
            let message = "SERIAL/LOCAL_SERIAL consistency may only be requested for one partition at a time";
            return Err(RequestError::Invalid(message.to_owned()));
        }
        check_table(&self.view, read.table())?;
        if self.read_bytes > self.config.request_bytes_max {
            return Err(RequestError::Overloaded(format!("{} bytes of answers are in flight", self.read_bytes)));
        }
        let limits = PageLimits { rows: page_rows, bytes: PAGE_BYTES_MAX as u32 };
        let builder = ResultBuilder::start(&read, paging_state, limits, now.wall.clamped_seconds())?;
        // Who does not page must get everything at once.
        let yield_at = (page_rows < u32::MAX).then(|| now.monotonic + (deadline - now.monotonic) / 2);
        let mut select = Select::new(id, read, consistency, deadline, yield_at, now, &self.config, builder)?;
        if self.config.is_planted(Planted::RangeDropped) {
            select.drop_resumed_range(&self.view);
        }
        if self.config.is_planted(Planted::PageRepeatsRow) {
            select.repeat_row();
        }
        self.selects.insert(id, Box::new(select));
        Ok(())
    }

    /// Lets a read go on with what it has got, until it waits or ends.
    pub(super) fn go_on(&mut self, out: &mut Out<'_>, id: RequestId) {
        while let Some(select) = self.selects.get_mut(&id) {
            let step = select.step(&self.view, out.now.monotonic);
            let bytes = select.held_bytes();
            self.read_bytes = self.read_bytes - select.counted_bytes + bytes;
            select.counted_bytes = bytes;
            match step {
                SelectStep::Wait => return,
                SelectStep::Ask(piece, question) => {
                    let (table, consistency, deadline) =
                        (select.read.table().clone(), select.consistency, select.deadline);
                    if consistency.is_serial() {
                        // It is no round: a transaction answers for the piece.
                        select.asked(piece, OpId(0));
                        if let Err(error) = self.begin_serial(piece, question, table, consistency, deadline) {
                            return self.end_select(out, id, |_| Err(error));
                        }
                        return;
                    }
                    let op = self.ops.next();
                    let round = Round::new(piece, table, question, consistency, op, deadline, &self.config);
                    self.timers.set(Timer::Round(op), round.timer);
                    let ended = self.drive_round(out, op, Box::new(round), RoundStep::Begin);
                    self.note_end(out, piece, ended);
                }
                SelectStep::Finish { exhausted } => return self.end_select(out, id, |select| select.finish(exhausted)),
                SelectStep::Fail(error) => return self.end_select(out, id, |_| Err(error)),
            }
        }
    }

    /// A read ends, with those of its rounds that are on their way.
    fn end_select(
        &mut self,
        out: &mut Out<'_>,
        id: RequestId,
        result: impl FnOnce(Select) -> Result<Response, RequestError>,
    ) {
        let Some(select) = self.selects.remove(&id) else { return };
        self.read_bytes -= select.counted_bytes;
        self.cancel_transaction(id);
        select.rounds().into_iter().for_each(|op| self.cancel_round(op));
        let result = result(*select);
        self.reply(out, id, result);
    }

    fn cancel_round(&mut self, op: OpId) {
        if let Some(mut round) = self.rounds.remove(&op) {
            self.forget_round(op, &mut round);
        }
    }

    /// Nothing of a round that was known as `op` is left behind.
    fn forget_round(&mut self, op: OpId, round: &mut Round) {
        self.read_bytes -= round.counted_bytes;
        self.timers.cancel(Timer::Round(op), round.timer);
        self.forget_repairs(round);
    }

    fn note_end(&mut self, out: &mut Out<'_>, piece: PieceId, ended: Option<RoundEnd>) {
        let Some(select) = self.selects.get_mut(&piece.request) else {
            return self.on_present(out, piece.request, ended);
        };
        match ended {
            None => {}
            Some(RoundEnd::Of(result)) => select.answered(piece, result),
            Some(RoundEnd::Moved) => {
                let rounds = select.rounds();
                let replanned = select.replan();
                rounds.into_iter().for_each(|op| self.cancel_round(op));
                if let Err(error) = replanned {
                    self.end_select(out, piece.request, |_| Err(error));
                }
            }
        }
    }

    /// Lets a round decide on something that happened to it, if it is still there.
    pub(super) fn with_round(&mut self, out: &mut Out<'_>, op: OpId, decide: impl FnOnce(&mut Round) -> RoundStep) {
        let Some(mut round) = self.rounds.remove(&op) else { return };
        let (step, piece) = (decide(&mut round), round.piece);
        if let Some(ended) = self.drive_round(out, op, round, step) {
            self.note_end(out, piece, Some(ended));
            self.go_on(out, piece.request);
        }
    }

    /// Carries out what a round decided, until it waits or ends. It was known, and its timer set, as `known_as`.
    pub(super) fn drive_round(
        &mut self,
        out: &mut Out<'_>,
        known_as: OpId,
        mut round: Box<Round>,
        mut step: RoundStep,
    ) -> Option<RoundEnd> {
        loop {
            match step {
                RoundStep::Wait => break,
                RoundStep::Ask(asks) => {
                    self.counters.spares_asked += asks.len() as u64;
                    self.ask(out, &mut round, asks);
                    break;
                }
                RoundStep::AskAnew(asks) => {
                    self.counters.digest_mismatches += 1;
                    round.op = self.ops.next();
                    self.ask(out, &mut round, asks);
                    break;
                }
                RoundStep::Begin => {
                    round.op = self.ops.next();
                    match self.candidates(&round, out.now.monotonic) {
                        Ok(Some((candidates, quorum))) => {
                            let is_calm = !self.is_overloaded(out.now.monotonic);
                            let asks = round.begin(candidates, quorum, is_calm, out.now.monotonic);
                            self.ask(out, &mut round, asks);
                            break;
                        }
                        Ok(None) => {
                            self.forget_round(known_as, &mut round);
                            return Some(RoundEnd::Moved);
                        }
                        Err(error) => step = RoundStep::End(Err(error)),
                    }
                }
                RoundStep::Repair(sends) => {
                    self.counters.read_repairs += sends.len() as u64;
                    for (node, mutation) in sends {
                        let op = self.ops.next();
                        self.read_repairs.insert(op, round.op);
                        round.on_repair_sent(node, op);
                        self.send(out, node, Message::Write { op, mutation, purpose: WritePurpose::ReadRepair });
                    }
                    self.expect_answers(out, &mut round);
                    step = round.after_repairs_sent();
                }
                RoundStep::End(result) => {
                    if let (Ok(_), Some(begun_at)) = (&result, round.begun_at.filter(|_| round.is_of_partition())) {
                        let latencies = self.latencies.entry(round.table.id).or_default();
                        latencies.note(out.now.monotonic - begun_at);
                    }
                    self.forget_round(known_as, &mut round);
                    return Some(RoundEnd::Of(result));
                }
            }
        }
        self.keep_round(known_as, round);
        None
    }

    /// Keeps a round that waits.
    fn keep_round(&mut self, known_as: OpId, mut round: Box<Round>) {
        if !round.is_repairing() {
            self.forget_repairs(&mut round);
        }
        let bytes = round.held_bytes();
        self.read_bytes = self.read_bytes - round.counted_bytes + bytes;
        round.counted_bytes = bytes;
        let wake_at = round.wake_at();
        if (known_as, round.timer) != (round.op, wake_at) {
            self.timers.cancel(Timer::Round(known_as), round.timer);
            self.timers.set(Timer::Round(round.op), wake_at);
            round.timer = wake_at;
        }
        if known_as != round.op
            && let Some(select) = self.selects.get_mut(&round.piece.request)
        {
            select.asked(round.piece, round.op);
        }
        self.rounds.insert(round.op, round);
    }

    fn ask(&mut self, out: &mut Out<'_>, round: &mut Round, asks: Vec<Ask>) {
        for Ask { node, digest } in asks {
            self.send(out, node, round.question.message(round.op, digest));
        }
        self.expect_answers(out, round);
    }

    /// Has the round woken when other replicas should be asked.
    fn expect_answers(&self, out: &Out<'_>, round: &mut Round) {
        let delay = match (round.is_retrying(), round.has_spares()) {
            (true, _) => Some(self.config.peer_response_after),
            (false, true) if !self.is_overloaded(out.now.monotonic) => self.speculation(round),
            (false, _) => None,
        };
        round.attempt_at = delay.map(|delay| out.now.monotonic + delay);
    }

    /// How long an answer is waited for before a spare replica is asked: of a partition as its table says, of a range,
    /// whose answers take as long as they are large, as the node is configured. `None` for as long as it takes.
    fn speculation(&self, round: &Round) -> Option<Duration> {
        let usual = self.config.peer_response_after;
        let latencies = self.latencies.get(&round.table.id);
        let percentile = |of| latencies.and_then(|latencies| latencies.percentile(of)).unwrap_or(usual);
        match round.table.options.speculative_retry() {
            SpeculativeRetry::Never => None,
            // One was asked when the round began.
            SpeculativeRetry::Always => Some(usual),
            _ if !round.is_of_partition() => Some(usual),
            policy => policy.delay(percentile).map(|delay| delay.max(SPECULATION_MIN)),
        }
    }

    /// Data has come for a round.
    pub(super) fn on_held(&mut self, out: &mut Out<'_>, from: NodeId, op: OpId, held: Held) {
        let now = out.now.monotonic;
        self.note_latency(from, op, now);
        self.with_round(out, op, |round| round.on_data(from, held, now));
    }

    /// `node` answers a round, or is late: what is learned of it.
    pub(super) fn note_latency(&mut self, node: NodeId, op: OpId, now: Instant) {
        let round = self.rounds.get(&op).filter(|round| node != self.config.node && round.is_of_partition());
        if let Some(latency) = round.and_then(|round| round.awaited_for(node, now)) {
            self.replica_latencies.note(node, latency, now);
        }
    }

    fn forget_repairs(&mut self, round: &mut Round) {
        for op in round.repair_ops.drain(..) {
            self.read_repairs.remove(&op);
        }
    }

    /// The live replicas of a round whose answers count, in the order in which to ask them, and who must answer: this
    /// node first, then those of its data centre, then the others, each from a random one on, and those that have been
    /// slow lately last. `None` when not all of its range is held by the same ones any more.
    fn candidates(&mut self, round: &Round, now: Instant) -> Result<Option<(Vec<NodeId>, Quorum)>, RequestError> {
        let view = self.view.clone();
        check_table(&view, &round.table)?;
        let keyspace = &round.table.keyspace;
        let replicas = match round.question.asked_of() {
            AskedOf::Token(token) => view.replicas(keyspace, token),
            AskedOf::Range(range) => match view.part(keyspace, range) {
                Some((part, _)) if part.end < range.end => return Ok(None),
                Some((_, replicas)) => replicas,
                None => &[],
            },
        };
        let quorum = Quorum::new(&self.config, &view, keyspace, round.consistency, replicas)?;
        quorum.check_alive(round.consistency, |node| self.is_alive(node))?;
        let counts = |node: &NodeId| self.is_alive(*node) && quorum.counts(*node);
        let mut live: Vec<NodeId> = replicas.iter().copied().filter(counts).collect();
        if live.len() > 1 {
            let me = self.config.node;
            let first = self.rng.index(live.len());
            live.rotate_left(first);
            let is_remote = |node| view.spans_data_centers() && view.data_center(node) != view.data_center(me);
            let slow = self.replica_latencies.slow(&live, now);
            live.sort_by_key(|node| (*node != me, is_remote(*node), slow.contains(node)));
        }
        Ok(Some((live, quorum)))
    }

    pub(super) fn on_round_timer(&mut self, out: &mut Out<'_>, op: OpId) {
        let Some(round) = self.rounds.get(&op) else { return };
        let late = round.deadline <= out.now.monotonic;
        // The timer has fired: it is set anew wherever the round goes on.
        self.timers.set(Timer::Round(op), round.timer);
        let (now, awaited) = (out.now.monotonic, round.awaited().collect::<Vec<_>>());
        awaited.into_iter().for_each(|node| self.note_latency(node, op, now));
        self.with_round(out, op, |round| match late {
            true => RoundStep::End(Err(round.timeout())),
            false => round.on_attempt(now),
        });
    }

    /// The view has changed: a round whose replicas are others now begins again.
    pub(super) fn replan_round(&mut self, out: &mut Out<'_>, op: OpId) {
        let Some(round) = self.rounds.get(&op) else { return };
        let step = match check_table(&self.view, &round.table) {
            Err(error) => RoundStep::End(Err(error)),
            Ok(()) if round.is_repairing() => return,
            Ok(()) => {
                let keyspace = &round.table.keyspace;
                let same = match round.question.asked_of() {
                    AskedOf::Token(token) => round.rests_on(self.view.replicas(keyspace, token)),
                    AskedOf::Range(range) => {
                        let part = self.view.part(keyspace, range);
                        part.is_some_and(|(part, replicas)| part.end == range.end && round.rests_on(replicas))
                    }
                };
                if same && !round.is_retrying() {
                    return;
                }
                RoundStep::Begin
            }
        };
        self.with_round(out, op, |_| step);
    }
}

#[cfg(test)]
#[path = "reads_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "scans_tests.rs"]
mod scans_tests;

#[cfg(test)]
#[path = "data_centers_tests.rs"]
mod data_centers_tests;

#[cfg(test)]
#[path = "short_reads_tests.rs"]
mod short_reads_tests;

#[cfg(test)]
#[path = "paging_tests.rs"]
mod paging_tests;

#[cfg(test)]
#[path = "filtering_tests.rs"]
mod filtering_tests;

#[cfg(test)]
#[path = "speculation_tests.rs"]
mod speculation_tests;

#[cfg(test)]
#[path = "indexes_tests.rs"]
mod indexes_tests;
