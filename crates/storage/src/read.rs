//! The read path of single partitions. Every read has one consistent view: a point read is one `Get`, several
//! keys are one `MultiGet` (one sequence number for all of them), slices are one iterator. Point reads of several
//! partitions are one `MultiGet` as well.
//!
//! A table that never had a deletion of a partition or range is read without looking for one; else the
//! deletions are one more key, mostly a look into a Bloom filter. Its [`DeletionClock`](crate::tables) ticks
//! before and after deletions are written: a read of two keys one after the other, between which it has not
//! ticked, has seen no part of a batch that holds deletions, and is one view.

use crate::failure::rocksdb_error;
use crate::layout::{DELETIONS, ROWS, STATIC, put_partition};
use crate::store::Inner;
use crate::tables::{Table, unknown_table};
use bytes::Bytes;
use model::answer::{Answer, AnswerError, Kept, Rows};
use model::codec::{CodecError, Decode};
use model::deletion::PartitionDeletions;
use model::read::Slice;
use model::{ReadCommand, ReadData, TableId};
use node::storage::StorageError;
use rocksdb::{BoundColumnFamily, DB, DBPinnableSlice, DBRawIteratorWithThreadMode, ReadOptions, ReadTier};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Failed reads that are logged; all are counted.
const FAILED_READS_LOGGED: u64 = 100;
/// More point slices than this are read with an iterator.
const POINTS_MAX: usize = 64;

/// Why a read ended without an answer.
enum Interrupted {
    /// It would have to wait for the disk.
    NotCached,
    /// What is stored has no answer.
    NoAnswer(AnswerError),
    Failed(StorageError),
}

impl From<StorageError> for Interrupted {
    fn from(error: StorageError) -> Interrupted {
        Interrupted::Failed(error)
    }
}

impl From<rocksdb::Error> for Interrupted {
    fn from(error: rocksdb::Error) -> Interrupted {
        match error.kind() {
            // What a read gives that may use only the cache.
            rocksdb::ErrorKind::Incomplete => Interrupted::NotCached,
            _ => Interrupted::Failed(rocksdb_error("read", &error)),
        }
    }
}

impl From<CodecError> for Interrupted {
    fn from(error: CodecError) -> Interrupted {
        Interrupted::NoAnswer(AnswerError::Damaged(error))
    }
}

impl From<AnswerError> for Interrupted {
    fn from(error: AnswerError) -> Interrupted {
        Interrupted::NoAnswer(error)
    }
}

impl Interrupted {
    /// What a read of `command` ends with; `None` when it would have to wait.
    fn outcome<T>(self, command: &ReadCommand) -> Result<Option<T>, StorageError> {
        match self {
            Interrupted::NotCached => Ok(None),
            Interrupted::NoAnswer(error) => Err(StorageError::of_answer(command.table, &command.partition, error)),
            Interrupted::Failed(error) => Err(error),
        }
    }
}

/// Bytes of an answer that a limit has cut off from which on the size of its partition is looked at.
const CUT_BYTES: usize = 64 * 1024;

impl Inner {
    /// Reads with `options`, which are of `tier`, and makes the rows into `R`; `None` when that would have to wait for
    /// the disk and may not.
    pub(crate) fn read<R: Rows>(
        &self,
        command: &ReadCommand,
        options: &ReadOptions,
        tier: ReadTier,
    ) -> Result<Option<R::Output>, StorageError> {
        check_command(command)?;
        let table = self.table(command.table)?;
        let family = self.db.cf_handle(&table.name).ok_or_else(|| unknown_table(command.table))?;
        let read = Read { db: &self.db, family, table: &table, command };
        let outcome = if are_points(command) { read.points::<R>(options) } else { read.slices::<R>(tier) };
        self.note_tombstones::<R>(&table, command, &outcome);
        if outcome.as_ref().is_ok_and(|output| R::cut_bytes(output) >= CUT_BYTES) {
            self.note_partition(&table, &command.partition);
        }
        let outcome = outcome.map(Some).or_else(|interrupted| interrupted.outcome(command));
        match &outcome {
            Ok(Some(_)) if matches!(tier, ReadTier::BlockCache) => {
                table.reads.cached.fetch_add(1, Ordering::Relaxed);
            }
            Ok(None) => drop(table.reads.missed.fetch_add(1, Ordering::Relaxed)),
            Ok(Some(_)) => {}
            Err(error) => self.note_failed_read(error),
        }
        outcome
    }

