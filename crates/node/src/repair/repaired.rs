//! Through what time the ranges of this node's tables have been repaired, kept in the node's own records.
//!
//! Invariant A7: what is recorded for a range was in every replica named there when it was recorded: each write that
//! any of them held at that time is in all of them. A record says nothing of a replica that it does not name.

use bytes::Bytes;
use model::codec::{CodecError, Decode, Encode, Reader, put_sequence, put_varint};
use model::local::LocalWrite;
use model::schema::Table;
use model::{Epoch, NodeId, TableId, Token, TokenRange};
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::token_map::{PieceChange, TokenMap, piece_of};

/// The prefix of its records, under that of the node crate.
pub const REPAIRED: &[u8] = b"node/repaired/";

/// A repair of some tokens that has succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepairedThrough {
    /// When it began, in seconds since 1970, less what clocks may differ by.
    pub seconds: u32,
    /// The replicas that took part, ascending.
    pub replicas: Vec<NodeId>,
    /// The epoch of the view by which it began.
    pub epoch: Epoch,
}

/// What has been repaired.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repaired {
    tables: BTreeMap<TableId, TokenMap<RepairedThrough>>,
}

impl Repaired {
    /// What the records under [`REPAIRED`] say; others are passed over.
    ///
    /// # Errors
    /// When one of them is not a record of this module.
    pub fn from_local_records(records: &[(Bytes, Bytes)]) -> Result<Repaired, CodecError> {
        let mut repaired = Repaired::default();
        for (key, value) in records {
            let Some(key) = key.strip_prefix(REPAIRED) else { continue };
            let mut key = Reader::new(Bytes::copy_from_slice(key));
            let (table, first) = (TableId(key.u128()?), Token::decode(&mut key)?);
            key.finish()?;
            let mut value = Reader::new(value.clone());
            let last = Token::decode(&mut value)?;
            let through = RepairedThrough::decode(&mut value)?;
            value.finish()?;
            repaired.tables.entry(table).or_default().insert_recorded(first, last, through);
        }
        Ok(repaired)
    }

    /// Forgets the tables that are gone. What to write; `None` when nothing has changed.
    pub fn retain_tables(&mut self, tables: &BTreeMap<TableId, Arc<Table>>) -> Option<LocalWrite> {
        let mut write = LocalWrite::default();
        self.tables.retain(|id, pieces| {
            let kept = tables.contains_key(id);
            if !kept {
                write.records.extend(pieces.pieces().map(|(piece, _)| (record_key(*id, *piece.start()), None)));
            }
            kept
        });
        (!write.records.is_empty()).then_some(write)
    }

    /// A range of a table has been repaired. What to write.
    pub fn put(&mut self, table: TableId, range: TokenRange, through: RepairedThrough) -> LocalWrite {
        let changes = self.tables.entry(table).or_default().put(piece_of(range), through);
        let record = |(first, piece): PieceChange<RepairedThrough>| {
            let value = piece.map(|(last, through)| {
                let mut value = Vec::new();
                last.encode(&mut value);
                through.encode(&mut value);
                Bytes::from(value)
            });
            (record_key(table, first), value)
        };
        LocalWrite::of(changes.into_iter().map(record).collect())
    }

    /// The time through which every token of a range has been repaired over these replicas, all of them; 0 when some
    /// token has not.
    #[must_use]
    pub fn through(&self, table: TableId, range: TokenRange, replicas: &[NodeId]) -> u32 {
        self.least(table, range, replicas, |repaired| repaired.seconds).unwrap_or(0)
    }

    /// True when every token of a range has been repaired over these replicas by repairs that began at `since` or
    /// later.
    #[must_use]
    pub fn is_since(&self, table: TableId, range: TokenRange, replicas: &[NodeId], since: Epoch) -> bool {
        self.least(table, range, replicas, |repaired| repaired.epoch).is_some_and(|epoch| epoch >= since)
    }

    /// The least of what the records of a range say; `None` when some token has not been repaired over these replicas.
    fn least<T: Ord>(
        &self,
        table: TableId,
        range: TokenRange,
        replicas: &[NodeId],
        of: impl Fn(&RepairedThrough) -> T,
    ) -> Option<T> {
        let pieces = self.tables.get(&table)?;
        // The first token that is not known to be repaired.
        let mut next = i128::from(range.start.0) + 1;
        let mut least: Option<T> = None;
        for (piece, repaired) in pieces.overlapping(&piece_of(range)) {
            let covers = replicas.iter().all(|replica| repaired.replicas.contains(replica));
            if i128::from(piece.start().0) > next || !covers {
                return None;
            }
            let this = of(repaired);
            least = Some(match least {
                Some(least) => least.min(this),
                None => this,
            });
            next = i128::from(piece.end().0) + 1;
        }
        least.filter(|_| next > i128::from(range.end.0))
    }

