//! `CREATE TABLE ... WITH` and `ALTER TABLE ... WITH`: from text to a change of [`TableOptions`], and back.
//!
//! Every option that Cassandra has is honoured, or kept with a warning that it has no effect here, or accepted only
//! with the value that changes nothing, or refused by its name with the reason. None is ignored in silence.

use crate::ast::{Property, PropertyValue};
use crate::definition::{check_distinct, not_a_map, option_of_others, unknown_property};
use crate::source::{Position, Source, shortened};
use model::limits::TTL_SECONDS_MAX;
use model::name::quote_text;
use model::speculation::SpeculativeRetry;
use model::table_options::{
    Compaction, CompactionShape, Compression, Compressor, Fraction, TableOptions, TableOptionsChange, TombstoneGc,
};
use model::{RequestError, Value};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// An option of Cassandra's that has no field of its own: a valid value of it is kept and shown. When it has no effect
/// here the client is told.
struct Kept {
    name: &'static str,
    /// What it is when it is not named, as Cassandra shows it.
    default: &'static str,
    /// The valid values.
    form: KeptForm,
    /// Why it has no effect; `None` when it has one.
    reason: Option<&'static str>,
}

/// The values of an option that has no effect.
#[derive(Clone, Copy)]
enum KeptForm {
    /// One of these names, in any case.
    Name(&'static [&'static str]),
    /// When replicas are asked or written to besides: `99p`, `10ms`, `ALWAYS`, `NEVER`, `MAX(99p,10ms)`.
    Policy,
    /// A number from 0 to 1.
    Fraction,
    /// A boolean.
    Boolean,
    /// A number of at least so many.
    Number(i32),
    /// The map of `caching`.
    Caching,
    /// The map of `tombstone_gc`. Cassandra has no such option: it is shown only when it is not the default.
    TombstoneGc,
}

const KEPT: [Kept; 10] = [
    Kept {
        name: "additional_write_policy",
        default: "99p",
        form: KeptForm::Policy,
        reason: Some("there are no transient replicas, which it is for"),
    },
    Kept {
        name: "caching",
        default: "ALL NONE",
        form: KeptForm::Caching,
        reason: Some("one cache of the node holds blocks of all tables, by how often they are read"),
    },
    Kept {
        name: "crc_check_chance",
        default: "1.0",
        form: KeptForm::Fraction,
        reason: Some("the checksum of every block is checked whenever it is read from disk"),
    },
    Kept {
        name: "incremental_backups",
        default: "true",
        form: KeptForm::Boolean,
        reason: Some("no node makes incremental backups"),
    },
    Kept {
        name: "max_index_interval",
        default: "2048",
        // It is compared with the other one.
        form: KeptForm::Number(i32::MIN),
        reason: Some("the index has an entry for every block"),
    },
    Kept {
        name: "memtable_flush_period_in_ms",
        default: "0",
        form: KeptForm::Number(0),
        reason: Some("memtables are flushed when they are full or the log is long"),
    },
    Kept {
        name: "min_index_interval",
        default: "128",
        form: KeptForm::Number(1),
        reason: Some("the index has an entry for every block"),
    },
    Kept {
        name: TableOptions::READ_REPAIR,
        default: "BLOCKING",
        form: KeptForm::Name(&["BLOCKING", "NONE"]),
        reason: None,
    },
    Kept { name: TableOptions::SPECULATIVE_RETRY, default: "99p", form: KeptForm::Policy, reason: None },
    Kept { name: TableOptions::TOMBSTONE_GC, default: "repair", form: KeptForm::TombstoneGc, reason: None },
];

/// Options that have one possible value here: name, that value, and why there is no other.
const FIXED: [(&str, &str, &str); 3] = [
    ("cdc", "false", "there is no change data capture"),
    ("extensions", "{}", "there are none"),
    ("memtable", "default", "there is one kind of memtable"),
];

