//! Counting replicas: when enough of them have acknowledged, and when too few are left.
//!
//! A [`Tracker`] counts over *sets of replica sets*: a request is satisfied when every set has as many
//! acknowledgements as it requires. Today there is one set; while a range moves, a write needs its quorum in
//! the old and in the new placement, and a node that is in both counts in both.
//!
//! Invariants (Q): a replica counts once in each set that it is in, whatever it says again; an
//! acknowledgement counts even after a failure, never the other way round; satisfied is final, and so is
//! impossible once no failed replica acknowledges late.

use model::schema::Replication;
use model::{Consistency, NodeId};

use crate::config::ShardConfig;
use crate::planted::Planted;

/// Replicas that must answer at `consistency`, out of the replication factor and not of the nodes that
/// happen to exist: a quorum must intersect the quorums after nodes were added.
pub(crate) fn required(config: &ShardConfig, consistency: Consistency, replication: &Replication) -> usize {
    let required = consistency.required(replication.factor());
    if config.is_planted(Planted::QuorumMinusOne) && consistency == Consistency::Quorum {
        return required.saturating_sub(1).max(1);
    }
    required
}

/// What is known of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Pending,
    Acknowledged,
    Failed,
}

#[derive(Clone, Debug)]
struct Replica {
    node: NodeId,
    state: State,
    /// Bit `n` is set when the replica is in set `n`.
    member_of: u32,
}

/// The count of one replica set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Count {
    /// Acknowledgements needed.
    pub(crate) required: usize,
    /// Acknowledgements received.
    pub(crate) acknowledged: usize,
    /// Replicas that failed.
    pub(crate) failed: usize,
    /// Replicas in the set.
    pub(crate) size: usize,
}

impl Count {
    fn missing(self) -> usize {
        self.required.saturating_sub(self.acknowledged)
    }
}

/// Counts the answers of the replicas of one request.
#[derive(Clone, Debug)]
pub(crate) struct Tracker {
    replicas: Vec<Replica>,
    sets: Vec<Count>,
}

/// Sets that a tracker can count.
const SETS_MAX: usize = 32;

impl Tracker {
    /// A tracker of one replica set, of distinct nodes.
    pub(crate) fn of(replicas: &[NodeId], required: usize) -> Tracker {
        let pending = |node: &NodeId| Replica { node: *node, state: State::Pending, member_of: 1 };
        let set = Count { required, acknowledged: 0, failed: 0, size: replicas.len() };
        Tracker { replicas: replicas.iter().map(pending).collect(), sets: vec![set] }
    }

    /// A tracker of several sets of distinct nodes, each with the acknowledgements that it requires.
    #[cfg_attr(not(test), expect(dead_code, reason = "ranges do not move yet"))]
    pub(crate) fn of_sets(sets: &[(&[NodeId], usize)]) -> Tracker {
        assert!(sets.len() <= SETS_MAX, "a tracker counts few sets");
        let mut tracker = Tracker { replicas: Vec::new(), sets: Vec::with_capacity(sets.len()) };
        for (index, (nodes, required)) in sets.iter().enumerate() {
            tracker.sets.push(Count { required: *required, acknowledged: 0, failed: 0, size: nodes.len() });
            for node in *nodes {
                match tracker.replicas.iter_mut().find(|replica| replica.node == *node) {
                    Some(replica) => replica.member_of |= 1 << index,
                    None => {
                        let member_of = 1 << index;
                        tracker.replicas.push(Replica { node: *node, state: State::Pending, member_of });
                    }
                }
            }
        }
        tracker
    }

    /// Counts an acknowledgement; false when it changes nothing.
    pub(crate) fn acknowledge(&mut self, node: NodeId) -> bool {
        self.change(node, State::Acknowledged)
    }

    /// Counts a failure; false when it changes nothing.
    pub(crate) fn fail(&mut self, node: NodeId) -> bool {
        self.change(node, State::Failed)
    }

    fn change(&mut self, node: NodeId, state: State) -> bool {
        let Some(replica) = self.replicas.iter_mut().find(|replica| replica.node == node) else { return false };
        let was = replica.state;
        if was == state || was == State::Acknowledged {
            return false;
        }
        replica.state = state;
        let member_of = replica.member_of;
        for (index, set) in self.sets.iter_mut().enumerate() {
            if member_of & (1 << index) != 0 {
                set.failed -= usize::from(was == State::Failed);
                set.failed += usize::from(state == State::Failed);
                set.acknowledged += usize::from(state == State::Acknowledged);
            }
        }
        true
    }

    /// True once every set has as many acknowledgements as it requires.
    pub(crate) fn is_satisfied(&self) -> bool {
        self.sets.iter().all(|set| set.acknowledged >= set.required)
    }

