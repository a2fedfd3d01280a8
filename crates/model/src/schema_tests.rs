//! Dropped columns and user-defined types. (Keyspaces and tables are tested with the statements that make them.)

use super::*;
use crate::complex::ComplexColumn;
use crate::deletion::Deletion;
use crate::row::Cell;
use bytes::Bytes;

fn user_type(name: &str, fields: Vec<(&str, CqlType)>) -> UserType {
    let fields = fields.into_iter().map(|(name, cql_type)| (name.to_owned(), cql_type)).collect();
    UserType { keyspace: "ks".to_owned(), name: name.to_owned(), fields }
}

fn table(cql_type: CqlType) -> Table {
    let dropped =
        |id, at| DroppedColumn { id: ColumnId(id), name: "v".to_owned(), cql_type: CqlType::Int, dropped_at: at };
    let kind = ColumnKind::PartitionKey(0);
    let key = Column { id: ColumnId(0), name: "k".to_owned(), kind, cql_type: CqlType::Int };
    let value = Column { id: ColumnId(3), name: "v".to_owned(), kind: ColumnKind::Regular, cql_type };
    Table {
        id: TableId(7),
        generation: 0,
        keyspace: "ks".to_owned(),
        name: "t".to_owned(),
        columns: vec![key, value],
        options: TableOptions::default(),
        dropped_columns: vec![dropped(1, 10), dropped(5, 20)],
    }
}

/// The schema after these changes of one with a keyspace.
fn after(changes: &[SchemaChange]) -> Result<Schema, RequestError> {
    let replication = Replication::Simple { factor: 1 };
    let keyspace = SchemaChange::CreateKeyspace { name: "ks".to_owned(), replication, if_not_exists: false };
    std::iter::once(&keyspace).chain(changes).try_fold(Schema::default(), |schema, change| {
        assert_eq!(SchemaChange::from_bytes(&change.to_bytes()).as_ref(), Ok(change));
        Ok(schema.apply(change)?.unwrap_or(schema))
    })
}

fn create(definition: &UserType, if_not_exists: bool) -> SchemaChange {
    SchemaChange::CreateType { definition: definition.clone(), if_not_exists }
}

fn drop_type(name: &str, if_exists: bool) -> SchemaChange {
    SchemaChange::DropType { keyspace: "ks".to_owned(), name: name.to_owned(), if_exists }
}

#[test]
fn what_was_written_before_a_column_was_dropped_is_hidden() {
    let table = table(CqlType::Int);
    assert_eq!(table.next_column_id(), ColumnId(6), "no id comes again");
    let cell = |id, timestamp| (ColumnId(id), Cell::live(timestamp, Bytes::from_static(b"v")));
    let element = |timestamp| (Bytes::from_static(b"p"), Cell::live(timestamp, Bytes::new()));
    let deletion = |timestamp| Some(Deletion { timestamp, local_seconds: 1 });
    let complex = |id, deletion, cells| (ColumnId(id), ComplexColumn::new(deletion, cells));
    let mut row = Row::new(None, None, vec![cell(1, 10), cell(3, 10), cell(5, 21)])
        .with_complex([complex(1, deletion(9), vec![element(10)]), complex(5, deletion(19), vec![element(21)])]);
    table.hide_dropped(&mut row);
    let left = Row::new(None, None, vec![cell(3, 10), cell(5, 21)]).with_complex([complex(5, None, vec![element(21)])]);
    assert_eq!(row, left);
    assert_eq!(Table::from_bytes(&table.to_bytes()), Ok(table));
}

#[test]
fn types_come_and_go() {
    let (a, b) = (user_type("a", vec![("x", CqlType::Int)]), user_type("b", vec![("y", CqlType::Text)]));
    let schema = after(&[create(&a, false), create(&b, false), create(&a, true), drop_type("b", false)]).unwrap();
    let names: Vec<&String> = schema.keyspace("ks").unwrap().types.keys().collect();
    assert_eq!(names, ["a"]);
    assert!(after(&[drop_type("a", true)]).is_ok());
    let message = |changes: &[SchemaChange]| after(changes).unwrap_err().to_string();
    assert_eq!(message(&[create(&a, false), create(&a, false)]), "type ks.a already exists");
    assert_eq!(message(&[drop_type("a", false)]), "type ks.a does not exist");
    let elsewhere = UserType { keyspace: "none".to_owned(), ..a };
    assert_eq!(message(&[create(&elsewhere, true)]), "keyspace none does not exist");
}

#[test]
fn a_type_in_use_is_not_dropped() {
    let inner = user_type("inner", vec![("x", CqlType::Int)]);
    let of = |definition: &UserType| CqlType::user_defined(&Arc::new(definition.clone()), true);
    let outer = user_type("outer", vec![("i", CqlType::List { element: Arc::new(of(&inner)), frozen: true })]);
    let created = SchemaChange::CreateTable { table: table(of(&outer)), if_not_exists: false };
    let mut changes = vec![create(&inner, false), create(&outer, false), created];
    for (name, user) in [("inner", "table ks.t"), ("outer", "table ks.t")] {
        changes.push(drop_type(name, false));
        let message = format!("Cannot drop user type 'ks.{name}' as it is still used by {user}");
        assert_eq!(after(&changes), Err(RequestError::Invalid(message)));
        changes.pop();
    }
    let (keyspace, name) = ("ks".to_owned(), "t".to_owned());
    changes.push(SchemaChange::DropTable { keyspace, name, if_exists: false });
    changes.push(drop_type("inner", false));
    let message = "Cannot drop user type 'ks.inner' as it is still used by type ks.outer".to_owned();
    assert_eq!(after(&changes), Err(RequestError::Invalid(message)));
    changes.insert(4, drop_type("outer", false));
    assert!(after(&changes).unwrap().keyspace("ks").unwrap().types.is_empty());
}
