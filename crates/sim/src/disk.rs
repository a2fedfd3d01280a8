//! The simulated disk: `node::Storage` on ordered maps, with what a crash takes away.
//!
//! Three layers, as of a machine with a write-ahead log and a page cache:
//! * the *log*: writes that the operating system has but that are not synced. They survive the death of the
//!   process; a power loss keeps a random prefix of them;
//! * *durable*: what a sync has made safe; nothing takes it away (but dropping its table);
//! * *visible*: what reads see.
//!
//! Invariants:
//! * Visible is durable plus a prefix of the log: of the commits without sync. A staged group
//!   ([`SimDisk::stage`]) is not visible before [`SimDisk::finish_sync`].
//! * After [`SimDisk::crash`], visible equals durable, and both are what was durable before plus a prefix of
//!   the log: everything of it unless the power was lost. Opening syncs what it recovers, as RocksDB does
//!   when it turns a recovered log into a table file.
//! * A failed sync closes the disk for writing until the next crash.
//! * A sweep for garbage first makes durable what is visible, as a flush does, and purges both layers alike: what is
//!   only in the log comes after it.

use bytes::Bytes;
use model::answer::{Answer, AnswerError, Digested, Kept, Rows};
use model::codec::{CodecError, Decode, Encode};
use model::deletion::{Deletion, PartitionDeletions};
use model::digest::ReadDigest;
use model::garbage::Purge;
use model::index::TableIndex;
use model::local::{LocalWrite, table_of_register, token_of_register};
use model::mutation::merge_values;
use model::read::Slice;
use model::scan::{ExportCommand, ExportData, PartitionRecord, ScanAnswer, ScanStart, validate_records};
use model::schema::Table;
use model::token::TokenRange;
use model::{
    IndexCommand, IndexData, Mutation, NodeId, PartitionKey, ReadCommand, ReadData, Record, RecordKey, Rng, Row,
    ScanCommand, ScanData, TableId, Token,
};
use node::repair::repaired::REPAIRED;
use node::{GarbageReport, GarbageSweep, Hint, HintPosition, IndexBuild, Storage, StorageError, Write};
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

/// Bytes of rows that one look-up in an index scans.
const LOOK_UP_BYTES: u32 = 64 * 1024;

/// A partition's records: encoded states, as mutations carry them.
type Records = BTreeMap<RecordKey, Bytes>;

/// Everything that one layer holds.
#[derive(Clone, Debug, Default, PartialEq)]
struct Contents {
    partitions: BTreeMap<TableId, BTreeMap<PartitionKey, Records>>,
    local: BTreeMap<Bytes, Bytes>,
    hints: BTreeMap<NodeId, Hints>,
}

/// One target's hints. Positions are never used twice, even when all hints are delivered.
#[derive(Clone, Debug, Default, PartialEq)]
struct Hints {
    last: u64,
    waiting: BTreeMap<HintPosition, Hint>,
}

#[derive(Debug, Default)]
struct State {
    durable: Contents,
    visible: Contents,
    log: VecDeque<Write>,
    /// Writes of the log, from its front, that are visible.
    shown: usize,
    tables: BTreeMap<TableId, Arc<Table>>,
    full: bool,
    closed: bool,
}

/// One machine's disk.
#[derive(Debug, Default)]
pub struct SimDisk {
    state: Mutex<State>,
}

impl SimDisk {
    /// An empty disk.
    #[must_use]
    pub fn new() -> SimDisk {
        SimDisk::default()
    }

    /// Hands a group of writes to the operating system: they are in the log, and neither visible nor safe.
    /// One result for each; what fails is not in the log.
    ///
    /// # Errors
    /// When the disk is closed.
    pub fn stage(&self, group: &[Write]) -> Result<Vec<Result<(), StorageError>>, StorageError> {
        self.state.lock().stage(group)
    }

    /// Makes everything in the log durable and visible.
    ///
    /// # Errors
    /// When the disk is closed.
    pub fn finish_sync(&self) -> Result<(), StorageError> {
        self.state.lock().sync()
    }

