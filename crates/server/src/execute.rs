//! From a statement with its values to whoever executes it: the shard that owns the partition, membership,
//! or nobody. What every front door does alike.
//!
//! Invariants:
//! * Nothing is executed before the node is a member of a cluster, nor once it is stopping.
//! * Every request that is started is answered exactly once, through its [`ReplyTo`] or its future.

use crate::member_loop::{MemberInput, Published};
use crate::metrics::Metrics;
use crate::shard_loop::{ReplyTo, ShardInput};
use crate::statements::{Statement, Statements};
use bytes::Bytes;
use membership::ClusterView;
use model::limits::{TABLES_MAX, TABLES_WARNED};
use model::schema::{Schema, SchemaChange};
use model::types::UserType;
use model::{Consistency, Epoch, RequestError, TableId};
use node::Shard;
use node::io::{Request, Response};
use parking_lot::Mutex;
use query::{Bound, BoundValue};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;
use storage::{Pressure, Store};
use tokio::sync::{mpsc, oneshot};

/// Longest time to live of a request.
const TIMEOUT_MAX: Duration = Duration::from_secs(600);

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
    /// The client's timestamp.
    pub(crate) timestamp: Option<i64>,
    /// None for the node's default.
    pub(crate) timeout: Option<Duration>,
    /// Most rows in the answer.
    pub(crate) page_rows: u32,
    /// Where to go on.
    pub(crate) paging_state: Option<Bytes>,
}

/// What became of that which a schema statement names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// It exists now.
    Created,
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
    /// `CREATE`, `DROP`, `TRUNCATE`.
    Schema(SchemaChanged),
}

/// Where a bound statement goes.
pub(crate) enum Plan {
    /// To a shard.
    Shard(Request),
    /// To membership.
    Schema(SchemaChange),
    /// Nowhere: it is answered.
    Done(Answer),
}

/// The front desk of a node.
pub(crate) struct Executor {
    /// The node's picture of the cluster.
    pub(crate) published: Arc<Published>,
    /// Prepared statements.
    pub(crate) statements: Statements,
    /// What is counted.
    pub(crate) metrics: Arc<Metrics>,
    shards: Vec<mpsc::Sender<ShardInput>>,
    member: mpsc::Sender<MemberInput>,
    store: Arc<Store>,
    timeout: Duration,
    table_ids: Mutex<model::Rng>,
    phase: AtomicU8,
    calls: Mutex<Option<mpsc::Sender<()>>>,
}

/// Held by a call while it is in work.
pub(crate) type CallGuard = Option<mpsc::Sender<()>>;

impl Executor {
    /// A desk that refuses everything until it is told to serve. `seed` is for the ids of new tables.
    pub(crate) fn new(
        published: Arc<Published>,
        shards: Vec<mpsc::Sender<ShardInput>>,
        member: mpsc::Sender<MemberInput>,
        metrics: Arc<Metrics>,
        store: Arc<Store>,
        timeout: Duration,
        seed: u64,
    ) -> Executor {
        let table_ids = Mutex::new(model::Rng::new(seed));
        let phase = AtomicU8::new(Phase::Starting as u8);
        let statements = Statements::default();
        let calls = Mutex::new(None);
        Executor { published, statements, metrics, shards, member, store, timeout, table_ids, phase, calls }
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
    ) -> Result<Plan, RequestError> {
        let timeout = options.timeout.unwrap_or(self.timeout).min(TIMEOUT_MAX);
        let Options { consistency, timestamp, page_rows, paging_state, .. } = options;
        Ok(match statement.prepared.bind(values)? {
            Bound::Write(write) => Plan::Shard(Request::Write { write, consistency, timestamp, timeout }),
            Bound::Read(read) => {
                let read = Arc::new(read);
                Plan::Shard(Request::Read { read, consistency, page_rows, paging_state, timeout })
            }
            Bound::Use(keyspace) => Plan::Done(Answer::Use(keyspace)),
            Bound::Schema(request) => Plan::Schema(request.change(TableId(self.table_ids.lock().next_u128()))),
        })
    }

    /// Gives a request to the shard that takes it; a full inbox is an answer, and so is storage that
    /// does not keep up with writes.
    pub(crate) fn submit(&self, request: Request, reply: ReplyTo) {
        if matches!(request, Request::Write { .. }) && self.store.pressure() == Pressure::Refusing {
            self.metrics.requests_overloaded.add(1);
            return reply.send(Err(RequestError::Overloaded("compaction does not keep up with writes".to_owned())));
        }
        let shard = Shard::shard_of(request.token(), self.shards.len() as u16);
        let input = ShardInput::Request { request, reply };
        let (error, input) = match self.shards[usize::from(shard)].try_send(input) {
            Ok(()) => return,
            Err(mpsc::error::TrySendError::Full(input)) => {
                self.metrics.requests_overloaded.add(1);
                (RequestError::Overloaded("the shard's inbox is full".to_owned()), input)
            }
            Err(mpsc::error::TrySendError::Closed(input)) => {
                (RequestError::NotServing("it is shutting down".to_owned()), input)
            }
        };
        if let ShardInput::Request { reply, .. } = input {
            reply.send(Err(error));
        }
    }

