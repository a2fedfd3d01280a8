//! Any values, in any style and dialect, come back from their text.

use super::*;
use crate::copy::dialect::Reader;
use crate::copy::options::{CopyOptions, Direction};
use model::types::UserType;
use proptest::prelude::*;
use std::sync::Arc;

fn field(text: &str, quoted: bool) -> Field {
    Field { text: text.to_owned(), quoted }
}

#[test]
fn null_and_empty_text_differ() {
    let style = Style::default();
    assert_eq!(style.read(&CqlType::Text, &field("", false)), Ok(None));
    assert_eq!(style.read(&CqlType::Text, &field("", true)), Ok(Some(Value::Text(String::new()))));
    assert_eq!(style.read(&CqlType::Int, &field("", true)), Ok(None), "what quotes every field writes null so");
    let style = Style { null: "n/a".into(), ..Style::default() };
    assert_eq!(style.read(&CqlType::Int, &field("n/a", false)), Ok(None));
    assert_eq!(style.read(&CqlType::Text, &field("n/a", true)), Ok(Some(Value::Text("n/a".into()))));
}

#[test]
fn numbers_have_the_separators_of_the_style() {
    let style = Style { decimal_separator: ',', thousands_separator: Some('.'), ..Style::default() };
    let cases = [
        (CqlType::Int, "-1234567", "-1.234.567"),
        (CqlType::Int, "123", "123"),
        (CqlType::Double, "1234567.25", "1.234.567,25"),
        (CqlType::Double, "1e+300", "1e+300"),
        (CqlType::Decimal, "-1000.50", "-1.000,50"),
        (CqlType::Double, "NaN", "NaN"),
    ];
    for (cql_type, number, expected) in cases {
        let value = Value::parse(&cql_type, number).unwrap();
        let text = style.write(&cql_type, Some(&value)).text;
        assert_eq!(text, expected);
        let read = style.read(&cql_type, &field(&text, false)).unwrap().unwrap();
        assert_eq!(read.to_wire(), value.to_wire(), "{number}");
    }
}

#[test]
fn floats_are_rounded_to_the_digits_asked_for() {
    let style = Style { float_digits: Some(5), double_digits: Some(12), ..Style::default() };
    let cases = [
        (CqlType::Float, "3.14159265", "3.1416"),
        (CqlType::Float, "100000", "100000"),
        (CqlType::Double, "0.1234567890123456", "0.123456789012"),
        (CqlType::Double, "-Infinity", "-Infinity"),
    ];
    for (cql_type, number, expected) in cases {
        assert_eq!(style.write(&cql_type, Value::parse(&cql_type, number).ok().as_ref()).text, expected);
    }
}

#[test]
fn booleans_have_the_style_and_nothing_else() {
    let style = Style { booleans: ["yes".into(), "no".into()], ..Style::default() };
    assert_eq!(style.write(&CqlType::Boolean, Some(&Value::Boolean(false))).text, "no");
    assert_eq!(style.read(&CqlType::Boolean, &field(" YES", false)), Ok(Some(Value::Boolean(true))));
    assert!(style.read(&CqlType::Boolean, &field("true", false)).unwrap_err().contains("expected yes or no"));
}

#[test]
fn contradictions_are_refused() {
    for (text, expected) in [
        ("DECIMALSEP = ',' AND THOUSANDSSEP = ','", "cannot be the same"),
        ("THOUSANDSSEP = '1'", "'1' cannot separate"),
        ("NULL = 'a,b'", "NULL cannot have"),
        ("DELIMITER = '\"'", "DELIMITER cannot be the same"),
    ] {
        let pairs: Vec<(String, String)> = text
            .split(" AND ")
            .map(|option| option.split_once(" = ").unwrap())
            .map(|(name, value)| (name.to_owned(), value.trim_matches('\'').to_owned()))
            .collect();
        let message = CopyOptions::new(Direction::To, &pairs).unwrap_err();
        assert!(message.contains(expected), "{text}: {message}");
    }
}

