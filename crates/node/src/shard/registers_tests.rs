//! Registers of one replica: steps one after the other, and answers only once they are durable.

use crate::register::{PaxosAnswer, PaxosRequest, PaxosStep, Proposal};
use crate::test_cluster::{Cluster, Flight, everything, node};
use crate::{Envelope, Input, Message, OpId, Refusal, StorageRequest, Stored};
use bytes::Bytes;
use model::{Epoch, NodeId, PartitionKey, TableId};
use paxos::Ballot;
use std::sync::Arc;

const TABLE_ID: TableId = TableId(100);

fn ballot(round: u64, id: u128) -> Ballot {
    Ballot { round, node: NodeId(id) }
}

fn request(step: PaxosStep) -> PaxosRequest {
    let partition = PartitionKey::new(Bytes::from_static(b"a"));
    PaxosRequest { table: TABLE_ID, partition, data_center: None, acceptors: vec![node(1), node(2), node(3)], step }
}

fn prepare(round: u64, id: u128) -> PaxosRequest {
    let command = everything(TABLE_ID, &PartitionKey::new(Bytes::from_static(b"a")));
    request(PaxosStep::Prepare { ballot: ballot(round, id), command: Arc::new(command), token: None })
}

fn propose(round: u64, id: u128) -> PaxosRequest {
    let proposal = Proposal { origin: ballot(round, id), history: Vec::new(), mutation: None, remembered: None };
    request(PaxosStep::Propose { ballot: ballot(round, id), proposal })
}

fn ask(cluster: &mut Cluster, op: u64, request: PaxosRequest) {
    let message = Message::Paxos { op: OpId(op), request: Arc::new(request) };
    cluster.step(node(1), Input::Message { from: node(2), envelope: Envelope { epoch: Epoch(10), message } });
}

/// What node 1 has said to node 2 and is on its way.
fn answers(cluster: &mut Cluster) -> Vec<(u64, String)> {
    let mut said = Vec::new();
    cluster.flights.retain(|flight| match flight {
        Flight::Message { from, envelope, .. } if *from == node(1) => {
            said.push(match &envelope.message {
                Message::PaxosAnswered { op, answer: PaxosAnswer::Promised(_) } => (op.0, "promised".to_owned()),
                Message::PaxosAnswered { op, answer: PaxosAnswer::Accepted } => (op.0, "accepted".to_owned()),
                Message::PaxosAnswered { op, answer: PaxosAnswer::Preempted { by } } => {
                    (op.0, format!("by {}", by.round))
                }
                Message::Refused { op, reason } => (op.0, format!("{reason:?}")),
                other => panic!("{other:?}"),
            });
            false
        }
        _ => true,
    });
    said
}

/// Carries out the next request to storage, and gives it back.
fn store_one(cluster: &mut Cluster) -> StorageRequest {
    let flight = cluster.flights.pop_front().expect("storage is asked");
    let Flight::Storage { request, .. } = &flight else { panic!("{flight:?}") };
    let request = request.clone();
    cluster.deliver(flight);
    request
}

#[test]
fn nothing_is_said_before_it_is_durable() {
    let mut cluster = Cluster::new();
    ask(&mut cluster, 1, prepare(5, 1));
    assert!(matches!(store_one(&mut cluster), StorageRequest::ReadLocal { .. }));
    assert!(answers(&mut cluster).is_empty());
    assert!(matches!(store_one(&mut cluster), StorageRequest::Local(_)));
    assert!(answers(&mut cluster).is_empty(), "the partition is not read yet");
    assert!(matches!(store_one(&mut cluster), StorageRequest::Read(_)));
    assert_eq!(answers(&mut cluster), [(1, "promised".to_owned())]);
    ask(&mut cluster, 2, propose(5, 1));
    assert!(matches!(store_one(&mut cluster), StorageRequest::ReadLocal { .. }));
    assert!(answers(&mut cluster).is_empty());
    assert!(matches!(store_one(&mut cluster), StorageRequest::Local(_)));
    assert_eq!(answers(&mut cluster), [(2, "accepted".to_owned())]);
    cluster.assert_idle();
}

#[test]
fn steps_of_one_partition_wait_for_those_before_them() {
    let mut cluster = Cluster::new();
    ask(&mut cluster, 1, prepare(5, 1));
    ask(&mut cluster, 2, prepare(4, 1));
    ask(&mut cluster, 3, prepare(6, 1));
    ask(&mut cluster, 4, propose(5, 1));
    store_one(&mut cluster);
    store_one(&mut cluster);
    assert!(answers(&mut cluster).is_empty(), "even the refusal waits: the promise is not durable");
    store_one(&mut cluster);
    assert_eq!(answers(&mut cluster), [(1, "promised".to_owned()), (2, "by 5".to_owned())]);
    // The others are answered too.
    cluster.run();
    cluster.assert_idle();
}

#[test]
fn a_failed_sync_is_no_promise_and_what_is_on_disk_counts() {
    let mut cluster = Cluster::new();
    ask(&mut cluster, 1, prepare(5, 1));
    store_one(&mut cluster);
    let Some(Flight::Storage { op, request: StorageRequest::Local(_), .. }) = cluster.flights.pop_front() else {
        panic!("the promise is to be written")
    };
    let error = crate::StorageError::Full("simulated".to_owned());
    cluster.step(node(1), Input::Stored(Stored::Failed { op, error }));
    assert_eq!(answers(&mut cluster), [(1, format!("{:?}", Refusal::DiskFull))]);
    cluster.run();
    // A lower ballot is free.
    ask(&mut cluster, 2, prepare(4, 1));
    while !cluster.flights.is_empty() && matches!(cluster.flights[0], Flight::Storage { .. }) {
        store_one(&mut cluster);
    }
    assert_eq!(answers(&mut cluster), [(2, "promised".to_owned())]);
    cluster.run();
    cluster.assert_idle();
}

#[test]
fn a_hint_beside_a_promise_takes_it_back() {
    let mut cluster = Cluster::new();
    let query::Bound::Write(write) = cluster.bind("INSERT INTO t (k, c, v) VALUES ('a', 1, 'x')") else { panic!() };
    let mutation = Arc::new(write.mutation(7, cluster.wall(0).wall).unwrap());
    ask(&mut cluster, 1, prepare(5, 1));
    store_one(&mut cluster);
    let message = Message::Write { op: OpId(9), mutation, purpose: crate::WritePurpose::Hint };
    cluster.step(node(1), Input::Message { from: node(2), envelope: Envelope { epoch: Epoch(10), message } });
    for _ in 0..2 {
        store_one(&mut cluster);
    }
    assert_eq!(answers(&mut cluster), [(1, "by 5".to_owned())]);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let mut cluster = Cluster::new();
    let year_3000 = 32_503_680_000_000_000;
    ask(&mut cluster, 1, prepare(year_3000, 1));
    let elsewhere = PartitionKey::new(Bytes::from_static(b"b"));
    ask(&mut cluster, 2, PaxosRequest { partition: elsewhere, ..prepare(5, 1) });
    ask(&mut cluster, 3, PaxosRequest { acceptors: vec![node(1), node(2)], ..prepare(5, 1) });
    ask(&mut cluster, 4, PaxosRequest { table: TableId(7), ..prepare(5, 1) });
    let said = answers(&mut cluster);
    let stale = || format!("{:?}", Refusal::NotReplica(Epoch(10)));
    let invalid = || format!("{:?}", Refusal::Invalid);
    assert_eq!(said, [(1, invalid()), (2, invalid()), (3, stale()), (4, stale())]);
    cluster.assert_idle();
}
