//! From the rows of a read, as they come in, to a page of its result, and the state by which the next page goes on.
//!
//! A coordinator gives a [`ResultBuilder`] the reconciled rows of the partitions of [`BoundRead::source`] in order:
//! ```text
//! start, { begin_partition, static_row?, row*, end_partition }*, finish
//! ```
//! and stops when it says so. Invariants:
//! * However the rows are split into pages, the pages together are the same rows.
//! * What [`Progress::PageFull`] answers was not taken: the next page begins with it.
//! * A saved state is no larger than a row and the results of aggregates, whatever was read, and does no more harm
//!   than the statement itself could: what does not fit the statement is refused.

use crate::evaluation::EvaluationContext;
use crate::function::Accumulator;
use crate::json;
use crate::operand::{Arguments, BoundValue, Operand, RowValues};
use crate::read::{BoundRead, Grouping};
use crate::selection::Source;
use bytes::Bytes;
use model::codec::{CodecError, Decode, Encode, Reader, put_bytes, put_option, put_varint};
use model::key::decode_clustering;
use model::schema::ColumnKind;
use model::value::{compare, validate};
use model::{CqlType, PartitionKey, RequestError, RowView, TableId, Value};
use std::cell::RefCell;
use std::cmp::Ordering;
use std::sync::Arc;

/// What one page may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageLimits {
    /// Rows of the result at most, at least 1; `u32::MAX` for a client that does not page.
    pub rows: u32,
    /// The page ends after the row that reaches this many bytes; at least 1.
    pub bytes: u32,
}

/// What to do after something was given to a [`ResultBuilder`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Progress {
    /// Go on with what comes next.
    Continue,
    /// No more rows of this partition are wanted: go on with [`ResultBuilder::end_partition`].
    SkipPartition,
    /// The page ends before what was given, which was not taken: go on with [`ResultBuilder::finish`].
    PageFull,
    /// The result is complete: go on with [`ResultBuilder::finish`].
    Complete,
}

/// Up to where a read has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadPosition {
    /// The last partition that was begun.
    pub partition: PartitionKey,
    /// The encoded clustering key of the last row taken from it; `None` when the partition is done.
    pub within: Option<Bytes>,
}

/// A page of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResultPage {
    /// The rows, in the order of [`BoundRead::result_columns`]: wire values, `None` for null.
    pub rows: Vec<Vec<Option<Bytes>>>,
    /// By what the next page goes on; `None` when the result is complete.
    pub saved: Option<Bytes>,
}

/// Rows that become one of the result, so far.
#[derive(Clone, Debug, PartialEq)]
struct Group {
    /// By what later rows are told to be of the group.
    key: Vec<Option<Bytes>>,
    /// The inputs of the first row that something outside of aggregates needs; empty before there is a row.
    first: Vec<Option<Bytes>>,
    accumulators: Vec<Accumulator>,
}

/// What one page leaves to the next.
#[derive(Clone, Debug, PartialEq)]
struct State {
    table: TableId,
    position: Option<ReadPosition>,
    /// Rows left of LIMIT.
    limit_left: Option<u32>,
    /// Rows of the result that the partition of the position has made.
    partition_rows: u32,
    /// True when that partition has a live row.
    rows_seen: bool,
    /// The group that the next row may be of.
    group: Option<Group>,
}

/// The partition that was begun and not ended.
#[derive(Debug)]
struct Open {
    key: PartitionKey,
    components: Vec<Bytes>,
    static_row: Option<RowView>,
    /// False when it does not pass the filters of the partition key and of static columns; `None` while nobody asked.
    admitted: Option<bool>,
    /// True when no more rows of it are wanted.
    skipped: bool,
}

/// Puts a page of the result of a read together.
#[derive(Debug)]
pub struct ResultBuilder {
    read: Arc<BoundRead>,
    now_seconds: u32,
    limits: PageLimits,
    context: RefCell<EvaluationContext>,
    state: State,
    open: Option<Open>,
    /// True when rows of the result need the values of clustering columns.
    reads_clustering: bool,
    rows: Vec<Vec<Option<Bytes>>>,
    /// For each row what it is sorted by, if rows are sorted.
    sort_keys: Vec<Vec<Option<Bytes>>>,
    bytes: usize,
}

