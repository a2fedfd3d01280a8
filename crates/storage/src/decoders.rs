//! What this crate decodes of stored bytes, as plain functions of these bytes: for fuzz targets.

use crate::layout::{parse_record, put_record};
use crate::merge::merge_encoded;
use crate::{hints, identity, watermark};

use model::codec::CodecError;
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

/// The merge of encoded rows, or of encoded deletions, as the merge operator makes it.
///
/// # Errors
/// When one of several values is not what it should be.
pub fn merge(deletions: bool, values: &[&[u8]]) -> Result<Vec<u8>, CodecError> {
    merge_encoded(deletions, values.iter().copied())
}
