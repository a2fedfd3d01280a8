//! Paxos over the slots of the log: the acceptor of the next slot, the attempts of this node to get
//! something decided there, and the queue of schema changes until their answer.
//!
//! A schema change is checked after a quorum of voters has promised for the next slot and none had accepted
//! anything there: the log is then known to be complete as of that promise, so that an error is as current
//! as a success.

use crate::io::{Body, Effect, MemberError, Message};
use crate::log::record::{self, Key};
use crate::log::{Change, ENTRY_BYTES_MAX, Entry, Founder, MemberInfo, State, VOTERS_MAX};
use crate::member::{Afterwards, Member, Stage};
use crate::replication;
use model::codec::Encode;
use model::consistency::majority;
use model::schema::SchemaChange;
use model::{Epoch, Instant, NodeId, Planted, RequestError};
use paxos::{Accepted, Action, Ballot, Nack, Promise, Proposer};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Most schema changes that wait for their decision or for agreement on it.
const PENDING_MAX: usize = 256;

/// Time for a schema change, from the request to agreement.
pub(crate) const CHANGE_TIMEOUT: Duration = Duration::from_secs(10);

/// After so long a majority of the members is enough for agreement, though more are alive.
const AGREEMENT_PATIENCE: Duration = Duration::from_secs(1);

/// Time between two reminders to members that have not applied an entry.
const REMIND: Duration = Duration::from_millis(250);

/// Time for the first attempt's phases; it doubles with each attempt that fails.
const PHASE_FIRST: Duration = Duration::from_millis(100);

/// Time until a phase's request is sent again, since messages get lost; it doubles within the phase.
const RESEND_FIRST: Duration = Duration::from_millis(50);

/// Longest time for a phase.
const PHASE_LAST: Duration = Duration::from_secs(2);

/// Pause after the first attempt that fails, at most; it doubles with each.
const PAUSE_FIRST: Duration = Duration::from_millis(15);

/// Longest pause between two attempts.
const PAUSE_LAST: Duration = Duration::from_secs(1);

/// How long the founder of a cluster waits for the promises of seeds that are there, beyond a majority.
const FOUNDERS_PATIENCE: Duration = Duration::from_millis(30);

/// How long a CREATE TABLE waits for nodes that are about to join: they could not once it exists.
const JOINERS_PATIENCE: Duration = Duration::from_secs(5);

/// Each seed waits so much longer than the one before it before it joins.
const JOIN_STAGGER: Duration = Duration::from_millis(8);

/// A ballot's round is the count of attempts, then as many bits of the proposer's generation, so that no
/// ballot is used again after a restart.
const GENERATION_BITS: u32 = 24;

/// An acceptor as the proposer counts it: the seeds know each other by address only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Voter {
    Seed(SocketAddr),
    Node(NodeId),
}

/// One attempt to decide the next slot.
#[derive(Clone, Debug)]
struct Attempt {
    slot: Epoch,
    proposer: Proposer<Entry, Voter>,
    electorate: BTreeMap<Voter, SocketAddr>,
    /// The seeds that promised, with their ids, for the genesis entry.
    founders: BTreeMap<SocketAddr, NodeId>,
    /// What the phase asks of the acceptors.
    request: Body,
    /// When to ask again, and how long after that again.
    resend: (Instant, Duration),
    /// When to give up.
    until: Instant,
    /// Until when to wait for more promises than a quorum.
    more_until: Option<Instant>,
}

/// A schema change on its way to a decision.
#[derive(Clone, Debug)]
struct Proposal {
    request: u64,
    /// Of the log entry that it is to become.
    id: u128,
    change: SchemaChange,
    started: Instant,
}

/// A schema change that is decided and applied here, on its way to agreement.
#[derive(Clone, Debug)]
struct Agreement {
    request: u64,
    epoch: Epoch,
    started: Instant,
    applied: Instant,
    remind: Instant,
}

