//! Which nodes hold which range of the ring, as Cassandra places them.
//!
//! A placement is computed once, for every range of the ring, when a view is built. Every range has the
//! same number of replicas, so they lie in one vector at a fixed stride.

use crate::log::MemberInfo;
use model::schema::Replication;
use model::{NodeId, Token};
use std::collections::{BTreeMap, BTreeSet};

/// The replicas of every range of one ring under one replication.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// Replicas of each range.
    stride: usize,
    /// Those of the range that ends at `ring[index]`, in ring order, from `index * stride`.
    replicas: Vec<NodeId>,
}

impl Placement {
    /// Places every range of `ring`, which is sorted by token and names members only.
    #[must_use]
    pub fn new(
        ring: &[(Token, NodeId)],
        members: &BTreeMap<NodeId, MemberInfo>,
        replication: &Replication,
    ) -> Placement {
        let mut placement = Placement::default();
        let topology = match replication {
            Replication::Simple { .. } => None,
            Replication::NetworkTopology { factors } => Some(Topology::new(ring, members, factors)),
        };
        for index in 0..ring.len() {
            let clockwise = (index..ring.len()).chain(0..index);
            let replicas = match (&topology, replication) {
                (None, Replication::Simple { factor }) => {
                    simple(clockwise.map(|index| ring[index].1), *factor, members.len())
                }
                (Some(topology), _) => topology.replicas(ring, clockwise),
                (None, Replication::NetworkTopology { .. }) => Vec::new(),
            };
            placement.stride = replicas.len();
            placement.replicas.extend(replicas);
        }
        assert_eq!(placement.replicas.len(), placement.stride * ring.len(), "R1: every range has as many replicas");
        placement
    }

    /// The replicas of the range that ends at the `index`th token of the ring, in ring order.
    #[must_use]
    pub fn at(&self, index: usize) -> &[NodeId] {
        let start = index * self.stride;
        self.replicas.get(start..start + self.stride).unwrap_or(&[])
    }
}

/// The first `factor` distinct nodes.
fn simple(clockwise: impl Iterator<Item = NodeId>, factor: u32, nodes: usize) -> Vec<NodeId> {
    let wanted = (factor as usize).min(nodes);
    let mut replicas: Vec<NodeId> = Vec::with_capacity(wanted);
    for node in clockwise {
        if replicas.len() == wanted {
            break;
        }
        if !replicas.contains(&node) {
            replicas.push(node);
        }
    }
    replicas
}

/// Where the nodes of a ring stand, by numbers.
struct Topology {
    /// For each token its owner's data centre, as an index of `wanted`, and rack; `None` when nothing is
    /// wanted of that data centre.
    places: Vec<Option<(usize, usize)>>,
    /// What is wanted of each data centre.
    wanted: Vec<Wanted>,
}

/// What is wanted of a data centre, or still is.
#[derive(Clone)]
struct Wanted {
    replicas: usize,
    /// How many nodes of racks already met may be taken, since there are fewer racks than replicas.
    rack_repeats: usize,
    racks_met: Vec<usize>,
}

impl Topology {
    fn new(
        ring: &[(Token, NodeId)],
        members: &BTreeMap<NodeId, MemberInfo>,
        factors: &BTreeMap<String, u32>,
    ) -> Topology {
        let (mut wanted, mut place_of) = (Vec::new(), BTreeMap::new());
        for (data_center, factor) in factors {
            let nodes: Vec<&MemberInfo> =
                members.values().filter(|member| member.data_center == *data_center).collect();
            let racks: BTreeSet<&str> = nodes.iter().map(|member| member.rack.as_str()).collect();
            let racks: Vec<&str> = racks.into_iter().collect();
            let factor = *factor as usize;
            let replicas = factor.min(nodes.len());
            if replicas == 0 {
                continue;
            }
            for node in nodes {
                let rack = racks.partition_point(|rack| *rack < node.rack.as_str());
                place_of.insert(node.id, (wanted.len(), rack));
            }
            let rack_repeats = factor.saturating_sub(racks.len());
            wanted.push(Wanted { replicas, rack_repeats, racks_met: Vec::new() });
        }
        let places = ring.iter().map(|(_, node)| place_of.get(node).copied()).collect();
        Topology { places, wanted }
    }

    /// For each data centre, nodes on racks not met yet; and as many on racks already met, first come first
    /// served, as there are racks too few (Cassandra's `NetworkTopologyStrategy.DatacenterEndpoints`).
    fn replicas(&self, ring: &[(Token, NodeId)], clockwise: impl Iterator<Item = usize>) -> Vec<NodeId> {
        let mut wanted = self.wanted.clone();
        let total: usize = wanted.iter().map(|wanted| wanted.replicas).sum();
        let mut chosen = Vec::with_capacity(total);
        for index in clockwise {
            if chosen.len() == total {
                break;
            }
            let (Some((data_center, rack)), node) = (self.places[index], ring[index].1) else { continue };
            let wanted = &mut wanted[data_center];
            if wanted.replicas == 0 || chosen.contains(&node) {
                continue;
            }
            if !wanted.racks_met.contains(&rack) {
                wanted.racks_met.push(rack);
            } else if wanted.rack_repeats > 0 {
                wanted.rack_repeats -= 1;
            } else {
                continue;
            }
            chosen.push(node);
            wanted.replicas -= 1;
        }
        chosen
    }
}

#[cfg(test)]
#[path = "placement_tests.rs"]
mod placement_tests;
