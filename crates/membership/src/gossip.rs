//! Who is alive: heartbeats spread by gossip, and a failure detector over the times between them. Gossip
//! decides nothing else: members, tokens and schema come from the log alone.
//!
//! Invariants:
//! * G1: only members are known, so the table is bounded by the log.
//! * G2: of one node only a newer heartbeat replaces an older one, whatever the order of arrival.
//! * G3: a message is bounded, however many members there are.
//! * G4: a node that fell silent is alive again at the first newer heartbeat; one that this node cannot
//!   reach, only at a sign of life received directly: that others reach it is no use to this node.
//! * G5: a pause of this node's own process is not taken for a silence of the others.
//! * Integer arithmetic only.

use crate::io::{HEARTBEATS_MAX, Heartbeat};
use model::{Epoch, Instant, NodeId, Rng};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Time between two rounds.
pub const ROUND: Duration = Duration::from_secs(1);

const JITTER: Duration = Duration::from_millis(100);

/// Nodes told in a round.
pub const FANOUT: usize = 3;

/// Nodes told in the first round after a start, so that it is known soon.
const FANOUT_FIRST: usize = 10;

/// Of the heartbeats of a message, how many are those that changed last; the rest takes turns.
const RECENT: usize = 200;

/// A node is not taken for dead before it was silent for so long.
pub const SILENCE_MIN: Duration = Duration::from_secs(4);

/// Nor for longer than this, however rarely it is heard.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// A node is taken for dead when it was silent for so many times its mean interval.
const SILENCE_INTERVALS: u32 = 8;

/// Time for a node that the transport cannot reach to answer a probe.
pub const PROBE: Duration = Duration::from_millis(500);

/// Most probes at once.
const PROBES_MAX: usize = 64;

/// A round so late means that this process stood still.
const PAUSE: Duration = Duration::from_millis(1_500);

/// What this node thinks of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Liveness {
    /// Not heard of since this node started.
    Unknown,
    Alive,
    /// Silent for too long.
    Silent,
    /// The transport could not reach it and it did not answer a probe.
    Unreachable,
}

#[derive(Clone, Copy, Debug)]
struct Probe {
    nonce: u64,
    until: Instant,
    /// Whether the node is taken for dead when it does not answer.
    accused: bool,
}

#[derive(Clone, Debug)]
struct Peer {
    heartbeat: Heartbeat,
    liveness: Liveness,
    /// The last sign of life.
    heard: Option<Instant>,
    /// The last newer heartbeat.
    beaten: Option<Instant>,
    /// Exponentially weighted mean time between newer heartbeats, in microseconds.
    interval_micros: u64,
    /// When its heartbeat changed last, in changes of this node's table.
    changed: u64,
}

impl Peer {
    fn new() -> Peer {
        Peer {
            heartbeat: Heartbeat::default(),
            liveness: Liveness::Unknown,
            heard: None,
            beaten: None,
            interval_micros: ROUND.as_micros() as u64,
            changed: 0,
        }
    }

    fn silence_allowed(&self) -> Duration {
        let intervals = Duration::from_micros(self.interval_micros).saturating_mul(SILENCE_INTERVALS);
        intervals.clamp(SILENCE_MIN, SILENCE_MAX)
    }
}

/// What a round says and to whom.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// The nodes to tell.
    pub targets: Vec<NodeId>,
    /// What to tell them.
    pub heartbeats: Vec<(NodeId, Heartbeat)>,
}

/// What came out of a message's heartbeats.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Merged {
    /// Probes to send: `(node, nonce)`.
    pub probes: Vec<(NodeId, u64)>,
    /// The others know of a later start of this node than this one: its generation must go above.
    pub own_generation: Option<u64>,
}

/// The heartbeat table of one node.
#[derive(Clone, Debug)]
pub struct Gossip {
    id: NodeId,
    own: Heartbeat,
    peers: BTreeMap<NodeId, Peer>,
    /// The peers whose liveness is `Alive`, and this node.
    alive: Arc<BTreeSet<NodeId>>,
    /// At most [`PROBES_MAX`].
    probes: BTreeMap<NodeId, Probe>,
    changes: u64,
    /// Whose turn it is among those that did not change lately.
    turn: NodeId,
    rounds: u64,
    /// When the next round is due; `None` until started.
    next_round: Option<Instant>,
}

