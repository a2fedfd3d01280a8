//! One client's stream of requests and answers.
//!
//! Invariants:
//! * Room for the answer is reserved before a request is taken from the stream: a client that does not read
//!   its answers, by number or bytes, is not read from, and nobody else waits for it.
//! * Every request that is taken is answered; then, once the client has ended its side or the node drains,
//!   the stream ends.

use crate::execute::{Answer, CallGuard, Executor, Plan};
use crate::shard_loop::{Outcome, ReplyTo};
use crate::statements::ResultShape;
use ::api::proto::client::v1 as proto;
use bytes::Bytes;
use model::RequestError;
use node::io::Response;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use tokio::sync::{Notify, mpsc, watch};
use tokio_stream::Stream;
use tonic::{Status, Streaming};

use crate::client_service::{Caller, Form, TraceTold, answer_message, check_room, execute, plan};

/// Requests of one stream that are in work or answered and not read.
const STREAM_REQUESTS_MAX: usize = 4_096;

/// Bytes of rows that one stream's client has not read, above which no more requests are taken.
const UNREAD_BYTES_MAX: usize = 32 * 1024 * 1024;

/// The rows that a stream's client has not read.
#[derive(Default)]
struct Unread {
    bytes: AtomicUsize,
    /// They are few again, or nobody reads them any more.
    changed: Notify,
}

impl Unread {
    fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn take(&self, bytes: usize) {
        let before = self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        if before >= UNREAD_BYTES_MAX && before - bytes < UNREAD_BYTES_MAX {
            self.changed.notify_one();
        }
    }

    /// Waits until they are few enough, or nobody reads them any more.
    async fn has_room(&self, is_read: impl Fn() -> bool) {
        while self.bytes.load(Ordering::Relaxed) >= UNREAD_BYTES_MAX && is_read() {
            self.changed.notified().await;
        }
    }
}

fn bytes_of(result: &Result<Answer, RequestError>) -> usize {
    match result {
        Ok(Answer::Data(Response::Rows { rows, .. })) => rows.iter().flatten().flatten().map(Bytes::len).sum(),
        _ => 0,
    }
}

/// What goes back on a stream.
#[expect(clippy::large_enum_variant, reason = "the small one comes once, at the end of a stream")]
pub(crate) enum Answered {
    /// The answer to one request.
    Request {
        /// Of the request.
        id: u64,
        /// How it is written.
        form: Form,
        /// What came out.
        result: Result<Answer, RequestError>,
        /// What is said of its trace.
        traced: TraceTold,
    },
    /// Nothing more can be read from the client: the last item.
    Broken(Status),
}

/// The columns of an answer, if it has rows.
#[derive(Clone, Debug, Default)]
pub(crate) enum Columns {
    /// No rows are returned.
    #[default]
    None,
    /// The client knows them.
    Known(Arc<ResultShape>),
    /// To be sent with the first page; with their id when the statement is prepared.
    Sent(Arc<ResultShape>, bool),
}

/// Room on a client's stream for the answer to one request.
pub(crate) struct Reply {
    permit: mpsc::OwnedPermit<Answered>,
    unread: Arc<Unread>,
    id: u64,
    form: Form,
}

impl Reply {
    /// Answers with what a shard says.
    pub(crate) fn send(self, outcome: Outcome) {
        self.answer(outcome.map(Answer::Data));
    }

    fn answer_traced(self, answer: Answer, form: Form, traced: TraceTold) {
        Reply { form, ..self }.send_answer(Ok(answer), traced);
    }

    fn answer(self, result: Result<Answer, RequestError>) {
        self.send_answer(result, TraceTold::default());
    }

    fn send_answer(self, result: Result<Answer, RequestError>, traced: TraceTold) {
        let Reply { permit, unread, id, form } = self;
        unread.add(bytes_of(&result));
        permit.send(Answered::Request { id, form, result, traced });
    }
}

/// The answers of one stream as messages.
pub(crate) struct Answers {
    answered: mpsc::Receiver<Answered>,
    unread: Arc<Unread>,
    _call: CallGuard,
}

impl Drop for Answers {
    fn drop(&mut self) {
        self.answered.close();
        self.unread.changed.notify_one();
    }
}

