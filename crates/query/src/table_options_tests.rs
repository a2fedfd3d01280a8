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
    assert_eq!(compression("{}"), of(Compressor::None, 8));
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
        "tombstone_gc = {'mode': 'repair'}",
    ] {
        assert_eq!(options(with), Ok(TableOptions::default()), "{with}");
    }
    assert_eq!(options("bloom_filter_fp_chance = 0.1").unwrap().bloom_filter_fp_chance, Fraction(100_000_000));
    assert_eq!(options("bloom_filter_fp_chance = 1.0").unwrap().bloom_filter_fp_chance, Fraction::ONE);
    assert!(!options("allow_auto_snapshot = false").unwrap().allow_auto_snapshot);
}

#[test]
fn what_has_no_field_is_kept_and_what_has_no_effect_comes_with_a_warning() {
    for (with, name, kept) in [
        ("speculative_retry = 'always'", "speculative_retry", "ALWAYS"),
        ("speculative_retry = 'NONE'", "speculative_retry", "NEVER"),
        ("speculative_retry = '1.5ms'", "speculative_retry", "1ms"),
        ("speculative_retry = '50PERCENTILE'", "speculative_retry", "50p"),
        ("speculative_retry = 'max( 90p , 10ms)'", "speculative_retry", "MAX(90p,10ms)"),
        ("additional_write_policy = 'NEVER'", "additional_write_policy", "NEVER"),
        ("read_repair = 'none'", "read_repair", "NONE"),
        ("tombstone_gc = {'mode': 'Timeout'}", "tombstone_gc", "timeout"),
        ("tombstone_gc = {'mode': 'disabled'}", "tombstone_gc", "disabled"),
        ("crc_check_chance = 0.5", "crc_check_chance", "0.5"),
        ("memtable_flush_period_in_ms = 1000", "memtable_flush_period_in_ms", "1000"),
        ("incremental_backups = 0", "incremental_backups", "false"),
        ("min_index_interval = 64", "min_index_interval", "64"),
        ("caching = {'keys': 'none'}", "caching", "NONE NONE"),
        ("caching = {'rows_per_partition': '10'}", "caching", "ALL 10"),
        ("caching = {}", "caching", "NONE NONE"),
    ] {
        let request = schema_request(&format!("CREATE TABLE k.t (k int PRIMARY KEY) WITH {with}")).unwrap();
        match request.warnings() {
            [] => assert!(matches!(name, "speculative_retry" | "read_repair" | "tombstone_gc"), "{with}"),
            [warning] => {
                assert!(warning.starts_with(&format!("The option '{name}' is kept, but has no effect: ")), "{warning}");
                assert!(!matches!(name, "speculative_retry" | "read_repair" | "tombstone_gc"), "{with}");
            }
            warnings => panic!("{with}: {warnings:?}"),
        }
        let expected = BTreeMap::from([(name.to_owned(), kept.to_owned())]);
        assert_eq!(options(with).unwrap().kept, expected, "{with}");
    }
    // Cassandra knows no such option: it is shown only where it says something.
    assert!(!option_values(&TableOptions::default()).contains_key("tombstone_gc"));
    let shown = describe_options(&options("tombstone_gc = {'mode': 'timeout'}").unwrap());
    assert!(shown.contains(&"tombstone_gc = {'mode': 'timeout'}".to_owned()), "{shown:?}");
    let default = schema_request("CREATE TABLE k.t (k int PRIMARY KEY) WITH speculative_retry = '99p'").unwrap();
    assert!(default.warnings().is_empty());
}

#[test]
fn a_policy_of_many_policies_is_refused_and_overflows_nothing() {
    let deep = format!("speculative_retry = '{}1p{}'", "max(1p,".repeat(100_000), ")".repeat(100_000));
    let message = options(&deep).unwrap_err().to_string();
    assert!(message.contains("for option 'speculative_retry'"), "{message:.300}");
}

