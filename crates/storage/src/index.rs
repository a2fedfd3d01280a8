//! Secondary indexes: their entries lie in the column family of their table, in a region of their own, each a key with
//! an empty value ([`layout`]), and are written in the batch of the records that they are of.
//!
//! ```text
//!            set_tables lists it                build_index, page by page             the last page
//!  (none) ----------------------> building, to a position -----------------> ... ---------------------> built
//!     ^    from here on each write has its entries                                                        |
//!     +---------------------- set_tables does not list it: its entries are removed in one batch ---------+
//! ```
//! Invariants (`docs/protocol/index.md`):
//! * X3: an index that is built has an entry for every value of every stored row. How far one is built is a record in
//!   `local`, written in the batch of the entries that it speaks of; without the record nothing is built.
//! * Entries are put, never merged, and only removed while the writer is locked, once the row was looked at again: an
//!   entry that a write puts at the same time stays.
//! * An index that is not built is not used: its table is scanned.

use crate::commit::Writer;
use crate::failure::rocksdb_error;
use crate::layout::{self, ROWS};
use crate::store::{Inner, own_records};
use crate::tables::{Table, Tables, unknown_table};
use bytes::Bytes;
use model::codec::{CodecError, Decode, Encode, Reader, put_option};
use model::index::{EntryState, IndexEntry, TableIndex};
use model::limits::PAGE_BYTES_MAX;
use model::read::Slice;
use model::scan::{ScanCommand, ScanPosition};
use model::{
    IndexCommand, IndexData, IndexTarget, IndexedRow, Record, RecordKey, Row, ScanData, TableId, Token, TokenRange,
};
use node::storage::{IndexBuild, StorageError};
use parking_lot::Mutex;
use rocksdb::{BoundColumnFamily, DB, DBRawIterator, ReadOptions, WriteBatch};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Bytes of rows that one step of a build, or one page of a scan in place of a look-up, reads.
const PAGE_BYTES: u32 = 1 << 20;
/// Entries that are looked at between two looks at their rows.
pub(crate) const ENTRIES_AT_ONCE: usize = 128;
/// Rows of entries that are read at a time.
const ROWS_AT_ONCE: usize = 8;
/// Entries that one look-up looks at, at most: many of them may be stale.
const ENTRIES_MAX: usize = 4_096;
/// Entries of a range of values that one look-up looks at, at most: scanning the table costs less than more of them.
const RANGE_ENTRIES_MAX: usize = 16_384;
/// Stale entries that wait to be removed; those beyond are found again.
const STALE_MAX: usize = 10_000;

/// How often [`ENTRIES_AT_ONCE`] of them are removed at a time.
const STALE_ROUNDS: usize = 8;

/// The indexes of a table as they are stored.
pub(crate) type Indexes = BTreeMap<IndexTarget, Arc<StoredIndex>>;

/// One index of a table as it is stored.
#[derive(Debug, Default)]
pub(crate) struct StoredIndex {
    is_built: AtomicBool,
    /// A row cannot be indexed: the building has ended until the next start, so that others are built.
    has_failed: AtomicBool,
    /// How far it is built, while it is not.
    position: Mutex<Option<ScanPosition>>,
    /// Keys of entries that look-ups found to be stale.
    stale: Mutex<BTreeSet<Vec<u8>>>,
}

impl StoredIndex {
    fn of_record(record: &[u8]) -> Result<StoredIndex, CodecError> {
        let mut reader = Reader::new(Bytes::copy_from_slice(record));
        let is_built = reader.bool()?;
        let position = reader.option()?;
        reader.finish()?;
        Ok(StoredIndex {
            is_built: AtomicBool::new(is_built),
            position: Mutex::new(position),
            ..StoredIndex::default()
        })
    }

    fn is_built(&self) -> bool {
        self.is_built.load(Ordering::Acquire)
    }

    fn status(&self, table: TableId, target: IndexTarget) -> IndexBuild {
        let token = || self.position.lock().as_ref().map_or(Token::MINIMUM, |position| position.partition.token);
        IndexBuild { table, target, built_to: (!self.is_built()).then(token) }
    }
}

