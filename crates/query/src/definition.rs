//! CREATE, ALTER and DROP, TRUNCATE: from the syntax tree to a change of the schema.
//!
//! Every option is honoured, or refused by its name: none is ignored. What depends on what there is (does the table
//! exist, has it such a column) is left to [`model::schema::Schema::apply`]: the metadata log decides it.

mod alteration;
mod index;

pub(crate) use alteration::{alter_table, alter_type, create_type};
use index::available_name;
pub(crate) use index::create_index;

use crate::ast::{
    AlterKeyspace, ColumnDefinition, CreateKeyspace, CreateTable, Literal, Name, Property, PropertyValue, QualifiedName,
};
use crate::constraint::checks_of;
use crate::source::{Position, Source, shortened};
use crate::system;
use crate::table_options::{Given, check_kept, table_options};
use crate::type_name::Types;
use model::limits::{KEYSPACE_NAME_BYTES_MAX, NAME_BYTES_MAX};
use model::schema::{
    ClusteringOrder, Column, ColumnKind, Constraint, Index, REPLICATION_FACTOR, Replication, Schema, SchemaChange,
    Table, TableAlteration,
};
use model::table_options::TableOptions;
use model::{ColumnId, CqlType, RequestError, TableId, Value, WallMicros};
use std::collections::{BTreeMap, BTreeSet};

/// A change of the schema that a statement asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaRequest {
    /// A table in it has no id yet.
    change: SchemaChange,
    /// True when columns are dropped as of the time of execution.
    drops_now: bool,
    /// What the client should know of it.
    warnings: Vec<String>,
    /// The id that the statement gives to a new table.
    table_id: Option<TableId>,
}

impl SchemaRequest {
    pub(crate) fn new(change: SchemaChange) -> SchemaRequest {
        SchemaRequest { change, drops_now: false, warnings: Vec::new(), table_id: None }
    }

    /// What the client should know of the statement.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The change, in which a table to create has the id `new_table_id`, which the caller has drawn, and columns
    /// are dropped as of `now`, unless the statement says which and when.
    #[must_use]
    pub fn change(&self, new_table_id: TableId, now: WallMicros) -> SchemaChange {
        let mut change = self.change.clone();
        match &mut change {
            SchemaChange::CreateTable { table, .. } => table.id = self.table_id.unwrap_or(new_table_id),
            SchemaChange::AlterTable { alteration: TableAlteration::Drop { dropped_at, .. }, .. } if self.drops_now => {
                *dropped_at = now.0;
            }
            _ => {}
        }
        change
    }
}

pub(crate) fn check_not_system(source: Source<'_>, at: Position, keyspace: &str) -> Result<(), RequestError> {
    if system::is_reserved(keyspace) {
        return Err(source.unauthorized(at, format!("{keyspace} keyspace is not user-modifiable.")));
    }
    Ok(())
}