    /// Executes a statement and waits for its result.
    ///
    /// # Errors
    /// As the statement's.
    pub(crate) async fn wait(&self, plan: Plan) -> Result<Answer, RequestError> {
        match plan {
            Plan::Done(answer) => Ok(answer),
            Plan::Schema(change) => self.change_schema(change).await.map(Answer::Schema),
            Plan::Shard(request) => {
                let (sender, receiver) = oneshot::channel();
                self.submit(request, ReplyTo::One(sender));
                let stopped = || RequestError::Server("the node stopped before it answered".to_owned());
                receiver.await.map_err(|_| stopped())?.map(Answer::Data)
            }
        }
    }

    /// Has a change of the schema decided.
    ///
    /// # Errors
    /// When it cannot be made or is not decided in time.
    pub(crate) async fn change_schema(&self, change: SchemaChange) -> Result<SchemaChanged, RequestError> {
        let existed = exists(&self.published.view.load().schema, &change);
        let (reply, decided) = oneshot::channel();
        let overloaded = |_| RequestError::Overloaded("too many schema changes wait".to_owned());
        self.member.try_send(MemberInput::Propose { change: change.clone(), reply }).map_err(overloaded)?;
        let epoch = match decided.await {
            Ok(result) => result?,
            Err(_) => return Err(RequestError::SchemaTimeout("the node is stopping".to_owned())),
        };
        Ok(describe(&change, existed, &self.published.view.load().schema, epoch))
    }
}

/// Whether what `change` is about exists.
fn exists(schema: &Schema, change: &SchemaChange) -> bool {
    match change {
        SchemaChange::CreateKeyspace { name, .. } | SchemaChange::DropKeyspace { name, .. } => {
            schema.keyspace(name).is_some()
        }
        SchemaChange::CreateTable { table, .. } => schema.find_table(&table.keyspace, &table.name).is_ok(),
        SchemaChange::DropTable { keyspace, name, .. } | SchemaChange::TruncateTable { keyspace, name } => {
            schema.find_table(keyspace, name).is_ok()
        }
        SchemaChange::CreateType { definition: UserType { keyspace, name, .. }, .. }
        | SchemaChange::DropType { keyspace, name, .. } => {
            schema.keyspace(keyspace).is_some_and(|keyspace| keyspace.types.contains_key(name))
        }
    }
}

/// What a change did that was decided without error: `IF [NOT] EXISTS` may have left it without effect.
/// `existed` is what was known before; `schema` is what is known now.
fn describe(change: &SchemaChange, existed: bool, schema: &Schema, epoch: Epoch) -> SchemaChanged {
    let (keyspace, table, happened, effect) = match change {
        SchemaChange::CreateKeyspace { name, .. } => (name, None, !existed, Effect::Created),
        SchemaChange::DropKeyspace { name, .. } => (name, None, existed, Effect::Dropped),
        SchemaChange::CreateTable { table, .. } => {
            let ours = schema.table(table.id).is_some();
            (&table.keyspace, Some(&table.name), ours, Effect::Created)
        }
        SchemaChange::DropTable { keyspace, name, .. } => (keyspace, Some(name), existed, Effect::Dropped),
        SchemaChange::TruncateTable { keyspace, name } => (keyspace, Some(name), true, Effect::Truncated),
        SchemaChange::CreateType { definition, .. } => (&definition.keyspace, None, !existed, Effect::Created),
        SchemaChange::DropType { keyspace, .. } => (keyspace, None, existed, Effect::Dropped),
    };
    let user_type = match change {
        SchemaChange::CreateType { definition: UserType { name, .. }, .. } | SchemaChange::DropType { name, .. } => {
            Some(name.clone())
        }
        _ => None,
    };
    let effect = if happened { effect } else { Effect::None };
    let tables = schema.tables().len();
    let warned = effect == Effect::Created && table.is_some() && tables >= TABLES_WARNED;
    let warning = warned.then(|| {
        format!(
            "The cluster has {tables} tables, which slows its nodes down: {TABLES_MAX} is the most that it can have"
        )
    });
    SchemaChanged { keyspace: keyspace.clone(), table: table.cloned(), user_type, effect, epoch, warning }
}
