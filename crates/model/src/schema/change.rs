//! Changes of the schema, and what each makes of it.
//!
//! Invariants:
//! * Whether a change can be made is decided by the schema that it is applied to, wherever it was proposed:
//!   user-defined types that it names are looked up again.
//! * A column keeps its id as long as it exists; an id comes again only for a column of the same name and kind whose
//!   type reads the old values, so that what was written after the drop is found again.
//! * What cannot be made leaves the schema as it is.

use super::role::RoleChange;
use super::{
    Check, Column, ColumnKind, Constraint, DroppedColumn, Index, IndexedPart, Keyspace, Replication, Schema, Table,
    TableOptionsChange,
};
use crate::error::RequestError;
use crate::id::{Epoch, KeyspaceName};
use crate::limits::{COLUMNS_MAX, INDEXES_MAX, TABLES_MAX};
use crate::types::{CqlType, UserType};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

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
    /// `ALTER KEYSPACE`.
    AlterKeyspace {
        /// Its name.
        name: KeyspaceName,
        /// Its replication from now on; `None` to leave it.
        replication: Option<Replication>,
        /// True for `IF EXISTS`.
        if_exists: bool,
    },
    /// The next step of a change of replication that is under way: proposed by members, not by statements.
    AdvanceReplication {
        /// The keyspace whose replication is being changed.
        keyspace: KeyspaceName,
        /// The epoch at which the phase began that is over.
        since: Epoch,
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
    /// `ALTER TABLE`.
    AlterTable {
        /// The keyspace that it is in.
        keyspace: KeyspaceName,
        /// Its name.
        name: String,
        /// What is done to it.
        alteration: TableAlteration,
        /// True for `IF EXISTS`, of the table.
        if_exists: bool,
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
    /// `ALTER TYPE`.
    AlterType {
        /// The keyspace that it is in.
        keyspace: KeyspaceName,
        /// Its name.
        name: String,
        /// What is done to it.
        alteration: TypeAlteration,
        /// True for `IF EXISTS`, of the type.
        if_exists: bool,
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
    /// `CREATE INDEX`.
    CreateIndex {
        /// The keyspace that its table is in.
        keyspace: KeyspaceName,
        /// The table's name.
        table: String,
        /// The whole index.
        index: Index,
        /// True for `IF NOT EXISTS`.
        if_not_exists: bool,
    },
    /// `DROP INDEX`.
    DropIndex {
        /// The keyspace that it is in.
        keyspace: KeyspaceName,
        /// Its name.
        name: String,
        /// True for `IF EXISTS`.
        if_exists: bool,
    },
    /// `CREATE ROLE`, `ALTER ROLE`, `DROP ROLE`, and the same of users.
    Role(RoleChange),
}

/// A column to add to a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewColumn {
    /// Its name.
    pub name: String,
    /// The type of its values.
    pub cql_type: CqlType,
    /// True for a column with one value for the whole partition.
    pub is_static: bool,
    /// What its values must be.
    pub checks: Vec<Check>,
}

/// What `ALTER TABLE` does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TableAlteration {
    /// `ADD`.
    Add {
        /// The columns, at least one.
        columns: Vec<NewColumn>,
        /// True for `IF NOT EXISTS`: columns that exist are passed over.
        if_not_exists: bool,
    },
    /// `DROP`.
    Drop {
        /// The columns' names, at least one.
        columns: Vec<String>,
        /// What was written up to then, in microseconds, is gone for good.
        dropped_at: i64,
        /// True for `IF EXISTS`: columns that do not exist are passed over.
        if_exists: bool,
    },
    /// `RENAME` of columns of the primary key.
    Rename {
        /// Old and new names.
        renames: Vec<(String, String)>,
        /// True for `IF EXISTS`.
        if_exists: bool,
    },
    /// `WITH`.
    With(TableOptionsChange),
    /// `ALTER column CHECK ...` and `ALTER column DROP CHECK`.
    Check {
        /// The column's name.
        column: String,
        /// What its values must be from now on, in place of what they had to be.
        checks: Vec<Check>,
        /// True for `IF EXISTS`, of the column.
        if_exists: bool,
    },
}

/// What `ALTER TYPE` does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TypeAlteration {
    /// `ADD` of a field behind the others.
    Add {
        /// Its name.
        field: String,
        /// Its type.
        cql_type: CqlType,
        /// True for `IF NOT EXISTS`.
        if_not_exists: bool,
    },
    /// `RENAME` of fields.
    Rename {
        /// Old and new names.
        renames: Vec<(String, String)>,
        /// True for `IF EXISTS`.
        if_exists: bool,
    },
}

