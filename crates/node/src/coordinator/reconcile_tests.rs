//! The laws of reconciliation over random replicas: what is taken is right, and repairs make it so everywhere.

use super::*;
use crate::test_cluster::{Partition, everything};
use model::read::Slice;
use model::row::Expiry;
use model::scan::{ScanAnswer, ScanStart};
use model::{Cell, ColumnId, Liveness, Mutation, PartitionKey, TableId, TokenRange};
use proptest::prelude::*;

fn merge(command: &ReadCommand, answers: &[&ReadData]) -> Result<Reconciled, usize> {
    reconcile(&Asked::by(command, &command.purge()), answers)
}

fn key(position: u8) -> Bytes {
    Bytes::from(vec![0x40, position])
}

fn partition_key() -> PartitionKey {
    PartitionKey::new(Bytes::from_static(b"k"))
}

fn deletion() -> impl Strategy<Value = Deletion> {
    (0i64..6, 0u32..3).prop_map(|(timestamp, local_seconds)| Deletion { timestamp, local_seconds })
}

fn row() -> impl Strategy<Value = Row> {
    let expiry =
        prop::option::of((1u32..3, 5u32..15).prop_map(|(ttl_seconds, at_seconds)| Expiry { ttl_seconds, at_seconds }));
    let liveness =
        prop::option::of((0i64..6, expiry.clone()).prop_map(|(timestamp, expiry)| Liveness { timestamp, expiry }));
    let value = prop_oneof![Just(Bytes::from_static(b"a")), Just(Bytes::from_static(b"b"))];
    let cell = (0i64..6, value, expiry, any::<bool>()).prop_map(|(timestamp, value, expiry, dead)| match expiry {
        _ if dead => Cell::tombstone(timestamp, 1),
        Some(expiry) => Cell::expiring(timestamp, value, expiry),
        None => Cell::live(timestamp, value),
    });
    let cells =
        prop::collection::vec((0u32..2).prop_map(ColumnId).prop_flat_map(move |id| (Just(id), cell.clone())), 0..3);
    (liveness, prop::option::weighted(0.2, deletion()), cells)
        .prop_map(|(liveness, deletion, cells)| Row::new(liveness, deletion, cells))
}

/// A mutation of some records, as a client or a repair makes them.
fn mutation() -> impl Strategy<Value = Mutation> {
    let range = (0u8..8, 0u8..8, deletion())
        .prop_map(|(start, end, deletion)| PartitionDeletions::of_range(key(start), key(end), deletion));
    let deletions = prop_oneof![5 => range, 1 => deletion().prop_map(PartitionDeletions::of_partition)];
    let record = prop_oneof![
        1 => deletions.prop_map(|deletions| Record { key: RecordKey::Deletions, value: deletions.to_bytes() }),
        1 => row().prop_map(|row| Record { key: RecordKey::Static, value: row.to_bytes() }),
        6 => (0u8..8, row()).prop_map(|(position, row)| Record::row(key(position), &row)),
    ];
    record.prop_map(|record| Mutation { table: TableId(1), partition: partition_key(), records: vec![record] })
}

fn command() -> impl Strategy<Value = ReadCommand> {
    let limits = (1u32..5, prop_oneof![Just(u32::MAX), 1u32..200]);
    (any::<bool>(), any::<bool>(), limits, 0u8..4, 4u8..9, 0u32..4).prop_map(
        |(reversed, static_row, (row_limit, bytes_limit), start, end, gc_before_seconds)| {
            let slice = Slice { start: key(start), end: key(end) };
            let command = everything(TableId(1), &partition_key());
            let slices = vec![slice];
            ReadCommand {
                slices,
                reversed,
                static_row,
                row_limit,
                bytes_limit,
                now_seconds: 10,
                gc_before_seconds,
                dropped_columns: Vec::new(),
                ..command
            }
        },
    )
}

/// Three replicas, each with its share of some writes, and one that has all of them.
fn replicas() -> impl Strategy<Value = (Vec<Partition>, Partition)> {
    prop::collection::vec((mutation(), 1u8..8), 0..14).prop_map(|writes| {
        let mut replicas = vec![Partition::default(); 3];
        let mut all = Partition::default();
        for (mutation, holders) in writes {
            all.apply(&mutation);
            for (index, replica) in replicas.iter_mut().enumerate() {
                if holders & (1 << index) != 0 {
                    replica.apply(&mutation);
                }
            }
        }
        (replicas, all)
    })
}

