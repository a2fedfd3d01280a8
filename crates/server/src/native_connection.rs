//! One connection of the CQL native protocol: requests in, answers out, in the order in which they are ready.
//!
//! One task does all of it: it reads what has come, takes as many requests as there is room for, gathers the answers
//! that are ready and writes them together.
//!
//! Invariants:
//! * Room for the answer is reserved before a request is taken: a client that does not read its answers is not read
//!   from, and nobody else waits for it. Requests in work are bounded in number and bytes.
//! * Every request that is taken is answered, then, once the client has ended its side or the node drains, the
//!   connection ends.
//! * After an error of framing one answer tells what is wrong, and the connection ends.
//! * A connection holds no buffer while nothing is under way on it.

use crate::auth::Login;
use crate::execute::{CQL_VERSION, CallGuard, Executor, Plan};
use crate::gate::names_system;
use crate::native_clients::Registered;
use crate::native_events::{Events, Missed};
use crate::native_request::{self, Answered, Origin, Ready, Reply};
use crate::shard_loop::ReplyTo;
use crate::tls::Socket;
use crate::trace::Traced;
use bytes::{Buf, Bytes, BytesMut};
use model::RequestError;
use native::{
    Answer, Compression, Envelope, ErrorResponse, Event, EventType, Failure, Fault, Inbound, Message, Opcode, Outbound,
    ProtocolError, QueryResult, Request, Response, Version,
};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// Requests of one connection that are in work or answered and not written.
const REQUESTS_MAX: usize = 2_048;
/// Bytes of the requests of one connection that are in work; above that no more are taken.
const REQUEST_BYTES_MAX: usize = 32 * 1024 * 1024;
/// The longest message of a client that has not said who it is.
const GREETING_BYTES_MAX: usize = 64 * 1024;
/// Bytes that wait to be written above which no more requests are taken.
const UNWRITTEN_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of answers that are gathered for one write.
const WRITE_BYTES: usize = 256 * 1024;
/// Room that is made for one read.
const READ_BYTES: usize = 64 * 1024;
/// For how long a connection may take to begin.
const STARTUP_TIMEOUT: Duration = Duration::from_secs(10);
/// For how long nothing may come from a client; drivers ask every half a minute.
const IDLE_TIMEOUT: Duration = Duration::from_secs(600);
/// For how long nothing that is written may be taken by the client.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// For how long a client may go on sending after it was told that what it sends is not of the protocol.
const LINGER: Duration = Duration::from_secs(1);

/// What a connection needs of the node.
pub(crate) struct Door {
    /// The front desk.
    pub(crate) executor: Arc<Executor>,
    /// What clients can register for.
    pub(crate) events: Arc<Events>,
    /// For TLS, if clients must speak it.
    pub(crate) tls: Option<Arc<rustls::ServerConfig>>,
    /// Bytes of the longest message.
    pub(crate) frame_bytes_max: usize,
    /// True once connections are to end.
    pub(crate) drain: watch::Receiver<bool>,
}

/// Options of a client that are shown to others, and the bytes of one.
const OPTIONS_MAX: usize = 16;
const OPTION_BYTES_MAX: usize = 256;

/// The class by which drivers know what is asked for.
const AUTHENTICATOR: &str = "org.apache.cassandra.auth.PasswordAuthenticator";

type Check = tokio::task::JoinHandle<Result<Arc<str>, RequestError>>;

/// Why a connection has ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum End {
    /// The client has closed it, or the node drains.
    #[error("closed")]
    Closed,
    /// The socket is broken.
    #[error("{0}")]
    Broken(#[from] io::Error),
    /// What came is not of the protocol.
    #[error("{0}")]
    Fault(ProtocolError),
    /// The client was too slow.
    #[error("nothing came or went for too long")]
    TimedOut,
    /// The client cannot be told of every event any more.
    #[error("events came faster than the client read them")]
    MissedEvents,
}

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// STARTUP has not come.
    Begun,
    /// The client must say who it is.
    Authenticating,
    /// What it has said is being checked.
    Checking,
    /// Statements are executed.
    Ready,
    /// Nothing more is read: what is in work is answered, then it ends.
    Ending,
}

