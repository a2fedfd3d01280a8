//! Every type: wire form, text and order, over adversarial values.

use super::*;
use crate::types::UserType;
use crate::types::tests::column_type;
use proptest::prelude::*;
use std::borrow::Cow;
use std::sync::Arc;

/// A scalar type.
fn scalar() -> impl Strategy<Value = CqlType> {
    prop::sample::select(CqlType::SCALARS.to_vec())
}

/// A value of any scalar type, its extremes more often than not.
fn scalar_value() -> impl Strategy<Value = (CqlType, Value)> {
    scalar().prop_flat_map(|cql_type| (Just(cql_type.clone()), value_of(&cql_type)))
}

/// A value of any type.
fn value() -> impl Strategy<Value = (CqlType, Value)> {
    column_type().prop_flat_map(|cql_type| (Just(cql_type.clone()), value_of(&cql_type)))
}

/// A value of this type.
pub(crate) fn value_of(cql_type: &CqlType) -> BoxedStrategy<Value> {
    match cql_type {
        CqlType::Ascii => "[\\x00\\x01'\"a-c\\x7f]{0,5}".prop_map(Value::Ascii).boxed(),
        CqlType::Text => {
            prop_oneof!["[\\x00\\x01'\"a-c\u{fe}\u{10ffff}]{0,5}", any::<String>()].prop_map(Value::Text).boxed()
        }
        CqlType::Blob => {
            let byte = prop_oneof![3 => prop::sample::select(vec![0, 1, 0xfe, 0xff]), 1 => any::<u8>()];
            prop::collection::vec(byte, 0..6).prop_map(|bytes| Value::Blob(Bytes::from(bytes))).boxed()
        }
        CqlType::Boolean => any::<bool>().prop_map(Value::Boolean).boxed(),
        CqlType::TinyInt => any::<i8>().prop_map(Value::TinyInt).boxed(),
        CqlType::SmallInt => integer().prop_map(|value| Value::SmallInt(value as i16)).boxed(),
        CqlType::Int => integer().prop_map(|value| Value::Int(value as i32)).boxed(),
        CqlType::BigInt => integer().prop_map(Value::BigInt).boxed(),
        CqlType::Counter => integer().prop_map(Value::Counter).boxed(),
        CqlType::Timestamp => integer().prop_map(Value::Timestamp).boxed(),
        CqlType::Time => {
            let time = prop_oneof![Just(0), Just(DAY_NANOSECONDS - 1), 0..DAY_NANOSECONDS];
            time.prop_map(Value::Time).boxed()
        }
        CqlType::Date => {
            prop_oneof![Just(0), Just(u32::MAX), (1u32 << 31) - 800_000..(1 << 31) + 4_000_000, any::<u32>()]
                .prop_map(Value::Date)
                .boxed()
        }
        CqlType::Float => prop_oneof![float_bits().prop_map(|bits| (bits >> 32) as u32), any::<u32>()]
            .prop_map(|bits| Value::Float(f32::from_bits(bits)))
            .boxed(),
        CqlType::Double => float_bits().prop_map(|bits| Value::Double(f64::from_bits(bits))).boxed(),
        CqlType::Uuid => uuid_bits().prop_map(Value::Uuid).boxed(),
        CqlType::TimeUuid => uuid_bits().prop_map(|bits| Value::TimeUuid(bits & !(0xf << 76) | 1 << 76)).boxed(),
        CqlType::Inet => prop_oneof![any::<[u8; 4]>().prop_map(IpAddr::from), any::<[u8; 16]>().prop_map(IpAddr::from)]
            .prop_map(Value::Inet)
            .boxed(),
        CqlType::VarInt => big().prop_map(Value::VarInt).boxed(),
        CqlType::Decimal => (big(), prop_oneof![-12i32..12, Just(i32::MIN), Just(i32::MAX), any::<i32>()])
            .prop_map(|(unscaled, scale)| Value::Decimal { unscaled, scale })
            .boxed(),
        CqlType::Duration => (any::<bool>(), integer(), integer(), integer())
            .prop_map(|(negative, months, days, nanoseconds)| {
                let sign = |part: i64, least: i64, most: i64| {
                    let part = part.clamp(least, most);
                    if (part < 0) == negative { part } else { part.checked_neg().unwrap_or(0).clamp(least, most) }
                };
                Value::Duration {
                    months: sign(months, i32::MIN.into(), i32::MAX.into()) as i32,
                    days: sign(days, i32::MIN.into(), i32::MAX.into()) as i32,
                    nanoseconds: sign(nanoseconds, i64::MIN, i64::MAX),
                }
            })
            .boxed(),
        CqlType::Vector { element, dimensions } => {
            prop::collection::vec(few_of(element), *dimensions as usize).prop_map(Value::Vector).boxed()
        }
        CqlType::List { element, .. } => prop::collection::vec(few_of(element), 0..4).prop_map(Value::List).boxed(),
        CqlType::Set { element, .. } => prop::collection::vec(few_of(element), 0..4).prop_map(Value::Set).boxed(),
        CqlType::Map { entry, .. } => {
            prop::collection::vec((few_of(&entry.0), few_of(&entry.1)), 0..4).prop_map(Value::Map).boxed()
        }
        CqlType::Tuple(types) => fields_of(types.iter()).prop_map(Value::Tuple).boxed(),
        CqlType::UserDefined { definition, .. } => {
            let names: Vec<String> = definition.fields.iter().map(|(name, _)| name.clone()).collect();
            fields_of(definition.types())
                .prop_map(move |fields| Value::UserDefined(names.iter().cloned().zip(fields).collect()))
                .boxed()
        }
    }
}

