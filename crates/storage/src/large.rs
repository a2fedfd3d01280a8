//! What is larger than is good for a node: partitions, rows, single values, collections, and reads that pass many
//! tombstones. The largest of each table are kept in memory for operators; they are noted where they are met, and
//! nothing is looked
//! for.
//!
//! * On a write or scan, rows from their encoded length: an ordinary one costs a comparison.
//! * On a read or scan, tombstones from the answer; and partitions that do not fit into it, from RocksDB's estimate of
//!   their size on disk.
//!
//! Bounded: [`KEPT`] of each kind and table, keys cut to [`KEY_BYTES`].

use bytes::Bytes;
use model::codec::Decode;
use model::{CellState, ColumnId, PartitionKey, Record, RecordKey, Row, TableId, Token};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Partitions beyond this many bytes on disk are noted (Cassandra's `partition_size_warn_threshold`).
const PARTITION_BYTES: u64 = 100 << 20;
/// Rows and single values beyond this many bytes are noted (ScyllaDB's warning for cells).
const ROW_BYTES: usize = 1 << 20;
/// Collections of more elements than this in one write or row are noted (ScyllaDB's warning).
const ELEMENTS: usize = 10_000;
/// A row of fewer bytes has fewer elements than that: each takes its path, kind, timestamp and length.
const ELEMENTS_BYTES: usize = 4 * ELEMENTS;
/// How many are kept of each kind and table.
const KEPT: usize = 16;
/// Longest part of a key that is kept.
const KEY_BYTES: usize = 256;
/// The log has at most one line of a kind and table in this time.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// In what respect something is large.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LargeKind {
    /// A partition: bytes on disk, estimated.
    Partition,
    /// A row as it was written: encoded bytes.
    Row,
    /// A value of a row: bytes.
    Cell,
    /// A collection or other complex column of a row: its elements.
    Collection,
    /// A read of a partition: tombstones that it passed.
    Tombstones,
}

/// Something that is larger than its kind should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Large {
    /// In what respect.
    pub kind: LargeKind,
    /// Bytes, elements or tombstones.
    pub size: u64,
    /// The token of the partition.
    pub token: Token,
    /// The key of the partition, or its beginning.
    pub partition: Bytes,
    /// The encoded clustering key of the row, or its beginning; empty for the static row and where no row is meant.
    pub clustering: Bytes,
    /// The column of a value or collection.
    pub column: Option<ColumnId>,
}

/// The largest that were met since the store was opened.
#[derive(Default)]
pub(crate) struct LargeTable {
    tables: Mutex<BTreeMap<(TableId, LargeKind), Met>>,
}

#[derive(Default)]
struct Met {
    /// Largest first; each place once.
    largest: Vec<Large>,
    logged: Option<Instant>,
}

impl LargeTable {
    /// The largest of each kind in a table, largest first within a kind.
    pub(crate) fn of(&self, table: TableId) -> Vec<Large> {
        let tables = self.tables.lock();
        let of_table = tables.range((table, LargeKind::Partition)..=(table, LargeKind::Tombstones));
        of_table.flat_map(|(_, met)| met.largest.iter().cloned()).collect()
    }

    /// About how many bytes a partition has on disk, if it is one of the largest.
    pub(crate) fn partition(&self, table: TableId, partition: &PartitionKey) -> Option<u64> {
        let tables = self.tables.lock();
        let met = tables.get(&(table, LargeKind::Partition))?;
        let cut = &partition.bytes[..partition.bytes.len().min(KEY_BYTES)];
        let own = |large: &&Large| large.token == partition.token && large.partition == cut;
        met.largest.iter().find(own).map(|large| large.size)
    }

    /// Forgets tables that `keep` does not accept.
    pub(crate) fn retain(&self, mut keep: impl FnMut(TableId) -> bool) {
        self.tables.lock().retain(|(table, _), _| keep(*table));
    }

