//! Members on a simulated network with simulated disks: first boots, late and wiped nodes, concurrent schema
//! changes under loss, duplication, delay, partitions and crashes. After every step the logs of all nodes
//! are checked to be prefixes of one log (M1).

use crate::io::{Effect, Input, MemberConfig, MemberError, Message};
use crate::log::{Change, Entry, Founder, MemberInfo, NodeAddresses, State};
use crate::{ClusterView, Member};
use bytes::Bytes;
use model::codec::{Decode, Encode};
use model::schema::{Column, ColumnKind, Replication, SchemaChange, Table};
use model::table_options::TableOptions;
use model::{ColumnId, CqlType, Epoch, Instant, NodeId, Now, RequestError, Rng, TableId, WallMicros};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

#[path = "voting_tests.rs"]
mod voting_tests;

const MILLISECOND: u64 = 1_000;
const SECOND: u64 = 1_000_000;

#[derive(Debug)]
enum Event {
    /// Encoded, so that every message of every test goes through the codec.
    Message {
        from: SocketAddr,
        bytes: Bytes,
    },
    Stored {
        incarnation: u64,
    },
    Wake {
        incarnation: u64,
    },
    Unreachable(SocketAddr),
}

struct Queued {
    at: u64,
    sequence: u64,
    node: usize,
    event: Event,
}

impl PartialEq for Queued {
    fn eq(&self, other: &Queued) -> bool {
        self.sequence == other.sequence
    }
}
impl Eq for Queued {}
impl PartialOrd for Queued {
    fn partial_cmp(&self, other: &Queued) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Queued {
    fn cmp(&self, other: &Queued) -> std::cmp::Ordering {
        (self.at, self.sequence).cmp(&(other.at, other.sequence))
    }
}

struct Node {
    config: MemberConfig,
    member: Option<Member>,
    incarnation: u64,
    disk: BTreeMap<Bytes, Bytes>,
    /// Writes under way, in order: when they are done, and what they change. A crash may find any first part
    /// of them on the disk.
    writes: VecDeque<(u64, model::local::LocalWrite)>,
    last_write_at: u64,
    /// Its clock stands still until then: inputs arrive late and in a heap.
    paused_until: u64,
    view: Option<Arc<ClusterView>>,
    alive: BTreeSet<NodeId>,
    fatal: Option<MemberError>,
    woken_at: Option<u64>,
    messages_sent: u64,
    bytes_largest: usize,
}

impl Node {
    fn write_one(&mut self) -> Option<u64> {
        let (op, write) = self.writes.pop_front()?;
        for (key, value) in write.records {
            match value {
                Some(value) => self.disk.insert(key, value),
                None => self.disk.remove(&key),
            };
        }
        Some(op)
    }
}

/// Chances per mille and times in microseconds.
#[derive(Clone, Copy)]
struct Faults {
    loss: u64,
    duplication: u64,
    delay: (u64, u64),
    sync: (u64, u64),
    late_wake: u64,
}

const CALM: Faults = Faults { loss: 0, duplication: 0, delay: (50, 300), sync: (200, 2_000), late_wake: 0 };

struct World {
    now: u64,
    sequence: u64,
    events: BinaryHeap<Reverse<Queued>>,
    nodes: Vec<Node>,
    rng: Rng,
    faults: Faults,
    /// Pairs of nodes that do not hear each other, in this direction.
    cut: BTreeSet<(usize, usize)>,
    /// The one log: the entry ids of all slots that any node has applied.
    log: Vec<u128>,
    /// The logs of further clusters, in the tests that have some.
    other_logs: BTreeMap<u128, Vec<u128>>,
    decided: BTreeMap<u64, (usize, u64, Result<Epoch, RequestError>)>,
    requests: u64,
    seed: u64,
    steps: u64,
    /// The bug that every node runs with; without the feature `planted` nobody looks at it.
    bug: Option<model::Planted>,
}

fn address(index: usize) -> SocketAddr {
    SocketAddr::from(([127, 0, (index / 250) as u8, (index % 250) as u8 + 1], 7000))
}

impl World {
    fn new(seed: u64, faults: Faults) -> World {
        World {
            now: 0,
            sequence: 0,
            events: BinaryHeap::new(),
            nodes: Vec::new(),
            rng: Rng::new(seed),
            faults,
            cut: BTreeSet::new(),
            log: Vec::new(),
            other_logs: BTreeMap::new(),
            decided: BTreeMap::new(),
            requests: 0,
            seed,
            steps: 0,
            bug: None,
        }
    }

    /// Adds a node that is down. Its seeds are the first `seeds` nodes.
    fn add(&mut self, seeds: usize) -> usize {
        let index = self.nodes.len();
        let config = MemberConfig {
            id: NodeId(self.rng.next_u128()),
            addresses: NodeAddresses {
                internode: address(index),
                client: SocketAddr::new(address(index).ip(), 7042),
                native: SocketAddr::new(address(index).ip(), 9042),
            },
            data_center: "dc1".to_owned(),
            rack: format!("r{}", index % 3),
            num_tokens: 16,
            seeds: (0..seeds).map(address).collect(),
            holds_data: false,
            expected_cluster: None,
            voter_patience: Duration::from_secs(10),
        };
        self.nodes.push(Node {
            config,
            member: None,
            incarnation: 0,
            disk: BTreeMap::new(),
            writes: VecDeque::new(),
            last_write_at: 0,
            paused_until: 0,
            view: None,
            alive: BTreeSet::new(),
            fatal: None,
            woken_at: None,
            messages_sent: 0,
            bytes_largest: 0,
        });
        index
    }

    fn cluster(seed: u64, faults: Faults, nodes: usize, seeds: usize) -> World {
        let mut world = World::new(seed, faults);
        for _ in 0..nodes {
            world.add(seeds);
        }
        for node in 0..nodes {
            world.start(node);
        }
        world
    }

    fn clock(&self) -> Now {
        Now { monotonic: Instant(self.now), wall: WallMicros(self.now as i64) }
    }

    fn start(&mut self, index: usize) {
        let result = self.try_start(index);
        assert_eq!(result, Ok(()), "seed {}", self.seed);
    }

