//! Envelopes: the header of 9 bytes before the body of each message, and the elements that any body may begin
//! with.

use crate::error::{EncodeError, Fault, ProtocolError};
use crate::version::{RESPONSE_BIT, Version};
use crate::wire::{Reader, put_bytes_map, put_prose, put_short_count, put_uuid};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::ops::BitOr;

/// Length of a header in bytes.
pub const HEADER_BYTES: usize = 9;

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Opcode {
    /// A request failed.
    Error = 0x00,
    /// Begins a connection.
    Startup = 0x01,
    /// The connection can be used.
    Ready = 0x02,
    /// Credentials are wanted.
    Authenticate = 0x03,
    /// Asks what STARTUP may say.
    Options = 0x05,
    /// Answers that.
    Supported = 0x06,
    /// A statement as text.
    Query = 0x07,
    /// What came of a statement.
    Result = 0x08,
    /// A statement to be prepared.
    Prepare = 0x09,
    /// A prepared statement to be executed.
    Execute = 0x0a,
    /// Asks for events.
    Register = 0x0b,
    /// Something happened.
    Event = 0x0c,
    /// Several statements.
    Batch = 0x0d,
    /// The server's next word in an authentication.
    AuthChallenge = 0x0e,
    /// The client's.
    AuthResponse = 0x0f,
    /// The authentication has succeeded.
    AuthSuccess = 0x10,
}

impl Opcode {
    /// All of them.
    pub const ALL: [Opcode; 16] = [
        Opcode::Error,
        Opcode::Startup,
        Opcode::Ready,
        Opcode::Authenticate,
        Opcode::Options,
        Opcode::Supported,
        Opcode::Query,
        Opcode::Result,
        Opcode::Prepare,
        Opcode::Execute,
        Opcode::Register,
        Opcode::Event,
        Opcode::Batch,
        Opcode::AuthChallenge,
        Opcode::AuthResponse,
        Opcode::AuthSuccess,
    ];

    /// The opcode of this number.
    ///
    /// # Errors
    /// `UnknownOpcode`.
    pub fn of_number(number: u8) -> Result<Opcode, ProtocolError> {
        let found = Opcode::ALL.into_iter().find(|opcode| *opcode as u8 == number);
        found.ok_or(ProtocolError::UnknownOpcode(number))
    }

    /// Its name in the specification.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Opcode::Error => "ERROR",
            Opcode::Startup => "STARTUP",
            Opcode::Ready => "READY",
            Opcode::Authenticate => "AUTHENTICATE",
            Opcode::Options => "OPTIONS",
            Opcode::Supported => "SUPPORTED",
            Opcode::Query => "QUERY",
            Opcode::Result => "RESULT",
            Opcode::Prepare => "PREPARE",
            Opcode::Execute => "EXECUTE",
            Opcode::Register => "REGISTER",
            Opcode::Event => "EVENT",
            Opcode::Batch => "BATCH",
            Opcode::AuthChallenge => "AUTH_CHALLENGE",
            Opcode::AuthResponse => "AUTH_RESPONSE",
            Opcode::AuthSuccess => "AUTH_SUCCESS",
        }
    }

    /// True for messages that a server sends.
    #[must_use]
    pub fn is_response(self) -> bool {
        matches!(
            self,
            Opcode::Error
                | Opcode::Ready
                | Opcode::Authenticate
                | Opcode::Supported
                | Opcode::Result
                | Opcode::Event
                | Opcode::AuthChallenge
                | Opcode::AuthSuccess
        )
    }
}

/// The flags of a header. Bits that are not defined are kept and mean nothing, as the specification says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(pub u8);

impl Flags {
    /// The body is compressed. Of no meaning in version 5, which compresses segments.
    pub const COMPRESSED: Flags = Flags(0x01);
    /// Of a request: trace it. Of an answer: the trace's id stands first in the body.
    pub const TRACING: Flags = Flags(0x02);
    /// A custom payload stands before the message.
    pub const CUSTOM_PAYLOAD: Flags = Flags(0x04);
    /// Warnings stand before the message.
    pub const WARNINGS: Flags = Flags(0x08);
    /// The client accepts a version that is not final; none of those here is such a one.
    pub const USE_BETA: Flags = Flags(0x10);

    /// True when all flags of `other` are set.
    #[must_use]
    pub fn contains(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    /// `flag` if `condition`, else none.
    #[must_use]
    pub(crate) fn when(condition: bool, flag: Flags) -> Flags {
        if condition { flag } else { Flags::default() }
    }
}

impl BitOr for Flags {
    type Output = Flags;
    fn bitor(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }
}

/// The header of an envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The version that the body is written in.
    pub version: Version,
    /// True for an answer or event.
    pub is_response: bool,
    /// What the body begins with.
    pub flags: Flags,
    /// Which request, chosen by the client; -1 for events.
    pub stream: i16,
    /// What the message is.
    pub opcode: Opcode,
    /// Bytes of the body.
    pub length: u32,
}

