//! A write at its coordinator: who has it, when the client is answered, and who gets a hint.
//!
//! ```text
//!            every live replica asked
//!   (start) ---------------------------> waiting --- level reached ---> answered --- all acknowledged,
//!                                          |                               |         or hinted
//!                                          | too many failed               |               |
//!                                          | or deadline                   | deadline      v
//!                                          +--> answered with an error ----+-----------> (end)
//! ```
//! Invariants (`docs/protocol/write.md`):
//! * W1: the client is told `Written` only when as many replicas as its level requires have acknowledged, in each
//!   data centre that it counts by itself; hints do not count, but at ANY, where a durable one is enough.
//! * W2: the client is answered once.
//! * W3: when the write ends, each replica of the view at that time has acknowledged it, was given a hint, or
//!   refused it as invalid.
//! * W7: a write goes to another data centre once, to one replica that forwards it to the others there; each of
//!   them answers for itself. Who is known not to have been forwarded to is asked directly.

use model::error::FailureReason;
use model::{Consistency, Instant, Mutation, NodeId, RequestError};
use std::sync::Arc;

use super::quorum::{Quorum, Tracker};
use crate::io::{RequestId, Response, WritePurpose};

/// What has become of the message to one replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Delivery {
    /// Sent, and nothing heard yet.
    Sent,
    /// Refused because the two views differ: to be tried again.
    Retry,
    /// Given up: a hint is written.
    Hinted,
    /// The replica has it.
    Acknowledged,
    /// Refused for good.
    Invalid,
}

#[derive(Clone, Copy, Debug)]
struct Replica {
    node: NodeId,
    delivery: Delivery,
    /// The replica that was to forward it.
    via: Option<NodeId>,
}

/// A write in flight.
#[derive(Debug)]
pub(crate) struct WriteOp {
    /// Whom to answer; `None` once answered.
    request: Option<RequestId>,
    pub(crate) mutation: Arc<Mutation>,
    /// What it is sent as.
    pub(crate) purpose: WritePurpose,
    /// Size of the mutation.
    pub(crate) bytes: usize,
    consistency: Consistency,
    tracker: Tracker,
    /// What a replica that failed said of it.
    reason: FailureReason,
    replicas: Vec<Replica>,
    pub(crate) deadline: Instant,
    /// When its timer is set.
    pub(crate) timer: Instant,
    /// What is left of the grace of its table, if it was made before it came here: hints may be delivered for so long.
    pub(crate) grace_seconds: Option<u32>,
    /// Whether a hint counts as an acknowledgement once it is durable.
    pub(crate) hints_count: bool,
}

/// What to do after something happened to a write.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Tell the client.
    pub(crate) answer: Option<(RequestId, Result<Response, RequestError>)>,
    /// Forget the write.
    pub(crate) done: bool,
}

impl WriteOp {
    /// A write of which nobody has been told.
    pub(crate) fn new(
        request: RequestId,
        mutation: Arc<Mutation>,
        consistency: Consistency,
        replicas: &[NodeId],
        quorum: Quorum,
        deadline: Instant,
    ) -> WriteOp {
        let bytes = mutation.bytes();
        let sent = |node: &NodeId| Replica { node: *node, delivery: Delivery::Sent, via: None };
        WriteOp {
            request: Some(request),
            mutation,
            purpose: WritePurpose::Client,
            bytes,
            consistency,
            tracker: Tracker::of(quorum),
            reason: FailureReason::Unknown,
            replicas: replicas.iter().map(sent).collect(),
            deadline,
            timer: deadline,
            grace_seconds: None,
            hints_count: consistency == Consistency::Any,
        }
    }

    /// `node` has it, and nothing follows from that yet.
    pub(crate) fn has_already(&mut self, node: NodeId) {
        if self.set(node, &[Delivery::Sent], Delivery::Acknowledged) {
            self.tracker.acknowledge(node);
        }
    }

    /// Nobody waits for its answer any more; false when nobody did.
    pub(crate) fn forget_request(&mut self) -> bool {
        self.request.take().is_some()
    }

    /// True once the client has its answer.
    pub(crate) fn is_answered(&self) -> bool {
        self.request.is_none()
    }

    /// True once a replica has it.
    pub(crate) fn is_anywhere(&self) -> bool {
        self.replicas.iter().any(|replica| replica.delivery == Delivery::Acknowledged)
    }

    /// The level that the client asked for.
    pub(crate) fn consistency(&self) -> Consistency {
        self.consistency
    }

