//! What operators ask of a node: answered from what the node knows itself, whatever the state of others.

use crate::boot::Parts;
use crate::client_service::{RELEASE, status};
use crate::config::Durability;
use crate::member_loop::MemberInput;
use crate::metadata;
use crate::shard_loop::ShardInput;
use crate::wire::admin_server;
use ::api::proto::client::v1 as proto;
use membership::{ClusterView, MemberStatus};
use model::id::parse_uuid;
use model::schema::{Index, Schema, Table};
use model::{IndexTarget, NodeId, RequestError, Token};
use node::storage::{IndexBuild, Storage, StorageError};
use node::{HintPolicy, RepairControl, ShardStatus};
use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use storage::{
    GarbageStatus, Large, LargeKind, LevelStatus, Pressure, SnapshotStatus, Store, StoreStatus, TableStatus,
};
use tokio::sync::{mpsc, oneshot};
use tonic::{Request, Response, Status};

#[path = "admin_repairs.rs"]
mod repairs;

/// How long a loop may take to say how it is.
const STATUS_TIMEOUT: Duration = Duration::from_secs(5);

/// How often, and with what pause, storage is asked whether hints are gone; then the answer says what is left.
const FORGOTTEN_TRIES: u32 = 50;
const FORGOTTEN_PAUSE: Duration = Duration::from_millis(20);

/// Most entries of the metadata log in one answer.
const METADATA_ENTRIES_MAX: u32 = 1_000;

/// Serves the admin API.
#[derive(Clone)]
pub(crate) struct AdminService {
    /// Of the node.
    pub(crate) parts: Arc<Parts>,
}

/// Asks a loop for its status.
async fn ask<I, T>(inbox: &mpsc::Sender<I>, input: impl FnOnce(oneshot::Sender<T>) -> I) -> Result<T, Status> {
    let (reply, answer) = oneshot::channel();
    let asked = async {
        inbox.send(input(reply)).await.ok()?;
        answer.await.ok()
    };
    let answered = tokio::time::timeout(STATUS_TIMEOUT, asked).await;
    let late = || status(&RequestError::Overloaded("a loop does not say how it is".to_owned()));
    let stopping = || status(&RequestError::NotServing("it is shutting down".to_owned()));
    answered.map_err(|_| late())?.ok_or_else(stopping)
}

/// How many of 1,000 parts of the ring have each node as their first replica.
fn ownership(view: &ClusterView) -> BTreeMap<NodeId, u32> {
    let ring = view.ring();
    let mut widths: BTreeMap<NodeId, u128> = BTreeMap::new();
    let Some((last, _)) = ring.last() else { return BTreeMap::new() };
    let mut previous = *last;
    for (token, owner) in ring {
        // The ring is a circle of 2^64 positions: a difference modulo that is a width. One token alone owns all.
        let width = match token.0.wrapping_sub(previous.0) as u64 {
            0 => 1 << 64,
            width => u128::from(width),
        };
        *widths.entry(*owner).or_default() += width;
        previous = *token;
    }
    widths.into_iter().map(|(owner, width)| (owner, ((width * 1_000 + (1 << 63)) >> 64) as u32)).collect()
}

