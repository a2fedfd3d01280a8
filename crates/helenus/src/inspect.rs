//! `helenus inspect`: looks into the data directory of a stopped node, or into a snapshot, and changes nothing.

use clap::{Args, Subcommand};
use comfy_table::{CellAlignment, Table, presets};
use model::codec::Decode as _;
use model::complex::ComplexColumn;
use model::deletion::{Deletion, PartitionDeletions};
use model::key::{BoundSide, decode_bound, decode_clustering};
use model::row::Expiry;
use model::schema::{Replication, Schema, SchemaChange, Table as Definition};
use model::{Cell, CellState, CqlType, Liveness, PartitionKey, RecordKey, Row, Value as CqlValue, counter};
use serde_json::{Map, Value, json};
use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use storage::StorageError;
use storage::inspect::{self, InspectedTable, Inspection};

/// Exit code: something is damaged.
const DAMAGED: u8 = 3;

/// Options of `inspect`.
#[derive(Debug, Args)]
pub(crate) struct InspectArguments {
    /// Data directory of a stopped node, or a snapshot (a directory below `snapshots/` of a data directory)
    directory: PathBuf,
    #[command(subcommand)]
    question: Question,
}

#[derive(Debug, Subcommand)]
enum Question {
    /// The tables and how much they hold
    List {
        /// One JSON object instead of a table
        #[arg(long)]
        json: bool,
    },
    /// Check every checksum of every file, and that everything can be decoded
    Verify {
        /// One JSON object instead of text
        #[arg(long)]
        json: bool,
    },
    /// The metadata log: the epoch, who decides it, and its last entries
    Metadata {
        /// So many of the last entries
        #[arg(long, value_name = "COUNT", default_value_t = crate::admin::metadata::ENTRIES)]
        log: u32,
        /// One JSON object instead of tables
        #[arg(long)]
        json: bool,
    },
    /// Everything that is stored of one partition, deletions included: one JSON object for each record
    Dump {
        /// KEYSPACE.TABLE
        table: String,
        /// The values of the partition key's columns, each a CQL constant
        #[arg(required = true, allow_hyphen_values = true)]
        key: Vec<String>,
    },
}

