//! Counting replicas: of which sets of them how many must answer, when enough have, and when too few are left.
//!
//! A [`Quorum`] is over *sets of replica sets*: a request is satisfied when every set has as many answers as it
//! requires. EACH_QUORUM has a set for each data centre, a level of one data centre has the replicas there as its
//! set, and all other levels have all replicas. While a range moves, a write needs its quorum in the old and in the
//! new placement. A node that is in several sets counts in each.
//!
//! Invariants (Q): a replica counts once in each set that it is in, whatever it says again; an
//! acknowledgement counts even after a failure, never the other way round; satisfied is final, and so is
//! impossible once no failed replica acknowledges late.

use membership::ClusterView;
use model::consistency::Requirement;
use model::{Consistency, NodeId, Planted, RequestError, Token};

use crate::config::ShardConfig;

/// One set of replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Set {
    /// Answers needed.
    required: usize,
    /// Of replicas of one data centre its name.
    data_center: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Member {
    node: NodeId,
    /// Bit `n` is set when the replica is in set `n`.
    sets: u32,
}

/// The replicas of a request, in sets, and how many of each set must answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Quorum {
    members: Vec<Member>,
    sets: Vec<Set>,
}

/// Sets that a quorum can have: as many data centres are counted one by one.
const SETS_MAX: usize = 32;

impl Quorum {
    /// What `consistency` requires of the `replicas` of a partition or range of `keyspace`.
    ///
    /// # Errors
    /// `Invalid`, when a keyspace has more data centres than can be counted one by one.
    pub(crate) fn new(
        config: &ShardConfig,
        view: &ClusterView,
        keyspace: &str,
        consistency: Consistency,
        replicas: &[NodeId],
    ) -> Result<Quorum, RequestError> {
        let place = |node: NodeId| view.data_center(node);
        let keyspace = view.schema.keyspace(keyspace);
        let local = place(config.node);
        let requirement = keyspace.map(|keyspace| consistency.requirement(&keyspace.replication, local));
        let mut requirement = requirement.unwrap_or(Requirement::OfAll(1));
        if config.is_planted(Planted::QuorumMinusOne)
            && consistency == Consistency::Quorum
            && let Requirement::OfAll(required) = &mut requirement
        {
            *required = required.saturating_sub(1).max(1);
        }
        if config.is_planted(Planted::LocalCountsRemote)
            && let Requirement::Within(_, required) = requirement
        {
            requirement = Requirement::OfAll(required);
        }
        if config.is_planted(Planted::EachCountsTogether) && matches!(requirement, Requirement::Each(_)) {
            requirement = Requirement::OfAll(requirement.total());
        }
        Quorum::of(replicas, &requirement, place)
    }

    /// What `consistency` requires of a write of a partition of `keyspace`: of its replicas and, while the replication
    /// of the keyspace is being changed, as much of those of the other placement.
    ///
    /// # Errors
    /// As [`Quorum::new`].
    pub(crate) fn of_write(
        config: &ShardConfig,
        view: &ClusterView,
        keyspace: &str,
        consistency: Consistency,
        token: Token,
    ) -> Result<Quorum, RequestError> {
        let mut quorum = Quorum::new(config, view, keyspace, consistency, view.replicas(keyspace, token))?;
        let place = |node: NodeId| view.data_center(node);
        let one_is_enough = config.is_planted(Planted::OldPlacementWritten);
        for (replication, replicas) in view.written(keyspace, token).into_iter().skip(1).filter(|_| !one_is_enough) {
            let requirement = consistency.requirement(replication, place(config.node));
            quorum.join(Quorum::of(replicas, &requirement, place)?)?;
        }
        Ok(quorum)
    }

    /// What `consistency` requires of the acceptors of a transaction: any so many of them have a quorum of each
    /// placement that the partition is written to.
    ///
    /// # Errors
    /// As [`Quorum::new`].
    pub(crate) fn of_acceptors(
        config: &ShardConfig,
        view: &ClusterView,
        keyspace: &str,
        consistency: Consistency,
        token: Token,
        acceptors: &[NodeId],
    ) -> Result<Quorum, RequestError> {
        let mut quorum = Quorum::new(config, view, keyspace, consistency, acceptors)?;
        for (replication, replicas) in view.written(keyspace, token) {
            let requirement = consistency.requirement(replication, view.data_center(config.node));
            let others = acceptors.iter().filter(|node| !replicas.contains(node)).count();
            for set in &mut quorum.sets {
                set.required = set.required.max(requirement.total() + others);
            }
        }
        Ok(quorum)
    }

