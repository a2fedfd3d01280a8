//! From a statement with its values to whoever executes it: the shard that owns the partition, membership,
//! or nobody. What every front door does alike.
//!
//! Invariants:
//! * Nothing is executed before the node is a member of a cluster, nor once it is stopping.
//! * Every request that is started is answered exactly once, through its [`ReplyTo`] or its future.

use crate::auth::{Authenticator, Login};
use crate::clock::Clock;
use crate::explain::{Analysis, explained, rows_of};
use crate::gate::Gate;
use crate::member_loop::{MemberInput, Published};
use crate::metrics::Metrics;
use crate::native_clients::Clients;
use crate::shard_loop::{Outcome, ReplyTo, ShardInput};
use crate::statements::{Statement, Statements};
use crate::trace::{Trace, Tracer};
use bytes::Bytes;
use membership::ClusterView;
use model::error::Applied;
use model::limits::{PAGE_BYTES_MAX, PAGE_ROWS_DEFAULT, TABLES_MAX, TABLES_WARNED};
use model::schema::{Schema, SchemaChange};
use model::{Consistency, Epoch, Instant, NodeId, PartitionKey, RequestError, RetryToken, TableId, Token, TokenRange};
use node::io::{Request, Response};
use node::virtual_tables::{self, Facts};
use node::{IndexBuild, RangeEstimate, RepairsStatus, Shard, Storage};
use parking_lot::Mutex;
use query::{BatchKind, BatchLimits, Bound, BoundValue, EvaluationContext, PageLimits, RoleStatement};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;
use storage::{Pressure, Store};
use tokio::sync::{mpsc, oneshot};

/// The release of Cassandra whose behaviour clients find: some choose by it what they ask for.
const CASSANDRA_RELEASE: &str = "5.0.0";
/// The version of CQL.
pub(crate) const CQL_VERSION: &str = "3.4.7";

/// Large partitions of one statement that its client is told of.
const LARGE_TOLD_MAX: usize = 3;

/// What the node does with requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    /// Refuses them: it has not joined yet.
    Starting = 0,
    /// Executes them.
    Serving = 1,
    /// Refuses them: it is stopping.
    Draining = 2,
}

/// How a statement is to be executed.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Replicas that must answer.
    pub(crate) consistency: Consistency,
    /// Which replicas decide on a conditional statement.
    pub(crate) serial: Consistency,
    /// The client's timestamp.
    pub(crate) timestamp: Option<i64>,
    /// None for the node's default.
    pub(crate) timeout: Option<Duration>,
    /// Most rows in the answer; 0 when the client leaves it to the node.
    pub(crate) page_rows: u32,
    /// Where to go on.
    pub(crate) paging_state: Option<Bytes>,
    /// Names the write: however often it is sent, it happens once.
    pub(crate) token: Option<RetryToken>,
    /// Who asks.
    pub(crate) login: Login,
}

/// The retry token that a client has sent, if it has.
///
/// # Errors
/// `Invalid` when it is none.
pub(crate) fn retry_token(bytes: Option<&Bytes>) -> Result<Option<RetryToken>, RequestError> {
    let token = bytes.map(|bytes| RetryToken::from_wire(bytes)).transpose();
    token.map_err(|error| RequestError::Invalid(error.to_string()))
}

/// What became of that which a schema statement names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// It exists now.
    Created,
    /// It is another now.
    Updated,
    /// It exists no more.
    Dropped,
    /// It is empty now.
    Truncated,
    /// Nothing: it existed, or did not.
    None,
}

/// What a schema statement did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SchemaChanged {
    /// The keyspace.
    pub(crate) keyspace: String,
    /// The table; none when the keyspace itself or a type was changed.
    pub(crate) table: Option<String>,
    /// The user-defined type, if one was changed.
    pub(crate) user_type: Option<String>,
    /// What happened.
    pub(crate) effect: Effect,
    /// The epoch that includes it.
    pub(crate) epoch: Epoch,
    /// What the client should know besides.
    pub(crate) warning: Option<String>,
}

