//! What operators ask a single node: its members, its ring, itself. Unlike a session, this speaks to the one node
//! that is named and to no other.

use crate::connection::{channel, describe};
use crate::error::ClientError;
use crate::proto::admin_client::AdminClient;
use crate::security::{NamedChannel, Security};
use crate::session::with_port;
use api::error::from_status_details;
use api::proto::client::v1 as proto;
use model::error::Applied;
use std::time::Duration;
use tonic::{Request, Response, Status};

pub use proto::{
    ChangeHintsRequest, ChangeRepairsRequest, DurabilityMode, HintsResponse, IndexStorage, InfoResponse, LargeItem,
    LargeKind, LevelStorage, MetadataEntry, MetadataMember, MetadataRecovery, MetadataResponse, MetadataVoter,
    NodeStatus, RepairFailure, RepairRange, RepairReport, RepairRequest, RepairState, RepairsResponse, RingEntry,
    RingResponse, SnapshotInfo, StatusResponse, StorageInfo, StorageResponse, TableStorage, TargetHints, WritePressure,
};

/// A connection to one node for operators' questions.
#[derive(Clone, Debug)]
pub struct Admin {
    address: String,
    timeout: Duration,
    client: AdminClient<NamedChannel>,
}

impl Admin {
    /// Connects to `host`: `HOST` or `HOST:PORT`, with what `security` says. `timeout` is that of connecting and of
    /// each question.
    ///
    /// # Errors
    /// `Connection` when the node cannot be reached.
    pub async fn connect(host: &str, timeout: Duration, security: &Security) -> Result<Admin, ClientError> {
        let address = with_port(host);
        let failed = |reason| ClientError::Connection { address: address.clone(), reason, applied: Applied::No };
        let channel = channel(&address, timeout, security).await.map_err(failed)?;
        Ok(Admin { client: AdminClient::new(channel), address, timeout })
    }

    /// Every member, and whether it is alive.
    ///
    /// # Errors
    /// When the node does not answer or refuses.
    pub async fn status(&mut self) -> Result<StatusResponse, ClientError> {
        let answered =
            tokio::time::timeout(self.timeout, self.client.status(Request::new(proto::StatusRequest {}))).await;
        self.answer(answered)
    }

    /// The metadata log as the node knows it, with so many of its last entries.
    ///
    /// # Errors
    /// When the node does not answer or refuses.
    pub async fn metadata(&mut self, entries: u32) -> Result<MetadataResponse, ClientError> {
        let asked = self.client.metadata(Request::new(proto::MetadataRequest { entries }));
        let answered = tokio::time::timeout(self.timeout, asked).await;
        self.answer(answered)
    }

    /// Who owns which part of the ring.
    ///
    /// # Errors
    /// When the node does not answer or refuses.
    pub async fn ring(&mut self) -> Result<RingResponse, ClientError> {
        let answered = tokio::time::timeout(self.timeout, self.client.ring(Request::new(proto::RingRequest {}))).await;
        self.answer(answered)
    }

    /// The node itself.
    ///
    /// # Errors
    /// When the node does not answer or refuses.
    pub async fn info(&mut self) -> Result<InfoResponse, ClientError> {
        let answered = tokio::time::timeout(self.timeout, self.client.info(Request::new(proto::InfoRequest {}))).await;
        self.answer(answered)
    }

    /// The node's storage, table by table.
    ///
    /// # Errors
    /// When the node does not answer or refuses.
    pub async fn storage(&mut self) -> Result<StorageResponse, ClientError> {
        let asked = self.client.storage(Request::new(proto::StorageRequest {}));
        let answered = tokio::time::timeout(self.timeout, asked).await;
        self.answer(answered)
    }

    /// The writes that the node keeps for others, and what it does with them.
    ///
    /// # Errors
    /// When the node does not answer or refuses.
    pub async fn hints(&mut self) -> Result<HintsResponse, ClientError> {
        let answered =
            tokio::time::timeout(self.timeout, self.client.hints(Request::new(proto::HintsRequest {}))).await;
        self.answer(answered)
    }

    /// Changes what the node does with the writes that it keeps for others; how it is afterwards.
    ///
    /// # Errors
    /// When the node does not answer, or refuses: there is no data centre or node of that name.
    pub async fn change_hints(&mut self, change: ChangeHintsRequest) -> Result<HintsResponse, ClientError> {
        let answered = tokio::time::timeout(self.timeout, self.client.change_hints(Request::new(change))).await;
        self.answer(answered)
    }

    /// Has the node repair something; the id of the repair.
    ///
    /// # Errors
    /// When the node does not answer, or refuses: there is no such table or data centre.
    pub async fn repair(&mut self, request: RepairRequest) -> Result<String, ClientError> {
        let answered = tokio::time::timeout(self.timeout, self.client.repair(Request::new(request))).await;
        Ok(self.answer(answered)?.id)
    }

    /// The repairs of the node, and what it does with them.
    ///
    /// # Errors
    /// When the node does not answer or refuses.
    pub async fn repairs(&mut self) -> Result<RepairsResponse, ClientError> {
        let asked = self.client.repairs(Request::new(proto::RepairsRequest {}));
        let answered = tokio::time::timeout(self.timeout, asked).await;
        self.answer(answered)
    }

    /// Changes what the node does with repairs; how they are afterwards.
    ///
    /// # Errors
    /// When the node does not answer, or refuses: there is no repair of that id.
    pub async fn change_repairs(&mut self, change: ChangeRepairsRequest) -> Result<RepairsResponse, ClientError> {
        let answered = tokio::time::timeout(self.timeout, self.client.change_repairs(Request::new(change))).await;
        self.answer(answered)
    }

    /// Makes a snapshot of everything that the node stores.
    ///
    /// # Errors
    /// When the node does not answer, or refuses: the name is none, or exists.
    pub async fn snapshot(&mut self, name: &str) -> Result<SnapshotInfo, ClientError> {
        let asked = self.client.snapshot(Request::new(proto::SnapshotRequest { name: name.to_owned() }));
        let answered = tokio::time::timeout(self.timeout, asked).await;
        Ok(self.answer(answered)?.snapshot.unwrap_or_default())
    }

    /// The snapshots that the node has, by name.
    ///
    /// # Errors
    /// When the node does not answer or refuses.
    pub async fn snapshots(&mut self) -> Result<Vec<SnapshotInfo>, ClientError> {
        let asked = self.client.list_snapshots(Request::new(proto::ListSnapshotsRequest {}));
        let answered = tokio::time::timeout(self.timeout, asked).await;
        Ok(self.answer(answered)?.snapshots)
    }

    /// Removes the snapshot of that name, or all; how many were removed.
    ///
    /// # Errors
    /// When the node does not answer, or refuses: there is none of that name.
    pub async fn clear_snapshots(&mut self, name: Option<&str>) -> Result<u64, ClientError> {
        let name = name.unwrap_or_default().to_owned();
        let asked = self.client.clear_snapshots(Request::new(proto::ClearSnapshotsRequest { name }));
        let answered = tokio::time::timeout(self.timeout, asked).await;
        Ok(self.answer(answered)?.removed)
    }

    fn answer<T>(
        &self,
        answered: Result<Result<Response<T>, Status>, tokio::time::error::Elapsed>,
    ) -> Result<T, ClientError> {
        match answered {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(match from_status_details(status.details()) {
                Some(error) => ClientError::Request(error),
                None => ClientError::Connection {
                    address: self.address.clone(),
                    reason: describe(&status),
                    applied: Applied::No,
                },
            }),
            Err(_) => Err(ClientError::Timeout { after: self.timeout, applied: Applied::No }),
        }
    }
}
