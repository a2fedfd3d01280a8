//! Linearizability of histories: every operation seems to have happened at one moment between its call and its
//! return, and the results are those of that order.
//!
//! The search is Wing and Gong's with the memory of Lowe ("Testing for linearizability", 2017): a depth-first walk over
//! the orders that the times allow, which never looks twice at the same set of operations with the same state behind
//! it. What it says is exact, both ways; a search that takes too many steps says so, and is no pass.
//!
//! An operation whose outcome is not known stays open to the end of the history, and need not be in the order at all:
//! then it never happened.

use std::collections::BTreeSet;

/// What the operations are of.
pub trait Model {
    /// The state of one object.
    type State: Clone + Ord;
    /// An operation with its result, if that is known.
    type Operation;

    /// The state after `operation`; `None` when its result is not that of `state`, or when its outcome is not known and
    /// it does nothing to `state`: it is as if it never happened, and the search is spared the choice of when it was.
    fn step(&self, state: &Self::State, operation: &Self::Operation) -> Option<Self::State>;
}

/// An operation and when it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<O> {
    /// When it was called.
    pub called: u64,
    /// When it returned; `None` when its outcome is not known.
    pub returned: Option<u64>,
    /// It.
    pub operation: O,
}

/// What the check came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is an order.
    Linearizable,
    /// There is none. At most so many operations could be put in order.
    Violated(usize),
    /// It took too many steps.
    Undecided,
}

/// A call or a return, in a doubly linked list of those that are not put in order.
#[derive(Clone, Copy, Debug)]
struct Event {
    entry: usize,
    is_call: bool,
    /// Of a call its return, if it has one.
    matching: usize,
    before: usize,
    after: usize,
}

/// The events of a history; the first one is a sentinel.
struct Events(Vec<Event>);

const NOWHERE: usize = usize::MAX;

impl Events {
    fn of<O>(history: &[Entry<O>]) -> Events {
        // Of what happens at the same time calls come first: then the operations are concurrent.
        let mut order: Vec<(u64, u8, usize)> = Vec::with_capacity(history.len() * 2);
        for (index, entry) in history.iter().enumerate() {
            order.push((entry.called, 0, index));
            order.extend(entry.returned.map(|returned| (returned, 1, index)));
        }
        order.sort_unstable();
        let sentinel = Event { entry: 0, is_call: false, matching: NOWHERE, before: NOWHERE, after: NOWHERE };
        let mut events = vec![sentinel];
        let mut calls = vec![NOWHERE; history.len()];
        for (_, kind, entry) in order {
            let at = events.len();
            let is_call = kind == 0;
            events.push(Event { entry, is_call, matching: NOWHERE, before: at - 1, after: NOWHERE });
            events[at - 1].after = at;
            if is_call {
                calls[entry] = at;
            } else {
                events[calls[entry]].matching = at;
            }
        }
        Events(events)
    }

    fn first(&self) -> usize {
        self.0[0].after
    }

    fn unlink(&mut self, at: usize) {
        let Event { before, after, .. } = self.0[at];
        self.0[before].after = after;
        if after != NOWHERE {
            self.0[after].before = before;
        }
    }

    fn link(&mut self, at: usize) {
        let Event { before, after, .. } = self.0[at];
        self.0[before].after = at;
        if after != NOWHERE {
            self.0[after].before = at;
        }
    }

    /// Takes a call and its return out of the list.
    fn lift(&mut self, call: usize) {
        self.unlink(call);
        let matching = self.0[call].matching;
        if matching != NOWHERE {
            self.unlink(matching);
        }
    }

    /// Puts them back, in the reverse order of being lifted.
    fn unlift(&mut self, call: usize) {
        let matching = self.0[call].matching;
        if matching != NOWHERE {
            self.link(matching);
        }
        self.link(call);
    }
}

/// Checks the history of one object, which is in `initial` at first, in at most `steps` steps.
pub fn check<M: Model>(model: &M, initial: M::State, history: &[Entry<M::Operation>], steps: u64) -> Verdict {
    let mut events = Events::of(history);
    let mut state = initial;
    let mut taken = vec![0u64; history.len().div_ceil(64)];
    let mut seen: BTreeSet<(Vec<u64>, M::State)> = BTreeSet::new();
    let mut path: Vec<(usize, M::State)> = Vec::new();
    let (mut at, mut longest) = (events.first(), 0);
    for _ in 0..steps {
        // All that is left, at most, are operations whose outcome is not known.
        if at == NOWHERE {
            return Verdict::Linearizable;
        }
        let Event { entry, is_call, after, .. } = events.0[at];
        if is_call {
            let bit = 1 << (entry % 64);
            let next = model.step(&state, &history[entry].operation);
            taken[entry / 64] |= bit;
            if let Some(next) = next
                && seen.insert((taken.clone(), next.clone()))
            {
                path.push((at, std::mem::replace(&mut state, next)));
                longest = longest.max(path.len());
                events.lift(at);
                at = events.first();
                continue;
            }
            taken[entry / 64] &= !bit;
            at = after;
            continue;
        }
        // An operation returned that is not put in order: the last step was wrong.
        let Some((call, before)) = path.pop() else { return Verdict::Violated(longest) };
        state = before;
        let entry = events.0[call].entry;
        taken[entry / 64] &= !(1 << (entry % 64));
        events.unlift(call);
        at = events.0[call].after;
    }
    Verdict::Undecided
}

/// A register that is written by compare and set.
#[derive(Clone, Copy, Debug)]
pub struct Register;

/// What is done to a register; `None` is the state of one that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegisterOperation {
    /// A read, and what it saw.
    Read(Option<u64>),
    /// Sets it to `to` if it is `from`.
    CompareAndSet {
        /// What it must be.
        from: Option<u64>,
        /// What it is then.
        to: Option<u64>,
        /// Whether it was; `None` when that is not known.
        applied: Option<bool>,
        /// What a refusal has shown, if it has shown anything.
        shown: Option<u64>,
    },
    /// Adds a unit if it is there.
    Increment {
        /// Whether it was; `None` when that is not known.
        applied: Option<bool>,
    },
}

impl Model for Register {
    type State = Option<u64>;
    type Operation = RegisterOperation;

    fn step(&self, state: &Option<u64>, operation: &RegisterOperation) -> Option<Option<u64>> {
        match *operation {
            RegisterOperation::Read(seen) => (seen == *state).then_some(*state),
            RegisterOperation::CompareAndSet { from, to, applied, shown } => {
                let holds = *state == from;
                match applied {
                    Some(applied) if applied != holds => None,
                    Some(false) if shown.is_some() && shown != *state => None,
                    None if !holds => None,
                    _ => Some(if holds { to } else { *state }),
                }
            }
            RegisterOperation::Increment { applied } => match applied {
                Some(applied) if applied != state.is_some() => None,
                None if state.is_none() => None,
                _ => Some(state.map(|value| value + 1)),
            },
        }
    }
}
