//! A campaign of random damage to a store's files: flipped bits, zeroed and overwritten stretches, cut and deleted
//! files, of every kind that there is. Each damage must be detected (opening, reading or verifying fails and says
//! what of) or harmless (everything acknowledged is read back, byte for byte). None may be silent.
//!
//! `HELENUS_CYCLES` and `HELENUS_SEED` scale it: see `cargo xtask soak`.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test at the boundary to the disk, which tells what it found"
)]

use bytes::Bytes;
use model::codec::Encode;
use model::deletion::{Deletion, PartitionDeletions};
use model::local::LocalWrite;
use model::read::Slice;
use model::row::Liveness;
use model::schema;
use model::{Cell, ColumnId, Mutation, NodeId, PartitionKey, ReadCommand, ReadData, Record, Rng, Row, TableId};
use node::storage::{Hint, HintPosition, Storage, StorageError, Write};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use storage::{Store, StoreOptions, inspect};

/// Damages to try unless told otherwise.
const CYCLES: u64 = 20;
/// Damages that are tried on one history.
const DAMAGES_PER_HISTORY: u64 = 8;
const TABLES: u64 = 3;
const PARTITIONS: u64 = 12;
const TARGETS: [NodeId; 2] = [NodeId(0xb1), NodeId(0xb2)];
const FIRST_CLUSTERING: u8 = 0x40;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

fn options(directory: &Path) -> StoreOptions {
    StoreOptions {
        block_cache_bytes: 4 << 20,
        write_buffer_bytes: 8 << 20,
        hint_segment_bytes: 2_000,
        free_bytes_min: 0,
        ..StoreOptions::new(directory, NodeId(1))
    }
}

fn tables() -> Vec<TableId> {
    (0..TABLES).map(|number| TableId(0xa0 + u128::from(number))).collect()
}

fn definitions() -> Vec<Arc<schema::Table>> {
    tables().into_iter().map(|id| Arc::new(schema::Table::plain(id))).collect()
}

fn partition(number: u64) -> PartitionKey {
    PartitionKey::new(Bytes::from(format!("partition {number}")))
}

fn clustering(number: u64) -> Bytes {
    Bytes::from([&[FIRST_CLUSTERING][..], &number.to_be_bytes()].concat())
}

/// Everything that a store answers.
#[derive(Debug, PartialEq)]
struct Contents {
    partitions: BTreeMap<(TableId, u64), ReadData>,
    local: Vec<(Bytes, Bytes)>,
}

/// What is known to be acknowledged, apart from the store: the state of each row.
type Acknowledged = BTreeMap<(TableId, u64, u64), Row>;

/// The hints that were acknowledged for each node, and how many of them were delivered.
#[derive(Debug, Default)]
struct Hinted {
    all: Vec<Mutation>,
    delivered: usize,
}

/// By node.
type Hints = BTreeMap<NodeId, Hinted>;

fn random_row(rng: &mut Rng, timestamp: i64) -> Row {
    let length = rng.between(1, 200) as usize;
    let value = Bytes::from((0..length).map(|_| rng.next_u64() as u8).collect::<Vec<u8>>());
    let cell = Cell::live(timestamp, value);
    Row::new(Some(Liveness { timestamp, expiry: None }), None, vec![(ColumnId(rng.below(4) as u32), cell)])
}

/// Writes a random history, with flushes, compactions and reopenings, all of it acknowledged as synced.
fn write_history(directory: &Path, seed: u64) -> (Acknowledged, Hints) {
    let mut rng = Rng::new(seed);
    let (mut acknowledged, mut hints) = (Acknowledged::new(), Hints::new());
    let mut store = Store::open(options(directory)).unwrap();
    store.set_tables(&definitions()).unwrap();
    for step in 0..rng.between(100, 400) as i64 {
        let mut group = Vec::new();
        for _ in 0..rng.between(1, 4) {
            let (table, number, row) = (tables()[rng.below(TABLES) as usize], rng.below(PARTITIONS), rng.below(30));
            let change = random_row(&mut rng, step);
            let records = vec![Record::row(clustering(row), &change)];
            let mutation = Arc::new(Mutation { table, partition: partition(number), records });
            if rng.chance(150) {
                let target = TARGETS[rng.below(2) as usize];
                hints.entry(target).or_default().all.push((*mutation).clone());
                let hint = Hint { written_seconds: 1, grace_seconds: 864_000, mutation: Arc::clone(&mutation) };
                group.push(Write::Hint { target, hint, oldest_seconds: 0 });
            }
            group.push(Write::Apply(mutation));
            let state = acknowledged.remove(&(table, number, row));
            let merged = state.map_or(change.clone(), |state| state.merge(change));
            acknowledged.insert((table, number, row), merged);
        }
        if rng.chance(20) {
            // Older than everything: it hides nothing, and must be there all the same.
            let deletion = Deletion { timestamp: -1 - step, local_seconds: 1 };
            let records = vec![Record::deletions(&PartitionDeletions::of_partition(deletion))];
            let (table, partition) = (tables()[0], partition(rng.below(PARTITIONS)));
            group.push(Write::Apply(Arc::new(Mutation { table, partition, records })));
        }
        if rng.chance(50) {
            let key = Bytes::from(format!("node/{}", rng.below(20)));
            group.push(Write::Local(LocalWrite::of(vec![(key, Some(Bytes::from(format!("{step}"))))])));
        }
        if rng.chance(10) {
            for (target, hinted) in &mut hints {
                let Some(&(through, _)) = store.hints(*target, None, 1_000).unwrap().last() else { continue };
                group.push(Write::HintsDelivered { target: *target, through });
                hinted.delivered = through.0 as usize;
            }
        }
        store.commit(&group, true).unwrap().into_iter().for_each(|result| result.unwrap());
        if rng.chance(15) {
            store.flush().unwrap();
        }
        if rng.chance(5) {
            store.compact().unwrap();
        }
        if rng.chance(5) {
            drop(store);
            store = Store::open(options(directory)).unwrap();
        }
    }
    (acknowledged, hints)
}