/// The result of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Of a read or a write.
    Data(Response),
    /// `USE`.
    Use(String),
    /// `CREATE`, `ALTER`, `DROP`, `TRUNCATE`.
    Schema(SchemaChanged),
}

/// Where a bound statement goes.
pub(crate) enum Plan {
    /// To a shard.
    Shard(Request),
    /// To the shard of each: writes of several partitions, which are answered together.
    Writes(Vec<Request>),
    /// To membership.
    Schema(SchemaChange),
    /// To membership or nowhere, by who asks for it.
    Role(RoleStatement, Login),
    /// Where the statement in it goes, which is measured.
    Analyze(Box<Analysis>),
    /// Nowhere: it is answered.
    Done(Answer),
}

/// A statement that is ready to be executed, and what its client should know of it: every front door says that
/// with the answer, beside what the answer itself brings ([`Answer::take_warnings`]).
pub(crate) struct Planned {
    /// Where it goes.
    pub(crate) plan: Plan,
    /// What can be said before it is executed.
    pub(crate) warnings: Vec<String>,
}

impl Answer {
    /// What the client should know of how it came about.
    pub(crate) fn take_warnings(&mut self) -> Vec<String> {
        match self {
            Answer::Data(Response::Rows { warnings, .. }) => std::mem::take(warnings),
            Answer::Schema(changed) => changed.warning.take().into_iter().collect(),
            Answer::Data(Response::Written | Response::Conditional(_)) | Answer::Use(_) => Vec::new(),
        }
    }
}

/// The front desk of a node.
pub(crate) struct Executor {
    /// The node's picture of the cluster.
    pub(crate) published: Arc<Published>,
    /// Prepared statements.
    pub(crate) statements: Statements,
    /// What is counted.
    pub(crate) metrics: Arc<Metrics>,
    /// Who may log in.
    pub(crate) authenticator: Authenticator,
    /// The connections of the CQL native protocol.
    pub(crate) clients: Arc<Clients>,
    /// The traces of requests.
    pub(crate) tracer: Tracer,
    /// This node.
    pub(crate) own: NodeId,
    /// Every clock is read here.
    pub(crate) clock: Clock,
    shards: Vec<mpsc::Sender<ShardInput>>,
    /// Before each of the shards.
    gates: Vec<Arc<Gate>>,
    member: mpsc::Sender<MemberInput>,
    store: Arc<Store>,
    timeout: Duration,
    batch_limits: BatchLimits,
    table_ids: Mutex<model::Rng>,
    phase: AtomicU8,
    calls: Mutex<Option<mpsc::Sender<()>>>,
    /// How much is in ranges of tables, and when that was looked at.
    estimates: Mutex<Estimates>,
    /// What the node was configured to: names and values.
    settings: Vec<(String, String)>,
}

/// By table and range.
type Estimates = BTreeMap<(TableId, Token, Token), (Instant, RangeEstimate)>;
/// For how long an estimate is given again: Cassandra makes new ones every five minutes.
const ESTIMATE_KEPT: Duration = Duration::from_secs(60);
/// How many are kept.
const ESTIMATES_MAX: usize = 10_000;

/// Held by a call while it is in work.
pub(crate) type CallGuard = Option<mpsc::Sender<()>>;

impl fmt::Debug for Executor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Executor of {}", self.own)
    }
}

impl virtual_tables::Live for Executor {
    fn settings(&self) -> Vec<(String, String)> {
        self.settings.clone()
    }

    fn clients(&self) -> Vec<virtual_tables::Client> {
        self.clients.list()
    }

    fn prepared(&self) -> Vec<(Bytes, Option<String>, String)> {
        self.statements.list()
    }

    fn repairs(&self) -> Arc<RepairsStatus> {
        self.published.repairs.load_full()
    }

    fn index_builds(&self) -> Vec<IndexBuild> {
        self.store.index_builds()
    }

