//! Comparing what replicas hold of a range of tokens, for anti-entropy repair: a page at a time, first by digests of
//! buckets, then by digests of the rows of a bucket, then by the rows that differ. One walk over the records yields all
//! three; it is made of scans ([`ScanCommand`]), so that it is the same for every implementation of storage.
//!
//! Invariants (`docs/protocol/repair.md`):
//! * A3: a digest is of the normal form by the command's purge, and does not depend on how records lie on disk, nor on
//!   the pages in which they are read: the deletions of a partition are cut at the ends of buckets, which the replicas
//!   of one comparison have in common.
//! * A4: a page is bounded by its limit of bytes, and says up to where it reaches.

use crate::codec::{CodecError, Decode, Encode, Reader, put_option, put_sequence, put_varint};
use crate::deletion::PartitionDeletions;
use crate::digest::RecordDigester;
use crate::garbage::Purge;
use crate::id::TableId;
use crate::key::PartitionKey;
use crate::read::{ReadData, Slice, put_drops, take_drops};
use crate::scan::{PositionWithin, ScanCommand, ScanPosition};
use crate::token::TokenRange;
use bytes::Bytes;
use std::cmp::Ordering;

/// Up to where a range has been compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComparePosition {
    /// The last partition.
    pub partition: PartitionKey,
    /// The last row of it, by its encoded clustering key; empty for what comes before all rows; `None` when the
    /// partition is done.
    pub row: Option<Bytes>,
}

/// What to compare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompareCommand {
    /// The table.
    pub table: TableId,
    /// The partitions: those whose tokens are in it.
    pub range: TokenRange,
    /// Where what came before has ended.
    pub after: Option<ComparePosition>,
    /// Buckets end here, and where the page ends: ascending, between `after` and `to`.
    pub ends: Vec<ComparePosition>,
    /// The last position that is wanted; `None` for all that is left of the range.
    pub to: Option<ComparePosition>,
    /// A bucket ends besides with the row that reaches this many bytes.
    pub bucket_bytes: u32,
    /// The page ends with the row that reaches this many bytes; at least 1.
    pub bytes_limit: u32,
    /// By what garbage is told.
    pub purge: Purge,
    /// What to answer with.
    pub detail: Detail,
}

/// What a comparison is answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Detail {
    /// A digest of each bucket.
    Buckets,
    /// A digest of each record.
    Records,
    /// The records named, as they are stored, with all deletions of their partitions.
    Data(Vec<WantedRecords>),
}

/// Records of a partition, by the hashes of their keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedRecords {
    /// The hash of the partition.
    pub partition: u64,
    /// The hashes of its records, ascending.
    pub records: Vec<u64>,
}

/// The records up to a position, together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// The last position in it; `None` for the end of the range.
    pub end: Option<ComparePosition>,
    /// The sum, modulo 2^128, of the digests of its records.
    pub digest: u128,
}

/// The records of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionDigests {
    /// The hash of the partition.
    pub partition: u64,
    /// For each record that is not garbage the hash of its key, and its digest.
    pub records: Vec<(u64, u128)>,
}

/// A page of a comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compared {
    /// What was asked for.
    pub content: Content,
    /// The last position in the page when its limit ended it; `None` when it holds all that was wanted.
    pub stopped: Option<ComparePosition>,
    /// Rows that were looked at, static ones among them.
    pub rows: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What a page holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Buckets, in order, without a gap.
    Buckets(Vec<Bucket>),
    /// Partitions, in order.
    Records(Vec<PartitionDigests>),
    /// Partitions, in order; `more` is false in each.
    Data(Vec<(PartitionKey, ReadData)>),
}

/// Most bytes that are read in one scan of a page.
const SCAN_BYTES: u32 = 256 * 1024;
/// What a row costs of the limit of bytes beside its key and value.
const ROW_BYTES: usize = 16;
/// What a partition costs of it.
const PARTITION_BYTES: usize = 32;

const HASHED_DELETIONS: u8 = 0;
const HASHED_STATIC: u8 = 1;
const HASHED_ROW: u8 = 2;

fn hash(bytes: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(bytes)
}

impl Ord for ComparePosition {
    fn cmp(&self, other: &ComparePosition) -> Ordering {
        self.partition.cmp(&other.partition).then_with(|| match (&self.row, &other.row) {
            (Some(row), Some(other)) => row.cmp(other),
            (None, None) => Ordering::Equal,
            (None, Some(_)) => Ordering::Greater,
            (Some(_), None) => Ordering::Less,
        })
    }
}

