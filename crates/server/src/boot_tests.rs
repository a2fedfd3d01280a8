//! One node with real sockets and a real disk, in this process: what a client sees at its door.

use super::*;
use crate::config::RawConfig;
use crate::wire::helenus_client::HelenusClient;
use ::api::proto::client::v1 as proto;
use futures::StreamExt as _;
use proto::execute_stream_response::Outcome;
use std::sync::atomic::{AtomicU8, Ordering};
use tonic::transport::Channel;
use tonic_health::pb::{HealthCheckRequest, health_check_response, health_client::HealthClient};

/// An address that no other test uses, in this process or beside it.
fn own_address() -> String {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let process = std::process::id();
    format!("127.{}.{}.{}", 32 + process % 32, process / 32 % 256, NEXT.fetch_add(1, Ordering::Relaxed))
}

pub(crate) fn config(folder: &tempfile::TempDir) -> Config {
    Config::validate(RawConfig {
        listen_address: Some(own_address()),
        data_dir: Some(folder.path().join("data")),
        block_cache_mb: Some(8),
        write_buffer_mb: Some(8),
        ..RawConfig::default()
    })
    .unwrap()
}

async fn connect(config: &Config) -> HelenusClient<Channel> {
    HelenusClient::connect(format!("http://{}", config.grpc_listen)).await.unwrap()
}

fn execute(text: &str) -> proto::ExecuteRequest {
    let statement = Some(proto::execute_request::Statement::Text(text.to_owned()));
    proto::ExecuteRequest { statement, ..Default::default() }
}

async fn run(client: &mut HelenusClient<Channel>, text: &str) -> proto::execute_response::Result {
    client.execute(execute(text)).await.unwrap().into_inner().result.unwrap()
}

async fn make_table(client: &mut HelenusClient<Channel>) {
    let keyspace = "CREATE KEYSPACE k WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}";
    for text in [keyspace, "CREATE TABLE k.t (id int PRIMARY KEY, v text)"] {
        run(client, text).await;
    }
}

#[tokio::test]
async fn statements_work_over_unary_calls_and_the_stream_and_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(&folder);
    let node = Node::start(config.clone(), StartOptions::default()).await.unwrap();
    node.serving().await;
    let mut client = connect(&config).await;
    make_table(&mut client).await;
    let requests = (0..500).map(|id| proto::ExecuteStreamRequest {
        id,
        execute: Some(execute(&format!("INSERT INTO k.t (id, v) VALUES ({id}, 'v{id}')"))),
    });
    let answers = client.execute_stream(futures::stream::iter(requests.collect::<Vec<_>>())).await.unwrap();
    let answers: Vec<_> = answers.into_inner().collect().await;
    let mut ids: Vec<u64> = answers
        .into_iter()
        .map(|answer| {
            let answer = answer.unwrap();
            assert!(matches!(answer.outcome, Some(Outcome::Response(_))), "{answer:?}");
            answer.id
        })
        .collect();
    ids.sort_unstable();
    assert_eq!(ids, (0..500).collect::<Vec<_>>());
    drop(client);
    node.stop().await;

    let node = Node::start(config.clone(), StartOptions::default()).await.unwrap();
    node.serving().await;
    let mut client = connect(&config).await;
    let proto::execute_response::Result::Rows(rows) = run(&mut client, "SELECT v FROM k.t WHERE id = 499").await else {
        panic!("a SELECT has rows");
    };
    assert_eq!(rows.columns.len(), 1);
    assert_eq!(rows.rows, [bytes::Bytes::from_static(b"\x00\x00\x00\x04v499")]);
    drop(client);
    node.stop().await;
}

