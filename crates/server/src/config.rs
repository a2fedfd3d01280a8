//! The settings of a node: one TOML file, and flags for what differs per node.
//!
//! Invariants:
//! * Every setting that is accepted has an effect; an unknown key is refused.
//! * A [`Config`] is valid: whoever has one need not check it again. [`Config::load`] reports every problem
//!   at once, each with the key that it is about.
//! * Every setting has a default that a production node can keep; the default listens on loopback only.

use query::BatchLimits;
use serde::Deserialize;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tracing_subscriber::filter::{LevelFilter, Targets};

/// The port of the gRPC API when none is named.
pub const GRPC_PORT_DEFAULT: u16 = 7042;
/// The port of the CQL native protocol when none is named.
pub const NATIVE_PORT_DEFAULT: u16 = 9042;
/// The port for other nodes when none is named.
pub const INTERNODE_PORT_DEFAULT: u16 = 7000;

/// The file as it is written; every key is optional. See `docs/configuration.md`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawConfig {
    /// IP address on which the node listens, for clients and for nodes. Default: `127.0.0.1`.
    pub listen_address: Option<String>,
    /// IP address under which other nodes and clients reach this node. Default: the listen address; required
    /// when that is a wildcard.
    pub advertise_address: Option<String>,
    /// Port of the gRPC API. Default: 7042.
    pub grpc_port: Option<u16>,
    /// Port of the CQL native protocol. Default: 9042.
    pub native_port: Option<u16>,
    /// Port for other nodes. Default: 7000.
    pub internode_port: Option<u16>,
    /// `HOST` or `HOST:INTERNODE_PORT` of the nodes that found the cluster and that others join by; the same
    /// list on every node. Default: this node alone.
    pub seeds: Option<Vec<String>>,
    /// Folder with everything that the node keeps. Default: `/var/lib/helenus`.
    pub data_dir: Option<PathBuf>,
    /// Data centre of the node. Default: `dc1`.
    pub data_center: Option<String>,
    /// Rack of the node within its data centre. Default: `rack1`.
    pub rack: Option<String>,
    /// Tokens that a node takes when it joins. Default: 16.
    pub num_tokens: Option<u32>,
    /// Shard loops, and worker threads for them and the network. Default: a quarter of the processors, at
    /// least one.
    pub shards: Option<u16>,
    /// When a write is acknowledged. Default: `group`.
    pub durability: Option<DurabilityMode>,
    /// With `durability = "group"`: microseconds for which a group of writes waits for more. Default: 0.
    pub group_window_us: Option<u64>,
    /// With `durability = "periodic"`: milliseconds between two syncs. Default: 1000.
    pub periodic_sync_ms: Option<u64>,
    /// Memory for blocks of table files, in MiB. Default: 256.
    pub block_cache_mb: Option<u64>,
    /// Memory for writes that are not yet in table files, in MiB. Default: 256.
    pub write_buffer_mb: Option<u64>,
    /// Whether a snapshot is kept of tables that are dropped or truncated. Default: true.
    pub auto_snapshot: Option<bool>,
    /// Tombstones that a replica passes for one page before it is logged. Default: 1000.
    pub tombstone_warn: Option<u32>,
    /// Tombstones beyond which a page is refused. Default: 100000.
    pub tombstone_fail: Option<u32>,
    /// KiB of a batch over several partitions that is answered with a warning when it is larger. Default: 5.
    pub batch_warn_kb: Option<u32>,
    /// KiB of a batch over several partitions that is refused when it is larger. Default: 50.
    pub batch_max_kb: Option<u32>,
    /// Milliseconds until a request that names no timeout fails. Default: 5000.
    pub request_timeout_ms: Option<u64>,
    /// Requests that the node works on at once; more are refused as overload. Default: 16384.
    pub requests_max: Option<u32>,
    /// Milliseconds that a request may wait before it is begun; one that would wait for longer is refused as overload
    /// when it comes. Default: 2500.
    pub queue_wait_max_ms: Option<u64>,
    /// Connections of the CQL native protocol at once; more are closed. Default: 20000.
    pub native_connections_max: Option<u32>,
    /// Longest message of a client of the CQL native protocol, in MiB. Default: 16.
    pub native_frame_mb: Option<u32>,
    /// File with the certificate of the node, and those between it and an authority, as PEM. With it clients, of both
    /// protocols, must speak TLS. Default: none.
    pub tls_certificate: Option<PathBuf>,
    /// File with the key of the certificate, as PEM.
    pub tls_key: Option<PathBuf>,
    /// File with the certificates of authorities, as PEM, by one of which clients must be certified. Default: none.
    pub tls_client_ca: Option<PathBuf>,
    /// File with the password of `cassandra`, the superuser of a cluster that has no other. With it clients, of both
    /// protocols, must log in; all nodes have the same. Default: none.
    pub superuser_password_file: Option<PathBuf>,
    /// Minutes for which writes for an unreachable node are kept. Default: 180.
    pub hint_window_minutes: Option<u64>,
    /// Hours within which every range of tokens is repaired; 0 for only when an operator asks. Default: 72.
    pub repair_interval_hours: Option<u64>,
    /// MiB that a repair compares in a second; 0 for as many as the replicas can. Default: 32.
    pub repair_mb_per_second: Option<u64>,
    /// Form of the log on standard error. Default: `text`.
    pub log_format: Option<LogFormat>,
    /// What is logged: `error`, `warn`, `info`, `debug`, `trace`, or directives such as
    /// `info,server=debug`. Default: `info`.
    pub log_level: Option<String>,
}