    fn try_start(&mut self, index: usize) -> Result<(), MemberError> {
        let (seed, now) = (self.rng.next_u64(), self.clock());
        let node = &mut self.nodes[index];
        assert!(node.member.is_none());
        let records: Vec<(Bytes, Bytes)> = node.disk.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
        #[cfg_attr(not(feature = "planted"), expect(unused_mut, reason = "a bug may be switched on"))]
        let mut member = Member::recover(node.config.clone(), &records, seed, now)?;
        #[cfg(feature = "planted")]
        member.plant(self.bug);
        (node.incarnation, node.fatal, node.view, node.woken_at) = (node.incarnation + 1, None, None, None);
        node.alive = BTreeSet::new();
        node.member = Some(member);
        self.schedule_wake(index);
        Ok(())
    }

    /// Stops a node at once. Of what it had not been told to be stored, any first part is.
    fn crash(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        for _ in 0..self.rng.below(node.writes.len() as u64 + 1) {
            node.write_one();
        }
        node.writes.clear();
        (node.member, node.view) = (None, None);
    }

    fn wipe(&mut self, index: usize) {
        self.nodes[index].disk.clear();
        self.nodes[index].config.id = NodeId(self.rng.next_u128());
    }

    fn push(&mut self, after: u64, node: usize, event: Event) {
        self.sequence += 1;
        let queued = Queued { at: self.now + after, sequence: self.sequence, node, event };
        self.events.push(Reverse(queued));
    }

    fn schedule_wake(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        let Some(deadline) = node.member.as_ref().and_then(Member::deadline) else { return };
        let at = deadline.0.max(self.now);
        if node.woken_at.is_none_or(|known| known <= self.now || at < known) {
            node.woken_at = Some(at);
            let incarnation = node.incarnation;
            let late = if self.rng.chance(self.faults.late_wake) { self.rng.below(200 * MILLISECOND) } else { 0 };
            self.push(at - self.now + late, index, Event::Wake { incarnation });
        }
    }

    fn propose(&mut self, index: usize, change: SchemaChange) -> u64 {
        self.requests += 1;
        self.step(index, Input::Propose { request: self.requests, change });
        self.requests
    }

    fn step(&mut self, index: usize, input: Input) {
        self.steps += 1;
        let now = self.clock();
        let mut effects = Vec::new();
        let Some(member) = &mut self.nodes[index].member else { return };
        member.step(now, input, &mut effects);
        assert!(member.deadline().is_none_or(|deadline| deadline > now.monotonic), "seed {}: spins", self.seed);
        for effect in effects {
            self.perform(index, effect);
        }
        self.check_log(index);
        self.schedule_wake(index);
    }

    fn perform(&mut self, index: usize, effect: Effect) {
        match effect {
            Effect::Send { to, message } => self.send(index, to, &message),
            Effect::Store { op, write } => {
                let (low, high) = self.faults.sync;
                let delay = self.rng.between(low, high);
                let node = &mut self.nodes[index];
                let (incarnation, at) = (node.incarnation, (self.now + delay).max(node.last_write_at));
                node.last_write_at = at;
                node.writes.push_back((op, write));
                self.push(at - self.now, index, Event::Stored { incarnation });
            }
            Effect::View(view) => {
                let node = &mut self.nodes[index];
                assert!(node.view.as_ref().is_none_or(|known| known.epoch < view.epoch));
                assert!(view.members.contains_key(&node.config.id));
                node.view = Some(view);
            }
            Effect::Alive(alive) => {
                assert!(alive.contains(&self.nodes[index].config.id));
                assert_ne!(self.nodes[index].alive, *alive, "only changes are told");
                self.nodes[index].alive = (*alive).clone();
            }
            Effect::Decided { request, result } => {
                let known = self.decided.insert(request, (index, self.now, result));
                assert_eq!(known, None, "one answer");
            }
            Effect::Fatal(error) => {
                self.nodes[index].fatal = Some(error);
                self.crash(index);
            }
        }
    }

    fn send(&mut self, index: usize, to: SocketAddr, message: &Message) {
        let bytes = message.to_bytes();
        let node = &mut self.nodes[index];
        node.messages_sent += 1;
        node.bytes_largest = node.bytes_largest.max(bytes.len());
        let from = node.config.addresses.internode;
        assert_ne!(from, to, "a node does not send to itself");
        let Some(target) = self.node_at(to) else { return };
        if self.cut.contains(&(index, target)) || self.rng.chance(self.faults.loss) {
            return;
        }
        let (low, high) = self.faults.delay;
        let copies = 1 + u64::from(self.rng.chance(self.faults.duplication));
        for copy in 0..copies {
            let delay = self.rng.between(low, high) + copy * self.rng.below(SECOND);
            self.push(delay, target, Event::Message { from, bytes: bytes.clone() });
        }
    }

    fn node_at(&self, internode: SocketAddr) -> Option<usize> {
        let at = |index: &usize| self.nodes[*index].config.addresses.internode == internode;
        // Nearly every node is where it was added.
        let IpAddr::V4(ip) = internode.ip() else { return None };
        let [_, _, high, low] = ip.octets();
        let usual = usize::from(high) * 250 + usize::from(low) - 1;
        let usual = Some(usual).filter(|index| *index < self.nodes.len()).filter(at);
        usual.or_else(|| (0..self.nodes.len()).find(at))
    }

    /// M1: no slot has two entries anywhere, ever.
    fn check_log(&mut self, index: usize) {
        let Some(member) = &self.nodes[index].member else { return };
        let entries = member.log.entries();
        let other = member.log.state().cluster_id.and_then(|cluster| self.other_logs.get_mut(&cluster));
        let log = other.unwrap_or(&mut self.log);
        for (slot, entry) in entries.iter().enumerate().skip(log.len().min(entries.len()).saturating_sub(3)) {
            match log.get(slot) {
                Some(known) => assert_eq!(*known, entry.id, "seed {}: M1: slot {slot} at node {index}", self.seed),
                None => log.push(entry.id),
            }
        }
    }

    fn run(&mut self, micros: u64) {
        let end = self.now + micros;
        while self.events.peek().is_some_and(|Reverse(queued)| queued.at <= end) {
            let Reverse(queued) = self.events.pop().unwrap();
            self.now = queued.at;
            self.deliver(queued);
        }
        self.now = end;
    }

