//! Traces of requests: what their coordinator does for them, kept for a day in the tables of `system_traces`, where any
//! node can be asked for them.
//!
//! Invariants:
//! * A request is not traced unless its client asks for it; the others pay for one comparison.
//! * The requests that are traced at a time, and the events of one, are bounded.
//! * A trace is written before its request is answered, or as much of it as [`TIMEOUT`] allows: drivers look for it as
//!   soon as they have the answer, and the Java driver for 15 ms only. Its events are written first: who finds its
//!   duration finds all of it.

use crate::clock::Clock;
use crate::execute::{Executor, Options};
use membership::ClusterView;
use model::{Consistency, NodeId, Now, RequestError, Value, WallMicros};
use node::io::{Effect, Input, Message, OpId, RequestId, StorageRequest, Stored};
use node::register::{PaxosAnswer, PaxosStep};
use parking_lot::Mutex;
use query::{BatchKind, Bound, BoundValue, EvaluationContext, system};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Requests that are traced at a time.
const TRACES_MAX: usize = 64;
/// Events of one trace.
const EVENTS_MAX: usize = 256;
/// Bytes of a statement's text that a trace keeps.
const TEXT_BYTES_MAX: usize = 4_096;
/// Nodes that keep a trace, as in Cassandra.
const REPLICAS: usize = 2;
/// How long each write of a trace may take, and so hold up the answer: less than any driver waits for that.
const TIMEOUT: Duration = Duration::from_millis(500);

/// What a client asked for, as its trace tells it.
#[derive(Clone, Debug)]
pub(crate) struct Traced {
    /// Who asked.
    pub(crate) client: IpAddr,
    /// What kind of request it is, in Cassandra's words.
    pub(crate) request: &'static str,
    /// The statement's text and its options.
    pub(crate) parameters: BTreeMap<&'static str, String>,
}

/// The trace of one request in work.
pub(crate) struct Trace {
    /// By which clients ask for it.
    pub(crate) id: u128,
    clock: Clock,
    started: Now,
    view: Arc<ClusterView>,
    traced: Traced,
    events: Mutex<Events>,
    _place: OwnedSemaphorePermit,
}

/// What has happened, in its order.
#[derive(Default)]
struct Events {
    noted: Vec<(Duration, String)>,
    /// Those beyond [`EVENTS_MAX`], and when the last of them was.
    left_out: Option<(usize, Duration)>,
}

impl Events {
    /// All that is told of them.
    fn told(self) -> Vec<(Duration, String)> {
        let more = self.left_out.map(|(count, at)| (at, format!("And {count} more events, which are not kept")));
        self.noted.into_iter().chain(more).collect()
    }
}

impl Trace {
    /// Notes that something has happened.
    pub(crate) fn note(&self, activity: impl Into<String>) {
        let mut events = self.events.lock();
        if events.noted.len() < EVENTS_MAX {
            events.noted.push((self.elapsed(), activity.into()));
        } else {
            let count = events.left_out.map_or(0, |(count, _)| count);
            events.left_out = Some((count + 1, self.elapsed()));
        }
    }

    fn elapsed(&self) -> Duration {
        Duration::from_micros(self.clock.now().monotonic.0.saturating_sub(self.started.monotonic.0))
    }

    fn address(&self, node: NodeId) -> String {
        let member = self.view.members.get(&node);
        member.map_or_else(|| node.to_string(), |member| format!("/{}", member.addresses.internode))
    }
}

/// Who may be traced.
pub(crate) struct Tracer {
    places: Arc<Semaphore>,
}

impl Default for Tracer {
    fn default() -> Tracer {
        Tracer { places: Arc::new(Semaphore::new(TRACES_MAX)) }
    }
}

impl Executor {
    /// Begins to trace a request.
    ///
    /// # Errors
    /// When too many are traced, or the tables of traces cannot be made.
    pub(crate) async fn begin_trace(&self, mut traced: Traced) -> Result<Arc<Trace>, RequestError> {
        let overloaded = |_| RequestError::Overloaded(format!("{TRACES_MAX} requests are traced already"));
        let place = self.tracer.places.clone().try_acquire_owned().map_err(overloaded)?;
        self.make_trace_tables().await?;
        if let Some(query) = traced.parameters.get_mut("query") {
            *query = kept(query);
        }
        let (started, view) = (self.clock.now(), self.published.view.load_full());
        let id = EvaluationContext::new(started.wall, self.random_u64()).time_uuid();
        let events = Mutex::default();
        Ok(Arc::new(Trace { id, clock: self.clock, started, view, traced, events, _place: place }))
    }