    fn estimate(&self, table: TableId, range: TokenRange) -> Option<RangeEstimate> {
        let now = self.clock.now().monotonic;
        let place = (table, range.start, range.end);
        let mut estimates = self.estimates.lock();
        if let Some((at, estimate)) = estimates.get(&place)
            && now - *at < ESTIMATE_KEPT
        {
            return Some(*estimate);
        }
        let estimate = match self.store.estimate(table, range) {
            Ok(estimate) => estimate,
            Err(error) => {
                tracing::debug!(%table, %error, "the size of a table is not estimated");
                return None;
            }
        };
        if estimates.len() >= ESTIMATES_MAX {
            estimates.clear();
        }
        estimates.insert(place, (now, estimate));
        Some(estimate)
    }
}

impl Executor {
    /// A desk that refuses everything until it is told to serve. `first_password` is that of the first superuser, if
    /// clients must log in; `seed` is for what is random.
    #[allow(clippy::too_many_arguments, reason = "each is a part of the node, given once")]
    pub(crate) fn new(
        own: NodeId,
        published: Arc<Published>,
        shards: Vec<mpsc::Sender<ShardInput>>,
        gates: Vec<Arc<Gate>>,
        member: mpsc::Sender<MemberInput>,
        metrics: Arc<Metrics>,
        store: Arc<Store>,
        timeout: Duration,
        first_password: Option<String>,
        seed: u64,
    ) -> Executor {
        let mut random = model::Rng::new(seed);
        let authenticator = Authenticator::new(first_password, random.next_u128());
        let table_ids = Mutex::new(random);
        let phase = AtomicU8::new(Phase::Starting as u8);
        let statements = Statements::default();
        let calls = Mutex::new(None);
        Executor {
            published,
            statements,
            metrics,
            authenticator,
            clients: Arc::default(),
            tracer: Tracer::default(),
            own,
            clock: Clock::new(),
            shards,
            gates,
            member,
            store,
            timeout,
            batch_limits: BatchLimits::default(),
            table_ids,
            phase,
            calls,
            estimates: Mutex::default(),
            settings: Vec::new(),
        }
    }

    /// The same desk, with other limits of batches than the default ones.
    pub(crate) fn with_batch_limits(self, batch_limits: BatchLimits) -> Executor {
        Executor { batch_limits, ..self }
    }

    /// The same desk, which shows what the node was configured to.
    pub(crate) fn with_settings(self, settings: Vec<(String, String)>) -> Executor {
        Executor { settings, ..self }
    }

    /// Counts calls from now on: the receiver ends once [`Executor::end_calls`] was called and every call has
    /// ended.
    pub(crate) fn count_calls(&self) -> mpsc::Receiver<()> {
        let (sender, receiver) = mpsc::channel(1);
        *self.calls.lock() = Some(sender);
        receiver
    }

    /// Lets the receiver end with the last call that is in work now.
    pub(crate) fn end_calls(&self) {
        *self.calls.lock() = None;
    }

    /// To be held by a call while it is in work.
    pub(crate) fn call(&self) -> CallGuard {
        self.calls.lock().clone()
    }

    /// Changes what is done with requests.
    pub(crate) fn set_phase(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
    }

    /// The view to work with, if the node serves.
    ///
    /// # Errors
    /// `NotServing`.
    pub(crate) fn view(&self) -> Result<arc_swap::Guard<Arc<ClusterView>>, RequestError> {
        match self.phase.load(Ordering::Acquire) {
            phase if phase == Phase::Serving as u8 => Ok(self.published.view.load()),
            phase if phase == Phase::Draining as u8 => Err(RequestError::NotServing("it is shutting down".to_owned())),
            _ => Err(RequestError::NotServing("it has not joined a cluster yet".to_owned())),
        }
    }

    /// Binds the values and says where the statement goes.
    ///
    /// # Errors
    /// When the values do not fit the statement.
    pub(crate) fn plan(
        &self,
        statement: &Statement,
        values: &[BoundValue],
        options: Options,
    ) -> Result<Planned, RequestError> {
        self.plan_bound(self.bind(statement, values, options.token, 0)?, options)
    }

