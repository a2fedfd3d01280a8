//! [`RequestError`] over the wire: as an `Error` message on a stream, and on a unary call as the details of a
//! gRPC status. Both ways lossless, so that a caller sees the same error whichever way it came.

use crate::InvalidMessage;
use crate::convert::consistency_from_proto;
use crate::proto::client::v1 as proto;
use crate::proto::client::v1::error::Details;
use bytes::Bytes;
use model::error::FailureReason;
use model::{Consistency, RequestError};
use prost::Message;
use proto::ErrorCode;

/// The type URL under which an `Error` stands in the details of a status.
pub const ERROR_TYPE_URL: &str = "type.googleapis.com/helenus.client.v1.Error";

/// The gRPC status codes in use; the discriminants are gRPC's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum StatusCode {
    /// The request is wrong whatever the state of the system.
    InvalidArgument = 3,
    /// Not done in time.
    DeadlineExceeded = 4,
    /// Something named does not exist.
    NotFound = 5,
    /// Something to be created exists.
    AlreadyExists = 6,
    /// The caller may not do it.
    PermissionDenied = 7,
    /// Overload.
    ResourceExhausted = 8,
    /// The system is not in the state that the request needs.
    FailedPrecondition = 9,
    /// A defect or failure inside.
    Internal = 13,
    /// Not now, and maybe elsewhere.
    Unavailable = 14,
}

/// The gRPC status code of an error, for those who do not read the details.
#[must_use]
pub fn status_code(error: &RequestError) -> StatusCode {
    match error {
        RequestError::Syntax { .. }
        | RequestError::Invalid(_)
        | RequestError::Config(_)
        | RequestError::FunctionFailure { .. } => StatusCode::InvalidArgument,
        RequestError::Unauthorized(_) => StatusCode::PermissionDenied,
        RequestError::NotFound(_) => StatusCode::NotFound,
        RequestError::AlreadyExists { .. } => StatusCode::AlreadyExists,
        RequestError::Unprepared { .. } => StatusCode::FailedPrecondition,
        RequestError::Unavailable { .. } | RequestError::NotServing(_) => StatusCode::Unavailable,
        RequestError::WriteTimeout { .. }
        | RequestError::BatchLogTimeout { .. }
        | RequestError::CasTimeout { .. }
        | RequestError::CasWriteUnknown { .. }
        | RequestError::ReadTimeout { .. }
        | RequestError::SchemaTimeout(_) => StatusCode::DeadlineExceeded,
        RequestError::Overloaded(_) => StatusCode::ResourceExhausted,
        // Not Unavailable: what retries that on its own must not repeat a write that may be applied.
        RequestError::WriteFailure { .. } | RequestError::ReadFailure { .. } | RequestError::Server(_) => {
            StatusCode::Internal
        }
    }
}

/// `google.rpc.Status`, the standard content of the `grpc-status-details-bin` trailer.
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
}

/// The details of the status that reports `error` on a unary call: an encoded `google.rpc.Status` that holds
/// one `Error`.
#[must_use]
pub fn status_details(error: &RequestError) -> Bytes {
    let value = Bytes::from(proto::Error::from(error).encode_to_vec());
    let details = vec![Any { type_url: ERROR_TYPE_URL.to_owned(), value }];
    let status = RpcStatus { code: status_code(error) as i32, message: error.to_string(), details };
    Bytes::from(status.encode_to_vec())
}

/// The error in the details of a status; `None` when they hold none that this version knows.
#[must_use]
pub fn from_status_details(details: &[u8]) -> Option<RequestError> {
    let status = RpcStatus::decode(details).ok()?;
    let error = status.details.into_iter().find(|any| any.type_url == ERROR_TYPE_URL)?;
    RequestError::try_from(proto::Error::decode(error.value).ok()?).ok()
}

fn replicas(consistency: Consistency, required: u32, received: u32) -> proto::ReplicaDetails {
    let consistency = proto::Consistency::from(consistency).into();
    proto::ReplicaDetails { consistency, required, received, ..proto::ReplicaDetails::default() }
}