fn read_contents(store: &Store) -> Result<Contents, StorageError> {
    let mut partitions = BTreeMap::new();
    for table in tables() {
        for number in 0..PARTITIONS {
            let all = Slice { start: Bytes::from_static(&[FIRST_CLUSTERING]), end: Bytes::from_static(&[0xff]) };
            let command = ReadCommand {
                table,
                partition: partition(number),
                slices: vec![all],
                reversed: false,
                static_row: true,
                row_limit: u32::MAX,
                bytes_limit: u32::MAX,
                now_seconds: 0,
                gc_before_seconds: 0,
                dropped_columns: Vec::new(),
                tombstone_limit: u32::MAX,
            };
            partitions.insert((table, number), store.read(&command)?);
        }
    }
    Ok(Contents { partitions, local: store.local_records(b"node/")? })
}

fn read_hints(store: &Store) -> Result<BTreeMap<NodeId, Vec<Mutation>>, StorageError> {
    let mut hints: BTreeMap<NodeId, Vec<Mutation>> = BTreeMap::new();
    for target in store.hint_targets()? {
        let mut after: Option<HintPosition> = None;
        loop {
            let page = store.hints(target, after, 3_000)?;
            let Some((last, _)) = page.last() else { break };
            after = Some(*last);
            hints.entry(target).or_default().extend(page.iter().map(|(_, hint)| (*hint.mutation).clone()));
        }
    }
    Ok(hints)
}

/// True when every hint that was not delivered is there. One that was may come again: that changes nothing.
fn hints_are_whole(found: &BTreeMap<NodeId, Vec<Mutation>>, hints: &Hints) -> bool {
    hints.iter().all(|(target, Hinted { all, delivered })| {
        let found = found.get(target).map_or(&[][..], Vec::as_slice);
        found.len() >= all.len() - delivered && all.ends_with(found)
    })
}

fn check_acknowledged(contents: &Contents, acknowledged: &Acknowledged) {
    let rows: usize = contents.partitions.values().map(|data| data.rows.len()).sum();
    assert_eq!(rows, acknowledged.len());
    for ((table, number, row), state) in acknowledged {
        let data = &contents.partitions[&(*table, *number)];
        let found = data.rows.iter().find(|(key, _)| *key == clustering(*row)).map(|(_, row)| row);
        assert_eq!(found, Some(&state.to_bytes()));
    }
}

/// Every file below `directory`, with its path within it.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

fn copy(from: &Path, to: &Path) {
    for path in files(from) {
        let target = to.join(path.strip_prefix(from).unwrap());
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::copy(&path, target).unwrap();
    }
}

/// What a file is, by its name.
fn kind(path: &Path) -> &'static str {
    let name = path.file_name().unwrap().to_str().unwrap();
    let in_database = path.parent().is_some_and(|parent| parent.ends_with("rocksdb"));
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("log") => "log",
        Some("sst") => "table file",
        Some("hints") => "hints",
        _ if name.starts_with("MANIFEST") => "MANIFEST",
        _ if name.starts_with("OPTIONS") => "OPTIONS",
        _ if name == "IDENTITY" && in_database => "RocksDB's IDENTITY",
        _ if name == "LOG" || name.starts_with("LOG.") => "RocksDB's messages",
        _ => match name {
            "CURRENT" => "CURRENT",
            "IDENTITY" => "IDENTITY",
            "WATERMARK" => "WATERMARK",
            "delivered" => "delivered",
            "LOCK" => "LOCK",
            "TABLES" => "TABLES",
            _ => panic!("a file of an unknown kind: {}", path.display()),
        },
    }
}

