//! Comparisons, over the most naive store: whatever the pages, the buckets and what was purged before, replicas differ
//! exactly where their normal forms do.

use super::*;
use crate::answer::AnswerError;
use crate::deletion::tests::deletions;
use crate::mutation::RecordKey;
use crate::row::Row;
use crate::row::tests::row;
use crate::scan::tests::{Stored, partition_key, try_scan};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const NOW: u32 = 10;

type Store = BTreeMap<PartitionKey, Stored>;

fn purge(gc_before_seconds: u32) -> Purge {
    Purge { now_seconds: NOW, gc_before_seconds, ..Purge::default() }
}

/// Deletions of positions among which clustering keys lie.
fn shifted(deletions: &PartitionDeletions) -> PartitionDeletions {
    let partition = deletions.partition().map_or_else(PartitionDeletions::default, PartitionDeletions::of_partition);
    let shift = |position: &Bytes| Bytes::from(position.iter().map(|byte| byte + 0x38).collect::<Vec<_>>());
    deletions.ranges().iter().fold(partition, |all, range| {
        all.merge(&PartitionDeletions::of_range(shift(&range.start), shift(&range.end), range.deletion))
    })
}

fn stored() -> impl Strategy<Value = Stored> {
    let clustering = (0x38u8..0x40).prop_map(|byte| Bytes::from(vec![byte]));
    let rows = prop::collection::btree_map(clustering, row().prop_map(|row| row.to_bytes()), 0..6);
    let ranges =
        prop_oneof![deletions().prop_map(|deletions| shifted(&deletions)), Just(PartitionDeletions::default())];
    (ranges, row().prop_map(|row| row.to_bytes()), rows).prop_map(|(deletions, static_row, rows)| Stored {
        deletions,
        static_row,
        rows,
    })
}

fn store() -> impl Strategy<Value = Store> {
    prop::collection::btree_map(partition_key(), stored(), 0..5)
}

/// Two stores that have much in common.
fn stores() -> impl Strategy<Value = (Store, Store)> {
    (store(), store(), any::<u8>()).prop_map(|(mut one, mut other, mix)| {
        // One key has one token.
        let mut tokens = BTreeMap::new();
        let mut is_key = |key: &PartitionKey| *tokens.entry(key.bytes.clone()).or_insert(key.token) == key.token;
        one.retain(|key, _| is_key(key));
        other.retain(|key, _| is_key(key));
        let mut mixed = one.clone();
        for (index, (key, stored)) in other.into_iter().enumerate() {
            if mix >> (index % 8) & 1 == 1 {
                mixed.insert(key, stored);
            }
        }
        (one, mixed)
    })
}

fn command(detail: Detail, purge: &Purge) -> CompareCommand {
    CompareCommand {
        table: TableId(1),
        range: TokenRange::ALL,
        after: None,
        ends: Vec::new(),
        to: None,
        bucket_bytes: u32::MAX,
        bytes_limit: u32::MAX,
        purge: purge.clone(),
        detail,
    }
}

fn page(store: &Store, command: &CompareCommand) -> Compared {
    assert_eq!(command.validate(), Ok(()));
    let scan = |scan: &ScanCommand| {
        assert_eq!(scan.validate(), Ok(()));
        try_scan(store, scan).map_err(|error| match error {
            AnswerError::Damaged(error) => error,
            AnswerError::TooManyTombstones { .. } => panic!("no limit"),
        })
    };
    compare(command, scan).unwrap()
}

/// All pages of a command.
fn pages(store: &Store, command: &CompareCommand) -> Vec<Compared> {
    let mut command = command.clone();
    let mut pages = Vec::new();
    loop {
        let page = page(store, &command);
        let stopped = page.stopped.clone();
        pages.push(page);
        let Some(stopped) = stopped.filter(|stopped| command.to.as_ref() != Some(stopped)) else { return pages };
        command.ends.retain(|end| *end > stopped);
        command.after = Some(stopped);
    }
}

fn buckets(page: &Compared) -> &[Bucket] {
    match &page.content {
        Content::Buckets(buckets) => buckets,
        other => panic!("{other:?}"),
    }
}

/// The digests of all records of a store, in pages up to common positions.
fn records(store: &Store, command: &CompareCommand) -> BTreeSet<(u64, u64, u128)> {
    let mut all = BTreeSet::new();
    for page in pages(store, command) {
        let Content::Records(partitions) = page.content else { panic!("no digests of records") };
        for PartitionDigests { partition, records } in partitions {
            all.extend(records.into_iter().map(|(record, digest)| (partition, record, digest)));
        }
    }
    all
}

