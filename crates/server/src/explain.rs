//! EXPLAIN: which replicas a statement would touch, beside what the statement itself says.

use membership::ClusterView;
use model::consistency::Requirement;
use model::{Consistency, NodeId, Token, TokenRange};
use query::{Bound, BoundExplain, ReadSource, Stage};

/// Partitions and ranges that are shown one by one: the rows of EXPLAIN are one page.
const PLACES_MAX: usize = 100;

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
        Bound::Writes(writes) | Bound::Batch(writes) => {
            for write in writes.iter().take(PLACES_MAX) {
                places.of_tokens(&write.table().keyspace, std::iter::once(write.partition().token), &mut stages);
            }
        }
        Bound::Schema(_) | Bound::Use(_) | Bound::Describe(_) | Bound::Role(_) | Bound::Explain(_) => {}
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
