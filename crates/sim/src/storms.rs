//! One run of one seed for the metadata log: every node is asked to change the schema at once while nodes go down and
//! come back and voters are replaced. Then a majority of the voters is lost, the log is recovered on one of the other
//! nodes, and the lost ones come back after all.
//!
//! What must hold:
//! * Of each epoch there is one view, and what was acknowledged is in effect at its epoch: [`Metadata`].
//! * Healed, all nodes are at one epoch, and each can have the schema changed.
//! * A node follows the recovery unless its own log reaches the slot of it: then it stops. No node stops else.

use crate::fault::{FaultPlan, FaultStep};
use crate::oracle::Violation;
use crate::oracle::metadata::{Effective, Metadata};
use crate::stage::{Failure, Options, Report, Run, Stage, draw_build};
use crate::workload::{KEYSPACE, schema_change};
use crate::world::{Build, Occurrence, World};
use model::error::Applied;
use model::{Epoch, RequestError, Rng, TableId};
use node::RequestId;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Names of the tables that come and go.
const NAMES: u64 = 6;

/// Within this time running nodes have noticed the dead ones, and all that can is settled.
const NOTICED_MICROS: u64 = 45_000_000;

/// Within this time nodes that can follow a recovery do, and those that cannot have stopped.
const FOLLOWED_MICROS: u64 = 60_000_000;

/// What came of the changes.
#[derive(Clone, Debug)]
pub struct Changed {
    /// Acknowledged.
    pub acknowledged: u64,
    /// Refused, without effect.
    pub refused: u64,
    /// Whose outcome is not known.
    pub unknown: u64,
    /// The epoch in the end.
    pub epoch: u64,
    /// Nodes that followed a recovery, and that it left behind.
    pub followed: u64,
    /// See above.
    pub left_behind: u64,
}

struct Storms {
    stage: Stage,
    rng: Rng,
    clients: usize,
    think: u64,
    tables: u128,
    flights: BTreeMap<RequestId, (usize, Effective)>,
    metadata: Metadata,
    /// Nodes whose log reaches the slot of the recovery: they must stop.
    ahead: BTreeSet<usize>,
    /// Those that have.
    stopped: BTreeSet<usize>,
    /// True from the loss of the majority on: the oracle of acknowledgements counts members, of which most are lost.
    lost: bool,
    counts: Changed,
}

/// Runs one seed.
#[must_use]
pub fn run_storms(options: &Options) -> Report<Changed> {
    Storms::draw(options).play(options)
}

impl Storms {
    fn draw(options: &Options) -> Storms {
        let mut rng = Rng::new(options.seed ^ 0x0057_0124_05ed_10c5);
        let machines = options.machines.unwrap_or_else(|| [3, 3, 4, 5, 5, 7][rng.index(6)]);
        let build = draw_build(&mut rng, machines, options.planted);
        let seeds = rng.between(1, build.seeds as u64) as usize;
        // Short enough to matter.
        let voter_patience = Duration::from_secs(rng.between(1, 5));
        let build = Build { seeds, voter_patience, ..build };
        let plan = FaultPlan::draw(rng.fork(), machines, build.durability);
        let world = World::new(build, plan.network.clone(), rng.next_u64(), options.full);
        let (per_node, think) = (rng.between(1, 3) as usize, [5_000, 50_000, 200_000][rng.index(3)]);
        Storms {
            stage: Stage::new(world, plan),
            rng,
            clients: machines * per_node,
            think,
            tables: 1_000,
            flights: BTreeMap::new(),
            metadata: Metadata::new(machines, KEYSPACE),
            ahead: BTreeSet::new(),
            stopped: BTreeSet::new(),
            lost: false,
            counts: Changed { acknowledged: 0, refused: 0, unknown: 0, epoch: 0, followed: 0, left_behind: 0 },
        }
    }

    fn rest(&mut self, client: usize) {
        if client < self.clients {
            let think = crate::network::geometric(&mut self.rng, self.think) + 1;
            self.stage.world.set_timer(think, client as u64);
        }
    }