/// What this node wants decided.
#[derive(Clone, Debug)]
pub(crate) struct Proposals {
    /// Whether to found a cluster; discovery decides.
    pub(crate) founding: bool,
    /// Whether a member has reported an epoch or its life since agreements were looked at.
    pub(crate) reports_changed: bool,
    queue: VecDeque<Proposal>,
    agreements: Vec<Agreement>,
    attempt: Option<Attempt>,
    /// Attempts made or heard of for the next slot.
    round: u64,
    /// Attempts in a row that failed.
    failures: u32,
    /// No attempt before this.
    retry_at: Instant,
}

/// What this node wants decided next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    Found,
    Join,
    Update,
    Voters,
    Change,
    Advance,
}

impl Proposals {
    pub(crate) fn new(now: Instant) -> Proposals {
        Proposals {
            founding: false,
            reports_changed: false,
            queue: VecDeque::new(),
            agreements: Vec::new(),
            attempt: None,
            round: 0,
            failures: 0,
            retry_at: now,
        }
    }

    /// Schema changes that are not answered yet.
    pub(crate) fn pending(&self) -> usize {
        self.queue.len() + self.agreements.len()
    }

    /// What was under way is of no use any more.
    pub(crate) fn abandon_attempt(&mut self) {
        self.attempt = None;
    }

    /// Attempts in a row that failed.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }
}

/// The acceptor.
impl Member {
    /// A proposer asks for a promise or a vote. The answer goes out when the register is stored (M3).
    pub(crate) fn on_acceptor_request(&mut self, from: SocketAddr, message: Message) {
        let (slot, ballot) = match &message.body {
            Body::Prepare { slot, ballot, .. } | Body::Accept { slot, ballot, .. } => (*slot, *ballot),
            _ => return,
        };
        if slot <= self.epoch() {
            self.send_entries(from, Epoch(slot.0.saturating_sub(1)));
            return;
        }
        if let Some(entry) = self.arriving.get(&slot) {
            let entry = entry.clone();
            self.send(from, Body::Committed { slot, entry });
            return;
        }
        if slot > self.epoch().next() {
            self.defer(from, message);
            self.want(from, Epoch(slot.0 - 1));
            return;
        }
        if !self.votes_on(slot, &message.body) {
            return;
        }
        if let (true, Body::Accept { entry, .. }) = (self.is_planted(Planted::LogAcceptedIsDecided), &message.body) {
            let entry = entry.clone();
            return self.learn(slot, entry);
        }
        let acceptor = self.acceptors.entry(slot).or_default();
        let answer = match message.body {
            Body::Accept { entry, .. } => acceptor.accept(ballot, entry).map(|()| Body::Accepted { slot, ballot }),
            _ => acceptor.prepare(ballot).map(|promise| Body::Promise { slot, ballot, accepted: promise.accepted }),
        };
        match answer {
            Ok(body) => {
                let register = record::value(&*acceptor);
                let records = vec![(Key::Register(slot).to_bytes(), Some(register))];
                if self.is_planted(Planted::LogAcceptedUnsynced) {
                    self.send(from, body.clone());
                }
                self.store(records, Afterwards::Send { to: from, body });
            }
            Err(Nack { promised }) => self.send(from, Body::Refused { slot, ballot, promised }),
        }
    }

    /// Whether this node is one of those that decide the next slot.
    fn votes_on(&self, slot: Epoch, body: &Body) -> bool {
        if slot > Epoch(1) {
            return self.log.state().voters.contains_key(&self.config.id);
        }
        // Only proposers with the same seeds: majorities of different sets need not intersect.
        let same_seeds = match body {
            Body::Prepare { seeds, .. } => *seeds == self.config.seeds,
            _ => true,
        };
        self.may_found() && same_seeds
    }
}

