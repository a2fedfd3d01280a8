//! A cluster for tests: a shard and a store in memory for each node, and one queue of everything that is on
//! its way. Nothing happens by itself: tests deliver, drop, hold back and let time pass.

use bytes::Bytes;
use membership::{ClusterView, MemberInfo, NodeAddresses};
use model::codec::{Decode, Encode};
use model::deletion::PartitionDeletions;
use model::digest::digest;
use model::garbage::Purge;
use model::index::TableIndex;
use model::local::LocalWrite;
use model::scan::{ScanAnswer, ScanStart};
use model::schema::{Replication, Schema, SchemaChange};
use model::{
    Consistency, Epoch, Instant, Mutation, NodeId, Now, PartitionKey, ReadCommand, ReadData, RecordKey, RequestError,
    Rng, Row, ScanCommand, ScanData, TableId, Token, WallMicros,
};
use query::{Bound, BoundRead};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::{
    Effect, Envelope, Hint, HintPosition, Input, Message, OpId, Recovered, Request, RequestId, Response, Shard,
    ShardConfig, ShardStatus, StorageRequest, Stored,
};

pub(crate) const QUORUM: Consistency = Consistency::Quorum;
pub(crate) const ALL: Consistency = Consistency::All;
pub(crate) const ONE: Consistency = Consistency::One;
pub(crate) const TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) fn node(id: u128) -> NodeId {
    NodeId(id)
}

/// One partition in memory: deletions, the static row, and rows by clustering key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Partition {
    pub(crate) deletions: PartitionDeletions,
    pub(crate) static_row: Row,
    pub(crate) rows: BTreeMap<Bytes, Row>,
}

impl Partition {
    pub(crate) fn apply(&mut self, mutation: &Mutation) {
        for record in &mutation.records {
            match &record.key {
                RecordKey::Deletions => {
                    let deletions = PartitionDeletions::from_bytes(&record.value).unwrap();
                    self.deletions = self.deletions.merge(&deletions);
                }
                RecordKey::Static => {
                    let row = Row::from_bytes(&record.value).unwrap();
                    self.static_row = std::mem::take(&mut self.static_row).merge(row);
                }
                RecordKey::Row(clustering) => {
                    let row = self.rows.entry(clustering.clone()).or_default();
                    *row = std::mem::take(row).merge(Row::from_bytes(&record.value).unwrap());
                }
            }
        }
    }

    fn visible(&self, clustering: &Bytes) -> Row {
        let mut row = self.rows[clustering].clone();
        if let Some(deletion) = self.deletions.covering(clustering) {
            row.delete(deletion);
        }
        row
    }

    /// Reads as storage does.
    pub(crate) fn read(&self, command: &ReadCommand) -> ReadData {
        let mut data = ReadData::default();
        // A hostile message asks for nothing; storage refuses it.
        let (Some(first), Some(last)) = (command.slices.first(), command.slices.last()) else { return data };
        let (mut start, mut end) = (first.start.clone(), last.end.clone());
        let mut keys: Vec<&Bytes> =
            self.rows.keys().filter(|key| command.slices.iter().any(|slice| slice.contains(key))).collect();
        if command.reversed {
            keys.reverse();
        }
        let (mut live, mut bytes) = (0, 0);
        for key in keys {
            let row = self.visible(key);
            if row.is_empty() {
                continue;
            }
            live += u32::from(row.is_live(i64::from(command.now_seconds)));
            let encoded = row.to_bytes();
            bytes += key.len() + encoded.len();
            data.rows.push((key.clone(), encoded));
            if live >= command.row_limit || bytes >= command.bytes_limit as usize {
                data.more = true;
                if command.reversed {
                    start = key.clone();
                } else {
                    end = Bytes::from([key.as_ref(), &[0]].concat());
                }
                break;
            }
        }
        data.deletions = self.deletions.clip(&start, &end);
        let mut static_row = self.static_row.clone();
        self.deletions.partition().into_iter().for_each(|deletion| static_row.delete(deletion));
        if command.static_row && !static_row.is_empty() {
            data.static_row = Some(static_row.to_bytes());
        }
        data
    }

