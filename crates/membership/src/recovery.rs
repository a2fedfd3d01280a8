//! A cluster that lost the majority of its voters for good: an operator recovers its log on one node that is stopped,
//! and the others follow, or cannot.
//!
//! The recovery is an entry of the log that nobody has decided: it gives the cluster another name, so that what is left
//! of the old one cannot decide anything together with the new one.
//!
//! Invariants:
//! * A node follows only a cluster that was recovered from its own at a slot that its own log does not reach: what it
//!   has is then a prefix of the recovered log (M1 under each name).
//! * A node that follows takes nothing more from its old cluster, and decides nothing.
//! * A node that has run for a while and knows a majority of its own voters alive does not follow and does not stop:
//!   a recovery by mistake does not end a cluster that lives.

use crate::io::{Body, LogStatus, MemberError, Message, RECOVERIES_MAX, VoterStatus};
use crate::log::record::{self, Key};
use crate::log::{Change, Entry, Log, MemberInfo};
use crate::member::{Member, Recovered};
use bytes::Bytes;
use model::consistency::majority;
use model::local::LocalWrite;
use model::{Epoch, NodeId, Planted};
use std::net::SocketAddr;
use std::sync::Arc;

/// Recovers the log on a node that is stopped: an entry behind its last one, by which the cluster has the name
/// `cluster_id` and this node is the only voter. `records` are those of [`Member::recover`], `entry_id` is random.
/// Gives the slot, and what to store.
///
/// # Errors
/// When the records are damaged, or say of no cluster of which the node is a member.
pub fn recover_log(
    records: &[(Bytes, Bytes)],
    id: NodeId,
    cluster_id: u128,
    entry_id: u128,
) -> Result<(Epoch, LocalWrite), MemberError> {
    let recovered = Recovered::read(records, id)?;
    let state = recovered.log.state();
    if state.cluster_id.is_none() {
        return Err(MemberError::NotRecoverable("the node belongs to no cluster".to_owned()));
    }
    if !state.members.contains_key(&id) {
        return Err(MemberError::NotRecoverable("the node has not joined its cluster".to_owned()));
    }
    let slot = state.epoch.next();
    let change = Arc::new(Change::Recover { cluster_id, voter: id });
    let entry = record::value(&Entry { id: entry_id, change });
    // What the node has promised the old voters binds it no more.
    let registers = recovered.acceptors.keys().map(|slot| (Key::Register(*slot).to_bytes(), None));
    let mut written = vec![(Key::Entry(slot).to_bytes(), Some(entry))];
    written.extend(registers);
    Ok((slot, LocalWrite::of(written)))
}

/// What the records of a stopped node say of the log, with its last `count` entries.
///
/// # Errors
/// When the records are damaged.
pub fn log_status(records: &[(Bytes, Bytes)], id: NodeId, count: usize) -> Result<LogStatus, MemberError> {
    let log = Recovered::read(records, id)?.log;
    Ok(status_of(&log, id, count, |_| None, |_| None))
}

fn status_of(
    log: &Log,
    id: NodeId,
    count: usize,
    alive: impl Fn(NodeId) -> Option<bool>,
    epoch_of: impl Fn(NodeId) -> Option<Epoch>,
) -> LogStatus {
    let state = log.state();
    let voter = |(id, internode): (&NodeId, &SocketAddr)| VoterStatus {
        id: *id,
        internode: *internode,
        member: state.members.contains_key(id),
        alive: alive(*id),
    };
    let skipped = log.entries().len().saturating_sub(count);
    let entries = (1..).map(Epoch).zip(log.entries()).skip(skipped);
    let member = |member: &MemberInfo| (member.id, member.addresses.internode, epoch_of(member.id));
    LogStatus {
        id,
        cluster_id: state.cluster_id,
        epoch: state.epoch,
        recoveries: state.recoveries.clone(),
        voters: state.voters.iter().map(voter).collect(),
        members: state.members.values().map(member).collect(),
        replication_change: state.replication_change.as_ref().map(ToString::to_string),
        waiting: None,
        entries: entries.map(|(slot, entry)| (slot, entry.change.to_string())).collect(),
    }
}

impl Member {
    /// What this node knows of the log, with its last `count` entries, for an operator.
    #[must_use]
    pub fn log_status(&self, count: usize) -> LogStatus {
        let (alive, epoch_of) = (|id| Some(self.gossip.is_alive(id)), |id| Some(self.gossip.epoch_of(id)));
        let waiting = self.waiting().or_else(|| self.discovery.rival());
        LogStatus { waiting, ..status_of(&self.log, self.config.id, count, alive, epoch_of) }
    }

