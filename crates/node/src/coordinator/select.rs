//! A client's read at its coordinator: which partitions and ranges it asks for, in what order, how many at a time,
//! and how what the replicas agree on becomes a page.
//!
//! ```text
//!  source:  partitions, or a range of tokens          pieces, in order        the front piece's rows, in order
//!     cut into pieces ------------------------------> asked in rounds ------------------------> page
//!       one partition, or the                        some at a time,         full ---> rows, and where to go on
//!       tokens that the same replicas hold           answered in any order   else ---> the piece's next round,
//!                                                                                      or the next piece
//! ```
//! Invariants (`docs/protocol/read.md`):
//! * R5: the client is answered once.
//! * R6: a page has no more rows than asked for, and at most one row beyond its bytes.
//! * R9: what is taken of a read is always a beginning of it in reading order: rows of a piece wait until all of the
//!   pieces before it are taken whole. So where a page ended is one position, and nothing before it is read again.
//! * R10: a range is cut by the placement at the time it is asked for, and what is left of a read is cut anew when
//!   that changes: no token is left out, and none is read twice, whatever the epochs of two pages or pieces.

use membership::ClusterView;
use model::codec::CodecError;
use model::limits::MESSAGE_BYTES_MAX;
use model::read::{Slice, slices_after};
use model::scan::{PositionWithin, ScanPosition};
use model::schema::Table;
use model::{
    Consistency, IndexedRow, Instant, Now, PartitionKey, ReadCommand, RequestError, RowView, Token, TokenRange,
    WallMicros,
};
use query::{BoundRead, CommandLimits, Progress, ReadPosition, ReadSource, ResultBuilder};
use std::collections::VecDeque;
use std::sync::Arc;

use super::reconcile::AgreedPartition;
use super::round::{Agreed, Question};
use crate::config::ShardConfig;
use crate::io::{OpId, ReadFigures, RequestId, Response};

/// Partitions that one read asks for at a time.
const PARTITIONS_AT_ONCE: usize = 8;
/// Ranges that one read asks for at a time, at most.
const RANGES_AT_ONCE: usize = 16;
/// Candidates that one look-up in an index asks for: at least, since some may turn out not to match, and at most.
const CANDIDATES_AT_ONCE: (u32, u32) = (32, 1_000);
/// Live rows that one round asks for, at most.
const ROUND_ROWS_MAX: u32 = 10_000;
/// Bytes that one round asks for, at least, however many are asked at a time and little is left of the page.
const ROUND_BYTES_MIN: u32 = 64 * 1024;

/// Most bytes of a result that is one page.
const ONE_PAGE_BYTES_MAX: usize = MESSAGE_BYTES_MAX / 2;

/// A piece of a read, for the rounds that ask for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PieceId {
    /// The read.
    pub(crate) request: RequestId,
    /// The piece, by the order in which pieces were cut.
    number: u32,
}

impl PieceId {
    /// For the one round that a write asks for.
    pub(crate) fn of_write(request: RequestId) -> PieceId {
        PieceId { request, number: 0 }
    }
}

/// What one round at a time asks for.
#[derive(Debug)]
enum Part {
    Partition(PartitionKey),
    /// Candidates of an index: of this partition these rows.
    Rows(PartitionKey, Vec<Slice>),
    /// All of its partitions; of a read by an index the candidates among them.
    Range(TokenRange),
}

#[derive(Debug)]
enum State {
    /// Its next round has to be asked.
    Due,
    /// In a round that is known by this id.
    Asked(OpId),
    /// The round's answer waits for those of the pieces before.
    Answered(Agreed),
    Failed(RequestError),
}

#[derive(Debug)]
struct Piece {
    number: u32,
    part: Part,
    /// Where its next round goes on.
    resume: Option<ScanPosition>,
    state: State,
}

/// What of the source is not cut into pieces yet.
#[derive(Debug)]
enum Rest {
    /// In reverse order: the next is the last.
    Partitions(Vec<PartitionKey>),
    Range(Option<TokenRange>),
}

/// What a read decides to do next.
#[derive(Debug)]
pub(crate) enum SelectStep {
    /// Nothing: rounds are on their way.
    Wait,
    /// Begin a round for a piece.
    Ask(PieceId, Question),
    /// Answer the client with the page; `exhausted` when nothing is left behind it.
    Finish { exhausted: bool },
    /// Answer the client with an error.
    Fail(RequestError),
}

