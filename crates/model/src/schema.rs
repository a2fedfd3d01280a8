//! Keyspaces, tables and columns, and how a change turns one schema into the next. A schema is the
//! result of applying the changes in the metadata log in their order, so equal logs give equal
//! schemas on every node.

use crate::codec::{CodecError, Decode, Encode, Reader, put_sequence};
use crate::error::RequestError;
use crate::id::{ColumnId, KeyspaceName, TableId};
use crate::limits::TABLES_MAX;
use crate::row::Row;
use crate::table_options::TableOptions;
use crate::types::{CqlType, UserType};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How a keyspace's partitions are replicated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replication {
    /// `SimpleStrategy`: the next `factor` distinct nodes clockwise, whatever their place.
    Simple {
        /// Replicas of each partition; at least 1.
        factor: u32,
    },
    /// `NetworkTopologyStrategy`: for each data centre its number of replicas, on distinct racks as
    /// far as there are so many.
    NetworkTopology {
        /// Data centre name to replicas there.
        factors: BTreeMap<String, u32>,
    },
}

impl Replication {
    /// Replicas that a partition has when there are nodes enough: what consistency levels count from.
    #[must_use]
    pub fn factor(&self) -> usize {
        match self {
            Replication::Simple { factor } => *factor as usize,
            Replication::NetworkTopology { factors } => factors.values().map(|factor| *factor as usize).sum(),
        }
    }
}

/// A keyspace and its tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyspace {
    /// Its name.
    pub name: KeyspaceName,
    /// How its tables are replicated.
    pub replication: Replication,
    /// Its tables by name.
    pub tables: BTreeMap<String, Arc<Table>>,
    /// Its user-defined types by name.
    pub types: BTreeMap<String, Arc<UserType>>,
}

/// The order of a clustering column.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClusteringOrder {
    /// Smallest value first.
    #[default]
    Ascending,
    /// Largest value first.
    Descending,
}

/// What a column is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnKind {
    /// Part of the partition key, at this position.
    PartitionKey(u32),
    /// Part of the clustering key, at this position, in this order.
    Clustering(u32, ClusteringOrder),
    /// One value for the whole partition.
    Static,
    /// One value for each row.
    Regular,
}

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its identity on disk.
    pub id: ColumnId,
    /// Its name.
    pub name: String,
    /// What it is for.
    pub kind: ColumnKind,
    /// The type of its values.
    pub cql_type: CqlType,
}

/// A table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Its identity on disk and in messages: that of its present generation.
    pub id: TableId,
    /// How often it was truncated: 0 when it is created.
    pub generation: u32,
    /// The keyspace that it is in.
    pub keyspace: KeyspaceName,
    /// Its name.
    pub name: String,
    /// Its columns: partition key by position, then clustering by position, then the others by name.
    pub columns: Vec<Column>,
    /// Its options.
    pub options: TableOptions,
    /// The columns that it had once.
    pub dropped_columns: Vec<DroppedColumn>,
}

/// A column that a table had once. What was written to it may lie on disk, or arrive, for long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DroppedColumn {
    /// Its identity on disk, which is never another column's.
    pub id: ColumnId,
    /// Its name, which a later column may have again.
    pub name: String,
    /// The type of its values.
    pub cql_type: CqlType,
    /// When it was dropped, as a write timestamp in microseconds.
    pub dropped_at: i64,
}

/// All keyspaces and tables at one epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schema {
    keyspaces: BTreeMap<KeyspaceName, Arc<Keyspace>>,
    tables: BTreeMap<TableId, Arc<Table>>,
}