/// Of what is in a collection the same often enough: small numbers, mostly.
fn few_of(cql_type: &CqlType) -> BoxedStrategy<Value> {
    match cql_type {
        CqlType::Int => {
            prop_oneof![3 => (-1i32..2).prop_map(Value::Int), 1 => any::<i32>().prop_map(Value::Int)].boxed()
        }
        CqlType::Text => "[\\x00a]{0,2}".prop_map(Value::Text).boxed(),
        other => value_of(other),
    }
}

/// Some or all fields of these types, some of them null.
fn fields_of<'a>(types: impl Iterator<Item = &'a CqlType>) -> BoxedStrategy<Vec<Option<Value>>> {
    let fields: Vec<_> = types.map(|cql_type| prop::option::weighted(0.7, few_of(cql_type))).collect();
    (fields, any::<prop::sample::Index>())
        .prop_map(|(mut fields, length)| {
            fields.truncate(length.index(fields.len()) + 1);
            fields
        })
        .boxed()
}

fn integer() -> impl Strategy<Value = i64> {
    let edges = [0, 1, -1, 255, -256, i64::MIN, i64::MAX, i32::MIN.into(), i32::MAX.into(), 1 << 15, -(1 << 15)];
    prop_oneof![
        prop::sample::select(edges.to_vec()),
        -300i64..300,
        any::<i64>(),
        (any::<i64>(), 0u32..63).prop_map(|(value, shift)| value >> shift)
    ]
}

fn float_bits() -> impl Strategy<Value = u64> {
    let edges = [
        0.0,
        -0.0,
        1.0,
        -1.0,
        0.1,
        1e16,
        1e-5,
        f64::MAX,
        f64::MIN,
        f64::MIN_POSITIVE,
        5e-324,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::NAN,
        -f64::NAN,
    ];
    prop_oneof![
        prop::sample::select(edges.to_vec()).prop_map(f64::to_bits),
        any::<f64>().prop_map(f64::to_bits),
        any::<u64>()
    ]
}

fn uuid_bits() -> impl Strategy<Value = u128> {
    let byte = prop_oneof![prop::sample::select(vec![0, 1, 0x10, 0x1f, 0x40, 0x7f, 0x80, 0xff]), any::<u8>()];
    prop::collection::vec(byte, 16).prop_map(|bytes| bytes.iter().fold(0, |bits, byte| bits << 8 | u128::from(*byte)))
}

/// Integers of up to some hundred bytes, among them powers of 2 and 10 and their neighbours.
fn big() -> impl Strategy<Value = BigInt> {
    let signed = (any::<bool>(), 0u32..80, -1i32..2, prop::sample::select(vec![2u32, 10, 256, 100])).prop_map(
        |(negative, exponent, by, base)| {
            let power = BigInt::from(base).pow(exponent) + by;
            if negative { -power } else { power }
        },
    );
    let bytes = prop::collection::vec(any::<u8>(), 1..20).prop_map(|bytes| BigInt::from_signed_bytes_be(&bytes));
    prop_oneof![integer().prop_map(BigInt::from), signed, bytes]
}

