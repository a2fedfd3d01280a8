//! `helenus admin`: what one node knows of itself and of its cluster.

use clap::{Args, Subcommand};
use client::admin::{
    Admin, ChangeHintsRequest, DurabilityMode, HintsResponse, IndexStorage, InfoResponse, LargeItem, LargeKind,
    LevelStorage, RingResponse, SnapshotInfo, StatusResponse, StorageResponse, TableStorage, WritePressure,
};
use client::{ClientError, Security};
use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Value, json};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

#[path = "admin_metadata.rs"]
pub(crate) mod metadata;
#[path = "admin_repairs.rs"]
mod repairs;

/// Exit code: the node cannot be reached.
const UNREACHABLE: u8 = 3;
const TIMEOUT: Duration = Duration::from_secs(10);
/// For a snapshot everything that is in memory is written to files.
const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(600);

/// Options of `admin`.
#[derive(Debug, Args)]
pub(crate) struct AdminArguments {
    #[command(subcommand)]
    question: Question,
    /// Node to ask: HOST or HOST:PORT
    #[arg(long, global = true, default_value = "127.0.0.1")]
    host: String,
    /// Superuser to log in as, of a cluster where clients must; the password is read from a file
    #[arg(long, global = true, value_name = "NAME", requires = "password_file")]
    user: Option<String>,
    /// File with the password
    #[arg(long, global = true, value_name = "FILE", requires = "user")]
    password_file: Option<PathBuf>,
    /// Certificates of the authorities to trust, as PEM, of a node that speaks TLS
    #[arg(long, global = true, value_name = "FILE")]
    ssl_ca: Option<PathBuf>,
    /// Certificate to show to a node that wants to see one, as PEM
    #[arg(long, global = true, value_name = "FILE", requires = "ssl_key")]
    ssl_cert: Option<PathBuf>,
    /// Its key, as PEM
    #[arg(long, global = true, value_name = "FILE", requires = "ssl_cert")]
    ssl_key: Option<PathBuf>,
    /// One JSON object instead of a table
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Clone, Debug, Subcommand)]
enum Question {
    /// Every node, and whether it is up
    Status,
    /// Who owns which part of the ring
    Ring,
    /// The metadata log: who decides it, how far the members are, and its last entries
    Metadata {
        /// So many of the last entries
        #[arg(long, value_name = "COUNT", default_value_t = metadata::ENTRIES)]
        log: u32,
    },
    /// The node itself
    Info,
    /// The node's storage, table by table
    Storage,
    /// The writes that the node keeps for others: how many, and what it does with them
    Hints {
        #[command(subcommand)]
        change: Option<HintsChange>,
    },
    /// Make the replicas of a keyspace, a table or some tokens agree; waits until it is done
    Repair(repairs::RepairArguments),
    /// The repairs that the node runs or has run lately
    Repairs {
        #[command(subcommand)]
        change: Option<repairs::RepairsChange>,
    },
    /// Make a snapshot of everything that the node stores
    Snapshot {
        /// Its name: letters, digits, '_', '-' and '.'
        name: String,
    },
    /// The snapshots that the node has
    ListSnapshots,
    /// Remove a snapshot, or all of them
    ClearSnapshot {
        /// Which one
        #[arg(required_unless_present = "all")]
        name: Option<String>,
        /// All of them, those kept of dropped and truncated tables among them
        #[arg(long, conflicts_with = "name")]
        all: bool,
    },
}

/// What to change; until the node is started again.
#[derive(Clone, Debug, Subcommand)]
enum HintsChange {
    /// Deliver none, and keep them
    Pause,
    /// Deliver them again
    Resume,
    /// Write them again
    Enable {
        /// For nodes of this data centre only
        #[arg(long)]
        data_center: Option<String>,
    },
    /// Write none
    Disable {
        /// For nodes of this data centre only
        #[arg(long)]
        data_center: Option<String>,
    },
    /// Write them for so long after a node became unreachable
    Window {
        /// How long
        minutes: u64,
    },
    /// Send no more than this in a second
    Throttle {
        /// How much; 0 for as much as the others take
        kib: u64,
    },
    /// Forget them: the nodes that they are for will lack these writes until reads repair them
    Truncate {
        /// Those for this node, by its id
        #[arg(required_unless_present = "all")]
        node: Option<String>,
        /// Those for all nodes
        #[arg(long, conflicts_with = "node")]
        all: bool,
    },
}

