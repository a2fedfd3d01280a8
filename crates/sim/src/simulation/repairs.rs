//! Repairs in a run: while faults last, unasked and ordered; once they have ended, of everything, after which all
//! replicas agree though nobody has read; after the loss of a disk; and around the absence of a node for longer than
//! any grace.
//!
//! ```text
//! in some seeds, once everything is healed:
//!   hints drain ---> repair ---> replicas agree ---> a disk is lost ---> repair ---> replicas agree
//! and where all clocks pass the grace:
//!   a node goes ---> work ---> clocks pass the grace ---> perhaps work, and sweeps everywhere ---> it comes back
//!     ---> repair ---> replicas agree, nothing has come back, sweeps leave no garbage
//! ```

use super::{GRACE_MICROS, SWEPT_MICROS, Simulation};
use crate::fault::FaultStep;
use crate::stage::{Failure, Run};
use model::{Rng, TableId, Token, TokenRange};
use node::{RepairId, RepairOrder, RepairReport};
use std::collections::BTreeSet;

/// Token of the timer of the next order of a repair.
pub(super) const REPAIR_TIMER: u64 = super::SWEEP_TIMER + 1;

/// Once everything is healed, repairs succeed within this time.
const REPAIRED_MICROS: u64 = 600_000_000;

/// What a run does with repairs.
pub(super) struct Repairing {
    rng: Rng,
    /// Whether there are any. Without, deletions are purged by time.
    pub(super) on: bool,
    /// Whether they are ordered while faults last.
    ordered: bool,
    loses_disk: bool,
    node_away: bool,
    /// Whether clients go on, once all clocks have passed the grace, while the node is away.
    pub(super) works_behind: bool,
}

impl Repairing {
    /// Drawn by itself, so that the rest of a run is as it would be without.
    pub(super) fn draw(seed: u64) -> Repairing {
        let mut rng = Rng::new(seed ^ 0x7e9a_17ed_5eed_u64);
        let on = rng.chance(350);
        let (ordered, loses_disk, node_away) = (rng.chance(500), rng.chance(500), rng.chance(600));
        let works_behind = Rng::new(seed ^ 0x3a5e_u64).chance(300);
        Repairing { rng, on, ordered, loses_disk, node_away, works_behind }
    }

    /// Within which time every range is repaired unasked.
    pub(super) fn every(&mut self) -> Option<u64> {
        let every = self.rng.between(2, 8) * 1_000_000;
        (self.on && self.rng.chance(500)).then_some(every)
    }
}

impl Simulation {
    pub(super) fn plan_repair(&mut self) {
        if self.repairing.on && self.repairing.ordered {
            let pause = self.repairing.rng.between(100_000, 3_000_000);
            self.stage.world.set_timer(pause, REPAIR_TIMER);
        }
    }

    /// Somebody orders a repair of some tokens of all tables somewhere.
    pub(super) fn order_some_repair(&mut self) {
        if !self.sweeps_on {
            return;
        }
        let machine = self.repairing.rng.index(self.stage.machines());
        let mut ends = [self.repairing.rng.next_u64() as i64, self.repairing.rng.next_u64() as i64];
        ends.sort_unstable();
        let some = TokenRange { start: Token(ends[0]), end: Token(ends[1]) };
        let range = if ends[0] == ends[1] || self.repairing.rng.chance(300) { TokenRange::ALL } else { some };
        let preview = self.repairing.rng.chance(100);
        if let Some(order) = self.repair_order(machine, range, preview) {
            self.stage.world.repair(machine, order);
        }
        self.plan_repair();
    }

    fn repair_order(&mut self, machine: usize, range: TokenRange, preview: bool) -> Option<RepairOrder> {
        let tables: Vec<TableId> = self.stage.world.view(machine)?.schema.tables().keys().copied().collect();
        let id = RepairId(self.repairing.rng.next_u128());
        Some(RepairOrder { id, tables, ranges: vec![range], data_centers: BTreeSet::new(), preview })
    }

    /// After healing: a repair of everything, and then all replicas agree.
    pub(super) fn repaired(&mut self) -> Result<(), Failure> {
        self.repair_everything()?;
        self.converged()?;
        if !self.repairing.loses_disk || self.workload.mix.replicas.0.iter().sum::<usize>() < 2 {
            return Ok(());
        }
        let machine = self.repairing.rng.index(self.stage.machines());
        self.stage.tell(format!("machine {machine} loses what its tables hold"));
        self.stage.world.crash(machine, false);
        self.stage.world.lose_tables(machine);
        self.stage.world.start(machine);
        self.advance(self.stage.world.time() + GRACE_MICROS, |_| false)?;
        self.repair_everything()?;
        self.converged()
    }

    fn repair_everything(&mut self) -> Result<(), Failure> {
        self.stage.tell("repair of everything".to_owned());
        let until = self.stage.world.time() + REPAIRED_MICROS;
        let mut last: Option<RepairReport> = None;
        loop {
            self.stage
                .must(self.stage.world.time() < until, || format!("after healing repairs do not succeed: {last:?}"))?;
            let machine = self.repairing.rng.index(self.stage.machines());
            let order = self.repair_order(machine, TokenRange::ALL, false);
            if let Some(order) = order {
                let id = order.id;
                self.stage.world.repair(machine, order);
                let report = |simulation: &Simulation| -> Option<RepairReport> {
                    let reports = &simulation.stage.world.repairs(machine).reports;
                    reports.iter().find(|report| report.id == id && report.state.is_final()).cloned()
                };
                self.advance(until, |simulation| report(simulation).is_some())?;
                last = report(self);
                if last.as_ref().is_some_and(|report| report.state == node::RepairState::Succeeded) {
                    return Ok(());
                }
            }
            // A disk that was slow and full before may still stop its node once.
            self.advance(self.stage.world.time() + 1_000_000, |_| false)?;
        }
    }

    /// A node goes, and work goes on without it. Which one; `None` in a run in which none does.
    pub(super) fn send_away(&mut self) -> Result<Option<usize>, Failure> {
        let machines = self.stage.machines();
        if !self.repairing.on || !self.repairing.node_away || machines < 3 {
            return Ok(None);
        }
        let machine = self.repairing.rng.index(machines);
        self.stage.tell(format!("machine {machine} goes for longer than any grace"));
        self.stage.world.fault(FaultStep::Crash { machine, power_loss: false });
        self.stage.clients_work = true;
        self.start_clients();
        self.advance(self.stage.world.time() + SWEPT_MICROS, |_| false)?;
        self.stage.clients_work = false;
        self.advance(self.stage.world.time() + GRACE_MICROS, |_| false)?;
        Ok(Some(machine))
    }

    /// The others sweep everything, and then it comes back.
    pub(super) fn come_back(&mut self, machine: usize) -> Result<(), Failure> {
        let everything = Token::MINIMUM..=Token(i64::MAX);
        for other in (0..self.stage.machines()).filter(|other| *other != machine) {
            for table in self.tables() {
                self.stage.world.sweep(other, table, everything.clone());
            }
        }
        self.stage.tell(format!("machine {machine} comes back"));
        self.stage.world.start(machine);
        self.advance(self.stage.world.time() + GRACE_MICROS, |_| false)?;
        Ok(())
    }

    /// Everything is repaired, so every deletion that has outlived its grace may go.
    pub(super) fn repaired_behind_the_grace(&mut self) -> Result<(), Failure> {
        if !self.repairing.on {
            return Ok(());
        }
        self.repair_everything()?;
        self.converged()
    }
}
