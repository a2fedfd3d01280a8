//! `measure`: the benchmarks behind `cargo xtask bench`. Each prints its figures as a table or, with `--json`,
//! as one object of named numbers with their units in the names.
//!
//! What is compared is measured in one run, alternating, since machines are noisy: trust ratios.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a measuring tool: it runs processes and reads clocks"
)]

mod bare;
mod memory;
mod native_load;
mod nodes;
mod overload;
mod resident;
mod scale;
mod statements;
mod stores;
mod transactions;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use serde_json::{Map, Value};
use std::path::PathBuf;

/// As the product has.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Name {
    Storage,
    Memory,
    Query,
    Node,
    Cluster,
    Native,
    Lwt,
    Overload,
    Scale,
    /// Beside a Cassandra that runs
    Compare,
    All,
    /// A node that real ones are compared with: started by the others
    #[value(hide = true)]
    BareNode,
}

#[derive(Parser)]
struct Options {
    #[arg(value_enum)]
    name: Name,
    /// Seconds for each measurement
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// One JSON object instead of a table
    #[arg(long)]
    json: bool,
    /// The binary to measure
    #[arg(long, required_unless_present = "listen")]
    helenus: Option<PathBuf>,
    /// Of Cassandra: where it listens for clients
    #[arg(long, requires_all = ["cassandra_process", "cassandra_start_seconds"])]
    cassandra: Option<std::net::SocketAddr>,
    /// Its process
    #[arg(long)]
    cassandra_process: Option<u32>,
    /// How long it took to start
    #[arg(long)]
    cassandra_start_seconds: Option<f64>,
    /// Of a bare node: its address and port
    #[arg(long, hide = true, requires_all = ["peers", "data"])]
    listen: Option<String>,
    /// Of a bare node: those of the others
    #[arg(long, hide = true, value_delimiter = ',')]
    peers: Vec<String>,
    /// Of a bare node: its folder
    #[arg(long, hide = true)]
    data: Option<PathBuf>,
}

/// Names figures that are worse than the project promises, in `gates_missed`.
fn note_missed(figures: &mut Map<String, Value>, missed: impl IntoIterator<Item = String>) {
    let all = figures.entry("gates_missed").or_insert_with(|| Value::Array(Vec::new()));
    if let Value::Array(all) = all {
        all.extend(missed.into_iter().map(Value::String));
    }
}

fn main() -> Result<()> {
    // As the product does.
    storage::return_freed_memory();
    let options = Options::parse();
    if let (Name::BareNode, Some(listen), Some(data)) = (options.name, &options.listen, &options.data) {
        return bare::run_node(listen, &options.peers, data);
    }
    let helenus = options.helenus.as_deref().context("--helenus names the binary to measure")?;
    let wanted = |name| options.name == name || options.name == Name::All;
    let mut figures = Map::new();
    if wanted(Name::Storage) {
        stores::measure(options.seconds, &mut figures)?;
    }
    if wanted(Name::Query) {
        statements::measure(options.seconds, &mut figures)?;
    }
    // Alone: what other benchmarks leave in memory would count.
    if options.name == Name::Memory {
        memory::measure(&mut figures)?;
    }
    if wanted(Name::Node) {
        nodes::measure("node", 1, helenus, options.seconds, &mut figures)?;
    }
    // Alone: it takes the whole machine.
    if options.name == Name::Overload {
        overload::measure(helenus, options.seconds, &mut figures)?;
    }
    // Alone: a thousand nodes take minutes to join.
    if options.name == Name::Scale {
        scale::measure(&mut figures);
    }
    if wanted(Name::Native) {
        native_load::measure(helenus, options.seconds, &mut figures)?;
    }
    if options.name == Name::Compare {
        let (Some(address), Some(process), Some(start_seconds)) =
            (options.cassandra, options.cassandra_process, options.cassandra_start_seconds)
        else {
            anyhow::bail!("--cassandra, --cassandra-process and --cassandra-start-seconds say what to compare with");
        };
        let other = native_load::Other { address, process, start_seconds };
        native_load::compare(helenus, &other, options.seconds, &mut figures)?;
    }
    if wanted(Name::Cluster) {
        nodes::measure("cluster", 3, helenus, options.seconds, &mut figures)?;
    }
    if wanted(Name::Lwt) {
        transactions::measure(helenus, options.seconds, &mut figures)?;
    }
    if options.json {
        println!("{}", Value::Object(figures));
        return Ok(());
    }
    let mut table = comfy_table::Table::new();
    table.load_preset(comfy_table::presets::ASCII_MARKDOWN);
    table.set_header(["figure", "value"]);
    for (name, value) in &figures {
        let text = value.as_f64().filter(|_| value.is_f64()).map(|number| format!("{number:.2}"));
        table.add_row([name.clone(), text.unwrap_or_else(|| value.to_string())]);
    }
    println!("{table}");
    Ok(())
}
