//! `CREATE TABLE ... WITH` and `ALTER TABLE ... WITH`: from text to a change of [`TableOptions`], and back.
//!
//! Every option that Cassandra has is honoured, or accepted only with the value that changes nothing here, or
//! refused by its name with the reason. None is ignored.

use crate::ast::{Literal, LiteralKind, Property, PropertyValue};
use crate::definition::{check_distinct, invalid_value};
use crate::source::{Source, shortened};
use model::RequestError;
use model::limits::TTL_SECONDS_MAX;
use model::name::quote_text;
use model::table_options::{
    Compaction, CompactionShape, Compression, Compressor, Fraction, TableOptions, TableOptionsChange,
};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// Options that have one possible value here: name, that value, and why there is no other.
const FIXED: [(&str, &str, &str); 11] = [
    ("additional_write_policy", "99p", "there are no transient replicas, which it is for"),
    ("cdc", "false", "there is no change data capture"),
    ("crc_check_chance", "1.0", "the checksum of every block is checked whenever it is read from disk"),
    ("extensions", "{}", "there are none"),
    ("incremental_backups", "true", "no node makes incremental backups"),
    ("max_index_interval", "2048", "the index has an entry for every block"),
    ("memtable", "default", "there is one kind of memtable"),
    ("memtable_flush_period_in_ms", "0", "memtables are flushed when they are full or the log is long"),
    ("min_index_interval", "128", "the index has an entry for every block"),
    ("read_repair", "BLOCKING", "a read repairs what it finds to differ before it answers"),
    ("speculative_retry", "99p", "when a spare replica is asked is a setting of the node"),
];

/// Sub-options of every compaction class that have one possible value here.
const FIXED_IN_COMPACTION: [(&str, &str); 6] = [
    ("log_all", "false"),
    ("only_purge_repaired_tombstones", "false"),
    ("provide_overlapping_tombstones", "NONE"),
    ("tombstone_compaction_interval", "86400"),
    ("tombstone_threshold", "0.2"),
    ("unchecked_tombstone_compaction", "false"),
];

const FIXED_IN_LEVELED: [(&str, &str); 1] = [("single_sstable_uplevel", "true")];
const FIXED_IN_TIERED: [(&str, &str); 3] =
    [("bucket_high", "1.5"), ("bucket_low", "0.5"), ("min_sstable_size", "52428800")];
const FIXED_IN_UNIFIED: [(&str, &str); 8] = [
    ("base_shard_count", "4"),
    ("expired_sstable_check_frequency_seconds", "600"),
    ("flush_size_override", "0MiB"),
    ("max_sstables_to_compact", "-1"),
    ("min_sstable_size", "100MiB"),
    ("overlap_inclusion_method", "TRANSITIVE"),
    ("parallelize_output_shards", "true"),
    ("sstable_growth", "0.333"),
];
const FIXED_IN_COMPRESSION: [(&str, &str); 4] = [
    ("crc_check_chance", "1.0"),
    ("lz4_compressor_type", "fast"),
    ("lz4_high_compressor_level", "9"),
    ("min_compress_ratio", "0"),
];

const COMPACTION_PACKAGE: &str = "org.apache.cassandra.db.compaction.";
const COMPRESSION_PACKAGE: &str = "org.apache.cassandra.io.compress.";
/// Files of compaction in MiB.
const FILE_MB: RangeInclusive<u32> = 1..=65_536;
/// Below it Cassandra's filters cannot be built either.
const FALSE_POSITIVES_MIN: f64 = 0.000_067_1;

