//! One attempt of one proposer to get a value chosen: prepare, then accept. It ends chosen, or preempted
//! by a higher ballot, or abandoned by its owner when the time is up; the next attempt is a new
//! `Proposer` with a new, higher ballot.

use crate::{Accepted, Ballot, Nack, Promise};
use std::collections::BTreeSet;

/// What to do after an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action<V> {
    /// Nothing: more answers are needed, or the attempt is over.
    Wait,
    /// A quorum has promised. Call [`Proposer::propose`] now or after further promises, and send what it
    /// returns to the acceptors. Given again at each further promise until then.
    Propose,
    /// The value is chosen for ever. Given once.
    Chosen(V),
    /// A higher ballot is in the way: try again above it, after a random pause. Given once.
    Retry {
        /// The ballot to get above.
        above: Ballot,
    },
}

/// One attempt. `V` is the register's value, `A` names an acceptor: a majority is counted by distinct
/// names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Proposer<V, A> {
    ballot: Ballot,
    quorum: usize,
    phase: Phase<V, A>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase<V, A> {
    Preparing { promised: BTreeSet<A>, highest: Option<Accepted<V>> },
    Accepting { value: V, accepted: BTreeSet<A> },
    Over,
}

impl<V: Clone + Eq, A: Clone + Ord> Proposer<V, A> {
    /// Starts an attempt: send a prepare with `ballot` to all acceptors. Any two sets of `quorum` acceptors
    /// must have one in common.
    ///
    /// # Panics
    /// When `quorum` is 0.
    #[must_use]
    pub fn new(ballot: Ballot, quorum: usize) -> Proposer<V, A> {
        assert!(quorum > 0, "a quorum has members");
        Proposer { ballot, quorum, phase: Phase::Preparing { promised: BTreeSet::new(), highest: None } }
    }

    /// The name of the attempt.
    #[must_use]
    pub fn ballot(&self) -> Ballot {
        self.ballot
    }

    /// The acceptors that have promised; empty once [`Proposer::propose`] was called.
    pub fn promised_by(&self) -> impl Iterator<Item = &A> {
        let promised = match &self.phase {
            Phase::Preparing { promised, .. } => Some(promised),
            Phase::Accepting { .. } | Phase::Over => None,
        };
        promised.into_iter().flatten()
    }

    /// The value that the promises so far oblige this attempt to propose (P4), if any.
    #[must_use]
    pub fn adopted(&self) -> Option<&V> {
        match &self.phase {
            Phase::Preparing { highest, .. } => highest.as_ref().map(|accepted| &accepted.value),
            Phase::Accepting { .. } | Phase::Over => None,
        }
    }

    /// An acceptor promised.
    pub fn on_promise(&mut self, from: A, promise: Promise<V>) -> Action<V> {
        if promise.ballot != self.ballot {
            return Action::Wait;
        }
        let Phase::Preparing { promised, highest } = &mut self.phase else { return Action::Wait };
        promised.insert(from);
        if let Some(accepted) = promise.accepted {
            let higher = highest.as_ref().is_none_or(|known| accepted.ballot > known.ballot);
            if higher {
                *highest = Some(accepted);
            }
        }
        if promised.len() >= self.quorum { Action::Propose } else { Action::Wait }
    }

    /// Ends the first phase: fixes the value of this attempt, which is `own` only when nothing has to be
    /// adopted, and returns it. Send an accept with it to all acceptors.
    ///
    /// # Panics
    /// Unless an action said [`Action::Propose`] and this was not called yet.
    pub fn propose(&mut self, own: V) -> V {
        let Phase::Preparing { promised, highest } = &mut self.phase else {
            panic!("P4: a value is proposed once in an attempt");
        };
        assert!(promised.len() >= self.quorum, "P4: a value is proposed after a quorum of promises");
        let value = highest.take().map_or(own, |accepted| accepted.value);
        self.phase = Phase::Accepting { value: value.clone(), accepted: BTreeSet::new() };
        value
    }

