//! `bench native`: prepared writes and reads of one row of five values of 34 bytes over the CQL native protocol, and
//! the same statements over gRPC, against one node that acknowledges what the operating system has (`durability =
//! "periodic"`, which is how Apache Cassandra works unless told otherwise); and `bench compare`: the same load against
//! Cassandra.
//!
//! The load is closed: so many requests are under way on each connection, and an answer begins the next one. One thread
//! makes it, on the cores that the node has too.

use crate::nodes::cpu_seconds;
use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use client::{Consistency, SessionBuilder};
use hdrhistogram::Histogram;
use model::Rng;
use native::{
    Answer, BoundValue, Envelope, Execute, Inbound, Message, Opcode, Outbound, Prepare, Prepared, Query,
    QueryParameters, QueryResult, Request, Response, Startup, Values, Version,
};
use serde_json::{Map, Value, json};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Connections, and requests under way on each.
const CONNECTIONS: usize = 4;
const IN_FLIGHT: usize = 32;
/// Rows that are written to and read.
const KEYS: u64 = 200_000;
/// Columns beside the key, and bytes of each.
const COLUMNS: usize = 5;
const VALUE_BYTES: usize = 34;
/// Seconds at the beginning that are not counted.
const WARM_UP: Duration = Duration::from_secs(1);

const KEYSPACE: &str = "CREATE KEYSPACE IF NOT EXISTS native_load WITH replication = \
                        {'class': 'SimpleStrategy', 'replication_factor': 1}";
/// Rows that are written again and again, and others that are written once and read: how many versions of a row lie
/// in how many files would else be a matter of the writes before.
const TABLES: [&str; 2] = ["written", "read"];
const INSERT: &str = "INSERT INTO native_load.written (key, a, b, c, d, e) VALUES (?, ?, ?, ?, ?, ?)";
const FILL: &str = "INSERT INTO native_load.read (key, a, b, c, d, e) VALUES (?, ?, ?, ?, ?, ?)";
const SELECT: &str = "SELECT a, b, c, d, e FROM native_load.read WHERE key = ?";

/// What is asked for again and again.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    Write,
    Read,
}

/// What a load came to.
pub(crate) struct Load {
    /// Operations in the counted time.
    pub(crate) per_second: f64,
    /// CPU time of the server for each operation of the counted time, in microseconds.
    pub(crate) server_cpu_micros: f64,
    latency: Histogram<u64>,
}

impl Load {
    /// A quantile of the latency in microseconds.
    pub(crate) fn micros(&self, quantile: f64) -> u64 {
        self.latency.value_at_quantile(quantile)
    }

    fn note(&self, name: &str, figures: &mut Map<String, Value>) {
        figures.insert(format!("{name}_per_second"), json!(self.per_second));
        figures.insert(format!("{name}_server_cpu_micros_per_operation"), json!(self.server_cpu_micros));
        for (quantile, shown) in [(0.5, "p50"), (0.99, "p99"), (0.999, "p999")] {
            figures.insert(format!("{name}_{shown}_micros"), json!(self.micros(quantile) as f64));
        }
    }
}

/// What a connection does.
#[derive(Clone)]
struct Plan {
    statement: Prepared,
    work: Work,
    /// Between two requests; none for as many as there is room for.
    interval: Option<Duration>,
    ends: Instant,
}

/// A connection that can have many requests under way.
struct Connection {
    socket: TcpStream,
    inbound: Inbound,
    outbound: Outbound,
    /// For each stream that is in use when its request began.
    begun: Vec<Instant>,
}