/// First byte of a saved state.
const FORMAT: u8 = 1;

impl Encode for ReadPosition {
    fn encode(&self, out: &mut Vec<u8>) {
        self.partition.encode(out);
        put_value(out, self.within.as_ref());
    }
}

impl Decode for ReadPosition {
    fn decode(reader: &mut Reader) -> Result<ReadPosition, CodecError> {
        Ok(ReadPosition { partition: PartitionKey::decode(reader)?, within: value(reader)? })
    }
}

fn put_value(out: &mut Vec<u8>, value: Option<&Bytes>) {
    out.push(u8::from(value.is_some()));
    if let Some(value) = value {
        put_bytes(out, value);
    }
}

fn value(reader: &mut Reader) -> Result<Option<Bytes>, CodecError> {
    Ok(if reader.bool()? { Some(reader.bytes()?) } else { None })
}

fn put_values(out: &mut Vec<u8>, values: &[Option<Bytes>]) {
    put_varint(out, values.len() as u64);
    values.iter().for_each(|value| put_value(out, value.as_ref()));
}

fn values(reader: &mut Reader) -> Result<Vec<Option<Bytes>>, CodecError> {
    let mut values = Vec::new();
    for _ in 0..reader.count()? {
        values.push(value(reader)?);
    }
    Ok(values)
}

impl State {
    /// Nothing read yet.
    fn new(read: &BoundRead) -> State {
        // Sorting needs all rows: LIMIT comes after it.
        let limit_left = if read.plan().sorting.is_empty() { read.limit() } else { None };
        let table = read.table().id;
        let mut state = State { table, position: None, limit_left, partition_rows: 0, rows_seen: false, group: None };
        if matches!(read.grouping, Grouping::All) {
            // Without any row there is still one of the result.
            state.group = Some(Group { key: Vec::new(), first: Vec::new(), accumulators: accumulators(read) });
        }
        state
    }

    fn encode(&self) -> Bytes {
        let mut out = vec![FORMAT];
        self.table.encode(&mut out);
        put_option(&mut out, self.position.as_ref());
        put_option(&mut out, self.limit_left.as_ref());
        self.partition_rows.encode(&mut out);
        self.rows_seen.encode(&mut out);
        out.push(u8::from(self.group.is_some()));
        if let Some(group) = &self.group {
            put_values(&mut out, &group.key);
            put_values(&mut out, &group.first);
            group.accumulators.iter().for_each(|accumulator| accumulator.encode(&mut out));
        }
        Bytes::from(out)
    }

    fn decode(bytes: &Bytes, read: &BoundRead) -> Result<State, CodecError> {
        let mut reader = Reader::new(bytes.clone());
        match reader.u8()? {
            FORMAT => {}
            version => return Err(CodecError::Version(version)),
        }
        let state = State {
            table: TableId::decode(&mut reader)?,
            position: reader.option()?,
            limit_left: reader.option()?,
            partition_rows: reader.varint_u32()?,
            rows_seen: reader.bool()?,
            group: if reader.bool()? { Some(Group::decode(&mut reader, read)?) } else { None },
        };
        reader.finish()?;
        Ok(state)
    }

    /// True when `read` can have come to this state.
    fn fits(&self, read: &BoundRead) -> bool {
        let limits_agree = match (self.limit_left, read.limit()) {
            (None, None) => true,
            (Some(left), Some(limit)) => left > 0 && left <= limit,
            _ => false,
        };
        let group_agrees = match &read.grouping {
            Grouping::None => self.group.is_none(),
            Grouping::All => self.group.is_some(),
            Grouping::Rows { .. } => self.group.is_none() || self.position.is_some(),
        };
        self.table == read.table().id
            && limits_agree
            && group_agrees
            && self.position.as_ref().is_none_or(|position| read.holds(position))
    }
}

fn accumulators(read: &BoundRead) -> Vec<Accumulator> {
    let aggregates = read.plan().selection.aggregates.iter();
    aggregates.map(|own| Accumulator::new(own.aggregate(), own.function.parameters.first())).collect()
}

