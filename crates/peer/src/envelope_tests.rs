//! Every message goes over the wire and comes back; nothing else comes in.

use super::*;
use model::compare::{Bucket, ComparePosition, Content, Detail, PartitionDigests, WantedRecords};
use model::deletion::{Deletion, PartitionDeletions};
use model::garbage::Purge;
use model::read::Slice;
use model::scan::{PositionWithin, ScanPosition};
use model::schema::IndexedPart;
use model::{Cell, ColumnId, IndexTarget, IndexedRow, NodeId, PartitionKey, Record, Row, TableId, Token, TokenRange};
use node::register::{Accepted, Ballot, PaxosStep, Promised, Proposal};
use proptest::prelude::*;
use prost::Message as _;

fn bytes(max: usize) -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..max).prop_map(Bytes::from)
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let rows = prop::collection::btree_map(bytes(20), (any::<i64>(), any::<u32>(), bytes(40)), 0..6);
    (any::<u128>(), bytes(30), rows, any::<Option<(i64, u32)>>()).prop_map(|(table, key, rows, deletion)| {
        let deletion = deletion.map(|(timestamp, local_seconds)| Deletion { timestamp, local_seconds });
        let mut records: Vec<Record> = deletion
            .map(|deletion| Record::deletions(&PartitionDeletions::of_partition(deletion)))
            .into_iter()
            .collect();
        records.extend(rows.into_iter().map(|(clustering, (timestamp, column, value))| {
            let cells = vec![(ColumnId(column), Cell::live(timestamp, value))];
            Record::row(clustering, &Row::new(None, None, cells))
        }));
        Mutation { table: TableId(table), partition: PartitionKey::new(key), records }
    })
}

fn command() -> impl Strategy<Value = ReadCommand> {
    let bounds = prop::collection::btree_set(bytes(12), 2..9);
    (any::<u128>(), bytes(30), bounds, any::<(bool, bool)>(), 1u32.., 1u32.., any::<[u32; 2]>()).prop_map(
        |(table, key, bounds, (reversed, static_row), row_limit, bytes_limit, [now, gc_before])| {
            let bounds: Vec<Bytes> = bounds.into_iter().collect();
            let (pairs, _) = bounds.as_chunks::<2>();
            let slices = pairs.iter().map(|[start, end]| Slice { start: start.clone(), end: end.clone() }).collect();
            let partition = PartitionKey::new(key);
            ReadCommand {
                table: TableId(table),
                partition,
                slices,
                reversed,
                static_row,
                row_limit,
                bytes_limit,
                now_seconds: now,
                gc_before_seconds: gc_before,
                dropped_columns: vec![(model::ColumnId(gc_before), -1)],
                tombstone_limit: now ^ 7,
            }
        },
    )
}

fn data() -> impl Strategy<Value = ReadData> {
    let rows = prop::collection::vec((bytes(12), bytes(40)), 0..8);
    (any::<Option<(i64, u32)>>(), prop::option::of(bytes(20)), rows, any::<bool>()).prop_map(
        |(deletion, static_row, rows, more)| {
            let deletion = deletion.map(|(timestamp, local_seconds)| Deletion { timestamp, local_seconds });
            let deletions = deletion.map(PartitionDeletions::of_partition).unwrap_or_default();
            ReadData { deletions, static_row, rows, more, tombstones: u32::from(more) * 300 }
        },
    )
}

/// A scan of all tokens like a read of one partition, perhaps resumed in that partition.
fn scan() -> impl Strategy<Value = ScanCommand> {
    (command(), any::<bool>(), any::<bool>(), any::<bool>(), 1u32..).prop_map(
        |(read, resumed, within, bulk, per_partition_limit)| {
            let within =
                within.then(|| PositionWithin { last: read.slices[0].start.clone(), rows_left: read.row_limit });
            ScanCommand {
                table: read.table,
                range: if resumed || bulk { TokenRange::ALL } else { TokenRange { start: Token(-7), end: Token(7) } },
                resume: resumed.then_some(ScanPosition { partition: read.partition, within }),
                slices: read.slices,
                static_row: read.static_row,
                row_limit: read.row_limit,
                per_partition_limit,
                bytes_limit: read.bytes_limit,
                now_seconds: read.now_seconds,
                tombstone_limit: read.tombstone_limit,
                dropped_columns: read.dropped_columns,
                bulk,
            }
        },
    )
}

