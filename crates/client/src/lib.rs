//! The driver: executes CQL on a Helenus cluster over gRPC.
//!
//! ```no_run
#![doc = include_str!("../examples/quickstart.rs")]
//! ```
//!
//! A [`Session`] is shared by all tasks of a program. It keeps one connection to each node, on which thousands of
//! requests are under way at once; sends a prepared statement straight to a node that holds its partition; and
//! follows the cluster as nodes come and go.
//!
//! What a failed call means: [`ClientError::applied`] says whether a write can have been applied. The session repeats
//! a call by itself only where that cannot do harm:
//!
//! | failure | repeated on another node |
//! |---|---|
//! | no connection; nothing was sent | always |
//! | unavailable, not serving, overloaded: nothing was done | always (once when overloaded) |
//! | connection lost, timeout, replica failure, server error | reads, and writes that are idempotent |
//! | statement not valid, schema change undecided | never |
//!
//! A write is idempotent if it has a timestamp and neither condition, function, arithmetic nor list position: then the
//! second execution writes the same cells again. The session gives such writes a timestamp of its own, so that most
//! writes are; [`Statement::idempotent`] overrides its judgement. Any write is idempotent with a retry token
//! ([`Statement::retry_token`], [`SessionBuilder::retry_tokens`]): the cluster then executes it once. A statement that
//! a node has forgotten is prepared there again without notice.
//!
//! Invariants:
//! * What may have been executed and is not idempotent is never sent again.
//! * Of the errors of several attempts the caller sees the one that leaves the most open.
//! * Requests under way are bounded on each connection; beyond that, callers wait.
//! * Timestamps of one session ascend strictly.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a driver reads clocks and opens connections: it is outside the deterministic core"
)]

pub mod admin;
mod attempts;
mod classify;
mod cluster;
mod connection;
mod error;
mod node;
mod pager;
mod retry;
mod row;
mod security;
mod session;
mod statement;
mod timestamp;
mod topology;
mod value;

/// The generated gRPC clients.
mod proto {
    #![allow(missing_docs, unreachable_pub, dead_code, clippy::all, reason = "generated")]
    tonic::include_proto!("helenus.client.v1");
}

/// The generated gRPC servers, for the fake nodes of tests.
#[cfg(test)]
mod servers {
    #![allow(missing_docs, unreachable_pub, dead_code, clippy::all, reason = "generated")]
    include!(concat!(env!("OUT_DIR"), "/servers/helenus.client.v1.rs"));
}

#[cfg(test)]
mod fake;
#[cfg(test)]
mod session_tests;

pub use admin::Admin;
pub use error::ClientError;
pub use model::error::Applied;
pub use model::{Consistency, CqlType, NodeId, RequestError, RetryToken, Token, Value, WallMicros};
pub use pager::{Pager, RowStream};
pub use row::{ColumnSpec, Columns, Outcome, QueryResult, Row, SchemaChange, SchemaEffect};
pub use security::Security;
pub use session::{DEFAULT_PORT, Session, SessionBuilder};
pub use statement::{PreparedStatement, Statement};
pub use topology::{ColumnInfo, KeyspaceInfo, NodeInfo, TableInfo, Topology};
pub use value::{FromValue, ToValue, ToValues, Unset, Written};
