//! A bare replicated store: streams, a count to two, and RocksDB, with nothing of what makes a database. It does for
//! a write what no design of this shape can do without, so it is what `measure cluster` compares real nodes with: on
//! the same machine, in the same run, with the same sockets, runtime and disk.
//!
//! A node takes writes over a bidirectional gRPC stream, sends each to both other nodes over such streams and puts it
//! into the queue of its one writing thread, which drains all that waits into one synced RocksDB batch; the client
//! has its answer when two nodes have the write. Values are opaque bytes under random keys. No schema, no language,
//! no timestamps, no merge, no hints, no failures: a node that misses anything ends.

use anyhow::{Context, Result, ensure};
use parking_lot::{Condvar, Mutex};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use storage::StoreOptions;
use storage::compare::BareDatabase;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use wire::bare_client::BareClient;
use wire::bare_server::{Bare, BareServer};
use wire::{WriteRequest, WriteResponse};

#[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated")]
mod wire {
    tonic::include_proto!("helenus.bare.v1");
}

/// The one table.
const TABLE: model::TableId = model::TableId(1);
/// Messages that may wait for a stream.
const WAITING_MAX: usize = 65_536;
/// As real nodes have.
const WINDOW_BYTES: u32 = 4 * 1024 * 1024;
/// Nodes that must have a write before its client is answered.
const QUORUM: u32 = 2;

/// Whom to tell that a write is durable here.
enum Waiter {
    /// Another node, or the client of a write that is not replicated.
    Stream(mpsc::Sender<Result<WriteResponse, Status>>, u64),
    /// This node's own coordinator.
    Coordinator(u64),
}

/// A replicated write under way.
struct Pending {
    acknowledged: u32,
    client: mpsc::Sender<Result<WriteResponse, Status>>,
    id: u64,
}

#[derive(Default)]
struct Coordinator {
    next: u64,
    pending: BTreeMap<u64, Pending>,
}

/// One bare node.
struct Node {
    queue: Mutex<Vec<(WriteRequest, Waiter)>>,
    filled: Condvar,
    coordinator: Mutex<Coordinator>,
    peers: Mutex<Vec<mpsc::Sender<WriteRequest>>>,
}

impl Node {
    fn store(&self, request: WriteRequest, waiter: Waiter) {
        self.queue.lock().push((request, waiter));
        self.filled.notify_one();
    }

    fn replicate(&self, request: WriteRequest, client: mpsc::Sender<Result<WriteResponse, Status>>) -> Result<()> {
        let operation = {
            let mut coordinator = self.coordinator.lock();
            coordinator.next += 1;
            let operation = coordinator.next;
            coordinator.pending.insert(operation, Pending { acknowledged: 0, client, id: request.id });
            operation
        };
        for peer in self.peers.lock().iter() {
            peer.try_send(WriteRequest { id: operation, replicate: false, ..request.clone() })?;
        }
        self.store(request, Waiter::Coordinator(operation));
        Ok(())
    }

    fn acknowledge(&self, operation: u64) {
        let mut coordinator = self.coordinator.lock();
        let Some(pending) = coordinator.pending.get_mut(&operation) else { return };
        pending.acknowledged += 1;
        if pending.acknowledged == QUORUM
            && let Some(pending) = coordinator.pending.remove(&operation)
        {
            // A client that is gone needs no answer.
            let _ = pending.client.try_send(Ok(WriteResponse { id: pending.id }));
        }
    }

    /// The one thread that writes.
    fn run_writer(&self, database: &BareDatabase) -> Result<()> {
        let mut group = Vec::new();
        loop {
            {
                let mut queue = self.queue.lock();
                while queue.is_empty() {
                    self.filled.wait(&mut queue);
                }
                std::mem::swap(&mut *queue, &mut group);
            }
            database.put_synced(TABLE, group.iter().map(|(request, _)| (&request.key[..], &request.value[..])))?;
            for (_, waiter) in group.drain(..) {
                match waiter {
                    Waiter::Coordinator(operation) => self.acknowledge(operation),
                    Waiter::Stream(stream, id) => drop(stream.blocking_send(Ok(WriteResponse { id }))),
                }
            }
        }
    }
}

#[derive(Clone)]
struct Service(Arc<Node>);

#[tonic::async_trait]
impl Bare for Service {
    type WriteStream = ReceiverStream<Result<WriteResponse, Status>>;

