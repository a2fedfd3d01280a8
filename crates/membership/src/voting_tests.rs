//! The set of voters follows the cluster, and a cluster goes on after it lost the majority of them.

use super::*;
use crate::recovery::recover_log;

impl World {
    fn voters(&self, index: usize) -> Vec<usize> {
        let voters = &self.view(index).voters;
        (0..self.nodes.len()).filter(|index| voters.contains(&self.id(*index))).collect()
    }

    fn fatal(&self, index: usize) -> Option<&MemberError> {
        self.nodes[index].fatal.as_ref()
    }

    /// What an operator does on a node that is down; the name of the cluster from then on.
    fn recover_log(&mut self, index: usize) -> u128 {
        let (cluster, entry) = (self.rng.next_u128(), self.rng.next_u128());
        let node = &mut self.nodes[index];
        assert!(node.member.is_none());
        let records: Vec<(Bytes, Bytes)> = node.disk.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
        let (_, write) = recover_log(&records, node.config.id, cluster, entry).unwrap();
        for (key, value) in write.records {
            match value {
                Some(value) => node.disk.insert(key, value),
                None => node.disk.remove(&key),
            };
        }
        self.other_logs.insert(cluster, Vec::new());
        cluster
    }

    /// The name of the cluster that a node belongs to.
    fn cluster_of(&self, index: usize) -> Option<u128> {
        self.nodes[index].view.as_ref().map(|view| view.cluster_id)
    }

    fn are_in(&self, cluster: u128, nodes: &[usize]) -> bool {
        let epoch = self.nodes[nodes[0]].view.as_ref().map(|view| view.epoch);
        nodes.iter().all(|index| {
            let view = self.nodes[*index].view.as_ref();
            self.cluster_of(*index) == Some(cluster) && view.map(|view| view.epoch) == epoch
        })
    }
}

/// A cluster that has settled, all of whose nodes are seeds, with keyspace `k` and a table.
fn settled(seed: u64, nodes: usize) -> World {
    let mut world = World::cluster(seed, CALM, nodes, nodes);
    world.run_until(3 * SECOND, "a cluster", |world| world.all_see(nodes));
    keyspace_with_table(&mut world);
    world.run_until(3 * SECOND, "all know the table", |world| world.all_see(nodes));
    world
}

#[test]
fn voters_grow_with_the_cluster_to_seven_and_not_beyond() {
    let mut world = World::cluster(1, CALM, 1, 1);
    world.run_until(SECOND, "a cluster of one", |world| world.all_see(1));
    for (count, voters) in [(2, 1), (3, 3), (4, 3), (5, 5), (6, 5), (7, 7), (8, 7), (9, 7)] {
        let index = world.add(1);
        world.start(index);
        world.run_until(2 * SECOND, "one more", |world| world.all_see(count));
        world.run(3 * SECOND);
        assert_eq!(world.voters(0).len(), voters, "{count} members");
        assert!(world.all_see(count));
    }
    let entries = world.log.len();
    world.run(60 * SECOND);
    assert_eq!(world.log.len(), entries, "it has come to rest");
    assert_eq!(entries, 1 + 9 + 3, "genesis, the joins, and a change of voters for each size: nobody duelled");
}

#[test]
fn a_dead_voter_is_replaced_after_its_time_and_not_before() {
    for seed in 0..20 {
        let mut world = World::cluster(seed, CALM, 5, 3);
        world.nodes[4].config.voter_patience = Duration::from_secs(10);
        world.run_until(2 * SECOND, "a cluster", |world| world.all_see(5));
        world.run_until(5 * SECOND, "five voters", |world| world.voters(0).len() == 5);
        let late = world.add(3);
        world.start(late);
        world.run_until(2 * SECOND, "a sixth member", |world| world.all_see(6));
        let entries = world.log.len();
        // One that is back in time keeps its vote.
        world.crash(1);
        world.run(8 * SECOND);
        world.start(1);
        world.run(30 * SECOND);
        assert_eq!(world.voters(0), [0, 1, 2, 3, 4], "seed {seed}");
        world.crash(1);
        world.run(9 * SECOND);
        assert_eq!(world.voters(0), [0, 1, 2, 3, 4], "seed {seed}");
        world.run_until(40 * SECOND, "another voter", |world| world.voters(0) == [0, 2, 3, 4, 5]);
        world.run(SECOND);
        assert_eq!(world.log.len(), entries + 1, "seed {seed}: one change");
        world.start(1);
        world.run(20 * SECOND);
        assert_eq!(world.voters(1), [0, 2, 3, 4, 5], "seed {seed}: and it stays so");
    }
}

