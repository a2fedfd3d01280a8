//! What is in the tables that a node answers by itself (`query::system`): made from its picture of the cluster when
//! they are read, and read by the same machinery as stored rows.
//!
//! Invariants:
//! * Drivers find every other member in `system.peers` and `system.peers_v2`, and this node in `system.local`.
//! * All nodes of one epoch show the same `schema_version`; nodes of different schemas show different ones.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use membership::{ClusterView, MemberInfo, ReplicationChange};
use model::codec::Encode;
use model::digest::digest_of_bytes;
use model::key::encode_clustering;
use model::row::Liveness;
use model::schema::{ClusteringOrder, Column, ColumnKind, Index, Keyspace, Replication, Role, Schema, Table};
use model::types::UserType;
use model::{
    Cell, CqlType, IndexTarget, NodeId, PartitionKey, RequestError, Row, RowView, TableId, Token, TokenRange, Value,
    WallMicros,
};
use query::{
    BoundRead, ClusterDescription, CommandLimits, Description, OptionValue, PageLimits, Progress, ReadSource,
    ResultBuilder, ResultPage, system,
};
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::repair::repaired::RepairedThrough;
use crate::repair::{RangeFailure, RepairReport, RepairsStatus};
use crate::storage::{IndexBuild, RangeEstimate};

/// What only the node's driver knows: asked for when it is read.
pub trait Live: fmt::Debug {
    /// The connections of the CQL native protocol.
    fn clients(&self) -> Vec<Client>;
    /// What the node was configured to: names and values.
    fn settings(&self) -> Vec<(String, String)>;
    /// Prepared statements: id, keyspace of USE, text.
    fn prepared(&self) -> Vec<(Bytes, Option<String>, String)>;
    /// How its repairs are.
    fn repairs(&self) -> Arc<RepairsStatus>;
    /// How far the indexes that the node stores are built.
    fn index_builds(&self) -> Vec<IndexBuild>;
    /// How much of a table the node stores in a range of tokens; `None` when that cannot be said.
    fn estimate(&self, table: TableId, range: TokenRange) -> Option<RangeEstimate>;
}

/// A connection of the CQL native protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Where it comes from.
    pub address: SocketAddr,
    /// What it has said of itself when it began.
    pub options: BTreeMap<String, String>,
    /// How far it has come: `startup`, `authenticating` or `ready`.
    pub stage: &'static str,
    /// The version of the protocol; 0 before it has said one.
    pub version: u8,
    /// The keyspace chosen by USE.
    pub keyspace: Option<String>,
    /// As whom it has logged in.
    pub user: Option<String>,
    /// It speaks TLS.
    pub tls: bool,
    /// Requests so far.
    pub requests: u64,
}

/// What a node knows of itself and the cluster.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The cluster.
    pub view: &'a ClusterView,
    /// This node.
    pub own: NodeId,
    /// The release of Cassandra whose behaviour it has: drivers choose by it how they read the schema tables.
    pub release: &'a str,
    /// The version of CQL.
    pub cql_version: &'a str,
    /// The highest version of the native protocol.
    pub native_version: &'a str,
    /// What else it knows.
    pub live: &'a dyn Live,
}

/// A row: the values of some columns by their names. A column that is not named is null.
type Values = BTreeMap<&'static str, Value>;
/// Rows in the order in which they are read.
type Sorted = BTreeMap<PartitionKey, BTreeMap<Bytes, Row>>;