    /// A random number.
    pub(crate) fn random_u64(&self) -> u64 {
        self.table_ids.lock().next_u64()
    }

    /// Binds the values of the statement at `place` of its batch. What it draws at random, and the time that it goes
    /// by, are the same for the same token.
    ///
    /// # Errors
    /// When they do not fit the statement.
    pub(crate) fn bind(
        &self,
        statement: &Statement,
        values: &[BoundValue],
        token: Option<RetryToken>,
        place: usize,
    ) -> Result<Bound, RequestError> {
        let context = match token {
            Some(token) => EvaluationContext::of_token(token, place),
            None => EvaluationContext::new(self.clock.now().wall, self.random_u64()),
        };
        statement.prepared.bind(values, context)
    }

    /// Says where a statement with its values goes.
    ///
    /// # Errors
    /// When a table that the node answers by itself cannot be read so.
    pub(crate) fn plan_bound(&self, bound: Bound, options: Options) -> Result<Planned, RequestError> {
        let mut warnings = bound.warnings(self.batch_limits)?;
        warnings.extend(self.large_partitions(&bound));
        let timeout = bound.timeout().or(options.timeout).unwrap_or(self.timeout).min(query::TIMEOUT_MAX);
        let Options { consistency, serial, timestamp, page_rows, paging_state, token, login, .. } = options;
        if token.is_some() && !takes_token(&bound) {
            return Err(RequestError::Invalid(
                "A retry token can only be given for a write, or a read, of data".to_owned(),
            ));
        }
        let page_rows = match (&bound, page_rows) {
            (Bound::Read(read), 0) if read.is_one_page() => u32::MAX,
            (_, 0) => PAGE_ROWS_DEFAULT,
            (_, rows) => rows,
        };
        let plan = match bound {
            Bound::Conditional(write) => {
                serial.check_conditions()?;
                consistency.check_commit()?;
                Plan::Shard(Request::Conditional { write: Box::new(write), consistency, serial, token, timeout })
            }
            Bound::Write(write) => Plan::Shard(Request::Write { write, consistency, timestamp, token, timeout }),
            Bound::Writes(writes) | Bound::Batch { writes, .. } if writes.is_empty() => {
                Plan::Done(Answer::Data(Response::Written))
            }
            Bound::Batch { writes, kind: BatchKind::Logged } => {
                Plan::Shard(Request::Batch { writes, consistency, timestamp, token, timeout })
            }
            Bound::Writes(writes) | Bound::Batch { writes, .. } => {
                let request = |write| Request::Write { write, consistency, timestamp, token, timeout };
                Plan::Writes(writes.into_iter().map(request).collect())
            }
            Bound::Read(read) if query::system::is_system(&read.table().keyspace) => {
                consistency.check_read()?;
                Plan::Done(Answer::Data(self.read_virtual(&Arc::new(read), page_rows, paging_state.as_ref())?))
            }
            Bound::Read(read) => {
                let read = Arc::new(read);
                Plan::Shard(Request::Read { read, consistency, page_rows, paging_state, timeout })
            }
            Bound::Describe(description) => {
                let view = self.published.view.load();
                let state = paging_state.as_ref();
                let page = virtual_tables::describe(&self.facts(&view), &description, state, page_rows)?;
                Plan::Done(Answer::Data(Response::own_rows(page.rows, page.saved)))
            }
            Bound::Role(statement) => Plan::Role(statement, login),
            Bound::Explain(explain) => {
                let stages = explained(&explain, self.own, &self.published.view.load(), consistency);
                if explain.analyze {
                    let options = Options {
                        consistency,
                        serial,
                        timestamp,
                        timeout: Some(timeout),
                        page_rows,
                        paging_state: None,
                        token: None,
                        login,
                    };
                    Plan::Analyze(Box::new(Analysis { stages, statement: *explain.statement, options }))
                } else {
                    Plan::Done(Answer::Data(Response::own_rows(rows_of(&stages, false), None)))
                }
            }
            Bound::Use(keyspace) => Plan::Done(Answer::Use(keyspace)),
            Bound::Nothing => Plan::Done(Answer::Data(Response::Written)),
            Bound::Schema(request) => {
                let new_table_id = TableId(self.table_ids.lock().next_u128());
                Plan::Schema(request.change(new_table_id, self.clock.now().wall))
            }
        };
        Ok(Planned { plan, warnings })
    }

