//! The oracles: what must hold in every run, whatever the faults. Each file states what it proves and why
//! not more.

pub mod acknowledged;
pub mod book;
pub mod convergence;
pub mod coverage;
pub mod dropped;
pub mod floors;
pub mod garbage;
pub mod handoff;
pub mod linearizability;
pub mod metadata;
pub mod monotonic;
pub mod placement;
pub mod replicas;

use std::fmt;

/// What an oracle found wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The oracle's name.
    pub oracle: &'static str,
    /// What must not be.
    pub text: String,
}

impl Violation {
    /// A violation found by `oracle`.
    #[must_use]
    pub fn new(oracle: &'static str, text: String) -> Violation {
        Violation { oracle, text }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.oracle, self.text)
    }
}