/// The proposer.
impl Member {
    fn work(&self) -> Option<Work> {
        if self.epoch() == Epoch(0) {
            return self.proposals.founding.then_some(Work::Found);
        }
        if self.discovery.follows.is_some() {
            return None;
        }
        match self.log.state().members.get(&self.config.id) {
            None => Some(Work::Join),
            Some(member) if member.addresses != self.config.addresses => Some(Work::Update),
            Some(_) if self.voters_to_propose().is_some() => Some(Work::Voters),
            Some(_) if self.proposals.queue.is_empty() => self.replication_is_due().then_some(Work::Advance),
            Some(_) => Some(Work::Change),
        }
    }

    /// True when the running change of replication can take its next step, and this node is the one to propose it.
    fn replication_is_due(&self) -> bool {
        let state = self.log.state();
        let Some(running) = &state.replication_change else { return false };
        let (epoch_of, done_of) = (|id| self.gossip.epoch_of(id), |id| self.gossip.done_of(id));
        self.is_first_living_voter() && replication::is_done(running, &state.members, epoch_of, done_of)
    }

    /// Whether the next slot is known to be decided already.
    fn next_is_decided(&self) -> bool {
        self.storing || self.arriving.contains_key(&self.epoch().next())
    }

    pub(crate) fn proposals_deadline(&self) -> Option<Instant> {
        let proposals = &self.proposals;
        let attempt = proposals.attempt.as_ref();
        let until = attempt.map(Attempt::deadline);
        let idle = attempt.is_none() && self.work().is_some() && !self.next_is_decided();
        let retry = idle.then_some(proposals.retry_at);
        let expiry = proposals.queue.front().map(|proposal| proposal.started + CHANGE_TIMEOUT);
        let agreements = proposals.agreements.iter().map(|agreement| agreement.deadline());
        agreements.chain([until, retry, expiry].into_iter().flatten()).min()
    }

    /// Everything of proposals that is due.
    pub(crate) fn drive_proposals(&mut self) {
        self.expire_proposals();
        self.drive_agreements();
        if let Some(attempt) = &self.proposals.attempt {
            if attempt.until <= self.now {
                self.fail_attempt();
            } else if attempt.more_until.is_some_and(|until| until <= self.now) {
                self.propose();
            } else if attempt.resend.0 <= self.now {
                self.resend();
            }
        }
        let idle = self.proposals.attempt.is_none() && self.proposals.retry_at <= self.now;
        if idle && self.stage == Stage::Running && !self.next_is_decided() && self.work().is_some() {
            self.begin_attempt();
        }
    }

    fn begin_attempt(&mut self) {
        let slot = self.epoch().next();
        let (electorate, seeds): (BTreeMap<Voter, SocketAddr>, Vec<SocketAddr>) = if slot == Epoch(1) {
            let seeds = self.config.seeds.clone();
            (seeds.iter().map(|seed| (Voter::Seed(*seed), *seed)).collect(), seeds)
        } else {
            let by_liveness = self.is_planted(Planted::VotersByLiveness);
            let votes = |id: &NodeId| !by_liveness || self.gossip.is_alive(*id);
            let voters = self.log.state().voters.iter().filter(|(id, _)| votes(id));
            let address = |id: &NodeId, known: &SocketAddr| self.address_of(*id).unwrap_or(*known);
            (voters.map(|(id, known)| (Voter::Node(*id), address(id, known))).collect(), Vec::new())
        };
        self.proposals.round += 1;
        let generation = self.gossip.generation() & ((1 << GENERATION_BITS) - 1);
        let round = self.proposals.round.saturating_mul(1 << GENERATION_BITS) | generation;
        let ballot = Ballot { round, node: self.config.id };
        let short = usize::from(self.is_planted(Planted::LogChosenByOneLess) && electorate.len() > 1);
        let proposer = Proposer::new(ballot, majority(electorate.len()) - short);
        let attempt = Attempt {
            slot,
            proposer,
            electorate,
            founders: BTreeMap::new(),
            request: Body::Prepare { slot, ballot, seeds },
            resend: (self.now, RESEND_FIRST),
            until: self.now,
            more_until: None,
        };
        self.begin_phase(attempt);
    }