    /// What the client should know of large partitions that a statement reads or writes, as far as this node has met
    /// them.
    fn large_partitions(&self, bound: &Bound) -> Vec<String> {
        let told = |table: &model::schema::Table, partition: &PartitionKey| {
            let bytes = self.store.large_partition(table.id, partition)?;
            let (keyspace, name, key) = (&table.keyspace, &table.name, query::partition_literal(table, partition));
            Some(format!(
                "The partition {key} of {keyspace}.{name} has about {} MiB: one that grows without end slows its nodes \
                 down, and cannot be divided among others",
                bytes >> 20
            ))
        };
        let of_write = |write: &query::BoundWrite| told(write.table(), write.partition());
        match bound {
            Bound::Write(write) => of_write(write).into_iter().collect(),
            Bound::Writes(writes) | Bound::Batch { writes, .. } => {
                writes.iter().filter_map(of_write).take(LARGE_TOLD_MAX).collect()
            }
            Bound::Read(read) => match read.partitions() {
                Some(keys) => keys.iter().filter_map(|key| told(read.table(), key)).take(LARGE_TOLD_MAX).collect(),
                None => Vec::new(),
            },
            _ => Vec::new(),
        }
    }

    fn facts<'a>(&'a self, view: &'a ClusterView) -> Facts<'a> {
        let (release, cql_version) = (CASSANDRA_RELEASE, CQL_VERSION);
        Facts { view, own: self.own, release, cql_version, native_version: "5", live: self }
    }

    /// Reads a table that the node answers by itself.
    fn read_virtual(
        &self,
        read: &Arc<query::BoundRead>,
        page_rows: u32,
        paging_state: Option<&Bytes>,
    ) -> Result<Response, RequestError> {
        let view = self.published.view.load();
        let facts = self.facts(&view);
        // A client that takes no pages gets everything: it is all in memory anyway.
        let bytes = if page_rows == u32::MAX { u32::MAX } else { PAGE_BYTES_MAX as u32 };
        let limits = PageLimits { rows: page_rows, bytes };
        let page = virtual_tables::read(&facts, read, paging_state, limits, self.clock.now().wall)?;
        Ok(Response::own_rows(page.rows, page.saved))
    }

    /// Says whether a statement may come in, before it is looked at: not when whatever shard takes it would let it
    /// wait for too long.
    ///
    /// # Errors
    /// `Overloaded`.
    pub(crate) fn check_room(&self) -> Result<(), RequestError> {
        let mut refusal = Ok(());
        for gate in &self.gates {
            refusal = gate.check(self.timeout);
            if refusal.is_ok() {
                return refusal;
            }
        }
        self.metrics.requests_overloaded.add(1);
        refusal
    }

    fn gate(&self, request: &Request) -> (usize, &Gate) {
        let shard = usize::from(Shard::shard_of(request.token(), self.shards.len() as u16));
        (shard, &self.gates[shard])
    }

    /// Says whether a request may come in.
    fn check_request(&self, request: &Request) -> Result<(), RequestError> {
        let is_write = matches!(request, Request::Write { .. } | Request::Batch { .. } | Request::Conditional { .. });
        let checked = if is_write && self.store.pressure() == Pressure::Refusing {
            Err(RequestError::Overloaded("compaction does not keep up with writes".to_owned()))
        } else {
            self.gate(request).1.check(request.timeout())
        };
        checked.inspect_err(|_| self.metrics.requests_overloaded.add(1))
    }

    /// Gives a request to the shard that takes it, unless that, or storage, has more to do than it can.
    pub(crate) fn submit(&self, request: Request, reply: ReplyTo, trace: Option<Arc<Trace>>) {
        match self.check_request(&request) {
            Ok(()) => self.submit_checked(request, reply, trace),
            Err(error) => reply.send(Err(error)),
        }
    }

