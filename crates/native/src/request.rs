//! What a client asks.

use crate::compression::Compression;
use crate::envelope::{Envelope, Extras, Flags, Header, Opcode, put_envelope};
use crate::error::{EncodeError, ProtocolError};
use crate::event::EventType;
use crate::parameters::{QueryParameters, Values};
use crate::version::Version;
use crate::wire::{
    Reader, put_bytes, put_flags, put_long_string, put_short_bytes, put_short_count, put_string, put_string_map,
};
use bytes::Bytes;
use std::collections::BTreeMap;

/// The options of STARTUP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Startup {
    /// By name; many clients send options that only say who they are.
    pub options: BTreeMap<String, String>,
}

impl Startup {
    /// What the client wants compression by.
    ///
    /// # Errors
    /// `Startup` when that does not exist in `version`, and when the version of CQL is missing or too old.
    pub fn check(&self, version: Version) -> Result<Option<Compression>, ProtocolError> {
        let refused = |message: String| Err(ProtocolError::Startup(message));
        let Some(language) = self.options.get("CQL_VERSION") else {
            return refused("Missing value CQL_VERSION in STARTUP message".to_owned());
        };
        let major = language.split('.').next().and_then(|major| major.parse::<u32>().ok());
        // As in Cassandra: a driver of ScyllaDB asks for 4.0.0.
        if major.is_none_or(|major| major < 3) {
            return refused(format!(
                "CQL version {language} is not supported by the binary protocol (supported version are >= 3.0.0)"
            ));
        }
        let compression = self.options.get("COMPRESSION").filter(|name| !name.is_empty());
        compression.map(|name| Compression::of_name(name, version)).transpose()
    }
}

/// A statement as text, to be executed at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// The text.
    pub text: String,
    /// How to execute it.
    pub parameters: QueryParameters,
}

/// A statement to be prepared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepare {
    /// The text.
    pub text: String,
    /// In place of the connection's keyspace. Version 5.
    pub keyspace: Option<String>,
}

/// A prepared statement to be executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Execute {
    /// The statement's id.
    pub id: Bytes,
    /// The id of the result's columns as the client knows them. Version 5.
    pub result_metadata_id: Option<Bytes>,
    /// How to execute it.
    pub parameters: QueryParameters,
}

/// The kinds of batches; the discriminants are their codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum BatchKind {
    /// All of it or nothing in the end.
    Logged = 0,
    /// As many single statements.
    Unlogged = 1,
    /// Of counters.
    Counter = 2,
}

/// A statement of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StatementText {
    /// Its text.
    Text(String),
    /// Its id.
    Prepared(Bytes),
}

/// A statement of a batch with its values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchStatement {
    /// Which.
    pub statement: StatementText,
    /// For its bind markers, by their position.
    pub values: Values,
}

/// Several statements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// What is promised of them together.
    pub kind: BatchKind,
    /// In their order.
    pub statements: Vec<BatchStatement>,
    /// How to execute them; without values and paging.
    pub parameters: QueryParameters,
}

/// What a client asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Begins the connection.
    Startup(Startup),
    /// What may STARTUP say?
    Options,
    /// The client's word in an authentication.
    AuthResponse(Option<Bytes>),
    /// A statement as text.
    Query(Query),
    /// A statement to be prepared.
    Prepare(Prepare),
    /// A prepared statement.
    Execute(Execute),
    /// Several statements.
    Batch(Batch),
    /// Events are wanted.
    Register(Vec<EventType>),
}

/// A request with what came along with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Chosen by the client; the answer carries it too.
    pub stream: i16,
    /// True when a trace is wanted.
    pub tracing: bool,
    /// For a handler that the server does not have by itself.
    pub custom_payload: BTreeMap<String, Option<Bytes>>,
    /// What is asked.
    pub request: Request,
}

/// The flag of PREPARE that announces a keyspace.
const PREPARE_KEYSPACE: u32 = 0x01;

