//! One node with real sockets and a real disk, in this process, as clients of the CQL native protocol see it.

use crate::boot::tests::config;
use crate::boot::{Node, StartOptions};
use crate::config::Config;
use bytes::Bytes;
use model::Consistency;
use native::event::ChangeType;
use native::rows::Columns;
use native::{
    Answer, Batch, BatchKind, BatchStatement, BoundValue, Compression, Event, EventType, Execute, Failure, Inbound,
    Message, Outbound, Prepare, Prepared, Query, QueryParameters, QueryResult, Request, Response, Rows, SchemaTarget,
    Startup, StatementText, Values, Version,
};
use std::collections::BTreeSet;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A client of its own: what it sends and reads is encoded and decoded by `native` too.
struct Client {
    socket: TcpStream,
    inbound: Inbound,
    outbound: Outbound,
}

impl Client {
    async fn connect(config: &Config, version: Version, compression: Option<Compression>) -> Client {
        let socket = TcpStream::connect(config.native_listen).await.unwrap();
        let mut client = Client { socket, inbound: Inbound::new(1 << 24), outbound: Outbound::new(version) };
        let mut options = vec![("CQL_VERSION".to_owned(), "3.0.0".to_owned())];
        options.extend(compression.map(|compression| ("COMPRESSION".to_owned(), compression.name().to_owned())));
        let startup = Request::Startup(Startup { options: options.into_iter().collect() });
        assert_eq!(client.ask(startup).await.response, Response::Ready);
        client.inbound.start(compression);
        client.outbound.start(compression);
        client
    }

    fn push(&mut self, stream: i16, request: Request) {
        let message = Message { stream, tracing: false, custom_payload: Default::default(), request };
        self.outbound.push_message(&message).unwrap();
    }

    async fn flush(&mut self) {
        self.socket.write_all(&self.outbound.take()).await.unwrap();
    }

    /// The next answer; `None` when the node has closed the connection.
    async fn next(&mut self) -> Option<Answer> {
        loop {
            if let Some(envelope) = self.inbound.next_envelope().unwrap() {
                return Some(Answer::decode(&envelope).unwrap());
            }
            if self.socket.read_buf(self.inbound.buffer()).await.unwrap() == 0 {
                return None;
            }
        }
    }

    async fn ask(&mut self, request: Request) -> Answer {
        self.push(3, request);
        self.flush().await;
        let answer = self.next().await.unwrap();
        assert_eq!(answer.stream, 3);
        answer
    }

    async fn query(&mut self, text: &str) -> Response {
        self.ask(query(text)).await.response
    }

    async fn run(&mut self, text: &str) -> QueryResult {
        match self.query(text).await {
            Response::Result(result) => result,
            other => panic!("{text}: {other:?}"),
        }
    }

    async fn rows(&mut self, text: &str) -> Rows {
        match self.run(text).await {
            QueryResult::Rows(rows) => rows,
            other => panic!("{text}: {other:?}"),
        }
    }

    async fn prepare(&mut self, text: &str) -> Prepared {
        let prepare = Request::Prepare(Prepare { text: text.to_owned(), keyspace: None });
        match self.ask(prepare).await.response {
            Response::Result(QueryResult::Prepared(prepared)) => prepared,
            other => panic!("{text}: {other:?}"),
        }
    }
}

fn parameters(values: Vec<BoundValue>) -> QueryParameters {
    let mut parameters = QueryParameters::at(Consistency::LocalQuorum);
    parameters.values = Values::Positional(values);
    parameters
}

fn query(text: &str) -> Request {
    Request::Query(Query { text: text.to_owned(), parameters: parameters(Vec::new()) })
}

fn int(value: i32) -> BoundValue {
    BoundValue::Value(Bytes::copy_from_slice(&value.to_be_bytes()))
}

fn text(value: &str) -> BoundValue {
    BoundValue::Value(Bytes::copy_from_slice(value.as_bytes()))
}

const KEYSPACE: &str = "CREATE KEYSPACE k WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}";

async fn node(config: &Config) -> Node {
    let node = Node::start(config.clone(), StartOptions::default()).await.unwrap();
    node.serving().await;
    node
}

