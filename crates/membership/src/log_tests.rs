//! The state machine of the log and its checks, entry by entry.

use super::*;
use crate::ClusterView;
use model::schema::{Column, ColumnKind, Table};
use model::table_options::TableOptions;
use model::{ColumnId, CqlType, TableId};

fn address(last: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, last], 7000))
}

fn member(id: u128, last: u8, tokens: &[i64]) -> MemberInfo {
    MemberInfo {
        id: NodeId(id),
        addresses: NodeAddresses { internode: address(last), client: address(last), native: address(last) },
        data_center: "dc1".to_owned(),
        rack: "r1".to_owned(),
        tokens: tokens.iter().copied().map(Token).collect(),
    }
}

fn join(id: u128, last: u8, tokens: &[i64], is_seed: bool) -> Change {
    Change::Join { member: member(id, last, tokens), is_seed }
}

fn genesis(founders: &[(u128, u8)]) -> Change {
    let founders = founders.iter().map(|(id, last)| Founder { id: NodeId(*id), internode: address(*last) });
    Change::Genesis { cluster_id: 77, founders: founders.collect() }
}

/// The creation of a table with nothing but a key.
pub(crate) fn table(keyspace: &str, name: &str, id: u128) -> Change {
    let column =
        Column { id: ColumnId(0), name: "k".to_owned(), kind: ColumnKind::PartitionKey(0), cql_type: CqlType::Int };
    let table = Table {
        id: TableId(id),
        generation: 0,
        keyspace: keyspace.to_owned(),
        name: name.to_owned(),
        columns: vec![column],
        options: TableOptions::default(),
        dropped_columns: Vec::new(),
        indexes: Vec::new(),
        constraints: Vec::new(),
    };
    Change::Schema(SchemaChange::CreateTable { table, if_not_exists: false })
}

fn keyspace(name: &str, replication: Replication) -> SchemaChange {
    SchemaChange::CreateKeyspace { name: name.to_owned(), replication, if_not_exists: false }
}

fn state(changes: &[Change]) -> State {
    let mut state = State::default();
    for change in changes {
        state.apply(change);
    }
    assert_eq!(state.epoch.0, changes.len() as u64);
    state
}

fn ids<'a>(ids: impl Iterator<Item = &'a NodeId>) -> Vec<u128> {
    ids.map(|id| id.0).collect()
}

#[test]
fn founders_vote_before_they_join_and_later_seeds_become_voters_up_to_a_limit() {
    let mut changes = vec![genesis(&[(1, 1), (2, 2)]), join(3, 3, &[3], true), join(4, 4, &[4], false)];
    let small = state(&changes);
    assert_eq!(ids(small.voters.keys()), [1, 2, 3]);
    assert_eq!(ids(small.members.keys()), [3, 4]);
    assert_eq!(small.address_of(NodeId(2)), Some(address(2)));
    changes.extend((5..20).map(|id| join(u128::from(id), id, &[i64::from(id)], true)));
    assert_eq!(state(&changes).voters.len(), VOTERS_MAX);
}

#[test]
fn a_second_genesis_and_a_join_before_it_have_no_effect() {
    let second = Change::Genesis { cluster_id: 78, founders: Vec::new() };
    let both = state(&[genesis(&[(1, 1)]), second]);
    assert_eq!((both.cluster_id, ids(both.voters.keys())), (Some(77), vec![1]));
    assert!(state(&[join(1, 1, &[1], true)]).members.is_empty());
}

#[test]
fn a_wiped_node_replaces_itself_and_keeps_its_vote() {
    let before = [genesis(&[(1, 1), (2, 2)]), join(1, 1, &[1], true), join(2, 2, &[2], true)];
    let mut after = state(&before);
    // Not a seed by its own word any more; it votes because it takes a voter's place.
    after.apply(&join(9, 2, &[2], false));
    assert_eq!(ids(after.members.keys()), [1, 9]);
    assert_eq!(ids(after.voters.keys()), [1, 9]);
    // A founder that was wiped before it had joined.
    let founder = state(&[genesis(&[(1, 1), (2, 2)]), join(8, 2, &[8], true)]);
    assert_eq!(ids(founder.voters.keys()), [1, 8]);
}

