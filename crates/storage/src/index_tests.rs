//! Indexes on a real disk: builds over restarts and beside writers, and what becomes of entries that nobody needs.

use crate::index::ENTRIES_AT_ONCE;
use crate::layout;
use crate::store::Store;
use crate::tests::small_options;
use bytes::Bytes;
use model::garbage::Purge;
use model::index::TableIndex;
use model::read::Slice;
use model::schema::{Index, IndexedPart, Table};
use model::{
    Cell, ColumnId, IndexCommand, IndexTarget, Mutation, PartitionKey, Record, Row, TableId, Token, TokenRange,
};
use node::storage::{GarbageSweep, Storage, StorageError, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const TABLE: TableId = TableId(1);
const TARGET: IndexTarget = IndexTarget { column: ColumnId(2), part: IndexedPart::Value };

fn table(is_indexed: bool) -> Arc<Table> {
    let mut table = Table::plain(TABLE);
    if is_indexed {
        let (name, class, options) = ("i".to_owned(), String::new(), Default::default());
        table.indexes.push(Index { name, column: TARGET.column, part: TARGET.part, class, options });
    }
    Arc::new(table)
}

fn open(directory: &tempfile::TempDir) -> Store {
    Store::open(small_options(directory.path())).unwrap()
}

/// Writes the row of a partition: its value is one byte, and as many more as make a page of rows short.
fn write(store: &Store, partition: u32, timestamp: i64, value: u8, more: usize) {
    let cells = vec![
        (ColumnId(2), Cell::live(timestamp, Bytes::from(vec![value]))),
        (ColumnId(9), Cell::live(timestamp, Bytes::from(vec![0; more]))),
    ];
    let record = Record::row(Bytes::from_static(&[0x40, 1, 0, 0x38]), &Row::new(None, None, cells));
    let partition = PartitionKey::new(Bytes::copy_from_slice(&partition.to_be_bytes()));
    let mutation = Mutation { table: TABLE, partition, records: vec![record] };
    let group = [Write::Apply(Arc::new(mutation))];
    patiently(|| store.commit(&group, false).unwrap().remove(0));
}

/// Waits for as long as the store, whose write buffers are small, cannot keep up.
fn patiently<T>(mut act: impl FnMut() -> Result<T, StorageError>) -> T {
    loop {
        match act() {
            Err(StorageError::Overloaded) => std::thread::sleep(Duration::from_millis(5)),
            done => return done.unwrap(),
        }
    }
}

/// How many rows have a value.
fn found(store: &Store, value: u8) -> usize {
    let table = table(true);
    let index = TableIndex::new(&table, TARGET).unwrap();
    let mut command = IndexCommand {
        table: TABLE,
        target: TARGET,
        values: Slice::of_row(&index.value_of(&[&[value]]).unwrap().unwrap()),
        range: TokenRange::ALL,
        partition: None,
        slices: vec![Slice::all()],
        resume: None,
        limit: 100,
        now_seconds: 1_000,
    };
    let mut rows = 0;
    loop {
        let page = store.look_up(&command).unwrap();
        assert!(command.is_answered_by(&page));
        rows += page.rows.len();
        match page.next {
            Some(next) => command.resume = Some(next),
            None => return rows,
        }
    }
}

/// Entries as they are stored, stale ones among them.
fn entries(store: &Store) -> usize {
    let inner = store.inner();
    let family = inner.db.cf_handle(&inner.table(TABLE).unwrap().name).unwrap();
    let range = layout::index_keys(TARGET);
    let mut options = rocksdb::ReadOptions::default();
    options.set_total_order_seek(true);
    options.set_iterate_upper_bound(range.end);
    let mut iterator = inner.db.raw_iterator_cf_opt(&family, options);
    iterator.seek(&range.start);
    let mut count = 0;
    while iterator.valid() {
        count += 1;
        iterator.next();
    }
    iterator.status().unwrap();
    count
}

fn build(store: &Store) -> usize {
    (0..).take_while(|_| patiently(|| store.build_index()).is_some()).count()
}

#[test]
fn a_build_goes_on_after_restarts_and_does_no_page_twice() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = open(&directory);
    store.set_tables(&[table(false)]).unwrap();
    let rows = 500;
    (0..rows).for_each(|partition| write(&store, partition, 5, 7, 20_000));
    store.set_tables(&[table(true)]).unwrap();
    assert_eq!(store.index_builds()[0].built_to, Some(Token::MINIMUM));
    let (mut steps, mut last) = (0, Token::MINIMUM);
    while let Some(progress) = patiently(|| store.build_index()) {
        steps += 1;
        assert_eq!(store.index_builds(), [progress]);
        assert_eq!(found(&store, 7), rows as usize, "whatever is built");
        let Some(token) = progress.built_to else { break };
        assert!(token > last);
        last = token;
        drop(store);
        store = open(&directory);
        store.set_tables(&[table(true)]).unwrap();
        assert_eq!(store.index_builds(), [progress], "a restart forgets nothing");
    }
    assert!(steps > 5, "{steps} pages");
    assert_eq!(entries(&store), rows as usize);
    assert_eq!(build(&store), 0);
    drop(store);
    let store = open(&directory);
    assert_eq!(store.index_builds()[0].built_to, None, "known before the schema is");
    assert_eq!(found(&store, 7), rows as usize);
}

