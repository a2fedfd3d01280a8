//! Messages of every kind, drawn at random, for the tests of this crate.

use crate::envelope::Extras;
use crate::event::{ChangeType, Event, EventType, SchemaChange, SchemaTarget, StatusChange, TopologyChange};
use crate::failure::{ErrorResponse, Failure, Failures, Replies, WriteType};
use crate::parameters::{BoundValue, QueryParameters, Values};
use crate::request::{
    Batch, BatchKind, BatchStatement, Execute, Message, Prepare, Query, Request, Startup, StatementText,
};
use crate::response::{Answer, EVENT_STREAM, QueryResult, Response};
use crate::rows::{ColumnSpec, Columns, Prepared, Rows, RowsMetadata};
use crate::version::Version;
use bytes::Bytes;
use model::types::UserType;
use model::{Consistency, CqlType};
use proptest::prelude::*;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

fn list(element: CqlType) -> CqlType {
    CqlType::List { element: Arc::new(element), frozen: false }
}

/// Any type of a column.
pub(crate) fn cql_type() -> impl Strategy<Value = CqlType> {
    let scalar = prop::sample::select(CqlType::SCALARS.to_vec());
    let nested = scalar.prop_recursive(3, 8, 3, |inner| {
        let frozen = inner.prop_map(|inner| inner.freeze());
        let ordered = frozen.clone().prop_map(|inner| if inner.is_ordered() { inner } else { CqlType::Int });
        let several = prop::collection::vec(frozen.clone(), 1..4);
        let user_defined = |types: Vec<CqlType>| {
            let fields = ["a", "B c", "\u{fc}"].into_iter().map(str::to_owned).zip(types).collect();
            let definition = Arc::new(UserType { keyspace: "ks".to_owned(), name: "My type".to_owned(), fields });
            CqlType::UserDefined { definition, frozen: false }
        };
        prop_oneof![
            frozen.clone().prop_map(list),
            ordered.clone().prop_map(|element| CqlType::Set { element: Arc::new(element), frozen: false }),
            (ordered, frozen.clone()).prop_map(|entry| CqlType::Map { entry: Arc::new(entry), frozen: false }),
            several.clone().prop_map(|types| CqlType::Tuple(Arc::new(types))),
            several.prop_map(user_defined),
            (frozen, 1u32..4)
                .prop_map(|(element, dimensions)| CqlType::Vector { element: Arc::new(element), dimensions }),
        ]
    });
    prop_oneof![9 => nested, 1 => Just(CqlType::Counter)]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![9 => "[a-z\u{fc}\u{20ac}]{0,8}", 1 => "[ -~]{100,300}"]
}

fn bytes() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        9 => prop::collection::vec(any::<u8>(), 0..20),
        1 => prop::collection::vec(0u8..2, 100..400),
    ]
    .prop_map(Bytes::from)
}

fn optional_bytes() -> impl Strategy<Value = Option<Bytes>> {
    prop::option::of(bytes())
}

fn level() -> impl Strategy<Value = Consistency> {
    prop::sample::select(&Consistency::ALL_LEVELS[..])
}

fn serial() -> impl Strategy<Value = Consistency> {
    prop::sample::select(vec![Consistency::Serial, Consistency::LocalSerial])
}

fn bound() -> impl Strategy<Value = BoundValue> {
    prop_oneof![bytes().prop_map(BoundValue::Value), Just(BoundValue::Null), Just(BoundValue::Unset)]
}

fn positional() -> impl Strategy<Value = Values> {
    prop::collection::vec(bound(), 0..4).prop_map(Values::Positional)
}

fn values() -> impl Strategy<Value = Values> {
    prop_oneof![positional(), prop::collection::vec((text(), bound()), 0..4).prop_map(Values::Named)]
}