fn invalid<T>(message: String) -> Result<T, RequestError> {
    Err(RequestError::Invalid(message))
}

fn already_exists(keyspace: &str, table: &str) -> RequestError {
    RequestError::AlreadyExists { keyspace: keyspace.to_owned(), table: table.to_owned() }
}

/// `None`, which is no effect, when the error is forgiven.
fn unless<T>(forgiven: bool, error: RequestError) -> Result<Option<T>, RequestError> {
    if forgiven { Ok(None) } else { Err(error) }
}

impl Schema {
    /// Checks a change that [`Schema::apply`] makes, and that is new: what is in the log already is made whatever this
    /// says, as it was when it was decided.
    ///
    /// # Errors
    /// `Invalid`, in Cassandra's words, for a column that comes back with a type whose values have another length; for
    /// what would remove the data of a table that is protected from it.
    pub fn check_new(&self, change: &SchemaChange) -> Result<(), RequestError> {
        if let Some(table) = self.removed_by(change).find(|table| table.options.is_protected()) {
            return invalid(format!(
                "Table {}.{} has deletion_protection = true: it is neither dropped nor truncated until that is set to \
                 false",
                table.keyspace, table.name
            ));
        }
        let SchemaChange::AlterTable { keyspace, name, alteration: TableAlteration::Add { columns, .. }, .. } = change
        else {
            return Ok(());
        };
        let Ok(table) = self.find_table(keyspace, name) else { return Ok(()) };
        for new in columns.iter().filter(|new| table.column(&new.name).is_none()) {
            let dropped = table.dropped_columns.iter().find(|dropped| dropped.name == new.name);
            if let Some(dropped) = dropped.filter(|dropped| !new.cql_type.stores_as(&dropped.cql_type)) {
                return Err(dropped.incompatible(&new.cql_type));
            }
        }
        Ok(())
    }

    /// The tables whose data a change removes.
    fn removed_by(&self, change: &SchemaChange) -> impl Iterator<Item = &Arc<Table>> {
        let (keyspace, only) = match change {
            SchemaChange::DropKeyspace { name, .. } => (Some(name), None),
            SchemaChange::DropTable { keyspace, name, .. } | SchemaChange::TruncateTable { keyspace, name } => {
                (Some(keyspace), Some(name))
            }
            _ => (None, None),
        };
        let tables = keyspace.and_then(|name| self.keyspace(name)).into_iter().flat_map(|own| own.tables.values());
        tables.filter(move |table| only.is_none_or(|only| table.name == *only))
    }