    /// The sync that is under way fails: nobody knows what is safe, and the disk takes no more writes.
    pub fn fail_sync(&self) -> StorageError {
        self.state.lock().closed = true;
        StorageError::SyncFailed("simulated".to_owned())
    }

    /// Fills the disk, or frees space on it. A full disk refuses every write and goes on reading.
    pub fn set_full(&self, full: bool) {
        self.state.lock().full = full;
    }

    /// The process dies and the disk is opened again. With `power_loss`, only a random prefix of the log is
    /// left. Returns the number of writes lost.
    pub fn crash(&self, power_loss: bool, rng: &mut Rng) -> usize {
        let state = &mut *self.state.lock();
        let kept = if power_loss { rng.below(state.log.len() as u64 + 1) as usize } else { state.log.len() };
        let lost = state.log.len() - kept;
        state.log.truncate(kept);
        state.closed = false;
        if lost > 0 && state.shown > kept {
            state.visible = state.durable.clone();
            state.shown = 0;
        }
        state.sync().expect("the disk is open");
        lost
    }

    /// Takes away what the tables hold and what is known of repairs, for good. Nothing is on its way to the disk.
    pub fn lose_tables(&self) {
        let state = &mut *self.state.lock();
        state.durable.partitions.clear();
        state.durable.local.retain(|key, _| !key.starts_with(REPAIRED));
        (state.visible, state.shown) = (state.durable.clone(), 0);
    }

    /// Writes that a power loss could take away now.
    #[must_use]
    pub fn unsynced(&self) -> usize {
        self.state.lock().log.len()
    }

    /// Hints that wait, for all targets.
    #[must_use]
    pub fn hints_waiting(&self) -> usize {
        self.state.lock().visible.hints.values().map(|hints| hints.waiting.len()).sum()
    }

    /// The stored state of one partition, record by record, as reads see it: what the oracles compare.
    #[must_use]
    pub fn records(&self, table: TableId, partition: &PartitionKey) -> Vec<(RecordKey, Bytes)> {
        let state = self.state.lock();
        let records = state.visible.partitions.get(&table).and_then(|partitions| partitions.get(partition));
        records.into_iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    /// The tables that are listed.
    #[must_use]
    pub fn tables(&self) -> Vec<Arc<Table>> {
        self.state.lock().tables.values().cloned().collect()
    }

    /// The keys of all partitions of a table.
    #[must_use]
    pub fn partitions(&self, table: TableId) -> Vec<PartitionKey> {
        let state = self.state.lock();
        state.visible.partitions.get(&table).into_iter().flat_map(|partitions| partitions.keys().cloned()).collect()
    }
}

impl State {
    fn stage(&mut self, group: &[Write]) -> Result<Vec<Result<(), StorageError>>, StorageError> {
        if self.closed {
            return Err(StorageError::SyncFailed("simulated: an earlier one".to_owned()));
        }
        let mut results = Vec::with_capacity(group.len());
        for write in group {
            let result = self.check(write);
            if result.is_ok() {
                self.log.push_back(write.clone());
            }
            results.push(result);
        }
        Ok(results)
    }

    fn check(&self, write: &Write) -> Result<(), StorageError> {
        if self.full {
            return Err(StorageError::Full("simulated: no space is left".to_owned()));
        }
        let invalid = |why: String| Err(StorageError::Invalid(why));
        match write {
            Write::Apply(mutation) if !self.tables.contains_key(&mutation.table) => {
                invalid(format!("table {} is not listed", mutation.table))
            }
            Write::Hint { target, oldest_seconds, .. } if self.oldest_hint(*target) < *oldest_seconds => {
                Err(StorageError::WindowOver)
            }
            Write::Apply(mutation) | Write::Hint { hint: Hint { mutation, .. }, .. } => {
                mutation.validate().or_else(|error| invalid(error.to_string()))
            }
            Write::DropRanges { table, .. } if !self.tables.contains_key(table) => {
                invalid(format!("table {table} is not listed"))
            }
            Write::Local(_) | Write::HintsDelivered { .. } | Write::DropRanges { .. } => Ok(()),
        }
    }

