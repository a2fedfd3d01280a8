//! Scenarios of the suite about secondary indexes: however an index came to be, a look-up in it answers as a scan of
//! all rows does.

use super::ranges::{everything, records_of};
use super::*;
use crate::storage::GarbageSweep;
use model::garbage::Purge;
use model::index::TableIndex;
use model::key::encode_clustering;
use model::schema::{Column, ColumnKind, Index, IndexedPart};
use model::{CqlType, IndexCommand, IndexTarget, IndexedRow, Token, TokenRange};
use std::sync::Arc;

/// Runs every scenario of this part.
pub(super) fn run(make: &mut MakeHarness<'_>) {
    an_index_is_built_over_what_there_was_and_then_kept(make);
    a_dropped_index_leaves_nothing_behind(make);
    differential(make, 1, 3_000);
}

const STATIC: &str = "fixed";
const VALUE: &str = "value";
const SET: &str = "set";

/// The plain table with a static column and a set, and indexes on these columns.
fn table(indexed: &[&str]) -> Arc<Table> {
    let mut table = Table::plain(TABLE);
    let mut add = |name: &str, id, kind, cql_type| {
        table.columns.push(Column { id: ColumnId(id), name: name.to_owned(), kind, cql_type });
    };
    add(STATIC, 3, ColumnKind::Static, CqlType::Blob);
    add(SET, 6, ColumnKind::Regular, CqlType::Set { element: Arc::new(CqlType::Blob), frozen: false });
    for name in indexed {
        let Column { id, cql_type, .. } = table.column(name).unwrap();
        let part = if cql_type.is_collection() { IndexedPart::Values } else { IndexedPart::Value };
        let (column, class, options) = (*id, String::new(), Default::default());
        table.indexes.push(Index { name: (*name).to_owned(), column, part, class, options });
    }
    Arc::new(table)
}

const ALL_INDEXES: [&str; 4] = [STATIC, VALUE, SET, "clustering"];

fn target(name: &str) -> IndexTarget {
    IndexTarget::of(table(&[name]).indexes.first().unwrap())
}

fn key(table: &Table, number: u8) -> Bytes {
    encode_clustering(table, &[Bytes::from(vec![number])]).unwrap()
}

fn row(number: u8, cells: Vec<(ColumnId, Cell)>) -> Record {
    Record::row(key(&table(&[]), number), &Row::new(None, None, cells))
}

fn value(timestamp: i64, byte: u8) -> (ColumnId, Cell) {
    (ColumnId(2), Cell::live(timestamp, Bytes::from(vec![byte])))
}

fn command(name: &str, byte: u8) -> IndexCommand {
    let table = table(&[]);
    let index = TableIndex::new(&table, target(name)).unwrap();
    IndexCommand {
        table: TABLE,
        target: target(name),
        values: Slice::of_row(&index.value_of(&[&[byte]]).unwrap().unwrap()),
        range: TokenRange::ALL,
        partition: None,
        slices: vec![Slice::all()],
        resume: None,
        limit: u32::MAX,
        now_seconds: 1_000,
    }
}

/// All pages of a look-up.
fn looked_up(storage: &dyn Storage, command: &IndexCommand) -> Vec<IndexedRow> {
    let mut command = command.clone();
    let mut rows = Vec::new();
    loop {
        let page = storage.look_up(&command).unwrap();
        assert!(command.is_answered_by(&page), "{command:?}: {page:?}");
        assert!(page.rows.len() <= command.limit as usize);
        rows.extend(page.rows);
        match page.next {
            Some(next) => command.resume = Some(next),
            None => return rows,
        }
    }
}

/// What a look-up must find, by a scan of everything.
fn expected(storage: &dyn Storage, command: &IndexCommand) -> Vec<IndexedRow> {
    let table = table(&[]);
    let page = storage.scan(&everything()).unwrap();
    let index = TableIndex::new(&table, command.target).unwrap();
    let whole = IndexCommand { limit: u32::MAX, ..command.clone() };
    whole.found_in(&index, &page).unwrap().rows
}

fn build_all(storage: &dyn Storage) {
    let mut steps = 0;
    while storage.build_index().unwrap().is_some() {
        steps += 1;
        assert!(steps < 1_000, "a build ends");
    }
    assert!(storage.index_builds().iter().all(|build| build.built_to.is_none()));
}

