//! What can be wrong with bytes from a peer, and with a message that is to be written.

use crate::version::Version;
use thiserror::Error;

/// Why bytes are not of the protocol.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ProtocolError {
    /// A message ends inside a field.
    #[error("the message ends too early")]
    Truncated,
    /// A field has a value that it cannot have; it names the field.
    #[error("the field '{0}' is not valid")]
    Invalid(&'static str),
    /// A version that this server does not speak. Clients look for these words and take the highest version from
    /// the list (gocql).
    #[error("Invalid or unsupported protocol version ({asked}); supported versions are ({})", Version::DESCRIBED)]
    UnsupportedVersion {
        /// The version asked for.
        asked: u8,
    },
    /// A version other than that of the messages before.
    #[error("Invalid message version. Got {found} but previous messages on this connection had version {expected}")]
    VersionChanged {
        /// Of this message.
        found: Version,
        /// Of the connection.
        expected: Version,
    },
    /// A message that is longer than allowed.
    #[error("Request is too big: length {length} exceeds maximum allowed length {limit}")]
    TooLarge {
        /// What its header announces, in bytes.
        length: u64,
        /// The longest allowed, in bytes.
        limit: usize,
    },
    /// A message of the other direction: an answer sent to a server.
    #[error("a message of the wrong direction: {0}")]
    Direction(&'static str),
    /// An operation code that does not exist.
    #[error("Unknown opcode {0}")]
    UnknownOpcode(u8),
    /// Bytes were changed on their way.
    #[error("the checksum of a segment's {0} does not match")]
    Checksum(&'static str),
    /// Segments that do not make up envelopes.
    #[error("a segment {0}")]
    Segment(&'static str),
    /// Something that is compressed wrongly.
    #[error("a compressed body {0}")]
    Compression(&'static str),
    /// STARTUP asks for something that does not exist.
    #[error("{0}")]
    Startup(String),
}

/// Why a connection cannot go on: the bytes after it cannot be made sense of. It is answered and closed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{error}")]
pub struct Fault {
    /// The stream of the message, where it is known; else 0.
    pub stream: i16,
    /// The version to answer in.
    pub version: Version,
    /// What is wrong.
    pub error: ProtocolError,
}

/// Why a message cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EncodeError {
    /// A string or list is longer than its field can say; it names the field.
    #[error("{what} of {length} is more than the protocol can carry")]
    TooLong {
        /// The field.
        what: &'static str,
        /// Its bytes or items.
        length: usize,
    },
    /// The version has no way to say it; it names what.
    #[error("protocol version {version} has no {what}")]
    Version {
        /// The version.
        version: Version,
        /// What it does not have.
        what: &'static str,
    },
}
