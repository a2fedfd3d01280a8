//! Scans: their encoding, and that pages put together are one page without limits, over the most naive store.

use super::*;
use crate::answer::AnswerError;
use crate::deletion::tests::deletions;
use crate::read::tests::{read_data, slices};
use crate::row::tests::row;
use crate::token::Token;
use proptest::prelude::*;
use std::collections::BTreeMap;

const NOW: u32 = 10;

/// Few tokens, so that some partitions share one, and keys of different lengths.
pub(crate) fn partition_key() -> impl Strategy<Value = PartitionKey> {
    let length = prop_oneof![0usize..3, 126usize..131];
    (-2i64..3, length, 0u8..2)
        .prop_map(|(token, length, byte)| PartitionKey { token: Token(token), bytes: Bytes::from(vec![byte; length]) })
}

fn range() -> impl Strategy<Value = TokenRange> {
    let token = || prop_oneof![Just(i64::MIN), Just(i64::MAX), -3i64..4];
    (token(), token()).prop_filter_map("not empty", |(start, end)| {
        (start < end).then_some(TokenRange { start: Token(start), end: Token(end) })
    })
}

/// A partition as it is stored.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stored {
    pub(crate) deletions: PartitionDeletions,
    pub(crate) static_row: Bytes,
    pub(crate) rows: BTreeMap<Bytes, Bytes>,
}

fn stored() -> impl Strategy<Value = Stored> {
    let encoded = || row().prop_map(|row| row.to_bytes());
    let clustering = prop::collection::vec(0u8..4, 1..3).prop_map(Bytes::from);
    let rows = prop::collection::btree_map(clustering, encoded(), 0..8);
    (deletions(), encoded(), rows).prop_map(|(deletions, static_row, rows)| Stored { deletions, static_row, rows })
}

fn store() -> impl Strategy<Value = BTreeMap<PartitionKey, Stored>> {
    prop::collection::btree_map(partition_key(), stored(), 0..8)
}

fn command() -> impl Strategy<Value = ScanCommand> {
    (any::<u128>(), range(), slices(), any::<(bool, bool)>()).prop_map(|(table, range, slices, (static_row, bulk))| {
        ScanCommand {
            table: TableId(table),
            range,
            resume: None,
            slices,
            static_row,
            row_limit: u32::MAX,
            per_partition_limit: u32::MAX,
            bytes_limit: u32::MAX,
            now_seconds: NOW,
            tombstone_limit: u32::MAX,
            bulk,
            dropped_columns: vec![(ColumnId(3), i64::from(NOW))],
        }
    })
}

fn scan(store: &BTreeMap<PartitionKey, Stored>, command: &ScanCommand) -> ScanData {
    try_scan(store, command).unwrap()
}

/// A page, by looking at everything.
pub(crate) fn try_scan(store: &BTreeMap<PartitionKey, Stored>, command: &ScanCommand) -> Result<ScanData, AnswerError> {
    let mut page = ScanAnswer::new(command);
    let start = page.start();
    for (partition, stored) in store {
        let begun = match &start {
            ScanStart::Range => true,
            ScanStart::At(first) => partition >= first,
            ScanStart::After(last) => partition > last,
        };
        if !begun || !command.range.contains(partition.token) {
            continue;
        }
        let mut answer = page.partition(partition, stored.deletions.clone());
        answer.set_static_row(&stored.static_row)?;
        let wanted = page.slices(partition);
        let mut rows = stored.rows.iter().filter(|(key, _)| wanted.iter().any(|slice| slice.contains(key)));
        while let Some((clustering, row)) = rows.next()
            && answer.push(clustering, row)?
        {}
        let answer = answer.finish_partition()?;
        if !page.push(partition.clone(), answer) {
            break;
        }
    }
    Ok(page.finish())
}

/// All pages put together, and the largest number of live rows in one.
fn pages(store: &BTreeMap<PartitionKey, Stored>, command: &ScanCommand) -> (Vec<(PartitionKey, ReadData)>, u32) {
    let mut whole: Vec<(PartitionKey, ReadData)> = Vec::new();
    let (mut command, mut most) = (command.clone(), 0);
    loop {
        let page = scan(store, &command);
        let live = |data: &ReadData| data.rows.iter().filter(|(_, row)| is_live(row)).count() as u32;
        most = most.max(page.partitions.iter().map(|(_, data)| live(data)).sum());
        for (partition, data) in page.partitions {
            assert_ne!(data, ReadData::default());
            match whole.last_mut().filter(|(last, _)| *last == partition) {
                None => whole.push((partition, data)),
                Some((_, begun)) => {
                    assert!(begun.more);
                    assert_eq!(begun.static_row, data.static_row);
                    begun.deletions = begun.deletions.merge(&data.deletions);
                    begun.rows.extend(data.rows);
                    begun.more = data.more;
                }
            }
        }
        match page.next {
            // A page can end at what was the end of the whole: then nothing more is in it.
            None => return (whole, most),
            Some(next) => {
                assert_ne!(command.resume.as_ref(), Some(&next), "a page gets on");
                command.resume = Some(next);
            }
        }
    }
}

