//! One node from its start to its end.
//!
//! Order of a start: addresses are bound, so that a port in use is found before the data directory is
//! touched; the store is opened and checked, while clients are told that the node is recovering; membership
//! and the shards take up where they were; the loops and the two servers run; requests are served from when
//! the node is a member of its cluster.
//!
//! Order of an end: clients are told, by the health service and by `NotServing`; streams end when what was
//! taken from them is answered; the servers and loops stop; what waits is written and synced.

use crate::admin_service::AdminService;
use crate::auth;
use crate::client_service::{ClientService, status};
use crate::clock::Clock;
use crate::config::{Config, ConfigError, Durability};
use crate::entropy::{random_u64, random_u128};
use crate::execute::{Executor, Phase};
use crate::exit::{Exit, ServerError};
use crate::garbage_collector::{self, GarbageCollector};
use crate::gate::Gate;
use crate::grpc_login::LoggedIn;
use crate::index_builder;
use crate::member_loop::{self, MemberInput, MemberLoop, Published, exit_of};
use crate::metrics::Metrics;
use crate::native_connection::Door;
use crate::native_events::Events;
use crate::native_service;
use crate::peer_link::STREAM_WINDOW_BYTES;
use crate::peer_service::PeerService;
use crate::peers::{LinkEvents, Local, Peers};
use crate::read_pool::{ReadLimits, ReadPool};
use crate::shard_loop::{self, ShardInput, ShardLoop};
use crate::storage_writer::{StorageWriter, WriteQueue};
use crate::tls::Tls;
use crate::wire::{admin_server::AdminServer, helenus_server::HelenusServer, peer_server::PeerServer};
use arc_swap::ArcSwap;
use membership::{ClusterView, Member, MemberConfig, NodeAddresses};
use model::limits::MESSAGE_BYTES_MAX;
use model::local::prefix;
use model::schema::Schema;
use model::{Epoch, NodeId, Now, RequestError};
use node::storage::{Storage, StorageError};
use node::{HintPolicy, Recovered, RepairPolicy, RepairsStatus, Shard, ShardConfig};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use storage::{Store, StoreOptions};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle as TaskHandle, JoinSet};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

/// The client API's name to the health service; the empty name stands for the whole node.
const HEALTH_NAMES: [&str; 2] = ["", "helenus.client.v1.Helenus"];
/// For how long a draining node still answers new requests, with `NotServing`, so that clients go elsewhere.
const DRAIN_NOTICE: Duration = Duration::from_millis(200);
/// For how long a draining node waits for the requests that it has taken on.
const DRAIN_MAX: Duration = Duration::from_secs(10);
/// For how long connections may take to close once nothing is in work.
const CLOSE_MAX: Duration = Duration::from_millis(200);

/// How often a node that waits to join says what it waits for.
const WAITING_NOTICE: Duration = Duration::from_secs(5);

/// What only the operator can decide, for one start.
#[derive(Clone, Copy, Debug, Default)]
pub struct StartOptions {
    /// Open the store with what is left when less is found than was acknowledged as durable.
    pub accept_data_loss: bool,
}

/// What the loops and services of one node share.
pub(crate) struct Parts {
    /// The node's settings.
    pub(crate) config: Config,
    /// This node.
    pub(crate) own: NodeId,
    /// Its disk.
    pub(crate) store: Arc<Store>,
    /// What is counted.
    pub(crate) metrics: Arc<Metrics>,
    /// Every shard's inbox, by index.
    pub(crate) shards: Vec<mpsc::Sender<ShardInput>>,
    /// Membership's inbox.
    pub(crate) member: mpsc::Sender<MemberInput>,
    /// The node's picture of the cluster.
    pub(crate) published: Arc<Published>,
    /// The ways to other nodes.
    pub(crate) peers: Arc<Peers>,
    /// Before each of the shards.
    pub(crate) gates: Vec<Arc<Gate>>,
    /// What the operator says of hints, as the shards were told last.
    pub(crate) hints: tokio::sync::Mutex<HintPolicy>,
    /// The front desk.
    pub(crate) executor: Arc<Executor>,
    /// When the node started.
    pub(crate) started: std::time::Instant,
    /// Those that take in the streams of other nodes.
    pub(crate) receivers: Mutex<JoinSet<()>>,
}

/// The receiving ends of the inboxes.
struct Receivers {
    shards: Vec<mpsc::Receiver<ShardInput>>,
    member: mpsc::Receiver<MemberInput>,
}

