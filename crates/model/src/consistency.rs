//! Consistency levels and the arithmetic of how many replicas they need. The only place that knows
//! what a quorum is.

use crate::codec::{CodecError, Decode, Encode, Reader};
use crate::error::RequestError;
use crate::schema::Replication;
use std::fmt;
use std::str::FromStr;

/// How many replicas must answer before a request is acknowledged, and where. In the order of the codes of the CQL
/// native protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Consistency {
    /// One replica, or a hint that is durable on the coordinator. For writes only.
    Any,
    /// One replica.
    One,
    /// Two replicas.
    Two,
    /// Three replicas.
    Three,
    /// More than half of all replicas.
    #[default]
    Quorum,
    /// Every replica.
    All,
    /// More than half of the replicas in the coordinator's data centre.
    LocalQuorum,
    /// More than half of the replicas in each data centre.
    EachQuorum,
    /// A quorum of all replicas, by Paxos.
    Serial,
    /// A quorum of the coordinator's data centre, by Paxos.
    LocalSerial,
    /// One replica in the coordinator's data centre.
    LocalOne,
}

/// The replicas that must answer: how many, and of which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requirement<'a> {
    /// So many of all.
    OfAll(usize),
    /// So many of those in one data centre.
    Within(&'a str, usize),
    /// So many of those in each of these data centres.
    Each(Vec<(&'a str, usize)>),
}

impl Requirement<'_> {
    /// Replicas that must answer in all.
    #[must_use]
    pub fn total(&self) -> usize {
        match self {
            Requirement::OfAll(required) | Requirement::Within(_, required) => *required,
            Requirement::Each(data_centers) => data_centers.iter().map(|(_, required)| required).sum(),
        }
    }
}

/// More than half of `members`: any two majorities of the same members have one in common.
#[must_use]
pub fn majority(members: usize) -> usize {
    members / 2 + 1
}

impl Consistency {
    /// Every level, by its code.
    pub const ALL_LEVELS: [Consistency; 11] = [
        Consistency::Any,
        Consistency::One,
        Consistency::Two,
        Consistency::Three,
        Consistency::Quorum,
        Consistency::All,
        Consistency::LocalQuorum,
        Consistency::EachQuorum,
        Consistency::Serial,
        Consistency::LocalSerial,
        Consistency::LocalOne,
    ];

    /// What this level requires of a keyspace's replicas, for a coordinator in the data centre `local`. It counts from
    /// the replication factor and not from the nodes that happen to exist: a quorum must intersect the quorums after
    /// nodes were added. It may exceed the replicas that there are, which makes the request unavailable.
    ///
    /// As Cassandra has it, LOCAL_QUORUM of a strategy that does not know data centres is a quorum of all replicas,
    /// all of them in the local data centre, and EACH_QUORUM of such a strategy is QUORUM.
    #[must_use]
    pub fn requirement<'a>(self, replication: &'a Replication, local: &'a str) -> Requirement<'a> {
        let all = replication.factor();
        match self {
            Consistency::Any | Consistency::One => Requirement::OfAll(1),
            Consistency::Two => Requirement::OfAll(2),
            Consistency::Three => Requirement::OfAll(3),
            Consistency::Quorum | Consistency::Serial => Requirement::OfAll(majority(all)),
            Consistency::All => Requirement::OfAll(all.max(1)),
            Consistency::LocalOne => Requirement::Within(local, 1),
            Consistency::LocalQuorum | Consistency::LocalSerial => {
                let factor = match replication {
                    Replication::Simple { .. } => all,
                    Replication::NetworkTopology { factors } => factors.get(local).map_or(0, |factor| *factor as usize),
                };
                Requirement::Within(local, majority(factor))
            }
            Consistency::EachQuorum => match replication {
                Replication::Simple { .. } => Requirement::OfAll(majority(all)),
                Replication::NetworkTopology { factors } => {
                    let used = factors.iter().filter(|(_, factor)| **factor > 0);
                    Requirement::Each(used.map(|(name, factor)| (name.as_str(), majority(*factor as usize))).collect())
                }
            },
        }
    }

    /// Its code in the CQL native protocol.
    #[must_use]
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The level of a code; `None` when there is none.
    #[must_use]
    pub fn of_code(code: u16) -> Option<Consistency> {
        Consistency::ALL_LEVELS.get(usize::from(code)).copied()
    }

    /// True when only replicas in the coordinator's data centre count.
    #[must_use]
    pub fn is_local(self) -> bool {
        matches!(self, Consistency::LocalOne | Consistency::LocalQuorum | Consistency::LocalSerial)
    }

    /// True for the levels of Paxos.
    #[must_use]
    pub fn is_serial(self) -> bool {
        matches!(self, Consistency::Serial | Consistency::LocalSerial)
    }

    /// Refuses a level at which nothing can be read, in Cassandra's words.
    ///
    /// # Errors
    /// `Invalid`.
    pub fn check_read(self) -> Result<(), RequestError> {
        match self {
            Consistency::Any => {
                Err(RequestError::Invalid("ANY ConsistencyLevel is only supported for writes".to_owned()))
            }
            Consistency::Serial | Consistency::LocalSerial => {
                Err(RequestError::Invalid(format!("reads at consistency level {self} are not supported yet")))
            }
            _ => Ok(()),
        }
    }

    /// Refuses a level at which nothing can be written without a condition, in Cassandra's words.
    ///
    /// # Errors
    /// `Invalid`.
    pub fn check_write(self) -> Result<(), RequestError> {
        if self.is_serial() {
            let message = "You must use conditional updates for serializable writes";
            return Err(RequestError::Invalid(message.to_owned()));
        }
        Ok(())
    }
}

impl fmt::Display for Consistency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Consistency::Any => "ANY",
            Consistency::One => "ONE",
            Consistency::Two => "TWO",
            Consistency::Three => "THREE",
            Consistency::Quorum => "QUORUM",
            Consistency::All => "ALL",
            Consistency::LocalQuorum => "LOCAL_QUORUM",
            Consistency::EachQuorum => "EACH_QUORUM",
            Consistency::Serial => "SERIAL",
            Consistency::LocalSerial => "LOCAL_SERIAL",
            Consistency::LocalOne => "LOCAL_ONE",
        })
    }
}

