//! A store on a disk that is really full: a small file system in memory, mounted for the test. Needs to be root on
//! Linux; skipped, visibly, where that is not so.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test at the boundary to the disk, which waits for it"
)]

use bytes::Bytes;
use model::local::LocalWrite;
use model::read::Slice;
use model::row::Liveness;
use model::schema;
use model::{Cell, ColumnId, Mutation, NodeId, PartitionKey, ReadCommand, Record, Rng, Row, TableId};
use node::storage::{Storage, StorageError, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use storage::{Durability, Store, StoreOptions, inspect};

const TABLE: TableId = TableId(0xa1);
const DISK_BYTES: u64 = 48 << 20;
const VALUE_BYTES: usize = 20_000;
/// How long anything may take before a test gives up. RocksDB looks for space every five seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// A file system of its own, unmounted when dropped.
struct SmallDisk {
    folder: tempfile::TempDir,
}

impl SmallDisk {
    /// `None` where nothing can be mounted.
    fn mount() -> Option<SmallDisk> {
        let folder = tempfile::tempdir().unwrap();
        let size = format!("size={DISK_BYTES}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder.path()).output();
        match mounted {
            Ok(output) if output.status.success() => Some(SmallDisk { folder }),
            Ok(output) => {
                eprintln!("skipped: no file system can be mounted: {}", String::from_utf8_lossy(&output.stderr));
                None
            }
            Err(error) => {
                eprintln!("skipped: no file system can be mounted: {error}");
                None
            }
        }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Takes all the space that is left, in a file.
    fn fill(&self) {
        let mut file = std::fs::File::create(self.filler()).unwrap();
        while std::io::Write::write_all(&mut file, &[7; 4096]).is_ok() {}
    }

    fn make_space(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }

    fn filler(&self) -> PathBuf {
        self.folder.path().join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("--lazy").arg(self.folder.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()), "the test's file system is unmounted");
    }
}

/// Without a reserve, so that RocksDB itself meets the full disk.
fn options(directory: &Path) -> StoreOptions {
    StoreOptions {
        block_cache_bytes: 4 << 20,
        write_buffer_bytes: 4 << 20,
        free_bytes_min: 0,
        ..StoreOptions::new(directory, NodeId(1))
    }
}

fn put(number: u64) -> Write {
    // Random bytes: they take their space on disk too.
    let mut rng = Rng::new(number);
    let value = Bytes::from((0..VALUE_BYTES).map(|_| rng.next_u64() as u8).collect::<Vec<u8>>());
    let (liveness, cell) = (Liveness { timestamp: 1, expiry: None }, Cell::live(1, value));
    let row = Row::new(Some(liveness), None, vec![(ColumnId(0), cell)]);
    let partition = PartitionKey::new(Bytes::from(number.to_string()));
    let records = vec![Record::row(Bytes::from_static(&[0x40]), &row)];
    Write::Apply(Arc::new(Mutation { table: TABLE, partition, records }))
}

fn is_stored(store: &Store, number: u64) -> bool {
    let command = ReadCommand {
        table: TABLE,
        partition: PartitionKey::new(Bytes::from(number.to_string())),
        slices: vec![Slice::all()],
        reversed: false,
        static_row: false,
        row_limit: u32::MAX,
        bytes_limit: u32::MAX,
        now_seconds: 0,
        gc_before_seconds: 0,
        dropped_columns: Vec::new(),
        tombstone_limit: u32::MAX,
    };
    let Write::Apply(expected) = put(number) else { unreachable!() };
    store.read(&command).unwrap().rows.first().is_some_and(|(_, row)| *row == expected.records[0].value)
}

/// Commits one write; an error of the group and one of the write are the same to who asked.
/// Writes, again while the store is overloaded: a flush of its small buffers is under way.
fn commit(store: &Store, write: Write, sync: bool) -> Result<(), StorageError> {
    let started = Instant::now();
    loop {
        match store.commit(std::slice::from_ref(&write), sync)?.pop().unwrap() {
            Err(StorageError::Overloaded) if started.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_millis(20));
            }
            result => return result,
        }
    }
}