#[test]
fn without_a_substitute_voters_stay() {
    let mut world = settled(3, 3);
    let entries = world.log.len();
    world.crash(2);
    world.run(120 * SECOND);
    assert_eq!((world.voters(0), world.log.len()), (vec![0, 1, 2], entries));
    assert!(world.change(1, create_keyspace("still")).is_ok());
}

#[test]
fn five_members_survive_three_losses_one_after_the_other() {
    for seed in 0..10 {
        let mut world = settled(seed, 5);
        world.crash(0);
        world.run(60 * SECOND);
        assert_eq!(world.voters(4), [0, 1, 2, 3, 4]);
        world.crash(1);
        world.run(60 * SECOND);
        assert_eq!(world.voters(4), [2, 3, 4], "seed {seed}: three that live survive one more loss");
        assert!(world.change(3, create_keyspace("two")).is_ok());
        world.crash(2);
        world.run(60 * SECOND);
        // A keyspace is acknowledged by a majority of the members, of which two are left: it is decided all the same.
        let request = world.propose(3, create_keyspace("three"));
        world.run_until(15 * SECOND, "an answer", |world| world.decided.contains_key(&request));
        assert!(world.view(4).schema.keyspace("three").is_some(), "seed {seed}");
        for index in [0, 1, 2] {
            world.start(index);
        }
        world.run_until(60 * SECOND, "all vote again", |world| world.all_see(5) && world.voters(0).len() == 5);
    }
}

#[test]
fn a_founder_that_never_joins_loses_its_vote() {
    let mut replaced = 0;
    for seed in 0..20 {
        let mut world = World::cluster(seed, CALM, 3, 3);
        // Dead before it joins, after it has promised.
        world.run_until(SECOND, "a founder", |world| !world.log.is_empty());
        world.crash(2);
        let founders = |node: &Node| Some(node.member.as_ref()?.log.state().voters.len());
        if world.nodes.iter().filter_map(founders).max() != Some(3) {
            continue;
        }
        replaced += 1;
        let late = world.add(3);
        world.start(late);
        world.run_until(60 * SECOND, "another voter", |world| {
            (0..2).all(|index| world.nodes[index].view.is_some()) && world.voters(0) == [0, 1, 3]
        });
    }
    assert!(replaced > 3, "{replaced}");
}

/// All members propose all the time, nodes die and come back, and voters are replaced as soon as they are dead.
#[test]
fn storms_of_changes_while_voters_change_leave_one_log() {
    let (mut entries, mut changes) = (0, 0);
    for seed in 0..40 {
        let mut rng = Rng::new(seed ^ 0x7073);
        let nodes = rng.between(3, 8) as usize;
        let seeds = rng.between(1, 3) as usize;
        let mut world = World::new(seed, CALM);
        for index in 0..nodes {
            world.add(seeds);
            world.nodes[index].config.voter_patience = Duration::from_millis(rng.below(1_000));
        }
        (0..nodes).for_each(|index| world.start(index));
        world.run_until(5 * SECOND, "a cluster", |world| world.all_see(nodes));
        world.faults = Faults {
            loss: rng.between(0, 200),
            duplication: rng.below(300),
            delay: (50, rng.between(500, 8_000)),
            sync: (100, rng.between(200, 15_000)),
            late_wake: 0,
        };
        for number in 0..200 {
            world.run(rng.below(150 * MILLISECOND));
            let index = rng.index(nodes);
            let down = world.nodes.iter().filter(|node| node.member.is_none()).count();
            match (&world.nodes[index].member, rng.below(20)) {
                (Some(_), 0) if 2 * down + 2 < nodes => world.crash(index),
                (Some(_), 1) => world.disturb(&mut rng),
                (Some(_), _) => {
                    world.propose(index, create_keyspace(&format!("k{number}")));
                }
                (None, 0..=2) => world.start(index),
                (None, _) => {}
            }
        }
        world.peace();
        entries += world.log.len();
        let log = world.nodes[0].member.as_ref().unwrap().log.entries();
        changes += log.iter().filter(|entry| matches!(*entry.change, Change::Voters(_))).count();
    }
    println!("{entries} entries in 40 storms, {changes} changes of voters");
    assert!(entries > 1_000 && changes > 60, "{entries}, {changes}");
}

