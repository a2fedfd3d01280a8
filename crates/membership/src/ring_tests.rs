//! Allocation: balanced, better than random, free of collisions.

use super::*;
use model::Rng;
use model::placement::{Place, Placement, index_of};
use model::schema::Replication;
use proptest::prelude::*;
use std::net::SocketAddr;

fn member(id: usize, data_center: &str, tokens: Vec<Token>) -> MemberInfo {
    let address = SocketAddr::from(([10, 0, (id >> 8) as u8, id as u8], 7000));
    let addresses = crate::NodeAddresses { internode: address, client: address, native: address };
    let (data_center, rack) = (data_center.to_owned(), "r".to_owned());
    MemberInfo { id: NodeId(id as u128), addresses, data_center, rack, tokens }
}

/// The largest share of a node over the mean share, in per mille, at a replication factor.
fn imbalance(ring: &[(Token, NodeId)], members: &BTreeMap<NodeId, MemberInfo>, factor: u32) -> (u128, u128) {
    let placement = Placement::new(ring, |_| Place { data_center: "", rack: "" }, &Replication::Simple { factor });
    let mut owned: BTreeMap<NodeId, u128> = BTreeMap::new();
    for index in 0..ring.len() {
        for node in placement.at(index) {
            *owned.entry(*node).or_insert(0) += width(ring, index);
        }
    }
    let mean = owned.values().sum::<u128>() / members.len() as u128;
    let per_mille = |share: Option<&u128>| share.unwrap() * 1000 / mean;
    (per_mille(owned.values().min()), per_mille(owned.values().max()))
}

fn grow(nodes: usize, mut tokens_for: impl FnMut(&[(Token, NodeId)]) -> Vec<Token>) -> BTreeMap<NodeId, MemberInfo> {
    let mut members = BTreeMap::new();
    for id in 0..nodes {
        let ring = ring_of(members.values());
        members.insert(NodeId(id as u128), member(id, "dc1", tokens_for(&ring)));
    }
    members
}

#[test]
fn allocation_balances_the_load_better_than_random_tokens() {
    let mut rng = Rng::new(1);
    println!("nodes | allocated: share of mean, min..max ‰ (factor 1, factor 3) | random");
    for nodes in [3, 4, 5, 6, 8, 10, 13, 16, 20, 25, 32, 40, 50] {
        let members = grow(nodes, |ring| allocate(ring, ring, 16));
        let random = grow(nodes, |_| {
            let mut tokens: Vec<Token> = (0..16).map(|_| Token(rng.next_u64() as i64)).collect();
            tokens.sort_unstable();
            tokens
        });
        let (ring, random_ring) = (ring_of(members.values()), ring_of(random.values()));
        let (one, three) = (imbalance(&ring, &members, 1), imbalance(&ring, &members, 3));
        let random_one = imbalance(&random_ring, &random, 1);
        let random_three = imbalance(&random_ring, &random, 3);
        println!("{nodes:5} | {one:?} {three:?} | {random_one:?} {random_three:?}");
        assert!(one.0 >= 900 && one.1 <= 1_100, "{nodes} nodes: {one:?}");
        assert!(three.0 >= 870 && three.1 <= 1_150, "{nodes} nodes: {three:?}");
        assert!(one.1 < random_one.1 && (nodes <= 3 || three.1 < random_three.1), "{nodes} nodes: not better");
    }
}

#[test]
fn a_thousand_nodes_are_balanced_too() {
    let members = grow(1_000, |ring| allocate(ring, ring, 8));
    let ring = ring_of(members.values());
    let (one, three) = (imbalance(&ring, &members, 1), imbalance(&ring, &members, 3));
    println!("1000 nodes of 8 tokens | {one:?} {three:?}");
    assert!(one.1 <= 1_250 && three.1 <= 1_300);
}