impl AdminService {
    /// What else the node counts, by name.
    fn counters(&self, shards: &[ShardStatus]) -> BTreeMap<String, u64> {
        let mut counters: BTreeMap<String, u64> =
            self.parts.metrics.named().map(|(name, sum)| (name.to_owned(), sum)).collect();
        let mut add = |name: &str, figure: fn(&ShardStatus) -> u64| {
            counters.insert(name.to_owned(), shards.iter().map(figure).sum());
        };
        add("shard_writes", |shard| shard.writes);
        add("shard_reads", |shard| shard.reads);
        add("shard_timeouts", |shard| shard.timeouts);
        add("shard_unavailable", |shard| shard.unavailable);
        add("shard_overloads", |shard| shard.overloads);
        add("replica_writes", |shard| shard.replica_writes);
        add("replica_reads", |shard| shard.replica_reads);
        add("replica_scans", |shard| shard.replica_scans);
        add("replica_look_ups", |shard| shard.replica_look_ups);
        add("read_repairs", |shard| shard.read_repairs);
        add("repair_writes", |shard| shard.repair_writes);
        add("replica_comparisons", |shard| shard.replica_comparisons);
        add("transactions", |shard| shard.transactions);
        add("transaction_rounds", |shard| shard.transaction_rounds);
        add("replica_refusals", |shard| shard.not_replica);
        add("batches_kept", |shard| shard.batches_kept as u64);
        add("batches_replayed", |shard| shard.batches_replayed);
        add("hints_dropped", |shard| shard.hints_dropped);
        add("hints_failed", |shard| shard.hints_failed);
        add("hints_discarded", |shard| shard.hints_discarded);
        add("digest_mismatches", |shard| shard.digest_mismatches);
        add("spare_replicas_asked", |shard| shard.spares_asked);
        counters
    }

    async fn member(&self) -> Result<MemberStatus, Status> {
        ask(&self.parts.member, MemberInput::Status).await
    }

    async fn shards(&self) -> Result<Vec<ShardStatus>, Status> {
        let mut statuses = Vec::with_capacity(self.parts.shards.len());
        for shard in &self.parts.shards {
            statuses.push(ask(shard, ShardInput::Status).await?);
        }
        Ok(statuses)
    }

    async fn store_status(&self) -> Result<(StoreStatus, BTreeMap<NodeId, u64>), Status> {
        self.with_store(|store| Ok((store.status(), store.pending_hints()))).await
    }

