//! Snapshots: whole, separate from what comes after them, never overwritten, and inside their directory.

use crate::options::StoreOptions;
use crate::store::Store;
use crate::tests::{TABLE, all, commit, count, filled, plain, put, row, small_options};
use model::TableId;
use model::schema::Table;
use model::table_options::TableOptions;
use node::storage::{Storage, StorageError};
use std::path::Path;
use std::sync::Arc;

/// A copy of a snapshot as a data directory, opened.
fn restored(directory: &Path, name: &str, to: &Path) -> Store {
    copy(&directory.join("snapshots").join(name), to);
    Store::open(small_options(to)).unwrap()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn a_snapshot_keeps_what_was_there_and_nothing_later() {
    let directory = tempfile::tempdir().unwrap();
    let store = filled(directory.path(), 20);
    let made = store.create_snapshot("before").unwrap();
    assert_eq!((made.name.as_str(), made.content.as_str()), ("before", "all"));
    for number in 20..30 {
        commit(&store, &[put(TABLE, b"p", number, &row(1, b"later"))], true);
    }
    store.set_tables(&plain(&[])).unwrap();
    drop(store);
    let copy = tempfile::tempdir().unwrap();
    let restored = restored(directory.path(), "before", copy.path());
    assert_eq!(count(&restored), 20);
    assert_eq!(restored.identity(), Store::open(small_options(directory.path())).unwrap().identity());
}

#[test]
fn snapshots_are_listed_and_removed_by_name_or_all() {
    let directory = tempfile::tempdir().unwrap();
    let store = filled(directory.path(), 5);
    let first = store.create_snapshot("a.1").unwrap();
    store.compact().unwrap();
    store.create_snapshot("b_2").unwrap();
    let listed = store.snapshots().unwrap();
    assert_eq!(listed.iter().map(|snapshot| snapshot.name.as_str()).collect::<Vec<_>>(), ["a.1", "b_2"]);
    assert_eq!(listed[0].bytes, first.bytes);
    assert!(listed[0].own_bytes > 0 && listed[0].own_bytes <= listed[0].bytes);
    assert!(matches!(store.create_snapshot("a.1"), Err(StorageError::Invalid(_))), "never overwritten");
    assert!(matches!(store.clear_snapshots(Some("c")), Err(StorageError::Invalid(_))));
    assert_eq!(store.clear_snapshots(Some("a.1")), Ok(1));
    assert_eq!(store.clear_snapshots(None), Ok(1));
    assert_eq!(store.snapshots(), Ok(Vec::new()));
    store.create_snapshot("a.1").unwrap();
}

#[test]
fn a_name_is_no_path() {
    let directory = tempfile::tempdir().unwrap();
    let store = filled(&directory.path().join("data"), 1);
    let long = "x".repeat(super::NAME_BYTES_MAX + 1);
    for name in ["", ".", "..", "../out", "a/b", "/tmp/x", ".hidden", "a\0b", "a b", "ä", &long, "dropped-x"] {
        assert!(matches!(store.create_snapshot(name), Err(StorageError::Invalid(_))), "{name}");
        assert!(matches!(store.clear_snapshots(Some(name)), Err(StorageError::Invalid(_))), "{name}");
    }
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn what_is_not_finished_is_removed_on_opening() {
    let directory = tempfile::tempdir().unwrap();
    drop(filled(directory.path(), 1));
    for name in [".making-x", ".removing-y"] {
        std::fs::create_dir_all(directory.path().join("snapshots").join(name).join("rocksdb")).unwrap();
    }
    let store = Store::open(small_options(directory.path())).unwrap();
    assert_eq!(std::fs::read_dir(directory.path().join("snapshots")).unwrap().count(), 0);
    store.create_snapshot("x").unwrap();
}

#[test]
fn a_damaged_description_is_noticed() {
    let text = super::describe(77, "all");
    assert!(super::parse(&text).is_some());
    for at in 0..text.len() {
        let mut damaged = text.clone().into_bytes();
        damaged[at] ^= 1;
        assert_eq!(super::parse(&String::from_utf8_lossy(&damaged)), None, "byte {at}");
    }
}

#[test]
fn a_dropped_table_is_kept_in_a_snapshot_of_its_own_if_its_options_say_so() {
    let directory = tempfile::tempdir().unwrap();
    let store = filled(directory.path(), 7);
    let other = TableId(0xb2);
    let silent = TableId(0xb3);
    let options = TableOptions { allow_auto_snapshot: false, ..TableOptions::default() };
    let tables = [plain(&[TABLE, other]), vec![Arc::new(Table { options, ..Table::plain(silent) })]].concat();
    store.set_tables(&tables).unwrap();
    commit(&store, &[put(other, b"p", 1, &row(1, &[7; 200_000])), put(silent, b"p", 1, &row(1, b"v"))], true);
    store.flush().unwrap();
    store.set_tables(&plain(&[other])).unwrap();
    let kept = store.snapshots().unwrap();
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert_eq!(kept[0].name, "dropped-plain.table_a1-000000000000000000000000000000a1");
    assert_eq!(kept[0].content, "dropped plain.table_a1 generation 0");
    assert!(kept[0].bytes < 150_000, "the other table is not in it: {kept:?}");
    let without = StoreOptions { auto_snapshot: false, ..small_options(directory.path()) };
    drop(store);
    let store = Store::open(without).unwrap();
    store.set_tables(&plain(&[])).unwrap();
    assert_eq!(store.snapshots().unwrap(), kept);
}

#[test]
fn the_snapshot_of_a_dropped_table_holds_its_rows() {
    let directory = tempfile::tempdir().unwrap();
    let store = filled(directory.path(), 7);
    store.set_tables(&plain(&[])).unwrap();
    let name = store.snapshots().unwrap()[0].name.clone();
    drop(store);
    let copy_of = tempfile::tempdir().unwrap();
    copy(&directory.path().join("snapshots").join(name), copy_of.path());
    // It says nothing of how much was synced: everything in it was.
    let options = StoreOptions { accept_data_loss: true, ..small_options(copy_of.path()) };
    let restored = Store::open(options).unwrap();
    assert_eq!(restored.read(&all(TABLE, b"p")).unwrap().rows.len(), 7);
}