/// When a write is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DurabilityMode {
    /// After it is synced to disk, together with everything else that waits.
    #[default]
    Group,
    /// The same, and a group never waits for more.
    Batch,
    /// After the operating system has it; syncs follow at intervals.
    Periodic,
}

/// The form of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// How writes become durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Every group of writes is synced before it is acknowledged; it waits so long for more.
    Group(Duration),
    /// What waits is synced at once, before it is acknowledged.
    Batch,
    /// Writes are acknowledged unsynced; a sync follows at this interval.
    Periodic(Duration),
}

/// What a flag of `start` sets in place of the file.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `--listen`.
    pub listen_address: Option<String>,
    /// `--advertise`.
    pub advertise_address: Option<String>,
    /// `--seeds`.
    pub seeds: Option<Vec<String>>,
    /// `--data`.
    pub data_dir: Option<PathBuf>,
    /// `--data-center`.
    pub data_center: Option<String>,
    /// `--rack`.
    pub rack: Option<String>,
}

/// The validated settings of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where the gRPC API listens.
    pub grpc_listen: SocketAddr,
    /// Where the CQL native protocol listens.
    pub native_listen: SocketAddr,
    /// Where other nodes are listened to.
    pub internode_listen: SocketAddr,
    /// What clients are told to connect to.
    pub grpc_advertise: SocketAddr,
    /// What clients of the CQL native protocol are told to connect to.
    pub native_advertise: SocketAddr,
    /// What other nodes are told to connect to.
    pub internode_advertise: SocketAddr,
    /// Internode addresses of the seeds, ascending, without doubles; never empty.
    pub seeds: Vec<SocketAddr>,
    /// Folder with everything that the node keeps.
    pub data_dir: PathBuf,
    /// Data centre of the node.
    pub data_center: String,
    /// Rack of the node.
    pub rack: String,
    /// Tokens to take on joining; at least 1.
    pub num_tokens: u32,
    /// Shard loops and worker threads; at least 1.
    pub shards: u16,
    /// When a write is acknowledged.
    pub durability: Durability,
    /// Bytes of the block cache.
    pub block_cache_bytes: usize,
    /// Bytes of all write buffers.
    pub write_buffer_bytes: usize,
    /// A snapshot is kept of tables that are dropped or truncated.
    pub auto_snapshot: bool,
    /// Tombstones of one page that are logged.
    pub tombstone_warn: u32,
    /// Tombstones beyond which a page is refused; at least `tombstone_warn`.
    pub tombstone_fail: u32,
    /// How large batches over several partitions may be.
    pub batch_limits: BatchLimits,
    /// For requests that name none.
    pub request_timeout: Duration,
    /// Requests in work on this node at once.
    pub requests_max: u32,
    /// For how long a request may wait before it is begun.
    pub queue_wait_max: Duration,
    /// Connections of the CQL native protocol at once.
    pub native_connections_max: usize,
    /// Bytes of the longest message of one.
    pub native_frame_bytes: usize,
    /// TLS towards clients.
    pub tls: Option<TlsFiles>,
    /// The password of the first superuser, if clients must log in.
    pub superuser_password_file: Option<PathBuf>,
    /// For how long hints are kept.
    pub hint_window: Duration,
    /// Within which time every range is repaired unasked; `None` for never.
    pub repair_interval: Option<Duration>,
    /// Bytes that a repair compares in a second; 0 for no limit.
    pub repair_bytes_per_second: u64,
    /// Form of the log.
    pub log_format: LogFormat,
    /// Directives of the log.
    pub log_level: String,
}

