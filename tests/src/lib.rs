//! End-to-end tests: real processes, real sockets, real disks. This library starts and stops the nodes; the
//! tests are in `tests/`, one binary with a module for each topic.
//!
//! Invariants: every process that is started here is stopped here, by its id; every cluster has loopback
//! addresses and a data folder of its own, so tests run side by side; when a test fails, the logs of its
//! nodes are printed, or kept where they are.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stderr,
    reason = "tests of the outside: they start processes and wait for them"
)]

pub mod corpus;
pub mod fault_proxy;
pub mod histories;
pub mod machine;
pub mod nemesis;
pub mod power_cut;
pub mod secured;
mod shim;
pub mod sick_disk;

use fault_proxy::{FaultProxy, Place};
use std::io::Write;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long anything may take before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Where nodes listen for each other.
pub(crate) const INTERNODE_PORT: u16 = 7000;

/// What is added to the last part of a node's address to make that of its proxy.
const PROXY: u8 = 100;

/// The binary under test.
///
/// # Panics
/// When it has not been built.
#[must_use]
pub fn binary() -> PathBuf {
    let test = std::env::current_exe().expect("a test has a path");
    let folder = test.parent().and_then(Path::parent).expect("tests lie two folders deep");
    let binary = folder.join("helenus");
    assert!(binary.exists(), "{} is missing: cargo build --release --package helenus", binary.display());
    binary
}

/// A command of the binary under test.
#[must_use]
pub fn helenus(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Runs a command to its end and returns its status and output.
///
/// # Panics
/// When it cannot be started.
#[must_use]
pub fn output(arguments: &[&str]) -> Output {
    helenus(arguments).output().expect("the binary starts")
}

/// An address block that no other test of this process or of one running beside it uses: 127.a.b.1 upwards.
fn block() -> [u8; 2] {
    static NEXT: AtomicU8 = AtomicU8::new(0);
    let process = std::process::id();
    [64 + (process % 128) as u8, ((process >> 7) as u8).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed))]
}

/// Addresses for so many nodes that no other test uses.
fn own_addresses(count: usize) -> Vec<Ipv4Addr> {
    let [a, b] = block();
    (1..=count).map(|node| Ipv4Addr::new(127, a, b, node as u8)).collect()
}

/// The address whose last part is so much greater.
fn further(address: Ipv4Addr, by: u8) -> Ipv4Addr {
    let [a, b, c, d] = address.octets();
    Ipv4Addr::new(a, b, c, d + by)
}

/// A cluster of real processes.
pub struct Cluster {
    // Before the folder: a node that is dropped prints its log, which is in there.
    nodes: Vec<Node>,
    folder: TempDir,
}

/// One node of a cluster.
pub struct Node {
    /// Its address.
    pub address: String,
    /// Its data folder.
    pub data: PathBuf,
    /// Its log, standard error of all its starts.
    pub log: PathBuf,
    /// What `helenus admin` needs besides the address.
    admin: Vec<String>,
    /// Options of `helenus start` that say where the node stands.
    place: Vec<String>,
    config: PathBuf,
    child: Option<Child>,
    /// True when the log stays where it is: then nobody needs it to be printed.
    kept: bool,
}

impl Cluster {
    /// A cluster of `count` nodes, all of them seeds, configured but not started. `settings` are lines of
    /// TOML added to the configuration of each.
    ///
    /// # Panics
    /// When the folders cannot be made.
    #[must_use]
    pub fn configured(count: usize, settings: &str) -> Cluster {
        Cluster::at(&own_addresses(count), 0, settings)
    }

    /// A cluster at these addresses, whose nodes are known to each other under addresses that end in `beyond` more.
    fn at(addresses: &[Ipv4Addr], beyond: u8, settings: &str) -> Cluster {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let advertised: Vec<Ipv4Addr> = addresses.iter().map(|address| further(*address, beyond)).collect();
        let seeds = advertised.iter().map(|address| format!("\"{address}\"")).collect::<Vec<_>>().join(", ");
        let config = folder.path().join("helenus.toml");
        let text = format!("seeds = [{seeds}]\nblock_cache_mb = 16\nwrite_buffer_mb = 32\n{settings}\n");
        std::fs::write(&config, text).expect("the configuration is written");
        let node = |(address, advertised): (&Ipv4Addr, Ipv4Addr)| {
            let address = address.to_string();
            let data = folder.path().join(&address);
            let log = folder.path().join(format!("{address}.log"));
            let place = vec!["--advertise".to_owned(), advertised.to_string()];
            let (admin, config) = (Vec::new(), config.clone());
            Node { address, data, log, admin, place, config, child: None, kept: false }
        };
        let nodes = addresses.iter().zip(advertised).map(node).collect();
        Cluster { folder, nodes }
    }

