//! How results are written: as a table for people, as JSON or CSV for programs.
//!
//! Invariants: JSON output is one array of objects for one result, with numbers, booleans and null as
//! such and everything else as text; CSV output is RFC 4180 with a header and reads back through
//! `COPY ... FROM`; a value's text is what CQL accepts back.

use bytes::Bytes;
use comfy_table::{Cell, CellAlignment, Color, ContentArrangement, Table, TableComponent};
use model::{CqlType, Value};
use std::io::{self, Write};
use std::sync::Arc;

/// The form of a result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Aligned columns.
    #[default]
    Table,
    /// One JSON array of objects for each result.
    Json,
    /// Comma-separated values with a header line.
    Csv,
}

/// A result in memory.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Rows {
    /// Name and type of each column.
    pub columns: Vec<(String, CqlType)>,
    /// The values in their wire form; `None` is null.
    pub rows: Vec<Vec<Option<Bytes>>>,
}

/// How a table looks. Of no effect on JSON and CSV.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Look {
    /// Rows stand one below the other.
    pub(crate) expanded: bool,
    /// Values are coloured by what they are.
    pub(crate) color: bool,
    /// The columns of the terminal that a table is fitted to, by going on in a cell's next line.
    pub(crate) width: Option<u16>,
}

/// A column of a table is not made narrower than this to fit: lines of a few letters cannot be read.
const COLUMN_WIDTH_MIN: u16 = 10;

/// Writes `result` to `out`.
///
/// # Errors
/// When `out` cannot be written, or a value is not one of its column's type.
pub(crate) fn write_rows(out: &mut dyn Write, result: &Rows, format: Format, look: Look) -> io::Result<()> {
    match format {
        Format::Table if look.expanded => write_expanded(out, result),
        Format::Table => write_table(out, result, look),
        Format::Json => write_json(out, result),
        Format::Csv => write_csv(out, result),
    }
}

/// A value as `show` writes it.
fn shown(cql_type: &CqlType, wire: &[u8], show: impl Fn(&Value) -> String) -> io::Result<String> {
    match (Value::from_wire(cql_type, wire), with_nulls(cql_type, wire)) {
        (Ok(value), _) => Ok(show(&value)),
        (Err(_), Some(tuple)) => {
            let text = show(&tuple);
            let inner = text.strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
            Ok(inner.map_or_else(|| text.clone(), |inner| format!("[{inner}]")))
        }
        (Err(error), None) => Err(io::Error::new(io::ErrorKind::InvalidData, error.to_string())),
    }
}

/// A list with nulls in it, which is no value that can be stored but what `ttl` gives of elements that do not expire:
/// behind its count it is a tuple.
fn with_nulls(cql_type: &CqlType, wire: &[u8]) -> Option<Value> {
    let CqlType::List { element, .. } = cql_type else { return None };
    let (count, elements) = wire.split_first_chunk()?;
    let count = usize::try_from(i32::from_be_bytes(*count)).ok().filter(|count| *count <= elements.len() / 4)?;
    let types = vec![element.as_ref().clone(); count];
    Value::from_wire(&CqlType::Tuple(Arc::new(types)), elements).ok()
}

/// Text for a person: control characters made visible, so that a value cannot move the cursor.
fn visible(text: &str) -> String {
    let escape = |character: char| -> String {
        if character.is_control() { character.escape_default().to_string() } else { character.to_string() }
    };
    text.chars().map(escape).collect()
}

fn is_number(cql_type: &CqlType) -> bool {
    matches!(
        cql_type,
        CqlType::BigInt
            | CqlType::Decimal
            | CqlType::Double
            | CqlType::Float
            | CqlType::Int
            | CqlType::SmallInt
            | CqlType::TinyInt
            | CqlType::VarInt
            | CqlType::Counter
    )
}

