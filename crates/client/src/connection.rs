//! One connection to one node: an `ExecuteStream` on which many requests are under way at once, and the channel
//! for the calls beside it.
//!
//! Invariants:
//! * At most [`Settings::in_flight_max`] requests are under way; the others wait for room before they are sent.
//! * A request counts as under way until it is answered or the connection is lost, also after its caller has given
//!   up: the node may still work on it.
//! * Each request gets its own answer: an id names a slot and how often the slot was used.

use crate::proto::helenus_client::HelenusClient;
use crate::retry::Failure;
use crate::security::{NamedChannel, Security};
use api::proto::client::v1 as proto;
use model::RequestError;
use model::limits::MESSAGE_BYTES_MAX;
use parking_lot::Mutex;
use proto::execute_stream_response::Outcome;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, TryAcquireError, mpsc, oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Endpoint;
use tonic::{Code, Status, Streaming};

/// A connection's settings; the session's.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) connect_timeout: Duration,
    pub(crate) security: Security,
    /// Requests under way at once on one connection; at least 1.
    pub(crate) in_flight_max: usize,
}

/// How long a connection may be silent before it is asked for a sign of life, and how long that may take.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// How much the peer may send before it must wait: pages of rows should not.
const STREAM_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 8 * 1024 * 1024;

#[derive(Debug)]
pub(crate) struct Connection {
    shared: Arc<Shared>,
    requests: mpsc::Sender<proto::ExecuteStreamRequest>,
    client: HelenusClient<NamedChannel>,
    reader: AbortHandle,
}

/// What requests and the task that reads answers share.
#[derive(Debug)]
struct Shared {
    pending: Mutex<Pending>,
    room: Semaphore,
    closed: watch::Sender<bool>,
}

type Waiter = oneshot::Sender<proto::ExecuteStreamResponse>;

/// The requests under way.
#[derive(Debug, Default)]
struct Pending {
    /// Why the connection was lost, once it is.
    lost: Option<String>,
    slots: Vec<Slot>,
    free: Vec<u32>,
}

#[derive(Debug, Default)]
struct Slot {
    /// How often the slot was used: the upper half of the id.
    uses: u32,
    waiter: Option<Waiter>,
}

impl Pending {
    /// The id for a request whose answer goes to `waiter`.
    fn insert(&mut self, waiter: Waiter) -> u64 {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            u32::try_from(self.slots.len() - 1).expect("the number of requests under way is bounded")
        });
        let slot = &mut self.slots[index as usize];
        slot.uses = slot.uses.wrapping_add(1);
        slot.waiter = Some(waiter);
        u64::from(slot.uses) << 32 | u64::from(index)
    }

    /// The one that waits for the answer to request `id`; `None` when it is not under way.
    fn remove(&mut self, id: u64) -> Option<Waiter> {
        let (uses, index) = ((id >> 32) as u32, id as u32);
        let slot = self.slots.get_mut(index as usize).filter(|slot| slot.uses == uses)?;
        let waiter = slot.waiter.take()?;
        self.free.push(index);
        Some(waiter)
    }
}

/// A channel with what all connections have in common.
///
/// # Errors
/// Why there is none, in words.
pub(crate) async fn channel(
    address: &str,
    connect_timeout: Duration,
    security: &Security,
) -> Result<NamedChannel, String> {
    let endpoint = endpoint(address, connect_timeout, security)?;
    let channel = endpoint.connect().await.map_err(|error| describe(&error))?;
    Ok(InterceptedService::new(channel, security.credentials.clone()))
}

fn endpoint(address: &str, connect_timeout: Duration, security: &Security) -> Result<Endpoint, String> {
    let scheme = if security.tls.is_some() { "https" } else { "http" };
    let mut endpoint = Endpoint::from_shared(format!("{scheme}://{address}")).map_err(|error| error.to_string())?;
    if let Some(tls) = &security.tls {
        endpoint = endpoint.tls_config(tls.clone()).map_err(|error| describe(&error))?;
    }
    Ok(endpoint
        .connect_timeout(connect_timeout)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES))
}