    /// The schema after `change`; `None` when the change has no effect and that is no error
    /// (`IF EXISTS`, `IF NOT EXISTS`).
    ///
    /// # Errors
    /// `AlreadyExists`, `NotFound` or `Invalid`, in Cassandra's words where it has some, when the change cannot be
    /// made.
    pub fn apply(&self, change: &SchemaChange) -> Result<Option<Schema>, RequestError> {
        match change {
            SchemaChange::CreateKeyspace { name, replication, if_not_exists } => {
                self.create_keyspace(name, replication, *if_not_exists)
            }
            SchemaChange::AlterKeyspace { name, replication, if_exists } => match self.changed_keyspace(name) {
                Err(missing) => unless(*if_exists, missing),
                Ok(_) => Ok(replication.as_ref().map(|replication| {
                    let mut next = self.clone();
                    next.replace_keyspace(name, |keyspace| keyspace.replication = replication.clone());
                    next
                })),
            },
            // What it does depends on more than the schema.
            SchemaChange::AdvanceReplication { .. } => Ok(None),
            SchemaChange::DropKeyspace { name, if_exists } => {
                if let Err(missing) = self.changed_keyspace(name) {
                    return unless(*if_exists, missing);
                }
                let mut next = self.clone();
                let Some(keyspace) = next.keyspaces.remove(name) else { return Ok(None) };
                for table in keyspace.tables.values() {
                    next.tables.remove(&table.id);
                }
                Ok(Some(next))
            }
            SchemaChange::CreateTable { table, if_not_exists } => self.create_table(table, *if_not_exists),
            SchemaChange::AlterTable { keyspace, name, alteration, if_exists } => {
                match self.changed_table(keyspace, name) {
                    Err(missing) => unless(*if_exists, missing),
                    Ok(table) => {
                        let altered = table.altered(alteration, self.find_keyspace(keyspace)?)?;
                        Ok(altered.map(|table| self.with_table(table)))
                    }
                }
            }
            SchemaChange::DropTable { keyspace, name, if_exists } => match self.changed_table(keyspace, name) {
                Err(missing) => unless(*if_exists, missing),
                Ok(table) => {
                    let mut next = self.clone();
                    next.tables.remove(&table.id);
                    next.replace_keyspace(keyspace, |keyspace| {
                        keyspace.tables.remove(name);
                    });
                    Ok(Some(next))
                }
            },
            SchemaChange::TruncateTable { keyspace, name } => {
                let table = self.find_table(keyspace, name)?;
                let truncated = table.truncated();
                self.check_id_is_free(truncated.id).map_err(RequestError::Server)?;
                let mut next = self.with_table(truncated);
                next.tables.remove(&table.id);
                Ok(Some(next))
            }
            SchemaChange::CreateType { definition, if_not_exists } => self.create_type(definition, *if_not_exists),
            SchemaChange::AlterType { keyspace, name, alteration, if_exists } => match self.find_type(keyspace, name) {
                None => unless(*if_exists, RequestError::NotFound(format!("Type {keyspace}.{name} doesn't exist"))),
                Some(definition) => self.alter_type(definition, alteration),
            },
            SchemaChange::DropType { keyspace, name, if_exists } => self.drop_type(keyspace, name, *if_exists),
            SchemaChange::CreateIndex { keyspace, table, index, if_not_exists } => {
                let found = self.changed_table(keyspace, table)?;
                let indexed = self.find_keyspace(keyspace)?.with_index(found, index, *if_not_exists)?;
                Ok(indexed.map(|table| self.with_table(table)))
            }
            SchemaChange::DropIndex { keyspace, name, if_exists } => self.drop_index(keyspace, name, *if_exists),
            SchemaChange::Role(change) => self.apply_role(change),
        }
    }

    /// The keyspace that a definition is about.
    fn changed_keyspace(&self, name: &str) -> Result<&Arc<Keyspace>, RequestError> {
        self.keyspace(name).ok_or_else(|| RequestError::NotFound(format!("Keyspace '{name}' doesn't exist")))
    }

    /// The table that a definition is about; the words do not tell a missing keyspace from a missing table.
    fn changed_table(&self, keyspace: &str, name: &str) -> Result<&Arc<Table>, RequestError> {
        let table = self.keyspace(keyspace).and_then(|keyspace| keyspace.tables.get(name));
        table.ok_or_else(|| RequestError::NotFound(format!("Table '{keyspace}.{name}' doesn't exist")))
    }

    fn drop_index(&self, keyspace: &str, name: &str, if_exists: bool) -> Result<Option<Schema>, RequestError> {
        let Some((table, _)) = self.keyspaces.get(keyspace).and_then(|keyspace| keyspace.index(name)) else {
            // The quotation mark too many is Cassandra's.
            let missing = format!("Index '{keyspace}.{name}' doesn't exist'");
            return unless(if_exists, RequestError::Invalid(missing));
        };
        let mut table = Table::clone(table);
        table.indexes.retain(|index| index.name != name);
        Ok(Some(self.with_table(table)))
    }

    /// The schema in which `table` takes the place of the one of its name.
    fn with_table(&self, table: Table) -> Schema {
        let mut next = self.clone();
        let table = Arc::new(table);
        next.replace_keyspace(&table.keyspace, |keyspace| {
            keyspace.tables.insert(table.name.clone(), table.clone());
        });
        next.tables.insert(table.id, table);
        next
    }

    fn create_keyspace(
        &self,
        name: &str,
        replication: &Replication,
        if_not_exists: bool,
    ) -> Result<Option<Schema>, RequestError> {
        if self.keyspaces.contains_key(name) {
            return unless(if_not_exists, already_exists(name, ""));
        }
        let (tables, types) = (BTreeMap::new(), BTreeMap::new());
        let keyspace = Keyspace { name: name.to_owned(), replication: replication.clone(), tables, types };
        let mut next = self.clone();
        next.keyspaces.insert(name.to_owned(), Arc::new(keyspace));
        Ok(Some(next))
    }

