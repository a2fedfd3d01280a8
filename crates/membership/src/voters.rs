//! Who decides the log: the set of voters that would survive more losses than the present one does, and when this node
//! proposes it.
//!
//! Invariants:
//! * Liveness suggests voters, the log alone makes them: a set is in force from the slot after the one that a majority
//!   of the voters before it has decided it for (M1, M6).
//! * A set is wanted only when it would survive more losses than the present one. So the set comes to rest, and a voter
//!   that died is kept until a living member can take its place or fewer voters would do better.
//! * One node proposes: the first living voter. When two take themselves for it they duel, and the log decides.

use crate::log::{MemberInfo, State, VOTERS_MAX};
use crate::member::Member;
use model::consistency::majority;
use model::{Epoch, Instant, NodeId};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// For so long the same set is wanted before it is proposed: nodes that start together join one after another.
const SETTLE: Duration = Duration::from_secs(1);

impl State {
    /// These nodes as voters; `None` when they cannot be: they are none or too many, or one is no member.
    pub(crate) fn addresses_of_voters(&self, ids: &[NodeId]) -> Option<BTreeMap<NodeId, SocketAddr>> {
        if ids.is_empty() || ids.len() > VOTERS_MAX {
            return None;
        }
        ids.iter().map(|id| Some((*id, self.members.get(id)?.addresses.internode))).collect()
    }

    /// The voters, ascending, that would survive the loss of more of `usable` than the present ones; `None` when none
    /// would. An odd number of them, at most [`VOTERS_MAX`]. Present voters that are usable stay; further ones are
    /// spread over data centres, then over racks.
    #[must_use]
    pub fn wanted_voters(&self, usable: &BTreeSet<NodeId>) -> Option<Vec<NodeId>> {
        let members = self.members.values().filter(|member| usable.contains(&member.id));
        let (mut present, mut others): (Vec<&MemberInfo>, Vec<&MemberInfo>) =
            members.partition(|member| self.voters.contains_key(&member.id));
        let usable_voters = present.len();
        let count = match (present.len() + others.len()).min(VOTERS_MAX) {
            0 => return None,
            even if even % 2 == 0 => even - 1,
            odd => odd,
        };
        let mut chosen: Vec<&MemberInfo> = Vec::with_capacity(count);
        for candidates in [&mut present, &mut others] {
            while chosen.len() < count
                && let Some(next) = (0..candidates.len()).min_by_key(|index| crowding(&chosen, candidates[*index]))
            {
                chosen.push(candidates.swap_remove(next));
            }
        }
        let (spared, needed) = (count - majority(count), majority(self.voters.len()));
        if spared + needed <= usable_voters {
            return None;
        }
        let mut ids: Vec<NodeId> = chosen.iter().map(|member| member.id).collect();
        ids.sort_unstable();
        Some(ids)
    }
}

/// How many of the chosen stand where this one does: the fewer the better, and of equals the smallest id.
fn crowding(chosen: &[&MemberInfo], candidate: &MemberInfo) -> (usize, usize, NodeId) {
    let near = chosen.iter().filter(|other| other.data_center == candidate.data_center);
    let (near, beside) =
        near.fold((0, 0), |(near, beside), other| (near + 1, beside + usize::from(other.rack == candidate.rack)));
    (near, beside, candidate.id)
}

/// What a node thinks of the voters.
#[derive(Clone, Debug)]
pub(crate) struct VoterCare {
    /// Since when each voter has not been alive, as far as this node knows.
    absent: BTreeMap<NodeId, Instant>,
    /// The set that is wanted, and since when.
    wanted: Option<(Vec<NodeId>, Instant)>,
    /// What was looked at last.
    seen: (Epoch, Arc<BTreeSet<NodeId>>),
    /// When to look again though nothing else has changed.
    look_at: Option<Instant>,
}

impl VoterCare {
    pub(crate) fn new(now: Instant) -> VoterCare {
        VoterCare { absent: BTreeMap::new(), wanted: None, seen: (Epoch(0), Arc::default()), look_at: Some(now) }
    }
}

impl Member {
    /// Finds out whether other voters are wanted, when something has changed of which that depends.
    pub(crate) fn care_for_voters(&mut self) {
        let (epoch, now, alive) = (self.epoch(), self.now, self.gossip.alive());
        let care = &mut self.voter_care;
        let changed = care.seen.0 != epoch || !Arc::ptr_eq(&care.seen.1, alive);
        if !changed && care.look_at.is_none_or(|at| at > now) {
            return;
        }
        care.seen = (epoch, alive.clone());
        let state = self.log.state();
        care.absent.retain(|id, _| state.voters.contains_key(id) && !alive.contains(id));
        for id in state.voters.keys().filter(|id| !alive.contains(id)) {
            care.absent.entry(*id).or_insert(now);
        }
        let patience = self.config.voter_patience;
        let returns = care.absent.iter().filter(|(_, since)| **since + patience > now).map(|(id, _)| *id);
        let usable: BTreeSet<NodeId> = alive.iter().copied().chain(returns).collect();
        let since = care.wanted.take();
        care.wanted = state.wanted_voters(&usable).map(|wanted| match since {
            Some((before, since)) if before == wanted => (wanted, since),
            _ => (wanted, now),
        });
        let ends = care.absent.values().map(|since| *since + patience);
        care.look_at = ends.filter(|end| *end > now).min();
    }

    /// When [`Member::care_for_voters`] has something to do, or a proposal of voters becomes due.
    pub(crate) fn voters_deadline(&self) -> Option<Instant> {
        let care = &self.voter_care;
        let settled = care.wanted.as_ref().map(|(_, since)| *since + SETTLE).filter(|at| *at > self.now);
        [care.look_at, settled].into_iter().flatten().min()
    }

    /// The voters that this node is to propose now: it is the first living one, and majorities of the present ones and
    /// of those are alive, so that the change is decided and the next one can be.
    pub(crate) fn voters_to_propose(&self) -> Option<&[NodeId]> {
        let care = &self.voter_care;
        let (wanted, since) = care.wanted.as_ref()?;
        let due = *since + SETTLE <= self.now && care.seen.0 == self.epoch() && self.is_first_living_voter();
        let living = |ids: &mut dyn Iterator<Item = &NodeId>| ids.filter(|id| self.gossip.is_alive(**id)).count();
        let voters = &self.log.state().voters;
        let decidable = living(&mut voters.keys()) >= majority(voters.len());
        (due && decidable && living(&mut wanted.iter()) >= majority(wanted.len())).then_some(wanted)
    }

    /// True on the one node that proposes what no client has asked for: of the voters that it takes for alive the
    /// first, so that they do not duel. Who proposes decides nothing.
    pub(crate) fn is_first_living_voter(&self) -> bool {
        let first = self.log.state().voters.keys().find(|id| self.gossip.is_alive(**id));
        first == Some(&self.config.id)
    }

    /// How many of the voters this node takes for alive.
    pub(crate) fn living_voters(&self) -> usize {
        self.log.state().voters.keys().filter(|id| self.gossip.is_alive(**id)).count()
    }
}

#[cfg(test)]
#[path = "voters_tests.rs"]
mod voters_tests;