fn an_index_is_built_over_what_there_was_and_then_kept(make: &mut MakeHarness<'_>) {
    let mut session = Session::new(make);
    session.storage().set_tables(&[table(&[])]).unwrap();
    let write = |name: &str, number, cells| mutation(TABLE, name, vec![row(number, cells)]);
    let names = ["a", "b", "c"];
    for name in names {
        session.apply(&[write(name, 1, vec![value(5, 7)]), write(name, 2, vec![value(5, 8)])]);
    }
    let found = |session: &Session, byte| {
        let command = command(VALUE, byte);
        let rows = looked_up(session.storage(), &command);
        assert_eq!(rows, expected(session.storage(), &command));
        rows.len()
    };
    assert_eq!(found(&session, 7), 3, "without an index");
    session.storage().set_tables(&[table(&[VALUE])]).unwrap();
    assert_eq!(found(&session, 7), 3, "before it is built");
    session.apply(&[write("a", 1, vec![value(6, 8)]), write("d", 1, vec![value(6, 7)])]);
    assert_eq!((found(&session, 7), found(&session, 8)), (3, 4));
    session.crash_process();
    build_all(session.storage());
    assert_eq!((found(&session, 7), found(&session, 8)), (3, 4), "once it is built");
    session.apply(&[
        write("b", 1, vec![value(7, 8)]),
        mutation(TABLE, "c", vec![Record::deletions(&PartitionDeletions::of_partition(deletion(9)))]),
        write("e", 1, vec![value(3, 7)]),
        // Older than what is there.
        write("e", 1, vec![value(2, 9)]),
    ]);
    assert_eq!((found(&session, 7), found(&session, 8), found(&session, 9)), (2, 4, 0));
    let records = records_of(&[write("f", 1, vec![value(1, 7)])]);
    session.storage().ingest(TABLE, &records).unwrap();
    assert_eq!(found(&session, 7), 3, "what is ingested has entries");
    session.crash_process();
    assert_eq!((found(&session, 7), found(&session, 8), found(&session, 9)), (3, 4, 0));
}

fn a_dropped_index_leaves_nothing_behind(make: &mut MakeHarness<'_>) {
    let session = Session::new(make);
    let storage = session.storage();
    storage.set_tables(&[table(&[VALUE])]).unwrap();
    build_all(storage);
    session.apply(&[mutation(TABLE, "a", vec![row(1, vec![value(5, 7)])])]);
    storage.set_tables(&[table(&[])]).unwrap();
    assert_eq!(storage.index_builds(), []);
    session.apply(&[mutation(TABLE, "b", vec![row(1, vec![value(5, 7)])])]);
    storage.set_tables(&[table(&[VALUE])]).unwrap();
    assert_eq!(looked_up(storage, &command(VALUE, 7)).len(), 2, "it is not taken for built");
    build_all(storage);
    assert_eq!(looked_up(storage, &command(VALUE, 7)).len(), 2);
    let unknown =
        IndexCommand { target: IndexTarget { column: ColumnId(77), part: IndexedPart::Value }, ..command(VALUE, 7) };
    assert!(matches!(storage.look_up(&unknown), Err(StorageError::Invalid(_))));
    let nothing = IndexCommand { limit: 0, ..command(VALUE, 7) };
    assert!(matches!(storage.look_up(&nothing), Err(StorageError::Invalid(_))));
}

