//! Keyspaces, tables and columns, and how a change turns one schema into the next. A schema is the
//! result of applying the changes in the metadata log in their order, so equal logs give equal
//! schemas on every node.

mod change;
mod codec;
mod constraint;
mod role;

pub use crate::table_options::TableOptionsChange;
pub use change::{NewColumn, SchemaChange, TableAlteration, TypeAlteration};
pub use constraint::{Check, Comparison, Constraint};
pub use role::{Role, RoleChange};

use crate::error::RequestError;
use crate::id::{ColumnId, KeyspaceName, TableId};
use crate::row::Row;
use crate::table_options::TableOptions;
use crate::types::{CqlType, UserType};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use unicode_normalization::UnicodeNormalization as _;

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

/// In the factors of [`Replication::NetworkTopology`], and in a statement: replicas in every data centre that is not
/// named. What a log entry with it means is settled by the members that there are when it is applied.
pub const REPLICATION_FACTOR: &str = "replication_factor";

/// The keyspace of traces. It is stored and replicated, since a client may ask any node for its trace.
pub const TRACES: &str = "system_traces";

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
    /// The columns that it had once, and may have again.
    pub dropped_columns: Vec<DroppedColumn>,
    /// Its indexes by name.
    pub indexes: Vec<Index>,
    /// What values of its columns must be: those of a column in the order of the statement.
    pub constraints: Vec<Constraint>,
}

/// What of a column an index finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IndexedPart {
    /// The value of a column that is no collection.
    Value,
    /// The elements of a list or set, the values of a map.
    Values,
    /// The keys of a map.
    Keys,
    /// The keys of a map with their values.
    Entries,
    /// A frozen collection as one value.
    Full,
    /// A text of which some differences do not count.
    Folded(TextFolding),
}

/// Which differences between texts an index does not see: texts that fold to the same are one value of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TextFolding {
    /// `case_sensitive = false`.
    pub ignores_case: bool,
    /// `normalize = true`: between characters that are composed and their parts, by Unicode's NFC.
    pub normalizes: bool,
}

impl TextFolding {
    /// The text that all texts are indexed as that differ in nothing else.
    #[must_use]
    pub fn fold(self, text: &str) -> String {
        let text = if self.ignores_case { text.to_lowercase() } else { text.to_owned() };
        if self.normalizes { text.nfc().collect() } else { text }
    }
}

impl IndexedPart {
    /// All of them; the order is that of their encoding.
    pub const ALL: [IndexedPart; 8] = [
        IndexedPart::Value,
        IndexedPart::Values,
        IndexedPart::Keys,
        IndexedPart::Entries,
        IndexedPart::Full,
        IndexedPart::Folded(TextFolding { ignores_case: true, normalizes: false }),
        IndexedPart::Folded(TextFolding { ignores_case: false, normalizes: true }),
        IndexedPart::Folded(TextFolding { ignores_case: true, normalizes: true }),
    ];
}

impl fmt::Display for IndexedPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            IndexedPart::Value | IndexedPart::Values | IndexedPart::Folded(_) => "values",
            IndexedPart::Keys => "keys",
            IndexedPart::Entries => "entries",
            IndexedPart::Full => "full",
        })
    }
}

/// A secondary index of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    /// Its name, which no other index of its keyspace has.
    pub name: String,
    /// The column that it is on.
    pub column: ColumnId,
    /// What of the column it finds.
    pub part: IndexedPart,
    /// `USING`: the class by the name that was given; empty for the default.
    pub class: String,
    /// `WITH OPTIONS`.
    pub options: BTreeMap<String, String>,
}

impl Index {
    /// True for one that was asked for by the name of Cassandra's storage-attached index: ranges of its values are
    /// looked up too, and it stands beside others of its kind in one query.
    #[must_use]
    pub fn is_storage_attached(&self) -> bool {
        let class = self.class.rsplit('.').next().unwrap_or_default();
        class.eq_ignore_ascii_case("sai") || class.eq_ignore_ascii_case("StorageAttachedIndex")
    }
}