    /// Drops what is shadowed or garbage, as storage does in a sweep.
    pub(crate) fn collect_garbage(&mut self, purge: &Purge) {
        for (clustering, row) in &mut self.rows {
            self.deletions.covering(clustering).into_iter().for_each(|deletion| row.delete(deletion));
            row.normalize(purge);
        }
        self.deletions.partition().into_iter().for_each(|deletion| self.static_row.delete(deletion));
        self.static_row.normalize(purge);
        self.deletions = self.deletions.without_garbage(purge);
    }
}

/// What a node keeps when it is restarted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Store {
    pub(crate) partitions: BTreeMap<(TableId, PartitionKey), Partition>,
    pub(crate) local: BTreeMap<Bytes, Bytes>,
    pub(crate) hints: BTreeMap<NodeId, BTreeMap<u64, Hint>>,
    next_hint: u64,
}

impl Store {
    /// Scans as storage does.
    fn scan(&self, command: &ScanCommand) -> ScanData {
        let mut page = ScanAnswer::new(command);
        let start = page.start();
        let wanted = |key: &PartitionKey| match &start {
            ScanStart::Range => true,
            ScanStart::At(first) => key >= *first,
            ScanStart::After(last) => key > *last,
        };
        let inside = |key: &PartitionKey| command.range.contains(key.token) && wanted(key);
        for ((table, key), partition) in &self.partitions {
            if *table != command.table || !inside(key) {
                continue;
            }
            let mut answer = page.partition(key, partition.deletions.clone());
            answer.set_static_row(&partition.static_row.to_bytes()).unwrap();
            let slices = page.slices(key);
            for (clustering, row) in &partition.rows {
                if slices.iter().any(|slice| slice.contains(clustering))
                    && !answer.push(clustering, &row.to_bytes()).unwrap()
                {
                    break;
                }
            }
            if !page.push(key.clone(), answer.finish_partition().unwrap()) {
                break;
            }
        }
        page.finish()
    }

    fn oldest_hint(&self, target: NodeId) -> Option<u32> {
        self.hints.get(&target)?.values().next().map(|hint| hint.written_seconds)
    }

    fn execute(&mut self, op: OpId, request: &StorageRequest, tables: &Schema) -> Stored {
        match request {
            StorageRequest::Apply(mutation) => {
                let key = (mutation.table, mutation.partition.clone());
                self.partitions.entry(key).or_default().apply(mutation);
            }
            StorageRequest::Local(LocalWrite { records, removed }) => {
                if let Some(range) = removed {
                    self.local.retain(|key, _| !range.contains(key));
                }
                for (key, value) in records {
                    match value {
                        Some(value) => drop(self.local.insert(key.clone(), value.clone())),
                        None => drop(self.local.remove(key)),
                    }
                }
            }
            StorageRequest::DropRanges { table, ranges } => {
                let dropped = |key: &PartitionKey| ranges.iter().any(|range| range.contains(key.token));
                self.partitions.retain(|(of, key), _| of != table || !dropped(key));
            }
            StorageRequest::ReadLocal { key } => return Stored::LocalRead { op, value: self.local.get(key).cloned() },
            StorageRequest::Hint { target, oldest_seconds, .. }
                if self.oldest_hint(*target).is_some_and(|kept| kept < *oldest_seconds) =>
            {
                return Stored::Failed { op, error: crate::StorageError::WindowOver };
            }
            StorageRequest::Hint { target, hint, .. } => {
                self.next_hint += 1;
                self.hints.entry(*target).or_default().insert(self.next_hint, hint.clone());
            }
            StorageRequest::HintsDelivered { target, through } => {
                if let Some(hints) = self.hints.get_mut(target) {
                    hints.retain(|position, _| *position > through.0);
                    if hints.is_empty() {
                        self.hints.remove(target);
                    }
                }
            }
            StorageRequest::Read(command) => {
                let found = self.partitions.get(&(command.table, command.partition.clone()));
                let data = found.map(|partition| partition.read(command)).unwrap_or_default();
                return Stored::Read { op, data };
            }
            StorageRequest::Digest(command) => {
                let found = self.partitions.get(&(command.table, command.partition.clone()));
                let data = found.map(|partition| partition.read(command)).unwrap_or_default();
                return Stored::Digest { op, digest: digest(&data, &command.purge()).unwrap() };
            }
            StorageRequest::Scan(command) => return Stored::Scanned { op, data: self.scan(command) },
            StorageRequest::Compare(command) => {
                let page = model::compare::compare::<model::codec::CodecError>(command, |scan| Ok(self.scan(scan)));
                return Stored::Compared { op, page: page.unwrap() };
            }
            StorageRequest::LookUp(command) => {
                let table = tables.table(command.table).unwrap();
                let index = TableIndex::new(table, command.target).unwrap();
                // Short pages, so that those of replicas differ.
                let page = self.scan(&command.scan(&index, 200));
                return Stored::LookedUp { op, data: command.found_in(&index, &page).unwrap() };
            }
            StorageRequest::ReadHints { target, after, bytes_limit } => {
                let after = after.map_or(0, |after| after.0);
                let all = self.hints.get(target).into_iter().flatten();
                let mut bytes = 0;
                let page = all.filter(|(position, _)| **position > after).take_while(|(_, hint)| {
                    let take = bytes < *bytes_limit as usize;
                    bytes += hint.mutation.bytes();
                    take
                });
                let hints = page.map(|(position, hint)| (HintPosition(*position), hint.clone())).collect();
                return Stored::Hints { op, hints };
            }
        }
        Stored::Synced { up_to: op }
    }
}