    /// A cluster, configured but not started, whose nodes reach each other through proxies of the test alone; so many
    /// in each of the data centres `dc1`, `dc2`, ....
    ///
    /// # Panics
    /// When the folders cannot be made, or the proxies not started.
    #[must_use]
    pub fn behind_proxies(data_centers: &[usize], settings: &str) -> (Cluster, FaultProxy) {
        let addresses = own_addresses(data_centers.iter().sum());
        let mut cluster = Cluster::at(&addresses, PROXY, settings);
        cluster.place(data_centers);
        let place = |own: &Ipv4Addr| Place { own: *own, advertised: further(*own, PROXY) };
        let proxy = FaultProxy::start(addresses.iter().map(place).collect());
        (cluster, proxy.expect("the addresses are the test's own"))
    }

    /// Puts so many nodes into each of the data centres `dc1`, `dc2`, ..., each on a rack of its own.
    fn place(&mut self, data_centers: &[usize]) {
        let places =
            data_centers.iter().enumerate().flat_map(|(center, nodes)| (0..*nodes).map(move |rack| (center, rack)));
        for (node, (center, rack)) in self.nodes.iter_mut().zip(places) {
            let (center, rack) = (format!("dc{}", center + 1), format!("rack{}", rack + 1));
            node.place.extend(["--data-center".to_owned(), center, "--rack".to_owned(), rack]);
        }
    }

    /// Leaves data and logs where they are when the cluster is dropped; the folder.
    pub fn keep(&mut self) -> &Path {
        self.folder.disable_cleanup(true);
        self.nodes.iter_mut().for_each(|node| node.kept = true);
        self.folder.path()
    }

    /// A cluster of `count` running nodes that all see each other.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn start(count: usize) -> Cluster {
        let mut cluster = Cluster::configured(count, "");
        for node in &mut cluster.nodes {
            node.start();
        }
        cluster.wait_up(count);
        cluster
    }

    /// A cluster of running nodes that all see each other, so many in each of the data centres `dc1`, `dc2`, ..., each
    /// on a rack of its own.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn across(data_centers: &[usize]) -> Cluster {
        let count = data_centers.iter().sum();
        let mut cluster = Cluster::configured(count, "");
        cluster.place(data_centers);
        for node in &mut cluster.nodes {
            node.start();
        }
        cluster.wait_up(count);
        cluster
    }

    /// The folder that everything of the cluster is in.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The node at an index.
    pub fn node(&mut self, index: usize) -> &mut Node {
        &mut self.nodes[index]
    }

    /// The addresses of all nodes.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.address.clone()).collect()
    }

    /// Waits until every running node sees `count` nodes up.
    ///
    /// # Panics
    /// When that does not happen in time, or a node ends.
    pub fn wait_up(&mut self, count: usize) {
        self.become_up(count).unwrap_or_else(|problem| panic!("{problem}"));
    }

    /// As [`Cluster::wait_up`].
    ///
    /// # Errors
    /// When that does not happen in time, or a node ends.
    pub fn become_up(&mut self, count: usize) -> Result<(), String> {
        self.each_becomes(&format!("{count} nodes are up"), |node| {
            let status = node.status()?;
            let nodes = status["nodes"].as_array()?;
            Some(nodes.iter().filter(|node| node["up"] == true).count() == count)
        })
    }

    /// Waits until no running node holds hints for another.
    ///
    /// # Panics
    /// When that does not happen in time, or a node ends.
    pub fn wait_no_hints(&mut self) {
        self.deliver_hints().unwrap_or_else(|problem| panic!("{problem}"));
    }

    /// As [`Cluster::wait_no_hints`].
    ///
    /// # Errors
    /// When that does not happen in time, or a node ends.
    pub fn deliver_hints(&mut self) -> Result<(), String> {
        self.each_becomes("no hints are pending", |node| {
            let status = node.status()?;
            let nodes = status["nodes"].as_array()?;
            Some(nodes.iter().all(|node| node["pending_hints"].as_u64().unwrap_or(0) == 0))
        })
    }

    fn each_becomes(&mut self, what: &str, ready: impl Fn(&Node) -> Option<bool>) -> Result<(), String> {
        let mut running = self.nodes.iter_mut().filter(|node| node.child.is_some());
        running.try_for_each(|node| node.becomes(what, &ready))
    }
}

