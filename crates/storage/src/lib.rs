//! [`node::storage::Storage`] on RocksDB: the only crate that knows RocksDB.
//!
//! A data directory belongs to one node and holds
//! ```text
//! IDENTITY              the node, its cluster, the version of the format        (identity)
//! LOCK                  held while a process has the directory open
//! WATERMARK             how far log and manifest are known to be synced          (watermark)
//! TABLES                the definitions of the tables that have column families (definitions)
//! rocksdb/              one RocksDB: a column family for each table, one for the node's own records
//! hints/<node>/         segment files of writes that a node missed              (hints)
//! snapshots/<name>/     what the store held at a moment, by hard links          (snapshot)
//! ingest/               table files on their way into RocksDB                    (ingest)
//! LOSS_ACCEPTED         while a start that accepts a loss of data goes on          (store)
//! log-before-recovery/  the log as it was found, while the store is opened
//! damaged-log/          the same, for good, when less was found in it than was synced
//! ```
//!
//! Invariants:
//! * User data is written as merge records; the merge is [`model::mutation`]'s rule, the same in memtable,
//!   flush, compaction and read. Only the one writer replaces a key's value, by the merge of all that was
//!   written to it.
//! * What was acknowledged as synced is there after opening, or opening fails: RocksDB alone opens silently
//!   with a truncated or damaged log, or a truncated manifest.
//! * All writes go through one lock, so that the sequence number after a synced write is the one that is
//!   synced.
//! * After a failed sync nothing is written any more: nobody knows what the disk holds. Nor after a failed
//!   write, but for lack of space, which RocksDB recovers from by itself.
//! * Only a sweep removes a deletion, and only once what it shadows is gone.
//! * A mutation is checked before it is written: a merge that fails would fail compaction for ever.
//!
//! Map: `store` opening; `status` its figures; `tables` their column families, `definitions` what is known of them;
//! `snapshot`; `commit` the write path, `hot` its hot keys, `pressure` when it refuses; `read` the read path of
//! partitions, `scan` of ranges of them, `index` of rows by a value; `ingest` records in bulk; `large` what is
//! larger than it should be, `estimate` how much there is about; `layout` keys; `merge` the operator; `garbage` the
//! sweeps that purge; `options` RocksDB's settings, with reasons; `hints`; `watermark`, and `manifest` for it;
//! `identity`; `replay` the progress of recovery; `failure` errors; `memory` the allocator; `log_check` which of
//! several logs is damaged; [`inspect`] looking into a directory, and verifying it, without a node; [`compare`] the
//! same work on a bare RocksDB, for benchmarks; [`decoders`] for fuzz targets.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "this crate is the boundary to the disk: files, clocks for waiting, a thread of its own"
)]

mod commit;
pub mod compare;
pub mod decoders;
mod definitions;
mod estimate;
mod failure;
mod garbage;
mod hints;
mod hot;
mod identity;
mod index;
mod ingest;
pub mod inspect;
mod large;
mod layout;
mod log_check;
mod manifest;
mod memory;
mod merge;
mod options;
mod pressure;
mod ranges;
mod read;
mod replay;
mod scan;
mod snapshot;
mod status;
mod store;
mod tables;
mod watermark;

pub use identity::Identity;
pub use large::{Large, LargeKind};
pub use memory::return_freed_memory;
pub use node::storage::StorageError;
pub use options::{Durability, StoreOptions};
pub use pressure::Pressure;
pub use snapshot::SnapshotStatus;
pub use status::{GarbageStatus, LevelStatus, StoreStatus, TableStatus};
pub use store::Store;

#[cfg(test)]
mod index_tests;
#[cfg(test)]
mod range_tests;
#[cfg(test)]
mod resurrection_tests;
#[cfg(test)]
mod tests;
