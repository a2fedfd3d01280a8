//! Values through their cells and back, and in their order.

use super::*;
use crate::deletion::Deletion;
use crate::row::{Cell, Expiry};
use crate::types::UserType;
use crate::types::tests::column_type;
use crate::value::tests::value_of;
use crate::value::{Value, compare};
use proptest::prelude::*;
use std::sync::Arc;

/// A type of many cells and a value of it.
fn value_of_many() -> impl Strategy<Value = (CqlType, Value)> {
    let many = column_type().prop_filter("of many cells", CqlType::is_multi_cell);
    many.prop_flat_map(|cql_type| (Just(cql_type.clone()), value_of(&cql_type)))
}

/// Draws timeuuids whose bytes as such are not in order.
fn time_uuids() -> impl FnMut() -> u128 {
    let mut drawn = 0u128;
    move || {
        drawn += 0x7fff_ffff;
        let (low, middle, high) = (drawn & 0xffff_ffff, drawn >> 32 & 0xffff, drawn >> 48 & 0xfff);
        low << 96 | middle << 80 | 1 << 76 | high << 64
    }
}

fn cells(elements: Vec<(Bytes, Bytes)>, timestamp: i64) -> Vec<(Bytes, Cell)> {
    elements.into_iter().map(|(path, value)| (path, Cell::live(timestamp, value))).collect()
}

proptest! {
    #[test]
    fn values_come_back_from_their_cells_in_any_order(
        (cql_type, written) in value_of_many(), shuffled: u64,
    ) {
        let normal = normalize(&cql_type, &written.to_wire()).unwrap().into_owned();
        let mut cells = cells(elements(&cql_type, &written.to_wire(), time_uuids()).unwrap(), 5);
        crate::rng::Rng::new(shuffled).shuffle(&mut cells);
        let column = ComplexColumn::overwritten(5, 1, cells);
        let found = value(&cql_type, &column, 0).unwrap();
        let nothing = match &written {
            Value::List(elements) | Value::Set(elements) => elements.is_empty(),
            Value::Map(entries) => entries.is_empty(),
            Value::UserDefined(fields) => fields.iter().all(|(_, field)| field.is_none()),
            _ => false,
        };
        prop_assert_eq!(found.is_none(), nothing);
        if let Some(found) = found {
            prop_assert!(compare(&cql_type, &found, &normal).is_eq(), "{:?} {:?}", found, normal);
            let again = cells_of(&cql_type, &found);
            if !matches!(cql_type, CqlType::List { .. }) {
                prop_assert_eq!(again, cells_of(&cql_type, &normal));
            }
        }
    }

    #[test]
    fn any_path_is_read_or_refused(
        cql_type in column_type(), path in prop::collection::vec(prop_oneof![Just(0), Just(0x38), any::<u8>()], 0..6),
    ) {
        let column = ComplexColumn::new(None, vec![(Bytes::from(path), Cell::live(1, Bytes::from_static(b"v")))]);
        let _ = value(&cql_type, &column, 0);
        prop_assert_eq!(value(&cql_type, &column, 0).is_err() && cql_type == CqlType::Counter, false);
    }
}

fn cells_of(cql_type: &CqlType, wire: &[u8]) -> Vec<(Bytes, Bytes)> {
    elements(cql_type, wire, time_uuids()).unwrap()
}

fn int(value: i32) -> Value {
    Value::Int(value)
}

#[test]
fn elements_have_the_paths_of_their_type() {
    let set = CqlType::Set { element: Arc::new(CqlType::Int), frozen: false };
    let wire = Value::Set(vec![int(7), int(-1), int(7)]).to_wire();
    let path = |text: &'static [u8]| Bytes::from_static(text);
    let expected = [(path(b"\x7f\xff\xff\xff"), Bytes::new()), (path(b"\x80\0\0\x07"), Bytes::new())];
    assert_eq!(cells_of(&set, &wire), expected);
    let map = CqlType::Map { entry: Arc::new((CqlType::Text, CqlType::Int)), frozen: false };
    let wire = Value::Map(vec![(Value::Text("k".to_owned()), int(3))]).to_wire();
    assert_eq!(cells_of(&map, &wire), [(path(b"k\0"), int(3).to_wire())]);
    let fields = ["a", "b", "c"].map(|name| (name.to_owned(), CqlType::Int)).to_vec();
    let definition = UserType { keyspace: "ks".to_owned(), name: "t".to_owned(), fields };
    let user = CqlType::user_defined(&Arc::new(definition), false);
    let wire = Value::UserDefined(vec![("a".to_owned(), None), ("b".to_owned(), Some(int(3)))]).to_wire();
    assert_eq!(cells_of(&user, &wire), [(path(b"\0\x01"), int(3).to_wire())]);
    for cql_type in [set.freeze(), CqlType::Counter, CqlType::Int] {
        assert!(elements(&cql_type, &[0; 4], time_uuids()).is_err(), "{cql_type}");
    }
}

#[test]
fn what_is_deleted_or_expired_is_not_in_the_value() {
    let list = CqlType::List { element: Arc::new(CqlType::Int), frozen: false };
    let expiry = Expiry { ttl_seconds: 10, at_seconds: 110 };
    let cells = vec![
        (list_path(1 << 76 | 1 << 96), Cell::live(5, int(1).to_wire())),
        (list_path(1 << 76 | 2 << 96), Cell::expiring(5, int(2).to_wire(), expiry)),
        (list_path(1 << 76 | 3 << 96), Cell::tombstone(5, 1)),
    ];
    let column = ComplexColumn::new(None, cells);
    let seen = |column: &ComplexColumn, now| value(&list, column, now).unwrap();
    assert_eq!(seen(&column, 109), Some(Value::List(vec![int(1), int(2)]).to_wire()));
    assert_eq!(seen(&column, 110), Some(Value::List(vec![int(1)]).to_wire()));
    let mut deleted = column;
    deleted.delete(Deletion { timestamp: 5, local_seconds: 1 });
    assert_eq!(seen(&deleted, 0), None);
    let counter = counter::Shard { node: crate::NodeId(1), clock: 7, count: -3 }.to_column();
    assert_eq!(value(&CqlType::Counter, &counter, 0), Ok(Some(Value::Counter(-3).to_wire())));
}

#[test]
fn a_column_is_overwritten_from_just_below_its_new_cells() {
    let cell = |timestamp| (Bytes::from_static(b"p"), Cell::live(timestamp, Bytes::new()));
    let column = ComplexColumn::overwritten(5, 9, vec![cell(5)]);
    assert_eq!(column.deletion(), Some(Deletion { timestamp: 4, local_seconds: 9 }));
    assert_eq!(column.cells(), [cell(5)]);
    // Nothing is older than the smallest timestamp.
    assert_eq!(ComplexColumn::overwritten(i64::MIN, 9, vec![cell(i64::MIN)]).deletion(), None);
}
