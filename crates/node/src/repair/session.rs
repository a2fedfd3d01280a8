//! One repair of one range of one table: the replicas compare what they hold, and each gets what it lacks. Pure.
//!
//! ```text
//!   page: one replica digests buckets of what comes next, the others digest the same buckets
//!     | some differ                         | all are equal          ^
//!     v                                     +------------------------+ goes on behind the page,
//!   records: all digest the records of a run of buckets              | at the speed that is allowed
//!     | some differ                         | none differ any more   |
//!     v                                     +------------------------+
//!   data: all send those records -> merged -> each replica is written what it lacks, durably -+
//!                                                                    ^------------------------+
//!   behind the last page: every replica records through what time the range is repaired
//! ```
//! Invariants (`docs/protocol/repair.md`):
//! * A1: what a session sends a replica is a join of what replicas hold: it changes nothing twice, and nothing that is
//!   written meanwhile is lost. So a session may end anywhere, and any number may run over the same range.
//! * A2: a session succeeds only once every replica has answered for every token, and has made durable what it lacked.
//! * A4: in memory is at most a page of each replica.
//! * A5: replicas keep nothing for a session: whatever it asks is answered by itself, and may be asked again.

use bytes::Bytes;
use model::compare::{Bucket, CompareCommand, ComparePosition, Content, Detail, WantedRecords};
use model::garbage::Purge;
use model::read::Slice;
use model::{
    Compared, Instant, Mutation, NodeId, PartitionKey, Planted, ReadData, Record, RecordKey, TableId, Token, TokenRange,
};
use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;

use super::plan::RepairUnit;
use super::repaired::RepairedThrough;
use crate::coordinator::reconcile::{Asked, is_well_formed, reconcile};
use crate::io::{OpId, Refusal};

/// Buckets of a page.
const BUCKETS: u32 = 16;
/// Mutations on their way at one time.
const WRITES_MAX: usize = 16;
/// A mutation ends with the record that reaches this many bytes.
const MUTATION_BYTES: usize = 256 * 1024;
/// Rows, and bytes, that no page has.
const PAGE_BYTES_MAX: u64 = 1 << 32;
/// So often a replica is asked before it is given up.
const ATTEMPTS: u32 = 3;

/// Why a range was not repaired.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RepairFailure {
    /// A replica is not alive.
    #[error("node {0} is down")]
    Down(NodeId),
    /// A replica did not answer, however often it was asked.
    #[error("node {node} did not answer within {} seconds", .waited.as_secs())]
    NoAnswer {
        /// The replica.
        node: NodeId,
        /// How long it was waited for.
        waited: Duration,
    },
    /// A replica refused, however often it was asked.
    #[error("node {node} refused: {}", words(*.refusal))]
    Refused {
        /// The replica.
        node: NodeId,
        /// What it said.
        refusal: Refusal,
    },
    /// A replica's answer is not one to what it was asked.
    #[error("node {0} gave an answer that is not valid")]
    Malformed(NodeId),
    /// Other nodes hold the range now, or the table is gone.
    #[error("the replicas of the range have changed")]
    Moved,
}

fn words(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::NotReplica(_) => "it does not hold the range",
        Refusal::Overloaded => "it is overloaded",
        Refusal::Storage => "its storage failed",
        Refusal::DiskFull => "its disk is full",
        Refusal::Invalid => "it takes the request for invalid",
        Refusal::TooManyTombstones => "it met too many tombstones",
    }
}

/// What a repair did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RepairFigures {
    /// Rows that were compared, on the replica that has the most.
    pub rows: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Records that differed: rows, and deletions of partitions.
    pub differing: u64,
    /// Records that were sent to replicas that lacked them.
    pub sent: u64,
    /// Bytes of the mutations in which they were.
    pub sent_bytes: u64,
}

impl RepairFigures {
    /// Those of several repairs together.
    #[must_use]
    pub fn and(self, other: RepairFigures) -> RepairFigures {
        RepairFigures {
            rows: self.rows.saturating_add(other.rows),
            bytes: self.bytes.saturating_add(other.bytes),
            differing: self.differing.saturating_add(other.differing),
            sent: self.sent.saturating_add(other.sent),
            sent_bytes: self.sent_bytes.saturating_add(other.sent_bytes),
        }
    }
}