impl Config {
    /// What the node goes by, under the names that the file has for it. Of the password only its file is shown.
    #[must_use]
    pub fn settings(&self) -> Vec<(String, String)> {
        let mib = |bytes: usize| (bytes >> 20).to_string();
        let file = |path: Option<&PathBuf>| path.map(|path| path.display().to_string()).unwrap_or_default();
        let (durability, group_window_us, periodic_sync_ms) = match self.durability {
            Durability::Group(window) => ("group", window.as_micros().to_string(), String::new()),
            Durability::Batch => ("batch", String::new(), String::new()),
            Durability::Periodic(interval) => ("periodic", String::new(), interval.as_millis().to_string()),
        };
        let log_format = if self.log_format == LogFormat::Json { "json" } else { "text" };
        let tls = self.tls.as_ref();
        let seeds: Vec<String> = self.seeds.iter().map(SocketAddr::to_string).collect();
        let settings = [
            ("listen_address", self.grpc_listen.ip().to_string()),
            ("advertise_address", self.grpc_advertise.ip().to_string()),
            ("grpc_port", self.grpc_listen.port().to_string()),
            ("native_port", self.native_listen.port().to_string()),
            ("internode_port", self.internode_listen.port().to_string()),
            ("seeds", seeds.join(", ")),
            ("data_dir", self.data_dir.display().to_string()),
            ("data_center", self.data_center.clone()),
            ("rack", self.rack.clone()),
            ("num_tokens", self.num_tokens.to_string()),
            ("shards", self.shards.to_string()),
            ("durability", durability.to_owned()),
            ("group_window_us", group_window_us),
            ("periodic_sync_ms", periodic_sync_ms),
            ("block_cache_mb", mib(self.block_cache_bytes)),
            ("write_buffer_mb", mib(self.write_buffer_bytes)),
            ("auto_snapshot", self.auto_snapshot.to_string()),
            ("tombstone_warn", self.tombstone_warn.to_string()),
            ("tombstone_fail", self.tombstone_fail.to_string()),
            ("batch_warn_kb", (self.batch_limits.bytes_warned >> 10).to_string()),
            ("batch_max_kb", (self.batch_limits.bytes_max >> 10).to_string()),
            ("request_timeout_ms", self.request_timeout.as_millis().to_string()),
            ("requests_max", self.requests_max.to_string()),
            ("queue_wait_max_ms", self.queue_wait_max.as_millis().to_string()),
            ("native_connections_max", self.native_connections_max.to_string()),
            ("native_frame_mb", mib(self.native_frame_bytes)),
            ("tls_certificate", file(tls.map(|tls| &tls.certificate))),
            ("tls_key", file(tls.map(|tls| &tls.key))),
            ("tls_client_ca", file(tls.and_then(|tls| tls.client_ca.as_ref()))),
            ("superuser_password_file", file(self.superuser_password_file.as_ref())),
            ("hint_window_minutes", (self.hint_window.as_secs() / 60).to_string()),
            ("repair_interval_hours", (self.repair_interval.unwrap_or_default().as_secs() / 3_600).to_string()),
            ("repair_mb_per_second", (self.repair_bytes_per_second >> 20).to_string()),
            ("log_format", log_format.to_owned()),
            ("log_level", self.log_level.clone()),
        ];
        settings.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

/// The files by which a node speaks TLS; what is in them is checked when it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The chain of certificates, from the node's own on.
    pub certificate: PathBuf,
    /// The key of the first.
    pub key: PathBuf,
    /// The authorities of clients that must have certificates.
    pub client_ca: Option<PathBuf>,
}

/// One thing that is wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The key, or the file.
    pub subject: String,
    /// What is wrong with it, and what would be right.
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.subject, self.message)
    }
}

