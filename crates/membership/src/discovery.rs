//! The way into a cluster: a starting node asks the seeds. One that belongs to a cluster makes it join that
//! one; when a majority of the seeds, this node among them, belong to none, they found one.

use crate::io::{Body, MemberError, Message};
use crate::member::{Member, Stage};
use model::consistency::majority;
use model::{Epoch, Instant};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

/// Time between the first two questions; it grows by half each time.
const ASK_FIRST: Duration = Duration::from_millis(10);

/// Longest time between two questions.
const ASK_LAST: Duration = Duration::from_secs(1);

/// How long a node waits for the seeds that did not answer before it founds a cluster with a majority:
/// one of them may belong to a cluster.
const PATIENCE: Duration = Duration::from_millis(150);

/// Each seed waits so much longer than the one before it, so that they do not all found at one moment.
const STAGGER: Duration = Duration::from_millis(15);

/// How long a node waits for its own cluster once it has met another one.
const MISMATCH_PATIENCE: Duration = Duration::from_secs(1);

/// Meeting another cluster later than this after the start does not stop a node: it is the other one that
/// has just come.
const MISMATCH_WINDOW: Duration = Duration::from_secs(30);

/// What a node knows about its way into a cluster.
#[derive(Clone, Debug)]
pub(crate) struct Discovery {
    /// The cluster that a seed belongs to, while the log is empty.
    pub(crate) cluster: Option<u128>,
    /// Seeds that the transport could not reach and that did not speak since.
    pub(crate) unreachable: BTreeSet<SocketAddr>,
    /// Whether a member of the own cluster has spoken since the start.
    pub(crate) heard_own_cluster: bool,
    /// Seeds that belong to no cluster, and whether they list the same seeds.
    answers: BTreeMap<SocketAddr, bool>,
    /// The cluster whose log this node fetches, since its own was recovered as that one.
    pub(crate) follows: Option<u128>,
    /// A cluster that was met, and that was recovered from this one or is one that this one was recovered from, though
    /// both go on.
    rival: Option<u128>,
    /// Seeds that belong to another cluster.
    mismatches: BTreeMap<SocketAddr, u128>,
    mismatch_since: Option<Instant>,
    started: Instant,
    next: Instant,
    interval: Duration,
    /// When this node founds a cluster, unless another one does before.
    found_at: Option<Instant>,
}

impl Discovery {
    pub(crate) fn new(now: Instant) -> Discovery {
        Discovery {
            cluster: None,
            unreachable: BTreeSet::new(),
            heard_own_cluster: false,
            answers: BTreeMap::new(),
            follows: None,
            rival: None,
            mismatches: BTreeMap::new(),
            mismatch_since: None,
            started: now,
            next: now,
            interval: ASK_FIRST,
            found_at: None,
        }
    }

    /// From now on this node waits for the log of `cluster`, which is its own's after a recovery.
    pub(crate) fn follow(&mut self, cluster: u128) {
        self.follows = Some(cluster);
        self.mismatches.clear();
        self.mismatch_since = None;
    }

    /// A cluster goes on that should not.
    pub(crate) fn meet_rival(&mut self, cluster: u128) {
        self.rival = Some(cluster);
    }

    /// What is to be said of it.
    pub(crate) fn rival(&self) -> Option<String> {
        self.rival.map(|cluster| {
            let cluster = model::NodeId(cluster);
            format!("an operator to stop one of two clusters: {cluster} runs too, and one was recovered as the other")
        })
    }

    /// The seeds that would found a cluster with this node, so far as they have said so.
    pub(crate) fn companions(&self) -> impl Iterator<Item = SocketAddr> {
        self.answers.iter().filter(|(_, same_seeds)| **same_seeds).map(|(seed, _)| *seed)
    }
}

impl Member {
    /// True soon after the start: a node that meets another cluster then is the one that has come to the wrong place.
    pub(crate) fn is_starting(&self) -> bool {
        self.now - self.discovery.started < MISMATCH_WINDOW
    }

    fn other_seeds(&self) -> impl Iterator<Item = SocketAddr> {
        let own = self.config.addresses.internode;
        self.config.seeds.iter().copied().filter(move |seed| *seed != own)
    }

