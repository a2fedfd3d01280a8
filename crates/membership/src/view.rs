//! What this node knows of the cluster at one epoch: the immutable value that the rest of the node works
//! with.

use crate::log::{MemberInfo, State};
use crate::placement::Placement;
use crate::ring;
use model::schema::{Replication, Schema};
use model::{Epoch, KeyspaceName, NodeId, Token};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

/// The cluster at one epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterView {
    /// The position in the metadata log of which this is the state.
    pub epoch: Epoch,
    /// 128 random bits that tell this cluster from every other.
    pub cluster_id: u128,
    /// Keyspaces and tables.
    pub schema: Arc<Schema>,
    /// The members by id.
    pub members: BTreeMap<NodeId, MemberInfo>,
    /// Who decides the metadata log; founders that have not joined yet included.
    pub voters: BTreeSet<NodeId>,
    ring: Arc<[(Token, NodeId)]>,
    by_address: BTreeMap<SocketAddr, NodeId>,
    /// The distinct placements of the schema.
    placements: Vec<(Replication, Arc<Placement>)>,
    by_keyspace: BTreeMap<KeyspaceName, Arc<Placement>>,
}

impl ClusterView {
    /// Builds the view of a cluster: its ring, and a placement for each distinct replication of its
    /// keyspaces.
    #[must_use]
    pub fn new(
        epoch: Epoch,
        cluster_id: u128,
        schema: Arc<Schema>,
        members: BTreeMap<NodeId, MemberInfo>,
        voters: BTreeSet<NodeId>,
    ) -> ClusterView {
        ClusterView::after(None, epoch, cluster_id, schema, members, voters)
    }

    /// The view of a log's state; takes over from `previous` what has not changed. `None` before a cluster
    /// exists.
    pub(crate) fn of_state(state: &State, previous: Option<&ClusterView>) -> Option<ClusterView> {
        let voters = state.voters.keys().copied().collect();
        let (schema, members) = (state.schema.clone(), state.members.clone());
        Some(ClusterView::after(previous, state.epoch, state.cluster_id?, schema, members, voters))
    }

    fn after(
        previous: Option<&ClusterView>,
        epoch: Epoch,
        cluster_id: u128,
        schema: Arc<Schema>,
        members: BTreeMap<NodeId, MemberInfo>,
        voters: BTreeSet<NodeId>,
    ) -> ClusterView {
        let same_ring = previous.filter(|previous| previous.members == members);
        let ring = match same_ring {
            Some(previous) => previous.ring.clone(),
            None => Arc::from(ring::ring_of(members.values())),
        };
        let mut placements: Vec<(Replication, Arc<Placement>)> = Vec::new();
        let mut by_keyspace = BTreeMap::new();
        for keyspace in schema.keyspaces().values() {
            let known = |placements: &[(Replication, Arc<Placement>)]| {
                let found = placements.iter().find(|(replication, _)| *replication == keyspace.replication);
                found.map(|(_, placement)| placement.clone())
            };
            let placement = known(&placements).unwrap_or_else(|| {
                let kept = same_ring.and_then(|previous| known(&previous.placements));
                let placement =
                    kept.unwrap_or_else(|| Arc::new(Placement::new(&ring, &members, &keyspace.replication)));
                placements.push((keyspace.replication.clone(), placement.clone()));
                placement
            });
            by_keyspace.insert(keyspace.name.clone(), placement);
        }
        let by_address = members.values().map(|member| (member.addresses.internode, member.id)).collect();
        ClusterView { epoch, cluster_id, schema, members, voters, ring, by_address, placements, by_keyspace }
    }

    /// The natural replicas of a token, in ring order; empty when the keyspace is not known or nobody has
    /// joined.
    #[must_use]
    pub fn replicas(&self, keyspace: &str, token: Token) -> &[NodeId] {
        match self.by_keyspace.get(keyspace) {
            Some(placement) if !self.ring.is_empty() => placement.at(ring::index_of(&self.ring, token)),
            _ => &[],
        }
    }

    /// All tokens, ascending, with their owners. The owner of `ring[i]` is the first replica of the tokens
    /// after `ring[i - 1]` up to and including `ring[i]`.
    #[must_use]
    pub fn ring(&self) -> &[(Token, NodeId)] {
        &self.ring
    }

    /// The member that listens for other nodes at this address.
    #[must_use]
    pub fn member_by_address(&self, internode: SocketAddr) -> Option<&MemberInfo> {
        self.by_address.get(&internode).and_then(|id| self.members.get(id))
    }
}