/// A connection and what is under way on it.
pub(crate) struct Connection {
    door: Arc<Door>,
    socket: Socket,
    client: IpAddr,
    registered_as: Registered,
    inbound: Inbound,
    outbound: Option<Outbound>,
    stage: Stage,
    /// The keyspace chosen by USE.
    keyspace: Option<String>,
    /// As whom the client has logged in.
    login: Login,
    /// The check of what it has said, and on which stream.
    checking: Option<(i16, Check)>,
    answers: mpsc::Sender<Answered>,
    answered: mpsc::Receiver<Answered>,
    /// Requests in work, and their bytes.
    in_work: (usize, usize),
    registered: BTreeSet<EventType>,
    events: Option<tokio::sync::broadcast::Receiver<Event>>,
    /// What is being written.
    unwritten: Bytes,
    /// When it was accepted.
    begun_at: Instant,
    /// When something was last read, and when something was last written or there was nothing to write.
    read_at: Instant,
    written_at: Instant,
    fault: Option<ProtocolError>,
    _call: CallGuard,
}

impl Connection {
    /// A connection that was just accepted.
    pub(crate) fn new(door: Arc<Door>, socket: Socket, client: SocketAddr) -> Connection {
        let (answers, answered) = mpsc::channel(REQUESTS_MAX);
        let now = Instant::now();
        Connection {
            inbound: Inbound::new(door.frame_bytes_max.min(GREETING_BYTES_MAX)),
            outbound: None,
            stage: Stage::Begun,
            keyspace: None,
            login: None,
            checking: None,
            answers,
            answered,
            in_work: (0, 0),
            registered: BTreeSet::new(),
            events: None,
            unwritten: Bytes::new(),
            begun_at: now,
            read_at: now,
            written_at: now,
            fault: None,
            registered_as: door.executor.clients.register(client, door.tls.is_some()),
            _call: door.executor.call(),
            door,
            socket,
            client: client.ip(),
        }
    }

    /// Serves it to its end.
    pub(crate) async fn run(mut self) -> End {
        let mut drain = self.door.drain.clone();
        let drained = async move { drop(drain.wait_for(|drain| *drain).await) };
        tokio::pin!(drained);
        loop {
            self.take_requests();
            if let Err(cause) = self.write() {
                return End::Broken(cause);
            }
            if self.stage == Stage::Ending && self.in_work.0 == 0 && self.is_written() {
                return match self.fault.take() {
                    None => End::Closed,
                    Some(error) => {
                        self.linger().await;
                        End::Fault(error)
                    }
                };
            }
            let reads = self.stage != Stage::Ending && self.has_room();
            let gathers = self.waiting() < UNWRITTEN_BYTES_MAX;
            let deadline = self.deadline();
            tokio::select! {
                biased;
                Some(answered) = self.answered.recv(), if gathers && self.in_work.0 > 0 => {
                    self.gather(answered);
                    self.gather_ready();
                }
                ready = self.socket.writable(), if !self.is_written() => {
                    if let Err(cause) = ready {
                        return End::Broken(cause);
                    }
                }
                ready = self.socket.readable(), if reads => {
                    if let Err(cause) = ready.and_then(|()| self.read()) {
                        return End::Broken(cause);
                    }
                }
                event = next_event(&mut self.events), if gathers => match event {
                    Ok(event) => self.tell(event),
                    Err(Missed) => return End::MissedEvents,
                },
                checked = checked(&mut self.checking), if self.checking.is_some() => self.on_checked(checked),
                () = &mut drained, if self.stage != Stage::Ending => self.stage = Stage::Ending,
                () = tokio::time::sleep_until(deadline) => return End::TimedOut,
            }
        }
    }

    /// Lets the client read what is wrong: a socket that is closed with bytes unread is reset, and takes the answer
    /// with it.
    async fn linger(&mut self) {
        let _ = tokio::time::timeout(LINGER, self.socket.end()).await;
    }

    /// When the client has been too slow, unless something comes or goes until then.
    fn deadline(&self) -> Instant {
        if !self.is_written() {
            return self.written_at + WRITE_TIMEOUT;
        }
        match self.stage {
            Stage::Begun | Stage::Authenticating | Stage::Checking => self.begun_at + STARTUP_TIMEOUT,
            // The client waits for the node, not the other way round; each request has a timeout of its own.
            _ if self.in_work.0 > 0 => Instant::now() + IDLE_TIMEOUT,
            _ => self.read_at + IDLE_TIMEOUT,
        }
    }

    /// Bytes of answers that the client has not taken.
    fn waiting(&self) -> usize {
        self.unwritten.len() + self.outbound.as_ref().map_or(0, Outbound::waiting)
    }

    fn is_written(&self) -> bool {
        self.waiting() == 0 && self.socket.is_flushed()
    }

    fn has_room(&self) -> bool {
        let (requests, bytes) = self.in_work;
        requests < REQUESTS_MAX && bytes < REQUEST_BYTES_MAX && self.waiting() < UNWRITTEN_BYTES_MAX
    }

