//! Statements drawn at random, and mutations of sound ones, through parse and bind: none panics, each ends.
//!
//! `HELENUS_STATEMENTS` says which: a range of seeds such as `0..3000`, each of which is one statement. A failure names
//! its seed, and `seed..seed + 1` repeats it.

use crate::canonical::print;
use crate::fixture::{cases, context, schema};
use crate::generator::statement;
use crate::lexer::{Lexer, TokenKind};
use crate::{BoundValue, prepare};
use bytes::Bytes;
use model::Rng;
use model::schema::Schema;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use std::ops::Range;

const SEEDS_DEFAULT: Range<u64> = 0..3_000;

fn tables() -> Schema {
    schema(&[
        "CREATE KEYSPACE ks WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
        "CREATE TYPE ks.u (a int, b text)",
        "CREATE TABLE ks.t (k int PRIMARY KEY, v text, n int)",
        "CREATE TABLE ks.x (k int, c int, d text, f frozen<list<int>>, fu frozen<u>, l list<int>, m map<text, int>, \
         s set<text>, t tuple<int, text>, u u, v int, e vector<float, 2>, sm map<text, int> STATIC, sv int STATIC, \
         PRIMARY KEY (k, c, d)) WITH CLUSTERING ORDER BY (c DESC, d ASC)",
        "CREATE TABLE ks.n (k int PRIMARY KEY, x counter)",
    ])
}

/// What may take the place of a token.
#[rustfmt::skip]
const TOKENS: [&str; 96] = [
    "ks", "t", "x", "n", "u", "k", "c", "d", "v", "f", "fu", "l", "m", "s", "e", "sm", "sv", "a", "b", "SELECT",
    "INSERT", "UPDATE", "DELETE", "FROM", "INTO", "WHERE", "SET", "VALUES", "AND", "IN", "CONTAINS", "KEY",
    "LIKE", "IF", "NOT", "EXISTS", "IS", "NULL", "TOKEN", "(", ")", "[", "]", "{", "}", "<", ">", "=", "!=", "<=",
    ">=", "+", "-", "*", "/", "%", "+=", "-=", "..", ".", ",", ":", ";", "?", "1", "-1", "2147483648", "1.5",
    "'x'", "''", "0xff", "true", "1h", "null", "NaN", "123e4567-e89b-12d3-a456-426614174000", "now", "count",
    "writetime", "ttl", "CAST", "AS", "int", "list", "frozen", "USING", "TTL", "TIMESTAMP", "BEGIN", "BATCH",
    "APPLY", "JSON", "DISTINCT", "GROUP", "BY", "LIMIT",
];

/// The tokens of a text.
fn tokens(text: &str) -> Vec<String> {
    let mut lexer = Lexer::new(text);
    let mut found = Vec::new();
    loop {
        let token = lexer.next_token();
        if token.kind == TokenKind::End {
            return found;
        }
        found.push(text[token.start.0..token.end.0].to_owned());
    }
}

fn mutated(tokens: &mut Vec<String>, rng: &mut Rng) {
    for _ in 0..rng.below(4) {
        if tokens.is_empty() {
            return;
        }
        let at = rng.below(tokens.len() as u64) as usize;
        let other = rng.below(tokens.len() as u64) as usize;
        let token = TOKENS[rng.below(TOKENS.len() as u64) as usize].to_owned();
        match rng.below(5) {
            0 => drop(tokens.remove(at)),
            1 => tokens.insert(at, token),
            2 => tokens[at] = token,
            3 => tokens.swap(at, other),
            _ => {
                let piece = tokens[at.min(other)..at.max(other)].to_vec();
                tokens.splice(at..at, piece);
            }
        }
    }
}

fn value(rng: &mut Rng) -> BoundValue {
    match rng.below(8) {
        0 => BoundValue::Null,
        1 => BoundValue::Unset,
        length => BoundValue::Value(Bytes::from((0..length * 2).map(|_| rng.next_u64() as u8).collect::<Vec<u8>>())),
    }
}

/// Names of the tables' instead of most of those that were drawn.
fn with_known_names(tokens: &mut [String], rng: &mut Rng) {
    for token in tokens.iter_mut().filter(|token| token.starts_with('"')) {
        if rng.below(10) > 0 {
            *token = TOKENS[rng.below(19) as usize].to_owned();
        }
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "which statements there are is for whoever runs the test to say")]
fn no_statement_panics() {
    let seeds = std::env::var("HELENUS_STATEMENTS").map_or(SEEDS_DEFAULT, |range| {
        let (start, end) = range.split_once("..").expect("HELENUS_STATEMENTS is a range of seeds");
        start.parse().expect("a number")..end.parse().expect("a number")
    });
    let schema = tables();
    let corpus: Vec<&str> = [
        include_str!("../testdata/statements.txt"),
        include_str!("../testdata/modification.txt"),
        include_str!("../testdata/semantic.txt"),
        include_str!("../testdata/definition.txt"),
        include_str!("../testdata/refused.txt"),
    ]
    .into_iter()
    .flat_map(cases)
    .map(|(text, _)| text)
    .collect();
    let generated = statement();
    let (mut prepared, mut bound) = (0u64, 0u64);
    let count = seeds.end.saturating_sub(seeds.start);
    for seed in seeds {
        let mut rng = Rng::new(seed);
        let mut tokens = if seed % 4 == 0 {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&seed.to_le_bytes());
            let source = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
            let mut runner = TestRunner::new_with_rng(Config::default(), source);
            let tree = generated.new_tree(&mut runner).unwrap();
            let mut tokens = tokens(&print(&tree.current()));
            with_known_names(&mut tokens, &mut rng);
            tokens
        } else {
            tokens(corpus[rng.below(corpus.len() as u64) as usize])
        };
        mutated(&mut tokens, &mut rng);
        let text = tokens.join(" ");
        let outcome = std::panic::catch_unwind(|| {
            let Ok(statement) = prepare(&text, &schema, Some("ks")) else { return (0, 0) };
            let values: Vec<BoundValue> = statement.parameters().iter().map(|_| value(&mut rng.clone())).collect();
            (1, u64::from(statement.bind(&values, context()).is_ok()))
        });
        let (was_prepared, was_bound) = outcome.unwrap_or_else(|_| panic!("seed {seed}: {text}"));
        prepared += was_prepared;
        bound += was_bound;
    }
    // Else nothing of the binder was tried; of few statements nothing follows.
    assert!(
        count < 1_000 || prepared * 50 > count && bound * 100 > count,
        "{prepared} prepared and {bound} bound of {count}"
    );
}