/// A running node.
pub struct Node {
    parts: Arc<Parts>,
    health: HealthReporter,
    drain: watch::Sender<bool>,
    end_of_calls: mpsc::Receiver<()>,
    stop_servers: Vec<oneshot::Sender<()>>,
    servers: Vec<TaskHandle<()>>,
    loops: Vec<TaskHandle<()>>,
    writes: Arc<WriteQueue>,
    /// The sweeps for garbage and the building of indexes, which end when the sender is dropped.
    sweeping: Option<(crossbeam::channel::Sender<()>, [JoinHandle<()>; 2])>,
    threads: Vec<JoinHandle<()>>,
}

/// A listening socket.
async fn bind(address: SocketAddr, purpose: &'static str) -> Result<TcpListener, ServerError> {
    let listener = TcpListener::bind(address).await;
    listener.map_err(|cause| ServerError::Address { address, purpose, reason: cause.to_string() })
}

fn incoming(listener: TcpListener) -> TcpIncoming {
    TcpIncoming::from(listener).with_nodelay(Some(true))
}

/// Answers on `listener` while `opening` lasts: to the health service with `NOT_SERVING`, to everything else that
/// the node is recovering. `clients` is a server as clients expect it. Gives the listener back for the services
/// themselves.
async fn answer_recovering<T>(
    listener: TcpListener,
    clients: Server,
    opening: impl Future<Output = T>,
) -> (TcpListener, T) {
    // Two handles of one socket: who connects in between waits for the second.
    let split = listener.into_std().and_then(|own| Ok((own.try_clone()?, own)));
    let (shared, own) = split.expect("a socket that listens can be duplicated");
    let shared = TcpListener::from_std(shared).expect("the socket is not blocking");
    let (health, health_service) = tonic_health::server::health_reporter();
    set_health(&health, ServingStatus::NotServing).await;
    let recovering = || async {
        let reason = "it is recovering what its log holds; its own log tells how far it is";
        status(&RequestError::NotServing(reason.to_owned())).into_http::<tonic::body::Body>()
    };
    let routes = tonic::service::Routes::new(health_service).into_axum_router().fallback(recovering);
    let (stop, stopped) = oneshot::channel::<()>();
    let mut clients = clients;
    let routes = clients.add_routes(tonic::service::Routes::from(routes));
    let serving = tokio::spawn(routes.serve_with_incoming_shutdown(incoming(shared), async { drop(stopped.await) }));
    let opened = opening.await;
    let _ = stop.send(());
    // Connections that stay open are closed: they would not see the services.
    let abort = serving.abort_handle();
    if tokio::time::timeout(CLOSE_MAX, serving).await.is_err() {
        abort.abort();
    }
    (TcpListener::from_std(own).expect("the socket is not blocking"), opened)
}

fn failure(what: &str) -> impl Fn(std::io::Error) -> ServerError + '_ {
    move |cause| ServerError::Failure(format!("{what}: {cause}"))
}

/// Opens the store; a long recovery does not hold up the other tasks.
async fn open_store(config: &Config, options: StartOptions) -> Result<Store, ServerError> {
    let new_node = NodeId(random_u128().map_err(failure("no random node id"))?);
    let store_options = StoreOptions {
        block_cache_bytes: config.block_cache_bytes,
        write_buffer_bytes: config.write_buffer_bytes,
        auto_snapshot: config.auto_snapshot,
        accept_data_loss: options.accept_data_loss,
        // Syncs are this driver's: it answers what each has made durable.
        durability: storage::Durability::Group,
        tombstone_warn: config.tombstone_warn,
        ..StoreOptions::new(&config.data_dir, new_node)
    };
    let opened = tokio::task::spawn_blocking(move || Store::open(store_options)).await;
    let opened = opened.map_err(|cause| ServerError::Failure(format!("opening the store: {cause}")))?;
    opened.map_err(|error| data_directory(config, &error))
}

fn data_directory(config: &Config, error: &StorageError) -> ServerError {
    ServerError::DataDirectory { path: config.data_dir.display().to_string(), reason: error.to_string() }
}

/// The cluster before there is one.
fn empty_view() -> Arc<ClusterView> {
    let (schema, members) = (Arc::new(Schema::default()), BTreeMap::new());
    Arc::new(ClusterView::new(Epoch(0), 0, schema, members, BTreeSet::new()))
}

