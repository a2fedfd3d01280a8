//! How decided entries come to a member and are applied: stored first, then applied, all that are there in
//! one go. Any node that has an entry serves it.

use crate::io::{Body, MemberError, PAGE_BYTES_MAX};
use crate::log::record::{self, Key};
use crate::log::{Change, Entry};
use crate::member::{Afterwards, Member};
use bytes::Bytes;
use model::{Epoch, Instant, NodeId};
use std::net::SocketAddr;
use std::time::Duration;

/// Decided entries beyond this distance are not kept: they are fetched in their turn.
const WINDOW: u64 = 1_024;

/// Most nodes told that an entry is applied.
const TOLD_MAX: usize = 1_024;

/// Time for a peer to answer a fetch; then another one may be asked.
const FETCH: Duration = Duration::from_millis(300);

/// A fetch of entries under way.
#[derive(Clone, Debug)]
pub(crate) struct CatchUp {
    /// Who was asked.
    pub(crate) from: SocketAddr,
    /// The epoch that it is known to have.
    goal: Epoch,
    /// When to give up on it.
    pub(crate) until: Instant,
}

impl Member {
    /// The last slot whose entry is known here, with all before it.
    fn head(&self) -> Epoch {
        let mut head = self.epoch();
        while self.arriving.contains_key(&head.next()) {
            head = head.next();
        }
        head
    }

    /// A node has applied `epoch`: fetches what is missing here, unless that is under way.
    pub(crate) fn want(&mut self, from: SocketAddr, epoch: Epoch) {
        if epoch <= self.head() {
            return;
        }
        if let Some(catch_up) = &mut self.catch_up
            && catch_up.until > self.now
        {
            if catch_up.from == from {
                catch_up.goal = catch_up.goal.max(epoch);
            }
            return;
        }
        self.fetch(from, epoch);
    }

    fn fetch(&mut self, from: SocketAddr, goal: Epoch) {
        self.catch_up = Some(CatchUp { from, goal, until: self.now + FETCH });
        let after = self.head();
        self.send(from, Body::Fetch { after });
    }

    pub(crate) fn drive_catch_up(&mut self) {
        if self.catch_up.as_ref().is_some_and(|catch_up| catch_up.until <= self.now) {
            self.catch_up = None;
        }
    }

    /// Sends the entries after `after`, if there are any.
    pub(crate) fn send_entries(&mut self, to: SocketAddr, after: Epoch) {
        let entries = self.log.page(after, PAGE_BYTES_MAX);
        if !entries.is_empty() {
            self.send(to, Body::Entries { first: after.next(), entries });
        }
    }

    pub(crate) fn on_entries(&mut self, from: SocketAddr, first: Epoch, entries: Vec<Entry>) {
        for (slot, entry) in (first.0..).map(Epoch).zip(entries) {
            self.learn(slot, entry);
        }
        if self.catch_up.as_ref().is_some_and(|catch_up| catch_up.from == from && catch_up.goal <= self.head()) {
            self.catch_up = None;
        }
    }

    pub(crate) fn on_committed(&mut self, from: SocketAddr, sender: NodeId, slot: Epoch, entry: Entry) {
        self.learn(slot, entry);
        if slot <= self.epoch() {
            self.send(from, Body::Applied);
        } else if self.to_be_told.len() < TOLD_MAX {
            self.to_be_told.insert(from, sender);
            if slot > self.head() {
                self.want(from, Epoch(slot.0 - 1));
            }
        }
    }

    /// An entry is decided for a slot.
    pub(crate) fn learn(&mut self, slot: Epoch, entry: Entry) {
        if slot <= self.epoch() || slot.0 > self.epoch().0 + WINDOW || self.arriving.contains_key(&slot) {
            return;
        }
        if slot == Epoch(1) {
            // M5: the beginning of another cluster is not this node's. That of its own has another name when the
            // cluster was recovered since; the sender was admitted as one of its own.
            if self.cluster().is_none() || !matches!(*entry.change, Change::Genesis { .. }) {
                return;
            }
        }
        self.arriving.insert(slot, entry);
        self.store_arriving();
    }

    /// Stores all entries that follow the last one applied. Their registers are of no use any more.
    fn store_arriving(&mut self) {
        if self.storing {
            return;
        }
        let (mut records, mut entries): (Vec<(Bytes, Option<Bytes>)>, Vec<Entry>) = (Vec::new(), Vec::new());
        let mut slot = self.epoch().next();
        while let Some(entry) = self.arriving.get(&slot) {
            records.push((Key::Entry(slot).to_bytes(), Some(record::value(entry))));
            if self.acceptors.contains_key(&slot) {
                records.push((Key::Register(slot).to_bytes(), None));
            }
            entries.push(entry.clone());
            slot = slot.next();
        }
        if !entries.is_empty() {
            self.storing = true;
            self.store(records, Afterwards::Apply(entries));
        }
    }

    /// Applies entries that are stored.
    pub(crate) fn apply(&mut self, entries: Vec<Entry>) {
        self.storing = false;
        let first = self.epoch().next();
        for entry in entries {
            let slot = self.epoch().next();
            self.arriving.remove(&slot);
            self.acceptors.remove(&slot);
            self.on_own_decided(slot, entry.id);
            self.log.append(entry);
            self.was_member |= self.is_joined();
        }
        if self.discovery.follows == self.log.state().cluster_id {
            self.discovery.follows = None;
        }
        self.gossip.set_epoch(self.epoch());
        if let (true, false, Some(cluster)) = (self.was_member, self.is_joined(), self.log.state().cluster_id) {
            self.stop(MemberError::Removed { id: self.config.id, cluster });
            return;
        }
        self.build_view();
        self.on_log_advanced(first == Epoch(1));
        for (address, sender) in std::mem::take(&mut self.to_be_told) {
            self.gossip.on_direct(sender, self.now);
            self.send(address, Body::Applied);
        }
        for (from, message) in std::mem::take(&mut self.deferred) {
            self.on_body(from, message);
        }
        self.store_arriving();
        if let Some(catch_up) = self.catch_up.take()
            && catch_up.goal > self.head()
        {
            self.fetch(catch_up.from, catch_up.goal);
        }
    }
}