#[test]
fn a_lost_majority_is_named_and_the_survivor_goes_on_after_a_recovery() {
    for seed in 0..20 {
        let mut world = settled(seed, 3);
        let former = world.view(0).cluster_id;
        world.crash(1);
        world.crash(2);
        let refused = world.change(0, create_keyspace("more"));
        let Err(RequestError::SchemaTimeout(reason)) = refused else { panic!("{refused:?}") };
        assert!(reason.ends_with("no majority of the 3 metadata voters decided it; 1 of them live"), "{reason}");
        let status = world.nodes[0].member.as_ref().unwrap().log_status(2);
        assert_eq!(status.waiting.unwrap(), "a majority of the 3 metadata voters, of which 1 live");
        assert_eq!(status.entries.last().unwrap().1, "CREATE TABLE k.t");
        world.crash(0);
        let cluster = world.recover_log(0);
        world.nodes[0].config.expected_cluster = Some(former);
        world.start(0);
        world.run_until(SECOND, "it serves", |world| world.cluster_of(0) == Some(cluster));
        assert_eq!((world.voters(0), world.view(0).former_cluster_ids.clone()), (vec![0], vec![former]));
        // Nobody waits for those that are lost.
        assert!(world.change(0, create_keyspace("more")).is_ok(), "seed {seed}");
        // A lost node that is behind comes back after all.
        world.start(2);
        world.run_until(3 * SECOND, "it follows", |world| world.are_in(cluster, &[0, 2]));
        assert!(world.view(2).schema.keyspace("more").is_some());
        world.start(1);
        world.run_until(10 * SECOND, "all of them", |world| world.all_see(3) && world.voters(0).len() == 3);
        assert!(world.are_in(cluster, &[0, 1, 2]), "seed {seed}");
        // Again from their disks.
        (0..3).for_each(|index| world.crash(index));
        (0..3).for_each(|index| world.start(index));
        world.run_until(3 * SECOND, "all alive again", |world| world.all_see(3));
    }
}

#[test]
fn survivors_that_lag_follow_the_recovery_and_so_do_new_nodes() {
    for seed in 0..20 {
        let mut world = World::cluster(seed, CALM, 5, 5);
        world.run_until(3 * SECOND, "a cluster", |world| world.all_see(5));
        world.crash(4);
        assert!(world.change(3, create_keyspace("late")).is_ok());
        world.run(20 * SECOND);
        (0..3).for_each(|index| world.crash(index));
        world.start(4);
        world.run(40 * SECOND);
        world.crash(3);
        let cluster = world.recover_log(3);
        world.start(3);
        // The other survivor runs all the while.
        world.run_until(5 * SECOND, "it follows", |world| world.are_in(cluster, &[3, 4]));
        assert!(world.view(4).schema.keyspace("late").is_some());
        let new = world.add(5);
        world.nodes[new].config.seeds = (0..5).map(address).collect();
        world.start(new);
        world.run_until(10 * SECOND, "a new node", |world| world.are_in(cluster, &[3, 4, new]));
        world.run_until(10 * SECOND, "three voters", |world| world.voters(3) == [3, 4, new]);
        assert!(world.change(new, create_keyspace("more")).is_ok());
    }
}

