//! The prepared statements of a node, found by an id that is the hash of their keyspace and text.
//!
//! Invariants:
//! * The memory of the cache is bounded; what was not used for long goes first.
//! * A statement that is handed out was bound to the schema that it is handed out for. When the schema has
//!   changed since, it is bound again from its text.

use ::api::convert::result_metadata_id;
use ::api::proto::client::v1 as proto;
use bytes::Bytes;
use membership::ClusterView;
use model::RequestError;
use model::schema::Schema;
use parking_lot::Mutex;
use query::{ColumnSpec, Prepared};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Statements in one generation of the cache; it has two.
const GENERATION_STATEMENTS_MAX: usize = 8_192;
/// Bytes of text in one generation.
const GENERATION_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The columns of a result, as clients get them.
#[derive(Debug, PartialEq)]
pub(crate) struct ResultShape {
    /// The columns.
    pub(crate) columns: Vec<proto::ColumnSpec>,
    /// The same for the CQL native protocol.
    pub(crate) native: Arc<Vec<native::ColumnSpec>>,
    /// Identifies them.
    pub(crate) metadata_id: Bytes,
}

/// A statement that is bound to a schema.
pub(crate) struct Statement {
    /// The hash of keyspace and text.
    pub(crate) id: u128,
    /// The plan.
    pub(crate) prepared: Prepared,
    /// The result's columns; none when it returns no rows.
    pub(crate) shape: Arc<ResultShape>,
    text: String,
    keyspace: Option<String>,
    schema: Arc<Schema>,
}

/// The message for a column or a marker.
pub(crate) fn column_message(column: &ColumnSpec) -> proto::ColumnSpec {
    proto::ColumnSpec::new(&column.keyspace, &column.table, column.name.clone(), &column.cql_type)
}

/// Columns or markers for the CQL native protocol.
pub(crate) fn native_columns(columns: &[ColumnSpec]) -> Arc<Vec<native::ColumnSpec>> {
    let native = |column: &ColumnSpec| native::ColumnSpec {
        keyspace: column.keyspace.as_str().into(),
        table: column.table.as_str().into(),
        name: column.name.clone(),
        cql_type: column.cql_type.clone(),
    };
    Arc::new(columns.iter().map(native).collect())
}

impl Statement {
    fn new(id: u128, text: &str, keyspace: Option<&str>, schema: &Arc<Schema>) -> Result<Statement, RequestError> {
        let prepared = query::prepare(text, schema, keyspace)?;
        let columns: Vec<_> = prepared.result_columns().iter().map(column_message).collect();
        let metadata_id = result_metadata_id(&columns);
        let native = native_columns(prepared.result_columns());
        Ok(Statement {
            id,
            prepared,
            shape: Arc::new(ResultShape { columns, native, metadata_id }),
            text: text.to_owned(),
            keyspace: keyspace.map(str::to_owned),
            schema: schema.clone(),
        })
    }

    /// The text.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The id as clients hold it.
    pub(crate) fn id_bytes(&self) -> Bytes {
        Bytes::copy_from_slice(&self.id.to_be_bytes())
    }
}

#[derive(Default)]
struct Generations {
    young: BTreeMap<u128, Arc<Statement>>,
    young_bytes: usize,
    old: BTreeMap<u128, Arc<Statement>>,
}

impl Generations {
    /// A statement that is used moves to the young generation; what stays in the old one until the young one
    /// is full again was not used for that long, and goes.
    fn find(&mut self, id: u128) -> Option<Arc<Statement>> {
        if let Some(found) = self.young.get(&id) {
            return Some(found.clone());
        }
        let found = self.old.remove(&id)?;
        self.insert(found.clone());
        Some(found)
    }

    fn insert(&mut self, statement: Arc<Statement>) {
        if self.young.len() >= GENERATION_STATEMENTS_MAX || self.young_bytes >= GENERATION_BYTES_MAX {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        self.young_bytes += statement.text.len();
        if let Some(replaced) = self.young.insert(statement.id, statement) {
            self.young_bytes -= replaced.text.len();
        }
    }
}

/// The cache.
#[derive(Default)]
pub(crate) struct Statements {
    generations: Mutex<Generations>,
}

impl Statements {
    /// The statement of this text, prepared now unless it is known.
    ///
    /// # Errors
    /// When the text is not a statement for this schema.
    pub(crate) fn prepare(
        &self,
        text: &str,
        keyspace: Option<&str>,
        view: &ClusterView,
    ) -> Result<Arc<Statement>, RequestError> {
        let id = statement_id(text, keyspace);
        let known = self.generations.lock().find(id);
        if let Some(known) = known.filter(|known| Arc::ptr_eq(&known.schema, &view.schema)) {
            return Ok(known);
        }
        let statement = Arc::new(Statement::new(id, text, keyspace, &view.schema)?);
        self.generations.lock().insert(statement.clone());
        Ok(statement)
    }