    /// Reads what has come.
    fn read(&mut self) -> io::Result<()> {
        let buffer = self.inbound.buffer();
        buffer.reserve(READ_BYTES);
        match self.socket.read(buffer) {
            Ok(0) => self.stage = Stage::Ending,
            Ok(_) => self.read_at = Instant::now(),
            Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => {}
            Err(cause) => return Err(cause),
        }
        Ok(())
    }

    /// Takes the requests that have come as a whole, as long as there is room for their answers.
    fn take_requests(&mut self) {
        while self.stage != Stage::Ending && self.has_room() {
            match self.inbound.next_envelope() {
                Ok(Some(envelope)) => self.take(&envelope),
                Ok(None) => break,
                Err(fault) => self.end_by(fault),
            }
        }
        if self.inbound.held() == 0 {
            *self.inbound.buffer() = BytesMut::new();
        }
    }

    fn end_by(&mut self, fault: Fault) {
        let Fault { stream, version, error } = fault;
        self.outbound.get_or_insert_with(|| Outbound::new(version));
        self.respond(stream, Response::Error(ErrorResponse::of_protocol(&error)));
        self.fault = Some(error);
        self.stage = Stage::Ending;
    }

    fn take(&mut self, envelope: &Envelope) {
        let (version, stream) = (envelope.header.version, envelope.header.stream);
        self.outbound.get_or_insert_with(|| Outbound::new(version));
        if let Err(error) = self.check_room(envelope) {
            self.registered_as.count();
            return self.respond(stream, failed(&error));
        }
        match Message::decode(envelope) {
            Ok(message) => self.on_message(message, envelope.body.len(), version),
            Err(error) => self.respond(stream, Response::Error(ErrorResponse::of_protocol(&error))),
        }
    }

    /// Says whether a statement may come in, before it is read.
    fn check_room(&self, envelope: &Envelope) -> Result<(), RequestError> {
        let is_statement = match envelope.header.opcode {
            Opcode::Execute | Opcode::Batch => true,
            Opcode::Query => !names_system(&envelope.body),
            _ => false,
        };
        if is_statement && self.stage == Stage::Ready { self.door.executor.check_room() } else { Ok(()) }
    }

    fn on_message(&mut self, message: Message, bytes: usize, version: Version) {
        let Message { stream, tracing, request, custom_payload } = message;
        self.registered_as.count();
        match (self.stage, request) {
            (_, Request::Options) => self.respond(stream, Response::Supported(supported())),
            (Stage::Begun, Request::Startup(startup)) => match startup.check(version) {
                Ok(compression) => {
                    self.registered_as.update(|client| {
                        client.version = version.number();
                        client.options = bounded(startup.options);
                    });
                    self.start(stream, compression);
                }
                Err(error) => self.respond(stream, Response::Error(ErrorResponse::of_protocol(&error))),
            },
            (Stage::Begun, other) => {
                let name = other.opcode().name();
                self.refuse(stream, format!("Unexpected message {name}, expecting STARTUP or OPTIONS"));
            }
            (_, Request::Startup(_)) => {
                self.refuse(stream, "Unexpected message STARTUP: the connection is started".to_owned());
            }
            (Stage::Authenticating, Request::AuthResponse(token)) => self.check(stream, token.unwrap_or_default()),
            (Stage::Authenticating | Stage::Checking, other) => {
                let name = other.opcode().name();
                self.refuse(stream, format!("Unexpected message {name}, expecting AUTH_RESPONSE"));
            }
            (_, Request::AuthResponse(_)) => {
                self.refuse(stream, "Unexpected message AUTH_RESPONSE: no authentication is asked for".to_owned());
            }
            (_, Request::Register(types)) => {
                self.events.get_or_insert_with(|| self.door.events.subscribe());
                self.registered.extend(types);
                self.respond(stream, Response::Ready);
            }
            (_, request @ Request::Prepare(_)) if tracing => self.prepare_traced(stream, request, version, bytes),
            (_, Request::Prepare(prepare)) => {
                let keyspace = self.keyspace.as_deref();
                let prepared = native_request::prepare(&self.door.executor, &prepare, keyspace, version);
                let response = match prepared {
                    Ok(prepared) => Response::Result(QueryResult::Prepared(prepared)),
                    Err(error) => failed(&error),
                };
                self.respond(stream, response);
            }
            (_, request) => {
                let origin = Origin::new(self.login.clone(), &custom_payload);
                self.execute(stream, request, origin, tracing, bytes);
            }
        }
    }