    /// Gives a request to the shard that takes it; a full inbox is an answer.
    fn submit_checked(&self, request: Request, reply: ReplyTo, trace: Option<Arc<Trace>>) {
        let (shard, gate) = self.gate(&request);
        gate.enter();
        let submitted = self.clock.now().monotonic;
        let input = ShardInput::Request { request, reply, submitted, trace };
        let (error, input) = match self.shards[shard].try_send(input) {
            Ok(()) => return,
            Err(mpsc::error::TrySendError::Full(input)) => {
                self.metrics.requests_overloaded.add(1);
                (RequestError::Overloaded("the shard's inbox is full".to_owned()), input)
            }
            Err(mpsc::error::TrySendError::Closed(input)) => {
                (RequestError::NotServing("it is shutting down".to_owned()), input)
            }
        };
        gate.leave();
        if let ShardInput::Request { reply, .. } = input {
            reply.send(Err(error));
        }
    }

    /// Executes a statement and waits for its result.
    ///
    /// # Errors
    /// As the statement's.
    pub(crate) async fn wait(&self, plan: Plan, trace: Option<&Arc<Trace>>) -> Result<Answer, RequestError> {
        match plan {
            Plan::Done(answer) => Ok(answer),
            Plan::Writes(requests) => self.write_all(requests, trace).await.map(Answer::Data),
            Plan::Schema(change) => self.change_schema(change).await.map(Answer::Schema),
            Plan::Role(statement, login) => self.execute_role_statement(statement, login).await,
            // It waits for the plans of the statement in it, which is no EXPLAIN.
            Plan::Analyze(analysis) => Box::pin(self.analyze(*analysis, trace)).await,
            Plan::Shard(request) => {
                let (sender, receiver) = oneshot::channel();
                self.submit(request, ReplyTo::One(sender), trace.cloned());
                let stopped = || RequestError::Server("the node stopped before it answered".to_owned());
                receiver.await.map_err(|_| stopped())?.map(Answer::Data)
            }
        }
    }

    /// Executes writes of several partitions, each on its own, and waits for all of them. None is begun when there is
    /// no room for one of them.
    async fn write_all(&self, requests: Vec<Request>, trace: Option<&Arc<Trace>>) -> Outcome {
        requests.iter().try_for_each(|request| self.check_request(request))?;
        let submitted = |request| {
            let (sender, receiver) = oneshot::channel();
            self.submit_checked(request, ReplyTo::One(sender), trace.cloned());
            receiver
        };
        let receivers: Vec<_> = requests.into_iter().map(submitted).collect();
        let (count, mut failures) = (receivers.len(), Vec::new());
        for receiver in receivers {
            let stopped = |_| Err(RequestError::Server("the node stopped before it answered".to_owned()));
            failures.extend(receiver.await.unwrap_or_else(stopped).err());
        }
        let nothing_was_done = failures.len() == count && failures.iter().all(|error| error.applied() == Applied::No);
        let failed = failures.len();
        match failures.into_iter().next() {
            None => Ok(Response::Written),
            // What it says of itself is not true of the others.
            Some(error) if error.applied() == Applied::No && !nothing_was_done => Err(RequestError::Server(format!(
                "{failed} of the {count} partitions of the statement were perhaps not written; of the first: {error}"
            ))),
            Some(error) => Err(error),
        }
    }

