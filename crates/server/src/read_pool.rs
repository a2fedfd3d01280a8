//! A few threads for reads that memory does not answer: a shard's loop must not wait for a disk.
//!
//! Invariants:
//! * Every job that is taken is answered, to the inbox of the shard that gave it.
//! * A read for a client is refused when it would wait for too long, and not begun when nobody waits for it any more.

use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::shard_loop::ShardInput;
use bytes::Bytes;
use crossbeam::channel::{Receiver, Sender, bounded};
use model::{CompareCommand, IndexCommand, Instant, NodeId, ReadCommand, ScanCommand};
use node::io::{OpId, Stored};
use node::storage::{HintPosition, Storage, StorageError};
use node::{QueueLimit, ServiceTime};
use parking_lot::Mutex;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::mpsc;

/// Jobs that may wait before more are refused.
const JOBS_MAX: usize = 4_096;
/// Jobs for each thread that may always wait, however long each takes.
const ALWAYS_PER_THREAD: u64 = 16;

/// For how long reads for clients wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReadLimits {
    /// At most, when they are taken.
    pub(crate) wait_max: Duration,
    /// After this nobody waits for the answer.
    pub(crate) timeout: Duration,
}

/// Something to read for a shard.
pub(crate) enum ReadJob {
    /// A partition.
    Partition {
        /// Whose inbox gets the answer.
        shard: u16,
        /// Given back.
        op: OpId,
        /// What to read.
        command: Arc<ReadCommand>,
        /// True to answer with the digest only.
        digest: bool,
    },
    /// A page of the partitions in a range of tokens.
    Scan {
        /// Whose inbox gets the answer.
        shard: u16,
        /// Given back.
        op: OpId,
        /// What to read.
        command: Arc<ScanCommand>,
    },
    /// The rows that may have a value, by an index.
    LookUp {
        /// Whose inbox gets the answer.
        shard: u16,
        /// Given back.
        op: OpId,
        /// What to look up.
        command: Arc<IndexCommand>,
    },
    /// A page of a comparison for a repair.
    Compare {
        /// Whose inbox gets the answer.
        shard: u16,
        /// Given back.
        op: OpId,
        /// What to compare.
        command: Arc<CompareCommand>,
    },
    /// One of the node's own records.
    Local {
        /// Whose inbox gets the answer.
        shard: u16,
        /// Given back.
        op: OpId,
        /// Its key.
        key: Bytes,
    },
    /// Hints.
    Hints {
        /// Whose inbox gets the answer.
        shard: u16,
        /// Given back.
        op: OpId,
        /// The node that they are for.
        target: NodeId,
        /// Only what comes after.
        after: Option<HintPosition>,
        /// Stop after the hint that reaches this many bytes.
        bytes_limit: u32,
    },
}

impl ReadJob {
    /// The operation that is answered.
    pub(crate) fn op(&self) -> OpId {
        match self {
            ReadJob::Partition { op, .. }
            | ReadJob::Scan { op, .. }
            | ReadJob::LookUp { op, .. }
            | ReadJob::Compare { op, .. }
            | ReadJob::Local { op, .. }
            | ReadJob::Hints { op, .. } => *op,
        }
    }

    fn shard(&self) -> u16 {
        match self {
            ReadJob::Partition { shard, .. }
            | ReadJob::Scan { shard, .. }
            | ReadJob::LookUp { shard, .. }
            | ReadJob::Compare { shard, .. }
            | ReadJob::Local { shard, .. }
            | ReadJob::Hints { shard, .. } => *shard,
        }
    }

    /// True for what a client waits for. The node's own reads are few, and wait for each other.
    fn is_for_client(&self) -> bool {
        matches!(self, ReadJob::Partition { .. } | ReadJob::Scan { .. } | ReadJob::LookUp { .. })
    }
}

/// A job, and when it was given.
type Waiting = (Instant, ReadJob);

/// The threads, and the queue before them. They end when the pool is dropped.
pub(crate) struct ReadPool {
    jobs: Sender<Waiting>,
    clock: Clock,
    limit: QueueLimit,
    limits: ReadLimits,
    /// How long the queue takes for one, lately.
    service: Arc<Mutex<ServiceTime>>,
}