    /// Its table is gone: whom to tell, if nobody was told, and no replica misses it.
    pub(crate) fn abandon(&mut self) -> Option<(RequestId, RequestError)> {
        let asked = std::mem::take(&mut self.replicas);
        let has = asked.iter().filter(|replica| replica.delivery == Delivery::Acknowledged).count();
        // Not an error that denies any effect: replicas may have it, and serve it until they learn of the drop.
        let failure = RequestError::WriteFailure {
            consistency: self.consistency,
            received: self.tracker.received() as u32,
            required: self.tracker.required() as u32,
            failures: (asked.len() - has) as u32,
            reason: self.reason,
        };
        self.request.take().map(|request| (request, failure))
    }

    /// True when `node` was asked and has neither acknowledged nor refused for good.
    pub(crate) fn awaits(&self, node: NodeId) -> bool {
        self.replicas
            .iter()
            .any(|replica| replica.node == node && matches!(replica.delivery, Delivery::Sent | Delivery::Retry))
    }

    /// True when `node` is awaited, or another replica that it was to forward the write to.
    pub(crate) fn depends_on(&self, node: NodeId) -> bool {
        let waits = |replica: &Replica| replica.via == Some(node) && replica.delivery == Delivery::Sent;
        self.awaits(node) || self.replicas.iter().any(waits)
    }

    fn set(&mut self, node: NodeId, from: &[Delivery], to: Delivery) -> bool {
        let found = self.replicas.iter_mut().find(|replica| replica.node == node && from.contains(&replica.delivery));
        match found {
            Some(replica) => {
                replica.delivery = to;
                true
            }
            None => false,
        }
    }

    /// `node` has the write.
    pub(crate) fn acknowledge(&mut self, node: NodeId) -> Verdict {
        // A replica that was given up may answer after all; one that has no open question is a late double.
        if self.set(node, &[Delivery::Sent, Delivery::Retry, Delivery::Hinted], Delivery::Acknowledged) {
            self.tracker.acknowledge(node);
        }
        self.verdict()
    }

    /// `node` will not get the write by itself; true when a hint must be written for it.
    pub(crate) fn miss(&mut self, node: NodeId) -> bool {
        let missed = self.set(node, &[Delivery::Sent, Delivery::Retry], Delivery::Hinted);
        if missed && !self.counts_hints() {
            self.tracker.fail(node);
        }
        missed
    }

    /// True when a hint counts as an acknowledgement once it is durable.
    pub(crate) fn counts_hints(&self) -> bool {
        self.hints_count
    }

    /// True when `node` has said that it has the write.
    pub(crate) fn has_acknowledged(&self, node: NodeId) -> bool {
        let has = |replica: &Replica| replica.node == node && replica.delivery == Delivery::Acknowledged;
        self.replicas.iter().any(has)
    }

    /// A replica that was asked and has not answered, if there is one.
    pub(crate) fn awaited(&self) -> Option<NodeId> {
        self.replicas.iter().find(|replica| replica.delivery == Delivery::Sent).map(|replica| replica.node)
    }

    /// The hint for `node` is durable, or there will be none.
    pub(crate) fn hint_ended(&mut self, node: NodeId, kept: bool) {
        if self.counts_hints() {
            let _ = if kept { self.tracker.acknowledge(node) } else { self.tracker.fail(node) };
        }
    }

    /// `node` is to get it from `via`.
    pub(crate) fn forwarded(&mut self, node: NodeId, via: NodeId) {
        for replica in self.replicas.iter_mut().filter(|replica| replica.node == node) {
            replica.via = Some(via);
        }
    }

    /// W7: `via` may not have forwarded it: names those that wait for that, to be asked directly.
    pub(crate) fn not_forwarded(&mut self, via: NodeId) -> Vec<NodeId> {
        let waits = |replica: &&mut Replica| replica.via == Some(via) && replica.delivery == Delivery::Sent;
        let waiting = self.replicas.iter_mut().filter(waits);
        waiting
            .map(|replica| {
                replica.via = None;
                replica.node
            })
            .collect()
    }

    /// A replica fails it for this reason.
    pub(crate) fn note_reason(&mut self, reason: FailureReason) {
        self.reason = reason;
    }

    /// `node` says that the write is not valid: no hint would change that.
    pub(crate) fn refuse(&mut self, node: NodeId) {
        if self.set(node, &[Delivery::Sent, Delivery::Retry], Delivery::Invalid) {
            self.tracker.fail(node);
        }
    }

    /// `node` refused because the two views differ.
    pub(crate) fn retry_later(&mut self, node: NodeId) -> bool {
        self.set(node, &[Delivery::Sent], Delivery::Retry)
    }

