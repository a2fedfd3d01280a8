//! The member: one state machine out of the log, the way into a cluster, decisions and gossip. This file
//! holds the state, the way of an input through it, and what leaves it; the roles are in `discovery`,
//! `decision` and `learning`.

use crate::decision::Proposals;
use crate::discovery::Discovery;
use crate::gossip::Gossip;
use crate::io::{
    Body, Effect, GENERATION_MAX, Heartbeat, Input, MemberConfig, MemberError, MemberStatus, Message, NodeStatus,
    SEEDS_MAX,
};
use crate::learning::CatchUp;
use crate::log::record::{self, Key};
use crate::log::{Change, Entry, Log, TOKENS_MAX, place_is_valid};
use crate::view::ClusterView;
use crate::voters::VoterCare;
use bytes::Bytes;
use model::local::LocalWrite;
use model::{Epoch, Instant, NodeId, Now, Planted, Rng};
use paxos::Acceptor;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Most requests for later slots that wait until this node gets there.
const DEFERRED_MAX: usize = 64;

/// Most nodes remembered that are about to join.
const JOINERS_MAX: usize = 64;

/// For how long a node that is not a member but speaks is thought to be about to join.
const JOINER_FORGOTTEN: Duration = Duration::from_secs(2);

/// Chance in per mille that a round of gossip also goes to a seed that no member is known at.
const SEED_GOSSIP_PER_MILLE: u64 = 100;

/// How far a member is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Created; nothing asked of the world yet.
    New,
    /// Its generation is being stored. It says nothing before, since a generation must not be used twice.
    Starting,
    /// Taking part.
    Running,
    /// It said `Fatal`.
    Stopped,
}

/// What to do when a write is synced.
#[derive(Clone, Debug)]
pub(crate) enum Afterwards {
    /// Begin to take part.
    Start,
    /// Go on under a new generation.
    Generation(u64),
    /// Send an answer that had to be stored first.
    Send { to: SocketAddr, body: Body },
    /// Apply these entries.
    Apply(Vec<Entry>),
}

/// One node's part in the cluster's metadata and liveness. See the crate's documentation.
#[derive(Clone, Debug)]
pub struct Member {
    pub(crate) config: MemberConfig,
    pub(crate) rng: Rng,
    pub(crate) now: Instant,
    pub(crate) stage: Stage,
    pub(crate) effects: Vec<Effect>,
    pub(crate) log: Log,
    /// Decided entries that are not applied yet, by slot.
    pub(crate) arriving: BTreeMap<Epoch, Entry>,
    /// Whether entries are being stored.
    pub(crate) storing: bool,
    /// The registers of slots not known to be decided; only that of the next slot is in use.
    pub(crate) acceptors: BTreeMap<Epoch, Acceptor<Entry>>,
    pub(crate) discovery: Discovery,
    pub(crate) proposals: Proposals,
    pub(crate) voter_care: VoterCare,
    pub(crate) catch_up: Option<CatchUp>,
    /// Who sent a decided entry that is not applied yet, and wants to hear when it is.
    pub(crate) to_be_told: BTreeMap<SocketAddr, NodeId>,
    /// Requests for slots after the next.
    pub(crate) deferred: VecDeque<(SocketAddr, Message)>,
    pub(crate) gossip: Gossip,
    /// Whether this node was a member at any epoch that it has applied.
    pub(crate) was_member: bool,
    view: Option<Arc<ClusterView>>,
    alive: Arc<BTreeSet<NodeId>>,
    /// The view and the set of alive nodes that were published last.
    published: (Option<Arc<ClusterView>>, Option<Arc<BTreeSet<NodeId>>>),
    /// Where members and voters were heard of last; goes before what the log says, which is behind when
    /// many nodes changed their addresses at once.
    addresses: BTreeMap<NodeId, SocketAddr>,
    /// Nodes that are not members but speak, and when they did last.
    joiners: BTreeMap<NodeId, Instant>,
    last_op: u64,
    stored: BTreeMap<u64, Afterwards>,
    /// Messages to itself.
    loopback: VecDeque<Message>,
    /// Records of no use any more, removed at the start.
    stale: Vec<Bytes>,
    /// The generation to store at the start.
    generation: u64,
    /// The bug to run with.
    #[cfg(feature = "planted")]
    bug: Option<Planted>,
}

