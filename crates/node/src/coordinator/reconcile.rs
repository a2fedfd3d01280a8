//! Merging the answers of replicas to one read or scan, and finding what each of them lacks. Pure.
//!
//! Invariants:
//! * R3: nothing is taken beyond the position that every answer covers: an answer that a limit ended says
//!   nothing of what comes after its last row, and a row that another replica has there may be deleted here. In a
//!   scan a partition that a limit per partition ended is such an answer too: what comes after it is taken only if
//!   what is left of that partition is not needed.
//! * R4: a replica that merges the records found for it holds, up to that position, what the reader is told.
//! * R8: replicas whose states differ only by what may be purged get nothing, and no replica gets garbage that it
//!   may have purged, unless it needs it: a deletion that one replica still has covers what another still holds.

use bytes::Bytes;
use model::codec::{CodecError, Decode, Encode};
use model::deletion::{Deletion, PartitionDeletions};
use model::garbage::Purge;
use model::read::{ReadCommand, Slice, slices_after};
use model::scan::{PositionWithin, ScanPosition};
use model::{PartitionKey, ReadData, Record, RecordKey, Row, ScanCommand, ScanData, Token};

/// What was asked of a partition, as far as merging depends on it.
#[derive(Debug)]
pub(crate) struct Asked<'a> {
    slices: &'a [Slice],
    reversed: bool,
    static_row: bool,
    purge: &'a Purge,
    /// A planted bug: what some answer does not cover is taken from the others.
    pub(crate) trusting: bool,
    /// A planted bug: what deletions of ranges cover is taken.
    pub(crate) without_deletions: bool,
}

impl<'a> Asked<'a> {
    /// By a read, whose replicas tell garbage by `purge`.
    pub(crate) fn by(command: &'a ReadCommand, purge: &'a Purge) -> Asked<'a> {
        let ReadCommand { slices, reversed, static_row, .. } = command;
        let (reversed, static_row) = (*reversed, *static_row);
        Asked { slices, reversed, static_row, purge, trusting: false, without_deletions: false }
    }

    /// Everything in these slices, the static row too.
    pub(crate) fn whole(slices: &'a [Slice], purge: &'a Purge) -> Asked<'a> {
        Asked { slices, reversed: false, static_row: true, purge, trusting: false, without_deletions: false }
    }

    fn precedes(&self, a: &Bytes, b: &Bytes) -> bool {
        if self.reversed { a > b } else { a < b }
    }
}

/// The merged answer for a partition.
#[derive(Debug, Default)]
pub(crate) struct Reconciled {
    /// The static row, live or not, without what deletes it; empty when it was not asked for.
    pub(crate) static_row: Row,
    /// The rows in reading order, live or not, with everything applied that deletes them.
    pub(crate) rows: Vec<(Bytes, Row)>,
    /// The last position that the answer covers; `None` when it covers the whole command.
    pub(crate) end: Option<Bytes>,
    /// For each answer, the records that its replica lacks, ascending.
    pub(crate) repairs: Vec<Vec<Record>>,
}

/// What replicas agree on of a partition.
#[derive(Clone, Debug)]
pub(crate) struct AgreedPartition {
    pub(crate) key: PartitionKey,
    /// Live or not; none when it is empty or was not asked for.
    pub(crate) static_row: Option<Bytes>,
    /// In reading order, live or not; each is the encoding of a row.
    pub(crate) rows: Vec<(Bytes, Bytes)>,
}

impl AgreedPartition {
    /// By rows that were merged.
    pub(crate) fn of(key: &PartitionKey, static_row: &Row, rows: &[(Bytes, Row)]) -> AgreedPartition {
        AgreedPartition {
            key: key.clone(),
            static_row: (!static_row.is_empty()).then(|| static_row.to_bytes()),
            rows: rows.iter().map(|(clustering, row)| (clustering.clone(), row.to_bytes())).collect(),
        }
    }
}

/// The merged page of a scan.
#[derive(Debug, Default)]
pub(crate) struct ReconciledScan {
    /// In order.
    pub(crate) partitions: Vec<AgreedPartition>,
    /// Where the next page goes on; `None` when the range is exhausted.
    pub(crate) next: Option<ScanPosition>,
    /// For each answer, the records that its replica lacks, by partition.
    pub(crate) repairs: Vec<Vec<(PartitionKey, Vec<Record>)>>,
}