proptest! {
    #[test]
    fn wire_round_trips((cql_type, value) in value(), other in column_type()) {
        let wire = value.to_wire();
        prop_assert_eq!(validate(&cql_type, &wire), Ok(()));
        prop_assert!(value.is_of(&cql_type));
        prop_assert!(!value.is_of(&other) || validate(&other, &wire).is_ok());
        let again = Value::from_wire(&cql_type, &wire).unwrap();
        prop_assert!(again.is_of(&cql_type));
        prop_assert_eq!(again.to_wire(), wire);
    }

    #[test]
    fn normal_forms_are_sorted_and_distinct((cql_type, value) in value()) {
        let wire = value.to_wire();
        let normal = normalize(&cql_type, &wire).unwrap().into_owned();
        prop_assert!(matches!(normalize(&cql_type, &normal), Ok(Cow::Borrowed(_))), "it is normal");
        let ascending = |cql_type: &CqlType, keys: Vec<&Value>| {
            keys.windows(2).all(|pair| compare(cql_type, &pair[0].to_wire(), &pair[1].to_wire()).is_lt())
        };
        match (Value::from_wire(&cql_type, &normal).unwrap(), &cql_type, &value) {
            (Value::Set(elements), CqlType::Set { element, .. }, Value::Set(before)) => {
                prop_assert!(ascending(element, elements.iter().collect()));
                for value in before {
                    let wire = value.to_wire();
                    let normal = normalize(element, &wire).unwrap();
                    prop_assert!(elements.iter().any(|other| compare(element, &other.to_wire(), &normal).is_eq()));
                }
            }
            (Value::Map(entries), CqlType::Map { entry, .. }, Value::Map(before)) => {
                prop_assert!(ascending(&entry.0, entries.iter().map(|(key, _)| key).collect()));
                for (key, value) in &entries {
                    let same = |other: &Value| {
                        let other = other.to_wire();
                        compare(&entry.0, &normalize(&entry.0, &other).unwrap(), &key.to_wire()).is_eq()
                    };
                    let last = before.iter().rfind(|(other, _)| same(other)).map(|(_, value)| value.to_wire());
                    let last = last.map(|last| normalize(&entry.1, &last).unwrap().into_owned());
                    prop_assert_eq!(Some(value.to_wire().to_vec()), last);
                }
            }
            (other, ..) => prop_assert_eq!(other.to_wire(), normal),
        }
    }

    #[test]
    fn text_and_json_of_any_value_are_written((_, value) in value()) {
        prop_assert!(!value.to_json().is_empty() && !value.to_cql_literal().is_empty());
        let _ = value.to_string();
    }

    #[test]
    fn text_reads_back((cql_type, value) in scalar_value()) {
        let text = value.to_string();
        let again = Value::parse(&cql_type, &text).unwrap();
        let is_nan = matches!(value, Value::Float(float) if float.is_nan())
            || matches!(value, Value::Double(double) if double.is_nan());
        if is_nan {
            prop_assert_eq!(text, "NaN");
        } else {
            prop_assert_eq!(again.to_wire(), value.to_wire(), "{}", text);
        }
    }

    #[test]
    fn a_cql_literal_reads_back((cql_type, value) in scalar_value()) {
        let literal = value.to_cql_literal();
        let quoted = literal.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''));
        let content = quoted.map(|text| text.replace("''", "'"));
        let again = Value::parse(&cql_type, &content.unwrap_or(literal)).unwrap();
        prop_assert_eq!(compare(&cql_type, &again.to_wire(), &value.to_wire()), Ordering::Equal);
    }

    #[test]
    fn any_bytes_are_refused_or_read_and_validation_agrees(
        (cql_type, value) in value(), wire: Vec<u8>, other: Vec<u8>, at: prop::sample::Index, to: u8,
    ) {
        let mut changed = value.to_wire().to_vec();
        if !changed.is_empty() {
            let at = at.index(changed.len());
            changed[at] = to;
        }
        let read = Value::from_wire(&cql_type, &changed);
        prop_assert_eq!(validate(&cql_type, &changed).is_ok(), read.is_ok());
        prop_assert_eq!(normalize(&cql_type, &changed).is_ok(), read.is_ok());
        let _ = compare(&cql_type, &changed, &wire);
        let read = Value::from_wire(&cql_type, &wire);
        prop_assert_eq!(validate(&cql_type, &wire).is_ok(), read.is_ok());
        let _ = compare(&cql_type, &wire, &other);
        if let Ok(value) = read {
            let _ = value.to_json();
            prop_assert_eq!(compare(&cql_type, &value.to_wire(), &wire), Ordering::Equal);
        }
    }

    #[test]
    fn any_text_is_refused_or_read(
        cql_type in prop::sample::select(CqlType::SCALARS.to_vec()),
        text in prop_oneof![
            any::<String>(),
            "[-+0-9:.TZPYMDHSeEx ]{0,24}",
            "[-P]{0,2}([0-9]{1,3}[a-zA-Zµ]{1,2}){0,4}",
            "-?[0-9]{4}-[01][0-9]-[0-3][0-9]([T ][0-2][0-9]:[0-5][0-9])?[-+Z]{0,1}[0-9:]{0,5}",
        ],
    ) {
        match Value::parse(&cql_type, &text) {
            Ok(value) => prop_assert_eq!(validate(&cql_type, &value.to_wire()), Ok(())),
            Err(error) => prop_assert!(error.0.contains("expected"), "{}", error),
        }
    }

    #[test]
    fn the_order_is_total(
        (cql_type, a, b, c) in column_type().prop_flat_map(|cql_type| {
            (Just(cql_type.clone()), value_of(&cql_type), value_of(&cql_type), value_of(&cql_type))
        }),
    ) {
        let order = |a: &Value, b: &Value| compare(&cql_type, &a.to_wire(), &b.to_wire());
        prop_assert_eq!(order(&a, &b), order(&b, &a).reverse());
        prop_assert_eq!(order(&a, &a), Ordering::Equal);
        if order(&a, &b).is_le() && order(&b, &c).is_le() {
            prop_assert!(order(&a, &c).is_le());
        }
    }

    #[test]
    fn numbers_compare_by_their_values(a in big(), b in big(), x: f64, y: f64) {
        let varint = |value: &BigInt| Value::VarInt(value.clone()).to_wire();
        prop_assert_eq!(compare(&CqlType::VarInt, &varint(&a), &varint(&b)), a.cmp(&b));
        let mut padded = vec![if a.sign() == num_bigint::Sign::Minus { 0xff } else { 0 }; 3];
        padded.extend_from_slice(&varint(&a));
        prop_assert_eq!(compare(&CqlType::VarInt, &padded, &varint(&b)), a.cmp(&b));
        if let Some(expected) = x.partial_cmp(&y).filter(|_| x != y) {
            let wire = |value: f64| Value::Double(value).to_wire();
            prop_assert_eq!(compare(&CqlType::Double, &wire(x), &wire(y)), expected);
        }
    }

    #[test]
    fn decimals_compare_by_their_values(
        a in big(), b in big(), scale_a in -20i32..20, scale_b in -20i32..20, zeros in 0u32..9,
    ) {
        let wire = |unscaled: BigInt, scale: i32| Value::Decimal { unscaled, scale }.to_wire();
        let whole = |unscaled: &BigInt, scale: i32| unscaled * BigInt::from(10).pow((20 - scale) as u32);
        let order = compare(&CqlType::Decimal, &wire(a.clone(), scale_a), &wire(b.clone(), scale_b));
        prop_assert_eq!(order, whole(&a, scale_a).cmp(&whole(&b, scale_b)));
        let padded = wire(&a * BigInt::from(10).pow(zeros), scale_a + zeros as i32);
        prop_assert_eq!(compare(&CqlType::Decimal, &wire(a, scale_a), &padded), Ordering::Equal);
    }
}