/// A page of a read of a table of `query::system`.
///
/// # Errors
/// `Invalid` for a paging state that is not of this read.
pub fn read(
    facts: &Facts<'_>,
    read: &Arc<BoundRead>,
    saved: Option<&Bytes>,
    limits: PageLimits,
    now: WallMicros,
) -> Result<ResultPage, RequestError> {
    let rows = sorted(read.table(), rows(facts, read))?;
    let mut builder = ResultBuilder::start(read, saved, limits, now.clamped_seconds())?;
    let position = builder.position().cloned();
    let partitions: Vec<PartitionKey> = match read.source() {
        ReadSource::Partitions(partitions) => partitions,
        ReadSource::Range(range) => rows.keys().filter(|key| range.contains(key.token)).cloned().collect(),
    };
    let next = match &position {
        None => 0,
        Some(position) => {
            let at = partitions.iter().position(|partition| *partition == position.partition);
            // A partition that is gone is not gone on with.
            at.map_or(partitions.len(), |at| at + usize::from(position.within.is_none()))
        }
    };
    let everything = CommandLimits { rows: u32::MAX, bytes: u32::MAX, tombstones: u32::MAX };
    for partition in partitions.get(next..).unwrap_or_default() {
        let within = position.as_ref().filter(|position| position.partition == *partition);
        let command = read.partition_command(partition, everything, now);
        let mut of_partition: Vec<_> = rows.get(partition).into_iter().flatten().collect();
        if command.reversed {
            of_partition.reverse();
        }
        let after = |clustering: &Bytes| {
            let last = within.and_then(|position| position.within.as_ref());
            last.is_none_or(|last| if command.reversed { clustering < last } else { clustering > last })
        };
        let wanted = |clustering: &Bytes| command.slices.iter().any(|slice| slice.contains(clustering));
        of_partition.retain(|(clustering, _)| wanted(clustering) && after(clustering));
        match add_partition(&mut builder, partition, &of_partition)? {
            Progress::Continue | Progress::SkipPartition => {}
            Progress::PageFull | Progress::Complete => return builder.finish(false),
        }
    }
    builder.finish(true)
}

fn add_partition(
    builder: &mut ResultBuilder,
    partition: &PartitionKey,
    rows: &[(&Bytes, &Row)],
) -> Result<Progress, RequestError> {
    let mut progress = builder.begin_partition(partition)?;
    for (clustering, row) in rows {
        if progress != Progress::Continue {
            break;
        }
        progress = builder.row(clustering, &RowView::of(row))?;
    }
    match progress {
        Progress::Continue | Progress::SkipPartition => builder.end_partition(),
        ended => Ok(ended),
    }
}

/// A page of the rows of DESCRIBE.
///
/// # Errors
/// `NotFound` or `Invalid` when what it names does not exist; `Invalid` for a paging state that is not of this schema.
pub fn describe(
    facts: &Facts<'_>,
    description: &Description,
    saved: Option<&Bytes>,
    page_rows: u32,
) -> Result<ResultPage, RequestError> {
    let version = schema_bits(&facts.view.schema);
    let offset = saved.map_or(Ok(0), |saved| described_offset(saved, version))?;
    let mut rows = description.rows(&facts.view.schema, |keyspace| describe_cluster(facts, keyspace))?;
    let mut rows = rows.split_off(offset.min(rows.len()));
    let page = usize::try_from(page_rows).unwrap_or(usize::MAX);
    let saved = (rows.len() > page).then(|| {
        let mut state = BytesMut::with_capacity(24);
        state.put_u128(version);
        state.put_u64((offset + page) as u64);
        state.freeze()
    });
    rows.truncate(page);
    Ok(ResultPage { rows, saved })
}

/// How many rows of DESCRIBE the pages before had.
fn described_offset(saved: &Bytes, version: u128) -> Result<usize, RequestError> {
    let invalid = |message: &str| Err(RequestError::Invalid(message.to_owned()));
    let mut saved = saved.clone();
    if saved.len() != 24 {
        return invalid("Invalid value for the paging state");
    }
    if saved.get_u128() != version {
        return invalid(
            "The schema has changed since the previous page of the DESCRIBE statement result. Please retry the \
             DESCRIBE statement.",
        );
    }
    Ok(usize::try_from(saved.get_u64()).unwrap_or(usize::MAX))
}

fn describe_cluster(facts: &Facts<'_>, keyspace: Option<&str>) -> ClusterDescription {
    let address = |node: &NodeId| facts.view.members.get(node).map(|member| member.addresses.internode.to_string());
    let range = |keyspace: &str, token: Token| {
        let replicas = facts.view.replicas(keyspace, token);
        (token.to_string(), replicas.iter().filter_map(address).collect())
    };
    let ranges = |keyspace| facts.view.ring().iter().map(|(token, _)| range(keyspace, *token)).collect();
    ClusterDescription {
        name: CLUSTER_NAME.to_owned(),
        partitioner: PARTITIONER.trim_start_matches("org.apache.cassandra.dht.").to_owned(),
        // Data centre and rack of a node are settings of its own and told to the others, as with this class.
        snitch: "GossipingPropertyFileSnitch".to_owned(),
        range_ownership: keyspace.map(ranges).unwrap_or_default(),
    }
}

