//! How many partitions of a table there are in a range of tokens, and how large, about: what tools that read a whole
//! table in parallel cut their work by.
//!
//! Nothing is counted as it is written. The first partitions of the range are looked at, and since tokens are spread
//! evenly, the rest of it is taken to be like them. A range with few partitions is counted exactly.

use crate::failure::rocksdb_error;
use crate::layout::{ROWS, split_row, token_keys, token_of};
use crate::store::Inner;
use crate::tables::unknown_table;
use model::{TableId, Token, TokenRange};
use node::storage::{RangeEstimate, StorageError};
use rocksdb::{Range, ReadOptions};

/// Partitions that are looked at.
const PARTITIONS_SAMPLED: u64 = 16;
/// Rows of one partition that are looked at.
const ROWS_SAMPLED: usize = 64;

/// What was seen of the first partitions.
#[derive(Default)]
struct Sample {
    partitions: u64,
    bytes: u64,
    /// True when a partition has more rows than were looked at.
    is_cut: bool,
    /// The token of the last partition, when there are more behind it.
    last: Option<Token>,
}

impl Inner {
    /// [`crate::Store::estimate`].
    pub(crate) fn estimate(&self, table: TableId, range: TokenRange) -> Result<RangeEstimate, StorageError> {
        if range.start >= range.end {
            return Err(StorageError::Invalid("estimate: the range of tokens is empty".to_owned()));
        }
        let table = self.table(table)?;
        let family = self.db.cf_handle(&table.name).ok_or_else(|| unknown_table(table.id))?;
        let keys = token_keys(ROWS, &(Token(range.start.0 + 1)..=range.end));
        let mut options = ReadOptions::default();
        options.set_total_order_seek(true);
        options.fill_cache(false);
        options.set_iterate_upper_bound(keys.end.clone());
        let mut rows = self.db.raw_iterator_cf_opt(&family, options);
        rows.seek(&keys.start);
        let mut sample = Sample::default();
        while let Some(key) = rows.key() {
            let token = token_of(key).map_err(StorageError::of_damage)?;
            if sample.partitions == PARTITIONS_SAMPLED {
                sample.last = Some(token);
                break;
            }
            let (partition, _) = split_row(key).map_err(StorageError::of_damage)?;
            let prefix = [&[ROWS][..], partition].concat();
            sample.partitions += 1;
            let mut looked_at = 0;
            while let Some((key, value)) = rows.item().filter(|(key, _)| key.starts_with(&prefix)) {
                if looked_at == ROWS_SAMPLED {
                    sample.is_cut = true;
                    rows.seek([prefix.as_slice(), &[0xff]].concat());
                    break;
                }
                sample.bytes += (key.len() + value.len()) as u64;
                looked_at += 1;
                rows.next();
            }
        }
        rows.status().map_err(|error| rocksdb_error("estimate a table", &error))?;
        let sizes = self.db.get_approximate_sizes_cf(&family, &[Range::new(&keys.start, &keys.end)]);
        Ok(sample.estimate(range, sizes.first().copied().unwrap_or(0)))
    }
}

impl Sample {
    /// What it says of the whole range, which has about `on_disk` bytes in files.
    fn estimate(&self, range: TokenRange, on_disk: u64) -> RangeEstimate {
        if self.partitions == 0 {
            return RangeEstimate::default();
        }
        let width = |end: Token| u128::from(end.0.abs_diff(range.start.0).max(1));
        let partitions = match self.last {
            None => self.partitions,
            Some(last) => {
                let all = u128::from(self.partitions) * width(range.end) / width(last);
                u64::try_from(all).unwrap_or(u64::MAX).max(self.partitions)
            }
        };
        // What is in no file yet has only been looked at.
        let sampled = self.bytes / self.partitions;
        let partition_bytes = if self.is_cut { sampled.max(on_disk / partitions) } else { sampled };
        RangeEstimate { partitions, partition_bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_taken_to_be_like_its_beginning() {
        let range = TokenRange { start: Token(i64::MIN), end: Token(i64::MAX) };
        let whole = Sample { partitions: 3, bytes: 300, ..Sample::default() };
        assert_eq!(whole.estimate(range, 0), RangeEstimate { partitions: 3, partition_bytes: 100 });
        let half = Sample { last: Some(Token(0)), ..whole };
        assert_eq!(half.estimate(range, 0).partitions, 5, "three in half of it");
        let long = Sample { is_cut: true, ..half };
        assert_eq!(long.estimate(range, 5_000), RangeEstimate { partitions: 5, partition_bytes: 1_000 });
        assert_eq!(Sample::default().estimate(range, 7), RangeEstimate::default());
    }
}