impl HintsChange {
    fn request(&self) -> ChangeHintsRequest {
        let mut request = ChangeHintsRequest::default();
        match self.clone() {
            HintsChange::Pause => request.paused = Some(true),
            HintsChange::Resume => request.paused = Some(false),
            HintsChange::Enable { data_center: None } => request.enabled = Some(true),
            HintsChange::Disable { data_center: None } => request.enabled = Some(false),
            HintsChange::Enable { data_center: Some(name) } => request.enable_data_centers.push(name),
            HintsChange::Disable { data_center: Some(name) } => request.disable_data_centers.push(name),
            HintsChange::Window { minutes } => request.window_seconds = Some(minutes.saturating_mul(60)),
            HintsChange::Throttle { kib } => request.bytes_per_second = Some(kib.saturating_mul(1_024)),
            HintsChange::Truncate { node: Some(node), .. } => request.discard.push(node),
            HintsChange::Truncate { node: None, .. } => request.discard_all = true,
        }
        request
    }
}

/// The answer in both forms.
pub(crate) struct Answer {
    pub(crate) json: Value,
    pub(crate) text: String,
}

/// Asks, and writes the answer to standard output.
pub(crate) fn run(arguments: &AdminArguments) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return crate::failed(&error),
    };
    let security = match security(arguments) {
        Ok(security) => security,
        Err(error) => return crate::failed(&error),
    };
    let (answer, done) = match runtime.block_on(ask(&arguments.host, &arguments.question, &security)) {
        Ok(answer) => answer,
        Err(error) => {
            crate::report(&error.to_string());
            let refused = matches!(error, ClientError::Request(_));
            return if refused { ExitCode::FAILURE } else { ExitCode::from(UNREACHABLE) };
        }
    };
    let mut out = std::io::stdout().lock();
    let written = if arguments.json { writeln!(out, "{}", answer.json) } else { writeln!(out, "{}", answer.text) };
    match written.and_then(|()| out.flush()) {
        Ok(()) if !done => ExitCode::FAILURE,
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read it has read enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => crate::failed(&error),
    }
}

/// Whom to trust, and as whom to ask.
#[expect(clippy::disallowed_methods, reason = "the files of a tool's own command line")]
fn security(arguments: &AdminArguments) -> std::io::Result<Security> {
    let mut security = Security::default();
    if let Some(path) = &arguments.ssl_ca {
        security = security.trusting(&std::fs::read(path)?);
    }
    if let (Some(certificate), Some(key)) = (&arguments.ssl_cert, &arguments.ssl_key) {
        security = security.certified(&std::fs::read(certificate)?, &std::fs::read(key)?);
    }
    if let (Some(user), Some(path)) = (&arguments.user, &arguments.password_file) {
        security = security.login(user, std::fs::read_to_string(path)?.trim_end_matches(['\r', '\n']));
    }
    Ok(security)
}

