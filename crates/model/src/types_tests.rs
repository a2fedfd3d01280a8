//! Names, rules and encodings of types.

use super::*;
use bytes::Bytes;
use proptest::prelude::*;

fn list(element: CqlType) -> CqlType {
    CqlType::List { element: Arc::new(element), frozen: false }
}

fn set(element: CqlType) -> CqlType {
    CqlType::Set { element: Arc::new(element), frozen: false }
}

fn map(key: CqlType, value: CqlType) -> CqlType {
    CqlType::Map { entry: Arc::new((key, value)), frozen: false }
}

fn tuple(types: Vec<CqlType>) -> CqlType {
    CqlType::Tuple(Arc::new(types))
}

fn vector(element: CqlType, dimensions: u32) -> CqlType {
    CqlType::Vector { element: Arc::new(element), dimensions }
}

fn user_type(name: &str, fields: Vec<(&str, CqlType)>) -> Arc<UserType> {
    let fields = fields.into_iter().map(|(name, cql_type)| (name.to_owned(), cql_type)).collect();
    Arc::new(UserType { keyspace: "ks".to_owned(), name: name.to_owned(), fields })
}

/// A type that may be in another: frozen.
pub(crate) fn frozen_type() -> impl Strategy<Value = CqlType> {
    let scalar = prop::sample::select(CqlType::SCALARS.to_vec());
    let nested = scalar.prop_recursive(3, 8, 3, |inner| {
        let ordered = inner.clone().prop_map(|inner| if inner.is_ordered() { inner } else { CqlType::Int });
        let several = prop::collection::vec(inner.clone(), 1..4);
        prop_oneof![
            inner.clone().prop_map(list),
            ordered.clone().prop_map(set),
            (ordered, inner.clone()).prop_map(|(key, value)| map(key, value)),
            several.clone().prop_map(tuple),
            several.prop_map(|types| {
                let fields = ["a", "B", "select"].into_iter().zip(types).collect();
                CqlType::user_defined(&user_type("My type", fields), true)
            }),
            (inner, 1u32..4).prop_map(|(element, dimensions)| vector(element, dimensions)),
        ]
    });
    nested.prop_map(|cql_type| cql_type.freeze())
}

/// The type of a column: of one value, of many cells, or a counter.
pub(crate) fn column_type() -> impl Strategy<Value = CqlType> {
    let thaw = |cql_type: CqlType| match cql_type {
        CqlType::List { element, .. } => CqlType::List { element, frozen: false },
        CqlType::Set { element, .. } => CqlType::Set { element, frozen: false },
        CqlType::Map { entry, .. } => CqlType::Map { entry, frozen: false },
        CqlType::UserDefined { definition, .. } => CqlType::UserDefined { definition, frozen: false },
        other => other,
    };
    prop_oneof![9 => frozen_type(), 9 => frozen_type().prop_map(thaw), 1 => Just(CqlType::Counter)]
}

proptest! {
    #[test]
    fn encodings_round_trip(cql_type in column_type()) {
        prop_assert_eq!(cql_type.check(), Ok(()));
        prop_assert_eq!(CqlType::from_bytes(&cql_type.to_bytes()), Ok(cql_type.clone()));
        prop_assert_eq!(cql_type.freeze().is_multi_cell(), false);
        prop_assert_eq!(cql_type.freeze().check(), Ok(()));
        prop_assert_eq!(cql_type.is_key(), cql_type.is_ordered() && !cql_type.is_complex());
    }

    #[test]
    fn any_bytes_decode_to_their_own_type_or_fail(
        bytes in prop::collection::vec(prop_oneof![0u8..28, any::<u8>()], 0..12), cql_type in column_type(),
        at: prop::sample::Index, to: u8,
    ) {
        let mut changed = cql_type.to_bytes().to_vec();
        let at = at.index(changed.len());
        changed[at] = to;
        for bytes in [Bytes::from(bytes), Bytes::from(changed)] {
            if let Ok(cql_type) = CqlType::from_bytes(&bytes) {
                prop_assert_eq!(cql_type.check(), Ok(()));
                prop_assert_eq!(cql_type.to_bytes(), bytes.clone());
            }
            if let Ok(definition) = UserType::from_bytes(&bytes) {
                prop_assert_eq!(definition.to_bytes(), bytes);
            }
        }
    }
}

#[test]
fn names_and_tags_of_scalars_round_trip_and_are_distinct() {
    for (index, scalar) in CqlType::SCALARS.into_iter().enumerate() {
        assert_eq!(CqlType::scalar(&scalar.to_string()), Some(scalar.clone()));
        assert_eq!(scalar.to_bytes().as_ref(), [index as u8 + 1]);
        assert_eq!(CqlType::from_bytes(&scalar.to_bytes()), Ok(scalar));
    }
    assert_eq!(CqlType::scalar("varchar"), Some(CqlType::Text));
    assert_eq!(CqlType::scalar("list"), None);
    assert_eq!(CqlType::scalar("counter"), None);
    assert!(std::mem::size_of::<CqlType>() <= 16, "compact");
}

