//! The digest by which replicas compare answers without sending them: equal exactly when the
//! answers mean the same to every reader and every later merge.

use crate::codec::{CodecError, Decode, Encode, put_bytes, put_varint};
use crate::deletion::PartitionDeletions;
use crate::read::ReadData;
use crate::row::{Row, RowSummary, summarize};
use bytes::Bytes;

/// What a replica answers in place of [`ReadData`] when it is asked for the digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadDigest {
    /// As [`digest`] of the data.
    pub digest: u128,
    /// As [`ReadData::tombstones`].
    pub tombstones: u32,
}

/// 128 bits of XXH3 over the normal form of a read's answer.
///
/// The normal form drops the values of expired cells (one replica may have dropped them on disk
/// already, another not) and nothing else so far: nothing is purged yet, so replicas that have seen
/// the same writes answer with the same tombstones.
///
/// # Errors
/// When a row in `data` is not a row.
pub fn digest(data: &ReadData, now_seconds: u32) -> Result<u128, CodecError> {
    let now_seconds = i64::from(now_seconds);
    let mut digester = Digester::new(now_seconds);
    if let Some(row) = &data.static_row {
        digester.add(None, row, &summarize(row, now_seconds)?)?;
    }
    for (clustering, row) in &data.rows {
        digester.add(Some(clustering), row, &summarize(row, now_seconds)?)?;
    }
    Ok(digester.finish(&data.deletions, data.more))
}

/// Before the static row, before another row, and after the last.
const STATIC: u8 = 1;
const ROW: u8 = 2;
const END: u8 = 0;

/// A digest in the making: takes the rows of an answer one after the other, as they are stored, and copies or
/// decodes only those that are not in normal form.
pub(crate) struct Digester {
    hasher: xxhash_rust::xxh3::Xxh3,
    /// What comes before a row, or a row in normal form.
    buffer: Vec<u8>,
    now_seconds: i64,
}

impl Digester {
    pub(crate) fn new(now_seconds: i64) -> Digester {
        let hasher = xxhash_rust::xxh3::Xxh3::new();
        Digester { hasher, buffer: Vec::with_capacity(256), now_seconds }
    }

    /// Adds a row, or the static row if `clustering` is `None`. `summary` is that of `row`.
    pub(crate) fn add(
        &mut self,
        clustering: Option<&[u8]>,
        row: &[u8],
        summary: &RowSummary,
    ) -> Result<(), CodecError> {
        // Lengths before contents: two different sequences never concatenate to the same bytes.
        self.buffer.clear();
        match clustering {
            None => self.buffer.push(STATIC),
            Some(clustering) => {
                self.buffer.push(ROW);
                put_bytes(&mut self.buffer, clustering);
            }
        }
        if summary.expired_values {
            let mut row = Row::from_bytes(&Bytes::copy_from_slice(row))?;
            row.drop_expired_values(self.now_seconds);
            put_bytes(&mut self.buffer, &row.to_bytes());
            self.hasher.update(&self.buffer);
        } else {
            put_varint(&mut self.buffer, row.len() as u64);
            self.hasher.update(&self.buffer);
            self.hasher.update(row);
        }
        Ok(())
    }

    /// The digest of what was added, in an answer with these deletions.
    pub(crate) fn finish(mut self, deletions: &PartitionDeletions, more: bool) -> u128 {
        self.buffer.clear();
        self.buffer.extend_from_slice(&[END, u8::from(more)]);
        deletions.encode(&mut self.buffer);
        self.hasher.update(&self.buffer);
        self.hasher.digest128()
    }
}

impl std::fmt::Debug for Digester {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Digester").field("now_seconds", &self.now_seconds).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::tests::read_data;
    use crate::row::{Cell, CellState, Expiry};
    use proptest::prelude::*;

    const NOW: u32 = 10;

    /// What a digest is of: rows without the values of expired cells, and all else as it is.
    fn normal(data: &ReadData) -> ReadData {
        let row = |encoded: &Bytes| {
            let mut row = Row::from_bytes(encoded).unwrap();
            row.drop_expired_values(i64::from(NOW));
            row.to_bytes()
        };
        let rows = data.rows.iter().map(|(clustering, encoded)| (clustering.clone(), row(encoded))).collect();
        // How many tombstones there are does not count.
        ReadData { static_row: data.static_row.as_ref().map(row), rows, tombstones: 0, ..data.clone() }
    }

    proptest! {
        #[test]
        fn digests_are_equal_exactly_when_the_normal_forms_are(a in read_data(), b in read_data()) {
            prop_assert_eq!(digest(&a, NOW), digest(&normal(&a), NOW));
            prop_assert_eq!(digest(&a, NOW) == digest(&b, NOW), normal(&a) == normal(&b));
        }

        #[test]
        fn every_part_counts(data in read_data(), other in read_data()) {
            let original = digest(&data, NOW).unwrap();
            let variants = [
                ReadData { more: !data.more, ..data.clone() },
                ReadData { deletions: other.deletions.clone(), ..data.clone() },
                ReadData { static_row: other.static_row.clone(), ..data.clone() },
                ReadData { rows: other.rows, ..data.clone() },
                ReadData { rows: data.rows.iter().skip(1).cloned().collect(), ..data.clone() },
                ReadData { rows: data.rows.iter().rev().cloned().collect(), ..data.clone() },
            ];
            for variant in variants {
                prop_assert_eq!(digest(&variant, NOW).unwrap() == original, normal(&variant) == normal(&data));
            }
        }
    }

    fn of_cell(cell: Cell) -> ReadData {
        let row = Row::new(None, None, vec![(crate::id::ColumnId(1), cell)]);
        let rows = vec![(Bytes::from_static(&[0x38]), row.to_bytes())];
        ReadData { rows, ..ReadData::default() }
    }

    #[test]
    fn an_expired_value_counts_as_one_that_was_dropped_and_a_live_one_does_not() {
        let expiry = |at_seconds| Expiry { ttl_seconds: 5, at_seconds };
        let with = |at_seconds| of_cell(Cell::expiring(1, Bytes::from_static(b"x"), expiry(at_seconds)));
        let without = |at_seconds| of_cell(Cell { timestamp: 1, state: CellState::Expiring(expiry(at_seconds), None) });
        assert_eq!(digest(&with(NOW), NOW), digest(&without(NOW), NOW));
        assert_ne!(digest(&with(NOW + 1), NOW), digest(&without(NOW + 1), NOW));
        assert_ne!(digest(&with(NOW), NOW), digest(&with(NOW - 1), NOW));
    }

    #[test]
    fn a_row_that_is_no_row_has_no_digest() {
        let rows = vec![(Bytes::new(), Bytes::from_static(&[9]))];
        assert_eq!(digest(&ReadData { rows, ..ReadData::default() }, NOW), Err(CodecError::Version(9)));
    }
}
