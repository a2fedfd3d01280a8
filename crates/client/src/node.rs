//! A node as the session reaches it: its connections, each kept open by a task of its own.

use crate::connection::{Connection, Settings};
use arc_swap::ArcSwapOption;
use model::NodeId;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;

/// The wait before a lost connection is opened again; doubled with each failure in a row.
const RECONNECT_FIRST: Duration = Duration::from_millis(25);
const RECONNECT_LAST: Duration = Duration::from_secs(1);

/// What happens to connections.
#[derive(Debug)]
pub(crate) struct Events {
    /// Counts attempts to connect, successful or not.
    pub(crate) attempts: watch::Sender<u64>,
    /// The topology may have changed.
    pub(crate) refresh: Notify,
}

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) address: String,
    slots: Vec<Arc<Slot>>,
    tasks: Vec<AbortHandle>,
    next: AtomicUsize,
}

/// A place for one connection.
#[derive(Debug, Default)]
struct Slot {
    connection: ArcSwapOption<Connection>,
    /// Attempts so far, and why the last one failed.
    attempts: Mutex<(u64, String)>,
}

impl Node {
    /// A node whose connections are being opened.
    pub(crate) fn start(
        id: NodeId,
        address: &str,
        connections: usize,
        settings: &Settings,
        events: &Arc<Events>,
    ) -> Node {
        // A node that has not told where it serves cannot be reached.
        let connections = if address.is_empty() { 0 } else { connections };
        let slots: Vec<Arc<Slot>> = (0..connections).map(|_| Arc::default()).collect();
        let task = |slot: &Arc<Slot>| {
            let keep = keep_open(Arc::clone(slot), address.to_owned(), settings.clone(), Arc::clone(events));
            tokio::spawn(keep).abort_handle()
        };
        let tasks = slots.iter().map(task).collect();
        Node { id, address: address.to_owned(), slots, tasks, next: AtomicUsize::new(0) }
    }

    /// One of its open connections, in turn.
    pub(crate) fn connection(&self) -> Option<Arc<Connection>> {
        let start = if self.slots.len() > 1 { self.next.fetch_add(1, Ordering::Relaxed) } else { 0 };
        (0..self.slots.len()).find_map(|at| {
            let slot = &self.slots[start.wrapping_add(at) % self.slots.len()];
            slot.connection.load_full()
        })
    }

    /// Whether it was tried to open each connection at least once.
    pub(crate) fn attempted(&self) -> bool {
        self.slots.iter().all(|slot| slot.attempts.lock().0 > 0)
    }

    /// Why it cannot be reached, if an attempt has failed.
    pub(crate) fn problem(&self) -> Option<String> {
        self.slots.iter().map(|slot| slot.attempts.lock().1.clone()).find(|problem| !problem.is_empty())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

/// Opens a connection, and again whenever it is lost.
async fn keep_open(slot: Arc<Slot>, address: String, settings: Settings, events: Arc<Events>) {
    let mut wait = RECONNECT_FIRST;
    loop {
        let opened = Connection::open(&address, &settings).await;
        let problem = opened.as_ref().err().cloned().unwrap_or_default();
        let connection = opened.ok().map(Arc::new);
        // Before the attempt is counted: who sees the attempt sees what came of it.
        slot.connection.store(connection.clone());
        {
            let mut attempts = slot.attempts.lock();
            attempts.0 += 1;
            attempts.1 = problem;
        }
        events.attempts.send_modify(|attempts| *attempts += 1);
        match connection {
            Some(connection) => {
                connection.closed().await;
                slot.connection.store(None);
                events.refresh.notify_one();
                wait = RECONNECT_FIRST;
            }
            None => wait = (wait * 2).min(RECONNECT_LAST),
        }
        tokio::time::sleep(jittered(wait)).await;
    }
}

/// Between half of `wait` and all of it: many clients must not come back at the same moment.
pub(crate) fn jittered(wait: Duration) -> Duration {
    let nanoseconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().subsec_nanos();
    wait / 2 + wait / 2 * (nanoseconds % 1_000) / 1_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_stays_within_its_bounds() {
        for _ in 0..100 {
            let wait = jittered(Duration::from_secs(1));
            assert!(wait >= Duration::from_millis(500) && wait < Duration::from_secs(1), "{wait:?}");
        }
        assert_eq!(jittered(Duration::ZERO), Duration::ZERO);
    }
}