impl Message {
    /// Reads the body of an envelope. What follows the last field is left alone, as the specification says.
    ///
    /// # Errors
    /// When it is not a request.
    pub fn decode(envelope: &Envelope) -> Result<Message, ProtocolError> {
        let header = &envelope.header;
        let mut reader = Reader::new(envelope.body.clone());
        let Extras { custom_payload, .. } = Extras::decode(header, &mut reader)?;
        let request = Request::decode(header, &mut reader)?;
        Ok(Message { stream: header.stream, tracing: header.flags.contains(Flags::TRACING), custom_payload, request })
    }

    /// Appends the message as an envelope that is not compressed.
    ///
    /// # Errors
    /// When a field is too long for it or `version` does not have one. Then nothing is appended.
    pub fn encode(&self, out: &mut Vec<u8>, version: Version) -> Result<(), EncodeError> {
        let extras = Extras { custom_payload: self.custom_payload.clone(), ..Extras::default() };
        let flags = extras.flags() | Flags::when(self.tracing, Flags::TRACING);
        let (stream, opcode) = (self.stream, self.request.opcode());
        let header = Header { version, is_response: false, flags, stream, opcode, length: 0 };
        put_envelope(out, header, |out| {
            extras.encode(out)?;
            self.request.encode(out, version)
        })
    }
}

impl Request {
    /// The opcode of its envelope.
    #[must_use]
    pub fn opcode(&self) -> Opcode {
        match self {
            Request::Startup(_) => Opcode::Startup,
            Request::Options => Opcode::Options,
            Request::AuthResponse(_) => Opcode::AuthResponse,
            Request::Query(_) => Opcode::Query,
            Request::Prepare(_) => Opcode::Prepare,
            Request::Execute(_) => Opcode::Execute,
            Request::Batch(_) => Opcode::Batch,
            Request::Register(_) => Opcode::Register,
        }
    }

    fn decode(header: &Header, reader: &mut Reader) -> Result<Request, ProtocolError> {
        let version = header.version;
        Ok(match header.opcode {
            Opcode::Startup => Request::Startup(Startup { options: reader.string_map()? }),
            Opcode::Options => Request::Options,
            Opcode::AuthResponse => Request::AuthResponse(reader.bytes()?),
            Opcode::Query => {
                let text = reader.long_string()?;
                Request::Query(Query { text, parameters: QueryParameters::decode(reader, version)? })
            }
            Opcode::Prepare => Request::Prepare(Prepare::decode(reader, version)?),
            Opcode::Execute => Request::Execute(Execute::decode(reader, version)?),
            Opcode::Batch => Request::Batch(Batch::decode(reader, version)?),
            Opcode::Register => {
                let names = reader.string_list()?;
                let types = names.iter().map(|name| EventType::of_name(name)).collect::<Result<_, ProtocolError>>()?;
                Request::Register(types)
            }
            other => return Err(ProtocolError::Direction(other.name())),
        })
    }

    fn encode(&self, out: &mut Vec<u8>, version: Version) -> Result<(), EncodeError> {
        match self {
            Request::Startup(startup) => put_string_map(out, &startup.options),
            Request::Options => Ok(()),
            Request::AuthResponse(token) => put_bytes(out, token.as_deref()),
            Request::Query(query) => {
                put_long_string(out, &query.text)?;
                query.parameters.encode(out, version)
            }
            Request::Prepare(prepare) => prepare.encode(out, version),
            Request::Execute(execute) => execute.encode(out, version),
            Request::Batch(batch) => batch.encode(out, version),
            Request::Register(types) => {
                put_short_count(out, "list of events", types.len())?;
                types.iter().try_for_each(|kind| put_string(out, kind.name()))
            }
        }
    }
}

impl Prepare {
    fn decode(reader: &mut Reader, version: Version) -> Result<Prepare, ProtocolError> {
        let text = reader.long_string()?;
        if version < Version::V5 {
            return Ok(Prepare { text, keyspace: None });
        }
        let keyspace = match reader.flags()? {
            0 => None,
            PREPARE_KEYSPACE => Some(reader.string()?),
            _ => return Err(ProtocolError::Invalid("prepare flags")),
        };
        Ok(Prepare { text, keyspace })
    }

