//! The options of `CREATE TABLE ... WITH` that a table keeps: what they say, not how storage follows them
//! (`docs/cql/table-options.md` has the table of every option that Cassandra knows).
//!
//! Invariant: equal options have equal encodings, and every value that can be held can be written in CQL and
//! read back as the same.

use crate::codec::{CodecError, Decode, Encode, Reader, put_pairs};
use crate::speculation::SpeculativeRetry;
use std::collections::BTreeMap;

/// A part of one, in billionths, so that options can be compared: 0.01 is 10,000,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fraction(pub u32);

impl Fraction {
    /// All of it.
    pub const ONE: Fraction = Fraction(1_000_000_000);

    /// The nearest fraction; `None` outside of 0 to 1.
    #[must_use]
    pub fn from_f64(value: f64) -> Option<Fraction> {
        let within = (0.0..=1.0).contains(&value);
        within.then(|| Fraction((value * f64::from(Fraction::ONE.0)).round() as u32))
    }

    /// As a number.
    #[must_use]
    pub fn to_f64(self) -> f64 {
        f64::from(self.0) / f64::from(Fraction::ONE.0)
    }
}

/// How files are merged in the background.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompactionShape {
    /// `LeveledCompactionStrategy`: levels of which each is `fanout` times as large as the one above, in files
    /// of about `file_mb`. Least space and fewest files to look into.
    Leveled {
        /// `sstable_size_in_mb`.
        file_mb: u32,
        /// `fanout_size`.
        fanout: u32,
    },
    /// `SizeTieredCompactionStrategy`: sorted runs of similar size are merged, at least `min_threshold` and at
    /// most `max_threshold` at once. Fewest bytes rewritten, up to twice the space while it merges.
    SizeTiered {
        /// `min_threshold`, at least 2.
        min_threshold: u32,
        /// `max_threshold`.
        max_threshold: u32,
    },
    /// `UnifiedCompactionStrategy` with one scaling parameter: leveled with fan-out `2 - scaling` when it is
    /// negative (`L4` is -2), tiered with threshold `2 + scaling` else (`T4` is 2, `N` is 0).
    Unified {
        /// `scaling_parameters`, as a number.
        scaling: i32,
        /// `target_sstable_size`, in MiB.
        file_mb: u32,
    },
}

/// `compaction`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compaction {
    /// `class` and what belongs to it.
    pub shape: CompactionShape,
    /// `enabled`: false stops it until it is enabled again.
    pub enabled: bool,
}

/// An algorithm of `compression`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compressor {
    /// `enabled = false`, or the class `''`.
    None,
    /// `LZ4Compressor`.
    Lz4,
    /// `SnappyCompressor`.
    Snappy,
    /// `ZstdCompressor`.
    Zstd {
        /// `compression_level`, 1 to 22.
        level: u32,
    },
}

/// `compression`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compression {
    /// `class`.
    pub compressor: Compressor,
    /// `chunk_length_in_kb`: what is compressed, read and cached as one, a power of two.
    pub chunk_kb: u32,
}

/// `tombstone_gc`: what a deletion waits for before it is taken away. Named as in ScyllaDB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TombstoneGc {
    /// Until all replicas have been repaired after its grace.
    #[default]
    Repair,
    /// Until its grace is over.
    Timeout,
    /// For ever.
    Disabled,
}

impl TombstoneGc {
    /// Every mode.
    pub const ALL: [TombstoneGc; 3] = [TombstoneGc::Repair, TombstoneGc::Timeout, TombstoneGc::Disabled];

    /// The value of `mode`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            TombstoneGc::Repair => "repair",
            TombstoneGc::Timeout => "timeout",
            TombstoneGc::Disabled => "disabled",
        }
    }
}

