//! The statement DESCRIBE: what of the schema it asks for, and its rows.
//!
//! Invariants:
//! * Nothing is looked up before the rows are made: they are of the schema that the caller has then.
//! * The rows, their order, and the words of errors are Cassandra's: cqlsh prints them as they come.

use crate::ast::{Describe, Described, QualifiedName};
use crate::describe::{describe_index, describe_keyspace, describe_type, table_text, types_in_order};
use crate::operand::ColumnSpec;
use crate::system;
use bytes::Bytes;
use model::name::quote_name;
use model::schema::{Index, Keyspace, Schema, Table};
use model::types::UserType;
use model::{CqlType, RequestError, Value};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What DESCRIBE asks for; `keyspace` is that of USE.
#[derive(Clone, Debug)]
pub struct Description {
    described: Described,
    internals: bool,
    keyspace: Option<String>,
    columns: Vec<ColumnSpec>,
}

/// What only the node knows of its cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterDescription {
    /// Its name.
    pub name: String,
    /// The class of its partitioner, without its package.
    pub partitioner: String,
    /// The class of its snitch, without its package.
    pub snitch: String,
    /// The end of each range of tokens with the addresses of its replicas.
    pub range_ownership: Vec<(String, Vec<String>)>,
}

/// A part of the schema.
enum Element<'a> {
    Keyspace(&'a Keyspace),
    Type(&'a UserType),
    Table(&'a Table),
    Index(&'a Table, &'a Index),
}

impl Element<'_> {
    /// Keyspace, kind and name, as they are shown.
    fn names(&self) -> [String; 3] {
        let (keyspace, kind, name) = match self {
            Element::Keyspace(keyspace) => (&keyspace.name, "keyspace", &keyspace.name),
            Element::Type(definition) => (&definition.keyspace, "type", &definition.name),
            Element::Table(table) => (&table.keyspace, "table", &table.name),
            Element::Index(table, index) => (&table.keyspace, "index", &index.name),
        };
        [quote_name(keyspace).into_owned(), kind.to_owned(), quote_name(name).into_owned()]
    }

    fn statement(&self, internals: bool) -> String {
        match self {
            Element::Keyspace(keyspace) => describe_keyspace(keyspace),
            Element::Type(definition) => describe_type(definition),
            Element::Table(table) => table_text(table, internals),
            Element::Index(table, index) => describe_index(table, index),
        }
    }
}

/// The cluster's keyspaces and the node's own.
struct Keyspaces<'a>(BTreeMap<&'a str, &'a Arc<Keyspace>>);

impl<'a> Keyspaces<'a> {
    fn of(schema: &'a Schema) -> Keyspaces<'a> {
        let all = schema.keyspaces().values().chain(system::schema().keyspaces().values());
        Keyspaces(all.map(|keyspace| (keyspace.name.as_str(), keyspace)).collect())
    }

    fn find(&self, name: &str) -> Result<&'a Keyspace, RequestError> {
        match self.0.get(name).copied() {
            Some(keyspace) => Ok(keyspace),
            None => Err(RequestError::NotFound(format!("'{name}' not found in keyspaces"))),
        }
    }
}

fn tables_of(keyspace: &Keyspace) -> impl Iterator<Item = Element<'_>> {
    keyspace.tables.values().flat_map(|table| table_elements(table))
}

fn table_elements(table: &Table) -> impl Iterator<Item = Element<'_>> {
    std::iter::once(Element::Table(table)).chain(table.indexes.iter().map(move |index| Element::Index(table, index)))
}

/// A keyspace with all that is in it, each behind what it needs.
fn keyspace_elements(keyspace: &Keyspace) -> impl Iterator<Item = Element<'_>> {
    let types = types_in_order(keyspace).into_iter().map(|definition| Element::Type(definition));
    std::iter::once(Element::Keyspace(keyspace)).chain(types).chain(tables_of(keyspace))
}

fn find_index<'a>(keyspace: &'a Keyspace, name: &str) -> Option<Element<'a>> {
    let of_table = |table: &'a Table| {
        table.indexes.iter().find(|index| index.name == name).map(|index| Element::Index(table, index))
    };
    keyspace.tables.values().find_map(|table| of_table(table))
}

fn missing<T>(what: &str, name: &str, place: &str, keyspace: &Keyspace) -> Result<T, RequestError> {
    Err(RequestError::NotFound(format!("{what}'{name}' not found in {place}'{}'", keyspace.name)))
}

