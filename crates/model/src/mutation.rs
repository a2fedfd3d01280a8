//! A write: changes of one partition of one table, in the form in which they are stored, so that a
//! replica merges them without decoding and re-encoding.

use crate::codec::{CodecError, Decode, Encode, Reader, put_bytes, put_sequence};
use crate::deletion::PartitionDeletions;
use crate::id::TableId;
use crate::key::PartitionKey;
use crate::read::Slice;
use crate::row::{Row, summarize};
use bytes::Bytes;

/// What a record of a partition belongs to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordKey {
    /// The partition itself: its value is an encoded [`PartitionDeletions`].
    Deletions,
    /// The static row: its value is an encoded [`Row`].
    Static,
    /// The row at this encoded clustering key: its value is an encoded [`Row`].
    Row(Bytes),
}

/// One key and its value: a state to merge into what is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// What it belongs to.
    pub key: RecordKey,
    /// The encoded state.
    pub value: Bytes,
}

/// Changes of one partition of one table; applied atomically.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mutation {
    /// The table.
    pub table: TableId,
    /// The partition.
    pub partition: PartitionKey,
    /// What to merge, one record for each key, ascending.
    pub records: Vec<Record>,
}

impl Record {
    /// A change of a row.
    #[must_use]
    pub fn row(clustering: Bytes, row: &Row) -> Record {
        Record { key: RecordKey::Row(clustering), value: row.to_bytes() }
    }

    /// A deletion of the partition or of ranges of its rows.
    #[must_use]
    pub fn deletions(deletions: &PartitionDeletions) -> Record {
        Record { key: RecordKey::Deletions, value: deletions.to_bytes() }
    }

    /// Checks that the value is what its key says, and that a clustering key is one that reads of a whole
    /// partition find. A replica does so before it stores bytes that came from another node: a value that
    /// cannot be merged would poison the store.
    ///
    /// # Errors
    /// When it is not.
    pub fn validate(&self) -> Result<(), CodecError> {
        match &self.key {
            RecordKey::Deletions => PartitionDeletions::from_bytes(&self.value).map(|_| ()),
            RecordKey::Row(clustering) if !Slice::all().contains(clustering) => {
                Err(CodecError::Invalid("clustering key"))
            }
            RecordKey::Static | RecordKey::Row(_) => summarize(&self.value, 0).map(|_| ()),
        }
    }
}

impl Mutation {
    /// Checks every record, and that keys ascend.
    ///
    /// # Errors
    /// When a record is not valid.
    pub fn validate(&self) -> Result<(), CodecError> {
        if !self.records.windows(2).all(|pair| pair[0].key < pair[1].key) {
            return Err(CodecError::Invalid("record order"));
        }
        self.records.iter().try_for_each(Record::validate)
    }

    /// Approximate size in memory and in messages, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let record = |record: &Record| match &record.key {
            RecordKey::Row(clustering) => clustering.len() + record.value.len() + 4,
            _ => record.value.len() + 4,
        };
        32 + self.partition.bytes.len() + self.records.iter().map(record).sum::<usize>()
    }
}

/// Merges two encoded values of one record key: the one rule for memtable, flush, compaction, read
/// and repair.
///
/// # Errors
/// When either is not valid.
pub fn merge_values(deletions: bool, left: &Bytes, right: &Bytes) -> Result<Bytes, CodecError> {
    if deletions {
        let (left, right) = (PartitionDeletions::from_bytes(left)?, PartitionDeletions::from_bytes(right)?);
        return Ok(left.merge(&right).to_bytes());
    }
    Ok(Row::from_bytes(left)?.merge(Row::from_bytes(right)?).to_bytes())
}

impl Encode for RecordKey {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            RecordKey::Deletions => out.push(0),
            RecordKey::Static => out.push(1),
            RecordKey::Row(clustering) => {
                out.push(2);
                put_bytes(out, clustering);
            }
        }
    }
}

impl Decode for RecordKey {
    fn decode(reader: &mut Reader) -> Result<RecordKey, CodecError> {
        match reader.u8()? {
            0 => Ok(RecordKey::Deletions),
            1 => Ok(RecordKey::Static),
            2 => reader.bytes().map(RecordKey::Row),
            _ => Err(CodecError::Invalid("record key")),
        }
    }
}

impl Encode for Record {
    fn encode(&self, out: &mut Vec<u8>) {
        self.key.encode(out);
        put_bytes(out, &self.value);
    }
}

impl Decode for Record {
    fn decode(reader: &mut Reader) -> Result<Record, CodecError> {
        Ok(Record { key: RecordKey::decode(reader)?, value: reader.bytes()? })
    }
}