impl From<&RequestError> for proto::Error {
    fn from(error: &RequestError) -> proto::Error {
        let reason = |reason: &String| Some(Details::Reason(proto::ReasonDetails { reason: reason.clone() }));
        let (code, details) = match error {
            RequestError::Syntax { line, column, message } => {
                let details = proto::SyntaxDetails { line: *line, column: *column, reason: message.clone() };
                (ErrorCode::Syntax, Some(Details::Syntax(details)))
            }
            // For these the message is all that there is.
            RequestError::Invalid(_) => (ErrorCode::Invalid, None),
            RequestError::NotFound(_) => (ErrorCode::NotFound, None),
            RequestError::Config(_) => (ErrorCode::Config, None),
            RequestError::Unauthorized(_) => (ErrorCode::Unauthorized, None),
            RequestError::AlreadyExists { keyspace, table } => {
                let details = proto::AlreadyExistsDetails { keyspace: keyspace.clone(), table: table.clone() };
                (ErrorCode::AlreadyExists, Some(Details::AlreadyExists(details)))
            }
            RequestError::FunctionFailure { keyspace, function, argument_types, .. } => {
                let details = proto::FunctionDetails {
                    keyspace: keyspace.clone(),
                    function: function.clone(),
                    argument_types: argument_types.clone(),
                };
                (ErrorCode::FunctionFailure, Some(Details::Function(details)))
            }
            RequestError::Unprepared { id } => {
                (ErrorCode::Unprepared, Some(Details::Unprepared(proto::UnpreparedDetails { id: id.clone() })))
            }
            RequestError::Unavailable { consistency, required, alive, data_center } => {
                let data_center = data_center.clone().unwrap_or_default();
                let counts = replicas(*consistency, *required, 0);
                let details = proto::ReplicaDetails { alive: *alive, data_center, ..counts };
                (ErrorCode::Unavailable, Some(Details::Replicas(details)))
            }
            RequestError::CasTimeout { consistency, received, required, contentions } => {
                let counts = replicas(*consistency, *required, *received);
                let details = proto::ReplicaDetails { contentions: *contentions, ..counts };
                (ErrorCode::CasTimeout, Some(Details::Replicas(details)))
            }
            RequestError::CasWriteUnknown { consistency, received, required } => {
                (ErrorCode::CasWriteUnknown, Some(Details::Replicas(replicas(*consistency, *required, *received))))
            }
            RequestError::WriteTimeout { consistency, received, required } => {
                (ErrorCode::WriteTimeout, Some(Details::Replicas(replicas(*consistency, *required, *received))))
            }
            RequestError::BatchLogTimeout { received, required } => {
                (ErrorCode::BatchLogTimeout, Some(Details::Replicas(replicas(Consistency::Two, *required, *received))))
            }
            RequestError::ReadTimeout { consistency, received, required, data_present } => {
                let counts = replicas(*consistency, *required, *received);
                let details = proto::ReplicaDetails { data_present: *data_present, ..counts };
                (ErrorCode::ReadTimeout, Some(Details::Replicas(details)))
            }
            RequestError::WriteFailure { consistency, received, required, failures, reason } => {
                let counts = replicas(*consistency, *required, *received);
                let reason = reason_to_proto(*reason).into();
                let details = proto::ReplicaDetails { failures: *failures, reason, ..counts };
                (ErrorCode::WriteFailure, Some(Details::Replicas(details)))
            }
            RequestError::ReadFailure { consistency, received, required, failures, reason } => {
                let counts = replicas(*consistency, *required, *received);
                let reason = reason_to_proto(*reason).into();
                let details = proto::ReplicaDetails { failures: *failures, reason, ..counts };
                (ErrorCode::ReadFailure, Some(Details::Replicas(details)))
            }
            RequestError::SchemaTimeout(why) => (ErrorCode::SchemaTimeout, reason(why)),
            RequestError::Overloaded(why) => (ErrorCode::Overloaded, reason(why)),
            RequestError::NotServing(why) => (ErrorCode::NotServing, reason(why)),
            RequestError::Server(why) => (ErrorCode::Server, reason(why)),
        };
        proto::Error { code: code.into(), message: error.to_string(), details }
    }
}

impl TryFrom<proto::Error> for RequestError {
    type Error = InvalidMessage;

    fn try_from(error: proto::Error) -> Result<RequestError, InvalidMessage> {
        let unknown = || InvalidMessage::new("Error.code", format!("{} is not known", error.code));
        let code = ErrorCode::try_from(error.code).map_err(|_| unknown())?;
        let mismatch = || InvalidMessage::new("Error.details", format!("are not those of {}", code.as_str_name()));
        Ok(match (code, error.details) {
            (ErrorCode::Syntax, Some(Details::Syntax(details))) => {
                RequestError::Syntax { line: details.line, column: details.column, message: details.reason }
            }
            (ErrorCode::Invalid, None) => RequestError::Invalid(error.message),
            (ErrorCode::NotFound, None) => RequestError::NotFound(error.message),
            (ErrorCode::AlreadyExists, Some(Details::AlreadyExists(details))) => {
                RequestError::AlreadyExists { keyspace: details.keyspace, table: details.table }
            }
            (ErrorCode::Config, None) => RequestError::Config(error.message),
            (ErrorCode::Unauthorized, None) => RequestError::Unauthorized(error.message),
            (ErrorCode::FunctionFailure, Some(Details::Function(details))) => RequestError::FunctionFailure {
                keyspace: details.keyspace,
                function: details.function,
                argument_types: details.argument_types,
                message: error.message,
            },
            (ErrorCode::Unprepared, Some(Details::Unprepared(details))) => RequestError::Unprepared { id: details.id },
            (_, Some(Details::Replicas(details))) => from_replicas(code, details)?.ok_or_else(mismatch)?,
            (ErrorCode::SchemaTimeout, Some(Details::Reason(details))) => RequestError::SchemaTimeout(details.reason),
            (ErrorCode::Overloaded, Some(Details::Reason(details))) => RequestError::Overloaded(details.reason),
            (ErrorCode::NotServing, Some(Details::Reason(details))) => RequestError::NotServing(details.reason),
            (ErrorCode::Server, Some(Details::Reason(details))) => RequestError::Server(details.reason),
            (ErrorCode::Unspecified, _) => return Err(unknown()),
            _ => return Err(mismatch()),
        })
    }
}

