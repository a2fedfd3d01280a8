//! Records that a node keeps for itself: the metadata log, Paxos registers, its timestamp ceiling.
//! They are never replicated; every write of them is synced before it is answered.

use crate::id::TableId;
use bytes::Bytes;
use std::ops::Range;

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
    /// The Paxos registers of partitions, each under the id of its table: [`super::register_key`].
    pub const PAXOS: &[u8] = b"paxos/";
    /// The schedule of sweeps for garbage: when which part of a table was swept.
    pub const GARBAGE: &[u8] = b"garbage/";
}

/// The keys of the Paxos registers of a table: they go with the table.
#[must_use]
pub fn registers_of(table: TableId) -> Range<Bytes> {
    let start = register_key(table, &[]);
    let end = match table.0.checked_add(1) {
        Some(next) => register_key(TableId(next), &[]),
        // What comes after the slash that ends the prefix.
        None => Bytes::from_static(b"paxos0"),
    };
    start..end
}

/// The key of the Paxos register of a partition.
#[must_use]
pub fn register_key(table: TableId, partition: &[u8]) -> Bytes {
    Bytes::from([prefix::PAXOS, &table.0.to_be_bytes(), partition].concat())
}

/// The table of a Paxos register; `None` when the key is not of one.
#[must_use]
pub fn table_of_register(key: &[u8]) -> Option<TableId> {
    let id = key.strip_prefix(prefix::PAXOS)?.first_chunk()?;
    Some(TableId(u128::from_be_bytes(*id)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_lie_in_the_range_of_their_table_and_of_no_other() {
        for table in [0, 7, 0xff, u128::MAX - 1, u128::MAX].map(TableId) {
            let keys = registers_of(table);
            for partition in [&b""[..], b"p", &[0xff; 40]] {
                assert!(keys.contains(&register_key(table, partition)), "{table}");
                assert_eq!(table_of_register(&register_key(table, partition)), Some(table));
                for other in [table.0.wrapping_add(1), table.0.wrapping_sub(1)] {
                    assert!(!keys.contains(&register_key(TableId(other), partition)), "{table} {other:x}");
                }
            }
            assert!(keys.start.starts_with(prefix::PAXOS));
        }
    }
}
