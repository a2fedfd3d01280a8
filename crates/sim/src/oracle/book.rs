//! The book of everything that clients tried, on which all oracles of data stand; and the oracle of phantoms: what is
//! read or stored anywhere was tried, at that place, has one timestamp, and was not refused as certainly not applied.
//! Not more, because an attempt whose outcome is unknown may be stored at any time, or never.
//!
//! A *register* is the smallest thing that a write changes: one column of one row, or the row's own mark
//! that it exists. Every value ever written is unique and spells the attempt that wrote it, so that what is
//! read or stored names its origin. Deletions always carry a timestamp that the client chose, unique too,
//! since a tombstone spells nothing.
//!
//! Invariants:
//! * An attempt is in the book before its request leaves the client.
//! * The timestamp of a value that a coordinator stamped is learned from the first replica that logs it;
//!   one attempt has one timestamp.
//! * An attempt whose error says that it certainly had no effect is never logged by any replica, before or
//!   after.

use super::Violation;
use super::coverage::Coverage;
use crate::clock::TrueTime;
use model::codec::Decode;
use model::{CellState, Mutation, RecordKey, Row, TableId};
use std::collections::{BTreeMap, BTreeSet};

/// Rows of each partition: clustering keys `0..ROWS`.
pub const ROWS: i32 = 5;

/// What a register belongs to within its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Column {
    /// The mark that INSERT leaves.
    Row,
    /// The column `v`.
    V,
    /// The column `w`.
    W,
}

impl Column {
    /// All registers of a row.
    pub const ALL: [Column; 3] = [Column::Row, Column::V, Column::W];

    /// The column's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Column::Row => "(row)",
            Column::V => "v",
            Column::W => "w",
        }
    }
}

/// The smallest thing that a write changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Register {
    /// The table, not its name: a table created again is another one.
    pub table: TableId,
    /// The partition key.
    pub partition: i32,
    /// The clustering key.
    pub row: i32,
    /// The column.
    pub column: Column,
}

/// One of the attempts in the book.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AttemptId(pub u64);

/// A version of a register, in the order of reconciliation: later timestamp, then deletion over expiring value over
/// lasting value, then later expiry, then the larger value. Written here anew, so that a defect of the model's own
/// order does not hide itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// In microseconds.
    pub timestamp: i64,
    /// True for a tombstone.
    pub deletion: bool,
    /// When it expires, in seconds since 1970; 0 for never.
    pub expires: u32,
    /// The value; empty for a tombstone and for the mark of a row.
    pub value: String,
}

impl Version {
    /// A tombstone.
    #[must_use]
    pub fn deleted(timestamp: i64) -> Version {
        Version { timestamp, deletion: true, expires: 0, value: String::new() }
    }
}

/// What an attempt does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// INSERT of a row with both columns.
    Insert(i32),
    /// UPDATE of one column of a row.
    Update(i32, Column),
    /// DELETE of one column of a row.
    DeleteColumn(i32, Column),
    /// DELETE of a row.
    DeleteRow(i32),
    /// DELETE of the rows from the first to before the second.
    DeleteRange(i32, i32),
    /// DELETE of the partition.
    DeletePartition,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Not yet, or nobody will ever know: the coordinator died, or the error says so.
    Unknown,
    /// Acknowledged at this time.
    Acknowledged(TrueTime),
    /// It certainly had no effect.
    Refused,
}

/// A write that a client tried.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The table.
    pub table: TableId,
    /// The partition key.
    pub partition: i32,
    /// What it does.
    pub action: Action,
    /// Replicas that acknowledge it before it is acknowledged.
    pub coverage: Coverage,
    /// The coordinator's machine.
    pub machine: usize,
    /// The coordinator's incarnation.
    pub incarnation: u64,
    /// When the client sent it.
    pub started: TrueTime,
    /// How it ended.
    pub outcome: Outcome,
    /// Its timestamp, once known.
    pub timestamp: Option<i64>,
    /// When what it writes expires, in seconds since 1970, once known; 0 for never.
    pub expires: u32,
    /// True once any replica has logged it.
    pub logged: bool,
}

