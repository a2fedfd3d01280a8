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
