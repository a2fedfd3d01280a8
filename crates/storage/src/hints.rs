//! Hints: writes that another node missed, kept in order until it has them.
//!
//! Each target has a directory, `hints/<node id>/`, with
//! ```text
//! <position of its first hint, 16 hexadecimal digits>.hints    a segment
//!   magic (8), then records:
//!   length u32 | checksum u64 | position u64 | written u32 | grace u32 | encoded mutation

//!   written: when it was kept, in seconds since 1970; the checksum is XXH3-64 of everything else
//! delivered                                                    text: "delivered", the last position
//!                                                              delivered, XXH3-64 of these in hexadecimal
//! ```
//! Invariants:
//! * Positions of a target follow each other without a gap, across segments and restarts; a position is
//!   never used twice, or a hint could be taken for a delivered one. A gap is damage.
//! * How far a target's hints reach is also in the database, written with the group that they came with:
//!   files that end earlier, or are gone, have lost hints that were acknowledged.
//! * Only the last segment is written to; the others are synced and whole.
//! * Readers see a hint only after the group that it came with is written, and synced if it was to be.
//! * A torn end of the last segment is cut off on opening: it was never acknowledged as synced. Damage
//!   before that is skipped with a warning, up to the next record that is whole, and counted.
//! * A segment is removed once its last hint is delivered and that is known on disk.

use crate::failure::{io_error, replace_file, sync_directory, sync_error};
use bytes::Bytes;
use model::codec::{Decode, Encode};
use model::id::parse_uuid;
use model::limits::MUTATION_BYTES_MAX;
use model::{Mutation, NodeId};
use node::storage::{Hint, HintPosition, StorageError};
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

const MAGIC: &[u8; 8] = b"HELHNT03";
const HEADER_BYTES: usize = 28;
/// A position that is further ahead than this is damage, not a gap.
const GAP_MAX: u64 = 1 << 24;

/// The hints of all targets.
pub(crate) struct Hints {
    directory: PathBuf,
    segment_bytes: u64,
    total_bytes_max: u64,
    state: Mutex<State>,
    /// Times that hints were found damaged or missing.
    damaged: AtomicU64,
}

#[derive(Default)]
struct State {
    targets: BTreeMap<NodeId, Target>,
    /// In files and waiting to be written.
    total_bytes: u64,
    /// A target may have unsynced bytes.
    unsynced: bool,
}

struct Target {
    directory: PathBuf,
    /// Ascending; the last one may be written to.
    segments: VecDeque<Segment>,
    /// The last segment's file, once it was written to.
    file: Option<File>,
    /// The next position to give away.
    next: u64,
    /// The last position delivered.
    delivered: u64,
    /// Encoded records of the group being written, and how many.
    pending: Vec<u8>,
    pending_count: u64,
    /// The last segment holds bytes that are not synced.
    unsynced: bool,
    /// The last segment takes no more: positions are missing after it.
    closed: bool,
    /// Where the last read ended: reading goes on there without searching.
    cursor: Option<Cursor>,
    /// The position of the first hint that was not delivered when it was last looked for, and when it was kept.
    oldest: Option<(u64, u32)>,
}

#[derive(Clone, Copy, Debug)]
struct Segment {
    /// The position of its first hint.
    first: u64,
    /// Bytes in the file.
    bytes: u64,
    /// Bytes that readers may see.
    visible: u64,
}

/// The byte in a segment where the record after a position begins.
#[derive(Clone, Copy, Debug, Default)]
struct Cursor {
    position: u64,
    segment: u64,
    offset: u64,
}

impl Hints {
    /// Opens the hints in `directory`, which is created when missing.
    ///
    /// # Errors
    /// When a file cannot be read or a torn end cannot be cut off.
    pub(crate) fn open(directory: &Path, segment_bytes: u64, total_bytes_max: u64) -> Result<Hints, StorageError> {
        std::fs::create_dir_all(directory).map_err(|error| io_error("create", directory, &error))?;
        let mut state = State::default();
        let mut damaged = 0;
        for path in entries(directory)? {
            let Some(node) = path.file_name().and_then(|name| parse_uuid(name.to_str()?)) else {
                tracing::warn!(?path, "not a directory of hints");
                continue;
            };
            let (target, damage) = Target::open(path)?;
            damaged += damage;
            state.total_bytes += target.segments.iter().map(|segment| segment.bytes).sum::<u64>();
            state.targets.insert(NodeId(node), target);
        }
        let directory = directory.to_owned();
        Ok(Hints {
            directory,
            segment_bytes,
            total_bytes_max,
            state: Mutex::new(state),
            damaged: AtomicU64::new(damaged),
        })
    }