impl Gossip {
    /// A table that knows nobody. `generation` is this node's.
    #[must_use]
    pub fn new(id: NodeId, generation: u64) -> Gossip {
        let own = Heartbeat { generation, ..Heartbeat::default() };
        Gossip {
            id,
            own,
            peers: BTreeMap::new(),
            alive: Arc::new(BTreeSet::from([id])),
            probes: BTreeMap::new(),
            changes: 0,
            turn: NodeId(0),
            rounds: 0,
            next_round: None,
        }
    }

    /// The members changed: forgets who left and gets to know who came. The first ones to come are told at
    /// once.
    pub fn set_members(&mut self, members: impl Iterator<Item = NodeId>, now: Instant) {
        let was_alone = self.peers.is_empty();
        let members: BTreeSet<NodeId> = members.filter(|id| *id != self.id).collect();
        self.peers.retain(|id, _| members.contains(id));
        self.probes.retain(|id, _| members.contains(id));
        if !self.alive.iter().all(|id| members.contains(id) || *id == self.id) {
            Arc::make_mut(&mut self.alive).retain(|id| members.contains(id) || *id == self.id);
        }
        for id in members {
            self.peers.entry(id).or_insert_with(Peer::new);
        }
        if self.next_round.is_none() || (was_alone && !self.peers.is_empty()) {
            self.next_round = Some(now);
            self.rounds = 0;
        }
    }

    /// Whether a node is taken for alive.
    #[must_use]
    pub fn is_alive(&self, id: NodeId) -> bool {
        self.alive.contains(&id)
    }

    /// The members taken for alive and this node. Another `Arc` whenever it has changed.
    #[must_use]
    pub fn alive(&self) -> &Arc<BTreeSet<NodeId>> {
        &self.alive
    }

    /// A node's last heartbeat, and the time since its last sign of life.
    #[must_use]
    pub fn peer(&self, id: NodeId, now: Instant) -> (Heartbeat, Option<Duration>) {
        if id == self.id {
            return (self.own, Some(Duration::ZERO));
        }
        let peer = self.peers.get(&id);
        peer.map_or((Heartbeat::default(), None), |peer| (peer.heartbeat, peer.heard.map(|heard| now - heard)))
    }

