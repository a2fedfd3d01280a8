//! The cluster metadata log: what its entries are, and the state that they add up to. Epoch `n` is the
//! state after entry `n`.
//!
//! Invariants:
//! * The state is a function of the entries alone, so equal logs give equal members, voters and schemas.
//! * Applying never fails and never panics: an entry that cannot be applied has no effect but its epoch, on
//!   every node alike. Its proposer validated it against the state before it, so that does not happen
//!   unless a peer is broken.
//! * Slot `n` is decided by the voters of the state after slot `n - 1`; slot 1 by the configured seeds.

use crate::replication::ReplicationChange;
use crate::ring;
use bytes::Bytes;
use model::codec::{CodecError, Decode, Encode, Reader, put_sequence};
use model::local::prefix;
use model::schema::{REPLICATION_FACTOR, Replication, Schema, SchemaChange, TRACES};
use model::{Epoch, NodeId, RequestError, Token};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::sync::Arc;

/// Most voters of the log; more only slow it down.
pub const VOTERS_MAX: usize = 7;

/// Most tokens of one node.
pub const TOKENS_MAX: u32 = 1_024;

/// Longest name of a data centre or a rack in bytes.
pub(crate) const PLACE_BYTES_MAX: usize = 48;

/// Largest encoded entry in bytes.
pub const ENTRY_BYTES_MAX: usize = 1024 * 1024;

/// Where a node is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeAddresses {
    /// By other nodes.
    pub internode: SocketAddr,
    /// By clients, over gRPC.
    pub client: SocketAddr,
    /// By clients, over the CQL native protocol.
    pub native: SocketAddr,
}

/// A member of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberInfo {
    /// The node.
    pub id: NodeId,
    /// Where it is reached.
    pub addresses: NodeAddresses,
    /// The data centre that it stands in.
    pub data_center: String,
    /// The rack within the data centre.
    pub rack: String,
    /// Its tokens, ascending. No other member has any of them.
    pub tokens: Vec<Token>,
}

/// A voter named by the genesis entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Founder {
    /// The node.
    pub id: NodeId,
    /// Where other nodes reach it.
    pub internode: SocketAddr,
}

/// One change of the cluster's metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The cluster begins. Always the first entry and only that.
    Genesis {
        /// 128 random bits that tell this cluster from every other.
        cluster_id: u128,
        /// The first voters: a majority of the configured seeds.
        founders: Vec<Founder>,
    },
    /// A node becomes a member. A member or founder with the same internode address is a node that was
    /// wiped: it is replaced.
    Join {
        /// The node.
        member: MemberInfo,
        /// Whether it is listed among its seeds, which makes it a voter.
        is_seed: bool,
    },
    /// A member has new addresses. Nothing else of it changes.
    Update(MemberInfo),
    /// The schema changes.
    Schema(SchemaChange),
    /// These members, ascending by id, decide the log from the next slot on, and nobody else.
    Voters(Vec<NodeId>),
    /// The cluster goes on without its voters, a majority of which is lost. Written by an operator's command on a
    /// stopped node, never decided by anybody. Under the new name the cluster has nothing to do with what is left of
    /// the old one.
    Recover {
        /// 128 random bits, the name of the cluster from now on.
        cluster_id: u128,
        /// The member that decides the log alone from now on, until it takes others in.
        voter: NodeId,
    },
}

/// An entry of the log. The id names it: a proposer recognises its own entry by it, whoever completed the
/// decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// 128 random bits.
    pub id: u128,
    /// The change.
    pub change: Arc<Change>,
}

/// What the entries so far add up to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Entries applied.
    pub epoch: Epoch,
    /// The cluster; `None` at epoch 0.
    pub cluster_id: Option<u128>,
    /// The names that the cluster had before it was recovered, each with the slot of that recovery, in order.
    pub recoveries: Vec<(u128, Epoch)>,
    /// The members.
    pub members: BTreeMap<NodeId, MemberInfo>,
    /// Who decides the next slot, and where they are reached; founders that have not joined yet included.
    pub voters: BTreeMap<NodeId, SocketAddr>,
    /// The schema.
    pub schema: Arc<Schema>,
    /// The change of replication that is under way.
    pub replication_change: Option<ReplicationChange>,
    /// The owner of each token.
    owners: BTreeMap<Token, NodeId>,
}

