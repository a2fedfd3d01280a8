//! The sending end of one stream to another node: a bounded queue, and a task that keeps a connection and
//! puts what waits into frames.
//!
//! Invariants:
//! * Whoever sends never waits: what does not fit is dropped and counted, as the network may do.
//! * While no connection can be made, messages are dropped at once: an old message is worth less than the
//!   memory that holds it, and the logic above keeps what matters as hints.
//! * Each failure to connect, and each end of a connection, is told upwards.

use crate::metrics::Metrics;
use crate::peers::{LinkEvents, Local};
use crate::wire::peer_client::PeerClient;
use ::peer::{Batch, Hello, Priority, encode_membership, encode_node, frame_bytes, proto::v1 as proto};
use futures::task::AtomicWaker;
use model::NodeId;
use node::io::{Envelope, Message};
use node::register::PaxosAnswer;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::Notify;
use tokio_stream::Stream;
use tonic::transport::{Channel, Endpoint};

/// Messages that may wait for one stream.
const WAITING_MESSAGES_MAX: usize = 32_768;
/// Bytes of messages that may wait for one stream.
const WAITING_BYTES_MAX: usize = 32 * 1024 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const BACKOFF_FIRST: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(2);
/// A receiver that has acknowledged nothing new for so long, while something was sent, is unreachable.
const SILENCE_MAX: Duration = Duration::from_secs(4);
/// Bytes in flight on a stream before its sender waits: HTTP/2's default of 64 KiB would stall it.
pub(crate) const STREAM_WINDOW_BYTES: u32 = 4 * 1024 * 1024;

/// What a node says, before it is encoded.
pub(crate) enum Outgoing {
    /// A shard's.
    Node(Envelope),
    /// Membership's.
    Membership(membership::Message),
}

impl Outgoing {
    fn bytes(&self) -> usize {
        match self {
            Outgoing::Node(Envelope {
                message:
                    Message::Write { mutation, .. }
                    | Message::Forward { mutation, .. }
                    | Message::Forwarded { mutation, .. }
                    | Message::Count { change: mutation, .. }
                    | Message::Counted { mutation, .. },
                ..
            }) => mutation.bytes(),
            Outgoing::Node(Envelope { message: Message::Data { data, .. }, .. }) => {
                data.rows.iter().map(|(clustering, row)| clustering.len() + row.len() + 8).sum()
            }
            Outgoing::Node(Envelope { message: Message::KeepBatch { batch, .. }, .. }) => 64 + batch.bytes(),
            Outgoing::Node(Envelope { message: Message::Paxos { request, .. }, .. }) => 64 + request.bytes(),
            Outgoing::Node(Envelope {
                message: Message::PaxosAnswered { answer: PaxosAnswer::Promised(promised), .. },
                ..
            }) => 64 + promised.bytes(),
            Outgoing::Node(_) | Outgoing::Membership(_) => 64,
        }
    }
}

#[derive(Default)]
struct Waiting {
    messages: VecDeque<Outgoing>,
    bytes: usize,
    /// While true, messages are dropped.
    broken: bool,
    /// True once nobody will send any more.
    closed: bool,
}

/// The queue before a stream.
#[derive(Default)]
pub(crate) struct LinkQueue {
    waiting: Mutex<Waiting>,
    /// Wakes the stream's task when the queue is no longer empty.
    filled: AtomicWaker,
    /// Messages put into frames of the present stream.
    sent: AtomicU64,
    /// The number of the present stream: one that has ended takes nothing more.
    stream: AtomicU64,
    /// Ends a back-off: the other side was heard of.
    retry: Notify,
}

impl LinkQueue {
    /// Queues a message, or drops it. False when it is dropped because nothing can be sent at all.
    pub(crate) fn send(&self, message: Outgoing, metrics: &Metrics) -> bool {
        let mut waiting = self.waiting.lock();
        let full = waiting.messages.len() >= WAITING_MESSAGES_MAX || waiting.bytes >= WAITING_BYTES_MAX;
        if waiting.broken || full {
            metrics.messages_dropped.add(1);
            return !waiting.broken;
        }
        metrics.messages_sent.add(1);
        waiting.bytes += message.bytes();
        waiting.messages.push_back(message);
        let first = waiting.messages.len() == 1;
        drop(waiting);
        if first {
            self.filled.wake();
        }
        true
    }

