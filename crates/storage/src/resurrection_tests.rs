//! Deleted data stays deleted: a test for each way in which it has come back elsewhere, named after the ticket in
//! which that was found. `node::conformance` holds what every store must do; here is what depends on files, levels,
//! logs and merges of RocksDB.
//!
//! What does not apply, and why:
//! * CASSANDRA-6503, 20071 (files that are streamed in after the purge), CASSANDRA-16418, 18824 (cleanup): nothing is
//!   streamed between nodes and no range changes its owner. A late arrival by any way is
//!   `what_arrives_after_the_grace_is_no_worse_off_than_without_the_sweep`.
//! * CASSANDRA-9917 (the batch log), scylla #24415: there are no logged batches.
//! * CASSANDRA-4655, scylla #14870 part 2 (truncate): a truncated table is a new one, and what comes late for the old
//!   one is refused: `tables_come_and_go` of the conformance suite.
//! * PartialCompactionsTest (rows in files that a compaction leaves out): a sweep looks at the rows of a partition
//!   once more before its deletion goes; `garbage::tests` has it.
//! * RepairedDataTombstonesTest: there is no repair, so no repaired half of the data.
//! * CASSANDRA-11427 (read repair sends purged tombstones back): `node::coordinator::reconcile`, whose
//!   `a_replica_that_has_purged_is_sent_nothing_and_sends_nothing_back` is it.
//! * CASSANDRA-15369 (purgeable tombstones make digests differ):
//!   `replicas_that_purged_at_different_times_have_equal_digests` of `model::digest`.
//! * CASSANDRA-5314, 12982 (hints older than the grace): `node::hints`.
//! * CASSANDRA-14513, 14330 (open range tombstones in reversed and paged reads): deletions are answered as closed
//!   ranges; `limits_end_a_read_and_after_resumes_it` of the conformance suite reads them in pages both ways.

use crate::layout;
use crate::store::Store;
use crate::tests::{plain, small_options};
use bytes::Bytes;
use model::codec::{Decode, Encode};
use model::deletion::{Deletion, PartitionDeletions};
use model::garbage::Purge;
use model::read::Slice;
use model::row::{Expiry, Liveness};
use model::{
    Cell, ColumnId, Mutation, PartitionKey, ReadCommand, ReadData, Record, RecordKey, Rng, Row, TableId, Token,
};
use node::storage::{GarbageReport, GarbageSweep, Storage, Write};
use rocksdb::WaitForCompactOptions;
use std::ops::RangeInclusive;
use std::sync::Arc;
use tempfile::TempDir;

const TABLE: TableId = TableId(0xa1);
const OTHER: TableId = TableId(0xa2);
/// When all deletions of these tests are made, and the first second at which they are garbage.
const MADE: u32 = 100;
const GARBAGE: u32 = 101;
const EVERYWHERE: RangeInclusive<Token> = Token::MINIMUM..=Token(i64::MAX);

struct Fixture {
    store: Option<Store>,
    directory: TempDir,
}

impl Fixture {
    fn new() -> Fixture {
        let directory = tempfile::tempdir().unwrap();
        let mut fixture = Fixture { store: None, directory };
        fixture.reopen();
        fixture.store().set_tables(&plain(&[TABLE, OTHER])).unwrap();
        fixture
    }

    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    fn reopen(&mut self) {
        self.store = None;
        self.store = Some(Store::open(small_options(self.directory.path())).unwrap());
    }

    /// The process dies: goes on in a copy of what the operating system has.
    fn crash(&mut self) {
        let copy = tempfile::tempdir().unwrap();
        copy_files(self.directory.path(), copy.path());
        self.store = None;
        self.directory = copy;
        self.reopen();
    }

    fn apply(&self, mutation: Mutation) {
        for result in self.store().commit(&[Write::Apply(Arc::new(mutation))], false).unwrap() {
            result.unwrap();
        }
    }

    fn row(&self, partition: &PartitionKey, at: u32, row: &Row) {
        let records = vec![Record::row(clustering(at), row)];
        self.apply(Mutation { table: TABLE, partition: partition.clone(), records });
    }

