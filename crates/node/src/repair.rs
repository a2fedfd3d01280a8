//! Anti-entropy repair: jobs that operators order and those that the node gives itself, one session at a time. Shard 0
//! repairs for its node. Pure: [`crate::Shard`] carries out what is decided here.
//!
//! ```text
//!   ordered ---> Waiting ---> Running: unit after unit, each a session ---> Succeeded, Failed or Cancelled
//!   due ------------^            a unit that fails does not stop the others
//! ```
//! A *unit* is a range of a table whose tokens have the same replicas ([`plan`]). One of these is responsible for it:
//! that one repairs it unasked, once within the time that the policy says.
//!
//! Invariants (`docs/protocol/repair.md`), besides those of [`session`] and [`repaired`]:
//! * A6: a range is recorded as repaired only by a session over all replicas that it has in the coordinator's view,
//!   whose data began to be read after the time that is recorded.
//! * A8: a node runs one session at a time; what waits and what is remembered is bounded.

use bytes::Bytes;
use membership::ClusterView;
use membership::replication::Phase;
use model::codec::CodecError;
use model::local::LocalWrite;
use model::schema::Table;
use model::{Compared, Instant, NodeId, Now, Planted, Rng, TableId, Token, TokenRange};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

pub mod history;
pub mod plan;
pub mod repaired;
pub(crate) mod session;

pub use self::history::{RangeFailure, RepairId, RepairReport, RepairState};
pub use self::session::{RepairFailure, RepairFigures};

use self::plan::{RepairUnit, units};
use self::repaired::{Repaired, RepairedThrough};
use self::session::{Asking, Session, SessionLimits};
use crate::config::{RepairPolicy, ShardConfig};
use crate::garbage::{CLOCK_SKEW_SECONDS, purge_of};
use crate::io::{OpId, Refusal};

/// Jobs that may wait; more are refused.
pub const JOBS_MAX: usize = 64;
/// Jobs that are remembered once they have ended.
pub const HISTORY_MAX: usize = 100;
/// Failures of a job that are told one by one.
const FAILURES_MAX: usize = 16;
/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_millis(500);
/// A unit that failed unasked is not tried again for so long, at least; at most a quarter of the time within which
/// everything is repaired.
const RETRY_AFTER: Duration = Duration::from_secs(10 * 60);
/// Chance in per mille that a node that looks for what is to be copied takes a range that another is responsible for.
const OTHERS_PER_MILLE: u64 = 100;

/// What an operator wants of repairs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RepairControl {
    /// Repair this.
    Order(RepairOrder),
    /// Go about it so, from now on.
    Policy(RepairPolicy),
    /// Stop this one, or do not begin it.
    Cancel(RepairId),
}

/// What to repair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepairOrder {
    /// Its name, chosen by who orders it.
    pub id: RepairId,
    /// The tables, in this order.
    pub tables: Vec<TableId>,
    /// The tokens; disjoint.
    pub ranges: Vec<TokenRange>,
    /// Only the replicas in these data centres take part; all if there are none. What not all have taken part in does
    /// not count as repaired.
    pub data_centers: BTreeSet<String>,
    /// Only find out what differs.
    pub preview: bool,
}

/// How repairs are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RepairsStatus {
    /// What the operator says of them.
    pub policy: RepairPolicy,
    /// Those that have ended, then the one that runs, then those that wait.
    pub reports: Vec<RepairReport>,
    /// What has been repaired of the ranges that the node holds.
    pub repaired: Arc<Repaired>,
}

/// What the shard is to do.
#[derive(Debug)]
pub(crate) enum RepairAction {
    /// Ask a replica.
    Ask { op: OpId, to: NodeId, asking: Asking },
    /// Write to the node's own records.
    Write(LocalWrite),
}

/// What a decision depends on.
#[derive(Clone, Copy)]
pub(crate) struct Surroundings<'a> {
    pub(crate) now: Now,
    pub(crate) config: &'a ShardConfig,
    pub(crate) view: &'a ClusterView,
    pub(crate) alive: &'a BTreeSet<NodeId>,
}