impl Group {
    fn decode(reader: &mut Reader, read: &BoundRead) -> Result<Group, CodecError> {
        const INVALID: CodecError = CodecError::Invalid("group");
        let plan = read.plan();
        let (key, first) = (values(reader)?, values(reader)?);
        let key_length = match &read.grouping {
            Grouping::Rows { columns, .. } => *columns,
            Grouping::None | Grouping::All => 0,
        };
        if key.len() != key_length || ![0, plan.selection.inputs.len()].contains(&first.len()) {
            return Err(INVALID);
        }
        for (value, input) in first.iter().zip(&plan.selection.inputs) {
            if let (Some(value), crate::selection::Input::Column(column)) = (value, input)
                && validate(&plan.table.columns[*column].cql_type, value).is_err()
            {
                return Err(INVALID);
            }
        }
        let mut decoded = Vec::new();
        for (accumulator, own) in accumulators(read).into_iter().zip(&plan.selection.aggregates) {
            decoded.push(accumulator.decode(reader, own.value_type())?);
        }
        Ok(Group { key, first, accumulators: decoded })
    }
}

/// A row as it is taken: `None` for the static part of a partition without rows.
#[derive(Clone, Copy)]
struct Taken<'a> {
    clustering: Option<&'a Bytes>,
    row: Option<&'a RowView>,
}

impl ResultBuilder {
    /// Begins a page of `read`, whose rows are seen as of `now_seconds`. `saved` is that of the page before.
    ///
    /// # Errors
    /// `Invalid` for a page of nothing, a saved state that is damaged or of another statement, and a page of rows that
    /// have to be sorted all together.
    pub fn start(
        read: &Arc<BoundRead>,
        saved: Option<&Bytes>,
        limits: PageLimits,
        now_seconds: u32,
    ) -> Result<ResultBuilder, RequestError> {
        if limits.rows == 0 || limits.bytes == 0 {
            return Err(RequestError::Invalid("the page size must be positive".to_owned()));
        }
        if read.is_one_page() && (limits.rows != u32::MAX || saved.is_some()) {
            let message = "Cannot page queries with both ORDER BY and a IN restriction on the partition key; you must \
                           either remove the ORDER BY or the IN and sort client side, or disable paging for this query";
            return Err(RequestError::Invalid(message.to_owned()));
        }
        let state = match saved {
            None => State::new(read),
            Some(bytes) => {
                let state = State::decode(bytes, read)
                    .map_err(|error| RequestError::Invalid(format!("the paging state is not valid: {error}")))?;
                if !state.fits(read) {
                    return Err(RequestError::Invalid("the paging state belongs to another statement".to_owned()));
                }
                state
            }
        };
        Ok(ResultBuilder {
            context: RefCell::new(read.context.clone()),
            read: Arc::clone(read),
            now_seconds,
            limits,
            state,
            open: None,
            reads_clustering: read.plan().reads_clustering(),
            rows: Vec::new(),
            sort_keys: Vec::new(),
            bytes: 0,
        })
    }

    /// Where the page begins: after this; `None` for the beginning. Afterwards, up to where it has come.
    #[must_use]
    pub fn position(&self) -> Option<&ReadPosition> {
        self.state.position.as_ref()
    }

    /// Nothing up to this position, behind all rows so far and in no open partition, is a row of the result: the page
    /// can end here. Without effect for a position that the read does not come to.
    pub fn pass(&mut self, position: ReadPosition) {
        if self.open.is_some() || !self.read.holds(&position) {
            return;
        }
        let before = self.state.position.as_ref();
        if before.is_none_or(|before| before.partition != position.partition) {
            (self.state.partition_rows, self.state.rows_seen) = (0, false);
        }
        self.state.position = Some(position);
    }

    /// How many live rows the page can still take, if each that is read becomes one of the result; `u32::MAX` when
    /// nobody can say how many must be read.
    #[must_use]
    pub fn rows_left(&self) -> u32 {
        if self.read.is_plain() { self.rows_wanted() } else { u32::MAX }
    }

    /// How many rows of the result the page can still take; `u32::MAX` when each stands for many that are read.
    #[must_use]
    pub fn rows_wanted(&self) -> u32 {
        if !matches!(self.read.grouping, Grouping::None) {
            return u32::MAX;
        }
        let left = self.limits.rows.saturating_sub(self.rows.len() as u32);
        self.state.limit_left.map_or(left, |limit| limit.min(left))
    }

