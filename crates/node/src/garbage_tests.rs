//! The schedule: every token of every table is swept in time, whatever is swept, in which parts, over restarts.

use super::*;
use model::schema::DroppedColumn;
use model::table_options::TableOptions;
use model::{ColumnId, Rng};
use std::sync::Arc;

const DAY: u32 = 24 * 60 * 60;

fn tables(graces: &[u32]) -> BTreeMap<TableId, Arc<Table>> {
    let table = |(number, grace): (u128, &u32)| {
        let table = Table {
            options: TableOptions { gc_grace_seconds: *grace, ..TableOptions::default() },
            id: TableId(number),
            ..(*crate::test_cluster::schema(1, &[crate::test_cluster::TABLE]).tables().values().next().unwrap().clone())
                .clone()
        };
        (table.id, Arc::new(table))
    };
    (1u128..).zip(graces).map(table).collect()
}

/// What is stored of a schedule.
#[derive(Default)]
struct Disk(BTreeMap<Bytes, Bytes>);

impl Disk {
    fn write(&mut self, write: LocalWrite) {
        for (key, value) in write.records {
            match value {
                Some(value) => self.0.insert(key, value),
                None => self.0.remove(&key),
            };
        }
    }

    fn schedule(&self) -> GarbageSchedule {
        let records: Vec<(Bytes, Bytes)> = self.0.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
        GarbageSchedule::from_local_records(&records).unwrap()
    }
}

#[test]
fn every_token_is_swept_once_in_an_interval_and_the_history_survives() {
    for seed in 0..20 {
        let mut rng = Rng::new(seed);
        let tables = tables(&[10 * DAY, DAY, 0]);
        let (mut schedule, mut disk) = (GarbageSchedule::default(), Disk::default());
        disk.write(schedule.set_tables(&tables, 1_000_000).unwrap());
        assert_eq!(schedule.set_tables(&tables, 2_000_000), None);
        let (mut bytes, mut burdened) = (0, false);
        let mut now = 1_000_000;
        // The probes stand for all tokens.
        let probes = [i64::MIN, i64::MIN + 1, -1, 0, 1, i64::MAX, rng.next_u64() as i64, rng.next_u64() as i64];
        let mut swept_at: BTreeMap<(TableId, i64), u32> = BTreeMap::new();
        for _ in 0..400 {
            now += rng.below(2_000) as u32;
            while let Some(sweep) =
                schedule.next(&tables, now, |_| TableLoad { bytes, burdened }, |table, _| purge_of(table, now))
            {
                let table = &tables[&sweep.table];
                assert_eq!(sweep.purge, purge_of(table, now));
                for probe in probes.iter().filter(|probe| sweep.tokens.contains(&Token(**probe))) {
                    swept_at.insert((sweep.table, *probe), now);
                }
                disk.write(schedule.swept(&sweep, now));
                assert_eq!(disk.schedule(), schedule);
            }
            for (id, table) in &tables {
                let lag = schedule.lag_seconds(*id, now).unwrap();
                assert!(lag < interval(table.options.gc_grace_seconds), "nothing is due any more");
                for probe in probes {
                    let at = swept_at.get(&(*id, probe)).copied().unwrap_or(1_000_000);
                    assert!(now - at <= lag, "the lag counts every token");
                }
            }
            if rng.chance(100) {
                schedule = disk.schedule();
            }
            if rng.chance(100) {
                bytes = PART_BYTES * rng.below(40);
                burdened = rng.chance(300);
            }
        }
        assert!(swept_at.len() == tables.len() * probes.len(), "every probe of every table was swept");
    }
}

#[test]
fn a_dropped_table_is_forgotten_and_a_new_one_has_no_garbage_yet() {
    let (mut schedule, mut disk) = (GarbageSchedule::default(), Disk::default());
    let both = tables(&[DAY, DAY]);
    disk.write(schedule.set_tables(&tables(&[DAY]), 10 * DAY).unwrap());
    disk.write(schedule.set_tables(&both, 11 * DAY).unwrap());
    assert_eq!(schedule.lag_seconds(TableId(2), 11 * DAY), Some(0));
    let sweep = schedule.next(&both, 11 * DAY, |_| TableLoad::default(), |table, _| purge_of(table, 11 * DAY)).unwrap();
    assert_eq!(sweep.table, TableId(1), "the other one is not due");
    assert_eq!(sweep.tokens, Token::MINIMUM..=Token(i64::MAX));
    disk.write(schedule.set_tables(&BTreeMap::new(), 11 * DAY).unwrap());
    assert_eq!(disk.0, BTreeMap::new());
    // A sweep that ends after its table.
    assert_eq!(schedule.swept(&sweep, 11 * DAY), LocalWrite::default());
    assert_eq!(schedule.lag_seconds(TableId(1), 11 * DAY), None);
}