/// An error of the transport, with its causes: the outermost one says next to nothing.
pub(crate) fn describe(error: &dyn std::error::Error) -> String {
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

fn describe_status(status: &Status) -> String {
    let text = describe(status);
    if text.is_empty() { format!("{:?}", status.code()) } else { text }
}

/// A failed call as a failure of an attempt.
pub(crate) fn failure_of(status: &Status) -> Failure {
    if let Some(error) = api::error::from_status_details(status.details()) {
        return Failure::Request(error);
    }
    match status.code() {
        Code::DeadlineExceeded => Failure::TimedOut,
        Code::Unavailable | Code::Cancelled | Code::Unknown | Code::Aborted => Failure::Lost(describe_status(status)),
        Code::Unauthenticated => Failure::Request(RequestError::Unauthorized(status.message().to_owned())),
        Code::ResourceExhausted => Failure::Request(RequestError::Overloaded(status.message().to_owned())),
        _ => Failure::Request(RequestError::Server(describe_status(status))),
    }
}

/// A client for the calls beside the stream.
pub(crate) fn client(channel: NamedChannel) -> HelenusClient<NamedChannel> {
    HelenusClient::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}

impl Connection {
    /// Connects and opens the stream.
    ///
    /// # Errors
    /// Why not, in words.
    pub(crate) async fn open(address: &str, settings: &Settings) -> Result<Connection, String> {
        let connect = async {
            let mut client = client(channel(address, settings.connect_timeout, &settings.security).await?);
            let (requests, receiver) = mpsc::channel(settings.in_flight_max);
            let answers = client.execute_stream(ReceiverStream::new(receiver)).await;
            let answers = answers.map_err(|status| describe_status(&status))?.into_inner();
            Ok::<_, String>((client, requests, answers))
        };
        let connected = timeout(settings.connect_timeout, connect).await;
        let (client, requests, answers) =
            connected.map_err(|_| format!("no connection within {:?}", settings.connect_timeout))??;
        let shared = Arc::new(Shared {
            pending: Mutex::default(),
            room: Semaphore::new(settings.in_flight_max),
            closed: watch::Sender::new(false),
        });
        let reader = tokio::spawn(read_answers(Arc::clone(&shared), answers)).abort_handle();
        Ok(Connection { shared, requests, client, reader })
    }

    /// A client for the calls beside the stream.
    pub(crate) fn client(&self) -> HelenusClient<NamedChannel> {
        self.client.clone()
    }

    /// Waits until the connection is lost.
    pub(crate) async fn closed(&self) {
        // An error means that the sender is gone, which it is not before the connection.
        let _ = self.shared.closed.subscribe().wait_for(|closed| *closed).await;
    }

    /// Sends a request and waits for its answer until `deadline`.
    pub(crate) async fn execute(
        &self,
        execute: proto::ExecuteRequest,
        deadline: Instant,
    ) -> Result<proto::ExecuteResponse, Failure> {
        self.make_room(deadline).await?;
        let (waiter, answer) = oneshot::channel();
        let id = {
            let mut pending = self.shared.pending.lock();
            if let Some(reason) = &pending.lost {
                return Err(Failure::NotSent(reason.clone()));
            }
            pending.insert(waiter)
        };
        let request = proto::ExecuteStreamRequest { id, execute: Some(execute) };
        if self.requests.try_send(request).is_err() {
            // The channel has room for every request under way, so the stream is gone.
            self.shared.finish(id);
            return Err(Failure::NotSent("the stream has ended".to_owned()));
        }
        match timeout_at(deadline, answer).await {
            Err(_) => Err(Failure::TimedOut),
            Ok(Err(_)) => Err(Failure::Lost(self.shared.pending.lock().lost.clone().unwrap_or_default())),
            Ok(Ok(response)) => match response.outcome {
                Some(Outcome::Response(response)) => Ok(response),
                Some(Outcome::Error(error)) => Err(Failure::Request(request_error(error))),
                None => Err(Failure::Protocol("ExecuteStreamResponse.outcome is missing".to_owned())),
            },
        }
    }

    /// Takes a place among the requests under way, which the answer gives back.
    async fn make_room(&self, deadline: Instant) -> Result<(), Failure> {
        let full = || Failure::NotSent("too many requests are under way".to_owned());
        let lost = || Failure::NotSent("the connection was lost".to_owned());
        let room = match self.shared.room.try_acquire() {
            Ok(room) => room,
            Err(TryAcquireError::Closed) => return Err(lost()),
            Err(TryAcquireError::NoPermits) => {
                let room = timeout_at(deadline, self.shared.room.acquire()).await;
                room.map_err(|_| full())?.map_err(|_| lost())?
            }
        };
        room.forget();
        Ok(())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Shared {
    /// Ends a request: its place is free again. The one that waits for its answer.
    fn finish(&self, id: u64) -> Option<Waiter> {
        let waiter = self.pending.lock().remove(id);
        if waiter.is_some() {
            self.room.add_permits(1);
        }
        waiter
    }

    /// Ends the connection: whoever waits for an answer learns that none will come.
    fn lose(&self, reason: String) {
        let slots = {
            let mut pending = self.pending.lock();
            pending.lost = Some(reason);
            std::mem::take(&mut pending.slots)
        };
        self.room.close();
        drop(slots);
        self.closed.send_replace(true);
    }
}

async fn read_answers(shared: Arc<Shared>, mut answers: Streaming<proto::ExecuteStreamResponse>) {
    let reason = loop {
        match answers.message().await {
            Ok(Some(answer)) => {
                // An answer that nobody waits for any more is dropped.
                if let Some(waiter) = shared.finish(answer.id) {
                    let _ = waiter.send(answer);
                }
            }
            Ok(None) => break "the node has ended the stream".to_owned(),
            Err(status) => break describe_status(&status),
        }
    };
    shared.lose(reason);
}

/// The error that a node reports; one of a newer version is a server error in its words.
fn request_error(error: proto::Error) -> RequestError {
    let (code, message) = (error.code, error.message.clone());
    RequestError::try_from(error).unwrap_or_else(|_| RequestError::Server(format!("error {code}: {message}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_names_one_request_though_its_slot_is_used_again() {
        let mut pending = Pending::default();
        let first = pending.insert(oneshot::channel().0);
        let second = pending.insert(oneshot::channel().0);
        assert_ne!(first, second);
        assert!(pending.remove(first).is_some());
        assert!(pending.remove(first).is_none(), "answered twice");
        let third = pending.insert(oneshot::channel().0);
        assert_eq!(third as u32, first as u32, "the slot is used again");
        assert!(pending.remove(first).is_none(), "a late answer to the first is not one to the third");
        assert!(pending.remove(u64::MAX).is_none());
        assert!(pending.remove(third).is_some());
        assert_eq!(pending.slots.len(), 2);
    }

    #[test]
    fn an_error_of_a_newer_version_is_a_server_error_that_may_be_applied() {
        let newer = proto::Error { code: 999, message: "something new".to_owned(), details: None };
        let error = request_error(newer);
        assert_eq!(error, RequestError::Server("error 999: something new".to_owned()));
        assert_eq!(error.applied(), model::error::Applied::Maybe);
    }

    #[test]
    fn a_status_without_details_is_judged_by_its_code() {
        assert_eq!(failure_of(&Status::deadline_exceeded("late")), Failure::TimedOut);
        assert!(matches!(failure_of(&Status::unavailable("gone")), Failure::Lost(_)));
        assert!(matches!(failure_of(&Status::unimplemented("what")), Failure::Request(RequestError::Server(_))));
        let error = RequestError::NotFound("table t does not exist".to_owned());
        let status = Status::with_details(Code::NotFound, "", api::error::status_details(&error));
        assert_eq!(failure_of(&status), Failure::Request(error));
    }
}