/// A change of the schema, as the metadata log holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SchemaChange {
    /// `CREATE KEYSPACE`.
    CreateKeyspace {
        /// Its name.
        name: KeyspaceName,
        /// Its replication.
        replication: Replication,
        /// True for `IF NOT EXISTS`: no error when it exists.
        if_not_exists: bool,
    },
    /// `DROP KEYSPACE`, tables included.
    DropKeyspace {
        /// Its name.
        name: KeyspaceName,
        /// True for `IF EXISTS`: no error when it does not exist.
        if_exists: bool,
    },
    /// `CREATE TABLE`.
    CreateTable {
        /// The whole table, its id drawn by the node that proposes the change.
        table: Table,
        /// True for `IF NOT EXISTS`.
        if_not_exists: bool,
    },
    /// `DROP TABLE`.
    DropTable {
        /// The keyspace that it is in.
        keyspace: KeyspaceName,
        /// Its name.
        name: String,
        /// True for `IF EXISTS`.
        if_exists: bool,
    },
    /// `TRUNCATE`: the table's next generation takes its place, with the same definition and another id.
    /// Whatever still speaks of the old one (mutations, hints, reads, answers under way) speaks of a table
    /// that does not exist any more.
    TruncateTable {
        /// The keyspace that it is in.
        keyspace: KeyspaceName,
        /// Its name.
        name: String,
    },
    /// `CREATE TYPE`.
    CreateType {
        /// The whole type.
        definition: UserType,
        /// True for `IF NOT EXISTS`.
        if_not_exists: bool,
    },
    /// `DROP TYPE`.
    DropType {
        /// The keyspace that it is in.
        keyspace: KeyspaceName,
        /// Its name.
        name: String,
        /// True for `IF EXISTS`.
        if_exists: bool,
    },
}

impl DroppedColumn {
    /// True when something of the column that was written at `timestamp` microseconds is gone: the one rule for
    /// readers and garbage collection. What was written later came from a coordinator that did not know of the
    /// drop, and nobody reads it: no column has the id any more.
    #[must_use]
    pub fn covers(&self, timestamp: i64) -> bool {
        timestamp <= self.dropped_at
    }
}

impl Table {
    /// The id of the next column to be added: above all that the table ever had.
    #[must_use]
    pub fn next_column_id(&self) -> ColumnId {
        let dropped = self.dropped_columns.iter().map(|column| column.id.0);
        let highest = self.columns.iter().map(|column| column.id.0).chain(dropped).max();
        ColumnId(highest.map_or(0, |highest| highest + 1))
    }

    /// Leaves out of `row` what was written to columns before they were dropped.
    pub fn hide_dropped(&self, row: &mut Row) {
        for column in &self.dropped_columns {
            row.retain_in_column(column.id, |timestamp| !column.covers(timestamp));
        }
    }

    /// The id that it was created with: stays the same when it is truncated.
    #[must_use]
    pub fn created_id(&self) -> TableId {
        TableId(self.id.0.wrapping_sub(u128::from(self.generation)))
    }

    /// The table after it is truncated. Ids of generations follow each other: those of different tables are
    /// random, so that they do not meet.
    fn truncated(&self) -> Table {
        Table { id: TableId(self.id.0.wrapping_add(1)), generation: self.generation + 1, ..self.clone() }
    }

    /// A table of one blob column in each part of its rows (column 0 the partition key, 1 clustering, 2 the
    /// value), for tests and benchmarks of what is below CQL.
    #[must_use]
    pub fn plain(id: TableId) -> Table {
        let kinds = [
            ("key", ColumnKind::PartitionKey(0)),
            ("clustering", ColumnKind::Clustering(0, ClusteringOrder::Ascending)),
            ("value", ColumnKind::Regular),
        ];
        let column = |((name, kind), number): ((&str, ColumnKind), u32)| Column {
            id: ColumnId(number),
            name: name.to_owned(),
            kind,
            cql_type: CqlType::Blob,
        };
        Table {
            id,
            generation: 0,
            keyspace: "plain".to_owned(),
            name: format!("table_{:x}", id.0),
            columns: kinds.into_iter().zip(0..).map(column).collect(),
            options: TableOptions::default(),
            dropped_columns: Vec::new(),
        }
    }

    /// The columns of the partition key, by position.
    pub fn partition_key(&self) -> impl Iterator<Item = &Column> {
        self.columns.iter().filter(|column| matches!(column.kind, ColumnKind::PartitionKey(_)))
    }

    /// The clustering columns, by position.
    pub fn clustering(&self) -> impl Iterator<Item = &Column> {
        self.columns.iter().filter(|column| matches!(column.kind, ColumnKind::Clustering(..)))
    }

    /// The columns outside the primary key, by name.
    pub fn regular(&self) -> impl Iterator<Item = &Column> {
        self.columns.iter().filter(|column| matches!(column.kind, ColumnKind::Regular | ColumnKind::Static))
    }

    /// The column of this name.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }
}