/// True when rows are in reading order within the slices and a limited answer says where it ended.
pub(crate) fn is_well_formed(slices: &[Slice], reversed: bool, data: &ReadData) -> bool {
    let (Some(first), Some(last)) = (slices.first(), slices.last()) else { return false };
    let ordered = |pair: &[(Bytes, Bytes)]| if reversed { pair[0].0 > pair[1].0 } else { pair[0].0 < pair[1].0 };
    let inside = |(key, _): &(Bytes, Bytes)| *key >= first.start && *key < last.end;
    data.rows.windows(2).all(ordered)
        && data.rows.first().is_none_or(inside)
        && data.rows.last().is_none_or(inside)
        && !(data.more && data.rows.is_empty())
}

/// True when partitions are in order within what was asked for, each is well formed, and a page that a limit ended
/// says where.
pub(crate) fn is_well_formed_scan(command: &ScanCommand, data: &ScanData) -> bool {
    let resume = command.resume.as_ref();
    let ordered = data.partitions.windows(2).all(|pair| pair[0].0 < pair[1].0);
    let after = data.partitions.first().is_none_or(|(key, _)| {
        resume.is_none_or(|resume| resume.partition < *key || resume.within.is_some() && resume.partition == *key)
    });
    let sound = |(key, data): &(PartitionKey, ReadData)| {
        let (slices, _) = part_of(command, key);
        command.range.contains(key.token) && Token::of(&key.bytes) == key.token && is_well_formed(&slices, false, data)
    };
    let ended = match (&data.next, data.partitions.last()) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(ScanPosition { partition, within }), Some((last, data))) => {
            let row = data.rows.last().map(|(row, _)| row).filter(|_| data.more);
            partition == last && within.as_ref().is_none_or(|within| Some(&within.last) == row)
        }
    };
    ordered && after && ended && data.partitions.iter().all(sound)
}

/// The rows that a scan wants of a partition, and how many live ones at most.
fn part_of(command: &ScanCommand, partition: &PartitionKey) -> (Vec<Slice>, u32) {
    let resume = command.resume.as_ref().filter(|resume| resume.partition == *partition);
    match resume.and_then(|resume| resume.within.as_ref()) {
        Some(within) => (slices_after(&command.slices, false, &within.last), within.rows_left),
        None => (command.slices.clone(), command.per_partition_limit),
    }
}

/// The last position that an answer covers; `None` when it covers everything that was asked for.
fn end_of(data: &ReadData) -> Option<&Bytes> {
    if data.more { data.rows.last().map(|(key, _)| key) } else { None }
}

/// The deletions of an answer within what the merged answer covers.
fn clipped(asked: &Asked<'_>, end: Option<&Bytes>, deletions: &PartitionDeletions) -> PartitionDeletions {
    let (Some(first), Some(last)) = (asked.slices.first(), asked.slices.last()) else { return deletions.clone() };
    match end {
        None => deletions.clip(&first.start, &last.end),
        Some(end) if asked.reversed => deletions.clip(end, &last.end),
        Some(end) => {
            // The end itself is covered: the first position after it is itself and a zero byte.
            let stop = Bytes::from([end.as_ref(), &[0]].concat());
            deletions.clip(&first.start, &stop)
        }
    }
}

