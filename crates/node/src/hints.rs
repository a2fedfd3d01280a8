//! Delivery of hints: the writes that were kept for a replica that missed them. Shard 0 delivers for its
//! node; every shard writes hints.
//!
//! ```text
//!              due and reachable            hints found             all acknowledged
//!  Waiting ------------------------> Reading ------------> Delivering ----------------> forget them, Reading
//!     ^  ^                              |                       |
//!     |  |     none found, fresh ones   |                       | refused, late or unreachable:
//!     |  +------------------------------+                       | forget those acknowledged
//!     |                                 | none found            v
//!     |                                 +--> (no target)     Waiting, twice as long as before
//!     +---- a hint was written
//! ```
//! Invariants (`docs/protocol/hints.md`):
//! * H1: a hint is forgotten only once its target has acknowledged it, or every present replica has if the
//!   target is none any more, or its table is gone, or its time is over (H5), or it was refused as invalid, or the
//!   operator discards it.
//! * H2: hints of a target are forgotten in their order: nothing behind one that is not acknowledged.
//! * H3: what is in memory is bounded: a page for each of a few targets.
//! * H5: no hint is sent that was kept for as long as its table's grace: a deletion made since may have been
//!   purged by its target, and what the hint brings would come back (CASSANDRA-5314, 12982).

use model::{Instant, Mutation, NodeId, Planted};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::config::ShardConfig;
use crate::io::{OpId, WritePurpose};
use crate::storage::{Hint, HintPosition};
use crate::timers::Timers;

/// Targets that are read or delivered to at one time.
const ACTIVE_TARGETS_MAX: usize = 16;

/// Doublings of the pause after failures in a row.
const BACKOFF_DOUBLINGS_MAX: u32 = 6;

/// Halvings of what may be on its way to a target: enough to get from any configuration to one hint at a time.
const HALVINGS_MAX: u32 = usize::BITS - 1;

/// Something to be done for hints.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum HintAction {
    /// Send a hint.
    Send { to: NodeId, op: OpId, mutation: Arc<Mutation>, purpose: WritePurpose },
    /// Remove from storage.
    Forget { target: NodeId, through: HintPosition },
    /// Read from storage.
    Read { target: NodeId, after: Option<HintPosition> },
}

/// Who is to get a hint now.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// The node that it was written for.
    Target,
    /// That node owns the partition no more: those that do.
    Replicas(Vec<NodeId>),
    /// Nobody: the table is gone, or the hint has outlived the grace.
    Nobody,
}

#[derive(Debug)]
enum Progress {
    Unsent,
    /// Sent to these, which have not acknowledged.
    Sent(OpId, Vec<NodeId>),
    /// Refused for now.
    Refused,
    Done,
}

#[derive(Debug)]
struct Delivery {
    position: HintPosition,
    hint: Hint,
    progress: Progress,
}

/// True once a hint must not be delivered any more, since deletions after it may be purged: after the grace of its
/// table, as it is now or was when the write was made. A table without grace keeps none.
pub(crate) fn is_outlived(hint: &Hint, gc_grace_seconds: u32, now_seconds: u32) -> bool {
    now_seconds.saturating_sub(hint.written_seconds) >= gc_grace_seconds.min(hint.grace_seconds)
}

/// Some hints of a target.
#[derive(Debug)]
struct Page {
    hints: Vec<Delivery>,
    /// The first that is not sent.
    next: usize,
    outstanding: usize,
    /// True once one was refused: no more are sent, and when those on their way are answered the delivery ends.
    refused: bool,
}

#[derive(Debug)]
enum State {
    /// Until its timer fires and the target is reachable.
    Waiting,
    /// Storage was asked.
    Reading,
    /// Until its timer fires, the delivery has failed.
    Delivering(Page),
}

#[derive(Debug)]
struct Target {
    state: State,
    /// When its timer is set.
    timer: Option<Instant>,
    /// Deliveries that failed in a row.
    failures: u32,
    /// Halvings of what may be on its way at one time, since it was more than the target takes on.
    halvings: u32,
    /// True when a hint was written since storage was last asked.
    fresh: bool,
}

/// How many bytes may be sent now: a second's worth at most, and less by what was sent.
#[derive(Debug, Default)]
struct Throttle {
    /// Negative after a hint that was larger than what was left.
    allowance: i64,
    since: Instant,
    /// Targets with hints that wait, and until when.
    waiting: BTreeSet<NodeId>,
    until: Option<Instant>,
}

