//! CQL types: which there are, how CQL writes them, what may be in what, and their encoding.
//!
//! Invariants of a type that [`CqlType::check`] accepts, and so of every decoded one:
//! * What is inside another type is frozen: only a column as a whole can have a cell for each element.
//! * A counter is in nothing, and nothing that has no order is in a set or in the keys of a map.
//! * It is nested at most [`NESTING_MAX`] deep and made of at most [`TYPE_PARTS_MAX`] types.

use crate::codec::{CodecError, Decode, Encode, Reader, put_sequence, put_varint};
use crate::error::RequestError;
use crate::id::KeyspaceName;
use crate::limits::{NESTING_MAX, TYPE_PARTS_MAX};
use crate::name::quote_name;
use std::fmt;
use std::sync::Arc;

/// The type of a column. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CqlType {
    /// US-ASCII text.
    Ascii,
    /// 64-bit signed integer.
    BigInt,
    /// Any bytes.
    Blob,
    /// True or false.
    Boolean,
    /// Days since 1970-01-01, offset by 2^31.
    Date,
    /// Arbitrary-precision decimal.
    Decimal,
    /// IEEE 754 binary64.
    Double,
    /// Months, days and nanoseconds, each signed alike.
    Duration,
    /// IEEE 754 binary32.
    Float,
    /// IPv4 or IPv6 address.
    Inet,
    /// 32-bit signed integer.
    Int,
    /// 16-bit signed integer.
    SmallInt,
    /// UTF-8 text; `varchar` is another name of it.
    Text,
    /// Nanoseconds since midnight.
    Time,
    /// Milliseconds since 1970-01-01T00:00:00Z.
    Timestamp,
    /// A version 1 UUID, ordered by its time.
    TimeUuid,
    /// 8-bit signed integer.
    TinyInt,
    /// Any UUID.
    Uuid,
    /// Arbitrary-precision integer.
    VarInt,
    /// 64-bit signed integer that is only ever added to.
    Counter,
    /// So many values of one type.
    Vector {
        /// The type of its elements.
        element: Arc<CqlType>,
        /// How many there are; at least 1.
        dimensions: u32,
    },
    /// Values in the order in which they were put.
    List {
        /// The type of its elements.
        element: Arc<CqlType>,
        /// True when it is one value, written as a whole.
        frozen: bool,
    },
    /// Distinct values in their type's order.
    Set {
        /// The type of its elements.
        element: Arc<CqlType>,
        /// True when it is one value, written as a whole.
        frozen: bool,
    },
    /// Values by distinct keys, in the order of the keys.
    Map {
        /// The types of its keys and values.
        entry: Arc<(CqlType, CqlType)>,
        /// True when it is one value, written as a whole.
        frozen: bool,
    },
    /// A value, or null, for each of these types.
    Tuple(Arc<Vec<CqlType>>),
    /// A type of the keyspace's own.
    UserDefined {
        /// Its name and fields.
        definition: Arc<UserType>,
        /// True when it is one value, written as a whole.
        frozen: bool,
    },
}

/// A user-defined type. As part of a [`CqlType`] it is as it was when the column was defined; if that is
/// frozen, its fields are too.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserType {
    /// The keyspace that it is in.
    pub keyspace: KeyspaceName,
    /// Its name.
    pub name: String,
    /// The name and type of each field, in their order; at least one.
    pub fields: Vec<(String, CqlType)>,
}

impl UserType {
    /// The types of the fields.
    pub fn types(&self) -> impl Iterator<Item = &CqlType> {
        self.fields.iter().map(|(_, cql_type)| cql_type)
    }
}

impl CqlType {
    /// True for the types of texts, which have lengths in characters, patterns and upper and lower case.
    #[must_use]
    pub fn is_text(&self) -> bool {
        matches!(self, CqlType::Ascii | CqlType::Text)
    }

    /// Every scalar type, for tables of tests and for completion.
    pub const SCALARS: [CqlType; 19] = [
        CqlType::Ascii,
        CqlType::BigInt,
        CqlType::Blob,
        CqlType::Boolean,
        CqlType::Date,
        CqlType::Decimal,
        CqlType::Double,
        CqlType::Duration,
        CqlType::Float,
        CqlType::Inet,
        CqlType::Int,
        CqlType::SmallInt,
        CqlType::Text,
        CqlType::Time,
        CqlType::Timestamp,
        CqlType::TimeUuid,
        CqlType::TinyInt,
        CqlType::Uuid,
        CqlType::VarInt,
    ];

