//! What is known to be on at least so many replicas: the arithmetic that two oracles share.
//!
//! A version that is on `w` of `n` replicas is seen by every read of `r` replicas when `r + w > n`. So for
//! each register and each `w` the greatest version known to be on `w` replicas is kept; a read of `r` must
//! answer that or something greater for every `w > n - r`.

use super::Violation;
use super::book::{Book, Column, Register, Version};
use crate::clock::TrueTime;
use std::collections::BTreeMap;

/// The versions that reads of one level may not fall below, as of one moment.
pub type Snapshot = BTreeMap<Register, Version>;

/// What a read saw of one register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// This value.
    Value(String),
    /// No value; for the mark of a row: the row was not in the answer.
    Nothing,
    /// The row was in the answer without any value, so its mark is there.
    Mark,
}

/// The greatest version of each register known to be on so many replicas.
pub struct Floors {
    replicas: usize,
    by_register: BTreeMap<Register, Vec<Option<Version>>>,
}

impl Floors {
    /// Nothing is known yet; every partition has this many replicas.
    #[must_use]
    pub fn new(replicas: usize) -> Floors {
        Floors { replicas, by_register: BTreeMap::new() }
    }

    /// `version` is on at least `on` replicas.
    pub fn raise(&mut self, register: Register, on: usize, version: Version) {
        let floors = self.by_register.entry(register).or_insert_with(|| vec![None; self.replicas + 1]);
        let floor = &mut floors[on];
        if floor.as_ref().is_none_or(|floor| *floor < version) {
            *floor = Some(version);
        }
    }

    /// What a read of `read` replicas of a partition that begins now may not fall below.
    #[must_use]
    pub fn snapshot(&self, first: Register, last: Register, read: usize) -> Snapshot {
        let least = self.replicas + 1 - read;
        let floors = self.by_register.range(first..=last).filter_map(|(register, floors)| {
            let floor = floors[least..].iter().flatten().max()?;
            Some((*register, floor.clone()))
        });
        floors.collect()
    }
}

/// Checks what a read saw of one register against what it may not fall below. Returns the least version
/// that explains what it saw, if anything must.
///
/// # Errors
/// When nothing that was tried explains it.
pub fn explain(
    oracle: &'static str,
    book: &Book,
    register: Register,
    seen: &Seen,
    floor: Option<&Version>,
    ended: TrueTime,
) -> Result<Option<Version>, Violation> {
    let below = |what: String| {
        let text = format!("{register:?}: a read that ended at {ended} saw {what}, but must see {floor:?} or later");
        Err(Violation::new(oracle, text))
    };
    match seen {
        Seen::Value(value) => {
            let id = book.origin(register, value)?;
            if book.attempt(id).started > ended {
                return below(format!("{}, from the future", book.describe(id)));
            }
            let Some(version) = book.version(id, register.column) else {
                return below(format!("{}, which no replica has logged", book.describe(id)));
            };
            match floor {
                Some(floor) if version < *floor => below(book.describe(id)),
                _ => Ok(Some(version)),
            }
        }
        Seen::Nothing => match floor {
            None => Ok(None),
            Some(floor) => match book.deletion_from(register, floor, ended) {
                Some(deletion) => Ok(Some(deletion)),
                None => below("nothing".to_owned()),
            },
        },
        Seen::Mark => {
            debug_assert_eq!(register.column, Column::Row);
            if book.can_exist(register, floor, ended) { Ok(None) } else { below("the row's mark".to_owned()) }
        }
    }
}
