//! The scenario of tests/clients for ScyllaDB's driver for Rust: clients HOST [HOST ...]. README.md in tests/clients
//! says what it does and how it talks to whoever runs it.

use futures::{StreamExt, TryStreamExt};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use scylla::client::Compression;
use scylla::client::execution_profile::ExecutionProfile;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::errors::{DbError, ExecutionError, RequestAttemptError};
use scylla::policies::load_balancing::DefaultPolicy;
use scylla::policies::retry::DefaultRetryPolicy;
use scylla::statement::batch::{Batch, BatchType};
use scylla::statement::unprepared::Statement;
use scylla::statement::{Consistency, prepared::PreparedStatement};
use scylla::value::{CqlDate, CqlDecimal, CqlDuration, CqlTime, CqlTimestamp, CqlTimeuuid, CqlValue, CqlVarint, Unset};
use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

type Failure = Box<dyn Error + Send + Sync>;

fn step(text: &str) {
    println!("{text}");
}

/// Waits until something holds: what the driver is told of comes with a delay.
async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < Duration::from_secs(60), "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Has the caller do something to the cluster.
async fn ask(what: &str) -> Result<(), Failure> {
    step(what);
    let answered = tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new()));
    answered.await??;
    Ok(())
}

async fn connect(hosts: &[String]) -> Result<Session, Failure> {
    let variable = |name: &str| std::env::var(name).ok();
    let profile = ExecutionProfile::builder()
        .consistency(Consistency::LocalQuorum)
        .load_balancing_policy(DefaultPolicy::builder().prefer_datacenter("dc1".to_owned()).build())
        .retry_policy(Arc::new(DefaultRetryPolicy::new()))
        .build();
    let compression = match variable("HELENUS_COMPRESSION").as_deref() {
        Some("lz4") => Some(Compression::Lz4),
        Some("snappy") => Some(Compression::Snappy),
        _ => None,
    };
    let mut builder = SessionBuilder::new()
        .known_node(format!("{}:9042", hosts[0]))
        .default_execution_profile_handle(profile.into_handle())
        .compression(compression)
        .tracing_info_fetch_attempts(20.try_into()?)
        .tracing_info_fetch_interval(Duration::from_millis(50));
    if let (Some(user), Some(password)) = (variable("HELENUS_USER"), variable("HELENUS_PASSWORD")) {
        builder = builder.user(user, password);
    }
    if let Some(authority) = variable("HELENUS_CA") {
        let mut trusted = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(authority)? {
            trusted.add(certificate?)?;
        }
        let tls = ClientConfig::builder().with_root_certificates(trusted).with_no_client_auth();
        builder = builder.tls_context(Some(Arc::new(tls)));
    }
    Ok(builder.build().await?)
}

fn check_metadata(session: &Session, hosts: &[String]) {
    let state = session.get_cluster_state();
    let found: BTreeSet<String> = state.get_nodes_info().iter().map(|node| node.address.ip().to_string()).collect();
    assert_eq!(found, hosts.iter().cloned().collect());
    let tokens = state.replica_locator().ring().len();
    assert!(tokens >= hosts.len());
    step(&format!("metadata: {} hosts, {tokens} tokens, cluster {}", found.len(), state.cluster_name()));
}

async fn make_schema(session: &Session, factor: usize) -> Result<(), Failure> {
    for (name, factor) in [("clients", factor), ("single", 1)] {
        let replication = format!("{{'class': 'NetworkTopologyStrategy', 'dc1': {factor}}}");
        session.query_unpaged(format!("CREATE KEYSPACE {name} WITH replication = {replication}"), &[]).await?;
    }
    let create =
        "CREATE TABLE clients.pages (p int, c int, v text, PRIMARY KEY (p, c)) WITH CLUSTERING ORDER BY (c DESC)";
    session.query_unpaged(create, &[]).await?;
    session.query_unpaged("CREATE TABLE single.one (k int PRIMARY KEY, v text)", &[]).await?;
    assert!(session.check_schema_agreement().await?.is_some());
    session.refresh_metadata().await?;
    let state = session.get_cluster_state();
    let table = &state.get_keyspace("clients").ok_or("no keyspace")?.tables["pages"];
    assert_eq!((&table.partition_key[..], &table.clustering_key[..]), (&["p".to_owned()][..], &["c".to_owned()][..]));
    let again = session.query_unpaged("CREATE TABLE clients.pages (p int PRIMARY KEY)", &[]).await;
    let Err(ExecutionError::LastAttemptError(RequestAttemptError::DbError(error, _))) = again else {
        panic!("a table was created twice: {again:?}")
    };
    assert_eq!(error, DbError::AlreadyExists { keyspace: "clients".to_owned(), table: "pages".to_owned() });
    step("schema: created, seen in the metadata, refused when it exists");
    Ok(())
}

fn text(text: &str) -> CqlValue {
    CqlValue::Text(text.to_owned())
}