/// The record in `local` of how far an index is built.
fn progress(is_built: bool, position: Option<&ScanPosition>) -> Vec<u8> {
    let mut out = Vec::new();
    is_built.encode(&mut out);
    put_option(&mut out, position);
    out
}

/// The record as it is written for what was read from `record`.
///
/// # Errors
/// When it is damaged.
pub(crate) fn rewrite_progress(record: &[u8]) -> Result<Vec<u8>, CodecError> {
    let read = StoredIndex::of_record(record)?;
    Ok(progress(read.is_built(), read.position.into_inner().as_ref()))
}

/// The indexes of a table as the records in `local` have them; one without a record is not built.
///
/// # Errors
/// When records cannot be read.
pub(crate) fn recover(db: &DB, table: &model::schema::Table, family: &str) -> Result<Indexes, StorageError> {
    let mut indexes = Indexes::new();
    if table.indexes.is_empty() {
        return Ok(indexes);
    }
    let records = own_records(db, &layout::indexes_key(family))?;
    for target in table.index_targets() {
        let stored = match records.get(&target.to_bytes()[..]) {
            None => StoredIndex::default(),
            Some(record) => StoredIndex::of_record(record).map_err(StorageError::of_damage)?,
        };
        indexes.insert(target, Arc::new(stored));
    }
    Ok(indexes)
}

impl Table {
    /// The same indexes as those of `before`, where it has them already; others are not built.
    pub(crate) fn indexes_of(definition: &model::schema::Table, before: &Indexes) -> Indexes {
        let stored = |target: IndexTarget| (target, before.get(&target).cloned().unwrap_or_default());
        definition.index_targets().into_iter().map(stored).collect()
    }

    fn index(&self, target: IndexTarget) -> Result<TableIndex<'_>, StorageError> {
        TableIndex::new(&self.definition, target).ok_or_else(|| {
            StorageError::Invalid(format!("table {} has no column {} to be indexed", self.id, target.column.0))
        })
    }
}

/// Why entries of a mutation or of a stored row cannot be made.
fn not_of_table(table: &Table, error: &CodecError) -> StorageError {
    StorageError::Invalid(format!("a record is not one of table {}: {error}", table.id))
}

/// The entries that are written with the records of a partition.
pub(crate) fn entries_of(
    table: &Table,
    partition: &model::PartitionKey,
    records: &[Record],
) -> Result<Vec<IndexEntry>, StorageError> {
    model::index::entries_of(&table.definition, partition, records).map_err(|error| not_of_table(table, &error))
}

impl Inner {
    /// Takes over the indexes that `now` has and `before` had not, and removes those that nobody has any more. The
    /// caller has the writer: whoever writes later sees `now`.
    pub(crate) fn change_indexes(
        &self,
        writer: &mut Writer,
        before: &Tables,
        now: &Tables,
    ) -> Result<(), StorageError> {
        let local = self.local_family()?;
        let mut batch = WriteBatch::default();
        for (key, _) in own_records(&self.db, layout::INDEXES_PREFIX)? {
            let Some((family, target)) = layout::parse_index_key(&key) else { continue };
            let table = now.values().find(|table| table.name == family);
            if table.is_some_and(|table| table.indexes.contains_key(&target)) {
                continue;
            }
            if let Some(family) = table.and_then(|table| self.db.cf_handle(&table.name)) {
                let entries = layout::index_keys(target);
                batch.delete_range_cf(&family, entries.start, entries.end);
            }
            batch.delete_cf(&local, [layout::INDEXES_PREFIX, key.as_slice()].concat());
        }
        for table in now.values() {
            let known = before.get(&table.id).map(|table| &table.indexes);
            for (target, _) in
                table.indexes.iter().filter(|(target, _)| known.is_none_or(|known| !known.contains_key(target)))
            {
                // What was written before has no entries, whatever a record of an earlier index says.
                batch.put_cf(&local, layout::index_key(&table.name, *target), progress(false, None));
            }
        }
        // Not synced: a crash that forgets it forgets every write that came after it.
        self.write_batch(writer, batch, false, true).map(|_| ())
    }