    /// The client asks its node for some change.
    fn act(&mut self, client: usize) {
        if !self.stage.clients_work {
            return;
        }
        let name = format!("t{}", self.rng.below(NAMES));
        let machine = client % self.stage.machines();
        let sent = match self.rng.below(10) {
            0..4 => self.create(client, machine, name, false),
            4..6 => self.create(client, machine, name, true),
            _ => self.propose(client, machine, &format!("DROP TABLE {name}"), Effective::Gone(name)),
        };
        if !sent {
            self.rest(client);
        }
    }

    fn create(&mut self, client: usize, machine: usize, name: String, if_not_exists: bool) -> bool {
        self.tables += 1;
        let id = (!if_not_exists).then_some(TableId(self.tables));
        let clause = if if_not_exists { "IF NOT EXISTS " } else { "" };
        let text = format!("CREATE TABLE {clause}{name} (k int PRIMARY KEY, v text)");
        self.propose(client, machine, &text, Effective::Exists(name, id))
    }

    fn propose(&mut self, client: usize, machine: usize, text: &str, claim: Effective) -> bool {
        let change = schema_change(text, TableId(self.tables));
        let id = self.stage.world.propose(machine, change);
        id.is_some_and(|id| self.flights.insert(id, (client, claim)).is_none())
    }

    fn decided(&mut self, id: RequestId, result: Result<Epoch, RequestError>) -> Result<(), Violation> {
        let Some((client, claim)) = self.flights.remove(&id) else { return Ok(()) };
        self.rest(client);
        match result {
            Ok(epoch) => {
                self.counts.acknowledged += 1;
                let time = self.stage.world.time();
                if self.lost { Ok(()) } else { self.metadata.acknowledge(epoch, claim, time) }
            }
            Err(error) => {
                let unknown = error.applied() == Applied::Maybe;
                self.counts.unknown += u64::from(unknown);
                self.counts.refused += u64::from(!unknown);
                self.stage.last_error = Some(error);
                Ok(())
            }
        }
    }

    fn wait(&mut self, micros: u64) -> Result<(), Failure> {
        let until = self.stage.world.time() + micros;
        self.advance(until, |_| false).map(drop)
    }

    /// All these nodes are at one epoch, and every one has the schema changed.
    fn check_all(&mut self, nodes: &[usize]) -> Result<(), Failure> {
        for machine in nodes {
            self.stage.last_error = None;
            let name = format!("by{machine}");
            let sent = self.create(self.clients, *machine, name.clone(), true);
            let until = self.stage.world.time() + FOLLOWED_MICROS;
            let answered = self.advance(until, |run| run.flights.is_empty())?;
            let error = self.stage.last_error.clone();
            let done = sent && answered && error.is_none();
            self.stage.must(done, || format!("node {machine} cannot have table {name} made: {error:?}"))?;
        }
        let until = self.stage.world.time() + FOLLOWED_MICROS;
        let view =
            |run: &Storms, machine: usize| run.stage.world.view(machine).map(|view| (view.epoch, view.cluster_id));
        let equal = |run: &Storms| {
            let first = view(run, nodes[0]);
            first.is_some() && nodes.iter().all(|machine| view(run, *machine) == first)
        };
        let agreed = self.advance(until, equal)?;
        self.stage.must(agreed, || "not all nodes have one log".to_owned())
    }