/// Nodes 0 and 1 have decided something that node 2 does not know.
fn ahead_of_the_third(seed: u64) -> World {
    let mut world = settled(seed, 3);
    world.cut.extend([(0, 2), (1, 2), (2, 0), (2, 1)]);
    world.run(10 * SECOND);
    let _ = world.change(0, create_keyspace("unknown"));
    assert!(world.view(1).schema.keyspace("unknown").is_some());
    (0..3).for_each(|index| world.crash(index));
    world.cut.clear();
    world
}

#[test]
fn lost_nodes_that_are_ahead_of_the_recovery_stop_and_say_what_to_do() {
    for seed in 0..20 {
        let mut world = ahead_of_the_third(seed);
        let cluster = world.recover_log(2);
        world.start(2);
        world.run(40 * SECOND);
        // A majority of the old voters, but it was away.
        world.start(0);
        if seed % 2 == 0 {
            world.start(1);
        }
        world.run(10 * SECOND);
        let Some(error @ MemberError::LeftBehind { theirs, .. }) = world.fatal(0) else {
            panic!("seed {seed}: {:?} {}", world.fatal(0), world.describe())
        };
        assert_eq!(*theirs, cluster);
        let text = error.to_string();
        assert!(text.contains("it cannot follow") && text.contains("empty one to join as a new node"), "{text}");
        assert_eq!(world.fatal(1).is_some(), seed % 2 == 0, "seed {seed}");
        assert!(world.fatal(2).is_none());
        assert!(world.change(2, create_keyspace("more")).is_ok());
    }
}

#[test]
fn of_two_nodes_that_were_both_recovered_neither_follows_the_other() {
    for seed in 0..20 {
        let mut world = settled(seed, 3);
        (0..3).for_each(|index| world.crash(index));
        let clusters = [world.recover_log(1), world.recover_log(2)];
        world.start(1);
        if seed % 2 == 0 {
            // The one that has run for a while stays.
            world.run(40 * SECOND);
        }
        world.start(2);
        world.run(20 * SECOND);
        let left = |index| matches!(world.fatal(index), Some(MemberError::LeftBehind { .. }));
        assert!(left(2), "seed {seed}: {:?}", world.fatal(2));
        assert_eq!(left(1), seed % 2 == 1, "seed {seed}: {:?}", world.fatal(1));
        if seed % 2 == 0 {
            assert_eq!(world.cluster_of(1), Some(clusters[0]));
        }
    }
}

#[test]
fn a_recovery_by_mistake_does_not_end_a_cluster_that_lives() {
    for seed in 0..20 {
        let mut world = settled(seed, 3);
        world.run(60 * SECOND);
        world.crash(2);
        if seed % 2 == 0 {
            assert!(world.change(0, create_keyspace("since")).is_ok());
        }
        world.recover_log(2);
        world.start(2);
        world.run(10 * SECOND);
        let Some(error @ MemberError::RecoveredInVain { .. }) = world.fatal(2) else {
            panic!("seed {seed}: {:?} {}", world.fatal(2), world.describe())
        };
        assert!(error.to_string().contains("a majority of the voters of that one lives"));
        assert!(world.fatal(0).is_none() && world.fatal(1).is_none());
        assert!(world.change(1, create_keyspace("more")).is_ok(), "seed {seed}");
    }
}

#[test]
fn what_is_no_member_cannot_be_recovered() {
    let none = recover_log(&[], NodeId(1), 2, 3).unwrap_err().to_string();
    assert_eq!(none, "the metadata log cannot be recovered here: the node belongs to no cluster");
    let founders = vec![Founder { id: NodeId(1), internode: address(0) }];
    let genesis = Entry { id: 1, change: Arc::new(Change::Genesis { cluster_id: 5, founders }) };
    let founder = recover_log(&crate::log::records(&[genesis]), NodeId(1), 2, 3).unwrap_err().to_string();
    assert_eq!(founder, "the metadata log cannot be recovered here: the node has not joined its cluster");
}

