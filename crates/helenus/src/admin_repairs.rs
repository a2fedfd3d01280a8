//! `helenus admin repair` and `helenus admin repairs`.

use super::{Answer, table};
use clap::{Args, Subcommand};
use client::ClientError;
use client::admin::{
    Admin, ChangeRepairsRequest, RepairFailure, RepairRange, RepairReport, RepairRequest, RepairState, RepairsResponse,
};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};
use std::time::Duration;

/// How often it is asked how far a repair is.
const ASK_EVERY: Duration = Duration::from_millis(250);

/// What to repair.
#[derive(Clone, Debug, Args)]
pub(super) struct RepairArguments {
    /// Which one; all if none is named
    keyspace: Option<String>,
    /// Which one of the keyspace; all if none is named
    #[arg(requires = "keyspace")]
    table: Option<String>,
    /// Only the tokens after START up to and including END, around the ring when END is not greater; may be given
    /// several times
    #[arg(long = "range", value_name = "START:END", value_parser = range, allow_hyphen_values = true)]
    ranges: Vec<RepairRange>,
    /// Only the replicas in this data centre; may be given several times. What not all replicas have taken part in does
    /// not count as repaired
    #[arg(long = "data-center", value_name = "NAME")]
    data_centers: Vec<String>,
    /// Only find out what differs
    #[arg(long)]
    preview: bool,
}

/// What to change; until the node is started again.
#[derive(Clone, Debug, Subcommand)]
pub(super) enum RepairsChange {
    /// Let them wait where they are
    Pause,
    /// Let them go on
    Resume,
    /// Stop one, or do not begin it
    Cancel {
        /// Its id
        id: String,
    },
    /// Compare no more than this in a second
    Throttle {
        /// How much; 0 for as much as the replicas can
        mib: u64,
    },
    /// Repair every range unasked within this time
    Interval {
        /// How long; 0 for never
        hours: u64,
    },
}

impl RepairsChange {
    pub(super) fn request(&self) -> ChangeRepairsRequest {
        let mut request = ChangeRepairsRequest::default();
        match self.clone() {
            RepairsChange::Pause => request.paused = Some(true),
            RepairsChange::Resume => request.paused = Some(false),
            RepairsChange::Cancel { id } => request.cancel = id,
            RepairsChange::Throttle { mib } => request.bytes_per_second = Some(mib.saturating_mul(1 << 20)),
            RepairsChange::Interval { hours } => request.interval_seconds = Some(hours.saturating_mul(3_600)),
        }
        request
    }
}

fn range(text: &str) -> Result<RepairRange, String> {
    let parts = text.split_once(':').and_then(|(start, end)| Some((start.parse().ok()?, end.parse().ok()?)));
    let (start, end) = parts.ok_or_else(|| "expected two tokens, such as -100:100".to_owned())?;
    Ok(RepairRange { start, end })
}

