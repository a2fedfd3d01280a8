//! The connections of the CQL native protocol, for those who want to know of them.
//!
//! Invariant: a connection is here from when it is accepted to when it ends.

use node::virtual_tables::Client;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Those that there are.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    all: Mutex<BTreeMap<u64, Arc<Entry>>>,
    next: AtomicU64,
}

#[derive(Debug)]
struct Entry {
    requests: AtomicU64,
    client: Mutex<Client>,
}

/// One of them: it is gone when this is.
pub(crate) struct Registered {
    clients: Arc<Clients>,
    id: u64,
    entry: Arc<Entry>,
}

impl Clients {
    /// A connection that was just accepted.
    pub(crate) fn register(self: &Arc<Clients>, address: SocketAddr, tls: bool) -> Registered {
        let client = Client {
            address,
            options: BTreeMap::new(),
            stage: "startup",
            version: 0,
            keyspace: None,
            user: None,
            tls,
            requests: 0,
        };
        let entry = Arc::new(Entry { requests: AtomicU64::new(0), client: Mutex::new(client) });
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.all.lock().insert(id, entry.clone());
        Registered { clients: self.clone(), id, entry }
    }

    /// All of them as they are now.
    pub(crate) fn list(&self) -> Vec<Client> {
        let entries: Vec<Arc<Entry>> = self.all.lock().values().cloned().collect();
        let listed = |entry: Arc<Entry>| {
            let requests = entry.requests.load(Ordering::Relaxed);
            Client { requests, ..entry.client.lock().clone() }
        };
        entries.into_iter().map(listed).collect()
    }
}

impl Registered {
    /// Counts a request.
    pub(crate) fn count(&self) {
        self.entry.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes note of what has changed.
    pub(crate) fn update(&self, change: impl FnOnce(&mut Client)) {
        change(&mut self.entry.client.lock());
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.clients.all.lock().remove(&self.id);
    }
}