impl State {
    /// Applies the entry of the next slot.
    pub fn apply(&mut self, change: &Change) {
        self.epoch = self.epoch.next();
        match change {
            Change::Genesis { cluster_id, founders } => {
                if self.cluster_id.is_none() {
                    self.cluster_id = Some(*cluster_id);
                    self.voters = founders.iter().map(|founder| (founder.id, founder.internode)).collect();
                }
            }
            Change::Join { member, is_seed } => {
                if self.refusal_of_join(member).is_none() {
                    self.join(member, *is_seed);
                }
            }
            Change::Update(update) => {
                if let Some(member) = self.members.get_mut(&update.id) {
                    member.addresses = update.addresses;
                }
                if let Some(address) = self.voters.get_mut(&update.id) {
                    *address = update.addresses.internode;
                }
            }
            Change::Schema(change) => {
                let change = self.expanded(change).into_owned();
                if !self.apply_replication_change(&change)
                    && let Ok(Some(schema)) = self.schema.apply(&change)
                {
                    self.schema = Arc::new(schema);
                    self.forget_replication_change();
                }
            }
            Change::Voters(voters) => {
                if let Some(voters) = self.addresses_of_voters(voters) {
                    self.voters = voters;
                }
            }
            Change::Recover { cluster_id, voter } => {
                if let (Some(former), Some(voters)) = (self.cluster_id, self.addresses_of_voters(&[*voter])) {
                    self.recoveries.push((former, self.epoch));
                    self.cluster_id = Some(*cluster_id);
                    self.voters = voters;
                }
            }
        }
    }

    /// The slot at which a cluster of this name was recovered as this one, if it was.
    #[must_use]
    pub fn recovered_from(&self, cluster: u128) -> Option<Epoch> {
        self.recoveries.iter().find(|(former, _)| *former == cluster).map(|(_, slot)| *slot)
    }

    fn join(&mut self, member: &MemberInfo, is_seed: bool) {
        let address = member.addresses.internode;
        let at_address = |known: &&MemberInfo| known.addresses.internode == address;
        let replaced: Vec<NodeId> = self.members.values().filter(at_address).map(|known| known.id).collect();
        for known in replaced.iter().filter_map(|id| self.members.remove(id)).collect::<Vec<_>>() {
            for token in known.tokens {
                self.owners.remove(&token);
            }
        }
        self.owners.extend(member.tokens.iter().map(|token| (*token, member.id)));
        let voters_before = self.voters.len();
        self.voters.retain(|id, known| *known != address || *id == member.id);
        let replaces_voter = self.voters.len() < voters_before;
        if self.voters.contains_key(&member.id) || replaces_voter || (is_seed && self.voters.len() < VOTERS_MAX) {
            self.voters.insert(member.id, address);
        }
        self.members.insert(member.id, member.clone());
    }

    /// Why `member` cannot join now; `None` when it can.
    #[must_use]
    pub fn refusal_of_join(&self, member: &MemberInfo) -> Option<String> {
        if self.cluster_id.is_none() {
            return Some("no cluster exists".to_owned());
        }
        if let Some(tables) = self.refusal_of_joins() {
            return Some(tables);
        }
        if self.members.contains_key(&member.id) {
            return Some(format!("node {} is a member already", member.id));
        }
        let is_taken = |token: &Token| {
            let owner = self.owners.get(token).and_then(|id| self.members.get(id));
            owner.is_some_and(|owner| owner.addresses.internode != member.addresses.internode)
        };
        let unusable = member.tokens.is_empty() || member.tokens.iter().any(is_taken);
        unusable.then(|| "its tokens are not free".to_owned())
    }

    /// Why nobody can join now; `None` when nodes can: as long as there are no tables but those of traces.
    #[must_use]
    pub fn refusal_of_joins(&self) -> Option<String> {
        // Traces are kept for a day and answer no application: a new node may begin without them.
        let table = self.schema.tables().values().find(|table| table.keyspace != TRACES)?;
        Some(format!(
            "joining a cluster that holds user data is not supported yet: table {}.{} exists and its data would \
             not be copied to the new node; drop all tables first, or start the node with the data directory \
             that it had",
            table.keyspace, table.name
        ))
    }

