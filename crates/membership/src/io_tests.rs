//! Messages: every kind round-trips, and no bytes make the decoder panic or allocate without bound.

use super::*;
use crate::log::{Change, Founder, MemberInfo};
use bytes::Bytes;
use model::Token;
use model::schema::Replication;
use proptest::prelude::*;
use std::net::{IpAddr, Ipv6Addr};

fn address() -> impl Strategy<Value = SocketAddr> {
    let ip = prop_oneof![
        any::<[u8; 4]>().prop_map(IpAddr::from),
        any::<u128>().prop_map(|bits| IpAddr::from(Ipv6Addr::from_bits(bits))),
    ];
    (ip, any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(ip, port))
}

fn ballot() -> impl Strategy<Value = Ballot> {
    (0..1u64 << 62, any::<u128>()).prop_map(|(round, node)| Ballot { round, node: NodeId(node) })
}

fn slot() -> impl Strategy<Value = Epoch> {
    (0..1u64 << 40).prop_map(Epoch)
}

fn member() -> impl Strategy<Value = MemberInfo> {
    let tokens = prop::collection::btree_set(i64::MIN + 1..=i64::MAX, 0..5);
    (any::<u128>(), [address(), address(), address()], "[a-z]{1,48}", "[a-z]{1,9}", tokens).prop_map(
        |(id, [internode, client, native], data_center, rack, tokens)| MemberInfo {
            id: NodeId(id),
            addresses: NodeAddresses { internode, client, native },
            data_center,
            rack,
            tokens: tokens.into_iter().map(Token).collect(),
        },
    )
}

fn entry() -> impl Strategy<Value = Entry> {
    let founder = (any::<u128>(), address()).prop_map(|(id, internode)| Founder { id: NodeId(id), internode });
    let keyspace = ("[a-z]{1,9}", any::<u32>(), any::<bool>()).prop_map(|(name, factor, if_not_exists)| {
        let replication = Replication::Simple { factor };
        Change::Schema(SchemaChange::CreateKeyspace { name, replication, if_not_exists })
    });
    let change = prop_oneof![
        (any::<u128>(), prop::collection::vec(founder, 1..=7))
            .prop_map(|(cluster_id, founders)| Change::Genesis { cluster_id, founders }),
        (member(), any::<bool>()).prop_map(|(member, is_seed)| Change::Join { member, is_seed }),
        member().prop_map(Change::Update),
        keyspace,
        prop::collection::btree_set(any::<u128>(), 1..=7)
            .prop_map(|voters| Change::Voters(voters.into_iter().map(NodeId).collect())),
        (any::<u128>(), any::<u128>())
            .prop_map(|(cluster_id, voter)| Change::Recover { cluster_id, voter: NodeId(voter) }),
    ];
    (any::<u128>(), change).prop_map(|(id, change)| Entry { id, change: Arc::new(change) })
}

fn heartbeats() -> impl Strategy<Value = Vec<(NodeId, Heartbeat)>> {
    let heartbeat =
        (any::<u128>(), any::<u32>(), 0..1u64 << 56, slot()).prop_map(|(id, generation, version, epoch)| {
            (NodeId(id), Heartbeat { generation: u64::from(generation), version, epoch, done: epoch })
        });
    prop::collection::vec(heartbeat, 0..9)
}

fn body() -> impl Strategy<Value = Body> {
    let seeds = || prop::collection::vec(address(), 0..5);
    let accepted = prop::option::of((ballot(), entry()).prop_map(|(ballot, entry)| Accepted { ballot, value: entry }));
    prop_oneof![
        seeds().prop_map(|seeds| Body::Discover { seeds }),
        seeds().prop_map(|seeds| Body::Discovered { seeds }),
        prop::collection::vec((any::<u128>(), slot()), 0..4).prop_map(|recoveries| Body::Mismatch { recoveries }),
        Just(Body::GoesOn),
        (slot(), ballot(), seeds()).prop_map(|(slot, ballot, seeds)| Body::Prepare { slot, ballot, seeds }),
        (slot(), ballot(), accepted).prop_map(|(slot, ballot, accepted)| Body::Promise { slot, ballot, accepted }),
        (slot(), ballot(), entry()).prop_map(|(slot, ballot, entry)| Body::Accept { slot, ballot, entry }),
        (slot(), ballot()).prop_map(|(slot, ballot)| Body::Accepted { slot, ballot }),
        (slot(), ballot(), ballot()).prop_map(|(slot, ballot, promised)| Body::Refused { slot, ballot, promised }),
        (slot(), entry()).prop_map(|(slot, entry)| Body::Committed { slot, entry }),
        Just(Body::Applied),
        slot().prop_map(|after| Body::Fetch { after }),
        (slot(), prop::collection::vec(entry(), 0..4)).prop_map(|(first, entries)| Body::Entries { first, entries }),
        heartbeats().prop_map(|heartbeats| Body::Gossip { heartbeats }),
        heartbeats().prop_map(|heartbeats| Body::GossipAnswer { heartbeats }),
        any::<u64>().prop_map(|nonce| Body::Probe { nonce }),
        any::<u64>().prop_map(|nonce| Body::ProbeAnswer { nonce }),
    ]
}