impl Member {
    /// A member with what its data directory holds: every local record under
    /// [`model::local::prefix::MEMBERSHIP`], in any order. It does nothing before its first step, which is
    /// due at once. A node that had joined has its view from the beginning.
    ///
    /// # Errors
    /// When the configuration cannot be, contradicts the records, or the records are damaged.
    pub fn recover(
        mut config: MemberConfig,
        records: &[(Bytes, Bytes)],
        seed: u64,
        now: Now,
    ) -> Result<Member, MemberError> {
        check(&config)?;
        config.seeds.sort_unstable();
        config.seeds.dedup();
        let recovered = Recovered::read(records, config.id)?;
        let (log, generation) = (recovered.log, recovered.generation.saturating_add(1).min(GENERATION_MAX));
        if let (Some(own), Some(expected)) = (log.state().cluster_id, config.expected_cluster)
            && own != expected
            && log.state().recovered_from(expected).is_none()
        {
            let peer = "the rest of the data directory".to_owned();
            return Err(MemberError::OtherCluster { own, theirs: expected, peer });
        }
        if let Some(member) = log.state().members.get(&config.id) {
            check_fixed_settings(&config, member)?;
        }
        let mut member = Member {
            rng: Rng::new(seed),
            now: now.monotonic,
            stage: Stage::New,
            effects: Vec::new(),
            log,
            arriving: BTreeMap::new(),
            storing: false,
            acceptors: recovered.acceptors,
            discovery: Discovery::new(now.monotonic),
            proposals: Proposals::new(now.monotonic),
            voter_care: VoterCare::new(now.monotonic),
            catch_up: None,
            to_be_told: BTreeMap::new(),
            deferred: VecDeque::new(),
            gossip: Gossip::new(config.id, generation),
            was_member: recovered.was_member,
            view: None,
            alive: Arc::new(BTreeSet::from([config.id])),
            published: (None, None),
            addresses: BTreeMap::new(),
            joiners: BTreeMap::new(),
            last_op: 0,
            stored: BTreeMap::new(),
            loopback: VecDeque::new(),
            stale: recovered.stale,
            generation,
            config,
            #[cfg(feature = "planted")]
            bug: None,
        };
        member.gossip.set_epoch(member.epoch());
        member.build_view();
        Ok(member)
    }

    /// Runs with a planted bug from now on.
    #[cfg(feature = "planted")]
    pub fn plant(&mut self, bug: Option<Planted>) {
        self.bug = bug;
    }

    /// True when `bug` is switched on.
    #[cfg(feature = "planted")]
    pub(crate) fn is_planted(&self, bug: Planted) -> bool {
        self.bug == Some(bug)
    }

    /// No bug is switched on.
    #[cfg(not(feature = "planted"))]
    #[inline(always)]
    pub(crate) const fn is_planted(&self, _bug: Planted) -> bool {
        false
    }

    /// Takes one input and appends what follows from it to `effects`. `now` never goes back.
    pub fn step(&mut self, now: Now, input: Input, effects: &mut Vec<Effect>) {
        self.now = self.now.max(now.monotonic);
        match self.stage {
            Stage::New => self.begin(),
            Stage::Starting | Stage::Running => {}
            Stage::Stopped => {
                if let Input::Propose { request, change } = input {
                    self.on_propose(request, change);
                    effects.append(&mut self.effects);
                }
                return;
            }
        }
        match input {
            Input::Message { from, message } => self.on_message(from, message),
            Input::Stored { op, result } => self.on_stored(op, result),
            Input::Propose { request, change } => self.on_propose(request, change),
            Input::CatchUp { from, epoch } => {
                if let Some(address) = self.address_of(from) {
                    self.want(address, epoch);
                }
            }
            Input::Done(since) => self.gossip.set_done(since),
            Input::Unreachable(address) => self.on_unreachable(address),
            Input::Wake => {}
        }
        self.receive_from_itself();
        if self.stage == Stage::Running {
            self.discover();
            self.gossip();
            self.drive_catch_up();
            self.care_for_voters();
            self.drive_proposals();
            self.receive_from_itself();
        }
        self.publish();
        if let Some(fatal) = self.effects.iter().position(|effect| matches!(effect, Effect::Fatal(_))) {
            self.effects.truncate(fatal + 1);
        }
        effects.append(&mut self.effects);
    }