impl FromStr for Consistency {
    type Err = String;

    fn from_str(text: &str) -> Result<Consistency, String> {
        let found = Consistency::ALL_LEVELS.into_iter().find(|level| level.to_string().eq_ignore_ascii_case(text));
        found.ok_or_else(|| {
            let names = Consistency::ALL_LEVELS.map(|level| level.to_string()).join(", ");
            format!("unknown consistency level '{text}': there are {names}")
        })
    }
}

impl Encode for Consistency {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.code());
    }
}

impl Decode for Consistency {
    fn decode(reader: &mut Reader) -> Result<Consistency, CodecError> {
        Consistency::of_code(u16::from(reader.u8()?)).ok_or(CodecError::Invalid("consistency"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_two_majorities_of_one_set_intersect() {
        for members in 1..=100 {
            assert!(2 * majority(members) > members);
            assert!(majority(members) <= members);
        }
    }

    #[test]
    fn names_and_codes_round_trip_and_others_are_refused() {
        for level in Consistency::ALL_LEVELS {
            assert_eq!(level.to_string().to_lowercase().parse(), Ok(level));
            assert_eq!(Consistency::from_bytes(&level.to_bytes()), Ok(level));
            assert_eq!(Consistency::of_code(u16::from(level.code())), Some(level));
        }
        assert!("MOST".parse::<Consistency>().unwrap_err().contains("unknown"));
        assert!(Consistency::from_bytes(&bytes::Bytes::from_static(&[11])).is_err());
    }

    #[test]
    fn levels_of_a_strategy_without_data_centers_count_all_replicas() {
        let of = |level: Consistency, factor| level.requirement(&Replication::Simple { factor }, "a").total();
        assert_eq!(of(Consistency::Any, 3), 1);
        assert_eq!(of(Consistency::One, 3), 1);
        assert_eq!(of(Consistency::Two, 1), 2);
        assert_eq!(of(Consistency::Three, 3), 3);
        assert_eq!(of(Consistency::Quorum, 3), 2);
        assert_eq!(of(Consistency::Quorum, 4), 3);
        assert_eq!(of(Consistency::All, 3), 3);
        let simple = Replication::Simple { factor: 3 };
        assert_eq!(Consistency::LocalQuorum.requirement(&simple, "a"), Requirement::Within("a", 2));
        assert_eq!(Consistency::EachQuorum.requirement(&simple, "a"), Requirement::OfAll(2));
    }

    #[test]
    fn levels_of_data_centers_count_their_replicas() {
        let factors = [("a".to_owned(), 3), ("b".to_owned(), 2), ("c".to_owned(), 0)].into();
        let replication = Replication::NetworkTopology { factors };
        let of = |level: Consistency, local| level.requirement(&replication, local);
        assert_eq!(of(Consistency::Quorum, "a"), Requirement::OfAll(3));
        assert_eq!(of(Consistency::All, "a"), Requirement::OfAll(5));
        assert_eq!(of(Consistency::LocalQuorum, "a"), Requirement::Within("a", 2));
        assert_eq!(of(Consistency::LocalQuorum, "b"), Requirement::Within("b", 2));
        assert_eq!(of(Consistency::LocalQuorum, "d"), Requirement::Within("d", 1), "of none, so unavailable");
        assert_eq!(of(Consistency::LocalOne, "b"), Requirement::Within("b", 1));
        let each = Requirement::Each(vec![("a", 2), ("b", 2)]);
        assert_eq!((of(Consistency::EachQuorum, "a"), each.total()), (each, 4));
    }

    #[test]
    fn levels_that_a_kind_of_request_does_not_have_are_refused_in_cassandras_words() {
        let words = |result: Result<(), RequestError>| result.unwrap_err().to_string();
        assert_eq!(words(Consistency::Any.check_read()), "ANY ConsistencyLevel is only supported for writes");
        let serializable = "You must use conditional updates for serializable writes";
        assert_eq!(words(Consistency::Serial.check_write()), serializable);
        assert_eq!(words(Consistency::LocalSerial.check_write()), serializable);
        assert!(words(Consistency::Serial.check_read()).contains("SERIAL"));
        assert!(Consistency::EachQuorum.check_read().is_ok() && Consistency::Any.check_write().is_ok());
    }
}