#[tokio::test]
async fn errors_are_typed_on_unary_calls_and_on_the_stream() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(&folder);
    let node = Node::start(config.clone(), StartOptions::default()).await.unwrap();
    node.serving().await;
    let mut client = connect(&config).await;
    let status = client.execute(execute("SELEC")).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::InvalidArgument);
    let error = ::api::error::from_status_details(status.details()).unwrap();
    assert!(matches!(error, model::RequestError::Syntax { line: 1, column: 1, .. }), "{error:?}");
    let unknown = proto::ExecuteRequest {
        statement: Some(proto::execute_request::Statement::PreparedId(bytes::Bytes::from_static(&[7; 16]))),
        ..Default::default()
    };
    let requests = [Some(unknown), None, Some(execute("SELECT * FROM k.t WHERE a = 1"))];
    let requests = (0u64..).zip(requests).map(|(id, execute)| proto::ExecuteStreamRequest { id, execute });
    let answers = client.execute_stream(futures::stream::iter(requests.collect::<Vec<_>>())).await.unwrap();
    let mut codes: Vec<_> = answers
        .into_inner()
        .map(|answer| {
            let answer = answer.unwrap();
            let Some(Outcome::Error(error)) = answer.outcome else { panic!("{answer:?}") };
            (answer.id, error.code())
        })
        .collect()
        .await;
    codes.sort_unstable_by_key(|(id, _)| *id);
    let expected = [proto::ErrorCode::Unprepared, proto::ErrorCode::Invalid, proto::ErrorCode::NotFound];
    assert_eq!(codes, [(0, expected[0]), (1, expected[1]), (2, expected[2])]);
    drop(client);
    node.stop().await;
}

#[tokio::test]
async fn a_draining_node_refuses_what_is_new_and_ends_its_streams() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(&folder);
    let node = Node::start(config.clone(), StartOptions::default()).await.unwrap();
    let mut client = connect(&config).await;
    let early = client.execute(execute("SELECT * FROM k.t WHERE a = 1")).await.unwrap_err();
    assert_eq!(early.code(), tonic::Code::Unavailable, "a node that has not joined serves nothing: {early}");
    node.serving().await;
    let channel = Channel::from_shared(format!("http://{}", config.grpc_listen)).unwrap().connect().await.unwrap();
    let mut health = HealthClient::new(channel);
    let check = HealthCheckRequest { service: "helenus.client.v1.Helenus".to_owned() };
    let mut watch = health.watch(check).await.unwrap().into_inner();
    let serving = health_check_response::ServingStatus::Serving;
    assert_eq!(watch.message().await.unwrap().unwrap().status(), serving);
    make_table(&mut client).await;
    let (requests, receiver) = mpsc::channel(16);
    let stream = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let mut answers = client.execute_stream(stream).await.unwrap().into_inner();
    let request =
        |id| proto::ExecuteStreamRequest { id, execute: Some(execute("INSERT INTO k.t (id, v) VALUES (1, 'x')")) };
    requests.send(request(1)).await.unwrap();
    assert!(matches!(answers.message().await.unwrap().unwrap().outcome, Some(Outcome::Response(_))));
    let stopping = tokio::spawn(node.stop());
    // Not serving any more is said before the streams end.
    assert_ne!(watch.message().await.unwrap().unwrap().status(), serving);
    requests.send(request(2)).await.unwrap();
    let Some(Outcome::Error(error)) = answers.message().await.unwrap().unwrap().outcome else {
        panic!("a draining node executes nothing new");
    };
    assert_eq!(error.code(), proto::ErrorCode::NotServing);
    assert!(answers.message().await.unwrap().is_none(), "the stream ends without an error");
    stopping.await.unwrap();
    assert!(HelenusClient::connect(format!("http://{}", config.grpc_listen)).await.is_err());
}

#[tokio::test]
async fn reflection_lists_the_services() {
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
    let folder = tempfile::tempdir().unwrap();
    let config = config(&folder);
    let node = Node::start(config.clone(), StartOptions::default()).await.unwrap();
    let channel = Channel::from_shared(format!("http://{}", config.grpc_listen)).unwrap().connect().await.unwrap();
    let mut client = ServerReflectionClient::new(channel);
    let request = tonic_reflection::pb::v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut answers = client.server_reflection_info(futures::stream::iter([request])).await.unwrap().into_inner();
    let Some(MessageResponse::ListServicesResponse(list)) = answers.message().await.unwrap().unwrap().message_response
    else {
        panic!("a list was asked for");
    };
    let names: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
    for name in ["helenus.client.v1.Helenus", "helenus.client.v1.Admin", "grpc.health.v1.Health"] {
        assert!(names.iter().any(|known| known == name), "{name} in {names:?}");
    }
    drop((client, answers));
    node.stop().await;
}

