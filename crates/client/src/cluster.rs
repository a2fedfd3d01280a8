//! The cluster as a session sees it: its nodes, whom to ask, and how that is kept up to date.

use crate::connection::{Connection, Settings, channel, client, describe, failure_of};
use crate::error::ClientError;
use crate::node::{Events, Node, jittered};
use crate::retry::Failure;
use crate::topology::{Routes, Topology};
use api::proto::client::v1 as proto;
use arc_swap::ArcSwap;
use futures::future::join_all;
use model::error::Applied;
use model::{NodeId, Token};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout, timeout_at};

/// How long a session that has one connection waits for those to the other nodes when it starts: none should be
/// left out for being a millisecond late.
const CONNECT_GRACE: Duration = Duration::from_millis(200);

/// How long a request waits for a connection when there is none at all.
const RECONNECT_WAIT: Duration = Duration::from_secs(1);

/// How long a schema change waits for the nodes that have not learned of it.
const AGREEMENT_MAX: Duration = Duration::from_secs(5);

/// The least time between two refreshes of the topology.
const REFRESH_PAUSE: Duration = Duration::from_millis(100);

/// What a cluster needs of a session's settings.
#[derive(Clone, Debug)]
pub(crate) struct ClusterSettings {
    pub(crate) contact_points: Vec<String>,
    pub(crate) connections_per_node: usize,
    pub(crate) connection: Settings,
    /// Nodes of this data centre are asked as long as there are any; when none is named, of that of the contact point
    /// that answered first.
    pub(crate) data_center: Option<String>,
    pub(crate) refresh_interval: Duration,
}

#[derive(Debug)]
pub(crate) struct Cluster {
    settings: ClusterSettings,
    state: ArcSwap<State>,
    events: Arc<Events>,
    /// Held while the state is replaced.
    replacing: tokio::sync::Mutex<()>,
    turn: AtomicUsize,
    refresher: AbortHandle,
}

#[derive(Debug)]
struct State {
    topology: Arc<Topology>,
    routes: Arc<Routes>,
    /// In the order of `topology.nodes`.
    nodes: Vec<Arc<Node>>,
}

/// A node with an open connection to it.
pub(crate) type Chosen = (Arc<Node>, Arc<Connection>);

impl Cluster {
    /// Learns the topology from the first contact point that answers, and connects to the nodes.
    pub(crate) async fn connect(mut settings: ClusterSettings) -> Result<Arc<Cluster>, ClientError> {
        let response = ask_contact_points(&settings).await?;
        if settings.data_center.is_none() {
            let answered = response.nodes.iter().find(|node| node.id == response.node_id);
            settings.data_center = answered.map(|node| node.data_center.clone());
        }
        let topology = Topology::from_proto(response, None).map_err(|error| ClientError::Protocol {
            address: "the contact point".to_owned(),
            reason: error.to_string(),
        })?;
        let events = Arc::new(Events { attempts: watch::Sender::new(0), refresh: Notify::new() });
        let state = State::new(Arc::new(topology), None, &settings, &events);
        let cluster = Arc::new_cyclic(|weak: &Weak<Cluster>| Cluster {
            refresher: tokio::spawn(keep_fresh(weak.clone(), Arc::clone(&events), settings.refresh_interval))
                .abort_handle(),
            settings,
            state: ArcSwap::from_pointee(state),
            events,
            replacing: tokio::sync::Mutex::new(()),
            turn: AtomicUsize::new(0),
        });
        cluster.wait_for_connections().await?;
        Ok(cluster)
    }

    /// The topology as known now.
    pub(crate) fn topology(&self) -> Arc<Topology> {
        Arc::clone(&self.state.load().topology)
    }

    /// How many nodes there are.
    pub(crate) fn size(&self) -> usize {
        self.state.load().nodes.len()
    }

    /// A node to ask: in the session's data centre one that holds the target, else any there, since levels of one
    /// data centre mean that of the node asked; else one elsewhere, in the same order; in turn among those equally
    /// good; none of those tried.
    pub(crate) fn choose(&self, target: Option<(&str, Token)>, tried: &[NodeId]) -> Option<Chosen> {
        let state = self.state.load();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let replicas = target.map_or(&[][..], |(keyspace, token)| state.routes.replicas(keyspace, token));
        let best = |data_center: Option<&str>| {
            let replica = state.best(replicas.len(), |at| replicas[at] as usize, turn, data_center, tried);
            replica.or_else(|| state.best(state.nodes.len(), |at| at, turn, data_center, tried))
        };
        best(self.settings.data_center.as_deref()).or_else(|| best(None))
    }

