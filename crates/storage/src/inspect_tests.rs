//! Looking into directories: what is there is found, what is damaged is named, and nothing is changed.

use super::*;
use crate::store::Store;
use crate::tests::{TABLE, commit, filled, plain, put, row, small_options};
use model::schema::Table;
use node::storage::{Hint, Storage, Write};
use std::os::unix::fs::MetadataExt as _;

const OTHER: TableId = TableId(0xb2);

/// A directory with rows in files, rows in the log only, deletions and hints.
fn directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let store = filled(directory.path(), 300);
    store.set_tables(&plain(&[TABLE, OTHER])).unwrap();
    store.flush().unwrap();
    store.compact().unwrap();
    for number in 0..50 {
        commit(&store, &[put(OTHER, b"q", number, &row(2, &[7; 500]))], true);
    }
    let Write::Apply(mutation) = put(TABLE, b"p", 1, &row(5, b"hinted")) else { unreachable!("put applies") };
    // Damage of the last one could be a torn end.
    for _ in 0..3 {
        let hint = Hint { written_seconds: 1, grace_seconds: 864_000, mutation: mutation.clone() };
        commit(&store, &[Write::Hint { target: NodeId(9), hint, oldest_seconds: 0 }], true);
    }
    directory
}

/// Every file below a directory: content and time of the last change.
fn fingerprint(directory: &Path) -> BTreeMap<PathBuf, (Vec<u8>, i64, i64)> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        let metadata = entry.metadata().unwrap();
        let content = if metadata.is_dir() { Vec::new() } else { std::fs::read(&path).unwrap() };
        if metadata.is_dir() {
            files.extend(fingerprint(&path));
        }
        files.insert(path, (content, metadata.mtime(), metadata.mtime_nsec()));
    }
    files
}

fn checked(directory: &Path) -> Verification {
    verify(directory, &mut |_| {}).unwrap()
}

fn files(directory: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        fingerprint(directory).into_keys().filter(|path| path.extension().is_some_and(|it| it == extension)).collect();
    found.sort();
    found
}

#[test]
fn what_is_there_is_found_and_nothing_is_changed() {
    let directory = directory();
    let before = fingerprint(directory.path());
    let inspection = Inspection::open(directory.path()).unwrap();
    let tables = inspection.tables().unwrap();
    let names: Vec<&str> = tables.iter().map(|table| table.definition.name.as_str()).collect();
    assert_eq!(names, ["table_a1", "table_b2"]);
    assert!(tables[0].keys >= 300 && tables[0].file_bytes > 0 && tables[1].memtable_bytes > 20_000, "{tables:?}");
    for (table, key, expected) in [(TABLE, &b"p"[..], 300), (OTHER, b"q", 50), (OTHER, b"none", 0)] {
        let mut records = 0;
        let partition = PartitionKey::new(Bytes::from_static(key));
        inspection
            .partition(table, &partition, &mut |record, value| {
                assert!(matches!(record, RecordKey::Row(_)));
                Row::from_bytes(&value).unwrap();
                records += 1;
                true
            })
            .unwrap();
        assert_eq!(records, expected);
    }
    drop(inspection);
    let verification = checked(directory.path());
    assert_eq!((verification.damage, verification.notes), (Vec::new(), Vec::new()));
    assert!(verification.records >= 351, "{}", verification.records);
    assert!(fingerprint(directory.path()) == before, "inspection changes nothing");
    Store::open(small_options(directory.path())).unwrap();
}

#[test]
fn a_snapshot_can_be_looked_into_while_its_node_runs() {
    let directory = directory();
    let store = Store::open(small_options(directory.path())).unwrap();
    store.create_snapshot("s").unwrap();
    store.set_tables(&plain(&[TABLE])).unwrap();
    let kept = store.snapshots().unwrap();
    for (snapshot, expected) in kept.iter().zip([1, 2]) {
        let path = directory.path().join("snapshots").join(&snapshot.name);
        assert_eq!(checked(&path).damage, [], "{}", snapshot.name);
        let inspection = Inspection::open(&path).unwrap();
        assert_eq!(inspection.snapshot().unwrap().1, snapshot.content);
        assert_eq!(inspection.tables().unwrap().len(), expected, "{}", snapshot.name);
    }
    let in_use = |error| matches!(error, StorageError::Io(text) if text.contains("in use by a running node"));
    assert!(in_use(Inspection::open(directory.path()).unwrap_err()));
    assert!(in_use(verify(directory.path(), &mut |_| {}).unwrap_err()));
}