/// Limits of settings. Each relation is one that the rest of the node relies on.
mod limit {
    /// Cassandra's own upper bound is 1536 for all purposes; beyond this allocation gains nothing.
    pub(super) const NUM_TOKENS: std::ops::RangeInclusive<u32> = 1..=256;
    /// The index of a shard is part of every operation's id; more shards than processors only cost.
    pub(super) const SHARDS: std::ops::RangeInclusive<u16> = 1..=256;
    /// Beyond ten milliseconds nobody gains: a sync of a slow disk takes that long.
    pub(super) const WINDOW_US: std::ops::RangeInclusive<u64> = 0..=10_000;
    pub(super) const SYNC_MS: std::ops::RangeInclusive<u64> = 10..=60_000;
    pub(super) const BLOCK_CACHE_MB: std::ops::RangeInclusive<u64> = 1..=1_048_576;
    pub(super) const WRITE_BUFFER_MB: std::ops::RangeInclusive<u64> = 8..=65_536;
    /// All of it is kept in memory, several times, and by other nodes too.
    pub(super) const BATCH_KB: std::ops::RangeInclusive<u32> = 1..=16_384;
    pub(super) const TOMBSTONES: std::ops::RangeInclusive<u32> = 1..=u32::MAX;
    pub(super) const TIMEOUT_MS: std::ops::RangeInclusive<u64> = 10..=600_000;
    pub(super) const REQUESTS: std::ops::RangeInclusive<u32> = 16..=1_000_000;
    pub(super) const QUEUE_WAIT_MS: std::ops::RangeInclusive<u64> = 1..=60_000;
    pub(super) const CONNECTIONS: std::ops::RangeInclusive<u32> = 1..=1_000_000;
    /// The protocol's own limit is 256 MiB.
    pub(super) const FRAME_MB: std::ops::RangeInclusive<u32> = 1..=256;
    pub(super) const HINT_MINUTES: std::ops::RangeInclusive<u64> = 0..=44_640;
    pub(super) const REPAIR_HOURS: std::ops::RangeInclusive<u64> = 0..=8_760;
    pub(super) const REPAIR_MB: std::ops::RangeInclusive<u64> = 0..=65_536;
    pub(super) const NAME_BYTES: usize = 128;
}

impl Config {
    /// Reads `file` (none for the defaults), puts `overrides` in place, and checks everything.
    ///
    /// # Errors
    /// Every problem that was found, not only the first.
    pub fn load(file: Option<&Path>, overrides: Overrides) -> Result<Config, Vec<ConfigError>> {
        let mut raw = match file {
            None => RawConfig::default(),
            Some(path) => {
                let subject = path.display().to_string();
                let error = |message: String| vec![ConfigError { subject: subject.clone(), message }];
                let text = std::fs::read_to_string(path).map_err(|cause| error(format!("cannot read: {cause}")))?;
                toml::from_str(&text).map_err(|cause| error(cause.to_string().trim_end().to_owned()))?
            }
        };
        raw.listen_address = overrides.listen_address.or(raw.listen_address);
        raw.advertise_address = overrides.advertise_address.or(raw.advertise_address);
        raw.seeds = overrides.seeds.or(raw.seeds);
        raw.data_dir = overrides.data_dir.or(raw.data_dir);
        raw.data_center = overrides.data_center.or(raw.data_center);
        raw.rack = overrides.rack.or(raw.rack);
        Config::validate(raw)
    }

