//! The failure detector and the spreading of heartbeats, without a network.

use super::*;

const ME: NodeId = NodeId(1);
const OTHER: NodeId = NodeId(2);

fn at(milliseconds: u64) -> Instant {
    Instant(milliseconds * 1_000)
}

fn heartbeat(generation: u64, version: u64) -> Heartbeat {
    Heartbeat { generation, version, epoch: Epoch(0), done: Epoch(0) }
}

fn table(members: u128) -> (Gossip, Rng) {
    let mut gossip = Gossip::new(ME, 1);
    gossip.set_members((1..=members).map(NodeId), at(0));
    (gossip, Rng::new(1))
}

/// Lets time pass, with a heartbeat of `OTHER` every `every` milliseconds; returns when it was dead first.
fn run(gossip: &mut Gossip, rng: &mut Rng, from: u64, to: u64, every: Option<u64>) -> Option<u64> {
    let mut version = 1_000_000 + from;
    for now in (from..to).step_by(10) {
        gossip.on_time(at(now), rng);
        if every.is_some_and(|every| (now - from).is_multiple_of(every)) {
            version += 1;
            gossip.merge(OTHER, &[(OTHER, heartbeat(1, version))], at(now), rng);
        }
        if !gossip.is_alive(OTHER) {
            return Some(now);
        }
    }
    None
}

#[test]
fn a_silent_node_is_dead_after_four_seconds_and_alive_at_the_next_heartbeat() {
    let (mut gossip, mut rng) = table(2);
    assert_eq!(**gossip.alive(), BTreeSet::from([ME]));
    gossip.on_direct(OTHER, at(0));
    assert_eq!(**gossip.alive(), BTreeSet::from([ME, OTHER]));
    assert_eq!(run(&mut gossip, &mut rng, 0, 20_000, Some(300)), None);
    let dead = run(&mut gossip, &mut rng, 20_000, 40_000, None).unwrap();
    assert!((23_700..25_200).contains(&dead), "{dead}");
    // An old message does not bring it back, nor an old heartbeat; a newer one does, whoever tells it.
    gossip.on_direct(OTHER, at(41_000));
    gossip.merge(OTHER, &[(OTHER, heartbeat(1, 5))], at(41_000), &mut rng);
    assert!(!gossip.is_alive(OTHER));
    gossip.merge(NodeId(3), &[(OTHER, heartbeat(2, 1))], at(41_000), &mut rng);
    assert!(gossip.is_alive(OTHER));
}

#[test]
fn a_node_that_is_heard_rarely_is_given_more_time() {
    let (mut gossip, mut rng) = table(2);
    gossip.on_direct(OTHER, at(0));
    assert_eq!(run(&mut gossip, &mut rng, 0, 90_000, Some(1_500)), None);
    let dead = run(&mut gossip, &mut rng, 90_000, 120_000, None).unwrap() - 90_000;
    assert!((9_500..13_500).contains(&dead), "{dead}");
}

#[test]
fn an_unreachable_node_is_dead_when_it_does_not_answer_a_probe() {
    let (mut gossip, mut rng) = table(2);
    assert_eq!(gossip.on_unreachable(OTHER, at(0), &mut rng), None, "nobody counts on it");
    gossip.on_direct(OTHER, at(0));
    let nonce = gossip.on_unreachable(OTHER, at(100), &mut rng).unwrap();
    assert_eq!(gossip.on_unreachable(OTHER, at(200), &mut rng), None, "one probe at a time");
    gossip.on_probe_answer(OTHER, nonce, at(300));
    gossip.on_time(at(900), &mut rng);
    assert!(gossip.is_alive(OTHER));
    let nonce = gossip.on_unreachable(OTHER, at(1_000), &mut rng).unwrap();
    assert!(gossip.deadline().unwrap() <= at(1_500));
    gossip.on_probe_answer(OTHER, nonce ^ 1, at(1_100));
    gossip.on_time(at(1_499), &mut rng);
    assert!(gossip.is_alive(OTHER));
    gossip.on_time(at(1_500), &mut rng);
    assert!(!gossip.is_alive(OTHER));
    // G4: that others hear of it makes this node try itself, no more.
    let merged = gossip.merge(NodeId(3), &[(OTHER, heartbeat(1, 8))], at(1_600), &mut rng);
    assert!(!gossip.is_alive(OTHER));
    let (to, nonce) = merged.probes[0];
    assert_eq!(to, OTHER);
    gossip.on_probe_answer(OTHER, nonce, at(1_700));
    assert!(gossip.is_alive(OTHER));
}

