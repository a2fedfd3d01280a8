//! What is told of which change, and in which order.

use super::*;
use membership::NodeAddresses;
use model::schema::{Replication, Schema, SchemaChange as Change};
use model::types::UserType;
use model::{CqlType, Epoch};
use std::collections::BTreeMap;
use std::net::SocketAddr;

fn native(id: u8) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, id], 9042))
}

fn picture(members: &[u8], alive: &[u8], schema: &Arc<Schema>) -> Picture {
    let member = |id: &u8| {
        let internode = SocketAddr::from(([127, 0, 0, *id], 7000));
        let addresses = NodeAddresses { internode, client: internode, native: native(*id) };
        let (data_center, rack) = ("dc1".to_owned(), "rack1".to_owned());
        (
            NodeId(u128::from(*id)),
            MemberInfo { id: NodeId(u128::from(*id)), addresses, data_center, rack, tokens: Vec::new() },
        )
    };
    let members: BTreeMap<_, _> = members.iter().map(member).collect();
    let view = ClusterView::new(Epoch(1), 7, schema.clone(), members, BTreeSet::new());
    Picture { view: Arc::new(view), alive: Arc::new(alive.iter().map(|id| NodeId(u128::from(*id))).collect()) }
}

fn apply(schema: &Schema, change: &Change) -> Schema {
    schema.apply(change).unwrap().unwrap()
}

fn keyspace() -> Change {
    let replication = Replication::Simple { factor: 1 };
    Change::CreateKeyspace { name: "plain".to_owned(), replication, if_not_exists: false }
}

fn table(id: u128) -> Change {
    Change::CreateTable { table: Table::plain(model::TableId(id)), if_not_exists: false }
}

use model::schema::Table;

fn user_type() -> Change {
    let fields = vec![("a".to_owned(), CqlType::Int)];
    let definition = UserType { keyspace: "plain".to_owned(), name: "u".to_owned(), fields };
    Change::CreateType { definition, if_not_exists: false }
}

#[test]
fn nodes_come_new_then_up_and_go_down_then_removed() {
    let schema = Arc::new(Schema::default());
    let (one, two) = (picture(&[1], &[1], &schema), picture(&[1, 2], &[1, 2], &schema));
    let joined = [Event::Topology(TopologyChange::NewNode, native(2)), Event::Status(StatusChange::Up, native(2))];
    assert_eq!(changes(&one, &two), joined);
    let left = [Event::Status(StatusChange::Down, native(2)), Event::Topology(TopologyChange::RemovedNode, native(2))];
    assert_eq!(changes(&two, &one), left);
    let dead = picture(&[1, 2], &[1], &schema);
    assert_eq!(changes(&two, &dead), [Event::Status(StatusChange::Down, native(2))]);
    assert_eq!(changes(&dead, &two), [Event::Status(StatusChange::Up, native(2))]);
    assert_eq!(changes(&two, &two.clone()), []);
}

#[test]
fn a_keyspace_is_told_of_before_what_is_in_it_and_dropped_after() {
    let empty = Schema::default();
    let full = apply(&apply(&apply(&empty, &keyspace()), &user_type()), &table(1));
    let told = |change, target| SchemaChange { change, keyspace: "plain".to_owned(), target };
    let created = |target| told(ChangeType::Created, target);
    let dropped = |target| told(ChangeType::Dropped, target);
    let (a_table, a_type) = (SchemaTarget::Table("table_1".to_owned()), SchemaTarget::Type("u".to_owned()));
    let expected = [created(SchemaTarget::Keyspace), created(a_type.clone()), created(a_table.clone())];
    assert_eq!(schema_changes(&empty, &full), expected);
    let expected = [dropped(a_table.clone()), dropped(a_type), dropped(SchemaTarget::Keyspace)];
    assert_eq!(schema_changes(&full, &empty), expected);
    assert_eq!(schema_changes(&full, &full), []);
    let truncate = Change::TruncateTable { keyspace: "plain".to_owned(), name: "table_1".to_owned() };
    assert_eq!(schema_changes(&full, &apply(&full, &truncate)), [], "the schema of a truncated table is as it was");
    let drop = Change::DropTable { keyspace: "plain".to_owned(), name: "table_1".to_owned(), if_exists: false };
    let mut another = Table::plain(model::TableId(1_000_000));
    another.name = "table_1".to_owned();
    let again = Change::CreateTable { table: another, if_not_exists: false };
    let replaced = apply(&apply(&full, &drop), &again);
    assert_eq!(schema_changes(&full, &replaced), [dropped(a_table.clone()), created(a_table)]);
}
