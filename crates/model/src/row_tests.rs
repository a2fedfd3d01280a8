//! Laws of cells and rows over adversarial values: equal timestamps, equal values, times to live in
//! the past, the extremes of i64.

use super::*;
use proptest::prelude::*;

fn timestamp() -> impl Strategy<Value = i64> {
    prop_oneof![Just(i64::MIN), Just(i64::MIN + 1), Just(i64::MAX), -2i64..3]
}

fn expiry() -> impl Strategy<Value = Expiry> {
    (prop_oneof![Just(0), Just(u32::MAX), 1u32..4], prop_oneof![Just(0), Just(u32::MAX), 9u32..12])
        .prop_map(|(ttl_seconds, at_seconds)| Expiry { ttl_seconds, at_seconds })
}

fn value() -> impl Strategy<Value = Bytes> {
    prop_oneof![Just(vec![]), Just(vec![0]), Just(vec![0x7f]), Just(vec![0x80]), Just(vec![0xff, 0])]
        .prop_map(Bytes::from)
}

fn cell() -> impl Strategy<Value = Cell> {
    let state = prop_oneof![
        value().prop_map(CellState::Live),
        (expiry(), prop::option::of(value())).prop_map(|(expiry, value)| CellState::Expiring(expiry, value)),
        (0u32..3).prop_map(CellState::Tombstone),
    ];
    (timestamp(), state).prop_map(|(timestamp, state)| Cell { timestamp, state })
}

fn liveness() -> impl Strategy<Value = Liveness> {
    (timestamp(), prop::option::of(expiry())).prop_map(|(timestamp, expiry)| Liveness { timestamp, expiry })
}

fn deletion() -> impl Strategy<Value = Deletion> {
    (timestamp(), 0u32..3).prop_map(|(timestamp, local_seconds)| Deletion { timestamp, local_seconds })
}

pub(crate) fn row() -> impl Strategy<Value = Row> {
    let cells = prop::collection::vec(((0u32..4).prop_map(ColumnId), cell()), 0..5);
    let columns = prop::collection::vec(((2u32..5).prop_map(ColumnId), complex_column()), 0..3);
    let complex = prop_oneof![2 => Just(Vec::new()), 3 => columns];
    (prop::option::of(liveness()), prop::option::of(deletion()), cells, complex)
        .prop_map(|(liveness, deletion, cells, complex)| Row::new(liveness, deletion, cells).with_complex(complex))
}

/// Paths that are prefixes of each other, and deletions at the timestamps of cells.
pub(crate) fn complex_column() -> impl Strategy<Value = ComplexColumn> {
    let path = prop::sample::select(vec![&b""[..], &[0], &[0, 0], &[0x7f], &[0x80], &[0xff]]);
    let cells = prop::collection::vec((path.prop_map(Bytes::from_static), cell()), 0..5);
    (prop::option::of(deletion()), cells).prop_map(|(deletion, cells)| ComplexColumn::new(deletion, cells))
}

/// What [`summarize`] finds, from the decoded row.
fn summary(row: &Row, now: i64) -> RowSummary {
    let mut normal = row.clone();
    normal.drop_expired_values(now);
    let expired_mark = row.liveness().is_some_and(|liveness| !liveness.is_live(now));
    let elements = || row.complex().iter().flat_map(|(_, column)| column.cells());
    let cells = || row.cells().iter().map(|(_, cell)| cell).chain(elements().map(|(_, cell)| cell));
    let columns = || row.complex().iter().filter_map(|(_, column)| column.deletion());
    let dead_cells = cells().filter(|cell| cell.value(now).is_none()).count() + columns().count();
    let tombstones = u32::from(row.deletion().is_some()) + u32::from(expired_mark) + dead_cells as u32;
    let marks = row.liveness().map(|liveness| liveness.timestamp).into_iter();
    let marks = marks.chain(row.deletion().into_iter().chain(columns()).map(|deletion| deletion.timestamp));
    let oldest = marks.chain(cells().map(|cell| cell.timestamp)).min().unwrap_or(i64::MAX);
    RowSummary { live: row.is_live(now), tombstones, expired_values: normal != *row, oldest }
}