#[test]
fn names_are_those_that_cassandra_prints() {
    let ints = || list(CqlType::Int).freeze();
    let address = user_type("address", vec![("street", CqlType::Text), ("phones", set(CqlType::Text))]);
    for (cql_type, name) in [
        (ints(), "frozen<list<int>>"),
        (map(CqlType::Text, ints()), "map<text, frozen<list<int>>>"),
        (map(CqlType::Text, ints()).freeze(), "frozen<map<text, frozen<list<int>>>>"),
        (set(CqlType::TimeUuid), "set<timeuuid>"),
        (vector(CqlType::Float, 3), "vector<float, 3>"),
        (vector(vector(CqlType::Text, 2), 3), "vector<vector<text, 2>, 3>"),
        (tuple(vec![CqlType::Int, ints()]), "frozen<tuple<int, frozen<list<int>>>>"),
        (CqlType::user_defined(&address, true), "frozen<address>"),
        (CqlType::user_defined(&address, false), "address"),
        (list(CqlType::user_defined(&user_type("Select", vec![]), true)), "list<frozen<\"Select\">>"),
        (CqlType::Counter, "counter"),
    ] {
        assert_eq!(cql_type.to_string(), name);
    }
}

#[test]
fn what_may_not_be_in_what_is_refused_by_name() {
    let text = user_type("t", vec![("a", CqlType::Text)]);
    let with_set = user_type("t", vec![("a", set(CqlType::Text))]);
    let counting = user_type("t", vec![("a", CqlType::Counter)]);
    for (cql_type, message) in [
        (list(list(CqlType::Int)), "Non-frozen collections are not allowed inside collections: list<list<int>>"),
        (set(CqlType::user_defined(&text, false)), "Non-frozen UDTs are not allowed inside collections: set<t>"),
        (
            CqlType::user_defined(&with_set, false),
            "Non-frozen UDTs with nested non-frozen collections are not supported",
        ),
        (CqlType::user_defined(&counting, true), "Counters are not allowed inside user types: frozen<t>"),
        (list(CqlType::Counter), "Counters are not allowed inside collections: list<counter>"),
        (tuple(vec![CqlType::Counter]), "Counters are not allowed inside tuples: frozen<tuple<counter>>"),
        (set(CqlType::Duration), "Durations are not allowed inside sets: set<duration>"),
        (
            map(tuple(vec![CqlType::Duration]), CqlType::Int),
            "Durations are not allowed as map keys: map<frozen<tuple<duration>>, int>",
        ),
        (vector(CqlType::Float, 0), "vectors may only have positive dimensions; given 0"),
        (tuple(vec![]), "a tuple has at least one type"),
        (CqlType::user_defined(&user_type("t", vec![]), true), "type t has no fields"),
    ] {
        assert_eq!(cql_type.check(), Err(RequestError::Invalid(message.to_owned())));
        assert_eq!(CqlType::from_bytes(&cql_type.to_bytes()), Err(CodecError::Invalid("type")));
    }
    assert_eq!(CqlType::user_defined(&with_set, true).check(), Ok(()));
    assert_eq!(UserType::from_bytes(&with_set.to_bytes()).as_ref(), Ok(with_set.as_ref()));
    assert!(UserType::from_bytes(&counting.to_bytes()).is_err());
    assert_eq!(map(CqlType::Int, CqlType::Duration).check(), Ok(()));
}

#[test]
fn types_are_nested_up_to_their_limit() {
    let nested = |depth| (1..depth).fold(CqlType::Int, |inner, _| list(inner)).freeze();
    let deepest = nested(NESTING_MAX);
    assert_eq!(deepest.check(), Ok(()));
    assert_eq!(CqlType::from_bytes(&deepest.to_bytes()), Ok(deepest));
    assert!(nested(NESTING_MAX + 1).check().is_err());
    assert!(CqlType::from_bytes(&nested(NESTING_MAX + 1).to_bytes()).is_err());
    assert!(CqlType::from_bytes(&Bytes::from([TAG_LIST, 1].repeat(50_000))).is_err(), "no overflow of the stack");
}

#[test]
fn keys_are_ordered_values() {
    for (cql_type, ordered, key) in [
        (CqlType::Int, true, true),
        (CqlType::Counter, false, false),
        (CqlType::Duration, false, false),
        (list(CqlType::Int), true, false),
        (list(CqlType::Int).freeze(), true, true),
        (list(CqlType::Duration).freeze(), false, false),
        (tuple(vec![CqlType::Int, list(CqlType::Duration).freeze()]), false, false),
        (vector(CqlType::Float, 2), true, true),
    ] {
        assert_eq!((cql_type.is_ordered(), cql_type.is_key()), (ordered, key), "{cql_type}");
    }
    assert_eq!(vector(vector(CqlType::Int, 3), 2).fixed_length(), Some(24));
    assert_eq!(vector(CqlType::SmallInt, 3).fixed_length(), None);
}