    /// Compares what was found with how far the hints of each target must reach, and never gives a position
    /// away again that was given away.
    ///
    /// # Errors
    /// When it cannot be written that nothing of a target is left to deliver.
    pub(crate) fn expect(&mut self, written: &BTreeMap<NodeId, u64>) -> Result<(), StorageError> {
        for (node, last) in written {
            let directory = self.directory.join(node.to_string());
            let target = self.state.get_mut().targets.entry(*node).or_insert_with(|| Target::new(directory.clone()));
            if target.next > *last {
                continue;
            }
            let missing = *last - target.next + 1;
            tracing::error!(?directory, missing, "hints that were acknowledged are missing: the node needs repair");
            self.damaged.fetch_add(1, Ordering::Relaxed);
            // A segment holds positions without a gap: what comes next begins a new one.
            target.next = *last + 1;
            target.closed = true;
            if target.segments.is_empty() {
                std::fs::create_dir_all(&directory).map_err(|error| io_error("create", &directory, &error))?;
                target.set_delivered(*last, true)?;
            }
        }
        Ok(())
    }

    /// Times that hints were found damaged or missing.
    pub(crate) fn damaged(&self) -> u64 {
        self.damaged.load(Ordering::Relaxed)
    }

    /// The last position given away to a target.
    pub(crate) fn last_position(&self, target: NodeId) -> u64 {
        self.state.lock().targets.get(&target).map_or(0, |target| target.next - 1)
    }

    /// Checks that no hint waits for a target that was kept before `oldest_seconds`.
    ///
    /// # Errors
    /// `WindowOver` when one does; else when it cannot be read.
    pub(crate) fn check_window(&self, node: NodeId, oldest_seconds: u32) -> Result<(), StorageError> {
        let known = {
            let state = self.state.lock();
            let Some(target) = state.targets.get(&node) else { return Ok(()) };
            if target.delivered + target.pending_count + 1 >= target.next {
                return Ok(());
            }
            target.oldest.filter(|(position, _)| *position > target.delivered)
        };
        let kept_seconds = match known {
            Some((_, seconds)) => seconds,
            None => {
                let Some((position, hint)) = self.read_from(node, None, 1)?.hints.into_iter().next() else {
                    return Ok(());
                };
                if let Some(target) = self.state.lock().targets.get_mut(&node) {
                    target.oldest = Some((position.0, hint.written_seconds));
                }
                hint.written_seconds
            }
        };
        if kept_seconds < oldest_seconds { Err(StorageError::WindowOver) } else { Ok(()) }
    }

    /// Takes a hint into the group being written.
    ///
    /// # Errors
    /// `Full` when hints take as much space as they may; `Invalid` when the mutation is not.
    pub(crate) fn append(&self, target: NodeId, hint: &Hint) -> Result<(), StorageError> {
        hint.mutation.validate().map_err(|error| StorageError::Invalid(format!("hint: {error}")))?;
        let mut state = self.state.lock();
        let State { targets, total_bytes, .. } = &mut *state;
        let bytes = (HEADER_BYTES + hint.mutation.bytes()) as u64;
        if *total_bytes + bytes > self.total_bytes_max {
            return Err(StorageError::Full(format!("hints take their {} bytes", self.total_bytes_max)));
        }
        let target = targets.entry(target).or_insert_with(|| Target::new(self.directory.join(target.to_string())));
        let before = target.pending.len();
        put_record(&mut target.pending, target.next, hint);
        target.next += 1;
        target.pending_count += 1;
        *total_bytes += (target.pending.len() - before) as u64;
        Ok(())
    }

