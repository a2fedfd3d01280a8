//! Changes of tables, types and indexes. (Keyspaces and tables are tested with the statements that make them.)

use super::*;
use crate::codec::{Decode, Encode};
use crate::complex::ComplexColumn;
use crate::deletion::Deletion;
use crate::row::Cell;
use bytes::Bytes;

fn user_type(name: &str, fields: Vec<(&str, CqlType)>) -> UserType {
    let fields = fields.into_iter().map(|(name, cql_type)| (name.to_owned(), cql_type)).collect();
    UserType { keyspace: "ks".to_owned(), name: name.to_owned(), fields }
}

fn table(cql_type: CqlType) -> Table {
    let dropped = |id, at| DroppedColumn {
        id: ColumnId(id),
        name: "was".to_owned(),
        cql_type: CqlType::Int,
        is_static: false,
        dropped_at: at,
    };
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
        indexes: Vec::new(),
        constraints: Vec::new(),
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
    assert_eq!(message(&[create(&a, false), create(&a, false)]), "A user type with name 'a' already exists");
    assert_eq!(message(&[drop_type("a", false)]), "Type 'ks.a' doesn't exist");
    let elsewhere = UserType { keyspace: "none".to_owned(), ..a };
    assert_eq!(message(&[create(&elsewhere, true)]), "Keyspace 'none' doesn't exist");
}

#[test]
fn a_type_in_use_is_not_dropped() {
    let inner = user_type("inner", vec![("x", CqlType::Int)]);
    let of = |definition: &UserType| CqlType::user_defined(&Arc::new(definition.clone()), true);
    let outer = user_type("outer", vec![("i", CqlType::List { element: Arc::new(of(&inner)), frozen: true })]);
    let created = SchemaChange::CreateTable { table: table(of(&outer)), if_not_exists: false };
    let mut changes = vec![create(&inner, false), create(&outer, false), created];
    for (name, user) in [("inner", "user types outer"), ("outer", "tables t")] {
        changes.push(drop_type(name, false));
        let message = format!("Cannot drop user type 'ks.{name}' as it is still used by {user}");
        assert_eq!(after(&changes), Err(RequestError::Invalid(message)));
        changes.pop();
    }
    let (keyspace, name) = ("ks".to_owned(), "t".to_owned());
    changes.push(SchemaChange::DropTable { keyspace, name, if_exists: false });
    changes.push(drop_type("inner", false));
    let message = "Cannot drop user type 'ks.inner' as it is still used by user types outer".to_owned();
    assert_eq!(after(&changes), Err(RequestError::Invalid(message)));
    changes.insert(4, drop_type("outer", false));
    assert!(after(&changes).unwrap().keyspace("ks").unwrap().types.is_empty());
}

fn alter(alteration: TableAlteration) -> SchemaChange {
    SchemaChange::AlterTable { keyspace: "ks".to_owned(), name: "t".to_owned(), alteration, if_exists: false }
}

fn add(columns: &[(&str, CqlType, bool)], if_not_exists: bool) -> SchemaChange {
    let column = |(name, cql_type, is_static): &(&str, CqlType, bool)| NewColumn {
        name: (*name).to_owned(),
        cql_type: cql_type.clone(),
        is_static: *is_static,
        checks: Vec::new(),
    };
    alter(TableAlteration::Add { columns: columns.iter().map(column).collect(), if_not_exists })
}

fn drop_columns(columns: &[&str], dropped_at: i64, if_exists: bool) -> SchemaChange {
    let columns = columns.iter().map(|name| (*name).to_owned()).collect();
    alter(TableAlteration::Drop { columns, dropped_at, if_exists })
}

fn rename(from: &str, to: &str, if_exists: bool) -> SchemaChange {
    alter(TableAlteration::Rename { renames: vec![(from.to_owned(), to.to_owned())], if_exists })
}

