//! The digest by which replicas compare answers without sending them: equal exactly when the
//! answers mean the same to every reader and every later merge.

use crate::codec::{CodecError, Decode, Encode, put_bytes, put_varint};
use crate::deletion::PartitionDeletions;
use crate::garbage::Purge;
use crate::read::ReadData;
use crate::row::{Row, RowSummary, encoded_is_empty, summarize};
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
/// The normal form leaves out what is garbage by `purge` and the values of expired cells, and rows of which
/// nothing is left then: one replica may have purged on disk already, another not.
///
/// # Errors
/// When a row in `data` is not a row.
pub fn digest(data: &ReadData, purge: &Purge) -> Result<u128, CodecError> {
    let now_seconds = i64::from(purge.now_seconds);
    let mut digester = Digester::new(purge.clone());
    if let Some(row) = &data.static_row {
        digester.add(None, row, &summarize(row, now_seconds)?)?;
    }
    for (clustering, row) in &data.rows {
        digester.add(Some(clustering), row, &summarize(row, now_seconds)?)?;
    }
    Ok(digester.finish(&data.deletions, data.more))
}

/// 128 bits of XXH3 over bytes.
#[must_use]
pub fn digest_of_bytes(bytes: &[u8]) -> u128 {
    xxhash_rust::xxh3::xxh3_128(bytes)
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
    purge: Purge,
}

impl Digester {
    pub(crate) fn new(purge: Purge) -> Digester {
        let hasher = xxhash_rust::xxh3::Xxh3::new();
        Digester { hasher, buffer: Vec::with_capacity(256), purge }
    }

    /// Adds a row, or the static row if `clustering` is `None`. `summary` is that of `row`. False when its normal form
    /// is nothing.
    pub(crate) fn add(
        &mut self,
        clustering: Option<&[u8]>,
        row: &[u8],
        summary: &RowSummary,
    ) -> Result<bool, CodecError> {
        if encoded_is_empty(row) {
            return Ok(false);
        }
        let may_hold_garbage = summary.tombstones > 0 || summary.expired_values;
        let normal = if may_hold_garbage || !self.purge.dropped_columns.is_empty() {
            let mut row = Row::from_bytes(&Bytes::copy_from_slice(row))?;
            row.normalize(&self.purge);
            if row.is_empty() {
                return Ok(false);
            }
            Some(row.to_bytes())
        } else {
            None
        };
        let row = normal.as_deref().unwrap_or(row);
        // Lengths before contents: two different sequences never concatenate to the same bytes.
        self.buffer.clear();
        match clustering {
            None => self.buffer.push(STATIC),
            Some(clustering) => {
                self.buffer.push(ROW);
                put_bytes(&mut self.buffer, clustering);
            }
        }
        put_varint(&mut self.buffer, row.len() as u64);
        self.hasher.update(&self.buffer);
        self.hasher.update(row);
        Ok(true)
    }

    /// The digest of what was added, in an answer with these deletions.
    pub(crate) fn finish(mut self, deletions: &PartitionDeletions, more: bool) -> u128 {
        self.buffer.clear();
        self.buffer.extend_from_slice(&[END, u8::from(more)]);
        deletions.without_garbage(&self.purge).encode(&mut self.buffer);
        self.hasher.update(&self.buffer);
        self.hasher.digest128()
    }
}

/// Digests the records of partitions one by one, in the normal form in which [`digest`] takes them together: each
/// digest says of which partition and row it is, so that sums of them can be compared.
#[derive(Debug)]
pub(crate) struct RecordDigester(Digester);

impl RecordDigester {
    pub(crate) fn new(purge: Purge) -> RecordDigester {
        RecordDigester(Digester::new(purge))
    }

    fn begin(&mut self, partition: &[u8]) {
        let Digester { hasher, buffer, .. } = &mut self.0;
        hasher.reset();
        buffer.clear();
        put_bytes(buffer, partition);
        hasher.update(buffer);
    }

    /// Of a row, or of the static row if `clustering` is `None`; `None` when nothing is left of it.
    pub(crate) fn row(
        &mut self,
        partition: &[u8],
        clustering: Option<&[u8]>,
        row: &[u8],
    ) -> Result<Option<u128>, CodecError> {
        self.begin(partition);
        let summary = summarize(row, i64::from(self.0.purge.now_seconds))?;
        let counts = self.0.add(clustering, row, &summary)?;
        Ok(counts.then(|| self.0.hasher.digest128()))
    }