    /// Writes the group's hints to their files, unsynced. The targets whose hints a full disk refused, and
    /// why; nothing of those is written.
    ///
    /// # Errors
    /// When a file is in an unknown state.
    pub(crate) fn write_pending(&self) -> Result<BTreeMap<NodeId, StorageError>, StorageError> {
        let mut state = self.state.lock();
        state.unsynced = true;
        let State { targets, total_bytes, .. } = &mut *state;
        let mut refused = BTreeMap::new();
        for (node, target) in targets.iter_mut().filter(|(_, target)| !target.pending.is_empty()) {
            if let Err(error) = target.write_pending(self.segment_bytes, total_bytes) {
                if !matches!(error, StorageError::Full(_)) {
                    return Err(error);
                }
                refused.insert(*node, error);
            }
        }
        Ok(refused)
    }

    /// Syncs what was written.
    ///
    /// # Errors
    /// When a sync fails.
    pub(crate) fn sync(&self) -> Result<(), StorageError> {
        let mut state = self.state.lock();
        if state.unsynced {
            state.targets.values_mut().try_for_each(Target::sync)?;
            state.unsynced = false;
        }
        Ok(())
    }

    /// Lets readers see what was written.
    pub(crate) fn publish(&self) {
        for target in self.state.lock().targets.values_mut() {
            for segment in &mut target.segments {
                segment.visible = segment.bytes;
            }
        }
    }

    /// Forgets the hints of a target up to and including `through`.
    ///
    /// # Errors
    /// When files cannot be written or removed.
    pub(crate) fn delivered(&self, target: NodeId, through: HintPosition, sync: bool) -> Result<(), StorageError> {
        let mut state = self.state.lock();
        let State { targets, total_bytes, .. } = &mut *state;
        let Some(target) = targets.get_mut(&target) else { return Ok(()) };
        // Hints of the group being written were not delivered, whatever the caller says.
        let through = through.0.min(target.next - 1 - target.pending_count);
        if through > target.delivered {
            // A file is removed only once it is known on disk that it may be.
            target.set_delivered(through, sync || target.removes(through))?;
            *total_bytes -= target.remove_delivered()?;
        }
        Ok(())
    }

    /// The nodes with hints to deliver, ascending.
    pub(crate) fn targets(&self) -> Vec<NodeId> {
        let state = self.state.lock();
        let waiting = state.targets.iter().filter(|(_, target)| target.segments.iter().any(Segment::holds_hints));
        waiting.map(|(node, _)| *node).collect()
    }

    /// For each target with hints to deliver how many there are.
    pub(crate) fn pending(&self) -> BTreeMap<NodeId, u64> {
        let state = self.state.lock();
        let pending = |target: &Target| (target.next - 1).saturating_sub(target.delivered + target.pending_count);
        state.targets.iter().map(|(node, target)| (*node, pending(target))).filter(|(_, count)| *count > 0).collect()
    }

    /// Bytes on disk.
    pub(crate) fn total_bytes(&self) -> u64 {
        self.state.lock().total_bytes
    }

    /// [`node::storage::Storage::hints`].
    pub(crate) fn read(
        &self,
        node: NodeId,
        after: Option<HintPosition>,
        bytes_limit: u32,
    ) -> Result<Vec<(HintPosition, Hint)>, StorageError> {
        let reading = self.read_from(node, after, bytes_limit)?;
        if !reading.hints.is_empty() {
            if let Some(target) = self.state.lock().targets.get_mut(&node) {
                target.cursor = Some(reading.end);
            }
        } else if reading.from_delivered
            && let Some(last) = reading.last
        {
            self.forget_unreadable(node, &last)?;
        }
        Ok(reading.hints)
    }

    /// Reads on after a position, and changes nothing but the count of damages.
    fn read_from(&self, node: NodeId, after: Option<HintPosition>, bytes_limit: u32) -> Result<Reading, StorageError> {
        let (directory, segments, delivered, start) = {
            let state = self.state.lock();
            let Some(target) = state.targets.get(&node) else {
                return Ok(Reading::new(node, Cursor::default(), bytes_limit));
            };
            let after = after.map_or(0, |position| position.0).max(target.delivered);
            (target.directory.clone(), target.segments.clone(), target.delivered, target.start_after(after))
        };
        let mut reading = Reading::new(node, start, bytes_limit);
        reading.from_delivered = start.position == delivered;
        reading.last = segments.back().copied();
        for segment in segments.iter().filter(|segment| segment.first >= start.segment) {
            let offset = if segment.first == start.segment { start.offset } else { MAGIC.len() as u64 };
            if !reading.read_segment(&directory, segment, offset)? {
                break;
            }
        }
        self.damaged.fetch_add(reading.damaged, Ordering::Relaxed);
        Ok(reading)
    }

