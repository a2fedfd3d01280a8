//! What a shard is told at its start: who it is, its limits and its times. Every queue of a shard has its
//! limit here.

use model::{NodeId, Planted};
use std::collections::BTreeSet;
use std::num::NonZeroU64;
use std::time::Duration;

/// When a replica acknowledges a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// When it survives power loss: on [`crate::io::Stored::Synced`].
    Group,
    /// When it survives the death of the process: on [`crate::io::Stored::Applied`] or `Synced`,
    /// whichever comes first.
    Periodic,
}

/// What an operator says of hints; can be changed while the node runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HintPolicy {
    /// Whether hints are written at all.
    pub enabled: bool,
    /// For replicas in these data centres none are written.
    pub disabled_data_centers: BTreeSet<String>,
    /// Whether those that there are wait.
    pub paused: bool,
    /// For how long after a replica was seen dead hints are written for it.
    pub window: Duration,
    /// Bytes of hints that the node sends in a second; `None` for as many as their targets take.
    pub bytes_per_second: Option<NonZeroU64>,
}

impl Default for HintPolicy {
    fn default() -> HintPolicy {
        HintPolicy {
            enabled: true,
            disabled_data_centers: BTreeSet::new(),
            paused: false,
            // Cassandra's max_hint_window.
            window: Duration::from_secs(3 * 60 * 60),
            bytes_per_second: None,
        }
    }
}

/// What an operator says of repairs; can be changed while the node runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepairPolicy {
    /// Every range is repaired unasked once within this time; `None` for never.
    pub every: Option<Duration>,
    /// Whether repairs wait: those that run stop where they are.
    pub paused: bool,
    /// Bytes that a repair compares in a second; `None` for as many as its replicas can.
    pub bytes_per_second: Option<NonZeroU64>,
}

impl Default for RepairPolicy {
    fn default() -> RepairPolicy {
        RepairPolicy {
            every: Some(Duration::from_secs(3 * 24 * 60 * 60)),
            paused: false,
            bytes_per_second: NonZeroU64::new(32 * 1024 * 1024),
        }
    }
}

/// The configuration of a shard.
#[derive(Clone, Debug)]
pub struct ShardConfig {
    /// This shard's index, from 0. Shard 0 also delivers the node's hints.
    pub index: u16,
    /// How many shards the node has; at least 1.
    pub shards: u16,
    /// The node.
    pub node: NodeId,
    /// When a replica acknowledges.
    pub durability: Durability,
    /// Most client requests in flight; more are refused as overloaded. As many writes that are answered
    /// and still wait for the last replicas are kept besides; beyond that the oldest become hints.
    pub requests_max: usize,
    /// Most bytes of mutations that the coordinator keeps in memory, and of answers to reads: beyond either
    /// new requests are refused as overloaded.
    pub request_bytes_max: usize,
    /// Most operations that this replica executes for coordinators at one time; more are refused.
    pub replica_ops_max: usize,
    /// Most requests of peers with a newer view that wait for this node to catch up; more are refused.
    pub parked_max: usize,
    /// Most bytes of such requests.
    pub parked_bytes_max: usize,
    /// How long such a request waits before it is refused.
    pub catch_up_timeout: Duration,
    /// When a spare replica is asked instead of one that has not answered a read.
    pub peer_response_after: Duration,
    /// When a coordinator tries again at a replica that refused because the two views differ.
    pub refusal_retry_after: Duration,
    /// For how long, at most, a transaction waits for promises beyond a quorum: with those of all replicas it needs no
    /// further round.
    pub promises_wait: Duration,
    /// Within how long, after a random part of it, a transaction tries again that another one was in the way of;
    /// doubles up to 64 times as much. Where an attempt takes longer it is up to 8 times as long as that.
    pub contention_backoff: Duration,
    /// For how long what a request with a retry token came to is remembered: older tokens are refused.
    pub retry_window: Duration,
    /// The client of a page for which more tombstones were passed is told so.
    pub tombstone_warn: u32,
    /// Most tombstones that a replica passes for one read of a page; it refuses more.
    pub tombstone_fail: u32,
    /// Timestamps further in the future of the wall clock than this are refused.
    pub timestamp_future_max: Duration,
    /// How far ahead of the wall clock server timestamps are reserved on disk. A shard that takes a write at
    /// least every half of this never waits for a reservation; one that is restarted within this time gives
    /// timestamps that are ahead of the wall clock by what is left of it.
    pub timestamp_reserve: Duration,
    /// What the operator says of hints, at first.
    pub hints: HintPolicy,
    /// Most hints on their way to one target.
    pub hints_in_flight_max: usize,
    /// How long the delivery of a hint may take.
    pub hint_timeout: Duration,
    /// Bytes of hints that are read at once for one target.
    pub hint_page_bytes: u32,
    /// The first pause after a failed delivery to a target; doubles up to 64 times as much.
    pub hint_backoff: Duration,
    /// How often shard 0 looks for hints that other shards of the node wrote; unused with one shard.
    pub hint_poll_every: Duration,
    /// Most logged batches of others that are kept, and most bytes of them; more are refused.
    pub batches_max: usize,
    /// See [`ShardConfig::batches_max`].
    pub batch_bytes_max: usize,
    /// After how long a batch that was not forgotten is written by who keeps it, and again when that fails.
    pub batch_replay_after: Duration,
    /// What the operator says of repairs, at first. Only shard 0 repairs.
    pub repairs: RepairPolicy,
    /// Bytes that a repair compares at once.
    pub repair_page_bytes: u32,
    /// For how long a repair waits for a replica before it asks again; three times in vain, and the repair fails.
    pub repair_timeout: Duration,
    /// About how often it is looked whether a range is to be repaired unasked.
    pub repair_look_every: Duration,
    /// The bug to run with.
    #[cfg(feature = "planted")]
    pub planted: Option<Planted>,
}

