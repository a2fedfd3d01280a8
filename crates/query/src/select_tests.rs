//! SELECT statements put together at random: they are refused or answered, alike in one page and in several, and
//! never panic.

use crate::memory::Memory;
use crate::result::tests::{collections, schema, wide};
use crate::{BoundValue, prepare};
use model::{Rng, Value};

const FUNCTIONS: [&str; 30] = [
    "abs",
    "exp",
    "log10",
    "round",
    "count",
    "min",
    "max",
    "sum",
    "avg",
    "token",
    "floor",
    "to_date",
    "to_timestamp",
    "to_unix_timestamp",
    "min_timeuuid",
    "int_as_blob",
    "blob_as_text",
    "to_json",
    "map_keys",
    "collection_sum",
    "collection_count",
    "mask_inner",
    "mask_default",
    "mask_hash",
    "writetime",
    "ttl",
    "maxwritetime",
    "length",
    "format_bytes",
    "similarity_cosine",
];

const LITERALS: [&str; 16] = [
    "1",
    "-2147483648",
    "0",
    "99999999999",
    "1.5",
    "'a'",
    "''",
    "true",
    "0xff",
    "1mo2d",
    "null",
    "?",
    ":x",
    "{}",
    "50554d6e-29bb-11e5-b345-feff819cdc9f",
    "1e400",
];

/// A table's columns, and one that it does not have.
const COLUMNS: [(&str, &[&str]); 2] =
    [("w", &["p", "c", "d", "s", "v", "w", "none"]), ("x", &["k", "l", "st", "m", "f", "a", "fa", "t", "e", "v"])];

struct Writer {
    random: Rng,
    columns: &'static [&'static str],
}

impl Writer {
    fn pick(&mut self, from: &[&'static str]) -> &'static str {
        from[self.random.index(from.len())]
    }

    fn column(&mut self) -> &'static str {
        let columns = self.columns;
        self.pick(columns)
    }

    /// A term; `of_columns` when it may name columns.
    fn term(&mut self, depth: u32, of_columns: bool) -> String {
        let inner = |writer: &mut Writer| writer.term(depth + 1, of_columns);
        match self.random.below(if depth > 2 { 4 } else { 14 }) {
            0..4 if of_columns && self.random.chance(900) => self.column().to_owned(),
            0..4 => self.pick(&LITERALS).to_owned(),
            4 | 5 => {
                let arguments: Vec<String> = (0..self.random.below(4)).map(|_| inner(self)).collect();
                format!("{}({})", self.pick(&FUNCTIONS), arguments.join(", "))
            }
            6 => format!("{} {} {}", inner(self), self.pick(&["+", "-", "*", "/", "%"]), inner(self)),
            7 => format!("-({})", inner(self)),
            8 => format!("CAST({} AS {})", inner(self), self.pick(&["int", "text", "decimal", "date", "blob"])),
            9 => format!("({}) {}", self.pick(&["int", "list<int>", "address", "varint"]), inner(self)),
            10 if of_columns => format!("{}[{}]", self.column(), self.term(depth + 1, false)),
            11 if of_columns => format!("{}.{}", self.column(), self.pick(&["street", "number", "none"])),
            12 => format!("({}, {})", inner(self), inner(self)),
            13 => format!("{{{}: {}}}", inner(self), inner(self)),
            _ => format!("[{}]", inner(self)),
        }
    }

    fn relation(&mut self) -> String {
        let operator =
            self.pick(&["=", "<", "<=", ">", ">=", "!=", "CONTAINS", "CONTAINS KEY", "LIKE", "NOT CONTAINS"]);
        let value = self.term(3, false);
        match self.random.below(8) {
            0 => format!("{} IN ({value}, {})", self.column(), self.term(3, false)),
            1 => format!("{} IN ?", self.column()),
            2 => format!("({}, {}) {operator} ({value}, {})", self.column(), self.column(), self.term(3, false)),
            3 => format!("token({}) {operator} {value}", self.column()),
            4 => format!("{}[{}] {operator} {value}", self.column(), self.term(3, false)),
            5 => format!("{} BETWEEN {value} AND {}", self.column(), self.term(3, false)),
            _ => format!("{} {operator} {value}", self.column()),
        }
    }

    fn statement(&mut self, table: &str) -> String {
        let modifier = self.pick(&["", "", "JSON ", "DISTINCT "]);
        let selected: Vec<String> = (0..=self.random.below(2)).map(|_| self.term(1, true)).collect();
        let mut text = format!("SELECT {modifier}{} FROM {table}", selected.join(", "));
        let relations: Vec<String> = (0..self.random.below(3)).map(|_| self.relation()).collect();
        if !relations.is_empty() {
            text.push_str(&format!(" WHERE {}", relations.join(" AND ")));
        }
        if self.random.chance(200) {
            text.push_str(&format!(" GROUP BY {}", self.column()));
        }
        if self.random.chance(200) {
            text.push_str(&format!(" ORDER BY {} DESC", self.column()));
        }
        if self.random.chance(200) {
            text.push_str(" PER PARTITION LIMIT 1");
        }
        if self.random.chance(200) {
            text.push_str(" LIMIT 2");
        }
        if self.random.chance(800) { text + " ALLOW FILTERING" } else { text }
    }
}

/// Answers a statement with random values, in one page and in several.
fn answer(memory: &Memory<'_>, schema: &model::schema::Schema, text: &str, random: &mut Rng) -> bool {
    let Ok(prepared) = prepare(text, schema, Some("ks")) else { return false };
    let values: Vec<BoundValue> = (0..prepared.parameters().len())
        .map(|_| match random.below(4) {
            0 => BoundValue::Null,
            1 => BoundValue::Unset,
            2 => BoundValue::Value(Value::Text("a".to_owned()).to_wire()),
            _ => BoundValue::Value(Value::Int(1).to_wire()),
        })
        .collect();
    let Ok(whole) = memory.pages(text, &values, u32::MAX) else { return false };
    if let Ok(paged) = memory.pages(text, &values, 1) {
        assert_eq!(paged, whole, "{text}");
    }
    true
}

#[test]
fn selects_of_any_terms_are_refused_or_answered() {
    let schema = schema();
    let memories = [wide(&schema), collections(&schema)];
    let mut random = Rng::new(7);
    let (mut answered, mut refused) = (0u32, 0u32);
    for _ in 0..20_000 {
        let chosen = random.index(2);
        let (table, columns) = COLUMNS[chosen];
        let mut writer = Writer { random: random.fork(), columns };
        let text = writer.statement(table);
        if answer(&memories[chosen], &schema, &text, &mut random) {
            answered += 1;
        } else {
            refused += 1;
        }
    }
    assert!(answered > 500 && refused > 500, "{answered} answered, {refused} refused");
}

#[test]
fn what_many_signatures_could_mean_is_resolved_in_time() {
    let schema = schema();
    let memory = wide(&schema);
    // Each call is an argument of one that has many signatures, as deep as terms go.
    let sum = vec!["v"; 31].join(" + ");
    assert_eq!(memory.answer(&format!("SELECT {sum} FROM w WHERE p = 2"), &[]), (20 * 31).to_string());
    let nested = format!("{}v{}", "abs(".repeat(29), ")".repeat(29));
    assert_eq!(memory.answer(&format!("SELECT {nested} FROM w WHERE p = 2"), &[]), "20");
    let ones = vec!["1"; 31].join(" + ");
    assert_eq!(memory.answer(&format!("SELECT v FROM w WHERE p = 2 AND c = {ones}"), &[]), "");
}
