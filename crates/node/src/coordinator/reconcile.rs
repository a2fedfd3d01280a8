//! Merging the answers of replicas to one read, and finding what each of them lacks. Pure.
//!
//! Invariants:
//! * R3: nothing is taken beyond the position that every answer covers: an answer that a limit ended says
//!   nothing of what comes after its last row, and a row that another replica has there may be deleted here.
//! * R4: a replica that merges the records found for it holds, up to that position, what the reader is told.
//! * R8: replicas whose states differ only by what may be purged get nothing, and no replica gets garbage that it
//!   may have purged, unless it needs it: a deletion that one replica still has covers what another still holds.

use bytes::Bytes;
use model::codec::{CodecError, Decode, Encode};
use model::deletion::{Deletion, PartitionDeletions};
use model::garbage::Purge;
use model::read::ReadCommand;
use model::{ReadData, Record, RecordKey, Row};

/// The merged answer.
#[derive(Debug, Default)]
pub(crate) struct Reconciled {
    /// The rows in reading order, live or not, with everything applied that deletes them.
    pub(crate) rows: Vec<(Bytes, Row)>,
    /// The last position that the answer covers; `None` when it covers the whole command.
    pub(crate) end: Option<Bytes>,
    /// For each answer, the records that its replica lacks, ascending.
    pub(crate) repairs: Vec<Vec<Record>>,
}

/// True when rows are in reading order within the slices and a limited answer says where it ended.
pub(crate) fn is_well_formed(command: &ReadCommand, data: &ReadData) -> bool {
    let (Some(first), Some(last)) = (command.slices.first(), command.slices.last()) else { return false };
    let ordered = |pair: &[(Bytes, Bytes)]| precedes(command, &pair[0].0, &pair[1].0);
    let inside = |(key, _): &(Bytes, Bytes)| *key >= first.start && *key < last.end;
    data.rows.windows(2).all(ordered)
        && data.rows.first().is_none_or(inside)
        && data.rows.last().is_none_or(inside)
        && !(data.more && data.rows.is_empty())
}

fn precedes(command: &ReadCommand, a: &Bytes, b: &Bytes) -> bool {
    if command.reversed { a > b } else { a < b }
}

/// The last position that an answer covers; `None` when it covers the whole command.
fn end_of(data: &ReadData) -> Option<&Bytes> {
    if data.more { data.rows.last().map(|(key, _)| key) } else { None }
}

/// The deletions of an answer within what the merged answer covers.
fn clipped(command: &ReadCommand, end: Option<&Bytes>, deletions: &PartitionDeletions) -> PartitionDeletions {
    let (Some(first), Some(last)) = (command.slices.first(), command.slices.last()) else { return deletions.clone() };
    match end {
        None => deletions.clip(&first.start, &last.end),
        Some(end) if command.reversed => deletions.clip(end, &last.end),
        Some(end) => {
            // The end itself is covered: the first position after it is itself and a zero byte.
            let stop = Bytes::from([end.as_ref(), &[0]].concat());
            deletions.clip(&first.start, &stop)
        }
    }
}

