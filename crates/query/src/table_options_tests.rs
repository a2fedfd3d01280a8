//! Options in: what each comes to, and what is refused.

use super::*;
use crate::fixture::schema_request;
use model::TableId;
use model::schema::SchemaChange;

fn options(with: &str) -> Result<TableOptions, String> {
    let text = format!("CREATE TABLE k.t (k int PRIMARY KEY) WITH {with}");
    let request = schema_request(&text).map_err(|error| error.to_string())?;
    match request.change(TableId(1), model::WallMicros(0)) {
        SchemaChange::CreateTable { table, .. } => Ok(table.options),
        other => panic!("{other:?}"),
    }
}

#[test]
fn compaction_takes_the_shape_that_its_class_names() {
    let shape = |map: &str| options(&format!("compaction = {map}")).unwrap().compaction.shape;
    let package = "org.apache.cassandra.db.compaction.";
    let leveled = |file_mb, fanout| CompactionShape::Leveled { file_mb, fanout };
    assert_eq!(shape("{'class': 'LeveledCompactionStrategy'}"), leveled(64, 10));
    let all =
        format!("{{'class': '{package}LeveledCompactionStrategy', 'sstable_size_in_mb': 160, 'fanout_size': '4'}}");
    assert_eq!(shape(&all), leveled(160, 4));
    let tiered = |min_threshold, max_threshold| CompactionShape::SizeTiered { min_threshold, max_threshold };
    assert_eq!(shape("{'class': 'SizeTieredCompactionStrategy'}"), tiered(4, 32));
    let cassandra = "{'class': 'SizeTieredCompactionStrategy', 'min_threshold': '6', 'max_threshold': 9, \
                     'bucket_low': 0.50, 'tombstone_threshold': '0.2', 'log_all': 'FALSE'}";
    assert_eq!(shape(cassandra), tiered(6, 9));
    assert_eq!(shape("{'class': 'SizeTieredCompactionStrategy', 'min_threshold': 50}"), tiered(50, 50));
    for (parameter, scaling) in [("T4", 2), ("L10", -8), ("N", 0), ("T2", 0), ("-3", -3), ("l4", -2)] {
        let map = format!("{{'class': 'UnifiedCompactionStrategy', 'scaling_parameters': '{parameter}'}}");
        assert_eq!(shape(&map), CompactionShape::Unified { scaling, file_mb: 64 }, "{parameter}");
    }
    let unified = "{'class': 'UnifiedCompactionStrategy', 'target_sstable_size': '1GiB'}";
    assert_eq!(shape(unified), CompactionShape::Unified { scaling: 2, file_mb: 1_024 });
    let stopped = options("compaction = {'class': 'LeveledCompactionStrategy', 'enabled': 'false'}").unwrap();
    assert!(!stopped.compaction.enabled);
}

#[test]
fn compression_is_that_of_its_class() {
    let compression = |map: &str| options(&format!("compression = {map}")).unwrap().compression;
    let of = |compressor, chunk_kb| Compression { compressor, chunk_kb };
    assert_eq!(compression("{'class': 'LZ4Compressor', 'chunk_length_in_kb': 16}"), of(Compressor::Lz4, 16));
    assert_eq!(
        compression("{'class': 'org.apache.cassandra.io.compress.SnappyCompressor'}"),
        of(Compressor::Snappy, 8)
    );
    assert_eq!(compression("{'class': 'ZstdCompressor'}"), of(Compressor::Zstd { level: 3 }, 8));
    let level = "{'class': 'ZstdCompressor', 'compression_level': '19', 'min_compress_ratio': 0}";
    assert_eq!(compression(level), of(Compressor::Zstd { level: 19 }, 8));
    assert_eq!(compression("{'enabled': false}"), of(Compressor::None, 8));
    assert_eq!(compression("{'class': ''}"), of(Compressor::None, 8));
}

#[test]
fn values_that_change_nothing_are_accepted() {
    for with in [
        "speculative_retry = '99PERCENTILE'",
        "speculative_retry = '99.0p' AND additional_write_policy = '99p'",
        "caching = {'keys': 'all', 'rows_per_partition': 'NONE'}",
        "crc_check_chance = 1 AND cdc = false AND extensions = {} AND memtable = 'default'",
        "read_repair = 'blocking' AND min_index_interval = 128 AND max_index_interval = 2048",
        "memtable_flush_period_in_ms = 0 AND incremental_backups = true",
    ] {
        assert_eq!(options(with), Ok(TableOptions::default()), "{with}");
    }
    assert_eq!(options("bloom_filter_fp_chance = 0.1").unwrap().bloom_filter_fp_chance, Fraction(100_000_000));
    assert_eq!(options("bloom_filter_fp_chance = 1.0").unwrap().bloom_filter_fp_chance, Fraction::ONE);
    assert!(!options("allow_auto_snapshot = false").unwrap().allow_auto_snapshot);
}