impl Connection {
    async fn open(address: SocketAddr) -> Result<Connection> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        let (inbound, outbound) = (Inbound::new(1 << 24), Outbound::new(Version::V5));
        let mut connection = Connection { socket, inbound, outbound, begun: vec![Instant::now(); IN_FLIGHT] };
        let options = [("CQL_VERSION".to_owned(), "3.0.0".to_owned())].into();
        let answer = connection.ask(Request::Startup(Startup { options })).await?;
        ensure!(answer == Response::Ready, "STARTUP is answered by {answer:?}");
        connection.inbound.start(None);
        connection.outbound.start(None);
        Ok(connection)
    }

    fn push(&mut self, stream: i16, request: Request) -> Result<()> {
        let message = Message { stream, tracing: false, custom_payload: Default::default(), request };
        self.outbound.push_message(&message).context("a request that can be written")
    }

    async fn flush(&mut self) -> Result<()> {
        Ok(self.socket.write_all(&self.outbound.take()).await?)
    }

    /// The next answer, once all of it is there.
    async fn next(&mut self) -> Result<Envelope> {
        loop {
            if let Some(envelope) = self.taken()? {
                return Ok(envelope);
            }
            ensure!(self.socket.read_buf(self.inbound.buffer()).await? > 0, "the server has closed the connection");
        }
    }

    /// An answer that is there already.
    fn taken(&mut self) -> Result<Option<Envelope>> {
        self.inbound.next_envelope().map_err(|fault| anyhow::anyhow!("not of the protocol: {:?}", fault.error))
    }

    async fn ask(&mut self, request: Request) -> Result<Response> {
        self.push(0, request)?;
        self.flush().await?;
        let envelope = self.next().await?;
        Ok(Answer::decode(&envelope).map_err(|error| anyhow::anyhow!("an answer: {error}"))?.response)
    }

    async fn query(&mut self, text: &str) -> Result<()> {
        let parameters = QueryParameters::at(Consistency::One);
        let answer = self.ask(Request::Query(Query { text: text.to_owned(), parameters })).await?;
        ensure!(matches!(answer, Response::Result(_)), "{text}: {answer:?}");
        Ok(())
    }

    async fn prepare(&mut self, text: &str) -> Result<Prepared> {
        match self.ask(Request::Prepare(Prepare { text: text.to_owned(), keyspace: None })).await? {
            Response::Result(QueryResult::Prepared(prepared)) => Ok(prepared),
            other => bail!("{text}: {other:?}"),
        }
    }

    /// Keeps requests under way until the end, or begins one in every `interval` as long as streams are free; latencies
    /// in microseconds, from when a request was due, of those that were answered in the counted time.
    async fn load(mut self, plan: Plan, seed: u64) -> Result<Histogram<u64>> {
        let Plan { statement, work, interval, ends } = plan;
        let mut rng = Rng::new(seed);
        let mut latency = histogram()?;
        let counted_from = Instant::now() + WARM_UP;
        let (mut free, mut due): (Vec<usize>, Instant) = ((0..IN_FLIGHT).collect(), Instant::now());
        loop {
            let now = Instant::now();
            while now < ends
                && interval.is_none_or(|_| due <= now)
                && let Some(stream) = free.pop()
            {
                self.begun[stream] = interval.map_or(now, |_| due);
                due += interval.unwrap_or_default();
                self.begin(stream, &statement, work, &mut rng)?;
            }
            if free.len() == IN_FLIGHT && now >= ends {
                return Ok(latency);
            }
            self.flush().await?;
            let mut envelope = if interval.is_some() && !free.is_empty() && now < ends {
                // Nothing may have come when the next one is due.
                tokio::time::timeout_at(due.into(), self.next()).await.ok().transpose()?
            } else {
                Some(self.next().await?)
            };
            let now = Instant::now();
            while let Some(answer) = envelope {
                if answer.header.opcode == Opcode::Error {
                    bail!("an operation failed: {:?}", Answer::decode(&answer).map(|answer| answer.response));
                }
                let stream = usize::try_from(answer.header.stream).context("an event, which nobody asked for")?;
                if now >= counted_from {
                    latency.saturating_record(now.duration_since(self.begun[stream]).as_micros() as u64);
                }
                free.push(stream);
                envelope = self.taken()?;
            }
        }
    }

    /// Writes every row that is read, once.
    async fn fill(&mut self) -> Result<()> {
        let (statement, mut rng) = (self.prepare(FILL).await?, Rng::new(1));
        let keys: Vec<u64> = (0..KEYS).collect();
        for keys in keys.chunks(IN_FLIGHT) {
            for (stream, key) in keys.iter().enumerate() {
                self.push_execute(stream, &statement, *key, Some(&mut rng))?;
            }
            self.flush().await?;
            for _ in keys {
                let answer = self.next().await?;
                ensure!(answer.header.opcode == Opcode::Result, "a row is not written: {:?}", Answer::decode(&answer));
            }
        }
        Ok(())
    }

    fn begin(&mut self, stream: usize, statement: &Prepared, work: Work, rng: &mut Rng) -> Result<()> {
        let key = rng.below(KEYS);
        self.push_execute(stream, statement, key, (work == Work::Write).then_some(rng))
    }

    /// Asks for a row, or writes one of random values.
    fn push_execute(&mut self, stream: usize, statement: &Prepared, key: u64, rng: Option<&mut Rng>) -> Result<()> {
        let mut parameters = QueryParameters::at(Consistency::One);
        let mut values = vec![BoundValue::Value(Bytes::copy_from_slice(&key.to_be_bytes()))];
        if let Some(rng) = rng {
            values.extend((0..COLUMNS).map(|_| BoundValue::Value(value(rng))));
        }
        parameters.values = Values::Positional(values);
        parameters.skip_metadata = true;
        // As drivers ask for, whatever the answer.
        parameters.page_size = Some(5_000);
        let (id, result_metadata_id) = (statement.id.clone(), statement.result_metadata_id.clone());
        self.push(stream as i16, Request::Execute(Execute { id, result_metadata_id, parameters }))
    }
}