impl Action {
    /// The registers of a partition that it changes, and whether it deletes them.
    pub fn registers(self) -> Vec<(i32, Column)> {
        let rows = |rows: std::ops::Range<i32>| rows.flat_map(|row| Column::ALL.map(|column| (row, column))).collect();
        match self {
            Action::Insert(row) | Action::DeleteRow(row) => rows(row..row + 1),
            Action::Update(row, column) | Action::DeleteColumn(row, column) => vec![(row, column)],
            Action::DeleteRange(from, to) => rows(from..to),
            Action::DeletePartition => rows(0..ROWS),
        }
    }

    /// True for deletions.
    #[must_use]
    pub fn deletes(self) -> bool {
        !matches!(self, Action::Insert(_) | Action::Update(..))
    }
}

/// All attempts, and what each register can hold.
#[derive(Default)]
pub struct Book {
    attempts: Vec<Attempt>,
    /// For each register, its deletions by timestamp, but for those refused.
    deletions: BTreeMap<Register, BTreeSet<(i64, AttemptId)>>,
    /// For each register of a row's mark, the INSERTs.
    inserts: BTreeMap<Register, Vec<AttemptId>>,
}

impl Book {
    /// Enters an attempt.
    pub fn enter(&mut self, attempt: Attempt) -> AttemptId {
        let id = AttemptId(self.attempts.len() as u64);
        let deletes = attempt.action.deletes();
        assert!(!deletes || attempt.timestamp.is_some(), "a deletion's timestamp is the client's");
        for (row, column) in attempt.action.registers() {
            let register = Register { table: attempt.table, partition: attempt.partition, row, column };
            if let (true, Some(timestamp)) = (deletes, attempt.timestamp) {
                self.deletions.entry(register).or_default().insert((timestamp, id));
            } else if column == Column::Row {
                self.inserts.entry(register).or_default().push(id);
            }
        }
        self.attempts.push(attempt);
        id
    }

    /// The next attempt's id: its values spell it.
    #[must_use]
    pub fn next_id(&self) -> AttemptId {
        AttemptId(self.attempts.len() as u64)
    }

    /// The attempt of this id.
    #[must_use]
    pub fn attempt(&self, id: AttemptId) -> &Attempt {
        &self.attempts[id.0 as usize]
    }

    /// All attempts in the order in which they began.
    pub fn attempts(&self) -> impl Iterator<Item = (AttemptId, &Attempt)> {
        self.attempts.iter().enumerate().map(|(index, attempt)| (AttemptId(index as u64), attempt))
    }

    /// Enters how an attempt ended.
    ///
    /// # Errors
    /// When that cannot be: it was refused and yet logged, or acknowledged and yet logged nowhere.
    pub fn end(&mut self, id: AttemptId, outcome: Outcome) -> Result<(), Violation> {
        let attempt = &mut self.attempts[id.0 as usize];
        assert_eq!(attempt.outcome, Outcome::Unknown, "an attempt ends once");
        attempt.outcome = outcome;
        let (oracle, violation) = match outcome {
            Outcome::Refused if attempt.logged => {
                ("phantom", "was refused as certainly not applied, but a replica has logged it")
            }
            // At ANY a hint is enough, which a replica logs later.
            Outcome::Acknowledged(_) if !attempt.logged && attempt.coverage.total > 0 => {
                (super::acknowledged::NAME, "was acknowledged, but no replica has logged it")
            }
            _ => return Ok(()),
        };
        Err(Violation::new(oracle, format!("{} {violation}", self.describe(id))))
    }

    /// The value that an attempt writes to a column.
    #[must_use]
    pub fn value(id: AttemptId, column: Column) -> String {
        format!("{}{}", id.0, column.name())
    }