impl ShardConfig {
    /// A configuration with defaults that a production cluster can keep.
    ///
    /// # Panics
    /// When `index` is not below `shards`.
    #[must_use]
    pub fn new(node: NodeId, index: u16, shards: u16) -> ShardConfig {
        assert!(index < shards, "a shard's index is below the number of shards");
        ShardConfig {
            index,
            shards,
            node,
            durability: Durability::Group,
            requests_max: 16_384,
            request_bytes_max: 256 * 1024 * 1024,
            replica_ops_max: 65_536,
            parked_max: 4_096,
            parked_bytes_max: 64 * 1024 * 1024,
            catch_up_timeout: Duration::from_secs(1),
            peer_response_after: Duration::from_millis(50),
            refusal_retry_after: Duration::from_millis(250),
            promises_wait: Duration::from_millis(10),
            contention_backoff: Duration::from_millis(1),
            // That of Amazon DynamoDB's ClientRequestToken.
            retry_window: Duration::from_secs(600),
            // Cassandra's tombstone_warn_threshold and tombstone_failure_threshold.
            tombstone_warn: 1_000,
            tombstone_fail: 100_000,
            timestamp_future_max: Duration::from_secs(24 * 60 * 60),
            timestamp_reserve: Duration::from_secs(2),
            hints: HintPolicy::default(),
            hints_in_flight_max: 128,
            hint_timeout: Duration::from_secs(5),
            hint_page_bytes: 1024 * 1024,
            hint_backoff: Duration::from_secs(1),
            hint_poll_every: Duration::from_secs(10),
            batches_max: 16_384,
            batch_bytes_max: 64 * 1024 * 1024,
            // Cassandra's: twice the longest time that a write takes by default.
            batch_replay_after: Duration::from_secs(10),
            repairs: RepairPolicy::default(),
            repair_page_bytes: 1024 * 1024,
            repair_timeout: Duration::from_secs(10),
            repair_look_every: Duration::from_secs(60),
            #[cfg(feature = "planted")]
            planted: None,
        }
    }
}

impl ShardConfig {
    /// True when `bug` is switched on.
    #[cfg(feature = "planted")]
    pub(crate) fn is_planted(&self, bug: Planted) -> bool {
        self.planted == Some(bug)
    }

    /// The bug that is switched on.
    #[cfg(feature = "planted")]
    pub(crate) fn bug(&self) -> Option<Planted> {
        self.planted
    }

    /// No bug is switched on.
    #[cfg(not(feature = "planted"))]
    #[inline(always)]
    pub(crate) const fn bug(&self) -> Option<Planted> {
        None
    }

    /// No bug is switched on.
    #[cfg(not(feature = "planted"))]
    #[inline(always)]
    pub(crate) const fn is_planted(&self, _bug: Planted) -> bool {
        false
    }
}