#[tokio::test]
async fn statements_work_with_both_versions_and_every_compression() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(&folder);
    let node = node(&config).await;
    let agreements = [
        (Version::V4, None),
        (Version::V4, Some(Compression::Snappy)),
        (Version::V4, Some(Compression::Lz4)),
        (Version::V5, None),
        (Version::V5, Some(Compression::Lz4)),
    ];
    for (number, (version, compression)) in agreements.into_iter().enumerate() {
        let mut client = Client::connect(&config, version, compression).await;
        if number == 0 {
            let created = client.run(KEYSPACE).await;
            assert!(matches!(created, QueryResult::SchemaChange(change) if change.target == SchemaTarget::Keyspace));
        }
        assert_eq!(client.run("USE k").await, QueryResult::SetKeyspace("k".to_owned()));
        let table = format!("t{number}");
        client.run(&format!("CREATE TABLE {table} (p int, c int, v text, PRIMARY KEY (p, c))")).await;
        let insert = client.prepare(&format!("INSERT INTO {table} (p, c, v) VALUES (?, ?, ?)")).await;
        assert_eq!((insert.partition_key_indexes.as_slice(), insert.parameters.len()), (&[0][..], 3));
        // Longer than a segment, all at once.
        let long = "x".repeat(1_000);
        for stream in 0..500 {
            let parameters = parameters(vec![int(1), int(i32::from(stream)), text(&long)]);
            let (id, result_metadata_id) = (insert.id.clone(), insert.result_metadata_id.clone());
            client.push(stream, Request::Execute(Execute { id, result_metadata_id, parameters }));
        }
        client.flush().await;
        let mut streams = BTreeSet::new();
        for _ in 0..500 {
            let answer = client.next().await.unwrap();
            assert_eq!(answer.response, Response::Result(QueryResult::Void));
            assert!(streams.insert(answer.stream), "one answer each");
        }
        let all = client.rows(&format!("SELECT c, v FROM {table} WHERE p = 1")).await;
        assert_eq!((all.rows.len(), all.metadata.paging_state), (500, None), "no page size: all rows at once");
        assert_eq!(all.rows[499][1].as_deref(), Some(long.as_bytes()));
    }
    node.stop().await;
}

#[tokio::test]
async fn pages_go_on_where_they_ended_and_known_columns_are_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(&folder);
    let node = node(&config).await;
    let mut client = Client::connect(&config, Version::V5, None).await;
    client.run(KEYSPACE).await;
    client.run("CREATE TABLE k.t (p int, c int, PRIMARY KEY (p, c))").await;
    for c in 0..10 {
        client.run(&format!("INSERT INTO k.t (p, c) VALUES (1, {c})")).await;
    }
    let select = client.prepare("SELECT c FROM k.t WHERE p = ?").await;
    let (mut state, mut seen) = (None, Vec::new());
    loop {
        let mut parameters = parameters(vec![int(1)]);
        (parameters.page_size, parameters.paging_state, parameters.skip_metadata) = (Some(4), state, true);
        let (id, result_metadata_id) = (select.id.clone(), select.result_metadata_id.clone());
        let answer = client.ask(Request::Execute(Execute { id, result_metadata_id, parameters })).await;
        let Response::Result(QueryResult::Rows(rows)) = answer.response else { panic!("{answer:?}") };
        assert_eq!(rows.metadata.columns, Columns::Omitted(1));
        seen.extend(
            rows.rows.into_iter().map(|row| i32::from_be_bytes(row[0].as_deref().unwrap().try_into().unwrap())),
        );
        state = rows.metadata.paging_state;
        if state.is_none() {
            break;
        }
    }
    assert_eq!(seen, (0..10).collect::<Vec<_>>());
    // A client that knows other columns is told of these and of their id.
    let mut parameters = parameters(vec![int(1)]);
    parameters.skip_metadata = true;
    let known = Some(Bytes::from_static(b"others"));
    let answer = client.ask(Request::Execute(Execute { id: select.id.clone(), result_metadata_id: known, parameters }));
    let Response::Result(QueryResult::Rows(rows)) = answer.await.response else { panic!("rows") };
    assert_eq!(rows.metadata.new_metadata_id, select.result_metadata_id);
    assert!(matches!(rows.metadata.columns, Columns::Sent(columns) if columns.len() == 1));
    node.stop().await;
}

