//! Walks over the partitions of a range of tokens: scans, and the export of records.
//!
//! The deletions of partitions and their rows lie in two regions: two iterators walk side by side at one snapshot,
//! so that a page is one view. Nothing of it is kept from page to page: a snapshot or an iterator that lives long
//! pins files and memtables.

use crate::failure::rocksdb_error;
use crate::layout::{DELETIONS, PREFIX_BYTES, ROWS, STATIC, parse_partition, put_partition};
use crate::store::Inner;
use crate::tables::{Table, unknown_table};
use bytes::Bytes;
use model::answer::{Answer, AnswerError, PartitionAnswer};
use model::codec::Decode;
use model::deletion::PartitionDeletions;
use model::read::Slice;
use model::scan::{ExportCommand, ExportData, PartitionRecord, ScanAnswer, ScanStart};
use model::token::TokenRange;
use model::{PartitionKey, Record, RecordKey, ScanCommand, ScanData, Token};
use node::storage::StorageError;
use rocksdb::{BoundColumnFamily, DB, DBRawIteratorWithThreadMode, Range, ReadOptions, Snapshot};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What a bulk scan reads from the disk at once.
const READAHEAD_BYTES: usize = 2 << 20;

impl Inner {
    /// [`node::storage::Storage::scan`].
    pub(crate) fn scan(&self, command: &ScanCommand) -> Result<ScanData, StorageError> {
        command.validate().map_err(|error| StorageError::Invalid(format!("scan: {error}")))?;
        let table = self.table(command.table)?;
        let snapshot = self.db.snapshot();
        let mut page = ScanAnswer::new(command);
        let mut walk = Walk::start(self, &table, &snapshot, command.range, command.bulk)?;
        walk.seek(command.range, &page.start());
        while let Some(partition) = walk.partition()? {
            let answer = walk.answer(&page, &partition)?;
            let answer = answer.map_err(|error| StorageError::of_answer(command.table, &partition, error))?;
            if !page.push(partition, answer) {
                break;
            }
            walk.leave();
        }
        let page = page.finish();
        self.note_scanned(&table, &page);
        Ok(page)
    }

    /// Notes partitions that passed many tombstones, and the size of the last one if it did not fit into a page.
    fn note_scanned(&self, table: &Table, page: &ScanData) {
        for (partition, data) in &page.partitions {
            self.large.on_read(table.id, partition, &data.rows);
            table.reads.tombstones.fetch_add(u64::from(data.tombstones), Ordering::Relaxed);
            if data.tombstones > self.options.tombstone_warn {
                self.large.on_tombstones(table.id, partition, data.tombstones);
            }
        }
        let cut = page.next.as_ref().filter(|next| next.within.is_some()).map(|next| &next.partition);
        if let Some(partition) = cut {
            self.note_partition(table, partition);
        }
    }

    /// Notes about how many bytes a partition has on disk.
    pub(crate) fn note_partition(&self, table: &Table, partition: &PartitionKey) {
        let Some(family) = self.db.cf_handle(&table.name) else { return };
        let mut start = Vec::new();
        put_partition(&mut start, ROWS, partition);
        let end = [&start[..], &[0xff]].concat();
        let sizes = self.db.get_approximate_sizes_cf(&family, &[Range::new(&start, &end)]);
        self.large.on_partition(table.id, partition, sizes.first().copied().unwrap_or(0));
    }

    /// [`node::storage::Storage::export`].
    pub(crate) fn export(&self, command: &ExportCommand) -> Result<ExportData, StorageError> {
        command.validate().map_err(|error| StorageError::Invalid(format!("export: {error}")))?;
        let table = self.table(command.table)?;
        let snapshot = self.db.snapshot();
        let mut walk = Walk::start(self, &table, &snapshot, command.range, true)?;
        match &command.after {
            None => walk.seek(command.range, &ScanStart::Range),
            Some((partition, key)) => walk.seek_behind(partition, key),
        }
        let (mut page, mut bytes) = (ExportData::default(), 0);
        while let Some(partition) = walk.partition()? {
            while let Some(record) = walk.record()? {
                let record = PartitionRecord { partition: partition.clone(), record };
                if !page.push(record, &mut bytes, command.bytes_limit) {
                    return Ok(page);
                }
            }
        }
        Ok(page)
    }
}