fn parameters() -> impl Strategy<Value = QueryParameters> {
    let first = (level(), values(), any::<bool>(), any::<Option<i32>>(), optional_bytes());
    let timestamp = prop::option::of(-9i64..i64::MAX);
    let second = (prop::option::of(serial()), timestamp, prop::option::of(text()), any::<Option<i32>>());
    (first, second).prop_map(|(first, second)| {
        let (consistency, values, skip_metadata, page_size, paging_state) = first;
        let (serial_consistency, timestamp, keyspace, now_in_seconds) = second;
        QueryParameters {
            consistency,
            values,
            skip_metadata,
            page_size,
            paging_state,
            serial_consistency,
            timestamp,
            keyspace,
            now_in_seconds,
        }
    })
}

fn batch() -> impl Strategy<Value = Batch> {
    let kind = prop::sample::select(vec![BatchKind::Logged, BatchKind::Unlogged, BatchKind::Counter]);
    let statement = prop_oneof![text().prop_map(StatementText::Text), bytes().prop_map(StatementText::Prepared)];
    let statement = (statement, positional()).prop_map(|(statement, values)| BatchStatement { statement, values });
    (kind, prop::collection::vec(statement, 0..4), parameters()).prop_map(|(kind, statements, parameters)| {
        let (values, skip_metadata, page_size, paging_state) = (Values::default(), false, None, None);
        let parameters = QueryParameters { values, skip_metadata, page_size, paging_state, ..parameters };
        Batch { kind, statements, parameters }
    })
}

fn request() -> impl Strategy<Value = Request> {
    let options = prop::collection::btree_map(text(), text(), 0..4);
    prop_oneof![
        options.prop_map(|options| Request::Startup(Startup { options })),
        Just(Request::Options),
        optional_bytes().prop_map(Request::AuthResponse),
        (text(), parameters()).prop_map(|(text, parameters)| Request::Query(Query { text, parameters })),
        (text(), prop::option::of(text())).prop_map(|(text, keyspace)| Request::Prepare(Prepare { text, keyspace })),
        (bytes(), bytes(), parameters()).prop_map(|(id, metadata, parameters)| {
            Request::Execute(Execute { id, result_metadata_id: Some(metadata), parameters })
        }),
        batch().prop_map(Request::Batch),
        prop::collection::vec(prop::sample::select(&EventType::ALL[..]), 0..4).prop_map(Request::Register),
    ]
}

/// Any request.
pub(crate) fn message() -> impl Strategy<Value = Message> {
    let payload = prop::collection::btree_map(text(), optional_bytes(), 0..3);
    (0i16..i16::MAX, any::<bool>(), payload, request()).prop_map(|(stream, tracing, custom_payload, request)| Message {
        stream,
        tracing,
        custom_payload,
        request,
    })
}

impl Message {
    /// The message without what the version does not have.
    pub(crate) fn in_version(mut self, version: Version) -> Message {
        if version >= Version::V5 {
            return self;
        }
        match &mut self.request {
            Request::Query(Query { parameters, .. })
            | Request::Execute(Execute { parameters, .. })
            | Request::Batch(Batch { parameters, .. }) => {
                (parameters.keyspace, parameters.now_in_seconds) = (None, None);
            }
            Request::Prepare(prepare) => prepare.keyspace = None,
            _ => {}
        }
        if let Request::Execute(execute) = &mut self.request {
            execute.result_metadata_id = None;
        }
        self
    }
}

fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![any::<[u8; 4]>().prop_map(IpAddr::from), any::<[u8; 16]>().prop_map(IpAddr::from)]
}

fn schema_change() -> impl Strategy<Value = SchemaChange> {
    let change = prop::sample::select(vec![ChangeType::Created, ChangeType::Updated, ChangeType::Dropped]);
    let signature = || (text(), prop::collection::vec(text(), 0..3));
    let target = prop_oneof![
        Just(SchemaTarget::Keyspace),
        text().prop_map(SchemaTarget::Table),
        text().prop_map(SchemaTarget::Type),
        signature().prop_map(|(name, arguments)| SchemaTarget::Function { name, arguments }),
        signature().prop_map(|(name, arguments)| SchemaTarget::Aggregate { name, arguments }),
    ];
    (change, text(), target).prop_map(|(change, keyspace, target)| SchemaChange { change, keyspace, target })
}