/// The text of what `text` is read as.
fn shown(cql_type: CqlType, text: &str) -> String {
    Value::parse(&cql_type, text).map_or_else(|error| error.0, |value| value.to_string())
}

#[test]
fn timestamps_are_read_in_every_form_of_cassandra() {
    let midnight = "2011-02-03 00:00:00.000000+0000";
    let afternoon = "2011-02-03 04:05:00.000000+0000";
    for (text, expected) in [
        ("1296705900000", afternoon),
        ("2011-02-03 04:05+0000", afternoon),
        ("2011-02-03 04:05", afternoon),
        ("2011-02-03 04:05Z", afternoon),
        ("2011-02-03 05:05+01", afternoon),
        ("2011-02-03T05:05+01:00", afternoon),
        ("2011-02-03T04:05:00", afternoon),
        ("2011-02-03T03:35:00-0030", afternoon),
        ("2011-02-03 04:05:00+0000", afternoon),
        ("2011-02-03 04:05:00 UTC", afternoon),
        ("2011-02-03 05:05:00 GMT+01:00", afternoon),
        ("2011-02-03T04:05:00.000+0000", afternoon),
        ("2011-02-03 04:05:00.123", "2011-02-03 04:05:00.123000+0000"),
        ("2011-02-03 04:05:00.1Z", "2011-02-03 04:05:00.100000+0000"),
        ("2011-02-03T04:05:00.123456789Z", "2011-02-03 04:05:00.123000+0000"),
        ("2001-01-01 00:47:00+0000", "2001-01-01 00:47:00.000000+0000"),
        ("2011-02-03", midnight),
        ("2011-02-03+0000", midnight),
        ("2011-02-03 UTC", midnight),
        ("2011-02-03-01:00", "2011-02-03 01:00:00.000000+0000"),
        ("1969-12-31 23:59:59.999", "1969-12-31 23:59:59.999000+0000"),
        ("-1", "1969-12-31 23:59:59.999000+0000"),
        ("2000-02-29", "2000-02-29 00:00:00.000000+0000"),
        ("9999-12-31 23:59:59.999", "9999-12-31 23:59:59.999000+0000"),
        ("+10000-01-01", "253402300800000"),
        ("0000-12-31", "-62135683200000"),
        ("9223372036854775807", "9223372036854775807"),
    ] {
        assert_eq!(shown(CqlType::Timestamp, text), expected, "{text}");
    }
    for bad in [
        "now",
        "2011-02-30",
        "1900-02-29",
        "2011-13-01",
        "2011-00-01",
        "2011-02-03 24:00",
        "2011-02-03 04:60",
        "2011-02-03 04:05:60",
        "2011-02-03 04:05 PST",
        "2011-02-03 04:05:00.1234567890",
        "2011-2-3",
        "11-02-03",
        "2011-02-03T",
        "2011-02-03 04:05+1",
        "2011-02-03 04:05+2400",
        "9223372036854775808",
        "+999999999-01-01 x",
    ] {
        let error = Value::parse(&CqlType::Timestamp, bad).unwrap_err();
        let is_number = bad.bytes().all(|byte| byte.is_ascii_digit());
        let refusal = if is_number { "make long (for date) from:" } else { "parse a date/time from" };
        assert!(error.0.starts_with(&format!("Unable to {refusal} '{bad}'; expected yyyy-mm-dd")), "{error}");
    }
}

#[test]
fn dates_and_times_are_read_in_every_form_of_cassandra() {
    for (text, expected) in [
        ("1970-01-01", "1970-01-01"),
        ("2147483648", "1970-01-01"),
        ("2012-01-01", "2012-01-01"),
        ("0", "-5877641-06-23"),
        ("4294967295", "+5881580-07-11"),
        ("-5877641-06-23", "-5877641-06-23"),
        ("+5881580-07-11", "+5881580-07-11"),
        ("-0001-01-01", "-0001-01-01"),
    ] {
        assert_eq!(shown(CqlType::Date, text), expected, "{text}");
    }
    for (text, expected) in [
        ("08:12:54", "08:12:54.000000000"),
        ("8:12:54.1", "08:12:54.100000000"),
        ("08:12:54.123456789", "08:12:54.123456789"),
        ("0", "00:00:00.000000000"),
        ("86399999999999", "23:59:59.999999999"),
    ] {
        assert_eq!(shown(CqlType::Time, text), expected, "{text}");
    }
    for bad in ["2012-01-32", "+5881580-07-12", "-5877641-06-22", "4294967296", "-1", "2012-01-01 ", "x"] {
        assert!(Value::parse(&CqlType::Date, bad).is_err(), "{bad}");
    }
    for bad in ["08:12", "24:00:00", "08:12:54.", "08:12:54.1234567890", "86400000000000", "-1", "08:12:54Z"] {
        assert!(Value::parse(&CqlType::Time, bad).is_err(), "{bad}");
    }
}