    /// Those that are known and read or write a table: id, keyspace and text. In others there may be passwords.
    pub(crate) fn list(&self) -> Vec<(Bytes, Option<String>, String)> {
        let generations = self.generations.lock();
        let all = generations.young.values().chain(generations.old.values());
        let listed =
            |statement: &Arc<Statement>| (statement.id_bytes(), statement.keyspace.clone(), statement.text.clone());
        all.filter(|statement| statement.prepared.table().is_some()).map(listed).collect()
    }

    /// The statement of this id.
    ///
    /// # Errors
    /// `Unprepared` when it is not known; and when it cannot be bound to the schema as it is now.
    pub(crate) fn find(&self, id: &[u8], view: &ClusterView) -> Result<Arc<Statement>, RequestError> {
        let unprepared = || {
            let id = id.iter().map(|byte| format!("{byte:02x}")).collect();
            RequestError::Unprepared { id }
        };
        let number = id.try_into().map(u128::from_be_bytes).map_err(|_| unprepared())?;
        let known = self.generations.lock().find(number).ok_or_else(unprepared)?;
        if Arc::ptr_eq(&known.schema, &view.schema) {
            return Ok(known);
        }
        self.prepare(&known.text, known.keyspace.as_deref(), view)
    }
}

fn statement_id(text: &str, keyspace: Option<&str>) -> u128 {
    let mut hasher = xxhash_rust::xxh3::Xxh3::new();
    // A keyspace's name holds no zero byte, so the two cannot run into each other.
    hasher.update(keyspace.unwrap_or_default().as_bytes());
    hasher.update(&[0]);
    hasher.update(text.as_bytes());
    hasher.digest128()
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Epoch;
    use model::schema::{Replication, SchemaChange};

    fn view(tables: &[&str]) -> ClusterView {
        let mut schema = Schema::default();
        let replication = Replication::Simple { factor: 1 };
        let keyspace = SchemaChange::CreateKeyspace { name: "k".to_owned(), replication, if_not_exists: false };
        schema = schema.apply(&keyspace).unwrap().unwrap();
        for (number, text) in tables.iter().enumerate() {
            let prepared = query::prepare(text, &schema, None).unwrap();
            let query::Bound::Schema(request) =
                prepared.bind(&[], query::EvaluationContext::new(model::WallMicros(0), 0)).unwrap()
            else {
                panic!("{text} is DDL")
            };
            let change = request.change(model::TableId(number as u128), model::WallMicros(0));
            schema = schema.apply(&change).unwrap().unwrap();
        }
        ClusterView::new(Epoch(1), 7, Arc::new(schema), BTreeMap::new(), std::collections::BTreeSet::new())
    }

    #[test]
    fn a_statement_is_bound_again_when_the_schema_has_changed() {
        let before = view(&["CREATE TABLE k.t (a int PRIMARY KEY, b int)"]);
        let cache = Statements::default();
        let first = cache.prepare("SELECT * FROM t WHERE a = ?", Some("k"), &before).unwrap();
        assert!(Arc::ptr_eq(&first, &cache.find(&first.id_bytes(), &before).unwrap()));
        let after = view(&["CREATE TABLE k.t (a int PRIMARY KEY, b int, c text)"]);
        let second = cache.find(&first.id_bytes(), &after).unwrap();
        assert_eq!(second.id, first.id);
        assert_ne!(second.shape.metadata_id, first.shape.metadata_id);
        assert!(cache.find(&first.id_bytes(), &view(&[])).is_err(), "the table is gone");
    }

    #[test]
    fn unknown_ids_are_unprepared_and_the_keyspace_is_part_of_the_id() {
        let cache = Statements::default();
        for id in [&[1u8; 16][..], &[], &[1; 15]] {
            assert!(matches!(cache.find(id, &view(&[])), Err(RequestError::Unprepared { .. })));
        }
        assert_ne!(statement_id("a", None), statement_id("a", Some("k")));
    }

    #[test]
    fn what_is_used_stays_and_what_is_not_goes() {
        let view = view(&["CREATE TABLE k.t (a int PRIMARY KEY, b int)"]);
        let cache = Statements::default();
        let prepare =
            |number: usize| cache.prepare(&format!("SELECT * FROM k.t WHERE a = {number}"), None, &view).unwrap();
        let (used, unused) = (prepare(0), prepare(1));
        for number in 2..3 * GENERATION_STATEMENTS_MAX {
            prepare(number);
            cache.find(&used.id_bytes(), &view).unwrap();
        }
        assert!(cache.find(&unused.id_bytes(), &view).is_err());
        let generations = cache.generations.lock();
        assert!(generations.young.len() + generations.old.len() <= 2 * GENERATION_STATEMENTS_MAX);
    }
}
