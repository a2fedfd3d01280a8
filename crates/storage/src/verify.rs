//! Reading everything that is stored, so that damage is found before somebody needs what it hit.

use crate::failure::rocksdb_error;
use crate::identity::Identity;
use crate::layout::parse_record;
use crate::store::{Inner, LOCAL, Store};
use crate::watermark::Watermark;
use bytes::Bytes;
use model::codec::Decode;
use model::deletion::PartitionDeletions;
use model::{RecordKey, Row};
use node::storage::StorageError;
use rocksdb::ReadOptions;

/// Damages beyond this many are not listed.
const DAMAGES_MAX: usize = 100;

/// What a verification has read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Records of tables, and of the node itself.
    pub records: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
    /// Hints that are not delivered.
    pub hints: u64,
    /// What is damaged, each with the file or folder it is in; at most 100.
    pub damages: Vec<String>,
}

impl Store {
    /// Reads every block of every table file that holds records, checks its checksum, and decodes every record;
    /// likewise the hints, `IDENTITY` and `WATERMARK`. Of a file with a damaged block nothing after it is read.
    ///
    /// What is not read: logs and the manifest, which opening the store has read, and blocks that hold no
    /// records (filters, statistics), of which a damaged one is noticed when it is used, or does no harm.
    #[must_use]
    pub fn verify(&self) -> Verified {
        let inner = self.inner();
        let mut verified = Verified::default();
        let tables = inner.tables.load_full();
        for table in tables.values() {
            inner.verify_family(&table.name, &mut verified, check_record);
        }
        inner.verify_family(LOCAL, &mut verified, |_, _| Ok(()));
        let directory = &inner.options.data_dir;
        match Identity::read(directory) {
            Ok(Some(_)) => {}
            Ok(None) => verified.damage(format!("{} is missing", directory.join("IDENTITY").display())),
            Err(error) => verified.damage(error.to_string()),
        }
        match Watermark::open(directory) {
            Ok(Some(_)) => {}
            Ok(None) => verified.damage(format!("{} is missing", directory.join("WATERMARK").display())),
            Err(error) => verified.damage(error.to_string()),
        }
        match inner.hints.verify() {
            Ok((hints, damages)) => {
                verified.hints = hints;
                damages.into_iter().for_each(|damage| verified.damage(damage));
            }
            Err(error) => verified.damage(error.to_string()),
        }
        verified
    }
}

impl Verified {
    fn damage(&mut self, damage: String) {
        if self.damages.len() < DAMAGES_MAX {
            self.damages.push(damage);
        }
    }
}

impl Inner {
    fn verify_family(
        &self,
        name: &str,
        verified: &mut Verified,
        check: impl Fn(&[u8], &[u8]) -> Result<(), StorageError>,
    ) {
        let Some(family) = self.db.cf_handle(name) else {
            return verified.damage(format!("the column family {name} is missing"));
        };
        let mut options = ReadOptions::default();
        options.set_total_order_seek(true);
        options.set_verify_checksums(true);
        options.fill_cache(false);
        let mut iterator = self.db.raw_iterator_cf_opt(&family, options);
        iterator.seek_to_first();
        while let Some((key, value)) = iterator.item() {
            verified.records += 1;
            verified.bytes += (key.len() + value.len()) as u64;
            if let Err(error) = check(key, value) {
                verified.damage(format!("column family {name}: {error}"));
            }
            iterator.next();
        }
        // RocksDB names the file and the place in it.
        if let Err(error) = iterator.status() {
            verified.damage(rocksdb_error(name, &error).to_string());
        }
    }
}

/// A record of a table must be one that this version could have written.
fn check_record(key: &[u8], value: &[u8]) -> Result<(), StorageError> {
    let damaged = |what: String| StorageError::Corrupt(format!("key {}: {what}", key.escape_ascii()));
    let (_, record) = parse_record(key).ok_or_else(|| damaged("not the key of a record".to_owned()))?;
    let value = Bytes::copy_from_slice(value);
    let decoded = match record {
        RecordKey::Deletions => PartitionDeletions::from_bytes(&value).map(|_| ()),
        RecordKey::Static | RecordKey::Row(_) => Row::from_bytes(&value).map(|_| ()),
    };
    decoded.map_err(|error| damaged(error.to_string()))
}
