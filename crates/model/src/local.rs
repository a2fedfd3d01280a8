//! Records that a node keeps for itself: the metadata log, Paxos registers, its timestamp ceiling.
//! They are never replicated; every write of them is synced before it is answered.

use bytes::Bytes;

/// A set of changes to the node's own records, applied atomically and synced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocalWrite {
    /// `(key, value)`; `None` removes the key. Keys start with a prefix of their owner, one of
    /// [`prefix`].
    pub records: Vec<(Bytes, Option<Bytes>)>,
}

/// First bytes of the keys of local records, one for each owner.
pub mod prefix {
    /// The membership crate: metadata log entries, Paxos registers, generation.
    pub const MEMBERSHIP: &[u8] = b"membership/";
    /// A shard of the node crate: timestamp ceiling.
    pub const NODE: &[u8] = b"node/";
    /// The schedule of sweeps for garbage: when which part of a table was swept.
    pub const GARBAGE: &[u8] = b"garbage/";
}