fn page() -> impl Strategy<Value = ScanData> {
    (prop::collection::vec((bytes(30), data()), 0..4), prop::option::of((bytes(30), prop::option::of(bytes(12)))))
        .prop_map(|(partitions, next)| ScanData {
            partitions: partitions.into_iter().map(|(key, data)| (PartitionKey::new(key), data)).collect(),
            next: next.map(|(key, last)| ScanPosition {
                partition: PartitionKey::new(key),
                within: last.map(|last| PositionWithin { last, rows_left: 3 }),
            }),
        })
}

fn look_up() -> impl Strategy<Value = IndexCommand> {
    (command(), bytes(20), any::<bool>(), prop::option::of(bytes(12))).prop_map(|(read, value, within, clustering)| {
        IndexCommand {
            table: read.table,
            target: IndexTarget { column: ColumnId(read.row_limit), part: IndexedPart::Entries },
            values: Slice::of_row(&value),
            range: TokenRange::ALL,
            partition: within.then(|| read.partition.clone()),
            slices: read.slices,
            resume: Some(IndexedRow { partition: read.partition, clustering }),
            limit: read.row_limit,
            now_seconds: read.now_seconds,
        }
    })
}

fn looked_up() -> impl Strategy<Value = IndexData> {
    prop::collection::vec((bytes(30), prop::option::of(bytes(12))), 0..4).prop_map(|rows| {
        let row = |(key, clustering)| IndexedRow { partition: PartitionKey::new(key), clustering };
        let rows: Vec<IndexedRow> = rows.into_iter().map(row).collect();
        IndexData { next: rows.last().cloned(), rows }
    })
}

fn compare() -> impl Strategy<Value = CompareCommand> {
    (scan(), prop::option::of(bytes(12)), any::<bool>()).prop_map(|(scan, row, data)| CompareCommand {
        table: scan.table,
        range: TokenRange::ALL,
        after: scan.resume.map(|resume| ComparePosition { partition: resume.partition, row }),
        ends: Vec::new(),
        to: None,
        bucket_bytes: scan.row_limit,
        bytes_limit: scan.bytes_limit,
        purge: Purge { now_seconds: scan.now_seconds, gc_before_seconds: 7, dropped_columns: scan.dropped_columns },
        detail: match data {
            true => Detail::Data(vec![WantedRecords { partition: 1, records: vec![2, 3] }]),
            false => Detail::Buckets,
        },
    })
}

fn compared() -> impl Strategy<Value = Compared> {
    let stopped = prop::option::of((bytes(30), prop::option::of(bytes(12))));
    (page(), stopped, any::<u128>(), 0..3).prop_map(|(page, stopped, digest, kind)| {
        let stopped = stopped.map(|(key, row)| ComparePosition { partition: PartitionKey::new(key), row });
        let content = match kind {
            0 => Content::Buckets(vec![Bucket { end: stopped.clone(), digest }]),
            1 => Content::Records(vec![PartitionDigests { partition: 5, records: vec![(6, digest)] }]),
            _ => Content::Data(page.partitions),
        };
        Compared { content, stopped, rows: 3, bytes: u64::MAX }
    })
}

fn ballot(round: u64) -> Ballot {
    Ballot { round, node: NodeId(u128::from(round) << 70) }
}

fn proposal(round: u64, mutation: Option<Mutation>) -> Proposal {
    Proposal { origin: ballot(round), history: vec![ballot(1)], mutation: mutation.map(Arc::new), remembered: None }
}

fn counting_or_batch() -> impl Strategy<Value = Message> {
    let op = || any::<u64>().prop_map(OpId);
    prop_oneof![
        (op(), any::<(u128, u32, u64)>(), prop::collection::vec(mutation(), 0..3)).prop_map(
            |(op, (id, written_seconds, epoch), mutations)| {
                let mutations = mutations.into_iter().map(Arc::new).collect();
                let batch =
                    Arc::new(LoggedBatch { id, written_seconds, grace_seconds: 9, epoch: Epoch(epoch), mutations });
                Message::KeepBatch { op, batch }
            }
        ),
        any::<u128>().prop_map(|batch| Message::ForgetBatch { batch }),
        (op(), any::<u128>(), bytes(30)).prop_map(|(op, table, key)| Message::Lead {
            op,
            table: TableId(table),
            partition: PartitionKey::new(key)
        }),
        (op(), op()).prop_map(|(op, ticket)| Message::Leading { op, ticket }),
        (op(), op(), mutation()).prop_map(|(op, ticket, change)| Message::Count {
            op,
            ticket,
            change: Arc::new(change)
        }),
        (op(), mutation()).prop_map(|(op, mutation)| Message::Counted { op, mutation: Arc::new(mutation) }),
    ]
}

