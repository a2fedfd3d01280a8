//! Results and errors as lines of the corpus: what `tools/oracle` writes for the same answer.

use bytes::Bytes;
use client::{ClientError, ColumnSpec, CqlType, RequestError, Value};

/// The lines of rows and warnings. Columns of `masked` names show that there is a value, but not which.
#[must_use]
pub fn result_lines(
    columns: Option<&[ColumnSpec]>,
    rows: &[Vec<Option<Bytes>>],
    masked: &[&str],
    warnings: &[String],
) -> Vec<String> {
    let mut lines = columns.map_or_else(Vec::new, |columns| table(columns, rows, masked));
    lines.extend(warnings.iter().map(|warning| format!("--~ {}", escaped(warning)).trim_end().to_owned()));
    lines
}

/// The line of an error: the name of its code in the native protocol, and its message.
#[must_use]
pub fn error_lines(error: &ClientError) -> Vec<String> {
    let kind = match error {
        ClientError::Request(error) => match error {
            RequestError::Syntax { .. } => "SyntaxError",
            RequestError::Invalid(_) | RequestError::NotFound(_) => "Invalid",
            RequestError::Unauthorized(_) => "Unauthorized",
            RequestError::AlreadyExists { .. } => "AlreadyExists",
            RequestError::Unprepared { .. } => "Unprepared",
            RequestError::Unavailable { .. } => "Unavailable",
            RequestError::WriteTimeout { .. } | RequestError::BatchLogTimeout { .. } => "WriteTimeout",
            RequestError::ReadTimeout { .. } => "ReadTimeout",
            RequestError::WriteFailure { .. } => "WriteFailure",
            RequestError::ReadFailure { .. } => "ReadFailure",
            RequestError::Overloaded(_) => "Overloaded",
            RequestError::Config(_) => "ConfigError",
            RequestError::FunctionFailure { .. } => "FunctionFailure",
            _ => "ServerError",
        },
        // The driver refuses what Cassandra's would send on to be refused.
        ClientError::Bind(_) => "Invalid",
        _ => "Client",
    };
    vec![format!("--! {kind}: {}", escaped(&error.to_string())).trim_end().to_owned()]
}

fn table(columns: &[ColumnSpec], rows: &[Vec<Option<Bytes>>], masked: &[&str]) -> Vec<String> {
    let names: Vec<(String, String)> =
        columns.iter().map(|column| (quoted(&column.name), type_text(&column.cql_type))).collect();
    let cell = |(column, wire): (&ColumnSpec, &Option<Bytes>)| match wire {
        None => "null".to_owned(),
        Some(_) if masked.contains(&column.name.as_str()) => "*".to_owned(),
        Some(wire) => value_text(&column.cql_type, wire),
    };
    let cells: Vec<Vec<String>> = rows.iter().map(|row| columns.iter().zip(row).map(cell).collect()).collect();
    if cells.iter().flatten().any(|cell| cell.contains('\n')) { long(&names, &cells) } else { aligned(&names, &cells) }
}

/// A header and a line for each row.
fn aligned(names: &[(String, String)], cells: &[Vec<String>]) -> Vec<String> {
    let mut grid = vec![names.iter().map(|(name, cql_type)| format!("{name} {cql_type}")).collect::<Vec<_>>()];
    grid.extend(cells.iter().map(|row| row.iter().map(|cell| escaped(cell)).collect()));
    let width = |index: usize| grid.iter().map(|row| row[index].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..names.len()).map(width).collect();
    let padded = |(cell, width): (&String, &usize)| format!("{cell:<width$}");
    let line = |row: &Vec<String>| {
        let cells: Vec<String> = row.iter().zip(&widths).map(padded).collect();
        format!("--| {}", cells.join(" | ")).trim_end().to_owned()
    };
    let mut lines: Vec<String> = grid.iter().map(line).collect();
    if cells.is_empty() {
        lines.push("--| (no rows)".to_owned());
    }
    lines
}

/// A line for each cell, and more for a text of several.
fn long(names: &[(String, String)], cells: &[Vec<String>]) -> Vec<String> {
    let mut lines = Vec::new();
    for (index, row) in cells.iter().enumerate() {
        lines.push(format!("--| row {}", index + 1));
        for ((name, cql_type), cell) in names.iter().zip(row) {
            let mut parts = cell.split('\n');
            lines.push(format!("--| {name} {cql_type} = {}", escaped(parts.next().unwrap_or_default())));
            lines.extend(parts.map(|part| format!("--|     {}", escaped(part))));
        }
    }
    lines.into_iter().map(|line| line.trim_end().to_owned()).collect()
}

