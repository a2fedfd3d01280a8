//! The contract of [`Storage`](crate::storage::Storage) as tests. Every implementation passes [`run`]: the
//! one on RocksDB and the simulated disk answer alike, byte for byte, so that what the simulator proves of
//! the logic holds on a real disk.
//!
//! Scenarios pin single rules; [`differential`] compares random histories with a reference that keeps
//! decoded rows in ordered maps and answers reads in the most naive way.

#![allow(clippy::unwrap_used, reason = "a test suite: a failure is to panic where it is noticed")]

#[path = "conformance_garbage.rs"]
mod garbage;
#[path = "conformance_indexes.rs"]
mod indexes;
#[path = "conformance_ranges.rs"]
mod ranges;
#[path = "conformance_reference.rs"]
mod reference;

use crate::storage::{Hint, HintPosition, Storage, StorageError, Write};
use bytes::Bytes;
use model::codec::{Decode, Encode};
use model::counter::{self, Shard};
use model::deletion::{Deletion, PartitionDeletions};
use model::local::{LocalWrite, register_key};
use model::read::Slice;
use model::row::Expiry;
use model::schema::Table;
use model::{
    Cell, CellState, ColumnId, ComplexColumn, Liveness, Mutation, NodeId, PartitionKey, ReadCommand, ReadData, Record,
    RecordKey, Rng, Row, TableId, Token, TokenRange,
};
use reference::Reference;
use std::sync::Arc;

/// One store under test, over its restarts.
pub trait Harness {
    /// Opens the store with what is left of before; at first it is empty. The one opened before has been
    /// dropped.
    fn open(&mut self) -> Box<dyn Storage>;

    /// The process dies now: the next [`Harness::open`] finds what the operating system has. The open store
    /// is not used again and dropped afterwards.
    fn crash_process(&mut self);

    /// The power fails now: the next [`Harness::open`] finds what was synced, and maybe more. As for the
    /// open store, see [`Harness::crash_process`]. False when the harness cannot do this.
    fn crash_power(&mut self) -> bool {
        false
    }

    /// Has the open store do some of what it does by itself at times: flush, compact.
    fn disturb(&mut self, _rng: &mut Rng) {}
}

/// Makes harnesses, each with an empty store.
pub type MakeHarness<'a> = dyn FnMut() -> Box<dyn Harness> + 'a;

