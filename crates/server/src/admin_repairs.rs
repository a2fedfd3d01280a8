//! Repairs as operators ask for them and are told of them.

use crate::entropy::random_u128;
use ::api::proto::client::v1 as proto;
use membership::ClusterView;
use model::id::parse_uuid;
use model::{NodeId, RequestError, TableId, Token, TokenRange};
use node::repair::RangeFailure;
use node::{RepairId, RepairOrder, RepairPolicy, RepairReport, RepairState, RepairsStatus};
use std::num::NonZeroU64;
use std::time::Duration;

/// Ranges of one order.
const RANGES_MAX: usize = 1_024;

/// What a request asks for, under a new id.
///
/// # Errors
/// When there is no such keyspace, table or data centre, or a range is none.
pub(super) fn order(view: &ClusterView, request: &proto::RepairRequest) -> Result<RepairOrder, RequestError> {
    let id = random_u128().map_err(|error| RequestError::Server(format!("no id for a repair: {error}")))?;
    let unknown = |name: &&String| !view.members.values().any(|member| member.data_center == **name);
    if let Some(name) = request.data_centers.iter().find(unknown) {
        return Err(RequestError::Invalid(format!("there is no data centre '{name}'")));
    }
    Ok(RepairOrder {
        id: RepairId(id),
        tables: tables(view, &request.keyspace, &request.table)?,
        ranges: ranges(&request.ranges)?,
        data_centers: request.data_centers.iter().cloned().collect(),
        preview: request.preview,
    })
}

fn tables(view: &ClusterView, keyspace: &str, table: &str) -> Result<Vec<TableId>, RequestError> {
    if keyspace.is_empty() {
        if !table.is_empty() {
            return Err(RequestError::Invalid(format!("table '{table}' of which keyspace?")));
        }
        return Ok(view.schema.tables().keys().copied().collect());
    }
    if !table.is_empty() {
        return Ok(vec![view.schema.find_table(keyspace, table)?.id]);
    }
    Ok(view.schema.find_keyspace(keyspace)?.tables.values().map(|table| table.id).collect())
}

/// As ranges that do not go around the ring, each token in one of them.
fn ranges(asked: &[proto::RepairRange]) -> Result<Vec<TokenRange>, RequestError> {
    if asked.len() > RANGES_MAX {
        return Err(RequestError::Invalid(format!("{} ranges; at most {RANGES_MAX} are taken", asked.len())));
    }
    let mut ranges = Vec::new();
    for range in asked {
        let (start, end) = (Token(range.start), Token(range.end));
        if start < end {
            ranges.push(TokenRange { start, end });
            continue;
        }
        ranges.extend((end > Token::MINIMUM).then_some(TokenRange { start: Token::MINIMUM, end }));
        ranges.extend((start < Token(i64::MAX)).then_some(TokenRange { start, end: Token(i64::MAX) }));
    }
    if asked.is_empty() {
        ranges.push(TokenRange::ALL);
    }
    ranges.sort_by_key(|range| range.start);
    match ranges.windows(2).find(|pair| pair[1].start < pair[0].end) {
        Some(pair) => {
            let [a, b] = [&pair[0], &pair[1]].map(|range| format!("{}:{}", range.start, range.end));
            Err(RequestError::Invalid(format!("the ranges {a} and {b} have tokens in common")))
        }
        None => Ok(ranges),
    }
}

/// The repair of this id that has not ended.
///
/// # Errors
/// When there is none.
pub(super) fn find(status: &RepairsStatus, id: &str) -> Result<RepairId, RequestError> {
    let known = |id: &RepairId| status.reports.iter().any(|report| report.id == *id && !report.state.is_final());
    let found = parse_uuid(id).map(RepairId).filter(known);
    found.ok_or_else(|| RequestError::NotFound(format!("there is no repair '{id}' that runs or waits")))
}

