//! Sessions against fake nodes: what is sent where, how often, and what the caller gets.

use crate::fake::{Answer, FakeCluster, first_value, node_id, page, rows, until};
use crate::{Applied, ClientError, Outcome, SchemaEffect, Session, SessionBuilder, Statement};
use api::proto::client::v1 as proto;
use bytes::Bytes;
use futures::TryStreamExt;
use futures::future::join_all;
use model::error::FailureReason;
use model::{Consistency, CqlType, RequestError};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

const INSERT: &str = "INSERT INTO k.t (a, b) VALUES (?, ?)";
const SELECT: &str = "SELECT value FROM k.t WHERE a = ?";
/// A write that must not be executed twice.
const CONDITIONAL: &str = "INSERT INTO k.t (a, b) VALUES (1, 2) IF NOT EXISTS";
const PLAIN: &str = "INSERT INTO k.t (a, b) VALUES (1, 2)";
const READ: &str = "SELECT value FROM k.t WHERE a = 1";

fn builder(cluster: &FakeCluster) -> SessionBuilder {
    SessionBuilder::new(cluster.addresses()).timeout(Duration::from_secs(20))
}

/// A session that is connected to all nodes.
async fn session(cluster: &FakeCluster) -> Session {
    let session = builder(cluster).connect().await.unwrap();
    connected_to_all(cluster, &session).await;
    session
}

async fn connected_to_all(cluster: &FakeCluster, session: &Session) {
    let nodes = cluster.addresses().len();
    let mut reached = BTreeSet::new();
    while reached.len() < nodes {
        session.execute(READ, ()).await.unwrap();
        reached.extend(cluster.seen().into_iter().map(|seen| seen.node));
    }
}

fn quorum() -> (Consistency, u32, u32) {
    (Consistency::Quorum, 2, 1)
}

fn unavailable() -> RequestError {
    let (consistency, required, alive) = quorum();
    RequestError::Unavailable { consistency, required, alive, data_center: None }
}

fn write_timeout() -> RequestError {
    let (consistency, required, received) = quorum();
    RequestError::WriteTimeout { consistency, received, required }
}

#[tokio::test]
async fn one_contact_point_leads_to_all_nodes_which_are_asked_in_turn() {
    let cluster = FakeCluster::start(3, 1);
    let session = SessionBuilder::new(&cluster.addresses()[..1]).connect().await.unwrap();
    connected_to_all(&cluster, &session).await;
    let mut coordinators = Vec::new();
    for _ in 0..30 {
        coordinators.push(session.execute(READ, ()).await.unwrap().coordinator);
    }
    let seen = cluster.seen();
    assert_eq!(coordinators, seen.iter().map(|seen| node_id(seen.node)).collect::<Vec<_>>());
    for node in 0..3 {
        assert_eq!(seen.iter().filter(|seen| seen.node == node).count(), 10);
    }
    assert_eq!(session.topology().nodes.len(), 3);
    assert_eq!(session.topology().nodes[0].id, node_id(0));
}

#[tokio::test]
async fn a_cluster_that_cannot_be_reached_is_an_error_that_names_it() {
    let address = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().to_string()
    };
    let error = Session::connect([&address]).await.unwrap_err();
    assert!(matches!(&error, ClientError::Connection { address: named, .. } if *named == address), "{error}");
    assert_eq!(error.applied(), Applied::No);
    let nobody: [&str; 0] = [];
    assert!(Session::connect(nobody).await.unwrap_err().to_string().contains("no contact points"));
}