#[test]
fn the_first_node_gets_even_ranges() {
    for count in [1, 2, 3, 16, 256] {
        let members = grow(1, |ring| allocate(ring, ring, count));
        let ring = ring_of(members.values());
        assert_eq!(ring.len(), count as usize);
        let widths: Vec<u128> = (0..ring.len()).map(|index| width(&ring, index)).collect();
        assert!(widths.iter().max().unwrap() - widths.iter().min().unwrap() <= u128::from(count));
        assert_eq!(widths.iter().sum::<u128>(), 1 << 64);
    }
}

#[test]
fn a_second_data_center_gets_free_tokens_by_its_own_load() {
    let first = grow(4, |ring| allocate(ring, ring, 16));
    let whole = ring_of(first.values());
    let tokens = allocate(&[], &whole, 16);
    assert!(tokens.iter().all(|token| whole.binary_search_by_key(token, |(known, _)| *known).is_err()));
    let own = ring_of([&member(9, "dc2", tokens)].into_iter());
    let widths: Vec<u128> = (0..own.len()).map(|index| width(&own, index)).collect();
    assert!(widths.iter().max().unwrap() - widths.iter().min().unwrap() < 100);
}

#[test]
fn a_token_belongs_to_the_range_that_ends_at_or_after_it() {
    let ring = [(Token(-5), NodeId(1)), (Token(7), NodeId(2))];
    let cases = [(i64::MIN, 0), (-6, 0), (-5, 0), (-4, 1), (7, 1), (8, 0), (i64::MAX, 0)];
    for (token, index) in cases {
        assert_eq!(index_of(&ring, Token(token)), index, "{token}");
    }
}

proptest! {
    #[test]
    fn the_gains_of_a_cut_are_the_differences_of_the_shares(
        owners in prop::collection::vec(0usize..5, 1..25), at: prop::sample::Index, newcomer_has_some: bool, seed: u64,
    ) {
        let mut rng = Rng::new(seed);
        let mut tokens: BTreeSet<i64> = BTreeSet::new();
        while tokens.len() < owners.len() {
            tokens.insert(((rng.next_u64() >> SHIFT) << SHIFT) as i64);
        }
        let newcomer = if newcomer_has_some { 4 } else { 5 };
        let ring = tokens.into_iter().map(Token).zip(owners).collect();
        let mut plan = Plan { ring, newcomer };
        plan.ring.iter_mut().for_each(|(_, owner)| *owner = (*owner).min(newcomer));
        let index = at.index(plan.ring.len());
        let cut = plan.width(index) / 3;
        prop_assume!(cut > 0);
        let start = (plan.ring[index].0.0 as u64).wrapping_sub(plan.width(index) << SHIFT);
        let gains = plan.gains(index, cut);
        let before = [plan.shares(1), plan.shares(FACTOR)];
        plan.place(Token(start.wrapping_add(cut << SHIFT) as i64));
        let after = [plan.shares(1), plan.shares(FACTOR)];
        for owner in 0..=newcomer {
            let gain = gains.get(&owner).copied().unwrap_or_default();
            prop_assert_eq!(after[0][owner] as i64 - before[0][owner] as i64, gain.0);
            prop_assert_eq!(after[1][owner] as i64 - before[1][owner] as i64, gain.1);
        }
    }

    #[test]
    fn allocation_never_collides_even_on_odd_rings(
        owners in prop::collection::vec((any::<i64>(), 0u128..5), 0..40), count in 1u32..40, near in 0i64..4,
    ) {
        // Some tokens right beside each other, so that there are ranges that cannot be split.
        let tokens: BTreeMap<Token, NodeId> = owners.iter().flat_map(|(token, owner)| {
            (0..=near).map(|by| (Token(token.wrapping_add(by).max(i64::MIN + 1)), NodeId(*owner)))
        }).collect();
        let ring: Vec<(Token, NodeId)> = tokens.into_iter().collect();
        let allocated = allocate(&ring, &ring, count);
        prop_assert!(allocated.is_sorted_by(|a, b| a < b));
        prop_assert_eq!(allocated.len(), count as usize);
        prop_assert!(!allocated.contains(&Token::MINIMUM));
        prop_assert!(allocated.iter().all(|token| ring.iter().all(|(known, _)| known != token)));
        prop_assert_eq!(&allocate(&ring, &ring, count), &allocated);
    }
}
