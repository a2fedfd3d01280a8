//! Sessions: statements in, results out.

use crate::attempts::{Again, Attempts, Terms};
use crate::classify::{Class, Kind};
use crate::cluster::{Chosen, Cluster, ClusterSettings};
use crate::connection::{Settings, failure_of};
use crate::error::ClientError;
use crate::node::Node;
use crate::pager::{Pager, RowStream};
use crate::retry::Failure;
use crate::row::{Columns, Outcome, QueryResult, Row, SchemaChange, SchemaEffect, columns};
use crate::security::Security;
use crate::statement::{Facts, Options, Prepared, PreparedStatement, Statement, bind, class_of};
use crate::timestamp::Timestamps;
use crate::topology::Topology;
use crate::value::ToValues;
use api::InvalidMessage;
use api::proto::client::v1 as proto;
use arc_swap::{ArcSwap, ArcSwapOption};
use bytes::Bytes;
use model::{Consistency, NodeId, RequestError, RetryToken, Token, WallMicros};
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// The port of contact points that name none.
pub const DEFAULT_PORT: u16 = 7042;

/// Prepared statements kept by a session; the oldest are forgotten, which only costs preparing them again.
const PREPARED_MAX: usize = 1_000;

/// The part of the time for an attempt that the network may take: the node gets the rest, so that its own answer,
/// which says more, comes before the time is up.
const NETWORK_SHARE_MAX: Duration = Duration::from_millis(200);

/// What a session does where a statement does not say.
#[derive(Clone, Debug)]
pub struct SessionBuilder {
    cluster: ClusterSettings,
    defaults: Defaults,
    keyspace: Option<String>,
}

#[derive(Clone, Debug)]
struct Defaults {
    consistency: Consistency,
    timeout: Duration,
    /// 0: the server's.
    page_rows: u32,
    retries_max: u32,
    timestamps: bool,
    retry_tokens: bool,
}

impl SessionBuilder {
    /// A session with the cluster that these nodes belong to: `host`, or `host:port`. One that answers suffices; the
    /// session finds the others.
    pub fn new(contact_points: impl IntoIterator<Item = impl AsRef<str>>) -> SessionBuilder {
        let contact_points = contact_points.into_iter().map(|point| with_port(point.as_ref())).collect();
        SessionBuilder {
            cluster: ClusterSettings {
                contact_points,
                connections_per_node: 1,
                connection: Settings {
                    connect_timeout: Duration::from_secs(5),
                    in_flight_max: 4_096,
                    security: Security::default(),
                },
                data_center: None,
                refresh_interval: Duration::from_secs(15),
            },
            defaults: Defaults {
                consistency: Consistency::Quorum,
                timeout: Duration::from_secs(10),
                page_rows: 0,
                retries_max: 2,
                timestamps: true,
                retry_tokens: false,
            },
            keyspace: None,
        }
    }

    /// TLS and credentials. Default: neither.
    #[must_use]
    pub fn security(mut self, security: Security) -> SessionBuilder {
        self.cluster.connection.security = security;
        self
    }

    /// How many replicas must answer. Default: QUORUM.
    #[must_use]
    pub fn consistency(mut self, consistency: Consistency) -> SessionBuilder {
        self.defaults.consistency = consistency;
        self
    }