    /// Checks a schema change against this state; `Ok(false)` when it has no effect and that is no error.
    ///
    /// # Errors
    /// As [`Schema::apply`] and [`Schema::check_new`]; and `Invalid`, in Cassandra's words, for a replication that
    /// cannot be.
    pub fn validate_schema(&self, change: &SchemaChange) -> Result<bool, RequestError> {
        let change = self.expanded(change);
        let effect = self.schema.apply(&change)?.is_some();
        self.schema.check_new(&change)?;
        if let Some(effect) = self.check_replication_change(&change)? {
            return Ok(effect);
        }
        match change.as_ref() {
            SchemaChange::CreateKeyspace { name, replication, .. }
            | SchemaChange::AlterKeyspace { name, replication: Some(replication), .. }
                if effect =>
            {
                self.validate_replication(name, replication)?;
            }
            _ => {}
        }
        Ok(effect)
    }

    /// The change in which `replication_factor` of `NetworkTopologyStrategy` is that of every data centre that there is
    /// and that is not named. As in Cassandra a keyspace that is altered keeps what it has of a data centre.
    fn expanded<'c>(&self, change: &'c SchemaChange) -> Cow<'c, SchemaChange> {
        let mut expanded = change.clone();
        let (name, factors) = match &mut expanded {
            SchemaChange::CreateKeyspace { name, replication: Replication::NetworkTopology { factors }, .. }
            | SchemaChange::AlterKeyspace {
                name, replication: Some(Replication::NetworkTopology { factors }), ..
            } => (name, factors),
            _ => return Cow::Borrowed(change),
        };
        let Some(factor) = factors.remove(REPLICATION_FACTOR) else { return Cow::Borrowed(change) };
        let before = match self.schema.keyspace(name).map(|keyspace| &keyspace.replication) {
            Some(Replication::NetworkTopology { factors }) => factors.clone(),
            _ => BTreeMap::new(),
        };
        for member in self.members.values() {
            let data_center = &member.data_center;
            let factor = before.get(data_center).copied().unwrap_or(factor);
            factors.entry(data_center.clone()).or_insert(factor);
        }
        Cow::Owned(expanded)
    }

    fn validate_replication(&self, keyspace: &str, replication: &Replication) -> Result<(), RequestError> {
        let positive = || RequestError::Config("Replication factor must be positive, found 0".to_owned());
        match replication {
            Replication::Simple { factor: 0 } => Err(positive()),
            Replication::Simple { .. } => Ok(()),
            Replication::NetworkTopology { factors } => {
                let known: BTreeSet<&String> = self.members.values().map(|member| &member.data_center).collect();
                if let Some(unknown) = factors.keys().find(|name| !known.contains(name)) {
                    return Err(RequestError::Config(format!(
                        "Unrecognized strategy option {{{unknown}}} passed to NetworkTopologyStrategy for \
                         keyspace {keyspace}"
                    )));
                }
                if factors.values().all(|factor| *factor == 0) { Err(positive()) } else { Ok(()) }
            }
        }
    }

    /// Where a voter or member is reached, as far as the log knows.
    #[must_use]
    pub fn address_of(&self, id: NodeId) -> Option<SocketAddr> {
        let member = self.members.get(&id).map(|member| member.addresses.internode);
        member.or_else(|| self.voters.get(&id).copied())
    }

    /// Tokens for a node that joins now: `count` of them, chosen by the load of its own data centre's nodes.
    /// A member at `replaces` is about to be replaced and counts for nothing.
    #[must_use]
    pub fn tokens_for(&self, replaces: SocketAddr, data_center: &str, count: u32) -> Vec<Token> {
        let remaining = || self.members.values().filter(|known| known.addresses.internode != replaces);
        let own_ring = ring::ring_of(remaining().filter(|known| known.data_center == data_center));
        let whole_ring = ring::ring_of(remaining());
        ring::allocate(&own_ring, &whole_ring, count)
    }
}

/// All entries and the state after them.
#[derive(Clone, Debug, Default)]
pub struct Log {
    entries: Vec<Entry>,
    state: State,
}