    /// Sends the request of the attempt's phase.
    fn begin_phase(&mut self, mut attempt: Attempt) {
        for address in attempt.electorate.values() {
            self.send(*address, attempt.request.clone());
        }
        attempt.until = self.now + self.phase_timeout();
        attempt.resend = (self.now + RESEND_FIRST, RESEND_FIRST);
        attempt.more_until = None;
        self.proposals.attempt = Some(attempt);
    }

    fn resend(&mut self) {
        let now = self.now;
        let Some(attempt) = &mut self.proposals.attempt else { return };
        let pause = attempt.resend.1 * 2;
        attempt.resend = (now + pause, pause);
        let (request, to) = (attempt.request.clone(), attempt.electorate.values().copied().collect::<Vec<_>>());
        for address in to {
            self.send(address, request.clone());
        }
    }

    fn phase_timeout(&self) -> Duration {
        PHASE_FIRST.saturating_mul(1 << self.proposals.failures.min(6)).min(PHASE_LAST)
    }

    fn fail_attempt(&mut self) {
        self.proposals.attempt = None;
        let longest = PAUSE_FIRST.saturating_mul(1 << self.proposals.failures.min(8)).min(PAUSE_LAST);
        self.proposals.failures = self.proposals.failures.saturating_add(1);
        let pause = self.rng.between(1_000, longest.as_micros() as u64);
        self.proposals.retry_at = self.now + Duration::from_micros(pause);
    }

    /// The attempt at a slot, and under which name it counts a sender.
    fn attempt_at(&mut self, slot: Epoch, from: SocketAddr, sender: NodeId) -> Option<(&mut Attempt, Voter)> {
        let attempt = self.proposals.attempt.as_mut().filter(|attempt| attempt.slot == slot)?;
        let voter = if slot == Epoch(1) { Voter::Seed(from) } else { Voter::Node(sender) };
        attempt.electorate.contains_key(&voter).then_some((attempt, voter))
    }

    pub(crate) fn on_promise(
        &mut self,
        from: SocketAddr,
        sender: NodeId,
        slot: Epoch,
        ballot: Ballot,
        accepted: Option<Accepted<Entry>>,
    ) {
        let accepted = accepted.filter(|_| !self.is_planted(Planted::LogAdoptionIgnored));
        let Some((attempt, voter)) = self.attempt_at(slot, from, sender) else { return };
        if attempt.proposer.on_promise(voter, Promise { ballot, accepted }) == Action::Propose {
            let founders = attempt.proposer.promised_by().count();
            attempt.founders.insert(from, sender);
            if slot > Epoch(1) || founders == attempt.electorate.len() {
                self.propose();
            } else {
                self.await_founders();
            }
        } else if slot == Epoch(1) {
            attempt.founders.insert(from, sender);
        }
    }

    /// A majority would do, but then the cluster begins with no voter to spare: waits a little for the other
    /// seeds that are there.
    fn await_founders(&mut self) {
        let companions: BTreeSet<SocketAddr> = self.discovery.companions().collect();
        let now = self.now;
        let Some(attempt) = &mut self.proposals.attempt else { return };
        let more_until = *attempt.more_until.get_or_insert(now + FOUNDERS_PATIENCE);
        let all = companions.iter().all(|seed| attempt.founders.contains_key(seed));
        if all || more_until <= now {
            self.propose();
        }
    }

    /// Second phase: proposes what a promise obliges to, or else what this node wants.
    fn propose(&mut self) {
        let Some(mut attempt) = self.proposals.attempt.take() else { return };
        let own = match attempt.proposer.adopted() {
            Some(adopted) => Some(adopted.clone()),
            None => self.own_entry(&attempt),
        };
        let Some(own) = own else { return };
        let entry = attempt.proposer.propose(own);
        let (slot, ballot) = (attempt.slot, attempt.proposer.ballot());
        attempt.request = Body::Accept { slot, ballot, entry };
        self.begin_phase(attempt);
    }