impl Surroundings<'_> {
    fn first_dead(&self, replicas: &[NodeId]) -> Option<NodeId> {
        let is_alive = |node: &&NodeId| **node == self.config.node || self.alive.contains(*node);
        replicas.iter().find(|node| !is_alive(node)).copied()
    }
}

impl RepairsStatus {
    /// That of a node that begins with this history.
    #[must_use]
    pub fn recovered(policy: &RepairPolicy, recovered: &RecoveredRepairs) -> RepairsStatus {
        RepairsStatus {
            policy: policy.clone(),
            reports: recovered.ended.clone(),
            repaired: Arc::new(recovered.repaired.clone()),
        }
    }
}

#[derive(Debug)]
struct Job {
    order: RepairOrder,
    report: RepairReport,
    units: VecDeque<RepairUnit>,
}

/// The repairs of a node.
#[derive(Debug)]
pub(crate) struct Repairs {
    policy: RepairPolicy,
    /// In their order; the first one runs.
    jobs: VecDeque<Job>,
    session: Option<Session>,
    /// The oldest first.
    ended: VecDeque<RepairReport>,
    repaired: Arc<Repaired>,
    /// Whether it is looked for what is due at all: by one shard of a node.
    looks: bool,
    /// When it is looked for what is due; `None` until something makes a difference.
    look_at: Option<Instant>,
    /// Units that failed unasked, and when they may be tried again.
    not_before: BTreeMap<(TableId, Token), Instant>,
    /// Something has changed since it was told.
    changed: bool,
    /// A change that is told at once: more than progress.
    urgent: bool,
    told_at: Instant,
}

impl Repairs {
    /// Those of a node with this history. Only shard 0 looks for what is due.
    pub(crate) fn new(config: &ShardConfig, recovered: &RecoveredRepairs, rng: &mut Rng, now: Instant) -> Repairs {
        let first = config.index == 0;
        // Even when nothing is repaired unasked: a change of replication may be under way.
        let look_at = first.then(|| now + after(config.repair_look_every, rng));
        Repairs {
            policy: config.repairs.clone(),
            jobs: VecDeque::new(),
            session: None,
            ended: if first { recovered.ended.iter().cloned().collect() } else { VecDeque::new() },
            repaired: Arc::new(if first { recovered.repaired.clone() } else { Repaired::default() }),
            looks: first,
            look_at,
            not_before: BTreeMap::new(),
            changed: false,
            urgent: false,
            told_at: now,
        }
    }