impl PartialOrd for ComparePosition {
    fn partial_cmp(&self, other: &ComparePosition) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl CompareCommand {
    /// Checks that it is a command that a replica can serve.
    ///
    /// # Errors
    /// When a part of it is not what it must be.
    pub fn validate(&self) -> Result<(), CodecError> {
        if self.range.start >= self.range.end {
            return Err(CodecError::Invalid("token range"));
        }
        if self.bytes_limit == 0 || self.bucket_bytes == 0 {
            return Err(CodecError::Invalid("limit"));
        }
        let positions: Vec<&ComparePosition> = self.after.iter().chain(&self.ends).chain(&self.to).collect();
        let inside = positions.iter().all(|position| self.range.contains(position.partition.token));
        if !inside || !positions.windows(2).all(|pair| pair[0] < pair[1]) {
            return Err(CodecError::Invalid("compare position"));
        }
        Ok(())
    }

    /// The scan that goes on at `resume`.
    fn scan(&self, resume: Option<ScanPosition>, bytes_left: u64) -> ScanCommand {
        let mut range = self.range;
        let mut slices = vec![Slice::all()];
        if let Some(to) = &self.to {
            range.end = to.partition.token;
            let same = |after: &ComparePosition| after.partition == to.partition;
            if let Some(row) = to.row.as_ref().filter(|_| self.after.as_ref().is_some_and(same)) {
                let all = Slice::all();
                let end = behind(row);
                slices = vec![if end > all.start { Slice { start: all.start, end } } else { Slice::nowhere() }];
            }
        }
        ScanCommand {
            table: self.table,
            range,
            resume,
            slices,
            static_row: true,
            row_limit: u32::MAX,
            per_partition_limit: u32::MAX,
            bytes_limit: u32::try_from(bytes_left).unwrap_or(u32::MAX).clamp(1, SCAN_BYTES),
            now_seconds: self.purge.now_seconds,
            tombstone_limit: u32::MAX,
            bulk: true,
            dropped_columns: self.purge.dropped_columns.clone(),
        }
    }
}

/// The first position behind a row.
fn behind(row: &Bytes) -> Bytes {
    Bytes::from([row.as_ref(), &[0]].concat())
}

/// Compares a page: `scan` executes a scan of the store.
///
/// # Errors
/// Those of `scan`, and when stored data is damaged.
pub fn compare<E: From<CodecError>>(
    command: &CompareCommand,
    mut scan: impl FnMut(&ScanCommand) -> Result<crate::scan::ScanData, E>,
) -> Result<Compared, E> {
    let within = |row: &Bytes| PositionWithin { last: row.clone(), rows_left: u32::MAX };
    let mut resume = command
        .after
        .as_ref()
        .map(|after| ScanPosition { partition: after.partition.clone(), within: after.row.as_ref().map(within) });
    let mut page = Page::new(command);
    loop {
        let left = u64::from(command.bytes_limit).saturating_sub(page.bytes);
        let scanned = scan(&command.scan(resume.clone(), left))?;
        let begun = resume.as_ref().filter(|resume| resume.within.is_some()).map(|resume| &resume.partition);
        for (key, data) in &scanned.partitions {
            page.partition(key, data, begun == Some(key))?;
            if page.ended {
                return Ok(page.finish());
            }
        }
        let Some(next) = scanned.next else {
            page.exhausted();
            return Ok(page.finish());
        };
        // What a scan leaves of its limit per partition has no meaning here.
        let within = next.within.as_ref().map(|next| within(&next.last));
        resume = Some(ScanPosition { within, ..next });
    }
}

/// A page in the making.
struct Page<'a> {
    command: &'a CompareCommand,
    digester: RecordDigester,
    content: Content,
    /// The boundaries that are still to come: ends of buckets, and the end of what is wanted.
    boundaries: std::iter::Peekable<Box<dyn Iterator<Item = &'a ComparePosition> + 'a>>,
    /// The digest of the bucket that is open, and its bytes.
    digest: u128,
    bucket_bytes: u64,
    /// The deletions of the partition that is being walked over, as far as they lie in the bucket.
    deletions: Option<(PartitionKey, PartitionDeletions)>,
    rows: u64,
    bytes: u64,
    stopped: Option<ComparePosition>,
    ended: bool,
}

