//! Tests of hint files: every cut, damage in the middle, limits.

use super::*;
use model::{PartitionKey, Record, Row, TableId};

const NODE: NodeId = NodeId(0xb1);

fn mutation(number: u8, bytes: usize) -> Mutation {
    let row = Row::deleted(model::deletion::Deletion { timestamp: i64::from(number), local_seconds: 1 });
    let key = Bytes::from(vec![number; bytes]);
    let records = vec![Record::row(Bytes::from_static(&[0x38]), &row)];
    Mutation { table: TableId(1), partition: PartitionKey::new(key), records }
}

fn hint(number: u8, bytes: usize) -> Hint {
    Hint {
        written_seconds: 1_000 + u32::from(number),
        grace_seconds: u32::from(number),
        mutation: Arc::new(mutation(number, bytes)),
    }
}

fn open(directory: &Path) -> Hints {
    Hints::open(directory, 500, 1 << 20).unwrap()
}

fn write(hints: &Hints, numbers: std::ops::Range<u8>) {
    for number in numbers {
        hints.append(NODE, &hint(number, 20)).unwrap();
        assert!(hints.write_pending().unwrap().is_empty());
    }
    hints.sync().unwrap();
    hints.publish();
}

fn numbers(hints: &Hints) -> Vec<u8> {
    let read = hints.read(NODE, None, u32::MAX).unwrap();
    assert!(read.windows(2).all(|pair| pair[0].0 < pair[1].0));
    let number = |hint: &Hint| hint.mutation.partition.bytes[0];
    assert!(read.iter().all(|(_, hint)| hint.written_seconds == 1_000 + u32::from(number(hint))));
    read.iter().map(|(_, hint)| number(hint)).collect()
}

fn segments(directory: &Path) -> Vec<PathBuf> {
    let mut paths = entries(&directory.join(NODE.to_string())).unwrap();
    paths.retain(|path| first_position(path).is_some());
    paths.sort();
    paths
}

#[test]
fn a_torn_end_is_cut_off_at_every_byte() {
    let directory = tempfile::tempdir().unwrap();
    write(&open(directory.path()), 0..4);
    let [segment] = &segments(directory.path())[..] else { panic!("one segment") };
    let whole = std::fs::read(segment).unwrap();
    let record = (whole.len() - MAGIC.len()) / 4;
    for length in 0..whole.len() {
        for garbage in [&[][..], &[0; 40], &[0xff; 40]] {
            let torn = [&whole[..length], garbage].concat();
            std::fs::write(segment, &torn).unwrap();
            // The garbage may happen to be what was there.
            let same = torn.iter().zip(&whole).take_while(|(torn, whole)| torn == whole).count();
            let kept = (same.saturating_sub(MAGIC.len()) / record) as u8;
            let hints = open(directory.path());
            assert_eq!(numbers(&hints), (0..kept).collect::<Vec<u8>>(), "cut at {length}");
            // What is written next follows at once.
            write(&hints, 50..52);
            let expected: Vec<u8> = (0..kept).chain(50..52).collect();
            assert_eq!(numbers(&hints), expected, "cut at {length}");
            assert_eq!(numbers(&open(directory.path())), expected, "cut at {length}");
            segments(directory.path()).iter().for_each(|path| std::fs::remove_file(path).unwrap());
        }
    }
}

#[test]
fn a_damaged_hint_is_skipped_and_the_others_are_not() {
    let directory = tempfile::tempdir().unwrap();
    write(&open(directory.path()), 0..4);
    let [segment] = &segments(directory.path())[..] else { panic!("one segment") };
    let whole = std::fs::read(segment).unwrap();
    let record = (whole.len() - MAGIC.len()) / 4;
    for at in MAGIC.len()..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x10;
        std::fs::write(segment, &damaged).unwrap();
        let hit = ((at - MAGIC.len()) / record) as u8;
        let expected: Vec<u8> = (0..4).filter(|number| *number != hit).collect();
        let hints = open(directory.path());
        assert_eq!(numbers(&hints), expected, "byte {at}");
        let last = hints.read(NODE, None, u32::MAX).unwrap().last().unwrap().0;
        hints.delivered(NODE, last, true).unwrap();
        assert_eq!(numbers(&hints), []);
        assert_eq!(hints.targets(), [], "byte {at}: nothing readable is left");
        std::fs::write(segment, &whole).unwrap();
        std::fs::remove_file(directory.path().join(NODE.to_string()).join("delivered")).unwrap();
    }
}

#[test]
fn positions_go_on_behind_a_segment_of_which_nothing_is_left() {
    let directory = tempfile::tempdir().unwrap();
    write(&open(directory.path()), 0..40);
    let last = segments(directory.path()).pop().unwrap();
    let first = first_position(&last).unwrap();
    std::fs::write(&last, b"HEL").unwrap();
    let hints = open(directory.path());
    write(&hints, 100..101);
    let read = hints.read(NODE, None, u32::MAX).unwrap();
    assert_eq!(read.last().unwrap().0, HintPosition(first));
    assert_eq!(numbers(&hints), (0..first as u8 - 1).chain(100..101).collect::<Vec<u8>>());
}

#[test]
fn damage_in_a_closed_segment_costs_only_what_it_hit() {
    let directory = tempfile::tempdir().unwrap();
    write(&open(directory.path()), 0..40);
    let paths = segments(directory.path());
    assert!(paths.len() > 3, "several segments");
    std::fs::write(&paths[1], b"HELHNT01 nothing").unwrap();
    let hints = open(directory.path());
    let found = numbers(&hints);
    let (lost_from, lost_to) = (first_position(&paths[1]).unwrap() - 1, first_position(&paths[2]).unwrap() - 1);
    let expected: Vec<u8> = (0..40).filter(|number| !(lost_from..lost_to).contains(&u64::from(*number))).collect();
    assert_eq!(found, expected);
}