#[tokio::test]
async fn failures_have_the_codes_that_drivers_act_on() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(&folder);
    let node = node(&config).await;
    let mut client = Client::connect(&config, Version::V4, None).await;
    client.run(KEYSPACE).await;
    let mut failure = async |request: Request| match client.ask(request).await.response {
        Response::Error(error) => error.failure,
        other => panic!("{other:?}"),
    };
    assert_eq!(failure(query("SELEC")).await, Failure::Syntax);
    assert_eq!(failure(query("SELECT * FROM k.t WHERE a = 1")).await, Failure::Invalid);
    let exists = Failure::AlreadyExists { keyspace: "k".to_owned(), table: String::new() };
    assert_eq!(failure(query(KEYSPACE)).await, exists);
    let id = Bytes::from_static(&[7; 16]);
    let unknown =
        Request::Execute(Execute { id: id.clone(), result_metadata_id: None, parameters: parameters(vec![]) });
    assert_eq!(failure(unknown).await, Failure::Unprepared { id });
    let mut serial = parameters(Vec::new());
    serial.consistency = Consistency::Serial;
    let text = "SELECT * FROM k.t WHERE a = 1".to_owned();
    assert_eq!(failure(Request::Query(Query { text, parameters: serial })).await, Failure::Invalid);
    assert_eq!(failure(query("DROP TABLE system.local")).await, Failure::Unauthorized);
    assert_eq!(
        failure(query("CREATE TABLE k.t (a int PRIMARY KEY) WITH gc_grace_seconds = -1")).await,
        Failure::Configuration
    );
    let operands = vec!["int".to_owned(), "int".to_owned()];
    let division =
        Failure::FunctionFailure { keyspace: "system".to_owned(), function: "/".to_owned(), arguments: operands };
    assert_eq!(failure(query("SELECT 1 / 0 FROM system.local")).await, division);
    assert_eq!(failure(Request::Startup(Startup::default())).await, Failure::Protocol);
    assert_eq!(failure(Request::AuthResponse(None)).await, Failure::Protocol);
    node.stop().await;
}

#[tokio::test]
async fn answers_carry_warnings_about_what_hurts_later() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(&folder);
    let node = node(&config).await;
    let mut client = Client::connect(&config, Version::V4, None).await;
    client.run(KEYSPACE).await;
    let mut warnings = async |text: &str| client.ask(query(text)).await.extras.warnings;
    let kept = "CREATE TABLE k.t (a int, b int, PRIMARY KEY (a, b)) WITH incremental_backups = false";
    let expected = "The option 'incremental_backups' is kept, but has no effect: no node makes incremental backups";
    assert_eq!(warnings(kept).await, [expected]);
    let scan = "SELECT count(*) FROM k.t";
    assert_eq!(warnings(scan).await, ["Aggregation query used without partition key"]);
    assert_eq!(warnings("SELECT * FROM k.t WHERE a = 1").await, [""; 0]);
    let inserts: String = (0..11).map(|a| format!("INSERT INTO k.t (a, b) VALUES ({a}, 1);")).collect();
    let told = warnings(&format!("BEGIN UNLOGGED BATCH {inserts} APPLY BATCH")).await;
    assert!(
        matches!(&told[..], [only] if only.starts_with("Unlogged batch covering 11 partitions detected")),
        "{told:?}"
    );
    for chunk in 0..11 {
        let deletes: String =
            (0..100).map(|b| format!("DELETE FROM k.t WHERE a = 1 AND b = {};", chunk * 100 + b)).collect();
        assert_eq!(warnings(&format!("BEGIN BATCH {deletes} APPLY BATCH")).await, [""; 0]);
    }
    let told = warnings("SELECT * FROM k.t WHERE a = 1").await;
    assert_eq!(told, ["Read 0 live rows and 1100 tombstone cells for a query of k.t (see tombstone_warn)"]);
    node.stop().await;
}

