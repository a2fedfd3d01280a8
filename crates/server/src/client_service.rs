//! The client API over gRPC: messages to statements, and answers to messages.
//!
//! Invariant: a failure is an `Error` message on a stream and a status with the same `Error` in its details
//! on a unary call; nothing of it is lost either way.

use crate::auth::Login;
use crate::execute::{Answer, Effect, Executor, Options, Plan, Planned, SchemaChanged, retry_token};
use crate::execute_stream::{Answers, Columns};
use crate::gate::names_system;
use crate::statements::{Statement, column_message};
use crate::trace::Traced;
use crate::wire::helenus_server;
use ::api::convert::{Bound as ApiBound, requested_consistency, requested_serial_consistency};
use ::api::error::{status_code, status_details};
use ::api::proto::client::v1 as proto;
use ::api::rows::encode_row;
use bytes::Bytes;
use model::{NodeId, RequestError, Token};
use node::io::Response as ShardResponse;
use query::BoundValue;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tonic::{Code, Request, Response, Status, Streaming};

/// The version that is shown to clients and operators.
pub(crate) const RELEASE: &str = env!("CARGO_PKG_VERSION");

/// Serves the client API.
#[derive(Clone)]
pub(crate) struct ClientService {
    /// The node's front desk.
    pub(crate) executor: Arc<Executor>,
    /// This node.
    pub(crate) own: NodeId,
    /// True once streams are to end.
    pub(crate) drain: watch::Receiver<bool>,
}

/// The status of a unary call that failed.
pub(crate) fn status(error: &RequestError) -> Status {
    Status::with_details(Code::from(status_code(error) as i32), error.to_string(), status_details(error))
}

/// How the answer to a statement is to be written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Form {
    /// The columns of its rows.
    pub(crate) columns: Columns,
    /// What the client should know besides.
    pub(crate) warnings: Vec<String>,
}

/// Says whether a request may come in, before it is looked at.
///
/// # Errors
/// `Overloaded`.
pub(crate) fn check_room(executor: &Executor, request: &proto::ExecuteRequest) -> Result<(), RequestError> {
    match &request.statement {
        Some(proto::execute_request::Statement::Text(text)) if names_system(text.as_bytes()) => Ok(()),
        _ => executor.check_room(),
    }
}

/// What a request asks for, and how it is to be answered.
///
/// # Errors
/// When it cannot be executed.
pub(crate) fn plan(
    executor: &Executor,
    request: proto::ExecuteRequest,
    login: Login,
) -> Result<(Plan, Form), RequestError> {
    use proto::execute_request::Statement as Text;
    let view = executor.view()?;
    let keyspace = Some(request.keyspace.as_str()).filter(|keyspace| !keyspace.is_empty());
    let (statement, is_prepared) = match &request.statement {
        Some(Text::Text(text)) => (executor.statements.prepare(text, keyspace, &view)?, false),
        Some(Text::PreparedId(id)) => (executor.statements.find(id, &view)?, true),
        None => return Err(RequestError::Invalid("the request names no statement".to_owned())),
    };
    let values = request.values.into_iter().map(bound_value).collect::<Result<Vec<_>, _>>()?;
    let options = Options {
        consistency: requested_consistency(request.consistency)?,
        serial: requested_serial_consistency(request.serial_consistency)?,
        timestamp: request.timestamp_micros,
        timeout: (request.timeout_millis > 0).then(|| Duration::from_millis(request.timeout_millis.into())),
        page_rows: request.page_rows,
        paging_state: Some(request.paging_state).filter(|state| !state.is_empty()),
        token: retry_token(Some(&request.retry_token).filter(|token| !token.is_empty()))?,
        login,
    };
    let Planned { plan, warnings } = executor.plan(&statement, &values, options)?;
    let columns = columns_of(&statement, is_prepared, &request.result_metadata_id);
    Ok((plan, Form { columns, warnings }))
}

/// Who calls.
#[derive(Clone)]
pub(crate) struct Caller {
    /// As whom.
    pub(crate) login: Login,
    /// From where.
    client: IpAddr,
}

impl Caller {
    fn of<T>(request: &Request<T>) -> Caller {
        let client = request.remote_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |address| address.ip());
        Caller { login: request.extensions().get::<Login>().cloned().flatten(), client }
    }
}

/// What an answer says of its trace.
#[derive(Default)]
pub(crate) struct TraceTold {
    id: Bytes,
    warning: Option<String>,
}

impl TraceTold {
    /// The message, with it.
    pub(crate) fn told(self, mut message: proto::ExecuteResponse) -> proto::ExecuteResponse {
        message.trace_id = self.id;
        message.warnings.extend(self.warning);
        message
    }
}

