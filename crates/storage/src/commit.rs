//! The write path: a group of writes becomes one RocksDB batch and one sync.

use crate::failure::rocksdb_error;
use crate::hot::HotKeys;
use crate::index::entries_of;
use crate::layout;
use crate::merge::merge_encoded;
use crate::store::Inner;
use crate::tables::{Table, unknown_table};
use model::limits::MUTATION_BYTES_MAX;
use model::local::LocalWrite;
use model::{Mutation, RecordKey};
use node::storage::{StorageError, Write};
use rocksdb::{BoundColumnFamily, WriteBatch};
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What the one who writes keeps from group to group.
#[derive(Default)]
pub(crate) struct Writer {
    keys: Vec<u8>,
    hot: HotKeys,
    /// Bytes of the last batch, which the next one is expected to need too.
    batch_bytes: usize,
    /// Something was written since the last sync.
    unsynced: bool,
}

/// A table that a group writes to.
struct Destination<'a> {
    table: Arc<Table>,
    family: Arc<BoundColumnFamily<'a>>,
    /// The group deletes partitions or ranges in it.
    deletes: bool,
}

/// A record to merge, or an entry of an index.
struct Entry<'group> {
    /// Index into the destinations of the group.
    destination: usize,
    /// The first bytes of its key, as far as a number holds them: where these differ, and they nearly always do, keys
    /// need not be looked at.
    head: u64,
    /// Where its key is in `Writer::keys`.
    key: Range<usize>,
    value: &'group [u8],
}

impl<'group> Entry<'group> {
    /// The entry whose key has just been appended to `keys`, from `start` on.
    fn new(destination: usize, keys: &[u8], start: usize, value: &'group [u8]) -> Entry<'group> {
        let (mut head, key) = ([0; 8], &keys[start..]);
        let length = key.len().min(head.len());
        head[..length].copy_from_slice(&key[..length]);
        Entry { destination, head: u64::from_be_bytes(head), key: start..keys.len(), value }
    }
}

impl Inner {
    /// [`node::storage::Storage::commit`].
    pub(crate) fn commit(&self, group: &[Write], sync: bool) -> Result<Vec<Result<(), StorageError>>, StorageError> {
        self.check_open()?;
        if let Some(at) = group.iter().position(|write| matches!(write, Write::DropRanges { .. })) {
            // What comes before is dropped, what comes after is not.
            let mut results = self.commit(&group[..at], sync)?;
            if let Write::DropRanges { table, ranges } = &group[at] {
                results.push(self.drop_ranges(*table, ranges, sync));
            }
            results.extend(self.commit(&group[at + 1..], sync)?);
            return Ok(results);
        }
        let mut writer = self.writer.lock();
        // Another one may have failed while this one waited.
        self.check_open()?;
        let mut results = Vec::with_capacity(group.len());
        let mut batch = WriteBatch::with_capacity_bytes(writer.batch_bytes);
        let mut destinations: Vec<Destination<'_>> = Vec::new();
        let mut entries = Vec::with_capacity(group.len());
        let mut hinted = Vec::new();
        writer.keys.clear();
        for (index, write) in group.iter().enumerate() {
            let result = match write {
                Write::Apply(mutation) => {
                    self.add_mutation(&mut writer.keys, &mut entries, &mut destinations, mutation)
                }
                Write::Local(local) => self.add_local(&mut batch, local),
                Write::Hint { target, hint, oldest_seconds } => {
                    let fits = self.check_space().and_then(|()| self.hints.check_window(*target, *oldest_seconds));
                    fits.and_then(|()| {
                        hinted.push((index, *target));
                        self.hints.append(*target, hint)
                    })
                }
                Write::HintsDelivered { target, through } => {
                    let delivered = self.hints.delivered(*target, *through, sync);
                    delivered.map_err(|error| if sync { self.poison(error) } else { error })
                }
                // Taken by itself above.
                Write::DropRanges { .. } => Ok(()),
            };
            results.push(result);
        }
        self.write_hints(&hinted, &mut results, sync)?;
        self.note_hints(&mut batch, &hinted)?;
        self.add_entries(&mut writer, &mut entries, &mut batch, &destinations);
        writer.batch_bytes = batch.size_in_bytes();
        let deleting: Vec<&Destination<'_>> = destinations.iter().filter(|destination| destination.deletes).collect();
        deleting.iter().for_each(|destination| destination.table.deletions.begin_write());
        let written = self.write_batch(&mut writer, batch, sync, destinations.is_empty());
        if matches!(written, Ok(_) | Err(StorageError::Full(_))) {
            // All of the batch is visible, or nothing and others may be.
            deleting.iter().for_each(|destination| destination.table.deletions.end_write());
        }
        if !written? {
            self.refuse_user_data(&mut writer, group, &mut results, sync)?;
        }
        if !hinted.is_empty() {
            self.hints.publish();
        }
        Ok(results)
    }