/// Partition key `k` and clustering column `c` of an `int` each, and these columns.
fn create_table(columns: &[(&str, CqlType, ColumnKind)]) -> SchemaChange {
    let key = [
        ("k", CqlType::Int, ColumnKind::PartitionKey(0)),
        ("c", CqlType::Int, ColumnKind::Clustering(0, ClusteringOrder::Ascending)),
    ];
    let column = |((name, cql_type, kind), id): (&(&str, CqlType, ColumnKind), u32)| Column {
        id: ColumnId(id),
        name: (*name).to_owned(),
        kind: *kind,
        cql_type: cql_type.clone(),
    };
    let columns = key.iter().chain(columns).zip(0..).map(column).collect();
    let table = Table { columns, dropped_columns: Vec::new(), ..table(CqlType::Int) };
    SchemaChange::CreateTable { table, if_not_exists: false }
}

fn regular(name: &str, cql_type: CqlType) -> (&str, CqlType, ColumnKind) {
    (name, cql_type, ColumnKind::Regular)
}

/// Name and id of each column of `ks.t`, in their order.
fn columns(schema: &Schema) -> Vec<(&str, u32)> {
    let table = schema.find_table("ks", "t").unwrap();
    table.columns.iter().map(|column| (column.name.as_str(), column.id.0)).collect()
}

fn message(changes: &[SchemaChange]) -> String {
    after(changes).map(|_| "no error".to_owned()).unwrap_or_else(|error| error.to_string())
}

#[test]
fn columns_come_and_go_with_stable_ids() {
    let mut changes = vec![
        create_table(&[regular("m", CqlType::Int), regular("z", CqlType::Text)]),
        add(&[("a", CqlType::Int, false), ("s", CqlType::Text, true), ("n", CqlType::Int, false)], false),
    ];
    let expected = [("k", 0), ("c", 1), ("a", 4), ("m", 2), ("n", 6), ("s", 5), ("z", 3)];
    assert_eq!(columns(&after(&changes).unwrap()), expected, "by name behind the key, ids above all others");
    changes.push(drop_columns(&["m", "s"], 100, false));
    changes.push(add(&[("b", CqlType::Int, false)], false));
    let schema = after(&changes).unwrap();
    assert_eq!(columns(&schema), [("k", 0), ("c", 1), ("a", 4), ("b", 7), ("n", 6), ("z", 3)]);
    let dropped = &schema.find_table("ks", "t").unwrap().dropped_columns;
    let dropped: Vec<_> = dropped.iter().map(|column| (column.id.0, column.is_static, column.dropped_at)).collect();
    assert_eq!(dropped, [(2, false, 100), (5, true, 100)]);
    // The same column again has the same id, and what was written up to the drop stays gone.
    changes.push(add(&[("m", CqlType::Int, false)], false));
    let schema = after(&changes).unwrap();
    let table = schema.find_table("ks", "t").unwrap();
    assert_eq!(table.column("m").unwrap().id, ColumnId(2));
    let cell = |timestamp| (ColumnId(2), Cell::live(timestamp, Bytes::from_static(b"vvvv")));
    for (timestamp, left) in [(100, 0), (101, 1)] {
        let mut row = Row::new(None, None, vec![cell(timestamp)]);
        table.hide_dropped(&mut row);
        assert_eq!(row.cells().len(), left, "{timestamp}");
    }
    // Dropped once more with an older timestamp, the newer one stays.
    changes.push(drop_columns(&["m"], 50, false));
    assert_eq!(after(&changes).unwrap().find_table("ks", "t").unwrap().dropped_columns[0].dropped_at, 100);
}

#[test]
fn what_if_exists_forgives_has_no_effect() {
    let table = create_table(&[regular("v", CqlType::Int)]);
    for forgiven in [
        add(&[("v", CqlType::Text, false)], true),
        drop_columns(&["x"], 1, true),
        rename("x", "y", true),
        alter(TableAlteration::With(TableOptionsChange::default())),
    ] {
        let schema = after(std::slice::from_ref(&table)).unwrap();
        assert_eq!(schema.apply(&forgiven), Ok(None), "{forgiven:?}");
    }
    let elsewhere = SchemaChange::AlterTable {
        keyspace: "ks".to_owned(),
        name: "none".to_owned(),
        alteration: TableAlteration::With(TableOptionsChange::default()),
        if_exists: true,
    };
    assert_eq!(after(&[]).unwrap().apply(&elsewhere), Ok(None));
    let several = [table, add(&[("v", CqlType::Text, false), ("w", CqlType::Text, false)], true)];
    assert!(after(&several).unwrap().find_table("ks", "t").unwrap().column("w").is_some(), "the others are added");
}

