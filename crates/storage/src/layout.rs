//! Keys. In the column family of a table:
//! ```text
//! 10 | token (8) | varint length | partition key                          deletions of the partition
//! 20 | token (8) | varint length | partition key | 08                     static row
//! 20 | token (8) | varint length | partition key | encoded clustering     row
//! 30 | column (4) | part | value | token (8) | varint length | partition key | 08 or encoded clustering
//!                                                                          entry of an index (`model::index`)
//! ```
//! Deletions have a region of their own, so that a read that finds none (the rule) pays for one look into
//! a Bloom filter. The first nine bytes are the prefix that Bloom filters know. Encoded clustering keys
//! start above 08, so the static row comes first and no row shares its key. The entries of an index are in the order
//! of their values, and of one value in that of the rows; 08 stands for the whole partition. No value is a prefix of
//! another.

use bytes::Bytes;
use model::codec::{CodecError, Decode, Encode, Reader, first_varint, put_bytes};
use model::index::IndexEntry;
use model::{IndexTarget, IndexedRow, NodeId, PartitionKey, RecordKey, Token};
use std::ops::{Range, RangeInclusive};

/// First byte of the keys of deletions.
pub(crate) const DELETIONS: u8 = 0x10;
/// First byte of the keys of rows.
pub(crate) const ROWS: u8 = 0x20;
/// First byte of the keys of entries of indexes.
pub(crate) const INDEXES: u8 = 0x30;
/// What the static row has in place of a clustering key.
pub(crate) const STATIC: u8 = 0x08;
/// Region and token.
pub(crate) const PREFIX_BYTES: usize = 9;

/// Appends what the keys of `partition` in `region` start with.
pub(crate) fn put_partition(out: &mut Vec<u8>, region: u8, partition: &PartitionKey) {
    out.push(region);
    put_partition_name(out, partition);
}

/// Appends what names `partition` in keys.
pub(crate) fn put_partition_name(out: &mut Vec<u8>, partition: &PartitionKey) {
    out.extend_from_slice(&partition.token.to_ordered_bytes());
    put_bytes(out, &partition.bytes);
}

/// What the keys of the entries of an index start with.
pub(crate) fn index_prefix(target: IndexTarget) -> Vec<u8> {
    let mut prefix = vec![INDEXES];
    prefix.extend_from_slice(&target.column.0.to_be_bytes());
    target.part.encode(&mut prefix);
    prefix
}

/// The keys of all entries of an index.
pub(crate) fn index_keys(target: IndexTarget) -> Range<Vec<u8>> {
    let start = index_prefix(target);
    // Values start below that.
    let end = [start.as_slice(), &[0xff]].concat();
    start..end
}

/// Appends the key of an entry of an index for a row of `partition`.
pub(crate) fn put_index_entry(out: &mut Vec<u8>, partition: &PartitionKey, entry: &IndexEntry) {
    out.extend_from_slice(&index_prefix(entry.target));
    out.extend_from_slice(&entry.value);
    put_partition_name(out, partition);
    match &entry.clustering {
        None => out.push(STATIC),
        Some(clustering) => out.extend_from_slice(clustering),
    }
}

/// The row that an entry names, from what is in its key behind the value.
pub(crate) fn parse_indexed_row(rest: &[u8]) -> Result<IndexedRow, CodecError> {
    let (partition, length) = parse_partition(rest)?;
    match &rest[length..] {
        [STATIC] => Ok(IndexedRow { partition, clustering: None }),
        clustering if is_clustering(clustering) => {
            Ok(IndexedRow { partition, clustering: Some(Bytes::copy_from_slice(clustering)) })
        }
        _ => Err(CodecError::Invalid("key of an index")),
    }
}

/// True for the key of an entry of an index.
pub(crate) fn is_index_entry(key: &[u8]) -> bool {
    key.first() == Some(&INDEXES)
}

/// What the local records start with that say how far the indexes of tables are built.
pub(crate) const INDEXES_PREFIX: &[u8] = b"storage/indexes/";

/// What [`index_key`]s of a table start with, by the name of its column family; the rest is the encoded target.
pub(crate) fn indexes_key(family: &str) -> Vec<u8> {
    [INDEXES_PREFIX, family.as_bytes(), b"/"].concat()
}

/// The local record that says how far an index is built.
pub(crate) fn index_key(family: &str, target: IndexTarget) -> Vec<u8> {
    [indexes_key(family).as_slice(), &target.to_bytes()].concat()
}

/// The column family and the index of an [`index_key`] without [`INDEXES_PREFIX`].
pub(crate) fn parse_index_key(rest: &[u8]) -> Option<(&str, IndexTarget)> {
    let slash = rest.iter().position(|byte| *byte == b'/')?;
    let family = std::str::from_utf8(&rest[..slash]).ok()?;
    let target = IndexTarget::from_bytes(&Bytes::copy_from_slice(&rest[slash + 1..])).ok()?;
    Some((family, target))
}