/// Merges well-formed answers for one partition.
///
/// # Errors
/// The index of an answer with a row that is not one.
pub(crate) fn reconcile(asked: &Asked<'_>, answers: &[&ReadData]) -> Result<Reconciled, usize> {
    let ends = answers.iter().filter_map(|data| end_of(data));
    let end = if asked.reversed != asked.trusting { ends.max() } else { ends.min() }.cloned();
    let mut repairs: Vec<Vec<Record>> = vec![Vec::new(); answers.len()];
    let purge = asked.purge;
    let own: Vec<PartitionDeletions> =
        answers.iter().map(|data| clipped(asked, end.as_ref(), &data.deletions)).collect();
    let deletions = own.iter().fold(PartitionDeletions::default(), |merged, own| merged.merge(own));
    let mut merger = RowMerger { purge, needs_deletions: vec![false; answers.len()], repairs: &mut repairs };
    let mut static_row = Row::default();
    if asked.static_row {
        let values: Vec<Option<&Bytes>> = answers.iter().map(|data| data.static_row.as_ref()).collect();
        static_row = merger.merge(&values, deletions.partition(), &RecordKey::Static)?;
    }
    let mut heads: Vec<std::iter::Peekable<std::slice::Iter<(Bytes, Bytes)>>> =
        answers.iter().map(|data| data.rows.iter().peekable()).collect();
    let mut values: Vec<Option<&Bytes>> = Vec::with_capacity(answers.len());
    let mut rows = Vec::new();
    loop {
        let keys = heads.iter_mut().filter_map(|head| head.peek().map(|row| &row.0));
        let Some(key) = (if asked.reversed { keys.max() } else { keys.min() }) else { break };
        if end.as_ref().is_some_and(|end| asked.precedes(end, key)) {
            break;
        }
        values.clear();
        values.extend(heads.iter_mut().map(|head| head.next_if(|(own, _)| own == key).map(|(_, value)| value)));
        let covering = deletions.covering(key).filter(|_| !asked.without_deletions);
        let row = merger.merge(&values, covering, &RecordKey::Row(key.clone()))?;
        rows.push((key.clone(), row));
    }
    let needs_deletions = merger.needs_deletions;
    for ((own, needed), repair) in own.iter().zip(needs_deletions).zip(&mut repairs) {
        if let Some(lacking) = lacking_deletions(own, &deletions, needed, purge) {
            repair.push(Record::deletions(&lacking));
        }
        repair.sort_by(|a, b| a.key.cmp(&b.key));
    }
    Ok(Reconciled { static_row, rows, end, repairs })
}

/// Merges well-formed pages of one scan, whose replicas tell garbage by `purge`. With `trusting`, a planted bug,
/// what some page does not cover is taken from the others.
///
/// # Errors
/// The index of an answer with a row that is not one.
pub(crate) fn reconcile_scan(
    command: &ScanCommand,
    purge: &Purge,
    answers: &[&ScanData],
    trusting: bool,
) -> Result<ReconciledScan, usize> {
    let nothing = ReadData::default();
    let ends = answers.iter().filter_map(|data| data.next.as_ref().map(|next| &next.partition));
    let stop = if trusting { ends.max() } else { ends.min() };
    let mut scan = ReconciledScan { repairs: vec![Vec::new(); answers.len()], ..ReconciledScan::default() };
    let mut heads: Vec<std::iter::Peekable<std::slice::Iter<(PartitionKey, ReadData)>>> =
        answers.iter().map(|data| data.partitions.iter().peekable()).collect();
    while let Some(key) = heads.iter_mut().filter_map(|head| head.peek().map(|(key, _)| key)).min() {
        if stop.is_some_and(|stop| stop < key) {
            break;
        }
        let own = heads.iter_mut().map(|head| head.next_if(|(own, _)| own == key).map_or(&nothing, |(_, data)| data));
        let own: Vec<&ReadData> = own.collect();
        let (slices, allowance) = part_of(command, key);
        let asked = Asked { static_row: command.static_row, ..Asked::whole(&slices, purge) };
        let Reconciled { static_row, mut rows, end, repairs } = reconcile(&asked, &own)?;
        for (all, records) in scan.repairs.iter_mut().zip(repairs).filter(|(_, records)| !records.is_empty()) {
            all.push((key.clone(), records));
        }
        let live = cut(&mut rows, allowance, command.now_seconds);
        scan.partitions.push(AgreedPartition::of(key, &static_row, &rows));
        let ends_within = live < allowance && (!trusting || stop == Some(key));
        let within = end.filter(|_| ends_within).map(|last| PositionWithin { last, rows_left: allowance - live });
        if within.is_some() || stop == Some(key) {
            scan.next = Some(ScanPosition { partition: key.clone(), within });
            break;
        }
    }
    Ok(scan)
}

/// Cuts rows off behind the `most`th live one. Returns how many live ones are left.
fn cut(rows: &mut Vec<(Bytes, Row)>, most: u32, now_seconds: u32) -> u32 {
    let mut live = 0;
    for index in 0..rows.len() {
        live += u32::from(rows[index].1.is_live(i64::from(now_seconds)));
        if live == most {
            rows.truncate(index + 1);
            break;
        }
    }
    live
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