/// Any value of a type, by the bytes of its wire form or from its parts.
fn any_value(cql_type: &CqlType) -> BoxedStrategy<Value> {
    let sequence = |element: &CqlType| proptest::collection::vec(any_value(element), 0..4);
    match cql_type {
        CqlType::Text => "[ -~äß\n\r\t'\"\\\\]{0,8}".prop_map(Value::Text).boxed(),
        CqlType::Ascii => "[ -~\n]{0,8}".prop_map(Value::Ascii).boxed(),
        CqlType::Blob => any::<Vec<u8>>().prop_map(|bytes| Value::Blob(bytes.into())).boxed(),
        CqlType::Boolean => any::<bool>().prop_map(Value::Boolean).boxed(),
        CqlType::TinyInt => any::<i8>().prop_map(Value::TinyInt).boxed(),
        CqlType::SmallInt => any::<i16>().prop_map(Value::SmallInt).boxed(),
        CqlType::Int => any::<i32>().prop_map(Value::Int).boxed(),
        CqlType::BigInt => any::<i64>().prop_map(Value::BigInt).boxed(),
        CqlType::Counter => any::<i64>().prop_map(Value::Counter).boxed(),
        CqlType::Timestamp => any::<i64>().prop_map(Value::Timestamp).boxed(),
        CqlType::Date => any::<u32>().prop_map(Value::Date).boxed(),
        CqlType::Time => (0..86_400_000_000_000i64).prop_map(Value::Time).boxed(),
        CqlType::Float => any::<f32>().prop_map(Value::Float).boxed(),
        CqlType::Double => any::<f64>().prop_map(Value::Double).boxed(),
        CqlType::Uuid => any::<u128>().prop_map(Value::Uuid).boxed(),
        CqlType::TimeUuid => any::<u128>().prop_map(|bits| Value::TimeUuid(bits & !(0xf << 76) | 1 << 76)).boxed(),
        CqlType::Inet => any::<std::net::IpAddr>().prop_map(Value::Inet).boxed(),
        CqlType::VarInt | CqlType::Decimal => {
            let (is_decimal, cql_type) = (*cql_type == CqlType::Decimal, cql_type.clone());
            (proptest::collection::vec(any::<u8>(), 1..20), -40i32..40)
                .prop_map(move |(digits, scale)| {
                    let scale = if is_decimal { scale.to_be_bytes().to_vec() } else { Vec::new() };
                    Value::from_wire(&cql_type, &[scale, digits].concat()).unwrap()
                })
                .boxed()
        }
        CqlType::Duration => (any::<bool>(), 0..i32::MAX, 0..i32::MAX, 0..i64::MAX)
            .prop_map(|(negative, months, days, nanoseconds)| match negative {
                true => Value::Duration { months: -months, days: -days, nanoseconds: -nanoseconds },
                false => Value::Duration { months, days, nanoseconds },
            })
            .boxed(),
        CqlType::List { element, .. } => sequence(element).prop_map(Value::List).boxed(),
        CqlType::Set { element, .. } => sequence(element).prop_map(Value::Set).boxed(),
        CqlType::Vector { element, dimensions } => {
            proptest::collection::vec(any_value(element), *dimensions as usize).prop_map(Value::Vector).boxed()
        }
        CqlType::Map { entry, .. } => {
            proptest::collection::vec((any_value(&entry.0), any_value(&entry.1)), 0..4).prop_map(Value::Map).boxed()
        }
        CqlType::Tuple(types) => {
            let fields: Vec<_> = types.iter().map(|field| proptest::option::of(any_value(field))).collect();
            fields.prop_map(Value::Tuple).boxed()
        }
        CqlType::UserDefined { definition, .. } => {
            let names: Vec<String> = definition.fields.iter().map(|(name, _)| name.clone()).collect();
            let fields: Vec<_> = definition.types().map(|field| proptest::option::of(any_value(field))).collect();
            fields.prop_map(move |values| Value::UserDefined(names.iter().cloned().zip(values).collect())).boxed()
        }
    }
}

