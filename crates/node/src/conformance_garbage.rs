//! Sweeps for garbage, as every store must do them: what is gone, what stays, and that nothing comes back.

use super::*;
use crate::storage::GarbageSweep;
use model::codec::Decode;
use model::digest::digest;
use model::garbage::Purge;
use model::{CellState, Token};

/// Deletions of these tests are made at this second or later.
const MADE: u32 = 7;

fn everywhere(table: TableId, now_seconds: u32, gc_before_seconds: u32) -> GarbageSweep {
    let purge = Purge { now_seconds, gc_before_seconds, ..Purge::default() };
    GarbageSweep { table, tokens: Token::MINIMUM..=Token(i64::MAX), purge }
}

fn sweep(session: &Session, now_seconds: u32, gc_before_seconds: u32) -> crate::storage::GarbageReport {
    session.storage().collect_garbage(&everywhere(TABLE, now_seconds, gc_before_seconds)).unwrap()
}

fn tombstones(timestamp: i64, local_seconds: u32) -> Row {
    let expiry = Expiry { ttl_seconds: 20, at_seconds: local_seconds + 20 };
    let cells = vec![
        (ColumnId(1), Cell::tombstone(timestamp, local_seconds)),
        (ColumnId(2), Cell::expiring(timestamp, Bytes::from_static(b"short"), expiry)),
        (ColumnId(3), Cell::live(timestamp + 1, Bytes::from_static(b"kept"))),
    ];
    let deletion = Deletion { timestamp: timestamp - 1, local_seconds };
    Row::new(Some(Liveness { timestamp, expiry: Some(expiry) }), Some(deletion), cells)
}

pub(super) fn a_sweep_takes_out_what_is_garbage_and_nothing_else(make: &mut MakeHarness<'_>) {
    let mut session = Session::new(make);
    let range = PartitionDeletions::of_range(clustering(10), clustering(20), deletion(50));
    let record = Record { key: RecordKey::Static, value: tombstones(5, MADE).to_bytes() };
    session.apply(&[
        put("p", 1, &tombstones(5, MADE)),
        put("p", 2, &Row::deleted(deletion(5))),
        put("p", 3, &live_row(5, b"v")),
        put("p", 12, &live_row(49, b"covered")),
        put("p", 13, &live_row(51, b"newer")),
        mutation(TABLE, "p", vec![record]),
        delete("p", &range),
        delete("gone", &PartitionDeletions::of_partition(deletion(9))),
        put("gone", 1, &live_row(9, b"covered")),
    ]);
    session.harness.disturb(&mut Rng::new(3));
    session.apply(&[put("p", 14, &live_row(50, b"covered, in another place"))]);
    let report = sweep(&session, MADE + 20, MADE + 1);
    assert!(report.rows_removed >= 2 && report.deletions_removed == 2, "{report:?}");
    for _ in 0..2 {
        let left = Row::new(None, None, vec![(ColumnId(3), Cell::live(6, Bytes::from_static(b"kept")))]);
        let data = session.read(&all("p"));
        assert_eq!(data.deletions, PartitionDeletions::default());
        assert_eq!(data.static_row, Some(left.to_bytes()));
        let expected = [(1, left), (3, live_row(5, b"v")), (13, live_row(51, b"newer"))];
        assert_eq!(data.rows, expected.map(|(at, row)| (clustering(at), row.to_bytes())));
        assert_eq!(session.read(&all("gone")), ReadData::default());
        // Again, with nothing to do.
        let report = sweep(&session, MADE + 20, MADE + 1);
        assert_eq!((report.rows_reduced, report.deletions_removed), (0, 0));
        session.reopen();
    }
}

pub(super) fn what_a_removed_deletion_shadowed_never_comes_back(make: &mut MakeHarness<'_>) {
    for seed in 0..12 {
        let mut rng = Rng::new(seed);
        let mut session = Session::new(make);
        // Data and deletions in any order, apart by flushes and compactions.
        let mut writes = vec![
            put("p", 1, &live_row(5, b"by partition")),
            put("q", 1, &live_row(5, b"by range")),
            put("q", 2, &live_row(5, b"by row")),
            put("q", 3, &live_row(5, b"by cell")),
            delete("p", &PartitionDeletions::of_partition(deletion(6))),
            delete("q", &PartitionDeletions::of_range(clustering(1), clustering(2), deletion(6))),
            put("q", 2, &Row::deleted(deletion(6))),
            put("q", 3, &Row::new(None, Some(deletion(5)), vec![(ColumnId(3), Cell::tombstone(6, MADE))])),
        ];
        rng.shuffle(&mut writes);
        for write in writes {
            session.apply(&[write]);
            if rng.chance(300) {
                session.harness.disturb(&mut rng);
            }
        }
        sweep(&session, MADE + 1, MADE + 1);
        for round in 0..4 {
            for name in ["p", "q"] {
                let data = session.read(&all(name));
                assert_eq!(data, ReadData::default(), "seed {seed}, round {round}");
            }
            match round {
                0 => session.harness.disturb(&mut rng),
                1 => session.crash_process(),
                // What the power failure takes away is the removal of the garbage, if anything.
                _ => {
                    session.storage().sync().unwrap();
                    session.crash_power();
                    session.storage().set_tables(&tables(&[TABLE, OTHER_TABLE])).unwrap();
                }
            }
        }
    }
}