    /// Has the tables of traces made unless they are there.
    async fn make_trace_tables(&self) -> Result<(), RequestError> {
        let view = self.view()?.clone();
        if view.schema.find_table(system::TRACES, "events").is_ok() {
            return Ok(());
        }
        for change in system::create_traces(view.members.len().clamp(1, REPLICAS) as u32) {
            self.change_schema(change).await?;
        }
        Ok(())
    }

    /// Writes the trace of a request that is done. What cannot be written is lost, and said in the log.
    pub(crate) async fn finish_trace(&self, trace: &Trace) {
        let (duration, events) = (trace.elapsed(), std::mem::take(&mut *trace.events.lock()).told());
        for consistency in [Consistency::Quorum, Consistency::One] {
            match self.write_trace(trace, &events, duration, consistency).await {
                Ok(()) => return,
                // The other replica gets it as a hint.
                Err(RequestError::Unavailable { .. }) if consistency == Consistency::Quorum => {}
                Err(error) => return tracing::warn!(%error, "a trace is lost"),
            }
        }
    }

    async fn write_trace(
        &self,
        trace: &Trace,
        events: &[(Duration, String)],
        duration: Duration,
        consistency: Consistency,
    ) -> Result<(), RequestError> {
        let own = trace.view.members.get(&self.own).map(|member| member.addresses.internode);
        let text = "INSERT INTO system_traces.events (session_id, event_id, activity, source, source_port, \
                    source_elapsed, thread) VALUES (?, ?, ?, ?, ?, ?, ?)";
        let seed = self.random_u64();
        let mut bound = Vec::with_capacity(events.len());
        for ((elapsed, activity), number) in events.iter().zip(0..) {
            // No two of a trace have one time.
            let at = WallMicros(trace.started.wall.0 + micros(*elapsed) + number);
            let event = EvaluationContext::new(at, seed).time_uuid();
            let values = [
                value(Some(Value::Uuid(trace.id))),
                value(Some(Value::TimeUuid(event))),
                value(Some(Value::Text(activity.clone()))),
                value(own.map(|own| Value::Inet(own.ip()))),
                value(own.map(port)),
                value(Some(micros_value(*elapsed))),
                value(Some(Value::Text("coordinator".to_owned()))),
            ];
            bound.push(self.bind_text(text, &values)?);
        }
        if !bound.is_empty() {
            self.write_of_trace(Bound::batch(bound, BatchKind::Unlogged)?, consistency).await?;
        }
        let text = "INSERT INTO system_traces.sessions (session_id, client, command, coordinator, coordinator_port, \
                    duration, parameters, request, started_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)";
        let entry = |(name, text): (&&str, &String)| (Value::Text((*name).to_owned()), Value::Text(text.clone()));
        let values = [
            value(Some(Value::Uuid(trace.id))),
            value(Some(Value::Inet(trace.traced.client))),
            value(Some(Value::Text("QUERY".to_owned()))),
            value(own.map(|own| Value::Inet(own.ip()))),
            value(own.map(port)),
            value(Some(micros_value(duration))),
            value(Some(Value::Map(trace.traced.parameters.iter().map(entry).collect()))),
            value(Some(Value::Text(trace.traced.request.to_owned()))),
            value(Some(Value::Timestamp(trace.started.wall.0.div_euclid(1_000)))),
        ];
        self.write_of_trace(self.bind_text(text, &values)?, consistency).await
    }

    fn bind_text(&self, text: &str, values: &[BoundValue]) -> Result<Bound, RequestError> {
        let statement = self.statements.prepare(text, None, &self.published.view.load())?;
        self.bind(&statement, values, None, 0)
    }

    async fn write_of_trace(&self, bound: Bound, consistency: Consistency) -> Result<(), RequestError> {
        let options = Options {
            consistency,
            serial: Consistency::Serial,
            timestamp: None,
            timeout: Some(TIMEOUT),
            page_rows: 1,
            paging_state: None,
            token: None,
            login: None,
        };
        self.wait(self.plan_bound(bound, options)?.plan, None).await.map(drop)
    }
}