impl Schema {
    /// The keyspaces by name.
    #[must_use]
    pub fn keyspaces(&self) -> &BTreeMap<KeyspaceName, Arc<Keyspace>> {
        &self.keyspaces
    }

    /// The keyspace of this name.
    #[must_use]
    pub fn keyspace(&self, name: &str) -> Option<&Arc<Keyspace>> {
        self.keyspaces.get(name)
    }

    /// The table of this id.
    #[must_use]
    pub fn table(&self, id: TableId) -> Option<&Arc<Table>> {
        self.tables.get(&id)
    }

    /// All tables by id.
    #[must_use]
    pub fn tables(&self) -> &BTreeMap<TableId, Arc<Table>> {
        &self.tables
    }

    /// The table `name` of `keyspace`.
    ///
    /// # Errors
    /// `NotFound` or `Invalid` in Cassandra's words, since tools match on them.
    pub fn find_table(&self, keyspace: &str, name: &str) -> Result<&Arc<Table>, RequestError> {
        let table = self.find_keyspace(keyspace)?.tables.get(name);
        table.ok_or_else(|| RequestError::NotFound(format!("table {keyspace}.{name} does not exist")))
    }

    /// Refuses the id of a table or of an earlier generation of one: what was stored under it would be another table's.
    fn check_id_is_free(&self, id: TableId) -> Result<(), RequestError> {
        let (before, has_had) = (self.tables.range(..=id).next_back(), |table: &Table| table.created_id() <= id);
        let after = self.tables.range(id..).find(|(_, table)| has_had(table));
        match before.filter(|(own, _)| **own == id).or(after) {
            None => Ok(()),
            Some((_, table)) => Err(RequestError::Server(format!(
                "the id {id} of a new table, or of a truncated one, is that of a generation of table {}.{}",
                table.keyspace, table.name
            ))),
        }
    }

    /// The schema after `change`; `None` when the change has no effect and that is no error
    /// (`IF EXISTS`, `IF NOT EXISTS`).
    ///
    /// # Errors
    /// `AlreadyExists` or `NotFound`, when the change cannot be made; `Invalid` when there are too many tables.
    pub fn apply(&self, change: &SchemaChange) -> Result<Option<Schema>, RequestError> {
        let mut next = self.clone();
        match change {
            SchemaChange::CreateKeyspace { name, replication, if_not_exists } => {
                if self.keyspaces.contains_key(name) {
                    return unless(*if_not_exists, RequestError::AlreadyExists { what: format!("keyspace {name}") });
                }
                let (name, replication) = (name.clone(), replication.clone());
                let (tables, types) = (BTreeMap::new(), BTreeMap::new());
                let keyspace = Keyspace { name: name.clone(), replication, tables, types };
                next.keyspaces.insert(name, Arc::new(keyspace));
            }
            SchemaChange::DropKeyspace { name, if_exists } => {
                let Some(keyspace) = next.keyspaces.remove(name) else {
                    return unless(*if_exists, RequestError::NotFound(format!("keyspace {name} does not exist")));
                };
                for table in keyspace.tables.values() {
                    next.tables.remove(&table.id);
                }
            }
            SchemaChange::CreateTable { table, if_not_exists } => {
                match self.find_table(&table.keyspace, &table.name) {
                    Ok(_) => {
                        let what = format!("table {}.{}", table.keyspace, table.name);
                        return unless(*if_not_exists, RequestError::AlreadyExists { what });
                    }
                    Err(missing) if !self.keyspaces.contains_key(&table.keyspace) => return Err(missing),
                    Err(_) => {}
                }
                self.check_id_is_free(table.id)?;
                if self.tables.len() >= TABLES_MAX {
                    let message = format!(
                        "Cannot have more than {TABLES_MAX} tables: each costs every node a write buffer and files \
                         of its own"
                    );
                    return Err(RequestError::Invalid(message));
                }
                next.replace_keyspace(&table.keyspace, |keyspace| {
                    keyspace.tables.insert(table.name.clone(), Arc::new(table.clone()));
                });
                next.tables.insert(table.id, Arc::new(table.clone()));
            }
            SchemaChange::DropTable { keyspace, name, if_exists } => match self.find_table(keyspace, name) {
                Err(missing) => return unless(*if_exists, missing),
                Ok(table) => {
                    next.tables.remove(&table.id);
                    next.replace_keyspace(keyspace, |keyspace| {
                        keyspace.tables.remove(name);
                    });
                }
            },
            SchemaChange::TruncateTable { keyspace, name } => {
                let table = self.find_table(keyspace, name)?;
                let truncated = Arc::new(table.truncated());
                self.check_id_is_free(truncated.id)?;
                next.tables.remove(&table.id);
                next.tables.insert(truncated.id, truncated.clone());
                next.replace_keyspace(keyspace, |keyspace| {
                    keyspace.tables.insert(name.clone(), truncated);
                });
            }
            SchemaChange::CreateType { definition, if_not_exists } => {
                let (keyspace, name) = (&definition.keyspace, &definition.name);
                if self.find_keyspace(keyspace)?.types.contains_key(name) {
                    let what = format!("type {keyspace}.{name}");
                    return unless(*if_not_exists, RequestError::AlreadyExists { what });
                }
                CqlType::user_defined(&Arc::new(definition.clone()), true).check()?;
                next.replace_keyspace(keyspace, |keyspace| {
                    keyspace.types.insert(name.clone(), Arc::new(definition.clone()));
                });
            }
            SchemaChange::DropType { keyspace, name, if_exists } => {
                let found = self.find_keyspace(keyspace);
                if !found.as_ref().is_ok_and(|keyspace| keyspace.types.contains_key(name)) {
                    let missing = || RequestError::NotFound(format!("type {keyspace}.{name} does not exist"));
                    return unless(*if_exists, found.err().unwrap_or_else(missing));
                }
                if let Some(user) = found?.user_of_type(name) {
                    let message = format!("Cannot drop user type '{keyspace}.{name}' as it is still used by {user}");
                    return Err(RequestError::Invalid(message));
                }
                next.replace_keyspace(keyspace, |keyspace| {
                    keyspace.types.remove(name);
                });
            }
        }
        Ok(Some(next))
    }

