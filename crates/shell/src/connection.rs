//! What the shell asks of the driver.

use crate::format::Rows;
use crate::settings::Settings;
use bytes::Bytes;
use client::{
    Applied, ClientError, PreparedStatement, Security, Session, SessionBuilder, Statement, TableInfo, Topology,
};
use model::{Consistency, CqlType, RequestError, Token, Value};
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;

/// A column's name and type.
pub(crate) type Column = (String, CqlType);

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

    /// True when the same request can end differently later: nodes come back, and load passes. A request that is not
    /// `repeatable` counts only if it was certainly not executed.
    #[must_use]
    pub fn is_transient(&self, repeatable: bool) -> bool {
        let ConnectionError::Client(error) = self else { return false };
        let passes = match error {
            ClientError::Connection { .. } | ClientError::Timeout { .. } | ClientError::Protocol { .. } => true,
            ClientError::Bind(_) | ClientError::Column(_) => false,
            ClientError::Request(error) => match error {
                RequestError::Unavailable { .. }
                | RequestError::WriteTimeout { .. }
                | RequestError::BatchLogTimeout { .. }
                | RequestError::CasTimeout { .. }
                | RequestError::CasWriteUnknown { .. }
                | RequestError::ReadTimeout { .. }
                | RequestError::WriteFailure { .. }
                | RequestError::ReadFailure { .. }
                | RequestError::Overloaded(_)
                | RequestError::NotServing(_)
                | RequestError::Unprepared { .. }
                | RequestError::Server(_) => true,
                RequestError::Syntax { .. }
                | RequestError::Invalid(_)
                | RequestError::NotFound(_)
                | RequestError::Unauthorized(_)
                | RequestError::AlreadyExists { .. }
                | RequestError::Config(_)
                | RequestError::FunctionFailure { .. }
                | RequestError::SchemaTimeout(_) => false,
            },
        };
        passes && (repeatable || error.applied() == Applied::No)
    }

    /// True when no node could be reached, and nothing was done.
    #[must_use]
    pub(crate) fn is_lost_connection(&self) -> bool {
        matches!(self, ConnectionError::Client(ClientError::Connection { applied: Applied::No, .. }))
    }
}

/// A table, and the keyspace that it was found in.
pub(crate) struct Table {
    /// The keyspace.
    pub(crate) keyspace: String,
    /// What is known of it.
    pub(crate) info: TableInfo,
}

/// What a statement came to.
pub(crate) enum Outcome {
    /// Nothing to show but the trace, if there is one.
    Done(Option<u128>),
    /// Rows, where to go on, and the trace.
    Rows(Rows, Option<Bytes>, Option<u128>),
}

/// What a statement came to, and what the node says of it besides.
pub(crate) struct Executed {
    /// What it came to.
    pub(crate) outcome: Outcome,
    /// Remarks of the node.
    pub(crate) warnings: Vec<String>,
}

/// A session with the cluster, and the level at which it works.
pub(crate) struct Connection {
    session: Session,
    settings: Settings,
    consistency: Consistency,
    serial: Consistency,
    tracing: bool,
}

impl Connection {
    /// Connects to a node, `HOST` or `HOST:PORT`, and through it to its cluster.
    ///
    /// # Errors
    /// When the node does not answer, or the keyspace does not exist.
    pub(crate) async fn connect(settings: &Settings) -> Result<Connection, ConnectionError> {
        let builder = SessionBuilder::new([&settings.host]);
        let mut builder = builder.timeout(settings.request_timeout).connect_timeout(settings.connect_timeout);
        if let Some(keyspace) = &settings.keyspace {
            builder = builder.keyspace(keyspace);
        }
        let mut security = Security::default();
        let read = |path: &std::path::Path| {
            let wrong = |error| ConnectionError::Usage(format!("cannot read {}: {error}", path.display()));
            std::fs::read(path).map_err(wrong)
        };
        if let Some(path) = &settings.tls_ca {
            security = security.trusting(&read(path)?);
        }
        if let Some((certificate, key)) = &settings.tls_identity {
            security = security.certified(&read(certificate)?, &read(key)?);
        }
        if let Some((user, password)) = &settings.login {
            security = security.login(user, password);
        }
        let session = builder.security(security).connect().await?;
        let (consistency, serial) = (Consistency::default(), Consistency::Serial);
        Ok(Connection { session, settings: settings.clone(), consistency, serial, tracing: false })
    }

    /// The same connection as somebody else.
    ///
    /// # Errors
    /// When the cluster does not know them; then this one goes on.
    pub(crate) async fn log_in(&mut self, user: String, password: String) -> Result<(), ConnectionError> {
        let settings = Settings { login: Some((user, password)), keyspace: self.keyspace(), ..self.settings.clone() };
        let (consistency, serial, tracing) = (self.consistency, self.serial, self.tracing);
        *self = Connection { consistency, serial, tracing, ..Connection::connect(&settings).await? };
        Ok(())
    }