    fn delete(&self, partition: &PartitionKey, deletions: &PartitionDeletions) {
        let records = vec![Record::deletions(deletions)];
        self.apply(Mutation { table: TABLE, partition: partition.clone(), records });
    }

    fn sweep(&self, tokens: RangeInclusive<Token>) -> GarbageReport {
        let purge = Purge { now_seconds: GARBAGE, gc_before_seconds: GARBAGE, ..Purge::default() };
        self.store().collect_garbage(&GarbageSweep { table: TABLE, tokens, purge }).unwrap()
    }

    fn read(&self, partition: &PartitionKey) -> ReadData {
        let command = ReadCommand {
            table: TABLE,
            partition: partition.clone(),
            slices: vec![Slice::all()],
            reversed: false,
            static_row: true,
            row_limit: u32::MAX,
            bytes_limit: u32::MAX,
            now_seconds: 0,
            gc_before_seconds: 0,
            dropped_columns: Vec::new(),
            tombstone_limit: u32::MAX,
        };
        self.store().read(&command).unwrap()
    }

    /// What RocksDB has at the key of a record.
    fn stored(&self, partition: &PartitionKey, key: &RecordKey) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        layout::put_record(&mut bytes, partition, key);
        let db = &self.store().inner().db;
        let family = db.cf_handle(&self.store().inner().table(TABLE).unwrap().name).unwrap();
        db.get_cf(&family, bytes).unwrap()
    }

    /// Fills the last level with so much that the first one below level 0 is level 5. No partition of the tests is
    /// lower than `lowest`, and nothing of it is in the last level.
    fn fill_last_level(&self, lowest: &PartitionKey, rest: &PartitionKey) {
        assert!(lowest.token < rest.token);
        let db = &self.store().inner().db;
        let family = db.cf_handle(&self.store().inner().table(TABLE).unwrap().name).unwrap();
        db.set_options_cf(&family, &[("max_bytes_for_level_base", "32768")]).unwrap();
        let mut rng = Rng::new(1);
        for at in 1_000..1_100 {
            let value: Vec<u8> = (0..2_000).map(|_| rng.next_u64() as u8).collect();
            let cell = Cell::live(1, Bytes::from(value));
            self.row(rest, at, &Row::new(None, None, vec![(ColumnId(1), cell)]));
        }
        self.store().compact().unwrap();
        assert_eq!(self.levels().last(), Some(&6));
    }

    /// Moves what has been written since the last time to a level; to level 5 with rows of `lowest`, by which the
    /// files overlap that RocksDB compacts by itself.
    fn settle(&self, level: i32, lowest: &PartitionKey) {
        match level {
            0 => self.store().flush().unwrap(),
            5 => {
                while !self.levels().contains(&5) {
                    self.row(lowest, 1, &live(1));
                    self.store().flush().unwrap();
                    self.store().inner().db.wait_for_compact(&WaitForCompactOptions::default()).unwrap();
                }
            }
            _ => self.store().compact().unwrap(),
        }
    }

    fn levels(&self) -> Vec<i32> {
        let files = self.store().inner().db.live_files().unwrap();
        let name = &self.store().inner().table(TABLE).unwrap().name;
        let mut levels: Vec<i32> =
            files.iter().filter(|file| file.column_family_name == *name).map(|file| file.level).collect();
        levels.sort_unstable();
        levels
    }
}

