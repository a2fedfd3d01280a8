//! A whole cluster in one process, for trying out and for tests of clients: the same nodes as `start`, on
//! 127.0.0.1 upwards.

use crate::boot::{Node, StartOptions};
use crate::config::{Config, DurabilityMode, LogFormat, RawConfig};
use crate::exit::ServerError;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// Most nodes: 127.0.0.1 to 127.0.0.64.
pub const NODES_MAX: u8 = 64;
/// More founders than this only slow the first start down.
const SEEDS_MAX: u8 = 3;
/// Memory for blocks and for write buffers of all nodes together, in MiB.
const MEMORY_MB: u64 = 256;

/// What `dev` is asked for.
#[derive(Clone, Debug)]
pub struct DevOptions {
    /// How many nodes; 1 to [`NODES_MAX`].
    pub nodes: u8,
    /// Over how many data centres, `dc1`, `dc2`, ..., they are spread in turns; 1 to `nodes`.
    pub data_centers: u8,
    /// Where their data is kept; none for a folder that is removed at the end.
    pub data_dir: Option<PathBuf>,
    /// When a write is acknowledged.
    pub durability: DurabilityMode,
}

/// A running cluster.
pub struct Cluster {
    nodes: Vec<Node>,
    /// Removed when dropped.
    _temporary: Option<tempfile::TempDir>,
}

fn address(index: u8) -> String {
    Ipv4Addr::new(127, 0, 0, index + 1).to_string()
}

fn configurations(options: &DevOptions, data_dir: &std::path::Path) -> Result<Vec<Config>, ServerError> {
    if !(1..=NODES_MAX).contains(&options.nodes) {
        let message = format!("{} is not between 1 and {NODES_MAX}", options.nodes);
        let problem = crate::config::ConfigError { subject: "nodes".to_owned(), message };
        return Err(ServerError::Config(vec![problem]));
    }
    if !(1..=options.nodes).contains(&options.data_centers) {
        let message = format!("{} is not between 1 and the number of nodes", options.data_centers);
        let problem = crate::config::ConfigError { subject: "data centres".to_owned(), message };
        return Err(ServerError::Config(vec![problem]));
    }
    let seeds: Vec<String> = (0..options.nodes.min(SEEDS_MAX)).map(address).collect();
    let memory = (MEMORY_MB / u64::from(options.nodes)).max(8);
    let config = |index: u8| {
        let raw = RawConfig {
            listen_address: Some(address(index)),
            seeds: Some(seeds.clone()),
            data_dir: Some(data_dir.join(format!("node{}", index + 1))),
            data_center: Some(format!("dc{}", index % options.data_centers + 1)),
            shards: Some(1),
            durability: Some(options.durability),
            block_cache_mb: Some(memory),
            write_buffer_mb: Some(memory),
            log_format: Some(LogFormat::Text),
            ..RawConfig::default()
        };
        Config::validate(raw).map_err(ServerError::Config)
    };
    (0..options.nodes).map(config).collect()
}

impl Cluster {
    /// Starts all nodes at once; they serve when it returns.
    ///
    /// # Errors
    /// As the first node that did not start.
    pub async fn start(options: &DevOptions) -> Result<Cluster, ServerError> {
        let temporary = match options.data_dir {
            Some(_) => None,
            None => {
                let created = tempfile::Builder::new().prefix("helenus-dev-").tempdir();
                Some(created.map_err(|cause| ServerError::Failure(format!("no temporary folder: {cause}")))?)
            }
        };
        let data_dir = match (&options.data_dir, &temporary) {
            (Some(path), _) => path.clone(),
            (None, Some(folder)) => folder.path().to_owned(),
            (None, None) => unreachable!("one of the two was just made"),
        };
        let configs = configurations(options, &data_dir)?;
        let starts = configs.into_iter().map(|config| tokio::spawn(Node::start(config, StartOptions::default())));
        let starts: Vec<_> = starts.collect();
        let mut cluster = Cluster { nodes: Vec::new(), _temporary: temporary };
        let mut failed = None;
        for start in starts {
            match start.await {
                Ok(Ok(node)) => cluster.nodes.push(node),
                Ok(Err(error)) => failed = failed.or(Some(error)),
                Err(cause) => failed = failed.or(Some(ServerError::Failure(format!("a node did not start: {cause}")))),
            }
        }
        if let Some(error) = failed {
            cluster.stop().await;
            return Err(error);
        }
        for node in &cluster.nodes {
            node.serving().await;
        }
        Ok(cluster)
    }

    /// Where clients reach the nodes.
    #[must_use]
    pub fn client_addresses(&self) -> Vec<SocketAddr> {
        self.nodes.iter().map(Node::client_address).collect()
    }

    /// Drains and stops all nodes, and removes the folder if it was a temporary one.
    pub async fn stop(self) {
        let stops: Vec<_> = self.nodes.into_iter().map(|node| tokio::spawn(node.stop())).collect();
        for stop in stops {
            let _ = stop.await;
        }
    }
}