#[test]
fn tokens_are_never_shared_and_nobody_joins_twice() {
    let base = state(&[genesis(&[(1, 1)]), join(1, 1, &[1, 2], true)]);
    assert!(base.refusal_of_join(&member(2, 2, &[2, 3])).unwrap().contains("tokens"));
    assert!(base.refusal_of_join(&member(2, 2, &[])).unwrap().contains("tokens"));
    assert!(base.refusal_of_join(&member(1, 1, &[7])).unwrap().contains("already"));
    assert_eq!(base.refusal_of_join(&member(2, 2, &[3])), None);
    // The tokens of a node that is replaced are free.
    assert_eq!(base.refusal_of_join(&member(2, 1, &[2, 3])), None);
    let mut tried = base.clone();
    tried.apply(&join(2, 2, &[2, 3], false));
    assert_eq!(tried.members, base.members);
}

#[test]
fn a_join_replaces_everybody_at_its_address() {
    // Two members changed places, and one of them has not said so yet.
    let mut state = state(&[genesis(&[(1, 1)]), join(1, 1, &[1], true), join(2, 2, &[2], true)]);
    state.apply(&Change::Update(member(1, 2, &[1])));
    state.apply(&join(3, 2, &[1, 2], true));
    assert_eq!((ids(state.members.keys()), ids(state.voters.keys())), (vec![3], vec![3]));
}

#[test]
fn nobody_joins_while_a_table_exists() {
    let simple = Replication::Simple { factor: 1 };
    let changes =
        [genesis(&[(1, 1)]), join(1, 1, &[1], true), Change::Schema(keyspace("k", simple)), table("k", "t", 5)];
    let mut full = state(&changes);
    assert!(full.refusal_of_join(&member(2, 2, &[2])).unwrap().contains("not supported yet: table k.t"));
    full.apply(&join(2, 2, &[2], true));
    assert_eq!(ids(full.members.keys()), [1]);
}

#[test]
fn an_update_changes_addresses_and_nothing_else() {
    let mut state = state(&[genesis(&[(1, 1)]), join(1, 1, &[1], true)]);
    let update = MemberInfo { rack: "other".to_owned(), ..member(1, 50, &[9]) };
    state.apply(&Change::Update(update));
    assert_eq!(state.members[&NodeId(1)], MemberInfo { addresses: member(1, 50, &[]).addresses, ..member(1, 1, &[1]) });
    assert_eq!(state.voters[&NodeId(1)], address(50));
    state.apply(&Change::Update(member(4, 4, &[4])));
    assert!(!state.members.contains_key(&NodeId(4)));
}

#[test]
fn replication_is_checked_in_cassandras_words() {
    let state = state(&[genesis(&[(1, 1)]), join(1, 1, &[1], true)]);
    let network = |factors: &[(&str, u32)]| {
        let factors = factors.iter().map(|(name, factor)| ((*name).to_owned(), *factor)).collect();
        state.validate_schema(&keyspace("k", Replication::NetworkTopology { factors }))
    };
    assert_eq!(state.validate_schema(&keyspace("k", Replication::Simple { factor: 9 })), Ok(true));
    assert!(state.validate_schema(&keyspace("k", Replication::Simple { factor: 0 })).is_err());
    assert_eq!(network(&[("dc1", 3)]), Ok(true));
    assert!(network(&[]).is_err() && network(&[("dc1", 0)]).is_err());
    let text = network(&[("dc1", 3), ("dc2", 1)]).unwrap_err().to_string();
    assert_eq!(text, "Unrecognized strategy option {dc2} passed to NetworkTopologyStrategy for keyspace k");
}

#[test]
fn replication_factor_is_that_of_every_data_center_that_is_not_named() {
    let elsewhere =
        Change::Join { member: MemberInfo { data_center: "dc2".to_owned(), ..member(2, 2, &[2]) }, is_seed: true };
    let mut state = state(&[genesis(&[(1, 1)]), join(1, 1, &[1], true), elsewhere]);
    let network = |factors: &[(&str, u32)]| Replication::NetworkTopology {
        factors: factors.iter().map(|(name, factor)| ((*name).to_owned(), *factor)).collect(),
    };
    let all = keyspace("k", network(&[("replication_factor", 3), ("dc2", 1)]));
    assert_eq!(state.validate_schema(&all), Ok(true));
    state.apply(&Change::Schema(all));
    assert_eq!(state.schema.keyspace("k").unwrap().replication, network(&[("dc1", 3), ("dc2", 1)]));
    let alter = |replication| SchemaChange::AlterKeyspace { name: "k".to_owned(), replication, if_exists: false };
    state.apply(&Change::Schema(alter(Some(network(&[("replication_factor", 5)])))));
    let kept = network(&[("dc1", 3), ("dc2", 1)]);
    assert_eq!(state.schema.keyspace("k").unwrap().replication, kept, "as in Cassandra what it has stays");
    let unknown = keyspace("other", network(&[("replication_factor", 3), ("dc3", 1)]));
    assert!(state.validate_schema(&unknown).is_err());
}

