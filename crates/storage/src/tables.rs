//! The tables of a store: a column family for each, made, changed and dropped as the schema says.
//!
//! A truncated table has a new id (`model::schema::Table::id`), so it has a new column family, and what the
//! old one held is dropped with it. Every step can be repeated: whatever a crash leaves undone, the next
//! [`Inner::set_tables`] does.
//!
//! 1. `TABLES` lists what exists and what is wanted ([`definitions`]).
//! 2. New column families are made, changed options are set.
//! 3. Commits and reads find the new set, and no dropped table, from here on; new indexes begin to be built, dropped
//!    ones lose their entries ([`crate::index`]).
//! 4. A snapshot of each dropped table is kept, where its options ask for it; then it is dropped.
//! 5. `TABLES` lists what is wanted.

use crate::definitions::{self, Definitions};
use crate::failure::rocksdb_error;
use crate::garbage::Sweeping;
use crate::index::{Indexes, recover};
use crate::layout;
use crate::options::{
    SharedMemory, StoreOptions, changed_options, database_options, local_options, table_options, verifying_options,
};
use crate::snapshot;
use crate::store::{Inner, LOCAL, own_records};
use model::TableId;
use model::local::registers_of;
use model::schema;
use node::storage::StorageError;
use parking_lot::Mutex;
use rocksdb::{BoundColumnFamily, ColumnFamilyDescriptor, DB, Options, ReadOptions, WriteBatch};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A local record of the store's own.
const OWN_RECORD: &[u8] = b"storage/flushed";

/// The tables of a store by id.
pub(crate) type Tables = BTreeMap<TableId, Arc<Table>>;

/// One user table.
#[derive(Clone)]
pub(crate) struct Table {
    pub(crate) id: TableId,
    /// As the schema has it: columns and options. When nothing is known of it yet, that of
    /// [`schema::Table::plain`].
    pub(crate) definition: Arc<schema::Table>,
    /// Of its column family.
    pub(crate) name: String,
    pub(crate) deletions: Arc<DeletionClock>,
    /// How its reads went.
    pub(crate) reads: Arc<ReadCounters>,
    /// Its sweeps for garbage.
    pub(crate) sweeping: Arc<Sweeping>,
    /// The indexes of the definition.
    pub(crate) indexes: Indexes,
}

/// Reads of a table since the store was opened.
#[derive(Debug, Default)]
pub(crate) struct ReadCounters {
    /// Answered from memory.
    pub(crate) cached: AtomicU64,
    /// Tried from memory in vain: they had to wait for the disk.
    pub(crate) missed: AtomicU64,
    /// Tombstones that they passed.
    pub(crate) tombstones: AtomicU64,
    /// Reads and tombstones when the table was swept last.
    at_sweep: Mutex<(u64, u64)>,
}

/// A table is burdened whose reads passed so many tombstones since it was swept...
const BURDENED_TOMBSTONES: u64 = 10_000;
/// ...and so many each, on average.
const BURDENED_TOMBSTONES_PER_READ: u64 = 10;

impl ReadCounters {
    fn now(&self) -> (u64, u64) {
        let reads = self.cached.load(Ordering::Relaxed) + self.missed.load(Ordering::Relaxed);
        (reads, self.tombstones.load(Ordering::Relaxed))
    }

    /// A sweep of the table, or of a part of it, has ended.
    pub(crate) fn note_sweep(&self) {
        *self.at_sweep.lock() = self.now();
    }

    /// Reads have passed many tombstones since the last sweep.
    pub(crate) fn are_burdened(&self) -> bool {
        let (reads, tombstones) = self.now();
        let (reads_before, tombstones_before) = *self.at_sweep.lock();
        let tombstones = tombstones.saturating_sub(tombstones_before);
        let per_read = BURDENED_TOMBSTONES_PER_READ.saturating_mul(reads.saturating_sub(reads_before));
        tombstones >= BURDENED_TOMBSTONES.max(per_read)
    }
}

/// How often deletions of partitions and ranges have been written to a table: reads then know whether there
/// are any to look for, and whether some came between two looks. Odd while some are being written.
#[derive(Debug, Default)]
pub(crate) struct DeletionClock(AtomicU64);