    /// Requires what `other` requires besides.
    fn join(&mut self, other: Quorum) -> Result<(), RequestError> {
        let shift = self.sets.len();
        if shift + other.sets.len() > SETS_MAX {
            return Err(too_many_data_centers());
        }
        self.sets.extend(other.sets);
        for member in other.members {
            match self.members.iter_mut().find(|known| known.node == member.node) {
                Some(known) => known.sets |= member.sets << shift,
                None => self.members.push(Member { sets: member.sets << shift, ..member }),
            }
        }
        Ok(())
    }

    /// What is required of `replicas`, which are in these data centres.
    fn of<'a>(
        replicas: &[NodeId],
        requirement: &Requirement<'_>,
        place: impl Fn(NodeId) -> &'a str,
    ) -> Result<Quorum, RequestError> {
        let set = |data_center: Option<&str>, required| Set { required, data_center: data_center.map(str::to_owned) };
        let sets = match requirement {
            Requirement::OfAll(required) => vec![set(None, *required)],
            Requirement::Within(data_center, required) => vec![set(Some(data_center), *required)],
            Requirement::Each(data_centers) if data_centers.len() > SETS_MAX => {
                return Err(too_many_data_centers());
            }
            Requirement::Each(data_centers) => {
                data_centers.iter().map(|(name, required)| set(Some(name), *required)).collect()
            }
        };
        let member = |node: &NodeId| {
            let is_in = |set: &Set| set.data_center.as_ref().is_none_or(|name| name == place(*node));
            let sets = sets.iter().enumerate().fold(0, |bits, (n, set)| bits | u32::from(is_in(set)) << n);
            Member { node: *node, sets }
        };
        let members = replicas.iter().map(member).collect();
        Ok(Quorum { members, sets })
    }

    /// True when the answer of `node` counts.
    pub(crate) fn counts(&self, node: NodeId) -> bool {
        self.members.iter().any(|member| member.node == node && member.sets != 0)
    }

    /// The same of those members only for which `is` holds.
    pub(crate) fn among(&self, is: impl Fn(NodeId) -> bool) -> Quorum {
        let members = self.members.iter().copied().filter(|member| is(member.node)).collect();
        Quorum { members, sets: self.sets.clone() }
    }

    /// Members of the set for which `is` holds.
    fn count(&self, set: usize, is: impl Fn(NodeId) -> bool) -> usize {
        self.members.iter().filter(|member| member.sets & (1 << set) != 0 && is(member.node)).count()
    }

    /// True when each set has as many members for which `is` holds as it requires.
    pub(crate) fn is_met(&self, is: impl Fn(NodeId) -> bool) -> bool {
        self.sets.iter().enumerate().all(|(n, set)| self.count(n, &is) >= set.required)
    }

    /// Answers needed in all.
    pub(crate) fn required(&self) -> usize {
        self.sets.iter().map(|set| set.required).sum()
    }

    /// How many of the answers needed there are from members for which `is` holds: below [`Quorum::required`] as long
    /// as it is not met.
    pub(crate) fn received(&self, is: impl Fn(NodeId) -> bool) -> usize {
        self.sets.iter().enumerate().map(|(n, set)| self.count(n, &is).min(set.required)).sum()
    }

    /// Refuses a request for which too few replicas are alive. A write at ANY needs none: its coordinator can keep
    /// hints.
    ///
    /// # Errors
    /// `Unavailable`, with the counts of the first set that has too few.
    pub(crate) fn check_alive(
        &self,
        consistency: Consistency,
        is_alive: impl Fn(NodeId) -> bool,
    ) -> Result<(), RequestError> {
        let hinted = consistency == Consistency::Any && !self.members.is_empty();
        for (n, set) in self.sets.iter().enumerate().filter(|_| !hinted) {
            let alive = self.count(n, &is_alive);
            if alive < set.required {
                return Err(RequestError::Unavailable {
                    consistency,
                    required: set.required as u32,
                    alive: alive as u32,
                    data_center: set.data_center.clone(),
                });
            }
        }
        Ok(())
    }

    /// Parts `candidates`, in the order of preference, into those to be asked, which are enough, and the spare ones.
    pub(crate) fn pick(&self, candidates: Vec<NodeId>) -> (Vec<NodeId>, Vec<NodeId>) {
        let mut lacking: Vec<usize> = self.sets.iter().map(|set| set.required).collect();
        candidates.into_iter().partition(|node| {
            let Some(member) = self.members.iter().find(|member| member.node == *node) else { return false };
            let mut needed = false;
            for (_, lacking) in lacking.iter_mut().enumerate().filter(|(n, _)| member.sets & (1 << n) != 0) {
                needed |= *lacking > 0;
                *lacking = lacking.saturating_sub(1);
            }
            needed
        })
    }

    /// True when an answer of `spare` counts wherever one of `node` would.
    pub(crate) fn can_replace(&self, spare: NodeId, node: NodeId) -> bool {
        let sets = |node: NodeId| self.members.iter().find(|member| member.node == node).map_or(0, |found| found.sets);
        sets(node) & !sets(spare) == 0
    }
}