    fn find_keyspace(&self, name: &str) -> Result<&Arc<Keyspace>, RequestError> {
        self.keyspaces.get(name).ok_or_else(|| RequestError::NotFound(format!("keyspace {name} does not exist")))
    }

    fn replace_keyspace(&mut self, name: &str, change: impl FnOnce(&mut Keyspace)) {
        if let Some(keyspace) = self.keyspaces.get_mut(name) {
            change(Arc::make_mut(keyspace));
        }
    }
}

impl Keyspace {
    /// What of the keyspace uses its user-defined type `name`: a table or another type.
    fn user_of_type(&self, name: &str) -> Option<String> {
        let mut tables = self.tables.values();
        let uses = |table: &&Arc<Table>| table.columns.iter().any(|column| column.cql_type.uses(&self.name, name));
        let table = tables.find(uses).map(|table| format!("table {}.{}", self.name, table.name));
        let mut types = self.types.values();
        let uses = |other: &&Arc<UserType>| other.types().any(|cql_type| cql_type.uses(&self.name, name));
        table.or_else(|| types.find(uses).map(|other| format!("type {}.{}", self.name, other.name)))
    }
}

fn unless(forgiven: bool, error: RequestError) -> Result<Option<Schema>, RequestError> {
    if forgiven { Ok(None) } else { Err(error) }
}

impl Encode for Replication {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Replication::Simple { factor } => {
                out.push(0);
                factor.encode(out);
            }
            Replication::NetworkTopology { factors } => {
                out.push(1);
                crate::codec::put_varint(out, factors.len() as u64);
                for (name, factor) in factors {
                    name.encode(out);
                    factor.encode(out);
                }
            }
        }
    }
}

impl Decode for Replication {
    fn decode(reader: &mut Reader) -> Result<Replication, CodecError> {
        match reader.u8()? {
            0 => Ok(Replication::Simple { factor: reader.varint_u32()? }),
            1 => {
                let count = reader.count()?;
                let factors = (0..count).map(|_| Ok((reader.text()?, reader.varint_u32()?)));
                Ok(Replication::NetworkTopology { factors: factors.collect::<Result<_, CodecError>>()? })
            }
            _ => Err(CodecError::Invalid("replication")),
        }
    }
}

