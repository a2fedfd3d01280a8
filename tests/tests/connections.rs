//! Connections of the CQL native protocol to a node in a process of its own: very many, half-open ones, and ones that
//! send what is not of the protocol.
//!
//! `HELENUS_FRAMES` says which mutated frames are sent: a range of their numbers, such as `0..2000`. `cargo xtask soak
//! frames-sent` sends very many.

use bytes::Bytes;
use e2e::{Cluster, Node, PATIENCE};
use model::{Consistency, Rng};
use native::{
    Answer, Batch, BatchKind, BatchStatement, BoundValue, EventType, Execute, Inbound, Message, Outbound, Prepare,
    Query, QueryParameters, Request, Response, Startup, StatementText, Values, Version,
};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Range;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// Memory that one idle connection may take.
const CONNECTION_BYTES: u64 = 64 * 1024;
/// Idle connections, where the open files of a process allow so many.
const IDLE: usize = 10_000;
/// Frames that are sent unless somebody asks for more.
const FRAMES: Range<u64> = 0..2_000;
/// By how much a node may grow while it reads what is not of the protocol.
const GROWTH_BYTES: u64 = 256 << 20;

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Resident bytes of a node's process.
fn resident(node: &Node) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", node.id().unwrap())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    1024 * line.split_whitespace().next().unwrap().parse::<u64>().unwrap()
}

/// Files that this process, and one that it starts, may have open.
fn open_files() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    line.split_whitespace().next().and_then(|soft| soft.parse().ok()).unwrap_or(1_024)
}

/// A connection from an address of its own for each `number`: one address has not ports enough for all of them.
async fn connect(address: SocketAddr, number: u64) -> std::io::Result<TcpStream> {
    let own = Ipv4Addr::new(127, 99, (number / 200 % 200) as u8, (number % 200) as u8 + 1);
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(IpAddr::V4(own), 0))?;
    socket.connect(address).await
}

pub(crate) fn bytes_of(outbound: &mut Outbound, stream: i16, request: Request) -> Bytes {
    let message = Message { stream, tracing: false, custom_payload: Default::default(), request };
    outbound.push_message(&message).unwrap();
    outbound.take()
}

fn startup() -> Request {
    Request::Startup(Startup { options: [("CQL_VERSION".to_owned(), "3.0.0".to_owned())].into() })
}

/// Connects and says STARTUP.
pub(crate) async fn started(address: SocketAddr, number: u64, version: Version) -> (TcpStream, Inbound, Outbound) {
    let mut socket = connect(address, number).await.unwrap();
    let (mut inbound, mut outbound) = (Inbound::new(1 << 24), Outbound::new(version));
    socket.write_all(&bytes_of(&mut outbound, 0, startup())).await.unwrap();
    let answer = loop {
        if let Some(envelope) = inbound.next_envelope().unwrap() {
            break Answer::decode(&envelope).unwrap();
        }
        assert_ne!(socket.read_buf(inbound.buffer()).await.unwrap(), 0, "the connection was closed");
    };
    assert_eq!(answer.response, Response::Ready);
    inbound.start(None);
    outbound.start(None);
    (socket, inbound, outbound)
}

/// Asks for OPTIONS and waits for the answer.
async fn is_served(socket: &mut TcpStream) -> bool {
    socket.write_all(&[4, 0, 0, 1, 5, 0, 0, 0, 0]).await.unwrap();
    let mut header = [0; 9];
    if socket.read_exact(&mut header).await.is_err() {
        return false;
    }
    let mut body = vec![0; u32::from_be_bytes(header[5..].try_into().unwrap()) as usize];
    socket.read_exact(&mut body).await.is_ok() && header[4] == 6
}

pub(crate) fn native(cluster: &Cluster) -> SocketAddr {
    SocketAddr::new(cluster.addresses()[0].parse().unwrap(), 9042)
}

pub(crate) fn start(settings: &str) -> Cluster {
    let mut cluster = Cluster::configured(1, settings);
    cluster.node(0).start();
    cluster.wait_up(1);
    cluster
}

#[test]
fn thousands_of_idle_and_half_open_connections_cost_little_and_hold_up_nobody() {
    let idle = IDLE.min(open_files().saturating_sub(500) * 9 / 10);
    let half_open = idle / 10;
    eprintln!("{idle} idle connections and {half_open} half-open ones");
    let mut cluster = start(&format!("native_connections_max = {}", idle + half_open + 100));
    let address = native(&cluster);
    let runtime = runtime();
    // What the first ones make, once, is not theirs.
    runtime.block_on(async {
        for number in 0..100 {
            assert!(is_served(&mut started(address, number, Version::V4).await.0).await);
        }
    });
    let before = resident(cluster.node(0));
    let (mut sockets, mut halves) = runtime.block_on(async {
        let (mut sockets, mut halves) = (Vec::new(), Vec::new());
        for number in 0..idle as u64 {
            sockets.push(started(address, number, Version::V4).await.0);
        }
        for number in 0..half_open as u64 {
            let mut socket = connect(address, number).await.unwrap();
            // The beginning of a header.
            socket.write_all(&[4, 0, 0, 1, 1]).await.unwrap();
            halves.push(socket);
        }
        (sockets, halves)
    });
    let each = resident(cluster.node(0)).saturating_sub(before) / (idle + half_open) as u64;
    eprintln!("{each} bytes each");
    assert!(each < CONNECTION_BYTES, "{each} bytes for each connection");
    // Others are served meanwhile.
    let local = cluster.node(0).rows("SELECT key FROM system.local");
    assert_eq!(local, serde_json::json!([{"key": "local"}]));
    runtime.block_on(async {
        assert!(is_served(&mut started(address, 7, Version::V4).await.0).await);
        for half in &mut halves {
            let ended = tokio::time::timeout(PATIENCE, half.read_u8()).await;
            assert!(ended.is_ok_and(|read| read.is_err()), "who does not say STARTUP is closed");
        }
        for socket in sockets.iter_mut().step_by(97) {
            assert!(is_served(socket).await, "who has said it is kept");
        }
    });
}