fn wait_until(what: &str, mut ready: impl FnMut() -> bool) {
    let started = Instant::now();
    while !ready() {
        assert!(started.elapsed() < PATIENCE, "waiting until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Writes beyond what the disk holds, several times over, making space in between; nothing acknowledged is lost.
fn fill_and_recover(durability: Durability) {
    let Some(disk) = SmallDisk::mount() else { return };
    let sync = durability == Durability::Group;
    let store = Store::open(StoreOptions { durability, ..options(&disk.data()) }).unwrap();
    store.set_tables(&[Arc::new(schema::Table::plain(TABLE))]).unwrap();
    let (mut next, mut acknowledged) = (0, Vec::new());
    for round in 0..3 {
        for _ in 0..100 {
            commit(&store, put(next), sync).unwrap();
            acknowledged.push(next);
            next += 1;
        }
        disk.fill();
        let refused = loop {
            match commit(&store, put(next), sync) {
                Ok(()) => acknowledged.push(next),
                Err(error) => break error,
            }
            next += 1;
            assert!(next < 10_000, "the disk is full");
        };
        next += 1;
        assert!(matches!(refused, StorageError::Full(_)), "round {round}: {refused}");
        assert!(matches!(store.status().refuses_writes, Some(StorageError::Full(_))));
        let local = Write::Local(LocalWrite::of(vec![(Bytes::from_static(b"node/x"), Some(Bytes::new()))]));
        assert!(matches!(commit(&store, local.clone(), true), Err(StorageError::Full(_))));
        assert!(acknowledged.iter().all(|number| is_stored(&store, *number)), "reads go on");
        disk.make_space();
        // Nobody writes: the store finds out by itself.
        wait_until("writes are accepted again", || store.status().refuses_writes.is_none());
        commit(&store, local, true).unwrap();
        commit(&store, put(next), sync).unwrap();
        acknowledged.push(next);
        next += 1;
    }
    assert!(acknowledged.iter().all(|number| is_stored(&store, *number)));
    drop(store);
    let store = Store::open(options(&disk.data())).unwrap();
    assert!(acknowledged.iter().all(|number| is_stored(&store, *number)));
    drop(store);
    assert_eq!(inspect::verify(&disk.data(), &mut |_| {}).unwrap().damage, []);
}

#[test]
fn a_full_disk_refuses_writes_until_there_is_space() {
    fill_and_recover(Durability::Group);
}

#[test]
fn a_full_disk_loses_nothing_that_was_acknowledged_unsynced() {
    fill_and_recover(Durability::Periodic(Duration::from_millis(50)));
}

#[test]
fn a_flush_that_finds_no_space_is_done_later() {
    let Some(disk) = SmallDisk::mount() else { return };
    // More than the flush gets back from the log that it closes, of which a part was only reserved.
    let rows = 600;
    let store = Store::open(StoreOptions { write_buffer_bytes: 64 << 20, ..options(&disk.data()) }).unwrap();
    store.set_tables(&[Arc::new(schema::Table::plain(TABLE))]).unwrap();
    for number in 0..rows {
        commit(&store, put(number), true).unwrap();
    }
    disk.fill();
    let failed = store.flush();
    assert!(matches!(failed, Err(StorageError::Full(_))), "{failed:?}");
    wait_until("the state is seen", || matches!(store.status().refuses_writes, Some(StorageError::Full(_))));
    assert!(store.status().background_errors > 0);
    disk.make_space();
    wait_until("writes are accepted again", || store.status().refuses_writes.is_none());
    store.flush().unwrap();
    assert!((0..rows).all(|number| is_stored(&store, number)));
}

#[test]
fn the_reserve_keeps_room_for_the_nodes_own_records() {
    let Some(disk) = SmallDisk::mount() else { return };
    let store = Store::open(StoreOptions { free_bytes_min: 16 << 20, ..options(&disk.data()) }).unwrap();
    store.set_tables(&[Arc::new(schema::Table::plain(TABLE))]).unwrap();
    let mut next = 0;
    wait_until("the reserve is reached", || {
        next += 1;
        match commit(&store, put(next), true) {
            Ok(()) => false,
            Err(error) => matches!(error, StorageError::Full(_)),
        }
    });
    let local = Write::Local(LocalWrite::of(vec![(Bytes::from_static(b"node/x"), Some(Bytes::new()))]));
    // On so small a disk a compaction under way may take the reserve for as long as it lasts.
    wait_until("the node's own records are written", || commit(&store, local.clone(), true).is_ok());
    assert!((1..next).all(|number| is_stored(&store, number)));
}

#[test]
fn a_full_or_read_only_disk_is_named_at_the_start() {
    let Some(disk) = SmallDisk::mount() else { return };
    let store = Store::open(options(&disk.data())).unwrap();
    store.set_tables(&[Arc::new(schema::Table::plain(TABLE))]).unwrap();
    for number in 0..20 {
        commit(&store, put(number), true).unwrap();
    }
    drop(store);
    let remount = |how: &str| {
        let status = Command::new("mount").args(["-o", how]).arg(disk.folder.path()).status();
        assert!(status.unwrap().success());
    };
    remount("remount,ro");
    let refused = Store::open(options(&disk.data()));
    assert!(matches!(&refused, Err(StorageError::Io(reason)) if reason.contains("Read-only")), "{refused:?}");
    remount("remount,rw");
    disk.fill();
    let refused = Store::open(options(&disk.data()));
    assert!(matches!(refused, Err(StorageError::Full(_))), "{refused:?}");
    disk.make_space();
    let store = Store::open(options(&disk.data())).unwrap();
    assert!((0..20).all(|number| is_stored(&store, number)));
}
