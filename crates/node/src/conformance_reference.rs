//! The reference of the conformance suite: what every store holds, as decoded rows in ordered maps, and
//! random histories for it.

use bytes::Bytes;
use model::codec::{Decode, Encode};
use model::counter::{self, Shard};
use model::deletion::{Deletion, PartitionDeletions};
use model::read::Slice;
use model::row::Expiry;
use model::scan::{PartitionRecord, PositionWithin, ScanPosition};
use model::{
    Cell, CellState, ColumnId, ComplexColumn, Liveness, Mutation, NodeId, PartitionKey, ReadCommand, ReadData, Record,
    RecordKey, Rng, Row, ScanCommand, ScanData, TableId, Token, TokenRange,
};
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::storage::StorageError;

/// A store in the most naive form.
#[derive(Default)]
pub(super) struct Reference {
    partitions: BTreeMap<(TableId, PartitionKey), Partition>,
}

#[derive(Default)]
struct Partition {
    deletions: PartitionDeletions,
    static_row: Row,
    rows: BTreeMap<Bytes, Row>,
}

impl Reference {
    /// Merges a mutation.
    pub(super) fn apply(&mut self, mutation: &Mutation) {
        let partition = self.partitions.entry((mutation.table, mutation.partition.clone())).or_default();
        for record in &mutation.records {
            let row = || Row::from_bytes(&record.value).unwrap();
            match &record.key {
                RecordKey::Deletions => {
                    let deletions = PartitionDeletions::from_bytes(&record.value).unwrap();
                    partition.deletions = partition.deletions.merge(&deletions);
                }
                RecordKey::Static => partition.static_row = std::mem::take(&mut partition.static_row).merge(row()),
                RecordKey::Row(clustering) => {
                    let stored = partition.rows.remove(clustering).unwrap_or_default();
                    partition.rows.insert(clustering.clone(), stored.merge(row()));
                }
            }
        }
    }

    /// Reads by looking at everything.
    pub(super) fn read(&self, command: &ReadCommand) -> ReadData {
        let empty = Partition::default();
        let partition = self.partitions.get(&(command.table, command.partition.clone())).unwrap_or(&empty);
        let mut data = ReadData::default();
        if command.static_row {
            let mut row = partition.static_row.clone();
            partition.deletions.partition().into_iter().for_each(|deletion| row.delete(deletion));
            data.static_row = (!row.is_empty()).then(|| row.to_bytes());
        }
        let mut rows: Vec<(Bytes, Row)> = Vec::new();
        for (clustering, row) in &partition.rows {
            let mut row = row.clone();
            partition.deletions.covering(clustering).into_iter().for_each(|deletion| row.delete(deletion));
            if !row.is_empty() && command.slices.iter().any(|slice| slice.contains(clustering)) {
                rows.push((clustering.clone(), row));
            }
        }
        if command.reversed {
            rows.reverse();
        }
        let (mut live, mut bytes) = (0, 0);
        for (clustering, row) in rows {
            let encoded = row.to_bytes();
            live += u32::from(row.is_live(i64::from(command.now_seconds)));
            bytes += clustering.len() + encoded.len();
            data.rows.push((clustering.clone(), encoded));
            if live >= command.row_limit || bytes as u64 >= u64::from(command.bytes_limit) {
                data.more = command.after(&clustering, 1).is_some();
                break;
            }
        }
        data.deletions = read_part(&partition.deletions, command, data.rows.last().filter(|_| data.more));
        let rows = data.static_row.iter().chain(data.rows.iter().map(|(_, row)| row));
        data.tombstones = rows.map(|row| tombstones(row, command.now_seconds)).sum();
        data.tombstones += data.deletions.ranges().len() as u32 + u32::from(data.deletions.partition().is_some());
        data
    }

