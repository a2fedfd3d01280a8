//! The metadata log for people: `helenus admin metadata` of a node that runs, `helenus inspect DIRECTORY metadata` and
//! `helenus recover-metadata` of one that does not.

use super::{Answer, table, up_or_down};
use client::admin::{MetadataEntry, MetadataMember, MetadataRecovery, MetadataResponse, MetadataVoter};
use serde_json::{Value, json};

/// Entries of the log that are shown unless another number is asked for.
pub(crate) const ENTRIES: u32 = 10;

fn or_dash<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// The answer in both forms.
pub(crate) fn show(metadata: &MetadataResponse) -> Answer {
    Answer { text: text(metadata), json: as_json(metadata) }
}

fn text(metadata: &MetadataResponse) -> String {
    let cluster = if metadata.cluster_id.is_empty() { "none yet" } else { metadata.cluster_id.as_str() };
    let mut text = format!("cluster {cluster}, epoch {}", metadata.epoch);
    for MetadataRecovery { former_cluster_id, slot } in &metadata.recoveries {
        text.push_str(&format!("\nrecovered from cluster {former_cluster_id} at entry {slot}"));
    }
    if !metadata.replication_change.is_empty() {
        text.push_str(&format!("\n{}", metadata.replication_change));
    }
    if !metadata.waiting.is_empty() {
        text.push_str(&format!("\nwaiting for {}", metadata.waiting));
    }
    let mut nodes = table(&["voter", "state", "internode address", "epoch", "node"], &[3]);
    for MetadataVoter { id, internode_address, member, up } in &metadata.voters {
        let state = if *member { or_dash(up.map(up_or_down)) } else { "not a member".to_owned() };
        let epoch = metadata.members.iter().find(|member| member.id == *id).and_then(|member| member.epoch);
        nodes.add_row(["yes".to_owned(), state, internode_address.clone(), or_dash(epoch), id.clone()]);
    }
    for MetadataMember { id, internode_address, epoch } in &metadata.members {
        if metadata.voters.iter().all(|voter| voter.id != *id) {
            let row = ["no".to_owned(), "-".to_owned(), internode_address.clone(), or_dash(*epoch), id.clone()];
            nodes.add_row(row);
        }
    }
    text.push_str(&format!("\n\n{}", nodes.trim_fmt()));
    if !metadata.entries.is_empty() {
        let mut entries = table(&["entry", "what it changed"], &[0]);
        for MetadataEntry { slot, change } in &metadata.entries {
            entries.add_row([slot.to_string(), change.clone()]);
        }
        text.push_str(&format!("\n\n{}", entries.trim_fmt()));
    }
    text
}

fn as_json(metadata: &MetadataResponse) -> Value {
    let voter = |voter: &MetadataVoter| {
        json!({
            "id": voter.id,
            "internode_address": voter.internode_address,
            "member": voter.member,
            "up": voter.up,
        })
    };
    let member = |member: &MetadataMember| {
        json!({
            "id": member.id,
            "internode_address": member.internode_address,
            "epoch": member.epoch,
        })
    };
    let recovery = |recovery: &MetadataRecovery| {
        json!({
            "former_cluster_id": recovery.former_cluster_id,
            "entry": recovery.slot,
        })
    };
    let entry = |entry: &MetadataEntry| json!({ "entry": entry.slot, "change": entry.change });
    json!({
        "node_id": metadata.node_id,
        "cluster_id": metadata.cluster_id,
        "epoch": metadata.epoch,
        "voters": metadata.voters.iter().map(voter).collect::<Vec<_>>(),
        "members": metadata.members.iter().map(member).collect::<Vec<_>>(),
        "replication_change": metadata.replication_change,
        "waiting": metadata.waiting,
        "recoveries": metadata.recoveries.iter().map(recovery).collect::<Vec<_>>(),
        "log": metadata.entries.iter().map(entry).collect::<Vec<_>>(),
    })
}