/// The options of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableOptions {
    /// Free text.
    pub comment: String,
    /// Time to live in seconds of writes that name none; 0 for none.
    pub default_time_to_live: u32,
    /// Seconds for which tombstones are kept.
    pub gc_grace_seconds: u32,
    /// `compaction`.
    pub compaction: Compaction,
    /// `compression`.
    pub compression: Compression,
    /// `bloom_filter_fp_chance`: how often a look for a key that is not there goes to a file in vain; one for
    /// no filter.
    pub bloom_filter_fp_chance: Fraction,
    /// `allow_auto_snapshot`: a snapshot is kept of what TRUNCATE and DROP remove.
    pub allow_auto_snapshot: bool,
    /// Options of Cassandra's that have no field here, by their names: valid values that are not the default, in the
    /// form in which Cassandra shows them. Most have no effect and are kept so that a schema can go to and fro; of the
    /// others there are methods.
    pub kept: BTreeMap<String, String>,
}

/// What `ALTER TABLE ... WITH` or `CREATE TABLE ... WITH` says of the options: each that it names, as it will be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableOptionsChange {
    /// `comment`.
    pub comment: Option<String>,
    /// `default_time_to_live`.
    pub default_time_to_live: Option<u32>,
    /// `gc_grace_seconds`.
    pub gc_grace_seconds: Option<u32>,
    /// `compaction`.
    pub compaction: Option<Compaction>,
    /// `compression`.
    pub compression: Option<Compression>,
    /// `bloom_filter_fp_chance`.
    pub bloom_filter_fp_chance: Option<Fraction>,
    /// `allow_auto_snapshot`.
    pub allow_auto_snapshot: Option<bool>,
    /// Options that have no field; `None` for the default.
    pub kept: BTreeMap<String, Option<String>>,
}

impl TableOptionsChange {
    /// Changes the options that it names.
    pub fn apply_to(&self, options: &mut TableOptions) {
        let TableOptionsChange {
            comment,
            default_time_to_live,
            gc_grace_seconds,
            compaction,
            compression,
            bloom_filter_fp_chance,
            allow_auto_snapshot,
            kept,
        } = self.clone();
        options.comment = comment.unwrap_or(std::mem::take(&mut options.comment));
        options.default_time_to_live = default_time_to_live.unwrap_or(options.default_time_to_live);
        options.gc_grace_seconds = gc_grace_seconds.unwrap_or(options.gc_grace_seconds);
        options.compaction = compaction.unwrap_or(options.compaction);
        options.compression = compression.unwrap_or(options.compression);
        options.bloom_filter_fp_chance = bloom_filter_fp_chance.unwrap_or(options.bloom_filter_fp_chance);
        options.allow_auto_snapshot = allow_auto_snapshot.unwrap_or(options.allow_auto_snapshot);
        for (name, value) in kept {
            match value {
                Some(value) => drop(options.kept.insert(name, value)),
                None => drop(options.kept.remove(&name)),
            }
        }
    }
}

impl TableOptions {
    /// File size of leveled compaction when none is named, in MiB.
    pub const FILE_MB_DEFAULT: u32 = 64;
    /// Fan-out of leveled compaction when none is named.
    pub const FANOUT_DEFAULT: u32 = 10;
    /// Thresholds of tiered compaction when none are named.
    pub const THRESHOLDS_DEFAULT: (u32, u32) = (4, 32);
    /// `chunk_length_in_kb` when none is named.
    pub const CHUNK_KB_DEFAULT: u32 = 8;
    /// `compression_level` of zstd when none is named.
    pub const ZSTD_LEVEL_DEFAULT: u32 = 3;

    /// The name of the option that [`TableOptions::speculative_retry`] reads.
    pub const SPECULATIVE_RETRY: &str = "speculative_retry";
    /// The name of the option that [`TableOptions::tombstone_gc`] reads.
    pub const TOMBSTONE_GC: &str = "tombstone_gc";
    /// The name of the option that [`TableOptions::repairs_reads`] reads.
    pub const READ_REPAIR: &str = "read_repair";

    /// The name of the option that [`TableOptions::is_protected`] reads.
    pub const DELETION_PROTECTION: &str = "deletion_protection";

    /// `deletion_protection`: neither the table nor its keyspace is dropped, nor the table emptied, until it is set to
    /// false.
    #[must_use]
    pub fn is_protected(&self) -> bool {
        self.kept.get(TableOptions::DELETION_PROTECTION).is_some_and(|value| value == "true")
    }