fn any_type() -> impl Strategy<Value = CqlType> {
    let scalar = proptest::sample::select(CqlType::SCALARS.to_vec());
    scalar.prop_recursive(3, 8, 2, |inner| {
        let pair = (inner.clone(), inner.clone());
        prop_oneof![
            inner.clone().prop_map(|element| CqlType::List { element: Arc::new(element), frozen: true }),
            inner.clone().prop_map(|element| CqlType::Set { element: Arc::new(element), frozen: true }),
            inner.prop_map(|element| CqlType::Vector { element: Arc::new(element), dimensions: 2 }),
            pair.clone().prop_map(|entry| CqlType::Map { entry: Arc::new(entry), frozen: true }),
            pair.clone().prop_map(|(a, b)| CqlType::Tuple(Arc::new(vec![a, b]))),
            pair.prop_map(|(a, b)| {
                let fields = vec![("plain".to_owned(), a), ("It's \"odd\"".to_owned(), b)];
                let definition = UserType { keyspace: "k".into(), name: "t".into(), fields };
                CqlType::user_defined(&Arc::new(definition), true)
            }),
        ]
    })
}

fn any_column() -> impl Strategy<Value = (CqlType, Option<Value>)> {
    any_type().prop_flat_map(|cql_type| {
        let value = proptest::option::of(any_value(&cql_type));
        (Just(cql_type), value)
    })
}

/// Options that lose nothing, by name and value.
fn any_options() -> impl Strategy<Value = Vec<(String, String)>> {
    let one = |name: &'static str, values: &[&'static str]| {
        let value = proptest::sample::select(values.to_vec());
        proptest::option::of(value.prop_map(move |value| (name.to_owned(), value.to_owned())))
    };
    let separators =
        proptest::sample::select(vec![(".", ""), (",", "."), (",", " "), (".", ","), (".", "'"), ("·", "_")]);
    let characters = (
        one("DELIMITER", &[",", "|", ";", "\\t", ":", " "]),
        one("QUOTE", &["\"", "'", "~"]),
        one("ESCAPE", &["\\\\", "\"", "^", "/"]),
    );
    let rest = (
        one("NULL", &["", "null", "n/a", "\\\\N", "0", "-", "True", "[]"]),
        one("BOOLSTYLE", &["True, False", "yes,no", "1, 0", "T,f"]),
        one("DATETIMEFORMAT", &["%Y-%m-%d %H:%M:%S.%f%z", "%d.%m.%Y %H:%M:%S,%f"]),
    );
    (characters, rest, separators).prop_map(|((a, b, c), (d, e, f), (decimal, thousands))| {
        let separators = [("DECIMALSEP", decimal), ("THOUSANDSSEP", thousands)];
        let separators = separators.map(|(name, value)| (name.to_owned(), value.to_owned()));
        [a, b, c, d, e, f].into_iter().flatten().chain(separators).collect()
    })
}

proptest! {
    #[test]
    fn what_copy_to_writes_copy_from_reads(
        columns in proptest::collection::vec(any_column(), 1..4),
        pairs in any_options(),
    ) {
        let Ok(options) = CopyOptions::new(Direction::To, &pairs) else {
            // Such as a delimiter that is the quote.
            return Ok(());
        };
        let texts: Vec<FieldText> =
            columns.iter().map(|(cql_type, value)| options.style.write(cql_type, value.as_ref())).collect();
        let mut out = Vec::new();
        options.dialect.write_record(&mut out, &texts.iter().map(FieldText::written).collect::<Vec<_>>());
        let mut reader = Reader::new(out.as_slice(), options.dialect, true);
        let Some(record) = reader.next_record().unwrap() else {
            // One null that is written as nothing: no such row can be imported, since it has no key.
            prop_assert!(columns.len() == 1 && columns[0].1.is_none());
            return Ok(());
        };
        let fields = record.fields.unwrap();
        prop_assert_eq!(fields.len(), columns.len());
        for (field, (cql_type, value)) in fields.iter().zip(&columns) {
            let read = options.style.read(cql_type, field).map_err(|error| TestCaseError::fail(error.to_string()))?;
            let wire = |value: &Option<Value>| value.as_ref().map(Value::to_wire);
            prop_assert_eq!(wire(&read), wire(value), "{} {:?}", cql_type, field);
        }
        prop_assert_eq!(reader.next_record().unwrap(), None);
    }

    #[test]
    fn any_text_is_a_value_or_an_error(cql_type in any_type(), text in "[-0-9a-z'\",:{}()\\[\\] ä]{0,20}") {
        let _ = Style::default().read(&cql_type, &field(&text, false));
    }
}