/// A row, a static row or a deletion, of few partitions and values.
fn random_change(rng: &mut Rng) -> Arc<Mutation> {
    let table = table(&[]);
    let name = ["a", "b", "c", "d", "e"][rng.index(5)];
    let timestamp = rng.below(1_000) as i64;
    let cell = |rng: &mut Rng| {
        let value = Bytes::from(vec![rng.below(3) as u8]);
        match rng.below(6) {
            0 => Cell::tombstone(timestamp, 1),
            1 => Cell::expiring(timestamp, value, Expiry { ttl_seconds: 9, at_seconds: 900 + rng.below(200) as u32 }),
            _ => Cell::live(timestamp, value),
        }
    };
    let clustering = key(&table, rng.below(4) as u8);
    let record = match rng.below(12) {
        0 => Record::deletions(&PartitionDeletions::of_partition(deletion(timestamp))),
        1 => {
            let end = Bytes::from([clustering.as_ref(), &[0xff]].concat());
            Record::deletions(&PartitionDeletions::of_range(clustering, end, deletion(timestamp)))
        }
        2 => Record::row(clustering, &Row::deleted(deletion(timestamp))),
        3..=4 => {
            Record { key: RecordKey::Static, value: Row::new(None, None, vec![(ColumnId(3), cell(rng))]).to_bytes() }
        }
        5..=6 => {
            let path = model::element::key_path(&CqlType::Blob, &[rng.below(3) as u8]).unwrap();
            let element = Cell { state: cell(rng).state, ..Cell::live(timestamp, Bytes::new()) };
            let column = match rng.below(3) {
                0 => ComplexColumn::overwritten(timestamp, 1, vec![(path, element)]),
                _ => ComplexColumn::new(None, vec![(path, element)]),
            };
            Record::row(clustering, &Row::default().with_complex([(ColumnId(6), column)]))
        }
        _ => Record::row(clustering, &Row::new(None, None, vec![(ColumnId(2), cell(rng))])),
    };
    mutation(TABLE, name, vec![record])
}

/// A range of values, perhaps without an end, that is not empty.
fn random_values(rng: &mut Rng, target: IndexTarget) -> Slice {
    let table = table(&[]);
    let index = TableIndex::new(&table, target).unwrap();
    let (low, high) = ([rng.below(2) as u8], [2 + rng.below(2) as u8]);
    let (with_low, with_high) = (rng.chance(500), rng.chance(500));
    let lower = rng.chance(700).then_some((&low[..], with_low));
    let upper = rng.chance(700).then_some((&high[..], with_high));
    index.range_of(lower, upper).unwrap().unwrap()
}

fn random_look_up(rng: &mut Rng) -> IndexCommand {
    let mut command = command(ALL_INDEXES[rng.index(ALL_INDEXES.len())], rng.below(3) as u8);
    if rng.chance(300) {
        command.limit = rng.between(1, 4) as u32;
    }
    if rng.chance(300) {
        command.values = random_values(rng, command.target);
    }
    if rng.chance(200) {
        let only = partition(["a", "b", "c"][rng.index(3)]);
        command.range = TokenRange { start: Token(only.token.0 - 1), end: only.token };
        command.partition = Some(only);
    }
    if rng.chance(200) {
        let start = key(&table(&[]), rng.below(4) as u8);
        command.slices = vec![Slice { end: Slice::all().end, start }];
    }
    command.now_seconds = 850 + rng.below(300) as u32;
    command
}

/// Random histories: writes one by one and in bulk, indexes that come and go and are built in steps, restarts, sweeps.
fn differential(make: &mut MakeHarness<'_>, seed: u64, operations: u32) {
    let mut rng = Rng::new(seed);
    let mut session = Session::new(make);
    session.storage().set_tables(&[table(&[])]).unwrap();
    for at in 0..operations {
        match rng.below(100) {
            0..50 => session.apply(&[random_change(&mut rng)]),
            50..55 => {
                let changes: Vec<_> = (0..rng.below(6)).map(|_| random_change(&mut rng)).collect();
                session.storage().ingest(TABLE, &records_of(&changes)).unwrap();
            }
            55..59 => {
                let indexed: Vec<&str> = ALL_INDEXES.into_iter().filter(|_| rng.chance(700)).collect();
                session.storage().set_tables(&[table(&indexed)]).unwrap();
            }
            59..68 => drop(session.storage().build_index().unwrap()),
            68..70 => session.crash_process(),
            70..72 => session.harness.disturb(&mut rng),
            72 => {
                let (now_seconds, gc_before_seconds) = (850, 2);
                let purge = Purge { now_seconds, gc_before_seconds, ..Purge::default() };
                let tokens = Token::MINIMUM..=Token(i64::MAX);
                session.storage().collect_garbage(&GarbageSweep { table: TABLE, tokens, purge }).unwrap();
            }
            _ => {
                let command = random_look_up(&mut rng);
                let found = looked_up(session.storage(), &command);
                assert_eq!(found, expected(session.storage(), &command), "operation {at}: {command:?}");
            }
        }
    }
}
