//! How a request can end other than well. The same for every front door; each variant answers one
//! question for client and checker alike: can the write have been applied?

use crate::consistency::Consistency;
use std::fmt;
use thiserror::Error;

/// Why replicas failed a read or a write (the failure codes of Cassandra's protocol, and one of our own).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FailureReason {
    /// The replicas' logs say more.
    #[default]
    Unknown,
    /// They met more tombstones than one read may: the data model deletes what it then reads over
    /// (READ_TOO_MANY_TOMBSTONES).
    TooManyTombstones,
    /// Their disks are full: they refuse writes until there is space, and accept them then by themselves.
    DiskFull,
    /// They have more to do than they can.
    Overloaded,
}

impl fmt::Display for FailureReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FailureReason::Unknown => Ok(()),
            FailureReason::TooManyTombstones => f.write_str(
                "; the read passed more tombstones of deleted or expired data than the limit: read less at once",
            ),
            FailureReason::DiskFull => f.write_str(
                "; their disks are full, and writes are refused until there is space: add disks or nodes, or drop \
                 snapshots or data",
            ),
            FailureReason::Overloaded => {
                f.write_str("; they have more to do than they can: ask for less at once, or add nodes")
            }
        }
    }
}

/// The outcome of a request that did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RequestError {
    /// The statement's text is not CQL.
    #[error("line {line}:{column} {message}")]
    Syntax {
        /// Line of the offending token, from 1.
        line: u32,
        /// Column of the offending token in characters, from 1.
        column: u32,
        /// What is wrong, with the token in quotes.
        message: String,
    },
    /// The statement is CQL but cannot be executed as it stands.
    #[error("{0}")]
    Invalid(String),
    /// A keyspace, table or prepared statement that does not exist.
    #[error("{0}")]
    NotFound(String),
    /// A keyspace or table of that name exists.
    #[error("{}", already_exists(.keyspace, .table))]
    AlreadyExists {
        /// The keyspace.
        keyspace: String,
        /// The table; empty when it is the keyspace that exists.
        table: String,
    },
    /// A definition or an option asks for what there is not: a replication or compaction strategy, a value out of the
    /// range of an option.
    #[error("{0}")]
    Config(String),
    /// The user may not do this; or nobody may, since it is the cluster's own.
    #[error("{0}")]
    Unauthorized(String),
    /// A function or an operator has no value for its arguments.
    #[error("{message}")]
    FunctionFailure {
        /// The keyspace of the function: `system` for native ones and operators.
        keyspace: String,
        /// Its name; of an operator its sign.
        function: String,
        /// The CQL types of its arguments.
        argument_types: Vec<String>,
        /// What happened.
        message: String,
    },
    /// No such prepared statement on this node: prepare it again.
    #[error("prepared statement {id} is not known to this node; prepare it again")]
    Unprepared {
        /// The statement's id in hexadecimal.
        id: String,
    },
    /// Too few replicas are alive; nothing was sent.
    #[error("Cannot achieve consistency level {consistency}{}: {alive} of {required} required replicas are alive",
        in_data_center(.data_center))]
    Unavailable {
        /// The level asked for.
        consistency: Consistency,
        /// Replicas needed.
        required: u32,
        /// Replicas alive.
        alive: u32,
        /// The data centre in which too few are; `None` when all data centres count together.
        data_center: Option<String>,
    },
    /// Too few replicas acknowledged a write in time; it may be applied.
    #[error(
        "Operation timed out - received only {received} responses of the {required} that a write at {consistency} \
         needs; it may be applied"
    )]
    WriteTimeout {
        /// The level asked for.
        consistency: Consistency,
        /// Acknowledgements received.
        received: u32,
        /// Acknowledgements needed.
        required: u32,
    },
    /// Too few nodes kept a logged batch in time: nothing of it is written yet, and those that keep it may write all.
    #[error(
        "Operation timed out - received only {received} of the {required} responses of nodes that keep the batch; it \
         may be applied"
    )]
    BatchLogTimeout {
        /// Nodes that keep it.
        received: u32,
        /// Nodes that have to.
        required: u32,
    },
    /// A conditional write was not decided on in time; it is not applied.
    #[error(
        "conditional write timed out at {consistency}: {received} of {required} replicas agreed, {contentions} times \
         another write was first; it is not applied"
    )]
    CasTimeout {
        /// Which replicas decide.
        consistency: Consistency,
        /// Replicas that agreed in the last round.
        received: u32,
        /// Replicas that had to.
        required: u32,
        /// How often another transaction was in the way.
        contentions: u32,
    },
    /// A conditional write was proposed, and it is not known whether it is applied.
    #[error(
        "conditional write unknown at {consistency}: {received} of {required} replicas agreed; it may be applied, now \
         or later"
    )]
    CasWriteUnknown {
        /// Which replicas decide.
        consistency: Consistency,
        /// Replicas that agreed in the last round.
        received: u32,
        /// Replicas that had to.
        required: u32,
    },
    /// Too few replicas answered a read in time.
    #[error(
        "Operation timed out - received only {received} responses of the {required} that a read at {consistency} needs"
    )]
    ReadTimeout {
        /// The level asked for.
        consistency: Consistency,
        /// Answers received.
        received: u32,
        /// Answers needed.
        required: u32,
        /// Whether the replica asked for the data itself was among them.
        data_present: bool,
    },
    /// Replicas refused or failed a write; it may be applied on others.
    #[error(
        "Operation failed - received {received} responses and {failures} failures: a write at {consistency} needs \
         {required} responses{reason}"
    )]
    WriteFailure {
        /// The level asked for.
        consistency: Consistency,
        /// Acknowledgements received.
        received: u32,
        /// Acknowledgements needed.
        required: u32,
        /// Replicas that failed.
        failures: u32,
        /// Why they failed, if one of them said so.
        reason: FailureReason,
    },
    /// Replicas refused or failed a read.
    #[error(
        "Operation failed - received {received} responses and {failures} failures: a read at {consistency} needs \
         {required} responses{reason}"
    )]
    ReadFailure {
        /// The level asked for.
        consistency: Consistency,
        /// Answers received.
        received: u32,
        /// Answers needed.
        required: u32,
        /// Replicas that failed.
        failures: u32,
        /// Why they failed, if one of them said so.
        reason: FailureReason,
    },
    /// A change of the schema was not decided in time; it may be decided yet.
    #[error("the schema change was not decided in time: {0}; it may take effect yet")]
    SchemaTimeout(String),
    /// The node has as much work as it takes on; nothing was done.
    #[error("the node is overloaded: {0}; retry later or on another node")]
    Overloaded(String),
    /// The node is not serving: starting, joining, or shutting down; nothing was done.
    #[error("the node is not serving: {0}")]
    NotServing(String),
    /// A defect or a broken store; the log of the node says more.
    #[error("server error: {0}")]
    Server(String),
}

