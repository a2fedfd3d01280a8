//! The network between the nodes of a cluster, in the hands of a test: each node advertises the address of a proxy,
//! which passes on what others send to it, late, in the end, or never.
//!
//! A *link* is the connections that one node has opened to another: what the first one says to the second goes over
//! them, and back comes only how much has arrived. So a link that is cut is a network that is cut in one direction.
//! Whose a connection is tells the address that it comes from ([`crate::machine`]).
//!
//! Invariants:
//! * Every connection between nodes goes over a proxy: no node knows the others' own addresses.
//! * Bytes of a connection are neither lost nor reordered while it lasts, as TCP promises; what a link holds back
//!   arrives once it is open, also when the sender is dead by then.
//! * Clients are never in the way: their connections are passed on as they are.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// Bytes that are read at once.
const CHUNK_BYTES: usize = 64 * 1024;
/// Chunks of one direction of a connection that are on their way; the sender waits for more.
const CHUNKS_MAX: usize = 256;

/// What a link does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Everything passes, so much later.
    Open(Duration),
    /// Nothing passes, until it is open again.
    Held,
    /// Connections end, and no new one lasts.
    Refused,
}

impl Rule {
    /// A link without fault.
    pub const WELL: Rule = Rule::Open(Duration::ZERO);
}

/// Where a node listens, and where others think that it does.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// The node's own address.
    pub own: Ipv4Addr,
    /// The proxy's.
    pub advertised: Ipv4Addr,
}

/// The proxies of all nodes of a cluster.
pub struct FaultProxy {
    links: Arc<Links>,
    // Dropped last: it ends all connections.
    _runtime: tokio::runtime::Runtime,
}

struct Links {
    places: Vec<Place>,
    /// From one node to another.
    rules: BTreeMap<(usize, usize), watch::Sender<Rule>>,
    /// Of clients.
    well: watch::Sender<Rule>,
    passed: AtomicU64,
    strangers: AtomicU64,
}

impl FaultProxy {
    /// Proxies for nodes at these places. All links are well.
    ///
    /// # Errors
    /// When an address cannot be listened on.
    pub fn start(places: Vec<Place>) -> io::Result<FaultProxy> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let pairs = (0..places.len()).flat_map(|from| (0..places.len()).map(move |to| (from, to)));
        let rules = pairs.filter(|(from, to)| from != to).map(|pair| (pair, watch::Sender::new(Rule::WELL))).collect();
        let (passed, strangers) = (AtomicU64::new(0), AtomicU64::new(0));
        let links = Arc::new(Links { places, rules, well: watch::Sender::new(Rule::WELL), passed, strangers });
        for to in 0..links.places.len() {
            for port in [crate::INTERNODE_PORT, client::DEFAULT_PORT] {
                let listener = runtime.block_on(TcpListener::bind((links.places[to].advertised, port)))?;
                runtime.spawn(Arc::clone(&links).accept(listener, to, port));
            }
        }
        Ok(FaultProxy { links, _runtime: runtime })
    }

    /// What the link from one node to another does from now on.
    ///
    /// # Panics
    /// When there are no such nodes, or they are one.
    pub fn set(&self, from: usize, to: usize, rule: Rule) {
        self.links.rules[&(from, to)].send_replace(rule);
    }

    /// All links are well.
    pub fn heal(&self) {
        for rule in self.links.rules.values() {
            rule.send_replace(Rule::WELL);
        }
    }

    /// Bytes that links have passed on.
    #[must_use]
    pub fn passed(&self) -> u64 {
        self.links.passed.load(Ordering::Relaxed)
    }

    /// Connections to a node of which nobody knows whose they are: there is none, if the test is not at fault.
    #[must_use]
    pub fn strangers(&self) -> u64 {
        self.links.strangers.load(Ordering::Relaxed)
    }
}

impl Links {
    async fn accept(self: Arc<Links>, listener: TcpListener, to: usize, port: u16) {
        loop {
            let Ok((accepted, peer)) = listener.accept().await else { continue };
            let from = self.places.iter().position(|place| IpAddr::from(place.own) == peer.ip());
            let rule = match from.and_then(|from| self.rules.get(&(from, to))) {
                Some(rule) if port == crate::INTERNODE_PORT => rule.subscribe(),
                _ if port != crate::INTERNODE_PORT => self.well.subscribe(),
                _ => {
                    self.strangers.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
            };
            let target = SocketAddr::new(self.places[to].own.into(), port);
            tokio::spawn(Arc::clone(&self).relay(accepted, target, rule));
        }
    }

    async fn relay(self: Arc<Links>, accepted: TcpStream, target: SocketAddr, rule: watch::Receiver<Rule>) {
        let mut refused = rule.clone();
        let relayed = async {
            // A node that is down: the connection ends as soon as it is made.
            let Ok(onward) = TcpStream::connect(target).await else { return };
            let _ = (accepted.set_nodelay(true), onward.set_nodelay(true));
            let (from, back) = accepted.into_split();
            let (answers, to) = onward.into_split();
            tokio::join!(self.pump(from, to, rule.clone()), self.pump(answers, back, rule));
        };
        tokio::select! {
            () = relayed => {}
            _ = refused.wait_for(|rule| *rule == Rule::Refused) => {}
        }
    }

    /// Passes on what comes until its end, and then the end.
    async fn pump(&self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut rule: watch::Receiver<Rule>) {
        let (sender, mut receiver) = mpsc::channel::<(Instant, Vec<u8>)>(CHUNKS_MAX);
        let take = async move {
            loop {
                let mut chunk = Vec::with_capacity(CHUNK_BYTES);
                match from.read_buf(&mut chunk).await {
                    Ok(0) | Err(_) => return,
                    Ok(_) => {}
                }
                if sender.send((Instant::now(), chunk)).await.is_err() {
                    return;
                }
            }
        };
        let give = async move {
            while let Some((arrived, chunk)) = receiver.recv().await {
                loop {
                    let open = rule.wait_for(|rule| matches!(rule, Rule::Open(_))).await.map(|rule| *rule);
                    let Ok(Rule::Open(delay)) = open else { return };
                    let due = arrived + delay;
                    if Instant::now() >= due {
                        break;
                    }
                    // The link may be another one by then.
                    tokio::select! {
                        () = tokio::time::sleep_until(due) => {}
                        _ = rule.changed() => {}
                    }
                }
                self.passed.fetch_add(chunk.len() as u64, Ordering::Relaxed);
                if to.write_all(&chunk).await.is_err() {
                    return;
                }
            }
            let _ = to.shutdown().await;
        };
        tokio::join!(take, give);
    }
}
