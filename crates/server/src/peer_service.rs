//! The receiving end of other nodes' streams.
//!
//! Invariants:
//! * Nothing is taken from a stream before its hello is accepted: version, cluster, and that the sender is
//!   not this node itself.
//! * A stream whose inbox is full is not read from until there is room, so that the sender's queue fills,
//!   not this node's memory.

use crate::boot::Parts;
use crate::member_loop::MemberInput;
use crate::shard_loop::ShardInput;
use crate::wire::peer_server;
use ::peer::{Hello, Payload, Priority, decode, proto::v1 as proto};
use node::io::Envelope;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio_stream::Stream;
use tonic::{Request, Response, Status, Streaming};

const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
/// How often the sender is told how much has arrived.
const ACK_EVERY: Duration = Duration::from_millis(500);

/// Takes messages of other nodes in.
#[derive(Clone)]
pub(crate) struct PeerService {
    /// Of the node.
    pub(crate) parts: Arc<Parts>,
}

#[tonic::async_trait]
impl peer_server::Peer for PeerService {
    type ChannelStream = Acks;

    async fn channel(&self, request: Request<Streaming<proto::Frame>>) -> Result<Response<Acks>, Status> {
        let mut frames = request.into_inner();
        let first = tokio::time::timeout(HELLO_TIMEOUT, frames.message()).await;
        let first = first.map_err(|_| Status::deadline_exceeded("the sender does not say hello"))??;
        let hello = first.and_then(|frame| frame.hello);
        let hello = hello.ok_or_else(|| Status::invalid_argument("the first frame has no hello"))?;
        let invalid = |reason: String| Status::invalid_argument(reason);
        let hello = Hello::try_from(hello).map_err(|error| invalid(error.to_string()))?;
        let own = self.parts.peers.local.hello(hello.priority);
        let from: SocketAddr =
            hello.internode_address.parse().map_err(|_| invalid("the hello's address is not IP:PORT".to_owned()))?;
        let refusal = self.check(&hello, &own).err();
        match &refusal {
            None => {}
            // Usual while a cluster forms: the sender tries again.
            Some(reason) if own.cluster_id.is_none() => {
                tracing::debug!(peer = %from, class = ?hello.priority, %reason, "a node's stream was refused");
            }
            Some(reason) => {
                tracing::warn!(peer = %from, class = ?hello.priority, %reason, "a node's stream was refused");
            }
        }
        let received = Arc::new(AtomicU64::new(0));
        let (ended, end) = oneshot::channel();
        let own_hello = proto::Ack { hello: Some(proto::Hello::from(&own)), envelopes: 0 };
        if let Some(reason) = refusal {
            // Hello and then the reason: the sender sees with whom it does not get along.
            let _ = ended.send(Status::failed_precondition(reason));
        } else {
            self.parts.peers.heard_of(from);
            let (service, received) = (self.clone(), received.clone());
            let mut receivers = self.parts.receivers.lock();
            // Those that have ended need not be kept.
            while receivers.try_join_next().is_some() {}
            receivers.spawn(async move {
                let status = service.take_in(from, &hello, frames, &received).await;
                let _ = ended.send(status);
            });
        }
        Ok(Response::new(Acks::new(own_hello, received, end)))
    }
}

impl PeerService {
    fn check(&self, hello: &Hello, own: &Hello) -> Result<(), String> {
        hello.check(own)?;
        if hello.priority != Priority::Control && (hello.cluster_id.is_none() || own.cluster_id.is_none()) {
            return Err("data is exchanged by members of one cluster only".to_owned());
        }
        Ok(())
    }

    /// Gives messages to whom they are for until the stream ends; the status with which it does.
    async fn take_in(
        &self,
        from: SocketAddr,
        hello: &Hello,
        mut frames: Streaming<proto::Frame>,
        received: &AtomicU64,
    ) -> Status {
        let stopping = || Status::unavailable("the node is stopping");
        // A frame's messages, sorted by who gets them: one hand-over for each shard and frame.
        let shards = self.parts.shards.len() as u16;
        let mut by_shard: Vec<Vec<Envelope>> = vec![Vec::new(); usize::from(shards)];
        loop {
            let frame = match frames.message().await {
                Ok(Some(frame)) => frame,
                Ok(None) => return Status::ok("ended"),
                Err(status) => return status,
            };
            let (received_at, count) = (self.parts.executor.clock.monotonic(), frame.envelopes.len() as u64);
            for envelope in frame.envelopes {
                match decode(envelope) {
                    Ok(Payload::Node(envelope)) if hello.priority != Priority::Control => {
                        if let Some(shard) = envelope.message.shard(shards) {
                            by_shard[usize::from(shard)].push(envelope);
                        }
                    }
                    Ok(Payload::Membership(message)) if hello.priority == Priority::Control => {
                        if self.parts.member.send(MemberInput::Message { from, message }).await.is_err() {
                            return stopping();
                        }
                    }
                    Ok(_) => return self.refuse(from, "the message is of another class than its stream"),
                    Err(error) => return self.refuse(from, &error.to_string()),
                }
            }
            for (shard, envelopes) in self.parts.shards.iter().zip(&mut by_shard) {
                if !envelopes.is_empty() {
                    let envelopes = std::mem::take(envelopes);
                    let input = ShardInput::Messages { from: hello.node_id, envelopes, received_at };
                    if shard.send(input).await.is_err() {
                        return stopping();
                    }
                }
            }
            self.parts.metrics.messages_received.add(count);
            received.fetch_add(count, Ordering::Relaxed);
        }
    }

    fn refuse(&self, from: SocketAddr, reason: &str) -> Status {
        self.parts.metrics.messages_malformed.add(1);
        tracing::warn!(peer = %from, %reason, "a message cannot be read; its stream is ended");
        Status::invalid_argument(reason.to_owned())
    }
}

/// The acknowledgements on a stream: the hello, then now and then how much was taken in, then the reason of
/// the end.
pub(crate) struct Acks {
    hello: Option<proto::Ack>,
    received: Arc<AtomicU64>,
    told: u64,
    ticks: tokio::time::Interval,
    end: oneshot::Receiver<Status>,
    ended: bool,
}

impl Acks {
    fn new(hello: proto::Ack, received: Arc<AtomicU64>, end: oneshot::Receiver<Status>) -> Acks {
        let mut ticks = tokio::time::interval(ACK_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        Acks { hello: Some(hello), received, told: 0, ticks, end, ended: false }
    }
}

impl Stream for Acks {
    type Item = Result<proto::Ack, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(hello) = self.hello.take() {
            return Poll::Ready(Some(Ok(hello)));
        }
        if self.ended {
            return Poll::Ready(None);
        }
        if let Poll::Ready(end) = Pin::new(&mut self.end).poll(context) {
            self.ended = true;
            return match end {
                Ok(status) if status.code() != tonic::Code::Ok => Poll::Ready(Some(Err(status))),
                Ok(_) | Err(_) => Poll::Ready(None),
            };
        }
        while self.ticks.poll_tick(context).is_ready() {
            let envelopes = self.received.load(Ordering::Relaxed);
            if envelopes != self.told {
                self.told = envelopes;
                return Poll::Ready(Some(Ok(proto::Ack { hello: None, envelopes })));
            }
        }
        Poll::Pending
    }
}
