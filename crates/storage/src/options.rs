//! What a store can be told, and RocksDB's settings with their reasons.

use crate::garbage::{FilterFactory, Sweeping};
use crate::layout::PREFIX_BYTES;
use crate::merge;
use crate::pressure::{LEVEL_ZERO_SLOWDOWN, LEVEL_ZERO_STOP, PENDING_SLOWDOWN_BYTES, PENDING_STOP_BYTES};
use model::NodeId;
use model::table_options::{Compaction, CompactionShape, Compressor, Fraction, TableOptions};
use node::storage::StorageError;
use rocksdb::{
    BlockBasedOptions, Cache, DBCompactionStyle, DBCompressionType, DBRecoveryMode, DataBlockIndexType, InfoLogger,
    LogLevel, Options, SliceTransform, UniversalCompactOptions, WriteBufferManager,
};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// When writes that were committed without `sync` reach the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Only when a later commit or [`node::storage::Storage::sync`] syncs: the driver asks for it with every
    /// group before it acknowledges.
    Group,
    /// The store syncs by itself this often: what was acknowledged unsynced is lost by a power failure for
    /// at most about this long (Cassandra's `periodic`).
    Periodic(Duration),
}

/// How to open a store.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// The directory; created when missing.
    pub data_dir: PathBuf,
    /// The node that the directory is created for when it is new; an existing one keeps its own.
    pub new_node: NodeId,
    /// Opening fails when the directory belongs to another cluster than this one.
    pub expected_cluster: Option<u128>,
    /// Memory for uncompressed blocks, shared by all tables, in bytes. Not allocated before it is used.
    pub block_cache_bytes: usize,
    /// Memory for writes not yet flushed, shared by all tables, in bytes.
    pub write_buffer_bytes: usize,
    /// Threads for flushes and compactions.
    pub background_jobs: u32,
    /// When unsynced writes are synced.
    pub durability: Durability,
    /// A hint file is closed after the group that reaches this many bytes.
    pub hint_segment_bytes: u64,
    /// Hints beyond this many bytes on disk are refused.
    pub hint_total_bytes: u64,
    /// Writes of user data are refused as `Full` while the file system has less space than this, in bytes, so
    /// that there is room for the node's own records, for flushes and compactions.
    pub free_bytes_min: u64,
    /// Snapshots are kept of tables that are dropped or truncated, where their options allow it.
    pub auto_snapshot: bool,
    /// Reads that pass more tombstones than this are noted and logged.
    pub tombstone_warn: u32,
    /// The operator's override for a lone copy: open with what is left when less is found than was synced.
    pub accept_data_loss: bool,
}

impl StoreOptions {
    /// Defaults that suit a small machine.
    #[must_use]
    pub fn new(data_dir: impl Into<PathBuf>, new_node: NodeId) -> StoreOptions {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        StoreOptions {
            data_dir: data_dir.into(),
            new_node,
            expected_cluster: None,
            block_cache_bytes: 256 << 20,
            write_buffer_bytes: 128 << 20,
            background_jobs: cores.clamp(2, 8) as u32,
            durability: Durability::Group,
            hint_segment_bytes: 16 << 20,
            hint_total_bytes: 1 << 30,
            free_bytes_min: 256 << 20,
            auto_snapshot: true,
            // Cassandra's tombstone_warn_threshold.
            tombstone_warn: 1_000,
            accept_data_loss: false,
        }
    }
}

/// Memory that all column families of a store share.
pub(crate) struct SharedMemory {
    pub(crate) cache: Cache,
    pub(crate) write_buffers: WriteBufferManager,
}

impl SharedMemory {
    pub(crate) fn new(options: &StoreOptions) -> SharedMemory {
        SharedMemory {
            // 0: entries of different sizes. Scales with threads better than the LRU cache (633 against 537
            // thousand hot reads per second on two threads).
            cache: Cache::new_hyper_clock_cache(options.block_cache_bytes, 0),
            // Not stalling: see `pressure`. RocksDB starts to flush when seven eighths of it are in memtables that
            // are written to, or all of it with those that are being flushed: up to a third more is in use then.
            write_buffers: WriteBufferManager::new_write_buffer_manager(options.write_buffer_bytes / 4 * 3, false),
        }
    }
}