    /// Of deletions; `None` when all of them are garbage.
    pub(crate) fn deletions(&mut self, partition: &[u8], deletions: &PartitionDeletions) -> Option<u128> {
        let kept = deletions.without_garbage(&self.0.purge);
        if kept == PartitionDeletions::default() {
            return None;
        }
        self.begin(partition);
        let Digester { hasher, buffer, .. } = &mut self.0;
        buffer.clear();
        buffer.push(END);
        kept.encode(buffer);
        hasher.update(buffer);
        Some(hasher.digest128())
    }
}

impl std::fmt::Debug for Digester {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Digester").field("purge", &self.purge).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::tests::read_data;
    use crate::row::{Cell, CellState, Expiry};
    use proptest::prelude::*;

    const NOW: u32 = 10;

    fn at(now_seconds: u32, gc_before_seconds: u32) -> Purge {
        Purge { now_seconds, gc_before_seconds, ..Purge::default() }
    }

    /// What a digest is of: everything but garbage, the values of expired cells, and empty rows.
    fn normal(data: &ReadData, purge: &Purge) -> ReadData {
        let row = |encoded: &Bytes| {
            let mut row = Row::from_bytes(encoded).unwrap();
            row.normalize(purge);
            (!row.is_empty()).then(|| row.to_bytes())
        };
        let rows = data.rows.iter().filter_map(|(clustering, encoded)| Some((clustering.clone(), row(encoded)?)));
        ReadData {
            deletions: data.deletions.without_garbage(purge),
            static_row: data.static_row.as_ref().and_then(row),
            rows: rows.collect(),
            more: data.more,
            // How many tombstones there are does not count.
            tombstones: 0,
        }
    }

    proptest! {
        #[test]
        fn digests_are_equal_exactly_when_the_normal_forms_are(
            a in read_data(), b in read_data(), gc_before in 0u32..4,
        ) {
            let purge = at(NOW, gc_before);
            prop_assert_eq!(digest(&a, &purge), digest(&normal(&a, &purge), &purge));
            let equal = digest(&a, &purge) == digest(&b, &purge);
            prop_assert_eq!(equal, normal(&a, &purge) == normal(&b, &purge));
        }

        #[test]
        fn every_part_counts(data in read_data(), other in read_data(), gc_before in 0u32..4) {
            let purge = at(NOW, gc_before);
            let original = digest(&data, &purge).unwrap();
            let variants = [
                ReadData { more: !data.more, ..data.clone() },
                ReadData { deletions: other.deletions.clone(), ..data.clone() },
                ReadData { static_row: other.static_row.clone(), ..data.clone() },
                ReadData { rows: other.rows, ..data.clone() },
                ReadData { rows: data.rows.iter().skip(1).cloned().collect(), ..data.clone() },
                ReadData { rows: data.rows.iter().rev().cloned().collect(), ..data.clone() },
            ];
            for variant in variants {
                let equal = digest(&variant, &purge).unwrap() == original;
                prop_assert_eq!(equal, normal(&variant, &purge) == normal(&data, &purge));
            }
        }

        #[test]
        fn replicas_that_purged_at_different_times_have_equal_digests(
            data in read_data(), earlier in 0u32..4, gc_before in 0u32..4, now in 0u32..=NOW,
        ) {
            let purged = normal(&data, &at(now, earlier.min(gc_before)));
            let purge = at(NOW, gc_before);
            prop_assert_eq!(digest(&purged, &purge), digest(&data, &purge));
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
        assert_eq!(digest(&with(NOW), &at(NOW, 0)), digest(&without(NOW), &at(NOW, 0)));
        assert_ne!(digest(&with(NOW + 1), &at(NOW, 0)), digest(&without(NOW + 1), &at(NOW, 0)));
        assert_ne!(digest(&with(NOW), &at(NOW, 0)), digest(&with(NOW - 1), &at(NOW, 0)));
    }

    #[test]
    fn a_row_that_is_no_row_has_no_digest() {
        let rows = vec![(Bytes::new(), Bytes::from_static(&[9]))];
        assert_eq!(digest(&ReadData { rows, ..ReadData::default() }, &at(NOW, 0)), Err(CodecError::Version(9)));
    }
}
