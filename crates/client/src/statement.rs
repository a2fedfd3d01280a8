//! Statements and how to execute them.

use crate::classify::{Class, Kind, classify};
use crate::error::ClientError;
use crate::row::{ColumnSpec, Columns, columns};
use crate::value::{ToValues, Written};
use api::InvalidMessage;
use api::proto::client::v1 as proto;
use arc_swap::ArcSwap;
use bytes::Bytes;
use model::{Consistency, PartitionKey, RetryToken, Token};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How to execute a statement; what is `None` is the session's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) consistency: Option<Consistency>,
    pub(crate) serial: Option<Consistency>,
    pub(crate) timestamp: Option<i64>,
    pub(crate) retry_token: Option<RetryToken>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) page_rows: Option<u32>,
    pub(crate) idempotent: Option<bool>,
    pub(crate) trace: bool,
}

/// The methods that set [`Options`], alike for both kinds of statement.
macro_rules! option_methods {
    () => {
        /// How many replicas must answer.
        #[must_use]
        pub fn consistency(mut self, consistency: Consistency) -> Self {
            self.options.consistency = Some(consistency);
            self
        }

        /// Which replicas decide on a conditional statement: SERIAL, which is the default, or LOCAL_SERIAL.
        #[must_use]
        pub fn serial_consistency(mut self, serial: Consistency) -> Self {
            self.options.serial = Some(serial);
            self
        }

        /// The timestamp of what is written, in microseconds since 1970. Without it the session gives each write
        /// one of its own.
        #[must_use]
        pub fn timestamp(mut self, micros: i64) -> Self {
            self.options.timestamp = Some(micros);
            self
        }

        /// Names this write: however often it is executed with the same token, by this session or another one, within
        /// ten minutes of the token's time, it happens once, and a conditional write has the same answer each time.
        /// It is then safe to repeat, and the session does so. A token names one write: see
        /// [`Session::new_retry_token`](crate::Session::new_retry_token).
        #[must_use]
        pub fn retry_token(mut self, token: RetryToken) -> Self {
            self.options.retry_token = Some(token);
            self
        }

        /// How long a call may take, retries included.
        #[must_use]
        pub fn timeout(mut self, timeout: Duration) -> Self {
            self.options.timeout = Some(timeout);
            self
        }

        /// Most rows in a page.
        #[must_use]
        pub fn page_size(mut self, rows: u32) -> Self {
            self.options.page_rows = Some(rows);
            self
        }

        /// Whether what is done for the statement is written into `system_traces`.
        #[must_use]
        pub fn trace(mut self, trace: bool) -> Self {
            self.options.trace = trace;
            self
        }

        /// Whether executing the statement twice is as good as once, so that it may be repeated when its outcome
        /// is not known. Without it the session judges: reads are, and so is a write with a timestamp that has no
        /// condition, function, arithmetic or list position.
        #[must_use]
        pub fn idempotent(mut self, idempotent: bool) -> Self {
            self.options.idempotent = Some(idempotent);
            self
        }
    };
}

/// The text of a statement, and how to execute it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    pub(crate) text: String,
    pub(crate) options: Options,
}

impl Statement {
    /// A statement of this text.
    pub fn new(text: impl Into<String>) -> Statement {
        Statement { text: text.into(), options: Options::default() }
    }

    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    option_methods!();
}

impl From<&str> for Statement {
    fn from(text: &str) -> Statement {
        Statement::new(text)
    }
}

impl From<String> for Statement {
    fn from(text: String) -> Statement {
        Statement::new(text)
    }
}

impl From<&String> for Statement {
    fn from(text: &String) -> Statement {
        Statement::new(text.as_str())
    }
}

/// A statement that the cluster has parsed and checked, and how to execute it. Cheap to clone; clones share what
/// the cluster said of it.
#[derive(Clone, Debug)]
pub struct PreparedStatement {
    pub(crate) shared: Arc<Prepared>,
    pub(crate) options: Options,
}