fn value(rng: &mut Rng) -> Bytes {
    let mut value = [0; VALUE_BYTES];
    value.chunks_mut(8).for_each(|chunk| chunk.copy_from_slice(&rng.next_u64().to_le_bytes()[..chunk.len()]));
    Bytes::copy_from_slice(&value)
}

/// Of up to a minute, in microseconds.
fn histogram() -> Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, 60_000_000, 3)?)
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

/// Makes the tables, and fills the one that is read.
pub(crate) fn make_tables(address: SocketAddr) -> Result<()> {
    runtime()?.block_on(async {
        let mut connection = Connection::open(address).await?;
        connection.query(KEYSPACE).await?;
        for table in TABLES {
            let columns = "key bigint PRIMARY KEY, a blob, b blob, c blob, d blob, e blob";
            connection.query(&format!("CREATE TABLE IF NOT EXISTS native_load.{table} ({columns})")).await?;
        }
        connection.fill().await
    })
}

/// A load over the native protocol on the process `server`, of `seconds` after the warm-up; of so many operations per
/// second, if that is said.
pub(crate) fn run(address: SocketAddr, server: u32, work: Work, rate: Option<f64>, seconds: u64) -> Result<Load> {
    let interval = rate.map(|rate| Duration::from_secs_f64(CONNECTIONS as f64 / rate));
    let ends = Instant::now() + WARM_UP + Duration::from_secs(seconds);
    runtime()?.block_on(async {
        let text = if work == Work::Write { INSERT } else { SELECT };
        let mut loads = tokio::task::JoinSet::new();
        for number in 0..CONNECTIONS {
            let mut connection = Connection::open(address).await?;
            let statement = connection.prepare(text).await?;
            loads.spawn(connection.load(Plan { statement, work, interval, ends }, number as u64));
        }
        tokio::time::sleep(WARM_UP).await;
        let (begun, cpu) = (Instant::now(), cpu_seconds(server)?);
        tokio::time::sleep_until((begun + Duration::from_secs(seconds)).into()).await;
        let (counted, cpu) = (begun.elapsed(), cpu_seconds(server)? - cpu);
        let mut latency = histogram()?;
        while let Some(load) = loads.join_next().await {
            latency.add(load.context("a connection")??)?;
        }
        Ok(of_counted(latency, counted, cpu))
    })
}

