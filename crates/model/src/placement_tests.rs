//! Placements against naive models, written from the rules and not from the code.

use super::*;
use crate::rng::Rng;

/// A node with its place and its tokens.
#[derive(Clone)]
struct Member {
    id: u128,
    data_center: String,
    rack: String,
    tokens: Vec<Token>,
}

fn member(id: usize, data_center: &str, rack: &str, tokens: &[i64]) -> Member {
    Member {
        id: id as u128,
        data_center: data_center.to_owned(),
        rack: rack.to_owned(),
        tokens: tokens.iter().copied().map(Token).collect(),
    }
}

fn members(list: Vec<Member>) -> BTreeMap<u128, Member> {
    list.into_iter().map(|member| (member.id, member)).collect()
}

fn ring_of<'a>(members: impl Iterator<Item = &'a Member>) -> Vec<(Token, u128)> {
    let tokens = members.flat_map(|member| member.tokens.iter().map(|token| (*token, member.id)));
    let mut ring: Vec<(Token, u128)> = tokens.collect();
    ring.sort_unstable();
    ring
}

fn place<'a>(members: &'a BTreeMap<u128, Member>) -> impl Fn(u128) -> Place<'a> {
    |node| Place { data_center: &members[&node].data_center, rack: &members[&node].rack }
}

fn replicas(members: &BTreeMap<u128, Member>, replication: &Replication, token: i64) -> Vec<u128> {
    let ring = ring_of(members.values());
    let placement = Placement::new(&ring, place(members), replication);
    placement.at(index_of(&ring, Token(token))).to_vec()
}

fn topology(factors: &[(&str, u32)]) -> Replication {
    let factors = factors.iter().map(|(name, factor)| ((*name).to_owned(), *factor)).collect();
    Replication::NetworkTopology { factors }
}

#[test]
fn simple_takes_the_next_distinct_nodes_clockwise() {
    let members =
        members(vec![member(1, "a", "r", &[0, 30]), member(2, "a", "r", &[10, 20]), member(3, "a", "r", &[40])]);
    for (token, factor, expected) in [
        (0, 1, vec![1]),
        (1, 2, vec![2, 1]),
        (11, 3, vec![2, 1, 3]),
        (31, 2, vec![3, 1]),
        (41, 2, vec![1, 2]),
        (41, 9, vec![1, 2, 3]),
    ] {
        assert_eq!(replicas(&members, &Replication::Simple { factor }, token), expected, "{token} {factor}");
    }
}

#[test]
fn racks_are_met_once_before_any_is_met_twice() {
    let members = members(vec![
        member(1, "a", "r1", &[0]),
        member(2, "a", "r1", &[10]),
        member(3, "a", "r2", &[20]),
        member(4, "a", "r3", &[30]),
        member(5, "b", "r1", &[5]),
    ]);
    assert_eq!(replicas(&members, &topology(&[("a", 3)]), 0), [1, 3, 4]);
    assert_eq!(replicas(&members, &topology(&[("a", 2)]), 0), [1, 3]);
    // One rack too few: one node of a rack already met, the first encountered.
    assert_eq!(replicas(&members, &topology(&[("a", 4)]), 0), [1, 2, 3, 4]);
    assert_eq!(replicas(&members, &topology(&[("a", 1), ("b", 1)]), 6), [2, 5]);
    assert_eq!(replicas(&members, &topology(&[("b", 3)]), 6), [5]);
    assert_eq!(replicas(&members, &topology(&[("b", 0)]), 6), [0; 0]);
}

#[test]
fn nobody_holds_anything_of_an_empty_ring() {
    let none: [(Token, u128); 0] = [];
    let nowhere = |_| Place { data_center: "", rack: "" };
    assert!(Placement::new(&none, nowhere, &Replication::Simple { factor: 3 }).at(0).is_empty());
    assert!(Placement::new(&none, nowhere, &topology(&[("a", 3)])).at(0).is_empty());
}

/// The rule in other words: walk the ring; a node is taken if its rack is new, or if the racks that are
/// still to come cannot fill what is missing.
fn naive_topology(members: &BTreeMap<u128, Member>, data_center: &str, factor: usize, token: Token) -> BTreeSet<u128> {
    let local: Vec<&Member> = members.values().filter(|member| member.data_center == data_center).collect();
    let ring = ring_of(local.iter().copied());
    let start = index_of(&ring, token);
    let mut order: Vec<u128> = Vec::new();
    for (_, node) in ring[start..].iter().chain(&ring[..start]) {
        if !order.contains(node) {
            order.push(*node);
        }
    }
    let rack = |node: &u128| members[node].rack.clone();
    let racks: BTreeSet<String> = order.iter().map(rack).collect();
    // The first node of each rack in the order of the ring.
    let mut firsts: Vec<u128> = Vec::new();
    for node in &order {
        if firsts.iter().all(|first| rack(first) != rack(node)) {
            firsts.push(*node);
        }
    }
    if factor <= racks.len() {
        return firsts.into_iter().take(factor).collect();
    }
    // Fewer racks than replicas: one of each rack, and the rest by order.
    let others = order.iter().copied().filter(|node| !firsts.contains(node));
    let rest: Vec<u128> = others.take(factor - racks.len()).collect();
    firsts.into_iter().chain(rest).collect()
}

#[test]
fn random_clusters_are_placed_as_the_naive_models_say() {
    for seed in 0..300 {
        let mut rng = Rng::new(seed);
        let nodes = rng.between(1, 14) as usize;
        let members = members(
            (0..nodes)
                .map(|id| {
                    let tokens: BTreeSet<i64> = (0..rng.between(1, 6)).map(|_| rng.next_u64() as i64).collect();
                    let tokens: Vec<i64> = tokens.into_iter().collect();
                    let (data_center, rack) = (rng.between(1, 3).to_string(), rng.between(1, 4).to_string());
                    member(id, &data_center, &rack, &tokens)
                })
                .collect(),
        );
        let ring = ring_of(members.values());
        let factor = rng.between(1, 6) as u32;
        let simple = Placement::new(&ring, place(&members), &Replication::Simple { factor });
        let factors: BTreeMap<String, u32> = (1..=3).map(|dc| (dc.to_string(), rng.between(0, 5) as u32)).collect();
        let network =
            Placement::new(&ring, place(&members), &Replication::NetworkTopology { factors: factors.clone() });
        for _ in 0..50 {
            let token = Token(rng.next_u64() as i64);
            let index = index_of(&ring, token);
            let mut expected: Vec<u128> = Vec::new();
            let mut at = index;
            while expected.len() < (factor as usize).min(nodes) {
                if !expected.contains(&ring[at].1) {
                    expected.push(ring[at].1);
                }
                at = (at + 1) % ring.len();
            }
            assert_eq!(simple.at(index), expected, "seed {seed}");
            let placed: BTreeSet<u128> = network.at(index).iter().copied().collect();
            assert_eq!(placed.len(), network.at(index).len(), "seed {seed}: a node twice");
            let expected: BTreeSet<u128> = factors
                .iter()
                .filter(|(name, _)| members.values().any(|member| member.data_center == **name))
                .flat_map(|(name, factor)| naive_topology(&members, name, *factor as usize, token))
                .collect();
            assert_eq!(placed, expected, "seed {seed}");
        }
    }
}