/// Executes a statement and waits for what comes of it; writes its trace if the client asks for one.
///
/// # Errors
/// As the statement's.
pub(crate) async fn execute(
    executor: &Executor,
    request: proto::ExecuteRequest,
    caller: Caller,
) -> Result<(Answer, Form, TraceTold), RequestError> {
    let traced = request.trace.then(|| traced(executor, &request, caller.client));
    let (plan, form) = plan(executor, request, caller.login)?;
    let Some(traced) = traced else {
        return Ok((executor.wait(plan, None).await?, form, TraceTold::default()));
    };
    match executor.begin_trace(traced).await {
        Err(error) => {
            let warning = Some(format!("The request was not traced: {error}"));
            Ok((executor.wait(plan, None).await?, form, TraceTold { warning, ..TraceTold::default() }))
        }
        Ok(trace) => {
            let result = executor.wait(plan, Some(&trace)).await;
            let id = Bytes::copy_from_slice(&trace.id.to_be_bytes());
            executor.finish_trace(&trace).await;
            Ok((result?, form, TraceTold { id, warning: None }))
        }
    }
}

/// What the trace of a request tells of it.
fn traced(executor: &Executor, request: &proto::ExecuteRequest, client: IpAddr) -> Traced {
    use proto::execute_request::Statement as Text;
    let (kind, text) = match &request.statement {
        Some(Text::Text(text)) => ("Execute CQL3 query", Some(text.clone())),
        Some(Text::PreparedId(id)) => {
            let statement = executor.view().and_then(|view| executor.statements.find(id, &view));
            ("Execute CQL3 prepared query", statement.ok().map(|statement| statement.text().to_owned()))
        }
        None => ("Not a statement", None),
    };
    let mut parameters = BTreeMap::new();
    parameters.extend(text.map(|text| ("query", text)));
    let consistency = requested_consistency(request.consistency);
    parameters.extend(consistency.ok().map(|level| ("consistency_level", level.to_string())));
    Traced { client, request: kind, parameters }
}

fn columns_of(statement: &Statement, is_prepared: bool, known: &[u8]) -> Columns {
    let shape = &statement.shape;
    if shape.columns.is_empty() {
        Columns::None
    } else if shape.metadata_id == known {
        Columns::Known(shape.clone())
    } else {
        Columns::Sent(shape.clone(), is_prepared)
    }
}

fn bound_value(value: proto::Value) -> Result<BoundValue, RequestError> {
    Ok(match ApiBound::try_from(value)? {
        ApiBound::Value(bytes) => BoundValue::Value(bytes),
        ApiBound::Null => BoundValue::Null,
        ApiBound::Unset => BoundValue::Unset,
    })
}

/// The message for an answer.
pub(crate) fn answer_message(mut answer: Answer, form: Form) -> proto::ExecuteResponse {
    use proto::execute_response::Result as Kind;
    let Form { columns, mut warnings } = form;
    warnings.extend(answer.take_warnings());
    let kind = match answer {
        Answer::Data(ShardResponse::Written) => Kind::Void(proto::Void {}),
        Answer::Data(ShardResponse::Conditional(result)) => {
            let columns = result.columns.iter().map(column_message).collect();
            let rows = result.rows.iter().map(|row| encode_row(row)).collect();
            Kind::Rows(proto::Rows { columns, metadata_id: Bytes::new(), rows, paging_state: None })
        }
        Answer::Data(ShardResponse::Rows { rows, paging_state, .. }) => {
            let (columns, metadata_id) = match &columns {
                Columns::None => Default::default(),
                Columns::Known(shape) => (Vec::new(), shape.metadata_id.clone()),
                Columns::Sent(shape, true) => (shape.columns.clone(), shape.metadata_id.clone()),
                Columns::Sent(shape, false) => (shape.columns.clone(), bytes::Bytes::new()),
            };
            let rows = rows.iter().map(|row| encode_row(row)).collect();
            Kind::Rows(proto::Rows { columns, metadata_id, rows, paging_state })
        }
        Answer::Use(keyspace) => Kind::SetKeyspace(proto::SetKeyspace { keyspace }),
        Answer::Schema(SchemaChanged { keyspace, table, user_type, effect, epoch, .. }) => {
            let effect = match effect {
                Effect::Created => proto::schema_change::Effect::Created,
                Effect::Updated => proto::schema_change::Effect::Updated,
                Effect::Dropped => proto::schema_change::Effect::Dropped,
                Effect::Truncated => proto::schema_change::Effect::Truncated,
                Effect::None => proto::schema_change::Effect::None,
            };
            let (effect, epoch) = (effect.into(), epoch.0);
            let (table, user_type) = (table.unwrap_or_default(), user_type.unwrap_or_default());
            Kind::SchemaChange(proto::SchemaChange { effect, keyspace, table, epoch, user_type })
        }
    };
    proto::ExecuteResponse { result: Some(kind), warnings, trace_id: Bytes::new() }
}

