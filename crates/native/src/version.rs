//! Versions of the protocol and their negotiation.
//!
//! A client begins with the highest version that it knows. A version that is not spoken here is answered by a
//! protocol error in the nearest one that is, and the client tries again with a lower one.

use crate::error::ProtocolError;
use std::fmt;

/// A version of the protocol that is spoken here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// Of Cassandra 2.2 and later.
    V4,
    /// Of Cassandra 4.0 and later: checksums, a keyspace for each request, ids of result metadata.
    V5,
}

/// The bit of the first byte that is set in answers.
pub(crate) const RESPONSE_BIT: u8 = 0x80;

impl Version {
    /// All of them, ascending.
    pub const ALL: [Version; 2] = [Version::V4, Version::V5];

    /// How SUPPORTED lists them.
    pub const NAMES: [&'static str; 2] = ["4/v4", "5/v5"];

    /// How the error for another version lists them.
    pub(crate) const DESCRIBED: &'static str = "4/v4, 5/v5";

    /// Its number.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Version::V4 => 4,
            Version::V5 => 5,
        }
    }

    /// The version of this number.
    ///
    /// # Errors
    /// `UnsupportedVersion`, to be answered in [`Version::nearest`].
    pub fn of_number(number: u8) -> Result<Version, ProtocolError> {
        let found = Version::ALL.into_iter().find(|version| version.number() == number);
        found.ok_or(ProtocolError::UnsupportedVersion { asked: number })
    }

    /// The version in which a client that speaks version `number` is told that it is not spoken here.
    #[must_use]
    pub fn nearest(number: u8) -> Version {
        if number < Version::V5.number() { Version::V4 } else { Version::V5 }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.number())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_that_is_not_spoken_is_refused_in_words_that_clients_look_for() {
        for number in [0, 1, 2, 3, 6, 65, 66, 127] {
            let error = Version::of_number(number).unwrap_err().to_string();
            let expected =
                format!("Invalid or unsupported protocol version ({number}); supported versions are (4/v4, 5/v5)");
            assert_eq!(error, expected);
            assert_eq!(Version::nearest(number), if number < 5 { Version::V4 } else { Version::V5 });
        }
        assert_eq!(Version::DESCRIBED, Version::NAMES.join(", "));
        for version in Version::ALL {
            assert_eq!(Version::of_number(version.number()), Ok(version));
        }
    }
}
