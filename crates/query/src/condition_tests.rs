//! IF against rows.

use super::*;
use crate::ast::{Modification, Statement};
use crate::fixture::{context, schema};
use crate::parser::parse;
use crate::source::Source;
use crate::{Bound, prepare};
use model::codec::Decode;
use model::schema::Schema;
use model::{RecordKey, WallMicros};
use std::cell::RefCell;

fn tables() -> Schema {
    schema(&[
        "CREATE KEYSPACE ks WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
        "CREATE TYPE ks.u (a int, b text)",
        "CREATE TABLE ks.x (k int, c int, f frozen<list<int>>, l list<int>, m map<text, int>, s set<text>, u u, v int, \
         sv int STATIC, PRIMARY KEY (k, c))",
    ])
}

/// The static row and the row that an INSERT writes.
fn rows(schema: &Schema, insert: &str) -> (Option<Row>, Option<Row>) {
    let bound = prepare(insert, schema, Some("ks")).unwrap().bind(&[], context()).unwrap();
    let Bound::Write(write) = bound else { panic!("{bound:?}") };
    let (mut of_static, mut row) = (None, None);
    for record in write.mutation(10, WallMicros(10)).unwrap().records {
        let decoded = Some(Row::from_bytes(&record.value).unwrap());
        match record.key {
            RecordKey::Static => of_static = decoded,
            RecordKey::Row(_) => row = decoded,
            RecordKey::Deletions => panic!("{insert} deletes"),
        }
    }
    (of_static, row)
}

/// Whether `condition` is met by what `insert` wrote, or by nothing.
fn met(condition: &str, insert: Option<&str>) -> Result<bool, String> {
    let schema = tables();
    let text = format!("UPDATE ks.x SET v = 1 WHERE k = 1 AND c = 1 IF {condition}");
    let parsed = parse(&text).unwrap();
    let Statement::Modification(Modification::Update(update)) = &parsed.statement else { panic!("{text}") };
    let table = schema.find_table("ks", "x").unwrap();
    let mut binder = Binder::of(Source::new(&text), &schema, parsed.markers);
    let plan = binder.conditions(table, &update.condition.as_ref().unwrap().0).map_err(|error| error.to_string())?;
    let context = RefCell::new(context());
    let bound = plan.bind(Arguments::none(&context)).map_err(|error| error.to_string())?;
    let (of_static, row) = insert.map_or((None, None), |insert| rows(&schema, insert));
    bound.evaluate(table, row.as_ref(), of_static.as_ref(), 20).map_err(|error| error.to_string())
}

const ROW: &str = "INSERT INTO x (k, c, v, l, m, s, u, f, sv) VALUES \
                   (1, 1, 5, [1, 2], {'a': 1, 'b': 2}, {'x', 'y'}, {a: 1}, [3, 4], 9)";

#[test]
fn conditions_hold_or_do_not() {
    let held = [
        "EXISTS",
        "v = 5",
        "v != 4",
        "v < 6",
        "v <= 5",
        "v > 4",
        "v >= 5",
        "v IN (1, 5)",
        "sv = 9",
        "v = 5 AND sv > 8",
        "l = [1, 2]",
        "l[0] = 1",
        "l[1] IN (2, 3)",
        "l[5] = null",
        "l > [1]",
        "m = {'b': 2, 'a': 1}",
        "m['a'] = 1",
        "m['z'] = null",
        "m['a'] != 2",
        "m CONTAINS 2",
        "m CONTAINS KEY 'b'",
        "s = {'y', 'x'}",
        "s CONTAINS 'x'",
        "u.a = 1",
        "u.b = null",
        "u = {a: 1}",
        "f = [3, 4]",
        "f[1] = 4",
        "f CONTAINS 3",
        "l CONTAINS 2",
        "u != {a: 2}",
    ];
    let failed = [
        "v = 4",
        "v != 5",
        "v < 5",
        "v > 5",
        "v IN (1, 2)",
        "v IN ()",
        "v = null",
        "sv = 1",
        "v = 5 AND sv = 1",
        "l = [1]",
        "l[0] = 2",
        "m = {'a': 1}",
        "m['a'] = null",
        "m CONTAINS 3",
        "m CONTAINS KEY 'z'",
        "s = {}",
        "s = null",
        "s CONTAINS 'z'",
        "u.a = 2",
        "u = null",
        "f = [3]",
        "f[9] = 1",
    ];
    for (conditions, expected) in [(&held[..], true), (&failed[..], false)] {
        for condition in conditions {
            assert_eq!(met(condition, Some(ROW)), Ok(expected), "{condition}");
        }
    }
}

#[test]
fn nothing_is_null() {
    for condition in
        ["v = null", "v != 1", "l = null", "s = {}", "m['a'] = null", "u.a = null", "sv = null", "v IN (null)"]
    {
        assert_eq!(met(condition, None), Ok(true), "{condition}");
        assert_eq!(met(condition, Some("INSERT INTO x (k, c) VALUES (1, 1)")), Ok(true), "{condition}");
    }
    for condition in ["EXISTS", "v = 1", "v < 1", "v != null", "l != null", "s CONTAINS 'a'", "f[0] = 1"] {
        assert_eq!(met(condition, None), Ok(false), "{condition}");
    }
}

#[test]
fn what_cannot_be_asked_is_refused() {
    for (condition, expected) in [
        ("v < null", "Invalid comparison with null for operator \"<\""),
        ("l[null] = 1", "Invalid null value for element access"),
        ("l[-1] = 1", "Invalid negative list index -1"),
        ("v NOT IN (1)", "NOT IN conditions are not supported (line 1:48)"),
    ] {
        assert_eq!(met(condition, Some(ROW)), Err(expected.to_owned()), "{condition}");
    }
}

#[test]
fn a_refusal_shows_the_columns_of_the_conditions() {
    let schema = tables();
    let text = "UPDATE ks.x SET v = 1 WHERE k = 1 AND c = 1 IF v = 1 AND l[0] = 2 AND v > 0";
    let parsed = parse(text).unwrap();
    let Statement::Modification(Modification::Update(update)) = &parsed.statement else { panic!("{text}") };
    let table = schema.find_table("ks", "x").unwrap();
    let mut binder = Binder::of(Source::new(text), &schema, 0);
    let plan = binder.conditions(table, &update.condition.as_ref().unwrap().0).unwrap();
    let context = RefCell::new(context());
    let names: Vec<&str> = plan
        .bind(Arguments::none(&context))
        .unwrap()
        .columns(table)
        .into_iter()
        .map(|index| table.columns[index].name.as_str())
        .collect();
    assert_eq!(names, ["v", "l"]);
    let exists = ConditionsPlan::NotExists.bind(Arguments::none(&context)).unwrap();
    assert_eq!((exists.evaluate(table, None, None, 20), exists.columns(table)), (Ok(true), Vec::new()));
}