/// The answer, and whether what was asked for was done.
async fn ask(host: &str, question: &Question, security: &Security) -> Result<(Answer, bool), ClientError> {
    let timeout = if matches!(question, Question::Snapshot { .. }) { SNAPSHOT_TIMEOUT } else { TIMEOUT };
    let mut admin = Admin::connect(host, timeout, security).await?;
    let answer = match question {
        Question::Status => show_status(&admin.status().await?),
        Question::Ring => show_ring(&admin.ring().await?),
        Question::Metadata { log } => metadata::show(&admin.metadata(*log).await?),
        Question::Info => show_info(&admin.info().await?),
        Question::Storage => show_storage(&admin.storage().await?),
        Question::Hints { change: None } => show_hints(&admin.hints().await?),
        Question::Hints { change: Some(change) } => show_hints(&admin.change_hints(change.request()).await?),
        Question::Repair(arguments) => return repairs::repair(&mut admin, arguments).await,
        Question::Repairs { change: None } => repairs::show(&admin.repairs().await?),
        Question::Repairs { change: Some(change) } => repairs::show(&admin.change_repairs(change.request()).await?),
        Question::Snapshot { name } => show_snapshots(&[admin.snapshot(name).await?]),
        Question::ListSnapshots => show_snapshots(&admin.snapshots().await?),
        Question::ClearSnapshot { name, .. } => {
            let removed = admin.clear_snapshots(name.as_deref()).await?;
            Answer { text: format!("{removed} removed"), json: json!({ "removed": removed }) }
        }
    };
    Ok((answer, true))
}

