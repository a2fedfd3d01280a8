//! This node's part in a change of the replication of a keyspace ([`membership::replication`]): shard 0 says when this
//! node holds what is copied to it, and drops what it holds no more.

use super::{Out, Record, Shard};
use crate::io::{Effect, StorageRequest};
use membership::replication::Phase;
use model::{Epoch, Instant, Planted};
use std::time::Duration;

/// What is not held any more is dropped so long after this shard has the view that says so: the other shards have it by
/// then, and what they took on before is stored.
const DROP_AFTER: Duration = Duration::from_secs(5);

/// That the work of a phase is done is said so often, until the phase is over.
const TELL_AGAIN: Duration = Duration::from_secs(10);

/// What shard 0 has done of the phase of a change.
#[derive(Debug)]
pub(super) struct Replicating {
    /// The beginning of the last phase whose work is done.
    done: Epoch,
    /// What may make a difference has happened since it was looked.
    changed: bool,
    /// Ranges are being dropped for the phase that began then: storage has not answered for so many tables.
    dropping: Option<(Epoch, usize)>,
    /// When to look again: ranges are to be dropped then, for the first time or again.
    again_at: Option<Instant>,
    /// The beginning of the last phase in which ranges may be dropped.
    waited: Epoch,
}

impl Default for Replicating {
    /// That of a node that has just started: what it did in an earlier life is looked for.
    fn default() -> Replicating {
        Replicating { done: Epoch(0), changed: true, dropping: None, again_at: None, waited: Epoch(0) }
    }
}

impl Replicating {
    pub(super) fn on_view(&mut self) {
        self.changed = true;
    }

    pub(super) fn on_repaired(&mut self) {
        self.changed = true;
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.again_at
    }
}

impl Shard {
    /// Does what the running change of replication asks of this node.
    pub(super) fn pump_replication(&mut self, out: &mut Out<'_>) {
        let due = self.replication.again_at.is_some_and(|at| at <= out.now.monotonic);
        if due {
            self.replication.again_at = None;
            self.replication.changed = true;
        }
        let looks = self.config.index == 0 && std::mem::take(&mut self.replication.changed);
        let view = self.view.clone();
        let Some(running) = view.replication_change.as_ref().filter(|_| looks) else { return };
        if self.replication.done >= running.since {
            if due {
                // It may have been lost on its way.
                self.replication_done(out, running.since);
            }
            return;
        }
        match running.phase {
            Phase::Announced | Phase::Switched => {}
            Phase::Copying => {
                let claims = self.config.is_planted(Planted::SwitchedUncopied);
                if claims || self.repairs.is_copied(&view, self.config.node) {
                    self.replication_done(out, running.since);
                }
            }
            Phase::Cleaning if self.replication.dropping.is_some() || self.replication.again_at.is_some() => {}
            Phase::Cleaning if self.replication.waited < running.since => {
                self.replication.waited = running.since;
                self.replication.again_at = Some(out.now.monotonic + DROP_AFTER);
            }
            Phase::Cleaning => self.drop_ranges(out, running.since),
        }
    }

    fn replication_done(&mut self, out: &mut Out<'_>, since: Epoch) {
        self.replication.done = since;
        self.replication.again_at = Some(out.now.monotonic + TELL_AGAIN);
        out.effects.push(Effect::ReplicationDone { since });
    }

    /// Drops what this node does not hold any more of every table of the keyspace.
    fn drop_ranges(&mut self, out: &mut Out<'_>, since: Epoch) {
        let view = self.view.clone();
        let ranges = view.dropped(self.config.node);
        let keyspace = view.replication_change.as_ref().and_then(|running| view.schema.keyspace(&running.keyspace));
        let tables: Vec<_> = keyspace.into_iter().flat_map(|keyspace| keyspace.tables.values()).collect();
        if ranges.is_empty() || tables.is_empty() || self.config.is_planted(Planted::LeftoversKept) {
            return self.replication_done(out, since);
        }
        self.replication.dropping = Some((since, tables.len()));
        for table in tables {
            let request = StorageRequest::DropRanges { table: table.id, ranges: ranges.clone() };
            self.record(out, Record::Dropped(since), request);
        }
    }

    /// Storage has dropped the ranges of a table, or could not.
    pub(super) fn ranges_dropped(&mut self, out: &mut Out<'_>, since: Epoch, done: bool) {
        let Some((dropping, left)) = &mut self.replication.dropping else { return };
        if *dropping != since {
            return;
        }
        if !done {
            self.replication.again_at = Some(out.now.monotonic + DROP_AFTER);
        }
        *left -= 1;
        if *left > 0 {
            return;
        }
        self.replication.dropping = None;
        if self.replication.again_at.is_none() {
            self.replication_done(out, since);
        }
    }
}