    fn create_table(&self, table: &Table, if_not_exists: bool) -> Result<Option<Schema>, RequestError> {
        let keyspace = self.changed_keyspace(&table.keyspace)?;
        if keyspace.tables.contains_key(&table.name) {
            return unless(if_not_exists, already_exists(&table.keyspace, &table.name));
        }
        self.check_id_is_free(table.id).map_err(RequestError::Config)?;
        if self.tables.len() >= TABLES_MAX {
            return invalid(format!(
                "Cannot have more than {TABLES_MAX} tables: each costs every node a write buffer and files \
                 of its own"
            ));
        }
        let mut table = table.clone();
        for column in &mut table.columns {
            column.cql_type = keyspace.current_type(&column.cql_type)?;
        }
        if let Some(taken) = table.indexes.iter().find(|index| keyspace.index(&index.name).is_some()) {
            return invalid(format!("Index '{}' already exists", taken.name));
        }
        for Constraint { column, check } in &table.constraints {
            let column = table.columns.iter().find(|own| own.id == *column);
            column.map_or(Ok(()), |column| check.check_column(column))?;
        }
        Ok(Some(self.with_table(table)))
    }

    fn find_type(&self, keyspace: &str, name: &str) -> Option<&Arc<UserType>> {
        self.keyspace(keyspace).and_then(|keyspace| keyspace.types.get(name))
    }

    fn create_type(&self, definition: &UserType, if_not_exists: bool) -> Result<Option<Schema>, RequestError> {
        let UserType { keyspace, name, fields } = definition;
        let found = self.changed_keyspace(keyspace)?;
        if found.types.contains_key(name) {
            let message = format!("A user type with name '{name}' already exists");
            return unless(if_not_exists, RequestError::Invalid(message));
        }
        let field = |(name, cql_type): &(String, CqlType)| Ok((name.clone(), found.current_type(cql_type)?));
        let fields: Vec<(String, CqlType)> = fields.iter().map(field).collect::<Result<_, RequestError>>()?;
        check_fields(&fields, |field| format!("Duplicate field name '{field}' in type '{name}'"))?;
        let definition = Arc::new(UserType { keyspace: keyspace.clone(), name: name.clone(), fields });
        CqlType::user_defined(&definition, true).check()?;
        let mut next = self.clone();
        next.replace_keyspace(keyspace, |keyspace| {
            keyspace.types.insert(name.clone(), definition);
        });
        Ok(Some(next))
    }

    fn alter_type(
        &self,
        definition: &Arc<UserType>,
        alteration: &TypeAlteration,
    ) -> Result<Option<Schema>, RequestError> {
        let keyspace = self.find_keyspace(&definition.keyspace)?;
        let altered = match alteration {
            TypeAlteration::Add { field, cql_type, if_not_exists } => {
                keyspace.with_field(definition, field, cql_type, *if_not_exists)?
            }
            TypeAlteration::Rename { renames, if_exists } => definition.renamed(renames, *if_exists)?,
        };
        let Some(altered) = altered else { return Ok(None) };
        let mut changed = Keyspace::clone(keyspace);
        changed.types.insert(altered.name.clone(), Arc::new(altered));
        changed.refresh_types()?;
        let mut next = self.clone();
        for table in changed.tables.values() {
            next.tables.insert(table.id, table.clone());
        }
        next.keyspaces.insert(changed.name.clone(), Arc::new(changed));
        Ok(Some(next))
    }

    fn drop_type(&self, keyspace: &str, name: &str, if_exists: bool) -> Result<Option<Schema>, RequestError> {
        if self.find_type(keyspace, name).is_none() {
            let missing = RequestError::NotFound(format!("Type '{keyspace}.{name}' doesn't exist"));
            return unless(if_exists, missing);
        }
        if let Some(users) = self.find_keyspace(keyspace)?.users_of_type(name) {
            return invalid(format!("Cannot drop user type '{keyspace}.{name}' as it is still used by {users}"));
        }
        let mut next = self.clone();
        next.replace_keyspace(keyspace, |keyspace| {
            keyspace.types.remove(name);
        });
        Ok(Some(next))
    }
}