impl<'a> Page<'a> {
    fn new(command: &'a CompareCommand) -> Page<'a> {
        let content = match &command.detail {
            Detail::Buckets => Content::Buckets(Vec::new()),
            Detail::Records => Content::Records(Vec::new()),
            Detail::Data(_) => Content::Data(Vec::new()),
        };
        let boundaries: Box<dyn Iterator<Item = &ComparePosition>> = Box::new(command.ends.iter().chain(&command.to));
        Page {
            command,
            digester: RecordDigester::new(command.purge.clone()),
            content,
            boundaries: boundaries.peekable(),
            digest: 0,
            bucket_bytes: 0,
            deletions: None,
            rows: 0,
            bytes: 0,
            stopped: None,
            ended: false,
        }
    }

    /// Takes a part of a partition; `begun` when an earlier part came before.
    fn partition(&mut self, key: &PartitionKey, data: &ReadData, begun: bool) -> Result<(), CodecError> {
        let mut low = Bytes::new();
        if !begun {
            self.flush_deletions();
            let position = ComparePosition { partition: key.clone(), row: Some(Bytes::new()) };
            self.pass(&position, false, &data.deletions, &mut low);
            if self.ended {
                return Ok(());
            }
            self.count(PARTITION_BYTES + key.bytes.len());
            if let Some(row) = &data.static_row {
                self.row(key, None, row)?;
            }
            self.pass(&position, true, &data.deletions, &mut low);
        }
        for (clustering, row) in &data.rows {
            let position = ComparePosition { partition: key.clone(), row: Some(clustering.clone()) };
            if !self.ended {
                self.pass(&position, false, &data.deletions, &mut low);
            }
            if self.ended {
                return Ok(());
            }
            self.row(key, Some(clustering), row)?;
            self.pass(&position, true, &data.deletions, &mut low);
            self.limit(&position, &data.deletions, &mut low);
        }
        if self.ended {
            return Ok(());
        }
        if data.more {
            // The deletions reach to the last row, and no further.
            self.take_deletions(key, &data.deletions, &mut low, None);
            return Ok(());
        }
        let position = ComparePosition { partition: key.clone(), row: None };
        self.pass(&position, false, &data.deletions, &mut low);
        if !self.ended {
            self.take_deletions(key, &data.deletions, &mut low, None);
            self.pass(&position, true, &PartitionDeletions::default(), &mut low);
            self.limit(&position, &PartitionDeletions::default(), &mut low);
        }
        Ok(())
    }

    /// Ends the buckets whose boundaries come before a position, or with `through` at it.
    fn pass(&mut self, position: &ComparePosition, through: bool, deletions: &PartitionDeletions, low: &mut Bytes) {
        while !self.ended
            && let Some(boundary) =
                self.boundaries.next_if(|boundary| *boundary < position || through && *boundary == position)
        {
            if boundary.partition == position.partition {
                self.take_deletions(&position.partition, deletions, low, boundary.row.as_ref());
            }
            self.close(Some(boundary));
            self.ended = self.command.to.as_ref() == Some(boundary);
        }
    }

    /// Ends the bucket, and the page, at a position when they are full.
    fn limit(&mut self, position: &ComparePosition, deletions: &PartitionDeletions, low: &mut Bytes) {
        if self.ended {
            return;
        }
        let full = self.bytes >= u64::from(self.command.bytes_limit);
        if full || self.bucket_bytes >= u64::from(self.command.bucket_bytes) {
            self.take_deletions(&position.partition, deletions, low, position.row.as_ref());
            self.close(Some(position));
        }
        if full {
            self.stopped = Some(position.clone());
            self.ended = true;
        }
    }

    /// Adds the deletions from `low` up to and including the row `to`, or all, to those of the partition in the bucket.
    fn take_deletions(
        &mut self,
        key: &PartitionKey,
        deletions: &PartitionDeletions,
        low: &mut Bytes,
        to: Option<&Bytes>,
    ) {
        let end = to.map_or_else(|| Slice::all().end, behind);
        let part = deletions.clip(low, &end);
        *low = end;
        let merged = match self.deletions.take() {
            Some((own, merged)) if own == *key => merged.merge(&part),
            _ => part,
        };
        self.deletions = Some((key.clone(), merged));
    }

    fn flush_deletions(&mut self) {
        let Some((key, deletions)) = self.deletions.take() else { return };
        if deletions == PartitionDeletions::default() {
            return;
        }
        let digest = self.digester.deletions(&key.bytes, &deletions);
        self.count(deletions.ranges().iter().map(|range| range.start.len() + range.end.len() + ROW_BYTES).sum());
        match &mut self.content {
            Content::Data(data) => {
                if wanted(&self.command.detail, &key).is_some() {
                    entry(data, &key).deletions = deletions;
                }
            }
            content => add(content, &mut self.digest, &key, hash(&[HASHED_DELETIONS]), digest),
        }
    }

    fn row(&mut self, key: &PartitionKey, clustering: Option<&Bytes>, row: &Bytes) -> Result<(), CodecError> {
        self.rows += 1;
        self.count(clustering.map_or(0, Bytes::len) + row.len() + ROW_BYTES);
        let record = match clustering {
            None => hash(&[HASHED_STATIC]),
            Some(clustering) => hash(&[&[HASHED_ROW], clustering.as_ref()].concat()),
        };
        match &mut self.content {
            Content::Data(data) => {
                let wanted = wanted(&self.command.detail, key);
                if wanted.is_some_and(|wanted| wanted.records.binary_search(&record).is_ok()) {
                    let entry = entry(data, key);
                    match clustering {
                        None => entry.static_row = Some(row.clone()),
                        Some(clustering) => entry.rows.push((clustering.clone(), row.clone())),
                    }
                }
            }
            content => {
                let digest = self.digester.row(&key.bytes, clustering.map(AsRef::as_ref), row)?;
                add(content, &mut self.digest, key, record, digest);
            }
        }
        Ok(())
    }

    fn count(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        self.bucket_bytes += bytes as u64;
    }

    fn close(&mut self, end: Option<&ComparePosition>) {
        self.flush_deletions();
        if let Content::Buckets(buckets) = &mut self.content {
            buckets.push(Bucket { end: end.cloned(), digest: self.digest });
        }
        (self.digest, self.bucket_bytes) = (0, 0);
    }

    /// The range has nothing more.
    fn exhausted(&mut self) {
        while let Some(boundary) = self.boundaries.next() {
            self.close(Some(boundary));
        }
        if self.command.to.is_none() {
            self.close(None);
        }
        self.ended = true;
    }

    fn finish(mut self) -> Compared {
        self.flush_deletions();
        Compared { content: self.content, stopped: self.stopped, rows: self.rows, bytes: self.bytes }
    }
}

/// Adds the digest of a record to a page of digests.
fn add(content: &mut Content, sum: &mut u128, key: &PartitionKey, record: u64, digest: Option<u128>) {
    let Some(digest) = digest else { return };
    *sum = sum.wrapping_add(digest);
    let Content::Records(partitions) = content else { return };
    let partition = hash(&key.bytes);
    match partitions.last_mut().filter(|last| last.partition == partition) {
        Some(last) => last.records.push((record, digest)),
        None => partitions.push(PartitionDigests { partition, records: vec![(record, digest)] }),
    }
}

/// What is wanted of a partition.
fn wanted<'a>(detail: &'a Detail, key: &PartitionKey) -> Option<&'a WantedRecords> {
    let Detail::Data(all) = detail else { return None };
    let index = all.binary_search_by_key(&hash(&key.bytes), |wanted| wanted.partition).ok()?;
    Some(&all[index])
}

