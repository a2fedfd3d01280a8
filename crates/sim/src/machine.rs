//! One simulated machine: a disk and two clocks, which outlive its process, and the process: the production
//! `Member` and `Shard`s with the inbox in front of them.
//!
//! Invariants:
//! * Whatever the process knows is gone with it but for what the disk gives back.
//! * One reading of the clocks serves all inputs that are handled together, as in production.
//! * Writes go to the disk in groups in the order in which they were asked for; while one group is being
//!   synced the next one gathers.

use crate::clock::{Clock, TrueTime};
use crate::disk::SimDisk;
use crate::world::Build;
use membership::{ClusterView, Member, MemberConfig, MemberError, NodeAddresses};
use model::local::prefix;
use model::{NodeId, Now, Rng};
use node::{OpId, Recovered, RepairsStatus, RequestId, Shard, ShardConfig, Storage, StorageError, Write};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// Something for a process.
#[derive(Debug)]
pub(crate) enum Letter {
    /// For its member.
    Member(membership::Input),
    /// For one of its shards.
    Shard(u16, node::Input),
    /// For whoever is due.
    Wake,
}

/// Who asked for a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asker {
    /// The member, with its own number for it.
    Member(u64),
    /// A shard.
    Shard(OpId),
}

/// The writes that wait for the disk, and those on their way.
#[derive(Default)]
pub(crate) struct WriteQueue {
    /// Not handed to the disk yet.
    pub(crate) waiting: Vec<(Asker, Write)>,
    /// Handed to the disk, in this order, with what it said; not synced yet.
    pub(crate) staged: Vec<(Asker, Result<(), node::StorageError>)>,
    /// True while a group is on its way.
    pub(crate) busy: bool,
    /// The last write of each shard that is applied and not synced.
    pub(crate) unsynced: BTreeMap<u16, OpId>,
}

/// A running process.
pub(crate) struct Process {
    pub(crate) member: Member,
    /// None before the node has joined.
    pub(crate) shards: Vec<Shard>,
    /// The view that the member has published last.
    pub(crate) view: Option<Arc<ClusterView>>,
    pub(crate) writes: WriteQueue,
    /// Client requests that are not answered yet.
    pub(crate) requests: BTreeSet<RequestId>,
    /// When it is going to be woken.
    pub(crate) wake_at: Option<TrueTime>,
}

/// One machine.
pub(crate) struct Machine {
    pub(crate) index: usize,
    /// The node that lives here.
    pub(crate) id: NodeId,
    pub(crate) shards: u16,
    pub(crate) address: SocketAddr,
    pub(crate) clock: Clock,
    pub(crate) disk: SimDisk,
    /// Counts the starts of its process: what is addressed to an earlier one is discarded.
    pub(crate) incarnation: u64,
    pub(crate) process: Option<Process>,
    pub(crate) inbox: VecDeque<Letter>,
    /// True while a handling of the inbox is scheduled.
    pub(crate) runs: bool,
    pub(crate) paused_until: TrueTime,
    pub(crate) slowness: u64,
    pub(crate) read_errors: u64,
    pub(crate) fail_next_sync: bool,
    /// What its process has said last of its repairs.
    pub(crate) repairs: Arc<RepairsStatus>,
}

impl Machine {
    /// A machine without a process.
    pub(crate) fn new(index: usize, id: NodeId, shards: u16, clock: Clock) -> Machine {
        Machine {
            index,
            id,
            shards,
            address: address(index),
            clock,
            disk: SimDisk::new(),
            incarnation: 0,
            process: None,
            inbox: VecDeque::new(),
            runs: false,
            paused_until: 0,
            slowness: 1,
            read_errors: 0,
            fail_next_sync: false,
            repairs: Arc::default(),
        }
    }

    /// A process as it starts on what the disk holds.
    pub(crate) fn new_process(&self, build: &Build, seed: u64, now: Now) -> Result<Process, MemberError> {
        let config = MemberConfig {
            id: self.id,
            addresses: NodeAddresses {
                internode: self.address,
                client: SocketAddr::new(self.address.ip(), 7042),
                native: SocketAddr::new(self.address.ip(), 9042),
            },
            data_center: Build::data_center_name(build.data_center(self.index)),
            rack: format!("rack{}", self.index / build.data_centers % 3),
            num_tokens: build.tokens,
            seeds: (0..build.seeds).map(address).collect(),
            holds_data: !self.disk.tables().is_empty(),
            expected_cluster: None,
            voter_patience: build.voter_patience,
        };
        let damaged = |error: StorageError| MemberError::Corrupt(error.to_string());
        let records = self.disk.local_records(prefix::MEMBERSHIP).map_err(damaged)?;
        #[cfg_attr(not(feature = "planted"), expect(unused_mut, reason = "a bug may be switched on"))]
        let mut member = Member::recover(config, &records, seed, now)?;
        #[cfg(feature = "planted")]
        member.plant(build.planted);
        Ok(Process {
            member,
            shards: Vec::new(),
            view: None,
            writes: WriteQueue::default(),
            requests: BTreeSet::new(),
            wake_at: None,
        })
    }

