//! How a call can fail, seen from the caller: what the cluster answered, or why there is no answer.

use model::RequestError;
use model::error::Applied;
use std::time::Duration;
use thiserror::Error;

/// Why a call did not succeed.
///
/// When a call was attempted more than once, this is the error of the last attempt, unless an earlier attempt may
/// have been applied and the last one certainly was not: then it is the earlier one.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ClientError {
    /// The cluster answered with an error.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// No node could be reached, or a connection was lost before the answer came.
    #[error("connection to {address} failed: {reason}")]
    Connection {
        /// The node, or the contact points.
        address: String,
        /// In the words of the transport.
        reason: String,
        /// Whether the statement can have been executed.
        applied: Applied,
    },
    /// No answer came in time.
    #[error("no answer within {after:?}")]
    Timeout {
        /// The time allowed.
        after: Duration,
        /// Whether the statement can have been executed.
        applied: Applied,
    },
    /// A value does not fit the bind marker that it is for, or there are too many or too few; nothing was sent.
    #[error("{0}")]
    Bind(String),
    /// A value of a row was asked for by a column or as a type that it does not have.
    #[error("{0}")]
    Column(String),
    /// The answer is not what the protocol allows.
    #[error("the answer of {address} cannot be read: {reason}")]
    Protocol {
        /// The node.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl ClientError {
    /// Whether the statement can have had an effect: what to know before repeating it.
    #[must_use]
    pub fn applied(&self) -> Applied {
        match self {
            ClientError::Request(error) => error.applied(),
            ClientError::Connection { applied, .. } | ClientError::Timeout { applied, .. } => *applied,
            ClientError::Bind(_) | ClientError::Column(_) => Applied::No,
            ClientError::Protocol { .. } => Applied::Maybe,
        }
    }

    /// The cluster's own error, if it is one.
    #[must_use]
    pub fn request(&self) -> Option<&RequestError> {
        match self {
            ClientError::Request(error) => Some(error),
            _ => None,
        }
    }
}