    /// Nothing that is not delivered could be read, up to the end of `last` as it was then: it is damaged,
    /// and must not be offered for ever.
    fn forget_unreadable(&self, node: NodeId, last: &Segment) -> Result<(), StorageError> {
        let mut state = self.state.lock();
        let State { targets, total_bytes, .. } = &mut *state;
        let Some(target) = targets.get_mut(&node) else { return Ok(()) };
        let unchanged = target.segments.back().is_some_and(|now| now.first == last.first && now.bytes == last.visible);
        if unchanged && target.pending_count == 0 {
            target.set_delivered(target.next - 1, true)?;
            *total_bytes -= target.remove_delivered()?;
        }
        Ok(())
    }
}

impl Segment {
    fn holds_hints(&self) -> bool {
        self.visible > MAGIC.len() as u64
    }

    fn path(&self, directory: &Path) -> PathBuf {
        directory.join(format!("{:016x}.hints", self.first))
    }
}

impl Target {
    fn new(directory: PathBuf) -> Target {
        Target {
            directory,
            segments: VecDeque::new(),
            file: None,
            next: 1,
            delivered: 0,
            pending: Vec::new(),
            pending_count: 0,
            unsynced: false,
            closed: false,
            cursor: None,
            oldest: None,
        }
    }

    /// The target in a directory, and how often it was found damaged.
    fn open(directory: PathBuf) -> Result<(Target, u64), StorageError> {
        let mut target = Target::new(directory);
        let mut firsts: Vec<u64> = entries(&target.directory)?.iter().filter_map(|path| first_position(path)).collect();
        firsts.sort_unstable();
        let delivered = read_delivered(&target.directory.join("delivered"))?;
        let damaged = u64::from(delivered.is_none());
        target.delivered = delivered.unwrap_or(0);
        target.next = target.delivered + 1;
        for (index, first) in firsts.iter().enumerate() {
            let mut segment = Segment { first: *first, bytes: 0, visible: 0 };
            let path = segment.path(&target.directory);
            let is_last = index + 1 == firsts.len();
            let (bytes, last) = open_segment(&path, *first, is_last)?;
            // Even when it is gone: the segment before it may end just below.
            target.next = target.next.max(*first).max(last + 1);
            if bytes > 0 {
                (segment.bytes, segment.visible) = (bytes, bytes);
                target.segments.push_back(segment);
            }
        }
        target.remove_delivered()?;
        Ok((target, damaged))
    }

    /// Writes `pending` to the last segment, or to a new one when that is long enough. On a full disk the
    /// pending hints are given up.
    fn write_pending(&mut self, segment_bytes: u64, total_bytes: &mut u64) -> Result<(), StorageError> {
        let written = self.open_for_writing(segment_bytes, total_bytes).and_then(|()| self.append_pending());
        if let Err(StorageError::Full(_)) = written {
            self.next -= self.pending_count;
            *total_bytes -= self.pending.len() as u64;
        }
        self.pending.clear();
        self.pending_count = 0;
        written
    }