#[test]
fn alterations_that_make_no_sense_are_refused() {
    let of = |definition: &UserType, frozen| CqlType::user_defined(&Arc::new(definition.clone()), frozen);
    let user = user_type("u", vec![("x", CqlType::Int)]);
    let table = create_table(&[
        regular("l", CqlType::List { element: Arc::new(CqlType::Int), frozen: false }),
        regular("u", of(&user, false)),
        regular("v", CqlType::Int),
    ]);
    let refused = |more: &[SchemaChange], expected: &str| {
        let all: Vec<SchemaChange> = [create(&user, false), table.clone()].iter().chain(more).cloned().collect();
        assert_eq!(message(&all), expected);
    };
    refused(&[add(&[("v", CqlType::Int, false)], false)], "Column with name 'v' already exists");
    refused(&[drop_columns(&["x"], 1, false)], "Column x was not found in table 'ks.t'");
    refused(&[drop_columns(&["k"], 1, false)], "Cannot drop PRIMARY KEY column k");
    refused(&[drop_columns(&["c"], 1, true)], "Cannot drop PRIMARY KEY column c");
    refused(&[drop_columns(&["u"], 1, false)], "Cannot drop non-frozen column u of user type u");
    refused(&[rename("v", "w", false)], "Cannot rename non PRIMARY KEY column v");
    refused(&[rename("x", "w", false)], "Undefined column name x in table ks.t");
    refused(
        &[rename("k", "c", false)],
        "Cannot rename column k to c in table 'ks.t'; another column with that name already exists",
    );
    refused(
        &[add(&[("n", CqlType::Counter, false)], false)],
        "ks.t: Cannot have a counter column (\"n\") in a non counter table",
    );
    let drop = drop_columns(&["v"], 1, false);
    refused(
        &[drop.clone(), add(&[("v", CqlType::Text, false)], false)],
        "Cannot add a column 'v' of type text, incompatible with previously dropped column 'v' of type int",
    );
    refused(
        &[drop.clone(), add(&[("v", CqlType::Int, true)], false)],
        "Cannot re-add previously dropped column 'v' of kind STATIC, incompatible with previous kind REGULAR",
    );
    // What was decided once stays so.
    let longer = add(&[("v", CqlType::VarInt, false)], false);
    let schema = after(&[create(&user, false), table.clone(), drop]).unwrap();
    assert!(schema.apply(&longer).is_ok_and(|schema| schema.is_some()));
    assert_eq!(
        schema.check_new(&longer).unwrap_err().to_string(),
        "Cannot add a column 'v' of type varint, incompatible with previously dropped column 'v' of type int",
    );
    assert_eq!(schema.check_new(&add(&[("v", CqlType::Int, false)], false)), Ok(()));
    let list = |element| CqlType::List { element: Arc::new(element), frozen: false };
    refused(
        &[drop_columns(&["l"], 1, false), add(&[("l", list(CqlType::Text), false)], false)],
        "Cannot add a column 'l' of type list<text>, incompatible with previously dropped column 'l' of type list<int>",
    );
    refused(
        &[add(&[("n", of(&user_type("none", vec![("x", CqlType::Int)]), true), false)], false)],
        "Unknown type ks.none",
    );
}

#[test]
fn counter_tables_hold_counters_alone() {
    let table = create_table(&[regular("n", CqlType::Counter)]);
    let refused = |change: SchemaChange| message(&[table.clone(), change]);
    let text = add(&[("v", CqlType::Text, false)], false);
    assert_eq!(refused(text), "ks.t: Cannot have a non counter column (\"v\") in a counter table");
    assert_eq!(refused(add(&[("m", CqlType::Counter, true)], false)), "no error");
    let time_to_live = TableOptionsChange { default_time_to_live: Some(5), ..TableOptionsChange::default() };
    let expected = "Cannot set default_time_to_live on a table with counters";
    assert_eq!(refused(alter(TableAlteration::With(time_to_live))), expected);
    let twice = [
        table.clone(),
        add(&[("m", CqlType::Counter, false)], false),
        drop_columns(&["m"], 1, false),
        add(&[("m", CqlType::Counter, false)], false),
    ];
    assert_eq!(message(&twice), "Cannot re-add previously dropped counter column m");
}