#[test]
fn durations_are_read_in_every_form_of_cassandra() {
    for (text, expected) in [
        ("1y2mo3w4d5h6m7s8ms9us10ns", "1y2mo25d5h6m7s8ms9us10ns"),
        ("1Y2MO3W4D5H6M7S8MS9US10NS", "1y2mo25d5h6m7s8ms9us10ns"),
        ("5µs", "5us"),
        ("-14mo", "-1y2mo"),
        ("90m", "1h30m"),
        ("36h", "36h"),
        ("P1Y2M3DT4H5M6S", "1y2mo3d4h5m6s"),
        ("PT4H", "4h"),
        ("-P1M", "-1mo"),
        ("P3W", "21d"),
        ("P0001-02-03T04:05:06", "1y2mo3d4h5m6s"),
        ("0s", "0s"),
        ("-178956970y8mo", "-178956970y8mo"),
    ] {
        assert_eq!(shown(CqlType::Duration, text), expected, "{text}");
    }
    for bad in [
        "",
        "-",
        "P",
        "PT",
        "P1DT",
        "1",
        "y",
        "1d1y",
        "1d1d",
        "1x",
        "1 d",
        "P1S",
        "PT1D",
        "P1W1D",
        "P1DT1HT1M",
        "--1d",
        "178956970y8mo",
        "9223372036854775808ns",
        "9223372036854775807h",
        "P1-02-03T04:05:06",
        "P0001-02-03",
    ] {
        assert!(Value::parse(&CqlType::Duration, bad).is_err(), "{bad}");
    }
}

#[test]
fn numbers_print_as_cqlsh_prints_them_and_as_json_as_java_does() {
    for (text, plain, json) in [
        ("1", "1", "1.0"),
        ("-0.0", "-0", "-0.0"),
        ("0.1", "0.1", "0.1"),
        ("100", "100", "100.0"),
        ("1234567.5", "1234567.5", "1234567.5"),
        ("12345678.5", "12345678.5", "1.23456785E7"),
        ("1e16", "1e+16", "1.0E16"),
        ("1.25e300", "1.25e+300", "1.25E300"),
        ("0.001", "0.001", "0.001"),
        ("0.00012", "0.00012", "1.2E-4"),
        ("0.00001", "1e-05", "1.0E-5"),
        ("5e-324", "5e-324", "5.0E-324"),
        ("NaN", "NaN", "null"),
        ("-infinity", "-Infinity", "null"),
        ("Infinity", "Infinity", "null"),
    ] {
        let value = Value::parse(&CqlType::Double, text).unwrap();
        assert_eq!((value.to_string().as_str(), value.to_json().as_str()), (plain, json), "{text}");
    }
    assert_eq!(shown(CqlType::Float, "0.1"), "0.1");
    for (text, expected) in [
        ("1.10", "1.10"),
        ("-0.0000001", "-1E-7"),
        ("0.000001", "0.000001"),
        ("12E3", "1.2E+4"),
        ("1E+2", "1E+2"),
        (".5", "0.5"),
        ("5.", "5"),
        ("0E-10", "0E-10"),
        ("-123.4500", "-123.4500"),
    ] {
        assert_eq!(shown(CqlType::Decimal, text), expected, "{text}");
    }
    let too_long = "1".repeat(65_537);
    let bad = [
        (CqlType::Decimal, "1e"),
        (CqlType::Decimal, "."),
        (CqlType::Decimal, "1.-5"),
        (CqlType::Decimal, "NaN"),
        (CqlType::Decimal, "1E2147483649"),
        (CqlType::Decimal, "1E99999999999999999999"),
        (CqlType::VarInt, "1.0"),
        (CqlType::VarInt, "-"),
        (CqlType::VarInt, "1_0"),
        (CqlType::VarInt, &too_long),
        (CqlType::Double, "1e400"),
        (CqlType::Float, "1e39"),
        (CqlType::Double, ""),
        (CqlType::TinyInt, "128"),
        (CqlType::Int, "2147483648"),
        (CqlType::Int, " 1"),
        (CqlType::Int, ""),
        (CqlType::BigInt, "9223372036854775808"),
        (CqlType::SmallInt, "0x1"),
    ];
    for (cql_type, text) in bad {
        let error = Value::parse(&cql_type, text).unwrap_err();
        assert!(error.0.len() < 300 && error.0.contains("; expected "), "{error}");
    }
    assert_eq!(shown(CqlType::TinyInt, "128"), "Unable to make byte from '128'; expected an integer from -128 to 127");
}

#[test]
fn other_types_print_and_read_as_cassandra() {
    assert_eq!(shown(CqlType::Blob, "0xDEADbeef"), "0xdeadbeef");
    assert_eq!(shown(CqlType::Blob, "0x"), "0x");
    assert_eq!(shown(CqlType::Boolean, "TRUE"), "True");
    assert_eq!(shown(CqlType::Inet, "2001:0db8:0:0:0:0:0:1"), "2001:db8::1");
    assert_eq!(shown(CqlType::Inet, "127.0.0.1"), "127.0.0.1");
    for (short, whole) in [("123", "0.0.0.123"), ("1.2.3", "1.2.0.3"), ("1.65535", "1.0.255.255")] {
        assert_eq!(shown(CqlType::Inet, short), whole, "as inet_aton reads it");
    }
    assert_eq!(Value::parse(&CqlType::Inet, ""), Ok(Value::Empty));
    assert_eq!(Value::parse(&CqlType::Timestamp, ""), Ok(Value::Empty));
    let duration = |text: &str| Value::parse(&CqlType::Duration, text).unwrap_err().0;
    assert!(duration("1d2y").starts_with("Invalid duration. The days should be after years; expected units in order"));
    assert!(duration("-1h2h").starts_with("Invalid duration. The hours are specified multiple times;"));
    assert!(duration("-1").starts_with("Unable to convert '1' to a duration;"));
    let uuid = "2a92d750-d8dc-11e6-a2de-cf8ecd4cf053";
    assert_eq!(shown(CqlType::Uuid, &uuid.to_uppercase()), uuid);
    assert_eq!(shown(CqlType::TimeUuid, uuid), uuid);
    for (cql_type, bad) in [
        (CqlType::Blob, "deadbeef"),
        (CqlType::Blob, "0xabc"),
        (CqlType::Blob, "0x0g"),
        (CqlType::Boolean, "1"),
        (CqlType::Inet, "localhost"),
        (CqlType::Inet, "1.2.65536"),
        (CqlType::Inet, "1.256.3"),
        (CqlType::Inet, "1..3"),
        (CqlType::Inet, "+1"),
        (CqlType::Inet, "1.2.3.4.5"),
        (CqlType::Uuid, "2a92d750d8dc11e6a2decf8ecd4cf053"),
        (CqlType::TimeUuid, "cc520882-9507-44fb-8fc9-b349ecdee658"),
        (CqlType::Ascii, "é"),
    ] {
        assert!(Value::parse(&cql_type, bad).is_err(), "{bad}");
    }
}