    /// Makes sure that `file` is the last segment's and takes more.
    fn open_for_writing(&mut self, segment_bytes: u64, total_bytes: &mut u64) -> Result<(), StorageError> {
        if let Some(last) = self.segments.back().copied().filter(|last| !self.closed && last.bytes < segment_bytes) {
            if self.file.is_none() {
                let path = last.path(&self.directory);
                let file = OpenOptions::new().write(true).open(&path);
                self.file = Some(file.map_err(|error| io_error("open", &path, &error))?);
            }
            return Ok(());
        }
        // A closed segment is whole on disk: only the last one can have a torn end.
        self.sync()?;
        self.file = None;
        let new_directory = !self.directory.exists();
        let create = std::fs::create_dir_all(&self.directory);
        create.map_err(|error| io_error("create", &self.directory, &error))?;
        let first = self.next - self.pending_count;
        let segment = Segment { first, bytes: MAGIC.len() as u64, visible: MAGIC.len() as u64 };
        let path = segment.path(&self.directory);
        let create = || {
            let file = File::create(&path)?;
            file.write_all_at(MAGIC, 0)?;
            Ok(file)
        };
        let file = create().map_err(|error| {
            // What is left of it would be taken for a damaged segment.
            let _ = std::fs::remove_file(&path);
            io_error("create", &path, &error)
        })?;
        sync_directory(&self.directory)?;
        if let Some(parent) = self.directory.parent().filter(|_| new_directory) {
            sync_directory(parent)?;
        }
        *total_bytes += segment.bytes;
        self.segments.push_back(segment);
        self.file = Some(file);
        (self.unsynced, self.closed) = (true, false);
        Ok(())
    }

    fn append_pending(&mut self) -> Result<(), StorageError> {
        let (Some(file), Some(segment)) = (&self.file, self.segments.back_mut()) else { return Ok(()) };
        if let Err(error) = file.write_all_at(&self.pending, segment.bytes) {
            let path = segment.path(&self.directory);
            let error = io_error("write", &path, &error);
            // A part that got in would look like damage before what comes after.
            let cut = file.set_len(segment.bytes);
            cut.map_err(|error| StorageError::Io(format!("cannot cut {}: {error}", path.display())))?;
            return Err(error);
        }
        segment.bytes += self.pending.len() as u64;
        self.unsynced = true;
        Ok(())
    }

    fn sync(&mut self) -> Result<(), StorageError> {
        if let (true, Some(file)) = (self.unsynced, &self.file) {
            file.sync_data().map_err(|error| sync_error(&self.directory, &error))?;
        }
        self.unsynced = false;
        Ok(())
    }

    fn set_delivered(&mut self, through: u64, sync: bool) -> Result<(), StorageError> {
        if self.directory.exists() {
            replace_file(&self.directory.join("delivered"), delivered_text(through).as_bytes(), sync)?;
        }
        self.delivered = through;
        Ok(())
    }

    /// True when a segment can be removed once the hints up to `through` are delivered.
    fn removes(&self, through: u64) -> bool {
        let last = self.segments.get(1).map_or(self.next - self.pending_count, |next| next.first) - 1;
        !self.segments.is_empty() && last <= through
    }

    /// Removes the segments all of whose hints are delivered; their bytes.
    fn remove_delivered(&mut self) -> Result<u64, StorageError> {
        let mut removed = 0;
        while let Some(segment) = self.segments.front().copied() {
            let last = self.segments.get(1).map_or(self.next - self.pending_count, |next| next.first) - 1;
            if last > self.delivered {
                break;
            }
            let path = segment.path(&self.directory);
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(io_error("remove", &path, &error)),
                _ => {}
            }
            removed += segment.bytes;
            self.segments.pop_front();
            if self.segments.is_empty() {
                self.file = None;
                self.unsynced = false;
            }
        }
        Ok(removed)
    }

    /// Where to look for the first hint after a position.
    fn start_after(&self, position: u64) -> Cursor {
        let exists = |segment: u64| self.segments.iter().any(|known| known.first == segment);
        if let Some(cursor) = self.cursor.filter(|cursor| cursor.position == position && exists(cursor.segment)) {
            return cursor;
        }
        let holding = self.segments.iter().rev().find(|segment| segment.first <= position + 1);
        let segment = holding.or(self.segments.front()).map_or(0, |segment| segment.first);
        Cursor { position, segment, offset: MAGIC.len() as u64 }
    }
}

/// One call of [`Hints::read`].
struct Reading {
    node: NodeId,
    after: u64,
    bytes_limit: u32,
    hints: Vec<(HintPosition, Hint)>,
    bytes: u64,
    end: Cursor,
    /// It began behind what is delivered.
    from_delivered: bool,
    /// The last segment when it began.
    last: Option<Segment>,
    /// The last position that was read, of whatever segment.
    reached: u64,
    /// Damages met.
    damaged: u64,
}