fn too_many_data_centers() -> RequestError {
    RequestError::Invalid(format!("replicas are counted in {SETS_MAX} data centres at most"))
}

/// What is known of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Pending,
    Acknowledged,
    Failed,
}

/// Counts the answers of the replicas of one request.
#[derive(Clone, Debug)]
pub(crate) struct Tracker {
    quorum: Quorum,
    /// Of each member of the quorum.
    states: Vec<State>,
}

impl Tracker {
    /// A tracker of replicas that have said nothing.
    pub(crate) fn of(quorum: Quorum) -> Tracker {
        let states = vec![State::Pending; quorum.members.len()];
        Tracker { quorum, states }
    }

    fn state(&self, node: NodeId) -> Option<State> {
        self.quorum.members.iter().position(|member| member.node == node).map(|index| self.states[index])
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
        let Some(index) = self.quorum.members.iter().position(|member| member.node == node) else { return false };
        let was = self.states[index];
        if was == state || was == State::Acknowledged {
            return false;
        }
        self.states[index] = state;
        true
    }

    /// True once every set has as many acknowledgements as it requires.
    pub(crate) fn is_satisfied(&self) -> bool {
        self.quorum.is_met(|node| self.state(node) == Some(State::Acknowledged))
    }

    /// True when some set has too few replicas left that have not failed.
    pub(crate) fn is_impossible(&self) -> bool {
        !self.quorum.is_met(|node| self.state(node) != Some(State::Failed))
    }

    /// Acknowledgements needed in all.
    pub(crate) fn required(&self) -> usize {
        self.quorum.required()
    }

    /// Acknowledgements received, as far as they are needed.
    pub(crate) fn received(&self) -> usize {
        self.quorum.received(|node| self.state(node) == Some(State::Acknowledged))
    }

    /// Replicas that count and failed.
    pub(crate) fn failures(&self) -> usize {
        let failed = |(member, state): &(&Member, &State)| member.sets != 0 && **state == State::Failed;
        self.quorum.members.iter().zip(&self.states).filter(failed).count()
    }
}

#[cfg(test)]
impl Quorum {
    /// So many of these replicas.
    pub(crate) fn of_all(replicas: &[NodeId], required: usize) -> Quorum {
        Quorum::of(replicas, &Requirement::OfAll(required), |_| "").unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Five nodes, of which the first are in data centre `a`, the others in `b`.
    fn place(in_a: u128) -> impl Fn(NodeId) -> &'static str {
        move |node| if node.0 < in_a { "a" } else { "b" }
    }

    const ALL: [NodeId; 5] = [NodeId(0), NodeId(1), NodeId(2), NodeId(3), NodeId(4)];

