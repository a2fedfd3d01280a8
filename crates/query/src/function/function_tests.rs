//! Calls as they are resolved, and what they give.

use super::scalar::Operand;
use super::*;
use crate::evaluation::EvaluationContext;
use crate::fixture::{sample, table};
use bytes::Bytes;
use model::{RequestError, Value, WallMicros};
use std::sync::Arc;

/// 2024-02-29 12:34:56.789 in microseconds.
const NOW: WallMicros = WallMicros(1_709_210_096_789_000);

/// An argument with its type, and its value if it has one.
#[derive(Clone)]
struct Given(CqlType, Option<&'static str>);

impl Argument for Given {
    fn assignment(&self, parameter: &CqlType) -> Assignment {
        Assignment::of_types(&self.0, parameter)
    }

    fn own_type(&self) -> Option<CqlType> {
        Some(self.0.clone())
    }

    fn is_marker(&self) -> bool {
        false
    }

    fn elements(&self) -> Option<usize> {
        None
    }

    fn text(&self) -> String {
        self.1.unwrap_or("null").to_owned()
    }
}

/// A bind marker.
struct Marker;

impl Argument for Marker {
    fn assignment(&self, _: &CqlType) -> Assignment {
        Assignment::Weak
    }

    fn own_type(&self) -> Option<CqlType> {
        None
    }

    fn is_marker(&self) -> bool {
        true
    }

    fn elements(&self) -> Option<usize> {
        None
    }

    fn text(&self) -> String {
        "?".to_owned()
    }
}

fn list(element: CqlType) -> CqlType {
    CqlType::List { element: Arc::new(element), frozen: false }
}

fn set(element: CqlType) -> CqlType {
    CqlType::Set { element: Arc::new(element), frozen: false }
}

fn map(key: CqlType, value: CqlType) -> CqlType {
    CqlType::Map { entry: Arc::new((key, value)), frozen: false }
}

fn floats(dimensions: u32) -> CqlType {
    CqlType::Vector { element: Arc::new(CqlType::Float), dimensions }
}

/// Values of tests are written as JSON where they are composite.
fn wire(cql_type: &CqlType, text: &str) -> Bytes {
    match Value::parse(cql_type, text) {
        Ok(value) => value.to_wire(),
        Err(_) => crate::json::Json::parse(text).unwrap().to_wire(cql_type).unwrap().unwrap(),
    }
}

fn shown(function: &Function, result: Result<Operand, RequestError>) -> String {
    match result {
        Ok(Some(wire)) => Value::from_wire(&function.returns, &wire).unwrap().to_string(),
        Ok(None) => "null".to_owned(),
        Err(error) => error.to_string(),
    }
}

fn evaluated(function: &Function, arguments: &[Given]) -> String {
    let Kind::Scalar(scalar) = &function.kind else { panic!("an aggregate") };
    let values: Vec<Operand> =
        arguments.iter().map(|Given(cql_type, text)| text.map(|text| wire(cql_type, text))).collect();
    shown(function, function.evaluate(scalar, &values, &mut EvaluationContext::new(NOW, 1)))
}

fn call(name: &str, arguments: &[Given]) -> String {
    let schema = sample();
    let table = table(&schema, "t");
    let arguments_of: Vec<&dyn Argument> = arguments.iter().map(|argument| argument as &dyn Argument).collect();
    let call = Call { keyspace: None, name, arguments: arguments_of, receiver: None, table };
    match resolve(&call) {
        Ok(Some(function)) => evaluated(&function, arguments),
        Ok(None) => "unknown".to_owned(),
        Err(error) => error,
    }
}

/// The name of a function, its arguments, and what it gives or how the message begins.
type Case = (&'static str, Vec<Given>, &'static str);

const UUID: &str = "50554d6e-29bb-11e5-b345-feff819cdc9f";

fn given(cql_type: CqlType, text: &'static str) -> Given {
    Given(cql_type, Some(text))
}

fn cases_of_times() -> Vec<Case> {
    use CqlType as T;
    vec![
        ("token", vec![given(T::Int, "1")], "-4069959284402364209"),
        ("to_timestamp", vec![given(T::TimeUuid, UUID)], "2015-07-14 00:00:18.805000+0000"),
        ("totimestamp", vec![given(T::Date, "2024-02-29")], "2024-02-29 00:00:00.000000+0000"),
        ("to_date", vec![given(T::TimeUuid, UUID)], "2015-07-14"),
        ("todate", vec![given(T::Timestamp, "-1")], "1969-12-31"),
        ("to_unix_timestamp", vec![given(T::Date, "1970-01-02")], "86400000"),
        ("tounixtimestamp", vec![Given(T::Date, None)], "null"),
        ("dateof", vec![given(T::TimeUuid, UUID)], "2015-07-14 00:00:18.805000+0000"),
        ("unixtimestampof", vec![given(T::TimeUuid, UUID)], "1436832018805"),
        ("min_timeuuid", vec![given(T::Timestamp, "0")], "13814000-1dd2-11b2-8080-808080808080"),
        ("maxtimeuuid", vec![given(T::Timestamp, "0")], "1381670f-1dd2-11b2-7f7f-7f7f7f7f7f7f"),
        ("current_timestamp", vec![], "2024-02-29 12:34:56.789000+0000"),
        ("currentdate", vec![], "2024-02-29"),
        ("current_time", vec![], "12:34:56.789000000"),
        ("int_as_blob", vec![given(T::Int, "3")], "0x00000003"),
        ("blobasint", vec![given(T::Blob, "0x00000003")], "3"),
        (
            "blob_as_int",
            vec![given(T::Blob, "0x01")],
            "In call to function system.blob_as_int, value 0x01 is not a valid binary representation for type int",
        ),
        ("varchar_as_blob", vec![given(T::Text, "a")], "0x61"),
        (
            "textasblob",
            vec![given(T::Int, "1")],
            "Type error: 1 cannot be passed as argument 0 of function system.textasblob of type text",
        ),
    ]
}

fn cases_of_numbers_and_collections() -> Vec<Case> {
    use CqlType as T;
    vec![
        ("abs", vec![given(T::Int, "-2147483648")], "-2147483648"),
        ("abs", vec![given(T::Decimal, "-1.50")], "1.50"),
        ("exp", vec![given(T::Int, "5")], "148"),
        ("exp", vec![given(T::TinyInt, "100")], "-1"),
        ("log", vec![given(T::Double, "-1")], "NaN"),
        ("log", vec![given(T::Decimal, "0")], "Natural log of number zero or less"),
        ("log10", vec![given(T::BigInt, "1000")], "3"),
        ("log10", vec![given(T::Decimal, "100")], "2"),
        ("round", vec![given(T::Double, "2.5")], "3"),
        ("round", vec![given(T::Double, "-2.5")], "-2"),
        ("round", vec![given(T::Float, "1e20")], "2147483600"),
        ("round", vec![given(T::Decimal, "-2.5")], "-3"),
        ("exp", vec![given(T::VarInt, "10")], "22026"),
        ("collection_count", vec![given(list(T::Int), "[1, 1]")], "2"),
        ("collection_count", vec![given(map(T::Int, T::Int), "{\"1\": 2}")], "1"),
        (
            "collection_count",
            vec![given(T::Int, "1")],
            "Function system.collection_count requires a collection argument, but found argument 1 of type int",
        ),
        ("collection_min", vec![given(set(T::Int), "[3, -1]")], "-1"),
        ("collection_max", vec![given(list(T::Text), "[\"b\", \"c\"]")], "c"),
        ("collection_sum", vec![given(list(T::TinyInt), "[127, 1]")], "-128"),
        ("collection_avg", vec![given(list(T::TinyInt), "[127, 1]")], "64"),
        ("collection_avg", vec![given(list(T::Int), "[]")], "0"),
        (
            "collection_sum",
            vec![given(list(T::Text), "[]")],
            "Function system.collection_sum requires a numeric set/list argument, but found argument [] of type \
             list<text>",
        ),
        ("map_keys", vec![given(map(T::Int, T::Text), "{\"2\": \"b\", \"1\": \"a\"}")], "{1, 2}"),
        ("map_values", vec![given(map(T::Int, T::Text), "{\"2\": \"b\", \"1\": \"a\"}")], "['a', 'b']"),
    ]
}

fn cases_of_floors() -> Vec<Case> {
    use CqlType as T;
    vec![
        (
            "floor",
            vec![given(T::Timestamp, "2016-09-27 16:26:04"), given(T::Duration, "3h")],
            "2016-09-27 15:00:00.000000+0000",
        ),
        (
            "floor",
            vec![given(T::Timestamp, "2016-09-27 16:26:04"), given(T::Duration, "2mo")],
            "2016-09-01 00:00:00.000000+0000",
        ),
        (
            "floor",
            vec![
                given(T::Timestamp, "2016-09-27 16:26:04"),
                given(T::Duration, "1mo2d"),
                given(T::Timestamp, "2016-08-01"),
            ],
            "2016-09-03 00:00:00.000000+0000",
        ),
        (
            "floor",
            vec![given(T::Timestamp, "2016-09-27"), given(T::Duration, "1h"), given(T::Timestamp, "2016-10-01")],
            "The floor function starting time is greater than the provided time",
        ),
        (
            "floor",
            vec![given(T::Timestamp, "2016-09-27"), given(T::Duration, "-1h")],
            "Negative durations are not supported by the floor function",
        ),
        (
            "floor",
            vec![given(T::Timestamp, "2016-09-27"), given(T::Duration, "1ns")],
            "The floor cannot be computed for the 1ns duration as precision is below 1 millisecond",
        ),
        ("floor", vec![given(T::Date, "2016-09-27"), given(T::Duration, "10d")], "2016-09-26"),
        (
            "floor",
            vec![given(T::Date, "2016-09-27"), given(T::Duration, "1h")],
            "The floor on date values cannot be computed for the 1h duration as precision is below 1 day",
        ),
        ("floor", vec![given(T::Time, "16:12:45"), given(T::Duration, "15m")], "16:00:00.000000000"),
        (
            "floor",
            vec![given(T::Time, "16:12:45"), given(T::Duration, "1d")],
            "For time values, the floor can only be computed for durations smaller that a day",
        ),
        ("floor", vec![given(T::TimeUuid, UUID), given(T::Duration, "1h")], "2015-07-14 00:00:00.000000+0000"),
        (
            "floor",
            vec![given(T::SmallInt, "1"), given(T::Duration, "1h")],
            "Invalid call to function floor, none of its type \
            signatures match (known type signatures: system.floor : (timeuuid, duration) -> timestamp, ",
        ),
    ]
}

fn cases_of_texts_and_vectors() -> Vec<Case> {
    use CqlType as T;
    vec![
        ("to_json", vec![given(list(T::Text), "[\"a\"]")], "[\"a\"]"),
        ("tojson", vec![Given(T::Int, None)], "null"),
        (
            "from_json",
            vec![given(T::Text, "1")],
            "from_json() cannot be used in the selection clause of a SELECT statement",
        ),
        ("similarity_cosine", vec![given(floats(2), "[1, 0]"), given(floats(2), "[0, 1]")], "0.5"),
        ("similarity_euclidean", vec![given(floats(2), "[1, 0]"), given(floats(2), "[1, 0]")], "1"),
        ("similarity_dot_product", vec![given(floats(2), "[1, 0]"), given(floats(2), "[1, 1]")], "1"),
        (
            "similarity_cosine",
            vec![given(floats(2), "[0, 0]"), given(floats(2), "[0, 1]")],
            "Function system.similarity_cosine doesn't support all-zero vectors.",
        ),
        (
            "similarity_cosine",
            vec![given(T::Int, "1"), given(T::Int, "1")],
            "Function system.similarity_cosine requires a float vector argument, but found argument 1 of type int",
        ),
        (
            "similarity_cosine",
            vec![given(floats(2), "[0, 0]"), given(floats(1), "[0]")],
            "All arguments must have the same vector dimensions",
        ),
        ("length", vec![given(T::Text, "aé😀")], "4"),
        ("octet_length", vec![given(T::Text, "aé")], "3"),
        ("octet_length", vec![given(T::Int, "1")], "4"),
        ("format_bytes", vec![given(T::Int, "2097152")], "2 MiB"),
        ("format_time", vec![given(T::BigInt, "7200000"), given(T::Text, "m")], "120 m"),
        ("format_time", vec![given(T::BigInt, "1"), Given(T::Text, None)], "none of the arguments may be null"),
        (
            "uuid",
            vec![given(T::Int, "1")],
            "Invalid number of arguments in call to function system.uuid: 0 required but 1 provided",
        ),
        ("length", vec![], "Invalid number of arguments for function system.length([text|varchar|ascii])"),
        ("nothing", vec![], "unknown"),
        ("blobasblob", vec![given(T::Blob, "0x")], "unknown"),
    ]
}

fn cases_of_masks() -> Vec<Case> {
    use CqlType as T;
    vec![
        ("mask_null", vec![given(T::Int, "5")], "null"),
        ("mask_default", vec![given(T::Text, "x")], "****"),
        ("mask_default", vec![Given(T::Date, None)], "1970-01-01"),
        ("mask_replace", vec![given(T::Int, "5"), given(T::Int, "6")], "6"),
        ("mask_inner", vec![given(T::Text, "abcdef"), given(T::Int, "1"), Given(T::Int, None)], "a*****"),
        (
            "mask_outer",
            vec![given(T::Text, "abcdef"), given(T::Int, "1"), given(T::Int, "2"), given(T::Text, "#")],
            "#bcd##",
        ),
        (
            "mask_inner",
            vec![given(T::Int, "1"), given(T::Int, "1"), given(T::Int, "1")],
            "Function system.mask_inner \
            requires an argument of type [text|varchar|ascii], but found argument 1 of type int",
        ),
        (
            "mask_hash",
            vec![given(T::Text, "abc")],
            "0xba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        ),
        ("mask_hash", vec![given(T::Text, "abc"), given(T::Text, "x")], "Hash algorithm not found: x"),
        ("mask_hash", vec![given(T::Text, "abc"), given(T::Text, "md5")], "0x900150983cd24fb0d6963f7d28e17f72"),
        (
            "mask_hash",
            vec![given(T::Text, "abc"), given(T::Text, "SHA-1")],
            "0xa9993e364706816aba3e25717850c26c9cd0d89d",
        ),
    ]
}

#[test]
fn functions_give_what_cassandra_gives() {
    let cases = [
        cases_of_times(),
        cases_of_numbers_and_collections(),
        cases_of_floors(),
        cases_of_texts_and_vectors(),
        cases_of_masks(),
    ]
    .concat();
    let wrong: Vec<String> = cases
        .iter()
        .map(|(name, arguments, expected)| (name, expected, call(name, arguments)))
        .filter(|(_, expected, found)| !found.starts_with(*expected))
        .map(|(name, expected, found)| format!("{name}:\n  {found}\n  {expected}"))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn operation(
    operator: crate::ast::ArithmeticOperator,
    left: (CqlType, &'static str),
    right: (CqlType, &'static str),
) -> String {
    let (left, right) = (Given(left.0, Some(left.1)), Given(right.0, Some(right.1)));
    match resolve_arithmetic(operator, &left, &right, None) {
        Ok(function) => format!("{} {}", function.returns, evaluated(&function, &[left, right])),
        Err(error) => error,
    }
}

#[test]
fn arithmetic_has_the_types_and_the_overflow_of_cassandra() {
    use crate::ast::ArithmeticOperator::{Add, Divide, Multiply, Remainder, Subtract};
    use CqlType as T;
    let cases = [
        (Add, (T::TinyInt, "127"), (T::TinyInt, "1"), "tinyint -128"),
        (Add, (T::TinyInt, "1"), (T::SmallInt, "2"), "smallint 3"),
        (Multiply, (T::Int, "2147483647"), (T::Int, "2"), "int -2"),
        (Add, (T::Int, "1"), (T::BigInt, "2"), "bigint 3"),
        (Add, (T::Counter, "1"), (T::Int, "2"), "bigint 3"),
        (Add, (T::Int, "1"), (T::Float, "0.5"), "float 1.5"),
        (Add, (T::BigInt, "1"), (T::Float, "0.5"), "double 1.5"),
        (Add, (T::VarInt, "1"), (T::Double, "0.5"), "decimal 1.5"),
        (Add, (T::VarInt, "9223372036854775807"), (T::Int, "1"), "varint 9223372036854775808"),
        (Divide, (T::Int, "7"), (T::Int, "2"), "int 3"),
        (Divide, (T::Int, "-2147483648"), (T::Int, "-1"), "int -2147483648"),
        (Divide, (T::Int, "1"), (T::Int, "0"), "int the operation 'int / int' failed: / by zero"),
        (Remainder, (T::BigInt, "1"), (T::Int, "0"), "bigint the operation 'bigint % int' failed: / by zero"),
        (Divide, (T::Double, "1"), (T::Double, "0"), "double Infinity"),
        (
            Divide,
            (T::VarInt, "1"),
            (T::VarInt, "0"),
            "varint the operation 'varint / varint' failed: BigInteger divide by zero",
        ),
        (Remainder, (T::Double, "7.5"), (T::Int, "2"), "double 1.5"),
        (Divide, (T::Decimal, "1"), (T::Decimal, "8"), "decimal 0.125"),
        (
            Subtract,
            (T::Timestamp, "5"),
            (T::Timestamp, "2"),
            "Ambiguous '-' operation with args 5 and 2: use type hint \
         to disambiguate, example '(int) ?'",
        ),
        (
            Add,
            (T::Decimal, "1"),
            (T::Double, "NaN"),
            "decimal the operation 'decimal + double' failed: A NaN cannot be converted into a decimal",
        ),
        (
            Subtract,
            (T::Timestamp, "2016-10-04 20:13:28"),
            (T::Duration, "1mo2d3h"),
            "timestamp 2016-09-02 17:13:28.000000+0000",
        ),
        (Add, (T::Date, "2024-01-31"), (T::Duration, "1mo"), "date 2024-02-29"),
        (Subtract, (T::Date, "2024-03-31"), (T::Duration, "1mo1d"), "date 2024-02-28"),
        (
            Subtract,
            (T::Date, "2024-03-31"),
            (T::Duration, "10m"),
            "date the operation 'date - duration' failed: The duration must have a day precision. Was: 10m",
        ),
        (
            Add,
            (T::Timestamp, "0"),
            (T::Duration, "1ns"),
            "timestamp the operation 'timestamp + duration' failed: The duration must have a millisecond precision. \
             Was: 1ns",
        ),
        (Add, (T::Text, "a"), (T::Ascii, "b"), "text ab"),
        (Subtract, (T::Text, "a"), (T::Text, "b"), "the '-' operation is not supported between a and b"),
    ];
    let wrong: Vec<String> = cases
        .into_iter()
        .map(|(operator, left, right, expected)| (expected, operation(operator, left, right)))
        .filter(|(expected, found)| found != expected)
        .map(|(expected, found)| format!("{found}\n  {expected}"))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn integers_become_decimals_as_doubles_do_where_no_digit_is_lost() {
    use crate::ast::ArithmeticOperator::{Add, Multiply};
    let price = || (CqlType::Decimal, "10.30");
    assert_eq!(operation(Multiply, (CqlType::Int, "7"), price()), "decimal 72.100");
    assert_eq!(operation(Multiply, (CqlType::VarInt, "7"), price()), "decimal 72.10");
    let long = operation(Add, (CqlType::BigInt, "9007199254740993"), (CqlType::Decimal, "0.5"));
    assert_eq!(long, "decimal 9007199254740993.5");
}

#[test]
fn markers_make_calls_ambiguous_unless_the_receiver_tells() {
    use crate::ast::ArithmeticOperator::Add;
    let int = Given(CqlType::Int, Some("1"));
    let error = resolve_arithmetic(Add, &Marker, &int, None).unwrap_err();
    assert!(error.starts_with("Ambiguous '+' operation with args ? and 1: use type hint"), "{error}");
    let error = resolve_negation(&Marker, None).unwrap_err();
    assert_eq!(error, "Ambiguous negation: use type casts to disambiguate");
    let schema = sample();
    let call = |name, receiver| {
        let arguments: Vec<&dyn Argument> = vec![&Marker];
        resolve(&Call { keyspace: None, name, arguments, receiver, table: table(&schema, "c") })
    };
    let error = call("to_date", None).unwrap_err();
    assert!(
        error.starts_with("Ambiguous call to function to_date (can be matched by following signatures: "),
        "{error}"
    );
    assert_eq!(call("int_as_blob", None).unwrap().unwrap().returns, CqlType::Blob);
    assert_eq!(call("max", Some(&CqlType::Int)).unwrap().unwrap().parameters, [CqlType::Int]);
    let error = call("max", None).unwrap_err();
    assert_eq!(
        error,
        "Cannot infer type of argument ? in call to function system.max(any): use type casts to disambiguate"
    );
    assert_eq!(call("from_json", Some(&CqlType::Date)).unwrap().unwrap().returns, CqlType::Date);
}

#[test]
fn casts_convert_as_java_does() {
    use CqlType as T;
    let cases = [
        (T::Int, "300", T::TinyInt, "44"),
        (T::Double, "1e20", T::Int, "2147483647"),
        (T::Double, "1e20", T::TinyInt, "-1"),
        (T::Double, "NaN", T::BigInt, "0"),
        (T::Decimal, "-2.9", T::Int, "-2"),
        (T::VarInt, "18446744073709551617", T::BigInt, "1"),
        (T::VarInt, "18446744073709551617", T::Decimal, "18446744073709551617"),
        (T::Int, "5", T::Decimal, "5"),
        (T::Double, "5", T::Decimal, "5.0"),
        (T::Float, "1.1", T::Decimal, "1.1"),
        (T::Float, "1.1", T::Double, "1.100000023841858"),
        (T::Counter, "7", T::Int, "7"),
        (T::Double, "6", T::Text, "6.0"),
        (T::Double, "NaN", T::Text, "NaN"),
        (T::Boolean, "true", T::Text, "true"),
        (T::Inet, "::1", T::Ascii, "0:0:0:0:0:0:0:1"),
        (T::Timestamp, "2015-05-21 11:03:02", T::Text, "2015-05-21T11:03:02.000Z"),
        (T::Timestamp, "2015-05-21 11:03:02", T::Date, "2015-05-21"),
        (T::Date, "2015-05-21", T::Timestamp, "2015-05-21 00:00:00.000000+0000"),
        (T::TimeUuid, "50554d6e-29bb-11e5-b345-feff819cdc9f", T::Date, "2015-07-14"),
        (T::Time, "11:03:02", T::Text, "11:03:02.000000000"),
        (T::Ascii, "a", T::Text, "a"),
        (T::BigInt, "86400000", T::Date, "1970-01-02"),
        (T::Timestamp, "5", T::BigInt, "5"),
        (
            T::Text,
            "a",
            T::Timestamp,
            "Invalid call to function system.cast_as_timestamp, none of its type signatures match (known type \
             signatures: system.cast_as_timestamp : (timeuuid) -> timestamp, system.cast_as_timestamp : (date) -> \
             timestamp)",
        ),
        (
            T::Timestamp,
            "5",
            T::Int,
            "Ambiguous call to function system.cast_as_int (can be matched by following signatures: \
             system.cast_as_int : (bigint) -> int, system.cast_as_int : (varint) -> int): use type casts to \
             disambiguate",
        ),
        (T::Int, "1", T::Counter, "no cast"),
        (T::Double, "Infinity", T::Decimal, "An infinite number cannot be converted into a decimal"),
    ];
    let schema = sample();
    let table = table(&schema, "t");
    for (from, text, to, expected) in cases {
        let given = Given(from.clone(), Some(text));
        let found = match resolve_cast(&given, &to, None, table) {
            Ok(Some(function)) => evaluated(&function, &[given]),
            Ok(None) => "no cast".to_owned(),
            Err(error) => error,
        };
        assert_eq!(found, expected, "{from} {text} as {to}");
    }
}