    /// [`node::storage::Storage::sync`].
    pub(crate) fn sync(&self) -> Result<(), StorageError> {
        self.check_open()?;
        self.sync_if_needed()
    }

    /// Syncs the log and the hints if something was written since the last time.
    pub(crate) fn sync_if_needed(&self) -> Result<(), StorageError> {
        let mut writer = self.writer.lock();
        self.check_open()?;
        self.hints.sync().map_err(|error| self.poison(error))?;
        if writer.unsynced {
            self.sync_log(&mut writer)?;
        }
        Ok(())
    }

    fn sync_log(&self, writer: &mut Writer) -> Result<(), StorageError> {
        let synced = self.db.flush_wal(true);
        synced.map_err(|error| self.poison(StorageError::SyncFailed(format!("the log: {error}"))))?;
        writer.unsynced = false;
        self.note_synced();
        Ok(())
    }

    /// Puts everything committed into table files: afterwards the log is not needed. The caller has the writer.
    pub(crate) fn empty_log(&self, writer: &mut Writer) -> Result<(), StorageError> {
        self.hints.sync().map_err(|error| self.poison(error))?;
        self.sync_log(writer)?;
        let failed = |error: rocksdb::Error| rocksdb_error("flush", &error);
        for table in self.tables.load().values() {
            let Some(family) = self.db.cf_handle(&table.name) else { continue };
            self.db.flush_cf(&family).map_err(failed)?;
        }
        self.db.flush_cf(&self.local_family()?).map_err(failed)
    }

    fn add_mutation<'a, 'group>(
        &'a self,
        keys: &mut Vec<u8>,
        entries: &mut Vec<Entry<'group>>,
        destinations: &mut Vec<Destination<'a>>,
        mutation: &'group Mutation,
    ) -> Result<(), StorageError> {
        self.check_space()?;
        self.check_pressure()?;
        check_mutation(mutation)?;
        // Most groups write to few tables.
        let known = destinations.iter().rposition(|destination| destination.table.id == mutation.table);
        let index = match known {
            Some(index) => index,
            None => {
                let table = self.table(mutation.table)?;
                let family = self.db.cf_handle(&table.name);
                let family = family.ok_or_else(|| unknown_table(mutation.table))?;
                destinations.push(Destination { table, family, deletes: false });
                destinations.len() - 1
            }
        };
        let table = &destinations[index].table;
        let indexed = entries_of(table, &mutation.partition, &mutation.records)?;
        for entry in indexed {
            let start = keys.len();
            layout::put_index_entry(keys, &mutation.partition, &entry);
            entries.push(Entry::new(index, keys, start, b""));
        }
        for record in &mutation.records {
            destinations[index].deletes |= record.key == RecordKey::Deletions;
            let start = keys.len();
            layout::put_record(keys, &mutation.partition, &record.key);
            self.large.on_write(mutation.table, &mutation.partition, record);
            entries.push(Entry::new(index, keys, start, &record.value));
        }
        Ok(())
    }

