//! What a load did, as a table for people or as one JSON object of named numbers with their units in the
//! names for programs.

use comfy_table::Table;
use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};
use std::io::{self, Write};
use std::time::Duration;

/// The form of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// Latencies and counts of one load.
#[derive(Clone, Debug)]
pub struct Report {
    /// What ran, such as `write`.
    pub name: String,
    /// True when operations had intended starts on a schedule.
    pub open_loop: bool,
    /// Time counted, warm-up excluded.
    pub elapsed: Duration,
    /// Microseconds of each success, from its intended start.
    pub latency: Histogram<u64>,
    /// Operations that failed, by message, with the number of them.
    pub errors: Vec<(String, u64)>,
}

impl Report {
    /// Operations that succeeded.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.latency.len()
    }

    /// Operations that failed.
    #[must_use]
    pub fn error_count(&self) -> u64 {
        self.errors.iter().map(|(_, count)| count).sum()
    }

    /// Successes per second.
    #[must_use]
    pub fn throughput(&self) -> f64 {
        self.operations() as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    /// The figures by name, units in the names.
    #[must_use]
    pub fn figures(&self) -> Map<String, Value> {
        let mut figures = Map::new();
        let mut put = |name: &str, value: Value| figures.insert(name.to_owned(), value);
        put("operations_count", json!(self.operations()));
        put("errors_count", json!(self.error_count()));
        put("elapsed_seconds", json!(self.elapsed.as_secs_f64()));
        put("throughput_per_second", json!(self.throughput()));
        for (name, quantile) in
            [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999), ("p9999", 0.9999), ("max", 1.0)]
        {
            put(&format!("latency_{name}_micros"), json!(self.latency.value_at_quantile(quantile)));
        }
        put("latency_mean_micros", json!(self.latency.mean()));
        figures
    }

    /// Writes the report.
    ///
    /// # Errors
    /// When `out` cannot be written.
    pub fn write(&self, out: &mut dyn Write, format: Format) -> io::Result<()> {
        if format == Format::Json {
            let mut object = Map::from_iter([
                ("name".to_owned(), json!(self.name)),
                ("open_loop".to_owned(), json!(self.open_loop)),
            ]);
            object.extend(self.figures());
            return writeln!(out, "{}", Value::Object(object));
        }
        let mut table = Table::new();
        table.load_preset(comfy_table::presets::ASCII_MARKDOWN);
        table.set_header([self.name.as_str(), ""]);
        for (name, value) in self.figures() {
            let text = value.as_f64().filter(|_| value.is_f64()).map(|number| format!("{number:.1}"));
            table.add_row([name, text.unwrap_or_else(|| value.to_string())]);
        }
        writeln!(out, "{table}")?;
        if !self.open_loop {
            writeln!(out, "Closed loop: the latency is that of answers at full load; use --rate for honest latency.")?;
        }
        for (message, count) in &self.errors {
            writeln!(out, "{count} x {message}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_holds_every_figure_with_its_unit() {
        let mut latency = Histogram::new(3).unwrap();
        for micros in 1..=1_000u64 {
            latency.record(micros).unwrap();
        }
        let report = Report {
            name: "write".into(),
            open_loop: true,
            elapsed: Duration::from_secs(2),
            latency,
            errors: vec![("refused".into(), 3)],
        };
        let mut out = Vec::new();
        report.write(&mut out, Format::Json).unwrap();
        let parsed: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(parsed["operations_count"], 1_000);
        assert_eq!(parsed["errors_count"], 3);
        assert_eq!(parsed["throughput_per_second"], 500.0);
        assert_eq!(parsed["latency_p50_micros"], 500);
        let units = ["_count", "_seconds", "_per_second", "_micros"];
        for name in report.figures().keys() {
            assert!(units.iter().any(|unit| name.ends_with(unit)), "{name} names no unit");
        }
    }
}