proptest! {
    #[test]
    fn merging_is_a_join(a in row(), b in row(), c in row()) {
        let merged = a.clone().merge(b.clone());
        prop_assert_eq!(&merged, &b.clone().merge(a.clone()));
        prop_assert_eq!(merged.merge(c.clone()).to_bytes(), a.clone().merge(b.merge(c)).to_bytes());
        prop_assert_eq!(a.clone().merge(a.clone()), a.clone());
        prop_assert_eq!(a.clone().merge(Row::default()), a);
    }

    #[test]
    fn any_split_into_partial_merges_gives_identical_bytes(
        rows in prop::collection::vec(row(), 1..7), seed: u64,
    ) {
        let expected = rows.iter().cloned().reduce(Row::merge).unwrap_or_default().to_bytes();
        let mut rng = crate::rng::Rng::new(seed);
        let mut parts = rows;
        rng.shuffle(&mut parts);
        while parts.len() > 1 {
            let at = rng.index(parts.len() - 1);
            let next = parts.remove(at + 1);
            let first = std::mem::take(&mut parts[at]);
            parts[at] = first.merge(next);
        }
        prop_assert_eq!(parts[0].to_bytes(), expected);
    }

    #[test]
    fn what_is_left_is_what_the_rules_say_of_each_part_alone(rows in prop::collection::vec(row(), 1..5)) {
        let merged = rows.iter().cloned().reduce(Row::merge).unwrap_or_default();
        let deletion = rows.iter().filter_map(Row::deletion).max();
        prop_assert_eq!(merged.deletion(), deletion);
        let above = |deletion: Option<Deletion>, timestamp: i64| deletion.is_none_or(|own| timestamp > own.timestamp);
        let best = |cells: Vec<&Cell>| cells.into_iter().max_by(|a, b| a.reconcile(b)).cloned();
        let mut kept = 0;
        for id in (0..5).map(ColumnId) {
            let cells = rows.iter().filter_map(|row| row.cell(id)).filter(|cell| above(deletion, cell.timestamp));
            prop_assert_eq!(merged.cell(id).cloned(), best(cells.collect()));
            let columns: Vec<&ComplexColumn> = rows.iter().filter_map(|row| row.complex_column(id)).collect();
            let own = columns.iter().filter_map(|column| column.deletion()).max();
            let covering = own.max(deletion);
            let found = merged.complex_column(id).cloned().unwrap_or_default();
            prop_assert_eq!(found.deletion(), own.filter(|own| Some(*own) > deletion));
            for path in [&b""[..], &[0], &[0, 0], &[0x7f], &[0x80], &[0xff]] {
                let cells = columns.iter().filter_map(|column| column.cell(path));
                let expected = best(cells.filter(|cell| above(covering, cell.timestamp)).collect());
                kept += usize::from(expected.is_some());
                prop_assert_eq!(found.cell(path).cloned(), expected);
            }
        }
        prop_assert_eq!(merged.complex().iter().map(|(_, column)| column.cells().len()).sum::<usize>(), kept);
        prop_assert!(merged.complex().iter().all(|(_, column)| !column.is_empty()));
    }

    #[test]
    fn reconciliation_is_a_total_order(a in cell(), b in cell(), c in cell()) {
        prop_assert_eq!(a.reconcile(&b), b.reconcile(&a).reverse());
        prop_assert_eq!(a.reconcile(&b).is_eq(), a == b);
        if a.reconcile(&b).is_le() && b.reconcile(&c).is_le() {
            prop_assert!(a.reconcile(&c).is_le());
        }
    }

    #[test]
    fn encoding_round_trips_and_is_canonical(a in row()) {
        let bytes = a.to_bytes();
        prop_assert_eq!(encoded_is_empty(&bytes), a.is_empty());
        for now in [0, 9, 10, 11, i64::from(u32::MAX)] {
            prop_assert_eq!(summarize(&bytes, now), Ok(summary(&a, now)));
        }
        prop_assert_eq!(Row::from_bytes(&bytes), Ok(a));
    }

    #[test]
    fn a_view_shows_what_the_row_holds(a in row(), b in row()) {
        // Read over another row: nothing of that is left.
        let mut view = RowView::of(&a);
        prop_assert_eq!(view.read(&b.to_bytes()), Ok(()));
        prop_assert_eq!((view.row().liveness(), view.row().deletion()), (b.liveness(), b.deletion()));
        prop_assert_eq!(view.row().complex(), b.complex());
        prop_assert_eq!(view.row().cells().len(), b.cells().len());
        for now in [0, 10, i64::from(u32::MAX)] {
            prop_assert_eq!(view.row().is_live(now), b.is_live(now));
            for (id, cell) in b.cells() {
                prop_assert_eq!(view.value(*id, now), cell.value(now).cloned());
                prop_assert_eq!(view.row().cell(*id).map(|cell| cell.timestamp), Some(cell.timestamp));
            }
        }
        prop_assert!(view.read(&Bytes::from_static(b"\x01")).is_err());
        prop_assert!(view.row().is_empty() && view.value(ColumnId(0), 0).is_none());
    }

    #[test]
    fn damaged_encodings_are_refused_alike_by_both_readers(a in row(), at: prop::sample::Index, byte: u8) {
        let mut bytes = a.to_bytes().to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let decoded = Row::from_bytes(&Bytes::from(bytes.clone()));
        prop_assert_eq!(summarize(&bytes, 10), decoded.map(|row| summary(&row, 10)));
    }

    #[test]
    fn what_decodes_is_canonical(bytes in prop::collection::vec(any::<u8>(), 0..40), flags in 0u8..16) {
        let mut framed = vec![FORMAT, flags];
        framed.extend(bytes);
        let framed = Bytes::from(framed);
        let row = Row::from_bytes(&framed);
        prop_assert_eq!(summarize(&framed, 10), row.clone().map(|row| summary(&row, 10)));
        if let Ok(row) = row {
            prop_assert_eq!(row.to_bytes(), framed);
        }
    }

    #[test]
    fn a_deletion_below_the_oldest_timestamp_takes_nothing_out(a in row(), deletion in deletion()) {
        let mut deleted = a.clone();
        deleted.delete(deletion);
        prop_assert!(deletion.timestamp >= summary(&a, 0).oldest || deleted == a);
    }

    #[test]
    fn deleting_commutes_with_merging(a in row(), b in row(), deletion in deletion()) {
        let (mut deleted_a, mut deleted_b) = (a.clone(), b.clone());
        deleted_a.delete(deletion);
        deleted_b.delete(deletion);
        let mut merged = a.merge(b);
        merged.delete(deletion);
        prop_assert_eq!(merged, deleted_a.merge(deleted_b));
    }

    #[test]
    fn dropping_an_expired_value_changes_no_later_reading(a in row(), b in row()) {
        let now = 10;
        let mut stubbed = a.clone();
        stubbed.drop_expired_values(now);
        let (plain, from_stub) = (a.merge(b.clone()), stubbed.merge(b));
        prop_assert_eq!(plain.is_live(now), from_stub.is_live(now));
        for (id, cell) in plain.cells() {
            prop_assert_eq!(cell.value(now), from_stub.cell(*id).and_then(|cell| cell.value(now)));
        }
        prop_assert_eq!(plain.complex().len(), from_stub.complex().len());
        for ((id, plain), (id_stubbed, from_stub)) in plain.complex().iter().zip(from_stub.complex()) {
            prop_assert_eq!((id, plain.deletion()), (id_stubbed, from_stub.deletion()));
            for ((path, cell), (path_stubbed, stubbed)) in plain.cells().iter().zip(from_stub.cells()) {
                prop_assert_eq!((path, cell.value(now)), (path_stubbed, stubbed.value(now)));
            }
        }
    }
}