/// Checks the fields of a user-defined type; `duplicate` says that one is there twice.
fn check_fields(fields: &[(String, CqlType)], duplicate: impl Fn(&str) -> String) -> Result<(), RequestError> {
    let mut seen = BTreeSet::new();
    for (field, cql_type) in fields {
        if !seen.insert(field) {
            return invalid(duplicate(field));
        }
        if *cql_type == CqlType::Counter {
            return invalid("A user type cannot contain counters".to_owned());
        }
        if cql_type.is_multi_cell() && matches!(cql_type, CqlType::UserDefined { .. }) {
            return invalid("A user type cannot contain non-frozen UDTs".to_owned());
        }
        cql_type.check()?;
    }
    if fields.len() > COLUMNS_MAX {
        return invalid(format!("A type can have {COLUMNS_MAX} fields at most"));
    }
    Ok(())
}

impl UserType {
    fn renamed(&self, renames: &[(String, String)], if_exists: bool) -> Result<Option<UserType>, RequestError> {
        let mut altered = self.clone();
        let mut changed = false;
        for (from, to) in renames {
            // All renames start from the names as they were.
            match self.fields.iter().position(|(field, _)| field == from) {
                Some(position) => {
                    altered.fields[position].0.clone_from(to);
                    changed = true;
                }
                None if if_exists => {}
                None => return invalid(format!("Unkown field {from} in user type {}.{}", self.keyspace, self.name)),
            }
        }
        let (keyspace, name) = (&self.keyspace, &self.name);
        check_fields(&altered.fields, |field| format!("Duplicate field name {field} in type {keyspace}.{name}"))?;
        Ok(changed.then_some(altered))
    }
}

impl Keyspace {
    /// The index of this name, and the table that it is of: names of indexes are a keyspace's.
    #[must_use]
    pub fn index(&self, name: &str) -> Option<(&Arc<Table>, &Index)> {
        self.tables.values().find_map(|table| Some((table, table.indexes.iter().find(|index| index.name == name)?)))
    }

    /// What of the keyspace uses its user-defined type `name`: other types, or tables.
    fn users_of_type(&self, name: &str) -> Option<String> {
        let uses = |other: &&Arc<UserType>| other.types().any(|cql_type| cql_type.uses(&self.name, name));
        let types: Vec<&str> = self.types.values().filter(uses).map(|other| other.name.as_str()).collect();
        let uses = |table: &&Arc<Table>| table.columns.iter().any(|column| column.cql_type.uses(&self.name, name));
        let tables: Vec<&str> = self.tables.values().filter(uses).map(|table| table.name.as_str()).collect();
        match (types.is_empty(), tables.is_empty()) {
            (true, true) => None,
            (true, false) => Some(format!("tables {}", tables.join(", "))),
            (false, _) => Some(format!("user types {}", types.join(", "))),
        }
    }

    /// The same type with the definitions that user-defined types have now.
    fn current_type(&self, cql_type: &CqlType) -> Result<CqlType, RequestError> {
        let current = cql_type.with_definitions(&|old: &UserType| {
            let unknown = || RequestError::Invalid(format!("Unknown type {}.{}", old.keyspace, old.name));
            let known = self.types.get(&old.name).filter(|_| old.keyspace == self.name);
            known.cloned().ok_or_else(unknown)
        })?;
        current.check()?;
        Ok(current)
    }

    /// The type with another field.
    fn with_field(
        &self,
        definition: &UserType,
        field: &str,
        cql_type: &CqlType,
        if_not_exists: bool,
    ) -> Result<Option<UserType>, RequestError> {
        let name = &definition.name;
        if definition.fields.iter().any(|(known, _)| known == field) {
            let message = format!(
                "Cannot add field {field} to type {}.{name}: a field with name {field} already exists",
                self.name
            );
            return unless(if_not_exists, RequestError::Invalid(message));
        }
        let cql_type = self.current_type(cql_type)?;
        if cql_type.uses(&self.name, name) {
            return invalid(format!(
                "Cannot add new field {field} of type {cql_type} to user type {name} as it would create a circular \
                 reference"
            ));
        }
        let in_key = |table: &&Arc<Table>| table.partition_key().any(|column| column.cql_type.uses(&self.name, name));
        let tables: Vec<String> =
            self.tables.values().filter(in_key).map(|table| format!("{}.{}", self.name, table.name)).collect();
        if !tables.is_empty() {
            return invalid(format!(
                "Cannot add new field {field} of type {cql_type} to user type {name} as the type is being used in \
                 partition key by the following tables: {}",
                tables.join(", ")
            ));
        }
        let mut altered = definition.clone();
        altered.fields.push((field.to_owned(), cql_type));
        check_fields(&altered.fields, |field| format!("Duplicate field name {field} in type {}.{name}", self.name))?;
        Ok(Some(altered))
    }

