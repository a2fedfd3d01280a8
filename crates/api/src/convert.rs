//! Between the messages and the model: levels, types, columns, schema, values, identifiers.

use crate::InvalidMessage;
use crate::proto::client::v1 as proto;
use bytes::Bytes;
use model::schema::{ClusteringOrder, Column, ColumnKind, Replication, Table};
use model::types::UserType;
use model::{Consistency, CqlType, Token};
use prost::Message;
use std::sync::Arc;

impl From<Consistency> for proto::Consistency {
    fn from(level: Consistency) -> proto::Consistency {
        match level {
            Consistency::Any => proto::Consistency::Any,
            Consistency::One => proto::Consistency::One,
            Consistency::Two => proto::Consistency::Two,
            Consistency::Three => proto::Consistency::Three,
            Consistency::Quorum => proto::Consistency::Quorum,
            Consistency::All => proto::Consistency::All,
            Consistency::LocalQuorum => proto::Consistency::LocalQuorum,
            Consistency::EachQuorum => proto::Consistency::EachQuorum,
            Consistency::Serial => proto::Consistency::Serial,
            Consistency::LocalSerial => proto::Consistency::LocalSerial,
            Consistency::LocalOne => proto::Consistency::LocalOne,
        }
    }
}

/// The level of an enum's number on the wire.
///
/// # Errors
/// When it is unspecified or not known.
pub fn consistency_from_proto(number: i32) -> Result<Consistency, InvalidMessage> {
    match proto::Consistency::try_from(number) {
        Ok(proto::Consistency::One) => Ok(Consistency::One),
        Ok(proto::Consistency::Two) => Ok(Consistency::Two),
        Ok(proto::Consistency::Three) => Ok(Consistency::Three),
        Ok(proto::Consistency::Quorum) => Ok(Consistency::Quorum),
        Ok(proto::Consistency::All) => Ok(Consistency::All),
        Ok(proto::Consistency::LocalQuorum) => Ok(Consistency::LocalQuorum),
        Ok(proto::Consistency::EachQuorum) => Ok(Consistency::EachQuorum),
        Ok(proto::Consistency::Serial) => Ok(Consistency::Serial),
        Ok(proto::Consistency::LocalSerial) => Ok(Consistency::LocalSerial),
        Ok(proto::Consistency::LocalOne) => Ok(Consistency::LocalOne),
        Ok(proto::Consistency::Any) => Ok(Consistency::Any),
        Ok(proto::Consistency::Unspecified) => Err(InvalidMessage::missing("consistency")),
        Err(_) => Err(InvalidMessage::new("consistency", format!("{number} is not known"))),
    }
}

/// The level that a request asks for: the default one when it names none.
///
/// # Errors
/// When it is not known.
pub fn requested_consistency(number: i32) -> Result<Consistency, InvalidMessage> {
    if number == proto::Consistency::Unspecified as i32 {
        return Ok(Consistency::default());
    }
    consistency_from_proto(number)
}

/// Each scalar type with its number on the wire.
const SCALARS: [(CqlType, proto::Scalar); 20] = [
    (CqlType::Ascii, proto::Scalar::Ascii),
    (CqlType::BigInt, proto::Scalar::Bigint),
    (CqlType::Blob, proto::Scalar::Blob),
    (CqlType::Boolean, proto::Scalar::Boolean),
    (CqlType::Date, proto::Scalar::Date),
    (CqlType::Decimal, proto::Scalar::Decimal),
    (CqlType::Double, proto::Scalar::Double),
    (CqlType::Duration, proto::Scalar::Duration),
    (CqlType::Float, proto::Scalar::Float),
    (CqlType::Inet, proto::Scalar::Inet),
    (CqlType::Int, proto::Scalar::Int),
    (CqlType::SmallInt, proto::Scalar::Smallint),
    (CqlType::Text, proto::Scalar::Text),
    (CqlType::Time, proto::Scalar::Time),
    (CqlType::Timestamp, proto::Scalar::Timestamp),
    (CqlType::TimeUuid, proto::Scalar::Timeuuid),
    (CqlType::TinyInt, proto::Scalar::Tinyint),
    (CqlType::Uuid, proto::Scalar::Uuid),
    (CqlType::VarInt, proto::Scalar::Varint),
    (CqlType::Counter, proto::Scalar::Counter),
];