    /// A record is written; nearly always it is small.
    #[inline]
    pub(crate) fn on_write(&self, table: TableId, partition: &PartitionKey, record: &Record) {
        if record.value.len() >= ELEMENTS_BYTES {
            match &record.key {
                RecordKey::Deletions => {}
                RecordKey::Static => self.note_row(table, partition, &[], &record.value),
                RecordKey::Row(clustering) => self.note_row(table, partition, clustering, &record.value),
            }
        }
    }

    /// Rows were read: what they have come to be may be larger than any write of them.
    pub(crate) fn on_read(&self, table: TableId, partition: &PartitionKey, rows: &[(Bytes, Bytes)]) {
        for (clustering, row) in rows.iter().filter(|(_, row)| row.len() >= ELEMENTS_BYTES) {
            self.note_row(table, partition, clustering, row);
        }
    }

    #[cold]
    fn note_row(&self, table: TableId, partition: &PartitionKey, clustering: &[u8], value: &Bytes) {
        if value.len() >= ROW_BYTES {
            self.note(table, LargeKind::Row, value.len() as u64, partition, clustering, None);
        }
        // It was checked before.
        let Ok(row) = Row::from_bytes(value) else { return };
        for (column, cell) in row.cells() {
            if let CellState::Live(value) | CellState::Expiring(_, Some(value)) = &cell.state
                && value.len() >= ROW_BYTES
            {
                self.note(table, LargeKind::Cell, value.len() as u64, partition, clustering, Some(*column));
            }
        }
        for (column, cells) in row.complex().iter().map(|(column, complex)| (column, complex.cells())) {
            if cells.len() > ELEMENTS {
                self.note(table, LargeKind::Collection, cells.len() as u64, partition, clustering, Some(*column));
            }
        }
    }

    /// A partition has about this many bytes on disk.
    pub(crate) fn on_partition(&self, table: TableId, partition: &PartitionKey, bytes: u64) {
        if bytes >= PARTITION_BYTES {
            self.note(table, LargeKind::Partition, bytes, partition, &[], None);
        }
    }

    /// A read passed more tombstones than is well.
    #[cold]
    pub(crate) fn on_tombstones(&self, table: TableId, partition: &PartitionKey, tombstones: u32) {
        self.note(table, LargeKind::Tombstones, u64::from(tombstones), partition, &[], None);
    }

