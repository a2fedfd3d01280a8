//! Changes of replication, entry by entry: what each step makes of reads, writes and what is held.

use super::*;
use crate::ClusterView;
use crate::log::log_tests::table;
use crate::log::{Change, Founder, MemberInfo, NodeAddresses};
use model::TokenRange;
use std::net::SocketAddr;

fn simple(factor: u32) -> Replication {
    Replication::Simple { factor }
}

fn alter(to: Replication) -> SchemaChange {
    SchemaChange::AlterKeyspace { name: "k".to_owned(), replication: Some(to), if_exists: false }
}

/// Nodes 1 to 4 with one token each, and a keyspace `k` with a table.
fn state(factor: u32) -> State {
    let mut state = State::default();
    let address = |last: u8| SocketAddr::from(([10, 0, 0, last], 7000));
    let founders = vec![Founder { id: NodeId(1), internode: address(1) }];
    state.apply(&Change::Genesis { cluster_id: 7, founders });
    for node in 1..=4u8 {
        let internode = address(node);
        let member = MemberInfo {
            id: NodeId(u128::from(node)),
            addresses: NodeAddresses { internode, client: internode, native: internode },
            data_center: "dc".to_owned(),
            rack: "rack".to_owned(),
            tokens: vec![Token(i64::from(node) * 100)],
        };
        state.apply(&Change::Join { member, is_seed: false });
    }
    let (name, replication) = ("k".to_owned(), simple(factor));
    state.apply(&Change::Schema(SchemaChange::CreateKeyspace { name, replication, if_not_exists: false }));
    state.apply(&table("k", "t", 5));
    state
}

fn view(state: &State) -> ClusterView {
    ClusterView::of_state(state, None).unwrap()
}

fn advance(state: &mut State) {
    let running = state.replication_change.clone().unwrap();
    let step = SchemaChange::AdvanceReplication { keyspace: running.keyspace, since: running.since };
    assert_eq!(state.validate_schema(&step), Ok(true));
    state.apply(&Change::Schema(step));
}

fn nodes(ids: &[u128]) -> Vec<NodeId> {
    ids.iter().copied().map(NodeId).collect()
}

#[test]
fn each_step_of_a_change_moves_reads_writes_and_what_is_held() {
    let mut state = state(1);
    assert_eq!(state.validate_schema(&alter(simple(3))), Ok(true));
    state.apply(&Change::Schema(alter(simple(3))));
    let at = Token(150);
    for phase in [Phase::Announced, Phase::Copying] {
        let view = view(&state);
        assert_eq!(view.replication_change.as_ref().unwrap().phase, phase);
        assert_eq!(view.schema.keyspace("k").unwrap().replication, simple(1));
        assert_eq!(view.replicas("k", at), nodes(&[2]));
        assert_eq!(view.holders("k", at), nodes(&[2, 3, 4]));
        let written: Vec<Vec<NodeId>> = view.written("k", at).iter().map(|(_, nodes)| nodes.to_vec()).collect();
        assert_eq!(written, [nodes(&[2]), nodes(&[2, 3, 4])]);
        let whole = TokenRange { start: Token(100), end: Token(200) };
        assert_eq!(view.held_part("k", whole), Some((whole, &nodes(&[2, 3, 4])[..])));
        assert!(view.holds("k", whole, NodeId(4)) && !view.holds("k", whole, NodeId(1)));
        assert!(view.dropped(NodeId(2)).is_empty());
        advance(&mut state);
    }
    let switched = view(&state);
    assert_eq!(switched.schema.keyspace("k").unwrap().replication, simple(3));
    assert_eq!(switched.replicas("k", at), nodes(&[2, 3, 4]));
    assert_eq!(switched.written("k", at).len(), 2, "writes go to both as long as somebody may read the old one");
    advance(&mut state);
    let cleaning = view(&state);
    assert_eq!(cleaning.written("k", at).len(), 1);
    assert!((1..=4).all(|id| cleaning.dropped(NodeId(id)).is_empty()), "nobody has lost anything");
    advance(&mut state);
    assert_eq!(state.replication_change, None);
}

#[test]
fn who_holds_a_range_no_more_is_told_to_drop_it() {
    let mut state = state(3);
    state.apply(&Change::Schema(alter(simple(2))));
    for _ in 0..3 {
        assert!((1..=4).all(|id| view(&state).dropped(NodeId(id)).is_empty()));
        advance(&mut state);
    }
    let view = view(&state);
    // The third replica of each range: node 4 of the tokens after 100 up to 200.
    let range = |start, end| TokenRange { start: Token(start), end: Token(end) };
    assert_eq!(view.dropped(NodeId(4)), [range(100, 200)]);
    assert_eq!(view.dropped(NodeId(3)), [range(i64::MIN, 100), range(400, i64::MAX)]);
    for id in 1..=4 {
        for dropped in view.dropped(NodeId(id)) {
            assert!(!view.holds("k", dropped, NodeId(id)));
        }
    }
}