/// The rows as they would be stored.
fn sorted(table: &Table, rows: Vec<Values>) -> Result<Sorted, RequestError> {
    let mut sorted = Sorted::new();
    for values in rows {
        let wire = |column: &Column| values.get(column.name.as_str()).map(Value::to_wire).unwrap_or_default();
        let partition: Vec<Bytes> = table.partition_key().map(wire).collect();
        let clustering: Vec<Bytes> = table.clustering().map(wire).collect();
        let given = table.regular().filter(|column| values.contains_key(column.name.as_str()));
        let cells = given.map(|column| (column.id, Cell::live(0, wire(column)))).collect();
        let row = Row::new(Some(Liveness { timestamp: 0, expiry: None }), None, cells);
        let clustering = encode_clustering(table, &clustering)?;
        sorted.entry(PartitionKey::from_components(&partition)?).or_default().insert(clustering, row);
    }
    Ok(sorted)
}

fn rows(facts: &Facts<'_>, read: &BoundRead) -> Vec<Values> {
    let table = read.table();
    match (table.keyspace.as_str(), table.name.as_str()) {
        ("system", name) => {
            let version = schema_version(&facts.view.schema);
            let of_node = |member| of_node(facts, member, &version);
            let own = facts.view.members.get(&facts.own);
            let others = facts.view.members.values().filter(|member| member.id != facts.own);
            match name {
                "local" => own.map(|member| local(facts, member, of_node(member))).into_iter().collect(),
                "peers" => others.map(|member| peer(member, of_node(member))).collect(),
                "peers_v2" => others.map(|member| peer_v2(member, of_node(member))).collect(),
                "IndexInfo" => built_rows(facts),
                "size_estimates" => estimates(facts, read, &[None]),
                "table_estimates" => estimates(facts, read, &[Some("primary"), Some("local_primary")]),
                "prepared_statements" => facts.live.prepared().into_iter().map(prepared).collect(),
                _ => Vec::new(),
            }
        }
        ("system_schema", name) => described(facts.view).flat_map(|keyspace| schema_rows(name, keyspace)).collect(),
        (system::VIRTUAL_SCHEMA, name) => {
            let own = system::schema().keyspaces().values().filter(|keyspace| system::is_virtual(&keyspace.name));
            own.flat_map(|keyspace| schema_rows(name, keyspace)).collect()
        }
        ("system_auth", "roles") => facts.view.schema.roles().map(|role| role_row(role)).collect(),
        (system::VIEWS, "repairs") => facts.live.repairs().reports.iter().map(|report| repair(facts, report)).collect(),
        (system::VIEWS, "repaired_ranges") => repaired_ranges(facts),
        (system::VIEWS, "replication_changes") => {
            facts.view.replication_change.iter().map(replication_change).collect()
        }
        (system::VIEWS, "settings") => {
            let own = [("cluster_name".to_owned(), CLUSTER_NAME.to_owned())];
            own.into_iter().chain(facts.live.settings()).map(setting).collect()
        }
        (system::VIEWS, "clients") => facts.live.clients().into_iter().map(client).collect(),
        _ => Vec::new(),
    }
}

fn role_row(role: &Role) -> Values {
    BTreeMap::from([
        ("role", text(&role.name)),
        ("can_login", Value::Boolean(role.login)),
        ("is_superuser", Value::Boolean(role.superuser)),
    ])
}

fn prepared((id, keyspace, statement): (Bytes, Option<String>, String)) -> Values {
    let mut values = BTreeMap::from([("prepared_id", Value::Blob(id)), ("query_string", text(statement))]);
    values.extend(keyspace.map(|keyspace| ("logged_keyspace", text(keyspace))));
    values
}

fn setting((name, value): (String, String)) -> Values {
    BTreeMap::from([("name", text(name)), ("value", text(value))])
}

fn client(client: Client) -> Values {
    let mut values = BTreeMap::from([
        ("address", Value::Inet(client.address.ip())),
        ("port", port(&client.address)),
        ("connection_stage", text(client.stage)),
        ("protocol_version", Value::Int(client.version.into())),
        ("request_count", Value::BigInt(i64::try_from(client.requests).unwrap_or(i64::MAX))),
        ("ssl_enabled", Value::Boolean(client.tls)),
    ]);
    let named = [("driver_name", "DRIVER_NAME"), ("driver_version", "DRIVER_VERSION")];
    values.extend(named.into_iter().filter_map(|(column, option)| Some((column, text(client.options.get(option)?)))));
    values.extend(client.keyspace.map(|keyspace| ("keyspace_name", text(keyspace))));
    values.extend(client.user.map(|user| ("username", text(user))));
    values.insert("client_options", text_map(client.options));
    values
}

