//! The digest by which replicas compare answers without sending them: equal exactly when the
//! answers mean the same to every reader and every later merge.

use crate::codec::{CodecError, Decode, Encode};
use crate::read::ReadData;
use crate::row::Row;

/// 128 bits of XXH3 over the normal form of a read's answer.
///
/// The normal form drops the values of expired cells (one replica may have dropped them on disk
/// already, another not) and nothing else so far: nothing is purged yet, so replicas that have seen
/// the same writes answer with the same tombstones.
///
/// # Errors
/// When a row in `data` is not a row.
pub fn digest(data: &ReadData, now_seconds: u32) -> Result<u128, CodecError> {
    let mut hasher = xxhash_rust::xxh3::Xxh3::new();
    let mut buffer = Vec::with_capacity(256);
    data.deletions.encode(&mut buffer);
    buffer.push(u8::from(data.more));
    buffer.push(u8::from(data.static_row.is_some()));
    hasher.update(&buffer);
    let mut update = |key: &[u8], value: &bytes::Bytes| -> Result<(), CodecError> {
        let mut row = Row::from_bytes(value)?;
        row.drop_expired_values(i64::from(now_seconds));
        buffer.clear();
        // Lengths before contents: two different sequences never concatenate to the same bytes.
        crate::codec::put_bytes(&mut buffer, key);
        let start = buffer.len();
        row.encode(&mut buffer);
        let length = (buffer.len() - start) as u64;
        buffer.extend_from_slice(&length.to_be_bytes());
        hasher.update(&buffer);
        Ok(())
    };
    if let Some(row) = &data.static_row {
        update(&[], row)?;
    }
    for (clustering, row) in &data.rows {
        update(clustering, row)?;
    }
    Ok(hasher.digest128())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::tests::read_data;
    use crate::row::{Cell, CellState, Expiry};
    use bytes::Bytes;
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
        ReadData { static_row: data.static_row.as_ref().map(row), rows, ..data.clone() }
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