fn address() -> CqlValue {
    let fields = vec![("street".to_owned(), Some(text("Main"))), ("number".to_owned(), Some(CqlValue::Int(7)))];
    CqlValue::UserDefinedType { keyspace: "clients".to_owned(), name: "address".to_owned(), fields }
}

fn cases() -> Result<Vec<(&'static str, CqlValue)>, Failure> {
    use CqlValue as C;
    let list = |values: &[i32]| values.iter().map(|value| C::Int(*value)).collect::<Vec<_>>();
    Ok(vec![
        ("ascii", C::Ascii("text".to_owned())),
        ("bigint", C::BigInt(i64::MIN)),
        ("blob", C::Blob(vec![0, 255])),
        ("boolean", C::Boolean(true)),
        ("date", C::Date(CqlDate(2_147_503_430))),
        ("decimal", C::Decimal(CqlDecimal::from_signed_be_bytes_and_exponent(vec![0x81, 2, 3, 4, 5, 6, 7, 8, 9], 9))),
        ("double", C::Double(1.5e300)),
        ("duration", C::Duration(CqlDuration { months: -14, days: -3, nanoseconds: -5 })),
        ("float", C::Float(0.5)),
        ("inet", C::Inet("2001:db8::1".parse()?)),
        ("int", C::Int(i32::MIN)),
        ("smallint", C::SmallInt(i16::MIN)),
        ("text", text("gr\u{fc}\u{df}e \u{1f600}")),
        ("time", C::Time(CqlTime(86_399_999_999_999))),
        ("timestamp", C::Timestamp(CqlTimestamp(1_709_251_199_123))),
        ("timeuuid", C::Timeuuid("8e14e760-7fa8-11eb-bc66-000000000001".parse::<CqlTimeuuid>()?)),
        ("tinyint", C::TinyInt(i8::MIN)),
        ("uuid", C::Uuid(uuid::Uuid::new_v4())),
        ("varint", C::Varint(CqlVarint::from_signed_bytes_be(vec![1; 26]))),
        ("list<int>", C::List(list(&[3, 1, 3]))),
        ("set<text>", C::Set(vec![text("a"), text("b")])),
        ("map<text, int>", C::Map(vec![(text("a"), C::Int(1))])),
        ("frozen<list<frozen<set<int>>>>", C::List(vec![C::Set(list(&[1, 2])), C::Set(list(&[3]))])),
        ("map<int, frozen<list<text>>>", C::Map(vec![(C::Int(7), C::List(vec![text("x"), text("y")]))])),
        ("frozen<clients.address>", address()),
        ("clients.address", address()),
        ("frozen<tuple<int, text>>", C::Tuple(vec![Some(C::Int(5)), Some(text("five"))])),
        ("vector<float, 3>", C::Vector(vec![C::Float(0.5), C::Float(1.0), C::Float(-2.0)])),
    ])
}

async fn check_types(session: &Session) -> Result<(), Failure> {
    session.query_unpaged("CREATE TYPE clients.address (street text, number int)", &[]).await?;
    let cases = cases()?;
    for (index, (cql_type, value)) in cases.iter().enumerate() {
        let table = format!("clients.type_{index}");
        session.query_unpaged(format!("CREATE TABLE {table} (k int PRIMARY KEY, v {cql_type})"), &[]).await?;
        let insert = session.prepare(format!("INSERT INTO {table} (k, v) VALUES (?, ?)")).await?;
        session.execute_unpaged(&insert, (1, value)).await?;
        session.execute_unpaged(&insert, (2, None::<CqlValue>)).await?;
        session.execute_unpaged(&insert, (1, Unset)).await?;
        let select = session.prepare(format!("SELECT v FROM {table} WHERE k = ?")).await?;
        let found = async |key: i32| -> Result<Option<CqlValue>, Failure> {
            let rows = session.execute_unpaged(&select, (key,)).await?.into_rows_result()?;
            Ok(rows.single_row::<(Option<CqlValue>,)>()?.0)
        };
        assert_eq!(found(1).await?.as_ref(), Some(value), "{cql_type}");
        assert_eq!(found(2).await?, None, "{cql_type}");
    }
    step(&format!("types: {}", cases.len()));
    Ok(())
}