    /// Asks the store something for which it looks into folders.
    async fn with_store<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Store) -> Result<T, StorageError> + Send + 'static,
    ) -> Result<T, Status> {
        let store = self.parts.store.clone();
        let answered = tokio::task::spawn_blocking(move || ask(&store)).await;
        let stopping = |_| status(&RequestError::NotServing("it is shutting down".to_owned()));
        answered.map_err(stopping)?.map_err(|error| {
            status(&match error {
                StorageError::Invalid(reason) => RequestError::Invalid(reason),
                other => RequestError::Server(other.to_string()),
            })
        })
    }

    /// The hints that there are, and what is done with them.
    async fn hints_response(&self, policy: &HintPolicy) -> Result<proto::HintsResponse, Status> {
        let (storage, pending) = self.store_status().await?;
        let (member, shards) = (self.member().await?, self.shards().await?);
        let sum = |figure: fn(&ShardStatus) -> u64| shards.iter().map(figure).sum();
        let target = |(id, hints): (NodeId, u64)| {
            let node = member.nodes.iter().find(|node| node.id == id);
            proto::TargetHints {
                node_id: id.to_string(),
                internode_address: node.map(|node| node.addresses.internode.to_string()).unwrap_or_default(),
                data_center: node.map(|node| node.data_center.clone()).unwrap_or_default(),
                up: node.is_some_and(|node| node.alive),
                hints,
            }
        };
        Ok(proto::HintsResponse {
            enabled: policy.enabled,
            paused: policy.paused,
            disabled_data_centers: policy.disabled_data_centers.iter().cloned().collect(),
            window_seconds: policy.window.as_secs(),
            bytes_per_second: policy.bytes_per_second.map_or(0, NonZeroU64::get),
            targets: pending.into_iter().map(target).collect(),
            bytes: storage.hint_bytes,
            written: sum(|shard| shard.hints_written),
            delivered: sum(|shard| shard.hints_delivered),
            dropped: sum(|shard| shard.hints_dropped),
            failed: sum(|shard| shard.hints_failed),
            discarded: sum(|shard| shard.hints_discarded),
        })
    }

    /// The policy after a change.
    fn changed(&self, mut policy: HintPolicy, change: &proto::ChangeHintsRequest) -> Result<HintPolicy, Status> {
        let view = self.parts.published.view.load();
        let named = change.enable_data_centers.iter().chain(&change.disable_data_centers);
        let is_known = |name: &String| view.members.values().any(|member| member.data_center == *name);
        // One that is gone can be taken off the list.
        let unknown = |name: &&String| !is_known(name) && !policy.disabled_data_centers.contains(*name);
        if let Some(name) = named.into_iter().find(unknown) {
            return Err(status(&RequestError::Invalid(format!("there is no data centre '{name}'"))));
        }
        policy.enabled = change.enabled.unwrap_or(policy.enabled);
        policy.paused = change.paused.unwrap_or(policy.paused);
        policy.window = change.window_seconds.map_or(policy.window, Duration::from_secs);
        policy.bytes_per_second = change.bytes_per_second.map_or(policy.bytes_per_second, NonZeroU64::new);
        policy.disabled_data_centers.extend(change.disable_data_centers.iter().cloned());
        policy.disabled_data_centers.retain(|name| !change.enable_data_centers.contains(name));
        Ok(policy)
    }

    /// The nodes whose hints are to be forgotten.
    async fn discarded(&self, change: &proto::ChangeHintsRequest) -> Result<Vec<NodeId>, Status> {
        let (_, pending) = self.store_status().await?;
        if change.discard_all {
            return Ok(pending.into_keys().collect());
        }
        let id = |text: &String| {
            let id = parse_uuid(text).map(NodeId).filter(|id| pending.contains_key(id));
            id.ok_or_else(|| status(&RequestError::NotFound(format!("there are no hints for a node '{text}'"))))
        };
        change.discard.iter().map(id).collect()
    }

    /// Waits until storage has forgotten the hints for these nodes that it had.
    async fn forgotten(&self, discarded: &[NodeId]) -> Result<(), Status> {
        for _ in 0..FORGOTTEN_TRIES {
            let (_, pending) = self.store_status().await?;
            // New ones may have been written meanwhile, but not for a node whose hints are all gone at one moment.
            if discarded.iter().all(|node| !pending.contains_key(node)) {
                break;
            }
            tokio::time::sleep(FORGOTTEN_PAUSE).await;
        }
        Ok(())
    }

    /// Tells the shard that repairs, which has done so when this returns.
    async fn repair_control(&self, control: RepairControl) -> Result<(), Status> {
        let Some(first) = self.parts.shards.first() else { return Ok(()) };
        let stopping = |_| status(&RequestError::NotServing("it is shutting down".to_owned()));
        first.send(ShardInput::Repair(control)).await.map_err(stopping)?;
        // Asked after it, and answered behind it.
        ask(first, ShardInput::Status).await.map(drop)
    }

    fn repairs_response(&self) -> proto::RepairsResponse {
        repairs::response(&self.parts.published.view.load(), &self.parts.published.repairs.load())
    }

    async fn tell(&self, input: impl Fn() -> ShardInput) -> Result<(), Status> {
        for shard in &self.parts.shards {
            let stopping = |_| status(&RequestError::NotServing("it is shutting down".to_owned()));
            shard.send(input()).await.map_err(stopping)?;
        }
        Ok(())
    }

    fn durability(&self) -> proto::DurabilityMode {
        match self.parts.config.durability {
            Durability::Group(_) => proto::DurabilityMode::Sync,
            Durability::Batch => proto::DurabilityMode::Batch,
            Durability::Periodic(_) => proto::DurabilityMode::Periodic,
        }
    }
}