    /// An acceptor accepted this attempt's value under `ballot`.
    pub fn on_accepted(&mut self, from: A, ballot: Ballot) -> Action<V> {
        if ballot != self.ballot {
            return Action::Wait;
        }
        let Phase::Accepting { value, accepted } = &mut self.phase else { return Action::Wait };
        accepted.insert(from);
        if accepted.len() < self.quorum {
            return Action::Wait;
        }
        let value = value.clone();
        self.phase = Phase::Over;
        Action::Chosen(value)
    }

    /// An acceptor refused `ballot`.
    pub fn on_nack(&mut self, ballot: Ballot, nack: Nack) -> Action<V> {
        // A refusal that names no higher ballot is a late answer or a broken peer's.
        if ballot != self.ballot || nack.promised <= self.ballot || matches!(self.phase, Phase::Over) {
            return Action::Wait;
        }
        self.phase = Phase::Over;
        Action::Retry { above: nack.promised }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::NodeId;

    fn ballot(round: u64) -> Ballot {
        Ballot { round, node: NodeId(1) }
    }

    fn promise(accepted: Option<(u64, char)>) -> Promise<char> {
        let accepted = accepted.map(|(round, value)| Accepted { ballot: ballot(round), value });
        Promise { ballot: ballot(9), accepted }
    }

    #[test]
    fn duplicates_and_answers_to_other_ballots_do_not_count() {
        let mut proposer = Proposer::<char, u32>::new(ballot(9), 2);
        assert_eq!(proposer.on_promise(1, promise(None)), Action::Wait);
        assert_eq!(proposer.on_promise(1, promise(None)), Action::Wait);
        assert_eq!(proposer.on_promise(2, Promise { ballot: ballot(8), accepted: None }), Action::Wait);
        assert_eq!(proposer.on_promise(2, promise(None)), Action::Propose);
        assert_eq!(proposer.propose('a'), 'a');
        assert_eq!(proposer.on_accepted(3, ballot(9)), Action::Wait);
        assert_eq!(proposer.on_accepted(3, ballot(9)), Action::Wait);
        assert_eq!(proposer.on_accepted(1, ballot(8)), Action::Wait);
        assert_eq!(proposer.on_accepted(1, ballot(9)), Action::Chosen('a'));
        assert_eq!(proposer.on_accepted(2, ballot(9)), Action::Wait);
    }

    #[test]
    fn the_accepted_value_with_the_highest_ballot_is_adopted_in_any_order() {
        let answers = [promise(Some((3, 'x'))), promise(Some((5, 'y'))), promise(None)];
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let mut proposer = Proposer::<char, usize>::new(ballot(9), 3);
            for from in order {
                proposer.on_promise(from, answers[from].clone());
            }
            assert_eq!(proposer.adopted(), Some(&'y'));
            assert_eq!(proposer.propose('a'), 'y');
        }
    }

    #[test]
    fn a_promise_after_the_quorum_still_counts_for_adoption() {
        let mut proposer = Proposer::<char, u32>::new(ballot(9), 1);
        assert_eq!(proposer.on_promise(1, promise(None)), Action::Propose);
        assert_eq!(proposer.on_promise(2, promise(Some((5, 'y')))), Action::Propose);
        assert_eq!(proposer.promised_by().copied().collect::<Vec<_>>(), [1, 2]);
        assert_eq!(proposer.propose('a'), 'y');
    }

    #[test]
    fn a_refusal_ends_the_attempt_once_and_only_by_a_higher_ballot() {
        let mut proposer = Proposer::<char, u32>::new(ballot(9), 2);
        assert_eq!(proposer.on_nack(ballot(9), Nack { promised: ballot(9) }), Action::Wait);
        assert_eq!(proposer.on_nack(ballot(8), Nack { promised: ballot(10) }), Action::Wait);
        let above = ballot(10);
        assert_eq!(proposer.on_nack(ballot(9), Nack { promised: above }), Action::Retry { above });
        assert_eq!(proposer.on_nack(ballot(9), Nack { promised: above }), Action::Wait);
        assert_eq!(proposer.on_promise(1, promise(None)), Action::Wait);
    }
}