impl Reading {
    fn new(node: NodeId, start: Cursor, bytes_limit: u32) -> Reading {
        Reading {
            node,
            after: start.position,
            bytes_limit,
            hints: Vec::new(),
            bytes: 0,
            end: start,
            from_delivered: false,
            last: None,
            reached: start.position,
            damaged: 0,
        }
    }

    /// Reads on in a segment; false when the limit is reached.
    fn read_segment(&mut self, directory: &Path, segment: &Segment, mut offset: u64) -> Result<bool, StorageError> {
        let path = segment.path(directory);
        let file = match File::open(&path) {
            Ok(file) => file,
            // Delivered meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(true),
            Err(error) => return Err(io_error("open", &path, &error)),
        };
        let at_start = offset == MAGIC.len() as u64;
        let mut previous = if at_start { segment.first - 1 } else { self.end.position };
        if at_start && segment.first > self.reached + 1 {
            self.warn_missing(&path, segment.first - self.reached - 1);
        }
        let mut chunk_bytes = u64::from(self.bytes_limit) + (64 << 10);
        while offset < segment.visible {
            let length = (segment.visible - offset).min(chunk_bytes);
            let mut chunk = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
            file.read_exact_at(&mut chunk, offset).map_err(|error| io_error("read", &path, &error))?;
            let chunk = Bytes::from(chunk);
            let is_rest = offset + length == segment.visible;
            let mut at = 0;
            while let Some(record) = next_record(&chunk, at, previous, is_rest) {
                if record.start > at {
                    self.warn(&path, offset + at as u64, record.start - at);
                } else if record.position > previous + 1 {
                    self.warn_missing(&path, record.position - previous - 1);
                }
                (at, previous) = (record.end, record.position);
                self.reached = record.position;
                self.take(&path, &record, &chunk);
                self.end = Cursor { position: record.position, segment: segment.first, offset: offset + at as u64 };
                if self.bytes >= u64::from(self.bytes_limit) {
                    return Ok(false);
                }
            }
            if is_rest {
                if at < chunk.len() {
                    self.warn(&path, offset + at as u64, chunk.len() - at);
                }
                break;
            }
            offset += at as u64;
            if at == 0 {
                // The record does not fit the chunk, or is damaged: look at all that is left.
                chunk_bytes = segment.visible;
            }
        }
        Ok(true)
    }

    fn take(&mut self, path: &Path, record: &Record, chunk: &Bytes) {
        if record.position <= self.after {
            return;
        }
        match Mutation::from_bytes(&chunk.slice(record.start + HEADER_BYTES..record.end)) {
            Ok(mutation) => {
                self.bytes += (record.end - record.start) as u64;
                let hint = record.hint(mutation);
                self.hints.push((HintPosition(record.position), hint));
            }
            Err(error) => {
                self.damaged += 1;
                tracing::warn!(?path, position = record.position, %error, "a hint cannot be decoded and is skipped");
            }
        }
    }

    fn warn(&mut self, path: &Path, offset: u64, bytes: usize) {
        self.damaged += 1;
        tracing::warn!(node = %self.node, ?path, offset, bytes, "hints are damaged; skipped");
    }

    fn warn_missing(&mut self, path: &Path, missing: u64) {
        self.damaged += 1;
        tracing::warn!(node = %self.node, ?path, missing, "hints are missing before this file's or within it");
    }
}

/// A record in a piece of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Record {
    start: usize,
    position: u64,
    written_seconds: u32,
    grace_seconds: u32,
    end: usize,
}

impl Record {
    fn hint(&self, mutation: Mutation) -> Hint {
        let Record { written_seconds, grace_seconds, .. } = *self;
        Hint { written_seconds, grace_seconds, mutation: Arc::new(mutation) }
    }
}

fn put_record(out: &mut Vec<u8>, position: u64, hint: &Hint) {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_BYTES]);
    hint.mutation.encode(out);
    let length = (out.len() - start - HEADER_BYTES) as u32;
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    out[start + 12..start + 20].copy_from_slice(&position.to_le_bytes());
    out[start + 20..start + 24].copy_from_slice(&hint.written_seconds.to_le_bytes());
    out[start + 24..start + 28].copy_from_slice(&hint.grace_seconds.to_le_bytes());
    let checksum = checksum(&out[start..]);
    out[start + 4..start + 12].copy_from_slice(&checksum.to_le_bytes());
}