fn of_counted(latency: Histogram<u64>, counted: Duration, cpu_seconds: f64) -> Load {
    let operations = latency.len() as f64;
    Load { per_second: operations / counted.as_secs_f64(), server_cpu_micros: cpu_seconds * 1e6 / operations, latency }
}

/// The same load over gRPC, through our own driver.
fn run_grpc(host: &str, server: u32, work: Work, seconds: u64) -> Result<Load> {
    runtime()?.block_on(async {
        let session = SessionBuilder::new([host]).consistency(Consistency::One).connect().await?;
        let statement = session.prepare(if work == Work::Write { INSERT } else { SELECT }).await?;
        let counted_from = Instant::now() + WARM_UP;
        let ends = counted_from + Duration::from_secs(seconds);
        let mut loads = tokio::task::JoinSet::new();
        for number in 0..CONNECTIONS * IN_FLIGHT {
            let (session, statement, mut rng) = (session.clone(), statement.clone(), Rng::new(number as u64));
            loads.spawn(async move {
                let mut latency = histogram()?;
                loop {
                    let (begun, key) = (Instant::now(), rng.below(KEYS) as i64);
                    if begun >= ends {
                        return anyhow::Ok(latency);
                    }
                    if work == Work::Write {
                        let row =
                            (key, value(&mut rng), value(&mut rng), value(&mut rng), value(&mut rng), value(&mut rng));
                        session.execute_prepared(&statement, row).await?;
                    } else {
                        session.execute_prepared(&statement, (key,)).await?;
                    }
                    if Instant::now() >= counted_from {
                        latency.saturating_record(begun.elapsed().as_micros() as u64);
                    }
                }
            });
        }
        tokio::time::sleep_until(counted_from.into()).await;
        let (begun, cpu) = (Instant::now(), cpu_seconds(server)?);
        tokio::time::sleep_until(ends.into()).await;
        let (counted, cpu) = (begun.elapsed(), cpu_seconds(server)? - cpu);
        let mut latency = histogram()?;
        while let Some(load) = loads.join_next().await {
            latency.add(load.context("a worker")??)?;
        }
        Ok(of_counted(latency, counted, cpu))
    })
}

/// Rounds of both protocols in turns; the one with the middle ratio is told.
const ROUNDS: usize = 3;

/// CPU time of a server for one operation, in microseconds; and of gRPC at most so many times that of the protocol.
const CPU_MICROS_MAX: f64 = 15.0;
const GRPC_CPU_RATIO_MAX: f64 = 1.2;

/// Loads one node over both protocols, and puts what came of it into `figures`.
///
/// # Errors
/// When the node does not start or an operation fails.
pub(crate) fn measure(helenus: &std::path::Path, seconds: u64, figures: &mut Map<String, Value>) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let nodes = crate::nodes::start_periodic(helenus, folder.path())?;
    let (server, (host, address)) = (nodes.first(), crate::nodes::addresses_of_one());
    make_tables(address)?;
    for (work, name) in [(Work::Write, "write"), (Work::Read, "read")] {
        if work == Work::Read {
            // Most of what a node holds is in files, and not in the memtables that a load of a few seconds fits in.
            crate::nodes::flush(helenus, host)?;
        }
        // Until every row is there, what earlier writes left to do is done, and the caches hold what is read.
        run(address, server, work, None, seconds)?;
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            let native = run(address, server, work, None, seconds)?;
            rounds.push((native, run_grpc(host, server, work, seconds)?));
        }
        let ratio_of = |(native, grpc): &(Load, Load)| grpc.server_cpu_micros / native.server_cpu_micros;
        rounds.sort_by(|a, b| ratio_of(a).total_cmp(&ratio_of(b)));
        let middle = rounds.swap_remove(ROUNDS / 2);
        let (ratio, (native, grpc)) = (ratio_of(&middle), middle);
        native.note(&format!("native_{name}"), figures);
        grpc.note(&format!("grpc_{name}"), figures);
        figures.insert(format!("grpc_to_native_{name}_server_cpu_ratio"), json!(ratio));
        let missed = [
            (native.server_cpu_micros > CPU_MICROS_MAX)
                .then(|| format!("native_{name}_server_cpu_micros_per_operation at most {CPU_MICROS_MAX}")),
            (ratio > GRPC_CPU_RATIO_MAX)
                .then(|| format!("grpc_to_native_{name}_server_cpu_ratio at most {GRPC_CPU_RATIO_MAX}")),
        ];
        crate::note_missed(figures, missed.into_iter().flatten());
    }
    Ok(())
}