    /// Gives every type and table the definitions that user-defined types have now.
    fn refresh_types(&mut self) -> Result<(), RequestError> {
        // A type that uses others must come after them; each round settles at least one level of nesting.
        for _ in 0..crate::limits::NESTING_MAX {
            let mut types = self.types.clone();
            for definition in types.values_mut() {
                let mut fields = Vec::with_capacity(definition.fields.len());
                for (name, cql_type) in &definition.fields {
                    fields.push((name.clone(), self.current_type(cql_type)?));
                }
                if fields != definition.fields {
                    Arc::make_mut(definition).fields = fields;
                }
                CqlType::user_defined(definition, true).check()?;
            }
            let settled = types == self.types;
            self.types = types;
            if settled {
                break;
            }
        }
        let mut tables = self.tables.clone();
        for table in tables.values_mut() {
            let mut columns = table.columns.clone();
            for column in &mut columns {
                column.cql_type = self.current_type(&column.cql_type)?;
            }
            if columns != table.columns {
                Arc::make_mut(table).columns = columns;
            }
        }
        self.tables = tables;
        Ok(())
    }

    /// The table with another index.
    fn with_index(&self, table: &Table, index: &Index, if_not_exists: bool) -> Result<Option<Table>, RequestError> {
        if self.index(&index.name).is_some() {
            let message = format!("Index '{}' already exists", index.name);
            return unless(if_not_exists, RequestError::Invalid(message));
        }
        table.check_index(index)?;
        if let Some(equal) = table.indexes.iter().find(|known| known.is_duplicate_of(index)) {
            let message = format!("Index {} is a duplicate of existing index {}", index.name, equal.name);
            return unless(if_not_exists, RequestError::Invalid(message));
        }
        if table.indexes.len() >= INDEXES_MAX {
            return invalid(format!("A table can have {INDEXES_MAX} indexes at most"));
        }
        let mut table = table.clone();
        table.indexes.push(index.clone());
        table.indexes.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Some(table))
    }
}

impl Index {
    /// True when both index the same in the same way.
    fn is_duplicate_of(&self, other: &Index) -> bool {
        Index { name: self.name.clone(), ..other.clone() } == *self
    }
}

impl Table {
    /// Checks that there can be such an index, its name apart.
    ///
    /// # Errors
    /// `Invalid`, in Cassandra's words.
    pub fn check_index(&self, index: &Index) -> Result<(), RequestError> {
        if self.is_counter() {
            return invalid("Secondary indexes on counter tables aren't supported".to_owned());
        }
        let Some(column) = self.columns.iter().find(|column| column.id == index.column) else {
            return invalid(format!("Column '{}' doesn't exist", index.column.0));
        };
        let (name, part, cql_type) = (&column.name, index.part, &column.cql_type);
        let is_collection = cql_type.is_collection();
        if cql_type.has_duration() {
            let what = match cql_type {
                CqlType::Tuple(_) => "tuples containing durations",
                CqlType::UserDefined { .. } => "UDTs containing durations",
                CqlType::Duration => "duration columns",
                _ => "collections containing durations",
            };
            return invalid(format!("Secondary indexes are not supported on {what}"));
        }
        if matches!(column.kind, ColumnKind::PartitionKey(_)) && self.partition_key().count() == 1 {
            return invalid(format!("Cannot create secondary index on the only partition key column {name}"));
        }
        let is_frozen_collection = is_collection && !cql_type.is_multi_cell();
        if is_frozen_collection && part != IndexedPart::Full {
            return invalid(format!(
                "Cannot create {part}() index on frozen column {name}. Frozen collections are immutable and must be \
                 fully indexed by using the 'full({})' modifier",
                crate::name::quote_name(name)
            ));
        }
        if !is_frozen_collection && part == IndexedPart::Full {
            return invalid("full() indexes can only be created on frozen collections".to_owned());
        }
        if matches!(part, IndexedPart::Folded(_)) && !cql_type.is_text() {
            return invalid(format!("CQL type {cql_type} cannot be analyzed."));
        }
        if !is_collection && !matches!(part, IndexedPart::Value | IndexedPart::Folded(_)) {
            return invalid(format!(
                "Cannot create {part}() index on {name}. Non-collection columns only support simple indexes"
            ));
        }
        let is_map = matches!(cql_type, CqlType::Map { frozen: false, .. });
        if !is_map && matches!(part, IndexedPart::Keys | IndexedPart::Entries) {
            return invalid(format!("Cannot create index on {part} of column {name} with non-map type"));
        }
        if cql_type.is_multi_cell() && matches!(cql_type, CqlType::UserDefined { .. }) {
            return invalid(format!("Cannot create index on non-frozen UDT column {name}"));
        }
        Ok(())
    }