impl Encode for Column {
    fn encode(&self, out: &mut Vec<u8>) {
        self.id.encode(out);
        self.name.encode(out);
        match self.kind {
            ColumnKind::PartitionKey(position) => {
                out.push(0);
                position.encode(out);
            }
            ColumnKind::Clustering(position, order) => {
                out.push(if order == ClusteringOrder::Ascending { 1 } else { 2 });
                position.encode(out);
            }
            ColumnKind::Static => out.push(3),
            ColumnKind::Regular => out.push(4),
        }
        self.cql_type.encode(out);
    }
}

impl Decode for Column {
    fn decode(reader: &mut Reader) -> Result<Column, CodecError> {
        let (id, name) = (ColumnId::decode(reader)?, reader.text()?);
        let kind = match reader.u8()? {
            0 => ColumnKind::PartitionKey(reader.varint_u32()?),
            1 => ColumnKind::Clustering(reader.varint_u32()?, ClusteringOrder::Ascending),
            2 => ColumnKind::Clustering(reader.varint_u32()?, ClusteringOrder::Descending),
            3 => ColumnKind::Static,
            4 => ColumnKind::Regular,
            _ => return Err(CodecError::Invalid("column kind")),
        };
        Ok(Column { id, name, kind, cql_type: CqlType::decode(reader)? })
    }
}

impl Encode for Table {
    fn encode(&self, out: &mut Vec<u8>) {
        self.id.encode(out);
        self.generation.encode(out);
        self.keyspace.encode(out);
        self.name.encode(out);
        put_sequence(out, &self.columns);
        self.options.encode(out);
        put_sequence(out, &self.dropped_columns);
    }
}

impl Encode for DroppedColumn {
    fn encode(&self, out: &mut Vec<u8>) {
        self.id.encode(out);
        self.name.encode(out);
        self.cql_type.encode(out);
        self.dropped_at.encode(out);
    }
}

impl Decode for DroppedColumn {
    fn decode(reader: &mut Reader) -> Result<DroppedColumn, CodecError> {
        let (id, name, cql_type) = (ColumnId::decode(reader)?, reader.text()?, CqlType::decode(reader)?);
        Ok(DroppedColumn { id, name, cql_type, dropped_at: reader.i64()? })
    }
}

impl Decode for Table {
    fn decode(reader: &mut Reader) -> Result<Table, CodecError> {
        Ok(Table {
            id: TableId::decode(reader)?,
            generation: reader.varint_u32()?,
            keyspace: reader.text()?,
            name: reader.text()?,
            columns: reader.sequence()?,
            options: TableOptions::decode(reader)?,
            dropped_columns: reader.sequence()?,
        })
    }
}

impl Encode for SchemaChange {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            SchemaChange::CreateKeyspace { name, replication, if_not_exists } => {
                out.push(0);
                name.encode(out);
                replication.encode(out);
                if_not_exists.encode(out);
            }
            SchemaChange::DropKeyspace { name, if_exists } => {
                out.push(1);
                name.encode(out);
                if_exists.encode(out);
            }
            SchemaChange::CreateTable { table, if_not_exists } => {
                out.push(2);
                table.encode(out);
                if_not_exists.encode(out);
            }
            SchemaChange::DropTable { keyspace, name, if_exists } => {
                out.push(3);
                keyspace.encode(out);
                name.encode(out);
                if_exists.encode(out);
            }
            SchemaChange::TruncateTable { keyspace, name } => {
                out.push(4);
                keyspace.encode(out);
                name.encode(out);
            }
            SchemaChange::CreateType { definition, if_not_exists } => {
                out.push(5);
                definition.encode(out);
                if_not_exists.encode(out);
            }
            SchemaChange::DropType { keyspace, name, if_exists } => {
                out.push(6);
                keyspace.encode(out);
                name.encode(out);
                if_exists.encode(out);
            }
        }
    }
}