/// What came of taking an answer into the page.
#[derive(Debug, PartialEq, Eq)]
enum Taken {
    /// All of it: the read goes on.
    All,
    /// All that fits.
    Full,
    /// More than that is not wanted.
    Complete,
}

/// A read in flight.
#[derive(Debug)]
pub(crate) struct Select {
    pub(crate) request: RequestId,
    pub(crate) read: Arc<BoundRead>,
    pub(crate) consistency: Consistency,
    pub(crate) deadline: Instant,
    /// From here on the page ends where it is, if a further one can go on from there.
    yield_at: Option<Instant>,
    /// Where the page begins.
    begun_at: Option<ReadPosition>,
    /// What has expired is decided by this clock, for all rounds alike.
    now: WallMicros,
    /// Tombstones that a replica may pass in one round.
    tombstones: u32,
    /// More than these that a page has passed its client is told of.
    tombstones_warned: u32,
    /// What was done for this page.
    figures: ReadFigures,
    /// Until when that says how long things took.
    measured_until: Instant,
    /// Pieces asked for at a time, at most: one read does not take all that a replica like this one takes on.
    at_once_max: usize,
    builder: ResultBuilder,
    /// The row that the builder is given.
    view: RowView,
    /// The partition that the builder was given last and may be given more of.
    open: Option<PartitionKey>,
    /// True when no more rows of the open partition are wanted.
    skipping: bool,
    rest: Rest,
    /// Where the first piece begins that is cut next.
    resume: Option<ScanPosition>,
    pieces: VecDeque<Piece>,
    pieces_cut: u32,
    /// Pieces taken whole.
    pieces_taken: u64,
    /// Bytes of answers and rows that it keeps, as the shard counts them.
    pub(crate) counted_bytes: usize,
}

impl Rest {
    /// What of `source` comes after `position`, and where the first piece of it begins.
    ///
    /// # Errors
    /// `Invalid`, when the position is not in the source.
    fn after(
        source: ReadSource,
        position: Option<&ReadPosition>,
    ) -> Result<(Rest, Option<ScanPosition>), RequestError> {
        let foreign = || RequestError::Invalid("the paging state belongs to another statement".to_owned());
        let resume = position.map(|ReadPosition { partition, within }| ScanPosition {
            partition: partition.clone(),
            within: within.as_ref().map(|last| PositionWithin { last: last.clone(), rows_left: u32::MAX }),
        });
        match source {
            ReadSource::Partitions(mut keys) => {
                if let Some(resume) = &resume {
                    let begun = keys.iter().position(|key| *key == resume.partition).ok_or_else(foreign)?;
                    keys.drain(..begun + usize::from(resume.within.is_none()));
                }
                keys.reverse();
                Ok((Rest::Partitions(keys), resume.filter(|resume| resume.within.is_some())))
            }
            ReadSource::Range(mut range) => {
                if let Some(ScanPosition { partition, .. }) = &resume {
                    if !range.contains(partition.token) {
                        return Err(foreign());
                    }
                    // Other partitions may have the same token.
                    range.start = Token(partition.token.0 - 1);
                }
                Ok((Rest::Range((range.start < range.end).then_some(range)), resume))
            }
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Rest::Partitions(keys) => keys.is_empty(),
            Rest::Range(range) => range.is_none(),
        }
    }

    /// Cuts the next part off; `None` when nothing is left.
    fn next(&mut self, keyspace: &str, view: &ClusterView) -> Option<Part> {
        match self {
            Rest::Partitions(keys) => keys.pop().map(Part::Partition),
            Rest::Range(rest) => {
                let range = rest.take()?;
                // Of a range that nobody holds the whole is one part, and unavailable.
                let part = view.part(keyspace, range).map_or(range, |(part, _)| part);
                if part.end < range.end {
                    *rest = Some(TokenRange { start: part.end, end: range.end });
                }
                Some(Part::Range(part))
            }
        }
    }
}