    /// When something is due.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let session = self.session.as_ref().filter(|_| !self.policy.paused);
        let session = session.and_then(|session| session.deadline());
        let tell = self.changed.then(|| if self.urgent { self.told_at } else { self.told_at + TELL_EVERY });
        [session, self.look_at, tell].into_iter().flatten().min()
    }

    /// True for a question that a session has asked.
    pub(crate) fn owns(&self, op: OpId) -> bool {
        self.session.as_ref().is_some_and(|session| session.owns(op))
    }

    /// Takes note of what the operator wants. What to write.
    pub(crate) fn control(&mut self, around: &Surroundings<'_>, control: RepairControl) -> Option<LocalWrite> {
        self.urgent();
        match control {
            RepairControl::Policy(policy) => {
                if let Some(session) = &mut self.session {
                    session.set_bytes_per_second(policy.bytes_per_second);
                }
                self.look_at = Some(around.now.monotonic + around.config.repair_look_every);
                self.policy = policy;
                None
            }
            RepairControl::Order(order) => {
                let known = |report: &RepairReport| report.id == order.id;
                if self.jobs.iter().map(|job| &job.report).chain(&self.ended).any(known) {
                    return None;
                }
                let report = report(around, &order, false);
                if self.jobs.len() >= JOBS_MAX {
                    let reason = format!("{JOBS_MAX} repairs wait already");
                    return Some(self.end(
                        around,
                        RepairReport { refused: Some(reason), ..report },
                        RepairState::Failed,
                    ));
                }
                self.jobs.push_back(Job { order, report, units: VecDeque::new() });
                None
            }
            RepairControl::Cancel(id) => {
                let index = self.jobs.iter().position(|job| job.report.id == id)?;
                let job = self.jobs.remove(index)?;
                if index == 0 {
                    self.stop_session(job.report, around, RepairState::Cancelled)
                } else {
                    Some(self.end(around, job.report, RepairState::Cancelled))
                }
            }
        }
    }

    fn stop_session(
        &mut self,
        mut report: RepairReport,
        around: &Surroundings<'_>,
        state: RepairState,
    ) -> Option<LocalWrite> {
        if let Some(session) = self.session.take() {
            report.figures = report.figures.and(session.figures);
        }
        Some(self.end(around, report, state))
    }

    /// The range of a table has been repaired, says the one who did it. What to write.
    pub(crate) fn record(&mut self, table: TableId, range: TokenRange, through: RepairedThrough) -> LocalWrite {
        self.changed = true;
        Arc::make_mut(&mut self.repaired).put(table, range, through)
    }

    /// What of a change of replication is not copied yet: the units of its keyspace with a part of this node that have
    /// not been repaired since the copying began.
    fn not_copied(&self, view: &ClusterView, own: NodeId) -> Vec<RepairUnit> {
        let running = view.replication_change.as_ref().filter(|running| running.phase == Phase::Copying);
        let Some(running) = running else { return Vec::new() };
        let Some(keyspace) = view.schema.keyspace(&running.keyspace) else { return Vec::new() };
        let all = keyspace.tables.values().flat_map(|table| units(view, table, TokenRange::ALL));
        let lacks = |unit: &RepairUnit| {
            let RepairUnit { table, range, replicas } = unit;
            replicas.len() > 1
                && replicas.contains(&own)
                && !self.repaired.is_since(*table, *range, replicas, running.since)
        };
        all.filter(lacks).collect()
    }

    /// True when this node holds everything that the running change of replication wants copied to it.
    pub(crate) fn is_copied(&self, view: &ClusterView, own: NodeId) -> bool {
        self.not_copied(view, own).is_empty()
    }

    /// The view has changed. What to write.
    pub(crate) fn on_view(&mut self, view: &ClusterView, now: Instant) -> Option<LocalWrite> {
        if is_copying(view) && self.looks {
            // What is to be copied is due at once.
            self.look_at = Some(now);
        }
        self.not_before.retain(|(table, _), _| view.schema.table(*table).is_some());
        let write = Arc::make_mut(&mut self.repaired).retain_tables(view.schema.tables());
        self.changed |= write.is_some();
        write
    }

    pub(crate) fn on_compared(&mut self, op: OpId, from: NodeId, page: Compared) {
        if let Some(session) = &mut self.session {
            session.on_compared(op, from, page);
            self.changed = true;
        }
    }

    pub(crate) fn on_written(&mut self, op: OpId, from: NodeId) {
        if let Some(session) = &mut self.session {
            session.on_written(op, from);
        }
    }

    pub(crate) fn on_refused(&mut self, around: &Surroundings<'_>, op: OpId, from: NodeId, refusal: Refusal) {
        let retry_at = around.now.monotonic + around.config.refusal_retry_after;
        let Some(session) = &mut self.session else { return };
        if let Err(failure) = session.on_refused(op, from, refusal, retry_at) {
            self.unit_ended(around, Some(failure));
        }
    }

    /// What is to be told to whoever wants to know, if it is time.
    pub(crate) fn tell(&mut self, now: Instant) -> Option<RepairsStatus> {
        if !self.changed || !self.urgent && now < self.told_at + TELL_EVERY {
            return None;
        }
        (self.changed, self.urgent, self.told_at) = (false, false, now);
        let mut reports: Vec<RepairReport> = self.ended.iter().cloned().collect();
        reports.extend(self.jobs.iter().map(|job| job.report.clone()));
        if let (Some(session), Some(first)) = (&self.session, reports.get_mut(self.ended.len())) {
            first.figures = first.figures.and(session.figures);
            first.at = Some((session.unit.table, session.unit.range, session.position()));
        }
        Some(RepairsStatus { policy: self.policy.clone(), reports, repaired: self.repaired.clone() })
    }

    fn urgent(&mut self) {
        (self.changed, self.urgent) = (true, true);
    }

    /// Goes on with what there is to do.
    pub(crate) fn pump(
        &mut self,
        around: &Surroundings<'_>,
        rng: &mut Rng,
        mut next_op: impl FnMut() -> OpId,
    ) -> Vec<RepairAction> {
        let mut actions = Vec::new();
        self.look(around, rng);
        loop {
            // Paused or not: who was away may have lost what it was compared with.
            if let Some(lost) = self.session.as_ref().and_then(|session| lost(around, &session.unit)) {
                self.unit_ended(around, Some(lost));
                continue;
            }
            if self.policy.paused {
                break;
            }
            let Some(session) = &mut self.session else {
                if self.begin(around, &mut actions) || self.look(around, rng) {
                    continue;
                }
                break;
            };
            let now = around.now.monotonic;
            let asked = session.late(now).and_then(|mut late| {
                late.extend(session.advance(now, &mut next_op)?);
                Ok(late)
            });
            match asked {
                Ok(asked) => {
                    let ended = session.has_ended();
                    actions.extend(asked.into_iter().map(|(op, to, asking)| RepairAction::Ask { op, to, asking }));
                    if !ended {
                        break;
                    }
                    self.unit_ended(around, None);
                }
                Err(failure) => self.unit_ended(around, Some(failure)),
            }
        }
        self.look(around, rng);
        actions
    }

    /// Begins the next session; false when there is nothing to do.
    fn begin(&mut self, around: &Surroundings<'_>, actions: &mut Vec<RepairAction>) -> bool {
        let Some(job) = self.jobs.front_mut() else { return false };
        if job.report.state == RepairState::Waiting {
            job.report.state = RepairState::Running;
            job.report.started_seconds = around.now.wall.clamped_seconds();
            if !job.report.automatic {
                job.units = planned(around.view, &job.order);
                if around.config.is_planted(Planted::RepairLeavesUnit) && job.units.len() > 1 {
                    job.units.pop_back();
                }
            }
            job.report.units = u32::try_from(job.units.len()).unwrap_or(u32::MAX);
            self.urgent();
            return true;
        }
        let Some(unit) = job.units.pop_front() else {
            let state = if job.report.failed > 0 { RepairState::Failed } else { RepairState::Succeeded };
            if let Some(job) = self.jobs.pop_front() {
                if job.report.automatic && is_copying(around.view) {
                    // Of another table there may be more to copy.
                    self.look_at = Some(around.now.monotonic);
                }
                actions.push(RepairAction::Write(self.end(around, job.report, state)));
            }
            return true;
        };
        let Some(table) = around.view.schema.table(unit.table) else {
            // Dropped meanwhile: there is nothing to repair.
            job.report.units_done += 1;
            return true;
        };
        // Whose clock a deletion was made by is not known.
        let seconds = around.now.wall.clamped_seconds().saturating_sub(CLOCK_SKEW_SECONDS);
        let purge = purge_of(table, around.now.wall.clamped_seconds());
        let counts = !job.order.preview && is_whole(around.view, table, &unit);
        let (replicas, epoch) = (unit.replicas.clone(), around.view.epoch);
        let through = counts.then_some(RepairedThrough { seconds, replicas, epoch });
        let limits = SessionLimits {
            page_bytes: around.config.repair_page_bytes,
            timeout: around.config.repair_timeout,
            bytes_per_second: self.policy.bytes_per_second,
        };
        let mut unit = unit;
        if around.config.is_planted(Planted::RepairSkipsReplica) && unit.replicas.len() > 2 {
            unit.replicas.pop();
        }
        self.session = Some(Session::new(unit, purge, job.order.preview, through, limits, around.config.bug()));
        true
    }

    /// The session has come to its end.
    fn unit_ended(&mut self, around: &Surroundings<'_>, failure: Option<RepairFailure>) {
        let (Some(session), Some(job)) = (self.session.take(), self.jobs.front_mut()) else { return };
        let Session { unit, figures, .. } = session;
        let report = &mut job.report;
        report.units_done += 1;
        report.figures = report.figures.and(figures);
        if let Some(failure) = failure {
            report.failed += 1;
            if report.failures.len() < FAILURES_MAX {
                let (table, range, reason) = (unit.table, unit.range, failure.to_string());
                report.failures.push(RangeFailure { table, range, reason });
            }
            if report.automatic {
                let longest = self.policy.every.map_or(RETRY_AFTER, |every| every / 4);
                let copying = around.view.replication_change.is_some();
                let longest = if copying { around.config.repair_look_every } else { longest };
                let at = around.now.monotonic + RETRY_AFTER.min(longest);
                self.not_before.insert((unit.table, unit.range.end), at);
            }
        }
        self.changed = true;
    }

    /// A job has ended. What to write.
    fn end(&mut self, around: &Surroundings<'_>, mut report: RepairReport, state: RepairState) -> LocalWrite {
        report.state = state;
        report.ended_seconds = around.now.wall.clamped_seconds();
        let mut write = LocalWrite::of(vec![report.record()]);
        self.ended.push_back(report);
        while self.ended.len() > HISTORY_MAX
            && let Some(oldest) = self.ended.pop_front()
        {
            write.records.push((oldest.record_key(), None));
        }
        self.urgent();
        write
    }

    /// Gives itself a job when a range is due for which this node is responsible: those of the table that has waited
    /// longest. False when it has none.
    fn look(&mut self, around: &Surroundings<'_>, rng: &mut Rng) -> bool {
        let now = around.now.monotonic;
        if self.look_at.is_none_or(|at| at > now) {
            return false;
        }
        let copying = is_copying(around.view);
        let next = now + after(around.config.repair_look_every, rng);
        self.look_at = (copying || self.policy.every.is_some()).then_some(next);
        self.not_before.retain(|_, at| *at > now);
        if self.policy.paused || !self.jobs.is_empty() {
            return false;
        }
        if self.copy(around, rng) {
            return true;
        }
        let Some(every) = self.policy.every else { return false };
        // Before its time, by a random part: nodes that were started together do not repair together for ever.
        let every = u32::try_from(every.as_secs()).unwrap_or(u32::MAX).max(1);
        let early = rng.below(u64::from(every / 4) + 1) as u32;
        let due = around.now.wall.clamped_seconds().saturating_sub(every - early);
        let mut oldest: Option<(u32, TableId, Vec<RepairUnit>)> = None;
        for table in around.view.schema.tables().values() {
            let mut of_table = units(around.view, table, TokenRange::ALL);
            let mut least = u32::MAX;
            of_table.retain(|unit| {
                let through = self.repaired.through(unit.table, unit.range, &unit.replicas);
                let is_due = unit.replicas.len() > 1
                    && through < due
                    && unit.responsible() == Some(around.config.node)
                    && !self.not_before.contains_key(&(unit.table, unit.range.end))
                    && around.first_dead(&unit.replicas).is_none();
                least = if is_due { least.min(through) } else { least };
                is_due
            });
            if !of_table.is_empty() && oldest.as_ref().is_none_or(|(through, ..)| least < *through) {
                oldest = Some((least, table.id, of_table));
            }
        }
        let Some((_, table, units)) = oldest else { return false };
        self.give_itself(around, rng, table, units);
        true
    }

    /// Gives itself what a change of replication wants copied and this node is responsible for, of one table; false
    /// when there is nothing that can be copied now.
    fn copy(&mut self, around: &Surroundings<'_>, rng: &mut Rng) -> bool {
        let own = around.config.node;
        let mut lacking = self.not_copied(around.view, own);
        lacking.retain(|unit| {
            !self.not_before.contains_key(&(unit.table, unit.range.end)) && around.first_dead(&unit.replicas).is_none()
        });
        let is_own = |unit: &RepairUnit| unit.responsible() == Some(own);
        if lacking.iter().any(is_own) {
            lacking.retain(is_own);
        } else if rng.chance(OTHERS_PER_MILLE) {
            // Who is responsible may have recorded a range in a session that failed before this node recorded it.
            lacking.truncate(1);
        } else {
            return false;
        }
        let Some(first) = lacking.first().map(|unit| unit.table) else { return false };
        lacking.retain(|unit| unit.table == first);
        self.give_itself(around, rng, first, lacking);
        true
    }

    /// A job of these units of a table that nobody has ordered.
    fn give_itself(&mut self, around: &Surroundings<'_>, rng: &mut Rng, table: TableId, units: Vec<RepairUnit>) {
        let order = RepairOrder {
            id: RepairId(rng.next_u128()),
            tables: vec![table],
            ranges: Vec::new(),
            data_centers: BTreeSet::new(),
            preview: false,
        };
        let report = report(around, &order, true);
        self.jobs.push_back(Job { order, report, units: units.into() });
        self.urgent();
    }
}

