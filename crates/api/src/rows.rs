//! A row on the wire: for each column a signed 32-bit big-endian length and as many bytes, -1 for null. One
//! allocation for each row when it is written, none when it is read: cells are slices of the row.

use crate::InvalidMessage;
use bytes::{Buf, Bytes};

/// The row of these cells.
///
/// # Panics
/// When a cell is longer than 2 GiB, which [`model::limits::VALUE_BYTES_MAX`] excludes.
#[must_use]
pub fn encode_row(cells: &[Option<Bytes>]) -> Bytes {
    let length = cells.iter().map(|cell| 4 + cell.as_ref().map_or(0, Bytes::len)).sum();
    let mut row = Vec::with_capacity(length);
    for cell in cells {
        match cell {
            None => row.extend_from_slice(&(-1i32).to_be_bytes()),
            Some(value) => {
                let length = i32::try_from(value.len()).expect("values are bounded by VALUE_BYTES_MAX");
                row.extend_from_slice(&length.to_be_bytes());
                row.extend_from_slice(value);
            }
        }
    }
    Bytes::from(row)
}

/// The cells of a row that has `columns` of them; each shares the row's memory.
///
/// # Errors
/// When it has more or fewer.
pub fn decode_row(mut row: Bytes, columns: usize) -> Result<Vec<Option<Bytes>>, InvalidMessage> {
    // A cell takes four bytes at least: no allocation by a number that the row does not back.
    if row.len() / 4 < columns {
        return Err(InvalidMessage::new("Rows.rows", "has a row with too few cells"));
    }
    let mut cells = Vec::with_capacity(columns);
    for _ in 0..columns {
        if row.len() < 4 {
            return Err(InvalidMessage::new("Rows.rows", "has a row with too few cells"));
        }
        let length = row.get_i32();
        cells.push(match usize::try_from(length) {
            Ok(length) if length <= row.len() => Some(row.split_to(length)),
            Ok(_) => return Err(InvalidMessage::new("Rows.rows", "has a cell that is cut short")),
            Err(_) if length == -1 => None,
            Err(_) => return Err(InvalidMessage::new("Rows.rows", format!("has a cell of length {length}"))),
        });
    }
    if !row.is_empty() {
        return Err(InvalidMessage::new("Rows.rows", "has a row with bytes after its last cell"));
    }
    Ok(cells)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn null_and_empty_differ() {
        let cells = vec![None, Some(Bytes::new()), Some(Bytes::from_static(b"x"))];
        assert_eq!(decode_row(encode_row(&cells), 3), Ok(cells));
        assert_eq!(decode_row(Bytes::new(), 0), Ok(vec![]));
    }

    #[test]
    fn a_row_with_another_number_of_cells_is_refused() {
        let row = encode_row(&[None, None]);
        assert!(decode_row(row.clone(), 1).is_err());
        assert!(decode_row(row.clone(), 3).is_err());
        assert!(decode_row(row, usize::MAX).is_err());
        assert!(decode_row(Bytes::from_static(&[0xff, 0xff, 0xff, 0xfe]), 1).is_err());
        assert!(decode_row(Bytes::from_static(&[0, 0, 0, 2, 1]), 1).is_err());
    }

    proptest! {
        #[test]
        fn rows_round_trip(cells: Vec<Option<Vec<u8>>>) {
            let cells: Vec<_> = cells.into_iter().map(|cell| cell.map(Bytes::from)).collect();
            prop_assert_eq!(decode_row(encode_row(&cells), cells.len()), Ok(cells));
        }

        #[test]
        fn any_bytes_decode_or_fail_without_panic(bytes: Vec<u8>, columns in 0usize..20) {
            let _ = decode_row(Bytes::from(bytes), columns);
        }
    }
}