impl From<&CqlType> for proto::Type {
    fn from(cql_type: &CqlType) -> proto::Type {
        use proto::r#type::Kind;
        let boxed = |inner: &CqlType| Some(Box::new(proto::Type::from(inner)));
        let kind = match cql_type {
            CqlType::List { element, frozen } => {
                Kind::List(Box::new(proto::ListType { element: boxed(element), frozen: *frozen }))
            }
            CqlType::Set { element, frozen } => {
                Kind::Set(Box::new(proto::SetType { element: boxed(element), frozen: *frozen }))
            }
            CqlType::Map { entry, frozen } => {
                let (key, value) = (boxed(&entry.0), boxed(&entry.1));
                Kind::Map(Box::new(proto::MapType { key, value, frozen: *frozen }))
            }
            CqlType::Tuple(types) => {
                Kind::Tuple(proto::TupleType { fields: types.iter().map(proto::Type::from).collect() })
            }
            CqlType::UserDefined { definition, frozen } => Kind::UserDefined(proto::UserDefinedType {
                keyspace: definition.keyspace.clone(),
                name: definition.name.clone(),
                field_names: definition.fields.iter().map(|(name, _)| name.clone()).collect(),
                field_types: definition.types().map(proto::Type::from).collect(),
                frozen: *frozen,
            }),
            CqlType::Vector { element, dimensions } => {
                Kind::Vector(Box::new(proto::VectorType { element: boxed(element), dimensions: *dimensions }))
            }
            scalar => {
                let found = SCALARS.iter().find(|(other, _)| other == scalar);
                let (_, scalar) = found.expect("SCALARS lists every other type");
                Kind::Scalar((*scalar).into())
            }
        };
        proto::Type { kind: Some(kind) }
    }
}

impl TryFrom<&proto::Type> for CqlType {
    type Error = InvalidMessage;

    fn try_from(from: &proto::Type) -> Result<CqlType, InvalidMessage> {
        let cql_type = type_with_parts(from)?;
        cql_type.check().map_err(|error| InvalidMessage::new("Type", error.to_string()))?;
        Ok(cql_type)
    }
}

/// The type of a message, whose rules are for the caller to check. (It is nested no deeper than messages are.)
fn type_with_parts(from: &proto::Type) -> Result<CqlType, InvalidMessage> {
    use proto::r#type::Kind;
    let inner = |from: &Option<Box<proto::Type>>, field| {
        type_with_parts(from.as_deref().ok_or_else(|| InvalidMessage::missing(field))?)
    };
    let all = |from: &[proto::Type]| from.iter().map(type_with_parts).collect::<Result<Vec<_>, _>>();
    Ok(match from.kind.as_ref().ok_or_else(|| InvalidMessage::missing("Type.kind"))? {
        Kind::Scalar(number) => {
            let found = SCALARS.iter().find(|(_, scalar)| *scalar as i32 == *number);
            let unknown = || InvalidMessage::new("Type.scalar", format!("{number} is not known"));
            found.map(|(cql_type, _)| cql_type.clone()).ok_or_else(unknown)?
        }
        Kind::List(list) => {
            CqlType::List { element: Arc::new(inner(&list.element, "ListType.element")?), frozen: list.frozen }
        }
        Kind::Set(set) => {
            CqlType::Set { element: Arc::new(inner(&set.element, "SetType.element")?), frozen: set.frozen }
        }
        Kind::Map(map) => {
            let entry = (inner(&map.key, "MapType.key")?, inner(&map.value, "MapType.value")?);
            CqlType::Map { entry: Arc::new(entry), frozen: map.frozen }
        }
        Kind::Tuple(tuple) => CqlType::Tuple(Arc::new(all(&tuple.fields)?)),
        Kind::UserDefined(user) => {
            if user.field_names.len() != user.field_types.len() {
                return Err(InvalidMessage::new("UserDefinedType.field_types", "are not as many as field_names"));
            }
            let fields = user.field_names.iter().cloned().zip(all(&user.field_types)?).collect();
            let definition = UserType { keyspace: user.keyspace.clone(), name: user.name.clone(), fields };
            CqlType::UserDefined { definition: Arc::new(definition), frozen: user.frozen }
        }
        Kind::Vector(vector) => {
            let element = Arc::new(inner(&vector.element, "VectorType.element")?);
            CqlType::Vector { element, dimensions: vector.dimensions }
        }
    })
}

fn type_from_proto(from: Option<&proto::Type>, field: &'static str) -> Result<CqlType, InvalidMessage> {
    CqlType::try_from(from.ok_or_else(|| InvalidMessage::missing(field))?)
}

