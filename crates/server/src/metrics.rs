//! Counters of a node since its start, shown by `admin info`.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// Adds `count`.
    pub(crate) fn add(&self, count: u64) {
        // Counters order nothing: each is read alone, for people.
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// The sum so far.
    pub(crate) fn sum(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! metrics {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// What a node counts.
        #[derive(Debug, Default)]
        pub(crate) struct Metrics {
            $($(#[doc = $doc])+ pub(crate) $name: Counter,)+
        }

        impl Metrics {
            /// Every counter with its name.
            pub(crate) fn named(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name.sum()),)+].into_iter()
            }
        }
    };
}

metrics! {
    /// Requests answered well.
    requests_succeeded,
    /// Requests answered with an error other than overload.
    requests_failed,
    /// Requests refused because the node had enough to do.
    requests_overloaded,
    /// Connections of the CQL native protocol that were accepted.
    native_connections,
    /// Connections of the CQL native protocol that were closed because there were too many.
    native_connections_refused,
    /// Messages handed to the transport for other nodes.
    messages_sent,
    /// Bytes of messages to other nodes, without what the transport adds.
    message_bytes_sent,
    /// Messages dropped because the queue to their node was full or the node not connected.
    messages_dropped,
    /// Messages from other nodes.
    messages_received,
    /// Messages from other nodes that could not be read.
    messages_malformed,
    /// Writes committed to storage.
    storage_writes,
    /// Groups in which they were committed.
    storage_groups,
    /// Writes refused because too many waited.
    storage_overloaded,
    /// Reads answered from memory.
    reads_cached,
    /// Reads that had to go to the disk.
    reads_from_disk,
    /// Pages of scans read from storage.
    scans,
    /// Pages compared for repairs.
    comparisons,
    /// Parts of tables swept for garbage.
    garbage_sweeps,
    /// Rows of which a sweep left nothing.
    garbage_rows_removed,
    /// Partitions whose deletions a sweep made fewer.
    garbage_deletions_removed,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_have_names() {
        let metrics = Metrics::default();
        metrics.messages_sent.add(3);
        metrics.messages_sent.add(4);
        assert!(metrics.named().any(|counter| counter == ("messages_sent", 7)));
    }
}