    /// [`node::storage::Storage::look_up`].
    pub(crate) fn look_up(&self, command: &IndexCommand) -> Result<IndexData, StorageError> {
        command.validate().map_err(|error| StorageError::Invalid(format!("look-up: {error}")))?;
        let table = self.table(command.table)?;
        let index = table.index(command.target)?;
        let by_scan = || {
            let page = self.scan(&command.scan(&index, PAGE_BYTES))?;
            command.found_in(&index, &page).map_err(StorageError::of_damage)
        };
        let Some(stored) = table.indexes.get(&command.target).filter(|stored| stored.is_built()) else {
            return by_scan();
        };
        let found = match command.one_value() {
            Some(value) => self.look_up_value(&table, &index, command, value, stored)?,
            None => self.look_up_range(&table, &index, command, stored)?,
        };
        found.map_or_else(by_scan, Ok)
    }

    /// The entries with these keys, at the first of them; `None` when the index is not there any more.
    fn entries<'a>(
        &'a self,
        family: &Arc<BoundColumnFamily<'a>>,
        table: TableId,
        target: IndexTarget,
        stored: &Arc<StoredIndex>,
        keys: Range<Vec<u8>>,
    ) -> Option<DBRawIterator<'a>> {
        let mut options = ReadOptions::default();
        options.set_total_order_seek(true);
        options.set_iterate_upper_bound(keys.end);
        let mut entries = self.db.raw_iterator_cf_opt(family, options);
        // If it is not, it was dropped, and its entries may be gone, before the iterator took its view.
        self.is_listed(table, target, stored).then(|| {
            entries.seek(&keys.start);
            entries
        })
    }

    /// A look-up of one value; `None` when the index is not there any more.
    fn look_up_value(
        &self,
        table: &Table,
        index: &TableIndex<'_>,
        command: &IndexCommand,
        value: &Bytes,
        stored: &Arc<StoredIndex>,
    ) -> Result<Option<IndexData>, StorageError> {
        let family = self.db.cf_handle(&table.name).ok_or_else(|| unknown_table(table.id))?;
        let mut prefix = layout::index_prefix(command.target);
        prefix.extend_from_slice(value);
        let (start, end) = bounds(index, command, &prefix);
        let Some(mut entries) = self.entries(&family, table.id, command.target, stored, start..end) else {
            return Ok(None);
        };
        let (mut found, mut looked_at) = (IndexData::default(), 0);
        loop {
            let room = (command.limit as usize).saturating_sub(found.rows.len()).min(ENTRIES_AT_ONCE);
            let mut rows = Vec::with_capacity(room);
            let (mut bytes, mut last) = (0, None);
            while looked_at < ENTRIES_MAX && rows.len() < room && bytes < PAGE_BYTES_MAX {
                let Some(key) = entries.key() else { break };
                let row = layout::parse_indexed_row(&key[prefix.len()..]).map_err(StorageError::of_damage)?;
                looked_at += 1;
                bytes += key.len();
                if command.wants(&row) {
                    rows.push((row.clone(), vec![value.clone()]));
                }
                last = Some(row);
                entries.next();
            }
            entries.status().map_err(|error| rocksdb_error("look up in an index", &error))?;
            self.judge(index, command, stored, rows, &mut found)?;
            let is_over = !entries.valid();
            let is_full = found.rows.len() >= command.limit as usize || found.bytes() >= PAGE_BYTES_MAX;
            if is_over || is_full || looked_at >= ENTRIES_MAX {
                // Something was looked at since the page had room.
                found.next = last.filter(|_| !is_over);
                return Ok(Some(found));
            }
        }
    }

    /// A look-up of a range of values. Its entries are in the order of values, and what is wanted are the first rows in
    /// the order of rows (X2): all entries are walked over, and those of the first rows are kept. `None` when there are
    /// too many for that, or the index is not there any more.
    fn look_up_range(
        &self,
        table: &Table,
        index: &TableIndex<'_>,
        command: &IndexCommand,
        stored: &Arc<StoredIndex>,
    ) -> Result<Option<IndexData>, StorageError> {
        let family = self.db.cf_handle(&table.name).ok_or_else(|| unknown_table(table.id))?;
        let prefix = layout::index_prefix(command.target);
        let (start, end) = value_bounds(command, &prefix);
        let Some(mut entries) = self.entries(&family, table.id, command.target, stored, start..end) else {
            return Ok(None);
        };
        let mut first = FirstRows::new(command.limit);
        let mut looked_at = 0;
        while let Some(key) = entries.key() {
            looked_at += 1;
            if looked_at > RANGE_ENTRIES_MAX {
                return Ok(None);
            }
            let rest = &key[prefix.len()..];
            let length = index.value_length(rest).map_err(StorageError::of_damage)?;
            let (value, row) = rest.split_at(length);
            if command.values.contains(value) {
                let row = layout::parse_indexed_row(row).map_err(StorageError::of_damage)?;
                if command.wants(&row) {
                    first.add(row, value);
                }
            }
            entries.next();
        }
        entries.status().map_err(|error| rocksdb_error("look up in an index", &error))?;
        let (rows, next) = first.into_rows();
        let mut found = IndexData { rows: Vec::new(), next };
        self.judge(index, command, stored, rows, &mut found)?;
        Ok(Some(found))
    }

    /// True while this is still the index that the table has. The tables without it are published before its
    /// entries are removed.
    fn is_listed(&self, table: TableId, target: IndexTarget, stored: &Arc<StoredIndex>) -> bool {
        let tables = self.tables.load();
        let own = tables.get(&table).and_then(|table| table.indexes.get(&target));
        own.is_some_and(|own| Arc::ptr_eq(own, stored))
    }

    /// Adds those of `rows`, each with the values of its entries, that have one of them to `found`, and notes the
    /// entries that are stale.
    fn judge(
        &self,
        index: &TableIndex<'_>,
        command: &IndexCommand,
        stored: &StoredIndex,
        rows: Vec<(IndexedRow, Vec<Bytes>)>,
        found: &mut IndexData,
    ) -> Result<(), StorageError> {
        let reads: Vec<_> = rows.iter().filter_map(|(row, _)| index.read_of(row, command.now_seconds)).collect();
        if reads.is_empty() {
            // The entries of a partition key column say what the partition's key says.
            found.rows.extend(rows.into_iter().map(|(row, _)| row));
            return Ok(());
        }
        // Few at a time: each may be large.
        let data = reads.chunks(ROWS_AT_ONCE).flat_map(|reads| self.read_many(reads));
        for ((row, values), data) in rows.into_iter().zip(data) {
            let (data, mut is_current) = (data?, false);
            for value in values {
                let state = index.state_of(&row, &value, &data, command.now_seconds);
                match state.map_err(StorageError::of_damage)? {
                    EntryState::Current => is_current = true,
                    EntryState::Expired => {}
                    EntryState::Stale => {
                        let (target, clustering) = (command.target, row.clustering.clone());
                        let mut key = Vec::new();
                        layout::put_index_entry(&mut key, &row.partition, &IndexEntry { target, value, clustering });
                        let mut stale = stored.stale.lock();
                        if stale.len() < STALE_MAX {
                            stale.insert(key);
                        }
                    }
                }
            }
            if is_current {
                found.rows.push(row);
            }
        }
        Ok(())
    }

    /// Removes entries that look-ups have found to be stale, and that still are: some of each index, since who calls
    /// has other work.
    pub(crate) fn remove_stale_entries(&self) -> Result<(), StorageError> {
        for table in self.tables.load_full().values() {
            for (target, stored) in &table.indexes {
                for _ in 0..STALE_ROUNDS {
                    let next = || stored.stale.lock().pop_first();
                    let keys: Vec<Vec<u8>> = std::iter::from_fn(next).take(ENTRIES_AT_ONCE).collect();
                    if keys.is_empty() {
                        break;
                    }
                    self.remove_if_stale(table, *target, &keys)?;
                }
            }
        }
        Ok(())
    }

    /// Removes those of the entries of an index, by their keys, that are stale. How many were.
    fn remove_if_stale(&self, table: &Table, target: IndexTarget, keys: &[Vec<u8>]) -> Result<u64, StorageError> {
        let index = table.index(target)?;
        let family = self.db.cf_handle(&table.name).ok_or_else(|| unknown_table(table.id))?;
        let mut writer = self.lock_writer(table)?;
        let (mut batch, mut removed) = (WriteBatch::default(), 0);
        for key in keys {
            if self.is_stale(table, &index, key)? {
                batch.delete_cf(&family, key);
                removed += 1;
            }
        }
        self.write_batch(&mut writer, batch, false, true)?;
        Ok(removed)
    }

    /// True when nothing that is stored has the value of an entry.
    fn is_stale(&self, table: &Table, index: &TableIndex<'_>, key: &[u8]) -> Result<bool, StorageError> {
        let rest = key.get(layout::index_prefix(index.target()).len()..).unwrap_or_default();
        let parsed = index.value_length(rest).and_then(|length| {
            let (value, row) = rest.split_at(length);
            Ok((value, layout::parse_indexed_row(row)?))
        });
        let (value, row) = match parsed {
            Ok(parsed) => parsed,
            Err(error) => {
                // Of a record that was not one of its table: nobody can look it up.
                tracing::warn!(%error, ?key, table = %table.id, "an entry of an index is not one and is removed");
                return Ok(true);
            }
        };
        let Some(read) = index.read_of(&row, 0) else { return self.is_without_rows(table, &row) };
        let data = self.read_many(std::slice::from_ref(&read)).pop().transpose()?.unwrap_or_default();
        let state = index.state_of(&row, &Bytes::copy_from_slice(value), &data, 0);
        Ok(state.map_err(StorageError::of_damage)? == EntryState::Stale)
    }

    fn is_without_rows(&self, table: &Table, row: &IndexedRow) -> Result<bool, StorageError> {
        let family = self.db.cf_handle(&table.name).ok_or_else(|| unknown_table(table.id))?;
        let mut start = Vec::new();
        layout::put_partition(&mut start, ROWS, &row.partition);
        let mut options = ReadOptions::default();
        options.set_total_order_seek(true);
        options.set_iterate_upper_bound([start.as_slice(), &[0xff]].concat());
        let mut rows = self.db.raw_iterator_cf_opt(&family, options);
        rows.seek(&start);
        rows.status().map_err(|error| rocksdb_error("read", &error))?;
        Ok(!rows.valid())
    }

    /// Walks over all entries of a table's indexes and removes those that are stale: part of the sweep for garbage
    /// that ends with the last token, so that each is looked at once in every round of sweeps. How many were.
    pub(crate) fn sweep_indexes(&self, table: &Table) -> Result<u64, StorageError> {
        let mut removed = 0;
        for target in table.indexes.keys() {
            let mut range = layout::index_keys(*target);
            loop {
                self.check_sweeping()?;
                let keys = self.entries_from(table, &range.start, &range.end)?;
                let Some(last) = keys.last() else { break };
                range.start = [last.as_slice(), &[0]].concat();
                let index = table.index(*target)?;
                let mut stale = Vec::new();
                for key in keys {
                    if self.is_stale(table, &index, &key)? {
                        stale.push(key);
                    }
                }
                if !stale.is_empty() {
                    removed += self.remove_if_stale(table, *target, &stale)?;
                }
            }
        }
        Ok(removed)
    }

    fn entries_from(&self, table: &Table, start: &[u8], end: &[u8]) -> Result<Vec<Vec<u8>>, StorageError> {
        let family = self.db.cf_handle(&table.name).ok_or_else(|| unknown_table(table.id))?;
        let mut options = ReadOptions::default();
        options.set_total_order_seek(true);
        options.fill_cache(false);
        options.set_iterate_upper_bound(end);
        let mut entries = self.db.raw_iterator_cf_opt(&family, options);
        entries.seek(start);
        let mut keys = Vec::new();
        while let Some(key) = entries.key().filter(|_| keys.len() < ENTRIES_AT_ONCE) {
            keys.push(key.to_vec());
            entries.next();
        }
        entries.status().map_err(|error| rocksdb_error("read an index", &error))?;
        Ok(keys)
    }

    /// [`node::storage::Storage::index_builds`].
    pub(crate) fn index_builds(&self) -> Vec<IndexBuild> {
        let of_table = |table: &Arc<Table>| {
            let status = |(target, stored): (&IndexTarget, &Arc<StoredIndex>)| stored.status(table.id, *target);
            table.indexes.iter().map(status).collect::<Vec<_>>()
        };
        self.tables.load().values().flat_map(of_table).collect()
    }

    /// [`node::storage::Storage::build_index`].
    pub(crate) fn build_index(&self) -> Result<Option<IndexBuild>, StorageError> {
        self.check_open()?;
        self.check_space()?;
        // Two would do the same work.
        let _alone = self.building.lock();
        let tables = self.tables.load_full();
        let unbuilt = tables.values().find_map(|table| {
            let found = table
                .indexes
                .iter()
                .find(|(_, stored)| !stored.is_built() && !stored.has_failed.load(Ordering::Relaxed));
            found.map(|(target, stored)| (table, *target, stored))
        });
        let Some((table, target, stored)) = unbuilt else { return Ok(None) };
        let position = stored.position.lock().clone();
        let page = self.scan(&page_of(table, position))?;
        let index = table.index(target)?;
        let family = self.db.cf_handle(&table.name).ok_or_else(|| unknown_table(table.id))?;
        let mut batch = WriteBatch::default();
        let mut key = Vec::new();
        let entries = entries_of_page(&index, &page).map_err(|error| {
            stored.has_failed.store(true, Ordering::Relaxed);
            let error = not_of_table(table, &error);
            tracing::error!(%error, column = target.column.0, "an index is not built, and reads by it scan the table");
            error
        })?;
        for (partition, entry) in entries {
            key.clear();
            layout::put_index_entry(&mut key, &partition, &entry);
            batch.put_cf(&family, &key, b"");
        }
        let is_built = page.next.is_none();
        let record = progress(is_built, page.next.as_ref());
        batch.put_cf(&self.local_family()?, layout::index_key(&table.name, target), record);
        let mut writer = self.lock_writer(table)?;
        if !self.is_listed(table.id, target, stored) {
            // Dropped meanwhile, and perhaps made again: nothing of this page is to be written.
            return Ok(Some(stored.status(table.id, target)));
        }
        if !self.write_batch(&mut writer, batch, false, false)? {
            return Err(StorageError::Overloaded);
        }
        *stored.position.lock() = page.next;
        stored.is_built.store(is_built, Ordering::Release);
        if is_built {
            tracing::info!(table = %table.id, column = target.column.0, "an index is built");
        }
        Ok(Some(stored.status(table.id, target)))
    }
}