#[tokio::test]
async fn a_batch_does_what_its_statements_do_and_a_logged_one_over_several_partitions_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(&folder);
    let node = node(&config).await;
    let mut client = Client::connect(&config, Version::V5, None).await;
    client.run(KEYSPACE).await;
    client.run("CREATE TABLE k.t (a int PRIMARY KEY, b int)").await;
    let insert = client.prepare("INSERT INTO k.t (a, b) VALUES (?, ?)").await;
    let statement = |a: i32| BatchStatement {
        statement: StatementText::Prepared(insert.id.clone()),
        values: Values::Positional(vec![int(a), int(a)]),
    };
    let literal = BatchStatement {
        statement: StatementText::Text("INSERT INTO k.t (a, b) VALUES (9, 9)".to_owned()),
        values: Values::default(),
    };
    let statements = vec![statement(1), statement(2), literal];
    let batch = |kind| Batch { kind, statements: statements.clone(), parameters: parameters(Vec::new()) };
    let answer = client.ask(Request::Batch(batch(BatchKind::Unlogged))).await;
    assert_eq!(answer.response, Response::Result(QueryResult::Void));
    for a in [1, 2, 9] {
        let rows = client.rows(&format!("SELECT b FROM k.t WHERE a = {a}")).await;
        assert_eq!(rows.rows, [vec![Some(Bytes::copy_from_slice(&i32::to_be_bytes(a)))]]);
    }
    // Of one partition.
    let one_partition = Batch {
        kind: BatchKind::Logged,
        statements: vec![statement(3), statement(3)],
        parameters: parameters(Vec::new()),
    };
    let answer = client.ask(Request::Batch(one_partition)).await;
    assert_eq!(answer.response, Response::Result(QueryResult::Void));
    let rows = client.rows("SELECT b FROM k.t WHERE a = 3").await;
    assert_eq!(rows.rows, [vec![Some(Bytes::copy_from_slice(&i32::to_be_bytes(3)))]]);
    let answer = client.ask(Request::Batch(batch(BatchKind::Logged))).await;
    assert_eq!(answer.response, Response::Result(QueryResult::Void), "over several partitions");
    let answer = client.ask(Request::Batch(batch(BatchKind::Counter))).await;
    let Response::Error(error) = answer.response else { panic!("{answer:?}") };
    assert_eq!(error.message, "Cannot include non-counter statement in a counter batch");
    node.stop().await;
}

#[tokio::test]
async fn a_registered_client_is_told_of_the_schema_and_one_that_is_not_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(&folder);
    let node = node(&config).await;
    let mut listener = Client::connect(&config, Version::V4, None).await;
    let register = Request::Register(vec![EventType::SchemaChange, EventType::StatusChange]);
    assert_eq!(listener.ask(register).await.response, Response::Ready);
    let mut actor = Client::connect(&config, Version::V4, None).await;
    actor.run(KEYSPACE).await;
    actor.run("CREATE TABLE k.t (a int PRIMARY KEY)").await;
    actor.run("DROP KEYSPACE k").await;
    let mut told = Vec::new();
    while told.len() < 4 {
        let answer = listener.next().await.unwrap();
        assert_eq!(answer.stream, -1);
        let Response::Event(Event::Schema(change)) = answer.response else { panic!("{answer:?}") };
        told.push((change.change, change.target));
    }
    let table = || SchemaTarget::Table("t".to_owned());
    let expected = [
        (ChangeType::Created, SchemaTarget::Keyspace),
        (ChangeType::Created, table()),
        (ChangeType::Dropped, table()),
        (ChangeType::Dropped, SchemaTarget::Keyspace),
    ];
    assert_eq!(told, expected);
    node.stop().await;
    assert_eq!(listener.next().await, None, "a node that stops closes its connections");
}

#[tokio::test]
async fn drivers_find_the_cluster_on_connecting() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(&folder);
    let node = node(&config).await;
    let mut client = Client::connect(&config, Version::V4, None).await;
    let Response::Supported(options) = client.ask(Request::Options).await.response else { panic!("SUPPORTED") };
    assert_eq!(options["PROTOCOL_VERSIONS"], ["4/v4", "5/v5"]);
    assert!(options.contains_key("COMPRESSION") && options.contains_key("CQL_VERSION"));
    let local = client.rows("SELECT * FROM system.local WHERE key='local'").await;
    let Columns::Sent(columns) = &local.metadata.columns else { panic!("the columns are sent") };
    let at = |name: &str| columns.iter().position(|column| column.name == name).unwrap();
    assert_eq!(local.rows[0][at("release_version")].as_deref(), Some(&b"5.0.0"[..]));
    let rpc_port = i32::from(config.native_listen.port()).to_be_bytes();
    assert_eq!(local.rows[0][at("rpc_port")].as_deref(), Some(&rpc_port[..]));
    assert_eq!(client.rows("SELECT * FROM system.peers_v2").await.rows, Vec::<Vec<_>>::new());
    for table in ["keyspaces", "tables", "columns"] {
        assert!(!client.rows(&format!("SELECT * FROM system_schema.{table}")).await.rows.is_empty());
        assert!(!client.rows(&format!("SELECT * FROM system_virtual_schema.{table}")).await.rows.is_empty());
    }
    for table in ["types", "functions", "aggregates", "triggers", "indexes", "views", "dropped_columns"] {
        assert!(client.rows(&format!("SELECT * FROM system_schema.{table}")).await.rows.is_empty());
    }
    node.stop().await;
}