impl Decode for SchemaChange {
    fn decode(reader: &mut Reader) -> Result<SchemaChange, CodecError> {
        Ok(match reader.u8()? {
            0 => SchemaChange::CreateKeyspace {
                name: reader.text()?,
                replication: Replication::decode(reader)?,
                if_not_exists: reader.bool()?,
            },
            1 => SchemaChange::DropKeyspace { name: reader.text()?, if_exists: reader.bool()? },
            2 => SchemaChange::CreateTable { table: Table::decode(reader)?, if_not_exists: reader.bool()? },
            3 => SchemaChange::DropTable { keyspace: reader.text()?, name: reader.text()?, if_exists: reader.bool()? },
            4 => SchemaChange::TruncateTable { keyspace: reader.text()?, name: reader.text()? },
            5 => SchemaChange::CreateType { definition: UserType::decode(reader)?, if_not_exists: reader.bool()? },
            6 => SchemaChange::DropType { keyspace: reader.text()?, name: reader.text()?, if_exists: reader.bool()? },
            _ => return Err(CodecError::Invalid("schema change")),
        })
    }
}

#[cfg(test)]
#[path = "schema_tests.rs"]
mod type_tests;

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(tables: usize) -> Schema {
        let keyspace = SchemaChange::CreateKeyspace {
            name: "plain".to_owned(),
            replication: Replication::Simple { factor: 1 },
            if_not_exists: false,
        };
        let creates = (0..tables).map(|id| SchemaChange::CreateTable {
            table: Table::plain(TableId(1_000 * id as u128)),
            if_not_exists: false,
        });
        let changes = std::iter::once(keyspace).chain(creates);
        changes.fold(Schema::default(), |schema, change| schema.apply(&change).unwrap().unwrap())
    }

    #[test]
    fn a_truncated_table_is_the_same_under_another_id() {
        let before = schema(2);
        let truncate = SchemaChange::TruncateTable { keyspace: "plain".to_owned(), name: "table_3e8".to_owned() };
        assert_eq!(SchemaChange::from_bytes(&truncate.to_bytes()).unwrap(), truncate);
        let mut after = before.clone();
        for generation in 1..4 {
            after = after.apply(&truncate).unwrap().unwrap();
            let table = after.find_table("plain", "table_3e8").unwrap().clone();
            assert_eq!((table.id, table.generation), (TableId(1_000 + u128::from(generation)), generation));
            assert_eq!(table.created_id(), TableId(1_000));
            assert_eq!(after.table(table.id), Some(&table));
            assert_eq!(after.table(TableId(table.id.0 - 1)), None, "the generation before is gone");
            let original = Table { id: TableId(1_000), generation: 0, ..Table::clone(&table) };
            assert_eq!(original, Table::plain(TableId(1_000)), "nothing else has changed");
            assert_eq!(Table::from_bytes(&table.to_bytes()).unwrap(), *table);
        }
        assert_eq!(after.table(TableId(0)), before.table(TableId(0)));
        let missing = SchemaChange::TruncateTable { keyspace: "plain".to_owned(), name: "none".to_owned() };
        assert!(matches!(after.apply(&missing), Err(RequestError::NotFound(_))));
    }

    #[test]
    fn an_id_that_a_table_has_or_had_is_refused() {
        let truncate = |name: &str| SchemaChange::TruncateTable { keyspace: "plain".to_owned(), name: name.to_owned() };
        let create = |id| SchemaChange::CreateTable { table: Table::plain(TableId(id)), if_not_exists: false };
        let mut schema = schema(2);
        for _ in 0..3 {
            schema = schema.apply(&truncate("table_3e8")).unwrap().unwrap();
        }
        for (id, free) in [(999, true), (1_000, false), (1_002, false), (1_003, false), (1_004, true), (0, false)] {
            let table = Table { name: "other".to_owned(), ..Table::plain(TableId(id)) };
            let created = schema.apply(&SchemaChange::CreateTable { table, if_not_exists: false });
            assert_eq!(created.is_ok(), free, "{id}: {created:?}");
        }
        let next_to_it = schema.apply(&create(1_004)).unwrap().unwrap();
        assert!(matches!(next_to_it.apply(&truncate("table_3e8")), Err(RequestError::Server(_))));
    }

    #[test]
    fn there_are_so_many_tables_and_no_more() {
        let full = schema(TABLES_MAX);
        let more = SchemaChange::CreateTable { table: Table::plain(TableId(7)), if_not_exists: false };
        assert!(matches!(full.apply(&more), Err(RequestError::Invalid(message)) if message.contains("500 tables")));
        let again = SchemaChange::CreateTable { table: Table::plain(TableId(0)), if_not_exists: true };
        assert_eq!(full.apply(&again), Ok(None));
    }
}