impl Select {
    /// A read of which nothing was asked yet, for a page that `builder` puts together.
    #[expect(clippy::too_many_arguments, reason = "each is a field, named at the one call")]
    ///
    /// # Errors
    /// `Invalid`, when the page begins where the read never comes to.
    pub(crate) fn new(
        request: RequestId,
        read: Arc<BoundRead>,
        consistency: Consistency,
        deadline: Instant,
        yield_at: Option<Instant>,
        now: Now,
        config: &ShardConfig,
        builder: ResultBuilder,
    ) -> Result<Select, RequestError> {
        let begun_at = builder.position().cloned();
        let (rest, resume) = Rest::after(read.source(), begun_at.as_ref())?;
        Ok(Select {
            request,
            read,
            consistency,
            deadline,
            yield_at,
            begun_at,
            now: now.wall,
            tombstones: config.tombstone_fail,
            tombstones_warned: config.tombstone_warn,
            figures: ReadFigures::default(),
            measured_until: now.monotonic,
            at_once_max: (config.replica_ops_max / 2).max(1),
            builder,
            view: RowView::default(),
            open: None,
            skipping: false,
            rest,
            resume,
            pieces: VecDeque::new(),
            pieces_cut: 0,
            pieces_taken: 0,
            counted_bytes: 0,
        })
    }

    /// A planted bug: what is left of the range in which the page before ended is dropped.
    pub(crate) fn drop_resumed_range(&mut self, view: &ClusterView) {
        if let (Rest::Range(Some(_)), Some(_)) = (&self.rest, &self.resume)
            && self.rest.next(&self.read.table().keyspace, view).is_some()
        {
            self.resume = None;
        }
    }

    /// A planted bug: a page begins before the row with which the one before ended.
    pub(crate) fn repeat_row(&mut self) {
        let within = self.resume.as_mut().and_then(|resume| resume.within.as_mut());
        if let Some(within) = within.filter(|within| !within.last.is_empty()) {
            within.last = within.last.slice(..within.last.len() - 1);
        }
    }

    /// The ids of its rounds.
    pub(crate) fn rounds(&self) -> Vec<OpId> {
        let asked = |piece: &Piece| if let State::Asked(op) = piece.state { Some(op) } else { None };
        self.pieces.iter().filter_map(asked).collect()
    }

    /// Bytes that it keeps beside those of its rounds.
    pub(crate) fn held_bytes(&self) -> usize {
        let waiting = |piece: &Piece| if let State::Answered(agreed) = &piece.state { agreed.bytes } else { 0 };
        let candidates = |piece: &Piece| match &piece.part {
            Part::Rows(key, slices) => {
                key.bytes.len() + slices.iter().map(|slice| slice.start.len() + slice.end.len()).sum::<usize>()
            }
            Part::Partition(_) | Part::Range(_) => 0,
        };
        let held = |piece: &Piece| waiting(piece) + candidates(piece);
        self.builder.bytes() + self.pieces.iter().map(held).sum::<usize>()
    }

    fn set(&mut self, piece: PieceId, state: State) {
        if let Some(piece) = self.pieces.iter_mut().find(|known| known.number == piece.number) {
            piece.state = state;
        }
    }

    /// The round of a piece is known by this id from now on.
    pub(crate) fn asked(&mut self, piece: PieceId, op: OpId) {
        self.set(piece, State::Asked(op));
    }

    /// The round of a piece has ended.
    pub(crate) fn answered(&mut self, piece: PieceId, result: Result<Agreed, RequestError>) {
        self.set(piece, result.map_or_else(State::Failed, State::Answered));
    }

    /// R10: the placement has changed: what has not been taken is cut anew.
    ///
    /// # Errors
    /// Never: the builder's position is the read's own.
    pub(crate) fn replan(&mut self) -> Result<(), RequestError> {
        self.pieces.clear();
        (self.rest, self.resume) = Rest::after(self.read.source(), self.builder.position())?;
        Ok(())
    }

