//! ERROR: codes, each with its fields, and how the outcomes of requests become them.

use crate::error::{EncodeError, ProtocolError};
use crate::version::Version;
use crate::wire::{
    Reader, put_address, put_consistency, put_count, put_int, put_prose, put_short, put_short_bytes, put_string,
    put_string_list,
};
use bytes::Bytes;
use model::error::FailureReason;
use model::{Consistency, RequestError};
use std::net::{IpAddr, Ipv4Addr};

/// What kind of write failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteType {
    /// One statement.
    Simple,
    /// A logged batch, whose log is written.
    Batch,
    /// An unlogged batch.
    UnloggedBatch,
    /// Of counters.
    Counter,
    /// The log of a batch.
    BatchLog,
    /// A conditional statement.
    Cas,
    /// Of a materialized view.
    View,
    /// Of change data capture.
    Cdc,
}

impl WriteType {
    /// All of them, with their names on the wire.
    const NAMES: [(WriteType, &'static str); 8] = [
        (WriteType::Simple, "SIMPLE"),
        (WriteType::Batch, "BATCH"),
        (WriteType::UnloggedBatch, "UNLOGGED_BATCH"),
        (WriteType::Counter, "COUNTER"),
        (WriteType::BatchLog, "BATCH_LOG"),
        (WriteType::Cas, "CAS"),
        (WriteType::View, "VIEW"),
        (WriteType::Cdc, "CDC"),
    ];

    fn name(self) -> &'static str {
        let found = WriteType::NAMES.iter().find(|(kind, _)| *kind == self);
        found.expect("NAMES lists every kind: a test goes through them").1
    }

    fn decode(reader: &mut Reader) -> Result<WriteType, ProtocolError> {
        let name = reader.string()?;
        let found = WriteType::NAMES.iter().find(|(_, known)| *known == name);
        found.map(|(kind, _)| *kind).ok_or(ProtocolError::Invalid("write type"))
    }
}

/// How many replicas answered of those that had to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replies {
    /// The level asked for.
    pub consistency: Consistency,
    /// Answers received.
    pub received: i32,
    /// Answers needed.
    pub required: i32,
}

/// The replicas that failed. Version 4 tells how many, version 5 which and why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failures {
    /// How many.
    pub count: i32,
    /// The code of the reason of each; the unspecified address stands for replicas that are not named.
    pub reasons: Vec<(IpAddr, u16)>,
}

/// What is wrong, with the fields of its code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// A defect.
    Server,
    /// The client does not keep to the protocol.
    Protocol,
    /// The credentials are wrong.
    BadCredentials,
    /// Too few replicas are alive.
    Unavailable {
        /// The level asked for.
        consistency: Consistency,
        /// Replicas needed.
        required: i32,
        /// Replicas alive.
        alive: i32,
    },
    /// More work than the node takes on.
    Overloaded,
    /// The node does not serve yet, or not any more.
    IsBootstrapping,
    /// TRUNCATE did not succeed.
    Truncate,
    /// A write was not acknowledged in time.
    WriteTimeout {
        /// By how many it was.
        replies: Replies,
        /// What was written.
        write_type: WriteType,
        /// Of a conditional statement: how often another was first. Version 5; none for the others.
        contentions: Option<u16>,
    },
    /// A read was not answered in time.
    ReadTimeout {
        /// By how many it was.
        replies: Replies,
        /// Whether by the replica that was asked for the data.
        data_present: bool,
    },
    /// Replicas failed a read.
    ReadFailure {
        /// How many answered.
        replies: Replies,
        /// Who failed.
        failures: Failures,
        /// Whether the replica that was asked for the data answered.
        data_present: bool,
    },
    /// A function or an operator failed.
    FunctionFailure {
        /// Its keyspace.
        keyspace: String,
        /// Its name.
        function: String,
        /// The CQL types of its arguments.
        arguments: Vec<String>,
    },
    /// Replicas failed a write.
    WriteFailure {
        /// How many acknowledged it.
        replies: Replies,
        /// Who failed.
        failures: Failures,
        /// What was written.
        write_type: WriteType,
    },
    /// There is no space for change data capture. Version 5.
    CdcWriteFailure,
    /// Nobody knows whether a conditional statement was applied. Version 5.
    CasWriteUnknown {
        /// How many acknowledged it.
        replies: Replies,
    },
    /// The text is not CQL.
    Syntax,
    /// The user may not do this.
    Unauthorized,
    /// It is CQL and cannot be executed.
    Invalid,
    /// Something is not configured as the statement needs it.
    Configuration,
    /// What is to be created exists.
    AlreadyExists {
        /// The keyspace.
        keyspace: String,
        /// The table; empty when it is the keyspace that exists.
        table: String,
    },
    /// No such prepared statement here.
    Unprepared {
        /// Its id.
        id: Bytes,
    },
}