fn cells(result: &Rows, null: &str) -> io::Result<Vec<Vec<String>>> {
    let cell = |((_, cql_type), wire): (&(String, CqlType), &Option<Bytes>)| match wire {
        Some(wire) => shown(cql_type, wire, Value::to_string).map(|text| visible(&text)),
        None => Ok(null.to_owned()),
    };
    result.rows.iter().map(|row| result.columns.iter().zip(row).map(cell).collect()).collect()
}

fn write_table(out: &mut dyn Write, result: &Rows, look: Look) -> io::Result<()> {
    let mut table = Table::new();
    // Whether it is a terminal is the caller's to know.
    table.force_no_tty();
    table.load_preset(comfy_table::presets::NOTHING);
    table.set_style(TableComponent::VerticalLines, '|');
    table.set_style(TableComponent::HeaderLines, '-');
    table.set_style(TableComponent::MiddleHeaderIntersections, '+');
    let fits = |width: &u16| usize::from(*width) >= result.columns.len() * usize::from(COLUMN_WIDTH_MIN);
    if let Some(width) = look.width.filter(fits) {
        table.set_content_arrangement(ContentArrangement::Dynamic);
        table.set_width(width);
    }
    if look.color {
        table.enforce_styling();
    }
    let colored = |text: String, color: Color| if look.color { Cell::new(text).fg(color) } else { Cell::new(text) };
    table.set_header(result.columns.iter().map(|(name, _)| colored(visible(name), Color::Magenta)));
    for (row, wire) in cells(result, "null")?.into_iter().zip(&result.rows) {
        let cell = |((text, wire), (_, cql_type)): ((String, &Option<Bytes>), &(String, CqlType))| {
            let color = match wire {
                None => Color::Red,
                Some(_) if is_number(cql_type) => Color::Green,
                Some(_) => Color::Yellow,
            };
            colored(text, color)
        };
        table.add_row(row.into_iter().zip(wire).zip(&result.columns).map(cell));
    }
    for (index, (_, cql_type)) in result.columns.iter().enumerate() {
        let column = table.column_mut(index);
        if let Some(column) = column.filter(|_| is_number(cql_type)) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    for line in table.lines() {
        writeln!(out, "{}", line.trim_end())?;
    }
    writeln!(out, "\n({} row{})", result.rows.len(), if result.rows.len() == 1 { "" } else { "s" })
}

fn write_expanded(out: &mut dyn Write, result: &Rows) -> io::Result<()> {
    let width = result.columns.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    for (index, row) in cells(result, "null")?.into_iter().enumerate() {
        writeln!(out, "@ Row {}", index + 1)?;
        for ((name, _), text) in result.columns.iter().zip(row) {
            writeln!(out, " {name:width$} | {text}", name = visible(name))?;
        }
        writeln!(out)?;
    }
    writeln!(out, "({} row{})", result.rows.len(), if result.rows.len() == 1 { "" } else { "s" })
}

fn write_json(out: &mut dyn Write, result: &Rows) -> io::Result<()> {
    write!(out, "[")?;
    for (index, row) in result.rows.iter().enumerate() {
        write!(out, "{}{{", if index == 0 { "" } else { "," })?;
        for (index, ((name, cql_type), wire)) in result.columns.iter().zip(row).enumerate() {
            let name = serde_json::Value::String(name.clone());
            write!(out, "{}{name}:", if index == 0 { "" } else { "," })?;
            match wire {
                Some(wire) => write!(out, "{}", shown(cql_type, wire, Value::to_json)?)?,
                None => write!(out, "null")?,
            }
        }
        write!(out, "}}")?;
    }
    writeln!(out, "]")
}

fn write_csv(out: &mut dyn Write, result: &Rows) -> io::Result<()> {
    let mut writer = csv::Writer::from_writer(out);
    writer.write_record(result.columns.iter().map(|(name, _)| name))?;
    for row in &result.rows {
        let text = |((_, cql_type), wire): (&(String, CqlType), &Option<Bytes>)| match wire {
            Some(wire) => shown(cql_type, wire, Value::to_string),
            None => Ok(String::new()),
        };
        let record = result.columns.iter().zip(row).map(text).collect::<io::Result<Vec<String>>>()?;
        writer.write_record(record)?;
    }
    writer.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Rows {
        let text = |text: &str| Some(Value::Text(text.into()).to_wire());
        Rows {
            columns: vec![("name".into(), CqlType::Text), ("delay".into(), CqlType::Int)],
            rows: vec![vec![text("a,\"b\""), Some(Value::Int(-7).to_wire())], vec![text("line\nbreak"), None]],
        }
    }

    fn written(format: Format, expanded: bool) -> String {
        output(&sample(), format, Look { expanded, ..Look::default() })
    }

    fn output(rows: &Rows, format: Format, look: Look) -> String {
        let mut out = Vec::new();
        write_rows(&mut out, rows, format, look).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lists_with_nulls_are_shown() {
        let times = CqlType::List { element: Arc::new(CqlType::Int), frozen: false };
        let wire = Bytes::from_static(&[0, 0, 0, 2, 255, 255, 255, 255, 0, 0, 0, 4, 0, 0, 0, 7]);
        let rows = Rows { columns: vec![("t".into(), times)], rows: vec![vec![Some(wire)]] };
        assert!(output(&rows, Format::Table, Look::default()).contains("[null, 7]"));
        assert_eq!(output(&rows, Format::Json, Look::default()), "[{\"t\":[null, 7]}]\n");
        assert_eq!(output(&rows, Format::Csv, Look::default()), "t\n\"[null, 7]\"\n");
    }

    #[test]
    fn a_table_is_fitted_to_the_terminal_as_long_as_it_can_be_read() {
        let text = |text: &str| Some(Value::Text(text.into()).to_wire());
        let columns = vec![("a".into(), CqlType::Text), ("b".into(), CqlType::Text)];
        let rows = Rows { columns, rows: vec![vec![text(&"word ".repeat(20)), text("short")]] };
        let widest = |width| {
            let lines = output(&rows, Format::Table, Look { width, ..Look::default() });
            lines.lines().map(str::len).max().unwrap()
        };
        assert!(widest(Some(40)) <= 40);
        assert!(widest(None) > 100);
        assert!(widest(Some(10)) > 100, "too narrow for two columns");
    }

    #[test]
    fn colors_are_only_there_when_they_are_asked_for() {
        assert!(!written(Format::Table, false).contains('\x1b'));
        let look = Look { color: true, ..Look::default() };
        assert!(output(&sample(), Format::Table, look).contains("\x1b["));
        assert!(!output(&sample(), Format::Csv, look).contains('\x1b'));
    }

    #[test]
    fn a_table_aligns_numbers_right_and_hides_control_characters() {
        let lines =
            [" name        | delay", "-------------+-------", " a,\"b\"       |    -7", " line\\nbreak |  null"];
        assert_eq!(written(Format::Table, false), lines.join("\n") + "\n\n(2 rows)\n");
    }

    #[test]
    fn json_is_json_with_types() {
        let parsed: serde_json::Value = serde_json::from_str(&written(Format::Json, false)).unwrap();
        let expected = serde_json::json!([{"name": "a,\"b\"", "delay": -7}, {"name": "line\nbreak", "delay": null}]);
        assert_eq!(parsed, expected);
    }

    #[test]
    fn csv_reads_back() {
        let text = written(Format::Csv, false);
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let records: Vec<Vec<String>> =
            reader.records().map(|record| record.unwrap().iter().map(str::to_owned).collect()).collect();
        assert_eq!(records, [["a,\"b\"", "-7"], ["line\nbreak", ""]]);
    }

    #[test]
    fn expanded_rows_stand_below_each_other() {
        assert!(written(Format::Table, true).starts_with("@ Row 1\n name  | a,\"b\"\n delay | -7\n"));
    }
}