/// What the properties after WITH say of the options.
pub(crate) fn table_options(source: Source<'_>, properties: &[Property]) -> Result<TableOptionsChange, RequestError> {
    check_distinct(source, properties)?;
    let mut options = TableOptionsChange::default();
    for property in properties {
        let given = Given { source, property };
        match property.name.text.as_str() {
            "comment" => match &property.value {
                PropertyValue::Literal(Literal { kind: LiteralKind::String, text }) => {
                    options.comment = Some(text.clone())
                }
                _ => return Err(invalid_value(source, property)),
            },
            "default_time_to_live" => options.default_time_to_live = Some(given.seconds(TTL_SECONDS_MAX)?),
            "gc_grace_seconds" => options.gc_grace_seconds = Some(given.seconds(i32::MAX as u32)?),
            "allow_auto_snapshot" => options.allow_auto_snapshot = Some(given.parse(boolean)?),
            "bloom_filter_fp_chance" => options.bloom_filter_fp_chance = Some(given.false_positives()?),
            "compaction" => options.compaction = Some(given.compaction()?),
            "compression" => options.compression = Some(given.compression()?),
            "caching" => given.caching()?,
            name => match FIXED.iter().find(|(fixed, ..)| *fixed == name) {
                Some((_, only, reason)) => given.must_be(only, reason)?,
                None if name == "id" => return Err(source.invalid(property.name.at, "Cannot alter table id.")),
                None => return Err(source.invalid(property.name.at, format!("Unknown property '{}'", shortened(name)))),
            },
        }
    }
    Ok(options)
}

/// A property and where its errors point.
struct Given<'a> {
    source: Source<'a>,
    property: &'a Property,
}

impl Given<'_> {
    fn invalid(&self, message: impl Into<String>) -> RequestError {
        self.source.invalid(self.property.at, message.into())
    }

    /// A constant, which may stand in quotes.
    fn constant(&self) -> Result<&str, RequestError> {
        match &self.property.value {
            PropertyValue::Literal(literal) => Ok(&literal.text),
            PropertyValue::Map(_) => Err(invalid_value(self.source, self.property)),
        }
    }

    fn parse<T>(&self, parse: impl Fn(&str) -> Option<T>) -> Result<T, RequestError> {
        parse(self.constant()?).ok_or_else(|| invalid_value(self.source, self.property))
    }

    /// A number of seconds from 0 to `most`.
    fn seconds(&self, most: u32) -> Result<u32, RequestError> {
        let text = self.constant()?;
        text.parse().ok().filter(|seconds| *seconds <= most).ok_or_else(|| {
            let (name, shown) = (&self.property.name.text, shortened(text));
            self.invalid(format!("Invalid value {shown} for option '{name}': expected seconds from 0 to {most}"))
        })
    }

    fn false_positives(&self) -> Result<Fraction, RequestError> {
        let text = self.constant()?;
        let chance = text.parse().ok().filter(|chance| *chance > FALSE_POSITIVES_MIN);
        chance.and_then(Fraction::from_f64).ok_or_else(|| {
            self.invalid(format!(
                "bloom_filter_fp_chance must be larger than {FALSE_POSITIVES_MIN} and less than or equal to 1.0 \
                 (got {})",
                shortened(text)
            ))
        })
    }

    /// Refuses every value but one.
    fn must_be(&self, only: &str, reason: &str) -> Result<(), RequestError> {
        let given = match &self.property.value {
            PropertyValue::Literal(literal) => literal.text.clone(),
            PropertyValue::Map(entries) if entries.is_empty() => "{}".to_owned(),
            PropertyValue::Map(_) => "a map".to_owned(),
        };
        if same(&given, only) {
            return Ok(());
        }
        let (name, given) = (&self.property.name.text, shortened(&given));
        Err(self.invalid(format!("option '{name}' is not supported but as {only}, and is {given}: {reason}")))
    }

    fn map(&self) -> Result<SubOptions<'_>, RequestError> {
        let PropertyValue::Map(entries) = &self.property.value else {
            return Err(invalid_value(self.source, self.property));
        };
        let mut map = BTreeMap::new();
        for (key, value) in entries {
            if map.insert(key.text.to_ascii_lowercase(), value.text.as_str()).is_some() {
                return Err(self.invalid(format!("Multiple definitions for property '{}'", shortened(&key.text))));
            }
        }
        Ok(SubOptions { given: self, map })
    }

    fn caching(&self) -> Result<(), RequestError> {
        let mut map = self.map()?;
        map.fixed(&[("keys", "ALL"), ("rows_per_partition", "NONE")])?;
        map.finish("caching")
    }

    fn compaction(&self) -> Result<Compaction, RequestError> {
        let mut map = self.map()?;
        let class = map.class(COMPACTION_PACKAGE)?;
        let enabled = map.take("enabled", true, boolean)?;
        map.fixed(&FIXED_IN_COMPACTION)?;
        let shape = match class.as_str() {
            "LeveledCompactionStrategy" => {
                map.fixed(&FIXED_IN_LEVELED)?;
                CompactionShape::Leveled {
                    file_mb: map.number("sstable_size_in_mb", TableOptions::FILE_MB_DEFAULT, FILE_MB)?,
                    fanout: map.number("fanout_size", TableOptions::FANOUT_DEFAULT, 2..=100)?,
                }
            }
            "SizeTieredCompactionStrategy" => {
                map.fixed(&FIXED_IN_TIERED)?;
                let (min, max) = TableOptions::THRESHOLDS_DEFAULT;
                let min_threshold = map.number("min_threshold", min, 2..=100)?;
                let max_threshold = map.number("max_threshold", max.max(min_threshold), min_threshold..=10_000)?;
                CompactionShape::SizeTiered { min_threshold, max_threshold }
            }
            "UnifiedCompactionStrategy" => {
                map.fixed(&FIXED_IN_UNIFIED)?;
                CompactionShape::Unified {
                    scaling: map.take("scaling_parameters", 2, scaling)?,
                    file_mb: map.take("target_sstable_size", TableOptions::FILE_MB_DEFAULT, mebibytes)?,
                }
            }
            "TimeWindowCompactionStrategy" | "DateTieredCompactionStrategy" => {
                return Err(self.invalid(format!(
                    "compaction class {class} is not supported: files are not kept apart by the time of their writes; \
                     expired data is removed by every other class too"
                )));
            }
            other => {
                let shown = shortened(other);
                return Err(self.invalid(format!(
                    "Unable to find compaction strategy class '{shown}': use LeveledCompactionStrategy, \
                     SizeTieredCompactionStrategy or UnifiedCompactionStrategy"
                )));
            }
        };
        map.finish(&class)?;
        Ok(Compaction { shape, enabled })
    }

    fn compression(&self) -> Result<Compression, RequestError> {
        let mut map = self.map()?;
        let chunk_kb = |map: &mut SubOptions<'_>| {
            map.take("chunk_length_in_kb", TableOptions::CHUNK_KB_DEFAULT, |text| {
                let kb = text.parse::<u32>().ok()?;
                (kb.is_power_of_two() && kb <= 1_024).then_some(kb)
            })
        };
        if !map.take("enabled", true, boolean)? {
            if !map.map.is_empty() {
                let message = "If the 'enabled' option is set to false no other options must be specified";
                return Err(self.invalid(message));
            }
            return Ok(Compression { compressor: Compressor::None, chunk_kb: TableOptions::CHUNK_KB_DEFAULT });
        }
        let class = map.class(COMPRESSION_PACKAGE)?;
        map.fixed(&FIXED_IN_COMPRESSION)?;
        let compressor = match class.as_str() {
            "" => Compressor::None,
            "LZ4Compressor" => Compressor::Lz4,
            "SnappyCompressor" => Compressor::Snappy,
            "ZstdCompressor" => {
                Compressor::Zstd { level: map.number("compression_level", TableOptions::ZSTD_LEVEL_DEFAULT, 1..=22)? }
            }
            other => {
                let shown = shortened(other);
                return Err(self.invalid(format!(
                    "compression class '{shown}' is not supported: use LZ4Compressor, SnappyCompressor or \
                     ZstdCompressor, or '' for none"
                )));
            }
        };
        let chunk_kb = chunk_kb(&mut map)?;
        map.finish(&class)?;
        Ok(Compression { compressor, chunk_kb })
    }
}

