//! Which nodes hold which range of the ring, as Cassandra places them: the one rule, by which nodes store data and
//! drivers choose whom to ask.
//!
//! A placement is computed once, for every range of the ring. Every range has the same number of replicas, so they
//! lie in one vector at a fixed stride. Nodes are called by whatever the caller calls them: an id, or a position.

use crate::schema::Replication;
use crate::token::Token;
use std::collections::{BTreeMap, BTreeSet};

/// Where a node stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    /// Its data centre.
    pub data_center: &'a str,
    /// Its rack there.
    pub rack: &'a str,
}

/// The index of the range that holds `token`: of the first token of the ring not below it, or of the first
/// of all, since the ring is round. `ring` is sorted and not empty.
#[must_use]
pub fn index_of<N>(ring: &[(Token, N)], token: Token) -> usize {
    let index = ring.partition_point(|(known, _)| *known < token);
    if index == ring.len() { 0 } else { index }
}

/// The replicas of every range of one ring under one replication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement<N> {
    /// Replicas of each range.
    stride: usize,
    /// Those of the range that ends at `ring[index]`, in ring order, from `index * stride`.
    replicas: Vec<N>,
}

impl<N: Copy + Ord> Placement<N> {
    /// Places every range of `ring`, which is sorted by token, on its nodes, whose places are these.
    #[must_use]
    pub fn new<'a>(ring: &[(Token, N)], place: impl Fn(N) -> Place<'a>, replication: &Replication) -> Placement<N> {
        let mut placement = Placement { stride: 0, replicas: Vec::new() };
        let nodes: BTreeSet<N> = ring.iter().map(|(_, node)| *node).collect();
        let topology = match replication {
            Replication::Simple { .. } => None,
            Replication::NetworkTopology { factors } => Some(Topology::new(ring, &nodes, place, factors)),
        };
        for index in 0..ring.len() {
            let clockwise = (index..ring.len()).chain(0..index);
            let replicas = match (&topology, replication) {
                (None, Replication::Simple { factor }) => {
                    simple(clockwise.map(|index| ring[index].1), *factor, nodes.len())
                }
                (Some(topology), _) => topology.replicas(ring, clockwise),
                (None, Replication::NetworkTopology { .. }) => Vec::new(),
            };
            placement.stride = replicas.len();
            placement.replicas.extend(replicas);
        }
        assert_eq!(placement.replicas.len(), placement.stride * ring.len(), "every range has as many replicas");
        placement
    }

    /// The replicas of the range that ends at the `index`th token of the ring, in ring order.
    #[must_use]
    pub fn at(&self, index: usize) -> &[N] {
        let start = index * self.stride;
        self.replicas.get(start..start + self.stride).unwrap_or(&[])
    }
}

/// The first `factor` distinct nodes, of so many that there are.
fn simple<N: Copy + Eq>(clockwise: impl Iterator<Item = N>, factor: u32, nodes: usize) -> Vec<N> {
    let wanted = (factor as usize).min(nodes);
    let mut replicas: Vec<N> = Vec::with_capacity(wanted);
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
    fn new<'a, N: Copy + Ord>(
        ring: &[(Token, N)],
        nodes: &BTreeSet<N>,
        place: impl Fn(N) -> Place<'a>,
        factors: &BTreeMap<String, u32>,
    ) -> Topology {
        let (mut wanted, mut place_of) = (Vec::new(), BTreeMap::new());
        for (data_center, factor) in factors {
            let local: Vec<(N, &str)> = nodes
                .iter()
                .map(|node| (*node, place(*node)))
                .filter(|(_, place)| place.data_center == data_center)
                .map(|(node, place)| (node, place.rack))
                .collect();
            let racks: BTreeSet<&str> = local.iter().map(|(_, rack)| *rack).collect();
            let racks: Vec<&str> = racks.into_iter().collect();
            let factor = *factor as usize;
            let replicas = factor.min(local.len());
            if replicas == 0 {
                continue;
            }
            for (node, rack) in local {
                place_of.insert(node, (wanted.len(), racks.partition_point(|known| *known < rack)));
            }
            let rack_repeats = factor.saturating_sub(racks.len());
            wanted.push(Wanted { replicas, rack_repeats, racks_met: Vec::new() });
        }
        let places = ring.iter().map(|(_, node)| place_of.get(node).copied()).collect();
        Topology { places, wanted }
    }

    /// For each data centre, nodes on racks not met yet; and as many on racks already met, first come first
    /// served, as there are racks too few (Cassandra's `NetworkTopologyStrategy.DatacenterEndpoints`).
    fn replicas<N: Copy + Eq>(&self, ring: &[(Token, N)], clockwise: impl Iterator<Item = usize>) -> Vec<N> {
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