    /// `speculative_retry`: when a read asks a spare replica.
    #[must_use]
    pub fn speculative_retry(&self) -> SpeculativeRetry {
        let kept = self.kept.get(TableOptions::SPECULATIVE_RETRY).and_then(|text| text.parse().ok());
        kept.unwrap_or(SpeculativeRetry::DEFAULT)
    }

    /// `tombstone_gc`: what a deletion waits for before it is taken away.
    #[must_use]
    pub fn tombstone_gc(&self) -> TombstoneGc {
        let kept = self.kept.get(TableOptions::TOMBSTONE_GC);
        let named = |mode: &TombstoneGc| kept.is_some_and(|kept| kept == mode.name());
        TombstoneGc::ALL.into_iter().find(named).unwrap_or_default()
    }

    /// `read_repair`: false for `NONE`. Replicas that differ are then merged for the answer and left as they are, so
    /// that what was written at once is never seen in part, and a later read may go back behind an earlier one.
    #[must_use]
    pub fn repairs_reads(&self) -> bool {
        self.kept.get(TableOptions::READ_REPAIR).is_none_or(|value| value != "NONE")
    }
}

impl Default for TableOptions {
    fn default() -> TableOptions {
        let shape =
            CompactionShape::Leveled { file_mb: TableOptions::FILE_MB_DEFAULT, fanout: TableOptions::FANOUT_DEFAULT };
        TableOptions {
            comment: String::new(),
            default_time_to_live: 0,
            // Cassandra's default: ten days.
            gc_grace_seconds: 864_000,
            compaction: Compaction { shape, enabled: true },
            compression: Compression { compressor: Compressor::Lz4, chunk_kb: TableOptions::CHUNK_KB_DEFAULT },
            // Cassandra's default.
            bloom_filter_fp_chance: Fraction(10_000_000),
            allow_auto_snapshot: true,
            kept: BTreeMap::new(),
        }
    }
}

impl Encode for Compaction {
    fn encode(&self, out: &mut Vec<u8>) {
        match self.shape {
            CompactionShape::Leveled { file_mb, fanout } => {
                out.push(0);
                file_mb.encode(out);
                fanout.encode(out);
            }
            CompactionShape::SizeTiered { min_threshold, max_threshold } => {
                out.push(1);
                min_threshold.encode(out);
                max_threshold.encode(out);
            }
            CompactionShape::Unified { scaling, file_mb } => {
                out.push(2);
                (scaling < 0).encode(out);
                scaling.unsigned_abs().encode(out);
                file_mb.encode(out);
            }
        }
        self.enabled.encode(out);
    }
}

impl Decode for Compaction {
    fn decode(reader: &mut Reader) -> Result<Compaction, CodecError> {
        let shape = match reader.u8()? {
            0 => CompactionShape::Leveled { file_mb: reader.varint_u32()?, fanout: reader.varint_u32()? },
            1 => {
                CompactionShape::SizeTiered { min_threshold: reader.varint_u32()?, max_threshold: reader.varint_u32()? }
            }
            2 => {
                let negative = reader.bool()?;
                let size = i32::try_from(reader.varint_u32()?).map_err(|_| CodecError::Invalid("scaling"))?;
                let scaling = if negative { -size } else { size };
                CompactionShape::Unified { scaling, file_mb: reader.varint_u32()? }
            }
            _ => return Err(CodecError::Invalid("compaction")),
        };
        Ok(Compaction { shape, enabled: reader.bool()? })
    }
}

impl Encode for Compression {
    fn encode(&self, out: &mut Vec<u8>) {
        match self.compressor {
            Compressor::None => out.push(0),
            Compressor::Lz4 => out.push(1),
            Compressor::Snappy => out.push(2),
            Compressor::Zstd { level } => {
                out.push(3);
                level.encode(out);
            }
        }
        self.chunk_kb.encode(out);
    }
}

impl Decode for Compression {
    fn decode(reader: &mut Reader) -> Result<Compression, CodecError> {
        let compressor = match reader.u8()? {
            0 => Compressor::None,
            1 => Compressor::Lz4,
            2 => Compressor::Snappy,
            3 => Compressor::Zstd { level: reader.varint_u32()? },
            _ => return Err(CodecError::Invalid("compression")),
        };
        Ok(Compression { compressor, chunk_kb: reader.varint_u32()? })
    }
}

