//! What is known to be on at least so many replicas: the arithmetic that two oracles share.
//!
//! A version that is on `w` of `n` replicas is seen by every read of `r` replicas when `r + w > n`, and likewise over
//! data centres ([`super::coverage`]). So for each register and each coverage the greatest version known to be on so
//! many replicas is kept; a read must answer that or something greater for every coverage that its own must meet.

use super::Violation;
use super::book::{Book, Column, Register, Version};
use super::coverage::{Coverage, Replicas};
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
    replicas: Replicas,
    by_register: BTreeMap<Register, Vec<(Coverage, Version)>>,
}

impl Floors {
    /// Nothing is known yet; every partition has these replicas.
    #[must_use]
    pub fn new(replicas: Replicas) -> Floors {
        Floors { replicas, by_register: BTreeMap::new() }
    }

    /// `version` is on at least the replicas of `on`.
    pub fn raise(&mut self, register: Register, on: &Coverage, version: Version) {
        let floors = self.by_register.entry(register).or_default();
        match floors.iter_mut().find(|(coverage, _)| coverage == on) {
            Some((_, floor)) if *floor < version => *floor = version,
            Some(_) => {}
            None => floors.push((on.clone(), version)),
        }
    }

    /// What a read of the replicas of `read` of a partition that begins now may not fall below.
    #[must_use]
    pub fn snapshot(&self, first: Register, last: Register, read: &Coverage) -> Snapshot {
        let floors = self.by_register.range(first..=last).filter_map(|(register, floors)| {
            let met = floors.iter().filter(|(coverage, _)| self.replicas.must_meet(coverage, read));
            Some((*register, met.map(|(_, floor)| floor).max()?.clone()))
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

#[cfg(test)]
mod tests {
    use super::super::book::{Action, Attempt, AttemptId, Outcome};
    use super::*;
    use model::{Consistency, TableId};

    const REGISTER: Register = Register { table: TableId(1), partition: 0, row: 2, column: Column::V };

    fn tried(book: &mut Book, action: Action, timestamp: i64) -> AttemptId {
        book.enter(Attempt {
            table: TableId(1),
            partition: 0,
            action,
            coverage: Replicas(vec![3]).coverage(Consistency::Two, 0),
            machine: 0,
            incarnation: 1,
            started: 10,
            outcome: Outcome::Unknown,
            timestamp: Some(timestamp),
            expires: 0,
            logged: true,
        })
    }

    fn value(timestamp: i64, value: &str) -> Version {
        Version { timestamp, deletion: false, expires: 0, value: value.to_owned() }
    }

    #[test]
    fn reads_and_writes_that_share_a_replica_are_bound_and_others_are_not() {
        use Consistency::{One, Three, Two};
        for (on, read, bound) in [
            (Two, Two, true),
            (One, Three, true),
            (Three, One, true),
            (One, Two, false),
            (Two, One, false),
            (One, One, false),
        ] {
            let replicas = Replicas(vec![3]);
            let (on, read) = (replicas.coverage(on, 0), replicas.coverage(read, 0));
            let mut floors = Floors::new(replicas);
            floors.raise(REGISTER, &on, value(5, "x"));
            floors.raise(REGISTER, &on, value(4, "y"));
            let snapshot = floors.snapshot(REGISTER, REGISTER, &read);
            assert_eq!(snapshot.get(&REGISTER), bound.then(|| value(5, "x")).as_ref(), "{on:?} and {read:?}");
        }
    }

    #[test]
    fn what_was_tried_explains_what_is_seen_and_nothing_else_does() {
        let mut book = Book::default();
        let old = tried(&mut book, Action::Update(2, Column::V), 100);
        let new = tried(&mut book, Action::Insert(2), 200);
        let (old_value, new_value) = (Book::value(old, Column::V), Book::value(new, Column::V));
        let floor = value(200, &new_value);
        let check = |book: &Book, seen: &Seen, floor: Option<&Version>, ended: TrueTime| {
            explain("test", book, REGISTER, seen, floor, ended)
        };
        let seen = |text: &str| Seen::Value(text.to_owned());
        assert_eq!(check(&book, &seen(&new_value), Some(&floor), 20), Ok(Some(floor.clone())));
        assert!(check(&book, &seen(&old_value), None, 20).is_ok());
        assert!(check(&book, &seen(&old_value), Some(&floor), 20).is_err(), "older than what was acknowledged");
        assert!(check(&book, &seen(&new_value), None, 5).is_err(), "from the future");
        assert!(check(&book, &seen("7v"), None, 20).is_err(), "nobody wrote it");
        assert!(check(&book, &seen(&Book::value(old, Column::W)), None, 20).is_err(), "another column's");
        assert_eq!(check(&book, &Seen::Nothing, None, 20), Ok(None));
        assert!(check(&book, &Seen::Nothing, Some(&floor), 20).is_err(), "lost");
        let early = tried(&mut book, Action::DeleteRow(2), 150);
        assert!(check(&book, &Seen::Nothing, Some(&floor), 20).is_err(), "deleted before it was written");
        let late = tried(&mut book, Action::DeleteRange(0, 3), 200);
        assert_eq!(check(&book, &Seen::Nothing, Some(&floor), 20), Ok(Some(Version::deleted(200))));
        book.end(late, Outcome::Refused).unwrap_err();
        book.end(early, Outcome::Acknowledged(15)).unwrap();
        assert!(check(&book, &Seen::Nothing, Some(&floor), 20).is_err(), "the deletion was refused");
        assert!(check(&book, &seen("1"), None, 20).is_err());
    }
}