fn entry<'a>(data: &'a mut Vec<(PartitionKey, ReadData)>, key: &PartitionKey) -> &'a mut ReadData {
    if data.last().is_none_or(|(last, _)| last != key) {
        data.push((key.clone(), ReadData::default()));
    }
    let last = data.len() - 1;
    &mut data[last].1
}

impl Encode for ComparePosition {
    fn encode(&self, out: &mut Vec<u8>) {
        self.partition.encode(out);
        put_option(out, self.row.as_ref());
    }
}

impl Decode for ComparePosition {
    fn decode(reader: &mut Reader) -> Result<ComparePosition, CodecError> {
        Ok(ComparePosition { partition: PartitionKey::decode(reader)?, row: reader.option()? })
    }
}

fn put_hash(out: &mut Vec<u8>, hash: u64) {
    out.extend_from_slice(&hash.to_be_bytes());
}

fn take_hash(reader: &mut Reader) -> Result<u64, CodecError> {
    reader.i64().map(|bits| bits as u64)
}

impl Encode for WantedRecords {
    fn encode(&self, out: &mut Vec<u8>) {
        put_hash(out, self.partition);
        put_varint(out, self.records.len() as u64);
        self.records.iter().for_each(|record| put_hash(out, *record));
    }
}

impl Decode for WantedRecords {
    fn decode(reader: &mut Reader) -> Result<WantedRecords, CodecError> {
        let partition = take_hash(reader)?;
        let records = (0..reader.count()?).map(|_| take_hash(reader)).collect::<Result<Vec<_>, _>>()?;
        Ok(WantedRecords { partition, records })
    }
}

