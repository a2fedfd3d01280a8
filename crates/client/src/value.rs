//! Rust values as CQL values. A conversion either keeps the value exactly or fails: integers go into every integer
//! type that holds them and come out of every narrower one, a float comes out as a double.

use bytes::Bytes;
use model::value::{ValueError, validate};
use model::{CqlType, Value};
use std::net::IpAddr;

/// What a value has become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// The bytes that were appended.
    Value,
    /// Null; nothing was appended.
    Null,
    /// Nothing at all: a write leaves the cell as it is. Nothing was appended.
    Unset,
}

/// A value for a bind marker.
pub trait ToValue {
    /// Appends the wire form for `cql_type` to `out`.
    ///
    /// # Errors
    /// When it is not a value of that type.
    fn to_value(&self, cql_type: &CqlType, out: &mut Vec<u8>) -> Result<Written, ValueError>;
}

/// A value taken from a row.
pub trait FromValue: Sized {
    /// The value of `cql_type` whose wire form is `value`; `None` for null.
    ///
    /// # Errors
    /// When the type has no such value; when it is null and `Self` has no null.
    fn from_value(cql_type: &CqlType, value: Option<&Bytes>) -> Result<Self, ValueError>;
}

/// Values for all bind markers of a statement, in their order: tuples, arrays, slices and vectors.
pub trait ToValues {
    /// How many there are.
    fn count(&self) -> usize;

    /// The value at `index`, if there are so many.
    fn value(&self, index: usize) -> Option<&dyn ToValue>;
}

/// Leaves a bind marker unset: a write leaves the cell as it is, without a tombstone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unset;

impl ToValue for Unset {
    fn to_value(&self, _: &CqlType, _: &mut Vec<u8>) -> Result<Written, ValueError> {
        Ok(Written::Unset)
    }
}

fn mismatch(rust: &str, cql_type: &CqlType) -> ValueError {
    ValueError(format!("{rust} is not a value of type {cql_type}"))
}

fn out_of_range(value: i64, cql_type: &CqlType) -> ValueError {
    ValueError(format!("{value} is out of the range of {cql_type}"))
}

/// Appends bytes that are a value of the type if the type says so.
fn append(cql_type: &CqlType, bytes: &[u8], out: &mut Vec<u8>) -> Result<Written, ValueError> {
    validate(cql_type, bytes)?;
    out.extend_from_slice(bytes);
    Ok(Written::Value)
}

fn integer(value: i64, cql_type: &CqlType, out: &mut Vec<u8>) -> Result<Written, ValueError> {
    let range = |_| out_of_range(value, cql_type);
    match cql_type {
        CqlType::TinyInt => out.extend_from_slice(&i8::try_from(value).map_err(range)?.to_be_bytes()),
        CqlType::SmallInt => out.extend_from_slice(&i16::try_from(value).map_err(range)?.to_be_bytes()),
        CqlType::Int => out.extend_from_slice(&i32::try_from(value).map_err(range)?.to_be_bytes()),
        CqlType::BigInt | CqlType::Counter | CqlType::Timestamp => out.extend_from_slice(&value.to_be_bytes()),
        CqlType::Time => return append(cql_type, &value.to_be_bytes(), out),
        CqlType::VarInt => out.extend_from_slice(&Value::VarInt(value.into()).to_wire()),
        _ => return Err(mismatch("an integer", cql_type)),
    }
    Ok(Written::Value)
}

/// The value of an integer type of up to 64 bits.
fn integer_from(rust: &str, cql_type: &CqlType, value: Option<&Bytes>) -> Result<i64, ValueError> {
    match from_wire(cql_type, value)? {
        Value::TinyInt(value) => Ok(value.into()),
        Value::SmallInt(value) => Ok(value.into()),
        Value::Int(value) => Ok(value.into()),
        Value::BigInt(value) | Value::Counter(value) | Value::Timestamp(value) | Value::Time(value) => Ok(value),
        _ => Err(unwanted(rust, cql_type)),
    }
}

