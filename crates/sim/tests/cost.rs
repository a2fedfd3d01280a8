//! What an operation costs does not depend on how large the cluster is.
#![allow(clippy::print_stdout, reason = "the figures are for people")]

use sim::cost::{Cost, measure};

fn assert_flat(few: &Cost, many: &Cost) {
    for (what, few_messages, many_messages) in [
        ("writes", few.messages_per_write(), many.messages_per_write()),
        ("reads", few.messages_per_read(), many.messages_per_read()),
    ] {
        let ratio = many_messages / few_messages;
        assert!((0.95..=1.05).contains(&ratio), "{what}: {few_messages} messages, of {} {many_messages}", many.nodes);
    }
    let (writes, reads) = (few.writes.bytes as f64, few.reads.bytes as f64);
    let ratios = [many.writes.bytes as f64 / writes, many.reads.bytes as f64 / reads];
    assert!(ratios.iter().all(|ratio| (0.95..=1.05).contains(ratio)), "bytes of {} nodes: {ratios:?}", many.nodes);
}

fn tell(cost: &Cost) {
    println!(
        "{} nodes: {:.2} messages for a write, {:.2} for a read, {:.0} bytes of gossip for each node and second",
        cost.nodes,
        cost.messages_per_write(),
        cost.messages_per_read(),
        cost.gossip_bytes_per_node_and_second()
    );
}

#[test]
fn messages_and_bytes_of_an_operation_are_those_of_three_nodes_in_a_cluster_of_thirty() {
    let costs = [3, 9, 30].map(|nodes| measure(nodes, 60));
    costs.iter().for_each(tell);
    // A write goes to two other replicas, a read asks one for its digest, and each answers.
    assert!((3.9..=4.2).contains(&costs[0].messages_per_write()), "{:?}", costs[0]);
    assert!((1.9..=2.1).contains(&costs[0].messages_per_read()), "{:?}", costs[0]);
    costs[1..].iter().for_each(|many| assert_flat(&costs[0], many));
}

#[test]
#[ignore = "a thousand nodes join one after the other: some minutes"]
fn messages_and_bytes_of_an_operation_are_those_of_three_nodes_in_a_cluster_of_a_thousand() {
    let costs = [3, 1_000].map(|nodes| measure(nodes, 60));
    costs.iter().for_each(tell);
    assert_flat(&costs[0], &costs[1]);
    // Three messages a second, each with what changed of at most so many nodes.
    assert!(costs[1].gossip_bytes_per_node_and_second() < 100_000.0, "{:?}", costs[1]);
}