impl Encode for CompareCommand {
    fn encode(&self, out: &mut Vec<u8>) {
        self.table.encode(out);
        self.range.encode(out);
        put_option(out, self.after.as_ref());
        put_sequence(out, &self.ends);
        put_option(out, self.to.as_ref());
        for number in [self.bucket_bytes, self.bytes_limit, self.purge.now_seconds, self.purge.gc_before_seconds] {
            number.encode(out);
        }
        put_drops(out, &self.purge.dropped_columns);
        match &self.detail {
            Detail::Buckets => out.push(0),
            Detail::Records => out.push(1),
            Detail::Data(wanted) => {
                out.push(2);
                put_sequence(out, wanted);
            }
        }
    }
}

impl Decode for CompareCommand {
    fn decode(reader: &mut Reader) -> Result<CompareCommand, CodecError> {
        let command = CompareCommand {
            table: TableId::decode(reader)?,
            range: TokenRange::decode(reader)?,
            after: reader.option()?,
            ends: reader.sequence()?,
            to: reader.option()?,
            bucket_bytes: reader.varint_u32()?,
            bytes_limit: reader.varint_u32()?,
            purge: Purge {
                now_seconds: reader.varint_u32()?,
                gc_before_seconds: reader.varint_u32()?,
                dropped_columns: take_drops(reader)?,
            },
            detail: match reader.u8()? {
                0 => Detail::Buckets,
                1 => Detail::Records,
                2 => Detail::Data(reader.sequence()?),
                _ => return Err(CodecError::Invalid("compare detail")),
            },
        };
        command.validate()?;
        Ok(command)
    }
}

impl Encode for Bucket {
    fn encode(&self, out: &mut Vec<u8>) {
        put_option(out, self.end.as_ref());
        self.digest.encode(out);
    }
}

impl Decode for Bucket {
    fn decode(reader: &mut Reader) -> Result<Bucket, CodecError> {
        Ok(Bucket { end: reader.option()?, digest: reader.u128()? })
    }
}

impl Encode for PartitionDigests {
    fn encode(&self, out: &mut Vec<u8>) {
        put_hash(out, self.partition);
        put_varint(out, self.records.len() as u64);
        for (record, digest) in &self.records {
            put_hash(out, *record);
            digest.encode(out);
        }
    }
}

impl Decode for PartitionDigests {
    fn decode(reader: &mut Reader) -> Result<PartitionDigests, CodecError> {
        let partition = take_hash(reader)?;
        let count = reader.count()?;
        let records =
            (0..count).map(|_| Ok((take_hash(reader)?, reader.u128()?))).collect::<Result<Vec<_>, CodecError>>()?;
        Ok(PartitionDigests { partition, records })
    }
}

impl Encode for Compared {
    fn encode(&self, out: &mut Vec<u8>) {
        put_option(out, self.stopped.as_ref());
        put_varint(out, self.rows);
        put_varint(out, self.bytes);
        match &self.content {
            Content::Buckets(buckets) => {
                out.push(0);
                put_sequence(out, buckets);
            }
            Content::Records(partitions) => {
                out.push(1);
                put_sequence(out, partitions);
            }
            Content::Data(partitions) => {
                out.push(2);
                put_varint(out, partitions.len() as u64);
                for (partition, data) in partitions {
                    partition.encode(out);
                    data.encode(out);
                }
            }
        }
    }
}

impl Decode for Compared {
    fn decode(reader: &mut Reader) -> Result<Compared, CodecError> {
        let (stopped, rows, bytes) = (reader.option()?, reader.varint()?, reader.varint()?);
        let content = match reader.u8()? {
            0 => Content::Buckets(reader.sequence()?),
            1 => Content::Records(reader.sequence()?),
            2 => {
                let mut partitions = Vec::new();
                for _ in 0..reader.count()? {
                    partitions.push((PartitionKey::decode(reader)?, ReadData::decode(reader)?));
                }
                Content::Data(partitions)
            }
            _ => return Err(CodecError::Invalid("compared content")),
        };
        Ok(Compared { content, stopped, rows, bytes })
    }
}

#[cfg(test)]
#[path = "compare_tests.rs"]
mod tests;
