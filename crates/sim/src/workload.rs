//! The clients: what they ask, in CQL, and how their answers are read back into what the oracles know.
//!
//! A client is a closed loop: it asks one node, waits for the answer, thinks for a moment, asks again. Every value
//! is unique and spells its attempt; every deletion has a timestamp of the client's that nobody else uses. There are
//! few partitions and rows, so that requests meet.
//!
//! Invariants:
//! * Statements go through `query::prepare` with the schema that the asked node has, as in production; sometimes a
//!   client goes on using what it prepared long ago.
//! * Table `t0` exists from the beginning to the end; the others come and go under the same names.

use crate::clock::TrueTime;
use crate::oracle::Violation;
use crate::oracle::book::{Action, Attempt, AttemptId, Book, Column, Outcome, ROWS, Register};
use crate::oracle::coverage::{Coverage, Replicas};
use crate::oracle::floors::{Seen, Snapshot};
use bytes::Bytes;
use model::schema::{Index, IndexedPart, Schema, SchemaChange};
use model::{ColumnId, Consistency, PartitionKey, RequestError, Rng, TableId};
use node::Request;
use query::{Bound, BoundRead, BoundValue, BoundWrite, Prepared};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// The keyspace of all tables.
pub const KEYSPACE: &str = "k";

/// The tables. The first one stays; the others come and go.
pub const TABLES: [&str; 3] = ["t0", "t1", "t2"];

/// A time to live that ends long after every run, wherever the clocks jump.
const TIME_TO_LIVE_SECONDS: u32 = 100_000_000;

/// What a run's clients are like.
#[derive(Clone, Debug)]
pub struct Mix {
    /// Clients that read and write.
    pub clients: usize,
    /// Clients that create, truncate and drop tables.
    pub administrators: usize,
    /// Partition keys `0..partitions`.
    pub partitions: i32,
    /// Replicas of each partition.
    pub replicas: Replicas,
    /// Deletions are purged once they are repaired; else once their grace is over.
    pub purged_by_repair: bool,
    /// Mean pause between two requests of a client in microseconds.
    pub think: u64,
    /// How long requests may take.
    pub timeout: Duration,
    /// Of a thousand requests, how many are reads.
    pub reads: u64,
    /// Of a thousand reads, how many are of all partitions.
    pub scans: u64,
    /// Of a thousand reads of all partitions of the table that stays, how many are by an index.
    pub look_ups: u64,
    /// Of a thousand requests, how many are at QUORUM.
    pub quorum: u64,
    /// Of a thousand requests of ordinary clients, how many go to the tables that come and go.
    pub churned: u64,
    /// Worst offset of a client's clock in microseconds.
    pub skew: u64,
    /// No level but QUORUM.
    pub only_quorum: bool,
}

impl Mix {
    /// Draws the clients of a run.
    #[must_use]
    pub fn draw(rng: &mut Rng, replicas: Replicas) -> Mix {
        let mut chosen = |choices: &[u64]| choices[rng.index(choices.len())];
        Mix {
            clients: chosen(&[4, 10, 20]) as usize,
            administrators: chosen(&[0, 1, 2, 2]) as usize,
            partitions: chosen(&[1, 2, 5]) as i32,
            replicas,
            purged_by_repair: false,
            think: chosen(&[1_000, 5_000, 20_000]),
            timeout: Duration::from_millis(chosen(&[100, 500, 2_000])),
            reads: chosen(&[300, 500, 700]),
            scans: chosen(&[0, 200, 600]),
            look_ups: chosen(&[0, 300, 800]),
            quorum: chosen(&[500, 800, 1000]),
            churned: chosen(&[50, 300, 600]),
            skew: chosen(&[0, 10_000, 1_000_000]),
            only_quorum: false,
        }
    }

    /// Clients ask at QUORUM alone, and no table goes: for runs in which the number of replicas changes.
    pub fn keep_to_quorum(&mut self) {
        (self.only_quorum, self.administrators) = (true, 0);
    }
}