/// The entries of an option that is a map; what is understood is taken out.
struct SubOptions<'a> {
    given: &'a Given<'a>,
    map: BTreeMap<String, &'a str>,
}

impl SubOptions<'_> {
    /// The class, without the package that Cassandra has it in.
    fn class(&mut self, package: &str) -> Result<String, RequestError> {
        let Some(class) = self.map.remove("class") else {
            let name = &self.given.property.name.text;
            return Err(self.given.invalid(format!("Missing sub-option 'class' for the '{name}' option.")));
        };
        Ok(class.strip_prefix(package).unwrap_or(class).to_owned())
    }

    fn take<T>(&mut self, name: &str, absent: T, parse: impl Fn(&str) -> Option<T>) -> Result<T, RequestError> {
        let Some(text) = self.map.remove(name) else { return Ok(absent) };
        parse(text).ok_or_else(|| self.invalid_value(name, text, ""))
    }

    fn invalid_value(&self, name: &str, text: &str, expected: &str) -> RequestError {
        let (option, text) = (&self.given.property.name.text, shortened(text));
        self.given.invalid(format!("Invalid value {text} for '{name}' of option '{option}'{expected}"))
    }

    fn number(&mut self, name: &str, absent: u32, range: RangeInclusive<u32>) -> Result<u32, RequestError> {
        let Some(text) = self.map.remove(name) else { return Ok(absent) };
        text.parse()
            .ok()
            .filter(|number| range.contains(number))
            .ok_or_else(|| self.invalid_value(name, text, &format!(": expected {} to {}", range.start(), range.end())))
    }

    /// Takes sub-options that have one possible value.
    fn fixed(&mut self, fixed: &[(&str, &str)]) -> Result<(), RequestError> {
        for (name, only) in fixed {
            if let Some(text) = self.map.remove(*name).filter(|text| !same(text, only)) {
                let (option, text) = (&self.given.property.name.text, shortened(text));
                return Err(self.given.invalid(format!(
                    "'{name}' of option '{option}' is not supported but as {only}, and is {text}: it has no \
                     counterpart in this storage engine"
                )));
            }
        }
        Ok(())
    }

    /// Refuses what is left.
    fn finish(self, class: &str) -> Result<(), RequestError> {
        match self.map.keys().next() {
            None => Ok(()),
            Some(name) => {
                let name = shortened(name);
                Err(self.given.invalid(format!("Properties specified [{name}] are not understood by {class}")))
            }
        }
    }
}