/// A state as a replica with this purge would hold it after a sweep.
fn swept(store: &Store, purge: &Purge) -> Store {
    let normal = |bytes: &Bytes, covering| {
        let mut row = Row::from_bytes(bytes).unwrap();
        if let Some(deletion) = covering {
            row.delete(deletion);
        }
        row.normalize(purge);
        row.to_bytes()
    };
    let sweep = |stored: &Stored| Stored {
        deletions: stored.deletions.without_garbage(purge),
        static_row: normal(&stored.static_row, stored.deletions.partition()),
        rows: stored.rows.iter().map(|(key, row)| (key.clone(), normal(row, stored.deletions.covering(key)))).collect(),
    };
    store.iter().map(|(key, stored)| (key.clone(), sweep(stored))).collect()
}

/// What of a store counts, record by record.
fn normal(store: &Store, purge: &Purge) -> BTreeMap<(PartitionKey, RecordKey), Bytes> {
    let mut all = BTreeMap::new();
    for (key, stored) in swept(store, purge) {
        let rows = stored.rows.into_iter().map(|(clustering, row)| (RecordKey::Row(clustering), row));
        for (record, row) in rows.chain([(RecordKey::Static, stored.static_row)]) {
            if !Row::from_bytes(&row).unwrap().is_empty() {
                all.insert((key.clone(), record), row);
            }
        }
        if !stored.deletions.is_empty() {
            all.insert((key, RecordKey::Deletions), stored.deletions.to_bytes());
        }
    }
    all
}