async fn check_statements(session: &Session) -> Result<(), Failure> {
    let insert = session.prepare("INSERT INTO clients.pages (p, c, v) VALUES (:p, :c, :v)").await?;
    let write = |c: i32| {
        let (insert, values) = (&insert, (1, c, format!("v{c}")));
        async move { session.execute_unpaged(insert, values).await.map(drop) }
    };
    futures::stream::iter(0..1000).map(write).buffer_unordered(100).try_collect::<Vec<()>>().await?;
    let mut select = session.prepare("SELECT c, v FROM clients.pages WHERE p = ?").await?;
    select.set_page_size(99);
    let rows = session.execute_iter(select, (1,)).await?.rows_stream::<(i32, String)>()?;
    let found: Vec<(i32, String)> = rows.try_collect().await?;
    let expected: Vec<(i32, String)> = (0..1000).rev().map(|c| (c, format!("v{c}"))).collect();
    assert_eq!(found, expected);
    let named = session.prepare("SELECT v FROM clients.pages WHERE p = :p AND c = :c").await?;
    let values = BTreeMap::from([("c", 7), ("p", 1)]);
    let rows = session.execute_unpaged(&named, values).await?.into_rows_result()?;
    assert_eq!(rows.single_row::<(String,)>()?.0, "v7");
    for (kind, c) in [(BatchType::Logged, 1), (BatchType::Unlogged, 2)] {
        let mut batch = Batch::new(kind);
        batch.append_statement(insert.clone());
        batch.append_statement("DELETE FROM clients.pages WHERE p = ? AND c = ?");
        session.batch(&batch, ((2, c, "y"), (2, 9))).await?;
    }
    let count = session.query_unpaged("SELECT count(*) FROM clients.pages WHERE p = 2", &[]).await?;
    assert_eq!(count.into_rows_result()?.single_row::<(i64,)>()?.0, 2);
    let nonsense = session.query_unpaged("SELEC 1", &[]).await;
    let is_syntax = matches!(
        &nonsense,
        Err(ExecutionError::LastAttemptError(RequestAttemptError::DbError(DbError::SyntaxError, _)))
    );
    assert!(is_syntax, "{nonsense:?}");
    step("statements: concurrent, pages, by name, batches, errors");
    Ok(())
}

async fn check_traces(session: &Session, hosts: &[String]) -> Result<(), Failure> {
    let mut insert = session.prepare("INSERT INTO single.one (k, v) VALUES (?, ?)").await?;
    insert.set_tracing(true);
    let mut used: BTreeSet<IpAddr> = BTreeSet::new();
    for key in 0..30 {
        let written = session.execute_unpaged(&insert, (key, "x")).await?;
        let id = written.tracing_id().ok_or("the answer has no trace")?;
        let trace = session.get_tracing_info(&id).await?;
        let coordinator = trace.coordinator.ok_or("no coordinator")?;
        // The coordinator is the only replica: it asks nobody.
        let activities: Vec<&str> = trace.events.iter().filter_map(|event| event.activity.as_deref()).collect();
        let asks = activities.iter().any(|activity| activity.starts_with("Sending"));
        assert!(!activities.is_empty() && !asks, "key {key}: {activities:?}");
        used.insert(coordinator);
    }
    let used: BTreeSet<String> = used.iter().map(ToString::to_string).collect();
    assert_eq!(used, hosts.iter().cloned().collect(), "every node is asked for what it has");
    step("traces: 30 requests, each went to the node that has the partition");
    Ok(())
}

async fn idempotent(session: &Session, text: &str) -> Result<PreparedStatement, Failure> {
    let mut statement = Statement::new(text);
    statement.set_is_idempotent(true);
    Ok(session.prepare(statement).await?)
}

async fn check_failure(session: Arc<Session>, hosts: &[String]) -> Result<(), Failure> {
    let last: IpAddr = hosts[hosts.len() - 1].parse()?;
    let observer = session.clone();
    let is_up = move || {
        let state = observer.get_cluster_state();
        state.get_nodes_info().iter().any(|node| node.address.ip() == last && node.is_connected())
    };
    let insert = idempotent(&session, "INSERT INTO clients.pages (p, c, v) VALUES (?, ?, ?)").await?;
    let select = idempotent(&session, "SELECT v FROM clients.pages WHERE p = ? AND c = ?").await?;
    let (stopped, requests) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let (stop, count) = (stopped.clone(), requests.clone());
    let working = tokio::spawn(async move {
        let mut key = 0;
        while !stop.load(Ordering::Relaxed) {
            session.execute_unpaged(&insert, (key, 1, "z")).await?;
            session.execute_unpaged(&select, (key, 1)).await?;
            count.fetch_add(2, Ordering::Relaxed);
            key += 1;
        }
        Ok::<(), Failure>(())
    });
    ask("KILL").await?;
    eventually("the driver is told that the node is down", || !is_up()).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    ask("START").await?;
    eventually("the driver is told that the node is up", is_up).await;
    stopped.store(true, Ordering::Relaxed);
    working.await??;
    let requests = requests.load(Ordering::Relaxed);
    step(&format!("failure: {requests} requests at LOCAL_QUORUM while a node was killed and came back"));
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let hosts: Vec<String> = std::env::args().skip(1).collect();
    let session = Arc::new(connect(&hosts).await?);
    check_metadata(&session, &hosts);
    make_schema(&session, hosts.len().min(3)).await?;
    check_types(&session).await?;
    check_statements(&session).await?;
    check_traces(&session, &hosts).await?;
    if hosts.len() > 2 {
        check_failure(session, &hosts).await?;
    }
    step("done");
    Ok(())
}