    /// Takes note that the replicas that refused for their view are asked again, and names them.
    pub(crate) fn retry(&mut self) -> Vec<NodeId> {
        let retried = self.replicas.iter_mut().filter(|replica| replica.delivery == Delivery::Retry);
        retried
            .map(|replica| {
                replica.delivery = Delivery::Sent;
                replica.node
            })
            .collect()
    }

    /// The placement in a new view: counts over it from now on, keeping what its replicas said before. Names
    /// the replicas that are to be asked now.
    pub(crate) fn replan(&mut self, replicas: &[NodeId], quorum: Quorum) -> Vec<NodeId> {
        let same = self.replicas.len() == replicas.len()
            && self.replicas.iter().all(|replica| replicas.contains(&replica.node));
        if same {
            return self.retry();
        }
        let old = std::mem::take(&mut self.replicas);
        self.tracker = Tracker::of(quorum);
        let mut ask = Vec::new();
        for node in replicas {
            let before = old.iter().find(|replica| replica.node == *node).map(|replica| replica.delivery);
            let delivery = match before {
                Some(Delivery::Retry) | None => {
                    ask.push(*node);
                    Delivery::Sent
                }
                Some(delivery) => delivery,
            };
            match delivery {
                Delivery::Acknowledged => drop(self.tracker.acknowledge(*node)),
                // At ANY it is the hint that counts, and whether it is durable is not known here.
                Delivery::Hinted if self.counts_hints() => {}
                Delivery::Hinted | Delivery::Invalid => drop(self.tracker.fail(*node)),
                Delivery::Sent | Delivery::Retry => {}
            }
            self.replicas.push(Replica { node: *node, delivery, via: None });
        }
        ask
    }

    /// What follows from what is known.
    pub(crate) fn verdict(&mut self) -> Verdict {
        let mut answer = None;
        if self.request.is_some() {
            let result = if self.tracker.is_satisfied() {
                Some(Ok(Response::Written))
            } else if self.tracker.is_impossible() {
                Some(Err(RequestError::WriteFailure {
                    consistency: self.consistency,
                    received: self.tracker.received() as u32,
                    required: self.tracker.required() as u32,
                    failures: self.tracker.failures() as u32,
                    reason: self.reason,
                }))
            } else {
                None
            };
            answer = result.and_then(|result| self.request.take().map(|request| (request, result)));
        }
        let open = |replica: &Replica| matches!(replica.delivery, Delivery::Sent | Delivery::Retry);
        let done = self.is_answered() && !self.replicas.iter().any(open);
        Verdict { answer, done }
    }