#[test]
fn a_static_column_needs_a_clustering_column() {
    let create = SchemaChange::CreateTable { table: table(CqlType::Int), if_not_exists: false };
    let expected = "Static columns are only useful (and thus allowed) if the table has at least one clustering column";
    assert_eq!(message(&[create, add(&[("s", CqlType::Int, true)], false)]), expected);
}

#[test]
fn keyspaces_and_options_are_altered() {
    let replication = Some(Replication::Simple { factor: 3 });
    let keyspace = SchemaChange::AlterKeyspace { name: "ks".to_owned(), replication, if_exists: false };
    let comment = TableOptionsChange { comment: Some("x".to_owned()), ..TableOptionsChange::default() };
    let options = TableOptionsChange {
        gc_grace_seconds: Some(5),
        allow_auto_snapshot: Some(false),
        ..TableOptionsChange::default()
    };
    let with = |change: TableOptionsChange| alter(TableAlteration::With(change));
    let schema = after(&[create_table(&[]), keyspace, with(comment), with(options)]).unwrap();
    assert_eq!(schema.keyspace("ks").unwrap().replication.factor(), 3);
    let options = &schema.find_table("ks", "t").unwrap().options;
    assert_eq!((options.comment.as_str(), options.gc_grace_seconds, options.allow_auto_snapshot), ("x", 5, false));
    let replication = Some(Replication::Simple { factor: 3 });
    let missing = SchemaChange::AlterKeyspace { name: "none".to_owned(), replication, if_exists: false };
    assert_eq!(message(&[missing]), "Keyspace 'none' doesn't exist");
}

fn alter_type(name: &str, alteration: TypeAlteration) -> SchemaChange {
    SchemaChange::AlterType { keyspace: "ks".to_owned(), name: name.to_owned(), alteration, if_exists: false }
}

fn add_field(name: &str, field: &str, cql_type: CqlType) -> SchemaChange {
    alter_type(name, TypeAlteration::Add { field: field.to_owned(), cql_type, if_not_exists: false })
}

#[test]
fn a_type_that_is_altered_is_altered_wherever_it_is_used() {
    let of = |definition: &UserType, frozen| CqlType::user_defined(&Arc::new(definition.clone()), frozen);
    let inner = user_type("inner", vec![("x", CqlType::Int)]);
    // Made before the type that it uses, by name.
    let outer = user_type("a_outer", vec![("i", of(&inner, true))]);
    let outermost =
        user_type("a_first", vec![("o", CqlType::List { element: Arc::new(of(&outer, true)), frozen: false })]);
    let columns = [regular("f", of(&outermost, true)), regular("v", of(&inner, false))];
    let mut changes =
        vec![create(&inner, false), create(&outer, false), create(&outermost, false), create_table(&columns)];
    changes.push(add_field("inner", "y", CqlType::Text));
    let renames = vec![("x".to_owned(), "z".to_owned())];
    changes.push(alter_type("inner", TypeAlteration::Rename { renames, if_exists: false }));
    let schema = after(&changes).unwrap();
    let keyspace = schema.keyspace("ks").unwrap();
    let expected = user_type("inner", vec![("z", CqlType::Int), ("y", CqlType::Text)]);
    assert_eq!(*keyspace.types["inner"], expected);
    let table = schema.find_table("ks", "t").unwrap();
    assert_eq!(table.column("v").unwrap().cql_type, of(&expected, false));
    let outer = user_type("a_outer", vec![("i", of(&expected, true))]);
    let outermost =
        user_type("a_first", vec![("o", CqlType::List { element: Arc::new(of(&outer, true)), frozen: false })]);
    assert_eq!(table.column("f").unwrap().cql_type, of(&outermost, true));
    assert_eq!(schema.table(table.id), Some(table), "the table by its id is the same");
}