    /// When to step with [`Input::Wake`] next, at the latest.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        match self.stage {
            Stage::New => Some(self.now),
            Stage::Starting | Stage::Stopped => None,
            Stage::Running => {
                let due = [
                    self.discovery_deadline(),
                    self.gossip.deadline(),
                    self.catch_up.as_ref().map(|catch_up| catch_up.until),
                    self.proposals_deadline(),
                    self.voters_deadline(),
                ];
                due.into_iter().flatten().min()
            }
        }
    }

    /// The cluster as this node knows it; `None` until it has joined.
    #[must_use]
    pub fn view(&self) -> Option<&Arc<ClusterView>> {
        self.view.as_ref()
    }

    /// Whether this node is a member of a cluster, as far as it knows.
    #[must_use]
    pub fn is_joined(&self) -> bool {
        self.log.state().members.contains_key(&self.config.id)
    }

    /// The members that this node takes for alive; includes itself.
    #[must_use]
    pub fn alive(&self) -> &BTreeSet<NodeId> {
        &self.alive
    }

    /// What this node knows, for an operator.
    #[must_use]
    pub fn status(&self) -> MemberStatus {
        let state = self.log.state();
        let nodes = state.members.values().map(|member| {
            let (heartbeat, silent) = self.gossip.peer(member.id, self.now);
            NodeStatus {
                id: member.id,
                addresses: member.addresses,
                data_center: member.data_center.clone(),
                rack: member.rack.clone(),
                tokens: member.tokens.len(),
                voter: state.voters.contains_key(&member.id),
                alive: self.alive.contains(&member.id),
                heartbeat,
                silent_ms: silent.map(|silent| u64::try_from(silent.as_millis()).unwrap_or(u64::MAX)),
            }
        });
        MemberStatus {
            id: self.config.id,
            cluster_id: state.cluster_id,
            epoch: state.epoch,
            joined: self.is_joined(),
            waiting: self.waiting(),
            pending_changes: self.proposals.pending(),
            nodes: nodes.collect(),
        }
    }

    pub(crate) fn epoch(&self) -> Epoch {
        self.log.state().epoch
    }

    /// The cluster that this node belongs to or is about to join.
    pub(crate) fn cluster(&self) -> Option<u128> {
        self.log.state().cluster_id.or(self.config.expected_cluster).or(self.discovery.cluster)
    }

    /// Where a member or voter is reached.
    pub(crate) fn address_of(&self, id: NodeId) -> Option<SocketAddr> {
        if id == self.config.id {
            return Some(self.config.addresses.internode);
        }
        self.addresses.get(&id).copied().or_else(|| self.log.state().address_of(id))
    }

    pub(crate) fn send(&mut self, to: SocketAddr, body: Body) {
        let message = Message { sender: self.config.id, cluster: self.cluster(), epoch: self.epoch(), body };
        if to == self.config.addresses.internode {
            self.loopback.push_back(message);
        } else {
            self.effects.push(Effect::Send { to, message });
        }
    }

    pub(crate) fn store(&mut self, records: Vec<(Bytes, Option<Bytes>)>, afterwards: Afterwards) {
        self.last_op += 1;
        self.stored.insert(self.last_op, afterwards);
        self.effects.push(Effect::Store { op: self.last_op, write: LocalWrite::of(records) });
    }

    /// The end: says why, and does nothing ever after.
    pub(crate) fn stop(&mut self, error: MemberError) {
        if self.stage == Stage::Stopped {
            return;
        }
        self.stage = Stage::Stopped;
        self.loopback.clear();
        self.answer_all_as_stopped();
        self.effects.push(Effect::Fatal(error));
    }

    /// Whether a node that is not a member spoke lately.
    pub(crate) fn somebody_is_joining(&self) -> bool {
        let members = &self.log.state().members;
        let lately = |heard: &Instant| self.now - *heard < JOINER_FORGOTTEN;
        self.joiners.iter().any(|(id, heard)| lately(heard) && !members.contains_key(id))
    }

    /// Keeps a request for a slot after the next until this node gets there.
    pub(crate) fn defer(&mut self, from: SocketAddr, message: Message) {
        if self.deferred.len() == DEFERRED_MAX {
            self.deferred.pop_front();
        }
        self.deferred.push_back((from, message));
    }

    pub(crate) fn on_body(&mut self, from: SocketAddr, message: Message) {
        let sender = message.sender;
        match message.body {
            Body::Discover { .. } | Body::Discovered { .. } => self.on_discovery(from, message),
            Body::Mismatch { .. } | Body::GoesOn => {}
            Body::Prepare { .. } | Body::Accept { .. } => self.on_acceptor_request(from, message),
            Body::Promise { slot, ballot, accepted } => self.on_promise(from, sender, slot, ballot, accepted),
            Body::Accepted { slot, ballot } => self.on_accepted(from, sender, slot, ballot),
            Body::Refused { slot, ballot, promised } => self.on_refused(slot, ballot, promised),
            Body::Committed { slot, entry } => self.on_committed(from, sender, slot, entry),
            Body::Applied => {}
            Body::Fetch { after } => self.send_entries(from, after),
            Body::Entries { first, entries } => self.on_entries(from, first, entries),
            Body::Gossip { heartbeats } => {
                self.merge(sender, &heartbeats);
                if self.is_joined() {
                    let heartbeats = self.gossip.answer(&heartbeats);
                    self.send(from, Body::GossipAnswer { heartbeats });
                }
            }
            Body::GossipAnswer { heartbeats } => self.merge(sender, &heartbeats),
            Body::Probe { nonce } => self.send(from, Body::ProbeAnswer { nonce }),
            Body::ProbeAnswer { nonce } => self.gossip.on_probe_answer(sender, nonce, self.now),
        }
    }

    /// Builds the view of the state, if this node is a member, and lets gossip know who the members are.
    pub(crate) fn build_view(&mut self) {
        if self.is_joined() {
            let view = ClusterView::of_state(self.log.state(), self.view.as_deref());
            self.view = view.map(Arc::new);
            if self.stage == Stage::Running {
                self.gossip.set_members(self.log.state().members.keys().copied(), self.now);
            }
        }
        let state = self.log.state();
        self.addresses.retain(|id, _| state.members.contains_key(id) || state.voters.contains_key(id));
    }

    fn begin(&mut self) {
        self.stage = Stage::Starting;
        let mut records = vec![(Key::Generation.to_bytes(), Some(record::value(&self.generation)))];
        records.extend(std::mem::take(&mut self.stale).into_iter().map(|key| (key, None)));
        self.store(records, Afterwards::Start);
    }

    fn on_stored(&mut self, op: u64, result: Result<(), String>) {
        let Some(afterwards) = self.stored.remove(&op) else { return };
        if let Err(error) = result {
            self.stop(MemberError::Storage(error));
            return;
        }
        match afterwards {
            Afterwards::Start => {
                self.stage = Stage::Running;
                self.discovery = Discovery::new(self.now);
                self.build_view();
            }
            Afterwards::Generation(generation) => self.gossip.set_generation(generation),
            Afterwards::Send { to, body } => self.send(to, body),
            Afterwards::Apply(entries) => self.apply(entries),
        }
    }

    fn on_message(&mut self, from: SocketAddr, message: Message) {
        if self.stage != Stage::Running || message.sender == self.config.id {
            return;
        }
        self.discovery.unreachable.remove(&from);
        if !self.admit(from, &message) {
            return;
        }
        if message.cluster == self.cluster() && message.cluster.is_some() {
            self.note(from, &message);
        }
        self.on_body(from, message);
    }

    /// What every message of the own cluster says about its sender.
    fn note(&mut self, from: SocketAddr, message: &Message) {
        let (sender, state) = (message.sender, self.log.state());
        if state.members.contains_key(&sender) || state.voters.contains_key(&sender) {
            self.addresses.insert(sender, from);
        }
        if !state.members.contains_key(&sender) {
            let now = self.now;
            self.joiners.retain(|_, heard| now - *heard < JOINER_FORGOTTEN);
            if self.joiners.len() < JOINERS_MAX {
                self.joiners.insert(sender, now);
            }
        }
        if message.epoch > Epoch(0) {
            self.discovery.heard_own_cluster = true;
        }
        self.gossip.on_direct(sender, self.now);
        self.gossip.on_epoch(sender, message.epoch);
        self.proposals.reports_changed = true;
        if !self.is_planted(Planted::CatchUpSkipped) {
            self.want(from, message.epoch);
        }
    }

    fn on_unreachable(&mut self, address: SocketAddr) {
        if self.stage != Stage::Running {
            return;
        }
        if self.config.seeds.contains(&address) {
            self.discovery.unreachable.insert(address);
        }
        if self.catch_up.as_ref().is_some_and(|catch_up| catch_up.from == address) {
            self.catch_up = None;
        }
        let members: Vec<NodeId> = self.log.state().members.keys().copied().collect();
        for id in members {
            if id != self.config.id
                && self.address_of(id) == Some(address)
                && let Some(nonce) = self.gossip.on_unreachable(id, self.now, &mut self.rng)
            {
                self.send(address, Body::Probe { nonce });
            }
        }
    }

    fn merge(&mut self, sender: NodeId, heartbeats: &[(NodeId, Heartbeat)]) {
        let mut heartbeats = heartbeats.to_vec();
        heartbeats.retain(|(id, _)| !self.is_planted(Planted::RevivedNever) || self.gossip.is_alive(*id));
        let merged = self.gossip.merge(sender, &heartbeats, self.now, &mut self.rng);
        for (id, nonce) in merged.probes {
            if let Some(address) = self.address_of(id) {
                self.send(address, Body::Probe { nonce });
            }
        }
        if let Some(seen) = merged.own_generation.filter(|seen| (self.generation..GENERATION_MAX).contains(seen)) {
            // The records were lost but the id was kept: go above what the others remember.
            self.generation = seen + 1;
            let records = vec![(Key::Generation.to_bytes(), Some(record::value(&self.generation)))];
            self.store(records, Afterwards::Generation(self.generation));
        }
    }

    fn gossip(&mut self) {
        let Some(round) = self.gossip.on_time(self.now, &mut self.rng) else { return };
        let mut to: BTreeSet<SocketAddr> = round.targets.iter().filter_map(|id| self.address_of(*id)).collect();
        if self.rng.chance(SEED_GOSSIP_PER_MILLE) {
            let seed = self.config.seeds[self.rng.index(self.config.seeds.len())];
            to.insert(seed);
        }
        to.remove(&self.config.addresses.internode);
        for address in to {
            self.send(address, Body::Gossip { heartbeats: round.heartbeats.clone() });
        }
    }

    fn receive_from_itself(&mut self) {
        let own = self.config.addresses.internode;
        while let Some(message) = self.loopback.pop_front() {
            self.on_body(own, message);
        }
    }

    /// Says what has changed of the view and of who is alive.
    fn publish(&mut self) {
        if self.stage == Stage::Stopped || self.view.is_none() {
            return;
        }
        let alive = self.gossip.alive();
        if !Arc::ptr_eq(alive, &self.alive) && *alive != self.alive {
            self.proposals.reports_changed = true;
        }
        self.alive = alive.clone();
        if let Some(view) = &self.view
            && self.published.0.as_ref().is_none_or(|published| published.epoch < view.epoch)
        {
            self.published.0 = Some(view.clone());
            // Before all else of this step: whoever is told that this node has applied the epoch, by an answer or a
            // message, may rely on its shards having the view.
            self.effects.insert(0, Effect::View(view.clone()));
        }
        if self.published.1.as_ref().is_none_or(|told| !Arc::ptr_eq(told, &self.alive) && *told != self.alive) {
            self.published.1 = Some(self.alive.clone());
            self.effects.push(Effect::Alive(self.alive.clone()));
        }
    }
}