#[test]
fn tokens_for_a_new_node_follow_its_own_data_center() {
    let state = state(&[genesis(&[(1, 1)]), join(1, 1, &[i64::MIN + 1, 0], true)]);
    assert_eq!(state.tokens_for(address(2), "dc1", 2).len(), 2);
    // The first of its data centre: even ranges; and a wiped node's tokens are free again.
    assert_eq!(state.tokens_for(address(2), "dc2", 1), [Token(1)]);
    assert_eq!(state.tokens_for(address(1), "dc1", 1), [Token(0)]);
}

#[test]
fn pages_of_the_log_are_bounded_and_never_empty_when_there_is_more() {
    let mut log = Log::default();
    log.append(Entry { id: 1, change: Arc::new(genesis(&[(1, 1)])) });
    for id in 2..20 {
        log.append(Entry { id, change: Arc::new(join(id, id as u8, &[id as i64], false)) });
    }
    assert_eq!(log.page(Epoch(0), usize::MAX).len(), 19);
    assert_eq!(log.page(Epoch(3), 1), [log.entry(Epoch(4)).unwrap().clone()]);
    assert!(log.page(Epoch(19), usize::MAX).is_empty() && log.page(Epoch(u64::MAX), 1).is_empty());
    assert_eq!((log.entry(Epoch(0)), log.entry(Epoch(20))), (None, None));
}

#[test]
fn a_view_answers_for_every_keyspace_and_shares_equal_placements() {
    let simple = |factor| Replication::Simple { factor };
    let mut changes = vec![genesis(&[(1, 1)]), join(1, 1, &[-10, 10], true), join(2, 2, &[0, 20], false)];
    changes.extend([("a", 1), ("b", 2), ("c", 1)].map(|(name, factor)| Change::Schema(keyspace(name, simple(factor)))));
    let state = state(&changes);
    let view = ClusterView::of_state(&state, None).unwrap();
    for (keyspace, token, replicas) in [
        ("a", -10, vec![1]),
        ("a", -9, vec![2]),
        ("a", 21, vec![1]),
        ("b", 1, vec![1, 2]),
        ("b", 11, vec![2, 1]),
        ("c", 11, vec![2]),
        ("none", 11, vec![]),
    ] {
        assert_eq!(ids(view.replicas(keyspace, Token(token)).iter()), replicas, "{keyspace} {token}");
    }
    assert_eq!(view.replicas("a", Token(3)).as_ptr(), view.replicas("c", Token(3)).as_ptr());
    assert_eq!(view.member_by_address(address(2)).map(|member| member.id), Some(NodeId(2)));
    // A later view keeps what it can, and equals one built from nothing.
    let mut later = state.clone();
    later.apply(&Change::Schema(keyspace("d", simple(2))));
    let next = ClusterView::of_state(&later, Some(&view)).unwrap();
    assert_eq!(next.replicas("d", Token(3)).as_ptr(), view.replicas("b", Token(3)).as_ptr());
    assert_eq!(Some(next), ClusterView::of_state(&later, None));
    let empty = ClusterView::new(Epoch(1), 77, state.schema, BTreeMap::new(), BTreeSet::new());
    assert!(empty.replicas("a", Token(0)).is_empty() && empty.ring().is_empty());
}

#[test]
fn record_keys_round_trip_and_order_by_slot() {
    use record::Key;
    let keys = [Key::Generation, Key::Entry(Epoch(1)), Key::Entry(Epoch(256)), Key::Register(Epoch(u64::MAX))];
    for key in keys {
        assert_eq!(Key::from_bytes(&key.to_bytes()), Some(key));
    }
    assert!(Key::Entry(Epoch(255)).to_bytes() < Key::Entry(Epoch(256)).to_bytes());
    for bad in [&b"membership/log/1"[..], b"membership/", b"membership/other", b"node/log/12345678", b""] {
        assert_eq!(Key::from_bytes(bad), None);
    }
    let newer = Bytes::from_static(&[9, 1]);
    assert_eq!(record::content::<u64>(&newer), Err(CodecError::Version(9)));
}
