//! The first thing that each side of a stream says, and whether the other side accepts it.

use crate::InvalidMessage;
use crate::proto::v1 as proto;
use bytes::Bytes;
use model::NodeId;

/// The version of the protocol that this code speaks.
pub const PROTOCOL_VERSION: u32 = 1;

/// Longest address in bytes: a host name has at most 253 characters, a port five.
const ADDRESS_BYTES_MAX: usize = 260;

/// What sets classes of traffic apart: each has a stream of its own, so that bulk cannot delay liveness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// Gossip and the metadata log.
    Control,
    /// Requests of clients and their answers.
    Data,
    /// Hints, repair and streaming.
    Bulk,
}

impl Priority {
    /// All classes, most urgent first.
    pub const ALL: [Priority; 3] = [Priority::Control, Priority::Data, Priority::Bulk];
}

/// Who speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// [`PROTOCOL_VERSION`] of the sender.
    pub protocol_version: u32,
    /// The cluster that the sender belongs to; `None` before it belongs to one.
    pub cluster_id: Option<u128>,
    /// The sender.
    pub node_id: NodeId,
    /// Where the sender accepts streams: host and port.
    pub internode_address: String,
    /// How many shards the sender has, 1 to 65,536.
    pub shards: u32,
    /// The class of what goes over this stream.
    pub priority: Priority,
}

impl Hello {
    /// Whether the side that says `own` talks to the side that says `self`.
    ///
    /// # Errors
    /// When it does not: the reason in words, for the log of the other side.
    pub fn check(&self, own: &Hello) -> Result<(), String> {
        if self.protocol_version != own.protocol_version {
            return Err(format!(
                "node {} speaks version {} of the internode protocol, this node speaks {}",
                self.node_id, self.protocol_version, own.protocol_version
            ));
        }
        if self.node_id == own.node_id {
            return Err(format!("{} is this node's own id: was its data directory copied?", self.node_id));
        }
        if self.priority != own.priority {
            return Err(format!("the stream is for {:?}, not for {:?}", own.priority, self.priority));
        }
        match (self.cluster_id, own.cluster_id) {
            (Some(theirs), Some(ours)) if theirs != ours => Err(format!(
                "node {} belongs to cluster {}, this node to cluster {}",
                self.node_id,
                NodeId(theirs),
                NodeId(ours)
            )),
            _ => Ok(()),
        }
    }
}

impl From<&Hello> for proto::Hello {
    fn from(hello: &Hello) -> proto::Hello {
        let id = |bits: u128| Bytes::copy_from_slice(&bits.to_be_bytes());
        let priority = match hello.priority {
            Priority::Control => proto::Priority::Control,
            Priority::Data => proto::Priority::Data,
            Priority::Bulk => proto::Priority::Bulk,
        };
        proto::Hello {
            protocol_version: hello.protocol_version,
            cluster_id: hello.cluster_id.map(id).unwrap_or_default(),
            node_id: id(hello.node_id.0),
            internode_address: hello.internode_address.clone(),
            shards: hello.shards,
            priority: priority.into(),
        }
    }
}

/// The 128 bits of an identifier.
pub(crate) fn bits(bytes: &[u8], field: &'static str) -> Result<u128, InvalidMessage> {
    let array = bytes.try_into().map_err(|_| InvalidMessage::Invalid { field, problem: "does not have 16 bytes" })?;
    Ok(u128::from_be_bytes(array))
}

impl TryFrom<proto::Hello> for Hello {
    type Error = InvalidMessage;