pub(crate) struct TestNode {
    pub(crate) shard: Shard,
    pub(crate) store: Store,
    pub(crate) up: bool,
    /// True to let requests to storage wait in `held`.
    pub(crate) slow_storage: bool,
    pub(crate) held: VecDeque<(OpId, StorageRequest)>,
    /// This node's wall clock minus the cluster's time, in microseconds.
    pub(crate) skew: i64,
}

/// Something on its way.
#[derive(Clone, Debug)]
pub(crate) enum Flight {
    Message { from: NodeId, to: NodeId, envelope: Envelope },
    Storage { at: NodeId, op: OpId, request: StorageRequest },
}

type Filter = Box<dyn FnMut(NodeId, NodeId, &Message) -> bool>;

pub(crate) struct Cluster {
    pub(crate) nodes: BTreeMap<NodeId, TestNode>,
    pub(crate) flights: VecDeque<Flight>,
    pub(crate) now: Instant,
    pub(crate) replies: BTreeMap<u64, Result<Response, RequestError>>,
    pub(crate) caught_up: Vec<(NodeId, Effect)>,
    /// What nodes have done of changes of replication.
    pub(crate) done: BTreeMap<NodeId, Epoch>,
    /// What each node has told last of its repairs.
    pub(crate) repairs: BTreeMap<NodeId, Arc<crate::RepairsStatus>>,
    /// Messages for which it is true are lost.
    pub(crate) lose: Filter,
    /// Messages wait for too long before they are handled.
    pub(crate) late: bool,
    pub(crate) view: Arc<ClusterView>,
    configure: fn(&mut ShardConfig),
    next_request: u64,
    lives: u64,
    #[cfg(feature = "planted")]
    planted: Option<model::Planted>,
}

/// A view of these nodes in one data centre at `epoch`, with the tables of `schema`.
pub(crate) fn view(epoch: u64, nodes: &[u128], schema: Arc<Schema>) -> Arc<ClusterView> {
    view_across(epoch, nodes, |_| "dc", schema)
}

/// A view of these nodes, each in the data centre of that name.
pub(crate) fn view_across(
    epoch: u64,
    nodes: &[u128],
    data_center: fn(u128) -> &'static str,
    schema: Arc<Schema>,
) -> Arc<ClusterView> {
    let member = |id: &u128| {
        let address = std::net::SocketAddr::from(([127, 0, 0, *id as u8], 7000));
        let info = MemberInfo {
            id: NodeId(*id),
            addresses: NodeAddresses { internode: address, client: address, native: address },
            data_center: data_center(*id).to_owned(),
            rack: "rack".to_owned(),
            // Evenly over the ring.
            tokens: vec![Token((*id as i64 - 4) * (i64::MAX / 4))],
        };
        (NodeId(*id), info)
    };
    let members: BTreeMap<NodeId, MemberInfo> = nodes.iter().map(member).collect();
    let voters = members.keys().copied().collect();
    Arc::new(ClusterView::new(Epoch(epoch), 1, schema, members, voters))
}

/// The schema of these statements; tables get ids from 100 on in their order.
pub(crate) fn schema(factor: u32, tables: &[&str]) -> Arc<Schema> {
    schema_with_ids(factor, tables, 100)
}

/// The schema of these statements; tables get ids from `first` on in their order.
pub(crate) fn schema_with_ids(factor: u32, tables: &[&str], first: u128) -> Arc<Schema> {
    schema_of(Replication::Simple { factor }, tables, first)
}