    /// Scans by reading every partition with what is left of the limits.
    pub(super) fn scan(&self, command: &ScanCommand) -> ScanData {
        let mut page = ScanData::default();
        let (mut rows_left, mut bytes_left) = (command.row_limit, i64::from(command.bytes_limit));
        for (table, partition) in self.partitions.keys() {
            if *table != command.table || !command.range.contains(partition.token) {
                continue;
            }
            let mut read = ReadCommand {
                table: command.table,
                partition: partition.clone(),
                slices: command.slices.clone(),
                reversed: false,
                static_row: command.static_row,
                row_limit: command.per_partition_limit,
                bytes_limit: 1,
                now_seconds: command.now_seconds,
                gc_before_seconds: 0,
                dropped_columns: Vec::new(),
                tombstone_limit: u32::MAX,
            };
            let mut begun = false;
            if let Some(resume) = command.resume.as_ref().filter(|resume| *partition <= resume.partition) {
                let within = resume.within.as_ref().filter(|_| *partition == resume.partition);
                let Some(rest) = within.and_then(|within| read.after(&within.last, within.rows_left)) else { continue };
                (read, begun) = (rest, true);
            }
            let allowance = read.row_limit;
            read.row_limit = allowance.min(rows_left);
            read.bytes_limit = u32::try_from(bytes_left - partition.bytes.len() as i64 - 32).unwrap_or(1).max(1);
            let data = self.read(&read);
            if data == ReadData::default() {
                continue;
            }
            let live = data.rows.iter().filter(|(_, row)| is_live(row, command.now_seconds)).count() as u32;
            let fixed = data.static_row.as_ref().is_some_and(|row| is_live(row, command.now_seconds));
            rows_left = rows_left.saturating_sub(if live == 0 && fixed && !begun { 1 } else { live });
            let ranges = data.deletions.ranges().iter().map(|range| range.start.len() + range.end.len() + 16);
            let rows = data.rows.iter().map(|(clustering, row)| clustering.len() + row.len());
            let fixed = data.static_row.as_ref().map_or(0, Bytes::len);
            bytes_left -= (partition.bytes.len() + 32 + fixed + ranges.chain(rows).sum::<usize>()) as i64;
            let rest = allowance.saturating_sub(live);
            let within = data.rows.last().filter(|_| data.more && rest > 0);
            let within = within.map(|(last, _)| PositionWithin { last: last.clone(), rows_left: rest });
            page.partitions.push((partition.clone(), data));
            if rows_left == 0 || bytes_left <= 0 {
                page.next = Some(ScanPosition { partition: partition.clone(), within });
                break;
            }
        }
        page
    }

    /// Everything of a table as it is stored.
    pub(super) fn records(&self, table: TableId) -> Vec<PartitionRecord> {
        let mut records = Vec::new();
        for ((_, key), partition) in self.partitions.iter().filter(|((id, _), _)| *id == table) {
            let mut add = |record| records.push(PartitionRecord { partition: key.clone(), record });
            if !partition.deletions.is_empty() {
                add(Record::deletions(&partition.deletions));
            }
            if !partition.static_row.is_empty() {
                add(Record { key: RecordKey::Static, value: partition.static_row.to_bytes() });
            }
            for (clustering, row) in partition.rows.iter().filter(|(_, row)| !row.is_empty()) {
                add(Record::row(clustering.clone(), row));
            }
        }
        records
    }
}

/// Checks an answer that may be refused for its tombstones.
pub(super) fn assert_answer(
    found: Result<ReadData, StorageError>,
    expected: ReadData,
    tombstone_limit: u32,
    context: &str,
) {
    if expected.tombstones > tombstone_limit {
        assert!(matches!(found, Err(StorageError::TooManyTombstones { .. })), "{context}: {found:?}");
    } else {
        assert_eq!(found, Ok(expected), "{context}");
    }
}

/// True when a reader sees the encoded row.
pub(super) fn is_live(row: &Bytes, now_seconds: u32) -> bool {
    Row::from_bytes(row).unwrap().is_live(i64::from(now_seconds))
}

/// The tombstones of an encoded row.
pub(super) fn tombstones(row: &Bytes, now_seconds: u32) -> u32 {
    let (row, now) = (Row::from_bytes(row).unwrap(), i64::from(now_seconds));
    let mark = row.liveness().is_some_and(|liveness| !liveness.is_live(now));
    let elements = row.complex().iter().flat_map(|(_, column)| column.cells().iter().map(|(_, cell)| cell));
    let cells = row.cells().iter().map(|(_, cell)| cell).chain(elements);
    let dead = cells.filter(|cell| cell.value(now).is_none()).count();
    let columns = row.complex().iter().filter(|(_, column)| column.deletion().is_some()).count();
    u32::from(row.deletion().is_some()) + u32::from(mark) + (dead + columns) as u32
}