/// True for a name of word characters alone.
fn is_sound(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Checks a new name of a keyspace.
fn check_keyspace_name(source: Source<'_>, name: &Name) -> Result<(), RequestError> {
    let shown = shortened(&name.text);
    if !is_sound(&name.text) {
        let message = format!(
            "Keyspace name must not be empty and must contain alphanumeric or underscore characters only (got \
             \"{shown}\")"
        );
        return Err(source.invalid(name.at, message));
    }
    if name.text.len() > KEYSPACE_NAME_BYTES_MAX {
        let length = name.text.len();
        let message = format!(
            "Keyspace name must not be more than {KEYSPACE_NAME_BYTES_MAX} characters long (got {length} characters \
             for \"{shown}\")"
        );
        return Err(source.invalid(name.at, message));
    }
    Ok(())
}

/// Checks a new name of a table: files and column families carry it.
fn check_table_name(source: Source<'_>, keyspace: &str, name: &Name) -> Result<(), RequestError> {
    let shown = shortened(&name.text);
    if !is_sound(&name.text) {
        let message = format!(
            "{keyspace}.{shown}: Table name must not be empty or not contain non-alphanumeric-underscore characters \
             (got \"{shown}\")"
        );
        return Err(source.config(name.at, message));
    }
    check_length(source, "Table", name)
}

/// Checks a new name of an index.
fn check_index_name(source: Source<'_>, name: &Name) -> Result<(), RequestError> {
    if !is_sound(&name.text) || name.text.len() > NAME_BYTES_MAX {
        let message = format!(
            "Index name must not be empty, more than {NAME_BYTES_MAX} characters long, or contain \
             non-alphanumeric-underscore characters (got \"{}\")",
            shortened(&name.text)
        );
        return Err(source.invalid(name.at, message));
    }
    Ok(())
}

/// Options of ScyllaDB's keyspaces, and why there are none here.
const KEYSPACE_OPTIONS_OF_OTHERS: [(&str, &str); 3] = [
    ("tablets", "tables are not divided into tablets"),
    ("storage", "data lies in the directory of its node"),
    ("consistency", "the consistency is that of each request"),
];

/// The error that an option is one of another system's.
pub(crate) fn option_of_others(source: Source<'_>, property: &Property, reason: &str) -> RequestError {
    let Name { text, at } = &property.name;
    source.syntax(*at, format!("Unknown property '{text}': it is not supported, since {reason}"))
}

/// What the properties of a keyspace say of its replication; every other option has one possible value.
fn keyspace_options(
    source: Source<'_>,
    keyspace: &str,
    default: u32,
    properties: &[Property],
) -> Result<Option<Replication>, RequestError> {
    check_distinct(source, properties)?;
    let mut replication = None;
    for property in properties {
        match (property.name.text.as_str(), &property.value) {
            ("replication", PropertyValue::Map(entries)) => {
                replication = Some(parse_replication(source, property.at, keyspace, default, entries)?);
            }
            ("durable_writes", _) => {
                let given = Given { source, property };
                if !given.boolean()? {
                    return Err(source.unsupported(property.at, "durable_writes = false is"));
                }
            }
            ("replication", PropertyValue::Literal(_)) => return Err(not_a_map(source, property)),
            (name, _) => {
                let of_others = KEYSPACE_OPTIONS_OF_OTHERS.iter().find(|(own, _)| *own == name);
                return Err(of_others.map_or_else(
                    || unknown_property(source, property),
                    |(_, reason)| option_of_others(source, property, reason),
                ));
            }
        }
    }
    Ok(replication)
}

pub(crate) fn create_keyspace(
    source: Source<'_>,
    schema: &Schema,
    create: &CreateKeyspace,
) -> Result<SchemaRequest, RequestError> {
    let (at, name, if_not_exists) = (create.name.at, create.name.text.clone(), create.if_not_exists);
    if system::is_reserved(&name) {
        return Err(source.invalid(at, format!("System keyspace '{name}' is not user-modifiable")));
    }
    check_keyspace_name(source, &create.name)?;
    let replication = keyspace_options(source, &name, REPLICATION_FACTOR_DEFAULT, &create.properties)
        .and_then(|given| given.ok_or_else(|| source.invalid(at, "Missing mandatory option 'replication'")));
    let replication = replication.map_err(|wrong| {
        // As in Cassandra that it exists is said before what is wrong with its options, but for their syntax.
        let exists = schema.keyspace(&name).is_some() && matches!(wrong, RequestError::Config(_));
        if exists { RequestError::AlreadyExists { keyspace: name.clone(), table: String::new() } } else { wrong }
    })?;
    Ok(SchemaRequest::new(SchemaChange::CreateKeyspace { name, replication, if_not_exists }))
}

pub(crate) fn alter_keyspace(
    source: Source<'_>,
    schema: &Schema,
    alter: &AlterKeyspace,
) -> Result<SchemaRequest, RequestError> {
    check_not_system(source, alter.name.at, &alter.name.text)?;
    // As in Cassandra a factor that is not named stays.
    let factor = match schema.keyspace(&alter.name.text).map(|keyspace| &keyspace.replication) {
        Some(Replication::Simple { factor }) => *factor,
        _ => REPLICATION_FACTOR_DEFAULT,
    };
    let replication = keyspace_options(source, &alter.name.text, factor, &alter.properties)?;
    let (name, if_exists) = (alter.name.text.clone(), alter.if_exists);
    Ok(SchemaRequest::new(SchemaChange::AlterKeyspace { name, replication, if_exists }))
}

pub(crate) fn drop_keyspace(source: Source<'_>, name: &Name, if_exists: bool) -> Result<SchemaRequest, RequestError> {
    check_not_system(source, name.at, &name.text)?;
    Ok(SchemaRequest::new(SchemaChange::DropKeyspace { name: name.text.clone(), if_exists }))
}

/// DROP of what is in a keyspace, and TRUNCATE: `change` makes the change of its keyspace and name.
pub(crate) fn by_name(
    source: Source<'_>,
    keyspace: &str,
    name: &QualifiedName,
    change: impl FnOnce(String, String) -> SchemaChange,
) -> Result<SchemaRequest, RequestError> {
    check_not_system(source, name.name.at, keyspace)?;
    Ok(SchemaRequest::new(change(keyspace.to_owned(), name.name.text.clone())))
}

/// Refuses a property that is given twice.
pub(crate) fn check_distinct(source: Source<'_>, properties: &[Property]) -> Result<(), RequestError> {
    let mut seen = BTreeSet::new();
    match properties.iter().find(|property| !seen.insert(property.name.text.as_str())) {
        None => Ok(()),
        Some(Property { name, .. }) => {
            Err(source.syntax(name.at, format!("Multiple definitions for property '{}'", name.text)))
        }
    }
}

/// The error that there is no such property. As in Cassandra it is one of syntax.
pub(crate) fn unknown_property(source: Source<'_>, property: &Property) -> RequestError {
    let Name { text, at } = &property.name;
    source.syntax(*at, format!("Unknown property '{}'", shortened(text)))
}

/// The error that a property is a constant and should be a map. As in Cassandra it is one of syntax.
pub(crate) fn not_a_map(source: Source<'_>, property: &Property) -> RequestError {
    let name = &property.name.text;
    source.syntax(property.at, format!("Invalid value for property '{name}'. It should be a map."))
}

/// The package of Cassandra's strategies.
const LOCATORS: &str = "org.apache.cassandra.locator.";
/// Replicas when no number is named, as in Cassandra.
const REPLICATION_FACTOR_DEFAULT: u32 = 1;

/// The map of `WITH replication`.
fn parse_replication(
    source: Source<'_>,
    at: Position,
    keyspace: &str,
    default: u32,
    entries: &[(Literal, Literal)],
) -> Result<Replication, RequestError> {
    let mut class = None;
    let mut factors = BTreeMap::new();
    for (key, value) in entries {
        if key.text == "class" {
            if class.replace(value.text.as_str()).is_some() {
                return Err(source.syntax(at, "Multiple definitions for property 'class'"));
            }
            continue;
        }
        let factor = value.text.parse::<u32>().ok().filter(|factor| *factor > 0);
        let Some(factor) = factor else {
            let (name, value) = (shortened(&key.text), shortened(&value.text));
            // Cassandra says no more than the first half.
            let message = format!("For input string: \"{value}\": '{name}' is a number of replicas, at least 1");
            return Err(source.config(at, message));
        };
        if factors.insert(key.text.clone(), factor).is_some() {
            let message = format!("Multiple definitions for property '{}'", shortened(&key.text));
            return Err(source.syntax(at, message));
        }
    }
    let Some(class) = class else {
        return Err(source.config(at, "Missing replication strategy class"));
    };
    match class.strip_prefix(LOCATORS).unwrap_or(class) {
        "LocalStrategy" => {
            let message = "Unable to use given strategy class: LocalStrategy is reserved for internal use.";
            Err(source.invalid(at, message))
        }
        "SimpleStrategy" => {
            let factor = factors.remove(REPLICATION_FACTOR).unwrap_or(default);
            if let Some(name) = factors.keys().next() {
                let name = shortened(name);
                let message =
                    format!("Unrecognized strategy option {{{name}}} passed to SimpleStrategy for keyspace {keyspace}");
                return Err(source.config(at, message));
            }
            Ok(Replication::Simple { factor })
        }
        "NetworkTopologyStrategy" => {
            // The metadata log knows the data centres that it stands for.
            if factors.is_empty() {
                factors.insert(REPLICATION_FACTOR.to_owned(), default);
            }
            Ok(Replication::NetworkTopology { factors })
        }
        _ => {
            let message = format!(
                "Unable to find replication strategy class '{LOCATORS}{}': use SimpleStrategy or \
                 NetworkTopologyStrategy",
                shortened(class.strip_prefix(LOCATORS).unwrap_or(class))
            );
            Err(source.config(at, message))
        }
    }
}

/// Checks the length of a new name of a column, a field or a type.
fn check_length(source: Source<'_>, what: &str, name: &Name) -> Result<(), RequestError> {
    if name.text.len() <= NAME_BYTES_MAX {
        return Ok(());
    }
    let shown = shortened(&name.text);
    let message = format!("{what} names must not be more than {NAME_BYTES_MAX} bytes long (got \"{shown}\")");
    Err(source.invalid(name.at, message))
}

/// `like` is the table that the statement names behind LIKE.
pub(crate) fn create_table(
    types: Types<'_>,
    create: &CreateTable,
    like: Option<&Table>,
) -> Result<SchemaRequest, RequestError> {
    let Types { source, keyspace, .. } = types;
    let name = &create.name.name;
    check_not_system(source, name.at, keyspace)?;
    check_table_name(source, keyspace, name)?;
    let (columns, mut options) = match like {
        None => (table_columns(types, create)?, TableOptions::default()),
        Some(like) => (columns_like(types, name.at, like)?, like.options.clone()),
    };
    check_distinct(source, &create.properties)?;
    let table_id = create.properties.iter().find(|property| property.name.text == "id");
    let table_id = table_id.map(|property| table_id_of(source, property)).transpose()?;
    let (given, warnings) = table_options(source, &create.properties)?;
    given.apply_to(&mut options);
    check_kept(source, name.at, &options)?;
    let mut table = Table {
        id: TableId(0),
        generation: 0,
        keyspace: keyspace.to_owned(),
        name: name.text.clone(),
        columns,
        options,
        dropped_columns: Vec::new(),
        indexes: Vec::new(),
        constraints: Vec::new(),
    };
    for definition in &create.columns {
        if let Some(column) = table.column(&definition.name.text).cloned() {
            let checks = checks_of(source, &column, &definition.checks)?;
            table.constrain(&column, &checks).map_err(|error| source.place(definition.name.at, error))?;
        }
    }
    if let Some(like) = like {
        table.constraints = constraints_like(&table, like);
        if create.like_indexes {
            table.indexes = indexes_like(types, &table, like);
        }
    }
    if table.is_counter() && table.regular().any(|column| column.cql_type != CqlType::Counter) {
        return Err(source.invalid(name.at, "Cannot mix counter and non counter columns in the same table"));
    }
    table.check_options().map_err(|error| source.place(name.at, error))?;
    let if_not_exists = create.if_not_exists;
    Ok(SchemaRequest { table_id, warnings, ..SchemaRequest::new(SchemaChange::CreateTable { table, if_not_exists }) })
}

/// The id that a statement gives to a table: that of an earlier one, whose snapshots the new one is to read. The
/// smallest are those of the system's own tables.
fn table_id_of(source: Source<'_>, property: &Property) -> Result<TableId, RequestError> {
    let id = match &property.value {
        PropertyValue::Literal(literal) => Value::parse(&CqlType::Uuid, &literal.text).ok(),
        PropertyValue::Map(_) => None,
    };
    match id {
        // The smallest are those of the system's own tables, and each TRUNCATE takes the next one.
        Some(Value::Uuid(id)) if id > u128::from(u64::MAX) && id < u128::MAX - u128::from(u64::MAX) => Ok(TableId(id)),
        _ => Err(source.config(property.at, "Invalid table id")),
    }
}

/// The columns of a table that is like another: the same, with ids of its own, since it has no history.
fn columns_like(types: Types<'_>, at: Position, like: &Table) -> Result<Vec<Column>, RequestError> {
    let Types { source, schema, keyspace } = types;
    check_not_system(source, at, &like.keyspace)?;
    let defined = schema.keyspace(&like.keyspace).into_iter().flat_map(|keyspace| keyspace.types.keys());
    let uses = |name: &&String| like.columns.iter().any(|column| column.cql_type.uses(&like.keyspace, name));
    if let Some(used) = defined.filter(|_| like.keyspace != keyspace).find(uses) {
        let message = format!(
            "Table {}.{} uses the type {used} of its keyspace, which is none of {keyspace}",
            like.keyspace, like.name
        );
        return Err(source.invalid(at, message));
    }
    let own = |(column, id): (&Column, u32)| Column { id: ColumnId(id), ..column.clone() };
    Ok(like.columns.iter().zip(0..).map(own).collect())
}

/// The constraints of a table that is like another.
fn constraints_like(table: &Table, like: &Table) -> Vec<Constraint> {
    let own = |constraint: &Constraint| {
        let column = like.columns.iter().position(|column| column.id == constraint.column)?;
        Some(Constraint { column: table.columns.get(column)?.id, check: constraint.check.clone() })
    };
    like.constraints.iter().filter_map(own).collect()
}

/// The indexes of a table that is like another: on the same columns, with names of their own, since those of a keyspace
/// differ.
fn indexes_like(types: Types<'_>, table: &Table, like: &Table) -> Vec<Index> {
    let keyspace = types.schema.keyspace(types.keyspace);
    let mut indexes: Vec<Index> = Vec::with_capacity(like.indexes.len());
    for index in &like.indexes {
        let place = like.columns.iter().position(|column| column.id == index.column);
        let Some(column) = place.and_then(|place| table.columns.get(place)) else { continue };
        let name = available_name(&table.name, &column.name, |name| {
            keyspace.is_some_and(|keyspace| keyspace.index(name).is_some())
                || indexes.iter().any(|own| own.name == name)
        });
        indexes.push(Index { name, column: column.id, ..index.clone() });
    }
    indexes.sort_by(|a, b| a.name.cmp(&b.name));
    indexes
}

/// The columns in the order of [`Table::columns`], with ids from 0 in that order.
fn table_columns(types: Types<'_>, create: &CreateTable) -> Result<Vec<Column>, RequestError> {
    let source = types.source;
    let table = &create.name.name;
    let mut defined = BTreeMap::new();
    for column in &create.columns {
        check_length(source, "Column", &column.name)?;
        let cql_type = types.resolve(&column.type_name)?;
        if defined.insert(column.name.text.as_str(), (cql_type, column)).is_some() {
            let message = format!("Duplicate column '{}' declaration for table '{}'", column.name.text, table.text);
            return Err(source.invalid(column.name.at, message));
        }
    }
    let key = match create.primary_keys.as_slice() {
        [key] => key,
        [] => {
            let message = format!("No PRIMARY KEY specifed for table '{}' (exactly one required)", table.text);
            return Err(source.invalid(table.at, message));
        }
        [_, second, ..] => {
            let message = format!("Multiple PRIMARY KEY specified for table '{}' (exactly one required)", table.text);
            return Err(source.invalid(second.at, message));
        }
    };
    let orders = clustering_orders(source, &key.clustering, &create.clustering_order)?;
    let partition = key.partition.iter().zip(0..).map(|(name, position)| (name, ColumnKind::PartitionKey(position)));
    let clustering = key.clustering.iter().zip(orders).zip(0..);
    let clustering = clustering.map(|((name, order), position)| (name, ColumnKind::Clustering(position, order)));
    let mut columns = Vec::with_capacity(defined.len());
    let mut in_key = BTreeSet::new();
    for (name, kind) in partition.chain(clustering) {
        if !in_key.insert(name.text.as_str()) {
            let message = format!("Duplicate column '{}' in PRIMARY KEY clause for table '{}'", name.text, table.text);
            return Err(source.invalid(name.at, message));
        }
        let Some((cql_type, definition)) = defined.remove(name.text.as_str()) else {
            let message =
                format!("Unknown column '{}' referenced in PRIMARY KEY for table '{}'", name.text, table.text);
            return Err(source.invalid(name.at, message));
        };
        check_key_column(source, name, &cql_type, definition)?;
        columns.push((name.text.clone(), kind, cql_type));
    }
    let static_column = defined.values().find_map(|(_, definition)| definition.is_static);
    if let Some(at) = static_column.filter(|_| key.clustering.is_empty()) {
        let message =
            "Static columns are only useful (and thus allowed) if the table has at least one clustering column";
        return Err(source.invalid(at, message));
    }
    // What is left is in the order of names.
    columns.extend(defined.into_iter().map(|(name, (cql_type, definition))| {
        let kind = if definition.is_static.is_some() { ColumnKind::Static } else { ColumnKind::Regular };
        (name.to_owned(), kind, cql_type)
    }));
    let column = |((name, kind, cql_type), id)| Column { id: ColumnId(id), name, kind, cql_type };
    Ok(columns.into_iter().zip(0..).map(column).collect())
}

/// Checks that a column can be part of the primary key.
fn check_key_column(
    source: Source<'_>,
    name: &Name,
    cql_type: &CqlType,
    definition: &ColumnDefinition,
) -> Result<(), RequestError> {
    let column = &name.text;
    let message = if cql_type.is_multi_cell() {
        let is_user_defined = matches!(cql_type, CqlType::UserDefined { .. });
        let kind = if is_user_defined { "user-defined" } else { "collection" };
        {
            let shown = match cql_type {
                CqlType::UserDefined { definition, .. } => format!("\"{}.{}\"", definition.keyspace, definition.name),
                other => other.to_string(),
            };
            format!("Invalid non-frozen {kind} type {shown} for PRIMARY KEY column '{column}'")
        }
    } else if !cql_type.is_key() {
        let word = if *cql_type == CqlType::Counter { "counter" } else { "duration" };
        format!("{word} type is not supported for PRIMARY KEY column '{column}'")
    } else if definition.is_static.is_some() {
        format!("Static column '{column}' cannot be part of the PRIMARY KEY")
    } else {
        return Ok(());
    };
    Err(source.invalid(name.at, message))
}

/// The order of each clustering column, which `CLUSTERING ORDER BY` gives for the first of them.
fn clustering_orders(
    source: Source<'_>,
    clustering: &[Name],
    given: &[(Name, bool)],
) -> Result<Vec<ClusteringOrder>, RequestError> {
    let others = given.iter().map(|(name, _)| name);
    let others: Vec<&Name> = others.filter(|name| !clustering.iter().any(|column| column.text == name.text)).collect();
    if let Some(first) = others.first() {
        let names = others.iter().map(|name| name.text.as_str()).collect::<Vec<_>>().join(", ");
        let message = format!(
            "Only clustering key columns can be defined in CLUSTERING ORDER directive: [{names}] are not clustering \
             columns"
        );
        return Err(source.invalid(first.at, message));
    }
    let mut orders = vec![ClusteringOrder::Ascending; clustering.len()];
    for (index, (name, descending)) in given.iter().enumerate() {
        let Some(column) = clustering.get(index) else {
            let message = format!("Column {} is twice in the CLUSTERING ORDER directive", name.text);
            return Err(source.invalid(name.at, message));
        };
        if column.text != name.text {
            let message = if given.iter().any(|(other, _)| other.text == column.text) {
                format!(
                    "The order of columns in the CLUSTERING ORDER directive must match that of the clustering columns \
                     ({} must appear before {})",
                    column.text, name.text
                )
            } else {
                format!("Missing CLUSTERING ORDER for column {}", column.text)
            };
            return Err(source.invalid(name.at, message));
        }
        if *descending {
            orders[index] = ClusteringOrder::Descending;
        }
    }
    Ok(orders)
}

#[cfg(test)]
#[path = "definition_tests.rs"]
mod tests;