#[test]
fn json_is_as_cassandra_writes_it() {
    for (cql_type, text, json) in [
        (CqlType::Text, "a\"b\\c\n\u{1}é", "\"a\\\"b\\\\c\\n\\u0001é\""),
        (CqlType::Blob, "0x00ff", "\"0x00ff\""),
        (CqlType::Boolean, "true", "true"),
        (CqlType::Date, "2012-01-01", "\"2012-01-01\""),
        (CqlType::Decimal, "1.50", "1.50"),
        (CqlType::Duration, "1h30m", "\"1h30m\""),
        (CqlType::Inet, "2001:db8::1", "\"2001:db8:0:0:0:0:0:1\""),
        (CqlType::Time, "08:12:54", "\"08:12:54.000000000\""),
        (CqlType::Timestamp, "2001-01-01 00:47:00.5", "\"2001-01-01 00:47:00.500Z\""),
        (CqlType::VarInt, "-12345678901234567890", "-12345678901234567890"),
        (CqlType::Int, "7", "7"),
    ] {
        assert_eq!(Value::parse(&cql_type, text).unwrap().to_json(), json);
    }
}

#[test]
fn literals_are_quoted_where_cql_wants_it() {
    for (cql_type, text, literal) in [
        (CqlType::Text, "it's", "'it''s'"),
        (CqlType::Blob, "0x00", "0x00"),
        (CqlType::Boolean, "True", "true"),
        (CqlType::Date, "2012-01-01", "'2012-01-01'"),
        (CqlType::Inet, "127.0.0.1", "'127.0.0.1'"),
        (CqlType::Time, "08:12:54", "'08:12:54.000000000'"),
        (CqlType::Timestamp, "2001-01-01 00:47:00", "'2001-01-01 00:47:00.000+0000'"),
        (CqlType::Duration, "1h30m", "1h30m"),
        (CqlType::Double, "NaN", "NaN"),
    ] {
        assert_eq!(Value::parse(&cql_type, text).unwrap().to_cql_literal(), literal);
    }
}

