//! What is remembered of repairs: their progress while they run, and the last ones once they have ended, in the node's
//! own records.

use bytes::Bytes;
use model::codec::{CodecError, Decode, Encode, Reader, put_option, put_sequence, put_varint};
use model::{TableId, Token, TokenRange};

use super::session::RepairFigures;

/// The prefix of the records of repairs that have ended, under that of the node crate.
pub const HISTORY: &[u8] = b"node/repairs/";

/// The name of a repair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RepairId(pub u128);

/// How far a repair is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RepairState {
    /// Others come first.
    Waiting,
    /// It is under way.
    Running,
    /// Every range was repaired.
    Succeeded,
    /// Some range was not.
    Failed,
    /// An operator stopped it.
    Cancelled,
}

/// A range that was not repaired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeFailure {
    /// The table.
    pub table: TableId,
    /// The range.
    pub range: TokenRange,
    /// Why: who was in the way.
    pub reason: String,
}

/// A repair as it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepairReport {
    /// Its name.
    pub id: RepairId,
    /// True when nobody ordered it.
    pub automatic: bool,
    /// True when it only finds out what differs.
    pub preview: bool,
    /// The tables by keyspace and name.
    pub tables: Vec<(String, String)>,
    /// The data centres whose replicas take part; all if there are none.
    pub data_centers: Vec<String>,
    /// How far it is.
    pub state: RepairState,
    /// When it was begun, or ordered if it waits, in seconds since 1970.
    pub started_seconds: u32,
    /// When it ended; 0 before.
    pub ended_seconds: u32,
    /// Ranges to repair; 0 while it waits.
    pub units: u32,
    /// Ranges that are done, or have failed.
    pub units_done: u32,
    /// Ranges that have failed.
    pub failed: u32,
    /// The first of them.
    pub failures: Vec<RangeFailure>,
    /// Why it was not even begun.
    pub refused: Option<String>,
    /// What it did.
    pub figures: RepairFigures,
    /// The range that is being repaired, and the token up to which it is; only while it runs.
    pub at: Option<(TableId, TokenRange, Token)>,
}

const STATES: [(RepairState, &str); 5] = [
    (RepairState::Waiting, "waiting"),
    (RepairState::Running, "running"),
    (RepairState::Succeeded, "succeeded"),
    (RepairState::Failed, "failed"),
    (RepairState::Cancelled, "cancelled"),
];

impl RepairState {
    /// The state as it is shown.
    #[must_use]
    pub fn name(self) -> &'static str {
        STATES.iter().find(|(state, _)| *state == self).map_or("", |(_, name)| name)
    }

    /// True when nothing comes after it.
    #[must_use]
    pub fn is_final(self) -> bool {
        !matches!(self, RepairState::Waiting | RepairState::Running)
    }
}

/// First byte of a record.
const FORMAT: u8 = 1;

impl RepairReport {
    pub(crate) fn record_key(&self) -> Bytes {
        let mut key = HISTORY.to_vec();
        key.extend_from_slice(&self.ended_seconds.to_be_bytes());
        key.extend_from_slice(&self.id.0.to_be_bytes());
        Bytes::from(key)
    }

    /// The record of a repair that has ended.
    pub(crate) fn record(&self) -> (Bytes, Option<Bytes>) {
        (self.record_key(), Some(self.to_bytes()))
    }
}

/// The repairs that have ended, the oldest first; other records are passed over.
///
/// # Errors
/// When one of them is not a record of this module.
pub fn from_local_records(records: &[(Bytes, Bytes)]) -> Result<Vec<RepairReport>, CodecError> {
    let own = records.iter().filter(|(key, _)| key.starts_with(HISTORY));
    own.map(|(_, value)| RepairReport::from_bytes(value)).collect()
}

impl Encode for RangeFailure {
    fn encode(&self, out: &mut Vec<u8>) {
        self.table.encode(out);
        self.range.encode(out);
        self.reason.encode(out);
    }
}

