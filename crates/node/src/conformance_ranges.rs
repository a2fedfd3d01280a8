//! Scenarios of the suite about many partitions at once and about answers of other kinds: digests, tombstones, scans,
//! export and ingest.

use super::reference::{self, Reference};
use super::*;
use model::compare::{CompareCommand, Detail};
use model::digest::digest;
use model::garbage::Purge;
use model::mutation::merge_values;
use model::scan::{ExportCommand, PartitionRecord};
use model::{ScanCommand, ScanData, Token, TokenRange};
use std::collections::BTreeMap;

/// Runs every scenario of this part.
pub(super) fn run(make: &mut MakeHarness<'_>) {
    for scenario in [
        tombstones_beyond_the_limit_fail_a_read,
        several_partitions_are_read_like_each_alone,
        a_scan_answers_every_partition_of_its_range,
        partitions_with_nothing_but_deletions_are_scanned,
        limits_of_a_scan_hold_over_pages,
        partitions_of_one_token_are_told_apart,
        commands_that_make_no_sense_are_refused,
        what_is_exported_and_ingested_is_the_same,
        ingested_records_join_what_is_stored_in_any_order,
        what_was_ingested_survives_a_power_failure,
    ] as [fn(&mut MakeHarness<'_>); 10]
    {
        scenario(make);
    }
}

/// Scans the whole table.
pub(super) fn everything() -> ScanCommand {
    ScanCommand {
        table: TABLE,
        range: TokenRange::ALL,
        resume: None,
        slices: vec![Slice::all()],
        static_row: true,
        row_limit: u32::MAX,
        per_partition_limit: u32::MAX,
        bytes_limit: u32::MAX,
        now_seconds: 1_000,
        tombstone_limit: u32::MAX,
        bulk: false,
        dropped_columns: Vec::new(),
    }
}

/// The whole table as it is stored, in pages of so many bytes.
pub(super) fn exported(storage: &dyn Storage, table: TableId, bytes_limit: u32) -> Vec<PartitionRecord> {
    let mut command = ExportCommand { table, range: TokenRange::ALL, after: None, bytes_limit };
    let mut records: Vec<PartitionRecord> = Vec::new();
    loop {
        let page = storage.export(&command).unwrap();
        assert!(page.more || bytes_limit == u32::MAX || page.records.len() < 200, "a page has an end");
        records.extend(page.records);
        match records.last().filter(|_| page.more) {
            Some(last) => command.after = Some((last.partition.clone(), last.record.key.clone())),
            None => return records,
        }
    }
}

/// A comparison of a few hundred bytes of the table.
fn comparison(detail: Detail) -> CompareCommand {
    CompareCommand {
        table: TABLE,
        range: TokenRange::ALL,
        after: None,
        ends: Vec::new(),
        to: None,
        bucket_bytes: 100,
        bytes_limit: 700,
        purge: Purge::default(),
        detail,
    }
}

/// The records of mutations, one for each key, ascending.
pub(super) fn records_of(mutations: &[Arc<Mutation>]) -> Vec<PartitionRecord> {
    let mut records: BTreeMap<(PartitionKey, RecordKey), Bytes> = BTreeMap::new();
    for mutation in mutations {
        for Record { key, value } in &mutation.records {
            let stored = records.entry((mutation.partition.clone(), key.clone())).or_insert_with(|| value.clone());
            *stored = merge_values(*key == RecordKey::Deletions, stored, value).unwrap();
        }
    }
    let record = |((partition, key), value)| PartitionRecord { partition, record: Record { key, value } };
    records.into_iter().map(record).collect()
}

/// The names of partitions, in the order of scans.
fn in_scan_order(names: &[&'static str]) -> Vec<&'static str> {
    let mut names = names.to_vec();
    names.sort_by_key(|name| partition(name));
    names
}

fn partitions(data: &ScanData) -> Vec<PartitionKey> {
    data.partitions.iter().map(|(partition, _)| partition.clone()).collect()
}

fn tombstones_beyond_the_limit_fail_a_read(make: &mut MakeHarness<'_>) {
    let session = Session::new(make);
    let dead = |timestamp| {
        let cell = |column, state| (ColumnId(column), Cell { timestamp, state });
        let expired = Expiry { ttl_seconds: 1, at_seconds: 900 };
        let cells = vec![
            cell(1, CellState::Tombstone(1)),
            cell(2, CellState::Expiring(expired, Some(Bytes::from_static(b"x")))),
            cell(3, CellState::Live(Bytes::from_static(b"x"))),
        ];
        Row::new(None, Some(deletion(timestamp - 1)), cells)
    };
    for at in 1..=10 {
        session.apply(&[put("p", at, &dead(20))]);
    }
    let range = PartitionDeletions::of_range(clustering(5), clustering(7), deletion(19));
    session.apply(&[delete("p", &range.merge(&PartitionDeletions::of_partition(deletion(3))))]);
    let whole = session.read(&all("p"));
    let found: u32 = whole.rows.iter().map(|(_, row)| reference::tombstones(row, 1_000)).sum();
    assert_eq!(whole.tombstones, found + 2, "the range and the partition count as well");
    assert!(found >= 20);
    let limited = |command: ReadCommand, tombstone_limit| {
        let command = ReadCommand { tombstone_limit, ..command };
        (session.storage().read(&command), session.storage().digest(&command))
    };
    assert_eq!(limited(all("p"), whole.tombstones).0, Ok(whole.clone()));
    for (command, limit) in [
        (all("p"), whole.tombstones - 1),
        (all("p"), 0),
        (ReadCommand { reversed: true, ..all("p") }, 4),
        (point("p", &[1]), 1),
        (point("p", &[1, 2, 3]), 7),
    ] {
        let (read, digested) = limited(command, limit);
        let Err(StorageError::TooManyTombstones { table, partition, tombstones, .. }) = read.clone() else {
            panic!("{read:?}");
        };
        assert_eq!((table, &partition[..]), (TABLE, &b"p"[..]));
        assert!(tombstones > limit);
        assert_eq!(digested.err(), read.err());
    }
    // A page that ends before the limit is an answer.
    assert!(limited(ReadCommand { bytes_limit: 1, ..all("p") }, 5).0.is_ok());
    let scan = |tombstone_limit| session.storage().scan(&ScanCommand { tombstone_limit, ..everything() });
    assert_eq!(scan(whole.tombstones).map(|page| page.partitions.len()), Ok(1));
    assert!(matches!(scan(whole.tombstones - 1), Err(StorageError::TooManyTombstones { .. })));
}

fn several_partitions_are_read_like_each_alone(make: &mut MakeHarness<'_>) {
    let mut session = Session::new(make);
    assert_eq!(session.storage().read_many(&[]), []);
    for round in 0..3 {
        let mut rng = Rng::new(round);
        let mutations: Vec<_> = (0..80).map(|_| reference::random_mutation(&mut rng, TABLE)).collect();
        session.apply(&mutations);
        session.harness.disturb(&mut rng);
        let name = |rng: &mut Rng| ["a", "b", "p", "q", ""][rng.index(5)];
        let mut commands: Vec<ReadCommand> = Vec::new();
        for at in 0..200u8 {
            commands.push(match rng.below(6) {
                0 => reference::random_command(&mut rng, TABLE),
                1 => ReadCommand { table: OTHER_TABLE, ..point(name(&mut rng), &[at % 12]) },
                2 => ReadCommand { static_row: true, ..point(name(&mut rng), &[1, 2, at]) },
                3 => ReadCommand { table: TableId(0xdead), ..point("p", &[1]) },
                _ => point(name(&mut rng), &[at % 12]),
            });
        }
        commands.push(ReadCommand { row_limit: 0, ..all("p") });
        let found = session.storage().read_many(&commands);
        assert_eq!(found.len(), commands.len());
        for (command, found) in commands.iter().zip(found) {
            assert_eq!(found, session.storage().read(command), "{command:?}");
        }
    }
}

fn a_scan_answers_every_partition_of_its_range(make: &mut MakeHarness<'_>) {
    let mut session = Session::new(make);
    assert_eq!(session.storage().scan(&everything()), Ok(ScanData::default()), "nothing is stored");
    let names = in_scan_order(&["a", "b", "c", "d", "e", "f", "g", "h"]);
    for name in &names {
        session.apply(&[put(name, 1, &live_row(1, b"v")), put(name, 2, &live_row(2, b"w"))]);
    }
    for round in 0..2 {
        let keys: Vec<PartitionKey> = names.iter().map(|name| partition(name)).collect();
        let page = session.storage().scan(&everything()).unwrap();
        let expected: Vec<_> = names.iter().map(|name| (partition(name), session.read(&all(name)))).collect();
        assert_eq!(page, ScanData { partitions: expected, next: None }, "round {round}");
        // Each range from one partition to another one, its start left out.
        for (first, start) in keys.iter().enumerate() {
            for (last, end) in keys.iter().enumerate().skip(first + 1) {
                let range = TokenRange { start: start.token, end: end.token };
                let page = session.storage().scan(&ScanCommand { range, ..everything() }).unwrap();
                assert_eq!(partitions(&page), keys[first + 1..=last]);
            }
            let up_to = TokenRange { start: Token::MINIMUM, end: start.token };
            let page = session.storage().scan(&ScanCommand { range: up_to, ..everything() }).unwrap();
            assert_eq!(partitions(&page), keys[..=first]);
        }
        let slices = vec![Slice { start: clustering(2), end: clustering(3) }];
        let page = session.storage().scan(&ScanCommand { slices, ..everything() }).unwrap();
        assert_eq!(partitions(&page), keys);
        assert!(page.partitions.iter().all(|(_, data)| super::keys(data) == [2]));
        session.harness.disturb(&mut Rng::new(round));
    }
}

fn partitions_with_nothing_but_deletions_are_scanned(make: &mut MakeHarness<'_>) {
    let session = Session::new(make);
    let names = in_scan_order(&["a", "b", "c", "d", "e", "f"]);
    let range = |start, end| PartitionDeletions::of_range(clustering(start), clustering(end), deletion(9));
    session.apply(&[delete(names[0], &PartitionDeletions::of_partition(deletion(9)))]);
    session.apply(&[put(names[1], 1, &live_row(10, b"v")), delete(names[1], &range(1, 5))]);
    session.apply(&[delete(names[2], &range(1, 5)), put(names[2], 3, &live_row(3, b"covered"))]);
    session.apply(&[put(names[3], 1, &live_row(10, b"v"))]);
    session.apply(&[delete(names[4], &range(7, 9))]);
    session.apply(&[delete(names[5], &PartitionDeletions::of_partition(deletion(9)))]);
    let page = session.storage().scan(&everything()).unwrap();
    let expected: Vec<_> = names.iter().map(|name| (partition(name), session.read(&all(name)))).collect();
    assert_eq!(page.partitions, expected);
    // A range that ends before the slice has nothing to say of it.
    let slices = vec![Slice { start: clustering(1), end: clustering(6) }];
    let page = session.storage().scan(&ScanCommand { slices, ..everything() }).unwrap();
    let without: Vec<_> = [0, 1, 2, 3, 5].iter().map(|index| partition(names[*index])).collect();
    assert_eq!(partitions(&page), without);
    // They count towards the bytes of a page.
    let mut command = ScanCommand { bytes_limit: 1, ..everything() };
    let mut found = Vec::new();
    loop {
        let page = session.storage().scan(&command).unwrap();
        assert!(page.partitions.len() <= 1);
        found.extend(partitions(&page));
        match page.next {
            Some(next) => command.resume = Some(next),
            None => break,
        }
    }
    // One whose page ended at its row comes again with what is deleted behind that row.
    found.dedup();
    assert_eq!(found, names.iter().map(|name| partition(name)).collect::<Vec<_>>());
}

fn limits_of_a_scan_hold_over_pages(make: &mut MakeHarness<'_>) {
    let session = Session::new(make);
    let names = in_scan_order(&["a", "b", "c", "d"]);
    for (index, name) in names.iter().enumerate() {
        for at in 1..=9u8 {
            let dead = at % 4 == 0;
            let row = if dead { Row::deleted(deletion(50)) } else { live_row(i64::from(at), &[at; 20]) };
            session.apply(&[put(name, at + index as u8, &row)]);
        }
    }
    // Only a live static row, and one that is not.
    let fixed = |name, row: &Row| mutation(TABLE, name, vec![Record { key: RecordKey::Static, value: row.to_bytes() }]);
    session.apply(&[fixed("only static", &live_row(1, b"s")), fixed("dead static", &Row::deleted(deletion(1)))]);
    let live = |data: &ScanData| -> usize {
        let live = |data: &ReadData| data.rows.iter().filter(|(_, row)| reference::is_live(row, 1_000)).count();
        data.partitions.iter().map(|(_, data)| live(data)).sum()
    };
    for per_partition_limit in [1, 3, 7, 100] {
        let whole = session.storage().scan(&ScanCommand { per_partition_limit, ..everything() }).unwrap();
        assert_eq!(whole.next, None);
        let each = (per_partition_limit as usize).min(7);
        assert_eq!(live(&whole), 4 * each);
        assert_eq!(whole.partitions.len(), 6);
        for row_limit in 1..=8 {
            let mut command = ScanCommand { per_partition_limit, row_limit, ..everything() };
            let mut rows = Vec::new();
            loop {
                let page = session.storage().scan(&command).unwrap();
                let fixed = page.partitions.iter().filter(|(_, data)| data.rows.is_empty()).count();
                let full = live(&page) + fixed.min(1) >= row_limit as usize;
                assert!(live(&page) <= row_limit as usize && (full || page.next.is_none()), "{page:?}");
                for (partition, data) in page.partitions {
                    rows.extend(data.rows.into_iter().map(|row| (partition.clone(), row)));
                }
                match page.next {
                    Some(next) => command.resume = Some(next),
                    None => break,
                }
            }
            let all = whole.partitions.iter();
            let all = all.flat_map(|(key, data)| data.rows.iter().map(|row| (key.clone(), row.clone())));
            assert_eq!(rows, all.collect::<Vec<_>>(), "{per_partition_limit} per partition, {row_limit} per page");
        }
    }
}

fn partitions_of_one_token_are_told_apart(make: &mut MakeHarness<'_>) {
    let mut session = Session::new(make);
    // As if the hash collided: lengths whose encodings order otherwise than the numbers do.
    let lengths = [0, 1, 2, 127, 128, 129, 255, 256, 300];
    let key = |length: usize| PartitionKey { token: Token(77), bytes: Bytes::from(vec![7; length]) };
    let mut keys: Vec<PartitionKey> = lengths.iter().map(|length| key(*length)).collect();
    for (index, partition) in keys.iter().enumerate() {
        let records = vec![Record::row(clustering(1 + index as u8), &live_row(1, b"v"))];
        session.apply(&[Arc::new(Mutation { table: TABLE, partition: partition.clone(), records })]);
    }
    keys.sort();
    for round in 0..2 {
        let whole = session.storage().scan(&everything()).unwrap();
        assert_eq!(partitions(&whole), keys);
        let mut command = ScanCommand { row_limit: 1, ..everything() };
        let mut found = Vec::new();
        loop {
            let page = session.storage().scan(&command).unwrap();
            found.extend(partitions(&page));
            match page.next {
                Some(next) => command.resume = Some(next),
                None => break,
            }
        }
        assert_eq!(found, keys, "each once, though every page ends at a row");
        assert_eq!(exported(session.storage(), TABLE, 1), exported(session.storage(), TABLE, u32::MAX));
        session.harness.disturb(&mut Rng::new(round));
    }
}

fn commands_that_make_no_sense_are_refused(make: &mut MakeHarness<'_>) {
    let session = Session::new(make);
    session.apply(&[put("p", 1, &live_row(1, b"v"))]);
    let around = TokenRange { start: Token(5), end: Token(-5) };
    let nothing = TokenRange { start: Token(5), end: Token(5) };
    for range in [around, nothing] {
        let scanned = session.storage().scan(&ScanCommand { range, ..everything() });
        assert!(matches!(scanned, Err(StorageError::Invalid(_))), "{scanned:?}");
        let export = ExportCommand { table: TABLE, range, after: None, bytes_limit: 100 };
        assert!(matches!(session.storage().export(&export), Err(StorageError::Invalid(_))));
    }
    let refused = [
        ScanCommand { slices: Vec::new(), ..everything() },
        ScanCommand { per_partition_limit: 0, ..everything() },
        ScanCommand { table: TableId(0xdead), ..everything() },
    ];
    for command in refused {
        assert!(matches!(session.storage().scan(&command), Err(StorageError::Invalid(_))), "{command:?}");
    }
    let refused = [
        CompareCommand { bytes_limit: 0, ..comparison(Detail::Buckets) },
        CompareCommand { table: TableId(0xdead), ..comparison(Detail::Records) },
    ];
    for command in refused {
        assert!(matches!(session.storage().compare(&command), Err(StorageError::Invalid(_))), "{command:?}");
    }
    let mut records = records_of(&[put("p", 2, &live_row(1, b"v")), put("p", 3, &live_row(1, b"v"))]);
    let unknown = session.storage().ingest(TableId(0xdead), &records);
    assert!(matches!(unknown, Err(StorageError::Invalid(_))), "{unknown:?}");
    records.reverse();
    assert!(matches!(session.storage().ingest(TABLE, &records), Err(StorageError::Invalid(_))));
    records.truncate(1);
    records[0].record.value = Bytes::from_static(b"no row");
    assert!(matches!(session.storage().ingest(TABLE, &records), Err(StorageError::Invalid(_))));
    assert_eq!(session.storage().ingest(TABLE, &[]), Ok(()));
    assert_eq!(keys(&session.read(&all("p"))), [1], "nothing of it is stored");
}

fn what_is_exported_and_ingested_is_the_same(make: &mut MakeHarness<'_>) {
    for seed in 0..3 {
        let mut rng = Rng::new(seed);
        let mut from = Session::new(make);
        for _ in 0..15 {
            let mutations: Vec<_> = (0..10).map(|_| reference::random_mutation(&mut rng, TABLE)).collect();
            from.apply(&mutations);
            if rng.chance(300) {
                from.harness.disturb(&mut rng);
            }
        }
        let whole = exported(from.storage(), TABLE, u32::MAX);
        assert!(whole.windows(2).all(|pair| {
            let key = |record: &PartitionRecord| (record.partition.clone(), record.record.key.clone());
            key(&pair[0]) < key(&pair[1])
        }));
        for bytes_limit in [1, 100, 1_000] {
            assert_eq!(exported(from.storage(), TABLE, bytes_limit), whole, "{bytes_limit} bytes at a time");
        }
        let mut to = Session::new(make);
        for records in whole.chunks(rng.between(1, 60) as usize) {
            to.storage().ingest(TABLE, records).unwrap();
        }
        for _ in 0..2 {
            assert_eq!(exported(to.storage(), TABLE, u32::MAX), whole);
            assert_eq!(to.storage().scan(&everything()), from.storage().scan(&everything()));
            for detail in [Detail::Buckets, Detail::Records] {
                let command = comparison(detail);
                assert_eq!(to.storage().compare(&command), from.storage().compare(&command), "replicas that agree");
            }
            for _ in 0..50 {
                let command = reference::random_command(&mut rng, TABLE);
                assert_eq!(to.read(&command), from.read(&command), "{command:?}");
            }
            to.harness.disturb(&mut rng);
        }
    }
}

fn ingested_records_join_what_is_stored_in_any_order(make: &mut MakeHarness<'_>) {
    for seed in 0..6 {
        let mut rng = Rng::new(seed);
        let mut mutations: Vec<_> = (0..90).map(|_| reference::random_mutation(&mut rng, TABLE)).collect();
        let written = Session::new(make);
        written.apply(&mutations);
        // The same in another order, some of it ingested before or after what it joins, some of it twice.
        let mut mixed = Session::new(make);
        rng.shuffle(&mut mutations);
        for part in mutations.chunks(9) {
            if rng.chance(500) {
                mixed.storage().ingest(TABLE, &records_of(part)).unwrap();
            }
            if rng.chance(600) {
                mixed.apply(part);
            } else {
                mixed.storage().ingest(TABLE, &records_of(part)).unwrap();
            }
            match rng.below(8) {
                0..=1 => mixed.harness.disturb(&mut rng),
                2 => mixed.reopen(),
                3 => mixed.crash_process(),
                _ => {}
            }
        }
        let whole = |session: &Session| uncovered(exported(session.storage(), TABLE, u32::MAX));
        assert!(whole(&written) == whole(&mixed), "seed {seed}");
    }
}

fn what_was_ingested_survives_a_power_failure(make: &mut MakeHarness<'_>) {
    for seed in 0..6 {
        let mut rng = Rng::new(seed);
        let mut session = Session::new(make);
        let (mut written, mut safe, mut ingested) = (0u8, 0u8, 0u8);
        for _ in 0..rng.between(2, 30) {
            if rng.chance(300) {
                ingested += 1;
                let range =
                    PartitionDeletions::of_range(clustering(240), clustering(250), deletion(i64::from(ingested)));
                let part = [put("i", ingested, &live_row(1, b"v")), delete("i", &range)];
                session.storage().ingest(TABLE, &records_of(&part)).unwrap();
                // What came before is as safe as it.
                safe = written;
            } else {
                written += 1;
                let sync = rng.chance(200);
                session.commit(&[Write::Apply(put("p", written, &live_row(1, b"v")))], sync);
                safe = if sync { written } else { safe };
            }
        }
        if !session.crash_power() {
            return;
        }
        session.storage().set_tables(&tables(&[TABLE, OTHER_TABLE])).unwrap();
        let found = session.read(&all("i"));
        assert_eq!(keys(&found), (1..=ingested).collect::<Vec<u8>>(), "seed {seed}");
        let stamp = found.deletions.ranges().first().map_or(0, |range| range.deletion.timestamp);
        assert_eq!(stamp, i64::from(ingested), "seed {seed}");
        let found = keys(&session.read(&all("p")));
        assert_eq!(found, (1..=found.len() as u8).collect::<Vec<u8>>(), "seed {seed}: a prefix");
        assert!(found.len() >= usize::from(safe), "seed {seed}: {} of {safe}", found.len());
        session.storage().ingest(TABLE, &records_of(&[put("i", 200, &live_row(1, b"v"))])).unwrap();
        session.commit(&[Write::Apply(put("p", 200, &live_row(1, b"v")))], true);
        session.reopen();
        assert!(keys(&session.read(&all("i"))).contains(&200) && keys(&session.read(&all("p"))).contains(&200));
    }
}

/// Records as a reader sees them: what the deletions of their partition cover may be stored or not.
fn uncovered(records: Vec<PartitionRecord>) -> Vec<PartitionRecord> {
    let mut of: Option<(PartitionKey, PartitionDeletions)> = None;
    let mut left = Vec::new();
    for mut one in records {
        if one.record.key == RecordKey::Deletions {
            of = Some((one.partition.clone(), PartitionDeletions::from_bytes(&one.record.value).unwrap()));
        } else {
            let deletions = of.as_ref().filter(|(partition, _)| *partition == one.partition).map(|(_, all)| all);
            let covering = deletions.and_then(|all| match &one.record.key {
                RecordKey::Row(clustering) => all.covering(clustering),
                _ => all.partition(),
            });
            let mut row = Row::from_bytes(&one.record.value).unwrap();
            covering.into_iter().for_each(|deletion| row.delete(deletion));
            if row.is_empty() {
                continue;
            }
            one.record.value = row.to_bytes();
        }
        left.push(one);
    }
    left
}

/// One step of [`differential`] that is about more than one partition.
pub(super) fn differential_step(session: &Session, reference: &mut Reference, rng: &mut Rng, context: &str) {
    let table = if rng.chance(700) { TABLE } else { OTHER_TABLE };
    match rng.below(10) {
        0 => {
            let mutations: Vec<_> = (0..rng.between(1, 12)).map(|_| reference::random_mutation(rng, table)).collect();
            mutations.iter().for_each(|mutation| reference.apply(mutation));
            session.storage().ingest(table, &records_of(&mutations)).unwrap();
        }
        1 => {
            let bytes_limit = if rng.chance(500) { u32::MAX } else { rng.between(1, 2_000) as u32 };
            let found = uncovered(exported(session.storage(), table, bytes_limit));
            assert!(found == uncovered(reference.records(table)), "{context}");
        }
        2..=3 => {
            let commands: Vec<_> = (0..rng.below(12)).map(|_| reference::random_limited_command(rng, table)).collect();
            let found = session.storage().read_many(&commands);
            for (command, found) in commands.iter().zip(found) {
                reference::assert_answer(found, reference.read(command), command.tombstone_limit, context);
            }
        }
        _ => {
            // A scan to its end, page by page.
            let mut command = reference::random_scan(rng, table);
            for _ in 0..20 {
                let found = session.storage().scan(&command);
                let expected = reference.scan(&command);
                let tombstones = expected.partitions.iter().map(|(_, data)| data.tombstones).sum::<u32>();
                if tombstones > command.tombstone_limit {
                    assert!(matches!(found, Err(StorageError::TooManyTombstones { .. })), "{context}, {command:?}");
                    return;
                }
                assert_eq!(found.as_ref(), Ok(&expected), "{context}, {command:?}");
                match expected.next {
                    Some(next) => command.resume = Some(next),
                    None => return,
                }
            }
        }
    }
}

/// Reads, and checks that the digest is that of what was read.
pub(super) fn read_and_digest(storage: &dyn Storage, command: &ReadCommand) -> Result<ReadData, StorageError> {
    let (data, digested) = (storage.read(command), storage.digest(command));
    match (&data, digested) {
        (Ok(data), Ok(digested)) => {
            let expected = (digest(data, &command.purge()).unwrap(), data.tombstones);
            assert_eq!((digested.digest, digested.tombstones), expected, "{command:?}");
        }
        (Ok(_), Err(error)) => panic!("{command:?} can be read and not digested: {error}"),
        (Err(error), digested) => assert_eq!(digested.as_ref(), Err(error), "{command:?}"),
    }
    data
}