/// The schema of these statements, replicated so; tables get ids from `first` on in their order.
pub(crate) fn schema_of(replication: Replication, tables: &[&str], first: u128) -> Arc<Schema> {
    let keyspace = SchemaChange::CreateKeyspace { name: "ks".to_owned(), replication, if_not_exists: false };
    let mut schema = Schema::default().apply(&keyspace).unwrap().unwrap();
    for (index, text) in tables.iter().enumerate() {
        let Ok(Bound::Schema(request)) = query::prepare(text, &schema, Some("ks"))
            .and_then(|it| it.bind(&[], query::EvaluationContext::new(model::WallMicros(0), 0)))
        else {
            panic!("not a schema change: {text}")
        };
        let change = request.change(TableId(first + index as u128), WallMicros(0));
        schema = schema.apply(&change).unwrap().unwrap();
    }
    Arc::new(schema)
}

pub(crate) const TABLE: &str = "CREATE TABLE t (k text, c int, v text, w text, PRIMARY KEY (k, c))";

pub(crate) const LISTS: &str =
    "CREATE TABLE lists (k text, c int, l list<text>, s list<text> static, PRIMARY KEY (k, c))";

impl Cluster {
    /// Nodes 1, 2 and 3, one shard each, all alive, with table `ks.t` on all of them.
    pub(crate) fn new() -> Cluster {
        Cluster::with(|_| {})
    }

    pub(crate) fn with(configure: fn(&mut ShardConfig)) -> Cluster {
        Cluster::of(&[1, 2, 3], 3, configure)
    }

    pub(crate) fn of(nodes: &[u128], factor: u32, configure: fn(&mut ShardConfig)) -> Cluster {
        Cluster::on(view(10, nodes, schema(factor, &[TABLE, LISTS])), configure)
    }

    /// Nodes 1, 2 and 3 in data centre `a` and 4, 5 and 6 in `b`, with so many replicas in each.
    pub(crate) fn across(a: u32, b: u32) -> Cluster {
        let factors = BTreeMap::from([("a".to_owned(), a), ("b".to_owned(), b)]);
        let schema = schema_of(Replication::NetworkTopology { factors }, &[TABLE, LISTS], 100);
        Cluster::on(view_across(10, &[1, 2, 3, 4, 5, 6], |id| if id < 4 { "a" } else { "b" }, schema), |_| {})
    }

    pub(crate) fn on(view: Arc<ClusterView>, configure: fn(&mut ShardConfig)) -> Cluster {
        let nodes: Vec<NodeId> = view.members.keys().copied().collect();
        let mut cluster = Cluster {
            nodes: BTreeMap::new(),
            flights: VecDeque::new(),
            now: Instant(1_000_000),
            replies: BTreeMap::new(),
            caught_up: Vec::new(),
            done: BTreeMap::new(),
            repairs: BTreeMap::new(),
            lose: Box::new(|_, _, _| false),
            late: false,
            view,
            configure,
            next_request: 0,
            lives: 0,
            #[cfg(feature = "planted")]
            planted: None,
        };
        for id in nodes {
            cluster.start(id, Store::default());
        }
        cluster
    }

    pub(crate) fn wall(&self, skew: i64) -> Now {
        // The cluster's time begins in 2026.
        Now { monotonic: self.now, wall: WallMicros(1_790_000_000_000_000 + self.now.0 as i64 + skew) }
    }

    /// Starts all nodes again with a planted bug.
    #[cfg(feature = "planted")]
    pub(crate) fn plant_bug(&mut self, bug: Option<model::Planted>) {
        self.planted = bug;
        for id in self.nodes.keys().copied().collect::<Vec<_>>() {
            self.start(id, Store::default());
        }
    }

    fn start(&mut self, id: NodeId, store: Store) {
        self.lives += 1;
        let mut config = ShardConfig::new(id, 0, 1);
        // Nothing happens by itself.
        config.repairs.every = None;
        (self.configure)(&mut config);
        #[cfg(feature = "planted")]
        {
            config.planted = self.planted.or(config.planted);
        }
        let records: Vec<(Bytes, Bytes)> =
            store.local.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
        let targets = store.hints.keys().copied().collect();
        let recovered = Recovered::from_local_records(&records, targets).unwrap();
        let skew = self.nodes.get(&id).map_or(0, |node| node.skew);
        let alive = Arc::new(self.alive());
        let repairs = crate::RepairsStatus::recovered(&config.repairs, &recovered.repairs);
        self.repairs.insert(id, Arc::new(repairs));
        let shard = Shard::new(config, self.view.clone(), alive, recovered, self.lives, self.wall(skew));
        let (held, slow_storage) = (VecDeque::new(), false);
        self.nodes.insert(id, TestNode { shard, store, up: true, slow_storage, held, skew });
    }