    /// Adds the entries to `batch`, those of one key merged into one, and whole values for hot keys.
    fn add_entries(
        &self,
        writer: &mut Writer,
        entries: &mut [Entry<'_>],
        batch: &mut WriteBatch,
        destinations: &[Destination<'_>],
    ) {
        let Writer { keys, hot, .. } = writer;
        // Sorted keys also make the insertion into the memtable cheaper. Merging does not depend on order.
        let order = |a: &Entry<'_>, b: &Entry<'_>| {
            let first = (a.destination, a.head).cmp(&(b.destination, b.head));
            first.then_with(|| keys[a.key.clone()].cmp(&keys[b.key.clone()]))
        };
        entries.sort_unstable_by(order);
        for entries in entries.chunk_by(|a, b| order(a, b).is_eq()) {
            let Destination { table, family, .. } = &destinations[entries[0].destination];
            let key = &keys[entries[0].key.clone()];
            if layout::is_index_entry(key) {
                batch.put_cf(family, key, b"");
                continue;
            }
            let values = || entries.iter().map(|entry| entry.value);
            if hot.count(table.id.0, key)
                && let Some(whole) = self.whole_value(family, key, values())
            {
                // Nothing else can be written meanwhile: the writer is locked.
                batch.put_cf(family, key, whole);
            } else if let [entry] = entries {
                batch.merge_cf(family, key, entry.value);
            } else {
                let merged = merge_encoded(layout::holds_deletions(key), values());
                batch.merge_cf(family, key, merged.expect("every value of the group was checked"));
            }
        }
    }

    /// What is stored with what is to be merged into it; `None` when nothing is stored or it cannot be read.
    fn whole_value<'a>(
        &self,
        family: &Arc<BoundColumnFamily<'_>>,
        key: &[u8],
        changes: impl Iterator<Item = &'a [u8]>,
    ) -> Option<Vec<u8>> {
        let stored = self.db.get_pinned_cf(family, key).ok()??;
        let mut values: Vec<&[u8]> = changes.collect();
        values.push(&stored);
        merge_encoded(layout::holds_deletions(key), values.into_iter()).ok()
    }

    fn add_local(&self, batch: &mut WriteBatch, local: &LocalWrite) -> Result<(), StorageError> {
        let family = self.local_family()?;
        if let Some(range) = &local.removed {
            batch.delete_range_cf(&family, &range.start, &range.end);
        }
        for (key, value) in &local.records {
            match value {
                Some(value) => batch.put_cf(&family, key, value),
                None => batch.delete_cf(&family, key),
            }
        }
        Ok(())
    }

    /// Refuses user data while the disk is nearly full; the node's own records go on.
    pub(crate) fn check_space(&self) -> Result<(), StorageError> {
        if self.disk_is_full.load(Ordering::Relaxed) {
            return Err(StorageError::Full(format!(
                "less than {} bytes are free in the file system of {}",
                self.options.free_bytes_min,
                self.options.data_dir.display()
            )));
        }
        Ok(())
    }

    /// Writes the group's hints to their files; those of a target whose file could not take them fail.
    fn write_hints(
        &self,
        hinted: &[(usize, model::NodeId)],
        results: &mut [Result<(), StorageError>],
        sync: bool,
    ) -> Result<(), StorageError> {
        if hinted.is_empty() {
            // Earlier groups may have been committed without sync.
            return if sync { self.hints.sync().map_err(|error| self.poison(error)) } else { Ok(()) };
        }
        let refused = self.hints.write_pending().map_err(|error| self.poison(error))?;
        for (index, target) in hinted {
            if let (Ok(()), Some(error)) = (&results[*index], refused.get(target)) {
                results[*index] = Err(error.clone());
            }
        }
        if sync {
            self.hints.sync().map_err(|error| self.poison(error))?;
        }
        Ok(())
    }

    /// Adds to `batch` how far the hints of each target reach, so that a later start notices when less is
    /// found in their files.
    fn note_hints(&self, batch: &mut WriteBatch, hinted: &[(usize, model::NodeId)]) -> Result<(), StorageError> {
        let targets: BTreeSet<model::NodeId> = hinted.iter().map(|(_, target)| *target).collect();
        for target in targets {
            let (key, last) = (layout::hints_key(target), self.hints.last_position(target));
            batch.put_cf(&self.local_family()?, key, last.to_le_bytes());
        }
        Ok(())
    }

    /// Writes a batch; false when RocksDB would have delayed it for long, and nothing was written. Only the
    /// node's `own` records wait for as long as it takes.
    pub(crate) fn write_batch(
        &self,
        writer: &mut Writer,
        batch: WriteBatch,
        sync: bool,
        own: bool,
    ) -> Result<bool, StorageError> {
        if batch.is_empty() {
            if sync && writer.unsynced {
                self.sync_log(writer)?;
            }
            return Ok(true);
        }
        let may_delay = own || self.pressure.may_delay(batch.size_in_bytes());
        match self.db.write_opt(batch, self.write_options.choose(sync, may_delay)) {
            Ok(()) => self.accept_writes(),
            Err(error) if !may_delay && error.kind() == rocksdb::ErrorKind::Incomplete => {
                self.look_at_pressure(true);
                return Ok(false);
            }
            Err(error) => return Err(self.write_failed(writer, rocksdb_error("write", &error))),
        }
        writer.unsynced = !sync;
        if sync {
            self.note_synced();
        }
        Ok(true)
    }

    /// Nothing of a group was written: its user data is refused, and the node's own records in it wait.
    fn refuse_user_data(
        &self,
        writer: &mut Writer,
        group: &[Write],
        results: &mut [Result<(), StorageError>],
        sync: bool,
    ) -> Result<(), StorageError> {
        let mut batch = WriteBatch::default();
        for (write, result) in group.iter().zip(results) {
            match write {
                Write::Apply(_) if result.is_ok() => *result = Err(self.pressure.refuse()),
                Write::Local(local) => *result = self.add_local(&mut batch, local),
                _ => {}
            }
        }
        self.write_batch(writer, batch, sync, true).map(|_| ())
    }
}

impl Inner {
    /// RocksDB refused to write, and nothing was applied. For lack of space: it looks for space by itself, and the
    /// store waits for that. For any other reason the store is closed.
    fn write_failed(&self, writer: &mut Writer, error: StorageError) -> StorageError {
        if matches!(error, StorageError::SyncFailed(_)) {
            return self.poison(error);
        }
        // RocksDB does not touch this log again: what was acknowledged unsynced would never be synced.
        if writer.unsynced {
            if let Err(failed) = self.hints.sync().and_then(|()| self.sync_log_files()) {
                return self.poison(failed);
            }
            writer.unsynced = false;
            self.note_synced();
        }
        if matches!(error, StorageError::Full(_)) { self.refuse_writes(error) } else { self.poison(error) }
    }

    /// Tries whether RocksDB, which refused to write, does so again; also finds out what its own flushes and
    /// compactions met while nobody wrote.
    pub(crate) fn probe_writes(&self) {
        let mut writer = self.writer.lock();
        if self.check_open().is_err() {
            return;
        }
        match self.db.write_opt(WriteBatch::default(), &self.probe_options) {
            Ok(()) => self.accept_writes(),
            Err(error) => {
                self.write_failed(&mut writer, rocksdb_error("write", &error));
            }
        }
    }
}

fn check_mutation(mutation: &Mutation) -> Result<(), StorageError> {
    let invalid = |reason: String| StorageError::Invalid(format!("mutation of table {}: {reason}", mutation.table));
    mutation.validate().map_err(|error| invalid(error.to_string()))?;
    if mutation.bytes() > MUTATION_BYTES_MAX {
        return Err(invalid(format!("{} bytes are more than {MUTATION_BYTES_MAX}", mutation.bytes())));
    }
    Ok(())
}