#[test]
fn one_change_at_a_time_and_it_can_be_taken_back_until_the_switch() {
    let mut state = state(1);
    state.apply(&Change::Schema(alter(simple(3))));
    let refused = state.validate_schema(&alter(simple(2))).unwrap_err().to_string();
    assert!(refused.contains("is being changed already (announced)") && refused.contains("take it back"), "{refused}");
    assert_eq!(state.validate_schema(&alter(simple(3))), Ok(false), "it is what is being done");
    // A keyspace without tables, and one whose data stays where it is, are changed at once.
    let (name, replication) = ("other".to_owned(), simple(1));
    state.apply(&Change::Schema(SchemaChange::CreateKeyspace { name, replication, if_not_exists: false }));
    let other = |to| SchemaChange::AlterKeyspace { name: "other".to_owned(), replication: Some(to), if_exists: false };
    state.apply(&Change::Schema(other(simple(2))));
    assert_eq!(state.schema.keyspace("other").unwrap().replication, simple(2));
    state.apply(&table("other", "t", 6));
    assert!(state.validate_schema(&other(simple(3))).unwrap_err().to_string().contains("one change moves data"));
    assert_eq!(state.validate_schema(&alter(simple(1))), Ok(true));
    state.apply(&Change::Schema(alter(simple(1))));
    let taken_back = view(&state);
    assert_eq!((taken_back.holders("k", Token(150)).len(), taken_back.written("k", Token(150)).len()), (1, 1));
    assert_eq!(taken_back.dropped(NodeId(4)).len(), 2, "what was copied to it of two ranges goes again");
    assert!(state.validate_schema(&alter(simple(3))).is_err());
    advance(&mut state);
    assert_eq!((&state.replication_change, &state.schema.keyspace("k").unwrap().replication), (&None, &simple(1)));
    state.apply(&Change::Schema(alter(simple(3))));
    advance(&mut state);
    advance(&mut state);
    let refused = state.validate_schema(&alter(simple(1))).unwrap_err().to_string();
    assert!(refused.contains("(switched)") && !refused.contains("take it back"), "{refused}");
    state.apply(&Change::Schema(SchemaChange::DropKeyspace { name: "k".to_owned(), if_exists: false }));
    assert_eq!(state.replication_change, None, "it goes with its keyspace");
}

#[test]
fn a_replication_that_moves_nothing_is_in_effect_at_once() {
    let mut state = state(4);
    for to in [simple(9), Replication::NetworkTopology { factors: BTreeMap::from([("dc".to_owned(), 4)]) }] {
        state.apply(&Change::Schema(alter(to.clone())));
        assert_eq!((&state.replication_change, &state.schema.keyspace("k").unwrap().replication), (&None, &to));
    }
}

#[test]
fn a_step_that_is_not_due_changes_nothing() {
    let mut state = state(1);
    let step = |since| SchemaChange::AdvanceReplication { keyspace: "k".to_owned(), since };
    assert_eq!(state.validate_schema(&step(Epoch(3))), Ok(false));
    state.apply(&Change::Schema(alter(simple(3))));
    let since = state.replication_change.as_ref().unwrap().since;
    assert_eq!(state.validate_schema(&step(Epoch(since.0 - 1))), Ok(false));
    state.apply(&Change::Schema(step(Epoch(since.0 - 1))));
    assert_eq!(state.replication_change.as_ref().unwrap().phase, Phase::Announced);
}

#[test]
fn a_step_waits_for_what_every_member_reports() {
    let mut state = state(1);
    state.apply(&Change::Schema(alter(simple(3))));
    let done = |state: &State, lagging: u128, done: Epoch| {
        let running = state.replication_change.as_ref().unwrap();
        let epoch_of = |id| if id == NodeId(lagging) { Epoch(running.since.0 - 1) } else { running.since };
        is_done(running, &state.members, epoch_of, |_| done)
    };
    assert!(!done(&state, 4, Epoch(99)), "node 4 has not applied it");
    assert!(done(&state, 9, Epoch(0)));
    advance(&mut state);
    let since = state.replication_change.as_ref().unwrap().since;
    assert!(!done(&state, 9, Epoch(since.0 - 1)), "that everything was copied is of an earlier change");
    assert!(done(&state, 4, since));
}
