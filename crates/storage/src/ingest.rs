//! Records in bulk, past the log: table files that RocksDB takes over.
//!
//! The files hold **merge** records, never whole values: a whole value would hide what was written to its key
//! before, while a merge record joins it. The entries of the table's indexes have a file of their own, and are put as
//! they always are.
//!
//! An ingested file advances RocksDB's sequence number, and the manifest remembers that number. If the log could
//! still be needed then, losing it would not show: what is found after a crash would reach the watermark by the
//! ingested file alone. So before files are taken over everything in the log is put into table files, under the
//! writer's lock; what comes into the log afterwards has higher numbers.

use crate::failure::{io_error, rocksdb_error};
use crate::index::entries_of;
use crate::layout;
use crate::options::table_options;
use crate::store::Inner;
use crate::tables::{Table, unknown_table};
use model::scan::{PartitionRecord, validate_records};
use model::{Record, RecordKey, TableId};
use node::storage::StorageError;
use rocksdb::{IngestExternalFileOptions, Options, SstFileWriter};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

/// A file is closed after the record that reaches this many bytes.
const FILE_BYTES: u64 = 64 << 20;

/// The folder of files that are not taken over yet; whatever is in it when the store is opened is worth nothing.
pub(crate) fn directory(data_dir: &Path) -> PathBuf {
    data_dir.join("ingest")
}

/// Makes the folder, or empties it.
pub(crate) fn clear(data_dir: &Path) -> Result<(), StorageError> {
    let path = directory(data_dir);
    if path.exists() {
        fs::remove_dir_all(&path).map_err(|error| io_error("remove", &path, &error))?;
    }
    fs::create_dir(&path).map_err(|error| io_error("create", &path, &error))
}

/// Files of one call; removed when it is over, if RocksDB has not moved them.
struct Files {
    paths: Vec<PathBuf>,
}

impl Drop for Files {
    fn drop(&mut self) {
        for path in &self.paths {
            // Moved is the rule; what is left behind is removed when the store is opened.
            let _ = fs::remove_file(path);
        }
    }
}

impl Inner {
    /// [`node::storage::Storage::ingest`].
    pub(crate) fn ingest(&self, id: TableId, records: &[PartitionRecord]) -> Result<(), StorageError> {
        validate_records(records).map_err(|error| StorageError::Invalid(format!("ingest into table {id}: {error}")))?;
        self.check_open()?;
        self.check_space()?;
        let mut table = self.table(id)?;
        if records.is_empty() {
            return Ok(());
        }
        let mut files = self.write_files(&table, records)?;
        let (mut writer, table) = loop {
            let writer = self.writer.lock();
            self.check_open()?;
            // It may have been dropped meanwhile, or have another index, which must not lack what comes now.
            let now = self.table(id)?;
            if now.definition.index_targets() == table.definition.index_targets() {
                break (writer, now);
            }
            drop(writer);
            files = self.write_files(&now, records)?;
            table = now;
        };
        let family = self.db.cf_handle(&table.name).ok_or_else(|| unknown_table(id))?;
        self.empty_log(&mut writer)?;
        let mut options = IngestExternalFileOptions::default();
        options.set_move_files(true);
        let deletes = records.iter().any(|record| record.record.key == RecordKey::Deletions);
        if deletes {
            table.deletions.begin_write();
        }
        let taken = self.db.ingest_external_file_cf_opts(&family, &options, files.paths.clone());
        if deletes {
            table.deletions.end_write();
        }
        taken.map_err(|error| rocksdb_error("ingest table files", &error))?;
        for PartitionRecord { partition, record } in records {
            self.large.on_write(id, partition, record);
        }
        self.note_synced();
        Ok(())
    }

    /// Writes table files of records that ascend, for each region its own: a file that reaches from one into the
    /// other would overlap everything in between.
    fn write_files(&self, table: &Table, records: &[PartitionRecord]) -> Result<Files, StorageError> {
        let options = table_options(&self.options, &self.memory, &table.definition.options, &table.sweeping);
        let mut files = Files { paths: Vec::new() };
        for deletions in [true, false] {
            let of_region = |record: &&PartitionRecord| (record.record.key == RecordKey::Deletions) == deletions;
            let mut records = records.iter().filter(of_region).peekable();
            while records.peek().is_some() {
                let path = self.file_to_ingest();
                files.paths.push(path.clone());
                let written = write_file(&options, &path, &mut records);
                written.map_err(|error| rocksdb_error("write a table file", &error))?;
            }
        }
        let mut entries = BTreeSet::new();
        for records in records.chunk_by(|a, b| a.partition == b.partition) {
            let partition = &records[0].partition;
            let of_partition: Vec<Record> = records.iter().map(|record| record.record.clone()).collect();
            for entry in entries_of(table, partition, &of_partition)? {
                let mut key = Vec::new();
                layout::put_index_entry(&mut key, partition, &entry);
                entries.insert(key);
            }
        }
        if !entries.is_empty() {
            let path = self.file_to_ingest();
            files.paths.push(path.clone());
            let written = write_entries(&options, &path, &entries);
            written.map_err(|error| rocksdb_error("write a table file", &error))?;
        }
        Ok(files)
    }

    fn file_to_ingest(&self) -> PathBuf {
        let number = self.ingested_files.fetch_add(1, Ordering::Relaxed);
        directory(&self.options.data_dir).join(format!("{number}.sst"))
    }
}

/// Writes a file of the entries of indexes.
fn write_entries(options: &Options, path: &Path, keys: &BTreeSet<Vec<u8>>) -> Result<(), rocksdb::Error> {
    let mut file = SstFileWriter::create(options);
    file.open(path)?;
    for key in keys {
        file.put(key, b"")?;
    }
    file.finish()
}

/// Writes a file of at least one record, until it is large enough.
fn write_file<'a>(
    options: &Options,
    path: &Path,
    records: &mut impl Iterator<Item = &'a PartitionRecord>,
) -> Result<(), rocksdb::Error> {
    let mut file = SstFileWriter::create(options);
    file.open(path)?;
    let mut key = Vec::new();
    for PartitionRecord { partition, record } in records {
        key.clear();
        layout::put_record(&mut key, partition, &record.key);
        file.merge(&key, &record.value)?;
        if file.file_size() >= FILE_BYTES {
            break;
        }
    }
    file.finish()
}
