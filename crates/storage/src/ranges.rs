//! Dropping what this node does not hold any more: ranges of tokens of a table, with the Paxos registers of their
//! partitions.

use crate::failure::rocksdb_error;
use crate::layout::{self, DELETIONS, ROWS};
use crate::store::Inner;
use crate::tables::unknown_table;
use model::local::{prefix, token_of_register};
use model::{TableId, Token, TokenRange};
use node::storage::StorageError;
use rocksdb::WriteBatch;

impl Inner {
    /// Forgets what is stored of a table in `ranges`: one tombstone of RocksDB for each region of keys and range, which
    /// costs no reading, and one for each register. Entries of indexes are left: what they name is not found any more.
    ///
    /// # Errors
    /// `Invalid` when the table is not listed; else when it cannot be written.
    pub(crate) fn drop_ranges(&self, table: TableId, ranges: &[TokenRange], sync: bool) -> Result<(), StorageError> {
        let name = self.table(table)?.name.clone();
        let family = self.db.cf_handle(&name).ok_or_else(|| unknown_table(table))?;
        let mut batch = WriteBatch::default();
        for range in ranges {
            // No key has the smallest token, and the range begins behind its start.
            let tokens = Token(range.start.0.saturating_add(1))..=range.end;
            for region in [DELETIONS, ROWS] {
                let keys = layout::token_keys(region, &tokens);
                batch.delete_range_cf(&family, keys.start, keys.end);
            }
        }
        self.drop_registers(&mut batch, table, ranges)?;
        let mut writer = self.writer.lock();
        self.check_open()?;
        self.write_batch(&mut writer, batch, sync, true).map(|_| ())
    }

    fn drop_registers(
        &self,
        batch: &mut WriteBatch,
        table: TableId,
        ranges: &[TokenRange],
    ) -> Result<(), StorageError> {
        let local = self.local_family()?;
        let of_table = [prefix::PAXOS, &table.0.to_be_bytes()].concat();
        let mut iterator = self.db.raw_iterator_cf(&local);
        iterator.seek(&of_table);
        while let Some(key) = iterator.key().filter(|key| key.starts_with(&of_table)) {
            if ranges.iter().any(|range| range.contains(token_of_register(key))) {
                batch.delete_cf(&local, key);
            }
            iterator.next();
        }
        iterator.status().map_err(|error| rocksdb_error("read registers", &error))
    }
}