fn parameters(rng: &mut Rng) -> QueryParameters {
    let mut parameters = QueryParameters::at(Consistency::One);
    parameters.values = Values::Positional(vec![BoundValue::Value(Bytes::from_static(b"local")), BoundValue::Null]);
    parameters.page_size = (rng.below(2) == 0).then_some(5);
    parameters.timestamp = (rng.below(2) == 0).then_some(7);
    parameters
}

/// Some request that a client may make.
fn request(rng: &mut Rng) -> Request {
    let text = "SELECT key FROM system.local WHERE key = ?".to_owned();
    match rng.below(8) {
        0 => startup(),
        1 => Request::Options,
        2 => Request::Query(Query { text, parameters: parameters(rng) }),
        3 => Request::Prepare(Prepare { text, keyspace: None }),
        4 => {
            let id = Bytes::from(rng.next_u128().to_be_bytes().to_vec());
            Request::Execute(Execute { id, result_metadata_id: None, parameters: parameters(rng) })
        }
        5 => {
            let statement =
                BatchStatement { statement: StatementText::Text(text), values: Values::Positional(Vec::new()) };
            let (kind, statements) = (BatchKind::Unlogged, vec![statement; 2]);
            Request::Batch(Batch { kind, statements, parameters: QueryParameters::at(Consistency::One) })
        }
        6 => {
            Request::Register(BTreeSet::from([EventType::SchemaChange, EventType::StatusChange]).into_iter().collect())
        }
        _ => Request::AuthResponse(Some(Bytes::from_static(b"\0a\0b"))),
    }
}

/// Changes bytes as nobody means them: of lengths too, and where a frame ends.
fn mutated(rng: &mut Rng, frame: &[u8]) -> Vec<u8> {
    let mut bytes = frame.to_vec();
    for _ in 0..rng.between(1, 4) {
        let at = rng.index(bytes.len().max(1));
        match rng.below(7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << rng.below(8),
            1 if at < bytes.len() => bytes[at] = rng.below(256) as u8,
            2 => bytes.truncate(at),
            3 => bytes.insert(at.min(bytes.len()), rng.below(256) as u8),
            4 => bytes.extend_from_within(at.min(bytes.len())..),
            5 if bytes.len() >= 9 => bytes[5..9].copy_from_slice(&(rng.next_u64() as u32).to_be_bytes()),
            6 if bytes.len() > 4 => bytes[at..].iter_mut().take(4).for_each(|byte| *byte = 0xff),
            _ => {}
        }
    }
    bytes
}

/// Sends one mutated frame, and reads what comes back to its end.
async fn send_mutated(address: SocketAddr, number: u64) {
    let mut rng = Rng::new(number);
    let version = if rng.below(2) == 0 { Version::V4 } else { Version::V5 };
    let (mut socket, mut inbound, mut outbound) = started(address, number, version).await;
    let request = request(&mut rng);
    let frame = bytes_of(&mut outbound, 1, request);
    // The node may have closed before all of it is sent.
    let _ = socket.write_all(&mutated(&mut rng, &frame)).await;
    let _ = socket.shutdown().await;
    let read_to_end = async {
        loop {
            match socket.read_buf(inbound.buffer()).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
    };
    let ended = tokio::time::timeout(PATIENCE, read_to_end).await;
    assert!(ended.is_ok(), "frame {number}: the node neither answers nor closes");
    while let Ok(Some(envelope)) = inbound.next_envelope() {
        assert!(Answer::decode(&envelope).is_ok(), "frame {number} is answered by what is no answer");
    }
}

#[test]
fn no_frame_brings_a_node_down_or_makes_it_grow() {
    let numbers = std::env::var("HELENUS_FRAMES").map_or(FRAMES, |range| {
        let (start, end) = range.split_once("..").expect("HELENUS_FRAMES is a range of numbers");
        start.parse().expect("a number")..end.parse().expect("a number")
    });
    let mut cluster = start("");
    let address = native(&cluster);
    let runtime = runtime();
    let before = resident(cluster.node(0));
    for number in numbers.clone() {
        runtime.block_on(send_mutated(address, number));
        if number % 10_000 == 9_999 {
            eprintln!("frames up to {number}: {} MiB resident", resident(cluster.node(0)) >> 20);
        }
    }
    assert!(cluster.node(0).ended().is_none(), "{}", cluster.node(0).log_text());
    let after = resident(cluster.node(0));
    assert!(after < before + GROWTH_BYTES, "from {before} to {after} bytes");
    assert!(runtime.block_on(async { is_served(&mut started(address, 1, Version::V4).await.0).await }));
    assert!(!cluster.node(0).log_text().contains("panicked"), "{}", cluster.node(0).log_text());
    eprintln!("frames {numbers:?}: {} MiB resident at the end", after >> 20);
}