    fn start(&mut self, stream: i16, compression: Option<Compression>) {
        let is_required = self.door.executor.authenticator.is_required();
        let authenticate = || Response::Authenticate(AUTHENTICATOR.to_owned());
        self.respond(stream, if is_required { authenticate() } else { Response::Ready });
        self.inbound.start(compression);
        if let Some(outbound) = &mut self.outbound {
            outbound.start(compression);
        }
        if is_required {
            self.stage = Stage::Authenticating;
        } else {
            self.serve();
        }
        self.registered_as.update(|client| client.stage = if is_required { "authenticating" } else { "ready" });
    }

    /// The client may ask for anything from now on.
    fn serve(&mut self) {
        self.stage = Stage::Ready;
        self.inbound.set_limit(self.door.frame_bytes_max);
    }

    /// Has what the client says of itself checked, in the form of SASL PLAIN: on whose behalf, name, password.
    fn check(&mut self, stream: i16, token: Bytes) {
        let text = std::str::from_utf8(&token).map(str::to_owned).unwrap_or_default();
        let executor = self.door.executor.clone();
        let check = tokio::spawn(async move {
            let mut parts = text.splitn(3, '\0').skip(1);
            let (Some(name), Some(password)) = (parts.next(), parts.next()) else {
                return Err(RequestError::Unauthorized("Credentials are not of the form of SASL PLAIN".to_owned()));
            };
            let view = executor.view()?.clone();
            executor.authenticator.log_in(&view, name, password).await
        });
        self.checking = Some((stream, check));
        self.stage = Stage::Checking;
    }

    fn on_checked(&mut self, (stream, checked): (i16, Result<Arc<str>, RequestError>)) {
        self.checking = None;
        if self.stage != Stage::Checking {
            // It is ending meanwhile.
            return;
        }
        match checked {
            Ok(name) => {
                self.registered_as.update(|client| {
                    client.user = Some(name.to_string());
                    client.stage = "ready";
                });
                self.login = Some(name);
                self.respond(stream, Response::AuthSuccess(None));
                self.serve();
            }
            Err(error) => {
                let failure = match error {
                    RequestError::Unauthorized(_) => Failure::BadCredentials,
                    _ => Failure::Server,
                };
                self.respond(stream, Response::Error(ErrorResponse { message: error.to_string(), failure }));
                self.stage = Stage::Ending;
            }
        }
    }

    /// Room for the answer to a request that is in work from now on.
    fn reply(&mut self, stream: i16, bytes: usize) -> Option<Reply> {
        // There is room: it was looked for before the request was taken.
        let permit = self.answers.clone().try_reserve_owned().ok()?;
        self.in_work = (self.in_work.0 + 1, self.in_work.1 + bytes);
        Some(Reply::new(permit, stream, bytes))
    }

    fn prepare_traced(&mut self, stream: i16, request: Request, version: Version, bytes: usize) {
        let Some(reply) = self.reply(stream, bytes) else { return };
        let (executor, keyspace) = (self.door.executor.clone(), self.keyspace.clone());
        let traced = native_request::traced(&executor, &request, self.client);
        let Request::Prepare(prepare) = request else { return };
        // Bounded as the connection's requests are: each holds a permit.
        tokio::spawn(async move {
            let keyspace = keyspace.as_deref();
            native_request::prepare_traced(&executor, &prepare, keyspace, version, reply, traced).await;
        });
    }

    fn execute(
        &mut self,
        stream: i16,
        request: Request,
        origin: Result<Origin, RequestError>,
        tracing: bool,
        bytes: usize,
    ) {
        let Some(reply) = self.reply(stream, bytes) else { return };
        let (executor, keyspace) = (&self.door.executor, self.keyspace.as_deref());
        let traced = tracing.then(|| native_request::traced(executor, &request, self.client));
        let ready = origin.and_then(|origin| match request {
            Request::Query(query) => native_request::query(executor, query, keyspace, &origin),
            Request::Execute(execute) => native_request::execute(executor, execute, &origin),
            Request::Batch(batch) => native_request::batch(executor, batch, keyspace, &origin),
            other => Err(RequestError::Server(format!("{} is not a statement", other.opcode().name()))),
        });
        match ready {
            Ok(ready) => submit(executor, ready, reply, traced),
            Err(error) => reply.answer(Err(error)),
        }
    }

    fn refuse(&mut self, stream: i16, message: String) {
        self.respond(stream, Response::Error(ErrorResponse { message, failure: Failure::Protocol }));
    }