    /// How long a call may take, retries included. Default: 10 s.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> SessionBuilder {
        self.defaults.timeout = timeout;
        self
    }

    /// How long connecting to a node may take. Default: 5 s.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> SessionBuilder {
        self.cluster.connection.connect_timeout = timeout;
        self
    }

    /// The keyspace of names that have none. Default: none.
    #[must_use]
    pub fn keyspace(mut self, name: impl Into<String>) -> SessionBuilder {
        self.keyspace = Some(name.into());
        self
    }

    /// Connections to each node, at least 1. Default: 1, which carries hundreds of thousands of requests a second.
    #[must_use]
    pub fn connections_per_node(mut self, connections: usize) -> SessionBuilder {
        self.cluster.connections_per_node = connections.max(1);
        self
    }

    /// Requests under way at once on one connection, at least 1; further ones wait. Default: 4,096.
    #[must_use]
    pub fn in_flight_per_connection(mut self, requests: usize) -> SessionBuilder {
        self.cluster.connection.in_flight_max = requests.max(1);
        self
    }

    /// Most rows in a page. Default: the server's.
    #[must_use]
    pub fn page_size(mut self, rows: u32) -> SessionBuilder {
        self.defaults.page_rows = rows;
        self
    }

    /// How often a call is attempted again after a failure that allows it. Default: 2.
    #[must_use]
    pub fn retries(mut self, retries: u32) -> SessionBuilder {
        self.defaults.retries_max = retries;
        self
    }

    /// Whether the session gives each plain write a timestamp by the clock of this machine, which makes it safe to
    /// repeat. Without, nodes assign timestamps, and a write whose outcome is not known is not repeated unless its
    /// statement says that it may be. Default: true.
    #[must_use]
    pub fn client_timestamps(mut self, enabled: bool) -> SessionBuilder {
        self.defaults.timestamps = enabled;
        self
    }

    /// Whether the session gives a retry token to each write that it could not repeat otherwise: conditional writes,
    /// increments, and what depends on functions or on places in lists. Such writes then happen once, and the session
    /// repeats them when their outcome is not known. An increment takes longer with a token. Default: false.
    #[must_use]
    pub fn retry_tokens(mut self, enabled: bool) -> SessionBuilder {
        self.defaults.retry_tokens = enabled;
        self
    }

    /// Asks nodes of this data centre as long as one can be reached, and others then. Default: the data centre of the
    /// contact point that answered first.
    #[must_use]
    pub fn data_center(mut self, name: impl Into<String>) -> SessionBuilder {
        self.cluster.data_center = Some(name.into());
        self
    }

    /// How often the session asks for the topology when nothing tells it to. Default: 15 s.
    #[must_use]
    pub fn topology_interval(mut self, interval: Duration) -> SessionBuilder {
        self.cluster.refresh_interval = interval;
        self
    }

    /// Connects. The session's connections are kept by tasks on the current tokio runtime.
    ///
    /// # Errors
    /// When no contact point answers, no node can be reached, or the keyspace does not exist.
    pub async fn connect(self) -> Result<Session, ClientError> {
        let inner = Inner {
            cluster: Cluster::connect(self.cluster).await?,
            defaults: self.defaults,
            keyspace: ArcSwapOption::empty(),
            timestamps: Timestamps::default(),
            prepared: Mutex::default(),
        };
        let session = Session { inner: Arc::new(inner) };
        if let Some(keyspace) = &self.keyspace {
            session.use_keyspace(keyspace).await?;
        }
        Ok(session)
    }
}

/// A contact point with the default port when it names none.
pub(crate) fn with_port(contact_point: &str) -> String {
    match contact_point.parse::<IpAddr>() {
        Ok(IpAddr::V6(address)) => return format!("[{address}]:{DEFAULT_PORT}"),
        Ok(IpAddr::V4(address)) => return format!("{address}:{DEFAULT_PORT}"),
        Err(_) => {}
    }
    let port = contact_point.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
    if matches!(port, Some(Ok(_))) { contact_point.to_owned() } else { format!("{contact_point}:{DEFAULT_PORT}") }
}

/// A session with a cluster. Cheap to clone, and to be shared by all tasks of a program: clones share connections,
/// prepared statements and the current keyspace. Connections end with the last clone.
///
/// Every call can be dropped before it is done; what it had sent may then be executed or not.
#[derive(Clone, Debug)]
pub struct Session {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    cluster: Arc<Cluster>,
    defaults: Defaults,
    keyspace: ArcSwapOption<String>,
    timestamps: Timestamps,
    prepared: Mutex<PreparedCache>,
}

/// Statements by keyspace and text.
#[derive(Debug, Default)]
struct PreparedCache {
    statements: BTreeMap<String, Arc<Prepared>>,
    /// Keys, oldest first.
    order: VecDeque<String>,
}

/// One statement with its values, ready to be executed.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    content: Content,
    values: Vec<proto::Value>,
    consistency: Consistency,
    serial: Option<Consistency>,
    timestamp: Option<i64>,
    retry_token: Option<RetryToken>,
    page_rows: u32,
    trace: bool,
    pub(crate) paging_state: Bytes,
    token: Option<Token>,
    terms: Terms,
}