/// The deletions in what was read, by taking every range apart at every slice.
fn read_part(all: &PartitionDeletions, command: &ReadCommand, last: Option<&(Bytes, Bytes)>) -> PartitionDeletions {
    let mut part = all.partition().map_or_else(PartitionDeletions::default, PartitionDeletions::of_partition);
    for range in all.ranges() {
        for slice in &command.slices {
            let (mut start, mut end) = (range.start.clone().max(slice.start.clone()), range.end.clone());
            end = end.min(slice.end.clone());
            match last {
                Some((last, _)) if command.reversed => start = start.max(last.clone()),
                Some((last, _)) => end = end.min(Bytes::from([last, &[0][..]].concat())),
                None => {}
            }
            part = part.merge(&PartitionDeletions::of_range(start, end, range.deletion));
        }
    }
    part
}

fn random_partition(rng: &mut Rng) -> PartitionKey {
    let names: [&[u8]; 8] = [b"", b"a", b"aa", b"b", b"\x00", b"\xff\xff", b"a\x00", b"some longer partition key"];
    let key = PartitionKey::new(Bytes::from_static(names[rng.index(names.len())]));
    // Two that share a token with one of the others, as if the hash collided.
    if rng.chance(100) { PartitionKey { token: PartitionKey::new(Bytes::new()).token, ..key } } else { key }
}

/// Among them keys that are prefixes of others.
fn random_clustering(rng: &mut Rng) -> Bytes {
    let mut key = vec![0x40, rng.below(12) as u8];
    if rng.chance(300) {
        key.extend_from_slice(&[0x40, rng.below(4) as u8]);
    }
    if rng.chance(900) {
        key.push(0x38);
    }
    if rng.chance(30) { Bytes::from_static(&[0x38]) } else { Bytes::from(key) }
}

fn random_timestamp(rng: &mut Rng) -> i64 {
    match rng.below(20) {
        0 => i64::MIN,
        1 => i64::MAX,
        _ => rng.below(40) as i64,
    }
}

/// Seconds of an epoch of [`random_mutation_of`].
pub(super) const EPOCH_SECONDS: u32 = 100;

fn random_deletion(rng: &mut Rng) -> Deletion {
    // Not the largest timestamp: nothing would ever be seen again.
    let timestamp = random_timestamp(rng).min(20 + rng.below(20) as i64);
    Deletion { timestamp, local_seconds: rng.below(3) as u32 }
}

fn random_expiry(rng: &mut Rng) -> Expiry {
    Expiry { ttl_seconds: rng.below(3) as u32, at_seconds: 90 + rng.below(20) as u32 }
}

fn random_row(rng: &mut Rng) -> Row {
    let cell = |rng: &mut Rng| {
        let length = if rng.chance(20) { 3_000 } else { rng.below(12) };
        let value = Bytes::from(vec![rng.below(3) as u8; length as usize]);
        let state = match rng.below(4) {
            0 => CellState::Tombstone(rng.below(3) as u32),
            1 => CellState::Expiring(random_expiry(rng), Some(value)),
            _ => CellState::Live(value),
        };
        (ColumnId(rng.below(5) as u32), Cell { timestamp: random_timestamp(rng), state })
    };
    let cells = (0..rng.below(4)).map(|_| cell(rng)).collect();
    let liveness = rng.chance(500).then(|| {
        let expiry = rng.chance(300).then(|| random_expiry(rng));
        Liveness { timestamp: random_timestamp(rng), expiry }
    });
    let deletion = rng.chance(100).then(|| random_deletion(rng));
    let columns: Vec<_> = (0..rng.below(8).saturating_sub(5)).map(|_| random_complex_column(rng)).collect();
    Row::new(liveness, deletion, cells).with_complex(columns)
}

