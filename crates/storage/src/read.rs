//! The read path. Every read is of one partition at one consistent view: a point read is one `Get`, several
//! keys are one `MultiGet` (one sequence number for all of them), slices are one iterator.
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
use model::answer::Answer;
use model::codec::{CodecError, Decode};
use model::deletion::PartitionDeletions;
use model::read::Slice;
use model::{ReadCommand, ReadData};
use node::storage::StorageError;
use rocksdb::{BoundColumnFamily, DB, DBRawIteratorWithThreadMode, ReadOptions, ReadTier};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// More point slices than this are read with an iterator.
const POINTS_MAX: usize = 64;

/// Why a read ended without an answer.
enum Interrupted {
    /// It would have to wait for the disk.
    NotCached,
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
        Interrupted::Failed(StorageError::Corrupt(format!("a stored value cannot be decoded: {error}")))
    }
}

impl Inner {
    /// Reads with `options`, which are of `tier`; `None` when that would have to wait for the disk and may
    /// not.
    pub(crate) fn read(
        &self,
        command: &ReadCommand,
        options: &ReadOptions,
        tier: ReadTier,
    ) -> Result<Option<ReadData>, StorageError> {
        check_command(command)?;
        let table = self.table(command.table)?;
        let family = self.db.cf_handle(&table.name).ok_or_else(|| unknown_table(command.table))?;
        let points = command.slices.len() <= POINTS_MAX && command.slices.iter().all(|slice| point(slice).is_some());
        let read = Read { db: &self.db, family, table: &table, command };
        let outcome = if points { read.points(options) } else { read.slices(tier) };
        match outcome {
            Ok(data) => {
                if matches!(tier, ReadTier::BlockCache) {
                    table.reads.cached.fetch_add(1, Ordering::Relaxed);
                }
                Ok(Some(data))
            }
            Err(Interrupted::NotCached) => {
                table.reads.missed.fetch_add(1, Ordering::Relaxed);
                Ok(None)
            }
            Err(Interrupted::Failed(error)) => Err(error),
        }
    }
}

struct Read<'a> {
    db: &'a DB,
    family: Arc<BoundColumnFamily<'a>>,
    table: &'a Table,
    command: &'a ReadCommand,
}

impl Read<'_> {
    /// Reads single rows.
    fn points(&self, options: &ReadOptions) -> Result<ReadData, Interrupted> {
        let [slice] = &self.command.slices[..] else { return self.several_points(options) };
        let before = self.table.deletions.now();
        if self.command.static_row || before % 2 == 1 {
            return self.several_points(options);
        }
        let data = self.point(options, &slice.start, before > 0)?;
        if self.table.deletions.now() == before {
            return Ok(data);
        }
        self.several_points(options)
    }

    /// Reads one row with plain gets.
    fn point(&self, options: &ReadOptions, clustering: &Bytes, with_deletions: bool) -> Result<ReadData, Interrupted> {
        let mut deletions = None;
        if with_deletions {
            let key = self.partition_key(DELETIONS, 0);
            deletions = self.db.get_pinned_cf_opt(&self.family, &key, options)?;
        }
        let mut key = self.partition_key(ROWS, clustering.len());
        key.extend_from_slice(clustering);
        let row = self.db.get_pinned_cf_opt(&self.family, &key, options)?;
        if deletions.is_none() {
            return Ok(row.map_or_else(ReadData::default, |row| Answer::of_one_row(clustering, &row)));
        }
        let mut answer = Answer::new(self.command, decode_deletions(deletions.as_deref())?);
        if let Some(row) = row {
            answer.push(clustering, &row)?;
        }
        Ok(answer.finish())
    }

    /// Reads everything at one sequence number.
    fn several_points(&self, options: &ReadOptions) -> Result<ReadData, Interrupted> {
        let command = self.command;
        // Ascending, as `MultiGet` is told: deletions, static row, rows.
        let mut keys = Vec::with_capacity(2 + command.slices.len());
        keys.push(self.partition_key(DELETIONS, 0));
        if command.static_row {
            let mut key = self.partition_key(ROWS, 1);
            key.push(STATIC);
            keys.push(key);
        }
        for slice in &command.slices {
            let mut key = self.partition_key(ROWS, slice.start.len());
            key.extend_from_slice(&slice.start);
            keys.push(key);
        }
        let mut values = self.db.batched_multi_get_cf_opt(&self.family, keys.iter(), true, options).into_iter();
        let mut next = || values.next().transpose().map(Option::flatten);
        let deletions = next()?;
        let mut answer = Answer::new(command, decode_deletions(deletions.as_deref())?);
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
        Ok(answer.finish())
    }

    /// Reads any slices with one iterator.
    fn slices(&self, tier: ReadTier) -> Result<ReadData, Interrupted> {
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
        let mut answer = Answer::new(command, deletions);
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
        Ok(answer.finish())
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
fn forwards(
    iterator: &mut RawIterator<'_>,
    key: &mut Vec<u8>,
    slice: &Slice,
    answer: &mut Answer<'_>,
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
fn backwards(
    iterator: &mut RawIterator<'_>,
    key: &mut Vec<u8>,
    slice: &Slice,
    answer: &mut Answer<'_>,
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

fn check_command(command: &ReadCommand) -> Result<(), StorageError> {
    let ascending = command.slices.windows(2).all(|pair| pair[0].end <= pair[1].start);
    let sound = ascending && command.slices.iter().all(|slice| slice.start < slice.end);
    if command.slices.is_empty() || !sound || command.row_limit == 0 || command.bytes_limit == 0 {
        return Err(StorageError::Invalid("a read needs ascending slices and limits".to_owned()));
    }
    Ok(())
}
