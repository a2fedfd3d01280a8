//! Files of settings in the form of cqlsh's: `[section]`, `name = value`, and lines of `#` or `;` for remarks.

use std::collections::BTreeMap;
use std::path::Path;

/// The largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The settings of a file: by section, then by name in lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Configuration {
    sections: BTreeMap<String, BTreeMap<String, String>>,
}

impl Configuration {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read, or is not in this form.
    pub(crate) fn read(path: &Path) -> Result<Configuration, String> {
        let wrong = |reason: String| format!("cannot read {}: {reason}", path.display());
        let length = std::fs::metadata(path).map_err(|error| wrong(error.to_string()))?.len();
        if length > FILE_BYTES_MAX {
            return Err(wrong(format!("it has {length} bytes, more than {FILE_BYTES_MAX}")));
        }
        let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
        Configuration::parse(&text).map_err(wrong)
    }

    /// The settings in `text`.
    ///
    /// # Errors
    /// When a line is neither a section, a setting nor a remark.
    pub(crate) fn parse(text: &str) -> Result<Configuration, String> {
        let mut sections: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        let mut section: Option<String> = None;
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            let wrong = |what: &str| Err(format!("line {}: {what}", index + 1));
            if line.is_empty() || line.starts_with(['#', ';']) {
                continue;
            }
            if let Some(name) = line.strip_prefix('[') {
                let Some(name) = name.strip_suffix(']') else { return wrong("']' is missing") };
                section = Some(name.trim().to_owned());
                continue;
            }
            let Some(at) = line.find(['=', ':']) else { return wrong("expected [section] or name = value") };
            let Some(section) = &section else { return wrong("a setting stands before the first section") };
            let (name, value) = (line[..at].trim().to_lowercase(), line[at + 1..].trim().to_owned());
            sections.entry(section.clone()).or_default().insert(name, value);
        }
        Ok(Configuration { sections })
    }

    /// The settings of a section.
    pub(crate) fn section(&self, name: &str) -> impl Iterator<Item = (&String, &String)> {
        self.sections.get(name).into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_hold_settings() {
        let text =
            "; a remark\n[copy]\nDelimiter = |\n\n[copy-from:ks.t]\n# another\nheader: true\nnull =\n[copy]\nquote='\n";
        let found = Configuration::parse(text).unwrap();
        let section =
            |name| found.section(name).map(|(name, value)| (name.as_str(), value.as_str())).collect::<Vec<_>>();
        assert_eq!(section("copy"), [("delimiter", "|"), ("quote", "'")]);
        assert_eq!(section("copy-from:ks.t"), [("header", "true"), ("null", "")]);
        assert_eq!(section("none"), []);
    }

    #[test]
    fn what_is_not_a_setting_is_refused_with_its_line() {
        for (text, expected) in [("a = 1", "line 1"), ("[a]\n\nword", "line 3"), ("[a", "line 1")] {
            assert!(Configuration::parse(text).unwrap_err().contains(expected), "{text}");
        }
    }
}
