//! What happened, as a running hash of every event, and in words for people.
//!
//! Invariants:
//! * Every event that the world handles and every effect that it draws from one goes into the hash, with
//!   the true time: equal hashes mean equal runs, step by step.
//! * The words are kept within a bound: the story of state changes (who died, who saw which epoch, which
//!   request ended how), of which the oldest lines go first; and every event only when asked for.

use crate::clock::TrueTime;
use std::collections::VecDeque;
use std::fmt::Write;

/// Lines of the story that are kept.
const STORY_LINES_MAX: usize = 20_000;

/// Who a line of the story is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// The machine of this index.
    Machine(usize),
    /// The client of this index.
    Client(usize),
    /// The network, the fault plan, the oracles.
    World,
}

/// One line of the story.
#[derive(Clone, Debug)]
pub struct Line {
    /// When.
    pub time: TrueTime,
    /// About whom.
    pub subject: Subject,
    /// What.
    pub text: String,
}

/// The record of one run.
pub struct Trace {
    hasher: xxhash_rust::xxh3::Xxh3,
    events: u64,
    story: VecDeque<Line>,
    dropped: u64,
    full: Option<Vec<String>>,
}

impl Trace {
    /// An empty record; with `full`, every event is kept in words too, so that two runs can be compared
    /// line by line.
    #[must_use]
    pub fn new(full: bool) -> Trace {
        let hasher = xxhash_rust::xxh3::Xxh3::new();
        Trace { hasher, events: 0, story: VecDeque::new(), dropped: 0, full: full.then(Vec::new) }
    }

    /// Records an event: its time, a tag for its kind, the machine, and bytes that tell it from others of
    /// its kind. `words` is called only when everything is kept.
    pub fn event(&mut self, time: TrueTime, tag: u8, machine: usize, detail: &[u8], words: impl FnOnce() -> String) {
        self.events += 1;
        let mut head = [0u8; 17];
        head[..8].copy_from_slice(&time.to_le_bytes());
        head[8] = tag;
        head[9..].copy_from_slice(&(machine as u64).to_le_bytes());
        self.hasher.update(&head);
        self.hasher.update(&(detail.len() as u64).to_le_bytes());
        self.hasher.update(detail);
        if let Some(full) = &mut self.full {
            full.push(format!("{time} m{machine} {}", words()));
        }
    }

    /// Adds a line to the story, and to the hash.
    pub fn tell(&mut self, time: TrueTime, subject: Subject, text: String) {
        let index = match subject {
            Subject::Machine(index) => index,
            Subject::Client(index) => index + (1 << 32),
            Subject::World => usize::MAX,
        };
        self.event(time, u8::MAX, index, text.as_bytes(), || text.clone());
        if self.story.len() == STORY_LINES_MAX {
            self.story.pop_front();
            self.dropped += 1;
        }
        self.story.push_back(Line { time, subject, text });
    }

    /// The hash of everything so far.
    #[must_use]
    pub fn hash(&self) -> u128 {
        self.hasher.digest128()
    }

    /// Events so far.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Every event in words; empty unless asked for.
    #[must_use]
    pub fn full(&self) -> &[String] {
        self.full.as_deref().unwrap_or_default()
    }

    /// The last `lines` lines of the story, one below the other: the time in seconds, who, what. Each
    /// machine has its column, so that one node's fate is read downward.
    #[must_use]
    pub fn story(&self, lines: usize) -> String {
        let skipped = self.story.len().saturating_sub(lines);
        let mut text = String::new();
        if skipped as u64 + self.dropped > 0 {
            let _ = writeln!(text, "  ... {} earlier lines", skipped as u64 + self.dropped);
        }
        for line in self.story.iter().skip(skipped) {
            let (who, indent) = match line.subject {
                Subject::Machine(index) => (format!("node {index}"), 2 * (index % 16)),
                Subject::Client(index) => (format!("client {index}"), 0),
                Subject::World => ("world".to_owned(), 0),
            };
            let seconds = line.time / 1_000_000;
            let _ = writeln!(
                text,
                "{seconds:>5}.{:06} {who:<9} {:indent$}{}",
                line.time % 1_000_000,
                "",
                line.text,
                indent = indent
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_tells_runs_apart_and_the_story_is_bounded() {
        let run = |last: &[u8]| {
            let mut trace = Trace::new(true);
            trace.event(1, 2, 3, b"x", || "first".to_owned());
            trace.event(2, 2, 3, last, || "second".to_owned());
            (trace.hash(), trace.full().len())
        };
        assert_eq!(run(b"y"), run(b"y"));
        assert_ne!(run(b"y").0, run(b"z").0);

        let mut trace = Trace::new(false);
        for time in 0..STORY_LINES_MAX as u64 + 5 {
            trace.tell(time, Subject::Machine(1), "up".to_owned());
        }
        let story = trace.story(2);
        assert_eq!(story.lines().count(), 3);
        assert!(story.starts_with("  ... 20003 earlier lines"), "{story}");
    }
}