/// Of a record, over everything but the checksum itself.
fn checksum(record: &[u8]) -> u64 {
    let mut hasher = Xxh3::new();
    hasher.update(&record[..4]);
    hasher.update(&record[12..]);
    hasher.digest()
}

/// The record that starts at `start`, if it is whole and comes after `previous`.
fn record_at(bytes: &[u8], start: usize, previous: u64) -> Option<Record> {
    let header = bytes.get(start..)?.first_chunk::<HEADER_BYTES>()?;
    let word = |at: usize| header[at..].first_chunk::<8>().copied().map_or(0, u64::from_le_bytes);
    let length = word(0) as u32 as usize;
    let position = word(12);
    let half = |at: usize| header[at..].first_chunk::<4>().copied().map_or(0, u32::from_le_bytes);
    let (written_seconds, grace_seconds) = (half(20), half(24));
    if length > MUTATION_BYTES_MAX + HEADER_BYTES || position <= previous || position - previous > GAP_MAX {
        return None;
    }
    let end = start + HEADER_BYTES + length;
    let record = bytes.get(start..end)?;
    (checksum(record) == word(4)).then_some(Record { start, position, written_seconds, grace_seconds, end })
}

/// The first record at or after `start`; with `search` bytes that are not one are passed over.
fn next_record(bytes: &[u8], start: usize, previous: u64, search: bool) -> Option<Record> {
    record_at(bytes, start, previous).or_else(|| {
        let mut starts = (start + 1)..bytes.len().saturating_sub(HEADER_BYTES).max(start + 1);
        if search { starts.find_map(|start| record_at(bytes, start, previous)) } else { None }
    })
}

/// Checks a segment and, if it is the last one, cuts off its torn end. Its bytes (0 when nothing was left
/// and it was removed) and, of the last one, the position of its last record.
fn open_segment(path: &Path, first: u64, is_last: bool) -> Result<(u64, u64), StorageError> {
    let failed = |what: &str, error: &std::io::Error| io_error(what, path, error);
    let file = OpenOptions::new().read(true).write(true).open(path).map_err(|error| failed("open", &error))?;
    let length = file.metadata().map_err(|error| failed("read", &error))?.len();
    let header = MAGIC.len() as u64;
    if !is_last && length > header {
        return Ok((length, first));
    }
    let bytes = std::fs::read(path).map_err(|error| failed("read", &error))?;
    let (mut at, mut last) = (MAGIC.len(), first - 1);
    while let Some(record) = next_record(&bytes, at, last, true) {
        (at, last) = (record.end, record.position);
    }
    if length <= header || at == MAGIC.len() {
        std::fs::remove_file(path).map_err(|error| failed("remove", &error))?;
        return Ok((0, last));
    }
    if at < bytes.len() {
        tracing::info!(?path, bytes = bytes.len() - at, "the torn end of a file of hints is cut off");
        file.set_len(at as u64).map_err(|error| failed("cut", &error))?;
        file.sync_data().map_err(|error| failed("sync", &error))?;
    }
    Ok((at as u64, last))
}

/// A segment on disk.
pub(crate) struct SegmentFile {
    pub(crate) path: PathBuf,
    first: u64,
    /// Of its target: its end may be torn.
    is_last: bool,
}

/// What a check of a segment found.
#[derive(Debug, Default)]
pub(crate) struct SegmentCheck {
    pub(crate) records: u64,
    pub(crate) damage: Option<String>,
    /// At its end, never acknowledged.
    pub(crate) torn_bytes: u64,
}

/// Every segment below `directory`, for a check that changes nothing.
///
/// # Errors
/// When a directory cannot be listed.
pub(crate) fn segments(directory: &Path) -> Result<Vec<SegmentFile>, StorageError> {
    let mut found = Vec::new();
    if !directory.exists() {
        return Ok(found);
    }
    for target in entries(directory)?.into_iter().filter(|path| path.is_dir()) {
        let mut of_target: Vec<(u64, PathBuf)> =
            entries(&target)?.into_iter().filter_map(|path| Some((first_position(&path)?, path))).collect();
        of_target.sort();
        let last = of_target.len();
        let numbered = of_target.into_iter().zip(1..);
        found.extend(numbered.map(|((first, path), number)| SegmentFile { path, first, is_last: number == last }));
    }
    Ok(found)
}

