//! What the tests of this crate share: a schema made by the statements that they would be made by.

use crate::{Bound, BoundRead, BoundValue, BoundWrite, EvaluationContext, Prepared, SchemaRequest, prepare};
use bytes::Bytes;
use model::schema::{ClusteringOrder, Column, ColumnKind, Schema, SchemaChange, Table};
use model::{ColumnId, CqlType, RequestError, TableId, Value, WallMicros};
use std::sync::Arc;

/// The context of an execution on 2024-02-29 at 12:34:56.789.
pub(crate) fn context() -> EvaluationContext {
    EvaluationContext::new(WallMicros(1_709_210_096_789_000), 1)
}

/// The context of an execution at this time.
pub(crate) fn context_at(now: WallMicros) -> EvaluationContext {
    EvaluationContext::new(now, 1)
}

/// The cases of a file of `testdata`: blocks of a text and, behind `=>`, what is expected of it.
pub(crate) fn cases(file: &'static str) -> Vec<(&'static str, &'static str)> {
    let blocks = file.split("\n\n").filter(|block| !block.starts_with('#') && !block.trim().is_empty());
    blocks
        .map(|block| block.split_once("=> ").map(|(text, expected)| (text.trim_end(), expected.trim_end())).unwrap())
        .collect()
}

/// The schema after these statements; the tables get ids from 1.
pub(crate) fn schema(statements: &[&str]) -> Schema {
    let mut schema = Schema::default();
    for (statement, id) in statements.iter().zip(1..) {
        let request = request_in(&schema, statement).unwrap_or_else(|error| panic!("{statement}: {error}"));
        schema = schema.apply(&request.change(TableId(id), WallMicros(id as i64))).unwrap().unwrap_or(schema);
    }
    schema
}

/// `schema` with a table of keyspace `ks`, whatever CREATE TABLE takes: each column is `name type`, with `static`
/// behind it or `desc`; so many of the first are the partition key, and so many behind them clustering columns.
pub(crate) fn with_table(
    schema: &Schema,
    name: &str,
    id: u128,
    (partition, clustering): (usize, usize),
    columns: &[&str],
) -> Schema {
    let column = |(index, text): (usize, &&str)| {
        let (name, rest) = text.split_once(' ').unwrap();
        let cql_type = cql_type(schema, rest.trim_end_matches(" static").trim_end_matches(" desc"));
        let order = if rest.ends_with(" desc") { ClusteringOrder::Descending } else { ClusteringOrder::Ascending };
        let kind = match index {
            _ if rest.ends_with(" static") => ColumnKind::Static,
            index if index < partition => ColumnKind::PartitionKey(index as u32),
            index if index < partition + clustering => ColumnKind::Clustering((index - partition) as u32, order),
            _ => ColumnKind::Regular,
        };
        Column { id: ColumnId(index as u32), name: name.to_owned(), kind, cql_type }
    };
    let mut table = Table::plain(TableId(id));
    (table.keyspace, table.name) = ("ks".to_owned(), name.to_owned());
    table.columns = columns.iter().enumerate().map(column).collect();
    table.columns[partition + clustering..].sort_by(|a, b| a.name.cmp(&b.name));
    schema.apply(&SchemaChange::CreateTable { table, if_not_exists: false }).unwrap().unwrap()
}

fn cql_type(schema: &Schema, text: &str) -> CqlType {
    let statement = format!("CREATE TABLE ks.x (x {text} PRIMARY KEY)");
    let parsed = crate::parser::parse(&statement).unwrap();
    let crate::ast::Statement::CreateTable(create) = &parsed.statement else { panic!("{text}") };
    let source = crate::source::Source::new(&statement);
    crate::type_name::Types { source, schema, keyspace: "ks" }.resolve(&create.columns[0].type_name).unwrap()
}

/// Keyspace `ks` with tables for every purpose.
pub(crate) fn sample() -> Schema {
    let mut statements = vec![
        "CREATE KEYSPACE ks WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 3}".to_owned(),
        "CREATE TABLE ks.t (k int PRIMARY KEY, v text, n int)".to_owned(),
        "CREATE TABLE ks.c (p1 int, p2 text, c1 int, c2 text, c3 int, v int, w text, \
         PRIMARY KEY ((p1, p2), c1, c2, c3)) WITH CLUSTERING ORDER BY (c1 ASC, c2 DESC, c3 ASC)"
            .to_owned(),
        "CREATE TABLE ks.ttl (k int, c int, v int, PRIMARY KEY (k, c)) WITH default_time_to_live = 100".to_owned(),
    ];
    let columns: Vec<String> = CqlType::SCALARS.iter().map(|scalar| format!("v_{scalar} {scalar}")).collect();
    statements.push(format!("CREATE TABLE ks.scalars (k int PRIMARY KEY, {})", columns.join(", ")));
    schema(&statements.iter().map(String::as_str).collect::<Vec<_>>())
}

pub(crate) fn schema_request(text: &str) -> Result<SchemaRequest, RequestError> {
    request_in(&Schema::default(), text)
}

pub(crate) fn request_in(schema: &Schema, text: &str) -> Result<SchemaRequest, RequestError> {
    match prepare(text, schema, Some("ks"))?.bind(&[], context())? {
        Bound::Schema(request) => Ok(request),
        other => panic!("{text} is {other:?}"),
    }
}

pub(crate) fn prepare_in(schema: &Schema, text: &str) -> Prepared {
    prepare(text, schema, Some("ks")).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// The message of the error that preparing or binding ends in.
pub(crate) fn error(schema: &Schema, text: &str, values: &[BoundValue]) -> String {
    match prepare(text, schema, Some("ks")).and_then(|prepared| prepared.bind(values, context())) {
        Ok(bound) => format!("no error but {bound:?}"),
        Err(error) => error.to_string(),
    }
}

pub(crate) fn write(schema: &Schema, text: &str, values: &[BoundValue]) -> BoundWrite {
    match prepare_in(schema, text).bind(values, context()) {
        Ok(Bound::Write(write)) => write,
        other => panic!("{text}: {other:?}"),
    }
}

pub(crate) fn read(schema: &Schema, text: &str, values: &[BoundValue]) -> BoundRead {
    match prepare_in(schema, text).bind(values, context()) {
        Ok(Bound::Read(read)) => read,
        other => panic!("{text}: {other:?}"),
    }
}

pub(crate) fn table<'s>(schema: &'s Schema, name: &str) -> &'s Arc<Table> {
    schema.find_table("ks", name).unwrap()
}

pub(crate) fn int(value: i32) -> Bytes {
    Value::Int(value).to_wire()
}

pub(crate) fn text(value: &str) -> Bytes {
    Value::Text(value.to_owned()).to_wire()
}

pub(crate) fn bound(value: Bytes) -> BoundValue {
    BoundValue::Value(value)
}