    /// The deadline has passed, or there is no room to wait: the answer that is owed, if one is, and the
    /// replicas for which hints must be written. The write ends.
    pub(crate) fn end(&mut self) -> (Option<(RequestId, RequestError)>, Vec<NodeId>) {
        let (received, required) = (self.tracker.received() as u32, self.tracker.required() as u32);
        let timeout = RequestError::WriteTimeout { consistency: self.consistency, received, required };
        let missing: Vec<NodeId> =
            self.replicas.iter().map(|replica| replica.node).filter(|node| self.awaits(*node)).collect();
        (self.request.take().map(|request| (request, timeout)), missing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use model::{PartitionKey, TableId};

    fn nodes(ids: &[u128]) -> Vec<NodeId> {
        ids.iter().copied().map(NodeId).collect()
    }

    fn write(required: usize) -> WriteOp {
        let partition = PartitionKey::new(Bytes::from_static(b"k"));
        let mutation = Arc::new(Mutation { table: TableId(1), partition, records: Vec::new() });
        let replicas = nodes(&[1, 2, 3]);
        let quorum = Quorum::of_all(&replicas, required);
        WriteOp::new(RequestId(9), mutation, Consistency::Quorum, &replicas, quorum, Instant(10))
    }

    const WRITTEN: Option<(RequestId, Result<Response, RequestError>)> = Some((RequestId(9), Ok(Response::Written)));

    #[test]
    fn the_client_is_answered_once_and_the_write_waits_for_the_last_replica() {
        let mut op = write(2);
        assert_eq!(op.acknowledge(NodeId(1)), Verdict { answer: None, done: false });
        assert_eq!(op.acknowledge(NodeId(1)), Verdict { answer: None, done: false });
        assert_eq!(op.acknowledge(NodeId(7)), Verdict { answer: None, done: false });
        assert_eq!(op.acknowledge(NodeId(2)), Verdict { answer: WRITTEN, done: false });
        assert_eq!(op.acknowledge(NodeId(2)), Verdict { answer: None, done: false });
        assert_eq!(op.acknowledge(NodeId(3)), Verdict { answer: None, done: true });
    }

    #[test]
    fn hints_do_not_count_and_a_late_acknowledgement_does() {
        let mut op = write(2);
        op.acknowledge(NodeId(1));
        assert!(op.miss(NodeId(2)));
        assert!(!op.miss(NodeId(2)), "one hint");
        assert_eq!(op.verdict(), Verdict { answer: None, done: false });
        assert_eq!(op.acknowledge(NodeId(2)), Verdict { answer: WRITTEN, done: false });
    }

    #[test]
    fn too_many_failures_end_the_wait_and_the_rest_gets_hints_at_the_end() {
        let mut op = write(2);
        op.refuse(NodeId(1));
        assert!(op.miss(NodeId(3)));
        let verdict = op.verdict();
        let (consistency, reason) = (Consistency::Quorum, FailureReason::Unknown);
        let failure = RequestError::WriteFailure { consistency, received: 0, required: 2, failures: 2, reason };
        assert_eq!(verdict, Verdict { answer: Some((RequestId(9), Err(failure))), done: false });
        assert_eq!(op.end(), (None, nodes(&[2])));
    }

    #[test]
    fn at_any_a_durable_hint_is_enough_and_one_that_is_lost_is_not() {
        let mut op = WriteOp { consistency: Consistency::Any, hints_count: true, ..write(1) };
        assert!(op.miss(NodeId(1)) && op.miss(NodeId(2)) && op.miss(NodeId(3)));
        assert_eq!(op.verdict(), Verdict { answer: None, done: false }, "no hint is durable yet");
        op.hint_ended(NodeId(1), false);
        assert_eq!(op.verdict(), Verdict { answer: None, done: false });
        op.hint_ended(NodeId(2), true);
        assert_eq!(op.verdict(), Verdict { answer: WRITTEN, done: true });
        let mut op = WriteOp { consistency: Consistency::Any, hints_count: true, ..write(1) };
        assert!(op.miss(NodeId(1)) && op.miss(NodeId(2)) && op.miss(NodeId(3)));
        op.hint_ended(NodeId(1), false);
        op.hint_ended(NodeId(2), false);
        op.hint_ended(NodeId(3), false);
        let Verdict { answer: Some((_, Err(RequestError::WriteFailure { failures: 3, .. }))), .. } = op.verdict()
        else {
            panic!("nobody has it")
        };
        let mut op = write(1);
        assert!(op.miss(NodeId(1)));
        op.hint_ended(NodeId(1), true);
        assert_eq!(op.verdict(), Verdict { answer: None, done: false }, "but not at other levels");
    }

    #[test]
    fn those_behind_a_replica_that_may_not_forward_are_asked_directly_once() {
        let mut op = write(3);
        op.forwarded(NodeId(2), NodeId(1));
        op.forwarded(NodeId(3), NodeId(1));
        op.acknowledge(NodeId(2));
        assert_eq!(op.not_forwarded(NodeId(2)), nodes(&[]));
        assert_eq!(op.not_forwarded(NodeId(1)), nodes(&[3]), "the other has it");
        assert_eq!(op.not_forwarded(NodeId(1)), nodes(&[]));
    }

    #[test]
    fn the_deadline_answers_with_what_was_received() {
        let mut op = write(3);
        op.acknowledge(NodeId(2));
        let timeout = RequestError::WriteTimeout { consistency: Consistency::Quorum, received: 1, required: 3 };
        assert_eq!(op.end(), (Some((RequestId(9), timeout)), nodes(&[1, 3])));
    }

    #[test]
    fn a_new_placement_keeps_what_its_replicas_said() {
        let mut op = write(2);
        op.acknowledge(NodeId(1));
        op.acknowledge(NodeId(9));
        assert!(op.retry_later(NodeId(2)));
        let replan = |op: &mut WriteOp, ids: &[u128]| op.replan(&nodes(ids), Quorum::of_all(&nodes(ids), 2));
        assert_eq!(replan(&mut op, &[1, 2, 3]), nodes(&[2]));
        assert_eq!(replan(&mut op, &[1, 3, 4]), nodes(&[4]));
        assert_eq!(op.acknowledge(NodeId(2)), Verdict { answer: None, done: false }, "no replica any more");
        assert_eq!(op.acknowledge(NodeId(4)), Verdict { answer: WRITTEN, done: false });
        assert_eq!(op.acknowledge(NodeId(3)), Verdict { answer: None, done: true });
    }
}