#[test]
fn a_pause_of_this_process_is_not_a_silence_of_the_others() {
    let (mut gossip, mut rng) = table(2);
    gossip.on_direct(OTHER, at(0));
    assert_eq!(run(&mut gossip, &mut rng, 0, 10_000, Some(1_000)), None);
    gossip.on_time(at(60_000), &mut rng);
    assert!(gossip.is_alive(OTHER));
    assert!(run(&mut gossip, &mut rng, 60_000, 80_000, None).is_some());
}

#[test]
fn heartbeats_in_any_order_and_number_give_one_table() {
    for seed in 0..200 {
        let mut rng = Rng::new(seed);
        let mut heartbeats: Vec<(NodeId, Heartbeat)> = Vec::new();
        for _ in 0..60 {
            heartbeats.push((NodeId(rng.between(1, 6).into()), heartbeat(rng.below(4), rng.below(9))));
        }
        let merge = |order: &[(NodeId, Heartbeat)]| {
            let (mut gossip, mut rng) = table(5);
            for (step, one) in order.iter().enumerate() {
                gossip.merge(NodeId(3), &[*one], at(step as u64), &mut rng);
            }
            gossip.peers.iter().map(|(id, peer)| (*id, peer.heartbeat)).collect::<Vec<_>>()
        };
        let expected = merge(&heartbeats);
        assert_eq!(expected.len(), 4, "G1: members only");
        let mut again = heartbeats.clone();
        again.extend(heartbeats.iter().copied());
        rng.shuffle(&mut again);
        assert_eq!(merge(&again), expected);
    }
}

#[test]
fn a_later_life_of_this_node_known_to_others_is_reported() {
    let (mut gossip, mut rng) = table(2);
    assert_eq!(gossip.merge(OTHER, &[(ME, heartbeat(1, 99))], at(0), &mut rng).own_generation, None);
    assert_eq!(gossip.merge(OTHER, &[(ME, heartbeat(7, 1))], at(0), &mut rng).own_generation, Some(7));
}

#[test]
fn epochs_never_go_back() {
    let (mut gossip, mut rng) = table(2);
    gossip.on_epoch(OTHER, Epoch(5));
    gossip.merge(OTHER, &[(OTHER, heartbeat(1, 1))], at(0), &mut rng);
    gossip.on_epoch(OTHER, Epoch(4));
    assert_eq!(gossip.epoch_of(OTHER), Epoch(5));
}

#[test]
fn messages_of_a_thousand_members_are_bounded_and_everybody_has_a_turn() {
    let (mut gossip, mut rng) = table(1_000);
    let all: Vec<(NodeId, Heartbeat)> = (2..=1_000).map(|id| (NodeId(id), heartbeat(1, 1))).collect();
    for part in all.chunks(HEARTBEATS_MAX) {
        let merged = gossip.merge(OTHER, part, at(0), &mut rng);
        assert!(merged.probes.len() <= PROBES_MAX);
    }
    let mut told = BTreeSet::new();
    let mut rounds = 0;
    while told.len() < 1_000 {
        rounds += 1;
        let round = gossip.on_time(at(rounds * 2_000), &mut rng).unwrap();
        assert!(round.heartbeats.len() <= HEARTBEATS_MAX, "G3");
        assert_eq!(round.heartbeats[0].0, ME);
        let distinct: BTreeSet<NodeId> = round.heartbeats.iter().map(|(id, _)| *id).collect();
        assert_eq!(distinct.len(), round.heartbeats.len());
        assert!(round.targets.len() <= if rounds == 1 { 11 } else { 4 });
        told.extend(distinct);
        assert!(rounds < 20);
    }
    assert!(gossip.answer(&[]).len() <= HEARTBEATS_MAX);
    gossip.set_members([ME, OTHER].into_iter(), at(100_000));
    assert_eq!(gossip.heartbeats().len(), 2);
}

#[test]
fn an_answer_holds_what_the_other_does_not_know() {
    let (mut gossip, mut rng) = table(4);
    gossip.merge(OTHER, &[(OTHER, heartbeat(1, 5)), (NodeId(3), heartbeat(1, 5))], at(0), &mut rng);
    let ids = |answer: Vec<(NodeId, Heartbeat)>| answer.into_iter().map(|(id, _)| id.0).collect::<Vec<_>>();
    let known = [(OTHER, heartbeat(1, 5)), (NodeId(3), heartbeat(1, 4))];
    assert_eq!(ids(gossip.answer(&known)), [1, 3]);
    gossip.on_direct(NodeId(4), at(0));
    assert_eq!(ids(gossip.answer(&[])), [1, 2, 4], "a node that knows nobody is told of all that live");
    assert_eq!(ids(gossip.answer(&[(OTHER, heartbeat(1, 5)), (NodeId(3), heartbeat(2, 0))])), [1]);
}