/// What a reader sees: live rows, with what of them has not expired.
fn visible(rows: &[(Bytes, Row)], now_seconds: u32) -> Vec<(Bytes, Vec<(ColumnId, Bytes)>)> {
    let now = i64::from(now_seconds);
    let values = |row: &Row| {
        row.cells().iter().filter_map(|(id, cell)| cell.value(now).map(|value| (*id, value.clone()))).collect()
    };
    rows.iter().filter(|(_, row)| row.is_live(now)).map(|(key, row)| (key.clone(), values(row))).collect()
}

fn decoded(data: &ReadData) -> Vec<(Bytes, Row)> {
    decoded_rows(&data.rows)
}

fn decoded_rows(rows: &[(Bytes, Bytes)]) -> Vec<(Bytes, Row)> {
    rows.iter().map(|(key, row)| (key.clone(), Row::from_bytes(row).unwrap())).collect()
}

fn is_covered(command: &ReadCommand, end: Option<&Bytes>, key: &Bytes) -> bool {
    end.is_none_or(|end| !Asked::by(command, &command.purge()).precedes(end, key))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn what_is_taken_is_what_one_replica_with_every_write_would_answer(
        (replicas, all) in replicas(),
        command in command(),
    ) {
        let answers: Vec<ReadData> = replicas.iter().map(|replica| replica.read(&command)).collect();
        prop_assert!(answers.iter().all(|data| is_well_formed(&command.slices, command.reversed, data)));
        let merged = merge(&command, &answers.iter().collect::<Vec<_>>()).unwrap();
        let whole = ReadCommand { row_limit: u32::MAX, bytes_limit: u32::MAX, ..command.clone() };
        let mut expected = decoded(&all.read(&whole));
        expected.retain(|(key, _)| is_covered(&command, merged.end.as_ref(), key));
        prop_assert_eq!(visible(&merged.rows, 10), visible(&expected, 10));
        // A limited answer always gets further, so a read comes to its end.
        let rest = merged.end.and_then(|end| command.after(&end, 1));
        prop_assert!(rest.is_none_or(|rest| rest.slices != command.slices));
    }

    #[test]
    fn after_its_repairs_every_replica_answers_alike_up_to_the_end(
        (mut replicas, _) in replicas(),
        command in command(),
    ) {
        let answers: Vec<ReadData> = replicas.iter().map(|replica| replica.read(&command)).collect();
        let merged = merge(&command, &answers.iter().collect::<Vec<_>>()).unwrap();
        for (replica, records) in replicas.iter_mut().zip(merged.repairs) {
            let mutation = Mutation { table: command.table, partition: partition_key(), records };
            prop_assert_eq!(mutation.validate(), Ok(()));
            replica.apply(&mutation);
        }
        let whole = ReadCommand { row_limit: u32::MAX, bytes_limit: u32::MAX, ..command.clone() };
        let again: Vec<ReadData> = replicas.iter().map(|replica| replica.read(&whole)).collect();
        let purge = command.purge();
        let normal = |data: &ReadData| {
            let mut rows = decoded(data);
            rows.retain(|(key, _)| is_covered(&command, merged.end.as_ref(), key));
            rows.iter_mut().for_each(|(_, row)| row.normalize(&purge));
            rows.retain(|(_, row)| !row.is_empty());
            let mut static_row = data.static_row.as_ref().map(|row| Row::from_bytes(row).unwrap()).unwrap_or_default();
            let deletions = clipped(&Asked::by(&command, &purge), merged.end.as_ref(), &data.deletions);
            if let Some(deletion) = deletions.partition() {
                static_row.delete(deletion);
            }
            static_row.normalize(&purge);
            (rows, static_row, deletions.without_garbage(&purge))
        };
        let first = normal(&again[0]);
        prop_assert!(again.iter().all(|data| normal(data) == first));
        // Reading on where nothing is lacking any more finds nothing to repair up to there.
        if merged.end.is_none() {
            let again = merge(&whole, &again.iter().collect::<Vec<_>>()).unwrap();
            prop_assert!(again.repairs.iter().all(Vec::is_empty));
        }
    }

    #[test]
    fn a_replica_that_has_purged_is_sent_nothing_and_sends_nothing_back(
        (mut replicas, all) in replicas(),
        command in command(),
    ) {
        let command = ReadCommand { row_limit: u32::MAX, bytes_limit: u32::MAX, ..command };
        // All have everything; one purges.
        replicas.iter_mut().for_each(|replica| *replica = all.clone());
        replicas[0].collect_garbage(&command.purge());
        let answers: Vec<ReadData> = replicas.iter().map(|replica| replica.read(&command)).collect();
        let merged = merge(&command, &answers.iter().collect::<Vec<_>>()).unwrap();
        prop_assert!(merged.repairs.iter().all(Vec::is_empty), "{:?}", merged.repairs);
        prop_assert_eq!(visible(&merged.rows, 10), visible(&decoded(&answers[0]), 10));
    }

    #[test]
    fn equal_digests_mean_nothing_to_repair((replicas, _) in replicas(), command in command()) {
        let answers: Vec<ReadData> = replicas.iter().map(|replica| replica.read(&command)).collect();
        let digests: Vec<u128> =
            answers.iter().map(|data| model::digest::digest(data, &command.purge()).unwrap()).collect();
        if digests.windows(2).all(|pair| pair[0] == pair[1]) {
            let merged = merge(&command, &answers.iter().collect::<Vec<_>>()).unwrap();
            prop_assert!(merged.repairs.iter().all(Vec::is_empty));
        }
    }
}

