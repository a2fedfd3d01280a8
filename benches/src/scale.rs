//! What an operation costs in simulated clusters of 3, 9, 30 and 1,000 nodes: messages and bytes between them, which
//! must not depend on how many there are; and what gossip costs each node.

use serde_json::{Map, Value, json};
use sim::Cost;

const NODES: [usize; 4] = [3, 9, 30, 1_000];
/// Writes, and as many reads.
const OPERATIONS: u64 = 300;
/// Messages for an operation may differ by this part from those of the smallest cluster.
const DIFFERENCE_MAX: f64 = 0.05;
/// Bytes of gossip that a node may send in a second.
const GOSSIP_BYTES_MAX: f64 = 100_000.0;

/// Runs the clusters, and puts their figures, and what is worse than promised, into `figures`.
pub(crate) fn measure(figures: &mut Map<String, Value>) {
    let costs = NODES.map(|nodes| sim::cost::measure(nodes, OPERATIONS));
    for cost in &costs {
        let mut put = |name: &str, value: f64| figures.insert(format!("nodes_{}_{name}", cost.nodes), json!(value));
        put("messages_per_write", cost.messages_per_write());
        put("messages_per_read", cost.messages_per_read());
        put("bytes_per_write", cost.writes.bytes as f64 / cost.operations as f64);
        put("bytes_per_read", cost.reads.bytes as f64 / cost.operations as f64);
        put("gossip_bytes_per_node_and_second", cost.gossip_bytes_per_node_and_second());
        put("joined_after_simulated_seconds", cost.joined_seconds as f64);
    }
    let of_least = |what: fn(&Cost) -> f64, cost: &Cost| (what(cost) / what(&costs[0]) - 1.0).abs() > DIFFERENCE_MAX;
    for cost in &costs {
        let missed = [
            (of_least(Cost::messages_per_write, cost), "messages of a write differ from those of 3 nodes"),
            (of_least(Cost::messages_per_read, cost), "messages of a read differ from those of 3 nodes"),
            (cost.gossip_bytes_per_node_and_second() > GOSSIP_BYTES_MAX, "gossip takes too many bytes"),
        ];
        let missed = missed.into_iter().filter(|(is_missed, _)| *is_missed);
        crate::note_missed(figures, missed.map(|(_, what)| format!("{} nodes: {what}", cost.nodes)));
    }
}
