//! What a server tells without being asked: of the schema, of nodes that come and go. A change of the schema is
//! also the result of the statement that made it.

use crate::error::{EncodeError, ProtocolError};
use crate::wire::{Reader, put_socket_address, put_string, put_string_list};
use std::net::SocketAddr;

/// What a connection can register for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EventType {
    /// Nodes join and leave.
    TopologyChange,
    /// Nodes come up and go down.
    StatusChange,
    /// Keyspaces, tables and so on are created, changed and dropped.
    SchemaChange,
}

impl EventType {
    /// All of them.
    pub const ALL: [EventType; 3] = [EventType::TopologyChange, EventType::StatusChange, EventType::SchemaChange];

    /// Its name on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            EventType::TopologyChange => "TOPOLOGY_CHANGE",
            EventType::StatusChange => "STATUS_CHANGE",
            EventType::SchemaChange => "SCHEMA_CHANGE",
        }
    }

    pub(crate) fn of_name(name: &str) -> Result<EventType, ProtocolError> {
        let found = EventType::ALL.into_iter().find(|kind| kind.name().eq_ignore_ascii_case(name));
        found.ok_or(ProtocolError::Invalid("event type"))
    }
}

/// What became of a node's membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopologyChange {
    /// It has joined.
    NewNode,
    /// It has left.
    RemovedNode,
}

/// What became of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusChange {
    /// It can be reached.
    Up,
    /// It cannot.
    Down,
}

/// What became of that which a schema change is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeType {
    /// It exists now.
    Created,
    /// It is another now.
    Updated,
    /// It exists no more.
    Dropped,
}

/// What a schema change is about, within its keyspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SchemaTarget {
    /// The keyspace itself.
    Keyspace,
    /// A table or view; an index is a change of its table.
    Table(String),
    /// A user-defined type.
    Type(String),
    /// A user-defined function.
    Function {
        /// Its name.
        name: String,
        /// The CQL types of its arguments.
        arguments: Vec<String>,
    },
    /// A user-defined aggregate.
    Aggregate {
        /// Its name.
        name: String,
        /// The CQL types of its arguments.
        arguments: Vec<String>,
    },
}

/// A change of the schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaChange {
    /// What happened.
    pub change: ChangeType,
    /// In which keyspace.
    pub keyspace: String,
    /// To what.
    pub target: SchemaTarget,
}

/// What a server tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A node has joined or left.
    Topology(TopologyChange, SocketAddr),
    /// A node is up or down.
    Status(StatusChange, SocketAddr),
    /// The schema has changed.
    Schema(SchemaChange),
}

/// The name of a value in a table of names.
fn name_of<T: PartialEq>(table: &[(T, &'static str)], value: &T) -> &'static str {
    let found = table.iter().find(|(known, _)| known == value);
    found.expect("each table lists every variant: a test goes through them").1
}

fn of_name<T: Copy>(table: &[(T, &'static str)], name: &str, what: &'static str) -> Result<T, ProtocolError> {
    let found = table.iter().find(|(_, known)| *known == name);
    found.map(|(value, _)| *value).ok_or(ProtocolError::Invalid(what))
}

const TOPOLOGY_CHANGES: [(TopologyChange, &str); 2] =
    [(TopologyChange::NewNode, "NEW_NODE"), (TopologyChange::RemovedNode, "REMOVED_NODE")];
const STATUS_CHANGES: [(StatusChange, &str); 2] = [(StatusChange::Up, "UP"), (StatusChange::Down, "DOWN")];
const CHANGES: [(ChangeType, &str); 3] =
    [(ChangeType::Created, "CREATED"), (ChangeType::Updated, "UPDATED"), (ChangeType::Dropped, "DROPPED")];

impl Event {
    /// What a connection must have registered for to be told.
    #[must_use]
    pub fn event_type(&self) -> EventType {
        match self {
            Event::Topology(..) => EventType::TopologyChange,
            Event::Status(..) => EventType::StatusChange,
            Event::Schema(_) => EventType::SchemaChange,
        }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        put_string(out, self.event_type().name())?;
        match self {
            Event::Topology(change, address) => {
                put_string(out, name_of(&TOPOLOGY_CHANGES, change))?;
                put_socket_address(out, address);
                Ok(())
            }
            Event::Status(change, address) => {
                put_string(out, name_of(&STATUS_CHANGES, change))?;
                put_socket_address(out, address);
                Ok(())
            }
            Event::Schema(change) => change.encode(out),
        }
    }

    pub(crate) fn decode(reader: &mut Reader) -> Result<Event, ProtocolError> {
        Ok(match EventType::of_name(&reader.string()?)? {
            EventType::TopologyChange => {
                let change = of_name(&TOPOLOGY_CHANGES, &reader.string()?, "topology change")?;
                Event::Topology(change, reader.socket_address()?)
            }
            EventType::StatusChange => {
                let change = of_name(&STATUS_CHANGES, &reader.string()?, "status change")?;
                Event::Status(change, reader.socket_address()?)
            }
            EventType::SchemaChange => Event::Schema(SchemaChange::decode(reader)?),
        })
    }
}

impl SchemaChange {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let (target, name, arguments) = match &self.target {
            SchemaTarget::Keyspace => ("KEYSPACE", None, None),
            SchemaTarget::Table(name) => ("TABLE", Some(name), None),
            SchemaTarget::Type(name) => ("TYPE", Some(name), None),
            SchemaTarget::Function { name, arguments } => ("FUNCTION", Some(name), Some(arguments)),
            SchemaTarget::Aggregate { name, arguments } => ("AGGREGATE", Some(name), Some(arguments)),
        };
        put_string(out, name_of(&CHANGES, &self.change))?;
        put_string(out, target)?;
        put_string(out, &self.keyspace)?;
        name.map_or(Ok(()), |name| put_string(out, name))?;
        arguments.map_or(Ok(()), |arguments| put_string_list(out, arguments))
    }

    pub(crate) fn decode(reader: &mut Reader) -> Result<SchemaChange, ProtocolError> {
        let change = of_name(&CHANGES, &reader.string()?, "schema change")?;
        let (target, keyspace) = (reader.string()?, reader.string()?);
        let target = match target.as_str() {
            "KEYSPACE" => SchemaTarget::Keyspace,
            "TABLE" => SchemaTarget::Table(reader.string()?),
            "TYPE" => SchemaTarget::Type(reader.string()?),
            "FUNCTION" => SchemaTarget::Function { name: reader.string()?, arguments: reader.string_list()? },
            "AGGREGATE" => SchemaTarget::Aggregate { name: reader.string()?, arguments: reader.string_list()? },
            _ => return Err(ProtocolError::Invalid("target of a schema change")),
        };
        Ok(SchemaChange { change, keyspace, target })
    }
}
