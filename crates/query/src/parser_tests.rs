use super::*;
use crate::ast::*;
use proptest::prelude::*;

/// The statement in one canonical form of CQL: equal texts are equal statements but for positions.
pub(crate) fn print(statement: &Statement) -> String {
    let table = |name: &TableName| match &name.keyspace {
        Some(keyspace) => format!("{}.{}", quoted(keyspace), quoted(&name.table)),
        None => quoted(&name.table),
    };
    let where_clause = |relations: &[Relation]| {
        let relations: Vec<String> = relations.iter().map(print_relation).collect();
        if relations.is_empty() { String::new() } else { format!(" WHERE {}", relations.join(" AND ")) }
    };
    let names = |names: &[Name]| names.iter().map(quoted).collect::<Vec<_>>().join(", ");
    match statement {
        Statement::CreateKeyspace(CreateKeyspace { name, if_not_exists, properties }) => {
            let condition = if *if_not_exists { "IF NOT EXISTS " } else { "" };
            format!("CREATE KEYSPACE {condition}{}{}", quoted(name), print_properties(properties, Vec::new()))
        }
        Statement::DropKeyspace { name, if_exists } => {
            format!("DROP KEYSPACE {}{}", if *if_exists { "IF EXISTS " } else { "" }, quoted(name))
        }
        Statement::DropTable { name, if_exists } => {
            format!("DROP TABLE {}{}", if *if_exists { "IF EXISTS " } else { "" }, table(name))
        }
        Statement::CreateTable(create) => print_create_table(create, &table(&create.name)),
        Statement::Use(name) => format!("USE {}", quoted(name)),
        Statement::Insert(Insert { table: name, columns, values, using }) => {
            let values: Vec<String> = values.iter().map(print_term).collect();
            let values = values.join(", ");
            format!("INSERT INTO {} ({}) VALUES ({values}){}", table(name), names(columns), print_using(using))
        }
        Statement::Update(Update { table: name, using, assignments, relations }) => {
            let set = |(name, term): &(Name, Term)| format!("{} = {}", quoted(name), print_term(term));
            let set: Vec<String> = assignments.iter().map(set).collect();
            let (using, set) = (print_using(using), set.join(", "));
            format!("UPDATE {}{using} SET {set}{}", table(name), where_clause(relations))
        }
        Statement::Delete(Delete { columns, table: name, timestamp, relations }) => {
            let using = print_using(&Using { time_to_live: None, timestamp: timestamp.clone() });
            format!("DELETE {} FROM {}{using}{}", names(columns), table(name), where_clause(relations))
        }
        Statement::Select(select) => {
            let selectors: Vec<String> = select.selectors.iter().map(print_selector).collect();
            let selectors = if selectors.is_empty() { "*".to_owned() } else { selectors.join(", ") };
            let mut text =
                format!("SELECT {selectors} FROM {}{}", table(&select.table), where_clause(&select.relations));
            if !select.order.is_empty() {
                text.push_str(&format!(" ORDER BY {}", print_order(&select.order)));
            }
            if let Some(limit) = &select.limit {
                text.push_str(&format!(" LIMIT {}", print_term(limit)));
            }
            text
        }
    }
}

fn quoted(name: &Name) -> String {
    format!("\"{}\"", name.text.replace('"', "\"\""))
}

fn print_literal(Literal { kind, text }: &Literal) -> String {
    if *kind == LiteralKind::String { format!("'{}'", text.replace('\'', "''")) } else { text.clone() }
}

fn print_term(term: &Term) -> String {
    match &term.kind {
        TermKind::Literal(literal) => print_literal(literal),
        TermKind::Null => "null".to_owned(),
        TermKind::Marker { name: None, .. } => "?".to_owned(),
        TermKind::Marker { name: Some(name), .. } => format!(":\"{}\"", name.replace('"', "\"\"")),
    }
}

