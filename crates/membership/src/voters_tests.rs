//! Which voters are wanted: a pure function of the members, the voters and who is usable.

use super::*;
use crate::log::{Change, Founder, NodeAddresses};
use model::{Rng, Token};

fn address(id: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, id], 7000))
}

fn join(id: u8, data_center: &str, rack: &str, is_seed: bool) -> Change {
    let addresses = NodeAddresses { internode: address(id), client: address(id), native: address(id) };
    let tokens = vec![Token(i64::from(id))];
    let (data_center, rack) = (data_center.to_owned(), rack.to_owned());
    Change::Join { member: MemberInfo { id: NodeId(id.into()), addresses, data_center, rack, tokens }, is_seed }
}

fn genesis(founders: &[u8]) -> Change {
    let founders = founders.iter().map(|id| Founder { id: NodeId((*id).into()), internode: address(*id) });
    Change::Genesis { cluster_id: 7, founders: founders.collect() }
}

/// Node 1 founds the cluster and is its only voter; all stand in these places.
fn members(places: &[(&str, &str)]) -> State {
    let mut state = State::default();
    state.apply(&genesis(&[1]));
    for (id, (data_center, rack)) in (1..).zip(places) {
        state.apply(&join(id, data_center, rack, false));
    }
    state
}

fn alike(count: usize) -> State {
    members(&vec![("dc1", "r1"); count])
}

fn ids(ids: impl IntoIterator<Item = u128>) -> BTreeSet<NodeId> {
    ids.into_iter().map(NodeId).collect()
}

fn wanted(state: &State, usable: impl IntoIterator<Item = u128>) -> Option<Vec<u128>> {
    Some(state.wanted_voters(&ids(usable))?.into_iter().map(|id| id.0).collect())
}

fn vote(state: &mut State, voters: &[u128]) {
    state.apply(&Change::Voters(voters.iter().copied().map(NodeId).collect()));
}

#[test]
fn as_many_vote_as_survive_more_losses_up_to_seven() {
    for (count, voters) in [(1, None), (2, None), (3, Some(3)), (4, Some(3)), (5, Some(5)), (6, Some(5)), (7, Some(7))]
    {
        assert_eq!(wanted(&alike(count), 1..=7).map(|wanted| wanted.len()), voters, "{count} members");
    }
    let mut large = alike(20);
    assert_eq!(wanted(&large, 1..=20), Some((1..=7).collect()));
    vote(&mut large, &[1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(wanted(&large, 1..=20), None, "the set has come to rest");
}

#[test]
fn voters_stay_and_new_ones_are_spread_over_data_centers_and_racks() {
    let state = members(&[("dc1", "r1"), ("dc1", "r1"), ("dc1", "r2"), ("dc2", "r1"), ("dc2", "r1")]);
    assert_eq!(wanted(&state, [1, 2, 3]), Some(vec![1, 2, 3]));
    assert_eq!(wanted(&state, [1, 2, 3, 4]), Some(vec![1, 3, 4]), "the other data centre, then the other rack");
    let mut state = members(&[("dc1", "r1"), ("dc1", "r1"), ("dc1", "r1"), ("dc1", "r2"), ("dc1", "r3")]);
    vote(&mut state, &[1, 2, 3]);
    assert_eq!(wanted(&state, [1, 2, 3, 4]), None, "voters are not moved for the sake of their places");
    assert_eq!(wanted(&state, [1, 3, 4, 5, 2]), Some(vec![1, 2, 3, 4, 5]));
}

#[test]
fn a_voter_that_is_lost_is_replaced_and_never_by_nobody() {
    let mut state = alike(4);
    vote(&mut state, &[1, 2, 3]);
    assert_eq!(wanted(&state, [1, 3, 4]), Some(vec![1, 3, 4]));
    assert_eq!(wanted(&state, [1, 3]), None, "one voter would survive no more losses than two of three");
}

#[test]
fn a_set_shrinks_only_when_fewer_survive_more() {
    let mut state = alike(5);
    vote(&mut state, &[1, 2, 3, 4, 5]);
    assert_eq!(wanted(&state, [1, 2, 3, 4]), None);
    assert_eq!(wanted(&state, [1, 2, 4]), Some(vec![1, 2, 4]), "these survive one more loss; three of five none");
    vote(&mut state, &[1, 2, 4]);
    assert_eq!(wanted(&state, [1, 2, 3, 4, 5]), Some(vec![1, 2, 3, 4, 5]), "those that come back vote again");
}

#[test]
fn a_founder_that_never_joined_is_replaced() {
    let mut state = State::default();
    state.apply(&genesis(&[1, 2, 3]));
    for id in [1, 2, 4] {
        state.apply(&join(id, "dc1", "r1", id < 4));
    }
    assert_eq!(wanted(&state, [1, 2, 4]), Some(vec![1, 2, 4]));
}

#[test]
fn voters_that_cannot_be_are_without_effect() {
    let mut state = alike(9);
    let before = state.voters.clone();
    for voters in [&[][..], &[1, 99], &[1, 2, 3, 4, 5, 6, 7, 8]] {
        vote(&mut state, voters);
        assert_eq!(state.voters, before, "{voters:?}");
    }
    vote(&mut state, &[2, 3]);
    assert_eq!(state.voters, [(NodeId(2), address(2)), (NodeId(3), address(3))].into());
    let recover = |voter| Change::Recover { cluster_id: 8, voter: NodeId(voter) };
    state.apply(&recover(99));
    assert_eq!((state.cluster_id, state.recoveries.len()), (Some(7), 0));
    state.apply(&recover(4));
    assert_eq!((state.cluster_id, state.recovered_from(7)), (Some(8), Some(state.epoch)));
    assert_eq!(state.voters, [(NodeId(4), address(4))].into());
    let mut none = State::default();
    none.apply(&recover(4));
    assert_eq!((none.cluster_id, none.recoveries.len()), (None, 0));
}

/// Whatever happens, a step makes the set survive more, keeps usable voters as far as they fit, and steps end.
#[test]
fn steps_make_the_set_better_and_end() {
    for seed in 0..2_000 {
        let mut rng = Rng::new(seed);
        let count = rng.between(1, 12) as usize;
        let places: Vec<(&str, &str)> =
            (0..count).map(|_| (["dc1", "dc2", "dc3"][rng.index(3)], ["r1", "r2"][rng.index(2)])).collect();
        let mut state = members(&places);
        let mut voters: Vec<u128> = (1..=count as u128).filter(|_| rng.chance(500)).take(VOTERS_MAX).collect();
        if voters.is_empty() {
            voters.push(1);
        }
        vote(&mut state, &voters);
        let usable: BTreeSet<NodeId> = ids((1..=count as u128).filter(|_| rng.chance(700)));
        for step in 0.. {
            let Some(wanted) = state.wanted_voters(&usable) else { break };
            assert!(step == 0, "seed {seed}: one step is enough");
            assert!(wanted.len() % 2 == 1 && wanted.len() <= VOTERS_MAX && wanted.is_sorted_by(|a, b| a < b));
            assert!(wanted.iter().all(|id| usable.contains(id) && state.members.contains_key(id)));
            let kept = state.voters.keys().filter(|id| usable.contains(id)).count();
            let stay = wanted.iter().filter(|id| state.voters.contains_key(id)).count();
            assert_eq!(stay, kept.min(wanted.len()), "seed {seed}");
            state.apply(&Change::Voters(wanted));
        }
    }
}