#[test]
fn wire_forms_are_those_of_the_native_protocol() {
    let wire = |cql_type: CqlType, text: &str| Value::parse(&cql_type, text).unwrap().to_wire();
    assert_eq!(wire(CqlType::Int, "-2").as_ref(), [0xff, 0xff, 0xff, 0xfe]);
    assert_eq!(wire(CqlType::VarInt, "128").as_ref(), [0, 0x80]);
    assert_eq!(wire(CqlType::VarInt, "-128").as_ref(), [0x80]);
    assert_eq!(wire(CqlType::VarInt, "0").as_ref(), [0]);
    assert_eq!(wire(CqlType::Decimal, "-1.28").as_ref(), [0, 0, 0, 2, 0x80]);
    assert_eq!(wire(CqlType::Date, "1970-01-02").as_ref(), [0x80, 0, 0, 1]);
    // Vints of the native protocol specification, section 3: zigzag, then leading ones.
    assert_eq!(wire(CqlType::Duration, "1mo2d3ns").as_ref(), [2, 4, 6]);
    assert_eq!(wire(CqlType::Duration, "-64ns").as_ref(), [0, 0, 0x7f]);
    assert_eq!(wire(CqlType::Duration, "64ns").as_ref(), [0, 0, 0x80, 0x80]);
    assert_eq!(wire(CqlType::Duration, "256000ns").as_ref(), [0, 0, 0xc7, 0xd0, 0x00]);
    let longest = Value::Duration { months: 0, days: 0, nanoseconds: i64::MIN }.to_wire();
    assert_eq!(longest.as_ref(), [0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
}

#[test]
fn wire_forms_that_cassandra_refuses_are_refused() {
    for (cql_type, wire) in [
        (CqlType::Ascii, &[0x80][..]),
        (CqlType::Text, &[0xc3]),
        (CqlType::Text, &[0xed, 0xa0, 0x80]),
        (CqlType::Int, &[0, 0, 0]),
        (CqlType::Date, &[0; 5]),
        (CqlType::Boolean, &[0, 0]),
        (CqlType::Inet, &[0; 5]),
        (CqlType::Time, &[0xff; 8]),
        (CqlType::Time, &[0, 0, 0x4e, 0x94, 0x91, 0x4f, 0, 0]),
        (CqlType::TimeUuid, &[0; 16]),
        (CqlType::Uuid, &[0; 15]),
        (CqlType::Decimal, &[0; 3]),
        (CqlType::Duration, &[0, 0]),
        (CqlType::Duration, &[0, 0, 0, 0]),
        (CqlType::Duration, &[2, 1, 0]),
        (CqlType::Duration, &[0xf1, 0, 0, 0, 0, 0, 0]),
        (CqlType::Duration, &[0, 0, 0xff]),
    ] {
        assert!(validate(&cql_type, wire).is_err(), "{cql_type} {wire:?}");
    }
    for cql_type in CqlType::SCALARS {
        let is_bytes = matches!(cql_type, CqlType::Ascii | CqlType::Text | CqlType::Blob);
        let empty_is_a_value = is_bytes || cql_type.has_empty_value();
        if cql_type.has_empty_value() {
            assert_eq!(Value::from_wire(&cql_type, &[]), Ok(Value::Empty));
        }
        assert_eq!(validate(&cql_type, &[]).is_ok(), empty_is_a_value, "{cql_type}");
    }
    let error = validate(&CqlType::Int, &[0]).unwrap_err();
    assert_eq!(error.to_string(), "Expected 4 or 0 byte int (1)");
}

#[test]
fn times_of_timeuuids_come_before_signed_bytes_of_the_rest() {
    let bits = |text: &str| crate::id::parse_uuid(text).unwrap().to_be_bytes();
    let ascending = [
        "00000000-0000-1000-8080-808080808080",
        "00000000-0000-1000-ff00-000000000000",
        "00000000-0000-1000-00ff-000000000000",
        "00000000-0000-1000-0000-000000000000",
        "00000000-0000-1000-7f7f-7f7f7f7f7f7f",
        "00000001-0000-1000-8080-808080808080",
        "00000000-0001-1000-8080-808080808080",
        "ffffffff-ffff-1000-8080-808080808080",
        "00000000-0000-1001-8080-808080808080",
    ];
    for pair in ascending.windows(2) {
        let order = compare(&CqlType::TimeUuid, &bits(pair[0]), &bits(pair[1]));
        assert_eq!(order, Ordering::Less, "{} < {}", pair[0], pair[1]);
    }
}

#[test]
fn decimals_of_extreme_scale_compare_without_being_written_out() {
    let decimal = |unscaled: i64, scale: i32| Value::Decimal { unscaled: unscaled.into(), scale }.to_wire();
    let ascending = [
        decimal(-1, i32::MIN),
        decimal(-1, 0),
        decimal(-1, i32::MAX),
        decimal(0, i32::MIN),
        decimal(1, i32::MAX),
        decimal(11, i32::MAX),
        decimal(1, 0),
        decimal(9, i32::MIN),
        decimal(10, i32::MIN),
    ];
    for pair in ascending.windows(2) {
        assert_eq!(compare(&CqlType::Decimal, &pair[0], &pair[1]), Ordering::Less);
        assert_eq!(compare(&CqlType::Decimal, &pair[1], &pair[0]), Ordering::Greater);
    }
}

#[test]
fn wire_forms_of_composites_are_those_of_the_native_protocol() {
    let (int, text) = (|value| Value::Int(value), |text: &str| Value::Text(text.to_owned()));
    let one = [0, 0, 0, 4, 0, 0, 0, 1];
    let x = [0, 0, 0, 1, b'x'];
    let null = [0xff; 4];
    for (value, wire) in [
        (Value::List(vec![]), vec![0; 4]),
        (Value::List(vec![int(1)]), [&[0, 0, 0, 1][..], &one].concat()),
        (Value::Set(vec![text("x")]), [&[0, 0, 0, 1][..], &x].concat()),
        (Value::Map(vec![(text("x"), int(1))]), [&[0, 0, 0, 1][..], &x, &one].concat()),
        (Value::Tuple(vec![Some(int(1)), None, Some(text("x"))]), [&one[..], &null, &x].concat()),
        (Value::UserDefined(vec![("a".to_owned(), None), ("b".to_owned(), Some(int(1)))]), [&null[..], &one].concat()),
        (Value::Vector(vec![int(1), int(2)]), vec![0, 0, 0, 1, 0, 0, 0, 2]),
        (Value::Vector(vec![text("x"), text("")]), vec![1, b'x', 0]),
        (Value::Vector(vec![text(&"y".repeat(128))]), [&[0x80, 0x80][..], &[b'y'; 128]].concat()),
        // What has a fixed length need not say so: Cassandra writes the length before each `smallint`.
        (Value::Vector(vec![Value::SmallInt(7)]), vec![2, 0, 7]),
        (Value::Vector(vec![Value::Vector(vec![int(1), int(2)])]), vec![0, 0, 0, 1, 0, 0, 0, 2]),
        (Value::Counter(5), vec![0, 0, 0, 0, 0, 0, 0, 5]),
    ] {
        assert_eq!(value.to_wire(), wire, "{value}");
    }
}

#[test]
fn composites_that_cassandra_refuses_are_refused() {
    let ints = CqlType::List { element: Arc::new(CqlType::Int), frozen: true };
    let pair = CqlType::Tuple(Arc::new(vec![CqlType::Int, CqlType::Int]));
    let vector = |element| CqlType::Vector { element: Arc::new(element), dimensions: 2 };
    let one = [0, 0, 0, 4, 0, 0, 0, 1];
    for (cql_type, wire, message) in [
        (&ints, vec![], "expected the number of elements of a value of type frozen<list<int>>"),
        (&ints, vec![0xff; 4], "a value of type frozen<list<int>> does not have -1 elements"),
        (&ints, vec![0x7f, 0xff, 0xff, 0xff], "a value of type frozen<list<int>> does not have 2147483647 elements"),
        (
            &ints,
            [&[0, 0, 0, 1][..], &[0xff; 4]].concat(),
            "null is not allowed inside a value of type frozen<list<int>>",
        ),
        (&ints, [&[0, 0, 0, 1][..], &one, &[9]].concat(), "1 bytes too many for a value of type frozen<list<int>>"),
        (&ints, [&[0, 0, 0, 1][..], &one[..6]].concat(), "a value of type frozen<list<int>> ends too early"),
        (&pair, vec![], "expected a field at least for a value of type frozen<tuple<int, int>>"),
        (&pair, one.repeat(3), "8 bytes too many for a value of type frozen<tuple<int, int>>"),
        (&pair, vec![0, 0, 0, 1, 0], "Expected 4 or 0 byte int (1)"),
        (&pair, vec![0xff, 0xff, 0xff, 0xfe], "a value of type frozen<tuple<int, int>> ends too early"),
        (&vector(CqlType::Int), vec![0; 7], "Not enough bytes to read a vector<int, 2>"),
        (&vector(CqlType::Int), vec![0; 9], "1 bytes too many for a value of type vector<int, 2>"),
        (&vector(CqlType::Text), vec![1, b'x', 2, b'y'], "Not enough bytes to read a vector<text, 2>"),
    ] {
        assert_eq!(validate(cql_type, &wire), Err(ValueError(message.to_owned())));
    }
}

#[test]
fn composites_compare_as_in_cassandra() {
    let ints = |values: &[i32]| values.iter().map(|value| Value::Int(*value)).collect::<Vec<_>>();
    let list = CqlType::List { element: Arc::new(CqlType::Int), frozen: true };
    let map = CqlType::Map { entry: Arc::new((CqlType::Int, CqlType::Int)), frozen: true };
    let tuple = CqlType::Tuple(Arc::new(vec![CqlType::Int; 3]));
    let entries = |entries: &[(i32, i32)]| {
        Value::Map(entries.iter().map(|(key, value)| (Value::Int(*key), Value::Int(*value))).collect())
    };
    let fields = |fields: &[Option<i32>]| Value::Tuple(fields.iter().map(|field| field.map(Value::Int)).collect());
    for (cql_type, ascending) in [
        (&list, [&[][..], &[-1, 9], &[0], &[0, 5], &[1]].map(|values| Value::List(ints(values))).to_vec()),
        (
            &map,
            vec![entries(&[]), entries(&[(1, 2)]), entries(&[(1, 2), (5, 0)]), entries(&[(1, 3)]), entries(&[(2, 0)])],
        ),
        (
            &tuple,
            vec![
                fields(&[None]),
                fields(&[None, None, Some(3)]),
                fields(&[None, Some(-1)]),
                fields(&[Some(1)]),
                fields(&[Some(1), Some(1), None]),
                fields(&[Some(1), Some(1), Some(-7)]),
            ],
        ),
    ] {
        for (index, smaller) in ascending.iter().enumerate() {
            for larger in &ascending[index + 1..] {
                let order = compare(cql_type, &smaller.to_wire(), &larger.to_wire());
                assert_eq!(order, Ordering::Less, "{smaller} < {larger}");
            }
        }
    }
    let padded = fields(&[Some(1), None, None]);
    assert_eq!(compare(&tuple, &padded.to_wire(), &fields(&[Some(1)]).to_wire()), Ordering::Equal);
}

#[test]
fn composites_are_written_as_cql_and_as_json() {
    let text = |text: &str| Value::Text(text.to_owned());
    let user = Value::UserDefined(vec![("a".to_owned(), None), ("B".to_owned(), Some(text("x\"")))]);
    for (value, literal, json) in [
        (Value::List(vec![text("it's"), text("b")]), "['it''s', 'b']", "[\"it's\", \"b\"]"),
        (Value::Set(vec![]), "{}", "[]"),
        (Value::Map(vec![(Value::Int(1), Value::Boolean(true))]), "{1: true}", "{\"1\": true}"),
        (Value::Map(vec![(text("k"), Value::Int(2))]), "{'k': 2}", "{\"k\": 2}"),
        (Value::Tuple(vec![Some(Value::Int(1)), None]), "(1, null)", "[1, null]"),
        (Value::Vector(vec![Value::Float(0.5)]), "[0.5]", "[0.5]"),
        (user, "{a: null, \"B\": 'x\"'}", "{\"a\": null, \"\\\"B\\\"\": \"x\\\"\"}"),
        (Value::Counter(-3), "-3", "-3"),
    ] {
        assert_eq!((value.to_cql_literal().as_str(), value.to_json().as_str()), (literal, json));
        assert_eq!(value.to_string(), literal);
    }
}

#[test]
fn values_know_what_they_are_values_of() {
    let definition = UserType {
        keyspace: "ks".to_owned(),
        name: "t".to_owned(),
        fields: vec![("a".to_owned(), CqlType::Int), ("b".to_owned(), CqlType::Text)],
    };
    let cql_type = CqlType::user_defined(&Arc::new(definition), true);
    let of = |fields: Vec<(&str, Option<Value>)>| {
        Value::UserDefined(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()).is_of(&cql_type)
    };
    assert!(of(vec![("a", Some(Value::Int(1)))]) && of(vec![("a", None), ("b", None)]));
    assert!(!of(vec![]) && !of(vec![("b", None)]) && !of(vec![("a", Some(Value::BigInt(1)))]));
    assert!(!Value::BigInt(1).is_of(&CqlType::Counter));
    assert!(!Value::List(vec![Value::Int(1)]).is_of(&CqlType::Set { element: Arc::new(CqlType::Int), frozen: true }));
}
