//! What a store can be told, and RocksDB's settings with their reasons.

use crate::layout::PREFIX_BYTES;
use crate::merge;
use model::NodeId;
use rocksdb::{
    BlockBasedOptions, Cache, DBCompressionType, DBRecoveryMode, DataBlockIndexType, LogLevel, Options, SliceTransform,
    WriteBufferManager,
};
use std::path::PathBuf;
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
    /// Writes of user data are refused as `Full` while the file system has less space than this, in bytes:
    /// RocksDB cannot go on after it has met a full disk without being opened again.
    pub free_bytes_min: u64,
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
            // Not stalling: back-pressure is the driver's.
            write_buffers: WriteBufferManager::new_write_buffer_manager(options.write_buffer_bytes, false),
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

/// The settings of a table's column family.
pub(crate) fn table_options(options: &StoreOptions, memory: &SharedMemory) -> Options {
    let mut table = Options::default();
    table.set_merge_operator_associative(merge::NAME, merge::operator);
    table.set_prefix_extractor(SliceTransform::create_fixed_prefix(PREFIX_BYTES));
    let mut blocks = block_options(memory);
    // Keys for point reads, prefixes for slices of a partition.
    blocks.set_bloom_filter(10.0, false);
    blocks.set_whole_key_filtering(true);
    table.set_block_based_table_factory(&blocks);
    table.set_compression_type(DBCompressionType::Lz4);
    // One table fills a buffer while up to three are flushed, within the budget of all tables; then writes
    // wait.
    table.set_write_buffer_size((options.write_buffer_bytes / 4).max(512 << 10));
    table.set_max_write_buffer_number(4);
    // Allocated whole: many tables must not cost many megabytes.
    table.set_arena_block_size(128 << 10);
    table.set_level_compaction_dynamic_level_bytes(true);
    table.set_target_file_size_base(64 << 20);
    table.set_max_bytes_for_level_base(256 << 20);
    // Changes reach the level of their row within a day, so that a read does not merge for ever.
    table.set_ttl(24 * 60 * 60);
    table
}

/// The settings of the column family of the node's own records, and of RocksDB's default one.
pub(crate) fn local_options(memory: &SharedMemory) -> Options {
    let mut local = Options::default();
    local.set_block_based_table_factory(&block_options(memory));
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