    fn respond(&mut self, stream: i16, response: Response) {
        self.push(&Answer::new(stream, response));
    }

    fn push(&mut self, answer: &Answer) {
        let Some(outbound) = &mut self.outbound else { return };
        if let Err(error) = outbound.push_answer(answer) {
            let message = format!("the answer cannot be written: {error}");
            let failed = Response::Error(ErrorResponse { message, failure: Failure::Server });
            // Of a short text and no fields: it can be written.
            let _ = outbound.push_answer(&Answer::new(answer.stream, failed));
        }
    }

    fn gather(&mut self, answered: Answered) {
        self.in_work = (self.in_work.0 - 1, self.in_work.1 - answered.request_bytes);
        if let Some(keyspace) = answered.used_keyspace() {
            self.keyspace = Some(keyspace.to_owned());
            self.registered_as.update(|client| client.keyspace = Some(keyspace.to_owned()));
        }
        self.push(&answered.into_answer());
    }

    /// Gathers what else is ready, up to the size of one write.
    fn gather_ready(&mut self) {
        while self.waiting() < WRITE_BYTES {
            match self.answered.try_recv() {
                Ok(answered) => self.gather(answered),
                Err(_) => return,
            }
        }
    }

    fn tell(&mut self, event: Event) {
        if self.registered.contains(&event.event_type()) {
            self.push(&Answer::event(event));
        }
    }

    /// Writes as much as the socket takes.
    fn write(&mut self) -> io::Result<()> {
        loop {
            if self.unwritten.is_empty() {
                self.unwritten = self.outbound.as_mut().map(Outbound::take).unwrap_or_default();
            }
            if self.unwritten.is_empty() {
                return match self.socket.flush() {
                    Ok(()) => {
                        self.written_at = Instant::now();
                        Ok(())
                    }
                    Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => Ok(()),
                    Err(cause) => Err(cause),
                };
            }
            match self.socket.write(&self.unwritten) {
                Ok(count) => {
                    self.unwritten.advance(count);
                    self.written_at = Instant::now();
                }
                Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(cause) => return Err(cause),
            }
        }
    }
}

fn failed(error: &RequestError) -> Response {
    Response::Error(ErrorResponse::of_request(error, native::WriteType::Simple))
}

fn supported() -> BTreeMap<String, Vec<String>> {
    let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    BTreeMap::from([
        ("CQL_VERSION".to_owned(), list(&[CQL_VERSION])),
        ("COMPRESSION".to_owned(), list(&Compression::ALL.map(Compression::name))),
        ("PROTOCOL_VERSIONS".to_owned(), list(&Version::NAMES)),
    ])
}

/// Has a statement executed and answered.
fn submit(executor: &Arc<Executor>, ready: Ready, reply: Reply, traced: Option<Traced>) {
    if let Some(traced) = traced {
        let executor = executor.clone();
        tokio::spawn(async move { native_request::run_traced(&executor, ready, reply, traced).await });
        return;
    }
    let Ready { plan, form, whole } = ready;
    let reply = reply.with_form(form);
    match plan {
        Plan::Done(answer) => reply.answer(Ok(answer)),
        Plan::Shard(request) if !whole || matches!(request, node::io::Request::Write { .. }) => {
            executor.submit(request, ReplyTo::Native(reply), None);
        }
        plan => {
            // Bounded as the connection's requests are: each holds a permit.
            let executor = executor.clone();
            tokio::spawn(async move { reply.answer(native_request::run_whole(&executor, plan, None).await) });
        }
    }
}

/// What is kept of what a client says of itself: what does not fit is left out.
fn bounded(options: BTreeMap<String, String>) -> BTreeMap<String, String> {
    let fits = |(name, value): &(String, String)| name.len() + value.len() <= OPTION_BYTES_MAX;
    options.into_iter().filter(fits).take(OPTIONS_MAX).collect()
}

/// What comes of the check that is under way.
async fn checked(checking: &mut Option<(i16, Check)>) -> (i16, Result<Arc<str>, RequestError>) {
    match checking {
        Some((stream, check)) => {
            let failed = |cause| Err(RequestError::Server(format!("the password was not checked: {cause}")));
            (*stream, check.await.unwrap_or_else(failed))
        }
        None => std::future::pending().await,
    }
}

/// The next event; never, for a connection that has not registered.
async fn next_event(events: &mut Option<tokio::sync::broadcast::Receiver<Event>>) -> Result<Event, Missed> {
    match events {
        Some(events) => events.recv().await.map_err(|_| Missed),
        None => std::future::pending().await,
    }
}