fn from_wire(cql_type: &CqlType, value: Option<&Bytes>) -> Result<Value, ValueError> {
    let wire = value.ok_or_else(|| ValueError("it is null: ask for an Option".to_owned()))?;
    Value::from_wire(cql_type, wire)
}

fn unwanted(rust: &str, cql_type: &CqlType) -> ValueError {
    ValueError(format!("a value of type {cql_type} is not {rust}"))
}

macro_rules! integers {
    ($($rust:ty),*) => {$(
        impl ToValue for $rust {
            fn to_value(&self, cql_type: &CqlType, out: &mut Vec<u8>) -> Result<Written, ValueError> {
                integer(i64::from(*self), cql_type, out)
            }
        }

        impl FromValue for $rust {
            fn from_value(cql_type: &CqlType, value: Option<&Bytes>) -> Result<Self, ValueError> {
                let value = integer_from(stringify!($rust), cql_type, value)?;
                let range = |_| ValueError(format!("{value} is out of the range of {}", stringify!($rust)));
                <$rust>::try_from(value).map_err(range)
            }
        }
    )*};
}
integers!(i8, i16, i32, i64);

/// Conversions that a CQL type either has or has not.
macro_rules! scalars {
    ($($rust:ty, $name:literal: $value:ident, $types:pat => $bytes:expr; $from:pat => $to:expr;)*) => {$(
        impl ToValue for $rust {
            fn to_value(&self, cql_type: &CqlType, out: &mut Vec<u8>) -> Result<Written, ValueError> {
                let $value = self;
                match cql_type {
                    $types => append(cql_type, $bytes.as_ref(), out),
                    _ => Err(mismatch($name, cql_type)),
                }
            }
        }

        impl FromValue for $rust {
            fn from_value(cql_type: &CqlType, value: Option<&Bytes>) -> Result<Self, ValueError> {
                match from_wire(cql_type, value)? {
                    $from => Ok($to),
                    _ => Err(unwanted($name, cql_type)),
                }
            }
        }
    )*};
}
scalars! {
    bool, "a boolean": v, CqlType::Boolean => [u8::from(*v)]; Value::Boolean(v) => v;
    u32, "days with an offset": v, CqlType::Date => v.to_be_bytes(); Value::Date(v) => v;
    u128, "a UUID": v, CqlType::Uuid | CqlType::TimeUuid => v.to_be_bytes(); Value::Uuid(v) | Value::TimeUuid(v) => v;
    f32, "a float": v, CqlType::Float => v.to_bits().to_be_bytes(); Value::Float(v) => v;
    String, "text": v, CqlType::Text | CqlType::Ascii => v; Value::Text(v) | Value::Ascii(v) => v;
    Vec<u8>, "bytes": v, CqlType::Blob => v; Value::Blob(v) => v.to_vec();
}

impl ToValue for f64 {
    fn to_value(&self, cql_type: &CqlType, out: &mut Vec<u8>) -> Result<Written, ValueError> {
        match cql_type {
            CqlType::Double => append(cql_type, &self.to_bits().to_be_bytes(), out),
            _ => Err(mismatch("a double", cql_type)),
        }
    }
}

impl FromValue for f64 {
    fn from_value(cql_type: &CqlType, value: Option<&Bytes>) -> Result<f64, ValueError> {
        match from_wire(cql_type, value)? {
            Value::Double(value) => Ok(value),
            Value::Float(value) => Ok(value.into()),
            _ => Err(unwanted("a double", cql_type)),
        }
    }
}

impl ToValue for str {
    fn to_value(&self, cql_type: &CqlType, out: &mut Vec<u8>) -> Result<Written, ValueError> {
        match cql_type {
            CqlType::Text | CqlType::Ascii => append(cql_type, self.as_bytes(), out),
            _ => Err(mismatch("text", cql_type)),
        }
    }
}