    /// Counts the tombstones that a read of a table passes, and notes one that passes many.
    fn note_tombstones<R: Rows>(&self, table: &Table, command: &ReadCommand, outcome: &Result<R::Output, Interrupted>) {
        let tombstones = match outcome {
            Ok(output) => R::tombstones(output),
            Err(Interrupted::NoAnswer(AnswerError::TooManyTombstones { tombstones, .. })) => *tombstones,
            Err(_) => 0,
        };
        if tombstones > 0 {
            table.reads.tombstones.fetch_add(u64::from(tombstones), Ordering::Relaxed);
        }
        if tombstones > self.options.tombstone_warn {
            self.large.on_tombstones(command.table, &command.partition, tombstones);
        }
    }

    /// Counts a read that met damage or a disk that does not answer, and logs the first ones, which name the
    /// file: whoever asked hears only that this replica failed.
    fn note_failed_read(&self, error: &StorageError) {
        let damaged = matches!(error, StorageError::Corrupt(_) | StorageError::Io(_));
        if damaged && self.reads_failed.fetch_add(1, Ordering::Relaxed) < FAILED_READS_LOGGED {
            tracing::error!(%error, "a read failed");
        }
    }

    /// [`node::storage::Storage::read_many`]: those of single rows with one `MultiGet` for each table.
    pub(crate) fn read_many(&self, commands: &[ReadCommand]) -> Vec<Result<ReadData, StorageError>> {
        let mut results: Vec<Option<Result<ReadData, StorageError>>> = Vec::new();
        results.resize_with(commands.len(), || None);
        let mut of_tables: BTreeMap<TableId, Vec<usize>> = BTreeMap::new();
        for (index, command) in commands.iter().enumerate() {
            if check_command(command).is_ok() && are_points(command) {
                of_tables.entry(command.table).or_default().push(index);
            }
        }
        for (id, indexes) in of_tables {
            for indexes in indexes.chunks(POINTS_MAX).filter(|indexes| indexes.len() > 1) {
                let found = self.read_points_of(id, commands, indexes);
                match found {
                    Ok(found) => found.into_iter().zip(indexes).for_each(|(one, index)| results[*index] = Some(one)),
                    Err(error) => indexes.iter().for_each(|index| results[*index] = Some(Err(error.clone()))),
                }
            }
        }
        let rest =
            |(index, result): (usize, Option<_>)| result.unwrap_or_else(|| self.read_waiting::<Kept>(&commands[index]));
        results.into_iter().enumerate().map(rest).collect()
    }

    /// Reads with all that it takes.
    pub(crate) fn read_waiting<R: Rows>(&self, command: &ReadCommand) -> Result<R::Output, StorageError> {
        let data = self.read::<R>(command, &self.read_options, ReadTier::All)?;
        data.ok_or_else(|| StorageError::Io("a read that may wait did not".to_owned()))
    }

    /// The answers to point commands of one table, all at one sequence number.
    fn read_points_of(
        &self,
        id: TableId,
        commands: &[ReadCommand],
        indexes: &[usize],
    ) -> Result<Vec<Result<ReadData, StorageError>>, StorageError> {
        let table = self.table(id)?;
        let family = self.db.cf_handle(&table.name).ok_or_else(|| unknown_table(id))?;
        let reads = indexes.iter().map(|index| {
            let command = &commands[*index];
            Read { db: &self.db, family: Arc::clone(&family), table: &table, command }
        });
        let reads: Vec<Read<'_>> = reads.collect();
        let keys: Vec<Vec<Vec<u8>>> = reads.iter().map(Read::point_keys).collect();
        // `MultiGet` is told that its keys ascend.
        let mut order: Vec<(usize, usize)> =
            keys.iter().enumerate().flat_map(|(read, keys)| (0..keys.len()).map(move |key| (read, key))).collect();
        order.sort_unstable_by(|a, b| keys[a.0][a.1].cmp(&keys[b.0][b.1]));
        let sorted = order.iter().map(|(read, key)| &keys[*read][*key]);
        let found = self.db.batched_multi_get_cf_opt(&family, sorted, true, &self.read_options);
        let mut values: Vec<Vec<Found<'_>>> = keys.iter().map(|keys| keys.iter().map(|_| Ok(None)).collect()).collect();
        for ((read, key), value) in order.into_iter().zip(found) {
            values[read][key] = value;
        }
        let answer = |(read, values): (&Read<'_>, Vec<Found<'_>>)| {
            let outcome = read.answer_points::<Kept>(values);
            self.note_tombstones::<Kept>(&table, read.command, &outcome);
            let data = outcome.map(Some).or_else(|interrupted| interrupted.outcome(read.command))?;
            data.ok_or_else(|| StorageError::Io("a read that may wait did not".to_owned()))
        };
        Ok(reads.iter().zip(values).map(answer).collect())
    }
}