/// The settings of the database.
pub(crate) fn database_options(options: &StoreOptions, memory: &SharedMemory) -> Options {
    let mut database = Options::default();
    database.set_write_buffer_manager(&memory.write_buffers);
    // A table that is seldom written to would keep every log since its last write.
    database.set_max_total_wal_size(2 * options.write_buffer_bytes as u64);
    database.set_max_background_jobs(i32::try_from(options.background_jobs).unwrap_or(2));
    // Stops at the first damaged record, as an unsynced tail after a power failure is one; the watermark
    // tells whether that was too early.
    database.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    // Closed logs that are missing or too short are found by RocksDB itself.
    database.set_track_and_verify_wals_in_manifest(!options.accept_data_loss);
    // One thread writes: inserting without compare-and-swap is cheaper.
    database.set_allow_concurrent_memtable_write(false);
    database.set_max_open_files(-1);
    database.set_skip_stats_update_on_db_open(true);
    database.set_bytes_per_sync(1 << 20);
    database.set_stats_dump_period_sec(0);
    database.set_stats_persist_period_sec(0);
    database.set_log_level(LogLevel::Warn);
    database.set_keep_log_file_num(4);
    database.set_max_log_file_size(4 << 20);
    database.set_max_manifest_file_size(64 << 20);
    database
}

/// The settings of a database of which nothing may be missing: each log says which one came before it and how far
/// that one reached, and a database without any log is not opened, so that a log that is missing or ends too early
/// does not go unnoticed because a later one is there.
///
/// # Errors
/// When RocksDB does not know that option, which has no setter of its own.
pub(crate) fn verifying_options(options: &StoreOptions, memory: &SharedMemory) -> Result<Options, StorageError> {
    let verifying = database_options(options, memory).get_options_from_string("track_and_verify_wals=true");
    verifying.map_err(|error| StorageError::Io(format!("RocksDB's options: {error}")))
}

/// The settings of a database that is only looked into.
pub(crate) fn read_only_options(options: &StoreOptions, memory: &SharedMemory, recovery: DBRecoveryMode) -> Options {
    let mut database = database_options(options, memory);
    database.set_wal_recovery_mode(recovery);
    // The number of records of a file is read from it.
    database.set_skip_stats_update_on_db_open(false);
    // Verifying stays on: without it RocksDB forgets the logs that a manifest tracks, by an edit that a database
    // opened for reading only has no place for (it crashes).
    // Its own log would be a file in the directory.
    database.set_info_logger(InfoLogger::new_callback_logger(LogLevel::Fatal, |_, _| {}));
    database
}

/// The settings of a table's column family.
pub(crate) fn table_options(
    options: &StoreOptions,
    memory: &SharedMemory,
    of_table: &TableOptions,
    sweeping: &Arc<Sweeping>,
) -> Options {
    let mut table = Options::default();
    table.set_merge_operator(merge::NAME, merge::full, merge::partial);
    table.set_compaction_filter_factory(FilterFactory(sweeping.clone()));
    // By default RocksDB would rewrite every file each 30 days for the filter, which purges nothing then.
    table.set_periodic_compaction_seconds(0);
    table.set_prefix_extractor(SliceTransform::create_fixed_prefix(PREFIX_BYTES));
    let mut blocks = block_options(memory);
    blocks.set_block_size(of_table.compression.chunk_kb as usize * 1_024);
    // Keys for point reads, prefixes for slices of a partition.
    if let Some(bits) = bloom_bits(of_table.bloom_filter_fp_chance) {
        blocks.set_bloom_filter(bits, false);
        blocks.set_whole_key_filtering(true);
    }
    table.set_block_based_table_factory(&blocks);
    let (compression, level) = compression(of_table.compression.compressor);
    table.set_compression_type(compression);
    if let Some(level) = level {
        table.set_compression_options(WINDOW_BITS_DEFAULT, level, 0, 0);
    }
    // One table fills a buffer while up to three are flushed, within the budget of all tables; then writes
    // wait.
    table.set_write_buffer_size((options.write_buffer_bytes / 4).max(512 << 10));
    table.set_max_write_buffer_number(4);
    table.set_level_zero_slowdown_writes_trigger(LEVEL_ZERO_SLOWDOWN as i32);
    table.set_level_zero_stop_writes_trigger(LEVEL_ZERO_STOP as i32);
    table.set_soft_pending_compaction_bytes_limit(PENDING_SLOWDOWN_BYTES as usize);
    table.set_hard_pending_compaction_bytes_limit(PENDING_STOP_BYTES as usize);
    // Allocated whole: many tables must not cost many megabytes.
    table.set_arena_block_size(ARENA_BLOCK_BYTES);
    set_compaction(&mut table, of_table.compaction);
    table
}