impl PreparedStatement {
    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.shared.text
    }

    /// The bind markers in their order.
    #[must_use]
    pub fn parameters(&self) -> Columns {
        Arc::clone(&self.shared.facts.load().parameters)
    }

    /// The columns of its result; none when it returns no rows.
    #[must_use]
    pub fn result_columns(&self) -> Columns {
        Arc::clone(&self.shared.facts.load().result_columns)
    }

    /// The token of the partition that these values choose; `None` when they do not choose one. For tools that
    /// look where data is: the session does it by itself.
    ///
    /// # Errors
    /// [`ClientError::Bind`] when they are not values for the markers.
    pub fn token(&self, values: impl ToValues) -> Result<Option<Token>, ClientError> {
        let facts = self.shared.facts.load();
        Ok(facts.token(&bind(&facts.parameters, &values)?))
    }

    option_methods!();
}

/// What all clones of a prepared statement share.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) text: String,
    /// The session's keyspace when it was prepared; empty for none.
    pub(crate) keyspace: String,
    pub(crate) facts: ArcSwap<Facts>,
    /// When it was prepared last on each node that had forgotten it. Locked while it is being prepared again, so
    /// that of many executions that find it forgotten one prepares it.
    pub(crate) prepared_again: tokio::sync::Mutex<BTreeMap<u128, Instant>>,
}

/// What the cluster says of a prepared statement.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) id: Bytes,
    pub(crate) parameters: Columns,
    pub(crate) partition_key_indexes: Vec<u32>,
    pub(crate) result_columns: Columns,
    pub(crate) result_metadata_id: Bytes,
    /// Of the table; empty when there is none.
    pub(crate) keyspace: String,
    pub(crate) class: Class,
}

impl TryFrom<proto::PrepareResponse> for Facts {
    type Error = InvalidMessage;

    fn try_from(response: proto::PrepareResponse) -> Result<Facts, InvalidMessage> {
        let kind = match proto::StatementKind::try_from(response.kind) {
            Ok(proto::StatementKind::Read) => Kind::Read,
            Ok(proto::StatementKind::Write) => Kind::Write,
            Ok(proto::StatementKind::Schema) => Kind::Schema,
            Ok(proto::StatementKind::Use) => Kind::Use,
            // A kind of a newer version: nothing is known of it, so nothing is done for it.
            Ok(proto::StatementKind::Unspecified) | Err(_) => Kind::Other,
        };
        let parameters = columns(response.parameters)?;
        if response.partition_key_indexes.iter().any(|index| *index as usize >= parameters.len()) {
            return Err(InvalidMessage::new("PrepareResponse.partition_key_indexes", "are not of parameters"));
        }
        Ok(Facts {
            id: response.id,
            parameters,
            partition_key_indexes: response.partition_key_indexes,
            result_columns: columns(response.result_columns)?,
            result_metadata_id: response.result_metadata_id,
            keyspace: response.keyspace,
            class: Class { kind, repeatable: response.idempotent },
        })
    }
}

impl Facts {
    /// The token of the partition that `values` choose; `None` when they do not choose one.
    pub(crate) fn token(&self, values: &[proto::Value]) -> Option<Token> {
        let component = |index: &u32| match &values.get(*index as usize)?.kind {
            Some(proto::value::Kind::Bytes(bytes)) => Some(bytes.clone()),
            _ => None,
        };
        if self.partition_key_indexes.is_empty() {
            return None;
        }
        let components: Option<Vec<Bytes>> = self.partition_key_indexes.iter().map(component).collect();
        // A key that is not valid has no replicas: the node that gets it says what is wrong with it.
        PartitionKey::from_components(&components?).ok().map(|key| key.token)
    }
}