/// Checks every record of a segment.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn check_segment(segment: &SegmentFile) -> Result<SegmentCheck, StorageError> {
    let contents = std::fs::read(&segment.path).map_err(|error| io_error("read", &segment.path, &error))?;
    let contents = Bytes::from(contents);
    let mut check = SegmentCheck::default();
    if !contents.starts_with(MAGIC) {
        if segment.is_last && contents.len() < MAGIC.len() {
            check.torn_bytes = contents.len() as u64;
        } else {
            check.damage = Some("does not start as a file of hints".to_owned());
        }
        return Ok(check);
    }
    let (mut at, mut previous) = (MAGIC.len(), segment.first - 1);
    while let Some(record) = next_record(&contents, at, previous, true) {
        if record.start > at {
            check.damage.get_or_insert(format!("{} bytes at {at} are no hint", record.start - at));
        }
        if let Err(error) = Mutation::from_bytes(&contents.slice(record.start + HEADER_BYTES..record.end)) {
            check.damage.get_or_insert(format!("hint {} cannot be decoded: {error}", record.position));
        }
        check.records += 1;
        (at, previous) = (record.end, record.position);
    }
    let rest = contents.len() - at;
    if rest > 0 && segment.is_last {
        check.torn_bytes = rest as u64;
    } else if rest > 0 {
        check.damage.get_or_insert(format!("{rest} bytes at {at} are no hint"));
    }
    Ok(check)
}

/// The position in a segment's name.
fn first_position(path: &Path) -> Option<u64> {
    let digits = path.file_name()?.to_str()?.strip_suffix(".hints").filter(|digits| digits.len() == 16)?;
    u64::from_str_radix(digits, 16).ok().filter(|first| *first > 0)
}

/// A segment written anew with the hints that can be read of another, and these.
pub(crate) fn rewrite(segment: &[u8], first: u64) -> (Vec<u8>, Vec<Hint>) {
    let bytes = Bytes::copy_from_slice(segment);
    let (mut at, mut last) = (MAGIC.len(), first.saturating_sub(1));
    let (mut written, mut mutations) = (MAGIC.to_vec(), Vec::new());
    while let Some(record) = next_record(&bytes, at, last, true) {
        (at, last) = (record.end, record.position);
        if let Ok(mutation) = Mutation::from_bytes(&bytes.slice(record.start + HEADER_BYTES..record.end)) {
            let hint = record.hint(mutation);
            put_record(&mut written, record.position, &hint);
            mutations.push(hint);
        }
    }
    (written, mutations)
}

/// What the file `delivered` holds.
pub(crate) fn delivered_text(through: u64) -> String {
    let text = format!("delivered {through}");
    format!("{text} {:016x}\n", xxh3_64(text.as_bytes()))
}

/// The position in a text that [`delivered_text`] made.
pub(crate) fn parse_delivered(text: &[u8]) -> Option<u64> {
    let position = std::str::from_utf8(text).ok()?.strip_prefix("delivered ")?.split(' ').next()?.parse().ok()?;
    (delivered_text(position).as_bytes() == text).then_some(position)
}

/// The last position delivered; `None` when the file is damaged. What was delivered is then delivered again,
/// which does no harm.
fn read_delivered(path: &Path) -> Result<Option<u64>, StorageError> {
    match std::fs::read(path) {
        Ok(text) => {
            let delivered = parse_delivered(&text);
            if delivered.is_none() {
                tracing::warn!(?path, "damaged; hints may be delivered again");
            }
            Ok(delivered)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Some(0)),
        Err(error) => Err(io_error("read", path, &error)),
    }
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>, StorageError> {
    let failed = |error: std::io::Error| io_error("list", directory, &error);
    let entries = std::fs::read_dir(directory).map_err(failed)?;
    entries.map(|entry| entry.map(|entry| entry.path()).map_err(failed)).collect()
}

#[cfg(test)]
#[path = "hints_tests.rs"]
mod tests;
