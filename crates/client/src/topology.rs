//! What a session knows of the cluster, and which nodes hold a token.
//!
//! Where data is follows from what the cluster says of members and replication. It only chooses whom to ask first:
//! every node answers every request, so a choice that is out of date costs a hop and nothing else.

use api::InvalidMessage;
use api::convert::uuid_from_text;
use api::proto::client::v1 as proto;
use model::placement::{Place, Placement, index_of};
use model::schema::{ColumnKind, Replication};
use model::{CqlType, NodeId, TableId, Token};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The cluster as one of its nodes saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    /// The cluster, a UUID.
    pub cluster_id: String,
    /// Of the metadata log: members, tokens and schema are those at this epoch.
    pub epoch: u64,
    /// All members.
    pub nodes: Vec<NodeInfo>,
    /// All keyspaces, by name.
    pub keyspaces: Arc<BTreeMap<String, KeyspaceInfo>>,
    /// The release of the node that answered.
    pub release: String,
}

/// A member of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeInfo {
    /// Its identity.
    pub id: NodeId,
    /// Where it serves this driver.
    pub client_address: String,
    /// Where it serves the CQL native protocol; empty when it does not.
    pub native_address: String,
    /// Where it serves other nodes.
    pub internode_address: String,
    /// Its data centre.
    pub data_center: String,
    /// Its rack.
    pub rack: String,
    /// Its positions on the ring, ascending.
    pub tokens: Vec<Token>,
    /// Whether the node that answered took it to be alive.
    pub up: bool,
}

/// A keyspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyspaceInfo {
    /// How it is replicated; `None` when each node has its own.
    pub replication: Option<Replication>,
    /// Its tables, by name.
    pub tables: BTreeMap<String, TableInfo>,
    /// The statement that creates it.
    pub create_text: String,
}

/// A table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableInfo {
    /// Its identity.
    pub id: TableId,
    /// Partition key by position, then clustering by position, then the others by name.
    pub columns: Vec<ColumnInfo>,
    /// The statement that creates it.
    pub create_text: String,
}

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnInfo {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub kind: ColumnKind,
    /// The type of its values.
    pub cql_type: CqlType,
}

impl Topology {
    /// The keyspace of this name.
    #[must_use]
    pub fn keyspace(&self, name: &str) -> Option<&KeyspaceInfo> {
        self.keyspaces.get(name)
    }

    /// The nodes that hold `token` in `keyspace`, as the session would ask them; none when the keyspace is not known
    /// or each node has its own. For tools that look where data is.
    #[must_use]
    pub fn replicas(&self, keyspace: &str, token: Token) -> Vec<&NodeInfo> {
        let routes = Routes::new(self);
        routes.replicas(keyspace, token).iter().filter_map(|index| self.nodes.get(*index as usize)).collect()
    }

    /// From an answer; `known` stands in for the keyspaces that it has left out.
    pub(crate) fn from_proto(
        response: proto::TopologyResponse,
        known: Option<&Topology>,
    ) -> Result<Topology, InvalidMessage> {
        let nodes = response.nodes.into_iter().map(node_info).collect::<Result<Vec<_>, _>>()?;
        let keyspaces = match known {
            Some(known) if known.epoch == response.epoch => Arc::clone(&known.keyspaces),
            _ => Arc::new(response.keyspaces.into_iter().map(keyspace_info).collect::<Result<_, _>>()?),
        };
        let (cluster_id, epoch, release) = (response.cluster_id, response.epoch, response.release);
        Ok(Topology { cluster_id, epoch, nodes, keyspaces, release })
    }
}

fn node_info(node: proto::Node) -> Result<NodeInfo, InvalidMessage> {
    Ok(NodeInfo {
        id: NodeId(uuid_from_text(&node.id, "Node.id")?),
        client_address: node.client_address,
        native_address: node.native_address,
        internode_address: node.internode_address,
        data_center: node.data_center,
        rack: node.rack,
        tokens: node.tokens.into_iter().map(Token).collect(),
        up: node.up,
    })
}

fn keyspace_info(keyspace: proto::Keyspace) -> Result<(String, KeyspaceInfo), InvalidMessage> {
    use proto::replication::Strategy;
    let replication = keyspace.replication.ok_or_else(|| InvalidMessage::missing("Keyspace.replication"))?;
    let replication = match &replication.strategy {
        Some(Strategy::Local(_)) => None,
        _ => Some(Replication::try_from(&replication)?),
    };
    let tables = keyspace.tables.into_iter().map(table_info).collect::<Result<_, _>>()?;
    Ok((keyspace.name, KeyspaceInfo { replication, tables, create_text: keyspace.create_text }))
}

fn table_info(table: proto::Table) -> Result<(String, TableInfo), InvalidMessage> {
    let column = |column: proto::Column| {
        Ok(ColumnInfo { kind: column.column_kind()?, cql_type: column.cql_type()?, name: column.name })
    };
    let columns = table.columns.into_iter().map(column).collect::<Result<_, InvalidMessage>>()?;
    let id = TableId(uuid_from_text(&table.id, "Table.id")?);
    Ok((table.name, TableInfo { id, columns, create_text: table.create_text }))
}

/// Which nodes hold a token, precomputed: a lookup is one binary search.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    /// Ascending tokens, with positions in `Topology::nodes`.
    ring: Vec<(Token, u32)>,
    keyspaces: BTreeMap<String, Arc<Placement<u32>>>,
}