fn find_table<'a>(keyspace: &'a Keyspace, name: &str) -> Result<&'a Table, RequestError> {
    match keyspace.tables.get(name) {
        Some(table) => Ok(table),
        None => missing("Table ", name, "keyspace ", keyspace),
    }
}

fn text(text: impl AsRef<str>) -> Option<Bytes> {
    Some(Bytes::copy_from_slice(text.as_ref().as_bytes()))
}

impl Description {
    pub(crate) fn new(describe: &Describe, keyspace: Option<&str>) -> Description {
        let Describe { described, internals, .. } = describe;
        let owned = match described {
            Described::Cluster => keyspace.is_some_and(|keyspace| !system::is_system(keyspace)),
            _ => false,
        };
        let names: &[&str] = match described {
            Described::Cluster => &["cluster", "partitioner", "snitch"],
            Described::Keyspaces
            | Described::Tables
            | Described::Types
            | Described::Functions
            | Described::Aggregates => &["keyspace_name", "type", "name"],
            _ => &["keyspace_name", "type", "name", "create_statement"],
        };
        let column = |name: &str, cql_type| ColumnSpec {
            keyspace: "system".to_owned(),
            table: "describe".to_owned(),
            name: name.to_owned(),
            cql_type,
        };
        let mut columns: Vec<ColumnSpec> = names.iter().map(|name| column(name, CqlType::Text)).collect();
        if owned {
            let addresses = CqlType::List { element: Arc::new(CqlType::Text), frozen: true };
            let ranges = CqlType::Map { entry: Arc::new((CqlType::Text, addresses)), frozen: true };
            columns.push(column("range_ownership", ranges));
        }
        let keyspace = keyspace.map(str::to_owned);
        Description { described: described.clone(), internals: *internals, keyspace, columns }
    }

    /// The columns of its rows.
    #[must_use]
    pub fn columns(&self) -> &[ColumnSpec] {
        &self.columns
    }