/// A table with this header; the columns at these positions hold numbers.
fn table(header: &[&str], numbers: &[usize]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(header.to_vec());
    for position in numbers {
        if let Some(column) = table.column_mut(*position) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn show_hints(hints: &HintsResponse) -> Answer {
    let mut rows = table(&["state", "address", "data centre", "hints", "node"], &[3]);
    for target in &hints.targets {
        let state = if target.internode_address.is_empty() { "left" } else { up_or_down(target.up) };
        rows.add_row([
            state.to_owned(),
            target.internode_address.clone(),
            target.data_center.clone(),
            target.hints.to_string(),
            target.node_id.clone(),
        ]);
    }
    let minutes = hints.window_seconds / 60;
    let written = match (hints.enabled, hints.disabled_data_centers.as_slice()) {
        (false, _) => "no".to_owned(),
        (true, []) => format!("for {minutes} minutes after a node became unreachable"),
        (true, names) => {
            format!("for {minutes} minutes after a node became unreachable, but not for {}", names.join(", "))
        }
    };
    let delivered = match (hints.paused, hints.bytes_per_second) {
        (true, _) => "paused".to_owned(),
        (false, 0) => "as fast as the others take them".to_owned(),
        (false, bytes) => format!("{} KiB in a second", bytes / 1_024),
    };
    let text = format!(
        "written: {written}\ndelivered: {delivered}\nsince the start: {} written, {} delivered, {} not written, {} \
         failed, {} discarded\nin files: {} bytes\n\n{rows}",
        hints.written, hints.delivered, hints.dropped, hints.failed, hints.discarded, hints.bytes
    );
    let targets = hints.targets.iter().map(|target| {
        json!({
            "node": target.node_id,
            "address": target.internode_address,
            "data_center": target.data_center,
            "up": target.up,
            "hints": target.hints,
        })
    });
    let json = json!({
        "enabled": hints.enabled,
        "paused": hints.paused,
        "disabled_data_centers": hints.disabled_data_centers,
        "window_seconds": hints.window_seconds,
        "bytes_per_second": hints.bytes_per_second,
        "bytes": hints.bytes,
        "written": hints.written,
        "delivered": hints.delivered,
        "dropped": hints.dropped,
        "failed": hints.failed,
        "discarded": hints.discarded,
        "targets": targets.collect::<Vec<_>>(),
    });
    Answer { json, text }
}

fn up_or_down(up: bool) -> &'static str {
    if up { "up" } else { "down" }
}

fn percent(per_mille: u32) -> String {
    format!("{}.{} %", per_mille / 10, per_mille % 10)
}

fn show_status(status: &StatusResponse) -> Answer {
    let header = ["state", "address", "data centre", "rack", "tokens", "owns", "epoch", "hints for it", "node"];
    let mut rows = table(&header, &[4, 5, 6, 7]);
    for node in &status.nodes {
        rows.add_row([
            if node.refuses_writes.is_empty() { up_or_down(node.up) } else { "refuses writes" }.to_owned(),
            node.client_address.clone(),
            node.data_center.clone(),
            node.rack.clone(),
            node.tokens.to_string(),
            percent(node.ownership_per_mille),
            node.epoch.to_string(),
            node.pending_hints.to_string(),
            node.id.clone(),
        ]);
    }
    let nodes = status.nodes.iter().map(|node| {
        json!({
            "id": node.id,
            "up": node.up,
            "client_address": node.client_address,
            "internode_address": node.internode_address,
            "data_center": node.data_center,
            "rack": node.rack,
            "tokens": node.tokens,
            "ownership_per_mille": node.ownership_per_mille,
            "epoch": node.epoch,
            "pending_hints": node.pending_hints,
            "refuses_writes": node.refuses_writes,
        })
    });
    let nodes: Vec<Value> = nodes.collect();
    let cluster = if status.cluster_id.is_empty() { "none yet" } else { status.cluster_id.as_str() };
    let running = match status.replication_change.as_str() {
        "" => String::new(),
        change => format!("\n{change}"),
    };
    let (id, epoch, change) = (&status.cluster_id, status.epoch, &status.replication_change);
    Answer {
        text: format!("cluster {cluster}, epoch {epoch}{running}\n{}", rows.trim_fmt()),
        json: json!({ "cluster_id": id, "epoch": epoch, "replication_change": change, "nodes": nodes }),
    }
}

fn show_ring(ring: &RingResponse) -> Answer {
    let mut rows = table(&["token", "state", "address", "data centre", "rack", "node"], &[0]);
    for entry in &ring.entries {
        rows.add_row([
            entry.token.to_string(),
            up_or_down(entry.up).to_owned(),
            entry.client_address.clone(),
            entry.data_center.clone(),
            entry.rack.clone(),
            entry.node_id.clone(),
        ]);
    }
    let entries = ring.entries.iter().map(|entry| {
        json!({
            // As text: a token has 64 bits, more than a number of JSON keeps.
            "token": entry.token.to_string(),
            "node_id": entry.node_id,
            "up": entry.up,
            "client_address": entry.client_address,
            "data_center": entry.data_center,
            "rack": entry.rack,
        })
    });
    let entries: Vec<Value> = entries.collect();
    Answer {
        text: format!("epoch {}\n{}", ring.epoch, rows.trim_fmt()),
        json: json!({ "epoch": ring.epoch, "entries": entries }),
    }
}

fn show_storage(storage: &StorageResponse) -> Answer {
    let header = [
        "table",
        "records",
        "bytes",
        "levels (files)",
        "memtables",
        "to compact",
        "deletions",
        "cache hits",
        "tombstones per read",
        "unswept for",
        "truncated",
    ];
    let mut rows = table(&header, &[1, 2, 4, 5, 6, 7, 8, 9, 10]);
    for table in &storage.tables {
        let levels: Vec<String> = table.levels.iter().map(|level| level.files.to_string()).collect();
        rows.add_row([
            format!("{}.{}", table.keyspace, table.name),
            table.estimated_records.to_string(),
            table.file_bytes.to_string(),
            levels.join("/"),
            table.memtable_bytes.to_string(),
            table.pending_compaction_bytes.to_string(),
            table.deletion_bytes.to_string(),
            hit_rate(table).map_or_else(|| "-".to_owned(), percent),
            tombstones_per_read(table).map_or_else(|| "-".to_owned(), |per_read| per_read.to_string()),
            table.garbage_lag_seconds.map_or_else(|| "-".to_owned(), |seconds| format!("{seconds} s")),
            table.generation.to_string(),
        ]);
    }
    let tables: Vec<Value> = storage.tables.iter().map(table_json).collect();
    let pressure = match storage.pressure() {
        WritePressure::Free => "free",
        WritePressure::Slowed => "slowed",
        WritePressure::Refusing => "refusing",
        WritePressure::Unspecified => "unknown",
    };
    let node = json!({
        "durability": durability(storage.durability()),
        "latest_sequence": storage.latest_sequence,
        "synced_sequence": storage.synced_sequence,
        "log_bytes": storage.log_bytes,
        "hint_bytes": storage.hint_bytes,
        "hints": storage.hints.values().sum::<u64>(),
        "memtable_bytes": storage.memtable_bytes,
        "block_cache_bytes": storage.block_cache_bytes,
        "pending_compaction_bytes": storage.pending_compaction_bytes,
        "pressure": pressure,
        "refused_writes": storage.refused_writes,
        "disk_is_full": storage.disk_is_full,
        "closed": storage.closed,
    });
    let below = show_indexes(storage) + &show_largest(storage);
    let text = format!("{}\n\n{}{below}", name_and_value(&node).trim_fmt(), rows.trim_fmt());
    let mut json = node;
    json["tables"] = Value::from(tables);
    json["hints_by_node"] = json!(storage.hints);
    Answer { text, json }
}

/// The indexes, below the tables; nothing when there are none.
fn show_indexes(storage: &StorageResponse) -> String {
    let mut rows = table(&["table", "index", "built"], &[2]);
    for table in &storage.tables {
        for index in &table.indexes {
            let name = format!("{}.{}", table.keyspace, table.name);
            rows.add_row([name, index.name.clone(), percent(index.built_per_mille)]);
        }
    }
    if rows.row_count() == 0 { String::new() } else { format!("\n\n{}", rows.trim_fmt()) }
}

/// What is larger than is good, below the tables; nothing when nothing is.
fn show_largest(storage: &StorageResponse) -> String {
    let mut rows = table(&["table", "large", "size", "token", "partition", "row", "column"], &[2, 3]);
    for table in &storage.tables {
        for large in &table.largest {
            rows.add_row([
                format!("{}.{}", table.keyspace, table.name),
                large_kind(large.kind()).to_owned(),
                large.size.to_string(),
                large.token.to_string(),
                hex(&large.partition),
                hex(&large.clustering),
                large.column.clone(),
            ]);
        }
    }
    if rows.row_count() == 0 { String::new() } else { format!("\n\n{}", rows.trim_fmt()) }
}

/// Of 1,000 reads, those that memory answered; none when there was no read.
fn hit_rate(table: &TableStorage) -> Option<u32> {
    let reads = table.cached_reads + table.missed_reads;
    (table.cached_reads * 1_000).checked_div(reads).and_then(|rate| u32::try_from(rate).ok())
}

/// Tombstones that a read passed on average, rounded; none when there was no read.
fn tombstones_per_read(table: &TableStorage) -> Option<u64> {
    let reads = table.cached_reads + table.missed_reads;
    table.tombstones_read.saturating_add(reads / 2).checked_div(reads)
}

fn large_kind(kind: LargeKind) -> &'static str {
    match kind {
        LargeKind::Partition => "partition",
        LargeKind::Row => "row",
        LargeKind::Cell => "value",
        LargeKind::Collection => "collection",
        LargeKind::Tombstones => "tombstones",
        LargeKind::Unspecified => "unknown",
    }
}