    pub(crate) fn is_seed(&self) -> bool {
        self.config.seeds.contains(&self.config.addresses.internode)
    }

    fn asks(&self) -> bool {
        (self.epoch() == Epoch(0) || !self.discovery.heard_own_cluster) && self.other_seeds().next().is_some()
    }

    pub(crate) fn discovery_deadline(&self) -> Option<Instant> {
        let ask = self.asks().then_some(self.discovery.next);
        let mismatch = self.discovery.mismatch_since.map(|since| since + MISMATCH_PATIENCE);
        let patience = Some(self.discovery.started + PATIENCE).filter(|until| self.may_found() && *until > self.now);
        [ask, mismatch, patience, self.discovery.found_at].into_iter().flatten().min()
    }

    /// Asks the seeds when it is time, and decides whether to found a cluster or to give up.
    pub(crate) fn discover(&mut self) {
        if self.asks() && self.discovery.next <= self.now {
            let jitter = self.rng.below(self.discovery.interval.as_micros() as u64 / 2 + 1);
            self.discovery.next = self.now + self.discovery.interval + Duration::from_micros(jitter);
            self.discovery.interval = (self.discovery.interval * 3 / 2).min(ASK_LAST);
            for seed in self.other_seeds().collect::<Vec<_>>() {
                self.send(seed, Body::Discover { seeds: self.config.seeds.clone() });
            }
        }
        if self.discovery.mismatch_since.is_some_and(|since| since + MISMATCH_PATIENCE <= self.now) {
            self.discovery.mismatch_since = None;
            self.stop_at_mismatch();
        }
        let due = self.stage == Stage::Running && self.founders_are_known();
        self.discovery.found_at = match self.discovery.found_at {
            Some(at) if due && at > self.now => Some(at),
            None if due && !self.proposals.founding => {
                let own = self.config.addresses.internode;
                let rank = self.config.seeds.iter().position(|seed| *seed == own).unwrap_or(0);
                Some(self.now + STAGGER * rank as u32)
            }
            _ => None,
        };
        if due && self.discovery.found_at.is_none_or(|at| at <= self.now) {
            self.discovery.found_at = None;
            self.proposals.founding = true;
        }
        self.proposals.founding &= due;
    }

    /// M5: only a seed without data and without a cluster founds one.
    pub(crate) fn may_found(&self) -> bool {
        self.epoch() == Epoch(0) && self.cluster().is_none() && !self.config.holds_data && self.is_seed()
    }

    fn founders_are_known(&self) -> bool {
        if !self.may_found() {
            return false;
        }
        let agreeing = self.discovery.companions().count() + 1;
        let silent = self
            .other_seeds()
            .any(|seed| !self.discovery.answers.contains_key(&seed) && !self.discovery.unreachable.contains(&seed));
        let patient = silent && self.now < self.discovery.started + PATIENCE;
        agreeing >= majority(self.config.seeds.len()) && !patient
    }

    pub(crate) fn on_discovery(&mut self, from: SocketAddr, message: Message) {
        let (question, seeds) = match message.body {
            Body::Discover { seeds } => (true, seeds),
            Body::Discovered { seeds } => (false, seeds),
            _ => return,
        };
        if message.cluster.is_none() && self.config.seeds.contains(&from) {
            self.discovery.answers.insert(from, seeds == self.config.seeds);
        }
        if question {
            self.send(from, Body::Discovered { seeds: self.config.seeds.clone() });
        }
    }

    /// Whether a message is to be looked at: it is of this node's cluster, or of none, or of the one that
    /// this node is about to join.
    pub(crate) fn admit(&mut self, from: SocketAddr, message: &Message) -> bool {
        let Some(theirs) = message.cluster else {
            // A node without a cluster may ask for one, or to found one: it is told of this one.
            let asks =
                matches!(message.body, Body::Prepare { slot, .. } | Body::Accept { slot, .. } if slot == Epoch(1));
            let discovers = matches!(message.body, Body::Discover { .. } | Body::Discovered { .. });
            return self.cluster().is_none() || asks || discovers;
        };
        match self.cluster() {
            None => is_said_by_member(message) && self.adopt(from, theirs),
            // A node that follows a recovery has left its cluster.
            Some(own) if own == theirs => self.discovery.follows.is_none(),
            Some(own) => self.admit_other(from, own, theirs, message),
        }
    }