/// A request on its way, with what is needed to judge its answer.
#[derive(Clone, Debug)]
pub enum Flight {
    /// A write.
    Write(AttemptId),
    /// A read.
    Read(Box<ReadFlight>),
    /// ALTER KEYSPACE.
    Alter,
    /// CREATE TABLE.
    Create {
        /// The table.
        name: String,
        /// The id drawn for it.
        id: TableId,
        /// Whether the statement said IF NOT EXISTS.
        if_not_exists: bool,
    },
    /// DROP TABLE.
    Drop {
        /// The table.
        name: String,
        /// When it was sent.
        started: TrueTime,
    },
    /// TRUNCATE.
    Truncate {
        /// The table.
        name: String,
        /// When it was sent.
        started: TrueTime,
    },
}

/// A read on its way; also of its second and later pages.
#[derive(Clone, Debug)]
pub struct ReadFlight {
    /// The statement.
    pub read: Arc<BoundRead>,
    /// At this level.
    pub consistency: Consistency,
    /// The data centre of the nodes that it asks.
    pub data_center: usize,
    /// Replicas that agree on the answer.
    pub coverage: Coverage,
    /// The table.
    pub table: TableId,
    /// Rows that it asks for, by partition key and clustering key, in the order of the answer, without those that
    /// earlier pages have covered.
    pub rows: Vec<(i32, i32)>,
    /// LIMIT minus the rows of earlier pages.
    pub limit: Option<usize>,
    /// When the first page was asked for.
    pub started: TrueTime,
    /// What it may not fall below: of acknowledged writes, and of earlier reads.
    pub floors: (Snapshot, Snapshot),
}

/// Something that a client is about to send.
pub enum Sending {
    /// To a shard: the request, and what to remember of it.
    Request(Request, Flight),
    /// To the member.
    Propose(SchemaChange, Flight),
}

/// A statement that some client has prepared.
struct Kept {
    prepared: Arc<Prepared>,
    text: String,
}

/// All clients of a run.
pub struct Workload {
    /// What they are like.
    pub mix: Mix,
    rng: Rng,
    kept: BTreeMap<(usize, String), Kept>,
    timestamps: BTreeSet<i64>,
    skews: Vec<i64>,
}

impl Workload {
    /// The clients of a run.
    #[must_use]
    pub fn new(mix: Mix, mut rng: Rng) -> Workload {
        let skew = |rng: &mut Rng| rng.between(0, 2 * mix.skew) as i64 - mix.skew as i64;
        let skews = (0..mix.clients).map(|_| skew(&mut rng)).collect();
        Workload { mix, rng, kept: BTreeMap::new(), timestamps: BTreeSet::new(), skews }
    }

    /// Clients and administrators.
    #[must_use]
    pub fn count(&self) -> usize {
        self.mix.clients + self.mix.administrators
    }

    /// The pause before a client's next request.
    pub fn think(&mut self, client: usize) -> u64 {
        let administrator = client >= self.mix.clients;
        crate::network::geometric(&mut self.rng, if administrator { 400_000 } else { self.mix.think }) + 1
    }

    /// The machine that a client asks next.
    pub fn choose_machine(&mut self, machines: usize) -> usize {
        self.rng.index(machines)
    }

    /// Once in a while a client asks the node that is most behind the others: whatever it serves wrongly, it serves
    /// then.
    pub fn seeks_laggard(&mut self) -> bool {
        self.rng.chance(150)
    }

    /// A timestamp near `time` that nobody has used.
    fn timestamp(&mut self, client: usize, time: TrueTime) -> i64 {
        let skew = self.skews.get(client).copied().unwrap_or(0);
        let mut timestamp = crate::clock::WALL_ORIGIN + time as i64 + skew;
        while !self.timestamps.insert(timestamp) {
            timestamp += 1;
        }
        timestamp
    }