fn table_storage(
    table: &TableStatus,
    garbage: GarbageStatus,
    largest: &[Large],
    builds: &[IndexBuild],
    schema: &Schema,
) -> proto::TableStorage {
    let definition = schema.table(table.id);
    let index = |index: &Index| {
        let target = IndexTarget::of(index);
        let build = builds.iter().find(|build| build.table == table.id && build.target == target);
        proto::IndexStorage { name: index.name.clone(), built_per_mille: build.map_or(0, built_per_mille) }
    };
    let level = |level: &LevelStatus| proto::LevelStorage { files: level.files, bytes: level.bytes };
    proto::TableStorage {
        keyspace: table.keyspace.clone(),
        name: table.name.clone(),
        id: table.id.to_string(),
        generation: table.generation,
        estimated_records: table.keys,
        file_bytes: table.file_bytes,
        deletion_bytes: table.deletion_bytes,
        levels: table.levels.iter().map(level).collect(),
        memtable_bytes: table.memtable_bytes,
        waiting_memtables: table.waiting_memtables,
        pending_compaction_bytes: table.pending_compaction_bytes,
        cached_reads: table.cached_reads,
        missed_reads: table.missed_reads,
        tombstones_read: table.tombstones_read,
        garbage_lag_seconds: garbage.lag_seconds,
        garbage_rows_examined: garbage.rows_examined,
        largest: largest.iter().map(|large| large_item(large, definition.map(|table| &**table))).collect(),
        indexes: definition.into_iter().flat_map(|table| table.indexes.iter().map(index)).collect(),
    }
}

/// How much of the ring, in thousandths, an index is built for.
fn built_per_mille(build: &IndexBuild) -> u32 {
    let passed = |token: Token| ((i128::from(token.0) - i128::from(i64::MIN)) * 1_000) >> 64;
    build.built_to.map_or(1_000, |token| u32::try_from(passed(token)).unwrap_or(0))
}

fn large_item(large: &Large, table: Option<&Table>) -> proto::LargeItem {
    let kind = match large.kind {
        LargeKind::Partition => proto::LargeKind::Partition,
        LargeKind::Row => proto::LargeKind::Row,
        LargeKind::Cell => proto::LargeKind::Cell,
        LargeKind::Collection => proto::LargeKind::Collection,
        LargeKind::Tombstones => proto::LargeKind::Tombstones,
    };
    let name = |id| {
        let column = table.and_then(|table| table.columns.iter().find(|column| column.id == id));
        column.map_or_else(|| format!("column {}", id.0), |column| column.name.clone())
    };
    proto::LargeItem {
        kind: kind.into(),
        size: large.size,
        token: large.token.0,
        partition: large.partition.clone(),
        clustering: large.clustering.clone(),
        column: large.column.map(name).unwrap_or_default(),
    }
}

fn snapshot_info(snapshot: SnapshotStatus) -> proto::SnapshotInfo {
    let created = snapshot.created.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    proto::SnapshotInfo {
        name: snapshot.name,
        created_seconds: created.as_secs(),
        content: snapshot.content,
        bytes: snapshot.bytes,
        own_bytes: snapshot.own_bytes,
    }
}

fn refuses_writes(storage: &StoreStatus) -> String {
    storage.refuses_writes.as_ref().map(ToString::to_string).unwrap_or_default()
}

/// Why nothing is written until the next start; empty when that is not so.
fn closed(storage: &StoreStatus) -> String {
    let closed = storage.refuses_writes.as_ref().filter(|error| !matches!(error, storage::StorageError::Full(_)));
    closed.map(ToString::to_string).unwrap_or_default()
}

fn uuid_or_empty(id: Option<u128>) -> String {
    id.map(|id| NodeId(id).to_string()).unwrap_or_default()
}

#[tonic::async_trait]
impl admin_server::Admin for AdminService {
    async fn hints(&self, _: Request<proto::HintsRequest>) -> Result<Response<proto::HintsResponse>, Status> {
        let policy = self.parts.hints.lock().await.clone();
        Ok(Response::new(self.hints_response(&policy).await?))
    }