/// What is found of an earlier life.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveredRepairs {
    /// What has been repaired.
    pub repaired: Repaired,
    /// Jobs that have ended, the oldest first.
    pub ended: Vec<RepairReport>,
}

impl RecoveredRepairs {
    /// By the node's own records.
    ///
    /// # Errors
    /// When one of them is damaged.
    pub fn from_local_records(records: &[(Bytes, Bytes)]) -> Result<RecoveredRepairs, CodecError> {
        Ok(RecoveredRepairs {
            repaired: Repaired::from_local_records(records)?,
            ended: history::from_local_records(records)?,
        })
    }
}

/// About so long.
fn after(time: Duration, rng: &mut Rng) -> Duration {
    let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    Duration::from_micros(micros / 2 + rng.below(micros.max(1)))
}

fn report(around: &Surroundings<'_>, order: &RepairOrder, automatic: bool) -> RepairReport {
    let tables = order.tables.iter().filter_map(|id| around.view.schema.table(*id));
    RepairReport {
        id: order.id,
        automatic,
        preview: order.preview,
        tables: tables.map(|table| (table.keyspace.to_string(), table.name.clone())).collect(),
        data_centers: order.data_centers.iter().cloned().collect(),
        state: RepairState::Waiting,
        started_seconds: around.now.wall.clamped_seconds(),
        ended_seconds: 0,
        units: 0,
        units_done: 0,
        failed: 0,
        failures: Vec::new(),
        refused: None,
        figures: RepairFigures::default(),
        at: None,
    }
}

