//! Whose data a directory holds: the file `IDENTITY`.
//!
//! ```text
//! helenus data directory
//! format 3
//! node 01234567-89ab-cdef-0011-223344556677
//! cluster 01234567-89ab-cdef-0011-223344556677      (or: none)
//! checksum 0123456789abcdef                         (XXH3-64 of the lines above)
//! ```

use crate::failure::{io_error, replace_file};
use model::NodeId;
use model::id::parse_uuid;
use node::storage::StorageError;
use std::io::ErrorKind;
use std::path::Path;
use xxhash_rust::xxh3::xxh3_64;

/// The format that this version writes and reads: that of keys, values and files in the
/// directory, all together.
/// 2: rows have complex columns, definitions of tables their dropped columns. 3: members have an address for the CQL
/// protocol, watermarks the synced part of the manifest. No release wrote 1 or 2, and none reads them.
const FORMAT: u32 = 3;
const TITLE: &str = "helenus data directory";

/// Whose data a directory holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The node.
    pub node: NodeId,
    /// Its cluster, once it belongs to one.
    pub cluster: Option<u128>,
}

impl Identity {
    /// Reads the file in `directory`; `None` when there is none.
    ///
    /// # Errors
    /// When it cannot be read, is damaged, or was written by a version with another format.
    pub(crate) fn read(directory: &Path) -> Result<Option<Identity>, StorageError> {
        let path = directory.join("IDENTITY");
        let text = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_error("read", &path, &error)),
        };
        parse(&text).map(Some).map_err(|error| match error {
            ParseError::Damaged => StorageError::Corrupt(format!("{} is damaged", path.display())),
            ParseError::Older(format) => StorageError::Invalid(format!(
                "the data directory {} was written by an older version of Helenus (format {format}; this version \
                 reads format {FORMAT} only)",
                directory.display()
            )),
            ParseError::Newer(format) => StorageError::Invalid(format!(
                "the data directory {} was written by a newer version of Helenus (format {format}; this version \
                 reads format {FORMAT} only)",
                directory.display()
            )),
        })
    }

    /// Writes the file durably.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn write(&self, directory: &Path) -> Result<(), StorageError> {
        replace_file(&directory.join("IDENTITY"), self.to_text().as_bytes(), true)
    }

    pub(crate) fn to_text(self) -> String {
        // A cluster's id is written like a node's.
        let cluster = self.cluster.map_or_else(|| "none".to_owned(), |cluster| NodeId(cluster).to_string());
        let lines = format!("{TITLE}\nformat {FORMAT}\nnode {}\ncluster {cluster}\n", self.node);
        let checksum = xxh3_64(lines.as_bytes());
        format!("{lines}checksum {checksum:016x}\n")
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ParseError {
    Damaged,
    Older(u32),
    Newer(u32),
}

pub(crate) fn parse(text: &[u8]) -> Result<Identity, ParseError> {
    let text = std::str::from_utf8(text).map_err(|_| ParseError::Damaged)?;
    let mut lines = text.lines();
    let mut field = |name: &str| {
        let line = lines.next()?;
        line.strip_prefix(name)?.strip_prefix(' ')
    };
    if field("helenus") != TITLE.strip_prefix("helenus ") {
        return Err(ParseError::Damaged);
    }
    // A newer format may have other lines and another checksum: the version comes first.
    let format: u32 = field("format").and_then(|format| format.parse().ok()).ok_or(ParseError::Damaged)?;
    if format > FORMAT {
        return Err(ParseError::Newer(format));
    }
    if format < FORMAT {
        return Err(ParseError::Older(format));
    }
    let node = field("node").and_then(parse_uuid).ok_or(ParseError::Damaged)?;
    let cluster = match field("cluster").ok_or(ParseError::Damaged)? {
        "none" => None,
        cluster => Some(parse_uuid(cluster).ok_or(ParseError::Damaged)?),
    };
    let identity = Identity { node: NodeId(node), cluster };
    if identity.to_text() == text { Ok(identity) } else { Err(ParseError::Damaged) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_any_damage_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(Identity::read(directory.path()).unwrap(), None);
        for cluster in [None, Some(77)] {
            let identity = Identity { node: NodeId(7), cluster };
            identity.write(directory.path()).unwrap();
            assert_eq!(Identity::read(directory.path()).unwrap(), Some(identity));
        }
        let text = std::fs::read(directory.path().join("IDENTITY")).unwrap();
        for at in 0..text.len() {
            let mut damaged = text.clone();
            for bit in 0..8 {
                damaged[at] = text[at] ^ 1 << bit;
                // A damaged version may look like another one: it is refused all the same.
                let parsed = parse(&damaged);
                assert!(parsed.is_err(), "byte {at}: {parsed:?}");
            }
            let cut = parse(&text[..at]);
            assert_eq!(cut, Err(ParseError::Damaged), "cut at {at}");
        }
    }

    #[test]
    fn a_newer_format_is_named_whatever_follows() {
        assert_eq!(parse(b"helenus data directory\nformat 4\nshards 5\n"), Err(ParseError::Newer(4)));
        assert_eq!(parse(b"helenus data directory\nformat 2\nshards 5\n"), Err(ParseError::Older(2)));
    }
}