/// Runs every scenario, and [`differential`] with 20,000 operations. Panics when one does not hold.
pub fn run(make: &mut MakeHarness<'_>) {
    for scenario in [
        what_is_committed_is_read_back,
        applying_a_mutation_again_changes_nothing,
        the_order_of_mutations_does_not_matter,
        deletions_cover_what_is_older_and_nothing_else,
        slices_are_walked_in_both_directions,
        limits_end_a_read_and_after_resumes_it,
        rows_expire_at_the_second_of_the_command,
        the_static_row_is_apart_from_the_others,
        elements_and_shards_merge_in_the_store,
        a_write_that_is_not_valid_fails_alone,
        ranges_that_are_dropped_are_gone_and_others_are_not,
        tables_come_and_go,
        local_records_are_kept_apart_and_in_order,
        hints_come_in_order_until_they_are_delivered,
        positions_of_hints_are_never_used_twice,
        no_hint_is_kept_beside_one_that_is_older_than_the_window,
        what_was_committed_survives_the_process,
        what_was_synced_survives_a_power_failure,
        garbage::a_sweep_takes_out_what_is_garbage_and_nothing_else,
        garbage::what_a_removed_deletion_shadowed_never_comes_back,
        garbage::what_is_in_its_grace_stays,
        garbage::a_sweep_is_of_its_tokens_and_its_table,
        garbage::what_comes_after_a_sweep_is_not_lost,
    ] as [fn(&mut MakeHarness<'_>); 23]
    {
        scenario(make);
    }
    ranges::run(make);
    indexes::run(make);
    differential(make, 1, 20_000);
    garbage::differential(make, 1, 10_000);
}

/// A harness and its open store.
struct Session {
    harness: Box<dyn Harness>,
    storage: Option<Box<dyn Storage>>,
}

impl Session {
    fn new(make: &mut MakeHarness<'_>) -> Session {
        let mut session = Session { harness: make(), storage: None };
        session.reopen();
        session.storage().set_tables(&tables(&[TABLE, OTHER_TABLE])).unwrap();
        session
    }

    fn storage(&self) -> &dyn Storage {
        self.storage.as_deref().unwrap()
    }

    fn reopen(&mut self) {
        self.storage = None;
        self.storage = Some(self.harness.open());
    }

    fn crash_process(&mut self) {
        self.harness.crash_process();
        self.reopen();
    }

    /// False when the harness cannot.
    fn crash_power(&mut self) -> bool {
        let crashed = self.harness.crash_power();
        if crashed {
            self.reopen();
        }
        crashed
    }

    /// Commits writes all of which succeed.
    fn commit(&self, group: &[Write], sync: bool) {
        for result in self.storage().commit(group, sync).unwrap() {
            result.unwrap();
        }
    }

    fn apply(&self, mutations: &[Arc<Mutation>]) {
        let group: Vec<Write> = mutations.iter().cloned().map(Write::Apply).collect();
        self.commit(&group, false);
    }

    fn read(&self, command: &ReadCommand) -> ReadData {
        ranges::read_and_digest(self.storage(), command).unwrap()
    }
}

const TABLE: TableId = TableId(0xa1);
const OTHER_TABLE: TableId = TableId(0xa2);

/// What the store is told of tables with these ids.
fn tables(ids: &[TableId]) -> Vec<Arc<Table>> {
    ids.iter().map(|id| Arc::new(Table::plain(*id))).collect()
}
const TARGET: NodeId = NodeId(0xb1);

fn partition(name: &str) -> PartitionKey {
    PartitionKey::new(Bytes::copy_from_slice(name.as_bytes()))
}

/// An encoded clustering key of one byte.
fn clustering(byte: u8) -> Bytes {
    Bytes::from(vec![0x40, byte, 0x38])
}

fn deletion(timestamp: i64) -> Deletion {
    Deletion { timestamp, local_seconds: 7 }
}

fn live_row(timestamp: i64, value: &[u8]) -> Row {
    let cell = Cell::live(timestamp, Bytes::copy_from_slice(value));
    Row::new(Some(Liveness { timestamp, expiry: None }), None, vec![(ColumnId(3), cell)])
}

fn mutation(table: TableId, name: &str, mut records: Vec<Record>) -> Arc<Mutation> {
    records.sort_by(|a, b| a.key.cmp(&b.key));
    Arc::new(Mutation { table, partition: partition(name), records })
}

fn put(name: &str, at: u8, row: &Row) -> Arc<Mutation> {
    mutation(TABLE, name, vec![Record::row(clustering(at), row)])
}

fn delete(name: &str, deletions: &PartitionDeletions) -> Arc<Mutation> {
    mutation(TABLE, name, vec![Record::deletions(deletions)])
}

/// Reads the whole partition.
fn all(name: &str) -> ReadCommand {
    ReadCommand {
        table: TABLE,
        partition: partition(name),
        slices: vec![Slice::all()],
        reversed: false,
        static_row: true,
        row_limit: u32::MAX,
        bytes_limit: u32::MAX,
        now_seconds: 1_000,
        tombstone_limit: u32::MAX,
        gc_before_seconds: 0,
        dropped_columns: Vec::new(),
    }
}

fn point(name: &str, at: &[u8]) -> ReadCommand {
    let slice = |byte: &u8| {
        let mut end = clustering(*byte).to_vec();
        end.push(0);
        Slice { start: clustering(*byte), end: Bytes::from(end) }
    };
    ReadCommand { slices: at.iter().map(slice).collect(), static_row: false, ..all(name) }
}

/// The middle bytes of the keys of rows made by [`clustering`].
fn keys(data: &ReadData) -> Vec<u8> {
    data.rows.iter().map(|(clustering, _)| clustering[1]).collect()
}

fn what_is_committed_is_read_back(make: &mut MakeHarness<'_>) {
    let session = Session::new(make);
    assert_eq!(session.read(&all("p")), ReadData::default(), "an unknown partition is empty");
    let row = live_row(5, b"v");
    session.apply(&[put("p", 1, &row)]);
    session.commit(&[Write::Apply(mutation(OTHER_TABLE, "p", vec![Record::row(clustering(2), &row)]))], true);
    let expected = ReadData { rows: vec![(clustering(1), row.to_bytes())], ..ReadData::default() };
    assert_eq!(session.read(&all("p")), expected);
    assert_eq!(session.read(&point("p", &[1])), expected);
    assert_eq!(session.read(&point("p", &[2])), ReadData::default(), "a row of another table");
    assert_eq!(session.read(&all("q")), ReadData::default(), "another partition");
    let other = ReadCommand { table: OTHER_TABLE, ..all("p") };
    assert_eq!(keys(&session.read(&other)), [2]);
    // A partition key that starts with another one, and an empty one.
    session.apply(&[put("", 1, &row), put("pp", 3, &row)]);
    assert_eq!(session.read(&all("p")), expected);
    assert_eq!(keys(&session.read(&all(""))), [1]);
    let unknown = session.storage().read(&ReadCommand { table: TableId(0xdead), ..all("p") });
    assert!(matches!(unknown, Err(StorageError::Invalid(_))), "{unknown:?}");
}

fn applying_a_mutation_again_changes_nothing(make: &mut MakeHarness<'_>) {
    let mut session = Session::new(make);
    let range = PartitionDeletions::of_range(clustering(4), clustering(6), deletion(4));
    let mutations = [put("p", 1, &live_row(5, b"v")), put("p", 5, &live_row(5, b"w")), delete("p", &range)];
    session.apply(&mutations);
    let once = session.read(&all("p"));
    session.apply(&mutations);
    session.apply(&[mutations[1].clone(), mutations[1].clone(), mutations[0].clone()]);
    assert_eq!(session.read(&all("p")), once);
    session.harness.disturb(&mut Rng::new(1));
    assert_eq!(session.read(&all("p")), once);
}

fn the_order_of_mutations_does_not_matter(make: &mut MakeHarness<'_>) {
    for seed in 0..6 {
        let mut rng = Rng::new(seed);
        let mut mutations: Vec<_> = (0..120).map(|_| reference::random_mutation(&mut rng, TABLE)).collect();
        let first = Session::new(make);
        mutations.iter().for_each(|mutation| first.apply(std::slice::from_ref(mutation)));
        let mut second = Session::new(make);
        rng.shuffle(&mut mutations);
        let mut rest = &mutations[..];
        while !rest.is_empty() {
            let (group, others) = rest.split_at(rng.between(1, rest.len().min(40) as u64) as usize);
            second.apply(group);
            second.harness.disturb(&mut rng);
            rest = others;
        }
        for _ in 0..100 {
            let command = reference::random_command(&mut rng, TABLE);
            let (a, b) = (first.read(&command), second.read(&command));
            assert_eq!(a.to_bytes(), b.to_bytes(), "seed {seed}, {command:?}\n{a:?}\n{b:?}");
        }
    }
}

fn deletions_cover_what_is_older_and_nothing_else(make: &mut MakeHarness<'_>) {
    let session = Session::new(make);
    let rows: Vec<_> = (1..=9).map(|at| put("p", at, &live_row(i64::from(at), b"v"))).collect();
    session.apply(&rows);
    session.apply(&[put("q", 1, &live_row(1, b"v"))]);
    let range = PartitionDeletions::of_range(clustering(4), clustering(8), deletion(6));
    session.apply(&[delete("p", &range)]);
    let data = session.read(&all("p"));
    assert_eq!(keys(&data), [1, 2, 3, 7, 8, 9]);
    assert_eq!(data.deletions, range);
    assert_eq!(keys(&session.read(&point("p", &[3, 4, 6, 7]))), [3, 7]);
    let point_of_deleted = session.read(&point("p", &[4]));
    let clipped = PartitionDeletions::of_range(clustering(4), point("p", &[4]).slices[0].end.clone(), deletion(6));
    assert_eq!(point_of_deleted, ReadData { deletions: clipped, tombstones: 1, ..ReadData::default() });
    // A deletion and a newer row in one mutation; what arrives late is covered too.
    let whole = PartitionDeletions::of_partition(deletion(8));
    let renewed = Record::row(clustering(2), &live_row(20, b"new"));
    session.apply(&[mutation(TABLE, "p", vec![Record::deletions(&whole), renewed])]);
    session.apply(&[put("p", 3, &live_row(8, b"late")), put("p", 4, &Row::deleted(deletion(8)))]);
    let data = session.read(&all("p"));
    assert_eq!(keys(&data), [2, 9]);
    assert_eq!(data.deletions, whole);
    // A row deletion stays in the answer as a row that is not live.
    session.apply(&[put("p", 9, &Row::deleted(deletion(30)))]);
    let data = session.read(&all("p"));
    assert_eq!(data.rows[1], (clustering(9), Row::deleted(deletion(30)).to_bytes()));
    assert_eq!(keys(&session.read(&all("q"))), [1]);
}

fn slices_are_walked_in_both_directions(make: &mut MakeHarness<'_>) {
    let mut session = Session::new(make);
    let rows: Vec<_> = (1..=20).map(|at| put("p", at, &live_row(i64::from(at), b"v"))).collect();
    session.apply(&rows);
    session.apply(&[put("o", 5, &live_row(1, b"v")), put("q", 5, &live_row(1, b"v"))]);
    for round in 0..2 {
        let slice = |start: u8, end: u8| Slice { start: clustering(start), end: clustering(end) };
        let mut command = all("p");
        for (slices, expected) in [
            (vec![Slice::all()], (1..=20).collect::<Vec<u8>>()),
            (vec![slice(3, 6)], vec![3, 4, 5]),
            (vec![slice(3, 6), slice(6, 7), slice(19, 200)], vec![3, 4, 5, 6, 19, 20]),
            (vec![slice(50, 60)], vec![]),
            (point("p", &[2, 11, 30]).slices, vec![2, 11]),
        ] {
            command.slices = slices;
            command.reversed = false;
            assert_eq!(keys(&session.read(&command)), expected, "round {round}");
            command.reversed = true;
            let backwards: Vec<u8> = expected.iter().rev().copied().collect();
            assert_eq!(keys(&session.read(&command)), backwards, "round {round}");
        }
        session.harness.disturb(&mut Rng::new(round));
    }
}

fn limits_end_a_read_and_after_resumes_it(make: &mut MakeHarness<'_>) {
    let session = Session::new(make);
    for at in 1..=30u8 {
        let row = if at % 3 == 0 { Row::deleted(deletion(50)) } else { live_row(i64::from(at), &[at; 20]) };
        session.apply(&[put("p", at, &row)]);
    }
    let range = PartitionDeletions::of_range(clustering(10), clustering(13), deletion(40));
    session.apply(&[delete("p", &range)]);
    // Dead rows are answered and do not count; covered ones do neither.
    let first = session.read(&ReadCommand { row_limit: 3, ..all("p") });
    assert_eq!((keys(&first), first.more), (vec![1, 2, 3, 4], true));
    assert_eq!(first.deletions, PartitionDeletions::default(), "nothing deleted in the part that was read");
    let cut = session.read(&ReadCommand { bytes_limit: 1, ..all("p") });
    assert_eq!((keys(&cut), cut.more), (vec![1], true), "the row that reaches the limit is the last");
    let one = session.read(&ReadCommand { row_limit: 1, ..point("p", &[5]) });
    assert_eq!((keys(&one), one.more), (vec![5], false), "nothing was asked for after it");
    for reversed in [false, true] {
        let full_command = ReadCommand { reversed, ..all("p") };
        let full = session.read(&full_command);
        assert!(!full.more);
        for limit in [1, 2, 7, 19] {
            let mut command = Some(ReadCommand { row_limit: limit, ..full_command.clone() });
            let (mut rows, mut deletions) = (Vec::new(), PartitionDeletions::default());
            while let Some(now) = command {
                let page = session.read(&now);
                deletions = deletions.merge(&page.deletions);
                let last = page.rows.last().map(|(clustering, _)| clustering.clone());
                rows.extend(page.rows);
                command = last.filter(|_| page.more).and_then(|last| now.after(&last, limit));
            }
            assert_eq!(rows, full.rows, "limit {limit}, reversed {reversed}");
            assert_eq!(deletions, full.deletions, "limit {limit}, reversed {reversed}");
        }
    }
}

fn rows_expire_at_the_second_of_the_command(make: &mut MakeHarness<'_>) {
    let session = Session::new(make);
    let expiry = Expiry { ttl_seconds: 10, at_seconds: 110 };
    let cell = Cell { timestamp: 1, state: CellState::Expiring(expiry, Some(Bytes::from_static(b"v"))) };
    let by_cell = Row::new(None, None, vec![(ColumnId(1), cell)]);
    let by_mark = Row::new(Some(Liveness { timestamp: 1, expiry: Some(expiry) }), None, Vec::new());
    session.apply(&[put("p", 1, &by_cell), put("p", 2, &by_mark), put("p", 3, &live_row(1, b"v"))]);
    let limited = |now_seconds, row_limit| session.read(&ReadCommand { row_limit, now_seconds, ..all("p") });
    assert_eq!(keys(&limited(109, 2)), [1, 2]);
    let later = limited(110, 1);
    assert_eq!((keys(&later), later.more), (vec![1, 2, 3], true), "expired rows are answered and do not count");
    assert_eq!(later.rows[0].1, by_cell.to_bytes());
}

fn the_static_row_is_apart_from_the_others(make: &mut MakeHarness<'_>) {
    let session = Session::new(make);
    let row = live_row(5, b"static");
    let record = Record { key: RecordKey::Static, value: row.to_bytes() };
    session.apply(&[mutation(TABLE, "p", vec![record])]);
    let data = session.read(&all("p"));
    assert_eq!((data.static_row, data.rows), (Some(row.to_bytes()), Vec::new()));
    assert_eq!(session.read(&ReadCommand { static_row: false, ..all("p") }), ReadData::default());
    assert_eq!(session.read(&ReadCommand { reversed: true, static_row: false, ..all("p") }), ReadData::default());
    session.apply(&[put("p", 1, &live_row(5, b"v"))]);
    let with_static = session.read(&ReadCommand { static_row: true, ..point("p", &[1]) });
    assert_eq!((with_static.static_row.is_some(), keys(&with_static)), (true, vec![1]));
    // Ranges do not cover it, the partition's deletion does.
    let range = PartitionDeletions::of_range(Bytes::from_static(&[0x20]), Bytes::from_static(&[0x60]), deletion(9));
    session.apply(&[delete("p", &range)]);
    assert_eq!(session.read(&all("p")).static_row, Some(row.to_bytes()));
    session.apply(&[delete("p", &PartitionDeletions::of_partition(deletion(9)))]);
    assert_eq!(session.read(&all("p")).static_row, None);
}

fn elements_and_shards_merge_in_the_store(make: &mut MakeHarness<'_>) {
    let mut session = Session::new(make);
    let (set, total) = (ColumnId(4), ColumnId(5));
    let element = |path: &'static [u8], timestamp| (Bytes::from_static(path), Cell::live(timestamp, Bytes::new()));
    let with = |column, change| put("p", 1, &Row::default().with_complex([(column, change)]));
    let added = |path, timestamp| with(set, ComplexColumn::new(None, vec![element(path, timestamp)]));
    let shard = |node, clock, count| Shard { node: NodeId(node), clock, count }.to_column();
    session.apply(&[added(b"a", 1), added(b"c", 8), with(total, shard(1, 3, 10)), with(total, shard(2, 4, 5))]);
    session.harness.disturb(&mut Rng::new(1));
    let overwriting = ComplexColumn::overwritten(6, 7, vec![element(b"b", 6)]);
    session.apply(&[with(set, overwriting), with(total, shard(1, 9, 12)), with(total, shard(2, 2, 99))]);
    // Late, and once more.
    session.apply(&[added(b"d", 5), added(b"c", 8), with(total, shard(1, 9, 12))]);
    for round in 0..2 {
        let data = session.read(&all("p"));
        let row = Row::from_bytes(&data.rows[0].1).unwrap();
        let found = row.complex_column(set).unwrap();
        assert_eq!(found.cells(), [element(b"b", 6), element(b"c", 8)], "round {round}");
        assert_eq!(found.deletion(), Some(deletion(5)));
        assert_eq!(counter::value(row.complex_column(total).unwrap()), Some(17));
        session.harness.disturb(&mut Rng::new(2 + round));
        session.reopen();
    }
    let deleted = with(total, counter::deleted(1));
    session.apply(&[put("p", 1, &Row::deleted(deletion(8))), deleted, with(total, shard(1, 90, 50))]);
    let data = session.read(&all("p"));
    let row = Row::deleted(deletion(8)).with_complex([(total, counter::deleted(1))]);
    assert_eq!(data.rows, [(clustering(1), row.to_bytes())]);
}

fn a_write_that_is_not_valid_fails_alone(make: &mut MakeHarness<'_>) {
    let session = Session::new(make);
    let good = |at| put("p", at, &live_row(5, b"v"));
    let with = |records: Vec<Record>| Arc::new(Mutation { table: TABLE, partition: partition("p"), records });
    let row = live_row(5, b"x").to_bytes();
    let record = |key, value| Record { key, value };
    let bad = [
        with(vec![record(RecordKey::Row(clustering(7)), row.slice(..row.len() - 1))]),
        with(vec![record(RecordKey::Row(clustering(7)), row.clone()), record(RecordKey::Static, row.clone())]),
        with(vec![record(RecordKey::Deletions, row.clone())]),
        with(vec![record(RecordKey::Row(Bytes::new()), row.clone())]),
        with(vec![record(RecordKey::Row(Bytes::from_static(&[0x08])), row.clone())]),
        with(vec![record(RecordKey::Row(Bytes::from_static(&[0x60])), row.clone())]),
        mutation(TableId(0xdead), "p", vec![Record::row(clustering(7), &live_row(5, b"x"))]),
    ];
    for (index, bad) in bad.iter().enumerate() {
        let at = index as u8 * 2;
        let hint = Write::Hint {
            target: TARGET,
            hint: Hint { written_seconds: 1, grace_seconds: 864_000, mutation: good(at) },
            oldest_seconds: 0,
        };
        let group = [Write::Apply(good(at)), Write::Apply(bad.clone()), Write::Apply(good(at + 1)), hint];
        let results = session.storage().commit(&group, index % 2 == 0).unwrap();
        assert!(matches!(results[1], Err(StorageError::Invalid(_))), "{index}: {results:?}");
        assert!([0, 2, 3].iter().all(|good| results[*good].is_ok()), "{index}: {results:?}");
        let expected: Vec<u8> = (0..=at + 1).collect();
        assert_eq!(keys(&session.read(&all("p"))), expected);
    }
    assert_eq!(session.storage().hints(TARGET, None, u32::MAX).unwrap().len(), bad.len());
}

fn ranges_that_are_dropped_are_gone_and_others_are_not(make: &mut MakeHarness<'_>) {
    let mut session = Session::new(make);
    let names: Vec<String> = (0..40).map(|index| format!("p{index}")).collect();
    let range = |start: i64, end: i64| TokenRange { start: Token(start), end: Token(end) };
    let dropped = [range(i64::MIN, -1 << 62), range(0, 1 << 62)];
    let is_dropped = |name: &str| dropped.iter().any(|range| range.contains(partition(name).token));
    let register = |name: &str| register_key(TABLE, name.as_bytes());
    let shadow = PartitionDeletions::of_range(clustering(5), clustering(7), deletion(9));
    for name in &names {
        session.apply(&[put(name, 1, &live_row(5, b"v")), delete(name, &shadow)]);
        let records = vec![(register(name), Some(Bytes::from_static(b"r")))];
        session.commit(&[Write::Local(LocalWrite::of(records))], false);
    }
    let other = mutation(OTHER_TABLE, &names[0], vec![Record::row(clustering(1), &live_row(5, b"v"))]);
    let group = [
        Write::Apply(other),
        Write::DropRanges { table: TABLE, ranges: dropped.to_vec() },
        // What is written behind it in the same group stays.
        Write::Apply(put("later", 1, &live_row(5, b"v"))),
    ];
    session.commit(&group, true);
    let check = |session: &Session| {
        for name in &names {
            let data = session.read(&all(name));
            assert_eq!(data.rows.is_empty() && data.deletions.is_empty(), is_dropped(name), "{name}");
            assert_eq!(session.storage().local(&register(name)).unwrap().is_none(), is_dropped(name), "{name}");
        }
        assert_eq!(keys(&session.read(&all("later"))), [1]);
        assert_eq!(keys(&session.read(&ReadCommand { table: OTHER_TABLE, ..all(&names[0]) })), [1]);
    };
    check(&session);
    if session.crash_power() {
        check(&session);
    }
    // Given the range again, the node begins anew.
    let name = names.iter().find(|name| is_dropped(name)).expect("some are dropped");
    session.apply(&[put(name, 6, &live_row(3, b"new"))]);
    assert_eq!(keys(&session.read(&all(name))), [6], "no deletion of before shadows it");
}

fn tables_come_and_go(make: &mut MakeHarness<'_>) {
    let mut session = Session::new(make);
    session.apply(&[put("p", 1, &live_row(5, b"v"))]);
    let other = mutation(OTHER_TABLE, "p", vec![Record::row(clustering(2), &live_row(5, b"v"))]);
    session.commit(&[Write::Apply(other.clone())], true);
    let [own, of_other] = [TABLE, OTHER_TABLE].map(|table| register_key(table, b"p"));
    let records = [&own, &of_other].map(|key| (key.clone(), Some(Bytes::from_static(b"register")))).to_vec();
    session.commit(&[Write::Local(LocalWrite::of(records))], true);
    let new = TableId(0xa3);
    session.storage().set_tables(&tables(&[new, TABLE])).unwrap();
    for _ in 0..2 {
        assert!(session.storage().local(&own).unwrap().is_some());
        assert_eq!(session.storage().local(&of_other).unwrap(), None, "registers go with their table");
        let results = session.storage().commit(&[Write::Apply(other.clone())], true).unwrap();
        assert!(matches!(results[0], Err(StorageError::Invalid(_))));
        let dropped = session.storage().read(&ReadCommand { table: OTHER_TABLE, ..all("p") });
        assert!(matches!(dropped, Err(StorageError::Invalid(_))));
        assert_eq!(session.read(&ReadCommand { table: new, ..all("p") }), ReadData::default());
        assert_eq!(keys(&session.read(&all("p"))), [1]);
        session.reopen();
        session.storage().set_tables(&tables(&[TABLE, new])).unwrap();
    }
    // Not what a schema does, yet nothing may come back.
    session.storage().set_tables(&tables(&[TABLE, new, OTHER_TABLE])).unwrap();
    assert_eq!(session.read(&ReadCommand { table: OTHER_TABLE, ..all("p") }), ReadData::default());
    session.storage().set_tables(&[]).unwrap();
    session.crash_process();
    session.storage().set_tables(&tables(&[TABLE])).unwrap();
    assert_eq!(session.read(&all("p")), ReadData::default());
}

fn local_records_are_kept_apart_and_in_order(make: &mut MakeHarness<'_>) {
    let mut session = Session::new(make);
    let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    let write = |records: &[(&str, Option<&str>)]| {
        let records = records.iter().map(|(key, value)| (bytes(key), value.map(&bytes))).collect();
        Write::Local(LocalWrite::of(records))
    };
    let group = [
        write(&[("node/b", Some("1")), ("node/a", Some("2")), ("nodf", Some("3")), ("nod", Some("4"))]),
        write(&[("node/b", Some("5")), ("node/c", Some("6")), ("node/c", None), ("node/empty", Some(""))]),
    ];
    session.commit(&group, true);
    for _ in 0..2 {
        let storage = session.storage();
        assert_eq!(storage.local(b"node/b").unwrap(), Some(bytes("5")));
        assert_eq!(storage.local(b"node/c").unwrap(), None);
        assert_eq!(storage.local(b"node/empty").unwrap(), Some(Bytes::new()));
        let expected = [("node/a", "2"), ("node/b", "5"), ("node/empty", "")].map(|(k, v)| (bytes(k), bytes(v)));
        assert_eq!(storage.local_records(b"node/").unwrap(), expected);
        assert_eq!(storage.local_records(b"x").unwrap(), []);
        session.reopen();
    }
    session.commit(&[write(&[("node/a", None)])], true);
    session.crash_process();
    assert_eq!(session.storage().local(b"node/a").unwrap(), None);
}

fn hint(target: NodeId, number: u8) -> Write {
    let mutation = put("h", number, &live_row(i64::from(number), &[number; 30]));
    let hint = Hint { written_seconds: u32::MAX - u32::from(number), grace_seconds: u32::from(number), mutation };
    Write::Hint { target, hint, oldest_seconds: 0 }
}

/// The numbers of hints made by [`hint`], and their positions ascending.
fn numbers(hints: &[(HintPosition, Hint)]) -> Vec<u8> {
    assert!(hints.windows(2).all(|pair| pair[0].0 < pair[1].0), "positions ascend");
    let number = |hint: &Hint| match &hint.mutation.records[0].key {
        RecordKey::Row(clustering) => clustering[1],
        _ => 0,
    };
    let written = |hint: &Hint| {
        let number = u32::from(number(hint));
        hint.written_seconds == u32::MAX - number && hint.grace_seconds == number
    };
    assert!(hints.iter().all(|(_, hint)| written(hint)), "kept with the time at which they were");
    hints.iter().map(|(_, hint)| number(hint)).collect()
}

fn hints_come_in_order_until_they_are_delivered(make: &mut MakeHarness<'_>) {
    let mut session = Session::new(make);
    let other = NodeId(0xb0);
    assert_eq!(session.storage().hint_targets().unwrap(), []);
    assert_eq!(session.storage().hints(TARGET, None, 100).unwrap(), []);
    for number in 0..40 {
        let group = [hint(TARGET, number), hint(other, 100 + number), hint(TARGET, 50 + number)];
        session.commit(&group, number % 4 == 0);
    }
    let expected: Vec<u8> = (0..40).flat_map(|number| [number, 50 + number]).collect();
    for round in 0..3 {
        let storage = session.storage();
        assert_eq!(storage.hint_targets().unwrap(), [other, TARGET]);
        assert_eq!(numbers(&storage.hints(TARGET, None, u32::MAX).unwrap()), expected);
        for limit in [1, 200, 1_000] {
            let (mut after, mut read) = (None, Vec::new());
            loop {
                let hints = storage.hints(TARGET, after, limit).unwrap();
                let Some((last, _)) = hints.last() else { break };
                assert!(limit > 1 || hints.len() == 1, "a limit that one hint reaches");
                after = Some(*last);
                read.extend(numbers(&hints));
            }
            assert_eq!(read, expected, "limit {limit}, round {round}");
        }
        if round == 0 { session.reopen() } else { session.crash_process() }
    }
    let all = session.storage().hints(TARGET, None, u32::MAX).unwrap();
    session.commit(&[Write::HintsDelivered { target: TARGET, through: all[30].0 }], true);
    for _ in 0..2 {
        assert_eq!(numbers(&session.storage().hints(TARGET, None, u32::MAX).unwrap()), expected[31..]);
        assert_eq!(numbers(&session.storage().hints(TARGET, Some(all[10].0), u32::MAX).unwrap()), expected[31..]);
        assert_eq!(numbers(&session.storage().hints(TARGET, Some(all[40].0), u32::MAX).unwrap()), expected[41..]);
        session.reopen();
    }
    // An older delivery changes nothing, one of an unknown target neither.
    let again = |target, position: &HintPosition| Write::HintsDelivered { target, through: *position };
    session.commit(&[again(TARGET, &all[3].0), again(NodeId(1), &all[3].0)], true);
    assert_eq!(numbers(&session.storage().hints(TARGET, None, u32::MAX).unwrap()), expected[31..]);
    session.commit(&[again(TARGET, &all[all.len() - 1].0)], true);
    for _ in 0..2 {
        assert_eq!(session.storage().hint_targets().unwrap(), [other]);
        assert_eq!(session.storage().hints(TARGET, None, u32::MAX).unwrap(), []);
        session.reopen();
    }
}

fn no_hint_is_kept_beside_one_that_is_older_than_the_window(make: &mut MakeHarness<'_>) {
    let mut session = Session::new(make);
    let write = |seconds: u32, oldest_seconds: u32| {
        let hint = Hint { written_seconds: seconds, grace_seconds: 864_000, mutation: put("p", 1, &live_row(5, b"v")) };
        Write::Hint { target: TARGET, hint, oldest_seconds }
    };
    let kept = |session: &Session, write: Write| session.storage().commit(&[write], true).unwrap().remove(0);
    assert_eq!(kept(&session, write(100, 90)), Ok(()), "there is none yet");
    assert_eq!(kept(&session, write(110, 100)), Ok(()));
    assert_eq!(kept(&session, write(111, 101)), Err(StorageError::WindowOver));
    session.crash_process();
    assert_eq!(kept(&session, write(112, 102)), Err(StorageError::WindowOver), "a restart begins no new window");
    let first = session.storage().hints(TARGET, None, 1).unwrap().remove(0).0;
    session.commit(&[Write::HintsDelivered { target: TARGET, through: first }], true);
    assert_eq!(kept(&session, write(113, 110)), Ok(()), "the oldest is the second now");
    assert_eq!(kept(&session, write(114, 111)), Err(StorageError::WindowOver));
    session.commit(&[Write::HintsDelivered { target: TARGET, through: HintPosition(u64::MAX) }], true);
    assert_eq!(kept(&session, write(200, 190)), Ok(()), "all are delivered");
}

fn positions_of_hints_are_never_used_twice(make: &mut MakeHarness<'_>) {
    let mut session = Session::new(make);
    let mut last = None;
    for round in 0..12u8 {
        session.commit(&[hint(TARGET, round), hint(TARGET, round + 100)], true);
        let hints = session.storage().hints(TARGET, last, u32::MAX).unwrap();
        assert_eq!(numbers(&hints), [round, round + 100], "round {round}");
        assert!(last.is_none_or(|last| last < hints[0].0));
        last = Some(hints[1].0);
        // Claims more than there is: what comes later is not delivered.
        let through = HintPosition(hints[1].0.0 + u64::from(round % 2) * 1_000);
        session.commit(&[Write::HintsDelivered { target: TARGET, through }], true);
        match round % 3 {
            0 => session.reopen(),
            1 => session.crash_process(),
            _ => {}
        }
    }
}

fn what_was_committed_survives_the_process(make: &mut MakeHarness<'_>) {
    let mut session = Session::new(make);
    for at in 0..60u8 {
        session.commit(&[Write::Apply(put("p", at, &live_row(1, b"v"))), hint(TARGET, at)], at % 7 == 3);
        if at % 20 == 19 {
            session.crash_process();
        }
        let expected: Vec<u8> = (0..=at).collect();
        assert_eq!(keys(&session.read(&all("p"))), expected);
        assert_eq!(numbers(&session.storage().hints(TARGET, None, u32::MAX).unwrap()), expected);
    }
    session.storage().sync().unwrap();
    session.reopen();
    assert_eq!(session.read(&all("p")).rows.len(), 60);
}

fn what_was_synced_survives_a_power_failure(make: &mut MakeHarness<'_>) {
    for seed in 0..8 {
        let mut rng = Rng::new(seed);
        let mut session = Session::new(make);
        let (mut written, mut synced) = (0u8, 0u8);
        for _ in 0..rng.between(1, 40) {
            let group: Vec<Write> = (0..rng.between(1, 5))
                .flat_map(|_| {
                    written += 1;
                    let number = Bytes::from(vec![written]);
                    let local = LocalWrite::of(vec![(Bytes::from_static(b"node/n"), Some(number))]);
                    [Write::Apply(put("p", written, &live_row(1, b"v"))), Write::Local(local), hint(TARGET, written)]
                })
                .collect();
            let sync = rng.chance(300);
            session.commit(&group, sync);
            if !sync && rng.chance(100) {
                session.storage().sync().unwrap();
                synced = written;
            }
            if sync {
                synced = written;
            }
            if rng.chance(60) {
                session.harness.disturb(&mut rng);
            }
        }
        if !session.crash_power() {
            return;
        }
        session.storage().set_tables(&tables(&[TABLE, OTHER_TABLE])).unwrap();
        // A prefix, in the order of commits, with everything that was synced.
        let found = keys(&session.read(&all("p")));
        assert_eq!(found, (1..=found.len() as u8).collect::<Vec<u8>>(), "seed {seed}");
        assert!(found.len() >= usize::from(synced), "seed {seed}: {} of {synced}", found.len());
        let local = session.storage().local(b"node/n").unwrap().map_or(0, |number| number[0]);
        assert!((synced..=written).contains(&local), "seed {seed}");
        let hinted = numbers(&session.storage().hints(TARGET, None, u32::MAX).unwrap());
        assert_eq!(hinted, (1..=hinted.len() as u8).collect::<Vec<u8>>(), "seed {seed}");
        assert!(hinted.len() >= usize::from(synced), "seed {seed}");
        // And it goes on from there.
        session.commit(&[Write::Apply(put("p", 250, &live_row(1, b"v"))), hint(TARGET, 250)], true);
        assert!(keys(&session.read(&all("p"))).contains(&250));
        assert!(numbers(&session.storage().hints(TARGET, None, u32::MAX).unwrap()).contains(&250));
    }
}

/// Operations of one history of the long run.
pub const LONG_HISTORY: u64 = 20_000;

/// The seeds of a long run of [`differential`]: those that `range` names as `first..end`, or 50 of them, a
/// million operations.
#[must_use]
pub fn long_histories(range: Option<&str>) -> std::ops::Range<u64> {
    let (first, end) = range.unwrap_or("100..150").split_once("..").expect("a range: first..end");
    first.parse().expect("a number")..end.parse().expect("a number")
}

pub use garbage::differential as garbage_differential;

/// A random history of `operations` writes and reads, compared with the reference after every read; with
/// flushes, compactions, restarts and crashes in between.
pub fn differential(make: &mut MakeHarness<'_>, seed: u64, operations: u64) {
    let mut rng = Rng::new(seed);
    let mut session = Session::new(make);
    let mut reference = Reference::default();
    let mut done = 0;
    while done < operations {
        if rng.chance(400) {
            let table = if rng.chance(700) { TABLE } else { OTHER_TABLE };
            let command = reference::random_limited_command(&mut rng, table);
            let found = ranges::read_and_digest(session.storage(), &command);
            let context = format!("seed {seed}, operation {done}, {command:?}");
            reference::assert_answer(found, reference.read(&command), command.tombstone_limit, &context);
            done += 1;
        } else if rng.chance(60) {
            let context = format!("seed {seed}, operation {done}");
            ranges::differential_step(&session, &mut reference, &mut rng, &context);
            done += 1;
        } else {
            let mut group = Vec::new();
            for _ in 0..rng.between(1, 8) {
                let table = if rng.chance(700) { TABLE } else { OTHER_TABLE };
                let mutation = reference::random_mutation(&mut rng, table);
                reference.apply(&mutation);
                group.push(Write::Apply(mutation));
            }
            session.commit(&group, rng.chance(50));
            done += group.len() as u64;
        }
        match rng.below(4_000) {
            0..=19 => session.harness.disturb(&mut rng),
            20..=21 => session.reopen(),
            22 => session.crash_process(),
            _ => {}
        }
    }
}
