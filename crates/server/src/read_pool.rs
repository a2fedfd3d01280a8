//! A few threads for reads that memory does not answer: a shard's loop must not wait for a disk.
//!
//! Invariant: every job that is taken is answered, to the inbox of the shard that gave it.

use crate::metrics::Metrics;
use crate::shard_loop::ShardInput;
use bytes::Bytes;
use crossbeam::channel::{Receiver, Sender, bounded};
use model::{CompareCommand, IndexCommand, NodeId, ReadCommand, ScanCommand};
use node::io::{OpId, Stored};
use node::storage::{HintPosition, Storage};
use std::sync::Arc;
use std::thread::JoinHandle;
use tokio::sync::mpsc;

/// Jobs that may wait before more are refused.
const JOBS_MAX: usize = 4_096;

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
}

/// The threads, and the queue before them. They end when the pool is dropped.
pub(crate) struct ReadPool {
    jobs: Sender<ReadJob>,
}

impl ReadPool {
    /// Starts `threads` threads; the handles end once the pool is dropped.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub(crate) fn start<S: Storage + 'static>(
        threads: usize,
        storage: &Arc<S>,
        shards: &[mpsc::Sender<ShardInput>],
        metrics: &Arc<Metrics>,
    ) -> std::io::Result<(ReadPool, Vec<JoinHandle<()>>)> {
        let (jobs, queue) = bounded(JOBS_MAX);
        let mut handles = Vec::with_capacity(threads);
        for index in 0..threads {
            let (storage, shards, queue) = (storage.clone(), shards.to_vec(), queue.clone());
            let metrics = metrics.clone();
            let thread = std::thread::Builder::new().name(format!("read-{index}"));
            handles.push(thread.spawn(move || serve(&*storage, &shards, &queue, &metrics))?);
        }
        Ok((ReadPool { jobs }, handles))
    }

    /// Gives a job to the threads; false when too many wait.
    pub(crate) fn submit(&self, job: ReadJob) -> bool {
        self.jobs.try_send(job).is_ok()
    }
}

fn serve(storage: &dyn Storage, shards: &[mpsc::Sender<ShardInput>], queue: &Receiver<ReadJob>, metrics: &Metrics) {
    for job in queue {
        let (shard, stored) = match job {
            ReadJob::Partition { shard, op, command, digest } => {
                metrics.reads_from_disk.add(1);
                let stored = if digest {
                    storage.digest(&command).map(|read| Stored::Digest { op, digest: read.digest })
                } else {
                    storage.read(&command).map(|data| Stored::Read { op, data })
                };
                (shard, stored.unwrap_or_else(|error| Stored::Failed { op, error }))
            }
            ReadJob::Scan { shard, op, command } => {
                metrics.scans.add(1);
                let stored = storage.scan(&command).map(|data| Stored::Scanned { op, data });
                (shard, stored.unwrap_or_else(|error| Stored::Failed { op, error }))
            }
            ReadJob::LookUp { shard, op, command } => {
                let stored = storage.look_up(&command).map(|data| Stored::LookedUp { op, data });
                (shard, stored.unwrap_or_else(|error| Stored::Failed { op, error }))
            }
            ReadJob::Compare { shard, op, command } => {
                metrics.comparisons.add(1);
                let stored = storage.compare(&command).map(|page| Stored::Compared { op, page });
                (shard, stored.unwrap_or_else(|error| Stored::Failed { op, error }))
            }
            ReadJob::Local { shard, op, key } => {
                let stored = storage.local(&key).map(|value| Stored::LocalRead { op, value });
                (shard, stored.unwrap_or_else(|error| Stored::Failed { op, error }))
            }
            ReadJob::Hints { shard, op, target, after, bytes_limit } => {
                let stored = match storage.hints(target, after, bytes_limit) {
                    Ok(hints) => Stored::Hints { op, hints },
                    Err(error) => Stored::Failed { op, error },
                };
                (shard, stored)
            }
        };
        // A loop that is gone has nobody left to tell.
        let _ = shards[usize::from(shard)].blocking_send(ShardInput::Stored(stored));
    }
}