    /// As [`Cluster::choose`]; when no node at all is connected, waits for one for a while.
    pub(crate) async fn choose_or_wait(
        &self,
        target: Option<(&str, Token)>,
        tried: &[NodeId],
        deadline: Instant,
    ) -> Option<Chosen> {
        let mut attempts = self.events.attempts.subscribe();
        let deadline = deadline.min(Instant::now() + RECONNECT_WAIT);
        loop {
            if let Some(chosen) = self.choose(target, tried) {
                return Some(chosen);
            }
            if !tried.is_empty() || timeout_at(deadline, attempts.changed()).await.is_err() {
                return None;
            }
        }
    }

    /// Why no node can be asked.
    pub(crate) fn unreachable(&self) -> ClientError {
        let state = self.state.load();
        let address: Vec<&str> = state.nodes.iter().map(|node| node.address.as_str()).collect();
        let reason = state.nodes.iter().find_map(|node| node.problem());
        ClientError::Connection {
            address: address.join(", "),
            reason: reason.unwrap_or_else(|| "no node is connected".to_owned()),
            applied: Applied::No,
        }
    }

    /// Asks for the topology again.
    ///
    /// # Errors
    /// When nobody answers.
    pub(crate) async fn refresh(&self) -> Result<Arc<Topology>, ClientError> {
        let mut tried = Vec::new();
        while let Some((node, connection)) = self.choose(None, &tried) {
            let known_epoch = self.topology().epoch;
            if let Ok(response) = self.ask(&connection, known_epoch).await {
                match self.apply(response).await {
                    // What this node says is of no use; another one may say better.
                    Err(ClientError::Protocol { .. }) => {}
                    outcome => return outcome,
                }
            }
            tried.push(node.id);
        }
        let response = ask_contact_points(&self.settings).await?;
        self.apply(response).await
    }

    /// Waits until the nodes that can be reached know the schema of `epoch`, and learns it.
    pub(crate) async fn agree(&self, epoch: u64, deadline: Instant) {
        let deadline = deadline.min(Instant::now() + AGREEMENT_MAX);
        let state = self.state.load_full();
        let agreed = state.nodes.iter().filter_map(|node| node.connection()).map(|connection| async move {
            let mut wait = Duration::from_millis(2);
            // A node that does not answer is down or goes down; it catches up before it serves again.
            while let Ok(response) = self.ask(&connection, epoch).await
                && response.epoch < epoch
                && Instant::now() + wait < deadline
            {
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(REFRESH_PAUSE);
            }
        });
        // Whoever does not know it in time answers requests with errors that say so.
        let _ = timeout_at(deadline, join_all(agreed)).await;
        if self.topology().epoch < epoch {
            // What a failure leaves out of date, the next refresh brings.
            let _ = timeout_at(deadline, self.refresh()).await;
        }
    }

    async fn ask(&self, connection: &Connection, known_epoch: u64) -> Result<proto::TopologyResponse, Failure> {
        let mut client = connection.client();
        let answer = client.topology(proto::TopologyRequest { known_epoch });
        let answer = timeout(self.settings.connection.connect_timeout, answer).await.map_err(|_| Failure::TimedOut)?;
        answer.map(tonic::Response::into_inner).map_err(|status| failure_of(&status))
    }

    /// Takes over an answer, unless it is older than what is known.
    async fn apply(&self, response: proto::TopologyResponse) -> Result<Arc<Topology>, ClientError> {
        let _replacing = self.replacing.lock().await;
        let state = self.state.load_full();
        let known = &state.topology;
        let protocol = |reason: String| ClientError::Protocol { address: response.node_id.clone(), reason };
        if response.cluster_id != known.cluster_id {
            return Err(protocol(format!(
                "it belongs to cluster {}, not to {}",
                response.cluster_id, known.cluster_id
            )));
        }
        if response.epoch < known.epoch {
            return Ok(Arc::clone(known));
        }
        let node_id = response.node_id.clone();
        let topology = Topology::from_proto(response, Some(known))
            .map_err(|error| ClientError::Protocol { address: node_id, reason: error.to_string() })?;
        if topology == **known {
            return Ok(Arc::clone(known));
        }
        let topology = Arc::new(topology);
        self.state.store(Arc::new(State::new(Arc::clone(&topology), Some(&state), &self.settings, &self.events)));
        Ok(topology)
    }

