//! What registers promise, accept and remember, and the forms of what is said about them.

use super::*;
use model::ColumnId;
use model::row::Cell;
use model::{Record, RecordKey, Row, TableId};
use proptest::prelude::*;

fn ballot(round: u64, node: u128) -> Ballot {
    Ballot { round, node: NodeId(node) }
}

fn mutation(value: u8) -> Arc<Mutation> {
    let row = Row::new(None, None, vec![(ColumnId(1), Cell::live(1, Bytes::copy_from_slice(&[value])))]);
    let partition = PartitionKey::new(Bytes::from_static(b"p"));
    let records = vec![Record { key: RecordKey::Static, value: row.to_bytes() }];
    Arc::new(Mutation { table: TableId(7), partition, records })
}

fn proposal(round: u64) -> Proposal {
    Proposal { origin: ballot(round, 1), history: Vec::new(), mutation: Some(mutation(round as u8)), remembered: None }
}

#[test]
fn of_two_ballots_of_one_round_one_is_promised() {
    let mut register = Register::default();
    assert_eq!(register.prepare(ballot(5, 1)), Ok(()));
    assert_eq!(register.prepare(ballot(5, 1)), Ok(()), "the same again");
    assert_eq!(register.prepare(ballot(5, 2)), Err(ballot(5, 1)));
    assert_eq!(register.accept(ballot(5, 2), proposal(5)), Err(ballot(5, 1)));
    assert_eq!(register.accept(ballot(5, 1), proposal(5)), Ok(()));
    assert_eq!(register.prepare(ballot(6, 0)), Ok(()));
    assert_eq!(register.accept(ballot(5, 1), proposal(5)), Err(ballot(6, 0)));
}

#[test]
fn what_is_committed_is_remembered_and_stands_in_the_way_of_what_is_older() {
    let mut register = Register::default();
    register.accept(ballot(5, 1), proposal(5)).unwrap();
    register.commit(&proposal(7).commit(ballot(8, 1)), mutation(7));
    let (accepted, committed) = register.state();
    assert_eq!(accepted, None, "it is older than what was chosen");
    assert_eq!(committed.unwrap().value, proposal(7));
    assert_eq!(register.prepare(ballot(8, 0)), Err(ballot(8, 1)));
    // What was chosen before, and comes late, changes nothing here.
    register.commit(&proposal(6).commit(ballot(6, 1)), mutation(6));
    assert!(register.has_committed(ballot(8, 1)));
    register.accept(ballot(9, 1), proposal(9)).unwrap();
    register.commit(&proposal(7).commit(ballot(8, 1)), mutation(7));
    assert_eq!(register.state().0.unwrap().value, proposal(9), "it is newer");
}

#[test]
fn histories_end_with_the_last_change_and_are_short() {
    let mut last = proposal(1);
    for round in 2..40 {
        assert_eq!(last.knows_all(), round <= HISTORY_MAX as u64 + 1);
        last = Proposal { history: last.history_after(), ..proposal(round) };
        let from = round.saturating_sub(HISTORY_MAX as u64).max(1);
        assert_eq!(last.history.iter().map(|own| own.round).collect::<Vec<_>>(), (from..round).collect::<Vec<_>>());
        assert!(last.follows(ballot(round, 1)) && last.follows(ballot(from, 1)));
        assert!(!last.follows(ballot(from - 1, 1)));
    }
}

fn a_ballot() -> impl Strategy<Value = Ballot> {
    (0u64..6, 0u128..3).prop_map(|(round, node)| ballot(round, node))
}

fn a_proposal() -> impl Strategy<Value = Proposal> {
    (a_ballot(), prop::collection::vec(a_ballot(), 0..4), any::<Option<u8>>()).prop_map(|(origin, history, value)| {
        let token = model::RetryToken::at(model::WallMicros(1), origin.round);
        let remembered = value.map(|_| Remembered { token, outcome: Outcome::Done });
        Proposal { origin, history, mutation: value.map(mutation), remembered }
    })
}

fn an_accepted() -> impl Strategy<Value = Option<Accepted<Proposal>>> {
    prop::option::of((a_ballot(), a_proposal()).prop_map(|(ballot, value)| Accepted { ballot, value }))
}

proptest! {
    #[test]
    fn registers_survive_their_record(steps in prop::collection::vec((0..3, a_ballot(), a_proposal()), 0..8)) {
        let mut register = Register::default();
        for (kind, ballot, proposal) in steps {
            match (kind, proposal.mutation.clone()) {
                (0, _) => drop(register.prepare(ballot)),
                (1, Some(mutation)) => register.commit(&proposal.commit(ballot), mutation),
                _ => drop(register.accept(ballot, proposal)),
            }
            let LocalWrite { records, .. } = register.record(TableId(7), b"p");
            let (key, value) = &records[0];
            prop_assert!(model::local::registers_of(TableId(7)).contains(key));
            prop_assert_eq!(Register::of_record(value.as_ref()), Ok(register.clone()));
        }
    }

    #[test]
    fn what_is_said_comes_over(
        accepted in an_accepted(), committed in an_accepted(), by in a_ballot(), proposal in a_proposal(),
        data_center in prop::option::of("[a-z]{1,4}"),
    ) {
        let promised = Promised { accepted, committed, data: ReadData::default(), outcome: None };
        let promised = PaxosAnswer::Promised(Box::new(promised));
        for answer in [promised, PaxosAnswer::Accepted, PaxosAnswer::Preempted { by }] {
            prop_assert_eq!(PaxosAnswer::from_bytes(&answer.to_bytes()), Ok(answer));
        }
        let commit = proposal.commit(by);
        prop_assert_eq!(Commit::from_bytes(&commit.to_bytes()), Ok(commit));
        let partition = PartitionKey::new(Bytes::from_static(b"p"));
        let request = PaxosRequest {
            table: TableId(7), partition, data_center, acceptors: vec![NodeId(1), NodeId(2)],
            step: PaxosStep::Propose { ballot: by, proposal },
        };
        prop_assert!(request.is_valid());
        prop_assert_eq!(PaxosRequest::from_bytes(&request.to_bytes()), Ok(request));
    }

    #[test]
    fn any_bytes_decode_or_fail_without_panic(bytes: Vec<u8>) {
        let bytes = Bytes::from(bytes);
        let _ = Register::of_record(Some(&bytes));
        let _ = PaxosAnswer::from_bytes(&bytes);
        let _ = Commit::from_bytes(&bytes);
        if let Ok(request) = PaxosRequest::from_bytes(&bytes) {
            let _ = request.is_valid();
        }
    }
}