/// The scan of the next page of a table whose index is built: every row, whatever has expired.
fn page_of(table: &Table, resume: Option<ScanPosition>) -> ScanCommand {
    ScanCommand {
        table: table.id,
        range: TokenRange::ALL,
        resume,
        slices: vec![Slice::all()],
        static_row: true,
        row_limit: u32::MAX,
        per_partition_limit: u32::MAX,
        bytes_limit: PAGE_BYTES,
        now_seconds: 0,
        tombstone_limit: u32::MAX,
        bulk: true,
        dropped_columns: table.definition.drops(),
    }
}

fn entries_of_page(
    index: &TableIndex<'_>,
    page: &ScanData,
) -> Result<Vec<(model::PartitionKey, IndexEntry)>, CodecError> {
    let mut all = Vec::new();
    for (partition, data) in &page.partitions {
        let mut entries = Vec::new();
        let fixed = data.static_row.iter().map(|record| (RecordKey::Static, record));
        let rows = data.rows.iter().map(|(clustering, record)| (RecordKey::Row(clustering.clone()), record));
        for (key, record) in fixed.chain(rows) {
            index.add_entries(partition, &key, &Row::from_bytes(record)?, &mut entries)?;
        }
        entries.dedup();
        all.extend(entries.into_iter().map(|entry| (partition.clone(), entry)));
    }
    Ok(all)
}