    fn alive(&self) -> BTreeSet<NodeId> {
        let members = self.view.members.keys().copied();
        members.filter(|id| self.nodes.get(id).is_none_or(|node| node.up)).collect()
    }

    /// Kills a node and tells the others.
    pub(crate) fn kill(&mut self, id: u128) {
        self.stop(id);
        self.announce();
    }

    /// Kills a node and nobody knows yet.
    pub(crate) fn stop(&mut self, id: u128) {
        self.nodes.get_mut(&node(id)).unwrap().up = false;
        self.flights.retain(|flight| match flight {
            Flight::Message { to, .. } => *to != node(id),
            Flight::Storage { at, .. } => *at != node(id),
        });
    }

    /// Starts a killed node again on what it had stored, and tells the others.
    pub(crate) fn restart(&mut self, id: u128) {
        let store = self.nodes[&node(id)].store.clone();
        self.start(node(id), store);
        self.announce();
    }

    /// Tells every node who is up.
    pub(crate) fn announce(&mut self) {
        let alive = Arc::new(self.alive());
        self.all(&Input::Alive(alive));
    }

    /// Gives every node a view.
    pub(crate) fn publish(&mut self, view: Arc<ClusterView>) {
        self.view = view.clone();
        self.all(&Input::View(view));
    }

    pub(crate) fn all(&mut self, input: &Input) {
        for id in self.nodes.keys().copied().collect::<Vec<_>>() {
            self.step(id, input.clone());
        }
    }

    pub(crate) fn step(&mut self, id: NodeId, input: Input) {
        let skew = self.nodes[&id].skew;
        let now = self.wall(skew);
        let node = self.nodes.get_mut(&id).unwrap();
        if !node.up {
            return;
        }
        let mut effects = Vec::new();
        node.shard.step(now, input, &mut effects);
        assert!(node.shard.deadline().is_none_or(|at| at > now.monotonic), "nothing that is due is left");
        let mut last_store = None;
        for effect in effects {
            match effect {
                Effect::Reply { id, result } => {
                    assert!(self.replies.insert(id.0, result).is_none(), "request {id:?} is answered twice");
                }
                Effect::Send { to, envelope } => {
                    assert_ne!(to, id, "a node does not send to itself");
                    self.flights.push_back(Flight::Message { from: id, to, envelope });
                }
                Effect::Store { op, request } => {
                    assert!(last_store.is_none_or(|last| last < op), "ids of storage requests ascend");
                    last_store = Some(op);
                    self.flights.push_back(Flight::Storage { at: id, op, request });
                }
                Effect::Repairs(status) => drop(self.repairs.insert(id, status)),
                Effect::CatchUp { .. } => self.caught_up.push((id, effect)),
                Effect::ReplicationDone { since } => drop(self.done.insert(id, since)),
            }
        }
    }

    /// Carries out one thing that is on its way.
    pub(crate) fn deliver(&mut self, flight: Flight) {
        match flight {
            Flight::Message { from, to, envelope } => {
                let up = self.nodes.get(&to).is_some_and(|node| node.up);
                if up && !(self.lose)(from, to, &envelope.message) {
                    let input = match self.late {
                        true => Input::Late { from, envelope },
                        false => Input::Message { from, envelope },
                    };
                    self.step(to, input);
                }
            }
            Flight::Storage { at, op, request } => {
                let Some(node) = self.nodes.get_mut(&at).filter(|node| node.up) else { return };
                if node.slow_storage {
                    return node.held.push_back((op, request));
                }
                let schema = self.view.schema.clone();
                let stored = node.store.execute(op, &request, &schema);
                self.step(at, Input::Stored(stored));
            }
        }
    }

    /// Delivers until nothing is on its way. Time stands still.
    pub(crate) fn run(&mut self) {
        for _ in 0..1_000_000 {
            let Some(flight) = self.flights.pop_front() else { return };
            self.deliver(flight);
        }
        panic!("the cluster does not come to rest");
    }