    /// What is said to a node of another cluster.
    pub(crate) fn mismatch(&self) -> Body {
        let recoveries = &self.log.state().recoveries;
        let first = recoveries.len().saturating_sub(RECOVERIES_MAX);
        Body::Mismatch { recoveries: recoveries[first..].to_vec() }
    }

    /// Whether to look at a message of a node of another cluster than this one's.
    pub(crate) fn admit_other(&mut self, from: SocketAddr, own: u128, theirs: u128, message: &Message) -> bool {
        if self.is_planted(Planted::FormerClusterHeard) && self.log.state().recovered_from(theirs).is_some() {
            return true;
        }
        if let Some(slot) = self.log.state().recovered_from(theirs) {
            // Left behind by a recovery. It may follow.
            match message.body {
                Body::Fetch { after } if after < slot => return true,
                Body::GoesOn => self.on_goes_on(from, own, theirs),
                _ => self.send(from, self.mismatch()),
            }
            return false;
        }
        match &message.body {
            Body::Entries { .. } => self.discovery.follows == Some(theirs),
            Body::Mismatch { recoveries } => {
                let known = |cluster: u128| recoveries.iter().find(|(former, _)| *former == cluster);
                let shared = self.log.state().recoveries.iter().rev().find_map(|(former, _)| known(*former));
                match (known(own), shared) {
                    (Some((_, slot)), _) => self.on_recovered(from, own, theirs, *slot, recoveries),
                    (None, Some((former, slot))) => self.on_left_behind(from, *former, theirs, *slot),
                    (None, None) => self.on_mismatch(from, message, theirs),
                }
                false
            }
            Body::GoesOn => false,
            _ => {
                self.send(from, self.mismatch());
                self.on_mismatch(from, message, theirs);
                false
            }
        }
    }

    /// True when this node's cluster lives: its majority of voters does, and that is not only what this node thinks
    /// because it has just started together with others that were away.
    fn stands(&self) -> bool {
        !self.is_starting() && self.living_voters() >= majority(self.log.state().voters.len())
    }

    /// Another node's cluster was recovered from this one's at `slot`.
    fn on_recovered(&mut self, from: SocketAddr, own: u128, theirs: u128, slot: Epoch, recoveries: &[(u128, Epoch)]) {
        if self.discovery.follows.is_none() && self.stands() {
            self.discovery.meet_rival(theirs);
            self.send(from, Body::GoesOn);
        } else if self.epoch() >= slot && !self.is_planted(Planted::RecoveryFollowedFromBeyond) {
            self.on_left_behind(from, own, theirs, slot);
        } else {
            self.follow(from, theirs, recoveries);
        }
    }

    /// Both clusters come from one that was recovered as the other's, at a slot where this node's log is another.
    fn on_left_behind(&mut self, from: SocketAddr, former: u128, theirs: u128, slot: Epoch) {
        let Some(own) = self.cluster() else { return };
        if self.stands() {
            self.discovery.meet_rival(theirs);
            self.send(from, Body::GoesOn);
        } else {
            // The other one may have to stop too, and this node will not answer it any more.
            self.send(from, self.mismatch());
            self.stop(MemberError::LeftBehind { own, former, theirs, slot, peer: from.to_string() });
        }
    }

    /// A majority of the cluster that this one was recovered from lives.
    fn on_goes_on(&mut self, from: SocketAddr, own: u128, former: u128) {
        if self.is_starting() {
            self.stop(MemberError::RecoveredInVain { own, former, peer: from.to_string() });
        } else {
            self.discovery.meet_rival(former);
        }
    }

    /// Fetches the log of the cluster that this one was recovered as.
    fn follow(&mut self, from: SocketAddr, cluster: u128, recoveries: &[(u128, Epoch)]) {
        let is_later = |followed: u128| followed == cluster || recoveries.iter().any(|(known, _)| *known == followed);
        if self.storing || self.discovery.follows.is_some_and(|followed| !is_later(followed)) {
            // What is being stored may reach the slot: to be asked again.
            return;
        }
        if self.discovery.follows != Some(cluster) {
            self.discovery.follow(cluster);
            self.arriving.clear();
            self.deferred.clear();
            self.to_be_told.clear();
            self.catch_up = None;
            self.proposals.abandon_attempt();
        }
        if let Some((_, goal)) = recoveries.last() {
            self.want(from, *goal);
        }
    }
}
