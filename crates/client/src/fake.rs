//! A cluster of fake nodes for tests: real gRPC servers on real sockets that answer as a test says.

use crate::classify::{Kind, classify};
use crate::servers::helenus_server::{Helenus, HelenusServer};
use api::proto::client::v1 as proto;
use api::rows::encode_row;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use model::schema::Replication;
use model::{CqlType, NodeId, RequestError, Token};
use parking_lot::Mutex;
use proto::execute_request::Statement;
use proto::execute_stream_response::Outcome;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};

/// What a node does with a request.
pub(crate) enum Answer {
    /// Answers that it is done.
    Done,
    /// Answers with this.
    Response(proto::ExecuteResponse),
    /// Answers with an error.
    Error(RequestError),
    /// Answers once it is told to.
    When(Arc<Notify>, Box<Answer>),
    /// Never answers.
    Silence,
    /// Dies, as by SIGKILL, without an answer.
    Death,
}

/// A request that a node has got.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) node: usize,
    pub(crate) request: proto::ExecuteRequest,
}

type Handler = dyn Fn(usize, &proto::ExecuteRequest) -> Answer + Send + Sync;

pub(crate) struct FakeCluster {
    shared: Arc<Shared>,
    running: Mutex<BTreeMap<usize, Running>>,
}

/// A node's thread, with a runtime of its own that dies with it.
struct Running {
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    handler: Mutex<Arc<Handler>>,
    nodes: Vec<FakeNode>,
    replication_factor: u32,
    seen: Mutex<Vec<Seen>>,
    /// Each node's epoch of the metadata log.
    epochs: Mutex<Vec<u64>>,
    /// Columns of every result, and their id.
    columns: Mutex<(Vec<proto::ColumnSpec>, Bytes)>,
    under_way: AtomicUsize,
    under_way_most: AtomicUsize,
}

struct FakeNode {
    address: SocketAddr,
    prepared: Mutex<BTreeSet<Bytes>>,
    prepares: AtomicUsize,
    kill: Mutex<Option<oneshot::Sender<()>>>,
}

/// The id of the node at this index.
pub(crate) fn node_id(node: usize) -> NodeId {
    NodeId(node as u128 + 1)
}

/// The tokens of the node at this index of so many.
fn tokens(node: usize, nodes: usize) -> Vec<Token> {
    let step = u64::MAX / nodes as u64;
    vec![Token(i64::MIN.wrapping_add_unsigned(step * (node as u64 + 1)))]
}

/// A page of rows of one bigint each.
pub(crate) fn page(values: &[i64], paging_state: Option<&'static str>) -> proto::Rows {
    proto::Rows {
        rows: values.iter().map(|value| encode_row(&[Some(Bytes::copy_from_slice(&value.to_be_bytes()))])).collect(),
        paging_state: paging_state.map(|state| Bytes::from_static(state.as_bytes())),
        columns: vec![proto::ColumnSpec::new("k", "t", "value", &CqlType::BigInt)],
        metadata_id: Bytes::new(),
    }
}

/// The answer with a page of rows.
pub(crate) fn rows(page: proto::Rows) -> Answer {
    let result = Some(proto::execute_response::Result::Rows(page));
    Answer::Response(proto::ExecuteResponse { result, warnings: vec![], ..Default::default() })
}

/// The bigint that the first value of a request is.
pub(crate) fn first_value(request: &proto::ExecuteRequest) -> i64 {
    match request.values.first().and_then(|value| value.kind.clone()) {
        Some(proto::value::Kind::Bytes(bytes)) => i64::from_be_bytes(bytes.as_ref().try_into().unwrap()),
        other => panic!("{other:?}"),
    }
}

impl FakeCluster {
    /// Starts so many nodes, which answer every request that it is done.
    pub(crate) fn start(nodes: usize, replication_factor: u32) -> FakeCluster {
        let node = |_| {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            (FakeNode::at(listener.local_addr().unwrap()), listener)
        };
        let (nodes, listeners): (Vec<FakeNode>, Vec<_>) = (0..nodes).map(node).unzip();
        let shared = Arc::new(Shared {
            handler: Mutex::new(Arc::new(|_, _| Answer::Done)),
            epochs: Mutex::new(vec![1; nodes.len()]),
            nodes,
            replication_factor,
            seen: Mutex::default(),
            columns: Mutex::new((
                vec![proto::ColumnSpec::new("k", "t", "value", &CqlType::BigInt)],
                Bytes::from_static(b"columns 1"),
            )),
            under_way: AtomicUsize::new(0),
            under_way_most: AtomicUsize::new(0),
        });
        let cluster = FakeCluster { shared, running: Mutex::default() };
        for (node, listener) in listeners.into_iter().enumerate() {
            cluster.run(node, listener);
        }
        cluster
    }