    /// Has a change of the schema decided.
    ///
    /// # Errors
    /// When it cannot be made or is not decided in time.
    pub(crate) async fn change_schema(&self, change: SchemaChange) -> Result<SchemaChanged, RequestError> {
        let before = self.published.view.load().schema.clone();
        let (reply, decided) = oneshot::channel();
        let overloaded = |_| RequestError::Overloaded("too many schema changes wait".to_owned());
        self.member.try_send(MemberInput::Propose { change: change.clone(), reply }).map_err(overloaded)?;
        let epoch = match decided.await {
            Ok(result) => result?,
            Err(_) => return Err(RequestError::SchemaTimeout("the node is stopping".to_owned())),
        };
        let view = self.published.view.load();
        let mut changed = describe(&change, &before, &view.schema, epoch);
        if let SchemaChange::AlterKeyspace { name, .. } = &change
            && let Some(running) = view.replication_change.as_ref().filter(|running| running.keyspace == *name)
        {
            changed.warning = Some(format!(
                "The replication of keyspace {name} is changed step by step ({} now): reads go to the replicas of \
                 before until the new ones hold everything",
                running.phase.name()
            ));
        }
        Ok(changed)
    }
}

/// True for what may have a retry token. A read may: it changes nothing, however often it is sent.
fn takes_token(bound: &Bound) -> bool {
    matches!(bound, Bound::Write(_) | Bound::Writes(_) | Bound::Batch { .. } | Bound::Conditional(_) | Bound::Read(_))
}

/// Where a role is.
static NOWHERE: String = String::new();

/// What a change did that was decided without error: `IF [NOT] EXISTS` may have left it without effect. `before` is
/// what was known before; `schema` is what is known now.
fn describe(change: &SchemaChange, before: &Schema, schema: &Schema, epoch: Epoch) -> SchemaChanged {
    use SchemaChange as C;
    let happened = match change {
        C::CreateTable { table, .. } => schema.table(table.id).is_some(),
        // Of what this node did not know, the log knew more.
        change => !matches!(before.apply(change), Ok(None)),
    };
    let (keyspace, table, user_type, effect) = match change {
        C::CreateKeyspace { name, .. } => (name, None, None, Effect::Created),
        C::AlterKeyspace { name, .. } | C::AdvanceReplication { keyspace: name, .. } => {
            (name, None, None, Effect::Updated)
        }
        C::DropKeyspace { name, .. } => (name, None, None, Effect::Dropped),
        C::CreateTable { table, .. } => (&table.keyspace, Some(table.name.clone()), None, Effect::Created),
        C::AlterTable { keyspace, name, .. } => (keyspace, Some(name.clone()), None, Effect::Updated),
        C::DropTable { keyspace, name, .. } => (keyspace, Some(name.clone()), None, Effect::Dropped),
        C::TruncateTable { keyspace, name } => (keyspace, Some(name.clone()), None, Effect::Truncated),
        C::CreateType { definition, .. } => {
            (&definition.keyspace, None, Some(definition.name.clone()), Effect::Created)
        }
        C::AlterType { keyspace, name, .. } => (keyspace, None, Some(name.clone()), Effect::Updated),
        C::DropType { keyspace, name, .. } => (keyspace, None, Some(name.clone()), Effect::Dropped),
        C::CreateIndex { keyspace, table, .. } => (keyspace, Some(table.clone()), None, Effect::Updated),
        // Of no keyspace.
        C::Role(_) => (&NOWHERE, None, None, Effect::Updated),
        C::DropIndex { keyspace, name, .. } => {
            (keyspace, table_of_index(before, keyspace, name), None, Effect::Updated)
        }
    };
    let effect = if happened { effect } else { Effect::None };
    let warning = if effect == Effect::None { None } else { warning(change, schema) };
    SchemaChanged { keyspace: keyspace.clone(), table, user_type, effect, epoch, warning }
}

/// The table that has the index `name`.
fn table_of_index(schema: &Schema, keyspace: &str, name: &str) -> Option<String> {
    let tables = &schema.keyspace(keyspace)?.tables;
    let table = tables.values().find(|table| table.indexes.iter().any(|index| index.name == name));
    table.map(|table| table.name.clone())
}

/// What the client should know of a change that has had an effect.
fn warning(change: &SchemaChange, schema: &Schema) -> Option<String> {
    let tables = schema.tables().len();
    match change {
        SchemaChange::CreateTable { .. } if tables >= TABLES_WARNED => Some(format!(
            "The cluster has {tables} tables, which slows its nodes down: {TABLES_MAX} is the most that it can have"
        )),
        _ => None,
    }
}