#[test]
fn what_is_no_data_directory_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    for path in [directory.path().to_owned(), directory.path().join("missing")] {
        assert!(matches!(Inspection::open(&path), Err(StorageError::Invalid(_))));
        assert!(matches!(verify(&path, &mut |_| {}), Err(StorageError::Invalid(_))));
    }
}

#[test]
fn damage_of_every_file_is_found_and_named() {
    let directory = directory();
    let path = directory.path();
    let mut targets: Vec<PathBuf> = ["IDENTITY", "TABLES"].iter().map(|name| path.join(name)).collect();
    targets.extend(["sst", "log", "hints"].iter().flat_map(|extension| files(path, extension)));
    targets.extend(fingerprint(path).into_keys().filter(|file| file.to_string_lossy().contains("/MANIFEST-")));
    assert!(targets.len() >= 6, "{targets:?}");
    for target in targets {
        let whole = std::fs::read(&target).unwrap();
        if whole.is_empty() {
            continue;
        }
        for at in [whole.len() / 3, whole.len() / 2] {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x40;
            std::fs::write(&target, &damaged).unwrap();
            let found = checked(path).damage;
            assert!(found.iter().any(|damage| damage.file == target), "{target:?} at {at}: {found:?}");
        }
        std::fs::write(&target, &whole).unwrap();
    }
    let watermark = path.join("WATERMARK");
    std::fs::write(&watermark, vec![0; 8_192]).unwrap();
    assert!(checked(path).damage.iter().any(|damage| damage.file == watermark));
}

#[test]
fn what_is_missing_is_found() {
    for extension in ["sst", "log"] {
        let directory = directory();
        let target = files(directory.path(), extension).into_iter().rfind(|file| file.metadata().unwrap().len() > 0);
        std::fs::remove_file(target.unwrap()).unwrap();
        assert_ne!(checked(directory.path()).damage, [], "{extension}");
    }
    for name in ["IDENTITY", "WATERMARK", "rocksdb/CURRENT"] {
        let directory = directory();
        let target = directory.path().join(name);
        std::fs::remove_file(&target).unwrap();
        let damage = checked(directory.path()).damage;
        assert!(damage.iter().any(|damage| damage.file == target), "{name}: {damage:?}");
    }
}

#[test]
fn a_log_that_ends_before_what_was_synced_is_damage_and_a_torn_end_is_none() {
    let directory = directory();
    let log = files(directory.path(), "log").into_iter().max_by_key(|log| log.metadata().unwrap().len()).unwrap();
    let whole = std::fs::read(&log).unwrap();
    std::fs::write(&log, &whole[..whole.len() / 2]).unwrap();
    let damage = checked(directory.path()).damage;
    assert!(damage.iter().any(|damage| damage.file == log && damage.what.contains("ends at sequence")), "{damage:?}");
    // Half a record behind the synced ones.
    std::fs::write(&log, [&whole[..], &whole[..30]].concat()).unwrap();
    assert_eq!(checked(directory.path()).damage, []);
}

#[test]
fn a_value_that_is_not_what_the_schema_says_is_damage() {
    let directory = tempfile::tempdir().unwrap();
    let mut table = Table::plain(TABLE);
    table.columns[1].cql_type = model::CqlType::Int;
    table.columns[2].cql_type = model::CqlType::Int;
    let store = Store::open(small_options(directory.path())).unwrap();
    store.set_tables(&[Arc::new(table)]).unwrap();
    let cell = |bytes: &'static [u8]| {
        let cell = model::Cell::live(1, Bytes::from_static(bytes));
        Row::new(None, None, vec![(model::ColumnId(2), cell)])
    };
    commit(&store, &[put(TABLE, b"p", 1, &cell(&[0, 0, 0, 1]))], true);
    drop(store);
    assert_eq!(checked(directory.path()).damage, []);
    let store = Store::open(small_options(directory.path())).unwrap();
    commit(&store, &[put(TABLE, b"p", 2, &cell(b"three"))], true);
    drop(store);
    let damage = checked(directory.path()).damage;
    assert!(damage.len() == 1 && damage[0].what.contains("column value"), "{damage:?}");
}