/// The value as a CQL literal; `empty` for no bytes where that is no value, and bytes where they are none.
fn value_text(cql_type: &CqlType, wire: &[u8]) -> String {
    match Value::from_wire(cql_type, wire) {
        Ok(Value::Empty) => "empty".to_owned(),
        Ok(value) => value.to_cql_literal(),
        Err(_) if wire.is_empty() => "empty".to_owned(),
        Err(_) => match elements_with_nulls(cql_type, wire) {
            Some(elements) => format!("[{}]", elements.join(", ")),
            None => {
                let digits: String = wire.iter().map(|byte| format!("{byte:02x}")).collect();
                format!("bytes 0x{digits}")
            }
        },
    }
}

/// The elements of a list with nulls in it, which only functions of times make.
fn elements_with_nulls(cql_type: &CqlType, wire: &[u8]) -> Option<Vec<String>> {
    let CqlType::List { element, .. } = cql_type else { return None };
    let (count, mut rest) = wire.split_first_chunk()?;
    let mut elements = Vec::new();
    for _ in 0..i32::from_be_bytes(*count) {
        let (length, tail) = rest.split_first_chunk()?;
        let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) else {
            elements.push("null".to_owned());
            rest = tail;
            continue;
        };
        let (wire, tail) = tail.split_at_checked(length)?;
        elements.push(Value::from_wire(element, wire).ok()?.to_cql_literal());
        rest = tail;
    }
    rest.is_empty().then_some(elements)
}

/// The type as CQL writes it but without `frozen`, which the native protocol does not say.
fn type_text(cql_type: &CqlType) -> String {
    let text = cql_type.to_string();
    let (mut out, mut opened, mut rest) = (String::new(), Vec::new(), text.as_str());
    while let Some(next) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("frozen<") {
            opened.push(true);
            rest = after;
            continue;
        }
        let hidden = match next {
            '<' => {
                opened.push(false);
                false
            }
            '>' => opened.pop().unwrap_or(false),
            _ => false,
        };
        if !hidden {
            out.push(next);
        }
        rest = &rest[next.len_utf8()..];
    }
    out
}

/// The name as it is, or in quotes where it is not of lower case letters, digits and underscores.
fn quoted(name: &str) -> String {
    let plain = name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'));
    if plain && name.starts_with(|first: char| first.is_ascii_lowercase()) {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}

/// Text on one line.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            control if control.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(control))),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn column(name: &str, cql_type: CqlType) -> ColumnSpec {
        ColumnSpec { name: name.to_owned(), cql_type, keyspace: String::new(), table: String::new() }
    }

    fn text(text: &str) -> Option<Bytes> {
        Some(Value::Text(text.to_owned()).to_wire())
    }

    #[test]
    fn rows_are_aligned_below_names_and_types() {
        let frozen = CqlType::List { element: Arc::new(CqlType::Text), frozen: true };
        let map = CqlType::Map { entry: Arc::new((CqlType::Int, frozen)), frozen: false };
        let columns = [column("count(*)", CqlType::BigInt), column("v", CqlType::Text), column("m", map)];
        let one = Some(Value::BigInt(1).to_wire());
        let rows = [vec![one, text("it's\ta\\"), None], vec![Some(Bytes::new()), None, None]];
        let lines = result_lines(Some(&columns), &rows, &[], &["slow\n".to_owned()]);
        assert_eq!(
            lines,
            [
                "--| \"count(*)\" bigint | v text       | m map<int, list<text>>",
                "--| 1                 | 'it''s\\ta\\\\' | null",
                "--| empty             | null         | null",
                "--~ slow\\n",
            ]
        );
        let lines = result_lines(Some(&columns[..1]), &[], &[], &[]);
        assert_eq!(lines, ["--| \"count(*)\" bigint", "--| (no rows)"]);
        assert_eq!(result_lines(None, &[], &[], &[]), Vec::<String>::new());
        let times = CqlType::List { element: Arc::new(CqlType::Int), frozen: false };
        let nulls = [0, 0, 0, 2, 255, 255, 255, 255, 0, 0, 0, 4, 0, 0, 0, 7];
        let lines = result_lines(Some(&[column("t", times)]), &[vec![Some(Bytes::copy_from_slice(&nulls))]], &[], &[]);
        assert_eq!(lines, ["--| t list<int>", "--| [null, 7]"]);
    }

    #[test]
    fn long_texts_and_masks() {
        let columns = [column("a", CqlType::Int), column("b", CqlType::Text)];
        let rows = [vec![Some(Value::Int(5).to_wire()), text("x\ny")]];
        let lines = result_lines(Some(&columns), &rows, &["a"], &[]);
        assert_eq!(lines, ["--| row 1", "--| a int = *", "--| b text = 'x", "--|     y'"]);
    }

    #[test]
    fn errors_have_the_name_of_their_code() {
        let error = ClientError::Request(RequestError::Invalid("not so\n".to_owned()));
        assert_eq!(error_lines(&error), ["--! Invalid: not so\\n"]);
    }
}