    /// Every piece, by table and token.
    pub fn pieces(&self) -> impl Iterator<Item = (TableId, std::ops::RangeInclusive<Token>, &RepairedThrough)> {
        self.tables.iter().flat_map(|(id, pieces)| pieces.pieces().map(|(piece, through)| (*id, piece, through)))
    }
}

impl Encode for RepairedThrough {
    fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, u64::from(self.seconds));
        put_sequence(out, &self.replicas);
        self.epoch.encode(out);
    }
}

impl Decode for RepairedThrough {
    fn decode(reader: &mut Reader) -> Result<RepairedThrough, CodecError> {
        let (seconds, replicas) = (reader.varint_u32()?, reader.sequence()?);
        // Records of before epochs were kept say nothing of one.
        let epoch = if reader.remaining() == 0 { Epoch(0) } else { Epoch::decode(reader)? };
        Ok(RepairedThrough { seconds, replicas, epoch })
    }
}

fn record_key(table: TableId, first: Token) -> Bytes {
    let mut key = REPAIRED.to_vec();
    table.0.encode(&mut key);
    first.encode(&mut key);
    Bytes::from(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: TableId = TableId(7);

    fn range(start: i64, end: i64) -> TokenRange {
        TokenRange { start: Token(start), end: Token(end) }
    }

    fn by(seconds: u32, replicas: &[u128]) -> RepairedThrough {
        RepairedThrough { seconds, replicas: replicas.iter().map(|id| NodeId(*id)).collect(), epoch: Epoch(3) }
    }

    fn nodes(ids: &[u128]) -> Vec<NodeId> {
        ids.iter().map(|id| NodeId(*id)).collect()
    }

    #[test]
    fn a_range_counts_only_when_every_token_was_repaired_over_every_replica() {
        let mut repaired = Repaired::default();
        assert_eq!(repaired.through(TABLE, TokenRange::ALL, &nodes(&[1])), 0);
        repaired.put(TABLE, range(0, 10), by(100, &[1, 2, 3]));
        repaired.put(TABLE, range(10, 20), by(90, &[1, 2, 3]));
        let through = |start, end, replicas: &[u128]| repaired.through(TABLE, range(start, end), &nodes(replicas));
        assert_eq!(through(0, 10, &[1, 2, 3]), 100);
        assert_eq!(through(0, 20, &[3, 2, 1]), 90, "the older part counts");
        assert_eq!(through(5, 6, &[1, 2]), 100, "a replica that has left is not asked after");
        assert_eq!(through(0, 20, &[1, 2, 4]), 0, "a new replica has not been repaired");
        assert_eq!((through(-1, 5, &[1]), through(15, 21, &[1])), (0, 0), "nothing is known of some tokens");
        assert_eq!(repaired.through(TableId(8), range(0, 10), &nodes(&[1])), 0);
    }

    #[test]
    fn what_is_recorded_is_found_again_and_goes_with_its_table() {
        let (mut repaired, mut disk) = (Repaired::default(), BTreeMap::new());
        let mut write = |write: LocalWrite| {
            for (key, value) in write.records {
                match value {
                    Some(value) => drop(disk.insert(key, value)),
                    None => drop(disk.remove(&key)),
                }
            }
            let records: Vec<(Bytes, Bytes)> = disk.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
            Repaired::from_local_records(&records).unwrap()
        };
        for (index, (start, end)) in [(i64::MIN, i64::MAX), (-5, 5), (0, 50), (-100, 3)].into_iter().enumerate() {
            let change = repaired.put(TABLE, range(start, end), by(index as u32, &[1, 2]));
            assert_eq!(write(change), repaired);
        }
        assert_eq!(repaired.retain_tables(&BTreeMap::new()).map(&mut write), Some(Repaired::default()));
        assert_eq!(repaired.retain_tables(&BTreeMap::new()), None);
        let damaged = [(record_key(TABLE, Token(1)), Bytes::from_static(&[1, 2]))];
        assert!(Repaired::from_local_records(&damaged).is_err());
    }
}