    /// The table after `ALTER TABLE`; `None` when nothing is left to do.
    fn altered(&self, alteration: &TableAlteration, keyspace: &Keyspace) -> Result<Option<Table>, RequestError> {
        let mut table = self.clone();
        match alteration {
            TableAlteration::Add { columns, if_not_exists } => {
                for column in columns {
                    table.add_column(column, *if_not_exists, keyspace)?;
                }
            }
            TableAlteration::Drop { columns, dropped_at, if_exists } => {
                for name in columns {
                    table.drop_column(name, *dropped_at, *if_exists)?;
                }
            }
            TableAlteration::Rename { renames, if_exists } => {
                for (from, to) in renames {
                    table.rename_column(from, to, *if_exists)?;
                }
            }
            TableAlteration::With(change) => {
                change.apply_to(&mut table.options);
                table.check_options()?;
            }
            TableAlteration::Check { column: name, checks, if_exists } => {
                let Some(column) = table.column(name).cloned() else {
                    return unless(*if_exists, table.missing_column(name));
                };
                table.constraints.retain(|own| own.column != column.id);
                table.constrain(&column, checks)?;
            }
        }
        Ok((table != *self).then_some(table))
    }

    /// What is said of a column that there is not.
    #[must_use]
    pub fn missing_column(&self, name: &str) -> RequestError {
        RequestError::Invalid(format!("Column with name '{name}' doesn't exist on table '{}'", self.name))
    }

    /// Adds what values of `column` must be.
    ///
    /// # Errors
    /// `Invalid` when its values cannot be asked for it.
    pub fn constrain(&mut self, column: &Column, checks: &[Check]) -> Result<(), RequestError> {
        checks.iter().try_for_each(|check| check.check_column(column))?;
        self.constraints.extend(checks.iter().map(|check| Constraint { column: column.id, check: check.clone() }));
        Ok(())
    }

    /// Checks what the options and columns of a table ask of each other.
    ///
    /// # Errors
    /// `Invalid`.
    pub fn check_options(&self) -> Result<(), RequestError> {
        if self.is_counter() && self.options.default_time_to_live > 0 {
            return invalid("Cannot set default_time_to_live on a table with counters".to_owned());
        }
        Ok(())
    }

    fn add_column(&mut self, new: &NewColumn, if_not_exists: bool, keyspace: &Keyspace) -> Result<(), RequestError> {
        let NewColumn { name, is_static, .. } = new;
        if self.column(name).is_some() {
            let message = format!("Column with name '{name}' already exists");
            return unless::<()>(if_not_exists, RequestError::Invalid(message)).map(|_| ());
        }
        if self.columns.len() >= COLUMNS_MAX {
            return invalid(format!("A table can have {COLUMNS_MAX} columns at most"));
        }
        let cql_type = keyspace.current_type(&new.cql_type)?;
        let is_counter = cql_type == CqlType::Counter;
        if is_counter != self.is_counter() {
            let (column, table) = if is_counter { ("counter", "non counter") } else { ("non counter", "counter") };
            return Err(RequestError::Config(format!(
                "{}.{}: Cannot have a {column} column (\"{name}\") in a {table} table",
                self.keyspace, self.name
            )));
        }
        if *is_static && self.clustering().next().is_none() {
            return invalid(
                "Static columns are only useful (and thus allowed) if the table has at least one clustering column"
                    .to_owned(),
            );
        }
        let dropped = self.dropped_columns.iter().find(|dropped| dropped.name == *name);
        let id = match dropped {
            Some(dropped) => {
                dropped.check_again(new, &cql_type)?;
                dropped.id
            }
            None => self.next_column_id(),
        };
        let kind = if *is_static { ColumnKind::Static } else { ColumnKind::Regular };
        let column = Column { id, name: name.clone(), kind, cql_type };
        self.constrain(&column, &new.checks)?;
        let keys = self.partition_key().count() + self.clustering().count();
        let position = self.columns[keys..].partition_point(|other| other.name < column.name);
        self.columns.insert(keys + position, column);
        Ok(())
    }