#[tokio::test]
async fn answers_out_of_order_reach_their_own_callers() {
    const REQUESTS: usize = 200;
    let cluster = FakeCluster::start(1, 1);
    let told: Arc<Vec<Arc<Notify>>> = Arc::new((0..REQUESTS).map(|_| Arc::new(Notify::new())).collect());
    let held = Arc::clone(&told);
    let session = session(&cluster).await;
    let select = session.prepare(SELECT).await.unwrap();
    cluster.answer(move |_, request| {
        let value = first_value(request);
        Answer::When(Arc::clone(&held[value as usize]), Box::new(rows(page(&[value * 3], None))))
    });
    let calls = (0..REQUESTS as i64).map(|key| {
        let (session, select) = (session.clone(), select.clone());
        tokio::spawn(async move { (key, session.execute_prepared(&select, (key,)).await) })
    });
    let calls: Vec<_> = calls.collect();
    until("all are under way at once", || cluster.under_way() == REQUESTS).await;
    for one in told.iter().rev() {
        one.notify_one();
    }
    for call in calls {
        let (key, result) = call.await.unwrap();
        assert_eq!(result.unwrap().first().unwrap().get::<i64>("value"), Ok(key * 3));
    }
}

#[tokio::test]
async fn prepared_statements_go_to_a_replica_of_their_partition() {
    let cluster = FakeCluster::start(3, 1);
    let session = session(&cluster).await;
    let insert = session.prepare(INSERT).await.unwrap();
    // Each node learns the statement when it first gets it.
    for key in 0..60i64 {
        session.execute_prepared(&insert, (key, 0i64)).await.unwrap();
    }
    cluster.seen();
    for key in 1_000..1_200i64 {
        session.execute_prepared(&insert, (key, 0i64)).await.unwrap();
        let seen = cluster.seen();
        assert_eq!(seen.len(), 1);
        assert_eq!(seen[0].node, cluster.owner(key), "key {key}");
    }
}

#[tokio::test]
async fn replicas_take_turns_and_another_node_stands_in_for_a_dead_one() {
    let cluster = FakeCluster::start(3, 2);
    let session = session(&cluster).await;
    let insert = session.prepare(INSERT).await.unwrap();
    for key in 0..60i64 {
        session.execute_prepared(&insert, (key, 0i64)).await.unwrap();
    }
    cluster.seen();
    let (key, owner) = (7i64, cluster.owner(7));
    let second = (owner + 1) % 3;
    for _ in 0..20 {
        session.execute_prepared(&insert, (key, 0i64)).await.unwrap();
    }
    let reached: BTreeSet<usize> = cluster.seen().into_iter().map(|seen| seen.node).collect();
    assert_eq!(reached, BTreeSet::from([owner, second]));
    cluster.kill(owner);
    cluster.kill(second);
    session.execute_prepared(&insert, (key, 0i64)).await.unwrap();
    let reached: BTreeSet<usize> = cluster.seen().into_iter().map(|seen| seen.node).collect();
    assert_eq!(reached, BTreeSet::from([(owner + 2) % 3]));
}

/// Executes a statement of which the first attempt fails with `error`; the number of attempts and the outcome.
async fn attempts(
    cluster: &FakeCluster,
    session: &Session,
    text: &str,
    error: RequestError,
) -> (usize, Option<ClientError>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    cluster.answer(move |_, _| match counted.fetch_add(1, Ordering::SeqCst) {
        0 => Answer::Error(error.clone()),
        _ => Answer::Done,
    });
    cluster.seen();
    let outcome = session.execute(text, ()).await.err();
    let nodes: BTreeSet<usize> = cluster.seen().into_iter().map(|seen| seen.node).collect();
    let attempts = count.load(Ordering::SeqCst);
    assert_eq!(nodes.len(), attempts, "each attempt is on another node");
    (attempts, outcome)
}