    /// What `client` asks a node that has this schema; `None` when it has nothing to ask it now. The attempt is in
    /// the book when this returns.
    pub fn next(&mut self, client: usize, schema: &Schema, book: &mut Book, place: Place) -> Option<Sending> {
        if client >= self.mix.clients {
            return self.administrate(place.time);
        }
        let churned = place.behind || self.rng.chance(self.mix.churned);
        let table = TABLES[if churned { self.rng.between(1, TABLES.len() as u64 - 1) as usize } else { 0 }];
        let partition = self.rng.below(self.mix.partitions as u64) as i32;
        let consistency = self.consistency();
        if self.rng.chance(self.mix.reads) {
            let partition = (!self.rng.chance(self.mix.scans)).then_some(partition);
            let read = self.read(client, table, partition, schema)?;
            return Some(self.send_read(read, consistency, place.data_center, place.time));
        }
        // Nothing can be read at ANY.
        let any = self.mix.replicas.0.len() > 1 && self.rng.chance(50) && !self.mix.only_quorum;
        let consistency = if any { Consistency::Any } else { consistency };
        let action = self.action();
        self.write(client, schema, book, place, &Writing { table, partition, action, consistency })
    }

    fn consistency(&mut self) -> Consistency {
        if self.mix.only_quorum {
            return Consistency::Quorum;
        }
        let several = self.mix.replicas.0.len() > 1;
        if self.rng.chance(self.mix.quorum) {
            let quorums = [Consistency::Quorum, Consistency::LocalQuorum, Consistency::EachQuorum];
            return if several { quorums[self.rng.index(quorums.len())] } else { Consistency::Quorum };
        }
        let mut levels = vec![Consistency::One, Consistency::All];
        if self.mix.replicas.total() >= 2 {
            levels.push(Consistency::Two);
        }
        if several {
            levels.push(Consistency::LocalOne);
        }
        levels[self.rng.index(levels.len())]
    }

    fn action(&mut self) -> Action {
        let row = self.rng.below(ROWS as u64) as i32;
        let column = if self.rng.chance(500) { Column::V } else { Column::W };
        match self.rng.below(100) {
            0..40 => Action::Insert(row),
            40..75 => Action::Update(row, column),
            75..83 => Action::DeleteColumn(row, column),
            83..91 => Action::DeleteRow(row),
            91..97 => {
                let from = self.rng.below(ROWS as u64) as i32;
                Action::DeleteRange(from, self.rng.between(from as u64 + 1, ROWS as u64) as i32)
            }
            _ => Action::DeletePartition,
        }
    }

    /// The statement of this text, prepared against `schema` or, once in a while, long ago.
    fn prepare(&mut self, client: usize, text: String, schema: &Schema) -> Result<Arc<Prepared>, RequestError> {
        let key = (client, text.clone());
        if let Some(kept) = self.kept.get(&key)
            && self.rng.chance(500)
        {
            assert_eq!(kept.text, text);
            return Ok(kept.prepared.clone());
        }
        let prepared = Arc::new(query::prepare(&text, schema, Some(KEYSPACE))?);
        self.kept.insert(key, Kept { prepared: prepared.clone(), text });
        Ok(prepared)
    }

    /// A write as the client wants it.
    pub fn write(
        &mut self,
        client: usize,
        schema: &Schema,
        book: &mut Book,
        place: Place,
        writing: &Writing,
    ) -> Option<Sending> {
        let own_timestamp = writing.action.deletes() || self.rng.chance(400);
        let timestamp = own_timestamp.then(|| self.timestamp(client, place.time));
        // Half of them in the statement, half beside it.
        let using = timestamp.filter(|_| self.rng.chance(500));
        let (text, values) = self.statement(writing, using, book.next_id());
        let prepared = self.prepare(client, text, schema).ok()?;
        let bound = match prepared.bind(&values, query::EvaluationContext::new(model::WallMicros(0), 0)) {
            Ok(Bound::Write(write)) => write,
            other => unreachable!("a write is bound to a write, not {other:?}"),
        };
        let coverage = self.mix.replicas.coverage(writing.consistency, place.data_center);
        let id = book.enter(Attempt {
            table: bound.table().id,
            partition: writing.partition,
            action: writing.action,
            coverage,
            machine: place.machine,
            incarnation: place.incarnation,
            started: place.time,
            outcome: Outcome::Unknown,
            timestamp,
            expires: 0,
            logged: false,
        });
        Some(self.send_write(bound, writing.consistency, timestamp, id))
    }