fn shard_config(config: &Config, own: NodeId, index: u16) -> ShardConfig {
    let durability = match config.durability {
        Durability::Group(_) | Durability::Batch => node::Durability::Group,
        Durability::Periodic(_) => node::Durability::Periodic,
    };
    let requests_max = (config.requests_max / u32::from(config.shards)).max(1) as usize;
    let defaults = ShardConfig::new(own, index, config.shards);
    // The defaults are those of a whole node.
    let request_bytes_max = defaults.request_bytes_max / usize::from(config.shards);
    ShardConfig {
        durability,
        requests_max,
        request_bytes_max,
        hints: hint_policy(config),
        repairs: repair_policy(config),
        tombstone_warn: config.tombstone_warn,
        tombstone_fail: config.tombstone_fail,
        ..defaults
    }
}

fn hint_policy(config: &Config) -> HintPolicy {
    HintPolicy { window: config.hint_window, ..HintPolicy::default() }
}

fn repair_policy(config: &Config) -> RepairPolicy {
    RepairPolicy {
        every: config.repair_interval,
        paused: false,
        bytes_per_second: NonZeroU64::new(config.repair_bytes_per_second),
    }
}

/// Membership as the data directory and the settings have it.
fn recover_member(config: &Config, store: &Store, now: Now) -> Result<Member, ServerError> {
    let records = store.local_records(prefix::MEMBERSHIP).map_err(|error| data_directory(config, &error))?;
    let member_config = MemberConfig {
        id: store.identity().node,
        addresses: NodeAddresses {
            internode: config.internode_advertise,
            client: config.grpc_advertise,
            native: config.native_advertise,
        },
        data_center: config.data_center.clone(),
        rack: config.rack.clone(),
        num_tokens: config.num_tokens,
        seeds: config.seeds.clone(),
        holds_data: !store.status().tables.is_empty(),
        expected_cluster: store.identity().cluster,
        voter_patience: membership::VOTER_PATIENCE,
    };
    Member::recover(member_config, &records, random_seed()?, now).map_err(|error| match exit_of(&error) {
        Exit::DataDirectory => {
            ServerError::DataDirectory { path: config.data_dir.display().to_string(), reason: error.to_string() }
        }
        Exit::Usage => {
            ServerError::Config(vec![ConfigError { subject: "membership".to_owned(), message: error.to_string() }])
        }
        _ => ServerError::Failure(error.to_string()),
    })
}

fn random_seed() -> Result<u64, ServerError> {
    random_u64().map_err(failure("no random seed"))
}

impl Parts {
    fn new(config: Config, store: Store, first_password: Option<String>) -> Result<(Parts, Receivers), ServerError> {
        let own = store.identity().node;
        let channels = (0..config.shards).map(|_| mpsc::channel(shard_loop::INBOX_INPUTS_MAX));
        let (shards, shard_receivers): (Vec<_>, Vec<_>) = channels.unzip();
        let gates: Vec<_> = shards.iter().map(|_| Arc::new(Gate::new(config.queue_wait_max))).collect();
        let (member, member_receiver) = mpsc::channel(member_loop::INBOX_INPUTS_MAX);
        let metrics = Arc::new(Metrics::default());
        let published = Arc::new(Published {
            view: ArcSwap::new(empty_view()),
            alive: ArcSwap::default(),
            repairs: ArcSwap::default(),
            joined: watch::Sender::new(false),
            changed: watch::Sender::new(()),
        });
        let local = Arc::new(Local {
            node_id: own,
            address: config.internode_advertise,
            shards: config.shards,
            cluster_id: Mutex::new(store.identity().cluster),
        });
        let events = LinkEvents { shards: shards.clone(), member: member.clone(), seeds: config.seeds.clone() };
        let peers = Arc::new(Peers::new(local, Arc::new(events), metrics.clone()));
        let store = Arc::new(store);
        let executor = Executor::new(
            own,
            published.clone(),
            shards.clone(),
            gates.clone(),
            member.clone(),
            metrics.clone(),
            store.clone(),
            config.request_timeout,
            first_password,
            random_seed()?,
        );
        let executor = Arc::new(executor.with_batch_limits(config.batch_limits).with_settings(config.settings()));
        let started = std::time::Instant::now();
        let receivers = Mutex::default();
        let hints = tokio::sync::Mutex::new(hint_policy(&config));
        let parts = Parts {
            config,
            own,
            store,
            metrics,
            shards,
            gates,
            member,
            published,
            peers,
            hints,
            executor,
            started,
            receivers,
        };
        Ok((parts, Receivers { shards: shard_receivers, member: member_receiver }))
    }
}