impl Log {
    /// The state after the last entry.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The entry of a slot, if it is applied.
    #[must_use]
    pub fn entry(&self, slot: Epoch) -> Option<&Entry> {
        let index = usize::try_from(slot.0.checked_sub(1)?).ok()?;
        self.entries.get(index)
    }

    /// All entries in order; the first is that of slot 1.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Applies the entry of the next slot.
    pub fn append(&mut self, entry: Entry) {
        self.state.apply(&entry.change);
        self.entries.push(entry);
        assert_eq!(self.state.epoch.0, self.entries.len() as u64, "M2: epoch n is the state after entry n");
    }

    /// The entries after `after`, up to `bytes_max` encoded bytes but at least one if there is one.
    #[must_use]
    pub fn page(&self, after: Epoch, bytes_max: usize) -> Vec<Entry> {
        let start = usize::try_from(after.0).unwrap_or(usize::MAX).min(self.entries.len());
        let (mut page, mut bytes) = (Vec::new(), 0);
        for entry in &self.entries[start..] {
            bytes += entry.to_bytes().len();
            if !page.is_empty() && bytes > bytes_max {
                break;
            }
            page.push(entry.clone());
        }
        page
    }
}

/// What an entry changed, for people: without the values of options, and without secrets.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::Genesis { cluster_id, founders } => {
                write!(f, "cluster {} is founded by {} nodes", NodeId(*cluster_id), founders.len())
            }
            Change::Join { member, .. } => write!(
                f,
                "node {} ({}) joins in data centre {}, rack {}",
                member.id, member.addresses.internode, member.data_center, member.rack
            ),
            Change::Update(member) => write!(f, "node {} is at {} now", member.id, member.addresses.internode),
            Change::Schema(change) => fmt_schema_change(change, f),
            Change::Voters(voters) => {
                let voters: Vec<String> = voters.iter().map(ToString::to_string).collect();
                write!(f, "the voters are {}", voters.join(", "))
            }
            Change::Recover { cluster_id, voter } => {
                write!(f, "the cluster is recovered as {}, with {voter} as its voter", NodeId(*cluster_id))
            }
        }
    }
}

fn fmt_schema_change(change: &SchemaChange, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match change {
        SchemaChange::CreateKeyspace { name, .. } => write!(f, "CREATE KEYSPACE {name}"),
        SchemaChange::AlterKeyspace { name, .. } => write!(f, "ALTER KEYSPACE {name}"),
        SchemaChange::AdvanceReplication { keyspace, .. } => {
            write!(f, "the change of the replication of keyspace {keyspace} takes its next step")
        }
        SchemaChange::DropKeyspace { name, .. } => write!(f, "DROP KEYSPACE {name}"),
        SchemaChange::CreateTable { table, .. } => write!(f, "CREATE TABLE {}.{}", table.keyspace, table.name),
        SchemaChange::AlterTable { keyspace, name, .. } => write!(f, "ALTER TABLE {keyspace}.{name}"),
        SchemaChange::DropTable { keyspace, name, .. } => write!(f, "DROP TABLE {keyspace}.{name}"),
        SchemaChange::TruncateTable { keyspace, name } => write!(f, "TRUNCATE TABLE {keyspace}.{name}"),
        SchemaChange::CreateType { definition, .. } => {
            write!(f, "CREATE TYPE {}.{}", definition.keyspace, definition.name)
        }
        SchemaChange::AlterType { keyspace, name, .. } => write!(f, "ALTER TYPE {keyspace}.{name}"),
        SchemaChange::DropType { keyspace, name, .. } => write!(f, "DROP TYPE {keyspace}.{name}"),
        SchemaChange::CreateIndex { keyspace, table, index, .. } => {
            write!(f, "CREATE INDEX {} ON {keyspace}.{table}", index.name)
        }
        SchemaChange::DropIndex { keyspace, name, .. } => write!(f, "DROP INDEX {keyspace}.{name}"),
        SchemaChange::Role(_) => f.write_str("roles and permissions are changed"),
    }
}

