//! What promises say.

use super::*;
use bytes::Bytes;
use model::codec::Encode;
use model::{Mutation, Record, RecordKey, Row, TableId};

fn ballot(round: u64) -> Ballot {
    Ballot { round, node: NodeId(round.into()) }
}

fn proposal(round: u64, is_change: bool) -> Proposal {
    let partition = PartitionKey::new(Bytes::from_static(b"p"));
    let records = vec![Record { key: RecordKey::Static, value: Row::default().to_bytes() }];
    let mutation = is_change.then(|| Arc::new(Mutation { table: TableId(1), partition, records }));
    Proposal { origin: ballot(round), history: Vec::new(), mutation, remembered: None }
}

/// Promises of nodes 1, 2 ...: each with the round of what it has committed, and of what it has accepted, a change or
/// not.
fn promises(of: &[(u64, Option<(u64, bool)>)]) -> BTreeMap<NodeId, Promised> {
    let promised = |(committed, accepted): &(u64, Option<(u64, bool)>)| Promised {
        accepted: accepted.map(|(round, change)| Accepted { ballot: ballot(round), value: proposal(round, change) }),
        committed: (*committed > 0).then(|| Accepted { ballot: ballot(*committed), value: proposal(*committed, true) }),
        data: ReadData::default(),
        outcome: None,
    };
    of.iter().zip(1..).map(|(of, id)| (NodeId(id), promised(of))).collect()
}

fn found(of: &[(u64, Option<(u64, bool)>)]) -> Found {
    examine(&promises(of), &[NodeId(1), NodeId(2), NodeId(3)], 2)
}

fn ready(nodes: &[u128], last: u64, sealed: bool) -> Found {
    let nodes = nodes.iter().copied().map(NodeId).collect();
    Found::Ready { nodes, last: (last > 0).then(|| proposal(last, true)), sealed }
}

#[test]
fn replicas_at_one_change_are_ready_and_sealed_when_they_are_all() {
    assert_eq!(found(&[(0, None)]), Found::TooFew);
    assert_eq!(found(&[(0, None), (0, None)]), ready(&[1, 2], 0, false));
    assert_eq!(found(&[(0, None), (0, None), (0, None)]), ready(&[1, 2, 3], 0, true));
    assert_eq!(found(&[(4, None), (4, Some((3, true))), (4, None)]), ready(&[1, 2, 3], 4, true));
    // One lacks the change: the others are a quorum, but not all.
    assert_eq!(found(&[(4, None), (4, None), (3, Some((4, true)))]), ready(&[1, 2], 4, false));
}

#[test]
fn the_highest_that_is_accepted_is_in_progress_unless_it_is_committed_or_no_change() {
    assert_eq!(found(&[(4, None), (4, Some((5, true)))]), Found::InProgress(proposal(5, true)));
    assert_eq!(found(&[(4, Some((6, true))), (4, Some((5, true)))]), Found::InProgress(proposal(6, true)));
    assert_eq!(found(&[(4, Some((6, false))), (4, Some((5, true)))]), ready(&[1, 2], 4, false));
    // What is hidden behind it could come back as long as not all that is older is known to be without a chance.
    assert_eq!(found(&[(4, Some((6, false))), (4, Some((5, true))), (4, None)]), ready(&[1, 2, 3], 4, false));
    assert_eq!(found(&[(4, Some((6, false))), (4, None), (4, None)]), ready(&[1, 2, 3], 4, true));
}

#[test]
fn the_last_change_is_lacking_where_no_quorum_has_it() {
    let last = Accepted { ballot: ballot(5), value: proposal(5, true) };
    assert_eq!(found(&[(5, None), (4, None)]), Found::Lacking(last.clone()));
    assert_eq!(found(&[(5, None), (0, Some((5, true)))]), Found::Lacking(last));
    assert_eq!(found(&[(5, None), (4, None), (5, None)]), ready(&[1, 3], 5, false));
}