    fn send_write(
        &self,
        write: BoundWrite,
        consistency: Consistency,
        timestamp: Option<i64>,
        id: AttemptId,
    ) -> Sending {
        let timestamp = timestamp.filter(|_| write.timestamp().is_none());
        let request = Request::Write { write, consistency, timestamp, token: None, timeout: self.mix.timeout };
        Sending::Request(request, Flight::Write(id))
    }

    /// The text and the values of a write.
    fn statement(&mut self, writing: &Writing, using: Option<i64>, id: AttemptId) -> (String, Vec<BoundValue>) {
        let Writing { table, partition, action, .. } = writing;
        let int = |value: i32| BoundValue::Value(Bytes::copy_from_slice(&value.to_be_bytes()));
        let written = |column: Column| BoundValue::Value(Bytes::from(Book::value(id, column)));
        // A time to live that does not end within the run: the cells are of another kind, their values the same.
        let expiring = !action.deletes() && self.rng.chance(100);
        let clause = match (using.is_some(), expiring) {
            (false, false) => String::new(),
            (true, false) => " USING TIMESTAMP ?".to_owned(),
            (false, true) => format!(" USING TTL {TIME_TO_LIVE_SECONDS}"),
            (true, true) => format!(" USING TIMESTAMP ? AND TTL {TIME_TO_LIVE_SECONDS}"),
        };
        let stamp = using.map(|timestamp| BoundValue::Value(Bytes::copy_from_slice(&timestamp.to_be_bytes())));
        let stamp = stamp.into_iter();
        let p = int(*partition);
        match *action {
            Action::Insert(row) => {
                let text = format!("INSERT INTO {table} (p, c, v, w) VALUES (?, ?, ?, ?){clause}");
                let values = [p, int(row), written(Column::V), written(Column::W)].into_iter().chain(stamp);
                (text, values.collect())
            }
            Action::Update(row, column) => {
                let text = format!("UPDATE {table}{clause} SET {} = ? WHERE p = ? AND c = ?", column.name());
                (text, stamp.chain([written(column), p, int(row)]).collect())
            }
            Action::DeleteColumn(row, column) if self.rng.chance(500) => {
                let text = format!("UPDATE {table}{clause} SET {} = null WHERE p = ? AND c = ?", column.name());
                (text, stamp.chain([p, int(row)]).collect())
            }
            Action::DeleteColumn(row, column) => {
                let text = format!("DELETE {} FROM {table}{clause} WHERE p = ? AND c = ?", column.name());
                (text, stamp.chain([p, int(row)]).collect())
            }
            Action::DeleteRow(row) => {
                (format!("DELETE FROM {table}{clause} WHERE p = ? AND c = ?"), stamp.chain([p, int(row)]).collect())
            }
            Action::DeleteRange(from, to) => {
                let text = format!("DELETE FROM {table}{clause} WHERE p = ? AND c >= ? AND c < ?");
                (text, stamp.chain([p, int(from), int(to)]).collect())
            }
            Action::DeletePartition => (format!("DELETE FROM {table}{clause} WHERE p = ?"), stamp.chain([p]).collect()),
        }
    }