    /// The shards of a process, once it has its first view.
    pub(crate) fn new_shards(
        &self,
        build: &Build,
        view: &Arc<ClusterView>,
        rng: &mut Rng,
        now: Now,
    ) -> Result<Vec<Shard>, StorageError> {
        let mut records = self.disk.local_records(prefix::NODE)?;
        records.extend(self.disk.local_records(prefix::BATCHES)?);
        let recovered = Recovered::from_local_records(&records, self.disk.hint_targets()?)?;
        let alive =
            Arc::new(self.process.as_ref().map_or_else(BTreeSet::new, |process| process.member.alive().clone()));
        let shard = |index| {
            let config = self.shard_config(build, index, rng);
            Shard::new(config, view.clone(), alive.clone(), recovered.clone(), rng.next_u64(), now)
        };
        Ok((0..self.shards).map(shard).collect())
    }

    /// Production's configuration; where limits are drawn, some of them small and some times short enough to matter.
    fn shard_config(&self, build: &Build, index: u16, rng: &mut Rng) -> ShardConfig {
        let mut config = ShardConfig::new(self.id, index, self.shards);
        config.durability = build.durability;
        config.replica_ops_max = build.replica_ops_max;
        config.repairs.every = build.repairs_every.map(Duration::from_micros);
        config.retry_window = build.retry_window;
        config.repair_look_every = Duration::from_secs(1);
        config.repair_timeout = Duration::from_secs(2);
        // Short pages, of another length on each node.
        config.repair_page_bytes = [1, 100, 500, 1024 * 1024][(self.id.0 % 4) as usize];
        if build.draw_limits {
            let mut chosen = |choices: &[u64]| choices[rng.index(choices.len())];
            config.requests_max = chosen(&[4, 16_384, 16_384]) as usize;
            config.request_bytes_max = chosen(&[2_000, 1 << 28, 1 << 28]) as usize;
            config.parked_max = chosen(&[1, 4_096]) as usize;
            config.hints_in_flight_max = chosen(&[1, 4, 128]) as usize;
            config.hint_page_bytes = chosen(&[1, 300, 1024 * 1024]) as u32;
            config.hint_poll_every = Duration::from_millis(chosen(&[500, 10_000]));
            config.hint_timeout = Duration::from_millis(chosen(&[300, 5_000]));
            config.catch_up_timeout = Duration::from_millis(chosen(&[50, 1_000]));
            config.peer_response_after = Duration::from_millis(chosen(&[2, 50]));
            config.batch_replay_after = Duration::from_millis(chosen(&[1_000, 10_000]));
            config.timestamp_reserve = Duration::from_millis(chosen(&[20, 10_000]));
        }
        #[cfg(feature = "planted")]
        {
            config.planted = build.planted;
        }
        config
    }
}

/// The address of a machine for other machines.
pub(crate) fn address(index: usize) -> SocketAddr {
    let [_, _, high, low] = (index as u32 + 1).to_be_bytes();
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, high, low)), 7000)
}

/// The machine of an address; `None` for addresses that no machine has.
pub(crate) fn machine_at(address: SocketAddr) -> Option<usize> {
    match address.ip() {
        IpAddr::V4(ip) => {
            let [ten, zero, high, low] = ip.octets();
            let number = u32::from_be_bytes([0, 0, high, low]);
            (ten == 10 && zero == 0).then(|| number.checked_sub(1)).flatten().map(|index| index as usize)
        }
        IpAddr::V6(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_machines_are_one_to_one() {
        for index in [0, 1, 254, 255, 256, 999] {
            assert_eq!(machine_at(address(index)), Some(index));
        }
        assert_eq!(machine_at("10.0.0.0:7000".parse().unwrap()), None);
        assert_eq!(machine_at("[::1]:7000".parse().unwrap()), None);
    }
}