/// Merges well-formed answers to one command.
///
/// # Errors
/// The index of an answer with a row that is not one.
pub(crate) fn reconcile(command: &ReadCommand, answers: &[&ReadData]) -> Result<Reconciled, usize> {
    let ends = answers.iter().filter_map(|data| end_of(data));
    let end = if command.reversed { ends.max() } else { ends.min() }.cloned();
    let mut repairs: Vec<Vec<Record>> = vec![Vec::new(); answers.len()];
    let purge = command.purge();
    let own: Vec<PartitionDeletions> =
        answers.iter().map(|data| clipped(command, end.as_ref(), &data.deletions)).collect();
    let deletions = own.iter().fold(PartitionDeletions::default(), |merged, own| merged.merge(own));
    let mut merger = RowMerger { purge: &purge, needs_deletions: vec![false; answers.len()], repairs: &mut repairs };
    if command.static_row {
        let values: Vec<Option<&Bytes>> = answers.iter().map(|data| data.static_row.as_ref()).collect();
        merger.merge(&values, deletions.partition(), &RecordKey::Static)?;
    }
    let mut heads: Vec<std::iter::Peekable<std::slice::Iter<(Bytes, Bytes)>>> =
        answers.iter().map(|data| data.rows.iter().peekable()).collect();
    let mut values: Vec<Option<&Bytes>> = Vec::with_capacity(answers.len());
    let mut rows = Vec::new();
    loop {
        let keys = heads.iter_mut().filter_map(|head| head.peek().map(|row| &row.0));
        let Some(key) = (if command.reversed { keys.max() } else { keys.min() }) else { break };
        if end.as_ref().is_some_and(|end| precedes(command, end, key)) {
            break;
        }
        values.clear();
        values.extend(heads.iter_mut().map(|head| head.next_if(|(own, _)| own == key).map(|(_, value)| value)));
        let covering = deletions.covering(key);
        let row = merger.merge(&values, covering, &RecordKey::Row(key.clone()))?;
        rows.push((key.clone(), row));
    }
    let needs_deletions = merger.needs_deletions;
    for ((own, needed), repair) in own.iter().zip(needs_deletions).zip(&mut repairs) {
        if let Some(lacking) = lacking_deletions(own, &deletions, needed, &purge) {
            repair.push(Record::deletions(&lacking));
        }
        repair.sort_by(|a, b| a.key.cmp(&b.key));
    }
    Ok(Reconciled { rows, end, repairs })
}

/// What a replica lacks of the merged deletions. With `needed` something that they cover is visible there.
fn lacking_deletions(
    own: &PartitionDeletions,
    merged: &PartitionDeletions,
    needed: bool,
    purge: &Purge,
) -> Option<PartitionDeletions> {
    if own == merged {
        return None;
    }
    let kept = merged.without_garbage(purge);
    let agrees = |state: &PartitionDeletions| state.without_garbage(purge) == kept;
    match (needed, agrees(own)) {
        (false, true) => None,
        (false, false) if agrees(&own.merge(&kept)) => Some(kept),
        _ => Some(merged.clone()),
    }
}

/// Merges the versions of rows, and finds what each answer's replica lacks.
struct RowMerger<'a> {
    purge: &'a Purge,
    /// The replicas at which something is visible that the merged deletions cover.
    needs_deletions: Vec<bool>,
    repairs: &'a mut Vec<Vec<Record>>,
}

impl RowMerger<'_> {
    /// Merges the versions of one row, one for each answer.
    fn merge(&mut self, values: &[Option<&Bytes>], covering: Option<Deletion>, key: &RecordKey) -> Result<Row, usize> {
        let decode = |index: usize, value: Option<&Bytes>| -> Result<Row, usize> {
            value.map_or(Ok(Row::default()), |value| Row::from_bytes(value).map_err(|_: CodecError| index))
        };
        let cover = |mut row: Row| {
            if let Some(deletion) = covering {
                row.delete(deletion);
            }
            row
        };
        // Most rows are the same everywhere.
        if values.windows(2).all(|pair| pair[0] == pair[1]) {
            return Ok(cover(decode(0, values.first().copied().flatten())?));
        }
        let mut versions = Vec::with_capacity(values.len());
        for (index, value) in values.iter().enumerate() {
            versions.push(decode(index, *value)?);
        }
        let merged = versions.iter().cloned().map(cover).reduce(Row::merge).unwrap_or_default();
        let normal = |mut row: Row| {
            row.normalize(self.purge);
            row
        };
        let normal_merged = normal(merged.clone());
        for (index, version) in versions.into_iter().enumerate() {
            if normal(version.clone()) == normal_merged {
                continue;
            }
            let covered = cover(version.clone());
            let mut lacking = Row::default();
            if normal(covered.clone()) != normal_merged {
                lacking = merged.clone();
                lacking.purge(self.purge);
                if normal(covered.merge(lacking.clone())) != normal_merged {
                    // It holds what only garbage shadows.
                    lacking = merged.clone();
                }
                self.repairs[index].push(Record { key: key.clone(), value: lacking.to_bytes() });
            }
            self.needs_deletions[index] |= normal(version.merge(lacking)) != normal_merged;
        }
        Ok(merged)
    }
}

#[cfg(test)]
#[path = "reconcile_tests.rs"]
mod tests;