/// Memory that a memtable asks for at a time.
pub(crate) const ARENA_BLOCK_BYTES: usize = 128 << 10;

/// zlib's window, which no algorithm here has.
const WINDOW_BITS_DEFAULT: i32 = -14;

fn set_compaction(table: &mut Options, compaction: Compaction) {
    table.set_disable_auto_compactions(!compaction.enabled);
    table.set_level_compaction_dynamic_level_bytes(true);
    let shape = Shape::of(compaction.shape);
    table.set_target_file_size_base(shape.file_bytes);
    table.set_max_bytes_for_level_base(LEVEL_FILES * shape.file_bytes);
    match shape.tiers {
        None => {
            table.set_max_bytes_for_level_multiplier(f64::from(shape.fanout));
            // Changes reach the level of their row within a day, so that a read does not merge for ever.
            table.set_ttl(24 * 60 * 60);
        }
        Some((min, max)) => {
            table.set_compaction_style(DBCompactionStyle::Universal);
            let mut tiered = UniversalCompactOptions::default();
            tiered.set_min_merge_width(min);
            tiered.set_max_merge_width(max);
            // Runs up to half as large again count as similar: Cassandra's bucket_high.
            tiered.set_size_ratio(SIZE_RATIO_PERCENT);
            table.set_universal_compaction_options(&tiered);
            table.set_level_zero_file_num_compaction_trigger(min);
            // Here it would rewrite the whole table every time.
            table.set_ttl(0);
            table.set_periodic_compaction_seconds(30 * 24 * 60 * 60);
        }
    }
}

/// The first level below level 0 holds so many files.
const LEVEL_FILES: u64 = 4;
const SIZE_RATIO_PERCENT: i32 = 50;

/// [`CompactionShape`] in RocksDB's terms.
struct Shape {
    file_bytes: u64,
    fanout: u32,
    /// Fewest and most sorted runs that are merged at once; none for levels.
    tiers: Option<(i32, i32)>,
}

impl Shape {
    fn of(shape: CompactionShape) -> Shape {
        let clamp = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
        let of = |file_mb: u32, fanout, tiers| Shape { file_bytes: u64::from(file_mb) << 20, fanout, tiers };
        match shape {
            CompactionShape::Leveled { file_mb, fanout } => of(file_mb, fanout, None),
            CompactionShape::SizeTiered { min_threshold, max_threshold } => {
                let tiers = Some((clamp(min_threshold), clamp(max_threshold)));
                of(TableOptions::FILE_MB_DEFAULT, TableOptions::FANOUT_DEFAULT, tiers)
            }
            CompactionShape::Unified { scaling, file_mb } if scaling <= 0 => {
                of(file_mb, scaling.unsigned_abs() + 2, None)
            }
            CompactionShape::Unified { scaling, file_mb } => {
                of(file_mb, TableOptions::FANOUT_DEFAULT, Some((scaling + 2, i32::MAX)))
            }
        }
    }
}

/// RocksDB's type, and a level where the type has any.
fn compression(compressor: Compressor) -> (DBCompressionType, Option<i32>) {
    match compressor {
        Compressor::None => (DBCompressionType::None, None),
        Compressor::Lz4 => (DBCompressionType::Lz4, None),
        Compressor::Snappy => (DBCompressionType::Snappy, None),
        Compressor::Zstd { level } => (DBCompressionType::Zstd, Some(i32::try_from(level).unwrap_or(i32::MAX))),
    }
}