#[tokio::test]
async fn a_failed_attempt_is_repeated_only_where_that_is_safe() {
    let cluster = FakeCluster::start(3, 3);
    let session = session(&cluster).await;
    let (consistency, required, received) = quorum();
    // The error, and whether a conditional write, a plain write and a read are attempted again.
    let matrix = [
        (unavailable(), [true, true, true]),
        (RequestError::NotServing("starting".to_owned()), [true, true, true]),
        (RequestError::Overloaded("full".to_owned()), [true, true, true]),
        (write_timeout(), [false, true, true]),
        (RequestError::ReadTimeout { consistency, received, required, data_present: false }, [false, true, true]),
        (
            RequestError::WriteFailure { consistency, received, required, failures: 1, reason: FailureReason::Unknown },
            [false, true, true],
        ),
        (
            RequestError::ReadFailure { consistency, received, required, failures: 1, reason: FailureReason::Unknown },
            [false, true, true],
        ),
        (RequestError::Server("broken".to_owned()), [false, true, true]),
        (RequestError::Invalid("wrong".to_owned()), [false, false, false]),
        (RequestError::NotFound("gone".to_owned()), [false, false, false]),
        (RequestError::AlreadyExists { keyspace: "k".to_owned(), table: "t".to_owned() }, [false, false, false]),
        (RequestError::SchemaTimeout("slow".to_owned()), [false, false, false]),
        (RequestError::Syntax { line: 1, column: 2, message: "'x'".to_owned() }, [false, false, false]),
    ];
    for (error, repeated) in matrix {
        for (text, repeated) in [CONDITIONAL, PLAIN, READ].into_iter().zip(repeated) {
            let (count, outcome) = attempts(&cluster, &session, text, error.clone()).await;
            let expected = (!repeated).then(|| ClientError::Request(error.clone()));
            assert_eq!((count, outcome), (1 + usize::from(repeated), expected), "{error:?} of {text}");
        }
    }
}

#[tokio::test]
async fn a_statement_says_itself_whether_it_may_be_repeated() {
    let cluster = FakeCluster::start(2, 2);
    let session = session(&cluster).await;
    for (statement, expected) in [
        (Statement::new(CONDITIONAL).idempotent(true), 2),
        (Statement::new(PLAIN).idempotent(false), 1),
        (Statement::new(PLAIN), 2),
    ] {
        cluster.answer(|_, _| Answer::Error(write_timeout()));
        let error = session.execute(statement, ()).await.unwrap_err();
        assert_eq!(error, ClientError::Request(write_timeout()));
        assert_eq!(cluster.seen().len(), expected);
    }
}

#[tokio::test]
async fn without_client_timestamps_a_plain_write_is_not_repeated() {
    let cluster = FakeCluster::start(2, 2);
    let session = builder(&cluster).client_timestamps(false).connect().await.unwrap();
    cluster.answer(|_, _| Answer::Error(write_timeout()));
    session.execute(PLAIN, ()).await.unwrap_err();
    let seen = cluster.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].request.timestamp_micros, None);
}

#[tokio::test]
async fn writes_have_ascending_timestamps_and_a_repeated_write_keeps_its_own() {
    let cluster = FakeCluster::start(3, 3);
    let session = session(&cluster).await;
    cluster.answer(|node, _| if node == 0 { Answer::Error(write_timeout()) } else { Answer::Done });
    let mut last = 0;
    for _ in 0..30 {
        session.execute(PLAIN, ()).await.unwrap();
        let stamps: BTreeSet<_> = cluster.seen().into_iter().map(|seen| seen.request.timestamp_micros).collect();
        assert_eq!(stamps.len(), 1, "all attempts have one timestamp");
        let stamp = stamps.first().copied().flatten().unwrap();
        assert!(stamp > last);
        last = stamp;
    }
    session.execute(READ, ()).await.unwrap();
    session.execute(Statement::new(CONDITIONAL).idempotent(true), ()).await.unwrap();
    assert!(cluster.seen().iter().all(|seen| seen.request.timestamp_micros.is_none()));
    session.execute(Statement::new(PLAIN).timestamp(42), ()).await.unwrap();
    assert!(cluster.seen().iter().all(|seen| seen.request.timestamp_micros == Some(42)));
}