impl ToValue for [u8] {
    fn to_value(&self, cql_type: &CqlType, out: &mut Vec<u8>) -> Result<Written, ValueError> {
        match cql_type {
            CqlType::Blob => append(cql_type, self, out),
            _ => Err(mismatch("bytes", cql_type)),
        }
    }
}

impl ToValue for Bytes {
    fn to_value(&self, cql_type: &CqlType, out: &mut Vec<u8>) -> Result<Written, ValueError> {
        self.as_ref().to_value(cql_type, out)
    }
}

/// The bytes of a blob, sharing memory with the row.
impl FromValue for Bytes {
    fn from_value(cql_type: &CqlType, value: Option<&Bytes>) -> Result<Bytes, ValueError> {
        match (cql_type, value) {
            (CqlType::Blob, Some(bytes)) => Ok(bytes.clone()),
            (CqlType::Blob, None) => Err(ValueError("it is null: ask for an Option".to_owned())),
            _ => Err(unwanted("bytes", cql_type)),
        }
    }
}

impl ToValue for IpAddr {
    fn to_value(&self, cql_type: &CqlType, out: &mut Vec<u8>) -> Result<Written, ValueError> {
        Value::Inet(*self).to_value(cql_type, out)
    }
}

impl FromValue for IpAddr {
    fn from_value(cql_type: &CqlType, value: Option<&Bytes>) -> Result<IpAddr, ValueError> {
        match from_wire(cql_type, value)? {
            Value::Inet(address) => Ok(address),
            _ => Err(unwanted("an address", cql_type)),
        }
    }
}

/// A value of exactly the marker's type.
impl ToValue for Value {
    fn to_value(&self, cql_type: &CqlType, out: &mut Vec<u8>) -> Result<Written, ValueError> {
        if !self.is_of(cql_type) {
            return Err(ValueError(format!("{} is not a value of type {cql_type}", self.to_cql_literal())));
        }
        append(cql_type, &self.to_wire(), out)
    }
}

impl FromValue for Value {
    fn from_value(cql_type: &CqlType, value: Option<&Bytes>) -> Result<Value, ValueError> {
        from_wire(cql_type, value)
    }
}

impl<T: ToValue> ToValue for Option<T> {
    fn to_value(&self, cql_type: &CqlType, out: &mut Vec<u8>) -> Result<Written, ValueError> {
        self.as_ref().map_or(Ok(Written::Null), |value| value.to_value(cql_type, out))
    }
}

impl<T: FromValue> FromValue for Option<T> {
    fn from_value(cql_type: &CqlType, value: Option<&Bytes>) -> Result<Option<T>, ValueError> {
        value.map(|value| T::from_value(cql_type, Some(value))).transpose()
    }
}

impl<T: ToValue + ?Sized> ToValue for &T {
    fn to_value(&self, cql_type: &CqlType, out: &mut Vec<u8>) -> Result<Written, ValueError> {
        (**self).to_value(cql_type, out)
    }
}

impl<T: ToValue + ?Sized> ToValue for Box<T> {
    fn to_value(&self, cql_type: &CqlType, out: &mut Vec<u8>) -> Result<Written, ValueError> {
        (**self).to_value(cql_type, out)
    }
}

impl<T: ToValue> ToValues for [T] {
    fn count(&self) -> usize {
        self.len()
    }

    fn value(&self, index: usize) -> Option<&dyn ToValue> {
        self.get(index).map(|value| value as &dyn ToValue)
    }
}

impl<T: ToValue> ToValues for Vec<T> {
    fn count(&self) -> usize {
        self.len()
    }

    fn value(&self, index: usize) -> Option<&dyn ToValue> {
        self.as_slice().value(index)
    }
}

impl<T: ToValue, const N: usize> ToValues for [T; N] {
    fn count(&self) -> usize {
        N
    }

