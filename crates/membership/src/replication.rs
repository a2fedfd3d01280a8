//! A change of the replication of a keyspace while it is used: from the old placement to the new one, step by step,
//! each step an entry of the metadata log.
//!
//! ```text
//!  ALTER KEYSPACE   all have applied it   all hold what they are to   all have applied it   all have dropped it
//!      |                  |                      |                          |                     |
//!      v                  v                      v                          v                     v
//!  Announced --------> Copying ------------> Switched ---------------> Cleaning -----------> (none)
//!  reads  old            old                  new                        new                   new
//!  writes old and new    old and new          old and new                new                   new
//! ```
//! Invariants (`docs/protocol/replication.md`):
//! * C1: a step is taken only once every member has done what the step before asks. So no two members are further apart
//!   than one step, and of any two neighbouring steps the quorums of reads of one and of writes of the other meet.
//! * C2: what a quorum of the old placement had when the copying began is on every node of the new one when it ends.
//! * C3: one change at a time in a cluster. The change can be taken back as long as reads go to the old placement: it
//!   then goes on to `Cleaning`, with the two placements in each other's place.
//! * C4: who holds a range no more has dropped it before the change ends, so that what it held cannot come back when it
//!   is given the range again.

use crate::log::State;
use model::placement::{Place, Placement};
use model::schema::{Replication, SchemaChange};
use model::{Epoch, KeyspaceName, NodeId, RequestError, Token};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// How far a change of replication is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Writes go to both placements on whoever has heard of it.
    Announced,
    /// Writes go to both placements everywhere, and the new one is repaired.
    Copying,
    /// Reads go to the new placement on whoever has heard of it; writes still go to both.
    Switched,
    /// Nobody asks the old placement any more; who is in it alone drops what it holds.
    Cleaning,
}

impl Phase {
    /// Its name where people read it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Phase::Announced => "announced",
            Phase::Copying => "copying",
            Phase::Switched => "switched",
            Phase::Cleaning => "cleaning",
        }
    }
}

/// A change of replication that is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicationChange {
    /// Of this keyspace.
    pub keyspace: KeyspaceName,
    /// What it is changed from.
    pub from: Replication,
    /// What it is changed to.
    pub to: Replication,
    /// How far it is.
    pub phase: Phase,
    /// The epoch at which the phase began.
    pub since: Epoch,
}

/// That it is under way, for people.
impl fmt::Display for ReplicationChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the replication of keyspace {} is being changed: {}", self.keyspace, self.phase.name())
    }
}

impl ReplicationChange {
    /// The placement that is not read from.
    #[must_use]
    pub fn other(&self) -> &Replication {
        if self.phase < Phase::Switched { &self.to } else { &self.from }
    }

    /// True when writes go to both placements.
    #[must_use]
    pub fn writes_both(&self) -> bool {
        self.phase < Phase::Cleaning
    }

    /// True when more is asked of a member than to apply the entry.
    #[must_use]
    pub fn asks_for_work(&self) -> bool {
        matches!(self.phase, Phase::Copying | Phase::Cleaning)
    }
}

impl State {
    /// Where the tables of a keyspace are, by a replication.
    fn placed(&self, ring: &[(Token, NodeId)], replication: &Replication) -> Placement<NodeId> {
        let place = |node| match self.members.get(&node) {
            Some(member) => Place { data_center: &member.data_center, rack: &member.rack },
            None => Place { data_center: "", rack: "" },
        };
        Placement::new(ring, place, replication)
    }

    /// True when the keyspace has tables, and some of their data would be on other nodes.
    fn moves(&self, name: &str, to: &Replication) -> bool {
        let Some(keyspace) = self.schema.keyspace(name).filter(|keyspace| !keyspace.tables.is_empty()) else {
            return false;
        };
        let ring = crate::ring::ring_of(self.members.values());
        let (old, new) = (self.placed(&ring, &keyspace.replication), self.placed(&ring, to));
        let sorted = |placement: &Placement<NodeId>, index| {
            let mut nodes = placement.at(index).to_vec();
            nodes.sort_unstable();
            nodes
        };
        (0..ring.len()).any(|index| sorted(&old, index) != sorted(&new, index))
    }