    /// Lets the task end once what waits is sent.
    pub(crate) fn close(&self) {
        self.waiting.lock().closed = true;
        self.filled.wake();
        self.retry.notify_one();
    }

    /// Tries again now.
    pub(crate) fn retry(&self) {
        self.retry.notify_one();
    }

    /// Drops what waits and, while `broken`, what comes.
    fn set_broken(&self, broken: bool, metrics: &Metrics) {
        let mut waiting = self.waiting.lock();
        if broken {
            metrics.messages_dropped.add(waiting.messages.len() as u64);
            waiting.messages.clear();
            waiting.bytes = 0;
        }
        waiting.broken = broken;
    }

    /// Ready with true when something waits, with false when the queue is closed and empty.
    fn poll_filled(&self, context: &mut Context<'_>) -> Poll<bool> {
        self.filled.register(context.waker());
        let waiting = self.waiting.lock();
        match (waiting.messages.is_empty(), waiting.closed) {
            (false, _) => Poll::Ready(true),
            (true, true) => Poll::Ready(false),
            (true, false) => Poll::Pending,
        }
    }
}

/// The frames of one stream: the hello, then whatever waits each time the transport takes more.
struct Frames {
    queue: Arc<LinkQueue>,
    number: u64,
    hello: Option<proto::Frame>,
    taken: Vec<Outgoing>,
    metrics: Arc<Metrics>,
}

impl Stream for Frames {
    type Item = proto::Frame;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<proto::Frame>> {
        if let Some(hello) = self.hello.take() {
            return Poll::Ready(Some(hello));
        }
        if self.queue.stream.load(Ordering::Relaxed) != self.number {
            return Poll::Ready(None);
        }
        match self.queue.poll_filled(context) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(false) => return Poll::Ready(None),
            Poll::Ready(true) => {}
        }
        let frames = &mut *self;
        let mut waiting = frames.queue.waiting.lock();
        // Encoded outside the lock: a shard that sends must not wait for it.
        let mut bytes = 0;
        while bytes < Batch::BYTES_MAX && frames.taken.len() < Batch::ENVELOPES_MAX {
            let Some(message) = waiting.messages.pop_front() else { break };
            bytes += message.bytes();
            frames.taken.push(message);
        }
        waiting.bytes -= bytes;
        drop(waiting);
        frames.queue.sent.fetch_add(frames.taken.len() as u64, Ordering::Relaxed);
        let mut batch = Batch::with_capacity(frames.taken.len());
        for message in frames.taken.drain(..) {
            batch.push(match &message {
                Outgoing::Node(envelope) => encode_node(envelope),
                Outgoing::Membership(message) => encode_membership(message),
            });
        }
        let frame = batch.take();
        frames.metrics.message_bytes_sent.add(frame_bytes(&frame) as u64);
        Poll::Ready(Some(frame))
    }
}

/// One stream's task.
pub(crate) struct Link {
    /// Where the other node listens.
    pub(crate) address: SocketAddr,
    /// Which node must answer there; any for control, which is how nodes get to know each other.
    pub(crate) expected: Option<NodeId>,
    /// The class of traffic.
    pub(crate) priority: Priority,
    /// What is to be sent.
    pub(crate) queue: Arc<LinkQueue>,
    /// Who this node is.
    pub(crate) local: Arc<Local>,
    /// Who is told of failures.
    pub(crate) events: Arc<LinkEvents>,
    /// What is counted.
    pub(crate) metrics: Arc<Metrics>,
}