impl proto::ColumnSpec {
    /// A result column or bind marker; `keyspace` and `table` are empty when it belongs to none.
    pub fn new(keyspace: &str, table: &str, name: impl Into<String>, cql_type: &CqlType) -> proto::ColumnSpec {
        let (keyspace, table) = (keyspace.to_owned(), table.to_owned());
        proto::ColumnSpec { name: name.into(), r#type: Some(cql_type.into()), keyspace, table }
    }

    /// The type of its values.
    ///
    /// # Errors
    /// When there is none or it is not known.
    pub fn cql_type(&self) -> Result<CqlType, InvalidMessage> {
        type_from_proto(self.r#type.as_ref(), "ColumnSpec.type")
    }
}

/// Identifies a list of result columns for `result_metadata_id`: equal lists have equal ids on every node,
/// and different lists different ones but for the odds of a 64-bit hash.
#[must_use]
pub fn result_metadata_id(columns: &[proto::ColumnSpec]) -> Bytes {
    let columns = proto::Rows { columns: columns.to_vec(), ..proto::Rows::default() };
    Bytes::copy_from_slice(&Token::of(&columns.encode_to_vec()).0.to_be_bytes())
}

/// What a bind marker is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bound {
    /// A value in its CQL wire form.
    Value(Bytes),
    /// Null.
    Null,
    /// Nothing: a write leaves the cell as it is.
    Unset,
}

impl From<Bound> for proto::Value {
    fn from(bound: Bound) -> proto::Value {
        proto::Value {
            kind: Some(match bound {
                Bound::Value(bytes) => proto::value::Kind::Bytes(bytes),
                Bound::Null => proto::value::Kind::Null(proto::Null {}),
                Bound::Unset => proto::value::Kind::Unset(proto::Unset {}),
            }),
        }
    }
}

impl TryFrom<proto::Value> for Bound {
    type Error = InvalidMessage;

    fn try_from(value: proto::Value) -> Result<Bound, InvalidMessage> {
        match value.kind.ok_or_else(|| InvalidMessage::missing("Value.kind"))? {
            proto::value::Kind::Bytes(bytes) => Ok(Bound::Value(bytes)),
            proto::value::Kind::Null(_) => Ok(Bound::Null),
            proto::value::Kind::Unset(_) => Ok(Bound::Unset),
        }
    }
}

impl From<&Replication> for proto::Replication {
    fn from(replication: &Replication) -> proto::Replication {
        use proto::replication::Strategy;
        let strategy = match replication {
            Replication::Simple { factor } => Strategy::Simple(proto::SimpleStrategy { factor: *factor }),
            Replication::NetworkTopology { factors } => {
                Strategy::NetworkTopology(proto::NetworkTopologyStrategy { factors: factors.clone() })
            }
        };
        proto::Replication { strategy: Some(strategy) }
    }
}

impl TryFrom<&proto::Replication> for Replication {
    type Error = InvalidMessage;

    /// `LocalStrategy` is not a replication of user data and has no form in the model: it is refused.
    fn try_from(from: &proto::Replication) -> Result<Replication, InvalidMessage> {
        use proto::replication::Strategy;
        match &from.strategy {
            Some(Strategy::Simple(simple)) => Ok(Replication::Simple { factor: simple.factor }),
            Some(Strategy::NetworkTopology(network)) => {
                Ok(Replication::NetworkTopology { factors: network.factors.clone() })
            }
            Some(Strategy::Local(_)) => Err(InvalidMessage::new("Replication.strategy", "is local")),
            None => Err(InvalidMessage::missing("Replication.strategy")),
        }
    }
}

impl From<&Column> for proto::Column {
    fn from(column: &Column) -> proto::Column {
        use proto::column::{Kind, Order};
        let (kind, position, order) = match column.kind {
            ColumnKind::PartitionKey(position) => (Kind::PartitionKey, position, Order::Unspecified),
            ColumnKind::Clustering(position, ClusteringOrder::Ascending) => {
                (Kind::Clustering, position, Order::Ascending)
            }
            ColumnKind::Clustering(position, ClusteringOrder::Descending) => {
                (Kind::Clustering, position, Order::Descending)
            }
            ColumnKind::Static => (Kind::Static, 0, Order::Unspecified),
            ColumnKind::Regular => (Kind::Regular, 0, Order::Unspecified),
        };
        let (kind, order) = (kind.into(), order.into());
        proto::Column { name: column.name.clone(), kind, position, order, r#type: Some((&column.cql_type).into()) }
    }
}

impl proto::Column {
    /// What the column is for.
    ///
    /// # Errors
    /// When its kind, or the order of a clustering column, is not known.
    pub fn column_kind(&self) -> Result<ColumnKind, InvalidMessage> {
        use proto::column::{Kind, Order};
        match Kind::try_from(self.kind) {
            Ok(Kind::PartitionKey) => Ok(ColumnKind::PartitionKey(self.position)),
            Ok(Kind::Clustering) => match Order::try_from(self.order) {
                Ok(Order::Ascending) => Ok(ColumnKind::Clustering(self.position, ClusteringOrder::Ascending)),
                Ok(Order::Descending) => Ok(ColumnKind::Clustering(self.position, ClusteringOrder::Descending)),
                _ => Err(InvalidMessage::new("Column.order", format!("{} is not known", self.order))),
            },
            Ok(Kind::Static) => Ok(ColumnKind::Static),
            Ok(Kind::Regular) => Ok(ColumnKind::Regular),
            _ => Err(InvalidMessage::new("Column.kind", format!("{} is not known", self.kind))),
        }
    }