/// An ERROR: text for people, code and fields for programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorResponse {
    /// What happened.
    pub message: String,
    /// The same, typed.
    pub failure: Failure,
}

/// A count as the protocol's int.
fn int(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

impl ErrorResponse {
    /// A request that ended so; `write_type` says what kind of write it was if it was one.
    #[must_use]
    pub fn of_request(error: &RequestError, write_type: WriteType) -> ErrorResponse {
        let replies = |consistency: Consistency, received: u32, required: u32| Replies {
            consistency,
            received: int(received),
            required: int(required),
        };
        let failure = match error {
            RequestError::Syntax { .. } => Failure::Syntax,
            RequestError::Invalid(_) | RequestError::NotFound(_) => Failure::Invalid,
            RequestError::Config(_) => Failure::Configuration,
            RequestError::Unauthorized(_) => Failure::Unauthorized,
            RequestError::FunctionFailure { keyspace, function, argument_types, .. } => Failure::FunctionFailure {
                keyspace: keyspace.clone(),
                function: function.clone(),
                arguments: argument_types.clone(),
            },
            RequestError::AlreadyExists { keyspace, table } => {
                Failure::AlreadyExists { keyspace: keyspace.clone(), table: table.clone() }
            }
            RequestError::Unprepared { id } => Failure::Unprepared { id: of_hexadecimal(id) },
            RequestError::Unavailable { consistency, required, alive, .. } => {
                Failure::Unavailable { consistency: *consistency, required: int(*required), alive: int(*alive) }
            }
            RequestError::CasTimeout { consistency, received, required, contentions } => Failure::WriteTimeout {
                replies: replies(*consistency, *received, *required),
                write_type: WriteType::Cas,
                contentions: Some(u16::try_from(*contentions).unwrap_or(u16::MAX)),
            },
            RequestError::CasWriteUnknown { consistency, received, required } => {
                Failure::CasWriteUnknown { replies: replies(*consistency, *received, *required) }
            }
            RequestError::WriteTimeout { consistency, received, required } => Failure::WriteTimeout {
                replies: replies(*consistency, *received, *required),
                write_type,
                contentions: None,
            },
            RequestError::BatchLogTimeout { received, required } => {
                let consistency = if *required == 1 { Consistency::One } else { Consistency::Two };
                let replies = replies(consistency, *received, *required);
                Failure::WriteTimeout { replies, write_type: WriteType::BatchLog, contentions: None }
            }
            RequestError::ReadTimeout { consistency, received, required, data_present } => Failure::ReadTimeout {
                replies: replies(*consistency, *received, *required),
                data_present: *data_present,
            },
            RequestError::WriteFailure { consistency, received, required, failures, reason } => Failure::WriteFailure {
                replies: replies(*consistency, *received, *required),
                failures: unnamed(*failures, *reason),
                write_type,
            },
            RequestError::ReadFailure { consistency, received, required, failures, reason } => Failure::ReadFailure {
                replies: replies(*consistency, *received, *required),
                failures: unnamed(*failures, *reason),
                data_present: false,
            },
            RequestError::Overloaded(_) => Failure::Overloaded,
            RequestError::NotServing(_) => Failure::IsBootstrapping,
            RequestError::SchemaTimeout(_) | RequestError::Server(_) => Failure::Server,
        };
        ErrorResponse { message: error.to_string(), failure }
    }

    /// A message that is not of the protocol.
    #[must_use]
    pub fn of_protocol(error: &ProtocolError) -> ErrorResponse {
        ErrorResponse { message: error.to_string(), failure: Failure::Protocol }
    }
}

/// Failures of which only the number and the reason are known.
fn unnamed(count: u32, reason: FailureReason) -> Failures {
    let code = match reason {
        // There is no code for the others: the message says it.
        FailureReason::Unknown | FailureReason::DiskFull | FailureReason::Overloaded => 0x0000,
        FailureReason::TooManyTombstones => 0x0001,
    };
    let reasons = if count == 0 { Vec::new() } else { vec![(IpAddr::V4(Ipv4Addr::UNSPECIFIED), code)] };
    Failures { count: int(count), reasons }
}

/// An id as the model writes it: in hexadecimal. What is not hexadecimal is nobody's id.
fn of_hexadecimal(text: &str) -> Bytes {
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    text.as_bytes().chunks(2).map(byte).collect::<Option<Vec<u8>>>().unwrap_or_default().into()
}

mod code {
    pub(super) const SERVER: i32 = 0x0000;
    pub(super) const PROTOCOL: i32 = 0x000a;
    pub(super) const BAD_CREDENTIALS: i32 = 0x0100;
    pub(super) const UNAVAILABLE: i32 = 0x1000;
    pub(super) const OVERLOADED: i32 = 0x1001;
    pub(super) const IS_BOOTSTRAPPING: i32 = 0x1002;
    pub(super) const TRUNCATE: i32 = 0x1003;
    pub(super) const WRITE_TIMEOUT: i32 = 0x1100;
    pub(super) const READ_TIMEOUT: i32 = 0x1200;
    pub(super) const READ_FAILURE: i32 = 0x1300;
    pub(super) const FUNCTION_FAILURE: i32 = 0x1400;
    pub(super) const WRITE_FAILURE: i32 = 0x1500;
    pub(super) const CDC_WRITE_FAILURE: i32 = 0x1600;
    pub(super) const CAS_WRITE_UNKNOWN: i32 = 0x1700;
    pub(super) const SYNTAX: i32 = 0x2000;
    pub(super) const UNAUTHORIZED: i32 = 0x2100;
    pub(super) const INVALID: i32 = 0x2200;
    pub(super) const CONFIGURATION: i32 = 0x2300;
    pub(super) const ALREADY_EXISTS: i32 = 0x2400;
    pub(super) const UNPREPARED: i32 = 0x2500;
}

impl Failure {
    fn code(&self) -> i32 {
        match self {
            Failure::Server => code::SERVER,
            Failure::Protocol => code::PROTOCOL,
            Failure::BadCredentials => code::BAD_CREDENTIALS,
            Failure::Unavailable { .. } => code::UNAVAILABLE,
            Failure::Overloaded => code::OVERLOADED,
            Failure::IsBootstrapping => code::IS_BOOTSTRAPPING,
            Failure::Truncate => code::TRUNCATE,
            Failure::WriteTimeout { .. } => code::WRITE_TIMEOUT,
            Failure::ReadTimeout { .. } => code::READ_TIMEOUT,
            Failure::ReadFailure { .. } => code::READ_FAILURE,
            Failure::FunctionFailure { .. } => code::FUNCTION_FAILURE,
            Failure::WriteFailure { .. } => code::WRITE_FAILURE,
            Failure::CdcWriteFailure => code::CDC_WRITE_FAILURE,
            Failure::CasWriteUnknown { .. } => code::CAS_WRITE_UNKNOWN,
            Failure::Syntax => code::SYNTAX,
            Failure::Unauthorized => code::UNAUTHORIZED,
            Failure::Invalid => code::INVALID,
            Failure::Configuration => code::CONFIGURATION,
            Failure::AlreadyExists { .. } => code::ALREADY_EXISTS,
            Failure::Unprepared { .. } => code::UNPREPARED,
        }
    }

    /// The failure as a version can say it. What came with version 5 is to others what Cassandra makes of it: a
    /// write that timed out, or failed.
    fn in_version(&self, version: Version) -> Failure {
        match self {
            Failure::CasWriteUnknown { replies } if version < Version::V5 => {
                Failure::WriteTimeout { replies: *replies, write_type: WriteType::Cas, contentions: None }
            }
            Failure::CdcWriteFailure if version < Version::V5 => Failure::Server,
            same => same.clone(),
        }
    }

    fn encode_fields(&self, out: &mut Vec<u8>, version: Version) -> Result<(), EncodeError> {
        match self {
            Failure::Unavailable { consistency, required, alive } => {
                put_consistency(out, *consistency);
                put_int(out, *required);
                put_int(out, *alive);
            }
            Failure::WriteTimeout { replies, write_type, contentions } => {
                replies.encode(out);
                put_string(out, write_type.name())?;
                if version >= Version::V5 && *write_type == WriteType::Cas {
                    put_short(out, contentions.unwrap_or(0));
                }
            }
            Failure::ReadTimeout { replies, data_present } => {
                replies.encode(out);
                out.push(u8::from(*data_present));
            }
            Failure::ReadFailure { replies, failures, data_present } => {
                replies.encode(out);
                failures.encode(out, version)?;
                out.push(u8::from(*data_present));
            }
            Failure::FunctionFailure { keyspace, function, arguments } => {
                put_string(out, keyspace)?;
                put_string(out, function)?;
                put_string_list(out, arguments)?;
            }
            Failure::WriteFailure { replies, failures, write_type } => {
                replies.encode(out);
                failures.encode(out, version)?;
                put_string(out, write_type.name())?;
            }
            Failure::CasWriteUnknown { replies } => replies.encode(out),
            Failure::AlreadyExists { keyspace, table } => {
                put_string(out, keyspace)?;
                put_string(out, table)?;
            }
            Failure::Unprepared { id } => put_short_bytes(out, id)?,
            _ => {}
        }
        Ok(())
    }

    fn decode(code: i32, reader: &mut Reader, version: Version) -> Result<Failure, ProtocolError> {
        Ok(match code {
            code::SERVER => Failure::Server,
            code::PROTOCOL => Failure::Protocol,
            code::BAD_CREDENTIALS => Failure::BadCredentials,
            code::UNAVAILABLE => Failure::Unavailable {
                consistency: reader.consistency()?,
                required: reader.int()?,
                alive: reader.int()?,
            },
            code::OVERLOADED => Failure::Overloaded,
            code::IS_BOOTSTRAPPING => Failure::IsBootstrapping,
            code::TRUNCATE => Failure::Truncate,
            code::WRITE_TIMEOUT => {
                let (replies, write_type) = (Replies::decode(reader)?, WriteType::decode(reader)?);
                let counted = version >= Version::V5 && write_type == WriteType::Cas;
                let contentions = if counted { Some(reader.short()?) } else { None };
                Failure::WriteTimeout { replies, write_type, contentions }
            }
            code::READ_TIMEOUT => {
                Failure::ReadTimeout { replies: Replies::decode(reader)?, data_present: reader.byte()? != 0 }
            }
            code::READ_FAILURE => Failure::ReadFailure {
                replies: Replies::decode(reader)?,
                failures: Failures::decode(reader, version)?,
                data_present: reader.byte()? != 0,
            },
            code::FUNCTION_FAILURE => Failure::FunctionFailure {
                keyspace: reader.string()?,
                function: reader.string()?,
                arguments: reader.string_list()?,
            },
            code::WRITE_FAILURE => Failure::WriteFailure {
                replies: Replies::decode(reader)?,
                failures: Failures::decode(reader, version)?,
                write_type: WriteType::decode(reader)?,
            },
            code::CDC_WRITE_FAILURE if version >= Version::V5 => Failure::CdcWriteFailure,
            code::CAS_WRITE_UNKNOWN if version >= Version::V5 => {
                Failure::CasWriteUnknown { replies: Replies::decode(reader)? }
            }
            code::SYNTAX => Failure::Syntax,
            code::UNAUTHORIZED => Failure::Unauthorized,
            code::INVALID => Failure::Invalid,
            code::CONFIGURATION => Failure::Configuration,
            code::ALREADY_EXISTS => Failure::AlreadyExists { keyspace: reader.string()?, table: reader.string()? },
            code::UNPREPARED => Failure::Unprepared { id: reader.short_bytes()? },
            _ => return Err(ProtocolError::Invalid("error code")),
        })
    }
}

impl Replies {
    fn encode(&self, out: &mut Vec<u8>) {
        put_consistency(out, self.consistency);
        put_int(out, self.received);
        put_int(out, self.required);
    }

    fn decode(reader: &mut Reader) -> Result<Replies, ProtocolError> {
        let consistency = reader.consistency()?;
        Ok(Replies { consistency, received: reader.int()?, required: reader.int()? })
    }
}

impl Failures {
    fn encode(&self, out: &mut Vec<u8>, version: Version) -> Result<(), EncodeError> {
        if version < Version::V5 {
            put_int(out, self.count);
            return Ok(());
        }
        put_count(out, "map of failures", self.reasons.len())?;
        for (address, reason) in &self.reasons {
            put_address(out, address);
            put_short(out, *reason);
        }
        Ok(())
    }

    fn decode(reader: &mut Reader, version: Version) -> Result<Failures, ProtocolError> {
        if version < Version::V5 {
            return Ok(Failures { count: reader.int()?, reasons: Vec::new() });
        }
        let count = reader.count("map of failures")?;
        let mut reasons = Vec::new();
        for _ in 0..count {
            reasons.push((reader.address()?, reader.short()?));
        }
        Ok(Failures { count: int(u32::try_from(count).unwrap_or(u32::MAX)), reasons })
    }
}

impl ErrorResponse {
    pub(crate) fn encode(&self, out: &mut Vec<u8>, version: Version) -> Result<(), EncodeError> {
        let failure = self.failure.in_version(version);
        put_int(out, failure.code());
        put_prose(out, &self.message);
        failure.encode_fields(out, version)
    }

    pub(crate) fn decode(reader: &mut Reader, version: Version) -> Result<ErrorResponse, ProtocolError> {
        let (code, message) = (reader.int()?, reader.string()?);
        Ok(ErrorResponse { message, failure: Failure::decode(code, reader, version)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(error: &RequestError) -> Failure {
        let response = ErrorResponse::of_request(error, WriteType::Simple);
        assert_eq!(response.message, error.to_string());
        response.failure
    }

    #[test]
    fn outcomes_of_requests_keep_their_fields() {
        let division = RequestError::FunctionFailure {
            keyspace: "system".to_owned(),
            function: "/".to_owned(),
            argument_types: vec!["int".to_owned(), "int".to_owned()],
            message: "m".to_owned(),
        };
        let expected = Failure::FunctionFailure {
            keyspace: "system".to_owned(),
            function: "/".to_owned(),
            arguments: vec!["int".to_owned(), "int".to_owned()],
        };
        assert_eq!(failure(&division), expected);
        assert_eq!(failure(&RequestError::Config("m".to_owned())), Failure::Configuration);
        assert_eq!(failure(&RequestError::Unauthorized("m".to_owned())), Failure::Unauthorized);
        let unprepared = RequestError::Unprepared { id: "00ff10".to_owned() };
        assert_eq!(failure(&unprepared), Failure::Unprepared { id: Bytes::from_static(&[0, 255, 16]) });
        let replies = Replies { consistency: Consistency::Quorum, received: 1, required: 2 };
        let timeout = RequestError::WriteTimeout { consistency: Consistency::Quorum, received: 1, required: 2 };
        let expected = Failure::WriteTimeout { replies, write_type: WriteType::Simple, contentions: None };
        assert_eq!(failure(&timeout), expected);
        let reason = FailureReason::TooManyTombstones;
        let failed = RequestError::ReadFailure {
            consistency: Consistency::Quorum,
            received: 1,
            required: 2,
            failures: 2,
            reason,
        };
        let failures = Failures { count: 2, reasons: vec![(IpAddr::from([0, 0, 0, 0]), 1)] };
        assert_eq!(failure(&failed), Failure::ReadFailure { replies, failures, data_present: false });
    }

    #[test]
    fn what_exists_is_named_in_fields_of_their_own() {
        let schema = model::schema::Schema::default();
        let create = model::schema::SchemaChange::CreateKeyspace {
            name: "k".to_owned(),
            replication: model::schema::Replication::Simple { factor: 1 },
            if_not_exists: false,
        };
        let with_keyspace = schema.apply(&create).unwrap().unwrap();
        let error = with_keyspace.apply(&create).unwrap_err();
        assert_eq!(failure(&error), Failure::AlreadyExists { keyspace: "k".to_owned(), table: String::new() });
        let mut table = model::schema::Table::plain(model::TableId(1));
        table.keyspace = "k".to_owned();
        let create = model::schema::SchemaChange::CreateTable { table: table.clone(), if_not_exists: false };
        let with_table = with_keyspace.apply(&create).unwrap().unwrap();
        let error = with_table.apply(&create).unwrap_err();
        assert_eq!(failure(&error), Failure::AlreadyExists { keyspace: "k".to_owned(), table: table.name });
    }

    #[test]
    fn version_4_is_told_what_it_knows() {
        let replies = Replies { consistency: Consistency::Serial, received: 1, required: 2 };
        let unknown = ErrorResponse { message: "m".to_owned(), failure: Failure::CasWriteUnknown { replies } };
        let mut out = Vec::new();
        unknown.encode(&mut out, Version::V4).unwrap();
        let read = ErrorResponse::decode(&mut Reader::new(Bytes::from(out)), Version::V4).unwrap();
        let expected = Failure::WriteTimeout { replies, write_type: WriteType::Cas, contentions: None };
        assert_eq!(read.failure, expected);
        // Nor does it say what it does not know: what is read could not be written again.
        let mut out = Vec::new();
        unknown.encode(&mut out, Version::V5).unwrap();
        assert!(ErrorResponse::decode(&mut Reader::new(Bytes::from(out)), Version::V4).is_err());
    }
}
