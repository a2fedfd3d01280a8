//! The one trait between the logic and a disk. `storage` implements it on RocksDB, `sim` on a simulated
//! disk that loses what was not synced; both pass `conformance`.
//!
//! The trait is what a driver calls to execute [`crate::io::StorageRequest`]s; to the shard storage is
//! asynchronous: requests go out as effects, answers come in as inputs.
//!
//! Contract:
//! * [`Storage::commit`] applies a group of writes in order. Each write is atomic. When it returns with
//!   `sync`, all of them survive power loss; without, they survive the death of the process.
//! * A write is visible to a read that starts after `commit` returned. With `sync`, nothing of the group is
//!   visible before its log is synced.
//! * After a crash, what is recovered is a prefix of what was committed, in the order of commits, that
//!   includes everything synced. Recovery that finds less than was synced fails with
//!   [`StorageError::Corrupt`] instead of serving.
//! * Nothing is purged but by [`Storage::collect_garbage`], whose contract is below.
//! * [`StorageError::Full`] for a whole group: nothing of it is applied, reads go on, and later commits
//!   succeed once space has returned.
//! * A failed sync poisons the store: it and every later write fail with [`StorageError::SyncFailed`], since
//!   nobody knows what the disk holds. A failed write that is not a lack of space closes the store too
//!   ([`StorageError::Closed`]), but what was synced is known: reads go on.

use crate::io::Stored;
use bytes::Bytes;
use model::answer::AnswerError;
use model::codec::CodecError;
use model::digest::ReadDigest;
use model::garbage::Purge;
use model::local::LocalWrite;
use model::scan::{ExportCommand, ExportData, PartitionRecord};
use model::schema::Table;
use model::{
    CompareCommand, Compared, IndexCommand, IndexData, IndexTarget, Mutation, NodeId, PartitionKey, ReadCommand,
    ReadData, ScanCommand, ScanData, TableId, Token, TokenRange,
};
use std::ops::RangeInclusive;
use std::sync::Arc;
use thiserror::Error;

/// The place of a hint in the sequence of a target's hints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HintPosition(pub u64);

/// A write that is kept for a node that missed it.
#[derive(Clone, Debug, PartialEq)]
pub struct Hint {
    /// When it was kept, by this node's wall clock, in seconds since 1970: after the grace of its table it must not be
    /// delivered any more.
    pub written_seconds: u32,
    /// What was left of that grace when it was kept: deletions may be purged by it, however long the grace is now.
    pub grace_seconds: u32,
    /// The write.
    pub mutation: Arc<Mutation>,
}

/// Why storage did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum StorageError {
    /// The operating system refused.
    #[error("input or output failed: {0}")]
    Io(String),
    /// What is stored is damaged, or less than what was synced.
    #[error("stored data is damaged: {0}")]
    Corrupt(String),
    /// No space is left; reads go on.
    #[error("the disk is full: {0}")]
    Full(String),
    /// A sync failed, now or earlier: nobody knows what the disk holds, and nothing is written any more.
    #[error("the disk failed to sync: {0}")]
    SyncFailed(String),
    /// An earlier failure closed the store for writing.
    #[error("storage is closed after an earlier failure: {0}")]
    Closed(String),
    /// The request cannot be executed: it is not valid.
    #[error("the request is not valid: {0}")]
    Invalid(String),
    /// A hint that waits for the same target is as old as hints are kept: no more are taken for it until that one is
    /// delivered.
    #[error("hints wait for the node for longer than they are kept")]
    WindowOver,
    /// Too many requests wait.
    #[error("storage is overloaded")]
    Overloaded,
    /// A read met more tombstones than its command allows.
    #[error("partition 0x{partition:x} of table {table} has too many tombstones: {tombstones} beside {rows} live rows")]
    TooManyTombstones {
        /// The table.
        table: TableId,
        /// The key of the partition in which the one too many was.
        partition: Bytes,
        /// Live rows of it that were read.
        rows: u32,
        /// Tombstones of it that were read.
        tombstones: u32,
    },
}

impl StorageError {
    /// Why a read of `partition` has no answer: the same words for every implementation.
    #[must_use]
    pub fn of_answer(table: TableId, partition: &PartitionKey, error: AnswerError) -> StorageError {
        match error {
            AnswerError::Damaged(error) => StorageError::of_damage(error),
            AnswerError::TooManyTombstones { rows, tombstones } => {
                StorageError::TooManyTombstones { table, partition: partition.bytes.clone(), rows, tombstones }
            }
        }
    }

    /// A stored value is not what it must be.
    #[must_use]
    pub fn of_damage(error: CodecError) -> StorageError {
        StorageError::Corrupt(format!("a stored value cannot be decoded: {error}"))
    }
}