fn reason_to_proto(reason: FailureReason) -> proto::FailureReason {
    match reason {
        FailureReason::Unknown => proto::FailureReason::Unspecified,
        FailureReason::TooManyTombstones => proto::FailureReason::TooManyTombstones,
        FailureReason::DiskFull => proto::FailureReason::DiskFull,
        FailureReason::Overloaded => proto::FailureReason::Overloaded,
    }
}

/// The error with counts of replicas; `None` when `code` has none.
fn from_replicas(code: ErrorCode, details: proto::ReplicaDetails) -> Result<Option<RequestError>, InvalidMessage> {
    let consistency = consistency_from_proto(details.consistency)?;
    let proto::ReplicaDetails { required, received, alive, failures, data_present, .. } = details;
    let reason = match proto::FailureReason::try_from(details.reason) {
        Ok(proto::FailureReason::TooManyTombstones) => FailureReason::TooManyTombstones,
        Ok(proto::FailureReason::DiskFull) => FailureReason::DiskFull,
        Ok(proto::FailureReason::Overloaded) => FailureReason::Overloaded,
        // Of a newer version: that it failed is known all the same.
        Ok(proto::FailureReason::Unspecified) | Err(_) => FailureReason::Unknown,
    };
    Ok(Some(match code {
        ErrorCode::Unavailable => {
            let data_center = Some(details.data_center).filter(|name| !name.is_empty());
            RequestError::Unavailable { consistency, required, alive, data_center }
        }
        ErrorCode::CasTimeout => {
            RequestError::CasTimeout { consistency, received, required, contentions: details.contentions }
        }
        ErrorCode::CasWriteUnknown => RequestError::CasWriteUnknown { consistency, received, required },
        ErrorCode::WriteTimeout => RequestError::WriteTimeout { consistency, received, required },
        ErrorCode::BatchLogTimeout => RequestError::BatchLogTimeout { received, required },
        ErrorCode::ReadTimeout => RequestError::ReadTimeout { consistency, received, required, data_present },
        ErrorCode::WriteFailure => RequestError::WriteFailure { consistency, received, required, failures, reason },
        ErrorCode::ReadFailure => RequestError::ReadFailure { consistency, received, required, failures, reason },
        _ => return Ok(None),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn consistency() -> impl Strategy<Value = Consistency> {
        prop::sample::select(&Consistency::ALL_LEVELS[..])
    }

    /// Every variant, with any content.
    fn any_error() -> impl Strategy<Value = RequestError> {
        let counts = || (consistency(), any::<u32>(), any::<u32>(), any::<u32>());
        prop_oneof![
            (any::<u32>(), any::<u32>(), any::<String>()).prop_map(|(line, column, message)| RequestError::Syntax {
                line,
                column,
                message
            }),
            any::<String>().prop_map(RequestError::Invalid),
            any::<String>().prop_map(RequestError::NotFound),
            (any::<String>(), any::<String>())
                .prop_map(|(keyspace, table)| RequestError::AlreadyExists { keyspace, table }),
            any::<String>().prop_map(RequestError::Config),
            any::<String>().prop_map(RequestError::Unauthorized),
            (any::<String>(), any::<String>(), any::<Vec<String>>(), any::<String>()).prop_map(
                |(keyspace, function, argument_types, message)| RequestError::FunctionFailure {
                    keyspace,
                    function,
                    argument_types,
                    message
                }
            ),
            any::<String>().prop_map(|id| RequestError::Unprepared { id }),
            (counts(), prop::option::of("[a-z]{1,9}")).prop_map(|((consistency, required, alive, _), data_center)| {
                RequestError::Unavailable { consistency, required, alive, data_center }
            }),
            counts().prop_map(|(consistency, received, required, contentions)| RequestError::CasTimeout {
                consistency,
                received,
                required,
                contentions
            }),
            counts().prop_map(|(consistency, received, required, _)| RequestError::CasWriteUnknown {
                consistency,
                received,
                required
            }),
            counts().prop_map(|(consistency, received, required, _)| RequestError::WriteTimeout {
                consistency,
                received,
                required
            }),
            counts().prop_map(|(_, received, required, _)| RequestError::BatchLogTimeout { received, required }),
            (counts(), any::<bool>()).prop_map(|((consistency, received, required, _), data_present)| {
                RequestError::ReadTimeout { consistency, received, required, data_present }
            }),
            (counts(), any_reason()).prop_map(|((consistency, received, required, failures), reason)| {
                RequestError::WriteFailure { consistency, received, required, failures, reason }
            }),
            (counts(), any_reason()).prop_map(|((consistency, received, required, failures), reason)| {
                RequestError::ReadFailure { consistency, received, required, failures, reason }
            }),
            any::<String>().prop_map(RequestError::SchemaTimeout),
            any::<String>().prop_map(RequestError::Overloaded),
            any::<String>().prop_map(RequestError::NotServing),
            any::<String>().prop_map(RequestError::Server),
        ]
    }

    fn any_reason() -> impl Strategy<Value = FailureReason> {
        use FailureReason::{DiskFull, Overloaded, TooManyTombstones, Unknown};
        prop_oneof![Just(Unknown), Just(TooManyTombstones), Just(DiskFull), Just(Overloaded)]
    }

    /// How often each variant occurs in `any_error`: a new variant does not compile here until it is added.
    fn variant(error: &RequestError) -> usize {
        match error {
            RequestError::Syntax { .. } => 0,
            RequestError::Invalid(_) => 1,
            RequestError::NotFound(_) => 2,
            RequestError::AlreadyExists { .. } => 3,
            RequestError::Unprepared { .. } => 4,
            RequestError::Unavailable { .. } => 5,
            RequestError::WriteTimeout { .. } => 6,
            RequestError::ReadTimeout { .. } => 7,
            RequestError::WriteFailure { .. } => 8,
            RequestError::ReadFailure { .. } => 9,
            RequestError::SchemaTimeout(_) => 10,
            RequestError::Overloaded(_) => 11,
            RequestError::NotServing(_) => 12,
            RequestError::Server(_) => 13,
            RequestError::Config(_) => 14,
            RequestError::Unauthorized(_) => 15,
            RequestError::FunctionFailure { .. } => 16,
            RequestError::CasTimeout { .. } => 17,
            RequestError::CasWriteUnknown { .. } => 18,
            RequestError::BatchLogTimeout { .. } => 19,
        }
    }

    #[test]
    fn the_generator_makes_every_variant() {
        use proptest::strategy::ValueTree;
        let mut runner = proptest::test_runner::TestRunner::deterministic();
        let mut seen = [false; 20];
        for _ in 0..1_000 {
            let error = any_error().new_tree(&mut runner).unwrap().current();
            seen[variant(&error)] = true;
        }
        assert_eq!(seen, [true; 20]);
    }

    #[test]
    fn an_error_of_a_newer_version_is_refused_and_not_guessed() {
        let newer = proto::Error { code: 999, message: "something new".to_owned(), details: None };
        assert_eq!(RequestError::try_from(newer).unwrap_err().field, "Error.code");
        let mixed = proto::Error { code: ErrorCode::WriteTimeout.into(), message: String::new(), details: None };
        assert_eq!(RequestError::try_from(mixed).unwrap_err().field, "Error.details");
        assert_eq!(from_status_details(b""), None);
    }

    proptest! {
        #[test]
        fn every_error_survives_the_stream_and_the_status(error in any_error()) {
            let encoded = proto::Error::from(&error).encode_to_vec();
            let decoded = proto::Error::decode(encoded.as_slice()).unwrap();
            prop_assert_eq!(decoded.message.clone(), error.to_string());
            prop_assert_eq!(RequestError::try_from(decoded).unwrap(), error.clone());
            prop_assert_eq!(from_status_details(&status_details(&error)).unwrap(), error);
        }

        #[test]
        fn any_bytes_decode_or_fail_without_panic(bytes: Vec<u8>, code in -2..20, line: u32) {
            let _ = from_status_details(&bytes);
            if let Ok(error) = proto::Error::decode(bytes.as_slice()) {
                let _ = RequestError::try_from(error);
            }
            let details = proto::ReplicaDetails { consistency: code, required: line, ..Default::default() };
            let details = Some(Details::Replicas(details));
            let _ = RequestError::try_from(proto::Error { code, message: String::new(), details });
        }
    }
}