#[derive(Clone, Debug)]
enum Content {
    Text { text: String, keyspace: String },
    Prepared { shared: Arc<Prepared>, facts: Arc<Facts> },
}

impl Session {
    /// Connects with the default settings: see [`SessionBuilder`].
    ///
    /// # Errors
    /// When no contact point answers or no node can be reached.
    pub async fn connect(contact_points: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Session, ClientError> {
        SessionBuilder::new(contact_points).connect().await
    }

    /// Executes a statement and returns its result, of which rows are the first page only: see [`Session::pages`]
    /// and [`Session::query_iter`] for all. A statement with values is prepared first, once.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn execute(
        &self,
        statement: impl Into<Statement>,
        values: impl ToValues,
    ) -> Result<QueryResult, ClientError> {
        let mut call = self.call(statement.into(), values).await?;
        self.run(&mut call).await
    }

    /// Executes a prepared statement: as [`Session::execute`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn execute_prepared(
        &self,
        statement: &PreparedStatement,
        values: impl ToValues,
    ) -> Result<QueryResult, ClientError> {
        let mut call = self.prepared_call(statement, &values)?;
        drop(values);
        self.run(&mut call).await
    }

    /// The result of a statement page by page.
    ///
    /// # Errors
    /// When the statement cannot be prepared or the values do not fit; nothing else is sent yet.
    pub async fn pages(&self, statement: impl Into<Statement>, values: impl ToValues) -> Result<Pager, ClientError> {
        Ok(Pager::new(self.clone(), self.call(statement.into(), values).await?))
    }

    /// The result of a prepared statement page by page.
    ///
    /// # Errors
    /// When the values do not fit; nothing is sent yet.
    pub fn pages_prepared(&self, statement: &PreparedStatement, values: impl ToValues) -> Result<Pager, ClientError> {
        Ok(Pager::new(self.clone(), self.prepared_call(statement, &values)?))
    }

    /// All rows of a statement as a stream, which fetches pages as it goes.
    ///
    /// # Errors
    /// As [`Session::pages`].
    pub async fn query_iter(
        &self,
        statement: impl Into<Statement>,
        values: impl ToValues,
    ) -> Result<RowStream, ClientError> {
        Ok(self.pages(statement, values).await?.into_rows())
    }

    /// All rows of a prepared statement as a stream.
    ///
    /// # Errors
    /// As [`Session::pages_prepared`].
    pub fn query_iter_prepared(
        &self,
        statement: &PreparedStatement,
        values: impl ToValues,
    ) -> Result<RowStream, ClientError> {
        Ok(self.pages_prepared(statement, values)?.into_rows())
    }

    /// Prepares a statement, or finds it among those that this session has prepared. Nodes that do not know it, or
    /// forget it, are told it when it is executed there.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn prepare(&self, text: &str) -> Result<PreparedStatement, ClientError> {
        let keyspace = self.current_keyspace();
        let key = format!("{keyspace}\0{text}");
        let options = Options::default();
        if let Some(shared) = self.inner.prepared.lock().statements.get(&key) {
            return Ok(PreparedStatement { shared: Arc::clone(shared), options });
        }
        let facts = self.prepare_anywhere(text, &keyspace).await?;
        let shared = Arc::new(Prepared {
            text: text.to_owned(),
            keyspace,
            facts: ArcSwap::from_pointee(facts),
            prepared_again: tokio::sync::Mutex::default(),
        });
        self.inner.prepared.lock().insert(key, Arc::clone(&shared));
        Ok(PreparedStatement { shared, options })
    }

    /// Makes `name`, exactly as written, the keyspace of names that have none, for all clones of this session.
    ///
    /// # Errors
    /// When it does not exist; see [`ClientError`].
    pub async fn use_keyspace(&self, name: &str) -> Result<(), ClientError> {
        self.execute(format!("USE \"{}\"", name.replace('"', "\"\"")), ()).await.map(|_| ())
    }

    /// The keyspace of names that have none.
    #[must_use]
    pub fn keyspace(&self) -> Option<String> {
        self.inner.keyspace.load().as_ref().map(|name| name.as_ref().clone())
    }

    /// The cluster and its schema as this session knows it.
    #[must_use]
    pub fn topology(&self) -> Arc<Topology> {
        self.inner.cluster.topology()
    }

    /// Asks a node for the cluster and its schema.
    ///
    /// # Errors
    /// When nobody answers.
    pub async fn refresh_topology(&self) -> Result<Arc<Topology>, ClientError> {
        self.inner.cluster.refresh().await
    }

    fn current_keyspace(&self) -> String {
        self.inner.keyspace.load().as_ref().map_or_else(String::new, |name| name.as_ref().clone())
    }

    async fn call(&self, statement: Statement, values: impl ToValues) -> Result<Call, ClientError> {
        if values.count() == 0 {
            let class = class_of(&statement);
            let content = Content::Text { keyspace: self.current_keyspace(), text: statement.text };
            return Ok(self.new_call(content, Vec::new(), class, statement.options, None));
        }
        // Only the cluster knows the types of the bind markers.
        let prepared = self.prepare(&statement.text).await?;
        self.prepared_call(&PreparedStatement { options: statement.options, ..prepared }, &values)
    }

    fn prepared_call(&self, statement: &PreparedStatement, values: &impl ToValues) -> Result<Call, ClientError> {
        let shared = Arc::clone(&statement.shared);
        let facts = shared.facts.load_full();
        let values = bind(&facts.parameters, values)?;
        let (token, class) = (facts.token(&values), facts.class);
        Ok(self.new_call(Content::Prepared { shared, facts }, values, class, statement.options, token))
    }

    /// A new retry token, later than all others that this session has given. Keep it for as long as the write that it
    /// is for may be tried again, also across a restart of the program.
    #[must_use]
    pub fn new_retry_token(&self) -> RetryToken {
        // Differently seeded for each: it takes entropy of the process.
        let random = RandomState::new().build_hasher().finish();
        RetryToken::at(WallMicros(self.inner.timestamps.next()), random)
    }

    fn new_call(
        &self,
        content: Content,
        values: Vec<proto::Value>,
        class: Class,
        options: Options,
        token: Option<Token>,
    ) -> Call {
        let defaults = &self.inner.defaults;
        let stamped = defaults.timestamps && class.kind == Kind::Write && class.repeatable;
        let named = defaults.retry_tokens && class.kind == Kind::Write && !class.repeatable;
        let retry_token = options.retry_token.or_else(|| named.then(|| self.new_retry_token()));
        let own_timestamp = || stamped.then(|| self.inner.timestamps.next());
        // The time of a token is the timestamp.
        let timestamp = if retry_token.is_some() { None } else { options.timestamp.or_else(own_timestamp) };
        let reads = matches!(class.kind, Kind::Read | Kind::Use);
        let repeatable = retry_token.is_some() || class.repeatable && (reads || timestamp.is_some());
        Call {
            content,
            values,
            consistency: options.consistency.unwrap_or(defaults.consistency),
            serial: options.serial,
            timestamp,
            retry_token,
            page_rows: options.page_rows.unwrap_or(defaults.page_rows),
            trace: options.trace,
            paging_state: Bytes::new(),
            token,
            terms: Terms {
                timeout: options.timeout.unwrap_or(defaults.timeout),
                retries_max: defaults.retries_max,
                repeatable: options.idempotent.unwrap_or(repeatable),
                reads,
            },
        }
    }

    /// Executes a call, with as many attempts as it takes and may.
    pub(crate) async fn run(&self, call: &mut Call) -> Result<QueryResult, ClientError> {
        let cluster = &self.inner.cluster;
        let mut attempts = Attempts::new(cluster, call.terms);
        loop {
            let (node, connection) = attempts.node(call.target()).await?;
            let limit = attempts.limit()?;
            let sent = Instant::now();
            let failure = match connection.execute(call.request(limit - sent), limit).await {
                Ok(response) => return self.finish(call, &node, response, attempts.deadline()).await,
                Err(failure) => failure,
            };
            if attempts.failed(&node, failure).await? == Again::PrepareAgain
                && let Err(failure) = self.prepare_again(call, &(Arc::clone(&node), connection), sent, limit).await?
                && attempts.failed(&node, failure).await? == Again::PrepareAgain
            {
                // Preparing does not ask to prepare.
                return Err(attempts.last_error());
            }
        }
    }

    async fn prepare_anywhere(&self, text: &str, keyspace: &str) -> Result<Facts, ClientError> {
        let defaults = &self.inner.defaults;
        let (timeout, retries_max) = (defaults.timeout, defaults.retries_max);
        let terms = Terms { timeout, retries_max, repeatable: true, reads: true };
        let mut attempts = Attempts::new(&self.inner.cluster, terms);
        loop {
            let chosen = attempts.node(None).await?;
            let limit = attempts.limit()?;
            let failure = match prepare_on(&chosen, text, keyspace, limit).await {
                Ok(facts) => return Ok(facts),
                Err(failure) => failure,
            };
            if attempts.failed(&chosen.0, failure).await? == Again::PrepareAgain {
                return Err(attempts.last_error());
            }
        }
    }

    /// Tells a node a statement that it has forgotten. The inner error is a failed attempt; the outer one ends the
    /// call.
    async fn prepare_again(
        &self,
        call: &mut Call,
        chosen: &Chosen,
        sent: Instant,
        limit: Instant,
    ) -> Result<Result<(), Failure>, ClientError> {
        let Content::Prepared { shared, facts } = &mut call.content else {
            let reason = "it does not know a prepared statement that was not asked for".to_owned();
            return Err(ClientError::Protocol { address: chosen.0.address.clone(), reason });
        };
        let Ok(mut prepared_again) = timeout_at(limit, shared.prepared_again.lock()).await else {
            return Ok(Err(Failure::TimedOut));
        };
        if prepared_again.get(&chosen.0.id.0).is_none_or(|at| *at < sent) {
            match prepare_on(chosen, &shared.text, &shared.keyspace, limit).await {
                Ok(found) => {
                    if found != **shared.facts.load() {
                        shared.facts.store(Arc::new(found));
                    }
                    prepared_again.insert(chosen.0.id.0, Instant::now());
                }
                Err(failure) => return Ok(Err(failure)),
            }
        }
        drop(prepared_again);
        let now = shared.facts.load_full();
        if now.parameters != facts.parameters {
            let message = "the bind markers of the prepared statement have changed with the schema: bind again";
            return Err(ClientError::Request(RequestError::Invalid(message.to_owned())));
        }
        *facts = now;
        Ok(Ok(()))
    }

    /// Turns an answer into a result, and does what it asks of the session.
    async fn finish(
        &self,
        call: &Call,
        node: &Node,
        response: proto::ExecuteResponse,
        deadline: Instant,
    ) -> Result<QueryResult, ClientError> {
        let protocol = |error: InvalidMessage| {
            let (address, reason) = (node.address.clone(), error.to_string());
            ClientError::Protocol { address, reason }
        };
        let result = call.result(response, node.id).map_err(protocol)?;
        match &result.outcome {
            Outcome::Void | Outcome::Rows => {}
            Outcome::SetKeyspace(name) => self.inner.keyspace.store(Some(Arc::new(name.clone()))),
            Outcome::SchemaChange(change) => self.inner.cluster.agree(change.epoch, deadline).await,
        }
        Ok(result)
    }
}

