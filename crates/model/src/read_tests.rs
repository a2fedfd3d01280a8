//! Reads: their encoding, and that a read cut into pages reads what the whole reads.

use super::*;
use crate::deletion::tests::deletions;
use crate::row::tests::row;
use proptest::prelude::*;

/// A position of one or two bytes, a dense small space.
pub(crate) fn position() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(0u8..4, 1..3).prop_map(Bytes::from)
}

/// Every position of that space, and those just after.
fn positions() -> Vec<Bytes> {
    let one = (0u8..5).map(|first| vec![first]);
    let two = (0u8..5).flat_map(|first| (0u8..5).map(move |second| vec![first, second]));
    let three = (0u8..5).flat_map(|first| (0u8..5).map(move |second| vec![first, second, 0]));
    let mut all: Vec<Bytes> = one.chain(two).chain(three).map(Bytes::from).collect();
    all.sort();
    all
}

pub(crate) fn slices() -> impl Strategy<Value = Vec<Slice>> {
    prop::collection::btree_set(position(), 2..9).prop_map(|cuts| {
        let cuts: Vec<Bytes> = cuts.into_iter().collect();
        cuts.chunks_exact(2).map(|pair| Slice { start: pair[0].clone(), end: pair[1].clone() }).collect()
    })
}

fn command() -> impl Strategy<Value = ReadCommand> {
    let key = prop::collection::vec(any::<u8>(), 0..20).prop_map(|bytes| PartitionKey::new(Bytes::from(bytes)));
    let limits = (1u32.., 1u32.., any::<u32>());
    (any::<u128>(), key, slices(), any::<bool>(), any::<bool>(), limits, any::<[u32; 2]>()).prop_map(
        |(table, partition, slices, reversed, static_row, limits, [now, gc_before])| ReadCommand {
            table: TableId(table),
            partition,
            slices,
            reversed,
            static_row,
            row_limit: limits.0,
            bytes_limit: limits.1,
            now_seconds: now,
            gc_before_seconds: gc_before,
            dropped_columns: vec![(ColumnId(gc_before), i64::from(now))],
            tombstone_limit: limits.2,
        },
    )
}

/// Answers that are often alike, with rows in any order: nothing here depends on it.
pub(crate) fn read_data() -> impl Strategy<Value = ReadData> {
    let static_row = prop::option::of(row().prop_map(|row| row.to_bytes()));
    let rows = prop::collection::vec((position(), row().prop_map(|row| row.to_bytes())), 0..4);
    (deletions(), static_row, rows, any::<bool>(), 0u32..9).prop_map(
        |(deletions, static_row, rows, more, tombstones)| ReadData { deletions, static_row, rows, more, tombstones },
    )
}

/// The positions that `command` reads, in reading order.
fn read(command: &ReadCommand) -> Vec<Bytes> {
    let mut read = positions();
    read.retain(|position| command.slices.iter().any(|slice| slice.contains(position)));
    if command.reversed {
        read.reverse();
    }
    read
}

proptest! {
    #[test]
    fn encodings_round_trip(command in command(), data in read_data()) {
        prop_assert_eq!(ReadCommand::from_bytes(&command.to_bytes()), Ok(command));
        prop_assert_eq!(ReadData::from_bytes(&data.to_bytes()), Ok(data));
    }

    #[test]
    fn any_bytes_decode_or_fail_without_panic(bytes: Vec<u8>, command in command(), at: prop::sample::Index, to: u8) {
        let mut changed = command.to_bytes().to_vec();
        let at = at.index(changed.len());
        changed[at] = to;
        for bytes in [Bytes::from(bytes), Bytes::from(changed)] {
            let _ = ReadData::from_bytes(&bytes);
            if let Ok(command) = ReadCommand::from_bytes(&bytes) {
                prop_assert_eq!(command.to_bytes(), bytes);
            }
        }
    }

    #[test]
    fn what_comes_after_a_row_is_the_rest_of_the_command(
        command in command(), last in position(), row_limit in 0u32..3,
    ) {
        let expected: Vec<Bytes> = read(&command)
            .into_iter()
            .filter(|position| if command.reversed { *position < last } else { *position > last })
            .collect();
        match command.after(&last, row_limit) {
            None => prop_assert!(row_limit == 0 || expected.is_empty(), "{expected:?} are left"),
            Some(rest) => {
                prop_assert!(row_limit > 0);
                prop_assert_eq!(read(&rest), expected);
                let same = ReadCommand { slices: rest.slices.clone(), row_limit, ..command };
                prop_assert_eq!(&rest, &same);
                // It is a command that a replica takes.
                prop_assert_eq!(ReadCommand::from_bytes(&rest.to_bytes()), Ok(rest));
            }
        }
    }

    #[test]
    fn pages_read_what_the_whole_reads(command in command(), page in 1usize..5) {
        let whole = read(&command);
        let mut rest = Some(command);
        let mut paged = Vec::new();
        while let Some(current) = rest {
            let positions: Vec<Bytes> = read(&current).into_iter().take(page).collect();
            rest = positions.last().and_then(|last| current.after(last, 7));
            paged.extend(positions);
        }
        prop_assert_eq!(paged, whole);
    }
}

#[test]
fn commands_that_no_replica_can_serve_are_refused() {
    let slice = |start: &'static [u8], end: &'static [u8]| Slice {
        start: Bytes::from_static(start),
        end: Bytes::from_static(end),
    };
    let command = ReadCommand {
        table: TableId(1),
        partition: PartitionKey::new(Bytes::from_static(b"k")),
        slices: vec![slice(&[1], &[2]), slice(&[2], &[3])],
        reversed: false,
        static_row: false,
        row_limit: 1,
        bytes_limit: 1,
        now_seconds: 0,
        tombstone_limit: 0,
        gc_before_seconds: 0,
        dropped_columns: Vec::new(),
    };
    assert_eq!(ReadCommand::from_bytes(&command.to_bytes()), Ok(command.clone()));
    let refused = |change: fn(&mut ReadCommand)| {
        let mut changed = command.clone();
        change(&mut changed);
        ReadCommand::from_bytes(&changed.to_bytes()).unwrap_err()
    };
    assert_eq!(refused(|command| command.slices.clear()), CodecError::Invalid("slices"));
    assert_eq!(refused(|command| command.slices.reverse()), CodecError::Invalid("slices"));
    assert_eq!(refused(|command| command.slices[0].end = Bytes::from_static(&[2, 1])), CodecError::Invalid("slices"));
    assert_eq!(refused(|command| command.slices[1].end = Bytes::from_static(&[2])), CodecError::Invalid("slices"));
    assert_eq!(refused(|command| command.row_limit = 0), CodecError::Invalid("limit"));
    assert_eq!(refused(|command| command.bytes_limit = 0), CodecError::Invalid("limit"));
}

#[test]
fn all_slices_hold_every_key_and_not_the_static_row() {
    for key in [&[0x38][..], &[0x3e, 0x38], &[0x40, 0xff, 0x38], &[0x42]] {
        assert!(Slice::all().contains(key));
    }
    assert!(!Slice::all().contains(&[0x08]));
    assert!(!Slice::all().contains(&[]));
}
