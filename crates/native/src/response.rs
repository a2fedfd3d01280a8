//! What a server answers.

use crate::envelope::{Envelope, Extras, Header, Opcode, put_envelope};
use crate::error::{EncodeError, ProtocolError};
use crate::event::{Event, SchemaChange};
use crate::failure::ErrorResponse;
use crate::rows::{Prepared, Rows};
use crate::version::Version;
use crate::wire::{Reader, put_bytes, put_int, put_string, put_string_multimap};
use bytes::Bytes;
use std::collections::BTreeMap;

/// The stream of events.
pub const EVENT_STREAM: i16 = -1;

/// What came of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueryResult {
    /// Nothing to tell.
    Void,
    /// Rows.
    Rows(Rows),
    /// The connection's keyspace is now this one.
    SetKeyspace(String),
    /// A statement was prepared.
    Prepared(Prepared),
    /// The schema was changed.
    SchemaChange(SchemaChange),
}

/// What a server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// A request failed.
    Error(ErrorResponse),
    /// The connection can be used.
    Ready,
    /// Credentials are wanted, by the authenticator of this class name.
    Authenticate(String),
    /// What STARTUP may say.
    Supported(BTreeMap<String, Vec<String>>),
    /// What came of a statement.
    Result(QueryResult),
    /// Something happened.
    Event(Event),
    /// The server's next word in an authentication.
    AuthChallenge(Option<Bytes>),
    /// The authentication has succeeded.
    AuthSuccess(Option<Bytes>),
}

/// A response with what comes along with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// That of the request; [`EVENT_STREAM`] for an event.
    pub stream: i16,
    /// Trace, warnings, custom payload.
    pub extras: Extras,
    /// What is answered.
    pub response: Response,
}

mod kind {
    pub(super) const VOID: i32 = 1;
    pub(super) const ROWS: i32 = 2;
    pub(super) const SET_KEYSPACE: i32 = 3;
    pub(super) const PREPARED: i32 = 4;
    pub(super) const SCHEMA_CHANGE: i32 = 5;
}

impl Answer {
    /// A response and nothing besides.
    #[must_use]
    pub fn new(stream: i16, response: Response) -> Answer {
        Answer { stream, extras: Extras::default(), response }
    }

    /// The envelope of an event.
    #[must_use]
    pub fn event(event: Event) -> Answer {
        Answer::new(EVENT_STREAM, Response::Event(event))
    }

    /// Appends the answer as an envelope that is not compressed.
    ///
    /// # Errors
    /// When a field is too long for it or `version` does not have one. Then nothing is appended.
    pub fn encode(&self, out: &mut Vec<u8>, version: Version) -> Result<(), EncodeError> {
        let (flags, stream, opcode) = (self.extras.flags(), self.stream, self.response.opcode());
        let header = Header { version, is_response: true, flags, stream, opcode, length: 0 };
        put_envelope(out, header, |out| {
            self.extras.encode(out)?;
            self.response.encode(out, version)
        })
    }

    /// Reads the body of an envelope. What follows the last field is left alone, as the specification says.
    ///
    /// # Errors
    /// When it is not a response.
    pub fn decode(envelope: &Envelope) -> Result<Answer, ProtocolError> {
        let header = &envelope.header;
        let mut reader = Reader::new(envelope.body.clone());
        let extras = Extras::decode(header, &mut reader)?;
        let response = Response::decode(header, &mut reader)?;
        Ok(Answer { stream: header.stream, extras, response })
    }
}

impl Response {
    /// The opcode of its envelope.
    #[must_use]
    pub fn opcode(&self) -> Opcode {
        match self {
            Response::Error(_) => Opcode::Error,
            Response::Ready => Opcode::Ready,
            Response::Authenticate(_) => Opcode::Authenticate,
            Response::Supported(_) => Opcode::Supported,
            Response::Result(_) => Opcode::Result,
            Response::Event(_) => Opcode::Event,
            Response::AuthChallenge(_) => Opcode::AuthChallenge,
            Response::AuthSuccess(_) => Opcode::AuthSuccess,
        }
    }

    fn encode(&self, out: &mut Vec<u8>, version: Version) -> Result<(), EncodeError> {
        match self {
            Response::Error(error) => error.encode(out, version),
            Response::Ready => Ok(()),
            Response::Authenticate(authenticator) => put_string(out, authenticator),
            Response::Supported(options) => put_string_multimap(out, options),
            Response::Result(result) => result.encode(out, version),
            Response::Event(event) => event.encode(out),
            Response::AuthChallenge(token) | Response::AuthSuccess(token) => put_bytes(out, token.as_deref()),
        }
    }

    fn decode(header: &Header, reader: &mut Reader) -> Result<Response, ProtocolError> {
        Ok(match header.opcode {
            Opcode::Error => Response::Error(ErrorResponse::decode(reader, header.version)?),
            Opcode::Ready => Response::Ready,
            Opcode::Authenticate => Response::Authenticate(reader.string()?),
            Opcode::Supported => Response::Supported(reader.string_multimap()?),
            Opcode::Result => Response::Result(QueryResult::decode(reader, header.version)?),
            Opcode::Event => Response::Event(Event::decode(reader)?),
            Opcode::AuthChallenge => Response::AuthChallenge(reader.bytes()?),
            Opcode::AuthSuccess => Response::AuthSuccess(reader.bytes()?),
            other => return Err(ProtocolError::Direction(other.name())),
        })
    }
}

impl QueryResult {
    fn encode(&self, out: &mut Vec<u8>, version: Version) -> Result<(), EncodeError> {
        match self {
            QueryResult::Void => {
                put_int(out, kind::VOID);
                Ok(())
            }
            QueryResult::Rows(rows) => {
                put_int(out, kind::ROWS);
                rows.encode(out, version)
            }
            QueryResult::SetKeyspace(keyspace) => {
                put_int(out, kind::SET_KEYSPACE);
                put_string(out, keyspace)
            }
            QueryResult::Prepared(prepared) => {
                put_int(out, kind::PREPARED);
                prepared.encode(out, version)
            }
            QueryResult::SchemaChange(change) => {
                put_int(out, kind::SCHEMA_CHANGE);
                change.encode(out)
            }
        }
    }

    fn decode(reader: &mut Reader, version: Version) -> Result<QueryResult, ProtocolError> {
        Ok(match reader.int()? {
            kind::VOID => QueryResult::Void,
            kind::ROWS => QueryResult::Rows(Rows::decode(reader, version)?),
            kind::SET_KEYSPACE => QueryResult::SetKeyspace(reader.string()?),
            kind::PREPARED => QueryResult::Prepared(Prepared::decode(reader, version)?),
            kind::SCHEMA_CHANGE => QueryResult::SchemaChange(SchemaChange::decode(reader)?),
            _ => return Err(ProtocolError::Invalid("kind of result")),
        })
    }
}