/// Whether two values of an option say the same.
fn same(given: &str, only: &str) -> bool {
    let number = |text: &str| f64::from_str(text).ok();
    // Cassandra writes percentiles in two ways.
    let percentile = |text: &str| {
        let text = text.to_ascii_lowercase();
        text.strip_suffix("percentile").or_else(|| text.strip_suffix('p')).and_then(number)
    };
    given.eq_ignore_ascii_case(only)
        || number(given).is_some_and(|value| Some(value) == number(only))
        || percentile(given).is_some_and(|value| Some(value) == percentile(only))
}

fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

/// `L4`, `T4`, `N` or a number.
fn scaling(text: &str) -> Option<i32> {
    let text = text.trim();
    let fan = |digits: &str| digits.parse::<i32>().ok().filter(|fan| (2..=64).contains(fan));
    if text.eq_ignore_ascii_case("N") {
        return Some(0);
    }
    match text.split_at_checked(1)? {
        ("L" | "l", digits) => fan(digits).map(|fan| 2 - fan),
        ("T" | "t", digits) => fan(digits).map(|fan| fan - 2),
        _ => text.parse().ok().filter(|scaling| (-62..=62).contains(scaling)),
    }
}

/// A size such as `64MiB` in MiB.
fn mebibytes(text: &str) -> Option<u32> {
    let (digits, factor) = match text.strip_suffix("GiB") {
        Some(digits) => (digits, 1_024),
        None => (text.strip_suffix("MiB")?, 1),
    };
    digits.trim().parse::<u32>().ok()?.checked_mul(factor).filter(|size| FILE_MB.contains(size))
}

/// The value of an option, as CQL and the schema tables show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OptionValue {
    /// A text.
    Text(String),
    /// A number or boolean.
    Bare(String),
    /// A map of texts.
    Map(Vec<(String, String)>),
}

/// Every option of a table by its name, in the order in which Cassandra prints them.
#[must_use]
pub fn option_values(options: &TableOptions) -> BTreeMap<&'static str, OptionValue> {
    let TableOptions {
        comment,
        default_time_to_live,
        gc_grace_seconds,
        compaction,
        compression,
        bloom_filter_fp_chance,
        allow_auto_snapshot,
    } = options;
    let fixed = |only: &str| match only {
        "{}" => OptionValue::Map(Vec::new()),
        bare if is_bare(bare) => OptionValue::Bare(bare.to_owned()),
        text => OptionValue::Text(text.to_owned()),
    };
    let mut all: BTreeMap<&str, OptionValue> = FIXED.into_iter().map(|(name, only, _)| (name, fixed(only))).collect();
    let caching = [("keys", "ALL"), ("rows_per_partition", "NONE")];
    let caching = caching.map(|(name, value)| (name.to_owned(), value.to_owned()));
    all.insert("allow_auto_snapshot", OptionValue::Bare(allow_auto_snapshot.to_string()));
    all.insert("bloom_filter_fp_chance", OptionValue::Bare(bloom_filter_fp_chance.to_f64().to_string()));
    all.insert("caching", OptionValue::Map(caching.to_vec()));
    all.insert("comment", OptionValue::Text(comment.clone()));
    all.insert("compaction", OptionValue::Map(compaction_entries(*compaction)));
    all.insert("compression", OptionValue::Map(compression_entries(*compression)));
    all.insert("default_time_to_live", OptionValue::Bare(default_time_to_live.to_string()));
    all.insert("gc_grace_seconds", OptionValue::Bare(gc_grace_seconds.to_string()));
    all
}