    /// The attempt that wrote a value to `register`, if there can be one.
    ///
    /// # Errors
    /// When nobody tried to write this value there, or it was refused.
    pub fn origin(&self, register: Register, value: &str) -> Result<AttemptId, Violation> {
        let digits = value.trim_end_matches(|end: char| !end.is_ascii_digit());
        let id = digits.parse().ok().map(AttemptId).filter(|id| id.0 < self.attempts.len() as u64);
        let phantom = |why: &str| Violation::new("phantom", format!("{register:?} holds '{value}', {why}"));
        let id = id.ok_or_else(|| phantom("which nobody ever tried to write"))?;
        let attempt = self.attempt(id);
        let place = attempt.table == register.table && attempt.partition == register.partition;
        let part = attempt.action.registers().contains(&(register.row, register.column));
        if !place || !part || attempt.action.deletes() || value != Book::value(id, register.column) {
            return Err(phantom(&format!("but the attempt is {}", self.describe(id))));
        }
        if attempt.outcome == Outcome::Refused {
            return Err(phantom("but that attempt was refused as certainly not applied"));
        }
        Ok(id)
    }

    /// The version that an attempt gives to a column; `None` while its timestamp is not known.
    #[must_use]
    pub fn version(&self, id: AttemptId, column: Column) -> Option<Version> {
        let attempt = self.attempt(id);
        let deletion = attempt.action.deletes();
        let value = if deletion || column == Column::Row { String::new() } else { Book::value(id, column) };
        Some(Version { timestamp: attempt.timestamp?, deletion, expires: attempt.expires, value })
    }

    /// The smallest deletion of a register that is at or above `floor`, was not refused, and was tried
    /// before `ended`.
    #[must_use]
    pub fn deletion_from(&self, register: Register, floor: &Version, ended: TrueTime) -> Option<Version> {
        let from = (floor.timestamp, AttemptId(0));
        let mut candidates = self.deletions.get(&register)?.range(from..);
        let found = candidates.find(|(_, id)| {
            let attempt = self.attempt(*id);
            attempt.outcome != Outcome::Refused && attempt.started <= ended
        })?;
        Some(Version::deleted(found.0))
    }

    /// True when an INSERT of a register's row that may have been applied is at or above `floor`.
    #[must_use]
    pub fn can_exist(&self, register: Register, floor: Option<&Version>, ended: TrueTime) -> bool {
        let inserts = self.inserts.get(&register).into_iter().flatten();
        let mut possible = inserts.filter(|id| {
            let attempt = self.attempt(**id);
            attempt.outcome != Outcome::Refused && attempt.started <= ended
        });
        // An INSERT whose timestamp is not known yet has not been logged anywhere.
        possible
            .any(|id| self.version(*id, Column::Row).is_some_and(|version| floor.is_none_or(|floor| version >= *floor)))
    }

    /// A replica logged a mutation of one of the tables in the book: learns timestamps, and checks that what
    /// is logged was tried.
    ///
    /// # Errors
    /// When a value was never tried there, or has two timestamps.
    pub fn logged(&mut self, mutation: &Mutation) -> Result<(), Violation> {
        let invalid = |what: &str| Violation::new("phantom", format!("a replica logged {what}: {mutation:?}"));
        let partition = mutation.partition.bytes.as_ref().try_into().map(i32::from_be_bytes);
        let partition = partition.map_err(|_| invalid("a partition key that is no int"))?;
        for record in &mutation.records {
            if record.key == RecordKey::Deletions {
                let deletions = model::deletion::PartitionDeletions::from_bytes(&record.value);
                let deletions = deletions.map_err(|_| invalid("deletions that cannot be read"))?;
                let ranges = deletions.ranges().iter().map(|range| range.deletion);
                for deletion in ranges.chain(deletions.partition()) {
                    self.logged_deletion(mutation.table, partition, deletion.timestamp)?;
                }
                continue;
            }
            let row = Row::from_bytes(&record.value).map_err(|_| invalid("a row that cannot be read"))?;
            if let Some(deletion) = row.deletion() {
                self.logged_deletion(mutation.table, partition, deletion.timestamp)?;
            }
            for (_, cell) in row.cells() {
                match &cell.state {
                    CellState::Live(value) => {
                        self.logged_value(mutation.table, partition, value, (cell.timestamp, 0))?;
                    }
                    CellState::Expiring(expiry, Some(value)) => {
                        self.logged_value(mutation.table, partition, value, (cell.timestamp, expiry.at_seconds))?;
                    }
                    CellState::Tombstone(_) => self.logged_deletion(mutation.table, partition, cell.timestamp)?,
                    CellState::Expiring(_, None) => return Err(invalid("a cell that has expired")),
                }
            }
        }
        Ok(())
    }