#[test]
fn ties_are_decided_as_the_rules_say() {
    let expiry = |ttl_seconds, at_seconds| Expiry { ttl_seconds, at_seconds };
    let ascending = [
        Cell::tombstone(6, 900),
        Cell::live(7, Bytes::from_static(&[0x7f])),
        Cell::live(7, Bytes::from_static(&[0x80])),
        Cell::expiring(7, Bytes::from_static(&[0xff]), expiry(9, 50)),
        Cell::expiring(7, Bytes::from_static(&[0x01]), expiry(10, 60)),
        Cell::expiring(7, Bytes::from_static(&[0x00]), expiry(5, 60)),
        Cell::expiring(7, Bytes::from_static(&[0x01]), expiry(5, 60)),
        Cell::tombstone(7, 1),
        Cell::tombstone(7, 2),
        Cell::live(8, Bytes::new()),
    ];
    for (index, smaller) in ascending.iter().enumerate() {
        for larger in &ascending[index + 1..] {
            assert_eq!(smaller.reconcile(larger), Ordering::Less, "{smaller:?} < {larger:?}");
        }
    }
}

#[test]
fn an_expiring_value_is_gone_from_its_second_on() {
    let cell = Cell::expiring(1, Bytes::from_static(b"x"), Expiry { ttl_seconds: 10, at_seconds: 110 });
    assert!(cell.value(109).is_some());
    assert_eq!(cell.value(110), None);
}