    /// The scalar type of this name in lower case; `varchar` is `text`.
    #[must_use]
    pub fn scalar(name: &str) -> Option<CqlType> {
        if name == "varchar" {
            return Some(CqlType::Text);
        }
        CqlType::SCALARS.into_iter().find(|scalar| scalar.word() == name)
    }

    /// The type `definition`; frozen with all its fields, or not.
    #[must_use]
    pub fn user_defined(definition: &Arc<UserType>, frozen: bool) -> CqlType {
        let cql_type = CqlType::UserDefined { definition: Arc::clone(definition), frozen: false };
        if frozen { cql_type.freeze() } else { cql_type }
    }

    /// The word that names the type, before what is in angle brackets.
    fn word(&self) -> &str {
        match self {
            CqlType::Ascii => "ascii",
            CqlType::BigInt => "bigint",
            CqlType::Blob => "blob",
            CqlType::Boolean => "boolean",
            CqlType::Counter => "counter",
            CqlType::Date => "date",
            CqlType::Decimal => "decimal",
            CqlType::Double => "double",
            CqlType::Duration => "duration",
            CqlType::Float => "float",
            CqlType::Inet => "inet",
            CqlType::Int => "int",
            CqlType::List { .. } => "list",
            CqlType::Map { .. } => "map",
            CqlType::Set { .. } => "set",
            CqlType::SmallInt => "smallint",
            CqlType::Text => "text",
            CqlType::Time => "time",
            CqlType::Timestamp => "timestamp",
            CqlType::TimeUuid => "timeuuid",
            CqlType::TinyInt => "tinyint",
            CqlType::Tuple(_) => "tuple",
            CqlType::UserDefined { definition, .. } => &definition.name,
            CqlType::Uuid => "uuid",
            CqlType::VarInt => "varint",
            CqlType::Vector { .. } => "vector",
        }
    }

