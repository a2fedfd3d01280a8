//! The data plane of a node: coordinator and replica, as one state machine for each shard.
//!
//! Invariants:
//! * [`Shard::step`] and [`Shard::deadline`] are the whole surface between logic and world: no clock, socket,
//!   disk, thread or unseeded randomness. The same inputs give the same effects.
//! * Every client request is answered exactly once, at the latest when its timeout has passed and the shard is
//!   woken.
//! * The network may lose, double, delay and reorder messages. No message, from whomever, makes a shard panic.
//! * Everything that a shard keeps is bounded by its configuration.
//! * The shard of a partition is [`Shard::shard_of`] its token, for client requests as for messages.
//!
//! Apart from the shards, [`queue`] says when a queue before them takes no more, [`garbage`] what a node sweeps for
//! garbage, and when, and [`virtual_tables`] what is in the tables that it answers by itself.
//!
//! The protocols are described, with numbered invariants, in `docs/protocol/write.md`, `read.md`, `paxos.md`,
//! `counters.md`, `batches.md`, `retry-tokens.md`, `hints.md`, `repair.md` and `storage.md`.

pub mod batch;
pub mod config;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod coordinator;
pub mod garbage;
mod hints;
pub mod io;
pub mod queue;
pub mod register;
pub mod repair;
mod replica;
pub mod retry;
mod shard;
pub mod storage;
#[cfg(test)]
mod test_cluster;
mod timers;
pub mod timestamp;
mod token_map;
pub mod virtual_tables;

pub use batch::LoggedBatch;
pub use config::{Durability, HintPolicy, RepairPolicy, ShardConfig};
pub use garbage::{GarbageSchedule, TableLoad};
pub use io::{
    Effect, Envelope, Input, Message, OpId, Refusal, Request, RequestId, Response, StorageRequest, Stored, WritePurpose,
};
pub use queue::{QueueLimit, ServiceTime};
pub use register::{Commit, PaxosAnswer, PaxosRequest, PaxosStep, Promised, Proposal};
pub use repair::{RepairControl, RepairId, RepairOrder, RepairReport, RepairState, RepairsStatus};
pub use shard::{Shard, ShardStatus};
pub use storage::{
    GarbageReport, GarbageSweep, Hint, HintPosition, IndexBuild, RangeEstimate, Storage, StorageError, Write,
};
pub use timestamp::Recovered;