impl PreparedCache {
    fn insert(&mut self, key: String, statement: Arc<Prepared>) {
        if self.statements.insert(key.clone(), statement).is_none() {
            self.order.push_back(key);
        }
        if self.order.len() > PREPARED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.statements.remove(&oldest);
        }
    }
}

impl Call {
    /// The keyspace and token of the partition, when they are known.
    fn target(&self) -> Option<(&str, Token)> {
        match (&self.content, self.token) {
            (Content::Prepared { facts, .. }, Some(token)) => Some((&facts.keyspace, token)),
            _ => None,
        }
    }

    /// The request for an attempt that may take so long.
    fn request(&self, time: Duration) -> proto::ExecuteRequest {
        use proto::execute_request::Statement;
        let (statement, keyspace, result_metadata_id) = match &self.content {
            Content::Text { text, keyspace } => (Statement::Text(text.clone()), keyspace.clone(), Bytes::new()),
            Content::Prepared { facts, .. } => {
                (Statement::PreparedId(facts.id.clone()), String::new(), facts.result_metadata_id.clone())
            }
        };
        let time = time - (time / 10).min(NETWORK_SHARE_MAX);
        proto::ExecuteRequest {
            statement: Some(statement),
            values: self.values.clone(),
            keyspace,
            consistency: proto::Consistency::from(self.consistency).into(),
            serial_consistency: self.serial.map_or(0, |serial| proto::Consistency::from(serial).into()),
            timestamp_micros: self.timestamp,
            retry_token: self.retry_token.map(|token| Bytes::copy_from_slice(&token.to_wire())).unwrap_or_default(),
            timeout_millis: u32::try_from(time.as_millis()).unwrap_or(u32::MAX).max(1),
            page_rows: self.page_rows,
            paging_state: self.paging_state.clone(),
            result_metadata_id,
            trace: self.trace,
        }
    }

