//! Deadlines of many operations, each with at most one timer at a time.
//!
//! An operation remembers when its timer is due and gives that back to move or cancel it, so a finished
//! operation leaves nothing behind.

use model::Instant;
use std::collections::BTreeSet;

/// Timers by when they are due, then by key.
#[derive(Debug)]
pub(crate) struct Timers<K> {
    due: BTreeSet<(Instant, K)>,
}

impl<K: Ord + Copy> Timers<K> {
    pub(crate) fn new() -> Timers<K> {
        Timers { due: BTreeSet::new() }
    }

    /// Sets the timer of `key`, which has none.
    pub(crate) fn set(&mut self, key: K, at: Instant) {
        let fresh = self.due.insert((at, key));
        assert!(fresh, "an operation has one timer");
    }

    /// Moves the timer of `key` from `old` to `new`.
    pub(crate) fn reset(&mut self, key: K, old: Instant, new: Instant) {
        if old != new {
            self.cancel(key, old);
            self.set(key, new);
        }
    }

    /// Removes the timer of `key`, if it has not fired.
    pub(crate) fn cancel(&mut self, key: K, at: Instant) {
        self.due.remove(&(at, key));
    }

    /// When the first timer is due.
    pub(crate) fn first(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Removes and gives the first timer that is due at `now`.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<K> {
        if self.first()? > now {
            return None;
        }
        self.due.pop_first().map(|(_, key)| key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_fire_in_order_once_and_not_when_cancelled() {
        let mut timers = Timers::new();
        timers.set('c', Instant(30));
        timers.set('a', Instant(10));
        timers.set('b', Instant(10));
        timers.set('d', Instant(5));
        timers.cancel('d', Instant(5));
        timers.reset('c', Instant(30), Instant(20));
        assert_eq!(timers.first(), Some(Instant(10)));
        assert_eq!(timers.pop_due(Instant(9)), None);
        let fired: Vec<char> = std::iter::from_fn(|| timers.pop_due(Instant(100))).collect();
        assert_eq!(fired, ['a', 'b', 'c']);
        assert_eq!(timers.first(), None);
    }
}
