//! Faults, drawn per seed: which kinds a run sees, how often, how hard.
//!
//! Swarm testing: each seed offers only some kinds, so that a rare combination is not drowned by all the
//! others at once, and a run without a kind shows what it hides.
//!
//! Invariants:
//! * Survivable by construction: no fault destroys more than the oracles tolerate. Unsynced writes may be lost,
//!   synced ones never; a disk is never wiped; power is cut only where writes are acknowledged once synced.
//! * Every fault that lasts is drawn together with its end, and [`crate::World::heal`] ends all at once.

use crate::network::{NetworkProfile, Stream};
use model::Rng;
use node::Durability;
use std::collections::BTreeMap;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultKind {
    /// The machines fall into two groups that cannot talk; with several data centres often one of them and the others.
    Partition,
    /// One machine is cut off from all others.
    Isolate,
    /// One link is cut in one direction.
    OneWay,
    /// All links of one machine deliver nothing for a while, then everything at once.
    Clog,
    /// The links of a few machines stop one by one and open again in another order.
    Swizzle,
    /// What membership says does not reach a machine for a while; the data does.
    ControlClog,
    /// The network loses, doubles and delays much more than usual.
    Storm,
    /// A process dies and starts again later.
    Crash,
    /// A machine loses power.
    PowerLoss,
    /// All machines lose power at once.
    Blackout,
    /// All processes are killed and started, one after the other.
    RollingRestart,
    /// A process stands still; when it goes on, everything that waited is handed to it at one moment.
    Pause,
    /// A wall clock jumps.
    ClockJump,
    /// A disk takes many times as long.
    SlowDisk,
    /// A disk is full.
    FullDisk,
    /// A sync fails, and the process stops.
    FailedSync,
    /// Some reads of a disk fail.
    ReadErrors,
}

impl FaultKind {
    /// All kinds.
    pub const ALL: [FaultKind; 17] = [
        FaultKind::Partition,
        FaultKind::Isolate,
        FaultKind::OneWay,
        FaultKind::Clog,
        FaultKind::Swizzle,
        FaultKind::ControlClog,
        FaultKind::Storm,
        FaultKind::Crash,
        FaultKind::PowerLoss,
        FaultKind::Blackout,
        FaultKind::RollingRestart,
        FaultKind::Pause,
        FaultKind::ClockJump,
        FaultKind::SlowDisk,
        FaultKind::FullDisk,
        FaultKind::FailedSync,
        FaultKind::ReadErrors,
    ];

    /// Its name where faults are counted.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            FaultKind::Partition => "partition",
            FaultKind::Isolate => "isolate",
            FaultKind::OneWay => "one-way",
            FaultKind::Clog => "clog",
            FaultKind::Swizzle => "swizzle",
            FaultKind::ControlClog => "control-clog",
            FaultKind::Storm => "storm",
            FaultKind::Crash => "crash",
            FaultKind::PowerLoss => "power-loss",
            FaultKind::Blackout => "blackout",
            FaultKind::RollingRestart => "rolling-restart",
            FaultKind::Pause => "pause",
            FaultKind::ClockJump => "clock-jump",
            FaultKind::SlowDisk => "slow-disk",
            FaultKind::FullDisk => "full-disk",
            FaultKind::FailedSync => "failed-sync",
            FaultKind::ReadErrors => "read-errors",
        }
    }

    /// True for kinds that need links between machines.
    #[must_use]
    pub fn cuts_links(self) -> bool {
        use FaultKind::{Clog, ControlClog, Isolate, OneWay, Partition, Swizzle};
        matches!(self, Partition | Isolate | OneWay | Clog | Swizzle | ControlClog)
    }

    /// True for kinds that cut the power, after which writes that are not synced may be gone.
    #[must_use]
    pub fn cuts_power(self) -> bool {
        matches!(self, FaultKind::PowerLoss | FaultKind::Blackout | FaultKind::FailedSync)
    }
}

