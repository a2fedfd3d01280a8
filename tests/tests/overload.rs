//! A node that is asked for more than it can do: what it does, what it refuses, and that it is itself again.

use crate::connections::{bytes_of, native, runtime, start, started};
use client::{ClientError, SessionBuilder};
use e2e::Cluster;
use model::{Consistency, RequestError};
use native::{Answer, Failure, Query, QueryParameters, Request, Response, Version};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Nothing may wait, but for the few that always may.
const SETTINGS: &str = "queue_wait_max_ms = 1\n";
const ROWS: i32 = 300;
/// Requests at once; more than that a connection of the native protocol is not asked for.
const REQUESTS: i16 = 2_000;
const SELECT: &str = "SELECT c, v FROM k.t WHERE p = 1";

/// A node with a partition that takes a while to read.
fn loaded() -> Cluster {
    let mut cluster = start(SETTINGS);
    let node = cluster.node(0);
    let keyspace = "CREATE KEYSPACE k WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}; \
                    CREATE TABLE k.t (p int, c int, v blob, PRIMARY KEY (p, c));";
    assert!(node.cql(keyspace).status.success());
    runtime().block_on(async {
        let session = SessionBuilder::new(cluster.addresses()).connect().await.unwrap();
        let insert = session.prepare("INSERT INTO k.t (p, c, v) VALUES (1, ?, ?)").await.unwrap();
        for c in 0..ROWS {
            session.execute_prepared(&insert, (c, vec![7_u8; 100])).await.unwrap();
        }
    });
    cluster
}

/// What the node has counted under this name.
fn counted(cluster: &Cluster, name: &str) -> u64 {
    let info = e2e::output(&["admin", "info", "--json", "--host", &cluster.addresses()[0]]);
    let info: serde_json::Value = serde_json::from_slice(&info.stdout).unwrap();
    info[name].as_u64().unwrap()
}

#[test]
fn what_a_node_cannot_do_in_time_is_refused_and_every_request_is_answered() {
    let cluster = loaded();
    let (read, refused) = runtime().block_on(async {
        let builder = SessionBuilder::new(cluster.addresses()).retries(0).timeout(Duration::from_secs(60));
        let session = builder.connect().await.unwrap();
        let select = session.prepare(SELECT).await.unwrap();
        let asked = (0..REQUESTS).map(|_| {
            let (session, select) = (session.clone(), select.clone());
            tokio::spawn(async move { session.execute_prepared(&select, ()).await.map(|result| result.rows().len()) })
        });
        let (mut read, mut refused) = (0, 0);
        for asked in asked.collect::<Vec<_>>() {
            match asked.await.unwrap() {
                Ok(rows) => {
                    assert_eq!(rows, ROWS as usize);
                    read += 1;
                }
                Err(ClientError::Request(RequestError::Overloaded(_))) => refused += 1,
                Err(error) => panic!("{error}"),
            }
        }
        session.execute_prepared(&select, ()).await.expect("it is itself again");
        (read, refused)
    });
    eprintln!("{read} read, {refused} refused");
    assert_eq!(read + refused, REQUESTS as u64);
    assert!(read >= 32 && refused > 0);
    assert_eq!(counted(&cluster, "requests_overloaded"), refused);
}

#[test]
fn a_refusal_of_the_native_protocol_is_overloaded_on_its_stream_and_drivers_read_the_system_tables() {
    let cluster = loaded();
    runtime().block_on(async {
        let (socket, mut inbound, mut outbound) = started(native(&cluster), 1, Version::V5).await;
        let query = |text: &str| {
            let parameters = QueryParameters::at(Consistency::One);
            Request::Query(Query { text: text.to_owned(), parameters })
        };
        let requests: Vec<_> = (0..REQUESTS)
            .map(|stream| {
                let text = if stream % 100 == 99 { "SELECT key FROM system.local" } else { SELECT };
                bytes_of(&mut outbound, stream, query(text))
            })
            .collect();
        let (mut from, mut to) = socket.into_split();
        let writing = tokio::spawn(async move {
            to.write_all(&requests.concat()).await.unwrap();
            to
        });
        let (mut read, mut refused, mut answered) = (0, 0, std::collections::BTreeSet::new());
        while answered.len() < REQUESTS as usize {
            let Some(envelope) = inbound.next_envelope().unwrap() else {
                assert_ne!(from.read_buf(inbound.buffer()).await.unwrap(), 0, "the connection was closed");
                continue;
            };
            let answer = Answer::decode(&envelope).unwrap();
            assert!(answered.insert(answer.stream), "stream {} is answered twice", answer.stream);
            match answer.response {
                Response::Result(_) => read += 1,
                Response::Error(error) => {
                    assert!(matches!(error.failure, Failure::Overloaded), "{error:?}");
                    assert_ne!(answer.stream % 100, 99, "drivers need the system tables: {error:?}");
                    refused += 1;
                }
                other => panic!("{other:?}"),
            }
        }
        drop(writing.await.unwrap());
        eprintln!("{read} read, {refused} refused");
        assert!(read >= 32 && refused > 0);
    });
}
