//! What this node knows of the cluster at one epoch: the immutable value that the rest of the node works
//! with.

use crate::log::{MemberInfo, State};
use crate::replication::{self, ReplicationChange};
use crate::ring;
use model::placement::{Place, Placement, index_of};
use model::schema::{Replication, Schema};
use model::{Epoch, KeyspaceName, NodeId, Token, TokenRange};
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
    /// The ids that it had before its log was recovered without a majority of the voters, in order.
    pub former_cluster_ids: Vec<u128>,
    /// Keyspaces and tables.
    pub schema: Arc<Schema>,
    /// The members by id.
    pub members: BTreeMap<NodeId, MemberInfo>,
    /// Who decides the metadata log; founders that have not joined yet included.
    pub voters: BTreeSet<NodeId>,
    ring: Arc<[(Token, NodeId)]>,
    by_address: BTreeMap<SocketAddr, NodeId>,
    /// The distinct placements of the schema.
    placements: Vec<(Replication, Arc<Placement<NodeId>>)>,
    by_keyspace: BTreeMap<KeyspaceName, Arc<Placement<NodeId>>>,
    /// True when not all members are in one data centre.
    spans_data_centers: bool,
    /// The change of replication that is under way.
    pub replication_change: Option<ReplicationChange>,
    /// Of its keyspace the placement that is not read from.
    other: Option<Arc<Placement<NodeId>>>,
    /// Of its keyspace who holds each range: the nodes that are read from first.
    holders: Vec<Box<[NodeId]>>,
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
        let mut view = ClusterView::after(previous, state.epoch, state.cluster_id?, schema, members, voters);
        view.former_cluster_ids = state.recoveries.iter().map(|(former, _)| *former).collect();
        Some(view.changing(state.replication_change.clone()))
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
        let place = |node| match members.get(&node) {
            Some(member) => Place { data_center: &member.data_center, rack: &member.rack },
            // The ring names members only.
            None => Place { data_center: "", rack: "" },
        };
        let mut placements: Vec<(Replication, Arc<Placement<NodeId>>)> = Vec::new();
        let mut by_keyspace = BTreeMap::new();
        for keyspace in schema.keyspaces().values() {
            let known = |placements: &[(Replication, Arc<Placement<NodeId>>)]| {
                let found = placements.iter().find(|(replication, _)| *replication == keyspace.replication);
                found.map(|(_, placement)| placement.clone())
            };
            let placement = known(&placements).unwrap_or_else(|| {
                let kept = same_ring.and_then(|previous| known(&previous.placements));
                let placement = kept.unwrap_or_else(|| Arc::new(Placement::new(&ring, place, &keyspace.replication)));
                placements.push((keyspace.replication.clone(), placement.clone()));
                placement
            });
            by_keyspace.insert(keyspace.name.clone(), placement);
        }
        let by_address = members.values().map(|member| (member.addresses.internode, member.id)).collect();
        let mut data_centers = members.values().map(|member| &member.data_center);
        let first = data_centers.next();
        let spans_data_centers = data_centers.any(|other| Some(other) != first);
        ClusterView {
            epoch,
            cluster_id,
            former_cluster_ids: Vec::new(),
            schema,
            members,
            voters,
            ring,
            by_address,
            placements,
            by_keyspace,
            spans_data_centers,
            replication_change: None,
            other: None,
            holders: Vec::new(),
        }
    }

    /// This view while the replication of a keyspace is being changed.
    #[must_use]
    pub fn changing(mut self, running: Option<ReplicationChange>) -> ClusterView {
        if let Some(running) = &running
            && let Some(read) = self.by_keyspace.get(&running.keyspace)
        {
            let place = |node| match self.members.get(&node) {
                Some(member) => Place { data_center: &member.data_center, rack: &member.rack },
                None => Place { data_center: "", rack: "" },
            };
            let other = Placement::new(&self.ring, place, running.other());
            if running.writes_both() {
                self.holders = replication::both(read, &other, self.ring.len());
            }
            self.other = Some(Arc::new(other));
        }
        self.replication_change = running;
        self
    }

    /// The change of replication of a keyspace, if it is under way.
    fn change_of(&self, keyspace: &str) -> Option<&ReplicationChange> {
        self.replication_change.as_ref().filter(|running| running.keyspace == keyspace)
    }

    /// The data centre of a member; empty for a node that is none.
    #[must_use]
    pub fn data_center(&self, node: NodeId) -> &str {
        self.members.get(&node).map_or("", |member| member.data_center.as_str())
    }

    /// True when not all members are in one data centre.
    #[must_use]
    pub fn spans_data_centers(&self) -> bool {
        self.spans_data_centers
    }

    /// The natural replicas of a token, in ring order; empty when the keyspace is not known or nobody has
    /// joined.
    #[must_use]
    pub fn replicas(&self, keyspace: &str, token: Token) -> &[NodeId] {
        match self.by_keyspace.get(keyspace) {
            Some(placement) if !self.ring.is_empty() => placement.at(index_of(&self.ring, token)),
            _ => &[],
        }
    }

    /// All nodes that hold a token: those that are read from ([`ClusterView::replicas`]) and, while the replication of
    /// the keyspace is being changed, those of the other placement.
    #[must_use]
    pub fn holders(&self, keyspace: &str, token: Token) -> &[NodeId] {
        match self.change_of(keyspace) {
            Some(running) if running.writes_both() && !self.holders.is_empty() => {
                &self.holders[index_of(&self.ring, token)]
            }
            _ => self.replicas(keyspace, token),
        }
    }

    /// The placements in each of which a write needs its level, with the nodes of a token in it: one, or two while the
    /// replication of the keyspace is being changed.
    #[must_use]
    pub fn written(&self, keyspace: &str, token: Token) -> Vec<(&Replication, &[NodeId])> {
        let known = self.schema.keyspace(keyspace);
        let mut written: Vec<(&Replication, &[NodeId])> =
            known.map(|keyspace| (&keyspace.replication, self.replicas(&keyspace.name, token))).into_iter().collect();
        if let (Some(running), Some(other)) = (self.change_of(keyspace), &self.other)
            && running.writes_both()
            && !self.ring.is_empty()
        {
            written.push((running.other(), other.at(index_of(&self.ring, token))));
        }
        written
    }

    /// The ranges of a keyspace that `node` is to drop: those that it held before a change of replication that is
    /// nearly over, and holds no more.
    #[must_use]
    pub fn dropped(&self, node: NodeId) -> Vec<TokenRange> {
        let (Some(running), Some(other)) = (&self.replication_change, &self.other) else { return Vec::new() };
        let Some(read) = self.by_keyspace.get(&running.keyspace).filter(|_| !running.writes_both()) else {
            return Vec::new();
        };
        let is_dropped = |index: &usize| other.at(*index).contains(&node) && !read.at(*index).contains(&node);
        let ring = &self.ring;
        let range = |index: usize| {
            let end = ring[index].0;
            let within = |start, end| TokenRange { start, end };
            match index.checked_sub(1) {
                Some(before) => vec![within(ring[before].0, end)],
                // The first range goes around the end of the ring.
                None => vec![within(Token::MINIMUM, end), within(ring[ring.len() - 1].0, Token(i64::MAX))],
            }
        };
        let ranges = (0..ring.len()).filter(is_dropped).flat_map(range);
        ranges.filter(|range| range.start < range.end).collect()
    }

    /// The first part of `range` in which every token has the same holders, and those. `None` when nobody holds
    /// anything of the keyspace.
    #[must_use]
    pub fn held_part(&self, keyspace: &str, range: TokenRange) -> Option<(TokenRange, &[NodeId])> {
        match self.change_of(keyspace) {
            Some(running) if running.writes_both() && !self.holders.is_empty() => {
                self.part_by(range, |index| &self.holders[index])
            }
            _ => self.part(keyspace, range),
        }
    }

    /// The first part of `range` in which every token has the same replicas, and those: neighbours on the ring that
    /// have the same set of them are one part. `None` when nobody holds anything of the keyspace.
    #[must_use]
    pub fn part(&self, keyspace: &str, range: TokenRange) -> Option<(TokenRange, &[NodeId])> {
        let placement = self.by_keyspace.get(keyspace)?;
        if self.ring.is_empty() {
            return None;
        }
        self.part_by(range, |index| placement.at(index))
    }

    /// The first part of `range` whose nodes, by the index of a range of the ring, are the same.
    fn part_by<'a>(&self, range: TokenRange, at: impl Fn(usize) -> &'a [NodeId]) -> Option<(TokenRange, &'a [NodeId])> {
        // The range is not empty, so its start has a successor.
        let first = index_of(&self.ring, Token(range.start.0 + 1));
        let replicas = at(first);
        let same = |index: usize| {
            let other = at(index);
            other.len() == replicas.len() && other.iter().all(|node| replicas.contains(node))
        };
        let mut end = self.end_of(first, range.start);
        while end < range.end {
            let next = index_of(&self.ring, Token(end.0 + 1));
            if !same(next) {
                break;
            }
            end = self.end_of(next, end);
        }
        let end = end.min(range.end);
        (!replicas.is_empty()).then_some((TokenRange { start: range.start, end }, replicas))
    }

    /// The last token of the part of the ring that ends at `ring[index]`, seen from a token before it. The part
    /// behind the last token of the ring goes around it.
    fn end_of(&self, index: usize, before: Token) -> Token {
        let end = self.ring[index].0;
        if end > before { end } else { Token(i64::MAX) }
    }

    /// True when `node` holds every token of `range`.
    #[must_use]
    pub fn holds(&self, keyspace: &str, mut range: TokenRange, node: NodeId) -> bool {
        while let Some((part, replicas)) = self.held_part(keyspace, range) {
            if !replicas.contains(&node) {
                return false;
            }
            if part.end == range.end {
                return true;
            }
            range.start = part.end;
        }
        false
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::NodeAddresses;
    use model::Rng;
    use model::schema::SchemaChange;

    fn view(rng: &mut Rng, nodes: u64, tokens: u64, factor: u32) -> ClusterView {
        let mut taken = BTreeSet::new();
        let members = (1..=nodes).map(|id| {
            let address = SocketAddr::from(([10, 0, 0, id as u8], 7000));
            let mut own = Vec::new();
            while (own.len() as u64) < tokens {
                let token = match rng.below(8) {
                    0 => Token(i64::MAX - rng.below(3) as i64),
                    1 => Token(i64::MIN + 1 + rng.below(3) as i64),
                    _ => Token(rng.next_u64() as i64),
                };
                if token != Token::MINIMUM && taken.insert(token) {
                    own.push(token);
                }
            }
            let info = MemberInfo {
                id: NodeId(u128::from(id)),
                addresses: NodeAddresses { internode: address, client: address, native: address },
                data_center: "dc".to_owned(),
                rack: "rack".to_owned(),
                tokens: own,
            };
            (info.id, info)
        });
        let members = members.collect();
        let replication = Replication::Simple { factor };
        let keyspace = SchemaChange::CreateKeyspace { name: "k".to_owned(), replication, if_not_exists: false };
        let schema = Schema::default().apply(&keyspace).unwrap().unwrap();
        ClusterView::new(Epoch(1), 1, Arc::new(schema), members, BTreeSet::new())
    }

    fn set(nodes: &[NodeId]) -> BTreeSet<NodeId> {
        nodes.iter().copied().collect()
    }

    #[test]
    fn the_parts_of_a_range_cover_it_and_each_has_the_replicas_of_all_its_tokens() {
        for seed in 0..400 {
            let mut rng = Rng::new(seed);
            let (nodes, tokens, factor) = (rng.between(1, 6), rng.between(1, 3), rng.between(1, 4) as u32);
            let view = view(&mut rng, nodes, tokens, factor);
            let mut ends = [rng.next_u64() as i64, rng.next_u64() as i64];
            ends.sort_unstable();
            let whole = if rng.chance(300) {
                TokenRange::ALL
            } else {
                TokenRange { start: Token(ends[0]), end: Token(ends[1]) }
            };
            let mut rest = whole;
            let mut previous: Option<BTreeSet<NodeId>> = None;
            loop {
                let (part, replicas) = view.part("k", rest).unwrap();
                assert_eq!(part.start, rest.start);
                assert!(part.end > part.start && part.end <= rest.end, "seed {seed}");
                assert_ne!(previous, Some(set(replicas)), "seed {seed}: neighbours that are alike are one");
                let inside = [part.start.0 + 1, part.start.0 / 2 + part.end.0 / 2 + 1, part.end.0];
                let ring = view.ring().iter().map(|(token, _)| token.0);
                let near = ring.flat_map(|token| [token, token.saturating_add(1)]);
                for token in inside.into_iter().chain(near).map(Token).filter(|token| part.contains(*token)) {
                    assert_eq!(set(view.replicas("k", token)), set(replicas), "seed {seed}: {token}");
                }
                for node in view.members.keys() {
                    assert_eq!(view.holds("k", part, *node), replicas.contains(node), "seed {seed}");
                    assert!(!view.holds("k", whole, *node) || replicas.contains(node), "seed {seed}");
                }
                if part.end == whole.end {
                    break;
                }
                previous = Some(set(replicas));
                rest.start = part.end;
            }
        }
    }

    #[test]
    fn nobody_holds_a_range_of_an_unknown_keyspace() {
        let view = view(&mut Rng::new(1), 3, 2, 2);
        assert_eq!(view.part("other", TokenRange::ALL), None);
        assert!(!view.holds("other", TokenRange::ALL, NodeId(1)));
    }
}
