//! The metadata log for operators: as a node says it, and in the data directory of a node that is stopped, where it can
//! be recovered after the loss of a majority of its voters.

use crate::entropy::random_u128;
use crate::exit::ServerError;
use ::api::proto::client::v1 as proto;
use membership::{LogStatus, recovery};
use model::NodeId;
use model::local::prefix;
use node::storage::{Storage as _, StorageError, Write};
use std::fmt::Display;
use std::path::Path;
use storage::inspect::Inspection;
use storage::{Store, StoreOptions};

/// The answer to an operator.
pub(crate) fn response(status: &LogStatus) -> proto::MetadataResponse {
    let voters = status.voters.iter().map(|voter| proto::MetadataVoter {
        id: voter.id.to_string(),
        internode_address: voter.internode.to_string(),
        member: voter.member,
        up: voter.alive,
    });
    let members = status.members.iter().map(|(id, internode, epoch)| proto::MetadataMember {
        id: id.to_string(),
        internode_address: internode.to_string(),
        epoch: epoch.map(|epoch| epoch.0),
    });
    let recoveries = status
        .recoveries
        .iter()
        .map(|(former, slot)| proto::MetadataRecovery { former_cluster_id: NodeId(*former).to_string(), slot: slot.0 });
    let entries = status.entries.iter();
    proto::MetadataResponse {
        node_id: status.id.to_string(),
        cluster_id: status.cluster_id.map(|id| NodeId(id).to_string()).unwrap_or_default(),
        epoch: status.epoch.0,
        voters: voters.collect(),
        members: members.collect(),
        replication_change: status.replication_change.clone().unwrap_or_default(),
        waiting: status.waiting.clone().unwrap_or_default(),
        recoveries: recoveries.collect(),
        entries: entries.map(|(slot, change)| proto::MetadataEntry { slot: slot.0, change: change.clone() }).collect(),
    }
}

fn refused(directory: &Path) -> impl Fn(&dyn Display) -> ServerError + '_ {
    |reason| ServerError::DataDirectory { path: directory.display().to_string(), reason: reason.to_string() }
}

/// The metadata log in the data directory of a node that is stopped, or in a snapshot, with so many of its last
/// entries. Changes nothing.
///
/// # Errors
/// When the directory is in use or cannot be read, or what is in it is damaged.
pub fn inspect_metadata(directory: &Path, entries: usize) -> Result<proto::MetadataResponse, ServerError> {
    let refused = refused(directory);
    let inspection = Inspection::open(directory).map_err(|error| refused(&error))?;
    let records = inspection.local_records(prefix::MEMBERSHIP).map_err(|error| refused(&error))?;
    let status = recovery::log_status(&records, inspection.identity().node, entries);
    Ok(response(&status.map_err(|error| refused(&error))?))
}

/// Recovers the metadata log in the data directory of a node that is stopped: the cluster goes on under a new name,
/// with this node as its only voter. Gives the log as it is then.
///
/// # Errors
/// When the directory is in use or cannot be read or written, or says of no cluster of which the node is a member.
pub fn recover_metadata(directory: &Path) -> Result<proto::MetadataResponse, ServerError> {
    let refused = refused(directory);
    // Before the store is opened, which would make one of an empty directory.
    inspect_metadata(directory, 0)?;
    let random = || random_u128().map_err(|error| ServerError::Failure(format!("no random id: {error}")));
    let store = Store::open(StoreOptions::new(directory, NodeId(random()?))).map_err(|error| refused(&error))?;
    let node = store.identity().node;
    let recovered = store.local_records(prefix::MEMBERSHIP).map_err(|error| refused(&error)).and_then(|records| {
        recovery::recover_log(&records, node, random()?, random()?).map_err(|error| refused(&error))
    });
    let (_, write) = recovered?;
    let written = store.commit(&[Write::Local(write)], true);
    let written: Result<(), StorageError> = written.and_then(|results| results.into_iter().collect());
    written.map_err(|error| refused(&error))?;
    drop(store);
    inspect_metadata(directory, 1)
}