impl Node {
    /// The command that starts the node.
    ///
    /// # Panics
    /// When its log cannot be opened.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = helenus(&["start", "--listen", &self.address]);
        command.arg("--config").arg(&self.config).arg("--data").arg(&self.data).args(&self.place);
        let log = std::fs::OpenOptions::new().create(true).append(true).open(&self.log);
        command.stdout(Stdio::null()).stderr(log.expect("the log opens"));
        command
    }

    /// Starts the process.
    ///
    /// # Panics
    /// When it runs already or cannot be started.
    pub fn start(&mut self) {
        let command = self.command();
        self.start_as(command);
    }

    /// Starts the process by a command of the caller's making.
    ///
    /// # Panics
    /// When it runs already or cannot be started.
    pub fn start_as(&mut self, mut command: Command) {
        assert!(self.child.is_none(), "{} runs already", self.address);
        self.child = Some(command.spawn().expect("the binary starts"));
    }

    /// The id of the running process.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Kills the process with SIGKILL.
    ///
    /// # Panics
    /// When it does not run.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("the node runs");
        child.kill().expect("the process is ours");
        child.wait().expect("the process is ours");
    }

    /// Sends SIGTERM and waits for the end.
    ///
    /// # Panics
    /// When it does not run.
    pub fn terminate(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("the node runs");
        signal(child.id(), "TERM");
        child.wait().expect("the process is ours")
    }

    /// Waits for the process to end by itself.
    ///
    /// # Panics
    /// When it does not run, or does not end in time.
    pub fn wait_end(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("the node runs");
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            if let Some(status) = child.try_wait().expect("the process is ours") {
                return status;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = child.kill();
        let _ = child.wait();
        panic!("{} did not end within {PATIENCE:?}\n{}", self.address, self.log_text());
    }

    /// How the process ended, if it has by itself.
    ///
    /// # Panics
    /// When it was not started.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        let child = self.child.as_mut().expect("the node was started");
        let status = child.try_wait().expect("the process is ours")?;
        self.child = None;
        Some(status)
    }

    /// What the node has logged.
    #[must_use]
    pub fn log_text(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// What the node says of the cluster; `None` while it does not answer.
    #[must_use]
    pub fn status(&self) -> Option<serde_json::Value> {
        let mut command = helenus(&["admin", "status", "--host", &self.address, "--json"]);
        let output = command.args(&self.admin).output().expect("the binary starts");
        serde_json::from_slice(&output.stdout).ok().filter(|_| output.status.success())
    }

    /// Waits until `ready` answers yes.
    ///
    /// # Panics
    /// When that does not happen in time, or the node ends.
    pub fn wait(&mut self, what: &str, ready: impl Fn(&Node) -> Option<bool>) {
        self.becomes(what, ready).unwrap_or_else(|problem| panic!("{problem}"));
    }

    /// As [`Node::wait`].
    fn becomes(&mut self, what: &str, ready: impl Fn(&Node) -> Option<bool>) -> Result<(), String> {
        let started = Instant::now();
        while ready(self) != Some(true) {
            let ended = self.child.as_mut().and_then(|child| child.try_wait().expect("the process is ours"));
            if let Some(status) = ended {
                return Err(format!("{} has ended with {status}, waiting until {what}", self.address));
            }
            if started.elapsed() >= PATIENCE {
                return Err(format!("{}: waiting until {what}, in vain for {PATIENCE:?}", self.address));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Runs CQL through the shell, on its standard input, and returns its outcome, with results as JSON.
    ///
    /// # Panics
    /// When the shell cannot be started.
    #[must_use]
    pub fn cql(&self, text: &str) -> Output {
        self.shell(&["--format", "json"], text)
    }

    /// Runs the shell with these arguments and this standard input, and returns its outcome.
    ///
    /// # Panics
    /// When the shell cannot be started.
    #[must_use]
    pub fn shell(&self, arguments: &[&str], input: &str) -> Output {
        let mut command = helenus(&["shell", &self.address]);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary starts");
        let mut pipe = child.stdin.take().expect("standard input is piped");
        // The shell may end before it has read everything.
        let _ = pipe.write_all(input.as_bytes());
        drop(pipe);
        child.wait_with_output().expect("the process is ours")
    }

    /// Runs CQL through the shell and returns the JSON of its last result.
    ///
    /// # Panics
    /// When it fails.
    #[must_use]
    pub fn rows(&self, text: &str) -> serde_json::Value {
        let output = self.cql(text);
        let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{text}\n{out}\n{error}");
        let last = out.lines().last().unwrap_or("null");
        serde_json::from_str(last).unwrap_or_else(|cause| panic!("{text}: {cause}\n{out}"))
    }
}

/// Sends a signal by name. The standard library can only kill; `kill` is a builtin of every shell.
///
/// # Panics
/// When the process does not exist.
pub fn signal(process: u32, name: &str) {
    let status = Command::new("sh").arg("-c").arg(format!("kill -{name} {process}")).status();
    assert!(status.expect("there is a shell").success(), "process {process} cannot be signalled");
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() && !self.kept {
            eprintln!("--- log of {}\n{}", self.address, self.log_text());
        }
    }
}
