//! The command line, and the two commands that run nodes.

use clap::{Args, Parser, Subcommand, ValueEnum};
use server::config::{Config, DurabilityMode, LogFormat, Overrides};
use server::{DevOptions, Exit, ServerError, StartOptions};
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

const EXIT_CODES: &str = "\
Exit codes:
  0    success; for start and dev: a signal asked to stop, and everything acknowledged is on disk
  1    something failed; for shell: a statement failed
  2    the command line or the configuration is not valid
  3    start, dev: the data directory cannot be used (locked, of another cluster, of a newer format, damaged)
       shell, admin: the node cannot be reached
       inspect: something is damaged
  4    start, dev: an address or port is in use, or is not this machine's
  134  a defect stopped the process (SIGABRT)";

/// A distributed wide-column database.
#[derive(Debug, Parser)]
#[command(name = "helenus", version, about, after_help = EXIT_CODES, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run one node
    #[command(after_help = START_HELP)]
    Start(StartArguments),
    /// Run a whole cluster in one process, to try things out
    #[command(after_help = DEV_HELP)]
    Dev(DevArguments),
    /// Execute CQL, interactively or from a script
    #[command(after_help = SHELL_HELP)]
    Shell(ShellArguments),
    /// Ask a node about itself and its cluster
    #[command(after_help = ADMIN_HELP)]
    Admin(crate::admin::AdminArguments),
    /// Look into the data directory of a stopped node, or into a snapshot
    #[command(after_help = INSPECT_HELP)]
    Inspect(crate::inspect::InspectArguments),
    /// Let a cluster go on that has lost the majority of its metadata voters for good
    #[command(after_help = RECOVER_HELP)]
    RecoverMetadata(RecoverArguments),
    /// Put load on a cluster and measure it
    #[command(after_help = BENCH_HELP)]
    Bench {
        #[command(subcommand)]
        task: bench::Task,
    },
    /// Run the cluster's own code in a deterministic simulation with faults
    Sim(sim::cli::SimOptions),
}

const START_HELP: &str = "\
Examples:
  helenus start --config /etc/helenus.toml
  helenus start --data /tmp/n1 --listen 127.0.0.1 --seeds 127.0.0.1,127.0.0.2,127.0.0.3

Prints one line `ready ADDRESS` on standard output once it serves; logs go to standard error. SIGTERM and SIGINT
drain: requests in work are finished (10 seconds at most), everything acknowledged is synced, exit code 0.

Exit codes: 0 stopped by a signal, 1 failure, 2 configuration not valid, 3 data directory refused (in use by another
process, of another cluster, of a newer format, damaged), 4 address in use.";

const DEV_HELP: &str = "\
Examples:
  helenus dev --nodes 3
  helenus dev --nodes 3 --data ./cluster

The nodes are 127.0.0.1, 127.0.0.2 and so on, each with port 7042 for clients and 7000 for the other nodes. Prints one
line `ready ADDRESS ADDRESS ...` on standard output once all serve. Without --data everything is gone at the end.

Exit codes: as of `helenus start`.";

const SHELL_HELP: &str = "\
Examples:
  helenus shell
  helenus shell 127.0.0.2 -e \"SELECT * FROM demo.flights WHERE carrier = 'UA'\" --format json
  helenus shell -f schema.cql
  echo 'DESCRIBE KEYSPACES' | helenus shell

Exit codes: 0 all statements succeeded, 1 one failed (the rest is not executed), 2 usage, 3 no node can be reached.";

const ADMIN_HELP: &str = "\
Examples:
  helenus admin status
  helenus admin ring --host 127.0.0.2
  helenus admin info --json
  helenus admin metadata --log 20
  helenus admin storage
  helenus admin snapshot before-upgrade
  helenus admin clear-snapshot before-upgrade

Exit codes: 0 success, 1 the node refused, 2 usage, 3 the node cannot be reached.";

const INSPECT_HELP: &str = "\
Examples:
  helenus inspect /var/lib/helenus list
  helenus inspect /var/lib/helenus verify --json
  helenus inspect /var/lib/helenus metadata
  helenus inspect /var/lib/helenus/snapshots/before-upgrade dump shop.orders 42
  helenus inspect ./data dump demo.flights \"'UA'\" 2026

Changes nothing. Values of a key are CQL constants: text in its own quotes.

Exit codes: 0 success, 1 failure (a running node has the directory open, there is no such table), 2 usage, 3 something
is damaged: the file is named.";

const RECOVER_HELP: &str = "\
Examples:
  helenus inspect /var/lib/helenus metadata
  helenus recover-metadata /var/lib/helenus
  helenus recover-metadata /var/lib/helenus --yes

For a node that is stopped, of a cluster in which no majority of the voters (`helenus admin metadata`) can ever come
back. Run it on one node only: of those that are left the one with the highest epoch. The cluster goes on under a new
name with this node as its only voter, and takes in the others by itself. Nodes whose metadata log is longer cannot
follow. docs/operations.md has the procedure.