#[test]
fn alterations_of_types_that_make_no_sense_are_refused() {
    let of = |definition: &UserType| CqlType::user_defined(&Arc::new(definition.clone()), true);
    let (a, b) = (user_type("a", vec![("x", CqlType::Int)]), user_type("b", vec![("y", CqlType::Int)]));
    let uses = user_type("uses", vec![("a", of(&a))]);
    let refused = |change: SchemaChange| message(&[create(&a, false), create(&b, false), create(&uses, false), change]);
    let exists = "Cannot add field x to type ks.a: a field with name x already exists";
    assert_eq!(refused(add_field("a", "x", CqlType::Int)), exists);
    let circle = refused(add_field("a", "c", of(&uses)));
    let expected = "Cannot add new field c of type frozen<uses> to user type a as it would create a circular reference";
    assert_eq!(circle, expected);
    assert_eq!(refused(add_field("a", "c", CqlType::Counter)), "A user type cannot contain counters");
    let rename = |from: &str, to: &str| {
        let renames = vec![(from.to_owned(), to.to_owned())];
        alter_type("a", TypeAlteration::Rename { renames, if_exists: false })
    };
    assert_eq!(refused(rename("n", "m")), "Unkown field n in user type ks.a");
    assert_eq!(refused(add_field("none", "x", CqlType::Int)), "Type ks.none doesn't exist");
    let two = user_type("two", vec![("x", CqlType::Int), ("y", CqlType::Int)]);
    let renames = vec![("x".to_owned(), "y".to_owned())];
    let twice = alter_type("two", TypeAlteration::Rename { renames, if_exists: false });
    assert_eq!(message(&[create(&two, false), twice]), "Duplicate field name y in type ks.two");
    let swap = vec![("x".to_owned(), "y".to_owned()), ("y".to_owned(), "x".to_owned())];
    let swapped = alter_type("two", TypeAlteration::Rename { renames: swap, if_exists: false });
    assert_eq!(message(&[create(&two, false), swapped]), "no error");
    let non_frozen = user_type("n", vec![("a", CqlType::user_defined(&Arc::new(a.clone()), false))]);
    let nested = [create(&a, false), create(&non_frozen, false)];
    assert_eq!(message(&nested), "A user type cannot contain non-frozen UDTs");
}

#[test]
fn types_do_not_grow_without_bound() {
    let mut changes = vec![create(&user_type("t0", vec![("x", CqlType::Int)]), false)];
    let mut definition = user_type("t0", vec![("x", CqlType::Int)]);
    let mut refused = None;
    for level in 1..32 {
        let name = format!("t{level}");
        let field = CqlType::user_defined(&Arc::new(definition), true);
        definition = user_type(&name, vec![("a", field.clone()), ("b", field.clone()), ("c", field)]);
        changes.push(SchemaChange::CreateType { definition: definition.clone(), if_not_exists: false });
        if let Err(error) = CqlType::user_defined(&Arc::new(definition.clone()), true).check() {
            refused = Some((level, error.to_string()));
            break;
        }
    }
    let expected = "a type may not be made of more than 4096 types".to_owned();
    assert_eq!(refused, Some((7, expected.clone())));
    let keyspace = Schema::default();
    let replication = Replication::Simple { factor: 1 };
    let create = SchemaChange::CreateKeyspace { name: "ks".to_owned(), replication, if_not_exists: false };
    let mut schema = keyspace.apply(&create).unwrap().unwrap();
    let (last, others) = changes.split_last().unwrap();
    for change in others {
        schema = schema.apply(change).unwrap().unwrap();
    }
    assert_eq!(schema.apply(last), Err(RequestError::Invalid(expected)));
}