/// The values in their wire form, all in one buffer.
pub(crate) fn bind(parameters: &[ColumnSpec], values: &impl ToValues) -> Result<Vec<proto::Value>, ClientError> {
    if values.count() != parameters.len() {
        let (wanted, given) = (parameters.len(), values.count());
        return Err(ClientError::Bind(match given {
            0 => "Invalid amount of bind variables".to_owned(),
            _ => format!("there were {wanted} markers(?) in CQL but {given} bound variables"),
        }));
    }
    let mut buffer = Vec::with_capacity(16 * parameters.len());
    let mut ends = Vec::with_capacity(parameters.len());
    for (index, parameter) in parameters.iter().enumerate() {
        let value = values.value(index);
        let value = value.ok_or_else(|| ClientError::Bind(format!("there is no value {index}")))?;
        let written = value
            .to_value(&parameter.cql_type, &mut buffer)
            .map_err(|error| ClientError::Bind(format!("value {} for '{}': {error}", index + 1, parameter.name)))?;
        ends.push((written, buffer.len()));
    }
    let buffer = Bytes::from(buffer);
    let mut start = 0;
    Ok(ends
        .into_iter()
        .map(|(written, end)| {
            let kind = match written {
                Written::Value => proto::value::Kind::Bytes(buffer.slice(start..end)),
                Written::Null => proto::value::Kind::Null(proto::Null {}),
                Written::Unset => proto::value::Kind::Unset(proto::Unset {}),
            };
            start = end;
            proto::Value { kind: Some(kind) }
        })
        .collect())
}

/// What is known of an unprepared statement.
pub(crate) fn class_of(statement: &Statement) -> Class {
    classify(&statement.text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Unset;
    use model::CqlType;

    fn facts(types: &[CqlType], partition_key_indexes: &[u32]) -> Facts {
        let parameters = types.iter().map(|cql_type| proto::ColumnSpec::new("k", "t", "c", cql_type)).collect();
        let partition_key_indexes = partition_key_indexes.to_vec();
        let kind = proto::StatementKind::Write.into();
        let response = proto::PrepareResponse { parameters, partition_key_indexes, kind, ..Default::default() };
        Facts::try_from(response).unwrap()
    }

    #[test]
    fn the_token_is_that_of_the_serialized_key() {
        let single = facts(&[CqlType::Int, CqlType::Text], &[1]);
        let values = bind(&single.parameters, &(1, "123")).unwrap();
        // A vector of the drivers' own tests.
        assert_eq!(single.token(&values), Some(Token(-7_468_325_962_851_647_638)));

        let composite = facts(&[CqlType::Int, CqlType::Text], &[1, 0]);
        let values = bind(&composite.parameters, &(1, "ab")).unwrap();
        assert_eq!(composite.token(&values), Some(Token::of(b"\0\x02ab\0\0\x04\0\0\0\x01\0")));

        assert_eq!(facts(&[CqlType::Int], &[]).token(&values), None);
        let null = bind(&single.parameters, &(1, None::<String>)).unwrap();
        assert_eq!(single.token(&null), None);
    }

    #[test]
    fn values_are_bound_by_the_types_of_the_markers() {
        let facts = facts(&[CqlType::BigInt, CqlType::Text, CqlType::Int, CqlType::Blob], &[]);
        let values = bind(&facts.parameters, &(1i32, "", None::<i32>, Unset)).unwrap();
        let kinds: Vec<_> = values.into_iter().map(|value| value.kind.unwrap()).collect();
        use proto::value::Kind;
        assert_eq!(
            kinds,
            [
                Kind::Bytes(Bytes::copy_from_slice(&1i64.to_be_bytes())),
                Kind::Bytes(Bytes::new()),
                Kind::Null(proto::Null {}),
                Kind::Unset(proto::Unset {})
            ]
        );
        let error = bind(&facts.parameters, &(1, 2, 3, 4)).unwrap_err().to_string();
        assert_eq!(error, "value 2 for 'c': an integer is not a value of type text");
        assert!(
            bind(&facts.parameters, &(1, "two"))
                .unwrap_err()
                .to_string()
                .contains("there were 4 markers(?) in CQL but 2 bound")
        );
        assert!(bind(&facts.parameters, &()).is_err());
    }

    #[test]
    fn indexes_that_are_not_of_parameters_are_refused() {
        let response = proto::PrepareResponse { partition_key_indexes: vec![0], ..Default::default() };
        assert!(Facts::try_from(response).is_err());
    }
}