    fn result(&self, response: proto::ExecuteResponse, coordinator: NodeId) -> Result<QueryResult, InvalidMessage> {
        use proto::execute_response::Result as Answer;
        let empty = |outcome| QueryResult {
            outcome,
            coordinator,
            warnings: response.warnings,
            trace_id: <[u8; 16]>::try_from(&response.trace_id[..]).ok().map(u128::from_be_bytes),
            columns: Columns::from([]),
            rows: Vec::new(),
            paging_state: None,
        };
        match response.result.ok_or_else(|| InvalidMessage::missing("ExecuteResponse.result"))? {
            Answer::Void(_) => Ok(empty(Outcome::Void)),
            Answer::SetKeyspace(set) => Ok(empty(Outcome::SetKeyspace(set.keyspace))),
            Answer::SchemaChange(change) => Ok(empty(Outcome::SchemaChange(schema_change(change)?))),
            Answer::Rows(page) => {
                let columns = self.columns_of(page.columns, &page.metadata_id)?;
                let rows = page.rows.into_iter().map(|row| Row::decode(&columns, row)).collect::<Result<_, _>>()?;
                let paging_state = page.paging_state;
                Ok(QueryResult { columns, rows, paging_state, ..empty(Outcome::Rows) })
            }
        }
    }

    /// The columns of a page: as it says, or those that the request said are known.
    fn columns_of(&self, specs: Vec<proto::ColumnSpec>, metadata_id: &Bytes) -> Result<Columns, InvalidMessage> {
        match &self.content {
            Content::Prepared { facts, .. } if specs.is_empty() && *metadata_id == facts.result_metadata_id => {
                Ok(Arc::clone(&facts.result_columns))
            }
            _ => columns(specs),
        }
    }
}