    /// Takes what can be taken and decides what to do next.
    pub(crate) fn step(&mut self, view: &ClusterView, now: Instant) -> SelectStep {
        self.measure(now);
        while let Some(mut piece) = self.pieces.pop_front() {
            let agreed = match std::mem::replace(&mut piece.state, State::Due) {
                State::Answered(agreed) if self.is_look_up(&piece) => match self.expand(piece, agreed) {
                    Err(error) => return SelectStep::Fail(error),
                    Ok(Progress::PageFull) => return SelectStep::Finish { exhausted: false },
                    Ok(Progress::Complete) => return SelectStep::Finish { exhausted: true },
                    Ok(_) if self.is_time_up(now) => return SelectStep::Finish { exhausted: false },
                    Ok(_) => continue,
                },
                State::Answered(agreed) => agreed,
                State::Failed(error) => return SelectStep::Fail(error),
                state @ (State::Due | State::Asked(_)) => {
                    piece.state = state;
                    self.pieces.push_front(piece);
                    break;
                }
            };
            self.figures.tombstones = self.figures.tombstones.saturating_add(agreed.tombstones);
            self.figures.repaired = self.figures.repaired.saturating_add(agreed.repaired);
            match self.take(&agreed) {
                Err(error) => return SelectStep::Fail(error),
                Ok(Taken::Full) => return SelectStep::Finish { exhausted: false },
                Ok(Taken::Complete) => return SelectStep::Finish { exhausted: true },
                Ok(Taken::All) => {}
            }
            piece.resume = agreed.end;
            // Taken whole, as far as anybody asks, are also rows that are left of a partition and not wanted.
            let whole = self.skipping || piece.resume.as_ref().is_none_or(|resume| resume.within.is_none());
            if whole {
                // More candidates of the partition may come: it ends when another one begins.
                let closed = if matches!(piece.part, Part::Rows(..)) { Ok(Progress::Continue) } else { self.close() };
                match closed {
                    Err(error) => return SelectStep::Fail(error),
                    Ok(Progress::PageFull) => return SelectStep::Finish { exhausted: false },
                    Ok(Progress::Complete) => return SelectStep::Finish { exhausted: true },
                    Ok(Progress::Continue | Progress::SkipPartition) => {}
                }
                piece.resume = piece.resume.map(|resume| ScanPosition { within: None, ..resume });
            }
            if piece.resume.is_some() && self.question(&piece, 1).is_some() {
                self.pieces.push_front(piece);
            } else {
                self.pieces_taken += 1;
            }
            if self.builder.is_one_page() && self.builder.bytes() > ONE_PAGE_BYTES_MAX {
                return SelectStep::Fail(too_large());
            }
            let exhausted = self.pieces.is_empty() && self.rest.is_empty();
            if !exhausted && (self.builder.is_full() || self.is_time_up(now)) {
                return SelectStep::Finish { exhausted };
            }
        }
        self.ask(view)
    }

    /// Notes what has been under way since the last look.
    fn measure(&mut self, now: Instant) {
        let since = std::mem::replace(&mut self.measured_until, now);
        let micros = now.0.saturating_sub(since.0);
        // What was answered just now was under way until then.
        let was_asked = |piece: &&Piece| !matches!(piece.state, State::Due);
        let mut asked = self.pieces.iter().filter(was_asked).peekable();
        if asked.peek().is_none() {
            return;
        }
        if asked.any(|piece| self.is_look_up(piece)) {
            self.figures.look_up_micros += micros;
        } else {
            self.figures.read_micros += micros;
        }
    }

    /// True when the page has taken so long that the client gets what there is: it may be short, but has got further.
    fn is_time_up(&self, now: Instant) -> bool {
        let can_end = !self.builder.is_one_page() && self.builder.position() != self.begun_at.as_ref();
        can_end && self.yield_at.is_some_and(|at| at <= now)
    }

    /// The next round to begin.
    fn ask(&mut self, view: &ClusterView) -> SelectStep {
        loop {
            let at_once = self.at_once();
            let due = self.pieces.iter().position(|piece| matches!(piece.state, State::Due));
            if let Some(index) = due.filter(|index| *index < at_once) {
                let id = PieceId { request: self.request, number: self.pieces[index].number };
                match self.question(&self.pieces[index], at_once) {
                    Some(question) => {
                        match question {
                            Question::Index(_) => self.figures.look_ups += 1,
                            Question::Partition(_) | Question::Range(_) => self.figures.rounds += 1,
                        }
                        return SelectStep::Ask(id, question);
                    }
                    // Nothing comes after where an earlier page ended.
                    None => drop(self.pieces.remove(index)),
                }
            } else if due.is_none()
                && self.pieces.len() < at_once
                && let Some(part) = self.rest.next(&self.read.table().keyspace, view)
            {
                let (number, resume) = (self.pieces_cut, self.resume.take());
                self.pieces_cut += 1;
                self.pieces.push_back(Piece { number, part, resume, state: State::Due });
            } else if self.pieces.is_empty() {
                return match self.close() {
                    Err(error) => SelectStep::Fail(error),
                    Ok(Progress::PageFull) => SelectStep::Finish { exhausted: false },
                    Ok(Progress::Continue | Progress::SkipPartition | Progress::Complete) => {
                        SelectStep::Finish { exhausted: true }
                    }
                };
            } else {
                return SelectStep::Wait;
            }
        }
    }