fn repair(facts: &Facts<'_>, report: &RepairReport) -> Values {
    let number = |number: u64| Value::BigInt(i64::try_from(number).unwrap_or(i64::MAX));
    let count = |number: u32| Value::Int(i32::try_from(number).unwrap_or(i32::MAX));
    let figures = &report.figures;
    let failure = |failure: &RangeFailure| {
        let table = facts.view.schema.table(failure.table);
        let table =
            table.map_or_else(|| failure.table.to_string(), |table| format!("{}.{}", table.keyspace, table.name));
        format!("{table} {}:{}: {}", failure.range.start, failure.range.end, failure.reason)
    };
    let failures = report.failures.iter().map(failure).chain(report.refused.clone());
    let mut values = BTreeMap::from([
        ("id", Value::Uuid(report.id.0)),
        ("automatic", Value::Boolean(report.automatic)),
        ("data_centers", Value::List(texts(report.data_centers.iter().cloned()))),
        ("failures", Value::List(texts(failures))),
        ("preview", Value::Boolean(report.preview)),
        ("ranges", count(report.units)),
        ("ranges_done", count(report.units_done)),
        ("ranges_failed", count(report.failed)),
        ("rows_compared", number(figures.rows)),
        ("bytes_compared", number(figures.bytes)),
        ("records_differing", number(figures.differing)),
        ("records_sent", number(figures.sent)),
        ("bytes_sent", number(figures.sent_bytes)),
        ("started_at", seconds(report.started_seconds)),
        ("state", text(report.state.name())),
        ("tables", Value::List(texts(report.tables.iter().map(|(keyspace, table)| format!("{keyspace}.{table}"))))),
    ]);
    if report.ended_seconds > 0 {
        values.insert("ended_at", seconds(report.ended_seconds));
    }
    values
}

fn repaired_ranges(facts: &Facts<'_>) -> Vec<Values> {
    let status = facts.live.repairs();
    let range = |(table, piece, through): (TableId, std::ops::RangeInclusive<Token>, &RepairedThrough)| {
        let table = facts.view.schema.table(table)?;
        let replicas = through.replicas.iter().map(|node| Value::Uuid(node.0)).collect();
        Some(BTreeMap::from([
            ("keyspace_name", text(table.keyspace.to_string())),
            ("table_name", text(&table.name)),
            // As everywhere a range begins behind its start.
            ("start_token", Value::BigInt(piece.start().0.saturating_sub(1))),
            ("end_token", Value::BigInt(piece.end().0)),
            ("repaired_through", seconds(through.seconds)),
            ("replicas", Value::List(replicas)),
        ]))
    };
    status.repaired.pieces().filter_map(range).collect()
}

fn replication_change(running: &ReplicationChange) -> Values {
    BTreeMap::from([
        ("keyspace_name", text(running.keyspace.to_string())),
        ("from", replication_map(&running.from)),
        ("to", replication_map(&running.to)),
        ("phase", text(running.phase.name())),
        ("since_epoch", Value::BigInt(i64::try_from(running.since.0).unwrap_or(i64::MAX))),
    ])
}

fn seconds(seconds: u32) -> Value {
    Value::Timestamp(i64::from(seconds) * 1_000)
}

/// The keyspaces that `system_schema` describes: the cluster's, and the system's own but for the virtual ones.
fn described(view: &ClusterView) -> impl Iterator<Item = &Arc<Keyspace>> {
    let own = system::schema().keyspaces().values().filter(|keyspace| !system::is_virtual(&keyspace.name));
    own.chain(view.schema.keyspaces().values())
}

fn text(text: impl Into<String>) -> Value {
    Value::Text(text.into())
}

fn port(address: &SocketAddr) -> Value {
    Value::Int(i32::from(address.port()))
}

fn texts<T: Into<String>>(texts: impl IntoIterator<Item = T>) -> Vec<Value> {
    texts.into_iter().map(text).collect()
}