/// Something done to the world at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultStep {
    /// Cuts links, each from one machine to another.
    Block(Vec<(usize, usize)>),
    /// Opens links.
    Open(Vec<(usize, usize)>),
    /// Holds what is sent on links from now on back for this many microseconds.
    Clog(Stream, Vec<(usize, usize)>, u64),
    /// Changes how the network behaves.
    Network(NetworkProfile),
    /// A process dies; with `power_loss` the machine does.
    Crash {
        /// The machine.
        machine: usize,
        /// Whether unsynced bytes may be lost.
        power_loss: bool,
    },
    /// A process starts, if it is not running.
    Start(usize),
    /// A process stands still for this many microseconds.
    Pause(usize, u64),
    /// A wall clock jumps by this many microseconds.
    Jump(usize, i64),
    /// A disk takes this many times as long as usual.
    DiskSlowness(usize, u64),
    /// A disk is full, or has space again.
    DiskFull(usize, bool),
    /// The next sync of a disk fails.
    FailSync(usize),
    /// Of a thousand reads of a disk, this many fail.
    ReadErrors(usize, u64),
}

/// A step and the microseconds from now until it is taken.
pub type Later = (u64, FaultStep);

/// The faults of one run.
#[derive(Clone, Debug)]
pub struct FaultPlan {
    rng: Rng,
    machines: usize,
    /// Over which the machines are spread in turns.
    pub data_centers: usize,
    /// The kinds that this run sees.
    pub kinds: Vec<FaultKind>,
    /// How the network behaves between faults.
    pub network: NetworkProfile,
    /// Mean time between two faults in microseconds.
    pub interval: u64,
    /// Mean time for which a fault lasts in microseconds.
    pub lasting: u64,
    /// Faults so far, by kind.
    pub injected: BTreeMap<FaultKind, u64>,
}

impl FaultPlan {
    /// The faults of a run on so many machines.
    #[must_use]
    pub fn draw(mut rng: Rng, machines: usize, durability: Durability) -> FaultPlan {
        let mut kinds = FaultKind::ALL.to_vec();
        kinds.retain(|kind| durability == Durability::Group || !kind.cuts_power());
        kinds.retain(|kind| machines > 1 || !kind.cuts_links());
        rng.shuffle(&mut kinds);
        kinds.truncate(rng.between(3, 8) as usize);
        if machines > 1 && rng.chance(300) && !kinds.contains(&FaultKind::ControlClog) {
            // Without it no node stays behind the others for long while it serves.
            kinds.push(FaultKind::ControlClog);
        }
        kinds.sort_unstable();
        let chosen = |rng: &mut Rng, choices: &[u64]| choices[rng.index(choices.len())];
        let network = NetworkProfile {
            latency_min: chosen(&mut rng, &[50, 100, 500, 2_000]),
            latency_mean: chosen(&mut rng, &[100, 300, 1_000, 5_000, 20_000]),
            loss: chosen(&mut rng, &[0, 0, 1, 10, 50]),
            duplicate: chosen(&mut rng, &[0, 0, 5, 50, 200]),
            spike: chosen(&mut rng, &[0, 2, 20]),
            spike_max: chosen(&mut rng, &[50_000, 500_000, 3_000_000]),
            ordered: rng.chance(300),
        };
        let interval = chosen(&mut rng, &[200_000, 500_000, 1_000_000, 2_000_000]);
        let lasting = chosen(&mut rng, &[100_000, 500_000, 1_500_000, 4_000_000]);
        FaultPlan { rng, machines, data_centers: 1, kinds, network, interval, lasting, injected: BTreeMap::new() }
    }

    /// No faults, on a calm network.
    #[must_use]
    pub fn none(machines: usize) -> FaultPlan {
        let (rng, network) = (Rng::new(0), NetworkProfile::calm());
        let (kinds, interval, lasting) = (Vec::new(), 1_000_000, 1_000_000);
        FaultPlan { rng, machines, data_centers: 1, kinds, network, interval, lasting, injected: BTreeMap::new() }
    }

