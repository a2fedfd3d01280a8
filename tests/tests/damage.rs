//! Damaged data directories, through the real process: a start that is refused says with exit code 3 what is
//! damaged, and a node that starts answers right or not at all. `crates/storage/tests/corruption.rs` has the random
//! campaign.

use e2e::Cluster;
use std::path::{Path, PathBuf};

const ROWS: u32 = 40;
const SCHEMA: &str = "CREATE KEYSPACE k WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}; \
                      CREATE TABLE k.t (id int PRIMARY KEY, v text) WITH compression = {'enabled': false};";

/// The largest file below the data directory whose name contains this.
fn file(data: &Path, part: &str) -> PathBuf {
    let mut found = Vec::new();
    for folder in [data.to_owned(), data.join("rocksdb")] {
        found.extend(std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()));
    }
    let named =
        found.into_iter().filter(|path| path.is_file() && path.file_name().unwrap().to_str().unwrap().contains(part));
    named.max_by_key(|path| path.metadata().unwrap().len()).unwrap()
}

fn cut_in_half(path: &Path) {
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(file.metadata().unwrap().len() / 2).unwrap();
}

fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 0x10;
    std::fs::write(path, bytes).unwrap();
}

/// A stopped node with rows in it, some in a table file and some only in the log.
fn stopped() -> Cluster {
    let mut cluster = Cluster::configured(1, "");
    let insert = |ids: std::ops::Range<u32>| -> String {
        ids.map(|id| format!("INSERT INTO k.t (id, v) VALUES ({id}, 'marker{id}');")).collect()
    };
    for script in [format!("{SCHEMA} {}", insert(0..ROWS / 2)), insert(ROWS / 2..ROWS)] {
        // Each start moves the log of the last run into table files.
        cluster.node(0).start();
        cluster.wait_up(1);
        assert!(cluster.node(0).cql(&script).status.success());
        assert!(cluster.node(0).terminate().success());
    }
    cluster
}

#[test]
fn a_damaged_file_that_a_start_needs_is_named_and_the_start_refused() {
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 8] = [
        (".log", cut_in_half),
        (".log", |path| std::fs::remove_file(path).unwrap()),
        ("MANIFEST", |path| flip(path, 40)),
        ("MANIFEST", cut_in_half),
        ("CURRENT", |path| std::fs::remove_file(path).unwrap()),
        (".sst", |path| std::fs::remove_file(path).unwrap()),
        ("IDENTITY", |path| flip(path, 30)),
        ("WATERMARK", |path| std::fs::remove_file(path).unwrap()),
    ];
    for (number, (part, damage)) in damages.into_iter().enumerate() {
        let mut cluster = stopped();
        // RocksDB has an IDENTITY too, of which nothing depends.
        let data = cluster.node(0).data.clone();
        let path = if part == "IDENTITY" { data.join(part) } else { file(&data, part) };
        eprintln!("damage {number}: {}", path.display());
        damage(&path);
        cluster.node(0).start();
        assert_eq!(cluster.node(0).wait_end().code(), Some(3), "damage {number}: {}", path.display());
        let log = cluster.node(0).log_text();
        assert!(log.contains(data.to_str().unwrap()), "damage {number}: {log}");
    }
}

#[test]
fn a_damaged_block_that_a_start_reads_is_named_and_nothing_is_made_up() {
    let mut cluster = stopped();
    let data = cluster.node(0).data.clone();
    // The first bytes of a table file are its first block; of rows, where the values stand.
    let files = std::fs::read_dir(data.join("rocksdb")).unwrap().map(|entry| entry.unwrap().path());
    let tables = files.filter(|path| path.extension().is_some_and(|extension| extension == "sst"));
    let holds_rows = |path: &PathBuf| std::fs::read(path).unwrap().windows(7).any(|bytes| bytes == b"marker0");
    let damaged: Vec<PathBuf> = tables.filter(holds_rows).collect();
    assert_eq!(damaged.len(), 1, "the first rows are in one file");
    flip(&damaged[0], 9);
    cluster.node(0).start();
    assert_eq!(cluster.node(0).wait_end().code(), Some(3));
    let log = cluster.node(0).log_text();
    let name = damaged[0].file_name().unwrap().to_str().unwrap();
    assert!(log.contains(name), "{log}");
}