fn text_map(entries: impl IntoIterator<Item = (String, String)>) -> Value {
    let mut entries: Vec<(String, String)> = entries.into_iter().collect();
    entries.sort();
    Value::Map(entries.into_iter().map(|(key, value)| (text(key), text(value))).collect())
}

/// One version for each schema, in the form of a random UUID.
fn schema_version(schema: &Schema) -> Value {
    Value::Uuid(schema_bits(schema))
}

fn schema_bits(schema: &Schema) -> u128 {
    let mut bytes = Vec::new();
    for keyspace in schema.keyspaces().values() {
        keyspace.name.encode(&mut bytes);
        keyspace.replication.encode(&mut bytes);
        keyspace.tables.values().for_each(|table| table.encode(&mut bytes));
        keyspace.types.values().for_each(|definition| definition.encode(&mut bytes));
    }
    let bits = digest_of_bytes(&bytes);
    bits & !(0xf << 76) & !(0x3 << 62) | 0x4 << 76 | 0x2 << 62
}

/// What `system.local` and the tables of peers both have.
fn of_node(facts: &Facts<'_>, member: &MemberInfo, schema_version: &Value) -> Values {
    let mut tokens: Vec<String> = member.tokens.iter().map(ToString::to_string).collect();
    tokens.sort();
    BTreeMap::from([
        ("data_center", text(&member.data_center)),
        ("host_id", Value::Uuid(member.id.0)),
        ("rack", text(&member.rack)),
        ("release_version", text(facts.release)),
        ("schema_version", schema_version.clone()),
        ("tokens", Value::Set(texts(tokens))),
    ])
}

/// The name of every cluster: what tells clusters apart is an id, which clients do not ask for.
const CLUSTER_NAME: &str = "Helenus";
/// The class whose tokens are computed as those here.
const PARTITIONER: &str = "org.apache.cassandra.dht.Murmur3Partitioner";

fn local(facts: &Facts<'_>, member: &MemberInfo, mut values: Values) -> Values {
    let (internode, native) = (&member.addresses.internode, &member.addresses.native);
    values.extend([
        ("key", text("local")),
        ("bootstrapped", text("COMPLETED")),
        ("broadcast_address", Value::Inet(internode.ip())),
        ("broadcast_port", port(internode)),
        ("cluster_name", text(CLUSTER_NAME)),
        ("cql_version", text(facts.cql_version)),
        ("listen_address", Value::Inet(internode.ip())),
        ("listen_port", port(internode)),
        ("native_protocol_version", text(facts.native_version)),
        ("partitioner", text(PARTITIONER)),
        ("rpc_address", Value::Inet(native.ip())),
        ("rpc_port", port(native)),
    ]);
    values
}

fn peer(member: &MemberInfo, mut values: Values) -> Values {
    values.insert("peer", Value::Inet(member.addresses.internode.ip()));
    values.insert("rpc_address", Value::Inet(member.addresses.native.ip()));
    values
}

fn peer_v2(member: &MemberInfo, mut values: Values) -> Values {
    values.extend([
        ("peer", Value::Inet(member.addresses.internode.ip())),
        ("peer_port", port(&member.addresses.internode)),
        ("native_address", Value::Inet(member.addresses.native.ip())),
        ("native_port", port(&member.addresses.native)),
    ]);
    values
}

/// The rows of the table `name` of `system_schema` or `system_virtual_schema` that describe `keyspace`. Tables of
/// what does not exist here have none.
fn schema_rows(name: &str, keyspace: &Arc<Keyspace>) -> Vec<Values> {
    let tables = keyspace.tables.values();
    match name {
        "keyspaces" => vec![keyspace_row(keyspace)],
        "tables" => tables.map(|table| table_row(table)).collect(),
        "columns" => tables.flat_map(|table| table.columns.iter().map(|column| column_row(table, column))).collect(),
        "dropped_columns" => tables.flat_map(|table| dropped_rows(table)).collect(),
        "indexes" => tables.flat_map(|table| table.indexes.iter().map(|index| index_row(table, index))).collect(),
        "types" => keyspace.types.values().map(|definition| type_row(definition)).collect(),
        _ => Vec::new(),
    }
}

/// The name of a class of a replication, as `system_schema` shows it.
fn replication_class(name: &str) -> (String, String) {
    ("class".to_owned(), format!("org.apache.cassandra.locator.{name}"))
}

