//! Events for clients of the CQL native protocol: what has changed between two pictures of the cluster.
//!
//! Invariants of their order: a node is told of as new before it is up, and as down before it is removed; a
//! keyspace is created before its types and those before its tables, and dropped after them.

use crate::member_loop::Published;
use membership::{ClusterView, MemberInfo};
use model::NodeId;
use model::schema::{Keyspace, Schema};
use native::event::{ChangeType, StatusChange, TopologyChange};
use native::{Event, SchemaChange, SchemaTarget};
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::sync::{broadcast, watch};

/// Events that a connection may be behind before it is closed.
const EVENTS_MAX: usize = 1_024;

/// A connection cannot be told of every event: it has read too slowly.
#[derive(Debug)]
pub(crate) struct Missed;

/// Where connections hear of events.
pub(crate) struct Events {
    sender: broadcast::Sender<Event>,
}

/// What was told of last.
#[derive(Clone)]
struct Picture {
    view: Arc<ClusterView>,
    alive: Arc<BTreeSet<NodeId>>,
}

impl Events {
    pub(crate) fn new() -> Events {
        Events { sender: broadcast::Sender::new(EVENTS_MAX) }
    }

    /// Every event from now on.
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.sender.subscribe()
    }

    /// Watches what the node publishes until it drains.
    pub(crate) async fn run(&self, published: &Published, mut drain: watch::Receiver<bool>) {
        let mut changed = published.changed.subscribe();
        let mut last: Option<Picture> = None;
        let drained = drain.wait_for(|drain| *drain);
        tokio::pin!(drained);
        loop {
            changed.borrow_and_update();
            let picture = Picture { view: published.view.load_full(), alive: published.alive.load_full() };
            if let Some(last) = &last {
                // Nobody has registered when it cannot be sent.
                changes(last, &picture).into_iter().for_each(|event| drop(self.sender.send(event)));
            }
            last = Some(picture);
            tokio::select! {
                result = changed.changed() => if result.is_err() { return },
                _ = &mut drained => return,
            }
        }
    }
}

/// What has happened from one picture to the next.
fn changes(before: &Picture, after: &Picture) -> Vec<Event> {
    let mut events = Vec::new();
    let was_up = |id: &NodeId| before.view.members.contains_key(id) && before.alive.contains(id);
    let is_up = |id: &NodeId| after.view.members.contains_key(id) && after.alive.contains(id);
    let status = |change, member: &MemberInfo| Event::Status(change, member.addresses.native);
    for (id, member) in &before.view.members {
        if was_up(id) && !is_up(id) {
            events.push(status(StatusChange::Down, member));
        }
        if !after.view.members.contains_key(id) {
            events.push(Event::Topology(TopologyChange::RemovedNode, member.addresses.native));
        }
    }
    for (id, member) in &after.view.members {
        if !before.view.members.contains_key(id) {
            events.push(Event::Topology(TopologyChange::NewNode, member.addresses.native));
        }
        if !was_up(id) && is_up(id) {
            events.push(status(StatusChange::Up, member));
        }
    }
    if !Arc::ptr_eq(&before.view.schema, &after.view.schema) {
        events.extend(schema_changes(&before.view.schema, &after.view.schema).into_iter().map(Event::Schema));
    }
    events
}

fn schema_changes(before: &Schema, after: &Schema) -> Vec<SchemaChange> {
    let mut changes = Vec::new();
    for (name, keyspace) in before.keyspaces() {
        let next = after.keyspace(name);
        drop_missing(keyspace, next.map(Arc::as_ref), &mut changes);
        if next.is_none() {
            changes.push(change(ChangeType::Dropped, name, SchemaTarget::Keyspace));
        }
    }
    for (name, keyspace) in after.keyspaces() {
        let previous = before.keyspace(name);
        match previous {
            None => changes.push(change(ChangeType::Created, name, SchemaTarget::Keyspace)),
            Some(previous) if previous.replication != keyspace.replication => {
                changes.push(change(ChangeType::Updated, name, SchemaTarget::Keyspace));
            }
            Some(previous) if Arc::ptr_eq(previous, keyspace) => continue,
            Some(_) => {}
        }
        make_new(previous.map(Arc::as_ref), keyspace, &mut changes);
    }
    changes
}

fn change(change: ChangeType, keyspace: &str, target: SchemaTarget) -> SchemaChange {
    SchemaChange { change, keyspace: keyspace.to_owned(), target }
}

/// What `before` has and `after` has not, tables first.
fn drop_missing(before: &Keyspace, after: Option<&Keyspace>, changes: &mut Vec<SchemaChange>) {
    for (name, table) in &before.tables {
        let next = after.and_then(|after| after.tables.get(name));
        if next.is_none_or(|next| next.created_id() != table.created_id()) {
            changes.push(change(ChangeType::Dropped, &before.name, SchemaTarget::Table(name.clone())));
        }
    }
    for name in before.types.keys() {
        if after.is_none_or(|after| !after.types.contains_key(name)) {
            changes.push(change(ChangeType::Dropped, &before.name, SchemaTarget::Type(name.clone())));
        }
    }
}

/// What `after` has and `before` has not or has otherwise, types first.
fn make_new(before: Option<&Keyspace>, after: &Keyspace, changes: &mut Vec<SchemaChange>) {
    for (name, definition) in &after.types {
        match before.and_then(|before| before.types.get(name)) {
            Some(same) if same == definition => {}
            found => {
                let happened = if found.is_some() { ChangeType::Updated } else { ChangeType::Created };
                changes.push(change(happened, &after.name, SchemaTarget::Type(name.clone())));
            }
        }
    }
    for (name, table) in &after.tables {
        let found = before.and_then(|before| before.tables.get(name));
        let happened = match found {
            Some(same) if same.created_id() == table.created_id() => {
                if same.columns == table.columns && same.options == table.options && same.indexes == table.indexes {
                    continue;
                }
                ChangeType::Updated
            }
            _ => ChangeType::Created,
        };
        changes.push(change(happened, &after.name, SchemaTarget::Table(name.clone())));
    }
}

#[cfg(test)]
#[path = "native_events_tests.rs"]
mod tests;