impl Header {
    /// Appends the 9 bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.version.number() | if self.is_response { RESPONSE_BIT } else { 0 });
        out.push(self.flags.0);
        out.extend_from_slice(&self.stream.to_be_bytes());
        out.push(self.opcode as u8);
        out.extend_from_slice(&self.length.to_be_bytes());
    }

    /// Reads a header whose body may be up to `limit` bytes long. What makes a header of a foreign version wrong
    /// is its version, whatever else it says.
    ///
    /// # Errors
    /// When it is not one; with the stream to answer on.
    pub fn decode(bytes: &[u8; HEADER_BYTES], limit: usize) -> Result<Header, Fault> {
        let [first, flags, high, low, opcode, length @ ..] = *bytes;
        let (number, stream) = (first & !RESPONSE_BIT, i16::from_be_bytes([high, low]));
        let fault = |error| Fault { stream, version: Version::nearest(number), error };
        let version = Version::of_number(number).map_err(fault)?;
        let opcode = Opcode::of_number(opcode).map_err(fault)?;
        let is_response = first & RESPONSE_BIT != 0;
        if is_response != opcode.is_response() {
            return Err(fault(ProtocolError::Direction(opcode.name())));
        }
        let length = u32::from_be_bytes(length);
        if length as usize > limit {
            return Err(fault(ProtocolError::TooLarge { length: u64::from(length), limit }));
        }
        Ok(Header { version, is_response, flags: Flags(flags), stream, opcode, length })
    }
}

/// A header and the body that it announces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The header; its length is that of the body as it came, before it was decompressed.
    pub header: Header,
    /// The body, not compressed.
    pub body: Bytes,
}

/// What a body begins with, as its flags say: on a request only a custom payload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extras {
    /// Of an answer: the id of the trace of the request.
    pub tracing_id: Option<u128>,
    /// Of an answer: what the client should know besides.
    pub warnings: Vec<String>,
    /// Of either: for a handler that the server does not have by itself.
    pub custom_payload: BTreeMap<String, Option<Bytes>>,
}

impl Extras {
    /// The flags that announce what is here.
    pub(crate) fn flags(&self) -> Flags {
        Flags::when(self.tracing_id.is_some(), Flags::TRACING)
            | Flags::when(!self.warnings.is_empty(), Flags::WARNINGS)
            | Flags::when(!self.custom_payload.is_empty(), Flags::CUSTOM_PAYLOAD)
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        if let Some(id) = self.tracing_id {
            put_uuid(out, id);
        }
        if !self.warnings.is_empty() {
            put_short_count(out, "list of warnings", self.warnings.len())?;
            self.warnings.iter().for_each(|warning| put_prose(out, warning));
        }
        if self.custom_payload.is_empty() { Ok(()) } else { put_bytes_map(out, &self.custom_payload) }
    }

    /// Reads what the flags of `header` announce. A request has no trace id and no warnings.
    pub(crate) fn decode(header: &Header, reader: &mut Reader) -> Result<Extras, ProtocolError> {
        let announced = |flag| header.flags.contains(flag);
        let mut extras = Extras::default();
        if header.is_response && announced(Flags::TRACING) {
            extras.tracing_id = Some(reader.uuid()?);
        }
        if header.is_response && announced(Flags::WARNINGS) {
            extras.warnings = reader.string_list()?;
        }
        if announced(Flags::CUSTOM_PAYLOAD) {
            extras.custom_payload = reader.bytes_map()?;
        }
        Ok(extras)
    }
}

/// Appends an envelope whose body is what `body` appends. On an error nothing is appended.
pub(crate) fn put_envelope(
    out: &mut Vec<u8>,
    mut header: Header,
    body: impl FnOnce(&mut Vec<u8>) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    let start = out.len();
    header.length = 0;
    header.encode(out);
    let written = body(out).and_then(|()| {
        let length = out.len() - start - HEADER_BYTES;
        let too_long = EncodeError::TooLong { what: "message", length };
        if length > crate::FRAME_BYTES_MAX { Err(too_long) } else { Ok(length as u32) }
    });
    match written {
        Ok(length) => out[start + HEADER_BYTES - 4..start + HEADER_BYTES].copy_from_slice(&length.to_be_bytes()),
        Err(error) => {
            out.truncate(start);
            return Err(error);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(first: u8, opcode: u8, length: u32) -> [u8; HEADER_BYTES] {
        let [a, b, c, d] = length.to_be_bytes();
        [first, 0, 0x12, 0x34, opcode, a, b, c, d]
    }

    #[test]
    fn a_header_that_is_wrong_is_answered_on_its_stream() {
        let decode = |first, opcode, length| Header::decode(&bytes(first, opcode, length), 100).unwrap_err();
        for (fault, error) in [
            (decode(4, 0x07, 101), ProtocolError::TooLarge { length: 101, limit: 100 }),
            (decode(5, 0x07, u32::MAX), ProtocolError::TooLarge { length: u64::from(u32::MAX), limit: 100 }),
            (decode(4, 0x04, 0), ProtocolError::UnknownOpcode(4)),
            (decode(4, 0xff, 0), ProtocolError::UnknownOpcode(255)),
            (decode(0x84, 0x07, 0), ProtocolError::Direction("QUERY")),
            (decode(5, 0x08, 0), ProtocolError::Direction("RESULT")),
            (decode(66, 0x04, u32::MAX), ProtocolError::UnsupportedVersion { asked: 66 }),
        ] {
            assert_eq!((fault.stream, fault.error), (0x1234, error));
        }
        assert_eq!(decode(3, 1, 0).version, Version::V4);
        assert_eq!(decode(6, 1, 0).version, Version::V5);
    }

    #[test]
    fn nothing_is_left_of_an_envelope_that_cannot_be_written() {
        let header = Header::decode(&bytes(4, 0x07, 0), 100).unwrap();
        let mut out = vec![1, 2];
        let refused = EncodeError::TooLong { what: "string", length: 9 };
        let result = put_envelope(&mut out, header, |out| {
            out.push(3);
            Err(refused.clone())
        });
        assert_eq!(result, Err(refused));
        assert_eq!(out, [1, 2]);
    }
}
