//! What Tab offers: what can stand at the cursor, by the words before it and the schema.
//!
//! Not a parser of CQL: it looks at the word before the cursor and the last keyword before that, which is right where
//! it matters (names of tables after FROM, columns after WHERE), and offers keywords where it knows nothing better.

use crate::command;
use crate::copy::{CopyOptions, Direction};
use crate::help;
use client::Topology;
use model::name::quote_name;
use model::{Consistency, CqlType};

/// Words of CQL, in upper case.
#[rustfmt::skip]
pub(crate) const KEYWORDS: [&str; 96] = [
    "ADD", "AGGREGATE", "ALL", "ALLOW", "ALTER", "AND", "APPLY", "AS", "ASC", "BATCH", "BEGIN", "BY", "CALLED", "CAST",
    "CLUSTERING", "COLUMNFAMILY", "COMPACT", "CONTAINS", "COUNTER", "CREATE", "DEFAULT", "DELETE", "DESC", "DISTINCT",
    "DROP", "ENTRIES", "EXISTS", "FALSE", "FILTERING", "FROM", "FROZEN", "FULL", "FUNCTION", "GRANT", "GROUP", "IF",
    "IN", "INDEX", "INPUT", "INSERT", "INTO", "IS", "JSON", "KEY", "KEYS", "KEYSPACE", "KEYSPACES", "LANGUAGE", "LIKE",
    "LIMIT", "LIST", "MAP", "MATERIALIZED", "MODIFY", "NAN", "NOT", "NULL", "OF", "ON", "OPTIONS", "OR", "ORDER",
    "PARTITION", "PER", "PERMISSIONS", "PRIMARY", "RENAME", "REPLACE", "RETURNS", "REVOKE", "ROLE", "ROLES", "SELECT",
    "SET", "STATIC", "STORAGE", "TABLE", "TABLES", "TIMESTAMP", "TO", "TOKEN", "TRIGGER", "TRUE", "TRUNCATE", "TTL",
    "TUPLE", "TYPE", "TYPES", "UNLOGGED", "UNSET", "UPDATE", "USE", "USING", "VALUES", "VIEW", "WHERE",
];

/// Words that a statement begins with.
const STATEMENTS: [&str; 11] =
    ["ALTER", "BEGIN", "CREATE", "DELETE", "DROP", "EXPLAIN", "INSERT INTO", "SELECT", "TRUNCATE", "UPDATE", "USE"];

/// Functions, as they are called.
#[rustfmt::skip]
const FUNCTIONS: [&str; 17] = [
    "avg(", "cast(", "count(", "current_date()", "current_time()", "current_timestamp()", "max(", "min(", "now()",
    "sum(", "to_date(", "to_json(", "to_timestamp(", "token(", "ttl(", "uuid()", "writetime(",
];

/// What can stand at the end of `before`, and where in it the word begins that it stands for. `after` is what follows
/// the cursor: a table may be named there.
pub(crate) fn candidates(
    before: &str,
    after: &str,
    topology: Option<&Topology>,
    keyspace: Option<&str>,
) -> (usize, Vec<String>) {
    let is_word = |character: char| character.is_alphanumeric() || "_.\"".contains(character);
    let start = before.rfind(|character: char| !is_word(character));
    let start = start.map_or(0, |at| at + before[at..].chars().next().map_or(1, char::len_utf8));
    let (context, typed) = before.split_at(start);
    // The statement that the cursor is in.
    let context = context.rsplit(';').next().unwrap_or_default();
    let words: Vec<String> = words(context);
    let names = Names { topology, keyspace };
    let offered = offered(&words, context, after, typed, &names);
    let typed = typed.to_lowercase();
    let mut found: Vec<String> =
        offered.into_iter().filter(|candidate| candidate.to_lowercase().starts_with(&typed)).collect();
    found.sort();
    found.dedup();
    (start, found)
}

/// The words of a text in upper case, names in quotes as they are; a punctuation mark is a word.
fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '\'' => rest[1..].find('\'').map_or(rest.len(), |end| end + 2),
            '"' => rest[1..].find('"').map_or(rest.len(), |end| end + 2),
            _ if first.is_alphanumeric() || first == '_' => {
                rest.find(|next: char| !(next.is_alphanumeric() || "_.".contains(next))).unwrap_or(rest.len())
            }
            _ => first.len_utf8(),
        };
        let (word, after) = rest.split_at(length);
        match first {
            _ if first.is_whitespace() => {}
            '\'' | '"' => words.push(word.to_owned()),
            _ => words.push(word.to_uppercase()),
        }
        rest = after;
    }
    words
}