    /// When the oldest hint was kept that waits for a target, by what is visible; the last second there is when none
    /// waits.
    fn oldest_hint(&self, target: NodeId) -> u32 {
        let waiting = self.visible.hints.get(&target).and_then(|hints| hints.waiting.values().next());
        waiting.map_or(u32::MAX, |hint| hint.written_seconds)
    }

    /// Makes the whole log visible, but not durable.
    fn show(&mut self) {
        for write in self.log.iter().skip(self.shown) {
            self.visible.apply(write, &self.tables);
        }
        self.shown = self.log.len();
    }

    fn collect_garbage(&mut self, sweep: &GarbageSweep) -> Result<GarbageReport, StorageError> {
        if self.closed {
            return Err(StorageError::Closed("simulated: an earlier sync failed".to_owned()));
        }
        if self.full {
            return Err(StorageError::Full("simulated: no space is left".to_owned()));
        }
        if !self.tables.contains_key(&sweep.table) {
            return Err(StorageError::Invalid(format!("table {} is not listed", sweep.table)));
        }
        for write in self.log.drain(..self.shown) {
            self.durable.apply(&write, &self.tables);
        }
        self.shown = 0;
        // Both hold the same now.
        let purged = self.durable.purge(sweep).and_then(|_| self.visible.purge(sweep));
        purged.map_err(|error| StorageError::Corrupt(error.to_string()))
    }

    fn sync(&mut self) -> Result<(), StorageError> {
        if self.closed {
            return Err(StorageError::SyncFailed("simulated: an earlier one".to_owned()));
        }
        self.show();
        for write in self.log.drain(..) {
            self.durable.apply(&write, &self.tables);
        }
        self.shown = 0;
        Ok(())
    }

    fn check_table(&self, table: TableId) -> Result<(), StorageError> {
        let listed = self.tables.contains_key(&table);
        listed.then_some(()).ok_or_else(|| StorageError::Invalid(format!("table {table} is not listed")))
    }

    fn read<R: Rows>(&self, command: &ReadCommand) -> Result<R::Output, StorageError> {
        command.validate().map_err(|error| invalid(&error))?;
        self.check_table(command.table)?;
        let partitions = self.visible.partitions.get(&command.table);
        let nothing = Records::new();
        let records = partitions.and_then(|partitions| partitions.get(&command.partition)).unwrap_or(&nothing);
        let mut answer = Answer::<R>::new(command, deletions_of(records)?);
        let given = give_rows(&mut answer, records, &command.slices, command.reversed);
        let answer = given.and_then(|()| answer.finish());
        answer.map_err(|error| StorageError::of_answer(command.table, &command.partition, error))
    }

    fn scan(&self, command: &ScanCommand) -> Result<ScanData, StorageError> {
        command.validate().map_err(|error| invalid(&error))?;
        self.check_table(command.table)?;
        let mut page = ScanAnswer::new(command);
        for (partition, records) in self.visible.range(command.table, command.range, &page.start()) {
            let mut answer = page.partition(partition, deletions_of(records)?);
            let given = give_rows(&mut answer, records, page.slices(partition), false);
            let answer = given.and_then(|()| answer.finish_partition());
            let answer = answer.map_err(|error| StorageError::of_answer(command.table, partition, error))?;
            if !page.push(partition.clone(), answer) {
                break;
            }
        }
        Ok(page.finish())
    }

    /// There are no entries on this disk: a look-up is a scan, as in a store that has not built the index yet.
    fn look_up(&self, command: &IndexCommand) -> Result<IndexData, StorageError> {
        command.validate().map_err(|error| invalid(&error))?;
        self.check_table(command.table)?;
        let index = self.tables.get(&command.table).and_then(|table| TableIndex::new(table, command.target));
        let index = index.ok_or_else(|| StorageError::Invalid("there is no such column".to_owned()))?;
        let page = self.scan(&command.scan(&index, LOOK_UP_BYTES))?;
        command.found_in(&index, &page).map_err(StorageError::of_damage)
    }