    /// The types directly inside.
    fn inner(&self) -> Box<dyn Iterator<Item = &CqlType> + '_> {
        match self {
            CqlType::Vector { element, .. } | CqlType::List { element, .. } | CqlType::Set { element, .. } => {
                Box::new(std::iter::once(element.as_ref()))
            }
            CqlType::Map { entry, .. } => Box::new([&entry.0, &entry.1].into_iter()),
            CqlType::Tuple(types) => Box::new(types.iter()),
            CqlType::UserDefined { definition, .. } => Box::new(definition.types()),
            _ => Box::new(std::iter::empty()),
        }
    }

    /// The type as one value that is written as a whole, and everything inside it likewise. Types that are
    /// always so stay as they are.
    #[must_use]
    pub fn freeze(&self) -> CqlType {
        let inner = |inner: &Arc<CqlType>| Arc::new(inner.freeze());
        match self {
            CqlType::Vector { element, dimensions } => {
                CqlType::Vector { element: inner(element), dimensions: *dimensions }
            }
            CqlType::List { element, .. } => CqlType::List { element: inner(element), frozen: true },
            CqlType::Set { element, .. } => CqlType::Set { element: inner(element), frozen: true },
            CqlType::Map { entry, .. } => {
                CqlType::Map { entry: Arc::new((entry.0.freeze(), entry.1.freeze())), frozen: true }
            }
            CqlType::Tuple(types) => CqlType::Tuple(Arc::new(types.iter().map(CqlType::freeze).collect())),
            CqlType::UserDefined { definition, .. } => {
                let UserType { keyspace, name, fields } = definition.as_ref();
                let fields = fields.iter().map(|(name, cql_type)| (name.clone(), cql_type.freeze())).collect();
                let definition = UserType { keyspace: keyspace.clone(), name: name.clone(), fields };
                CqlType::UserDefined { definition: Arc::new(definition), frozen: true }
            }
            scalar => scalar.clone(),
        }
    }

    /// The same type with the definition that `current` gives for each user-defined type in it; what was frozen
    /// stays so.
    ///
    /// # Errors
    /// Those of `current`.
    pub(crate) fn with_definitions(
        &self,
        current: &impl Fn(&UserType) -> Result<Arc<UserType>, RequestError>,
    ) -> Result<CqlType, RequestError> {
        let inner = |inner: &CqlType| inner.with_definitions(current);
        Ok(match self {
            CqlType::Vector { element, dimensions } => {
                CqlType::Vector { element: Arc::new(inner(element)?), dimensions: *dimensions }
            }
            CqlType::List { element, frozen } => CqlType::List { element: Arc::new(inner(element)?), frozen: *frozen },
            CqlType::Set { element, frozen } => CqlType::Set { element: Arc::new(inner(element)?), frozen: *frozen },
            CqlType::Map { entry, frozen } => {
                CqlType::Map { entry: Arc::new((inner(&entry.0)?, inner(&entry.1)?)), frozen: *frozen }
            }
            CqlType::Tuple(types) => CqlType::Tuple(Arc::new(types.iter().map(inner).collect::<Result<_, _>>()?)),
            CqlType::UserDefined { definition, frozen } => CqlType::user_defined(&current(definition)?, *frozen),
            scalar => scalar.clone(),
        })
    }

    /// True when a duration is this type or in it.
    #[must_use]
    pub fn has_duration(&self) -> bool {
        *self == CqlType::Duration || self.inner().any(CqlType::has_duration)
    }

    /// True when every value of `other` in its wire form is one of this type, so that a column may change from one
    /// to the other (Cassandra's `isValueCompatibleWith`; user-defined types are compatible when they are the same
    /// but for fields that were added).
    #[must_use]
    pub fn reads_values_of(&self, other: &CqlType) -> bool {
        use CqlType as T;
        match (self, other) {
            (T::Blob, other) => !other.is_complex(),
            (T::Text, T::Ascii)
            | (T::VarInt, T::Int | T::BigInt)
            | (T::BigInt, T::Timestamp)
            | (T::Timestamp, T::BigInt)
            | (T::Uuid, T::TimeUuid) => true,
            (T::UserDefined { definition, frozen }, T::UserDefined { definition: old, frozen: was_frozen }) => {
                let same = definition.keyspace == old.keyspace && definition.name == old.name && frozen == was_frozen;
                let mut types = definition.types().zip(old.types());
                same && definition.fields.len() >= old.fields.len() && types.all(|(new, old)| new.reads_values_of(old))
            }
            (new, old) => new == old,
        }
    }

    /// True when what is stored of `other` can be read as this type, so that a column can come back with it
    /// (Cassandra's `isSerializationCompatibleWith`): its values are of this type, and as long.
    #[must_use]
    pub fn stores_as(&self, other: &CqlType) -> bool {
        self.reads_values_of(other) && self.fixed_length() == other.fixed_length()
    }

    /// True when the user-defined type `name` of `keyspace` is this type or in it.
    #[must_use]
    pub fn uses(&self, keyspace: &str, name: &str) -> bool {
        let is = |definition: &UserType| definition.keyspace == keyspace && definition.name == name;
        matches!(self, CqlType::UserDefined { definition, .. } if is(definition))
            || self.inner().any(|inner| inner.uses(keyspace, name))
    }

    /// True for lists, sets and maps.
    #[must_use]
    pub fn is_collection(&self) -> bool {
        matches!(self, CqlType::List { .. } | CqlType::Set { .. } | CqlType::Map { .. })
    }

    /// True for types of which a column has a cell for each element.
    #[must_use]
    pub fn is_multi_cell(&self) -> bool {
        matches!(
            self,
            CqlType::List { frozen: false, .. }
                | CqlType::Set { frozen: false, .. }
                | CqlType::Map { frozen: false, .. }
                | CqlType::UserDefined { frozen: false, .. }
        )
    }

    /// True for types whose columns are stored as [`crate::complex::ComplexColumn`]: those of many cells, and
    /// counters.
    #[must_use]
    pub fn is_complex(&self) -> bool {
        self.is_multi_cell() || *self == CqlType::Counter
    }

    /// True for types that have an order. A duration has none, since a month has no fixed number of days, and
    /// nothing that contains one; a counter has none, since its value is not written as such.
    #[must_use]
    pub fn is_ordered(&self) -> bool {
        !matches!(self, CqlType::Duration | CqlType::Counter) && self.inner().all(CqlType::is_ordered)
    }

    /// True for types that may be part of a primary key: those that have an order and are one value.
    #[must_use]
    pub fn is_key(&self) -> bool {
        self.is_ordered() && !self.is_multi_cell()
    }

    /// True for types that have a value of no bytes beside their own, as Cassandra has for historical reasons: it is
    /// less than all others, and null to functions.
    #[must_use]
    pub fn has_empty_value(&self) -> bool {
        matches!(
            self,
            CqlType::Boolean
                | CqlType::Int
                | CqlType::BigInt
                | CqlType::VarInt
                | CqlType::Decimal
                | CqlType::Float
                | CqlType::Double
                | CqlType::Timestamp
                | CqlType::Uuid
                | CqlType::TimeUuid
                | CqlType::Inet
        )
    }

    /// The length in bytes that every value of the type has in a vector; `None` when each has its own length
    /// before it. As in Cassandra that is not the same as having a fixed length: there `tinyint`, `smallint`,
    /// `date` and `time` do not say that they have one (`AbstractType.valueLengthIfFixed`).
    #[must_use]
    pub fn fixed_length(&self) -> Option<usize> {
        match self {
            CqlType::Boolean => Some(1),
            CqlType::Int | CqlType::Float => Some(4),
            CqlType::BigInt | CqlType::Double | CqlType::Timestamp => Some(8),
            CqlType::Uuid | CqlType::TimeUuid => Some(16),
            CqlType::Vector { element, dimensions } => {
                element.fixed_length().and_then(|length| length.checked_mul(*dimensions as usize))
            }
            _ => None,
        }
    }

    /// Checks that the type can be that of a column; whether of one in the primary key, [`CqlType::is_key`] says.
    ///
    /// # Errors
    /// `Invalid`, where Cassandra has words for it in these.
    pub fn check(&self) -> Result<(), RequestError> {
        self.check_at(1, &mut 0).map_err(RequestError::Invalid)
    }

    /// `parts` counts the types that were met.
    fn check_at(&self, depth: usize, parts: &mut usize) -> Result<(), String> {
        *parts += 1;
        if *parts > TYPE_PARTS_MAX {
            return Err(format!("a type may not be made of more than {TYPE_PARTS_MAX} types"));
        }
        if depth > NESTING_MAX {
            return Err(format!("a type may not be nested more than {NESTING_MAX} deep"));
        }
        let holder = match self {
            CqlType::Tuple(_) => "tuples",
            CqlType::UserDefined { .. } => "user types",
            CqlType::Vector { .. } => "vectors",
            _ => "collections",
        };
        for inner in self.inner() {
            if *inner == CqlType::Counter {
                return Err(format!("Counters are not allowed inside {holder}: {self}"));
            }
            if inner.is_multi_cell() {
                if matches!(self, CqlType::UserDefined { frozen: false, .. })
                    && !matches!(inner, CqlType::UserDefined { .. })
                {
                    return Err("Non-frozen UDTs with nested non-frozen collections are not supported".to_owned());
                }
                let kind = if matches!(inner, CqlType::UserDefined { .. }) { "UDTs" } else { "collections" };
                return Err(format!("Non-frozen {kind} are not allowed inside {holder}: {self}"));
            }
            inner.check_at(depth + 1, parts)?;
        }
        match self {
            CqlType::Set { element, .. } if !element.is_ordered() => {
                Err(format!("Durations are not allowed inside sets: {self}"))
            }
            CqlType::Map { entry, .. } if !entry.0.is_ordered() => {
                Err(format!("Durations are not allowed as map keys: {self}"))
            }
            CqlType::Vector { dimensions: 0, .. } => {
                Err("vectors may only have positive dimensions; given 0".to_owned())
            }
            CqlType::Tuple(types) if types.is_empty() => Err("a tuple has at least one type".to_owned()),
            CqlType::UserDefined { definition, .. } if definition.fields.is_empty() => {
                Err(format!("type {} has no fields", definition.name))
            }
            _ => Ok(()),
        }
    }
}

