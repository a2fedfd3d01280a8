//! Statements in process: what parsing and binding one costs, and what executing it again costs.

use anyhow::{Context, Result, ensure};
use model::schema::Schema;
use model::{TableId, WallMicros};
use query::{Bound, BoundValue, EvaluationContext, prepare};
use serde_json::{Map, Value, json};
use std::hint::black_box;
use std::time::{Duration, Instant};

/// What parsing and binding of the INSERT may take.
const MICROS_MAX: f64 = 20.0;
/// Operations between two looks at the clock.
const BATCH: u32 = 1_000;

/// Tables and statements as applications have them: a wide row with a time series in it.
const SCHEMA: [&str; 2] = [
    "CREATE KEYSPACE shop WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 3}",
    "CREATE TABLE shop.orders (customer uuid, placed timestamp, id timeuuid, state text, total decimal, lines int, \
     note text, PRIMARY KEY ((customer), placed, id)) WITH CLUSTERING ORDER BY (placed DESC, id ASC)",
];
const INSERT: &str = "INSERT INTO shop.orders (customer, placed, id, state, total, lines, note) \
                      VALUES (?, ?, ?, ?, ?, ?, ?) USING TTL 86400";
const INSERT_WITH_VALUES: &str = "INSERT INTO shop.orders (customer, placed, id, state, total, lines, note) VALUES \
                                  (123e4567-e89b-12d3-a456-426614174000, '2026-03-04 05:06:07.008+0000', \
                                  50554d6e-29bb-11e5-b345-feff819cdc9f, 'placed', 129.95, 3, 'leave at the door') \
                                  USING TTL 86400";
const SELECT: &str = "SELECT id, state, total FROM shop.orders WHERE customer = ? AND placed >= ? LIMIT 20";

fn schema() -> Result<Schema> {
    let mut schema = Schema::default();
    for (text, id) in SCHEMA.iter().zip(1..) {
        let Bound::Schema(request) = prepare(text, &schema, None)?.bind(&[], context())? else {
            anyhow::bail!("{text} is a statement of the schema");
        };
        let change = request.change(TableId(id), WallMicros(0));
        schema = schema.apply(&change)?.context("a schema of its own")?;
    }
    Ok(schema)
}

fn context() -> EvaluationContext {
    EvaluationContext::new(WallMicros(1_709_210_096_789_000), 1)
}

/// The mean time of one `operation` in microseconds, of the fastest batch: what else runs only adds to it.
fn micros<T>(time: Duration, mut operation: impl FnMut() -> Result<T>) -> Result<f64> {
    let (until, mut fastest) = (Instant::now() + time, Duration::MAX);
    while Instant::now() < until {
        let started = Instant::now();
        for _ in 0..BATCH {
            black_box(operation()?);
        }
        fastest = fastest.min(started.elapsed());
    }
    Ok(fastest.as_secs_f64() * 1e6 / f64::from(BATCH))
}

/// Measures each for about `seconds` and puts microseconds into `figures`, and what misses its gate in `gates_missed`.
///
/// # Errors
/// When a statement is refused.
pub(crate) fn measure(seconds: u64, figures: &mut Map<String, Value>) -> Result<()> {
    let (time, schema) = (Duration::from_secs(seconds), schema()?);
    let wire = |bytes: &[u8]| BoundValue::Value(bytes.to_vec().into());
    let customer = wire(&[0x11; 16]);
    let placed = wire(&1_709_210_096_789i64.to_be_bytes());
    let mut id = [0x22; 16];
    id[6] = 0x11;
    let values = [
        customer.clone(),
        placed.clone(),
        wire(&id),
        wire(b"placed"),
        wire(&[0, 0, 0, 2, 0x32, 0xc3]),
        wire(&3i32.to_be_bytes()),
        wire(b"leave at the door"),
    ];
    let (insert, select) = (prepare(INSERT, &schema, None)?, prepare(SELECT, &schema, None)?);
    let write = |bound| match bound {
        Bound::Write(write) => Ok(write.mutation(1, WallMicros(0))?),
        _ => anyhow::bail!("the INSERT writes one row"),
    };
    let prepare_insert = micros(time, || Ok(prepare(black_box(INSERT), &schema, None)?))?;
    let bind_insert = micros(time, || write(insert.bind(black_box(&values), context())?))?;
    let with_values = micros(time, || write(prepare(INSERT_WITH_VALUES, &schema, None)?.bind(&[], context())?))?;
    let prepare_select = micros(time, || Ok(prepare(black_box(SELECT), &schema, None)?))?;
    let bind_select = micros(time, || Ok(select.bind(&[customer.clone(), placed.clone()], context())?))?;
    let parsed_and_bound = prepare_insert + bind_insert;
    for (name, value) in [
        ("statement_insert_parse_and_bind_micros", parsed_and_bound),
        ("statement_insert_parse_micros", prepare_insert),
        ("statement_insert_execute_again_micros", bind_insert),
        ("statement_insert_with_values_micros", with_values),
        ("statement_select_parse_micros", prepare_select),
        ("statement_select_execute_again_micros", bind_select),
    ] {
        ensure!(value.is_finite(), "{name} was not measured");
        figures.insert(name.to_owned(), json!(value));
    }
    let missed = (parsed_and_bound > MICROS_MAX)
        .then(|| format!("statement_insert_parse_and_bind_micros: {parsed_and_bound:.1} is above {MICROS_MAX}"));
    crate::note_missed(figures, missed);
    Ok(())
}