    fn export(&self, command: &ExportCommand) -> Result<ExportData, StorageError> {
        command.validate().map_err(|error| invalid(&error))?;
        self.check_table(command.table)?;
        let start = command.after.as_ref().map_or(ScanStart::Range, |(partition, _)| ScanStart::At(partition));
        let (mut page, mut bytes) = (ExportData::default(), 0);
        for (partition, records) in self.visible.range(command.table, command.range, &start) {
            let after = command.after.as_ref().filter(|(last, _)| last == partition).map(|(_, key)| key);
            let rest = after.map_or(Bound::Unbounded, Bound::Excluded);
            for (key, value) in records.range((rest, Bound::Unbounded)) {
                let record = Record { key: key.clone(), value: value.clone() };
                let record = PartitionRecord { partition: partition.clone(), record };
                if !page.push(record, &mut bytes, command.bytes_limit) {
                    return Ok(page);
                }
            }
        }
        Ok(page)
    }

    fn ingest(&mut self, table: TableId, records: &[PartitionRecord]) -> Result<(), StorageError> {
        validate_records(records).map_err(|error| invalid(&error))?;
        self.check_table(table)?;
        if self.full {
            return Err(StorageError::Full("simulated: no space is left".to_owned()));
        }
        // What came before must not be lost when this is not.
        self.sync()?;
        for contents in [&mut self.durable, &mut self.visible] {
            records.iter().for_each(|record| contents.merge_record(table, &record.partition, &record.record));
        }
        Ok(())
    }
}

impl Contents {
    /// Applies a write; one to a table dropped since it was logged has no effect.
    fn apply(&mut self, write: &Write, tables: &BTreeMap<TableId, Arc<Table>>) {
        match write {
            Write::Apply(mutation) => {
                if tables.contains_key(&mutation.table) {
                    self.merge(mutation);
                }
            }
            Write::Local(LocalWrite { records, removed }) => {
                if let Some(range) = removed {
                    self.local.retain(|key, _| !range.contains(key));
                }
                for (key, value) in records {
                    match value {
                        Some(value) => self.local.insert(key.clone(), value.clone()),
                        None => self.local.remove(key),
                    };
                }
            }
            Write::Hint { target, hint, .. } => {
                let hints = self.hints.entry(*target).or_default();
                hints.last += 1;
                hints.waiting.insert(HintPosition(hints.last), hint.clone());
            }
            Write::HintsDelivered { target, through } => {
                if let Some(hints) = self.hints.get_mut(target) {
                    hints.waiting.retain(|position, _| position > through);
                }
            }
            Write::DropRanges { table, ranges } => {
                let dropped = |token: Token| ranges.iter().any(|range| range.contains(token));
                if let Some(partitions) = self.partitions.get_mut(table) {
                    partitions.retain(|key, _| !dropped(key.token));
                }
                let of_table = |key: &Bytes| table_of_register(key) == Some(*table);
                self.local.retain(|key, _| !of_table(key) || !dropped(token_of_register(key)));
            }
        }
    }

    fn merge(&mut self, mutation: &Mutation) {
        for record in &mutation.records {
            self.merge_record(mutation.table, &mutation.partition, record);
        }
    }

    fn merge_record(&mut self, table: TableId, partition: &PartitionKey, record: &Record) {
        let partitions = self.partitions.entry(table).or_default();
        let records = partitions.entry(partition.clone()).or_default();
        let merged = match records.get(&record.key) {
            None => record.value.clone(),
            Some(stored) => merge_values(record.key == RecordKey::Deletions, stored, &record.value)
                .expect("every record was checked before it was taken"),
        };
        records.insert(record.key.clone(), merged);
    }

