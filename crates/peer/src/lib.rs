//! The messages between nodes, and their conversion to and from what `node` and `membership` say.
//!
//! Invariants:
//! * A conversion from the wire never panics and never guesses: a field that is absent, unknown or of the wrong
//!   length is an [`InvalidMessage`], and the transport ends the stream on which it came.
//! * Mutations, reads and their data travel in the model's compact form and come out as slices of the frame that
//!   carried them, without a copy.
//! * Every message of `node` and of `membership` goes over the wire and comes back unchanged.
//! * No queue is here: [`Batch`] only bounds what goes into one frame.
//!
//! This crate knows messages, not transport. The crate that has the transport generates the service in its
//! `build.rs` with these messages as types:
//!
//! ```text
//! let descriptors = protox::compile(["peer/v1/peer.proto"], ["../../proto"])?;
//! tonic_prost_build::configure()
//!     .extern_path(".helenus.peer.v1", "::peer::proto::v1")
//!     .compile_fds(descriptors)?;
//! ```
//!
//! and includes it with `tonic::include_proto!("helenus.peer.v1")`, which then holds the modules `peer_client` and
//! `peer_server` and no message.
//!
//! A sender opens a stream for each [`Priority`], sends [`Hello`] in the first frame, checks the hello in the first
//! ack with [`Hello::check`], and then fills frames with what is waiting ([`Batch`]). A receiver checks the first
//! frame alike and turns each envelope of the later ones into a [`Payload`] with [`decode`].

mod envelope;
mod hello;

pub use envelope::{Batch, Payload, decode, decode_frame, encode_membership, encode_node, frame_bytes, priority};
pub use hello::{Hello, PROTOCOL_VERSION, Priority};

use model::codec::CodecError;

/// The messages as generated from the files in `proto`, which document them.
pub mod proto {
    /// Version 1.
    #[allow(missing_docs, clippy::all, reason = "generated; the protocol file documents it")]
    pub mod v1 {
        include!(concat!(env!("OUT_DIR"), "/helenus.peer.v1.rs"));
    }
}

/// A message that is well-formed protobuf but not what the protocol allows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMessage {
    /// A field without which the message means nothing is absent.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A field has a value that this version does not know.
    #[error("{field} is {number}, which is not known")]
    Unknown {
        /// As the protocol file names it.
        field: &'static str,
        /// Its value.
        number: i32,
    },
    /// A field has a value that it must not have.
    #[error("{field} {problem}")]
    Invalid {
        /// As the protocol file names it.
        field: &'static str,
        /// Completes a sentence.
        problem: &'static str,
    },
    /// A field in the model's compact form is not what it should be.
    #[error("{field} cannot be read: {source}")]
    Codec {
        /// As the protocol file names it.
        field: &'static str,
        /// Why.
        source: CodecError,
    },
}