/// What a trace keeps of a statement's text: not all of a long one, and no password.
fn kept(text: &str) -> String {
    let end = text.char_indices().map(|(at, _)| at).find(|at| *at >= TEXT_BYTES_MAX).unwrap_or(text.len());
    let lower = text[..end].to_ascii_lowercase();
    match lower.find("password") {
        Some(at) => format!("{}password *******", &text[..at]),
        None => text[..end].to_owned(),
    }
}

fn value(value: Option<Value>) -> BoundValue {
    value.map_or(BoundValue::Null, |value| BoundValue::Value(value.to_wire()))
}

fn port(address: SocketAddr) -> Value {
    Value::Int(i32::from(address.port()))
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// At least one: drivers take a trace without a duration for one that is not whole.
fn micros_value(duration: Duration) -> Value {
    Value::Int(i32::try_from(duration.as_micros().max(1)).unwrap_or(i32::MAX))
}

/// The traced requests of one shard: sees what goes into its logic and what comes out.
#[derive(Default)]
pub(crate) struct Observer {
    requests: BTreeMap<RequestId, Arc<Trace>>,
    /// What other nodes, and storage, were asked for.
    asked: BTreeMap<OpId, RequestId>,
    stored: BTreeMap<OpId, RequestId>,
}

impl Observer {
    /// Watches a request from now on.
    pub(crate) fn begin(&mut self, id: RequestId, trace: Arc<Trace>) {
        self.requests.insert(id, trace);
    }

    /// True when there is nothing to watch.
    pub(crate) fn is_idle(&self) -> bool {
        self.requests.is_empty()
    }

    /// Notes an input; answers the traced request that it is for. What one message acknowledges may be for several:
    /// then nothing follows but their answers.
    pub(crate) fn input(&mut self, input: &Input) -> Option<RequestId> {
        match input {
            Input::Request { id, .. } => self.requests.contains_key(id).then_some(*id),
            Input::Message { from, envelope } | Input::Late { from, envelope } => match &envelope.message {
                Message::Written { ops } => {
                    for op in ops {
                        self.answered(*op, |trace| said(trace, *from, "wrote"));
                    }
                    None
                }
                Message::Data { op, data } => {
                    let rows = data.rows.len();
                    self.answered(*op, |trace| format!("{} with {rows} rows", said(trace, *from, "answered")))
                }
                Message::Digest { op, .. } => self.answered(*op, |trace| said(trace, *from, "answered with a digest")),
                Message::Scanned { op, .. } => self.answered(*op, |trace| said(trace, *from, "answered a scan")),
                Message::LookedUp { op, data } => {
                    let rows = data.rows.len();
                    self.answered(*op, |trace| format!("{} with {rows} candidates", said(trace, *from, "answered")))
                }
                Message::PaxosAnswered { op, answer } => {
                    let what = match answer {
                        PaxosAnswer::Promised(_) => "promised",
                        PaxosAnswer::Accepted => "accepted the proposal",
                        PaxosAnswer::Preempted { .. } => "was promised to another",
                    };
                    self.answered(*op, |trace| said(trace, *from, what))
                }
                Message::Leading { op, .. } => self.answered(*op, |trace| said(trace, *from, "gave a ticket to count")),
                Message::Counted { op, .. } => self.answered(*op, |trace| said(trace, *from, "counted")),
                Message::Refused { op, reason } => {
                    self.answered(*op, |trace| format!("{}: {reason:?}", said(trace, *from, "refused")))
                }
                Message::Write { .. }
                | Message::Forward { .. }
                | Message::Forwarded { .. }
                | Message::Read { .. }
                | Message::Scan { .. }
                | Message::Paxos { .. }
                | Message::KeepBatch { .. }
                | Message::ForgetBatch { .. }
                | Message::Lead { .. }
                | Message::Count { .. }
                | Message::LookUp { .. }
                | Message::Compare { .. }
                | Message::Compared { .. }
                | Message::Repaired { .. } => None,
            },
            Input::Stored(stored) => match stored {
                Stored::Synced { up_to } => {
                    let later = self.stored.split_off(&OpId(up_to.0 + 1));
                    for id in std::mem::replace(&mut self.stored, later).into_values() {
                        self.note(id, |_| "Written and synced locally".to_owned());
                    }
                    None
                }
                Stored::Read { op, data } => self.done(*op, || format!("Read {} rows locally", data.rows.len())),
                Stored::Digest { op, .. } => self.done(*op, || "Digested rows locally".to_owned()),
                Stored::Scanned { op, .. } => self.done(*op, || "Scanned rows locally".to_owned()),
                Stored::LookedUp { op, data } => {
                    self.done(*op, || format!("Found {} candidates in the local index", data.rows.len()))
                }
                Stored::Failed { op, error } => self.done(*op, || format!("Storage failed: {error}")),
                Stored::Applied { .. } | Stored::LocalRead { .. } | Stored::Hints { .. } | Stored::Compared { .. } => {
                    None
                }
            },
            Input::View(_)
            | Input::Alive(_)
            | Input::Hints(_)
            | Input::DiscardHints(_)
            | Input::Repair(_)
            | Input::Unreachable(_)
            | Input::Wake
            | Input::Overloaded => None,
        }
    }

    /// Notes an effect of an input that was for `request`.
    pub(crate) fn effect(&mut self, request: Option<RequestId>, effect: &Effect) {
        match effect {
            Effect::Reply { id, result } => {
                if let Some(trace) = self.requests.remove(id) {
                    trace.note(match result {
                        Ok(_) => "Request complete".to_owned(),
                        Err(error) => format!("Request failed: {error}"),
                    });
                    self.asked.retain(|_, request| request != id);
                    self.stored.retain(|_, request| request != id);
                }
            }
            Effect::Send { to, envelope } => {
                let (op, what) = match &envelope.message {
                    Message::Write { op, .. } => (*op, "Sending the write"),
                    Message::Forward { op, .. } => (*op, "Sending the write, to be passed on in its data centre,"),
                    Message::Read { op, digest: false, .. } => (*op, "Sending the read"),
                    Message::Read { op, digest: true, .. } => (*op, "Sending the read of a digest"),
                    Message::Scan { op, .. } => (*op, "Sending the scan"),
                    Message::LookUp { op, .. } => (*op, "Sending the look-up in an index"),
                    Message::KeepBatch { op, .. } => (*op, "Sending the batch, to be kept,"),
                    Message::Lead { op, .. } => (*op, "Asking for a ticket to count"),
                    Message::Count { op, .. } => (*op, "Sending the increments"),
                    Message::Paxos { op, request } => match request.step {
                        PaxosStep::Prepare { .. } => (*op, "Sending the prepare"),
                        PaxosStep::Propose { .. } => (*op, "Sending the proposal"),
                    },
                    _ => return,
                };
                let Some(id) = request else { return };
                self.note(id, |trace| format!("{what} to {}", trace.address(*to)));
                self.asked.insert(op, id);
            }
            Effect::Store { op, request: stored } => {
                let what = match stored {
                    StorageRequest::Apply(_) => "Writing locally",
                    StorageRequest::Read(_) => "Reading locally",
                    StorageRequest::Digest(_) => "Digesting locally",
                    StorageRequest::Scan(_) => "Scanning locally",
                    StorageRequest::LookUp(_) => "Looking up in the local index",
                    StorageRequest::Hint { .. } => "Keeping a hint for a replica that cannot be reached",
                    _ => return,
                };
                let Some(id) = request else { return };
                self.note(id, |_| what.to_owned());
                self.stored.insert(*op, id);
            }
            Effect::CatchUp { .. } | Effect::ReplicationDone { .. } | Effect::Repairs(_) => {}
        }
    }

    /// Notes the answer of another node. It stays asked: each replica of a write answers under one id.
    fn answered(&self, op: OpId, activity: impl FnOnce(&Trace) -> String) -> Option<RequestId> {
        let id = *self.asked.get(&op)?;
        self.note(id, activity);
        Some(id)
    }

    /// Notes the final answer of storage.
    fn done(&mut self, op: OpId, activity: impl FnOnce() -> String) -> Option<RequestId> {
        let id = self.stored.remove(&op)?;
        self.note(id, |_| activity());
        Some(id)
    }

    fn note(&self, id: RequestId, activity: impl FnOnce(&Trace) -> String) {
        if let Some(trace) = self.requests.get(&id) {
            trace.note(activity(trace));
        }
    }
}

fn said(trace: &Trace, node: NodeId, what: &str) -> String {
    format!("Node {} {what}", trace.address(node))
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::schema::Schema;
    use model::{Epoch, Instant, PartitionKey};
    use node::io::{Envelope, Response};
    use std::collections::BTreeSet;

    fn trace() -> Arc<Trace> {
        let place = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let view = ClusterView::new(Epoch(1), 7, Arc::new(Schema::default()), BTreeMap::new(), BTreeSet::new());
        let traced =
            Traced { client: [127, 0, 0, 1].into(), request: "Execute CQL3 query", parameters: BTreeMap::new() };
        let started = Now { monotonic: Instant(0), wall: WallMicros(0) };
        let events = Mutex::default();
        Arc::new(Trace { id: 1, clock: Clock::new(), started, view: Arc::new(view), traced, events, _place: place })
    }

    fn noted(trace: &Trace) -> Vec<String> {
        std::mem::take(&mut *trace.events.lock()).told().into_iter().map(|(_, activity)| activity).collect()
    }

    fn message(message: Message) -> Input {
        Input::Message { from: NodeId(2), envelope: Envelope { epoch: Epoch(1), message } }
    }

    #[test]
    fn a_trace_tells_who_was_asked_and_who_answered_until_the_request_is() {
        let (trace, id) = (trace(), RequestId(5));
        let mutation = Arc::new(model::Mutation {
            table: model::TableId(1),
            partition: PartitionKey::from_components(&[b"k".to_vec().into()]).unwrap(),
            records: Vec::new(),
        });
        let mut observer = Observer::default();
        assert!(observer.is_idle());
        observer.begin(id, trace.clone());
        let write =
            Message::Write { op: OpId(10), mutation: mutation.clone(), purpose: node::io::WritePurpose::Client };
        let send = Effect::Send { to: NodeId(2), envelope: Envelope { epoch: Epoch(1), message: write } };
        observer.effect(Some(id), &send);
        observer.effect(Some(id), &Effect::Store { op: OpId(11), request: StorageRequest::Apply(mutation) });
        observer.effect(None, &send);
        assert_eq!(observer.input(&Input::Stored(Stored::Synced { up_to: OpId(11) })), None);
        assert_eq!(observer.input(&Input::Stored(Stored::Synced { up_to: OpId(12) })), None);
        assert_eq!(observer.input(&message(Message::Written { ops: vec![OpId(9), OpId(10)] })), None);
        observer.effect(None, &Effect::Reply { id, result: Ok(Response::Written) });
        assert_eq!(observer.input(&message(Message::Written { ops: vec![OpId(10)] })), None);
        let node = NodeId(2);
        let expected = [
            format!("Sending the write to {node}"),
            "Writing locally".to_owned(),
            "Written and synced locally".to_owned(),
            format!("Node {node} wrote"),
            "Request complete".to_owned(),
        ];
        assert_eq!(noted(&trace), expected);
        assert!(observer.is_idle() && observer.asked.is_empty() && observer.stored.is_empty());
    }

    #[test]
    fn a_trace_keeps_neither_long_texts_nor_passwords() {
        assert_eq!(kept("SELECT * FROM t"), "SELECT * FROM t");
        assert_eq!(
            kept("ALTER ROLE \u{e4} WITH PassWord = 'x' AND LOGIN = true"),
            "ALTER ROLE \u{e4} WITH password *******"
        );
        let long = "\u{e4}".repeat(TEXT_BYTES_MAX);
        assert_eq!(kept(&long).len(), TEXT_BYTES_MAX);
    }

    #[test]
    fn the_events_of_a_trace_are_bounded_and_those_left_out_are_told_of() {
        let trace = trace();
        (0..EVENTS_MAX).for_each(|number| trace.note(number.to_string()));
        (0..7).for_each(|number| trace.note(number.to_string()));
        let noted = noted(&trace);
        assert_eq!(noted.len(), EVENTS_MAX + 1);
        assert_eq!(noted[EVENTS_MAX], "And 7 more events, which are not kept");
    }
}
