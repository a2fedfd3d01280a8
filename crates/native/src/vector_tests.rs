//! Bytes written by others: requests as the DataStax driver for Python 3.30.1 encodes them, and answers written by
//! hand from the specification.

use crate::compression::Compression;
use crate::envelope::Extras;
use crate::event::{ChangeType, EventType, SchemaChange, SchemaTarget};
use crate::failure::{ErrorResponse, Failure, Replies, WriteType};
use crate::inbound::Inbound;
use crate::outbound::Outbound;
use crate::parameters::{BoundValue, QueryParameters, Values};
use crate::request::{
    Batch, BatchKind, BatchStatement, Execute, Message, Prepare, Query, Request, Startup, StatementText,
};
use crate::response::{Answer, QueryResult, Response};
use crate::rows::{ColumnSpec, Columns, Prepared, Rows, RowsMetadata};
use crate::version::Version;
use bytes::Bytes;
use model::{Consistency, CqlType};
use std::sync::Arc;

fn of_hexadecimal(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

fn message(request: Request) -> Message {
    Message { stream: 7, tracing: false, custom_payload: Default::default(), request }
}

/// The bytes are this message, and this message is the bytes.
fn check(version: Version, text: &str, expected: &Message) {
    let bytes = of_hexadecimal(text);
    let mut inbound = Inbound::new(1 << 20);
    inbound.buffer().extend_from_slice(&bytes);
    let envelope = inbound.next_envelope().unwrap().expect("the vector is whole");
    assert_eq!(Message::decode(&envelope).as_ref(), Ok(expected));
    let mut out = Vec::new();
    expected.encode(&mut out, version).unwrap();
    assert_eq!(out, bytes, "{expected:?}");
}

#[test]
fn requests_that_begin_a_connection() {
    let options = [("COMPRESSION", "lz4"), ("CQL_VERSION", "3.4.7")];
    let options = options.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    let startup = message(Request::Startup(Startup { options }));
    let body = "0002000b434f4d5052455353494f4e00036c7a34000b43514c5f56455253494f4e0005332e342e37";
    check(Version::V4, &format!("040000070100000028{body}"), &startup);
    check(Version::V5, &format!("050000070100000028{body}"), &startup);
    check(Version::V4, "040000070500000000", &message(Request::Options));
    let register = message(Request::Register(vec![EventType::StatusChange, EventType::SchemaChange]));
    let body = "0002000d5354415455535f4348414e4745000d534348454d415f4348414e4745";
    check(Version::V4, &format!("040000070b00000020{body}"), &register);
    let token = message(Request::AuthResponse(Some(Bytes::from_static(b"\0user\0password"))));
    check(Version::V5, "050000070f000000120000000e00757365720070617373776f7264", &token);
}

#[test]
fn statements_as_text() {
    let mut query =
        Query { text: "SELECT * FROM t".to_owned(), parameters: QueryParameters::at(Consistency::LocalOne) };
    query.parameters.page_size = Some(5_000);
    query.parameters.paging_state = Some(Bytes::from_static(&[1, 2]));
    query.parameters.serial_consistency = Some(Consistency::Serial);
    query.parameters.timestamp = Some(1_234_567_890_123_456);
    let mut traced = message(Request::Query(query.clone()));
    traced.tracing = true;
    traced.custom_payload.insert("a".to_owned(), Some(Bytes::from_static(b"bc")));
    let v4 = "04060007070000003500010001610000000262630000000f53454c454354202a2046524f4d2074\
              000a3c000013880000000201020008000462d53c8abac0";
    check(Version::V4, v4, &traced);
    query.parameters.keyspace = Some("ks".to_owned());
    traced.request = Request::Query(query);
    let v5 = "05060007070000003c00010001610000000262630000000f53454c454354202a2046524f4d2074\
              000a000000bc000013880000000201020008000462d53c8abac000026b73";
    check(Version::V5, v5, &traced);
}

#[test]
fn prepared_statements() {
    let mut prepare = Prepare { text: "SELECT a".to_owned(), keyspace: None };
    check(Version::V4, "04000007090000000c0000000853454c4543542061", &message(Request::Prepare(prepare.clone())));
    prepare.keyspace = Some("ks".to_owned());
    let v5 = "0500000709000000140000000853454c45435420610000000100026b73";
    check(Version::V5, v5, &message(Request::Prepare(prepare)));
    let value = |bytes: &'static [u8]| BoundValue::Value(Bytes::from_static(bytes));
    let values = vec![value(&[0, 0, 0, 1]), BoundValue::Null, BoundValue::Unset, value(b"")];
    let mut parameters = QueryParameters::at(Consistency::Quorum);
    parameters.values = Values::Positional(values);
    (parameters.page_size, parameters.timestamp) = (Some(100), Some(5));
    let mut execute = Execute { id: Bytes::from_static(&[0xaa, 0xbb]), result_metadata_id: None, parameters };
    let v4 = "040000070a000000290002aabb00042500040000000400000001fffffffffffffffe00000000\
              000000640000000000000005";
    check(Version::V4, v4, &message(Request::Execute(execute.clone())));
    execute.result_metadata_id = Some(Bytes::from_static(&[0xcc]));
    let v5 = "050000070a0000002f0002aabb0001cc00040000002500040000000400000001fffffffffffffffe00000000\
              000000640000000000000005";
    check(Version::V5, v5, &message(Request::Execute(execute)));
}

#[test]
fn batches() {
    let positional = |values: Vec<BoundValue>| Values::Positional(values);
    let first = BatchStatement {
        statement: StatementText::Text("INSERT 1".to_owned()),
        values: positional(vec![BoundValue::Value(Bytes::from_static(b"x"))]),
    };
    let second = BatchStatement {
        statement: StatementText::Prepared(Bytes::from_static(&[0xaa, 0xbb])),
        values: positional(Vec::new()),
    };
    let mut parameters = QueryParameters::at(Consistency::One);
    parameters.timestamp = Some(9);
    let mut batch = Batch { kind: BatchKind::Unlogged, statements: vec![first, second], parameters };
    let v4 = "040000070d000000290100020000000008494e5345525420310001000000017801\
              0002aabb00000001200000000000000009";
    check(Version::V4, v4, &message(Request::Batch(batch.clone())));
    batch.parameters.keyspace = Some("ks".to_owned());
    let v5 = "050000070d000000300100020000000008494e5345525420310001000000017801\
              0002aabb00000001000000a0000000000000000900026b73";
    check(Version::V5, v5, &message(Request::Batch(batch)));
}

#[test]
fn segments_and_compressed_bodies() {
    let options = "050000070500000000";
    let text = format!("SELECT {}", "a".repeat(200));
    let query = Request::Query(Query { text, parameters: QueryParameters::at(Consistency::One) });
    let long = "2100c40104c8029dff060500000707000000d9000000cf53454c45435420610100b46000010000\
                0000de87bd01";
    for (compression, segment, expected) in [
        (None, "090002a4c8c1050000070500000000a8b62d50", Request::Options),
        (Some(Compression::Lz4), "0900000004c2b895050000070500000000a8b62d50", Request::Options),
        (Some(Compression::Lz4), long, query.clone()),
    ] {
        let mut inbound = Inbound::new(1 << 20);
        inbound.buffer().extend_from_slice(&of_hexadecimal(options));
        assert!(inbound.next_envelope().unwrap().is_some());
        inbound.start(compression);
        inbound.buffer().extend_from_slice(&of_hexadecimal(segment));
        let envelope = inbound.next_envelope().unwrap().unwrap();
        assert_eq!(Message::decode(&envelope), Ok(message(expected.clone())));
        // Two compressors need not agree on the bytes of a block.
        if expected == Request::Options {
            let mut outbound = Outbound::new(Version::V5);
            outbound.start(compression);
            outbound.push_message(&message(expected)).unwrap();
            assert_eq!(outbound.take(), of_hexadecimal(segment));
        }
    }
    let v4 = "04010003070000001a000000d6cf000000cf53454c45435420610100b2506161000100";
    let mut inbound = Inbound::new(1 << 20);
    inbound.start(Some(Compression::Lz4));
    inbound.buffer().extend_from_slice(&of_hexadecimal(v4));
    let decoded = Message::decode(&inbound.next_envelope().unwrap().unwrap()).unwrap();
    assert_eq!((decoded.stream, decoded.request), (3, query));
}

/// The answer is these bytes, and these bytes are the answer.
fn check_answer(version: Version, text: &str, expected: &Answer) {
    let bytes = of_hexadecimal(text);
    let mut out = Vec::new();
    expected.encode(&mut out, version).unwrap();
    assert_eq!(out, bytes, "{expected:?}");
    let mut inbound = Inbound::new(1 << 20);
    inbound.buffer().extend_from_slice(&bytes);
    let envelope = inbound.next_envelope().unwrap().expect("the vector is whole");
    assert_eq!(Answer::decode(&envelope).as_ref(), Ok(expected));
}

fn column(name: &str, cql_type: CqlType) -> ColumnSpec {
    ColumnSpec { keyspace: "k".into(), table: "t".into(), name: name.to_owned(), cql_type }
}

fn result(result: QueryResult) -> Answer {
    Answer::new(7, Response::Result(result))
}

#[test]
fn rows_with_and_without_their_metadata() {
    let columns = Columns::Sent(Arc::new(vec![column("a", CqlType::Int), column("b", CqlType::Text)]));
    let mut metadata = RowsMetadata { columns, paging_state: None, new_metadata_id: None };
    let row = vec![Some(Bytes::from_static(&[0, 0, 0, 9])), None];
    let rows = |metadata: &RowsMetadata| {
        result(QueryResult::Rows(Rows { metadata: metadata.clone(), rows: vec![row.clone()] }))
    };
    let content = "00000001 00000004 00000009 ffffffff";
    let specs = "0001 6b 0001 74  0001 61 0009  0001 62 000d";
    check_answer(
        Version::V4,
        &format!("84 00 0007 08 0000002c  00000002 00000001 00000002 {specs} {content}"),
        &rows(&metadata),
    );
    metadata.new_metadata_id = Some(Bytes::from_static(b"id"));
    metadata.paging_state = Some(Bytes::from_static(b"p"));
    check_answer(
        Version::V5,
        &format!("85 00 0007 08 00000035  00000002 0000000b 00000002 00000001 70 0002 6964 {specs} {content}"),
        &rows(&metadata),
    );
    metadata = RowsMetadata { columns: Columns::Omitted(2), paging_state: None, new_metadata_id: None };
    check_answer(
        Version::V4,
        &format!("84 00 0007 08 0000001c  00000002 00000004 00000002 {content}"),
        &rows(&metadata),
    );
}

#[test]
fn the_other_results() {
    check_answer(Version::V4, "84 00 0007 08 00000004 00000001", &result(QueryResult::Void));
    let set = result(QueryResult::SetKeyspace("k".to_owned()));
    check_answer(Version::V5, "85 00 0007 08 00000007 00000003 0001 6b", &set);
    let prepared = Prepared {
        id: Bytes::from_static(b"i"),
        result_metadata_id: None,
        parameters: Arc::new(vec![column("a", CqlType::Int)]),
        partition_key_indexes: vec![0],
        result: RowsMetadata::none(),
    };
    let parameters = "00000001 00000001 00000001 0000  0001 6b 0001 74  0001 61 0009";
    let none = "00000004 00000000";
    check_answer(
        Version::V4,
        &format!("84 00 0007 08 00000028  00000004 0001 69 {parameters} {none}"),
        &result(QueryResult::Prepared(prepared.clone())),
    );
    let prepared = Prepared { result_metadata_id: Some(Bytes::from_static(b"m")), ..prepared };
    check_answer(
        Version::V5,
        &format!("85 00 0007 08 0000002b  00000004 0001 69 0001 6d {parameters} {none}"),
        &result(QueryResult::Prepared(prepared)),
    );
    let change = SchemaChange {
        change: ChangeType::Created,
        keyspace: "k".to_owned(),
        target: SchemaTarget::Table("t".to_owned()),
    };
    let text = "84 00 0007 08 0000001a 00000005 0007 43524541544544 0005 5441424c45 0001 6b 0001 74";
    check_answer(Version::V4, text, &result(QueryResult::SchemaChange(change)));
}

#[test]
fn errors_and_what_comes_along() {
    let error = |failure| Answer::new(7, Response::Error(ErrorResponse { message: "m".to_owned(), failure }));
    let replies = Replies { consistency: Consistency::Quorum, received: 1, required: 2 };
    let timeout = error(Failure::WriteTimeout { replies, write_type: WriteType::Simple, contentions: None });
    let text = "84 00 0007 00 00000019  00001100 0001 6d  0004 00000001 00000002 0006 53494d504c45";
    check_answer(Version::V4, text, &timeout);
    let unprepared = error(Failure::Unprepared { id: Bytes::from_static(&[0xaa, 0xbb]) });
    check_answer(Version::V5, "85 00 0007 00 0000000b  00002500 0001 6d  0002 aabb", &unprepared);
    let mut warned = Answer::new(7, Response::Ready);
    warned.extras = Extras { tracing_id: Some(1), warnings: vec!["w".to_owned()], ..Extras::default() };
    check_answer(Version::V4, "84 0a 0007 02 00000015 00000000000000000000000000000001 0001 0001 77", &warned);
}