    /// A majority of the voters dies while all are asked for changes; the log is recovered on the best of the rest.
    fn lose_and_recover(&mut self) -> Result<(), Failure> {
        let machines = self.stage.machines();
        let Some(view) = self.stage.world.view(0).cloned() else { return Ok(()) };
        let mut lost: Vec<usize> = view.voters.iter().filter_map(|id| self.stage.world.machine_of(*id)).collect();
        self.rng.shuffle(&mut lost);
        lost.truncate(view.voters.len() / 2 + 1);
        if lost.len() == machines {
            return Ok(());
        }
        self.lost = true;
        self.stage.tell(format!("nodes {lost:?} are lost"));
        self.stage.clients_work = true;
        self.start_clients();
        self.wait(1_000_000)?;
        let rest: Vec<usize> = (0..machines).filter(|machine| !lost.contains(machine)).collect();
        let across = |inside: usize| rest.iter().flat_map(move |outside| [(inside, *outside), (*outside, inside)]);
        let links: Vec<(usize, usize)> = lost.iter().copied().flat_map(across).collect();
        if self.rng.chance(500) {
            // What they decide in their last moments nobody else knows.
            self.stage.world.fault(FaultStep::Block(links.clone()));
            self.wait(500_000)?;
        }
        for machine in &lost {
            let pause = self.rng.below(20_000);
            self.wait(pause)?;
            self.stage.world.fault(FaultStep::Crash { machine: *machine, power_loss: false });
        }
        self.stage.clients_work = false;
        self.stage.world.fault(FaultStep::Open(links));
        self.wait(NOTICED_MICROS)?;
        let best = rest.iter().copied().max_by_key(|machine| self.stage.world.log_on_disk(*machine));
        let best = best.unwrap_or_default();
        self.stage.world.fault(FaultStep::Crash { machine: best, power_loss: false });
        let slot = self.stage.world.log_on_disk(best).next();
        self.ahead = lost.iter().copied().filter(|machine| self.stage.world.log_on_disk(*machine) >= slot).collect();
        let ahead = &self.ahead;
        let text = format!("node {best} is recovered at slot {}; too far are {ahead:?}", slot.0);
        self.stage.tell(text);
        let cluster = self.stage.world.recover_log(best);
        self.metadata.forget_from(slot);
        self.stage.world.start(best);
        let is_in = |run: &Storms, nodes: &[usize]| {
            let cluster_of = |machine: &usize| run.stage.world.view(*machine).map(|view| view.cluster_id);
            nodes.iter().all(|machine| cluster_of(machine) == Some(cluster))
        };
        let until = self.stage.world.time() + FOLLOWED_MICROS;
        let followed = self.advance(until, |run| is_in(run, &rest))?;
        self.stage.must(followed, || format!("not all of {rest:?} have followed the recovery"))?;
        self.check_all(&[best])?;
        for machine in &lost {
            let pause = self.rng.below(5_000_000);
            self.wait(pause)?;
            self.stage.world.start(*machine);
        }
        let followers: Vec<usize> = (0..machines).filter(|machine| !self.ahead.contains(machine)).collect();
        let until = self.stage.world.time() + FOLLOWED_MICROS;
        let settled = self.advance(until, |run| run.stopped == run.ahead && is_in(run, &followers))?;
        self.stage
            .must(settled, || format!("not all of {followers:?} have followed the recovery, or others not stopped"))?;
        self.counts.followed = followers.len() as u64;
        self.counts.left_behind = self.ahead.len() as u64;
        self.check_all(&followers)
    }
}

impl Run for Storms {
    type Counts = Changed;

    fn stage(&self) -> &Stage {
        &self.stage
    }

    fn stage_mut(&mut self) -> &mut Stage {
        &mut self.stage
    }

    fn phases(&mut self, under_faults: u64) -> Result<(), Failure> {
        let machines = self.stage.machines();
        self.found(machines.min(3), &[])?;
        self.work(under_faults)?;
        let everybody: Vec<usize> = (0..machines).collect();
        self.check_all(&everybody)?;
        self.lose_and_recover()?;
        self.counts.epoch = self.stage.world.view(0).map_or(0, |view| view.epoch.0);
        Ok(())
    }

    fn occurred(&mut self, occurrence: Occurrence) -> Result<(), Violation> {
        match occurrence {
            Occurrence::Timer(client) if client < self.clients as u64 => self.act(client as usize),
            Occurrence::Decided { id, result } => return self.decided(id, result),
            // What a node has that the recovery left behind is not of its cluster any more.
            Occurrence::Published(machine, view) if !self.ahead.contains(&machine) => {
                return self.metadata.publish(machine, &view);
            }
            Occurrence::Lost(id) => {
                if let Some((client, _)) = self.flights.remove(&id) {
                    self.counts.unknown += 1;
                    self.stage.last_error = Some(RequestError::NotServing("the process died".to_owned()));
                    self.rest(client);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn may_stop(&mut self, machine: usize, reason: &str) -> bool {
        let left_behind = self.ahead.contains(&machine) && reason.contains("it cannot follow");
        if left_behind {
            self.stopped.insert(machine);
        }
        left_behind
    }

    fn start_clients(&mut self) {
        (0..self.clients).for_each(|client| self.rest(client));
    }

    fn is_answered(&self) -> bool {
        self.flights.is_empty()
    }

    fn end(self) -> (Stage, Changed) {
        (self.stage, self.counts)
    }
}