    /// As [`Cluster::run`], in random order.
    pub(crate) fn run_shuffled(&mut self, rng: &mut Rng) {
        while !self.flights.is_empty() {
            let index = rng.index(self.flights.len());
            // Storage executes writes in their order.
            let index = match &self.flights[index] {
                Flight::Storage { at, .. } => {
                    let same = |flight: &Flight| matches!(flight, Flight::Storage { at: other, .. } if other == at);
                    self.flights.iter().position(same).unwrap()
                }
                Flight::Message { .. } => index,
            };
            let flight = self.flights.remove(index).unwrap();
            self.deliver(flight);
        }
    }

    /// Lets storage of a node go on.
    pub(crate) fn release(&mut self, id: u128) {
        let node = self.nodes.get_mut(&node(id)).unwrap();
        node.slow_storage = false;
        for (op, request) in std::mem::take(&mut node.held) {
            self.flights.push_back(Flight::Storage { at: NodeId(id), op, request });
        }
        self.run();
    }

    /// Lets time pass, waking every node when it wants to be.
    pub(crate) fn advance(&mut self, by: Duration) {
        self.run();
        let end = self.now + by;
        loop {
            let due = self.nodes.values().filter(|node| node.up).filter_map(|node| node.shard.deadline()).min();
            let Some(at) = due.filter(|at| *at <= end) else { break };
            self.now = self.now.max(at);
            self.all(&Input::Wake);
            self.run();
        }
        self.now = end;
        self.all(&Input::Wake);
        self.run();
    }

    /// Lets time pass while everything is on its way; every node is woken when it wants to be.
    pub(crate) fn advance_idle(&mut self, by: Duration) {
        let end = self.now + by;
        while let Some(at) = self.nodes.values().filter_map(|node| node.shard.deadline()).min().filter(|at| *at <= end)
        {
            self.now = self.now.max(at);
            self.all(&Input::Wake);
        }
        self.now = end;
    }

    pub(crate) fn request(&mut self, at: u128, request: Request) -> u64 {
        self.next_request += 1;
        self.step(node(at), Input::Request { id: RequestId(self.next_request), request });
        self.next_request
    }

    pub(crate) fn bind(&self, text: &str) -> Bound {
        query::prepare(text, &self.view.schema, Some("ks"))
            .and_then(|prepared| prepared.bind(&[], query::EvaluationContext::new(model::WallMicros(0), 0)))
            .expect(text)
    }

    /// The replicas of the partition that a statement writes to.
    pub(crate) fn replicas(&self, text: &str) -> Vec<NodeId> {
        let Bound::Write(write) = self.bind(text) else { panic!("not a write: {text}") };
        self.view.replicas(&write.table().keyspace, write.partition().token).to_vec()
    }

    /// Begins a write at a node.
    pub(crate) fn write(&mut self, at: u128, text: &str, consistency: Consistency) -> u64 {
        let Bound::Write(write) = self.bind(text) else { panic!("not a write: {text}") };
        self.request(at, Request::Write { write, consistency, timestamp: None, token: None, timeout: TIMEOUT })
    }

    pub(crate) fn select(&self, text: &str) -> Arc<BoundRead> {
        let Bound::Read(read) = self.bind(text) else { panic!("not a read: {text}") };
        Arc::new(read)
    }

    /// Begins a read of one page at a node.
    pub(crate) fn read(&mut self, at: u128, text: &str, consistency: Consistency) -> u64 {
        self.read_page(at, text, consistency, 5_000, None)
    }

    pub(crate) fn read_page(
        &mut self,
        at: u128,
        text: &str,
        consistency: Consistency,
        page_rows: u32,
        paging_state: Option<Bytes>,
    ) -> u64 {
        self.read_bound(at, self.select(text), consistency, page_rows, paging_state)
    }

    pub(crate) fn read_bound(
        &mut self,
        at: u128,
        read: Arc<BoundRead>,
        consistency: Consistency,
        page_rows: u32,
        paging_state: Option<Bytes>,
    ) -> u64 {
        self.request(at, Request::Read { read, consistency, page_rows, paging_state, timeout: TIMEOUT })
    }

    pub(crate) fn reply(&mut self, request: u64) -> Option<Result<Response, RequestError>> {
        self.replies.remove(&request)
    }

