//! DESCRIBE: what the cluster says of its schema and nodes, as text.
//!
//! Keyspaces and tables come with the topology, each with the statement that creates it, which the server has written.
//! Everything else is asked of the server by its own DESCRIBE.

use crate::connection::{Connection, ConnectionError, Outcome};
use client::{KeyspaceInfo, Topology};
use model::RequestError;
use model::name::quote_name;
use std::io::Write;

/// What to describe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Describe {
    /// Nodes and their state.
    Cluster,
    /// Names of all keyspaces.
    Keyspaces,
    /// Names of the tables of the current or all keyspaces.
    Tables,
    /// CREATE statements of everything; of the system too when it is full.
    Schema {
        /// With the keyspaces of the system.
        full: bool,
    },
    /// CREATE statements of one keyspace; the current one when not named.
    Keyspace {
        /// Its name.
        name: Option<String>,
        /// Without what is in it.
        only: bool,
    },
    /// CREATE statement of one table, with its keyspace if named.
    Table(Option<String>, String),
    /// A keyspace or a table, whichever has the name.
    Name(String),
    /// What only the server describes: its kind, and its name with its keyspace.
    Server(String, Option<(Option<String>, String)>),
}

/// What a name in DESCRIBE is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A keyspace with what is in it.
    Keyspace,
    /// A keyspace alone.
    OnlyKeyspace,
    /// A table.
    Table,
    /// Anything.
    Any,
    /// What only the server describes.
    Server(&'static str),
}

impl Describe {
    /// Describes the thing of this kind and name; `None` when it cannot have such a name.
    pub(crate) fn named(kind: Kind, name: (Option<String>, String)) -> Option<Describe> {
        Some(match (kind, name) {
            (Kind::Keyspace, (None, name)) => Describe::Keyspace { name: Some(name), only: false },
            (Kind::OnlyKeyspace, (None, name)) => Describe::Keyspace { name: Some(name), only: true },
            (Kind::Keyspace | Kind::OnlyKeyspace, _) => return None,
            (Kind::Table, (keyspace, name)) | (Kind::Any, (keyspace @ Some(_), name)) => {
                Describe::Table(keyspace, name)
            }
            (Kind::Any, (None, name)) => Describe::Name(name),
            (Kind::Server(kind), name) => Describe::Server(kind.to_owned(), Some(name)),
        })
    }
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
        Describe::Server(kind, name) => described_by_server(connection, kind, name.as_ref()).await?,
        _ => {
            let topology = connection.topology().await?;
            text(&topology, what, connection.keyspace().as_deref()).map_err(ConnectionError::Usage)?
        }
    };
    out.write_all(text.as_bytes()).map_err(|error| ConnectionError::Usage(error.to_string()))
}

/// What the server's own DESCRIBE answers: the statements of one thing, or the names of many.
async fn described_by_server(
    connection: &Connection,
    kind: &str,
    name: Option<&(Option<String>, String)>,
) -> Result<String, ConnectionError> {
    let name = name.map_or(String::new(), |(keyspace, name)| match keyspace {
        Some(keyspace) => format!(" {}.{}", quote_name(keyspace), quote_name(name)),
        None => format!(" {}", quote_name(name)),
    });
    let answer = connection.execute(&format!("DESCRIBE {kind}{name}"), None, None, None).await;
    let rows = match answer.map(|executed| executed.outcome) {
        Ok(Outcome::Rows(rows, _)) => rows,
        Ok(Outcome::Done) => return Ok(String::new()),
        Err(error) if matches!(error.request(), Some(RequestError::Syntax { .. })) => {
            return Err(ConnectionError::Usage(format!("DESCRIBE {kind} is not supported by the server yet")));
        }
        Err(error) => return Err(error),
    };
    let column = |name: &str| rows.columns.iter().position(|(column, _)| column == name);
    let shown = column("create_statement").or_else(|| column("name")).unwrap_or(0);
    let cell = |row: &Vec<Option<bytes::Bytes>>| {
        let text = row.get(shown)?.as_ref()?;
        Some(format!("{}\n", String::from_utf8_lossy(text).trim_end()))
    };
    Ok(rows.rows.iter().filter_map(cell).collect())
}