fn check(config: &MemberConfig) -> Result<(), MemberError> {
    let refuse = |message: String| Err(MemberError::Config(message));
    if config.seeds.is_empty() || config.seeds.len() > SEEDS_MAX {
        return refuse(format!("{} seeds are configured: it must be 1 to {SEEDS_MAX}", config.seeds.len()));
    }
    if config.num_tokens == 0 || config.num_tokens > TOKENS_MAX {
        return refuse(format!("num_tokens is {}: it must be 1 to {TOKENS_MAX}", config.num_tokens));
    }
    for (setting, name) in [("data_center", &config.data_center), ("rack", &config.rack)] {
        if !place_is_valid(name) {
            let most = crate::log::PLACE_BYTES_MAX;
            return refuse(format!("{setting} is '{name}': it must have 1 to {most} bytes"));
        }
    }
    Ok(())
}

fn check_fixed_settings(config: &MemberConfig, member: &crate::log::MemberInfo) -> Result<(), MemberError> {
    let settings = [
        ("data_center", member.data_center.clone(), config.data_center.clone()),
        ("rack", member.rack.clone(), config.rack.clone()),
        ("num_tokens", member.tokens.len().to_string(), config.num_tokens.to_string()),
    ];
    match settings.into_iter().find(|(_, was, is)| was != is) {
        Some((setting, was, is)) => Err(MemberError::SettingChanged { setting, was, is }),
        None => Ok(()),
    }
}