    /// A node without a cluster meets one: joins it when a seed says so.
    fn adopt(&mut self, from: SocketAddr, cluster: u128) -> bool {
        if !self.config.seeds.contains(&from) {
            return false;
        }
        if self.config.holds_data {
            self.stop(MemberError::UnknownData);
            return false;
        }
        self.discovery.cluster = Some(cluster);
        true
    }

    /// A node of a cluster spoke that has nothing to do with this one's.
    pub(crate) fn on_mismatch(&mut self, from: SocketAddr, message: &Message, theirs: u128) {
        if !self.config.seeds.contains(&from) || !is_said_by_member(message) {
            return;
        }
        if self.epoch() == Epoch(0) && self.config.expected_cluster.is_none() {
            // Not bound to a cluster yet: the seed that told of the other one may be gone.
            if self.arriving.is_empty() {
                self.discovery.cluster = Some(theirs);
            }
            return;
        }
        if self.discovery.heard_own_cluster || !self.is_starting() || self.discovery.follows.is_some() {
            return;
        }
        // Not at once, though all seeds may say so: it may be that this node's cluster was recovered as theirs.
        self.discovery.mismatches.insert(from, theirs);
        self.discovery.mismatch_since.get_or_insert(self.now);
    }

    fn stop_at_mismatch(&mut self) {
        if self.discovery.heard_own_cluster {
            return;
        }
        if let (Some(own), Some((peer, theirs))) = (self.cluster(), self.discovery.mismatches.first_key_value()) {
            let error = MemberError::OtherCluster { own, theirs: *theirs, peer: peer.to_string() };
            self.stop(error);
        }
    }

    /// What this node waits for, in a sentence.
    pub(crate) fn waiting(&self) -> Option<String> {
        match self.stage {
            Stage::New | Stage::Starting => return Some("its own records to be written".to_owned()),
            Stage::Stopped => return Some("nothing any more: it has stopped".to_owned()),
            Stage::Running => {}
        }
        let voters = self.log.state().voters.len();
        if self.epoch() == Epoch(0) {
            return Some(self.waiting_for_seeds());
        }
        if let Some(cluster) = self.discovery.follows {
            return Some(format!("the log of cluster {}, which its cluster was recovered as", model::NodeId(cluster)));
        }
        if !self.is_joined() {
            return Some(format!("a majority of the {voters} metadata voters to decide that it joins"));
        }
        let (slot, living) = (self.epoch().next().0, self.living_voters());
        if living < majority(voters) {
            return Some(format!("a majority of the {voters} metadata voters, of which {living} live"));
        }
        let waits = self.proposals.failures() > 2;
        waits.then(|| format!("a majority of the {voters} metadata voters to decide log entry {slot}"))
    }

    fn waiting_for_seeds(&self) -> String {
        let seeds = self.config.seeds.len();
        if let Some(cluster) = self.cluster() {
            return format!("a seed to send the log of cluster {}", model::NodeId(cluster));
        }
        if self.config.holds_data {
            return "a seed that belongs to a cluster: this node holds data, so it founds none".to_owned();
        }
        if !self.is_seed() {
            return "a seed that belongs to a cluster: this node is not a seed, so it founds none".to_owned();
        }
        let differing: Vec<String> =
            self.discovery.answers.iter().filter(|(_, same)| !**same).map(|(seed, _)| seed.to_string()).collect();
        let heard = self.discovery.companions().count() + 1;
        let needed = majority(seeds);
        let mut text = format!("a majority ({needed}) of the {seeds} seeds to found a cluster: {heard} are there");
        if !differing.is_empty() {
            text.push_str(&format!("; other seeds are configured at {}", differing.join(", ")));
        }
        text
    }
}

/// Whether the sender is a member of the cluster that it names, or knows that it exists.
fn is_said_by_member(message: &Message) -> bool {
    message.epoch > Epoch(0) || matches!(message.body, Body::Committed { .. })
}