    fn encode(&self, out: &mut Vec<u8>, version: Version) -> Result<(), EncodeError> {
        put_long_string(out, &self.text)?;
        match (&self.keyspace, version) {
            (None, Version::V4) => Ok(()),
            (Some(_), Version::V4) => Err(EncodeError::Version { version, what: "keyspace of a request" }),
            (None, Version::V5) => {
                put_flags(out, 0);
                Ok(())
            }
            (Some(keyspace), Version::V5) => {
                put_flags(out, PREPARE_KEYSPACE);
                put_string(out, keyspace)
            }
        }
    }
}

impl Execute {
    fn decode(reader: &mut Reader, version: Version) -> Result<Execute, ProtocolError> {
        let id = reader.short_bytes()?;
        let result_metadata_id = if version < Version::V5 { None } else { Some(reader.short_bytes()?) };
        Ok(Execute { id, result_metadata_id, parameters: QueryParameters::decode(reader, version)? })
    }

    fn encode(&self, out: &mut Vec<u8>, version: Version) -> Result<(), EncodeError> {
        put_short_bytes(out, &self.id)?;
        if version >= Version::V5 {
            put_short_bytes(out, self.result_metadata_id.as_deref().unwrap_or_default())?;
        }
        self.parameters.encode(out, version)
    }
}

impl Batch {
    fn decode(reader: &mut Reader, version: Version) -> Result<Batch, ProtocolError> {
        let kind = match reader.byte()? {
            0 => BatchKind::Logged,
            1 => BatchKind::Unlogged,
            2 => BatchKind::Counter,
            _ => return Err(ProtocolError::Invalid("batch type")),
        };
        let count = reader.short()?;
        let mut statements = Vec::new();
        for _ in 0..count {
            let statement = match reader.byte()? {
                0 => StatementText::Text(reader.long_string()?),
                1 => StatementText::Prepared(reader.short_bytes()?),
                _ => return Err(ProtocolError::Invalid("kind of a statement of a batch")),
            };
            statements.push(BatchStatement { statement, values: Values::decode(reader, false)? });
        }
        Ok(Batch { kind, statements, parameters: QueryParameters::decode_batch(reader, version)? })
    }

    fn encode(&self, out: &mut Vec<u8>, version: Version) -> Result<(), EncodeError> {
        out.push(self.kind as u8);
        put_short_count(out, "batch", self.statements.len())?;
        for BatchStatement { statement, values } in &self.statements {
            match statement {
                StatementText::Text(text) => {
                    out.push(0);
                    put_long_string(out, text)?;
                }
                StatementText::Prepared(id) => {
                    out.push(1);
                    put_short_bytes(out, id)?;
                }
            }
            if matches!(values, Values::Named(_)) {
                return Err(EncodeError::Version { version, what: "values by name in a batch" });
            }
            values.encode(out)?;
        }
        self.parameters.encode_batch(out, version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn startup(options: &[(&str, &str)]) -> Startup {
        let options = options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Startup { options: options.collect() }
    }

    #[test]
    fn startup_says_what_is_wrong_with_it() {
        let check = |options: &[(&str, &str)], version| startup(options).check(version).map_err(|e| e.to_string());
        assert_eq!(check(&[("CQL_VERSION", "3.0.0"), ("DRIVER_NAME", "x")], Version::V4), Ok(None));
        let lz4 = [("CQL_VERSION", "3.4.7"), ("COMPRESSION", "LZ4")];
        assert_eq!(check(&lz4, Version::V5), Ok(Some(Compression::Lz4)));
        let missing = "Missing value CQL_VERSION in STARTUP message".to_owned();
        assert_eq!(check(&[], Version::V4), Err(missing));
        assert_eq!(check(&[("CQL_VERSION", "4.0.0")], Version::V4), Ok(None));
        for old in ["2.0.0", "", "x"] {
            assert!(check(&[("CQL_VERSION", old)], Version::V4).unwrap_err().contains("is not supported"));
        }
    }
}
