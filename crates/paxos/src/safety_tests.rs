//! P1 under every interleaving of a small system and under random ones of larger systems: messages lost,
//! doubled and reordered, acceptors crashed and read back from their bytes, proposers abandoned. The
//! checker itself is checked: with quorums that do not intersect it must find two chosen values.

use crate::{Accepted, Acceptor, Action, Ballot, Nack, Promise, Proposer};
use model::codec::{Decode, Encode};
use model::{NodeId, Rng};
use std::collections::{BTreeMap, BTreeSet};

type Value = u64;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Packet {
    Prepare { to: usize, ballot: Ballot },
    Promise { to: usize, from: usize, ballot: Ballot, accepted: Option<Accepted<Value>> },
    Accept { to: usize, ballot: Ballot, value: Value },
    Accepted { to: usize, from: usize, ballot: Ballot },
    Nack { to: usize, ballot: Ballot, promised: Ballot },
}

/// Acceptors, proposers, and every packet ever sent. A packet stays deliverable for ever: that is loss
/// (never delivered), duplication and reordering at once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct System {
    acceptors: Vec<Acceptor<Value>>,
    proposers: Vec<(Proposer<Value, usize>, u64)>,
    packets: BTreeSet<Packet>,
    /// For each ballot and value, who accepted it: what is chosen, seen from outside.
    votes: BTreeMap<(Ballot, Value), BTreeSet<usize>>,
}

fn ballot(round: u64, proposer: usize) -> Ballot {
    Ballot { round, node: NodeId(proposer as u128) }
}

impl Packet {
    fn is_answer(&self) -> bool {
        matches!(self, Packet::Promise { .. } | Packet::Accepted { .. } | Packet::Nack { .. })
    }
}

impl System {
    fn new(acceptors: usize, proposers: usize, quorum: usize) -> System {
        let mut system = System {
            acceptors: vec![Acceptor::default(); acceptors],
            proposers: Vec::new(),
            packets: BTreeSet::new(),
            votes: BTreeMap::new(),
        };
        for index in 0..proposers {
            system.proposers.push((Proposer::new(ballot(0, index), quorum), 0));
            system.start(index, 1, quorum);
        }
        system
    }

    fn start(&mut self, proposer: usize, round: u64, quorum: usize) {
        self.proposers[proposer] = (Proposer::new(ballot(round, proposer), quorum), round);
        for to in 0..self.acceptors.len() {
            self.packets.insert(Packet::Prepare { to, ballot: ballot(round, proposer) });
        }
    }

    fn chosen(&self, quorum: usize) -> BTreeSet<Value> {
        let full = self.votes.iter().filter(|(_, voters)| voters.len() >= quorum);
        full.map(|((_, value), _)| *value).collect()
    }

    /// Delivers one packet; `rounds` bounds how often a preempted proposer tries again.
    fn deliver(&mut self, packet: &Packet, quorum: usize, rounds: u64) {
        match packet.clone() {
            Packet::Prepare { to, ballot } => {
                let proposer = ballot.node.0 as usize;
                let answer = match self.acceptors[to].prepare(ballot) {
                    Ok(Promise { accepted, .. }) => Packet::Promise { to: proposer, from: to, ballot, accepted },
                    Err(Nack { promised }) => Packet::Nack { to: proposer, ballot, promised },
                };
                self.packets.insert(answer);
            }
            Packet::Accept { to, ballot, value } => {
                let proposer = ballot.node.0 as usize;
                let answer = match self.acceptors[to].accept(ballot, value) {
                    Ok(()) => {
                        self.votes.entry((ballot, value)).or_default().insert(to);
                        Packet::Accepted { to: proposer, from: to, ballot }
                    }
                    Err(Nack { promised }) => Packet::Nack { to: proposer, ballot, promised },
                };
                self.packets.insert(answer);
            }
            Packet::Promise { to, from, ballot, accepted } => {
                let action = self.proposers[to].0.on_promise(from, Promise { ballot, accepted });
                self.act(to, action, quorum, rounds);
            }
            Packet::Accepted { to, from, ballot } => {
                let action = self.proposers[to].0.on_accepted(from, ballot);
                self.act(to, action, quorum, rounds);
            }
            Packet::Nack { to, ballot, promised } => {
                let action = self.proposers[to].0.on_nack(ballot, Nack { promised });
                self.act(to, action, quorum, rounds);
            }
        }
    }