    fn run(&self, node: usize, listener: std::net::TcpListener) {
        listener.set_nonblocking(true).unwrap();
        let (kill, killed) = oneshot::channel();
        *self.shared.nodes[node].kill.lock() = Some(kill);
        let service = Service { node, shared: Arc::clone(&self.shared) };
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let incoming = TcpListenerStream::new(tokio::net::TcpListener::from_std(listener).unwrap());
                let router = tonic::transport::Server::builder().add_service(HelenusServer::new(service));
                tokio::select! {
                    served = router.serve_with_incoming(incoming) => served.unwrap(),
                    _ = killed => {}
                }
            });
            // Connections are tasks of this runtime: they end with it.
        });
        self.running.lock().insert(node, Running { thread: Some(thread) });
    }

    /// The nodes' addresses.
    pub(crate) fn addresses(&self) -> Vec<String> {
        self.shared.nodes.iter().map(|node| node.address.to_string()).collect()
    }

    /// What nodes do with requests from now on.
    pub(crate) fn answer(&self, handler: impl Fn(usize, &proto::ExecuteRequest) -> Answer + Send + Sync + 'static) {
        *self.shared.handler.lock() = Arc::new(handler);
    }

    /// The requests seen since this was asked last.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.shared.seen.lock())
    }

    /// Ends a node as SIGKILL does, and waits until it is gone.
    pub(crate) fn kill(&self, node: usize) {
        self.shared.kill(node);
        self.running.lock().remove(&node);
    }

    /// Starts a node that was killed again, at its address, with nothing prepared.
    pub(crate) fn restart(&self, node: usize) {
        self.running.lock().remove(&node);
        self.forget(node);
        let listener = std::net::TcpListener::bind(self.shared.nodes[node].address).unwrap();
        self.run(node, listener);
    }

    /// Makes a node forget its prepared statements.
    pub(crate) fn forget(&self, node: usize) {
        self.shared.nodes[node].prepared.lock().clear();
    }

    /// How often a node was asked to prepare.
    pub(crate) fn prepares(&self, node: usize) -> usize {
        self.shared.nodes[node].prepares.load(Ordering::SeqCst)
    }

    /// Sets the epoch that a node is at.
    pub(crate) fn set_epoch(&self, node: usize, epoch: u64) {
        self.shared.epochs.lock()[node] = epoch;
    }

    /// Changes the columns of every result, as a change of the schema does.
    pub(crate) fn set_columns(&self, columns: Vec<proto::ColumnSpec>, id: &'static [u8]) {
        *self.shared.columns.lock() = (columns, Bytes::from_static(id));
    }

    /// Most requests that were under way at once.
    pub(crate) fn under_way_most(&self) -> usize {
        self.shared.under_way_most.load(Ordering::SeqCst)
    }

    /// How many requests are under way.
    pub(crate) fn under_way(&self) -> usize {
        self.shared.under_way.load(Ordering::SeqCst)
    }

    /// The node whose range a key of one bigint is in.
    pub(crate) fn owner(&self, key: i64) -> usize {
        let token = Token::of(&key.to_be_bytes());
        let nodes = self.shared.nodes.len();
        (0..nodes).find(|node| token <= tokens(*node, nodes)[0]).unwrap_or(0)
    }
}