    fn requirements() -> Vec<Requirement<'static>> {
        let mut requirements: Vec<_> = (1..=5).map(Requirement::OfAll).collect();
        requirements.extend((1..=3).flat_map(|required| {
            [
                Requirement::Within("a", required),
                Requirement::Within("b", required),
                Requirement::Each(vec![("a", required), ("b", 1)]),
            ]
        }));
        requirements
    }

    /// Whether nodes of this number in `a` and in `b` fulfil a requirement: written anew, by counts.
    fn fulfils(requirement: &Requirement<'_>, a: usize, b: usize) -> bool {
        match requirement {
            Requirement::OfAll(required) => a + b >= *required,
            Requirement::Within("a", required) => a >= *required,
            Requirement::Within(_, required) => b >= *required,
            Requirement::Each(each) => a >= each[0].1 && b >= each[1].1,
        }
    }

    /// Calls `check` for every requirement, every split of five nodes over two data centres, and every way in which
    /// each node acknowledged, failed or said nothing; with the counts of acknowledgements, and of those left.
    fn for_all(check: impl Fn(&Requirement<'_>, &Tracker, [usize; 2], [usize; 2])) {
        for (requirement, in_a) in requirements().iter().flat_map(|of| (0..=5).map(move |in_a| (of, in_a))) {
            for code in 0..3usize.pow(5) {
                let quorum = Quorum::of(&ALL, requirement, place(in_a)).unwrap();
                let mut tracker = Tracker::of(quorum);
                let (mut acknowledged, mut left) = ([0, 0], [0, 0]);
                for (index, node) in ALL.into_iter().enumerate() {
                    let of = usize::from(node.0 >= in_a);
                    match code / 3usize.pow(index as u32) % 3 {
                        1 => {
                            (acknowledged[of], left[of]) = (acknowledged[of] + 1, left[of] + 1);
                            // Twice, and a failure after it: neither counts.
                            assert!(tracker.acknowledge(node));
                            assert!(!tracker.acknowledge(node) && !tracker.fail(node));
                        }
                        2 => assert!(tracker.fail(node) && !tracker.fail(node)),
                        _ => left[of] += 1,
                    }
                }
                check(requirement, &tracker, acknowledged, left);
            }
        }
    }

    #[test]
    fn a_request_is_satisfied_exactly_when_every_set_has_what_it_requires() {
        for_all(|requirement, tracker, acknowledged, left| {
            let satisfied = fulfils(requirement, acknowledged[0], acknowledged[1]);
            assert_eq!(tracker.is_satisfied(), satisfied, "{requirement:?} {tracker:?}");
            assert_eq!(tracker.is_impossible(), !fulfils(requirement, left[0], left[1]));
            assert!(!(satisfied && tracker.is_impossible()));
            assert_eq!(tracker.received() >= tracker.required(), satisfied, "an error never shows enough");
        });
    }

    #[test]
    fn once_every_replica_has_spoken_a_request_is_satisfied_or_impossible() {
        for_all(|_, tracker, acknowledged, left| {
            if acknowledged == left {
                assert!(tracker.is_satisfied() != tracker.is_impossible());
            }
        });
    }

    #[test]
    fn a_late_acknowledgement_undoes_a_failure() {
        let mut tracker = Tracker::of(Quorum::of_all(&ALL[..3], 2));
        assert!(tracker.fail(NodeId(0)) && tracker.fail(NodeId(1)));
        assert!(tracker.is_impossible());
        assert_eq!((tracker.received(), tracker.failures()), (0, 2));
        assert!(tracker.acknowledge(NodeId(0)) && tracker.acknowledge(NodeId(2)));
        assert!(tracker.is_satisfied() && !tracker.is_impossible());
        assert!(!tracker.acknowledge(NodeId(9)), "a stranger does not count");
    }

    #[test]
    fn what_is_picked_is_enough_and_none_of_it_is_too_much() {
        for (requirement, in_a) in requirements().iter().flat_map(|of| (0..=5).map(move |in_a| (of, in_a))) {
            let quorum = Quorum::of(&ALL, requirement, place(in_a)).unwrap();
            for first in 0..5 {
                let mut candidates = ALL.to_vec();
                candidates.rotate_left(first);
                let available = quorum.check_alive(Consistency::Quorum, |_| true).is_ok();
                let (picked, spares) = quorum.pick(candidates.clone());
                assert_eq!(quorum.is_met(|node| picked.contains(&node)), available, "{requirement:?}");
                for without in picked.iter().filter(|_| available) {
                    assert!(!quorum.is_met(|node| node != *without && picked.contains(&node)));
                    for spare in spares.iter().filter(|spare| quorum.can_replace(**spare, *without)) {
                        let answered = |node: NodeId| node == *spare || node != *without && picked.contains(&node);
                        assert!(quorum.is_met(answered), "{spare} stands in for {without}");
                    }
                }
            }
        }
    }

    #[test]
    fn too_few_replicas_alive_are_told_with_their_data_center() {
        let quorum = |requirement| Quorum::of(&ALL, &requirement, place(3)).unwrap();
        let refused = |requirement, consistency: Consistency, alive: &[u128]| {
            quorum(requirement).check_alive(consistency, |node| alive.contains(&node.0)).unwrap_err().to_string()
        };
        let each = Requirement::Each(vec![("a", 2), ("b", 2)]);
        assert_eq!(
            refused(each, Consistency::EachQuorum, &[0, 1, 2, 3]),
            "Cannot achieve consistency level EACH_QUORUM in DC b: 1 of 2 required replicas are alive"
        );
        assert_eq!(
            refused(Requirement::OfAll(3), Consistency::Quorum, &[0, 4]),
            "Cannot achieve consistency level QUORUM: 2 of 3 required replicas are alive"
        );
        let any = quorum(Requirement::OfAll(1));
        assert_eq!(any.check_alive(Consistency::Any, |_| false), Ok(()), "hints are enough");
        assert!(any.check_alive(Consistency::One, |_| false).is_err());
    }

    #[test]
    fn only_replicas_of_a_set_count() {
        let quorum = Quorum::of(&ALL, &Requirement::Within("b", 2), place(3)).unwrap();
        assert!(quorum.counts(NodeId(3)) && !quorum.counts(NodeId(0)) && !quorum.counts(NodeId(9)));
        let each = vec![("a", 1); SETS_MAX + 1];
        assert!(Quorum::of(&ALL, &Requirement::Each(each), place(3)).is_err());
    }
}