fn event() -> impl Strategy<Value = Event> {
    let socket = || (address(), any::<u16>()).prop_map(|(address, port)| SocketAddr::new(address, port));
    let topology = prop::sample::select(vec![TopologyChange::NewNode, TopologyChange::RemovedNode]);
    let status = prop::sample::select(vec![StatusChange::Up, StatusChange::Down]);
    prop_oneof![
        (topology, socket()).prop_map(|(change, address)| Event::Topology(change, address)),
        (status, socket()).prop_map(|(change, address)| Event::Status(change, address)),
        schema_change().prop_map(Event::Schema),
    ]
}

fn replies() -> impl Strategy<Value = Replies> {
    (level(), any::<i32>(), any::<i32>()).prop_map(|(consistency, received, required)| Replies {
        consistency,
        received,
        required,
    })
}

fn failures() -> impl Strategy<Value = Failures> {
    let reasons = prop::collection::vec((address(), any::<u16>()), 0..3);
    reasons.prop_map(|reasons| Failures { count: reasons.len() as i32, reasons })
}

fn failure() -> impl Strategy<Value = Failure> {
    let write_type = || {
        prop::sample::select(vec![
            WriteType::Simple,
            WriteType::Batch,
            WriteType::UnloggedBatch,
            WriteType::Counter,
            WriteType::BatchLog,
            WriteType::Cas,
            WriteType::View,
            WriteType::Cdc,
        ])
    };
    let plain = prop::sample::select(vec![
        Failure::Server,
        Failure::Protocol,
        Failure::BadCredentials,
        Failure::Overloaded,
        Failure::IsBootstrapping,
        Failure::Truncate,
        Failure::CdcWriteFailure,
        Failure::Syntax,
        Failure::Unauthorized,
        Failure::Invalid,
        Failure::Configuration,
    ]);
    prop_oneof![
        plain,
        (level(), any::<i32>(), any::<i32>()).prop_map(|(consistency, required, alive)| Failure::Unavailable {
            consistency,
            required,
            alive
        }),
        (replies(), write_type(), any::<u16>()).prop_map(|(replies, write_type, contentions)| {
            let contentions = (write_type == WriteType::Cas).then_some(contentions);
            Failure::WriteTimeout { replies, write_type, contentions }
        }),
        (replies(), any::<bool>()).prop_map(|(replies, data_present)| Failure::ReadTimeout { replies, data_present }),
        (replies(), failures(), any::<bool>()).prop_map(|(replies, failures, data_present)| Failure::ReadFailure {
            replies,
            failures,
            data_present
        }),
        (text(), text(), prop::collection::vec(text(), 0..3))
            .prop_map(|(keyspace, function, arguments)| { Failure::FunctionFailure { keyspace, function, arguments } }),
        (replies(), failures(), write_type()).prop_map(|(replies, failures, write_type)| Failure::WriteFailure {
            replies,
            failures,
            write_type
        }),
        replies().prop_map(|replies| Failure::CasWriteUnknown { replies }),
        (text(), text()).prop_map(|(keyspace, table)| Failure::AlreadyExists { keyspace, table }),
        bytes().prop_map(|id| Failure::Unprepared { id }),
    ]
}

fn column_specs() -> impl Strategy<Value = Arc<Vec<ColumnSpec>>> {
    let table = prop_oneof![3 => Just("t".to_owned()), 1 => text()];
    let column = (table, text(), cql_type()).prop_map(|(table, name, cql_type)| ColumnSpec {
        keyspace: "k".into(),
        table: table.into(),
        name,
        cql_type: cql_type.freeze(),
    });
    prop::collection::vec(column, 0..4).prop_map(Arc::new)
}

