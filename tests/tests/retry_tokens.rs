//! Retry tokens over real processes and both front doors: while nodes are killed clients send each write until it is
//! answered, and each has happened once.

use bytes::Bytes;
use client::{Session, SessionBuilder, Statement};
use e2e::Cluster;
use model::{Consistency, RetryToken, Value, WallMicros};
use native::{Inbound, Message, Outbound, Query, QueryParameters, QueryResult, Request, Response, Startup, Version};
use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Clients that count, and that put what is theirs into one register.
const CLIENTS: i64 = 4;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

async fn connect(cluster: &Cluster) -> Session {
    // Short, so that answers are missed.
    let builder = SessionBuilder::new(cluster.addresses()).timeout(Duration::from_millis(700)).retries(0);
    let session = builder.connect().await.unwrap();
    for text in [
        "CREATE KEYSPACE k WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 3}",
        "CREATE TABLE k.n (p int PRIMARY KEY, v counter)",
        "CREATE TABLE k.r (p int PRIMARY KEY, v bigint, l list<bigint>)",
    ] {
        session.execute(Statement::new(text).timeout(Duration::from_secs(20)), ()).await.unwrap();
    }
    session
}

/// Executes a statement until it is answered, with one token: its first column, and how often it was sent.
async fn until_answered(session: &Session, text: &str, attempts: &mut u64) -> Option<bool> {
    let token = session.new_retry_token();
    loop {
        *attempts += 1;
        match session.execute(Statement::new(text).retry_token(token), ()).await {
            Ok(result) => return result.first().map(|row| row.get::<bool>("[applied]").unwrap()),
            // Within the window it is answered some time.
            Err(error) => {
                assert!(!error.to_string().contains("beyond the"), "{error}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

/// What a client has done.
#[derive(Debug, Default)]
struct Done {
    /// The sum of its increments.
    counted: i64,
    /// How often it had its turn.
    turns: u64,
    /// Elements that it has appended.
    appended: usize,
    /// How often it has sent something.
    attempts: u64,
}

/// Counts, takes turns at a register and appends to a list.
async fn work(session: Session, client: i64, until: Instant) -> Done {
    let mut done = Done::default();
    let Done { counted, turns, appended, attempts } = &mut done;
    while Instant::now() < until {
        let by = *counted % 5 + 1;
        until_answered(&session, &format!("UPDATE k.n SET v = v + {by} WHERE p = 1"), attempts).await;
        *counted += by;
        // A register that is free is taken, and given back: twice taken it would be taken by two.
        let take = format!("INSERT INTO k.r (p, v) VALUES (1, {client}) IF NOT EXISTS");
        if until_answered(&session, &take, attempts).await == Some(true) {
            let free = format!("DELETE FROM k.r WHERE p = 1 IF v = {client}");
            assert_eq!(until_answered(&session, &free, attempts).await, Some(true), "it is the client's");
            *turns += 1;
        }
        let append = format!("UPDATE k.r SET l = l + [{client}] WHERE p = 2");
        until_answered(&session, &append, attempts).await;
        *appended += 1;
    }
    done
}

/// A connection of the CQL native protocol.
struct Native {
    socket: TcpStream,
    inbound: Inbound,
    outbound: Outbound,
}

impl Native {
    async fn connect(address: &str) -> Option<Native> {
        let socket = TcpStream::connect((address, 9042)).await.ok()?;
        let mut native = Native { socket, inbound: Inbound::new(1 << 24), outbound: Outbound::new(Version::V4) };
        let startup = Request::Startup(Startup { options: [("CQL_VERSION".to_owned(), "3.0.0".to_owned())].into() });
        native.ask(startup, None).await?;
        native.inbound.start(None);
        native.outbound.start(None);
        Some(native)
    }

    async fn ask(&mut self, request: Request, token: Option<RetryToken>) -> Option<Response> {
        let payload =
            |token: RetryToken| ("helenus.retry_token".to_owned(), Some(Bytes::copy_from_slice(&token.to_wire())));
        let custom_payload: BTreeMap<_, _> = token.map(payload).into_iter().collect();
        self.outbound.push_message(&Message { stream: 0, tracing: false, custom_payload, request }).unwrap();
        self.socket.write_all(&self.outbound.take()).await.ok()?;
        loop {
            if let Some(envelope) = self.inbound.next_envelope().unwrap() {
                return Some(native::Answer::decode(&envelope).unwrap().response);
            }
            if self.socket.read_buf(self.inbound.buffer()).await.ok()? == 0 {
                return None;
            }
        }
    }
}

/// Sends an increment over the native protocol until it is answered, to one node after the other.
async fn count_natively(addresses: &[String], attempts: &mut u64) {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let token = RetryToken::at(WallMicros(elapsed.as_micros() as i64), elapsed.as_nanos() as u64);
    for address in addresses.iter().cycle() {
        *attempts += 1;
        let parameters = QueryParameters::at(Consistency::Quorum);
        let query = Query { text: "UPDATE k.n SET v = v + 1 WHERE p = 2".to_owned(), parameters };
        let asked = async { Native::connect(address).await?.ask(Request::Query(query), Some(token)).await };
        match tokio::time::timeout(Duration::from_millis(700), asked).await {
            Ok(Some(Response::Result(QueryResult::Void))) => return,
            Ok(Some(Response::Error(error))) if error.message.contains("retry token") => panic!("{}", error.message),
            _ => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

async fn number(session: &Session, text: &str) -> i64 {
    let statement = Statement::new(text).consistency(Consistency::All).timeout(Duration::from_secs(20));
    session.execute(statement, ()).await.unwrap().first().unwrap().get::<i64>("v").unwrap()
}

#[test]
fn each_write_happens_once_while_nodes_are_killed() {
    let mut cluster = Cluster::start(3);
    let runtime = runtime();
    let session = runtime.block_on(connect(&cluster));
    let until = Instant::now() + Duration::from_secs(15);
    let clients: Vec<_> = (0..CLIENTS).map(|client| runtime.spawn(work(session.clone(), client, until))).collect();
    let addresses = cluster.addresses();
    let natively = runtime.spawn(async move {
        let (mut counted, mut attempts) = (0, 0);
        while Instant::now() < until {
            count_natively(&addresses, &mut attempts).await;
            counted += 1;
        }
        (counted, attempts)
    });
    for round in 0..3 {
        std::thread::sleep(Duration::from_secs(2));
        cluster.node(round).kill();
        std::thread::sleep(Duration::from_secs(1));
        cluster.node(round).start();
        cluster.wait_up(3);
    }
    runtime.block_on(async {
        let mut all = Done::default();
        for client in clients {
            let Done { counted, turns, appended, attempts } = client.await.unwrap();
            all.counted += counted;
            all.turns += turns;
            all.appended += appended;
            all.attempts += attempts;
        }
        let (natively, native_attempts) = natively.await.unwrap();
        println!("{all:?}; {natively} counted natively in {native_attempts} attempts");
        assert_eq!(number(&session, "SELECT v FROM k.n WHERE p = 1").await, all.counted, "the exact sum");
        assert_eq!(number(&session, "SELECT v FROM k.n WHERE p = 2").await, natively, "the exact sum");
        let list = Statement::new("SELECT l FROM k.r WHERE p = 2").consistency(Consistency::All);
        let result = session.execute(list.timeout(Duration::from_secs(20)), ()).await.unwrap();
        let Ok(Value::List(elements)) = result.first().unwrap().get::<Value>("l") else { panic!("no list") };
        assert_eq!(elements.len(), all.appended, "each element is there once");
        assert!(all.turns > 0 && natively > 0);
    });
}

#[test]
fn what_a_token_cannot_be_for_is_refused() {
    let cluster = Cluster::start(1);
    runtime().block_on(async {
        let session = SessionBuilder::new(cluster.addresses()).connect().await.unwrap();
        let keyspace = "CREATE KEYSPACE k WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}";
        let refused = |text: &'static str, token: RetryToken| {
            let session = session.clone();
            async move { session.execute(Statement::new(text).retry_token(token), ()).await.unwrap_err().to_string() }
        };
        let message = refused(keyspace, session.new_retry_token()).await;
        assert!(message.contains("retry token can only be given for a write"), "{message}");
        session.execute(keyspace, ()).await.unwrap();
        session.execute("CREATE TABLE k.t (p int PRIMARY KEY, v int)", ()).await.unwrap();
        let old = RetryToken::at(WallMicros(session.new_retry_token().time().0 - 601_000_000), 7);
        let message = refused("INSERT INTO k.t (p, v) VALUES (1, 1)", old).await;
        assert!(message.contains("seconds old"), "{message}");
        // What is drawn at random is the same each time.
        session.execute("CREATE TABLE k.u (p int PRIMARY KEY, u uuid, w timeuuid)", ()).await.unwrap();
        let insert = Statement::new("INSERT INTO k.u (p, u, w) VALUES (1, uuid(), now())");
        let insert = insert.retry_token(session.new_retry_token());
        let mut seen = Vec::new();
        for _ in 0..3 {
            session.execute(insert.clone(), ()).await.unwrap();
            seen.push(session.execute("SELECT * FROM k.u WHERE p = 1", ()).await.unwrap().rows().to_vec());
        }
        assert!(seen.windows(2).all(|pair| pair[0] == pair[1]), "{seen:?}");
    });
}