#[test]
fn indexes_belong_to_a_table_and_their_names_to_a_keyspace() {
    let text = regular("v", CqlType::Text);
    let map = CqlType::Map { entry: Arc::new((CqlType::Text, CqlType::Int)), frozen: false };
    let list = CqlType::List { element: Arc::new(CqlType::Int), frozen: true };
    let table = create_table(&[regular("d", CqlType::Duration), regular("f", list), regular("m", map), text]);
    let index = |name: &str, column, part| Index {
        name: name.to_owned(),
        column: ColumnId(column),
        part,
        class: String::new(),
        options: BTreeMap::new(),
    };
    let create = |index: Index, if_not_exists| SchemaChange::CreateIndex {
        keyspace: "ks".to_owned(),
        table: "t".to_owned(),
        index,
        if_not_exists,
    };
    let refused = |changes: &[SchemaChange]| {
        let all: Vec<SchemaChange> = std::iter::once(&table).chain(changes).cloned().collect();
        message(&all)
    };
    use IndexedPart as P;
    let first = create(index("i", 5, P::Value), false);
    assert_eq!(refused(&[first.clone(), create(index("i", 4, P::Keys), false)]), "Index 'i' already exists");
    let duplicate = create(index("j", 5, P::Value), false);
    assert_eq!(refused(&[first.clone(), duplicate]), "Index j is a duplicate of existing index i");
    assert_eq!(refused(&[first.clone(), create(index("j", 5, P::Value), true)]), "no error");
    assert_eq!(refused(&[create(index("j", 4, P::Keys), false), create(index("k", 4, P::Entries), false)]), "no error");
    for (column, part, expected) in [
        (0, P::Value, "Cannot create secondary index on the only partition key column k"),
        (1, P::Value, "no error"),
        (2, P::Value, "Secondary indexes are not supported on duration columns"),
        (3, P::Full, "no error"),
        (
            3,
            P::Values,
            "Cannot create values() index on frozen column f. Frozen collections are immutable and must be fully \
             indexed by using the 'full(f)' modifier",
        ),
        (4, P::Full, "full() indexes can only be created on frozen collections"),
        (5, P::Keys, "Cannot create keys() index on v. Non-collection columns only support simple indexes"),
        (9, P::Value, "Column '9' doesn't exist"),
    ] {
        assert_eq!(refused(&[create(index("j", column, part), false)]), expected);
    }
    let expected = "Cannot drop column v because it has dependent secondary indexes (i)";
    assert_eq!(refused(&[first.clone(), drop_columns(&["v"], 1, false)]), expected);
    let on_clustering = create(index("c_index", 1, P::Value), false);
    let expected = "Can't rename column c because it has dependent secondary indexes (c_index)";
    assert_eq!(refused(&[on_clustering, rename("c", "e", false)]), expected);
    let drop =
        |name: &str, if_exists| SchemaChange::DropIndex { keyspace: "ks".to_owned(), name: name.to_owned(), if_exists };
    assert_eq!(refused(&[drop("i", false)]), "Index 'ks.i' doesn't exist'");
    assert_eq!(refused(&[drop("i", true)]), "no error");
    let schema = after(&[table, first, drop("i", false), drop_columns(&["v"], 1, false)]).unwrap();
    assert!(schema.find_table("ks", "t").unwrap().indexes.is_empty());
}

#[test]
fn what_older_releases_wrote_is_read() {
    let table = table(CqlType::Int);
    // The encoding of a table before it had indexes: the same without format, kinds of dropped columns and indexes.
    let mut old = vec![2];
    table.id.encode(&mut old);
    table.generation.encode(&mut old);
    table.keyspace.encode(&mut old);
    table.name.encode(&mut old);
    crate::codec::put_sequence(&mut old, &table.columns);
    // Nor were there options without effect.
    let options = table.options.to_bytes();
    old.extend_from_slice(options.strip_suffix(&[0]).unwrap());
    crate::codec::put_varint(&mut old, table.dropped_columns.len() as u64);
    for dropped in &table.dropped_columns {
        dropped.id.encode(&mut old);
        dropped.name.encode(&mut old);
        dropped.cql_type.encode(&mut old);
        dropped.dropped_at.encode(&mut old);
    }
    true.encode(&mut old);
    let expected = SchemaChange::CreateTable { table: table.clone(), if_not_exists: true };
    assert_eq!(SchemaChange::from_bytes(&Bytes::from(old)), Ok(expected));
    // The encoding of a table with indexes, and without options that have no effect.
    let mut old = vec![2];
    table.id.encode(&mut old);
    table.generation.encode(&mut old);
    table.keyspace.encode(&mut old);
    table.name.encode(&mut old);
    crate::codec::put_sequence(&mut old, &table.columns);
    old.extend_from_slice(options.strip_suffix(&[0]).unwrap());
    crate::codec::put_sequence(&mut old, &table.dropped_columns);
    crate::codec::put_sequence(&mut old, &table.indexes);
    assert_eq!(Table::from_bytes(&Bytes::from(old)), Ok(table));
}