/// Asks for a repair and waits for its end, with a bar where somebody watches; false when it has not succeeded.
pub(super) async fn repair(admin: &mut Admin, arguments: &RepairArguments) -> Result<(Answer, bool), ClientError> {
    let id = admin
        .repair(RepairRequest {
            keyspace: arguments.keyspace.clone().unwrap_or_default(),
            table: arguments.table.clone().unwrap_or_default(),
            ranges: arguments.ranges.clone(),
            data_centers: arguments.data_centers.clone(),
            preview: arguments.preview,
        })
        .await?;
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{bar:32} {pos}/{len} ranges {msg}") {
        bar.set_style(style);
    }
    loop {
        let repairs = admin.repairs().await?;
        // So many others have ended meanwhile that it is forgotten.
        let Some(report) = repairs.repairs.iter().find(|report| report.id == id) else {
            return Ok((show(&repairs), false));
        };
        bar.set_length(report.ranges.into());
        bar.set_position(report.ranges_done.into());
        bar.set_message(format!("{} rows compared, {} records sent", report.rows_compared, report.records_sent));
        if !matches!(report.state(), RepairState::Waiting | RepairState::Running) {
            bar.finish_and_clear();
            return Ok((show_one(report), report.state() == RepairState::Succeeded));
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

fn state(report: &RepairReport) -> &'static str {
    match report.state() {
        RepairState::Unspecified => "unknown",
        RepairState::Waiting => "waiting",
        RepairState::Running => "running",
        RepairState::Succeeded => "succeeded",
        RepairState::Failed => "failed",
        RepairState::Cancelled => "cancelled",
    }
}

fn failures(report: &RepairReport) -> Vec<String> {
    let failure = |failure: &RepairFailure| match &failure.range {
        Some(range) => format!("{} {}:{}: {}", failure.table, range.start, range.end, failure.reason),
        None => failure.reason.clone(),
    };
    report.failures.iter().map(failure).collect()
}

fn to_json(report: &RepairReport) -> Value {
    json!({
        "id": report.id,
        "state": state(report),
        "automatic": report.automatic,
        "preview": report.preview,
        "tables": report.tables,
        "data_centers": report.data_centers,
        "started_seconds": report.started_seconds,
        "ended_seconds": report.ended_seconds,
        "ranges": report.ranges,
        "ranges_done": report.ranges_done,
        "ranges_failed": report.ranges_failed,
        "failures": failures(report),
        "rows_compared": report.rows_compared,
        "bytes_compared": report.bytes_compared,
        "records_differing": report.records_differing,
        "records_sent": report.records_sent,
        "bytes_sent": report.bytes_sent,
        "at": report.at,
    })
}

fn show_one(report: &RepairReport) -> Answer {
    let what = if report.preview { "preview" } else { "repair" };
    let mut text = format!(
        "{what} {}: {} of {} ranges, {} rows compared, {} records differ, {} sent ({} bytes)",
        state(report),
        report.ranges_done - report.ranges_failed,
        report.ranges,
        report.rows_compared,
        report.records_differing,
        report.records_sent,
        report.bytes_sent,
    );
    let told = failures(report);
    for failure in &told {
        text.push('\n');
        text.push_str(failure);
    }
    let untold = (report.ranges_failed as usize).saturating_sub(told.len());
    if untold > 0 {
        text.push_str(&format!("\nand {untold} more ranges"));
    }
    Answer { json: to_json(report), text }
}

/// All that the node knows of.
pub(super) fn show(repairs: &RepairsResponse) -> Answer {
    let header = ["state", "tables", "ranges", "failed", "rows compared", "records sent", "id"];
    let mut rows = table(&header, &[2, 3, 4, 5]);
    for report in &repairs.repairs {
        let state = match (report.automatic, report.preview) {
            (true, _) => format!("{} (unasked)", state(report)),
            (_, true) => format!("{} (preview)", state(report)),
            _ => state(report).to_owned(),
        };
        let tables = match report.tables.as_slice() {
            [] => "none".to_owned(),
            [first] => first.clone(),
            [first, rest @ ..] => format!("{first} and {} more", rest.len()),
        };
        rows.add_row([
            state,
            tables,
            format!("{}/{}", report.ranges_done, report.ranges),
            report.ranges_failed.to_string(),
            report.rows_compared.to_string(),
            report.records_sent.to_string(),
            report.id.clone(),
        ]);
    }
    let unasked = match (repairs.paused, repairs.interval_seconds) {
        (true, _) => "paused".to_owned(),
        (false, 0) => "only when asked for".to_owned(),
        (false, seconds) => format!("every range within {} hours", seconds / 3_600),
    };
    let speed = match repairs.bytes_per_second {
        0 => "as fast as the replicas can".to_owned(),
        bytes => format!("{} MiB compared in a second", bytes >> 20),
    };
    let text = format!("repairs: {unasked}\nspeed: {speed}\n\n{rows}");
    let json = json!({
        "paused": repairs.paused,
        "interval_seconds": repairs.interval_seconds,
        "bytes_per_second": repairs.bytes_per_second,
        "repairs": repairs.repairs.iter().map(to_json).collect::<Vec<_>>(),
    });
    Answer { json, text }
}