    /// Fills in the defaults and checks everything.
    ///
    /// # Errors
    /// Every problem that was found, not only the first.
    pub fn validate(raw: RawConfig) -> Result<Config, Vec<ConfigError>> {
        let mut check = Check::default();
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let listen = check.address("listen_address", raw.listen_address.as_deref(), loopback);
        let advertise = check.address("advertise_address", raw.advertise_address.as_deref(), listen);
        if advertise.is_unspecified() {
            let message = "a wildcard cannot be advertised: name the address under which others reach this node";
            check.problem("advertise_address", message);
        }
        let grpc_port = check.port("grpc_port", raw.grpc_port, GRPC_PORT_DEFAULT);
        let internode_port = check.port("internode_port", raw.internode_port, INTERNODE_PORT_DEFAULT);
        let native_port = check.port("native_port", raw.native_port, NATIVE_PORT_DEFAULT);
        if grpc_port == internode_port {
            check.problem("internode_port", format!("{internode_port} is the grpc_port too: they must differ"));
        }
        if [grpc_port, internode_port].contains(&native_port) {
            check.problem("native_port", format!("{native_port} is another port of the node too: they must differ"));
        }
        let internode_advertise = SocketAddr::new(advertise, internode_port);
        let seeds = check.seeds(raw.seeds, internode_advertise);
        let mode = raw.durability.unwrap_or_default();
        let durability = check.durability(mode, raw.group_window_us, raw.periodic_sync_ms);
        let tombstone_warn = check.within("tombstone_warn", raw.tombstone_warn, 1_000, limit::TOMBSTONES);
        let tombstone_fail = check.within("tombstone_fail", raw.tombstone_fail, 100_000, limit::TOMBSTONES);
        if tombstone_fail < tombstone_warn {
            check.problem("tombstone_fail", format!("{tombstone_fail} is less than tombstone_warn, {tombstone_warn}"));
        }
        let batch_warn_kb = check.within("batch_warn_kb", raw.batch_warn_kb, 5, limit::BATCH_KB);
        let batch_max_kb = check.within("batch_max_kb", raw.batch_max_kb, 50, limit::BATCH_KB);
        if batch_max_kb < batch_warn_kb {
            check.problem("batch_max_kb", format!("{batch_max_kb} is less than batch_warn_kb, {batch_warn_kb}"));
        }
        let kilobytes = |count: u32| count as usize * 1_024;
        let batch_limits = BatchLimits { bytes_warned: kilobytes(batch_warn_kb), bytes_max: kilobytes(batch_max_kb) };
        let tls = check.tls(raw.tls_certificate, raw.tls_key, raw.tls_client_ca);
        let megabytes = |count: u64| usize::try_from(count << 20).unwrap_or(usize::MAX);
        let config = Config {
            grpc_listen: SocketAddr::new(listen, grpc_port),
            native_listen: SocketAddr::new(listen, native_port),
            internode_listen: SocketAddr::new(listen, internode_port),
            grpc_advertise: SocketAddr::new(advertise, grpc_port),
            native_advertise: SocketAddr::new(advertise, native_port),
            internode_advertise,
            seeds,
            data_dir: check.data_dir(raw.data_dir),
            data_center: check.name("data_center", raw.data_center, "dc1"),
            rack: check.name("rack", raw.rack, "rack1"),
            num_tokens: check.within("num_tokens", raw.num_tokens, 16, limit::NUM_TOKENS),
            shards: check.within("shards", raw.shards, default_shards(), limit::SHARDS),
            durability,
            block_cache_bytes: megabytes(check.within(
                "block_cache_mb",
                raw.block_cache_mb,
                256,
                limit::BLOCK_CACHE_MB,
            )),
            write_buffer_bytes: megabytes(check.within(
                "write_buffer_mb",
                raw.write_buffer_mb,
                256,
                limit::WRITE_BUFFER_MB,
            )),
            auto_snapshot: raw.auto_snapshot.unwrap_or(true),
            tombstone_warn,
            tombstone_fail,
            batch_limits,
            request_timeout: Duration::from_millis(check.within(
                "request_timeout_ms",
                raw.request_timeout_ms,
                5_000,
                limit::TIMEOUT_MS,
            )),
            requests_max: check.within("requests_max", raw.requests_max, 16_384, limit::REQUESTS),
            queue_wait_max: Duration::from_millis(check.within(
                "queue_wait_max_ms",
                raw.queue_wait_max_ms,
                2_500,
                limit::QUEUE_WAIT_MS,
            )),
            native_connections_max: check.within(
                "native_connections_max",
                raw.native_connections_max,
                20_000,
                limit::CONNECTIONS,
            ) as usize,
            native_frame_bytes: megabytes(u64::from(check.within(
                "native_frame_mb",
                raw.native_frame_mb,
                16,
                limit::FRAME_MB,
            ))),
            tls,
            superuser_password_file: raw.superuser_password_file,
            hint_window: Duration::from_secs(
                60 * check.within("hint_window_minutes", raw.hint_window_minutes, 180, limit::HINT_MINUTES),
            ),
            repair_interval: Some(
                3_600 * check.within("repair_interval_hours", raw.repair_interval_hours, 72, limit::REPAIR_HOURS),
            )
            .filter(|seconds| *seconds > 0)
            .map(Duration::from_secs),
            repair_bytes_per_second: check.within(
                "repair_mb_per_second",
                raw.repair_mb_per_second,
                32,
                limit::REPAIR_MB,
            ) << 20,
            log_format: raw.log_format.unwrap_or_default(),
            log_level: check.log_level(raw.log_level),
        };
        if check.problems.is_empty() { Ok(config) } else { Err(check.problems) }
    }
}