#[test]
fn rows_that_are_written_while_an_index_is_built_are_found_under_their_last_values() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory);
    store.set_tables(&[table(false)]).unwrap();
    let rows = 400;
    (0..rows).for_each(|partition| write(&store, partition, 1, 0, 10_000));
    store.set_tables(&[table(true)]).unwrap();
    let is_over = AtomicBool::new(false);
    let written = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut round = 0;
            while !is_over.load(Ordering::Acquire) || round == 0 {
                round += 1;
                for partition in 0..rows {
                    write(&store, partition, 1 + round, (round % 3) as u8, 0);
                }
            }
            round
        });
        build(&store);
        is_over.store(true, Ordering::Release);
        writer.join().unwrap()
    });
    for value in 0..3 {
        let expected = if i64::from(value) == written % 3 { rows as usize } else { 0 };
        assert_eq!(found(&store, value), expected, "{value} after {written} rounds");
    }
}

#[test]
fn stale_entries_that_were_met_are_removed_and_no_others() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory);
    store.set_tables(&[table(true)]).unwrap();
    build(&store);
    let rows = 3 * ENTRIES_AT_ONCE as u32;
    for partition in 0..rows {
        write(&store, partition, 5, 7, 0);
        write(&store, partition, 6, 8, 0);
    }
    assert_eq!(entries(&store), 2 * rows as usize);
    assert_eq!(found(&store, 8), rows as usize);
    store.inner().remove_stale_entries().unwrap();
    assert_eq!(entries(&store), 2 * rows as usize, "none of them was stale");
    assert_eq!(found(&store, 7), 0);
    // It has the value again before the entry is removed.
    write(&store, 0, 7, 7, 0);
    store.inner().remove_stale_entries().unwrap();
    assert_eq!(entries(&store), rows as usize + 1);
    assert_eq!((found(&store, 7), found(&store, 8)), (1, rows as usize - 1));
}

#[test]
fn a_sweep_removes_stale_entries_that_nobody_met() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory);
    store.set_tables(&[table(true)]).unwrap();
    build(&store);
    for partition in 0..300 {
        (0..3).for_each(|value| write(&store, partition, 5 + i64::from(value), value, 0));
    }
    assert_eq!(entries(&store), 900);
    let tokens = Token::MINIMUM..=Token(i64::MAX);
    store.collect_garbage(&GarbageSweep { table: TABLE, tokens, purge: Purge::default() }).unwrap();
    assert_eq!(entries(&store), 300);
    assert_eq!(found(&store, 2), 300);
}

#[test]
fn a_dropped_index_has_no_entries_and_is_built_anew_when_it_is_made_again() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory);
    store.set_tables(&[table(true)]).unwrap();
    build(&store);
    (0..10).for_each(|partition| write(&store, partition, 5, 7, 0));
    store.set_tables(&[table(false)]).unwrap();
    assert_eq!((entries(&store), build(&store)), (0, 0));
    (10..20).for_each(|partition| write(&store, partition, 5, 7, 0));
    drop(store);
    let store = open(&directory);
    store.set_tables(&[table(true)]).unwrap();
    assert_eq!((entries(&store), found(&store, 7)), (0, 20));
    assert_eq!(build(&store), 1);
    assert_eq!((entries(&store), found(&store, 7)), (20, 20));
}