    fn deliver(&mut self, queued: Queued) {
        let index = queued.node;
        if self.nodes[index].paused_until > self.now {
            let wait = self.nodes[index].paused_until - self.now;
            self.push(wait, index, queued.event);
            return;
        }
        match queued.event {
            Event::Message { from, bytes } => {
                if self.nodes[index].member.is_none() {
                    // Refused: the sender's transport may notice.
                    let sender = self.node_at(from);
                    if let Some(sender) = sender
                        && self.rng.chance(800)
                    {
                        let unreachable = Event::Unreachable(self.nodes[index].config.addresses.internode);
                        self.push(100, sender, unreachable);
                    }
                    return;
                }
                let message = Message::from_bytes(&bytes).unwrap();
                self.step(index, Input::Message { from, message });
            }
            Event::Stored { incarnation } => {
                if self.nodes[index].incarnation != incarnation || self.nodes[index].member.is_none() {
                    return;
                }
                let Some(op) = self.nodes[index].write_one() else { return };
                self.step(index, Input::Stored { op, result: Ok(()) });
            }
            Event::Wake { incarnation } => {
                if self.nodes[index].incarnation == incarnation {
                    self.nodes[index].woken_at = None;
                    self.step(index, Input::Wake);
                }
            }
            Event::Unreachable(address) => self.step(index, Input::Unreachable(address)),
        }
    }

    /// Runs until `done`, at most so long; returns the time it took.
    fn run_until(&mut self, most: u64, what: &str, mut done: impl FnMut(&World) -> bool) -> u64 {
        let start = self.now;
        while !done(self) {
            assert!(self.now < start + most, "seed {}: not in time: {what}: {}", self.seed, self.describe());
            self.run(MILLISECOND);
        }
        self.now - start
    }

    fn describe(&self) -> String {
        let nodes = self.nodes.iter().map(|node| match &node.member {
            Some(member) => {
                let status = member.status();
                format!("\n{} {:?} alive {}", status.epoch.0, status.waiting, node.alive.len())
            }
            None => format!("\ndown {:?}", node.fatal),
        });
        nodes.collect()
    }

    fn members_of(&self, index: usize) -> usize {
        self.nodes[index].view.as_ref().map_or(0, |view| view.members.len())
    }

    fn all_see(&self, count: usize) -> bool {
        let running = || (0..self.nodes.len()).filter(|index| self.nodes[*index].member.is_some());
        let epoch = running().filter_map(|index| self.nodes[index].view.as_ref()).map(|view| view.epoch).max();
        running().all(|index| {
            let same = self.nodes[index].view.as_ref().map(|view| view.epoch) == epoch;
            same && self.members_of(index) == count && self.nodes[index].alive.len() == running().count()
        })
    }

    fn id(&self, index: usize) -> NodeId {
        self.nodes[index].config.id
    }

    fn view(&self, index: usize) -> &ClusterView {
        self.nodes[index].view.as_ref().unwrap()
    }

    fn result(&self, request: u64) -> Option<&Result<Epoch, RequestError>> {
        self.decided.get(&request).map(|(_, _, result)| result)
    }