/// Something to be said to a replica.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Asking {
    /// Compare.
    Compare(Arc<CompareCommand>),
    /// Merge.
    Write(Arc<Mutation>),
    /// Record that the range is repaired.
    Record { table: TableId, range: TokenRange, through: RepairedThrough },
}

/// What a session is told.
#[derive(Clone, Debug)]
pub(crate) struct SessionLimits {
    /// Bytes of a page.
    pub(crate) page_bytes: u32,
    /// For how long a replica is waited for before it is asked again.
    pub(crate) timeout: Duration,
    /// Bytes that are compared in a second.
    pub(crate) bytes_per_second: Option<NonZeroU64>,
}

/// A question that is not answered.
#[derive(Debug)]
struct Outstanding {
    node: NodeId,
    asking: Asking,
    attempts: u32,
    ask_at: Instant,
}

/// A part of a page: what comes after a position, up to another one.
type Run = (Option<ComparePosition>, Option<ComparePosition>);

#[derive(Debug)]
enum Phase {
    /// Buckets are digested: at first by the leader alone, who chooses them, unless they are given.
    Page { ends: Vec<ComparePosition>, to: Option<ComparePosition>, chosen: bool },
    /// The records of the first run are digested.
    Records,
    /// Records of the first run are fetched.
    Data { wanted: Vec<WantedRecords> },
    /// Replicas get what they lack.
    Writing { queue: VecDeque<(NodeId, Arc<Mutation>)> },
    /// All are told that the range is repaired.
    Recording,
    /// Done.
    Ended,
}

/// A repair of a range.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) unit: RepairUnit,
    pub(crate) figures: RepairFigures,
    purge: Purge,
    /// Only find out what differs.
    preview: bool,
    /// What all replicas are told to record, if they are all there are.
    through: Option<RepairedThrough>,
    limits: SessionLimits,
    /// The bug to run with.
    bug: Option<Planted>,
    /// Where the page begins.
    after: Option<ComparePosition>,
    /// Where it ends; `None` for the end of the range.
    page_end: Option<ComparePosition>,
    runs: VecDeque<Run>,
    phase: Phase,
    outstanding: BTreeMap<OpId, Outstanding>,
    answers: BTreeMap<NodeId, Compared>,
    not_before: Instant,
}

impl Session {
    /// A repair that has not begun. With `through` the replicas record in the end that the range is repaired.
    pub(crate) fn new(
        unit: RepairUnit,
        purge: Purge,
        preview: bool,
        through: Option<RepairedThrough>,
        limits: SessionLimits,
        bug: Option<Planted>,
    ) -> Session {
        Session {
            unit,
            figures: RepairFigures::default(),
            purge,
            preview,
            through,
            limits,
            bug,
            after: None,
            page_end: None,
            runs: VecDeque::new(),
            phase: Phase::Page { ends: Vec::new(), to: None, chosen: false },
            outstanding: BTreeMap::new(),
            answers: BTreeMap::new(),
            not_before: Instant(0),
        }
    }

    pub(crate) fn set_bytes_per_second(&mut self, bytes_per_second: Option<NonZeroU64>) {
        self.limits.bytes_per_second = bytes_per_second;
    }

