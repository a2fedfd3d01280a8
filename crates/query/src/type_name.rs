//! From the name of a type, as a statement writes it, to the type: user-defined types are looked up in the
//! keyspace that the statement is about.

use crate::ast::{Name, TypeName, TypeNameKind};
use crate::source::{Position, Source};
use crate::term::type_text;
use model::schema::Schema;
use model::{CqlType, RequestError};
use std::sync::Arc;

/// The package of Cassandra's classes of types.
const TYPE_PACKAGE: &str = "org.apache.cassandra.db.marshal.";

/// Those that CQL has a name for.
const TYPE_CLASSES: [(&str, CqlType); 20] = [
    ("AsciiType", CqlType::Ascii),
    ("BooleanType", CqlType::Boolean),
    ("ByteType", CqlType::TinyInt),
    ("BytesType", CqlType::Blob),
    ("CounterColumnType", CqlType::Counter),
    ("DecimalType", CqlType::Decimal),
    ("DoubleType", CqlType::Double),
    ("DurationType", CqlType::Duration),
    ("FloatType", CqlType::Float),
    ("InetAddressType", CqlType::Inet),
    ("Int32Type", CqlType::Int),
    ("IntegerType", CqlType::VarInt),
    ("LongType", CqlType::BigInt),
    ("ShortType", CqlType::SmallInt),
    ("SimpleDateType", CqlType::Date),
    ("TimeType", CqlType::Time),
    ("TimeUUIDType", CqlType::TimeUuid),
    ("TimestampType", CqlType::Timestamp),
    ("UTF8Type", CqlType::Text),
    ("UUIDType", CqlType::Uuid),
];

/// Those without parameters that it has none for.
const OTHER_CLASSES: [&str; 4] = ["DateType", "DynamicCompositeType", "EmptyType", "LexicalUUIDType"];

/// Where the names of types are looked up.
#[derive(Clone, Copy)]
pub(crate) struct Types<'a> {
    pub(crate) source: Source<'a>,
    pub(crate) schema: &'a Schema,
    /// The only keyspace whose user-defined types can be named.
    pub(crate) keyspace: &'a str,
}

impl Types<'_> {
    /// The type that `name` names, which may be that of a column or a value.
    ///
    /// # Errors
    /// `Invalid`, in Cassandra's words where it has some, when there is no such type or it may not be nested
    /// like this.
    pub(crate) fn resolve(&self, name: &TypeName) -> Result<CqlType, RequestError> {
        let cql_type = self.inner(name, false)?;
        cql_type.check().map_err(|error| self.source.place(name.at, error))?;
        Ok(cql_type)
    }

    /// The type, within one that is frozen or not: what is in a frozen type is frozen too.
    fn inner(&self, name: &TypeName, within_frozen: bool) -> Result<CqlType, RequestError> {
        if !within_frozen {
            self.check_frozen(name)?;
        }
        Ok(match &name.kind {
            TypeNameKind::Native(native) => native.clone(),
            TypeNameKind::List(element) => {
                CqlType::List { element: Arc::new(self.inner(element, within_frozen)?), frozen: false }
            }
            TypeNameKind::Set(element) => {
                CqlType::Set { element: Arc::new(self.inner(element, within_frozen)?), frozen: false }
            }
            TypeNameKind::Map(entry) => {
                let entry = Arc::new((self.inner(&entry.0, within_frozen)?, self.inner(&entry.1, within_frozen)?));
                CqlType::Map { entry, frozen: false }
            }
            TypeNameKind::Tuple(types) => {
                let types = types.iter().map(|inner| self.inner(inner, true)).collect::<Result<_, _>>()?;
                // Tuples are always frozen, and so is what is in them.
                CqlType::Tuple(Arc::new(types)).freeze()
            }
            TypeNameKind::Vector { element, dimensions } => {
                CqlType::Vector { element: Arc::new(self.inner(element, true)?), dimensions: *dimensions }.freeze()
            }
            TypeNameKind::Frozen(inner) => {
                let inner = self.inner(inner, true)?;
                if !has_parts(&inner) {
                    let message = format!(
                        "frozen<> is only allowed on collections, tuples, and user-defined types (got {inner})"
                    );
                    return Err(self.source.syntax(name.at, message));
                }
                inner.freeze()
            }
            TypeNameKind::UserDefined { keyspace, name: named } => {
                self.user_defined(keyspace.as_ref(), named, name.at)?
            }
            TypeNameKind::Custom(class) => {
                return self.of_class(class, name.at);
            }
        })
    }

    /// Refuses a user-defined type that is not frozen in a collection: as in Cassandra whether it exists is asked
    /// later.
    fn check_frozen(&self, name: &TypeName) -> Result<(), RequestError> {
        let is_user_defined = |inner: &TypeName| matches!(inner.kind, TypeNameKind::UserDefined { .. });
        let holds = match &name.kind {
            TypeNameKind::List(element) | TypeNameKind::Set(element) => is_user_defined(element),
            TypeNameKind::Map(entry) => is_user_defined(&entry.0) || is_user_defined(&entry.1),
            _ => false,
        };
        if !holds {
            return Ok(());
        }
        let message = format!("Non-frozen UDTs are not allowed inside collections: {}", type_text(name));
        Err(self.source.invalid(name.at, message))
    }

    /// The type that Cassandra's class of this name is, if it is one that CQL has a name for.
    fn of_class(&self, class: &str, at: Position) -> Result<CqlType, RequestError> {
        let short = class.strip_prefix(TYPE_PACKAGE).unwrap_or(class);
        if let Some((_, cql_type)) = TYPE_CLASSES.iter().find(|(name, _)| *name == short) {
            return Ok(cql_type.clone());
        }
        let shown = crate::source::shortened(class);
        if OTHER_CLASSES.contains(&short) || short.contains('(') {
            return Err(self.source.unsupported(at, &format!("custom type '{shown}' is")));
        }
        let message = format!("Error setting type {shown}: Unable to find abstract-type class '{shown}'");
        Err(self.source.syntax(at, message))
    }

    fn user_defined(&self, keyspace: Option<&Name>, name: &Name, at: Position) -> Result<CqlType, RequestError> {
        if let Some(other) = keyspace
            && other.text != self.keyspace
        {
            let message = format!(
                "Statement on keyspace {} cannot refer to a user type in keyspace {}; user types can only be used in \
                 the keyspace they are defined in",
                self.keyspace, other.text
            );
            return Err(self.source.invalid(at, message));
        }
        let found = self.schema.keyspace(self.keyspace).and_then(|keyspace| keyspace.types.get(&name.text));
        match found {
            Some(definition) => Ok(CqlType::user_defined(definition, false)),
            None => Err(self.source.invalid(at, format!("Unknown type {}.{}", self.keyspace, name.text))),
        }
    }
}

/// True for types that are made of others.
fn has_parts(cql_type: &CqlType) -> bool {
    matches!(
        cql_type,
        CqlType::List { .. }
            | CqlType::Set { .. }
            | CqlType::Map { .. }
            | CqlType::Tuple(_)
            | CqlType::Vector { .. }
            | CqlType::UserDefined { .. }
    )
}
