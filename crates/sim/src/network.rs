//! The simulated network: when, how often and whether a packet arrives.
//!
//! Invariants:
//! * Loss, duplication, reordering and delay are allowed by the contract of `Effect::Send`; nothing else
//!   happens to a packet: it never arrives changed, and never at another node.
//! * A blocked link is directed: from one machine to another. A partition is a set of blocked links.
//! * A clogged link delivers, but only once it is open again; what waited arrives together.

use crate::clock::TrueTime;
use model::Rng;
use std::collections::{BTreeMap, BTreeSet};

/// How a network behaves between faults; probabilities are per mille, times in microseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkProfile {
    /// Shortest time on the way.
    pub latency_min: u64,
    /// Mean of what comes on top.
    pub latency_mean: u64,
    /// Packets lost.
    pub loss: u64,
    /// Packets that arrive twice.
    pub duplicate: u64,
    /// Packets that take up to `spike_max` longer.
    pub spike: u64,
    /// The longest spike.
    pub spike_max: u64,
    /// Packets of one link arrive in the order in which they were sent, as on a stream.
    pub ordered: bool,
}

impl NetworkProfile {
    /// A healthy local network.
    #[must_use]
    pub fn calm() -> NetworkProfile {
        NetworkProfile {
            latency_min: 100,
            latency_mean: 200,
            loss: 0,
            duplicate: 0,
            spike: 0,
            spike_max: 0,
            ordered: true,
        }
    }
}

/// The streams between two machines: each is clogged, and keeps its order, by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stream {
    /// What membership says.
    Control,
    /// What shards say.
    Data,
}

/// The links between all machines.
pub struct Network {
    rng: Rng,
    profile: NetworkProfile,
    blocked: BTreeSet<(usize, usize)>,
    clogged: BTreeMap<(Stream, usize, usize), TrueTime>,
    last_arrival: BTreeMap<(Stream, usize, usize), TrueTime>,
}

/// When the copies of one packet arrive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arrivals {
    /// The packet; `None` when it is lost.
    pub first: Option<TrueTime>,
    /// Its duplicate, if there is one.
    pub second: Option<TrueTime>,
}

impl Network {
    /// A network on which nothing is blocked.
    #[must_use]
    pub fn new(profile: NetworkProfile, rng: Rng) -> Network {
        let (blocked, clogged, last_arrival) = (BTreeSet::new(), BTreeMap::new(), BTreeMap::new());
        Network { rng, profile, blocked, clogged, last_arrival }
    }

    /// Changes how the network behaves from now on.
    pub fn set_profile(&mut self, profile: NetworkProfile) {
        self.profile = profile;
    }

    /// Blocks or opens the link from one machine to another.
    pub fn set_blocked(&mut self, from: usize, to: usize, blocked: bool) {
        if blocked {
            self.blocked.insert((from, to));
        } else {
            self.blocked.remove(&(from, to));
        }
    }

    /// True when nothing gets from one machine to the other.
    #[must_use]
    pub fn is_blocked(&self, from: usize, to: usize) -> bool {
        self.blocked.contains(&(from, to))
    }

    /// Lets nothing of a stream through from one machine to another until `until`; then everything.
    pub fn clog(&mut self, stream: Stream, from: usize, to: usize, until: TrueTime) {
        self.clogged.insert((stream, from, to), until);
    }

    /// Opens every link.
    pub fn heal(&mut self) {
        self.blocked.clear();
        self.clogged.clear();
        self.last_arrival.clear();
    }

    /// Decides the fate of a packet sent at `time`.
    pub fn send(&mut self, time: TrueTime, stream: Stream, from: usize, to: usize) -> Arrivals {
        if self.blocked.contains(&(from, to)) || self.draw(self.profile.loss) {
            return Arrivals::default();
        }
        let link = (stream, from, to);
        let first = self.arrival(time, link);
        let second = self.draw(self.profile.duplicate).then(|| self.arrival(time, link));
        Arrivals { first: Some(first), second }
    }