fn is_live(row: &[u8]) -> bool {
    crate::row::summarize(row, i64::from(NOW)).unwrap().live
}

/// Without what differs between parts of a partition and the whole of it.
fn comparable(partitions: &[(PartitionKey, ReadData)]) -> Vec<(PartitionKey, ReadData)> {
    let plain = |data: &ReadData| ReadData { more: false, tombstones: 0, ..data.clone() };
    partitions.iter().map(|(partition, data)| (partition.clone(), plain(data))).collect()
}

proptest! {
    #[test]
    fn encodings_round_trip(
        command in command(), limits: [u32; 4], key in partition_key(), within: Option<(Vec<u8>, u32)>,
        partitions in prop::collection::vec((partition_key(), read_data()), 0..3),
    ) {
        let within = within.map(|(last, rows_left)| PositionWithin { last: Bytes::from(last), rows_left });
        let position = ScanPosition { partition: key, within };
        let [row_limit, per_partition_limit, bytes_limit, tombstone_limit] = limits;
        let resume = Some(position.clone());
        let command =
            ScanCommand { row_limit, per_partition_limit, bytes_limit, tombstone_limit, resume, ..command };
        let decoded = ScanCommand::from_bytes(&command.to_bytes());
        prop_assert_eq!(decoded, command.validate().map(|()| command));
        let data = ScanData { partitions, next: Some(position) };
        prop_assert_eq!(ScanData::from_bytes(&data.to_bytes()), Ok(data));
    }

    #[test]
    fn any_bytes_decode_or_fail_without_panic(bytes: Vec<u8>, command in command(), at: prop::sample::Index, to: u8) {
        let mut changed = command.to_bytes().to_vec();
        let at = at.index(changed.len());
        changed[at] = to;
        for bytes in [Bytes::from(bytes), Bytes::from(changed)] {
            let _ = ScanData::from_bytes(&bytes);
            if let Ok(command) = ScanCommand::from_bytes(&bytes) {
                prop_assert_eq!(command.validate(), Ok(()));
                prop_assert_eq!(command.to_bytes(), bytes);
            }
        }
    }

    #[test]
    fn pages_put_together_are_one_page_without_limits(
        store in store(), command in command(), per_partition_limit in prop_oneof![Just(u32::MAX), 1u32..4],
        row_limit in prop_oneof![Just(u32::MAX), 1u32..6], bytes_limit in prop_oneof![Just(u32::MAX), 1u32..400],
    ) {
        let unlimited = scan(&store, &command);
        prop_assert_eq!(&unlimited.next, &None);
        let command = ScanCommand { per_partition_limit, ..command };
        let whole = scan(&store, &command);
        prop_assert_eq!(&whole.next, &None);
        // The limit per partition takes each partition up to its live row of that number.
        prop_assert_eq!(whole.partitions.len(), unlimited.partitions.len());
        for ((partition, cut), (_, all)) in whole.partitions.iter().zip(&unlimited.partitions) {
            let mut live = all.rows.iter().enumerate().filter(|(_, (_, row))| is_live(row));
            let nth = live.nth(per_partition_limit as usize - 1);
            let rows = nth.map_or(all.rows.len(), |(index, _)| index + 1);
            prop_assert_eq!(&cut.rows, &all.rows[..rows], "{:?}", partition);
            prop_assert_eq!(&cut.static_row, &all.static_row);
        }
        let paged = ScanCommand { row_limit, bytes_limit, ..command };
        let (rows, most) = pages(&store, &paged);
        prop_assert_eq!(comparable(&rows), comparable(&whole.partitions));
        prop_assert!(most <= row_limit);
    }

    #[test]
    fn tombstones_beyond_the_limit_fail_the_page_that_has_them(store in store(), command in command()) {
        let whole = scan(&store, &command);
        let count = whole.partitions.iter().map(|(_, data)| data.tombstones).sum::<u32>();
        let limited = |tombstone_limit| try_scan(&store, &ScanCommand { tombstone_limit, ..command.clone() });
        prop_assert_eq!(limited(count), Ok(whole));
        if let Some(fewer) = count.checked_sub(1) {
            let failed = limited(fewer);
            prop_assert!(
                matches!(failed, Err(AnswerError::TooManyTombstones { tombstones, .. }) if tombstones > 0),
                "{:?}",
                failed
            );
        }
    }

    #[test]
    fn records_in_order_are_accepted_and_others_are_not(store in store(), at: prop::sample::Index) {
        let mut records = Vec::new();
        for (partition, stored) in &store {
            let mut add = |record| records.push(PartitionRecord { partition: partition.clone(), record });
            add(Record::deletions(&stored.deletions));
            add(Record { key: RecordKey::Static, value: stored.static_row.clone() });
        }
        prop_assert_eq!(validate_records(&records), Ok(()));
        if !records.is_empty() {
            let at = at.index(records.len());
            records.insert(at, records[at].clone());
            prop_assert_eq!(validate_records(&records), Err(CodecError::Invalid("record order")));
        }
    }
}