/// The first rows of many entries, in the order of rows, with the values of their entries.
struct FirstRows {
    rows: BTreeMap<(model::PartitionKey, Option<Bytes>), Vec<Bytes>>,
    rows_max: usize,
    /// About what they take in memory.
    bytes: usize,
    /// True when others have been left out, all of them behind these.
    is_cut: bool,
}

impl FirstRows {
    fn new(limit: u32) -> FirstRows {
        FirstRows { rows: BTreeMap::new(), rows_max: limit as usize, bytes: 0, is_cut: false }
    }

    fn bytes_of(partition: &model::PartitionKey, clustering: Option<&Bytes>) -> usize {
        partition.bytes.len() + clustering.map_or(0, Bytes::len) + 64
    }

    fn add(&mut self, row: IndexedRow, value: &[u8]) {
        let place = (row.partition, row.clustering);
        if self.is_cut && self.rows.last_key_value().is_some_and(|(last, _)| *last < place) {
            return;
        }
        self.bytes += value.len();
        match self.rows.entry(place) {
            Entry::Occupied(mut known) => known.get_mut().push(Bytes::copy_from_slice(value)),
            Entry::Vacant(vacant) => {
                let (partition, clustering) = vacant.key();
                self.bytes += FirstRows::bytes_of(partition, clustering.as_ref());
                vacant.insert(vec![Bytes::copy_from_slice(value)]);
            }
        }
        while self.rows.len() > 1 && (self.rows.len() > self.rows_max || self.bytes > PAGE_BYTES_MAX) {
            let Some(((partition, clustering), values)) = self.rows.pop_last() else { return };
            self.bytes -= FirstRows::bytes_of(&partition, clustering.as_ref());
            self.bytes -= values.iter().map(Bytes::len).sum::<usize>();
            self.is_cut = true;
        }
    }

