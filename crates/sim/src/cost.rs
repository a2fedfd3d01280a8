//! What an operation costs in clusters of different sizes: messages and bytes between nodes.
//!
//! Invariants that the figures show:
//! * What a read or write of a partition costs depends on the partition's replicas, not on the size of the cluster.
//! * What a node sends to be known of, and to know the others, is bounded however many there are.

use crate::network::Stream;
use crate::story::Story;
use crate::workload::KEYSPACE;
use crate::world::{Build, Traffic, World};
use model::{Consistency, PartitionKey};

/// Nodes that start within one second: a thousand are not switched on all at once.
const STARTED_PER_SECOND: usize = 10;
/// For so many seconds gossip is counted.
const GOSSIP_SECONDS: u64 = 10;

/// What was counted in a cluster without faults.
#[derive(Clone, Debug)]
pub struct Cost {
    /// Nodes.
    pub nodes: usize,
    /// Writes at QUORUM of three replicas, and as many reads, each sent to a replica, as drivers do.
    pub operations: u64,
    /// For all writes.
    pub writes: Traffic,
    /// For all reads.
    pub reads: Traffic,
    /// What membership says of all nodes in ten seconds, while nothing changes.
    pub gossip: Traffic,
    /// Simulated seconds until all nodes had joined.
    pub joined_seconds: u64,
}

impl Cost {
    /// Messages for a write.
    #[must_use]
    pub fn messages_per_write(&self) -> f64 {
        self.writes.messages as f64 / self.operations as f64
    }

    /// Messages for a read.
    #[must_use]
    pub fn messages_per_read(&self) -> f64 {
        self.reads.messages as f64 / self.operations as f64
    }

    /// Bytes that a node sends in a second while nothing changes.
    #[must_use]
    pub fn gossip_bytes_per_node_and_second(&self) -> f64 {
        self.gossip.bytes as f64 / self.nodes as f64 / GOSSIP_SECONDS as f64
    }
}

/// Boots so many nodes, and counts what `operations` writes and as many reads send, one after the other.
///
/// # Panics
/// When the nodes do not join, or an operation fails.
#[must_use]
pub fn measure(nodes: usize, operations: u64) -> Cost {
    let mut story = Story::before_boot(Build::plain(nodes));
    // Second by second: to ask a thousand nodes after each event would take longer than they do.
    for machine in 0..nodes {
        story.start(machine);
        if machine % STARTED_PER_SECOND == STARTED_PER_SECOND - 1 {
            story.pass(1_000);
        }
    }
    let everywhere = |world: &World, is: &dyn Fn(&membership::ClusterView) -> bool| {
        (0..nodes).all(|machine| world.view(machine).is_some_and(|view| is(view)))
    };
    wait(&mut story, 60 + nodes as u64, |world| everywhere(world, &|view| view.members.len() == nodes));
    let joined_seconds = story.world.time() / 1_000_000;
    let keyspace = story.world.build().create_keyspace(KEYSPACE, &[nodes.min(3)]);
    story.change(0, &keyspace).expect("the keyspace can be created");
    story.change(0, "CREATE TABLE t (p int PRIMARY KEY, v text)").expect("the table can be created");
    wait(&mut story, 60, |world| everywhere(world, &|view| view.schema.find_table(KEYSPACE, "t").is_ok()));
    let write = |n: u64| format!("INSERT INTO t (p, v) VALUES ({n}, '{}')", "x".repeat(100));
    let writes = count(&mut story, operations, write);
    let reads = count(&mut story, operations, |n| format!("SELECT v FROM t WHERE p = {n}"));
    let before = story.world.sent(Stream::Control);
    story.pass(GOSSIP_SECONDS * 1_000);
    let gossip = story.world.sent(Stream::Control).since(before);
    Cost { nodes, operations, writes, reads, gossip, joined_seconds }
}

fn wait(story: &mut Story, seconds: u64, enough: impl Fn(&World) -> bool) {
    for _ in 0..seconds {
        if enough(&story.world) {
            return;
        }
        story.pass(1_000);
    }
    assert!(enough(&story.world), "it did not come to pass within {seconds} s");
}

/// What is sent for the statements, each executed at QUORUM by the first replica of its partition.
fn count(story: &mut Story, operations: u64, statement: impl Fn(u64) -> String) -> Traffic {
    let before = story.world.sent(Stream::Data);
    for n in 0..operations {
        let view = story.world.view(0).expect("it has joined").clone();
        let table = view.schema.find_table(KEYSPACE, "t").expect("it was created");
        let key = i32::try_from(n).expect("operations are few").to_be_bytes();
        let key = PartitionKey::from_components(&[bytes::Bytes::copy_from_slice(&key)]).expect("a key of one part");
        let replica = view.replicas(&table.keyspace, key.token).first().copied().expect("each partition has replicas");
        let machine = story.world.machine_of(replica).expect("each node has its machine");
        story.execute(machine, &statement(n), Consistency::Quorum).expect("nothing is broken");
        // Until the last replica has answered too.
        story.pass(20);
    }
    story.world.sent(Stream::Data).since(before)
}