    fn drop_column(&mut self, name: &str, dropped_at: i64, if_exists: bool) -> Result<(), RequestError> {
        let Some(position) = self.columns.iter().position(|column| column.name == name) else {
            let message = format!("Column {name} was not found in table '{}.{}'", self.keyspace, self.name);
            return unless::<()>(if_exists, RequestError::Invalid(message)).map(|_| ());
        };
        let Column { id, kind, cql_type, .. } = &self.columns[position];
        if matches!(kind, ColumnKind::PartitionKey(_) | ColumnKind::Clustering(..)) {
            return invalid(format!("Cannot drop PRIMARY KEY column {name}"));
        }
        if cql_type.is_multi_cell() && matches!(cql_type, CqlType::UserDefined { .. }) {
            return invalid(format!("Cannot drop non-frozen column {name} of user type {cql_type}"));
        }
        self.check_not_indexed(*id, |indexes| {
            format!("Cannot drop column {name} because it has dependent secondary indexes ({indexes})")
        })?;
        let is_static = *kind == ColumnKind::Static;
        let dropped =
            DroppedColumn { id: *id, name: name.to_owned(), cql_type: cql_type.clone(), is_static, dropped_at };
        // It may have been dropped before, when it had another type.
        match self.dropped_columns.iter_mut().find(|before| before.id == dropped.id) {
            Some(before) => {
                let dropped_at = before.dropped_at.max(dropped.dropped_at);
                *before = DroppedColumn { dropped_at, ..dropped };
            }
            None => self.dropped_columns.push(dropped),
        }
        let dropped = self.columns[position].id;
        self.constraints.retain(|own| own.column != dropped);
        self.columns.remove(position);
        Ok(())
    }

    fn check_not_indexed(
        &self,
        column: crate::id::ColumnId,
        message: impl FnOnce(String) -> String,
    ) -> Result<(), RequestError> {
        let dependent = self.indexes.iter().filter(|index| index.column == column);
        let dependent: Vec<&str> = dependent.map(|index| index.name.as_str()).collect();
        if dependent.is_empty() { Ok(()) } else { invalid(message(dependent.join(", "))) }
    }

    fn rename_column(&mut self, from: &str, to: &str, if_exists: bool) -> Result<(), RequestError> {
        let table = format!("{}.{}", self.keyspace, self.name);
        let Some(position) = self.columns.iter().position(|column| column.name == from) else {
            let message = format!("Undefined column name {from} in table {table}");
            return unless::<()>(if_exists, RequestError::Invalid(message)).map(|_| ());
        };
        if !matches!(self.columns[position].kind, ColumnKind::PartitionKey(_) | ColumnKind::Clustering(..)) {
            return invalid(format!("Cannot rename non PRIMARY KEY column {from}"));
        }
        if self.column(to).is_some() {
            return invalid(format!(
                "Cannot rename column {from} to {to} in table '{table}'; another column with that name already exists"
            ));
        }
        self.check_not_indexed(self.columns[position].id, |indexes| {
            format!("Can't rename column {from} because it has dependent secondary indexes ({indexes})")
        })?;
        self.columns[position].name = to.to_owned();
        Ok(())
    }
}

impl DroppedColumn {
    fn incompatible(&self, cql_type: &CqlType) -> RequestError {
        let DroppedColumn { name, cql_type: dropped, .. } = self;
        RequestError::Invalid(format!(
            "Cannot add a column '{name}' of type {cql_type}, incompatible with previously dropped column '{name}' of \
             type {dropped}"
        ))
    }

    /// Checks that a column of this name can be added again, now of type `cql_type`.
    fn check_again(&self, new: &NewColumn, cql_type: &CqlType) -> Result<(), RequestError> {
        let name = &self.name;
        if !cql_type.reads_values_of(&self.cql_type) {
            return Err(self.incompatible(cql_type));
        }
        if self.is_static != new.is_static {
            let kind = |is_static| if is_static { "STATIC" } else { "REGULAR" };
            return invalid(format!(
                "Cannot re-add previously dropped column '{name}' of kind {}, incompatible with previous kind {}",
                kind(new.is_static),
                kind(self.is_static)
            ));
        }
        if *cql_type == CqlType::Counter {
            return invalid(format!("Cannot re-add previously dropped counter column {name}"));
        }
        Ok(())
    }
}