/// What the local records say.
pub(crate) struct Recovered {
    pub(crate) log: Log,
    pub(crate) acceptors: BTreeMap<Epoch, Acceptor<Entry>>,
    generation: u64,
    was_member: bool,
    stale: Vec<Bytes>,
}

impl Recovered {
    pub(crate) fn read(records: &[(Bytes, Bytes)], id: NodeId) -> Result<Recovered, MemberError> {
        let corrupt = |what: String| MemberError::Corrupt(what);
        let (mut entries, mut registers, mut generation) = (BTreeMap::new(), Vec::new(), 0);
        for (key, value) in records {
            let damaged = |error| corrupt(format!("record {}: {error}", key.escape_ascii()));
            match Key::from_bytes(key) {
                Some(Key::Generation) => generation = record::content::<u64>(value).map_err(damaged)?,
                Some(Key::Entry(slot)) => {
                    entries.insert(slot, record::content::<Entry>(value).map_err(damaged)?);
                }
                Some(Key::Register(slot)) => {
                    registers.push((slot, record::content::<Acceptor<Entry>>(value).map_err(damaged)?, key.clone()));
                }
                None => return Err(corrupt(format!("record {} is not known", key.escape_ascii()))),
            }
        }
        let (mut log, mut was_member) = (Log::default(), false);
        for (slot, entry) in entries {
            if slot != log.state().epoch.next() {
                return Err(corrupt(format!("log entry {} is missing", log.state().epoch.next().0)));
            }
            if slot == Epoch(1) && !matches!(*entry.change, Change::Genesis { .. }) {
                return Err(corrupt("log entry 1 is not the cluster's beginning".to_owned()));
            }
            log.append(entry);
            was_member |= log.state().members.contains_key(&id);
        }
        let removed = was_member && !log.state().members.contains_key(&id);
        if let (true, Some(cluster)) = (removed, log.state().cluster_id) {
            return Err(MemberError::Removed { id, cluster });
        }
        let (mut acceptors, mut stale) = (BTreeMap::new(), Vec::new());
        for (slot, acceptor, key) in registers {
            if slot > log.state().epoch {
                acceptors.insert(slot, acceptor);
            } else {
                stale.push(key);
            }
        }
        Ok(Recovered { log, acceptors, generation, was_member, stale })
    }
}
