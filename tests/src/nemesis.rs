//! What attacks a cluster of processes: faults that come and go, several at a time, drawn from a seed.
//!
//! Faults are drawn from three decks at once: one of processes (killed, started anew, stopped), one of the network (cut
//! between groups, around a node, around a data centre, in one direction; slow), and one of machines (clocks that are
//! wrong and jump, disks that are slow). A deck is shuffled and used up before it is shuffled again, so that each kind
//! comes. What is drawn depends on the seed alone; when exactly it happens depends on the machine.
//!
//! Invariants:
//! * Every fault has an end. After [`Nemesis::heal`] there is none.
//! * At most one process is down or stopped at a time, by this. The network may cut off others meanwhile.
//! * A process that ends by itself is a finding.

use crate::fault_proxy::{FaultProxy, Rule};
use crate::machine::Machine;
use crate::sick_disk::{SickDisk, Sickness};
use crate::{Cluster, PATIENCE, signal};
use model::Rng;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The cluster under attack.
pub struct Nemesis {
    /// It.
    pub cluster: Cluster,
    /// Its network.
    pub proxy: FaultProxy,
    /// The data centre of each node.
    centers: Vec<usize>,
    disks: Vec<SickDisk>,
    machines: Vec<Machine>,
    began: Instant,
    story: Vec<(Duration, String)>,
    counts: BTreeMap<&'static str, usize>,
    findings: Vec<String>,
    // Dropped after the processes that map files of it.
    _state: TempDir,
}

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Kill,
    Restart,
    Stop,
    Halves,
    Node,
    OneWay,
    DataCenter,
    Delay,
    Clock,
    SlowDisk,
}

/// A fault that lasts.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// The process of this node does not run.
    Down(usize),
    /// The process of this node is stopped.
    Stopped(usize),
    /// The network is not well.
    Network,
    /// The clock of this node is wrong.
    Clock(usize),
    /// The disk of this node is slow.
    SlowDisk(usize),
}

/// One of the decks, and what of it is going on.
struct Lane {
    rng: Rng,
    kinds: Vec<Kind>,
    deck: Vec<Kind>,
    active: Option<Fault>,
    until: Instant,
}

impl Lane {
    fn draw(&mut self) -> Kind {
        if self.deck.is_empty() {
            self.deck.clone_from(&self.kinds);
            self.rng.shuffle(&mut self.deck);
        }
        self.deck.pop().expect("a deck has cards")
    }

    fn wait(&mut self, least_millis: u64, most_millis: u64) {
        self.until = Instant::now() + Duration::from_millis(self.rng.between(least_millis, most_millis));
    }
}