/// What `MultiGet` says of a key.
type Found<'a> = Result<Option<DBPinnableSlice<'a>>, rocksdb::Error>;

struct Read<'a> {
    db: &'a DB,
    family: Arc<BoundColumnFamily<'a>>,
    table: &'a Table,
    command: &'a ReadCommand,
}

impl Read<'_> {
    /// Reads single rows.
    fn points<R: Rows>(&self, options: &ReadOptions) -> Result<R::Output, Interrupted> {
        let [slice] = &self.command.slices[..] else { return self.several_points::<R>(options) };
        let before = self.table.deletions.now();
        if self.command.static_row || before % 2 == 1 {
            return self.several_points::<R>(options);
        }
        let data = self.point::<R>(options, &slice.start, before > 0)?;
        if self.table.deletions.now() == before {
            return Ok(data);
        }
        self.several_points::<R>(options)
    }

    /// Reads one row with plain gets.
    fn point<R: Rows>(
        &self,
        options: &ReadOptions,
        clustering: &Bytes,
        with_deletions: bool,
    ) -> Result<R::Output, Interrupted> {
        let mut deletions = None;
        if with_deletions {
            let key = self.partition_key(DELETIONS, 0);
            deletions = self.db.get_pinned_cf_opt(&self.family, &key, options)?;
        }
        let mut key = self.partition_key(ROWS, clustering.len());
        key.extend_from_slice(clustering);
        let row = self.db.get_pinned_cf_opt(&self.family, &key, options)?;
        if deletions.is_none() {
            return Ok(Answer::<R>::of_one_row(self.command, clustering, row.as_deref())?);
        }
        let mut answer = Answer::<R>::new(self.command, decode_deletions(deletions.as_deref())?);
        if let Some(row) = row {
            answer.push(clustering, &row)?;
        }
        Ok(answer.finish()?)
    }

    /// Reads everything at one sequence number.
    fn several_points<R: Rows>(&self, options: &ReadOptions) -> Result<R::Output, Interrupted> {
        let keys = self.point_keys();
        let values = self.db.batched_multi_get_cf_opt(&self.family, keys.iter(), true, options);
        self.answer_points::<R>(values)
    }

    /// The keys that a read of single rows needs, ascending: deletions, static row, rows.
    fn point_keys(&self) -> Vec<Vec<u8>> {
        let mut keys = Vec::with_capacity(2 + self.command.slices.len());
        keys.push(self.partition_key(DELETIONS, 0));
        if self.command.static_row {
            let mut key = self.partition_key(ROWS, 1);
            key.push(STATIC);
            keys.push(key);
        }
        for slice in &self.command.slices {
            let mut key = self.partition_key(ROWS, slice.start.len());
            key.extend_from_slice(&slice.start);
            keys.push(key);
        }
        keys
    }

    /// The answer when these are the values of [`Read::point_keys`].
    fn answer_points<R: Rows>(&self, values: Vec<Found<'_>>) -> Result<R::Output, Interrupted> {
        let command = self.command;
        let mut values = values.into_iter();
        let mut next = || values.next().transpose().map(Option::flatten);
        let deletions = next()?;
        let mut answer = Answer::<R>::new(command, decode_deletions(deletions.as_deref())?);
        if command.static_row
            && let Some(row) = next()?
        {
            answer.set_static_row(&row)?;
        }
        let mut rows = Vec::with_capacity(command.slices.len());
        for slice in &command.slices {
            rows.push((&slice.start, next()?));
        }
        if command.reversed {
            rows.reverse();
        }
        for (clustering, row) in rows {
            if let Some(row) = row
                && !answer.push(clustering, &row)?
            {
                break;
            }
        }
        Ok(answer.finish()?)
    }

    /// Reads any slices with one iterator.
    fn slices<R: Rows>(&self, tier: ReadTier) -> Result<R::Output, Interrupted> {
        let command = self.command;
        let mut key = self.partition_key(ROWS, 64);
        let prefix = key.len();
        let mut options = ReadOptions::default();
        options.set_read_tier(tier);
        // No clustering key starts with ff: what comes after the partition is not looked at.
        options.set_iterate_upper_bound([&key[..], &[0xff]].concat());
        let mut iterator = self.db.raw_iterator_cf_opt(&self.family, options);
        // Asked after the iterator's view was taken: whatever is in the view has been counted.
        let deletions = if self.table.deletions.now() > 0 {
            let deletions = self.partition_key(DELETIONS, 0);
            decode_deletions(seek_exactly(&mut iterator, &deletions)?)?
        } else {
            PartitionDeletions::default()
        };
        let mut answer = Answer::<R>::new(command, deletions);
        if command.static_row {
            key.push(STATIC);
            if let Some(row) = seek_exactly(&mut iterator, &key)? {
                answer.set_static_row(row)?;
            }
        }
        let mut slices: Vec<&Slice> = command.slices.iter().collect();
        if command.reversed {
            slices.reverse();
        }
        for slice in slices {
            key.truncate(prefix);
            let go_on = if command.reversed {
                backwards(&mut iterator, &mut key, slice, &mut answer)?
            } else {
                forwards(&mut iterator, &mut key, slice, &mut answer)?
            };
            if !go_on {
                break;
            }
        }
        Ok(answer.finish()?)
    }

    fn partition_key(&self, region: u8, room: usize) -> Vec<u8> {
        let partition = &self.command.partition;
        let mut key = Vec::with_capacity(crate::layout::PREFIX_BYTES + 3 + partition.bytes.len() + room);
        put_partition(&mut key, region, partition);
        key
    }
}