impl Node {
    /// Starts a node; it serves once [`Node::serving`] has returned.
    ///
    /// # Errors
    /// When an address is in use, the data directory cannot be used, or the system gives no threads.
    pub async fn start(config: Config, options: StartOptions) -> Result<Node, ServerError> {
        let client_listener = bind(config.grpc_listen, "clients (gRPC)").await?;
        let native_listener = bind(config.native_listen, "clients (CQL)").await?;
        let internode_listener = bind(config.internode_listen, "other nodes").await?;
        let tls = config.tls.as_ref().map(Tls::load).transpose();
        let tls = tls.map_err(|error| ServerError::Config(vec![error]))?;
        let first_password = config.superuser_password_file.as_deref().map(auth::read_password).transpose();
        let first_password = first_password.map_err(|error| ServerError::Config(vec![error]))?;
        let mut clients = client_server(tls.as_ref())?;
        let opening = open_store(&config, options);
        let (client_listener, store) = answer_recovering(client_listener, clients.clone(), opening).await;
        let (parts, receivers) = Parts::new(config, store?, first_password)?;
        tracing::info!(
            node = %parts.own, client = %parts.config.grpc_advertise, native = %parts.config.native_advertise,
            internode = %parts.config.internode_advertise,
            data = %parts.config.data_dir.display(), "starting"
        );
        let (health, health_service) = tonic_health::server::health_reporter();
        set_health(&health, ServingStatus::NotServing).await;
        let end_of_calls = parts.executor.count_calls();
        let (drain, draining) = watch::channel(false);
        let mut node = Node {
            parts: Arc::new(parts),
            health,
            drain,
            end_of_calls,
            stop_servers: Vec::new(),
            servers: Vec::new(),
            loops: Vec::new(),
            writes: Arc::new(WriteQueue::default()),
            sweeping: None,
            threads: Vec::new(),
        };
        node.start_loops(receivers)?;
        let peer_server = PeerServer::new(PeerService { parts: node.parts.clone() });
        let peer_server = peer_server.max_decoding_message_size(2 * MESSAGE_BYTES_MAX);
        node.serve(incoming(internode_listener), server().add_service(peer_server));
        node.serve_native(native_listener, draining.clone(), tls.map(|tls| tls.native));
        let client_service =
            ClientService { executor: node.parts.executor.clone(), own: node.parts.own, drain: draining };
        let client_server = HelenusServer::new(client_service)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(usize::MAX);
        let admin_server = AdminServer::new(AdminService { parts: node.parts.clone() });
        let routes = clients
            .add_service(logged_in(client_server, &node.parts, false))
            .add_service(logged_in(admin_server, &node.parts, true))
            .add_service(health_service)
            .add_service(reflection()?);
        node.serve(incoming(client_listener), routes);
        Ok(node)
    }