    /// Whether a change of the schema that the log would hold is one of replication that can be made now; `Ok(None)`
    /// for any other change, `Ok(Some(false))` for one without effect.
    ///
    /// # Errors
    /// `Invalid` while another change of replication is under way.
    pub(crate) fn check_replication_change(&self, change: &SchemaChange) -> Result<Option<bool>, RequestError> {
        match (change, &self.replication_change) {
            (SchemaChange::AdvanceReplication { keyspace, since }, running) => {
                let is_due = |running: &ReplicationChange| running.keyspace == *keyspace && running.since == *since;
                Ok(Some(running.as_ref().is_some_and(is_due)))
            }
            (SchemaChange::AlterKeyspace { name, replication: Some(to), .. }, Some(running))
                if running.keyspace == *name =>
            {
                let takes_back = running.phase < Phase::Switched && *to == running.from;
                if *to == running.to || takes_back {
                    return Ok(Some(takes_back));
                }
                let take_back = if running.phase < Phase::Switched {
                    ", or take it back by giving the keyspace the replication that it had"
                } else {
                    ""
                };
                Err(RequestError::Invalid(format!(
                    "the replication of keyspace {name} is being changed already ({}): wait until that is \
                     done{take_back}",
                    running.phase.name()
                )))
            }
            (SchemaChange::AlterKeyspace { name, replication: Some(to), .. }, Some(running))
                if self.moves(name, to) =>
            {
                Err(RequestError::Invalid(format!(
                    "the replication of keyspace {} is being changed ({}), and one change moves data at a time: wait \
                     until that is done",
                    running.keyspace,
                    running.phase.name()
                )))
            }
            _ => Ok(None),
        }
    }

    /// Applies a change of the schema if it is one of replication that takes time, or a step of one; false when it is
    /// any other.
    pub(crate) fn apply_replication_change(&mut self, change: &SchemaChange) -> bool {
        match change {
            SchemaChange::AdvanceReplication { keyspace, since } => {
                let running = self.replication_change.take();
                match running {
                    Some(running) if running.keyspace == *keyspace && running.since == *since => self.advance(running),
                    other => self.replication_change = other,
                }
                true
            }
            SchemaChange::AlterKeyspace { name, replication: Some(to), .. } => match &self.replication_change {
                Some(running) if running.keyspace == *name => {
                    if running.phase < Phase::Switched && *to == running.from {
                        // What has been copied goes again.
                        self.replication_change = Some(ReplicationChange {
                            keyspace: name.clone(),
                            from: running.to.clone(),
                            to: running.from.clone(),
                            phase: Phase::Cleaning,
                            since: self.epoch,
                        });
                    }
                    true
                }
                // Its proposer has checked that there is none.
                Some(_) => self.moves(name, to),
                None if self.moves(name, to) => {
                    if let Some(keyspace) = self.schema.keyspace(name) {
                        self.replication_change = Some(ReplicationChange {
                            keyspace: name.clone(),
                            from: keyspace.replication.clone(),
                            to: to.clone(),
                            phase: Phase::Announced,
                            since: self.epoch,
                        });
                    }
                    true
                }
                None => false,
            },
            _ => false,
        }
    }

    /// Takes the next step of a change.
    fn advance(&mut self, mut running: ReplicationChange) {
        running.since = self.epoch;
        running.phase = match running.phase {
            Phase::Announced => Phase::Copying,
            Phase::Copying => {
                let (name, replication) = (running.keyspace.clone(), Some(running.to.clone()));
                let switch = SchemaChange::AlterKeyspace { name, replication, if_exists: true };
                if let Ok(Some(schema)) = self.schema.apply(&switch) {
                    self.schema = Arc::new(schema);
                }
                Phase::Switched
            }
            Phase::Switched => Phase::Cleaning,
            Phase::Cleaning => return,
        };
        self.replication_change = Some(running);
    }

    /// Forgets a change whose keyspace is gone.
    pub(crate) fn forget_replication_change(&mut self) {
        let exists = |running: &ReplicationChange| self.schema.keyspace(&running.keyspace).is_some();
        if !self.replication_change.as_ref().is_some_and(exists) {
            self.replication_change = None;
        }
    }
}

/// Who holds each range of a ring in two placements: the nodes of the first, then those that are in the second alone.
pub(crate) fn both(first: &Placement<NodeId>, second: &Placement<NodeId>, ranges: usize) -> Vec<Box<[NodeId]>> {
    let union = |index| {
        let mut nodes = first.at(index).to_vec();
        let others: Vec<NodeId> = second.at(index).iter().copied().filter(|node| !nodes.contains(node)).collect();
        nodes.extend(others);
        nodes.into_boxed_slice()
    };
    (0..ranges).map(union).collect()
}

/// Whether every member has done what the running change asks of it, by what they report.
pub(crate) fn is_done(
    running: &ReplicationChange,
    members: &BTreeMap<NodeId, crate::log::MemberInfo>,
    epoch_of: impl Fn(NodeId) -> Epoch,
    done_of: impl Fn(NodeId) -> Epoch,
) -> bool {
    let done = |id: &NodeId| match running.asks_for_work() {
        true => done_of(*id) >= running.since,
        false => epoch_of(*id) >= running.since,
    };
    members.keys().all(done)
}

#[cfg(test)]
#[path = "replication_tests.rs"]
mod replication_tests;