/// A change of a collection's elements, its overwriting or deletion, or a counter's shard.
fn random_complex_column(rng: &mut Rng) -> (ColumnId, ComplexColumn) {
    if rng.chance(300) {
        let (node, clock) = (NodeId(1 + u128::from(rng.below(3))), random_timestamp(rng));
        let shard = Shard { node, clock, count: rng.below(9) as i64 - 4 };
        let change = if rng.chance(20) { counter::deleted(rng.below(3) as u32) } else { shard.to_column() };
        return (ColumnId(9), change);
    }
    let timestamp = random_timestamp(rng);
    let element = |rng: &mut Rng| {
        let path = Bytes::from(vec![rng.below(3) as u8; rng.below(3) as usize]);
        let value = Bytes::from(vec![rng.below(3) as u8; rng.below(4) as usize]);
        let cell = match rng.below(4) {
            0 => Cell::tombstone(timestamp, rng.below(3) as u32),
            1 => Cell::expiring(timestamp, value, random_expiry(rng)),
            _ => Cell::live(timestamp, value),
        };
        (path, cell)
    };
    let cells = (0..rng.below(4)).map(|_| element(rng)).collect();
    let column = match rng.below(4) {
        0 => ComplexColumn::overwritten(timestamp.min(40), rng.below(3) as u32, cells),
        1 => ComplexColumn::new(Some(random_deletion(rng)), cells),
        _ => ComplexColumn::new(None, cells),
    };
    (ColumnId(6 + rng.below(3) as u32), column)
}

/// A mutation of one of a few partitions.
pub(super) fn random_mutation(rng: &mut Rng, table: TableId) -> Arc<Mutation> {
    let partition = random_partition(rng);
    let mut records = BTreeMap::new();
    for _ in 0..rng.between(1, 4) {
        let record = match rng.below(20) {
            0 => Record::deletions(&PartitionDeletions::of_partition(random_deletion(rng))),
            1..=2 => {
                let (start, end) = (random_clustering(rng), random_clustering(rng));
                Record::deletions(&PartitionDeletions::of_range(start, end, random_deletion(rng)))
            }
            3..=4 => Record { key: RecordKey::Static, value: random_row(rng).to_bytes() },
            _ => Record::row(random_clustering(rng), &random_row(rng)),
        };
        records.insert(record.key.clone(), record);
    }
    Arc::new(Mutation { table, partition, records: records.into_values().collect() })
}

/// As [`random_mutation`], written in an epoch: its timestamps and seconds are of the epoch, and above those of
/// the ones before.
pub(super) fn random_mutation_of(rng: &mut Rng, table: TableId, epoch: u32) -> Arc<Mutation> {
    let mutation = random_mutation(rng, table);
    let (seconds, timestamps) = (epoch * EPOCH_SECONDS, i64::from(epoch) * 1_000);
    let deletion = |old: Deletion| Deletion {
        timestamp: timestamps + old.timestamp.clamp(0, 99),
        local_seconds: seconds + old.local_seconds,
    };
    let expiry = |old: Expiry| {
        let ttl_seconds = old.at_seconds % 7 * 50;
        Expiry { ttl_seconds, at_seconds: seconds + ttl_seconds + old.ttl_seconds }
    };
    let row = |value: &Bytes| {
        let row = Row::from_bytes(value).unwrap();
        let cell = |cell: &Cell| {
            let state = match cell.state.clone() {
                CellState::Tombstone(local_seconds) => CellState::Tombstone(seconds + local_seconds),
                CellState::Expiring(old, value) => CellState::Expiring(expiry(old), value),
                live => live,
            };
            Cell { timestamp: timestamps + cell.timestamp.clamp(0, 99), state }
        };
        let liveness = row
            .liveness()
            .map(|old| Liveness { timestamp: timestamps + old.timestamp.clamp(0, 99), expiry: old.expiry.map(expiry) });
        let cells = row.cells().iter().map(|(id, old)| (*id, cell(old)));
        let complex = row.complex().iter().map(|(id, column)| {
            let cells = column.cells().iter().map(|(path, old)| (path.clone(), cell(old)));
            (*id, ComplexColumn::new(column.deletion().map(deletion), cells.collect()))
        });
        let row = Row::new(liveness, row.deletion().map(deletion), cells.collect()).with_complex(complex);
        row.to_bytes()
    };
    let records = mutation.records.iter().map(|record| {
        let value = match record.key {
            RecordKey::Static | RecordKey::Row(_) => row(&record.value),
            RecordKey::Deletions => {
                let old = PartitionDeletions::from_bytes(&record.value).unwrap();
                let ranges = old.ranges().iter().map(|range| {
                    PartitionDeletions::of_range(range.start.clone(), range.end.clone(), deletion(range.deletion))
                });
                let whole = old.partition().map(|old| PartitionDeletions::of_partition(deletion(old)));
                ranges.chain(whole).fold(PartitionDeletions::default(), |all, one| all.merge(&one)).to_bytes()
            }
        };
        Record { key: record.key.clone(), value }
    });
    Arc::new(Mutation { table, partition: mutation.partition.clone(), records: records.collect() })
}