#[test]
fn the_clock_of_a_sweep_is_behind_and_the_grace_counts_from_it() {
    let table = tables(&[100]).remove(&TableId(1)).unwrap();
    let purge = purge_of(&table, 1_000);
    assert_eq!((purge.now_seconds, purge.gc_before_seconds), (940, 840));
    let purge = purge_of(&table, 30);
    assert_eq!((purge.now_seconds, purge.gc_before_seconds), (0, 0));
    let (name, cql_type) = ("v".to_owned(), model::CqlType::Int);
    let dropped = DroppedColumn { id: ColumnId(3), name, cql_type, is_static: false, dropped_at: 77 };
    let table = Table { dropped_columns: vec![dropped], ..Table::clone(&table) };
    assert_eq!(purge_of(&table, 30).dropped_columns, [(ColumnId(3), 77)]);
    assert_eq!(interval(0), INTERVAL_SECONDS_MIN);
    assert_eq!(interval(u32::MAX), INTERVAL_SECONDS_MAX);
    assert_eq!(interval(2 * DAY), DAY);
}

#[test]
fn parts_are_a_power_of_two_and_cover_everything() {
    for bytes in [0, 1, PART_BYTES, PART_BYTES + 1, 5 * PART_BYTES, u64::MAX] {
        let parts = parts(bytes);
        assert!(parts.is_power_of_two() && parts <= PARTS_MAX);
        let mut first = Token::MINIMUM;
        for part in 0..parts {
            let tokens = part_of(first, parts);
            assert_eq!(*tokens.start(), first, "part {part} of {parts}");
            assert_eq!(part_of(*tokens.end(), parts), tokens);
            match tokens.end().0.checked_add(1) {
                Some(next) => first = Token(next),
                None => assert_eq!(part, parts - 1),
            }
        }
    }
}

#[test]
fn what_is_no_record_of_the_schedule_is_refused() {
    let record = |key: &[u8], value: &[u8]| (Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
    for (key, value) in [(&b"garbage/"[..], &b""[..]), (b"node/x", b""), (b"garbage/0123456789abcdef01234567", b"x")] {
        assert!(GarbageSchedule::from_local_records(&[record(key, value)]).is_err());
    }
}

#[test]
fn a_table_whose_reads_pass_many_tombstones_is_swept_sooner_but_not_all_the_time() {
    let tables = tables(&[10 * DAY]);
    let mut schedule = GarbageSchedule::default();
    schedule.set_tables(&tables, DAY).unwrap();
    let next = |schedule: &GarbageSchedule, now, burdened| {
        schedule.next(&tables, now, |_| TableLoad { bytes: 0, burdened }, |table, _| purge_of(table, now)).is_some()
    };
    let sooner = interval(10 * DAY) / BURDENED_FACTOR;
    assert!(!next(&schedule, DAY + sooner - 1, true));
    assert!(next(&schedule, DAY + sooner, true) && !next(&schedule, DAY + sooner, false));
    let table = &tables[&TableId(1)];
    let sweep = schedule.sweep(table, Token::MINIMUM..=Token(i64::MAX), purge_of(table, 2 * DAY));
    schedule.swept(&sweep, 2 * DAY);
    assert!(!next(&schedule, 2 * DAY + 1, true), "what is left is in its grace");
}

#[test]
fn what_a_dropped_column_held_is_garbage() {
    let table = Table::clone(&tables(&[100])[&TableId(1)]);
    let dropped = model::schema::DroppedColumn {
        id: model::ColumnId(7),
        name: "gone".to_owned(),
        cql_type: model::CqlType::Int,
        dropped_at: 50,
        is_static: false,
    };
    let purge = purge_of(&Table { dropped_columns: vec![dropped], ..table }, 1_000);
    assert_eq!(purge.dropped_columns, [(model::ColumnId(7), 50)]);
}