impl From<CodecError> for StorageError {
    fn from(error: CodecError) -> StorageError {
        StorageError::of_damage(error)
    }
}

/// One write of a group.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// Merge a mutation.
    Apply(Arc<Mutation>),
    /// Change the node's own records.
    Local(LocalWrite),
    /// Append to a target's hints.
    Hint {
        /// The node that missed the write.
        target: NodeId,
        /// The write, and when it was kept.
        hint: Hint,
        /// Refused as [`StorageError::WindowOver`] when a hint that waits for the target was kept before this second.
        oldest_seconds: u32,
    },
    /// Forget a target's hints up to and including a position.
    HintsDelivered {
        /// The node that has them now.
        target: NodeId,
        /// The last one delivered.
        through: HintPosition,
    },
    /// Forget what is stored of a table in ranges of tokens, Paxos registers included.
    DropRanges {
        /// The table.
        table: TableId,
        /// Within each of which nothing is left.
        ranges: Vec<TokenRange>,
    },
}

/// A sweep of a part of a table for garbage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GarbageSweep {
    /// The table.
    pub table: TableId,
    /// The tokens of the partitions to sweep. No key has the token [`Token::MINIMUM`].
    pub tokens: RangeInclusive<Token>,
    /// What is garbage. Its clock is the node's at the start of the sweep, or behind it.
    pub purge: Purge,
}

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GarbageReport {
    /// Rows looked at; a row may be met at several levels of the store.
    pub rows_examined: u64,
    /// Rows that lost something and are still there.
    pub rows_reduced: u64,
    /// Rows of which nothing was left.
    pub rows_removed: u64,
    /// Partitions whose deletions became fewer.
    pub deletions_removed: u64,
    /// Bytes of the files that were rewritten, estimated before.
    pub bytes: u64,
}

/// How far the building of an index is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexBuild {
    /// The table.
    pub table: TableId,
    /// The index.
    pub target: IndexTarget,
    /// The token up to which there are entries for what had been written before the index was made; `None` when the
    /// index is built.
    pub built_to: Option<Token>,
}

/// How much of a table is in a range of tokens on this node, about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RangeEstimate {
    /// Partitions.
    pub partitions: u64,
    /// Bytes of one of them, on average.
    pub partition_bytes: u64,
}

/// A node's store.
pub trait Storage: Send + Sync {
    /// Applies `group` in order; see the contract above. One result for each write: a write that is not
    /// valid fails alone.
    ///
    /// # Errors
    /// When the log cannot be written or synced: no write of the group may be acknowledged.
    fn commit(&self, group: &[Write], sync: bool) -> Result<Vec<Result<(), StorageError>>, StorageError>;

    /// Makes everything committed so far survive power loss (for commits without `sync`).
    ///
    /// # Errors
    /// When it cannot; the store is then closed for writing.
    fn sync(&self) -> Result<(), StorageError>;

    /// Reads one partition at one consistent view.
    ///
    /// # Errors
    /// When stored data is damaged or cannot be read, and at the command's limit of tombstones.
    fn read(&self, command: &ReadCommand) -> Result<ReadData, StorageError>;

    /// The digest of what [`Storage::read`] answers, without making that answer.
    ///
    /// # Errors
    /// As [`Storage::read`].
    fn digest(&self, command: &ReadCommand) -> Result<ReadDigest, StorageError>;

    /// Reads several partitions, each at a consistent view of its own; one result for each command.
    fn read_many(&self, commands: &[ReadCommand]) -> Vec<Result<ReadData, StorageError>>;

    /// Reads a page of the partitions in a range of tokens, at one consistent view.
    ///
    /// # Errors
    /// As [`Storage::read`].
    fn scan(&self, command: &ScanCommand) -> Result<ScanData, StorageError>;

    /// A page of a comparison of what is stored of a range of tokens. Made of several scans, each at a consistent view
    /// of its own.
    ///
    /// # Errors
    /// As [`Storage::scan`].
    fn compare(&self, command: &CompareCommand) -> Result<Compared, StorageError> {
        command.validate().map_err(|error| StorageError::Invalid(error.to_string()))?;
        model::compare::compare(command, |scan| self.scan(scan))
    }

    /// Looks a value up in an index of a table: a page of the rows that may have it.
    ///
    /// * Every row of the range, up to where the answer ends, that has the value for a reader at the command's clock
    ///   is in the answer; of an index of a partition key column every partition that has a live row.
    /// * What was committed before the call is taken into account. So it is when the table has no such index, or it
    ///   is not built yet: the rows themselves are scanned then.
    /// * No other row is in the answer but one that has been written meanwhile, and of an index of a partition key
    ///   column partitions in which nothing is live.
    ///
    /// # Errors
    /// `Invalid` when the command is not valid, or the table is not listed or lacks the column; else as
    /// [`Storage::read`].
    fn look_up(&self, command: &IndexCommand) -> Result<IndexData, StorageError>;

