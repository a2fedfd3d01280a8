//! Scans, export and ingest on RocksDB: one view beside writers, what a crash after an ingest finds, what is noted as
//! large.

use crate::large::LargeKind;
use crate::options::StoreOptions;
use crate::store::Store;
use crate::tests::{TABLE, all, clustering, commit, count, filled, log_file, plain, put, row, small_options};
use bytes::Bytes;
use model::codec::Encode;
use model::deletion::{Deletion, PartitionDeletions};
use model::read::Slice;
use model::scan::{ExportCommand, PartitionRecord};
use model::{
    Cell, ColumnId, Mutation, PartitionKey, ReadCommand, Record, RecordKey, Row, ScanCommand, ScanData, TokenRange,
};
use node::storage::{Storage, StorageError, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Scans the whole table.
fn everything() -> ScanCommand {
    ScanCommand {
        table: TABLE,
        range: TokenRange::ALL,
        resume: None,
        slices: vec![Slice::all()],
        static_row: true,
        row_limit: u32::MAX,
        per_partition_limit: u32::MAX,
        bytes_limit: u32::MAX,
        now_seconds: 0,
        tombstone_limit: u32::MAX,
        bulk: false,
        dropped_columns: Vec::new(),
    }
}

fn partition(name: &'static str) -> PartitionKey {
    PartitionKey::new(Bytes::from_static(name.as_bytes()))
}

fn ingest(store: &Store, numbers: std::ops::Range<u32>, value: &[u8]) {
    let record =
        |number| PartitionRecord { partition: partition("p"), record: Record::row(clustering(number), &row(1, value)) };
    store.ingest(TABLE, &numbers.map(record).collect::<Vec<_>>()).unwrap();
}

/// Deletes the partition and writes its static row and a row anew, all stamped with the round.
fn renewed(name: &'static str, round: i64) -> Vec<PartitionRecord> {
    let deletion = Deletion { timestamp: 2 * round, local_seconds: 1 };
    let value = row(2 * round + 1, b"v").to_bytes();
    let records = [
        Record::deletions(&PartitionDeletions::of_partition(deletion)),
        Record { key: RecordKey::Static, value: value.clone() },
        Record { key: RecordKey::Row(clustering(7)), value },
    ];
    records.map(|record| PartitionRecord { partition: partition(name), record }).to_vec()
}

/// Checks that every partition in a page is of one round, the same one.
fn assert_one_view(page: &ScanData) {
    let mut rounds = Vec::new();
    for (partition, data) in &page.partitions {
        let stamp = data.deletions.partition().map(|deletion| deletion.timestamp).unwrap();
        let expected = row(stamp + 1, b"v").to_bytes();
        let found = (data.static_row.clone(), data.rows.clone());
        assert_eq!(found, (Some(expected.clone()), vec![(clustering(7), expected)]), "{partition:?}");
        rounds.push(stamp);
    }
    assert!(rounds.windows(2).all(|pair| pair[0] == pair[1]), "{rounds:?}");
    assert!(rounds.is_empty() || rounds.len() == 3, "{rounds:?}");
}

#[test]
fn a_scan_beside_writers_never_sees_half_of_a_batch() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(small_options(directory.path())).unwrap();
    store.set_tables(&plain(&[TABLE])).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for bulk in [false, true] {
            let (store, stop) = (&store, &stop);
            scope.spawn(move || {
                let mut scans = 0;
                while !stop.load(Ordering::Relaxed) || scans == 0 {
                    assert_one_view(&store.scan(&ScanCommand { bulk, ..everything() }).unwrap());
                    let export =
                        ExportCommand { table: TABLE, range: TokenRange::ALL, after: None, bytes_limit: 9_999 };
                    let records = store.export(&export).unwrap().records;
                    assert!([0, 9].contains(&records.len()), "{records:?}");
                    let stamps = records.iter().filter(|record| record.record.key == RecordKey::Deletions);
                    let stamps: Vec<&Bytes> = stamps.map(|record| &record.record.value).collect();
                    assert!(stamps.windows(2).all(|pair| pair[0] == pair[1]), "{records:?}");
                    scans += 1;
                }
            });
        }
        for round in 0..2_000 {
            let mut all: Vec<_> = ["a", "b", "c"].iter().flat_map(|name| renewed(name, round)).collect();
            if round % 100 == 99 {
                all.sort_by(|a, b| (&a.partition, &a.record.key).cmp(&(&b.partition, &b.record.key)));
                store.ingest(TABLE, &all).unwrap();
            } else {
                let write = |records: &[PartitionRecord]| {
                    let partition = records[0].partition.clone();
                    let records = records.iter().map(|record| record.record.clone()).collect();
                    Write::Apply(Arc::new(Mutation { table: TABLE, partition, records }))
                };
                commit(&store, &all.chunks(3).map(write).collect::<Vec<_>>(), false);
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
}

/// Cuts every log to nothing.
fn lose_log(directory: &Path) {
    let entries = std::fs::read_dir(directory.join("rocksdb")).unwrap().flatten().map(|entry| entry.path());
    for path in entries.filter(|path| path.extension().is_some_and(|extension| extension == "log")) {
        std::fs::write(path, b"").unwrap();
    }
}

#[test]
fn an_ingest_leaves_nothing_that_only_the_log_has() {
    let directory = tempfile::tempdir().unwrap();
    let store = filled(directory.path(), 20);
    commit(&store, &[put(TABLE, b"p", 20, &row(1, b"not synced"))], false);
    // Over what is in the memtable, so that it takes a sequence number of its own.
    ingest(&store, 15..40, b"value");
    assert_eq!(count(&store), 40);
    assert_eq!(store.status().synced_sequence, store.status().latest_sequence);
    drop(store);
    lose_log(directory.path());
    let store = Store::open(small_options(directory.path())).unwrap();
    assert_eq!(count(&store), 40, "what was in the log before is in table files");
}

#[test]
fn a_loss_of_the_log_behind_an_ingest_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let store = filled(directory.path(), 20);
    ingest(&store, 10..40, b"value");
    for number in 40..60 {
        commit(&store, &[put(TABLE, b"p", number, &row(1, b"value"))], true);
    }
    drop(store);
    let log = log_file(directory.path());
    let file = std::fs::OpenOptions::new().write(true).open(log).unwrap();
    file.set_len(file.metadata().unwrap().len() / 2).unwrap();
    let refused = Store::open(small_options(directory.path()));
    assert!(matches!(&refused, Err(StorageError::Corrupt(why)) if why.contains("acknowledged")), "{refused:?}");
}

#[test]
fn files_of_an_ingest_that_was_interrupted_are_removed() {
    let directory = tempfile::tempdir().unwrap();
    drop(filled(directory.path(), 3));
    let left = crate::ingest::directory(directory.path()).join("7.sst");
    std::fs::write(&left, b"half a file").unwrap();
    let store = Store::open(small_options(directory.path())).unwrap();
    assert!(!left.exists());
    ingest(&store, 3..9, b"value");
    assert_eq!(count(&store), 9);
    let rest = std::fs::read_dir(left.parent().unwrap()).unwrap().count();
    assert_eq!(rest, 0, "files that were taken over are not left behind");
}

#[test]
fn many_megabytes_are_ingested_in_several_files() {
    let directory = tempfile::tempdir().unwrap();
    let store = filled(directory.path(), 1);
    let mut rng = model::Rng::new(1);
    let records = (0..90).map(|number| {
        let value: Vec<u8> = (0..1 << 17).flat_map(|_| rng.next_u64().to_le_bytes()).collect();
        PartitionRecord { partition: partition("p"), record: Record::row(clustering(number), &row(1, &value)) }
    });
    let records: Vec<_> = records.collect();
    let before = store.inner().ingested_files.load(Ordering::Relaxed);
    store.ingest(TABLE, &records).unwrap();
    assert_eq!(store.inner().ingested_files.load(Ordering::Relaxed) - before, 2, "cut at 64 MiB");
    assert_eq!(count(&store), 90);
    // 91 MB in the partition, in pages: it is close to what is noted.
    let mut command = ScanCommand { bytes_limit: 1 << 20, bulk: true, ..everything() };
    let mut pages = 0;
    while let Some(next) = store.scan(&command).unwrap().next {
        command.resume = Some(next);
        pages += 1;
    }
    assert_eq!(pages, 90);
}

#[test]
fn reads_that_pass_many_tombstones_and_large_rows_are_noted() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(StoreOptions { tombstone_warn: 10, ..small_options(directory.path()) }).unwrap();
    store.set_tables(&plain(&[TABLE])).unwrap();
    let dead = Row::deleted(Deletion { timestamp: 1, local_seconds: 1 });
    for number in 0..30 {
        commit(&store, &[put(TABLE, b"dead", number, &dead)], false);
    }
    commit(&store, &[put(TABLE, b"few", 1, &dead), put(TABLE, b"few", 2, &row(1, b"v"))], false);
    assert_eq!(store.read(&all(TABLE, b"few")).unwrap().tombstones, 1);
    assert_eq!(store.largest(TABLE), []);
    assert_eq!(store.read(&all(TABLE, b"dead")).unwrap().tombstones, 30);
    let noted = |store: &Store| {
        let large = store.largest(TABLE).into_iter().map(|large| (large.kind, large.size, large.partition));
        large.collect::<Vec<_>>()
    };
    let key = |key: &'static [u8]| Bytes::from_static(key);
    assert_eq!(noted(&store), [(LargeKind::Tombstones, 30, key(b"dead"))]);
    // One that is refused is noted too, and does not take the others' place.
    let refused = ReadCommand { tombstone_limit: 20, ..all(TABLE, b"dead") };
    assert!(matches!(store.digest(&refused), Err(StorageError::TooManyTombstones { tombstones: 21, .. })));
    assert_eq!(noted(&store), [(LargeKind::Tombstones, 21, key(b"dead"))]);
    let page = store.scan(&everything()).unwrap();
    assert_eq!(page.partitions.len(), 2);
    assert_eq!(noted(&store), [(LargeKind::Tombstones, 30, key(b"dead"))]);
    let cell = Cell::live(1, Bytes::from(vec![1; 2 << 20]));
    commit(&store, &[put(TABLE, b"wide", 1, &Row::new(None, None, vec![(ColumnId(4), cell)]))], false);
    let kinds: Vec<_> = store.largest(TABLE).into_iter().map(|large| (large.kind, large.column)).collect();
    assert_eq!(kinds, [(LargeKind::Row, None), (LargeKind::Cell, Some(ColumnId(4))), (LargeKind::Tombstones, None)]);
    store.set_tables(&[]).unwrap();
    assert_eq!(store.largest(TABLE), []);
}
