//! The merge operator: [`model`]'s reconciliation as RocksDB calls it, in reads, flushes and compactions.
//!
//! It is associative, commutative and idempotent, so full and partial merges are the same function, but that
//! the result of a full merge, a whole row, is purged when a sweep's compaction makes it ([`crate::garbage`]). It
//! must never unwind (RocksDB calls it through C) and fails on a value that is not a row or a deletion:
//! the read of that key then fails as corrupt, and a compaction that meets it stops writes. Neither
//! happens but by damage that every checksum missed, since mutations are checked before they are written
//! and a directory of a newer format is not opened.

use crate::garbage::purge_merged;
use crate::layout::holds_deletions;
use bytes::Bytes;
use model::Row;
use model::codec::{CodecError, Decode, Encode};
use model::deletion::PartitionDeletions;
use rocksdb::MergeOperands;

/// RocksDB checks on opening that a column family is merged by the operator of this name.
pub(crate) const NAME: &str = "helenus.reconcile.1";

/// Merges encoded values of one key.
pub(crate) fn merge_encoded<'a>(
    deletions: bool,
    mut values: impl Iterator<Item = &'a [u8]>,
) -> Result<Vec<u8>, CodecError> {
    let first = values.next().ok_or(CodecError::Truncated)?;
    let Some(second) = values.next() else { return Ok(first.to_vec()) };
    let rest = std::iter::once(second).chain(values);
    let mut out = Vec::with_capacity(first.len() + second.len());
    if deletions {
        let decode = |value: &[u8]| PartitionDeletions::from_bytes(&Bytes::copy_from_slice(value));
        let mut merged = decode(first)?;
        for value in rest {
            merged = merged.merge(&decode(value)?);
        }
        merged.encode(&mut out);
    } else {
        let decode = |value: &[u8]| Row::from_bytes(&Bytes::copy_from_slice(value));
        let mut merged = decode(first)?;
        for value in rest {
            merged = merged.merge(decode(value)?);
        }
        merged.encode(&mut out);
    }
    Ok(out)
}

/// What RocksDB calls for all that a key has; `None` fails the operation.
pub(crate) fn full(key: &[u8], existing: Option<&[u8]>, operands: &MergeOperands) -> Option<Vec<u8>> {
    let merged = partial(key, existing, operands)?;
    match purge_merged(key, merged) {
        Ok(purged) => Some(purged),
        Err(error) => {
            tracing::error!(%error, ?key, "a merged value cannot be purged");
            None
        }
    }
}

/// What RocksDB calls for a part of what a key has; `None` fails the operation.
pub(crate) fn partial(key: &[u8], existing: Option<&[u8]>, operands: &MergeOperands) -> Option<Vec<u8>> {
    #[cfg(test)]
    OPERANDS_MOST.with(|most| most.set(most.get().max(operands.len())));
    let merge = || merge_encoded(holds_deletions(key), existing.into_iter().chain(operands.iter()));
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(merge)) {
        Ok(Ok(merged)) => Some(merged),
        Ok(Err(error)) => {
            tracing::error!(%error, ?key, "a stored value cannot be merged");
            None
        }
        Err(_) => {
            tracing::error!(?key, "merging stored values failed");
            None
        }
    }
}

#[cfg(test)]
thread_local! {
    /// The most operands that a merge on this thread had.
    pub(crate) static OPERANDS_MOST: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::mutation::merge_values;
    use model::{Cell, ColumnId, Rng};

    #[test]
    fn merging_many_is_merging_pairs() {
        let mut rng = Rng::new(5);
        for _ in 0..200 {
            let row = |rng: &mut Rng| {
                let cell = Cell::live(rng.below(4) as i64, Bytes::from(vec![rng.below(3) as u8]));
                Row::new(None, None, vec![(ColumnId(rng.below(3) as u32), cell)]).to_bytes()
            };
            let rows: Vec<Bytes> = (0..rng.between(1, 6)).map(|_| row(&mut rng)).collect();
            let pairwise = rows.iter().cloned().reduce(|a, b| merge_values(false, &a, &b).unwrap()).unwrap();
            assert_eq!(merge_encoded(false, rows.iter().map(|row| row.as_ref())).unwrap(), pairwise);
        }
    }
}