    /// How many pieces may be asked for at a time: of ranges first one, then as many as are likely to fill the page.
    fn at_once(&self) -> usize {
        if matches!(self.rest, Rest::Partitions(_)) || self.read.names_index() {
            return PARTITIONS_AT_ONCE.min(self.at_once_max);
        }
        let most = RANGES_AT_ONCE.min(self.at_once_max);
        match (self.pieces_taken, self.figures.rows) {
            (0, _) => 1,
            (_, 0) => most,
            (pieces, rows) => {
                let wanted = u64::from(self.builder.rows_left().min(ROUND_ROWS_MAX)).saturating_mul(pieces) / rows;
                usize::try_from(wanted).unwrap_or(most).clamp(1, most)
            }
        }
    }

    /// What the next round of a piece asks; `None` when nothing is left of it.
    fn question(&self, piece: &Piece, at_once: usize) -> Option<Question> {
        let share = self.builder.bytes_left() / u32::try_from(at_once).unwrap_or(u32::MAX);
        let limits = CommandLimits {
            rows: self.builder.rows_left().clamp(1, ROUND_ROWS_MAX),
            // The one that is taken next has all that is left.
            bytes: if self.pieces.len() > 1 { share } else { self.builder.bytes_left() }.max(ROUND_BYTES_MIN),
            tombstones: self.tombstones,
        };
        match &piece.part {
            Part::Partition(key) => {
                let command = self.read.partition_command(key, limits, self.now);
                let command = match piece.resume.as_ref().map(|resume| resume.within.as_ref()) {
                    None => command,
                    Some(within) => command.after(&within?.last, limits.rows)?,
                };
                Some(Question::Partition(Arc::new(command)))
            }
            Part::Rows(key, slices) => {
                let command = self.read.partition_command(key, limits, self.now);
                let command = ReadCommand { slices: slices.clone(), ..command };
                let command = match piece.resume.as_ref().map(|resume| resume.within.as_ref()) {
                    None => command,
                    Some(within) => command.after(&within?.last, limits.rows)?,
                };
                Some(Question::Partition(Arc::new(command)))
            }
            Part::Range(range) if self.read.names_index() => {
                let (least, most) = CANDIDATES_AT_ONCE;
                let limit = self.builder.rows_wanted().clamp(least, most);
                let resume = piece.resume.as_ref().map(IndexedRow::from);
                let command = self.read.index_command(*range, resume, limit, self.now)?;
                Some(Question::Index(Arc::new(command)))
            }
            Part::Range(range) => {
                let command = self.read.scan_command(*range, piece.resume.clone(), limits, self.now);
                Some(Question::Range(Arc::new(command)))
            }
        }
    }

    /// True for a piece whose answers are candidates.
    fn is_look_up(&self, piece: &Piece) -> bool {
        matches!(piece.part, Part::Range(_)) && self.read.names_index()
    }