#[test]
fn an_answer_out_of_order_outside_the_slices_or_without_an_end_is_not_well_formed() {
    let command =
        ReadCommand { slices: vec![Slice { start: key(2), end: key(6) }], ..everything(TableId(1), &partition_key()) };
    let data = |positions: &[u8], more| ReadData {
        rows: positions.iter().map(|position| (key(*position), Row::default().to_bytes())).collect(),
        more,
        ..ReadData::default()
    };
    assert!(is_well_formed(&command.slices, command.reversed, &data(&[2, 3, 5], true)));
    assert!(is_well_formed(&command.slices, command.reversed, &data(&[], false)));
    for (positions, more) in [(&[3, 2][..], false), (&[2, 2], false), (&[1, 3], false), (&[3, 6], false), (&[], true)] {
        assert!(!is_well_formed(&command.slices, command.reversed, &data(positions, more)), "{positions:?}");
    }
    let reversed = ReadCommand { reversed: true, ..command };
    assert!(is_well_formed(&reversed.slices, reversed.reversed, &data(&[5, 3, 2], false)));
    assert!(!is_well_formed(&reversed.slices, reversed.reversed, &data(&[2, 3], false)));
}

#[test]
fn a_row_that_is_not_one_names_its_answer() {
    let command = everything(TableId(1), &partition_key());
    let data = |row: &'static [u8]| ReadData { rows: vec![(key(1), Bytes::from_static(row))], ..ReadData::default() };
    let good = ReadData { rows: vec![(key(1), Row::default().to_bytes())], ..ReadData::default() };
    assert_eq!(merge(&command, &[&good, &data(b"nonsense")]).unwrap_err(), 1);
    assert_eq!(merge(&command, &[&data(b"nonsense"), &good]).unwrap_err(), 0);
}

// ---- Scans ----

/// What three replicas hold of some partitions, and one that has all of it.
fn tables() -> impl Strategy<Value = Vec<(Vec<Partition>, Partition)>> {
    prop::collection::vec(replicas(), 1..5)
}

fn scan_command() -> impl Strategy<Value = ScanCommand> {
    let limits = (1u32..6, prop_oneof![2 => Just(u32::MAX), 1 => 1u32..4], prop_oneof![Just(u32::MAX), 1u32..400]);
    (limits, any::<bool>(), 0u8..3, 5u8..9).prop_map(
        |((row_limit, per_partition_limit, bytes_limit), static_row, start, end)| ScanCommand {
            table: TableId(1),
            range: TokenRange::ALL,
            resume: None,
            slices: vec![Slice { start: key(start), end: key(end) }],
            static_row,
            row_limit,
            per_partition_limit,
            bytes_limit,
            now_seconds: 10,
            tombstone_limit: u32::MAX,
            bulk: false,
            dropped_columns: Vec::new(),
        },
    )
}

/// The key of the partition at a place in the order of scans.
fn ordered_keys(count: usize) -> Vec<PartitionKey> {
    let mut keys: Vec<PartitionKey> =
        (0..count as u8).map(|index| PartitionKey::new(Bytes::from(vec![index]))).collect();
    keys.sort();
    keys
}