    /// The entry that this node wants at the next slot, checked against the state before it (M4). `None`
    /// when it turns out to want nothing.
    fn own_entry(&mut self, attempt: &Attempt) -> Option<Entry> {
        loop {
            let change = match self.work()? {
                Work::Found => {
                    let founders = attempt.founders.iter().take(VOTERS_MAX);
                    let founders = founders.map(|(internode, id)| Founder { id: *id, internode: *internode });
                    Change::Genesis { cluster_id: self.rng.next_u128(), founders: founders.collect() }
                }
                Work::Join => self.own_join()?,
                Work::Update => {
                    let member = self.log.state().members.get(&self.config.id)?;
                    Change::Update(MemberInfo { addresses: self.config.addresses, ..member.clone() })
                }
                Work::Voters => Change::Voters(self.voters_to_propose()?.to_vec()),
                Work::Advance => {
                    let running = self.log.state().replication_change.as_ref()?;
                    let (keyspace, since) = (running.keyspace.clone(), running.since);
                    Change::Schema(SchemaChange::AdvanceReplication { keyspace, since })
                }
                Work::Change => match self.check_first_proposal() {
                    Checked::Propose(entry) => return Some(entry),
                    Checked::Answered => continue,
                    Checked::Later => return None,
                },
            };
            return Some(Entry { id: self.rng.next_u128(), change: Arc::new(change) });
        }
    }

    /// The join entry of this node; stops it when the cluster does not take it in.
    fn own_join(&mut self) -> Option<Change> {
        let state = self.log.state();
        let config = &self.config;
        let tokens = state.tokens_for(config.addresses.internode, &config.data_center, config.num_tokens);
        let member = MemberInfo {
            id: config.id,
            addresses: config.addresses,
            data_center: config.data_center.clone(),
            rack: config.rack.clone(),
            tokens,
        };
        match (state.refusal_of_join(&member), state.cluster_id) {
            (Some(reason), Some(cluster)) => {
                self.stop(MemberError::JoinRefused { cluster, reason });
                None
            }
            _ => Some(Change::Join { member, is_seed: self.is_seed() }),
        }
    }

    fn check_first_proposal(&mut self) -> Checked {
        let Some(proposal) = self.proposals.queue.front() else { return Checked::Later };
        let waits = self.now < proposal.started + JOINERS_PATIENCE;
        if waits && matches!(proposal.change, SchemaChange::CreateTable { .. }) && self.somebody_is_joining() {
            self.proposals.retry_at = self.now + PAUSE_FIRST * 2;
            return Checked::Later;
        }
        let (request, started) = (proposal.request, proposal.started);
        match self.log.state().validate_schema(&proposal.change) {
            Ok(true) => {
                let change = Arc::new(Change::Schema(proposal.change.clone()));
                return Checked::Propose(Entry { id: proposal.id, change });
            }
            // Nothing to decide, but what the client wants to rely on must be as widely known as if there were.
            Ok(false) => self.await_agreement(request, self.epoch(), started),
            Err(error) => self.effects.push(Effect::Decided { request, result: Err(error) }),
        }
        self.proposals.queue.pop_front();
        Checked::Answered
    }

    pub(crate) fn on_accepted(&mut self, from: SocketAddr, sender: NodeId, slot: Epoch, ballot: Ballot) {
        let Some((attempt, voter)) = self.attempt_at(slot, from, sender) else { return };
        if let Action::Chosen(entry) = attempt.proposer.on_accepted(voter, ballot) {
            self.on_chosen(slot, entry);
        }
    }

    pub(crate) fn on_refused(&mut self, slot: Epoch, ballot: Ballot, promised: Ballot) {
        let Some(attempt) = self.proposals.attempt.as_mut().filter(|attempt| attempt.slot == slot) else { return };
        if let Action::Retry { above } = attempt.proposer.on_nack(ballot, Nack { promised }) {
            self.proposals.round = self.proposals.round.max(above.round >> GENERATION_BITS);
            self.fail_attempt();
        }
    }

