//! The file `TABLES`: the definitions of the tables whose column families exist. RocksDB has to be told the
//! options of a column family when it is opened, which is before the cluster's metadata can be read from it.
//!
//! ```text
//! magic (8) | count | for each its length and encoded table | XXH3-64 of all before, little-endian
//! ```
//! It is written before a column family is made or gets other options, and again after one is dropped. The
//! schema in the cluster's metadata is what counts: a file that is missing or damaged is made anew from it,
//! and until then tables have default options.

use crate::failure::{io_error, replace_file};
use bytes::Bytes;
use model::TableId;
use model::codec::{Decode, Encode, Reader, put_bytes, put_varint};
use model::schema::Table;
use node::storage::StorageError;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64;

pub(crate) const NAME: &str = "TABLES";
const MAGIC: &[u8; 8] = b"HELTBL02";
/// What a file begins with that was written when tables had no indexes.
const MAGIC_BEFORE_INDEXES: &[u8; 8] = b"HELTBL01";

/// Definitions by id.
pub(crate) type Definitions = BTreeMap<TableId, Arc<Table>>;

/// Reads the file in `directory`; `None` when there is none.
///
/// # Errors
/// `Corrupt` when it is damaged; else when it cannot be read.
pub(crate) fn read(directory: &Path) -> Result<Option<Definitions>, StorageError> {
    let path = directory.join(NAME);
    let contents = match std::fs::read(&path) {
        Ok(contents) => Bytes::from(contents),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error("read", &path, &error)),
    };
    let found = decode(&contents).ok_or_else(|| StorageError::Corrupt(format!("{} is damaged", path.display())))?;
    Ok(Some(found))
}

/// Replaces the file durably.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn write(directory: &Path, definitions: &Definitions) -> Result<(), StorageError> {
    replace_file(&directory.join(NAME), &encode(definitions), true)
}

pub(crate) fn encode(definitions: &Definitions) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    put_varint(&mut out, definitions.len() as u64);
    for table in definitions.values() {
        put_bytes(&mut out, &table.to_bytes());
    }
    with_checksum(out)
}

/// The contents of the file with this body.
pub(crate) fn with_checksum(mut body: Vec<u8>) -> Vec<u8> {
    let checksum = xxh3_64(&body);
    body.extend_from_slice(&checksum.to_le_bytes());
    body
}

pub(crate) fn decode(contents: &Bytes) -> Option<Definitions> {
    let (body, checksum) = contents.split_last_chunk::<8>()?;
    let is_old = body.starts_with(MAGIC_BEFORE_INDEXES);
    if !(is_old || body.starts_with(MAGIC)) || xxh3_64(body) != u64::from_le_bytes(*checksum) {
        return None;
    }
    let mut reader = Reader::new(contents.slice(MAGIC.len()..body.len()));
    let mut tables = Vec::new();
    for _ in 0..reader.count().ok()? {
        let encoded = reader.bytes().ok()?;
        let table = if is_old {
            let mut reader = Reader::new(encoded);
            let table = Table::decode_before_indexes(&mut reader).ok()?;
            reader.finish().ok()?;
            table
        } else {
            Table::from_bytes(&encoded).ok()?
        };
        tables.push((table.id, Arc::new(table)));
    }
    reader.finish().ok()?;
    Some(tables.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_any_damage_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(read(directory.path()).unwrap(), None);
        for count in [0u128, 1, 5] {
            let tables: Definitions = (0..count).map(|id| (TableId(id), Arc::new(Table::plain(TableId(id))))).collect();
            write(directory.path(), &tables).unwrap();
            assert_eq!(read(directory.path()).unwrap(), Some(tables));
        }
        let whole = std::fs::read(directory.path().join(NAME)).unwrap();
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x10;
            assert_eq!(decode(&Bytes::from(damaged)), None, "byte {at}");
            assert_eq!(decode(&Bytes::copy_from_slice(&whole[..at])), None, "cut at {at}");
        }
    }
}