/// A quarter of the processors: on small machines one worker per node costs least (12-15 % less CPU per
/// write than two when three nodes share two processors), on large ones the storage threads need the rest.
fn default_shards() -> u16 {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    u16::try_from(processors / 4).unwrap_or(u16::MAX).clamp(1, *limit::SHARDS.end())
}

/// Collects problems while values are taken.
#[derive(Default)]
struct Check {
    problems: Vec<ConfigError>,
}

impl Check {
    fn problem(&mut self, subject: &str, message: impl Into<String>) {
        self.problems.push(ConfigError { subject: subject.to_owned(), message: message.into() });
    }

    fn address(&mut self, key: &str, text: Option<&str>, default: IpAddr) -> IpAddr {
        let Some(text) = text else { return default };
        text.parse().unwrap_or_else(|_| {
            self.problem(key, format!("'{text}' is not an IP address"));
            default
        })
    }

    fn port(&mut self, key: &str, port: Option<u16>, default: u16) -> u16 {
        let port = port.unwrap_or(default);
        if port == 0 {
            self.problem(key, "0 is not a port that others could know");
        }
        port
    }

    fn seeds(&mut self, seeds: Option<Vec<String>>, own: SocketAddr) -> Vec<SocketAddr> {
        let Some(seeds) = seeds else { return vec![own] };
        if seeds.is_empty() {
            self.problem("seeds", "the list is empty: leave it out for a cluster of this node alone");
        }
        let mut found: Vec<SocketAddr> = seeds.iter().filter_map(|seed| self.seed(seed, own.port())).collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    /// One seed: an address, or a name that is looked up once, now.
    fn seed(&mut self, seed: &str, default_port: u16) -> Option<SocketAddr> {
        let seed = seed.trim();
        if let Ok(address) = seed.parse::<SocketAddr>() {
            return Some(address);
        }
        if let Ok(address) = seed.parse::<IpAddr>() {
            return Some(SocketAddr::new(address, default_port));
        }
        let named = match seed.rsplit_once(':') {
            Some((host, port)) => port.parse::<u16>().map(|port| (host, port)).map_err(|_| ()),
            None => Ok((seed, default_port)),
        };
        let Ok((host, port)) = named else {
            self.problem("seeds", format!("'{seed}' is neither HOST nor HOST:PORT"));
            return None;
        };
        match (host, port).to_socket_addrs().map(|mut found| found.next()) {
            Ok(Some(address)) => Some(address),
            Ok(None) => {
                self.problem("seeds", format!("'{seed}' has no address"));
                None
            }
            Err(cause) => {
                self.problem("seeds", format!("'{seed}' cannot be looked up: {cause}"));
                None
            }
        }
    }

    fn durability(&mut self, mode: DurabilityMode, window: Option<u64>, every: Option<u64>) -> Durability {
        if mode != DurabilityMode::Group && window.is_some() {
            self.problem("group_window_us", "has no effect unless durability = \"group\"");
        }
        if mode != DurabilityMode::Periodic && every.is_some() {
            self.problem("periodic_sync_ms", "has no effect unless durability = \"periodic\"");
        }
        match mode {
            DurabilityMode::Batch => Durability::Batch,
            DurabilityMode::Group => {
                let window = self.within("group_window_us", window, 0, limit::WINDOW_US);
                Durability::Group(Duration::from_micros(window))
            }
            DurabilityMode::Periodic => {
                let every = self.within("periodic_sync_ms", every, 1_000, limit::SYNC_MS);
                Durability::Periodic(Duration::from_millis(every))
            }
        }
    }

    fn tls(
        &mut self,
        certificate: Option<PathBuf>,
        key: Option<PathBuf>,
        client_ca: Option<PathBuf>,
    ) -> Option<TlsFiles> {
        match (certificate, key, client_ca) {
            (None, None, None) => None,
            (Some(certificate), Some(key), client_ca) => Some(TlsFiles { certificate, key, client_ca }),
            (None, ..) => {
                self.problem("tls_certificate", "is needed for TLS: tls_key and tls_client_ca belong to it");
                None
            }
            (Some(_), None, _) => {
                self.problem("tls_key", "is needed for TLS: it belongs to tls_certificate");
                None
            }
        }
    }

    fn data_dir(&mut self, path: Option<PathBuf>) -> PathBuf {
        let path = path.unwrap_or_else(|| PathBuf::from("/var/lib/helenus"));
        if path.as_os_str().is_empty() {
            self.problem("data_dir", "the path is empty");
        }
        path
    }

    fn name(&mut self, key: &str, name: Option<String>, default: &str) -> String {
        let name = name.unwrap_or_else(|| default.to_owned());
        if name.is_empty() || name.len() > limit::NAME_BYTES || name.chars().any(char::is_control) {
            let message = format!("must be 1 to {} bytes without control characters", limit::NAME_BYTES);
            self.problem(key, message);
        }
        name
    }

    fn log_level(&mut self, level: Option<String>) -> String {
        let level = level.unwrap_or_else(|| "info".to_owned());
        // The filter takes a word that is no level for the name of a target: a misspelt level would silence all.
        let is_directive = |directive: &str| directive.contains('=') || directive.parse::<LevelFilter>().is_ok();
        let wrong = level.split(',').find(|directive| !is_directive(directive));
        if wrong.is_some() || level.parse::<Targets>().is_err() {
            let wrong = wrong.unwrap_or(&level).to_owned();
            self.problem("log_level", format!("'{wrong}' is neither a level nor a directive such as server=debug"));
        }
        level
    }

    fn within<T: PartialOrd + fmt::Display + Copy>(
        &mut self,
        key: &str,
        value: Option<T>,
        default: T,
        range: std::ops::RangeInclusive<T>,
    ) -> T {
        let value = value.unwrap_or(default);
        if !range.contains(&value) {
            self.problem(key, format!("{value} is not between {} and {}", range.start(), range.end()));
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, Vec<ConfigError>> {
        let raw = toml::from_str(text).map_err(|cause: toml::de::Error| {
            vec![ConfigError { subject: "file".to_owned(), message: cause.to_string() }]
        })?;
        Config::validate(raw)
    }

    #[test]
    fn an_empty_file_gives_a_loopback_node_that_is_its_own_seed() {
        let config = parse("").unwrap();
        assert_eq!(config.grpc_listen.to_string(), "127.0.0.1:7042");
        assert_eq!(config.seeds, [config.internode_listen]);
        assert_eq!(config.durability, Durability::Group(Duration::ZERO));
    }

    #[test]
    fn a_certificate_needs_its_key_and_a_client_ca_both() {
        assert_eq!(parse("").unwrap().tls, None);
        let tls = parse("tls_certificate = 'a'\ntls_key = 'b'").unwrap().tls.unwrap();
        assert_eq!((tls.certificate.to_str(), tls.client_ca), (Some("a"), None));
        for (text, subject) in [
            ("tls_certificate = 'a'", "tls_key"),
            ("tls_key = 'b'", "tls_certificate"),
            ("tls_client_ca = 'c'", "tls_certificate"),
        ] {
            assert_eq!(parse(text).unwrap_err()[0].subject, subject, "{text}");
        }
    }

    #[test]
    fn a_setting_of_another_durability_is_refused() {
        let durability = |text| parse(text).map(|config| config.durability);
        assert_eq!(durability("durability = 'batch'"), Ok(Durability::Batch));
        let group = durability("durability = 'group'\ngroup_window_us = 300");
        assert_eq!(group, Ok(Durability::Group(Duration::from_micros(300))));
        let periodic = durability("durability = 'periodic'\nperiodic_sync_ms = 50");
        assert_eq!(periodic, Ok(Durability::Periodic(Duration::from_millis(50))));
        for (text, subject) in [
            ("durability = 'batch'\ngroup_window_us = 0", "group_window_us"),
            ("durability = 'periodic'\ngroup_window_us = 9", "group_window_us"),
            ("durability = 'batch'\nperiodic_sync_ms = 50", "periodic_sync_ms"),
            ("group_window_us = 10001", "group_window_us"),
        ] {
            assert_eq!(parse(text).unwrap_err()[0].subject, subject, "{text}");
        }
    }

    #[test]
    fn every_problem_is_reported_with_its_key() {
        let text = "listen_address = 'here'\nseeds = []\nnum_tokens = 0\ngrpc_port = 7000\nperiodic_sync_ms = 50\n\
                    log_level = 'inof'\nrack = ''\ntombstone_fail = 10";
        let problems = parse(text).unwrap_err();
        let subjects: Vec<&str> = problems.iter().map(|problem| problem.subject.as_str()).collect();
        let expected = [
            "listen_address",
            "internode_port",
            "seeds",
            "periodic_sync_ms",
            "tombstone_fail",
            "rack",
            "num_tokens",
            "log_level",
        ];
        assert_eq!(subjects, expected, "{problems:?}");
    }

    #[test]
    fn an_unknown_key_is_refused_by_name() {
        let problems = parse("listen_adress = '127.0.0.1'").unwrap_err();
        assert!(problems[0].message.contains("listen_adress"), "{problems:?}");
        assert!(parse("native_ssl_port = 9142").is_err(), "ports of protocols that are not served are refused");
    }

    #[test]
    fn a_wildcard_needs_an_address_to_advertise() {
        let problems = parse("listen_address = '0.0.0.0'").unwrap_err();
        assert_eq!(problems[0].subject, "advertise_address");
        let config = parse("listen_address = '0.0.0.0'\nadvertise_address = '10.0.0.7'").unwrap();
        assert_eq!(config.internode_advertise.to_string(), "10.0.0.7:7000");
        assert_eq!(config.seeds, [config.internode_advertise]);
    }

    #[test]
    fn seeds_take_the_default_port_and_are_kept_once() {
        let config = parse("seeds = ['127.0.0.2', '127.0.0.1:7000', '127.0.0.2:7000', 'localhost:7001']").unwrap();
        assert_eq!(config.seeds.len(), 3);
        assert_eq!(config.seeds[0].to_string(), "127.0.0.1:7000");
    }

    #[test]
    fn flags_go_before_the_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "listen_address = '127.0.0.1'\nrack = 'a'").unwrap();
        let overrides = Overrides { listen_address: Some("127.0.0.9".to_owned()), ..Overrides::default() };
        let config = Config::load(Some(file.path()), overrides).unwrap();
        assert_eq!((config.grpc_listen.to_string().as_str(), config.rack.as_str()), ("127.0.0.9:7042", "a"));
    }
}
