//! Primary keys: the partition key that places data on the ring, and the clustering key that orders
//! rows within a partition, in a form whose bytes order as the values do.

use crate::codec::{CodecError, Decode, Encode, Reader, put_bytes};
use crate::error::RequestError;
use crate::limits::KEY_BYTES_MAX;
use crate::schema::{ClusteringOrder, Table};
use crate::token::Token;
use crate::types::CqlType;
use bytes::Bytes;

/// A serialized partition key with its token.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionKey {
    /// Where it is on the ring.
    pub token: Token,
    /// The key as Cassandra serializes it: the value itself when it has one component; else for each
    /// component two bytes of length, the value, and a zero byte.
    pub bytes: Bytes,
}

impl PartitionKey {
    /// The key of these serialized bytes.
    #[must_use]
    pub fn new(bytes: Bytes) -> PartitionKey {
        PartitionKey { token: Token::of(&bytes), bytes }
    }
}

impl Encode for PartitionKey {
    fn encode(&self, out: &mut Vec<u8>) {
        self.token.encode(out);
        put_bytes(out, &self.bytes);
    }
}

impl Decode for PartitionKey {
    fn decode(reader: &mut Reader) -> Result<PartitionKey, CodecError> {
        Ok(PartitionKey { token: Token::decode(reader)?, bytes: reader.bytes()? })
    }
}