fn offered(words: &[String], context: &str, after: &str, typed: &str, names: &Names<'_>) -> Vec<String> {
    let strings = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let word = |from_end: usize| words.len().checked_sub(from_end).and_then(|at| words.get(at)).map(String::as_str);
    let (first, last, before_last) = (words.first().map(String::as_str), word(1), word(2));
    let Some(first) = first else {
        return [strings(&STATEMENTS), strings(&command::WORDS)].concat();
    };
    match (first, last) {
        ("HELP" | "?", _) => return help::topics().map(str::to_owned).collect(),
        ("CONSISTENCY", Some("CONSISTENCY")) => return Consistency::ALL_LEVELS.map(|level| level.to_string()).to_vec(),
        ("SERIAL", Some("SERIAL")) => return strings(&["CONSISTENCY"]),
        ("SERIAL", Some("CONSISTENCY")) => return strings(&["SERIAL", "LOCAL_SERIAL"]),
        ("EXPAND" | "ELAPSED" | "PAGING", _) => return strings(&["ON", "OFF"]),
        ("CAPTURE", _) => return strings(&["OFF"]),
        ("TRACING", _) => return strings(&["ON", "OFF"]),
        ("SHOW", Some("SHOW")) => return strings(&["VERSION", "HOST", "REPLICAS"]),
        ("DESCRIBE" | "DESC", Some("DESCRIBE" | "DESC")) => {
            let kinds = [
                "AGGREGATE",
                "AGGREGATES",
                "CLUSTER",
                "FULL SCHEMA",
                "FUNCTION",
                "FUNCTIONS",
                "INDEX",
                "KEYSPACE",
                "KEYSPACES",
                "MATERIALIZED VIEW",
                "ONLY KEYSPACE",
                "SCHEMA",
                "TABLE",
                "TABLES",
                "TYPE",
                "TYPES",
            ];
            return [strings(&kinds), names.keyspaces(), names.tables(typed)].concat();
        }
        ("COPY", Some("COPY")) => return names.tables(typed),
        ("COPY", Some("WITH" | "AND")) => {
            let direction = if words.iter().any(|word| word == "TO") { Direction::To } else { Direction::From };
            return CopyOptions::names(direction).map(|name| format!("{name} = ")).collect();
        }
        _ => {}
    }
    let statement = format!("{context} {after}");
    let columns = || names.columns(table_of(&statement).as_deref());
    match last {
        Some("FROM" | "INTO" | "UPDATE" | "TABLE" | "COLUMNFAMILY" | "TRUNCATE") => names.tables(typed),
        Some("ON") if words.iter().any(|word| word == "INDEX") => names.tables(typed),
        Some("USE" | "KEYSPACE") => names.keyspaces(),
        Some("WHERE" | "SET" | "BY" | "AND") => [columns(), strings(&["token("])].concat(),
        Some("SELECT" | "DISTINCT") => [columns(), strings(&FUNCTIONS), strings(&["*", "DISTINCT", "JSON"])].concat(),
        Some(",") if first == "SELECT" && !words.iter().any(|word| word == "FROM") => {
            [columns(), strings(&FUNCTIONS)].concat()
        }
        Some("(" | ",") if ["INSERT", "SELECT", "DELETE", "UPDATE", "COPY"].contains(&first) => {
            [columns(), strings(&FUNCTIONS)].concat()
        }
        Some("<") if ["CREATE", "ALTER"].contains(&first) => names.types(),
        Some("=" | ">" | "<") => [strings(&FUNCTIONS), strings(&["null", "true", "false"])].concat(),
        _ if ["CREATE", "ALTER"].contains(&first)
            && before_last.is_some_and(|word| ["(", ",", "ADD"].contains(&word)) =>
        {
            names.types()
        }
        _ => strings(&KEYWORDS),
    }
}

/// The table that a statement is about.
fn table_of(statement: &str) -> Option<String> {
    let words = words(statement);
    let at = words.iter().position(|word| ["FROM", "INTO", "UPDATE", "TABLE", "COPY"].contains(&word.as_str()))?;
    let name = words.get(at + 1)?;
    Some(if name.starts_with('"') { name.trim_matches('"').to_owned() } else { name.to_lowercase() })
}

/// The names of the schema.
struct Names<'a> {
    topology: Option<&'a Topology>,
    keyspace: Option<&'a str>,
}