proptest! {
    #[test]
    fn records_differ_exactly_where_normal_forms_do((one, other) in stores(), gc_before in 0u32..4) {
        let purge = purge(gc_before);
        let command = command(Detail::Records, &purge);
        let digests = |store: &Store| records(store, &command);
        let states = |store: &Store| normal(store, &purge).into_iter().collect::<BTreeSet<_>>();
        let differing = |a: BTreeSet<(u64, u64, u128)>, b| a.symmetric_difference(&b).count();
        let expected = states(&one).symmetric_difference(&states(&other)).count();
        prop_assert_eq!(differing(digests(&one), digests(&other)), expected);
        prop_assert_eq!(digests(&one), digests(&swept(&one, &purge)), "what was purged does not show");
    }

    #[test]
    fn buckets_do_not_depend_on_where_pages_end(
        (leader, follower) in stores(), gc_before in 0u32..4, bucket_bytes in 1u32..200, bytes_limit in 1u32..400,
    ) {
        let purge = purge(gc_before);
        let whole = CompareCommand { bucket_bytes, ..command(Detail::Buckets, &purge) };
        let ends = buckets(&page(&leader, &whole)).iter().filter_map(|bucket| bucket.end.clone()).collect::<Vec<_>>();
        let asked = CompareCommand { ends, ..command(Detail::Buckets, &purge) };
        let once = page(&follower, &asked);
        prop_assert_eq!(buckets(&once).len(), asked.ends.len() + 1);
        // The same buckets, put together from short pages.
        let mut sums: BTreeMap<Option<ComparePosition>, u128> = BTreeMap::new();
        let end_of = |position: &Option<ComparePosition>| {
            let position = position.as_ref()?;
            asked.ends.iter().find(|end| *end >= position).cloned()
        };
        for page in pages(&follower, &CompareCommand { bytes_limit, ..asked.clone() }) {
            for bucket in buckets(&page) {
                let sum = sums.entry(end_of(&bucket.end)).or_default();
                *sum = sum.wrapping_add(bucket.digest);
            }
        }
        // A page that ends within a partition cuts its deletions: then only the buckets without are the same.
        let cut = follower.values().any(|stored| !stored.deletions.is_empty());
        for bucket in buckets(&once).iter().filter(|_| !cut) {
            prop_assert_eq!(sums.get(&bucket.end).copied().unwrap_or(0), bucket.digest);
        }
    }

    #[test]
    fn replicas_agree_bucket_by_bucket_exactly_where_their_states_do(
        (one, other) in stores(), gc_before in 0u32..4, bucket_bytes in 1u32..200,
    ) {
        let purge = purge(gc_before);
        let lead = page(&one, &CompareCommand { bucket_bytes, ..command(Detail::Buckets, &purge) });
        let ends: Vec<_> = buckets(&lead).iter().filter_map(|bucket| bucket.end.clone()).collect();
        let follow = page(&other, &CompareCommand { ends, ..command(Detail::Buckets, &purge) });
        let equal = buckets(&lead).iter().zip(buckets(&follow)).all(|(a, b)| a == b);
        prop_assert_eq!(buckets(&lead).len(), buckets(&follow).len());
        prop_assert_eq!(equal, normal(&one, &purge) == normal(&other, &purge));
    }

    #[test]
    fn every_page_is_bounded_and_goes_on(store in store(), bytes_limit in 1u32..300) {
        let command = CompareCommand { bytes_limit, ..command(Detail::Records, &purge(0)) };
        let all = pages(&store, &command);
        let rows: u64 = all.iter().map(|page| page.rows).sum();
        prop_assert_eq!(rows, page(&store, &CompareCommand { bytes_limit: u32::MAX, ..command.clone() }).rows);
        let ends: Vec<_> = all.iter().filter_map(|page| page.stopped.clone()).collect();
        prop_assert!(ends.windows(2).all(|pair| pair[0] < pair[1]));
        prop_assert_eq!(ends.len() + 1, all.len());
    }

    #[test]
    fn the_data_of_records_is_as_it_is_stored(store in store(), gc_before in 0u32..4, every in 1usize..4) {
        // Hashes tell partitions by their keys: a key has one token.
        prop_assume!(store.keys().map(|key| &key.bytes).collect::<BTreeSet<_>>().len() == store.len());
        let purge = purge(gc_before);
        let Content::Records(all) = page(&store, &command(Detail::Records, &purge)).content else { panic!() };
        let mut wanted: Vec<WantedRecords> = all.iter().map(|partition| {
            let mut records: Vec<u64> = partition.records.iter().step_by(every).map(|(record, _)| *record).collect();
            records.sort_unstable();
            WantedRecords { partition: partition.partition, records }
        }).collect();
        wanted.sort_by_key(|wanted| wanted.partition);
        let fetched = page(&store, &command(Detail::Data(wanted.clone()), &purge));
        let Content::Data(data) = fetched.content else { panic!() };
        for (key, data) in &data {
            let stored = &store[key];
            prop_assert_eq!(&data.deletions, &stored.deletions, "all deletions come along");
            for (clustering, row) in &data.rows {
                let mut expected = Row::from_bytes(&stored.rows[clustering]).unwrap();
                stored.deletions.covering(clustering).into_iter().for_each(|deletion| expected.delete(deletion));
                prop_assert_eq!(row, &expected.to_bytes());
            }
        }
        let rows: usize = data.iter().map(|(_, data)| data.rows.len() + usize::from(data.static_row.is_some())).sum();
        let named: usize = wanted.iter().map(|wanted| wanted.records.len()).sum();
        let deletions = hash(&[HASHED_DELETIONS]);
        let of_deletions = wanted.iter().filter(|wanted| wanted.records.contains(&deletions)).count();
        prop_assert_eq!(rows, named - of_deletions);
    }

    #[test]
    fn commands_and_pages_survive_the_codec(store in store(), bytes_limit in 1u32..300, bucket_bytes in 1u32..99) {
        let wanted = vec![WantedRecords { partition: u64::MAX, records: vec![0, 7] }];
        for detail in [Detail::Buckets, Detail::Records, Detail::Data(wanted)] {
            let command = CompareCommand { bytes_limit, bucket_bytes, ..command(detail, &purge(3)) };
            let pages = pages(&store, &command);
            let last = pages.iter().filter_map(|page| page.stopped.clone()).next_back();
            let command = CompareCommand { after: last, ..command };
            prop_assert_eq!(CompareCommand::from_bytes(&command.to_bytes()), Ok(command));
            for page in pages {
                let bytes = page.to_bytes();
                for end in 0..bytes.len() {
                    prop_assert!(Compared::from_bytes(&bytes.slice(..end)).is_err());
                }
                prop_assert_eq!(Compared::from_bytes(&bytes), Ok(page));
            }
        }
    }

    #[test]
    fn any_bytes_decode_or_fail_without_panic(bytes: Vec<u8>) {
        let _ = CompareCommand::from_bytes(&Bytes::from(bytes.clone()));
        let _ = Compared::from_bytes(&Bytes::from(bytes));
    }
}