impl Link {
    /// Runs until the queue is closed.
    pub(crate) async fn run(self) {
        let mut backoff = BACKOFF_FIRST;
        while std::future::poll_fn(|context| self.queue.poll_filled(context)).await {
            let mut answered = false;
            let reason = self.stream(&mut answered).await;
            self.queue.stream.fetch_add(1, Ordering::Relaxed);
            self.queue.set_broken(true, &self.metrics);
            if self.queue.waiting.lock().closed {
                return;
            }
            if answered {
                backoff = BACKOFF_FIRST;
                tracing::info!(peer = %self.address, class = ?self.priority, %reason, "connection ended");
            } else {
                tracing::debug!(peer = %self.address, class = ?self.priority, %reason, "no connection");
            }
            self.events.unreachable(self.address, self.expected, self.priority).await;
            tokio::select! {
                () = tokio::time::sleep(backoff) => backoff = (backoff * 2).min(BACKOFF_MAX),
                // Never twice at once: a node that comes and goes must not make this one spin.
                () = async { self.queue.retry.notified().await; tokio::time::sleep(BACKOFF_FIRST).await; } => {}
            }
            self.queue.set_broken(false, &self.metrics);
        }
    }

    /// Connects and sends until the stream ends; says why it did. Sets `answered` once the other side has
    /// accepted the stream.
    async fn stream(&self, answered: &mut bool) -> String {
        let hello = self.local.hello(self.priority);
        let channel = match self.connect().await {
            Ok(channel) => channel,
            Err(error) => return describe(&error),
        };
        self.queue.sent.store(0, Ordering::Relaxed);
        let number = self.queue.stream.load(Ordering::Relaxed);
        let hello_frame = Some(Batch::hello(&hello));
        let (queue, metrics) = (self.queue.clone(), self.metrics.clone());
        let frames = Frames { queue, number, hello: hello_frame, taken: Vec::new(), metrics };
        let mut client = PeerClient::new(channel).max_encoding_message_size(model::limits::MESSAGE_BYTES_MAX);
        let accepted = tokio::time::timeout(CONNECT_TIMEOUT, client.channel(frames)).await;
        let mut acks = match accepted {
            Ok(Ok(response)) => response.into_inner(),
            Ok(Err(status)) => return status.message().to_owned(),
            Err(_) => return "the other side does not answer".to_owned(),
        };
        let first = match tokio::time::timeout(CONNECT_TIMEOUT, acks.message()).await {
            Ok(Ok(Some(ack))) => ack,
            Ok(Ok(None)) => return "the other side ended the stream".to_owned(),
            Ok(Err(status)) => return status.message().to_owned(),
            Err(_) => return "the other side does not say hello".to_owned(),
        };
        if let Err(reason) = self.check(first, &hello) {
            return reason;
        }
        *answered = true;
        tracing::debug!(peer = %self.address, class = ?self.priority, "connected");
        self.watch(acks).await
    }

    async fn connect(&self) -> Result<Channel, tonic::transport::Error> {
        Endpoint::from_shared(format!("http://{}", self.address))?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(STREAM_WINDOW_BYTES)
            .connect()
            .await
    }

    fn check(&self, ack: proto::Ack, own: &Hello) -> Result<(), String> {
        let hello = ack.hello.ok_or_else(|| "the first acknowledgement has no hello".to_owned())?;
        let hello = Hello::try_from(hello).map_err(|error| error.to_string())?;
        hello.check(own)?;
        match self.expected {
            Some(expected) if expected != hello.node_id => {
                Err(format!("node {} answers where {expected} should", hello.node_id))
            }
            _ => Ok(()),
        }
    }

    /// Waits for the end of the stream, or for a silence that means the same.
    async fn watch(&self, mut acks: tonic::Streaming<proto::Ack>) -> String {
        let mut ticks = tokio::time::interval(SILENCE_MAX / 4);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut acknowledged = 0;
        // The messages that had been sent when the clock below was started, and that clock.
        let mut awaited = 0;
        let mut since = tokio::time::Instant::now();
        loop {
            tokio::select! {
                ack = acks.message() => match ack {
                    Ok(Some(ack)) => acknowledged = ack.envelopes,
                    Ok(None) => return "the other side ended the stream".to_owned(),
                    Err(status) => return describe(&status),
                },
                _ = ticks.tick() => {
                    let sent = self.queue.sent.load(Ordering::Relaxed);
                    if acknowledged >= awaited {
                        (awaited, since) = (sent, tokio::time::Instant::now());
                    } else if since.elapsed() >= SILENCE_MAX {
                        return "the other side acknowledges nothing".to_owned();
                    }
                }
            }
        }
    }
}

/// An error with its causes: the transport's own text does not say why.
fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
