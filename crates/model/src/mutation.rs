//! A write: changes of one partition of one table, in the form in which they are stored, so that a
//! replica merges them without decoding and re-encoding.

use crate::codec::{CodecError, Decode, Encode, Reader, put_bytes, put_sequence};
use crate::deletion::PartitionDeletions;
use crate::id::TableId;
use crate::key::PartitionKey;
use crate::row::{Row, encoded_is_live};
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

    /// Checks that the value is what its key says. A replica does so before it stores bytes that came
    /// from another node: a value that cannot be merged would poison the store.
    ///
    /// # Errors
    /// When it is not.
    pub fn validate(&self) -> Result<(), CodecError> {
        match &self.key {
            RecordKey::Deletions => PartitionDeletions::from_bytes(&self.value).map(|_| ()),
            RecordKey::Static | RecordKey::Row(_) => encoded_is_live(&self.value, 0).map(|_| ()),
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