    /// Microseconds until the next fault; `None` when there is none.
    pub fn pause(&mut self) -> Option<u64> {
        (!self.kinds.is_empty()).then(|| crate::network::geometric(&mut self.rng, self.interval) + 1)
    }

    /// The next fault: its steps, each with the time from now until it is taken.
    pub fn next_fault(&mut self) -> Vec<Later> {
        let kind = self.kinds[self.rng.index(self.kinds.len())];
        *self.injected.entry(kind).or_default() += 1;
        let lasting = crate::network::geometric(&mut self.rng, self.lasting) + 1_000;
        let machine = self.rng.index(self.machines);
        match kind {
            FaultKind::Partition => self.partition(lasting),
            FaultKind::Isolate => self.cut(self.links_of(&[machine]), lasting),
            FaultKind::OneWay => {
                let links = self.links_of(&[machine]);
                let link = links[self.rng.index(links.len())];
                self.cut(vec![link], lasting)
            }
            FaultKind::Clog => {
                let links = self.links_of(&[machine]);
                let clog = |stream| (0, FaultStep::Clog(stream, links.clone(), lasting));
                vec![clog(Stream::Control), clog(Stream::Data)]
            }
            FaultKind::ControlClog => {
                let links = self.links_of(&[machine]);
                let into = links.into_iter().filter(|(_, to)| *to == machine).collect();
                // Long enough for the others to go on without it.
                vec![(0, FaultStep::Clog(Stream::Control, into, lasting + 2_000_000))]
            }
            FaultKind::Swizzle => self.swizzle(lasting),
            FaultKind::Storm => self.storm(lasting),
            FaultKind::Crash => self.down(machine, false, lasting),
            FaultKind::PowerLoss => self.down(machine, true, lasting),
            FaultKind::Blackout => (0..self.machines).flat_map(|machine| self.down(machine, true, lasting)).collect(),
            FaultKind::RollingRestart => {
                let each = lasting.min(1_000_000);
                let restart = |machine: usize| {
                    let at = machine as u64 * (each + 100_000);
                    [(at, FaultStep::Crash { machine, power_loss: false }), (at + each, FaultStep::Start(machine))]
                };
                (0..self.machines).flat_map(restart).collect()
            }
            FaultKind::Pause => vec![(0, FaultStep::Pause(machine, lasting))],
            FaultKind::ClockJump => vec![(0, FaultStep::Jump(machine, self.jump()))],
            FaultKind::SlowDisk => {
                let slowness = self.rng.between(5, 500);
                let slow = |slowness| FaultStep::DiskSlowness(machine, slowness);
                vec![(0, slow(slowness)), (lasting, slow(1))]
            }
            FaultKind::FullDisk => {
                vec![(0, FaultStep::DiskFull(machine, true)), (lasting, FaultStep::DiskFull(machine, false))]
            }
            FaultKind::FailedSync => {
                vec![(0, FaultStep::FailSync(machine)), (lasting + 1_000_000, FaultStep::Start(machine))]
            }
            FaultKind::ReadErrors => {
                let errors = self.rng.between(10, 500);
                vec![(0, FaultStep::ReadErrors(machine, errors)), (lasting, FaultStep::ReadErrors(machine, 0))]
            }
        }
    }

    /// All links between `group` and the other machines, in both directions.
    fn links_of(&self, group: &[usize]) -> Vec<(usize, usize)> {
        let mut links = Vec::new();
        for inside in group {
            for outside in (0..self.machines).filter(|machine| !group.contains(machine)) {
                links.extend([(*inside, outside), (outside, *inside)]);
            }
        }
        links
    }

    fn cut(&self, links: Vec<(usize, usize)>, lasting: u64) -> Vec<Later> {
        vec![(0, FaultStep::Block(links.clone())), (lasting, FaultStep::Open(links))]
    }