/// Damages one file at random: a kind first, so that those with few and small files get their share. Says what it
/// did.
fn damage(directory: &Path, rng: &mut Rng) -> String {
    let mut kinds: BTreeMap<&str, Vec<PathBuf>> = BTreeMap::new();
    for path in files(directory) {
        if path.metadata().unwrap().len() > 0 {
            kinds.entry(kind(&path)).or_default().push(path);
        }
    }
    let (kind, paths) = kinds.iter().nth(rng.below(kinds.len() as u64) as usize).unwrap();
    let path = &paths[rng.below(paths.len() as u64) as usize];
    let mut bytes = std::fs::read(path).unwrap();
    let at = rng.below(bytes.len() as u64) as usize;
    let what = match rng.below(6) {
        0 | 1 => {
            bytes[at] ^= 1 << rng.below(8);
            format!("a bit flipped in byte {at}")
        }
        2 => {
            let end = (at + rng.between(1, 64) as usize).min(bytes.len());
            bytes[at..end].fill_with(|| rng.next_u64() as u8);
            format!("bytes {at} to {end} overwritten")
        }
        3 => {
            let (start, end) = (at / 512 * 512, (at / 512 * 512 + 512).min(bytes.len()));
            bytes[start..end].fill(0);
            format!("bytes {start} to {end} zeroed")
        }
        4 => {
            bytes.truncate(at);
            format!("cut to {at} bytes")
        }
        _ => {
            std::fs::remove_file(path).unwrap();
            return format!("{kind}: {} deleted", path.strip_prefix(directory).unwrap().display());
        }
    };
    let length = std::fs::metadata(path).unwrap().len();
    std::fs::write(path, &bytes).unwrap();
    format!("{kind}: {} ({length} bytes): {what}", path.strip_prefix(directory).unwrap().display())
}

/// What became of a damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    RefusedToOpen,
    FoundByRead,
    FoundByVerify,
    Harmless,
}

/// True when a message says what it is about.
fn names_a_file(error: &StorageError, directory: &Path) -> bool {
    error.to_string().contains(&directory.display().to_string())
}

/// Opens and reads a damaged store; the reason when the damage is silent.
fn examine(directory: &Path, expected: &Contents, expected_hints: &Hints) -> Result<(Outcome, String), String> {
    let verified = match inspect::verify(directory, &mut |_| {}) {
        Ok(verified) => verified.damage.iter().map(|damage| damage.what.clone()).collect(),
        Err(error) => vec![error.to_string()],
    };
    let store = match Store::open(options(directory)) {
        Ok(store) => store,
        Err(error) if verified.is_empty() => return Err(format!("verification misses what a start finds: {error}")),
        Err(error) if names_a_file(&error, directory) => return Ok((Outcome::RefusedToOpen, error.to_string())),
        Err(error) => return Err(format!("the error does not say what is damaged: {error}")),
    };
    let read = store.set_tables(&definitions()).and_then(|()| Ok((read_contents(&store)?, read_hints(&store)?)));
    let (contents, hints) = match read {
        Ok(read) => read,
        Err(error) if names_a_file(&error, directory) => {
            if verified.is_empty() {
                return Err(format!("verification misses what a read finds: {error}"));
            }
            return Ok((Outcome::FoundByRead, error.to_string()));
        }
        Err(error) => return Err(format!("the error does not say what is damaged: {error}")),
    };
    if contents != *expected {
        return Err("other contents are read and nothing said so".to_owned());
    }
    let hints_damaged = store.status().hints_damaged > 0;
    if !hints_are_whole(&hints, expected_hints) && !hints_damaged {
        return Err("other hints are read and nothing said so".to_owned());
    }
    if hints_damaged || !verified.is_empty() {
        return Ok((Outcome::FoundByVerify, verified.join("; ")));
    }
    Ok((Outcome::Harmless, String::new()))
}

#[test]
fn no_damage_is_silent() {
    let (cycles, first) = (setting("HELENUS_CYCLES", CYCLES), setting("HELENUS_SEED", 1));
    let mut outcomes: BTreeMap<Outcome, u64> = BTreeMap::new();
    let mut history: Option<(u64, tempfile::TempDir, Contents, Hints)> = None;
    for seed in first..first + cycles {
        let of_history = seed / DAMAGES_PER_HISTORY;
        let root = tempfile::tempdir().unwrap();
        if history.as_ref().is_none_or(|(number, ..)| *number != of_history) {
            let pristine = tempfile::tempdir().unwrap();
            let (acknowledged, hints) = write_history(pristine.path(), of_history);
            copy(pristine.path(), root.path());
            let store = Store::open(options(root.path())).unwrap();
            let contents = read_contents(&store).unwrap();
            check_acknowledged(&contents, &acknowledged);
            assert!(hints_are_whole(&read_hints(&store).unwrap(), &hints));
            drop(store);
            assert_eq!(inspect::verify(root.path(), &mut |_| {}).unwrap().damage, []);
            history = Some((of_history, pristine, contents, hints));
        }
        let (_, pristine, contents, hints) = history.as_ref().unwrap();
        let directory = root.path().join("damaged");
        copy(pristine.path(), &directory);
        let what = damage(&directory, &mut Rng::new(seed));
        let examined = examine(&directory, contents, hints);
        let (outcome, how) = examined.unwrap_or_else(|silent| panic!("seed {seed}: {what}: {silent}"));
        println!("seed {seed}: {what}: {outcome:?} {how}");
        *outcomes.entry(outcome).or_default() += 1;
    }
    println!("{cycles} damages: {outcomes:?}");
}