fn message() -> impl Strategy<Value = Message> {
    (any::<u128>(), prop::option::of(any::<u128>()), slot(), body())
        .prop_map(|(sender, cluster, epoch, body)| Message { sender: NodeId(sender), cluster, epoch, body })
}

fn header(out: &mut Vec<u8>) {
    out.push(VERSION);
    NodeId(1).encode(out);
    put_option::<u128>(out, None);
    Epoch(1).encode(out);
}

#[test]
fn a_message_of_a_newer_version_is_named_as_such() {
    assert_eq!(Message::from_bytes(&Bytes::from_static(&[4, 0, 0])), Err(CodecError::Version(4)));
}

#[test]
fn heartbeats_and_slots_near_the_end_of_their_range_are_refused() {
    for (generation, version, epoch) in [(u64::MAX, 1, 1), (1, u64::MAX, 1), (1, 1, u64::MAX)] {
        let heartbeat = Heartbeat { generation, version, epoch: Epoch(epoch), done: Epoch(epoch) };
        assert!(Heartbeat::from_bytes(&heartbeat.to_bytes()).is_err(), "{heartbeat:?}");
    }
}

#[test]
fn voters_are_few_ascending_and_at_least_one() {
    for voters in [vec![], vec![2, 1], vec![1, 1], (0..8).collect()] {
        let change = Change::Voters(voters.iter().copied().map(NodeId).collect());
        let bytes = Entry { id: 1, change: Arc::new(change) }.to_bytes();
        assert_eq!(Entry::from_bytes(&bytes), Err(CodecError::Invalid("voters")), "{voters:?}");
    }
}

#[test]
fn long_lists_are_refused() {
    for (tag, item) in [(12, vec![0u8; 20]), (0, vec![4, 1, 2, 3, 4, 5]), (2, vec![0u8; 17])] {
        let mut bytes = Vec::new();
        header(&mut bytes);
        bytes.push(tag);
        put_varint(&mut bytes, 1_000);
        bytes.extend(item.repeat(1_000));
        assert!(matches!(Message::from_bytes(&Bytes::from(bytes)), Err(CodecError::Invalid(_))));
    }
}

proptest! {
    #[test]
    fn messages_round_trip(message in message()) {
        prop_assert_eq!(Message::from_bytes(&message.to_bytes()), Ok(message));
    }

    #[test]
    fn a_damaged_message_decodes_or_fails_without_panic(
        message in message(), at: prop::sample::Index, byte: u8, cut: prop::sample::Index,
    ) {
        let mut bytes = message.to_bytes().to_vec();
        let place = at.index(bytes.len());
        bytes[place] = byte;
        if let Ok(other) = Message::from_bytes(&Bytes::from(bytes.clone())) {
            prop_assert_eq!(other.to_bytes(), Bytes::from(bytes.clone()), "one value, one form");
        }
        bytes.truncate(cut.index(bytes.len()));
        let _ = Message::from_bytes(&Bytes::from(bytes));
    }

    #[test]
    fn any_bytes_decode_or_fail_without_panic(tag in 0u8..19, bytes: Vec<u8>) {
        let _ = Message::from_bytes(&Bytes::from(bytes.clone()));
        let mut with_header = Vec::new();
        header(&mut with_header);
        with_header.push(tag);
        with_header.extend(bytes);
        let _ = Message::from_bytes(&Bytes::from(with_header));
    }
}