    fn start_loops(&mut self, receivers: Receivers) -> Result<(), ServerError> {
        let Parts { config, store, shards, gates, member: member_inbox, metrics, peers, .. } = &*self.parts;
        let damaged = |error: StorageError| data_directory(config, &error);
        let clock = Clock::new();
        let now = clock.now();
        let member = recover_member(config, store, now)?;
        let targets = store.hint_targets().map_err(damaged)?;
        let mut records = store.local_records(prefix::NODE).map_err(damaged)?;
        records.extend(store.local_records(prefix::BATCHES).map_err(damaged)?);
        let recovered = Recovered::from_local_records(&records, targets).map_err(damaged)?;
        let writer = StorageWriter {
            storage: store.clone(),
            queue: self.writes.clone(),
            durability: config.durability,
            shards: shards.clone(),
            member: member_inbox.clone(),
            metrics: metrics.clone(),
        };
        let thread = std::thread::Builder::new().name("storage-writer".to_owned()).spawn(move || writer.run());
        self.threads.push(thread.map_err(failure("no thread for storage"))?);
        let limits = ReadLimits { wait_max: config.queue_wait_max, timeout: config.request_timeout };
        let pool = ReadPool::start(usize::from(config.shards).clamp(2, 16), limits, store, shards, metrics);
        let (reads, handles) = pool.map_err(failure("no threads for reads"))?;
        self.threads.extend(handles);
        let (sweeping, stop) = crossbeam::channel::bounded(0);
        let collector = GarbageCollector {
            store: store.clone(),
            own: self.parts.own,
            published: self.parts.published.clone(),
            metrics: metrics.clone(),
            clock,
            schedule: garbage_collector::recover(store).map_err(damaged)?,
            stop: stop.clone(),
        };
        let thread = std::thread::Builder::new().name("garbage".to_owned()).spawn(move || collector.run());
        let thread = thread.map_err(failure("no thread for garbage"))?;
        let indexed = store.clone();
        let builder = std::thread::Builder::new().name("indexes".to_owned());
        let builder = builder.spawn(move || index_builder::run(&indexed, &stop));
        self.sweeping = Some((sweeping, [thread, builder.map_err(failure("no thread for indexes"))?]));
        let reads = Arc::new(reads);
        let repairs = RepairsStatus::recovered(&repair_policy(config), &recovered.repairs);
        self.parts.published.repairs.store(Arc::new(repairs));
        for ((index, inbox), gate) in (0u16..).zip(receivers.shards).zip(gates) {
            let (shard_config, nobody) = (shard_config(config, self.parts.own, index), Arc::default());
            let shard = Shard::new(shard_config, empty_view(), nobody, recovered.clone(), random_seed()?, now);
            let shard_loop = ShardLoop {
                index,
                shard,
                own: self.parts.own,
                inbox,
                gate: gate.clone(),
                wait_max: config.queue_wait_max,
                clock,
                store: store.clone(),
                reads: reads.clone(),
                writes: self.writes.clone(),
                peers: peers.clone(),
                member: member_inbox.clone(),
                metrics: metrics.clone(),
                published: self.parts.published.clone(),
            };
            self.loops.push(tokio::spawn(shard_loop.run()));
        }
        let (parts, writes) = (self.parts.clone(), self.writes.clone());
        let member_loop = MemberLoop { member, inbox: receivers.member, clock, writes, parts };
        self.loops.push(tokio::spawn(member_loop.run()));
        Ok(())
    }

    fn serve(&mut self, incoming: TcpIncoming, routes: tonic::transport::server::Router) {
        let (stop, stopped) = oneshot::channel::<()>();
        self.stop_servers.push(stop);
        self.servers.push(tokio::spawn(async move {
            let stopped = async { drop(stopped.await) };
            if let Err(error) = routes.serve_with_incoming_shutdown(incoming, stopped).await {
                tracing::error!(%error, "a server ended");
            }
        }));
    }

    /// Serves clients of the CQL native protocol from now on; their requests are refused until the node has joined.
    fn serve_native(
        &mut self,
        listener: TcpListener,
        drain: watch::Receiver<bool>,
        tls: Option<Arc<rustls::ServerConfig>>,
    ) {
        let Parts { config, executor, published, metrics, .. } = &*self.parts;
        let (events, frame_bytes_max) = (Arc::new(Events::new()), config.native_frame_bytes);
        let door = Arc::new(Door { executor: executor.clone(), events, tls, frame_bytes_max, drain });
        let (published, metrics) = (published.clone(), metrics.clone());
        let serving = native_service::serve(listener, door, published, config.native_connections_max, metrics);
        self.servers.push(tokio::spawn(serving));
    }

    /// Where clients reach the node.
    #[must_use]
    pub fn client_address(&self) -> SocketAddr {
        self.parts.config.grpc_advertise
    }

    /// Returns once the node is a member of its cluster and serves.
    pub async fn serving(&self) {
        let mut joined = self.parts.published.joined.subscribe();
        while tokio::time::timeout(WAITING_NOTICE, joined.wait_for(|joined| *joined)).await.is_err() {
            let (reply, status) = oneshot::channel();
            let asked = self.parts.member.send(MemberInput::Status(reply)).await;
            if let (Ok(()), Ok(status)) = (asked, status.await) {
                let waiting = status.waiting.unwrap_or_else(|| "its records to be stored".to_owned());
                tracing::info!("waiting for {waiting}");
            }
        }
        self.parts.executor.set_phase(Phase::Serving);
        set_health(&self.health, ServingStatus::Serving).await;
        tracing::info!(client = %self.client_address(), "serving");
    }