    async fn change_hints(
        &self,
        request: Request<proto::ChangeHintsRequest>,
    ) -> Result<Response<proto::HintsResponse>, Status> {
        let change = request.into_inner();
        // Held while the shards are told: all of them hear of the same changes in the same order.
        let mut policy = self.parts.hints.lock().await;
        let changed = self.changed(policy.clone(), &change)?;
        let discarded = self.discarded(&change).await?;
        let told = Arc::new(changed.clone());
        self.tell(|| ShardInput::Hints(told.clone())).await?;
        *policy = changed;
        if !discarded.is_empty() {
            tracing::warn!(nodes = ?discarded, "an operator discards the hints for these nodes");
            self.tell(|| ShardInput::DiscardHints(discarded.clone())).await?;
            // Asked after it, the shards answer once it is in the writer's queue; the next write comes behind it.
            self.shards().await?;
            self.forgotten(&discarded).await?;
        }
        Ok(Response::new(self.hints_response(&policy).await?))
    }

    async fn repair(&self, request: Request<proto::RepairRequest>) -> Result<Response<proto::RepairResponse>, Status> {
        let order = repairs::order(&self.parts.published.view.load(), &request.into_inner());
        let order = order.map_err(|error| status(&error))?;
        let id = order.id;
        let tables = order.tables.len();
        tracing::info!(id = %NodeId(id.0), tables, preview = order.preview, "a repair is asked for");
        self.repair_control(RepairControl::Order(order)).await?;
        Ok(Response::new(proto::RepairResponse { id: NodeId(id.0).to_string() }))
    }

    async fn repairs(&self, _: Request<proto::RepairsRequest>) -> Result<Response<proto::RepairsResponse>, Status> {
        Ok(Response::new(self.repairs_response()))
    }

    async fn change_repairs(
        &self,
        request: Request<proto::ChangeRepairsRequest>,
    ) -> Result<Response<proto::RepairsResponse>, Status> {
        let change = request.into_inner();
        // Held while the shard is told: changes take turns.
        let _turn = self.parts.hints.lock().await;
        let known = self.parts.published.repairs.load_full();
        if !change.cancel.is_empty() {
            let id = repairs::find(&known, &change.cancel).map_err(|error| status(&error))?;
            self.repair_control(RepairControl::Cancel(id)).await?;
        }
        let policy = repairs::changed(&known.policy, &change);
        if policy != known.policy {
            self.repair_control(RepairControl::Policy(policy)).await?;
        }
        Ok(Response::new(self.repairs_response()))
    }

    async fn status(&self, _: Request<proto::StatusRequest>) -> Result<Response<proto::StatusResponse>, Status> {
        let member = self.member().await?;
        let (storage, hints) = self.store_status().await?;
        let serves = self.parts.executor.view().is_ok();
        let owned = ownership(&self.parts.published.view.load());
        let node = |node: &membership::NodeStatus| proto::NodeStatus {
            id: node.id.to_string(),
            client_address: node.addresses.client.to_string(),
            internode_address: node.addresses.internode.to_string(),
            data_center: node.data_center.clone(),
            rack: node.rack.clone(),
            // Others tell whether it is alive; the node itself knows better whether it serves.
            up: if node.id == self.parts.own { serves } else { node.alive },
            ownership_per_mille: owned.get(&node.id).copied().unwrap_or(0),
            tokens: u32::try_from(node.tokens).unwrap_or(u32::MAX),
            epoch: node.heartbeat.epoch.0,
            pending_hints: hints.get(&node.id).copied().unwrap_or(0),
            refuses_writes: if node.id == self.parts.own { refuses_writes(&storage) } else { String::new() },
        };
        Ok(Response::new(proto::StatusResponse {
            cluster_id: uuid_or_empty(member.cluster_id),
            epoch: member.epoch.0,
            nodes: member.nodes.iter().map(node).collect(),
            replication_change: replication_change(&self.parts.published.view.load()),
        }))
    }

    async fn metadata(
        &self,
        request: Request<proto::MetadataRequest>,
    ) -> Result<Response<proto::MetadataResponse>, Status> {
        let entries = request.into_inner().entries.min(METADATA_ENTRIES_MAX) as usize;
        let status = ask(&self.parts.member, |reply| MemberInput::Log { entries, reply }).await?;
        Ok(Response::new(metadata::response(&status)))
    }