#[test]
fn what_cannot_be_honoured_is_refused_by_name_and_reason() {
    for (with, expected) in [
        ("cdc = true", "change data capture"),
        ("extensions = {'a': 'b'}", "option 'extensions' is not supported but as {}, and is a map"),
        ("memtable = 'trie'", "Memtable configuration \"trie\" not found. (there is one kind of memtable)"),
        ("speculative_retry = 'sometimes'", "Invalid value sometimes for option 'speculative_retry'"),
        ("speculative_retry = '-1ms'", "Invalid value -1ms for option 'speculative_retry'"),
        ("speculative_retry = '101p'", "Invalid value 101p for PERCENTILE option 'speculative_retry': must be between"),
        ("speculative_retry = 'MAX(MAX(90p,1ms),1ms)'", "Invalid value MAX(MAX(90p,1ms),1ms) for option"),
        ("read_repair = 'x'", "Invalid value x for option 'read_repair': there are BLOCKING and NONE"),
        ("tombstone_gc = {}", "Missing sub-option 'mode' for the 'tombstone_gc' option"),
        ("tombstone_gc = {'mode': 'immediate'}", "Invalid value immediate for 'mode' of option 'tombstone_gc': there"),
        (
            "tombstone_gc = {'mode': 'repair', 'propagation_delay_in_seconds': '3600'}",
            "Sub-option 'propagation_delay_in_seconds' of option 'tombstone_gc' is not supported",
        ),
        ("crc_check_chance = 1.5", "must be larger than or equal to 0 and smaller than or equal to 1.0 (got 1.5)"),
        ("memtable_flush_period_in_ms = -1", "must be greater than or equal to 0 (got -1)"),
        ("max_index_interval = 5", "must be greater than or equal to min_index_interval (128) (got 5)"),
        ("caching = {'keys': 'SOME'}", "Invalid value 'SOME' for caching sub-option 'keys'"),
        (
            "caching = {'rows_per_partition': 'many'}",
            "Invalid value 'many' for caching sub-option 'rows_per_partition'",
        ),
        (
            "caching = {'rows': '10'}",
            "Invalid caching sub-options [rows]: only 'keys' and 'rows_per_partition' are allowed",
        ),
        ("caching = 'all'", "Invalid value for property 'caching'. It should be a map."),
        ("bloom_filter_fp_chance = 0", "must be larger than 6.71E-5 and less than or equal to 1.0 (got 0.0)"),
        ("bloom_filter_fp_chance = 1.1", "(got 1.1)"),
        ("bloom_filter_fp_chance = NaN", "(got NaN)"),
        ("allow_auto_snapshot = 2", "Invalid boolean value 2 for 'allow_auto_snapshot'"),
        ("dclocal_read_repair_chance = 0.1", "Unknown property 'dclocal_read_repair_chance'"),
        ("compaction = {}", "Missing sub-option 'class' for the 'compaction' option"),
        ("compaction = {'class': 'TimeWindowCompactionStrategy'}", "TimeWindowCompactionStrategy is not supported"),
        ("compaction = {'class': 'MyStrategy'}", "class 'org.apache.cassandra.db.compaction.MyStrategy'"),
        ("compaction = {'class': 'LeveledCompactionStrategy', 'bucket_low': 0.5}", "[bucket_low] are not understood"),
        ("compaction = {'class': 'LeveledCompactionStrategy', 'fanout_size': 1}", "expected 2 to 100"),
        ("compaction = {'class': 'SizeTieredCompactionStrategy', 'bucket_low': 0.4}", "'bucket_low' of option"),
        (
            "compaction = {'class': 'SizeTieredCompactionStrategy', 'max_threshold': 2}",
            "Min compaction threshold (got 4) cannot be greater than max compaction",
        ),
        ("compaction = {'class': 'UnifiedCompactionStrategy', 'scaling_parameters': 'T4, L4'}", "Invalid value T4, L4"),
        ("compaction = {'class': 'UnifiedCompactionStrategy', 'target_sstable_size': '1 TB'}", "target_sstable_size"),
        ("compaction = {'class': 'a', 'class': 'b'}", "Multiple definitions for property 'class'"),
        ("compression = {'class': 'DeflateCompressor'}", "compression class 'DeflateCompressor' is not supported"),
        ("compression = {'class': 'x'}", "Could not create Compression for type org.apache.cassandra.io.compress.x"),
        (
            "compression = {'class': 'LZ4Compressor', 'chunk_length_in_kb': 3}",
            "chunk_length_in_kb must be a power of 2",
        ),
        (
            "compression = {'class': 'LZ4Compressor', 'compression_level': 3}",
            "Unknown compression options compression_level",
        ),
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