impl Decode for RangeFailure {
    fn decode(reader: &mut Reader) -> Result<RangeFailure, CodecError> {
        Ok(RangeFailure { table: TableId::decode(reader)?, range: TokenRange::decode(reader)?, reason: reader.text()? })
    }
}

impl Encode for RepairReport {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(FORMAT);
        self.id.0.encode(out);
        self.automatic.encode(out);
        self.preview.encode(out);
        put_varint(out, self.tables.len() as u64);
        for (keyspace, table) in &self.tables {
            keyspace.encode(out);
            table.encode(out);
        }
        put_varint(out, self.data_centers.len() as u64);
        self.data_centers.iter().for_each(|name| name.encode(out));
        out.push(STATES.iter().position(|(state, _)| *state == self.state).unwrap_or(0) as u8);
        for number in [self.started_seconds, self.ended_seconds, self.units, self.units_done, self.failed] {
            put_varint(out, u64::from(number));
        }
        put_sequence(out, &self.failures);
        put_option(out, self.refused.as_ref());
        let RepairFigures { rows, bytes, differing, sent, sent_bytes } = self.figures;
        [rows, bytes, differing, sent, sent_bytes].into_iter().for_each(|figure| put_varint(out, figure));
    }
}

impl Decode for RepairReport {
    fn decode(reader: &mut Reader) -> Result<RepairReport, CodecError> {
        match reader.u8()? {
            FORMAT => {}
            version => return Err(CodecError::Version(version)),
        }
        let (id, automatic, preview) = (RepairId(reader.u128()?), reader.bool()?, reader.bool()?);
        let mut tables = Vec::new();
        for _ in 0..reader.count()? {
            tables.push((reader.text()?, reader.text()?));
        }
        let mut data_centers = Vec::new();
        for _ in 0..reader.count()? {
            data_centers.push(reader.text()?);
        }
        let state = STATES.get(usize::from(reader.u8()?)).ok_or(CodecError::Invalid("state of a repair"))?.0;
        let mut number = || reader.varint_u32();
        let (started_seconds, ended_seconds, units, units_done, failed) =
            (number()?, number()?, number()?, number()?, number()?);
        let failures = reader.sequence()?;
        let refused = reader.option()?;
        let mut figure = || reader.varint();
        let figures = RepairFigures {
            rows: figure()?,
            bytes: figure()?,
            differing: figure()?,
            sent: figure()?,
            sent_bytes: figure()?,
        };
        Ok(RepairReport {
            id,
            automatic,
            preview,
            tables,
            data_centers,
            state,
            started_seconds,
            ended_seconds,
            units,
            units_done,
            failed,
            failures,
            refused,
            figures,
            at: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_survives_its_record_and_a_damaged_one_is_refused() {
        let report = RepairReport {
            id: RepairId(7),
            automatic: true,
            preview: false,
            tables: vec![("ks".to_owned(), "t".to_owned())],
            data_centers: vec!["dc1".to_owned()],
            state: RepairState::Failed,
            started_seconds: 5,
            ended_seconds: 9,
            units: 16,
            units_done: 16,
            failed: 1,
            failures: vec![RangeFailure { table: TableId(1), range: TokenRange::ALL, reason: "node 1".to_owned() }],
            refused: None,
            figures: RepairFigures { rows: 1, bytes: 2, differing: 3, sent: 4, sent_bytes: 5 },
            at: None,
        };
        let (key, value) = report.record();
        let value = value.unwrap();
        let other = (Bytes::from_static(b"node/0/timestamp_ceiling"), Bytes::new());
        assert_eq!(from_local_records(&[other, (key.clone(), value.clone())]), Ok(vec![report]));
        for end in 0..value.len() {
            assert!(from_local_records(&[(key.clone(), value.slice(..end))]).is_err());
        }
    }
}