/// A read of one of the same partitions.
pub(super) fn random_command(rng: &mut Rng, table: TableId) -> ReadCommand {
    let after = |key: &Bytes| Bytes::from([key, &[0][..]].concat());
    let mut slices = Vec::new();
    match rng.below(4) {
        0 => slices.push(Slice::all()),
        1 => {
            let start = random_clustering(rng);
            slices.push(Slice { end: after(&start), start });
        }
        kind => {
            let mut cuts: Vec<Bytes> = (0..rng.between(1, 3) * 2).map(|_| random_clustering(rng)).collect();
            cuts.sort();
            cuts.dedup();
            if kind == 2 {
                // A key and the zero byte after it may be a key itself: slices would overlap.
                let points = cuts.iter().map(|cut| Slice { start: cut.clone(), end: after(cut) });
                slices.extend(points);
            } else {
                slices.extend(cuts.chunks_exact(2).map(|pair| Slice { start: pair[0].clone(), end: pair[1].clone() }));
            }
        }
    }
    slices.dedup_by(|next, previous| next.start < previous.end);
    if slices.is_empty() {
        slices.push(Slice::all());
    }
    ReadCommand {
        table,
        partition: random_partition(rng),
        slices,
        reversed: rng.chance(400),
        static_row: rng.chance(500),
        row_limit: if rng.chance(500) { rng.between(1, 8) as u32 } else { u32::MAX },
        bytes_limit: if rng.chance(200) { rng.between(1, 200) as u32 } else { u32::MAX },
        now_seconds: 85 + rng.below(30) as u32,
        gc_before_seconds: 0,
        dropped_columns: Vec::new(),
        tombstone_limit: u32::MAX,
    }
}

/// As [`random_command`], with a limit of tombstones that some answers reach.
pub(super) fn random_limited_command(rng: &mut Rng, table: TableId) -> ReadCommand {
    let tombstone_limit = if rng.chance(100) { rng.below(20) as u32 } else { u32::MAX };
    ReadCommand { tombstone_limit, ..random_command(rng, table) }
}

/// A scan of a range between the same partitions.
pub(super) fn random_scan(rng: &mut Rng, table: TableId) -> ScanCommand {
    let bound = |rng: &mut Rng| match rng.below(4) {
        0 => Token::MINIMUM,
        1 => Token(i64::MAX),
        // Just before a partition, or at it.
        _ => Token(random_partition(rng).token.0 - rng.below(2) as i64),
    };
    let (a, b) = (bound(rng), bound(rng));
    let range = if a == b { TokenRange::ALL } else { TokenRange { start: a.min(b), end: a.max(b) } };
    let read = random_command(rng, table);
    ScanCommand {
        table,
        range,
        resume: None,
        slices: read.slices,
        static_row: read.static_row,
        row_limit: read.row_limit,
        per_partition_limit: if rng.chance(400) { rng.between(1, 4) as u32 } else { u32::MAX },
        bytes_limit: if rng.chance(400) { rng.between(1, 600) as u32 } else { u32::MAX },
        now_seconds: read.now_seconds,
        tombstone_limit: if rng.chance(100) { rng.below(40) as u32 } else { u32::MAX },
        bulk: rng.chance(300),
        dropped_columns: Vec::new(),
    }
}