    /// Bytes that the page can still take.
    #[must_use]
    pub fn bytes_left(&self) -> u32 {
        (self.limits.bytes as usize).saturating_sub(self.bytes) as u32
    }

    /// Bytes of the rows so far.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// True when no further row fits: a read that has more to come may stop here without asking for it.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let is_whole = matches!(self.read.grouping, Grouping::All) || !self.read.plan().sorting.is_empty();
        let open = self.state.group.is_some();
        !is_whole && !open && (self.rows.len() as u64 >= u64::from(self.limits.rows) || self.bytes_left() == 0)
            || self.state.limit_left == Some(0)
    }

    /// True when the result is one page, whatever its limits, since its rows are sorted: it must be read to its end.
    #[must_use]
    pub fn is_one_page(&self) -> bool {
        !self.read.plan().sorting.is_empty()
    }

    /// Begins a partition. One that an earlier page has begun is begun again.
    ///
    /// # Errors
    /// `Server`, when the key is not one of the table.
    pub fn begin_partition(&mut self, partition: &PartitionKey) -> Result<Progress, RequestError> {
        let count = self.read.table().partition_key().count();
        let components = partition
            .components(count)
            .map_err(|error| RequestError::Server(format!("a stored partition key cannot be read: {error}")))?;
        let resumed = self.state.position.as_ref();
        let resumed = resumed.is_some_and(|position| position.partition == *partition && position.within.is_some());
        if !resumed {
            (self.state.partition_rows, self.state.rows_seen) = (0, false);
        }
        let key = partition.clone();
        self.open = Some(Open { key, components, static_row: None, admitted: None, skipped: false });
        if !self.passes(|kind| matches!(kind, ColumnKind::PartitionKey(_)), Taken { clustering: None, row: None })? {
            return Ok(self.skip());
        }
        Ok(Progress::Continue)
    }

    fn skip(&mut self) -> Progress {
        if let Some(open) = &mut self.open {
            open.skipped = true;
        }
        Progress::SkipPartition
    }

    /// Takes the static row of the partition.
    ///
    /// # Errors
    /// `Server`, when what is stored cannot be read.
    pub fn static_row(&mut self, row: &RowView) -> Result<Progress, RequestError> {
        if let Some(open) = &mut self.open {
            open.static_row = Some(row.clone());
        }
        Ok(if self.is_admitted()? { Progress::Continue } else { self.skip() })
    }

    /// True when the partition passes the filters of static columns.
    fn is_admitted(&mut self) -> Result<bool, RequestError> {
        if let Some(admitted) = self.open.as_ref().and_then(|open| open.admitted) {
            return Ok(admitted);
        }
        let admitted = self.passes(|kind| kind == ColumnKind::Static, Taken { clustering: None, row: None })?;
        if let Some(open) = &mut self.open {
            open.admitted = Some(admitted);
        }
        Ok(admitted)
    }

    fn clustering_of(&self, taken: Taken<'_>) -> Result<Vec<Bytes>, RequestError> {
        let Some(clustering) = taken.clustering else { return Ok(Vec::new()) };
        decode_clustering(self.read.table(), clustering)
            .map_err(|error| RequestError::Server(format!("a stored clustering key cannot be read: {error}")))
    }

    fn source<'a>(&self, open: &'a Open, clustering: &'a [Bytes], row: Option<&'a RowView>) -> Source<'a> {
        Source {
            partition: &open.components,
            clustering,
            static_row: open.static_row.as_ref(),
            row,
            now_seconds: i64::from(self.now_seconds),
        }
    }

    /// True when a row passes the filters of columns of the kinds that are wanted.
    fn passes(&self, wanted: impl Fn(ColumnKind) -> bool, taken: Taken<'_>) -> Result<bool, RequestError> {
        let mut filters = self.read.filters_of(wanted).peekable();
        let Some(open) = self.open.as_ref().filter(|_| filters.peek().is_some()) else { return Ok(true) };
        let clustering = self.clustering_of(taken)?;
        let source = self.source(open, &clustering, taken.row);
        for filter in filters {
            let column = &self.read.table().columns[filter.column];
            if !filter.admits(&column.cql_type, source.column(column)?.as_ref())? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Takes the next row of the partition, reconciled; one that is not live changes nothing.
    ///
    /// # Errors
    /// `Server`, when what is stored cannot be read; `Invalid` when a function has no value.
    pub fn row(&mut self, clustering: &Bytes, row: &RowView) -> Result<Progress, RequestError> {
        let Some(open) = &self.open else {
            return Err(RequestError::Server("a row came outside of a partition".to_owned()));
        };
        if open.skipped {
            return Ok(Progress::SkipPartition);
        }
        if !row.row().is_live(i64::from(self.now_seconds)) {
            return Ok(Progress::Continue);
        }
        if !self.is_admitted()? {
            return Ok(self.skip());
        }
        let taken = Taken { clustering: Some(clustering), row: Some(row) };
        let of_rows = |kind: ColumnKind| matches!(kind, ColumnKind::Clustering(..) | ColumnKind::Regular);
        let progress = if self.passes(of_rows, taken)? { self.take(taken)? } else { Progress::Continue };
        if progress != Progress::PageFull {
            self.state.rows_seen = true;
            let partition = self.open.as_ref().map(|open| open.key.clone());
            let position = partition.map(|partition| ReadPosition { partition, within: Some(clustering.clone()) });
            self.state.position = position;
        }
        Ok(progress)
    }

    /// Makes a row that passes all filters a part of the result.
    fn take(&mut self, taken: Taken<'_>) -> Result<Progress, RequestError> {
        let clustering = if self.reads_clustering { self.clustering_of(taken)? } else { Vec::new() };
        let Some(open) = &self.open else { return Ok(Progress::Continue) };
        let source = self.source(open, &clustering, taken.row);
        let read = Arc::clone(&self.read);
        let mut inputs = Vec::with_capacity(read.selection.inputs.len());
        for input in &read.selection.inputs {
            inputs.push(source.input(read.table(), input)?);
        }
        match &read.grouping {
            Grouping::None => {
                if let Some(stop) = self.stop() {
                    return Ok(stop);
                }
                let row = RowValues { inputs: &inputs, aggregates: &[] };
                self.emit(row, &clustering)?;
                Ok(self.after_row())
            }
            Grouping::All => {
                let Some(mut group) = self.state.group.take() else { return Ok(Progress::Continue) };
                if group.first.is_empty() {
                    group.first = self.kept(&inputs);
                }
                let added = self.add(&mut group, &inputs);
                self.state.group = Some(group);
                added.map(|()| Progress::Continue)
            }
            Grouping::Rows { columns, last } => {
                let mut key: Vec<Option<Bytes>> = clustering.iter().take(*columns).cloned().map(Some).collect();
                key.resize(*columns, None);
                if let (Some(function), Some(value)) = (last, key.last_mut()) {
                    *value = self.evaluate(function, RowValues { inputs: &inputs, aggregates: &[] })?;
                }
                self.take_in_group(key, &inputs, &clustering)
            }
        }
    }

    fn take_in_group(
        &mut self,
        key: Vec<Option<Bytes>>,
        inputs: &[Option<Bytes>],
        clustering: &[Bytes],
    ) -> Result<Progress, RequestError> {
        if self.state.group.as_ref().is_some_and(|group| group.key != key) {
            self.close_group()?;
        }
        let mut group = match self.state.group.take() {
            Some(group) => group,
            None => {
                if let Some(stop) = self.stop() {
                    return Ok(stop);
                }
                if !self.read.plan().sorting.is_empty() {
                    self.sort_keys.push(self.sort_key(clustering));
                }
                Group { key, first: self.kept(inputs), accumulators: accumulators(&self.read) }
            }
        };
        let added = self.add(&mut group, inputs);
        self.state.group = Some(group);
        added.map(|()| Progress::Continue)
    }

    /// The inputs that something outside of aggregates needs.
    fn kept(&self, inputs: &[Option<Bytes>]) -> Vec<Option<Bytes>> {
        let kept = &self.read.plan().selection.kept;
        inputs.iter().zip(kept).map(|(input, kept)| input.clone().filter(|_| *kept)).collect()
    }

    /// Adds a row to the aggregates of a group.
    fn add(&self, group: &mut Group, inputs: &[Option<Bytes>]) -> Result<(), RequestError> {
        let read = &self.read;
        let plans = read.plan().selection.aggregates.iter().zip(&read.selection.aggregated);
        for (accumulator, (own, argument)) in group.accumulators.iter_mut().zip(plans) {
            let value = match argument {
                None => Some(Bytes::new()),
                Some(operand) => self.evaluate(operand, RowValues { inputs, aggregates: &[] })?,
            };
            accumulator.add(own.value_type(), value.as_ref()).map_err(RequestError::Invalid)?;
        }
        Ok(())
    }

    /// Makes the open group a row of the result.
    fn close_group(&mut self) -> Result<(), RequestError> {
        let Some(group) = self.state.group.take() else { return Ok(()) };
        let mut results = Vec::with_capacity(group.accumulators.len());
        for (accumulator, own) in group.accumulators.iter().zip(&self.read.plan().selection.aggregates) {
            results.push(accumulator.result(&own.function.returns).map_err(RequestError::Invalid)?);
        }
        self.push(RowValues { inputs: &group.first, aggregates: &results })
    }

    /// Why no further row of the result may be begun.
    fn stop(&mut self) -> Option<Progress> {
        if self.state.limit_left == Some(0) {
            return Some(Progress::Complete);
        }
        let most = if self.read.plan().distinct { Some(1) } else { self.read.per_partition_limit };
        if most.is_some_and(|most| self.state.partition_rows >= most) {
            return Some(self.skip());
        }
        let is_sorted = !self.read.plan().sorting.is_empty();
        (!is_sorted && self.is_full()).then_some(Progress::PageFull)
    }

    /// What to do after a row of the result.
    fn after_row(&mut self) -> Progress {
        match self.stop() {
            None | Some(Progress::PageFull) => Progress::Continue,
            Some(stop) => stop,
        }
    }

    fn sort_key(&self, clustering: &[Bytes]) -> Vec<Option<Bytes>> {
        self.read.plan().sorting.iter().map(|(position, _)| clustering.get(*position).cloned()).collect()
    }

    fn emit(&mut self, row: RowValues<'_>, clustering: &[Bytes]) -> Result<(), RequestError> {
        if !self.read.plan().sorting.is_empty() {
            self.sort_keys.push(self.sort_key(clustering));
        }
        self.push(row)
    }

    fn evaluate(&self, operand: &Operand, row: RowValues<'_>) -> Result<Option<Bytes>, RequestError> {
        match operand.evaluate(Arguments::none(&self.context), row)? {
            BoundValue::Value(value) => Ok(Some(value)),
            BoundValue::Null => Ok(None),
            BoundValue::Unset => Err(RequestError::Invalid("Invalid unset value in the SELECT clause".to_owned())),
        }
    }

    /// Adds a row to the result.
    fn push(&mut self, row: RowValues<'_>) -> Result<(), RequestError> {
        let read = Arc::clone(&self.read);
        let mut values = Vec::with_capacity(read.selection.operands.len());
        for operand in &read.selection.operands {
            values.push(self.evaluate(operand, row)?);
        }
        if read.plan().json {
            values = vec![Some(self.json_row(&values)?)];
        }
        // Each value takes at least its length on the wire.
        self.bytes += values.iter().map(|value| 4 + value.as_ref().map_or(0, Bytes::len)).sum::<usize>();
        if !read.plan().sorting.is_empty() && self.bytes > self.limits.bytes as usize {
            let most = self.limits.bytes;
            return Err(RequestError::Invalid(format!("a result of more than {most} bytes cannot be sorted")));
        }
        self.rows.push(values);
        self.state.partition_rows = self.state.partition_rows.saturating_add(1);
        self.state.limit_left = self.state.limit_left.map(|left| left.saturating_sub(1));
        Ok(())
    }

    fn json_row(&self, values: &[Option<Bytes>]) -> Result<Bytes, RequestError> {
        let columns = &self.read.plan().selection.columns;
        let mut members = Vec::with_capacity(values.len());
        for (column, value) in columns.iter().zip(values) {
            let text = match value {
                None => "null".to_owned(),
                Some(wire) => json_value(&column.cql_type, wire)?,
            };
            members.push((column.name.as_str(), text));
        }
        Ok(Bytes::from(json::object(members.into_iter())))
    }

    /// Ends the partition.
    ///
    /// # Errors
    /// As [`ResultBuilder::row`].
    pub fn end_partition(&mut self) -> Result<Progress, RequestError> {
        if self.counts_static()? {
            let progress = self.take(Taken { clustering: None, row: None })?;
            if progress == Progress::PageFull {
                return Ok(progress);
            }
        }
        if matches!(self.read.grouping, Grouping::Rows { .. }) {
            self.close_group()?;
        }
        if let Some(open) = self.open.take() {
            self.state.position = Some(ReadPosition { partition: open.key, within: None });
        }
        Ok(if self.state.limit_left == Some(0) { Progress::Complete } else { Progress::Continue })
    }

    /// True when the partition has no rows and counts by its static columns.
    fn counts_static(&mut self) -> Result<bool, RequestError> {
        let Some(open) = &self.open else { return Ok(false) };
        let is_live = open.static_row.as_ref().is_some_and(|row| row.row().is_live(i64::from(self.now_seconds)));
        let counts = self.read.plan().counts_static && is_live && !open.skipped && !self.state.rows_seen;
        Ok(counts && self.is_admitted()?)
    }

    /// The page. `exhausted` when the source has nothing more.
    ///
    /// # Errors
    /// `Invalid` when a function has no value.
    pub fn finish(mut self, exhausted: bool) -> Result<ResultPage, RequestError> {
        let complete = exhausted || self.state.limit_left == Some(0);
        if complete {
            self.close_group()?;
        }
        if !self.read.plan().sorting.is_empty() {
            self.sort();
        }
        let saved = (!complete).then(|| self.state.encode());
        Ok(ResultPage { rows: self.rows, saved })
    }

    /// Sorts the rows of several partitions; those that compare as equal stay in the order of the partitions.
    fn sort(&mut self) {
        let table = self.read.table();
        let types: Vec<CqlType> = table.clustering().map(|column| column.cql_type.clone()).collect();
        let sorting = &self.read.plan().sorting;
        let order = |a: &[Option<Bytes>], b: &[Option<Bytes>]| {
            let pairs = sorting.iter().zip(a.iter().zip(b));
            let orders = pairs.map(|((position, descending), (a, b))| {
                let order = match (a, b) {
                    (Some(a), Some(b)) => compare(&types[*position], a, b),
                    (a, b) => a.is_some().cmp(&b.is_some()),
                };
                if *descending { order.reverse() } else { order }
            });
            orders.fold(Ordering::Equal, Ordering::then)
        };
        let keys = std::mem::take(&mut self.sort_keys);
        let mut keyed: Vec<_> = keys.into_iter().zip(std::mem::take(&mut self.rows)).collect();
        keyed.sort_by(|(a, _), (b, _)| order(a, b));
        let most = self.read.limit().map_or(usize::MAX, |limit| limit as usize);
        self.rows = keyed.into_iter().map(|(_, row)| row).take(most).collect();
    }
}

/// A value of a result as JSON. A list of the times of fields may have nulls in it, as no list that is stored has.
fn json_value(cql_type: &CqlType, wire: &Bytes) -> Result<String, RequestError> {
    let broken = |error| RequestError::Server(format!("a value of a result is broken: {error}"));
    match (Value::from_wire(cql_type, wire), cql_type) {
        (Ok(value), _) => Ok(value.to_json()),
        (Err(error), CqlType::List { element, .. }) => {
            let Some((count, fields)) = wire.split_first_chunk::<4>() else { return Err(broken(error)) };
            let count = usize::try_from(i32::from_be_bytes(*count)).unwrap_or(0).min(fields.len());
            // The fields of a tuple are framed as the elements of a list are, and may be null.
            let tuple = CqlType::Tuple(Arc::new(vec![element.as_ref().clone(); count]));
            Value::from_wire(&tuple, fields).map(|value| value.to_json()).map_err(broken)
        }
        (Err(error), _) => Err(broken(error)),
    }
}

#[cfg(test)]
#[path = "result_tests.rs"]
pub(crate) mod tests;
