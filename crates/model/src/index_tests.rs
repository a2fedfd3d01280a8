//! Indexes: that entries, look-ups and states say the same of a row, whatever it is and wherever the index is.

use super::*;
use crate::complex::ComplexColumn;
use crate::element::elements;
use crate::row::{Cell, Expiry, Liveness};
use crate::schema::ClusteringOrder;
use crate::value::Value;
use proptest::prelude::*;
use std::sync::Arc;

const NOW: u32 = 100;

/// Two partition key columns, two clustering columns, static, simple, frozen and all collections.
fn table() -> Table {
    let int = || Arc::new(CqlType::Int);
    let entry = || Arc::new((CqlType::Text, CqlType::Int));
    let columns = [
        ("a", ColumnKind::PartitionKey(0), CqlType::Int),
        ("b", ColumnKind::PartitionKey(1), CqlType::Text),
        ("c", ColumnKind::Clustering(0, ClusteringOrder::Ascending), CqlType::Int),
        ("d", ColumnKind::Clustering(1, ClusteringOrder::Descending), CqlType::Text),
        ("f", ColumnKind::Regular, CqlType::List { element: int(), frozen: true }),
        ("l", ColumnKind::Regular, CqlType::List { element: int(), frozen: false }),
        ("m", ColumnKind::Regular, CqlType::Map { entry: entry(), frozen: false }),
        ("s", ColumnKind::Regular, CqlType::Set { element: int(), frozen: false }),
        ("t", ColumnKind::Static, CqlType::Int),
        ("v", ColumnKind::Regular, CqlType::Text),
    ];
    let column = |((name, kind, cql_type), id): ((&str, ColumnKind, CqlType), u32)| Column {
        id: ColumnId(id),
        name: name.to_owned(),
        kind,
        cql_type,
    };
    let mut table = Table { columns: columns.into_iter().zip(0..).map(column).collect(), ..Table::plain(TableId(7)) };
    for (column, part) in [
        ("a", IndexedPart::Value),
        ("d", IndexedPart::Value),
        ("f", IndexedPart::Full),
        ("l", IndexedPart::Values),
        ("m", IndexedPart::Values),
        ("m", IndexedPart::Keys),
        ("m", IndexedPart::Entries),
        ("s", IndexedPart::Values),
        ("t", IndexedPart::Value),
        ("v", IndexedPart::Value),
    ] {
        let column_id = table.column(column).unwrap().id;
        let (name, class, options) = (format!("{column}_{part}"), String::new(), Default::default());
        let index = Index { name, column: column_id, part, class, options };
        table.check_index(&index).unwrap();
        table.indexes.push(index);
    }
    table
}

fn index<'t>(table: &'t Table, column: &str, part: IndexedPart) -> TableIndex<'t> {
    TableIndex::new(table, IndexTarget { column: table.column(column).unwrap().id, part }).unwrap()
}

fn int(value: i32) -> Bytes {
    Bytes::copy_from_slice(&value.to_be_bytes())
}

fn partition(a: i32, b: &'static str) -> PartitionKey {
    PartitionKey::from_components(&[int(a), Bytes::from_static(b.as_bytes())]).unwrap()
}

/// The row `(c, d)` with `v`, and `l`, `s` and `m` of one element, each written with this expiry.
fn record(table: &Table, c: i32, d: &'static str, number: i32, expiry: Option<Expiry>) -> Record {
    let cell = |value: Bytes| match expiry {
        None => Cell::live(5, value),
        Some(expiry) => Cell::expiring(5, value, expiry),
    };
    let clustering = crate::key::encode_clustering(table, &[int(c), Bytes::from_static(d.as_bytes())]).unwrap();
    let id = |name: &str| table.column(name).unwrap().id;
    let wire = |name: &str, value: Value| {
        let cql_type = &table.column(name).unwrap().cql_type;
        let mut paths = 0;
        let cells = elements(cql_type, &value.to_wire(), || {
            paths += 1;
            paths
        });
        let cells = cells.unwrap().into_iter().map(|(path, value)| (path, cell(value))).collect();
        (id(name), ComplexColumn::new(None, cells))
    };
    let list = Value::List(vec![Value::Int(number)]);
    let map = Value::Map(vec![(Value::Text(format!("k{number}")), Value::Int(number))]);
    let row = Row::new(
        expiry.is_none().then_some(Liveness { timestamp: 5, expiry: None }),
        None,
        vec![(id("f"), cell(list.to_wire())), (id("v"), cell(Bytes::from(format!("v{number}"))))],
    );
    let row = row.with_complex([wire("l", list), wire("m", map), wire("s", Value::Set(vec![Value::Int(number)]))]);
    Record::row(clustering, &row)
}