    /// A SELECT: of one partition, whole, a slice or one row, in either order; or of all partitions, whole or the rows
    /// that an index names. Perhaps with a limit.
    fn read(&mut self, client: usize, table: &str, partition: Option<i32>, schema: &Schema) -> Option<Reading> {
        let mut text = format!("SELECT p, c, v, w FROM {table}");
        let mut rows = (0, ROWS);
        let mut reversed = false;
        if partition.is_some() {
            text.push_str(" WHERE p = ?");
            match self.rng.below(4) {
                0 => {
                    let row = self.rng.below(ROWS as u64) as i32;
                    text.push_str(&format!(" AND c = {row}"));
                    rows = (row, row + 1);
                }
                1 => {
                    let from = self.rng.below(ROWS as u64) as i32;
                    let to = self.rng.between(from as u64 + 1, ROWS as u64) as i32;
                    text.push_str(&format!(" AND c >= {from} AND c < {to}"));
                    rows = (from, to);
                }
                _ => {}
            }
            reversed = self.rng.chance(300);
            if reversed {
                text.push_str(" ORDER BY c DESC");
            }
        } else if table == TABLES[0] && self.rng.chance(self.mix.look_ups) {
            let row = self.rng.below(ROWS as u64) as i32;
            text.push_str(&format!(" WHERE c = {row}"));
            rows = (row, row + 1);
        }
        let most = if partition.is_some() { ROWS } else { ROWS * self.mix.partitions };
        let limit = self.rng.chance(200).then(|| self.rng.between(1, most as u64) as usize);
        if let Some(limit) = limit {
            text.push_str(&format!(" LIMIT {limit}"));
        }
        let prepared = self.prepare(client, text, schema).ok()?;
        let key = |partition: i32| BoundValue::Value(Bytes::copy_from_slice(&partition.to_be_bytes()));
        let partitions = partition.map_or_else(|| in_scan_order(self.mix.partitions), |partition| vec![partition]);
        let mut rows: Vec<(i32, i32)> =
            partitions.into_iter().flat_map(|partition| (rows.0..rows.1).map(move |row| (partition, row))).collect();
        if reversed {
            rows.reverse();
        }
        match prepared.bind(
            &partition.map(key).into_iter().collect::<Vec<_>>(),
            query::EvaluationContext::new(model::WallMicros(0), 0),
        ) {
            Ok(Bound::Read(read)) => Some(Reading { read: Arc::new(read), rows, limit }),
            other => unreachable!("a read is bound to a read, not {other:?}"),
        }
    }

    /// A read of a whole partition, or of all of them, for the final checks.
    pub fn read_all(
        &mut self,
        table: &str,
        partition: Option<i32>,
        schema: &Schema,
        time: TrueTime,
    ) -> Option<Sending> {
        let of = partition.map_or_else(String::new, |partition| format!(" WHERE p = {partition}"));
        let prepared = query::prepare(&format!("SELECT p, c, v, w FROM {table}{of}"), schema, Some(KEYSPACE)).ok()?;
        let Ok(Bound::Read(read)) = prepared.bind(&[], query::EvaluationContext::new(model::WallMicros(0), 0)) else {
            return None;
        };
        let partitions = partition.map_or_else(|| in_scan_order(self.mix.partitions), |partition| vec![partition]);
        let rows = partitions.into_iter().flat_map(|partition| (0..ROWS).map(move |row| (partition, row)));
        let reading = Reading { read: Arc::new(read), rows: rows.collect(), limit: None };
        Some(self.send_read(reading, Consistency::All, 0, time))
    }

    fn send_read(&mut self, reading: Reading, consistency: Consistency, data_center: usize, time: TrueTime) -> Sending {
        let Reading { read, rows, limit } = reading;
        let flight = ReadFlight {
            consistency,
            data_center,
            coverage: self.mix.replicas.coverage(consistency, data_center),
            table: read.table().id,
            rows,
            limit,
            started: time,
            floors: Default::default(),
            read,
        };
        self.page(flight, None)
    }

    /// The request for a page of a read.
    pub fn page(&mut self, flight: ReadFlight, paging_state: Option<Bytes>) -> Sending {
        let request = Request::Read {
            read: flight.read.clone(),
            consistency: flight.consistency,
            page_rows: if self.rng.chance(300) { self.rng.between(1, 3) as u32 } else { 5_000 },
            paging_state,
            timeout: self.mix.timeout,
        };
        Sending::Request(request, Flight::Read(Box::new(flight)))
    }

    /// What an administrator asks.
    fn administrate(&mut self, time: TrueTime) -> Option<Sending> {
        let name = TABLES[self.rng.between(1, TABLES.len() as u64 - 1) as usize].to_owned();
        if self.rng.chance(300) {
            let change = schema_change(&format!("TRUNCATE {name}"), TableId(0));
            return Some(Sending::Propose(change, Flight::Truncate { name, started: time }));
        }
        if self.rng.chance(500) {
            let if_exists = if self.rng.chance(500) { "IF EXISTS " } else { "" };
            let change = schema_change(&format!("DROP TABLE {if_exists}{name}"), TableId(0));
            return Some(Sending::Propose(change, Flight::Drop { name, started: time }));
        }
        let if_not_exists = self.rng.chance(500);
        let id = TableId(self.rng.next_u128());
        let change = schema_change(&create_table(&name, if_not_exists, self.mix.purged_by_repair), id);
        Some(Sending::Propose(change, Flight::Create { name, id, if_not_exists }))
    }
}