fn replication_map(replication: &Replication) -> Value {
    match replication {
        Replication::Simple { factor } => {
            text_map([replication_class("SimpleStrategy"), ("replication_factor".to_owned(), factor.to_string())])
        }
        Replication::NetworkTopology { factors } => {
            let factors = factors.iter().map(|(data_center, factor)| (data_center.clone(), factor.to_string()));
            text_map(factors.chain([replication_class("NetworkTopologyStrategy")]))
        }
    }
}

fn keyspace_row(keyspace: &Keyspace) -> Values {
    let replication = match system::is_system(&keyspace.name) {
        true => text_map([replication_class("LocalStrategy")]),
        false => replication_map(&keyspace.replication),
    };
    BTreeMap::from([
        ("keyspace_name", text(&keyspace.name)),
        ("durable_writes", Value::Boolean(true)),
        ("replication", replication),
    ])
}

/// Options that are null in the schema tables when they are true.
const TRUE_IS_NULL: [&str; 2] = ["allow_auto_snapshot", "incremental_backups"];

fn table_row(table: &Table) -> Values {
    let mut values = BTreeMap::from([
        ("keyspace_name", text(&table.keyspace)),
        ("table_name", text(&table.name)),
        ("id", Value::Uuid(table.created_id().0)),
        // Without it drivers take the table for one of COMPACT STORAGE.
        ("flags", Value::Set(texts(["compound"]))),
        ("dclocal_read_repair_chance", Value::Double(0.0)),
        ("read_repair_chance", Value::Double(0.0)),
    ]);
    let types = system::schema().find_table("system_schema", "tables").map(|tables| tables.columns.clone());
    for (name, value) in query::option_values(&table.options) {
        let column = types.iter().flatten().find(|column| column.name == name);
        let value = match value {
            // As in Cassandra these say nothing unless they say something else.
            OptionValue::Bare(value) if value == "true" && TRUE_IS_NULL.contains(&name) => None,
            OptionValue::Text(value) if value == "default" && name == "memtable" => None,
            OptionValue::Map(entries) if name == "extensions" => (entries.is_empty()).then(|| Value::Map(Vec::new())),
            OptionValue::Map(entries) => Some(text_map(entries)),
            OptionValue::Text(value) => Some(text(value)),
            OptionValue::Bare(value) => column.and_then(|column| Value::parse(&column.cql_type, &value).ok()),
        };
        values.extend(value.map(|value| (name, value)));
    }
    values
}

fn column_row(table: &Table, column: &Column) -> Values {
    let (kind, position, order) = match column.kind {
        ColumnKind::PartitionKey(position) => ("partition_key", position as i32, "none"),
        ColumnKind::Clustering(position, ClusteringOrder::Ascending) => ("clustering", position as i32, "asc"),
        ColumnKind::Clustering(position, ClusteringOrder::Descending) => ("clustering", position as i32, "desc"),
        ColumnKind::Static => ("static", -1, "none"),
        ColumnKind::Regular => ("regular", -1, "none"),
    };
    BTreeMap::from([
        ("keyspace_name", text(&table.keyspace)),
        ("table_name", text(&table.name)),
        ("column_name", text(&column.name)),
        ("clustering_order", text(order)),
        ("column_name_bytes", Value::Blob(Bytes::copy_from_slice(column.name.as_bytes()))),
        ("kind", text(kind)),
        ("position", Value::Int(position)),
        ("type", text(column.cql_type.to_string())),
    ])
}

fn dropped_rows(table: &Table) -> Vec<Values> {
    let row = |column: &model::schema::DroppedColumn| {
        BTreeMap::from([
            ("keyspace_name", text(&table.keyspace)),
            ("table_name", text(&table.name)),
            ("column_name", text(&column.name)),
            ("dropped_time", Value::Timestamp(column.dropped_at.div_euclid(1_000))),
            ("kind", text("regular")),
            ("type", text(column.cql_type.to_string())),
        ])
    };
    table.dropped_columns.iter().map(row).collect()
}

fn index_row(table: &Table, index: &Index) -> Values {
    let mut options = index.options.clone();
    options.insert("target".to_owned(), query::index_target(table, index));
    let is_custom = !index.class.is_empty();
    if is_custom {
        options.insert("class_name".to_owned(), index.class.clone());
    }
    BTreeMap::from([
        ("keyspace_name", text(&table.keyspace)),
        ("table_name", text(&table.name)),
        ("index_name", text(&index.name)),
        ("kind", text(if is_custom { "CUSTOM" } else { "COMPOSITES" })),
        ("options", text_map(options)),
    ])
}