#[test]
fn a_row_without_complex_columns_has_the_bytes_it_always_had() {
    let cells = vec![
        (ColumnId(1), Cell::live(7, Bytes::from_static(b"ab"))),
        (ColumnId(3), Cell::tombstone(6, 300)),
        (ColumnId(9), Cell::expiring(5, Bytes::new(), Expiry { ttl_seconds: 2, at_seconds: 3 })),
    ];
    let row = Row::new(Some(Liveness { timestamp: 7, expiry: None }), Some(deletion_at(2)), cells);
    let head = [1, 5, 0, 0, 0, 0, 0, 0, 0, 7, 0, 5, 1, 3];
    let cells = [&[1, 0, 0, 2, b'a', b'b'][..], &[2, 1, 1, 0xac, 2], &[6, 2, 2, 2, 3, 0]];
    assert_eq!(row.to_bytes(), [&head[..], &cells.concat()].concat());
}

fn deletion_at(timestamp: i64) -> Deletion {
    Deletion { timestamp, local_seconds: 1 }
}

#[test]
fn overwriting_a_complex_column_leaves_only_what_it_sets() {
    let column = ColumnId(4);
    let element = |path: &'static [u8], timestamp| (Bytes::from_static(path), Cell::live(timestamp, Bytes::new()));
    let row = |deletion, cells| Row::default().with_complex([(column, ComplexColumn::new(deletion, cells))]);
    let added = row(None, vec![element(b"a", 3), element(b"b", 4)]);
    let overwritten = row(Some(deletion_at(9)), vec![element(b"b", 10), element(b"c", 10)]);
    let late = row(None, vec![element(b"a", 9), element(b"d", 10)]);
    let merged = late.merge(added).merge(overwritten);
    let found = merged.complex_column(column).unwrap();
    assert_eq!(found.cells(), [element(b"b", 10), element(b"c", 10), element(b"d", 10)]);
    assert_eq!(found.deletion(), Some(deletion_at(9)));
    assert_eq!(found.cell(b"c"), Some(&element(b"c", 10).1));
    assert!(merged.is_live(0));
    // The deletion of the row supersedes that of the column, or does not.
    let mut deleted = merged.clone();
    deleted.delete(deletion_at(9));
    assert_eq!(deleted.complex_column(column).unwrap().deletion(), None);
    assert_eq!(deleted.complex_column(column).unwrap().cells().len(), 3);
    deleted.delete(deletion_at(10));
    assert!(deleted.is_empty());
    let mut kept = merged;
    kept.delete(Deletion { timestamp: 9, local_seconds: 0 });
    assert_eq!(kept.complex_column(column).unwrap().deletion(), Some(deletion_at(9)));
}