#[tokio::test]
async fn a_node_that_dies_with_a_write_leaves_it_open_or_has_it_repeated() {
    for (text, repeated) in [(CONDITIONAL, false), (PLAIN, true), (READ, true)] {
        let cluster = FakeCluster::start(2, 2);
        let session = session(&cluster).await;
        let first = Arc::new(AtomicUsize::new(0));
        cluster.answer(move |_, _| match first.fetch_add(1, Ordering::SeqCst) {
            0 => Answer::Death,
            _ => Answer::Done,
        });
        let outcome = session.execute(text, ()).await;
        assert_eq!(cluster.seen().len(), 1 + usize::from(repeated), "{text}");
        if repeated {
            outcome.unwrap();
        } else {
            let error = outcome.unwrap_err();
            assert!(matches!(error, ClientError::Connection { .. }), "{error}");
            assert_eq!(error.applied(), Applied::Maybe);
        }
    }
}

#[tokio::test]
async fn the_error_that_leaves_the_most_open_is_the_one_that_the_caller_sees() {
    let cluster = FakeCluster::start(3, 3);
    let session = session(&cluster).await;
    let count = Arc::new(AtomicUsize::new(0));
    cluster.answer(move |_, _| match count.fetch_add(1, Ordering::SeqCst) {
        0 => Answer::Error(write_timeout()),
        _ => Answer::Error(unavailable()),
    });
    let error = session.execute(PLAIN, ()).await.unwrap_err();
    assert_eq!(error, ClientError::Request(write_timeout()));
    assert_eq!(error.applied(), Applied::Maybe);
    assert_eq!(cluster.seen().len(), 3);
}