fn of_repair() -> impl Strategy<Value = Message> {
    let op = || any::<u64>().prop_map(OpId);
    let replicas = prop::collection::vec(any::<u128>().prop_map(NodeId), 0..4);
    prop_oneof![
        (op(), compare()).prop_map(|(op, command)| Message::Compare { op, command: Arc::new(command) }),
        (op(), compared()).prop_map(|(op, page)| Message::Compared { op, page }),
        (op(), any::<u128>(), any::<u32>(), replicas).prop_map(|(op, table, seconds, replicas)| {
            let (table, range) = (TableId(table), TokenRange { start: Token(-3), end: Token(9) });
            Message::Repaired {
                op,
                table,
                range,
                through: RepairedThrough { seconds, replicas, epoch: Epoch(u64::from(seconds)) },
            }
        }),
    ]
}

fn any_message() -> impl Strategy<Value = Message> {
    let op = || any::<u64>().prop_map(OpId);
    let commit = Arc::new(Commit {
        ballot: ballot(9),
        origin: ballot(7),
        history: vec![ballot(3), ballot(5)],
        remembered: None,
    });
    let purposes = [
        WritePurpose::Client,
        WritePurpose::ReadRepair,
        WritePurpose::Hint,
        WritePurpose::Repair,
        WritePurpose::Commit(commit),
    ];
    let change =
        || (any::<u64>(), prop::option::of(mutation())).prop_map(|(round, mutation)| proposal(round, mutation));
    let refusal = prop_oneof![
        any::<u64>().prop_map(|epoch| Refusal::NotReplica(Epoch(epoch))),
        Just(Refusal::Overloaded),
        Just(Refusal::Storage),
        Just(Refusal::Invalid),
        Just(Refusal::TooManyTombstones),
        Just(Refusal::DiskFull),
    ];
    prop_oneof![
        (op(), mutation(), prop::sample::select(purposes.to_vec()))
            .prop_map(|(op, mutation, purpose)| { Message::Write { op, mutation: Arc::new(mutation), purpose } }),
        (op(), mutation(), prop::collection::vec(any::<u128>().prop_map(NodeId), 0..4))
            .prop_map(|(op, mutation, targets)| Message::Forward { op, mutation: Arc::new(mutation), targets }),
        (op(), mutation(), any::<u128>().prop_map(NodeId)).prop_map(|(op, mutation, coordinator)| {
            Message::Forwarded { op, mutation: Arc::new(mutation), coordinator }
        }),
        (op(), command(), any::<u64>(), change(), any::<bool>()).prop_map(
            |(op, command, round, proposal, prepares)| {
                let (table, partition) = (command.table, command.partition.clone());
                let step = match prepares {
                    true => PaxosStep::Prepare { ballot: ballot(round), command: Arc::new(command), token: None },
                    false => PaxosStep::Propose { ballot: ballot(round), proposal },
                };
                let (data_center, acceptors) = (prepares.then(|| "dc".to_owned()), vec![NodeId(1), NodeId(2)]);
                let request = Arc::new(PaxosRequest { table, partition, data_center, acceptors, step });
                Message::Paxos { op, request }
            }
        ),
        (op(), prop::option::of(change()), any::<u64>(), 0..3).prop_map(|(op, accepted, round, kind)| {
            let accepted = accepted.map(|value| Accepted { ballot: ballot(round), value });
            let promised = Promised { accepted, committed: None, data: ReadData::default(), outcome: None };
            let answer = match kind {
                0 => PaxosAnswer::Promised(Box::new(promised)),
                1 => PaxosAnswer::Accepted,
                _ => PaxosAnswer::Preempted { by: ballot(round) },
            };
            Message::PaxosAnswered { op, answer }
        }),
        prop::collection::vec(op(), 1..5).prop_map(|ops| Message::Written { ops }),
        (op(), command(), any::<bool>()).prop_map(|(op, command, digest)| Message::Read {
            op,
            command: Arc::new(command),
            digest
        }),
        (op(), data()).prop_map(|(op, data)| Message::Data { op, data }),
        (op(), scan()).prop_map(|(op, command)| Message::Scan { op, command: Arc::new(command) }),
        (op(), page()).prop_map(|(op, data)| Message::Scanned { op, data }),
        (op(), look_up()).prop_map(|(op, command)| Message::LookUp { op, command: Arc::new(command) }),
        (op(), looked_up()).prop_map(|(op, data)| Message::LookedUp { op, data }),
        of_repair(),
        (op(), any::<u128>()).prop_map(|(op, digest)| Message::Digest { op, digest }),
        counting_or_batch(),
        (op(), refusal).prop_map(|(op, reason)| Message::Refused { op, reason }),
    ]
}