fn statement_message(statement: &Statement) -> proto::PrepareResponse {
    let prepared = &statement.prepared;
    let (kind, idempotent) = match prepared.kind() {
        query::PreparedKind::Read => (proto::StatementKind::Read, true),
        query::PreparedKind::Write => (proto::StatementKind::Write, prepared.is_idempotent()),
        query::PreparedKind::Schema => (proto::StatementKind::Schema, false),
        query::PreparedKind::Use => (proto::StatementKind::Use, true),
    };
    let table = prepared.table();
    proto::PrepareResponse {
        id: statement.id_bytes(),
        parameters: prepared.parameters().iter().map(column_message).collect(),
        partition_key_indexes: prepared.partition_key_indexes().iter().map(|index| u32::from(*index)).collect(),
        result_columns: statement.shape.columns.clone(),
        result_metadata_id: if statement.shape.columns.is_empty() {
            bytes::Bytes::new()
        } else {
            statement.shape.metadata_id.clone()
        },
        keyspace: table.map(|table| table.keyspace.clone()).unwrap_or_default(),
        table: table.map(|table| table.name.clone()).unwrap_or_default(),
        kind: kind.into(),
        idempotent,
    }
}

impl ClientService {
    fn topology(&self, known_epoch: u64) -> Result<proto::TopologyResponse, RequestError> {
        let view = self.executor.view()?;
        let alive = self.executor.published.alive.load();
        let mut tokens: BTreeMap<NodeId, Vec<i64>> = BTreeMap::new();
        for (Token(token), owner) in view.ring() {
            tokens.entry(*owner).or_default().push(*token);
        }
        let node = |member: &membership::MemberInfo| proto::Node {
            id: member.id.to_string(),
            client_address: member.addresses.client.to_string(),
            native_address: member.addresses.native.to_string(),
            internode_address: member.addresses.internode.to_string(),
            data_center: member.data_center.clone(),
            rack: member.rack.clone(),
            tokens: tokens.get(&member.id).cloned().unwrap_or_default(),
            up: alive.contains(&member.id),
        };
        let keyspace = |keyspace: &Arc<model::schema::Keyspace>| proto::Keyspace {
            name: keyspace.name.clone(),
            replication: Some((&keyspace.replication).into()),
            tables: keyspace
                .tables
                .values()
                .map(|table| proto::Table::new(table, query::describe_whole_table(table).join("\n")))
                .collect(),
            create_text: query::describe_keyspace(keyspace),
        };
        let is_known = known_epoch == view.epoch.0;
        Ok(proto::TopologyResponse {
            cluster_id: NodeId(view.cluster_id).to_string(),
            epoch: view.epoch.0,
            nodes: view.members.values().map(node).collect(),
            keyspaces: if is_known { Vec::new() } else { view.schema.keyspaces().values().map(keyspace).collect() },
            node_id: self.own.to_string(),
            release: RELEASE.to_owned(),
        })
    }
}

#[tonic::async_trait]
impl helenus_server::Helenus for ClientService {
    type ExecuteStreamStream = Answers;

    async fn execute(
        &self,
        request: Request<proto::ExecuteRequest>,
    ) -> Result<Response<proto::ExecuteResponse>, Status> {
        let _call = self.executor.call();
        let caller = Caller::of(&request);
        let request = request.into_inner();
        check_room(&self.executor, &request).map_err(|error| status(&error))?;
        let executed = execute(&self.executor, request, caller).await;
        let (answer, form, traced) = executed.map_err(|error| status(&error))?;
        Ok(Response::new(traced.told(answer_message(answer, form))))
    }

    async fn execute_stream(
        &self,
        request: Request<Streaming<proto::ExecuteStreamRequest>>,
    ) -> Result<Response<Answers>, Status> {
        let caller = Caller::of(&request);
        let requests = request.into_inner();
        let answers = crate::execute_stream::start(self.executor.clone(), requests, self.drain.clone(), caller);
        Ok(Response::new(answers))
    }

    async fn prepare(
        &self,
        request: Request<proto::PrepareRequest>,
    ) -> Result<Response<proto::PrepareResponse>, Status> {
        let proto::PrepareRequest { text, keyspace } = request.into_inner();
        let keyspace = Some(keyspace.as_str()).filter(|keyspace| !keyspace.is_empty());
        let prepared = self.executor.view().and_then(|view| self.executor.statements.prepare(&text, keyspace, &view));
        let statement = prepared.map_err(|error| status(&error))?;
        Ok(Response::new(statement_message(&statement)))
    }

    async fn topology(
        &self,
        request: Request<proto::TopologyRequest>,
    ) -> Result<Response<proto::TopologyResponse>, Status> {
        let known_epoch = request.into_inner().known_epoch;
        self.topology(known_epoch).map(Response::new).map_err(|error| status(&error))
    }
}
