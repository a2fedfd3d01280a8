//! DESCRIBE: what the cluster says of its schema and nodes, as text.

use crate::command::Describe;
use crate::connection::{Connection, ConnectionError, Topology};
use std::io::{self, Write};

/// Writes what `what` asks for.
///
/// # Errors
/// When the name is not known, the cluster does not answer or `out` cannot be written.
pub async fn describe(
    connection: &Connection,
    what: &Describe,
    keyspace: Option<&str>,
    out: &mut dyn Write,
) -> Result<(), ConnectionError> {
    let topology = connection.topology().await?;
    let text = text(&topology, what, keyspace).map_err(ConnectionError::Usage)?;
    out.write_all(text.as_bytes()).map_err(io_error)
}

fn io_error(error: io::Error) -> ConnectionError {
    ConnectionError::Usage(error.to_string())
}

fn text(topology: &Topology, what: &Describe, current: Option<&str>) -> Result<String, String> {
    let find = |name: &str| topology.keyspaces.iter().find(|keyspace| keyspace.name == name);
    let known = |name: &str| find(name).ok_or_else(|| format!("keyspace '{name}' does not exist"));
    let current_name = || current.ok_or_else(|| "no keyspace is in use: USE one, or name it".to_owned());
    match what {
        Describe::Cluster => Ok(cluster(topology)),
        Describe::Keyspaces => {
            let names = topology.keyspaces.iter().map(|keyspace| keyspace.name.as_str());
            Ok(names.collect::<Vec<_>>().join("  ") + "\n")
        }
        Describe::Tables => {
            let shown = topology.keyspaces.iter().filter(|keyspace| current.is_none_or(|name| name == keyspace.name));
            let lines = shown.map(|keyspace| {
                let names: Vec<&str> = keyspace.tables.iter().map(|table| table.name.as_str()).collect();
                format!("Keyspace {}: {}\n", keyspace.name, names.join("  "))
            });
            Ok(lines.collect())
        }
        Describe::Schema => {
            let names: Vec<&str> = topology.keyspaces.iter().map(|keyspace| keyspace.name.as_str()).collect();
            names.into_iter().map(|name| text(topology, &Describe::Keyspace(Some(name.to_owned())), None)).collect()
        }
        Describe::Keyspace(name) => {
            let keyspace = known(name.as_deref().map_or_else(current_name, Ok)?)?;
            let tables = keyspace.tables.iter().map(|table| table.create_text.as_str());
            let statements = std::iter::once(keyspace.create_text.as_str()).chain(tables);
            Ok(statements.map(|statement| format!("{}\n\n", statement.trim_end())).collect())
        }
        Describe::Table(keyspace, name) => {
            let keyspace = known(keyspace.as_deref().map_or_else(current_name, Ok)?)?;
            let table = keyspace.tables.iter().find(|table| table.name == *name);
            let table = table.ok_or_else(|| format!("table '{}.{name}' does not exist", keyspace.name))?;
            Ok(format!("{}\n", table.create_text.trim_end()))
        }
        Describe::Name(name) if find(name).is_some() => text(topology, &Describe::Keyspace(Some(name.clone())), None),
        Describe::Name(name) => text(topology, &Describe::Table(None, name.clone()), current)
            .map_err(|_| format!("neither a keyspace nor a table of the current keyspace is called '{name}'")),
    }
}

fn cluster(topology: &Topology) -> String {
    let mut text = format!("Cluster {} at epoch {}\n", topology.cluster_id, topology.epoch);
    for node in &topology.nodes {
        let state = if node.up { "up" } else { "down" };
        text += &format!("{:15} {:4} {} {}  {}\n", node.address, state, node.data_center, node.rack, node.id);
    }
    text
}
