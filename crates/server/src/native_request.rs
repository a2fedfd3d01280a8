//! Requests of the CQL native protocol: from messages to plans, and from what comes of them to answers.
//!
//! Invariant: every statement goes through [`Executor`], as those of the gRPC API do; what the protocol can say and
//! the node does not do is refused by name.

use crate::auth::Login;
use crate::execute::{Answer, Effect, Executor, Options, Plan, Planned, SchemaChanged, retry_token};
use crate::shard_loop::Outcome;
use crate::statements::{ResultShape, Statement, native_columns};
use crate::trace::{Trace, Traced};
use bytes::Bytes;
use model::{Consistency, RequestError, RetryToken};
use native::envelope::Extras;
use native::event::ChangeType;
use native::rows::Columns;
use native::{
    Batch, BatchKind, ErrorResponse, Execute, Prepare, Prepared, Query, QueryParameters, QueryResult, Request,
    Response, Rows, RowsMetadata, SchemaChange, SchemaTarget, StatementText, Values, Version, WriteType,
};
use node::io::{ReadFigures, Response as ShardResponse};
use query::{Bound, BoundValue, ColumnSpec};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::sync::mpsc;

/// How the answer to a statement is to be written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Form {
    /// The columns of its rows, if it has any.
    shape: Option<Arc<ResultShape>>,
    /// The client knows them.
    omit: bool,
    /// The client must learn the id of the columns: those that it knows are others.
    changed: bool,
    /// What the client should know besides.
    warnings: Vec<String>,
    /// The id of the request's trace, if there is one.
    tracing_id: Option<u128>,
    /// What kind of write it is, if it is one.
    write_type: Option<WriteType>,
    /// What was prepared, when that is the answer.
    prepared: Option<Prepared>,
}

/// What came of a request, on its way to the connection.
pub(crate) struct Answered {
    /// That of the request.
    pub(crate) stream: i16,
    /// Bytes of the request, to be counted as answered.
    pub(crate) request_bytes: usize,
    form: Form,
    result: Result<Answer, RequestError>,
}

/// Room on a connection for the answer to one request.
pub(crate) struct Reply {
    permit: mpsc::OwnedPermit<Answered>,
    stream: i16,
    request_bytes: usize,
    form: Form,
}

impl Reply {
    /// For the request on `stream` that was `request_bytes` long.
    pub(crate) fn new(permit: mpsc::OwnedPermit<Answered>, stream: i16, request_bytes: usize) -> Reply {
        Reply { permit, stream, request_bytes, form: Form::default() }
    }

    /// The same with another form.
    pub(crate) fn with_form(self, form: Form) -> Reply {
        Reply { form, ..self }
    }

    /// Answers with what a shard says.
    pub(crate) fn send(self, outcome: Outcome) {
        self.answer(outcome.map(Answer::Data));
    }

    /// Answers.
    pub(crate) fn answer(self, result: Result<Answer, RequestError>) {
        let Reply { permit, stream, request_bytes, form } = self;
        permit.send(Answered { stream, request_bytes, form, result });
    }
}

/// A statement that is ready to be executed.
pub(crate) struct Ready {
    /// Where it goes.
    pub(crate) plan: Plan,
    /// How it is answered.
    pub(crate) form: Form,
    /// The client takes no pages: all rows belong into one answer.
    pub(crate) whole: bool,
}

fn bound_value(value: native::BoundValue) -> BoundValue {
    match value {
        native::BoundValue::Value(bytes) => BoundValue::Value(bytes),
        native::BoundValue::Null => BoundValue::Null,
        native::BoundValue::Unset => BoundValue::Unset,
    }
}

/// The values in the order of the parameters. A name that is not a parameter's is left alone, as in Cassandra.
fn in_order(values: Values, parameters: &[ColumnSpec]) -> Result<Vec<BoundValue>, RequestError> {
    match values {
        Values::Positional(values) => Ok(values.into_iter().map(bound_value).collect()),
        Values::Named(named) => {
            let value = |parameter: &ColumnSpec| {
                let found = named.iter().find(|(name, _)| *name == parameter.name);
                let missing = || RequestError::Invalid(format!("there is no value for the marker {}", parameter.name));
                found.map(|(_, value)| bound_value(value.clone())).ok_or_else(missing)
            };
            parameters.iter().map(value).collect()
        }
    }
}

/// The key of a request's custom payload under which its retry token is. Others are left alone, as in Cassandra.
const RETRY_TOKEN: &str = "helenus.retry_token";

/// Who asks, and what the message says of the request beside the request itself.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    login: Login,
    token: Option<RetryToken>,
}