#[tokio::test]
async fn nodes_that_die_and_come_back_are_not_noticed_by_idempotent_calls() {
    let cluster = FakeCluster::start(3, 3);
    let session = session(&cluster).await;
    let insert = session.prepare(INSERT).await.unwrap();
    let stop = Arc::new(AtomicUsize::new(0));
    let workers: Vec<_> = (0..8i64)
        .map(|worker| {
            let (session, insert, stop) = (session.clone(), insert.clone(), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut key = worker;
                while stop.load(Ordering::SeqCst) == 0 {
                    session.execute_prepared(&insert, (key, key)).await?;
                    key += 8;
                }
                Ok::<i64, ClientError>(key)
            })
        })
        .collect();
    // A worker ends early only with an error, which is then what the test fails with.
    let failed = || workers.iter().any(|worker| worker.is_finished());
    let reached = |node| cluster.seen().iter().any(|seen| seen.node == node);
    for node in [0, 1, 2, 0, 1, 2] {
        until("the node works", || failed() || reached(node)).await;
        cluster.kill(node);
        tokio::time::sleep(Duration::from_millis(20)).await;
        cluster.seen();
        cluster.restart(node);
        until("the node is reached again", || failed() || reached(node)).await;
    }
    stop.store(1, Ordering::SeqCst);
    for worker in workers {
        worker.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_forgotten_statement_is_prepared_again_once_for_all_that_need_it() {
    let cluster = FakeCluster::start(1, 1);
    let session = session(&cluster).await;
    let select = session.prepare(SELECT).await.unwrap();
    assert_eq!(cluster.prepares(0), 1);
    assert_eq!(session.prepare(SELECT).await.unwrap().text(), SELECT);
    assert_eq!(cluster.prepares(0), 1, "the session has it");
    cluster.forget(0);
    cluster.answer(|_, request| rows(page(&[first_value(request)], None)));
    let calls = (0..100i64).map(|key| session.execute_prepared(&select, (key,)));
    for (key, result) in join_all(calls).await.into_iter().enumerate() {
        assert_eq!(result.unwrap().first().unwrap().get::<i64>("value"), Ok(key as i64));
    }
    assert_eq!(cluster.prepares(0), 2);
}

#[tokio::test]
async fn a_statement_that_is_forgotten_at_once_every_time_is_an_error_in_the_end() {
    let cluster = FakeCluster::start(1, 1);
    let session = session(&cluster).await;
    let select = session.prepare(SELECT).await.unwrap();
    let unprepared = RequestError::Unprepared { id: "ab".to_owned() };
    let answer = unprepared.clone();
    cluster.answer(move |_, _| Answer::Error(answer.clone()));
    let error = session.execute_prepared(&select, (1i64,)).await.unwrap_err();
    assert_eq!(error, ClientError::Request(unprepared));
}

#[tokio::test]
async fn a_text_with_values_is_prepared_and_one_that_is_wrong_says_where() {
    let cluster = FakeCluster::start(1, 1);
    let session = session(&cluster).await;
    session.execute(INSERT, (1, 2)).await.unwrap();
    session.execute(INSERT, [3i64, 4]).await.unwrap();
    assert_eq!(cluster.prepares(0), 1);
    assert_eq!(cluster.seen().iter().map(|seen| first_value(&seen.request)).collect::<Vec<_>>(), [1, 3]);
    let error = session.execute("SELEC ?", (1,)).await.unwrap_err();
    assert!(matches!(error, ClientError::Request(RequestError::Syntax { line: 1, column: 1, .. })), "{error}");
    let error = session.execute(INSERT, (1, "two")).await.unwrap_err();
    assert!(matches!(error, ClientError::Bind(_)), "{error}");
    assert!(cluster.seen().is_empty(), "nothing was sent");
}

#[tokio::test]
async fn columns_are_sent_when_they_are_not_what_the_session_knows() {
    let cluster = FakeCluster::start(1, 1);
    let session = session(&cluster).await;
    let select = session.prepare(SELECT).await.unwrap();
    cluster.answer(|_, _| rows(page(&[5], None)));
    let before = session.execute_prepared(&select, (1i64,)).await.unwrap();
    assert_eq!(before.columns()[0].name, "value");
    cluster.set_columns(vec![proto::ColumnSpec::new("k", "t", "renamed", &CqlType::BigInt)], b"columns 2");
    let after = session.execute_prepared(&select, (1i64,)).await.unwrap();
    assert_eq!(after.first().unwrap().get::<i64>("renamed"), Ok(5));
}

/// Answers with three pages, of which the second is empty.
fn three_pages(_: usize, request: &proto::ExecuteRequest) -> Answer {
    rows(match request.paging_state.as_ref() {
        b"" => page(&[1, 2], Some("second")),
        b"second" => page(&[], Some("third")),
        b"third" => page(&[3], None),
        other => panic!("{other:?}"),
    })
}

#[tokio::test]
async fn pages_follow_each_other_to_the_last() {
    let cluster = FakeCluster::start(2, 2);
    let session = session(&cluster).await;
    cluster.answer(three_pages);
    let select = session.prepare(SELECT).await.unwrap().page_size(2);
    let rows: Vec<_> = session.query_iter_prepared(&select, (1i64,)).unwrap().try_collect().await.unwrap();
    let values: Vec<i64> = rows.iter().map(|row| row.get("value").unwrap()).collect();
    assert_eq!(values, [1, 2, 3]);
    assert!(cluster.seen().iter().all(|seen| seen.request.page_rows == 2));

    let mut pages = session.pages(READ, ()).await.unwrap();
    let mut lengths = Vec::new();
    while let Some(page) = pages.next_page().await.unwrap() {
        lengths.push(page.rows().len());
    }
    assert_eq!(lengths, [2, 0, 1]);
    assert_eq!(pages.next_page().await.unwrap(), None);

    let first = session.execute(READ, ()).await.unwrap();
    let rest = session.pages(READ, ()).await.unwrap().resume(first.paging_state().unwrap().clone());
    assert_eq!(rest.into_rows().try_collect::<Vec<_>>().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_page_that_fails_can_be_asked_for_again() {
    let cluster = FakeCluster::start(1, 1);
    let session = session(&cluster).await;
    cluster.answer(three_pages);
    let mut pages = session.pages(READ, ()).await.unwrap();
    assert_eq!(pages.next_page().await.unwrap().unwrap().rows().len(), 2);
    cluster.answer(|_, _| Answer::Error(unavailable()));
    assert_eq!(pages.next_page().await, Err(ClientError::Request(unavailable())));
    cluster.answer(three_pages);
    assert_eq!(pages.next_page().await.unwrap().unwrap().rows().len(), 0);
    assert_eq!(pages.next_page().await.unwrap().unwrap().rows().len(), 1);
    assert_eq!(pages.next_page().await.unwrap(), None);
}

#[tokio::test]
async fn a_silent_node_costs_a_read_half_of_its_time_and_a_write_its_outcome() {
    let cluster = FakeCluster::start(2, 2);
    let session = session(&cluster).await;
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    cluster.answer(move |_, _| match counted.fetch_add(1, Ordering::SeqCst) {
        0 => Answer::Silence,
        _ => Answer::Done,
    });
    session.execute(Statement::new(READ).timeout(Duration::from_secs(2)), ()).await.unwrap();
    let seen = cluster.seen();
    assert_eq!(seen.len(), 2);
    assert!(seen.iter().all(|seen| seen.request.timeout_millis <= 1_000), "{seen:?}");
    count.store(0, Ordering::SeqCst);
    let after = Duration::from_millis(200);
    let error = session.execute(Statement::new(CONDITIONAL).timeout(after), ()).await.unwrap_err();
    assert_eq!(error, ClientError::Timeout { after, applied: Applied::Maybe });
    assert_eq!(cluster.seen().len(), 1);
}

#[tokio::test]
async fn requests_under_way_are_bounded_and_the_others_wait() {
    const BOUND: usize = 4;
    let cluster = FakeCluster::start(1, 1);
    let session = builder(&cluster).in_flight_per_connection(BOUND).connect().await.unwrap();
    let told = Arc::new(Notify::new());
    let held = Arc::clone(&told);
    cluster.answer(move |_, _| Answer::When(Arc::clone(&held), Box::new(Answer::Done)));
    let calls: Vec<_> = (0..20)
        .map(|_| {
            let session = session.clone();
            tokio::spawn(async move { session.execute(READ, ()).await })
        })
        .collect();
    until("the connection is full", || cluster.under_way() == BOUND).await;
    for done in 1..=20 {
        told.notify_one();
        until("one more is done", || calls.iter().filter(|call| call.is_finished()).count() >= done).await;
    }
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(cluster.under_way_most(), BOUND);
}

#[tokio::test]
async fn what_is_never_sent_for_lack_of_room_is_certainly_not_applied() {
    let cluster = FakeCluster::start(1, 1);
    let session = builder(&cluster).in_flight_per_connection(1).connect().await.unwrap();
    cluster.answer(|_, _| Answer::Silence);
    let short = |text| Statement::new(text).timeout(Duration::from_millis(100));
    let first = session.execute(short(CONDITIONAL), ()).await.unwrap_err();
    assert_eq!(first.applied(), Applied::Maybe);
    // The node still has the first request, so its place is not free.
    let second = session.execute(short(CONDITIONAL), ()).await.unwrap_err();
    assert_eq!(second.applied(), Applied::No, "{second}");
    assert_eq!(cluster.seen().len(), 1);
}

#[tokio::test]
async fn a_keyspace_in_use_goes_with_later_texts() {
    let cluster = FakeCluster::start(1, 1);
    cluster.answer(|_, request| {
        let Some(proto::execute_request::Statement::Text(text)) = &request.statement else { return Answer::Done };
        let Some(keyspace) = text.strip_prefix("USE ") else { return Answer::Done };
        if keyspace.contains("missing") {
            return Answer::Error(RequestError::NotFound("Keyspace 'missing' does not exist".to_owned()));
        }
        let set = proto::SetKeyspace { keyspace: keyspace.trim_matches('"').replace("\"\"", "\"") };
        let result = Some(proto::execute_response::Result::SetKeyspace(set));
        Answer::Response(proto::ExecuteResponse { result, warnings: vec!["a remark".to_owned()], ..Default::default() })
    });
    let session = builder(&cluster).keyspace("first").connect().await.unwrap();
    assert_eq!(session.keyspace().as_deref(), Some("first"));
    session.clone().use_keyspace("odd\"name").await.unwrap();
    assert_eq!(session.keyspace().as_deref(), Some("odd\"name"));
    let result = session.execute("USE k", ()).await.unwrap();
    assert_eq!(result.outcome, Outcome::SetKeyspace("k".to_owned()));
    assert_eq!(result.warnings, ["a remark"]);
    cluster.seen();
    session.execute("SELECT value FROM t", ()).await.unwrap();
    assert_eq!(cluster.seen()[0].request.keyspace, "k");
    let error = builder(&cluster).keyspace("missing").connect().await.unwrap_err();
    assert!(matches!(error, ClientError::Request(RequestError::NotFound(_))));
}

#[tokio::test]
async fn a_schema_change_is_done_when_the_nodes_know_it() {
    let cluster = Arc::new(FakeCluster::start(3, 1));
    let session = session(&cluster).await;
    cluster.answer(|_, _| {
        let change = proto::SchemaChange {
            effect: proto::schema_change::Effect::Created.into(),
            keyspace: "k".to_owned(),
            table: "t2".to_owned(),
            user_type: String::new(),
            epoch: 2,
        };
        let result = Some(proto::execute_response::Result::SchemaChange(change));
        Answer::Response(proto::ExecuteResponse { result, warnings: vec![], ..Default::default() })
    });
    cluster.set_epoch(0, 2);
    cluster.set_epoch(1, 2);
    let create = tokio::spawn({
        let session = session.clone();
        async move { session.execute("CREATE TABLE k.t2 (a int PRIMARY KEY)", ()).await }
    });
    until("it was sent", || !cluster.seen().is_empty()).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!create.is_finished(), "the third node does not know it yet");
    cluster.set_epoch(2, 2);
    let Outcome::SchemaChange(change) = create.await.unwrap().unwrap().outcome else { panic!("not a schema change") };
    assert_eq!((change.effect, change.table.as_deref()), (SchemaEffect::Created, Some("t2")));
    assert_eq!(session.topology().epoch, 2);
}

#[tokio::test]
async fn options_of_a_statement_go_before_those_of_the_session() {
    let cluster = FakeCluster::start(1, 1);
    let session = builder(&cluster).consistency(Consistency::All).page_size(7).connect().await.unwrap();
    session.execute(READ, ()).await.unwrap();
    let statement = Statement::new(READ).consistency(Consistency::One).page_size(9).timeout(Duration::from_secs(1));
    session.execute(statement, ()).await.unwrap();
    let seen = cluster.seen();
    let (session, statement) = (&seen[0].request, &seen[1].request);
    assert_eq!((session.consistency(), session.page_rows), (proto::Consistency::All, 7));
    assert_eq!((statement.consistency(), statement.page_rows), (proto::Consistency::One, 9));
    assert!((800..=900).contains(&statement.timeout_millis), "the node answers before the caller gives up");
}

#[tokio::test]
async fn an_answer_that_is_not_one_is_an_error_and_not_a_panic() {
    let cluster = FakeCluster::start(1, 1);
    let session = session(&cluster).await;
    let bad = [
        Answer::Response(proto::ExecuteResponse::default()),
        rows(proto::Rows { rows: vec![Bytes::from_static(b"short")], ..page(&[], None) }),
        rows(proto::Rows { columns: vec![proto::ColumnSpec::default()], ..page(&[1], None) }),
        rows(proto::Rows { columns: vec![], ..page(&[1], None) }),
    ];
    for answer in bad {
        let answer = parking_lot::Mutex::new(Some(answer));
        cluster.answer(move |_, _| answer.lock().take().unwrap_or(Answer::Done));
        let error = session.execute(READ, ()).await.unwrap_err();
        assert!(matches!(error, ClientError::Protocol { .. }), "{error}");
    }
}