/// The partition of a key without its region, and how many bytes of it name the partition.
pub(crate) fn parse_partition(key: &[u8]) -> Result<(PartitionKey, usize), CodecError> {
    let (token, rest) = key.split_first_chunk::<8>().ok_or(CodecError::Truncated)?;
    let mut reader = Reader::new(Bytes::copy_from_slice(rest));
    let partition = PartitionKey { token: Token::from_ordered_bytes(*token), bytes: reader.bytes()? };
    Ok((partition, key.len() - reader.remaining()))
}

/// Appends the key of a record.
pub(crate) fn put_record(out: &mut Vec<u8>, partition: &PartitionKey, key: &RecordKey) {
    match key {
        RecordKey::Deletions => put_partition(out, DELETIONS, partition),
        RecordKey::Static => {
            put_partition(out, ROWS, partition);
            out.push(STATIC);
        }
        RecordKey::Row(clustering) => {
            put_partition(out, ROWS, partition);
            out.extend_from_slice(clustering);
        }
    }
}

/// The local record that says how far the hints for a node reach: the position of the last one, u64
/// little-endian.
pub(crate) fn hints_key(target: NodeId) -> Vec<u8> {
    [HINTS_PREFIX, target.to_string().as_bytes()].concat()
}

/// What [`hints_key`]s start with; the rest is the node's id.
pub(crate) const HINTS_PREFIX: &[u8] = b"storage/hints/";

/// The local record that says that a table has a column family. Its value is empty.
pub(crate) fn table_key(family: &str) -> Vec<u8> {
    [TABLES_PREFIX, family.as_bytes()].concat()
}

/// What [`table_key`]s start with; the rest is the column family's name.
pub(crate) const TABLES_PREFIX: &[u8] = b"storage/tables/";

/// The partition and the record that a key belongs to; `None` for one that this module does not make.
pub(crate) fn parse_record(key: &[u8]) -> Option<(PartitionKey, RecordKey)> {
    let (region, rest) = key.split_first()?;
    let (partition, length) = parse_partition(rest).ok()?;
    if Token::of(&partition.bytes) != partition.token {
        return None;
    }
    let kind = &rest[length..];
    let record = match *region {
        DELETIONS if kind.is_empty() => RecordKey::Deletions,
        ROWS if kind == [STATIC] => RecordKey::Static,
        ROWS if is_clustering(kind) => RecordKey::Row(Bytes::copy_from_slice(kind)),
        _ => return None,
    };
    Some((partition, record))
}

/// False for a clustering key that could be taken for the static row's.
pub(crate) fn is_clustering(clustering: &[u8]) -> bool {
    clustering.first().is_some_and(|byte| *byte > STATIC)
}

/// True for the key of deletions rather than of a row.
pub(crate) fn holds_deletions(key: &[u8]) -> bool {
    key.first() == Some(&DELETIONS)
}

/// The token in a key.
pub(crate) fn token_of(key: &[u8]) -> Result<Token, CodecError> {
    let token = key.get(1..).and_then(|rest| rest.first_chunk::<8>()).ok_or(CodecError::Truncated)?;
    Ok(Token::from_ordered_bytes(*token))
}

/// The keys of a region with these tokens.
pub(crate) fn token_keys(region: u8, tokens: &RangeInclusive<Token>) -> Range<Vec<u8>> {
    let from = |token: &Token| [&[region][..], &token.to_ordered_bytes()].concat();
    let end = match tokens.end().0.checked_add(1) {
        Some(next) => from(&Token(next)),
        None => vec![region + 1],
    };
    from(tokens.start())..end
}