#[test]
fn a_record_has_an_entry_in_every_index_that_it_has_a_value_for() {
    let table = table();
    let key = partition(1, "p");
    let found = entries_of(&table, &key, &[record(&table, 3, "d", 9, None)]).unwrap();
    assert_eq!(found.len(), 9, "all but the static column: {found:?}");
    for (column, part, parts) in [
        ("a", IndexedPart::Value, vec![int(1)]),
        ("d", IndexedPart::Value, vec![Bytes::from_static(b"d")]),
        ("f", IndexedPart::Full, vec![Value::List(vec![Value::Int(9)]).to_wire()]),
        ("l", IndexedPart::Values, vec![int(9)]),
        ("m", IndexedPart::Values, vec![int(9)]),
        ("m", IndexedPart::Keys, vec![Bytes::from_static(b"k9")]),
        ("m", IndexedPart::Entries, vec![Bytes::from_static(b"k9"), int(9)]),
        ("s", IndexedPart::Values, vec![int(9)]),
        ("v", IndexedPart::Value, vec![Bytes::from_static(b"v9")]),
    ] {
        let index = index(&table, column, part);
        let parts: Vec<&[u8]> = parts.iter().map(Bytes::as_ref).collect();
        let value = index.value_of(&parts).unwrap().unwrap();
        let entry = found.iter().find(|entry| entry.target == index.target()).unwrap();
        assert_eq!(entry.value, value, "{column} {part:?}");
        assert_eq!(entry.clustering.is_none(), index.names_partitions());
        let followed = [value.as_ref(), b"rest"].concat();
        assert_eq!(index.value_length(&followed), Ok(value.len()));
    }
    let fixed = Row::new(None, None, vec![(table.column("t").unwrap().id, Cell::live(1, int(4)))]);
    let fixed = Record { key: RecordKey::Static, value: fixed.to_bytes() };
    let found = entries_of(&table, &key, &[fixed]).unwrap();
    let names: Vec<ColumnId> = found.iter().map(|entry| entry.target.column).collect();
    assert_eq!(names, [table.column("a").unwrap().id, table.column("t").unwrap().id]);
    let deleted = Row::deleted(crate::deletion::Deletion { timestamp: 9, local_seconds: 1 });
    let deleted = Record { value: deleted.to_bytes(), ..record(&table, 1, "d", 1, None) };
    assert_eq!(entries_of(&table, &key, &[deleted]).unwrap(), [], "a deletion sets no value");
}

#[test]
fn values_that_compare_as_equal_are_one_and_others_are_no_prefixes() {
    let mut table = table();
    let v = table.columns.iter().position(|column| column.name == "v").unwrap();
    table.columns[v].cql_type = CqlType::Decimal;
    let decimals = index(&table, "v", IndexedPart::Value);
    let value = |text: &str| {
        let value = Value::parse(&CqlType::Decimal, text).unwrap().to_wire();
        decimals.value_of(&[&value]).unwrap().unwrap()
    };
    assert_eq!(value("1.0"), value("1.00"));
    assert_ne!(value("1.0"), value("1.01"));
    table.columns[v].cql_type = CqlType::Blob;
    let blobs = index(&table, "v", IndexedPart::Value);
    let texts: [&[u8]; 6] = [b"", b"\0", b"\0\0", b"a", b"a\0", b"a\0b"];
    let values: Vec<Bytes> = texts.iter().map(|text| blobs.value_of(&[text]).unwrap().unwrap()).collect();
    for (at, value) in values.iter().enumerate() {
        for (other_at, other) in values.iter().enumerate().filter(|(other, _)| *other != at) {
            assert!(!other.starts_with(value), "{at} {other_at}");
        }
    }
    assert_eq!(blobs.value_of(&[&vec![1; INDEXED_BYTES_MAX + 1]]), Ok(None));
}

#[test]
fn an_entry_is_current_expired_or_stale() {
    let table = table();
    let index = index(&table, "v", IndexedPart::Value);
    let value = index.value_of(&[b"v9"]).unwrap().unwrap();
    let state = |record: &Record| {
        let RecordKey::Row(clustering) = record.key.clone() else { unreachable!() };
        let row = IndexedRow { partition: partition(1, "p"), clustering: Some(clustering.clone()) };
        let command = index.read_of(&row, NOW).unwrap();
        assert_eq!(command.validate(), Ok(()));
        let data = ReadData { rows: vec![(clustering, record.value.clone())], ..ReadData::default() };
        assert_eq!(index.state_of(&row, &value, &ReadData::default(), NOW), Ok(EntryState::Stale));
        index.state_of(&row, &value, &data, NOW).unwrap()
    };
    let expiring = |at_seconds| Some(Expiry { ttl_seconds: 1, at_seconds });
    assert_eq!(state(&record(&table, 1, "d", 9, None)), EntryState::Current);
    assert_eq!(state(&record(&table, 1, "d", 9, expiring(NOW + 1))), EntryState::Current);
    assert_eq!(state(&record(&table, 1, "d", 9, expiring(NOW))), EntryState::Expired);
    assert_eq!(state(&record(&table, 1, "d", 8, None)), EntryState::Stale);
}