    fn note(
        &self,
        table: TableId,
        kind: LargeKind,
        size: u64,
        partition: &PartitionKey,
        clustering: &[u8],
        column: Option<ColumnId>,
    ) {
        let cut = |key: &[u8]| Bytes::copy_from_slice(&key[..key.len().min(KEY_BYTES)]);
        let (token, clustering) = (partition.token, cut(clustering));
        let large = Large { kind, size, token, partition: cut(&partition.bytes), clustering, column };
        let mut tables = self.tables.lock();
        let met = tables.entry((table, kind)).or_default();
        if met.logged.is_none_or(|logged| logged.elapsed() >= LOG_INTERVAL) {
            met.logged = Some(Instant::now());
            let (partition, clustering) = (format!("{:x}", large.partition), format!("{:x}", large.clustering));
            tracing::warn!(%table, ?kind, size, partition, clustering, "larger than is good for a node");
        }
        let place = |other: &Large| (other.partition.clone(), other.clustering.clone(), other.column);
        let known = met.largest.iter().position(|other| place(other) == place(&large));
        match known {
            // What it is now: a partition shrinks by compaction too.
            Some(index) => met.largest[index] = large,
            None => met.largest.push(large),
        }
        met.largest.sort_by_key(|large| std::cmp::Reverse(large.size));
        met.largest.truncate(KEPT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::codec::Encode;
    use model::{Cell, ComplexColumn};

    const TABLE: TableId = TableId(1);

    fn partition(number: usize) -> PartitionKey {
        PartitionKey::new(Bytes::copy_from_slice(&number.to_be_bytes()))
    }

    #[test]
    fn the_largest_are_kept_once_each_and_in_order() {
        let met = LargeTable::default();
        for number in 0..100 {
            met.on_partition(TABLE, &partition(number), PARTITION_BYTES + (number as u64 * 37) % 100);
            met.on_partition(TABLE, &partition(number), PARTITION_BYTES - 1);
            met.on_partition(TableId(2), &partition(number), PARTITION_BYTES);
        }
        let largest = met.of(TABLE);
        let sizes: Vec<u64> = largest.iter().map(|large| large.size - PARTITION_BYTES).collect();
        assert_eq!(sizes, (100 - KEPT as u64..100).rev().collect::<Vec<_>>());
        let of = |number: usize| met.partition(TABLE, &partition(number));
        let known = (0..100).filter(|number| of(*number).is_some()).count();
        assert_eq!((known, met.partition(TableId(3), &partition(1))), (KEPT, None));
        let grown = PartitionKey::new(largest[5].partition.clone());
        met.on_partition(TABLE, &grown, 2 * PARTITION_BYTES);
        let largest = met.of(TABLE);
        assert_eq!((largest.len(), &largest[0].partition), (KEPT, &grown.bytes));
        assert_eq!(met.partition(TABLE, &grown), Some(2 * PARTITION_BYTES));
        met.retain(|table| table != TABLE);
        assert_eq!((met.of(TABLE).len(), met.of(TableId(2)).len()), (0, KEPT));
    }

    #[test]
    fn large_rows_and_their_large_values_are_noted_when_written() {
        let met = LargeTable::default();
        let row = |sizes: &[usize]| {
            let cell = |size: &usize| Cell::live(1, Bytes::from(vec![7; *size]));
            let cells = sizes.iter().enumerate().map(|(column, size)| (ColumnId(column as u32), cell(size)));
            Row::new(None, None, cells.collect())
        };
        let write = |clustering: Bytes, sizes: &[usize]| {
            met.on_write(TABLE, &partition(1), &Record::row(clustering, &row(sizes)));
        };
        write(Bytes::from_static(b"small"), &[ROW_BYTES / 2, 10]);
        assert_eq!(met.of(TABLE), []);
        write(Bytes::from_static(b"many"), &[ROW_BYTES / 2, ROW_BYTES / 2]);
        write(Bytes::from(vec![7; 1_000]), &[5, ROW_BYTES, 9]);
        let found: Vec<_> =
            met.of(TABLE).into_iter().map(|large| (large.kind, large.column, large.clustering)).collect();
        let key = Bytes::from(vec![7; KEY_BYTES]);
        let many = (LargeKind::Row, None, Bytes::from_static(b"many"));
        assert_eq!(found.len(), 3);
        assert!(found[..2].contains(&many) && found[..2].contains(&(LargeKind::Row, None, key.clone())));
        assert_eq!(found[2], (LargeKind::Cell, Some(ColumnId(1)), key));
        // A collection that grew element by element.
        let element =
            |number: usize| (Bytes::copy_from_slice(&(number as u32).to_be_bytes()), Cell::live(1, Bytes::new()));
        for (elements, noted) in [(ELEMENTS, 3), (ELEMENTS + 1, 4)] {
            let column = ComplexColumn::new(None, (0..elements).map(element).collect());
            let row = Row::default().with_complex([(ColumnId(7), column)]).to_bytes();
            assert!(row.len() >= ELEMENTS_BYTES);
            met.on_read(TABLE, &partition(2), &[(Bytes::from_static(b"grown"), row)]);
            assert_eq!(met.of(TABLE).len(), noted);
        }
        let last = met.of(TABLE).pop().unwrap();
        assert_eq!((last.kind, last.size, last.column), (LargeKind::Collection, 10_001, Some(ColumnId(7))));
    }
}