/// Two iterators on the records of a range.
struct Walk<'a> {
    /// `None` when the table has no deletions of partitions and ranges.
    deletions: Option<DBRawIteratorWithThreadMode<'a, DB>>,
    rows: DBRawIteratorWithThreadMode<'a, DB>,
    /// What the keys of rows of the present partition start with; room for one key.
    prefix: Vec<u8>,
    prefix_bytes: usize,
}

impl<'a> Walk<'a> {
    fn start(
        store: &'a Inner,
        table: &Table,
        snapshot: &'a Snapshot<'_>,
        range: TokenRange,
        bulk: bool,
    ) -> Result<Walk<'a>, StorageError> {
        let family: Arc<BoundColumnFamily<'_>> =
            store.db.cf_handle(&table.name).ok_or_else(|| unknown_table(table.id))?;
        let iterator = |region: u8| {
            let mut options = ReadOptions::default();
            options.set_total_order_seek(true);
            options.set_iterate_upper_bound(after_token(region, range.end));
            options.fill_cache(!bulk);
            if bulk {
                options.set_readahead_size(READAHEAD_BYTES);
            }
            snapshot.raw_iterator_cf_opt(&family, options)
        };
        // Asked after the snapshot was taken: whatever is in it has been counted.
        let deletions = (table.deletions.now() > 0).then(|| iterator(DELETIONS));
        Ok(Walk { deletions, rows: iterator(ROWS), prefix: Vec::new(), prefix_bytes: 0 })
    }

    fn seek(&mut self, range: TokenRange, start: &ScanStart<'_>) {
        let key = |region: u8| match start {
            ScanStart::Range => after_token(region, range.start),
            ScanStart::At(partition) | ScanStart::After(partition) => {
                let mut key = Vec::new();
                put_partition(&mut key, region, partition);
                if matches!(start, ScanStart::After(_)) {
                    // Nothing of the partition is behind that, and nothing of another one before it.
                    key.push(0xff);
                }
                key
            }
        };
        self.rows.seek(key(ROWS));
        if let Some(deletions) = &mut self.deletions {
            deletions.seek(key(DELETIONS));
        }
    }

    /// Goes to what comes after a record.
    fn seek_behind(&mut self, partition: &PartitionKey, key: &RecordKey) {
        let mut deletions_key = Vec::new();
        put_partition(&mut deletions_key, DELETIONS, partition);
        deletions_key.push(0xff);
        if let Some(deletions) = &mut self.deletions {
            deletions.seek(deletions_key);
        }
        let mut rows_key = Vec::new();
        put_partition(&mut rows_key, ROWS, partition);
        match key {
            RecordKey::Deletions => {}
            RecordKey::Static => rows_key.extend_from_slice(&[STATIC, 0]),
            RecordKey::Row(clustering) => {
                rows_key.extend_from_slice(clustering);
                rows_key.push(0);
            }
        }
        self.rows.seek(rows_key);
    }

    /// The partition that comes next in either region, and makes it the present one.
    fn partition(&mut self) -> Result<Option<PartitionKey>, StorageError> {
        self.check()?;
        // Behind the region keys of partitions order alike, and none starts like another one's.
        let row = self.rows.key().map(|key| &key[1..]);
        let deletions = self.deletions.as_ref().and_then(|deletions| deletions.key()).map(|key| &key[1..]);
        let first = match (row, deletions) {
            (Some(row), Some(deletions)) if deletions < row => deletions,
            (Some(row), _) => row,
            (None, Some(deletions)) => deletions,
            (None, None) => return Ok(None),
        };
        let (partition, bytes) = parse_partition(first)
            .map_err(|error| StorageError::Corrupt(format!("a stored key cannot be decoded: {error}")))?;
        self.prefix.clear();
        self.prefix.push(ROWS);
        self.prefix.extend_from_slice(&first[..bytes]);
        self.prefix_bytes = self.prefix.len();
        Ok(Some(partition))
    }

    fn check(&self) -> Result<(), StorageError> {
        let status =
            self.rows.status().and_then(|()| self.deletions.as_ref().map_or(Ok(()), |deletions| deletions.status()));
        status.map_err(|error| rocksdb_error("scan", &error))
    }

    /// The stored deletions of the present partition; goes on behind them.
    fn take_deletions(&mut self) -> Option<Bytes> {
        let deletions = self.deletions.as_mut()?;
        let (_, value) = deletions.item().filter(|(key, _)| key[1..] == self.prefix[1..])?;
        let value = Bytes::copy_from_slice(value);
        deletions.next();
        Some(value)
    }

    /// The clustering key, or [`STATIC`], and the value of the row that comes next in the present partition.
    fn row(&self) -> Option<(&[u8], &[u8])> {
        let (key, value) = self.rows.item()?;
        Some((key.strip_prefix(&self.prefix[..self.prefix_bytes])?, value))
    }

    /// What a page wants of the present partition. The outer result is about the disk, the inner one about what is
    /// on it.
    fn answer(
        &mut self,
        page: &ScanAnswer<'_>,
        partition: &PartitionKey,
    ) -> Result<Result<PartitionAnswer, AnswerError>, StorageError> {
        let deletions = match self.take_deletions() {
            None => PartitionDeletions::default(),
            Some(stored) => PartitionDeletions::from_bytes(&stored).map_err(StorageError::of_damage)?,
        };
        let mut answer = page.partition(partition, deletions);
        let given = self.give_rows(&mut answer, page.slices(partition));
        self.check()?;
        Ok(given.and_then(|()| answer.finish_partition()))
    }

    /// Gives an answer the static row of the present partition and its rows in `slices`.
    fn give_rows(&mut self, answer: &mut Answer<'_>, slices: &[Slice]) -> Result<(), AnswerError> {
        if let Some((clustering, value)) = self.row()
            && clustering == [STATIC]
        {
            answer.set_static_row(value)?;
            self.rows.next();
        }
        for slice in slices {
            if self.row().is_some_and(|(clustering, _)| clustering < slice.start.as_ref()) {
                self.prefix.extend_from_slice(&slice.start);
                self.rows.seek(&self.prefix);
                self.prefix.truncate(self.prefix_bytes);
            }
            while let Some((clustering, value)) = self.row()
                && clustering < slice.end.as_ref()
            {
                if !answer.push(clustering, value)? {
                    return Ok(());
                }
                self.rows.next();
            }
        }
        Ok(())
    }

    /// The record that comes next in the present partition, the deletions first; goes on behind it.
    fn record(&mut self) -> Result<Option<Record>, StorageError> {
        if let Some(value) = self.take_deletions() {
            return Ok(Some(Record { key: RecordKey::Deletions, value }));
        }
        let record = self.row().map(|(clustering, value)| {
            let key = match clustering {
                [STATIC] => RecordKey::Static,
                _ => RecordKey::Row(Bytes::copy_from_slice(clustering)),
            };
            Record { key, value: Bytes::copy_from_slice(value) }
        });
        match record {
            None => self.check()?,
            Some(_) => self.rows.next(),
        }
        Ok(record)
    }

    /// Leaves the present partition, of which rows may be left.
    fn leave(&mut self) {
        if self.row().is_some() {
            self.prefix.push(0xff);
            self.rows.seek(&self.prefix);
            self.prefix.truncate(self.prefix_bytes);
        }
    }
}

/// The first key of a region behind all partitions with this token.
fn after_token(region: u8, token: Token) -> Vec<u8> {
    let Some(next) = token.0.checked_add(1) else { return vec![region + 1] };
    let mut key = Vec::with_capacity(PREFIX_BYTES);
    key.push(region);
    key.extend_from_slice(&Token(next).to_ordered_bytes());
    key
}