    fn partition(&mut self, lasting: u64) -> Vec<Later> {
        let mut machines: Vec<usize> = (0..self.machines).collect();
        if self.data_centers > 1 && self.rng.chance(500) {
            let cut_off = self.rng.index(self.data_centers);
            machines.retain(|machine| machine % self.data_centers == cut_off);
        } else {
            self.rng.shuffle(&mut machines);
            machines.truncate(self.rng.between(1, (self.machines as u64 / 2).max(1)) as usize);
        }
        let mut links = self.links_of(&machines);
        if self.rng.chance(300) {
            // One direction only.
            let inward = self.rng.chance(500);
            links.retain(|(_, to)| machines.contains(to) == inward);
        }
        self.cut(links, lasting)
    }

    fn swizzle(&mut self, lasting: u64) -> Vec<Later> {
        let mut machines: Vec<usize> = (0..self.machines).collect();
        self.rng.shuffle(&mut machines);
        machines.truncate(self.rng.between(1, self.machines as u64) as usize);
        let mut steps = Vec::new();
        for machine in machines {
            let links = self.links_of(&[machine]);
            let from = self.rng.below(lasting);
            let to = lasting + self.rng.below(lasting);
            steps.extend([(from, FaultStep::Block(links.clone())), (to, FaultStep::Open(links))]);
        }
        steps
    }

    fn storm(&mut self, lasting: u64) -> Vec<Later> {
        let storm = NetworkProfile {
            latency_mean: self.network.latency_mean * self.rng.between(2, 20),
            loss: self.rng.between(20, 300),
            duplicate: self.rng.between(0, 500),
            spike: self.rng.between(0, 200),
            ordered: false,
            ..self.network.clone()
        };
        vec![(0, FaultStep::Network(storm)), (lasting, FaultStep::Network(self.network.clone()))]
    }

    fn down(&self, machine: usize, power_loss: bool, lasting: u64) -> Vec<Later> {
        // Not all at the same moment after a blackout.
        let start = lasting + machine as u64 * 10_000;
        vec![(0, FaultStep::Crash { machine, power_loss }), (start, FaultStep::Start(machine))]
    }

    /// Milliseconds mostly, an hour sometimes.
    fn jump(&mut self) -> i64 {
        let size = [10_000, 1_000_000, 60_000_000, 3_600_000_000];
        let most = size[self.rng.index(size.len())];
        let micros = self.rng.between(1, most) as i64;
        if self.rng.chance(500) { micros } else { -micros }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_gives_one_plan_and_seeds_differ_in_kinds() {
        let kinds = |seed| FaultPlan::draw(Rng::new(seed), 3, Durability::Group).kinds;
        assert_eq!(kinds(1), kinds(1));
        let all: std::collections::BTreeSet<Vec<FaultKind>> = (0..50).map(kinds).collect();
        assert!(all.len() > 40);
    }

    #[test]
    fn power_is_never_cut_where_writes_are_acknowledged_unsynced() {
        for seed in 0..200 {
            let mut plan = FaultPlan::draw(Rng::new(seed), 5, Durability::Periodic);
            for _ in 0..20 {
                let cuts = |step: &FaultStep| {
                    matches!(step, FaultStep::Crash { power_loss: true, .. } | FaultStep::FailSync(_))
                };
                assert!(!plan.next_fault().iter().any(|(_, step)| cuts(step)));
            }
        }
    }

    #[test]
    fn what_is_blocked_is_opened() {
        for seed in 0..200 {
            let mut plan = FaultPlan::draw(Rng::new(seed), 4, Durability::Group);
            for _ in 0..20 {
                let (mut blocked, mut opened) = (Vec::new(), Vec::new());
                for (_, step) in plan.next_fault() {
                    match step {
                        FaultStep::Block(links) => blocked.extend(links),
                        FaultStep::Open(links) => opened.extend(links),
                        _ => {}
                    }
                }
                blocked.sort_unstable();
                opened.sort_unstable();
                assert_eq!(blocked, opened);
            }
        }
    }
}