fn copy_files(from: &std::path::Path, to: &std::path::Path) {
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            std::fs::create_dir(&target).unwrap();
            copy_files(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn partition(name: &str) -> PartitionKey {
    PartitionKey::new(Bytes::copy_from_slice(name.as_bytes()))
}

/// Partitions in the order of their tokens.
fn partitions(count: usize) -> Vec<PartitionKey> {
    let mut partitions: Vec<PartitionKey> = (0..count).map(|number| partition(&number.to_string())).collect();
    partitions.sort_by_key(|partition| partition.token);
    partitions
}

fn clustering(number: u32) -> Bytes {
    Bytes::from([&[0x40][..], &number.to_be_bytes(), &[0x38]].concat())
}

fn live(timestamp: i64) -> Row {
    let cell = Cell::live(timestamp, Bytes::from_static(b"value"));
    Row::new(Some(Liveness { timestamp, expiry: None }), None, vec![(ColumnId(1), cell)])
}

fn deletion(timestamp: i64) -> Deletion {
    Deletion { timestamp, local_seconds: MADE }
}

fn whole(timestamp: i64) -> PartitionDeletions {
    PartitionDeletions::of_partition(deletion(timestamp))
}

fn cell_tombstone(timestamp: i64) -> Row {
    Row::new(None, Some(deletion(timestamp - 1)), vec![(ColumnId(1), Cell::tombstone(timestamp, MADE))])
}

/// CASSANDRA-18507, CompactionsPurgeTest.testMinorCompactionPurge, NeverPurgeTest: a compaction of some of the files
/// purges nothing, whatever its age, for what lies in the others.
#[test]
fn only_a_sweep_purges() {
    let fixture = Fixture::new();
    let all = partitions(4);
    let p = &all[2];
    fixture.fill_last_level(&all[0], p);
    fixture.row(p, 1, &live(5));
    fixture.row(p, 2, &live(5));
    fixture.settle(6, &all[0]);
    fixture.row(p, 1, &cell_tombstone(6));
    fixture.row(p, 2, &Row::deleted(deletion(6)));
    fixture.delete(p, &whole(1));
    fixture.settle(5, &all[0]);
    let tombstones = [(clustering(1), cell_tombstone(6)), (clustering(2), Row::deleted(deletion(6)))];
    for _ in 0..2 {
        let data = fixture.read(p);
        assert_eq!(data.rows, tombstones.clone().map(|(key, row)| (key, row.to_bytes())));
        assert_eq!(data.deletions, whole(1));
        // A compaction of everything, by hand, is no sweep either.
        fixture.store().compact().unwrap();
    }
    fixture.sweep(EVERYWHERE);
    assert_eq!(fixture.read(p), ReadData::default());
}

/// CASSANDRA-9949, scylla #1745, #23252: the tombstone is on disk, the older value only in memory.
#[test]
fn what_is_in_the_memtable_is_shadowed_before_the_tombstone_goes() {
    let fixture = Fixture::new();
    let (p, q) = (partition("p"), partition("q"));
    fixture.row(&p, 1, &cell_tombstone(6));
    fixture.delete(&q, &whole(6));
    fixture.store().compact().unwrap();
    fixture.row(&p, 1, &live(5));
    fixture.row(&q, 1, &live(6));
    let report = fixture.sweep(EVERYWHERE);
    assert_eq!(report.deletions_removed, 1);
    assert_eq!(fixture.read(&p), ReadData::default());
    assert_eq!(fixture.read(&q), ReadData::default());
    assert_eq!(fixture.stored(&q, &RecordKey::Deletions), None);
}

/// CompactionsPurgeTest.testMajorCompactionPurge, testMinMaxTimestampPurging: every order of value and tombstone over
/// the levels.
#[test]
fn value_and_tombstone_may_lie_on_any_levels() {
    for (value_level, tombstone_level) in [(6, 5), (5, 6), (6, 0), (0, 6), (5, 0), (0, 5), (0, 0), (5, 5), (6, 6)] {
        let fixture = Fixture::new();
        let all = partitions(4);
        let (p, q) = (&all[2], &all[3]);
        fixture.fill_last_level(&all[0], &all[1]);
        let mut steps = [(value_level, true), (tombstone_level, false)];
        // The lower level is filled first.
        steps.sort_by_key(|(level, _)| std::cmp::Reverse(*level));
        for (level, is_value) in steps {
            if is_value {
                (1..=3).for_each(|at| fixture.row(p, at, &live(5)));
                fixture.row(q, 1, &live(5));
            } else {
                fixture.row(p, 1, &cell_tombstone(6));
                fixture.row(p, 2, &Row::deleted(deletion(5)));
                fixture.delete(p, &PartitionDeletions::of_range(clustering(3), clustering(4), deletion(5)));
                fixture.delete(q, &whole(5));
            }
            fixture.settle(level, &all[0]);
        }
        let report = fixture.sweep(p.token..=q.token);
        assert_eq!(report.deletions_removed, 2);
        for partition in [p, q] {
            assert_eq!(fixture.read(partition), ReadData::default(), "{value_level} and {tombstone_level}");
        }
    }
}

/// CASSANDRA-18507 for a part of the tokens: files reach beyond what is swept, and what lies beyond keeps its
/// tombstones, since what it shadows may be elsewhere.
#[test]
fn beyond_the_tokens_of_a_sweep_nothing_is_purged() {
    let fixture = Fixture::new();
    let all = partitions(9);
    for partition in &all {
        fixture.row(partition, 1, &cell_tombstone(6));
        fixture.row(partition, 2, &Row::deleted(deletion(6)));
        fixture.delete(partition, &whole(3));
    }
    fixture.store().compact().unwrap();
    for partition in &all {
        // Still above the files that the sweep rewrites.
        fixture.row(partition, 1, &live(5));
        fixture.row(partition, 3, &live(3));
    }
    fixture.sweep(all[3].token..=all[5].token);
    for (index, partition) in all.iter().enumerate() {
        let data = fixture.read(partition);
        let tombstones = [(clustering(1), cell_tombstone(6)), (clustering(2), Row::deleted(deletion(6)))];
        if (3..=5).contains(&index) {
            assert_eq!(data, ReadData::default());
        } else {
            assert_eq!(data.rows, tombstones.map(|(key, row)| (key, row.to_bytes())));
            assert_eq!(data.deletions, whole(3));
        }
    }
}

/// scylla #14870: one log for all tables. A table that is seldom flushed pins log files in which values and
/// tombstones of another one are, whose tombstones have been purged since.
#[test]
fn the_log_does_not_bring_back_what_was_purged() {
    let mut fixture = Fixture::new();
    let (p, q) = (partition("p"), partition("q"));
    let records = vec![Record::row(clustering(1), &live(1))];
    fixture.apply(Mutation { table: OTHER, partition: p.clone(), records });
    fixture.row(&p, 1, &live(5));
    fixture.row(&q, 1, &live(5));
    fixture.row(&p, 1, &cell_tombstone(6));
    fixture.delete(&q, &whole(6));
    fixture.sweep(EVERYWHERE);
    for _ in 0..2 {
        fixture.crash();
        assert_eq!(fixture.read(&p), ReadData::default());
        assert_eq!(fixture.read(&q), ReadData::default());
        fixture.sweep(EVERYWHERE);
    }
}

/// A crash between the steps of a sweep: the rows are purged, the deletion is still there; and the other way round
/// never happens.
#[test]
fn a_sweep_that_was_interrupted_is_repeated() {
    let mut fixture = Fixture::new();
    let p = partition("p");
    fixture.row(&p, 1, &live(5));
    fixture.delete(&p, &whole(6));
    let before = tempfile::tempdir().unwrap();
    fixture.store().flush().unwrap();
    copy_files(fixture.directory.path(), before.path());
    fixture.sweep(EVERYWHERE);
    assert_eq!(fixture.read(&p), ReadData::default());
    // Not synced: a power failure takes the removal away, and nothing else.
    fixture.store = None;
    fixture.directory = before;
    fixture.reopen();
    assert_eq!(fixture.read(&p), ReadData { deletions: whole(6), tombstones: 1, ..ReadData::default() });
    assert_eq!(fixture.sweep(EVERYWHERE).deletions_removed, 1);
    let again = fixture.sweep(EVERYWHERE);
    assert_eq!((again.deletions_removed, again.rows_reduced), (0, 0));
    assert_eq!(fixture.read(&p), ReadData::default());
}

/// PurgeFunction over every form in which a row is stored: merge records in files and in memory, a value that was put
/// for a hot key and changed since, and what a compaction has put together.
#[test]
fn a_row_is_purged_in_whatever_form_it_is_stored() {
    let fixture = Fixture::new();
    let p = partition("p");
    fixture.row(&p, 1, &live(5));
    fixture.store().flush().unwrap();
    fixture.row(&p, 1, &cell_tombstone(6));
    fixture.row(&p, 2, &cell_tombstone(6).merge(live(9)));
    for _ in 0..40 {
        fixture.row(&p, 3, &cell_tombstone(6));
    }
    fixture.row(&p, 3, &live(5));
    fixture.sweep(EVERYWHERE);
    let stored = |at| fixture.stored(&p, &RecordKey::Row(clustering(at))).map(Bytes::from);
    assert_eq!([stored(1), stored(2), stored(3)], [None, Some(live(9).to_bytes()), None]);
    fixture.row(&p, 2, &Row::deleted(deletion(10)));
    fixture.sweep(EVERYWHERE);
    assert_eq!(stored(2), None);
}

/// CASSANDRA-12792: tombstones at the ends of the timestamps.
#[test]
fn tombstones_of_extreme_timestamps_shadow_and_go_like_others() {
    for timestamp in [i64::MIN, i64::MAX] {
        let fixture = Fixture::new();
        let (p, q) = (partition("p"), partition("q"));
        fixture.row(&p, 1, &live(timestamp));
        fixture.row(&q, 1, &live(timestamp));
        fixture.row(&p, 1, &Row::deleted(deletion(timestamp)));
        fixture.delete(&q, &whole(timestamp));
        fixture.sweep(EVERYWHERE);
        assert_eq!(fixture.read(&p), ReadData::default());
        assert_eq!(fixture.read(&q), ReadData::default());
        fixture.row(&p, 1, &live(timestamp));
        assert_eq!(fixture.read(&p).rows.len(), 1, "written anew after the tombstone is gone");
    }
}

/// TTLExpiryTest, CASSANDRA-13643: what has expired goes once it was written longer ago than the grace; until then it
/// shadows what is older, also without its value.
#[test]
fn what_has_expired_shadows_until_it_is_garbage() {
    let fixture = Fixture::new();
    let p = partition("p");
    let expiring = |ttl_seconds: u32, written: u32| {
        let expiry = Expiry { ttl_seconds, at_seconds: written + ttl_seconds };
        let cell = Cell::expiring(6, Bytes::from_static(b"short"), expiry);
        Row::new(Some(Liveness { timestamp: 6, expiry: Some(expiry) }), None, vec![(ColumnId(1), cell)])
    };
    fixture.row(&p, 1, &expiring(1, MADE - 1));
    fixture.row(&p, 2, &expiring(0, GARBAGE));
    fixture.row(&p, 3, &expiring(50, MADE - 50));
    fixture.row(&p, 4, &expiring(51, MADE - 49));
    fixture.store().compact().unwrap();
    (1..=4).for_each(|at| fixture.row(&p, at, &live(5)));
    fixture.sweep(EVERYWHERE);
    let rows = fixture.read(&p).rows;
    let mut stub = expiring(0, GARBAGE);
    stub.drop_expired_values(i64::from(GARBAGE));
    // The second has expired and was written in the grace; the fourth was written long ago and has not expired.
    let expected = [(clustering(2), stub), (clustering(4), expiring(51, MADE - 49))];
    assert_eq!(rows, expected.map(|(key, row)| (key, row.to_bytes())));
}

/// CASSANDRA-14092, 14227: times at the end of what 32 bits hold neither wrap nor expire.
#[test]
fn the_end_of_time_is_not_reached_by_wrapping() {
    let fixture = Fixture::new();
    let p = partition("p");
    let expiry = Expiry { ttl_seconds: u32::MAX, at_seconds: u32::MAX };
    let cell = Cell::expiring(6, Bytes::from_static(b"long"), expiry);
    let row = Row::new(None, None, vec![(ColumnId(1), cell), (ColumnId(2), Cell::tombstone(6, u32::MAX))]);
    fixture.row(&p, 1, &row);
    fixture.delete(&p, &PartitionDeletions::of_partition(Deletion { timestamp: 1, local_seconds: u32::MAX }));
    fixture.sweep(EVERYWHERE);
    let data = fixture.read(&p);
    assert_eq!(data.rows, [(clustering(1), row.to_bytes())]);
    assert!(!data.deletions.is_empty());
}

/// scylla #19101: partitions with one token have deletions of their own.
#[test]
fn partitions_that_share_a_token_keep_their_own_deletions() {
    let fixture = Fixture::new();
    let of = |bytes: &'static [u8]| PartitionKey { token: Token(7), bytes: Bytes::from_static(bytes) };
    let all = [of(b"a"), of(b"aa"), of(b"b"), of(b"")];
    all.iter().for_each(|partition| fixture.row(partition, 1, &live(5)));
    fixture.delete(&all[0], &whole(6));
    fixture.delete(&all[2], &PartitionDeletions::of_range(clustering(0), clustering(9), deletion(6)));
    fixture.sweep(Token(7)..=Token(7));
    let left: Vec<usize> = all.iter().map(|partition| fixture.read(partition).rows.len()).collect();
    assert_eq!(left, [0, 1, 0, 1]);
}

/// CASSANDRA-6503, scylla test_resurrection: what was under way for longer than the grace is seen, as on a replica
/// that purged earlier, and is neither lost nor purged.
#[test]
fn what_arrives_after_the_grace_is_no_worse_off_than_without_the_sweep() {
    let fixture = Fixture::new();
    let p = partition("p");
    fixture.row(&p, 1, &cell_tombstone(6));
    fixture.sweep(EVERYWHERE);
    fixture.row(&p, 1, &live(5));
    fixture.sweep(EVERYWHERE);
    assert_eq!(fixture.read(&p).rows, [(clustering(1), live(5).to_bytes())]);
    // And is deleted by a deletion of its own.
    fixture.row(&p, 1, &Row::deleted(Deletion { timestamp: 5, local_seconds: GARBAGE }));
    fixture.sweep(EVERYWHERE);
    let data = fixture.read(&p);
    assert!(Row::from_bytes(&data.rows[0].1).unwrap().deletion().is_some(), "in its grace");
}

/// CompactionsPurgeTest.testCompactionPurgeTombstonedPartition, testRowTombstoneObservedBeforePurging: a deletion is
/// seen by readers until the very sweep that removes it, and newer rows of the partition stay.
#[test]
fn a_partition_that_was_deleted_and_written_anew_keeps_what_is_new() {
    let fixture = Fixture::new();
    let p = partition("p");
    (1..=200).for_each(|at| fixture.row(&p, at, &live(i64::from(at))));
    fixture.delete(&p, &whole(100));
    fixture.store().compact().unwrap();
    assert_eq!(fixture.read(&p).deletions, whole(100));
    fixture.sweep(EVERYWHERE);
    let data = fixture.read(&p);
    assert_eq!((data.deletions.is_empty(), data.rows.len()), (true, 100));
    assert_eq!(data.rows[0].0, clustering(101));
    assert_eq!(fixture.stored(&p, &RecordKey::Row(clustering(100))), None);
}

/// Of many deletions in one partition exactly those that are garbage go, and one that arrives during the sweep stays.
#[test]
fn deletions_that_arrive_during_a_sweep_stay() {
    let fixture = Fixture::new();
    let all = partitions(64);
    let range = |from: u32, deletion| PartitionDeletions::of_range(clustering(from), clustering(from + 2), deletion);
    for partition in &all {
        fixture.delete(partition, &whole(3).merge(&range(0, deletion(10))));
        fixture.row(partition, 0, &live(9));
        fixture.row(partition, 7, &live(4));
    }
    let fresh = Deletion { timestamp: 12, local_seconds: GARBAGE };
    std::thread::scope(|scope| {
        let sweeping = scope.spawn(|| fixture.sweep(EVERYWHERE));
        all.iter().for_each(|partition| fixture.delete(partition, &range(1, fresh)));
        sweeping.join().unwrap();
    });
    for partition in &all {
        let data = fixture.read(partition);
        // The writer may have come before the sweep or after it: its own range stays whole either way.
        for at in 0..9 {
            let expected = (1..3).contains(&at).then_some(fresh);
            assert_eq!(data.deletions.covering(&clustering(at)), expected, "{at}");
        }
        assert_eq!(data.rows.len(), 1);
    }
}