/// A majority is lost under faults, the survivor with the longest log is recovered while all come back as they like.
/// In the end each node has the recovered log, or has stopped because its own goes on otherwise.
fn recover_under_faults(seed: u64, bug: Option<model::Planted>) {
    let mut rng = Rng::new(seed ^ 0x4ec0);
    let nodes = rng.between(3, 5) as usize;
    let mut world = World::cluster(seed, CALM, nodes, nodes);
    world.bug = bug;
    world.run_until(3 * SECOND, "a cluster", |world| world.all_see(nodes));
    (0..nodes).for_each(|index| world.crash(index));
    (0..nodes).for_each(|index| world.start(index));
    world.faults = Faults { sync: (100, 30_000), delay: (50, rng.between(300, 20_000)), ..random_faults(&mut rng) };
    for number in 0..rng.between(2, 12) {
        world.run(rng.below(300 * MILLISECOND));
        let index = rng.index(nodes);
        if world.nodes[index].member.is_some() {
            world.propose(index, create_keyspace(&format!("k{number}")));
        }
    }
    (0..nodes).filter(|index| world.nodes[*index].member.is_some()).collect::<Vec<_>>().into_iter().for_each(|index| {
        world.run(rng.below(20 * MILLISECOND));
        world.crash(index);
    });
    let epoch = |world: &World, index: usize| {
        let node = &world.nodes[index];
        let records: Vec<(Bytes, Bytes)> = node.disk.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
        crate::recovery::log_status(&records, node.config.id, 0).unwrap().epoch
    };
    // Lost are the first ones, a majority.
    let lost = nodes / 2 + 1;
    let survivor = (lost..nodes).max_by_key(|index| epoch(&world, *index)).unwrap();
    let slot = epoch(&world, survivor).next();
    let ahead: Vec<usize> = (0..nodes).filter(|index| epoch(&world, *index) >= slot).collect();
    let cluster = world.recover_log(survivor);
    world.start(survivor);
    for index in lost..nodes {
        if index != survivor {
            world.run(rng.below(SECOND));
            world.start(index);
        }
    }
    world.run(rng.below(40 * SECOND));
    world.propose(survivor, create_keyspace("recovered"));
    for index in 0..lost {
        world.run(rng.below(2 * SECOND));
        world.start(index);
    }
    world.run(20 * SECOND);
    world.faults = CALM;
    for index in 0..nodes {
        if world.nodes[index].member.is_none() && world.fatal(index).is_none() {
            world.start(index);
        }
    }
    world.run(20 * SECOND);
    for index in 0..nodes {
        let left = matches!(world.fatal(index), Some(MemberError::LeftBehind { .. }));
        assert_eq!(
            left,
            ahead.contains(&index),
            "seed {seed}, node {index}: {:?}{}",
            world.fatal(index),
            world.describe()
        );
    }
    let followers: Vec<usize> = (0..nodes).filter(|index| !ahead.contains(index)).collect();
    assert!(world.are_in(cluster, &followers), "seed {seed}: {}", world.describe());
    assert!(world.view(survivor).schema.keyspace("recovered").is_some());
}

#[test]
fn recoveries_under_faults_leave_one_log_under_each_name() {
    for seed in 0..150 {
        recover_under_faults(seed, None);
    }
}

/// Bugs of recoveries have their scenario here: no other has a cluster that is recovered.
#[cfg(feature = "planted")]
#[test]
fn bugs_of_recoveries_are_caught() {
    use model::Planted;
    for bug in [Planted::FormerClusterHeard, Planted::RecoveryFollowedFromBeyond] {
        let fails = |seed: &u64| {
            let run = std::panic::AssertUnwindSafe(|| recover_under_faults(*seed, Some(bug)));
            std::panic::catch_unwind(run).is_err()
        };
        let seed = (0..150).find(fails).unwrap_or_else(|| panic!("{bug:?} is not caught"));
        println!("{}: caught by seed {}", bug.name(), seed + 1);
    }
}