impl Routes {
    pub(crate) fn new(topology: &Topology) -> Routes {
        let positions = |(index, node): (usize, &NodeInfo)| {
            let index = u32::try_from(index).unwrap_or(u32::MAX);
            node.tokens.iter().map(move |token| (*token, index)).collect::<Vec<_>>()
        };
        let mut ring: Vec<(Token, u32)> = topology.nodes.iter().enumerate().flat_map(positions).collect();
        ring.sort_unstable();
        let place = |position: u32| {
            let node = &topology.nodes[position as usize];
            Place { data_center: &node.data_center, rack: &node.rack }
        };
        let mut keyspaces = BTreeMap::new();
        let mut placements: Vec<(&Replication, Arc<Placement<u32>>)> = Vec::new();
        for (name, keyspace) in topology.keyspaces.iter() {
            let Some(replication) = &keyspace.replication else { continue };
            let known = placements.iter().find(|(other, _)| *other == replication);
            let placement = match known {
                Some((_, placement)) => Arc::clone(placement),
                None => Arc::new(Placement::new(&ring, place, replication)),
            };
            placements.push((replication, Arc::clone(&placement)));
            keyspaces.insert(name.clone(), placement);
        }
        Routes { ring, keyspaces }
    }

    /// The positions in `Topology::nodes` of the nodes that hold `token` in `keyspace`; none when that is not
    /// known.
    pub(crate) fn replicas(&self, keyspace: &str, token: Token) -> &[u32] {
        match self.keyspaces.get(keyspace) {
            Some(placement) if !self.ring.is_empty() => placement.at(index_of(&self.ring, token)),
            _ => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: u128, data_center: &str, rack: &str, tokens: &[i64]) -> NodeInfo {
        NodeInfo {
            id: NodeId(id),
            client_address: format!("127.0.0.{id}:7042"),
            native_address: String::new(),
            internode_address: String::new(),
            data_center: data_center.to_owned(),
            rack: rack.to_owned(),
            tokens: tokens.iter().copied().map(Token).collect(),
            up: true,
        }
    }

    fn routes(nodes: Vec<NodeInfo>, replication: Option<Replication>) -> Routes {
        let keyspace = KeyspaceInfo { replication, tables: BTreeMap::new(), create_text: String::new() };
        let keyspaces = Arc::new(BTreeMap::from([("k".to_owned(), keyspace)]));
        let (cluster_id, release) = (String::new(), String::new());
        Routes::new(&Topology { cluster_id, epoch: 1, nodes, keyspaces, release })
    }

    #[test]
    fn a_token_belongs_to_the_next_position_and_the_ring_is_closed() {
        let nodes = vec![node(1, "d", "r", &[-100, 100]), node(2, "d", "r", &[0]), node(3, "d", "r", &[200])];
        let routes = routes(nodes, Some(Replication::Simple { factor: 2 }));
        let replicas = |token| routes.replicas("k", Token(token)).to_vec();
        assert_eq!(replicas(i64::MIN), [0, 1]);
        assert_eq!(replicas(-100), [0, 1]);
        assert_eq!(replicas(-99), [1, 0]);
        assert_eq!(replicas(50), [0, 2]);
        assert_eq!(replicas(101), [2, 0]);
        assert_eq!(replicas(201), [0, 1]);
        assert_eq!(routes.replicas("other", Token(1)), [0u32; 0]);
    }

    #[test]
    fn more_replicas_than_nodes_are_all_nodes() {
        let nodes = vec![node(1, "d", "r", &[0]), node(2, "d", "r", &[10])];
        let routes = routes(nodes, Some(Replication::Simple { factor: 5 }));
        assert_eq!(routes.replicas("k", Token(5)), [1, 0]);
    }

    #[test]
    fn data_centers_and_racks_are_respected() {
        let nodes = vec![
            node(1, "a", "r1", &[0]),
            node(2, "a", "r1", &[10]),
            node(3, "b", "r1", &[20]),
            node(4, "a", "r2", &[30]),
            node(5, "b", "r1", &[40]),
        ];
        let factors = BTreeMap::from([("a".to_owned(), 2), ("b".to_owned(), 2), ("gone".to_owned(), 1)]);
        let routes = routes(nodes, Some(Replication::NetworkTopology { factors }));
        // The second node of rack r1 in data centre a is passed over for the one in r2; b has one rack only.
        assert_eq!(routes.replicas("k", Token(-5)), [0, 2, 3, 4]);
        assert_eq!(routes.replicas("k", Token(25)), [3, 4, 0, 2]);
    }

    #[test]
    fn an_empty_ring_and_local_keyspaces_have_no_replicas() {
        assert!(routes(vec![], Some(Replication::Simple { factor: 3 })).replicas("k", Token(1)).is_empty());
        assert!(routes(vec![node(1, "d", "r", &[0])], None).replicas("k", Token(1)).is_empty());
    }

    #[test]
    fn keyspaces_left_out_are_those_known_at_the_same_epoch() {
        let response = |epoch| proto::TopologyResponse {
            cluster_id: "c".to_owned(),
            epoch,
            keyspaces: vec![proto::Keyspace {
                name: "k".to_owned(),
                replication: Some((&Replication::Simple { factor: 1 }).into()),
                ..Default::default()
            }],
            ..Default::default()
        };
        let known = Topology::from_proto(response(4), None).unwrap();
        assert!(known.keyspace("k").is_some());
        let same = proto::TopologyResponse { keyspaces: vec![], ..response(4) };
        assert!(Topology::from_proto(same, Some(&known)).unwrap().keyspace("k").is_some());
        let newer = proto::TopologyResponse { keyspaces: vec![], ..response(5) };
        assert!(Topology::from_proto(newer, Some(&known)).unwrap().keyspace("k").is_none());
    }
}