/// The local records of a node that has applied these entries, for [`crate::Member::recover`]: how a
/// simulation begins with a cluster that exists.
#[must_use]
pub fn records(entries: &[Entry]) -> Vec<(Bytes, Bytes)> {
    let slots = (1..).map(Epoch);
    slots.zip(entries).map(|(slot, entry)| (record::Key::Entry(slot).to_bytes(), record::value(entry))).collect()
}

/// Local records of this crate: a key under [`prefix::MEMBERSHIP`], and a value that starts with a format
/// version.
pub(crate) mod record {
    use super::*;

    const VERSION: u8 = 1;

    /// What a key names.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) enum Key {
        /// The generation of the node's last start.
        Generation,
        /// A log entry.
        Entry(Epoch),
        /// The Paxos register of a slot that is not known to be decided.
        Register(Epoch),
    }

    impl Key {
        pub(crate) fn to_bytes(self) -> Bytes {
            let mut out = prefix::MEMBERSHIP.to_vec();
            let slot = match self {
                Key::Generation => {
                    out.extend_from_slice(b"generation");
                    return Bytes::from(out);
                }
                Key::Entry(slot) => {
                    out.extend_from_slice(b"log/");
                    slot
                }
                Key::Register(slot) => {
                    out.extend_from_slice(b"paxos/");
                    slot
                }
            };
            out.extend_from_slice(&slot.0.to_be_bytes());
            Bytes::from(out)
        }

        pub(crate) fn from_bytes(key: &[u8]) -> Option<Key> {
            let rest = key.strip_prefix(prefix::MEMBERSHIP)?;
            if rest == b"generation" {
                return Some(Key::Generation);
            }
            let slot = |digits: &[u8]| digits.try_into().ok().map(|bytes| Epoch(u64::from_be_bytes(bytes)));
            match rest.strip_prefix(b"log/") {
                Some(digits) => slot(digits).map(Key::Entry),
                None => rest.strip_prefix(b"paxos/").and_then(slot).map(Key::Register),
            }
        }
    }

    pub(crate) fn value(content: &impl Encode) -> Bytes {
        let mut out = vec![VERSION];
        content.encode(&mut out);
        Bytes::from(out)
    }

    pub(crate) fn content<T: Decode>(value: &Bytes) -> Result<T, CodecError> {
        let mut reader = Reader::new(value.clone());
        match reader.u8()? {
            VERSION => {}
            newer => return Err(CodecError::Version(newer)),
        }
        let content = T::decode(&mut reader)?;
        reader.finish()?;
        Ok(content)
    }
}

pub(crate) fn put_address(out: &mut Vec<u8>, address: &SocketAddr) {
    match address {
        SocketAddr::V4(v4) => {
            out.push(4);
            out.extend_from_slice(&v4.ip().octets());
        }
        SocketAddr::V6(v6) => {
            out.push(6);
            out.extend_from_slice(&v6.ip().octets());
            v6.scope_id().encode(out);
        }
    }
    u32::from(address.port()).encode(out);
}

pub(crate) fn read_address(reader: &mut Reader) -> Result<SocketAddr, CodecError> {
    fn octets<const N: usize>(reader: &mut Reader) -> Result<[u8; N], CodecError> {
        let bytes = reader.take(N)?;
        bytes.first_chunk::<N>().copied().ok_or(CodecError::Truncated)
    }
    let (address, scope) = match reader.u8()? {
        4 => (IpAddr::V4(Ipv4Addr::from(octets::<4>(reader)?)), 0),
        6 => (IpAddr::V6(Ipv6Addr::from(octets::<16>(reader)?)), reader.varint_u32()?),
        _ => return Err(CodecError::Invalid("address family")),
    };
    let port = u16::try_from(reader.varint_u32()?).map_err(|_| CodecError::Invalid("port"))?;
    Ok(match address {
        IpAddr::V4(_) => SocketAddr::new(address, port),
        IpAddr::V6(v6) => SocketAddr::V6(SocketAddrV6::new(v6, port, 0, scope)),
    })
}

fn read_place(reader: &mut Reader) -> Result<String, CodecError> {
    let name = reader.text()?;
    if place_is_valid(&name) { Ok(name) } else { Err(CodecError::Invalid("data center or rack")) }
}

