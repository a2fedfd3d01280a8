//! Records that a node keeps for itself: the metadata log, Paxos registers, its timestamp ceiling.
//! They are never replicated; every write of them is synced before it is answered.

use crate::id::TableId;
use crate::retry_token::RetryToken;
use crate::time::WallMicros;
use crate::token::Token;
use bytes::Bytes;
use std::ops::Range;

/// A set of changes to the node's own records, applied atomically and synced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocalWrite {
    /// `(key, value)`; `None` removes the key. Keys start with a prefix of their owner, one of
    /// [`prefix`].
    pub records: Vec<(Bytes, Option<Bytes>)>,
    /// Before that every record whose key is in this range is removed.
    pub removed: Option<Range<Bytes>>,
}

impl LocalWrite {
    /// A set of changes by keys.
    #[must_use]
    pub fn of(records: Vec<(Bytes, Option<Bytes>)>) -> LocalWrite {
        LocalWrite { records, removed: None }
    }
}

/// First bytes of the keys of local records, one for each owner.
pub mod prefix {
    /// The membership crate: metadata log entries, Paxos registers, generation.
    pub const MEMBERSHIP: &[u8] = b"membership/";
    /// A shard of the node crate: timestamp ceiling, the id under which it counts.
    pub const NODE: &[u8] = b"node/";
    /// Logged batches that the node keeps for their coordinators: [`super::batch_key`].
    pub const BATCHES: &[u8] = b"batches/";
    /// The Paxos registers of partitions, each under the id of its table: [`super::register_key`].
    pub const PAXOS: &[u8] = b"paxos/";
    /// The schedule of sweeps for garbage: when which part of a table was swept.
    pub const GARBAGE: &[u8] = b"garbage/";
    /// What requests with retry tokens came to: [`super::outcome_key`].
    pub const OUTCOMES: &[u8] = b"outcomes/";
}

/// The end of the key of the id under which a shard counts, after [`prefix::NODE`] and the shard's index.
const COUNTER_ID: &[u8] = b"/counter_id";

/// The key of the id under which a shard of the node counts. A store that may have lost writes that were synced, or
/// was copied from a snapshot, forgets these ids: under each of them others may know of more than is stored here.
#[must_use]
pub fn counter_id_key(shard: u16) -> Bytes {
    Bytes::from([prefix::NODE, shard.to_string().as_bytes(), COUNTER_ID].concat())
}

/// The shard whose id this key is for; `None` when it is another key.
#[must_use]
pub fn shard_of_counter_id(key: &[u8]) -> Option<u16> {
    let shard = key.strip_prefix(prefix::NODE)?.strip_suffix(COUNTER_ID)?;
    std::str::from_utf8(shard).ok()?.parse().ok()
}

/// The key of a logged batch.
#[must_use]
pub fn batch_key(batch: u128) -> Bytes {
    Bytes::from([prefix::BATCHES, &batch.to_be_bytes()].concat())
}

/// The batch of a key; `None` when it is another key.
#[must_use]
pub fn batch_of_key(key: &[u8]) -> Option<u128> {
    let id = key.strip_prefix(prefix::BATCHES)?;
    Some(u128::from_be_bytes(id.try_into().ok()?))
}

/// The key of what the request with this token came to in a partition. Keys ascend with the times of their tokens.
#[must_use]
pub fn outcome_key(token: RetryToken, table: TableId, partition: &[u8]) -> Bytes {
    let table = table.0.to_be_bytes();
    Bytes::from([prefix::OUTCOMES, &time_of(token), &token.to_wire()[..], &table[..], partition].concat())
}

/// The keys of what requests came to whose tokens are older than `time`.
#[must_use]
pub fn outcomes_before(time: WallMicros) -> Range<Bytes> {
    let end = [prefix::OUTCOMES, &(time.0.max(0) as u64).to_be_bytes()].concat();
    Bytes::from_static(prefix::OUTCOMES)..Bytes::from(end)
}

fn time_of(token: RetryToken) -> [u8; 8] {
    (token.time().0.max(0) as u64).to_be_bytes()
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

/// The token of the partition of a Paxos register, whose key this is.
#[must_use]
pub fn token_of_register(key: &[u8]) -> Token {
    Token::of(key.get(prefix::PAXOS.len() + size_of::<u128>()..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_say_whose_they_are() {
        for shard in [0, 7, u16::MAX] {
            assert_eq!(shard_of_counter_id(&counter_id_key(shard)), Some(shard));
        }
        for other in [&b"node/1/timestamp_ceiling"[..], b"node/x/counter_id", b"node/70000/counter_id", b"batches/x"] {
            assert_eq!((shard_of_counter_id(other), batch_of_key(other)), (None, None));
        }
        assert_eq!([0, 5, u128::MAX].map(|id| batch_of_key(&batch_key(id))), [Some(0), Some(5), Some(u128::MAX)]);
    }

    #[test]
    fn outcomes_ascend_with_the_times_of_their_tokens() {
        let key = |micros, random| outcome_key(RetryToken::at(WallMicros(micros), random), TableId(7), b"p");
        let before = outcomes_before(WallMicros(1_000));
        assert!(before.contains(&key(0, u64::MAX)) && before.contains(&key(999, u64::MAX)));
        assert!(!before.contains(&key(1_000, 0)) && !before.contains(&key(1 << 50, 0)));
        assert!(!before.contains(&register_key(TableId(0), b"p")) && !before.contains(&batch_key(0)));
        assert_ne!(key(5, 1), key(5, 2));
    }

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