/// The type as CQL writes it, in the form that Cassandra prints: what is frozen says so, tuples too.
impl fmt::Display for CqlType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (open, close) = match self {
            CqlType::List { frozen: true, .. }
            | CqlType::Set { frozen: true, .. }
            | CqlType::Map { frozen: true, .. }
            | CqlType::UserDefined { frozen: true, .. }
            | CqlType::Tuple(_) => ("frozen<", ">"),
            _ => ("", ""),
        };
        f.write_str(open)?;
        match self {
            CqlType::UserDefined { definition, .. } => f.write_str(&quote_name(&definition.name))?,
            _ => {
                f.write_str(self.word())?;
                for (index, inner) in self.inner().enumerate() {
                    write!(f, "{}{inner}", if index == 0 { "<" } else { ", " })?;
                }
                match self {
                    CqlType::Vector { dimensions, .. } => write!(f, ", {dimensions}>")?,
                    CqlType::List { .. } | CqlType::Set { .. } | CqlType::Map { .. } | CqlType::Tuple(_) => {
                        f.write_str(">")?;
                    }
                    _ => {}
                }
            }
        }
        f.write_str(close)
    }
}

// The tags are frozen: they are on disk and on the wire. 1 to 19 are the scalars in the order of SCALARS.
const TAG_COUNTER: u8 = 20;
const TAG_VECTOR: u8 = 21;
const TAG_LIST: u8 = 22;
const TAG_SET: u8 = 23;
const TAG_MAP: u8 = 24;
const TAG_TUPLE: u8 = 25;
const TAG_USER_DEFINED: u8 = 26;

