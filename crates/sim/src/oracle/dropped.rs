//! Oracle: a dropped table stays dropped, and what a truncated one held stays gone: a truncated table has a new
//! id, and all that is said here of a dropped table is true of its old one.
//!
//! Proves: once DROP TABLE is acknowledged, no request to that table that begins later is acknowledged, on
//! whatever coordinator, at any level of which every set of replicas meets every majority of the members. A
//! change of the schema is acknowledged only when a majority of the members has applied it, so at least one
//! replica that such a request needs knows of the drop and must refuse, however stale the others are. It is
//! what catches a replica that accepts a stale epoch.
//!
//! Not more, because: with fewer replicas than members, or at ONE, all replicas that answer may be stale, and
//! nothing forbids that; and a request that begins before the acknowledgement may be ordered before the drop.

use super::Violation;
use crate::clock::TrueTime;
use model::TableId;
use std::collections::BTreeMap;

/// Its name in reports.
pub const NAME: &str = "dropped table";

/// What is known of one table.
#[derive(Clone, Debug)]
struct Known {
    name: String,
    /// When the first member published a view with it: its creation was decided before.
    since: TrueTime,
    /// When a client learned that it is dropped.
    dropped: Option<TrueTime>,
}

/// All tables that ever were.
pub struct Dropped {
    members: usize,
    tables: BTreeMap<TableId, Known>,
}

impl Dropped {
    /// No table is known yet, in a cluster of this many members.
    #[must_use]
    pub fn new(members: usize) -> Dropped {
        Dropped { members, tables: BTreeMap::new() }
    }

    /// A member published a view with this table.
    pub fn published(&mut self, id: TableId, name: &str, time: TrueTime) {
        self.tables.entry(id).or_insert_with(|| Known { name: name.to_owned(), since: time, dropped: None });
    }

    /// A DROP TABLE or TRUNCATE of `name` that began at `started` was acknowledged: every table that had
    /// this name by then is gone, since a name belongs to one table at a time.
    pub fn acknowledged(&mut self, name: &str, started: TrueTime, time: TrueTime) {
        for known in self.tables.values_mut() {
            if known.name == name && known.since <= started && known.dropped.is_none() {
                known.dropped = Some(time);
            }
        }
    }

    /// True when a client knows that the table is dropped.
    #[must_use]
    pub fn is_dropped(&self, id: TableId) -> bool {
        self.tables.get(&id).is_some_and(|known| known.dropped.is_some())
    }

    /// A request to `table` that began at `started` was acknowledged by `required` replicas.
    ///
    /// # Errors
    /// When the table was known to be dropped by then and a replica must have known.
    pub fn check(&self, table: TableId, started: TrueTime, required: usize, what: &str) -> Result<(), Violation> {
        let majority = self.members / 2 + 1;
        let dropped = self.tables.get(&table).and_then(|known| known.dropped);
        match dropped {
            Some(dropped) if dropped < started && required + majority > self.members => {
                let text = format!(
                    "{what} began at {started} on table {table}, whose drop was acknowledged at {dropped}, and was \
                     acknowledged by {required} of {} members",
                    self.members
                );
                Err(Violation::new(NAME, text))
            }
            _ => Ok(()),
        }
    }
}