#[test]
fn delivered_segments_are_removed_and_space_comes_back() {
    let directory = tempfile::tempdir().unwrap();
    let hints = open(directory.path());
    write(&hints, 0..60);
    let on_disk =
        |directory: &Path| segments(directory).iter().map(|p| std::fs::metadata(p).unwrap().len()).sum::<u64>();
    assert_eq!(hints.total_bytes(), on_disk(directory.path()));
    let all = hints.read(NODE, None, u32::MAX).unwrap();
    for at in [5, 6, 30, 58] {
        hints.delivered(NODE, all[at].0, at % 2 == 0).unwrap();
        assert_eq!(hints.total_bytes(), on_disk(directory.path()));
        assert_eq!(numbers(&open(directory.path())), (at as u8 + 1..60).collect::<Vec<u8>>());
    }
    hints.delivered(NODE, all[59].0, true).unwrap();
    assert_eq!((hints.total_bytes(), segments(directory.path()).len()), (0, 0));
}

#[test]
fn hints_beyond_the_limit_are_refused_until_others_are_delivered() {
    let directory = tempfile::tempdir().unwrap();
    let hints = Hints::open(directory.path(), 500, 2_000).unwrap();
    let mut taken = 0;
    while hints.append(NODE, &hint(taken, 20)).is_ok() {
        taken += 1;
        assert!(taken < 100, "the limit holds");
    }
    assert!(matches!(hints.append(NODE, &hint(taken, 20)), Err(StorageError::Full(_))));
    hints.write_pending().unwrap();
    hints.publish();
    assert_eq!(numbers(&hints).len(), usize::from(taken));
    let last = hints.read(NODE, None, u32::MAX).unwrap().last().unwrap().0;
    hints.delivered(NODE, last, false).unwrap();
    hints.append(NODE, &hint(0, 20)).unwrap();
}

#[test]
fn a_hint_larger_than_what_is_read_at_once_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let hints = Hints::open(directory.path(), 1 << 20, 1 << 24).unwrap();
    for number in 0..6 {
        hints.append(NODE, &hint(number, if number % 2 == 0 { 300_000 } else { 10 })).unwrap();
    }
    hints.write_pending().unwrap();
    hints.publish();
    assert_eq!(numbers(&hints), [0, 1, 2, 3, 4, 5]);
    let (mut after, mut read) = (None, Vec::new());
    while let Some((position, hint)) = hints.read(NODE, after, 1).unwrap().pop() {
        after = Some(position);
        read.push(hint.mutation.partition.bytes[0]);
    }
    assert_eq!(read, [0, 1, 2, 3, 4, 5]);
}

#[test]
fn a_flip_of_any_bit_of_what_was_delivered_is_noticed() {
    let text = delivered_text(1_234_567);
    assert_eq!(parse_delivered(text.as_bytes()), Some(1_234_567));
    for at in 0..text.len() {
        for bit in 0..8 {
            let mut damaged = text.clone().into_bytes();
            damaged[at] ^= 1 << bit;
            assert_eq!(parse_delivered(&damaged), None, "bit {bit} of byte {at}");
        }
        assert_eq!(parse_delivered(&text.as_bytes()[..at]), None, "cut at {at}");
    }
    let directory = tempfile::tempdir().unwrap();
    write(&open(directory.path()), 0..4);
    std::fs::write(directory.path().join(NODE.to_string()).join("delivered"), b"delivered 4\n").unwrap();
    let hints = open(directory.path());
    assert_eq!((numbers(&hints), hints.damaged()), (vec![0, 1, 2, 3], 1));
}

#[test]
fn files_that_end_before_what_was_written_are_noticed() {
    let directory = tempfile::tempdir().unwrap();
    write(&open(directory.path()), 0..40);
    let paths = segments(directory.path());
    let lost_from = first_position(paths.last().unwrap()).unwrap();
    std::fs::remove_file(paths.last().unwrap()).unwrap();
    let mut hints = open(directory.path());
    assert_eq!(hints.damaged(), 0, "the files alone do not tell");
    hints.expect(&BTreeMap::from([(NODE, 40)])).unwrap();
    assert_eq!(hints.damaged(), 1);
    // No position is given away twice, and what is left is delivered.
    write(&hints, 100..101);
    let read = hints.read(NODE, None, u32::MAX).unwrap();
    assert_eq!(read.last().unwrap().0, HintPosition(41));
    assert_eq!(numbers(&hints), (0..lost_from as u8 - 1).chain(100..101).collect::<Vec<u8>>());
    hints.delivered(NODE, HintPosition(41), false).unwrap();
    assert_eq!((hints.targets(), hints.pending()), (Vec::new(), BTreeMap::new()));
}

#[test]
fn a_target_whose_files_are_all_gone_is_noticed_once_and_owes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    write(&open(directory.path()), 0..4);
    std::fs::remove_dir_all(directory.path().join(NODE.to_string())).unwrap();
    for damaged in [1, 0] {
        let mut hints = open(directory.path());
        hints.expect(&BTreeMap::from([(NODE, 4)])).unwrap();
        assert_eq!((hints.damaged(), hints.pending()), (damaged, BTreeMap::new()));
    }
}

#[test]
fn a_segment_missing_in_the_middle_is_noticed_by_reading() {
    let directory = tempfile::tempdir().unwrap();
    write(&open(directory.path()), 0..40);
    std::fs::remove_file(&segments(directory.path())[1]).unwrap();
    let hints = open(directory.path());
    assert!(numbers(&hints).len() < 40);
    assert!(hints.damaged() > 0);
}