    fn value(&self, index: usize) -> Option<&dyn ToValue> {
        self.as_slice().value(index)
    }
}

impl<T: ToValues + ?Sized> ToValues for &T {
    fn count(&self) -> usize {
        (**self).count()
    }

    fn value(&self, index: usize) -> Option<&dyn ToValue> {
        (**self).value(index)
    }
}

impl ToValues for () {
    fn count(&self) -> usize {
        0
    }

    fn value(&self, _: usize) -> Option<&dyn ToValue> {
        None
    }
}

macro_rules! tuples {
    ($($count:literal: $($type:ident $index:tt),+;)*) => {$(
        impl<$($type: ToValue),+> ToValues for ($($type,)+) {
            fn count(&self) -> usize {
                $count
            }

            fn value(&self, index: usize) -> Option<&dyn ToValue> {
                match index {
                    $($index => Some(&self.$index),)+
                    _ => None,
                }
            }
        }
    )*};
}
tuples! {
    1: A 0;
    2: A 0, B 1;
    3: A 0, B 1, C 2;
    4: A 0, B 1, C 2, D 3;
    5: A 0, B 1, C 2, D 3, E 4;
    6: A 0, B 1, C 2, D 3, E 4, F 5;
    7: A 0, B 1, C 2, D 3, E 4, F 5, G 6;
    8: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7;
    9: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8;
    10: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9;
    11: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10;
    12: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11;
    13: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11, M 12;
    14: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11, M 12, N 13;
    15: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11, M 12, N 13, O 14;
    16: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11, M 12, N 13, O 14, P 15;
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::Arc;

    /// Through the wire form of a type and back.
    fn through<T: ToValue + FromValue>(value: &T, cql_type: &CqlType) -> Result<T, ValueError> {
        let mut wire = Vec::new();
        let written = value.to_value(cql_type, &mut wire)?;
        let wire = Bytes::from(wire);
        T::from_value(cql_type, (written == Written::Value).then_some(&wire))
    }

    #[test]
    fn integers_go_where_they_fit() {
        let integers = [CqlType::TinyInt, CqlType::SmallInt, CqlType::Int, CqlType::BigInt];
        for cql_type in &integers {
            assert_eq!(through(&-5i64, cql_type), Ok(-5));
            assert_eq!(through(&5i8, cql_type), Ok(5));
        }
        assert!(through(&128i32, &CqlType::TinyInt).unwrap_err().0.contains("out of the range of tinyint"));
        assert!(through(&i64::MAX, &CqlType::Int).is_err());
        assert!(through(&-1i64, &CqlType::Time).is_err());
        let wide = Bytes::copy_from_slice(&(1i64 << 40).to_be_bytes());
        assert!(i32::from_value(&CqlType::BigInt, Some(&wide)).unwrap_err().0.contains("out of the range of i32"));
    }

    #[test]
    fn a_value_of_another_type_is_refused_by_name() {
        assert_eq!(through(&true, &CqlType::Int).unwrap_err().0, "a boolean is not a value of type int");
        assert!(through(&1.5f64, &CqlType::Float).is_err());
        assert!(through(&"é".to_owned(), &CqlType::Ascii).is_err());
        assert!(through(&Value::Int(1), &CqlType::BigInt).is_err());
        let text = Bytes::from_static(b"abcd");
        assert!(i32::from_value(&CqlType::Text, Some(&text)).is_err());
        assert!(u128::from_value(&CqlType::Text, Some(&text)).is_err());
    }

    #[test]
    fn null_needs_an_option_and_unset_is_not_null() {
        assert_eq!(through(&None::<i32>, &CqlType::Int), Ok(None));
        assert_eq!(through(&Some(3i32), &CqlType::Int), Ok(Some(3)));
        assert!(i32::from_value(&CqlType::Int, None).unwrap_err().0.contains("Option"));
        assert!(Bytes::from_value(&CqlType::Blob, None).is_err());
        assert_eq!(Unset.to_value(&CqlType::Int, &mut Vec::new()), Ok(Written::Unset));
    }

    #[test]
    fn values_can_be_of_mixed_types_and_unsized() {
        let boxed: Vec<Box<dyn ToValue>> = vec![Box::new(1i32), Box::new("text".to_owned()), Box::new(Unset)];
        assert_eq!(boxed.count(), 3);
        let mixed: [&dyn ToValue; 2] = [&1i64, &"text"];
        assert_eq!(mixed[..].count(), 2);
        assert!(mixed.value(2).is_none());
        assert_eq!((1i32, "two", Some(3.0f64)).count(), 3);
        assert!((1i32,).value(1).is_none());
    }

    #[test]
    fn values_with_parts_go_through_as_they_are() {
        let list = CqlType::List { element: Arc::new(CqlType::Int), frozen: false };
        let numbers = Value::List(vec![Value::Int(1), Value::Int(2)]);
        assert_eq!(through(&numbers, &list), Ok(numbers.clone()));
        let refused = through(&numbers, &CqlType::Set { element: Arc::new(CqlType::Int), frozen: false });
        assert_eq!(refused.unwrap_err().0, "[1, 2] is not a value of type set<int>");
        let pair = CqlType::Tuple(Arc::new(vec![CqlType::Int, CqlType::Text]));
        let halved = Value::Tuple(vec![None, Some(Value::Text("x".to_owned()))]);
        assert_eq!(through(&halved, &pair), Ok(halved));
        assert_eq!(through(&7i64, &CqlType::Counter), Ok(7));
        assert_eq!(through(&Value::Counter(-7), &CqlType::Counter), Ok(Value::Counter(-7)));
        assert!(i32::from_value(&list, Some(&numbers.to_wire())).is_err());
        assert!(Vec::<u8>::from_value(&list, Some(&numbers.to_wire())).is_err());
    }

    proptest! {
        #[test]
        fn values_round_trip(a: i64, b: bool, c: u128, d: String, e: Vec<u8>, f: f64, g: u32, h: [u8; 16]) {
            prop_assert_eq!(through(&a, &CqlType::BigInt), Ok(a));
            prop_assert_eq!(through(&a, &CqlType::Timestamp), Ok(a));
            prop_assert_eq!(through(&b, &CqlType::Boolean), Ok(b));
            prop_assert_eq!(through(&c, &CqlType::Uuid), Ok(c));
            prop_assert_eq!(through(&d, &CqlType::Text), Ok(d));
            prop_assert_eq!(through(&e, &CqlType::Blob), Ok(e.clone()));
            prop_assert_eq!(through(&Bytes::from(e.clone()), &CqlType::Blob), Ok(Bytes::from(e)));
            prop_assert_eq!(through(&f, &CqlType::Double).map(f64::to_bits), Ok(f.to_bits()));
            prop_assert_eq!(through(&g, &CqlType::Date), Ok(g));
            prop_assert_eq!(through(&IpAddr::from(h), &CqlType::Inet), Ok(IpAddr::from(h)));
            prop_assert_eq!(through(&Value::VarInt(a.into()), &CqlType::VarInt), Ok(Value::VarInt(a.into())));
        }

        #[test]
        fn any_bytes_are_a_value_or_an_error(bytes: Vec<u8>, kind in 0usize..19) {
            let (cql_type, bytes) = (&CqlType::SCALARS[kind], Bytes::from(bytes));
            let _ = i8::from_value(cql_type, Some(&bytes));
            let _ = Option::<i64>::from_value(cql_type, Some(&bytes));
            let _ = String::from_value(cql_type, Some(&bytes));
            let _ = f64::from_value(cql_type, Some(&bytes));
            let _ = Value::from_value(cql_type, Some(&bytes));
        }
    }
}
