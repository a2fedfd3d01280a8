//! What this crate decodes of stored bytes, as plain functions of these bytes: for fuzz targets.

use crate::layout::{parse_record, put_record};
use crate::merge::merge_encoded;
use crate::{definitions, hints, identity, index, layout, watermark};

use bytes::Bytes;
use model::codec::CodecError;
use model::schema::Table;
use node::storage::Hint;

/// The file `IDENTITY` as it is written for what was read from `text`; `None` when it is damaged.
#[must_use]
pub fn identity(text: &[u8]) -> Option<Vec<u8>> {
    identity::parse(text).ok().map(|identity| identity.to_text().into_bytes())
}

/// A slot of the file `WATERMARK` as it is written for what was read from `slot`; `None` when it is damaged.
#[must_use]
pub fn watermark_slot(slot: &[u8]) -> Option<Vec<u8>> {
    let (counter, synced) = watermark::decode(slot.first_chunk()?)?;
    Some(watermark::encode(counter, synced).to_vec())
}

/// The file `delivered` of a target's hints as it is written for what was read from `text`; `None` when it is
/// damaged.
#[must_use]
pub fn delivered(text: &[u8]) -> Option<Vec<u8>> {
    hints::parse_delivered(text).map(|position| hints::delivered_text(position).into_bytes())
}

/// A segment of hints as it is written for those that were read from `segment`, whose first hint has this
/// position, and the hints.
#[must_use]
pub fn hint_segment(segment: &[u8], first: u64) -> (Vec<u8>, Vec<Hint>) {
    hints::rewrite(segment, first)
}

/// The key of a record as it is written for what was read from `key`; `None` when no record has it.
#[must_use]
pub fn record_key(key: &[u8]) -> Option<Vec<u8>> {
    let (partition, record) = parse_record(key)?;
    let mut written = Vec::new();
    put_record(&mut written, &partition, &record);
    Some(written)
}

/// The file `TABLES` as it is written for what was read from one with this body, whose checksum is right, and its
/// tables; `None` when it is damaged.
#[must_use]
pub fn tables(body: &[u8]) -> Option<(Vec<u8>, Vec<Table>)> {
    let found = definitions::decode(&Bytes::from(definitions::with_checksum(body.to_vec())))?;
    let written = definitions::encode(&found);
    Some((written, found.into_values().map(|table| Table::clone(&table)).collect()))
}

/// The record of how far an index is built as it is written for what was read from `record`; `None` when it is
/// damaged.
#[must_use]
pub fn index_progress(record: &[u8]) -> Option<Vec<u8>> {
    index::rewrite_progress(record).ok()
}

/// The key of that record as it is written for what was read from `key`; `None` when no index has it.
#[must_use]
pub fn index_progress_key(key: &[u8]) -> Option<Vec<u8>> {
    let (family, target) = layout::parse_index_key(key.strip_prefix(layout::INDEXES_PREFIX)?)?;
    Some(layout::index_key(family, target))
}

/// What an entry of an index says behind its value, as it is written for what was read from `rest`; `None` when no
/// entry ends so.
#[must_use]
pub fn indexed_row(rest: &[u8]) -> Option<Vec<u8>> {
    let row = layout::parse_indexed_row(rest).ok()?;
    let mut written = Vec::new();
    layout::put_partition_name(&mut written, &row.partition);
    match &row.clustering {
        None => written.push(layout::STATIC),
        Some(clustering) => written.extend_from_slice(clustering),
    }
    Some(written)
}

/// The merge of encoded rows, or of encoded deletions, as the merge operator makes it.
///
/// # Errors
/// When one of several values is not what it should be.
pub fn merge(deletions: bool, values: &[&[u8]]) -> Result<Vec<u8>, CodecError> {
    merge_encoded(deletions, values.iter().copied())
}