impl Throttle {
    /// Takes `bytes` if anything is left; else when something will be.
    fn take(&mut self, bytes: usize, now: Instant, config: &ShardConfig) -> Result<(), Instant> {
        let Some(per_second) = config.hints.bytes_per_second else { return Ok(()) };
        let second = i64::try_from(per_second.get()).unwrap_or(i64::MAX);
        let gained = u128::from(per_second.get()) * (now - self.since).as_micros() / 1_000_000;
        if gained > 0 {
            self.allowance = self.allowance.saturating_add(i64::try_from(gained).unwrap_or(i64::MAX)).min(second);
            self.since = now;
        }
        if self.allowance > 0 {
            self.allowance -= i64::try_from(bytes).unwrap_or(i64::MAX);
            return Ok(());
        }
        let lacking = u64::try_from(1 - self.allowance).unwrap_or(1);
        let micros = u128::from(lacking) * 1_000_000 / u128::from(per_second.get());
        Err(now + Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX).max(1_000)))
    }
}

/// Hints by target.
#[derive(Debug)]
pub(crate) struct Hints {
    targets: BTreeMap<NodeId, Target>,
    timers: Timers<NodeId>,
    /// Questions to storage.
    reads: BTreeMap<OpId, NodeId>,
    /// Hints on their way: the target whose page they are in, and where.
    sent: BTreeMap<OpId, (NodeId, usize)>,
    active: usize,
    throttle: Throttle,
    /// Hints acknowledged.
    pub(crate) delivered: u64,
    /// Hints that nobody could be given.
    pub(crate) discarded: u64,
}

impl Hints {
    /// With the targets that storage has hints for, all due at `now`.
    pub(crate) fn new(targets: &[NodeId], now: Instant) -> Hints {
        let mut hints = Hints {
            targets: BTreeMap::new(),
            timers: Timers::new(),
            reads: BTreeMap::new(),
            sent: BTreeMap::new(),
            active: 0,
            throttle: Throttle { since: now, ..Throttle::default() },
            delivered: 0,
            discarded: 0,
        };
        targets.iter().for_each(|target| hints.note(*target, now));
        hints
    }

    /// Targets that have, or may have, hints.
    pub(crate) fn targets(&self) -> usize {
        self.targets.len()
    }