    /// The rows, and the last of them if there are more.
    fn into_rows(self) -> (Vec<(IndexedRow, Vec<Bytes>)>, Option<IndexedRow>) {
        let row = |((partition, clustering), values)| (IndexedRow { partition, clustering }, values);
        let rows: Vec<_> = self.rows.into_iter().map(row).collect();
        let next = rows.last().filter(|_| self.is_cut).map(|(row, _)| row.clone());
        (rows, next)
    }
}

/// The first key of the entries of a range of values, and the first behind all of them.
fn value_bounds(command: &IndexCommand, prefix: &[u8]) -> (Vec<u8>, Vec<u8>) {
    // A zero byte at the end stands for what is behind a value: here behind all rows that have it. No token and length
    // begin with as many bytes of these.
    let bound = |bound: &Bytes| match bound.strip_suffix(&[0]) {
        Some(value) => [prefix, value, &[0xff; 12]].concat(),
        None => [prefix, bound].concat(),
    };
    (bound(&command.values.start), bound(&command.values.end))
}

/// The first key that a look-up may want, and the first behind all of them, of entries that start with `prefix`.
fn bounds(index: &TableIndex<'_>, command: &IndexCommand, prefix: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let after_token = |token: Token| match token.0.checked_add(1) {
        Some(next) => [prefix, &Token(next).to_ordered_bytes()].concat(),
        // No token begins with that and no other entry with the prefix.
        None => [prefix, &[0xff; 9]].concat(),
    };
    let partition_at = |partition: &model::PartitionKey, rest: &[u8]| {
        let mut key = prefix.to_vec();
        layout::put_partition_name(&mut key, partition);
        key.extend_from_slice(rest);
        key
    };
    let start = match (&command.resume, &command.partition) {
        (Some(IndexedRow { partition, clustering: None }), _) => partition_at(partition, &[0xff]),
        (Some(IndexedRow { partition, clustering: Some(last) }), _) if !index.names_partitions() => {
            partition_at(partition, &[last.as_ref(), &[0]].concat())
        }
        (Some(IndexedRow { partition, .. }), _) => partition_at(partition, &[]),
        (None, Some(partition)) if !index.names_partitions() => partition_at(partition, &command.slices[0].start),
        (None, Some(partition)) => partition_at(partition, &[]),
        (None, None) => after_token(command.range.start),
    };
    let end = match &command.partition {
        Some(partition) => partition_at(partition, &[0xff]),
        None => after_token(command.range.end),
    };
    (start, end)
}