    /// Builds a part of an index that is not built: those of tables as [`Storage::set_tables`] lists them. Takes no
    /// longer than a page of a scan; writes and reads go on. What is built survives the process, and power loss no
    /// worse than what is written unsynced. `None` when there is nothing left to build.
    ///
    /// # Errors
    /// As [`Storage::scan`], and when entries cannot be written. It can be called again.
    fn build_index(&self) -> Result<Option<IndexBuild>, StorageError>;

    /// The indexes of the tables that are listed, with how far each is built.
    fn index_builds(&self) -> Vec<IndexBuild>;

    /// A page of the records of a range of tokens as they are stored, at one consistent view, for
    /// [`Storage::ingest`] on another node.
    ///
    /// # Errors
    /// When they cannot be read.
    fn export(&self, command: &ExportCommand) -> Result<ExportData, StorageError>;

    /// Merges records, whose keys ascend, into what is stored: as [`Storage::commit`] of them does, but in bulk
    /// and past the log. All become visible at once; when it returns they survive power loss, and so does
    /// everything that was committed before.
    ///
    /// # Errors
    /// `Invalid` when a record is not valid, keys do not ascend or the table is not listed; else when they
    /// cannot be written. Nothing of them is stored then.
    fn ingest(&self, table: TableId, records: &[PartitionRecord]) -> Result<(), StorageError>;

    /// The value of one of the node's own records.
    ///
    /// # Errors
    /// When it cannot be read.
    fn local(&self, key: &[u8]) -> Result<Option<Bytes>, StorageError>;

    /// The node's own records whose keys start with `prefix`, ascending.
    ///
    /// # Errors
    /// When they cannot be read.
    fn local_records(&self, prefix: &[u8]) -> Result<Vec<(Bytes, Bytes)>, StorageError>;

    /// Up to `bytes_limit` bytes of a target's hints after a position, in order; at least one if there is
    /// one.
    ///
    /// # Errors
    /// When they cannot be read. A damaged hint is skipped with a warning, never returned.
    fn hints(
        &self,
        target: NodeId,
        after: Option<HintPosition>,
        bytes_limit: u32,
    ) -> Result<Vec<(HintPosition, Hint)>, StorageError>;

    /// The nodes for which hints are kept, ascending.
    ///
    /// # Errors
    /// When they cannot be listed.
    fn hint_targets(&self) -> Result<Vec<NodeId>, StorageError>;

    /// Brings the set of tables in line with the schema: creates what is missing, drops what is not
    /// listed, data and Paxos registers included, and takes over changed options, columns and indexes. From when it
    /// returns every write has its entries in the indexes listed; what was written before is for
    /// [`Storage::build_index`]. Tables are told apart by their id; a truncated one has a new id, so it is a new and
    /// empty one here. A table must be listed before a mutation of it is committed; a mutation of a table that is not
    /// listed fails as [`StorageError::Invalid`].
    ///
    /// # Errors
    /// When it cannot. Calling it again with the same tables goes on where it failed.
    fn set_tables(&self, tables: &[Arc<Table>]) -> Result<(), StorageError>;

    /// Takes garbage out of the partitions of some tokens; may take minutes.
    ///
    /// * Everything committed before the call is taken into account, and all of it that deletions shadow stays
    ///   hidden: a deletion is removed only once nothing that it shadows is left.
    /// * Answers of later reads differ from those of earlier ones only by what is garbage, by the values of
    ///   cells that have expired, and by rows of which nothing is left then.
    /// * What is committed during or after the call is not lost, whatever its timestamps. If a deletion that was
    ///   removed would have shadowed it, it is visible: it was under way for longer than the grace.
    /// * A crash at any point leaves a state that meets all of this; the sweep may then be repeated. Repeating
    ///   changes nothing.
    ///
    /// # Errors
    /// `Invalid` when the table is not listed, `Full` while there is too little space to rewrite files, and when
    /// stored data is damaged or cannot be read or written.
    fn collect_garbage(&self, sweep: &GarbageSweep) -> Result<GarbageReport, StorageError>;
}

/// The answer of a driver to a write, by op: kept here so that both drivers map results alike.
#[must_use]
pub fn answer_to_write(op: crate::io::OpId, result: Result<(), StorageError>, synced: bool) -> Stored {
    match result {
        Ok(()) if synced => Stored::Synced { up_to: op },
        Ok(()) => Stored::Applied { up_to: op },
        Err(error) => Stored::Failed { op, error },
    }
}