/// The policy after a change.
pub(super) fn changed(policy: &RepairPolicy, change: &proto::ChangeRepairsRequest) -> RepairPolicy {
    RepairPolicy {
        every: match change.interval_seconds {
            None => policy.every,
            Some(0) => None,
            Some(seconds) => Some(Duration::from_secs(seconds)),
        },
        paused: change.paused.unwrap_or(policy.paused),
        bytes_per_second: change.bytes_per_second.map_or(policy.bytes_per_second, NonZeroU64::new),
    }
}

/// What is told.
pub(super) fn response(view: &ClusterView, status: &RepairsStatus) -> proto::RepairsResponse {
    proto::RepairsResponse {
        paused: status.policy.paused,
        interval_seconds: status.policy.every.map_or(0, |every| every.as_secs()),
        bytes_per_second: status.policy.bytes_per_second.map_or(0, NonZeroU64::get),
        repairs: status.reports.iter().map(|report| of(view, report)).collect(),
    }
}

fn name(view: &ClusterView, table: TableId) -> String {
    let table = view.schema.table(table).ok_or(table);
    table.map_or_else(|id| id.to_string(), |table| format!("{}.{}", table.keyspace, table.name))
}

fn of(view: &ClusterView, report: &RepairReport) -> proto::RepairReport {
    let state = match report.state {
        RepairState::Waiting => proto::RepairState::Waiting,
        RepairState::Running => proto::RepairState::Running,
        RepairState::Succeeded => proto::RepairState::Succeeded,
        RepairState::Failed => proto::RepairState::Failed,
        RepairState::Cancelled => proto::RepairState::Cancelled,
    };
    let failure = |failure: &RangeFailure| proto::RepairFailure {
        table: name(view, failure.table),
        range: Some(proto::RepairRange { start: failure.range.start.0, end: failure.range.end.0 }),
        reason: failure.reason.clone(),
    };
    let refused = report.refused.iter().map(|reason| proto::RepairFailure {
        table: String::new(),
        range: None,
        reason: reason.clone(),
    });
    let at = report
        .at
        .map(|(table, range, token)| format!("{} {}:{} at {token}", name(view, table), range.start, range.end));
    proto::RepairReport {
        id: NodeId(report.id.0).to_string(),
        state: state.into(),
        automatic: report.automatic,
        preview: report.preview,
        tables: report.tables.iter().map(|(keyspace, table)| format!("{keyspace}.{table}")).collect(),
        data_centers: report.data_centers.clone(),
        started_seconds: report.started_seconds.into(),
        ended_seconds: report.ended_seconds.into(),
        ranges: report.units,
        ranges_done: report.units_done,
        ranges_failed: report.failed,
        failures: report.failures.iter().map(failure).chain(refused).collect(),
        rows_compared: report.figures.rows,
        bytes_compared: report.figures.bytes,
        records_differing: report.figures.differing,
        records_sent: report.figures.sent,
        bytes_sent: report.figures.sent_bytes,
        at: at.unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_cut_at_the_end_of_the_ring_and_may_not_overlap() {
        let asked = |pairs: &[(i64, i64)]| {
            let range = |(start, end): &(i64, i64)| proto::RepairRange { start: *start, end: *end };
            ranges(&pairs.iter().map(range).collect::<Vec<_>>())
        };
        let range = |start, end| TokenRange { start: Token(start), end: Token(end) };
        assert_eq!(asked(&[]), Ok(vec![TokenRange::ALL]));
        assert_eq!(asked(&[(5, 9), (1, 5)]), Ok(vec![range(1, 5), range(5, 9)]));
        assert_eq!(asked(&[(5, -5)]), Ok(vec![range(i64::MIN, -5), range(5, i64::MAX)]));
        assert_eq!(asked(&[(7, 7)]), Ok(vec![range(i64::MIN, 7), range(7, i64::MAX)]), "the whole ring");
        assert!(asked(&[(1, 5), (4, 9)]).is_err());
    }
}