    /// Makes hints of what other nodes have not acknowledged yet: for the shards, nobody is reachable any more.
    async fn hand_over(&self) {
        let others: Vec<NodeId> = self.parts.published.view.load().members.keys().copied().collect();
        let handed_over = async {
            for shard in &self.parts.shards {
                for node in others.iter().filter(|node| **node != self.parts.own) {
                    let _ = shard.send(ShardInput::Unreachable(*node)).await;
                }
            }
            for shard in &self.parts.shards {
                let (reply, status) = oneshot::channel();
                // Answered after what was sent before: the hints are in the writer's queue then.
                let _ = shard.send(ShardInput::Status(reply)).await;
                let _ = status.await;
            }
        };
        if tokio::time::timeout(CLOSE_MAX, handed_over).await.is_err() {
            tracing::warn!("not every write that other nodes miss became a hint");
        }
    }

    /// Drains and stops the node; everything acknowledged is synced when it returns.
    pub async fn stop(mut self) {
        tracing::info!(client = %self.client_address(), "stopping");
        self.parts.executor.set_phase(Phase::Draining);
        set_health(&self.health, ServingStatus::NotServing).await;
        self.parts.executor.end_calls();
        if tokio::time::timeout(DRAIN_NOTICE, self.end_of_calls.recv()).await.is_err() {
            self.drain.send_replace(true);
            if tokio::time::timeout(DRAIN_MAX, self.end_of_calls.recv()).await.is_err() {
                tracing::warn!("requests are still in work; they are given up");
            }
        }
        self.hand_over().await;
        for stop in self.stop_servers.drain(..) {
            let _ = stop.send(());
        }
        self.parts.peers.abort();
        let mut receivers = std::mem::take(&mut *self.parts.receivers.lock());
        receivers.shutdown().await;
        let deadline = tokio::time::Instant::now() + CLOSE_MAX;
        for server in &mut self.servers {
            if tokio::time::timeout_at(deadline, &mut *server).await.is_err() {
                server.abort();
            }
        }
        for task in self.loops.drain(..) {
            task.abort();
            // Ended when this returns: nothing more is written after the queue is closed.
            let _ = task.await;
        }
        self.writes.close();
        let (threads, parts) = (std::mem::take(&mut self.threads), self.parts.clone());
        let sweeping = self.sweeping.take();
        drop(self);
        let finished = tokio::task::spawn_blocking(move || {
            for thread in threads {
                let _ = thread.join();
            }
            if let Some((stop, threads)) = sweeping {
                // Nothing is written any more: what RocksDB does in the background may end.
                drop(stop);
                parts.store.stop_sweeps();
                for thread in threads {
                    let _ = thread.join();
                }
            }
            // The last one closes the store.
            drop(parts);
        });
        let _ = finished.await;
        tracing::info!("stopped");
    }
}

/// A server with this node's limits.
fn server() -> Server {
    Server::builder()
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(2 * STREAM_WINDOW_BYTES)
        .http2_keepalive_interval(Some(Duration::from_secs(30)))
        .http2_keepalive_timeout(Some(Duration::from_secs(10)))
}

/// The service, for those who have logged in.
fn logged_in<S>(inner: S, parts: &Parts, superusers: bool) -> LoggedIn<S> {
    LoggedIn { inner, executor: parts.executor.clone(), superusers }
}

/// A server as clients expect it: with TLS if it is configured.
fn client_server(tls: Option<&Tls>) -> Result<Server, ServerError> {
    let Some(tls) = tls else { return Ok(server()) };
    let configured = server().tls_config(tls.grpc.clone());
    configured.map_err(|cause| ServerError::Failure(format!("no TLS for gRPC: {cause}")))
}

fn reflection() -> Result<
    impl tonic::codegen::Service<
        tonic::codegen::http::Request<tonic::body::Body>,
        Response = tonic::codegen::http::Response<tonic::body::Body>,
        Error = std::convert::Infallible,
        Future: Send + 'static,
    > + tonic::server::NamedService
    + Clone
    + Send
    + Sync
    + 'static,
    ServerError,
> {
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(::api::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1();
    reflection.map_err(|cause| ServerError::Failure(format!("reflection: {cause}")))
}

async fn set_health(health: &HealthReporter, status: ServingStatus) {
    for name in HEALTH_NAMES {
        health.set_service_status(name, status).await;
    }
}

#[cfg(test)]
#[path = "boot_tests.rs"]
pub(crate) mod tests;
