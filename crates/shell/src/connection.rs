//! What the shell asks of the driver.

use crate::format::Rows;
use bytes::Bytes;
use client::{ClientError, PreparedStatement, Session, SessionBuilder, Statement, Topology};
use model::{Consistency, CqlType, RequestError, Value};
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;

/// A column's name and type.
pub(crate) type Column = (String, CqlType);

/// How long a statement may take; schema changes wait for the nodes to agree.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Why the cluster did not do what the shell asked.
#[derive(Debug, Error)]
pub enum ConnectionError {
    /// The driver's error.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The shell's own: a name that does not exist, a result that cannot be shown.
    #[error("{0}")]
    Usage(String),
}

impl ConnectionError {
    /// The cluster's own error, if it is one.
    #[must_use]
    pub fn request(&self) -> Option<&RequestError> {
        match self {
            ConnectionError::Client(error) => error.request(),
            ConnectionError::Usage(_) => None,
        }
    }
}

/// What a statement came to.
pub(crate) enum Outcome {
    /// Nothing to show.
    Done,
    /// Rows, and where to go on.
    Rows(Rows, Option<Bytes>),
}

/// A session with the cluster, and the level at which it works.
pub(crate) struct Connection {
    session: Session,
    consistency: Consistency,
}

impl Connection {
    /// Connects to a node, `HOST` or `HOST:PORT`, and through it to its cluster.
    ///
    /// # Errors
    /// When the node does not answer, or the keyspace does not exist.
    pub(crate) async fn connect(host: &str, keyspace: Option<&str>) -> Result<Connection, ConnectionError> {
        let mut builder = SessionBuilder::new([host]).timeout(TIMEOUT);
        if let Some(keyspace) = keyspace {
            builder = builder.keyspace(keyspace);
        }
        Ok(Connection { session: builder.connect().await?, consistency: Consistency::default() })
    }

    /// The keyspace of names that have none.
    pub(crate) fn keyspace(&self) -> Option<String> {
        self.session.keyspace()
    }

    /// How many replicas must answer.
    pub(crate) fn consistency(&self) -> Consistency {
        self.consistency
    }

    /// Sets how many replicas must answer.
    pub(crate) fn set_consistency(&mut self, consistency: Consistency) {
        self.consistency = consistency;
    }

    /// Executes a statement; `resume` is where an earlier page of it ended.
    pub(crate) async fn execute(
        &self,
        text: &str,
        page_rows: Option<u32>,
        resume: Option<Bytes>,
    ) -> Result<Outcome, ConnectionError> {
        let mut statement = Statement::new(text).consistency(self.consistency);
        if let Some(rows) = page_rows {
            statement = statement.page_size(rows);
        }
        let result = match resume {
            None => self.session.execute(statement, ()).await?,
            Some(state) => {
                let page = self.session.pages(statement, ()).await?.resume(state).next_page().await?;
                let Some(page) = page else { return Ok(Outcome::Rows(Rows::default(), None)) };
                page
            }
        };
        if result.outcome != client::Outcome::Rows {
            return Ok(Outcome::Done);
        }
        let columns = result.columns().iter().map(|column| (column.name.clone(), column.cql_type.clone())).collect();
        let next = result.paging_state().cloned();
        let rows = result.into_rows().into_iter().map(|row| row.cells().to_vec()).collect();
        Ok(Outcome::Rows(Rows { columns, rows }, next))
    }

    /// Prepares a statement at the connection's level.
    pub(crate) async fn prepare(&self, text: &str) -> Result<PreparedStatement, ConnectionError> {
        Ok(self.session.prepare(text).await?.consistency(self.consistency))
    }

    /// Executes a prepared INSERT.
    pub(crate) async fn insert(
        &self,
        insert: &PreparedStatement,
        values: Vec<Option<Value>>,
    ) -> Result<(), ConnectionError> {
        self.session.execute_prepared(insert, values).await?;
        Ok(())
    }

    /// The cluster and its schema as they are now.
    pub(crate) async fn topology(&self) -> Result<Arc<Topology>, ConnectionError> {
        Ok(self.session.refresh_topology().await?)
    }

    /// The columns of a table in its order.
    pub(crate) async fn columns(&self, keyspace: Option<&str>, table: &str) -> Result<Vec<Column>, ConnectionError> {
        let unknown = |message: String| ConnectionError::Usage(message);
        let current = self.keyspace();
        let keyspace = keyspace.or(current.as_deref());
        let keyspace = keyspace.ok_or_else(|| unknown("no keyspace is in use: USE one, or name it".to_owned()))?;
        let topology = self.topology().await?;
        let found = topology.keyspaces.get(keyspace).and_then(|keyspace| keyspace.tables.get(table));
        let found = found.ok_or_else(|| unknown(format!("table {keyspace}.{table} does not exist")))?;
        Ok(found.columns.iter().map(|column| (column.name.clone(), column.cql_type.clone())).collect())
    }
}