    /// Proposes and waits for the answer.
    fn change(&mut self, index: usize, change: SchemaChange) -> Result<Epoch, RequestError> {
        let request = self.propose(index, change);
        self.run_until(12 * SECOND, "an answer", |world| world.decided.contains_key(&request));
        self.result(request).cloned().unwrap()
    }
}

fn create_keyspace(name: &str) -> SchemaChange {
    SchemaChange::CreateKeyspace {
        name: name.to_owned(),
        replication: Replication::Simple { factor: 3 },
        if_not_exists: false,
    }
}

fn create_table(keyspace: &str, name: &str, id: u128) -> SchemaChange {
    let column =
        Column { id: ColumnId(0), name: "k".to_owned(), kind: ColumnKind::PartitionKey(0), cql_type: CqlType::Int };
    SchemaChange::CreateTable {
        table: Table {
            id: TableId(id),
            generation: 0,
            keyspace: keyspace.to_owned(),
            name: name.to_owned(),
            columns: vec![column],
            options: TableOptions::default(),
            dropped_columns: Vec::new(),
            indexes: Vec::new(),
            constraints: Vec::new(),
        },
        if_not_exists: false,
    }
}

fn keyspace_with_table(world: &mut World) {
    assert!(world.change(0, create_keyspace("k")).is_ok());
    assert!(world.change(0, create_table("k", "t", 1)).is_ok());
}

#[test]
fn three_nodes_started_together_form_one_cluster_at_once_and_are_quiet_later() {
    let mut times = Vec::new();
    for seed in 0..300 {
        let mut world = World::cluster(seed, CALM, 3, 3);
        times.push(world.run_until(400 * MILLISECOND, "one cluster", |world| world.all_see(3)));
        assert_eq!(world.log.len(), 4, "seed {seed}: genesis and three joins");
        assert_eq!(world.view(0).voters.len(), 3);
        assert_eq!(world.view(0), world.view(1));
        let sent: u64 = world.nodes.iter().map(|node| node.messages_sent).sum();
        world.run(10 * SECOND);
        let later: u64 = world.nodes.iter().map(|node| node.messages_sent).sum::<u64>() - sent;
        assert!(later < 3 * 10 * 6, "seed {seed}: {later} messages in 10 s of silence");
        assert_eq!(world.log.len(), 4);
    }
    times.sort_unstable();
    println!("boot of three nodes: median {} µs, slowest of 300 {} µs", times[150], times[299]);
}

#[test]
fn boot_with_slow_disks_ends_too() {
    let mut times = Vec::new();
    for seed in 0..100 {
        let slow = Faults { sync: (5 * MILLISECOND, 20 * MILLISECOND), ..CALM };
        let mut world = World::cluster(seed, slow, 3, 3);
        times.push(world.run_until(2 * SECOND, "one cluster", |world| world.all_see(3)));
    }
    times.sort_unstable();
    println!("boot with 5 to 20 ms syncs: median {} µs, slowest of 100 {} µs", times[50], times[99]);
}

#[test]
fn a_lone_seed_founds_its_own_cluster_and_others_join_it() {
    let mut world = World::cluster(1, CALM, 1, 1);
    world.run_until(200 * MILLISECOND, "a cluster of one", |world| world.all_see(1));
    for count in 2..=5 {
        let index = world.add(1);
        world.start(index);
        world.run_until(2 * SECOND, "one more", |world| world.all_see(count));
    }
    world.run_until(5 * SECOND, "all vote, seeds or not", |world| world.view(4).voters.len() == 5);
    let tokens: BTreeSet<_> = world.view(4).ring().iter().map(|(token, _)| *token).collect();
    assert_eq!(tokens.len(), 5 * 16);
}

#[test]
fn two_of_three_seeds_found_the_cluster_and_the_late_one_joins_it_as_a_voter() {
    for seed in 0..50 {
        let mut world = World::new(seed, CALM);
        for _ in 0..3 {
            world.add(3);
        }
        world.start(0);
        world.run(2 * SECOND);
        assert!(world.log.is_empty(), "one seed of three founds nothing");
        world.start(2);
        world.run_until(SECOND, "a cluster of two", |world| world.all_see(2));
        let cluster = world.view(0).cluster_id;
        world.run(5 * SECOND);
        world.start(1);
        world.run_until(SECOND, "a cluster of three", |world| world.all_see(3));
        assert_eq!(world.view(1).cluster_id, cluster);
        assert_eq!(world.view(1).voters.len(), 3);
    }
}

#[test]
fn nodes_that_are_not_seeds_wait_for_a_seed() {
    let mut world = World::new(5, CALM);
    for _ in 0..4 {
        world.add(2);
    }
    world.start(2);
    world.start(3);
    world.run(10 * SECOND);
    assert!(world.log.is_empty());
    assert!(world.nodes[2].member.as_ref().unwrap().status().waiting.unwrap().contains("not a seed"));
    world.start(0);
    world.start(1);
    world.run_until(3 * SECOND, "a cluster of four", |world| world.all_see(4));
}

#[test]
fn a_seed_that_holds_data_founds_nothing() {
    let mut world = World::new(5, CALM);
    for _ in 0..2 {
        world.add(2);
        world.nodes.last_mut().unwrap().config.holds_data = true;
    }
    world.start(0);
    world.start(1);
    world.run(5 * SECOND);
    assert!(world.log.is_empty());
    // Nor does one that belongs to a cluster that is not there.
    let mut world = World::new(6, CALM);
    world.add(1);
    world.nodes[0].config.expected_cluster = Some(9);
    world.start(0);
    world.run(5 * SECOND);
    assert!(world.log.is_empty());
}

#[test]
fn a_node_with_data_of_no_known_cluster_is_not_taken_in() {
    let mut world = World::cluster(5, CALM, 1, 1);
    world.run_until(SECOND, "a cluster", |world| world.all_see(1));
    let index = world.add(1);
    world.nodes[index].config.holds_data = true;
    world.start(index);
    world.run(SECOND);
    assert_eq!(world.nodes[index].fatal, Some(MemberError::UnknownData));
    assert_eq!(world.members_of(0), 1);
}

#[test]
fn a_wiped_node_takes_its_place_again_as_a_new_one() {
    for seed in 0..50 {
        let mut world = World::cluster(seed, CALM, 3, 3);
        world.run_until(SECOND, "a cluster", |world| world.all_see(3));
        let (cluster, old) = (world.view(0).cluster_id, world.id(1));
        world.crash(1);
        world.wipe(1);
        world.run(seed % 7 * SECOND);
        world.start(1);
        world.run_until(3 * SECOND, "a cluster again", |world| world.all_see(3));
        assert_eq!(world.view(1).cluster_id, cluster, "seed {seed}");
        assert!(!world.view(0).members.contains_key(&old) && !world.view(0).voters.contains(&old));
        assert!(world.view(0).voters.contains(&world.id(1)));
        assert_eq!(world.view(0).ring().len(), 3 * 16);
    }
}

#[test]
fn a_node_joins_a_cluster_that_holds_nothing_but_traces() {
    let mut world = World::cluster(3, CALM, 3, 3);
    world.run_until(SECOND, "a cluster", |world| world.all_see(3));
    assert!(world.change(0, create_keyspace(model::schema::TRACES)).is_ok());
    assert!(world.change(0, create_table(model::schema::TRACES, "events", 1)).is_ok());
    let index = world.add(3);
    world.start(index);
    world.run_until(3 * SECOND, "a fourth node", |world| world.all_see(4));
}

#[test]
fn a_wiped_node_is_refused_when_the_cluster_holds_tables() {
    let mut world = World::cluster(3, CALM, 3, 3);
    world.run_until(SECOND, "a cluster", |world| world.all_see(3));
    keyspace_with_table(&mut world);
    world.crash(1);
    world.wipe(1);
    world.start(1);
    world.run(3 * SECOND);
    let Some(error) = &world.nodes[1].fatal else { panic!("it is not refused") };
    let text = error.to_string();
    assert!(text.contains("joining a cluster that holds user data is not supported yet: table k.t"), "{text}");
    assert_eq!(world.members_of(0), 3);
    // A new node is refused too, until the table is gone.
    let index = world.add(3);
    world.start(index);
    world.run(3 * SECOND);
    assert!(matches!(world.nodes[index].fatal, Some(MemberError::JoinRefused { .. })));
    let drop = SchemaChange::DropTable { keyspace: "k".to_owned(), name: "t".to_owned(), if_exists: false };
    assert!(world.change(0, drop).is_ok());
    world.start(1);
    world.run_until(3 * SECOND, "the wiped node", |world| world.all_see(3));
}

#[test]
fn a_node_of_another_cluster_stops_and_says_why_and_harms_nobody() {
    for seed in 0..20 {
        // A cluster of its own first: node 3 alone, with itself for a seed.
        let mut world = World::new(seed, CALM);
        for _ in 0..3 {
            world.add(3);
        }
        let stray = world.add(3);
        world.nodes[stray].config.seeds = vec![address(stray)];
        world.start(stray);
        world.run(SECOND);
        let other = world.view(stray).cluster_id;
        world.crash(stray);
        let log = std::mem::take(&mut world.log);
        world.other_logs.insert(other, log);
        for index in 0..3 {
            world.start(index);
        }
        world.run_until(SECOND, "a cluster", |world| (0..3).all(|index| world.members_of(index) == 3));
        let own = world.view(0).cluster_id;
        // It comes back with the seeds of the others, at the address of one of them.
        world.crash(2);
        let lost = std::mem::replace(&mut world.nodes[2].config.addresses.internode, address(99));
        world.nodes[stray].config.addresses.internode = lost;
        world.nodes[stray].config.seeds = (0..3).map(address).collect();
        world.start(stray);
        world.run(3 * SECOND);
        let text = world.nodes[stray].fatal.as_ref().expect("it stops").to_string();
        assert!(text.contains(&NodeId(other).to_string()) && text.contains(&NodeId(own).to_string()), "{text}");
        assert!((0..2).all(|index| world.nodes[index].fatal.is_none()));
        // Nor does it harm one of the others that starts at the same time.
        world.crash(1);
        world.start(1);
        world.start(stray);
        world.run(40 * SECOND);
        assert!(world.nodes[1].fatal.is_none() && world.nodes[stray].fatal.is_some());
        assert_eq!(world.view(1).cluster_id, own);
    }
}

#[test]
fn a_data_directory_of_another_cluster_is_refused_at_once() {
    let mut world = World::cluster(3, CALM, 1, 1);
    world.run(SECOND);
    world.crash(0);
    world.nodes[0].config.expected_cluster = Some(7);
    assert!(matches!(world.try_start(0), Err(MemberError::OtherCluster { theirs: 7, .. })));
}

#[test]
fn settings_that_are_fixed_cannot_be_changed() {
    let mut world = World::cluster(3, CALM, 1, 1);
    world.run(SECOND);
    world.crash(0);
    let good = world.nodes[0].config.clone();
    for (setting, config) in [
        ("data_center", MemberConfig { data_center: "dc9".to_owned(), ..good.clone() }),
        ("rack", MemberConfig { rack: "r9".to_owned(), ..good.clone() }),
        ("num_tokens", MemberConfig { num_tokens: 8, ..good.clone() }),
    ] {
        world.nodes[0].config = config;
        let error = world.try_start(0).unwrap_err().to_string();
        assert!(error.starts_with(setting), "{error}");
    }
    for bad in [
        MemberConfig { seeds: Vec::new(), ..good.clone() },
        MemberConfig { num_tokens: 0, ..good.clone() },
        MemberConfig { rack: String::new(), ..good.clone() },
    ] {
        world.nodes[0].config = bad;
        assert!(matches!(world.try_start(0), Err(MemberError::Config(_))));
    }
}

#[test]
fn damaged_records_are_refused() {
    let mut world = World::cluster(3, CALM, 1, 1);
    world.run(SECOND);
    world.crash(0);
    let good = world.nodes[0].disk.clone();
    let keys: Vec<Bytes> = good.keys().cloned().collect();
    for key in keys {
        let mut disk = good.clone();
        disk.insert(key.clone(), good[&key].slice(..good[&key].len() - 1));
        world.nodes[0].disk = disk;
        assert!(matches!(world.try_start(0), Err(MemberError::Corrupt(_))), "{key:?}");
    }
    // A hole in the log.
    let mut disk = good.clone();
    let first = crate::log::record::Key::Entry(Epoch(1)).to_bytes();
    assert!(disk.remove(&first).is_some());
    world.nodes[0].disk = disk;
    assert!(matches!(world.try_start(0), Err(MemberError::Corrupt(_))));
}

#[test]
fn a_restarted_cluster_is_the_same_cluster() {
    for seed in 0..30 {
        let mut world = World::cluster(seed, CALM, 3, 3);
        world.run_until(SECOND, "a cluster", |world| world.all_see(3));
        keyspace_with_table(&mut world);
        let before = world.view(0).clone();
        for index in 0..3 {
            world.crash(index);
        }
        world.run(5 * SECOND);
        for index in 0..3 {
            world.start(index);
            assert!(world.nodes[index].member.as_ref().unwrap().view().is_some(), "a view from the beginning");
        }
        world.run_until(SECOND, "all alive again", |world| world.all_see(3));
        assert_eq!(*world.view(2), before);
    }
}

#[test]
fn a_lagging_node_catches_up_when_it_starts_again() {
    for seed in 0..30 {
        let mut world = World::cluster(seed, CALM, 3, 3);
        world.run_until(SECOND, "a cluster", |world| world.all_see(3));
        world.crash(2);
        for number in 0..40 {
            assert!(world.change(number % 2, create_keyspace(&format!("k{number}"))).is_ok());
        }
        world.start(2);
        world.run_until(SECOND, "the lagging node", |world| world.all_see(3));
        assert_eq!(world.view(2).schema.keyspaces().len(), 40);
    }
}

#[test]
fn a_node_whose_addresses_change_says_so_even_if_all_do_at_once() {
    let mut world = World::cluster(3, CALM, 3, 3);
    world.run_until(SECOND, "a cluster", |world| world.all_see(3));
    for index in 0..3 {
        world.crash(index);
    }
    for index in 0..3 {
        let node = &mut world.nodes[index].config;
        node.addresses.internode = address(index + 10);
        node.seeds = (10..13).map(address).collect();
    }
    for index in 0..3 {
        world.start(index);
    }
    world.run_until(5 * SECOND, "all found", |world| {
        let moved = |index: usize| world.view(0).members[&world.id(index)].addresses.internode == address(index + 10);
        world.all_see(3) && (0..3).all(moved)
    });
    assert!(world.change(1, create_keyspace("k")).is_ok());
    assert_eq!(world.view(0).member_by_address(address(11)).unwrap().id, world.id(1));
    assert!(world.view(0).member_by_address(address(1)).is_none());
}

#[test]
fn of_two_equal_tables_created_at_once_one_is_created() {
    for seed in 0..300 {
        let mut rng = Rng::new(seed ^ 0xabc);
        let faults = Faults {
            loss: rng.below(150),
            duplication: rng.below(200),
            delay: (50, rng.between(300, 20_000)),
            sync: (200, rng.between(300, 8_000)),
            late_wake: rng.below(300),
        };
        let mut world = World::cluster(seed, faults, 3, 3);
        world.run_until(20 * SECOND, "a cluster", |world| world.all_see(3));
        let keyspace = world.propose(0, create_keyspace("k"));
        world.run_until(12 * SECOND, "a keyspace", |world| world.decided.contains_key(&keyspace));
        let one = world.propose(1, create_table("k", "t", 1));
        world.run(rng.below(3 * MILLISECOND));
        let two = world.propose(2, create_table("k", "t", 2));
        if seed % 3 == 0 {
            // A node dies in between and comes back.
            world.run(rng.below(30 * MILLISECOND));
            world.crash(0);
            world.run(rng.below(2 * SECOND));
            world.start(0);
        }
        world.run_until(12 * SECOND, "both answers", |world| {
            world.decided.contains_key(&one) && world.decided.contains_key(&two)
        });
        let results = [world.result(one).unwrap().clone(), world.result(two).unwrap().clone()];
        let created = results.iter().filter(|result| result.is_ok()).count();
        let exists = results.iter().filter(|result| matches!(result, Err(RequestError::AlreadyExists { .. }))).count();
        assert_eq!((created, exists), (1, 1), "seed {seed}: {results:?}");
        world.faults = CALM;
        world.run_until(20 * SECOND, "the same log everywhere", |world| world.all_see(3));
        let table = world.view(0).schema.find_table("k", "t").unwrap().id;
        assert_eq!(table, TableId(if results[0].is_ok() { 1 } else { 2 }), "seed {seed}");
        for index in 1..3 {
            assert_eq!(world.view(index).schema, world.view(0).schema);
        }
    }
}

fn random_faults(rng: &mut Rng) -> Faults {
    Faults {
        loss: if rng.chance(500) { rng.below(200) } else { 0 },
        duplication: if rng.chance(500) { rng.below(300) } else { 0 },
        delay: (50, rng.between(300, 50_000)),
        sync: (100, rng.between(300, 30_000)),
        late_wake: if rng.chance(500) { rng.below(500) } else { 0 },
    }
}

impl World {
    /// One thing that goes wrong, or right again, somewhere.
    fn disturb(&mut self, rng: &mut Rng) {
        let (index, other) = (rng.index(self.nodes.len()), rng.index(self.nodes.len()));
        match rng.below(7) {
            0 | 1 if self.nodes[index].member.is_some() => self.crash(index),
            2 => self.nodes[index].paused_until = self.now + rng.below(3 * SECOND),
            3 => {
                self.cut.insert((index, other));
                if rng.chance(700) {
                    self.cut.insert((other, index));
                }
            }
            4 => self.cut.clear(),
            _ => {
                if let Some(down) = (0..self.nodes.len()).find(|index| self.nodes[*index].member.is_none()) {
                    self.start(down);
                }
            }
        }
    }