/// Every option in Cassandra's form, in the order in which it prints them.
pub(crate) fn describe_options(options: &TableOptions) -> Vec<String> {
    let text = |value: OptionValue| match value {
        OptionValue::Text(text) => quote_text(&text),
        OptionValue::Bare(text) => text,
        OptionValue::Map(mut entries) => {
            entries.sort();
            let entries: Vec<String> = entries.iter().map(|(name, value)| format!("'{name}': '{value}'")).collect();
            format!("{{{}}}", entries.join(", "))
        }
    };
    let mut values: Vec<_> = option_values(options).into_iter().collect();
    // By name, but for one that Cassandra has behind another.
    values.sort_by_key(|&(name, _)| if name == "memtable" { ("compression", 1) } else { (name, 0) });
    values.into_iter().map(|(name, value)| format!("{name} = {}", text(value))).collect()
}

/// True for a value that is written without quotes.
fn is_bare(value: &str) -> bool {
    boolean(value).is_some() || f64::from_str(value).is_ok()
}

fn compaction_entries(compaction: Compaction) -> Vec<(String, String)> {
    let (class, mut entries) = match compaction.shape {
        CompactionShape::Leveled { file_mb, fanout } => (
            "LeveledCompactionStrategy",
            vec![("fanout_size", fanout.to_string()), ("sstable_size_in_mb", file_mb.to_string())],
        ),
        CompactionShape::SizeTiered { min_threshold, max_threshold } => (
            "SizeTieredCompactionStrategy",
            vec![("max_threshold", max_threshold.to_string()), ("min_threshold", min_threshold.to_string())],
        ),
        CompactionShape::Unified { scaling, file_mb } => {
            let scaling = match scaling {
                0 => "N".to_owned(),
                leveled if leveled < 0 => format!("L{}", 2 - leveled),
                tiered => format!("T{}", 2 + tiered),
            };
            let entries = vec![("scaling_parameters", scaling), ("target_sstable_size", format!("{file_mb}MiB"))];
            ("UnifiedCompactionStrategy", entries)
        }
    };
    if !compaction.enabled {
        entries.insert(0, ("enabled", "false".to_owned()));
    }
    with_class(format!("{COMPACTION_PACKAGE}{class}"), entries)
}

fn compression_entries(compression: Compression) -> Vec<(String, String)> {
    let (class, level) = match compression.compressor {
        Compressor::None if compression.chunk_kb == TableOptions::CHUNK_KB_DEFAULT => {
            return vec![("enabled".to_owned(), "false".to_owned())];
        }
        // The size of blocks matters without compression too.
        Compressor::None => ("", None),
        Compressor::Lz4 => ("LZ4Compressor", None),
        Compressor::Snappy => ("SnappyCompressor", None),
        Compressor::Zstd { level } => ("ZstdCompressor", Some(level)),
    };
    let mut entries = vec![("chunk_length_in_kb", compression.chunk_kb.to_string())];
    entries.extend(level.map(|level| ("compression_level", level.to_string())));
    let class = if class.is_empty() { String::new() } else { format!("{COMPRESSION_PACKAGE}{class}") };
    with_class(class, entries)
}

/// The class and what belongs to it.
fn with_class(class: String, entries: Vec<(&str, String)>) -> Vec<(String, String)> {
    let entries = entries.into_iter().map(|(name, value)| (name.to_owned(), value));
    std::iter::once(("class".to_owned(), class)).chain(entries).collect()
}

#[cfg(test)]
#[path = "table_options_tests.rs"]
mod tests;