impl Encode for TableOptions {
    fn encode(&self, out: &mut Vec<u8>) {
        self.comment.encode(out);
        self.default_time_to_live.encode(out);
        self.gc_grace_seconds.encode(out);
        self.compaction.encode(out);
        self.compression.encode(out);
        self.bloom_filter_fp_chance.0.encode(out);
        self.allow_auto_snapshot.encode(out);
        put_pairs(out, self.kept.iter());
    }
}

impl Decode for TableOptions {
    fn decode(reader: &mut Reader) -> Result<TableOptions, CodecError> {
        let mut options = TableOptions::decode_without_kept(reader)?;
        let kept: Vec<(String, String)> = reader.pairs()?;
        if !kept.windows(2).all(|pair| pair[0].0 < pair[1].0) {
            return Err(CodecError::Invalid("table options"));
        }
        options.kept = kept.into_iter().collect();
        Ok(options)
    }
}

impl TableOptions {
    /// Reads the form that options had before any were kept that have no effect.
    pub(crate) fn decode_without_kept(reader: &mut Reader) -> Result<TableOptions, CodecError> {
        Ok(TableOptions {
            comment: reader.text()?,
            default_time_to_live: reader.varint_u32()?,
            gc_grace_seconds: reader.varint_u32()?,
            compaction: Compaction::decode(reader)?,
            compression: Compression::decode(reader)?,
            bloom_filter_fp_chance: Fraction(reader.varint_u32()?),
            allow_auto_snapshot: reader.bool()?,
            kept: BTreeMap::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use proptest::prelude::*;

    fn any_options() -> impl Strategy<Value = TableOptions> {
        let shape = prop_oneof![
            (any::<u32>(), any::<u32>()).prop_map(|(file_mb, fanout)| CompactionShape::Leveled { file_mb, fanout }),
            (any::<u32>(), any::<u32>()).prop_map(|(min_threshold, max_threshold)| CompactionShape::SizeTiered {
                min_threshold,
                max_threshold
            }),
            (-1_000..1_000i32, any::<u32>())
                .prop_map(|(scaling, file_mb)| CompactionShape::Unified { scaling, file_mb }),
        ];
        let compressor = prop_oneof![
            prop::sample::select(vec![Compressor::None, Compressor::Lz4, Compressor::Snappy]),
            any::<u32>().prop_map(|level| Compressor::Zstd { level }),
        ];
        let rest = (".{0,9}", any::<u32>(), any::<u32>(), any::<u32>(), any::<bool>(), any::<bool>());
        let kept = prop::collection::btree_map("[a-z_]{1,5}", ".{0,5}", 0..3);
        (shape, compressor, any::<u32>(), rest, kept).prop_map(|(shape, compressor, chunk_kb, rest, kept)| {
            let (comment, default_time_to_live, gc_grace_seconds, billionths, enabled, allow_auto_snapshot) = rest;
            TableOptions {
                comment,
                default_time_to_live,
                gc_grace_seconds,
                compaction: Compaction { shape, enabled },
                compression: Compression { compressor, chunk_kb },
                bloom_filter_fp_chance: Fraction(billionths),
                allow_auto_snapshot,
                kept,
            }
        })
    }

    proptest! {
        #[test]
        fn options_survive_the_codec(options in any_options()) {
            let bytes = options.to_bytes();
            prop_assert_eq!(TableOptions::from_bytes(&bytes).unwrap(), options);
            for end in 0..bytes.len() {
                prop_assert!(TableOptions::from_bytes(&bytes.slice(..end)).is_err());
            }
        }

        #[test]
        fn any_bytes_are_options_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(options) = TableOptions::from_bytes(&Bytes::from(bytes)) {
                prop_assert_eq!(TableOptions::from_bytes(&options.to_bytes()).unwrap(), options);
            }
        }

        #[test]
        fn a_fraction_is_read_back_from_what_it_prints(billionths in 0..=1_000_000_000u32) {
            let printed = Fraction(billionths).to_f64().to_string();
            prop_assert_eq!(Fraction::from_f64(printed.parse().unwrap()), Some(Fraction(billionths)));
        }
    }
}
