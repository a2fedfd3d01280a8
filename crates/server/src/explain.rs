//! EXPLAIN: which replicas a statement would touch, beside what the statement itself says; and what it took, for
//! ANALYZE, which executes it.
//!
//! Invariant: a statement that is analyzed goes the way of every other, and takes no longer than one request may.

use crate::execute::{Answer, Executor, Options};
use crate::trace::Trace;
use bytes::Bytes;
use membership::ClusterView;
use model::consistency::Requirement;
use model::{Consistency, NodeId, RequestError, Token, TokenRange};
use node::io::{ReadFigures, Response};
use query::{Bound, BoundExplain, Measured, ReadSource, Stage};
use std::sync::Arc;
use std::time::Duration;

/// Warnings of an analyzed statement that its client is told: one of each page would be many.
const WARNINGS_MAX: usize = 10;
/// Partitions and ranges that are shown one by one: the rows of EXPLAIN are one page.
const PLACES_MAX: usize = 100;

/// EXPLAIN ANALYZE of a statement.
pub(crate) struct Analysis {
    /// What EXPLAIN says of it.
    pub(crate) stages: Vec<Stage>,
    /// To be executed.
    pub(crate) statement: Bound,
    /// As a client would have it executed.
    pub(crate) options: Options,
}

/// What came of executing a statement, page after page.
#[derive(Default)]
struct Execution {
    /// Of a read: what it took, and the rows and pages of its result.
    read: Option<(ReadFigures, u64, u64)>,
    /// What its clients would be told.
    warnings: Vec<String>,
    /// False when its time was over before its last page.
    is_whole: bool,
}

/// Stages as the rows of a result.
pub(crate) fn rows_of(stages: &[Stage], analyze: bool) -> Vec<Vec<Option<Bytes>>> {
    stages.iter().map(|stage| stage.values(analyze)).collect()
}

impl Executor {
    /// Executes a statement to its end, and says what it took.
    ///
    /// # Errors
    /// As the statement's.
    pub(crate) async fn analyze(&self, analysis: Analysis, trace: Option<&Arc<Trace>>) -> Result<Answer, RequestError> {
        let Analysis { mut stages, statement, options } = analysis;
        let begun = self.clock.now().monotonic;
        let execution = self.execute_whole(statement, options, trace).await?;
        let total = self.clock.now().monotonic.0.saturating_sub(begun.0);
        stages.extend(execution.stages(total));
        let (rows, warnings) = (rows_of(&stages, true), execution.warnings);
        Ok(Answer::Data(Response::Rows { rows, paging_state: None, warnings, figures: ReadFigures::default() }))
    }

    async fn execute_whole(
        &self,
        mut statement: Bound,
        mut options: Options,
        trace: Option<&Arc<Trace>>,
    ) -> Result<Execution, RequestError> {
        let now = || self.clock.now().monotonic;
        let deadline = now() + options.timeout.unwrap_or_default();
        let mut execution = Execution::default();
        loop {
            let plan = self.plan_bound(statement.clone(), options.clone())?.plan;
            let Answer::Data(Response::Rows { rows, paging_state, warnings, figures }) = self.wait(plan, trace).await?
            else {
                return Ok(Execution { is_whole: true, ..execution });
            };
            let (before, rows_before, pages) = execution.read.unwrap_or_default();
            execution.read = Some((before.and(figures), rows_before + rows.len() as u64, pages + 1));
            for warning in warnings {
                if !execution.warnings.contains(&warning) && execution.warnings.len() < WARNINGS_MAX {
                    execution.warnings.push(warning);
                }
            }
            statement.forget_timeout();
            let left = deadline.0.saturating_sub(now().0);
            if paging_state.is_none() || left == 0 {
                return Ok(Execution { is_whole: paging_state.is_none(), ..execution });
            }
            (options.paging_state, options.timeout) = (paging_state, Some(Duration::from_micros(left)));
        }
    }
}

impl Execution {
    /// What the statement took, in all `total` microseconds.
    fn stages(&self, total: u64) -> Vec<Stage> {
        let (mut stages, mut rest) = (Vec::new(), total);
        if let Some((figures, rows, pages)) = self.read {
            rest = total.saturating_sub(figures.look_up_micros + figures.read_micros);
            if figures.look_ups > 0 {
                let detail = format!("look-ups in the index: {}", figures.look_ups);
                let (rows, microseconds) = (Some(figures.candidates), Some(figures.look_up_micros));
                stages.push(Stage::measured("look up", detail, Measured { rows, microseconds, tombstones: None }));
            }
            let detail = format!("questions to replicas: {}; replicas repaired: {}", figures.rounds, figures.repaired);
            let (rows_read, tombstones) = (Some(figures.rows), Some(u64::from(figures.tombstones)));
            let measured = Measured { rows: rows_read, tombstones, microseconds: Some(figures.read_micros) };
            stages.push(Stage::measured("read", detail, measured));
            let end = if self.is_whole { "" } else { "; the time of a request was over, and there are more" };
            let detail = format!("pages: {pages}{end}");
            let measured = Measured { rows: Some(rows), microseconds: Some(rest), tombstones: None };
            stages.push(Stage::measured("result", detail, measured));
            rest = total;
        }
        let detail = if self.read.is_some() { "all of it" } else { "until enough replicas acknowledged it" };
        let measured = Measured { microseconds: Some(rest), ..Measured::default() };
        stages.push(Stage::measured("total", detail, measured));
        stages
    }
}