fn body(body: Body) -> proto::Envelope {
    proto::Envelope { epoch: 3, message: Some(body) }
}

#[test]
fn what_the_protocol_does_not_allow_is_refused_by_name() {
    let refused = |envelope| decode(envelope).unwrap_err().to_string();
    assert_eq!(refused(proto::Envelope { epoch: 1, message: None }), "Envelope.message is missing");
    let mutation =
        Mutation { table: TableId(1), partition: PartitionKey::new(Bytes::new()), records: vec![] }.to_bytes();
    let write = |purpose| proto::Write { op: 1, mutation: mutation.clone(), purpose, commit: Bytes::new() };
    assert_eq!(refused(body(Body::Write(write(0)))), "Write.purpose is missing");
    assert_eq!(refused(body(Body::Write(write(9)))), "Write.purpose is 9, which is not known");
    assert_eq!(refused(body(Body::Write(write(4)))), "Write.commit cannot be read: the bytes end too early");
    let short = proto::Digest { op: 1, digest: Bytes::from_static(b"short") };
    assert_eq!(refused(body(Body::Digest(short))), "Digest.digest does not have 16 bytes");
    let stranger = Bytes::from_static(b"7");
    let forward = proto::Forward { op: 1, mutation: mutation.clone(), targets: vec![stranger.clone()] };
    assert_eq!(refused(body(Body::Forward(forward))), "Forward.targets does not have 16 bytes");
    let forwarded = proto::Forwarded { op: 1, mutation: mutation.clone(), coordinator: stranger };
    assert_eq!(refused(body(Body::Forwarded(forwarded))), "Forwarded.coordinator does not have 16 bytes");
    let mut longer = mutation.to_vec();
    longer.push(0);
    let trailing = proto::Write { op: 1, mutation: longer.into(), purpose: 1, commit: Bytes::new() };
    assert_eq!(refused(body(Body::Write(trailing))), "Write.mutation cannot be read: 1 bytes too many");
    let empty = proto::Read { op: 1, command: Bytes::new(), digest: false };
    assert_eq!(refused(body(Body::Read(empty))), "Read.command cannot be read: the bytes end too early");
    assert_eq!(
        refused(body(Body::Refused(proto::Refused { op: 1, reason: 0, epoch: 0 }))),
        "Refused.reason is missing"
    );
    assert!(refused(body(Body::Membership(Bytes::new()))).starts_with("Envelope.membership"));
}

#[test]
fn a_second_hello_is_refused() {
    let hello = Hello {
        protocol_version: crate::PROTOCOL_VERSION,
        cluster_id: None,
        node_id: NodeId(1),
        internode_address: "127.0.0.1:7000".to_owned(),
        shards: 1,
        priority: Priority::Control,
    };
    assert!(decode_frame(Batch::hello(&hello)).is_err());
}

#[test]
fn a_batch_is_full_by_count_or_by_bytes_and_then_empty_again() {
    let mut batch = Batch::default();
    assert!(batch.is_empty() && !batch.is_full());
    for op in 0..Batch::ENVELOPES_MAX as u64 {
        assert!(!batch.is_full());
        batch.push(body(Body::Written(proto::Written { ops: vec![op] })));
    }
    assert!(batch.is_full());
    assert_eq!(decode_frame(batch.take()).unwrap().len(), Batch::ENVELOPES_MAX);
    assert!(batch.is_empty() && !batch.is_full());
    batch.push(body(Body::Membership(Bytes::from(vec![0; Batch::BYTES_MAX]))));
    assert!(batch.is_full());
}

#[test]
fn hints_do_not_travel_with_client_writes() {
    let mutation = Mutation { table: TableId(1), partition: PartitionKey::new(Bytes::new()), records: vec![] };
    let write = |purpose| Message::Write { op: OpId(1), mutation: Arc::new(mutation.clone()), purpose };
    assert_eq!(priority(&write(WritePurpose::Hint)), Priority::Bulk);
    assert_eq!(priority(&write(WritePurpose::Client)), Priority::Data);
    assert_eq!(priority(&write(WritePurpose::ReadRepair)), Priority::Data);
}