#[tokio::test]
async fn a_client_that_never_reads_is_not_read_from_and_holds_nobody_up() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(&folder);
    let node = node(&config).await;
    let mut client = Client::connect(&config, Version::V4, None).await;
    client.run(KEYSPACE).await;
    client.run("CREATE TABLE k.t (a int PRIMARY KEY, b text)").await;
    client.run(&format!("INSERT INTO k.t (a, b) VALUES (1, '{}')", "x".repeat(100_000))).await;
    let mut greedy = Client::connect(&config, Version::V4, None).await;
    let asking = tokio::spawn(async move {
        // 2 GB of answers, if nothing stopped them. Ends when the node no longer reads and every buffer is full.
        for stream in 0..20_000 {
            greedy.push(stream, query("SELECT b FROM k.t WHERE a = 1"));
            greedy.flush().await;
        }
        greedy
    });
    for _ in 0..50 {
        assert_eq!(client.rows("SELECT b FROM k.t WHERE a = 1").await.rows.len(), 1);
    }
    asking.abort();
    let _ = asking.await;
    node.stop().await;
}

#[tokio::test]
async fn one_connection_too_many_is_closed_and_a_place_that_is_free_again_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config { native_connections_max: 1, ..config(&folder) };
    let node = node(&config).await;
    let first = Client::connect(&config, Version::V4, None).await;
    let mut second = TcpStream::connect(config.native_listen).await.unwrap();
    assert_eq!(second.read(&mut [0; 1]).await.unwrap(), 0);
    drop(first);
    loop {
        let mut next = TcpStream::connect(config.native_listen).await.unwrap();
        next.write_all(&[4, 0, 0, 1, 5, 0, 0, 0, 0]).await.unwrap();
        if next.read(&mut [0; 1]).await.is_ok_and(|count| count == 1) {
            break;
        }
    }
    node.stop().await;
}

#[tokio::test]
async fn what_hurts_later_is_told_with_the_answer() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config { tombstone_warn: 3, ..config(&folder) };
    let node = node(&config).await;
    for version in [Version::V4, Version::V5] {
        let mut client = Client::connect(&config, version, None).await;
        if version == Version::V4 {
            client.run(KEYSPACE).await;
            client.run("CREATE TABLE k.t (p int, c int, v text, PRIMARY KEY (p, c))").await;
            for c in 0..5 {
                client.run(&format!("INSERT INTO k.t (p, c, v) VALUES (1, {c}, 'v')")).await;
                client.run(&format!("DELETE FROM k.t WHERE p = 1 AND c = {c}")).await;
            }
            client.run("INSERT INTO k.t (p, c, v) VALUES (1, 9, 'v')").await;
        }
        let scan = client.ask(query("SELECT count(*) FROM k.t")).await.extras.warnings;
        assert!(scan.contains(&"Aggregation query used without partition key".to_owned()), "{scan:?}");
        let passed = client.ask(query("SELECT * FROM k.t WHERE p = 1")).await.extras.warnings;
        let told = "Read 1 live rows and 5 tombstone cells for a query of k.t (see tombstone_warn)";
        assert_eq!(passed, [told]);
        let value = "x".repeat(4_000);
        let insert = |p| format!("INSERT INTO k.t (p, c, v) VALUES ({p}, 1, '{value}')");
        let batch = format!("BEGIN UNLOGGED BATCH {} {} APPLY BATCH", insert(2), insert(3));
        let large = client.ask(query(&batch)).await.extras.warnings;
        assert!(large.iter().any(|warning| warning.contains("exceeding specified threshold of 5.000KiB")), "{large:?}");
        assert!(client.ask(query("SELECT * FROM k.t WHERE p = 2")).await.extras.warnings.is_empty());
    }
    node.stop().await;
}