fn print_relation(Relation { column, operator, term }: &Relation) -> String {
    let operator = match operator {
        Operator::Equal => "=",
        Operator::Less => "<",
        Operator::LessOrEqual => "<=",
        Operator::Greater => ">",
        Operator::GreaterOrEqual => ">=",
    };
    format!("{} {operator} {}", quoted(column), print_term(term))
}

fn print_using(using: &Using) -> String {
    let ttl = using.time_to_live.iter().map(|term| format!("TTL {}", print_term(term)));
    let timestamp = using.timestamp.iter().map(|term| format!("TIMESTAMP {}", print_term(term)));
    let all: Vec<String> = ttl.chain(timestamp).collect();
    if all.is_empty() { String::new() } else { format!(" USING {}", all.join(" AND ")) }
}

fn print_selector(Selector { column, alias }: &Selector) -> String {
    let alias = alias.as_ref().map(|alias| format!(" AS {}", quoted(alias)));
    format!("{}{}", quoted(column), alias.unwrap_or_default())
}

fn print_order(order: &[(Name, bool)]) -> String {
    let one =
        |(name, descending): &(Name, bool)| format!("{} {}", quoted(name), if *descending { "DESC" } else { "ASC" });
    order.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn print_properties(properties: &[Property], mut all: Vec<String>) -> String {
    for property in properties {
        let value = match &property.value {
            PropertyValue::Literal(literal) => print_literal(literal),
            PropertyValue::Map(entries) => {
                let entry =
                    |(key, value): &(Literal, Literal)| format!("{}: {}", print_literal(key), print_literal(value));
                format!("{{{}}}", entries.iter().map(entry).collect::<Vec<_>>().join(", "))
            }
        };
        all.push(format!("{} = {value}", quoted(&property.name)));
    }
    if all.is_empty() { String::new() } else { format!(" WITH {}", all.join(" AND ")) }
}

fn print_create_table(create: &CreateTable, table: &str) -> String {
    let column = |column: &ColumnDefinition| format!("{} {}", quoted(&column.name), column.cql_type);
    let mut items: Vec<String> = create.columns.iter().map(column).collect();
    let names = |names: &[Name]| names.iter().map(quoted).collect::<Vec<_>>().join(", ");
    for key in &create.primary_keys {
        let clustering = names(&key.clustering);
        let comma = if clustering.is_empty() { "" } else { ", " };
        items.push(format!("PRIMARY KEY (({}){comma}{clustering})", names(&key.partition)));
    }
    let mut properties = Vec::new();
    if !create.clustering_order.is_empty() {
        properties.push(format!("CLUSTERING ORDER BY ({})", print_order(&create.clustering_order)));
    }
    let condition = if create.if_not_exists { "IF NOT EXISTS " } else { "" };
    let properties = print_properties(&create.properties, properties);
    format!("CREATE TABLE {condition}{table} ({}){properties}", items.join(", "))
}

#[test]
fn statements_mean_what_they_say() {
    let cases = [
        ("use Abc;", r#"USE "abc""#),
        ("USE \"Abc\" ;; -- done", r#"USE "Abc""#),
        ("drop schema if exists k", r#"DROP KEYSPACE IF EXISTS "k""#),
        ("DROP COLUMNFAMILY k.t", r#"DROP TABLE "k"."t""#),
        (
            "CREATE KEYSPACE k WITH replication={'class':'SimpleStrategy','replication_factor':1} AND durable_writes=TRUE",
            r#"CREATE KEYSPACE "k" WITH "replication" = {'class': 'SimpleStrategy', 'replication_factor': 1} AND "durable_writes" = true"#,
        ),
        (
            "create table if not exists t (k varchar primary key, v int,)",
            r#"CREATE TABLE IF NOT EXISTS "t" ("k" text, "v" int, PRIMARY KEY (("k")))"#,
        ),
        (
            "CREATE TABLE t (PRIMARY KEY ((a, b), c, d), a int, b text, c uuid, d date) \
             WITH clustering order BY (c DESC, d ASC) AND comment = $$it's$$ AND gc_grace_seconds = 5",
            r#"CREATE TABLE "t" ("a" int, "b" text, "c" uuid, "d" date, PRIMARY KEY (("a", "b"), "c", "d")) WITH CLUSTERING ORDER BY ("c" DESC, "d" ASC) AND "comment" = 'it''s' AND "gc_grace_seconds" = 5"#,
        ),
        (
            "INSERT INTO k.t (a,B,\"C\",ttl) VALUES (-1, ?, :Name, :\"Name\") USING TIMESTAMP 5 AND TTL ?",
            r#"INSERT INTO "k"."t" ("a", "b", "C", "ttl") VALUES (-1, ?, :"name", :"Name") USING TTL ? AND TIMESTAMP 5"#,
        ),
        ("insert into t (a) values (null)", r#"INSERT INTO "t" ("a") VALUES (null)"#),
        (
            "UPDATE t USING TTL 1 SET a = - 5, b = NaN, c = -NAN, d = -infinity, e = -1h2m, f = -1.5e3 WHERE k='' and c>=0xAB",
            r#"UPDATE "t" USING TTL 1 SET "a" = -5, "b" = NaN, "c" = NaN, "d" = -Infinity, "e" = -1h2m, "f" = -1.5e3 WHERE "k" = '' AND "c" >= 0xAB"#,
        ),
        (
            "DELETE FROM t WHERE a = 123e4567-e89b-12d3-a456-426614174000 AND b < TRUE AND c > false AND d <= P3W",
            r#"DELETE  FROM "t" WHERE "a" = 123e4567-e89b-12d3-a456-426614174000 AND "b" < true AND "c" > false AND "d" <= P3W"#,
        ),
        (
            "DELETE a, b FROM t USING TIMESTAMP -3 WHERE k = 1",
            r#"DELETE "a", "b" FROM "t" USING TIMESTAMP -3 WHERE "k" = 1"#,
        ),
        ("SELECT * FROM t", r#"SELECT * FROM "t""#),
        (
            "SELECT a, b AS \"B\", json, distinct as count FROM k.t WHERE k = 1 ORDER BY a, b desc LIMIT :n ALLOW FILTERING",
            r#"SELECT "a", "b" AS "B", "json", "distinct" AS "count" FROM "k"."t" WHERE "k" = 1 ORDER BY "a" ASC, "b" DESC LIMIT :"n""#,
        ),
        ("SELECT json FROM t", r#"SELECT "json" FROM "t""#),
        (
            "SELECT key, type, values, timestamp, per, partition FROM list",
            r#"SELECT "key", "type", "values", "timestamp", "per", "partition" FROM "list""#,
        ),
    ];
    for (text, expected) in cases {
        let parsed = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(print(&parsed.statement), expected, "{text}");
    }
}

#[test]
fn markers_are_numbered_in_the_order_of_the_text() {
    let parsed = parse("UPDATE t USING TTL ? SET a = :x WHERE k = :x AND c = ?").unwrap();
    assert_eq!(parsed.markers, 4);
    let Statement::Update(update) = parsed.statement else { panic!("not an update") };
    let index = |term: &Term| match &term.kind {
        TermKind::Marker { index, .. } => *index,
        _ => panic!("not a marker"),
    };
    let terms = [update.using.time_to_live.as_ref().unwrap(), &update.assignments[0].1];
    assert_eq!(terms.map(index), [0, 1]);
    assert_eq!([&update.relations[0].term, &update.relations[1].term].map(index), [2, 3]);
}

#[test]
fn syntax_errors_say_where_what_and_what_was_expected() {
    let cases = [
        ("", 1, 1, "'<EOF>', expected SELECT, INSERT, UPDATE, DELETE, CREATE, DROP or USE"),
        ("SELEC * FROM t", 1, 1, "'SELEC', expected SELECT, INSERT"),
        ("SELECT * FORM t", 1, 10, "'FORM', expected FROM"),
        ("SELECT a\n FORM t", 2, 2, "'FORM', expected AS, ',' or FROM"),
        ("SELECT * FROM", 1, 14, "'<EOF>', expected a table name"),
        ("SELECT * FROM t WHERE", 1, 22, "'<EOF>', expected a column name"),
        ("SELECT * FROM t WHERE k", 1, 24, "'<EOF>', expected '=', '<', '<=', '>' or '>='"),
        ("SELECT * FROM t WHERE k =", 1, 26, "'<EOF>', expected a value"),
        ("SELECT * FROM t WHERE k = 'ä' ANDX", 1, 31, "'ANDX', expected AND"),
        ("SELECT * FROM t WHERE k = abc", 1, 27, "'abc', expected a value"),
        ("SELECT * FROM t LIMIT 'x'", 1, 23, "'x'', expected an integer or a bind marker"),
        ("SELECT * FROM t LIMIT -x", 1, 24, "'x', expected an integer or a bind marker"),
        ("SELECT * FROM t LIMIT 1.5", 1, 23, "'1.5'"),
        ("SELECT * FROM t LIMIT 5x", 1, 23, "'5x': a malformed number"),
        ("SELECT * FROM t ALLOW", 1, 22, "'<EOF>', expected FILTERING"),
        ("SELECT from FROM t", 1, 8, "expected '*' or a column name (a reserved word is a name only in double quotes)"),
        ("SELECT * FROM ?", 1, 15, "'?', expected a table name: bind markers cannot be names"),
        ("SELECT * FROM \"\"", 1, 15, "'\"\"', expected a table name"),
        ("SELECT * FROM 'abc", 1, 15, "''abc': a string that is not closed"),
        ("SELECT * /* FROM t", 1, 10, "'/* FROM t': a comment that is not closed"),
        ("SELECT # FROM t", 1, 8, "'#': a character that CQL does not use"),
        ("SELECT * FROM t; SELECT", 1, 18, "'SELECT': only one statement at a time is allowed"),
        ("SELECT * FROM t )", 1, 17, "the end of the statement"),
        ("INSERT t", 1, 8, "'t', expected INTO"),
        ("INSERT INTO t () VALUES ()", 1, 16, "')', expected a column name"),
        ("INSERT INTO t (a VALUES (1)", 1, 18, "'VALUES', expected ',' or ')'"),
        ("INSERT INTO t (a) VALUES (1", 1, 28, "'<EOF>', expected ',' or ')'"),
        ("INSERT INTO t (a) VALUES (1) USING x", 1, 36, "'x', expected TTL or TIMESTAMP"),
        ("INSERT INTO t (a) VALUES (1) USING TTL null", 1, 40, "'null', expected an integer or a bind marker"),
        ("UPDATE t SET a WHERE", 1, 16, "'WHERE', expected '='"),
        ("UPDATE t SET a = 1", 1, 19, "'<EOF>', expected ',' or WHERE"),
        ("UPDATE t SET a = -'x' WHERE k = 1", 1, 19, "''x'', expected a number"),
        ("DELETE FROM t", 1, 14, "'<EOF>', expected '.', USING or WHERE"),
        ("DELETE FROM t USING TTL 1 WHERE k = 1", 1, 21, "'TTL', expected TIMESTAMP"),
        ("CREATE t", 1, 8, "'t', expected KEYSPACE, SCHEMA, TABLE or COLUMNFAMILY"),
        ("CREATE TABLE IF EXISTS t", 1, 17, "'EXISTS', expected NOT"),
        ("CREATE TABLE t (a)", 1, 18, "')', expected a type"),
        ("CREATE TABLE t (a select)", 1, 19, "'select', expected a type"),
        ("CREATE TABLE t (a int) WITH comment", 1, 36, "'<EOF>', expected '='"),
        ("CREATE TABLE t (a int) WITH comment = x", 1, 39, "'x', expected '{' or a constant"),
        ("CREATE TABLE t (a int) WITH comment = ?", 1, 39, "a schema statement has no bind markers"),
        ("CREATE TABLE t (a int) WITH CLUSTERING ORDER BY (a)", 1, 51, "')', expected ASC or DESC"),
        ("CREATE KEYSPACE k", 1, 18, "'<EOF>', expected WITH"),
        ("DROP t", 1, 6, "'t', expected KEYSPACE"),
        ("USE", 1, 4, "'<EOF>', expected a keyspace name"),
        ("USE a b", 1, 7, "'b', expected ';' or the end of the statement"),
        ("APPLY BATCH", 1, 1, "'APPLY', expected SELECT"),
    ];
    let mut wrong = Vec::new();
    for (text, line, column, part) in cases {
        match parse(text) {
            Err(RequestError::Syntax { line: l, column: c, message })
                if (l, c) == (line, column)
                    && message.contains(part)
                    && message.starts_with("no viable alternative at input '") => {}
            other => wrong.push(format!("{text:?}: {:?}, expected {line}:{column} {part}", other.map(|_| ()))),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_not_supported_yet_is_refused_by_name() {
    let cases = [
        ("BEGIN BATCH INSERT", "BEGIN BATCH is not supported yet (line 1:1)"),
        ("begin unlogged batch", "BEGIN UNLOGGED BATCH is"),
        ("TRUNCATE t", "TRUNCATE is"),
        ("ALTER TABLE t ADD x int", "ALTER TABLE is"),
        ("ALTER KEYSPACE k", "ALTER KEYSPACE is"),
        ("CREATE INDEX ON t (a)", "CREATE INDEX is"),
        ("CREATE CUSTOM INDEX ON t (a)", "CREATE CUSTOM INDEX is"),
        ("CREATE MATERIALIZED VIEW v", "CREATE MATERIALIZED VIEW is"),
        ("CREATE OR REPLACE FUNCTION f", "CREATE OR REPLACE FUNCTION is"),
        ("CREATE AGGREGATE f", "CREATE AGGREGATE is"),
        ("CREATE TYPE t (a int)", "CREATE TYPE is"),
        ("CREATE ROLE r", "CREATE ROLE is"),
        ("DROP INDEX i", "DROP INDEX is"),
        ("GRANT ALL ON t TO r", "GRANT is"),
        ("LIST ROLES", "LIST ROLES is"),
        ("DESCRIBE TABLES", "DESCRIBE is"),
        ("CREATE TABLE t LIKE u", "CREATE TABLE ... LIKE is"),
        ("CREATE TABLE t (a counter", "type counter is not supported yet (line 1:19)"),
        ("CREATE TABLE t (a list<int>)", "type list is"),
        ("CREATE TABLE t (a set<int>)", "type set is"),
        ("CREATE TABLE t (a frozen<map<int, int>>)", "type frozen is"),
        ("CREATE TABLE t (a tuple<int>)", "type tuple is"),
        ("CREATE TABLE t (a vector<float, 3>)", "type vector is"),
        ("CREATE TABLE t (a abc)", "Unknown type abc: user-defined types are"),
        ("CREATE TABLE t (a 'org.x.Y')", "custom type 'org.x.Y' is"),
        ("CREATE TABLE t (a int STATIC)", "static columns are not supported yet (line 1:23)"),
        ("CREATE TABLE t (a int MASKED WITH DEFAULT)", "data masking is"),
        ("CREATE TABLE t (a int CHECK a > 1)", "CHECK constraints are"),
        ("CREATE TABLE t (a int PRIMARY KEY) WITH COMPACT STORAGE", "COMPACT STORAGE is"),
        ("SELECT JSON * FROM t", "SELECT JSON is"),
        ("SELECT DISTINCT k FROM t", "SELECT DISTINCT is"),
        ("SELECT count(*) FROM t", "function 'count' is not supported yet (line 1:8)"),
        ("SELECT writetime(a) FROM t", "function 'writetime' is"),
        ("SELECT token(k) FROM t", "function 'token' is"),
        ("SELECT cast(a AS text) FROM t", "function 'cast' is"),
        ("SELECT a.b FROM t", "selecting a field of a user-defined type is"),
        ("SELECT a[1] FROM t", "selecting an element of a collection is"),
        ("SELECT a + 1 FROM t", "arithmetic is"),
        ("SELECT (a, b) FROM t", "tuples and collections in the SELECT clause are"),
        ("SELECT 1 FROM t", "values in the SELECT clause are"),
        ("SELECT * FROM t WHERE k IN (1)", "IN restrictions are not supported yet (line 1:25)"),
        ("SELECT * FROM t WHERE k NOT IN ?", "NOT IN restrictions are"),
        ("SELECT * FROM t WHERE token(k) > 1", "TOKEN restrictions are"),
        ("SELECT * FROM t WHERE (a, b) > (1, 2)", "multi-column restrictions and parentheses in WHERE are"),
        ("SELECT * FROM t WHERE a CONTAINS KEY 1", "CONTAINS KEY restrictions are"),
        ("SELECT * FROM t WHERE a CONTAINS 1", "CONTAINS restrictions are"),
        ("SELECT * FROM t WHERE a LIKE 'x'", "LIKE restrictions are"),
        ("SELECT * FROM t WHERE a BETWEEN 1 AND 2", "BETWEEN restrictions are"),
        ("SELECT * FROM t WHERE a IS NOT NULL", "IS NOT NULL restrictions are"),
        ("SELECT * FROM t WHERE a != 1", "!= restrictions are"),
        ("SELECT * FROM t WHERE a[1] = 1", "restrictions on elements of collections are"),
        ("SELECT * FROM t WHERE a = 1 OR a = 2", "OR is"),
        ("SELECT * FROM t WHERE expr(i, 'x')", "custom index expressions are"),
        ("SELECT * FROM t GROUP BY a", "GROUP BY is"),
        ("SELECT * FROM t PER PARTITION LIMIT 1", "PER PARTITION LIMIT is"),
        ("SELECT * FROM t ORDER BY a ANN OF [1]", "ANN ordering is"),
        ("INSERT INTO t JSON '{}'", "INSERT JSON is"),
        ("INSERT INTO t (a) VALUES (1) IF NOT EXISTS", "conditional updates (IF) are not supported yet (line 1:30)"),
        ("INSERT INTO t (a) VALUES (now())", "function 'now' is"),
        ("INSERT INTO t (a) VALUES (k.f(1))", "function 'k' is"),
        ("INSERT INTO t (a) VALUES ([1])", "collection literals are"),
        ("INSERT INTO t (a) VALUES ({1: 2})", "collection literals are"),
        ("INSERT INTO t (a) VALUES ((1, 2))", "tuple literals and type casts are"),
        ("INSERT INTO t (a) VALUES (1 + 1)", "arithmetic is"),
        ("UPDATE t SET a = a + 1 WHERE k = 1", "arithmetic is"),
        ("UPDATE t SET a += 1 WHERE k = 1", "arithmetic is"),
        ("UPDATE t SET a[0] = 1 WHERE k = 1", "setting an element of a collection is"),
        ("UPDATE t SET a.b = 1 WHERE k = 1", "setting a field of a user-defined type is"),
        ("UPDATE t SET a = 1 WHERE k = 1 IF a = 2", "conditional updates (IF) are"),
        ("DELETE a[1] FROM t WHERE k = 1", "deleting an element of a collection is"),
        ("DELETE FROM t WHERE k = 1 IF EXISTS", "conditional updates (IF) are"),
    ];
    let mut wrong = Vec::new();
    for (text, part) in cases {
        match parse(text) {
            Err(RequestError::Invalid(message)) if message.contains(part) && message.contains("not supported yet") => {}
            other => wrong.push(format!("{text:?}: {:?}, expected {part}", other.map(|_| ()))),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn too_many_markers_are_refused() {
    let statement = |markers| format!("INSERT INTO t (a) VALUES ({})", vec!["?"; markers].join(","));
    assert_eq!(parse(&statement(BIND_MARKERS_MAX)).unwrap().markers, BIND_MARKERS_MAX);
    let error = parse(&statement(BIND_MARKERS_MAX + 1)).unwrap_err();
    assert!(error.to_string().contains("Too many bind markers"), "{error}");
}

#[test]
fn a_long_token_is_cut_short_in_the_message() {
    let error = parse(&"x".repeat(100_000)).unwrap_err();
    assert!(error.to_string().len() < 250, "{error}");
}

fn name() -> impl Strategy<Value = Name> {
    prop_oneof!["[a-z][a-z0-9_]{0,5}", "[ -~ä]{1,6}"].prop_map(|text| Name { text, at: Position(0) })
}

fn literal() -> impl Strategy<Value = Literal> {
    use LiteralKind as K;
    let of = |kind| move |text: String| Literal { kind, text };
    prop_oneof![
        ".{0,10}".prop_map(of(K::String)),
        "-?[0-9]{1,20}".prop_map(of(K::Integer)),
        "-?[0-9]{1,5}\\.[0-9]{0,5}(e[+-]?[0-9]{1,3})?".prop_map(of(K::Float)),
        "(NaN|Infinity|-Infinity)".prop_map(of(K::Float)),
        "(true|false)".prop_map(of(K::Boolean)),
        "0x[0-9a-fA-F]{0,8}".prop_map(of(K::Hex)),
        "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}".prop_map(of(K::Uuid)),
        "-?([0-9]{1,2}(y|mo|w|d|h|m|s|ms|us|µs|ns)){1,4}".prop_map(of(K::Duration)),
        "-?(P[0-9]{1,3}Y[0-9]M(T[0-9]H[0-9]S)?|PT[0-9]M|P[0-9]W|P0001-02-03T04:05:06)".prop_map(of(K::Duration)),
    ]
}

fn marker() -> impl Strategy<Value = TermKind> {
    let named = name().prop_map(|name| TermKind::Marker { index: 0, name: Some(name.text) });
    prop_oneof![Just(TermKind::Marker { index: 0, name: None }), named]
}

fn term() -> impl Strategy<Value = Term> {
    let kind = prop_oneof![4 => literal().prop_map(TermKind::Literal), 1 => Just(TermKind::Null), 2 => marker()];
    kind.prop_map(|kind| Term { kind, at: Position(0) })
}

fn integer_term() -> impl Strategy<Value = Term> {
    let literal = "-?[0-9]{1,20}".prop_map(|text| TermKind::Literal(Literal { kind: LiteralKind::Integer, text }));
    prop_oneof![literal, marker()].prop_map(|kind| Term { kind, at: Position(0) })
}

fn table_name() -> impl Strategy<Value = TableName> {
    (prop::option::of(name()), name()).prop_map(|(keyspace, table)| TableName { keyspace, table })
}

fn relations() -> impl Strategy<Value = Vec<Relation>> {
    let operator = prop_oneof![
        Just(Operator::Equal),
        Just(Operator::Less),
        Just(Operator::LessOrEqual),
        Just(Operator::Greater),
        Just(Operator::GreaterOrEqual),
    ];
    let relation = (name(), operator, term()).prop_map(|(column, operator, term)| Relation { column, operator, term });
    prop::collection::vec(relation, 1..4)
}

fn using() -> impl Strategy<Value = Using> {
    (prop::option::of(integer_term()), prop::option::of(integer_term()))
        .prop_map(|(time_to_live, timestamp)| Using { time_to_live, timestamp })
}

fn names(least: usize) -> impl Strategy<Value = Vec<Name>> {
    prop::collection::vec(name(), least..4)
}

fn order(least: usize) -> impl Strategy<Value = Vec<(Name, bool)>> {
    prop::collection::vec((name(), any::<bool>()), least..3)
}

fn properties(least: usize) -> impl Strategy<Value = Vec<Property>> {
    let value = prop_oneof![
        literal().prop_map(PropertyValue::Literal),
        prop::collection::vec((literal(), literal()), 0..3).prop_map(PropertyValue::Map),
    ];
    let property = (name(), value).prop_map(|(name, value)| Property { name, value, at: Position(0) });
    prop::collection::vec(property, least..3)
}

fn create_table() -> impl Strategy<Value = Statement> {
    let cql_type = prop::sample::select(model::CqlType::SCALARS.to_vec());
    let column = (name(), cql_type).prop_map(|(name, cql_type)| ColumnDefinition { name, cql_type });
    let key =
        (names(1), names(0)).prop_map(|(partition, clustering)| PrimaryKey { partition, clustering, at: Position(0) });
    let lists = (prop::collection::vec(column, 1..4), prop::collection::vec(key, 0..3), order(0), properties(0));
    (table_name(), any::<bool>(), lists).prop_map(|(name, if_not_exists, lists)| {
        let (columns, primary_keys, clustering_order, properties) = lists;
        Statement::CreateTable(CreateTable { name, if_not_exists, columns, primary_keys, clustering_order, properties })
    })
}

pub(crate) fn statement() -> impl Strategy<Value = Statement> {
    let selector = (name(), prop::option::of(name())).prop_map(|(column, alias)| Selector { column, alias });
    let maybe_relations = prop_oneof![relations(), Just(Vec::new())];
    let limit = prop::option::of(integer_term());
    let select = (prop::collection::vec(selector, 0..4), table_name(), maybe_relations, order(0), limit).prop_map(
        |(selectors, table, relations, order, limit)| {
            Statement::Select(Select { selectors, table, relations, order, limit })
        },
    );
    let insert = (table_name(), names(1), prop::collection::vec(term(), 1..4), using())
        .prop_map(|(table, columns, values, using)| Statement::Insert(Insert { table, columns, values, using }));
    let assignments = prop::collection::vec((name(), term()), 1..4);
    let update =
        (table_name(), using(), assignments, relations()).prop_map(|(table, using, assignments, relations)| {
            Statement::Update(Update { table, using, assignments, relations })
        });
    let delete = (names(0), table_name(), prop::option::of(integer_term()), relations()).prop_map(
        |(columns, table, timestamp, relations)| Statement::Delete(Delete { columns, table, timestamp, relations }),
    );
    prop_oneof![
        3 => select,
        2 => insert,
        2 => update,
        2 => delete,
        2 => create_table(),
        1 => (name(), any::<bool>(), properties(1)).prop_map(|(name, if_not_exists, properties)| {
            Statement::CreateKeyspace(CreateKeyspace { name, if_not_exists, properties })
        }),
        1 => (name(), any::<bool>()).prop_map(|(name, if_exists)| Statement::DropKeyspace { name, if_exists }),
        1 => (table_name(), any::<bool>()).prop_map(|(name, if_exists)| Statement::DropTable { name, if_exists }),
        1 => name().prop_map(Statement::Use),
    ]
}

proptest! {
    #[test]
    fn any_text_is_parsed_or_refused(text in ".{0,200}") {
        let _ = parse(&text);
    }

    #[test]
    fn any_sequence_of_cql_tokens_is_parsed_or_refused(
        tokens in prop::collection::vec(prop::sample::select(vec![
            "SELECT", "INSERT", "INTO", "UPDATE", "DELETE", "CREATE", "DROP", "TABLE", "KEYSPACE", "FROM", "WHERE",
            "SET", "VALUES", "PRIMARY", "KEY", "WITH", "AND", "IF", "NOT", "EXISTS", "ORDER", "BY", "LIMIT", "USING",
            "TTL", "TIMESTAMP", "a", "int", "(", ")", ",", "=", "<", ">=", "-", "1", "'x'", "?", ":", "*", ".", ";",
            "{", "}", "[", "]", "null", "true", "CLUSTERING", "ASC", "AS", "$$", "\"q\"", "--\n",
        ]), 0..30),
    ) {
        let _ = parse(&tokens.join(" "));
    }

    #[test]
    fn generated_statements_round_trip(statement in statement()) {
        let text = print(&statement);
        let parsed = parse(&text).map_err(|error| TestCaseError::fail(format!("{text}: {error}")))?;
        prop_assert_eq!(print(&parsed.statement), text);
    }
}
