//! Results: rows whose values are converted when they are asked for.

use crate::error::ClientError;
use crate::value::FromValue;
use api::InvalidMessage;
use api::proto::client::v1 as proto;
use api::rows::decode_row;
use bytes::Bytes;
use model::{CqlType, NodeId, Value};
use std::sync::Arc;

/// A column of a result, or a bind marker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnSpec {
    /// Its name.
    pub name: String,
    /// The type of its values.
    pub cql_type: CqlType,
    /// The keyspace of the table that it is of; empty when it is of none.
    pub keyspace: String,
    /// The table that it is of; empty when it is of none.
    pub table: String,
}

/// The columns of a result, shared by its rows.
pub type Columns = Arc<[ColumnSpec]>;

pub(crate) fn columns(specs: Vec<proto::ColumnSpec>) -> Result<Columns, InvalidMessage> {
    let column = |spec: proto::ColumnSpec| {
        let cql_type = spec.cql_type()?;
        Ok(ColumnSpec { name: spec.name, cql_type, keyspace: spec.keyspace, table: spec.table })
    };
    specs.into_iter().map(column).collect()
}

/// One row of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    columns: Columns,
    cells: Vec<Option<Bytes>>,
}

impl Row {
    /// The row of these cells in their wire form; `None` is null.
    ///
    /// # Errors
    /// When it is not a row of as many columns.
    pub(crate) fn decode(columns: &Columns, row: Bytes) -> Result<Row, InvalidMessage> {
        Ok(Row { cells: decode_row(row, columns.len())?, columns: Arc::clone(columns) })
    }

    /// The columns, in the order of the values.
    #[must_use]
    pub fn columns(&self) -> &[ColumnSpec] {
        &self.columns
    }

    /// The value of the column of this name; the first when several have it.
    ///
    /// # Errors
    /// [`ClientError::Column`] when there is no such column or its value is not a `T`.
    pub fn get<T: FromValue>(&self, name: &str) -> Result<T, ClientError> {
        let found = self.columns.iter().position(|column| column.name == name);
        let index = found.ok_or_else(|| ClientError::Column(format!("the result has no column '{name}'")))?;
        self.get_at(index)
    }

    /// The value of the column at `index`, from 0.
    ///
    /// # Errors
    /// [`ClientError::Column`] when there is no such column or its value is not a `T`.
    pub fn get_at<T: FromValue>(&self, index: usize) -> Result<T, ClientError> {
        let (Some(column), Some(cell)) = (self.columns.get(index), self.cells.get(index)) else {
            return Err(ClientError::Column(format!(
                "the result has no column {index}, it has {}",
                self.columns.len()
            )));
        };
        T::from_value(&column.cql_type, cell.as_ref())
            .map_err(|error| ClientError::Column(format!("column '{}': {error}", column.name)))
    }

    /// The value of the column at `index` as what it is; `None` for null.
    ///
    /// # Errors
    /// [`ClientError::Column`] when there is no such column or the server sent what is not a value of its type.
    pub fn value(&self, index: usize) -> Result<Option<Value>, ClientError> {
        self.get_at(index)
    }

    /// The values in their wire form, in the order of the columns; `None` is null.
    #[must_use]
    pub fn cells(&self) -> &[Option<Bytes>] {
        &self.cells
    }
}

/// What executing a statement came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done.
    Void,
    /// A page of rows.
    Rows,
    /// The session uses this keyspace from now on.
    SetKeyspace(String),
    /// The schema was changed, and the nodes that can be reached know it.
    SchemaChange(SchemaChange),
}

/// A change of the schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaChange {
    /// What happened.
    pub effect: SchemaEffect,
    /// The keyspace.
    pub keyspace: String,
    /// The table; `None` when the keyspace itself, or a type of it, was changed.
    pub table: Option<String>,
    /// The user-defined type, if one was changed.
    pub user_type: Option<String>,
    /// The epoch of the cluster's metadata that includes the change.
    pub epoch: u64,
}

/// What a schema statement did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchemaEffect {
    /// It was created.
    Created,
    /// It was dropped.
    Dropped,
    /// It was altered.
    Updated,
    /// It was emptied.
    Truncated,
    /// Nothing was changed: it existed, or did not.
    None,
}

/// The result of one execution: at most one page of rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryResult {
    /// What it came to.
    pub outcome: Outcome,
    /// The node that executed it.
    pub coordinator: NodeId,
    /// Remarks of the server.
    pub warnings: Vec<String>,
    /// The id of the trace that was asked for, in `system_traces`.
    pub trace_id: Option<u128>,
    pub(crate) columns: Columns,
    pub(crate) rows: Vec<Row>,
    pub(crate) paging_state: Option<Bytes>,
}

impl QueryResult {
    /// The columns; empty when the statement returns no rows.
    #[must_use]
    pub fn columns(&self) -> &[ColumnSpec] {
        &self.columns
    }

    /// The rows of this page.
    #[must_use]
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The rows of this page.
    #[must_use]
    pub fn into_rows(self) -> Vec<Row> {
        self.rows
    }

    /// The first row, if there is one.
    #[must_use]
    pub fn first(&self) -> Option<&Row> {
        self.rows.first()
    }

    /// Present when there may be more rows: see [`crate::Session::pages`].
    #[must_use]
    pub fn paging_state(&self) -> Option<&Bytes> {
        self.paging_state.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::rows::encode_row;

    fn row() -> Row {
        let spec = |name: &str, cql_type| ColumnSpec {
            name: name.to_owned(),
            cql_type,
            keyspace: String::new(),
            table: String::new(),
        };
        let columns: Columns = vec![spec("id", CqlType::Int), spec("name", CqlType::Text)].into();
        let cells = [Some(Bytes::copy_from_slice(&7i32.to_be_bytes())), None];
        Row::decode(&columns, encode_row(&cells)).unwrap()
    }

    #[test]
    fn values_are_found_by_name_and_by_position() {
        let row = row();
        assert_eq!(row.get::<i32>("id"), Ok(7));
        assert_eq!(row.get_at::<i64>(0), Ok(7));
        assert_eq!(row.get::<Option<String>>("name"), Ok(None));
        assert_eq!(row.value(0), Ok(Some(Value::Int(7))));
        assert_eq!(row.value(1), Ok(None));
    }

    #[test]
    fn a_wrong_column_or_type_is_an_error_that_names_it() {
        let row = row();
        let message = |error: ClientError| error.to_string();
        assert!(message(row.get::<i32>("age").unwrap_err()).contains("no column 'age'"));
        assert!(message(row.get_at::<i32>(2).unwrap_err()).contains("no column 2"));
        assert!(message(row.get::<String>("name").unwrap_err()).contains("column 'name': it is null"));
        assert!(message(row.get::<bool>("id").unwrap_err()).contains("column 'id'"));
    }
}