    /// Everything comes back and all nodes must agree.
    fn peace(&mut self) {
        self.cut.clear();
        self.faults = CALM;
        for index in 0..self.nodes.len() {
            if self.nodes[index].member.is_none() {
                self.start(index);
            }
        }
        let count = self.nodes.len();
        self.run_until(40 * SECOND, "one cluster after all", |world| world.all_see(count));
        assert!(self.nodes.iter().all(|node| node.fatal.is_none()), "seed {}: {}", self.seed, self.describe());
    }
}

#[test]
fn seeds_that_crash_while_they_found_a_cluster_found_one() {
    for seed in 0..400 {
        let mut rng = Rng::new(seed ^ 0xf0);
        let faults = random_faults(&mut rng);
        let nodes = rng.between(2, 5) as usize;
        let mut world = World::cluster(seed, faults, nodes, nodes);
        for _ in 0..rng.between(5, 40) {
            world.run(rng.below(60 * MILLISECOND));
            world.disturb(&mut rng);
        }
        world.peace();
        assert_eq!(world.view(0).members.len(), nodes);
    }
}

/// What was answered as done is in effect, what was answered as an error has no effect, what timed out may
/// have one.
#[test]
fn random_changes_under_faults_leave_one_log_and_no_answer_is_wrong() {
    let (mut answered, mut entries) = (0, 0);
    for seed in 0..250 {
        let mut rng = Rng::new(seed ^ 0x5eed);
        let faults = random_faults(&mut rng);
        let nodes = rng.between(1, 5) as usize;
        let seeds = rng.between(1, nodes as u64) as usize;
        let mut world = World::cluster(seed, faults, nodes, seeds);
        let mut created: BTreeMap<String, u64> = BTreeMap::new();
        for number in 0..rng.between(10, 40) {
            world.run(rng.below(400 * MILLISECOND));
            let index = rng.index(nodes);
            if rng.chance(500) && world.nodes[index].member.is_some() {
                let name = format!("k{number}");
                let request = world.propose(index, create_keyspace(&name));
                created.insert(name, request);
            } else {
                world.disturb(&mut rng);
            }
        }
        world.peace();
        world.run(11 * SECOND);
        answered += created.iter().filter(|(name, request)| world.check_answer(name, **request)).count();
        entries += world.log.len();
    }
    println!("{entries} entries, {answered} changes acknowledged in 250 runs");
    assert!(answered > 700);
}

/// All voters propose all the time while messages get lost and voters die within a round: slots where an
/// entry is decided that nobody knows of yet, and others propose theirs.
#[test]
fn a_storm_of_proposals_and_crashes_leaves_one_log() {
    let mut entries = 0;
    for seed in 0..200 {
        let mut rng = Rng::new(seed ^ 0x57);
        let nodes = rng.between(3, 5) as usize;
        let mut world = World::cluster(seed, CALM, nodes, nodes);
        world.run_until(2 * SECOND, "a cluster", |world| world.all_see(nodes));
        world.faults = Faults {
            loss: rng.between(0, 300),
            duplication: rng.below(300),
            delay: (50, rng.between(500, 8_000)),
            sync: (100, rng.between(200, 15_000)),
            late_wake: 0,
        };
        for number in 0..400 {
            world.run(rng.below(8 * MILLISECOND));
            let index = rng.index(nodes);
            match (&world.nodes[index].member, rng.below(10)) {
                (Some(_), 0) => world.crash(index),
                (Some(_), _) => {
                    world.propose(index, create_keyspace(&format!("k{number}")));
                }
                (None, 0..=4) => world.start(index),
                (None, _) => {}
            }
        }
        world.peace();
        entries += world.log.len();
    }
    println!("{entries} entries in 200 storms");
    assert!(entries > 2_000, "{entries}");
}

#[test]
fn seeds_that_list_different_seeds_found_nothing_and_say_so() {
    let mut world = World::new(5, CALM);
    world.add(2);
    world.add(3);
    world.start(0);
    world.start(1);
    world.run(5 * SECOND);
    assert!(world.log.is_empty());
    let waiting = world.nodes[0].member.as_ref().unwrap().status().waiting.unwrap();
    assert!(waiting.contains("other seeds are configured at 127.0.0.2:7000"), "{waiting}");
}

#[test]
fn a_node_that_lost_its_records_but_not_its_id_is_heard_again() {
    let mut world = World::cluster(4, CALM, 3, 3);
    world.run_until(SECOND, "a cluster", |world| world.all_see(3));
    for _ in 0..5 {
        world.crash(2);
        world.start(2);
        world.run(SECOND);
    }
    world.crash(2);
    world.run(10 * SECOND);
    world.nodes[2].disk.clear();
    world.start(2);
    world.run_until(5 * SECOND, "it is alive again", |world| world.all_see(3));
    world.run(20 * SECOND);
    assert!(world.all_see(3), "and stays so: {}", world.describe());
}

#[test]
fn a_simulation_can_begin_with_a_cluster_that_exists() {
    let mut world = World::new(9, CALM);
    for _ in 0..30 {
        world.add(3);
    }
    let founders = (0..3).map(|index| Founder { id: world.id(index), internode: address(index) }).collect();
    let mut changes = vec![Change::Genesis { cluster_id: 5, founders }];
    let mut state = State::default();
    state.apply(&changes[0]);
    for node in &world.nodes {
        let config = node.config.clone();
        let tokens = state.tokens_for(config.addresses.internode, &config.data_center, config.num_tokens);
        let MemberConfig { id, addresses, data_center, rack, .. } = config;
        changes.push(Change::Join { member: MemberInfo { id, addresses, data_center, rack, tokens }, is_seed: false });
        state.apply(changes.last().unwrap());
    }
    let entries: Vec<Entry> = (1..).zip(changes).map(|(id, change)| Entry { id, change: Arc::new(change) }).collect();
    let records = crate::log::records(&entries);
    for index in 0..30 {
        world.nodes[index].disk = records.iter().cloned().collect();
        world.start(index);
        assert_eq!(world.nodes[index].member.as_ref().unwrap().view().unwrap().members.len(), 30);
    }
    world.run_until(10 * SECOND, "all alive", |world| world.all_see(30));
    assert!(world.change(17, create_keyspace("k")).is_ok());
}

impl World {
    /// Whether the creation of a keyspace was acknowledged; the answer must agree with the log.
    fn check_answer(&self, name: &str, request: u64) -> bool {
        let exists = self.view(0).schema.keyspace(name).is_some();
        match self.result(request) {
            Some(Ok(epoch)) => {
                let entry = self.nodes[0].member.as_ref().unwrap().log.entry(*epoch).unwrap();
                let Change::Schema(SchemaChange::CreateKeyspace { name: decided, .. }) = &*entry.change else {
                    panic!("seed {}: the epoch of {name} holds something else", self.seed)
                };
                assert!(decided == name && exists, "seed {}", self.seed);
                true
            }
            Some(Err(RequestError::SchemaTimeout(_))) | None => false,
            Some(Err(_)) => {
                assert!(!exists, "seed {}: {name}", self.seed);
                false
            }
        }
    }
}

#[test]
fn without_a_majority_of_voters_changes_time_out_and_the_view_stays() {
    let mut world = World::cluster(3, CALM, 3, 3);
    world.run_until(SECOND, "a cluster", |world| world.all_see(3));
    keyspace_with_table(&mut world);
    world.crash(1);
    world.crash(2);
    let before = world.view(0).clone();
    let request = world.propose(0, create_table("k", "u", 2));
    world.run(9 * SECOND);
    assert_eq!(world.result(request), None);
    assert!(world.nodes[0].member.as_ref().unwrap().status().waiting.unwrap().contains("majority"));
    world.run(2 * SECOND);
    assert!(matches!(world.result(request), Some(Err(RequestError::SchemaTimeout(_)))));
    assert_eq!(*world.view(0), before);
    assert_eq!(world.nodes[0].alive, BTreeSet::from([world.id(0)]));
    world.start(1);
    world.run_until(2 * SECOND, "the other one", |world| world.nodes[0].alive.len() == 2);
    assert!(world.change(0, create_table("k", "v", 3)).is_ok());
}

#[test]
fn a_change_is_answered_when_all_alive_members_have_it_or_a_majority_after_a_second() {
    let mut world = World::cluster(3, CALM, 3, 3);
    world.run_until(SECOND, "a cluster", |world| world.all_see(3));
    let start = world.now;
    assert!(world.change(0, create_keyspace("a")).is_ok());
    assert!(world.now - start < 30 * MILLISECOND, "{} µs", world.now - start);
    assert!((0..3).all(|index| world.view(index).schema.keyspace("a").is_some()));
    // One that is alive but deaf: the answer waits for it for a second.
    world.cut.extend([(0, 2), (1, 2)]);
    let start = world.now;
    assert!(world.change(0, create_keyspace("b")).is_ok());
    assert!((SECOND..2 * SECOND).contains(&(world.now - start)), "{} µs", world.now - start);
}

#[test]
fn errors_and_changes_without_effect_are_as_current_as_successes() {
    let mut world = World::cluster(3, CALM, 3, 3);
    world.run_until(SECOND, "a cluster", |world| world.all_see(3));
    // Node 2 does not hear that the keyspace is created, but its answer must know.
    world.cut.extend([(0, 2), (1, 2)]);
    assert!(world.change(0, create_keyspace("k")).is_ok());
    assert!(world.nodes[2].view.as_ref().unwrap().schema.keyspace("k").is_none());
    let request = world.propose(2, create_keyspace("k"));
    world.cut.clear();
    world.run_until(5 * SECOND, "an answer", |world| world.decided.contains_key(&request));
    assert_eq!(
        world.result(request),
        Some(&Err(RequestError::AlreadyExists { keyspace: "k".to_owned(), table: String::new() }))
    );
    let epoch = world.view(0).epoch;
    let again = SchemaChange::CreateKeyspace {
        name: "k".to_owned(),
        replication: Replication::Simple { factor: 1 },
        if_not_exists: true,
    };
    assert_eq!(world.change(1, again), Ok(epoch));
    assert_eq!(world.view(0).epoch, epoch);
    let missing = SchemaChange::DropKeyspace { name: "none".to_owned(), if_exists: false };
    assert!(matches!(world.change(1, missing), Err(RequestError::NotFound(_))));
}

#[test]
fn too_many_changes_at_once_are_refused_as_overload_and_the_others_are_decided() {
    let mut world = World::cluster(3, CALM, 3, 3);
    world.run_until(SECOND, "a cluster", |world| world.all_see(3));
    let requests: Vec<u64> = (0..300).map(|number| world.propose(0, create_keyspace(&format!("k{number}")))).collect();
    world.run(12 * SECOND);
    let refused = |request: &&u64| matches!(world.result(**request), Some(Err(RequestError::Overloaded(_))));
    assert_eq!(requests.iter().filter(refused).count(), 300 - 256);
    assert!(requests.iter().all(|request| world.result(*request).is_some()));
    let done = requests.iter().filter(|request| world.result(**request).unwrap().is_ok()).count();
    println!("{done} of 256 queued changes decided within 10 s");
    assert_eq!(done, 256);
}

#[test]
fn a_change_before_joining_is_refused() {
    let mut world = World::new(1, CALM);
    world.add(3);
    world.start(0);
    let request = world.propose(0, create_keyspace("k"));
    assert!(matches!(world.result(request), Some(Err(RequestError::NotServing(_)))));
}

#[test]
fn a_table_waits_for_nodes_that_are_about_to_join() {
    for seed in 0..30 {
        let mut world = World::new(seed, CALM);
        for _ in 0..3 {
            world.add(3);
        }
        world.start(0);
        world.start(1);
        world.start(2);
        world.run_until(SECOND, "the first member", |world| world.members_of(0) > 0);
        let keyspace = world.propose(0, create_keyspace("k"));
        let table = world.propose(0, create_table("k", "t", 1));
        world.run_until(5 * SECOND, "both", |world| world.result(keyspace).is_some() && world.result(table).is_some());
        assert_eq!(world.result(table).map(Result::is_ok), Some(true), "seed {seed}");
        assert!(world.nodes.iter().all(|node| node.fatal.is_none()), "seed {seed}: {}", world.describe());
        assert_eq!(world.members_of(0), 3);
    }
}

#[test]
fn a_write_that_fails_stops_the_node() {
    let mut world = World::cluster(1, CALM, 1, 1);
    world.run_until(SECOND, "a cluster", |world| world.all_see(1));
    let request = world.propose(0, create_keyspace("k"));
    let op = (1..1_000).find(|op| {
        let mut effects = Vec::new();
        let now = world.clock();
        let member = world.nodes[0].member.as_mut().unwrap();
        member.step(now, Input::Stored { op: *op, result: Err("no space".to_owned()) }, &mut effects);
        effects.iter().any(|effect| matches!(effect, Effect::Fatal(MemberError::Storage(_))))
    });
    assert!(op.is_some() && world.result(request).is_none());
    let mut effects = Vec::new();
    let now = world.clock();
    let member = world.nodes[0].member.as_mut().unwrap();
    member.step(now, Input::Wake, &mut effects);
    assert_eq!((effects.len(), member.deadline()), (0, None));
}

#[test]
fn a_hundred_nodes_join_agree_and_notice_a_dead_one() {
    let mut world = World::cluster(1, CALM, 100, 3);
    let took = world.run_until(60 * SECOND, "a hundred members", |world| world.all_see(100));
    println!("a hundred nodes started together were one cluster after {} ms", took / MILLISECOND);
    let largest = world.nodes.iter().map(|node| node.bytes_largest).max().unwrap();
    world.run(10 * SECOND);
    let before = world.steps;
    world.run(10 * SECOND);
    println!("{} steps a second, largest message {largest} bytes", (world.steps - before) / 10);
    // A process that dies is noticed by the transport; one that hangs, by its silence.
    world.crash(50);
    world.nodes[60].paused_until = world.now + 60 * SECOND;
    let (dead, hung) = (world.id(50), world.id(60));
    let notice = |world: &World, id: NodeId| {
        let knows = |(index, node): (usize, &Node)| index == 50 || index == 60 || !node.alive.contains(&id);
        world.nodes.iter().enumerate().all(knows)
    };
    let took = world.run_until(40 * SECOND, "a dead node noticed", |world| notice(world, dead) && notice(world, hung));
    println!("all knew of a dead and of a hung one after {} ms", took / MILLISECOND);
    world.run(10 * SECOND);
    assert!(notice(&world, dead) && notice(&world, hung), "and it stays so");
    assert!(
        world.nodes.iter().enumerate().all(|(index, node)| { index == 50 || index == 60 || node.alive.len() == 98 })
    );
    world.nodes[60].paused_until = world.now;
    world.start(50);
    world.run_until(20 * SECOND, "both alive again", |world| world.all_see(100));
}

#[test]
fn one_seed_gives_one_run() {
    let run = |seed| {
        let faults = Faults { loss: 50, duplication: 50, delay: (50, 5_000), sync: (100, 5_000), late_wake: 100 };
        let mut world = World::cluster(seed, faults, 4, 3);
        world.run(20 * SECOND);
        (world.log.clone(), world.steps, world.sequence)
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}

#[test]
fn timers_outlast_the_longest_boot() {
    // The view of a cluster does not depend on how long it has been quiet.
    let mut world = World::cluster(2, CALM, 3, 3);
    world.run_until(SECOND, "a cluster", |world| world.all_see(3));
    let before = world.view(0).clone();
    world.run(Duration::from_secs(600).as_micros() as u64);
    assert_eq!(*world.view(0), before);
    assert!(world.all_see(3));
}
