//! JSON as text, and from values to JSON and back.

use super::*;
use proptest::prelude::*;
use std::sync::Arc;

#[test]
fn texts_are_read_or_refused() {
    let string = |text: &str| Json::String(text.to_owned());
    let number = |text: &str| Json::Number(text.to_owned());
    let cases = [
        (" null ", Json::Null),
        ("true", Json::Boolean(true)),
        ("-0.5e+10", number("-0.5e+10")),
        ("123456789012345678901234567890", number("123456789012345678901234567890")),
        (r#""a\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00""#, string("a\"\\/\u{8}\u{c}\n\r\té😀")),
        ("[1, [], {}]", Json::Array(vec![number("1"), Json::Array(vec![]), Json::Object(vec![])])),
        (r#"{"a": 1, "b" :null}"#, Json::Object(vec![("a".to_owned(), number("1")), ("b".to_owned(), Json::Null)])),
    ];
    for (text, expected) in cases {
        assert_eq!(Json::parse(text), Ok(expected), "{text}");
    }
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let broken =
        ["", "nul", "01", "1.", "1e", "-", "[1,]", "[1 2]", "{a: 1}", "{\"a\" 1}", "{\"a\": 1,}", "\"a", "\"\\x\""];
    for text in broken.into_iter().chain(["\"\\ud800\"", "\"\\ud800\\u0041\"", "\"\n\"", "1 2", "'a'", "NaN", &deep]) {
        assert!(Json::parse(text).is_err(), "{}", shortened(text));
    }
}

#[test]
fn names_are_folded_as_cql_folds_them() {
    let members = Json::parse_columns(r#"{"Abc": 1, "\"Abc\"": 2, "abc": 3}"#).unwrap();
    let members: Vec<String> = members.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(members, ["Abc=2", "abc=3"]);
    assert!(Json::parse_columns("[1]").unwrap_err().starts_with("Could not decode JSON string as a map"));
    assert_eq!(object([("a", "1".to_owned()), ("B", "null".to_owned())].into_iter()), r#"{"a": 1, "\"B\"": null}"#);
}

fn user_type() -> CqlType {
    let fields = vec![("a".to_owned(), CqlType::Int), ("B".to_owned(), CqlType::Text)];
    let definition = model::types::UserType { keyspace: "ks".to_owned(), name: "udt".to_owned(), fields };
    CqlType::user_defined(&Arc::new(definition), true)
}

fn list(element: CqlType) -> CqlType {
    CqlType::List { element: Arc::new(element), frozen: true }
}

fn set(element: CqlType) -> CqlType {
    CqlType::Set { element: Arc::new(element), frozen: true }
}

fn map(key: CqlType, value: CqlType) -> CqlType {
    CqlType::Map { entry: Arc::new((key, value)), frozen: true }
}

#[test]
fn values_are_made_of_the_forms_that_cassandra_takes() {
    let vector = CqlType::Vector { element: Arc::new(CqlType::Float), dimensions: 2 };
    let tuple = CqlType::Tuple(Arc::new(vec![CqlType::Int, CqlType::Text]));
    let cases = [
        (CqlType::Int, "5", "5"),
        (CqlType::Int, "\"5\"", "5"),
        (CqlType::Int, "5.0", "Expected an int value, but got a Double: 5.0"),
        (CqlType::Int, "3000000000", "Expected an int value, but got a Long: 3000000000"),
        (CqlType::Int, "\"x\"", "Unable to make int from 'x'"),
        (CqlType::Int, "true", "Expected an int value, but got a Boolean: true"),
        (CqlType::SmallInt, "70000", "Unable to make short from '70000'"),
        (CqlType::TinyInt, "[1]", "Expected a byte value, but got a ArrayList: [1]"),
        (CqlType::Text, "5", "Expected a UTF-8 string, but got a Integer: 5"),
        (CqlType::Boolean, "\"true\"", "True"),
        (CqlType::Blob, "\"0xCAFE\"", "0xcafe"),
        (CqlType::Blob, "\"CAFE\"", "Value 'CAFE' is not a valid blob representation: String representation of blob"),
        (CqlType::Decimal, "1.10", "1.10"),
        (CqlType::Decimal, "true", "Value 'true' is not a valid representation of a decimal value"),
        (CqlType::VarInt, "123456789012345678901234567890", "123456789012345678901234567890"),
        (CqlType::VarInt, "1.5", "Value '1.5' is not a valid representation of a varint value"),
        (CqlType::Double, "\"NaN\"", "NaN"),
        (CqlType::Timestamp, "0", "1970-01-01 00:00:00.000000+0000"),
        (CqlType::Timestamp, "\"1970-01-02\"", "1970-01-02 00:00:00.000000+0000"),
        (
            CqlType::Timestamp,
            "1.5",
            "Expected a long or a datestring representation of a timestamp value, but got a Double",
        ),
        (CqlType::Date, "5", "Expected a string representation of a date value, but got a Integer: 5"),
        (CqlType::Duration, "\"1h\"", "1h"),
        (list(CqlType::Int), "[1, 2]", "[1, 2]"),
        (list(CqlType::Int), "[1, null]", "Invalid null element in list"),
        (list(CqlType::Int), "{}", "Expected a list, but got a LinkedHashMap: {}"),
        (set(CqlType::Int), "[2, 1, 2]", "{1, 2}"),
        (set(CqlType::Int), "1", "Expected a list (representing a set), but got a Integer: 1"),
        (map(CqlType::Int, CqlType::Text), "{\"2\": \"b\", \"1\": \"a\"}", "{1: 'a', 2: 'b'}"),
        (map(CqlType::Int, CqlType::Text), "{\"1\": null}", "Invalid null value in map"),
        (map(list(CqlType::Int), CqlType::Int), "{\"[1]\": 1}", "{[1]: 1}"),
        (tuple.clone(), "[1, null]", "(1, null)"),
        (tuple.clone(), "[1]", "Tuple is missing items (expected 2): [1]"),
        (tuple.clone(), "[1, \"a\", 2]", "Tuple contains extra items (expected 2): [1, a, 2]"),
        (tuple, "1", "Expected a list representation of a tuple, but got a Integer: 1"),
        (user_type(), r#"{"A": 1, "\"B\"": "x"}"#, "{a: 1, \"B\": 'x'}"),
        (user_type(), r#"{"b": "x"}"#, "Unknown field 'b' in value of user defined type udt"),
        (user_type(), "5", "Expected a map, but got a Integer: 5"),
        (vector.clone(), "[1, 2.5]", "[1, 2.5]"),
        (vector, "[1]", "List had incorrect size: expected 2 but given 1; [1]"),
        (CqlType::Text, "null", "null"),
    ];
    for (cql_type, text, expected) in cases {
        let found = match Json::parse(text).unwrap().to_wire(&cql_type) {
            Ok(Some(wire)) => Value::from_wire(&cql_type, &wire).unwrap().to_string(),
            Ok(None) => "null".to_owned(),
            Err(error) => error,
        };
        assert!(found.starts_with(expected), "{cql_type} {text}: {found}");
    }
}

/// Values of many types, with their types.
fn value() -> impl Strategy<Value = (CqlType, Value)> {
    let scalar = prop_oneof![
        any::<i32>().prop_map(|value| (CqlType::Int, Value::Int(value))),
        any::<i64>().prop_map(|value| (CqlType::BigInt, Value::BigInt(value))),
        ".{0,8}".prop_map(|value| (CqlType::Text, Value::Text(value))),
        any::<bool>().prop_map(|value| (CqlType::Boolean, Value::Boolean(value))),
        any::<i32>().prop_map(|value| (CqlType::Double, Value::Double(f64::from(value) / 8.0))),
        any::<u32>().prop_map(|value| (CqlType::Date, Value::Date(value))),
        (-1_000_000_000_000i64..1_000_000_000_000).prop_map(|value| (CqlType::Timestamp, Value::Timestamp(value))),
        any::<u128>().prop_map(|value| (CqlType::Uuid, Value::Uuid(value))),
        prop::collection::vec(any::<u8>(), 0..6).prop_map(|value| (CqlType::Blob, Value::Blob(Bytes::from(value)))),
    ];
    scalar.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            (inner.clone(), 0usize..3)
                .prop_map(|((cql_type, value), count)| { (list(cql_type), Value::List(vec![value; count])) }),
            inner.clone().prop_map(|(cql_type, value)| (set(cql_type), Value::Set(vec![value]))),
            (inner.clone(), inner.clone()).prop_map(|((key_type, key), (value_type, value))| {
                (map(key_type, value_type), Value::Map(vec![(key, value)]))
            }),
            (inner.clone(), inner).prop_map(|((first_type, first), (second_type, second))| {
                let types = CqlType::Tuple(Arc::new(vec![first_type, second_type.clone(), second_type]));
                (types, Value::Tuple(vec![Some(first), Some(second), None]))
            }),
        ]
    })
}

proptest! {
    #[test]
    fn a_value_survives_the_way_through_json((cql_type, value) in value()) {
        let json = value.to_json();
        let parsed = Json::parse(&json).map_err(TestCaseError::fail)?;
        let wire = parsed.to_wire(&cql_type).map_err(|error| TestCaseError::fail(format!("{json}: {error}")))?;
        prop_assert_eq!(wire, Some(value.to_wire()), "{}", json);
    }

    #[test]
    fn any_text_is_read_or_refused_without_panic(text in ".{0,60}") {
        if let Ok(json) = Json::parse(&text) {
            for cql_type in CqlType::SCALARS {
                let _ = json.to_wire(&cql_type);
            }
        }
    }

    #[test]
    fn what_is_nearly_json_does_not_panic(text in r#"[\[\]{}",:0-9a-u\\ .+-]{0,40}"#) {
        let _ = Json::parse(&text);
    }
}
