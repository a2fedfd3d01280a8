//! What operators ask a single node: its members, its ring, itself. Unlike a session, this speaks to the one node
//! that is named and to no other.

use crate::connection::{describe, endpoint};
use crate::error::ClientError;
use crate::proto::admin_client::AdminClient;
use crate::session::with_port;
use api::error::from_status_details;
use api::proto::client::v1 as proto;
use model::error::Applied;
use std::time::Duration;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

pub use proto::{DurabilityMode, InfoResponse, NodeStatus, RingEntry, RingResponse, StatusResponse, StorageInfo};

/// A connection to one node for operators' questions.
#[derive(Clone, Debug)]
pub struct Admin {
    address: String,
    timeout: Duration,
    client: AdminClient<Channel>,
}

impl Admin {
    /// Connects to `host`: `HOST` or `HOST:PORT`. `timeout` is that of connecting and of each question.
    ///
    /// # Errors
    /// `Connection` when the node cannot be reached.
    pub async fn connect(host: &str, timeout: Duration) -> Result<Admin, ClientError> {
        let address = with_port(host);
        let failed = |reason| ClientError::Connection { address: address.clone(), reason, applied: Applied::No };
        let channel = endpoint(&address, timeout).map_err(failed)?.connect().await;
        let channel = channel.map_err(|error| failed(describe(&error)))?;
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