type RawIterator<'a> = DBRawIteratorWithThreadMode<'a, DB>;

/// The value of exactly this key.
fn seek_exactly<'i>(iterator: &'i mut RawIterator<'_>, key: &[u8]) -> Result<Option<&'i [u8]>, Interrupted> {
    iterator.seek(key);
    match iterator.item() {
        Some((found, value)) => Ok((found == key).then_some(value)),
        None => iterator.status().map(|()| None).map_err(Interrupted::from),
    }
}

/// Pushes the rows of a slice; false when a limit ended the read. `key` holds the partition's prefix.
fn forwards<R: Rows>(
    iterator: &mut RawIterator<'_>,
    key: &mut Vec<u8>,
    slice: &Slice,
    answer: &mut Answer<'_, R>,
) -> Result<bool, Interrupted> {
    let prefix = key.len();
    // The static row is not in any slice.
    key.extend_from_slice(if slice.start.as_ref() <= [STATIC].as_slice() { &[STATIC, 0] } else { &slice.start });
    iterator.seek(&key);
    while let Some((found, row)) = iterator.item() {
        if !found.starts_with(&key[..prefix]) || &found[prefix..] >= slice.end.as_ref() {
            return Ok(true);
        }
        if !answer.push(&found[prefix..], row)? {
            return Ok(false);
        }
        iterator.next();
    }
    iterator.status()?;
    Ok(true)
}

/// As [`forwards`], from the end of the slice to its start.
fn backwards<R: Rows>(
    iterator: &mut RawIterator<'_>,
    key: &mut Vec<u8>,
    slice: &Slice,
    answer: &mut Answer<'_, R>,
) -> Result<bool, Interrupted> {
    let prefix = key.len();
    key.extend_from_slice(&slice.end);
    iterator.seek_for_prev(&key);
    while let Some((found, row)) = iterator.item() {
        let Some(clustering) = found.strip_prefix(&key[..prefix]) else { return Ok(true) };
        if clustering < slice.start.as_ref() || clustering <= [STATIC].as_slice() {
            return Ok(true);
        }
        // The first one found may be the end itself, which is not in the slice.
        if clustering < slice.end.as_ref() && !answer.push(clustering, row)? {
            return Ok(false);
        }
        iterator.prev();
    }
    iterator.status()?;
    Ok(true)
}

/// The one clustering key in a slice, when there can be only one.
fn point(slice: &Slice) -> Option<&Bytes> {
    let (last, start) = slice.end.split_last()?;
    (*last == 0 && start == slice.start && crate::layout::is_clustering(start)).then_some(&slice.start)
}

fn decode_deletions(stored: Option<&[u8]>) -> Result<PartitionDeletions, CodecError> {
    stored.map_or(Ok(PartitionDeletions::default()), |stored| {
        PartitionDeletions::from_bytes(&Bytes::copy_from_slice(stored))
    })
}

/// True for a command of single rows, not too many.
fn are_points(command: &ReadCommand) -> bool {
    command.slices.len() <= POINTS_MAX && command.slices.iter().all(|slice| point(slice).is_some())
}

fn check_command(command: &ReadCommand) -> Result<(), StorageError> {
    command.validate().map_err(|error| StorageError::Invalid(format!("read: {error}")))
}
