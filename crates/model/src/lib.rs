//! The value world of Helenus: what a cell, a row, a key, a token, a schema and a mutation are, how
//! they are encoded, and how two versions of them are reconciled.
//!
//! Invariants:
//! * Pure: no clock, randomness, IO, thread, lock or unordered iteration. Time comes in as [`Now`],
//!   randomness as a seeded [`Rng`].
//! * Reconciliation ([`row::Row::merge`], [`deletion::PartitionDeletions::merge`]) is commutative,
//!   associative and idempotent, and every logical state has exactly one encoding, so replicas that
//!   have seen the same writes hold the same bytes.
//! * Key encodings order like the values that they encode, byte by byte.
//! * Nothing here allocates by a length that came from outside before checking it against the bytes
//!   that are left.
//!
//! Map: [`id`] names things, [`time`] clocks, [`time_uuid`] UUIDs of times, [`types`] and [`value`] CQL values and
//! their wire form, [`key`] and [`token`] placement and order, [`row`] cells and rows, [`complex`] columns of many
//! cells, [`element`] what those cells are of and [`counter`] those that count, [`deletion`] partition and range
//! deletions, [`mutation`] writes, [`read`] reads, [`answer`] what a replica answers to them, [`scan`] reads of many
//! partitions, [`index`] secondary indexes, [`garbage`] what may be purged, [`name`] how CQL writes names, [`schema`]
//! keyspaces and tables with their [`table_options`], [`consistency`] levels, [`error`] outcomes, [`retry_token`] names
//! of requests that may be tried again, [`codec`] the compact binary form, [`digest`], [`limits`], [`rng`], [`local`]
//! the node's own records, [`planted`] the rules that tests break.

pub mod answer;
pub mod codec;
pub mod compare;
pub mod complex;
pub mod consistency;
pub mod counter;
pub mod deletion;
pub mod digest;
pub mod element;
pub mod error;
pub mod garbage;
pub mod id;
pub mod index;
pub mod key;
pub mod limits;
pub mod local;
pub mod mutation;
pub mod name;
pub mod placement;
pub mod planted;
pub mod read;
pub mod retry_token;
pub mod rng;
pub mod row;
pub mod scan;
pub mod schema;
pub mod speculation;
pub mod table_options;
pub mod time;
pub mod time_uuid;
pub mod token;
pub mod types;
pub mod value;

pub use compare::{CompareCommand, Compared};
pub use complex::ComplexColumn;
pub use consistency::Consistency;
pub use error::RequestError;
pub use id::{ColumnId, Epoch, KeyspaceName, NodeId, TableId};
pub use index::{IndexCommand, IndexData, IndexTarget, IndexedRow};
pub use key::PartitionKey;
pub use mutation::{Mutation, Record, RecordKey};
pub use planted::Planted;
pub use read::{ReadCommand, ReadData};
pub use retry_token::RetryToken;
pub use rng::Rng;
pub use row::{Cell, CellState, Liveness, Row, RowView};
pub use scan::{ScanCommand, ScanData};
pub use time::{Instant, Now, WallMicros};
pub use token::{Token, TokenRange};
pub use types::CqlType;
pub use value::Value;