    fn logged_value(
        &mut self,
        table: TableId,
        partition: i32,
        value: &bytes::Bytes,
        (timestamp, expires): (i64, u32),
    ) -> Result<(), Violation> {
        let text = String::from_utf8_lossy(value);
        let column = if text.ends_with('w') { Column::W } else { Column::V };
        // The row is not checked here: a read names it, and finds the attempt under another one.
        let digits = text.trim_end_matches(|end: char| !end.is_ascii_digit());
        let index = digits.parse().ok().filter(|index: &u64| *index < self.attempts.len() as u64).unwrap_or(u64::MAX);
        let row = self.attempts.get(index as usize).and_then(|attempt| attempt.action.registers().first().copied());
        let register = Register { table, partition, row: row.map_or(0, |(row, _)| row), column };
        let id = self.origin(register, &text)?;
        let described = self.describe(id);
        let attempt = &mut self.attempts[id.0 as usize];
        if attempt.logged && attempt.expires != expires {
            let text = format!("{described} is logged with the expiry {expires} too");
            return Err(Violation::new("phantom", text));
        }
        (attempt.logged, attempt.expires) = (true, expires);
        match attempt.timestamp {
            None => attempt.timestamp = Some(timestamp),
            Some(known) if known != timestamp => {
                let text = format!("{described} is logged with the timestamp {timestamp} too");
                return Err(Violation::new("phantom", text));
            }
            Some(_) => {}
        }
        Ok(())
    }

    fn logged_deletion(&mut self, table: TableId, partition: i32, timestamp: i64) -> Result<(), Violation> {
        // All registers of a deletion share its timestamp: looking through the partition's registers finds it.
        let from = Register { table, partition, row: 0, column: Column::Row };
        let to = Register { table, partition, row: ROWS, column: Column::Row };
        let found = self.deletions.range(from..to).find_map(|(_, deletions)| {
            deletions.range((timestamp, AttemptId(0))..=(timestamp, AttemptId(u64::MAX))).next().map(|(_, id)| *id)
        });
        let unknown = || format!("partition {partition} of {table} is deleted at {timestamp}, which nobody tried");
        let id = found.ok_or_else(|| Violation::new("phantom", unknown()))?;
        if self.attempt(id).outcome == Outcome::Refused {
            let text = format!("{} was refused as certainly not applied, but a replica logs it", self.describe(id));
            return Err(Violation::new("phantom", text));
        }
        self.attempts[id.0 as usize].logged = true;
        Ok(())
    }

    /// An attempt in words.
    #[must_use]
    pub fn describe(&self, id: AttemptId) -> String {
        let attempt = self.attempt(id);
        format!(
            "attempt {} ({:?} of partition {} of table {}, {} replicas required, through node {}, started {}, {:?}, \
             timestamp {:?})",
            id.0,
            attempt.action,
            attempt.partition,
            attempt.table,
            attempt.coverage.total,
            attempt.machine,
            attempt.started,
            attempt.outcome,
            attempt.timestamp
        )
    }
}