/// The units of an order. Those that have one replica have nothing to compare.
fn planned(view: &ClusterView, order: &RepairOrder) -> VecDeque<RepairUnit> {
    let takes_part =
        |node: &NodeId| order.data_centers.is_empty() || order.data_centers.contains(view.data_center(*node));
    let tables = order.tables.iter().filter_map(|id| view.schema.table(*id));
    let all = tables.flat_map(|table| order.ranges.iter().flat_map(|range| units(view, table, *range)));
    let all = all.map(|mut unit| {
        unit.replicas.retain(takes_part);
        unit
    });
    all.filter(|unit| unit.replicas.len() > 1).collect()
}

/// Why a unit cannot be repaired any more.
fn lost(around: &Surroundings<'_>, unit: &RepairUnit) -> Option<RepairFailure> {
    match is_placed(around.view, unit) {
        true => around.first_dead(&unit.replicas).map(RepairFailure::Down),
        false => Some(RepairFailure::Moved),
    }
}

/// True while a change of replication wants something copied.
fn is_copying(view: &ClusterView) -> bool {
    view.replication_change.as_ref().is_some_and(|running| running.phase == Phase::Copying)
}

/// True when the replicas of a unit hold all of it.
fn is_placed(view: &ClusterView, unit: &RepairUnit) -> bool {
    let Some(table) = view.schema.table(unit.table) else { return false };
    unit.replicas.iter().all(|node| view.holds(&table.keyspace, unit.range, *node))
}

/// True when nobody else holds any of it.
fn is_whole(view: &ClusterView, table: &Table, unit: &RepairUnit) -> bool {
    let same = |part: &RepairUnit| part.replicas == unit.replicas;
    units(view, table, unit.range).iter().all(same)
}

#[cfg(test)]
#[path = "repair_tests.rs"]
mod tests;