Exit codes: 0 recovered, 1 nothing was done since --yes is missing, 2 usage, 3 the data directory cannot be used.";

const BENCH_HELP: &str = "\
Examples:
  helenus bench write --seconds 10 --concurrency 128
  helenus bench read --rate 20000 --consistency QUORUM --json
  helenus bench mixed --read-percent 90 --hosts 127.0.0.1,127.0.0.2,127.0.0.3

Exit codes: 0 the load ran (errors of single operations are in the report), 1 it could not, 2 usage.";

/// Options of `start`: what differs per node goes before the file.
#[derive(Debug, Args)]
pub(crate) struct StartArguments {
    /// Configuration file (TOML); without it every setting has its default
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// IP address to listen on, for clients and other nodes
    #[arg(long, value_name = "IP")]
    listen: Option<String>,
    /// IP address under which others reach this node, if not the one listened on
    #[arg(long, value_name = "IP")]
    advertise: Option<String>,
    /// Nodes that found the cluster and by which it is joined; the same list on every node
    #[arg(long, value_name = "HOST[:PORT],...", value_delimiter = ',')]
    seeds: Option<Vec<String>>,
    /// Folder with everything that the node keeps
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Data centre of the node
    #[arg(long, value_name = "NAME")]
    data_center: Option<String>,
    /// Rack of the node
    #[arg(long, value_name = "NAME")]
    rack: Option<String>,
    /// Start although writes that were acknowledged as durable are missing from the log. Only for a node whose data
    /// nobody else has: others are rebuilt from their peers
    #[arg(long)]
    accept_data_loss: bool,
}

/// Options of `recover-metadata`.
#[derive(Debug, Args)]
pub(crate) struct RecoverArguments {
    /// Data directory of a stopped node
    directory: PathBuf,
    /// Do it; else it is only said what would be done
    #[arg(long)]
    yes: bool,
}

const NODES_MAX: i64 = server::DEV_NODES_MAX as i64;

/// Options of `dev`.
#[derive(Debug, Args)]
pub(crate) struct DevArguments {
    /// How many nodes
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=NODES_MAX))]
    nodes: u8,
    /// Over how many data centres, dc1, dc2, ..., they are spread
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=NODES_MAX))]
    data_centers: u8,
    /// Folder that keeps the data; without it the data is gone at the end
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// When a write is acknowledged
    #[arg(long, value_enum, default_value = "group")]
    durability: DurabilityArgument,
    /// What is logged: error, warn, info, debug, trace, or directives such as info,server=debug
    #[arg(long, default_value = "warn")]
    log_level: String,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum DurabilityArgument {
    /// Once it survives power loss
    Group,
    /// Once it survives power loss, and never waiting for other writes
    Batch,
    /// Once it survives the death of the process; synced every second
    Periodic,
}