    async fn write(&self, request: Request<Streaming<WriteRequest>>) -> Result<Response<Self::WriteStream>, Status> {
        let mut requests = request.into_inner();
        let (answers, receiver) = mpsc::channel(WAITING_MAX);
        let node = self.0.clone();
        tokio::spawn(async move {
            while let Ok(Some(request)) = requests.message().await {
                if request.replicate {
                    if node.replicate(request, answers.clone()).is_err() {
                        return;
                    }
                } else {
                    let id = request.id;
                    node.store(request, Waiter::Stream(answers.clone(), id));
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

async fn connect(address: &str) -> Result<BareClient<tonic::transport::Channel>> {
    let started = Instant::now();
    loop {
        let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}"))?;
        let endpoint = endpoint.initial_stream_window_size(WINDOW_BYTES).initial_connection_window_size(WINDOW_BYTES);
        match endpoint.tcp_nodelay(true).connect().await {
            Ok(channel) => return Ok(BareClient::new(channel)),
            Err(error) => ensure!(started.elapsed() < Duration::from_secs(10), "no bare node at {address}: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Opens the stream on which this node writes to another; acknowledgements go to the coordinator.
async fn link(node: Arc<Node>, peer: String) -> Result<()> {
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    let mut answers = connect(&peer).await?.write(ReceiverStream::new(receiver)).await?.into_inner();
    node.peers.lock().push(sender);
    tokio::spawn(async move {
        while let Ok(Some(answer)) = answers.message().await {
            node.acknowledge(answer.id);
        }
    });
    Ok(())
}

/// Runs a bare node until the process is killed: `listen` and `peers` are addresses with ports.
///
/// # Errors
/// When it cannot listen, reach its peers, or write.
pub(crate) fn run_node(listen: &str, peers: &[String], data: &Path) -> Result<()> {
    std::fs::create_dir_all(data)?;
    let database = BareDatabase::open(&StoreOptions::new(data, model::NodeId(1)), &[TABLE])?;
    let address: SocketAddr = listen.parse().with_context(|| format!("'{listen}' is not an address"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let (queue, peers_linked) = (Mutex::default(), Mutex::default());
    let node = Arc::new(Node { queue, filled: Condvar::new(), coordinator: Mutex::default(), peers: peers_linked });
    let writer = node.clone();
    std::thread::Builder::new().name("bare-writer".to_owned()).spawn(move || {
        if let Err(error) = writer.run_writer(&database) {
            eprintln!("a bare node cannot write: {error}");
            std::process::exit(1);
        }
    })?;
    runtime.block_on(async {
        for peer in peers {
            tokio::spawn(link(node.clone(), peer.clone()));
        }
        let server = tonic::transport::Server::builder()
            .tcp_nodelay(true)
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES);
        let mut server = server;
        server.add_service(BareServer::new(Service(node.clone()))).serve(address).await?;
        Ok(())
    })
}

/// What a load on bare nodes came to.
pub(crate) struct Load {
    /// Answered writes.
    pub(crate) operations: u64,
    /// From the first to the last.
    pub(crate) seconds: f64,
}

/// Keeps `in_flight` writes of `value_bytes` under random keys of `keys` under way for `seconds`, spread over `nodes`.
///
/// # Errors
/// When a node cannot be reached or ends.
pub(crate) async fn load(
    nodes: &[String],
    in_flight: usize,
    keys: u64,
    value_bytes: usize,
    seconds: u64,
) -> Result<Load> {
    let ends = Instant::now() + Duration::from_secs(seconds);
    let started = Instant::now();
    let mut tasks = Vec::new();
    for (index, address) in nodes.iter().enumerate() {
        let share = in_flight / nodes.len() + usize::from(index < in_flight % nodes.len());
        let client = connect(address).await?;
        tasks.push(tokio::spawn(drive(client, index as u64, share, keys, value_bytes, ends)));
    }
    let mut operations = 0;
    for task in tasks {
        operations += task.await??;
    }
    Ok(Load { operations, seconds: started.elapsed().as_secs_f64() })
}

async fn drive(
    mut client: BareClient<tonic::transport::Channel>,
    seed: u64,
    in_flight: usize,
    keys: u64,
    value_bytes: usize,
    ends: Instant,
) -> Result<u64> {
    let (sender, receiver) = mpsc::channel(in_flight.max(1));
    let mut answers = client.write(ReceiverStream::new(receiver)).await?.into_inner();
    let mut rng = model::Rng::new(seed);
    let request = |id: u64, rng: &mut model::Rng| {
        let mut value = vec![0; value_bytes];
        value.chunks_mut(8).for_each(|chunk| chunk.copy_from_slice(&rng.next_u64().to_le_bytes()[..chunk.len()]));
        // As long as a real node's key of one bigint: region, token, length, key, end of clustering.
        let key = rng.below(keys).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
        let key = [&[0x20][..], &key, &[8], &key, &[0x38]].concat();
        WriteRequest { id, key, value, replicate: true }
    };
    for id in 0..in_flight as u64 {
        sender.send(request(id, &mut rng)).await?;
    }
    let (mut operations, mut open) = (0, in_flight);
    while open > 0 {
        let answer = answers.message().await?.context("a bare node ended its stream")?;
        operations += 1;
        if Instant::now() < ends {
            sender.send(request(answer.id, &mut rng)).await?;
        } else {
            open -= 1;
        }
    }
    Ok(operations)
}
