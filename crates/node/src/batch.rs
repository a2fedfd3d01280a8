//! A logged batch as it is kept until all of it is written: the writes of several partitions that happen together.
//!
//! Invariants (`docs/protocol/batches.md`):
//! * B1: a batch is kept by as many nodes as it must be, synced, before any of its writes is sent.
//! * B2: a batch is forgotten only once every replica of each of its writes has it, or a hint for it is durable; or
//!   none is given by the policy of hints, and another replica has it.
//! * B3: who keeps a batch writes it, with its own timestamps, when it was not told to forget it in time; what is of a
//!   table that is gone, or older than the grace of its table, is left out.

use bytes::Bytes;
use model::codec::{CodecError, Decode, Encode, Reader, put_varint};
use model::local::{LocalWrite, batch_key};
use model::{Epoch, Mutation, Token};
use std::sync::Arc;

/// Most writes of one batch.
const MUTATIONS_MAX: usize = 1_000;

/// A logged batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedBatch {
    /// Its name, which is random.
    pub id: u128,
    /// When it was made, by its coordinator's wall clock, in seconds since 1970.
    pub written_seconds: u32,
    /// The shortest grace of its tables at that time: deletions may have been purged by it, however long it is now.
    pub grace_seconds: u32,
    /// Whose tables it is of: a node that is behind does not know yet what is gone.
    pub epoch: Epoch,
    /// One for each partition of each table.
    pub mutations: Vec<Arc<Mutation>>,
}

/// First byte of the record of a batch.
const FORMAT: u8 = 2;

impl LoggedBatch {
    /// The token by which a shard of a node keeps it.
    #[must_use]
    pub fn token(id: u128) -> Token {
        Token(id as u64 as i64)
    }

    /// Bytes of its mutations.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.mutations.iter().map(|mutation| mutation.bytes()).sum()
    }

    /// The write that keeps it.
    pub(crate) fn record(&self) -> LocalWrite {
        let mut value = vec![FORMAT];
        self.encode(&mut value);
        LocalWrite::of(vec![(batch_key(self.id), Some(Bytes::from(value)))])
    }

    /// The write that forgets it.
    pub(crate) fn removal(id: u128) -> LocalWrite {
        LocalWrite::of(vec![(batch_key(id), None)])
    }

    /// The batch of a record.
    ///
    /// # Errors
    /// When it is not one.
    pub(crate) fn of_record(record: &Bytes) -> Result<LoggedBatch, CodecError> {
        match record.first() {
            Some(&FORMAT) => LoggedBatch::from_bytes(&record.slice(1..)),
            Some(&version) => Err(CodecError::Version(version)),
            None => Err(CodecError::Truncated),
        }
    }
}

impl Encode for LoggedBatch {
    fn encode(&self, out: &mut Vec<u8>) {
        self.id.encode(out);
        self.written_seconds.encode(out);
        self.grace_seconds.encode(out);
        self.epoch.encode(out);
        put_varint(out, self.mutations.len() as u64);
        self.mutations.iter().for_each(|mutation| mutation.encode(out));
    }
}

impl Decode for LoggedBatch {
    fn decode(reader: &mut Reader) -> Result<LoggedBatch, CodecError> {
        let (id, written_seconds) = (u128::decode(reader)?, u32::decode(reader)?);
        let (grace_seconds, epoch) = (u32::decode(reader)?, Epoch::decode(reader)?);
        let mutations: Vec<Mutation> = reader.sequence()?;
        if mutations.len() > MUTATIONS_MAX {
            return Err(CodecError::Invalid("batch"));
        }
        let mutations = mutations.into_iter().map(Arc::new).collect();
        Ok(LoggedBatch { id, written_seconds, grace_seconds, epoch, mutations })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{PartitionKey, TableId};

    #[test]
    fn a_batch_is_read_back_and_what_is_none_is_refused() {
        let mutation = |key: &'static [u8]| {
            let partition = PartitionKey::new(Bytes::from_static(key));
            Arc::new(Mutation { table: TableId(7), partition, records: Vec::new() })
        };
        let mutations = vec![mutation(b"a"), mutation(b"b")];
        let batch = LoggedBatch { id: u128::MAX - 3, written_seconds: 9, grace_seconds: 7, epoch: Epoch(4), mutations };
        let (key, value) = batch.record().records.remove(0);
        assert_eq!(model::local::batch_of_key(&key), Some(batch.id));
        let value = value.unwrap();
        assert_eq!(LoggedBatch::of_record(&value), Ok(batch.clone()));
        assert_eq!(LoggedBatch::removal(batch.id).records, [(key, None)]);
        for cut in 0..value.len() {
            assert!(LoggedBatch::of_record(&value.slice(..cut)).is_err());
        }
        assert!(LoggedBatch::of_record(&Bytes::from_static(&[9])).is_err());
        assert_eq!(LoggedBatch::token(batch.id), Token(-4));
    }
}