/// Options of `shell`.
#[derive(Debug, Args)]
pub(crate) struct ShellArguments {
    /// Node to connect to first: HOST or HOST:PORT [default: 127.0.0.1]
    host: Option<String>,
    /// Execute these statements and end
    #[arg(short = 'e', long, value_name = "CQL", conflicts_with = "file", allow_hyphen_values = true)]
    execute: Option<String>,
    /// Execute the statements of this file and end
    #[arg(short = 'f', long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// How results are written
    #[arg(long, value_enum, default_value = "table")]
    format: FormatArgument,
    /// Keyspace to begin with
    #[arg(short = 'k', long, value_name = "NAME")]
    keyspace: Option<String>,
    /// File of settings in the form of cqlshrc
    #[arg(long, value_name = "FILE")]
    cqlshrc: Option<PathBuf>,
    /// How long a statement may take
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    request_timeout: Option<u64>,
    /// How long connecting to a node may take
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    connect_timeout: Option<u64>,
    /// Colours, whatever output is
    #[arg(short = 'C', long)]
    color: bool,
    /// No colours
    #[arg(long, conflicts_with = "color")]
    no_color: bool,
    /// Encoding of input and output: UTF-8
    #[arg(long, value_name = "NAME")]
    encoding: Option<String>,
    /// Show errors with all their parts
    #[arg(long)]
    debug: bool,
    /// User to log in as
    #[arg(short = 'u', long, value_name = "NAME")]
    username: Option<String>,
    /// Password to log in with; a file of settings shows it to fewer eyes
    #[arg(short = 'p', long)]
    password: Option<String>,
    /// Connect over TLS
    #[arg(long)]
    ssl: bool,
    /// Certificates of the authorities that TLS trusts, as PEM
    #[arg(long, value_name = "FILE")]
    ssl_ca: Option<PathBuf>,
    /// Certificate to show to nodes that want to see one, as PEM
    #[arg(long, value_name = "FILE", requires = "ssl_key")]
    ssl_cert: Option<PathBuf>,
    /// Its key, as PEM
    #[arg(long, value_name = "FILE", requires = "ssl_cert")]
    ssl_key: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum FormatArgument {
    /// For people
    Table,
    /// One array of objects for each result
    Json,
    /// Comma-separated, with the columns' names first
    Csv,
}

impl From<ShellArguments> for shell::ShellOptions {
    fn from(arguments: ShellArguments) -> shell::ShellOptions {
        let color = match (arguments.color, arguments.no_color) {
            (true, _) => Some(true),
            (_, true) => Some(false),
            _ => None,
        };
        shell::ShellOptions {
            host: arguments.host,
            execute: arguments.execute,
            file: arguments.file,
            format: match arguments.format {
                FormatArgument::Table => shell::Format::Table,
                FormatArgument::Json => shell::Format::Json,
                FormatArgument::Csv => shell::Format::Csv,
            },
            keyspace: arguments.keyspace,
            settings: arguments.cqlshrc,
            request_timeout: arguments.request_timeout.map(Duration::from_secs),
            connect_timeout: arguments.connect_timeout.map(Duration::from_secs),
            color,
            encoding: arguments.encoding,
            debug: arguments.debug,
            username: arguments.username,
            password: arguments.password,
            tls: arguments.ssl,
            tls_ca: arguments.ssl_ca,
            tls_certificate: arguments.ssl_cert,
            tls_key: arguments.ssl_key,
        }
    }
}

/// `helenus start`.
pub(crate) fn start(arguments: StartArguments) -> ExitCode {
    server::abort_on_panic();
    let overrides = Overrides {
        listen_address: arguments.listen,
        advertise_address: arguments.advertise,
        seeds: arguments.seeds,
        data_dir: arguments.data,
        data_center: arguments.data_center,
        rack: arguments.rack,
    };
    let config = match Config::load(arguments.config.as_deref(), overrides) {
        Ok(config) => config,
        Err(problems) => return ended(Err(ServerError::Config(problems))),
    };
    server::start_log(config.log_format, &config.log_level);
    let options = StartOptions { accept_data_loss: arguments.accept_data_loss };
    ended(server::run_node(config, options, |address| print_ready(&[address])))
}

/// `helenus dev`.
pub(crate) fn dev(arguments: DevArguments) -> ExitCode {
    server::abort_on_panic();
    server::start_log(LogFormat::Text, &arguments.log_level);
    let durability = match arguments.durability {
        DurabilityArgument::Group => DurabilityMode::Group,
        DurabilityArgument::Batch => DurabilityMode::Batch,
        DurabilityArgument::Periodic => DurabilityMode::Periodic,
    };
    let DevArguments { nodes, data_centers, data: data_dir, .. } = arguments;
    let options = DevOptions { nodes, data_centers, data_dir, durability };
    ended(server::run_dev(&options, print_ready))
}

/// `helenus recover-metadata`.
pub(crate) fn recover_metadata(arguments: &RecoverArguments) -> ExitCode {
    let show = |metadata: &client::admin::MetadataResponse| {
        let answer = crate::admin::metadata::show(metadata);
        // What is done is done, whoever reads of it.
        let _ = writeln!(std::io::stdout().lock(), "{}", answer.text);
    };
    let directory = &arguments.directory;
    if arguments.yes {
        return match server::recover_metadata(directory) {
            Ok(metadata) => {
                show(&metadata);
                ExitCode::SUCCESS
            }
            Err(error) => ended(Err(error)),
        };
    }
    match server::inspect_metadata(directory, crate::admin::metadata::ENTRIES as usize) {
        Ok(metadata) => {
            show(&metadata);
            crate::report(&format!(
                "nothing was done. With --yes the cluster goes on from entry {} under a new name, with node {} as its \
                 only voter. Entries that only lost nodes have are lost, and nodes that have one there cannot follow. \
                 Make sure that no majority of the voters above can come back, and that no node that is left has a \
                 higher epoch",
                metadata.epoch + 1,
                metadata.node_id
            ));
            ExitCode::FAILURE
        }
        Err(error) => ended(Err(error)),
    }
}

/// The line that scripts wait for.
fn print_ready(addresses: &[SocketAddr]) {
    let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    let mut out = std::io::stdout().lock();
    // A node whose standard output is closed serves all the same.
    let _ = writeln!(out, "ready {}", addresses.join(" ")).and_then(|()| out.flush());
}

fn ended(result: Result<(), ServerError>) -> ExitCode {
    let exit = match result {
        Ok(()) => Exit::Success,
        Err(error) => {
            crate::report(&error.to_string());
            error.exit()
        }
    };
    ExitCode::from(exit as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn seeds_are_a_list_and_file_and_statement_exclude_each_other() {
        let cli = Cli::try_parse_from(["helenus", "start", "--seeds", "127.0.0.1,127.0.0.2:7001"]).unwrap();
        let Command::Start(arguments) = cli.command else { panic!("start was asked for") };
        assert_eq!(arguments.seeds.unwrap(), ["127.0.0.1", "127.0.0.2:7001"]);
        assert!(Cli::try_parse_from(["helenus", "shell", "-e", "x", "-f", "y"]).is_err());
        assert!(Cli::try_parse_from(["helenus", "dev", "--nodes", "0"]).is_err());
    }
}