impl Origin {
    /// Of a message with this custom payload.
    ///
    /// # Errors
    /// `Invalid` when the token in it is none.
    pub(crate) fn new(login: Login, payload: &BTreeMap<String, Option<Bytes>>) -> Result<Origin, RequestError> {
        let token = payload.get(RETRY_TOKEN).map(|token| token.clone().unwrap_or_default());
        Ok(Origin { login, token: retry_token(token.as_ref())? })
    }
}

/// The options of a statement, and whether its whole result is wanted at once.
fn options(parameters: &QueryParameters, origin: &Origin) -> Result<(Options, bool), RequestError> {
    if parameters.now_in_seconds.is_some() {
        return Err(RequestError::Invalid("now_in_seconds of a request is not supported".to_owned()));
    }
    let page = parameters.page_size.and_then(|rows| u32::try_from(rows).ok()).filter(|rows| *rows > 0);
    let options = Options {
        consistency: parameters.consistency,
        serial: parameters.serial_consistency.unwrap_or(Consistency::Serial),
        timestamp: parameters.timestamp,
        timeout: None,
        page_rows: page.unwrap_or(u32::MAX),
        paging_state: parameters.paging_state.clone().filter(|state| !state.is_empty()),
        token: origin.token,
        login: origin.login.clone(),
    };
    Ok((options, page.is_none()))
}

fn ready(
    executor: &Executor,
    statement: &Statement,
    parameters: QueryParameters,
    origin: &Origin,
    mut form: Form,
) -> Result<Ready, RequestError> {
    let (options, whole) = options(&parameters, origin)?;
    let values = in_order(parameters.values, statement.prepared.parameters())?;
    if !statement.shape.columns.is_empty() {
        form.shape = Some(statement.shape.clone());
    }
    let Planned { plan, warnings } = executor.plan(statement, &values, options)?;
    form.warnings = warnings;
    if statement.prepared.kind() == query::PreparedKind::Write {
        form.write_type = Some(write_type(&statement.prepared));
    }
    Ok(Ready { plan, form, whole })
}

/// What kind of write a statement is, which errors say.
fn write_type(prepared: &query::Prepared) -> WriteType {
    match prepared.batch_kind() {
        _ if prepared.is_conditional() => WriteType::Cas,
        _ if prepared.is_of_counters() => WriteType::Counter,
        Some(query::BatchKind::Logged) => WriteType::Batch,
        Some(query::BatchKind::Unlogged | query::BatchKind::Counter) => WriteType::UnloggedBatch,
        None => WriteType::Simple,
    }
}

/// QUERY. `keyspace` is the connection's.
///
/// # Errors
/// When it cannot be executed.
pub(crate) fn query(
    executor: &Executor,
    query: Query,
    keyspace: Option<&str>,
    origin: &Origin,
) -> Result<Ready, RequestError> {
    let view = executor.view()?;
    let Query { text, parameters } = query;
    let keyspace = parameters.keyspace.as_deref().or(keyspace);
    let statement = executor.statements.prepare(&text, keyspace, &view)?;
    let form = Form { omit: parameters.skip_metadata, ..Form::default() };
    ready(executor, &statement, parameters, origin, form)
}

/// EXECUTE.
///
/// # Errors
/// When it cannot be executed; `Unprepared` when the statement is not known.
pub(crate) fn execute(executor: &Executor, execute: Execute, origin: &Origin) -> Result<Ready, RequestError> {
    let view = executor.view()?;
    let Execute { id, result_metadata_id, parameters } = execute;
    let statement = executor.statements.find(&id, &view)?;
    // A client of version 4 that leaves out the columns knows them from PREPARE, and cannot be told of others.
    let changed = result_metadata_id.is_some_and(|known| known != statement.shape.metadata_id);
    let form = Form { omit: parameters.skip_metadata && !changed, changed, ..Form::default() };
    ready(executor, &statement, parameters, origin, form)
}

/// PREPARE. `keyspace` is the connection's.
///
/// # Errors
/// When the text is not a statement.
pub(crate) fn prepare(
    executor: &Executor,
    prepare: &Prepare,
    keyspace: Option<&str>,
    version: Version,
) -> Result<Prepared, RequestError> {
    let view = executor.view()?;
    let keyspace = prepare.keyspace.as_deref().or(keyspace);
    let statement = executor.statements.prepare(&prepare.text, keyspace, &view)?;
    let columns = statement.shape.native.clone();
    let result = if columns.is_empty() {
        RowsMetadata::none()
    } else {
        RowsMetadata { columns: Columns::Sent(columns), paging_state: None, new_metadata_id: None }
    };
    Ok(Prepared {
        id: statement.id_bytes(),
        result_metadata_id: (version >= Version::V5).then(|| statement.shape.metadata_id.clone()),
        parameters: native_columns(statement.prepared.parameters()),
        partition_key_indexes: statement.prepared.partition_key_indexes().to_vec(),
        result,
    })
}

