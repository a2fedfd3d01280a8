//! Changes of the replication of the keyspace while clients work and faults last. In some seeds:
//!
//! ```text
//!  clients at QUORUM alone --> ALTER KEYSPACE, now and then, from any node --> heal --> the change ends --> one more
//! ```
//! Whatever the placements are, a read at QUORUM sees what a write at QUORUM had acknowledged before it.

use super::{NOBODY, Simulation};
use crate::oracle::placement;
use crate::stage::{Failure, Run};
use crate::workload::{Flight, KEYSPACE, schema_change};
use crate::world::Build;
use model::{Rng, TableId};

/// Token of the timer of the next change of replication.
pub(super) const REPLICATION_TIMER: u64 = super::repairs::REPAIR_TIMER + 1;

/// Once everything is healed, a change ends within this time.
const CHANGED_MICROS: u64 = 900_000_000;

/// What a run does with replication.
pub(super) struct Replicating {
    rng: Rng,
    /// Whether it is changed.
    pub(super) on: bool,
}

impl Replicating {
    /// Drawn by itself, so that the rest of a run is as it would be without.
    pub(super) fn draw(seed: u64, machines: usize) -> Replicating {
        let mut rng = Rng::new(seed ^ 0x9e11_ca7e_d0e5_u64);
        let on = rng.chance(150) && (2..=super::CROWD).contains(&machines);
        Replicating { rng, on }
    }
}

impl Simulation {
    pub(super) fn plan_replication_change(&mut self) {
        if self.replicating.on {
            let pause = self.replicating.rng.between(200_000, 4_000_000);
            self.stage.world.set_timer(pause, REPLICATION_TIMER);
        }
    }

    /// Somebody wants another replication.
    pub(super) fn change_replication(&mut self) {
        if self.stage.clients_work {
            self.alter_replication();
            self.plan_replication_change();
        }
    }

    fn alter_replication(&mut self) {
        let build = self.stage.world.build().clone();
        let rng = &mut self.replicating.rng;
        let machine = rng.index(build.machines);
        let factor = |rng: &mut Rng, most: usize| rng.between(1, most as u64);
        let replication = if rng.chance(500) {
            format!("'class': 'SimpleStrategy', 'replication_factor': {}", factor(rng, build.machines.min(5)))
        } else {
            (0..build.data_centers).fold("'class': 'NetworkTopologyStrategy'".to_owned(), |text, data_center| {
                let within = (data_center..build.machines).step_by(build.data_centers).count();
                let factor = factor(rng, within.min(4));
                format!("{text}, '{}': {factor}", Build::data_center_name(data_center))
            })
        };
        let text = format!("ALTER KEYSPACE {KEYSPACE} WITH replication = {{{replication}}}");
        self.propose(NOBODY, machine, schema_change(&text, TableId(0)), Flight::Alter);
    }

    /// After healing: the change that is under way ends, and so does one more; nobody keeps what it holds no more.
    pub(super) fn replicated(&mut self) -> Result<(), Failure> {
        for again in [true, false] {
            self.stage.tell("wait for the change of replication".to_owned());
            let ended = |simulation: &Simulation| {
                let machines = 0..simulation.stage.world.build().machines;
                let is_over = |machine| {
                    simulation.stage.world.view(machine).is_some_and(|view| view.replication_change.is_none())
                };
                simulation.flights.is_empty() && machines.into_iter().all(is_over)
            };
            let ended = self.advance(self.stage.world.time() + CHANGED_MICROS, ended)?;
            let running = self.stage.world.view(0).and_then(|view| view.replication_change.clone());
            let machines = 0..self.stage.machines();
            let repairs: Vec<_> =
                machines.map(|machine| self.stage.world.repairs(machine).reports.last().cloned()).collect();
            self.stage.must(ended, || {
                format!("after healing a change of replication does not end: {running:?}; {repairs:?}")
            })?;
            placement::check(&self.stage.world, KEYSPACE, self.workload.mix.partitions)
                .map_err(Failure::Correctness)?;
            if again {
                self.alter_replication();
            }
        }
        Ok(())
    }
}