pub(super) fn what_is_in_its_grace_stays(make: &mut MakeHarness<'_>) {
    let mut session = Session::new(make);
    let whole = PartitionDeletions::of_partition(deletion(9));
    session.apply(&[put("p", 1, &tombstones(20, MADE)), delete("p", &whole), put("p", 2, &live_row(9, b"covered"))]);
    // Expired, but written in the grace; and what was made at the very second stays too.
    for _ in 0..2 {
        sweep(&session, MADE + 20, MADE);
        let data = session.read(&all("p"));
        assert_eq!(data.deletions, whole);
        let mut kept = tombstones(20, MADE);
        kept.drop_expired_values(i64::from(MADE) + 20);
        assert!(matches!(kept.cell(ColumnId(2)).unwrap().state, CellState::Expiring(_, None)));
        assert_eq!(data.rows, [(clustering(1), kept.to_bytes())]);
        session.crash_process();
    }
    // They go on shadowing.
    session.apply(&[put("p", 1, &live_row(19, b"late")), put("p", 5, &live_row(9, b"late"))]);
    let data = session.read(&all("p"));
    assert_eq!(keys(&data), [1]);
    let row = Row::from_bytes(&data.rows[0].1).unwrap();
    assert_eq!(row.liveness().map(|liveness| liveness.timestamp), Some(20));
}

pub(super) fn a_sweep_is_of_its_tokens_and_its_table(make: &mut MakeHarness<'_>) {
    let session = Session::new(make);
    let whole = PartitionDeletions::of_partition(deletion(9));
    let names: Vec<String> = (0..40).map(|number| format!("partition {number}")).collect();
    let other = |name: &str| mutation(OTHER_TABLE, name, vec![Record::deletions(&whole)]);
    for name in &names {
        session.apply(&[delete(name, &whole), put(name, 1, &Row::deleted(deletion(20))), other(name)]);
    }
    let mut tokens: Vec<Token> = names.iter().map(|name| partition(name).token).collect();
    tokens.sort();
    let swept = GarbageSweep { tokens: tokens[10]..=tokens[29], ..everywhere(TABLE, MADE + 1, MADE + 1) };
    let report = session.storage().collect_garbage(&swept).unwrap();
    assert_eq!(report.deletions_removed, 20);
    for name in &names {
        let data = session.read(&all(name));
        let inside = swept.tokens.contains(&partition(name).token);
        assert_eq!((data.deletions.is_empty(), data.rows.is_empty()), (inside, inside), "{name}");
        let other = session.read(&ReadCommand { table: OTHER_TABLE, ..all(name) });
        assert_eq!(other.deletions, whole, "of another table");
    }
    let unknown = session.storage().collect_garbage(&everywhere(TableId(0xdead), 1, 1));
    assert!(matches!(unknown, Err(StorageError::Invalid(_))), "{unknown:?}");
}

pub(super) fn what_comes_after_a_sweep_is_not_lost(make: &mut MakeHarness<'_>) {
    let mut session = Session::new(make);
    let range = PartitionDeletions::of_range(clustering(0), clustering(9), deletion(6));
    session.apply(&[put("p", 1, &Row::deleted(deletion(6))), delete("p", &range), put("p", 2, &live_row(6, b"v"))]);
    sweep(&session, MADE + 1, MADE + 1);
    // Older than what is gone: it came too late to be shadowed.
    session.apply(&[put("p", 1, &live_row(5, b"late")), put("p", 2, &live_row(5, b"late"))]);
    let newer =
        PartitionDeletions::of_range(clustering(0), clustering(2), Deletion { local_seconds: 90, ..deletion(4) });
    session.apply(&[delete("p", &newer)]);
    for _ in 0..3 {
        let data = session.read(&all("p"));
        assert_eq!((keys(&data), &data.deletions), (vec![1, 2], &newer));
        session.harness.disturb(&mut Rng::new(1));
        sweep(&session, MADE + 2, MADE + 2);
        session.crash_process();
    }
}

/// A random history with sweeps, compared after every read with one without. Time goes by in epochs: what is
/// written in one may arrive until the end of the next, and a sweep takes deletions of what came before that.
pub fn differential(make: &mut MakeHarness<'_>, seed: u64, operations: u64) {
    let mut rng = Rng::new(seed);
    let mut session = Session::new(make);
    let mut reference = Reference::default();
    // The latest purge so far: what replicas are compared by.
    let mut purge = Purge::default();
    let mut epoch: u32 = 2;
    for done in 0..operations {
        if rng.chance(400) {
            let now_seconds = epoch * reference::EPOCH_SECONDS;
            let command = reference::random_command(&mut rng, TABLE);
            let command = ReadCommand { bytes_limit: u32::MAX, now_seconds, ..command };
            let (found, expected) = (session.read(&command), reference.read(&command));
            let same = digest(&found, &purge) == digest(&expected, &purge);
            assert!(same, "seed {seed}, operation {done}, {purge:?}, {command:?}\n{found:?}\n{expected:?}");
        } else {
            let written = epoch - rng.below(2) as u32;
            let mutation = reference::random_mutation_of(&mut rng, TABLE, written);
            reference.apply(&mutation);
            session.commit(&[Write::Apply(mutation)], rng.chance(20));
        }
        match rng.below(1_000) {
            0..=4 => epoch += 1,
            5..=14 => session.harness.disturb(&mut rng),
            15..=24 => {
                purge.now_seconds = epoch * reference::EPOCH_SECONDS;
                purge.gc_before_seconds = (epoch - 1) * reference::EPOCH_SECONDS;
                let cut = Token(rng.next_u64() as i64);
                let tokens = match rng.below(3) {
                    0 => Token::MINIMUM..=cut,
                    1 => cut..=Token(i64::MAX),
                    _ => Token::MINIMUM..=Token(i64::MAX),
                };
                let sweep = GarbageSweep { table: TABLE, tokens, purge: purge.clone() };
                session.storage().collect_garbage(&sweep).unwrap();
            }
            25..=26 => session.reopen(),
            27..=28 => session.crash_process(),
            _ => {}
        }
    }
}