fn text(topology: &Topology, what: &Describe, current: Option<&str>) -> Result<String, String> {
    let current_name = || current.ok_or_else(|| "no keyspace is in use: USE one, or name it".to_owned());
    let known = |name: &str| topology.keyspaces.get(name).ok_or_else(|| format!("keyspace '{name}' does not exist"));
    match what {
        Describe::Cluster => Ok(cluster(topology)),
        Describe::Keyspaces => Ok(names(topology.keyspaces.keys())),
        Describe::Tables => {
            let shown = topology.keyspaces.iter().filter(|(keyspace, _)| current.is_none_or(|name| name == *keyspace));
            Ok(shown.map(|(name, keyspace)| format!("Keyspace {name}: {}", names(keyspace.tables.keys()))).collect())
        }
        Describe::Schema { full } => {
            let is_system = |name: &str| name == "system" || name.starts_with("system_");
            let shown = topology.keyspaces.iter().filter(|(name, _)| *full || !is_system(name));
            Ok(shown.map(|(_, keyspace)| statements(keyspace)).collect())
        }
        Describe::Keyspace { name, only } => {
            let keyspace = known(name.as_deref().map_or_else(current_name, Ok)?)?;
            Ok(if *only { format!("{}\n", keyspace.create_text.trim_end()) } else { statements(keyspace) })
        }
        Describe::Table(keyspace, name) => {
            let keyspace = keyspace.as_deref().map_or_else(current_name, Ok)?;
            let table = known(keyspace)?.tables.get(name);
            let table = table.ok_or_else(|| format!("table '{keyspace}.{name}' does not exist"))?;
            Ok(format!("{}\n", table.create_text.trim_end()))
        }
        Describe::Name(name) if topology.keyspaces.contains_key(name) => Ok(statements(known(name)?)),
        Describe::Name(name) => text(topology, &Describe::Table(None, name.clone()), current)
            .map_err(|_| format!("neither a keyspace nor a table of the current keyspace is called '{name}'")),
        Describe::Server(kind, _) => Err(format!("DESCRIBE {kind} is answered by the server")),
    }
}

fn names<'a>(names: impl Iterator<Item = &'a String>) -> String {
    names.map(String::as_str).collect::<Vec<_>>().join("  ") + "\n"
}

/// The statements that create a keyspace and its tables.
fn statements(keyspace: &KeyspaceInfo) -> String {
    let tables = keyspace.tables.values().map(|table| &table.create_text);
    let all = std::iter::once(&keyspace.create_text).chain(tables);
    all.map(|statement| format!("{}\n\n", statement.trim_end())).collect()
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
    use client::TableInfo;
    use model::TableId;
    use std::collections::BTreeMap;
    use std::sync::Arc;

    fn topology() -> Topology {
        let table = |name: &str| {
            let create_text = format!("CREATE TABLE {name} ();\n");
            (name.to_owned(), TableInfo { id: TableId(1), columns: vec![], create_text })
        };
        let keyspace = |name: &str| {
            let create_text = format!("CREATE KEYSPACE {name};");
            let tables = BTreeMap::from([table("a"), table("b")]);
            (name.to_owned(), KeyspaceInfo { replication: None, tables, create_text })
        };
        let keyspaces = Arc::new(BTreeMap::from([keyspace("ks"), keyspace("system")]));
        Topology { cluster_id: "id".into(), epoch: 7, nodes: vec![], keyspaces, release: "1".into() }
    }

    #[test]
    fn names_and_statements_are_those_of_the_server() {
        let shown = |what: Describe, current| text(&topology(), &what, current);
        assert_eq!(shown(Describe::Keyspaces, None).unwrap(), "ks  system\n");
        assert_eq!(shown(Describe::Tables, Some("ks")).unwrap(), "Keyspace ks: a  b\n");
        assert_eq!(shown(Describe::Table(Some("ks".into()), "a".into()), None).unwrap(), "CREATE TABLE a ();\n");
        assert_eq!(shown(Describe::Name("b".into()), Some("ks")).unwrap(), "CREATE TABLE b ();\n");
        let only = Describe::Keyspace { name: None, only: true };
        assert_eq!(shown(only.clone(), Some("ks")).unwrap(), "CREATE KEYSPACE ks;\n");
        assert!(shown(only, None).unwrap_err().contains("USE"));
        assert!(!shown(Describe::Schema { full: false }, None).unwrap().contains("system"));
        assert!(shown(Describe::Schema { full: true }, None).unwrap().contains("CREATE KEYSPACE system;"));
        assert!(shown(Describe::Name("c".into()), Some("ks")).unwrap_err().contains("'c'"));
        assert!(shown(Describe::Cluster, None).unwrap().starts_with("Cluster id at epoch 7\n"));
    }
}
