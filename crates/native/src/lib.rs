//! The CQL native protocol, versions 4 and 5: encode and decode, pure.
//!
//! ```text
//! bytes --Inbound--> Envelope --Request::decode--> Request        (what a server reads)
//! bytes <-Outbound-- Envelope <-Response::encode-- Response       (what it writes)
//! ```
//! An *envelope* is a header of 9 bytes and a body that holds one message; version 4 calls it a frame. Version
//! 5 carries envelopes in *segments* with checksums from the answer to STARTUP on.
//!
//! Invariants:
//! * No length from the wire is trusted before it is checked against the bytes that are left, and none makes
//!   memory grow before the bytes that it announces have arrived: what is held is in proportion to what came.
//! * No input makes anything here panic.
//! * What is encoded decodes to itself, in both directions: a client can be written with this crate.
//! * What cannot be written in the protocol's field (a string beyond 65,535 bytes) is an [`EncodeError`], and
//!   leaves nothing half written. Only texts for people are cut.
//!
//! Rules that no comment here explains are those of `native_protocol_v4.spec` and `native_protocol_v5.spec` of
//! Apache Cassandra.
//!
//! Map: [`version`] negotiation, `wire` the notations, [`envelope`] headers, [`segment`] the framing of version 5,
//! `checksum` and [`compression`] under it, [`inbound`] and [`outbound`] the two directions of a connection,
//! [`request`] with [`parameters`], [`response`] with [`rows`], [`failure`] and [`event`] the messages,
//! `column_type` and `class_name` how types are written.

mod checksum;
mod class_name;
mod column_type;
pub mod compression;
pub mod envelope;
mod error;
pub mod event;
pub mod failure;
pub mod inbound;
pub mod outbound;
pub mod parameters;
pub mod request;
pub mod response;
pub mod rows;
pub mod segment;
pub mod version;
mod wire;

pub use compression::Compression;
pub use envelope::{Envelope, Flags, Header, Opcode};
pub use error::{EncodeError, Fault, ProtocolError};
pub use event::{Event, EventType, SchemaChange, SchemaTarget};
pub use failure::{ErrorResponse, Failure, WriteType};
pub use inbound::Inbound;
pub use outbound::Outbound;
pub use parameters::{BoundValue, QueryParameters, Values};
pub use request::{
    Batch, BatchKind, BatchStatement, Execute, Message, Prepare, Query, Request, Startup, StatementText,
};
pub use response::{Answer, QueryResult, Response};
pub use rows::{ColumnSpec, Prepared, Rows, RowsMetadata};
pub use version::Version;

/// Longest body of an envelope that the protocol allows, in bytes.
pub const FRAME_BYTES_MAX: usize = 256 * 1024 * 1024;

#[cfg(test)]
mod mutation_tests;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod vector_tests;
