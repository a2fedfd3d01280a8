//! What is repaired at one time: a range of a table with the replicas that hold it.

use membership::ClusterView;
use model::codec::Encode;
use model::digest::digest_of_bytes;
use model::schema::Table;
use model::{NodeId, TableId, Token, TokenRange};

/// No range is wider than a sixteenth of the ring: what a repair that fails has to begin again with.
const WIDTH_BITS: u32 = u64::BITS - 4;

/// A range of a table to repair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepairUnit {
    /// The table.
    pub table: TableId,
    /// The range.
    pub range: TokenRange,
    /// The replicas of all its tokens, ascending.
    pub replicas: Vec<NodeId>,
}

impl RepairUnit {
    /// The replica that repairs it unasked: the same one for every node that asks in one view, and another one for
    /// another range or table.
    #[must_use]
    pub fn responsible(&self) -> Option<NodeId> {
        let mut name = Vec::new();
        self.table.encode(&mut name);
        self.range.end.encode(&mut name);
        let count = u128::try_from(self.replicas.len()).ok().filter(|count| *count > 0)?;
        let index = usize::try_from(digest_of_bytes(&name) % count).unwrap_or(0);
        self.replicas.get(index).copied()
    }
}

/// A range cut into those that repairs are made of; those that nobody holds are left out.
#[must_use]
pub fn units(view: &ClusterView, table: &Table, range: TokenRange) -> Vec<RepairUnit> {
    let mut units = Vec::new();
    let mut rest = Some(range);
    while let Some(range) = rest
        && let Some((part, replicas)) = view.held_part(&table.keyspace, range)
    {
        let end = part.end.min(last_of_slot(Token(part.start.0 + 1)));
        let mut replicas = replicas.to_vec();
        replicas.sort_unstable();
        units.push(RepairUnit { table: table.id, range: TokenRange { start: part.start, end }, replicas });
        rest = (end < range.end).then_some(TokenRange { start: end, end: range.end });
    }
    units
}

/// The last token of the sixteenth of the ring that a token is in.
fn last_of_slot(token: Token) -> Token {
    const SIGN: u64 = 1 << 63;
    let position = token.0 as u64 ^ SIGN;
    Token(((position | ((1 << WIDTH_BITS) - 1)) ^ SIGN) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_cluster::{TABLE, schema, view};
    use std::collections::BTreeSet;

    #[test]
    fn units_cover_a_range_without_gap_or_overlap_and_each_has_one_set_of_replicas() {
        for nodes in [&[1, 2, 3][..], &[1, 2, 3, 4, 5]] {
            let view = view(10, nodes, schema(3, &[TABLE]));
            let table = view.schema.tables().values().next().unwrap();
            for range in [TokenRange::ALL, TokenRange { start: Token(-7), end: Token(i64::MAX - 5) }] {
                let units = units(&view, table, range);
                assert_eq!(units.first().unwrap().range.start, range.start);
                assert_eq!(units.last().unwrap().range.end, range.end);
                assert!(units.windows(2).all(|pair| pair[0].range.end == pair[1].range.start));
                for unit in &units {
                    for token in [Token(unit.range.start.0 + 1), unit.range.end] {
                        let replicas: BTreeSet<_> = view.replicas("ks", token).iter().collect();
                        assert_eq!(replicas, unit.replicas.iter().collect());
                    }
                    assert!(unit.range.end.0.wrapping_sub(unit.range.start.0) as u64 <= 1 << WIDTH_BITS);
                    assert!(unit.replicas.contains(&unit.responsible().unwrap()));
                }
            }
        }
    }

    #[test]
    fn the_work_is_shared_among_the_replicas() {
        let view = view(10, &[1, 2, 3], schema(3, &[TABLE]));
        let table = view.schema.tables().values().next().unwrap();
        let responsible: BTreeSet<_> =
            units(&view, table, TokenRange::ALL).iter().filter_map(RepairUnit::responsible).collect();
        assert_eq!(responsible.len(), 3);
    }
}