#[test]
fn what_cannot_be_honoured_is_refused_by_name_and_reason() {
    for (with, expected) in [
        ("speculative_retry = 'ALWAYS'", "option 'speculative_retry' is not supported but as 99p, and is ALWAYS"),
        ("additional_write_policy = 'NEVER'", "transient replicas"),
        ("read_repair = 'NONE'", "option 'read_repair' is not supported but as BLOCKING"),
        ("cdc = true", "change data capture"),
        ("crc_check_chance = 0.5", "the checksum of every block is checked"),
        ("extensions = {'a': 'b'}", "option 'extensions' is not supported but as {}, and is a map"),
        ("memtable = 'trie'", "one kind of memtable"),
        ("memtable_flush_period_in_ms = 1000", "option 'memtable_flush_period_in_ms'"),
        ("caching = {'keys': 'NONE'}", "'keys' of option 'caching' is not supported but as ALL, and is NONE"),
        ("caching = {'rows_per_partition': '10'}", "'rows_per_partition' of option 'caching'"),
        ("caching = {'rows': '10'}", "Properties specified [rows] are not understood by caching"),
        ("caching = 'all'", "Invalid value all for option 'caching'"),
        ("bloom_filter_fp_chance = 0", "must be larger than 0.0000671 and less than or equal to 1.0 (got 0)"),
        ("bloom_filter_fp_chance = 1.1", "(got 1.1)"),
        ("bloom_filter_fp_chance = NaN", "(got NaN)"),
        ("allow_auto_snapshot = 1", "Invalid value 1 for option 'allow_auto_snapshot'"),
        ("dclocal_read_repair_chance = 0.1", "Unknown property 'dclocal_read_repair_chance'"),
        ("compaction = {}", "Missing sub-option 'class' for the 'compaction' option."),
        ("compaction = {'class': 'TimeWindowCompactionStrategy'}", "TimeWindowCompactionStrategy is not supported"),
        ("compaction = {'class': 'MyStrategy'}", "Unable to find compaction strategy class 'MyStrategy'"),
        ("compaction = {'class': 'LeveledCompactionStrategy', 'bucket_low': 0.5}", "[bucket_low] are not understood"),
        ("compaction = {'class': 'LeveledCompactionStrategy', 'fanout_size': 1}", "expected 2 to 100"),
        ("compaction = {'class': 'SizeTieredCompactionStrategy', 'bucket_low': 0.4}", "'bucket_low' of option"),
        ("compaction = {'class': 'SizeTieredCompactionStrategy', 'max_threshold': 2}", "expected 4 to"),
        ("compaction = {'class': 'UnifiedCompactionStrategy', 'scaling_parameters': 'T4, L4'}", "Invalid value T4, L4"),
        ("compaction = {'class': 'UnifiedCompactionStrategy', 'target_sstable_size': '1 TB'}", "target_sstable_size"),
        ("compaction = {'class': 'a', 'class': 'b'}", "Multiple definitions for property 'class'"),
        ("compression = {'class': 'DeflateCompressor'}", "compression class 'DeflateCompressor' is not supported"),
        ("compression = {'class': 'LZ4Compressor', 'chunk_length_in_kb': 3}", "Invalid value 3"),
        ("compression = {'class': 'LZ4Compressor', 'compression_level': 3}", "[compression_level] are not understood"),
        ("compression = {'class': 'LZ4Compressor', 'lz4_compressor_type': 'high'}", "'lz4_compressor_type' of option"),
        ("compression = {'class': 'ZstdCompressor', 'compression_level': 23}", "expected 1 to 22"),
        ("compression = {'enabled': 'false', 'class': 'LZ4Compressor'}", "no other options must be specified"),
        ("compression = {'chunk_length_in_kb': 4}", "Missing sub-option 'class' for the 'compression' option."),
    ] {
        match options(with) {
            Err(message) if message.contains(expected) => {}
            other => panic!("{with}: expected '{expected}', got {other:?}"),
        }
    }
}