    /// Puts the candidates that a look-up found, partition by partition, before what is left of its range.
    fn expand(&mut self, mut piece: Piece, agreed: Agreed) -> Result<Progress, RequestError> {
        self.figures.candidates += agreed.candidates.len() as u64;
        // Where nothing was found the page can end, so that the next one goes on from there.
        let passed = agreed.end.clone().filter(|_| agreed.candidates.is_empty());
        let begun = std::mem::replace(&mut piece.resume, agreed.end);
        match &piece.resume {
            Some(_) => self.pieces.push_front(piece),
            None => self.pieces_taken += 1,
        }
        for rows in agreed.candidates.chunk_by(|a, b| a.partition == b.partition).rev() {
            let mut slices: Vec<Slice> =
                rows.iter().filter_map(|row| row.clustering.as_ref()).map(Slice::of_row).collect();
            if slices.is_empty() {
                slices = self.read.slices();
            }
            let partition = rows[0].partition.clone();
            if let Some(ScanPosition { within: Some(within), .. }) =
                begun.as_ref().filter(|begun| begun.partition == partition)
            {
                // An index that names partitions names the one again in which the page before ended.
                slices = slices_after(&slices, false, &within.last);
            }
            if slices.is_empty() {
                continue;
            }
            let (number, part) = (self.pieces_cut, Part::Rows(partition, slices));
            self.pieces_cut += 1;
            self.pieces.push_front(Piece { number, part, resume: None, state: State::Due });
        }
        match passed {
            Some(end) if self.open.as_ref() != Some(&end.partition) => {
                let closed = self.close()?;
                self.builder.pass(ReadPosition { partition: end.partition, within: end.within.map(|at| at.last) });
                Ok(closed)
            }
            _ => Ok(Progress::Continue),
        }
    }

    /// Gives the builder what the replicas agree on.
    fn take(&mut self, agreed: &Agreed) -> Result<Taken, RequestError> {
        for AgreedPartition { key, static_row, rows } in &agreed.partitions {
            if self.open.as_ref() != Some(key) {
                let closed = self.close()?;
                if let Some(taken) = ended(closed) {
                    return Ok(taken);
                }
                let mut begun = self.builder.begin_partition(key)?;
                if let (Progress::Continue, Some(row)) = (begun, static_row) {
                    self.view.read(row).map_err(unreadable)?;
                    begun = self.builder.static_row(&self.view)?;
                }
                if let Some(taken) = ended(begun) {
                    return Ok(taken);
                }
                self.skipping = begun == Progress::SkipPartition;
                self.open = Some(key.clone());
            }
            for (clustering, row) in rows {
                if self.skipping {
                    break;
                }
                self.figures.rows += 1;
                self.view.read(row).map_err(unreadable)?;
                let progress = self.builder.row(clustering, &self.view)?;
                if let Some(taken) = ended(progress) {
                    return Ok(taken);
                }
                self.skipping = progress == Progress::SkipPartition;
            }
        }
        Ok(Taken::All)
    }

    /// Tells the builder that the open partition, if there is one, has nothing more.
    fn close(&mut self) -> Result<Progress, RequestError> {
        self.skipping = false;
        match self.open.take() {
            None => Ok(Progress::Continue),
            Some(_) => self.builder.end_partition(),
        }
    }

    /// The client's answer.
    ///
    /// # Errors
    /// As the builder.
    pub(crate) fn finish(self, exhausted: bool) -> Result<Response, RequestError> {
        let (read, figures, warned) = (self.read.clone(), self.figures, self.tombstones_warned);
        let page = self.builder.finish(exhausted)?;
        let warnings = tombstones_told(read.table(), page.rows.len(), figures.tombstones, warned);
        Ok(Response::Rows { rows: page.rows, paging_state: page.saved, warnings, figures })
    }
}

/// What the client should know of a page.
fn tombstones_told(table: &Table, rows: usize, passed: u32, warned: u32) -> Vec<String> {
    if passed <= warned {
        return Vec::new();
    }
    let (keyspace, name) = (&table.keyspace, &table.name);
    vec![format!(
        "Read {rows} live rows and {passed} tombstone cells for a query of {keyspace}.{name} (see tombstone_warn)"
    )]
}

/// Rows are checked when they come.
fn unreadable(error: CodecError) -> RequestError {
    RequestError::Server(format!("a row cannot be read: {error}"))
}

fn too_large() -> RequestError {
    RequestError::Invalid(format!(
        "the rows of a result that is sorted over several partitions are more than {ONE_PAGE_BYTES_MAX} bytes: name \
         fewer partitions or a LIMIT, or sort them yourself"
    ))
}

/// How a page ends, if it does.
fn ended(progress: Progress) -> Option<Taken> {
    match progress {
        Progress::Continue | Progress::SkipPartition => None,
        Progress::PageFull => Some(Taken::Full),
        Progress::Complete => Some(Taken::Complete),
    }
}