#[test]
fn a_mutation_is_decoded_without_copying_its_values() {
    let value = Bytes::from(vec![7; 1_000]);
    let row = Row::new(None, None, vec![(ColumnId(1), Cell::live(1, value))]);
    let records = vec![Record::row(Bytes::from_static(b"\x40"), &row)];
    let mutation = Arc::new(Mutation { table: TableId(1), partition: PartitionKey::new(Bytes::new()), records });
    let write = Message::Write { op: OpId(1), mutation, purpose: WritePurpose::Client };
    let frame =
        proto::Frame { hello: None, envelopes: vec![encode_node(&Envelope { epoch: Epoch(1), message: write })] };
    let wire = Bytes::from(frame.encode_to_vec());
    let payloads = decode_frame(proto::Frame::decode(wire.clone()).unwrap()).unwrap();
    let [Payload::Node(Envelope { message: Message::Write { mutation, .. }, .. })] = payloads.as_slice() else {
        panic!("{payloads:?}");
    };
    assert!(wire.as_ptr_range().contains(&mutation.records[0].value.as_ptr()));
}

#[test]
fn membership_messages_go_over_the_wire_whole() {
    let seed = "127.0.0.1:7000".parse().unwrap();
    let heartbeat = membership::Heartbeat { generation: 3, version: 4, epoch: Epoch(5), done: Epoch(2) };
    let bodies = [
        membership::Body::Discover { seeds: vec![seed] },
        membership::Body::Mismatch { recoveries: vec![(6, Epoch(4))] },
        membership::Body::GoesOn,
        membership::Body::Fetch { after: Epoch(8) },
        membership::Body::Gossip { heartbeats: vec![(NodeId(2), heartbeat)] },
    ];
    for body in bodies {
        let message = membership::Message { sender: NodeId(1), cluster: Some(7), epoch: Epoch(9), body };
        let wire = encode_membership(&message).encode_to_vec();
        let decoded = decode(proto::Envelope::decode(wire.as_slice()).unwrap());
        assert_eq!(decoded, Ok(Payload::Membership(message)));
    }
}

proptest! {
    #[test]
    fn messages_round_trip_alone_and_in_frames(messages in prop::collection::vec((any::<u64>(), any_message()), 0..5)) {
        let envelopes: Vec<Envelope> =
            messages.into_iter().map(|(epoch, message)| Envelope { epoch: Epoch(epoch), message }).collect();
        let mut batch = Batch::default();
        for envelope in &envelopes {
            batch.push(encode_node(envelope));
        }
        let wire = Bytes::from(batch.take().encode_to_vec());
        let decoded = decode_frame(proto::Frame::decode(wire).unwrap()).unwrap();
        let expected: Vec<Payload> = envelopes.into_iter().map(Payload::Node).collect();
        prop_assert_eq!(decoded, expected);
    }

    #[test]
    fn any_bytes_decode_or_fail_without_panic(wire: Vec<u8>, compact: Vec<u8>, number: i32) {
        if let Ok(frame) = proto::Frame::decode(wire.as_slice()) {
            let _ = decode_frame(frame);
        }
        let compact = Bytes::from(compact);
        let bodies = [
            Body::Write(proto::Write { op: 1, mutation: compact.clone(), purpose: number, commit: compact.clone() }),
            Body::Paxos(proto::Paxos { op: 1, request: compact.clone() }),
            Body::PaxosAnswered(proto::PaxosAnswered { op: 1, answer: compact.clone() }),
            Body::Read(proto::Read { op: 1, command: compact.clone(), digest: false }),
            Body::Data(proto::Data { op: 1, data: compact.clone() }),
            Body::Scan(proto::Scan { op: 1, command: compact.clone() }),
            Body::Scanned(proto::Scanned { op: 1, data: compact.clone() }),
            Body::LookUp(proto::LookUp { op: 1, command: compact.clone() }),
            Body::LookedUp(proto::LookedUp { op: 1, data: compact.clone() }),
            Body::Digest(proto::Digest { op: 1, digest: compact.clone() }),
            Body::Refused(proto::Refused { op: 1, reason: number, epoch: 0 }),
            Body::Membership(compact),
        ];
        for message in bodies {
            let _ = decode(body(message));
        }
    }

    #[test]
    fn a_damaged_message_decodes_or_fails_without_panic(
        message in any_message(),
        at: prop::sample::Index,
        bit in 0u8..8,
    ) {
        let envelope = Envelope { epoch: Epoch(1), message };
        let mut wire = encode_node(&envelope).encode_to_vec();
        let at = at.index(wire.len());
        wire[at] ^= 1 << bit;
        if let Ok(damaged) = proto::Envelope::decode(wire.as_slice()) {
            let _ = decode(damaged);
        }
    }
}