impl Nemesis {
    /// A running cluster of so many nodes in each data centre, whose network, disks and clocks can be attacked.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn start(data_centers: &[usize]) -> Nemesis {
        let (mut cluster, proxy) = Cluster::behind_proxies(data_centers, "");
        let state = tempfile::tempdir().expect("a temporary folder");
        let count = data_centers.iter().sum();
        let (mut disks, mut machines) = (Vec::new(), Vec::new());
        for index in 0..count {
            let node = cluster.node(index);
            let folder = state.path().join(index.to_string());
            for folder in [&folder, &node.data] {
                std::fs::create_dir_all(folder).expect("a folder is made");
            }
            disks.push(SickDisk::new(&folder, &node.data).expect("there is a C compiler"));
            let address = node.address.parse().expect("a node has an address");
            machines.push(Machine::new(&folder, address).expect("there is a C compiler"));
        }
        let centers = data_centers.iter().enumerate().flat_map(|(center, nodes)| vec![center; *nodes]).collect();
        let (story, counts, findings) = (Vec::new(), BTreeMap::new(), Vec::new());
        let began = Instant::now();
        let mut nemesis =
            Nemesis { cluster, proxy, centers, disks, machines, began, story, counts, findings, _state: state };
        (0..count).for_each(|node| nemesis.start_node(node));
        nemesis.cluster.wait_up(count);
        nemesis
    }

    /// Times of the story count from this moment.
    pub fn began(&mut self, began: Instant) {
        self.began = began;
    }

    /// How many nodes there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.centers.len()
    }

    /// Sets the clock of a node so many microseconds before the right time, or behind it when negative.
    ///
    /// # Panics
    /// When that cannot be.
    pub fn set_clock(&self, node: usize, offset_micros: i64) {
        self.machines[node].set_clock(offset_micros).expect("the control file is the test's own");
    }

    fn set_disk(&self, node: usize, sickness: Sickness) {
        self.disks[node].set(sickness).expect("the control file is the test's own");
    }

    /// Starts the process of a node, on its machine.
    fn start_node(&mut self, node: usize) {
        let mut command = self.cluster.node(node).command();
        self.disks[node].arm(&mut command);
        self.machines[node].arm(&mut command);
        self.cluster.node(node).start_as(command);
    }

    /// Attacks for so long.
    ///
    /// # Errors
    /// When a process has ended by itself.
    pub fn attack(&mut self, seed: u64, time: Duration) -> Result<(), String> {
        let mut rng = Rng::new(seed ^ 0x4e65_6d65_7369_7321);
        let mut network = vec![Kind::Halves, Kind::Node, Kind::OneWay, Kind::OneWay, Kind::Delay];
        if self.centers.iter().any(|center| *center > 0) {
            network.extend([Kind::DataCenter, Kind::DataCenter]);
        }
        let processes = vec![Kind::Kill, Kind::Kill, Kind::Stop, Kind::Stop, Kind::Restart];
        let mut lanes = [processes, network, vec![Kind::Clock, Kind::SlowDisk]].map(|kinds| {
            let mut lane = Lane { rng: rng.fork(), kinds, deck: Vec::new(), active: None, until: Instant::now() };
            lane.wait(200, 1_500);
            lane
        });
        let end = Instant::now() + time;
        while Instant::now() < end {
            for lane in &mut lanes {
                if Instant::now() < lane.until {
                    continue;
                }
                if let Some(fault) = lane.active.take() {
                    self.end(fault);
                    lane.wait(500, 4_000);
                } else {
                    let kind = lane.draw();
                    lane.active = Some(self.begin(kind, &mut lane.rng));
                    lane.wait(300, 5_500);
                }
            }
            let down = lanes.iter().find_map(|lane| match lane.active {
                Some(Fault::Down(node)) => Some(node),
                _ => None,
            });
            self.look_after(down)?;
            std::thread::sleep(Duration::from_millis(10));
        }
        for fault in lanes.iter_mut().filter_map(|lane| lane.active.take()) {
            self.end(fault);
        }
        Ok(())
    }

    /// Notes every process that has ended though nobody has ended it.
    fn look_after(&mut self, down: Option<usize>) -> Result<(), String> {
        for node in (0..self.count()).filter(|node| Some(*node) != down) {
            if let Some(status) = self.cluster.node(node).ended() {
                let finding = format!("the process of node {node} has ended by itself: {status}");
                self.tell(finding.clone());
                return Err(finding);
            }
        }
        Ok(())
    }

    /// Ends what is left of all faults, and waits until all nodes see each other.
    ///
    /// # Errors
    /// When they do not in time.
    pub fn heal(&mut self) -> Result<(), String> {
        self.tell("everything is healed".to_owned());
        self.proxy.heal();
        for node in 0..self.count() {
            self.set_disk(node, Sickness::default());
            self.set_clock(node, 0);
        }
        let count = self.count();
        self.cluster.become_up(count)?;
        self.tell("all nodes see each other".to_owned());
        Ok(())
    }

    fn begin(&mut self, kind: Kind, rng: &mut Rng) -> Fault {
        let node = rng.index(self.count());
        match kind {
            Kind::Kill => {
                self.note("kill -9", format!("node {node} is killed"));
                self.cluster.node(node).kill();
                Fault::Down(node)
            }
            Kind::Restart => {
                self.note("restart", format!("node {node} is told to end"));
                let status = self.cluster.node(node).terminate();
                if !status.success() {
                    self.findings.push(format!("node {node} was told to end, and ended with {status}"));
                }
                Fault::Down(node)
            }
            Kind::Stop => {
                self.note("SIGSTOP", format!("node {node} is stopped"));
                signal(self.cluster.node(node).id().expect("no other fault ends processes"), "STOP");
                Fault::Stopped(node)
            }
            Kind::Clock => {
                let micros = 10_i64.pow(rng.between(3, 6) as u32) * rng.between(1, 30) as i64;
                let micros = if rng.chance(500) { micros } else { -micros };
                self.note("clock", format!("the clock of node {node} is {} ms before the time", micros / 1_000));
                self.set_clock(node, micros);
                Fault::Clock(node)
            }
            Kind::SlowDisk => {
                let slow = Duration::from_millis(rng.between(5, 400));
                self.note("slow disk", format!("syncs of node {node} take {slow:?} more"));
                self.set_disk(node, Sickness { slow, ..Sickness::default() });
                Fault::SlowDisk(node)
            }
            Kind::Halves | Kind::Node | Kind::OneWay | Kind::DataCenter | Kind::Delay => self.disturb(kind, node, rng),
        }
    }

    /// Makes the network sick.
    fn disturb(&mut self, kind: Kind, node: usize, rng: &mut Rng) -> Fault {
        let count = self.count();
        let cut = if rng.chance(600) { Rule::Held } else { Rule::Refused };
        let how = if cut == Rule::Held { "silent" } else { "refused" };
        let mut half: Vec<usize> = (0..count).collect();
        rng.shuffle(&mut half);
        half.truncate(rng.between(1, count as u64 - 1) as usize);
        let inbound = rng.chance(500);
        let other = (node + 1 + rng.index(count - 1)) % count;
        let all = rng.chance(500);
        let delay = Duration::from_millis(rng.between(5, 300));
        let centers = self.centers.clone();
        type Cut = Box<dyn Fn(usize, usize) -> bool>;
        let (name, text, hit, rule): (_, _, Cut, _) = match kind {
            Kind::Halves => {
                let text = format!("nodes {half:?} are cut off from the others: {how}");
                ("partition", text, Box::new(move |from, to| half.contains(&from) != half.contains(&to)), cut)
            }
            Kind::DataCenter => {
                let text = format!("the data centres are cut off from each other: {how}");
                ("data centre cut off", text, Box::new(move |from, to| centers[from] != centers[to]), cut)
            }
            Kind::OneWay if all => {
                let text = format!("nothing gets {} node {node}: {how}", if inbound { "to" } else { "out of" });
                let hit = move |from, to| if inbound { to == node } else { from == node };
                ("one-way cut", text, Box::new(hit), cut)
            }
            Kind::OneWay => {
                let text = format!("nothing gets from node {node} to node {other}: {how}");
                ("one-way cut", text, Box::new(move |from, to| (from, to) == (node, other)), cut)
            }
            Kind::Delay => {
                let text = format!("what node {node} sends and is sent takes {delay:?} more");
                ("delay", text, Box::new(move |from, to| from == node || to == node), Rule::Open(delay))
            }
            _ => {
                let text = format!("node {node} is cut off: {how}");
                ("node cut off", text, Box::new(move |from, to| from == node || to == node), cut)
            }
        };
        self.note(name, text);
        for (from, to) in (0..count).flat_map(|from| (0..count).map(move |to| (from, to))) {
            if from != to && hit(from, to) {
                self.proxy.set(from, to, rule);
            }
        }
        Fault::Network
    }

    fn end(&mut self, fault: Fault) {
        match fault {
            Fault::Down(node) => {
                self.tell(format!("node {node} is started"));
                self.start_node(node);
            }
            Fault::Stopped(node) => {
                self.tell(format!("node {node} goes on"));
                signal(self.cluster.node(node).id().expect("no other fault ends processes"), "CONT");
            }
            Fault::Network => {
                self.tell("the network is well".to_owned());
                self.proxy.heal();
            }
            Fault::Clock(node) => {
                self.tell(format!("the clock of node {node} is right"));
                self.set_clock(node, 0);
            }
            Fault::SlowDisk(node) => {
                self.tell(format!("the disk of node {node} is fast"));
                self.set_disk(node, Sickness::default());
            }
        }
    }

    fn note(&mut self, name: &'static str, text: String) {
        *self.counts.entry(name).or_default() += 1;
        self.tell(text);
    }

    /// Adds to the story.
    pub fn tell(&mut self, text: String) {
        self.story.push((self.began.elapsed(), text));
    }

    /// What happened when, in seconds since the beginning.
    #[must_use]
    pub fn story(&self) -> String {
        self.story.iter().map(|(at, text)| format!("{:>9.3} {text}\n", at.as_secs_f64())).collect()
    }

    /// How often each kind of fault came.
    #[must_use]
    pub fn counts(&self) -> &BTreeMap<&'static str, usize> {
        &self.counts
    }

    /// What is wrong whatever the clients have seen: processes that ended badly, threads that panicked, connections
    /// that go around the proxies.
    #[must_use]
    pub fn findings(&mut self) -> Vec<String> {
        let mut findings = std::mem::take(&mut self.findings);
        for node in 0..self.count() {
            let log = self.cluster.node(node).log_text();
            findings.extend(
                log.lines().filter(|line| line.contains("panicked at")).map(|line| format!("node {node}: {line}")),
            );
        }
        let strangers = self.proxy.strangers();
        if strangers > 0 {
            findings.push(format!("{strangers} connections between nodes do not say whose they are"));
        }
        if self.proxy.passed() == 0 {
            findings.push("nothing goes over the proxies".to_owned());
        }
        findings
    }

    /// Repairs the keyspace `k`; then no two replicas differ in anything.
    ///
    /// # Errors
    /// When they do, or it does not succeed in time.
    pub fn converge(&mut self) -> Result<(), String> {
        self.cluster.deliver_hints()?;
        let began = Instant::now();
        let host = self.cluster.node(0).address.clone();
        loop {
            let (ok, report) = repair(&["k", "--host", &host]);
            if ok {
                break;
            }
            // A repair of its own may be under way on a node.
            if began.elapsed() > PATIENCE {
                return Err(format!("after healing a repair fails: {report}"));
            }
            std::thread::sleep(Duration::from_millis(500));
        }
        let (ok, report) = repair(&["k", "--preview", "--host", &host]);
        if !ok || report["records_differing"] != 0 || report["rows_compared"] == 0 {
            return Err(format!("after a repair replicas differ: {report}"));
        }
        Ok(())
    }
}

/// `helenus admin repair`: whether it succeeded, and its report.
fn repair(arguments: &[&str]) -> (bool, serde_json::Value) {
    let output = crate::output(&[&["admin", "repair", "--json"], arguments].concat());
    let text = || serde_json::Value::from(String::from_utf8_lossy(&output.stderr).into_owned());
    (output.status.success(), serde_json::from_slice(&output.stdout).unwrap_or_else(|_| text()))
}