#[tokio::test]
async fn a_statement_that_is_analyzed_is_executed_and_measured() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(&folder);
    let node = node(&config).await;
    let mut client = Client::connect(&config, Version::V5, None).await;
    client.run(KEYSPACE).await;
    client.run("CREATE TABLE k.t (p int, c int, v text, PRIMARY KEY (p, c))").await;
    for c in 0..6 {
        let rows = client.rows(&format!("EXPLAIN ANALYZE INSERT INTO k.t (p, c, v) VALUES (1, {c}, 'v')")).await;
        assert_eq!(stages(&rows), ["write", "replicas", "total"]);
    }
    client.run("DELETE FROM k.t WHERE p = 1 AND c = 0").await;
    let read = client.rows("EXPLAIN ANALYZE SELECT * FROM k.t WHERE v = 'v' ALLOW FILTERING").await;
    let figures = |rows: &Rows, stage: &str| -> Vec<Option<i64>> {
        let row = rows.rows.iter().find(|row| row[0].as_deref() == Some(stage.as_bytes())).unwrap();
        let number =
            |value: &Option<Bytes>| value.as_ref().map(|value| i64::from_be_bytes(value[..].try_into().unwrap()));
        row[3..].iter().map(number).collect()
    };
    assert_eq!(figures(&read, "read")[1], Some(1), "the deleted row is passed: {read:?}");
    assert_eq!(figures(&read, "result")[0], Some(5));
    assert!(figures(&read, "total")[2].is_some() && figures(&read, "table") == [None; 3]);
    client.run("CREATE INDEX ON k.t (v) USING 'sai'").await;
    let looked_up = client.rows("EXPLAIN ANALYZE SELECT * FROM k.t WHERE v >= 'v'").await;
    assert_eq!((figures(&looked_up, "look up")[0], figures(&looked_up, "result")[0]), (Some(5), Some(5)));
    // Several pages are one execution.
    let mut paged = parameters(Vec::new());
    paged.page_size = Some(2);
    let text = "EXPLAIN ANALYZE SELECT * FROM k.t".to_owned();
    let answer = client.ask(Request::Query(Query { text, parameters: paged })).await.response;
    let Response::Result(QueryResult::Rows(rows)) = answer else { panic!("{answer:?}") };
    assert_eq!(figures(&rows, "result")[0], Some(5));
    let local = client.rows("EXPLAIN ANALYZE SELECT * FROM system.local").await;
    assert_eq!(figures(&local, "result")[0], Some(1));
    node.stop().await;
}

fn stages(rows: &Rows) -> Vec<String> {
    let text = |row: &Vec<Option<Bytes>>| String::from_utf8(row[0].clone().unwrap().to_vec()).unwrap();
    rows.rows.iter().map(text).collect()
}

#[tokio::test]
async fn sizes_of_tables_are_estimated() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(&folder);
    let node = node(&config).await;
    let mut client = Client::connect(&config, Version::V5, None).await;
    client.run(KEYSPACE).await;
    client.run("CREATE TABLE k.t (p int PRIMARY KEY, v text)").await;
    for p in 0..40 {
        client.run(&format!("INSERT INTO k.t (p, v) VALUES ({p}, 'v')")).await;
    }
    let select = "SELECT partitions_count, mean_partition_size FROM system.size_estimates \
                  WHERE keyspace_name = 'k' AND table_name = 't'";
    let rows = client.rows(select).await.rows;
    let number = |value: &Option<Bytes>| i64::from_be_bytes(value.as_ref().unwrap()[..].try_into().unwrap());
    // Sixteen ranges, of which none has so many that it is not counted.
    assert_eq!(rows.iter().map(|row| number(&row[0])).sum::<i64>(), 40);
    assert!(rows.iter().all(|row| (number(&row[0]) == 0) == (number(&row[1]) == 0)), "{rows:?}");
    node.stop().await;
}