/// Bytes as CQL writes a blob; empty for none.
fn hex(bytes: &[u8]) -> String {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    if digits.is_empty() { digits } else { format!("0x{digits}") }
}

fn large_json(large: &LargeItem) -> Value {
    json!({
        "kind": large_kind(large.kind()),
        "size": large.size,
        "token": large.token,
        "partition": hex(&large.partition),
        "clustering": hex(&large.clustering),
        "column": large.column,
    })
}

fn table_json(table: &TableStorage) -> Value {
    let level = |level: &LevelStorage| json!({ "files": level.files, "bytes": level.bytes });
    let index = |index: &IndexStorage| json!({ "name": index.name, "built_per_mille": index.built_per_mille });
    json!({
        "keyspace": table.keyspace,
        "name": table.name,
        "id": table.id,
        "generation": table.generation,
        "estimated_records": table.estimated_records,
        "file_bytes": table.file_bytes,
        "deletion_bytes": table.deletion_bytes,
        "levels": table.levels.iter().map(level).collect::<Vec<_>>(),
        "memtable_bytes": table.memtable_bytes,
        "waiting_memtables": table.waiting_memtables,
        "pending_compaction_bytes": table.pending_compaction_bytes,
        "cached_reads": table.cached_reads,
        "missed_reads": table.missed_reads,
        "cache_hits_per_mille": hit_rate(table),
        "tombstones_read": table.tombstones_read,
        "garbage_lag_seconds": table.garbage_lag_seconds,
        "garbage_rows_examined": table.garbage_rows_examined,
        "largest": table.largest.iter().map(large_json).collect::<Vec<_>>(),
        "indexes": table.indexes.iter().map(index).collect::<Vec<_>>(),
    })
}