/// Whether a data centre's or rack's name can be used.
pub(crate) fn place_is_valid(name: &str) -> bool {
    !name.is_empty() && name.len() <= PLACE_BYTES_MAX
}

impl Encode for NodeAddresses {
    fn encode(&self, out: &mut Vec<u8>) {
        put_address(out, &self.internode);
        put_address(out, &self.client);
        put_address(out, &self.native);
    }
}

impl Decode for NodeAddresses {
    fn decode(reader: &mut Reader) -> Result<NodeAddresses, CodecError> {
        let (internode, client, native) = (read_address(reader)?, read_address(reader)?, read_address(reader)?);
        Ok(NodeAddresses { internode, client, native })
    }
}

impl Encode for MemberInfo {
    fn encode(&self, out: &mut Vec<u8>) {
        self.id.encode(out);
        self.addresses.encode(out);
        self.data_center.encode(out);
        self.rack.encode(out);
        put_sequence(out, &self.tokens);
    }
}

impl Decode for MemberInfo {
    fn decode(reader: &mut Reader) -> Result<MemberInfo, CodecError> {
        let (id, addresses) = (NodeId::decode(reader)?, NodeAddresses::decode(reader)?);
        let (data_center, rack) = (read_place(reader)?, read_place(reader)?);
        let tokens: Vec<Token> = reader.sequence()?;
        let ascending = tokens.is_sorted_by(|a, b| a < b);
        if !ascending || tokens.len() > TOKENS_MAX as usize || tokens.first() == Some(&Token::MINIMUM) {
            return Err(CodecError::Invalid("tokens"));
        }
        Ok(MemberInfo { id, addresses, data_center, rack, tokens })
    }
}

impl Encode for Founder {
    fn encode(&self, out: &mut Vec<u8>) {
        self.id.encode(out);
        put_address(out, &self.internode);
    }
}

impl Decode for Founder {
    fn decode(reader: &mut Reader) -> Result<Founder, CodecError> {
        Ok(Founder { id: NodeId::decode(reader)?, internode: read_address(reader)? })
    }
}

impl Encode for Entry {
    fn encode(&self, out: &mut Vec<u8>) {
        self.id.encode(out);
        match &*self.change {
            Change::Genesis { cluster_id, founders } => {
                out.push(0);
                cluster_id.encode(out);
                put_sequence(out, founders);
            }
            Change::Join { member, is_seed } => {
                out.push(1);
                member.encode(out);
                is_seed.encode(out);
            }
            Change::Update(member) => {
                out.push(2);
                member.encode(out);
            }
            Change::Schema(change) => {
                out.push(3);
                change.encode(out);
            }
            Change::Voters(voters) => {
                out.push(4);
                put_sequence(out, voters);
            }
            Change::Recover { cluster_id, voter } => {
                out.push(5);
                cluster_id.encode(out);
                voter.encode(out);
            }
        }
    }
}

impl Decode for Entry {
    fn decode(reader: &mut Reader) -> Result<Entry, CodecError> {
        let id = reader.u128()?;
        let change = match reader.u8()? {
            0 => {
                let (cluster_id, founders) = (reader.u128()?, reader.sequence::<Founder>()?);
                if founders.is_empty() || founders.len() > VOTERS_MAX {
                    return Err(CodecError::Invalid("founders"));
                }
                Change::Genesis { cluster_id, founders }
            }
            1 => Change::Join { member: MemberInfo::decode(reader)?, is_seed: reader.bool()? },
            2 => Change::Update(MemberInfo::decode(reader)?),
            3 => Change::Schema(SchemaChange::decode(reader)?),
            4 => {
                let voters = reader.sequence::<NodeId>()?;
                if voters.is_empty() || voters.len() > VOTERS_MAX || !voters.is_sorted_by(|a, b| a < b) {
                    return Err(CodecError::Invalid("voters"));
                }
                Change::Voters(voters)
            }
            5 => Change::Recover { cluster_id: reader.u128()?, voter: NodeId::decode(reader)? },
            _ => return Err(CodecError::Invalid("change")),
        };
        Ok(Entry { id, change: Arc::new(change) })
    }
}

#[cfg(test)]
#[path = "log_tests.rs"]
pub(crate) mod log_tests;