/// What a client gets that speaks TLS, with a certificate of its own or without one, and asks for OPTIONS.
fn ask_over_tls(address: std::net::SocketAddr, config: rustls::ClientConfig) -> std::io::Result<Vec<u8>> {
    use std::io::{Read, Write};
    let name = address.ip().to_string().try_into().unwrap();
    let connection = rustls::ClientConnection::new(std::sync::Arc::new(config), name).map_err(std::io::Error::other)?;
    let socket = std::net::TcpStream::connect(address)?;
    let mut stream = rustls::StreamOwned::new(connection, socket);
    stream.write_all(&[4, 0, 0, 1, 5, 0, 0, 0, 0])?;
    let mut header = vec![0; 9];
    stream.read_exact(&mut header)?;
    Ok(header)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_who_shows_a_certificate_of_the_authority_is_served_where_that_is_wanted() {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    use rustls::pki_types::{PrivateKeyDer, pem::PemObject};
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let authority = |name: &str| {
        let (key, mut parameters) =
            (KeyPair::generate().unwrap(), CertificateParams::new(Vec::<String>::new()).unwrap());
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
        let certificate = parameters.self_signed(&key).unwrap();
        (certificate, Issuer::new(parameters, key))
    };
    let ((trusted, own), (_, foreign)) = (authority("own"), authority("foreign"));
    let config = config(&folder);
    let certified = |issuer: &Issuer<'_, KeyPair>, names: Vec<String>| {
        let key = KeyPair::generate().unwrap();
        (CertificateParams::new(names).unwrap().signed_by(&key, issuer).unwrap(), key)
    };
    let (certificate, key) = certified(&own, vec![config.native_listen.ip().to_string()]);
    let files = [("ca.pem", trusted.pem()), ("node.pem", certificate.pem()), ("node.key", key.serialize_pem())];
    files.iter().for_each(|(name, text)| std::fs::write(file(name), text).unwrap());
    let (certificate, key, client_ca) = (file("node.pem"), file("node.key"), Some(file("ca.pem")));
    let config = Config { tls: Some(crate::config::TlsFiles { certificate, key, client_ca }), ..config };
    let node = node(&config).await;
    let client = |identity: Option<(rcgen::Certificate, KeyPair)>| {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(trusted.der().clone()).unwrap();
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
        match identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
                builder.with_client_auth_cert(vec![certificate.der().clone()], key).unwrap()
            }
        }
    };
    let address = config.native_listen;
    let ask = |config| tokio::task::spawn_blocking(move || ask_over_tls(address, config));
    let answer = ask(client(Some(certified(&own, Vec::new())))).await.unwrap().unwrap();
    assert_eq!(answer[..5], [0x84, 0, 0, 1, 6], "OPTIONS is answered by SUPPORTED");
    assert!(ask(client(None)).await.unwrap().is_err(), "without a certificate");
    assert!(ask(client(Some(certified(&foreign, Vec::new())))).await.unwrap().is_err(), "of another authority");
    node.stop().await;
}

#[tokio::test]
async fn a_request_is_traced_for_who_asks_for_it_and_so_is_its_preparation() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(&folder);
    let node = node(&config).await;
    let mut client = Client::connect(&config, Version::V5, None).await;
    client.run(KEYSPACE).await;
    client.run("CREATE TABLE k.t (p int PRIMARY KEY)").await;
    let text = "SELECT * FROM k.t WHERE p = 1";
    let prepare = Request::Prepare(Prepare { text: text.to_owned(), keyspace: None });
    let missing = Request::Prepare(Prepare { text: "SELECT * FROM k.none".to_owned(), keyspace: None });
    for (request, kind, last) in [
        (query(text), "Execute CQL3 query", "Request complete"),
        (prepare, "Preparing CQL3 query", "Statement prepared"),
        (missing, "Preparing CQL3 query", "Request failed: "),
    ] {
        let message = Message { stream: 3, tracing: true, custom_payload: Default::default(), request };
        client.outbound.push_message(&message).unwrap();
        client.flush().await;
        let answer = client.next().await.unwrap();
        let id = answer.extras.tracing_id.map(|id| id.to_be_bytes().to_vec()).unwrap();
        let of_trace = |text: &str| {
            let mut parameters = parameters(vec![BoundValue::Value(Bytes::from(id.clone()))]);
            parameters.page_size = None;
            Request::Query(Query { text: text.to_owned(), parameters })
        };
        let session = client.ask(of_trace("SELECT request FROM system_traces.sessions WHERE session_id = ?")).await;
        let Response::Result(QueryResult::Rows(session)) = session.response else { panic!("{session:?}") };
        assert_eq!(session.rows[0][0].as_deref(), Some(kind.as_bytes()));
        let events = client.ask(of_trace("SELECT activity FROM system_traces.events WHERE session_id = ?")).await;
        let Response::Result(QueryResult::Rows(events)) = events.response else { panic!("{events:?}") };
        let told = events.rows.last().and_then(|row| row[0].clone()).unwrap();
        assert!(told.starts_with(last.as_bytes()), "{told:?}");
    }
    node.stop().await;
}