fn metadata() -> impl Strategy<Value = RowsMetadata> {
    let columns = prop_oneof![(0usize..4).prop_map(Columns::Omitted), column_specs().prop_map(Columns::Sent)];
    (columns, optional_bytes(), optional_bytes()).prop_map(|(columns, paging_state, new_metadata_id)| RowsMetadata {
        columns,
        paging_state,
        new_metadata_id,
    })
}

fn rows() -> impl Strategy<Value = Rows> {
    metadata().prop_flat_map(|metadata| {
        let columns = match &metadata.columns {
            Columns::Omitted(count) => *count,
            Columns::Sent(columns) => columns.len(),
        };
        let row = prop::collection::vec(optional_bytes(), columns);
        let count = if columns == 0 { 0..1 } else { 0..4 };
        (Just(metadata), prop::collection::vec(row, count)).prop_map(|(metadata, rows)| Rows { metadata, rows })
    })
}

fn prepared() -> impl Strategy<Value = Prepared> {
    (bytes(), bytes(), column_specs(), prop::collection::vec(any::<u16>(), 0..3), metadata()).prop_map(
        |(id, metadata_id, parameters, partition_key_indexes, result)| Prepared {
            id,
            result_metadata_id: Some(metadata_id),
            parameters,
            partition_key_indexes,
            result,
        },
    )
}

fn response() -> impl Strategy<Value = Response> {
    let result = prop_oneof![
        1 => Just(QueryResult::Void),
        4 => rows().prop_map(QueryResult::Rows),
        1 => text().prop_map(QueryResult::SetKeyspace),
        4 => prepared().prop_map(QueryResult::Prepared),
        2 => schema_change().prop_map(QueryResult::SchemaChange),
    ];
    let supported = prop::collection::btree_map(text(), prop::collection::vec(text(), 0..3), 0..3);
    prop_oneof![
        4 => (text(), failure())
            .prop_map(|(message, failure)| Response::Error(ErrorResponse { message, failure })),
        1 => Just(Response::Ready),
        1 => text().prop_map(Response::Authenticate),
        1 => supported.prop_map(Response::Supported),
        6 => result.prop_map(Response::Result),
        2 => event().prop_map(Response::Event),
        1 => optional_bytes().prop_map(Response::AuthChallenge),
        1 => optional_bytes().prop_map(Response::AuthSuccess),
    ]
}

/// Any answer.
pub(crate) fn answer() -> impl Strategy<Value = Answer> {
    let payload = prop::collection::btree_map(text(), optional_bytes(), 0..3);
    let extras = (any::<Option<u128>>(), prop::collection::vec(text(), 0..3), payload);
    let extras =
        extras.prop_map(|(tracing_id, warnings, custom_payload)| Extras { tracing_id, warnings, custom_payload });
    (EVENT_STREAM..i16::MAX, extras, response()).prop_map(|(stream, extras, response)| Answer {
        stream,
        extras,
        response,
    })
}

impl Answer {
    /// The answer without what the version does not have, and with what it cannot do without.
    pub(crate) fn in_version(mut self, version: Version) -> Answer {
        if version >= Version::V5 {
            return self;
        }
        match &mut self.response {
            Response::Result(QueryResult::Rows(rows)) => rows.metadata.new_metadata_id = None,
            Response::Result(QueryResult::Prepared(prepared)) => {
                prepared.result_metadata_id = None;
                prepared.result.new_metadata_id = None;
            }
            Response::Error(ErrorResponse { failure, .. }) => match failure {
                Failure::ReadFailure { failures, .. } | Failure::WriteFailure { failures, .. } => {
                    failures.reasons.clear();
                }
                Failure::WriteTimeout { contentions, .. } => *contentions = None,
                Failure::CasWriteUnknown { .. } | Failure::CdcWriteFailure => *failure = Failure::Server,
                _ => {}
            },
            _ => {}
        }
        self
    }
}