    /// Of another protocol version only that version and the sender's id are certain to be right.
    fn try_from(hello: proto::Hello) -> Result<Hello, InvalidMessage> {
        let priority = match proto::Priority::try_from(hello.priority) {
            Ok(proto::Priority::Control) => Priority::Control,
            Ok(proto::Priority::Data) => Priority::Data,
            Ok(proto::Priority::Bulk) => Priority::Bulk,
            Ok(proto::Priority::Unspecified) => return Err(InvalidMessage::Missing("Hello.priority")),
            Err(_) => return Err(InvalidMessage::Unknown { field: "Hello.priority", number: hello.priority }),
        };
        if !(1..=1 << 16).contains(&hello.shards) {
            return Err(InvalidMessage::Invalid { field: "Hello.shards", problem: "is not between 1 and 65536" });
        }
        let address = &hello.internode_address;
        if address.is_empty() || address.len() > ADDRESS_BYTES_MAX {
            return Err(InvalidMessage::Invalid { field: "Hello.internode_address", problem: "is not an address" });
        }
        let cluster_id = match &hello.cluster_id[..] {
            [] => None,
            bytes => Some(bits(bytes, "Hello.cluster_id")?),
        };
        Ok(Hello {
            protocol_version: hello.protocol_version,
            cluster_id,
            node_id: NodeId(bits(&hello.node_id, "Hello.node_id")?),
            internode_address: hello.internode_address,
            shards: hello.shards,
            priority,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use prost::Message;

    fn hello(node: u128, cluster_id: Option<u128>) -> Hello {
        Hello {
            protocol_version: PROTOCOL_VERSION,
            cluster_id,
            node_id: NodeId(node),
            internode_address: "127.0.0.1:7000".to_owned(),
            shards: 2,
            priority: Priority::Data,
        }
    }

    #[test]
    fn nodes_of_one_cluster_and_newcomers_are_accepted() {
        assert_eq!(hello(1, Some(7)).check(&hello(2, Some(7))), Ok(()));
        assert_eq!(hello(1, None).check(&hello(2, Some(7))), Ok(()));
        assert_eq!(hello(1, Some(7)).check(&hello(2, None)), Ok(()));
    }

    #[test]
    fn strangers_are_refused_with_a_reason() {
        let own = hello(2, Some(7));
        let reason = |hello: Hello| hello.check(&own).unwrap_err();
        assert!(reason(hello(1, Some(8))).contains("belongs to cluster"));
        assert!(reason(hello(2, Some(7))).contains("own id"));
        assert!(reason(Hello { protocol_version: 2, ..hello(1, Some(7)) }).contains("version 2"));
        assert!(reason(Hello { priority: Priority::Bulk, ..hello(1, Some(7)) }).contains("Bulk"));
    }

    #[test]
    fn a_hello_that_is_not_whole_is_refused() {
        let whole = proto::Hello::from(&hello(1, Some(2)));
        let bad = [
            proto::Hello { node_id: Bytes::new(), ..whole.clone() },
            proto::Hello { cluster_id: Bytes::from_static(b"short"), ..whole.clone() },
            proto::Hello { shards: 0, ..whole.clone() },
            proto::Hello { shards: 65_537, ..whole.clone() },
            proto::Hello { priority: 0, ..whole.clone() },
            proto::Hello { priority: 9, ..whole.clone() },
            proto::Hello { internode_address: String::new(), ..whole.clone() },
            proto::Hello { internode_address: "x".repeat(261), ..whole.clone() },
            proto::Hello::default(),
        ];
        for message in bad {
            assert!(Hello::try_from(message.clone()).is_err(), "{message:?}");
        }
        assert!(Hello::try_from(whole).is_ok());
    }

    proptest! {
        #[test]
        fn hellos_round_trip(
            version: u32,
            cluster: Option<u128>,
            node: u128,
            shards in 1u32..=65_536,
            class in 0usize..3,
        ) {
            let hello = Hello {
                protocol_version: version,
                shards,
                priority: Priority::ALL[class],
                ..hello(node, cluster)
            };
            let encoded = proto::Hello::from(&hello).encode_to_vec();
            let decoded = proto::Hello::decode(encoded.as_slice()).unwrap();
            prop_assert_eq!(Hello::try_from(decoded), Ok(hello));
        }
    }
}
