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
        for index in 0..ring.len() {
            let clockwise = ring[index..].iter().chain(&ring[..index]).map(|(_, node)| *node);
            let replicas = match replication {
                Replication::Simple { factor } => simple(clockwise, *factor, members.len()),
                Replication::NetworkTopology { factors } => network_topology(clockwise, factors, members),
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

/// What one data centre still lacks.
struct Lack<'a> {
    replicas: usize,
    racks_met: BTreeSet<&'a str>,
    /// How many nodes of racks already met may be taken, since there are fewer racks than replicas.
    rack_repeats: usize,
}

/// For each data centre, nodes on racks not met yet; and as many on racks already met, first come first
/// served, as there are racks too few (Cassandra's `NetworkTopologyStrategy.DatacenterEndpoints`).
fn network_topology(
    clockwise: impl Iterator<Item = NodeId>,
    factors: &BTreeMap<String, u32>,
    members: &BTreeMap<NodeId, MemberInfo>,
) -> Vec<NodeId> {
    let mut lacks: BTreeMap<&str, Lack<'_>> = BTreeMap::new();
    for (data_center, factor) in factors {
        let nodes = || members.values().filter(|member| member.data_center == *data_center);
        let racks: BTreeSet<&str> = nodes().map(|member| member.rack.as_str()).collect();
        let factor = *factor as usize;
        let replicas = factor.min(nodes().count());
        if replicas > 0 {
            let rack_repeats = factor.saturating_sub(racks.len());
            lacks.insert(data_center, Lack { replicas, racks_met: BTreeSet::new(), rack_repeats });
        }
    }
    let mut chosen = Vec::new();
    for node in clockwise {
        if lacks.is_empty() {
            break;
        }
        let Some(member) = members.get(&node) else { continue };
        let Some(lack) = lacks.get_mut(member.data_center.as_str()) else { continue };
        if chosen.contains(&node) {
            continue;
        }
        if !lack.racks_met.insert(&member.rack) {
            if lack.rack_repeats == 0 {
                continue;
            }
            lack.rack_repeats -= 1;
        }
        chosen.push(node);
        lack.replicas -= 1;
        if lack.replicas == 0 {
            lacks.remove(member.data_center.as_str());
        }
    }
    chosen
}

#[cfg(test)]
#[path = "placement_tests.rs"]
mod placement_tests;