/// The indexes that are built on this node. What Cassandra calls `table_name` is the keyspace.
fn built_rows(facts: &Facts<'_>) -> Vec<Values> {
    let builds = facts.live.index_builds();
    let is_built = |table: &Table, index: &Index| {
        let target = IndexTarget::of(index);
        let of_index = |build: &&IndexBuild| build.table == table.id && build.target == target;
        builds.iter().find(of_index).is_some_and(|build| build.built_to.is_none())
    };
    let tables = facts.view.schema.tables().values();
    let built = tables.flat_map(|table| {
        table
            .indexes
            .iter()
            .filter(|index| is_built(table, index))
            .map(|index| BTreeMap::from([("table_name", text(&table.keyspace)), ("index_name", text(&index.name))]))
    });
    built.collect()
}

/// The tokens of which this node is the first replica; with `data_center` as if there were no others.
fn primary_ranges(facts: &Facts<'_>, data_center: Option<&str>) -> Vec<TokenRange> {
    let is_near = |node: &NodeId| {
        let member = facts.view.members.get(node);
        member.is_some_and(|member| data_center.is_none_or(|near| member.data_center == near))
    };
    let ring: Vec<&(Token, NodeId)> = facts.view.ring().iter().filter(|(_, node)| is_near(node)).collect();
    let mut ranges = Vec::new();
    for (index, (end, _)) in ring.iter().enumerate().filter(|(_, (_, node))| *node == facts.own) {
        // The first range goes around the end of the ring; one that does is two here.
        match index.checked_sub(1) {
            Some(before) => ranges.push(TokenRange { start: ring[before].0, end: *end }),
            None => {
                let last = ring[ring.len() - 1].0;
                ranges.push(TokenRange { start: Token(i64::MIN), end: *end });
                ranges.push(TokenRange { start: last, end: Token(i64::MAX) });
            }
        }
    }
    ranges.retain(|range| range.start < range.end);
    ranges
}

/// How much of each table is in the ranges of this node, a row for each; of each of `kinds` of ranges, if they are
/// named.
fn estimates(facts: &Facts<'_>, read: &BoundRead, kinds: &[Option<&'static str>]) -> Vec<Values> {
    let named = |keyspace: &str| {
        let key = PartitionKey::from_components(&[text(keyspace).to_wire()]).ok();
        // Of other keyspaces nothing is asked.
        read.partitions().is_none_or(|keys| key.is_some_and(|key| keys.contains(&key)))
    };
    let own_center = facts.view.members.get(&facts.own).map(|member| member.data_center.as_str());
    let kinds: Vec<_> = kinds
        .iter()
        .map(|kind| (*kind, primary_ranges(facts, own_center.filter(|_| *kind == Some("local_primary")))))
        .collect();
    let tables = facts.view.schema.tables().values().filter(|table| named(&table.keyspace));
    let mut rows = Vec::new();
    for table in tables {
        for (kind, ranges) in &kinds {
            for range in ranges {
                let Some(estimate) = facts.live.estimate(table.id, *range) else { continue };
                let number = |number: u64| Value::BigInt(i64::try_from(number).unwrap_or(i64::MAX));
                let mut row = BTreeMap::from([
                    ("keyspace_name", text(&table.keyspace)),
                    ("table_name", text(&table.name)),
                    ("range_start", text(range.start.to_string())),
                    ("range_end", text(range.end.to_string())),
                    ("mean_partition_size", number(estimate.partition_bytes)),
                    ("partitions_count", number(estimate.partitions)),
                ]);
                row.extend(kind.map(|kind| ("range_type", text(kind))));
                rows.push(row);
            }
        }
    }
    rows
}

fn type_row(definition: &UserType) -> Values {
    let names = definition.fields.iter().map(|(name, _)| name.as_str());
    let types = definition.fields.iter().map(|(_, cql_type): &(String, CqlType)| cql_type.to_string());
    BTreeMap::from([
        ("keyspace_name", text(&definition.keyspace)),
        ("type_name", text(&definition.name)),
        ("field_names", Value::List(texts(names))),
        ("field_types", Value::List(texts(types))),
    ])
}

#[cfg(test)]
#[path = "virtual_tables_tests.rs"]
mod tests;