    /// The generation of this start.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.own.generation
    }

    /// Begins a new life, above what the others know of.
    pub fn set_generation(&mut self, generation: u64) {
        self.own.generation = generation;
    }

    /// This node has applied an epoch.
    pub fn set_epoch(&mut self, epoch: Epoch) {
        self.own.epoch = epoch;
    }

    /// This node has done the work of the phase of a change of replication that began at this epoch.
    pub fn set_done(&mut self, since: Epoch) {
        self.own.done = self.own.done.max(since);
    }

    /// The beginning of the last such phase whose work a member is known to have done.
    #[must_use]
    pub fn done_of(&self, id: NodeId) -> Epoch {
        if id == self.id {
            return self.own.done;
        }
        self.peers.get(&id).map_or(Epoch(0), |peer| peer.heartbeat.done)
    }

    /// A member said that it has applied an epoch.
    pub fn on_epoch(&mut self, id: NodeId, epoch: Epoch) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.heartbeat.epoch = peer.heartbeat.epoch.max(epoch);
        }
    }

    /// The last epoch that a member is known to have applied.
    #[must_use]
    pub fn epoch_of(&self, id: NodeId) -> Epoch {
        if id == self.id {
            return self.own.epoch;
        }
        self.peers.get(&id).map_or(Epoch(0), |peer| peer.heartbeat.epoch)
    }

    /// A message came from a member itself. It may be an old one, so it does not bring back a node that
    /// is taken for dead.
    pub fn on_direct(&mut self, id: NodeId, now: Instant) {
        match self.peers.get_mut(&id) {
            Some(peer) if peer.liveness == Liveness::Alive => peer.heard = Some(now),
            Some(peer) if peer.liveness == Liveness::Unknown => self.revive(id, now),
            _ => {}
        }
    }

    fn revive(&mut self, id: NodeId, now: Instant) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.liveness = Liveness::Alive;
            peer.heard = Some(now);
            Arc::make_mut(&mut self.alive).insert(id);
        }
    }

    fn bury(&mut self, id: NodeId, liveness: Liveness) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.liveness = liveness;
            Arc::make_mut(&mut self.alive).remove(&id);
        }
    }

    /// Takes over what is newer in a message from `from`.
    pub fn merge(&mut self, from: NodeId, heartbeats: &[(NodeId, Heartbeat)], now: Instant, rng: &mut Rng) -> Merged {
        let mut merged = Merged::default();
        for (id, heartbeat) in heartbeats {
            if *id == self.id {
                if heartbeat.generation > self.own.generation {
                    merged.own_generation = merged.own_generation.max(Some(heartbeat.generation));
                }
                continue;
            }
            let Some(peer) = self.peers.get_mut(id) else { continue };
            if !heartbeat.is_newer_than(&peer.heartbeat) {
                continue;
            }
            self.changes += 1;
            peer.take_over(heartbeat, self.changes, now);
            let direct = *id == from;
            if direct {
                self.probes.remove(id);
            }
            match peer.liveness {
                Liveness::Alive => peer.heard = Some(now),
                Liveness::Silent => self.revive(*id, now),
                Liveness::Unknown | Liveness::Unreachable if direct => self.revive(*id, now),
                // Others know it; whether this node reaches it is to be seen (G4).
                Liveness::Unknown | Liveness::Unreachable => {
                    if !self.probes.contains_key(id) && self.probes.len() < PROBES_MAX {
                        let probe = Probe { nonce: rng.next_u64(), until: now + PROBE, accused: false };
                        self.probes.insert(*id, probe);
                        merged.probes.push((*id, probe.nonce));
                    }
                }
            }
        }
        merged
    }

    /// What this node knows that is newer than what a message said; its own heartbeat first. To a node that
    /// knows few others, as one that has just started, also those that it did not mention.
    pub fn answer(&mut self, heartbeats: &[(NodeId, Heartbeat)]) -> Vec<(NodeId, Heartbeat)> {
        let mut newer: Vec<(NodeId, Heartbeat)> = Vec::new();
        for (id, theirs) in heartbeats {
            if let Some(peer) = self.peers.get(id).filter(|peer| peer.heartbeat.is_newer_than(theirs)) {
                newer.push((*id, peer.heartbeat));
            }
        }
        if heartbeats.len() < HEARTBEATS_MAX.min(self.peers.len()) / 2 {
            let mentioned: BTreeSet<NodeId> = heartbeats.iter().map(|(id, _)| *id).collect();
            let others = self.alive.iter().filter(|id| !mentioned.contains(id));
            newer.extend(others.filter_map(|id| self.peers.get(id).map(|peer| (*id, peer.heartbeat))));
        }
        if newer.len() >= HEARTBEATS_MAX {
            // Not always the same ones.
            let start = self.own.version as usize % newer.len();
            newer.rotate_left(start);
            newer.truncate(HEARTBEATS_MAX - 1);
        }
        newer.insert(0, (self.id, self.beat()));
        newer
    }

    fn beat(&mut self) -> Heartbeat {
        self.own.version += 1;
        self.own
    }

    /// The transport says that it cannot reach a member. Returns the nonce of a probe to send.
    pub fn on_unreachable(&mut self, id: NodeId, now: Instant, rng: &mut Rng) -> Option<u64> {
        if let Some(probe) = self.probes.get_mut(&id) {
            probe.accused = true;
            return None;
        }
        let alive = self.peers.get(&id).is_some_and(|peer| peer.liveness == Liveness::Alive);
        if !alive || self.probes.len() >= PROBES_MAX {
            return None;
        }
        let nonce = rng.next_u64();
        self.probes.insert(id, Probe { nonce, until: now + PROBE, accused: true });
        Some(nonce)
    }

    /// A member answered a probe.
    pub fn on_probe_answer(&mut self, id: NodeId, nonce: u64, now: Instant) {
        if self.probes.get(&id).is_some_and(|probe| probe.nonce == nonce) {
            self.probes.remove(&id);
            self.revive(id, now);
        }
    }

    /// What is due: the end of probes, and a round of gossip with its look at who is silent.
    pub fn on_time(&mut self, now: Instant, rng: &mut Rng) -> Option<Round> {
        while let Some((id, probe)) = self.probes.iter().find(|(_, probe)| probe.until <= now) {
            let (id, accused) = (*id, probe.accused);
            self.probes.remove(&id);
            if accused && self.is_alive(id) {
                self.bury(id, Liveness::Unreachable);
            }
        }
        let due = self.next_round.filter(|due| *due <= now)?;
        let late = now - due;
        // Not all nodes at one moment, though they may have started so.
        let jitter = Duration::from_micros(rng.below(JITTER.as_micros() as u64));
        self.next_round = Some(now + (ROUND - JITTER / 2 + jitter));
        let mut silent = Vec::new();
        for (id, peer) in &mut self.peers {
            if late >= PAUSE {
                peer.heard = peer.heard.map(|heard| (heard + late).min(now));
            }
            let spoke = peer.heard.is_some_and(|heard| now - heard < peer.silence_allowed());
            if peer.liveness == Liveness::Alive && !spoke {
                silent.push(*id);
            }
        }
        for id in silent {
            self.bury(id, Liveness::Silent);
        }
        let targets = self.targets(rng);
        let round = Round { targets, heartbeats: self.heartbeats() };
        self.rounds += 1;
        Some(round)
    }

    /// When [`Gossip::on_time`] has something to do.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.probes.values().map(|probe| probe.until).chain(self.next_round).min()
    }

    fn targets(&self, rng: &mut Rng) -> Vec<NodeId> {
        let dead = |peer: &Peer| matches!(peer.liveness, Liveness::Silent | Liveness::Unreachable);
        let mut targets: Vec<NodeId> = self.peers.iter().filter(|(_, peer)| !dead(peer)).map(|(id, _)| *id).collect();
        let dead: Vec<NodeId> = self.peers.iter().filter(|(_, peer)| dead(peer)).map(|(id, _)| *id).collect();
        let alive = targets.len() as u64;
        rng.shuffle(&mut targets);
        targets.truncate(if self.rounds == 0 { FANOUT_FIRST } else { FANOUT });
        // The more are dead, the likelier one of them is tried (Cassandra's rule).
        if !dead.is_empty() && rng.below(alive + 1) < dead.len() as u64 {
            targets.push(dead[rng.index(dead.len())]);
        }
        targets
    }

    /// This node's own, those that changed last, and of the others those whose turn it is.
    fn heartbeats(&mut self) -> Vec<(NodeId, Heartbeat)> {
        let mut heartbeats = vec![(self.id, self.beat())];
        let known = || self.peers.iter().filter(|(_, peer)| peer.changed > 0);
        if self.peers.len() < HEARTBEATS_MAX {
            heartbeats.extend(known().map(|(id, peer)| (*id, peer.heartbeat)));
            return heartbeats;
        }
        let mut by_change: Vec<(u64, NodeId)> = known().map(|(id, peer)| (peer.changed, *id)).collect();
        by_change.sort_unstable_by(|a, b| b.cmp(a));
        let recent: BTreeSet<NodeId> = by_change.iter().take(RECENT).map(|(_, id)| *id).collect();
        let rest = HEARTBEATS_MAX - 1 - recent.len();
        let mut others: Vec<NodeId> = by_change.iter().skip(RECENT).map(|(_, id)| *id).collect();
        others.sort_unstable();
        let start = others.partition_point(|id| *id <= self.turn);
        others.rotate_left(start);
        others.truncate(rest);
        if let Some(last) = others.last() {
            self.turn = *last;
        }
        heartbeats.extend(recent.iter().chain(&others).map(|id| (*id, self.peers[id].heartbeat)));
        heartbeats
    }
}

impl Peer {
    /// A newer heartbeat; while the node is alive the time since the last one says how often it is heard.
    fn take_over(&mut self, heartbeat: &Heartbeat, changes: u64, now: Instant) {
        if let (Liveness::Alive, Some(last)) = (self.liveness, self.beaten) {
            let sample = u64::try_from((now - last).as_micros()).unwrap_or(u64::MAX);
            let sample = sample.min(SILENCE_MAX.as_micros() as u64);
            self.interval_micros = (self.interval_micros * 31 + sample) / 32;
        }
        self.heartbeat = Heartbeat { epoch: self.heartbeat.epoch.max(heartbeat.epoch), ..*heartbeat };
        self.changed = changes;
        self.beaten = Some(now);
    }
}

#[cfg(test)]
#[path = "gossip_tests.rs"]
mod gossip_tests;