/// In Cassandra's words, since tools match on them.
fn already_exists(keyspace: &str, table: &str) -> String {
    if table.is_empty() {
        format!("Cannot add existing keyspace \"{keyspace}\"")
    } else {
        format!("Cannot add already existing table \"{table}\" to keyspace \"{keyspace}\"")
    }
}

fn in_data_center(data_center: &Option<String>) -> String {
    data_center.as_ref().map(|name| format!(" in DC {name}")).unwrap_or_default()
}

/// Whether a failed write can have been applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// Certainly not.
    No,
    /// It may be applied, now or later.
    Maybe,
}

impl RequestError {
    /// Whether the request can have had an effect.
    #[must_use]
    pub fn applied(&self) -> Applied {
        match self {
            RequestError::Syntax { .. }
            | RequestError::Invalid(_)
            | RequestError::NotFound(_)
            | RequestError::AlreadyExists { .. }
            | RequestError::Config(_)
            | RequestError::Unauthorized(_)
            | RequestError::FunctionFailure { .. }
            | RequestError::Unprepared { .. }
            | RequestError::Unavailable { .. }
            | RequestError::CasTimeout { .. }
            | RequestError::ReadTimeout { .. }
            | RequestError::ReadFailure { .. }
            | RequestError::Overloaded(_)
            | RequestError::NotServing(_) => Applied::No,
            RequestError::WriteTimeout { .. }
            | RequestError::BatchLogTimeout { .. }
            | RequestError::CasWriteUnknown { .. }
            | RequestError::WriteFailure { .. }
            | RequestError::SchemaTimeout(_)
            | RequestError::Server(_) => Applied::Maybe,
        }
    }
}
