//! The storage writer over a real store in a temporary folder: groups, the order of answers, failures.

use super::*;
use bytes::Bytes;
use model::{Mutation, NodeId, PartitionKey, Record, Row, TableId};
use std::time::Duration;
use storage::{Store, StoreOptions};

const TABLE: TableId = TableId(1);

fn op(shard: u64, number: u64) -> OpId {
    OpId(shard << 48 | number)
}

fn write(table: TableId) -> Write {
    let row = Row::new(Some(model::Liveness { timestamp: 1, expiry: None }), None, Vec::new());
    let records = vec![Record::row(Bytes::from_static(&[0x40]), &row)];
    Write::Apply(Arc::new(Mutation { table, partition: PartitionKey::new(Bytes::from_static(b"key")), records }))
}

struct Running {
    queue: Arc<WriteQueue>,
    shards: Vec<mpsc::Receiver<ShardInput>>,
    member: mpsc::Receiver<MemberInput>,
    metrics: Arc<Metrics>,
    thread: std::thread::JoinHandle<()>,
    _folder: tempfile::TempDir,
}

impl Running {
    fn start(durability: Durability) -> Running {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(StoreOptions::new(folder.path(), NodeId(1))).unwrap();
        store.set_tables(&[Arc::new(model::schema::Table::plain(TABLE))]).unwrap();
        let (senders, shards) = (0..2).map(|_| mpsc::channel(64)).unzip();
        let (member_sender, member) = mpsc::channel(64);
        let queue = Arc::new(WriteQueue::default());
        let metrics: Arc<Metrics> = Arc::default();
        let counted = metrics.clone();
        let (storage, to_writer) = (Arc::new(store), queue.clone());
        let writer =
            StorageWriter { storage, queue: to_writer, durability, shards: senders, member: member_sender, metrics };
        let thread = std::thread::spawn(move || writer.run());
        Running { queue, shards, member, metrics: counted, thread, _folder: folder }
    }

    fn push(&self, writes: &[(OpId, Write)]) {
        let mut refused = Vec::new();
        self.queue.push(&mut writes.to_vec(), &mut refused);
        assert!(refused.is_empty());
    }

    fn answer(&mut self, shard: usize) -> Stored {
        match self.shards[shard].blocking_recv() {
            Some(ShardInput::Stored(stored)) => stored,
            _ => panic!("the writer only sends answers"),
        }
    }

    fn finish(mut self) {
        self.queue.close();
        self.thread.join().unwrap();
        for shard in &mut self.shards {
            assert!(shard.try_recv().is_err(), "every answer was expected");
        }
    }
}

#[test]
fn a_group_is_answered_once_for_each_shard_and_failures_one_by_one() {
    let mut running = Running::start(Durability::Group(Duration::ZERO));
    let unknown = write(TableId(99));
    running.push(&[(op(0, 1), write(TABLE)), (op(0, 2), unknown), (op(0, 3), write(TABLE))]);
    assert!(matches!(running.answer(0), Stored::Failed { op: failed, .. } if failed == op(0, 2)));
    assert_eq!(running.answer(0), Stored::Synced { up_to: op(0, 3) });
    running.push(&[(op(1, 1), write(TABLE))]);
    assert_eq!(running.answer(1), Stored::Synced { up_to: op(1, 1) });
    running.queue.push_member(7, LocalWrite::default());
    assert!(matches!(running.member.blocking_recv(), Some(MemberInput::Stored { op: 7, result: Ok(()) })));
    running.finish();
}

#[test]
fn a_group_waits_for_more_only_if_it_has_a_window() {
    for (durability, groups) in [(Durability::Group(Duration::from_secs(1)), 1), (Durability::Batch, 2)] {
        let mut running = Running::start(durability);
        running.push(&[(op(0, 1), write(TABLE))]);
        if durability == Durability::Batch {
            assert_eq!(running.answer(0), Stored::Synced { up_to: op(0, 1) });
        }
        running.push(&[(op(0, 2), write(TABLE))]);
        assert_eq!(running.answer(0), Stored::Synced { up_to: op(0, 2) });
        assert_eq!(running.metrics.storage_groups.sum(), groups, "{durability:?}");
        running.finish();
    }
}

#[test]
fn a_periodic_writer_answers_applied_and_later_synced() {
    let mut running = Running::start(Durability::Periodic(Duration::from_millis(10)));
    running.push(&[(op(0, 1), write(TABLE))]);
    assert_eq!(running.answer(0), Stored::Applied { up_to: op(0, 1) });
    assert_eq!(running.answer(0), Stored::Synced { up_to: op(0, 1) });
    running.finish();
}

#[test]
fn a_nodes_own_records_are_synced_whatever_the_mode_and_take_the_rest_along() {
    let mut running = Running::start(Durability::Periodic(Duration::from_secs(3_600)));
    running.push(&[(op(1, 1), write(TABLE))]);
    assert_eq!(running.answer(1), Stored::Applied { up_to: op(1, 1) });
    running.push(&[(op(0, 1), Write::Local(LocalWrite::default()))]);
    assert_eq!(running.answer(0), Stored::Synced { up_to: op(0, 1) });
    assert_eq!(running.answer(1), Stored::Synced { up_to: op(1, 1) });
    running.finish();
}

#[test]
fn what_does_not_fit_is_refused_but_for_a_nodes_own_records() {
    let queue = WriteQueue::default();
    let mut refused = Vec::new();
    let mut writes: Vec<_> = (0..WAITING_WRITES_MAX as u64 + 5).map(|number| (op(0, number), write(TABLE))).collect();
    queue.push(&mut writes, &mut refused);
    assert_eq!(refused.len(), 5);
    assert!(writes.is_empty());
    refused.clear();
    queue.push(&mut vec![(op(0, u64::from(u32::MAX)), Write::Local(LocalWrite::default()))], &mut refused);
    assert!(refused.is_empty());
    let mut group = Group::default();
    queue.close();
    assert!(queue.take(&mut group, None, Duration::ZERO), "what waits is written before the end");
    assert_eq!(group.writes.len(), WAITING_WRITES_MAX + 1);
    assert!(!queue.take(&mut Group::default(), None, Duration::ZERO));
}