/// Where and when a client asks.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// The machine that it asks.
    pub machine: usize,
    /// The data centre of that.
    pub data_center: usize,
    /// The process there.
    pub incarnation: u64,
    /// True when it is behind others: then the tables that come and go are of interest.
    pub behind: bool,
    /// Now.
    pub time: TrueTime,
}

/// A write as a client wants it.
#[derive(Clone, Debug)]
pub struct Writing<'a> {
    /// The table's name.
    pub table: &'a str,
    /// The partition key.
    pub partition: i32,
    /// What to do.
    pub action: Action,
    /// At this level.
    pub consistency: Consistency,
}

struct Reading {
    read: Arc<BoundRead>,
    rows: Vec<(i32, i32)>,
    limit: Option<usize>,
}

/// The partition keys `0..partitions` in the order in which scans come to them.
fn in_scan_order(partitions: i32) -> Vec<i32> {
    let mut keys: Vec<i32> = (0..partitions).collect();
    keys.sort_by_key(|key| PartitionKey::new(Bytes::copy_from_slice(&key.to_be_bytes())));
    keys
}

/// The CQL that creates a table of the workload, whose deletions wait for repairs or for their grace alone.
#[must_use]
pub fn create_table(name: &str, if_not_exists: bool, purged_by_repair: bool) -> String {
    let condition = if if_not_exists { "IF NOT EXISTS " } else { "" };
    let mode = if purged_by_repair { "repair" } else { "timeout" };
    format!(
        "CREATE TABLE {condition}{name} (p int, c int, v text, w text, PRIMARY KEY (p, c)) WITH tombstone_gc = \
         {{'mode': '{mode}'}}"
    )
}

/// The change that makes an index on the clustering column of a table of the workload.
#[must_use]
pub fn create_index(table: &str) -> SchemaChange {
    let (name, column, part) = (format!("{table}_c"), ColumnId(1), IndexedPart::Value);
    let index = Index { name, column, part, class: String::new(), options: BTreeMap::new() };
    let (keyspace, table) = (KEYSPACE.to_owned(), table.to_owned());
    SchemaChange::CreateIndex { keyspace, table, index, if_not_exists: true }
}

/// The change that a schema statement makes, as any node would bind it.
///
/// # Panics
/// When `text` is not a schema statement.
#[must_use]
pub fn schema_change(text: &str, id: TableId) -> SchemaChange {
    let prepared = query::prepare(text, &Schema::default(), Some(KEYSPACE));
    match prepared.and_then(|prepared| prepared.bind(&[], query::EvaluationContext::new(model::WallMicros(0), 0))) {
        Ok(Bound::Schema(request)) => request.change(id, model::WallMicros(0)),
        other => panic!("'{text}' is no schema statement: {other:?}"),
    }
}

/// What a read saw of registers.
pub type Sight = Vec<(Register, Seen)>;