    /// The partitions of a table from `start` on whose tokens are in `range`.
    fn range<'a>(
        &'a self,
        table: TableId,
        range: TokenRange,
        start: &ScanStart<'_>,
    ) -> impl Iterator<Item = (&'a PartitionKey, &'a Records)> + use<'a> {
        let first = PartitionKey { token: Token(range.start.0.saturating_add(1)), bytes: Bytes::new() };
        let start = match *start {
            ScanStart::Range => Bound::Included(first),
            ScanStart::At(partition) => Bound::Included(partition.clone()),
            ScanStart::After(partition) => Bound::Excluded(partition.clone()),
        };
        let partitions = self.partitions.get(&table).into_iter();
        let from = partitions.flat_map(move |partitions| partitions.range((start.clone(), Bound::Unbounded)));
        from.take_while(move |(partition, _)| range.contains(partition.token))
    }
}

impl Contents {
    fn purge(&mut self, sweep: &GarbageSweep) -> Result<GarbageReport, CodecError> {
        let mut report = GarbageReport::default();
        let Some(partitions) = self.partitions.get_mut(&sweep.table) else { return Ok(report) };
        for (key, records) in partitions.iter_mut().filter(|(key, _)| sweep.tokens.contains(&key.token)) {
            report.bytes += key.bytes.len() as u64;
            purge_partition(records, &sweep.purge, &mut report)?;
        }
        partitions.retain(|_, records| !records.is_empty());
        Ok(report)
    }
}

fn purge_partition(records: &mut Records, purge: &Purge, report: &mut GarbageReport) -> Result<(), CodecError> {
    let stored = records.get(&RecordKey::Deletions).map_or(Ok(PartitionDeletions::default()), Decode::from_bytes)?;
    let mut purged = Records::new();
    for (key, value) in std::mem::take(records) {
        report.bytes += value.len() as u64;
        let covering: Option<Deletion> = match &key {
            RecordKey::Deletions => continue,
            RecordKey::Static => stored.partition(),
            RecordKey::Row(clustering) => stored.covering(clustering),
        };
        let mut row = Row::from_bytes(&value)?;
        covering.into_iter().for_each(|deletion| row.delete(deletion));
        row.normalize(purge);
        report.rows_examined += 1;
        let left = row.to_bytes();
        if row.is_empty() {
            report.rows_removed += 1;
        } else {
            report.rows_reduced += u64::from(left != value);
            purged.insert(key, left);
        }
    }
    let kept = stored.without_garbage(purge);
    report.deletions_removed += u64::from(kept != stored);
    if !kept.is_empty() {
        purged.insert(RecordKey::Deletions, kept.to_bytes());
    }
    *records = purged;
    Ok(())
}

impl Storage for SimDisk {
    fn commit(&self, group: &[Write], sync: bool) -> Result<Vec<Result<(), StorageError>>, StorageError> {
        let mut state = self.state.lock();
        let results = state.stage(group)?;
        if sync {
            state.sync()?;
        } else {
            state.show();
        }
        Ok(results)
    }

    fn sync(&self) -> Result<(), StorageError> {
        self.finish_sync()
    }

    fn read(&self, command: &ReadCommand) -> Result<ReadData, StorageError> {
        self.state.lock().read::<Kept>(command)
    }

    fn digest(&self, command: &ReadCommand) -> Result<ReadDigest, StorageError> {
        self.state.lock().read::<Digested>(command)
    }

    fn read_many(&self, commands: &[ReadCommand]) -> Vec<Result<ReadData, StorageError>> {
        commands.iter().map(|command| self.read(command)).collect()
    }

    fn scan(&self, command: &ScanCommand) -> Result<ScanData, StorageError> {
        self.state.lock().scan(command)
    }

    fn look_up(&self, command: &IndexCommand) -> Result<IndexData, StorageError> {
        self.state.lock().look_up(command)
    }

    fn build_index(&self) -> Result<Option<IndexBuild>, StorageError> {
        Ok(None)
    }