    /// This node knows first that an entry is decided: tells everybody whom it concerns.
    fn on_chosen(&mut self, slot: Epoch, entry: Entry) {
        let Some(attempt) = self.proposals.attempt.take() else { return };
        self.proposals.failures = 0;
        let members: Vec<NodeId> = self.log.state().members.keys().copied().collect();
        let mut to: BTreeSet<SocketAddr> = members.iter().filter_map(|id| self.address_of(*id)).collect();
        to.extend(attempt.electorate.values());
        match &*entry.change {
            Change::Genesis { cluster_id, .. } => self.discovery.cluster = Some(*cluster_id),
            Change::Join { member, .. } | Change::Update(member) => {
                to.insert(member.addresses.internode);
            }
            Change::Schema(_) | Change::Voters(_) | Change::Recover { .. } => {}
        }
        to.remove(&self.config.addresses.internode);
        for address in to {
            self.send(address, Body::Committed { slot, entry: entry.clone() });
        }
        self.learn(slot, entry);
    }

    /// The log has grown: what was under way for a slot before its end is void.
    pub(crate) fn on_log_advanced(&mut self, from_nothing: bool) {
        self.proposals.round = 0;
        self.proposals.reports_changed = true;
        let lost = self.proposals.attempt.take().is_some();
        self.proposals.failures = 0;
        let pause = if from_nothing {
            let own = self.config.addresses.internode;
            let rank = self.config.seeds.iter().position(|seed| *seed == own);
            let rank = rank.map_or_else(|| self.rng.below(8) as u32, |rank| rank as u32);
            JOIN_STAGGER * rank
        } else if lost {
            Duration::from_micros(self.rng.below(PAUSE_FIRST.as_micros() as u64))
        } else {
            return;
        };
        self.proposals.retry_at = self.now + pause;
    }
}

enum Checked {
    /// This entry is valid now.
    Propose(Entry),
    /// The first proposal was answered without an entry.
    Answered,
    /// Nothing is to be proposed now.
    Later,
}

/// The queue of schema changes and their answers.
impl Member {
    pub(crate) fn on_propose(&mut self, request: u64, change: SchemaChange) {
        let refusal = if self.stage == Stage::Stopped {
            Some(RequestError::NotServing("it is stopping".to_owned()))
        } else if !self.is_joined() {
            Some(RequestError::NotServing("it has not joined a cluster yet".to_owned()))
        } else if self.proposals.pending() >= PENDING_MAX {
            Some(RequestError::Overloaded(format!("{PENDING_MAX} schema changes are waiting")))
        } else if change.to_bytes().len() > ENTRY_BYTES_MAX {
            Some(RequestError::Invalid(format!("the schema change is larger than {ENTRY_BYTES_MAX} bytes")))
        } else {
            None
        };
        if let Some(error) = refusal {
            self.effects.push(Effect::Decided { request, result: Err(error) });
            return;
        }
        let id = self.rng.next_u128();
        self.proposals.queue.push_back(Proposal { request, id, change, started: self.now });
    }

    /// An entry is being applied: if it is one of this node's schema changes, it waits for agreement now.
    pub(crate) fn on_own_decided(&mut self, epoch: Epoch, id: u128) {
        let Some(at) = self.proposals.queue.iter().position(|proposal| proposal.id == id) else { return };
        if let Some(Proposal { request, started, .. }) = self.proposals.queue.remove(at) {
            self.await_agreement(request, epoch, started);
        }
    }

    fn await_agreement(&mut self, request: u64, epoch: Epoch, started: Instant) {
        let (applied, remind) = (self.now, self.now + REMIND);
        self.proposals.agreements.push(Agreement { request, epoch, started, applied, remind });
        self.proposals.reports_changed = true;
    }