/// What a page of a read says of each register that it covers, and which rows it leaves for later pages.
///
/// # Errors
/// When it has rows that were not asked for, or in another order.
pub fn seen(
    flight: &ReadFlight,
    rows: &[Vec<Option<Bytes>>],
    more: bool,
) -> Result<(Sight, Vec<(i32, i32)>), Violation> {
    let wrong = |what: &str| Violation::new("answers", format!("{what}: {rows:?} for {flight:?}"));
    if flight.limit.is_some_and(|limit| rows.len() > limit) {
        return Err(wrong("more rows than LIMIT"));
    }
    let mut seen = Sight::new();
    let mut asked = flight.rows.iter().copied();
    let register =
        |(partition, row): (i32, i32), column: Column| Register { table: flight.table, partition, row, column };
    let absent = |seen: &mut Sight, row: (i32, i32)| {
        seen.extend(Column::ALL.map(|column| (register(row, column), Seen::Nothing)));
    };
    for answered in rows {
        let [Some(partition), Some(clustering), values @ ..] = answered.as_slice() else {
            return Err(wrong("a row without key"));
        };
        let int =
            |key: &Bytes| key.as_ref().try_into().map(i32::from_be_bytes).map_err(|_| wrong("a key that is no int"));
        let row = (int(partition)?, int(clustering)?);
        loop {
            match asked.next() {
                None => return Err(wrong("a row that was not asked for, or is out of order")),
                Some(next) if next == row => break,
                Some(next) => absent(&mut seen, next),
            }
        }
        for (column, value) in [Column::V, Column::W].into_iter().zip(values) {
            seen.push(match value {
                Some(value) => (register(row, column), Seen::Value(String::from_utf8_lossy(value).into_owned())),
                None => (register(row, column), Seen::Nothing),
            });
        }
        if values.iter().all(Option::is_none) {
            seen.push((register(row, Column::Row), Seen::Mark));
        }
    }
    let rest: Vec<(i32, i32)> = asked.collect();
    if more || flight.limit == Some(rows.len()) {
        return Ok((seen, rest));
    }
    rest.into_iter().for_each(|row| absent(&mut seen, row));
    Ok((seen, Vec::new()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flight(rows: &[i32], limit: Option<usize>) -> ReadFlight {
        let mut schema = Schema::default();
        let replication = model::schema::Replication::Simple { factor: 1 };
        let name = KEYSPACE.to_owned();
        let keyspace = SchemaChange::CreateKeyspace { name, replication, if_not_exists: false };
        for change in [keyspace, schema_change(&create_table("t0", false, true), TableId(1))] {
            schema = schema.apply(&change).unwrap().unwrap();
        }
        let prepared = query::prepare("SELECT p, c, v, w FROM t0 WHERE p = 1", &schema, Some(KEYSPACE)).unwrap();
        let Ok(Bound::Read(read)) = prepared.bind(&[], query::EvaluationContext::new(model::WallMicros(0), 0)) else {
            panic!("it is a read")
        };
        ReadFlight {
            read: Arc::new(read),
            consistency: Consistency::One,
            data_center: 0,
            coverage: Replicas(vec![1]).coverage(Consistency::One, 0),
            table: TableId(1),
            rows: rows.iter().map(|row| (1, *row)).collect(),
            limit,
            started: 0,
            floors: Default::default(),
        }
    }

    fn row(clustering: i32, v: Option<&'static str>) -> Vec<Option<Bytes>> {
        let v = v.map(|text| Bytes::from_static(text.as_bytes()));
        let int = |key: i32| Some(Bytes::copy_from_slice(&key.to_be_bytes()));
        vec![int(1), int(clustering), v, None]
    }

    fn rows_seen(sight: &Sight) -> Vec<i32> {
        let mut rows: Vec<i32> = sight.iter().map(|(register, _)| register.row).collect();
        rows.dedup();
        rows
    }

    #[test]
    fn an_answer_speaks_of_the_rows_up_to_where_it_ends() {
        let flight = flight(&[0, 1, 2, 3, 4], None);
        let (sight, rest) = seen(&flight, &[row(1, Some("9v")), row(3, None)], true).unwrap();
        assert_eq!((rows_seen(&sight), rest), (vec![0, 1, 2, 3], vec![(1, 4)]));
        assert!(sight.iter().any(|(register, seen)| register.row == 3 && *seen == Seen::Mark));
        let (sight, rest) = seen(&flight, &[row(1, Some("9v"))], false).unwrap();
        assert_eq!((rows_seen(&sight), rest), (vec![0, 1, 2, 3, 4], vec![]));
    }

    #[test]
    fn a_limit_ends_what_an_answer_speaks_of() {
        let flight = flight(&[4, 3, 2], Some(1));
        let (sight, rest) = seen(&flight, &[row(3, None)], false).unwrap();
        assert_eq!((rows_seen(&sight), rest), (vec![4, 3], vec![(1, 2)]));
        assert!(seen(&flight, &[row(4, None), row(3, None)], false).is_err(), "more than the limit");
    }

    #[test]
    fn rows_out_of_order_or_not_asked_for_are_wrong() {
        let flight = flight(&[1, 2], None);
        assert!(seen(&flight, &[row(2, None), row(1, None)], false).is_err());
        assert!(seen(&flight, &[row(3, None)], false).is_err());
    }
}