#[test]
fn a_value_that_is_too_long_is_refused_and_named() {
    let table = table();
    let (id, name) = (table.column("v").unwrap().id, "v_values");
    let mutation = |length: usize| Mutation {
        table: table.id,
        partition: partition(1, "p"),
        records: vec![Record::row(
            Bytes::from_static(&[0x40]),
            &Row::new(None, None, vec![(id, Cell::live(1, Bytes::from(vec![b'x'; length])))]),
        )],
    };
    assert_eq!(check_indexed_values(&table, &mutation(INDEXED_BYTES_MAX)), Ok(()));
    let message = check_indexed_values(&table, &mutation(INDEXED_BYTES_MAX + 1)).unwrap_err().to_string();
    assert!(message.contains("Cannot index value of size 65536") && message.contains(name), "{message}");
    assert_eq!(check_indexed_values(&Table { indexes: Vec::new(), ..table.clone() }, &mutation(70_000)), Ok(()));
}

fn row_at(token: i64, clustering: Option<u8>) -> IndexedRow {
    let partition = PartitionKey { token: Token(token), bytes: Bytes::from_static(b"k") };
    IndexedRow { partition, clustering: clustering.map(|byte| Bytes::from(vec![0x40, byte])) }
}

#[test]
fn what_is_merged_ends_where_the_first_answer_ends() {
    let row = |token, clustering| row_at(token, Some(clustering));
    let whole = IndexData { rows: vec![row(1, 1), row(1, 3), row(2, 1), row(3, 1)], next: None };
    let short = IndexData { rows: vec![row(1, 2), row(2, 0)], next: Some(row(2, 0)) };
    let merged = IndexData::merge(&[&whole, &short], false);
    assert_eq!(merged, IndexData { rows: vec![row(1, 1), row(1, 2), row(1, 3), row(2, 0)], next: Some(row(2, 0)) });
    // To the end of a partition is farther than within it.
    let further = IndexData { rows: vec![row(2, 0)], next: Some(row_at(2, None)) };
    assert_eq!(IndexData::merge(&[&further, &short], false).next, short.next);
    assert_eq!(IndexData::merge(&[&further, &whole], false).rows, [row(1, 1), row(1, 3), row(2, 0), row(2, 1)]);
    assert_eq!(IndexData::merge(&[&whole, &whole], false), whole);
    assert_eq!(IndexData::merge(&[&whole, &short], true), whole);
}

#[test]
fn the_value_of_no_bytes_is_found_again_and_is_no_part_of_another() {
    let mut table = table();
    let position = table.columns.iter().position(|column| column.name == "v").unwrap();
    for cql_type in [CqlType::Int, CqlType::Uuid, CqlType::Timestamp, CqlType::Text, CqlType::Blob] {
        table.columns[position].cql_type = cql_type.clone();
        let index = index(&table, "v", IndexedPart::Value);
        let empty = index.value_of(&[&[]]).unwrap().unwrap();
        // In an entry the name of the row stands behind it, whatever bytes that has.
        for rest in [&[0x38][..], &[0x7f, 0x38], &[0; 9]] {
            let entry = [&empty, rest].concat();
            assert_eq!(index.value_length(&entry), Ok(empty.len()), "{cql_type}");
        }
        if cql_type == CqlType::Int {
            for number in [i32::MIN, -1, 0, i32::MAX, 0x3800_0000, i32::MIN + 0x3800_0000] {
                let other = index.value_of(&[&number.to_be_bytes()]).unwrap().unwrap();
                assert!(!other.starts_with(&empty), "{number}");
                assert_eq!(index.value_length(&other), Ok(other.len()));
            }
        }
    }
}

proptest! {
    #[test]
    fn encodings_round_trip_and_others_fail_without_panic(
        rows in prop::collection::vec((any::<i64>(), any::<Option<u8>>()), 0..6), bytes: Vec<u8>, limit in 1u32..,
    ) {
        let rows: Vec<IndexedRow> = rows.into_iter().map(|(token, clustering)| row_at(token, clustering)).collect();
        let data = IndexData { next: rows.last().cloned(), rows };
        prop_assert_eq!(IndexData::from_bytes(&data.to_bytes()), Ok(data));
        let command = IndexCommand {
            table: TableId(3),
            target: IndexTarget { column: ColumnId(2), part: IndexedPart::Keys },
            values: Slice::of_row(&Bytes::copy_from_slice(&bytes)),
            range: TokenRange::ALL,
            partition: Some(row_at(5, None).partition),
            slices: vec![Slice::all()],
            resume: Some(row_at(4, Some(1))),
            limit,
            now_seconds: NOW,
        };
        prop_assert_eq!(IndexCommand::from_bytes(&command.to_bytes()), Ok(command));
        let bytes = Bytes::from(bytes);
        let _ = IndexCommand::from_bytes(&bytes);
        let _ = IndexData::from_bytes(&bytes);
    }
}