fn show_snapshots(snapshots: &[SnapshotInfo]) -> Answer {
    let mut rows = table(&["name", "created", "bytes", "own bytes", "of"], &[2, 3]);
    for snapshot in snapshots {
        rows.add_row([
            snapshot.name.clone(),
            created(snapshot),
            snapshot.bytes.to_string(),
            snapshot.own_bytes.to_string(),
            snapshot.content.clone(),
        ]);
    }
    let json = snapshots.iter().map(|snapshot| {
        json!({
            "name": snapshot.name,
            "created": created(snapshot),
            "bytes": snapshot.bytes,
            "own_bytes": snapshot.own_bytes,
            "of": snapshot.content,
        })
    });
    Answer { text: rows.trim_fmt(), json: json!({ "snapshots": json.collect::<Vec<_>>() }) }
}

/// When it was made, as CQL writes a timestamp.
fn created(snapshot: &SnapshotInfo) -> String {
    let millis = i64::try_from(snapshot.created_seconds).unwrap_or(i64::MAX / 1_000).saturating_mul(1_000);
    client::Value::Timestamp(millis).to_string()
}

fn durability(mode: DurabilityMode) -> &'static str {
    match mode {
        DurabilityMode::Sync => "group",
        DurabilityMode::Periodic => "periodic",
        DurabilityMode::Batch => "batch",
        DurabilityMode::Unspecified => "unknown",
    }
}

/// The fields of an object, one in each row.
fn name_and_value(object: &Value) -> Table {
    let mut rows = table(&[], &[]);
    for (name, value) in object.as_object().into_iter().flatten() {
        let value = match value {
            Value::String(text) => text.clone(),
            Value::Array(items) => items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "),
            other => other.to_string(),
        };
        rows.add_row([name.replace('_', " "), value]);
    }
    rows
}

fn show_info(info: &InfoResponse) -> Answer {
    let storage = info.storage.clone().unwrap_or_default();
    let mut json = json!({
        "version": info.version,
        "node_id": info.node_id,
        "cluster_id": info.cluster_id,
        "client_address": info.client_address,
        "internode_address": info.internode_address,
        "data_center": info.data_center,
        "rack": info.rack,
        "data_directory": info.data_directory,
        "uptime_millis": info.uptime_millis,
        "epoch": info.epoch,
        "voters": info.voters,
        "shards": info.shards,
        "durability": durability(info.durability()),
        "requests_served": info.requests_served,
        "requests_failed": info.requests_failed,
        "hints_written": info.hints_written,
        "hints_delivered": info.hints_delivered,
        "read_repairs": info.read_repairs,
        "table_bytes": storage.table_bytes,
        "log_bytes": storage.log_bytes,
        "hint_bytes": storage.hint_bytes,
        "memtable_bytes": storage.memtable_bytes,
        "block_cache_bytes": storage.block_cache_bytes,
        "estimated_records": storage.estimated_records,
        "refuses_writes": storage.refuses_writes,
        "background_errors": storage.background_errors,
        "reads_failed": storage.reads_failed,
        "hints_damaged": storage.hints_damaged,
    });
    if let Some(figures) = json.as_object_mut() {
        figures.extend(info.counters.iter().map(|(name, sum)| (name.clone(), Value::from(*sum))));
    }
    Answer { text: name_and_value(&json).trim_fmt(), json }
}