#[tokio::test]
async fn three_nodes_serve_and_one_goes_on_from_its_folder_after_a_stop() {
    let folder = tempfile::tempdir().unwrap();
    let addresses: Vec<String> = (0..3).map(|_| own_address()).collect();
    let configs: Vec<Config> = addresses
        .iter()
        .map(|address| {
            Config::validate(RawConfig {
                listen_address: Some(address.clone()),
                seeds: Some(addresses.clone()),
                data_dir: Some(folder.path().join(address)),
                shards: Some(2),
                block_cache_mb: Some(8),
                write_buffer_mb: Some(8),
                ..RawConfig::default()
            })
            .unwrap()
        })
        .collect();
    let mut nodes = Vec::new();
    for config in &configs {
        nodes.push(Node::start(config.clone(), StartOptions::default()).await.unwrap());
    }
    for node in &nodes {
        node.serving().await;
    }
    let mut client = connect(&configs[0]).await;
    let keyspace = "CREATE KEYSPACE k WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 3}";
    for text in [keyspace, "CREATE TABLE k.t (id int PRIMARY KEY, v text)"] {
        run(&mut client, text).await;
    }
    nodes.remove(2).stop().await;
    // More than one shard and partition: each finds its own way, and hints are written by both shards.
    for id in 0..64 {
        run(&mut client, &format!("INSERT INTO k.t (id, v) VALUES ({id}, 'x')")).await;
    }
    let again = Node::start(configs[2].clone(), StartOptions::default()).await.unwrap();
    again.serving().await;
    let mut other = connect(&configs[2]).await;
    for id in 0..64 {
        let select = proto::ExecuteRequest {
            consistency: proto::Consistency::Quorum.into(),
            ..execute(&format!("SELECT v FROM k.t WHERE id = {id}"))
        };
        // Until it is seen as alive by itself and the others, there is no quorum.
        let rows = loop {
            match other.execute(select.clone()).await {
                Ok(answer) => break answer.into_inner().result.unwrap(),
                Err(status) => assert_eq!(status.code(), tonic::Code::Unavailable, "{status}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        assert!(matches!(&rows, proto::execute_response::Result::Rows(rows) if rows.rows.len() == 1), "{rows:?}");
    }
    drop((client, other));
    again.stop().await;
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test]
async fn more_than_the_node_takes_on_is_refused_as_overload_and_the_rest_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config { requests_max: 16, ..config(&folder) };
    let node = Node::start(config.clone(), StartOptions::default()).await.unwrap();
    node.serving().await;
    let mut client = connect(&config).await;
    make_table(&mut client).await;
    let requests = (0..2_000).map(|id| proto::ExecuteStreamRequest {
        id,
        execute: Some(execute("INSERT INTO k.t (id, v) VALUES (1, 'x')")),
    });
    let answers = client.execute_stream(futures::stream::iter(requests.collect::<Vec<_>>())).await.unwrap();
    let (mut done, mut refused) = (0, 0);
    for answer in answers.into_inner().collect::<Vec<_>>().await {
        match answer.unwrap().outcome {
            Some(Outcome::Response(_)) => done += 1,
            Some(Outcome::Error(error)) if error.code() == proto::ErrorCode::Overloaded => refused += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(done + refused, 2_000);
    assert!(done >= 16 && refused > 0, "{done} done, {refused} refused");
    run(&mut client, "INSERT INTO k.t (id, v) VALUES (2, 'x')").await;
    drop(client);
    node.stop().await;
}

#[tokio::test]
async fn addresses_and_directories_in_use_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(&folder);
    let node = Node::start(config.clone(), StartOptions::default()).await.unwrap();
    let refused = |config: Config| async {
        match Node::start(config, StartOptions::default()).await {
            Ok(_) => panic!("two nodes cannot share this"),
            Err(error) => error,
        }
    };
    let same_address = refused(config.clone()).await;
    assert!(matches!(same_address, ServerError::Address { .. }), "{same_address}");
    let elsewhere = own_address();
    let other = Config::validate(RawConfig {
        listen_address: Some(elsewhere),
        data_dir: Some(config.data_dir.clone()),
        ..RawConfig::default()
    });
    let same_directory = refused(other.unwrap()).await;
    assert!(matches!(same_directory, ServerError::DataDirectory { .. }), "{same_directory}");
    node.stop().await;
}