    fn act(&mut self, proposer: usize, action: Action<Value>, quorum: usize, rounds: u64) {
        match action {
            Action::Wait => {}
            Action::Propose => {
                // Each attempt of each proposer has a value of its own.
                let own = self.proposers[proposer].1 * 100 + proposer as u64;
                let value = self.proposers[proposer].0.propose(own);
                let ballot = self.proposers[proposer].0.ballot();
                for to in 0..self.acceptors.len() {
                    self.packets.insert(Packet::Accept { to, ballot, value });
                }
            }
            Action::Chosen(value) => {
                assert!(self.chosen(quorum).contains(&value), "a value is called chosen that no quorum accepted");
            }
            Action::Retry { above } if above.round < rounds => self.start(proposer, above.round + 1, quorum),
            Action::Retry { .. } => {}
        }
    }

    /// Crashes an acceptor and reads it back from what it stored.
    fn restart_acceptor(&mut self, index: usize) {
        self.acceptors[index] = Acceptor::from_bytes(&self.acceptors[index].to_bytes()).unwrap();
    }
}

/// What to do with the answer to a request in [`explore`].
const ANSWER_ARRIVES: [bool; 2] = [true, false];

/// Visits every state reachable from `start`, where a request may arrive at any time, any number of times or
/// never, and its answer at once or never. An answer that arrives later adds no outcome: it changes only its
/// proposer, and what that sends next may itself arrive as late as one likes. Refusals are left out: they
/// only end an attempt, which is the same as nothing of it arriving any more. Returns how many states there
/// are and the largest set of values chosen in one.
fn explore(mut start: System, quorum: usize, limit: usize) -> (usize, usize) {
    start.packets.retain(|packet| matches!(packet, Packet::Prepare { .. }));
    let mut seen = BTreeSet::from([start.clone()]);
    let mut open = vec![start];
    let mut most = 0;
    while let Some(system) = open.pop() {
        most = most.max(system.chosen(quorum).len());
        for packet in &system.packets {
            for answer_arrives in ANSWER_ARRIVES {
                let mut next = system.clone();
                next.deliver(packet, quorum, 0);
                let answers: Vec<Packet> = next.packets.iter().filter(|packet| packet.is_answer()).cloned().collect();
                for answer in answers {
                    next.packets.remove(&answer);
                    if answer_arrives && !matches!(answer, Packet::Nack { .. }) {
                        next.deliver(&answer, quorum, 0);
                    }
                }
                if seen.len() < limit && seen.insert(next.clone()) {
                    open.push(next);
                }
            }
        }
    }
    (seen.len(), most)
}

#[test]
fn every_interleaving_of_three_proposers_and_three_acceptors_chooses_one_value() {
    let (states, most) = explore(System::new(3, 3, 2), 2, usize::MAX);
    println!("{states} states, at most {most} value chosen");
    assert_eq!(most, 1);
}

#[test]
fn every_interleaving_of_two_proposers_and_four_acceptors_chooses_one_value() {
    let (states, most) = explore(System::new(4, 2, 3), 3, usize::MAX);
    println!("{states} states, at most {most} value chosen");
    assert_eq!(most, 1);
}

#[test]
fn quorums_that_do_not_intersect_are_caught() {
    let (_, most) = explore(System::new(3, 2, 1), 1, 200_000);
    assert!(most > 1, "the checker finds nothing");
}

#[test]
fn random_interleavings_with_crashes_choose_one_value_and_one_is_chosen() {
    let mut chosen_in = 0;
    for seed in 0..2_000 {
        let mut rng = Rng::new(seed);
        let (acceptors, proposers) = (rng.between(1, 7) as usize, rng.between(1, 4) as usize);
        let quorum = acceptors / 2 + 1;
        let mut system = System::new(acceptors, proposers, quorum);
        let mut first = None;
        for _ in 0..rng.between(50, 900) {
            match rng.below(40) {
                0 => system.restart_acceptor(rng.index(acceptors)),
                1 => {
                    // A proposer dies, forgets everything, and begins again with a ballot never used.
                    let proposer = rng.index(proposers);
                    let round = system.proposers[proposer].1 + rng.between(1, 3);
                    system.start(proposer, round, quorum);
                }
                _ => {
                    let index = rng.index(system.packets.len());
                    let packet = system.packets.iter().nth(index).expect("an index below the count").clone();
                    if rng.chance(100) {
                        system.packets.remove(&packet);
                        if system.packets.is_empty() {
                            break;
                        }
                    } else {
                        system.deliver(&packet, quorum, 1_000);
                    }
                }
            }
            let chosen = system.chosen(quorum);
            assert!(chosen.len() <= 1, "seed {seed}: P1 broken: {chosen:?}");
            first = first.or(chosen.first().copied());
            assert_eq!(first.is_some(), !chosen.is_empty(), "seed {seed}: what was chosen is no more");
        }
        chosen_in += usize::from(first.is_some());
    }
    println!("a value was chosen in {chosen_in} of 2000 runs");
    assert!(chosen_in > 700, "the runs test nothing: {chosen_in}");
}