fn schema_change(change: proto::SchemaChange) -> Result<SchemaChange, InvalidMessage> {
    use proto::schema_change::Effect;
    let effect = match Effect::try_from(change.effect) {
        Ok(Effect::Created) => SchemaEffect::Created,
        Ok(Effect::Dropped) => SchemaEffect::Dropped,
        Ok(Effect::Updated) => SchemaEffect::Updated,
        Ok(Effect::Truncated) => SchemaEffect::Truncated,
        Ok(Effect::None) => SchemaEffect::None,
        _ => return Err(InvalidMessage::new("SchemaChange.effect", format!("{} is not known", change.effect))),
    };
    let table = Some(change.table).filter(|table| !table.is_empty());
    let user_type = Some(change.user_type).filter(|name| !name.is_empty());
    Ok(SchemaChange { effect, keyspace: change.keyspace, table, user_type, epoch: change.epoch })
}

async fn prepare_on(chosen: &Chosen, text: &str, keyspace: &str, limit: Instant) -> Result<Facts, Failure> {
    let mut client = chosen.1.client();
    let request = proto::PrepareRequest { text: text.to_owned(), keyspace: keyspace.to_owned() };
    let answer = timeout_at(limit, client.prepare(request)).await.map_err(|_| Failure::TimedOut)?;
    let response = answer.map_err(|status| failure_of(&status))?.into_inner();
    Facts::try_from(response).map_err(|error| Failure::Protocol(error.to_string()))
}