    fn expire_proposals(&mut self) {
        while let Some(proposal) = self.proposals.queue.front() {
            if proposal.started + CHANGE_TIMEOUT > self.now {
                return;
            }
            let (request, voters) = (proposal.request, self.log.state().voters.len());
            self.proposals.queue.pop_front();
            let living = self.living_voters();
            let reason = format!("no majority of the {voters} metadata voters decided it; {living} of them live");
            self.effects.push(Effect::Decided { request, result: Err(RequestError::SchemaTimeout(reason)) });
        }
    }

    /// Answers the schema changes that enough members have applied.
    fn drive_agreements(&mut self) {
        let due = self.proposals.agreements.iter().any(|agreement| agreement.deadline() <= self.now);
        if !due && !std::mem::take(&mut self.proposals.reports_changed) {
            return;
        }
        let mut waiting = Vec::new();
        for mut agreement in std::mem::take(&mut self.proposals.agreements) {
            match self.agreed(&agreement) {
                Some(result) => self.effects.push(Effect::Decided { request: agreement.request, result }),
                None => {
                    if agreement.remind <= self.now {
                        agreement.remind = self.now + REMIND;
                        self.remind(agreement.epoch);
                    }
                    waiting.push(agreement);
                }
            }
        }
        self.proposals.agreements = waiting;
    }

    /// The answer to a schema change, if it is time for it.
    fn agreed(&self, agreement: &Agreement) -> Option<Result<Epoch, RequestError>> {
        if self.is_planted(Planted::SchemaAcknowledgedEarly) {
            return Some(Ok(agreement.epoch));
        }
        let State { members, recoveries, .. } = self.log.state();
        let has_applied = |id: &NodeId| self.gossip.epoch_of(*id) >= agreement.epoch;
        // Those that have not been heard of since the cluster was recovered are thought lost, and not waited for.
        let recovered = recoveries.last().map_or(Epoch(0), |(_, slot)| *slot);
        let counted = members.keys().filter(|id| self.gossip.epoch_of(**id) >= recovered).count();
        let applied = members.keys().filter(|id| has_applied(id)).count();
        let by_majority = applied >= majority(counted);
        let all_alive = members.keys().all(|id| has_applied(id) || !self.gossip.is_alive(*id));
        // Never less than a majority, whoever is alive: a quorum of replicas must meet those that know.
        if by_majority && (all_alive || agreement.applied + AGREEMENT_PATIENCE <= self.now) {
            return Some(Ok(agreement.epoch));
        }
        let timed_out = agreement.started + CHANGE_TIMEOUT <= self.now;
        timed_out.then(|| match by_majority {
            true => Ok(agreement.epoch),
            false => Err(RequestError::SchemaTimeout(format!(
                "it is decided, but only {applied} of {counted} members have applied it"
            ))),
        })
    }

    fn remind(&mut self, epoch: Epoch) {
        let Some(entry) = self.log.entry(epoch).cloned() else { return };
        let members = self.log.state().members.keys();
        let lagging = members.filter(|id| self.gossip.is_alive(**id) && self.gossip.epoch_of(**id) < epoch);
        let addresses: Vec<SocketAddr> = lagging.filter_map(|id| self.address_of(*id)).collect();
        for address in addresses {
            self.send(address, Body::Committed { slot: epoch, entry: entry.clone() });
        }
    }

    /// Nothing will be decided here any more.
    pub(crate) fn answer_all_as_stopped(&mut self) {
        let error = || RequestError::SchemaTimeout("the node is stopping".to_owned());
        let queued = self.proposals.queue.drain(..).map(|proposal| proposal.request);
        let agreeing = self.proposals.agreements.drain(..).map(|agreement| agreement.request);
        let answers = queued.chain(agreeing).map(|request| Effect::Decided { request, result: Err(error()) });
        self.effects.extend(answers);
    }
}

impl Attempt {
    fn deadline(&self) -> Instant {
        let until = self.until.min(self.resend.0);
        self.more_until.map_or(until, |more| more.min(until))
    }
}

impl Agreement {
    /// When it has to be looked at again, even if nobody reports anything.
    fn deadline(&self) -> Instant {
        self.remind.min(self.started + CHANGE_TIMEOUT)
    }
}