/// BATCH: its statements, put together as those of a BATCH statement are.
///
/// # Errors
/// When a statement cannot be executed, and for what a batch cannot do yet.
pub(crate) fn batch(
    executor: &Executor,
    batch: Batch,
    keyspace: Option<&str>,
    origin: &Origin,
) -> Result<Ready, RequestError> {
    let view = executor.view()?;
    let Batch { kind, statements, parameters } = batch;
    let (kind, write_type) = match kind {
        BatchKind::Counter => (query::BatchKind::Counter, WriteType::Counter),
        BatchKind::Logged => (query::BatchKind::Logged, WriteType::Batch),
        BatchKind::Unlogged => (query::BatchKind::Unlogged, WriteType::UnloggedBatch),
    };
    let keyspace = parameters.keyspace.as_deref().or(keyspace);
    let mut bound = Vec::with_capacity(statements.len());
    for (place, native::BatchStatement { statement, values }) in statements.into_iter().enumerate() {
        let statement = match statement {
            StatementText::Text(text) => executor.statements.prepare(&text, keyspace, &view)?,
            StatementText::Prepared(id) => executor.statements.find(&id, &view)?,
        };
        let values = in_order(values, statement.prepared.parameters())?;
        bound.push(executor.bind(&statement, &values, origin.token, place)?);
    }
    let (options, _) = options(&parameters, origin)?;
    let bound = Bound::batch(bound, kind)?;
    let write_type = if matches!(bound, Bound::Conditional(_)) { WriteType::Cas } else { write_type };
    let Planned { plan, warnings } = executor.plan_bound(bound, options)?;
    Ok(Ready { plan, form: Form { warnings, write_type: Some(write_type), ..Form::default() }, whole: true })
}

/// Bytes of a result that is sent in one answer, at most: above that a client must take pages.
const WHOLE_RESULT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Executes a read for a client that takes no pages: page after page, into one answer.
pub(crate) async fn run_whole(
    executor: &Executor,
    plan: Plan,
    trace: Option<&Arc<Trace>>,
) -> Result<Answer, RequestError> {
    let mut request = match plan {
        Plan::Shard(request) => request,
        other => return executor.wait(other, trace).await,
    };
    let (mut all, mut all_warnings, mut bytes, mut figures) = (Vec::new(), Vec::new(), 0, ReadFigures::default());
    loop {
        let answer = executor.wait(Plan::Shard(request.clone()), trace).await?;
        let Answer::Data(ShardResponse::Rows { rows, paging_state: next, warnings, figures: of_page }) = answer else {
            return Ok(answer);
        };
        bytes += rows.iter().flatten().map(|value| 4 + value.as_ref().map_or(0, Bytes::len)).sum::<usize>();
        if bytes > WHOLE_RESULT_BYTES_MAX {
            let message = format!(
                "The result is longer than the {WHOLE_RESULT_BYTES_MAX} bytes that are sent at once: set a page size"
            );
            return Err(RequestError::Invalid(message));
        }
        all.extend(rows);
        all_warnings.extend(warnings);
        figures = figures.and(of_page);
        match (&mut request, next) {
            (node::io::Request::Read { paging_state, .. }, Some(next)) => *paging_state = Some(next),
            _ => {
                let (rows, warnings) = (all, all_warnings);
                return Ok(Answer::Data(ShardResponse::Rows { rows, paging_state: None, warnings, figures }));
            }
        }
    }
}

/// Executes a statement whose client asks for a trace, writes its trace, and answers it.
pub(crate) async fn run_traced(executor: &Executor, ready: Ready, reply: Reply, traced: Traced) {
    let Ready { plan, form, whole } = ready;
    let trace = executor.begin_trace(traced).await;
    let reply = reply.with_form(form.traced(&trace));
    let noted = trace.as_ref().ok();
    let result = if whole { run_whole(executor, plan, noted).await } else { executor.wait(plan, noted).await };
    if let Some(trace) = noted {
        executor.finish_trace(trace).await;
    }
    reply.answer(result);
}

/// Prepares a statement for a client that asks for a trace, writes its trace, and answers. `keyspace` is the
/// connection's.
pub(crate) async fn prepare_traced(
    executor: &Executor,
    request: &Prepare,
    keyspace: Option<&str>,
    version: Version,
    reply: Reply,
    traced: Traced,
) {
    let trace = executor.begin_trace(traced).await;
    let prepared = prepare(executor, request, keyspace, version);
    if let Ok(trace) = &trace {
        trace.note(match &prepared {
            Ok(_) => "Statement prepared".to_owned(),
            Err(error) => format!("Request failed: {error}"),
        });
        executor.finish_trace(trace).await;
    }
    let (prepared, result) = match prepared {
        Ok(prepared) => (Some(prepared), Ok(Answer::Data(ShardResponse::Written))),
        Err(error) => (None, Err(error)),
    };
    reply.with_form(Form { prepared, ..Form::default() }.traced(&trace)).answer(result);
}