    /// Writes and expects success.
    pub(crate) fn written(&mut self, at: u128, text: &str, consistency: Consistency) {
        let request = self.write(at, text, consistency);
        self.run();
        assert_eq!(self.reply(request), Some(Ok(Response::Written)), "{text}");
    }

    /// The rows of a request that has been answered with some, as text.
    pub(crate) fn rows_of(&mut self, request: u64) -> (Vec<Vec<String>>, Option<Bytes>) {
        match self.reply(request) {
            Some(Ok(Response::Rows { rows, paging_state, .. })) => {
                let text = |value: Option<Bytes>| match value {
                    None => "null".to_owned(),
                    Some(bytes) => match <[u8; 4]>::try_from(bytes.as_ref()) {
                        Ok(number) if number[0] == 0 => u32::from_be_bytes(number).to_string(),
                        _ => String::from_utf8(bytes.to_vec()).unwrap(),
                    },
                };
                (rows.into_iter().map(|row| row.into_iter().map(text).collect()).collect(), paging_state)
            }
            other => panic!("no rows but {other:?}"),
        }
    }

    /// Reads and expects success; all rows of all pages, one string each.
    pub(crate) fn rows(&mut self, at: u128, text: &str, consistency: Consistency) -> Vec<String> {
        self.rows_by(at, text, consistency, 5_000)
    }

    pub(crate) fn rows_by(&mut self, at: u128, text: &str, consistency: Consistency, page_rows: u32) -> Vec<String> {
        let (mut all, mut state) = (Vec::new(), None);
        loop {
            let request = self.read_page(at, text, consistency, page_rows, state);
            self.run();
            let (rows, next) = self.rows_of(request);
            assert!(rows.len() <= page_rows as usize);
            all.extend(rows.into_iter().map(|row| row.join(" ")));
            match next {
                Some(next) => state = Some(next),
                None => return all,
            }
        }
    }

    /// Writes directly to the stores of these nodes, at a timestamp.
    pub(crate) fn plant(&mut self, nodes: &[u128], text: &str, timestamp: i64) {
        let Bound::Write(write) = self.bind(text) else { panic!("not a write: {text}") };
        let mutation = write.mutation(timestamp, self.wall(0).wall).unwrap();
        for id in nodes {
            let store = &mut self.nodes.get_mut(&node(*id)).unwrap().store;
            let key = (mutation.table, mutation.partition.clone());
            store.partitions.entry(key).or_default().apply(&mutation);
        }
    }

    pub(crate) fn status(&self, id: u128) -> ShardStatus {
        self.nodes[&node(id)].shard.status()
    }

    /// What a node stores, as a reader sees it.
    fn contents(&self, id: u128) -> BTreeMap<(TableId, PartitionKey), ReadData> {
        let read = |(key, partition): (&(TableId, PartitionKey), &Partition)| {
            let command = everything(key.0, &key.1);
            (key.clone(), partition.read(&command))
        };
        self.nodes[&node(id)].store.partitions.iter().map(read).collect()
    }

    /// True when the stores of these nodes tell every reader the same.
    pub(crate) fn agree(&self, nodes: &[u128]) -> bool {
        let first = self.contents(nodes[0]);
        nodes.iter().all(|id| self.contents(*id) == first)
    }

    /// Asserts that nothing is left of any request.
    pub(crate) fn assert_idle(&self) {
        for (id, node) in &self.nodes {
            let status = node.shard.status();
            assert_eq!(status.requests_in_flight, 0, "{id}");
            assert_eq!(status.writes_lingering, 0, "{id}");
            assert_eq!(status.write_bytes, 0, "{id}");
            assert_eq!(status.read_bytes, 0, "{id}");
            assert_eq!(status.replica_ops, 0, "{id}");
            assert_eq!(status.parked, 0, "{id}");
        }
    }
}

/// A command for a whole partition.
pub(crate) fn everything(table: TableId, partition: &PartitionKey) -> ReadCommand {
    ReadCommand {
        table,
        partition: partition.clone(),
        slices: vec![model::read::Slice::all()],
        reversed: false,
        static_row: true,
        row_limit: u32::MAX,
        bytes_limit: u32::MAX,
        now_seconds: 0,
        tombstone_limit: u32::MAX,
        gc_before_seconds: 0,
        dropped_columns: Vec::new(),
    }
}