/// Options of other systems' tables, and why there are none here.
const OPTIONS_OF_OTHERS: [(&str, &str); 7] = [
    ("auto_repair", "a node repairs all tables within repair_interval_hours of its settings"),
    ("fast_path", "there are no transactions over several partitions"),
    ("paxos_grace_seconds", "the state of conditional writes is kept by a rule of the node's own"),
    ("pending_drop", "there are no transactions over several partitions"),
    ("per_partition_rate_limit", "requests are limited by node and not by partition"),
    ("synchronous_updates", "there are no materialized views"),
    ("transactional_mode", "there are no transactions over several partitions"),
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
const FIXED_IN_LEVELED_SHOWN: [(&str, &str); 2] = [("max_threshold", "32"), ("min_threshold", "4")];
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

/// What the properties after WITH say of the options, and what the client should know of them.
pub(crate) fn table_options(
    source: Source<'_>,
    properties: &[Property],
) -> Result<(TableOptionsChange, Vec<String>), RequestError> {
    check_distinct(source, properties)?;
    let (mut options, mut warnings) = (TableOptionsChange::default(), Vec::new());
    for property in properties {
        let given = Given { source, property };
        match property.name.text.as_str() {
            "comment" => options.comment = Some(given.text()?.to_owned()),
            "default_time_to_live" => options.default_time_to_live = Some(given.seconds(TTL_SECONDS_MAX)?),
            "gc_grace_seconds" => options.gc_grace_seconds = Some(given.seconds(i32::MAX as u32)?),
            "allow_auto_snapshot" => options.allow_auto_snapshot = Some(given.boolean()?),
            "bloom_filter_fp_chance" => options.bloom_filter_fp_chance = Some(given.false_positives()?),
            "compaction" => options.compaction = Some(given.compaction()?),
            "compression" => options.compression = Some(given.compression()?),
            // Of a table that is created; the one who alters a table refuses it.
            "id" => {}
            name => {
                if let Some((_, only, reason)) = FIXED.iter().find(|(fixed, ..)| *fixed == name) {
                    given.must_be(only, reason)?;
                    continue;
                }
                if name == TableOptions::DELETION_PROTECTION {
                    let value = given.boolean()?.then(|| "true".to_owned());
                    options.kept.insert(name.to_owned(), value);
                    continue;
                }
                if let Some((_, reason)) = OPTIONS_OF_OTHERS.iter().find(|(own, _)| *own == name) {
                    return Err(option_of_others(source, property, reason));
                }
                let Some(kept) = KEPT.iter().find(|kept| kept.name == name) else {
                    return Err(unknown_property(source, property));
                };
                let value = given.kept(kept.form)?;
                let value = (value != kept.default).then_some(value);
                if let (Some(reason), Some(_)) = (kept.reason, &value) {
                    warnings.push(format!("The option '{name}' is kept, but has no effect: {reason}"));
                }
                options.kept.insert(name.to_owned(), value);
            }
        }
    }
    Ok((options, warnings))
}

/// What options that are kept ask of each other.
///
/// # Errors
/// `Config`.
pub(crate) fn check_kept(source: Source<'_>, at: Position, options: &TableOptions) -> Result<(), RequestError> {
    let number = |name: &str| {
        let default = KEPT.iter().find(|kept| kept.name == name).map_or("0", |kept| kept.default);
        options.kept.get(name).map_or(default, String::as_str).parse::<i32>().unwrap_or(0)
    };
    let (min, max) = (number("min_index_interval"), number("max_index_interval"));
    if max < min {
        return Err(source.config(
            at,
            format!("max_index_interval must be greater than or equal to min_index_interval ({min}) (got {max})"),
        ));
    }
    Ok(())
}

/// A property and where its errors point.
pub(crate) struct Given<'a> {
    pub(crate) source: Source<'a>,
    pub(crate) property: &'a Property,
}

