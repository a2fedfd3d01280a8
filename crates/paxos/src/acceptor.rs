//! The memory of a register on one node: what it has promised and what it has accepted. The caller syncs
//! the state after each call that changes it and only then sends the answer.

use crate::Ballot;
use model::codec::{CodecError, Decode, Encode, Reader, put_option};

/// A value with the ballot under which it was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Accepted<V> {
    /// Under which it was accepted.
    pub ballot: Ballot,
    /// What was accepted.
    pub value: V,
}

/// The positive answer to a prepare: nothing below `ballot` will be accepted any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promise<V> {
    /// The ballot that was prepared.
    pub ballot: Ballot,
    /// What the acceptor has accepted so far, under a ballot not above this one.
    pub accepted: Option<Accepted<V>>,
}

/// The negative answer: a higher ballot was promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nack {
    /// The ballot to get above.
    pub promised: Ballot,
}

/// One register's memory on one node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Acceptor<V> {
    promised: Option<Ballot>,
    accepted: Option<Accepted<V>>,
}

impl<V> Default for Acceptor<V> {
    fn default() -> Acceptor<V> {
        Acceptor { promised: None, accepted: None }
    }
}

impl<V: Clone + Eq> Acceptor<V> {
    /// The highest ballot promised.
    #[must_use]
    pub fn promised(&self) -> Option<Ballot> {
        self.promised
    }

    /// What was accepted last.
    #[must_use]
    pub fn accepted(&self) -> Option<&Accepted<V>> {
        self.accepted.as_ref()
    }

    /// Promises to accept nothing below `ballot`. The same ballot again gets the same answer, so that a
    /// lost answer can be asked for again.
    ///
    /// # Errors
    /// When a higher ballot was promised; the state is then unchanged.
    pub fn prepare(&mut self, ballot: Ballot) -> Result<Promise<V>, Nack> {
        match self.promised {
            Some(promised) if promised > ballot => Err(Nack { promised }),
            _ => {
                self.promised = Some(ballot);
                Ok(Promise { ballot, accepted: self.accepted.clone() })
            }
        }
    }

    /// Accepts `value` under `ballot`. The same again is accepted again.
    ///
    /// # Errors
    /// When a higher ballot was promised, or when another value was accepted under this one, which only a
    /// proposer that breaks the rules can ask for; the state is then unchanged.
    pub fn accept(&mut self, ballot: Ballot, value: V) -> Result<(), Nack> {
        if let Some(promised) = self.promised.filter(|promised| *promised > ballot) {
            return Err(Nack { promised });
        }
        let conflict = self.accepted.as_ref().is_some_and(|last| last.ballot == ballot && last.value != value);
        if conflict {
            return Err(Nack { promised: ballot });
        }
        self.promised = Some(ballot);
        self.accepted = Some(Accepted { ballot, value });
        Ok(())
    }

    /// For a register whose values follow one another: what was chosen under `ballot` is remembered elsewhere, so
    /// what was accepted under it or a lower one is done with. Promises stay.
    pub fn forget(&mut self, ballot: Ballot) {
        self.accepted.take_if(|accepted| accepted.ballot <= ballot);
    }
}

impl<V: Encode> Encode for Accepted<V> {
    fn encode(&self, out: &mut Vec<u8>) {
        self.ballot.encode(out);
        self.value.encode(out);
    }
}

impl<V: Decode> Decode for Accepted<V> {
    fn decode(reader: &mut Reader) -> Result<Accepted<V>, CodecError> {
        Ok(Accepted { ballot: Ballot::decode(reader)?, value: V::decode(reader)? })
    }
}

impl<V: Encode> Encode for Acceptor<V> {
    fn encode(&self, out: &mut Vec<u8>) {
        put_option(out, self.promised.as_ref());
        put_option(out, self.accepted.as_ref());
    }
}