impl Encode for Mutation {
    fn encode(&self, out: &mut Vec<u8>) {
        self.table.encode(out);
        self.partition.encode(out);
        put_sequence(out, &self.records);
    }
}

impl Decode for Mutation {
    fn decode(reader: &mut Reader) -> Result<Mutation, CodecError> {
        Ok(Mutation {
            table: TableId::decode(reader)?,
            partition: PartitionKey::decode(reader)?,
            records: reader.sequence()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deletion::tests::deletions;
    use crate::row::tests::row;
    use proptest::prelude::*;

    fn record() -> impl Strategy<Value = Record> {
        let clustering =
            prop::collection::vec(any::<u8>(), 0..4).prop_map(|rest| Bytes::from([&[0x40][..], &rest].concat()));
        prop_oneof![
            deletions().prop_map(|deletions| Record::deletions(&deletions)),
            row().prop_map(|row| Record { key: RecordKey::Static, value: row.to_bytes() }),
            (clustering, row()).prop_map(|(clustering, row)| Record::row(clustering, &row)),
        ]
    }

    /// A mutation as a coordinator makes it: one record for each key, ascending.
    fn mutation() -> impl Strategy<Value = Mutation> {
        let key = prop::collection::vec(any::<u8>(), 0..20).prop_map(|bytes| PartitionKey::new(Bytes::from(bytes)));
        (any::<u128>(), key, prop::collection::vec(record(), 0..6)).prop_map(|(table, partition, mut records)| {
            records.sort_by(|a, b| a.key.cmp(&b.key));
            records.dedup_by(|a, b| a.key == b.key);
            Mutation { table: TableId(table), partition, records }
        })
    }

    proptest! {
        #[test]
        fn encodings_round_trip(mutation in mutation()) {
            prop_assert_eq!(mutation.validate(), Ok(()));
            let encoded = mutation.to_bytes();
            prop_assert!(encoded.len() <= mutation.bytes() + 8 * mutation.records.len() + 8);
            prop_assert_eq!(Mutation::from_bytes(&encoded), Ok(mutation));
        }

        #[test]
        fn any_bytes_decode_or_fail_without_panic(
            bytes: Vec<u8>, mutation in mutation(), at: prop::sample::Index, to: u8,
        ) {
            let mut changed = mutation.to_bytes().to_vec();
            let at = at.index(changed.len());
            changed[at] = to;
            for bytes in [Bytes::from(bytes), Bytes::from(changed)] {
                if let Ok(mutation) = Mutation::from_bytes(&bytes) {
                    let _ = mutation.validate();
                    prop_assert_eq!(mutation.to_bytes(), bytes);
                }
            }
        }

        #[test]
        fn records_out_of_order_or_twice_are_refused(mutation in mutation(), at: prop::sample::Index) {
            if mutation.records.is_empty() {
                return Ok(());
            }
            let at = at.index(mutation.records.len());
            let mut twice = mutation.clone();
            twice.records.insert(at, mutation.records[at].clone());
            prop_assert_eq!(twice.validate(), Err(CodecError::Invalid("record order")));
            let mut reversed = mutation;
            reversed.records.reverse();
            prop_assert_eq!(reversed.validate().is_ok(), reversed.records.len() == 1);
        }

        #[test]
        fn merging_values_is_merging_what_they_encode(
            rows in (row(), row()), deletions in (deletions(), deletions()),
        ) {
            let merged = merge_values(false, &rows.0.to_bytes(), &rows.1.to_bytes());
            prop_assert_eq!(merged, Ok(rows.0.merge(rows.1).to_bytes()));
            let merged = merge_values(true, &deletions.0.to_bytes(), &deletions.1.to_bytes());
            prop_assert_eq!(merged, Ok(deletions.0.merge(&deletions.1).to_bytes()));
        }
    }

    #[test]
    fn a_value_that_is_not_what_its_key_says_is_refused() {
        let row = Row::deleted(crate::deletion::Deletion { timestamp: 1, local_seconds: 1 });
        let mut record = Record::row(Bytes::from_static(&[0x38]), &row);
        assert_eq!(record.validate(), Ok(()));
        record.key = RecordKey::Deletions;
        assert!(record.validate().is_err());
        record.value = Bytes::new();
        for key in [RecordKey::Deletions, RecordKey::Static, RecordKey::Row(Bytes::from_static(&[0x38]))] {
            assert!(Record { key, value: Bytes::new() }.validate().is_err());
        }
        for clustering in [&[][..], &[0x08], &[0x1f, 0x38], &[0x60]] {
            assert!(Record::row(Bytes::from_static(clustering), &row).validate().is_err(), "{clustering:?}");
        }
        assert!(merge_values(false, &row.to_bytes(), &Bytes::from_static(&[9])).is_err());
    }
}