    async fn wait_for_connections(&self) -> Result<(), ClientError> {
        let mut attempts = self.events.attempts.subscribe();
        let deadline = Instant::now() + self.settings.connection.connect_timeout + CONNECT_GRACE;
        let mut grace = deadline;
        loop {
            let state = self.state.load();
            // Asked first: a connection that is opened in between must not count as an attempt that failed.
            let attempted = state.nodes.iter().all(|node| node.attempted());
            let connected = state.nodes.iter().any(|node| node.connection().is_some());
            drop(state);
            if attempted {
                return if connected { Ok(()) } else { Err(self.unreachable()) };
            }
            if connected {
                grace = grace.min(Instant::now() + CONNECT_GRACE);
            }
            if timeout_at(grace, attempts.changed()).await.is_err() {
                return if connected { Ok(()) } else { Err(self.unreachable()) };
            }
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.refresher.abort();
    }
}

impl State {
    fn new(topology: Arc<Topology>, before: Option<&State>, settings: &ClusterSettings, events: &Arc<Events>) -> State {
        let known = |info: &crate::topology::NodeInfo| {
            let nodes = before.map_or(&[][..], |before| &before.nodes);
            nodes.iter().find(|node| node.id == info.id && node.address == info.client_address).cloned()
        };
        let connections = settings.connections_per_node;
        let start = |info: &crate::topology::NodeInfo| {
            Arc::new(Node::start(info.id, &info.client_address, connections, &settings.connection, events))
        };
        let nodes = topology.nodes.iter().map(|info| known(info).unwrap_or_else(|| start(info))).collect();
        let routes = match before {
            Some(before) if before.topology.epoch == topology.epoch && same_nodes(&before.topology, &topology) => {
                Arc::clone(&before.routes)
            }
            _ => Arc::new(Routes::new(&topology)),
        };
        State { topology, routes, nodes }
    }

    /// The best of the nodes at `position(0)`, ... `position(count - 1)` that is connected, in `data_center` if one is
    /// named, and was not tried: those up first, from `turn` on.
    fn best(
        &self,
        count: usize,
        position: impl Fn(usize) -> usize,
        turn: usize,
        data_center: Option<&str>,
        tried: &[NodeId],
    ) -> Option<Chosen> {
        let mut best: Option<Chosen> = None;
        for at in 0..count {
            let index = position(turn.wrapping_add(at) % count);
            let (Some(node), Some(info)) = (self.nodes.get(index), self.topology.nodes.get(index)) else { continue };
            if tried.contains(&node.id) || data_center.is_some_and(|local| info.data_center != local) {
                continue;
            }
            if best.is_some() && !info.up {
                continue;
            }
            let Some(connection) = node.connection() else { continue };
            best = Some((Arc::clone(node), connection));
            if info.up {
                break;
            }
        }
        best
    }
}

/// Whether positions in one topology are positions in the other.
fn same_nodes(a: &Topology, b: &Topology) -> bool {
    a.nodes.len() == b.nodes.len() && a.nodes.iter().zip(&b.nodes).all(|(a, b)| a.id == b.id)
}

/// Refreshes the topology now and then, and when something has happened.
async fn keep_fresh(cluster: Weak<Cluster>, events: Arc<Events>, interval: Duration) {
    loop {
        // Either is a reason.
        let _ = timeout(jittered(interval), events.refresh.notified()).await;
        let Some(cluster) = cluster.upgrade() else { return };
        // A failure is met by the next one.
        let _ = cluster.refresh().await;
        drop(cluster);
        tokio::time::sleep(REFRESH_PAUSE).await;
    }
}

async fn ask_contact_points(settings: &ClusterSettings) -> Result<proto::TopologyResponse, ClientError> {
    let connect_timeout = settings.connection.connect_timeout;
    let mut problems = Vec::new();
    for address in &settings.contact_points {
        let ask = async {
            let channel = channel(address, connect_timeout, &settings.connection.security).await?;
            let answer = client(channel).topology(proto::TopologyRequest { known_epoch: 0 }).await;
            answer.map(tonic::Response::into_inner).map_err(|status| match failure_of(&status) {
                Failure::Request(error) => error.to_string(),
                _ => describe(&status),
            })
        };
        match timeout(connect_timeout, ask).await {
            Ok(Ok(response)) => return Ok(response),
            Ok(Err(problem)) => problems.push(problem),
            Err(_) => problems.push(format!("no answer within {connect_timeout:?}")),
        }
    }
    problems.dedup();
    Err(ClientError::Connection {
        address: settings.contact_points.join(", "),
        reason: if problems.is_empty() { "there are no contact points".to_owned() } else { problems.join("; ") },
        applied: Applied::No,
    })
}
