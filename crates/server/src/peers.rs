//! The streams to all other nodes, one for each class of traffic, made when they are first needed.
//!
//! Invariants:
//! * There is at most one link for each address and class.
//! * Links to nodes that are no longer members end when the view that says so is published.

use crate::member_loop::MemberInput;
use crate::metrics::Metrics;
use crate::peer_link::{Link, LinkQueue, Outgoing};
use crate::shard_loop::ShardInput;
use ::peer::{Hello, PROTOCOL_VERSION, Priority, priority};
use membership::ClusterView;
use model::NodeId;
use node::io::Envelope;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

/// Links at once; beyond it nothing new is connected to. A cluster has fewer nodes.
const LINKS_MAX: usize = 16_384;

/// Who this node is to others.
pub(crate) struct Local {
    /// Its id.
    pub(crate) node_id: NodeId,
    /// Where it listens for nodes.
    pub(crate) address: SocketAddr,
    /// How many shards it has.
    pub(crate) shards: u16,
    /// The cluster that it belongs to, from when it does.
    pub(crate) cluster_id: Mutex<Option<u128>>,
}

impl Local {
    /// What it says first on a stream. On a control stream it names no cluster: there membership compares the
    /// clusters, message by message, since that is where nodes find out to which one they belong.
    pub(crate) fn hello(&self, priority: Priority) -> Hello {
        let cluster_id = if priority == Priority::Control { None } else { *self.cluster_id.lock() };
        Hello {
            protocol_version: PROTOCOL_VERSION,
            cluster_id,
            node_id: self.node_id,
            internode_address: self.address.to_string(),
            shards: u32::from(self.shards),
            priority,
        }
    }
}

/// Who is told what happens to links.
pub(crate) struct LinkEvents {
    /// Every shard's inbox.
    pub(crate) shards: Vec<mpsc::Sender<ShardInput>>,
    /// Membership's inbox.
    pub(crate) member: mpsc::Sender<MemberInput>,
    /// The configured seeds.
    pub(crate) seeds: Vec<SocketAddr>,
}

impl LinkEvents {
    /// Nothing that is sent over this link arrives.
    pub(crate) async fn unreachable(&self, address: SocketAddr, node: Option<NodeId>, priority: Priority) {
        match (priority, node) {
            (Priority::Control, _) => drop(self.member.send(MemberInput::Unreachable(address)).await),
            (Priority::Data, Some(node)) => {
                for shard in &self.shards {
                    let _ = shard.send(ShardInput::Unreachable(node)).await;
                }
            }
            // Bulk that breaks alone says nothing of the node.
            (Priority::Data | Priority::Bulk, _) => {}
        }
    }
}

/// Sends to one node.
#[derive(Clone)]
pub(crate) struct PeerSender {
    data: Arc<LinkQueue>,
    bulk: Arc<LinkQueue>,
    metrics: Arc<Metrics>,
}

impl PeerSender {
    /// Queues a message, or drops it. False when it is dropped because nothing can be sent at all.
    pub(crate) fn send(&self, envelope: Envelope) -> bool {
        let queue = match priority(&envelope.message) {
            Priority::Bulk => &self.bulk,
            Priority::Control | Priority::Data => &self.data,
        };
        queue.send(Outgoing::Node(envelope), &self.metrics)
    }
}

type Key = (SocketAddr, Priority, Option<NodeId>);

/// All links of a node.
pub(crate) struct Peers {
    /// Who this node is.
    pub(crate) local: Arc<Local>,
    /// Who is told of failures.
    pub(crate) events: Arc<LinkEvents>,
    /// What is counted.
    pub(crate) metrics: Arc<Metrics>,
    /// Where the tasks run.
    pub(crate) runtime: tokio::runtime::Handle,
    links: Mutex<BTreeMap<Key, (Arc<LinkQueue>, AbortHandle)>>,
}

impl Peers {
    /// No links yet.
    pub(crate) fn new(local: Arc<Local>, events: Arc<LinkEvents>, metrics: Arc<Metrics>) -> Peers {
        let runtime = tokio::runtime::Handle::current();
        Peers { local, events, metrics, runtime, links: Mutex::default() }
    }

    /// The ways to all other members of `view`.
    pub(crate) fn senders(&self, view: &ClusterView) -> BTreeMap<NodeId, PeerSender> {
        let others = view.members.values().filter(|member| member.id != self.local.node_id);
        let sender = |id: NodeId, address: SocketAddr| {
            let data = self.link((address, Priority::Data, Some(id)))?;
            let bulk = self.link((address, Priority::Bulk, Some(id)))?;
            Some((id, PeerSender { data, bulk, metrics: self.metrics.clone() }))
        };
        others.filter_map(|member| sender(member.id, member.addresses.internode)).collect()
    }

    /// Sends to whoever listens there.
    pub(crate) fn send_control(&self, to: SocketAddr, message: membership::Message) {
        match self.link((to, Priority::Control, None)) {
            // Membership counts on nothing that it sends.
            Some(queue) => drop(queue.send(Outgoing::Membership(message), &self.metrics)),
            None => self.metrics.messages_dropped.add(1),
        }
    }

    /// Ends the links to nodes that are neither members of `view` nor seeds.
    pub(crate) fn retain(&self, view: &ClusterView) {
        let members: BTreeMap<SocketAddr, NodeId> =
            view.members.values().map(|member| (member.addresses.internode, member.id)).collect();
        let wanted = |(address, _, expected): &Key| match members.get(address) {
            Some(id) => expected.is_none_or(|expected| expected == *id),
            None => expected.is_none() && self.events.seeds.contains(address),
        };
        let mut links = self.links.lock();
        let unwanted: BTreeSet<Key> = links.keys().filter(|key| !wanted(key)).copied().collect();
        for key in unwanted {
            if let Some((queue, _)) = links.remove(&key) {
                queue.close();
            }
        }
    }

    /// The node that listens there was heard of: whoever waits to connect to it tries now.
    pub(crate) fn heard_of(&self, address: SocketAddr) {
        let links = self.links.lock();
        for (_, (queue, _)) in links.iter().filter(|((other, ..), _)| *other == address) {
            queue.retry();
        }
    }

    /// Ends all links at once.
    pub(crate) fn abort(&self) {
        for (_, (_, task)) in std::mem::take(&mut *self.links.lock()) {
            task.abort();
        }
    }

    fn link(&self, key: Key) -> Option<Arc<LinkQueue>> {
        let mut links = self.links.lock();
        if let Some((queue, _)) = links.get(&key) {
            return Some(queue.clone());
        }
        if links.len() >= LINKS_MAX {
            return None;
        }
        let queue = Arc::new(LinkQueue::default());
        let (address, priority, expected) = key;
        let link = Link {
            address,
            expected,
            priority,
            queue: queue.clone(),
            local: self.local.clone(),
            events: self.events.clone(),
            metrics: self.metrics.clone(),
        };
        let task = self.runtime.spawn(link.run());
        links.insert(key, (queue.clone(), task.abort_handle()));
        Some(queue)
    }
}