impl Encode for CqlType {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            CqlType::Counter => out.push(TAG_COUNTER),
            CqlType::Vector { element, dimensions } => {
                out.push(TAG_VECTOR);
                put_varint(out, u64::from(*dimensions));
                element.encode(out);
            }
            CqlType::List { element, frozen } => {
                out.extend_from_slice(&[TAG_LIST, u8::from(*frozen)]);
                element.encode(out);
            }
            CqlType::Set { element, frozen } => {
                out.extend_from_slice(&[TAG_SET, u8::from(*frozen)]);
                element.encode(out);
            }
            CqlType::Map { entry, frozen } => {
                out.extend_from_slice(&[TAG_MAP, u8::from(*frozen)]);
                entry.0.encode(out);
                entry.1.encode(out);
            }
            CqlType::Tuple(types) => {
                out.push(TAG_TUPLE);
                put_sequence(out, types);
            }
            CqlType::UserDefined { definition, frozen } => {
                out.extend_from_slice(&[TAG_USER_DEFINED, u8::from(*frozen)]);
                definition.encode(out);
            }
            scalar => {
                let position = CqlType::SCALARS.iter().position(|other| other == scalar);
                out.push(position.expect("SCALARS lists every other variant") as u8 + 1);
            }
        }
    }
}

impl Encode for UserType {
    fn encode(&self, out: &mut Vec<u8>) {
        self.keyspace.encode(out);
        self.name.encode(out);
        put_varint(out, self.fields.len() as u64);
        for (name, cql_type) in &self.fields {
            name.encode(out);
            cql_type.encode(out);
        }
    }
}

/// Reads a type at this depth, whose rules the caller checks.
fn decode_at(reader: &mut Reader, depth: usize) -> Result<CqlType, CodecError> {
    const INVALID: CodecError = CodecError::Invalid("type");
    if depth > NESTING_MAX {
        return Err(INVALID);
    }
    let inner = |reader: &mut Reader| decode_at(reader, depth + 1);
    Ok(match reader.u8()? {
        TAG_COUNTER => CqlType::Counter,
        TAG_VECTOR => {
            let dimensions = reader.varint_u32()?;
            CqlType::Vector { element: Arc::new(inner(reader)?), dimensions }
        }
        TAG_LIST => {
            let frozen = reader.bool()?;
            CqlType::List { element: Arc::new(inner(reader)?), frozen }
        }
        TAG_SET => {
            let frozen = reader.bool()?;
            CqlType::Set { element: Arc::new(inner(reader)?), frozen }
        }
        TAG_MAP => {
            let frozen = reader.bool()?;
            CqlType::Map { entry: Arc::new((inner(reader)?, inner(reader)?)), frozen }
        }
        TAG_TUPLE => {
            let count = reader.count()?;
            let types = (0..count).map(|_| inner(reader)).collect::<Result<_, CodecError>>()?;
            CqlType::Tuple(Arc::new(types))
        }
        TAG_USER_DEFINED => {
            let frozen = reader.bool()?;
            CqlType::UserDefined { definition: Arc::new(decode_user_type(reader, depth + 1)?), frozen }
        }
        tag => {
            let found = usize::from(tag).checked_sub(1).and_then(|index| CqlType::SCALARS.get(index));
            found.cloned().ok_or(INVALID)?
        }
    })
}

fn decode_user_type(reader: &mut Reader, depth: usize) -> Result<UserType, CodecError> {
    let (keyspace, name) = (reader.text()?, reader.text()?);
    let count = reader.count()?;
    let fields = (0..count).map(|_| Ok((reader.text()?, decode_at(reader, depth)?)));
    Ok(UserType { keyspace, name, fields: fields.collect::<Result<_, CodecError>>()? })
}

impl Decode for CqlType {
    fn decode(reader: &mut Reader) -> Result<CqlType, CodecError> {
        let cql_type = decode_at(reader, 1)?;
        cql_type.check().map_err(|_| CodecError::Invalid("type"))?;
        Ok(cql_type)
    }
}

/// A definition, whose fields need not be frozen: whether they are depends on who uses it.
impl Decode for UserType {
    fn decode(reader: &mut Reader) -> Result<UserType, CodecError> {
        let definition = Arc::new(decode_user_type(reader, 2)?);
        CqlType::user_defined(&definition, true).check().map_err(|_| CodecError::Invalid("type"))?;
        Ok(Arc::unwrap_or_clone(definition))
    }
}

#[cfg(test)]
#[path = "types_tests.rs"]
pub(crate) mod tests;
