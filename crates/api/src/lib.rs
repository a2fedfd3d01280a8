//! The client gRPC messages, and their conversion to and from the model.
//!
//! Invariants:
//! * What comes from the wire is checked where it is converted: a conversion never panics, and refuses with
//!   [`InvalidMessage`] what it does not know, naming the field.
//! * Every outcome of a request goes over the wire and comes back unchanged ([`error`]).
//! * Values stay bytes: a row is sliced into its cells ([`rows`]), not copied.
//!
//! This crate knows messages, not transport. A crate that needs the services generates them in its `build.rs`
//! with these messages as types:
//!
//! ```text
//! let descriptors = protox::compile(["client/v1/client.proto", "client/v1/admin.proto"], ["../../proto"])?;
//! tonic_prost_build::configure()
//!     .extern_path(".helenus.client.v1", "::api::proto::client::v1")
//!     .compile_fds(descriptors)?;
//! ```
//!
//! and includes them with `tonic::include_proto!("helenus.client.v1")`, which then holds the modules
//! `helenus_client`, `helenus_server`, `admin_client` and `admin_server` and no message.

pub mod convert;
pub mod error;
pub mod rows;

/// The messages as generated from the files in `proto`, which document them.
pub mod proto {
    /// Of the client API.
    pub mod client {
        /// Version 1.
        #[allow(
            missing_docs,
            clippy::all,
            clippy::disallowed_types,
            reason = "generated; the protocol files document it"
        )]
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/helenus.client.v1.rs"));
        }
    }
}

/// The protocol files as an encoded `google.protobuf.FileDescriptorSet`, for the reflection service.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/client.v1.descriptors.bin"));

/// A message that is well-formed protobuf but not what the protocol allows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the message is not valid: {field} {problem}")]
pub struct InvalidMessage {
    /// The field, as the protocol file names it.
    pub field: &'static str,
    /// What is wrong with it: completes a sentence.
    pub problem: String,
}

impl InvalidMessage {
    /// That `field` has a problem.
    pub fn new(field: &'static str, problem: impl Into<String>) -> InvalidMessage {
        InvalidMessage { field, problem: problem.into() }
    }

    /// That `field` is required and absent.
    #[must_use]
    pub fn missing(field: &'static str) -> InvalidMessage {
        InvalidMessage::new(field, "is missing")
    }
}

impl From<InvalidMessage> for model::RequestError {
    fn from(error: InvalidMessage) -> model::RequestError {
        model::RequestError::Invalid(error.to_string())
    }
}