    /// The type of its values.
    ///
    /// # Errors
    /// When there is none or it is not known.
    pub fn cql_type(&self) -> Result<CqlType, InvalidMessage> {
        type_from_proto(self.r#type.as_ref(), "Column.type")
    }
}

impl proto::Table {
    /// The message for a table, with the statement that creates it.
    #[must_use]
    pub fn new(table: &Table, create_text: String) -> proto::Table {
        let columns = table.columns.iter().map(proto::Column::from).collect();
        proto::Table { id: table.id.to_string(), name: table.name.clone(), columns, create_text }
    }
}

/// The bits of a UUID in text.
///
/// # Errors
/// When it is none.
pub fn uuid_from_text(text: &str, field: &'static str) -> Result<u128, InvalidMessage> {
    model::id::parse_uuid(text).ok_or_else(|| InvalidMessage::new(field, "is not a UUID"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::id::ColumnId;
    use model::limits::NESTING_MAX;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[test]
    fn every_level_round_trips_and_none_means_the_default() {
        for level in Consistency::ALL_LEVELS {
            assert_eq!(consistency_from_proto(proto::Consistency::from(level).into()), Ok(level));
            assert_eq!(requested_consistency(proto::Consistency::from(level).into()), Ok(level));
        }
        assert_eq!(requested_consistency(0), Ok(Consistency::Quorum));
        assert!(consistency_from_proto(0).is_err());
        assert!(requested_consistency(77).is_err());
        assert!(requested_consistency(-1).is_err());
    }

    #[test]
    fn every_type_round_trips() {
        let list = |element, frozen| CqlType::List { element: Arc::new(element), frozen };
        let fields = vec![("a".to_owned(), CqlType::Int), ("B".to_owned(), list(CqlType::Text, true))];
        let definition = Arc::new(UserType { keyspace: "ks".to_owned(), name: "t".to_owned(), fields });
        let composites = [
            CqlType::Counter,
            list(CqlType::Int, false),
            CqlType::Set { element: Arc::new(list(CqlType::Int, true)), frozen: false },
            CqlType::Map { entry: Arc::new((CqlType::Text, list(CqlType::Int, true))), frozen: true },
            CqlType::Tuple(Arc::new(vec![CqlType::Int, CqlType::Duration])),
            CqlType::Vector { element: Arc::new(CqlType::Float), dimensions: 3 },
            CqlType::user_defined(&definition, false),
            CqlType::user_defined(&definition, true),
            (1..NESTING_MAX).fold(CqlType::Int, |inner, _| list(inner, true)),
        ];
        for cql_type in CqlType::SCALARS.into_iter().chain(composites) {
            let spec = proto::ColumnSpec::new("k", "t", "c", &cql_type);
            let table = proto::Table { columns: vec![column_of(&cql_type)], ..proto::Table::default() };
            let keyspace = proto::Keyspace { tables: vec![table], ..proto::Keyspace::default() };
            let message = proto::TopologyResponse { keyspaces: vec![keyspace], ..proto::TopologyResponse::default() };
            let decoded = proto::TopologyResponse::decode(message.encode_to_vec().as_slice()).unwrap();
            assert_eq!(decoded.keyspaces[0].tables[0].columns[0].cql_type(), Ok(cql_type.clone()));
            assert_eq!(spec.cql_type(), Ok(cql_type));
        }
        for number in [0, 21] {
            assert!(CqlType::try_from(&scalar_number(number)).is_err());
        }
        assert!(CqlType::try_from(&proto::Type { kind: None }).is_err());
        let bad = list(list(CqlType::Int, false), false);
        let error = CqlType::try_from(&proto::Type::from(&bad)).unwrap_err().to_string();
        assert!(error.contains("Non-frozen collections are not allowed inside collections"), "{error}");
        let user = proto::UserDefinedType { field_names: vec!["a".to_owned()], ..proto::UserDefinedType::default() };
        let kind = Some(proto::r#type::Kind::UserDefined(user));
        assert!(CqlType::try_from(&proto::Type { kind }).is_err());
    }

    fn scalar_number(number: i32) -> proto::Type {
        proto::Type { kind: Some(proto::r#type::Kind::Scalar(number)) }
    }

    fn column_of(cql_type: &CqlType) -> proto::Column {
        let (id, name) = (ColumnId(3), "c".to_owned());
        proto::Column::from(&Column { id, name, kind: ColumnKind::Regular, cql_type: cql_type.clone() })
    }

    #[test]
    fn a_table_says_what_each_column_is_for() {
        let kinds = [
            ColumnKind::PartitionKey(1),
            ColumnKind::Clustering(0, ClusteringOrder::Ascending),
            ColumnKind::Clustering(2, ClusteringOrder::Descending),
            ColumnKind::Static,
            ColumnKind::Regular,
        ];
        for kind in kinds {
            let column = Column { id: ColumnId(3), name: "c".to_owned(), kind, cql_type: CqlType::Inet };
            let message = proto::Column::from(&column);
            assert_eq!(message.column_kind(), Ok(kind));
            assert_eq!(message.cql_type(), Ok(CqlType::Inet));
        }
    }

    #[test]
    fn metadata_ids_differ_when_a_column_does() {
        let column = |name: &str, cql_type| proto::ColumnSpec::new("k", "t", name, &cql_type);
        let id = result_metadata_id(&[column("a", CqlType::Int), column("b", CqlType::Text)]);
        assert_eq!(id, result_metadata_id(&[column("a", CqlType::Int), column("b", CqlType::Text)]));
        assert_ne!(id, result_metadata_id(&[column("a", CqlType::Int), column("b", CqlType::Blob)]));
        assert_ne!(id, result_metadata_id(&[column("b", CqlType::Text), column("a", CqlType::Int)]));
    }

    #[test]
    fn the_descriptors_describe_both_services() {
        let text = String::from_utf8_lossy(crate::FILE_DESCRIPTOR_SET);
        for name in ["helenus.client.v1", "Helenus", "Admin", "ExecuteStream"] {
            assert!(text.contains(name), "{name}");
        }
    }

    proptest! {
        #[test]
        fn replication_round_trips(factor: u32, factors: BTreeMap<String, u32>) {
            for replication in [Replication::Simple { factor }, Replication::NetworkTopology { factors }] {
                let encoded = proto::Replication::from(&replication).encode_to_vec();
                let decoded = proto::Replication::decode(encoded.as_slice()).unwrap();
                prop_assert_eq!(Replication::try_from(&decoded), Ok(replication));
            }
        }

        #[test]
        fn values_round_trip(bytes: Vec<u8>) {
            for bound in [Bound::Value(Bytes::from(bytes)), Bound::Null, Bound::Unset] {
                let encoded = proto::Value::from(bound.clone()).encode_to_vec();
                let decoded = proto::Value::decode(encoded.as_slice()).unwrap();
                prop_assert_eq!(Bound::try_from(decoded), Ok(bound));
            }
        }

        #[test]
        fn any_bytes_decode_or_fail_without_panic(bytes: Vec<u8>, number: i32) {
            let message = Bytes::from(bytes);
            if let Ok(value) = proto::Value::decode(message.clone()) {
                let _ = Bound::try_from(value);
            }
            if let Ok(replication) = proto::Replication::decode(message.clone()) {
                let _ = Replication::try_from(&replication);
            }
            if let Ok(column) = proto::Column::decode(message.clone()) {
                let _ = (column.column_kind(), column.cql_type());
            }
            let _ = proto::ExecuteStreamRequest::decode(message.clone());
            let _ = proto::TopologyResponse::decode(message);
            let _ = (requested_consistency(number), CqlType::try_from(&scalar_number(number)));
        }
    }
}