/// What the trace of a request tells of it.
pub(crate) fn traced(executor: &Executor, request: &Request, client: IpAddr) -> Traced {
    let mut told = BTreeMap::new();
    let (kind, parameters) = match request {
        Request::Query(query) => {
            told.insert("query", query.text.clone());
            ("Execute CQL3 query", &query.parameters)
        }
        Request::Execute(execute) => {
            let statement = executor.view().and_then(|view| executor.statements.find(&execute.id, &view));
            told.extend(statement.ok().map(|statement| ("query", statement.text().to_owned())));
            ("Execute CQL3 prepared query", &execute.parameters)
        }
        Request::Batch(batch) => ("Execute batch of CQL3 queries", &batch.parameters),
        Request::Prepare(prepare) => {
            told.insert("query", prepare.text.clone());
            return Traced { client, request: "Preparing CQL3 query", parameters: told };
        }
        _ => return Traced { client, request: "Not a statement", parameters: told },
    };
    told.insert("consistency_level", parameters.consistency.to_string());
    told.extend(parameters.serial_consistency.map(|level| ("serial_consistency_level", level.to_string())));
    told.extend(parameters.page_size.map(|rows| ("page_size", rows.to_string())));
    told.extend(parameters.timestamp.map(|timestamp| ("user_timestamp", timestamp.to_string())));
    Traced { client, request: kind, parameters: told }
}

fn schema_change(changed: SchemaChanged) -> QueryResult {
    let change = match changed.effect {
        Effect::Created => ChangeType::Created,
        Effect::Updated => ChangeType::Updated,
        Effect::Dropped => ChangeType::Dropped,
        // The schema is as it was.
        Effect::Truncated | Effect::None => return QueryResult::Void,
    };
    let target = match (changed.table, changed.user_type) {
        (Some(table), _) => SchemaTarget::Table(table),
        (None, Some(name)) => SchemaTarget::Type(name),
        (None, None) => SchemaTarget::Keyspace,
    };
    QueryResult::SchemaChange(SchemaChange { change, keyspace: changed.keyspace, target })
}

impl Answered {
    /// The keyspace that the connection uses from now on, if the request was USE.
    pub(crate) fn used_keyspace(&self) -> Option<&str> {
        match &self.result {
            Ok(Answer::Use(keyspace)) => Some(keyspace),
            _ => None,
        }
    }

    /// The answer as it is written.
    pub(crate) fn into_answer(self) -> native::Answer {
        let Answered { stream, form, mut result, .. } = self;
        let Form { shape, omit, changed, mut warnings, tracing_id, write_type, prepared } = form;
        if let Ok(answer) = &mut result {
            warnings.extend(answer.take_warnings());
        }
        let response = match result {
            Ok(Answer::Data(ShardResponse::Written)) => {
                Response::Result(prepared.map_or(QueryResult::Void, QueryResult::Prepared))
            }
            // Its columns are others each time: they are sent, and no client is told to keep them (CASSANDRA-13992).
            Ok(Answer::Data(ShardResponse::Conditional(result))) => {
                let columns = Columns::Sent(native_columns(&result.columns));
                let metadata = RowsMetadata { columns, paging_state: None, new_metadata_id: None };
                Response::Result(QueryResult::Rows(Rows { metadata, rows: result.rows }))
            }
            Ok(Answer::Data(ShardResponse::Rows { rows, paging_state, .. })) => {
                let columns = match &shape {
                    Some(shape) if omit => Columns::Omitted(shape.native.len()),
                    Some(shape) => Columns::Sent(shape.native.clone()),
                    None => Columns::Omitted(0),
                };
                let new_metadata_id = shape.filter(|_| changed).map(|shape| shape.metadata_id.clone());
                let metadata = RowsMetadata { columns, paging_state, new_metadata_id };
                Response::Result(QueryResult::Rows(Rows { metadata, rows }))
            }
            Ok(Answer::Use(keyspace)) => Response::Result(QueryResult::SetKeyspace(keyspace)),
            Ok(Answer::Schema(changed)) => Response::Result(schema_change(changed)),
            Err(error) => Response::Error(ErrorResponse::of_request(&error, write_type.unwrap_or(WriteType::Simple))),
        };
        native::Answer { stream, extras: Extras { warnings, tracing_id, ..Extras::default() }, response }
    }
}

impl Form {
    /// The same, of a request that is traced, or why it is not.
    fn traced(mut self, trace: &Result<Arc<Trace>, RequestError>) -> Form {
        match trace {
            Ok(trace) => self.tracing_id = Some(trace.id),
            Err(error) => self.warnings.push(format!("The request was not traced: {error}")),
        }
        self
    }
}