/// The parts of a row's key: what all keys of its partition have after the region, and the clustering key, or
/// what the static row has in its place.
pub(crate) fn split_row(key: &[u8]) -> Result<(&[u8], &[u8]), CodecError> {
    let after_token = key.get(PREFIX_BYTES..).ok_or(CodecError::Truncated)?;
    let (length, length_bytes) = first_varint(after_token)?;
    let length = usize::try_from(length).map_err(|_| CodecError::Truncated)?;
    let end = length.checked_add(PREFIX_BYTES + length_bytes).filter(|end| *end <= key.len());
    let end = end.ok_or(CodecError::Truncated)?;
    Ok((&key[1..end], &key[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(partition: &PartitionKey, record: &RecordKey) -> Vec<u8> {
        let mut out = Vec::new();
        put_record(&mut out, partition, record);
        out
    }

    proptest! {
        #[test]
        fn keys_order_by_region_token_partition_and_clustering(
            token_a: i64, token_b: i64, clustering_a in prop::collection::vec(any::<u8>(), 0..4),
            clustering_b in prop::collection::vec(any::<u8>(), 0..4),
        ) {
            let partition = |token| PartitionKey { token: Token(token), bytes: Bytes::from_static(b"pk") };
            let row = |bytes: &[u8]| RecordKey::Row(Bytes::from([&[0x40][..], bytes].concat()));
            let (a, b) = (partition(token_a), partition(token_b));
            let (row_a, row_b) = (row(&clustering_a), row(&clustering_b));
            let order = token_a.cmp(&token_b).then(clustering_a.cmp(&clustering_b));
            prop_assert_eq!(key(&a, &row_a).cmp(&key(&b, &row_b)), order);
            prop_assert!(key(&a, &RecordKey::Static) < key(&a, &row_a));
            prop_assert!(key(&a, &RecordKey::Deletions) < key(&b, &RecordKey::Static));
        }

        #[test]
        fn a_key_is_parsed_back_and_nothing_else_is(
            bytes in prop::collection::vec(any::<u8>(), 1..200), clustering in prop::collection::vec(any::<u8>(), 0..9),
            cut in any::<prop::sample::Index>(), flip in any::<prop::sample::Index>(),
        ) {
            let partition = PartitionKey::new(Bytes::from(bytes));
            let row = RecordKey::Row(Bytes::from([&[0x40][..], &clustering].concat()));
            for record in [RecordKey::Deletions, RecordKey::Static, row] {
                let whole = key(&partition, &record);
                prop_assert_eq!(parse_record(&whole), Some((partition.clone(), record.clone())));
                // The token is the partition key's checksum.
                let mut flipped = whole.clone();
                flipped[flip.index(PREFIX_BYTES + 1 + partition.bytes.len())] ^= 1;
                prop_assert_ne!(parse_record(&flipped), Some((partition.clone(), record)));
                parse_record(&whole[..cut.index(whole.len())]);
            }
        }

        #[test]
        fn partitions_order_as_their_keys_do_and_are_read_back(
            a in (-1i64..2, prop::collection::vec(0u8..2, 0..300)),
            b in (-1i64..2, prop::collection::vec(0u8..2, 0..300)),
        ) {
            let partition = |(token, bytes)| PartitionKey { token: Token(token), bytes: Bytes::from(bytes) };
            let (a, b) = (partition(a), partition(b));
            let (key_a, key_b) = (key(&a, &RecordKey::Static), key(&b, &RecordKey::Static));
            prop_assert_eq!(a.cmp(&b), key_a.cmp(&key_b));
            prop_assert_eq!(parse_partition(&key_a[1..]), Ok((a, key_a.len() - 2)));
        }

        #[test]
        fn any_bytes_are_a_partition_or_not_without_panic(bytes: Vec<u8>) {
            if let Ok((partition, length)) = parse_partition(&bytes) {
                let mut key = Vec::new();
                put_partition(&mut key, ROWS, &partition);
                prop_assert_eq!(&key[1..], &bytes[..length]);
            }
        }

        #[test]
        fn a_key_is_taken_apart_into_what_it_was_made_of(
            token: i64, bytes in prop::collection::vec(any::<u8>(), 0..200),
            clustering in prop::collection::vec(any::<u8>(), 0..4), cut: prop::sample::Index,
        ) {
            let partition = PartitionKey { token: Token(token), bytes: Bytes::from(bytes) };
            let clustering = Bytes::from([&[0x40][..], &clustering].concat());
            let row = key(&partition, &RecordKey::Row(clustering.clone()));
            let deletions = key(&partition, &RecordKey::Deletions);
            prop_assert_eq!(token_of(&row), Ok(Token(token)));
            prop_assert_eq!(split_row(&row), Ok((&deletions[1..], clustering.as_ref())));
            let of_static = key(&partition, &RecordKey::Static);
            prop_assert_eq!(split_row(&of_static), Ok((&deletions[1..], &[STATIC][..])));
            prop_assert!(split_row(&row[..cut.index(deletions.len())]).is_err());
        }

        #[test]
        fn the_keys_of_tokens_are_those_and_no_others(first: i64, last: i64, token: i64) {
            let key = |token| key(
                &PartitionKey { token: Token(token), bytes: Bytes::from_static(b"pk") }, &RecordKey::Static,
            );
            for last in [last, i64::MAX] {
                let keys = token_keys(ROWS, &(Token(first)..=Token(last)));
                for token in [first, token, last] {
                    prop_assert_eq!(keys.contains(&key(token)), (first..=last).contains(&token));
                }
            }
        }

        #[test]
        fn no_key_of_a_partition_starts_like_one_of_another(
            a in prop::collection::vec(any::<u8>(), 0..200), b in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let partition = |bytes: &[u8]| {
                let mut out = Vec::new();
                let partition = PartitionKey { token: Token(1), bytes: Bytes::copy_from_slice(bytes) };
                put_partition(&mut out, ROWS, &partition);
                out
            };
            prop_assert_eq!(a != b, !partition(&a).starts_with(&partition(&b)));
        }
    }
}