/// A column that a table had once. What was written to it may lie on disk, or arrive, for long. The table may have the
/// same column again, with the same id: what was written before the drop stays gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DroppedColumn {
    /// Its identity on disk, which no column of another name, kind or incompatible type ever has.
    pub id: ColumnId,
    /// Its name.
    pub name: String,
    /// The type of its values when it was dropped.
    pub cql_type: CqlType,
    /// True when it had one value for the whole partition.
    pub is_static: bool,
    /// When it was dropped, as a write timestamp in microseconds.
    pub dropped_at: i64,
}

/// All keyspaces, tables and roles at one epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schema {
    keyspaces: BTreeMap<KeyspaceName, Arc<Keyspace>>,
    tables: BTreeMap<TableId, Arc<Table>>,
    roles: BTreeMap<String, Arc<Role>>,
}

impl DroppedColumn {
    /// True when something of the column that was written at `timestamp` microseconds is gone: the one rule for
    /// readers and garbage collection. What was written later came from a coordinator that did not know of the
    /// drop, or to the column after it was added again, and only then is read.
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

    /// The columns that it had once, each with the largest timestamp that its drop covers: what reads and garbage
    /// collection are told of them.
    #[must_use]
    pub fn drops(&self) -> Vec<(ColumnId, i64)> {
        self.dropped_columns.iter().map(|column| (column.id, column.dropped_at)).collect()
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
    /// random, or given and checked to be free; the highest are not given, so that none wraps.
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
            indexes: Vec::new(),
            constraints: Vec::new(),
        }
    }

    /// False when its deletions may be purged at once, and nothing that was written earlier may be written again.
    #[must_use]
    pub fn keeps_deletions(&self) -> bool {
        self.options.gc_grace_seconds > 0
    }

    /// True for a table of counters, in which every column outside the primary key is one.
    #[must_use]
    pub fn is_counter(&self) -> bool {
        self.regular().any(|column| column.cql_type == CqlType::Counter)
    }

    /// True when a column has one value for the whole partition.
    #[must_use]
    pub fn has_static_columns(&self) -> bool {
        self.columns.iter().any(|column| column.kind == ColumnKind::Static)
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

    /// What values of a column must be.
    pub fn checks(&self, column: ColumnId) -> impl Iterator<Item = &Check> {
        self.constraints.iter().filter(move |own| own.column == column).map(|own| &own.check)
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

    /// How long deletions of this table are kept at least, in seconds; 0 when it is gone.
    #[must_use]
    pub fn grace_seconds(&self, id: TableId) -> u32 {
        self.table(id).map_or(0, |table| table.options.gc_grace_seconds)
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
    /// `NotFound`, in the words that Cassandra has for statements about rows, since tools match on them.
    pub fn find_table(&self, keyspace: &str, name: &str) -> Result<&Arc<Table>, RequestError> {
        let table = self.find_keyspace(keyspace)?.tables.get(name);
        table.ok_or_else(|| RequestError::NotFound(format!("table {name} does not exist")))
    }

    /// Refuses the id of a table or of an earlier generation of one: what was stored under it would be another table's.
    pub(crate) fn check_id_is_free(&self, id: TableId) -> Result<(), String> {
        let (before, has_had) = (self.tables.range(..=id).next_back(), |table: &Table| table.created_id() <= id);
        let after = self.tables.range(id..).find(|(_, table)| has_had(table));
        match before.filter(|(own, _)| **own == id).or(after) {
            None => Ok(()),
            Some((_, table)) => Err(format!(
                "the id {id} of a new table, or of a truncated one, is that of a generation of table {}.{}",
                table.keyspace, table.name
            )),
        }
    }

    /// The keyspace of this name.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn find_keyspace(&self, name: &str) -> Result<&Arc<Keyspace>, RequestError> {
        self.keyspaces.get(name).ok_or_else(|| RequestError::NotFound(format!("keyspace {name} does not exist")))
    }

    /// Replaces a keyspace by what `change` makes of it.
    fn replace_keyspace(&mut self, name: &str, change: impl FnOnce(&mut Keyspace)) {
        if let Some(keyspace) = self.keyspaces.get_mut(name) {
            change(Arc::make_mut(keyspace));
        }
    }
}

#[cfg(test)]
#[path = "schema_tests.rs"]
mod type_tests;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{Decode, Encode};
    use crate::limits::TABLES_MAX;

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