    fn index_builds(&self) -> Vec<IndexBuild> {
        let tables = self.tables();
        let of_table = |table: &Arc<Table>| {
            let build = |target| IndexBuild { table: table.id, target, built_to: None };
            table.index_targets().into_iter().map(build).collect::<Vec<_>>()
        };
        tables.iter().flat_map(of_table).collect()
    }

    fn export(&self, command: &ExportCommand) -> Result<ExportData, StorageError> {
        self.state.lock().export(command)
    }

    fn ingest(&self, table: TableId, records: &[PartitionRecord]) -> Result<(), StorageError> {
        self.state.lock().ingest(table, records)
    }

    fn local(&self, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        Ok(self.state.lock().visible.local.get(key).cloned())
    }

    fn local_records(&self, prefix: &[u8]) -> Result<Vec<(Bytes, Bytes)>, StorageError> {
        let state = self.state.lock();
        let from = state.visible.local.range(Bytes::copy_from_slice(prefix)..);
        let records = from.take_while(|(key, _)| key.starts_with(prefix));
        Ok(records.map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    fn hints(
        &self,
        target: NodeId,
        after: Option<HintPosition>,
        bytes_limit: u32,
    ) -> Result<Vec<(HintPosition, Hint)>, StorageError> {
        let state = self.state.lock();
        let Some(hints) = state.visible.hints.get(&target) else { return Ok(Vec::new()) };
        let (mut found, mut bytes) = (Vec::new(), 0);
        for (position, hint) in hints.waiting.iter().filter(|(position, _)| Some(**position) > after) {
            bytes += hint.mutation.bytes();
            if bytes > bytes_limit as usize && !found.is_empty() {
                break;
            }
            found.push((*position, hint.clone()));
        }
        Ok(found)
    }

    fn hint_targets(&self) -> Result<Vec<NodeId>, StorageError> {
        let state = self.state.lock();
        let targets = state.visible.hints.iter().filter(|(_, hints)| !hints.waiting.is_empty());
        Ok(targets.map(|(target, _)| *target).collect())
    }

    fn collect_garbage(&self, sweep: &GarbageSweep) -> Result<GarbageReport, StorageError> {
        self.state.lock().collect_garbage(sweep)
    }

    fn set_tables(&self, tables: &[Arc<Table>]) -> Result<(), StorageError> {
        let state = &mut *self.state.lock();
        state.tables = tables.iter().map(|table| (table.id, table.clone())).collect();
        for contents in [&mut state.durable, &mut state.visible] {
            let is_listed = |table: TableId| state.tables.contains_key(&table);
            contents.local.retain(|key, _| table_of_register(key).is_none_or(is_listed));
            contents.partitions.retain(|table, _| state.tables.contains_key(table));
        }
        Ok(())
    }
}

/// Gives an answer the records of its partition that lie in `slices`.
fn give_rows<R: Rows>(
    answer: &mut Answer<'_, R>,
    records: &Records,
    slices: &[Slice],
    reversed: bool,
) -> Result<(), AnswerError> {
    if let Some(stored) = records.get(&RecordKey::Static) {
        answer.set_static_row(stored)?;
    }
    let in_slice = |slice: &Slice| RecordKey::Row(slice.start.clone())..RecordKey::Row(slice.end.clone());
    let mut rows: Vec<_> = slices.iter().flat_map(|slice| records.range(in_slice(slice))).collect();
    if reversed {
        rows.reverse();
    }
    for (key, stored) in rows {
        if let RecordKey::Row(clustering) = key
            && !answer.push(clustering, stored)?
        {
            break;
        }
    }
    Ok(())
}

fn deletions_of(records: &Records) -> Result<PartitionDeletions, StorageError> {
    records.get(&RecordKey::Deletions).map_or(Ok(PartitionDeletions::default()), |stored| {
        PartitionDeletions::from_bytes(stored).map_err(StorageError::of_damage)
    })
}

fn invalid(error: &dyn std::fmt::Display) -> StorageError {
    StorageError::Invalid(error.to_string())
}

#[cfg(test)]
#[path = "disk_tests.rs"]
mod tests;