impl<V: Decode> Decode for Acceptor<V> {
    fn decode(reader: &mut Reader) -> Result<Acceptor<V>, CodecError> {
        let (promised, accepted) = (reader.option::<Ballot>()?, reader.option::<Accepted<V>>()?);
        if accepted.as_ref().map(|accepted| accepted.ballot) > promised {
            return Err(CodecError::Invalid("acceptor"));
        }
        Ok(Acceptor { promised, accepted })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use model::NodeId;
    use proptest::prelude::*;

    fn ballot(round: u64, node: u128) -> Ballot {
        Ballot { round, node: NodeId(node) }
    }

    #[test]
    fn a_promise_shuts_out_lower_ballots_and_keeps_what_was_accepted() {
        let mut acceptor = Acceptor::<u64>::default();
        assert_eq!(acceptor.prepare(ballot(1, 1)), Ok(Promise { ballot: ballot(1, 1), accepted: None }));
        assert_eq!(acceptor.accept(ballot(1, 1), 7), Ok(()));
        let accepted = Some(Accepted { ballot: ballot(1, 1), value: 7 });
        assert_eq!(acceptor.prepare(ballot(1, 2)), Ok(Promise { ballot: ballot(1, 2), accepted }));
        assert_eq!(acceptor.accept(ballot(1, 1), 7), Err(Nack { promised: ballot(1, 2) }));
        assert_eq!(acceptor.prepare(ballot(1, 1)), Err(Nack { promised: ballot(1, 2) }));
        assert_eq!(acceptor.accepted(), accepted.as_ref());
    }

    #[test]
    fn repeated_requests_get_the_same_answer() {
        let mut acceptor = Acceptor::<u64>::default();
        let first = acceptor.prepare(ballot(3, 1));
        assert_eq!(acceptor.prepare(ballot(3, 1)), first);
        assert_eq!(acceptor.accept(ballot(3, 1), 7), Ok(()));
        assert_eq!(acceptor.accept(ballot(3, 1), 7), Ok(()));
    }

    #[test]
    fn one_ballot_never_carries_two_values() {
        let mut acceptor = Acceptor::<u64>::default();
        assert_eq!(acceptor.accept(ballot(3, 1), 7), Ok(()));
        assert_eq!(acceptor.accept(ballot(3, 1), 8), Err(Nack { promised: ballot(3, 1) }));
        assert_eq!(acceptor.accepted().unwrap().value, 7);
    }

    #[test]
    fn what_is_done_with_is_forgotten_and_promises_are_not() {
        let mut acceptor = Acceptor::<u64>::default();
        assert_eq!(acceptor.accept(ballot(3, 1), 7), Ok(()));
        acceptor.forget(ballot(2, 9));
        assert_eq!(acceptor.accepted().unwrap().value, 7);
        acceptor.forget(ballot(3, 1));
        assert_eq!((acceptor.accepted(), acceptor.promised()), (None, Some(ballot(3, 1))));
        assert_eq!(acceptor.accept(ballot(2, 1), 8), Err(Nack { promised: ballot(3, 1) }));
    }

    proptest! {
        #[test]
        fn state_round_trips(steps in prop::collection::vec((any::<bool>(), 0u64..4, 0u128..3, any::<u64>()), 0..8)) {
            let mut acceptor = Acceptor::<u64>::default();
            for (prepare, round, node, value) in steps {
                let before = acceptor.promised();
                if prepare {
                    let _ = acceptor.prepare(ballot(round, node));
                } else {
                    let _ = acceptor.accept(ballot(round, node), value);
                }
                prop_assert!(acceptor.promised() >= before);
                prop_assert_eq!(Acceptor::from_bytes(&acceptor.to_bytes()), Ok(acceptor.clone()));
            }
        }

        #[test]
        fn any_bytes_decode_or_fail_without_panic(bytes: Vec<u8>) {
            let _ = Acceptor::<u64>::from_bytes(&Bytes::from(bytes));
        }
    }
}