    /// Whether statements are traced.
    pub(crate) fn tracing(&mut self) -> &mut bool {
        &mut self.tracing
    }

    /// The node that was connected to first.
    pub(crate) fn host(&self) -> &str {
        &self.settings.host
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

    /// Which replicas decide on conditional statements.
    pub(crate) fn serial_consistency(&self) -> Consistency {
        self.serial
    }

    /// Sets which replicas decide on conditional statements.
    pub(crate) fn set_serial_consistency(&mut self, serial: Consistency) {
        self.serial = serial;
    }

    /// Executes a statement; `resume` is where an earlier page of it ended, `timeout` how long it may take if not as
    /// long as usual.
    pub(crate) async fn execute(
        &self,
        text: &str,
        page_rows: Option<u32>,
        resume: Option<Bytes>,
        timeout: Option<Duration>,
    ) -> Result<Executed, ConnectionError> {
        let mut statement =
            Statement::new(text).consistency(self.consistency).serial_consistency(self.serial).trace(self.tracing);
        if let Some(rows) = page_rows {
            statement = statement.page_size(rows);
        }
        if let Some(timeout) = timeout {
            statement = statement.timeout(timeout);
        }
        let result = match resume {
            None => self.session.execute(statement, ()).await?,
            Some(state) => {
                let page = self.session.pages(statement, ()).await?.resume(state).next_page().await?;
                let nothing = Executed { outcome: Outcome::Rows(Rows::default(), None, None), warnings: Vec::new() };
                let Some(page) = page else { return Ok(nothing) };
                page
            }
        };
        let (warnings, trace) = (result.warnings.clone(), result.trace_id);
        if result.outcome != client::Outcome::Rows {
            return Ok(Executed { outcome: Outcome::Done(trace), warnings });
        }
        let columns = result.columns().iter().map(|column| (column.name.clone(), column.cql_type.clone())).collect();
        let next = result.paging_state().cloned();
        let rows = result.into_rows().into_iter().map(|row| row.cells().to_vec()).collect();
        Ok(Executed { outcome: Outcome::Rows(Rows { columns, rows }, next, trace), warnings })
    }

    /// Prepares a statement at the connection's level.
    pub(crate) async fn prepare(&self, text: &str) -> Result<PreparedStatement, ConnectionError> {
        Ok(self.session.prepare(text).await?.consistency(self.consistency))
    }

    /// Executes a prepared write, at `timestamp` microseconds since 1970 if it is given.
    pub(crate) async fn write(
        &self,
        statement: &PreparedStatement,
        values: Vec<Option<Value>>,
        timestamp: Option<i64>,
    ) -> Result<(), ConnectionError> {
        match timestamp {
            Some(timestamp) => self.session.execute_prepared(&statement.clone().timestamp(timestamp), values).await?,
            None => self.session.execute_prepared(statement, values).await?,
        };
        Ok(())
    }

    /// The cluster and its schema as they are now.
    pub(crate) async fn topology(&self) -> Result<Arc<Topology>, ConnectionError> {
        Ok(self.session.refresh_topology().await?)
    }

    /// What was last known of the cluster, without asking it.
    pub(crate) fn known_topology(&self) -> Arc<Topology> {
        self.session.topology()
    }

    /// A table of `keyspace`, or of the one in use.
    pub(crate) async fn table(&self, keyspace: Option<&str>, table: &str) -> Result<Table, ConnectionError> {
        let topology = self.topology().await?;
        let keyspace = self.keyspace_or_current(keyspace)?;
        let found = topology.keyspaces.get(&keyspace).and_then(|described| described.tables.get(table));
        let missing = || ConnectionError::Usage(format!("table {keyspace}.{table} does not exist"));
        Ok(Table { info: found.ok_or_else(missing)?.clone(), keyspace })
    }

    fn keyspace_or_current(&self, keyspace: Option<&str>) -> Result<String, ConnectionError> {
        let missing = || ConnectionError::Usage("no keyspace is in use: USE one, or name it".to_owned());
        keyspace.map(str::to_owned).or_else(|| self.keyspace()).ok_or_else(missing)
    }

    /// The addresses of the nodes that hold a token in `keyspace`, or in the one in use.
    pub(crate) async fn replicas(&self, token: i64, keyspace: Option<&str>) -> Result<Vec<String>, ConnectionError> {
        let topology = self.topology().await?;
        let keyspace = self.keyspace_or_current(keyspace)?;
        if topology.keyspace(&keyspace).is_none() {
            return Err(ConnectionError::Usage(format!("keyspace '{keyspace}' does not exist")));
        }
        let nodes = topology.replicas(&keyspace, Token(token));
        Ok(nodes.into_iter().map(|node| node.client_address.clone()).collect())
    }
}
