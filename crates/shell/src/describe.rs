//! DESCRIBE: the server describes the schema, in statements that create it again; the nodes of the cluster are told by
//! its topology.

use crate::connection::{Connection, ConnectionError, Outcome};
use crate::format::Rows;
use client::Topology;
use std::io::Write;

/// What to describe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Describe {
    /// Nodes and their state.
    Cluster,
    /// What the statement names.
    Statement(String),
}

/// Writes what `what` asks for.
///
/// # Errors
/// When the name is not known, the cluster does not answer or `out` cannot be written.
pub(crate) async fn describe(
    connection: &Connection,
    what: &Describe,
    out: &mut dyn Write,
) -> Result<(), ConnectionError> {
    let text = match what {
        Describe::Cluster => {
            let topology = connection.topology().await?;
            cluster(&topology)
        }
        Describe::Statement(statement) => match connection.execute(statement, None, None, None).await?.outcome {
            Outcome::Rows(rows, ..) => shown(&rows),
            Outcome::Done(_) => String::new(),
        },
    };
    out.write_all(text.as_bytes()).map_err(|error| ConnectionError::Usage(error.to_string()))
}

/// Statements, each with an empty line behind it; or names, by keyspace if they are in one.
fn shown(rows: &Rows) -> String {
    let column = |name: &str| rows.columns.iter().position(|(column, _)| column == name);
    let cell = |row: &[Option<bytes::Bytes>], column: Option<usize>| {
        let cell = column.and_then(|column| row.get(column)?.as_ref());
        cell.map(|text| String::from_utf8_lossy(text).into_owned()).unwrap_or_default()
    };
    let statement = column("create_statement");
    if statement.is_some() {
        return rows.rows.iter().map(|row| format!("{}\n\n", cell(row, statement).trim_end())).collect();
    }
    let (keyspace, kind, name) = (column("keyspace_name"), column("type"), column("name"));
    let mut lines: Vec<(String, Vec<String>)> = Vec::new();
    for row in &rows.rows {
        let place = match cell(row, kind).as_str() {
            "keyspace" => String::new(),
            _ => format!("Keyspace {}: ", cell(row, keyspace)),
        };
        match lines.last_mut() {
            Some((last, names)) if *last == place => names.push(cell(row, name)),
            _ => lines.push((place, vec![cell(row, name)])),
        }
    }
    lines.into_iter().map(|(place, names)| format!("{place}{}\n", names.join("  "))).collect()
}

fn cluster(topology: &Topology) -> String {
    let mut text = format!("Cluster {} at epoch {}\n", topology.cluster_id, topology.epoch);
    for node in &topology.nodes {
        let state = if node.up { "up" } else { "down" };
        let (address, place) = (&node.client_address, format!("{} {}", node.data_center, node.rack));
        text += &format!("{address:21} {state:4} {place}  {}\n", node.id);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::CqlType;
    use std::collections::BTreeMap;
    use std::sync::Arc;

    fn rows(columns: &[&str], rows: &[&[&str]]) -> Rows {
        let cell = |text: &&str| Some(bytes::Bytes::copy_from_slice(text.as_bytes()));
        Rows {
            columns: columns.iter().map(|name| ((*name).to_owned(), CqlType::Text)).collect(),
            rows: rows.iter().map(|row| row.iter().map(cell).collect()).collect(),
        }
    }

    #[test]
    fn statements_and_names_are_those_of_the_server() {
        let all = ["keyspace_name", "type", "name", "create_statement"];
        let one = rows(&all, &[&["k", "table", "t", "CREATE TABLE k.t ();\n"], &["k", "index", "i", "CREATE INDEX;"]]);
        assert_eq!(shown(&one), "CREATE TABLE k.t ();\n\nCREATE INDEX;\n\n");
        let keyspaces = rows(&all[..3], &[&["a", "keyspace", "a"], &["b", "keyspace", "b"]]);
        assert_eq!(shown(&keyspaces), "a  b\n");
        let tables = rows(&all[..3], &[&["a", "table", "t"], &["a", "table", "u"], &["b", "table", "v"]]);
        assert_eq!(shown(&tables), "Keyspace a: t  u\nKeyspace b: v\n");
        let keyspaces = Arc::new(BTreeMap::new());
        let topology = Topology { cluster_id: "id".into(), epoch: 7, nodes: vec![], keyspaces, release: "1".into() };
        assert_eq!(cluster(&topology), "Cluster id at epoch 7\n");
    }
}