    async fn ring(&self, _: Request<proto::RingRequest>) -> Result<Response<proto::RingResponse>, Status> {
        let (view, alive) = (self.parts.published.view.load(), self.parts.published.alive.load());
        let entry = |(Token(token), owner): &(Token, NodeId)| {
            let member = view.members.get(owner)?;
            Some(proto::RingEntry {
                token: *token,
                node_id: owner.to_string(),
                client_address: member.addresses.client.to_string(),
                data_center: member.data_center.clone(),
                rack: member.rack.clone(),
                up: alive.contains(owner),
            })
        };
        let entries = view.ring().iter().filter_map(entry).collect();
        Ok(Response::new(proto::RingResponse { epoch: view.epoch.0, entries }))
    }

    async fn info(&self, _: Request<proto::InfoRequest>) -> Result<Response<proto::InfoResponse>, Status> {
        let member = self.member().await?;
        let shards = self.shards().await?;
        let (storage, _) = self.store_status().await?;
        let mut counters = self.counters(&shards);
        counters.insert("storage_refused_writes".to_owned(), storage.refused_writes);
        let sum = |figure: fn(&ShardStatus) -> u64| shards.iter().map(figure).sum();
        let voters = member.nodes.iter().filter(|node| node.voter).map(|node| node.id.to_string()).collect();
        let succeeded = self.parts.metrics.requests_succeeded.sum();
        let failed = self.parts.metrics.requests_failed.sum() + self.parts.metrics.requests_overloaded.sum();
        Ok(Response::new(proto::InfoResponse {
            version: RELEASE.to_owned(),
            node_id: self.parts.own.to_string(),
            cluster_id: uuid_or_empty(member.cluster_id),
            client_address: self.parts.config.grpc_advertise.to_string(),
            internode_address: self.parts.config.internode_advertise.to_string(),
            data_center: self.parts.config.data_center.clone(),
            rack: self.parts.config.rack.clone(),
            data_directory: self.parts.config.data_dir.display().to_string(),
            uptime_millis: u64::try_from(self.parts.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            epoch: member.epoch.0,
            voters,
            shards: u32::from(self.parts.config.shards),
            durability: self.durability().into(),
            requests_served: succeeded + failed,
            requests_failed: failed,
            hints_written: sum(|shard| shard.hints_written),
            hints_delivered: sum(|shard| shard.hints_delivered),
            read_repairs: sum(|shard| shard.read_repairs),
            counters,
            storage: Some(proto::StorageInfo {
                table_bytes: storage.tables.iter().map(|table| table.file_bytes).sum(),
                log_bytes: storage.log_bytes,
                hint_bytes: storage.hint_bytes,
                memtable_bytes: storage.memtable_bytes,
                block_cache_bytes: storage.block_cache_bytes,
                estimated_records: storage.tables.iter().map(|table| table.keys).sum(),
                refuses_writes: refuses_writes(&storage),
                background_errors: storage.background_errors,
                reads_failed: storage.reads_failed,
                hints_damaged: storage.hints_damaged,
            }),
        }))
    }

    async fn storage(&self, _: Request<proto::StorageRequest>) -> Result<Response<proto::StorageResponse>, Status> {
        let now_seconds = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let now_seconds = u32::try_from(now_seconds).unwrap_or(u32::MAX);
        let asked = self.with_store(move |store| {
            let (garbage, builds) = (store.garbage_status(now_seconds)?, store.index_builds());
            Ok((store.status(), store.pending_hints(), garbage, store.all_largest(), builds))
        });
        let (storage, hints, garbage, largest, builds) = asked.await?;
        let view = self.parts.published.view.load_full();
        let of_table = |table: &TableStatus| {
            let largest = largest.get(&table.id).map_or(&[][..], Vec::as_slice);
            let garbage = garbage.get(&table.id).copied().unwrap_or_default();
            table_storage(table, garbage, largest, &builds, &view.schema)
        };
        let mut tables: Vec<proto::TableStorage> = storage.tables.iter().map(of_table).collect();
        tables.sort_by(|a, b| (&a.keyspace, &a.name).cmp(&(&b.keyspace, &b.name)));
        let pressure = match storage.pressure {
            Pressure::Free => proto::WritePressure::Free,
            Pressure::Slowed => proto::WritePressure::Slowed,
            Pressure::Refusing => proto::WritePressure::Refusing,
        };
        Ok(Response::new(proto::StorageResponse {
            tables,
            durability: self.durability().into(),
            latest_sequence: storage.latest_sequence,
            synced_sequence: storage.synced_sequence,
            log_bytes: storage.log_bytes,
            hint_bytes: storage.hint_bytes,
            hints: hints.into_iter().map(|(node, count)| (node.to_string(), count)).collect(),
            memtable_bytes: storage.memtable_bytes,
            block_cache_bytes: storage.block_cache_bytes,
            pending_compaction_bytes: storage.pending_compaction_bytes,
            pressure: pressure.into(),
            refused_writes: storage.refused_writes,
            disk_is_full: storage.disk_is_full,
            closed: closed(&storage),
        }))
    }

    async fn snapshot(
        &self,
        request: Request<proto::SnapshotRequest>,
    ) -> Result<Response<proto::SnapshotResponse>, Status> {
        let name = request.into_inner().name;
        let made = self.with_store(move |store| store.create_snapshot(&name)).await?;
        Ok(Response::new(proto::SnapshotResponse { snapshot: Some(snapshot_info(made)) }))
    }

    async fn list_snapshots(
        &self,
        _: Request<proto::ListSnapshotsRequest>,
    ) -> Result<Response<proto::ListSnapshotsResponse>, Status> {
        let snapshots = self.with_store(Store::snapshots).await?;
        let snapshots = snapshots.into_iter().map(snapshot_info).collect();
        Ok(Response::new(proto::ListSnapshotsResponse { snapshots }))
    }

    async fn clear_snapshots(
        &self,
        request: Request<proto::ClearSnapshotsRequest>,
    ) -> Result<Response<proto::ClearSnapshotsResponse>, Status> {
        let name = Some(request.into_inner().name).filter(|name| !name.is_empty());
        let removed = self.with_store(move |store| store.clear_snapshots(name.as_deref())).await?;
        Ok(Response::new(proto::ClearSnapshotsResponse { removed }))
    }
}

/// The change of replication that is under way, in words; empty when there is none.
fn replication_change(view: &ClusterView) -> String {
    view.replication_change.as_ref().map(ToString::to_string).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use membership::{MemberInfo, NodeAddresses};
    use model::Epoch;
    use std::collections::BTreeSet;

    #[test]
    fn shares_of_the_ring_add_up_whatever_the_tokens() {
        let address = |port| std::net::SocketAddr::from(([127, 0, 0, 1], port));
        let addresses = NodeAddresses { internode: address(1), client: address(2), native: address(3) };
        let member = |id: u128, tokens: &[i64]| MemberInfo {
            id: NodeId(id),
            addresses,
            data_center: "dc1".to_owned(),
            rack: "rack1".to_owned(),
            tokens: tokens.iter().map(|token| Token(*token)).collect(),
        };
        let shares = |members: Vec<MemberInfo>| {
            let members = members.into_iter().map(|member| (member.id, member)).collect();
            ownership(&ClusterView::new(Epoch(1), 1, Arc::default(), members, BTreeSet::new()))
        };
        assert_eq!(shares(vec![member(1, &[7])]), BTreeMap::from([(NodeId(1), 1_000)]));
        let halves = shares(vec![member(1, &[i64::MIN + 1]), member(2, &[1])]);
        assert_eq!(halves, BTreeMap::from([(NodeId(1), 500), (NodeId(2), 500)]));
        assert!(shares(Vec::new()).is_empty());
    }
}
