//! Text in, canonical text or an error out.

use super::*;
use crate::ast::*;
use crate::fixture::cases;
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
        Statement::Truncate(name) => format!("TRUNCATE {}", table(name)),
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
    let cases = cases(include_str!("../testdata/statements.txt"));
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
    let mut wrong = Vec::new();
    for (text, expected) in cases(include_str!("../testdata/syntax.txt")) {
        let (place, part) = expected.split_once(' ').unwrap();
        match parse(text) {
            Err(RequestError::Syntax { line, column, message })
                if format!("{line}:{column}") == place
                    && message.contains(part)
                    && message.starts_with("no viable alternative at input '") => {}
            other => wrong.push(format!("{text:?}: {:?}, expected {expected}", other.map(|_| ()))),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_not_supported_yet_is_refused_by_name() {
    let mut wrong = Vec::new();
    for (text, part) in cases(include_str!("../testdata/refused.txt")) {
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
        1 => table_name().prop_map(Statement::Truncate),
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