    /// True when some set has too few replicas left that have not failed.
    pub(crate) fn is_impossible(&self) -> bool {
        self.sets.iter().any(|set| set.size - set.failed < set.required)
    }

    /// The set that lacks most: what an error reports.
    pub(crate) fn worst(&self) -> Count {
        let worst = self.sets.iter().copied().max_by_key(|set| set.missing());
        worst.unwrap_or(Count { required: 0, acknowledged: 0, failed: 0, size: 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The nodes whose bits are set.
    fn nodes(mask: usize) -> Vec<NodeId> {
        (0..5).filter(|bit| mask & (1 << bit) != 0).map(|bit| NodeId(bit as u128)).collect()
    }

    /// Calls `check` for every pair of sets out of five nodes, every requirement, and every way in which each
    /// node acknowledged, failed or said nothing.
    fn for_all(mut check: impl FnMut(&[(usize, usize)], &Tracker, usize, usize)) {
        for old in 1..16usize {
            for new in [0, 3, 7, 14, 31] {
                for required in 1..=4 {
                    let masks = [(old, required), (new, new.count_ones() as usize / 2 + 1)];
                    let masks = if new == 0 { &masks[..1] } else { &masks[..] };
                    let lists: Vec<(Vec<NodeId>, usize)> = masks.iter().map(|(mask, n)| (nodes(*mask), *n)).collect();
                    let sets: Vec<(&[NodeId], usize)> = lists.iter().map(|(list, n)| (list.as_slice(), *n)).collect();
                    for code in 0..3usize.pow(5) {
                        let mut tracker = Tracker::of_sets(&sets);
                        let (mut acknowledged, mut failed) = (0usize, 0usize);
                        for bit in 0..5 {
                            let node = NodeId(bit as u128);
                            match code / 3usize.pow(bit as u32) % 3 {
                                1 => {
                                    acknowledged |= 1 << bit;
                                    // Twice, and a failure after it: neither counts.
                                    tracker.acknowledge(node);
                                    assert!(!tracker.acknowledge(node) && !tracker.fail(node));
                                }
                                2 => {
                                    failed |= 1 << bit;
                                    tracker.fail(node);
                                    assert!(!tracker.fail(node));
                                }
                                _ => {}
                            }
                        }
                        check(masks, &tracker, acknowledged, failed);
                    }
                }
            }
        }
    }

    #[test]
    fn a_request_is_satisfied_exactly_when_every_set_has_what_it_requires() {
        for_all(|sets, tracker, acknowledged, failed| {
            let satisfied = sets.iter().all(|(mask, n)| (mask & acknowledged).count_ones() as usize >= *n);
            let impossible = sets.iter().any(|(mask, n)| ((mask & !failed).count_ones() as usize) < *n);
            assert_eq!(tracker.is_satisfied(), satisfied);
            assert_eq!(tracker.is_impossible(), impossible);
            assert!(!(satisfied && impossible));
            let worst = tracker.worst();
            assert_eq!(worst.acknowledged >= worst.required, satisfied);
        });
    }

    #[test]
    fn once_every_replica_has_spoken_a_request_is_satisfied_or_impossible() {
        for_all(|sets, tracker, acknowledged, failed| {
            let members = sets.iter().fold(0, |all, (mask, _)| all | mask);
            if members & !(acknowledged | failed) == 0 {
                assert!(tracker.is_satisfied() != tracker.is_impossible());
            }
        });
    }

    #[test]
    fn a_late_acknowledgement_undoes_a_failure() {
        let mut tracker = Tracker::of(&nodes(0b111), 2);
        assert!(tracker.fail(NodeId(0)) && tracker.fail(NodeId(1)));
        assert!(tracker.is_impossible());
        assert!(tracker.acknowledge(NodeId(0)) && tracker.acknowledge(NodeId(2)));
        assert!(tracker.is_satisfied() && !tracker.is_impossible());
        assert!(!tracker.acknowledge(NodeId(9)), "a stranger does not count");
    }

    #[test]
    fn levels_count_from_the_replication_factor() {
        let config = ShardConfig::new(NodeId(1), 0, 1);
        let of = |level, factor| required(&config, level, &Replication::Simple { factor });
        assert_eq!(of(Consistency::One, 3), 1);
        assert_eq!(of(Consistency::Quorum, 3), 2);
        assert_eq!(of(Consistency::Quorum, 4), 3);
        assert_eq!(of(Consistency::All, 3), 3);
        assert_eq!(of(Consistency::Two, 1), 2);
        let factors = [("a".to_owned(), 3), ("b".to_owned(), 2)].into();
        assert_eq!(required(&config, Consistency::Quorum, &Replication::NetworkTopology { factors }), 3);
    }
}
