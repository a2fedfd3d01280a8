//! DESCRIBE: what the cluster says of its schema and nodes, as text.

use crate::command::Describe;
use crate::connection::{Connection, ConnectionError};
use client::{KeyspaceInfo, Topology};
use std::io::Write;

/// Writes what `what` asks for.
///
/// # Errors
/// When the name is not known, the cluster does not answer or `out` cannot be written.
pub(crate) async fn describe(
    connection: &Connection,
    what: &Describe,
    out: &mut dyn Write,
) -> Result<(), ConnectionError> {
    let topology = connection.topology().await?;
    let text = text(&topology, what, connection.keyspace().as_deref()).map_err(ConnectionError::Usage)?;
    out.write_all(text.as_bytes()).map_err(|error| ConnectionError::Usage(error.to_string()))
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
        Describe::Schema => Ok(topology.keyspaces.values().map(statements).collect()),
        Describe::Keyspace(name) => Ok(statements(known(name.as_deref().map_or_else(current_name, Ok)?)?)),
        Describe::Table(keyspace, name) => {
            let keyspace = keyspace.as_deref().map_or_else(current_name, Ok)?;
            let table = known(keyspace)?.tables.get(name);
            let table = table.ok_or_else(|| format!("table '{keyspace}.{name}' does not exist"))?;
            Ok(format!("{}\n", table.create_text.trim_end()))
        }
        Describe::Name(name) if topology.keyspaces.contains_key(name) => Ok(statements(known(name)?)),
        Describe::Name(name) => text(topology, &Describe::Table(None, name.clone()), current)
            .map_err(|_| format!("neither a keyspace nor a table of the current keyspace is called '{name}'")),
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
