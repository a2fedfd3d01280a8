//! ERRFILE: the rows that COPY FROM could not import, as they were, and beside them the reasons.
//!
//! Invariants:
//! * ERRFILE holds the bytes of each rejected row and nothing else, so that COPY FROM can be run on it once its cause
//!   is mended. `ERRFILE.reasons` has one line for each of them, in the same order.
//! * Neither is made before there is a rejected row. What an earlier COPY left is kept under another name.

use super::CopyError;
use model::Value;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Where rejected rows go.
pub(super) struct Rejects {
    path: PathBuf,
    files: Option<(BufWriter<File>, BufWriter<File>)>,
    count: u64,
}

impl Rejects {
    /// Rejects of an import; nothing is written yet.
    pub(super) fn new(path: impl Into<PathBuf>) -> Rejects {
        Rejects { path: path.into(), files: None, count: 0 }
    }

    /// Rows rejected.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// The file of the rows.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn reasons_path(&self) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(".reasons");
        PathBuf::from(name)
    }

    /// Keeps a row and the reason why it was rejected.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub(super) fn reject(&mut self, place: &str, raw: &[u8], reason: &str) -> Result<(), CopyError> {
        let written = self.write(place, raw, reason);
        written.map_err(|cause| CopyError::file("write", &self.path.display().to_string(), cause))
    }

    fn write(&mut self, place: &str, raw: &[u8], reason: &str) -> std::io::Result<()> {
        let (rows, reasons) = match &mut self.files {
            Some(files) => files,
            None => {
                let (path, reasons) = (self.path.clone(), self.reasons_path());
                keep_earlier(&path)?;
                keep_earlier(&reasons)?;
                self.files.insert((BufWriter::new(File::create(path)?), BufWriter::new(File::create(reasons)?)))
            }
        };
        self.count += 1;
        rows.write_all(raw)?;
        if !raw.ends_with(b"\n") {
            rows.write_all(b"\n")?;
        }
        writeln!(reasons, "{place}: {}", reason.replace(['\n', '\r'], " "))
    }

    /// Makes sure that all of it is written.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub(super) fn finish(&mut self) -> Result<(), CopyError> {
        let Some((rows, reasons)) = &mut self.files else { return Ok(()) };
        let flushed = rows.flush().and_then(|()| reasons.flush());
        flushed.map_err(|cause| CopyError::file("write", &self.path.display().to_string(), cause))
    }
}

/// Renames a file that is there already, by the time, as cqlsh does.
fn keep_earlier(path: &Path) -> std::io::Result<()> {
    if !path.exists() {
        return Ok(());
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let milliseconds = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
    // 2015-07-04 13:05:09.123000+0000
    let time = Value::Timestamp(milliseconds).to_string();
    let digits: String = time.chars().take(23).filter(char::is_ascii_digit).collect();
    let (date, time) = digits.split_at(8);
    for number in 0..100u32 {
        let mut name = path.as_os_str().to_owned();
        name.push(if number == 0 { format!(".{date}_{time}") } else { format!(".{date}_{time}.{number}") });
        if !Path::new(&name).exists() {
            return std::fs::rename(path, name);
        }
    }
    Err(std::io::Error::new(std::io::ErrorKind::AlreadyExists, "an earlier file of rejected rows is in the way"))
}