impl Given<'_> {
    fn name(&self) -> &str {
        &self.property.name.text
    }

    fn config(&self, message: impl AsRef<str>) -> RequestError {
        self.source.config(self.property.at, message)
    }

    /// The error that the value is not of the kind that the option has. As in Cassandra it is one of syntax.
    fn syntax(&self, message: impl Into<String>) -> RequestError {
        self.source.syntax(self.property.at, message)
    }

    /// A constant, which may stand in quotes.
    fn text(&self) -> Result<&str, RequestError> {
        match &self.property.value {
            PropertyValue::Literal(literal) => Ok(&literal.text),
            PropertyValue::Map(_) => {
                Err(self.syntax(format!("Invalid value for property '{}'. It should be a string", self.name())))
            }
        }
    }

    pub(crate) fn boolean(&self) -> Result<bool, RequestError> {
        let text = self.text()?;
        boolean(text).ok_or_else(|| {
            let (name, text) = (self.name(), shortened(text));
            self.syntax(format!(
                "Invalid boolean value {text} for '{name}'. Positive values can be '1', 'true' or 'yes'. Negative \
                 values can be '0', 'false' or 'no'."
            ))
        })
    }

    /// A number of 32 bits.
    fn int(&self) -> Result<i32, RequestError> {
        let text = self.text()?;
        let invalid = |_| self.syntax(format!("Invalid integer value {} for '{}'", shortened(text), self.name()));
        text.parse().map_err(invalid)
    }

    fn int_of_at_least(&self, least: i32) -> Result<i32, RequestError> {
        let (name, number) = (self.name(), self.int()?);
        if number < least {
            return Err(self.config(format!("{name} must be greater than or equal to {least} (got {number})")));
        }
        Ok(number)
    }

    fn double(&self) -> Result<f64, RequestError> {
        let text = self.text()?;
        let invalid = |_| self.syntax(format!("Invalid double value {} for '{}'", shortened(text), self.name()));
        text.parse().map_err(invalid)
    }

    /// A number of seconds from 0 to `most`.
    fn seconds(&self, most: u32) -> Result<u32, RequestError> {
        let seconds = self.int_of_at_least(0)?.unsigned_abs();
        if seconds > most {
            let name = self.name();
            return Err(self.config(format!("{name} must be less than or equal to {most} (got {seconds})")));
        }
        Ok(seconds)
    }

    fn false_positives(&self) -> Result<Fraction, RequestError> {
        let chance = self.double()?;
        let fraction = Some(chance).filter(|chance| *chance > FALSE_POSITIVES_MIN).and_then(Fraction::from_f64);
        fraction.ok_or_else(|| {
            self.config(format!(
                "bloom_filter_fp_chance must be larger than {} and less than or equal to 1.0 (got {})",
                shown(FALSE_POSITIVES_MIN),
                shown(chance)
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
        let (name, given) = (self.name(), shortened(&given));
        if name == "memtable" {
            return Err(self.config(format!("Memtable configuration \"{given}\" not found. ({reason})")));
        }
        let message = format!("option '{name}' is not supported but as {only}, and is {given}: {reason}");
        Err(self.source.invalid(self.property.at, message))
    }

    /// The value of an option that has no effect, in the form in which Cassandra shows it.
    fn kept(&self, form: KeptForm) -> Result<String, RequestError> {
        Ok(match form {
            KeptForm::Name(names) => {
                let text = self.text()?;
                let found = names.iter().find(|name| name.eq_ignore_ascii_case(text));
                let (name, shown, all) = (self.name(), shortened(text), names.join(" and "));
                let invalid = || self.config(format!("Invalid value {shown} for option '{name}': there are {all}"));
                (*found.ok_or_else(invalid)?).to_owned()
            }
            KeptForm::Policy => self.policy()?,
            KeptForm::Fraction => {
                let fraction = self.double()?;
                if !(0.0..=1.0).contains(&fraction) {
                    let (name, got) = (self.name(), shown(fraction));
                    return Err(self.config(format!(
                        "{name} must be larger than or equal to 0 and smaller than or equal to 1.0 (got {got})"
                    )));
                }
                shown(fraction)
            }
            KeptForm::Boolean => self.boolean()?.to_string(),
            KeptForm::Number(least) => self.int_of_at_least(least)?.to_string(),
            KeptForm::Caching => self.caching()?,
            KeptForm::TombstoneGc => self.tombstone_gc()?.name().to_owned(),
        })
    }

    /// When replicas are asked or written to besides. In its messages Cassandra has one name for both options.
    fn policy(&self) -> Result<String, RequestError> {
        let text = self.text()?;
        let invalid = || {
            let given = shortened(text);
            let number = given.strip_suffix(['p', 'P']).and_then(|number| number.parse::<f64>().ok());
            self.config(match number {
                Some(_) => format!(
                    "Invalid value {given} for PERCENTILE option 'speculative_retry': must be between (0.0 and 100.0)"
                ),
                None => format!("Invalid value {given} for option 'speculative_retry'"),
            })
        };
        text.parse::<SpeculativeRetry>().map(|policy| policy.to_string()).map_err(|_| invalid())
    }

    fn map(&self) -> Result<SubOptions<'_>, RequestError> {
        let PropertyValue::Map(entries) = &self.property.value else {
            return Err(not_a_map(self.source, self.property));
        };
        let mut map = BTreeMap::new();
        for (key, value) in entries {
            if map.insert(key.text.to_ascii_lowercase(), value.text.as_str()).is_some() {
                return Err(self.syntax(format!("Multiple definitions for property '{}'", shortened(&key.text))));
            }
        }
        Ok(SubOptions { given: self, map })
    }

    /// `keys` and `rows_per_partition`, with a space between.
    fn caching(&self) -> Result<String, RequestError> {
        let mut map = self.map()?.map;
        if map.is_empty() {
            return Ok("NONE NONE".to_owned());
        }
        let (keys, rows) = (map.remove("keys").unwrap_or("ALL"), map.remove("rows_per_partition").unwrap_or("NONE"));
        if let Some(other) = map.keys().next() {
            let other = shortened(other);
            let message =
                format!("Invalid caching sub-options [{other}]: only 'keys' and 'rows_per_partition' are allowed");
            return Err(self.config(message));
        }
        let is_name = |text: &str| text.eq_ignore_ascii_case("ALL") || text.eq_ignore_ascii_case("NONE");
        if !is_name(keys) {
            let keys = shortened(keys);
            let message =
                format!("Invalid value '{keys}' for caching sub-option 'keys': only 'ALL' and 'NONE' are allowed");
            return Err(self.config(message));
        }
        if !is_name(rows) && rows.parse::<u32>().is_err() {
            let rows = shortened(rows);
            return Err(self.config(format!(
                "Invalid value '{rows}' for caching sub-option 'rows_per_partition': only 'ALL', 'NONE', and integer \
                 values are allowed"
            )));
        }
        Ok(format!("{keys} {rows}").to_ascii_uppercase())
    }

    fn tombstone_gc(&self) -> Result<TombstoneGc, RequestError> {
        let mut map = self.map()?;
        let names = TombstoneGc::ALL.map(TombstoneGc::name);
        let Some(mode) = map.map.remove("mode") else {
            return Err(self.config("Missing sub-option 'mode' for the 'tombstone_gc' option"));
        };
        let found = TombstoneGc::ALL.into_iter().find(|known| known.name().eq_ignore_ascii_case(mode));
        let found =
            found.ok_or_else(|| map.invalid_value("mode", mode, &format!(": there are {}", names.join(", "))))?;
        if let Some(other) = map.map.keys().next() {
            let message = format!(
                "Sub-option '{}' of option 'tombstone_gc' is not supported: how long a deletion may be under way is \
                 said by gc_grace_seconds",
                shortened(other)
            );
            return Err(self.config(message));
        }
        Ok(found)
    }

    fn compaction(&self) -> Result<Compaction, RequestError> {
        let mut map = self.map()?;
        let class = map.class(COMPACTION_PACKAGE)?;
        let enabled = map.take("enabled", true, boolean)?;
        map.fixed(&FIXED_IN_COMPACTION)?;
        let shape = match class.as_str() {
            "LeveledCompactionStrategy" => {
                map.fixed(&FIXED_IN_LEVELED)?;
                map.fixed(&FIXED_IN_LEVELED_SHOWN)?;
                CompactionShape::Leveled {
                    file_mb: map.number("sstable_size_in_mb", TableOptions::FILE_MB_DEFAULT, FILE_MB)?,
                    fanout: map.number("fanout_size", TableOptions::FANOUT_DEFAULT, 2..=100)?,
                }
            }
            "SizeTieredCompactionStrategy" => {
                map.fixed(&FIXED_IN_TIERED)?;
                let (min, max) = TableOptions::THRESHOLDS_DEFAULT;
                if let Some(low) = map.map.get("min_threshold").and_then(|text| text.parse::<i64>().ok())
                    && low < 2
                {
                    return Err(self.config(format!("Min compaction threshold cannot be less than 2 (got {low})")));
                }
                let min_threshold = map.number("min_threshold", min, 2..=100)?;
                if let Some(high) = map.map.get("max_threshold").and_then(|text| text.parse::<u32>().ok())
                    && high < min_threshold
                {
                    return Err(self.config(format!(
                        "Min compaction threshold (got {min_threshold}) cannot be greater than max compaction \
                         threshold (got {high})"
                    )));
                }
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
                return Err(self.config(format!(
                    "compaction class {class} is not supported: files are not kept apart by the time of their writes; \
                     expired data is removed by every other class too"
                )));
            }
            other => {
                let shown = shortened(other);
                return Err(self.config(format!(
                    "Unable to find compaction strategy class '{COMPACTION_PACKAGE}{shown}': use \
                     LeveledCompactionStrategy, SizeTieredCompactionStrategy or UnifiedCompactionStrategy"
                )));
            }
        };
        map.finish(&class)?;
        Ok(Compaction { shape, enabled })
    }

    fn compression(&self) -> Result<Compression, RequestError> {
        let mut map = self.map()?;
        if map.map.is_empty() {
            return Ok(Compression { compressor: Compressor::None, chunk_kb: TableOptions::CHUNK_KB_DEFAULT });
        }
        let chunk_kb = |map: &mut SubOptions<'_>| {
            let given = map.map.get("chunk_length_in_kb").and_then(|text| text.parse::<u32>().ok());
            if given.is_some_and(|kb| !kb.is_power_of_two()) {
                return Err(self.config("chunk_length_in_kb must be a power of 2"));
            }
            map.number("chunk_length_in_kb", TableOptions::CHUNK_KB_DEFAULT, 1..=1_024)
        };
        if !map.take("enabled", true, boolean)? {
            if !map.map.is_empty() {
                let message = "If the 'enabled' option is set to false no other options must be specified";
                return Err(self.config(message));
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
                let others = ["DeflateCompressor", "NoopCompressor", "ZstdDictionaryCompressor"];
                let known = "use LZ4Compressor, SnappyCompressor or ZstdCompressor, or '' for none";
                return Err(match others.contains(&other) {
                    true => {
                        let message = format!("compression class '{shown}' is not supported: {known}");
                        self.source.invalid(self.property.at, message)
                    }
                    false => self
                        .config(format!("Could not create Compression for type {COMPRESSION_PACKAGE}{shown}: {known}")),
                });
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
            // Of compression Cassandra's sentence has an end.
            let name = self.given.name();
            let end = if name == "compression" { "." } else { "" };
            return Err(self.given.config(format!("Missing sub-option 'class' for the '{name}' option{end}")));
        };
        Ok(class.strip_prefix(package).unwrap_or(class).to_owned())
    }

    fn take<T>(&mut self, name: &str, absent: T, parse: impl Fn(&str) -> Option<T>) -> Result<T, RequestError> {
        let Some(text) = self.map.remove(name) else { return Ok(absent) };
        parse(text).ok_or_else(|| self.invalid_value(name, text, ""))
    }

    fn invalid_value(&self, name: &str, text: &str, expected: &str) -> RequestError {
        let (option, text) = (&self.given.property.name.text, shortened(text));
        self.given.config(format!("Invalid value {text} for '{name}' of option '{option}'{expected}"))
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
                return Err(self.given.config(format!(
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
                Err(self.given.config(match self.given.name() {
                    "compression" => format!("Unknown compression options {name} of {class}"),
                    _ => format!("Properties specified [{name}] are not understood by {class}"),
                }))
            }
        }
    }
}

/// Whether two values of an option say the same.
fn same(given: &str, only: &str) -> bool {
    let number = |text: &str| f64::from_str(text).ok();
    given.eq_ignore_ascii_case(only) || number(given).is_some_and(|value| Some(value) == number(only))
}

/// A number as Java shows it, and so Cassandra.
fn shown(number: f64) -> String {
    if number.is_finite() { Value::Double(number).to_json() } else { number.to_string() }
}

fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" => Some(true),
        "false" | "0" | "no" => Some(false),
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
        kept: own,
    } = options;
    let fixed = |only: &str| match only {
        "{}" => OptionValue::Map(Vec::new()),
        bare if is_bare(bare) => OptionValue::Bare(bare.to_owned()),
        text => OptionValue::Text(text.to_owned()),
    };
    let mut all: BTreeMap<&str, OptionValue> = FIXED.into_iter().map(|(name, only, _)| (name, fixed(only))).collect();
    for kept in &KEPT {
        let given = own.get(kept.name);
        let value = given.map_or(kept.default, String::as_str);
        let value = match kept.form {
            KeptForm::TombstoneGc if given.is_none() => continue,
            KeptForm::TombstoneGc => OptionValue::Map(vec![("mode".to_owned(), value.to_owned())]),
            KeptForm::Caching => {
                let (keys, rows) = value.split_once(' ').unwrap_or((value, "NONE"));
                let entries = [("keys", keys), ("rows_per_partition", rows)];
                OptionValue::Map(entries.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec())
            }
            KeptForm::Name(_) | KeptForm::Policy => OptionValue::Text(value.to_owned()),
            KeptForm::Fraction | KeptForm::Boolean | KeptForm::Number(_) => OptionValue::Bare(value.to_owned()),
        };
        all.insert(kept.name, value);
    }
    // Cassandra does not have it: it is shown only where it says something.
    if options.is_protected() {
        all.insert(TableOptions::DELETION_PROTECTION, OptionValue::Bare("true".to_owned()));
    }
    all.insert("allow_auto_snapshot", OptionValue::Bare(allow_auto_snapshot.to_string()));
    all.insert("bloom_filter_fp_chance", OptionValue::Bare(bloom_filter_fp_chance.to_f64().to_string()));
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
        // As in Cassandra what is not named is not shown, but for the thresholds, which the class does not follow there
        // either.
        CompactionShape::Leveled { file_mb, fanout } => {
            let mut entries = Vec::new();
            if fanout != TableOptions::FANOUT_DEFAULT {
                entries.push(("fanout_size", fanout.to_string()));
            }
            entries.extend(FIXED_IN_LEVELED_SHOWN.map(|(name, only)| (name, only.to_owned())));
            if file_mb != TableOptions::FILE_MB_DEFAULT {
                entries.push(("sstable_size_in_mb", file_mb.to_string()));
            }
            ("LeveledCompactionStrategy", entries)
        }
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
            let mut entries = Vec::new();
            if scaling != "T4" {
                entries.push(("scaling_parameters", scaling));
            }
            if file_mb != TableOptions::FILE_MB_DEFAULT {
                entries.push(("target_sstable_size", format!("{file_mb}MiB")));
            }
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