    /// When it must be woken; never only for targets that are not reachable.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        [self.timers.first(), self.throttle.until].into_iter().flatten().min()
    }

    /// A target to which some may be sent again, if there is one.
    pub(crate) fn throttled_due(&mut self, now: Instant) -> Option<NodeId> {
        self.throttle.until.filter(|until| *until <= now)?;
        let target = self.throttle.waiting.pop_first();
        if self.throttle.waiting.is_empty() {
            self.throttle.until = None;
        }
        target
    }

    /// Sends nothing more: what is on its way is waited for, and what waits waits.
    pub(crate) fn hold(&mut self, now: Instant, config: &ShardConfig) -> Vec<HintAction> {
        let mut idle = Vec::new();
        for (target, entry) in &mut self.targets {
            if let State::Delivering(page) = &mut entry.state {
                page.refused = true;
                idle.extend((page.outstanding == 0).then_some(*target));
            }
        }
        idle.into_iter().flat_map(|target| self.give_up(target, now, config)).collect()
    }

    /// The hints of `target` are no more.
    pub(crate) fn discard(&mut self, target: NodeId, now: Instant, config: &ShardConfig) {
        match self.targets.get(&target).map(|entry| &entry.state) {
            // What storage answers is of before.
            Some(State::Reading) => {
                self.reads.retain(|_, of| *of != target);
                self.pause(target, now, config);
            }
            // What was delivered of them need not be forgotten by itself.
            Some(State::Delivering(_)) => drop(self.give_up(target, now, config)),
            Some(State::Waiting) | None => {}
        }
    }

    fn set_timer(&mut self, target: NodeId, at: Option<Instant>) {
        let Some(entry) = self.targets.get_mut(&target) else { return };
        if let Some(old) = entry.timer.take() {
            self.timers.cancel(target, old);
        }
        entry.timer = at;
        if let Some(at) = at {
            self.timers.set(target, at);
        }
    }

    /// There are or may be hints for `target`: looks at `at`, or when it is due anyway.
    pub(crate) fn note(&mut self, target: NodeId, at: Instant) {
        if let Some(known) = self.targets.get_mut(&target) {
            known.fresh = true;
            return;
        }
        self.targets
            .insert(target, Target { state: State::Waiting, timer: None, failures: 0, halvings: 0, fresh: true });
        self.set_timer(target, Some(at));
    }

    /// `target` has become reachable: what waits for it need not wait longer.
    pub(crate) fn reachable(&mut self, target: NodeId, now: Instant) {
        if let Some(Target { state: State::Waiting, failures, .. }) = self.targets.get_mut(&target) {
            *failures = 0;
            self.set_timer(target, Some(now));
        }
    }

    /// The targets that wait without a timer: they were not reachable when they were due.
    pub(crate) fn stranded(&self) -> Vec<NodeId> {
        let stranded =
            |(_, target): &(&NodeId, &Target)| matches!(target.state, State::Waiting) && target.timer.is_none();
        self.targets.iter().filter(stranded).map(|(node, _)| *node).collect()
    }

    /// Fires a timer that is due: begins to read, or gives a delivery up.
    pub(crate) fn wake(
        &mut self,
        now: Instant,
        config: &ShardConfig,
        is_reachable: impl Fn(NodeId) -> bool,
    ) -> Option<Vec<HintAction>> {
        let target = self.timers.pop_due(now)?;
        let Some(entry) = self.targets.get_mut(&target) else { return Some(Vec::new()) };
        entry.timer = None;
        match entry.state {
            State::Waiting if !is_reachable(target) => Some(Vec::new()),
            State::Waiting if self.active >= ACTIVE_TARGETS_MAX => {
                self.set_timer(target, Some(now + Duration::from_millis(100)));
                Some(Vec::new())
            }
            State::Waiting => {
                (entry.state, entry.fresh) = (State::Reading, false);
                self.active += 1;
                Some(vec![HintAction::Read { target, after: None }])
            }
            State::Reading => Some(Vec::new()),
            State::Delivering(_) => Some(self.give_up(target, now, config)),
        }
    }

    /// Storage was asked for hints of `target` as `op`.
    pub(crate) fn reading(&mut self, op: OpId, target: NodeId) {
        self.reads.insert(op, target);
    }

    /// Storage answered a question: the target, if the question was one.
    pub(crate) fn on_page(
        &mut self,
        op: OpId,
        hints: Vec<(HintPosition, Hint)>,
        now: Instant,
        config: &ShardConfig,
    ) -> Option<NodeId> {
        let target = self.reads.remove(&op)?;
        let entry = self.targets.get_mut(&target)?;
        if hints.is_empty() {
            self.active -= 1;
            entry.state = State::Waiting;
            if entry.fresh {
                self.set_timer(target, Some(now + config.hint_backoff));
            } else {
                self.targets.remove(&target);
            }
            return None;
        }
        let unsent = |(position, hint)| Delivery { position, hint, progress: Progress::Unsent };
        let page = Page { hints: hints.into_iter().map(unsent).collect(), next: 0, outstanding: 0, refused: false };
        entry.state = State::Delivering(page);
        self.set_timer(target, Some(now + config.hint_timeout));
        Some(target)
    }

    /// Storage could not answer.
    pub(crate) fn on_read_failed(&mut self, op: OpId, now: Instant, config: &ShardConfig) -> bool {
        let Some(target) = self.reads.remove(&op) else { return false };
        self.pause(target, now, config);
        true
    }

    /// Sends as many hints of `target` as may be on their way, and goes on to the next page when all are done.
    pub(crate) fn pump(
        &mut self,
        target: NodeId,
        now: Instant,
        config: &ShardConfig,
        route: impl Fn(&Hint) -> Route,
        mut next_op: impl FnMut() -> OpId,
    ) -> Vec<HintAction> {
        let mut actions = Vec::new();
        let Some(entry) = self.targets.get_mut(&target) else { return actions };
        let Target { state: State::Delivering(page), fresh, failures, halvings, .. } = entry else { return actions };
        page.refused |= config.hints.paused;
        if page.refused {
            return if page.outstanding == 0 { self.give_up(target, now, config) } else { actions };
        }
        let in_flight_max = (config.hints_in_flight_max >> *halvings).max(1);
        while page.next < page.hints.len() && page.outstanding < in_flight_max {
            let index = page.next;
            let hint = &mut page.hints[index];
            if let Err(until) = self.throttle.take(hint.hint.mutation.bytes(), now, config) {
                self.throttle.waiting.insert(target);
                self.throttle.until = Some(until);
                if page.outstanding == 0 {
                    self.set_timer(target, Some(until + config.hint_timeout));
                }
                return actions;
            }
            page.next += 1;
            let (nodes, purpose) = match route(&hint.hint) {
                Route::Target => (vec![target], WritePurpose::Hint),
                Route::Replicas(nodes) => (nodes, WritePurpose::Client),
                Route::Nobody => (Vec::new(), WritePurpose::Hint),
            };
            if nodes.is_empty() {
                hint.progress = Progress::Done;
                self.discarded += 1;
                continue;
            }
            let op = next_op();
            for to in &nodes {
                actions.push(HintAction::Send {
                    to: *to,
                    op,
                    mutation: hint.hint.mutation.clone(),
                    purpose: purpose.clone(),
                });
            }
            if config.is_planted(Planted::HintForgottenUnacknowledged) {
                hint.progress = Progress::Done;
                continue;
            }
            hint.progress = Progress::Sent(op, nodes);
            self.sent.insert(op, (target, index));
            page.outstanding += 1;
        }
        if page.outstanding == 0 && page.next == page.hints.len() {
            let through = page.hints.last().expect("a page is not empty").position;
            *failures = 0;
            *halvings = halvings.saturating_sub(1);
            *fresh = false;
            self.targets.entry(target).and_modify(|entry| entry.state = State::Reading);
            self.set_timer(target, None);
            actions.push(HintAction::Forget { target, through });
            actions.push(HintAction::Read { target, after: Some(through) });
        }
        actions
    }

    /// `from` has the hint sent as `op`, or will never take it (`discard`). The target whose page goes on, if
    /// `op` is a hint.
    pub(crate) fn on_acknowledged(
        &mut self,
        op: OpId,
        from: NodeId,
        discard: bool,
        now: Instant,
        config: &ShardConfig,
    ) -> Option<NodeId> {
        let (target, index) = *self.sent.get(&op)?;
        let Some(Target { state: State::Delivering(page), .. }) = self.targets.get_mut(&target) else { return None };
        let hint = &mut page.hints[index];
        let Progress::Sent(_, awaited) = &mut hint.progress else { return None };
        awaited.retain(|node| *node != from);
        if !awaited.is_empty() {
            return None;
        }
        hint.progress = Progress::Done;
        page.outstanding -= 1;
        self.sent.remove(&op);
        self.delivered += u64::from(!discard);
        self.discarded += u64::from(discard);
        // As long as some arrive the target is given time for the others.
        self.set_timer(target, Some(now + config.hint_timeout));
        Some(target)
    }

    /// The hint sent as `op` was refused for now; `None` if `op` is no hint. A refusal is faster than an
    /// acknowledgement, which waits for the disk: those before it may have been taken, so they are waited for;
    /// and less is sent at a time from then on. Else a target that takes on less than is sent would never get on.
    pub(crate) fn on_refused(&mut self, op: OpId, now: Instant, config: &ShardConfig) -> Option<Vec<HintAction>> {
        let (target, index) = self.sent.remove(&op)?;
        let Some(entry) = self.targets.get_mut(&target) else { return Some(Vec::new()) };
        let Target { state: State::Delivering(page), halvings, .. } = entry else { return Some(Vec::new()) };
        page.hints[index].progress = Progress::Refused;
        page.outstanding -= 1;
        if !std::mem::replace(&mut page.refused, true) {
            *halvings = (*halvings + 1).min(HALVINGS_MAX);
        }
        Some(if page.outstanding == 0 { self.give_up(target, now, config) } else { Vec::new() })
    }

    /// Nothing gets through to `node` for now.
    pub(crate) fn on_unreachable(&mut self, node: NodeId, now: Instant, config: &ShardConfig) -> Vec<HintAction> {
        let waits_for = |entry: &Target| match &entry.state {
            State::Delivering(page) => page
                .hints
                .iter()
                .any(|hint| matches!(&hint.progress, Progress::Sent(_, awaited) if awaited.contains(&node))),
            State::Waiting | State::Reading => false,
        };
        let stuck: Vec<NodeId> =
            self.targets.iter().filter(|(_, entry)| waits_for(entry)).map(|(target, _)| *target).collect();
        stuck.into_iter().flat_map(|target| self.give_up(target, now, config)).collect()
    }

    /// The delivery to `target` failed: forgets what is acknowledged and begins again later.
    fn give_up(&mut self, target: NodeId, now: Instant, config: &ShardConfig) -> Vec<HintAction> {
        let Some(Target { state: State::Delivering(page), .. }) = self.targets.get_mut(&target) else {
            return Vec::new();
        };
        for hint in &page.hints {
            if let Progress::Sent(op, _) = &hint.progress {
                self.sent.remove(op);
            }
        }
        let done = page.hints.iter().take_while(|hint| matches!(hint.progress, Progress::Done));
        let mut through = done.last().map(|hint| hint.position);
        if config.is_planted(Planted::HintPageForgotten) {
            through = page.hints.last().map(|hint| hint.position);
        }
        if let (Some(_), Some(entry)) = (through, self.targets.get_mut(&target)) {
            // Slow, but it gets on.
            entry.failures = 0;
        }
        self.pause(target, now, config);
        through.map(|through| HintAction::Forget { target, through }).into_iter().collect()
    }

    fn pause(&mut self, target: NodeId, now: Instant, config: &ShardConfig) {
        let Some(entry) = self.targets.get_mut(&target) else { return };
        entry.state = State::Waiting;
        let pause = config.hint_backoff.saturating_mul(1 << entry.failures.min(BACKOFF_DOUBLINGS_MAX));
        entry.failures = entry.failures.saturating_add(1);
        self.active -= 1;
        self.set_timer(target, Some(now + pause));
    }
}

#[cfg(test)]
#[path = "hints_tests.rs"]
mod tests;