/// Looks, and writes what it sees to standard output.
pub(crate) fn run(arguments: &InspectArguments) -> ExitCode {
    let looked = match &arguments.question {
        Question::List { json } => list(arguments, *json),
        Question::Verify { json } => verify(arguments, *json),
        Question::Metadata { log, json } => metadata(arguments, *log, *json),
        Question::Dump { table, key } => dump(arguments, table, key),
    };
    match looked {
        Ok(code) => ExitCode::from(code),
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(Failure::Storage(error @ StorageError::Corrupt(_))) => {
            crate::report(&error.to_string());
            ExitCode::from(DAMAGED)
        }
        Err(error) => {
            crate::report(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

/// Why there is nothing to see.
#[derive(Debug)]
enum Failure {
    Storage(StorageError),
    /// What was asked makes no sense.
    Question(String),
    Metadata(server::ServerError),
    Output(io::Error),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::Storage(error) => error.fmt(f),
            Failure::Question(reason) => reason.fmt(f),
            Failure::Metadata(error) => error.fmt(f),
            Failure::Output(error) => error.fmt(f),
        }
    }
}

impl From<StorageError> for Failure {
    fn from(error: StorageError) -> Failure {
        Failure::Storage(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Output(error)
    }
}

fn list(arguments: &InspectArguments, as_json: bool) -> Result<u8, Failure> {
    let inspection = Inspection::open(&arguments.directory)?;
    let tables = inspection.tables()?;
    let identity = inspection.identity();
    let cluster = identity.cluster.map(|cluster| model::NodeId(cluster).to_string());
    let content = inspection.snapshot().map(|(_, content)| content.clone());
    let mut out = io::stdout().lock();
    if as_json {
        let table = |table: &InspectedTable| {
            let definition = &table.definition;
            json!({
                "keyspace": definition.keyspace,
                "name": definition.name,
                "id": definition.id.to_string(),
                "generation": definition.generation,
                "estimated_records": table.keys,
                "files": table.files,
                "file_bytes": table.file_bytes,
                "log_bytes": table.memtable_bytes,
                "create_text": query::describe_whole_table(definition).join("\n"),
            })
        };
        let tables: Vec<Value> = tables.iter().map(table).collect();
        let node = identity.node.to_string();
        writeln!(out, "{}", json!({ "node": node, "cluster": cluster, "snapshot_of": content, "tables": tables }))?;
        return Ok(0);
    }
    writeln!(out, "node {}, cluster {}", identity.node, cluster.as_deref().unwrap_or("none yet"))?;
    if let Some(content) = content {
        writeln!(out, "snapshot of {content}")?;
    }
    let mut rows = Table::new();
    rows.load_preset(presets::NOTHING).set_header([
        "table",
        "records",
        "files",
        "bytes",
        "in the log",
        "truncated",
        "id",
    ]);
    for column in 1..6 {
        if let Some(column) = rows.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    for table in &tables {
        rows.add_row([
            name_of(&table.definition),
            table.keys.to_string(),
            table.files.to_string(),
            table.file_bytes.to_string(),
            table.memtable_bytes.to_string(),
            table.definition.generation.to_string(),
            table.definition.id.to_string(),
        ]);
    }
    writeln!(out, "{}", rows.trim_fmt())?;
    Ok(0)
}

fn verify(arguments: &InspectArguments, as_json: bool) -> Result<u8, Failure> {
    let on_terminal = io::stderr().is_terminal();
    let found = inspect::verify(&arguments.directory, &mut |progress| {
        let end = if on_terminal { "\r" } else { "\n" };
        // Progress that cannot be shown stops nothing.
        let _ = write!(io::stderr(), "{}: {} records{end}", progress.what, progress.records);
    })?;
    if on_terminal {
        let _ = writeln!(io::stderr());
    }
    let mut out = io::stdout().lock();
    if as_json {
        let damage = found.damage.iter().map(|damage| json!({ "file": damage.file, "what": damage.what }));
        let report = json!({
            "files": found.files,
            "bytes": found.bytes,
            "records": found.records,
            "damage": damage.collect::<Vec<_>>(),
            "notes": found.notes,
        });
        writeln!(out, "{report}")?;
    } else {
        for damage in &found.damage {
            writeln!(out, "damaged: {}: {}", damage.file.display(), damage.what)?;
        }
        for note in &found.notes {
            writeln!(out, "note: {note}")?;
        }
        let damaged = found.damage.len();
        writeln!(out, "{} files, {} bytes, {} records, {damaged} damaged", found.files, found.bytes, found.records)?;
    }
    Ok(if found.damage.is_empty() { 0 } else { DAMAGED })
}

fn metadata(arguments: &InspectArguments, entries: u32, as_json: bool) -> Result<u8, Failure> {
    let found = server::inspect_metadata(&arguments.directory, entries as usize).map_err(Failure::Metadata)?;
    let answer = crate::admin::metadata::show(&found);
    let mut out = io::stdout().lock();
    if as_json {
        writeln!(out, "{}", answer.json)?
    } else {
        writeln!(out, "{}", answer.text)?
    }
    Ok(0)
}

fn dump(arguments: &InspectArguments, table: &str, key: &[String]) -> Result<u8, Failure> {
    let inspection = Inspection::open(&arguments.directory)?;
    let tables = inspect::by_name(&inspection.tables()?);
    let found = tables.values().find(|definition| name_of(definition) == table);
    let definition = found.ok_or_else(|| Failure::Question(format!("there is no table {table}")))?;
    let partition = partition(definition, key).map_err(Failure::Question)?;
    let mut out = io::stdout().lock();
    let mut failed = None;
    inspection.partition(definition.id, &partition, &mut |record, value| {
        let written = show_record(definition, &record, &value)
            .map_err(|error| Failure::Storage(StorageError::Corrupt(error.to_string())))
            .and_then(|shown| writeln!(out, "{shown}").map_err(Failure::Output));
        failed = written.err();
        failed.is_none()
    })?;
    failed.map_or(Ok(0), Err)
}

fn name_of(table: &Definition) -> String {
    format!("{}.{}", table.keyspace, table.name)
}

/// The partition with this key: constants as CQL has them, one for each column.
fn partition(table: &Arc<Definition>, key: &[String]) -> Result<PartitionKey, String> {
    let columns: Vec<_> = table.partition_key().collect();
    if columns.len() != key.len() {
        let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        return Err(format!(
            "the partition key of {} is ({}): name a value for each",
            name_of(table),
            names.join(", ")
        ));
    }
    let named = columns.iter().zip(key).map(|(column, value)| {
        let name = query::quote_name(&column.name);
        format!("{name} = {value}")
    });
    let keyspace = query::quote_name(&table.keyspace);
    let name = query::quote_name(&table.name);
    let text = format!("SELECT * FROM {keyspace}.{name} WHERE {}", named.collect::<Vec<_>>().join(" AND "));
    let schema = schema_of(table).map_err(|error| error.to_string())?;
    let bound = query::prepare(&text, &schema, None)
        .and_then(|prepared| prepared.bind(&[], query::EvaluationContext::new(model::WallMicros(0), 0)));
    match bound.map_err(|error| error.to_string())? {
        query::Bound::Read(read) => match read.source() {
            query::ReadSource::Partitions(mut keys) if keys.len() == 1 => Ok(keys.remove(0)),
            _ => Err("the key is not that of one partition".to_owned()),
        },
        _ => Err("the key is no constant".to_owned()),
    }
}

/// A schema of one table.
fn schema_of(table: &Arc<Definition>) -> Result<Schema, model::RequestError> {
    let keyspace = SchemaChange::CreateKeyspace {
        name: table.keyspace.clone(),
        replication: Replication::Simple { factor: 1 },
        if_not_exists: false,
    };
    let create = SchemaChange::CreateTable { table: Definition::clone(table), if_not_exists: false };
    let mut schema = Schema::default();
    for change in [keyspace, create] {
        schema = schema.apply(&change)?.unwrap_or(schema);
    }
    Ok(schema)
}

/// One record as JSON.
fn show_record(
    table: &Definition,
    record: &RecordKey,
    value: &bytes::Bytes,
) -> Result<Value, model::codec::CodecError> {
    Ok(match record {
        RecordKey::Deletions => {
            let deletions = PartitionDeletions::from_bytes(value)?;
            let range = |range: &model::deletion::RangeTombstone| {
                json!({
                    "start": show_bound(table, &range.start),
                    "end": show_bound(table, &range.end),
                    "deletion": show_deletion(range.deletion),
                })
            };
            json!({
                "record": "deletions",
                "partition": deletions.partition().map(show_deletion),
                "ranges": deletions.ranges().iter().map(range).collect::<Vec<_>>(),
            })
        }
        RecordKey::Static => show_row(table, json!({ "record": "static row" }), &Row::from_bytes(value)?),
        RecordKey::Row(clustering) => {
            let values = decode_clustering(table, clustering)?;
            let named = table.clustering().zip(values);
            let key: Map<String, Value> =
                named.map(|(column, wire)| (column.name.clone(), show_value(&column.cql_type, &wire))).collect();
            show_row(table, json!({ "record": "row", "clustering": key }), &Row::from_bytes(value)?)
        }
    })
}

fn show_row(table: &Definition, mut shown: Value, row: &Row) -> Value {
    let column = |id: &model::ColumnId| table.columns.iter().find(|column| column.id == *id);
    // Of a column that was dropped only the id is known.
    let name =
        |id: &model::ColumnId| column(id).map_or_else(|| format!("column {}", id.0), |column| column.name.clone());
    let cells = row.cells().iter().map(|(id, cell)| {
        let cql_type = column(id).map(|column| &column.cql_type);
        (name(id), show_cell(cell, cql_type))
    });
    let complex = row.complex().iter().map(|(id, complex)| {
        let cql_type = column(id).map(|column| &column.cql_type);
        (name(id), show_complex(complex, cql_type))
    });
    shown["cells"] = Value::Object(cells.chain(complex).collect());
    shown["deletion"] = row.deletion().map_or(Value::Null, show_deletion);
    shown["liveness"] = row.liveness().map_or(Value::Null, |Liveness { timestamp, expiry }| {
        let mut liveness = json!({ "timestamp": timestamp });
        if let Some(expiry) = expiry {
            put_expiry(&mut liveness, expiry);
        }
        liveness
    });
    shown
}

/// A cell; its value in hexadecimal when the type is not known.
fn show_cell(cell: &Cell, cql_type: Option<&CqlType>) -> Value {
    let show = |wire: &bytes::Bytes| cql_type.map_or_else(|| json!(hex(wire)), |cql_type| show_value(cql_type, wire));
    let mut shown = json!({ "timestamp": cell.timestamp });
    match &cell.state {
        CellState::Live(wire) => shown["value"] = show(wire),
        CellState::Expiring(expiry, wire) => {
            shown["value"] = wire.as_ref().map_or(Value::Null, show);
            put_expiry(&mut shown, *expiry);
        }
        CellState::Tombstone(seconds) => shown["deleted_at"] = json!(seconds),
    }
    shown
}

/// A column with a cell for each element: what names the element as it is stored, and its cell.
fn show_complex(column: &ComplexColumn, cql_type: Option<&CqlType>) -> Value {
    let elements = column.cells().iter().map(|(path, cell)| {
        let element_type = cql_type.and_then(|cql_type| match cql_type {
            CqlType::List { element, .. } => Some(element.as_ref()),
            CqlType::Map { entry, .. } => Some(&entry.1),
            CqlType::UserDefined { definition, .. } => {
                let index = u16::from_be_bytes(*path.first_chunk()?);
                definition.fields.get(usize::from(index)).map(|(_, field)| field)
            }
            _ => None,
        });
        let mut shown = show_cell(cell, element_type);
        shown["path"] = json!(hex(path));
        shown
    });
    let elements: Vec<Value> = elements.collect();
    let mut shown = json!({ "deletion": column.deletion().map(show_deletion), "elements": elements });
    if cql_type == Some(&CqlType::Counter) {
        shown["value"] = json!(counter::value(column));
    }
    shown
}

fn put_expiry(shown: &mut Value, expiry: Expiry) {
    shown["ttl"] = json!(expiry.ttl_seconds);
    shown["expires_at"] = json!(expiry.at_seconds);
}

fn show_deletion(deletion: Deletion) -> Value {
    json!({ "timestamp": deletion.timestamp, "deleted_at": deletion.local_seconds })
}

/// A bound of a range: its values in order, and the side of them on which it is.
fn show_bound(table: &Definition, bound: &bytes::Bytes) -> Value {
    match decode_bound(table, bound) {
        Ok((values, side)) => {
            let values = table.clustering().zip(values).map(|(column, wire)| show_value(&column.cql_type, &wire));
            let side = if side == BoundSide::Before { "before" } else { "after" };
            json!({ "values": values.collect::<Vec<_>>(), "side": side })
        }
        // One that is no prefix: as it is stored.
        Err(_) => json!({ "encoded": hex(bound) }),
    }
}

/// A value as CQL writes it in JSON; bytes that are none of the type, in hexadecimal.
fn show_value(cql_type: &CqlType, wire: &bytes::Bytes) -> Value {
    match CqlValue::from_wire(cql_type, wire) {
        Ok(value) => serde_json::from_str(&value.to_json()).unwrap_or_else(|_| json!(value.to_string())),
        Err(_) => json!({ "invalid": hex(wire) }),
    }
}

fn hex(bytes: &[u8]) -> String {
    format!("0x{}", bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}