impl Drop for FakeCluster {
    fn drop(&mut self) {
        for node in 0..self.shared.nodes.len() {
            self.kill(node);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl FakeNode {
    fn at(address: SocketAddr) -> FakeNode {
        FakeNode { address, prepared: Mutex::default(), prepares: AtomicUsize::new(0), kill: Mutex::new(None) }
    }
}

impl Shared {
    fn kill(&self, node: usize) {
        if let Some(kill) = self.nodes[node].kill.lock().take() {
            let _ = kill.send(());
        }
    }

    /// What a node answers; `None` for never.
    async fn execute(&self, node: usize, request: proto::ExecuteRequest) -> Option<Outcome> {
        let now = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        self.under_way_most.fetch_max(now, Ordering::SeqCst);
        self.seen.lock().push(Seen { node, request: request.clone() });
        let unknown = match &request.statement {
            Some(Statement::PreparedId(id)) => !self.nodes[node].prepared.lock().contains(id),
            _ => false,
        };
        let mut answer = if unknown {
            Answer::Error(RequestError::Unprepared { id: "00".to_owned() })
        } else {
            let handler = Arc::clone(&self.handler.lock());
            handler(node, &request)
        };
        while let Answer::When(told, then) = answer {
            told.notified().await;
            answer = *then;
        }
        let outcome = match answer {
            Answer::Done => {
                let result = Some(proto::execute_response::Result::Void(proto::Void {}));
                Some(Outcome::Response(proto::ExecuteResponse { result, warnings: vec![], ..Default::default() }))
            }
            Answer::Response(response) => Some(Outcome::Response(self.named(&request, response))),
            Answer::Error(error) => Some(Outcome::Error((&error).into())),
            Answer::Silence | Answer::When(..) => None,
            Answer::Death => {
                self.kill(node);
                None
            }
        };
        if outcome.is_some() {
            self.under_way.fetch_sub(1, Ordering::SeqCst);
        }
        outcome
    }

    /// The answer to a prepared statement names its columns, or leaves them out.
    fn named(&self, request: &proto::ExecuteRequest, mut response: proto::ExecuteResponse) -> proto::ExecuteResponse {
        if let Some(proto::execute_response::Result::Rows(rows)) = &mut response.result
            && let Some(Statement::PreparedId(_)) = request.statement
        {
            let (columns, id) = self.columns.lock().clone();
            rows.columns = if request.result_metadata_id == id { vec![] } else { columns };
            rows.metadata_id = id;
        }
        response
    }
}

/// One node's service.
#[derive(Clone)]
struct Service {
    node: usize,
    shared: Arc<Shared>,
}

#[tonic::async_trait]
impl Helenus for Service {
    type ExecuteStreamStream = BoxStream<'static, Result<proto::ExecuteStreamResponse, Status>>;

    async fn execute(&self, _: Request<proto::ExecuteRequest>) -> Result<Response<proto::ExecuteResponse>, Status> {
        Err(Status::unimplemented("the driver uses the stream"))
    }

    async fn execute_stream(
        &self,
        requests: Request<Streaming<proto::ExecuteStreamRequest>>,
    ) -> Result<Response<Self::ExecuteStreamStream>, Status> {
        let (answers, receiver) = mpsc::channel(10_000);
        let service = self.clone();
        tokio::spawn(async move {
            let mut requests = requests.into_inner();
            while let Ok(Some(request)) = requests.message().await {
                let (service, answers) = (service.clone(), answers.clone());
                tokio::spawn(async move {
                    let execute = request.execute.unwrap();
                    if let Some(outcome) = service.shared.execute(service.node, execute).await {
                        let answer = proto::ExecuteStreamResponse { id: request.id, outcome: Some(outcome) };
                        let _ = answers.send(Ok(answer)).await;
                    }
                });
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver).boxed()))
    }

    async fn prepare(
        &self,
        request: Request<proto::PrepareRequest>,
    ) -> Result<Response<proto::PrepareResponse>, Status> {
        let request = request.into_inner();
        let node = &self.shared.nodes[self.node];
        node.prepares.fetch_add(1, Ordering::SeqCst);
        let class = classify(&request.text);
        let kind = match class.kind {
            Kind::Read => proto::StatementKind::Read,
            Kind::Write => proto::StatementKind::Write,
            _ => {
                let error = RequestError::Syntax { line: 1, column: 1, message: format!("'{}'", request.text) };
                let details = api::error::status_details(&error);
                return Err(Status::with_details(tonic::Code::InvalidArgument, error.to_string(), details));
            }
        };
        let id = Bytes::from(format!("{}/{}", request.keyspace, request.text));
        node.prepared.lock().insert(id.clone());
        let markers = request.text.matches('?').count();
        let (result_columns, result_metadata_id) = self.shared.columns.lock().clone();
        Ok(Response::new(proto::PrepareResponse {
            id,
            parameters: vec![proto::ColumnSpec::new("k", "t", "p", &CqlType::BigInt); markers],
            partition_key_indexes: if markers > 0 { vec![0] } else { vec![] },
            result_columns: if class.kind == Kind::Read { result_columns } else { vec![] },
            result_metadata_id: if class.kind == Kind::Read { result_metadata_id } else { Bytes::new() },
            keyspace: "k".to_owned(),
            table: "t".to_owned(),
            kind: kind.into(),
            idempotent: class.repeatable,
        }))
    }

    async fn topology(
        &self,
        request: Request<proto::TopologyRequest>,
    ) -> Result<Response<proto::TopologyResponse>, Status> {
        let epoch = self.shared.epochs.lock()[self.node];
        let nodes = self.shared.nodes.len();
        let replication = Replication::Simple { factor: self.shared.replication_factor };
        let keyspace = proto::Keyspace {
            name: "k".to_owned(),
            replication: Some((&replication).into()),
            tables: vec![],
            create_text: String::new(),
        };
        let known = request.into_inner().known_epoch == epoch;
        Ok(Response::new(proto::TopologyResponse {
            cluster_id: "00000000-0000-0000-0000-00000000c1c1".to_owned(),
            epoch,
            nodes: self.shared.nodes.iter().enumerate().map(|(index, node)| node.info(index, nodes)).collect(),
            keyspaces: if known { vec![] } else { vec![keyspace] },
            node_id: node_id(self.node).to_string(),
            release: "fake".to_owned(),
        }))
    }
}

impl FakeNode {
    fn info(&self, index: usize, nodes: usize) -> proto::Node {
        proto::Node {
            id: node_id(index).to_string(),
            client_address: self.address.to_string(),
            data_center: "dc".to_owned(),
            rack: "rack".to_owned(),
            tokens: tokens(index, nodes).into_iter().map(|token| token.0).collect(),
            up: true,
            ..proto::Node::default()
        }
    }
}

/// Waits until a condition holds; fails the test when it does not for long.
pub(crate) async fn until(what: &str, condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::task::yield_now().await;
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    };
    let waited = tokio::time::timeout(std::time::Duration::from_secs(30), waiting).await;
    assert!(waited.is_ok(), "waited for too long: {what}");
}