/// What a thread works with.
struct Reader<S> {
    storage: Arc<S>,
    shards: Vec<mpsc::Sender<ShardInput>>,
    queue: Receiver<Waiting>,
    metrics: Arc<Metrics>,
    clock: Clock,
    timeout: Duration,
    threads: u32,
    service: Arc<Mutex<ServiceTime>>,
}

impl ReadPool {
    /// Starts `threads` threads; the handles end once the pool is dropped.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub(crate) fn start<S: Storage + 'static>(
        threads: usize,
        limits: ReadLimits,
        storage: &Arc<S>,
        shards: &[mpsc::Sender<ShardInput>],
        metrics: &Arc<Metrics>,
    ) -> std::io::Result<(ReadPool, Vec<JoinHandle<()>>)> {
        let (jobs, queue) = bounded(JOBS_MAX);
        let (clock, service) = (Clock::new(), Arc::new(Mutex::new(ServiceTime::default())));
        let mut handles = Vec::with_capacity(threads);
        for index in 0..threads {
            let reader = Reader {
                storage: storage.clone(),
                shards: shards.to_vec(),
                queue: queue.clone(),
                metrics: metrics.clone(),
                clock,
                timeout: limits.timeout,
                threads: threads as u32,
                service: service.clone(),
            };
            let thread = std::thread::Builder::new().name(format!("read-{index}"));
            handles.push(thread.spawn(move || reader.run())?);
        }
        let limit = QueueLimit { wait_max: limits.wait_max, always: ALWAYS_PER_THREAD * threads as u64 };
        Ok((ReadPool { jobs, clock, limit, limits, service }, handles))
    }

    /// Gives a job to the threads; false when too many wait.
    pub(crate) fn submit(&self, job: ReadJob) -> bool {
        let waiting = self.jobs.len() as u64;
        let has_room = || self.limit.has_room(waiting, *self.service.lock(), self.limits.timeout);
        if job.is_for_client() && !has_room() {
            return false;
        }
        self.jobs.try_send((self.clock.monotonic(), job)).is_ok()
    }
}

impl<S: Storage> Reader<S> {
    fn run(self) {
        for (given_at, job) in &self.queue {
            let (begun_at, shard) = (self.clock.monotonic(), job.shard());
            let stored = if job.is_for_client() && begun_at - given_at >= self.timeout {
                self.metrics.storage_overloaded.add(1);
                Stored::Failed { op: job.op(), error: StorageError::Overloaded }
            } else {
                let stored = read(&*self.storage, job, &self.metrics);
                // While all threads are busy the queue moves on each time that one of them is done.
                self.service.lock().note((self.clock.monotonic() - begun_at) / self.threads, 1);
                stored
            };
            // A loop that is gone has nobody left to tell.
            let _ = self.shards[usize::from(shard)].blocking_send(ShardInput::Stored(stored));
        }
    }
}

fn read(storage: &dyn Storage, job: ReadJob, metrics: &Metrics) -> Stored {
    let op = job.op();
    let read = match job {
        ReadJob::Partition { command, digest, .. } => {
            metrics.reads_from_disk.add(1);
            if digest {
                storage.digest(&command).map(|read| Stored::Digest { op, digest: read.digest })
            } else {
                storage.read(&command).map(|data| Stored::Read { op, data })
            }
        }
        ReadJob::Scan { command, .. } => {
            metrics.scans.add(1);
            storage.scan(&command).map(|data| Stored::Scanned { op, data })
        }
        ReadJob::LookUp { command, .. } => storage.look_up(&command).map(|data| Stored::LookedUp { op, data }),
        ReadJob::Compare { command, .. } => {
            metrics.comparisons.add(1);
            storage.compare(&command).map(|page| Stored::Compared { op, page })
        }
        ReadJob::Local { key, .. } => storage.local(&key).map(|value| Stored::LocalRead { op, value }),
        ReadJob::Hints { target, after, bytes_limit, .. } => {
            storage.hints(target, after, bytes_limit).map(|hints| Stored::Hints { op, hints })
        }
    };
    read.unwrap_or_else(|error| Stored::Failed { op, error })
}