impl Names<'_> {
    fn keyspaces(&self) -> Vec<String> {
        let names = self.topology.into_iter().flat_map(|topology| topology.keyspaces.keys());
        names.map(|name| quote_name(name).into_owned()).collect()
    }

    /// The tables of the keyspace that is typed before a dot, else those of the current keyspace, and keyspaces.
    fn tables(&self, typed: &str) -> Vec<String> {
        let Some(topology) = self.topology else { return Vec::new() };
        let of = |keyspace: &str, prefix: &str| {
            let tables = topology.keyspace(keyspace).into_iter().flat_map(|described| described.tables.keys());
            tables.map(|table| format!("{prefix}{}", quote_name(table))).collect::<Vec<_>>()
        };
        if let Some((keyspace, _)) = typed.split_once('.') {
            return of(&keyspace.trim_matches('"').to_lowercase(), &format!("{keyspace}."));
        }
        let mut names = self.keyspace.map_or(Vec::new(), |keyspace| of(keyspace, ""));
        names.extend(self.keyspaces().into_iter().map(|keyspace| format!("{keyspace}.")));
        names
    }

    /// The columns of a table, or of all tables of the current keyspace.
    fn columns(&self, table: Option<&str>) -> Vec<String> {
        let Some(topology) = self.topology else { return Vec::new() };
        let (keyspace, table) = match table.and_then(|table| table.split_once('.')) {
            Some((keyspace, table)) => (Some(keyspace), Some(table)),
            None => (self.keyspace, table),
        };
        let Some(described) = keyspace.and_then(|keyspace| topology.keyspace(keyspace)) else { return Vec::new() };
        let shown = described.tables.iter().filter(|(name, _)| table.is_none_or(|table| table == *name));
        let columns = shown.flat_map(|(_, table)| &table.columns);
        columns.map(|column| quote_name(&column.name).into_owned()).collect()
    }

    /// The types of columns.
    fn types(&self) -> Vec<String> {
        let scalars = CqlType::SCALARS.iter().map(ToString::to_string);
        let others = ["counter", "frozen<", "list<", "map<", "set<", "tuple<", "vector<"].map(str::to_owned);
        scalars.chain(others).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use client::{ColumnInfo, KeyspaceInfo, TableInfo};
    use model::TableId;
    use model::schema::ColumnKind;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::sync::Arc;

    fn topology() -> Topology {
        let column =
            |name: &str| ColumnInfo { name: name.to_owned(), kind: ColumnKind::Regular, cql_type: CqlType::Int };
        let table = |name: &str, columns: &[&str]| {
            let columns = columns.iter().map(|name| column(name)).collect();
            (name.to_owned(), TableInfo { id: TableId(1), columns, create_text: String::new() })
        };
        let tables = BTreeMap::from([table("flights", &["origin", "Delay"]), table("airports", &["iata"])]);
        let demo = KeyspaceInfo { replication: None, tables, create_text: String::new() };
        let keyspaces = Arc::new(BTreeMap::from([("demo".to_owned(), demo)]));
        Topology { cluster_id: String::new(), epoch: 1, nodes: vec![], keyspaces, release: String::new() }
    }

    fn offers(before: &str, after: &str) -> Vec<String> {
        candidates(before, after, Some(&topology()), Some("demo")).1
    }

    #[test]
    fn what_is_offered_depends_on_the_words_before() {
        let cases = [
            ("sel", "", "SELECT"),
            ("DESC", "", "DESCRIBE"),
            ("SELECT * FROM fl", "", "flights"),
            ("SELECT * FROM d", "", "demo."),
            ("SELECT * FROM demo.a", "", "demo.airports"),
            ("INSERT INTO ", "", "airports"),
            ("USE ", "", "demo"),
            ("SELECT or", " FROM flights", "origin"),
            ("SELECT * FROM demo.flights WHERE o", "", "origin"),
            ("UPDATE flights SET \"D", "", "\"Delay\""),
            ("INSERT INTO flights (origin, ", "", "\"Delay\""),
            ("SELECT cou", "", "count("),
            ("CREATE TABLE t (k te", "", "text"),
            ("ALTER TABLE flights ADD c int, d big", "", "bigint"),
            ("CONSISTENCY q", "", "QUORUM"),
            ("DESCRIBE TABLE f", "", "flights"),
            ("DESC keyspa", "", "KEYSPACES"),
            ("COPY flights FROM 'x' WITH errf", "", "ERRFILE = "),
            ("COPY flights TO 'x' WITH HEADER = true AND page", "", "PAGESIZE = "),
            ("SELECT 1; SELECT * FROM fl", "", "flights"),
            ("HELP cre", "", "CREATE TABLE"),
            ("PAGING o", "", "ON"),
            ("SELECT * FROM flights lim", "", "LIMIT"),
        ];
        for (before, after, expected) in cases {
            let found = offers(before, after);
            assert!(found.iter().any(|candidate| candidate == expected), "{before}: {found:?}");
        }
        assert!(!offers("SELECT * FROM airports WHERE ", "").contains(&"origin".to_owned()), "of another table");
        assert_eq!(candidates("USE d", "", None, None), (4, vec![]), "without a schema");
    }

    #[test]
    fn keywords_are_in_order() {
        assert!(KEYWORDS.is_sorted());
    }

    proptest! {
        #[test]
        fn any_text_has_candidates_for_its_last_word(
            before in "[a-zA-Zä0-9'\".;,()=< ]{0,30}",
            after in "[a-z '\"]{0,9}",
        ) {
            let (start, _) = candidates(&before, &after, Some(&topology()), Some("demo"));
            prop_assert!(before.is_char_boundary(start));
        }
    }
}