impl DeletionClock {
    /// For a table in which there are some, or none.
    pub(crate) fn new(exist: bool) -> DeletionClock {
        DeletionClock(AtomicU64::new(if exist { 2 } else { 0 }))
    }

    /// Zero as long as none was ever written. Unequal before and after a read: some were written meanwhile.
    pub(crate) fn now(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    /// Before the batch is written. Only the one writer calls this.
    pub(crate) fn begin_write(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    /// After the batch is visible. Not called when the write failed: reads go on being careful.
    pub(crate) fn end_write(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Table {
    fn new(definition: Arc<schema::Table>, with_deletions: bool, sweeping: Arc<Sweeping>, indexes: Indexes) -> Table {
        Table {
            indexes,
            id: definition.id,
            name: family_name(definition.id),
            deletions: Arc::new(DeletionClock::new(with_deletions)),
            reads: Arc::default(),
            sweeping,
            definition,
        }
    }
}

impl Inner {
    pub(crate) fn table(&self, id: TableId) -> Result<Arc<Table>, StorageError> {
        let tables = self.tables.load();
        tables.get(&id).cloned().ok_or_else(|| unknown_table(id))
    }

    pub(crate) fn family(&self, name: &str) -> Result<Arc<BoundColumnFamily<'_>>, StorageError> {
        let family = self.db.cf_handle(name);
        family.ok_or_else(|| StorageError::Corrupt(format!("column family {name} is missing")))
    }

    /// [`node::storage::Storage::set_tables`]; the steps are those of the module's documentation.
    pub(crate) fn set_tables(&self, wanted: &[Arc<schema::Table>]) -> Result<(), StorageError> {
        // One change at a time; commits and reads go on.
        let mut listed = self.definitions.lock();
        self.check_open()?;
        let old = self.tables.load_full();
        let wanted: Definitions = wanted.iter().map(|table| (table.id, table.clone())).collect();
        let mut both: Definitions = old.iter().map(|(id, table)| (*id, table.definition.clone())).collect();
        both.extend(wanted.clone());
        self.list_definitions(&mut listed, both)?;
        let mut tables = Tables::new();
        for definition in wanted.values() {
            let table = match old.get(&definition.id) {
                Some(table) if table.definition == *definition => Arc::clone(table),
                Some(table) => Arc::new(self.change_table(table, definition)?),
                None => Arc::new(self.create_table(definition)?),
            };
            tables.insert(definition.id, table);
        }
        let dropped: Vec<Arc<Table>> = old.values().filter(|table| !tables.contains_key(&table.id)).cloned().collect();
        // Once the lock is ours no commit that has found a dropped table, or a table without a new index, is under way.
        let mut writer = self.writer.lock();
        let tables = Arc::new(tables);
        self.tables.store(tables.clone());
        self.change_indexes(&mut writer, &old, &tables)?;
        drop(writer);
        if dropped.is_empty() {
            return Ok(());
        }
        self.large.retain(|table| wanted.contains_key(&table));
        for table in &dropped {
            self.drop_table(table)?;
        }
        self.list_definitions(&mut listed, wanted)
    }

    fn list_definitions(&self, listed: &mut Definitions, wanted: Definitions) -> Result<(), StorageError> {
        if *listed != wanted {
            definitions::write(&self.options.data_dir, &wanted)?;
            *listed = wanted;
        }
        Ok(())
    }

    fn create_table(&self, definition: &Arc<schema::Table>) -> Result<Table, StorageError> {
        let name = family_name(definition.id);
        if self.db.cf_handle(&name).is_some() {
            // An earlier call could not drop it: what is in it must not come back.
            self.drop_family(&name)?;
        }
        let sweeping = Arc::default();
        let family_options = table_options(&self.options, &self.memory, &definition.options, &sweeping);
        let create = self.db.create_cf(&name, &family_options);
        create.map_err(|error| rocksdb_error("create a table", &error))?;
        // A manifest that lost its end would forget the table, and recovery would pass over its records in the
        // log without a word: the log itself says that there is such a table.
        let _writer = self.writer.lock();
        let (local, options) = (self.local_family()?, self.write_options.choose(true, true));
        let noted = self.db.put_cf_opt(&local, layout::table_key(&name), b"", options);
        noted.map_err(|error| rocksdb_error("create a table", &error))?;
        self.note_synced();
        let indexes = Table::indexes_of(definition, &Indexes::new());
        Ok(Table::new(definition.clone(), false, sweeping, indexes))
    }

    fn drop_family(&self, name: &str) -> Result<(), StorageError> {
        {
            let _writer = self.writer.lock();
            let (local, options) = (self.local_family()?, self.write_options.choose(true, true));
            let forgotten = self.db.delete_cf_opt(&local, layout::table_key(name), options);
            forgotten.map_err(|error| rocksdb_error("drop a table", &error))?;
            self.note_synced();
        }
        self.db.drop_cf(name).map_err(|error| rocksdb_error("drop a table", &error))
    }

    /// Takes over another definition of a table. Options that RocksDB cannot change in an open column family
    /// are those of the next opening.
    fn change_table(&self, table: &Table, definition: &Arc<schema::Table>) -> Result<Table, StorageError> {
        let changed = changed_options(&table.definition.options, &definition.options);
        if !changed.is_empty() {
            let options: Vec<(&str, &str)> = changed.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let set = self.db.set_options_cf(&self.family(&table.name)?, &options);
            set.map_err(|error| rocksdb_error("change the options of a table", &error))?;
        }
        let indexes = Table::indexes_of(definition, &table.indexes);
        Ok(Table { definition: definition.clone(), indexes, ..table.clone() })
    }

    /// Drops a table that is not listed any more.
    fn drop_table(&self, table: &Table) -> Result<(), StorageError> {
        if self.options.auto_snapshot && table.definition.options.allow_auto_snapshot {
            snapshot::keep_dropped(self, table)?;
        }
        {
            // Logs that only the dropped table needs go with it, and the sequence numbers in them: without
            // this flush the next start would find less than the watermark says.
            let _writer = self.writer.lock();
            let local = self.local_family()?;
            let mut batch = WriteBatch::default();
            batch.put_cf(&local, OWN_RECORD, b"");
            let registers = registers_of(table.id);
            let mut existing = self.db.raw_iterator_cf(&local);
            existing.seek(&registers.start);
            if existing.key().is_some_and(|key| key < registers.end.as_ref()) {
                batch.delete_range_cf(&local, &registers.start, &registers.end);
            }
            let flushed = self.db.write_opt(batch, self.write_options.choose(true, true));
            flushed.and_then(|()| self.db.flush_cf(&local)).map_err(|error| rocksdb_error("flush", &error))?;
            self.note_synced();
        }
        self.drop_family(&table.name)
    }
}

pub(crate) fn unknown_table(id: TableId) -> StorageError {
    StorageError::Invalid(format!("table {id} is not known to this node's storage"))
}

pub(crate) fn family_name(id: TableId) -> String {
    format!("t_{:032x}", id.0)
}

pub(crate) fn table_of_family(name: &str) -> Option<TableId> {
    let digits = name.strip_prefix("t_").filter(|digits| digits.len() == 32)?;
    u128::from_str_radix(digits, 16).ok().map(TableId)
}

/// The definitions in `directory`; none when the file is missing or damaged, since they can be made anew.
pub(crate) fn known_definitions(directory: &Path) -> Result<Definitions, StorageError> {
    match definitions::read(directory) {
        Ok(found) => Ok(found.unwrap_or_default()),
        Err(StorageError::Corrupt(reason)) => {
            tracing::warn!(reason, "tables have default options until the schema is read");
            Ok(Definitions::new())
        }
        Err(error) => Err(error),
    }
}

/// Where the compactions of each table find what to purge.
pub(crate) type Sweepings = BTreeMap<TableId, Arc<Sweeping>>;

/// The column families of the database at `path` with their options, and the tables among them, each with an entry in
/// `sweepings`.
///
/// # Errors
/// When they cannot be listed; `Corrupt` when there is one that nobody knows.
pub(crate) fn families(
    options: &StoreOptions,
    memory: &SharedMemory,
    path: &Path,
    known: &Definitions,
    sweepings: &mut Sweepings,
) -> Result<(Vec<ColumnFamilyDescriptor>, Definitions), StorageError> {
    let failed = |error: rocksdb::Error| rocksdb_error(&format!("cannot open the database {}", path.display()), &error);
    let names = if path.join("CURRENT").exists() {
        DB::list_cf(&Options::default(), path).map_err(failed)?
    } else {
        Vec::new()
    };
    let mut families = vec![
        ColumnFamilyDescriptor::new(rocksdb::DEFAULT_COLUMN_FAMILY_NAME, local_options(memory)),
        ColumnFamilyDescriptor::new(LOCAL, local_options(memory)),
    ];
    let mut found = Definitions::new();
    for name in names {
        if let Some(id) = table_of_family(&name) {
            let definition = known.get(&id).cloned().unwrap_or_else(|| Arc::new(schema::Table::plain(id)));
            let sweeping = sweepings.entry(id).or_default();
            let family_options = table_options(options, memory, &definition.options, sweeping);
            families.push(ColumnFamilyDescriptor::new(name, family_options));
            found.insert(id, definition);
        } else if name != LOCAL && name != rocksdb::DEFAULT_COLUMN_FAMILY_NAME {
            return Err(StorageError::Corrupt(format!("{} has an unknown column family '{name}'", path.display())));
        }
    }
    Ok((families, found))
}

/// Opens RocksDB with every column family that it has.
pub(crate) fn open_database(
    options: &StoreOptions,
    memory: &SharedMemory,
    path: &Path,
    may_create: bool,
    known: &Definitions,
) -> Result<(DB, Tables), StorageError> {
    let failed = |error: rocksdb::Error| {
        // What RocksDB says of a log that is gone or has a hole names it by what it is to RocksDB.
        let lost = if error.as_ref().contains("WAL") { " (writes acknowledged as durable are missing)" } else { "" };
        rocksdb_error(&format!("cannot open the database {}{lost}", path.display()), &error)
    };
    // Nothing was synced: the first start may have ended before there was a log, or all that there is now.
    let whole = !may_create && !options.accept_data_loss;
    let mut database = if whole { verifying_options(options, memory)? } else { database_options(options, memory) };
    database.create_if_missing(may_create);
    database.create_missing_column_families(!whole);
    let mut sweepings = Sweepings::new();
    let (families, found) = families(options, memory, path, known, &mut sweepings)?;
    let db = DB::open_cf_descriptors(&database, path, families).map_err(failed)?;
    for name in tables_noted(&db)? {
        if whole && db.cf_handle(&name).is_none() {
            return Err(StorageError::Corrupt(format!(
                "the MANIFEST in {} does not list the table '{name}'",
                path.display()
            )));
        }
    }
    let mut tables = Tables::new();
    for (id, definition) in found {
        let with_deletions = has_deletions(&db, &family_name(id))?;
        let sweeping = sweepings.remove(&id).unwrap_or_default();
        let indexes = recover(&db, &definition, &family_name(id))?;
        tables.insert(id, Arc::new(Table::new(definition, with_deletions, sweeping, indexes)));
    }
    Ok((db, tables))
}

/// The column families that there must be.
fn tables_noted(db: &DB) -> Result<Vec<String>, StorageError> {
    let records = own_records(db, layout::TABLES_PREFIX)?.into_iter();
    Ok(records.map(|(name, _)| String::from_utf8_lossy(&name).into_owned()).collect())
}

/// True when the table has a record in the region of deletions.
fn has_deletions(db: &DB, name: &str) -> Result<bool, StorageError> {
    let family = db.cf_handle(name).ok_or_else(|| StorageError::Corrupt(format!("{name} is missing")))?;
    let mut read_options = ReadOptions::default();
    read_options.set_total_order_seek(true);
    // The first block of rows may be read on the way; it is no more likely than others to be asked for.
    read_options.fill_cache(false);
    read_options.set_iterate_upper_bound(vec![layout::ROWS]);
    let mut iterator = db.raw_iterator_cf_opt(&family, read_options);
    iterator.seek_to_first();
    iterator.status().map_err(|error| rocksdb_error("read deletions", &error))?;
    Ok(iterator.valid())
}