/// Bits per key of a Bloom filter with this chance of false positives; none when every look may be in vain.
/// RocksDB's filters, which keep to one cache line, need 4.3 % more than the ideal ones: ten bits for 0.01.
fn bloom_bits(chance: Fraction) -> Option<f64> {
    (chance < Fraction::ONE).then(|| 1.043 * -chance.to_f64().ln() / std::f64::consts::LN_2.powi(2))
}

/// What RocksDB has to be told to change an open column family of a table from one set of options to
/// another. The style of compaction cannot be changed so.
pub(crate) fn changed_options(old: &TableOptions, new: &TableOptions) -> Vec<(&'static str, String)> {
    let before = dynamic_options(old);
    dynamic_options(new).into_iter().filter(|option| !before.contains(option)).collect()
}

fn dynamic_options(options: &TableOptions) -> Vec<(&'static str, String)> {
    let (compression, level) = match options.compression.compressor {
        Compressor::None => ("kNoCompression", TableOptions::ZSTD_LEVEL_DEFAULT),
        Compressor::Lz4 => ("kLZ4Compression", TableOptions::ZSTD_LEVEL_DEFAULT),
        Compressor::Snappy => ("kSnappyCompression", TableOptions::ZSTD_LEVEL_DEFAULT),
        Compressor::Zstd { level } => ("kZSTD", level),
    };
    let filter = match bloom_bits(options.bloom_filter_fp_chance) {
        Some(bits) => format!("bloomfilter:{bits:.3}:false"),
        None => "nullptr".to_owned(),
    };
    let block_bytes = options.compression.chunk_kb * 1_024;
    let shape = Shape::of(options.compaction.shape);
    let mut all = vec![
        ("compression", compression.to_owned()),
        ("block_based_table_factory", format!("{{block_size={block_bytes};filter_policy={filter};}}")),
        ("disable_auto_compactions", (!options.compaction.enabled).to_string()),
        ("target_file_size_base", shape.file_bytes.to_string()),
        ("max_bytes_for_level_base", (LEVEL_FILES * shape.file_bytes).to_string()),
        ("max_bytes_for_level_multiplier", shape.fanout.to_string()),
    ];
    if compression == "kZSTD" {
        all.push(("compression_opts", format!("{{level={level};}}")));
    }
    if let Some((min, max)) = shape.tiers {
        let ratio = SIZE_RATIO_PERCENT;
        let tiered = format!("{{size_ratio={ratio};min_merge_width={min};max_merge_width={max};}}");
        all.push(("compaction_options_universal", tiered));
        all.push(("level0_file_num_compaction_trigger", min.to_string()));
    }
    all
}

/// Bits per key of the filter of the node's own records: one of a hundred looks is in vain.
const LOCAL_BLOOM_BITS: f64 = 10.0;

/// The settings of the column family of the node's own records, and of RocksDB's default one.
pub(crate) fn local_options(memory: &SharedMemory) -> Options {
    let mut local = Options::default();
    let mut blocks = block_options(memory);
    // Of the first transaction of a partition the register is not there.
    blocks.set_bloom_filter(LOCAL_BLOOM_BITS, false);
    local.set_block_based_table_factory(&blocks);
    local.set_write_buffer_size(4 << 20);
    local.set_arena_block_size(64 << 10);
    local.set_compression_type(DBCompressionType::Lz4);
    local
}

fn block_options(memory: &SharedMemory) -> BlockBasedOptions {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(&memory.cache);
    // Within the configured memory, not beside it.
    blocks.set_cache_index_and_filter_blocks(true);
    blocks.set_cache_index_and_filter_blocks_with_high_priority(true);
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
    blocks.set_block_size(8 << 10);
    blocks.set_format_version(6);
    blocks.set_data_block_index_type(DataBlockIndexType::BinaryAndHash);
    blocks
}