    fn draw(&mut self, per_mille: u64) -> bool {
        per_mille > 0 && self.rng.chance(per_mille)
    }

    fn arrival(&mut self, time: TrueTime, link: (Stream, usize, usize)) -> TrueTime {
        let mut delay = self.profile.latency_min + geometric(&mut self.rng, self.profile.latency_mean);
        if self.draw(self.profile.spike) {
            delay += self.rng.between(0, self.profile.spike_max);
        }
        let mut at = time + delay;
        if let Some(until) = self.clogged.get(&link).copied() {
            if until > time {
                at = at.max(until);
            } else {
                self.clogged.remove(&link);
            }
        }
        if self.profile.ordered {
            let last = self.last_arrival.entry(link).or_default();
            at = at.max(*last);
            *last = at;
        }
        at
    }
}

/// A number with about this mean and a long tail: the mean times the number of coin tosses until heads,
/// spread evenly within a toss. (An exponential distribution without floats.)
pub fn geometric(rng: &mut Rng, mean: u64) -> u64 {
    if mean == 0 {
        return 0;
    }
    let tosses = u64::from(rng.next_u64().trailing_zeros().min(12));
    // Tosses average 1 and the spread one half: three quarters of the mean each make up the mean and an eighth.
    tosses * (mean * 3 / 4) + rng.below(mean * 3 / 4 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(change: impl FnOnce(&mut NetworkProfile)) -> Network {
        let mut profile = NetworkProfile::calm();
        change(&mut profile);
        Network::new(profile, Rng::new(3))
    }

    #[test]
    fn a_blocked_link_is_blocked_in_one_direction() {
        let mut network = network(|_| {});
        network.set_blocked(0, 1, true);
        assert_eq!(network.send(5, Stream::Data, 0, 1), Arrivals::default());
        assert!(network.send(5, Stream::Data, 1, 0).first.is_some());
        network.heal();
        assert!(network.send(5, Stream::Data, 0, 1).first.is_some_and(|at| at >= 105));
    }

    #[test]
    fn a_clogged_link_delivers_when_it_opens() {
        let mut network = network(|_| {});
        network.clog(Stream::Data, 0, 1, 1_000_000);
        assert!(network.send(5, Stream::Data, 0, 1).first.is_some_and(|at| at >= 1_000_000));
        assert!(network.send(5, Stream::Control, 0, 1).first.is_some_and(|at| at < 100_000));
        let later = network.send(1_000_001, Stream::Data, 0, 1).first.unwrap();
        assert!(later < 1_100_000);
    }

    #[test]
    fn loss_and_duplication_follow_their_probabilities_and_order_is_kept_when_asked_for() {
        let mut network = network(|profile| {
            profile.loss = 100;
            profile.duplicate = 200;
            profile.spike = 300;
            profile.spike_max = 50_000;
        });
        let fates: Vec<Arrivals> = (0..10_000).map(|time| network.send(time, Stream::Data, 0, 1)).collect();
        let lost = fates.iter().filter(|fate| fate.first.is_none()).count();
        let doubled = fates.iter().filter(|fate| fate.second.is_some()).count();
        assert!((800..1200).contains(&lost), "{lost}");
        assert!((1600..2000).contains(&doubled), "{doubled}");
        let order: Vec<TrueTime> = fates.iter().filter_map(|fate| fate.first).collect();
        assert!(order.windows(2).all(|pair| pair[0] <= pair[1]));
    }

    #[test]
    fn delays_have_about_their_mean_and_a_tail() {
        let mut rng = Rng::new(9);
        let draws: Vec<u64> = (0..100_000).map(|_| geometric(&mut rng, 1000)).collect();
        let mean = draws.iter().sum::<u64>() / draws.len() as u64;
        assert!((1000..1250).contains(&mean), "{mean}");
        assert!(draws.iter().any(|draw| *draw > 5_000));
    }
}
