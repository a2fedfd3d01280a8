//! Anti-entropy repairs of this node, and its part in those of others: carrying out what [`crate::repair`] decides.

use super::*;
use crate::repair::repaired::RepairedThrough;
use crate::repair::session::Asking;
use crate::repair::{RepairAction, RepairControl, Surroundings};
use model::TokenRange;
use model::local::LocalWrite;

impl Shard {
    pub(super) fn on_repair_control(&mut self, out: &mut Out<'_>, control: RepairControl) {
        if self.config.index != 0 {
            return;
        }
        let around = Surroundings { now: out.now, config: &self.config, view: &self.view, alive: &self.alive };
        let write = self.repairs.control(&around, control);
        self.record_repairs(out, write);
    }

    /// The node's own record of repairs; nobody waits for it.
    pub(super) fn record_repairs(&mut self, out: &mut Out<'_>, write: Option<LocalWrite>) {
        if let Some(write) = write {
            self.record(out, Record::Repairs, StorageRequest::Local(write));
        }
    }

    pub(super) fn repair_refused(&mut self, out: &mut Out<'_>, from: NodeId, op: OpId, reason: Refusal) {
        let around = Surroundings { now: out.now, config: &self.config, view: &self.view, alive: &self.alive };
        self.repairs.on_refused(&around, op, from, reason);
    }

    /// Goes on with this node's repairs.
    pub(super) fn pump_repairs(&mut self, out: &mut Out<'_>) {
        if self.config.index != 0 {
            return;
        }
        let around = Surroundings { now: out.now, config: &self.config, view: &self.view, alive: &self.alive };
        let ops = &mut self.ops;
        let actions = self.repairs.pump(&around, &mut self.rng, || ops.next());
        for action in actions {
            match action {
                RepairAction::Ask { op, to, asking: Asking::Compare(command) } => {
                    self.send(out, to, Message::Compare { op, command });
                }
                RepairAction::Ask { op, to, asking: Asking::Write(mutation) } => {
                    self.counters.repair_writes += 1;
                    self.send(out, to, Message::Write { op, mutation, purpose: WritePurpose::Repair });
                }
                RepairAction::Ask { op, to, asking: Asking::Record { table, range, through } } => {
                    self.send(out, to, Message::Repaired { op, table, range, through });
                }
                RepairAction::Write(write) => self.record_repairs(out, Some(write)),
            }
        }
        if let Some(status) = self.repairs.tell(out.now.monotonic) {
            out.effects.push(Effect::Repairs(Arc::new(status)));
        }
    }

    /// Somebody has repaired a range that this node holds.
    pub(super) fn record_repaired(
        &mut self,
        out: &mut Out<'_>,
        from: NodeId,
        op: OpId,
        table: TableId,
        range: TokenRange,
        through: RepairedThrough,
    ) {
        let write = self.repairs.record(table, range, through);
        self.replication.on_repaired();
        self.record(out, Record::Repaired(from, op), StorageRequest::Local(write));
    }
}