/// The page of a replica that holds these partitions.
fn page_of(command: &ScanCommand, keys: &[PartitionKey], partitions: &[&Partition]) -> ScanData {
    let mut page = ScanAnswer::new(command);
    let start = page.start();
    for (key, partition) in keys.iter().zip(partitions) {
        let wanted = match &start {
            ScanStart::Range => true,
            ScanStart::At(first) => key >= *first,
            ScanStart::After(last) => key > *last,
        };
        if !wanted {
            continue;
        }
        let mut answer = page.partition(key, partition.deletions.clone());
        answer.set_static_row(&partition.static_row.to_bytes()).unwrap();
        let slices = page.slices(key).to_vec();
        for (clustering, row) in &partition.rows {
            if slices.iter().any(|slice| slice.contains(clustering))
                && !answer.push(clustering, &row.to_bytes()).unwrap()
            {
                break;
            }
        }
        if !page.push(key.clone(), answer.finish_partition().unwrap()) {
            break;
        }
    }
    page.finish()
}

/// A row as a reader of a scan sees it.
type VisibleRow = (PartitionKey, Bytes, Vec<(ColumnId, Bytes)>);

/// The visible rows of each partition, at most so many.
fn visible_table(partitions: &[AgreedPartition], most: u32) -> Vec<VisibleRow> {
    let rows = partitions.iter().flat_map(|AgreedPartition { key, rows, .. }| {
        visible(&decoded_rows(rows), 10)
            .into_iter()
            .take(most as usize)
            .map(move |(row, values)| (key.clone(), row, values))
    });
    rows.collect()
}

/// All rows of all pages of a scan over some replicas, each of which is repaired after each page.
fn scanned(command: &ScanCommand, keys: &[PartitionKey], replicas: &mut [Vec<Partition>]) -> Vec<VisibleRow> {
    let mut command = command.clone();
    let mut found = Vec::new();
    for _ in 0..1_000 {
        let pages: Vec<ScanData> =
            replicas.iter().map(|partitions| page_of(&command, keys, &partitions.iter().collect::<Vec<_>>())).collect();
        assert!(pages.iter().all(|page| is_well_formed_scan(&command, page)));
        let answers: Vec<&ScanData> = pages.iter().collect();
        let merged = reconcile_scan(&command, &command.purge(6), &answers, false).unwrap();
        found.extend(visible_table(&merged.partitions, u32::MAX));
        for (replica, repairs) in replicas.iter_mut().zip(merged.repairs) {
            for (partition, records) in repairs {
                let place = keys.iter().position(|key| *key == partition).unwrap();
                let mutation = Mutation { table: command.table, partition, records };
                assert_eq!(mutation.validate(), Ok(()));
                replica[place].apply(&mutation);
            }
        }
        match merged.next {
            None => return found,
            Some(next) => {
                assert_ne!(command.resume.as_ref(), Some(&next), "a page gets further");
                command.resume = Some(next);
            }
        }
    }
    panic!("a scan has an end");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn a_scan_page_by_page_is_what_one_replica_with_every_write_would_answer(
        tables in tables(),
        command in scan_command(),
    ) {
        let keys = ordered_keys(tables.len());
        let mut replicas: Vec<Vec<Partition>> =
            (0..3).map(|index| tables.iter().map(|(replicas, _)| replicas[index].clone()).collect()).collect();
        let whole = ScanCommand { row_limit: u32::MAX, bytes_limit: u32::MAX, ..command.clone() };
        let whole = ScanCommand { per_partition_limit: u32::MAX, ..whole };
        let all: Vec<&Partition> = tables.iter().map(|(_, all)| all).collect();
        let expected: Vec<AgreedPartition> = page_of(&whole, &keys, &all)
            .partitions
            .iter()
            .map(|(key, data)| AgreedPartition { key: key.clone(), static_row: None, rows: data.rows.clone() })
            .collect();
        let expected = visible_table(&expected, command.per_partition_limit);
        prop_assert_eq!(scanned(&command, &keys, &mut replicas), expected.clone());
        // Repaired, each of them alone says the same.
        for replica in replicas {
            prop_assert_eq!(scanned(&command, &keys, &mut [replica]), expected.clone());
        }
    }
}