/// The rows of EXPLAIN for a statement that `node` executes at `consistency`.
pub(crate) fn explained(
    explain: &BoundExplain,
    node: NodeId,
    view: &ClusterView,
    consistency: Consistency,
) -> Vec<Stage> {
    let mut stages = explain.stages();
    let places = Places { node, view, consistency };
    match explain.statement.as_ref() {
        Bound::Read(read) if query::system::is_system(&read.table().keyspace) => {
            stages.push(Stage::new("replicas", "none: each node answers by itself"));
        }
        Bound::Read(read) => match read.source() {
            ReadSource::Partitions(keys) => {
                places.of_tokens(&read.table().keyspace, keys.iter().map(|key| key.token), &mut stages);
            }
            ReadSource::Range(range) => places.of_range(&read.table().keyspace, range, &mut stages),
        },
        Bound::Conditional(conditional) => {
            let places = Places { consistency: Consistency::Serial, ..places };
            let token = conditional.partition().token;
            places.of_tokens(&conditional.table().keyspace, std::iter::once(token), &mut stages);
        }
        Bound::Write(write) => {
            places.of_tokens(&write.table().keyspace, std::iter::once(write.partition().token), &mut stages);
        }
        Bound::Writes(writes) | Bound::Batch { writes, .. } => {
            for write in writes.iter().take(PLACES_MAX) {
                places.of_tokens(&write.table().keyspace, std::iter::once(write.partition().token), &mut stages);
            }
        }
        Bound::Schema(_) | Bound::Use(_) | Bound::Describe(_) | Bound::Role(_) | Bound::Explain(_) | Bound::Nothing => {
        }
    }
    stages
}

struct Places<'a> {
    /// The coordinator.
    node: NodeId,
    view: &'a ClusterView,
    consistency: Consistency,
}

impl Places<'_> {
    /// The replicas of a place, and how many of them must answer.
    fn stage(&self, keyspace: &str, place: &str, nodes: &[NodeId]) -> Stage {
        let local = self.view.data_center(self.node);
        let keyspace = self.view.schema.keyspace(keyspace);
        let requirement = keyspace.map(|keyspace| self.consistency.requirement(&keyspace.replication, local));
        let address = |node: &NodeId| {
            let member = self.view.members.get(node);
            member.map_or_else(|| node.to_string(), |member| member.addresses.client.to_string())
        };
        let within = |name: &str| nodes.iter().filter(|node| self.view.data_center(**node) == name).count();
        let required = match requirement {
            None => format!("1 of {}", nodes.len()),
            Some(Requirement::OfAll(required)) => format!("{required} of {}", nodes.len()),
            Some(Requirement::Within(name, required)) => format!("{required} of {} in {name}", within(name)),
            Some(Requirement::Each(each)) => {
                let each = each.iter().map(|(name, required)| format!("{required} of {} in {name}", within(name)));
                each.collect::<Vec<_>>().join(" and ")
            }
        };
        let detail = format!("{place}: {required} must answer at {}", self.consistency);
        Stage { replicas: Some(nodes.iter().map(address).collect()), ..Stage::new("replicas", detail) }
    }

    fn of_tokens(&self, keyspace: &str, tokens: impl ExactSizeIterator<Item = Token>, stages: &mut Vec<Stage>) {
        let more = tokens.len().saturating_sub(PLACES_MAX);
        for token in tokens.take(PLACES_MAX) {
            let nodes = self.view.replicas(keyspace, token);
            stages.push(self.stage(keyspace, &format!("token {}", token.0), nodes));
        }
        if more > 0 {
            stages.push(Stage::new("replicas", format!("and those of {more} more partitions")));
        }
    }

    /// The parts of the ring that a read of `range` asks, each by itself.
    fn of_range(&self, keyspace: &str, range: TokenRange, stages: &mut Vec<Stage>) {
        let mut rest = range;
        for _ in 0..PLACES_MAX {
            let Some((part, nodes)) = self.view.part(keyspace, rest) else {
                return stages.push(Stage::new("replicas", "none: no node holds anything of the keyspace"));
            };
            let place = format!("tokens above {} up to {}", part.start.0, part.end.0);
            stages.push(self.stage(keyspace, &place, nodes));
            if part.end >= range.end {
                return;
            }
            rest = TokenRange { start: part.end, end: range.end };
        }
        stages.push(Stage::new("replicas", "and those of the rest of the ring"));
    }
}