impl Stream for Answers {
    type Item = Result<proto::ExecuteStreamResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let answered = self.answered.poll_recv(context);
        if let Poll::Ready(Some(Answered::Request { result, .. })) = &answered {
            self.unread.take(bytes_of(result));
        }
        answered.map(|answered| {
            answered.map(|answered| {
                use proto::execute_stream_response::Outcome;
                let (id, outcome) = match answered {
                    Answered::Broken(status) => return Err(status),
                    Answered::Request { id, form, result: Ok(answer), traced } => {
                        (id, Outcome::Response(traced.told(answer_message(answer, form))))
                    }
                    Answered::Request { id, result: Err(error), .. } => (id, Outcome::Error((&error).into())),
                };
                Ok(proto::ExecuteStreamResponse { id, outcome: Some(outcome) })
            })
        })
    }
}

/// Starts to execute what `requests` brings until it ends or `drain` becomes true.
pub(crate) fn start(
    executor: Arc<Executor>,
    requests: Streaming<proto::ExecuteStreamRequest>,
    drain: watch::Receiver<bool>,
    caller: Caller,
) -> Answers {
    let (answers, answered) = mpsc::channel(STREAM_REQUESTS_MAX);
    let (call, unread) = (executor.call(), Arc::<Unread>::default());
    tokio::spawn(take_in(executor, requests, drain, caller, answers, unread.clone()));
    Answers { answered, unread, _call: call }
}

async fn take_in(
    executor: Arc<Executor>,
    mut requests: Streaming<proto::ExecuteStreamRequest>,
    mut drain: watch::Receiver<bool>,
    caller: Caller,
    answers: mpsc::Sender<Answered>,
    unread: Arc<Unread>,
) {
    let stop = drain.wait_for(|drain| *drain);
    tokio::pin!(stop);
    loop {
        tokio::select! {
            biased;
            () = unread.has_room(|| !answers.is_closed()) => {}
            _ = &mut stop => return,
        }
        // The client is gone when the receiver of its answers is.
        let Ok(permit) = answers.clone().reserve_owned().await else { return };
        let request = tokio::select! {
            biased;
            request = requests.message() => request,
            _ = &mut stop => return,
        };
        match request {
            Ok(Some(proto::ExecuteStreamRequest { id, execute })) => {
                let reply = Reply { permit, unread: unread.clone(), id, form: Form::default() };
                execute_one(&executor, execute, &caller, reply);
            }
            Ok(None) => return,
            Err(status) => {
                tracing::debug!(%status, "a client's stream broke");
                permit.send(Answered::Broken(status));
                return;
            }
        }
    }
}

fn execute_one(executor: &Arc<Executor>, request: Option<proto::ExecuteRequest>, caller: &Caller, mut reply: Reply) {
    let request = request.ok_or_else(|| RequestError::Invalid("the request is missing".to_owned()));
    if let Ok(request) = &request
        && let Err(error) = check_room(executor, request)
    {
        return reply.answer(Err(error));
    }
    if let Ok(request) = &request
        && request.trace
    {
        // Bounded as the stream's requests are: each holds a permit.
        let (executor, request, caller) = (executor.clone(), request.clone(), caller.clone());
        tokio::spawn(async move {
            match execute(&executor, request, caller).await {
                Ok((answer, form, traced)) => reply.answer_traced(answer, form, traced),
                Err(error) => reply.answer(Err(error)),
            }
        });
        return;
    }
    match request.and_then(|request| plan(executor, request, caller.login.clone())) {
        Err(error) => reply.answer(Err(error)),
        Ok((Plan::Done(answer), form)) => {
            reply.form = form;
            reply.answer(Ok(answer));
        }
        Ok((Plan::Shard(request), form)) => {
            reply.form = form;
            executor.submit(request, ReplyTo::Stream(reply), None);
        }
        Ok((plan @ (Plan::Schema(_) | Plan::Writes(_) | Plan::Role(..) | Plan::Analyze(_)), form)) => {
            reply.form = form;
            // Bounded as the stream's requests are: each holds a permit.
            let executor = executor.clone();
            tokio::spawn(async move { reply.answer(executor.wait(plan, None).await) });
        }
    }
}
