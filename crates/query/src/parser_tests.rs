//! Text in, canonical text or an error out.

use super::*;
use crate::ast::*;
use crate::canonical::print;
use crate::fixture::{cases, sample};
use crate::generator::statement;
use model::limits::NESTING_MAX;
use proptest::prelude::*;

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
    let Statement::Modification(Modification::Update(update)) = parsed.statement else { panic!("not an update") };
    let index = |term: &Term| match &term.kind {
        TermKind::Marker { index, .. } => *index,
        _ => panic!("not a marker"),
    };
    let Operation::Set(set) = &update.assignments[0].operation else { panic!("not a value") };
    assert_eq!([update.using.time_to_live.as_ref().unwrap(), set].map(index), [0, 1]);
    let compared = |relation: &Relation| match &relation.comparand {
        Comparand::One(term) => index(term),
        _ => panic!("not one term"),
    };
    assert_eq!([&update.relations[0], &update.relations[1]].map(compared), [2, 3]);
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
    let (schema, mut wrong) = (sample(), Vec::new());
    for (text, part) in cases(include_str!("../testdata/refused.txt")) {
        match crate::prepare(text, &schema, Some("ks")) {
            Err(RequestError::Invalid(message) | RequestError::Syntax { message, .. })
                if message.contains(part) && message.contains("not supported yet") => {}
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
fn what_is_nested_too_deep_is_refused_and_not_recursed_into() {
    let deep = |open: &str, middle: &str, close: &str, levels| {
        format!("{}{middle}{}", open.repeat(levels), close.repeat(levels))
    };
    let statements = |levels: usize| {
        let value = |term: String| format!("INSERT INTO t (a) VALUES ({term})");
        [
            value(deep("[", "", "]", levels)),
            value(deep("(", "1", ")", levels)),
            value(deep("{1: ", "1", "}", levels)),
            value(deep("{a: ", "1", "}", levels)),
            value(deep("f(", "", ")", levels)),
            value(deep("- ", "'x'", "", levels)),
            value(deep("(int) ", "1", "", levels)),
            value(deep("CAST(", "1", " AS int)", levels)),
            value(deep("1 + ", "1", "", levels)),
            value(deep("1 * ", "1", "", levels)),
            format!("SELECT {} FROM t", deep("", "a", ".b", levels)),
            format!("SELECT {} FROM t", deep("", "a", "[1]", levels)),
            format!("SELECT {} FROM t", deep("a[", "1", "]", levels)),
            format!("SELECT * FROM t WHERE {}", deep("(", "a = 1", ")", levels)),
            format!("CREATE TABLE t (a {})", deep("frozen<", "x", ">", levels)),
        ]
    };
    for (text, allowed) in statements(100_000).iter().zip(statements(NESTING_MAX / 2)) {
        let error = parse(text).unwrap_err().to_string();
        let expected = ["may not be nested more than 32 deep", "in more than 32 parentheses", "no viable alternative"];
        assert!(expected.iter().any(|part| error.contains(part)), "{}: {error}", &text[..50]);
        // An element's key is a value: no element of an element.
        assert!(parse(&allowed).is_ok() || allowed.starts_with("SELECT a[a["), "{allowed}");
    }
}

#[test]
fn a_long_token_is_cut_short_in_the_message() {
    let error = parse(&"x".repeat(100_000)).unwrap_err();
    assert!(error.to_string().len() < 250, "{error}");
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