/// A running Cassandra that a node is compared with.
pub(crate) struct Other {
    /// Where it listens for clients.
    pub(crate) address: SocketAddr,
    /// Its process.
    pub(crate) process: u32,
    /// How long it took until it listened.
    pub(crate) start_seconds: f64,
}

/// Loads one node and Cassandra in turns, both warm, and puts the figures of both and their ratios into `figures`.
///
/// # Errors
/// When the node does not start or an operation fails.
pub(crate) fn compare(
    helenus: &std::path::Path,
    other: &Other,
    seconds: u64,
    figures: &mut Map<String, Value>,
) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let begun = Instant::now();
    let nodes = crate::nodes::start_periodic(helenus, folder.path())?;
    let start_seconds = begun.elapsed().as_secs_f64();
    let (_, address) = crate::nodes::addresses_of_one();
    let sides = [("helenus", address, nodes.first()), ("cassandra", other.address, other.process)];
    let mut of_side: Vec<Vec<f64>> = vec![vec![start_seconds], vec![other.start_seconds]];
    for (_, address, _) in sides {
        make_tables(address)?;
    }
    for work in [Work::Write, Work::Read] {
        // A virtual machine compiles what it runs often: the first loads are not counted.
        for (_, address, process) in sides {
            run(address, process, work, None, seconds)?;
        }
        for (index, (name, address, process)) in sides.into_iter().enumerate() {
            let work_name = if work == Work::Write { "write" } else { "read" };
            let full = run(address, process, work, None, seconds)?;
            full.note(&format!("{name}_{work_name}"), figures);
            let half = run(address, process, work, Some(full.per_second / 2.0), seconds)?;
            half.note(&format!("{name}_{work_name}_at_half_load"), figures);
            of_side[index].extend([full.server_cpu_micros, full.per_second, half.micros(0.99) as f64]);
        }
    }
    for (index, (_, _, process)) in sides.into_iter().enumerate() {
        of_side[index].push(crate::resident::bytes(process)? as f64);
    }
    // Of ours to theirs: of throughput at least, of all else at most.
    let names = [
        ("start", 1.0 / 20.0),
        ("write_server_cpu", 1.0 / 3.0),
        ("write_throughput", 2.5),
        ("write_p99_at_half_load", 1.0 / 5.0),
        ("read_server_cpu", 1.0 / 3.0),
        ("read_throughput", 2.5),
        ("read_p99_at_half_load", 1.0 / 5.0),
        ("resident", 1.0 / 5.0),
    ];
    for ((name, gate), (ours, theirs)) in names.into_iter().zip(of_side[0].iter().zip(&of_side[1])) {
        let ratio = ours / theirs;
        figures.insert(format!("ratio_{name}"), json!(ratio));
        let is_missed = if name.ends_with("throughput") { ratio < gate } else { ratio > gate };
        let side = if name.ends_with("throughput") { "at least" } else { "at most" };
        crate::note_missed(figures, is_missed.then(|| format!("ratio_{name} {side} {gate:.2}")));
    }
    Ok(())
}