    /// True once the range is repaired.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended)
    }

    /// The token up to which it has come.
    pub(crate) fn position(&self) -> Token {
        self.after.as_ref().map_or(self.unit.range.start, |after| after.partition.token)
    }

    pub(crate) fn owns(&self, op: OpId) -> bool {
        self.outstanding.contains_key(&op)
    }

    /// When something is due, while nothing is answered.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let waits = (self.outstanding.is_empty() && self.is_between_pages()).then_some(self.not_before);
        self.outstanding.values().map(|outstanding| outstanding.ask_at).chain(waits).min()
    }

    /// What is to be asked now. `next_op` gives ids.
    ///
    /// # Errors
    /// When the repair fails.
    pub(crate) fn advance(
        &mut self,
        now: Instant,
        mut next_op: impl FnMut() -> OpId,
    ) -> Result<Vec<(OpId, NodeId, Asking)>, RepairFailure> {
        let mut asked = Vec::new();
        loop {
            for (node, asking) in self.next(now)? {
                let op = next_op();
                let ask_at = now + self.limits.timeout;
                let outstanding = Outstanding { node, asking: asking.clone(), attempts: 1, ask_at };
                self.outstanding.insert(op, outstanding);
                asked.push((op, node, asking));
            }
            if !self.outstanding.is_empty() || self.has_ended() || self.pauses(now) {
                return Ok(asked);
            }
        }
    }

    /// True while the speed that is allowed keeps the next page waiting. What was found to differ is not.
    fn pauses(&self, now: Instant) -> bool {
        self.not_before > now && self.is_between_pages()
    }

    fn is_between_pages(&self) -> bool {
        self.answers.is_empty() && matches!(self.phase, Phase::Page { chosen: false, .. })
    }

    /// What is late, to be asked again.
    ///
    /// # Errors
    /// When a replica has been asked often enough.
    pub(crate) fn late(&mut self, now: Instant) -> Result<Vec<(OpId, NodeId, Asking)>, RepairFailure> {
        let mut again = Vec::new();
        for (op, outstanding) in self.outstanding.iter_mut().filter(|(_, outstanding)| outstanding.ask_at <= now) {
            if outstanding.attempts >= ATTEMPTS {
                let waited = self.limits.timeout * ATTEMPTS;
                return Err(RepairFailure::NoAnswer { node: outstanding.node, waited });
            }
            outstanding.attempts += 1;
            outstanding.ask_at = now + self.limits.timeout;
            again.push((*op, outstanding.node, outstanding.asking.clone()));
        }
        Ok(again)
    }

    /// A replica has compared.
    pub(crate) fn on_compared(&mut self, op: OpId, from: NodeId, page: Compared) {
        let asked = self.outstanding.get(&op).filter(|asked| asked.node == from);
        if asked.is_some_and(|asked| matches!(asked.asking, Asking::Compare(_))) {
            self.outstanding.remove(&op);
            self.answers.insert(from, page);
        }
    }

    /// A replica has written, or recorded.
    pub(crate) fn on_written(&mut self, op: OpId, from: NodeId) {
        let asked = self.outstanding.get(&op).filter(|asked| asked.node == from);
        if asked.is_some_and(|asked| !matches!(asked.asking, Asking::Compare(_))) {
            self.outstanding.remove(&op);
        }
    }

    /// A replica refuses: it is asked again after a while.
    ///
    /// # Errors
    /// When that is of no use.
    pub(crate) fn on_refused(
        &mut self,
        op: OpId,
        from: NodeId,
        refusal: Refusal,
        retry_at: Instant,
    ) -> Result<(), RepairFailure> {
        let Some(asked) = self.outstanding.get_mut(&op).filter(|asked| asked.node == from) else { return Ok(()) };
        if asked.attempts >= ATTEMPTS || refusal == Refusal::Invalid {
            return Err(RepairFailure::Refused { node: from, refusal });
        }
        asked.ask_at = retry_at;
        Ok(())
    }

    /// What is to be asked next, when all that was asked is answered; in between while writing.
    fn next(&mut self, now: Instant) -> Result<Vec<(NodeId, Asking)>, RepairFailure> {
        if let Phase::Writing { queue } = &mut self.phase {
            let room = WRITES_MAX.saturating_sub(self.outstanding.len()).min(queue.len());
            if room > 0 {
                return Ok(queue.drain(..room).map(|(node, mutation)| (node, Asking::Write(mutation))).collect());
            }
        }
        if !self.outstanding.is_empty() || self.pauses(now) {
            return Ok(Vec::new());
        }
        let missing: Vec<NodeId> =
            self.unit.replicas.iter().copied().filter(|node| !self.answers.contains_key(node)).collect();
        match &self.phase {
            Phase::Ended => Ok(Vec::new()),
            Phase::Recording => {
                self.phase = Phase::Ended;
                Ok(Vec::new())
            }
            Phase::Writing { .. } => {
                self.next_run();
                Ok(self.record())
            }
            Phase::Page { chosen: false, .. } if self.answers.is_empty() => {
                let leader = self.leader();
                let command = CompareCommand {
                    bucket_bytes: (self.limits.page_bytes / BUCKETS).max(1),
                    ..self.command(Vec::new(), None, Detail::Buckets)
                };
                Ok(vec![(leader, Asking::Compare(Arc::new(command)))])
            }
            Phase::Page { ends, to, .. } if !missing.is_empty() => {
                let (ends, to) = self.buckets_of_leader().unwrap_or_else(|| (ends.clone(), to.clone()));
                Ok(self.ask(missing, self.command(ends, to, Detail::Buckets)))
            }
            Phase::Records if !missing.is_empty() => Ok(self.ask(missing, self.command_for_run(Detail::Records))),
            Phase::Data { wanted } if !missing.is_empty() => {
                Ok(self.ask(missing, self.command_for_run(Detail::Data(wanted.clone()))))
            }
            Phase::Page { .. } => {
                self.compare_pages(now)?;
                Ok(self.record())
            }
            Phase::Records => {
                self.compare_records()?;
                Ok(self.record())
            }
            Phase::Data { .. } => self.merge().map(|()| Vec::new()),
        }
    }

    /// Behind the last page: what is asked of everybody.
    fn record(&self) -> Vec<(NodeId, Asking)> {
        let (Phase::Recording, Some(through)) = (&self.phase, &self.through) else { return Vec::new() };
        let (table, range) = (self.unit.table, self.unit.range);
        let record = Asking::Record { table, range, through: through.clone() };
        self.unit.replicas.iter().map(|node| (*node, record.clone())).collect()
    }

    fn leader(&self) -> NodeId {
        // The caller has seen to it that there are several.
        self.unit.replicas[0]
    }

    fn ask(&self, nodes: Vec<NodeId>, command: CompareCommand) -> Vec<(NodeId, Asking)> {
        let command = Arc::new(command);
        nodes.into_iter().map(|node| (node, Asking::Compare(command.clone()))).collect()
    }

    fn command(&self, ends: Vec<ComparePosition>, to: Option<ComparePosition>, detail: Detail) -> CompareCommand {
        CompareCommand {
            table: self.unit.table,
            range: self.unit.range,
            after: self.after.clone(),
            ends,
            to,
            bucket_bytes: u32::MAX,
            bytes_limit: self.limits.page_bytes.max(1),
            purge: self.purge.clone(),
            detail,
        }
    }

    /// For the first run. What was within the limit before may have grown a little.
    fn command_for_run(&self, detail: Detail) -> CompareCommand {
        let (after, to) = self.runs.front().cloned().unwrap_or_default();
        let bytes_limit = self.limits.page_bytes.max(1).saturating_mul(2);
        CompareCommand { after, bytes_limit, ..self.command(Vec::new(), to, detail) }
    }

    /// The inner boundaries of the buckets that the leader chose, and where the page ends; `None` when it was not
    /// asked to choose.
    fn buckets_of_leader(&self) -> Option<(Vec<ComparePosition>, Option<ComparePosition>)> {
        let Phase::Page { chosen: false, .. } = &self.phase else { return None };
        let page = self.answers.get(&self.leader())?;
        let Content::Buckets(buckets) = &page.content else { return None };
        let mut ends: Vec<ComparePosition> = buckets.iter().filter_map(|bucket| bucket.end.clone()).collect();
        if page.stopped.is_some() && ends.last() == page.stopped.as_ref() {
            ends.pop();
        }
        Some((ends, page.stopped.clone()))
    }

    /// All have digested buckets: where do they differ?
    fn compare_pages(&mut self, now: Instant) -> Result<(), RepairFailure> {
        let Phase::Page { ends, to, .. } = &self.phase else { return Ok(()) };
        let (mut ends, to) = self.buckets_of_leader().unwrap_or_else(|| (ends.clone(), to.clone()));
        ends.extend(to.clone());
        let mut whole = usize::MAX;
        let mut pages: Vec<&[Bucket]> = Vec::new();
        let mut stopped: Option<&ComparePosition> = None;
        for (node, page) in &self.answers {
            let (buckets, reached) = self.buckets(page, &ends, to.as_ref()).ok_or(RepairFailure::Malformed(*node))?;
            if reached == 0 {
                stopped = page.stopped.as_ref().into_iter().chain(stopped).min();
            }
            whole = whole.min(reached);
            pages.push(buckets);
        }
        if whole == 0 {
            // Somebody has more in the first bucket than fits into a page: all take what that one could.
            let to = stopped.cloned();
            self.answers.clear();
            self.phase = Phase::Page { ends: Vec::new(), to, chosen: true };
            return Ok(());
        }
        let end_of = |index: usize| ends.get(index).cloned();
        let mut runs: VecDeque<Run> = VecDeque::new();
        let mut before = self.after.clone();
        let looked_at = if self.bug == Some(Planted::RepairSkipsBucket) { whole - 1 } else { whole };
        for index in 0..whole {
            let digest = pages.first().map(|page| page[index].digest);
            if index < looked_at && pages.iter().any(|page| Some(page[index].digest) != digest) {
                match runs.back_mut().filter(|(_, to)| *to == before && to.is_some()) {
                    Some(run) => run.1 = end_of(index),
                    None => runs.push_back((before.clone(), end_of(index))),
                }
            }
            before = end_of(index);
        }
        let most = |figure: fn(&Compared) -> u64| self.answers.values().map(figure).max().unwrap_or(0);
        let (rows, bytes) = (most(|page| page.rows), most(|page| page.bytes));
        self.figures = self.figures.and(RepairFigures { rows, bytes, ..RepairFigures::default() });
        if let Some(rate) = self.limits.bytes_per_second {
            self.not_before = now + Duration::from_micros(bytes.saturating_mul(1_000_000) / rate);
        }
        self.page_end = before.filter(|_| self.bug != Some(Planted::RepairEndsEarly));
        self.runs = runs;
        self.begin_run();
        Ok(())
    }

    /// The buckets of a page that was to have these ends, the last of them `to`, and how many of them it has whole;
    /// `None` when it cannot be an answer.
    fn buckets<'a>(
        &self,
        page: &'a Compared,
        ends: &[ComparePosition],
        to: Option<&ComparePosition>,
    ) -> Option<(&'a [Bucket], usize)> {
        let Content::Buckets(buckets) = &page.content else { return None };
        if page.bytes > PAGE_BYTES_MAX || page.rows > PAGE_BYTES_MAX {
            return None;
        }
        let inside = |position: &ComparePosition| {
            self.unit.range.contains(position.partition.token)
                && self.after.as_ref().is_none_or(|after| after < position)
        };
        if !ends.windows(2).all(|pair| pair[0] < pair[1]) || !ends.iter().all(inside) {
            return None;
        }
        let all = ends.len() + usize::from(to.is_none());
        let reached = buckets.iter().zip(ends).take_while(|(bucket, end)| bucket.end.as_ref() == Some(end)).count();
        match page.stopped.as_ref().filter(|stopped| Some(*stopped) != to) {
            None => (buckets.len() == all && reached == ends.len()).then_some((buckets, all)),
            Some(stopped) => (reached < all && inside(stopped)).then_some((buckets, reached)),
        }
    }

    /// The first run is done.
    fn next_run(&mut self) {
        self.runs.pop_front();
        self.begin_run();
    }

    fn begin_run(&mut self) {
        self.answers.clear();
        if !self.runs.is_empty() {
            self.phase = Phase::Records;
            return;
        }
        match self.page_end.take() {
            Some(end) => {
                self.after = Some(end);
                self.phase = Phase::Page { ends: Vec::new(), to: None, chosen: false };
            }
            None => {
                self.phase = if self.through.is_some() { Phase::Recording } else { Phase::Ended };
            }
        }
    }

    /// Not everything of the first run fits: only what does is looked at, and what comes after it in pages of its own.
    ///
    /// # Errors
    /// When somebody says to have stopped where nobody was to look.
    fn narrow(&mut self) -> Result<bool, RepairFailure> {
        let (after, to) = self.runs.front().cloned().unwrap_or_default();
        let inside = |stop: &ComparePosition| {
            self.unit.range.contains(stop.partition.token)
                && after.as_ref().is_none_or(|after| after < stop)
                && to.as_ref().is_none_or(|to| stop <= to)
        };
        let mut first: Option<&ComparePosition> = None;
        for (node, page) in &self.answers {
            if !page.stopped.as_ref().is_none_or(inside) {
                return Err(RepairFailure::Malformed(*node));
            }
            let stopped = page.stopped.as_ref().filter(|stop| Some(*stop) != to.as_ref());
            first = first.into_iter().chain(stopped).min();
        }
        let Some(stop) = first.cloned() else { return Ok(false) };
        self.runs = VecDeque::from([(after, Some(stop.clone()))]);
        self.page_end = Some(stop);
        self.answers.clear();
        self.phase = Phase::Records;
        Ok(true)
    }

    /// All have digested the records of the first run: which differ?
    fn compare_records(&mut self) -> Result<(), RepairFailure> {
        if self.narrow()? {
            return Ok(());
        }
        let mut digests: BTreeMap<(u64, u64), Vec<u128>> = BTreeMap::new();
        let count = self.answers.len();
        for (index, (node, page)) in self.answers.iter().enumerate() {
            let Content::Records(partitions) = &page.content else { return Err(RepairFailure::Malformed(*node)) };
            for partition in partitions {
                for (record, digest) in &partition.records {
                    let all = digests.entry((partition.partition, *record)).or_insert_with(|| vec![0; count]);
                    all[index] = all[index].wrapping_add(*digest);
                }
            }
        }
        digests.retain(|_, all| all.windows(2).any(|pair| pair[0] != pair[1]));
        let mut wanted: Vec<WantedRecords> = Vec::new();
        for (partition, record) in digests.into_keys() {
            match wanted.last_mut().filter(|last| last.partition == partition) {
                Some(last) => last.records.push(record),
                None => wanted.push(WantedRecords { partition, records: vec![record] }),
            }
        }
        self.figures.differing += wanted.iter().map(|wanted| wanted.records.len() as u64).sum::<u64>();
        if wanted.is_empty() || self.preview {
            self.next_run();
        } else {
            self.answers.clear();
            self.phase = Phase::Data { wanted };
        }
        Ok(())
    }

    /// All have sent the records that differ: what does each of them lack?
    fn merge(&mut self) -> Result<(), RepairFailure> {
        if self.narrow()? {
            return Ok(());
        }
        let slices = [Slice::all()];
        let nodes: Vec<NodeId> = self.answers.keys().copied().collect();
        let mut partitions: BTreeMap<&PartitionKey, Vec<Option<&ReadData>>> = BTreeMap::new();
        for (index, (node, page)) in self.answers.iter().enumerate() {
            let Content::Data(all) = &page.content else { return Err(RepairFailure::Malformed(*node)) };
            let ordered = all.windows(2).all(|pair| pair[0].0 < pair[1].0);
            let sound = |(key, data): &(PartitionKey, ReadData)| {
                self.unit.range.contains(key.token)
                    && Token::of(&key.bytes) == key.token
                    && !data.more
                    && is_well_formed(&slices, false, data)
            };
            if !ordered || !all.iter().all(sound) {
                return Err(RepairFailure::Malformed(*node));
            }
            for (key, data) in all {
                partitions.entry(key).or_insert_with(|| vec![None; nodes.len()])[index] = Some(data);
            }
        }
        let nothing = ReadData::default();
        let mut queue = VecDeque::new();
        let asked = Asked::whole(&slices, &self.purge);
        for (key, answers) in partitions {
            let answers: Vec<&ReadData> = answers.into_iter().map(|data| data.unwrap_or(&nothing)).collect();
            let merged = reconcile(&asked, &answers).map_err(|index| RepairFailure::Malformed(nodes[index]))?;
            for (node, mut records) in nodes.iter().zip(merged.repairs) {
                if self.bug == Some(Planted::RepairKeepsDeletions) {
                    records.retain(|record| record.key != RecordKey::Deletions);
                }
                self.figures.sent += records.len() as u64;
                for records in cut(records) {
                    let mutation = Mutation { table: self.unit.table, partition: key.clone(), records };
                    self.figures.sent_bytes += mutation.bytes() as u64;
                    queue.push_back((*node, Arc::new(mutation)));
                }
            }
        }
        self.answers.clear();
        self.phase = Phase::Writing { queue };
        Ok(())
    }
}

/// Records in parts that are not too large for one mutation.
fn cut(records: Vec<Record>) -> Vec<Vec<Record>> {
    let mut parts: Vec<Vec<Record>> = Vec::new();
    let mut bytes = MUTATION_BYTES;
    for record in records {
        if bytes >= MUTATION_BYTES {
            parts.push(Vec::new());
            bytes = 0;
        }
        let key = match &record.key {
            RecordKey::Row(clustering) => Bytes::len(clustering),
            RecordKey::Deletions | RecordKey::Static => 0,
        };
        bytes += key + record.value.len();
        if let Some(last) = parts.last_mut() {
            last.push(record);
        }
    }
    parts
}