    /// Its rows of `schema`: wire values. `cluster` describes the cluster, with who has the ranges of the keyspace if
    /// one is given.
    ///
    /// # Errors
    /// `NotFound` or `Invalid`, in Cassandra's words, when what it names does not exist.
    pub fn rows(
        &self,
        schema: &Schema,
        cluster: impl FnOnce(Option<&str>) -> ClusterDescription,
    ) -> Result<Vec<Vec<Option<Bytes>>>, RequestError> {
        let keyspaces = Keyspaces::of(schema);
        if matches!(self.described, Described::Cluster) {
            return self.cluster_row(&keyspaces, cluster).map(|row| vec![row]);
        }
        let whole = self.columns.len() > 3;
        let row = |element: Element<'_>| {
            let mut row: Vec<Option<Bytes>> = element.names().iter().map(text).collect();
            if whole {
                row.push(text(element.statement(self.internals)));
            }
            row
        };
        Ok(self.elements(&keyspaces)?.into_iter().map(row).collect())
    }

    fn cluster_row(
        &self,
        keyspaces: &Keyspaces<'_>,
        cluster: impl FnOnce(Option<&str>) -> ClusterDescription,
    ) -> Result<Vec<Option<Bytes>>, RequestError> {
        let owned = self.keyspace.as_deref().filter(|_| self.columns.len() > 3);
        owned.map(|keyspace| keyspaces.find(keyspace)).transpose()?;
        let ClusterDescription { name, partitioner, snitch, range_ownership } = cluster(owned);
        let mut row = vec![text(name), text(partitioner), text(snitch)];
        if owned.is_some() {
            let addresses = |addresses: Vec<String>| Value::List(addresses.into_iter().map(Value::Text).collect());
            let range = |(end, of_range): (String, Vec<String>)| (Value::Text(end), addresses(of_range));
            let mut ranges: Vec<_> = range_ownership.into_iter().map(range).collect();
            ranges.sort_by_key(|(end, _)| end.to_wire());
            row.push(Some(Value::Map(ranges).to_wire()));
        }
        Ok(row)
    }

    fn elements<'a>(&self, keyspaces: &Keyspaces<'a>) -> Result<Vec<Element<'a>>, RequestError> {
        Ok(match &self.described {
            Described::Cluster => Vec::new(),
            Described::Keyspaces => keyspaces.0.values().map(|keyspace| Element::Keyspace(keyspace)).collect(),
            Described::Schema { full } => {
                let shown = keyspaces.0.values().filter(|keyspace| *full || !system::is_reserved(&keyspace.name));
                shown.flat_map(|keyspace| keyspace_elements(keyspace)).collect()
            }
            Described::Tables => self
                .listed(keyspaces, |keyspace| keyspace.tables.values().map(|table| Element::Table(table)).collect())?,
            Described::Types => self.listed(keyspaces, |keyspace| {
                keyspace.types.values().map(|definition| Element::Type(definition)).collect()
            })?,
            // There are none.
            Described::Functions | Described::Aggregates => self.listed(keyspaces, |_| Vec::new())?,
            Described::Keyspace { name, only } => {
                let keyspace = self.keyspace_of(keyspaces, name.as_ref().map(|name| name.text.as_str()))?;
                let all = keyspace_elements(keyspace);
                if *only { all.take(1).collect() } else { all.collect() }
            }
            Described::Table(name) => {
                table_elements(find_table(self.place_of(keyspaces, name)?, &name.name.text)?).collect()
            }
            Described::Index(name) => {
                let (keyspace, name) = (self.place_of(keyspaces, name)?, &name.name.text);
                match find_index(keyspace, name) {
                    Some(index) => vec![index],
                    None => return missing("Table for existing index ", name, "", keyspace),
                }
            }
            Described::Type(name) => {
                let (keyspace, name) = (self.place_of(keyspaces, name)?, &name.name.text);
                match keyspace.types.get(name) {
                    Some(definition) => vec![Element::Type(definition)],
                    None => return missing("User defined type ", name, "", keyspace),
                }
            }
            Described::MaterializedView(name) => {
                return missing("Materialized view ", &name.name.text, "", self.place_of(keyspaces, name)?);
            }
            Described::Function(name) => {
                return missing("User defined function ", &name.name.text, "", self.place_of(keyspaces, name)?);
            }
            Described::Aggregate(name) => {
                return missing("User defined aggregate ", &name.name.text, "", self.place_of(keyspaces, name)?);
            }
            Described::Any(name) => return self.any(keyspaces, name),
        })
    }

    /// What is listed of the keyspace in use, or of all.
    fn listed<'a>(
        &self,
        keyspaces: &Keyspaces<'a>,
        elements: impl Fn(&'a Keyspace) -> Vec<Element<'a>>,
    ) -> Result<Vec<Element<'a>>, RequestError> {
        Ok(match &self.keyspace {
            Some(used) => elements(keyspaces.find(used)?),
            None => keyspaces.0.values().flat_map(|keyspace| elements(keyspace)).collect(),
        })
    }

    fn keyspace_of<'a>(&self, keyspaces: &Keyspaces<'a>, named: Option<&str>) -> Result<&'a Keyspace, RequestError> {
        let no_keyspace = || RequestError::Invalid("No keyspace specified and no current keyspace".to_owned());
        keyspaces.find(named.or(self.keyspace.as_deref()).ok_or_else(no_keyspace)?)
    }

    fn place_of<'a>(&self, keyspaces: &Keyspaces<'a>, name: &QualifiedName) -> Result<&'a Keyspace, RequestError> {
        self.keyspace_of(keyspaces, name.keyspace.as_ref().map(|keyspace| keyspace.text.as_str()))
    }

    /// A keyspace, else a table, else an index of this name.
    fn any<'a>(&self, keyspaces: &Keyspaces<'a>, name: &QualifiedName) -> Result<Vec<Element<'a>>, RequestError> {
        let text = name.name.text.as_str();
        let used = match &name.keyspace {
            Some(named) => named.text.as_str(),
            None => match keyspaces.0.get(text) {
                Some(keyspace) => return Ok(keyspace_elements(keyspace).collect()),
                None => self.keyspace.as_deref().unwrap_or(text),
            },
        };
        let keyspace = keyspaces.find(used)?;
        if let Some(table) = keyspace.tables.get(text) {
            return Ok(table_elements(table).collect());
        }
        match find_index(keyspace, text) {
            Some(index) => Ok(vec![index]),
            None => missing("", text, "keyspace ", keyspace),
        }
    }
}

#[cfg(test)]
#[path = "description_tests.rs"]
mod tests;
